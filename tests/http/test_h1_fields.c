/* A response's fields as text. */
#include "h1_fields.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <uv.h>

#include <cmocka.h>

static int add(dusk__h1_fields_t *fields, const char *name, const char *value) {
  return dusk__h1_fields_add(fields, name, strlen(name), value, strlen(value));
}

static void assert_text(const dusk__h1_fields_t *fields, const char *text) {
  assert_int_equal(fields->len, strlen(text));
  assert_memory_equal(fields->text, text, fields->len);
}

static void lines_are_added_and_removed(void **state) {
  dusk__arena_t arena = {0};
  dusk__h1_fields_t fields = {.arena = &arena};
  (void)state;
  assert_int_equal(add(&fields, "A", "b"), 0);
  assert_int_equal(add(&fields, "Bc", ""), 0);
  size_t before = fields.len;
  assert_int_equal(add(&fields, "a", "d: e"), 0);
  assert_text(&fields, "A: b\r\nBc: \r\na: d: e\r\n");
  assert_true(dusk__h1_fields_has(&fields, "bC", 2));
  assert_false(dusk__h1_fields_has(&fields, "B", 1));
  dusk__h1_fields_remove(&fields, "a", 1, before); /* set_header's way */
  assert_text(&fields, "Bc: \r\na: d: e\r\n");
  dusk__h1_fields_remove(&fields, "A", 1, fields.len);
  dusk__h1_fields_remove(&fields, "bc", 2, fields.len);
  assert_int_equal(fields.len, 0);
  assert_false(dusk__h1_fields_has(&fields, "a", 1));
  dusk__arena_free(&arena);
}

static void a_value_may_be_one_of_ours(void **state) {
  dusk__arena_t arena = {0};
  dusk__h1_fields_t fields = {.arena = &arena};
  char name[] = "A0";
  (void)state;
  assert_int_equal(add(&fields, name, "0123456789abcdef"), 0);
  for (char c = '1'; c <= '9'; c++) { /* the text moves on the way */
    char next[] = {'A', c, '\0'};
    const char *value = dusk__h1_fields_get(&fields, name, 2);
    assert_int_equal(add(&fields, next, value), 0);
    name[1] = c;
  }
  for (char c = '0'; c <= '9'; c++)
    assert_string_equal(dusk__h1_fields_get(&fields, (char[]){'A', c}, 2),
                        "0123456789abcdef");
  dusk__h1_fields_unterminate(&fields);
  assert_false(fields.terminated);
  assert_null(memchr(fields.text, '\0', fields.len));
  dusk__arena_free(&arena);
}

static void they_have_a_limit(void **state) {
  static char value[32768];
  dusk__arena_t arena = {0};
  dusk__h1_fields_t fields = {.arena = &arena};
  (void)state;
  memset(value, 'v', sizeof(value) - 1);
  assert_int_equal(add(&fields, "A", value), UV_ENOBUFS);
  assert_int_equal(fields.len, 0);
  value[32768 - 5] = '\0';
  assert_int_equal(add(&fields, "A", value), 0);
  assert_int_equal(fields.len, 32768);
  assert_int_equal(add(&fields, "B", ""), UV_ENOBUFS);
  dusk__arena_free(&arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lines_are_added_and_removed),
      cmocka_unit_test(a_value_may_be_one_of_ours),
      cmocka_unit_test(they_have_a_limit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
