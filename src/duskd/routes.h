/* routes.h: what duskd answers. */
#ifndef DUSKD_ROUTES_H
#define DUSKD_ROUTES_H

#include <dusk/http.h>
#include <stdatomic.h>

/* All loops share them. */
typedef struct duskd_routes {
  dusk_mux_t *mux;      /* give it to the server, with dusk_mux_serve */
  atomic_bool is_ready; /* what /readyz says */
} duskd_routes_t;

int duskd__routes_init(duskd_routes_t *routes);

/* When the server has gone. */
void duskd__routes_done(duskd_routes_t *routes);

/* -- For the routes' own files --------------------------------------------- */

#define DUSKD_OWNER(pointer, type, member)                                     \
  ((type *)((char *)(pointer)-offsetof(type, member)))

/* Reads the query's parameter `name`, if it is there, by one of the parsers of
 * units.h; false when it can't be read or is more than `max`. */
bool duskd__query_number(dusk_request_t *req, const char *name,
                         int (*parse)(const char *, uint64_t *), uint64_t max,
                         uint64_t *value);

/* Handlers; `arg` is the routes. */
void duskd__hello(dusk_response_t *res, dusk_request_t *req, void *arg);
void duskd__stream(dusk_response_t *res, dusk_request_t *req, void *arg);
void duskd__echo(dusk_response_t *res, dusk_request_t *req, void *arg);

#endif
