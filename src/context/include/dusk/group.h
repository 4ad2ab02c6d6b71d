/* dusk/group.h: Go's errgroup for callbacks: several calls under one context,
 * of which the first failure ends the rest, and one callback when all are done.
 *
 *     dusk_group_new(ctx, root, 4, &group);     // four at once
 *     for (size_t i = 0; i < n; i++)
 *       dusk_group_go(group, &fetch[i].call, start_fetch);
 *     dusk_group_wait(group, on_all_fetched, arg);
 *
 *     static void start_fetch(dusk_call_t *call, dusk_context_t *ctx) {
 *       fetch_t *fetch = (fetch_t *)call;
 *       int err = dusk_context_connect(ctx, root, &fetch->tcp, ..., on_connect,
 *                                      fetch);
 *       if (err != 0) dusk_call_done(call, err);
 *     }
 *     ...                                       // and, when it is over:
 *     dusk_call_done(&fetch->call, err);
 *
 * Threads: all of it belongs to the thread of the loop of `root`; the group's
 * context may be used from any. Callbacks come in turns of that loop, never
 * inside the call that caused them. */
#ifndef DUSK_GROUP_H
#define DUSK_GROUP_H

#include <dusk/context.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dusk_group dusk_group_t;
typedef struct dusk_call dusk_call_t;
/* `ctx` is the group's. */
typedef void (*dusk_call_cb)(dusk_call_t *call, dusk_context_t *ctx);

/* Embedded in what the caller makes a call with; all fields but `data` are the
 * library's. */
struct dusk_call {
  void *data; /* the caller's: never looked at, left alone */
  dusk_group_t *group;
  dusk_call_cb cb;
  dusk_call_t *next;
};

/* A group of calls on the loop of `root`, of which at most `limit` run at once
 * (0: as many as there are), under a context of its own that ends with
 * `parent`. That may belong to another root, see dusk_context_with_root. The
 * group goes with the callback of dusk_group_wait, so each is waited for once;
 * until then detaching the root is UV_EBUSY. The group itself doesn't keep
 * uv_run going, its calls do, and what is to be called next.
 * Errors: UV_EINVAL, UV_ENOMEM.
 * Go: errgroup.WithContext, SetLimit */
DUSK_EXTERN int dusk_group_new(dusk_context_t *parent, dusk_context_t *root,
                               size_t limit,
                               dusk_group_t **ret_group) DUSK_CHECK_RESULT;

/* The group's context, borrowed: it ends with the parent, at the first failure,
 * or before the callback of dusk_group_wait. Cancelling it ends the calls, but
 * is not a failure in itself. */
DUSK_EXTERN dusk_context_t *dusk_group_context(const dusk_group_t *group);

/* Adds a call. `cb` starts it, in a later turn of the loop: the next one if
 * less than `limit` run, else when one of those is done; in the order in which
 * they were added. It is called once for every call, also when the context has
 * ended meanwhile; what it starts under that ends at once. The struct stays
 * where it is until dusk_call_done. Calls may be added from callbacks, also
 * after dusk_group_wait, as long as its callback hasn't begun. Allocates
 * nothing. Errors: UV_EINVAL. Go: Group.Go, which blocks in place of queueing
 */
DUSK_EXTERN int dusk_group_go(dusk_group_t *group, dusk_call_t *call,
                              dusk_call_cb cb);

/* The same, but only if the call need not wait for another one; else UV_EAGAIN,
 * and nothing has happened. Go: Group.TryGo */
DUSK_EXTERN int dusk_group_try_go(dusk_group_t *group, dusk_call_t *call,
                                  dusk_call_cb cb) DUSK_CHECK_RESULT;

/* A call that was started is over, with 0 or an error: once for each, also from
 * within its start. The first error ends the group's context, with
 * dusk_canceled; who wants to tell the others another cause cancels the context
 * with that before. The struct is the caller's again. Twice, or before the
 * start, is a bug. Go: the return of the function given to Go */
DUSK_EXTERN void dusk_call_done(dusk_call_t *call, int err);

/* `err` is the first that a call was done with; 0 if all went well. */
typedef void (*dusk_group_cb)(int err, void *arg);

/* Calls `cb` once all calls are done, which may be in the next turn: then the
 * group is gone, and its context has ended. The call doesn't block.
 * Errors: UV_EINVAL, UV_EALREADY the second time. Go: Group.Wait */
DUSK_EXTERN int dusk_group_wait(dusk_group_t *group, dusk_group_cb cb,
                                void *arg) DUSK_CHECK_RESULT;

#ifdef __cplusplus
}
#endif

#endif
