/* Roots, cancelling, and what it does to a tree. */
#include "fixture.h"
#include "tree.h"

#include <stdlib.h>
#include <string.h>

static const dusk_key_t key = {"key"};

static void ctx_001_a_root_never_ends(void **state) {
  fixture_t *f = *state;
  assert_non_null(f->root);
  assert_live(f->root);
  dusk_context_cancel(f->root, NULL);
  assert_live(f->root); /* CTX-002 */
}

static void ctx_006_a_root_has_nothing(void **state) {
  fixture_t *f = *state;
  assert_int_equal(dusk_context_err(f->root), 0);
  assert_null(dusk_context_cause(f->root));
  assert_true(dusk_context_deadline(f->root) == DUSK_OFF);
  assert_null(dusk_context_value(f->root, &key));
  assert_ptr_equal(dusk_context_loop(f->root), &f->loop);
}

/* CTX-008, DUSK-021 */
static void two_roots_on_one_loop(void **state) {
  fixture_t *f = *state;
  dusk_context_t *second;
  assert_int_equal(dusk_context_attach(&f->loop, &second), 0);
  dusk_context_t *ctx = with_cancel(second);
  dusk_context_cancel(ctx, NULL);
  assert_live(second);
  dusk_context_unref(ctx);
  assert_int_equal(dusk_context_detach(second, NULL, NULL), 0);
  run(&f->loop);
  assert_live(f->root);
}

/* DUSK-020 */
static void loop_data_stays_the_users(void **state) {
  (void)state;
  uv_loop_t loop;
  dusk_context_t *root;
  int mine;
  assert_int_equal(uv_loop_init(&loop), 0);
  loop.data = &mine;
  assert_int_equal(dusk_context_attach(&loop, &root), 0);
  assert_ptr_equal(loop.data, &mine);
  run(&loop);
  assert_int_equal(uv_loop_alive(&loop), 0);
  assert_int_equal(dusk_context_detach(root, NULL, NULL), 0);
  run(&loop);
  assert_ptr_equal(loop.data, &mine);
  assert_int_equal(uv_loop_close(&loop), 0);
}

/* DUSK-023 */
static void detach_refuses_while_a_waiter_names_the_root(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  call_t call;
  call_after(ctx, &call, f->root);
  assert_int_equal(dusk_context_detach(f->root, NULL, NULL), UV_EBUSY);
  dusk_context_cancel(ctx, NULL);
  assert_int_equal(dusk_context_detach(f->root, NULL, NULL), UV_EBUSY);
  run(&f->loop);
  assert_int_equal(call.calls, 1);
  dusk_context_unref(ctx);
}

/* DUSK-023, DUSK-040 */
static void detach_tells_misuse(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  assert_int_equal(dusk_context_detach(NULL, NULL, NULL), UV_EINVAL);
  assert_int_equal(dusk_context_detach(ctx, NULL, NULL), UV_EINVAL);
  dusk_context_t *second;
  assert_int_equal(dusk_context_attach(&f->loop, &second), 0);
  assert_int_equal(dusk_context_detach(second, NULL, NULL), 0);
  assert_int_equal(dusk_context_detach(second, NULL, NULL), UV_EALREADY);
  run(&f->loop);
  assert_int_equal(dusk_context_attach(NULL, &second), UV_EINVAL);
  assert_int_equal(dusk_context_attach(&f->loop, NULL), UV_EINVAL);
  end(ctx);
}

/* DUSK-024 */
static void contexts_outlive_their_loop(void **state) {
  (void)state;
  uv_loop_t loop;
  dusk_context_t *root;
  assert_int_equal(uv_loop_init(&loop), 0);
  assert_int_equal(dusk_context_attach(&loop, &root), 0);
  dusk_context_t *cancelled = with_cancel(root);
  dusk_context_t *timed = with_timeout(root, 1, NULL);
  uint64_t deadline_ns = dusk_context_deadline(timed);
  assert_int_equal(dusk_context_detach(root, NULL, NULL), 0);
  assert_null(dusk_context_loop(timed));
  run(&loop);
  assert_int_equal(uv_loop_close(&loop), 0);
  memset(&loop, 0xff, sizeof(loop));

  assert_null(dusk_context_loop(cancelled));
  dusk_context_t *late = with_timeout(cancelled, 1000, NULL);
  assert_live(cancelled);
  dusk_context_cancel(cancelled, NULL);
  assert_ended(late, UV_ECANCELED, &dusk_canceled);
  wait_until(deadline_ns);
  assert_ended(timed, UV_ETIMEDOUT, &dusk_deadline_exceeded);
  dusk_context_unref(cancelled);
  dusk_context_unref(late);
  dusk_context_unref(timed);
}

static void ctx_009_a_fresh_context_lives(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  assert_live(ctx);
  assert_ptr_equal(dusk_context_loop(ctx), &f->loop);
  end(ctx);
}

static void ctx_010_cancel_is_synchronous(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  dusk_context_cancel(ctx, NULL);
  assert_int_equal(dusk_context_err(ctx), UV_ECANCELED);
  dusk_context_unref(ctx);
}

static void ctx_011_all_descendants_end_on_return(void **state) {
  fixture_t *f = *state;
  dusk_context_t *top = with_cancel(f->root);
  dusk_context_t *value = with_value(top, &key, NULL);
  dusk_context_t *below[3] = {with_cancel(value), with_cancel(top), NULL};
  below[2] = with_cancel(below[0]);
  dusk_context_cancel(top, NULL);
  assert_int_equal(dusk_context_err(value), UV_ECANCELED);
  for (int i = 0; i < 3; i++) {
    assert_int_equal(dusk_context_err(below[i]), UV_ECANCELED);
    dusk_context_unref(below[i]);
  }
  dusk_context_unref(value);
  dusk_context_unref(top);
}

static void ctx_012_the_texts_of_ends_are_gos(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  dusk_context_cancel(ctx, NULL);
  assert_string_equal(dusk_strerror(dusk_context_err(ctx)), "context canceled");
  assert_string_equal(dusk_context_cause(ctx)->text, "context canceled");
  assert_int_equal(dusk_context_cause(ctx)->code, UV_ECANCELED);
  dusk_context_unref(ctx);
}

static void ctx_013_later_cancels_change_nothing(void **state) {
  static const dusk_cause_t first = {UV_EIO, "first"};
  static const dusk_cause_t second = {UV_EPIPE, "second"};
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 60000, NULL);
  uint64_t deadline_ns = dusk_context_deadline(ctx);
  dusk_context_cancel(ctx, &first);
  dusk_context_cancel(ctx, &second);
  dusk_context_cancel(ctx, NULL);
  assert_ended(ctx, UV_ECANCELED, &first); /* CTX-020 */
  assert_true(dusk_context_deadline(ctx) == deadline_ns);
  dusk_context_unref(ctx);
  dusk_context_cancel(NULL, NULL);
  dusk_context_unref(NULL);
}

static void ctx_017_a_childs_end_leaves_its_parent(void **state) {
  fixture_t *f = *state;
  dusk_context_t *parent = with_cancel(f->root);
  dusk_context_t *child = with_cancel(parent);
  dusk_context_cancel(child, NULL);
  assert_ended(child, UV_ECANCELED, &dusk_canceled);
  assert_live(parent);
  dusk_context_unref(child);
  end(parent);
}

static void ctx_018_a_childs_end_leaves_its_siblings(void **state) {
  fixture_t *f = *state;
  dusk_context_t *siblings[3];
  for (int i = 0; i < 3; i++)
    siblings[i] = with_cancel(f->root);
  for (int i = 0; i < 3; i++) {
    for (int j = i; j < 3; j++)
      assert_live(siblings[j]);
    dusk_context_cancel(siblings[i], NULL);
  }
  for (int i = 0; i < 3; i++)
    dusk_context_unref(siblings[i]);
}

static void ctx_024_cancel_ends_every_kind_below(void **state) {
  fixture_t *f = *state;
  dusk_context_t *parent = with_cancel(f->root);
  dusk_context_t *child = with_cancel(parent);
  dusk_context_t *value = with_value(parent, &key, NULL);
  dusk_context_t *timer = with_timeout(value, 3600000, NULL);
  call_t call;
  call_after(parent, &call, f->root);
  assert_live(parent); /* CTX-025 */
  assert_live(child);
  assert_live(value);
  assert_live(timer);
  assert_int_equal(entries(parent), 3); /* CTX-026 */

  dusk_context_cancel(parent, NULL);
  assert_int_equal(entries(parent), 0); /* CTX-027 */
  assert_ended(child, UV_ECANCELED, &dusk_canceled);
  assert_ended(value, UV_ECANCELED, &dusk_canceled);
  assert_ended(timer, UV_ECANCELED, &dusk_canceled);
  dusk_context_t *late = with_value(parent, &key, NULL); /* CTX-028 */
  assert_ended(late, UV_ECANCELED, &dusk_canceled);

  run(&f->loop);
  assert_int_equal(call.calls, 1);
  dusk_context_t *all[] = {late, timer, value, child, parent};
  for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
    dusk_context_unref(all[i]);
}

static void ctx_029_an_ended_parent_has_ended_children(void **state) {
  static const dusk_cause_t cause = {UV_EIO, "why"};
  fixture_t *f = *state;
  dusk_context_t *parent = with_cancel(f->root);
  dusk_context_cancel(parent, &cause);
  dusk_context_t *child = with_cancel(parent);
  dusk_context_t *timed = with_timeout(parent, 0, &dusk_canceled);
  assert_ended(child, UV_ECANCELED, &cause);
  assert_ended(timed, UV_ECANCELED, &cause);
  assert_int_equal(entries(parent), 0);
  dusk_context_unref(timed);
  dusk_context_unref(child);
  dusk_context_unref(parent);
}

enum { LAYERS = 40 };

static const dusk_key_t keys[LAYERS];

/* A chain of `len` layers of random kinds; those that can be cancelled. */
static dusk_context_t *layers(dusk_context_t *root, dusk_context_t **chain,
                              int len, uint64_t timeout_ms) {
  dusk_context_t *ctx = root;
  for (int i = 0; i < len; i++) {
    switch (rand() % 3) {
    case 0:
      ctx = with_value(ctx, &keys[i], &chain[i]);
      break;
    case 1:
      ctx = with_cancel(ctx);
      break;
    default:
      ctx = with_timeout(ctx, timeout_ms, NULL);
    }
    chain[i] = ctx;
  }
  return ctx;
}

static void check_values(dusk_context_t **chain) {
  for (int i = 0; i < LAYERS; i++) {
    void *value = dusk_context_value(chain[LAYERS - 1], &keys[i]);
    assert_true(value == NULL || value == &chain[i]);
    assert_ptr_equal(dusk_context_value(chain[i], &keys[i]), value);
  }
}

static void unref_all(dusk_context_t **chain) {
  for (int i = 0; i < LAYERS; i++)
    dusk_context_unref(chain[i]);
}

static void ctx_037_cancelling_any_layer_ends_the_innermost(void **state) {
  fixture_t *f = *state;
  dusk_context_t *chain[LAYERS];
  for (int seed = 1; seed <= 100; seed++) {
    srand((unsigned)seed);
    dusk_context_t *last = layers(f->root, chain, LAYERS, 3600000);
    assert_live(last); /* CTX-039 */
    dusk_context_t *top = with_cancel(chain[rand() % (LAYERS - 1)]);
    dusk_context_t *below = with_value(top, &key, NULL);
    dusk_context_cancel(top, NULL);
    assert_ended(below, UV_ECANCELED, &dusk_canceled);
    assert_live(last);
    for (int i = rand() % LAYERS; dusk_context_err(last) == 0;
         i = rand() % LAYERS)
      cancel_any(chain[i], NULL);
    assert_ended(last, UV_ECANCELED, &dusk_canceled);
    check_values(chain); /* CTX-089, CTX-090 */
    dusk_context_unref(below);
    dusk_context_unref(top);
    unref_all(chain);
  }
}

static void ctx_038_layers_end_by_their_timeout(void **state) {
  fixture_t *f = *state;
  dusk_context_t *chain[LAYERS];
  for (int seed = 1; seed <= 10; seed++) {
    srand((unsigned)seed);
    dusk_context_t *last = layers(f->root, chain, LAYERS, 1);
    call_t call;
    call_after(last, &call, f->root);
    run(&f->loop);
    assert_int_equal(call.calls, 1);
    assert_ended(last, UV_ETIMEDOUT, &dusk_deadline_exceeded);
    check_values(chain); /* CTX-090 */
    unref_all(chain);
  }
}

/* Whichever of several arguments is missing, it is the same error. */
static void ctx_142_misuse_is_an_error(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = (dusk_context_t *)&ctx;
  int errs[] = {
      dusk_context_with_cancel(NULL, &ctx),
      dusk_context_with_cancel(f->root, NULL),
      dusk_context_with_deadline(NULL, 0, NULL, &ctx), /* CTX-143 */
      dusk_context_with_deadline(f->root, 0, NULL, NULL),
      dusk_context_with_timeout(NULL, 0, NULL, &ctx),
      dusk_context_with_timeout(f->root, 0, NULL, NULL),
      dusk_context_with_value(NULL, &key, NULL, &ctx),    /* CTX-144 */
      dusk_context_with_value(f->root, NULL, NULL, &ctx), /* CTX-146 */
      dusk_context_with_value(NULL, NULL, NULL, &ctx),    /* CTX-148 */
      dusk_context_with_value(f->root, &key, NULL, NULL),
      dusk_context_without_cancel(NULL, &ctx), /* CTX-145 */
      dusk_context_without_cancel(f->root, NULL),
  };
  for (size_t i = 0; i < sizeof(errs) / sizeof(errs[0]); i++)
    assert_int_equal(errs[i], UV_EINVAL);
  assert_ptr_equal(ctx, &ctx);
  assert_int_equal(entries(f->root), 0);
}

static void ctx_153_a_child_is_one_entry_until_it_ends(void **state) {
  fixture_t *f = *state;
  dusk_context_t *parent = with_cancel(f->root);
  assert_int_equal(entries(parent), 0);
  dusk_context_t *child = with_cancel(parent);
  assert_int_equal(entries(parent), 1);
  dusk_context_cancel(child, NULL);
  assert_int_equal(entries(parent), 0);
  dusk_context_unref(child);

  child = with_timeout(parent, 3600000, NULL); /* CTX-154 */
  assert_int_equal(entries(parent), 1);
  dusk_context_cancel(child, NULL);
  assert_int_equal(entries(parent), 0);
  dusk_context_unref(child);

  child = with_timeout(parent, 1, NULL); /* CTX-155 */
  call_t call;
  call_after(child, &call, f->root);
  run(&f->loop);
  assert_int_equal(entries(parent), 0);
  dusk_context_unref(child);
  end(parent);
}

static void a_released_child_leaves_its_parent(void **state) {
  fixture_t *f = *state;
  dusk_context_t *parent = with_cancel(f->root);
  dusk_context_t *child = with_cancel(parent);
  dusk_context_t *grandchild = with_cancel(child);
  dusk_context_unref(child);
  assert_int_equal(entries(parent), 1); /* its own child holds it */
  assert_live(grandchild);              /* DUSK-009 */
  dusk_context_unref(grandchild);
  assert_int_equal(entries(parent), 0); /* CTX-157 */
  assert_live(parent);
  end(parent);
}

/* DUSK-008 */
static void the_last_release_ends_a_live_context(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  assert_ptr_equal(dusk_context_ref(ctx), ctx);
  call_t call;
  call_after(ctx, &call, f->root);
  dusk_context_unref(ctx);
  turn(&f->loop);
  assert_int_equal(call.calls, 0);
  dusk_context_unref(ctx);
  run(&f->loop);
  assert_int_equal(call.calls, 1);
}

static void ctx_158_a_child_keeps_its_ancestors_readable(void **state) {
  fixture_t *f = *state;
  int value;
  dusk_context_t *layer = with_value(f->root, &key, &value);
  dusk_context_t *parent = with_cancel(layer);
  dusk_context_t *child = with_cancel(parent);
  dusk_context_unref(layer);
  dusk_context_unref(parent);
  assert_ptr_equal(dusk_context_value(child, &key), &value);
  assert_live(child);
  end(child);
}

/* DUSK-076 */
static void every_context_tells_its_root(void **state) {
  fixture_t *f = *state;
  fixture_t other;
  still_open(&other);
  dusk_context_t *layer = with_value(f->root, &key, NULL);
  dusk_context_t *timed = with_timeout(layer, 60000, NULL);
  dusk_context_t *apart = without_cancel(timed);
  dusk_context_t *there = with_root(timed, other.root);
  assert_ptr_equal(dusk_context_root(f->root), f->root);
  assert_ptr_equal(dusk_context_root(layer), f->root);
  assert_ptr_equal(dusk_context_root(timed), f->root);
  assert_ptr_equal(dusk_context_root(apart), f->root);
  assert_ptr_equal(dusk_context_root(there), other.root);
  dusk_context_unref(there);
  still_close(&other);
  dusk_context_unref(apart);
  dusk_context_unref(timed);
  dusk_context_unref(layer);
}

/* DUSK-037 */
static void sizes_are_what_was_promised(void **state) {
  (void)state;
  /* With the 8 bytes that malloc takes of its own, or else an age. */
#ifdef DUSK__AGES
  const size_t more = 0;
#else
  const size_t more = 8;
#endif
  if (sizeof(void *) == 8) {
    assert_true(sizeof(dusk__node_t) + more <= 96);
    assert_true(sizeof(dusk__timed_t) + more <= 128);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      fixture_test(ctx_001_a_root_never_ends),
      fixture_test(ctx_006_a_root_has_nothing),
      fixture_test(two_roots_on_one_loop),
      cmocka_unit_test(loop_data_stays_the_users),
      fixture_test(detach_refuses_while_a_waiter_names_the_root),
      fixture_test(detach_tells_misuse),
      cmocka_unit_test(contexts_outlive_their_loop),
      fixture_test(ctx_009_a_fresh_context_lives),
      fixture_test(ctx_010_cancel_is_synchronous),
      fixture_test(ctx_011_all_descendants_end_on_return),
      fixture_test(ctx_012_the_texts_of_ends_are_gos),
      fixture_test(ctx_013_later_cancels_change_nothing),
      fixture_test(ctx_017_a_childs_end_leaves_its_parent),
      fixture_test(ctx_018_a_childs_end_leaves_its_siblings),
      fixture_test(ctx_024_cancel_ends_every_kind_below),
      fixture_test(ctx_029_an_ended_parent_has_ended_children),
      fixture_test(ctx_037_cancelling_any_layer_ends_the_innermost),
      fixture_test(ctx_038_layers_end_by_their_timeout),
      fixture_test(ctx_142_misuse_is_an_error),
      fixture_test(ctx_153_a_child_is_one_entry_until_it_ends),
      fixture_test(a_released_child_leaves_its_parent),
      fixture_test(the_last_release_ends_a_live_context),
      fixture_test(every_context_tells_its_root),
      fixture_test(ctx_158_a_child_keeps_its_ancestors_readable),
      cmocka_unit_test(sizes_are_what_was_promised),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
