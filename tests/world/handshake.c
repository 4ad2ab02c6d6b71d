/* handshake.c: listening sockets and what comes to them.
 *
 *   client                      server
 *     link_connect ── SYN ──▶  on_syn: half open; refused, or dropped by the
 *     on_syn_ack  ◀── SYN-ACK ──          filter or a full queue
 *                  ── ACK ──▶  on_third: into the accept queue
 *
 * A client that hears nothing sends its SYN again after a second, two, four;
 * so does the server its SYN-ACK. Who comes to a closed socket is reset. */
#include "clock.h"
#include "kernel.h"
#include "story.h"
#include "tcp.h"
#include "watch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { LINKS = 4096, SYN_TRIES = 4 };
static const uint64_t SYN_AGAIN = 1000 * MS; /* doubled each time */

static link_t *links[LINKS];
static int link_count;
static listener_t *all;
static int listener_count;
static uint16_t next_port;

void tcp_begin(void) {
  link_count = listener_count = 0;
  next_port = 30000;
  all = NULL;
  memset(links, 0, sizeof(links));
  tcp_be_short(0);
}

listener_t *listeners(void) {
  return all;
}

link_t *link_at(int index) {
  return index < link_count ? links[index] : NULL;
}

uint64_t server_links_open(void) {
  uint64_t open = 0;
  for (int i = 0; i < link_count; i++)
    open += links[i]->state == LINK_ACCEPTED && !links[i]->hijacked;
  return open;
}

link_t *link_new(const client_calls_t *calls, void *client) {
  if (link_count == LINKS) return NULL;
  link_t *link = keep(sizeof(*link));
  links[link_count++] = link;
  link->id = link_count;
  link->port = next_port++;
  link->calls = calls;
  link->client = client;
  link->up.window = link->down.window = 65536;
  link->down.send_room = 65536;
  return link;
}

/* -- Listening sockets ----------------------------------------------------- */

listener_t *listener_new(sa_family_t family) {
  listener_t *listener = keep(sizeof(*listener));
  listener->id = ++listener_count;
  listener->family = family;
  listener->next = all;
  all = listener;
  return listener;
}

int listener_listen(listener_t *listener, unsigned backlog) {
  listener->backlog = backlog;
  listener->listening = true;
  if (listener->port == 0 && !listener->is_unix)
    listener->port = (uint16_t)(8080 + listener->id);
  return 0;
}

static bool takes(const listener_t *listener, const link_t *link) {
  if (!listener->listening || listener->closed) return false;
  if (listener->is_unix || link->is_unix)
    return listener->is_unix && link->is_unix && !listener->shut;
  bool family = listener->family == link->family ||
                (listener->family == AF_INET6 && listener->dual);
  return family && listener->port == link->server_port &&
         (listener->ip == 0 || listener->ip == link->server_ip);
}

static listener_t *listener_for(const link_t *link) {
  listener_t *found = all;
  while (found && !takes(found, link))
    found = found->next;
  return found;
}

static void enqueue(link_t *link) {
  link_t **end = &link->listener->queue;
  while (*end)
    end = &(*end)->next_queued;
  *end = link;
  link->listener->queued++;
  link->state = LINK_QUEUED;
  story("conn", link->id, "in the accept queue of listener %llu",
        (uint64_t)link->listener->id, 0);
}

link_t *listener_take(listener_t *listener) {
  link_t *link = listener->queue;
  if (link == NULL) return NULL;
  listener->queue = link->next_queued;
  listener->queued--;
  link->state = LINK_ACCEPTED;
  link->accepted_at = link->moved_at = now();
  story("conn", link->id, "accepted", 0, 0);
  watch_accepted(link);
  return link;
}

void listener_shut(listener_t *listener) {
  listener->shut = true;
}

void listener_close(listener_t *listener) {
  story("listener", listener->id, "closed with %llu in its queue",
        listener->queued, 0);
  watch_listener_closing(listener);
  if (listener->left) return;
  listener->closed = true;
  for (link_t *link = listener->queue; link; link = link->next_queued) {
    link->state = LINK_CLOSED;
    reset_client(link);
  }
}

size_t half_open(const listener_t *listener) {
  size_t count = 0;
  for (int i = 0; i < link_count; i++)
    count +=
        links[i]->state == LINK_HALF_OPEN && links[i]->listener == listener;
  return count;
}

/* -- The three steps ------------------------------------------------------- */

static void refuse(link_t *link) {
  link->state = LINK_CLOSED;
  story("conn", link->id, "refused: nobody listens", 0, 0);
  reset_client(link);
}

static void on_third(void *who, uint64_t arg) {
  (void)arg;
  handshake_complete(who);
}

void handshake_complete(link_t *link) {
  listener_t *listener = link->listener;
  if (link->state != LINK_HALF_OPEN) return;
  if (listener->closed)
    refuse(link);
  else if (listener->queued <= listener->backlog)
    enqueue(link);
  else /* until the server's SYN-ACK has come again */
    at(now() + SYN_AGAIN, on_third, link, 0);
}

static void on_syn_ack(void *who, uint64_t arg) {
  link_t *link = who;
  (void)arg;
  if (link->client_closed || link->state == LINK_CLOSED) return;
  link->client_connected = true;
  at(now() + wire_delay(link, SYN_AGAIN), on_third, link, 0);
  link_send(link, "", 0); /* what was written meanwhile */
  link->calls->connected(link);
}

static void on_syn(void *who, uint64_t arg) {
  link_t *link = who;
  (void)arg;
  if (link->state != LINK_CONNECTING) return;
  listener_t *listener = listener_for(link);
  if (listener == NULL) {
    refuse(link);
  } else if (listener->filter) {
    story("conn", link->id, "its SYN is dropped by the filter", 0, 0);
  } else if (listener->queued > listener->backlog) {
    story("conn", link->id, "its SYN is dropped: the queue is full", 0, 0);
  } else {
    link->listener = listener;
    link->state = LINK_HALF_OPEN;
    story("conn", link->id, "half open", 0, 0);
    at(now() + wire_delay(link, SYN_AGAIN), on_syn_ack, link, 0);
  }
}

static void on_retry(void *who, uint64_t arg);

static void send_syn(link_t *link) {
  if (!link->loss || !one_in(link->loss))
    at(now() + link->latency, on_syn, link, 0);
  at(now() + (SYN_AGAIN << link->tries), on_retry, link, 0);
  link->tries++;
}

static void on_retry(void *who, uint64_t arg) {
  link_t *link = who;
  (void)arg;
  if (link->state != LINK_CONNECTING || link->client_closed) return;
  if (link->tries < SYN_TRIES) {
    send_syn(link);
    return;
  }
  link->client_closed = true;
  link->calls->ended(link);
}

static void on_unix_connected(void *who, uint64_t arg) {
  link_t *link = who;
  (void)arg;
  link->client_connected = true;
  link_send(link, "", 0);
  link->calls->connected(link);
}

void link_connect(link_t *link) {
  if (!link->is_unix) {
    send_syn(link);
    return;
  }
  link->listener = listener_for(link);
  if (link->listener == NULL) {
    refuse(link);
  } else if (link->listener->queued > link->listener->backlog) {
    link->state = LINK_CLOSED; /* EAGAIN */
    reset_client(link);
  } else {
    enqueue(link);
    at(now(), on_unix_connected, link, 0);
  }
}
