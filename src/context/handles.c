/* handles.c: what a root has open on its loop; it is detached when the last
 * one is closed.
 *
 * Strays are those that somebody else has closed, as a uv_walk over the whole
 * loop does. libuv tells nobody when it lets go of such a handle, and until
 * then its memory must stay. But a turn of the loop closes all that was given
 * up before it, in whatever order; so they are gone when a handle that was
 * given up after them has been closed, and then once more. */
#include "handles.h"

#include <stdlib.h>

void dusk__handle_opened(dusk__root_t *root) {
  root->handles++;
}

void dusk__handle_closed(dusk__root_t *root) {
  if (--root->handles > 0) return;
  dusk_detach_cb cb = root->detach_cb;
  void *arg = root->detach_arg;
  dusk__root_unref(root);
  if (cb != NULL) cb(arg);
}

/* -- Strays --------------------------------------------------------------- */

void dusk__handle_strayed(dusk__root_t *root, uv_handle_t *handle) {
  root->strays++;
  if (handle == NULL) return;
  handle->data = root->strayed;
  root->strayed = handle;
}

static void on_last_gone(uv_handle_t *last) {
  dusk__root_t *root = last->data;
  root->handles -= root->strays;
  while (root->strayed != NULL) {
    uv_handle_t *handle = root->strayed;
    root->strayed = handle->data;
    free(handle);
  }
  dusk__handle_closed(root);
}

static void close_last(dusk__root_t *root, uv_loop_t *loop, uv_close_cb cb) {
  (void)uv_idle_init(loop, &root->last); /* can't fail */
  root->last.data = root;
  uv_close((uv_handle_t *)&root->last, cb);
}

static void on_last_closed(uv_handle_t *last) {
  close_last(last->data, last->loop, on_last_gone);
}

void dusk__handles_see_off(dusk__root_t *root, uv_loop_t *loop) {
  if (root->strays == 0) return;
  dusk__handle_opened(root);
  close_last(root, loop, on_last_closed);
}
