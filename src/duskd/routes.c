/* routes.c: the table of routes, and those that answer at once. */
#include "routes.h"

#include <string.h>

static void healthz(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req, (void)arg;
  dusk_response_text(res, 200, "ok\n");
}

static void readyz(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  const duskd_routes_t *routes = arg;
  if (routes->is_ready)
    dusk_response_text(res, 200, "ok\n");
  else
    dusk_response_text(res, 503, "shutting down\n");
}

static const struct {
  const char *pattern;
  dusk_handler_cb handler;
} table[] = {
    {"GET /", duskd__hello}, /* and every path that isn't another's */
    {"POST /echo", duskd__echo},    {"PUT /echo", duskd__echo},
    {"GET /stream", duskd__stream}, {"GET /healthz", healthz},
    {"GET /readyz", readyz},
};

int duskd__routes_init(duskd_routes_t *routes) {
  atomic_init(&routes->is_ready, true);
  int err = dusk_mux_new(&routes->mux);
  for (size_t i = 0; err == 0 && i < sizeof table / sizeof table[0]; i++)
    err = dusk_mux_handle(routes->mux, table[i].pattern, table[i].handler,
                          routes);
  return err;
}

void duskd__routes_done(duskd_routes_t *routes) {
  dusk_mux_free(routes->mux);
}

bool duskd__query_number(dusk_request_t *req, const char *name,
                         int (*parse)(const char *, uint64_t *), uint64_t max,
                         uint64_t *value) {
  char text[32];
  int len = dusk_request_query_value(req, name, text, sizeof text);
  if (len == UV_ENOENT) return true;
  return len >= 0 && parse(text, value) == 0 && *value <= max;
}
