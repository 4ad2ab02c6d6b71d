/* The routes of a mux, as a tree of their segments: which one does a request
 * take? See routes.c. */
#ifndef DUSK_HTTP_ROUTES_H
#define DUSK_HTTP_ROUTES_H

#include "pattern.h"

#include <dusk/response.h>

#include <stdint.h>

typedef struct dusk__route {
  dusk__pattern_t *pattern;
  dusk_handler_cb handler;
  void *arg;

  /* Set when it is added. */
  int method;                /* the pattern's */
  bool wants_text;           /* the pattern's rest has a name */
  struct dusk__route *next;  /* of the same paths, for another method */
  struct dusk__route *older; /* of all */
} dusk__route_t;

/* Where paths have come to by a segment, or by none. */
typedef struct dusk__node {
  struct dusk__node *parent;
  struct dusk__node *wild; /* its child for any segment */
  dusk__route_t *here;     /* of paths that end here */
  dusk__route_t *slash;    /* of those that end in a '/' behind it */
  dusk__route_t *rest;     /* of those with whatever behind that '/' */
  struct dusk__node *next; /* in the table */
  uint64_t hash;
  size_t len;
  char text[]; /* its segment, decoded, or a host's name */
} dusk__node_t;

/* Blank when all 0. */
typedef struct dusk__routes {
  dusk__node_t *any_host; /* the tree of the routes without a host */
  dusk__node_t **table;   /* of all other nodes with a text */
  size_t capacity;        /* a power of two, or 0 */
  size_t count;
  bool has_hosts;
  dusk__route_t *newest;
} dusk__routes_t;

void dusk__routes_free(dusk__routes_t *routes);

/* The oldest one that a new pattern is in conflict with, and why, or NULL. */
const dusk__route_t *dusk__routes_conflict(const dusk__routes_t *routes,
                                           const dusk__pattern_t *pattern,
                                           const char **ret_why);

/* Adds one that is in conflict with none; it is the tree's from then on. On
 * UV_ENOMEM all routes are as before. */
int dusk__routes_add(dusk__routes_t *routes, dusk__route_t *route);

/* What is looked for, and what was found. */
typedef struct dusk__lookup {
  const char *host; /* in any case */
  size_t host_len;
  const char *path; /* clean: begins with '/', and has no "//", ".", ".." */
  size_t len;
  int method; /* llhttp's */
  bool has_escape;
  bool adds_slash; /* behind the path, which doesn't end in one */

  bool is_exact;    /* no rest stands for anything */
  uint64_t allowed; /* methods of the routes that have another one */
} dusk__lookup_t;

/* The most specific route, or NULL. */
const dusk__route_t *dusk__routes_find(const dusk__routes_t *routes,
                                       dusk__lookup_t *lookup);

#endif
