/* Durations, sizes and counts, as operators write them for duskd. */
#include "units.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <uv.h>

enum { UNTOUCHED = 4711 };

typedef int (*parse_t)(const char *text, uint64_t *ret_value);

typedef struct reading {
  const char *text;
  uint64_t value;
} reading_t;

static void reads(parse_t parse, const reading_t readings[], size_t count) {
  for (size_t i = 0; i < count; i++) {
    uint64_t value = UNTOUCHED;
    int err = parse(readings[i].text, &value);
    if (err != 0 || value != readings[i].value)
      fail_msg("\"%s\": %d, %llu", readings[i].text, err,
               (unsigned long long)value);
  }
}

static void refuses(parse_t parse, const char *const texts[], size_t count) {
  for (size_t i = 0; i < count; i++) {
    uint64_t value = UNTOUCHED;
    int err = parse(texts[i], &value);
    if (err != UV_EINVAL || value != UNTOUCHED)
      fail_msg("\"%s\": %d, %llu", texts[i], err, (unsigned long long)value);
  }
}

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static void durations_are_gos(void **state) {
  (void)state;
  static const reading_t readings[] = {
      {"0", 0},
      {"0s", 0},
      {"250ms", 250},
      {"1.5s", 1500},
      {"1.1s", 1100}, /* in whole numbers */
      {".5s", 500},
      {"1.s", 1000},
      {"1m30s", 90000},
      {"1h1m1s1ms", 3661001},
      {"30s1m", 90000},
      {"0.25h", 900000},
      {"0.9999999s", 1000},
      {"007s", 7000},
      /* Up, so that it doesn't become none. */
      {"1ns", 1},
      {"100us", 1},
      {"100\u00b5s", 1},
      {"100\u03bcs", 1},
      {"1.0001ms", 2},
      {"0.0000001s", 1},
      {"0.0000005h", 2},
      {"0.333333333333333333h", 1200000},
      {"600us600us", 2},
      {"9223372036854775807ns", UINT64_C(9223372036855)},
      {"2562047h", UINT64_C(9223369200000)},
  };
  reads(duskd__duration_parse, readings, COUNT(readings));
}

static void what_is_no_duration_is_refused(void **state) {
  (void)state;
  static const char *const texts[] = {
      "", "1", "00", "-1s", "+1s", " 1s", "1s ", "1 s", "s", ".s", ".", "1S",
      "1sec", "1d", "1e3s", "0x1s", "1,5s", "1s1", "1..5s", "1.5.s", "1m-1s",
      "inf", "\xb5s", "1\xc2s",
      /* Beyond Go's 292 years, also in a sum. */
      "9223372036854775808ns", "2562048h", "18446744073709551616ns",
      "2562047h60m"};
  refuses(duskd__duration_parse, texts, COUNT(texts));
}

static void sizes_are_in_powers_of_1024(void **state) {
  (void)state;
  static const reading_t readings[] = {
      {"0", 0},
      {"4096", 4096},
      {"64K", 65536},
      {"64k", 65536},
      {"1M", 1 << 20},
      {"2g", UINT64_C(2) << 30},
      {"17179869183G", UINT64_C(17179869183) << 30},
      {"18446744073709551600", UINT64_C(18446744073709551600)},
  };
  reads(duskd__size_parse, readings, COUNT(readings));
  static const char *const texts[] = {"",
                                      "K",
                                      "-1",
                                      "1.5K",
                                      "1KB",
                                      "1 K",
                                      "1T",
                                      "K1",
                                      "17179869184G",
                                      "18446744073709551616",
                                      "1Ki",
                                      "0x10",
                                      "1K ",
                                      "99999999999999999999G"};
  refuses(duskd__size_parse, texts, COUNT(texts));
}

static void counts_are_whole(void **state) {
  (void)state;
  static const reading_t readings[] = {{"0", 0}, {"1", 1}, {"010", 10}};
  reads(duskd__count_parse, readings, COUNT(readings));
  static const char *const texts[] = {"",   "-1", "+1", "1.0",
                                      "1K", " 1", "1 ", "18446744073709551616"};
  refuses(duskd__count_parse, texts, COUNT(texts));
}

static void a_duration_is_told_shortly(void **state) {
  (void)state;
  static const reading_t readings[] = {{"0ms", 0},
                                       {"250ms", 250},
                                       {"999ms", 999},
                                       {"1s", 1000},
                                       {"1s", 1099},
                                       {"1.1s", 1100},
                                       {"1.5s", 1500},
                                       {"10s", 10000},
                                       {"60s", 60000},
                                       {"3600s", 3600000},
                                       {"18446744073709551.6s", UINT64_MAX}};
  char buf[DUSKD_DURATION_SIZE];
  for (size_t i = 0; i < COUNT(readings); i++)
    assert_string_equal(duskd__duration_text(readings[i].value, buf),
                        readings[i].text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(durations_are_gos),
      cmocka_unit_test(what_is_no_duration_is_refused),
      cmocka_unit_test(sizes_are_in_powers_of_1024),
      cmocka_unit_test(counts_are_whole),
      cmocka_unit_test(a_duration_is_told_shortly),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
