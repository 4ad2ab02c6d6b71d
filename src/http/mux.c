/* The mux: patterns in a table, the longest path first, so that the first match
 * is the most specific. */
#include "chars.h"
#include "h1_parse.h"
#include "request.h"

#include <dusk/http.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* llhttp's, by its numbers; it lets no others through. */
#define NAME(number, name, text) [number] = #text,
static const char *const methods[] = {HTTP_METHOD_MAP(NAME)};
enum { METHODS = sizeof(methods) / sizeof(*methods), ANY = -1 };
static_assert(METHODS <= 64, "a set of methods is 64 bits");

/* Room for all of their names. */
#define LISTED(number, name, text) ", " #text
enum { ALLOW_BYTES = sizeof(HTTP_METHOD_MAP(LISTED)) };

typedef struct route {
  char *path; /* decoded; a "%2F" is a NUL, which none has otherwise */
  size_t path_len;
  int method;
  bool subtree; /* the path ends in '/' */
  dusk_handler_cb handler;
  void *arg;
} route_t;

struct dusk_mux {
  route_t *routes;
  size_t count;
};

int dusk_mux_new(dusk_mux_t **ret_mux) {
  if (ret_mux == NULL) return UV_EINVAL;
  dusk_mux_t *mux = calloc(1, sizeof(*mux));
  if (mux == NULL) return UV_ENOMEM;
  *ret_mux = mux;
  return 0;
}

void dusk_mux_free(dusk_mux_t *mux) {
  if (mux == NULL) return;
  for (size_t i = 0; i < mux->count; i++)
    free(mux->routes[i].path);
  free(mux->routes);
  free(mux);
}

/* -- Registering ----------------------------------------------------------- */

static int find_method(const char *name, size_t len) {
  for (int i = 0; i < METHODS; i++)
    if (methods[i] && strlen(methods[i]) == len &&
        memcmp(methods[i], name, len) == 0)
      return i;
  return ANY;
}

/* The next character of a path, decoded; 0 for an escaped '/', which separates
 * nothing, and -1 for an escaped NUL or a broken escape. */
static int next(const char **at) {
  const char *text = *at;
  *at += *text == '%' ? 3 : 1;
  if (*text != '%') return (unsigned char)*text;
  int c = dusk__unescape(text);
  if (c == '/') return 0;
  return c > 0 ? c : -1;
}

/* Not what no request's path has, nor what is kept for wildcards. */
static bool is_pattern_char(char c) {
  return (unsigned char)c > ' ' && c != 127 && !strchr("?#{}", c);
}

static int decode_path(const char *text, route_t *route) {
  char *to = route->path = malloc(strlen(text) + 1);
  if (to == NULL) return UV_ENOMEM;
  while (*text) {
    int c = is_pattern_char(*text) ? next(&text) : -1;
    if (c < 0) {
      free(route->path);
      return UV_EINVAL;
    }
    *to++ = (char)c;
  }
  route->path_len = (size_t)(to - route->path);
  route->subtree = to[-1] == '/';
  return 0;
}

static int parse_pattern(const char *pattern, route_t *route) {
  size_t method = strcspn(pattern, " ");
  const char *path = pattern;
  route->method = ANY;
  if (pattern[method] == ' ') {
    path += method + 1;
    route->method = find_method(pattern, method);
    if (route->method == ANY) return UV_EINVAL;
  }
  return *path == '/' ? decode_path(path, route) : UV_EINVAL;
}

/* Longest path first, then those with a method, HEAD before GET, which answers
 * it, too; 0 when they are the same. */
static int compare(const route_t *a, const route_t *b) {
  if (a->path_len != b->path_len) return a->path_len > b->path_len ? -1 : 1;
  int order = memcmp(a->path, b->path, a->path_len);
  return order ? order : b->method - a->method;
}

static int insert(dusk_mux_t *mux, const route_t *route) {
  size_t at = 0;
  while (at < mux->count && compare(&mux->routes[at], route) < 0)
    at++;
  if (at < mux->count && compare(&mux->routes[at], route) == 0)
    return UV_EEXIST;
  route_t *routes = realloc(mux->routes, (mux->count + 1) * sizeof(*routes));
  if (routes == NULL) return UV_ENOMEM;
  memmove(routes + at + 1, routes + at, (mux->count - at) * sizeof(*routes));
  routes[at] = *route;
  mux->routes = routes;
  mux->count++;
  return 0;
}

int dusk_mux_handle(dusk_mux_t *mux, const char *pattern,
                    dusk_handler_cb handler, void *arg) {
  if (mux == NULL || pattern == NULL || handler == NULL) return UV_EINVAL;
  route_t route = {.handler = handler, .arg = arg};
  int err = parse_pattern(pattern, &route);
  if (err < 0) return err;
  err = insert(mux, &route);
  if (err < 0) free(route.path);
  return err;
}

/* -- Matching -------------------------------------------------------------- */

static bool matches_encoded(const route_t *route, const char *path,
                            size_t len) {
  const char *end = path + len;
  for (size_t i = 0; i < route->path_len; i++)
    if (path == end || next(&path) != (unsigned char)route->path[i])
      return false;
  return path == end || route->subtree;
}

static bool path_matches(const route_t *route, const char *path, size_t len,
                         bool is_encoded) {
  if (is_encoded) return matches_encoded(route, path, len);
  bool is_long_enough =
      route->subtree ? len >= route->path_len : len == route->path_len;
  return is_long_enough && memcmp(path, route->path, route->path_len) == 0;
}

static bool method_matches(const route_t *route, int method) {
  return route->method == ANY || route->method == method ||
         (method == HTTP_HEAD && route->method == HTTP_GET);
}

static uint64_t bit(int method) {
  return UINT64_C(1) << method;
}

/* Of a set of methods the one whose name comes first. */
static int first_of(uint64_t set) {
  int first = ANY;
  for (int i = 0; i < METHODS; i++)
    if ((set & bit(i)) &&
        (first == ANY || strcmp(methods[i], methods[first]) < 0))
      first = i;
  return first;
}

static void answer_405(dusk_response_t *res, uint64_t allowed) {
  char allow[ALLOW_BYTES];
  size_t len = 0;
  if (allowed & bit(HTTP_GET)) allowed |= bit(HTTP_HEAD);
  while (allowed) {
    int method = first_of(allowed);
    allowed &= ~bit(method);
    size_t name_len = strlen(methods[method]);
    memcpy(allow + len, methods[method], name_len);
    memcpy(allow + len + name_len, ", ", 3);
    len += name_len + 2;
  }
  allow[len - 2] = '\0';
  dusk_response_set_header(res, "Allow", allow);
  dusk_response_text(res, 405, "Method Not Allowed\n");
}

void dusk_mux_serve(dusk_response_t *res, dusk_request_t *req, void *arg) {
  const dusk_mux_t *mux = arg;
  const dusk__h1_t *h1 = dusk__request_h1(req);
  if (h1 == NULL) return;
  int method = h1->parser.method;
  size_t len;
  const char *path = dusk__h1_path(h1, &len);
  uint64_t allowed = 0;
  if (len == 1 && *path == '*') { /* OPTIONS: of the server as a whole */
    dusk_response_end(res, NULL, 0);
    return;
  }
  for (size_t i = 0; i < mux->count; i++) {
    const route_t *route = &mux->routes[i];
    if (!path_matches(route, path, len, h1->has_escape)) continue;
    if (method_matches(route, method)) {
      route->handler(res, req, route->arg);
      return;
    }
    allowed |= bit(route->method);
  }
  if (allowed)
    answer_405(res, allowed);
  else
    dusk_response_text(res, 404, "404 page not found\n");
}
