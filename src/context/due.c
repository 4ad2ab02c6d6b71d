/* due.c: waiters of contexts that end, see due.h. */
#include "due.h"
#include "loop.h"

#include <sched.h>

void dusk__waiter_due(dusk_waiter_t *waiter) {
  dusk__root_t *root = dusk__waiter_root(waiter);
  bool first = root->due == NULL;
  dusk__waiters_append(&root->due, waiter);
  dusk__waiter_set_state(waiter, DUSK__DUE);
  if (first) dusk__loop_wake(root);
}

void dusk__node_keep(dusk__node_t *node, dusk__root_t *named, int change) {
  dusk__loop_keep(named, change);
  if (node->root != named) dusk__loop_keep(node->root, change);
}

bool dusk__waiters_due(dusk__node_t *node, dusk_waiter_t **away) {
  bool kept = dusk__node_keeps(node), hands_over = false;
  while (node->waiters != NULL) {
    dusk_waiter_t *waiter = node->waiters;
    dusk__root_t *named = dusk__waiter_root(waiter);
    dusk__waiters_remove(&node->waiters, waiter);
    if (named == NULL) {
      dusk__waiter_set_state(waiter, DUSK__IDLE);
      waiter->cb(waiter);
      continue;
    }
    dusk__ref(&node->base);
    if (!kept) dusk__loop_keep(named, 1);
    if (named == node->root) {
      dusk__waiter_due(waiter);
    } else {
      if (kept) dusk__loop_keep(node->root, -1);
      dusk__waiters_append(away, waiter);
      dusk__waiter_set_state(waiter, DUSK__AWAY);
      hands_over = true;
    }
  }
  return hands_over;
}

void dusk__waiters_told(dusk__node_t *node, bool is_first) {
  bool served = is_first && atomic_load(&node->root->loop) != NULL;
  dusk_waiter_t *waiter = node->waiters;
  if (waiter == NULL) return;
  do {
    dusk__root_t *named = dusk__waiter_root(waiter);
    if (named == NULL)
      waiter->cb(waiter);
    else if (served)
      dusk__node_keep(node, named, 1);
    waiter = waiter->next;
  } while (waiter != node->waiters);
}

void dusk__waiters_send(dusk_waiter_t *away) {
  while (away != NULL) {
    dusk_waiter_t *waiter = away;
    /* Not through the waiter: once due, and unlocked, it may be gone, and what
     * it holds with it. */
    dusk__root_t *root = dusk__waiter_root(waiter);
    dusk__node_t *node = dusk__waiter_node(waiter);
    dusk__waiters_remove(&away, waiter);
    dusk__root_lock(root);
    dusk__waiter_due(waiter);
    if (away == NULL || dusk__waiter_node(away) != node)
      atomic_store_explicit(&node->err, dusk__err_of(node),
                            memory_order_release);
    dusk__root_unlock(root);
  }
}

int dusk__waiters_handed_over(dusk__node_t *node) {
  int err;
  while ((err = atomic_load_explicit(&node->err, memory_order_acquire)) > 0)
    sched_yield();
  return err;
}
