/* dusk/calls.h: libuv's calls under a context: sleep, work on the thread pool,
 * name look-up, connect by TCP and Unix sockets, read and write on a stream,
 * child processes. dusk/group.h has several end together.
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

/* -- Unix connect --------------------------------------------------------- */

typedef void (*dusk_connect_pipe_cb)(uv_pipe_t *pipe, int err, void *arg);

/* Connects to the Unix socket at `path`, which is borrowed, and gives `pipe` as
 * dusk_context_connect does `tcp`: memory of the caller's that becomes a handle
 * only if all went well.
 *
 * On Linux the kernel answers at once, or not: a listener whose backlog is full
 * is UV_EAGAIN, as it is in Go; try again after a dusk_context_sleep. What else
 * the callback tells is connect(2)'s: UV_ENOENT, UV_ECONNREFUSED for a socket
 * that nobody listens on, UV_EACCES, UV_EPROTOTYPE for one of datagrams.
 * Errors: UV_EINVAL (also for an empty path, so for an abstract name that
 * begins with a NUL), UV_ENAMETOOLONG for a path that doesn't fit into a
 * sockaddr_un (107 bytes on Linux; it is never cut off), UV_ENOTSUP for one
 * that begins with "@", as abstract names are written (a file of that name is
 * "./@..."), UV_ENOMEM.
 * Go: net.Dialer.DialContext for "unix" */
DUSK_EXTERN int dusk_context_connect_pipe(dusk_context_t *ctx,
                                          dusk_context_t *root, uv_pipe_t *pipe,
                                          const char *path,
                                          dusk_connect_pipe_cb cb,
                                          void *arg) DUSK_CHECK_RESULT;

/* -- Read ----------------------------------------------------------------- */

typedef struct dusk_read dusk_read_t;
/* `count` is that of the bytes that came, at least 1; or UV_EOF, another error
 * of the stream, or the context's err. */
typedef void (*dusk_read_cb)(dusk_read_t *read, ssize_t count);

/* Embedded in what the caller reads with; all fields but `data` are the
 * library's. */
struct dusk_read {
  void *data; /* the caller's: never looked at, left alone */
  uv_poll_t poll;
  dusk_waiter_t waiter;
  dusk_context_t *ctx;
  dusk_context_t *root;
  void *base;
  size_t size;
  dusk_read_cb cb;
  ssize_t result;
  int fd;
};

/* One read into the buffer of `size` bytes at `base`: waits until something has
 * come and gives what there is. The stream is a connected uv_tcp_t, uv_pipe_t
 * or uv_tty_t on the loop of `root`, in any state but under a uv_read_start or
 * another read. Its `data` is left alone.
 *
 * When the context ends, nothing has been read: the stream is as it was, and
 * what comes later is the next read's. What has been read is given, also if the
 * context has ended meanwhile.
 *
 * Struct and buffer must stay where they are until the callback; there they are
 * the caller's again, to be freed or used for the next read. The stream isn't
 * touched after the call, but a duplicate of its descriptor is held until the
 * callback: a stream that is closed before stays open to its peer for so long,
 * so end the context first and close in the callback. Keeps uv_run going.
 * Allocates nothing, but under a context of another root.
 * Errors: UV_EINVAL, UV_ENOMEM, UV_EBADF for a stream without a descriptor
 * (closed, or not yet connected), UV_EMFILE, UV_ENOTSUP for an IPC pipe, what
 * uv_poll_init gives.
 * Go: Conn.Read with context.AfterFunc and SetReadDeadline */
DUSK_EXTERN int dusk_context_read(dusk_context_t *ctx, dusk_read_t *read,
                                  dusk_context_t *root, uv_stream_t *stream,
                                  void *base, size_t size,
                                  dusk_read_cb cb) DUSK_CHECK_RESULT;

/* -- Write ---------------------------------------------------------------- */

typedef struct dusk_write dusk_write_t;
typedef void (*dusk_write_cb)(dusk_write_t *write, int err);

/* Embedded in what the caller writes with; all fields but `data` are the
 * library's. */
struct dusk_write {
  void *data; /* the caller's: never looked at, left alone */
  dusk_waiter_t waiter;
  dusk_context_t *ctx;
  dusk_context_t *root;
  void *block;
  dusk_write_cb cb;
};

/* uv_write under a context. `cb` gets 0 when all `count` buffers have been
 * handed to the kernel, libuv's error, or the context's err as soon as that
 * ends. The array is borrowed for the call, what its buffers point to until the
 * callback. Several writes on one stream go out in the order of their calls, as
 * uv_write's do, of which they are some. The stream is on the loop of `root`.
 *
 * A write that the context has ended may have been done in part, and libuv
 * can't take back the rest. So the stream is of no more use: the callback
 * closes it, by uv_close, before it returns. Then struct and buffers are the
 * caller's again at once, as they are after any other callback; who doesn't
 * close must leave the buffers alone until he has. Only under a context that
 * had ended before the call nothing was written, and the stream is as it was.
 *
 * A uv_close before the callback ends the write with UV_ECANCELED. Keeps uv_run
 * going. To a peer that has gone it may raise SIGPIPE, as uv_write does.
 * Errors: UV_EINVAL, UV_ENOMEM, what uv_write gives (UV_EBADF, UV_EPIPE for a
 * stream that can't be written).
 * Go: Conn.Write with context.AfterFunc and SetWriteDeadline; a tls.Conn is as
 * useless after one that timed out. */
DUSK_EXTERN int dusk_context_write(dusk_context_t *ctx, dusk_write_t *write,
                                   dusk_context_t *root, uv_stream_t *stream,
                                   const uv_buf_t *bufs, unsigned count,
                                   dusk_write_cb cb) DUSK_CHECK_RESULT;

/* -- Child processes ------------------------------------------------------ */

typedef struct dusk_spawn dusk_spawn_t;
/* The child has ended, by itself with `exit_status`, or else by `term_signal`.
 * `err` is 0, or the context's if that was why. */
typedef void (*dusk_spawn_cb)(dusk_spawn_t *spawn, int err, int64_t exit_status,
                              int term_signal);

/* Embedded in what the caller starts a child with; all fields but `data` are
 * the library's, and `pid` may be read. */
struct dusk_spawn {
  void *data; /* the caller's: never looked at, left alone */
  int pid;    /* 0 unless the child is there, from the call to the callback */
  dusk_waiter_t waiter;
  dusk_context_t *ctx;
  dusk_context_t *grace;
  dusk_context_t *root;
  void *block;
  dusk_spawn_cb cb;
  uint64_t grace_ms;
  int stop_signal;
  int err;
};

/* uv_spawn under a context. `options` mean what they do to uv_spawn and are
 * borrowed for the call; `file` and `args` must be given, `exit_cb` must not.
 * `cb` comes when the child has ended and has been reaped, and not before.
 *
 * When the context ends, the child is sent `stop_signal` (0: SIGTERM), and if
 * it is still there `grace_ms` later SIGKILL; DUSK_OFF waits for it as long as
 * it takes. Then `err` is the context's, whatever the child made of the signal.
 * It is 0, and the child's status counts alone, for one whose end was noticed
 * first, or that could not be sent the signal, since it has become another
 * user. Under a context that had ended before the call nothing is
 * started, `pid` is 0 and so are status and signal.
 *
 * Only the child itself is signalled, not what it has started: who wants that
 * gives UV_PROCESS_DETACHED and sends a signal to the group -pid as well. Pipes
 * of the child's that its own children hold open are the caller's to close; the
 * callback doesn't wait for them.
 *
 * The struct must stay where it is until the callback; there it is the caller's
 * again. Keeps uv_run going, also for a child that does not end. A program in
 * which SIGCHLD is ignored hears of no child's end.
 * Errors: UV_EINVAL, UV_ENOMEM, what uv_spawn gives: UV_ENOENT, UV_EACCES, ...
 * Go: exec.CommandContext with Cancel and WaitDelay (there SIGKILL at once and
 * no limit are the defaults) */
DUSK_EXTERN int dusk_context_spawn(dusk_context_t *ctx, dusk_spawn_t *spawn,
                                   dusk_context_t *root,
                                   const uv_process_options_t *options,
                                   int stop_signal, uint64_t grace_ms,
                                   dusk_spawn_cb cb) DUSK_CHECK_RESULT;

#ifdef __cplusplus
}
#endif

#endif
