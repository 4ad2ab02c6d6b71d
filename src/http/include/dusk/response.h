/* dusk/response.h: how a request is answered. What holds for all of these
 * headers is in dusk/http.h. */
#ifndef DUSK_RESPONSE_H
#define DUSK_RESPONSE_H

#include <dusk/request.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dusk_response dusk_response_t;

/* -- Handlers -------------------------------------------------------------- */

/* Answers a request; called when its header is complete, one request of a
 * connection at a time. It ends its response before it returns or later, from
 * any callback on the same loop; it must end it, also when the client has gone:
 * request and response stay valid until it does, and no longer, except that
 * within the handler's own call, and in every callback that is given one of
 * them, they outlive the end of the response. When the connection was cut, or
 * the server has answered in the handler's stead (after request_timeout, or a
 * body that failed), writes give UV_ECANCELED and end only releases.
 * Go: http.Handler. */
typedef void (*dusk_handler_cb)(dusk_response_t *res, dusk_request_t *req,
                                void *arg);

/* -- Response -------------------------------------------------------------- */

/* Sets the status, 200 to 999; 200 by default. Errors: UV_EINVAL,
 * DUSK_EHEADERSENT. */
DUSK_EXTERN int dusk_response_status(dusk_response_t *res, int status);

/* Header fields, as they will be written; name and value are copied, names are
 * compared in any case.
 *   set     puts the field in the place of all of its name
 *   add     puts it behind them
 *   remove  takes all of its name away; 0, too, if there is none
 *   get     the first value of that name, borrowed until a field is changed or
 *           the header is written; NULL if there is none
 * Some are the server's business, too:
 *   Content-Length     set and add declare the length of a streamed body, and
 *                      remove takes that back. get: what was declared, and once
 *                      the header has been written what that says
 *   Date               set and add put their own in the server's place, and
 *                      remove puts the server's back. get: their own, or NULL
 *   Connection         the handler's options, `close` among them, go into one
 *                      field with the server's; keep-alive is not said when the
 *                      connection closes. remove and get: the handler's
 *   Transfer-Encoding  UV_EINVAL from set and add; remove does nothing, get is
 *                      NULL
 * Errors: UV_EINVAL for a name that is no token, a value with control bytes or
 * a length that is no number; DUSK_EHEADERSENT; UV_ENOBUFS beyond 32 KiB of
 * fields; UV_ENOMEM. Go: ResponseWriter.Header. */
DUSK_EXTERN int dusk_response_set_header(dusk_response_t *res, const char *name,
                                         const char *value);
DUSK_EXTERN int dusk_response_add_header(dusk_response_t *res, const char *name,
                                         const char *value);
DUSK_EXTERN int dusk_response_remove_header(dusk_response_t *res,
                                            const char *name);
DUSK_EXTERN const char *dusk_response_get_header(dusk_response_t *res,
                                                 const char *name);

/* Writes the header if it has not been written, and `len` bytes of body, and
 * ends the response: length known, so no chunks unless the body was begun by
 * dusk_response_write. `data` is copied or sent before the call returns. With
 * less than was declared the connection closes, so that the client can tell.
 * Releases request and response, see dusk_handler_cb; also on error:
 * UV_ECANCELED when the connection was cut, DUSK_ENOBODY, DUSK_ELENGTH for more
 * than was declared, DUSK_ESHORT for less, UV_ENOMEM, DUSK_EHIJACKED. On any of
 * them the response is not whole and the connection closes, except
 * DUSK_ENOBODY: it goes out without the body. */
DUSK_EXTERN int dusk_response_end(dusk_response_t *res, const void *data,
                                  size_t len);

/* Sets the status, and Content-Type to "text/plain; charset=utf-8" if the
 * handler has set none, and ends with `text`. */
DUSK_EXTERN int dusk_response_text(dusk_response_t *res, int status,
                                   const char *text);

/* Streams a piece of body: the header first, if it has not been written, with
 * Transfer-Encoding: chunked unless a length was declared; on HTTP/1.0 the end
 * of such a body is the connection's. `len` 0 writes just the header. Returns
 * 0; 1 when taken but the client is behind: better wait for on_drained; or
 * UV_ECANCELED, DUSK_ENOBODY, DUSK_ELENGTH (nothing of it is sent),
 * DUSK_EHIJACKED, UV_ENOMEM. `data` is copied or sent before it returns. */
DUSK_EXTERN int dusk_response_write(dusk_response_t *res, const void *data,
                                    size_t len);

/* The same as write and end, for a large body by reference: `data` is kept, not
 * copied, until `release` is called with `arg`, once, also on error, and
 * possibly inside the call: it must not use this server. NULL for data that
 * never goes, such as a constant. */
typedef void (*dusk_release_cb)(void *arg);
DUSK_EXTERN int dusk_response_write_ref(dusk_response_t *res, const void *data,
                                        size_t len, dusk_release_cb release,
                                        void *arg);
DUSK_EXTERN int dusk_response_end_ref(dusk_response_t *res, const void *data,
                                      size_t len, dusk_release_cb release,
                                      void *arg);

/* Calls `cb` once, when all that was written has gone to the kernel, or when
 * the connection was cut; never inside this call, and not after the response's
 * end. Errors: UV_EINVAL, UV_EBUSY while one waits, UV_ECANCELED. */
typedef void (*dusk_drained_cb)(dusk_response_t *res, void *arg);
DUSK_EXTERN int dusk_response_on_drained(dusk_response_t *res,
                                         dusk_drained_cb cb,
                                         void *arg) DUSK_CHECK_RESULT;

/* Gives the response up: what was written goes out, the connection closes, and
 * a body that was begun is never made to look whole. If the server has failed
 * the request's body, and no header has been written, the reply that fits goes
 * out: 400, 408, 413 or 503. Releases like end.
 * Go: panic(http.ErrAbortHandler). */
DUSK_EXTERN void dusk_response_abort(dusk_response_t *res);

/* Cuts the connection now, by a reset: what was written and not yet sent is
 * dropped, also what a client that has stalled leaves queued. Counted as cut.
 * Releases like end. Go: Conn.SetLinger(0) and Close. */
DUSK_EXTERN void dusk_response_reset(dusk_response_t *res);

/* Takes the connection over: *ret_fd is the caller's, non-blocking, and so is
 * *ret_early (free it), `*ret_early_len` bytes that the client sent already.
 * The server forgets the connection, and releases request and response as end
 * does; their context is cancelled with dusk_response_ended. Errors:
 * DUSK_EHIJACKED, UV_ECANCELED, UV_EBUSY while written bytes wait, UV_ENOMEM,
 * what dup gives; the response is then as before. Go: http.Hijacker. */
DUSK_EXTERN int dusk_response_hijack(dusk_response_t *res, uv_os_sock_t *ret_fd,
                                     char **ret_early,
                                     size_t *ret_early_len) DUSK_CHECK_RESULT;

#ifdef __cplusplus
}
#endif

#endif
