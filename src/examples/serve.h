/* serve.h: what is the same in the main of each service: it serves until SIGINT
 * or SIGTERM, then finishes what has begun, within 3 s; a second signal kills.
 * graceful.c shows it step by step. */
#ifndef EXAMPLES_SERVE_H
#define EXAMPLES_SERVE_H

#include "go.h"
#include <dusk/signal.h>
#include <signal.h>

enum { SERVE_BOUND_MS = 3000 };

typedef struct serve {
  dusk_waiter_t waiter; /* for the signal */
  dusk_context_t *root;
  dusk_context_t *signalled;
  dusk_server_t *server;
} serve_t;

static inline void serve_on_shut(dusk_server_t *server, int err, void *arg) {
  (void)server, (void)arg;
  log_print(err != 0 ? "not all was answered: " : "all was answered", err);
}

static inline void serve_on_signal(dusk_waiter_t *waiter) {
  serve_t *serve = (serve_t *)waiter;
  dusk_context_t *bound;
  must(dusk_context_stop_signals(serve->signalled));
  log_print(dusk_context_cause(serve->signalled)->text, 0);
  must(dusk_context_with_timeout(serve->root, SERVE_BOUND_MS, NULL, &bound));
  must(dusk_server_shutdown(serve->server, bound, serve_on_shut, NULL));
  dusk_context_unref(bound); /* the server holds it */
}

static inline void serve_on_served(dusk_server_t *server, int err, void *arg) {
  (void)server, (void)arg;
  if (err != DUSK_ESERVERCLOSED) log_fatal("not served any more: ", err);
}

/* Returns when nothing is left of the server: what its handlers used, such as
 * their mux, may be freed then. */
static inline void serve(const dusk_server_config_t *config,
                         const char *address) {
  uv_loop_t *loop = uv_default_loop();
  serve_t serve = {.root = NULL};
  int signums[] = {SIGINT, SIGTERM};
  must(dusk_context_attach(loop, &serve.root));
  must(dusk_server_new(serve.root, config, &serve.server));
  must(dusk_context_with_signals(serve.root, signums, 2, &serve.signalled));
  dusk_context_after(serve.signalled, &serve.waiter, serve.root,
                     serve_on_signal);
  must(dusk_server_serve(serve.server, address, serve_on_served, NULL));
  print_address(serve.server);
  uv_run(loop, UV_RUN_DEFAULT); /* until the last request has been answered */
  dusk_server_unref(serve.server);
  dusk_context_unref(serve.signalled);
  must(dusk_context_detach(serve.root, NULL, NULL));
  uv_run(loop, UV_RUN_DEFAULT);
  must(uv_loop_close(loop));
}

#endif
