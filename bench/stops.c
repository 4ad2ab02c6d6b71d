/* stops.c: what do clients see when the server stops? Closed-loop clients that
 * load the server without a pause, and tell of every request what became of it.
 *
 *   bench_stops keep  PORT CLIENTS DEPTH SECONDS [TARGET]
 *     each client keeps one connection: DEPTH requests with one write, their
 *     answers, the next DEPTH;
 *   bench_stops close PORT CLIENTS SECONDS [TARGET]
 *     a connection a request.
 * TARGET is what they ask for; without it "/".
 *
 * Stop the server in the middle. A client whose connection ends opens another
 * one; it is done when it can't connect any more. The program ends when all
 * clients are done, or after SECONDS, and prints one line of NAME=COUNT:
 *   answered    a whole answer below 400
 *   error       a whole answer of 400 or more
 *   lost        sent whole on a reused connection, which then ended without a
 *               byte of the answer: the client can't know whether it was done
 *   lost_first  the same on a connection that had given no answer yet
 *   reset       as lost or lost_first, or not even sent on a new connection,
 *               but ended by a reset
 *   truncated   the connection ended in the middle of the answer
 *   late        behind an answer that said Connection: close; may be repeated
 *   unsent      a reused connection had gone before the request was sent; may
 *               be repeated
 *   refused     connections that were not made: the port was shut
 *   hung        sent, and neither answered nor cut when the time was over
 *   last_byte_ns  when the last byte of any answer came, monotonic
 *
 * One thread; a client is connecting, waiting for answers, or ending (an answer
 * said that no other follows, the end of the stream is still to come). */
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
  MAX_CLIENTS = 4096,
  MAX_DEPTH = 64,
  MAX_SECONDS = 600,
  MAX_EVENTS = 256,
  INPUT_BYTES = 16 * 1024,
  MAX_REQUEST = 512,
};

typedef enum phase { CONNECTING, WAITING, ENDING, DONE } phase_t;

typedef struct client {
  phase_t phase;
  int fd;
  bool is_reused;   /* the connection has given an answer */
  unsigned pending; /* requests sent and not answered */
  size_t received;  /* bytes of answers not yet counted */
  char input[INPUT_BYTES];
} client_t;

static struct {
  uint64_t answered, error, lost, lost_first, reset, truncated, late, unsent;
  uint64_t refused, hung, last_byte_ns;
} seen;

static struct sockaddr_in server;
static int epoll_fd;
static unsigned depth = 1;
static bool is_closing; /* a connection a request */
static char *batch;
static size_t batch_bytes;
static int running; /* clients that aren't done */

/* -- Connecting and sending ------------------------------------------------ */

static void watch(client_t *client, int op, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = client};

  if (epoll_ctl(epoll_fd, op, client->fd, &event)) die("epoll_ctl", errno);
}

static void client_refused(client_t *client) {
  seen.refused++;
  close(client->fd);
  client->phase = DONE;
  running--;
}

/* Not blocking: a server that seals its port lets handshakes hang. */
static void client_connect(client_t *client) {
  client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (client->fd < 0) die("socket", errno);
  client->phase = CONNECTING;
  client->is_reused = false;
  client->pending = 0;
  client->received = 0;
  if (connect(client->fd, (const struct sockaddr *)&server, sizeof server) &&
      errno != EINPROGRESS) {
    if (errno != ECONNREFUSED) die("connect", errno);
    client_refused(client);
    return;
  }
  watch(client, EPOLL_CTL_ADD, EPOLLOUT);
}

static void client_reconnect(client_t *client) {
  close(client->fd);
  client_connect(client);
}

static void client_send(client_t *client) {
  ssize_t sent = send(client->fd, batch, batch_bytes, MSG_NOSIGNAL);

  if (sent == (ssize_t)batch_bytes) {
    client->phase = WAITING;
    client->pending = depth;
  } else if (sent >= 0) {
    die("the socket's buffer can't take a batch", 0);
  } else if (errno != EPIPE && errno != ECONNRESET) {
    die("send", errno);
  } else {
    *(client->is_reused ? &seen.unsent : &seen.reset) += depth;
    client_reconnect(client);
  }
}

static void on_connected(client_t *client) {
  socklen_t size = sizeof(int);
  int err = 0, on = 1;

  if (getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &err, &size))
    die("getsockopt", errno);
  if (err == ECONNREFUSED || err == ETIMEDOUT) {
    client_refused(client);
  } else if (err == ECONNRESET) { /* let in, and thrown out before a word */
    seen.reset += depth;
    client_reconnect(client);
  } else if (err) {
    die("connect", err);
  } else {
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    watch(client, EPOLL_CTL_MOD, EPOLLIN);
    client_send(client);
  }
}

/* -- Answers, and what comes instead --------------------------------------- */

static void client_answered(client_t *client, const answer_t *answer) {
  if (!client->pending) die("an answer that nobody asked for", 0);
  client->pending--;
  client->is_reused = true;
  seen.answered += answer->status < 400;
  seen.error += answer->status >= 400;
  if (answer->says_close || is_closing) {
    seen.late += client->pending;
    client->pending = 0;
    client->phase = ENDING;
  }
}

static void client_read_answers(client_t *client) {
  size_t used = 0;
  answer_t answer;
  int whole = 1;

  while (client->phase == WAITING && used < client->received) {
    whole = answer_read(client->input + used, client->received - used, &answer);
    if (whole < 0) die("that is no answer with a Content-Length", 0);
    if (!whole) break;
    used += answer.bytes;
    client_answered(client, &answer);
  }
  client->received -= used;
  memmove(client->input, client->input + used, client->received);
}

/* The connection ended, orderly (err = 0) or by a reset. */
static void client_cut(client_t *client, int err) {
  if (client->pending && client->received) {
    seen.truncated++;
    client->pending--;
  }
  if (err)
    seen.reset += client->pending;
  else if (client->is_reused)
    seen.lost += client->pending;
  else
    seen.lost_first += client->pending;
  client_reconnect(client);
}

static void on_readable(client_t *client) {
  size_t room = sizeof client->input - client->received;
  ssize_t n;

  if (room == 0) die("an answer is too long", 0);
  n = recv(client->fd, client->input + client->received, room, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) {
    client_cut(client, n < 0 ? errno : 0);
    return;
  }
  seen.last_byte_ns = now_ns();
  client->received += (size_t)n;
  client_read_answers(client);
  if (client->phase == WAITING && !client->pending) client_send(client);
}

/* -- Main ------------------------------------------------------------------ */

static void run_until(uint64_t end_ns) {
  struct epoll_event events[MAX_EVENTS];

  while (running > 0 && now_ns() < end_ns) {
    int n = epoll_wait(epoll_fd, events, MAX_EVENTS, 100);
    if (n < 0 && errno != EINTR) die("epoll_wait", errno);
    for (int i = 0; i < n; i++) {
      client_t *client = events[i].data.ptr;
      if (client->phase == CONNECTING)
        on_connected(client);
      else
        on_readable(client);
    }
  }
}

static void print_seen(void) {
#define PRINT(name) printf(#name "=%" PRIu64 " ", seen.name)
  PRINT(answered);
  PRINT(error);
  PRINT(lost);
  PRINT(lost_first);
  PRINT(reset);
  PRINT(truncated);
  PRINT(late);
  PRINT(unsent);
  PRINT(refused);
  PRINT(hung);
  PRINT(last_byte_ns);
#undef PRINT
  putchar('\n');
}

/* `depth` requests for `target`, to be sent with one write. */
static void compose_batch(const char *target) {
  const char *closing = is_closing ? "Connection: close\r\n" : "";
  char request[MAX_REQUEST];
  int n =
      snprintf(request, sizeof request,
               "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n", target, closing);

  if (n < 0 || n >= MAX_REQUEST) die("TARGET is too long", 0);
  batch_bytes = (size_t)n * depth;
  batch = malloc(batch_bytes);
  if (!batch) die("memory", ENOMEM);
  for (unsigned i = 0; i < depth; i++)
    memcpy(batch + i * (size_t)n, request, (size_t)n);
}

static void run(const char *target, int n_clients, int seconds) {
  client_t *clients = calloc((size_t)n_clients, sizeof *clients);

  if (!clients) die("memory", ENOMEM);
  compose_batch(target);
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) die("epoll_create1", errno);
  running = n_clients;
  for (int i = 0; i < n_clients; i++)
    client_connect(&clients[i]);
  run_until(now_ns() + (uint64_t)seconds * 1000000000u);
  for (int i = 0; i < n_clients; i++)
    seen.hung += clients[i].pending;
  print_seen();
  free(batch);
  free(clients);
}

static int usage(void) {
  fputs("usage: bench_stops keep  PORT CLIENTS DEPTH SECONDS [TARGET]\n"
        "       bench_stops close PORT CLIENTS SECONDS [TARGET]\n",
        stderr);
  return 2;
}

int main(int argc, char **argv) {
  if (argc < 2) return usage();
  is_closing = !strcmp(argv[1], "close");
  if (!is_closing && strcmp(argv[1], "keep") != 0) return usage();
  int n_wanted = is_closing ? 5 : 6; /* arguments without TARGET */
  if (argc != n_wanted && argc != n_wanted + 1) return usage();

  server = loopback(number_arg(argv[2], "PORT", 65535));
  if (!is_closing) depth = (unsigned)number_arg(argv[4], "DEPTH", MAX_DEPTH);
  run(argc > n_wanted ? argv[n_wanted] : "/",
      number_arg(argv[3], "CLIENTS", MAX_CLIENTS),
      number_arg(argv[n_wanted - 1], "SECONDS", MAX_SECONDS));
  return 0;
}
