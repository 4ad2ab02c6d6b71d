/* Contexts for people: their texts, and the list of what hangs on one. */
#include "fixture.h"
#include "tree.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const dusk_key_t user = {"user"};
static const dusk_key_t nameless = {NULL};

/* Of every size: as snprintf, and nothing beyond. */
static void assert_cut_well(dusk_context_t *ctx, const char *text) {
  size_t len = strlen(text);
  char *buf = malloc(len + 2);
  assert_non_null(buf);
  for (size_t size = 0; size <= len + 1; size++) {
    memset(buf, '#', len + 2);
    assert_int_equal(dusk_context_text(ctx, size > 0 ? buf : NULL, size), len);
    if (size > 0) {
      assert_memory_equal(buf, text, size - 1);
      assert_int_equal(buf[size - 1], '\0');
    }
    assert_int_equal(buf[size], '#');
  }
  free(buf);
}

static void assert_text(dusk_context_t *ctx, const char *text) {
  char buf[512];
  size_t len = dusk_context_text(ctx, buf, sizeof(buf));
  assert_string_equal(buf, text);
  assert_int_equal(len, strlen(text));
  assert_cut_well(ctx, text);
}

/* DUSK-050 */
static void ctx_003_the_text_of_a_root(void **state) {
  fixture_t *f = *state;
  /* There is one sort of roots. */
  assert_text(f->root, "context.Background");
}

static void ctx_134_layers_print_from_the_root_outwards(void **state) {
  fixture_t *f = *state;
  dusk_context_t *cancel = with_cancel(f->root);
  dusk_context_t *without = without_cancel(cancel);
  dusk_context_t *below = with_cancel(without);
  assert_text(cancel, "context.Background.WithCancel");
  assert_text(without, /* CTX-140 */
              "context.Background.WithCancel.WithoutCancel");
  assert_text(below, /* CTX-139 */
              "context.Background.WithCancel.WithoutCancel.WithCancel");
  dusk_context_cancel(cancel, NULL);
  dusk_context_cancel(below, NULL);
  assert_text(below, "context.Background.WithCancel.WithoutCancel.WithCancel");
  dusk_context_unref(below);
  dusk_context_unref(without);
  dusk_context_unref(cancel);
}

static void ctx_138_a_layer_tells_key_and_value(void **state) {
  fixture_t *f = *state;
  static const dusk_key_t empty = {""};
  dusk_context_t *named = with_value(f->root, &user, (void *)0x2a);
  dusk_context_t *null = with_value(named, &empty, NULL);
  dusk_context_t *bare = with_value(null, &nameless, (void *)UINTPTR_MAX);
  char text[256];
  assert_text(named, "context.Background.WithValue(user, 0x2a)");
  snprintf(text, sizeof(text),
           "context.Background.WithValue(user, 0x2a).WithValue(, <nil>)"
           ".WithValue(0x%" PRIxPTR ", 0x%" PRIxPTR ")",
           (uintptr_t)&nameless, UINTPTR_MAX);
  assert_text(bare, text);
  dusk_context_unref(named);
  dusk_context_unref(null);
  dusk_context_unref(bare);
}

static void a_key_may_have_a_long_name(void **state) {
  fixture_t *f = *state;
  static char name[400];
  static dusk_key_t key = {name};
  char text[512];
  memset(name, 'n', sizeof(name) - 1);
  dusk_context_t *layer = with_value(f->root, &key, NULL);
  snprintf(text, sizeof(text), "context.Background.WithValue(%s, <nil>)", name);
  assert_text(layer, text);
  dusk_context_unref(layer);
}

/* -- Deadlines ------------------------------------------------------------ */

static void text_of(dusk_context_t *ctx, char *buf, size_t size) {
  assert_true(dusk_context_text(ctx, buf, size) < size);
}

/* What a text must begin with that tells this deadline first. */
static void assert_tells_deadline(dusk_context_t *ctx, uint64_t deadline_ns) {
  char text[256], start[128];
  text_of(ctx, text, sizeof(text));
  int len =
      snprintf(start, sizeof(start),
               "context.Background.WithDeadline(%" PRIu64 ".%09" PRIu64 "s [",
               deadline_ns / 1000000000, deadline_ns % 1000000000);
  assert_memory_equal(text, start, (size_t)len);
}

/* What it says about the time left, in milliseconds. */
static int64_t told_left_ms(dusk_context_t *ctx) {
  char text[256], sign[2] = "";
  uint64_t s, ms;
  text_of(ctx, text, sizeof(text));
  const char *left = strchr(text, '[');
  assert_non_null(left);
  if (left[1] == '-') sign[0] = *++left;
  assert_int_equal(sscanf(left + 1, "%" SCNu64 ".%3" SCNu64 "s])", &s, &ms), 2);
  assert_string_equal(strchr(left, ']'), "])");
  int64_t left_ms = (int64_t)(s * 1000 + ms);
  return sign[0] != '\0' ? -left_ms : left_ms;
}

static void ctx_135_a_deadline_and_the_time_left(void **state) {
  fixture_t *f = *state;
  uint64_t at = uv_hrtime() + 3600000 * MS;
  dusk_context_t *ctx = with_deadline(f->root, at, NULL);
  for (int ended = 0; ended < 2; ended++) {
    assert_tells_deadline(ctx, at);
    assert_in_range(told_left_ms(ctx), 3500000, 3600000);
    dusk_context_cancel(ctx, NULL);
  }
  dusk_context_unref(ctx);

  uint64_t past = uv_hrtime() - 1500 * MS;
  ctx = with_deadline(f->root, past, NULL);
  assert_tells_deadline(ctx, past);
  assert_true(told_left_ms(ctx) <= -1500);
  assert_true(told_left_ms(ctx) > -100000);
  dusk_context_unref(ctx);
}

static void ctx_136_a_timeout_is_a_deadline(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 60000, NULL);
  dusk_context_t *below = with_cancel(ctx);
  assert_tells_deadline(ctx, dusk_context_deadline(ctx));
  assert_in_range(told_left_ms(ctx), 1, 60000);
  char text[256];
  text_of(below, text, sizeof(text));
  assert_string_equal(strchr(text, ']'), "]).WithCancel");
  end(below);
  end(ctx);
}

static void ctx_137_one_that_yielded_is_a_with_cancel(void **state) {
  fixture_t *f = *state;
  uint64_t at = uv_hrtime() + 60000 * MS;
  dusk_context_t *parent = with_deadline(f->root, at, NULL);
  dusk_context_t *later = with_deadline(parent, at + 1, NULL);
  dusk_context_t *open = with_deadline(parent, DUSK_OFF, NULL);
  dusk_context_t *equal = with_deadline(parent, at, NULL);
  char text[256];
  for (int ended = 0; ended < 2; ended++) {
    text_of(later, text, sizeof(text));
    assert_string_equal(strchr(text, ']'), "]).WithCancel");
    text_of(open, text, sizeof(text));
    assert_string_equal(strchr(text, ']'), "]).WithCancel");
    text_of(equal, text, sizeof(text));
    assert_memory_equal(strchr(text, ']'), "]).WithDeadline(", 16);
    dusk_context_cancel(parent, NULL);
  }
  dusk_context_t *all[] = {equal, open, later, parent};
  for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
    dusk_context_unref(all[i]);
}

static void a_deadline_brought_forward_is_told(void **state) {
  fixture_t *f = *state;
  uint64_t at = uv_hrtime() + 60000 * MS;
  dusk_context_t *ctx = with_deadline(f->root, DUSK_OFF, NULL);
  dusk_context_t *below = with_deadline(ctx, at, NULL);
  char text[256];
  assert_text(ctx, "context.Background.WithDeadline(none)");
  text_of(below, text, sizeof(text));
  assert_non_null(strstr(text, "(none).WithDeadline("));
  dusk_context_bring_forward(ctx, at - 1);
  assert_tells_deadline(ctx, at - 1);
  text_of(below, text, sizeof(text));
  assert_string_equal(strchr(text, ']'), "]).WithCancel");
  dusk_context_bring_forward(below, at - 2);
  text_of(below, text, sizeof(text));
  assert_memory_equal(strchr(text, ']'), "]).WithDeadline(", 16);
  end(below);
  end(ctx);
}

/* Which no heap has ever seen. */
static void a_deadline_below_an_ended_parent_is_told(void **state) {
  fixture_t *f = *state;
  uint64_t at = uv_hrtime() + 60000 * MS;
  dusk_context_t *parent = with_cancel(f->root);
  dusk_context_cancel(parent, NULL);
  dusk_context_t *ctx = with_deadline(parent, at, NULL);
  char text[256], piece[64];
  assert_true(dusk_context_deadline(ctx) == at);
  assert_ended(ctx, UV_ECANCELED, &dusk_canceled);
  snprintf(piece, sizeof(piece), "WithCancel.WithDeadline(%" PRIu64 ".",
           at / 1000000000);
  text_of(ctx, text, sizeof(text));
  assert_non_null(strstr(text, piece));
  dusk_context_unref(ctx);
  dusk_context_unref(parent);
}

/* -- The list of what hangs on a context ---------------------------------- */

static void assert_entry(const dusk_context_entry_t *entry,
                         const dusk_context_t *ctx, const char *kind,
                         unsigned depth, unsigned waiters) {
  assert_ptr_equal(entry->ctx, ctx);
  assert_string_equal(entry->kind, kind);
  assert_int_equal(entry->depth, depth);
  assert_int_equal(entry->waiters, waiters);
  assert_true(entry->deadline_ns == dusk_context_deadline(ctx));
}

enum { A, A1, A11, A2, B, WITHOUT, BELOW, LAYER, ALL };

/* root - a - a1 - a11; a - a2; root - b; below b something that doesn't end
 * with it, and a child of that. Made so that the newest come in this order. */
static void grow(dusk_context_t *root, dusk_context_t *ctx[ALL]) {
  ctx[B] = with_cancel(root);
  ctx[A] = with_cancel(root);
  ctx[A2] = with_cancel(ctx[A]);
  ctx[LAYER] = with_value(ctx[A], &user, NULL);
  ctx[A1] = with_timeout(ctx[LAYER], 3600000, NULL);
  ctx[A11] = with_cancel(ctx[A1]);
  ctx[WITHOUT] = without_cancel(ctx[B]);
  ctx[BELOW] = with_cancel(ctx[WITHOUT]);
}

/* DUSK-049 */
static void the_tree_is_what_would_end_with_it(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx[ALL];
  dusk_context_entry_t e[8];
  call_t calls[3];
  grow(f->root, ctx);
  call_after(ctx[A11], &calls[0], f->root);
  call_after(ctx[A11], &calls[1], f->root);
  call_after(f->root, &calls[2], f->root);

  assert_int_equal(dusk_context_tree(f->root, e, 8), 6);
  assert_entry(&e[0], f->root, "Background", 0, 1);
  assert_entry(&e[1], ctx[A], "WithCancel", 1, 0);
  assert_entry(&e[2], ctx[A1], "WithDeadline", 2, 0);
  assert_entry(&e[3], ctx[A11], "WithCancel", 3, 2);
  assert_entry(&e[4], ctx[A2], "WithCancel", 2, 0);
  assert_entry(&e[5], ctx[B], "WithCancel", 1, 0);
  assert_true(e[1].deadline_ns == DUSK_OFF);
  assert_true(e[3].deadline_ns == e[2].deadline_ns);

  /* Each by itself, at depth 0; a value layer answers for its node. */
  assert_int_equal(dusk_context_tree(ctx[LAYER], e, 8), 4);
  assert_entry(&e[0], ctx[A], "WithCancel", 0, 0);
  assert_entry(&e[2], ctx[A11], "WithCancel", 2, 2);
  assert_entry(&e[3], ctx[A2], "WithCancel", 1, 0);
  assert_int_equal(dusk_context_tree(ctx[WITHOUT], e, 8), 2);
  assert_entry(&e[0], ctx[WITHOUT], "WithoutCancel", 0, 0);
  assert_entry(&e[1], ctx[BELOW], "WithCancel", 1, 0);

  /* What has ended hangs on nothing, and nothing on it. */
  dusk_context_cancel(ctx[A1], NULL);
  assert_int_equal(dusk_context_tree(ctx[A], e, 8), 2);
  assert_entry(&e[1], ctx[A2], "WithCancel", 1, 0);
  assert_int_equal(dusk_context_tree(ctx[A1], e, 8), 1);
  assert_entry(&e[0], ctx[A1], "WithDeadline", 0, 0);

  dusk_waiter_stop(&calls[2].waiter);
  for (int i = 0; i < ALL; i++)
    dusk_context_unref(ctx[i]);
  run(&f->loop);
  assert_int_equal(dusk_context_tree(f->root, e, 8), 1);
}

/* DUSK-049 */
static void the_tree_may_be_larger_than_the_room_for_it(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx[ALL];
  dusk_context_entry_t e[4];
  grow(f->root, ctx);
  memset(e, 0x55, sizeof(e));
  assert_int_equal(dusk_context_tree(f->root, NULL, 0), 6);
  assert_int_equal(dusk_context_tree(f->root, e, 3), 6);
  assert_entry(&e[2], ctx[A1], "WithDeadline", 2, 0);
  dusk_context_entry_t untouched;
  memset(&untouched, 0x55, sizeof(untouched));
  assert_memory_equal(&e[3], &untouched, sizeof(untouched));
  for (int i = 0; i < ALL; i++)
    dusk_context_unref(ctx[i]);
}

static void a_context_of_two_trees_is_shown_in_both(void **state) {
  fixture_t *f = *state;
  dusk_context_t *root, *ctx, *same;
  assert_int_equal(dusk_context_attach(&f->loop, &root), 0);
  dusk_context_t *parent = with_cancel(f->root);
  dusk_context_t *layer = with_value(parent, &user, NULL);
  assert_int_equal(dusk_context_with_root(layer, root, &ctx), 0);
  assert_int_equal(dusk_context_with_root(layer, f->root, &same), 0);
  dusk_context_t *below = with_cancel(ctx);
  call_t call;
  call_after(ctx, &call, root);
  assert_text(below, "context.Background.WithCancel.WithValue(user, <nil>)"
                     ".WithRoot.WithCancel");
  assert_text(same, "context.Background.WithCancel.WithValue(user, <nil>)"
                    ".WithCancel");

  dusk_context_entry_t e[4];
  assert_int_equal(dusk_context_tree(f->root, e, 4), 4);
  assert_entry(&e[2], same, "WithCancel", 2, 0);
  assert_entry(&e[3], ctx, "WithRoot", 2, 0);
  assert_int_equal(dusk_context_tree(root, e, 4), 3);
  assert_entry(&e[1], ctx, "WithRoot", 1, 1);
  assert_entry(&e[2], below, "WithCancel", 2, 0);

  dusk_context_cancel(parent, NULL);
  assert_int_equal(dusk_context_tree(f->root, e, 4), 1);
  assert_int_equal(dusk_context_tree(root, e, 4), 1);
  dusk_context_t *all[] = {below, same, ctx, layer, parent};
  for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
    dusk_context_unref(all[i]);
  run(&f->loop);
  assert_int_equal(call.calls, 1);
  assert_int_equal(dusk_context_detach(root, NULL, NULL), 0);
  run(&f->loop);
}

/* DUSK-049 */
static void ages_are_told_in_debug_builds(void **state) {
  fixture_t *f = *state;
  dusk_context_entry_t e[2];
  uint64_t before = uv_hrtime();
  dusk_context_t *ctx = with_timeout(f->root, 60000, NULL);
  uint64_t made = uv_hrtime();
  wait_until(made + 2 * MS);
  assert_int_equal(dusk_context_tree(f->root, e, 2), 2);
  uint64_t after = uv_hrtime();
#ifdef DUSK__AGES
  assert_true(e[1].age_ns >= 2 * MS && e[1].age_ns <= after - before);
  assert_true(e[0].age_ns > e[1].age_ns);
#else
  (void)before;
  (void)after;
  assert_true(e[0].age_ns == DUSK_OFF);
  assert_true(e[1].age_ns == DUSK_OFF);
#endif
  end(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      fixture_test(ctx_003_the_text_of_a_root),
      fixture_test(ctx_134_layers_print_from_the_root_outwards),
      fixture_test(ctx_138_a_layer_tells_key_and_value),
      fixture_test(a_key_may_have_a_long_name),
      fixture_test(ctx_135_a_deadline_and_the_time_left),
      fixture_test(ctx_136_a_timeout_is_a_deadline),
      fixture_test(ctx_137_one_that_yielded_is_a_with_cancel),
      fixture_test(a_deadline_brought_forward_is_told),
      fixture_test(a_deadline_below_an_ended_parent_is_told),
      fixture_test(the_tree_is_what_would_end_with_it),
      fixture_test(the_tree_may_be_larger_than_the_room_for_it),
      fixture_test(a_context_of_two_trees_is_shown_in_both),
      fixture_test(ages_are_told_in_debug_builds),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
