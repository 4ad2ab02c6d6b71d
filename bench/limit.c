/* limit.c: how fast can a server on libuv be? The least that still answers.
 *
 * One source, three programs. All write one canned answer for each request, a
 * whole batch with one write:
 *   bench_limit_uv      parses nothing: it takes the first read of a connection
 *                       for one request and counts bytes from then on;
 *   bench_limit_llhttp  runs llhttp over all bytes and counts its messages
 *                       (built with LIMIT_LLHTTP);
 *   bench_limit_poll    the same over descriptors of its own, each under a
 *                       uv_poll_t instead of a uv_tcp_t (LIMIT_POLL, too).
 * They are the bottom that duskd's figures are compared with, no servers: no
 * routing, no limits, no time-outs, no date, no drain.
 *
 * Usage: bench_limit_uv PORT. It serves 127.0.0.1 until it is killed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#ifdef LIMIT_LLHTTP
#include <llhttp.h>
#endif

#ifdef LIMIT_POLL
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>
#endif

#define ANSWER                                                                 \
  "HTTP/1.1 200 OK\r\n"                                                        \
  "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"                                    \
  "Content-Type: text/plain\r\n"                                               \
  "Content-Length: 6\r\n"                                                      \
  "\r\n"                                                                       \
  "hello\n"

enum {
  ANSWER_BYTES = sizeof ANSWER - 1,
  INPUT_BYTES = 64 * 1024,
  MAX_BATCH = 4096, /* more requests than this don't fit into one input */
  BACKLOG = 4096,
};

static char input[INPUT_BYTES]; /* one for all: it is consumed at once */
static char answers[MAX_BATCH * ANSWER_BYTES];

/* -- Framing: how many requests end in these bytes --------------------------
 */

#ifdef LIMIT_LLHTTP

typedef struct framing {
  llhttp_t parser;
  unsigned ended;
  int last; /* the client wants no further answer */
} framing_t;

static llhttp_settings_t settings;

static int on_message_complete(llhttp_t *parser) {
  framing_t *framing = parser->data;

  framing->ended++;
  if (!llhttp_should_keep_alive(parser)) framing->last = 1;
  return 0;
}

static void framing_setup(void) {
  llhttp_settings_init(&settings);
  settings.on_message_complete = on_message_complete;
}

static void framing_init(framing_t *framing) {
  llhttp_init(&framing->parser, HTTP_REQUEST, &settings);
  framing->parser.data = framing;
}

static int framing_count(framing_t *framing, const char *bytes, size_t n) {
  framing->ended = 0;
  if (llhttp_execute(&framing->parser, bytes, n) != HPE_OK) return -1;
  return (int)framing->ended;
}

#else

typedef struct framing {
  unsigned request_bytes; /* 0: nothing read yet */
  unsigned pending_bytes;
  int last;
} framing_t;

static void framing_setup(void) {
}

static void framing_init(framing_t *framing) {
  memset(framing, 0, sizeof *framing);
}

static int framing_count(framing_t *framing, const char *bytes, size_t n) {
  if (!framing->request_bytes) {
    const char *end = memmem(bytes, n, "\r\n\r\n", 4);
    size_t request = end ? (size_t)(end + 4 - bytes) : n;
    framing->request_bytes = (unsigned)request;
    framing->last = memmem(bytes, request, "close", 5) != NULL;
  }
  framing->pending_bytes += (unsigned)n;
  unsigned ended = framing->pending_bytes / framing->request_bytes;
  framing->pending_bytes -= ended * framing->request_bytes;
  return (int)ended;
}

#endif

/* -- Connections ----------------------------------------------------------- */

#ifdef LIMIT_POLL

typedef struct conn {
  uv_poll_t poll; /* first: a handle that comes back is its connection */
  int fd;
  unsigned rest_bytes; /* what the socket didn't take, of the answers */
  const char *rest;
  framing_t framing;
} conn_t;

static void on_event(uv_poll_t *handle, int status, int events);

static void on_closed(uv_handle_t *handle) {
  free(handle);
}

static void conn_close(conn_t *conn) {
  uv_close((uv_handle_t *)&conn->poll, on_closed);
  close(conn->fd);
}

/* Reads nothing more until all of it has gone. */
static void answer(conn_t *conn, const char *bytes, size_t n) {
  int was_waiting = conn->rest_bytes > 0;
  ssize_t sent = write(conn->fd, bytes, n);

  if (sent < 0 && (errno == EAGAIN || errno == EINTR)) sent = 0;
  if (sent < 0) {
    conn_close(conn);
    return;
  }
  conn->rest = bytes + sent;
  conn->rest_bytes = (unsigned)(n - (size_t)sent);
  int is_waiting = conn->rest_bytes > 0;
  int events = is_waiting ? UV_WRITABLE : UV_READABLE;
  if ((!is_waiting && conn->framing.last) ||
      (is_waiting != was_waiting &&
       uv_poll_start(&conn->poll, events, on_event)))
    conn_close(conn);
}

static void read_some(conn_t *conn) {
  ssize_t n = read(conn->fd, input, sizeof input);

  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  int requests = n <= 0 ? -1 : framing_count(&conn->framing, input, (size_t)n);
  if (requests < 0 || requests > MAX_BATCH) {
    conn_close(conn);
  } else if (requests > 0) {
    answer(conn, answers, (size_t)requests * ANSWER_BYTES);
  }
}

static void on_event(uv_poll_t *handle, int status, int events) {
  conn_t *conn = (conn_t *)handle;

  (void)events;
  if (status < 0) {
    conn_close(conn);
  } else if (conn->rest_bytes > 0) {
    answer(conn, conn->rest, conn->rest_bytes);
  } else {
    read_some(conn);
  }
}

static void conn_open(uv_loop_t *loop, int fd) {
  conn_t *conn = calloc(1, sizeof *conn);

  if (!conn || uv_poll_init(loop, &conn->poll, fd)) {
    close(fd);
    free(conn);
    return;
  }
  conn->fd = fd;
  framing_init(&conn->framing);
  if (uv_poll_start(&conn->poll, UV_READABLE, on_event)) conn_close(conn);
}

static int listener_fd;

static void on_connections(uv_poll_t *handle, int status, int events) {
  int flags = SOCK_NONBLOCK | SOCK_CLOEXEC;

  (void)events;
  if (status < 0) return;
  for (;;) {
    int fd = accept4(listener_fd, NULL, NULL, flags);
    if (fd < 0) return;
    conn_open(handle->loop, fd);
  }
}

static int listen_at(uv_loop_t *loop, const struct sockaddr_in *address) {
  static uv_poll_t listener;
  int on = 1;

  listener_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listener_fd < 0 ||
      setsockopt(listener_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
      bind(listener_fd, (const struct sockaddr *)address, sizeof *address) ||
      listen(listener_fd, BACKLOG))
    return uv_translate_sys_error(errno);
  int err = uv_poll_init(loop, &listener, listener_fd);
  if (!err) err = uv_poll_start(&listener, UV_READABLE, on_connections);
  return err;
}

#else

typedef struct conn {
  uv_tcp_t tcp; /* first: a stream that comes back is its connection */
  framing_t framing;
} conn_t;

typedef struct rest {
  uv_write_t write;
  char bytes[];
} rest_t;

static void on_closed(uv_handle_t *handle) {
  free(handle);
}

static void conn_close(conn_t *conn) {
  uv_handle_t *handle = (uv_handle_t *)&conn->tcp;

  if (!uv_is_closing(handle)) uv_close(handle, on_closed);
}

static void on_rest_written(uv_write_t *write, int status) {
  conn_t *conn = (conn_t *)write->handle;

  if (status < 0 ||
      (conn->framing.last && !uv_stream_get_write_queue_size(write->handle)))
    conn_close(conn);
  free(write);
}

/* What the socket didn't take at once; the canned answers need no copy, but the
 * write needs a place that outlives this call. */
static int write_rest(conn_t *conn, char *bytes, size_t n) {
  rest_t *rest = malloc(sizeof *rest);
  uv_buf_t buf = uv_buf_init(bytes, (unsigned)n);

  if (!rest) return UV_ENOMEM;
  int err = uv_write(&rest->write, (uv_stream_t *)&conn->tcp, &buf, 1,
                     on_rest_written);
  if (err) free(rest);
  return err;
}

static void answer(conn_t *conn, int requests) {
  size_t n = (size_t)requests * ANSWER_BYTES;
  uv_buf_t buf = uv_buf_init(answers, (unsigned)n);
  int written = uv_try_write((uv_stream_t *)&conn->tcp, &buf, 1);

  if (written == UV_EAGAIN) written = 0;
  if (written < 0) {
    conn_close(conn);
  } else if ((size_t)written < n) {
    if (write_rest(conn, answers + written, n - (size_t)written))
      conn_close(conn);
  } else if (conn->framing.last) {
    conn_close(conn);
  }
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf) {
  (void)handle;
  (void)size;
  *buf = uv_buf_init(input, sizeof input);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  conn_t *conn = (conn_t *)stream;

  if (n == 0) return;
  int requests =
      n < 0 ? -1 : framing_count(&conn->framing, buf->base, (size_t)n);
  if (requests < 0 || requests > MAX_BATCH) {
    conn_close(conn);
  } else if (requests > 0) {
    answer(conn, requests);
  }
}

static void on_connection(uv_stream_t *listener, int status) {
  conn_t *conn = status < 0 ? NULL : calloc(1, sizeof *conn);

  if (!conn) return;
  framing_init(&conn->framing);
  if (uv_tcp_init(listener->loop, &conn->tcp)) {
    free(conn);
    return;
  }
  uv_stream_t *stream = (uv_stream_t *)&conn->tcp;
  if (uv_accept(listener, stream) || uv_read_start(stream, on_alloc, on_read))
    conn_close(conn);
}

static int listen_at(uv_loop_t *loop, const struct sockaddr_in *address) {
  static uv_tcp_t listener;
  int err = uv_tcp_init(loop, &listener);

  if (!err) err = uv_tcp_bind(&listener, (const struct sockaddr *)address, 0);
  if (!err) err = uv_listen((uv_stream_t *)&listener, BACKLOG, on_connection);
  return err;
}

#endif

/* -- Main ------------------------------------------------------------------ */

static int serve(uv_loop_t *loop, int port) {
  struct sockaddr_in address;
  int err = uv_ip4_addr("127.0.0.1", port, &address);

  if (!err) err = listen_at(loop, &address);
  if (!err) err = uv_run(loop, UV_RUN_DEFAULT);
  return err;
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s PORT\n", argv[0]);
    return 2;
  }
  for (int i = 0; i < MAX_BATCH; i++)
    memcpy(answers + i * ANSWER_BYTES, ANSWER, ANSWER_BYTES);
  framing_setup();
  int err = serve(uv_default_loop(), (int)strtol(argv[1], NULL, 10));
  fprintf(stderr, "%s: %s\n", argv[0], uv_strerror(err));
  return 1;
}
