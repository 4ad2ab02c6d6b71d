/* uses_http.c: a stranger's program on the server, as C and as C++: it serves
 * on a free port, is shut down, and tells how that went. */
#include <dusk/http.h>
#include <stdio.h>

static dusk_server_config_t config; /* a zero is a default */

static void hello(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req, (void)arg;
  dusk_response_text(res, 200, "hello\n");
}

static void on_shutdown(dusk_server_t *server, int status, void *arg) {
  (void)server, (void)arg;
  printf("shut down with %d\n", status);
}

int main(void) {
  uv_loop_t loop;
  dusk_context_t *root, *bound;
  dusk_server_t *server;
  config.handler = hello;
  if (uv_loop_init(&loop) != 0 || dusk_context_attach(&loop, &root) != 0 ||
      dusk_server_new(root, &config, &server) != 0 ||
      dusk_server_serve(server, "127.0.0.1:0", NULL, NULL) != 0 ||
      dusk_context_with_timeout(root, 5000, NULL, &bound) != 0 ||
      dusk_server_shutdown(server, bound, on_shutdown, NULL) != 0)
    return 1;
  dusk_context_unref(bound);
  uv_run(&loop, UV_RUN_DEFAULT);
  dusk_server_unref(server);
  uv_run(&loop, UV_RUN_DEFAULT);
  if (dusk_context_detach(root, NULL, NULL) != 0) return 1;
  uv_run(&loop, UV_RUN_DEFAULT);
  return uv_loop_close(&loop) == 0 ? 0 : 1;
}
