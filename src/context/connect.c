/* connect.c: Go's Dialer.DialContext for TCP.
 *
 *   start --> look-up --> attempt --> closing --+--> done
 *     |                   ^  ^                  |
 *     +-- numeric --------+  +-- next address --+
 *
 * One attempt at a time, on a handle of its own that is closed after it however
 * it went: a connection is handed over as a duplicate of its descriptor, so
 * that the caller's handle exists only once there is something in it. Between
 * two steps nothing is open, and the context is asked first. */
#include <dusk/calls.h>
#include "bridge.h"
#include "handles.h"
#include "loop.h"
#include "waiter.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* What an address gets at least, if there is as much left. */
#define SHARE_MIN_NS 2000000000U

typedef struct {
  uv_tcp_t handle; /* of the attempt under way; first, see finish */
  uv_connect_t req;
  dusk_waiter_t waiter;  /* for the start, then for the end of the share */
  dusk_context_t *ctx;   /* held, in the root's tree */
  dusk_context_t *share; /* held: the attempt's part of the context's time */
  dusk__root_t *root;
  uv_tcp_t *tcp; /* the caller's */
  dusk_connect_cb cb;
  void *arg;
  const struct addrinfo *next; /* to be tried */
  struct addrinfo *resolved;
  struct addrinfo numeric;
  struct sockaddr_storage addr;
  int first_err;
  int fd;         /* of the connection; -1 before */
  bool is_ending; /* the attempt: its handle has been closed here */
  bool is_stray;  /* its handle has been closed by somebody else */
} dial_t;

static void try_next(dial_t *dial);

static uv_loop_t *loop_of(dial_t *dial) {
  return dusk_context_loop(&dial->root->node.base);
}

static void finish(dial_t *dial, int err) {
  dusk_context_t *ctx = dial->ctx;
  uv_tcp_t *tcp = dial->tcp;
  dusk_connect_cb cb = dial->cb;
  void *arg = dial->arg;
  atomic_fetch_sub(&dial->root->users, 1);
  uv_freeaddrinfo(dial->resolved);
  if (dial->is_stray) {
    dusk__handle_opened(dial->root);
    dusk__handle_strayed(dial->root, (uv_handle_t *)&dial->handle);
  } else {
    free(dial);
  }
  cb(tcp, err, arg);
  dusk_context_unref(ctx);
}

/* -- Handing over --------------------------------------------------------- */

static void on_tcp_closed(uv_handle_t *tcp) {
  dial_t *dial = tcp->data;
  finish(dial, dial->first_err);
}

static void hand_over(dial_t *dial) {
  int err = uv_tcp_init(loop_of(dial), dial->tcp);
  if (err != 0) {
    close(dial->fd);
    finish(dial, err);
    return;
  }
  err = uv_tcp_open(dial->tcp, dial->fd);
  if (err != 0) {
    close(dial->fd);
    dial->first_err = err;
    dial->tcp->data = dial;
    uv_close((uv_handle_t *)dial->tcp, on_tcp_closed);
    return;
  }
  finish(dial, 0);
}

/* -- One attempt ---------------------------------------------------------- */

static void note(dial_t *dial, int err) {
  if (dial->first_err == 0) dial->first_err = err;
}

static void on_closed(uv_handle_t *handle) {
  dial_t *dial = dusk__container_of(handle, dial_t, handle);
  dusk_context_unref(dial->share);
  if (dial->fd >= 0)
    hand_over(dial);
  else
    try_next(dial);
}

static void end_attempt(dial_t *dial, int err) {
  if (err != 0) note(dial, err);
  dusk_waiter_stop(&dial->waiter);
  dial->is_ending = true;
  uv_close((uv_handle_t *)&dial->handle, on_closed);
}

/* Not to where libuv would take it for a standard stream. */
static int duplicate(dial_t *dial) {
  uv_os_fd_t fd;
  int err = uv_fileno((uv_handle_t *)&dial->handle, &fd);
  if (err != 0) return err;
  dial->fd = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  return dial->fd >= 0 ? 0 : uv_translate_sys_error(errno);
}

/* Somebody else has closed the handle, and so means the loop to end. */
static void lose_attempt(dial_t *dial, int err) {
  int ended = dusk_context_err(dial->ctx);
  note(dial, err);
  dusk_waiter_stop(&dial->waiter);
  dusk_context_unref(dial->share);
  dial->is_stray = true;
  finish(dial, ended != 0 ? ended : dial->first_err);
}

static void on_connect(uv_connect_t *req, int status) {
  dial_t *dial = dusk__container_of(req, dial_t, req);
  if (dial->is_ending) return; /* see on_end */
  if (uv_is_closing((uv_handle_t *)&dial->handle)) {
    lose_attempt(dial, status);
    return;
  }
  end_attempt(dial, status == 0 ? duplicate(dial) : status);
}

/* The share has ended, perhaps with the context; on_closed will see. */
static void on_end(dusk_waiter_t *waiter) {
  dial_t *dial = dusk__container_of(waiter, dial_t, waiter);
  if (uv_is_closing((uv_handle_t *)&dial->handle))
    return; /* on_connect comes */
  end_attempt(dial, UV_ETIMEDOUT);
}

/* Go's partialDeadline. */
static uint64_t share_end(uint64_t now, uint64_t deadline_ns,
                          const struct addrinfo *addresses) {
  uint64_t left = deadline_ns > now ? deadline_ns - now : 0;
  uint64_t count = 0;
  for (; addresses != NULL; addresses = addresses->ai_next)
    count++;
  uint64_t share = left / count;
  if (share < SHARE_MIN_NS) share = left < SHARE_MIN_NS ? left : SHARE_MIN_NS;
  return deadline_ns - left + share;
}

static int open_share(dial_t *dial, const struct addrinfo *addresses) {
  uint64_t deadline_ns = dusk_context_deadline(dial->ctx);
  uint64_t end_ns = deadline_ns;
  if (deadline_ns != DUSK_OFF)
    end_ns = share_end(uv_hrtime(), deadline_ns, addresses);
  if (end_ns != deadline_ns)
    return dusk_context_with_deadline(dial->ctx, end_ns, NULL, &dial->share);
  dial->share = dusk_context_ref(dial->ctx);
  return 0;
}

/* After success on_closed will come. */
static int attempt(dial_t *dial, const struct addrinfo *addresses) {
  int err = open_share(dial, addresses);
  if (err != 0) return err;
  dial->is_ending = false;
  err = uv_tcp_init(loop_of(dial), &dial->handle);
  if (err != 0) {
    dusk_context_unref(dial->share);
    return err;
  }
  err =
      uv_tcp_connect(&dial->req, &dial->handle, addresses->ai_addr, on_connect);
  if (err != 0)
    end_attempt(dial, err);
  else
    dusk_context_after(dial->share, &dial->waiter, &dial->root->node.base,
                       on_end);
  return 0;
}

static void try_next(dial_t *dial) {
  int err = dusk_context_err(dial->ctx);
  while (err == 0 && dial->next != NULL) {
    const struct addrinfo *addresses = dial->next;
    dial->next = addresses->ai_next;
    int attempt_err = attempt(dial, addresses);
    if (attempt_err == 0) return;
    note(dial, attempt_err);
    err = dusk_context_err(dial->ctx);
  }
  finish(dial, err != 0 ? err : dial->first_err);
}

/* -- Starting ------------------------------------------------------------- */

static void on_start(dusk_waiter_t *waiter) {
  try_next(dusk__container_of(waiter, dial_t, waiter));
}

static void on_resolved(int err, struct addrinfo *res, void *arg) {
  dial_t *dial = arg;
  dial->first_err = err;
  dial->resolved = res;
  dial->next = res;
  try_next(dial);
}

/* A decimal number, or -1. */
static long port_of(const char *service) {
  if (service[0] < '0' || service[0] > '9') return -1;
  char *end;
  long port = strtol(service, &end, 10);
  return *end == '\0' ? port : -1;
}

static bool is_numeric(dial_t *dial, const char *host, long port) {
  if (port < 0 ||
      (uv_ip4_addr(host, (int)port, (struct sockaddr_in *)&dial->addr) != 0 &&
       uv_ip6_addr(host, (int)port, (struct sockaddr_in6 *)&dial->addr) != 0))
    return false;
  dial->numeric.ai_addr = (struct sockaddr *)&dial->addr;
  dial->next = &dial->numeric;
  return true;
}

static int start(dial_t *dial, const char *host, const char *service,
                 long port) {
  const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                 .ai_protocol = IPPROTO_TCP};
  if (!is_numeric(dial, host, port))
    return dusk_context_getaddrinfo(dial->ctx, &dial->root->node.base, host,
                                    service, &hints, on_resolved, dial);
  dusk__waiter_post(&dial->waiter, dial->root, on_start);
  return 0;
}

int dusk_context_connect(dusk_context_t *ctx, dusk_context_t *root,
                         uv_tcp_t *tcp, const char *host, const char *service,
                         dusk_connect_cb cb, void *arg) {
  if (ctx == NULL || root == NULL || tcp == NULL || host == NULL ||
      service == NULL || cb == NULL || dusk_context_loop(root) == NULL)
    return UV_EINVAL;
  long port = port_of(service);
  if (port > UINT16_MAX) return UV_EINVAL;
  dial_t *dial = calloc(1, sizeof(*dial));
  if (dial == NULL) return UV_ENOMEM;
  int err = dusk__bridge_hold(ctx, dusk__node_of(root)->root, &dial->ctx);
  if (err != 0) {
    free(dial);
    return err;
  }
  dial->root = dusk__node_of(root)->root;
  dial->tcp = tcp;
  dial->cb = cb;
  dial->arg = arg;
  dial->fd = -1;
  dusk__loop_expect(dial->root);
  err = start(dial, host, service, port);
  if (err != 0) {
    dusk_context_unref(dial->ctx);
    free(dial);
    return err;
  }
  atomic_fetch_add(&dial->root->users, 1);
  return 0;
}
