/* context.c: what any thread may do to a context: derive, cancel, ask. */
#include "bridge.h"
#include "due.h"
#include "node.h"

#include <assert.h>
#include <stdlib.h>

/* -- Deriving ------------------------------------------------------------- */

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
  dusk__base_fill(&layer->base, DUSK__VALUE, parent, dusk__node_of(parent));
  layer->key = key;
  layer->value = value;
  *ret_ctx = &layer->base;
  return 0;
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
  dusk__timed_adopt(timed, deadline_ns, now, &away);
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

int dusk_context_with_root(dusk_context_t *parent, dusk_context_t *root,
                           dusk_context_t **ret_ctx) {
  if (parent == NULL || root == NULL || ret_ctx == NULL) return UV_EINVAL;
  dusk__root_t *own = dusk__node_of(root)->root;
  if (dusk__node_of(parent)->root == own)
    return dusk_context_with_cancel(parent, ret_ctx);
  return dusk__bridge_new(parent, own, ret_ctx);
}

/* -- Ending --------------------------------------------------------------- */

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
