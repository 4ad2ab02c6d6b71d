/* dusk/context.h: Go's package context for any libuv program.
 *
 * Contexts form a tree. A root is made by attaching to a loop; everything else
 * is derived from a parent and ends with it: when it is cancelled, when its
 * deadline passes, or when an ancestor ends. Ending is synchronous through all
 * descendants and never goes upwards. Contexts are reference-counted: a child
 * holds its parent, a parent never holds its children.
 *
 * Threads: any thread may derive, ask, cancel, ref, unref, bring a deadline
 * forward, register and stop a waiter; a function that needs the loop's thread
 * says so. Callbacks run on a loop's thread, never inside the call that caused
 * them. No function is for a signal handler: even err may have to wait for the
 * thread that is ending the context.
 *
 * The loop's thread is the one that turns it now, whoever attached or ran it
 * before; each turn notices. Between two runs it is the thread that ran it
 * last, until another one calls a function that is for the loop's thread, such
 * as dusk_waiter_ref: do so if you take a loop over and what you register is to
 * keep your uv_run going. Who has handed a loop over registers no waiters and
 * releases no signal contexts while the other thread enters its first uv_run:
 * before that, or once it has turned.
 *
 * Misuse that a function with an error code can see is UV_EINVAL. Where there
 * is none to give, a context is taken to be there: NULL is a bug, as is what
 * this header calls one. Debug builds assert what they can tell, the wrong
 * thread among it.
 *
 * Fork: in the child of a program with a single thread, contexts and signals go
 * on as the loop does, after uv_loop_fork. No signal may have been caught since
 * the loop last turned: libuv waits for ever to close its handle. Nor may a
 * callback have ended contexts and stopped the loop, so that their waiters are
 * due: libuv before 1.45 loses the word of that, and all that follow. If other
 * threads were using them, they may have held locks: then the child may only
 * exec or exit.
 *
 * Strict C: uv.h needs POSIX's types, which glibc hides with -std=c11. The
 * CMake targets and pkg-config's flags define _DEFAULT_SOURCE for that; without
 * them, define it (or _POSIX_C_SOURCE as 200809L) before the first header.
 * -std=gnu11, which compilers take by themselves, needs nothing.
 *
 * Errors: see dusk/error.h. On failure outputs (ret_...) are untouched. */
#ifndef DUSK_CONTEXT_H
#define DUSK_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include <dusk/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "None", for a duration or a deadline. */
#define DUSK_OFF UINT64_MAX

typedef struct dusk_context dusk_context_t;
typedef struct dusk_waiter dusk_waiter_t;

/* Why a context ended, beyond its err: compared by address, never copied, so
 * it must live as long as any context that ended with it; static as a rule. */
typedef struct dusk_cause {
  int code;         /* a negative error code, for programs */
  const char *text; /* for people */
} dusk_cause_t;

/* A key of values: compared by address, never by text, so make it a static
 * object. */
typedef struct dusk_key {
  const char *name; /* for people; may be NULL */
} dusk_key_t;

/* The cause of a plain cancel: UV_ECANCELED, "context canceled". */
DUSK_EXTERN extern const dusk_cause_t dusk_canceled;
/* The cause of a plain deadline: UV_ETIMEDOUT, "context deadline exceeded". */
DUSK_EXTERN extern const dusk_cause_t dusk_deadline_exceeded;

/* -- Roots ---------------------------------------------------------------- */

/* Attaches to `loop` and gives a root in *ret_root: a context without parent,
 * deadline or value. `loop->data` stays the caller's. One uv_timer_t and one
 * uv_async_t serve all contexts, deadlines and waiters below the root, a
 * uv_prepare_t and a uv_check_t notice the loop's turns; they keep uv_run going
 * only for waiters (see dusk_context_after), and for one first turn. A root
 * never ends.
 *
 * On the loop's thread, or before another thread runs the loop. The caller owns
 * one reference and ends it with dusk_context_detach; to unref it is a bug.
 * Several roots on one loop are allowed.
 * Errors: UV_EINVAL, UV_ENOMEM, and what uv_async_init gives.
 * Go: context.Background, but bound to a loop. */
DUSK_EXTERN int dusk_context_attach(uv_loop_t *loop, dusk_context_t **ret_root)
    DUSK_CHECK_RESULT;

typedef void (*dusk_detach_cb)(void *arg);

/* Detaches a root from its loop and gives its reference back. `cb` (or NULL)
 * runs on the loop when the library has no handle left there; uv_loop_close
 * then succeeds. Contexts below the root may outlive it; they then end only by
 * cancel, or when somebody who asks finds their deadline passed.
 *
 * A program that ends by closing whatever is on the loop, by uv_walk, closes
 * the root's handles and the signals' as well. Then no waiter is called any
 * more and no deadline watched: nothing is left to do but to stop the waiters,
 * release the contexts, detach and run the loop to its end; all these work as
 * ever. What dusk/calls.h has under way there need not call back: end it
 * before.
 *
 * Loop thread only, asynchronous. Errors: UV_EINVAL when `root` is NULL or not
 * a root, UV_EBUSY while registered waiters, signal receivers or calls
 * (dusk/calls.h) name it, or other roots' waiters wait in its tree, UV_EALREADY
 * the second time. Go has no end of a root: its runtime serves all. */
DUSK_EXTERN int dusk_context_detach(dusk_context_t *root, dusk_detach_cb cb,
                                    void *arg);

/* The root of the tree that `ctx` belongs to, also of one that was detached.
 * Borrowed: it lives as long as `ctx`. Go knows no such thing. */
DUSK_EXTERN dusk_context_t *dusk_context_root(const dusk_context_t *ctx);

/* The loop of the tree's root; NULL once that was detached. Another thread that
 * asks must see to it that nobody closes the loop meanwhile. Beyond Go. */
DUSK_EXTERN uv_loop_t *dusk_context_loop(const dusk_context_t *ctx);

/* -- Deriving ------------------------------------------------------------- */
/* Each gives a new context in *ret_ctx, owned by the caller (one reference).
 * All but without_cancel's end at the latest with `parent`; on a parent that
 * has ended they have ended on return, with the parent's err and cause. Go's
 * `defer cancel()` is dusk_context_cancel and dusk_context_unref.
 * Errors: UV_EINVAL (NULL parent, key or output), UV_ENOMEM. */

/* Go: context.WithCancel, WithCancelCause. */
DUSK_EXTERN int
dusk_context_with_cancel(dusk_context_t *parent,
                         dusk_context_t **ret_ctx) DUSK_CHECK_RESULT;

/* A context that ends with UV_ETIMEDOUT and `cause` (NULL:
 * dusk_deadline_exceeded) when uv_hrtime() reaches `deadline_ns`; DUSK_OFF is
 * no deadline yet. If the parent's deadline is strictly earlier, that one
 * counts and `cause` is not used. `cause` is kept, see dusk_cause_t.
 * Go: context.WithDeadlineCause. */
DUSK_EXTERN int
dusk_context_with_deadline(dusk_context_t *parent, uint64_t deadline_ns,
                           const dusk_cause_t *cause,
                           dusk_context_t **ret_ctx) DUSK_CHECK_RESULT;

/* The same, `timeout_ms` from now by uv_hrtime (not by the loop's cached
 * time); 0 has ended on return, DUSK_OFF and what would overflow is none.
 * Go: context.WithTimeoutCause. */
DUSK_EXTERN int
dusk_context_with_timeout(dusk_context_t *parent, uint64_t timeout_ms,
                          const dusk_cause_t *cause,
                          dusk_context_t **ret_ctx) DUSK_CHECK_RESULT;

/* A context that answers `value` for `key`, see dusk_key_t. Both are kept for
 * the context's life. Go: context.WithValue. */
DUSK_EXTERN int
dusk_context_with_value(dusk_context_t *parent, const dusk_key_t *key,
                        void *value,
                        dusk_context_t **ret_ctx) DUSK_CHECK_RESULT;

/* A context that ends with `parent` as ever, but belongs to the tree of `root`
 * (any context of it): that loop serves the deadlines and waiters below it, and
 * what happens there shares no lock with the parent's tree. So each thread's
 * loop can have what one base context ends. Meant for a few in a thread's life,
 * not for one a request: to make, cancel and release such a context takes the
 * lock of the parent's tree and, once it ends, one of the whole process. A
 * cancel of the parent is synchronous here too. The parent's values are seen,
 * `root`'s are not; the context's own deadline is the parent's, which is served
 * even when the parent's root has been detached. With a `root` of the parent's
 * own tree this is with_cancel. Both roots' loops may run, or not, on any
 * thread. Beyond Go, whose contexts are on no loop. */
DUSK_EXTERN int
dusk_context_with_root(dusk_context_t *parent, dusk_context_t *root,
                       dusk_context_t **ret_ctx) DUSK_CHECK_RESULT;

/* A context that answers its parent's values, and is else as a root: it has no
 * deadline, and neither its parent's end nor a cancel ends it; nor does it
 * limit what is derived from it. For what must be done after the parent's end.
 * Only its last release ends it, as that of any context.
 * Go: context.WithoutCancel. */
DUSK_EXTERN int
dusk_context_without_cancel(dusk_context_t *parent,
                            dusk_context_t **ret_ctx) DUSK_CHECK_RESULT;

/* -- Ending --------------------------------------------------------------- */

/* Ends `ctx` and all below it with UV_ECANCELED and `cause` (NULL:
 * dusk_canceled), before it returns; a context that has ended keeps its first
 * err and cause. Releases nothing, cannot fail. A no-op for NULL, a root, and
 * one made by without_cancel. A value context has no end of its own but its
 * parent's, which isn't its owner's to cause: to cancel one is a bug, and does
 * nothing where assertions are off.
 * Go: the CancelCauseFunc. */
DUSK_EXTERN void dusk_context_cancel(dusk_context_t *ctx,
                                     const dusk_cause_t *cause);

/* Brings forward the deadline of a context made by with_deadline or
 * with_timeout, and with it what the contexts below it tell; one that would be
 * later changes nothing. For the context's owner. Beyond Go.
 * Errors: UV_EINVAL for another kind of context. */
DUSK_EXTERN int dusk_context_bring_forward(dusk_context_t *ctx,
                                           uint64_t deadline_ns);

/* One more reference, and its release. The last release of a live context
 * ends it (waiters are told, with dusk_canceled); while children or waiters
 * hold it, it ends nothing. unref(NULL) is a no-op. ref returns `ctx`.
 * Go leaves this to its garbage collector. */
DUSK_EXTERN dusk_context_t *dusk_context_ref(dusk_context_t *ctx);
DUSK_EXTERN void dusk_context_unref(dusk_context_t *ctx);

/* -- Asking --------------------------------------------------------------- */

/* 0 while the context lives, then UV_ECANCELED or UV_ETIMEDOUT for ever. Right
 * even when the loop is late: whoever asks and finds the deadline passed ends
 * the context, as the timer would. Go: Context.Err. */
DUSK_EXTERN int dusk_context_err(dusk_context_t *ctx);

/* The cause of the end, NULL while the context lives. Borrowed.
 * Go: context.Cause. */
DUSK_EXTERN const dusk_cause_t *dusk_context_cause(dusk_context_t *ctx);

/* The effective deadline, on uv_hrtime's clock; DUSK_OFF if there is none.
 * Go: Context.Deadline. */
DUSK_EXTERN uint64_t dusk_context_deadline(const dusk_context_t *ctx);

/* What is left until then, in milliseconds, rounded up: 0 once the context has
 * ended, by whatever cause, and only then; DUSK_OFF while it lives without a
 * deadline. Go: time.Until(deadline) */
DUSK_EXTERN uint64_t dusk_context_left_ms(dusk_context_t *ctx);

/* The value of the nearest layer that has `key`, which may be NULL; NULL if
 * none has. Borrowed. Go: Context.Value. */
DUSK_EXTERN void *dusk_context_value(const dusk_context_t *ctx,
                                     const dusk_key_t *key);

/* -- Showing -------------------------------------------------------------- */

/* Puts down the text of a context, as Go prints it: from the root on, a piece a
 * layer, e.g. "context.Background.WithCancel.WithoutCancel". Some tell more:
 *   .WithValue(KEY, VALUE)     the key's name or else its address; the value's
 *                              address, or <nil>
 *   .WithDeadline(12.345678901s [2.990s])
 *                              the deadline on uv_hrtime's clock, and the time
 *                              left, negative once it has passed; "none" before
 *                              there is one; a context whose parent's deadline
 *                              is the earlier one is a .WithCancel
 *   .WithRoot                  has its parent in another tree
 *   signal.NotifyContext(PARENT, [interrupt terminated])
 *                              the signals as given; without a list, all
 * As snprintf: returns the length without the NUL; what fits is written, with a
 * NUL if `size` > 0; `buf` may be NULL if `size` is 0. Any thread. Allocates
 * nothing. Go: String of a context */
DUSK_EXTERN size_t dusk_context_text(dusk_context_t *ctx, char *buf,
                                     size_t size);

/* A context that hangs on another. */
typedef struct dusk_context_entry {
  const dusk_context_t *ctx; /* tells which; may be gone, so don't use it */
  const char *kind;          /* "Background", "WithCancel", "WithDeadline",
                                "WithoutCancel", "WithRoot",
                                "NotifyContext", ... */
  unsigned depth;            /* 0: the context that was asked about */
  unsigned waiters;          /* registered and not yet due */
  uint64_t deadline_ns;      /* as dusk_context_deadline */
  uint64_t age_ns;           /* DUSK_OFF but in debug builds */
} dusk_context_entry_t;

/* For debugging: what would end with `ctx`. Lists `ctx` itself and each live
 * context below it, a parent before its children and of those the newest first.
 * Left out is what is made by without_cancel, for it doesn't end with `ctx`,
 * and value contexts: one that is asked about answers for what it is a layer
 * of. What is made by with_root is in the parent's list without its waiters and
 * what hangs on it, for which it must be asked itself; it is in `root`'s, too.
 * Writes at most `capacity` entries and returns how many there are; `entries`
 * may be NULL if `capacity` is 0. One moment's picture: takes the tree's lock,
 * and time by what there is. Any thread. Beyond Go. */
DUSK_EXTERN size_t dusk_context_tree(dusk_context_t *ctx,
                                     dusk_context_entry_t *entries,
                                     size_t capacity);

/* -- Waiting -------------------------------------------------------------- */

typedef void (*dusk_waiter_cb)(dusk_waiter_t *waiter);

/* Embedded in what the caller waits with, as a libuv handle is: find the owner
 * from the callback's argument, or from `data`. All other fields are the
 * library's. */
struct dusk_waiter {
  void *data; /* the caller's: never looked at, left alone */
  dusk_waiter_cb cb;
  dusk_context_t *ctx;
  dusk_context_t *root;
  dusk_waiter_t *prev;
  dusk_waiter_t *next;
  int state;
  bool is_ref;
};

/* Calls `cb` once, on the loop of `root`, after `ctx` has ended; at the next
 * turn of the loop if it has already. `ctx` may belong to another root. The
 * waiter must stay where it is until it was stopped or called; in its callback
 * it is the caller's again: it may be freed or registered anew, and any other
 * waiter stopped. Until the callback has returned the waiter holds the ended
 * context (of a value context, the one that it is a layer of). Cannot fail,
 * allocates nothing. Registering a waiter that is registered is a bug, and does
 * nothing where assertions are off: it stays with its first context.
 *
 * When the err of a context can be seen, its waiters are due. Those that name
 * one root, and were registered before the end, are called in that order.
 *
 * Keeps uv_run going, of both roots' loops, only while `ctx` has a deadline or
 * the callback is due, or, of the loop of `root`, as long as it is referenced
 * (dusk_waiter_ref); another thread's cancel wakes a loop that runs, but
 * starts none. It is the loop of the context's own tree that has to turn for
 * the deadline (see dusk_context_with_root). `root` must be attached; a thread
 * other than its loop's must hold `ctx` for as long as it may stop the waiter.
 * Go: context.AfterFunc. */
DUSK_EXTERN void dusk_context_after(dusk_context_t *ctx, dusk_waiter_t *waiter,
                                    dusk_context_t *root, dusk_waiter_cb cb);

/* True: the callback will never run and the struct is the caller's at once,
 * also when the context has ended but the callback has not begun (there Go's
 * stop says false). False: it has begun, or the waiter was never registered
 * (zeroed) or stopped before; on the loop's thread the struct may go anyway,
 * another thread must wait for the callback. Another thread must also see to
 * it that the context and the root that were named live during the call.
 * Go: AfterFunc's stop. */
DUSK_EXTERN bool dusk_waiter_stop(dusk_waiter_t *waiter);

/* References a registered waiter, as uv_ref does a handle: until it has been
 * called or stopped, or unref takes that back, it keeps uv_run going on the
 * loop that it names, whether its context has a deadline or not. So a program
 * that has only signals to wait for doesn't end at once:
 *
 *     err = dusk_context_with_signals(root, signums, 2, &ctx);
 *     ...
 *     dusk_context_after(ctx, &waiter, root, on_signal);
 *     dusk_waiter_ref(&waiter);
 *     uv_run(loop, UV_RUN_DEFAULT);     // until on_signal has been called
 *
 * Idempotent, both; a waiter that isn't registered has no reference and gets
 * none, and each registration begins without. Not while another thread stops
 * the waiter. Loop thread only. Go: a goroutine that main waits for */
DUSK_EXTERN void dusk_waiter_ref(dusk_waiter_t *waiter);
DUSK_EXTERN void dusk_waiter_unref(dusk_waiter_t *waiter);
DUSK_EXTERN bool dusk_waiter_has_ref(const dusk_waiter_t *waiter);

/* Blocks this thread until `ctx` has ended, `timeout_ms` at most (DUSK_OFF: no
 * limit), and gives its err; 0 if it is still alive then. Needs no loop: a
 * deadline that passes ends the context here. For worker threads; a loop's own
 * thread would keep its loop from turning. The caller must hold a reference.
 * Errors: UV_EINVAL, or what uv_cond_init gives.
 * Go: <-ctx.Done(), with a select on time.After. */
DUSK_EXTERN int dusk_context_wait(dusk_context_t *ctx, uint64_t timeout_ms);

typedef struct dusk_done dusk_done_t;

/* Gives a descriptor that becomes readable, by an end of file, when `ctx` ends,
 * and stays so: for a thread that waits with poll(2), select or epoll for other
 * things as well. On return it is readable already if the context has ended.
 * Nothing need be read from it; it is not the caller's to close.
 *
 *     dusk_done_t *done;
 *     int err = dusk_done_open(ctx, &done);
 *     ...
 *     struct pollfd fds[2] = {{socket, POLLIN, 0}};
 *     fds[1] = (struct pollfd){dusk_done_fd(done), POLLIN, 0};
 *     while (poll(fds, 2, -1) > 0 && fds[1].revents == 0)
 *       ...
 *     dusk_done_close(done);
 *
 * A deadline passes as for any waiter: the loop of the context's tree has to
 * turn, or somebody has to ask; where neither is sure, poll for
 * dusk_context_left_ms at most and ask dusk_context_err. Holds the context, as
 * a child does; takes two descriptors, closed on exec. Doesn't keep uv_run
 * going. Any thread. Errors: UV_EINVAL, UV_ENOMEM, UV_EMFILE, UV_ENFILE.
 * Go: ctx.Done() in a select */
DUSK_EXTERN int dusk_done_open(dusk_context_t *ctx,
                               dusk_done_t **ret_done) DUSK_CHECK_RESULT;
DUSK_EXTERN int dusk_done_fd(const dusk_done_t *done);

/* Closes the descriptor and releases the context. Any thread, once; NULL is a
 * no-op. */
DUSK_EXTERN void dusk_done_close(dusk_done_t *done);

#ifdef __cplusplus
}
#endif

#endif
