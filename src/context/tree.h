/* tree.h: what the context module's own files know of a tree.
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
  atomic_uint refs; /* reaches 0 for a live node under the lock only */
  unsigned char kind;
  bool owns_deadline;     /* a timed node in the heap */
  bool told_deadline;     /* a timed node whose deadline is the one it was
                             given, also when it has ended */
  dusk_context_t *parent; /* held */
  dusk__node_t *above;    /* the nearest node among the ancestors */
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

struct dusk__root {
  dusk__node_t node;
  uv_mutex_t lock;
  _Atomic(uv_thread_t) thread; /* that turns the loop, or was the last to */
  atomic_int phase;            /* whether it does; in root.c */
  atomic_bool woken;           /* there is something to look for */
  _Atomic(uv_loop_t *) loop;   /* NULL since detach */
  uv_timer_t timer;
  uv_async_t async;
  uv_prepare_t prepare;
  uv_check_t check;
  unsigned handles; /* open on the loop, the signals' too; loop thread */
  unsigned strays;  /* of these, closed by somebody else; in strays.c */
  uv_handle_t *strayed;
  uv_idle_t last;
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

/* Where a text is put down: at `at`, which goes on also past `room`. */
struct dusk__text {
  char *buf;
  size_t room;
  size_t at;
};

#define dusk__container_of(ptr, type, member)                                  \
  ((type *)((char *)(ptr)-offsetof(type, member)))

#if defined(__GNUC__)
#define DUSK__NOINLINE __attribute__((noinline))
#else
#define DUSK__NOINLINE
#endif

/* The node that answers for a context. */
static inline dusk__node_t *dusk__node_of(const dusk_context_t *ctx) {
  return ctx->kind == DUSK__VALUE ? ctx->above : (dusk__node_t *)ctx;
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

/* Waits for the lock, in root.c. */
void dusk__root_lock_busy(dusk__root_t *root);

static inline void dusk__root_lock(dusk__root_t *root) {
  if (uv_mutex_trylock(&root->lock) != 0) dusk__root_lock_busy(root);
}

static inline void dusk__root_unlock(dusk__root_t *root) {
  uv_mutex_unlock(&root->lock);
}

/* Whether it has ended; to somebody outside, dusk__waiters_handed_over. */
static inline int dusk__err_of(dusk__node_t *node) {
  int err = atomic_load_explicit(&node->err, memory_order_acquire);
  return err > 0 ? -err : err;
}

static inline uint64_t dusk__deadline_of(dusk__node_t *node) {
  return atomic_load_explicit(&node->deadline, memory_order_relaxed);
}

/* -- context.c ------------------------------------------------------------ */

/* Makes `node`, fresh memory, a child of `parent` with one reference. Takes
 * the lock. Does no more than with_cancel needs. */
void dusk__node_init(dusk__node_t *node, int kind, dusk_context_t *parent);

/* Ends a live node and all below it. Under the lock, which is to be released
 * by dusk__settle then: that takes care of the waiters that must be called on
 * other roots' loops, which are added to `away`, and of other trees. */
void dusk__node_end(dusk__node_t *node, int err, const dusk_cause_t *cause,
                    dusk_waiter_t **away);

/* The same for a node in the heap, because its deadline has passed. */
void dusk__timed_end(dusk__timed_t *timed, dusk_waiter_t **away);

/* The same for whichever node has the deadline that has passed for this one,
 * if it has. */
void dusk__node_end_passed(dusk__node_t *node, uint64_t now,
                           dusk_waiter_t **away);

/* Gives a live node an own deadline, unless it is later than what the node has,
 * and tells those below. As dusk__node_end. */
void dusk__timed_bring(dusk__timed_t *timed, uint64_t deadline_ns, uint64_t now,
                       dusk_waiter_t **away);

/* Fills in what all nodes have; `parent` gains a reference. `above` is the
 * node in whose tree this one will be. */
void dusk__node_fill(dusk__node_t *node, int kind, dusk_context_t *parent,
                     dusk__node_t *above);

/* Links a new node below the one above it, or ends it if that has ended.
 * Under the lock. */
void dusk__node_adopt(dusk__node_t *node);

/* Releases the lock of a tree in which something may have ended, and passes
 * the end on to where it belongs. */
void dusk__settle(dusk__root_t *root, dusk_waiter_t *away);

/* The node after `node` in a walk through all below `top`, parents first; NULL
 * at the end. What is below `node` is passed over if not `descend`. Under the
 * lock. */
dusk__node_t *dusk__node_next(dusk__node_t *top, dusk__node_t *node,
                              bool descend);

/* -- bridge.c ------------------------------------------------------------- */

/* Holds a context as one of `root`'s tree, for the loop there to serve its
 * deadline: by a reference, or from another tree by a bridge, which holds it.
 * To be given back by unref. Errors: UV_ENOMEM, for a bridge. */
int dusk__context_hold(dusk_context_t *ctx, dusk_context_t *root,
                       dusk_context_t **ret_ctx);

/* An inlet has ended, or tells a new deadline. Under the lock of its tree. */
void dusk__bridge_changed(dusk__node_t *inlet);

/* Tells all bridges below `root`, through all trees, what has changed; when it
 * returns, that is so, whoever changed it. No lock held. */
void dusk__bridges_cross(dusk__root_t *root);

/* A bridge has been cancelled: it leaves its parent. */
void dusk__bridge_leave(dusk__bridge_t *bridge);

/* The last reference is gone. Does not release the parent. */
void dusk__bridge_free(dusk__bridge_t *bridge);

/* -- heap.c --------------------------------------------------------------- */

void dusk__heap_insert(dusk__timed_t **heap, dusk__timed_t *timed);
void dusk__heap_remove(dusk__timed_t **heap, dusk__timed_t *timed);

/* -- waiter.c ------------------------------------------------------------- */

/* Makes all waiters of a node that ends due. True if some are still to be
 * handed over. Under the lock. */
bool dusk__waiters_due(dusk__node_t *node, dusk_waiter_t **away);

/* A live node tells an earlier deadline, or its first. Under the lock. */
void dusk__waiters_told(dusk__node_t *node, bool is_first);

/* Hands over what dusk__node_end has gathered. No lock held. */
void dusk__waiters_send(dusk_waiter_t *away);

/* The err of a node that has ended, when all its waiters are due. */
int dusk__waiters_handed_over(dusk__node_t *node);

/* Has `cb` called in the next turn of the root's loop, without a context.
 * dusk_waiter_stop works as ever. Takes the lock. */
void dusk__waiter_post(dusk_waiter_t *waiter, dusk__root_t *root,
                       dusk_waiter_cb cb);

/* Calls what was due when it was called. Loop thread. */
void dusk__waiters_run(dusk__root_t *root);

/* -- signal_text.c -------------------------------------------------------- */

/* The cause of what this signal cancels. */
const dusk_cause_t *dusk__signal_cause(int signum);

/* -- text.c --------------------------------------------------------------- */

/* Adds a piece, as far as there is room. */
void dusk__text_add(dusk__text_t *text, const char *piece);

/* -- root.c --------------------------------------------------------------- */

/* Sees to it that the timer fires in time for the heap's least; often does
 * nothing. Under the lock, any thread. */
void dusk__root_arm(dusk__root_t *root);

/* Changes `keep`. The root has users. Any thread, any lock. */
void dusk__root_keep(dusk__root_t *root, int change);

/* Has the loop look for what is due. The root has users. */
void dusk__root_wake(dusk__root_t *root);

/* Releases a hooked node on the loop's thread, at once if this is it. */
void dusk__root_release(dusk__root_t *root, dusk__hooked_t *hooked);

/* Asserts what belongs to the loop's thread; between two turns that is who
 * calls. */
void dusk__root_expect_loop(dusk__root_t *root);

/* A handle on the root's loop has been opened; has been closed. */
void dusk__root_handle_opened(dusk__root_t *root);
void dusk__root_handle_closed(dusk__root_t *root);

/* -- strays.c ------------------------------------------------------------- */

/* A handle was found to be closed by somebody else. `handle` is NULL, or begins
 * the allocation that is to be freed when libuv has let go of it. */
void dusk__stray_found(dusk__root_t *root, uv_handle_t *handle);

/* Counts those that were found as closed once that is sure, on the loop. */
void dusk__strays_see_off(dusk__root_t *root, uv_loop_t *loop);

/* -- root.c, the end ------------------------------------------------------ */

/* Nobody refers to the root any more. */
void dusk__root_free(dusk__root_t *root);

#endif
