/* The server's lanes as one: the first is its own loop, each other one a
 * thread. With one lane there is no thread, no lock and no inbox. */
#include "lanes.h"

#include <string.h>

/* -- Passing on ------------------------------------------------------------ */

static dusk__lane_t *emptiest(dusk_server_t *server) {
  dusk__lane_t *best = &server->lanes[0];
  if (server->lane_count == 1) return best;
  uint64_t least = dusk__lane_open(best);
  for (size_t i = 1; i < server->lane_count; i++) {
    uint64_t open = dusk__lane_open(&server->lanes[i]);
    if (open >= least) continue;
    least = open;
    best = &server->lanes[i];
  }
  return best;
}

void dusk__lanes_pass(dusk_server_t *server, dusk__conn_t *conn) {
  dusk__lane_t *lane = emptiest(server);
  dusk__census_accept(&lane->census);
  if (lane->index == 0) {
    dusk__conn_begin(conn, &lane->worker);
  } else {
    dusk__lane_pass(lane, conn);
    lane->is_passed = true;
  }
}

void dusk__lanes_passed(dusk_server_t *server) {
  for (size_t i = 1; i < server->lane_count; i++) {
    dusk__lane_t *lane = &server->lanes[i];
    if (lane->is_passed) uv_async_send(&lane->wake);
    lane->is_passed = false;
  }
}

void dusk__lanes_seal(dusk_server_t *server) {
  dusk__drain_sealed(&server->lanes[0].drain);
  for (size_t i = 1; i < server->lane_count; i++)
    dusk__lane_seal(&server->lanes[i]);
}

/* -- From start to quit ---------------------------------------------------- */

static void on_first_unused(dusk__worker_t *worker) {
  dusk__lane_empty(DUSK__OWNER(worker, dusk__lane_t, worker));
  dusk__server_release(worker->server);
}

/* Before the server has begun. */
static void unmake(dusk_server_t *server) {
  for (size_t i = 1; i < server->lane_count; i++) {
    dusk__lane_t *lane = &server->lanes[i];
    if (!lane->is_made) continue;
    dusk__lane_send_to_end(lane);
    dusk__lane_join(lane);
  }
}

static void on_handle_closed(uv_handle_t *handle) {
  dusk_server_t *server = handle->data;
  dusk__worker_release(dusk__server_worker(server));
}

static void close_handle(dusk_server_t *server, uv_handle_t *handle) {
  handle->data = server;
  dusk__worker_ref(dusk__server_worker(server));
  uv_close(handle, on_handle_closed);
}

/* Whether the server's loop is to go on for a lane: to serve, where nothing
 * else keeps it, to drain, and to its thread's end. */
static bool waits_for(const dusk_server_t *server, const dusk__lane_t *lane) {
  if (lane->is_left) return false;
  if (server->lanes[0].worker.is_closing) return lane->is_made;
  if (server->phase >= DUSK_DRAINING) return !atomic_load(&lane->is_over);
  return server->is_watching && server->acceptor.listening == 0 &&
         dusk__lane_open(lane) > 0;
}

static void keep_loop(dusk_server_t *server) {
  bool waits = false;
  if (server->lane_count == 1) return;
  for (size_t i = 1; i < server->lane_count; i++)
    waits = waits || waits_for(server, &server->lanes[i]);
  if (waits)
    uv_ref((uv_handle_t *)&server->orders.wake);
  else
    uv_unref((uv_handle_t *)&server->orders.wake);
}

/* All lanes know that they must end, or don't turn. */
static void close_timer_when_heard(dusk_server_t *server, bool is_late) {
  uv_handle_t *timer = (uv_handle_t *)&server->cut_timer;
  if (!server->lanes[0].worker.is_closing || uv_is_closing(timer)) return;
  for (size_t i = 1; i < server->lane_count; i++) {
    dusk__lane_t *lane = &server->lanes[i];
    if (atomic_load(&lane->has_heard)) continue;
    if (!is_late) return;
    lane->is_left = true;
  }
  close_handle(server, timer);
}

static void on_unheard(uv_timer_t *timer) {
  close_timer_when_heard(timer->data, true);
  keep_loop(timer->data);
}

/* Where a handler holds a response still, memory stays, as it does with one
 * loop. */
static void join_ended(dusk_server_t *server, dusk__lane_t *lane) {
  dusk__lane_join(lane);
  if (!lane->is_lost && lane->worker.refs == 0) dusk__server_release(server);
}

/* A lane has something to tell. */
static void on_told(uv_async_t *async) {
  dusk_server_t *server = DUSK__OWNER(async, dusk_server_t, orders.wake);
  size_t left = 0;
  dusk__worker_note_thread(dusk__server_worker(server));
  dusk__server_at_turn(server);
  for (size_t i = 1; i < server->lane_count; i++) {
    dusk__lane_t *lane = &server->lanes[i];
    if (lane->is_made && atomic_load(&lane->has_ended))
      join_ended(server, lane);
    left += lane->is_made;
  }
  close_timer_when_heard(server, false);
  keep_loop(server);
  if (left > 0) return;
  close_handle(server, (uv_handle_t *)async);
  dusk__worker_release(dusk__server_worker(server)); /* of the wake */
}

static int open_wake(dusk_server_t *server) {
  if (server->lane_count == 1) return 0;
  return uv_async_init(dusk_context_loop(server->lanes[0].root),
                       &server->orders.wake, on_told);
}

/* None of this can fail any more. */
static void open_first(dusk_server_t *server) {
  dusk__worker_t *worker = dusk__server_worker(server);
  dusk__worker_init(worker, server->lanes[0].root, dusk__conn_expired,
                    on_first_unused);
  server->refs += server->lane_count;
  for (size_t i = 1; i < server->lane_count; i++)
    server->lanes[i].is_silent = false;
  if (server->lane_count > 1) dusk__worker_ref(worker); /* of the wake */
  keep_loop(server);
}

static int start_first(dusk_server_t *server, dusk_context_t *root) {
  dusk__lane_t *lane = &server->lanes[0];
  lane->root = root;
  int err = dusk__lane_equip(lane);
  if (err == 0) err = dusk__lane_tell_start(lane);
  if (err < 0) dusk__lane_empty(lane);
  return err;
}

int dusk__lanes_start(dusk_server_t *server, dusk_context_t *root) {
  for (size_t i = 0; i < server->lane_count; i++)
    dusk__lane_init(&server->lanes[i], i, server->lane_count == 1,
                    &server->config, &server->plan, &server->orders);
  int err = start_first(server, root);
  if (err < 0) return err;
  for (size_t i = 1; i < server->lane_count && err == 0; i++)
    err = dusk__lane_start(&server->lanes[i]);
  if (err == 0) err = open_wake(server);
  if (err == 0) {
    open_first(server);
    return 0;
  }
  unmake(server);
  dusk__lane_tell_stop(&server->lanes[0]);
  dusk__lane_empty(&server->lanes[0]);
  return err;
}

void dusk__lanes_watch(dusk_server_t *server) {
  if (server->is_watching) return;
  server->is_watching = true;
  dusk__census_watch(&server->lanes[0].census, &server->task, false);
  for (size_t i = 1; i < server->lane_count; i++)
    dusk__lane_watch(&server->lanes[i]);
  keep_loop(server);
}

void dusk__lanes_drain(dusk_server_t *server) {
  dusk__lane_t *first = &server->lanes[0];
  dusk__census_watch(&first->census, &server->task, true);
  dusk__drain_begin(&first->drain);
  dusk_context_cancel(server->orders.draining, NULL);
  keep_loop(server);
}

void dusk__lanes_cancel(dusk_server_t *server, int status) {
  atomic_store(&server->orders.cancel_status, status);
  dusk__drain_cancel(&server->lanes[0].drain, status);
  dusk_context_cancel(server->orders.cancelling, NULL);
}

void dusk__lanes_order_cut(dusk_server_t *server, int status) {
  atomic_store(&server->orders.cut_status, status);
  dusk_context_cancel(server->orders.cutting, NULL);
}

void dusk__lanes_cut(dusk_server_t *server, int status) {
  dusk__drain_cut(&server->lanes[0].drain, status);
}

bool dusk__lanes_are_over(dusk_server_t *server) {
  dusk__lane_t *first = &server->lanes[0];
  dusk__drain_check(&first->drain);
  bool are_over = first->drain.is_over;
  for (size_t i = 1; i < server->lane_count; i++) {
    const dusk__lane_t *lane = &server->lanes[i];
    are_over = are_over && (lane->is_left || atomic_load(&lane->is_over));
  }
  return are_over;
}

void dusk__lanes_leave(dusk_server_t *server) {
  for (size_t i = 1; i < server->lane_count; i++) {
    dusk__lane_t *lane = &server->lanes[i];
    if (atomic_load(&lane->is_over)) continue;
    lane->is_left = true;
    dusk__lane_shut(lane);
  }
  keep_loop(server);
}

void dusk__lanes_close_idle(dusk_server_t *server) {
  dusk__lane_close_idle(&server->lanes[0]);
  for (size_t i = 1; i < server->lane_count; i++)
    dusk__lane_order_close_idle(&server->lanes[i]);
}

void dusk__lanes_quit(dusk_server_t *server) {
  dusk__worker_t *worker = dusk__server_worker(server);
  if (worker->is_closing) return;
  if (!dusk__list_empty(&worker->tasks)) { /* somebody is still to be told */
    dusk__server_at_turn(server);
    return;
  }
  dusk__lane_tell_stop(&server->lanes[0]);
  dusk__seal_close(&server->seal);
  for (size_t i = 1; i < server->lane_count; i++)
    dusk__lane_send_to_end(&server->lanes[i]);
  dusk__worker_close(worker);
  uv_timer_start(&server->cut_timer, on_unheard, DUSK__STUCK_MS, 0);
  close_timer_when_heard(server, false);
  keep_loop(server);
}

/* -- The account ----------------------------------------------------------- */

void dusk__lanes_tally(const dusk_server_t *server, dusk__tally_t *ret_tally) {
  memset(ret_tally, 0, sizeof(*ret_tally));
  for (size_t i = 0; i < server->lane_count; i++) {
    const dusk__lane_t *lane = &server->lanes[i];
    dusk__tally_t tally = {0};
    dusk__census_add(&lane->census, &tally);
    if (lane->is_left) {
      tally.conns_ended[DUSK__CUT] += dusk__tally_open(&tally);
      tally.requests_ended[DUSK__CUT] += dusk__tally_running(&tally);
    }
    dusk__tally_add(ret_tally, &tally);
  }
}

static uint64_t later(uint64_t a, uint64_t b) {
  return a > b ? a : b;
}

/* A request that runs is told of before one that has ended, the oldest first.
 */
static bool is_older(const dusk__drained_t *a, const dusk__drained_t *b) {
  if (a->oldest[0] == '\0' || b->oldest[0] == '\0') return a->oldest[0] != '\0';
  bool a_runs = a->oldest_ended_ms == 0;
  bool b_runs = b->oldest_ended_ms == 0;
  if (a_runs != b_runs) return a_runs;
  return a->oldest_begun_ms < b->oldest_begun_ms;
}

static void add_unended(dusk__drained_t *sum, const dusk__drained_t *one) {
  if (one->unended[0] == '\0') return;
  if (sum->unended[0] && sum->unended_begun_ms <= one->unended_begun_ms) return;
  memcpy(sum->unended, one->unended, sizeof(sum->unended));
  sum->unended_begun_ms = one->unended_begun_ms;
}

static void add_drained(dusk__drained_t *sum, const dusk__drained_t *one) {
  if (sum->status == 0) sum->status = one->status;
  sum->answered_ns = later(sum->answered_ns, one->answered_ns);
  sum->requests_cancelled += one->requests_cancelled;
  add_unended(sum, one);
  if (!is_older(one, sum)) return;
  memcpy(sum->oldest, one->oldest, sizeof(sum->oldest));
  sum->oldest_begun_ms = one->oldest_begun_ms;
  sum->oldest_ended_ms = one->oldest_ended_ms;
}

/* The lane that windows held for longest stands for all. */
static uint64_t windows_ns(const dusk__drained_t *drained, uint64_t now) {
  uint64_t since = drained->windows_ns;
  return drained->windows_sum_ns + (since && since < now ? now - since : 0);
}

/* One that was left behind with something has cut that, whatever it shows. */
static void add_left(const dusk_server_t *server, const dusk__lane_t *lane,
                     dusk__drained_t *drained) {
  dusk__tally_t tally = {0};
  dusk__census_add(&lane->census, &tally);
  if (dusk__tally_open(&tally) > 0 && drained->status == 0)
    drained->status = atomic_load(&server->orders.cut_status);
}

void dusk__lanes_drained(const dusk_server_t *server,
                         dusk__drained_t *ret_drained) {
  uint64_t now = server->ended_ns ? server->ended_ns : uv_hrtime();
  dusk__drain_now(&server->lanes[0].drain, ret_drained);
  ret_drained->windows_sum_ns = windows_ns(ret_drained, now);
  ret_drained->windows_ns = 0;
  for (size_t i = 1; i < server->lane_count; i++) {
    dusk__drained_t one;
    dusk__drain_shown(&server->lanes[i].drain, &one);
    if (server->lanes[i].is_left) add_left(server, &server->lanes[i], &one);
    ret_drained->windows_sum_ns =
        later(ret_drained->windows_sum_ns, windows_ns(&one, now));
    add_drained(ret_drained, &one);
  }
}
