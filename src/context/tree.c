/* tree.c: a tree as such: its root's life, its lock, the walk through it. */
#include "tree.h"

#include <assert.h>
#include <stdlib.h>

const dusk_cause_t dusk_canceled = {UV_ECANCELED, "context canceled"};
const dusk_cause_t dusk_deadline_exceeded = {UV_ETIMEDOUT,
                                             "context deadline exceeded"};

/* -- Roots ---------------------------------------------------------------- */

int dusk__root_new(dusk__root_t **ret_root) {
  dusk__root_t *root = calloc(1, sizeof(*root));
  if (root == NULL) return UV_ENOMEM;
  dusk__node_t *node = &root->node;
  atomic_init(&node->base.refs, 1);
  node->base.kind = DUSK__ROOT;
  node->root = root;
  atomic_init(&node->deadline, DUSK_OFF);
  dusk__node_born(node);
  int err = uv_mutex_init(&root->lock);
  if (err != 0) {
    free(root);
    return err;
  }
  *ret_root = root;
  return 0;
}

void dusk__root_free(dusk__root_t *root) {
  assert(atomic_load(&root->loop) == NULL &&
         "a root was released in the place of being detached");
  uv_mutex_destroy(&root->lock);
  free(root);
}

void dusk__root_unref(dusk__root_t *root) {
  atomic_uint *refs = &root->node.base.refs;
  if (atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel) == 1)
    dusk__root_free(root);
}

/* -- The lock ------------------------------------------------------------- */

static void pause_cpu(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/* What it is held for mostly takes less time than to sleep and be woken; so
 * looks again a few times, ever less often, lest two get in each other's way.
 */
void dusk__root_lock_busy(dusk__root_t *root) {
  for (int pauses = 32; pauses < 1024; pauses *= 2) {
    for (int i = 0; i < pauses; i++)
      pause_cpu();
    if (uv_mutex_trylock(&root->lock) == 0) return;
  }
  uv_mutex_lock(&root->lock);
}

/* -- The walk ------------------------------------------------------------- */

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
