/* root.c: a tree is attached to its loop, and detached.
 *
 *   attached --detach--> closing --last handle closed--> detached
 *
 * A root is freed when it is detached and nothing refers to it any more, its
 * last descendant included. */
#include "bridge.h"
#include "loop.h"
#include "node.h"
#include "waiter.h"

/* Under the lock. */
static void end_passed(dusk__root_t *root, uint64_t now) {
  dusk_waiter_t *away = NULL;
  while (root->heap != NULL && dusk__deadline_of(&root->heap->node) <= now)
    dusk__timed_end(root->heap, &away);
  dusk__settle(root, away);
}

static const dusk__calls_t calls = {
    .end_passed = end_passed,
    .call_due = dusk__waiters_run,
};

int dusk_context_attach(uv_loop_t *loop, dusk_context_t **ret_root) {
  if (loop == NULL || ret_root == NULL) return UV_EINVAL;
  dusk__root_t *root;
  int err = dusk__root_new(&root);
  if (err != 0) return err;
  err = dusk__loop_open(root, loop, &calls);
  if (err != 0) {
    dusk__root_unref(root);
    return err;
  }
  *ret_root = &root->node.base;
  return 0;
}

int dusk_context_detach(dusk_context_t *ctx, dusk_detach_cb cb, void *arg) {
  if (ctx == NULL || ctx->kind != DUSK__ROOT) return UV_EINVAL;
  dusk__root_t *root = (dusk__root_t *)ctx;
  int err = 0;
  dusk__loop_expect(root);
  /* What another thread has released may be all that still names it. */
  dusk__loop_release_all(root);
  dusk__root_lock(root);
  if (atomic_load(&root->loop) == NULL)
    err = UV_EALREADY;
  else if (atomic_load(&root->users) > 0)
    err = UV_EBUSY;
  else
    atomic_store(&root->loop, NULL);
  dusk__root_unlock(root);
  if (err != 0) return err;
  root->detach_cb = cb;
  root->detach_arg = arg;
  dusk__loop_close(root);
  return 0;
}

dusk_context_t *dusk_context_root(const dusk_context_t *ctx) {
  return &dusk__node_of(ctx)->root->node.base;
}

uv_loop_t *dusk_context_loop(const dusk_context_t *ctx) {
  return atomic_load_explicit(&dusk__node_of(ctx)->root->loop,
                              memory_order_acquire);
}
