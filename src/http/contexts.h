/* The contexts of a connection and of its requests, made when they are asked
 * for. */
#ifndef DUSK_HTTP_CONTEXTS_H
#define DUSK_HTTP_CONTEXTS_H

#include "exchange.h"

/* The request's, borrowed; of one that was cut off before it had a context, one
 * that has ended. NULL when memory ran out. */
dusk_context_t *dusk__contexts_of_request(dusk__exchange_t *ex);

/* Its time-out, from now on, in the place of one that it had: `cb` gets
 * req.timeout on the loop when the request's context has ended. UV_EBUSY where
 * somebody has seen the context, whose deadline comes before; UV_ENOMEM. */
int dusk__contexts_set_timeout(dusk__exchange_t *ex, uint64_t timeout_ms,
                               dusk_waiter_cb cb);

/* The connection's, borrowed; NULL when memory ran out. It is made when it is
 * asked for, or before, as a child of `parent`. */
dusk_context_t *dusk__contexts_of_wire(dusk__wire_t *wire);
int dusk__contexts_give(dusk__wire_t *wire, dusk_context_t *parent);

/* Ends the connection's, if there is one, and so those of its requests. */
void dusk__contexts_client_gone(dusk__wire_t *wire);
/* The connection's end. */
void dusk__contexts_end(dusk__wire_t *wire, const dusk_cause_t *cause);

#endif
