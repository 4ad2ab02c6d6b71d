/* Connections that are taken over and then echo bytes, as WebSockets do.
 *
 *   close=1        SIGINT closes the server at once instead
 *   say-goodbye=1  they are told by the draining context: each says "bye" and
 *                  closes, and the program waits for the last of them itself
 *
 * Without that they go on after the server's shutdown until their clients
 * leave. It says "taken", "shutdown: RESULT", "gone" for each end, and "done".
 */
#include <signal.h>
#include <stdlib.h>

#include "common.h"

typedef struct echo {
  uv_tcp_t tcp;
  dusk_waiter_t draining;
} echo_t;

typedef struct piece {
  uv_write_t req;
  char data[4096];
} piece_t;

static uv_loop_t loop;
static char **settings;
static dusk_context_t *root;
static dusk_context_t *signals;
static dusk_server_t *server;
static dusk_waiter_t on_signal_waiter;
static int taken;
static bool is_shut_down;

static void end_if_done(void) {
  if (is_shut_down && taken == 0) say("all gone");
}

static void on_echo_closed(uv_handle_t *handle) {
  free(handle->data);
  taken--;
  say("gone");
  end_if_done();
}

static void close_echo(echo_t *echo) {
  if (uv_is_closing((uv_handle_t *)&echo->tcp)) return;
  dusk_waiter_stop(&echo->draining);
  uv_close((uv_handle_t *)&echo->tcp, on_echo_closed);
}

static void on_piece_out(uv_write_t *req, int status) {
  (void)status;
  free(req->data);
}

static void send_piece(echo_t *echo, piece_t *piece, size_t len) {
  uv_buf_t buf = uv_buf_init(piece->data, (unsigned)len);
  piece->req.data = piece;
  if (uv_write(&piece->req, (uv_stream_t *)&echo->tcp, &buf, 1, on_piece_out))
    free(piece);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf) {
  (void)handle;
  (void)size;
  piece_t *piece = allocate(sizeof *piece);
  *buf = uv_buf_init(piece->data, sizeof piece->data);
}

static void on_bytes(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf) {
  echo_t *echo = stream->data;
  piece_t *piece =
      buf->base ? (piece_t *)(buf->base - offsetof(piece_t, data)) : NULL;
  if (nread > 0) {
    send_piece(echo, piece, (size_t)nread);
    return;
  }
  free(piece);
  if (nread < 0) close_echo(echo);
}

static void on_goodbye_out(uv_write_t *req, int status) {
  (void)status;
  echo_t *echo = req->handle->data;
  free(req->data);
  close_echo(echo);
}

static void say_goodbye(dusk_waiter_t *waiter) {
  echo_t *echo = (echo_t *)((char *)waiter - offsetof(echo_t, draining));
  piece_t *piece = allocate(sizeof *piece);
  piece->req.data = piece;
  uv_buf_t buf = uv_buf_init((char[]){'b', 'y', 'e', '\n'}, 4);
  if (uv_write(&piece->req, (uv_stream_t *)&echo->tcp, &buf, 1,
               on_goodbye_out)) {
    free(piece);
    close_echo(echo);
  }
}

static void on_request(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  if (dusk_request_header(req, "Upgrade") == NULL) {
    dusk_response_text(res, 200, "hello\n");
    return;
  }
  dusk_context_t *draining = dusk_request_draining(req);
  uv_os_sock_t fd;
  char *early;
  size_t early_len;
  must(dusk_response_hijack(res, &fd, &early, &early_len), "hijack");
  say("taken with %zu early bytes", early_len);
  taken++;
  echo_t *echo = allocate(sizeof *echo);
  must(uv_tcp_init(&loop, &echo->tcp), "tcp");
  echo->tcp.data = echo;
  must(uv_tcp_open(&echo->tcp, fd), "open");
  for (size_t at = 0; at < early_len;) {
    piece_t *piece = allocate(sizeof *piece);
    size_t len = 0;
    while (at < early_len && len < sizeof piece->data)
      piece->data[len++] = early[at++];
    send_piece(echo, piece, len);
  }
  free(early);
  must(uv_read_start((uv_stream_t *)&echo->tcp, on_alloc, on_bytes), "read");
  if (setting_number(settings, "say-goodbye", 0))
    dusk_context_after(draining, &echo->draining, root, say_goodbye);
}

static void on_shutdown(dusk_server_t *of, int status, void *arg) {
  (void)arg;
  say("shutdown: %s", result_text(status));
  is_shut_down = true;
  end_if_done();
  dusk_server_unref(of);
}

static void on_signal(dusk_waiter_t *waiter) {
  (void)waiter;
  if (setting_number(settings, "close", 0)) {
    dusk_server_unref(server);
    return;
  }
  dusk_context_t *bound;
  must(dusk_context_with_timeout(root, 10000, NULL, &bound), "bound");
  must(dusk_server_shutdown(server, bound, on_shutdown, NULL), "shutdown");
  dusk_context_unref(bound);
}

int main(int argc, char **argv) {
  (void)argc;
  settings = argv;
  must(uv_loop_init(&loop), "loop");
  must(dusk_context_attach(&loop, &root), "attach");
  dusk_server_config_t config = {.handler = on_request};
  must(dusk_server_new(root, &config, &server), "server");
  must(dusk_context_with_signals(root, (int[]){SIGINT}, 1, &signals),
       "signals");
  dusk_context_after(signals, &on_signal_waiter, root, on_signal);
  serve_settings(server, argv, NULL);
  uv_run(&loop, UV_RUN_DEFAULT);
  dusk_context_unref(signals);
  return finish(root, &loop);
}
