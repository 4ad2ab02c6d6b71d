/* A request's body on its way to the handler. See body.c. */
#ifndef DUSK_HTTP_BODY_H
#define DUSK_HTTP_BODY_H

#include "exchange.h"

/* Whether body bytes may be parsed now: somebody takes or drops them. */
bool dusk__body_wants_bytes(const dusk__exchange_t *ex);

/* The piece that was parsed last goes to whoever takes it. False when the
 * exchange has gone meanwhile. */
bool dusk__body_take(dusk__exchange_t *ex);

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
