#include "path.h"

#include <string.h>

static bool is_dots(const char *text, size_t len) {
  return (len == 1 && *text == '.') || (len == 2 && memcmp(text, "..", 2) == 0);
}

bool dusk__path_is_clean(const char *path, size_t len) {
  const char *end = path + len;
  if (len == 0 || *path != '/') return false;
  for (const char *at = path + 1; at < end; at++) {
    if (at[-1] != '/') continue;
    if (*at == '/') return false;
    if (*at != '.') continue;
    const char *next = memchr(at, '/', (size_t)(end - at));
    if (is_dots(at, (size_t)((next ? next : end) - at))) return false;
  }
  return true;
}

size_t dusk__path_clean(const char *path, size_t len, char *buf) {
  const char *end = path + len;
  const char *at = path;
  char *to = buf;
  while (at < end) {
    const char *text = at + (*at == '/');
    at = memchr(text, '/', (size_t)(end - text));
    if (at == NULL) at = end;
    size_t text_len = (size_t)(at - text);
    if (text_len == 0) continue;
    if (!is_dots(text, text_len)) {
      *to++ = '/';
      memcpy(to, text, text_len);
      to += text_len;
    } else if (text_len == 2) {
      while (to > buf && *--to != '/')
        continue;
    }
  }
  if (to == buf || path[len - 1] == '/') *to++ = '/';
  return (size_t)(to - buf);
}
