/* units.c: reads and writes durations, sizes and counts. Pure functions; flags
 * and query parameters share them. No locale, no floating point: 1.1s is
 * 1100 ms, not 1101. */
#include "units.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#define NS_MAX ((uint64_t)INT64_MAX) /* some 292 years, as in Go */
#define NS_PER_MS UINT64_C(1000000)

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/* Digits at *text, which moves past them; false when they overflow. */
static bool take_digits(const char **text, uint64_t *ret_number) {
  uint64_t number = 0;
  for (; is_digit(**text); (*text)++) {
    if (number > (UINT64_MAX - 9) / 10) return false;
    number = number * 10 + (uint64_t)(**text - '0');
  }
  *ret_number = number;
  return true;
}

/* The part of a unit that digits after a point stand for, rounded down: each
 * has a tenth of what the one before it has, so it begins with the last one. */
static uint64_t part_of(uint64_t unit, const char *digits, const char *end) {
  uint64_t ns = 0;
  while (end > digits)
    ns = ((uint64_t)(*--end - '0') * unit + ns) / 10;
  return ns;
}

/* A unit's nanoseconds, 0 if there is none at *text, which moves past it. */
static uint64_t take_unit(const char **text) {
  static const struct {
    const char *name;
    uint64_t ns;
  } units[] = {
      {"ns", 1},
      {"us", 1000},
      {"\u00b5s", 1000}, /* the micro sign, and the Greek letter */
      {"\u03bcs", 1000},
      {"ms", NS_PER_MS},
      {"s", 1000 * NS_PER_MS},
      {"m", 60 * 1000 * NS_PER_MS},
      {"h", 60 * 60 * 1000 * NS_PER_MS},
  };
  size_t len = strcspn(*text, ".0123456789");
  for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
    if (strlen(units[i].name) == len && !memcmp(units[i].name, *text, len)) {
      *text += len;
      return units[i].ns;
    }
  }
  return 0;
}

/* One number with its unit, such as the "30s" of "1m30s", added to *total_ns.
 */
static bool take_part(const char **text, uint64_t *total_ns) {
  const char *start = *text;
  uint64_t whole;
  if (!take_digits(text, &whole)) return false;
  bool has_digits = *text > start;
  const char *fraction = *text + (**text == '.');
  *text = fraction + strspn(fraction, "0123456789");
  const char *end = *text;
  has_digits |= end > fraction;
  uint64_t unit = take_unit(text);
  if (!has_digits || unit == 0 || whole > NS_MAX / unit) return false;
  uint64_t ns = whole * unit + part_of(unit, fraction, end);
  if (ns > NS_MAX - *total_ns) return false;
  *total_ns += ns;
  return true;
}

int duskd__duration_parse(const char *text, uint64_t *ret_ms) {
  uint64_t total_ns = 0;
  if (strcmp(text, "0") != 0) {
    do {
      if (!take_part(&text, &total_ns)) return UV_EINVAL;
    } while (*text != '\0');
  }
  *ret_ms = (total_ns + NS_PER_MS - 1) / NS_PER_MS;
  return 0;
}

int duskd__count_parse(const char *text, uint64_t *ret_count) {
  uint64_t count;
  const char *end = text;
  if (!take_digits(&end, &count) || end == text || *end != '\0')
    return UV_EINVAL;
  *ret_count = count;
  return 0;
}

int duskd__size_parse(const char *text, uint64_t *ret_bytes) {
  static const char suffixes[] = "KMGkmg";
  uint64_t bytes;
  const char *end = text;
  if (!take_digits(&end, &bytes) || end == text) return UV_EINVAL;
  if (*end != '\0') {
    const char *suffix = strchr(suffixes, *end++);
    if (suffix == NULL || *end != '\0') return UV_EINVAL;
    unsigned shift = 10 * (unsigned)((suffix - suffixes) % 3 + 1);
    if (bytes > UINT64_MAX >> shift) return UV_EINVAL;
    bytes <<= shift;
  }
  *ret_bytes = bytes;
  return 0;
}

const char *duskd__duration_text(uint64_t ms, char buf[DUSKD_DURATION_SIZE]) {
  if (ms < 1000)
    snprintf(buf, DUSKD_DURATION_SIZE, "%" PRIu64 "ms", ms);
  else if (ms % 1000 < 100)
    snprintf(buf, DUSKD_DURATION_SIZE, "%" PRIu64 "s", ms / 1000);
  else
    snprintf(buf, DUSKD_DURATION_SIZE, "%" PRIu64 ".%" PRIu64 "s", ms / 1000,
             ms % 1000 / 100);
  return buf;
}
