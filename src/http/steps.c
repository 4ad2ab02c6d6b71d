/* An exchange's steps: parse, dispatch, give the body out, finish, and so on
 * with the next message. What is kept between two of them is the exchange's
 * stage and flags. A step gives a verdict, and the connection acts on it: while
 * a step runs nothing is closed, so an exchange has its wire until its step has
 * returned. */
#include "steps.h"

#include "body.h"
#include "h1_parse.h"
#include "reply.h"

/* Answers in the handler's stead. */
static void refuse(dusk__exchange_t *ex, int status) {
  assert(ex->wire && ex->begun);
  if (ex->stage != DUSK__STAGE_HANDLING) dusk__ex_note_ended(ex);
  dusk__reply_refuse(ex, status);
}

/* -- The header ------------------------------------------------------------ */

static void on_request_timeout(dusk_waiter_t *waiter) {
  dusk__request_t *req = DUSK__OWNER(waiter, dusk__request_t, timeout);
  dusk__exchange_t *ex = dusk__ex_owning(req);
  req->timed = false;
  if (ex->wire == NULL || ex->res.ended) return;
  /* Else its context has ended before, and its connection waits for it. */
  if (dusk_context_cause(req->ctx) == &dusk_timed_out) ex->is_overdue = true;
  dusk__ex_go_on(ex);
}

/* The server answers in the handler's stead, if it is not too late for that. */
static dusk__step_t step_overdue(dusk__exchange_t *ex) {
  ex->is_overdue = false;
  if (ex->stage == DUSK__STAGE_HEADER) {
    refuse(ex, 408);
    return DUSK__STEP_ON;
  }
  dusk__ex_timed_out(ex);
  if (ex->res.header_sent) return DUSK__STEP_CUT;
  refuse(ex, 503);
  return DUSK__STEP_ON;
}

int dusk__steps_set_timeout(dusk__exchange_t *ex, uint64_t timeout_ms) {
  return dusk__contexts_set_timeout(ex, timeout_ms, on_request_timeout);
}

/* The server's time-out begins, if it has one. */
static bool begin_timeout(dusk__exchange_t *ex) {
  uint64_t timeout_ms = ex->worker->config->request_timeout_ms;
  return timeout_ms == DUSK_OFF || dusk__steps_set_timeout(ex, timeout_ms) == 0;
}

static void dispatch(dusk__exchange_t *ex) {
  const dusk_server_config_t *config = ex->worker->config;
  assert(ex->stage == DUSK__STAGE_HEADER && ex->begun);
  if (!dusk__h1_make_body_room(&ex->h1) || !begin_timeout(ex)) {
    refuse(ex, 503);
    return;
  }
  if (!ex->h1.complete) ex->req.body_state = DUSK__BODY_UNASKED;
  ex->stage = DUSK__STAGE_HANDLING;
  dusk__ex_enter(ex);
  config->handler(dusk__ex_response(ex), dusk__ex_request(ex),
                  config->handler_arg);
  dusk__ex_leave(ex);
}

static dusk__step_t parse_header(dusk__exchange_t *ex) {
  bool has_ended = ex->wire->stream.has_ended;
  if (dusk__h1_unparsed(&ex->h1) == 0 && !has_ended) return DUSK__STEP_WAIT;
  switch (dusk__h1_parse(&ex->h1)) {
  case DUSK__H1_HEADER:
    dispatch(ex);
    return DUSK__STEP_ON;
  case DUSK__H1_DEFECT:
    refuse(ex, ex->h1.defect);
    return DUSK__STEP_ON;
  default:
    if (!has_ended && dusk__h1_make_room(&ex->h1)) return DUSK__STEP_WAIT;
    /* Cut short, or no memory for the rest of it. */
    refuse(ex, has_ended ? 400 : 503);
    return DUSK__STEP_ON;
  }
}

static dusk__step_t step_header(dusk__exchange_t *ex, dusk__calls_t calls) {
  assert(ex->callbacks == 0);
  if (ex->wire->stream.queued > 0) return DUSK__STEP_WAIT;
  if (!ex->begun)
    return dusk__h1_begin(&ex->h1) ? DUSK__STEP_BEGIN : DUSK__STEP_WAIT;
  if (calls == DUSK__CALLS) return parse_header(ex);
  if (dusk__h1_unparsed(&ex->h1) > 0) dusk__ex_defer(ex);
  return DUSK__STEP_WAIT;
}

/* -- The body -------------------------------------------------------------- */

/* Its next piece, its end, or what is wrong with it. */
static void parse_body(dusk__exchange_t *ex) {
  dusk__h1_verdict_t verdict = dusk__h1_parse(&ex->h1);
  if (verdict == DUSK__H1_PIECE) dusk__body_take(ex);
  if (verdict == DUSK__H1_DEFECT) dusk__body_fail(ex, ex->h1.defect);
}

/* The server answers in the handler's stead what the handler was told and did
 * not answer. */
static void answer_failure(dusk__exchange_t *ex) {
  int status = dusk__body_status(ex->req.failure);
  if (status && !ex->res.ended) refuse(ex, status);
}

/* True when there is more to be done about it at once. */
static bool step_body(dusk__exchange_t *ex, dusk__calls_t calls) {
  bool may_call = calls == DUSK__CALLS;
  bool has_input = dusk__h1_may_parse(&ex->h1);
  if (dusk__body_wants_bytes(ex)) {
    if (has_input && (may_call || dusk__body_is_dropped(ex))) {
      parse_body(ex);
      return true;
    }
    if (!has_input && !dusk__h1_make_room(&ex->h1))
      dusk__body_fail(ex, DUSK_EBADBODY); /* a trailer larger than the buffer */
  }
  if (ex->wire->stream.has_ended && !ex->h1.complete && !has_input)
    dusk__body_fail(ex, UV_ECONNRESET);
  if (may_call && dusk__body_tell_end(ex)) {
    answer_failure(ex);
    return true;
  }
  if (!may_call && dusk__body_is_due(ex)) dusk__ex_defer(ex);
  return false;
}

void dusk__steps_tell_drained(dusk__exchange_t *ex) {
  dusk_drained_cb drained = ex->res.drained_cb;
  if (drained == NULL || ex->wire->stream.queued > 0) return;
  ex->res.drained_cb = NULL;
  dusk__ex_enter(ex);
  drained(dusk__ex_response(ex), ex->res.drained_arg);
  dusk__ex_leave(ex);
}

/* -- The end --------------------------------------------------------------- */

/* The response is there: on to the next request, or to the end. */
static dusk__step_t step_finish(dusk__exchange_t *ex) {
  dusk__stream_t *stream = &ex->wire->stream;
  bool keep = !ex->res.close && ex->req.failure == 0;
  assert(ex->begun && ex->callbacks == 0);
  if (keep && !ex->h1.complete) return DUSK__STEP_WAIT; /* being dropped */
  if (!keep && dusk__stream_flush(stream) < 0) return DUSK__STEP_WAIT;
  if (stream->queued > 0) return DUSK__STEP_WAIT;
  if (!keep) {
    bool looks_whole = ex->res.framing == DUSK__FRAMED_BY_CLOSE;
    return ex->res.aborted && looks_whole ? DUSK__STEP_RESET : DUSK__STEP_PART;
  }
  dusk__ex_count_end(ex, DUSK__ANSWERED);
  dusk__ex_finish(ex);
  dusk__ex_next_message(ex);
  return DUSK__STEP_NEXT;
}

dusk__ending_t dusk__steps_ending(const dusk__exchange_t *ex) {
  if (ex->res.aborted && !ex->res.is_reset && ex->wire->stream.has_ended)
    return DUSK__GONE;
  if (ex->res.aborted) return DUSK__CUT;
  return ex->res.refused ? DUSK__REFUSED : DUSK__ANSWERED;
}

dusk__step_t dusk__steps_next(dusk__exchange_t *ex, dusk__calls_t calls) {
  assert(ex->wire && !ex->finished);
  if (dusk__stream_err(&ex->wire->stream)) return DUSK__STEP_WAIT;
  if (ex->callbacks > 0) { /* a hook's, which is called while it writes */
    dusk__ex_defer(ex);
    return DUSK__STEP_WAIT;
  }
  if (ex->res.is_reset) return DUSK__STEP_RESET;
  if (ex->is_overdue) return step_overdue(ex);
  if (ex->stage == DUSK__STAGE_HEADER && !ex->res.ended)
    return step_header(ex, calls);
  if (step_body(ex, calls)) return DUSK__STEP_ON;
  return ex->res.ended || ex->res.refused ? step_finish(ex) : DUSK__STEP_WAIT;
}
