/* What becomes of a connection, from accept to close.
 *
 *   NEW ──first byte──▶ ACTIVE ──answered──▶ IDLE ──next byte──▶ ACTIVE ...
 *    │                    │ │                  │
 *    │                    │ └──hijacked──▶ HIJACKED
 *    └────────────────────┴───────────┬────────┘
 *                     LINGERING (half-closed, input is discarded)
 *                                     │
 *                                  CLOSED
 *
 * set_phase is the only place where lists and counters learn of it. run is the
 * only place where requests are advanced (advance.c), until something must be
 * waited for; then all that was written meanwhile goes out with one write, and
 * settle decides what is waited for. */
#include "connection.h"

#include "advance.h"
#include "body.h"
#include "chars.h"
#include "parser.h"
#include "request.h"
#include "server.h"
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <assert.h>

enum {
  LINGER_MS = 2000,      /* at most */
  DRAIN_LINGER_MS = 250, /* in a drain, and a round trip, since the last byte */
  PEEKED_BYTES = 64,
};

/* -- Phases ---------------------------------------------------------------- */

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

static bool is_over(const dusk__conn_t *conn) {
  return conn->phase == DUSK__CLOSED || conn->phase == DUSK__HIJACKED;
}

/* `ending` counts when the connection is over. */
static void set_phase(dusk__conn_t *conn, dusk__phase_t phase) {
  dusk_server_t *server = conn->server;
  dusk__phase_t from = (dusk__phase_t)conn->phase;
  assert(legal_moves[from][phase]);
  assert(server->conn_count[from] > 0);
  if (!dusk__drain_waits_for(conn)) {
    assert(server->drain.unawaited > 0);
    server->drain.unawaited--;
  }
  server->conn_count[from]--;
  server->conn_count[phase]++;
  conn->phase = phase;
  if (!dusk__drain_waits_for(conn)) server->drain.unawaited++;
  /* What a handler took is not the client's. */
  if (phase != DUSK__ACTIVE) conn->since_ms = dusk__fresh_ms(server);
  dusk__list_remove(&conn->phase_link);
  if (is_over(conn)) {
    server->drain.conns_ended[conn->ending]++;
    dusk__listeners_resume(server);
  } else {
    dusk__list_append(&server->conns[phase], &conn->phase_link);
  }
  if (server->drain.phase != DUSK_SERVING) dusk__drain_conn_moved(conn, from);
}

/* -- The socket ------------------------------------------------------------ */

int dusk__conn_fd(const dusk__conn_t *conn) {
  uv_os_fd_t fd = -1;
  uv_fileno((const uv_handle_t *)&conn->tcp, &fd);
  return fd;
}

size_t dusk__conn_unread(const dusk__conn_t *conn) {
  int unread = 0;
  if (ioctl(dusk__conn_fd(conn), FIONREAD, &unread) || unread < 0) return 0;
  return (size_t)unread;
}

bool dusk__conn_pending(const dusk__conn_t *conn) {
  size_t unread = dusk__conn_unread(conn);
  if (unread == 0) return false;
  char peeked[PEEKED_BYTES];
  ssize_t len = recv(dusk__conn_fd(conn), peeked, sizeof(peeked),
                     MSG_PEEK | MSG_DONTWAIT);
  for (ssize_t i = 0; i < len; i++)
    if (!dusk__is_line_end(peeked[i])) return true;
  return len < 0 || (size_t)len < unread;
}

dusk_context_t *dusk__conn_context(dusk__conn_t *conn) {
  if (conn->ctx == NULL)
    dusk_context_with_cancel(conn->server->ctx, &conn->ctx);
  return conn->ctx; /* untouched on failure: NULL */
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  (void)suggested;
  dusk__conn_t *conn = DUSK__OWNER(handle, dusk__conn_t, tcp);
  dusk_server_t *server = conn->server;
  dusk__exchange_t *ex = conn->ex;
  if (ex == NULL) {
    if (server->next_input == NULL) server->next_input = dusk__ex_take(server);
    ex = server->next_input;
  }
  /* Without memory libuv is given nothing, and on_read told UV_ENOBUFS. */
  *buf = uv_buf_init(NULL, 0);
  if (ex)
    *buf = uv_buf_init(ex->buffer + ex->filled,
                       (unsigned)(ex->capacity - ex->filled));
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf);

static void set_reading(dusk__conn_t *conn, bool reading) {
  if (conn->reading == reading) return;
  conn->reading = reading;
  uv_stream_t *stream = (uv_stream_t *)&conn->tcp;
  /* Both fail only on a stream that is closing or was never opened. */
  if (reading)
    uv_read_start(stream, on_alloc, on_read);
  else
    uv_read_stop(stream);
}

static void on_closed(uv_handle_t *handle) {
  dusk__conn_t *conn = DUSK__OWNER(handle, dusk__conn_t, tcp);
  dusk_server_t *server = conn->server;
  free(conn);
  dusk__server_release(server);
}

/* -- The end --------------------------------------------------------------- */

static const dusk_cause_t *cause_of(const dusk__conn_t *conn) {
  const dusk_cause_t *drains = conn->server->drain.cut_cause;
  if (conn->ex && conn->ex->cause) return conn->ex->cause;
  switch ((dusk__ending_t)conn->ending) {
  case DUSK__GONE:
    return &dusk_client_gone;
  case DUSK__CUT:
    return drains ? drains : &dusk_connection_cut;
  default:
    return &dusk_response_ended;
  }
}

/* Parts with the running request, if there is one. User code may be called, so
 * it comes last, when the connection is in its new phase. */
static void detach(dusk__conn_t *conn) {
  dusk__exchange_t *ex = conn->ex;
  dusk__ending_t ending = (dusk__ending_t)conn->ending;
  if (ex == NULL) return;
  const dusk_cause_t *cause = cause_of(conn);
  conn->ex = NULL;
  dusk__ex_count_end(ex, ending);
  dusk__ex_orphan(ex, cause,
                  ending == DUSK__GONE ? UV_ECONNRESET : UV_ECANCELED);
}

static void leave(dusk__conn_t *conn, dusk__phase_t phase) {
  if (conn->ex) dusk__request_note_peer(conn->ex); /* while it can be told */
  dusk__output_drop(conn);
  dusk__timeout_clear(conn);
  set_phase(conn, phase);
  dusk_context_t *ctx = conn->ctx;
  conn->ctx = NULL;
  dusk_context_cancel(ctx, cause_of(conn));
  dusk_context_unref(ctx);
}

void dusk__conn_become_active(dusk__conn_t *conn) {
  assert(conn->ex && conn->ex->begun);
  dusk__timeout_clear(conn); /* each header has its own time */
  if (conn->phase != DUSK__ACTIVE) set_phase(conn, DUSK__ACTIVE);
}

void dusk__conn_close(dusk__conn_t *conn, dusk__ending_t ending) {
  if (is_over(conn)) return;
  if (conn->phase != DUSK__LINGERING) conn->ending = ending;
  dusk__drain_conn_closes(conn);
  leave(conn, DUSK__CLOSED);
  uv_close((uv_handle_t *)&conn->tcp, on_closed);
  detach(conn);
}

void dusk__conn_reset(dusk__conn_t *conn, dusk__ending_t ending) {
  assert(!is_over(conn));
  conn->ending = ending;
  dusk__drain_conn_closes(conn);
  leave(conn, DUSK__CLOSED);
  if (uv_tcp_close_reset(&conn->tcp, on_closed) < 0)
    uv_close((uv_handle_t *)&conn->tcp, on_closed);
  detach(conn);
}

/* Until a client has closed its side, too; in a drain, which waits for it, only
 * while it may still be sending. */
static void linger_on(dusk__conn_t *conn) {
  bool is_draining = conn->server->drain.phase == DUSK_DRAINING;
  uint64_t linger_ms =
      is_draining ? DRAIN_LINGER_MS + conn->round_trip_ms : LINGER_MS;
  uint64_t deadline_ms = dusk__fresh_ms(conn->server) + linger_ms;
  uint64_t last_ms = conn->since_ms + LINGER_MS;
  dusk__timeout_set(conn, DUSK__WAIT_LINGER,
                    deadline_ms < last_ms ? deadline_ms : last_ms);
}

/* Half-closes, and reads on until the client has closed its side: unread input
 * would turn a close into a reset, which may overtake what was written. */
static void linger(dusk__conn_t *conn, dusk__ending_t ending) {
  if (conn->peer_ended || shutdown(dusk__conn_fd(conn), SHUT_WR) < 0) {
    dusk__conn_close(conn, ending);
    return;
  }
  conn->ending = ending;
  if (conn->ex) dusk__request_note_peer(conn->ex);
  set_phase(conn, DUSK__LINGERING);
  if (dusk__drain_waits_for(conn))
    linger_on(conn);
  else
    dusk__timeout_set(
        conn, DUSK__WAIT_QUIET,
        dusk__after_ms(conn->since_ms, dusk__drain_quiet_ms(conn->server)));
  set_reading(conn, true);
  detach(conn);
}

void dusk__conn_part(dusk__conn_t *conn, dusk__ending_t ending) {
  dusk__exchange_t *ex = conn->ex;
  assert(conn->phase == DUSK__ACTIVE && conn->queued_writes == 0);
  bool more = ending != DUSK__ANSWERED || conn->pipelines ||
              !ex->req.complete || ex->parsed < ex->filled;
  /* Who said close himself sends nothing more: no need to look. */
  if (!more && ex->req.keep_alive) more = dusk__conn_unread(conn) > 0;
  if (more)
    linger(conn, ending);
  else
    dusk__conn_close(conn, ending);
}

void dusk__conn_retire(dusk__conn_t *conn) {
  assert(conn->phase == DUSK__NEW || conn->phase == DUSK__IDLE);
  if (dusk__conn_pending(conn)) {
    dusk__timeout_set(conn, DUSK__WAIT_QUIET, dusk__now_ms(conn->server) + 1);
    return;
  }
  if (conn->server->drain.phase == DUSK_DRAINING) {
    uint64_t window_end = dusk__drain_window_end(conn);
    if (window_end > dusk__now_ms(conn->server)) { /* was renewed */
      dusk__timeout_set(conn, DUSK__WAIT_QUIET, window_end);
      return;
    }
  }
  linger(conn, conn->phase == DUSK__NEW ? DUSK__UNUSED : DUSK__UNANSWERED_IDLE);
}

int dusk__conn_hijack(dusk__conn_t *conn, uv_os_sock_t *ret_fd) {
  int fd = fcntl(dusk__conn_fd(conn), F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return uv_translate_sys_error(errno);
  *ret_fd = fd;
  conn->ending = DUSK__TAKEN;
  leave(conn, DUSK__HIJACKED);
  uv_close((uv_handle_t *)&conn->tcp, on_closed);
  detach(conn);
  return 0;
}

/* -- Waiting --------------------------------------------------------------- */

static uint64_t soon(const dusk__conn_t *conn, uint64_t timeout_ms) {
  return dusk__after_ms(dusk__fresh_ms(conn->server),
                        dusk__drain_patience_ms(conn->server, timeout_ms));
}

/* What the peer itself has taken: a large socket buffer hides for long that it
 * takes slowly. */
static uint32_t taken_bytes(const dusk__conn_t *conn) {
  size_t queued =
      uv_stream_get_write_queue_size((const uv_stream_t *)&conn->tcp);
  return conn->written - (uint32_t)queued -
         (uint32_t)dusk__sys_unacknowledged(dusk__conn_fd(conn));
}

/* Sets a time-out that is renewed only when the peer has moved a byte. */
static void wait_for(dusk__conn_t *conn, dusk__wait_t wait,
                     uint64_t timeout_ms) {
  bool renew = conn->moved && wait != DUSK__WAIT_HEADER;
  uint64_t deadline_ms = soon(conn, timeout_ms);
  conn->moved = false;
  if (conn->wait == wait && !renew && conn->deadline_ms <= deadline_ms) return;
  if (wait == DUSK__WAIT_WRITE) conn->progress = taken_bytes(conn);
  dusk__timeout_set(conn, wait, deadline_ms);
}

/* Has just become NEW or IDLE: no request, no buffers. */
static void wait_for_request(dusk__conn_t *conn) {
  const dusk_server_config_t *config = &conn->server->config;
  if (conn->server->drain.phase == DUSK_DRAINING) {
    dusk__timeout_set(conn, DUSK__WAIT_QUIET, dusk__drain_window_end(conn));
    return;
  }
  bool is_new = conn->phase == DUSK__NEW;
  dusk__timeout_set(
      conn, is_new ? DUSK__WAIT_HEADER : DUSK__WAIT_IDLE,
      dusk__after_ms(conn->since_ms, is_new ? config->header_timeout_ms
                                            : config->idle_timeout_ms));
}

static void go_idle(dusk__conn_t *conn) {
  assert(conn->queued_writes == 0 && !conn->ex->begun);
  dusk__ex_give(conn->ex);
  conn->ex = NULL;
  conn->pipelines = false;
  if (conn->peer_ended) {
    dusk__conn_close(conn, DUSK__ANSWERED);
    return;
  }
  set_phase(conn, DUSK__IDLE);
  wait_for_request(conn);
  set_reading(conn, true);
}

/* What is waited for, now that nothing can go on. */
static void settle(dusk__conn_t *conn) {
  const dusk_server_config_t *config = &conn->server->config;
  dusk__exchange_t *ex = conn->ex;
  if (conn->phase != DUSK__ACTIVE) return;
  bool in_header = ex->stage == DUSK__STAGE_HEADER;
  if (conn->queued_writes > 0) {
    wait_for(conn, DUSK__WAIT_WRITE, config->write_timeout_ms);
  } else if (in_header && !ex->begun) {
    go_idle(conn);
    return;
  } else if (in_header) {
    wait_for(conn, DUSK__WAIT_HEADER, config->header_timeout_ms);
  } else if (dusk__body_wants_bytes(ex)) {
    wait_for(conn, DUSK__WAIT_BODY, config->body_timeout_ms);
  } else {
    dusk__timeout_clear(conn);
  }
  /* Read on as long as there is room, also to see the client leave. */
  set_reading(conn, !conn->peer_ended && dusk__ex_make_room(ex));
}

static void run(dusk__conn_t *conn, bool may_begin) {
  if (conn->running) return; /* the caller up the stack goes on */
  conn->running = true;
  assert(dusk__server_on_thread(conn->server));
  while (dusk__advance(conn, may_begin))
    ;
  if (!is_over(conn) && dusk__output_flush(conn) == 0) settle(conn);
  conn->running = false;
}

/* Once a turn, so that a handler that writes whenever it may doesn't keep the
 * loop to itself. */
static void tell_drained(dusk__conn_t *conn) {
  dusk__exchange_t *ex = conn->ex;
  if (ex == NULL || ex->res.drained_cb == NULL || conn->queued_writes > 0)
    return;
  dusk_drained_cb drained = ex->res.drained_cb;
  ex->res.drained_cb = NULL;
  conn->running = true; /* what it ends is finished when it has returned */
  dusk__ex_enter(ex);
  drained(dusk__ex_response(ex), ex->res.drained_arg);
  dusk__ex_leave(ex);
  conn->running = false;
}

void dusk__conn_run(dusk__conn_t *conn) {
  if (!conn->running) tell_drained(conn);
  run(conn, true);
}

void dusk__conn_advance(dusk__conn_t *conn) {
  run(conn, false);
}

/* -- Events ---------------------------------------------------------------- */

/* End of stream: the client has closed, or only its sending side. */
static void on_end(dusk__conn_t *conn) {
  conn->peer_ended = true;
  set_reading(conn, false);
  if (conn->phase != DUSK__ACTIVE) {
    dusk__conn_close(conn, conn->phase == DUSK__NEW ? DUSK__UNUSED
                                                    : DUSK__UNANSWERED_IDLE);
    return;
  }
  /* As in Go: it is told as gone, and still answered if the handler does. */
  if (conn->ctx) dusk_context_cancel(conn->ctx, &dusk_client_gone);
  dusk__conn_run(conn);
}

static void on_reset(dusk__conn_t *conn) {
  conn->peer_ended = true;
  if (conn->phase == DUSK__NEW)
    dusk__conn_close(conn, DUSK__UNUSED);
  else if (conn->phase == DUSK__IDLE)
    dusk__conn_close(conn, DUSK__UNANSWERED_IDLE);
  else
    dusk__conn_close(conn, DUSK__GONE);
}

static void on_read_error(dusk__conn_t *conn, int err) {
  if (err == UV_EOF)
    on_end(conn);
  else if (err == UV_ENOBUFS)
    dusk__conn_close(conn, DUSK__CUT);
  else
    on_reset(conn);
}

static void on_discard(dusk__conn_t *conn, const char *bytes, size_t len) {
  if (dusk__drain_waits_for(conn)) {
    linger_on(conn);
    return;
  }
  for (size_t i = 0; i < len && !conn->late; i++)
    conn->late = !dusk__is_line_end(bytes[i]);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf) {
  dusk__conn_t *conn = DUSK__OWNER(stream, dusk__conn_t, tcp);
  dusk_server_t *server = conn->server;
  dusk__server_note_thread(server);
  if (nread < 0) {
    on_read_error(conn, (int)nread);
    return;
  }
  if (nread == 0) return;
  if (conn->phase == DUSK__LINGERING) {
    on_discard(conn, buf->base, (size_t)nread);
    return;
  }
  if (conn->ex == NULL) {
    conn->ex = server->next_input;
    server->next_input = NULL;
    conn->ex->conn = conn;
    dusk__parser_start(conn->ex);
  }
  conn->ex->filled += (size_t)nread;
  conn->received += (uint32_t)nread;
  conn->moved = true;
  dusk__conn_run(conn);
  /* Nothing but empty lines: still no request. */
  if (conn->ex && !conn->ex->begun && conn->phase != DUSK__ACTIVE &&
      !is_over(conn)) {
    dusk__ex_give(conn->ex);
    conn->ex = NULL;
  }
}

void dusk__conn_flushed(dusk__conn_t *conn, int err) {
  if (is_over(conn)) return;
  if (err < 0) {
    dusk__conn_close(conn, DUSK__GONE);
    return;
  }
  conn->moved = true;
  if (conn->queued_writes == 0) dusk__conn_run(conn);
}

/* A lost segment of an answer takes its time to be sent again, and what a
 * client that was closed still sends would be answered by a reset before that.
 */
static void lingered(dusk__conn_t *conn) {
  bool may_go_on = conn->since_ms + LINGER_MS > dusk__fresh_ms(conn->server);
  if (may_go_on && dusk__drain_is_unacknowledged(conn))
    linger_on(conn);
  else
    dusk__conn_close(conn, (dusk__ending_t)conn->ending);
}

void dusk__conn_expired(dusk__conn_t *conn, dusk__wait_t wait) {
  if (conn->phase == DUSK__LINGERING) {
    lingered(conn);
  } else if (conn->phase != DUSK__ACTIVE) {
    dusk__conn_retire(conn);
  } else if (wait == DUSK__WAIT_WRITE) {
    conn->moved = taken_bytes(conn) != conn->progress;
    if (conn->moved) {
      settle(conn);
    } else {
      dusk__ex_timed_out(conn->ex);
      dusk__conn_close(conn, DUSK__CUT);
    }
  } else if (conn->reading && dusk__conn_unread(conn) > 0) {
    /* What has come is read in this turn of the loop, and then it is late. */
    dusk__timeout_set(conn, wait, dusk__now_ms(conn->server) + 1);
  } else if (wait == DUSK__WAIT_HEADER) {
    dusk__advance_refuse(conn, 408);
    dusk__conn_run(conn);
  } else {
    dusk__body_fail(conn->ex, UV_ETIMEDOUT);
    dusk__conn_run(conn);
  }
}

void dusk__conn_hurry(dusk__conn_t *conn) {
  if (conn->running) return; /* it will settle when it has run */
  uint64_t limit = soon(conn, DUSK_OFF);
  dusk__wait_t wait = (dusk__wait_t)conn->wait;
  if (conn->phase == DUSK__LINGERING) {
    if (dusk__drain_waits_for(conn)) linger_on(conn);
    return;
  }
  if (conn->phase != DUSK__ACTIVE)
    wait_for_request(conn);
  else if (wait == DUSK__WAIT_NOTHING)
    settle(conn); /* a time-out that was off */
  else if (conn->deadline_ms > limit)
    dusk__timeout_set(conn, wait, limit);
}

int dusk__conn_prepare(dusk_server_t *server) {
  if (server->next_conn == NULL)
    server->next_conn = calloc(1, sizeof(*server->next_conn));
  return server->next_conn ? 0 : UV_ENOMEM;
}

int dusk__conn_accept(dusk_server_t *server, int fd,
                      const dusk__address_t *address) {
  dusk__conn_t *conn = server->next_conn;
  assert(conn);
  server->next_conn = NULL;
  int err = uv_tcp_init(server->loop, &conn->tcp);
  if (err < 0) {
    close(fd);
    free(conn);
    return err;
  }
  conn->server = server;
  conn->address = *address;
  conn->phase = DUSK__NEW;
  conn->wait = DUSK__WAIT_NOTHING;
  conn->since_ms = dusk__now_ms(server);
  dusk__list_init(&conn->phase_link);
  dusk__list_init(&conn->wait_link);
  dusk__server_ref(server);
  server->conn_count[DUSK__NEW]++;
  server->drain.conns_accepted++;
  dusk__list_append(&server->conns[DUSK__NEW], &conn->phase_link);

  err = uv_tcp_open(&conn->tcp, fd);
  if (err < 0) {
    close(fd);
    dusk__conn_close(conn, DUSK__CUT);
    return err;
  }
  if (server->drain.phase == DUSK_DRAINING) dusk__drain_knows(conn);
  wait_for_request(conn);
  set_reading(conn, true);
  return 0;
}
