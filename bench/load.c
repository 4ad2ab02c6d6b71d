/* load.c: a lean closed-loop load generator: one thread, epoll, as little work
 * a request as possible, so that the server is what gets measured. wrk parses
 * every answer and is the bottleneck at 64 connections; this one learns the
 * length of the answer from a first request and only counts bytes afterwards.
 *
 *   bench_load keep  PORT CONNECTIONS DEPTH SECONDS
 *     keep-alive: each connection sends DEPTH requests with one write, waits
 *     for their DEPTH answers, and sends again;
 *   bench_load close PORT CONNECTIONS SECONDS
 *     a connection a request: connect, send, read to the end, again;
 *   bench_load post  PORT CONNECTIONS BYTES SECONDS
 *     keep-alive: each connection sends a body of so many bytes to /echo, reads
 *     while it sends, and sends again;
 *   bench_load idle  PORT CONNECTIONS
 *     opens the connections, one request each, prints "ready" and holds them
 *     until its standard input ends.
 *
 * The loads print: requests=N seconds=S rate=R p50_us=T p99_us=T. The
 * times are those of a batch (keep, post) or of a connection from connect to
 * its end (close). Anything that isn't as expected (a cut connection, another
 * length) ends the program with status 1 and one line that says why. */
#include "client.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  MAX_CONNECTIONS = 60000,
  MAX_DEPTH = 256,
  MAX_SECONDS = 3600,
  MAX_EVENTS = 512,
  MAX_BODY = 1 << 24,
  INPUT_BYTES = MAX_BODY + 4096,
  MAX_REQUEST = 256,
  HISTOGRAM_US = 1 << 20, /* what takes longer counts as this */
};

typedef struct conn {
  int fd;
  size_t sent, received; /* of the current batch */
  bool is_waiting;       /* to send the rest of it */
  uint64_t begun_ns;
} conn_t;

static struct sockaddr_in server;
static int epoll_fd;
static char request[MAX_REQUEST]; /* one, without its body */
static size_t body_bytes;
static char *batch; /* depth of them, with their bodies */
static size_t batch_bytes;
static size_t answer_bytes; /* to the whole batch */
static int depth = 1;
static bool is_closing; /* a connection a request */

static char input[INPUT_BYTES];
static uint32_t histogram[HISTOGRAM_US + 1];
static uint64_t batches;

/* -- One connection -------------------------------------------------------- */

/* Blocking: on loopback a connect that may wait returns established, at the
 * price of one system call. */
static int open_connection(void) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  int on = 1;

  if (fd < 0) die("socket", errno);
  if (connect(fd, (const struct sockaddr *)&server, sizeof server))
    die("connect", errno);
  if (!is_closing) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

/* How many of the bytes the socket takes at once. */
static size_t send_some(int fd, const char *bytes, size_t n) {
  ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);

  if (sent < 0 && errno == EAGAIN) return 0;
  if (sent < 0) die("send", errno);
  return (size_t)sent;
}

/* Sends a request and reads its answer, waiting. The number of its bytes. */
static size_t exchange(int fd, const char *bytes, size_t n) {
  size_t sent = 0, received = 0;
  answer_t answer;

  for (;;) {
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    if (sent < n) ready.events |= POLLOUT;
    if (poll(&ready, 1, -1) < 0) die("poll", errno);
    if (ready.revents & POLLOUT) sent += send_some(fd, bytes + sent, n - sent);
    if (!(ready.revents & ~POLLOUT)) continue;
    ssize_t got = recv(fd, input + received, sizeof input - received, 0);
    if (got < 0) die("recv", errno);
    if (got == 0) die("the server closed without an answer", 0);
    received += (size_t)got;
    int whole = answer_read(input, received, &answer);
    if (whole < 0) die("that is no answer with a Content-Length", 0);
    if (whole) break;
  }
  if (answer.status != 200) die("the answer isn't 200", 0);
  return answer.bytes;
}

static void learn_answer_bytes(void) {
  int fd = open_connection();

  answer_bytes =
      (size_t)depth * exchange(fd, batch, batch_bytes / (size_t)depth);
  close(fd);
}

/* -- The loop -------------------------------------------------------------- */

static void watch(conn_t *conn, int op, bool is_waiting) {
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};

  if (is_waiting) event.events |= EPOLLOUT;
  conn->is_waiting = is_waiting;
  if (epoll_ctl(epoll_fd, op, conn->fd, &event)) die("epoll_ctl", errno);
}

static void send_batch(conn_t *conn) {
  conn->sent +=
      send_some(conn->fd, batch + conn->sent, batch_bytes - conn->sent);
  bool is_waiting = conn->sent < batch_bytes;
  if (is_waiting && !body_bytes)
    die("the socket's buffer can't take a batch", 0);
  if (is_waiting != conn->is_waiting) watch(conn, EPOLL_CTL_MOD, is_waiting);
}

static void begin_batch(conn_t *conn, uint64_t now) {
  conn->begun_ns = now;
  conn->sent = 0;
  conn->received = 0;
  send_batch(conn);
}

static void begin_connection(conn_t *conn) {
  uint64_t now = now_ns();

  conn->fd = open_connection();
  watch(conn, EPOLL_CTL_ADD, false);
  begin_batch(conn, now);
}

static void count_batch(const conn_t *conn, uint64_t now) {
  uint64_t us = (now - conn->begun_ns) / 1000;

  histogram[us < HISTOGRAM_US ? us : HISTOGRAM_US]++;
  batches++;
}

static void on_readable(conn_t *conn, uint64_t now) {
  ssize_t n = recv(conn->fd, input, sizeof input, MSG_DONTWAIT);

  if (n < 0 && errno == EAGAIN) return;
  if (n < 0) die("recv", errno);
  conn->received += (size_t)n;
  if (conn->received > answer_bytes) die("an answer is too long", 0);
  if (n == 0) {
    if (!is_closing) die("the server closed a kept connection", 0);
    if (conn->received < answer_bytes) die("an answer was cut short", 0);
    count_batch(conn, now);
    close(conn->fd);
    begin_connection(conn);
  } else if (conn->received == answer_bytes && !is_closing) {
    count_batch(conn, now);
    begin_batch(conn, now);
  }
}

static void run_until(uint64_t end_ns) {
  struct epoll_event events[MAX_EVENTS];

  for (uint64_t now = now_ns(); now < end_ns; now = now_ns()) {
    int n = epoll_wait(epoll_fd, events, MAX_EVENTS, 100);
    if (n < 0 && errno != EINTR) die("epoll_wait", errno);
    now = now_ns();
    for (int i = 0; i < n; i++) {
      if (events[i].events & EPOLLOUT) send_batch(events[i].data.ptr);
      if (events[i].events & ~EPOLLOUT) on_readable(events[i].data.ptr, now);
    }
  }
}

/* -- Modes ----------------------------------------------------------------- */

static unsigned percentile_us(unsigned percent) {
  uint64_t seen = 0;

  for (unsigned us = 0; us < HISTOGRAM_US; us++) {
    seen += histogram[us];
    if (seen * 100 >= batches * percent) return us;
  }
  return HISTOGRAM_US;
}

static void print_figures(double seconds) {
  uint64_t requests = batches * (uint64_t)depth;

  if (!batches) die("no answer in all this time", 0);
  printf("requests=%" PRIu64 " seconds=%.6f rate=%.1f p50_us=%u p99_us=%u\n",
         requests, seconds, (double)requests / seconds, percentile_us(50),
         percentile_us(99));
}

static void compose_request(const char *line, const char *fields) {
  int n = snprintf(request, sizeof request,
                   "%s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n", line, fields);

  if (n < 0 || n >= MAX_REQUEST) die("the request is too long", 0);
}

static void compose_post(size_t bytes) {
  char length[40];

  body_bytes = bytes;
  snprintf(length, sizeof length, "Content-Length: %zu\r\n", bytes);
  compose_request("POST /echo", length);
}

static void compose_batch(void) {
  size_t header_bytes = strlen(request);
  size_t request_bytes = header_bytes + body_bytes;

  batch_bytes = request_bytes * (size_t)depth;
  batch = malloc(batch_bytes);
  if (!batch) die("memory", ENOMEM);
  memset(batch, 'x', batch_bytes);
  for (int i = 0; i < depth; i++)
    memcpy(batch + (size_t)i * request_bytes, request, header_bytes);
}

static void load(int connections, int seconds) {
  conn_t *conns = calloc((size_t)connections, sizeof *conns);

  compose_batch();
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (!conns) die("memory", ENOMEM);
  if (epoll_fd < 0) die("epoll_create1", errno);

  learn_answer_bytes();
  uint64_t begin = now_ns();
  for (int i = 0; i < connections; i++)
    begin_connection(&conns[i]);
  run_until(begin + (uint64_t)seconds * 1000000000u);
  print_figures((double)(now_ns() - begin) / 1e9);
  free(batch);
  free(conns);
}

/* Ends its connections with a reset: thousands of sockets in TIME_WAIT would
 * be in the way of the next run. */
static void hold_idle(int connections) {
  struct linger reset = {.l_onoff = 1, .l_linger = 0};
  char byte;

  for (int i = 0; i < connections; i++) {
    int fd = open_connection();
    if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset))
      die("setsockopt", errno);
    exchange(fd, request, strlen(request));
  }
  puts("ready");
  fflush(stdout);
  while (read(STDIN_FILENO, &byte, 1) > 0) {}
}

static int usage(void) {
  fputs("usage: bench_load keep  PORT CONNECTIONS DEPTH SECONDS\n"
        "       bench_load close PORT CONNECTIONS SECONDS\n"
        "       bench_load post  PORT CONNECTIONS BYTES SECONDS\n"
        "       bench_load idle  PORT CONNECTIONS\n",
        stderr);
  return 2;
}

int main(int argc, char **argv) {
  if (argc < 4) return usage();
  const char *mode = argv[1];
  int connections = number_arg(argv[3], "CONNECTIONS", MAX_CONNECTIONS);

  server = loopback(number_arg(argv[2], "PORT", 65535));
  compose_request("GET /", "");
  if (!strcmp(mode, "keep") && argc == 6) {
    depth = number_arg(argv[4], "DEPTH", MAX_DEPTH);
    load(connections, number_arg(argv[5], "SECONDS", MAX_SECONDS));
  } else if (!strcmp(mode, "close") && argc == 5) {
    is_closing = true;
    compose_request("GET /", "Connection: close\r\n");
    load(connections, number_arg(argv[4], "SECONDS", MAX_SECONDS));
  } else if (!strcmp(mode, "post") && argc == 6) {
    compose_post((size_t)number_arg(argv[4], "BYTES", MAX_BODY));
    load(connections, number_arg(argv[5], "SECONDS", MAX_SECONDS));
  } else if (!strcmp(mode, "idle") && argc == 4) {
    hold_idle(connections);
  } else {
    return usage();
  }
  return 0;
}
