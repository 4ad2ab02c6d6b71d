/* connect.c: Go's Dialer.DialContext for TCP and for Unix sockets, which are a
 * single address that needs no look-up.
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
#include "descriptor.h"
#include "handles.h"
#include "loop.h"
#include "waiter.h"

#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

/* What an address gets at least, if there is as much left. */
#define SHARE_MIN_NS 2000000000U

/* Who is told; one of the two callbacks. */
typedef struct {
  uv_handle_t *handle; /* to be a uv_tcp_t or a uv_pipe_t */
  dusk_connect_cb tcp_cb;
  dusk_connect_pipe_cb pipe_cb;
  void *arg;
} caller_t;

typedef struct {
  union { /* of the attempt under way; first, see finish */
    uv_handle_t handle;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  };
  uv_connect_t req;
  dusk_waiter_t waiter;  /* for the start, then for the end of the share */
  dusk_context_t *ctx;   /* held, in the root's tree */
  dusk_context_t *share; /* held: the attempt's part of the context's time */
  dusk__root_t *root;
  caller_t caller;
  const struct addrinfo *next; /* to be tried */
  struct addrinfo *resolved;
  struct addrinfo only;
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

static void tell(const caller_t *caller, int err) {
  if (caller->pipe_cb != NULL)
    caller->pipe_cb((uv_pipe_t *)caller->handle, err, caller->arg);
  else
    caller->tcp_cb((uv_tcp_t *)caller->handle, err, caller->arg);
}

static void finish(dial_t *dial, int err) {
  dusk_context_t *ctx = dial->ctx;
  caller_t caller = dial->caller;
  atomic_fetch_sub(&dial->root->users, 1);
  uv_freeaddrinfo(dial->resolved);
  if (dial->is_stray) {
    dusk__handle_opened(dial->root);
    dusk__handle_strayed(dial->root, &dial->handle);
  } else {
    free(dial);
  }
  tell(&caller, err);
  dusk_context_unref(ctx);
}

/* -- TCP or Unix ---------------------------------------------------------- */

static bool is_pipe(dial_t *dial) {
  return dial->caller.pipe_cb != NULL;
}

static int init(dial_t *dial, uv_handle_t *handle) {
  return is_pipe(dial) ? uv_pipe_init(loop_of(dial), (uv_pipe_t *)handle, 0)
                       : uv_tcp_init(loop_of(dial), (uv_tcp_t *)handle);
}

static int open_callers(dial_t *dial) {
  uv_handle_t *handle = dial->caller.handle;
  return is_pipe(dial) ? uv_pipe_open((uv_pipe_t *)handle, dial->fd)
                       : uv_tcp_open((uv_tcp_t *)handle, dial->fd);
}

static int connect_to(dial_t *dial, const struct sockaddr *addr,
                      uv_connect_cb cb) {
  if (!is_pipe(dial)) return uv_tcp_connect(&dial->req, &dial->tcp, addr, cb);
  uv_pipe_connect(&dial->req, &dial->pipe,
                  ((const struct sockaddr_un *)addr)->sun_path, cb);
  return 0;
}

/* -- Handing over --------------------------------------------------------- */

static void on_callers_closed(uv_handle_t *handle) {
  dial_t *dial = handle->data;
  finish(dial, dial->first_err);
}

static void hand_over(dial_t *dial) {
  uv_handle_t *handle = dial->caller.handle;
  int err = init(dial, handle);
  if (err != 0) {
    close(dial->fd);
    finish(dial, err);
    return;
  }
  err = open_callers(dial);
  if (err != 0) {
    close(dial->fd);
    dial->first_err = err;
    handle->data = dial;
    uv_close(handle, on_callers_closed);
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
  uv_close(&dial->handle, on_closed);
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
  if (uv_is_closing(&dial->handle)) {
    lose_attempt(dial, status);
    return;
  }
  if (status == 0) status = dusk__descriptor_dup(&dial->handle, &dial->fd);
  end_attempt(dial, status);
}

/* The share has ended, perhaps with the context; on_closed will see. */
static void on_end(dusk_waiter_t *waiter) {
  dial_t *dial = dusk__container_of(waiter, dial_t, waiter);
  if (uv_is_closing(&dial->handle)) return; /* on_connect comes */
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
  err = init(dial, &dial->handle);
  if (err != 0) {
    dusk_context_unref(dial->share);
    return err;
  }
  err = connect_to(dial, addresses->ai_addr, on_connect);
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

/* The address stands in `addr`. */
static void try_only(dial_t *dial) {
  dial->only.ai_addr = (struct sockaddr *)&dial->addr;
  dial->next = &dial->only;
  dusk__waiter_post(&dial->waiter, dial->root, on_start);
}

static bool is_numeric(dial_t *dial, const char *host, long port) {
  if (port < 0) return false;
  int ip4_err = uv_ip4_addr(host, (int)port, (struct sockaddr_in *)&dial->addr);
  return ip4_err == 0 ||
         uv_ip6_addr(host, (int)port, (struct sockaddr_in6 *)&dial->addr) == 0;
}

static int dial_tcp(dial_t *dial, const char *host, const char *service,
                    long port) {
  const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                 .ai_protocol = IPPROTO_TCP};
  if (!is_numeric(dial, host, port))
    return dusk_context_getaddrinfo(dial->ctx, &dial->root->node.base, host,
                                    service, &hints, on_resolved, dial);
  try_only(dial);
  return 0;
}

static void dial_pipe(dial_t *dial, const char *path) {
  struct sockaddr_un *addr = (struct sockaddr_un *)&dial->addr;
  addr->sun_family = AF_UNIX;
  memcpy(addr->sun_path, path, strlen(path) + 1);
  try_only(dial);
}

static int dial_new(dusk_context_t *ctx, dusk_context_t *root,
                    const caller_t *caller, dial_t **ret_dial) {
  dial_t *dial = calloc(1, sizeof(*dial));
  if (dial == NULL) return UV_ENOMEM;
  int err = dusk__bridge_hold(ctx, dusk__node_of(root)->root, &dial->ctx);
  if (err != 0) {
    free(dial);
    return err;
  }
  dial->root = dusk__node_of(root)->root;
  dial->caller = *caller;
  dial->fd = -1;
  dusk__loop_expect(dial->root);
  *ret_dial = dial;
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
  caller_t caller = {(uv_handle_t *)tcp, .tcp_cb = cb, .arg = arg};
  dial_t *dial;
  int err = dial_new(ctx, root, &caller, &dial);
  if (err != 0) return err;
  err = dial_tcp(dial, host, service, port);
  if (err != 0) {
    dusk_context_unref(dial->ctx);
    free(dial);
    return err;
  }
  atomic_fetch_add(&dial->root->users, 1);
  return 0;
}

/* libuv would cut a long path off, and connect to what that names. */
static int check_path(const char *path) {
  size_t len = strlen(path);
  if (len == 0) return UV_EINVAL;
  if (path[0] == '@') return UV_ENOTSUP;
  return len < sizeof(((struct sockaddr_un *)0)->sun_path) ? 0
                                                           : UV_ENAMETOOLONG;
}

int dusk_context_connect_pipe(dusk_context_t *ctx, dusk_context_t *root,
                              uv_pipe_t *pipe, const char *path,
                              dusk_connect_pipe_cb cb, void *arg) {
  if (ctx == NULL || root == NULL || pipe == NULL || path == NULL ||
      cb == NULL || dusk_context_loop(root) == NULL)
    return UV_EINVAL;
  int err = check_path(path);
  if (err != 0) return err;
  caller_t caller = {(uv_handle_t *)pipe, .pipe_cb = cb, .arg = arg};
  dial_t *dial;
  err = dial_new(ctx, root, &caller, &dial);
  if (err != 0) return err;
  dial_pipe(dial, path);
  atomic_fetch_add(&dial->root->users, 1);
  return 0;
}
