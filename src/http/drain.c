/* The drain, one state machine from top to bottom:
 *
 *   SERVING ──(LAME_DUCK)──▶ DRAINING ──all gone──▶ CLOSED
 *                              │ bound - grace: the hard cancel
 *                              └─ bound: cut
 *
 * shutdown begins it: the draining context ends, the listeners are sealed, idle
 * connections get a window for the request that may be on its way, running ones
 * finish. Nothing polls: each connection that goes and each listener that
 * closes asks whether it was the last (dusk__drain_check), and then the loop's
 * turn ends with the callbacks. */
#include "drain.h"

#include "chars.h"
#include "request.h"
#include "server.h"
#include "sys.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { PATIENCE_MS = 2000 }; /* with a peer that moves nothing */

static void look_at_bounds(dusk_server_t *server);

static bool is_draining(const dusk_server_t *server) {
  return server->drain.phase == DUSK_DRAINING;
}

void dusk__drain_init(dusk_server_t *server) {
  dusk__drain_t *drain = &server->drain;
  dusk__list_init(&drain->shutdowns);
  dusk__list_init(&drain->hooks);
  drain->deadline_ns = DUSK_OFF;
  uv_timer_init(server->loop, &drain->cut_timer); /* always 0 */
  drain->cut_timer.data = server;
}

void dusk__drain_done(dusk_server_t *server) {
  dusk__peers_done(&server->drain.peers);
}

/* -- What connections ask -------------------------------------------------- */

uint64_t dusk__drain_patience_ms(const dusk_server_t *server,
                                 uint64_t timeout_ms) {
  bool draining = server->drain.phase >= DUSK_DRAINING;
  return draining && timeout_ms > PATIENCE_MS ? PATIENCE_MS : timeout_ms;
}

uint64_t dusk__drain_quiet_ms(const dusk_server_t *server) {
  uint64_t quiet_ms = server->config.quiet_window_ms;
  return quiet_ms == DUSK_OFF ? 0 : quiet_ms;
}

/* -- Batches ----------------------------------------------------------------
 */

/* The first look since the connection was idle: what has come by now, read or
 * not, is the batch that will be answered. */
static void look(dusk__conn_t *conn) {
  conn->looked = true;
  conn->batch_end = conn->received + (uint32_t)dusk__conn_unread(conn);
}

/* What of the input belongs to the request that is being answered. Where a
 * chunked body ends isn't known: what comes after a last chunk may be a further
 * request, and is taken for one. */
static size_t own_bytes(const dusk__conn_t *conn) {
  static const char last_chunk[] = "\r\n0\r\n\r\n";
  const dusk__request_t *req = &conn->ex->req;
  if (req->complete) return 0;
  if (req->content_length == DUSK_OFF) return sizeof(last_chunk) - 1;
  return req->content_length - req->body_received;
}

static bool has_request(const char *bytes, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (!dusk__is_line_end(bytes[i])) return true;
  return false;
}

/* Whether a further request is in the batch. Line ends are none. */
static bool batch_goes_on(const dusk__conn_t *conn) {
  const dusk__exchange_t *ex = conn->ex;
  size_t own = own_bytes(conn);
  size_t read = ex->filled - ex->parsed;
  int32_t left = (int32_t)(conn->batch_end - conn->received) + (int32_t)read;
  if (left <= 0 || (size_t)left <= own) return false;
  size_t to = (size_t)left < read ? (size_t)left : read;
  if (to > own && has_request(ex->buffer + ex->parsed + own, to - own))
    return true;
  return (size_t)left > read && (own > read || dusk__conn_pending(conn));
}

bool dusk__drain_is_last(dusk__conn_t *conn) {
  switch (conn->server->drain.phase) {
  case DUSK_SERVING:
    return false;
  case DUSK_LAME_DUCK: /* may be taken back: each response looks anew */
    look(conn);
    conn->looked = false;
    break;
  default:
    if (!conn->looked) look(conn);
  }
  return !batch_goes_on(conn);
}

/* -- Windows ----------------------------------------------------------------
 */

void dusk__drain_knows(dusk__conn_t *conn) {
  dusk__drain_t *drain = &conn->server->drain;
  int fd = dusk__conn_fd(conn);
  uint64_t round_trip_ms = dusk__sys_round_trip_ms(fd);
  conn->round_trip_ms =
      (uint16_t)(round_trip_ms < UINT16_MAX ? round_trip_ms : UINT16_MAX);
  conn->peer = dusk__peers_of(&drain->peers, fd);
  /* Answers in a lame duck said close: whose they were isn't known any more. */
  uint64_t answered_ms = drain->lame_answered_ms;
  bool was_answered = conn->requests > (conn->phase == DUSK__ACTIVE);
  if (was_answered && conn->since_ms > answered_ms)
    answered_ms = conn->since_ms;
  if (answered_ms > conn->peer->answered_ms)
    conn->peer->answered_ms = answered_ms;
}

uint64_t dusk__drain_window_end(const dusk__conn_t *conn) {
  uint64_t quiet_ms = dusk__drain_quiet_ms(conn->server);
  uint64_t from_ms = conn->since_ms;
  if (quiet_ms == 0) return from_ms;
  if (conn->peer->answered_ms > from_ms) from_ms = conn->peer->answered_ms;
  return dusk__after_ms(dusk__after_ms(from_ms, quiet_ms), conn->round_trip_ms);
}

void dusk__drain_conn_moved(dusk__conn_t *conn, dusk__phase_t from) {
  dusk__drain_t *drain = &conn->server->drain;
  bool has_answer = conn->phase == DUSK__IDLE ||
                    conn->ending == DUSK__ANSWERED ||
                    conn->ending == DUSK__REFUSED;
  bool was_answered = from == DUSK__ACTIVE && has_answer;
  if (drain->phase == DUSK_LAME_DUCK && was_answered)
    drain->lame_answered_ms = conn->since_ms;
  if (drain->phase != DUSK_DRAINING) return;
  if (from == DUSK__ACTIVE) conn->looked = false;
  if (was_answered && conn->since_ms <= drain->renew_until_ms)
    conn->peer->answered_ms = conn->since_ms;
  dusk__drain_check(conn->server);
}

/* What was written to a Unix socket has arrived. */
bool dusk__drain_is_unacknowledged(const dusk__conn_t *conn) {
  bool was_answered =
      conn->ending == DUSK__ANSWERED || conn->ending == DUSK__REFUSED;
  if (!was_answered || conn->peer == NULL || dusk__peer_is_local(conn->peer))
    return false;
  size_t fin = conn->phase == DUSK__LINGERING; /* counts as a byte */
  return dusk__sys_unacknowledged(dusk__conn_fd(conn)) > fin;
}

void dusk__drain_conn_closes(dusk__conn_t *conn) {
  dusk__drain_t *drain = &conn->server->drain;
  if (drain->phase < DUSK_DRAINING) return;
  bool asked_nothing =
      conn->ending == DUSK__UNUSED || conn->ending == DUSK__UNANSWERED_IDLE;
  if (asked_nothing && conn->late)
    drain->conns_late++;
  else if (asked_nothing && !conn->peer_ended)
    drain->conns_unconfirmed++;
  if (dusk__drain_is_unacknowledged(conn)) drain->answers_unacknowledged++;
  if (conn->ending == DUSK__CUT && drain->status == 0)
    drain->status = UV_ECONNABORTED;
}

/* -- Beginning ------------------------------------------------------------- */

static void begin_counting(dusk_server_t *server) {
  dusk__drain_t *drain = &server->drain;
  drain->conns_open = dusk__server_connections(server);
  drain->requests_running_then = drain->requests_now;
  drain->conns_accepted = drain->requests_begun = 0;
  memset(drain->conns_ended, 0, sizeof(drain->conns_ended));
  memset(drain->requests_ended, 0, sizeof(drain->requests_ended));
}

static void for_each_conn(dusk_server_t *server, dusk__phase_t phase,
                          void (*act)(dusk__conn_t *conn)) {
  /* Moved aside: `act` may move or end the connection. */
  dusk__link_t conns;
  dusk__list_move(&conns, &server->conns[phase]);
  while (!dusk__list_empty(&conns)) {
    dusk__link_t *link = conns.next;
    dusk__list_remove(link);
    dusk__list_append(&server->conns[phase], link);
    act(DUSK__OWNER(link, dusk__conn_t, phase_link));
  }
}

static void begin(dusk_server_t *server) {
  dusk__drain_t *drain = &server->drain;
  drain->started_ns = uv_hrtime();
  if (drain->phase == DUSK_SERVING) drain->lame_duck_ns = drain->started_ns;
  drain->phase = DUSK_DRAINING;
  begin_counting(server);
  uv_update_time(server->loop);
  dusk__peers_init(&drain->peers, drain->conns_open);
  for (int phase = 0; phase < DUSK__HIJACKED; phase++)
    for_each_conn(server, (dusk__phase_t)phase, dusk__drain_knows);
  dusk_context_cancel(server->draining, NULL);
  dusk__server_at_turn(server); /* serve's callbacks */
}

/* Three windows or half of the bound, whichever is earlier: a proxy that
 * trickles requests over a pool would hold the drain to its bound. */
static void limit_renewal(dusk_server_t *server) {
  dusk__drain_t *drain = &server->drain;
  uint64_t quiet_ms = dusk__drain_quiet_ms(server);
  uint64_t limit_ms = quiet_ms < DUSK_OFF / 3 ? 3 * quiet_ms : DUSK_OFF;
  if (drain->deadline_ns != DUSK_OFF) {
    uint64_t half_ms =
        drain->deadline_ns > drain->started_ns
            ? (drain->deadline_ns - drain->started_ns) / 2 / DUSK__NS_PER_MS
            : 0;
    if (half_ms < limit_ms) limit_ms = half_ms;
  }
  drain->renew_until_ms =
      dusk__after_ms(drain->started_ns / DUSK__NS_PER_MS, limit_ms);
}

static void begin_draining(dusk_server_t *server) {
  begin(server);
  /* One that is registered from now on is too late. */
  dusk__list_move(&server->drain.hooks, &server->hooks);
  for_each_conn(server, DUSK__ACTIVE, look);
  for_each_conn(server, DUSK__NEW, dusk__conn_hurry);
  for_each_conn(server, DUSK__IDLE, dusk__conn_hurry);
  for_each_conn(server, DUSK__ACTIVE, dusk__conn_hurry);
  for_each_conn(server, DUSK__LINGERING, dusk__conn_hurry);
  dusk__listeners_resume(server); /* sealing knows no max_connections */
  dusk__seal_begin(server);
  if (server->listening == 0)
    server->drain.sealed_ns = server->drain.started_ns;
}

/* -- The bound ------------------------------------------------------------- */

/* The oldest request that a handler has, by its line and age. */
static void find_oldest(const dusk_server_t *server, char *line, size_t size,
                        uint64_t *ret_age_ms) {
  const dusk__link_t *conns = &server->conns[DUSK__ACTIVE];
  const dusk__exchange_t *oldest = NULL;
  for (const dusk__link_t *link = conns->next; link != conns;
       link = link->next) {
    const dusk__exchange_t *ex =
        DUSK__OWNER(link, const dusk__conn_t, phase_link)->ex;
    if (ex && ex->stage == DUSK__STAGE_HANDLING &&
        (oldest == NULL || ex->req.begun_ms < oldest->req.begun_ms))
      oldest = ex;
  }
  if (oldest == NULL) return;
  *ret_age_ms = dusk__now_ms(server) - oldest->req.begun_ms;
  snprintf(line, size, "%s %s", dusk__request_method(&oldest->req),
           dusk__request_target(&oldest->req));
}

/* Kept, to tell of it when it has gone. */
static void note_oldest(dusk_server_t *server) {
  dusk__drain_t *drain = &server->drain;
  find_oldest(server, drain->oldest, sizeof(drain->oldest), &drain->oldest_ms);
}

static void cancel_requests(dusk_server_t *server, int status,
                            const dusk_cause_t *cause) {
  dusk__drain_t *drain = &server->drain;
  if (drain->cancelled) return;
  drain->cancelled = true;
  drain->requests_cancelled = drain->requests_now;
  if (drain->requests_now > 0) {
    drain->status = status;
    note_oldest(server);
  }
  dusk_context_cancel(server->ctx, cause);
}

static void cut_conn(dusk__conn_t *conn) {
  static const dusk__ending_t endings[DUSK__PHASES] = {
      [DUSK__NEW] = DUSK__UNUSED,
      [DUSK__ACTIVE] = DUSK__CUT,
      [DUSK__IDLE] = DUSK__UNANSWERED_IDLE,
  };
  bool is_waiting = conn->phase == DUSK__NEW || conn->phase == DUSK__IDLE;
  if (conn->ex) dusk__ex_tell_cut(conn->ex);
  if (is_waiting && dusk__conn_pending(conn))
    dusk__conn_close(conn, DUSK__CUT); /* its request is not even read */
  else
    dusk__conn_close(conn, endings[conn->phase]); /* LINGERING has its own */
}

static void cut(dusk_server_t *server, int status, const dusk_cause_t *cause) {
  if (server->drain.phase == DUSK_CLOSED) return;
  const dusk__drain_t *drain = &server->drain;
  uint64_t cuts = drain->conns_ended[DUSK__CUT];
  uint64_t unacknowledged = drain->answers_unacknowledged;
  uint64_t left = server->seal.left;
  server->drain.cut_cause = cause;
  if (server->conn_count[DUSK__ACTIVE] > 0) note_oldest(server);
  cancel_requests(server, status, cause);
  dusk__seal_cut(server);
  for (int phase = 0; phase < DUSK__HIJACKED; phase++)
    for_each_conn(server, (dusk__phase_t)phase, cut_conn);
  /* Who is in a queue is reset, and an answer may be cut, too, on its way to a
   * client that doesn't stop. */
  if (drain->conns_ended[DUSK__CUT] > cuts ||
      drain->answers_unacknowledged > unacknowledged ||
      server->seal.left > left)
    server->drain.status = status;
  dusk__drain_check(server);
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
  dusk__drain_t *drain = &server->drain;
  uint64_t now = uv_hrtime();
  uint64_t wait_ms = grace_ms(server);
  uint64_t left_ns = drain->deadline_ns > now ? drain->deadline_ns - now : 0;
  if (left_ns / DUSK__NS_PER_MS < wait_ms) wait_ms = left_ns / DUSK__NS_PER_MS;
  uv_timer_start(&drain->cut_timer, on_grace_over, wait_ms, 0);
}

static void on_bound_end(dusk_waiter_t *waiter) {
  dusk__shutdown_t *call = DUSK__OWNER(waiter, dusk__shutdown_t, waiter);
  dusk_server_t *server = call->server;
  dusk__drain_t *drain = &server->drain;
  int err = dusk_context_err(call->bound);
  if (err == UV_ETIMEDOUT) {
    cut(server, err, &dusk_drain_cancelled);
  } else if (is_draining(server)) {
    /* Unless a grace runs already; one before the bound has no timer. */
    bool is_first = !drain->cancelled;
    cancel_requests(server, err, &dusk_drain_cancelled);
    if (is_first || !uv_is_active((uv_handle_t *)&drain->cut_timer))
      begin_grace(server);
  }
}

/* Cancels the running requests when the nearest bound is a grace away, or sees
 * to it that this is looked at again in time. */
static void look_at_bounds(dusk_server_t *server) {
  dusk__drain_t *drain = &server->drain;
  if (drain->deadline_ns == DUSK_OFF || drain->phase != DUSK_DRAINING ||
      drain->cancelled)
    return;
  uint64_t now = uv_hrtime();
  uint64_t bound_ns = drain->deadline_ns > drain->started_ns
                          ? drain->deadline_ns - drain->started_ns
                          : 0;
  uint64_t grace_ns = bound_ns / 2; /* at most */
  if (grace_ms(server) < grace_ns / DUSK__NS_PER_MS)
    grace_ns = grace_ms(server) * DUSK__NS_PER_MS;
  uint64_t cancel_ns = drain->deadline_ns - grace_ns;
  if (now >= cancel_ns) {
    cancel_requests(server, UV_ETIMEDOUT, &dusk_drain_cancelled);
    return;
  }
  /* What the contexts of running requests tell from now on. */
  dusk_context_bring_forward(server->ctx, drain->deadline_ns);
  uint64_t wait_ms = (cancel_ns - now + DUSK__NS_PER_MS - 1) / DUSK__NS_PER_MS;
  uv_timer_start(&drain->cut_timer, on_hard_cancel, wait_ms, 0);
}

static void add_bound(dusk__shutdown_t *call) {
  dusk_server_t *server = call->server;
  uint64_t deadline_ns = dusk_context_deadline(call->bound);
  dusk_context_after(call->bound, &call->waiter, server->root, on_bound_end);
  if (deadline_ns < server->drain.deadline_ns)
    server->drain.deadline_ns = deadline_ns;
  limit_renewal(server);
  look_at_bounds(server);
}

/* -- The end --------------------------------------------------------------- */

/* How much is waited for. */
static size_t awaited(const dusk_server_t *server) {
  size_t left = server->listening + dusk__server_connections(server);
  assert(left >= server->drain.unawaited);
  return left - server->drain.unawaited;
}

static bool is_over(const dusk_server_t *server) {
  return is_draining(server) && awaited(server) == 0;
}

/* Measures how long nothing but windows holds the drain. */
static void watch_windows(dusk_server_t *server) {
  dusk__drain_t *drain = &server->drain;
  size_t waiting =
      server->conn_count[DUSK__NEW] + server->conn_count[DUSK__IDLE];
  bool alone = waiting > 0 && awaited(server) == waiting;
  if (alone == (drain->windows_ns > 0)) return;
  uint64_t now = uv_hrtime();
  if (!alone) drain->windows_sum_ns += now - drain->windows_ns;
  drain->windows_ns = alone ? now : 0;
}

void dusk__drain_request_ended(dusk_server_t *server, dusk__ending_t ending) {
  dusk__drain_t *drain = &server->drain;
  assert(drain->requests_now > 0);
  drain->requests_now--;
  drain->requests_ended[ending]++;
  if (drain->requests_now == 0 && drain->phase == DUSK_DRAINING)
    drain->answered_ns = uv_hrtime();
}

void dusk__drain_check(dusk_server_t *server) {
  dusk__drain_t *drain = &server->drain;
  if (drain->phase != DUSK_DRAINING) return;
  watch_windows(server);
  if (server->listening == 0 && drain->sealed_ns == 0) {
    drain->sealed_ns = uv_hrtime();
    dusk__server_at_turn(server); /* the hooks */
  }
  if (is_over(server)) dusk__server_at_turn(server);
}

static void tell_listeners(dusk_server_t *server) {
  dusk__link_t *link = server->listeners.next;
  for (; link != &server->listeners; link = link->next) {
    dusk__listener_t *listener = DUSK__OWNER(link, dusk__listener_t, link);
    if (server->drain.phase >= DUSK_DRAINING) {
      dusk__listener_tell(listener, DUSK_ESERVERCLOSED);
    } else if (listener->err) {
      dusk__listener_close(listener);
      dusk__listener_tell(listener, listener->err);
    }
  }
}

static void run_hooks(dusk_server_t *server) {
  dusk__link_t *hooks = &server->drain.hooks;
  while (!dusk__list_empty(hooks)) {
    dusk__hook_t *hook = DUSK__OWNER(hooks->next, dusk__hook_t, link);
    dusk__list_remove(&hook->link);
    hook->cb(server, hook->arg);
    free(hook);
  }
}

static void finish(dusk_server_t *server) {
  server->drain.phase = DUSK_CLOSED;
  server->drain.ended_ns = uv_hrtime();
  uv_timer_stop(&server->seal.timer);
  uv_timer_stop(&server->drain.cut_timer);
  if (server->drain.status == 0) server->drain.status = server->drain.close_err;
  for_each_conn(server, DUSK__LINGERING, cut_conn);
  dusk_context_cancel(server->ctx, &dusk_server_closed);
  dusk__ex_tell_held(server);
}

static void call_back(dusk_server_t *server) {
  while (!dusk__list_empty(&server->drain.shutdowns)) {
    dusk__shutdown_t *call =
        DUSK__OWNER(server->drain.shutdowns.next, dusk__shutdown_t, link);
    dusk__list_remove(&call->link);
    dusk_waiter_stop(&call->waiter);
    dusk_context_unref(call->bound);
    if (call->cb) call->cb(server, server->drain.status, call->arg);
    if (call != &server->drain.first) free(call);
  }
}

void dusk__drain_on_turn(dusk_server_t *server) {
  tell_listeners(server);
  if (server->drain.sealed_ns) run_hooks(server);
  if (is_over(server)) finish(server);
  if (server->drain.phase != DUSK_CLOSED) return;
  call_back(server);
  if (!server->owned) dusk__server_close_handles(server);
}

/* -- The calls ------------------------------------------------------------- */

void dusk_server_lame_duck(dusk_server_t *server, bool on) {
  dusk__drain_t *drain = &server->drain;
  assert(dusk__server_on_thread(server));
  if (drain->phase >= DUSK_DRAINING) return;
  if (on && drain->phase == DUSK_SERVING) drain->lame_duck_ns = uv_hrtime();
  drain->phase = on ? DUSK_LAME_DUCK : DUSK_SERVING;
}

int dusk_server_shutdown(dusk_server_t *server, dusk_context_t *bound,
                         dusk_shutdown_cb cb, void *arg) {
  if (server == NULL || bound == NULL) return UV_EINVAL;
  assert(dusk__server_on_thread(server));
  bool is_first = server->drain.first.server == NULL;
  dusk__shutdown_t *call =
      is_first ? &server->drain.first : calloc(1, sizeof(*call));
  if (call == NULL) return UV_ENOMEM;
  call->server = server;
  call->bound = dusk_context_ref(bound);
  call->cb = cb;
  call->arg = arg;
  dusk__list_append(&server->drain.shutdowns, &call->link);
  if (server->drain.phase == DUSK_CLOSED) {
    dusk__server_at_turn(server);
    return 0;
  }
  if (server->drain.phase < DUSK_DRAINING) begin_draining(server);
  add_bound(call);
  dusk__drain_check(server);
  return 0;
}

void dusk_server_close(dusk_server_t *server) {
  if (server == NULL || server->drain.phase == DUSK_CLOSED) return;
  assert(dusk__server_on_thread(server));
  if (server->drain.phase < DUSK_DRAINING) begin(server);
  dusk__server_free_hooks(&server->drain.hooks);
  cut(server, UV_ECANCELED, &dusk_server_closed);
}

/* -- The report ------------------------------------------------------------ */

static void report_conns(const dusk_server_t *server, dusk_report_t *report) {
  const dusk__drain_t *drain = &server->drain;
  const uint64_t *ended = drain->conns_ended;
  report->conns_open = drain->conns_open;
  report->conns_accepted = drain->conns_accepted;
  report->conns_answered = ended[DUSK__ANSWERED];
  report->conns_idle = ended[DUSK__UNANSWERED_IDLE];
  report->conns_unused = ended[DUSK__UNUSED];
  report->conns_refused = ended[DUSK__REFUSED];
  report->conns_hijacked = ended[DUSK__TAKEN];
  report->conns_cut = ended[DUSK__CUT];
  report->conns_gone = ended[DUSK__GONE];
  report->conns_late = drain->conns_late;
  report->conns_unconfirmed = drain->conns_unconfirmed;
  report->conns_now = dusk__server_connections(server);
  report->answers_unacknowledged = drain->answers_unacknowledged;
}

static void report_seal(const dusk__seal_t *seal, dusk_report_t *report) {
  report->seal = seal->means;
  report->queue_sealed = seal->sealed;
  report->queue_left = seal->left;
  report->handshakes_left = seal->handshakes;
}

static void report_requests(const dusk_server_t *server,
                            dusk_report_t *report) {
  const dusk__drain_t *drain = &server->drain;
  const uint64_t *ended = drain->requests_ended;
  report->requests_running = drain->requests_running_then;
  report->requests_begun = drain->requests_begun;
  /* A hijack is its handler's answer. */
  report->requests_answered = ended[DUSK__ANSWERED] + ended[DUSK__TAKEN];
  report->requests_refused = ended[DUSK__REFUSED];
  report->requests_cut = ended[DUSK__CUT];
  report->requests_gone = ended[DUSK__GONE];
  report->requests_cancelled = drain->requests_cancelled;
  report->requests_now = drain->requests_now;
  report->requests_unended = dusk__ex_count_held(server);
}

void dusk_server_report(const dusk_server_t *server,
                        dusk_report_t *ret_report) {
  assert(dusk__server_on_thread(server));
  const dusk__drain_t *drain = &server->drain;
  memset(ret_report, 0, sizeof(*ret_report));
  ret_report->phase = drain->phase;
  ret_report->status = drain->status;
  report_conns(server, ret_report);
  report_requests(server, ret_report);
  report_seal(&server->seal, ret_report);
  ret_report->left_ms = DUSK_OFF;
  if (drain->started_ns == 0) return;
  uint64_t now = drain->ended_ns ? drain->ended_ns : uv_hrtime();
  ret_report->drain_ms = (now - drain->started_ns) / DUSK__NS_PER_MS;
  ret_report->lame_duck_ms =
      (drain->started_ns - drain->lame_duck_ns) / DUSK__NS_PER_MS;
  if (drain->answered_ns)
    ret_report->answered_ms =
        (drain->answered_ns - drain->started_ns) / DUSK__NS_PER_MS;
  if (drain->sealed_ns)
    ret_report->seal_ms =
        (drain->sealed_ns - drain->started_ns) / DUSK__NS_PER_MS;
  ret_report->window_ms = (drain->windows_sum_ns +
                           (drain->windows_ns ? now - drain->windows_ns : 0)) /
                          DUSK__NS_PER_MS;
  if (drain->deadline_ns != DUSK_OFF)
    ret_report->left_ms = drain->deadline_ns > now
                              ? (drain->deadline_ns - now) / DUSK__NS_PER_MS
                              : 0;
  memcpy(ret_report->oldest, drain->oldest, sizeof(drain->oldest));
  ret_report->oldest_ms = drain->oldest_ms;
  find_oldest(server, ret_report->oldest, sizeof(ret_report->oldest),
              &ret_report->oldest_ms);
}
