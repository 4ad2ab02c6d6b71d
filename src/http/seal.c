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

void dusk__seal_init(dusk__seal_t *seal, dusk__acceptor_t *acceptor) {
  seal->acceptor = acceptor;
  seal->diag = seal->reserve = -1;
  uv_timer_init(acceptor->worker->loop, &seal->timer); /* always 0 */
  seal->timer.data = seal;
}

/* False when there was none. */
static bool give_back(int *fd) {
  if (*fd < 0) return false;
  close(*fd);
  *fd = -1;
  return true;
}

static void on_closed(uv_handle_t *handle) {
  dusk__seal_t *seal = handle->data;
  dusk__worker_release(seal->acceptor->worker);
}

void dusk__seal_close(dusk__seal_t *seal) {
  give_back(&seal->diag);
  give_back(&seal->reserve);
  dusk__worker_ref(seal->acceptor->worker);
  uv_close((uv_handle_t *)&seal->timer, on_closed);
}

static int open_diag(dusk__seal_t *seal) {
  if (seal->diag >= 0) return 0;
  int diag = dusk__sys_open_diag();
  if (diag < 0) return diag;
  seal->diag = diag;
  return 0;
}

void dusk__seal_prepare(dusk__seal_t *seal, const dusk__source_t *source) {
  if (seal->reserve < 0)
    seal->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (source->listener.kind != DUSK__TCP) return;
  int err = open_diag(seal);
  if (err < 0 && err != UV_ENOTSUP) /* another kernel: the header says so */
    dusk__worker_tell_error(seal->acceptor->worker, err,
                            "sock_diag (AF_NETLINK) can't be asked: a stop may "
                            "wait longer for handshakes that are half-way");
}

/* -- Handshakes half-way --------------------------------------------------- */

static uint64_t age_ms(const dusk__seal_t *seal) {
  return (uv_hrtime() - seal->begun_ns) / DUSK__NS_PER_MS;
}

static void change_means(dusk__seal_t *seal, dusk__source_t *source,
                         dusk_seal_t means) {
  source->means = means;
  if (means > seal->means) seal->means = means;
}

/* Their number by the best means that the kernel grants, or an error when there
 * is none. */
static int count_handshakes(dusk__seal_t *seal, dusk__source_t *source) {
  if (source->means == DUSK_SEAL_EXACT) {
    int count = open_diag(seal);
    if (count == 0)
      count = dusk__sys_half_open(seal->diag, source->listener.fd);
    if (count >= 0) return count;
    give_back(&seal->diag);
    change_means(seal, source, DUSK_SEAL_SLOW);
  }
  if (source->means == DUSK_SEAL_SLOW) {
    int count = dusk__sys_half_open_slowly(source->listener.fd);
    if (count >= 0) return count;
    change_means(seal, source, DUSK_SEAL_HELD);
  }
  return UV_ENOTSUP;
}

/* *ret_left: those that are given up. */
static bool handshakes_pending(dusk__seal_t *seal, dusk__source_t *source,
                               uint64_t *ret_left) {
  uint64_t age = age_ms(seal);
  if (source->listener.kind != DUSK__TCP) return false;
  if (source->means == DUSK_SEAL_BLIND) return age < BLIND_MS;
  if (age < SETTLE_MS) return true;
  int count = count_handshakes(seal, source);
  if (age < HANDSHAKE_MS) return count != 0; /* also when it isn't known */
  if (count > 0) *ret_left = (uint64_t)count;
  return false;
}

/* -- The queue ------------------------------------------------------------- */

/* What is in the queue now, as far as the kernel tells. */
static uint64_t queued(const dusk__source_t *source) {
  int count = dusk__sys_queued(source->listener.fd);
  return count > 0 ? (uint64_t)count : 0;
}

static void leave(dusk__seal_t *seal, dusk__source_t *source) {
  seal->left += queued(source);
  dusk__source_close(source);
}

/* Nothing can be accepted: no descriptors, or an error each time. Whatever is
 * open may end and give its descriptor back; if nothing is, there is only the
 * one in reserve, and then nothing will change. */
static void get_unstuck(dusk__seal_t *seal, dusk__source_t *source, int err) {
  dusk__acceptor_t *acceptor = seal->acceptor;
  if (dusk__source_is_empty(source)) {
    dusk__source_close(source);
    return;
  }
  uint64_t now = uv_hrtime();
  if (give_back(&seal->reserve) || acceptor->above->open(acceptor) > 0 ||
      seal->stuck_ns == 0) {
    seal->stuck_ns = now;
  } else if (now - seal->stuck_ns > STUCK_MS * DUSK__NS_PER_MS) {
    dusk__worker_tell_error(acceptor->worker, err,
                            "connections can't be accepted, and "
                            "are reset with their listener");
    seal->err = err;
    leave(seal, source);
  }
}

/* Accepts until there is nothing more, and closes. */
static void close_when_empty(dusk__seal_t *seal, dusk__source_t *source) {
  size_t accepted;
  int err = dusk__source_accept(source, ACCEPTS_A_LOOK, &accepted);
  if (source->listener.kind == DUSK__UNIX) seal->sealed += accepted;
  if (accepted > 0) seal->stuck_ns = 0;
  if (accepted == ACCEPTS_A_LOOK) return; /* and more: next time */
  /* Kernels differ in what an empty one tells that was shut down. */
  if (source->listener.kind == DUSK__UNIX && err == UV_EINVAL) err = 0;
  if (err == 0)
    dusk__source_close(source);
  else
    get_unstuck(seal, source, err);
}

/* -- Step by step ---------------------------------------------------------- */

static uint64_t pause_ms(const dusk__seal_t *seal) {
  if (age_ms(seal) < SETTLE_MS) return 1;
  return seal->means == DUSK_SEAL_SLOW ? SLOW_LOOK_MS : LOOK_MS;
}

static void look_again_in(dusk__seal_t *seal, uint64_t delay_ms) {
  if (seal->acceptor->listening > 0)
    uv_timer_start(&seal->timer, on_timer, delay_ms, 0);
}

static void look(dusk__seal_t *seal) {
  dusk__source_t *source = NULL;
  while ((source = dusk__acceptor_next(seal->acceptor, source)) != NULL) {
    uint64_t left = 0;
    if (!dusk__source_is_open(source) ||
        handshakes_pending(seal, source, &left))
      continue;
    close_when_empty(seal, source);
    if (!dusk__source_is_open(source)) seal->handshakes += left;
  }
  look_again_in(seal, pause_ms(seal));
}

static void on_timer(uv_timer_t *timer) {
  look(timer->data);
}

static void begin(dusk__seal_t *seal, dusk__source_t *source) {
  switch (source->listener.kind) {
  case DUSK__HANDED_OVER:
    leave(seal, source);
    break;
  case DUSK__UNIX:
    shutdown(source->listener.fd, SHUT_RD); /* connecting is refused now */
    close_when_empty(seal, source);
    break;
  case DUSK__TCP:
    seal->sealed += queued(source);
    if (dusk__sys_refuse_handshakes(source->listener.fd) < 0)
      change_means(seal, source, DUSK_SEAL_BLIND);
    break;
  }
}

void dusk__seal_begin(dusk__seal_t *seal) {
  seal->begun_ns = uv_hrtime();
  seal->acceptor->is_sealing = true;
  dusk__acceptor_resume(seal->acceptor); /* sealing knows no max_connections */
  dusk__source_t *source = NULL;
  while ((source = dusk__acceptor_next(seal->acceptor, source)) != NULL)
    if (dusk__source_is_open(source)) begin(seal, source);
  look_again_in(seal, SETTLE_MS);
}

void dusk__seal_cut(dusk__seal_t *seal) {
  dusk__source_t *source = NULL;
  uv_timer_stop(&seal->timer);
  while ((source = dusk__acceptor_next(seal->acceptor, source)) != NULL) {
    if (!dusk__source_is_open(source)) continue;
    /* Only by the quick means: who cuts does so now. */
    bool asks = source->listener.kind == DUSK__TCP &&
                source->means == DUSK_SEAL_EXACT && seal->diag >= 0;
    int count = asks ? dusk__sys_half_open(seal->diag, source->listener.fd) : 0;
    if (count > 0) seal->handshakes += (uint64_t)count;
    leave(seal, source);
  }
}
