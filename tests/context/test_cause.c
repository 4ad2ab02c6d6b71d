/* Causes: the table of Go's TestCause; values; and what keeps its parent's
 * values without its end. */
#include "fixture.h"

static const dusk_cause_t P = {UV_EIO, "parent cause"};
static const dusk_cause_t C = {UV_EPIPE, "child cause"};
static const dusk_cause_t T = {UV_ETIMEDOUT, "timeout cause"};

/* The same text: not the same key. */
static const dusk_key_t k1 = {"k"}, k2 = {"k"}, k3 = {"k"};

/* What is done to a parent and its child, and the causes then; NULL in `what`
 * ends it. Both reasons are UV_ECANCELED. */
typedef struct {
  const char *row;
  struct {
    char who; /* 'p' or 'c' */
    const dusk_cause_t *cause;
  } what[3];
  const dusk_cause_t *parents;
  const dusk_cause_t *childs;
} row_t;

static const row_t rows[] = {
    {"CTX-071", {{'p', &P}, {'c', &C}}, &P, &P},
    {"CTX-072", {{'c', &C}, {'p', &P}}, &P, &C},
    {"CTX-073", {{'p', &P}, {'c', NULL}}, &P, &P},
    {"CTX-074", {{'c', NULL}, {'p', &P}}, &P, &dusk_canceled},
    {"CTX-075", {{'p', NULL}, {'c', &C}}, &dusk_canceled, &dusk_canceled},
    {"CTX-076", {{'c', &C}, {'p', NULL}}, &dusk_canceled, &C},
};

static void ctx_071_to_076_the_first_end_sets_the_cause(void **state) {
  fixture_t *f = *state;
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    print_message("%s\n", rows[i].row);
    dusk_context_t *parent = with_cancel(f->root);
    dusk_context_t *child = with_cancel(parent);
    for (int j = 0; rows[i].what[j].who != 0; j++)
      dusk_context_cancel(rows[i].what[j].who == 'p' ? parent : child,
                          rows[i].what[j].cause);
    assert_ended(parent, UV_ECANCELED, rows[i].parents);
    assert_ended(child, UV_ECANCELED, rows[i].childs); /* CTX-084 */
    dusk_context_unref(child);
    dusk_context_unref(parent);
  }
}

static void ctx_067_a_live_context_has_no_cause(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 3600000, &T);
  assert_null(dusk_context_cause(f->root));
  assert_null(dusk_context_cause(ctx));
  end(ctx);
}

static void ctx_068_a_plain_cancel_has_the_reason_as_cause(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root); /* CTX-070 is the same call */
  dusk_context_cancel(ctx, NULL);
  assert_ended(ctx, UV_ECANCELED, &dusk_canceled);
  dusk_context_unref(ctx);
}

static void ctx_069_the_cause_is_the_very_one_given(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  dusk_context_cancel(ctx, &C);
  assert_ended(ctx, UV_ECANCELED, &C);
  dusk_context_unref(ctx);
}

static void ctx_077_a_timeouts_cause(void **state) {
  fixture_t *f = *state;
  dusk_context_t *plain = with_timeout(f->root, 0, NULL);
  dusk_context_t *given = with_timeout(f->root, 0, &T); /* CTX-078 */
  assert_ended(plain, UV_ETIMEDOUT, &dusk_deadline_exceeded);
  assert_ended(given, UV_ETIMEDOUT, &T);
  dusk_context_unref(plain);
  dusk_context_unref(given);
}

static void ctx_080_a_timeouts_cause_outlasts_the_parents(void **state) {
  fixture_t *f = *state;
  dusk_context_t *parent = with_cancel(f->root);
  dusk_context_t *ctx = with_timeout(parent, 0, &T);
  dusk_context_cancel(parent, &P);
  assert_ended(ctx, UV_ETIMEDOUT, &T);
  dusk_context_unref(ctx);
  dusk_context_unref(parent);
}

static void ctx_081_a_parents_cancel_beats_the_timeout(void **state) {
  fixture_t *f = *state;
  dusk_context_t *parent = with_cancel(f->root);
  dusk_context_t *ctx = with_timeout(parent, 3600000, &T);
  dusk_context_cancel(parent, &P);
  assert_ended(ctx, UV_ECANCELED, &P); /* CTX-032 */
  dusk_context_unref(ctx);
  dusk_context_unref(parent);
}

static void ctx_082_a_layer_answers_for_its_ancestor(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  dusk_context_t *inner = with_value(ctx, &k1, NULL);
  dusk_context_t *outer = with_value(inner, &k2, NULL);
  dusk_context_cancel(ctx, &P);
  assert_ended(outer, UV_ECANCELED, &P);
  dusk_context_unref(outer);
  dusk_context_unref(inner);
  dusk_context_unref(ctx);
}

/* -- Values --------------------------------------------------------------- */

static void ctx_085_the_nearest_layer_with_the_key_answers(void **state) {
  fixture_t *f = *state;
  int v1, v2, v3;
  dusk_context_t *c1 = with_value(f->root, &k1, &v1);
  dusk_context_t *c2 = with_value(c1, &k2, &v2);
  dusk_context_t *c3 = with_value(c2, &k3, &v3);
  dusk_context_t *c4 = with_value(c3, &k1, NULL);
  assert_null(dusk_context_value(f->root, &k1)); /* CTX-086 */
  assert_ptr_equal(dusk_context_value(c1, &k1), &v1);
  assert_null(dusk_context_value(c1, &k2)); /* CTX-087 */
  for (int twice = 0; twice < 2; twice++) { /* CTX-092 */
    assert_ptr_equal(dusk_context_value(c3, &k1), &v1);
    assert_ptr_equal(dusk_context_value(c3, &k2), &v2);
    assert_ptr_equal(dusk_context_value(c3, &k3), &v3);
  }
  assert_null(dusk_context_value(c4, &k1)); /* CTX-088 */
  assert_ptr_equal(dusk_context_value(c4, &k2), &v2);
  dusk_context_t *all[] = {c4, c3, c2, c1};
  for (int i = 0; i < 4; i++)
    dusk_context_unref(all[i]);
}

static void ctx_089_a_look_up_passes_all_kinds(void **state) {
  fixture_t *f = *state;
  int v;
  dusk_context_t *layer = with_value(f->root, &k1, &v);
  dusk_context_t *cancel = with_cancel(layer);
  dusk_context_t *timed = with_timeout(cancel, 3600000, NULL);
  assert_ptr_equal(dusk_context_value(timed, &k1), &v);
  dusk_context_cancel(cancel, NULL);
  assert_ptr_equal(dusk_context_value(timed, &k1), &v); /* CTX-090 */
  dusk_context_unref(timed);
  dusk_context_unref(cancel);
  dusk_context_unref(layer);
}

static void ctx_091_a_layer_adds_nothing_else(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 3600000, NULL);
  size_t before = entries(ctx);
  dusk_context_t *layer = with_value(ctx, &k1, NULL);
  assert_int_equal(entries(ctx), before);
  assert_true(dusk_context_deadline(layer) == dusk_context_deadline(ctx));
  dusk_context_cancel(ctx, &C);
  assert_ended(layer, UV_ECANCELED, &C);
  dusk_context_unref(layer);
  dusk_context_unref(ctx);
}

static void ctx_093_a_deep_look_up_needs_no_stack(void **state) {
  fixture_t *f = *state;
  enum { DEPTH = 200000 };
  static const dusk_key_t other;
  int v;
  dusk_context_t *ctx = with_value(f->root, &k1, &v);
  for (int i = 0; i < DEPTH; i++) {
    dusk_context_t *next = with_value(ctx, &other, NULL);
    dusk_context_unref(ctx); /* held by the next */
    ctx = next;
  }
  assert_ptr_equal(dusk_context_value(ctx, &k1), &v);
  dusk_context_unref(ctx);
}

/* -- Without the parent's end --------------------------------------------- */

static void ctx_094_without_cancel_nothing_ends_it(void **state) {
  fixture_t *f = *state;
  dusk_context_t *parent = with_timeout(f->root, 3600000, &T);
  dusk_context_t *ctx = without_cancel(parent);
  assert_int_equal(entries(parent), 0);
  assert_true(dusk_context_deadline(ctx) == DUSK_OFF);
  assert_ptr_equal(dusk_context_loop(ctx), &f->loop);
  assert_int_equal(dusk_context_bring_forward(ctx, 1), UV_EINVAL);
  call_t call;
  call_after(ctx, &call, f->root);
  dusk_context_cancel(ctx, &C);
  assert_live(ctx);
  dusk_context_cancel(parent, &P);
  assert_live(ctx); /* CTX-096, CTX-097 */
  turn(&f->loop);
  assert_int_equal(call.calls, 0);
  assert_true(dusk_waiter_stop(&call.waiter));
  dusk_context_unref(ctx);
  dusk_context_unref(parent);
}

static void ctx_095_without_cancel_the_values_stay(void **state) {
  fixture_t *f = *state;
  int v;
  dusk_context_t *layer = with_value(f->root, &k1, &v);
  dusk_context_t *ctx = without_cancel(layer);
  dusk_context_t *below = with_cancel(ctx);
  dusk_context_unref(layer);
  assert_ptr_equal(dusk_context_value(ctx, &k1), &v);
  assert_ptr_equal(dusk_context_value(below, &k1), &v); /* CTX-089 */
  assert_null(dusk_context_value(ctx, &k2));
  end(below);
  dusk_context_unref(ctx);
}

/* Whether the parent had ended before or ends after. */
static void ctx_096_without_cancel_there_is_no_cause(void **state) {
  fixture_t *f = *state;
  dusk_context_t *cancelled = with_cancel(f->root);
  dusk_context_t *timed = with_timeout(f->root, 0, &T);
  dusk_context_t *before = without_cancel(cancelled);
  dusk_context_cancel(cancelled, &P);
  dusk_context_t *after = without_cancel(cancelled);
  dusk_context_t *late = without_cancel(timed); /* CTX-097 */
  assert_live(before);
  assert_live(after);
  assert_live(late);
  assert_true(dusk_context_deadline(late) == DUSK_OFF);
  dusk_context_t *all[] = {late, after, before, timed, cancelled};
  for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
    dusk_context_unref(all[i]);
}

static void ctx_097_a_timeout_above_passes_it_by(void **state) {
  fixture_t *f = *state;
  dusk_context_t *parent = with_timeout(f->root, 1, &T);
  dusk_context_t *ctx = without_cancel(parent);
  call_t ended, below;
  call_after(parent, &ended, f->root);
  call_after(ctx, &below, f->root);
  run(&f->loop);
  assert_int_equal(ended.calls, 1);
  assert_int_equal(below.calls, 0);
  assert_live(ctx);
  assert_true(dusk_waiter_stop(&below.waiter));
  dusk_context_unref(ctx);
  dusk_context_unref(parent);
}

static void ctx_098_what_is_below_ends_by_itself_alone(void **state) {
  fixture_t *f = *state;
  dusk_context_t *parent = with_cancel(f->root);
  dusk_context_t *ctx = without_cancel(parent);
  dusk_context_t *first = with_cancel(ctx);
  dusk_context_t *second = with_cancel(ctx);
  dusk_context_t *below = with_timeout(second, 3600000, NULL);
  assert_int_equal(entries(ctx), 2);
  dusk_context_cancel(parent, &P);
  assert_live(first);
  assert_live(below);
  dusk_context_cancel(first, &C);
  assert_ended(first, UV_ECANCELED, &C);
  assert_live(second);
  dusk_context_cancel(second, NULL);
  assert_ended(below, UV_ECANCELED, &dusk_canceled);
  assert_int_equal(entries(ctx), 0);
  dusk_context_t *all[] = {below, second, first, ctx, parent};
  for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
    dusk_context_unref(all[i]);
}

static void ctx_099_a_deadline_below_is_not_limited(void **state) {
  fixture_t *f = *state;
  uint64_t late = uv_hrtime() + 3600000 * MS;
  dusk_context_t *parent = with_timeout(f->root, 1, &T);
  dusk_context_t *ctx = without_cancel(parent);
  dusk_context_t *below = with_deadline(ctx, late, NULL);
  dusk_context_t *soon = with_timeout(ctx, 2, &C);
  assert_true(dusk_context_deadline(below) == late);
  assert_int_equal(dusk_context_bring_forward(parent, uv_hrtime()), 0);
  assert_ended(parent, UV_ETIMEDOUT, &T);
  assert_live(below);
  assert_true(dusk_context_deadline(below) == late);
  call_t call;
  call_after(soon, &call, f->root);
  run(&f->loop); /* the loop's timer serves what is below as well */
  assert_int_equal(call.calls, 1);
  assert_ended(soon, UV_ETIMEDOUT, &C);
  assert_live(below);
  dusk_context_unref(soon);
  end(below);
  dusk_context_unref(ctx);
  dusk_context_unref(parent);
}

/* DUSK-008, DUSK-009. Otherwise nobody would ever tell its waiters. */
static void without_cancel_its_last_release_ends_it(void **state) {
  fixture_t *f = *state;
  dusk_context_t *parent = with_cancel(f->root);
  dusk_context_t *sibling = with_cancel(parent);
  dusk_context_t *ctx = without_cancel(parent);
  dusk_context_t *below = with_cancel(ctx);
  call_t call;
  call_after(ctx, &call, f->root);
  dusk_context_unref(ctx);
  turn(&f->loop);
  assert_int_equal(call.calls, 0); /* what is below holds it */
  dusk_context_unref(below);
  run(&f->loop);
  assert_int_equal(call.calls, 1);
  assert_int_equal(entries(parent), 1);
  end(sibling);
  end(parent);
}

static void errors_have_texts(void **state) {
  (void)state;
  assert_string_equal(dusk_strerror(UV_ENOMEM), uv_strerror(UV_ENOMEM));
  assert_string_equal(dusk_strerror(UV_EOF), uv_strerror(UV_EOF));
  assert_string_equal(dusk_strerror(DUSK_ESERVERCLOSED), "http: Server closed");
  assert_string_equal(dusk_strerror(-99999), "unknown error"); /* DUSK-041 */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      fixture_test(ctx_067_a_live_context_has_no_cause),
      fixture_test(ctx_068_a_plain_cancel_has_the_reason_as_cause),
      fixture_test(ctx_069_the_cause_is_the_very_one_given),
      fixture_test(ctx_071_to_076_the_first_end_sets_the_cause),
      fixture_test(ctx_077_a_timeouts_cause),
      fixture_test(ctx_080_a_timeouts_cause_outlasts_the_parents),
      fixture_test(ctx_081_a_parents_cancel_beats_the_timeout),
      fixture_test(ctx_082_a_layer_answers_for_its_ancestor),
      fixture_test(ctx_085_the_nearest_layer_with_the_key_answers),
      fixture_test(ctx_089_a_look_up_passes_all_kinds),
      fixture_test(ctx_091_a_layer_adds_nothing_else),
      fixture_test(ctx_093_a_deep_look_up_needs_no_stack),
      fixture_test(ctx_094_without_cancel_nothing_ends_it),
      fixture_test(ctx_095_without_cancel_the_values_stay),
      fixture_test(ctx_096_without_cancel_there_is_no_cause),
      fixture_test(ctx_097_a_timeout_above_passes_it_by),
      fixture_test(ctx_098_what_is_below_ends_by_itself_alone),
      fixture_test(ctx_099_a_deadline_below_is_not_limited),
      fixture_test(without_cancel_its_last_release_ends_it),
      cmocka_unit_test(errors_have_texts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
