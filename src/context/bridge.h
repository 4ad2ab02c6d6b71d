/* bridge.h: contexts in one tree whose parent is in another. */
#ifndef DUSK_BRIDGE_H
#define DUSK_BRIDGE_H

#include "tree.h"

/* What dusk__settle does where the lock is not all. */
void dusk__settle_far(dusk__root_t *root, dusk_waiter_t *away);

/* Releases the lock of a tree in which something may have ended, and passes
 * the end on to where it belongs: to the waiters in `away`, which are called on
 * other roots' loops, and to other trees. */
static inline void dusk__settle(dusk__root_t *root, dusk_waiter_t *away) {
  if (away == NULL && root->crossing == 0)
    dusk__root_unlock(root);
  else
    dusk__settle_far(root, away);
}

/* Makes a bridge below `root`, which isn't the parent's. Errors: UV_ENOMEM. */
int dusk__bridge_new(dusk_context_t *parent, dusk__root_t *root,
                     dusk_context_t **ret_ctx);

/* Holds a context as one of `root`'s tree, for the loop there to serve its
 * deadline: by a reference, or from another tree by a bridge, which holds it.
 * To be given back by unref. Errors: UV_ENOMEM, for a bridge. */
int dusk__bridge_hold(dusk_context_t *ctx, dusk__root_t *root,
                      dusk_context_t **ret_ctx);

/* A bridge has been cancelled: it leaves its parent. */
void dusk__bridge_leave(dusk__bridge_t *bridge);

/* The last reference is gone. Does not release the parent. */
void dusk__bridge_free(dusk__bridge_t *bridge);

#endif
