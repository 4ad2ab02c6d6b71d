#include "pattern.h"

#include "chars.h"

#include <assert.h>
#include <llhttp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* llhttp's, by its numbers; it lets no others through. */
#define NAME(number, name, text) [number] = #text,
static const char *const names[] = {HTTP_METHOD_MAP(NAME)};
enum { METHODS = sizeof(names) / sizeof(*names) };
static_assert((int)METHODS <= (int)DUSK__MAX_METHODS,
              "a set of methods is 64 bits");

const char *dusk__method_name(int method) {
  return method < METHODS ? names[method] : NULL;
}

static int find_method(const char *name, size_t len) {
  for (int i = 0; i < METHODS; i++)
    if (names[i] && strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
      return i;
  return DUSK__ANY_METHOD;
}

/* -- Reading --------------------------------------------------------------- */

typedef struct reading {
  const char *at;
  const char *fault; /* what is wrong there */
  char *to;          /* where the next decoded text goes */
  dusk__pattern_t *pattern;
} reading_t;

static bool fail(reading_t *reading, const char *at, const char *fault) {
  reading->at = at;
  reading->fault = fault;
  return false;
}

static bool read_method(reading_t *reading) {
  const char *at = reading->at;
  size_t len = strcspn(at, "/ \t");
  reading->pattern->method = DUSK__ANY_METHOD;
  if (!dusk__is_blank(at[len])) return true;
  reading->pattern->method = find_method(at, len);
  if (reading->pattern->method == DUSK__ANY_METHOD)
    return fail(reading, at, "no method that a request can have");
  for (at += len; dusk__is_blank(*at);)
    at++;
  reading->at = at;
  return true;
}

static char to_lower(char c) {
  return c >= 'A' && c <= 'Z' ? (char)(c | 32) : c;
}

size_t dusk__host_name_len(const char *host, size_t len) {
  const char *bracket = memchr(host, ']', len); /* of an IPv6 address */
  const char *from = bracket ? bracket : host;
  const char *colon = memchr(from, ':', (size_t)(host + len - from));
  return colon ? (size_t)(colon - host) : len;
}

static bool read_host(reading_t *reading) {
  dusk__pattern_t *pattern = reading->pattern;
  const char *host = reading->at;
  const char *at = host;
  pattern->host = reading->to;
  for (; *at != '/'; at++) {
    if (*at == '\0') return fail(reading, at, "a path begins with '/'");
    if (*at == '{')
      return fail(reading, at,
                  "a host has no wildcard; a path begins with '/'");
    if (!dusk__is_host_char(*at) && !strchr(":[]%", *at))
      return fail(reading, at, "no host has this character");
    *reading->to++ = to_lower(*at);
  }
  pattern->host_len = (size_t)(at - host);
  /* Only that of a CONNECT has its port when it is looked for. */
  if (pattern->method != HTTP_CONNECT &&
      dusk__host_name_len(host, pattern->host_len) < pattern->host_len)
    return fail(reading, host, "a host is matched without its port");
  reading->at = at;
  return true;
}

static bool is_name_char(char c) {
  bool is_letter = ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_' ||
                   (unsigned char)c >= 128; /* of UTF-8 */
  return is_letter || (c >= '0' && c <= '9');
}

/* An identifier, which none before has. */
static bool read_name(reading_t *reading, const char *name, size_t len) {
  if (len == 0) return fail(reading, name, "a wildcard has a name");
  for (size_t i = 0; i < len; i++)
    if (!is_name_char(name[i]))
      return fail(reading, name + i,
                  "a wildcard's name is of letters, digits and '_'");
  if (*name >= '0' && *name <= '9')
    return fail(reading, name, "a wildcard's name begins with no digit");
  const dusk__pattern_t *pattern = reading->pattern;
  for (size_t i = 0; i < pattern->count; i++) {
    const dusk__segment_t *other = &pattern->segments[i];
    if (other->kind != DUSK__SEGMENT_TEXT && other->len == len &&
        memcmp(other->text, name, len) == 0)
      return fail(reading, name, "two wildcards have this name");
  }
  return true;
}

static bool read_wildcard(reading_t *reading, size_t len,
                          dusk__segment_t *segment) {
  const char *name = reading->at + 1;
  const char *end = reading->at + len;
  bool is_last = *end == '\0';
  if (name[-1] != '{' || end[-1] != '}' ||
      memchr(name, '}', len - 1) != end - 1)
    return fail(reading, reading->at, "a wildcard is a whole segment");
  size_t name_len = len - 2;
  segment->kind = DUSK__SEGMENT_ONE;
  if (name_len == 1 && *name == '$') {
    segment->kind = DUSK__SEGMENT_END;
    return is_last || fail(reading, reading->at, "{$} is the end of a path");
  }
  if (name_len >= 3 && memcmp(end - 4, "...", 3) == 0) {
    segment->kind = DUSK__SEGMENT_REST;
    name_len -= 3;
    if (!is_last)
      return fail(reading, reading->at, "{...} is the end of a path");
  }
  if (!read_name(reading, name, name_len)) return false;
  segment->text = reading->to;
  segment->len = name_len;
  memcpy(reading->to, name, name_len);
  reading->to += name_len;
  return true;
}

/* What requests' paths don't have when they are matched: SRV-344. */
static bool is_unclean(const char *text, size_t len) {
  return len == 0 || (len == 1 && *text == '.') ||
         (len == 2 && memcmp(text, "..", 2) == 0);
}

static bool read_text(reading_t *reading, size_t len,
                      dusk__segment_t *segment) {
  const char *at = reading->at;
  const char *end = at + len;
  segment->kind = DUSK__SEGMENT_TEXT;
  segment->text = reading->to;
  if (is_unclean(at, len))
    return fail(reading, at, "paths are matched without \"//\", \".\", \"..\"");
  while (at < end) {
    int c = (unsigned char)*at;
    if (c <= ' ' || c == 127 || c == '?' || c == '#')
      return fail(reading, at, "a path has this character only as %XX");
    if (c == '%') c = dusk__unescape(at);
    if (c <= 0) return fail(reading, at, "this is no good %XX");
    *reading->to++ = (char)c;
    at += *at == '%' ? 3 : 1;
  }
  segment->len = (size_t)(reading->to - segment->text);
  return true;
}

static bool read_path(reading_t *reading) {
  dusk__pattern_t *pattern = reading->pattern;
  do {
    size_t len = strcspn(++reading->at, "/");
    dusk__segment_t *segment = &pattern->segments[pattern->count];
    bool is_good = true;
    if (*reading->at == '\0')
      *segment = (dusk__segment_t){.kind = DUSK__SEGMENT_REST, .text = ""};
    else if (strcspn(reading->at, "{}") < len)
      is_good = read_wildcard(reading, len, segment);
    else
      is_good = read_text(reading, len, segment);
    if (!is_good) return false;
    pattern->count++;
    reading->at += len;
  } while (*reading->at == '/');
  return true;
}

static size_t count_slashes(const char *text) {
  size_t count = 0;
  while ((text = strchr(text, '/')) != NULL) {
    count++;
    text++;
  }
  return count;
}

int dusk__pattern_parse(const char *text, dusk__pattern_t **ret_pattern,
                        dusk__fault_t *ret_fault) {
  /* What is decoded is no longer than what is written. */
  size_t size = strlen(text) + 1;
  size_t slashes = count_slashes(text);
  dusk__pattern_t *pattern = calloc(
      1, sizeof(*pattern) + slashes * sizeof(*pattern->segments) + 2 * size);
  if (pattern == NULL) return UV_ENOMEM;
  char *copy = (char *)&pattern->segments[slashes];
  memcpy(copy, text, size);
  pattern->text = copy;
  reading_t reading = {.at = copy, .to = copy + size, .pattern = pattern};
  if (!read_method(&reading) || !read_host(&reading) || !read_path(&reading)) {
    *ret_fault = (dusk__fault_t){.what = reading.fault,
                                 .at = (size_t)(reading.at - copy)};
    free(pattern);
    return UV_EINVAL;
  }
  assert(pattern->count <= slashes);
  *ret_pattern = pattern;
  return 0;
}

/* -- Comparing ------------------------------------------------------------- */

static bool same_text(const char *a, size_t a_len, const char *b,
                      size_t b_len) {
  return a_len == b_len && memcmp(a, b, a_len) == 0;
}

static unsigned compare_segments(const dusk__segment_t *a,
                                 const dusk__segment_t *b) {
  if (a->kind == b->kind) {
    bool is_same = a->kind != DUSK__SEGMENT_TEXT ||
                   same_text(a->text, a->len, b->text, b->len);
    return is_same ? 0 : DUSK__DISJOINT;
  }
  if (a->kind == DUSK__SEGMENT_REST) return DUSK__MATCHES_MORE;
  if (b->kind == DUSK__SEGMENT_REST) return DUSK__MATCHES_LESS;
  if (a->kind == DUSK__SEGMENT_END || b->kind == DUSK__SEGMENT_END)
    return DUSK__DISJOINT;
  return a->kind == DUSK__SEGMENT_ONE ? DUSK__MATCHES_MORE : DUSK__MATCHES_LESS;
}

unsigned dusk__pattern_compare_paths(const dusk__pattern_t *a,
                                     const dusk__pattern_t *b) {
  size_t common = a->count < b->count ? a->count : b->count;
  unsigned relation = 0;
  for (size_t i = 0; i < common; i++) {
    relation |= compare_segments(&a->segments[i], &b->segments[i]);
    if (relation & DUSK__DISJOINT) return DUSK__DISJOINT;
  }
  if (a->count == b->count) return relation;
  const dusk__pattern_t *shorter = a->count < b->count ? a : b;
  /* With a rest it has been found to match more already. */
  bool has_rest = dusk__pattern_last(shorter)->kind == DUSK__SEGMENT_REST;
  return has_rest ? relation : DUSK__DISJOINT;
}

static unsigned compare_methods(int a, int b) {
  if (a == b) return 0;
  if (a == DUSK__ANY_METHOD || (a == HTTP_GET && b == HTTP_HEAD))
    return DUSK__MATCHES_MORE;
  if (b == DUSK__ANY_METHOD || (b == HTTP_GET && a == HTTP_HEAD))
    return DUSK__MATCHES_LESS;
  return DUSK__DISJOINT;
}

const char *dusk__pattern_conflict(const dusk__pattern_t *a,
                                   const dusk__pattern_t *b) {
  /* One with a host goes before one without: no conflict. */
  if (!same_text(a->host, a->host_len, b->host, b->host_len)) return NULL;
  unsigned paths = dusk__pattern_compare_paths(a, b);
  if (paths & DUSK__DISJOINT) return NULL;
  unsigned methods = compare_methods(a->method, b->method);
  if (methods & DUSK__DISJOINT) return NULL;
  if (paths == 0 && methods == 0) return "they match the same requests";
  if (paths == DUSK__OVERLAPS)
    return "each matches paths that the other one doesn't, and some match both";
  if ((paths | methods) == DUSK__OVERLAPS)
    return "the one for fewer methods is the one for more paths";
  return NULL;
}

/* -- Wildcards ------------------------------------------------------------- */

int dusk__pattern_wildcard(const dusk__pattern_t *pattern, const char *name) {
  size_t len = strlen(name);
  for (size_t i = 0; len > 0 && i < pattern->count; i++) {
    const dusk__segment_t *segment = &pattern->segments[i];
    if (segment->kind != DUSK__SEGMENT_TEXT &&
        same_text(segment->text, segment->len, name, len))
      return (int)i;
  }
  return -1;
}

const char *dusk__pattern_cut(const dusk__pattern_t *pattern, int wildcard,
                              const char *path, size_t len, size_t *ret_len) {
  const char *end = path + len;
  const char *at = path + 1; /* behind a '/' */
  for (int i = 0; i < wildcard; i++) {
    at = memchr(at, '/', (size_t)(end - at));
    assert(at && "the pattern matches the path");
    at++;
  }
  const char *next = memchr(at, '/', (size_t)(end - at));
  bool is_rest = pattern->segments[wildcard].kind == DUSK__SEGMENT_REST;
  *ret_len = (size_t)((is_rest || next == NULL ? end : next) - at);
  return at;
}
