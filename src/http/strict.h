/* What llhttp's strictest mode lets through and RFC 9112 forbids. */
#ifndef DUSK_HTTP_STRICT_H
#define DUSK_HTTP_STRICT_H

#include "h1.h"

/* Checks a complete header and notes what must be known of it (path, host,
 * expectation, version, whether the connection is to be kept). 0, or the status
 * to refuse the request with. */
int dusk__strict_request(dusk__h1_t *h1);

/* Checks that the fields from `first` on stand one a line from offset `at` to
 * an empty line, trims their values, and terminates names and values with NUL.
 * 0 or 400. */
int dusk__strict_fields(dusk__h1_t *h1, size_t at, size_t first);

/* Takes the next piece of a chunk extension's name or value. */
dusk__extension_t dusk__strict_extension(dusk__extension_t so_far,
                                         const char *text, size_t len);

/* The status for a request line whose method or version llhttp refused. */
int dusk__strict_bad_method(const char *line, size_t len);
int dusk__strict_bad_version(const char *line, size_t len);

/* Whether a request line has come as far as HTTP's version: its method is then
 * one of another protocol's. */
bool dusk__strict_is_http(const char *line, size_t len);

#endif
