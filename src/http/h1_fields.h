/* A response's header fields as its handler sets them: text that is ready to
 * be sent, a line each. */
#ifndef DUSK_HTTP_H1_FIELDS_H
#define DUSK_HTTP_H1_FIELDS_H

#include "arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

/* Blank when all but the arena, where the text lies, is 0. */
typedef struct dusk__h1_fields {
  dusk__arena_t *arena;
  char *text; /* "Name: value\r\n" ... */
  size_t capacity;
  size_t len;
  bool terminated; /* a value was given out: it ends in NUL, not CR */
} dusk__h1_fields_t;

typedef struct dusk__h1_line {
  char *at;
  size_t len;
  size_t name_len;
} dusk__h1_line_t;

/* The line at `at`, an offset; false at their end. */
static inline bool dusk__h1_line_at(const dusk__h1_fields_t *fields, size_t at,
                                    dusk__h1_line_t *ret_line) {
  if (at == fields->len) return false;
  char *line = fields->text + at;
  size_t left = fields->len - at;
  ret_line->at = line;
  ret_line->len = (size_t)((char *)memchr(line, '\n', left) - line) + 1;
  ret_line->name_len = (size_t)((char *)memchr(line, ':', left) - line);
  return true;
}

static inline bool dusk__h1_line_is(const dusk__h1_line_t *line,
                                    const char *name, size_t name_len) {
  return line->name_len == name_len &&
         strncasecmp(line->at, name, name_len) == 0;
}

/* The value's end in the line: a CR, or a NUL for who has asked. */
static inline char *dusk__h1_value_end(const dusk__h1_line_t *line) {
  return line->at + line->len - 2;
}

/* Adds one behind the others. `value` may be of one of them. UV_ENOBUFS beyond
 * 32 KiB, UV_ENOMEM. */
int dusk__h1_fields_add(dusk__h1_fields_t *fields, const char *name,
                        size_t name_len, const char *value, size_t value_len);

/* Removes those of that name that begin before `end`, an offset. */
void dusk__h1_fields_remove(dusk__h1_fields_t *fields, const char *name,
                            size_t name_len, size_t end);

bool dusk__h1_fields_has(const dusk__h1_fields_t *fields, const char *name,
                         size_t name_len);

/* The first one's value, or NULL; good until the next change. */
const char *dusk__h1_fields_get(dusk__h1_fields_t *fields, const char *name,
                                size_t name_len);

/* Values that were given out end like all others again. */
void dusk__h1_fields_unterminate(dusk__h1_fields_t *fields);

#endif
