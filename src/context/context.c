/* context.c: the tree: deriving, ending, releasing, asking.
 *
 * A node lives until its err is set, and its memory until its last reference
 * is gone; neither waits for the other. Ending is one walk down, under the
 * tree's lock, that takes each node out of the tree and publishes its err as
 * the last thing it does to it: so a node whose err can be seen is in no list,
 * and its last reference is dropped without the lock. A live node's last
 * reference is dropped under it, hence the walk never meets a dead node.
 *
 * What waits for an end is in waiter.c, the heap in heap.c, the loop's side
 * (timer, wake-ups) in root.c. */
#include "tree.h"

#include <assert.h>
#include <stdlib.h>

const dusk_cause_t dusk_canceled = {UV_ECANCELED, "context canceled"};
const dusk_cause_t dusk_deadline_exceeded = {UV_ETIMEDOUT,
                                             "context deadline exceeded"};

static void set_deadline(dusk__node_t *node, uint64_t deadline_ns) {
  atomic_store_explicit(&node->deadline, deadline_ns, memory_order_relaxed);
}

/* -- Deriving ------------------------------------------------------------- */

static void fill_base(dusk_context_t *base, int kind, dusk_context_t *parent,
                      dusk__node_t *above) {
  atomic_init(&base->refs, 1);
  base->kind = (unsigned char)kind;
  base->owns_deadline = false;
  base->told_deadline = false;
  base->parent = dusk_context_ref(parent);
  base->above = above;
}

void dusk__node_fill(dusk__node_t *node, int kind, dusk_context_t *parent,
                     dusk__node_t *above) {
  fill_base(&node->base, kind, parent, above);
  node->root = above->root;
  node->cause = NULL;
  atomic_init(&node->err, 0);
  atomic_init(&node->deadline, DUSK_OFF);
  node->children = node->next = node->prev = NULL;
  node->waiters = NULL;
  dusk__node_born(node);
}

void dusk__node_adopt(dusk__node_t *node) {
  dusk__node_t *above = node->base.above;
  set_deadline(node, dusk__deadline_of(above));
  node->cause = above->cause;
  if (dusk__err_of(above) != 0) {
    atomic_store_explicit(&node->err, dusk__err_of(above),
                          memory_order_release);
    return;
  }
  dusk__node_t *first = above->children;
  if (first == NULL) {
    node->next = node->prev = node;
  } else {
    node->next = first;
    node->prev = first->prev;
    first->prev->next = node;
    first->prev = node;
  }
  above->children = node;
}

void dusk__node_init(dusk__node_t *node, int kind, dusk_context_t *parent) {
  dusk__node_fill(node, kind, parent, dusk__node_of(parent));
  dusk__root_lock(node->root);
  dusk__node_adopt(node);
  dusk__root_unlock(node->root);
}

int dusk_context_with_cancel(dusk_context_t *parent, dusk_context_t **ret_ctx) {
  if (parent == NULL || ret_ctx == NULL) return UV_EINVAL;
  dusk__node_t *node = malloc(sizeof(*node));
  if (node == NULL) return UV_ENOMEM;
  dusk__node_init(node, DUSK__CANCEL, parent);
  *ret_ctx = &node->base;
  return 0;
}

int dusk_context_without_cancel(dusk_context_t *parent,
                                dusk_context_t **ret_ctx) {
  if (parent == NULL || ret_ctx == NULL) return UV_EINVAL;
  dusk__node_t *node = malloc(sizeof(*node));
  if (node == NULL) return UV_ENOMEM;
  dusk__node_fill(node, DUSK__WITHOUT, parent, dusk__node_of(parent));
  node->next = node->prev = node; /* never in the list of the node above */
  *ret_ctx = &node->base;
  return 0;
}

int dusk_context_with_value(dusk_context_t *parent, const dusk_key_t *key,
                            void *value, dusk_context_t **ret_ctx) {
  if (parent == NULL || key == NULL || ret_ctx == NULL) return UV_EINVAL;
  dusk__layer_t *layer = malloc(sizeof(*layer));
  if (layer == NULL) return UV_ENOMEM;
  fill_base(&layer->base, DUSK__VALUE, parent, dusk__node_of(parent));
  layer->key = key;
  layer->value = value;
  *ret_ctx = &layer->base;
  return 0;
}

void dusk__node_end_passed(dusk__node_t *node, uint64_t now,
                           dusk_waiter_t **away) {
  if (dusk__err_of(node) != 0 || dusk__deadline_of(node) > now) return;
  while (!node->base.owns_deadline)
    node = node->base.above;
  dusk__timed_end((dusk__timed_t *)node, away);
}

static void tell_own(dusk__node_t *node, uint64_t deadline_ns) {
  set_deadline(node, deadline_ns);
  node->base.told_deadline = true;
}

/* Gives a live node a deadline of its own, earlier than what it had or equal
 * to what it inherits. Under the lock. */
static void own_deadline(dusk__timed_t *timed, uint64_t deadline_ns,
                         uint64_t now, dusk_waiter_t **away) {
  dusk__root_t *root = timed->node.root;
  if (timed->node.base.owns_deadline) dusk__heap_remove(&root->heap, timed);
  tell_own(&timed->node, deadline_ns);
  timed->node.cause = timed->cause;
  dusk__heap_insert(&root->heap, timed);
  if (deadline_ns <= now)
    dusk__timed_end(timed, away);
  else
    dusk__root_arm(root);
}

static int with_deadline(dusk_context_t *parent, uint64_t deadline_ns,
                         uint64_t now, const dusk_cause_t *cause,
                         dusk_context_t **ret_ctx) {
  dusk__timed_t *timed = malloc(sizeof(*timed));
  if (timed == NULL) return UV_ENOMEM;
  dusk__node_t *node = &timed->node;
  dusk_waiter_t *away = NULL;
  dusk__node_fill(node, DUSK__TIMED, parent, dusk__node_of(parent));
  timed->cause = cause != NULL ? cause : &dusk_deadline_exceeded;

  dusk__root_lock(node->root);
  dusk__node_end_passed(node->base.above, now, &away);
  dusk__node_adopt(node);
  /* Equal deadlines: each keeps its own cause. */
  if (deadline_ns != DUSK_OFF && deadline_ns <= dusk__deadline_of(node)) {
    if (dusk__err_of(node) == 0)
      own_deadline(timed, deadline_ns, now, &away);
    else
      tell_own(node, deadline_ns);
  }
  dusk__settle(node->root, away);
  *ret_ctx = &node->base;
  return 0;
}

int dusk_context_with_deadline(dusk_context_t *parent, uint64_t deadline_ns,
                               const dusk_cause_t *cause,
                               dusk_context_t **ret_ctx) {
  if (parent == NULL || ret_ctx == NULL) return UV_EINVAL;
  return with_deadline(parent, deadline_ns, uv_hrtime(), cause, ret_ctx);
}

int dusk_context_with_timeout(dusk_context_t *parent, uint64_t timeout_ms,
                              const dusk_cause_t *cause,
                              dusk_context_t **ret_ctx) {
  if (parent == NULL || ret_ctx == NULL) return UV_EINVAL;
  uint64_t now = uv_hrtime();
  uint64_t deadline_ns = DUSK_OFF;
  if (timeout_ms < (DUSK_OFF - now) / 1000000)
    deadline_ns = now + timeout_ms * 1000000;
  return with_deadline(parent, deadline_ns, now, cause, ret_ctx);
}

/* -- Ending --------------------------------------------------------------- */

static void unlink_node(dusk__node_t *node) {
  dusk__node_t *above = node->base.above;
  if (above->children == node)
    above->children = node->next != node ? node->next : NULL;
  node->prev->next = node->next;
  node->next->prev = node->prev;
}

/* Takes a node's children off it and puts them on a stack, linked by next. */
static void push_children(dusk__node_t *node, dusk__node_t **stack) {
  dusk__node_t *first = node->children;
  if (first == NULL) return;
  first->prev->next = *stack;
  *stack = first;
  node->children = NULL;
}

/* Ends one node that is in no list of children any more. */
static void end_one(dusk__node_t *node, int err, const dusk_cause_t *cause,
                    dusk_waiter_t **away) {
  if (node->base.owns_deadline)
    dusk__heap_remove(&node->root->heap, (dusk__timed_t *)node);
  bool hands_over = dusk__waiters_due(node, away);
  node->cause = cause;
  if (node->base.kind == DUSK__INLET) dusk__bridge_changed(node);
  atomic_store_explicit(&node->err, hands_over ? -err : err,
                        memory_order_release);
}

/* Why a node ends whose ancestor ends: as the node above it did, or by its own
 * deadline if that was the same instant. */
static const dusk_cause_t *cause_below(dusk__node_t *node) {
  dusk__node_t *above = node->base.above;
  if (node->base.owns_deadline && dusk__err_of(above) == UV_ETIMEDOUT &&
      dusk__deadline_of(node) <= dusk__deadline_of(above))
    return ((dusk__timed_t *)node)->cause;
  return above->cause;
}

void dusk__node_end(dusk__node_t *node, int err, const dusk_cause_t *cause,
                    dusk_waiter_t **away) {
  dusk__node_t *stack = NULL;
  assert(dusk__err_of(node) == 0);
  unlink_node(node);
  push_children(node, &stack);
  end_one(node, err, cause, away);
  while (stack != NULL) {
    /* Alive although nobody may want it any more: its last reference can only
     * be dropped under the lock. So is the node above, which it holds. */
    node = stack;
    stack = node->next;
    push_children(node, &stack);
    end_one(node, err, cause_below(node), away);
  }
}

void dusk__timed_end(dusk__timed_t *timed, dusk_waiter_t **away) {
  dusk__node_end(&timed->node, UV_ETIMEDOUT, timed->cause, away);
}

void dusk__settle(dusk__root_t *root, dusk_waiter_t *away) {
  bool crosses = root->crossing > 0;
  /* A released node may go, and the tree with it, once its waiters' loop has
   * the lock. */
  if (crosses) dusk_context_ref(&root->node.base);
  dusk__root_unlock(root);
  if (away != NULL) dusk__waiters_send(away);
  if (crosses) {
    dusk__bridges_cross(root);
    dusk_context_unref(&root->node.base);
  }
}

static bool can_be_cancelled(const dusk_context_t *ctx) {
  switch (ctx->kind) {
  case DUSK__ROOT:
  case DUSK__WITHOUT:
  case DUSK__VALUE:
    return false;
  default:
    return true;
  }
}

void dusk_context_cancel(dusk_context_t *ctx, const dusk_cause_t *cause) {
  assert(ctx == NULL || ctx->kind != DUSK__VALUE); /* has no cancel */
  if (ctx == NULL || !can_be_cancelled(ctx)) return;
  dusk__node_t *node = (dusk__node_t *)ctx;
  dusk_waiter_t *away = NULL;
  /* Also when it has ended: whoever did it may still be below it. */
  dusk__root_lock(node->root);
  /* A deadline that has passed came first, even when the loop is late. */
  if (dusk__deadline_of(node) != DUSK_OFF)
    dusk__node_end_passed(node, uv_hrtime(), &away);
  if (dusk__err_of(node) == 0)
    dusk__node_end(node, UV_ECANCELED, cause != NULL ? cause : &dusk_canceled,
                   &away);
  dusk__settle(node->root, away);
  dusk__waiters_handed_over(node);
  if (ctx->kind == DUSK__BRIDGE) dusk__bridge_leave((dusk__bridge_t *)ctx);
}

dusk__node_t *dusk__node_next(dusk__node_t *top, dusk__node_t *node,
                              bool descend) {
  if (descend && node->children != NULL) return node->children;
  while (node != top) {
    dusk__node_t *above = node->base.above;
    if (node->next != above->children) return node->next;
    node = above;
  }
  return NULL;
}

/* Makes the nodes below `top` tell its deadline, where they told a later one;
 * those no longer need one of their own. */
static void tell_deadline(dusk__node_t *top) {
  uint64_t deadline_ns = dusk__deadline_of(top);
  dusk__node_t *node = dusk__node_next(top, top, true);
  while (node != NULL) {
    bool later = dusk__deadline_of(node) > deadline_ns;
    if (later) {
      if (node->base.owns_deadline)
        dusk__heap_remove(&node->root->heap, (dusk__timed_t *)node);
      dusk__waiters_told(node, dusk__deadline_of(node) == DUSK_OFF);
      set_deadline(node, deadline_ns);
      node->cause = top->cause;
      node->base.told_deadline = false;
      if (node->base.kind == DUSK__INLET) dusk__bridge_changed(node);
    }
    node = dusk__node_next(top, node, later);
  }
}

void dusk__timed_bring(dusk__timed_t *timed, uint64_t deadline_ns, uint64_t now,
                       dusk_waiter_t **away) {
  dusk__node_t *node = &timed->node;
  uint64_t before = dusk__deadline_of(node);
  if (deadline_ns >= before) return;
  dusk__waiters_told(node, before == DUSK_OFF);
  own_deadline(timed, deadline_ns, now, away);
  if (dusk__err_of(node) == 0) tell_deadline(node);
}

int dusk_context_bring_forward(dusk_context_t *ctx, uint64_t deadline_ns) {
  if (ctx == NULL || ctx->kind != DUSK__TIMED) return UV_EINVAL;
  dusk__node_t *node = (dusk__node_t *)ctx;
  dusk_waiter_t *away = NULL;
  uint64_t now = uv_hrtime();
  dusk__root_lock(node->root);
  dusk__node_end_passed(node, now, &away);
  if (dusk__err_of(node) == 0)
    dusk__timed_bring((dusk__timed_t *)node, deadline_ns, now, &away);
  dusk__settle(node->root, away);
  return 0;
}

/* -- Releasing ------------------------------------------------------------ */

dusk_context_t *dusk_context_ref(dusk_context_t *ctx) {
  atomic_fetch_add_explicit(&ctx->refs, 1, memory_order_relaxed);
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
    if (dusk__err_of(node) == 0)
      dusk__node_end(node, UV_ECANCELED, &dusk_canceled, &away);
    /* Its waiters, due now, hold it. */
    gone = atomic_load_explicit(&node->base.refs, memory_order_acquire) == 0;
    leaves = !gone && node->base.kind == DUSK__BRIDGE;
    if (leaves) dusk_context_ref(&node->base);
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
    assert(refs > 0);
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
      dusk__root_release(((dusk__node_t *)ctx)->root, (dusk__hooked_t *)ctx);
    else if (ctx->kind == DUSK__BRIDGE)
      dusk__bridge_free((dusk__bridge_t *)ctx);
    else
      free(ctx);
    ctx = parent;
  }
}

/* -- Asking --------------------------------------------------------------- */

/* Apart, so that the plain cases save no registers for it. */
static DUSK__NOINLINE int err_to_be_looked_at(dusk__node_t *node) {
  uint64_t now = uv_hrtime();
  dusk_waiter_t *away = NULL;
  if (dusk__err_of(node) == 0 && now < dusk__deadline_of(node)) return 0;
  dusk__root_lock(node->root);
  dusk__node_end_passed(node, now, &away);
  dusk__settle(node->root, away);
  return dusk__waiters_handed_over(node);
}

int dusk_context_err(dusk_context_t *ctx) {
  dusk__node_t *node = dusk__node_of(ctx);
  int err = atomic_load_explicit(&node->err, memory_order_acquire);
  if (err < 0 || (err == 0 && dusk__deadline_of(node) == DUSK_OFF)) return err;
  return err_to_be_looked_at(node);
}

const dusk_cause_t *dusk_context_cause(dusk_context_t *ctx) {
  return dusk_context_err(ctx) != 0 ? dusk__node_of(ctx)->cause : NULL;
}

uint64_t dusk_context_deadline(const dusk_context_t *ctx) {
  return dusk__deadline_of(dusk__node_of(ctx));
}

uint64_t dusk_context_left_ms(dusk_context_t *ctx) {
  uint64_t deadline_ns = dusk_context_deadline(ctx);
  if (dusk_context_err(ctx) != 0) return 0;
  if (deadline_ns == DUSK_OFF) return DUSK_OFF;
  uint64_t now = uv_hrtime();
  return deadline_ns > now ? (deadline_ns - now - 1) / 1000000 + 1 : 0;
}

void *dusk_context_value(const dusk_context_t *ctx, const dusk_key_t *key) {
  for (; ctx != NULL; ctx = ctx->parent) {
    if (ctx->kind == DUSK__VALUE && ((const dusk__layer_t *)ctx)->key == key)
      return ((const dusk__layer_t *)ctx)->value;
  }
  return NULL;
}

dusk_context_t *dusk_context_root(const dusk_context_t *ctx) {
  return &dusk__node_of(ctx)->root->node.base;
}

uv_loop_t *dusk_context_loop(const dusk_context_t *ctx) {
  return atomic_load_explicit(&dusk__node_of(ctx)->root->loop,
                              memory_order_acquire);
}
