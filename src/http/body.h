/* A request's body as it comes in. See body.c. */
#ifndef DUSK_HTTP_BODY_H
#define DUSK_HTTP_BODY_H

#include "exchange.h"

/* Whether body bytes may be parsed now: somebody takes or drops them. */
bool dusk__body_wants_bytes(const dusk__exchange_t *ex);

/* Whether somebody waits for what can be told now. */
bool dusk__body_is_due(const dusk__exchange_t *ex);
static inline bool dusk__body_is_dropped(const dusk__exchange_t *ex) {
  return ex->req.body_state == DUSK__BODY_DROPPED;
}

/* The piece that was parsed last goes to whoever takes it. */
void dusk__body_take(dusk__exchange_t *ex);

/* Tells the body's end or failure to whoever waits for it, and drops the rest
 * from then on. True when something was told. */
bool dusk__body_tell_end(dusk__exchange_t *ex);

/* Fails the body from outside the parser: time-out, client gone, cut. */
void dusk__body_fail(dusk__exchange_t *ex, int err);

/* The response has ended: nobody takes the rest any more. */
void dusk__body_drop(dusk__exchange_t *ex);

/* Whether the connection can't be kept because of what the handler left
 * unread. Decided when the response's header is written. */
bool dusk__body_leaves_too_much(const dusk__exchange_t *ex);

/* The error reply that fits a failure of the body, or 0. */
int dusk__body_status(int failure);

#endif
