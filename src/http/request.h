/* A request's parts, for the rest of the library. */
#ifndef DUSK_HTTP_REQUEST_H
#define DUSK_HTTP_REQUEST_H

#include "exchange.h"

/* The host with its port, if it has one: of the target, or of the Host field.
 */
const char *dusk__request_host_span(const dusk__exchange_t *ex,
                                    size_t *ret_len);

/* What of the target's path there is for handlers, still encoded: all of it,
 * but for a prefix that was stripped. Not NUL-terminated; stands for as long as
 * the request. */
const char *dusk__request_path_span(const dusk__exchange_t *ex,
                                    size_t *ret_len);

/* From now on it is this one, which lives as long as the request. */
void dusk__request_set_path(dusk_request_t *handle, const char *path);

#endif
