/* Closing a listening socket resets every connection that the kernel accepted
 * and we did not. So a TCP listener is sealed: fresh handshakes are refused by
 * the kernel first, those under way are waited for, then the queue is accepted
 * until it is empty, and only then the socket is closed. Unless the kernel
 * refuses:
 *
 *   refuses fresh ones   asks for those half-way
 *   yes                  by sock_diag             EXACT
 *   yes                  by /proc                 SLOW: asked more seldom
 *   yes                  no                       HELD until none can be left
 *   no                                            BLIND: accepts for a moment
 *
 * A Unix socket knows no handshakes; one that was handed over is left, unless
 * sealing was asked for. */
#include "seal.h"

#include "server.h"
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  SETTLE_MS = 2,        /* from the kernel's refusal to the first look */
  LOOK_MS = 20,         /* between two looks, each of which takes ms */
  SLOW_LOOK_MS = 200,   /* between two that take tens of ms */
  BLIND_MS = 20,        /* of accepting, where the kernel doesn't tell */
  HANDSHAKE_MS = 1200,  /* a handshake's retransmission, and some */
  STUCK_MS = 1200,      /* for what can't be accepted, when nothing is open */
  ACCEPTS_A_LOOK = 8192 /* twice the backlog */
};

static void on_timer(uv_timer_t *timer);

void dusk__seal_init(dusk_server_t *server) {
  server->seal.diag = server->seal.reserve = -1;
  uv_timer_init(server->loop, &server->seal.timer); /* always 0 */
  server->seal.timer.data = server;
}

/* False when there was none. */
static bool give_back(int *fd) {
  if (*fd < 0) return false;
  close(*fd);
  *fd = -1;
  return true;
}

void dusk__seal_done(dusk_server_t *server) {
  give_back(&server->seal.diag);
  give_back(&server->seal.reserve);
}

static int open_diag(dusk__seal_t *seal) {
  if (seal->diag >= 0) return 0;
  int diag = dusk__sys_open_diag();
  if (diag < 0) return diag;
  seal->diag = diag;
  return 0;
}

void dusk__seal_prepare(dusk__listener_t *listener) {
  dusk_server_t *server = listener->server;
  dusk__seal_t *seal = &server->seal;
  if (seal->reserve < 0)
    seal->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (listener->kind != DUSK__TCP) return;
  int err = open_diag(seal);
  if (err < 0 && err != UV_ENOTSUP) /* another kernel: the header says so */
    dusk__server_tell_error(server, err,
                            "sock_diag (AF_NETLINK) can't be asked: a stop may "
                            "wait longer for handshakes that are half-way");
}

/* -- Handshakes half-way --------------------------------------------------- */

static uint64_t age_ms(const dusk__seal_t *seal) {
  return (uv_hrtime() - seal->begun_ns) / DUSK__NS_PER_MS;
}

static void change_means(dusk__listener_t *listener, dusk_seal_t means) {
  dusk__seal_t *seal = &listener->server->seal;
  listener->means = means;
  if (means > seal->means) seal->means = means;
}

/* Their number by the best means that the kernel grants, or an error when there
 * is none. */
static int count_handshakes(dusk__listener_t *listener) {
  dusk__seal_t *seal = &listener->server->seal;
  if (listener->means == DUSK_SEAL_EXACT) {
    int count = open_diag(seal);
    if (count == 0) count = dusk__sys_half_open(seal->diag, listener->fd);
    if (count >= 0) return count;
    give_back(&seal->diag);
    change_means(listener, DUSK_SEAL_SLOW);
  }
  if (listener->means == DUSK_SEAL_SLOW) {
    int count = dusk__sys_half_open_slowly(listener->fd);
    if (count >= 0) return count;
    change_means(listener, DUSK_SEAL_HELD);
  }
  return UV_ENOTSUP;
}

/* *ret_left: those that are given up. */
static bool handshakes_pending(dusk__listener_t *listener, uint64_t *ret_left) {
  uint64_t age = age_ms(&listener->server->seal);
  if (listener->kind != DUSK__TCP) return false;
  if (listener->means == DUSK_SEAL_BLIND) return age < BLIND_MS;
  if (age < SETTLE_MS) return true;
  int count = count_handshakes(listener);
  if (age < HANDSHAKE_MS) return count != 0; /* also when it isn't known */
  if (count > 0) *ret_left = (uint64_t)count;
  return false;
}

/* -- The queue ------------------------------------------------------------- */

/* What is in the queue now, as far as the kernel tells. */
static uint64_t queued(const dusk__listener_t *listener) {
  int count = dusk__sys_queued(listener->fd);
  return count > 0 ? (uint64_t)count : 0;
}

static void leave(dusk__listener_t *listener) {
  listener->server->seal.left += queued(listener);
  dusk__listener_close(listener);
}

/* Nothing can be accepted: no descriptors, or an error each time. Whatever is
 * open may end and give its descriptor back; if nothing is, there is only the
 * one in reserve, and then nothing will change. */
static void get_unstuck(dusk__listener_t *listener, int err) {
  dusk_server_t *server = listener->server;
  dusk__seal_t *seal = &server->seal;
  if (dusk__listener_is_empty(listener)) {
    dusk__listener_close(listener);
    return;
  }
  uint64_t now = uv_hrtime();
  if (give_back(&seal->reserve) || dusk__server_connections(server) > 0 ||
      seal->stuck_ns == 0) {
    seal->stuck_ns = now;
  } else if (now - seal->stuck_ns > STUCK_MS * DUSK__NS_PER_MS) {
    dusk__server_tell_error(server, err,
                            "connections can't be accepted, and "
                            "are reset with their listener");
    server->drain.status = err;
    leave(listener);
  }
}

/* Accepts until there is nothing more, and closes. */
static void close_when_empty(dusk__listener_t *listener) {
  dusk__seal_t *seal = &listener->server->seal;
  size_t accepted;
  int err = dusk__listener_accept(listener, ACCEPTS_A_LOOK, &accepted);
  if (listener->kind == DUSK__UNIX) seal->sealed += accepted;
  if (accepted > 0) seal->stuck_ns = 0;
  if (accepted == ACCEPTS_A_LOOK) return; /* and more: next time */
  /* Kernels differ in what an empty one tells that was shut down. */
  if (listener->kind == DUSK__UNIX && err == UV_EINVAL) err = 0;
  if (err == 0)
    dusk__listener_close(listener);
  else
    get_unstuck(listener, err);
}

/* -- Step by step ---------------------------------------------------------- */

static uint64_t pause_ms(const dusk__seal_t *seal) {
  if (age_ms(seal) < SETTLE_MS) return 1;
  return seal->means == DUSK_SEAL_SLOW ? SLOW_LOOK_MS : LOOK_MS;
}

static void look(dusk_server_t *server) {
  for (dusk__link_t *link = server->listeners.next; link != &server->listeners;
       link = link->next) {
    dusk__listener_t *listener = DUSK__OWNER(link, dusk__listener_t, link);
    uint64_t left = 0;
    if (listener->fd < 0 || handshakes_pending(listener, &left)) continue;
    close_when_empty(listener);
    if (listener->fd < 0) server->seal.handshakes += left;
  }
  if (server->listening > 0)
    uv_timer_start(&server->seal.timer, on_timer, pause_ms(&server->seal), 0);
}

static void on_timer(uv_timer_t *timer) {
  look(timer->data);
}

static void begin(dusk__listener_t *listener) {
  dusk__seal_t *seal = &listener->server->seal;
  switch (listener->kind) {
  case DUSK__HANDED_OVER:
    leave(listener);
    break;
  case DUSK__UNIX:
    shutdown(listener->fd, SHUT_RD); /* connecting is refused from now on */
    close_when_empty(listener);
    break;
  case DUSK__TCP:
    seal->sealed += queued(listener);
    if (dusk__sys_refuse_handshakes(listener->fd) < 0)
      change_means(listener, DUSK_SEAL_BLIND);
    break;
  }
}

void dusk__seal_begin(dusk_server_t *server) {
  server->seal.begun_ns = uv_hrtime();
  for (dusk__link_t *link = server->listeners.next; link != &server->listeners;
       link = link->next) {
    dusk__listener_t *listener = DUSK__OWNER(link, dusk__listener_t, link);
    if (listener->fd >= 0) begin(listener);
  }
  if (server->listening > 0)
    uv_timer_start(&server->seal.timer, on_timer, SETTLE_MS, 0);
}

void dusk__seal_cut(dusk_server_t *server) {
  dusk__seal_t *seal = &server->seal;
  for (dusk__link_t *link = server->listeners.next; link != &server->listeners;
       link = link->next) {
    dusk__listener_t *listener = DUSK__OWNER(link, dusk__listener_t, link);
    if (listener->fd < 0) continue;
    /* Only by the quick means: who cuts does so now. */
    bool asks = listener->kind == DUSK__TCP &&
                listener->means == DUSK_SEAL_EXACT && seal->diag >= 0;
    int count = asks ? dusk__sys_half_open(seal->diag, listener->fd) : 0;
    if (count > 0) seal->handshakes += (uint64_t)count;
    leave(listener);
  }
}
