/* A request's body, as it comes in: UNASKED until the handler asks, FLOWING or
 * PAUSED as it likes, ENDED once its end or failure was told; DROPPED when
 * nobody wants it. Back-pressure is not parsing: the buffer fills, reading
 * stops, TCP slows the client down. */
#include "body.h"

#include "h1_parse.h"

enum {
  MAX_DROPPED_BYTES = 262144,
  /* As in Go: what is missing of an unread body at most, to keep a connection
   */
  MAX_LEFT_UNREAD_BYTES = 262144,
};

bool dusk__body_wants_bytes(const dusk__exchange_t *ex) {
  return !ex->h1.complete && ex->req.failure == 0 && !ex->req.body_held &&
         (ex->req.body_state == DUSK__BODY_FLOWING ||
          ex->req.body_state == DUSK__BODY_DROPPED);
}

void dusk__body_take(dusk__exchange_t *ex) {
  dusk__request_t *req = &ex->req;
  const dusk__h1_t *h1 = &ex->h1;
  if (req->body_state == DUSK__BODY_FLOWING) {
    dusk__ex_enter(ex);
    req->body_cb(dusk__ex_request(ex), (ssize_t)h1->piece_len, h1->piece,
                 req->body_arg);
    dusk__ex_leave(ex);
    return;
  }
  assert(req->body_state == DUSK__BODY_DROPPED);
  req->body_dropped += h1->piece_len;
  if (req->body_dropped > MAX_DROPPED_BYTES)
    dusk__body_fail(ex, DUSK_EBODYTOOLARGE);
}

bool dusk__body_tell_end(dusk__exchange_t *ex) {
  dusk__request_t *req = &ex->req;
  if (!ex->h1.complete && req->failure == 0) return false;
  if (req->body_state == DUSK__BODY_DROPPED) req->body_state = DUSK__BODY_ENDED;
  /* An unasked or paused body's failure waits until somebody asks. */
  if (req->body_state != DUSK__BODY_FLOWING) return false;
  assert(req->body_cb && !req->body_held); /* nothing ends while it is */
  req->body_state = DUSK__BODY_ENDED;
  dusk__ex_enter(ex);
  req->body_cb(dusk__ex_request(ex), req->failure ? req->failure : UV_EOF, NULL,
               req->body_arg);
  dusk__ex_leave(ex);
  return true;
}

void dusk__body_fail(dusk__exchange_t *ex, int err) {
  if (!ex->h1.complete && ex->req.failure == 0) ex->req.failure = err;
}

void dusk__body_drop(dusk__exchange_t *ex) {
  if (ex->req.body_state != DUSK__BODY_ENDED)
    ex->req.body_state = DUSK__BODY_DROPPED;
  ex->req.body_held = false;
}

void dusk__body_hold(dusk__exchange_t *ex) {
  ex->req.body_held = true;
}

void dusk__body_go_on(dusk__exchange_t *ex) {
  ex->req.body_held = false;
  if (ex->wire) dusk__ex_defer(ex);
}

bool dusk__body_flows(const dusk__exchange_t *ex) {
  return ex->req.body_state == DUSK__BODY_FLOWING && !ex->req.body_held &&
         ex->req.failure == 0 && !ex->res.ended;
}

void dusk__body_refuse(dusk__exchange_t *ex, int err) {
  if (ex->req.failure == 0) ex->req.failure = err;
}

bool dusk__body_leaves_too_much(const dusk__exchange_t *ex) {
  const dusk__request_t *req = &ex->req;
  if (req->failure) return true;
  if (ex->h1.complete) return false;
  if (dusk__h1_is_too_large(&ex->h1)) return true;
  if (req->body_state != DUSK__BODY_UNASKED &&
      req->body_state != DUSK__BODY_DROPPED)
    return false;
  if (ex->h1.expects_continue && !req->continued)
    return true; /* it may not be coming at all */
  return ex->h1.content_length != DUSK_OFF &&
         ex->h1.content_length - ex->h1.body_received >= MAX_LEFT_UNREAD_BYTES;
}

int dusk__body_status(int failure) {
  switch (failure) {
  case DUSK_EBODYTOOLARGE:
    return 413;
  case DUSK_EBADBODY:
    return 400;
  case UV_ETIMEDOUT:
    return 408;
  case UV_ENOMEM:
    return 503;
  default:
    return 0;
  }
}

bool dusk__body_is_due(const dusk__exchange_t *ex) {
  return ex->req.body_state == DUSK__BODY_FLOWING && !ex->req.body_held &&
         (dusk__h1_may_parse(&ex->h1) || ex->h1.complete || ex->req.failure);
}
