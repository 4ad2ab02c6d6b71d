/* write.c: uv_write under a context.
 *
 * libuv can't take a write back; it holds on to the request until all is
 * written, has failed, or the stream is closed. So the request is a block of
 * its own, which outlives the call if the context ends that. A write under a
 * context that has ended already is a waiter alone. */
#include <dusk/calls.h>
#include "bridge.h"
#include "loop.h"

#include <stdlib.h>

typedef struct {
  uv_write_t req;
  dusk_write_t *write; /* NULL once called back */
} block_t;

static dusk__root_t *root_of(dusk_write_t *write) {
  return dusk__node_of(write->root)->root;
}

static void finish(dusk_write_t *write, int err) {
  dusk_context_t *ctx = write->ctx;
  atomic_fetch_sub(&root_of(write)->users, 1);
  write->cb(write, err);
  dusk_context_unref(ctx);
}

static void on_written(uv_write_t *req, int status) {
  block_t *block = dusk__container_of(req, block_t, req);
  dusk_write_t *write = block->write;
  free(block);
  if (write == NULL) return;
  dusk_waiter_stop(&write->waiter);
  finish(write, status);
}

static void on_end(dusk_waiter_t *waiter) {
  dusk_write_t *write = dusk__container_of(waiter, dusk_write_t, waiter);
  block_t *block = write->block;
  if (block != NULL) {
    /* All may have been written by now: on_written comes, then. */
    if (uv_stream_get_write_queue_size(block->req.handle) == 0) return;
    block->write = NULL;
  }
  finish(write, dusk_context_err(write->ctx));
}

static int start(dusk_write_t *write, uv_stream_t *stream, const uv_buf_t *bufs,
                 unsigned count) {
  block_t *block = malloc(sizeof(*block));
  if (block == NULL) return UV_ENOMEM;
  block->write = write;
  int err = uv_write(&block->req, stream, bufs, count, on_written);
  if (err != 0) {
    free(block);
    return err;
  }
  write->block = block;
  return 0;
}

int dusk_context_write(dusk_context_t *ctx, dusk_write_t *write,
                       dusk_context_t *root, uv_stream_t *stream,
                       const uv_buf_t *bufs, unsigned count, dusk_write_cb cb) {
  if (ctx == NULL || write == NULL || root == NULL || stream == NULL ||
      bufs == NULL || count == 0 || cb == NULL ||
      dusk_context_loop(root) == NULL ||
      stream->loop != dusk_context_loop(root))
    return UV_EINVAL;
  dusk__loop_expect(dusk__node_of(root)->root);
  int err = dusk__bridge_hold(ctx, dusk__node_of(root)->root, &write->ctx);
  if (err != 0) return err;
  write->root = root;
  write->cb = cb;
  write->block = NULL;
  if (dusk_context_err(ctx) == 0) err = start(write, stream, bufs, count);
  if (err != 0) {
    dusk_context_unref(write->ctx);
    return err;
  }
  atomic_fetch_add(&root_of(write)->users, 1);
  dusk_context_after(write->ctx, &write->waiter, root, on_end);
  return 0;
}
