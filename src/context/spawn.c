/* spawn.c: a child process under a context.
 *
 *   running --exit--> reaped, and called back
 *      |
 *      +-- context's end: stop signal --> grace --+-- exit --> reaped
 *                                                 |
 *                                      its end: SIGKILL --> exit --> reaped
 *
 * libuv's handle is a block of its own: it has to be closed, which takes a
 * turn, even when the program could not be started. */
#include <dusk/calls.h>
#include "bridge.h"
#include "handles.h"
#include "loop.h"

#include <signal.h>
#include <stdlib.h>

#define MS 1000000ULL /* in nanoseconds */

typedef struct {
  uv_process_t process; /* first, see give_up */
  dusk_spawn_t *spawn;
  dusk__root_t *root;
} block_t;

static dusk__root_t *root_of(dusk_spawn_t *spawn) {
  return dusk__node_of(spawn->root)->root;
}

/* -- The handle ----------------------------------------------------------- */

static void on_closed(uv_handle_t *process) {
  block_t *block =
      dusk__container_of((uv_process_t *)process, block_t, process);
  dusk__root_t *root = block->root;
  free(block);
  dusk__handle_closed(root);
}

static void close_block(block_t *block) {
  dusk__handle_opened(block->root);
  uv_close((uv_handle_t *)&block->process, on_closed);
}

/* -- The end -------------------------------------------------------------- */

static void release(dusk_spawn_t *spawn) {
  spawn->pid = 0;
  atomic_fetch_sub(&root_of(spawn)->users, 1);
}

static void finish(dusk_spawn_t *spawn, int64_t exit_status, int signum) {
  dusk_context_t *ctx = spawn->ctx, *grace = spawn->grace;
  release(spawn);
  spawn->cb(spawn, spawn->err, exit_status, signum);
  dusk_context_unref(ctx);
  dusk_context_unref(grace);
}

static void on_exited(uv_process_t *process, int64_t exit_status, int signum) {
  block_t *block = dusk__container_of(process, block_t, process);
  dusk_spawn_t *spawn = block->spawn;
  dusk_waiter_stop(&spawn->waiter);
  close_block(block);
  finish(spawn, exit_status, signum);
}

/* Somebody else has closed the handle, and so means the loop to end; libuv will
 * not tell of the child's end any more. */
static void give_up(dusk_spawn_t *spawn) {
  block_t *block = spawn->block;
  dusk__handle_opened(block->root);
  dusk__handle_strayed(block->root, (uv_handle_t *)&block->process);
  release(spawn);
  dusk_context_unref(spawn->ctx);
  dusk_context_unref(spawn->grace);
}

/* Fails for a child that has become another user; then it ends as it likes. */
static bool send_signal(dusk_spawn_t *spawn, int signum) {
  block_t *block = spawn->block;
  return uv_process_kill(&block->process, signum) == 0;
}

static bool is_lost(dusk_spawn_t *spawn) {
  block_t *block = spawn->block;
  return uv_is_closing((uv_handle_t *)&block->process);
}

static void on_grace_over(dusk_waiter_t *waiter) {
  dusk_spawn_t *spawn = dusk__container_of(waiter, dusk_spawn_t, waiter);
  if (is_lost(spawn))
    give_up(spawn);
  else
    (void)send_signal(spawn, SIGKILL);
}

static void stop(dusk_spawn_t *spawn) {
  uint64_t now = uv_hrtime();
  if (send_signal(spawn, spawn->stop_signal))
    spawn->err = dusk_context_err(spawn->ctx);
  if (spawn->grace_ms >= (DUSK_OFF - now) / MS) return;
  (void)dusk_context_bring_forward(spawn->grace, now + spawn->grace_ms * MS);
  dusk_context_after(spawn->grace, &spawn->waiter, spawn->root, on_grace_over);
}

static void on_end(dusk_waiter_t *waiter) {
  dusk_spawn_t *spawn = dusk__container_of(waiter, dusk_spawn_t, waiter);
  if (spawn->block == NULL) {
    spawn->err = dusk_context_err(spawn->ctx);
    finish(spawn, 0, 0);
  } else if (is_lost(spawn)) {
    give_up(spawn);
  } else {
    stop(spawn);
  }
}

/* -- The start ------------------------------------------------------------ */

static int start(dusk_spawn_t *spawn, const uv_process_options_t *options) {
  uv_process_options_t own = *options;
  block_t *block = calloc(1, sizeof(*block));
  if (block == NULL) return UV_ENOMEM;
  block->spawn = spawn;
  block->root = root_of(spawn);
  own.exit_cb = on_exited;
  int err = uv_spawn(dusk_context_loop(spawn->root), &block->process, &own);
  if (err != 0) {
    close_block(block);
    return err;
  }
  spawn->block = block;
  spawn->pid = block->process.pid;
  return 0;
}

/* So that nothing can fail when the child is to end. */
static int hold(dusk_spawn_t *spawn, dusk_context_t *ctx) {
  dusk__root_t *root = root_of(spawn);
  int err = dusk_context_with_deadline(&root->node.base, DUSK_OFF, NULL,
                                       &spawn->grace);
  if (err != 0) return err;
  err = dusk__bridge_hold(ctx, root, &spawn->ctx);
  if (err != 0) dusk_context_unref(spawn->grace);
  return err;
}

static bool is_signal(int signum) {
  return signum >= 0 && signum < NSIG;
}

int dusk_context_spawn(dusk_context_t *ctx, dusk_spawn_t *spawn,
                       dusk_context_t *root,
                       const uv_process_options_t *options, int stop_signal,
                       uint64_t grace_ms, dusk_spawn_cb cb) {
  if (ctx == NULL || spawn == NULL || root == NULL || options == NULL ||
      options->file == NULL || options->args == NULL ||
      options->exit_cb != NULL || !is_signal(stop_signal) || cb == NULL ||
      dusk_context_loop(root) == NULL)
    return UV_EINVAL;
  dusk__loop_expect(dusk__node_of(root)->root);
  spawn->root = root;
  spawn->cb = cb;
  spawn->stop_signal = stop_signal != 0 ? stop_signal : SIGTERM;
  spawn->grace_ms = grace_ms;
  spawn->err = 0;
  spawn->pid = 0;
  spawn->block = NULL;
  int err = hold(spawn, ctx);
  if (err != 0) return err;
  if (dusk_context_err(ctx) == 0) err = start(spawn, options);
  if (err != 0) {
    dusk_context_unref(spawn->ctx);
    dusk_context_unref(spawn->grace);
    return err;
  }
  atomic_fetch_add(&root_of(spawn)->users, 1);
  dusk_context_after(spawn->ctx, &spawn->waiter, root, on_end);
  return 0;
}
