/* dusk/http.h: an HTTP/1.1 server on libuv that knows how to end.
 *
 * It has the shape of Go's net/http: a handler or a mux, a server with
 * timeouts and limits, and a shutdown bounded by a context. This header
 * includes all of it: dusk/server.h (configuration, serving, shutdown),
 * dusk/conn.h, dusk/mux.h, dusk/request.h, dusk/response.h (with what a handler
 * is), dusk/reply.h and dusk/middleware.h; what a request has by names:
 * dusk/query.h, dusk/form.h, dusk/cookie.h and, for these, dusk/values.h; what
 * it uploads: dusk/multipart.h and dusk/save.h. What is said here holds for
 * each of them.
 *
 * Threads: a server belongs to the loop of the root that it was made with. It
 * may have more loops, each on a thread of its own (`threads`); a connection,
 * with all its requests, stays on one of them. Two kinds of functions and
 * callbacks:
 *   of the server   all functions that take a dusk_server_t; on_error, what
 *                   serve and shutdown call, the hooks of on_shutdown: on the
 *                   server's loop, and for its thread alone
 *   of a request    all functions that take a request, a response or a
 *                   connection; handlers, on_request_end, on_request_cut,
 *                   on_error_reply, on_conn_state, on_conn_context, what body,
 *                   collect and a response's on_ functions call, releases: on
 *                   that request's loop, and for its thread alone
 * on_worker_start and on_worker_stop run on the loop that they tell of. With
 * one loop, the default, all of this is one thread. With several, handlers run
 * at the same time: what they share, such as their `arg`, is theirs to guard;
 * dusk_request_root names the loop to wait on, and dusk_request_worker_data is
 * what handlers of one loop have to themselves. With assertions on, the wrong
 * thread stops the program. Whoever takes the server's loop over from a thread
 * that ran it uses the server only once it has closed.
 *
 * The library never logs, exits, or touches signals, with one exception: the
 * first server made sets SIGPIPE to ignored if it finds its default
 * disposition, since libuv writes without MSG_NOSIGNAL and a client that hangs
 * up must cost a UV_EPIPE, not the process.
 *
 * Strict C: see dusk/context.h.
 *
 * Errors: see dusk/error.h. On failure outputs (ret_...) are untouched.
 * Strings given to the library are borrowed until the call returns, unless a
 * function says otherwise; strings it gives live as long as their object.
 *
 * Requests and responses are handles: pointers to be given back, never to be
 * looked into or compared but for equality. Each names one message. One that is
 * used after its end (see dusk_handler_cb) does nothing and reaches nobody
 * else: functions give UV_ECANCELED, or NULL, "", 0 or false; but with
 * assertions on the program stops there, and under AddressSanitizer that tells
 * who had ended it. This holds as long as the server is there, and for the next
 * million messages of the same memory (x86-64, AArch64); where pointers have no
 * bits to spare (32 bits), for the next few, and what was used longest ago is
 * used anew first. For this some 700 bytes stay with the server for each
 * request that ever ran at the same time. */
#ifndef DUSK_HTTP_H
#define DUSK_HTTP_H

#include <dusk/conn.h>
#include <dusk/middleware.h>
#include <dusk/cookie.h>
#include <dusk/form.h>
#include <dusk/multipart.h>
#include <dusk/mux.h>
#include <dusk/query.h>
#include <dusk/reply.h>
#include <dusk/request.h>
#include <dusk/response.h>
#include <dusk/save.h>
#include <dusk/server.h>
#include <dusk/values.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "0.1.0"; and the llhttp it was built with, "8.1.0 (strict)". libuv's is
 * uv_version_string(). */
DUSK_EXTERN const char *dusk_version(void);
DUSK_EXTERN const char *dusk_llhttp_version(void);

#ifdef __cplusplus
}
#endif

#endif
