#include "census.h"

#ifndef NDEBUG
static const bool legal_moves[DUSK__PHASES][DUSK__PHASES] = {
    [DUSK__NEW] = {[DUSK__ACTIVE] = true,
                   [DUSK__LINGERING] = true,
                   [DUSK__CLOSED] = true},
    [DUSK__ACTIVE] = {[DUSK__IDLE] = true,
                      [DUSK__LINGERING] = true,
                      [DUSK__HIJACKED] = true,
                      [DUSK__CLOSED] = true},
    [DUSK__IDLE] = {[DUSK__ACTIVE] = true,
                    [DUSK__LINGERING] = true,
                    [DUSK__CLOSED] = true},
    [DUSK__LINGERING] = {[DUSK__CLOSED] = true},
};
#endif

void dusk__census_init(dusk__census_t *census, dusk__worker_t *worker) {
  census->worker = worker;
  for (int phase = 0; phase < DUSK__OPEN_PHASES; phase++)
    dusk__list_init(&census->members[phase]);
}

void dusk__census_watch(dusk__census_t *census, dusk__task_t *watcher,
                        bool moves) {
  census->watcher = watcher;
  census->watches_moves = moves;
}

static void tell_watcher(dusk__census_t *census, bool is_end) {
  if (census->watcher && (is_end || census->watches_moves))
    dusk__worker_at_turn_last(census->worker, census->watcher);
}

/* -- Connections ----------------------------------------------------------- */

void dusk__census_enter(dusk__census_t *census, dusk__member_t *member,
                        uint64_t now_ms) {
  assert(dusk__worker_on_thread(census->worker));
  member->phase = DUSK__NEW;
  member->since_ms = now_ms;
  census->count[DUSK__NEW]++;
  dusk__list_append(&census->members[DUSK__NEW], &member->link);
}

void dusk__census_note_ending(dusk__member_t *member, dusk__ending_t ending) {
  assert(member->phase < DUSK__LINGERING);
  member->ending = ending;
}

static void leave(dusk__census_t *census, dusk__member_t *member) {
  assert(census->count[member->phase] > 0);
  census->count[member->phase]--;
  if (!dusk__census_is_awaited(member)) {
    assert(census->unawaited > 0);
    census->unawaited--;
  }
  dusk__list_remove(&member->link);
}

void dusk__census_move(dusk__census_t *census, dusk__member_t *member,
                       dusk__phase_t phase, uint64_t since_ms) {
  assert(dusk__worker_on_thread(census->worker));
  assert(legal_moves[member->phase][phase]);
  leave(census, member);
  member->phase = phase;
  member->since_ms = since_ms;
  if (dusk__census_is_over(member)) {
    dusk__count(&census->conns_ended[member->ending], 1);
  } else {
    census->count[phase]++;
    dusk__list_append(&census->members[phase], &member->link);
    if (!dusk__census_is_awaited(member)) census->unawaited++;
  }
  tell_watcher(census, dusk__census_is_over(member));
}

size_t dusk__census_open(const dusk__census_t *census) {
  size_t open = 0;
  for (int phase = 0; phase < DUSK__OPEN_PHASES; phase++)
    open += census->count[phase];
  return open;
}

size_t dusk__census_awaited(const dusk__census_t *census) {
  size_t open = dusk__census_open(census);
  assert(open >= census->unawaited);
  return open - census->unawaited;
}

void dusk__census_each(dusk__census_t *census, dusk__phase_t phase,
                       void (*act)(dusk__member_t *member)) {
  dusk__link_t members;
  dusk__list_move(&members, &census->members[phase]);
  while (!dusk__list_empty(&members)) {
    dusk__link_t *link = members.next;
    dusk__list_remove(link);
    dusk__list_append(&census->members[phase], link);
    act(DUSK__OWNER(link, dusk__member_t, link));
  }
}

/* -- Requests -------------------------------------------------------------- */

void dusk__census_request_begun(dusk__census_t *census,
                                dusk__member_t *member) {
  assert(member->phase == DUSK__ACTIVE);
  census->requests++;
  dusk__count(&census->requests_begun, 1);
  /* The next one of a connection is younger than all others. */
  if (census->members[DUSK__ACTIVE].prev == &member->link) return;
  dusk__list_remove(&member->link);
  dusk__list_append(&census->members[DUSK__ACTIVE], &member->link);
}

void dusk__census_request_ended(dusk__census_t *census, dusk__ending_t ending) {
  assert(dusk__worker_on_thread(census->worker));
  assert(census->requests > 0);
  census->requests--;
  dusk__count(&census->requests_ended[ending], 1);
  tell_watcher(census, false);
}

/* -- The counts ------------------------------------------------------------ */

/* What ends is read before what begins, so that none has ended that hadn't
 * begun. */
void dusk__census_add(const dusk__census_t *census, dusk__tally_t *tally) {
  for (int i = 0; i < DUSK__ENDINGS; i++) {
    tally->conns_ended[i] += dusk__counted(&census->conns_ended[i]);
    tally->requests_ended[i] += dusk__counted(&census->requests_ended[i]);
  }
  tally->held_ended += dusk__counted(&census->held_ended);
  tally->held_begun += dusk__counted(&census->held_begun);
  tally->conns_late += dusk__counted(&census->conns_late);
  tally->conns_unconfirmed += dusk__counted(&census->conns_unconfirmed);
  tally->answers_unacknowledged +=
      dusk__counted(&census->answers_unacknowledged);
  tally->requests_begun += dusk__counted(&census->requests_begun);
  tally->conns_accepted += dusk__counted(&census->conns_accepted);
}

void dusk__tally_add(dusk__tally_t *tally, const dusk__tally_t *more) {
  for (int i = 0; i < DUSK__ENDINGS; i++) {
    tally->conns_ended[i] += more->conns_ended[i];
    tally->requests_ended[i] += more->requests_ended[i];
  }
  tally->conns_accepted += more->conns_accepted;
  tally->conns_late += more->conns_late;
  tally->conns_unconfirmed += more->conns_unconfirmed;
  tally->answers_unacknowledged += more->answers_unacknowledged;
  tally->requests_begun += more->requests_begun;
  tally->held_begun += more->held_begun;
  tally->held_ended += more->held_ended;
}

uint64_t dusk__census_count_open(const dusk__census_t *census) {
  uint64_t ended = 0;
  for (int i = 0; i < DUSK__ENDINGS; i++)
    ended += dusk__counted(&census->conns_ended[i]);
  return dusk__counted(&census->conns_accepted) - ended;
}

static uint64_t sum(const uint64_t counts[DUSK__ENDINGS]) {
  uint64_t all = 0;
  for (int i = 0; i < DUSK__ENDINGS; i++)
    all += counts[i];
  return all;
}

uint64_t dusk__tally_open(const dusk__tally_t *tally) {
  return tally->conns_accepted - sum(tally->conns_ended);
}

uint64_t dusk__tally_running(const dusk__tally_t *tally) {
  return tally->requests_begun - sum(tally->requests_ended);
}
