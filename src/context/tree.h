/* tree.h: what a tree consists of; all that stands above works on it.
 *
 * Two sorts of contexts: nodes, which can end, and value layers, which only
 * answer for a key and else pass every question to the node above them. A
 * root is a node that never ends. Nodes are linked to the nearest node above
 * them, but for those that don't end with it (DUSK__WITHOUT); these and value
 * layers are in no list.
 *
 * Locks: a tree has one, in its root, and no thread holds two. It guards the
 * links, the waiters, the heap and every write of err, cause and deadline; err
 * and deadline are read without it. What a context is, and its parent, never
 * change. */
#ifndef DUSK_TREE_H
#define DUSK_TREE_H

#include <stdatomic.h>
#include <dusk/context.h>

typedef struct dusk__node dusk__node_t;
typedef struct dusk__timed dusk__timed_t;
typedef struct dusk__hooked dusk__hooked_t;
typedef struct dusk__bridge dusk__bridge_t;
typedef struct dusk__root dusk__root_t;
typedef struct dusk__text dusk__text_t;

enum {
  DUSK__ROOT,
  DUSK__CANCEL,
  DUSK__TIMED,
  DUSK__HOOKED,
  DUSK__BRIDGE,
  DUSK__INLET,
  DUSK__WITHOUT,
  DUSK__VALUE,
};

struct dusk_context {
  dusk_context_t *parent; /* held */
  dusk__node_t *above;    /* the nearest node among the ancestors */
  atomic_uint refs;       /* reaches 0 for a live node under the lock only; not
                             where allocators keep their lists, so that mostly
                             it is still 0 when it is released too often */
  unsigned char kind;
  bool owns_deadline; /* a timed node in the heap */
  bool told_deadline; /* a timed node whose deadline is the one it was
                         given, also when it has ended */
};

struct dusk__node {
  dusk_context_t base;
  dusk__root_t *root;
  const dusk_cause_t *cause; /* of the end; before, for that by the deadline */
  /* Negated while waiters are handed over to other roots; after that the tree
   * does not touch the node. */
  atomic_int err;
  _Atomic uint64_t deadline; /* effective, never later than the parent's */
  dusk__node_t *children;    /* circular through next and prev */
  dusk__node_t *next;
  dusk__node_t *prev;
  dusk_waiter_t *waiters; /* circular, in the order of registration */
#ifdef DUSK__AGES
  uint64_t born_ns;
#endif
};

/* The answer for one key; no node, so what ends below it hangs above it. */
typedef struct {
  dusk_context_t base;
  const dusk_key_t *key;
  void *value;
} dusk__layer_t;

/* A node with a deadline of its own. While it is in the heap, that one is its
 * effective one. */
struct dusk__timed {
  dusk__node_t node;
  const dusk_cause_t *cause; /* for the end by the own deadline */
  dusk__timed_t *child;
  dusk__timed_t *next;
  dusk__timed_t *prev;
};

/* A node in one tree with its parent in another. It is linked below its own
 * root, and keeps a place below its parent, the inlet, by which it learns of
 * the parent's end and deadline. */
struct dusk__bridge {
  dusk__timed_t timed;
  dusk__node_t inlet;
  dusk__bridge_t *next; /* in `changed` of the parent's root, */
  bool is_changed;      /* under that root's lock */
};

/* What the maker of a hooked node knows of it. `add_after` adds the same at any
 * time, on any thread; `release` is called on the loop's. */
typedef struct {
  const char *kind;
  const char *before; /* its text before that of its parent, and after it */
  void (*add_after)(dusk__hooked_t *hooked, dusk__text_t *text);
  void (*release)(dusk__hooked_t *hooked);
} dusk__hooks_t;

/* A node of which more must go, on the loop's thread, than its memory. */
struct dusk__hooked {
  dusk__node_t node;
  const dusk__hooks_t *hooks;
  dusk__hooked_t *next;
};

/* What the loop's side of a root leaves to those above it. Loop thread. */
typedef struct {
  /* The time is `now`: ends what has a deadline that has passed. Under the
   * lock, which it releases. */
  void (*end_passed)(dusk__root_t *root, uint64_t now);
  void (*call_due)(dusk__root_t *root); /* the waiters */
} dusk__calls_t;

struct dusk__root {
  dusk__node_t node;
  uv_mutex_t lock;
  _Atomic(uv_thread_t) thread; /* that turns the loop, or was the last to */
  atomic_int phase;            /* whether it does; in loop.c */
  atomic_bool woken;           /* there is something to look for */
  _Atomic(uv_loop_t *) loop;   /* NULL since detach */
  uv_timer_t timer;
  uv_async_t async;
  uv_prepare_t prepare;
  uv_check_t check;
  unsigned handles; /* open on the loop, the signals' too; loop thread */
  unsigned strays;  /* of these, closed by somebody else; in handles.c */
  uv_handle_t *strayed;
  uv_idle_t last;
  const dusk__calls_t *calls;
  dusk_detach_cb detach_cb;
  void *detach_arg;

  /* Under the lock. */
  uint64_t armed_ns;   /* when the timer fires; at or before the heap's least */
  bool is_armed_later; /* it is yet to be set to that */
  dusk__timed_t *heap;
  dusk_waiter_t *due;     /* circular: to be called in the loop's next turn */
  dusk_waiter_t *running; /* circular: being called in this one */
  dusk__hooked_t *released;
  dusk__bridge_t *changed; /* inlets that have ended, or tell a new deadline */
  unsigned crossing;       /* of these, who has not been told for sure */

  /* While trees are crossed, see bridge.c. */
  dusk__root_t *next_crossed;
  bool is_crossed;
  unsigned carried;

  atomic_uint users; /* waiters, receivers and calls that name this root */
  atomic_uint keep;  /* those of them that keep uv_run going */
};

#define dusk__container_of(ptr, type, member)                                  \
  ((type *)((char *)(ptr)-offsetof(type, member)))

#if defined(__GNUC__)
#define DUSK__NOINLINE __attribute__((noinline))
#else
#define DUSK__NOINLINE
#endif

/* -- Asking and holding --------------------------------------------------- */

/* The node that answers for a context. */
static inline dusk__node_t *dusk__node_of(const dusk_context_t *ctx) {
  return ctx->kind == DUSK__VALUE ? ctx->above : (dusk__node_t *)ctx;
}

static inline dusk__bridge_t *dusk__bridge_of(const dusk__node_t *inlet) {
  return dusk__container_of(inlet, dusk__bridge_t, inlet);
}

/* A fresh node begins to age; its age. Only debug builds have ages: the build
 * defines DUSK__AGES for all that include this. */
static inline void dusk__node_born(dusk__node_t *node) {
#ifdef DUSK__AGES
  node->born_ns = uv_hrtime();
#else
  (void)node;
#endif
}

static inline uint64_t dusk__node_age(const dusk__node_t *node, uint64_t now) {
#ifdef DUSK__AGES
  return now - node->born_ns;
#else
  (void)node;
  (void)now;
  return DUSK_OFF;
#endif
}

/* Whether it has ended; to somebody outside, dusk__waiters_handed_over. */
static inline int dusk__err_of(dusk__node_t *node) {
  int err = atomic_load_explicit(&node->err, memory_order_acquire);
  return err > 0 ? -err : err;
}

static inline uint64_t dusk__deadline_of(dusk__node_t *node) {
  return atomic_load_explicit(&node->deadline, memory_order_relaxed);
}

static inline void dusk__ref(dusk_context_t *ctx) {
  atomic_fetch_add_explicit(&ctx->refs, 1, memory_order_relaxed);
}

/* -- The lock ------------------------------------------------------------- */

/* Waits for it. */
void dusk__root_lock_busy(dusk__root_t *root);

static inline void dusk__root_lock(dusk__root_t *root) {
  if (uv_mutex_trylock(&root->lock) != 0) dusk__root_lock_busy(root);
}

static inline void dusk__root_unlock(dusk__root_t *root) {
  uv_mutex_unlock(&root->lock);
}

/* -- Roots and walks ------------------------------------------------------ */

/* A root without a loop, with one reference. Errors: UV_ENOMEM, what
 * uv_mutex_init tells. */
int dusk__root_new(dusk__root_t **ret_root);

/* Nobody refers to it any more. */
void dusk__root_free(dusk__root_t *root);

/* Drops a reference, and frees it if that was the last one. */
void dusk__root_unref(dusk__root_t *root);

/* The node after `node` in a walk through all below `top`, parents first; NULL
 * at the end. What is below `node` is passed over if not `descend`. Under the
 * lock. */
dusk__node_t *dusk__node_next(dusk__node_t *top, dusk__node_t *node,
                              bool descend);

#endif
