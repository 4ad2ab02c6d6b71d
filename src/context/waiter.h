/* waiter.h: what a loop calls, or a thread waits for. */
#ifndef DUSK_WAITER_H
#define DUSK_WAITER_H

#include "tree.h"

/* Has `cb` called in the next turn of the root's loop, without a context.
 * dusk_waiter_stop works as ever. Takes the lock. */
void dusk__waiter_post(dusk_waiter_t *waiter, dusk__root_t *root,
                       dusk_waiter_cb cb);

/* Calls what was due when it was called. Loop thread. */
void dusk__waiters_run(dusk__root_t *root);

#endif
