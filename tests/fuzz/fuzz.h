/* What all fuzz targets have: an input, and a word for what must hold. */
#ifndef DUSK_TESTS_FUZZ_H
#define DUSK_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* libFuzzer's name: one input, of any bytes; 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOLDS(condition)                                                       \
  do {                                                                         \
    if (!(condition)) {                                                        \
      fprintf(stderr, "%s:%d: this doesn't hold: %s\n", __FILE__, __LINE__,    \
              #condition);                                                     \
      abort();                                                                 \
    }                                                                          \
  } while (0)

/* A block of exactly that size, so that a sanitizer sees a byte too far. */
static inline char *fuzz_copy(const void *data, size_t size) {
  char *copy = malloc(size ? size : 1);
  HOLDS(copy != NULL);
  if (size > 0) memcpy(copy, data, size);
  return copy;
}

/* The same with a NUL behind it: as a text it ends at the first one. */
static inline char *fuzz_text(const void *data, size_t size) {
  const void *nul = size > 0 ? memchr(data, '\0', size) : NULL;
  if (nul) size = (size_t)((const char *)nul - (const char *)data);
  char *text = malloc(size + 1);
  HOLDS(text != NULL);
  if (size > 0) memcpy(text, data, size);
  text[size] = '\0';
  return text;
}

/* The next line of a text, which is cut where it ends; NULL behind the last. */
static inline char *fuzz_line(char **rest) {
  char *line = *rest;
  if (line == NULL) return NULL;
  char *end = strchr(line, '\n');
  *rest = end ? end + 1 : NULL;
  if (end) *end = '\0';
  return line;
}

/* As anybody would write it: the value of "%XX" at the '%', or -1. */
static inline int fuzz_escape(const char *at, size_t left) {
  char digits[3] = {0};
  if (left < 3 || !strchr("0123456789abcdefABCDEF", at[1]) ||
      !strchr("0123456789abcdefABCDEF", at[2]) || !at[1] || !at[2])
    return -1;
  memcpy(digits, at + 1, 2);
  return (int)strtol(digits, NULL, 16);
}

#endif
