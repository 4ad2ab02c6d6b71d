/* due.h: waiters on the way from a node to the loop that calls them.
 *
 *   idle --after--> waiting --end--> due --> running --> idle, and called
 *                      |               |
 *                      |               +-- from another tree: away --> due
 *                      +-- stop, from any of these --> idle
 *
 * A waiting one is in its node's list, under the lock of the node's tree; a
 * due or running one is in a list of the root it names, under that root's
 * lock. Between two trees it is away for a moment, in no lock's hands: the
 * thread that ended the context is about to hand it over, and stop waits for
 * that. From the end on it holds a reference of the node.
 *
 * One that names no root is for a thread without a loop. Its callback is called
 * at once, under the lock of the node's tree: idle, at the end, or still
 * waiting, when the node tells a new deadline. */
#ifndef DUSK_DUE_H
#define DUSK_DUE_H

#include "tree.h"

/* But for idle no numbers that memory has by chance, so that one that is
 * registered is told from one that was never zeroed. */
enum {
  DUSK__IDLE,
  DUSK__WAITING = 0x6475736b,
  DUSK__AWAY,
  DUSK__DUE,
  DUSK__RUNNING,
};

/* -- One waiter ----------------------------------------------------------- */

static inline int dusk__waiter_state(const dusk_waiter_t *waiter) {
  return __atomic_load_n(&waiter->state, __ATOMIC_ACQUIRE);
}

static inline void dusk__waiter_set_state(dusk_waiter_t *waiter, int state) {
  __atomic_store_n(&waiter->state, state, __ATOMIC_RELEASE);
}

static inline bool dusk__waiter_is_registered(const dusk_waiter_t *waiter) {
  int state = dusk__waiter_state(waiter);
  return state >= DUSK__WAITING && state <= DUSK__RUNNING;
}

/* What stop reads without a lock, to learn which one to take: meanwhile the
 * callback may register the waiter anew, elsewhere. */
static inline dusk__node_t *dusk__waiter_node(dusk_waiter_t *waiter) {
  return (dusk__node_t *)__atomic_load_n(&waiter->ctx, __ATOMIC_RELAXED);
}

static inline dusk__root_t *dusk__waiter_root(dusk_waiter_t *waiter) {
  return (dusk__root_t *)__atomic_load_n(&waiter->root, __ATOMIC_RELAXED);
}

/* The waiter is in no list. Under the lock of the root that it names. */
void dusk__waiter_due(dusk_waiter_t *waiter);

/* -- Lists of them, circular ---------------------------------------------- */

static inline void dusk__waiters_append(dusk_waiter_t **list,
                                        dusk_waiter_t *waiter) {
  dusk_waiter_t *first = *list;
  if (first == NULL) {
    *list = waiter->next = waiter->prev = waiter;
    return;
  }
  waiter->next = first;
  waiter->prev = first->prev;
  first->prev->next = waiter;
  first->prev = waiter;
}

static inline void dusk__waiters_remove(dusk_waiter_t **list,
                                        dusk_waiter_t *waiter) {
  if (*list == waiter) *list = waiter->next != waiter ? waiter->next : NULL;
  waiter->prev->next = waiter->next;
  waiter->next->prev = waiter->prev;
}

/* -- Those of a node ------------------------------------------------------ */

/* Whether they keep loops going: if they will be called without anybody's
 * doing. */
static inline bool dusk__node_keeps(dusk__node_t *node) {
  return dusk__deadline_of(node) != DUSK_OFF &&
         atomic_load(&node->root->loop) != NULL;
}

/* One more of them keeps loops going, or one less: that of the root it names
 * and, until the end, that of its node's tree, for the deadline. */
void dusk__node_keep(dusk__node_t *node, dusk__root_t *named, int change);

/* Makes all waiters of a node that ends due; those that are to be handed over
 * to other roots are added to `away`. True if there are any. Under the lock. */
bool dusk__waiters_due(dusk__node_t *node, dusk_waiter_t **away);

/* A live node tells an earlier deadline, or its first. Under the lock. */
void dusk__waiters_told(dusk__node_t *node, bool is_first);

/* Hands over what has been gathered. No lock held. */
void dusk__waiters_send(dusk_waiter_t *away);

/* The err of a node that has ended, when all its waiters are due. */
int dusk__waiters_handed_over(dusk__node_t *node);

#endif
