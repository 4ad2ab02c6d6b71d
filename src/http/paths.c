#include "paths.h"

#include <stdbool.h>
#include <string.h>

static bool is(const char *segment, size_t len, const char *text) {
  return len == strlen(text) && memcmp(segment, text, len) == 0;
}

/* Without the last segment. */
static size_t step_up(const char *path, size_t len) {
  while (len > 1 && path[len - 1] != '/')
    len--;
  return len > 0 ? len - 1 : 0;
}

/* What is kept always ends before a slash. */
size_t dusk__path_clean(char *path, size_t len) {
  size_t kept = 0;
  bool is_open = true; /* it ends in a slash, or in what means a folder */
  for (size_t at = 0; at < len;) {
    const char *segment = path + at + (path[at] == '/');
    const char *end = path + len;
    const char *to = memchr(segment, '/', (size_t)(end - segment));
    size_t segment_len = (size_t)((to ? to : end) - segment);
    at = (size_t)((to ? to : end) - path);
    is_open = segment_len == 0;
    if (is(segment, segment_len, ".") || segment_len == 0) continue;
    if (is(segment, segment_len, "..")) {
      kept = step_up(path, kept);
      continue;
    }
    path[kept] = '/';
    memmove(path + kept + 1, segment, segment_len);
    kept += 1 + segment_len;
  }
  if (is_open || kept == 0) path[kept++] = '/';
  return kept;
}
