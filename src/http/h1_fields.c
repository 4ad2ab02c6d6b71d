#include "h1_fields.h"

#include <stdint.h>
#include <uv.h>

enum { MAX_BYTES = 32768, FIRST_BYTES = 256 };

static int make_room(dusk__h1_fields_t *fields, size_t more) {
  size_t need = fields->len + more;
  if (need > MAX_BYTES) return UV_ENOBUFS;
  if (need <= fields->capacity) return 0;
  size_t capacity = need < FIRST_BYTES ? FIRST_BYTES : 2 * need;
  char *larger =
      dusk__arena_grow(fields->arena, fields->text, fields->capacity, capacity);
  if (larger == NULL) return UV_ENOMEM;
  fields->text = larger;
  fields->capacity = capacity;
  return 0;
}

int dusk__h1_fields_add(dusk__h1_fields_t *fields, const char *name,
                        size_t name_len, const char *value, size_t value_len) {
  /* It may be one of our own, which move when there is no room. */
  uintptr_t own = (uintptr_t)value - (uintptr_t)fields->text;
  bool is_own = fields->text && own < fields->len;
  size_t len = name_len + value_len + 4;
  int err = make_room(fields, len);
  if (err < 0) return err;
  if (is_own) value = fields->text + own;
  char *to = fields->text + fields->len;
  memcpy(to, name, name_len);
  memcpy(to + name_len, ": ", 2);
  memcpy(to + name_len + 2, value, value_len);
  memcpy(to + name_len + 2 + value_len, "\r\n", 2);
  fields->len += len;
  return 0;
}

void dusk__h1_fields_remove(dusk__h1_fields_t *fields, const char *name,
                            size_t name_len, size_t end) {
  dusk__h1_line_t line;
  size_t at = 0;
  while (at < end && dusk__h1_line_at(fields, at, &line)) {
    if (!dusk__h1_line_is(&line, name, name_len)) {
      at += line.len;
      continue;
    }
    fields->len -= line.len;
    end -= line.len;
    memmove(line.at, line.at + line.len, fields->len - at);
  }
}

/* The first of that name. */
static bool find(const dusk__h1_fields_t *fields, const char *name,
                 size_t name_len, dusk__h1_line_t *ret_line) {
  size_t at = 0;
  for (; dusk__h1_line_at(fields, at, ret_line); at += ret_line->len)
    if (dusk__h1_line_is(ret_line, name, name_len)) return true;
  return false;
}

bool dusk__h1_fields_has(const dusk__h1_fields_t *fields, const char *name,
                         size_t name_len) {
  dusk__h1_line_t line;
  return find(fields, name, name_len, &line);
}

const char *dusk__h1_fields_get(dusk__h1_fields_t *fields, const char *name,
                                size_t name_len) {
  dusk__h1_line_t line;
  if (!find(fields, name, name_len, &line)) return NULL;
  *dusk__h1_value_end(&line) = '\0';
  fields->terminated = true;
  return line.at + name_len + 2;
}

void dusk__h1_fields_unterminate(dusk__h1_fields_t *fields) {
  dusk__h1_line_t line;
  for (size_t at = 0; dusk__h1_line_at(fields, at, &line); at += line.len)
    *dusk__h1_value_end(&line) = '\r';
  fields->terminated = false;
}
