/* getaddrinfo.c: uv_getaddrinfo under a context.
 *
 * The request and a waiter are under way together; whichever ends first calls
 * back. A request that a thread of the pool has begun can't be called off, so
 * the storage is the library's, and goes when the pool has given it back. A
 * look-up under a context that has ended already is a waiter alone. */
#include <dusk/calls.h>
#include "bridge.h"
#include "loop.h"

#include <stdlib.h>

typedef struct {
  uv_getaddrinfo_t req;
  dusk_waiter_t waiter;
  dusk_context_t *ctx; /* held, in the root's tree */
  dusk__root_t *root;
  dusk_getaddrinfo_cb cb; /* NULL once called */
  void *arg;
  bool is_queued;
} lookup_t;

/* Gives the context, to be released once the caller has been told. */
static dusk_context_t *release(lookup_t *lookup) {
  dusk_context_t *ctx = lookup->ctx;
  atomic_fetch_sub(&lookup->root->users, 1);
  free(lookup);
  return ctx;
}

static void on_resolved(uv_getaddrinfo_t *req, int status,
                        struct addrinfo *res) {
  lookup_t *lookup = dusk__container_of(req, lookup_t, req);
  dusk_getaddrinfo_cb cb = lookup->cb;
  void *arg = lookup->arg;
  dusk_waiter_stop(&lookup->waiter);
  dusk_context_t *ctx = release(lookup);
  if (cb != NULL)
    cb(status, res, arg);
  else
    uv_freeaddrinfo(res);
  dusk_context_unref(ctx);
}

static void on_end(dusk_waiter_t *waiter) {
  lookup_t *lookup = dusk__container_of(waiter, lookup_t, waiter);
  dusk_getaddrinfo_cb cb = lookup->cb;
  void *arg = lookup->arg;
  int err = dusk_context_err(lookup->ctx);
  dusk_context_t *released = NULL;
  lookup->cb = NULL;
  if (lookup->is_queued)
    (void)uv_cancel((uv_req_t *)&lookup->req); /* fails once it has begun */
  else
    released = release(lookup);
  cb(err, NULL, arg);
  dusk_context_unref(released);
}

int dusk_context_getaddrinfo(dusk_context_t *ctx, dusk_context_t *root,
                             const char *node, const char *service,
                             const struct addrinfo *hints,
                             dusk_getaddrinfo_cb cb, void *arg) {
  if (ctx == NULL || root == NULL || (node == NULL && service == NULL) ||
      cb == NULL || dusk_context_loop(root) == NULL)
    return UV_EINVAL;
  lookup_t *lookup = calloc(1, sizeof(*lookup));
  if (lookup == NULL) return UV_ENOMEM;
  int err = dusk__bridge_hold(ctx, dusk__node_of(root)->root, &lookup->ctx);
  if (err != 0) {
    free(lookup);
    return err;
  }
  lookup->root = dusk__node_of(root)->root;
  lookup->cb = cb;
  lookup->arg = arg;
  lookup->is_queued = dusk_context_err(lookup->ctx) == 0;
  dusk__loop_expect(lookup->root);
  if (lookup->is_queued) {
    err = uv_getaddrinfo(dusk_context_loop(root), &lookup->req, on_resolved,
                         node, service, hints);
    if (err != 0) {
      dusk_context_unref(lookup->ctx);
      free(lookup);
      return err;
    }
  }
  atomic_fetch_add(&lookup->root->users, 1);
  dusk_context_after(lookup->ctx, &lookup->waiter, root, on_end);
  return 0;
}
