/* node.h: nodes are linked, end, and have their deadlines brought forward.
 *
 * All under the lock of the node's tree, which is to be released by
 * dusk__settle (bridge.h) where something may have ended: that takes care of
 * the waiters that must be called on other roots' loops, which are added to
 * `away`, and of other trees. */
#ifndef DUSK_NODE_H
#define DUSK_NODE_H

#include "tree.h"

/* Fill in what all contexts have, and all nodes; `parent` gains a reference.
 * `above` is the node in whose tree this one will be. Need no lock. */
static inline void dusk__base_fill(dusk_context_t *base, int kind,
                                   dusk_context_t *parent,
                                   dusk__node_t *above) {
  atomic_init(&base->refs, 1);
  base->kind = (unsigned char)kind;
  base->owns_deadline = false;
  base->told_deadline = false;
  dusk__ref(parent);
  base->parent = parent;
  base->above = above;
}

void dusk__node_fill(dusk__node_t *node, int kind, dusk_context_t *parent,
                     dusk__node_t *above);

/* Links a new node below the one above it, or ends it if that has ended. */
void dusk__node_adopt(dusk__node_t *node);

/* Makes `node`, fresh memory, a child of `parent` with one reference. Takes
 * the lock, and releases it. Does no more than with_cancel needs. */
void dusk__node_init(dusk__node_t *node, int kind, dusk_context_t *parent);

/* Ends a live node and all below it. */
void dusk__node_end(dusk__node_t *node, int err, const dusk_cause_t *cause,
                    dusk_waiter_t **away);

/* The same for a node in the heap, because its deadline has passed. */
void dusk__timed_end(dusk__timed_t *timed, dusk_waiter_t **away);

/* The same for whichever node has the deadline that has passed for this one,
 * if it has. */
void dusk__node_end_passed(dusk__node_t *node, uint64_t now,
                           dusk_waiter_t **away);

/* Links a new node as adopt does, with a deadline of its own unless it inherits
 * an earlier one. */
void dusk__timed_adopt(dusk__timed_t *timed, uint64_t deadline_ns, uint64_t now,
                       dusk_waiter_t **away);

/* Gives a live node an own deadline, unless it is later than what the node has,
 * and tells those below. */
void dusk__timed_bring(dusk__timed_t *timed, uint64_t deadline_ns, uint64_t now,
                       dusk_waiter_t **away);

#endif
