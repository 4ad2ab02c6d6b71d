/* A million contexts, in a row and side by side, on a small stack.
 *
 * Linear time is shown by a bound that a quadratic walk would miss by far: a
 * million steps of a nanosecond each, squared, are a quarter of an hour. */
#include "fixture.h"
#include "tree.h"

#include <stdlib.h>
#include <string.h>

enum { MILLION = 1000000, STACK = 256 * 1024 };

/* Each context is the only holder of the one above it. */
static dusk_context_t *make_chain(dusk_context_t *root, dusk_context_t **top) {
  dusk_context_t *ctx = with_cancel(root);
  *top = dusk_context_ref(ctx);
  for (int i = 1; i < MILLION; i++) {
    dusk_context_t *next = with_cancel(ctx);
    dusk_context_unref(ctx);
    ctx = next;
  }
  return ctx;
}

/* DUSK-033 */
static void a_long_chain_is_cancelled_and_released(void *arg) {
  fixture_t *f = arg;
  dusk_context_t *top;
  dusk_context_t *last = make_chain(f->root, &top);
  dusk_context_cancel(top, NULL);
  assert_ended(last, UV_ECANCELED, &dusk_canceled);
  dusk_context_unref(top);
  dusk_context_unref(last);
}

/* DUSK-033 */
static void a_long_live_chain_is_released(void *arg) {
  fixture_t *f = arg;
  dusk_context_t *top;
  dusk_context_t *last = make_chain(f->root, &top);
  dusk_context_unref(last);
  assert_int_equal(entries(top), 0);
  end(top);
}

static dusk_context_t *attach(fixture_t *f) {
  dusk_context_t *root = NULL;
  assert_int_equal(dusk_context_attach(&f->loop, &root), 0);
  return root;
}

static void detach(dusk_context_t *root) {
  assert_int_equal(entries(root), 0);
  assert_int_equal(dusk_context_detach(root, NULL, NULL), 0);
}

/* As make_chain, from tree to tree. Takes a reference of the top. */
static dusk_context_t *make_crossing_chain(dusk_context_t *top,
                                           dusk_context_t *roots[2]) {
  dusk_context_t *ctx = dusk_context_ref(top);
  for (int i = 0; i < MILLION; i++) {
    dusk_context_t *next = with_root(ctx, roots[i % 2]);
    dusk_context_unref(ctx);
    ctx = next;
  }
  return ctx;
}

/* DUSK-033 */
static void a_long_chain_through_two_trees_is_cancelled(void *arg) {
  fixture_t *f = arg;
  dusk_context_t *roots[] = {attach(f), f->root};
  uint64_t late = uv_hrtime() + 3600000 * MS;
  dusk_context_t *top = with_deadline(f->root, late, NULL);
  dusk_context_t *last = make_crossing_chain(top, roots);
  assert_true(dusk_context_deadline(last) == late);
  dusk_context_bring_forward(top, late - 1);
  assert_true(dusk_context_deadline(last) == late - 1);
  dusk_context_cancel(top, NULL);
  assert_ended(last, UV_ECANCELED, &dusk_canceled);
  dusk_context_unref(last);
  dusk_context_unref(top);
  detach(roots[0]);
}

/* DUSK-033 */
static void a_long_live_chain_through_two_trees_is_released(void *arg) {
  fixture_t *f = arg;
  dusk_context_t *roots[] = {attach(f), f->root};
  dusk_context_t *top = with_cancel(f->root);
  dusk_context_unref(make_crossing_chain(top, roots));
  assert_int_equal(entries(top), 0);
  end(top);
  detach(roots[0]);
}

/* The one whose deadline it is gets further and further away. */
static void a_long_chain_is_left_by_other_trees(void *arg) {
  static const dusk_cause_t cause = {UV_EIO, "far above"};
  fixture_t *f = arg;
  dusk_context_t *other = attach(f);
  dusk_context_t *top = with_timeout(f->root, 3600000, &cause);
  dusk_context_t *ctx = dusk_context_ref(top), *leaf = NULL;
  for (int i = 0; i < MILLION; i++) {
    dusk_context_t *next = with_cancel(ctx);
    dusk_context_unref(ctx);
    dusk_context_unref(leaf);
    ctx = next;
    leaf = with_root(ctx, other);
  }
  assert_true(dusk_context_deadline(leaf) == dusk_context_deadline(top));
  dusk_context_bring_forward(top, uv_hrtime());
  assert_ended(leaf, UV_ETIMEDOUT, &cause);
  dusk_context_unref(leaf);
  dusk_context_unref(ctx);
  dusk_context_unref(top);
  detach(other);
}

/* DUSK-034 */
static void many_children_are_cancelled_with_their_parent(void *arg) {
  fixture_t *f = arg;
  dusk_context_t **children = malloc(MILLION * sizeof(children[0]));
  dusk_context_t *parent = with_cancel(f->root);
  for (int i = 0; i < MILLION; i++)
    children[i] = with_cancel(parent);
  dusk_context_cancel(parent, NULL);
  for (int i = 0; i < MILLION; i++) {
    if (dusk_context_err(children[i]) != UV_ECANCELED) fail();
    dusk_context_unref(children[i]);
  }
  dusk_context_unref(parent);
  free(children);
}

/* DUSK-034 */
static void many_children_leave_in_any_order(void *arg) {
  fixture_t *f = arg;
  dusk_context_t **children = malloc(MILLION * sizeof(children[0]));
  dusk_context_t *parent = with_cancel(f->root);
  for (int i = 0; i < MILLION; i++)
    children[i] = with_cancel(parent);
  for (int64_t i = 0; i < MILLION; i++) /* 611957 is prime */
    end(children[i * 611957 % MILLION]);
  assert_int_equal(entries(parent), 0);
  end(parent);
  free(children);
}

/* DUSK-035 */
static void many_deadlines_are_brought_forward_and_end(void *arg) {
  fixture_t *f = arg;
  dusk_context_t **children = malloc(MILLION * sizeof(children[0]));
  dusk_context_t *parent = with_deadline(f->root, DUSK_OFF, NULL);
  uint64_t far = uv_hrtime() + 3600000 * MS;
  for (int64_t i = 0; i < MILLION; i++)
    children[i] =
        with_deadline(parent, far + (uint64_t)(i * 611957 % MILLION), NULL);
  assert_true(dusk_context_deadline(children[0]) == far);
  /* Half of them now tell their parent's, the others their own. */
  dusk_context_bring_forward(parent, far + MILLION / 2);
  assert_int_equal(entries(parent), MILLION);
  dusk_context_bring_forward(parent, uv_hrtime());
  for (int i = 0; i < MILLION; i++) {
    if (dusk_context_err(children[i]) != UV_ETIMEDOUT) fail();
    dusk_context_unref(children[i]);
  }
  assert_null(((dusk__root_t *)f->root)->heap);
  dusk_context_unref(parent);
  free(children);
}

/* Of all kinds that a chain can have a million of. */
static dusk_context_t *make_mixed_chain(dusk_context_t *roots[2]) {
  static const dusk_key_t key = {"key"};
  uint64_t late = uv_hrtime() + 3600000 * MS;
  dusk_context_t *ctx = dusk_context_ref(roots[0]);
  for (uint64_t i = 0; i < MILLION; i++) {
    dusk_context_t *next = NULL;
    switch (i % 5) {
    case 0:
      next = with_value(ctx, &key, ctx);
      break;
    case 1:
      next = with_deadline(ctx, late - i, NULL);
      break;
    case 2:
      next = with_root(ctx, roots[(i / 5 + 1) % 2]);
      break;
    case 3:
      next = without_cancel(ctx);
      break;
    default:
      next = with_cancel(ctx);
    }
    dusk_context_unref(ctx);
    ctx = next;
  }
  return ctx;
}

static void a_long_chain_has_a_text(void *arg) {
  static const char start[] = "context.Background.WithValue(key, 0x";
  static const char rest[] = "s]).WithRoot.WithoutCancel.WithCancel";
  fixture_t *f = arg;
  dusk_context_t *roots[] = {f->root, attach(f)};
  dusk_context_t *last = make_mixed_chain(roots);
  size_t len = dusk_context_text(last, NULL, 0);
  assert_true(len > MILLION * 15);
  /* Room for a time left that has more digits by then. */
  char *text = malloc(len + MILLION);
  assert_non_null(text);
  len = dusk_context_text(last, text, len + MILLION);
  assert_int_equal(strlen(text), len);
  assert_memory_equal(text, start, sizeof(start) - 1);
  assert_string_equal(text + len - (sizeof(rest) - 1), rest);
  free(text);
  dusk_context_unref(last);
  detach(roots[1]);
}

static void a_long_chain_is_listed(void *arg) {
  fixture_t *f = arg;
  dusk_context_t *top;
  dusk_context_t *last = make_chain(f->root, &top);
  dusk_context_entry_t *entries =
      malloc(MILLION * sizeof(dusk_context_entry_t));
  assert_non_null(entries);
  assert_int_equal(dusk_context_tree(f->root, entries, MILLION), MILLION + 1);
  for (unsigned i = 0; i < MILLION; i++) {
    if (entries[i].depth != i) fail();
  }
  assert_ptr_equal(entries[1].ctx, top);
  free(entries);
  dusk_context_unref(top);
  dusk_context_unref(last);
}

/* Each child has a chain below it, from which the walk comes back up. */
static void a_wide_tree_is_listed(void *arg) {
  enum { CHILDREN = 100, LENGTH = 1000, ALL = CHILDREN * LENGTH };
  fixture_t *f = arg;
  dusk_context_t *last[CHILDREN];
  dusk_context_t *parent = with_cancel(f->root);
  for (int i = 0; i < CHILDREN; i++) {
    last[i] = with_cancel(parent);
    for (int j = 1; j < LENGTH; j++) {
      dusk_context_t *next = with_cancel(last[i]);
      dusk_context_unref(last[i]);
      last[i] = next;
    }
  }
  dusk_context_entry_t *entries =
      malloc((ALL + 1) * sizeof(dusk_context_entry_t));
  assert_non_null(entries);
  assert_int_equal(dusk_context_tree(parent, entries, ALL + 1), ALL + 1);
  for (unsigned i = 0; i < ALL; i++) {
    if (entries[i + 1].depth != i % LENGTH + 1) fail();
  }
  free(entries);
  for (int i = 0; i < CHILDREN; i++)
    dusk_context_unref(last[i]);
  end(parent);
}

typedef struct {
  void (*test)(void *f);
  fixture_t *f;
} job_t;

static void run_job(void *arg) {
  job_t *job = arg;
  job->test(job->f);
}

static void on_small_stack(void **state, void (*test)(void *f)) {
  uv_thread_options_t options = {.flags = UV_THREAD_HAS_STACK_SIZE,
                                 .stack_size = STACK};
  job_t job = {test, *state};
  uv_thread_t thread;
  uint64_t start = uv_hrtime();
  assert_int_equal(uv_thread_create_ex(&thread, &options, run_job, &job), 0);
  uv_thread_join(&thread);
  assert_true(uv_hrtime() - start < 90000 * MS);
  turn(&job.f->loop);
}

#define SMALL_STACK(test)                                                      \
  static void on_a_small_stack_##test(void **state) {                          \
    on_small_stack(state, test);                                               \
  }

SMALL_STACK(a_long_chain_is_cancelled_and_released)
SMALL_STACK(a_long_live_chain_is_released)
SMALL_STACK(a_long_chain_through_two_trees_is_cancelled)
SMALL_STACK(a_long_live_chain_through_two_trees_is_released)
SMALL_STACK(a_long_chain_is_left_by_other_trees)
SMALL_STACK(many_children_are_cancelled_with_their_parent)
SMALL_STACK(many_children_leave_in_any_order)
SMALL_STACK(many_deadlines_are_brought_forward_and_end)
SMALL_STACK(a_long_chain_has_a_text)
SMALL_STACK(a_long_chain_is_listed)
SMALL_STACK(a_wide_tree_is_listed)

int main(void) {
  const struct CMUnitTest tests[] = {
      fixture_test(on_a_small_stack_a_long_chain_is_cancelled_and_released),
      fixture_test(on_a_small_stack_a_long_live_chain_is_released),
      fixture_test(
          on_a_small_stack_a_long_chain_through_two_trees_is_cancelled),
      fixture_test(
          on_a_small_stack_a_long_live_chain_through_two_trees_is_released),
      fixture_test(on_a_small_stack_a_long_chain_is_left_by_other_trees),
      fixture_test(
          on_a_small_stack_many_children_are_cancelled_with_their_parent),
      fixture_test(on_a_small_stack_many_children_leave_in_any_order),
      fixture_test(on_a_small_stack_many_deadlines_are_brought_forward_and_end),
      fixture_test(on_a_small_stack_a_long_chain_has_a_text),
      fixture_test(on_a_small_stack_a_long_chain_is_listed),
      fixture_test(on_a_small_stack_a_wide_tree_is_listed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
