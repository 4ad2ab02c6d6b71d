/* Contexts whose parent lives on another root: what one tree's end means for
 * the other, and that a cancel is synchronous through all of them. */
#include "fixture.h"
#include "team.h"
#include "tree.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { ROUNDS = 200 };

static const dusk_cause_t P = {UV_EIO, "parent"};
static const dusk_cause_t C = {UV_EIO, "child"};
static const dusk_cause_t T = {UV_EIO, "time"};
static const char key[] = "key";

static dusk_context_t *with_root(dusk_context_t *parent, dusk_context_t *root) {
  dusk_context_t *ctx = NULL;
  assert_int_equal(dusk_context_with_root(parent, root, &ctx), 0);
  return ctx;
}

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
  dusk_context_t *layer = with_value(parent, (const void *)key, &value);
  dusk_context_t *ctx = with_root(layer, other);
  assert_ptr_equal(dusk_context_value(ctx, (const void *)key), &value);
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

int main(void) {
  const struct CMUnitTest tests[] = {
      fixture_test(the_parents_end_crosses),
      fixture_test(an_own_end_stays_below),
      fixture_test(its_release_leaves_the_parent),
      fixture_test(an_ended_parent_has_an_ended_child),
      fixture_test(values_and_deadline_are_the_parents),
      fixture_test(in_the_same_tree_it_is_with_cancel),
      fixture_test(misuse_is_an_error),
      fixture_test(its_own_loop_serves_the_deadline),
      fixture_test(a_deadline_brought_forward_crosses),
      fixture_test(a_long_way_between_two_trees),
      fixture_test(ctx_016_simultaneous_cancels_are_synchronous),
      fixture_test(simultaneous_releases),
      fixture_test(releases_against_a_cancel),
      fixture_test(ctx_030_a_child_made_during_the_cancel_ends),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
