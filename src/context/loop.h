/* loop.h: a tree's part of its loop. */
#ifndef DUSK_LOOP_H
#define DUSK_LOOP_H

#include "tree.h"

/* Opens the handles; `calls` are the root's from now on. Errors: what
 * uv_async_init tells. */
int dusk__loop_open(dusk__root_t *root, uv_loop_t *loop,
                    const dusk__calls_t *calls);

/* Closes them. Loop thread. */
void dusk__loop_close(dusk__root_t *root);

/* Sees to it that the timer fires in time for the heap's least; often does
 * nothing. Under the lock, any thread. */
void dusk__loop_arm(dusk__root_t *root);

/* Changes `keep`. The root has users. Any thread, any lock. */
void dusk__loop_keep(dusk__root_t *root, int change);

/* Has the loop look for what is due. The root has users. */
void dusk__loop_wake(dusk__root_t *root);

/* Asserts what belongs to the loop's thread; between two turns that is who
 * calls. */
void dusk__loop_expect(dusk__root_t *root);

/* Releases a hooked node on the loop's thread, at once if this is it. */
void dusk__loop_release(dusk__root_t *root, dusk__hooked_t *hooked);

/* Releases all that wait for that. Loop thread. */
void dusk__loop_release_all(dusk__root_t *root);

#endif
