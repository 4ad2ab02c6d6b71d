/* Patterns and paths. An input has a pattern a line, an empty line, and then a
 * request a line, "METHOD HOST PATH". What is found is what each pattern's text
 * alone tells: those that match, and of them the most specific one. */
#include "fuzz.h"
#include "chars.h"
#include "path.h"
#include "routes.h"

#include <dusk/mux.h>

#include <ctype.h>
#include <llhttp.h>
#include <strings.h>
#include <uv.h>

enum { MAX_PATTERNS = 24, MAX_SEGMENTS = 256, MAX_REQUESTS = 32 };

typedef struct table {
  dusk__routes_t routes;
  const dusk__pattern_t *patterns[MAX_PATTERNS];
  size_t count;
} table_t;

/* -- What a text says ------------------------------------------------------ */

static const char *path_of(const char *pattern) {
  return strchr(pattern, '/');
}

/* How much of a text is its first segment. */
static size_t segment_len(const char *text) {
  return strcspn(text, "/");
}

/* "{name...}", or what is behind a last '/'. */
static bool is_rest(const char *segment, size_t len) {
  return len == 0 || (*segment == '{' && len > 4 &&
                      memcmp(segment + len - 4, "...}", 4) == 0);
}

static bool is_end(const char *segment, size_t len) {
  return len == 3 && memcmp(segment, "{$}", 3) == 0;
}

/* Of literal, {$}, {name} and {name...}: the smaller the more specific. */
static int rank(const char *segment, size_t len) {
  if (is_end(segment, len)) return 1;
  if (is_rest(segment, len)) return 3;
  return *segment == '{' ? 2 : 0;
}

static bool is_same_text(const char *a, size_t a_len, const char *b,
                         size_t b_len) {
  size_t i = 0;
  size_t k = 0;
  while (i < a_len && k < b_len) {
    int x = a[i] == '%' ? fuzz_escape(a + i, a_len - i) : (unsigned char)a[i];
    int y = b[k] == '%' ? fuzz_escape(b + k, b_len - k) : (unsigned char)b[k];
    if (x != y) return false;
    i += a[i] == '%' ? 3 : 1;
    k += b[k] == '%' ? 3 : 1;
  }
  return i == a_len && k == b_len;
}

static bool has_nul(const char *text, size_t len) {
  for (size_t i = 0; i + 3 <= len; i++)
    if (memcmp(text + i, "%00", 3) == 0) return true;
  return false;
}

/* *ret_rest is where a rest begins, or the path's end. */
static bool path_matches(const char *pattern, const char *path,
                         const char **ret_rest) {
  *ret_rest = path + strlen(path);
  for (;;) {
    if (*pattern++ != '/' || *path++ != '/') return false;
    size_t len = segment_len(pattern);
    size_t path_len = segment_len(path);
    if (is_rest(pattern, len)) {
      *ret_rest = path;
      return len == 0 || !has_nul(path, strlen(path));
    }
    if (is_end(pattern, len)) return *path == '\0';
    if (path_len == 0) return false;
    if (*pattern == '{' ? has_nul(path, path_len)
                        : !is_same_text(pattern, len, path, path_len))
      return false;
    pattern += len;
    path += path_len;
    if (*pattern == '\0' || *path == '\0') return *pattern == *path;
  }
}

/* Host and path; the method is another matter. */
static bool place_matches(const dusk__pattern_t *pattern,
                          const dusk__lookup_t *lookup, const char *path,
                          const char **ret_rest) {
  if (pattern->host_len > 0 &&
      (pattern->host_len != lookup->host_len ||
       strncasecmp(pattern->host, lookup->host, lookup->host_len) != 0))
    return false;
  return path_matches(path_of(pattern->text), path, ret_rest);
}

static bool method_matches(int pattern, int method) {
  return pattern == DUSK__ANY_METHOD || pattern == method ||
         (pattern == HTTP_GET && method == HTTP_HEAD);
}

/* 0: none, GET, others. */
static int method_rank(int method) {
  return method == DUSK__ANY_METHOD ? 2 : method == HTTP_GET;
}

/* Whether `a` is to be taken before `b`, of two that match one request. */
static bool goes_before(const dusk__pattern_t *a, const dusk__pattern_t *b) {
  if ((a->host_len > 0) != (b->host_len > 0)) return a->host_len > 0;
  const char *x = path_of(a->text);
  const char *y = path_of(b->text);
  bool is_better = false;
  bool is_worse = false;
  while (*x == '/' && *y == '/') {
    size_t x_len = segment_len(++x);
    size_t y_len = segment_len(++y);
    is_better |= rank(x, x_len) < rank(y, y_len);
    is_worse |= rank(x, x_len) > rank(y, y_len);
    if (is_rest(x, x_len) || is_rest(y, y_len)) break;
    x += x_len;
    y += y_len;
  }
  if (is_better || is_worse) return is_better && !is_worse;
  return method_rank(a->method) < method_rank(b->method);
}

/* -- Requests -------------------------------------------------------------- */

/* What each wildcard stands for, as the text tells. */
static void check_cuts(const dusk__pattern_t *pattern, const char *path,
                       size_t path_len) {
  const char *text = path_of(pattern->text);
  const char *at = path;
  for (size_t i = 0; i < pattern->count; i++) {
    size_t len = segment_len(++text);
    size_t wanted = segment_len(++at);
    if (is_rest(text, len)) wanted = (size_t)(path + path_len - at);
    if (*text == '{' && !is_end(text, len)) {
      char *name = fuzz_text(text + 1, strcspn(text + 1, ".}"));
      size_t got;
      HOLDS(dusk__pattern_wildcard(pattern, name) == (int)i);
      HOLDS(dusk__pattern_cut(pattern, (int)i, path, path_len, &got) == at);
      HOLDS(got == wanted);
      free(name);
    }
    text += len;
    at += wanted;
  }
}

/* The most specific one, and then no other that is as good. */
static const dusk__pattern_t *best_of(const table_t *table,
                                      const dusk__lookup_t *lookup,
                                      const char *path, const char **ret_rest,
                                      uint64_t *ret_allowed) {
  const dusk__pattern_t *best = NULL;
  const char *rest;
  *ret_allowed = 0;
  for (size_t i = 0; i < table->count; i++) {
    const dusk__pattern_t *pattern = table->patterns[i];
    if (!place_matches(pattern, lookup, path, &rest)) continue;
    if (!method_matches(pattern->method, lookup->method)) {
      *ret_allowed |= UINT64_C(1) << pattern->method;
      continue;
    }
    /* Of any two one goes before: else they had been in conflict. */
    HOLDS(best == NULL ||
          goes_before(pattern, best) != goes_before(best, pattern));
    if (best && goes_before(best, pattern)) continue;
    best = pattern;
    *ret_rest = rest;
  }
  return best;
}

static void check_lookup(const table_t *table, dusk__lookup_t lookup,
                         bool adds_slash) {
  char *whole = fuzz_copy("", 0);
  whole = realloc(whole, lookup.len + 2);
  memcpy(whole, lookup.path, lookup.len);
  whole[lookup.len] = adds_slash ? '/' : '\0';
  whole[lookup.len + 1] = '\0';
  const char *rest = NULL;
  uint64_t allowed;
  const dusk__pattern_t *best = best_of(table, &lookup, whole, &rest, &allowed);
  lookup.adds_slash = adds_slash;
  const dusk__route_t *route = dusk__routes_find(&table->routes, &lookup);
  HOLDS((route ? route->pattern : NULL) == best);
  if (best) HOLDS(lookup.is_exact == (*rest == '\0'));
  if (best == NULL) HOLDS(lookup.allowed == allowed);
  if (best && !adds_slash) check_cuts(best, lookup.path, lookup.len);
  free(whole);
}

/* Its segments in the simplest way, "." and ".." resolved. */
static size_t clean_plainly(const char *path, size_t len, char *buf) {
  const char *starts[MAX_SEGMENTS];
  size_t lens[MAX_SEGMENTS];
  size_t count = 0;
  const char *end = path + len;
  for (const char *at = path; at < end;) {
    size_t segment = 0;
    while (at + segment < end && at[segment] != '/')
      segment++;
    if (segment == 2 && memcmp(at, "..", 2) == 0) {
      count -= count > 0;
    } else if (segment > 0 && !(segment == 1 && *at == '.')) {
      if (count == MAX_SEGMENTS) return 0;
      starts[count] = at;
      lens[count++] = segment;
    }
    at += segment + 1;
  }
  char *to = buf;
  for (size_t i = 0; i < count; i++) {
    *to++ = '/';
    memcpy(to, starts[i], lens[i]);
    to += lens[i];
  }
  if (count == 0 || end[-1] == '/') *to++ = '/';
  return (size_t)(to - buf);
}

/* To *ret_path, which is to be freed; 0 for one without end. */
static size_t check_clean(const char *path, size_t len, char **ret_path) {
  char *exact = fuzz_copy(path, len);
  char *plain = fuzz_copy("", 0);
  char *clean = fuzz_copy("", 0);
  clean = realloc(clean, len + 2);
  plain = realloc(plain, len + 2);
  size_t clean_len = dusk__path_clean(exact, len, clean);
  size_t plain_len = clean_plainly(exact, len, plain);
  HOLDS(clean_len >= 1 && clean_len <= len + 1);
  HOLDS(dusk__path_is_clean(clean, clean_len));
  if (plain_len > 0)
    HOLDS(plain_len == clean_len && memcmp(plain, clean, clean_len) == 0);
  bool was_clean = dusk__path_is_clean(exact, len);
  HOLDS(was_clean == (clean_len == len && memcmp(clean, exact, len) == 0));
  free(exact);
  free(plain);
  clean[clean_len] = '\0';
  *ret_path = clean;
  return clean_len;
}

/* What the parser lets through. */
static bool is_path(const char *path) {
  for (; *path; path++) {
    if (*path == '%' && fuzz_escape(path, strlen(path)) < 0) return false;
    if (*path != '%' && !dusk__is_path_char(*path)) return false;
  }
  return true;
}

static int find_method(const char *name) {
  for (int i = 0; i < DUSK__MAX_METHODS; i++)
    if (dusk__method_name(i) && strcmp(dusk__method_name(i), name) == 0)
      return i;
  return HTTP_GET;
}

static void check_request(const table_t *table, char *line) {
  char *host = strchr(line, ' ');
  char *path = host ? strchr(host + 1, ' ') : NULL;
  if (path == NULL) return;
  *host++ = '\0';
  *path++ = '\0';
  if (*path == '\0' || !is_path(path)) return;
  char *clean;
  size_t len = check_clean(path, strlen(path), &clean);
  dusk__lookup_t lookup = {.host = host,
                           .host_len = strlen(host),
                           .path = clean,
                           .len = len,
                           .method = find_method(line),
                           .has_escape = strchr(clean, '%') != NULL};
  check_lookup(table, lookup, false);
  if (clean[len - 1] != '/') check_lookup(table, lookup, true);
  free(clean);
}

/* -- Patterns -------------------------------------------------------------- */

static unsigned turned(unsigned relation) {
  unsigned more = relation & DUSK__MATCHES_LESS ? DUSK__MATCHES_MORE : 0U;
  unsigned less = relation & DUSK__MATCHES_MORE ? DUSK__MATCHES_LESS : 0U;
  return more | less;
}

/* What is said of two, and of the same the other way round. */
static void check_pair(const dusk__pattern_t *a, const dusk__pattern_t *b) {
  unsigned relation = dusk__pattern_compare_paths(a, b);
  unsigned other = dusk__pattern_compare_paths(b, a);
  HOLDS((relation & DUSK__DISJOINT) == (other & DUSK__DISJOINT));
  HOLDS((relation & DUSK__DISJOINT) || relation == turned(other));
  HOLDS((dusk__pattern_conflict(a, b) == NULL) ==
        (dusk__pattern_conflict(b, a) == NULL));
}

static void ignore(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)res, (void)req, (void)arg;
}

/* The mux says the same of it, with words. */
static void check_mux(dusk_mux_t *mux, const char *text, int wanted) {
  HOLDS(dusk_mux_handle(mux, text, ignore, NULL) == wanted);
  HOLDS((*dusk_mux_error(mux) != '\0') == (wanted < 0));
}

static void add_pattern(table_t *table, dusk_mux_t *mux, const char *line) {
  dusk__pattern_t *pattern = NULL;
  dusk__fault_t fault;
  const char *why;
  char *text = fuzz_text(line, strlen(line));
  int err = dusk__pattern_parse(text, &pattern, &fault);
  HOLDS(err == 0 || (err == UV_EINVAL && pattern == NULL));
  HOLDS(err == 0 || (fault.at <= strlen(text) && *fault.what));
  if (err == 0) {
    HOLDS(strcmp(pattern->text, text) == 0 && pattern->count > 0);
    check_pair(pattern, pattern);
    HOLDS(dusk__pattern_conflict(pattern, pattern) != NULL);
    for (size_t i = 0; i < table->count; i++)
      check_pair(pattern, table->patterns[i]);
    if (dusk__routes_conflict(&table->routes, pattern, &why)) err = UV_EEXIST;
  }
  check_mux(mux, text, err);
  free(text);
  if (err < 0) {
    free(pattern);
    return;
  }
  dusk__route_t *route = calloc(1, sizeof(*route));
  HOLDS(route != NULL);
  route->pattern = pattern;
  HOLDS(dusk__routes_add(&table->routes, route) == 0);
  table->patterns[table->count++] = pattern;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  table_t table = {0};
  dusk_mux_t *mux;
  char *text = fuzz_text(data, size);
  char *rest = text;
  char *line;
  HOLDS(dusk_mux_new(&mux) == 0);
  while ((line = fuzz_line(&rest)) != NULL && *line)
    if (table.count < MAX_PATTERNS) add_pattern(&table, mux, line);
  for (int i = 0; i < MAX_REQUESTS && (line = fuzz_line(&rest)); i++)
    check_request(&table, line);
  dusk_mux_free(mux);
  dusk__routes_free(&table.routes);
  free(text);
  return 0;
}
