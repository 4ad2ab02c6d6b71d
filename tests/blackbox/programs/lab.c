/* Settings of dusk_server_config_t as KEY=VALUE (idle=MS header=MS body=MS
 * write=MS request=MS quiet=MS grace=MS header-bytes=N header-count=N
 * body-bytes=N connections=N), listen=ADDRESS, lines=1 for a line a request.
 * SIGINT shuts down, bounded by bound=MS (3000). See lab.h. */
#include "lab.h"

#include <signal.h>
#include <stdlib.h>

uv_loop_t loop;
dusk_context_t *root;
dusk_server_t *server;

static char **settings;
static dusk_context_t *signals;
static dusk_waiter_t on_signal_waiter;

uint64_t query_number(dusk_request_t *req, const char *name,
                      uint64_t fallback) {
  char text[32];
  if (dusk_request_query_value(req, name, text, sizeof text) < 0)
    return fallback;
  return strtoull(text, NULL, 10);
}

static void on_request_end(dusk_request_t *req, const dusk_request_end_t *end,
                           void *arg) {
  (void)arg;
  say("ended %s %s %d %llu %s", dusk_request_method(req),
      dusk_request_target(req), end->status,
      (unsigned long long)end->body_bytes, result_text(end->err));
}

static void on_serve_end(dusk_server_t *of, int err, void *arg) {
  (void)of;
  (void)arg;
  say("serve: %s", result_text(err));
}

static void on_shutdown(dusk_server_t *of, int status, void *arg) {
  (void)of;
  (void)arg;
  char text[2048];
  dusk_report_t report;
  dusk_server_report(of, &report);
  dusk_report_json(&report, text, sizeof text);
  say("report: %s", text);
  say("shutdown: %s", result_text(status));
  uv_stop(&loop);
}

static void on_signal(dusk_waiter_t *waiter) {
  (void)waiter;
  dusk_context_t *bound;
  must(dusk_context_with_timeout(root, setting_number(settings, "bound", 3000),
                                 NULL, &bound),
       "bound");
  must(dusk_server_shutdown(server, bound, on_shutdown, NULL), "shutdown");
  dusk_context_unref(bound);
}

static void add_routes(dusk_mux_t *mux, const route_t *routes) {
  for (; routes->pattern != NULL; routes++)
    must(dusk_mux_handle(mux, routes->pattern, routes->handler, NULL),
         routes->pattern);
}

static dusk_server_config_t make_config(dusk_mux_t *mux) {
  return (dusk_server_config_t){
      .handler = dusk_mux_serve,
      .handler_arg = mux,
      .idle_timeout_ms = setting_number(settings, "idle", 0),
      .header_timeout_ms = setting_number(settings, "header", 0),
      .body_timeout_ms = setting_number(settings, "body", 0),
      .write_timeout_ms = setting_number(settings, "write", 0),
      .request_timeout_ms = setting_number(settings, "request", 0),
      .max_header_bytes = setting_number(settings, "header-bytes", 0),
      .max_header_count = setting_number(settings, "header-count", 0),
      .max_body_bytes = setting_number(settings, "body-bytes", 0),
      .max_connections = setting_number(settings, "connections", 0),
      .quiet_window_ms = setting_number(settings, "quiet", 0),
      .cancel_grace_ms = setting_number(settings, "grace", 0),
      .on_request_end =
          setting_number(settings, "lines", 0) ? on_request_end : NULL,
  };
}

int main(int argc, char **argv) {
  (void)argc;
  settings = argv;
  dusk_mux_t *mux;
  must(uv_loop_init(&loop), "loop");
  must(dusk_context_attach(&loop, &root), "attach");
  must(dusk_mux_new(&mux), "mux");
  add_routes(mux, request_routes);
  add_routes(mux, answer_routes);
  add_routes(mux, life_routes);
  dusk_server_config_t config = make_config(mux);
  must(dusk_server_new(root, &config, &server), "server");
  must(dusk_context_with_signals(root, (int[]){SIGINT}, 1, &signals),
       "signals");
  dusk_context_after(signals, &on_signal_waiter, root, on_signal);
  serve_settings(server, argv, on_serve_end);
  uv_run(&loop, UV_RUN_DEFAULT);
  dusk_waiter_stop(&on_signal_waiter);
  dusk_context_unref(signals);
  dusk_server_unref(server);
  int status = finish(root, &loop);
  dusk_mux_free(mux);
  return status;
}
