/* tcp.c: the two streams of a connection, once it stands (handshake.c).
 *
 *   client                      server
 *     link_send   ── data ──▶  on_up: into the receive queue
 *     on_down     ◀── data ──  tcp_write
 *                 ── ack ──▶   on_ack: room in the send buffer
 *
 * A segment that is lost comes later, and all behind it with it. A reset
 * overtakes what is lost, and is not repeated. A Unix socket is a connection
 * without latency and loss. */
#include "clock.h"
#include "kernel.h"
#include "story.h"
#include "tcp.h"
#include "threads.h"
#include "watch.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static uint64_t short_one_in; /* short reads and writes; 0: none */

void tcp_be_short(uint64_t one_in_so_many) {
  short_one_in = one_in_so_many;
}

/* -- The wire -------------------------------------------------------------- */

uint64_t wire_delay(const link_t *link, uint64_t first_retry) {
  uint64_t delay = link->latency;
  for (int i = 0; i < 3 && link->loss && one_in(link->loss); i++)
    delay += first_retry << i;
  return delay;
}

/* Linux: the round trip, and 200 ms at least for its variation, which counts as
 * twice the round trip while few have been measured. */
static uint64_t retry_after(const link_t *link) {
  uint64_t round_trip = 2 * link->latency;
  uint64_t varies = 2 * round_trip;
  return round_trip + (varies > 200 * MS ? varies : 200 * MS);
}

/* Sends what the window allows; the end goes with the last of it. */
static void transmit(link_t *link, stream_t *stream, event_cb arrive) {
  uint64_t most = stream->credit + stream->window;
  uint64_t to = stream->written < most ? stream->written : most;
  bool fin = stream->fin_written && !stream->fin_sent && to == stream->written;
  if (to <= stream->sent && !fin) return;
  stream->sent = to;
  if (fin) stream->fin_sent = true;
  uint64_t due = now() + wire_delay(link, retry_after(link));
  if (due < stream->free_at) due = stream->free_at;
  stream->free_at = due;
  at(due, arrive, link, to << 1 | fin);
}

static void append(stream_t *stream, const char *bytes, size_t len) {
  if (stream->written + len > stream->room) {
    size_t room = stream->room ? stream->room : 256;
    while (room < stream->written + len)
      room *= 2;
    char *more = keep(room);
    if (stream->written) memcpy(more, stream->bytes, stream->written);
    stream->bytes = more;
    stream->room = room;
  }
  if (len > 0) memcpy(stream->bytes + stream->written, bytes, len);
  stream->written += len;
}

static size_t take(stream_t *stream, char *bytes, size_t size) {
  size_t len = stream->arrived - stream->read;
  if (len > size) len = size;
  if (len) memcpy(bytes, stream->bytes + stream->read, len);
  stream->read += len;
  return len;
}

/* -- Resets ---------------------------------------------------------------- */

static void on_reset_at_client(void *who, uint64_t arg) {
  link_t *link = who;
  (void)arg;
  if (link->client_silent || link->client_closed) return;
  link->client_reset = link->client_closed = true;
  story("conn", link->id, "reset, as the client sees it", 0, 0);
  link->calls->ended(link);
}

/* The server's kernel resets: what is not there by then never will be. */
void reset_client(link_t *link) {
  if (link->down_ends_at) return;
  link->down_ends_at = now() + link->latency;
  if (link->loss && one_in(link->loss)) return;
  at(link->down_ends_at, on_reset_at_client, link, 0);
}

static void on_reset_at_server(void *who, uint64_t arg) {
  link_t *link = who;
  (void)arg;
  if (link->state == LINK_HALF_OPEN) link->state = LINK_CLOSED;
  if (link->state == LINK_CLOSED) link->down_ends_at = now();
  link->server_error = true;
  link->moved_at = now();
  story("conn", link->id, "reset by the client", 0, 0);
}

static void reset_server(link_t *link) {
  if (link->loss && one_in(link->loss)) return;
  at(now() + link->latency, on_reset_at_server, link, 0);
}

/* -- From the client to the server ----------------------------------------- */

static void on_up(void *who, uint64_t arg) {
  link_t *link = who;
  stream_t *up = &link->up;
  if (link->state == LINK_HALF_OPEN) { /* it acknowledges, too */
    handshake_complete(link);
    if (link->state == LINK_HALF_OPEN) {
      at(now() + retry_after(link), on_up, link, arg);
      return;
    }
  }
  if (link->state == LINK_CLOSED) {
    if (arg >> 1 > up->arrived) reset_client(link);
    return;
  }
  if (link->server_error) return;
  if (arg >> 1 > up->arrived) up->arrived = arg >> 1;
  if (arg & 1) up->fin_arrived = true;
  link->moved_at = now();
  story("conn", link->id,
        arg & 1 ? "byte %llu has come, and the end" : "byte %llu has come",
        up->arrived, 0);
}

static void on_credit(void *who, uint64_t arg) {
  link_t *link = who;
  link->up.credit = arg;
  transmit(link, &link->up, on_up);
}

void link_send(link_t *link, const char *bytes, size_t len) {
  if (link->client_closed || link->up.fin_written) return;
  append(&link->up, bytes, len);
  if (link->client_connected) transmit(link, &link->up, on_up);
}

void link_finish(link_t *link) {
  link->up.fin_written = true;
  if (link->client_connected) transmit(link, &link->up, on_up);
}

void link_close(link_t *link) {
  if (link->client_closed) return;
  link->client_closed = true;
  if (link->down.read < link->down.arrived)
    reset_server(link);
  else
    link_finish(link);
}

void link_abort(link_t *link) {
  if (link->client_closed) return;
  link->client_closed = true;
  reset_server(link);
}

void link_vanish(link_t *link) {
  link->client_closed = link->client_silent = true;
}

/* -- From the server to the client ----------------------------------------- */

static void on_down(void *who, uint64_t arg);

/* So many bytes have arrived, and so many were read, when it was sent. */
static void on_ack(void *who, uint64_t arg) {
  link_t *link = who;
  stream_t *down = &link->down;
  if (arg >> 32 > down->acked) down->acked = arg >> 32;
  if ((arg & UINT32_MAX) > down->credit) down->credit = arg & UINT32_MAX;
  link->moved_at = now();
  if (link->down_ends_at == 0) transmit(link, down, on_down);
}

static void acknowledge(link_t *link) {
  stream_t *down = &link->down;
  down->told = down->read;
  at(now() + link->latency, on_ack, link, down->arrived << 32 | down->read);
}

static void on_down(void *who, uint64_t arg) {
  link_t *link = who;
  stream_t *down = &link->down;
  if (link->client_silent) return;
  if (link->down_ends_at && now() > link->down_ends_at) return;
  if (link->client_closed) {
    if (arg >> 1 > down->arrived && !link->client_reset) reset_server(link);
    return;
  }
  down->arrived = arg >> 1;
  if (arg & 1) down->fin_arrived = true;
  link->calls->readable(link);
  if (!link->client_closed) acknowledge(link);
}

size_t link_take(link_t *link, char *bytes, size_t size) {
  stream_t *down = &link->down;
  size_t len = take(down, bytes, size);
  if (down->read - down->told >= down->window / 2) acknowledge(link);
  return len;
}

/* -- The server's calls ---------------------------------------------------- */

static size_t shortened(size_t len) {
  return short_one_in && len > 1 && one_in(short_one_in) ? 1 + below(len) : len;
}

ssize_t tcp_read(link_t *link, char *bytes, size_t size) {
  stream_t *up = &link->up;
  uint64_t from = up->read;
  size_t len = take(up, bytes, shortened(size));
  if (len > 0) {
    if (up->read - up->told >= up->window / 2 && !link->client_silent) {
      up->told = up->read;
      at(now() + link->latency, on_credit, link, up->read);
    }
    watch_read(link, from);
    return (ssize_t)len;
  }
  if (link->server_error && !link->server_told) {
    link->server_told = true;
    return -ECONNRESET;
  }
  tcp_look(link);
  return up->fin_arrived || link->server_error ? 0 : -EAGAIN;
}

ssize_t tcp_write(link_t *link, const char *bytes, size_t size) {
  stream_t *down = &link->down;
  if (link->server_error && !link->server_told) {
    link->server_told = true;
    return -ECONNRESET;
  }
  if (link->server_error || down->fin_written) return -EPIPE;
  uint64_t used = down->written - down->acked;
  if (used >= down->send_room) return -EAGAIN;
  size_t room = down->send_room - used;
  size_t len = shortened(size < room ? size : room);
  append(down, bytes, len);
  transmit(link, down, on_down);
  watch_written(link, bytes, len);
  return (ssize_t)len;
}

void tcp_look(link_t *link) {
  link->looked_at = link->up.arrived;
  link->looked_for = epoll_turns(thread_self());
}

/* What comes between the look and the half-close comes too late for it; where
 * there is one thread no time passes between them. */
static uint64_t seen_by_now(const link_t *link) {
  bool has_looked = threads_are_several() && link->looked_for &&
                    link->looked_for == epoll_turns(thread_self());
  return has_looked ? link->looked_at : link->up.arrived;
}

static void note_half_close(link_t *link) {
  if (link->half_closed_at) return;
  link->half_closed_at = now();
  link->up_at_half_close = seen_by_now(link);
  watch_half_closing(link);
}

int tcp_shutdown(link_t *link, int how) {
  if (link->server_error) return -ENOTCONN;
  if (how == SHUT_RD) return 0;
  note_half_close(link);
  link->down.fin_written = true;
  transmit(link, &link->down, on_down);
  return 0;
}

void tcp_close(link_t *link) {
  note_half_close(link);
  link->closed_at = now();
  link->fin_at_close = link->up.fin_arrived || link->server_error;
  link->state = LINK_CLOSED;
  bool unread = link->up.read < link->up.arrived;
  story("conn", link->id,
        unread ? "closed with %llu bytes unread: reset" : "closed",
        link->up.arrived - link->up.read, 0);
  if (!link->server_error && (unread || link->linger_0)) {
    reset_client(link);
  } else if (!link->server_error) {
    link->down.fin_written = true;
    transmit(link, &link->down, on_down);
  }
  watch_closed(link);
}

uint32_t tcp_events(const link_t *link) {
  const stream_t *up = &link->up;
  const stream_t *down = &link->down;
  uint32_t events = 0;
  if (link->server_error)
    events |= EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP | EPOLLOUT;
  if (up->read < up->arrived || up->fin_arrived) events |= EPOLLIN;
  if (up->fin_arrived) events |= EPOLLRDHUP;
  if (up->fin_arrived && down->fin_written) events |= EPOLLHUP;
  /* As Linux: when a third of the buffer is free. */
  if ((down->written - down->acked) * 3 <= down->send_room * 2)
    events |= EPOLLOUT;
  return events;
}
