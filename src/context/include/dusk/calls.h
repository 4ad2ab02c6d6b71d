/* dusk/calls.h: libuv's calls under a context: sleep, work on the thread pool,
 * name look-up, TCP connect.
 *
 * Each ends early when its context does. For a call that returned 0 its
 * callback comes exactly once (but for a sleep that is stopped, never), on the
 * loop of `root`, not inside the call; one that failed never calls back. The
 * context is held until the callback has returned. `root` must be attached and
 * stay so: dusk_context_detach gives UV_EBUSY while a call is under way, so
 * cancel the contexts first and detach from the last callback.
 *
 * The context may belong to another root, at the cost of an allocation: the
 * call hangs on it by dusk_context_with_root. So the loop of `root` serves the
 * call's deadlines and the context's, and that other root's loop need not turn;
 * it may even be detached meanwhile.
 *
 * Threads: if not said otherwise, a function belongs to the thread of the loop
 * of `root`. The context may be cancelled from any thread. */
#ifndef DUSK_CALLS_H
#define DUSK_CALLS_H

#include <dusk/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/* -- Sleep ---------------------------------------------------------------- */

typedef struct dusk_sleep dusk_sleep_t;
typedef void (*dusk_sleep_cb)(dusk_sleep_t *sleep, int err);

/* Embedded in what the caller sleeps with; all fields but `data` are the
 * library's. */
struct dusk_sleep {
  void *data; /* the caller's: never looked at, left alone */
  dusk_waiter_t waiter;
  dusk_context_t *ctx;
  dusk_sleep_cb cb;
  int state;
};

/* Calls `cb` with 0 when `duration_ms` have passed, by uv_hrtime from now, or
 * with the context's err as soon as that ends. DUSK_OFF sleeps until the
 * context ends. The struct must stay where it is until it was stopped or
 * called; in its callback it is the caller's again.
 * Any thread. Keeps uv_run going, but for an endless sleep under a context
 * without a deadline. Errors: UV_EINVAL, UV_ENOMEM.
 * Go: select { case <-time.After(d): case <-ctx.Done(): } */
DUSK_EXTERN int dusk_context_sleep(dusk_context_t *ctx, dusk_sleep_t *sleep,
                                   dusk_context_t *root, uint64_t duration_ms,
                                   dusk_sleep_cb cb) DUSK_CHECK_RESULT;

/* As dusk_waiter_stop: true, the callback will never run and the struct is the
 * caller's at once; false, it has begun, or there is no sleep (zeroed, stopped
 * before). Any thread; one other than the loop's sees to it that the struct
 * and the root live during the call. Go: time.Timer's Stop. */
DUSK_EXTERN bool dusk_sleep_stop(dusk_sleep_t *sleep);

/* -- Work ----------------------------------------------------------------- */

typedef struct dusk_work dusk_work_t;
/* On a thread of libuv's pool. `ctx` is the one the work was queued with. */
typedef void (*dusk_work_cb)(dusk_work_t *work, dusk_context_t *ctx);
typedef void (*dusk_after_work_cb)(dusk_work_t *work, int err);

/* Embedded in what the caller works with; all fields but `data` are the
 * library's. */
struct dusk_work {
  void *data; /* the caller's: never looked at, left alone */
  uv_work_t req;
  dusk_waiter_t waiter;
  dusk_context_t *ctx;
  dusk_context_t *held;
  dusk_context_t *root;
  dusk_work_cb work_cb;
  dusk_after_work_cb after_cb;
  bool is_queued;
  bool has_begun;
};

/* uv_queue_work under a context. `after_cb` always comes: with 0 when `work_cb`
 * ran to its end, even if the context ended meanwhile; else `work_cb` never
 * began, and err is the context's. A context that ends while the work is queued
 * takes it out of the queue at once; one that has ended already queues nothing.
 * Work that runs is not interrupted: a long one asks dusk_context_err(ctx).
 *
 * The struct must stay where it is until `after_cb`; there it is the caller's
 * again, to be freed or queued anew. Keeps uv_run going. Allocates nothing, but
 * under a context of another root.
 * Errors: UV_EINVAL, UV_ENOMEM, what uv_queue_work gives.
 * Go: go func() { ... }() with ctx as its first argument */
DUSK_EXTERN int
dusk_context_work(dusk_context_t *ctx, dusk_work_t *work, dusk_context_t *root,
                  dusk_work_cb work_cb,
                  dusk_after_work_cb after_cb) DUSK_CHECK_RESULT;

/* -- Name look-up --------------------------------------------------------- */

/* `res` is given, to be freed with uv_freeaddrinfo; NULL unless err is 0. */
typedef void (*dusk_getaddrinfo_cb)(int err, struct addrinfo *res, void *arg);

/* uv_getaddrinfo under a context. `cb` gets 0 and the addresses, one of
 * libuv's UV_EAI codes, or the context's err as soon as that ends. `node`,
 * `service` and `hints` are borrowed and mean what they do to uv_getaddrinfo.
 *
 * A look-up that a thread of the pool has begun can't be interrupted. It goes
 * on in the library's own memory after `cb` has told the context's end, and its
 * late result is freed; until then it keeps uv_run going and the root can't be
 * detached (UV_EBUSY).
 *
 * So a program that wants to end may find itself waiting for a resolver that
 * does not answer, which can take half a minute and more. uv_run lasts as long,
 * and so do exit() and the return from main, where libuv joins the threads of
 * its pool. Instead it calls uv_stop(loop) when its last callback has come, and
 * after uv_run:
 *
 *     ...                      // whatever else must end well
 *     if (dusk_context_detach(root, NULL, NULL) == UV_EBUSY) {
 *       fflush(NULL);          // as exit() would have
 *       _exit(status);         // without destructors: nobody is waited for
 *     }
 *
 * Where a stuck look-up is likely, bound it as well: resolv.conf's
 * "options timeout:1 attempts:2", or RES_OPTIONS in the environment; and as one
 * holds a thread of the pool, four by default hold all work:
 * UV_THREADPOOL_SIZE. Errors: UV_EINVAL, UV_ENOMEM, what uv_getaddrinfo gives.
 * Go: net.Resolver.LookupIPAddr */
DUSK_EXTERN int dusk_context_getaddrinfo(dusk_context_t *ctx,
                                         dusk_context_t *root, const char *node,
                                         const char *service,
                                         const struct addrinfo *hints,
                                         dusk_getaddrinfo_cb cb,
                                         void *arg) DUSK_CHECK_RESULT;

/* -- TCP connect ---------------------------------------------------------- */

typedef void (*dusk_connect_cb)(uv_tcp_t *tcp, int err, void *arg);

/* Resolves `host` and `service` (a number or a name; a numeric pair needs no
 * thread of the pool) and tries the addresses one after another. `tcp` is
 * memory of the caller's, not an open handle, and stays where it is until `cb`;
 * the library keeps its hands off it until the end. `cb` gets 0 when it has
 * become a connected handle on the loop of `root`, the caller's to uv_close;
 * its `data` is left alone. Else there is nothing to close, what `tcp` holds
 * means nothing, and err is the context's if that has ended, or else tells why
 * the name has no address (UV_EAI codes) or why the first address failed.
 *
 * The context's end closes the attempt under way at once. If the context has a
 * deadline, each address gets an equal share of the time that is left, but at
 * least 2 s if there are as many; an address that uses its share up failed with
 * UV_ETIMEDOUT. Keeps uv_run going; for a look-up that outlives the context
 * see above. Both strings are borrowed.
 * Errors: UV_EINVAL (also a port above 65535), UV_ENOMEM, what uv_getaddrinfo
 * gives.
 * Go: net.Dialer.DialContext for "tcp", but IPv4 and IPv6 are not raced: they
 * are tried in the resolver's order. */
DUSK_EXTERN int dusk_context_connect(dusk_context_t *ctx, dusk_context_t *root,
                                     uv_tcp_t *tcp, const char *host,
                                     const char *service, dusk_connect_cb cb,
                                     void *arg) DUSK_CHECK_RESULT;

#ifdef __cplusplus
}
#endif

#endif
