/* Connect to a Unix socket under a context. */
#include "fixture.h"
#include "alloc.h"
#include "streams.h"
#include "tree.h"

#include <dusk/calls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* -- libuv's calls, which can be made to fail ----------------------------- */

int __real_uv_pipe_init(uv_loop_t *loop, uv_pipe_t *pipe, int ipc);
int __wrap_uv_pipe_init(uv_loop_t *loop, uv_pipe_t *pipe, int ipc);
int __real_uv_pipe_open(uv_pipe_t *pipe, uv_file fd);
int __wrap_uv_pipe_open(uv_pipe_t *pipe, uv_file fd);
void __real_uv_pipe_connect(uv_connect_t *req, uv_pipe_t *pipe,
                            const char *path, uv_connect_cb cb);
void __wrap_uv_pipe_connect(uv_connect_t *req, uv_pipe_t *pipe,
                            const char *path, uv_connect_cb cb);

static struct {
  int init_errs[2];
  int open_err;
  bool is_unanswered; /* as if the peer was silent */
  int inits;
  int connects;
} uv;

int __wrap_uv_pipe_init(uv_loop_t *loop, uv_pipe_t *pipe, int ipc) {
  int err = uv.inits < 2 ? uv.init_errs[uv.inits] : 0;
  uv.inits++;
  return err != 0 ? err : __real_uv_pipe_init(loop, pipe, ipc);
}

int __wrap_uv_pipe_open(uv_pipe_t *pipe, uv_file fd) {
  return uv.open_err != 0 ? uv.open_err : __real_uv_pipe_open(pipe, fd);
}

void __wrap_uv_pipe_connect(uv_connect_t *req, uv_pipe_t *pipe,
                            const char *path, uv_connect_cb cb) {
  uv.connects++;
  if (!uv.is_unanswered) __real_uv_pipe_connect(req, pipe, path, cb);
}

/* -- Listeners and calls -------------------------------------------------- */

enum { PATH_LIMIT = sizeof(((struct sockaddr_un *)0)->sun_path) };

static char folder[] = "/tmp/dusk-pipe-XXXXXX";

typedef struct {
  int fd;
  char path[PATH_LIMIT];
} listener_t;

/* `backlog` -1: bound, and nobody listens. */
static void listen_on(listener_t *listener, int type, int backlog) {
  struct sockaddr_un addr = {.sun_family = AF_UNIX};
  snprintf(listener->path, sizeof(listener->path), "%s/socket", folder);
  snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", listener->path);
  listener->fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
  assert_true(listener->fd >= 0);
  assert_int_equal(bind(listener->fd, (struct sockaddr *)&addr, sizeof(addr)),
                   0);
  if (backlog >= 0) assert_int_equal(listen(listener->fd, backlog), 0);
}

static void hang_up(listener_t *listener) {
  close(listener->fd);
  assert_int_equal(unlink(listener->path), 0);
}

typedef struct {
  uv_pipe_t pipe;
  int calls;
  int err;
} caller_t;

static void on_called(uv_pipe_t *pipe, int err, void *arg) {
  caller_t *caller = arg;
  assert_ptr_equal(pipe, &caller->pipe);
  caller->calls++;
  caller->err = err;
}

static void call(dusk_context_t *ctx, caller_t *caller, dusk_context_t *root,
                 const char *path) {
  caller->calls = 0;
  caller->err = 1;
  memset(&caller->pipe, 0xa5, sizeof(caller->pipe));
  assert_int_equal(dusk_context_connect_pipe(ctx, root, &caller->pipe, path,
                                             on_called, caller),
                   0);
  assert_int_equal(caller->calls, 0);
}

static void assert_untouched(const caller_t *caller) {
  uv_pipe_t untouched;
  memset(&untouched, 0xa5, sizeof(untouched));
  assert_memory_equal(&caller->pipe, &untouched, sizeof(untouched));
}

static void assert_failed(const caller_t *caller, int err) {
  assert_int_equal(caller->calls, 1);
  assert_int_equal(caller->err, err);
}

static void assert_connected(caller_t *caller, listener_t *listener) {
  char text[5] = "ping";
  uv_buf_t ping = uv_buf_init(text, 4);
  assert_failed(caller, 0);
  assert_memory_equal(&caller->pipe.data, "\xa5\xa5\xa5\xa5", 4);
  int peer = accept(listener->fd, NULL, NULL);
  assert_true(peer >= 0);
  assert_int_equal(uv_try_write((uv_stream_t *)&caller->pipe, &ping, 1), 4);
  assert_int_equal(recv(peer, text, 4, MSG_WAITALL), 4);
  assert_string_equal(text, "ping");
  uv_loop_t *loop = caller->pipe.loop;
  uv_close((uv_handle_t *)&caller->pipe, NULL);
  run(loop);
  assert_int_equal(recv(peer, text, 4, 0), 0); /* no duplicate is left */
  close(peer);
}

static int open_test(void **state) {
  memset(&uv, 0, sizeof(uv));
  return lines_open(state);
}

/* -- Connecting ----------------------------------------------------------- */

/* DUSK-081, DUSK-065 */
static void a_listener_is_connected_to(void **state) {
  fixture_t *f = *state;
  listener_t listener;
  caller_t caller;
  listen_on(&listener, SOCK_STREAM, 8);
  call(f->root, &caller, f->root, listener.path);
  assert_int_equal(dusk_context_detach(f->root, NULL, NULL), UV_EBUSY);
  assert_untouched(&caller);
  run(&f->loop);
  assert_connected(&caller, &listener);
  hang_up(&listener);
}

/* DUSK-081 */
static void why_nobody_answers_is_told(void **state) {
  fixture_t *f = *state;
  listener_t listener;
  caller_t caller;
  char missing[PATH_LIMIT];
  snprintf(missing, sizeof(missing), "%s/missing", folder);
  call(f->root, &caller, f->root, missing);
  run(&f->loop);
  assert_failed(&caller, UV_ENOENT);
  call(f->root, &caller, f->root, folder);
  run(&f->loop);
  assert_failed(&caller, UV_ECONNREFUSED);
  listen_on(&listener, SOCK_STREAM, -1);
  call(f->root, &caller, f->root, listener.path);
  run(&f->loop);
  assert_failed(&caller, UV_ECONNREFUSED);
  hang_up(&listener);
  listen_on(&listener, SOCK_DGRAM, -1);
  call(f->root, &caller, f->root, listener.path);
  run(&f->loop);
  assert_failed(&caller, UV_EPROTOTYPE);
  assert_untouched(&caller);
  hang_up(&listener);
}

static void a_full_backlog_is_told(void **state) {
  fixture_t *f = *state;
  listener_t listener;
  caller_t callers[3];
  listen_on(&listener, SOCK_STREAM, 0);
  for (int i = 0; i < 3; i++) {
    call(f->root, &callers[i], f->root, listener.path);
    run(&f->loop);
  }
  assert_failed(&callers[0], 0);
  assert_failed(&callers[2], UV_EAGAIN);
  for (int i = 0; i < 3; i++)
    if (callers[i].err == 0) uv_close((uv_handle_t *)&callers[i].pipe, NULL);
  run(&f->loop);
  hang_up(&listener);
}

/* DUSK-081. A path that was cut off would name another socket. */
static void long_and_abstract_names_are_refused(void **state) {
  fixture_t *f = *state;
  char path[PATH_LIMIT + 2];
  caller_t caller = {.calls = 0};
  memset(path, 'x', sizeof(path));
  for (int len = PATH_LIMIT - 1; len <= PATH_LIMIT + 1; len++) {
    path[len] = '\0';
    int err = dusk_context_connect_pipe(f->root, f->root, &caller.pipe, path,
                                        on_called, &caller);
    assert_int_equal(err, len < PATH_LIMIT ? 0 : UV_ENAMETOOLONG);
    path[len] = 'x';
  }
  run(&f->loop);
  assert_failed(&caller, UV_ENOENT); /* the longest one that fits */
  assert_int_equal(dusk_context_connect_pipe(f->root, f->root, &caller.pipe, "",
                                             on_called, &caller),
                   UV_EINVAL);
  assert_int_equal(dusk_context_connect_pipe(f->root, f->root, &caller.pipe,
                                             "\0abstract", on_called, &caller),
                   UV_EINVAL);
  assert_int_equal(dusk_context_connect_pipe(f->root, f->root, &caller.pipe,
                                             "@abstract", on_called, &caller),
                   UV_ENOTSUP);
  run(&f->loop);
  assert_int_equal(caller.calls, 1);
}

/* -- Ending early --------------------------------------------------------- */

/* DUSK-062 */
static void the_contexts_end_ends_an_unanswered_one(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 5, NULL);
  caller_t caller;
  uv.is_unanswered = true;
  call(ctx, &caller, f->root, "anywhere");
  dusk_context_unref(ctx); /* it is held */
  run(&f->loop);
  assert_failed(&caller, UV_ETIMEDOUT);
  assert_untouched(&caller);
  assert_int_equal(uv.connects, 1);
}

/* DUSK-064 */
static void under_an_ended_context_nothing_is_tried(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  caller_t caller;
  dusk_context_cancel(ctx, NULL);
  call(ctx, &caller, f->root, "anywhere");
  run(&f->loop);
  assert_failed(&caller, UV_ECANCELED);
  assert_int_equal(uv.inits, 0);
  dusk_context_unref(ctx);
}

/* DUSK-066 */
static void a_context_of_another_tree_ends_it(void **state) {
  fixture_t *f = *state, still;
  still_open(&still);
  dusk_context_t *ctx = with_timeout(still.root, 5, NULL);
  caller_t caller;
  uv.is_unanswered = true;
  call(ctx, &caller, f->root, "anywhere");
  run_until(&f->loop, &caller.calls);
  assert_failed(&caller, UV_ETIMEDOUT);
  dusk_context_unref(ctx);
  still_close(&still);
}

static void close_any(uv_handle_t *handle, void *arg) {
  (void)arg;
  if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

/* DUSK-069 */
static void a_walk_may_close_the_attempt(void **state) {
  fixture_t *f = *state;
  listener_t listener;
  caller_t caller;
  listen_on(&listener, SOCK_STREAM, 8);
  call(f->root, &caller, f->root, listener.path);
  while (uv.connects < 1)
    uv_run(&f->loop, UV_RUN_NOWAIT);
  assert_int_equal(caller.calls, 0);
  uv_walk(&f->loop, close_any, NULL);
  run(&f->loop);
  assert_failed(&caller, UV_ECANCELED);
  hang_up(&listener);
}

/* -- Failure -------------------------------------------------------------- */

static void a_failed_start_leaves_nothing(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root), *root = f->root;
  size_t live = alloc_live();
  uv_pipe_t pipe;
  dusk_connect_pipe_cb cb = on_called;
  assert_int_equal(dusk_context_connect_pipe(NULL, root, &pipe, "x", cb, NULL),
                   UV_EINVAL);
  assert_int_equal(dusk_context_connect_pipe(ctx, NULL, &pipe, "x", cb, NULL),
                   UV_EINVAL);
  assert_int_equal(dusk_context_connect_pipe(ctx, root, NULL, "x", cb, NULL),
                   UV_EINVAL);
  assert_int_equal(dusk_context_connect_pipe(ctx, root, &pipe, NULL, cb, NULL),
                   UV_EINVAL);
  assert_int_equal(dusk_context_connect_pipe(ctx, root, &pipe, "x", NULL, NULL),
                   UV_EINVAL);
  run(&f->loop);
  assert_int_equal(ctx->refs, 1);
  assert_int_equal(alloc_live(), live);
  end(ctx);
}

/* DUSK-038. Itself, and a bridge. */
static void each_allocation_may_fail(void **state) {
  fixture_t *f = *state, still;
  still_open(&still);
  size_t live = alloc_live();
  caller_t caller = {.calls = 0};
  for (size_t n = 1; n <= 2; n++) {
    alloc_fail_at(n);
    assert_int_equal(dusk_context_connect_pipe(still.root, f->root,
                                               &caller.pipe, "x", on_called,
                                               &caller),
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
  listen_on(&listener, SOCK_STREAM, 8);
  for (int i = 0; i < 3; i++) {
    size_t live = alloc_live();
    caller_t caller;
    memset(&uv, 0, sizeof(uv));
    if (i < 2) uv.init_errs[i] = UV_EMFILE; /* the attempt's, the caller's */
    if (i == 2) uv.open_err = UV_EMFILE;
    call(f->root, &caller, f->root, listener.path);
    run(&f->loop);
    assert_failed(&caller, UV_EMFILE);
    assert_int_equal(alloc_live(), live);
  }
  hang_up(&listener);
}

#define pipe_test(f) cmocka_unit_test_setup_teardown(f, open_test, lines_close)

static int open_all(void **state) {
  assert_non_null(mkdtemp(folder));
  return lines_open_once(state);
}

static int close_all(void **state) {
  (void)state;
  return rmdir(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      pipe_test(a_listener_is_connected_to),
      pipe_test(why_nobody_answers_is_told),
      pipe_test(a_full_backlog_is_told),
      pipe_test(long_and_abstract_names_are_refused),
      pipe_test(the_contexts_end_ends_an_unanswered_one),
      pipe_test(under_an_ended_context_nothing_is_tried),
      pipe_test(a_context_of_another_tree_ends_it),
      pipe_test(a_walk_may_close_the_attempt),
      pipe_test(a_failed_start_leaves_nothing),
      pipe_test(each_allocation_may_fail),
      pipe_test(each_of_libuvs_calls_may_fail),
  };
  return cmocka_run_group_tests(tests, open_all, close_all);
}
