/* heap.c: the deadlines of a tree, nearest first: an intrusive pairing heap.
 *
 * Inserting is O(1), and so is removing what was inserted last; removing is
 * O(log n) amortised. Allocates nothing and does not recurse, so that a
 * million deadlines in a row need no stack. A child's `prev` is its left
 * neighbour or, for the first child, its parent. Called under the tree's
 * lock. */
#include "heap.h"

static uint64_t deadline(dusk__timed_t *timed) {
  return atomic_load_explicit(&timed->node.deadline, memory_order_relaxed);
}

/* Two heaps into one; the earlier root wins. */
static dusk__timed_t *meld(dusk__timed_t *a, dusk__timed_t *b) {
  if (deadline(b) < deadline(a)) {
    dusk__timed_t *swap = a;
    a = b;
    b = swap;
  }
  b->prev = a;
  b->next = a->child;
  if (a->child != NULL) a->child->prev = b;
  a->child = b;
  a->next = a->prev = NULL;
  return a;
}

/* The children of a removed root into one heap: neighbours in pairs, then the
 * pairs from the last to the first. */
static dusk__timed_t *meld_siblings(dusk__timed_t *first) {
  dusk__timed_t *pairs = NULL;
  while (first != NULL) {
    dusk__timed_t *pair = first;
    dusk__timed_t *second = first->next;
    first = second != NULL ? second->next : NULL;
    if (second != NULL) pair = meld(pair, second);
    pair->next = pairs;
    pairs = pair;
  }
  dusk__timed_t *heap = pairs;
  if (heap == NULL) return NULL;
  pairs = heap->next;
  heap->next = heap->prev = NULL;
  while (pairs != NULL) {
    dusk__timed_t *pair = pairs;
    pairs = pair->next;
    heap = meld(heap, pair);
  }
  return heap;
}

void dusk__heap_insert(dusk__timed_t **heap, dusk__timed_t *timed) {
  timed->child = timed->next = timed->prev = NULL;
  *heap = *heap != NULL ? meld(*heap, timed) : timed;
  timed->node.base.owns_deadline = true;
}

void dusk__heap_remove(dusk__timed_t **heap, dusk__timed_t *timed) {
  dusk__timed_t *below = meld_siblings(timed->child);
  if (timed == *heap) {
    *heap = below;
  } else {
    if (timed->prev->child == timed)
      timed->prev->child = timed->next;
    else
      timed->prev->next = timed->next;
    if (timed->next != NULL) timed->next->prev = timed->prev;
    if (below != NULL) *heap = meld(*heap, below);
  }
  timed->node.base.owns_deadline = false;
}
