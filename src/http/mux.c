/* The mux: patterns in a table, the longest path first, so that the first match
 * is the most specific. */
#include "chars.h"
#include "request.h"

#include <dusk/http.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct route {
  char *path;
  size_t path_len;
  char *method; /* NULL: any */
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

static void free_route(route_t *route) {
  free(route->path);
  free(route->method);
}

void dusk_mux_free(dusk_mux_t *mux) {
  if (mux == NULL) return;
  for (size_t i = 0; i < mux->count; i++)
    free_route(&mux->routes[i]);
  free(mux->routes);
  free(mux);
}

/* -- Registering ----------------------------------------------------------- */

static int parse_pattern(const char *pattern, route_t *route) {
  size_t method = strcspn(pattern, " ");
  const char *path = pattern;
  if (pattern[method] == ' ') path += method + 1;
  if (path[0] != '/' || strchr(path, ' ') || path == pattern + 1)
    return UV_EINVAL;
  route->path = strdup(path);
  route->method = path > pattern ? strndup(pattern, method) : NULL;
  if (route->path == NULL || (path > pattern && route->method == NULL)) {
    free_route(route);
    return UV_ENOMEM;
  }
  route->path_len = strlen(path);
  route->subtree = path[route->path_len - 1] == '/';
  return 0;
}

/* Longest path first, then those with a method; 0 when they are the same. */
static int compare(const route_t *a, const route_t *b) {
  if (a->path_len != b->path_len) return a->path_len > b->path_len ? -1 : 1;
  int order = strcmp(a->path, b->path);
  if (order) return order;
  if (a->method == NULL || b->method == NULL)
    return (a->method == NULL) - (b->method == NULL);
  return strcmp(a->method, b->method);
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
  if (err < 0) free_route(&route);
  return err;
}

/* -- Matching -------------------------------------------------------------- */

/* The next character of a path, decoded; an encoded '/' is no separator, so it
 * is none that a pattern has. */
static int next(const char **at, const char *end) {
  const char *text = *at;
  if (*text == '%' && end - text > 2 && dusk__hex(text[1]) >= 0 &&
      dusk__hex(text[2]) >= 0) {
    *at += 3;
    int c = dusk__hex(text[1]) * 16 + dusk__hex(text[2]);
    return c == '/' ? -1 : c;
  }
  *at += 1;
  return (unsigned char)*text;
}

static bool matches_encoded(const route_t *route, const char *path,
                            size_t len) {
  const char *end = path + len;
  const char *pattern = route->path;
  for (; *pattern; pattern++)
    if (path == end || next(&path, end) != (unsigned char)*pattern)
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

static bool method_matches(const route_t *route, const char *method) {
  return route->method == NULL || strcmp(route->method, method) == 0 ||
         (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

/* A HEAD request goes to GET's route only if the path has none for HEAD. */
static const route_t *prefer_exact(const dusk_mux_t *mux, size_t i,
                                   const char *method) {
  const route_t *found = &mux->routes[i];
  for (; i < mux->count && strcmp(mux->routes[i].path, found->path) == 0; i++)
    if (mux->routes[i].method && strcmp(mux->routes[i].method, method) == 0)
      return &mux->routes[i];
  return found;
}

static void add_allowed(char *allow, size_t size, const char *method) {
  size_t len = strlen(allow);
  snprintf(allow + len, size - len, "%s%s", len ? ", " : "", method);
}

static void answer_405(dusk_response_t *res, const char *allow) {
  dusk_response_header(res, "Allow", allow);
  dusk_response_text(res, 405, "Method Not Allowed\n");
}

void dusk_mux_serve(dusk_response_t *res, dusk_request_t *req, void *arg) {
  const dusk_mux_t *mux = arg;
  const char *method = dusk_request_method(req);
  size_t len;
  const char *path = dusk__request_path(req, &len);
  bool is_encoded = memchr(path, '%', len) != NULL;
  char allow[256];
  allow[0] = '\0';
  if (len == 1 && *path == '*') { /* OPTIONS: of the server as a whole */
    dusk_response_end(res, NULL, 0);
    return;
  }
  for (size_t i = 0; i < mux->count; i++) {
    const route_t *route = &mux->routes[i];
    if (!path_matches(route, path, len, is_encoded)) continue;
    if (method_matches(route, method)) {
      if (*method == 'H') route = prefer_exact(mux, i, method);
      route->handler(res, req, route->arg);
      return;
    }
    /* The routes of one path are sorted by method, as Allow is in Go. */
    add_allowed(allow, sizeof(allow), route->method);
    if (strcmp(route->method, "GET") == 0)
      add_allowed(allow, sizeof(allow), "HEAD");
  }
  if (allow[0])
    answer_405(res, allow);
  else
    dusk_response_text(res, 404, "404 page not found\n");
}
