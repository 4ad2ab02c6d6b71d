/* A request's parts, for the rest of the library. */
#ifndef DUSK_HTTP_REQUEST_H
#define DUSK_HTTP_REQUEST_H

#include "exchange.h"

/* The method by llhttp's number. */
int dusk__request_method(const dusk_request_t *req);

/* The still encoded path, not NUL-terminated. */
const char *dusk__request_path(const dusk_request_t *req, size_t *ret_len);

/* The text of a socket's address, as dusk_request_peer and
 * dusk_server_address tell it. */
void dusk__address_text(const struct sockaddr *addr, char *buf, size_t size);

#endif
