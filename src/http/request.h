/* A request's parts, for the rest of the library. */
#ifndef DUSK_HTTP_REQUEST_H
#define DUSK_HTTP_REQUEST_H

#include "exchange.h"

/* The message; NULL for a stale handle. */
const dusk__h1_t *dusk__request_h1(const dusk_request_t *handle);

/* What of the target's path there is for handlers, still encoded: all of it,
 * but for a prefix that was stripped. Not NUL-terminated. */
const char *dusk__request_path_span(const dusk__exchange_t *ex,
                                    size_t *ret_len);

/* From now on it is this one, which lives as long as the request. */
void dusk__request_set_path(dusk_request_t *handle, const char *path);

#endif
