/* clients.c: those who ask. A client has some connections and goes on in one
 * or more loops: take the connection that was used last (or open one), send a
 * batch, wait for all its answers, think, again. It obeys `Connection: close`.
 * What else it does is its oddity: see scenario.h. */
#include "clients.h"

#include "clock.h"
#include "conversation.h"
#include "story.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { LINKS_A_CLIENT = 32, REQUEST_BYTES = 512, FAILURES = 3 };

typedef struct client {
  int id;
  const client_plan_t *plan;
  link_t *idle[LINKS_A_CLIENT]; /* last used last */
  int idle_count;
  int to_fill; /* loops that only fill the pool */
  int left;
  int batches;
  int failures;
  bool odd_done;
} client_t;

static client_t clients[MAX_CLIENTS];
static const scenario_t *scene;

static void on_next(void *who, uint64_t arg);

static uint64_t some(uint64_t most) {
  return most ? between(most / 2, most) : 0;
}

static uint64_t think(const client_t *client) {
  return between(client->plan->think_least, client->plan->think);
}

static work_t work_of(const client_t *client) {
  return client->plan->streams_first && client->batches == 0
             ? WORK_STREAM
             : client->plan->work;
}

/* -- Sending --------------------------------------------------------------- */

typedef struct piece {
  link_t *link;
  const char *bytes;
  size_t len;
  request_t *ends; /* this piece is its last one */
} piece_t;

static void on_piece(void *who, uint64_t arg) {
  piece_t *piece = who;
  (void)arg;
  link_send(piece->link, piece->bytes, piece->len);
  if (piece->ends) piece->ends->end = piece->link->up.written;
}

static void send_at(uint64_t due, link_t *link, const char *bytes, size_t len,
                    request_t *ends) {
  piece_t *piece = keep(sizeof(*piece));
  char *copy = keep(len + 1);
  memcpy(copy, bytes, len);
  *piece = (piece_t){link, copy, len, ends};
  if (due <= now())
    on_piece(piece, 0);
  else
    at(due, on_piece, piece, 0);
}

static size_t compose(const client_t *client, const request_t *request,
                      char *text) {
  const client_plan_t *plan = client->plan;
  work_t work = request->work;
  uint64_t a = work == plan->work ? plan->a : 1001; /* till the drain */
  uint64_t b = work == plan->work ? plan->b : 20;
  char body[64] = "";
  if (work == WORK_BODY && plan->chunked)
    snprintf(body, sizeof(body), "Transfer-Encoding: chunked\r\n");
  else if (work == WORK_BODY)
    snprintf(body, sizeof(body), "Content-Length: %llu\r\n",
             (unsigned long long)plan->body_bytes);
  return (size_t)snprintf(
      text, REQUEST_BYTES,
      "%s /%s/%d/%llu/%llu HTTP/1.1\r\nHost: h\r\n%s\r\n%s",
      work == WORK_BODY ? "POST" : "GET", work_names[work], request->id,
      (unsigned long long)a, (unsigned long long)b, body,
      plan->oddity == BLANK_LINES && work != WORK_BODY ? "\r\n" : "");
}

/* The body in pieces of at most 1 KiB, one each `gap`. */
static void send_body(const client_t *client, link_t *link,
                      request_t *request) {
  const client_plan_t *plan = client->plan;
  static char piece[1100];
  uint64_t due = now();
  uint64_t left = plan->body_bytes;
  while (left > 0) {
    size_t len = left < 1024 ? left : 1024;
    int head =
        plan->chunked ? snprintf(piece, sizeof(piece), "%zx\r\n", len) : 0;
    memset(piece + head, 'b', len);
    size_t whole = (size_t)head + len;
    if (plan->chunked) memcpy(piece + whole, "\r\n", 2);
    if (plan->chunked) whole += 2;
    left -= len;
    due += some(plan->gap);
    send_at(due, link, piece, whole,
            left == 0 && !plan->chunked ? request : NULL);
  }
  if (plan->chunked) send_at(due, link, "0\r\n\r\n", 5, request);
}

static void send_split(link_t *link, const char *text, size_t len) {
  size_t sent = 0;
  uint64_t due = now();
  while (sent < len) {
    size_t piece = 1 + below(len - sent);
    send_at(due, link, text + sent, piece, NULL);
    sent += piece;
    due += between(0, 20 * MS);
  }
}

/* Half a header, and the rest later, or never. */
static void send_half(client_t *client, link_t *link, request_t *request,
                      const char *text, size_t len) {
  size_t half = 1 + below(len - 4);
  client->odd_done = true;
  send_at(now(), link, text, half, NULL);
  if (client->plan->gap)
    send_at(now() + client->plan->gap, link, text + half, len - half, request);
}

static void on_odd(void *who, uint64_t arg) {
  link_t *link = who;
  if (arg == VANISHES) {
    story("client", (int)watch_of(link)->asked, "vanishes", 0, 0);
    link_vanish(link);
  } else {
    link_abort(link);
  }
}

static void do_oddity(client_t *client, link_t *link) {
  oddity_t oddity = client->plan->oddity;
  if (client->odd_done) return;
  if (oddity == HALF_CLOSES) link_finish(link);
  if (oddity == VANISHES || oddity == ABORTS)
    at(now() + client->plan->gap, on_odd, link, oddity);
  client->odd_done =
      oddity == HALF_CLOSES || oddity == VANISHES || oddity == ABORTS;
}

static void send_batch(client_t *client, link_t *link) {
  const client_plan_t *plan = client->plan;
  static char text[16 * REQUEST_BYTES];
  size_t len = 0;
  request_t *request = NULL;
  work_t work = work_of(client);
  int depth = plan->depth && work == plan->work ? plan->depth : 1;
  for (int i = 0; i < depth && client->left > 0; i++) {
    request = request_new(link, work);
    if (request == NULL) break;
    request->start += len;
    len += compose(client, request, text + len);
    request->end = link->up.written + len;
    client->left--;
    if (i > 0) watch_of(link)->pipelined = true;
    story("request", request->id, "is sent on conn %llu by client %llu",
          (uint64_t)link->id, (uint64_t)client->id);
  }
  if (request == NULL) return;
  client->batches++;
  if (work == WORK_BODY) request->end = UINT64_MAX;
  if (plan->oddity == HALF_HEADER && !client->odd_done) {
    request->end = UINT64_MAX;
    send_half(client, link, request, text, len);
    return;
  }
  if (plan->split)
    send_split(link, text, len);
  else
    link_send(link, text, len);
  if (work == WORK_BODY) send_body(client, link, request);
  do_oddity(client, link);
}

/* -- Connections ----------------------------------------------------------- */

static void on_connected(link_t *link) {
  client_t *client = link->client;
  if (client->plan->oddity != SILENT) send_batch(client, link);
}

static bool has_unanswered(link_t *link) {
  return watch_of(link)->seen.count < watch_of(link)->asked;
}

static void next_after(client_t *client, uint64_t delay) {
  at(now() + delay, on_next, client, 0);
}

static void forget(client_t *client, const link_t *link) {
  int kept = 0;
  for (int i = 0; i < client->idle_count; i++)
    if (client->idle[i] != link) client->idle[kept++] = client->idle[i];
  client->idle_count = kept;
}

/* Refused, reset, or closed by the server. */
static void on_ended(link_t *link) {
  client_t *client = link->client;
  forget(client, link);
  if (!link->client_connected) {
    client->left = 0; /* nobody listens */
    return;
  }
  if (!has_unanswered(link)) return;
  if (++client->failures < FAILURES) next_after(client, think(client));
}

static void on_answer(link_t *link, answers_t *answers, bool complete) {
  watch_t *watch = watch_of(link);
  if (!complete || answers->count > watch->asked) return;
  request_t *request = watch->requests[answers->count - 1];
  request->answered = true;
  request->status = answers->status;
  story("request", request->id, "is answered with %llu",
        (uint64_t)answers->status, 0);
  if (answers->status == 200 && (int)answers->number != request->id)
    fault("an answer is another request's, %llu's", "request", request->id,
          answers->number, 0);
}

/* All of the batch has been answered. */
static void after_batch(client_t *client, link_t *link, bool close) {
  bool fill = client->to_fill > 0;
  if (fill) client->to_fill--;
  if (close || client->plan->once)
    link_close(link);
  else if (client->idle_count < LINKS_A_CLIENT)
    client->idle[client->idle_count++] = link;
  if (!fill) next_after(client, think(client));
}

static void take_bytes(link_t *link, size_t most) {
  client_t *client = link->client;
  watch_t *watch = watch_of(link);
  static char bytes[65536];
  if (most > sizeof(bytes)) most = sizeof(bytes);
  size_t len;
  bool had = has_unanswered(link);
  while ((len = link_take(link, bytes, most)) > 0) {
    answers_feed(&watch->seen, link, bytes, len, on_answer);
    if (client->plan->oddity == READS_SLOWLY) break;
  }
  int seen = watch->seen.count;
  bool close =
      seen > 0 && seen <= watch->asked && watch->requests[seen - 1]->says_close;
  if (had && !has_unanswered(link)) after_batch(client, link, close);
  if (close && !link->client_closed) { /* what is behind it, it knows, is not
                                          answered */
    on_ended(link);
    link_close(link);
  }
  bool at_end = link->down.fin_arrived && link->down.read == link->down.arrived;
  if (!at_end || link->client_closed) return;
  story("conn", link->id, "the client reads its end", 0, 0);
  on_ended(link);
  link_close(link);
}

static void on_slow_read(void *who, uint64_t arg) {
  link_t *link = who;
  client_t *client = link->client;
  (void)arg;
  if (link->client_closed) return;
  take_bytes(link, 2048);
  at(now() + client->plan->gap, on_slow_read, link, 0);
}

static void on_readable(link_t *link) {
  client_t *client = link->client;
  if (client->plan->oddity == NEVER_READS ||
      client->plan->oddity == READS_SLOWLY)
    return;
  take_bytes(link, SIZE_MAX);
}

static const client_calls_t calls = {on_connected, on_readable, on_ended};

static void open_link(client_t *client) {
  const client_plan_t *plan = client->plan;
  link_t *link = link_new(&calls, client);
  if (link == NULL) return;
  link->is_unix = plan->on_unix;
  link->family = plan->ipv6 ? AF_INET6 : AF_INET;
  link->ip = plan->ip;
  link->server_ip = 0x7f000001;
  link->server_port = plan->to_inherited ? 8090 : 8080;
  /* The other process has to be run. */
  link->latency = plan->on_unix ? 5 * US : plan->latency;
  link->loss = plan->on_unix ? 0 : plan->loss;
  if (plan->window) link->down.window = plan->window;
  if (scene->send_room) link->down.send_room = scene->send_room;
  story("client", client->id, "opens conn %llu", (uint64_t)link->id, 0);
  link_connect(link);
  if (plan->oddity == READS_SLOWLY) on_slow_read(link, 0);
}

/* -- The loops ------------------------------------------------------------- */

static void on_next(void *who, uint64_t arg) {
  client_t *client = who;
  (void)arg;
  if (client->left <= 0) return;
  if (client->idle_count == 0) {
    open_link(client);
    return;
  }
  send_batch(client, client->idle[--client->idle_count]);
}

static void on_start(void *who, uint64_t arg) {
  client_t *client = who;
  (void)arg;
  int pool = client->plan->pool ? client->plan->pool : 1;
  int busy = client->plan->busy ? client->plan->busy : 1;
  client->to_fill = pool - busy;
  for (int i = 0; i < pool; i++)
    open_link(client);
}

static void on_stranger(link_t *link) {
  (void)link;
}

/* Somebody else's client, who sends a SYN and nothing more. */
static void begin_stranger(void) {
  static const client_calls_t none = {on_stranger, on_stranger, on_stranger};
  listener_t *listener = listener_new(AF_INET);
  listener->is_foreign = listener->left = true;
  listener->ip = 0x7f000002;
  listener->port = 8080;
  listener_listen(listener, 64);
  link_t *link = link_new(&none, &clients[0]);
  link->family = AF_INET;
  link->server_ip = listener->ip;
  link->server_port = listener->port;
  link_connect(link);
  link_vanish(link);
}

void clients_begin(const scenario_t *scenario) {
  scene = scenario;
  memset(clients, 0, sizeof(clients));
  if (scene->stranger) begin_stranger();
  for (int i = 0; i < MAX_CLIENTS; i++) {
    client_t *client = &clients[i];
    client->id = i + 1;
    client->plan = &scenario->clients[i];
    client->left = client->plan->requests;
    if (client->plan->start)
      at(EPOCH + client->plan->start, on_start, client, 0);
  }
}
