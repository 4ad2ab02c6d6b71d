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
 *   bench_load idle  PORT CONNECTIONS
 *     opens the connections, one request each, prints "ready" and holds them
 *     until its standard input ends.
 *
 * keep and close print: requests=N seconds=S rate=R p50_us=T p99_us=T. The
 * times are those of a batch (keep) or of a connection from connect to its end
 * (close). Anything that isn't as expected (a cut connection, another length)
 * ends the program with status 1 and one line that says why. */
#include "client.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
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
  INPUT_BYTES = 1 << 20,
  HISTOGRAM_US = 1 << 20, /* what takes longer counts as this */
};

#define REQUEST_KEEP "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
#define REQUEST_CLOSE                                                          \
  "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"

typedef struct conn {
  int fd;
  size_t received; /* of the current batch */
  uint64_t begun_ns;
} conn_t;

static struct sockaddr_in server;
static int epoll_fd;
static const char *request; /* one */
static char *batch;         /* depth of them */
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

static void send_all(int fd, const char *bytes, size_t n) {
  ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);

  if (sent < 0) die("send", errno);
  if ((size_t)sent < n) die("the socket's buffer can't take a batch", 0);
}

/* Sends one request and reads its answer, waiting. The number of its bytes. */
static size_t exchange(int fd) {
  size_t received = 0;
  answer_t answer;

  send_all(fd, request, strlen(request));
  for (;;) {
    ssize_t n = recv(fd, input + received, sizeof input - received, 0);
    if (n < 0) die("recv", errno);
    if (n == 0) die("the server closed without an answer", 0);
    received += (size_t)n;
    int whole = answer_read(input, received, &answer);
    if (whole < 0) die("that is no answer with a Content-Length", 0);
    if (whole) break;
  }
  if (answer.status != 200) die("the answer isn't 200", 0);
  return answer.bytes;
}

static void learn_answer_bytes(void) {
  int fd = open_connection();

  answer_bytes = exchange(fd) * (size_t)depth;
  close(fd);
}

/* -- The loop -------------------------------------------------------------- */

static void begin_batch(conn_t *conn, uint64_t now) {
  conn->begun_ns = now;
  conn->received = 0;
  send_all(conn->fd, batch, batch_bytes);
}

static void begin_connection(conn_t *conn) {
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
  uint64_t now = now_ns();

  conn->fd = open_connection();
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, conn->fd, &event))
    die("epoll_ctl", errno);
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
    for (int i = 0; i < n; i++)
      on_readable(events[i].data.ptr, now);
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

static void load(int connections, int seconds) {
  conn_t *conns = calloc((size_t)connections, sizeof *conns);

  batch_bytes = strlen(request) * (size_t)depth;
  batch = malloc(batch_bytes + 1);
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (!conns || !batch) die("memory", ENOMEM);
  if (epoll_fd < 0) die("epoll_create1", errno);
  for (int i = 0; i < depth; i++)
    memcpy(batch + (size_t)i * strlen(request), request, strlen(request));

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
    exchange(fd);
  }
  puts("ready");
  fflush(stdout);
  while (read(STDIN_FILENO, &byte, 1) > 0) {}
}

static int usage(void) {
  fputs("usage: bench_load keep  PORT CONNECTIONS DEPTH SECONDS\n"
        "       bench_load close PORT CONNECTIONS SECONDS\n"
        "       bench_load idle  PORT CONNECTIONS\n",
        stderr);
  return 2;
}

int main(int argc, char **argv) {
  if (argc < 4) return usage();
  const char *mode = argv[1];
  int connections = number_arg(argv[3], "CONNECTIONS", MAX_CONNECTIONS);

  server = loopback(number_arg(argv[2], "PORT", 65535));
  request = REQUEST_KEEP;
  if (!strcmp(mode, "keep") && argc == 6) {
    depth = number_arg(argv[4], "DEPTH", MAX_DEPTH);
    load(connections, number_arg(argv[5], "SECONDS", MAX_SECONDS));
  } else if (!strcmp(mode, "close") && argc == 5) {
    is_closing = true;
    request = REQUEST_CLOSE;
    load(connections, number_arg(argv[4], "SECONDS", MAX_SECONDS));
  } else if (!strcmp(mode, "idle") && argc == 4) {
    hold_idle(connections);
  } else {
    return usage();
  }
  return 0;
}
