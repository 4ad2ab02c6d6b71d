/* waiter.c: registering, stopping and calling waiters, and threads that wait.
 * The states and locks of a waiter: due.h. */
#include "waiter.h"
#include "bridge.h"
#include "due.h"
#include "loop.h"
#include "node.h"

#include <assert.h>
#include <sched.h>

#define MS 1000000ULL /* in nanoseconds */

static void name(dusk_waiter_t *waiter, dusk_context_t *ctx, dusk__root_t *root,
                 dusk_waiter_cb cb) {
  waiter->cb = cb;
  __atomic_store_n(&waiter->ctx, ctx, __ATOMIC_RELAXED);
  __atomic_store_n(&waiter->root, &root->node.base, __ATOMIC_RELAXED);
}

static void count(dusk__node_t *node, dusk__root_t *named, int change) {
  atomic_fetch_add(&named->users, (unsigned)change);
  if (node != NULL && node->root != named)
    atomic_fetch_add(&node->root->users, (unsigned)change);
}

void dusk_context_after(dusk_context_t *ctx, dusk_waiter_t *waiter,
                        dusk_context_t *root, dusk_waiter_cb cb) {
  assert(ctx != NULL && waiter != NULL && root != NULL && cb != NULL);
  bool is_registered = dusk__waiter_is_registered(waiter);
  assert(!is_registered && "a waiter was registered that is registered");
  if (is_registered) return;
  dusk__node_t *node = dusk__node_of(ctx);
  dusk__root_t *named = dusk__node_of(root)->root;
  assert(atomic_load(&named->loop) != NULL);
  bool elsewhere = named != node->root;
  dusk_waiter_t *away = NULL;
  name(waiter, &node->base, named, cb);
  waiter->is_ref = false;
  count(node, named, 1);

  dusk__root_lock(node->root);
  /* Without a loop its deadlines pass when somebody asks. */
  if (atomic_load(&node->root->loop) == NULL &&
      dusk__deadline_of(node) != DUSK_OFF)
    dusk__node_end_passed(node, uv_hrtime(), &away);
  bool ended = dusk__err_of(node) != 0;
  if (!ended) {
    dusk__waiters_append(&node->waiters, waiter);
    dusk__waiter_set_state(waiter, DUSK__WAITING);
  }
  if (ended)
    dusk__loop_keep(named, 1);
  else if (dusk__node_keeps(node))
    dusk__node_keep(node, named, 1);
  if (ended) {
    dusk__ref(&node->base);
    if (!elsewhere) dusk__waiter_due(waiter);
  }
  dusk__settle(node->root, away);

  if (ended && elsewhere) {
    dusk__root_lock(named);
    dusk__waiter_due(waiter);
    dusk__root_unlock(named);
  }
}

void dusk__waiter_post(dusk_waiter_t *waiter, dusk__root_t *root,
                       dusk_waiter_cb cb) {
  name(waiter, NULL, root, cb);
  waiter->is_ref = false;
  count(NULL, root, 1);
  dusk__loop_keep(root, 1);
  dusk__root_lock(root);
  dusk__waiter_due(waiter);
  dusk__root_unlock(root);
}

/* The waiter is in no list any more: the caller's again. */
static void let_go(dusk_waiter_t *waiter) {
  if (waiter->is_ref) {
    dusk__loop_keep(dusk__waiter_root(waiter), -1);
    waiter->is_ref = false;
  }
  count(dusk__waiter_node(waiter), dusk__waiter_root(waiter), -1);
}

static bool stop_waiting(dusk_waiter_t *waiter) {
  dusk__node_t *node = dusk__waiter_node(waiter);
  dusk__root_lock(node->root);
  bool found = dusk__waiter_state(waiter) == DUSK__WAITING &&
               dusk__waiter_node(waiter) == node;
  if (found) {
    dusk__waiters_remove(&node->waiters, waiter);
    if (dusk__node_keeps(node))
      dusk__node_keep(node, dusk__waiter_root(waiter), -1);
    let_go(waiter);
    dusk__waiter_set_state(waiter, DUSK__IDLE);
  }
  dusk__root_unlock(node->root);
  return found;
}

static bool stop_due(dusk_waiter_t *waiter) {
  dusk__root_t *root = dusk__waiter_root(waiter);
  dusk_context_t *held = NULL;
  dusk__root_lock(root);
  int state = dusk__waiter_state(waiter);
  bool found = (state == DUSK__DUE || state == DUSK__RUNNING) &&
               dusk__waiter_root(waiter) == root;
  if (found) {
    held = waiter->ctx;
    dusk__waiters_remove(state == DUSK__DUE ? &root->due : &root->running,
                         waiter);
    dusk__loop_keep(root, -1);
    let_go(waiter);
    dusk__waiter_set_state(waiter, DUSK__IDLE);
  }
  dusk__root_unlock(root);
  if (found) dusk_context_unref(held);
  return found;
}

bool dusk_waiter_stop(dusk_waiter_t *waiter) {
  for (;;) {
    switch (dusk__waiter_state(waiter)) {
    case DUSK__IDLE:
      return false;
    case DUSK__WAITING:
      if (stop_waiting(waiter)) return true;
      break;
    case DUSK__AWAY:
      sched_yield();
      break;
    default:
      if (stop_due(waiter)) return true;
    }
  }
}

/* -- Keeping uv_run going ------------------------------------------------- */

/* One more count of the root that is named, whatever else keeps it. */
static void set_ref(dusk_waiter_t *waiter, bool is_ref) {
  if (dusk__waiter_state(waiter) == DUSK__IDLE || waiter->is_ref == is_ref)
    return;
  dusk__loop_expect(dusk__waiter_root(waiter));
  waiter->is_ref = is_ref;
  dusk__loop_keep(dusk__waiter_root(waiter), is_ref ? 1 : -1);
}

void dusk_waiter_ref(dusk_waiter_t *waiter) {
  set_ref(waiter, true);
}

void dusk_waiter_unref(dusk_waiter_t *waiter) {
  set_ref(waiter, false);
}

bool dusk_waiter_has_ref(const dusk_waiter_t *waiter) {
  return dusk__waiter_state(waiter) != DUSK__IDLE && waiter->is_ref;
}

/* -- A turn --------------------------------------------------------------- */

/* Moves what is due aside, so that what becomes due meanwhile waits for the
 * next turn. */
static void begin_run(dusk__root_t *root) {
  root->running = root->due;
  root->due = NULL;
  dusk_waiter_t *waiter = root->running;
  if (waiter == NULL) return;
  do {
    dusk__waiter_set_state(waiter, DUSK__RUNNING);
    waiter = waiter->next;
  } while (waiter != root->running);
}

void dusk__waiters_run(dusk__root_t *root) {
  dusk__root_lock(root);
  if (root->running == NULL) begin_run(root);
  while (root->running != NULL) {
    dusk_waiter_t *waiter = root->running;
    dusk_waiter_cb cb = waiter->cb;
    dusk_context_t *held = waiter->ctx;
    dusk__waiters_remove(&root->running, waiter);
    dusk__loop_keep(root, -1);
    let_go(waiter);
    dusk__waiter_set_state(waiter, DUSK__IDLE);
    dusk__root_unlock(root);
    cb(waiter);
    dusk_context_unref(held);
    dusk__root_lock(root);
  }
  dusk__root_unlock(root);
}

/* -- Threads that wait ---------------------------------------------------- */

typedef struct {
  dusk_waiter_t waiter; /* names no root */
  uv_cond_t cond;       /* with the lock of the context's tree */
} blocked_t;

static void on_news(dusk_waiter_t *waiter) {
  uv_cond_signal(&dusk__container_of(waiter, blocked_t, waiter)->cond);
}

/* Until the context ends, `until` has come, or its deadline may have changed.
 * Under the lock. */
static void block(blocked_t *blocked, dusk__node_t *node, uint64_t now,
                  uint64_t until) {
  uint64_t deadline = dusk__deadline_of(node);
  uint64_t wake = deadline < until ? deadline : until;
  /* Not more than uv_cond_timedwait can add to the time. */
  uint64_t left = wake - now < INT64_MAX ? wake - now : INT64_MAX;
  uv_cond_timedwait(&blocked->cond, &node->root->lock, left);
}

int dusk_context_wait(dusk_context_t *ctx, uint64_t timeout_ms) {
  if (ctx == NULL) return UV_EINVAL;
  dusk__node_t *node = dusk__node_of(ctx);
  dusk_waiter_t *away = NULL;
  blocked_t blocked = {.waiter = {.ctx = &node->base, .cb = on_news}};
  int err = uv_cond_init(&blocked.cond);
  if (err != 0) return err;
  uint64_t now = uv_hrtime();
  uint64_t until =
      timeout_ms < (DUSK_OFF - now) / MS ? now + timeout_ms * MS : DUSK_OFF;

  dusk__root_lock(node->root);
  if (dusk__err_of(node) == 0) {
    dusk__waiters_append(&node->waiters, &blocked.waiter);
    dusk__waiter_set_state(&blocked.waiter, DUSK__WAITING);
  }
  while (dusk__waiter_state(&blocked.waiter) == DUSK__WAITING) {
    dusk__node_end_passed(node, now, &away);
    if (dusk__err_of(node) != 0) break;
    if (now >= until) {
      dusk__waiters_remove(&node->waiters, &blocked.waiter);
      break;
    }
    block(&blocked, node, now, until);
    now = uv_hrtime();
  }
  bool ended = dusk__err_of(node) != 0;
  dusk__settle(node->root, away);
  uv_cond_destroy(&blocked.cond);
  return ended ? dusk__waiters_handed_over(node) : 0;
}
