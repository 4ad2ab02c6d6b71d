/* A lane: one loop that serves, and for all but the first the thread that it is
 * on.
 *
 *   passed:      dusk__lane_pass ──inbox──▶ on_wake, take
 *   ordered:     draining, cancelling, cutting end ──▶ on_..._order
 *   its answer:  is_over, has_ended ──wake──▶ the server's loop
 *
 * An order is a context that ends, so it reaches each loop as every context's
 * end does. */
#include "lane.h"

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

static void tell_server(dusk__lane_t *lane) {
  uv_async_send(&lane->orders->wake);
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
void dusk__lane_shut(dusk__lane_t *lane) {
  uv_mutex_lock(&lane->lock);
  for (size_t fd = 0; fd < lane->fds_words * FDS_A_WORD; fd++)
    if (lane->fds[fd / FDS_A_WORD] >> fd % FDS_A_WORD & 1)
      shutdown((int)fd, SHUT_RDWR);
  uv_mutex_unlock(&lane->lock);
}

/* -- Passing on ------------------------------------------------------------ */

void dusk__lane_pass(dusk__lane_t *lane, dusk__conn_t *conn) {
  uv_mutex_lock(&lane->lock);
  assert(!lane->is_sealed);
  dusk__list_append(&lane->inbox, &conn->member.link);
  add_fd(lane, conn->wire.stream.fd);
  uv_mutex_unlock(&lane->lock);
}

void dusk__lane_seal(dusk__lane_t *lane) {
  uv_mutex_lock(&lane->lock);
  lane->is_sealed = true;
  uv_mutex_unlock(&lane->lock);
  uv_async_send(&lane->wake);
}

void dusk__lane_watch(dusk__lane_t *lane) {
  uv_mutex_lock(&lane->lock);
  lane->is_watched = true;
  uv_mutex_unlock(&lane->lock);
  uv_async_send(&lane->wake);
}

void dusk__lane_order_close_idle(dusk__lane_t *lane) {
  uv_mutex_lock(&lane->lock);
  lane->is_to_close_idle = true;
  uv_mutex_unlock(&lane->lock);
  uv_async_send(&lane->wake);
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

static void close_idle(dusk__member_t *member) {
  dusk__conn_close_idle(dusk__conn_of(member));
}

void dusk__lane_close_idle(dusk__lane_t *lane) {
  dusk__census_each(&lane->census, DUSK__IDLE, close_idle);
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
  dusk__drain_cancel(&lane->drain, atomic_load(&lane->orders->cancel_status));
}

static void cut(dusk__lane_t *lane) {
  begin_to_drain(lane);
  dusk__drain_cut(&lane->drain, atomic_load(&lane->orders->cut_status));
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
void dusk__lane_empty(dusk__lane_t *lane) {
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

int dusk__lane_tell_start(dusk__lane_t *lane) {
  dusk__worker_t *worker = &lane->worker;
  const dusk_server_config_t *config = worker->config;
  if (config->on_worker_start == NULL) return 0;
  int err = config->on_worker_start(worker->server, lane->root, lane->index,
                                    &worker->data, config->on_worker_arg);
  return err > 0 ? UV_EINVAL : err;
}

void dusk__lane_tell_stop(dusk__lane_t *lane) {
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
  dusk__lane_empty(lane_of(worker));
}

static void quit(dusk__lane_t *lane) {
  if (lane->is_quitting) return;
  lane->is_quitting = true;
  atomic_store(&lane->has_heard, true);
  if (!lane->is_silent) tell_server(lane);
  if (!lane->drain.is_over) cut(lane);
  if (lane->start_err == 0) dusk__lane_tell_stop(lane);
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
  bool is_to_close_idle = lane->is_to_close_idle;
  lane->is_to_close_idle = false;
  uv_mutex_unlock(&lane->lock);
  if (is_to_close_idle) dusk__lane_close_idle(lane);
  if (is_watched) watch_ends(lane);
  if (is_to_quit) quit(lane);
}

/* The lane closes the wake-up once it knows, and so does when all was sent. */
void dusk__lane_send_to_end(dusk__lane_t *lane) {
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
void dusk__lane_init(dusk__lane_t *lane, size_t index, bool is_alone,
                     const dusk_server_config_t *config, dusk__plan_t *plan,
                     dusk__orders_t *orders) {
  dusk__worker_t *worker = &lane->worker;
  lane->index = index;
  lane->orders = orders;
  worker->server = orders->server;
  worker->config = config;
  worker->gather = &lane->gather;
  worker->census = &lane->census;
  worker->policy = &lane->policy;
  worker->pool = &lane->pool;
  lane->policy.plan = plan;
  lane->policy.config = config;
  lane->task.run = on_lane_turn;
  dusk__list_init(&lane->inbox);
  dusk__pool_init(&lane->pool, dusk__conn_go_on_with);
  dusk__census_init(&lane->census, worker);
  dusk__drain_init(&lane->drain, worker, is_alone ? NULL : &lane->lock);
}

int dusk__lane_equip(dusk__lane_t *lane) {
  dusk__worker_t *worker = &lane->worker;
  const dusk__orders_t *orders = lane->orders;
  dusk_context_t *root = lane->root;
  int err = dusk_context_with_root(orders->ctx, root, &worker->ctx);
  if (err == 0)
    err = dusk_context_with_root(orders->draining, root, &worker->draining);
  if (err == 0) err = dusk_context_with_cancel(root, &worker->gone);
  if (err == 0) err = dusk__gather_init(&lane->gather, &dusk__conn_events);
  if (err == 0) dusk_context_cancel(worker->gone, &dusk_client_gone);
  return err;
}

static int equip_thread(dusk__lane_t *lane) {
  const dusk__orders_t *orders = lane->orders;
  dusk_context_t *root = lane->root;
  int err = dusk__lane_equip(lane);
  if (err == 0)
    err =
        dusk_context_with_root(orders->draining, root, &lane->drain_order.ctx);
  if (err == 0)
    err = dusk_context_with_root(orders->cancelling, root,
                                 &lane->cancel_order.ctx);
  if (err == 0)
    err = dusk_context_with_root(orders->cutting, root, &lane->cut_order.ctx);
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
  lane->start_err = dusk__lane_tell_start(lane);
  uv_sem_post(&lane->started);
  run_to_end(lane);
  if (lane->is_silent) return;
  atomic_store(&lane->has_ended, true);
  tell_server(lane);
}

/* The loop and what is on it; on failure there is nothing. */
static int make_loop(dusk__lane_t *lane) {
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
  err = equip_thread(lane);
  if (err == 0) {
    open_thread(lane);
    return 0;
  }
  dusk__lane_empty(lane);
  end_loop(lane); /* nobody else knows the root */
  run_to_end(lane);
  return err;
}

void dusk__lane_join(dusk__lane_t *lane) {
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

int dusk__lane_start(dusk__lane_t *lane) {
  lane->is_silent = true;
  int err = uv_mutex_init(&lane->lock);
  if (err < 0) return err;
  err = uv_sem_init(&lane->started, 0);
  if (err < 0) {
    uv_mutex_destroy(&lane->lock);
    return err;
  }
  err = make_loop(lane);
  if (err == 0) err = start_thread(lane);
  if (err < 0 && !lane->is_made) {
    uv_sem_destroy(&lane->started);
    uv_mutex_destroy(&lane->lock);
  }
  return err;
}
