/* read.c: one read from a stream under a context.
 *
 * libuv's read has no request: its callbacks find their owner by the stream's
 * `data`, which is the caller's. So a duplicate of the descriptor is polled
 * here, and read once; the stream itself isn't touched, and whatever becomes
 * of it meanwhile, what is called back is still there. */
#include <dusk/calls.h>
#include "bridge.h"
#include "descriptor.h"
#include "loop.h"

#include <errno.h>
#include <unistd.h>

static dusk__root_t *root_of(dusk_read_t *read) {
  return dusk__node_of(read->root)->root;
}

static dusk_context_t *release(dusk_read_t *read) {
  atomic_fetch_sub(&root_of(read)->users, 1);
  return read->ctx;
}

static void call_back(dusk_read_t *read) {
  dusk_context_t *ctx = release(read);
  read->cb(read, read->result);
  dusk_context_unref(ctx);
}

static void on_closed(uv_handle_t *poll) {
  call_back(dusk__container_of((uv_poll_t *)poll, dusk_read_t, poll));
}

static void finish(dusk_read_t *read, ssize_t result) {
  dusk_waiter_stop(&read->waiter);
  read->result = result;
  uv_close((uv_handle_t *)&read->poll, on_closed);
  close(read->fd);
}

static ssize_t read_once(dusk_read_t *reading) {
  ssize_t count;
  do
    count = read(reading->fd, reading->base, reading->size);
  while (count < 0 && errno == EINTR);
  if (count < 0) return uv_translate_sys_error(errno);
  return count > 0 ? count : UV_EOF;
}

/* An error of the poll's own only says that the descriptor has one; reading it
 * tells which. */
static void on_readable(uv_poll_t *poll, int status, int events) {
  (void)events;
  dusk_read_t *read = dusk__container_of(poll, dusk_read_t, poll);
  ssize_t count = read_once(read);
  if (count != UV_EAGAIN)
    finish(read, count);
  else if (status != 0)
    finish(read, status);
}

static void on_end(dusk_waiter_t *waiter) {
  dusk_read_t *read = dusk__container_of(waiter, dusk_read_t, waiter);
  int err = dusk_context_err(read->ctx);
  if (read->fd < 0) {
    read->result = err;
    call_back(read);
  } else if (!uv_is_closing((uv_handle_t *)&read->poll)) {
    finish(read, err);
  } else { /* by somebody else, who means the loop to end */
    close(read->fd);
    dusk_context_unref(release(read));
  }
}

/* uv_poll_init fails before there is a handle on the loop. */
static int start(dusk_read_t *read, uv_stream_t *stream) {
  int err = dusk__descriptor_dup((uv_handle_t *)stream, &read->fd);
  if (err != 0) return err;
  err = uv_poll_init(stream->loop, &read->poll, read->fd);
  if (err != 0) {
    close(read->fd);
    return err;
  }
  (void)uv_poll_start(&read->poll, UV_READABLE, on_readable); /* can't fail */
  return 0;
}

/* What comes by an IPC pipe may carry handles, which would be lost here. */
static bool can_be_read(uv_stream_t *stream) {
  return stream->type != UV_NAMED_PIPE || !((uv_pipe_t *)stream)->ipc;
}

int dusk_context_read(dusk_context_t *ctx, dusk_read_t *read,
                      dusk_context_t *root, uv_stream_t *stream, void *base,
                      size_t size, dusk_read_cb cb) {
  if (ctx == NULL || read == NULL || root == NULL || stream == NULL ||
      base == NULL || size == 0 || cb == NULL ||
      dusk_context_loop(root) == NULL ||
      stream->loop != dusk_context_loop(root))
    return UV_EINVAL;
  if (!can_be_read(stream)) return UV_ENOTSUP;
  dusk__loop_expect(dusk__node_of(root)->root);
  int err = dusk__bridge_hold(ctx, dusk__node_of(root)->root, &read->ctx);
  if (err != 0) return err;
  read->root = root;
  read->base = base;
  read->size = size;
  read->cb = cb;
  read->fd = -1;
  if (dusk_context_err(ctx) == 0) err = start(read, stream);
  if (err != 0) {
    dusk_context_unref(read->ctx);
    return err;
  }
  atomic_fetch_add(&root_of(read)->users, 1);
  dusk_context_after(read->ctx, &read->waiter, root, on_end);
  return 0;
}
