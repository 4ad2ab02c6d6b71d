/* The server's lanes: the first is its own loop, each other one a thread.
 *
 *   the acceptor's turn: dusk__lanes_pass ──inbox──▶ on_wake, take
 *   the server's orders: draining, cancelling, cutting end ──▶ on_..._order
 *   a lane's answer:     is_over, has_ended ──wake──▶ on_told
 *
 * An order is a context that ends, so it reaches each loop as every context's
 * end does. With one lane there is no thread, no lock and no inbox. */
#include "server.h"

#include <dusk/mux.h>

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
  FDS_A_WORD = 64,
  SPINS = 8, /* turns of a loop that waits for nothing else */
};

static dusk__lane_t *lane_of(dusk__worker_t *worker) {
  return DUSK__OWNER(worker, dusk__lane_t, worker);
}

static bool is_first(const dusk__lane_t *lane) {
  return lane->index == 0;
}

static uint64_t open_in(const dusk__lane_t *lane) {
  return dusk__census_count_open(&lane->census);
}

static void tell_server(dusk__lane_t *lane) {
  uv_async_send(&lane->worker.server->wake);
}

/* -- The descriptors of a lane --------------------------------------------- */

/* Without memory for it a connection is served all the same, but not cut if its
 * loop should be stuck. */
static bool make_fds_room(dusk__lane_t *lane, size_t word) {
  if (word < lane->fds_words) return true;
  size_t words = 2 * word + 16;
  uint64_t *fds = realloc(lane->fds, words * sizeof(*fds));
  if (fds == NULL) return false;
  memset(fds + lane->fds_words, 0, (words - lane->fds_words) * sizeof(*fds));
  lane->fds = fds;
  lane->fds_words = words;
  return true;
}

/* With the lock. From when it is passed: one that the lane has taken, and not
 * yet begun, is to be found, too. */
static void add_fd(dusk__lane_t *lane, int fd) {
  size_t word = (size_t)fd / FDS_A_WORD;
  if (make_fds_room(lane, word))
    lane->fds[word] |= UINT64_C(1) << fd % FDS_A_WORD;
}

static void on_closing(dusk__worker_t *worker, int fd) {
  dusk__lane_t *lane = lane_of(worker);
  size_t word = (size_t)fd / FDS_A_WORD;
  uv_mutex_lock(&lane->lock);
  if (word < lane->fds_words)
    lane->fds[word] &= ~(UINT64_C(1) << fd % FDS_A_WORD);
  uv_mutex_unlock(&lane->lock);
}

/* Cuts the connections of a loop that doesn't turn: the descriptors stay that
 * loop's to close. */
static void shut_fds(dusk__lane_t *lane) {
  uv_mutex_lock(&lane->lock);
  for (size_t fd = 0; fd < lane->fds_words * FDS_A_WORD; fd++)
    if (lane->fds[fd / FDS_A_WORD] >> fd % FDS_A_WORD & 1)
      shutdown((int)fd, SHUT_RDWR);
  uv_mutex_unlock(&lane->lock);
}

/* -- Passing on ------------------------------------------------------------ */

static dusk__lane_t *emptiest(dusk_server_t *server) {
  dusk__lane_t *best = &server->lanes[0];
  if (server->lane_count == 1) return best;
  uint64_t least = open_in(best);
  for (size_t i = 1; i < server->lane_count; i++) {
    uint64_t open = open_in(&server->lanes[i]);
    if (open >= least) continue;
    least = open;
    best = &server->lanes[i];
  }
  return best;
}

void dusk__lanes_pass(dusk_server_t *server, dusk__conn_t *conn) {
  dusk__lane_t *lane = emptiest(server);
  dusk__census_accept(&lane->census);
  if (is_first(lane)) {
    dusk__conn_begin(conn, &lane->worker);
    return;
  }
  uv_mutex_lock(&lane->lock);
  assert(!lane->is_sealed);
  dusk__list_append(&lane->inbox, &conn->member.link);
  add_fd(lane, conn->wire.stream.fd);
  uv_mutex_unlock(&lane->lock);
  lane->is_passed = true;
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
  for (size_t i = 1; i < server->lane_count; i++) {
    dusk__lane_t *lane = &server->lanes[i];
    uv_mutex_lock(&lane->lock);
    lane->is_sealed = true;
    uv_mutex_unlock(&lane->lock);
    uv_async_send(&lane->wake);
  }
}

/* Takes what was passed; what comes behind the seal's word is nothing. */
static void take(dusk__lane_t *lane) {
  dusk__link_t passed;
  uv_mutex_lock(&lane->lock);
  dusk__list_move(&passed, &lane->inbox);
  bool is_sealed = lane->is_sealed;
  uv_mutex_unlock(&lane->lock);
  while (!dusk__list_empty(&passed)) {
    dusk__member_t *member = DUSK__OWNER(passed.next, dusk__member_t, link);
    dusk__list_remove(&member->link);
    dusk__conn_begin(dusk__conn_of(member), &lane->worker);
  }
  if (!is_sealed) return;
  dusk__drain_sealed(&lane->drain);
  dusk__worker_at_turn_last(&lane->worker, &lane->task);
}

/* -- A lane's turn --------------------------------------------------------- */

static void begin_to_drain(dusk__lane_t *lane) {
  take(lane);
  dusk__census_watch(&lane->census, &lane->task, true);
  dusk__drain_begin(&lane->drain);
  dusk__worker_at_turn_last(&lane->worker, &lane->task);
}

static void on_drain_order(dusk_waiter_t *waiter) {
  begin_to_drain(DUSK__OWNER(waiter, dusk__lane_t, drain_order.waiter));
}

static void on_cancel_order(dusk_waiter_t *waiter) {
  dusk__lane_t *lane = DUSK__OWNER(waiter, dusk__lane_t, cancel_order.waiter);
  dusk__drain_cancel(&lane->drain,
                     atomic_load(&lane->worker.server->cancel_status));
}

static void cut(dusk__lane_t *lane) {
  begin_to_drain(lane);
  dusk__drain_cut(&lane->drain, atomic_load(&lane->worker.server->cut_status));
}

static void on_cut_order(dusk_waiter_t *waiter) {
  cut(DUSK__OWNER(waiter, dusk__lane_t, cut_order.waiter));
}

/* -- A lane's end ---------------------------------------------------------- */

static void drop_order(dusk__order_t *order) {
  dusk_context_unref(order->ctx);
  order->ctx = NULL;
}

/* What it has, but for its handles. */
static void empty_lane(dusk__lane_t *lane) {
  dusk__worker_t *worker = &lane->worker;
  dusk__pool_done(&lane->pool);
  dusk__gather_done(&lane->gather);
  dusk_context_unref(worker->ctx);
  dusk_context_unref(worker->draining);
  dusk_context_unref(worker->gone);
  dusk_context_unref(worker->root);
  drop_order(&lane->drain_order);
  drop_order(&lane->cancel_order);
  drop_order(&lane->cut_order);
}

static int tell_start(dusk__lane_t *lane) {
  dusk__worker_t *worker = &lane->worker;
  const dusk_server_config_t *config = worker->config;
  if (config->on_worker_start == NULL) return 0;
  int err = config->on_worker_start(worker->server, lane->root, lane->index,
                                    &worker->data, config->on_worker_arg);
  return err > 0 ? UV_EINVAL : err;
}

static void tell_stop(dusk__lane_t *lane) {
  dusk__worker_t *worker = &lane->worker;
  const dusk_server_config_t *config = worker->config;
  void *data = worker->data;
  worker->data = NULL;
  if (config->on_worker_stop)
    config->on_worker_stop(worker->server, lane->root, lane->index, data,
                           config->on_worker_arg);
}

/* Its thread's loop then has nothing of the server's any more. False while
 * something of the users' still names the root. */
static bool end_loop(dusk__lane_t *lane) {
  if (dusk_context_detach(lane->root, NULL, NULL) < 0) return false;
  uv_close((uv_handle_t *)&lane->wake, NULL);
  uv_close((uv_handle_t *)&lane->retry, NULL);
  uv_close((uv_handle_t *)&lane->spin, NULL);
  return true;
}

static void on_retry(uv_prepare_t *retry) {
  end_loop(DUSK__OWNER(retry, dusk__lane_t, retry));
}

static void on_spin(uv_idle_t *spin) {
  dusk__lane_t *lane = DUSK__OWNER(spin, dusk__lane_t, spin);
  if (--lane->spins == 0) uv_idle_stop(spin);
}

/* What is due on the loop may give the root up at once; what the users have
 * under way there does so in a turn of its own, and keeps the loop until then.
 * These calls can't fail with a callback. */
static void end_loop_later(dusk__lane_t *lane) {
  lane->spins = SPINS;
  uv_unref((uv_handle_t *)&lane->wake);
  uv_unref((uv_handle_t *)&lane->retry);
  uv_prepare_start(&lane->retry, on_retry);
  uv_idle_start(&lane->spin, on_spin);
}

/* Not before what is due was told. Responses that handlers still hold keep the
 * memory, not the loop; what else the users have on it, that goes on. */
static void close_when_done(dusk__lane_t *lane) {
  if (!dusk__worker_close(&lane->worker)) {
    dusk__worker_at_turn_last(&lane->worker, &lane->task);
  } else if (!end_loop(lane)) {
    end_loop_later(lane);
  }
}

static void on_lane_unused(dusk__worker_t *worker) {
  empty_lane(lane_of(worker));
}

static void quit(dusk__lane_t *lane) {
  if (lane->is_quitting) return;
  lane->is_quitting = true;
  atomic_store(&lane->has_heard, true);
  if (!lane->is_silent) tell_server(lane);
  if (!lane->drain.is_over) cut(lane);
  if (lane->start_err == 0) tell_stop(lane);
  dusk_waiter_stop(&lane->drain_order.waiter);
  dusk_waiter_stop(&lane->cancel_order.waiter);
  dusk_waiter_stop(&lane->cut_order.waiter);
  close_when_done(lane);
}

static void on_lane_turn(dusk__task_t *task) {
  dusk__lane_t *lane = DUSK__OWNER(task, dusk__lane_t, task);
  bool is_news = lane->is_watching && !lane->policy.is_draining;
  if (dusk__drain_check(&lane->drain)) {
    dusk__ex_tell_held(&lane->worker);
    atomic_store(&lane->is_over, true);
    is_news = true;
  }
  if (is_news) tell_server(lane);
  if (lane->is_quitting) close_when_done(lane);
}

/* Of those who ended before, the server is told now. */
static void watch_ends(dusk__lane_t *lane) {
  if (lane->is_watching) return;
  lane->is_watching = true;
  if (lane->census.watcher == NULL)
    dusk__census_watch(&lane->census, &lane->task, false);
  tell_server(lane);
}

static void on_wake(uv_async_t *async) {
  dusk__lane_t *lane = DUSK__OWNER(async, dusk__lane_t, wake);
  dusk__worker_note_thread(&lane->worker);
  take(lane);
  uv_mutex_lock(&lane->lock);
  bool is_to_quit = lane->is_to_quit;
  bool is_watched = lane->is_watched;
  uv_mutex_unlock(&lane->lock);
  if (is_watched) watch_ends(lane);
  if (is_to_quit) quit(lane);
}

/* The lane closes the wake-up once it knows, and so does when all was sent. */
static void send_to_end(dusk__lane_t *lane) {
  uv_mutex_lock(&lane->lock);
  lane->is_to_quit = true;
  uv_async_send(&lane->wake);
  uv_mutex_unlock(&lane->lock);
}

static void run_to_end(dusk__lane_t *lane) {
  uv_run(&lane->loop, UV_RUN_DEFAULT);
  lane->is_lost = uv_loop_close(&lane->loop) < 0;
  assert(!lane->is_lost && "something was left on a worker's loop");
}

/* -- A lane's beginning ---------------------------------------------------- */

/* What each storey keeps for this loop. */
static void furnish(dusk_server_t *server, size_t index) {
  dusk__lane_t *lane = &server->lanes[index];
  dusk__worker_t *worker = &lane->worker;
  bool is_alone = server->lane_count == 1;
  lane->index = index;
  worker->server = server;
  worker->config = &server->config;
  worker->gather = &lane->gather;
  worker->census = &lane->census;
  worker->policy = &lane->policy;
  worker->pool = &lane->pool;
  lane->policy.plan = &server->plan;
  lane->policy.config = &server->config;
  lane->task.run = on_lane_turn;
  dusk__list_init(&lane->inbox);
  dusk__pool_init(&lane->pool, dusk__conn_go_on_with);
  dusk__census_init(&lane->census, worker);
  dusk__drain_init(&lane->drain, worker, is_alone ? NULL : &lane->lock);
}

/* The server's contexts on the lane's loop, and what its storeys need memory
 * for. */
static int equip(dusk_server_t *server, dusk__lane_t *lane) {
  dusk__worker_t *worker = &lane->worker;
  dusk_context_t *root = lane->root;
  int err = dusk_context_with_root(server->ctx, root, &worker->ctx);
  if (err == 0)
    err = dusk_context_with_root(server->draining, root, &worker->draining);
  if (err == 0) err = dusk_context_with_cancel(root, &worker->gone);
  if (err == 0) err = dusk__gather_init(&lane->gather, &dusk__conn_events);
  if (err == 0) dusk_context_cancel(worker->gone, &dusk_client_gone);
  return err;
}

static int equip_thread(dusk_server_t *server, dusk__lane_t *lane) {
  dusk_context_t *root = lane->root;
  int err = equip(server, lane);
  if (err == 0)
    err =
        dusk_context_with_root(server->draining, root, &lane->drain_order.ctx);
  if (err == 0)
    err = dusk_context_with_root(server->cancelling, root,
                                 &lane->cancel_order.ctx);
  if (err == 0)
    err = dusk_context_with_root(server->cutting, root, &lane->cut_order.ctx);
  return err;
}

static void await(dusk__lane_t *lane, dusk__order_t *order, dusk_waiter_cb cb) {
  dusk_context_after(order->ctx, &order->waiter, lane->root, cb);
}

/* None of this can fail. */
static void open_thread(dusk__lane_t *lane) {
  dusk__worker_t *worker = &lane->worker;
  dusk__worker_init(worker, lane->root, dusk__conn_expired, on_lane_unused);
  worker->closing = on_closing;
  await(lane, &lane->drain_order, on_drain_order);
  await(lane, &lane->cancel_order, on_cancel_order);
  await(lane, &lane->cut_order, on_cut_order);
}

static void lane_main(void *arg) {
  dusk__lane_t *lane = arg;
  lane->worker.thread = uv_thread_self();
  lane->start_err = tell_start(lane);
  uv_sem_post(&lane->started);
  run_to_end(lane);
  if (lane->is_silent) return;
  atomic_store(&lane->has_ended, true);
  tell_server(lane);
}

/* The loop and what is on it; on failure there is nothing. */
static int make_loop(dusk_server_t *server, dusk__lane_t *lane) {
  int err = uv_loop_init(&lane->loop);
  if (err < 0) return err;
  err = uv_async_init(&lane->loop, &lane->wake, on_wake);
  if (err < 0) {
    uv_loop_close(&lane->loop);
    return err;
  }
  uv_prepare_init(&lane->loop, &lane->retry); /* always 0 */
  uv_idle_init(&lane->loop, &lane->spin);
  err = dusk_context_attach(&lane->loop, &lane->root);
  if (err < 0) {
    uv_close((uv_handle_t *)&lane->wake, NULL);
    uv_close((uv_handle_t *)&lane->retry, NULL);
    uv_close((uv_handle_t *)&lane->spin, NULL);
    run_to_end(lane);
    return err;
  }
  err = equip_thread(server, lane);
  if (err == 0) {
    open_thread(lane);
    return 0;
  }
  empty_lane(lane);
  end_loop(lane); /* nobody else knows the root */
  run_to_end(lane);
  return err;
}

static void join(dusk__lane_t *lane) {
  uv_thread_join(&lane->thread);
  uv_sem_destroy(&lane->started);
  uv_mutex_destroy(&lane->lock);
  free(lane->fds);
  lane->is_made = false;
}

static int start_thread(dusk__lane_t *lane) {
  int err = uv_thread_create(&lane->thread, lane_main, lane);
  if (err < 0) { /* the loop ends here, as it would there */
    lane->start_err = err;
    quit(lane);
    run_to_end(lane);
    return err;
  }
  lane->is_made = true;
  uv_sem_wait(&lane->started);
  return lane->start_err;
}

static int make_lane(dusk_server_t *server, dusk__lane_t *lane) {
  lane->is_silent = true;
  int err = uv_mutex_init(&lane->lock);
  if (err < 0) return err;
  err = uv_sem_init(&lane->started, 0);
  if (err < 0) {
    uv_mutex_destroy(&lane->lock);
    return err;
  }
  err = make_loop(server, lane);
  if (err == 0) err = start_thread(lane);
  if (err < 0 && !lane->is_made) {
    uv_sem_destroy(&lane->started);
    uv_mutex_destroy(&lane->lock);
  }
  return err;
}

/* -- All of them ----------------------------------------------------------- */

static void on_first_unused(dusk__worker_t *worker) {
  empty_lane(lane_of(worker));
  dusk__server_release(worker->server);
}

/* Before the server has begun. */
static void unmake(dusk_server_t *server) {
  for (size_t i = 1; i < server->lane_count; i++) {
    dusk__lane_t *lane = &server->lanes[i];
    if (!lane->is_made) continue;
    send_to_end(lane);
    join(lane);
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
         open_in(lane) > 0;
}

static void keep_loop(dusk_server_t *server) {
  bool waits = false;
  if (server->lane_count == 1) return;
  for (size_t i = 1; i < server->lane_count; i++)
    waits = waits || waits_for(server, &server->lanes[i]);
  if (waits)
    uv_ref((uv_handle_t *)&server->wake);
  else
    uv_unref((uv_handle_t *)&server->wake);
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
  join(lane);
  if (!lane->is_lost && lane->worker.refs == 0) dusk__server_release(server);
}

/* A lane has something to tell. */
static void on_told(uv_async_t *async) {
  dusk_server_t *server = DUSK__OWNER(async, dusk_server_t, wake);
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
  return uv_async_init(dusk_context_loop(server->lanes[0].root), &server->wake,
                       on_told);
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
  int err = equip(server, lane);
  if (err == 0) err = tell_start(lane);
  if (err < 0) empty_lane(lane);
  return err;
}

int dusk__lanes_start(dusk_server_t *server, dusk_context_t *root) {
  for (size_t i = 0; i < server->lane_count; i++)
    furnish(server, i);
  int err = start_first(server, root);
  if (err < 0) return err;
  for (size_t i = 1; i < server->lane_count && err == 0; i++)
    err = make_lane(server, &server->lanes[i]);
  if (err == 0) err = open_wake(server);
  if (err == 0) {
    open_first(server);
    return 0;
  }
  unmake(server);
  tell_stop(&server->lanes[0]);
  empty_lane(&server->lanes[0]);
  return err;
}

void dusk__lanes_watch(dusk_server_t *server) {
  if (server->is_watching) return;
  server->is_watching = true;
  dusk__census_watch(&server->lanes[0].census, &server->task, false);
  for (size_t i = 1; i < server->lane_count; i++) {
    dusk__lane_t *lane = &server->lanes[i];
    uv_mutex_lock(&lane->lock);
    lane->is_watched = true;
    uv_mutex_unlock(&lane->lock);
    uv_async_send(&lane->wake);
  }
  keep_loop(server);
}

void dusk__lanes_drain(dusk_server_t *server) {
  dusk__lane_t *first = &server->lanes[0];
  dusk__census_watch(&first->census, &server->task, true);
  dusk__drain_begin(&first->drain);
  dusk_context_cancel(server->draining, NULL);
  keep_loop(server);
}

void dusk__lanes_cancel(dusk_server_t *server, int status) {
  atomic_store(&server->cancel_status, status);
  dusk__drain_cancel(&server->lanes[0].drain, status);
  dusk_context_cancel(server->cancelling, NULL);
}

void dusk__lanes_order_cut(dusk_server_t *server, int status) {
  atomic_store(&server->cut_status, status);
  dusk_context_cancel(server->cutting, NULL);
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
    shut_fds(lane);
  }
  keep_loop(server);
}

void dusk__lanes_quit(dusk_server_t *server) {
  dusk__worker_t *worker = dusk__server_worker(server);
  if (worker->is_closing) return;
  if (!dusk__list_empty(&worker->tasks)) { /* somebody is still to be told */
    dusk__server_at_turn(server);
    return;
  }
  tell_stop(&server->lanes[0]);
  dusk__seal_close(&server->seal);
  for (size_t i = 1; i < server->lane_count; i++)
    send_to_end(&server->lanes[i]);
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

static void add_drained(dusk__drained_t *sum, const dusk__drained_t *one) {
  if (sum->status == 0) sum->status = one->status;
  sum->answered_ns = later(sum->answered_ns, one->answered_ns);
  sum->requests_cancelled += one->requests_cancelled;
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
    drained->status = atomic_load(&server->cut_status);
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
