/* A server's stop, as its owner calls for it:
 *
 *   SERVING ──(LAME_DUCK)──▶ DRAINING ──all gone──▶ CLOSED
 *                              │ bound - grace: the hard cancel
 *                              └─ bound: cut
 *
 * What goes on in between is the seal's and the drain's. */
#include "shutdown.h"

#include "sized.h"

#include <stdlib.h>
#include <string.h>

static void look_at_bounds(dusk_server_t *server);
static void on_turn(dusk__task_t *task);

void dusk__shutdown_init(dusk_server_t *server) {
  dusk__list_init(&server->shutdowns);
  dusk__list_init(&server->hooks);
  dusk__list_init(&server->due_hooks);
  server->plan.deadline_ns = DUSK_OFF;
  server->task.run = on_turn;
}

static void free_hooks(dusk__link_t *hooks) {
  while (!dusk__list_empty(hooks)) {
    dusk__link_t *link = hooks->next;
    dusk__list_remove(link);
    free(DUSK__OWNER(link, dusk__hook_t, link));
  }
}

void dusk__shutdown_done(dusk_server_t *server) {
  free_hooks(&server->hooks);
  free_hooks(&server->due_hooks);
  dusk__peers_done(&server->plan.peers);
}

/* -- Beginning ------------------------------------------------------------- */

static void begin(dusk_server_t *server) {
  dusk__plan_t *plan = &server->plan;
  plan->started_ns = uv_hrtime();
  if (server->phase == DUSK_SERVING) server->lame_duck_ns = plan->started_ns;
  server->phase = DUSK_DRAINING;
  dusk__lanes_tally(server, &server->before);
  dusk__peers_init(&plan->peers, dusk__tally_open(&server->before),
                   server->lane_count > 1 ? &server->peers_lock : NULL);
  atomic_store(&plan->untold, (int)server->lane_count);
  dusk__lanes_drain(server);
  dusk__server_at_turn(server); /* serve's callbacks */
}

/* The last listener has closed, or there was none. */
static void note_sealed(dusk_server_t *server) {
  if (server->acceptor.listening > 0 || server->sealed_ns) return;
  server->sealed_ns = uv_hrtime();
  dusk__lanes_seal(server);
}

static void begin_draining(dusk_server_t *server) {
  begin(server);
  /* One that is registered from now on is too late. */
  dusk__list_move(&server->due_hooks, &server->hooks);
  dusk__seal_begin(&server->seal);
}

/* -- The bound ------------------------------------------------------------- */

static void cancel_requests(dusk_server_t *server, int status,
                            const dusk_cause_t *cause) {
  if (server->is_cancelled) return;
  server->is_cancelled = true;
  dusk__lanes_cancel(server, status);
  dusk_context_cancel(server->orders.ctx, cause);
}

/* A loop that has not cut by now does not turn. */
static void on_stuck(uv_timer_t *timer) {
  dusk_server_t *server = timer->data;
  dusk__lanes_leave(server);
  dusk__server_at_turn(server);
}

static void cut(dusk_server_t *server, int status, const dusk_cause_t *cause) {
  if (server->phase == DUSK_CLOSED) return;
  uint64_t left = server->seal.left;
  bool is_first = atomic_load(&server->plan.cut_cause) == NULL;
  atomic_store(&server->plan.cut_cause, cause);
  /* First: else handlers on other loops hear of their contexts' end, and let
   * go, before they are cut. */
  dusk__lanes_order_cut(server, status);
  cancel_requests(server, status, cause);
  dusk__seal_cut(&server->seal);
  if (server->seal.left > left) server->left_status = status; /* is reset */
  dusk__lanes_cut(server, status);
  if (server->lane_count > 1 && is_first)
    uv_timer_start(&server->cut_timer, on_stuck, DUSK__STUCK_MS, 0);
  dusk__server_at_turn(server);
}

static uint64_t grace_ms(const dusk_server_t *server) {
  uint64_t grace = server->config.cancel_grace_ms;
  return grace == DUSK_OFF ? 0 : grace;
}

static void on_grace_over(uv_timer_t *timer) {
  cut(timer->data, UV_ECANCELED, &dusk_drain_cancelled);
}

static void on_hard_cancel(uv_timer_t *timer) {
  look_at_bounds(timer->data);
}

static void begin_grace(dusk_server_t *server) {
  uint64_t now = uv_hrtime();
  uint64_t deadline_ns = server->plan.deadline_ns;
  uint64_t wait_ms = grace_ms(server);
  uint64_t left_ns = deadline_ns > now ? deadline_ns - now : 0;
  if (left_ns / DUSK__NS_PER_MS < wait_ms) wait_ms = left_ns / DUSK__NS_PER_MS;
  uv_timer_start(&server->cut_timer, on_grace_over, wait_ms, 0);
}

static void on_bound_end(dusk_waiter_t *waiter) {
  dusk__shutdown_t *call = DUSK__OWNER(waiter, dusk__shutdown_t, waiter);
  dusk_server_t *server = call->server;
  int err = dusk_context_err(call->bound);
  if (err == UV_ETIMEDOUT) {
    cut(server, err, &dusk_drain_cancelled);
  } else if (server->phase == DUSK_DRAINING) {
    /* Unless a grace runs already; one before the bound has no timer. */
    bool is_first = !server->is_cancelled;
    cancel_requests(server, err, &dusk_drain_cancelled);
    if (is_first || !uv_is_active((uv_handle_t *)&server->cut_timer))
      begin_grace(server);
  }
}

/* Cancels the running requests when the nearest bound is a grace away, or sees
 * to it that this is looked at again in time. */
static void look_at_bounds(dusk_server_t *server) {
  uint64_t deadline_ns = server->plan.deadline_ns;
  uint64_t started_ns = server->plan.started_ns;
  if (deadline_ns == DUSK_OFF || server->phase != DUSK_DRAINING ||
      server->is_cancelled)
    return;
  uint64_t now = uv_hrtime();
  uint64_t bound_ns = deadline_ns > started_ns ? deadline_ns - started_ns : 0;
  uint64_t grace_ns = bound_ns / 2; /* at most */
  if (grace_ms(server) < grace_ns / DUSK__NS_PER_MS)
    grace_ns = grace_ms(server) * DUSK__NS_PER_MS;
  uint64_t cancel_ns = deadline_ns - grace_ns;
  if (now >= cancel_ns) {
    cancel_requests(server, UV_ETIMEDOUT, &dusk_drain_cancelled);
    return;
  }
  /* What the contexts of running requests tell from now on. */
  dusk_context_bring_forward(server->orders.ctx, deadline_ns);
  uint64_t wait_ms = (cancel_ns - now + DUSK__NS_PER_MS - 1) / DUSK__NS_PER_MS;
  uv_timer_start(&server->cut_timer, on_hard_cancel, wait_ms, 0);
}

static void add_bound(dusk__shutdown_t *call) {
  dusk_server_t *server = call->server;
  uint64_t deadline_ns = dusk_context_deadline(call->bound);
  dusk_context_after(call->bound, &call->waiter,
                     dusk__server_worker(server)->root, on_bound_end);
  if (deadline_ns < server->plan.deadline_ns)
    server->plan.deadline_ns = deadline_ns;
  look_at_bounds(server);
}

/* -- The turn -------------------------------------------------------------- */

static void tell_listeners(dusk_server_t *server) {
  dusk__source_t *source = NULL;
  while ((source = dusk__acceptor_next(&server->acceptor, source)) != NULL) {
    if (server->phase >= DUSK_DRAINING) {
      dusk__source_tell(source, DUSK_ESERVERCLOSED);
    } else if (source->err) {
      dusk__source_close(source);
      dusk__source_tell(source, source->err);
    }
  }
}

static void run_hooks(dusk_server_t *server) {
  dusk__link_t *hooks = &server->due_hooks;
  while (!dusk__list_empty(hooks)) {
    dusk__hook_t *hook = DUSK__OWNER(hooks->next, dusk__hook_t, link);
    dusk__list_remove(&hook->link);
    hook->cb(server, hook->arg);
    free(hook);
  }
}

static int status_of(const dusk_server_t *server, const dusk__tally_t *tally,
                     const dusk__drained_t *drained) {
  if (drained->status) return drained->status;
  if (server->left_status) return server->left_status;
  if (server->seal.err) return server->seal.err;
  if (server->phase < DUSK_DRAINING) return 0;
  /* Cut one by one. */
  if (tally->conns_ended[DUSK__CUT] > server->before.conns_ended[DUSK__CUT])
    return UV_ECONNABORTED;
  return server->phase == DUSK_CLOSED ? server->acceptor.close_err : 0;
}

static int status_now(const dusk_server_t *server) {
  dusk__tally_t tally;
  dusk__drained_t drained;
  dusk__lanes_tally(server, &tally);
  dusk__lanes_drained(server, &drained);
  return status_of(server, &tally, &drained);
}

static void finish(dusk_server_t *server) {
  dusk__worker_t *worker = dusk__server_worker(server);
  server->phase = DUSK_CLOSED;
  server->ended_ns = uv_hrtime();
  worker->is_closed = true;
  uv_timer_stop(&server->cut_timer);
  dusk_context_cancel(server->orders.ctx, &dusk_server_closed);
  dusk__ex_tell_held(worker);
}

static void call_back(dusk_server_t *server) {
  int status = status_now(server);
  while (!dusk__list_empty(&server->shutdowns)) {
    dusk__shutdown_t *call =
        DUSK__OWNER(server->shutdowns.next, dusk__shutdown_t, link);
    dusk__list_remove(&call->link);
    dusk_waiter_stop(&call->waiter);
    dusk_context_unref(call->bound);
    if (call->cb) call->cb(server, status, call->arg);
    if (call != &server->first) free(call);
  }
}

static void on_turn(dusk__task_t *task) {
  dusk_server_t *server = DUSK__OWNER(task, dusk_server_t, task);
  tell_listeners(server);
  if (server->phase < DUSK_DRAINING) {
    if (server->acceptor.listening == 0) dusk__lanes_watch(server);
    dusk__acceptor_resume(&server->acceptor);
    return;
  }
  note_sealed(server);
  if (server->sealed_ns) run_hooks(server);
  if (server->phase == DUSK_DRAINING && dusk__lanes_are_over(server))
    finish(server);
  if (server->phase != DUSK_CLOSED) return;
  call_back(server);
  if (!server->owned) dusk__lanes_quit(server);
}

/* -- The calls ------------------------------------------------------------- */

void dusk_server_lame_duck(dusk_server_t *server, bool on) {
  assert(dusk__server_on_thread(server));
  if (server->phase >= DUSK_DRAINING) return;
  if (on && server->phase == DUSK_SERVING) server->lame_duck_ns = uv_hrtime();
  server->phase = on ? DUSK_LAME_DUCK : DUSK_SERVING;
  atomic_store(&server->plan.says_close, on || server->keeps_none);
}

void dusk_server_set_keep_alives(dusk_server_t *server, bool on) {
  assert(dusk__server_on_thread(server));
  if (server->phase >= DUSK_DRAINING) return;
  server->keeps_none = !on;
  atomic_store(&server->plan.says_close,
               !on || server->phase == DUSK_LAME_DUCK);
  if (!on) dusk__lanes_close_idle(server);
}

int dusk_server_shutdown(dusk_server_t *server, dusk_context_t *bound,
                         dusk_shutdown_cb cb, void *arg) {
  if (server == NULL || bound == NULL) return UV_EINVAL;
  assert(dusk__server_on_thread(server));
  bool is_first = server->first.server == NULL;
  dusk__shutdown_t *call = is_first ? &server->first : calloc(1, sizeof(*call));
  if (call == NULL) return UV_ENOMEM;
  call->server = server;
  call->bound = dusk_context_ref(bound);
  call->cb = cb;
  call->arg = arg;
  dusk__list_append(&server->shutdowns, &call->link);
  dusk__server_at_turn(server);
  if (server->phase == DUSK_CLOSED) return 0;
  if (server->phase < DUSK_DRAINING) begin_draining(server);
  add_bound(call);
  return 0;
}

void dusk_server_close(dusk_server_t *server) {
  if (server == NULL || server->phase == DUSK_CLOSED) return;
  assert(dusk__server_on_thread(server));
  if (server->phase < DUSK_DRAINING) begin(server);
  free_hooks(&server->due_hooks);
  cut(server, UV_ECANCELED, &dusk_server_closed);
}

/* -- The report ------------------------------------------------------------ */

static void report_conns(const dusk__tally_t *now, const dusk__tally_t *before,
                         dusk_report_t *report) {
#define SINCE(field) (now->field - before->field)
  report->conns_open = dusk__tally_open(before);
  report->conns_accepted = SINCE(conns_accepted);
  report->conns_answered = SINCE(conns_ended[DUSK__ANSWERED]);
  report->conns_idle = SINCE(conns_ended[DUSK__ENDED_IDLE]);
  report->conns_unused = SINCE(conns_ended[DUSK__UNUSED]);
  report->conns_refused = SINCE(conns_ended[DUSK__REFUSED]);
  report->conns_hijacked = SINCE(conns_ended[DUSK__ENDED_HIJACKED]);
  report->conns_cut = SINCE(conns_ended[DUSK__CUT]);
  report->conns_gone = SINCE(conns_ended[DUSK__GONE]);
  report->conns_late = SINCE(conns_late);
  report->conns_unconfirmed = SINCE(conns_unconfirmed);
  report->conns_now = dusk__tally_open(now);
  report->answers_unacknowledged = SINCE(answers_unacknowledged);
}

static void report_requests(const dusk__tally_t *now,
                            const dusk__tally_t *before,
                            dusk_report_t *report) {
  report->requests_running = dusk__tally_running(before);
  report->requests_begun = SINCE(requests_begun);
  /* A hijack is its handler's answer. */
  report->requests_answered = SINCE(requests_ended[DUSK__ANSWERED]) +
                              SINCE(requests_ended[DUSK__ENDED_HIJACKED]);
  report->requests_refused = SINCE(requests_ended[DUSK__REFUSED]);
  report->requests_cut = SINCE(requests_ended[DUSK__CUT]);
  report->requests_gone = SINCE(requests_ended[DUSK__GONE]);
  report->requests_now = dusk__tally_running(now);
  report->requests_unended = now->held_begun - now->held_ended;
#undef SINCE
}

/* On the loops' clocks, which may be two. */
static uint64_t age(uint64_t begun_ms, uint64_t until_ms) {
  return until_ms > begun_ms ? until_ms - begun_ms : 0;
}

static void report_drained(const dusk__drained_t *drained, uint64_t now_ms,
                           dusk_report_t *report) {
  report->requests_cancelled = drained->requests_cancelled;
  if (drained->oldest[0]) {
    memcpy(report->oldest, drained->oldest, sizeof(drained->oldest));
    report->oldest_ms =
        age(drained->oldest_begun_ms,
            drained->oldest_ended_ms ? drained->oldest_ended_ms : now_ms);
  }
  /* What another loop has shown may have been ended meanwhile. */
  if (drained->unended[0] && report->requests_unended > 0) {
    memcpy(report->unended, drained->unended, sizeof(drained->unended));
    report->unended_ms = age(drained->unended_begun_ms, now_ms);
  }
}

static void report_seal(const dusk__seal_t *seal, dusk_report_t *report) {
  report->seal = seal->means;
  report->queue_sealed = seal->sealed;
  report->queue_left = seal->left;
  report->handshakes_left = seal->handshakes;
}

static uint64_t ms_between(uint64_t from_ns, uint64_t to_ns) {
  return to_ns > from_ns ? (to_ns - from_ns) / DUSK__NS_PER_MS : 0;
}

static void report_times(const dusk_server_t *server,
                         const dusk__drained_t *drained,
                         dusk_report_t *report) {
  uint64_t started = server->plan.started_ns;
  uint64_t deadline = server->plan.deadline_ns;
  uint64_t now = server->ended_ns ? server->ended_ns : uv_hrtime();
  report->drain_ms = ms_between(started, now);
  report->lame_duck_ms = ms_between(server->lame_duck_ns, started);
  report->answered_ms = ms_between(started, drained->answered_ns);
  report->seal_ms = ms_between(started, server->sealed_ns);
  report->window_ms = drained->windows_sum_ns / DUSK__NS_PER_MS;
  if (deadline != DUSK_OFF) report->left_ms = ms_between(now, deadline);
}

static void make_report(const dusk_server_t *server,
                        dusk_report_t *ret_report) {
  dusk__tally_t tally;
  dusk__drained_t drained;
  dusk__lanes_tally(server, &tally);
  dusk__lanes_drained(server, &drained);
  memset(ret_report, 0, sizeof(*ret_report));
  ret_report->phase = server->phase;
  ret_report->status = status_of(server, &tally, &drained);
  report_conns(&tally, &server->before, ret_report);
  report_requests(&tally, &server->before, ret_report);
  report_seal(&server->seal, ret_report);
  report_drained(&drained, dusk__now_ms(&server->lanes[0].worker), ret_report);
  ret_report->left_ms = DUSK_OFF;
  if (server->plan.started_ns) report_times(server, &drained, ret_report);
}

void dusk_server_report_sized(const dusk_server_t *server,
                              dusk_report_t *ret_report, size_t report_size) {
  assert(dusk__server_on_thread(server));
  dusk_report_t report;
  make_report(server, &report);
  dusk__sized_copy(ret_report, report_size, &report, sizeof(report));
}
