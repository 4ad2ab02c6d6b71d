/* done.c: a descriptor that tells poll(2) of a context's end.
 *
 * Two connected sockets, of which the caller polls one. Whoever ends the
 * context shuts the other one down, under the tree's lock: that makes an end of
 * file, which stays readable for ever, can't fill up or raise SIGPIPE, and
 * holds in a fork's child as well. */
#include "bridge.h"
#include "due.h"
#include "node.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct dusk_done {
  dusk_waiter_t waiter; /* names no root; under the lock of the tree */
  dusk_context_t *ctx;  /* held */
  uv_os_sock_t fds[2];  /* the caller's, and that which tells */
};

static void tell(dusk_done_t *done) {
  (void)shutdown(done->fds[1], SHUT_WR);
}

static void on_news(dusk_waiter_t *waiter) {
  if (dusk__waiter_state(waiter) == DUSK__IDLE)
    tell(dusk__container_of(waiter, dusk_done_t, waiter));
}

static void wait_for_end(dusk_done_t *done) {
  dusk__node_t *node = dusk__node_of(done->ctx);
  dusk_waiter_t *away = NULL;
  done->waiter.ctx = &node->base;
  done->waiter.cb = on_news;
  dusk__root_lock(node->root);
  dusk__node_end_passed(node, uv_hrtime(), &away);
  if (dusk__err_of(node) == 0) {
    dusk__waiters_append(&node->waiters, &done->waiter);
    dusk__waiter_set_state(&done->waiter, DUSK__WAITING);
  } else {
    tell(done);
  }
  dusk__settle(node->root, away);
}

int dusk_done_open(dusk_context_t *ctx, dusk_done_t **ret_done) {
  if (ctx == NULL || ret_done == NULL) return UV_EINVAL;
  dusk_done_t *done = calloc(1, sizeof(*done));
  if (done == NULL) return UV_ENOMEM;
  int err = uv_socketpair(SOCK_STREAM, 0, done->fds, 0, 0);
  if (err != 0) {
    free(done);
    return err;
  }
  done->ctx = dusk_context_ref(ctx);
  wait_for_end(done);
  *ret_done = done;
  return 0;
}

int dusk_done_fd(const dusk_done_t *done) {
  return done->fds[0];
}

void dusk_done_close(dusk_done_t *done) {
  if (done == NULL) return;
  dusk__node_t *node = dusk__node_of(done->ctx);
  dusk__root_lock(node->root);
  if (dusk__waiter_state(&done->waiter) == DUSK__WAITING)
    dusk__waiters_remove(&node->waiters, &done->waiter);
  dusk__root_unlock(node->root);
  close(done->fds[0]);
  close(done->fds[1]);
  dusk_context_unref(done->ctx);
  free(done);
}
