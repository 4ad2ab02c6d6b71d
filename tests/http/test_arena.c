/* A message's memory. */
#include "arena.h"

#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void pieces_are_aligned_and_apart(void **state) {
  (void)state;
  dusk__arena_t arena = {0};
  char *pieces[300];
  for (int i = 0; i < 300; i++) {
    size_t size = (size_t)i % 40 + 1;
    pieces[i] = dusk__arena_alloc(&arena, size);
    assert_non_null(pieces[i]);
    assert_int_equal((uintptr_t)pieces[i] % alignof(max_align_t), 0);
    memset(pieces[i], i, size);
  }
  for (int i = 0; i < 300; i++)
    for (int at = 0; at < i % 40 + 1; at++)
      assert_int_equal((unsigned char)pieces[i][at], (unsigned char)i);
  dusk__arena_free(&arena);
}

static void what_grows_keeps_its_bytes(void **state) {
  (void)state;
  dusk__arena_t arena = {0};
  assert_non_null(dusk__arena_alloc(&arena, 10));
  size_t size = 8;
  char *text = dusk__arena_grow(&arena, NULL, 0, size);
  memset(text, 'a', size);
  for (int i = 0; i < 18; i++) {
    /* Something else may lie behind it, or not. */
    if (i % 3 == 0) assert_non_null(dusk__arena_alloc(&arena, 1));
    text = dusk__arena_grow(&arena, text, size, 2 * size);
    assert_non_null(text);
    memset(text + size, 'a', size);
    size *= 2;
  }
  for (size_t at = 0; at < size; at++)
    assert_int_equal(text[at], 'a');
  dusk__arena_free(&arena);
}

static void a_usual_message_needs_no_allocation(void **state) {
  (void)state;
  dusk__arena_t arena = {0};
  void *first = dusk__arena_alloc(&arena, 100);
  dusk__arena_reset(&arena);
  assert_ptr_equal(dusk__arena_alloc(&arena, 50), first);
  dusk__arena_alloc(&arena, 100000); /* not kept */
  dusk__arena_reset(&arena);
  assert_ptr_equal(dusk__arena_alloc(&arena, 50), first);
  dusk__arena_free(&arena);
  dusk__arena_reset(&arena);
  dusk__arena_free(&arena);
}

static void too_much_is_refused(void **state) {
  (void)state;
  dusk__arena_t arena = {0};
  assert_null(dusk__arena_alloc(&arena, SIZE_MAX));
  assert_null(dusk__arena_alloc(&arena, SIZE_MAX / 2 + 1));
  char *kept = dusk__arena_alloc(&arena, 8);
  assert_null(dusk__arena_grow(&arena, kept, 8, SIZE_MAX - 8));
  dusk__arena_free(&arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(pieces_are_aligned_and_apart),
      cmocka_unit_test(what_grows_keeps_its_bytes),
      cmocka_unit_test(a_usual_message_needs_no_allocation),
      cmocka_unit_test(too_much_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
