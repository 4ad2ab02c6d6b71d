/* Durations, sizes and counts as operators write them, against exact
 * arithmetic; and what is written of a duration is one that is read. */
#include "fuzz.h"
#include "units.h"

#include <uv.h>

__extension__ typedef unsigned __int128 wide_t;

enum { EXACT_DIGITS = 24 }; /* whose product with an hour is a wide_t */

static const wide_t most_ns = INT64_MAX;

/* Digits as a number that doesn't overflow; and how many there are. */
static wide_t number_at(const char **at, size_t *ret_count) {
  wide_t number = 0;
  const char *begin = *at;
  for (; **at >= '0' && **at <= '9'; (*at)++)
    if (number < (wide_t)1 << 64) number = number * 10 + (wide_t)(**at - '0');
  *ret_count = (size_t)(*at - begin);
  return number;
}

static uint64_t unit_at(const char **at) {
  static const char *const names[] = {"ns", "us", "\xc2\xb5s", "\xce\xbcs",
                                      "ms", "s",  "m",         "h"};
  static const uint64_t ns[] = {
      1, 1000, 1000, 1000, 1000000, 1000000000, 60000000000, 3600000000000};
  char name[4] = "";
  size_t len = strcspn(*at, ".0123456789");
  if (len >= sizeof(name)) return 0;
  memcpy(name, *at, len);
  *at += len;
  for (size_t i = 0; i < sizeof(ns) / sizeof(*ns); i++)
    if (strcmp(names[i], name) == 0) return ns[i];
  return 0;
}

/* The fraction's nanoseconds, of so many digits as are exact. */
static wide_t fraction_of(const char *digits, size_t count, uint64_t unit) {
  wide_t number = 0;
  wide_t scale = 1;
  for (size_t i = 0; i < count && i < EXACT_DIGITS; i++) {
    number = number * 10 + (wide_t)(digits[i] - '0');
    scale *= 10;
  }
  return number * unit / scale;
}

/* 0 or UV_EINVAL; what is finer than EXACT_DIGITS isn't looked at. */
static int read_exactly(const char *at, wide_t *ret_ms) {
  wide_t total = 0;
  if (strcmp(at, "0") == 0) {
    *ret_ms = 0;
    return 0;
  }
  do {
    size_t digits;
    size_t fraction_digits = 0;
    wide_t whole = number_at(&at, &digits);
    if (whole > UINT64_MAX) return UV_EINVAL;
    const char *fraction = at + 1;
    if (*at == '.') {
      at++;
      number_at(&at, &fraction_digits);
    }
    uint64_t unit = unit_at(&at);
    if (unit == 0 || digits + fraction_digits == 0) return UV_EINVAL;
    if (whole * unit > most_ns) return UV_EINVAL;
    total += whole * unit + fraction_of(fraction, fraction_digits, unit);
    if (total > most_ns) return UV_EINVAL;
  } while (*at);
  *ret_ms = (total + 999999) / 1000000;
  return 0;
}

/* Whether no fraction can be too fine for that. */
static bool is_exact(const char *text) {
  while ((text = strchr(text, '.')) != NULL)
    if (strspn(++text, "0123456789") > EXACT_DIGITS) return false;
  return true;
}

static void check_duration(const char *text) {
  const uint64_t untouched = UINT64_C(0xdeadbeef);
  uint64_t ms = untouched;
  wide_t exact_ms;
  int err = duskd__duration_parse(text, &ms);
  HOLDS(err == 0 || (err == UV_EINVAL && ms == untouched));
  if (!is_exact(text)) return;
  HOLDS(err == read_exactly(text, &exact_ms));
  HOLDS(err < 0 || ms == exact_ms);
}

/* Cut to tenths of a second, and never longer than it is. */
static void check_text(uint64_t ms) {
  char buf[DUSKD_DURATION_SIZE];
  uint64_t again;
  HOLDS(duskd__duration_text(ms, buf) == buf);
  if (duskd__duration_parse(buf, &again) < 0) {
    HOLDS(ms > INT64_MAX / 1000000);
    return;
  }
  HOLDS(again <= ms && ms - again < (ms < 1000 ? 1 : 100));
}

static void check_count(const char *text) {
  uint64_t count = 7;
  const char *at = text;
  size_t digits;
  wide_t exact = number_at(&at, &digits);
  bool is_good = digits > 0 && *at == '\0' && exact <= UINT64_MAX;
  int err = duskd__count_parse(text, &count);
  HOLDS(err == 0 || (err == UV_EINVAL && count == 7));
  HOLDS(err < 0 || (is_good && count == exact));
  /* Its last ten are refused, too, which nobody misses. */
  HOLDS(err == 0 || !is_good || exact > UINT64_MAX - 10);
}

static void check_size(const char *text) {
  uint64_t size = 7;
  const char *at = text;
  size_t digits;
  wide_t exact = number_at(&at, &digits);
  const char *const suffixes = "KkMmGg";
  const char *suffix = *at ? strchr(suffixes, *at) : NULL;
  if (suffix) exact <<= 10 * ((suffix - suffixes) / 2 + 1);
  bool is_good = digits > 0 && at[suffix != NULL] == '\0';
  int err = duskd__size_parse(text, &size);
  HOLDS(err == 0 || (err == UV_EINVAL && size == 7));
  HOLDS(err < 0 || (is_good && size == exact));
  HOLDS(err == 0 || !is_good || exact > UINT64_MAX - 10);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *text = fuzz_text(data, size);
  uint64_t ms = 0;
  check_duration(text);
  check_count(text);
  check_size(text);
  memcpy(&ms, data, size < sizeof(ms) ? size : sizeof(ms));
  check_text(ms);
  free(text);
  return 0;
}
