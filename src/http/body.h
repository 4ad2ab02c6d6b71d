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

/* Fails it by who takes it, also when it is told that it is complete: what it
 * is made of is wrong. */
void dusk__body_refuse(dusk__exchange_t *ex, int err);

/* Who takes it is behind, and then no more: nothing is told in between, also
 * when the handler pauses and resumes. */
void dusk__body_hold(dusk__exchange_t *ex);
void dusk__body_go_on(dusk__exchange_t *ex);

/* Whether who takes it may take more within the same call. If not, what is left
 * of the piece is for dusk__h1_leave. */
bool dusk__body_flows(const dusk__exchange_t *ex);

/* The response has ended: nobody takes the rest any more. */
void dusk__body_drop(dusk__exchange_t *ex);

/* Whether the connection can't be kept because of what the handler left
 * unread. Decided when the response's header is written. */
bool dusk__body_leaves_too_much(const dusk__exchange_t *ex);

/* The error reply that fits a failure of the body, or 0. */
int dusk__body_status(int failure);

#endif
