/* bridge.c: contexts in one tree whose parent is in another.
 *
 * A bridge is a node below its own root; the inlet, its place below the parent,
 * is an ordinary node of the parent's tree. When a walk there ends an inlet, or
 * brings its deadline forward, it leaves a note with its own root, for no
 * thread holds the locks of two trees. Once the lock is released, the bridge is
 * told under the lock of its tree, where that may leave further notes. Nothing
 * goes the other way, but that a cancelled or released bridge takes its inlet
 * out.
 *
 * Whoever cancels finds all below ended on return, whoever's note it was that
 * stood on the way. So notes are carried by one thread at a time, until there
 * are none behind any tree that it came through, and who cancels takes a turn
 * as long as its tree may have some under way. That is one lock in the whole
 * process: trees may be bridged in circles, and then have no order. It is not
 * for trees without inlets. A bridge is freed under it, so that whoever carries
 * finds it there, and with it the roots on both sides. */
#include "bridge.h"
#include "due.h"
#include "node.h"

#include <pthread.h>
#include <stdlib.h>

static pthread_mutex_t carrying = PTHREAD_MUTEX_INITIALIZER;

/* Takes a note off, or this one if it is there. Under the lock. */
static dusk__bridge_t *take_changed(dusk__root_t *root,
                                    dusk__bridge_t *bridge) {
  dusk__bridge_t **at = &root->changed;
  while (bridge != NULL && *at != bridge)
    at = &(*at)->next;
  bridge = *at;
  if (bridge == NULL) return NULL;
  *at = bridge->next;
  bridge->is_changed = false;
  return bridge;
}

/* What a bridge has to know of its parent. */
typedef struct {
  int err;
  const dusk_cause_t *cause; /* of the end, or for that by the deadline */
  uint64_t deadline_ns;
} news_t;

/* Under the lock of the inlet's tree. */
static news_t news_of(dusk__node_t *inlet) {
  return (news_t){dusk__err_of(inlet), inlet->cause, dusk__deadline_of(inlet)};
}

static void tell(dusk__bridge_t *bridge, news_t news) {
  dusk__node_t *node = &bridge->timed.node;
  dusk_waiter_t *away = NULL;
  dusk__root_lock(node->root);
  if (dusk__err_of(node) == 0 && news.err != 0) {
    dusk__node_end(node, news.err, news.cause, &away);
  } else if (dusk__err_of(node) == 0 &&
             news.deadline_ns < dusk__deadline_of(node)) {
    bridge->timed.cause = news.cause;
    dusk__timed_bring(&bridge->timed, news.deadline_ns, uv_hrtime(), &away);
  }
  dusk__root_unlock(node->root);
  dusk__waiters_send(away);
}

/* Tells one bridge below `root`, if one is to be told. */
static dusk__bridge_t *carry_one(dusk__root_t *root) {
  dusk__root_lock(root);
  dusk__bridge_t *bridge = take_changed(root, NULL);
  news_t news = {0};
  if (bridge != NULL) {
    news = news_of(&bridge->inlet);
    root->carried++;
  }
  dusk__root_unlock(root);
  if (bridge != NULL) tell(bridge, news);
  return bridge;
}

static void add_crossed(dusk__root_t *root, dusk__root_t **crossed) {
  if (root->is_crossed) return;
  root->is_crossed = true;
  root->next_crossed = *crossed;
  *crossed = root;
}

/* Until no tree that it comes through has a note left; all of them. */
static dusk__root_t *carry_all(dusk__root_t *root) {
  dusk__root_t *crossed = NULL;
  add_crossed(root, &crossed);
  for (bool again = true; again;) {
    again = false;
    for (root = crossed; root != NULL; root = root->next_crossed) {
      dusk__bridge_t *told;
      while ((told = carry_one(root)) != NULL) {
        add_crossed(told->timed.node.root, &crossed);
        again = true;
      }
    }
  }
  return crossed;
}

/* Tells all bridges below `root`, through all trees, what has changed; when it
 * returns, that is so, whoever changed it. No lock held. */
static void cross(dusk__root_t *root) {
  pthread_mutex_lock(&carrying);
  dusk__root_t *crossed = carry_all(root);
  while (crossed != NULL) {
    root = crossed;
    crossed = root->next_crossed;
    dusk__root_lock(root);
    root->crossing -= root->carried;
    dusk__root_unlock(root);
    root->carried = 0;
    root->is_crossed = false;
  }
  pthread_mutex_unlock(&carrying);
}

void dusk__settle_far(dusk__root_t *root, dusk_waiter_t *away) {
  bool crosses = root->crossing > 0;
  /* A released node may go, and the tree with it, once its waiters' loop has
   * the lock. */
  if (crosses) dusk__ref(&root->node.base);
  dusk__root_unlock(root);
  if (away != NULL) dusk__waiters_send(away);
  if (crosses) {
    cross(root);
    dusk__root_unref(root);
  }
}

/* -- A bridge's life ------------------------------------------------------ */

int dusk__bridge_new(dusk_context_t *parent, dusk__root_t *root,
                     dusk_context_t **ret_ctx) {
  dusk__node_t *above = dusk__node_of(parent);
  dusk__bridge_t *bridge = calloc(1, sizeof(*bridge));
  if (bridge == NULL) return UV_ENOMEM;

  /* First the bridge, so that nobody tells one that isn't there yet. */
  dusk__node_t *node = &bridge->timed.node;
  dusk__ref(&root->node.base);
  dusk__node_fill(node, DUSK__BRIDGE, parent, &root->node);
  dusk__root_lock(root);
  dusk__node_adopt(node);
  dusk__root_unlock(root);

  dusk__node_t *inlet = &bridge->inlet;
  inlet->base.kind = DUSK__INLET;
  inlet->base.above = above;
  inlet->root = above->root;
  dusk__node_born(inlet);
  dusk__root_lock(inlet->root);
  dusk__node_adopt(inlet);
  news_t news = news_of(inlet);
  dusk__root_unlock(inlet->root);

  tell(bridge, news);
  *ret_ctx = &node->base;
  return 0;
}

int dusk__bridge_hold(dusk_context_t *ctx, dusk__root_t *root,
                      dusk_context_t **ret_ctx) {
  if (dusk__node_of(ctx)->root != root)
    return dusk__bridge_new(ctx, root, ret_ctx);
  dusk__ref(ctx);
  *ret_ctx = ctx;
  return 0;
}

/* Under the lock of the inlet's tree. */
static void take_inlet_out(dusk__node_t *inlet) {
  dusk_waiter_t *none = NULL;
  if (dusk__err_of(inlet) == 0)
    dusk__node_end(inlet, UV_ECANCELED, &dusk_canceled, &none);
}

void dusk__bridge_leave(dusk__bridge_t *bridge) {
  dusk__root_t *root = bridge->inlet.root;
  dusk__root_lock(root);
  take_inlet_out(&bridge->inlet);
  dusk__settle(root, NULL);
}

void dusk__bridge_free(dusk__bridge_t *bridge) {
  dusk__root_t *root = bridge->inlet.root;
  pthread_mutex_lock(&carrying);
  dusk__root_lock(root);
  take_inlet_out(&bridge->inlet);
  if (bridge->is_changed) {
    take_changed(root, bridge);
    root->crossing--;
  }
  dusk__root_unlock(root);
  pthread_mutex_unlock(&carrying);
  root = bridge->timed.node.root;
  free(bridge);
  dusk__root_unref(root);
}
