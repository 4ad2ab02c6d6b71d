/* mux.c: what does a mux cost, with few routes and with many? Callgrind counts
 * the instructions of its look-ups: bench/mux runs it.
 *
 * Usage: bench_mux ROUTES LOOK-UPS KIND. The kinds are of the requests:
 *   text    GET /api/v1/resource0007
 *   value   GET /api/v1/resource0007/items/42
 *   none    GET /api/v1/resource0007/nothing, a 404
 *   mixed   the worst case: patterns that differ by their last segment only */
#include "path.h"
#include "routes.h"

#include <llhttp.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MIXED_DEPTH = 10, MAX_ROUTES = 10000 };

static int add(dusk__routes_t *routes, const char *text) {
  dusk__fault_t fault;
  dusk__route_t *route = calloc(1, sizeof *route);

  if (route == NULL) return UV_ENOMEM;
  int err = dusk__pattern_parse(text, &route->pattern, &fault);
  return err ? err : dusk__routes_add(routes, route);
}

static int add_resource(dusk__routes_t *routes, unsigned number) {
  char text[96];

  snprintf(text, sizeof text, "GET /api/v1/resource%04u", number);
  int err = add(routes, text);
  snprintf(text, sizeof text, "GET /api/v1/resource%04u/items/{id}", number);
  return err ? err : add(routes, text);
}

static int add_mixed(dusk__routes_t *routes, unsigned number) {
  char text[128];
  size_t len = 0;

  for (unsigned i = 0; i < MIXED_DEPTH; i++)
    len += (size_t)snprintf(text + len, sizeof text - len,
                            number >> i & 1 ? "/{w%u}" : "/a", i);
  snprintf(text + len, sizeof text - len, "/%u", number);
  return add(routes, text);
}

/* As dusk_mux_serve looks a request up. */
static unsigned look_up(const dusk__routes_t *routes, const char *path) {
  dusk__lookup_t lookup = {
      .method = HTTP_GET, .path = path, .len = strlen(path)};

  if (!dusk__path_is_clean(path, lookup.len)) return 0;
  if (dusk__routes_find(routes, &lookup)) return 1;
  lookup.adds_slash = true;
  return dusk__routes_find(routes, &lookup) != NULL;
}

/* The path that a request has, the `number`th of as many as there are routes.
 */
static void put_path(char *path, size_t size, const char *kind,
                     unsigned number) {
  const char *tail = strcmp(kind, "value") == 0  ? "/items/42"
                     : strcmp(kind, "none") == 0 ? "/nothing"
                                                 : "";

  if (strcmp(kind, "mixed") == 0)
    snprintf(path, size, "/a/a/a/a/a/a/a/a/a/a/x");
  else
    snprintf(path, size, "/api/v1/resource%04u%s", number / 2, tail);
}

int main(int argc, char **argv) {
  static char paths[MAX_ROUTES][48];
  dusk__routes_t routes = {0};
  unsigned count = argc == 4 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
  unsigned look_ups = argc == 4 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
  unsigned found = 0;
  int err = 0;

  if (count < 2 || count > MAX_ROUTES) {
    fprintf(stderr, "usage: %s ROUTES LOOK-UPS text|value|none|mixed\n",
            argv[0]);
    return 2;
  }
  bool is_mixed = strcmp(argv[3], "mixed") == 0;
  for (unsigned i = 0; !err && i < count; i++) {
    put_path(paths[i], sizeof paths[i], argv[3], i);
    if (is_mixed)
      err = add_mixed(&routes, i);
    else if (i % 2 == 0)
      err = add_resource(&routes, i / 2);
  }
  for (unsigned i = 0; !err && i < look_ups; i++)
    found += look_up(&routes, paths[i % count]);
  dusk__routes_free(&routes);
  if (err) fprintf(stderr, "%s: %s\n", argv[0], dusk_strerror(err));
  printf("%u of %u found\n", found, look_ups);
  return err != 0;
}
