/* The laboratory server: a route for each thing that a handler can do, and
 * lines on stderr for what only the server's side sees.
 *
 *   lab.c           settings, start, end, access lines
 *   lab_requests.c  what handlers read: /show /collect /trailer /ignore /pause
 *   lab_answers.c   what they write: /status /declare /over /chunks /big ...
 *   lab_lives.c     contexts and the server's own life: /watch /stop ... */
#ifndef DUSK_TESTS_LAB_H
#define DUSK_TESTS_LAB_H

#include "common.h"

typedef struct route {
  const char *pattern;
  dusk_handler_cb handler;
} route_t;

/* Each ends with a NULL pattern. */
extern const route_t request_routes[];
extern const route_t answer_routes[];
extern const route_t life_routes[];

extern uv_loop_t loop;
extern dusk_context_t *root;
extern dusk_server_t *server;

/* A number of the query, `fallback` if it isn't there. */
uint64_t query_number(dusk_request_t *req, const char *name, uint64_t fallback);

#endif
