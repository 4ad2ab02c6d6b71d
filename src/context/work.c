/* work.c: uv_queue_work under a context.
 *
 * The request and a waiter are under way together. The waiter's callback only
 * takes the request out of the queue, which may be too late; it is the
 * request's end that ends the work. Work under a context that has ended
 * already is a waiter alone. */
#include <dusk/calls.h>
#include "bridge.h"
#include "loop.h"

static dusk__root_t *root_of(dusk_work_t *work) {
  return dusk__node_of(work->root)->root;
}

static void finish(dusk_work_t *work) {
  dusk_context_t *held = work->held;
  int err = work->has_begun ? 0 : dusk_context_err(work->ctx);
  atomic_fetch_sub(&root_of(work)->users, 1);
  work->after_cb(work, err);
  dusk_context_unref(held);
}

/* On a thread of the pool. */
static void on_work(uv_work_t *req) {
  dusk_work_t *work = dusk__container_of(req, dusk_work_t, req);
  /* The loop may not have had the time to take it out of the queue. */
  if (dusk_context_err(work->ctx) != 0) return;
  work->has_begun = true;
  work->work_cb(work, work->ctx);
}

static void on_worked(uv_work_t *req, int status) {
  (void)status; /* whether it has begun says more */
  dusk_work_t *work = dusk__container_of(req, dusk_work_t, req);
  dusk_waiter_stop(&work->waiter);
  finish(work);
}

static void on_end(dusk_waiter_t *waiter) {
  dusk_work_t *work = dusk__container_of(waiter, dusk_work_t, waiter);
  if (work->is_queued)
    (void)uv_cancel((uv_req_t *)&work->req); /* fails when it runs or has run */
  else
    finish(work);
}

int dusk_context_work(dusk_context_t *ctx, dusk_work_t *work,
                      dusk_context_t *root, dusk_work_cb work_cb,
                      dusk_after_work_cb after_cb) {
  if (ctx == NULL || work == NULL || root == NULL || work_cb == NULL ||
      after_cb == NULL || dusk_context_loop(root) == NULL)
    return UV_EINVAL;
  dusk__loop_expect(dusk__node_of(root)->root);
  int err = dusk__bridge_hold(ctx, dusk__node_of(root)->root, &work->held);
  if (err != 0) return err;
  work->ctx = ctx;
  work->root = root;
  work->work_cb = work_cb;
  work->after_cb = after_cb;
  work->has_begun = false;
  work->is_queued = dusk_context_err(ctx) == 0;
  if (work->is_queued) {
    err =
        uv_queue_work(dusk_context_loop(root), &work->req, on_work, on_worked);
    if (err != 0) {
      dusk_context_unref(work->held);
      return err;
    }
  }
  atomic_fetch_add(&root_of(work)->users, 1);
  dusk_context_after(work->held, &work->waiter, root, on_end);
  return 0;
}
