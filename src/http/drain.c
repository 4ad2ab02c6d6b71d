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
 * turn ends with the callbacks.
 *
 * Sealing a TCP listener: closing one resets every connection that the kernel
 * accepted and we did not. So fresh handshakes are refused by the kernel first,
 * those under way are waited for, then the backlog is accepted until it is
 * empty, and only then the socket is closed. */
#include "drain.h"

#include "server.h"
#include "sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
  SETTLE_MS = 2,       /* from the kernel's refusal to the first look */
  LOOK_MS = 20,        /* between two looks for half-open handshakes */
  BLIND_MS = 20,       /* of accepting, where the kernel doesn't tell */
  HANDSHAKE_MS = 1200, /* a handshake's retransmission, and some */
  PATIENCE_MS = 2000,  /* with a peer that moves nothing */
};

static const uint64_t NS_PER_MS = 1000000;

/* One call of shutdown. */
typedef struct shutdown_call {
  dusk__link_t link;
  dusk_server_t *server;
  dusk_context_t *bound;
  dusk_waiter_t waiter;
  dusk_shutdown_cb cb;
  void *arg;
} shutdown_call_t;

static void look_at_bounds(dusk_server_t *server);
static void on_seal_timer(uv_timer_t *timer);

void dusk__drain_init(dusk_server_t *server) {
  dusk__drain_t *drain = &server->drain;
  dusk__list_init(&drain->shutdowns);
  dusk__list_init(&drain->hooks);
  drain->deadline_ns = DUSK_OFF;
  /* Always 0, both. */
  uv_timer_init(server->loop, &drain->seal_timer);
  uv_timer_init(server->loop, &drain->cut_timer);
  drain->seal_timer.data = drain->cut_timer.data = server;
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

uint64_t dusk__drain_window_ms(const dusk__conn_t *conn) {
  uint64_t quiet_ms = dusk__drain_quiet_ms(conn->server);
  if (quiet_ms == 0) return 0;
  return dusk__after_ms(quiet_ms, dusk__sys_round_trip_ms(dusk__conn_fd(conn)));
}

bool dusk__drain_waits_for(const dusk__conn_t *conn) {
  if (conn->phase != DUSK__LINGERING) return true;
  return conn->ending != DUSK__UNANSWERED_IDLE && conn->ending != DUSK__UNUSED;
}

/* What of further requests has come already, unparsed or unread. */
static size_t bytes_waiting(const dusk__conn_t *conn) {
  size_t parsed = conn->ex ? conn->ex->filled - conn->ex->parsed : 0;
  return parsed + dusk__conn_unread(conn);
}

/* The first look: what has come by now is the batch that will be answered. */
static void look(dusk__conn_t *conn) {
  size_t waiting = bytes_waiting(conn);
  conn->looked = true;
  conn->batch_bytes = waiting < UINT32_MAX ? (uint32_t)waiting : UINT32_MAX;
}

/* What of that belongs to the request that is being answered. Where a chunked
 * body ends isn't known: what comes after a last chunk may be a further
 * request, and is taken for one. */
static size_t own_bytes(const dusk__conn_t *conn) {
  static const char last_chunk[] = "\r\n0\r\n\r\n";
  const dusk_request_t *req = &conn->ex->req;
  if (req->complete) return 0;
  if (req->content_length == DUSK_OFF) return sizeof(last_chunk) - 1;
  return req->content_length - req->body_received;
}

bool dusk__drain_is_last(dusk__conn_t *conn) {
  switch (conn->server->drain.phase) {
  case DUSK_SERVING:
    return false;
  case DUSK_LAME_DUCK: /* may be taken back: each response looks anew */
    return bytes_waiting(conn) <= own_bytes(conn);
  default:
    if (!conn->looked) look(conn);
    return conn->batch_bytes <= own_bytes(conn);
  }
}

void dusk__drain_consumed(dusk__conn_t *conn, size_t bytes) {
  conn->batch_bytes -=
      bytes < conn->batch_bytes ? (uint32_t)bytes : conn->batch_bytes;
}

/* -- Sealing --------------------------------------------------------------- */

/* Accepts until there is nothing more, and closes. */
static void close_when_empty(dusk__listener_t *listener) {
  dusk__backlog_t backlog = dusk__listener_accept(listener, INT32_MAX);
  listener->err = 0; /* a Unix socket that was shut down tells EINVAL */
  if (backlog == DUSK__BACKLOG_EMPTY) dusk__listener_close(listener);
}

static void accept_blindly(dusk__drain_t *drain) {
  drain->blindly = true;
  if (drain->held_until_ns == 0)
    drain->held_until_ns = uv_hrtime() + BLIND_MS * NS_PER_MS;
}

static void begin_sealing(dusk__listener_t *listener) {
  switch (listener->kind) {
  case DUSK__HANDED_OVER:
    dusk__listener_close(listener);
    break;
  case DUSK__UNIX:
    shutdown(listener->fd, SHUT_RD); /* connecting is refused from now on */
    close_when_empty(listener);
    break;
  case DUSK__TCP:
    if (dusk__sys_refuse_handshakes(listener->fd) < 0)
      accept_blindly(&listener->server->drain);
    break;
  }
}

/* True while handshakes are half-way that will still come in. */
static bool handshakes_pending(dusk__listener_t *listener, uint64_t age_ns) {
  dusk__drain_t *drain = &listener->server->drain;
  if (listener->kind != DUSK__TCP) return false;
  if (age_ns < SETTLE_MS * NS_PER_MS) return true;
  if (!drain->blindly) {
    int half_open = dusk__sys_half_open(listener->fd);
    if (half_open >= 0)
      return half_open > 0 && age_ns < HANDSHAKE_MS * NS_PER_MS;
    accept_blindly(drain);
  }
  return uv_hrtime() < drain->held_until_ns;
}

static void seal(dusk_server_t *server) {
  uint64_t age_ns = uv_hrtime() - server->drain.started_ns;
  for (dusk__link_t *link = server->listeners.next; link != &server->listeners;
       link = link->next) {
    dusk__listener_t *listener = DUSK__OWNER(link, dusk__listener_t, link);
    if (listener->fd >= 0 && !handshakes_pending(listener, age_ns))
      close_when_empty(listener);
  }
  if (server->listening == 0) return;
  uint64_t wait_ms = age_ns < SETTLE_MS * NS_PER_MS ? 1 : LOOK_MS;
  uv_timer_start(&server->drain.seal_timer, on_seal_timer, wait_ms, 0);
}

static void on_seal_timer(uv_timer_t *timer) {
  seal(timer->data);
}

/* -- Beginning ------------------------------------------------------------- */

static void begin_counting(dusk_server_t *server) {
  dusk__drain_t *drain = &server->drain;
  for (int phase = 0; phase < DUSK__HIJACKED; phase++)
    drain->conns_open += server->conn_count[phase];
  drain->requests_running_then = drain->requests_now;
  drain->conns_accepted = drain->requests_begun = drain->requests_late = 0;
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
  dusk_context_cancel(server->draining, NULL);
  dusk__server_at_turn(server); /* serve's callbacks */
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
  for (dusk__link_t *link = server->listeners.next; link != &server->listeners;
       link = link->next) {
    dusk__listener_t *listener = DUSK__OWNER(link, dusk__listener_t, link);
    if (listener->fd >= 0) begin_sealing(listener);
  }
  if (server->listening > 0)
    uv_timer_start(&server->drain.seal_timer, on_seal_timer, SETTLE_MS, 0);
  else
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
  snprintf(line, size, "%s %s", dusk_request_method(&oldest->req),
           dusk_request_target(&oldest->req));
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

static void tell_cut(dusk__conn_t *conn) {
  const dusk_server_config_t *config = &conn->server->config;
  dusk__exchange_t *ex = conn->ex;
  if (config->on_request_cut == NULL || ex == NULL || ex->res.ended ||
      ex->stage != DUSK__STAGE_HANDLING)
    return;
  config->on_request_cut(&ex->req,
                         dusk__now_ms(conn->server) - ex->req.begun_ms,
                         config->on_request_cut_arg);
}

static void cut_conn(dusk__conn_t *conn) {
  static const dusk__ending_t endings[DUSK__PHASES] = {
      [DUSK__NEW] = DUSK__UNUSED,
      [DUSK__ACTIVE] = DUSK__CUT,
      [DUSK__IDLE] = DUSK__UNANSWERED_IDLE,
  };
  tell_cut(conn);
  dusk__conn_close(conn, endings[conn->phase]); /* LINGERING has its own */
}

static void cut(dusk_server_t *server, int status, const dusk_cause_t *cause) {
  if (server->drain.phase == DUSK_CLOSED) return;
  if (server->conn_count[DUSK__ACTIVE] > 0) {
    server->drain.status = status;
    note_oldest(server);
  }
  cancel_requests(server, status, cause);
  for (dusk__link_t *link = server->listeners.next; link != &server->listeners;
       link = link->next)
    dusk__listener_close(DUSK__OWNER(link, dusk__listener_t, link));
  for (int phase = 0; phase < DUSK__HIJACKED; phase++)
    for_each_conn(server, (dusk__phase_t)phase, cut_conn);
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

static void on_bound_end(dusk_waiter_t *waiter) {
  shutdown_call_t *call = DUSK__OWNER(waiter, shutdown_call_t, waiter);
  dusk_server_t *server = call->server;
  int err = dusk_context_err(call->bound);
  if (err == UV_ETIMEDOUT) {
    cut(server, err, &dusk_drain_cancelled);
  } else if (server->drain.phase == DUSK_DRAINING && !server->drain.cancelled) {
    cancel_requests(server, err, &dusk_drain_cancelled);
    uv_timer_start(&server->drain.cut_timer, on_grace_over, grace_ms(server),
                   0);
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
  if (grace_ms(server) < grace_ns / NS_PER_MS)
    grace_ns = grace_ms(server) * NS_PER_MS;
  uint64_t cancel_ns = drain->deadline_ns - grace_ns;
  if (now >= cancel_ns) {
    cancel_requests(server, UV_ETIMEDOUT, &dusk_drain_cancelled);
    return;
  }
  /* What the contexts of running requests tell from now on. */
  dusk_context_bring_forward(server->ctx, drain->deadline_ns);
  uint64_t wait_ms = (cancel_ns - now + NS_PER_MS - 1) / NS_PER_MS;
  uv_timer_start(&drain->cut_timer, on_hard_cancel, wait_ms, 0);
}

static void add_bound(shutdown_call_t *call) {
  dusk_server_t *server = call->server;
  uint64_t deadline_ns = dusk_context_deadline(call->bound);
  dusk_context_after(call->bound, &call->waiter, server->root, on_bound_end);
  if (deadline_ns >= server->drain.deadline_ns) return;
  server->drain.deadline_ns = deadline_ns;
  look_at_bounds(server);
}

/* -- The end --------------------------------------------------------------- */

static bool is_over(const dusk_server_t *server) {
  size_t left = server->listening;
  for (int phase = 0; phase < DUSK__HIJACKED; phase++)
    left += server->conn_count[phase];
  return server->drain.phase == DUSK_DRAINING &&
         left == server->drain.unawaited;
}

void dusk__drain_request_ended(dusk_server_t *server, dusk__ending_t ending) {
  dusk__drain_t *drain = &server->drain;
  drain->requests_now--;
  drain->requests_ended[ending]++;
  if (drain->requests_now == 0 && drain->phase == DUSK_DRAINING)
    drain->answered_ns = uv_hrtime();
}

void dusk__drain_check(dusk_server_t *server) {
  dusk__drain_t *drain = &server->drain;
  if (drain->phase != DUSK_DRAINING) return;
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
  uv_timer_stop(&server->drain.seal_timer);
  uv_timer_stop(&server->drain.cut_timer);
  if (server->drain.status == 0) server->drain.status = server->drain.close_err;
  for_each_conn(server, DUSK__LINGERING, cut_conn);
  dusk_context_cancel(server->ctx, &dusk_server_closed);
}

static void call_back(dusk_server_t *server) {
  while (!dusk__list_empty(&server->drain.shutdowns)) {
    shutdown_call_t *call =
        DUSK__OWNER(server->drain.shutdowns.next, shutdown_call_t, link);
    dusk__list_remove(&call->link);
    dusk_waiter_stop(&call->waiter);
    dusk_context_unref(call->bound);
    if (call->cb) call->cb(server, server->drain.status, call->arg);
    free(call);
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
  if (drain->phase >= DUSK_DRAINING) return;
  if (on && drain->phase == DUSK_SERVING) drain->lame_duck_ns = uv_hrtime();
  drain->phase = on ? DUSK_LAME_DUCK : DUSK_SERVING;
}

int dusk_server_shutdown(dusk_server_t *server, dusk_context_t *bound,
                         dusk_shutdown_cb cb, void *arg) {
  if (server == NULL || bound == NULL) return UV_EINVAL;
  shutdown_call_t *call = calloc(1, sizeof(*call));
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
  for (int phase = 0; phase < DUSK__HIJACKED; phase++)
    report->conns_now += server->conn_count[phase];
}

static void report_requests(const dusk__drain_t *drain, dusk_report_t *report) {
  const uint64_t *ended = drain->requests_ended;
  report->requests_running = drain->requests_running_then;
  report->requests_begun = drain->requests_begun;
  /* A hijack is its handler's answer. */
  report->requests_answered = ended[DUSK__ANSWERED] + ended[DUSK__TAKEN];
  report->requests_refused = ended[DUSK__REFUSED];
  report->requests_cut = ended[DUSK__CUT];
  report->requests_gone = ended[DUSK__GONE];
  report->requests_late = drain->requests_late;
  report->requests_cancelled = drain->requests_cancelled;
  report->requests_now = drain->requests_now;
}

void dusk_server_report(const dusk_server_t *server,
                        dusk_report_t *ret_report) {
  const dusk__drain_t *drain = &server->drain;
  memset(ret_report, 0, sizeof(*ret_report));
  ret_report->phase = drain->phase;
  ret_report->status = drain->status;
  report_conns(server, ret_report);
  report_requests(drain, ret_report);
  ret_report->sealed_blindly = drain->blindly;
  ret_report->left_ms = DUSK_OFF;
  if (drain->started_ns == 0) return;
  uint64_t now = drain->ended_ns ? drain->ended_ns : uv_hrtime();
  ret_report->drain_ms = (now - drain->started_ns) / NS_PER_MS;
  ret_report->lame_duck_ms =
      (drain->started_ns - drain->lame_duck_ns) / NS_PER_MS;
  if (drain->answered_ns)
    ret_report->answered_ms =
        (drain->answered_ns - drain->started_ns) / NS_PER_MS;
  if (drain->sealed_ns)
    ret_report->seal_ms = (drain->sealed_ns - drain->started_ns) / NS_PER_MS;
  if (drain->deadline_ns != DUSK_OFF)
    ret_report->left_ms =
        drain->deadline_ns > now ? (drain->deadline_ns - now) / NS_PER_MS : 0;
  memcpy(ret_report->oldest, drain->oldest, sizeof(drain->oldest));
  ret_report->oldest_ms = drain->oldest_ms;
  find_oldest(server, ret_report->oldest, sizeof(ret_report->oldest),
              &ret_report->oldest_ms);
}
