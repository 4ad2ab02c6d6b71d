/* abrupt.c [ADDRESS]: serves, and knows nothing of signals: Ctrl+C ends it in
 * the middle of whatever it does, with the signal's own effect. Unlike Go's,
 * dusk's router is never an implied, process-wide one. */
#include "go.h"

static void hello(void *w) {
  dusk_response_text(w, 200, "hello\n");
}

static void handler(dusk_response_t *w, dusk_request_t *r, void *arg) {
  (void)arg;
  sleep_then(dusk_request_loop(r), 2000, hello, w);
}

static void on_served(dusk_server_t *srv, int err, void *arg) {
  (void)srv, (void)arg;
  log_fatal("", err);
}

int main(int argc, char **argv) {
  uv_loop_t *loop = uv_default_loop();
  dusk_context_t *background;
  dusk_server_t *srv;
  dusk_mux_t *mux;
  must(dusk_context_attach(loop, &background));
  must(dusk_mux_new(&mux));
  must(dusk_mux_handle(mux, "/", handler, NULL));
  dusk_server_config_t config = {.handler = dusk_mux_serve, .handler_arg = mux};
  must(dusk_server_new(background, &config, &srv));
  must(dusk_server_serve(srv, argc > 1 ? argv[1] : ":8080", on_served, NULL));
  print_address(srv);
  return uv_run(loop, UV_RUN_DEFAULT); /* for ever */
}
