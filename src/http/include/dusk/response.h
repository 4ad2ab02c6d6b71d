/* dusk/response.h: how a request is answered. What holds for all of these
 * headers is in dusk/http.h. */
#ifndef DUSK_RESPONSE_H
#define DUSK_RESPONSE_H

#include <assert.h>

#include <dusk/request.h>

#ifdef __cplusplus
extern "C" {
#endif

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

/* A handler with its argument, for those that wrap it: a middleware is a
 * handler whose argument holds the next one, and whatever else it needs.
 *
 *     typedef struct guard { dusk_handler_t next; const char *token; } guard_t;
 *     static void guard(dusk_response_t *res, dusk_request_t *req, void *arg) {
 *       const guard_t *guard = arg;
 *       if (is_allowed(req, guard->token))
 *         dusk_handler_serve(&guard->next, res, req);
 *       ...
 *
 * It may go on later, too, from any callback of the loop. Go: http.Handler, and
 * func(http.Handler) http.Handler. */
typedef struct dusk_handler {
  dusk_handler_cb cb;
  void *arg;
} dusk_handler_t;

static inline void dusk_handler_serve(const dusk_handler_t *handler,
                                      dusk_response_t *res,
                                      dusk_request_t *req) {
  assert(handler->cb != NULL && "a handler that wraps one has none");
  handler->cb(res, req, handler->arg);
}

/* -- Response -------------------------------------------------------------- */

/* The request that it answers, see dusk_request_response. */
DUSK_EXTERN dusk_request_t *dusk_response_request(const dusk_response_t *res);

/* Sets the status, 200 to 999; 200 by default. Errors: UV_EINVAL,
 * DUSK_EHEADERSENT. */
DUSK_EXTERN int dusk_response_status(dusk_response_t *res, int status);

/* Header fields, as they will be written; name and value are copied, names are
 * compared in any case.
 *   set     puts the field in the place of all of its name
 *   add     puts it behind them
 *   remove  takes all of its name away; 0, too, if there is none
 *   get     the first value of that name, borrowed until a field is changed or
 *           a header is written, a 1xx's, too; NULL if there is none
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
 *   Content-Type       get: also the one that a reply of dusk/reply.h brings
 *                      along, once that is composed; and remove takes it away.
 *                      Left out of a 304, which says nothing of what the client
 *                      has
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

/* Writes an interim response, 1xx but for 101, with the fields that are set by
 * now (all but Connection); they go with the final one, too. Any number of
 * them. It goes out when the handler, or the request's callback, returns. 100
 * is sent in the place of the server's own. A client of HTTP/1.0 is sent none.
 * Errors: UV_EINVAL, DUSK_EHEADERSENT, DUSK_EHIJACKED, UV_ECANCELED. Go:
 * ResponseWriter.WriteHeader(103). */
DUSK_EXTERN int dusk_response_inform(dusk_response_t *res, int status);

/* The status as it would be written now: what was set, or 0; and once the
 * header has been written what that says. 0 for a response that is over. */
DUSK_EXTERN int dusk_response_get_status(const dusk_response_t *res);

/* Calls `cb` when the header is about to be composed, by whoever: its status is
 * set, and it may be changed and fields be set, but nothing be written or
 * ended. For the server's own replies as well (see on_error_reply), and not for
 * 1xx. One that is registered later is called earlier: it is further inside.
 * Errors: UV_EINVAL, DUSK_EHEADERSENT, UV_ENOMEM, UV_ECANCELED for a response
 * that is over. Go: a ResponseWriter that wraps WriteHeader. */
typedef void (*dusk_header_cb)(dusk_response_t *res, void *arg);
DUSK_EXTERN int dusk_response_on_header(dusk_response_t *res, dusk_header_cb cb,
                                        void *arg) DUSK_CHECK_RESULT;

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

/* Streams a piece of body: the header first, if it has not been written, with
 * Transfer-Encoding: chunked unless a length was declared; on HTTP/1.0 the end
 * of such a body is the connection's. What is written and ended within one call
 * of the handler or of a callback of the request's (its body's, on_drained),
 * and is at most 2,048 bytes, gets a Content-Length, but on HTTP/1.0; in any
 * other callback of the loop, a timer's say, each piece goes out at once. `len`
 * 0 writes just the header. Returns 0; 1 when taken but the client is behind:
 * better wait for on_drained; or UV_ECANCELED, DUSK_ENOBODY, DUSK_ELENGTH
 * (nothing of it is sent), DUSK_EHIJACKED, UV_ENOMEM. `data` is copied or sent
 * before it returns. */
DUSK_EXTERN int dusk_response_write(dusk_response_t *res, const void *data,
                                    size_t len);

/* The same as write and end, for a large body by reference: `data` is kept, not
 * copied, until `release` is called with `arg`, once, also on error, and
 * possibly inside the call: it must not use this server. NULL for data that
 * never goes, such as a constant. */
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

/* How long the client may take no byte of what was written, as
 * write_timeout_ms, which 0 is again; DUSK_OFF is for ever. See
 * dusk_request_set_timeout. UV_ECANCELED when there is no connection. */
DUSK_EXTERN int dusk_response_set_write_timeout(dusk_response_t *res,
                                                uint64_t timeout_ms);

/* How a request went, once it is over. */
typedef struct dusk_request_end {
  int status;           /* 0: no response header was sent */
  uint64_t body_bytes;  /* of the response, as written; where the connection was
                         * cut not all of it need have gone out */
  uint64_t duration_ms; /* from the request's first byte, on the loop's clock */
  int err;              /* 0, or why the response is not whole */
  const dusk_cause_t *cause; /* why the request ended; never NULL */
} dusk_request_end_t;

typedef void (*dusk_request_end_cb)(dusk_request_t *req,
                                    const dusk_request_end_t *end, void *arg);

/* Calls `cb` once, when the request is over; it may still be read, and so may
 * what was put at it. One that is registered later is called earlier; behind
 * all of them comes the server's on_request_end. When:
 *   answered      when the handler has ended the response, all of it has been
 *                 handed to the kernel, or to the one write of a pipelined
 *                 batch, and the request's body has been read or given up;
 *                 err 0, cause dusk_response_ended
 *   refused       when the server's own reply has been handed over likewise,
 *                 also when a handler still holds the request; err 0, cause
 *                 dusk_timed_out (408, and 503 after request_timeout), else
 *                 dusk_response_ended
 *   too short     as answered; DUSK_ESHORT, dusk_response_ended
 *   aborted       as answered; UV_ECANCELED, dusk_connection_cut, or what
 *                 made the handler do so if it is known: dusk_client_gone,
 *                 dusk_timed_out
 *   reset         inside dusk_response_reset, or when the callback that calls
 *                 it returns; UV_ECANCELED, dusk_connection_cut
 *   hijacked      likewise; 0, dusk_response_ended
 *   client gone   when the handler ends what has no connection any more;
 *                 UV_ECONNRESET, dusk_client_gone
 *   timed out     likewise, for want of a moving client (write_timeout) or
 *                 after request_timeout in the middle of an answer;
 *                 UV_ETIMEDOUT, dusk_timed_out
 *   cut           likewise, by the drain, by close, or for want of memory;
 *                 UV_ECANCELED, dusk_drain_cancelled, dusk_server_closed,
 *                 dusk_connection_cut
 * A handler that never ends its response is told by on_request_cut, and in
 * the report. Errors: UV_EINVAL, UV_ENOMEM, UV_ECANCELED for what is over. */
DUSK_EXTERN int dusk_response_on_end(dusk_response_t *res,
                                     dusk_request_end_cb cb,
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
