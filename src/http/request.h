/* A request's parts, for the rest of the library. */
#ifndef DUSK_HTTP_REQUEST_H
#define DUSK_HTTP_REQUEST_H

#include "exchange.h"

/* The message; NULL for a stale handle. */
const dusk__h1_t *dusk__request_h1(const dusk_request_t *handle);

/* For who has the thing itself. */
const char *dusk__request_method(const dusk__exchange_t *ex);
const char *dusk__request_target(const dusk__exchange_t *ex);
dusk_context_t *dusk__request_context(dusk__exchange_t *ex);

/* Asks for its peer now if on_request_end, which may come later than the
 * connection's end, can want it. */
void dusk__request_note_peer(dusk__exchange_t *ex);

/* The text of a socket's address, as dusk_request_peer and
 * dusk_server_address tell it. */
void dusk__address_text(const struct sockaddr *addr, char *buf, size_t size);

#endif
