/* waiter.c: what is called when a context has ended, or wakes up then.
 *
 *   idle --after--> waiting --end--> due --> running --> idle, and called
 *                      |               |
 *                      |               +-- from another tree: away --> due
 *                      +-- stop, from any of these --> idle
 *
 * A waiting one is in its node's list, under the lock of the node's tree; a
 * due or running one is in a list of the root it names, under that root's
 * lock. Between two trees it is away for a moment, in no lock's hands: the
 * thread that ended the context is about to hand it over, and stop waits for
 * that. From the end on it holds a reference of the node. */
#include "tree.h"

#include <assert.h>
#include <sched.h>

#define MS 1000000ULL /* in nanoseconds */

enum { IDLE, WAITING, AWAY, DUE, RUNNING };

static int state_of(const dusk_waiter_t *waiter) {
  return __atomic_load_n(&waiter->state, __ATOMIC_ACQUIRE);
}

static void set_state(dusk_waiter_t *waiter, int state) {
  __atomic_store_n(&waiter->state, state, __ATOMIC_RELEASE);
}

/* A thread that waits in dusk_context_wait: a waiter that names no root. */
typedef struct {
  dusk_waiter_t waiter;
  uv_cond_t cond; /* with the lock of the context's tree */
} blocked_t;

static void wake_blocked(dusk_waiter_t *waiter) {
  uv_cond_signal(&dusk__container_of(waiter, blocked_t, waiter)->cond);
}

/* What stop reads without a lock, to learn which one to take: meanwhile the
 * callback may register the waiter anew, elsewhere. */
static dusk_context_t *ctx_of(dusk_waiter_t *waiter) {
  return __atomic_load_n(&waiter->ctx, __ATOMIC_RELAXED);
}

static dusk__root_t *root_of(dusk_waiter_t *waiter) {
  return (dusk__root_t *)__atomic_load_n(&waiter->root, __ATOMIC_RELAXED);
}

static void name(dusk_waiter_t *waiter, dusk_context_t *ctx, dusk__root_t *root,
                 dusk_waiter_cb cb) {
  waiter->cb = cb;
  __atomic_store_n(&waiter->ctx, ctx, __ATOMIC_RELAXED);
  __atomic_store_n(&waiter->root, &root->node.base, __ATOMIC_RELAXED);
}

/* Whether a waiter of this node keeps loops going: if it will be called without
 * anybody's doing. */
static bool keeps(dusk__node_t *node) {
  return dusk__deadline_of(node) != DUSK_OFF &&
         atomic_load(&node->root->loop) != NULL;
}

/* A waiter needs the loop that it names and, until the end, that of its
 * context's tree, for the deadline. */
static void keep(dusk__node_t *node, dusk__root_t *named, int change) {
  dusk__root_keep(named, change);
  if (node->root != named) dusk__root_keep(node->root, change);
}

static void count(dusk__node_t *node, dusk__root_t *named, int change) {
  atomic_fetch_add(&named->users, (unsigned)change);
  if (node != NULL && node->root != named)
    atomic_fetch_add(&node->root->users, (unsigned)change);
}

static void append(dusk_waiter_t **list, dusk_waiter_t *waiter) {
  dusk_waiter_t *first = *list;
  if (first == NULL) {
    *list = waiter->next = waiter->prev = waiter;
    return;
  }
  waiter->next = first;
  waiter->prev = first->prev;
  first->prev->next = waiter;
  first->prev = waiter;
}

static void take_out(dusk_waiter_t **list, dusk_waiter_t *waiter) {
  if (*list == waiter) *list = waiter->next != waiter ? waiter->next : NULL;
  waiter->prev->next = waiter->next;
  waiter->next->prev = waiter->prev;
}

/* Under the lock of the root that the waiter names. */
static void make_due(dusk_waiter_t *waiter) {
  dusk__root_t *root = root_of(waiter);
  bool first = root->due == NULL;
  append(&root->due, waiter);
  set_state(waiter, DUE);
  if (first) dusk__root_wake(root);
}

void dusk_context_after(dusk_context_t *ctx, dusk_waiter_t *waiter,
                        dusk_context_t *root, dusk_waiter_cb cb) {
  assert(ctx != NULL && waiter != NULL && root != NULL && cb != NULL);
  assert(dusk_context_loop(root) != NULL);
  dusk__node_t *node = dusk__node_of(ctx);
  dusk__root_t *named = dusk__node_of(root)->root;
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
    append(&node->waiters, waiter);
    set_state(waiter, WAITING);
  }
  if (ended)
    dusk__root_keep(named, 1);
  else if (keeps(node))
    keep(node, named, 1);
  if (ended) {
    dusk_context_ref(&node->base);
    if (!elsewhere) make_due(waiter);
  }
  dusk__settle(node->root, away);

  if (ended && elsewhere) {
    dusk__root_lock(named);
    make_due(waiter);
    dusk__root_unlock(named);
  }
}

void dusk__waiter_post(dusk_waiter_t *waiter, dusk__root_t *root,
                       dusk_waiter_cb cb) {
  name(waiter, NULL, root, cb);
  waiter->is_ref = false;
  count(NULL, root, 1);
  dusk__root_keep(root, 1);
  dusk__root_lock(root);
  make_due(waiter);
  dusk__root_unlock(root);
}

bool dusk__waiters_due(dusk__node_t *node, dusk_waiter_t **away) {
  bool kept = keeps(node), hands_over = false;
  while (node->waiters != NULL) {
    dusk_waiter_t *waiter = node->waiters;
    take_out(&node->waiters, waiter);
    if (root_of(waiter) == NULL) {
      set_state(waiter, IDLE);
      wake_blocked(waiter);
      continue;
    }
    dusk_context_ref(&node->base);
    if (!kept) dusk__root_keep(root_of(waiter), 1);
    if (root_of(waiter) == node->root) {
      make_due(waiter);
    } else {
      if (kept) dusk__root_keep(node->root, -1);
      append(away, waiter);
      set_state(waiter, AWAY);
      hands_over = true;
    }
  }
  return hands_over;
}

void dusk__waiters_told(dusk__node_t *node, bool is_first) {
  bool served = is_first && atomic_load(&node->root->loop) != NULL;
  dusk_waiter_t *waiter = node->waiters;
  if (waiter == NULL) return;
  do {
    if (root_of(waiter) == NULL)
      wake_blocked(waiter);
    else if (served)
      keep(node, root_of(waiter), 1);
    waiter = waiter->next;
  } while (waiter != node->waiters);
}

void dusk__waiters_send(dusk_waiter_t *away) {
  while (away != NULL) {
    dusk_waiter_t *waiter = away;
    /* Not through the waiter: once due, and unlocked, it may be gone, and what
     * it holds with it. */
    dusk__root_t *root = root_of(waiter);
    dusk__node_t *node = (dusk__node_t *)ctx_of(waiter);
    take_out(&away, waiter);
    dusk__root_lock(root);
    make_due(waiter);
    if (away == NULL || ctx_of(away) != &node->base)
      atomic_store_explicit(&node->err, dusk__err_of(node),
                            memory_order_release);
    dusk__root_unlock(root);
  }
}

int dusk__waiters_handed_over(dusk__node_t *node) {
  int err;
  while ((err = atomic_load_explicit(&node->err, memory_order_acquire)) > 0)
    sched_yield();
  return err;
}

/* The waiter is in no list any more: the caller's again. */
static void let_go(dusk_waiter_t *waiter) {
  if (waiter->is_ref) {
    dusk__root_keep(root_of(waiter), -1);
    waiter->is_ref = false;
  }
  count((dusk__node_t *)ctx_of(waiter), root_of(waiter), -1);
}

static bool stop_waiting(dusk_waiter_t *waiter) {
  dusk__node_t *node = (dusk__node_t *)ctx_of(waiter);
  dusk__root_lock(node->root);
  bool found = state_of(waiter) == WAITING && ctx_of(waiter) == &node->base;
  if (found) {
    take_out(&node->waiters, waiter);
    if (keeps(node)) keep(node, root_of(waiter), -1);
    let_go(waiter);
    set_state(waiter, IDLE);
  }
  dusk__root_unlock(node->root);
  return found;
}

static bool stop_due(dusk_waiter_t *waiter) {
  dusk__root_t *root = root_of(waiter);
  dusk_context_t *held = NULL;
  dusk__root_lock(root);
  int state = state_of(waiter);
  bool found = (state == DUE || state == RUNNING) && root_of(waiter) == root;
  if (found) {
    held = waiter->ctx;
    take_out(state == DUE ? &root->due : &root->running, waiter);
    dusk__root_keep(root, -1);
    let_go(waiter);
    set_state(waiter, IDLE);
  }
  dusk__root_unlock(root);
  if (found) dusk_context_unref(held);
  return found;
}

bool dusk_waiter_stop(dusk_waiter_t *waiter) {
  for (;;) {
    switch (state_of(waiter)) {
    case IDLE:
      return false;
    case WAITING:
      if (stop_waiting(waiter)) return true;
      break;
    case AWAY:
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
  if (state_of(waiter) == IDLE || waiter->is_ref == is_ref) return;
  dusk__root_expect_loop(root_of(waiter));
  waiter->is_ref = is_ref;
  dusk__root_keep(root_of(waiter), is_ref ? 1 : -1);
}

void dusk_waiter_ref(dusk_waiter_t *waiter) {
  set_ref(waiter, true);
}

void dusk_waiter_unref(dusk_waiter_t *waiter) {
  set_ref(waiter, false);
}

bool dusk_waiter_has_ref(const dusk_waiter_t *waiter) {
  return state_of(waiter) != IDLE && waiter->is_ref;
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
    set_state(waiter, RUNNING);
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
    take_out(&root->running, waiter);
    dusk__root_keep(root, -1);
    let_go(waiter);
    set_state(waiter, IDLE);
    dusk__root_unlock(root);
    cb(waiter);
    dusk_context_unref(held);
    dusk__root_lock(root);
  }
  dusk__root_unlock(root);
}

/* -- Threads that wait ---------------------------------------------------- */

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
  blocked_t blocked = {.waiter.ctx = &node->base};
  int err = uv_cond_init(&blocked.cond);
  if (err != 0) return err;
  uint64_t now = uv_hrtime();
  uint64_t until =
      timeout_ms < (DUSK_OFF - now) / MS ? now + timeout_ms * MS : DUSK_OFF;

  dusk__root_lock(node->root);
  if (dusk__err_of(node) == 0) {
    append(&node->waiters, &blocked.waiter);
    set_state(&blocked.waiter, WAITING);
  }
  while (state_of(&blocked.waiter) == WAITING) {
    dusk__node_end_passed(node, now, &away);
    if (dusk__err_of(node) != 0) break;
    if (now >= until) {
      take_out(&node->waiters, &blocked.waiter);
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
