/* Lists of values: what is in them, and what it is as a number or a bool. */
#include "alloc.h"
#include "values.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <uv.h>

static dusk__arena_t arena;

static int tear_down(void **state) {
  (void)state;
  dusk__arena_free(&arena);
  return 0;
}

static const dusk_values_t *list_of(const char *text) {
  const dusk_values_t *values =
      dusk__values_decode(&arena, (dusk__piece_t){text, strlen(text)});
  assert_non_null(values);
  return values;
}

static void expect_list(const char *text, const char *wanted, int err) {
  const dusk_values_t *values = list_of(text);
  const char *name, *value;
  char found[256] = "";
  for (size_t i = 0; dusk_values_at(values, i, &name, &value); i++) {
    size_t len = strlen(found);
    snprintf(found + len, sizeof(found) - len, "<%s=%s>", name, value);
  }
  if (strcmp(found, wanted) != 0 || dusk_values_err(values) != err)
    fail_msg("%s: %s, %d", text, found, dusk_values_err(values));
}

/* Go: TestParseQuery, TestQuerySemicolon. */
static void
srv_361_what_can_be_decoded_is_there_and_the_rest_told(void **state) {
  (void)state;
  expect_list("", "", 0);
  expect_list("a=1", "<a=1>", 0);
  expect_list("a=1&a=2&a=banana", "<a=1><a=2><a=banana>", 0);
  expect_list("b=x+y%21&a", "<b=x y!><a=>", 0);
  expect_list("=b&&=", "<=b><=>", 0);
  expect_list("ascii=%3Ckey%3A+0x90%3E", "<ascii=<key: 0x90>>", 0);
  expect_list("a=1;b=2", "", UV_EINVAL);
  expect_list("a;b=1", "", UV_EINVAL);
  expect_list(";", "", UV_EINVAL);
  expect_list("a=1&b=2;c=3&d=4", "<a=1><d=4>", UV_EINVAL);
  expect_list("a=%3B", "<a=;>", 0);
  expect_list("a=50%&b=2", "<b=2>", UV_EINVAL);
  expect_list("%zz=1&b=2", "<b=2>", UV_EINVAL);
  expect_list("a%00=1&b=%00&c=3", "<c=3>", UV_EINVAL);
  expect_list("a=%&a=%&a=%", "", UV_EINVAL);
}

static void names_are_found(void **state) {
  (void)state;
  const dusk_values_t *values = list_of("a=1&b=&c&a=2&=e&A=3&%61+b=4");
  assert_string_equal(dusk_values_get(values, "a"), "1");
  assert_string_equal(dusk_values_get(values, "b"), "");
  assert_string_equal(dusk_values_get(values, "c"), "");
  assert_string_equal(dusk_values_get(values, ""), "e");
  assert_string_equal(dusk_values_get(values, "A"), "3");
  assert_string_equal(dusk_values_get(values, "a b"), "4");
  assert_null(dusk_values_get(values, "d"));
  assert_null(dusk_values_get(values, "%61+b"));
}

static void all_of_a_name_come_in_order(void **state) {
  (void)state;
  const dusk_values_t *values = list_of("t=1&u=2&t=%&t=3&t");
  size_t at = 0;
  assert_string_equal(dusk_values_next(values, "t", &at), "1");
  assert_string_equal(dusk_values_next(values, "t", &at), "3");
  assert_string_equal(dusk_values_next(values, "t", &at), "");
  assert_null(dusk_values_next(values, "t", &at));
  assert_null(dusk_values_next(values, "t", &at));
  at = SIZE_MAX;
  assert_null(dusk_values_next(values, "t", &at));
}

static void where_one_is_broken_the_next_is_taken(void **state) {
  (void)state;
  uint64_t n = 7;
  const dusk_values_t *values = list_of("n=%zz&n=2&m=%zz&k=1;l=2");
  assert_string_equal(dusk_values_get(values, "n"), "2");
  assert_int_equal(dusk_values_uint(values, "n", 0, 9, &n), 1);
  assert_int_equal(n, 2);
  assert_null(dusk_values_get(values, "m"));
  assert_int_equal(dusk_values_uint(values, "m", 0, 9, &n), UV_EINVAL);
  assert_int_equal(dusk_values_uint(values, "k", 0, 9, &n), UV_EINVAL);
  assert_int_equal(dusk_values_uint(values, "l", 0, 9, &n), 0);
  assert_int_equal(n, 2);
}

/* -- Numbers --------------------------------------------------------------- */

typedef struct number {
  const char *text;
  int int_result;
  int uint_result;
  int64_t as_int;
  uint64_t as_uint;
} number_t;

/* Go: strconv's TestParseInt64, TestParseUint64. */
static void numbers_are_read_as_go_reads_them(void **state) {
  enum { BAD = UV_EINVAL, FAR = UV_ERANGE };
  static const number_t cases[] = {
      {"0", 1, 1, 0, 0},
      {"1", 1, 1, 1, 1},
      {"007", 1, 1, 7, 7},
      {"-0", 1, BAD, 0, 0},
      {"-1", 1, BAD, -1, 0},
      {"%2B5", 1, BAD, 5, 0},
      {"+5", BAD, BAD, 0, 0}, /* the '+' is a blank */
      {"5+", BAD, BAD, 0, 0},
      {"5%0A", BAD, BAD, 0, 0},
      {"", BAD, BAD, 0, 0},
      {"-", BAD, BAD, 0, 0},
      {"%2B", BAD, BAD, 0, 0},
      {"--1", BAD, BAD, 0, 0},
      {"-%2B1", BAD, BAD, 0, 0},
      {"1_000", BAD, BAD, 0, 0},
      {"1,000", BAD, BAD, 0, 0},
      {"1.0", BAD, BAD, 0, 0},
      {"1e3", BAD, BAD, 0, 0},
      {"0x10", BAD, BAD, 0, 0},
      {"12a", BAD, BAD, 0, 0},
      {"%EF%BC%91", BAD, BAD, 0, 0}, /* a wide 1 */
      {"9223372036854775807", 1, 1, INT64_MAX, INT64_MAX},
      {"9223372036854775808", FAR, 1, 0, (uint64_t)INT64_MAX + 1},
      {"-9223372036854775808", 1, BAD, INT64_MIN, 0},
      {"-9223372036854775809", FAR, BAD, 0, 0},
      {"18446744073709551615", FAR, 1, 0, UINT64_MAX},
      {"18446744073709551616", FAR, FAR, 0, 0},
      {"18446744073709551620", FAR, FAR, 0, 0},
      {"99999999999999999999999999999999", FAR, FAR, 0, 0},
      {"99999999999999999999999999999999x", BAD, BAD, 0, 0},
      {"000000000000000000000000000000000000001", 1, 1, 1, 1},
  };
  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    const number_t *wanted = &cases[i];
    char text[80];
    snprintf(text, sizeof(text), "n=%s", wanted->text);
    const dusk_values_t *values = list_of(text);
    int64_t as_int = 0;
    uint64_t as_uint = 0;
    int int_result =
        dusk_values_int(values, "n", INT64_MIN, INT64_MAX, &as_int);
    int uint_result = dusk_values_uint(values, "n", 0, UINT64_MAX, &as_uint);
    if (int_result != wanted->int_result ||
        uint_result != wanted->uint_result || as_int != wanted->as_int ||
        as_uint != wanted->as_uint)
      fail_msg("%s: %d, %d", wanted->text, int_result, uint_result);
  }
}

static void bounds_belong_to_the_numbers(void **state) {
  (void)state;
  const dusk_values_t *values = list_of("page=10&shift=-10");
  uint64_t page = 1;
  int64_t shift = 1;
  assert_int_equal(dusk_values_uint(values, "page", 11, 99, &page), UV_ERANGE);
  assert_int_equal(dusk_values_uint(values, "page", 0, 9, &page), UV_ERANGE);
  assert_int_equal(page, 1);
  assert_int_equal(dusk_values_uint(values, "page", 10, 10, &page), 1);
  assert_int_equal(page, 10);
  assert_int_equal(dusk_values_int(values, "shift", -9, 0, &shift), UV_ERANGE);
  assert_int_equal(dusk_values_int(values, "shift", -99, -11, &shift),
                   UV_ERANGE);
  assert_int_equal(shift, 1);
  assert_int_equal(dusk_values_int(values, "shift", -10, -10, &shift), 1);
  assert_int_equal(shift, -10);
}

static void what_is_not_there_keeps_its_default(void **state) {
  (void)state;
  const dusk_values_t *values = list_of("a=1");
  uint64_t page = 3;
  int64_t shift = -3;
  bool all = true;
  assert_int_equal(dusk_values_uint(values, "page", 1, 9, &page), 0);
  assert_int_equal(dusk_values_int(values, "shift", 1, 9, &shift), 0);
  assert_int_equal(dusk_values_bool(values, "all", &all), 0);
  assert_int_equal(page, 3);
  assert_int_equal(shift, -3);
  assert_true(all);
}

/* Go: strconv's TestParseBool. */
static void bools_are_read_as_go_reads_them(void **state) {
  static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
  static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
  static const char *const bad[] = {"",   "on", "yes", "tRUE",  "2",
                                    "01", "+1", "1+",  "truex", "%zz"};
  (void)state;
  bool value = false;
  char text[32];
  for (size_t i = 0; i < 6; i++) {
    snprintf(text, sizeof(text), "b=%s", yes[i]);
    assert_int_equal(dusk_values_bool(list_of(text), "b", &value), 1);
    assert_true(value);
    snprintf(text, sizeof(text), "b=%s", no[i]);
    assert_int_equal(dusk_values_bool(list_of(text), "b", &value), 1);
    assert_false(value);
  }
  value = true;
  for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
    snprintf(text, sizeof(text), "b=%s", bad[i]);
    assert_int_equal(dusk_values_bool(list_of(text), "b", &value), UV_EINVAL);
    assert_true(value);
  }
}

static void nothing_has_nothing_in_it(void **state) {
  (void)state;
  const dusk_values_t *values = list_of("a=1");
  const char *name, *value;
  size_t at = 0;
  int64_t i;
  uint64_t n;
  bool b;
  assert_null(dusk_values_get(NULL, "a"));
  assert_null(dusk_values_get(values, NULL));
  assert_null(dusk_values_next(NULL, "a", &at));
  assert_null(dusk_values_next(values, NULL, &at));
  assert_null(dusk_values_next(values, "a", NULL));
  assert_false(dusk_values_at(NULL, 0, &name, &value));
  assert_int_equal(dusk_values_err(NULL), UV_EINVAL);
  assert_int_equal(dusk_values_int(NULL, "a", 0, 9, &i), UV_EINVAL);
  assert_int_equal(dusk_values_int(values, NULL, 0, 9, &i), UV_EINVAL);
  assert_int_equal(dusk_values_int(values, "a", 0, 9, NULL), UV_EINVAL);
  assert_int_equal(dusk_values_uint(NULL, "a", 0, 9, &n), UV_EINVAL);
  assert_int_equal(dusk_values_uint(values, NULL, 0, 9, &n), UV_EINVAL);
  assert_int_equal(dusk_values_uint(values, "a", 0, 9, NULL), UV_EINVAL);
  assert_int_equal(dusk_values_bool(NULL, "a", &b), UV_EINVAL);
  assert_int_equal(dusk_values_bool(values, NULL, &b), UV_EINVAL);
  assert_int_equal(dusk_values_bool(values, "a", NULL), UV_EINVAL);
}

/* -- Their number ---------------------------------------------------------- */

/* "n&n&...n" */
static const dusk_values_t *list_of_many(size_t count) {
  char *text = malloc(2 * count);
  assert_non_null(text);
  for (size_t i = 0; i < count; i++)
    memcpy(text + 2 * i, "n&", 2);
  const dusk_values_t *values =
      dusk__values_decode(&arena, (dusk__piece_t){text, 2 * count - 1});
  free(text);
  assert_non_null(values);
  return values;
}

static void beyond_ten_thousand_there_are_none(void **state) {
  (void)state;
  const char *name, *value;
  bool b;
  const dusk_values_t *values = list_of_many(10000);
  assert_int_equal(dusk_values_err(values), 0);
  assert_true(dusk_values_at(values, 9999, &name, &value));
  assert_false(dusk_values_at(values, 10000, &name, &value));
  values = list_of_many(10001);
  assert_int_equal(dusk_values_err(values), UV_E2BIG);
  assert_false(dusk_values_at(values, 0, &name, &value));
  assert_null(dusk_values_get(values, "n"));
  assert_int_equal(dusk_values_bool(values, "m", &b), UV_E2BIG);
}

static void a_list_wants_memory(void **state) {
  (void)state;
  alloc_fail_at(1);
  assert_null(dusk__values_decode(&arena, (dusk__piece_t){"a=1", 3}));
  assert_true(alloc_has_failed());
  assert_string_equal(dusk_values_get(list_of("a=1"), "a"), "1");
}

/* Each text's room is told by its length alone. */
static void all_texts_of_six_meaningful_bytes_fit(void **state) {
  static const char bytes[] = {'a', '=', '&', ';', '%', '4'};
  enum { BYTES = sizeof(bytes), LEN = 6 };
  (void)state;
  for (int all = 0; all < BYTES * BYTES * BYTES * BYTES * BYTES * BYTES;
       all++) {
    char text[LEN + 1] = "";
    for (int i = 0, left = all; i < LEN; i++, left /= BYTES)
      text[i] = bytes[left % BYTES];
    const dusk_values_t *values = list_of(text);
    bool is_told = strchr(text, ';') || strchr(text, '%');
    if (!is_told) assert_int_equal(dusk_values_err(values), 0);
    dusk__arena_reset(&arena);
  }
}

#define TEST(f) cmocka_unit_test_teardown(f, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(srv_361_what_can_be_decoded_is_there_and_the_rest_told),
      TEST(names_are_found),
      TEST(all_of_a_name_come_in_order),
      TEST(where_one_is_broken_the_next_is_taken),
      TEST(numbers_are_read_as_go_reads_them),
      TEST(bounds_belong_to_the_numbers),
      TEST(what_is_not_there_keeps_its_default),
      TEST(bools_are_read_as_go_reads_them),
      TEST(nothing_has_nothing_in_it),
      TEST(beyond_ten_thousand_there_are_none),
      TEST(a_list_wants_memory),
      TEST(all_texts_of_six_meaningful_bytes_fit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
