/* A listening socket is our own, under a uv_poll_t, and never given to
 * uv_listen: at EMFILE that one accepts and closes what is queued, and a
 * connection parked in it would die with it. Here running out of descriptors
 * pauses the poll, with back-off, and closes nothing. */
#include "acceptor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
  ACCEPTS_A_TURN = 128,
  PASSING_ERRORS = 16, /* one after another are none */
  FIRST_RETRY_MS = 5,  /* doubled up to the last, as in Go */
  LAST_RETRY_MS = 1000,
};

/* -- Polling --------------------------------------------------------------- */

static void on_readable(uv_poll_t *handle, int status, int events);

static void start_polling(dusk__source_t *source) {
  if (!dusk__source_is_open(source)) return;
  int err = uv_poll_start(&source->poll, UV_READABLE, on_readable);
  if (err == 0) return;
  source->err = err;
  source->acceptor->above->changed(source->acceptor);
}

static void on_retry(uv_timer_t *timer) {
  start_polling(timer->data);
}

/* An error that is told at first, and then once in the longest delay. */
static void retry_later(dusk__source_t *source, int err) {
  uint64_t delay = source->retry_ms ? source->retry_ms : FIRST_RETRY_MS;
  bool is_news = source->retry_ms == 0 || delay == LAST_RETRY_MS;
  source->retry_ms = delay * 2 < LAST_RETRY_MS ? delay * 2 : LAST_RETRY_MS;
  uv_poll_stop(&source->poll);
  uv_timer_start(&source->retry, on_retry, delay, 0);
  if (is_news)
    dusk__worker_tell_error(source->acceptor->worker, err,
                            "connections can't be accepted for now, and wait");
}

static void pause_all(dusk__acceptor_t *acceptor) {
  acceptor->paused = true;
  dusk__source_t *source = NULL;
  while ((source = dusk__acceptor_next(acceptor, source)) != NULL)
    if (dusk__source_is_open(source)) uv_poll_stop(&source->poll);
  acceptor->above->full(acceptor);
}

void dusk__acceptor_resume(dusk__acceptor_t *acceptor) {
  if (!acceptor->paused) return;
  acceptor->paused = false;
  dusk__source_t *source = NULL;
  while ((source = dusk__acceptor_next(acceptor, source)) != NULL)
    start_polling(source);
}

/* -- Accepting ------------------------------------------------------------- */

/* Without accept4 the flags are set one by one. */
static int accept_one(int fd, dusk__address_t *ret_address) {
  socklen_t len = sizeof(*ret_address);
  memset(ret_address, 0, sizeof(*ret_address));
#ifdef SOCK_CLOEXEC
  return accept4(fd, &ret_address->any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
  int peer = accept(fd, &ret_address->any, &len);
  if (peer >= 0) {
    fcntl(peer, F_SETFD, FD_CLOEXEC);
    fcntl(peer, F_SETFL, O_NONBLOCK);
  }
  return peer;
#endif
}

/* What accept(2) tells of one connection only: the next one may do. */
static bool is_passing(int err) {
  switch (err) {
  case EINTR:
  case ECONNABORTED:
  case ECONNRESET:
  case ETIMEDOUT:
  case EPROTO:
  case EPERM:
  case ENETDOWN:
  case ENETUNREACH:
  case EHOSTDOWN:
  case EHOSTUNREACH:
    return true;
  default:
    return false;
  }
}

/* The socket is not what it was. */
static bool is_final(int err) {
  return err == UV_EBADF || err == UV_EINVAL || err == UV_ENOTSOCK ||
         err == UV_ENOTSUP;
}

static void take(dusk__source_t *source, int fd,
                 const dusk__address_t *address) {
  source->retry_ms = 0;
  /* It is served without them, too. */
  if (source->listener.queued_before > 0) {
    source->listener.queued_before--;
    dusk__listener_set_options(fd);
  }
  source->acceptor->above->pass(source->acceptor, fd, address);
}

static int accept_some(dusk__source_t *source, size_t limit,
                       size_t *ret_accepted) {
  dusk__acceptor_t *acceptor = source->acceptor;
  int passing = 0;
  while (*ret_accepted < limit) {
    if (acceptor->above->prepare(acceptor) < 0) return UV_ENOMEM;
    dusk__address_t address;
    int fd = accept_one(source->listener.fd, &address);
    if (fd >= 0) {
      passing = 0;
      ++*ret_accepted;
      take(source, fd, &address);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      source->listener.queued_before = 0;
      return 0;
    } else if (!is_passing(errno) || ++passing == PASSING_ERRORS) {
      return uv_translate_sys_error(errno);
    }
  }
  return 0;
}

int dusk__source_accept(dusk__source_t *source, size_t limit,
                        size_t *ret_accepted) {
  uv_update_time(source->acceptor->worker->loop); /* when they come */
  *ret_accepted = 0;
  int err = accept_some(source, limit, ret_accepted);
  if (*ret_accepted > 0) source->acceptor->above->passed(source->acceptor);
  return err;
}

bool dusk__source_is_empty(const dusk__source_t *source) {
  struct pollfd queue = {.fd = source->listener.fd, .events = POLLIN};
  int ready = poll(&queue, 1, 0);
  return ready == 0 || (ready > 0 && !(queue.revents & POLLIN));
}

/* How many more may be open at once. */
static size_t room(dusk__acceptor_t *acceptor) {
  uint64_t limit = acceptor->worker->config->max_connections;
  if (acceptor->is_sealing || limit == DUSK_OFF) return SIZE_MAX;
  size_t open = acceptor->above->open(acceptor);
  return open < limit ? (size_t)(limit - open) : 0;
}

static void on_readable(uv_poll_t *handle, int status, int events) {
  (void)events;
  dusk__source_t *source = handle->data;
  dusk__acceptor_t *acceptor = source->acceptor;
  size_t limit = room(acceptor);
  if (limit == 0) {
    pause_all(acceptor);
    return;
  }
  if (limit > ACCEPTS_A_TURN) limit = ACCEPTS_A_TURN;
  size_t accepted = 0;
  int err = status;
  if (err == 0) err = dusk__source_accept(source, limit, &accepted);
  if (err == 0) return;
  /* The last descriptor may have gone to the last one who waited. */
  if (accepted > 0 && dusk__source_is_empty(source)) return;
  if (!is_final(err) && status == 0) {
    retry_later(source, err);
  } else if (acceptor->is_sealing) {
    uv_poll_stop(handle); /* the seal ends it */
  } else {
    source->err = err;
    dusk__source_close(source);
  }
}

/* -- Sources --------------------------------------------------------------- */

void dusk__acceptor_init(dusk__acceptor_t *acceptor, dusk__worker_t *worker,
                         const dusk__accepted_t *above) {
  acceptor->worker = worker;
  acceptor->above = above;
  dusk__list_init(&acceptor->sources);
}

void dusk__acceptor_done(dusk__acceptor_t *acceptor) {
  while (!dusk__list_empty(&acceptor->sources)) {
    dusk__source_t *source =
        DUSK__OWNER(acceptor->sources.next, dusk__source_t, link);
    assert(!dusk__source_is_open(source));
    dusk__list_remove(&source->link);
    free(source);
  }
}

dusk__source_t *dusk__acceptor_next(const dusk__acceptor_t *acceptor,
                                    const dusk__source_t *source) {
  dusk__link_t *next = source ? source->link.next : acceptor->sources.next;
  return next == &acceptor->sources ? NULL
                                    : DUSK__OWNER(next, dusk__source_t, link);
}

static int start(dusk__source_t *source) {
  dusk__acceptor_t *acceptor = source->acceptor;
  dusk__worker_t *worker = acceptor->worker;
  int err = uv_poll_init(worker->loop, &source->poll, source->listener.fd);
  if (err < 0) return err;
  source->poll.data = source;
  source->retry.data = source;
  uv_timer_init(worker->loop, &source->retry); /* always 0 */
  dusk__list_append(&acceptor->sources, &source->link);
  acceptor->listening++;
  dusk__worker_ref(worker);
  dusk__worker_ref(worker);
  start_polling(source);
  return 0;
}

int dusk__acceptor_open(dusk__acceptor_t *acceptor, const char *address,
                        dusk_serve_cb cb, void *arg,
                        dusk__source_t **ret_source) {
  dusk__source_t *source = calloc(1, sizeof(*source));
  if (source == NULL) return UV_ENOMEM;
  source->acceptor = acceptor;
  source->cb = cb;
  source->arg = arg;
  int err = dusk__listener_open(&source->listener, address);
  if (err == 0) {
    err = start(source);
    if (err < 0) dusk__listener_close(&source->listener);
  }
  if (err < 0)
    free(source);
  else
    *ret_source = source;
  return err;
}

static void on_closed(uv_handle_t *handle) {
  dusk__source_t *source = handle->data;
  dusk__worker_release(source->acceptor->worker);
}

void dusk__source_close(dusk__source_t *source) {
  dusk__acceptor_t *acceptor = source->acceptor;
  if (!dusk__source_is_open(source)) return;
  uv_close((uv_handle_t *)&source->poll, on_closed);
  uv_close((uv_handle_t *)&source->retry, on_closed);
  int err = dusk__listener_close(&source->listener);
  if (acceptor->close_err == 0) acceptor->close_err = err;
  assert(acceptor->listening > 0);
  acceptor->listening--;
  acceptor->above->changed(acceptor);
}

void dusk__source_tell(dusk__source_t *source, int err) {
  dusk_serve_cb cb = source->cb;
  source->cb = NULL;
  if (cb) cb(source->acceptor->worker->server, err, source->arg);
}
