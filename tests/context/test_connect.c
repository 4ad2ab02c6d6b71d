/* TCP connect under a context. */
#include "fixture.h"
#include "alloc.h"
#include "pool.h"
#include "resolver.h"
#include "tree.h"

#include <dusk/calls.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { LONG_MS = 60000 };

/* -- libuv's calls, which can be made to fail ----------------------------- */

int __real_uv_tcp_init(uv_loop_t *loop, uv_tcp_t *tcp);
int __wrap_uv_tcp_init(uv_loop_t *loop, uv_tcp_t *tcp);
int __real_uv_tcp_open(uv_tcp_t *tcp, uv_os_sock_t sock);
int __wrap_uv_tcp_open(uv_tcp_t *tcp, uv_os_sock_t sock);
int __real_uv_tcp_connect(uv_connect_t *req, uv_tcp_t *tcp,
                          const struct sockaddr *addr, uv_connect_cb cb);
int __wrap_uv_tcp_connect(uv_connect_t *req, uv_tcp_t *tcp,
                          const struct sockaddr *addr, uv_connect_cb cb);
int __real_uv_fileno(const uv_handle_t *handle, uv_os_fd_t *fd);
int __wrap_uv_fileno(const uv_handle_t *handle, uv_os_fd_t *fd);

enum { MAX_ATTEMPTS = 4, UNANSWERED = 1 };

static struct {
  int init_errs[MAX_ATTEMPTS];
  int connect_errs[MAX_ATTEMPTS]; /* UNANSWERED: as if the peer was silent */
  int open_err;
  int fileno_err;
  dusk_context_t *root; /* must not be detached, not even in the last step */
  int inits;
  int connects;
  dusk_context_t *ctx;            /* of which the shares are looked at */
  dusk_context_t *share;          /* the last one, borrowed; NULL if whole */
  uint64_t shares[MAX_ATTEMPTS];  /* deadlines */
  uint64_t started[MAX_ATTEMPTS]; /* when they were given */
} uv;

int __wrap_uv_tcp_init(uv_loop_t *loop, uv_tcp_t *tcp) {
  int err = uv.init_errs[uv.inits++];
  if (uv.root != NULL)
    assert_int_equal(dusk_context_detach(uv.root, NULL, NULL), UV_EBUSY);
  return err != 0 ? err : __real_uv_tcp_init(loop, tcp);
}

int __wrap_uv_tcp_open(uv_tcp_t *tcp, uv_os_sock_t sock) {
  return uv.open_err != 0 ? uv.open_err : __real_uv_tcp_open(tcp, sock);
}

int __wrap_uv_fileno(const uv_handle_t *handle, uv_os_fd_t *fd) {
  return uv.fileno_err != 0 ? uv.fileno_err : __real_uv_fileno(handle, fd);
}

int __wrap_uv_tcp_connect(uv_connect_t *req, uv_tcp_t *tcp,
                          const struct sockaddr *addr, uv_connect_cb cb) {
  int attempt = uv.connects++;
  int err = uv.connect_errs[attempt];
  if (uv.ctx != NULL) {
    dusk__node_t *child = dusk__node_of(uv.ctx)->children;
    uv.share = child != NULL ? &child->base : NULL;
    uv.shares[attempt] = dusk_context_deadline(child ? uv.share : uv.ctx);
    uv.started[attempt] = uv_hrtime();
  }
  if (err == UNANSWERED) return 0;
  return err != 0 ? err : __real_uv_tcp_connect(req, tcp, addr, cb);
}

/* -- Listeners and calls -------------------------------------------------- */

typedef struct {
  int fd;
  char port[8];
} listener_t;

/* The kernel completes what comes, until the backlog is full. */
static void listen_on(listener_t *listener, const char *address, int backlog) {
  struct sockaddr_in addr;
  socklen_t len = sizeof(addr);
  assert_int_equal(uv_ip4_addr(address, 0, &addr), 0);
  listener->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_true(listener->fd >= 0);
  assert_int_equal(bind(listener->fd, (struct sockaddr *)&addr, len), 0);
  assert_int_equal(getsockname(listener->fd, (struct sockaddr *)&addr, &len),
                   0);
  snprintf(listener->port, sizeof(listener->port), "%d", ntohs(addr.sin_port));
  if (backlog >= 0) assert_int_equal(listen(listener->fd, backlog), 0);
}

typedef struct {
  uv_tcp_t tcp;
  int calls;
  int err;
  uv_loop_t *loop;
} caller_t;

static void on_called(uv_tcp_t *tcp, int err, void *arg) {
  caller_t *caller = arg;
  assert_ptr_equal(tcp, &caller->tcp);
  caller->calls++;
  caller->err = err;
  if (err == 0) assert_ptr_equal(tcp->loop, caller->loop);
}

static void call(dusk_context_t *ctx, caller_t *caller, dusk_context_t *root,
                 const char *host, const char *port) {
  caller->calls = 0;
  caller->err = 1;
  caller->loop = dusk_context_loop(root);
  memset(&caller->tcp, 0xa5, sizeof(caller->tcp));
  assert_int_equal(dusk_context_connect(ctx, root, &caller->tcp, host, port,
                                        on_called, caller),
                   0);
  assert_int_equal(caller->calls, 0);
}

static void assert_untouched(const caller_t *caller) {
  uv_tcp_t untouched;
  memset(&untouched, 0xa5, sizeof(untouched));
  assert_memory_equal(&caller->tcp, &untouched, sizeof(untouched));
}

static void assert_failed(const caller_t *caller, int err) {
  assert_int_equal(caller->calls, 1);
  assert_int_equal(caller->err, err);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf) {
  static char room[16];
  (void)handle;
  (void)size;
  *buf = uv_buf_init(room, sizeof(room));
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf) {
  assert_int_equal(count, 4);
  assert_memory_equal(buf->base, "pong", 4);
  uv_close((uv_handle_t *)stream, NULL);
}

/* The caller's handle carries bytes both ways and closes as any other. */
static void assert_connected(caller_t *caller, listener_t *listener) {
  char text[4] = "ping";
  uv_buf_t ping = uv_buf_init(text, 4);
  assert_failed(caller, 0);
  assert_memory_equal(&caller->tcp.data, "\xa5\xa5\xa5\xa5", 4);
  int peer = accept(listener->fd, NULL, NULL);
  assert_true(peer >= 0);
  assert_int_equal(uv_try_write((uv_stream_t *)&caller->tcp, &ping, 1), 4);
  assert_int_equal(recv(peer, text, 4, MSG_WAITALL), 4);
  assert_memory_equal(text, "ping", 4);
  assert_int_equal(
      uv_read_start((uv_stream_t *)&caller->tcp, on_alloc, on_read), 0);
  assert_int_equal(send(peer, "pong", 4, 0), 4);
  run(caller->loop);
  assert_int_equal(recv(peer, text, 4, 0), 0); /* no duplicate is left */
  close(peer);
}

static int open_fds(void) {
  int count = 0;
  for (int fd = 0; fd < 256; fd++)
    count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

static int fds_before;

static int open_test(void **state) {
  memset(&uv, 0, sizeof(uv));
  resolver_open();
  fds_before = open_fds();
  return fixture_open(state);
}

static int close_test(void **state) {
  fixture_close(state);
  assert_int_equal(open_fds(), fds_before);
  resolver_close();
  return 0;
}

/* What libuv opens once and keeps. */
static int open_all(void **state) {
  fixture_open(state);
  return fixture_close(state);
}

/* -- Connecting ----------------------------------------------------------- */

/* DUSK-061, DUSK-065 */
static void a_numeric_address_needs_no_pool(void **state) {
  fixture_t *f = *state;
  listener_t listener;
  caller_t caller;
  pool_t pool;
  listen_on(&listener, "127.0.0.1", 8);
  pool_hold(&pool);
  uv.root = f->root;
  call(f->root, &caller, f->root, "127.0.0.1", listener.port);
  assert_int_equal(dusk_context_detach(f->root, NULL, NULL), UV_EBUSY);
  assert_untouched(&caller);
  run(&f->loop);
  assert_connected(&caller, &listener);
  pool_let_go(&pool);
  assert_int_equal(resolver_calls(), 0);
  close(listener.fd);
}

static void a_numeric_ipv6_address_too(void **state) {
  fixture_t *f = *state;
  struct sockaddr_in6 addr;
  socklen_t len = sizeof(addr);
  listener_t listener = {.fd = socket(AF_INET6, SOCK_STREAM, 0)};
  caller_t caller;
  assert_int_equal(uv_ip6_addr("::1", 0, &addr), 0);
  if (listener.fd < 0 ||
      bind(listener.fd, (struct sockaddr *)&addr, len) != 0) {
    if (listener.fd >= 0) close(listener.fd);
    print_message("no IPv6 here\n");
    return;
  }
  assert_int_equal(listen(listener.fd, 8), 0);
  assert_int_equal(getsockname(listener.fd, (struct sockaddr *)&addr, &len), 0);
  snprintf(listener.port, sizeof(listener.port), "%d", ntohs(addr.sin6_port));
  call(f->root, &caller, f->root, "::1", listener.port);
  run(&f->loop);
  assert_connected(&caller, &listener);
  assert_int_equal(resolver_calls(), 0);
  close(listener.fd);
}

static void close_any(uv_handle_t *handle, void *arg) {
  (void)arg;
  if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

/* DUSK-069. In which the attempt's handle is closed as well; also when the
 * context ends just then. */
static void a_walk_may_close_the_attempt(void **state) {
  fixture_t *f = *state;
  listener_t listener;
  caller_t callers[2];
  dusk_context_t *ctx = with_cancel(f->root);
  listen_on(&listener, "127.0.0.1", 8);
  call(f->root, &callers[0], f->root, "127.0.0.1", listener.port);
  call(ctx, &callers[1], f->root, "127.0.0.1", listener.port);
  while (uv.connects < 2)
    uv_run(&f->loop, UV_RUN_NOWAIT);
  dusk_context_cancel(ctx, NULL);
  uv_walk(&f->loop, close_any, NULL);
  run(&f->loop);
  assert_failed(&callers[0], UV_ECANCELED);
  assert_failed(&callers[1], UV_ECANCELED);
  dusk_context_unref(ctx);
  close(listener.fd);
}

/* DUSK-061 */
static void a_name_is_resolved(void **state) {
  fixture_t *f = *state;
  listener_t listener;
  caller_t caller;
  listen_on(&listener, "127.0.0.1", 8);
  call(f->root, &caller, f->root, "localhost", listener.port);
  run(&f->loop);
  assert_connected(&caller, &listener);
  close(listener.fd);
}

/* DUSK-063 */
static void the_second_address_is_tried(void **state) {
  fixture_t *f = *state;
  const char *names[] = {"six.test", "two.test"};
  for (int i = 0; i < 2; i++) {
    listener_t listener;
    caller_t caller;
    uv.inits = uv.connects = 0;
    listen_on(&listener, "127.0.0.1", 8);
    call(f->root, &caller, f->root, names[i], listener.port);
    run(&f->loop);
    assert_int_equal(uv.connects, 2);
    assert_connected(&caller, &listener);
    close(listener.fd);
  }
}

static void refused_is_told(void **state) {
  fixture_t *f = *state;
  listener_t listener;
  caller_t caller;
  listen_on(&listener, "127.0.0.1", -1); /* bound, so nobody else's */
  call(f->root, &caller, f->root, "127.0.0.1", listener.port);
  run(&f->loop);
  assert_failed(&caller, UV_ECONNREFUSED);
  assert_untouched(&caller);
  close(listener.fd);
}

/* DUSK-061 */
static void the_first_addresss_error_is_told(void **state) {
  fixture_t *f = *state;
  caller_t caller;
  uv.connect_errs[0] = UV_EACCES;
  uv.connect_errs[1] = UV_ENETUNREACH;
  uv.connect_errs[2] = UV_EPERM;
  call(f->root, &caller, f->root, "three.test", "1");
  run(&f->loop);
  assert_failed(&caller, UV_EACCES);
  assert_int_equal(uv.connects, 3);
}

static void a_name_without_address_says_so(void **state) {
  fixture_t *f = *state;
  caller_t caller;
  call(f->root, &caller, f->root, "none.test", "80");
  run(&f->loop);
  assert_failed(&caller, UV_EAI_NONAME);
  assert_untouched(&caller);
}

/* -- Ending early --------------------------------------------------------- */

enum { MANY = 8 };

/* A listener whose backlog is full: nobody answers any more. */
typedef struct {
  listener_t listener;
  int fds[MANY];
} silent_t;

static void silent_open(silent_t *silent) {
  struct sockaddr_in addr;
  socklen_t len = sizeof(addr);
  listen_on(&silent->listener, "127.0.0.1", 0);
  assert_int_equal(
      getsockname(silent->listener.fd, (struct sockaddr *)&addr, &len), 0);
  for (int i = 0; i < MANY; i++) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_true(connect(fd, (struct sockaddr *)&addr, len) == 0 ||
                errno == EINPROGRESS);
    silent->fds[i] = fd;
  }
}

static void silent_close(silent_t *silent) {
  for (int i = 0; i < MANY; i++)
    close(silent->fds[i]);
  close(silent->listener.fd);
}

/* DUSK-062 */
static void the_deadline_ends_an_unanswered_one(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 20, NULL);
  silent_t silent;
  caller_t caller;
  silent_open(&silent);
  call(ctx, &caller, f->root, "127.0.0.1", silent.listener.port);
  dusk_context_unref(ctx); /* it is held */
  run(&f->loop);
  assert_failed(&caller, UV_ETIMEDOUT);
  assert_untouched(&caller);
  silent_close(&silent);
}

/* DUSK-062 */
static void a_cancel_ends_an_unanswered_one(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  silent_t silent;
  caller_t caller;
  silent_open(&silent);
  call(ctx, &caller, f->root, "two.test", silent.listener.port);
  while (uv.connects < 2) /* 127.0.0.2 refuses */
    uv_run(&f->loop, UV_RUN_ONCE);
  turn(&f->loop);
  assert_int_equal(caller.calls, 0);
  end(ctx);
  assert_int_equal(caller.calls, 0);
  run(&f->loop);
  assert_failed(&caller, UV_ECANCELED);
  assert_untouched(&caller);
  silent_close(&silent);
}

/* DUSK-064 */
static void under_an_ended_context_nothing_is_tried(void **state) {
  fixture_t *f = *state;
  const char *hosts[] = {"127.0.0.1", "two.test"};
  dusk_context_t *ctx = with_cancel(f->root);
  dusk_context_cancel(ctx, NULL);
  for (int i = 0; i < 2; i++) {
    caller_t caller;
    call(ctx, &caller, f->root, hosts[i], "1");
    run(&f->loop);
    assert_failed(&caller, UV_ECANCELED);
    assert_untouched(&caller);
  }
  assert_int_equal(uv.inits, 0);
  assert_int_equal(resolver_calls(), 0);
  dusk_context_unref(ctx);
}

static void a_cancel_before_the_first_attempt_ends_it(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  caller_t caller;
  call(ctx, &caller, f->root, "127.0.0.1", "1");
  end(ctx);
  run(&f->loop);
  assert_failed(&caller, UV_ECANCELED);
  assert_int_equal(uv.inits, 0);
}

static void a_cancel_ends_the_look_up(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  size_t live = alloc_live();
  caller_t caller;
  call(ctx, &caller, f->root, "slow.test", "1");
  resolver_wait_slow();
  dusk_context_cancel(ctx, NULL);
  run_until(&f->loop, &caller.calls);
  assert_failed(&caller, UV_ECANCELED);
  assert_int_equal(dusk_context_detach(f->root, NULL, NULL), UV_EBUSY);
  resolver_let_go();
  run(&f->loop);
  assert_int_equal(alloc_live(), live);
  dusk_context_unref(ctx);
}

/* DUSK-066. Its root is detached: so is the loop gone that served it. */
static void a_deadline_of_another_tree_ends_it(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other;
  size_t live = alloc_live();
  assert_int_equal(dusk_context_attach(&f->loop, &other), 0);
  dusk_context_t *ctx = with_timeout(other, 20, NULL);
  caller_t caller;
  uv.connect_errs[0] = UNANSWERED;
  call(ctx, &caller, f->root, "127.0.0.1", "1");
  dusk_context_unref(ctx); /* it is held */
  assert_int_equal(dusk_context_detach(other, NULL, NULL), 0);
  run_until(&f->loop, &caller.calls);
  assert_failed(&caller, UV_ETIMEDOUT);
  assert_untouched(&caller);
  run(&f->loop);
  assert_int_equal(alloc_live(), live);
}

static void on_detach(uv_tcp_t *tcp, int err, void *arg) {
  (void)tcp;
  assert_int_equal(err, UV_EACCES);
  assert_int_equal(dusk_context_detach(arg, NULL, NULL), 0);
}

static void in_its_callback_the_root_can_be_detached(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other;
  uv_tcp_t tcp;
  uv.connect_errs[0] = UV_EACCES;
  assert_int_equal(dusk_context_attach(&f->loop, &other), 0);
  assert_int_equal(dusk_context_connect(other, other, &tcp, "127.0.0.1", "1",
                                        on_detach, other),
                   0);
  run(&f->loop);
}

/* -- Shares of the time --------------------------------------------------- */

/* What the n-th address got, in milliseconds, about. */
static uint64_t share_ms(int n) {
  return (uv.shares[n] - uv.started[n] + MS) / MS;
}

static void assert_share(int n, uint64_t ms) {
  assert_in_range(share_ms(n), ms - 500, ms + 1);
}

/* DUSK-063 */
static void each_address_gets_its_share(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, LONG_MS, NULL);
  caller_t caller;
  uv.ctx = ctx;
  uv.connect_errs[0] = uv.connect_errs[1] = uv.connect_errs[2] = UNANSWERED;
  call(ctx, &caller, f->root, "three.test", "1");
  for (int n = 0; n < 3; n++) {
    while (uv.connects <= n)
      uv_run(&f->loop, UV_RUN_ONCE);
    assert_share(n, LONG_MS / (3 - (unsigned)n));
    if (n == 2) break;
    assert_int_equal(dusk_context_bring_forward(uv.share, uv_hrtime()), 0);
  }
  assert_null(uv.share); /* the last one gets all that is left */
  assert_int_equal(caller.calls, 0);
  end(ctx);
  run(&f->loop);
  assert_failed(&caller, UV_ECANCELED);
}

static void an_address_that_uses_its_share_up_timed_out(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, LONG_MS, NULL);
  caller_t caller;
  uv.ctx = ctx;
  uv.connect_errs[0] = UNANSWERED;
  uv.connect_errs[1] = UV_EACCES;
  call(ctx, &caller, f->root, "two.test", "1");
  while (uv.connects < 1)
    uv_run(&f->loop, UV_RUN_ONCE);
  assert_int_equal(dusk_context_bring_forward(uv.share, uv_hrtime()), 0);
  run(&f->loop);
  assert_failed(&caller, UV_ETIMEDOUT);
  assert_int_equal(uv.connects, 2);
  assert_live(ctx);
  end(ctx);
}

/* DUSK-066. The loop of the context's tree doesn't turn. The two seconds that
 * an address gets at least are the first one's share. */
static void shares_in_another_tree_pass_here(void **state) {
  fixture_t *f = *state, still;
  still_open(&still);
  dusk_context_t *ctx = with_timeout(still.root, 2050, NULL);
  caller_t caller;
  uv.connect_errs[0] = uv.connect_errs[1] = UNANSWERED;
  uint64_t begun = uv_hrtime();
  call(ctx, &caller, f->root, "two.test", "1");
  run_until(&f->loop, &caller.calls);
  assert_failed(&caller, UV_ETIMEDOUT);
  assert_int_equal(uv.connects, 2);
  assert_true(uv_hrtime() - begun >= 2049 * MS);
  dusk_context_unref(ctx);
  still_close(&still);
}

static void first_share_is(fixture_t *f, uint64_t timeout_ms, uint64_t ms) {
  dusk_context_t *ctx = with_timeout(f->root, timeout_ms, NULL);
  caller_t caller;
  uv.inits = uv.connects = 0;
  uv.ctx = ctx;
  uv.connect_errs[0] = UNANSWERED;
  call(ctx, &caller, f->root, "three.test", "1");
  while (uv.connects < 1)
    uv_run(&f->loop, UV_RUN_ONCE);
  assert_share(0, ms);
  end(ctx);
  run(&f->loop);
  assert_failed(&caller, UV_ECANCELED);
}

static void a_share_is_two_seconds_if_so_much_is_left(void **state) {
  first_share_is(*state, 9000, 3000);
  first_share_is(*state, 3000, 2000);
  first_share_is(*state, 1500, 1500);
}

/* -- Failure -------------------------------------------------------------- */

static void a_failed_start_leaves_nothing(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root), *root = f->root;
  size_t live = alloc_live();
  uv_tcp_t tcp;
  dusk_connect_cb cb = on_called;
  assert_int_equal(
      dusk_context_connect(NULL, root, &tcp, "127.0.0.1", "1", cb, NULL),
      UV_EINVAL);
  assert_int_equal(
      dusk_context_connect(ctx, NULL, &tcp, "127.0.0.1", "1", cb, NULL),
      UV_EINVAL);
  assert_int_equal(
      dusk_context_connect(ctx, root, NULL, "127.0.0.1", "1", cb, NULL),
      UV_EINVAL);
  assert_int_equal(dusk_context_connect(ctx, root, &tcp, NULL, "1", cb, NULL),
                   UV_EINVAL);
  assert_int_equal(dusk_context_connect(ctx, root, &tcp, "a", NULL, cb, NULL),
                   UV_EINVAL);
  assert_int_equal(dusk_context_connect(ctx, root, &tcp, "a", "1", NULL, NULL),
                   UV_EINVAL);
  assert_int_equal(
      dusk_context_connect(ctx, root, &tcp, "127.0.0.1", "65536", cb, NULL),
      UV_EINVAL);
  assert_int_equal(dusk_context_connect(ctx, root, &tcp, "two.test",
                                        "99999999999999999999999999999999", cb,
                                        NULL),
                   UV_EINVAL);
  run(&f->loop);
  assert_int_equal(ctx->refs, 1);
  assert_int_equal(alloc_live(), live);
  end(ctx);
}

/* One call of which the n-th allocation fails; false when there was no n-th. */
static bool fail_nth(fixture_t *f, const char *host, listener_t *listener,
                     size_t n) {
  dusk_context_t *ctx = with_timeout(f->root, LONG_MS, NULL);
  size_t live = alloc_live();
  caller_t caller = {.loop = &f->loop};
  memset(&caller.tcp, 0xa5, sizeof(caller.tcp));
  uv.inits = uv.connects = 0;
  alloc_fail_at(n);
  int err = dusk_context_connect(ctx, f->root, &caller.tcp, host,
                                 listener->port, on_called, &caller);
  run(&f->loop);
  bool failed = alloc_has_failed();
  alloc_fail_at(0);
  assert_true(err == 0 || err == UV_ENOMEM);
  assert_int_equal(caller.calls, err == 0);
  /* The resolver's, or a share's: then the next address connects. */
  if (err == 0 && caller.err != UV_EAI_MEMORY)
    assert_connected(&caller, listener);
  assert_int_equal(alloc_live(), live);
  end(ctx);
  return failed;
}

/* DUSK-038 */
static void each_allocation_may_fail(void **state) {
  listener_t listener;
  size_t n = 1;
  listen_on(&listener, "127.0.0.1", 8);
  while (fail_nth(*state, "127.0.0.1", &listener, n))
    n++;
  assert_int_equal(n - 1, 1);
  n = 1;
  while (fail_nth(*state, "two.test", &listener, n))
    n++;
  assert_int_equal(n - 1, 5); /* itself, a look-up, two results, a share */
  close(listener.fd);
}

/* DUSK-038 */
static void a_failed_start_in_another_tree_leaves_nothing(void **state) {
  fixture_t *f = *state, still;
  still_open(&still);
  size_t live = alloc_live();
  caller_t caller = {.calls = 0};
  for (size_t n = 1; n <= 3; n++) { /* itself, a bridge, a look-up */
    alloc_fail_at(n);
    assert_int_equal(dusk_context_connect(still.root, f->root, &caller.tcp,
                                          "two.test", "1", on_called, &caller),
                     UV_ENOMEM);
    assert_int_equal(alloc_live(), live);
  }
  alloc_fail_at(0);
  run(&f->loop);
  assert_int_equal(caller.calls, 0);
  still_close(&still);
}

static void each_of_libuvs_calls_may_fail(void **state) {
  fixture_t *f = *state;
  listener_t listener;
  listen_on(&listener, "127.0.0.1", 8);
  for (int i = 0; i < 5; i++) {
    size_t live = alloc_live();
    caller_t caller;
    memset(&uv, 0, sizeof(uv));
    if (i == 0) uv.init_errs[0] = UV_EMFILE;
    if (i == 1) uv.connect_errs[0] = UV_EMFILE;
    if (i == 2) uv.fileno_err = UV_EMFILE;
    if (i == 3) uv.init_errs[1] = UV_EMFILE; /* the caller's */
    if (i == 4) uv.open_err = UV_EMFILE;
    call(f->root, &caller, f->root, "127.0.0.1", listener.port);
    run(&f->loop);
    assert_failed(&caller, UV_EMFILE);
    assert_int_equal(alloc_live(), live);
  }
  close(listener.fd);
}

static void no_descriptor_for_the_duplicate(void **state) {
  fixture_t *f = *state;
  listener_t listener;
  caller_t caller;
  struct rlimit limit, tight;
  listen_on(&listener, "127.0.0.1", 8);
  call(f->root, &caller, f->root, "127.0.0.1", listener.port);
  int lowest = dup(0);
  close(lowest);
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
  tight = limit;
  tight.rlim_cur = (rlim_t)lowest + 1; /* for the attempt alone */
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
  run(&f->loop);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
  assert_failed(&caller, UV_EMFILE);
  assert_int_equal(uv.connects, 1);
  close(listener.fd);
}

static void a_failed_first_address_leaves_the_second(void **state) {
  fixture_t *f = *state;
  listener_t listener;
  caller_t caller;
  listen_on(&listener, "127.0.0.1", 8);
  uv.init_errs[0] = UV_ENOMEM;
  call(f->root, &caller, f->root, "two.test", listener.port);
  run(&f->loop);
  assert_connected(&caller, &listener);
  close(listener.fd);
}

#define connect_test(f)                                                        \
  cmocka_unit_test_setup_teardown(f, open_test, close_test)

int main(void) {
  const struct CMUnitTest tests[] = {
      connect_test(a_numeric_address_needs_no_pool),
      connect_test(a_numeric_ipv6_address_too),
      connect_test(a_walk_may_close_the_attempt),
      connect_test(a_name_is_resolved),
      connect_test(the_second_address_is_tried),
      connect_test(refused_is_told),
      connect_test(the_first_addresss_error_is_told),
      connect_test(a_name_without_address_says_so),
      connect_test(the_deadline_ends_an_unanswered_one),
      connect_test(a_cancel_ends_an_unanswered_one),
      connect_test(under_an_ended_context_nothing_is_tried),
      connect_test(a_cancel_before_the_first_attempt_ends_it),
      connect_test(a_cancel_ends_the_look_up),
      connect_test(a_deadline_of_another_tree_ends_it),
      connect_test(in_its_callback_the_root_can_be_detached),
      connect_test(each_address_gets_its_share),
      connect_test(an_address_that_uses_its_share_up_timed_out),
      connect_test(shares_in_another_tree_pass_here),
      connect_test(a_share_is_two_seconds_if_so_much_is_left),
      connect_test(a_failed_start_leaves_nothing),
      connect_test(each_allocation_may_fail),
      connect_test(a_failed_start_in_another_tree_leaves_nothing),
      connect_test(each_of_libuvs_calls_may_fail),
      connect_test(no_descriptor_for_the_duplicate),
      connect_test(a_failed_first_address_leaves_the_second),
  };
  pool_size();
  return cmocka_run_group_tests(tests, open_all, NULL);
}
