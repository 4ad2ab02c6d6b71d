/* dusk/middleware.h: handlers that wrap a handler. What holds for all of these
 * headers is in dusk/http.h.
 *
 * Each is a struct that the program fills and keeps for as long as the server
 * serves, and a handler that gets it as its argument:
 *
 *     static dusk_max_bytes_t small = {{create, NULL}, 500};
 *     ...
 *     dusk_mux_handle(mux, "POST /notes", dusk_max_bytes_serve, &small);
 *
 * A `next` without a callback is a bug, told by an assertion.
 *
 * For how to write one see dusk_handler_t. */
#ifndef DUSK_MIDDLEWARE_H
#define DUSK_MIDDLEWARE_H

#include <dusk/response.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Sets the request's body's limit, see dusk_request_set_max_body: it may lie
 * above the server's, and of two the inner one counts.
 * Go: http.MaxBytesHandler. */
typedef struct dusk_max_bytes {
  dusk_handler_t next;
  uint64_t max_bytes;
} dusk_max_bytes_t;
DUSK_EXTERN void dusk_max_bytes_serve(dusk_response_t *res, dusk_request_t *req,
                                      void *max_bytes);

/* Sets the request's time-out, see dusk_request_set_timeout, in the place of
 * the server's or of an outer one's; but once somebody has asked for the
 * context, a nearer one that it has stays. When it has passed the server
 * answers 503 by on_error_reply, and what the handler writes from then on gives
 * UV_ECANCELED; but one that has begun to answer is cut, as nothing is held
 * back. Go: http.TimeoutHandler. */
typedef struct dusk_timeout {
  dusk_handler_t next;
  uint64_t timeout_ms;
} dusk_timeout_t;
DUSK_EXTERN void dusk_timeout_serve(dusk_response_t *res, dusk_request_t *req,
                                    void *timeout);

/* Takes `prefix` away from the path that those below see, a mux among them;
 * dusk_request_target stays what it was. A slash at the prefix's end counts for
 * nothing: "/api" and "/api/" make "/users" of "/api/users", "/" of "/api", and
 * let "/apis" be not found. Compared as it is sent, undecoded. Where a mux
 * below redirects to, the prefix is in front again. Go: http.StripPrefix. */
typedef struct dusk_strip_prefix {
  dusk_handler_t next;
  const char *prefix;
} dusk_strip_prefix_t;
DUSK_EXTERN void dusk_strip_prefix_serve(dusk_response_t *res,
                                         dusk_request_t *req,
                                         void *strip_prefix);

/* Refuses what a browser sends on behalf of another site: a method other than
 * GET, HEAD and OPTIONS, where Sec-Fetch-Site says so, or where a browser that
 * doesn't send that has an Origin whose host isn't Host's. What is no browser
 * sends neither, and passes. Origins of the list, "https://example.com", pass,
 * too. The refusal is 403, or `refuse`'s.
 * Go: http.CrossOriginProtection. */
typedef struct dusk_cross_origin {
  dusk_handler_t next;
  const char *const *trusted; /* ends with NULL; or NULL: none */
  dusk_handler_t refuse;      /* no cb: 403 */
} dusk_cross_origin_t;
DUSK_EXTERN void dusk_cross_origin_serve(dusk_response_t *res,
                                         dusk_request_t *req,
                                         void *cross_origin);

#ifdef __cplusplus
}
#endif

#endif
