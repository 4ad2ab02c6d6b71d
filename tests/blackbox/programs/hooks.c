/* A server with shutdown hooks: one connects to the server itself, one begins
 * work of 3 s, one is registered too late. It shuts itself down at SIGINT and
 * says what happens, in order. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

static uv_loop_t loop;
static dusk_context_t *root;
static dusk_context_t *signals;
static dusk_server_t *server;
static dusk_waiter_t on_signal_waiter;
static uv_tcp_t probe;
static uv_connect_t connecting;

static void on_request(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  (void)arg;
  dusk_response_text(res, 200, "hello\n");
}

static void on_probe(uv_connect_t *req, int status) {
  (void)req;
  say("hook connect: %s", result_text(status));
  uv_close((uv_handle_t *)&probe, NULL);
}

static void connect_hook(dusk_server_t *of, void *arg) {
  (void)arg;
  say("hook begins to connect");
  char text[256];
  must(dusk_server_address(of, 0, text, sizeof text), "address");
  char *port = strrchr(text, ':');
  *port = '\0';
  struct sockaddr_in address;
  must(uv_ip4_addr(text, atoi(port + 1), &address), "address");
  must(uv_tcp_init(&loop, &probe), "tcp");
  must(uv_tcp_connect(&connecting, &probe, (struct sockaddr *)&address,
                      on_probe),
       "connect");
}

static void say_slow_end(void *arg) {
  (void)arg;
  say("hook slow ends");
}

static void slow_hook(dusk_server_t *of, void *arg) {
  (void)of;
  (void)arg;
  say("hook slow begins");
  later(&loop, 3000, say_slow_end, NULL);
}

static void late_hook(dusk_server_t *of, void *arg) {
  (void)of;
  (void)arg;
  say("hook late runs");
}

static void on_serve_end(dusk_server_t *of, int err, void *arg) {
  (void)of;
  (void)arg;
  say("serve: %s", result_text(err));
}

static void on_shutdown(dusk_server_t *of, int status, void *arg) {
  (void)arg;
  say("shutdown: %s", result_text(status));
  dusk_server_unref(of);
}

static void on_signal(dusk_waiter_t *waiter) {
  (void)waiter;
  dusk_context_t *bound;
  must(dusk_context_with_timeout(root, 10000, NULL, &bound), "bound");
  must(dusk_server_shutdown(server, bound, on_shutdown, NULL), "shutdown");
  dusk_context_unref(bound);
  say("late registration: %s",
      result_text(dusk_server_on_shutdown(server, late_hook, NULL)));
}

int main(int argc, char **argv) {
  (void)argc;
  must(uv_loop_init(&loop), "loop");
  must(dusk_context_attach(&loop, &root), "attach");
  dusk_server_config_t config = {.handler = on_request};
  must(dusk_server_new(root, &config, &server), "server");
  must(dusk_server_on_shutdown(server, connect_hook, NULL), "hook");
  must(dusk_server_on_shutdown(server, slow_hook, NULL), "hook");
  must(dusk_context_with_signals(root, (int[]){SIGINT}, 1, &signals),
       "signals");
  dusk_context_after(signals, &on_signal_waiter, root, on_signal);
  serve_settings(server, argv, on_serve_end);
  uv_run(&loop, UV_RUN_DEFAULT);
  dusk_context_unref(signals);
  return finish(root, &loop);
}
