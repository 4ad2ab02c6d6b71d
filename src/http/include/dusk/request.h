/* dusk/request.h: what a client asks, the body of it, and the context in which
 * it is answered. What holds for all of these headers is in dusk/http.h. */
#ifndef DUSK_REQUEST_H
#define DUSK_REQUEST_H

#include <dusk/context.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dusk_request dusk_request_t;
typedef struct dusk_response dusk_response_t;

/* Gives back what the library was given to keep. */
typedef void (*dusk_release_cb)(void *arg);

/* The response that answers the request: a body's callback has its `arg` to
 * itself. dusk_response_request is the way back. NULL for a request that is
 * over. */
DUSK_EXTERN dusk_response_t *dusk_request_response(const dusk_request_t *req);

/* -- What is asked --------------------------------------------------------- */

/* The method, "GET"; the target as sent, "/a%20b?x=1"; its path, still encoded,
 * "/a%20b"; its query without '?', "x=1", or "" (also for "?"). A target in
 * absolute form has its path here; NULL when memory ran out. The minor version:
 * 1 for HTTP/1.1, -1 for a refused request whose version isn't known or none of
 * ours. The host: from an absolute target, else the Host field, else
 * "". The query's values are in dusk/query.h. */
DUSK_EXTERN const char *dusk_request_method(const dusk_request_t *req);
DUSK_EXTERN const char *dusk_request_target(const dusk_request_t *req);
DUSK_EXTERN const char *dusk_request_path(dusk_request_t *req);
DUSK_EXTERN const char *dusk_request_query(dusk_request_t *req);
DUSK_EXTERN const char *dusk_request_host(dusk_request_t *req);
DUSK_EXTERN int dusk_request_version_minor(const dusk_request_t *req);

/* The first field of that name, any case, without white space around it; NULL
 * if there is none. */
DUSK_EXTERN const char *dusk_request_header(const dusk_request_t *req,
                                            const char *name);
/* The fields in the order received, name and value; false past the last. For
 * repeated fields compare names with strcasecmp. */
DUSK_EXTERN bool dusk_request_header_at(const dusk_request_t *req, size_t index,
                                        const char **ret_name,
                                        const char **ret_value);
/* The same for the trailer of a chunked body, there once the body is complete.
 */
DUSK_EXTERN const char *dusk_request_trailer(const dusk_request_t *req,
                                             const char *name);

/* The peer's address, "127.0.0.1:40312", "[::1]:40312" or, with its zone,
 * "[fe80::1%eth0]:40312"; "unix" for a Unix socket. Its text is made the
 * first time. */
DUSK_EXTERN const char *dusk_request_peer(dusk_request_t *req);

/* -- Context --------------------------------------------------------------- */

/* The request's context: made when first asked for, borrowed, ended at the
 * latest when the response has ended. It ends before that when the client goes
 * away (dusk_client_gone), also by half-closing; when request_timeout passes;
 * with the server's base; and by the drain's hard cancel. Since a drain began,
 * its deadline is at most the drain's. NULL when memory ran out.
 * Go: Request.Context. */
DUSK_EXTERN dusk_context_t *dusk_request_context(dusk_request_t *req);

/* From now on dusk_request_context gives `ctx`, of which the request holds a
 * reference until it is over: so a middleware puts values or a nearer deadline
 * there for the handlers below it. Mostly a child of the one that it replaces;
 * one that is not doesn't end as that does, which goes on. The request doesn't
 * cancel it: who has made it may, in a hook of the response's end. Errors:
 * UV_EINVAL, UV_ECANCELED for a request that is over.
 * Go: Request.WithContext. */
DUSK_EXTERN int dusk_request_set_context(dusk_request_t *req,
                                         dusk_context_t *ctx);

/* Ends with dusk_server_draining of the request's server; borrowed for as long
 * as the server is there. */
DUSK_EXTERN dusk_context_t *dusk_request_draining(dusk_request_t *req);

/* The root of the loop that the request is on, and that loop: for the waiters,
 * calls, timers and whatever else its handler waits with. Borrowed from the
 * server; NULL for a request that is over. */
DUSK_EXTERN dusk_context_t *dusk_request_root(const dusk_request_t *req);
DUSK_EXTERN uv_loop_t *dusk_request_loop(const dusk_request_t *req);

/* What on_worker_start has made for the loop that the request is on; NULL if
 * that is nothing, and once on_worker_stop has been called. */
DUSK_EXTERN void *dusk_request_worker_data(const dusk_request_t *req);

/* Memory for the handler, aligned for anything, that goes with the request:
 * good for as long as that (see dusk_handler_cb), in on_request_end, too, and
 * not to be freed. Small pieces cost no allocation. NULL when memory ran out,
 * or for a request that is over. */
DUSK_EXTERN void *dusk_request_alloc(dusk_request_t *req, size_t size);

/* What handlers keep with a request for each other, each under a key of its
 * own: compared by address, see dusk_key_t. set puts it in the place of the one
 * that was there; `release` (or NULL) is called with `value` once, when it is
 * replaced, or when the request is over, behind all hooks of its end; not when
 * set fails. value gives it, or NULL if there is none. Unlike a context's, they
 * cost no reference, and memory of dusk_request_alloc needs no release.
 * Errors: UV_EINVAL for no key, UV_ENOMEM, UV_ECANCELED for a request that is
 * over. Go: context.WithValue on the request's context. */
DUSK_EXTERN int
dusk_request_set_value(dusk_request_t *req, const dusk_key_t *key, void *value,
                       dusk_release_cb release) DUSK_CHECK_RESULT;
DUSK_EXTERN void *dusk_request_value(const dusk_request_t *req,
                                     const dusk_key_t *key);

/* The causes that request contexts of a drained or closed server end with. */
DUSK_EXTERN extern const dusk_cause_t dusk_drain_cancelled;
DUSK_EXTERN extern const dusk_cause_t dusk_server_closed;
/* ... when the connection was cut for another reason: its handler's wish, or
 * want of memory; when a time-out of the server's has passed; when the client
 * went away; and when the response has ended. */
DUSK_EXTERN extern const dusk_cause_t dusk_connection_cut;
DUSK_EXTERN extern const dusk_cause_t dusk_timed_out;
DUSK_EXTERN extern const dusk_cause_t dusk_client_gone;
DUSK_EXTERN extern const dusk_cause_t dusk_response_ended;

/* -- Body ------------------------------------------------------------------ */

/* Gets the body piece by piece: nread > 0 are bytes, borrowed for the call;
 * then comes exactly one UV_EOF, when the body and its trailer are complete, or
 * one other error and nothing more: DUSK_EBODYTOOLARGE, DUSK_EBADBODY,
 * UV_ETIMEDOUT, UV_ECONNRESET (the client left), UV_ECANCELED (we cut it).
 * After the first three the handler may still answer: its status is then 413,
 * 400 or 408 by default; if it has not ended the response when the callback
 * returns, nor sent its header, the server sends that reply itself. The handler
 * must end the response all the same, to release it. */
typedef void (*dusk_body_cb)(dusk_request_t *req, ssize_t nread,
                             const char *data, void *arg);

/* Starts delivering the body to `cb`, from the next turn of the loop on, or
 * within the handler's call's turn after it has returned; never inside this
 * call. A client that waits for it is sent 100 Continue. A body that nobody
 * asks for is read and dropped when the response ends, if less than 256 KiB
 * are missing; else the connection closes after the response.
 * Errors: UV_EINVAL, DUSK_EBODYTAKEN the second time, UV_ECANCELED when the
 * connection was cut or the response has ended. */
DUSK_EXTERN int dusk_request_body(dusk_request_t *req, dusk_body_cb cb,
                                  void *arg) DUSK_CHECK_RESULT;

/* Stops delivering, so that the client is slowed down by TCP, and goes on. Of
 * the body that has been read already no more than one piece may follow a
 * pause called outside the callback, and none one called inside. */
DUSK_EXTERN void dusk_request_pause(dusk_request_t *req);
DUSK_EXTERN void dusk_request_resume(dusk_request_t *req);

/* The whole body at once: `cb` runs once, with status 0 and the NUL-terminated
 * body, borrowed until the response ends, or with an error of dusk_body_cb or
 * UV_ENOMEM. More than `max_bytes` is DUSK_EBODYTOOLARGE. Errors as above. */
typedef void (*dusk_collect_cb)(dusk_request_t *req, int status,
                                const char *data, size_t len, void *arg);
DUSK_EXTERN int dusk_request_collect(dusk_request_t *req, size_t max_bytes,
                                     dusk_collect_cb cb,
                                     void *arg) DUSK_CHECK_RESULT;

/* -- Its own limits -------------------------------------------------------- */
/* In the place of the server's, for this request only: a middleware sets them
 * for all routes below it, a handler for itself. Of the time-outs 0 is the
 * server's again, DUSK_OFF is none. UV_ECANCELED for a request that is over, or
 * whose client has gone. dusk_response_set_write_timeout is the fourth. Go:
 * http.ResponseController, http.MaxBytesReader. */

/* How large its body may be: beyond it is DUSK_EBODYTOOLARGE, by default told
 * to the client as 413. A declared length is looked at when somebody asks for
 * the body. 0 is none at all. DUSK_EBODYTAKEN when that has happened. */
DUSK_EXTERN int dusk_request_set_max_body(dusk_request_t *req,
                                          uint64_t max_bytes);

/* How long its client may take between two reads of the body, as
 * body_timeout_ms; and, from now on, what is left of it for all of the request,
 * as request_timeout_ms: when it has passed its context ends with
 * dusk_timed_out, unless it has before, and the server answers 503, or cuts an
 * answer that has begun.
 * A stream sets it to DUSK_OFF. Once somebody has asked for the context, whose
 * deadline can't be put off, UV_EBUSY for a later one; UV_ENOMEM. */
DUSK_EXTERN int dusk_request_set_body_timeout(dusk_request_t *req,
                                              uint64_t timeout_ms);
DUSK_EXTERN int dusk_request_set_timeout(dusk_request_t *req,
                                         uint64_t timeout_ms) DUSK_CHECK_RESULT;

/* The declared length; DUSK_OFF for a chunked body; 0 when there is none. */
DUSK_EXTERN uint64_t dusk_request_content_length(const dusk_request_t *req);

#ifdef __cplusplus
}
#endif

#endif
