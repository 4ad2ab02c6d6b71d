/* handles.h: what a root has open on its loop. Loop thread, all of it. */
#ifndef DUSK_HANDLES_H
#define DUSK_HANDLES_H

#include "tree.h"

/* One more has been opened; has been closed. When the last one has, the root
 * is detached. */
void dusk__handle_opened(dusk__root_t *root);
void dusk__handle_closed(dusk__root_t *root);

/* A handle was found to be closed by somebody else. `handle` is NULL, or begins
 * the allocation that is to be freed when libuv has let go of it. */
void dusk__handle_strayed(dusk__root_t *root, uv_handle_t *handle);

/* Counts those that were found as closed once that is sure, on the loop. */
void dusk__handles_see_off(dusk__root_t *root, uv_loop_t *loop);

#endif
