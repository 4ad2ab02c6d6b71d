/* units.h: durations and sizes, as operators write them. */
#ifndef DUSKD_UNITS_H
#define DUSKD_UNITS_H

#include <stddef.h>
#include <stdint.h>

/* Each reads the whole of `text` and returns 0, or UV_EINVAL and leaves the
 * output alone. */

/* Go's notation: "1.5s", "250ms", "1m30s", "0". Not negative; rounded up to
 * milliseconds, so that 100us doesn't become 0, which often means none. */
int duskd__duration_parse(const char *text, uint64_t *ret_ms);

/* "4096", "64K", "1M", "2G", in powers of 1024. */
int duskd__size_parse(const char *text, uint64_t *ret_bytes);

/* A whole number. */
int duskd__count_parse(const char *text, uint64_t *ret_count);

/* Writes a duration for people, "250ms", "1.5s", "10s", and returns `buf`. */
#define DUSKD_DURATION_SIZE 32
const char *duskd__duration_text(uint64_t ms, char buf[DUSKD_DURATION_SIZE]);

#endif
