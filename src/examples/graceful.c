/* graceful.c [ADDRESS [DELAY_MS]]: serves until Ctrl+C, then finishes what has
 * begun, within 3 s. Unlike Go's, its drain also serves the backlog, pipelined
 * requests and late ones of idle clients, and no unused connection fails it. */
#include "go.h"
#include <dusk/signal.h>
#include <signal.h>

static dusk_context_t *background;
static dusk_server_t *srv;
static uint64_t delay_ms = 2000;

static void hello(void *w) {
  dusk_response_text(w, 200, "hello\n");
}

static void handler(dusk_response_t *w, dusk_request_t *r, void *arg) {
  (void)arg;
  sleep_then(dusk_request_loop(r), delay_ms, hello, w);
}

static void on_processed(dusk_server_t *server, int err, void *c) {
  if (err != 0) log_fatal("server shutdown failed, err: ", err);
  log_print("server gracefully shutdown", 0);
  dusk_signals_free(c);
  dusk_server_unref(server);
}

static void on_interrupt(dusk_signals_t *c, int signum, void *arg) {
  (void)signum, (void)arg;
  dusk_context_t *ctx;
  must(dusk_context_with_timeout(background, 3000, NULL, &ctx));
  must(dusk_server_shutdown(srv, ctx, on_processed, c));
  dusk_context_unref(ctx); /* the server holds it */
}

static void on_served(dusk_server_t *server, int err, void *arg) {
  (void)server, (void)arg;
  if (err != DUSK_ESERVERCLOSED)
    log_fatal("server not gracefully shutdown, err :", err);
}

int main(int argc, char **argv) {
  uv_loop_t *loop = uv_default_loop();
  delay_ms = argc > 2 ? strtoull(argv[2], NULL, 10) : delay_ms;
  must(dusk_context_attach(loop, &background));
  dusk_server_config_t config = {.handler = handler};
  must(dusk_server_new(background, &config, &srv));
  dusk_signals_t *c;
  must(dusk_signals_new(background, 1, &c));
  must(dusk_signals_notify(c, (int[]){SIGINT}, 1));
  must(dusk_signals_receive(c, on_interrupt, NULL));
  const char *address = argc > 1 ? argv[1] : ":8080";
  int err = dusk_server_serve(srv, address, on_served, NULL);
  if (err != 0) on_served(srv, err, NULL);
  print_address(srv);
  uv_run(loop, UV_RUN_DEFAULT); /* until on_processed has let go */
  must(dusk_context_detach(background, NULL, NULL));
  uv_run(loop, UV_RUN_DEFAULT);
  return uv_loop_close(loop);
}
