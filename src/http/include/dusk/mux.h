/* dusk/mux.h: a handler that chooses one by method and path. What holds for all
 * of these headers is in dusk/http.h. */
#ifndef DUSK_MUX_H
#define DUSK_MUX_H

#include <dusk/response.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dusk_mux dusk_mux_t;

DUSK_EXTERN int dusk_mux_new(dusk_mux_t **ret_mux) DUSK_CHECK_RESULT;
DUSK_EXTERN void dusk_mux_free(dusk_mux_t *mux);

/* Registers `handler` for a pattern, "[METHOD ]PATH": a path that ends in '/'
 * matches all below it, another one itself only. '%XX' of patterns and requests
 * is decoded for matching, but '%2F' is no '/'. The longest path wins, then one
 * with a method. GET matches HEAD too. Errors: UV_EINVAL for a NULL handler and
 * a pattern that can't be read or would never match: a method that llhttp
 * doesn't know (it knows none in lower case, and refuses them with 501), a
 * query, white space, a broken escape or one of NUL; and for braces, which are
 * kept for wildcards ('%7B' is one as such). UV_EEXIST, UV_ENOMEM. */
DUSK_EXTERN int dusk_mux_handle(dusk_mux_t *mux, const char *pattern,
                                dusk_handler_cb handler,
                                void *arg) DUSK_CHECK_RESULT;

/* The handler to give to the server, with the mux as its argument (NULL is an
 * error of dusk_server_new). Answers 404, or 405 with Allow when only the
 * method doesn't match. */
DUSK_EXTERN void dusk_mux_serve(dusk_response_t *res, dusk_request_t *req,
                                void *mux);

#ifdef __cplusplus
}
#endif

#endif
