/* A connection's requests, one after another, step by step: parse, dispatch,
 * give the body out, finish, and so on with the next one. What is kept between
 * two steps is the exchange's stage and flags; a step that calls a handler must
 * expect that everything has ended when it returns. */
#include "advance.h"

#include "body.h"
#include "h1_parse.h"
#include "request.h"
#include "response.h"

void dusk__advance_refuse(dusk__conn_t *conn, int status) {
  assert(conn->member.phase == DUSK__ACTIVE && conn->ex->begun);
  conn->ex->res.ended = conn->ex->stage != DUSK__STAGE_HANDLING;
  dusk__response_refuse(conn->ex, status);
}

/* A request begins with its first byte. False when there is none. */
static bool begin_message(dusk__conn_t *conn) {
  dusk__exchange_t *ex = conn->ex;
  if (ex->begun) return true;
  if (!dusk__h1_begin(&ex->h1)) return false;
  ex->begun = true;
  ex->req.begun_ms = dusk__now_ms(conn->stream.worker);
  conn->requests++;
  dusk__conn_become_active(conn);
  dusk__census_request_begun(conn->stream.worker->census, &conn->member);
  return true;
}

static void on_request_timeout(dusk_waiter_t *waiter) {
  dusk__request_t *req = DUSK__OWNER(waiter, dusk__request_t, timeout);
  dusk__exchange_t *ex = dusk__ex_owning(req);
  req->timed = false;
  if (ex->conn == NULL || ex->res.ended ||
      dusk_context_err(req->ctx) != UV_ETIMEDOUT)
    return;
  dusk__ex_timed_out(ex);
  if (ex->res.header_sent) { /* too late for a reply */
    dusk__conn_close(ex->conn, DUSK__CUT);
    return;
  }
  dusk__response_refuse(ex, 503);
  dusk__conn_run(ex->conn);
}

static bool begin_timeout(dusk__exchange_t *ex) {
  if (ex->worker->config->request_timeout_ms == DUSK_OFF) return true;
  dusk_context_t *ctx = dusk__request_context(ex);
  if (ctx == NULL) return false;
  dusk_context_after(ctx, &ex->req.timeout, ex->worker->root,
                     on_request_timeout);
  ex->req.timed = true;
  return true;
}

static void dispatch(dusk__conn_t *conn) {
  dusk__exchange_t *ex = conn->ex;
  const dusk_server_config_t *config = conn->stream.worker->config;
  assert(ex->stage == DUSK__STAGE_HEADER);
  if (!dusk__h1_make_body_room(&ex->h1) || !begin_timeout(ex)) {
    dusk__advance_refuse(conn, 503);
    return;
  }
  if (!ex->h1.complete) ex->req.body_state = DUSK__BODY_UNASKED;
  ex->stage = DUSK__STAGE_HANDLING;
  dusk__ex_enter(ex);
  config->handler(dusk__ex_response(ex), dusk__ex_request(ex),
                  config->handler_arg);
  dusk__ex_leave(ex);
}

/* A header that may now be complete. False when more must be read first. */
static bool step_header(dusk__conn_t *conn) {
  dusk__exchange_t *ex = conn->ex;
  assert(ex->begun && ex->callbacks == 0);
  if (dusk__h1_unparsed(&ex->h1) == 0 && !conn->stream.has_ended) return false;
  switch (dusk__h1_parse(&ex->h1)) {
  case DUSK__H1_HEADER:
    dispatch(conn);
    return true;
  case DUSK__H1_DEFECT:
    dusk__advance_refuse(conn, ex->h1.defect);
    return true;
  default:
    if (!conn->stream.has_ended && dusk__h1_make_room(&ex->h1)) return false;
    /* Cut short, or no memory for the rest of it. */
    dusk__advance_refuse(conn, conn->stream.has_ended ? 400 : 503);
    return true;
  }
}

/* The next piece of a body, its end, or what is wrong with it. False when the
 * exchange has gone meanwhile. */
static bool step_body(dusk__conn_t *conn) {
  dusk__exchange_t *ex = conn->ex;
  dusk__h1_verdict_t verdict = dusk__h1_parse(&ex->h1);
  if (verdict == DUSK__H1_PIECE) return dusk__body_take(ex) && conn->ex == ex;
  if (verdict == DUSK__H1_DEFECT) dusk__body_fail(ex, ex->h1.defect);
  return true;
}

/* The server answers in the handler's stead what the handler was told and did
 * not answer. */
static void answer_failure(dusk__conn_t *conn, dusk__exchange_t *ex) {
  if (conn->ex != ex || ex->req.failure == 0 || ex->res.ended) return;
  int status = dusk__body_status(ex->req.failure);
  if (status) dusk__response_refuse(ex, status);
}

/* The response is there: on to the next request, or to the end. False when
 * something must be waited for. */
static bool step_finish(dusk__conn_t *conn) {
  dusk__exchange_t *ex = conn->ex;
  assert(ex->begun && ex->callbacks == 0);
  bool keep = !ex->res.close && ex->req.failure == 0;
  if (keep && !ex->h1.complete) return false; /* the rest is being dropped */
  if (!keep && dusk__stream_flush(&conn->stream) < 0) return false;
  if (conn->stream.queued > 0) return false;
  if (keep) {
    dusk__ex_count_end(ex, DUSK__ANSWERED);
    dusk__ex_enter(ex); /* on_request_end may cut the connection */
    dusk__ex_finish(ex);
    if (!dusk__ex_leave(ex)) return false;
    dusk__ex_next_message(ex);
    if (dusk__h1_unparsed(&ex->h1) > 0) conn->pipelines = true;
    return true;
  }
  if (ex->res.aborted && ex->res.framing == DUSK__FRAMED_BY_CLOSE)
    dusk__conn_reset(conn, conn->stream.has_ended ? DUSK__GONE : DUSK__CUT);
  else if (ex->res.aborted)
    dusk__conn_part(conn, conn->stream.has_ended ? DUSK__GONE : DUSK__CUT);
  else
    dusk__conn_part(conn, ex->res.refused ? DUSK__REFUSED : DUSK__ANSWERED);
  return false;
}

bool dusk__advance(dusk__conn_t *conn, bool may_begin) {
  dusk__exchange_t *ex = conn->ex;
  if (ex == NULL || dusk__stream_err(&conn->stream)) return false;
  assert(conn->running && ex->conn == conn && !ex->finished);
  if (ex->stage == DUSK__STAGE_HEADER && !ex->res.ended) {
    if (conn->stream.queued > 0 || !begin_message(conn)) return false;
    if (may_begin) return step_header(conn);
    if (dusk__h1_unparsed(&ex->h1) > 0) dusk__ex_defer(ex);
    return false;
  }
  bool has_input = dusk__h1_may_parse(&ex->h1);
  if (dusk__body_wants_bytes(ex)) {
    bool may_parse = may_begin || ex->req.body_state == DUSK__BODY_DROPPED;
    if (has_input && may_parse) return step_body(conn);
    if (!has_input && !dusk__h1_make_room(&ex->h1))
      dusk__body_fail(ex, DUSK_EBADBODY); /* a trailer larger than the buffer */
  }
  if (conn->stream.has_ended && !ex->h1.complete && !has_input)
    dusk__body_fail(ex, UV_ECONNRESET);
  if (may_begin && dusk__body_tell_end(ex)) {
    answer_failure(conn, ex);
    return true;
  }
  if (!may_begin && ex->req.body_state == DUSK__BODY_FLOWING &&
      (has_input || ex->h1.complete || ex->req.failure))
    dusk__ex_defer(ex); /* its callback, next turn */
  if (ex->res.ended || ex->res.refused) return step_finish(conn);
  return false;
}
