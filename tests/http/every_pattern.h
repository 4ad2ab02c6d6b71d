/* All short patterns and paths, and which matches which, told from their texts
 * alone. */
#ifndef DUSK_TESTS_EVERY_PATTERN_H
#define DUSK_TESTS_EVERY_PATTERN_H

#include "pattern.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  EVERY_DEPTH = 3, /* of patterns; paths go one deeper */
  EVERY_PATTERNS = 160,
  EVERY_PATHS = 256,
  EVERY_BYTES = 32,
};

typedef struct every {
  dusk__pattern_t *pattern[EVERY_PATTERNS];
  size_t patterns;
  char path[EVERY_PATHS][EVERY_BYTES];
  size_t paths;
  bool match[EVERY_PATTERNS][EVERY_PATHS];
} every_t;

static inline dusk__pattern_t *parse_pattern(const char *text) {
  dusk__pattern_t *pattern;
  dusk__fault_t fault;
  if (dusk__pattern_parse(text, &pattern, &fault) < 0)
    fail_msg("%s: %s", text, fault.what);
  return pattern;
}

/* A path and a pattern without method, host and escapes. */
static inline bool path_matches(const char *pattern, const char *path) {
  for (;;) {
    size_t len = strcspn(++pattern, "/");
    size_t path_len = strcspn(++path, "/");
    if (*pattern == '\0') return true;
    if (len > 4 && memcmp(pattern + len - 4, "...}", 4) == 0) return true;
    if (strcmp(pattern, "{$}") == 0) return *path == '\0';
    if (path_len == 0) return false;
    if (*pattern != '{' && (len != path_len || memcmp(pattern, path, len) != 0))
      return false;
    pattern += len;
    path += path_len;
    if (*pattern == '\0' || *path == '\0') return *pattern == *path;
  }
}

/* `text` and all that may follow it, down to a depth. */
static inline void add_patterns(every_t *every, const char *text, size_t len,
                                int depth) {
  static const char *const ends[] = {"", "/", "/{$}", "/{r...}"};
  static const char segments[][8] = {"/a", "/b", "/{s0}"};
  char more[EVERY_BYTES];
  memcpy(more, text, len);
  for (int i = depth == 0; i < 4; i++) {
    memcpy(more + len, ends[i], strlen(ends[i]) + 1);
    every->pattern[every->patterns++] = parse_pattern(more);
  }
  for (int i = 0; depth < EVERY_DEPTH && i < 3; i++) {
    size_t segment_len = strlen(segments[i]);
    memcpy(more + len, segments[i], segment_len);
    if (i == 2) more[len + 3] = (char)('0' + depth);
    add_patterns(every, more, len + segment_len, depth + 1);
  }
}

static inline void add_path(every_t *every, const char *text, size_t len) {
  char *path = every->path[every->paths++];
  memcpy(path, text, len);
  path[len] = '\0';
}

static inline void add_paths(every_t *every, const char *text, size_t len,
                             int depth) {
  char more[EVERY_BYTES];
  memcpy(more, text, len);
  more[len] = '/';
  if (depth > 0) add_path(every, text, len);
  add_path(every, more, len + 1);
  for (char c = 'a'; depth <= EVERY_DEPTH && c <= 'c'; c++) {
    more[len + 1] = c;
    add_paths(every, more, len + 2, depth + 1);
  }
}

static inline void make_every(every_t *every) {
  every->patterns = every->paths = 0;
  add_patterns(every, "", 0, 0);
  add_paths(every, "", 0, 0);
  for (size_t i = 0; i < every->patterns; i++)
    for (size_t k = 0; k < every->paths; k++)
      every->match[i][k] =
          path_matches(every->pattern[i]->text, every->path[k]);
}

static inline void free_every(every_t *every) {
  for (size_t i = 0; i < every->patterns; i++)
    free(every->pattern[i]);
}

#endif
