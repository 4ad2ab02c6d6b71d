/* release.c: contexts are held and released; what the last release ends. */
#include "bridge.h"
#include "loop.h"
#include "node.h"

#include <assert.h>
#include <stdlib.h>

dusk_context_t *dusk_context_ref(dusk_context_t *ctx) {
  dusk__ref(ctx);
  return ctx;
}

/* Drops what may be the last reference of a live node; true if it was and the
 * memory may go. */
static DUSK__NOINLINE bool drop_live(dusk__node_t *node) {
  dusk__root_t *root = node->root;
  dusk_waiter_t *away = NULL;
  bool gone = false, leaves = false;
  dusk__root_lock(root);
  if (atomic_fetch_sub_explicit(&node->base.refs, 1, memory_order_acq_rel) ==
      1) {
    assert(node->children == NULL &&
           "a context was released that a child of it holds");
    if (dusk__err_of(node) == 0)
      dusk__node_end(node, UV_ECANCELED, &dusk_canceled, &away);
    /* Its waiters, due now, hold it. */
    gone = atomic_load_explicit(&node->base.refs, memory_order_acquire) == 0;
    leaves = !gone && node->base.kind == DUSK__BRIDGE;
    if (leaves) dusk__ref(&node->base);
  }
  dusk__settle(root, away);
  if (!leaves) return gone;
  dusk__bridge_leave((dusk__bridge_t *)node);
  return atomic_fetch_sub_explicit(&node->base.refs, 1, memory_order_acq_rel) ==
         1;
}

/* Drops a reference; true if it was the last one. */
static bool drop(dusk_context_t *ctx) {
  bool lives = ctx->kind != DUSK__ROOT && ctx->kind != DUSK__VALUE;
  unsigned refs = atomic_load_explicit(&ctx->refs, memory_order_relaxed);
  for (;;) {
    assert(refs > 0 && "a context was released too often");
    if (refs == 1 && lives && dusk__err_of((dusk__node_t *)ctx) == 0)
      return drop_live((dusk__node_t *)ctx);
    if (atomic_compare_exchange_weak_explicit(&ctx->refs, &refs, refs - 1,
                                              memory_order_acq_rel,
                                              memory_order_relaxed))
      return refs == 1;
  }
}

void dusk_context_unref(dusk_context_t *ctx) {
  while (ctx != NULL && drop(ctx)) {
    dusk_context_t *parent = ctx->parent;
    if (ctx->kind == DUSK__ROOT)
      dusk__root_free((dusk__root_t *)ctx);
    else if (ctx->kind == DUSK__HOOKED)
      dusk__loop_release(((dusk__node_t *)ctx)->root, (dusk__hooked_t *)ctx);
    else if (ctx->kind == DUSK__BRIDGE)
      dusk__bridge_free((dusk__bridge_t *)ctx);
    else
      free(ctx);
    ctx = parent;
  }
}
