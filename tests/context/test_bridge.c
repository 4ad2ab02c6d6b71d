/* Contexts whose parent lives on another root: what one tree's end means for
 * the other, and that a cancel is synchronous through all of them. Needs
 * --wrap for dusk__waiters_send, and meanwhile.h. */
#include "fixture.h"
#include "meanwhile.h"
#include "team.h"
#include "tree.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 200 };

static const dusk_cause_t P = {UV_EIO, "parent"};
static const dusk_cause_t C = {UV_EIO, "child"};
static const dusk_cause_t T = {UV_EIO, "time"};
static const dusk_key_t key = {"key"};

static dusk_context_t *attach(fixture_t *f) {
  dusk_context_t *root = NULL;
  assert_int_equal(dusk_context_attach(&f->loop, &root), 0);
  turn(&f->loop);
  return root;
}

static void detach(fixture_t *f, dusk_context_t *root) {
  assert_int_equal(entries(root), 0);
  assert_int_equal(root->refs, 1);
  assert_int_equal(dusk_context_detach(root, NULL, NULL), 0);
  turn(&f->loop);
}

/* -- One after another ---------------------------------------------------- */

/* DUSK-031 */
static void the_parents_end_crosses(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other = attach(f);
  dusk_context_t *parent = with_cancel(f->root);
  dusk_context_t *ctx = with_root(parent, other);
  dusk_context_t *below = with_timeout(ctx, 60000, &T);
  call_t call = {0};
  call_after(below, &call, other);
  assert_live(below);
  assert_int_equal(entries(parent), 1);
  assert_int_equal(entries(other), 1);
  dusk_context_cancel(parent, &P);
  assert_ended(ctx, UV_ECANCELED, &P);
  assert_ended(below, UV_ECANCELED, &P);
  assert_int_equal(entries(parent), 0);
  assert_int_equal(entries(other), 0);
  run_until(&f->loop, &call.calls);
  dusk_context_unref(below);
  dusk_context_unref(ctx);
  dusk_context_unref(parent);
  detach(f, other);
}

static void an_own_end_stays_below(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other = attach(f);
  dusk_context_t *parent = with_cancel(f->root);
  dusk_context_t *ctx = with_root(parent, other);
  dusk_context_t *below = with_cancel(ctx);
  dusk_context_cancel(ctx, &C);
  assert_ended(below, UV_ECANCELED, &C);
  assert_live(parent);
  assert_int_equal(entries(parent), 0);
  dusk_context_cancel(parent, &P);
  assert_ended(ctx, UV_ECANCELED, &C);
  dusk_context_unref(below);
  dusk_context_unref(ctx);
  dusk_context_unref(parent);
  detach(f, other);
}

static void its_release_leaves_the_parent(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other = attach(f);
  dusk_context_t *parent = with_cancel(f->root);
  dusk_context_t *ctx = with_root(parent, other);
  dusk_context_unref(parent);
  assert_int_equal(entries(parent), 1);
  assert_live(parent); /* held by the child */
  dusk_context_ref(parent);
  dusk_context_unref(ctx);
  assert_int_equal(entries(parent), 0);
  assert_live(parent);
  dusk_context_unref(parent);
  detach(f, other);
}

/* The waiter holds the child, and the child the parent, but no place there. */
static void its_release_with_a_waiter_leaves_the_parent(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other = attach(f);
  dusk_context_t *parent = with_cancel(f->root);
  dusk_context_t *ctx = with_root(parent, other);
  call_t call;
  call_after(ctx, &call, other);
  dusk_context_unref(ctx);
  assert_int_equal(entries(parent), 0);
  assert_live(parent);
  assert_int_equal(call.calls, 0);
  run(&f->loop);
  assert_int_equal(call.calls, 1);
  dusk_context_unref(parent);
  detach(f, other);
}

static void an_ended_parent_has_an_ended_child(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other = attach(f);
  dusk_context_t *parent = with_cancel(f->root);
  dusk_context_cancel(parent, &P);
  dusk_context_t *ctx = with_root(parent, other);
  assert_ended(ctx, UV_ECANCELED, &P);
  dusk_context_unref(ctx);
  dusk_context_unref(parent);
  parent = with_timeout(f->root, 1, &T);
  wait_until(dusk_context_deadline(parent));
  ctx = with_root(parent, other);
  assert_ended(ctx, UV_ETIMEDOUT, &T);
  dusk_context_unref(ctx);
  dusk_context_unref(parent);
  detach(f, other);
}

static void values_and_deadline_are_the_parents(void **state) {
  fixture_t *f = *state;
  int value;
  dusk_context_t *other = attach(f);
  dusk_context_t *parent = with_timeout(f->root, 60000, &T);
  dusk_context_t *layer = with_value(parent, &key, &value);
  dusk_context_t *ctx = with_root(layer, other);
  assert_ptr_equal(dusk_context_value(ctx, &key), &value);
  assert_true(dusk_context_deadline(ctx) == dusk_context_deadline(parent));
  assert_ptr_equal(dusk_context_loop(ctx), &f->loop);
  end(ctx);
  dusk_context_unref(layer);
  end(parent);
  detach(f, other);
}

static void in_the_same_tree_it_is_with_cancel(void **state) {
  fixture_t *f = *state;
  dusk_context_t *parent = with_cancel(f->root);
  dusk_context_t *ctx = with_root(parent, f->root);
  assert_int_equal(ctx->kind, DUSK__CANCEL);
  dusk_context_cancel(parent, &P);
  assert_ended(ctx, UV_ECANCELED, &P);
  dusk_context_unref(ctx);
  dusk_context_unref(parent);
}

static void misuse_is_an_error(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = NULL;
  assert_int_equal(dusk_context_with_root(NULL, f->root, &ctx), UV_EINVAL);
  assert_int_equal(dusk_context_with_root(f->root, NULL, &ctx), UV_EINVAL);
  assert_int_equal(dusk_context_with_root(f->root, f->root, NULL), UV_EINVAL);
  assert_null(ctx);
}

/* DUSK-031. The tree below has the deadline itself: nobody turns the parent's
 * loop. */
static void its_own_loop_serves_the_deadline(void **state) {
  fixture_t *f = *state;
  uv_loop_t loop;
  dusk_context_t *away = NULL;
  assert_int_equal(uv_loop_init(&loop), 0);
  assert_int_equal(dusk_context_attach(&loop, &away), 0);
  dusk_context_t *parent = with_timeout(away, 20, &T);
  assert_int_equal(dusk_context_detach(away, NULL, NULL), 0);
  run(&loop);
  assert_int_equal(uv_loop_close(&loop), 0);

  dusk_context_t *ctx = with_root(parent, f->root);
  call_t call = {0};
  call_after(ctx, &call, f->root);
  run(&f->loop); /* goes on for the deadline, and ends with it */
  assert_int_equal(call.calls, 1);
  assert_ended(ctx, UV_ETIMEDOUT, &T);
  assert_ended(parent, UV_ETIMEDOUT, &T);
  dusk_context_unref(ctx);
  dusk_context_unref(parent);
}

/* The deadline is that of an ancestor far above, and so is the cause, although
 * it is the tree below that finds it passed. */
static void a_deadline_from_far_above_has_its_cause(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other = attach(f);
  for (int brought = 0; brought < 2; brought++) {
    dusk_context_t *top = with_timeout(f->root, brought ? 60000 : 5, &T);
    dusk_context_t *node = with_cancel(top);
    dusk_context_t *layer = with_value(node, &key, NULL);
    dusk_context_t *last = with_cancel(layer);
    dusk_context_t *ctx = with_root(last, other);
    dusk_context_t *below = with_value(ctx, &key, NULL);
    if (brought) dusk_context_bring_forward(top, uv_hrtime() + 5 * MS);
    assert_true(dusk_context_deadline(below) == dusk_context_deadline(top));
    wait_until(dusk_context_deadline(top));
    assert_ended(below, UV_ETIMEDOUT, &T);
    assert_ended(last, UV_ETIMEDOUT, &T);
    dusk_context_unref(below);
    dusk_context_unref(ctx);
    dusk_context_unref(last);
    dusk_context_unref(layer);
    dusk_context_unref(node);
    dusk_context_unref(top);
  }
  detach(f, other);
}

static void a_deadline_brought_forward_crosses(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other = attach(f);
  dusk_context_t *parent = with_timeout(f->root, DUSK_OFF, &T);
  dusk_context_t *between = with_cancel(parent);
  dusk_context_t *ctx = with_root(between, other);
  dusk_context_t *below = with_cancel(ctx);
  dusk_context_t *back = with_root(below, f->root);
  assert_true(dusk_context_deadline(back) == DUSK_OFF);
  uint64_t deadline = uv_hrtime() + 60000 * MS;
  assert_int_equal(dusk_context_bring_forward(parent, deadline), 0);
  assert_true(dusk_context_deadline(below) == deadline);
  assert_true(dusk_context_deadline(back) == deadline);
  deadline = uv_hrtime() + MS;
  assert_int_equal(dusk_context_bring_forward(parent, deadline), 0);
  assert_true(dusk_context_deadline(back) == deadline);
  wait_until(deadline);
  assert_ended(back, UV_ETIMEDOUT, &T);
  dusk_context_unref(back);
  dusk_context_unref(below);
  dusk_context_unref(ctx);
  dusk_context_unref(between);
  dusk_context_unref(parent);
  detach(f, other);
}

/* CTX-151. Forth and back between two trees; no order of locks would allow it.
 */
static void a_long_way_between_two_trees(void **state) {
  enum { DEPTH = 100000 };
  fixture_t *f = *state;
  dusk_context_t *other = attach(f);
  dusk_context_t *top = with_cancel(f->root);
  dusk_context_t *ctx = dusk_context_ref(top);
  for (int i = 0; i < DEPTH; i++) {
    dusk_context_t *next = with_root(ctx, i % 2 == 0 ? other : f->root);
    dusk_context_unref(ctx);
    ctx = next;
  }
  assert_live(ctx);
  dusk_context_cancel(top, &P);
  assert_ended(ctx, UV_ECANCELED, &P);
  dusk_context_unref(ctx);
  dusk_context_unref(top);
  detach(f, other);
}

/* -- At once -------------------------------------------------------------- */

/* A chain of eight through three trees, with a node between two bridges. */
enum { TREES = 3, LINKS = 8 };

typedef struct {
  dusk_context_t *roots[TREES];
  dusk_context_t *bridges[LINKS];
  dusk_context_t *nodes[LINKS];
  int order[2 * LINKS];
} chain_t;

static void make_chain(chain_t *chain) {
  dusk_context_t *above = chain->roots[0];
  for (int i = 0; i < LINKS; i++) {
    chain->bridges[i] = with_root(above, chain->roots[(i + 1) % TREES]);
    chain->nodes[i] = above = with_cancel(chain->bridges[i]);
  }
  for (int i = 0; i < 2 * LINKS; i++) {
    int place = rand() % (i + 1);
    chain->order[i] = chain->order[place];
    chain->order[place] = i;
  }
}

static void cancel_links(void *arg, int number) {
  chain_t *chain = arg;
  for (int i = number; i < 2 * LINKS; i += THREADS) {
    int at = chain->order[i];
    dusk_context_cancel(
        at % 2 == 0 ? chain->bridges[at / 2] : chain->nodes[at / 2], NULL);
    for (int below = at / 2; below < LINKS; below++) {
      assert_int_equal(dusk_context_err(chain->nodes[below]), UV_ECANCELED);
      if (below == at / 2) continue;
      assert_int_equal(dusk_context_err(chain->bridges[below]), UV_ECANCELED);
    }
  }
}

static void release_links(void *arg, int number) {
  chain_t *chain = arg;
  for (int i = number; i < 2 * LINKS; i += THREADS) {
    int at = chain->order[i];
    dusk_context_unref(at % 2 == 0 ? chain->bridges[at / 2]
                                   : chain->nodes[at / 2]);
  }
}

static void open_trees(fixture_t *f, chain_t *chain) {
  chain->roots[0] = f->root;
  for (int i = 1; i < TREES; i++)
    chain->roots[i] = attach(f);
}

static void close_trees(fixture_t *f, chain_t *chain) {
  for (int i = 1; i < TREES; i++)
    detach(f, chain->roots[i]);
}

static void ctx_016_simultaneous_cancels_are_synchronous(void **state) {
  fixture_t *f = *state;
  chain_t chain;
  open_trees(f, &chain);
  for (int round = 0; round < ROUNDS; round++) {
    make_chain(&chain);
    together(THREADS, cancel_links, &chain);
    together(THREADS, release_links, &chain);
  }
  close_trees(f, &chain);
}

/* DUSK-011 */
static void simultaneous_releases(void **state) {
  fixture_t *f = *state;
  chain_t chain;
  open_trees(f, &chain);
  for (int round = 0; round < ROUNDS; round++) {
    make_chain(&chain);
    together(THREADS, release_links, &chain);
  }
  close_trees(f, &chain);
}

static void cancel_or_release(void *arg, int number) {
  chain_t *chain = arg;
  if (number % 2 == 0) dusk_context_cancel(chain->bridges[0], &P);
  release_links(arg, number);
}

static void releases_against_a_cancel(void **state) {
  fixture_t *f = *state;
  chain_t chain;
  open_trees(f, &chain);
  for (int round = 0; round < ROUNDS; round++) {
    make_chain(&chain);
    dusk_context_t *first = dusk_context_ref(chain.bridges[0]);
    together(THREADS, cancel_or_release, &chain);
    dusk_context_unref(first);
  }
  close_trees(f, &chain);
}

typedef struct {
  dusk_context_t *parent;
  dusk_context_t *root;
  dusk_context_t *made[THREADS];
} made_t;

static void derive_or_cancel(void *arg, int number) {
  made_t *made = arg;
  if (number == 0) {
    dusk_context_bring_forward(made->parent, uv_hrtime() + 60000 * MS);
    dusk_context_cancel(made->parent, &P);
  } else {
    made->made[number] = with_root(made->parent, made->root);
  }
}

static void ctx_030_a_child_made_during_the_cancel_ends(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other = attach(f);
  for (int round = 0; round < ROUNDS; round++) {
    made_t made = {with_timeout(f->root, DUSK_OFF, NULL), other, {NULL}};
    together(THREADS, derive_or_cancel, &made);
    for (int i = 1; i < THREADS; i++) {
      assert_ended(made.made[i], UV_ECANCELED, &P);
      dusk_context_unref(made.made[i]);
    }
    dusk_context_unref(made.parent);
  }
  detach(f, other);
}

/* A long chain, of which two threads cancel the top. */
enum { LONG = 200 };

typedef struct {
  dusk_context_t *top;
  dusk_context_t *bridges[LONG];
} long_t;

static void cancel_top(void *arg, int number) {
  long_t *chain = arg;
  (void)number;
  dusk_context_cancel(chain->top, NULL);
  for (int i = LONG - 1; i >= 0; i--)
    assert_int_equal(dusk_context_err(chain->bridges[i]), UV_ECANCELED);
}

static void ctx_016_whoever_cancels_the_top_finds_all_ended(void **state) {
  fixture_t *f = *state;
  chain_t trees;
  open_trees(f, &trees);
  for (int round = 0; round < ROUNDS; round++) {
    long_t chain = {.top = with_cancel(f->root)};
    dusk_context_t *above = chain.top;
    for (int i = 0; i < LONG; i++)
      chain.bridges[i] = above = with_root(above, trees.roots[(i + 1) % TREES]);
    together(2, cancel_top, &chain);
    for (int i = 0; i < LONG; i++)
      dusk_context_unref(chain.bridges[i]);
    dusk_context_unref(chain.top);
  }
  close_trees(f, &trees);
}

/* -- Threads that come in between ----------------------------------------- */

/* Another thread, which begins when a bridge is about to be told. */
typedef struct {
  team_t team;
  void (*work)(void *arg, int number);
  dusk_context_t *ctx;
  dusk_context_t *below;
  bool has_ended;
  atomic_int is_back;
  bool was_early;
} between_t;

static void begin(void *arg) {
  between_t *between = arg;
  team_start(&between->team, 1, between->work, between);
  between->was_early = happens(&between->is_back);
}

static void cancel_again(void *arg, int number) {
  between_t *between = arg;
  (void)number;
  dusk_context_cancel(between->ctx, NULL);
  between->has_ended = dusk_context_err(between->below) != 0;
  between->is_back = 1;
}

/* The first one's note has been taken, but not yet told. */
static void ctx_016_the_second_cancel_waits_for_the_first(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other = attach(f);
  between_t between = {.work = cancel_again, .ctx = with_cancel(f->root)};
  dusk_context_t *bridge = with_root(between.ctx, other);
  between.below = with_root(bridge, f->root);
  meanwhile(other, begin, &between);
  dusk_context_cancel(between.ctx, &P);
  team_join(&between.team);
  assert_true(between.has_ended);
  dusk_context_unref(between.below);
  dusk_context_unref(bridge);
  dusk_context_unref(between.ctx);
  detach(f, other);
}

static void release(void *arg, int number) {
  between_t *between = arg;
  (void)number;
  dusk_context_unref(between->ctx);
  between->is_back = 1;
}

/* Nor may its memory go. */
static void the_last_release_waits_for_who_tells(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other = attach(f);
  dusk_context_t *parent = with_cancel(f->root);
  between_t between = {.work = release, .ctx = with_root(parent, other)};
  meanwhile(other, begin, &between);
  dusk_context_cancel(parent, &P);
  team_join(&between.team);
  assert_false(between.was_early);
  dusk_context_unref(parent);
  detach(f, other);
}

/* A thread that has handed its waiters over, but not yet returned. */
static struct {
  dusk_context_t *ctx;
  uv_sem_t has_sent;
  uv_sem_t may_return;
  team_t team;
} sender;

void __real_dusk__waiters_send(dusk_waiter_t *away);
void __wrap_dusk__waiters_send(dusk_waiter_t *away);

void __wrap_dusk__waiters_send(dusk_waiter_t *away) {
  bool is_held = away != NULL && away->ctx == sender.ctx;
  __real_dusk__waiters_send(away);
  if (!is_held) return;
  uv_sem_post(&sender.has_sent);
  uv_sem_wait(&sender.may_return);
}

static void release_sender(void *arg, int number) {
  (void)number;
  dusk_context_unref(arg);
}

static void start_sender(void *arg) {
  team_start(&sender.team, 1, release_sender, arg);
  uv_sem_wait(&sender.has_sent);
}

/* Of the tree nothing is left but the call that is still to return. */
static void a_tree_may_go_while_a_release_in_it_returns(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other = attach(f);
  uv_sem_init(&sender.has_sent, 0);
  uv_sem_init(&sender.may_return, 0);
  sender.ctx = with_cancel(other);
  call_t call;
  call_after(sender.ctx, &call, f->root);
  dusk_context_t *parent = with_cancel(other);
  dusk_context_t *bridge = with_root(parent, f->root);
  /* The release comes while the bridge is to be told. */
  meanwhile(f->root, start_sender, sender.ctx);
  dusk_context_cancel(parent, NULL);
  dusk_context_unref(bridge);
  dusk_context_unref(parent);
  run_until(&f->loop, &call.calls);
  assert_int_equal(dusk_context_detach(other, NULL, NULL), 0);
  turn(&f->loop);
  uv_sem_post(&sender.may_return);
  team_join(&sender.team);
  sender.ctx = NULL;
  uv_sem_destroy(&sender.has_sent);
  uv_sem_destroy(&sender.may_return);
}

/* -- All at once, on loops that run --------------------------------------- */

typedef struct {
  uv_loop_t loop;
  uv_async_t quit;
  uv_thread_t thread;
  dusk_context_t *root;
} runner_t;

static runner_t runners[TREES];

static void on_quit(uv_async_t *quit) {
  uv_close((uv_handle_t *)quit, NULL);
}

static void run_runner(void *arg) {
  run(arg);
}

static void start_runners(void) {
  for (int i = 0; i < TREES; i++) {
    runner_t *runner = &runners[i];
    assert_int_equal(uv_loop_init(&runner->loop), 0);
    assert_int_equal(dusk_context_attach(&runner->loop, &runner->root), 0);
    assert_int_equal(uv_async_init(&runner->loop, &runner->quit, on_quit), 0);
    assert_int_equal(
        uv_thread_create(&runner->thread, run_runner, &runner->loop), 0);
  }
}

static void stop_runners(void) {
  for (int i = 0; i < TREES; i++)
    uv_async_send(&runners[i].quit);
  for (int i = 0; i < TREES; i++)
    uv_thread_join(&runners[i].thread);
  for (int i = 0; i < TREES; i++) {
    runner_t *runner = &runners[i];
    assert_int_equal(entries(runner->root), 0);
    assert_int_equal(runner->root->refs, 1);
    assert_null(((dusk__root_t *)runner->root)->heap);
    assert_int_equal(dusk_context_detach(runner->root, NULL, NULL), 0);
    run(&runner->loop);
    assert_int_equal(uv_loop_close(&runner->loop), 0);
  }
}

/* A random context with a waiter, both on random loops. */
typedef struct {
  dusk_waiter_t waiter;
  dusk_context_t *ctx;
  bool stopped;
  uv_sem_t called;
} link_t;

static void on_link(dusk_waiter_t *waiter) {
  link_t *link = dusk__container_of(waiter, link_t, waiter);
  uv_sem_post(&link->called);
}

static dusk_context_t *any_root(unsigned *seed) {
  return runners[rand_r(seed) % TREES].root;
}

static dusk_context_t *derive(dusk_context_t *parent, unsigned *seed) {
  switch (rand_r(seed) % 6) {
  case 0:
    return with_timeout(
        parent, rand_r(seed) % 4 == 0 ? DUSK_OFF : (uint64_t)rand_r(seed) % 3,
        NULL);
  case 1:
    return with_cancel(parent);
  case 2:
    return with_value(parent, &key, NULL);
  default:
    return with_root(parent, any_root(seed));
  }
}

static void link_up(link_t *links, unsigned *seed) {
  dusk_context_t *above = any_root(seed);
  for (int i = 0; i < LINKS; i++) {
    link_t *link = &links[i];
    memset(link, 0, sizeof(*link));
    assert_int_equal(uv_sem_init(&link->called, 0), 0);
    link->ctx = above = derive(above, seed);
    dusk_context_after(link->ctx, &link->waiter, any_root(seed), on_link);
  }
}

static void disturb(link_t *links, unsigned *seed) {
  int at = rand_r(seed) % LINKS;
  dusk_context_t *ctx = links[at].ctx;
  switch (rand_r(seed) % 4) {
  case 0:
    cancel_any(ctx, &C);
    break;
  case 1:
    dusk_context_bring_forward(ctx, uv_hrtime() + (uint64_t)rand_r(seed) % MS);
    break;
  case 2:
    dusk_context_wait(ctx, (uint64_t)rand_r(seed) % 2);
    break;
  default:
    break;
  }
  if (dusk_context_err(ctx) == 0) return;
  for (int i = at; i < LINKS; i++)
    assert_int_not_equal(dusk_context_err(links[i].ctx), 0);
}

static void take_apart(link_t *links, bool from_above) {
  for (int i = 0; i < LINKS; i++)
    links[i].stopped = dusk_waiter_stop(&links[i].waiter);
  for (int i = 0; i < LINKS; i++)
    dusk_context_unref(links[from_above ? i : LINKS - 1 - i].ctx);
  for (int i = 0; i < LINKS; i++) {
    if (!links[i].stopped) uv_sem_wait(&links[i].called);
    assert_int_not_equal(uv_sem_trywait(&links[i].called), 0);
    uv_sem_destroy(&links[i].called);
  }
}

static void link_and_disturb(void *arg, int number) {
  unsigned seed = 77 * (unsigned)number + 1;
  link_t links[LINKS];
  (void)arg;
  for (int round = 0; round < 5 * ROUNDS; round++) {
    link_up(links, &seed);
    for (int i = 0; i < 4; i++)
      disturb(links, &seed);
    take_apart(links, round % 2 == 0);
  }
}

/* DUSK-011, DUSK-017, CTX-016 */
static void random_chains_through_running_loops(void **state) {
  (void)state;
  start_runners();
  together(THREADS, link_and_disturb, NULL);
  stop_runners();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      fixture_test(the_parents_end_crosses),
      fixture_test(an_own_end_stays_below),
      fixture_test(its_release_leaves_the_parent),
      fixture_test(its_release_with_a_waiter_leaves_the_parent),
      fixture_test(an_ended_parent_has_an_ended_child),
      fixture_test(values_and_deadline_are_the_parents),
      fixture_test(in_the_same_tree_it_is_with_cancel),
      fixture_test(misuse_is_an_error),
      fixture_test(its_own_loop_serves_the_deadline),
      fixture_test(a_deadline_from_far_above_has_its_cause),
      fixture_test(a_deadline_brought_forward_crosses),
      fixture_test(a_long_way_between_two_trees),
      fixture_test(ctx_016_simultaneous_cancels_are_synchronous),
      fixture_test(simultaneous_releases),
      fixture_test(releases_against_a_cancel),
      fixture_test(ctx_030_a_child_made_during_the_cancel_ends),
      fixture_test(ctx_016_whoever_cancels_the_top_finds_all_ended),
      fixture_test(ctx_016_the_second_cancel_waits_for_the_first),
      fixture_test(the_last_release_waits_for_who_tells),
      fixture_test(a_tree_may_go_while_a_release_in_it_returns),
      cmocka_unit_test(random_chains_through_running_loops),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
