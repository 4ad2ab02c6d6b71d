/* Servers at the edges of their life, without any client: shut down or closed
 * before they served, twice, under a bound that has ended. Says each result as
 * "NAME: RESULT". */
#include <stdlib.h>

#include "common.h"

static uv_loop_t loop;
static dusk_context_t *root;
static int waiting;

static void on_request(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  (void)arg;
  dusk_response_text(res, 200, "hello\n");
}

static dusk_server_t *make_server(void) {
  dusk_server_t *server;
  dusk_server_config_t config = {.handler = on_request};
  must(dusk_server_new(root, &config, &server), "server");
  return server;
}

static void on_serve_end(dusk_server_t *server, int err, void *name) {
  (void)server;
  say("%s: %s", (const char *)name, result_text(err));
}

static void on_shutdown(dusk_server_t *server, int status, void *name) {
  (void)server;
  waiting--;
  say("%s: %s", (const char *)name, result_text(status));
}

static void serve(dusk_server_t *server, const char *name) {
  int err =
      dusk_server_serve(server, "127.0.0.1:0", on_serve_end, (void *)name);
  if (err != 0) say("%s: %s", name, result_text(err));
}

static void shut_down(dusk_server_t *server, dusk_context_t *bound,
                      const char *name) {
  int err = dusk_server_shutdown(server, bound, on_shutdown, (void *)name);
  if (err == 0) {
    waiting++;
  } else {
    say("%s: %s", name, result_text(err));
  }
}

static void wait_for_callbacks(void) {
  while (waiting > 0)
    uv_run(&loop, UV_RUN_ONCE);
}

static void shut_down_before_serving(void) {
  dusk_server_t *server = make_server();
  shut_down(server, root, "never served, shutdown");
  wait_for_callbacks();
  serve(server, "shut down, serve");
  char text[64];
  say("shut down, address: %s",
      result_text(dusk_server_address(server, 0, text, sizeof text)));
  shut_down(server, root, "shut down, shutdown again");
  wait_for_callbacks();
  dusk_server_unref(server);
}

static void shut_down_twice(void) {
  dusk_server_t *server = make_server();
  serve(server, "twice, serve");
  shut_down(server, NULL, "no bound, shutdown");
  shut_down(server, root, "twice, first");
  shut_down(server, root, "twice, second");
  wait_for_callbacks();
  serve(server, "twice, serve again");
  dusk_server_unref(server);
}

static void shut_down_with_ended_bound(void) {
  dusk_server_t *server = make_server();
  serve(server, "ended bound, serve");
  dusk_context_t *bound;
  must(dusk_context_with_cancel(root, &bound), "bound");
  dusk_context_cancel(bound, NULL);
  shut_down(server, bound, "ended bound, shutdown");
  wait_for_callbacks();
  dusk_context_unref(bound);
  dusk_server_unref(server);
}

static void close_twice(void) {
  dusk_server_t *server = make_server();
  dusk_server_close(server);
  dusk_server_close(server);
  serve(server, "closed, serve");
  shut_down(server, root, "closed, shutdown");
  wait_for_callbacks();
  dusk_server_unref(server);
}

static void close_while_shutting_down(void) {
  dusk_server_t *server = make_server();
  serve(server, "closed meanwhile, serve");
  shut_down(server, root, "closed meanwhile, shutdown");
  dusk_server_close(server);
  wait_for_callbacks();
  dusk_server_unref(server);
}

static void forget_while_serving(void) {
  dusk_server_t *server = make_server();
  serve(server, "forgotten, serve");
  dusk_server_unref(server);
}

int main(void) {
  must(uv_loop_init(&loop), "loop");
  must(dusk_context_attach(&loop, &root), "attach");
  shut_down_before_serving();
  shut_down_twice();
  shut_down_with_ended_bound();
  close_twice();
  close_while_shutting_down();
  forget_while_serving();
  return finish(root, &loop);
}
