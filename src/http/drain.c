/* The drain of one loop, from top to bottom: its connections get a last look
 * and a window for the request that may be on its way, running ones finish, the
 * bound cancels and cuts. Nothing polls: whoever goes has the census call for a
 * check at the turn's end, and one of these is the last. */
#include "drain.h"

#include "connection.h"
#include "exchange.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { LINE_BYTES = sizeof(((dusk__drained_t *)0)->oldest) };

void dusk__drain_init(dusk__drain_t *drain, dusk__worker_t *worker,
                      uv_mutex_t *lock) {
  drain->worker = worker;
  drain->lock = lock;
  drain->more_may_come = true;
}

/* -- What is shown --------------------------------------------------------- */

/* The oldest request that a handler has. */
static const dusk__exchange_t *find_oldest(const dusk__drain_t *drain) {
  const dusk__link_t *active = &drain->worker->census->members[DUSK__ACTIVE];
  for (dusk__link_t *link = active->next; link != active; link = link->next) {
    const dusk__exchange_t *ex =
        dusk__conn_of(DUSK__OWNER(link, dusk__member_t, link))->ex;
    if (ex && ex->stage == DUSK__STAGE_HANDLING) return ex;
  }
  return NULL;
}

/* The oldest that is over, and that its handler has not ended. */
static const dusk__exchange_t *find_unended(const dusk__drain_t *drain) {
  const dusk__link_t *held = &drain->worker->pool->held;
  const dusk__exchange_t *oldest = NULL;
  for (dusk__link_t *link = held->next; link != held; link = link->next) {
    const dusk__exchange_t *ex = DUSK__OWNER(link, dusk__exchange_t, held_link);
    if (oldest == NULL || ex->req.begun_ms < oldest->req.begun_ms) oldest = ex;
  }
  return oldest;
}

static void put_line(char line[LINE_BYTES], const dusk__exchange_t *ex) {
  snprintf(line, LINE_BYTES, "%s %s", dusk__h1_method(&ex->h1),
           dusk__h1_target(&ex->h1));
}

static bool note_oldest(const dusk__drain_t *drain, dusk__drained_t *drained) {
  const dusk__exchange_t *oldest = find_oldest(drain);
  if (oldest == NULL) return false;
  put_line(drained->oldest, oldest);
  drained->oldest_begun_ms = oldest->req.begun_ms;
  drained->oldest_ended_ms = 0;
  return true;
}

/* Kept, to tell of it when it has gone. */
static void keep_oldest(dusk__drain_t *drain) {
  if (note_oldest(drain, &drain->so_far))
    drain->so_far.oldest_ended_ms = dusk__now_ms(drain->worker);
}

void dusk__drain_now(const dusk__drain_t *drain, dusk__drained_t *ret_now) {
  assert(dusk__worker_on_thread(drain->worker));
  *ret_now = drain->so_far;
  note_oldest(drain, ret_now);
  const dusk__exchange_t *unended = find_unended(drain);
  if (unended == NULL) return;
  put_line(ret_now->unended, unended);
  ret_now->unended_begun_ms = unended->req.begun_ms;
}

static void show(dusk__drain_t *drain) {
  if (drain->lock == NULL) return;
  dusk__drained_t now;
  dusk__drain_now(drain, &now);
  uv_mutex_lock(drain->lock);
  drain->shown = now;
  uv_mutex_unlock(drain->lock);
}

void dusk__drain_shown(const dusk__drain_t *drain, dusk__drained_t *ret_shown) {
  uv_mutex_lock(drain->lock);
  *ret_shown = drain->shown;
  uv_mutex_unlock(drain->lock);
}

/* -- Beginning ------------------------------------------------------------- */

static void know(dusk__member_t *member) {
  dusk__conn_know_peer(dusk__conn_of(member));
}

static void look(dusk__member_t *member) {
  dusk__conn_look(dusk__conn_of(member));
}

static void retime(dusk__member_t *member) {
  dusk__conn_retime(dusk__conn_of(member));
}

static uint64_t requests_ended(const dusk__drain_t *drain) {
  uint64_t ended = 0;
  for (int i = 0; i < DUSK__ENDINGS; i++)
    ended += dusk__counted(&drain->worker->census->requests_ended[i]);
  return ended;
}

void dusk__drain_begin(dusk__drain_t *drain) {
  dusk__worker_t *worker = drain->worker;
  dusk__census_t *census = worker->census;
  assert(dusk__worker_on_thread(worker));
  if (worker->policy->is_draining) return;
  uv_update_time(worker->loop);
  worker->policy->is_draining = true;
  drain->requests_ended = requests_ended(drain);
  for (int phase = 0; phase < DUSK__OPEN_PHASES; phase++)
    dusk__census_each(census, (dusk__phase_t)phase, know);
  atomic_fetch_sub(&worker->policy->plan->untold, 1);
  dusk__census_each(census, DUSK__ACTIVE, look);
  for (int phase = 0; phase < DUSK__OPEN_PHASES; phase++)
    dusk__census_each(census, (dusk__phase_t)phase, retime);
}

void dusk__drain_sealed(dusk__drain_t *drain) {
  assert(dusk__worker_on_thread(drain->worker));
  drain->more_may_come = false;
}

/* -- Cancel and cut -------------------------------------------------------- */

void dusk__drain_cancel(dusk__drain_t *drain, int status) {
  if (drain->is_cancelled) return;
  drain->is_cancelled = true;
  size_t running = drain->worker->census->requests;
  if (running == 0) return;
  drain->so_far.requests_cancelled = running;
  drain->so_far.status = status;
  keep_oldest(drain);
}

static void cut_conn(dusk__member_t *member) {
  dusk__conn_cut(dusk__conn_of(member));
}

/* One that another one's callback ends goes on with the next request of its
 * batch, which is younger than all that are visited: so again for that. */
static void cut_conns(dusk__census_t *census) {
  uint64_t begun;
  do {
    begun = dusk__counted(&census->requests_begun);
    for (int phase = 0; phase < DUSK__OPEN_PHASES; phase++)
      dusk__census_each(census, (dusk__phase_t)phase, cut_conn);
  } while (dusk__counted(&census->requests_begun) != begun);
}

void dusk__drain_cut(dusk__drain_t *drain, int status) {
  dusk__census_t *census = drain->worker->census;
  assert(dusk__worker_on_thread(drain->worker));
  if (drain->is_over) return;
  if (!drain->is_cutting) {
    drain->cuts_before = dusk__counted(&census->conns_ended[DUSK__CUT]);
    drain->unacknowledged_before =
        dusk__counted(&census->answers_unacknowledged);
  }
  drain->is_cutting = true;
  drain->cut_status = status;
  dusk__drain_cancel(drain, status);
  keep_oldest(drain);
  cut_conns(census);
}

/* One may end only when its handler has returned; and an answer may be cut,
 * too, on its way to a client that doesn't stop. */
static void watch_cuts(dusk__drain_t *drain) {
  const dusk__census_t *census = drain->worker->census;
  if (drain->is_cutting &&
      (dusk__counted(&census->conns_ended[DUSK__CUT]) > drain->cuts_before ||
       dusk__counted(&census->answers_unacknowledged) >
           drain->unacknowledged_before))
    drain->so_far.status = drain->cut_status;
}

/* -- The end --------------------------------------------------------------- */

/* Measures how long nothing but windows holds the drain. */
static void watch_windows(dusk__drain_t *drain) {
  const dusk__census_t *census = drain->worker->census;
  dusk__drained_t *so_far = &drain->so_far;
  size_t waiting = census->count[DUSK__NEW] + census->count[DUSK__IDLE];
  bool is_alone = waiting > 0 && !drain->more_may_come &&
                  dusk__census_awaited(census) == waiting;
  if (is_alone == (so_far->windows_ns > 0)) return;
  uint64_t now = uv_hrtime();
  if (!is_alone) so_far->windows_sum_ns += now - so_far->windows_ns;
  so_far->windows_ns = is_alone ? now : 0;
}

static void watch_requests(dusk__drain_t *drain) {
  uint64_t ended = requests_ended(drain);
  if (ended != drain->requests_ended && drain->worker->census->requests == 0)
    drain->so_far.answered_ns = uv_hrtime();
  drain->requests_ended = ended;
}

static void finish(dusk__drain_t *drain) {
  drain->is_over = true;
  /* Those that nobody waits for. */
  dusk__census_each(drain->worker->census, DUSK__LINGERING, cut_conn);
}

bool dusk__drain_check(dusk__drain_t *drain) {
  dusk__worker_t *worker = drain->worker;
  if (!worker->policy->is_draining || drain->is_over) return false;
  watch_windows(drain);
  watch_requests(drain);
  watch_cuts(drain);
  if (!drain->more_may_come && dusk__census_awaited(worker->census) == 0)
    finish(drain);
  show(drain);
  return drain->is_over;
}
