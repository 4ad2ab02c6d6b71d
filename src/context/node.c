/* node.c: the nodes of a tree: linked, ended, brought forward.
 *
 * A node lives until its err is set, and its memory until its last reference
 * is gone; neither waits for the other. Ending is one walk down, under the
 * tree's lock, that takes each node out of the tree and publishes its err as
 * the last thing it does to it: so a node whose err can be seen is in no list,
 * and its last reference is dropped without the lock. A live node's last
 * reference is dropped under it, hence the walk never meets a dead node. */
#include "node.h"
#include "due.h"
#include "heap.h"
#include "loop.h"

#include <assert.h>

static void set_deadline(dusk__node_t *node, uint64_t deadline_ns) {
  atomic_store_explicit(&node->deadline, deadline_ns, memory_order_relaxed);
}

/* -- Linking -------------------------------------------------------------- */

void dusk__node_fill(dusk__node_t *node, int kind, dusk_context_t *parent,
                     dusk__node_t *above) {
  dusk__base_fill(&node->base, kind, parent, above);
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

/* For the bridge: its inlet has ended, or tells a new deadline. */
static void leave_note(dusk__node_t *inlet) {
  dusk__bridge_t *bridge = dusk__bridge_of(inlet);
  dusk__root_t *root = inlet->root;
  if (bridge->is_changed) return;
  bridge->is_changed = true;
  bridge->next = root->changed;
  root->changed = bridge;
  root->crossing++;
}

/* Ends one node that is in no list of children any more. */
static void end_one(dusk__node_t *node, int err, const dusk_cause_t *cause,
                    dusk_waiter_t **away) {
  if (node->base.owns_deadline)
    dusk__heap_remove(&node->root->heap, (dusk__timed_t *)node);
  bool hands_over = node->waiters != NULL && dusk__waiters_due(node, away);
  node->cause = cause;
  if (node->base.kind == DUSK__INLET) leave_note(node);
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

void dusk__node_end_passed(dusk__node_t *node, uint64_t now,
                           dusk_waiter_t **away) {
  if (dusk__err_of(node) != 0 || dusk__deadline_of(node) > now) return;
  while (!node->base.owns_deadline)
    node = node->base.above;
  dusk__timed_end((dusk__timed_t *)node, away);
}

/* -- Deadlines ------------------------------------------------------------ */

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
    dusk__loop_arm(root);
}

void dusk__timed_adopt(dusk__timed_t *timed, uint64_t deadline_ns, uint64_t now,
                       dusk_waiter_t **away) {
  dusk__node_t *node = &timed->node;
  dusk__node_end_passed(node->base.above, now, away);
  dusk__node_adopt(node);
  /* Equal deadlines: each keeps its own cause. */
  if (deadline_ns == DUSK_OFF || deadline_ns > dusk__deadline_of(node)) return;
  if (dusk__err_of(node) == 0)
    own_deadline(timed, deadline_ns, now, away);
  else
    tell_own(node, deadline_ns);
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
      if (node->base.kind == DUSK__INLET) leave_note(node);
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
