/* Child processes under a context. */
#include "fixture.h"
#include "alloc.h"
#include "streams.h"
#include "tree.h"

#include <dusk/calls.h>
#include <dusk/signal.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* -- libuv's calls, which can be made to fail ----------------------------- */

int __real_uv_spawn(uv_loop_t *loop, uv_process_t *process,
                    const uv_process_options_t *options);
int __wrap_uv_spawn(uv_loop_t *loop, uv_process_t *process,
                    const uv_process_options_t *options);
int __real_uv_process_kill(uv_process_t *process, int signum);
int __wrap_uv_process_kill(uv_process_t *process, int signum);

static struct {
  int spawns;
  int kill_err;
  int kills[8];
  int killed;
} uv;

int __wrap_uv_spawn(uv_loop_t *loop, uv_process_t *process,
                    const uv_process_options_t *options) {
  uv.spawns++;
  return __real_uv_spawn(loop, process, options);
}

int __wrap_uv_process_kill(uv_process_t *process, int signum) {
  uv.kills[uv.killed++] = signum;
  return uv.kill_err != 0 ? uv.kill_err
                          : __real_uv_process_kill(process, signum);
}

/* -- Children ------------------------------------------------------------- */

/* A shell that runs `script`; what it says can be read from `out`. */
typedef struct {
  dusk_spawn_t spawn;
  int out;
  int calls;
  int err;
  int64_t exit_status;
  int term_signal;
} child_t;

static void on_ended(dusk_spawn_t *spawn, int err, int64_t exit_status,
                     int term_signal) {
  child_t *child = dusk__container_of(spawn, child_t, spawn);
  assert_int_equal(spawn->pid, 0);
  child->calls++;
  child->err = err;
  child->exit_status = exit_status;
  child->term_signal = term_signal;
}

typedef struct {
  const char *script;
  int stop_signal;
  uint64_t grace_ms;
} kind_t;

static void begin(dusk_context_t *ctx, child_t *child, dusk_context_t *root,
                  kind_t kind) {
  char shell[] = "sh", option[] = "-c";
  char *args[] = {shell, option, (char *)kind.script, NULL};
  int fds[2];
  assert_int_equal(pipe(fds), 0);
  uv_stdio_container_t stdio[] = {{.flags = UV_IGNORE},
                                  {.flags = UV_INHERIT_FD, .data.fd = fds[1]}};
  const uv_process_options_t options = {
      .file = "/bin/sh", .args = args, .stdio = stdio, .stdio_count = 2};
  memset(child, 0xa5, sizeof(*child));
  child->calls = 0;
  child->err = 1;
  child->out = fds[0];
  assert_int_equal(dusk_context_spawn(ctx, &child->spawn, root, &options,
                                      kind.stop_signal, kind.grace_ms,
                                      on_ended),
                   0);
  assert_int_equal(child->calls, 0);
  close(fds[1]);
}

/* The shell has got so far as to say so. */
static void await_ready(child_t *child) {
  char ready[6];
  assert_int_equal(read(child->out, ready, 6), 6);
  assert_memory_equal(ready, "ready\n", 6);
}

static void assert_ended_so(child_t *child, int err, int exit_status,
                            int term_signal) {
  assert_int_equal(child->calls, 1);
  assert_int_equal(child->err, err);
  assert_int_equal(child->exit_status, exit_status);
  assert_int_equal(child->term_signal, term_signal);
  close(child->out);
}

static int open_test(void **state) {
  memset(&uv, 0, sizeof(uv));
  return lines_open(state);
}

static int close_test(void **state) {
  assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* each has been reaped */
  return lines_close(state);
}

#define STUBBORN "trap '' TERM; echo ready; exec sleep 60"

enum { LONG_MS = 60000 };

/* DUSK-082, DUSK-065, DUSK-070 */
static void the_exit_status_is_told(void **state) {
  fixture_t *f = *state;
  size_t live = alloc_live();
  dusk_context_t *ctx = with_cancel(f->root);
  child_t child;
  begin(ctx, &child, f->root, (kind_t){"exit 7", 0, LONG_MS});
  assert_true(child.spawn.pid > 0);
  assert_memory_equal(&child.spawn.data, "\xa5\xa5\xa5\xa5", 4);
  assert_int_equal(dusk_context_detach(f->root, NULL, NULL), UV_EBUSY);
  run(&f->loop); /* it keeps the loop going */
  assert_ended_so(&child, 0, 7, 0);
  assert_int_equal(uv.killed, 0);
  assert_int_equal(entries(ctx), 0);
  end(ctx);
  assert_int_equal(alloc_live(), live);
}

/* DUSK-082 */
static void a_signal_of_somebodys_is_told(void **state) {
  fixture_t *f = *state;
  child_t child;
  begin(f->root, &child, f->root, (kind_t){"kill -USR1 $$", 0, LONG_MS});
  run(&f->loop);
  assert_ended_so(&child, 0, 0, SIGUSR1);
}

/* DUSK-083 */
static void the_contexts_end_terminates_the_child(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  child_t child;
  begin(ctx, &child, f->root, (kind_t){"exec sleep 60", 0, LONG_MS});
  turn(&f->loop);
  assert_int_equal(child.calls, 0);
  end(ctx); /* it is held */
  assert_int_equal(child.calls, 0);
  run(&f->loop);
  assert_ended_so(&child, UV_ECANCELED, 0, SIGTERM);
  assert_int_equal(uv.killed, 1);
}

/* DUSK-083 */
static void a_deadline_sends_the_signal_of_choice(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 5, NULL);
  child_t child;
  begin(ctx, &child, f->root, (kind_t){"exec sleep 60", SIGUSR2, DUSK_OFF});
  run(&f->loop);
  assert_ended_so(&child, UV_ETIMEDOUT, 0, SIGUSR2);
  dusk_context_unref(ctx);
}

/* DUSK-083 */
static void a_child_that_ends_well_then_was_ended_too(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  child_t child;
  begin(ctx, &child, f->root,
        (kind_t){"trap 'kill $!; exit 3' TERM; sleep 60 & echo ready; wait", 0,
                 LONG_MS});
  await_ready(&child);
  end(ctx);
  run(&f->loop);
  assert_ended_so(&child, UV_ECANCELED, 3, 0);
}

/* DUSK-083 */
static void one_that_does_not_is_killed_after_the_grace(void **state) {
  fixture_t *f = *state;
  size_t live = alloc_live();
  dusk_context_t *ctx = with_cancel(f->root);
  child_t child;
  begin(ctx, &child, f->root, (kind_t){STUBBORN, 0, 20});
  await_ready(&child);
  uint64_t before = uv_hrtime();
  end(ctx);
  run(&f->loop);
  assert_true(uv_hrtime() - before >= 20 * MS);
  assert_ended_so(&child, UV_ECANCELED, 0, SIGKILL);
  assert_int_equal(uv.kills[0], SIGTERM);
  assert_int_equal(uv.kills[1], SIGKILL);
  assert_int_equal(alloc_live(), live);
}

static void without_grace_it_is_killed_at_once(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  child_t child;
  begin(ctx, &child, f->root, (kind_t){STUBBORN, 0, 0});
  await_ready(&child);
  end(ctx);
  run(&f->loop);
  assert_ended_so(&child, UV_ECANCELED, 0, SIGKILL);
}

/* The longest one, too, that can't be added to the time. */
static void with_endless_grace_it_is_waited_for(void **state) {
  fixture_t *f = *state;
  const uint64_t graces[] = {DUSK_OFF, DUSK_OFF / MS};
  for (int i = 0; i < 2; i++) {
    dusk_context_t *ctx = with_cancel(f->root);
    child_t child;
    uv.killed = 0;
    begin(ctx, &child, f->root, (kind_t){STUBBORN, 0, graces[i]});
    await_ready(&child);
    end(ctx);
    turn(&f->loop);
    assert_int_equal(child.calls, 0);
    assert_int_equal(kill(child.spawn.pid, SIGKILL), 0);
    run(&f->loop);
    assert_ended_so(&child, UV_ECANCELED, 0, SIGKILL);
    assert_int_equal(uv.killed, 1);
  }
}

/* DUSK-083 */
static void one_that_cannot_be_signalled_is_waited_for(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  child_t child;
  uv.kill_err = UV_EPERM;
  begin(ctx, &child, f->root,
        (kind_t){"trap 'exit 2' TERM; echo ready; while :; do :; done", 0, 0});
  await_ready(&child);
  end(ctx);
  while (uv.killed < 2)
    uv_run(&f->loop, UV_RUN_ONCE);
  assert_int_equal(child.calls, 0);
  assert_int_equal(kill(child.spawn.pid, SIGTERM), 0);
  run(&f->loop);
  assert_ended_so(&child, 0, 2, 0);
}

/* DUSK-064 */
static void under_an_ended_context_nothing_is_started(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  child_t child;
  dusk_context_cancel(ctx, NULL);
  begin(ctx, &child, f->root, (kind_t){"exit 1", 0, 0});
  assert_int_equal(child.spawn.pid, 0);
  run(&f->loop);
  assert_ended_so(&child, UV_ECANCELED, 0, 0);
  assert_int_equal(uv.spawns, 0);
  dusk_context_unref(ctx);
}

/* DUSK-066 */
static void a_context_of_another_tree_ends_it(void **state) {
  fixture_t *f = *state, still;
  still_open(&still);
  dusk_context_t *ctx = with_timeout(still.root, 5, NULL);
  child_t child;
  begin(ctx, &child, f->root, (kind_t){STUBBORN, 0, 5});
  await_ready(&child);
  run_until(&f->loop, &child.calls);
  run(&f->loop);
  assert_ended_so(&child, UV_ETIMEDOUT, 0, SIGKILL);
  dusk_context_unref(ctx);
  still_close(&still);
}

static void many_end_at_once(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  child_t children[8];
  for (int i = 0; i < 8; i++)
    begin(ctx, &children[i], f->root, (kind_t){"exec sleep 60", 0, LONG_MS});
  end(ctx);
  run(&f->loop);
  assert_int_equal(uv.killed, 8);
  for (int i = 0; i < 8; i++)
    assert_ended_so(&children[i], UV_ECANCELED, 0, SIGTERM);
}

typedef struct {
  dusk_spawn_t spawn;
  dusk_read_t read;
  uv_pipe_t out;
  dusk_context_t *root;
  char text[16];
  size_t len;
  int left;
} filter_t;

static void over(filter_t *filter) {
  if (--filter->left > 0) return;
  uv_close((uv_handle_t *)&filter->out, NULL);
  assert_int_equal(dusk_context_detach(filter->root, NULL, NULL), 0);
}

static void on_filtered(dusk_spawn_t *spawn, int err, int64_t exit_status,
                        int term_signal) {
  assert_int_equal(err + exit_status + term_signal, 0);
  over(dusk__container_of(spawn, filter_t, spawn));
}

static void on_output(dusk_read_t *read, ssize_t count);

static void read_output(filter_t *filter) {
  assert_int_equal(dusk_context_read(filter->root, &filter->read, filter->root,
                                     (uv_stream_t *)&filter->out,
                                     filter->text + filter->len, 3, on_output),
                   0);
}

static void on_output(dusk_read_t *read, ssize_t count) {
  filter_t *filter = dusk__container_of(read, filter_t, read);
  if (count == UV_EOF) {
    over(filter);
    return;
  }
  assert_true(count > 0);
  filter->len += (size_t)count;
  read_output(filter);
}

/* DUSK-065. Whichever comes last, the end of the output or of the child,
 * detaches. */
static void its_output_is_read(void **state) {
  fixture_t *f = *state;
  filter_t filter = {.left = 2};
  char shell[] = "sh", option[] = "-c", script[] = "echo out; echo put";
  char *args[] = {shell, option, script, NULL};
  uv_stdio_container_t stdio[] = {{.flags = UV_IGNORE},
                                  {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
                                   .data.stream = (uv_stream_t *)&filter.out}};
  const uv_process_options_t options = {
      .file = shell, .args = args, .stdio = stdio, .stdio_count = 2};
  assert_int_equal(dusk_context_attach(&f->loop, &filter.root), 0);
  assert_int_equal(uv_pipe_init(&f->loop, &filter.out, 0), 0);
  assert_int_equal(dusk_context_spawn(filter.root, &filter.spawn, filter.root,
                                      &options, 0, 0, on_filtered),
                   0);
  read_output(&filter);
  run(&f->loop);
  assert_int_equal(filter.left, 0);
  assert_string_equal(filter.text, "out\nput\n");
}

/* Who receives SIGCHLD as well, and gives it back, takes it from nobody. */
static void sigchld_may_be_received_as_well(void **state) {
  fixture_t *f = *state;
  for (int i = 0; i < 2; i++) {
    dusk_signals_t *signals;
    child_t child;
    assert_int_equal(dusk_signals_new(f->root, 1, &signals), 0);
    assert_int_equal(dusk_signals_notify(signals, (int[]){SIGCHLD}, 1), 0);
    begin(f->root, &child, f->root, (kind_t){"exit 1", 0, 0});
    run(&f->loop);
    assert_ended_so(&child, 0, 1, 0);
    assert_int_equal(dusk_signals_next(signals), SIGCHLD);
    begin(f->root, &child, f->root, (kind_t){"exit 2", 0, 0});
    dusk_signals_free(signals);
    run(&f->loop);
    assert_ended_so(&child, 0, 2, 0);
  }
}

static void close_processes(uv_handle_t *handle, void *arg) {
  (void)arg;
  if (handle->type == UV_PROCESS) uv_close(handle, NULL);
}

/* Before the context's end, or in the grace. It isn't called back, and the
 * child is left alone, but nothing of ours stays. */
static void somebody_else_may_close_its_handle(void **state) {
  fixture_t *f = *state;
  for (int i = 0; i < 2; i++) {
    dusk_context_t *ctx = with_cancel(f->root);
    child_t child;
    uv.killed = 0;
    begin(ctx, &child, f->root, (kind_t){STUBBORN, 0, 5});
    await_ready(&child);
    pid_t pid = child.spawn.pid;
    if (i == 0) uv_walk(&f->loop, close_processes, NULL);
    end(ctx);
    while (i == 1 && uv.killed == 0)
      uv_run(&f->loop, UV_RUN_ONCE);
    if (i == 1) uv_walk(&f->loop, close_processes, NULL);
    run(&f->loop);
    assert_int_equal(child.calls, 0);
    assert_int_equal(uv.killed, i);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(child.out);
  }
}

/* -- Failure -------------------------------------------------------------- */

static int try_spawn(dusk_context_t *ctx, dusk_context_t *root,
                     dusk_spawn_t *spawn, const uv_process_options_t *options) {
  return dusk_context_spawn(ctx, spawn, root, options, 0, 0, on_ended);
}

static char true_name[] = "true";
static char *true_args[] = {true_name, NULL};
static const uv_process_options_t true_options = {.file = true_name,
                                                  .args = true_args};

/* DUSK-084 */
static void a_program_that_is_not_there_is_told_at_once(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  size_t live = alloc_live();
  child_t child = {.calls = 0};
  uv_process_options_t options = true_options;
  options.file = "/nowhere/true";
  assert_int_equal(try_spawn(ctx, f->root, &child.spawn, &options), UV_ENOENT);
  memset(&child, 0xff, sizeof(child)); /* the caller's at once */
  assert_int_equal(ctx->refs, 1);
  run(&f->loop);
  assert_int_equal(alloc_live(), live);
  /* What libuv still closes is over when the root is detached. */
  options.file = "/etc/passwd";
  assert_int_equal(try_spawn(ctx, f->root, &child.spawn, &options), UV_EACCES);
  end(ctx);
}

static void on_exit_of_mine(uv_process_t *process, int64_t status, int signum) {
  (void)process;
  (void)status;
  (void)signum;
}

static void a_failed_start_leaves_nothing(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root), *root = f->root;
  size_t live = alloc_live();
  child_t child = {.calls = 0};
  dusk_spawn_t *spawn = &child.spawn;
  uv_process_options_t options = true_options;
  assert_int_equal(try_spawn(NULL, root, spawn, &options), UV_EINVAL);
  assert_int_equal(try_spawn(ctx, NULL, spawn, &options), UV_EINVAL);
  assert_int_equal(try_spawn(ctx, root, NULL, &options), UV_EINVAL);
  assert_int_equal(try_spawn(ctx, root, spawn, NULL), UV_EINVAL);
  options.file = NULL;
  assert_int_equal(try_spawn(ctx, root, spawn, &options), UV_EINVAL);
  options = true_options;
  options.args = NULL;
  assert_int_equal(try_spawn(ctx, root, spawn, &options), UV_EINVAL);
  options = true_options;
  options.exit_cb = on_exit_of_mine;
  assert_int_equal(try_spawn(ctx, root, spawn, &options), UV_EINVAL);
  for (int signum = -1; signum <= NSIG; signum += NSIG + 1)
    assert_int_equal(dusk_context_spawn(ctx, spawn, root, &true_options, signum,
                                        0, on_ended),
                     UV_EINVAL);
  assert_int_equal(
      dusk_context_spawn(ctx, spawn, root, &true_options, 0, 0, NULL),
      UV_EINVAL);
  run(&f->loop);
  assert_int_equal(child.calls, 0);
  assert_int_equal(ctx->refs, 1);
  assert_int_equal(alloc_live(), live);
  end(ctx);
}

/* DUSK-038. The grace, the handle, and before it perhaps a bridge; none once
 * the child is there. */
static void each_allocation_may_fail(void **state) {
  fixture_t *f = *state, still;
  still_open(&still);
  dusk_context_t *trees[] = {f->root, still.root};
  size_t live = alloc_live();
  for (size_t i = 0; i < 2; i++) {
    child_t child;
    for (size_t n = 1; n <= 2 + i; n++) {
      alloc_fail_at(n);
      assert_int_equal(
          try_spawn(trees[i], f->root, &child.spawn, &true_options), UV_ENOMEM);
      assert_int_equal(alloc_live(), live);
    }
    alloc_fail_at(0);
    dusk_context_t *ctx = with_cancel(trees[i]);
    uv.killed = 0;
    begin(ctx, &child, f->root, (kind_t){STUBBORN, 0, 1});
    await_ready(&child);
    alloc_fail_at(1);
    end(ctx);
    run_until(&f->loop, &child.calls);
    run(&f->loop);
    assert_false(alloc_has_failed());
    alloc_fail_at(0);
    assert_ended_so(&child, UV_ECANCELED, 0, SIGKILL);
    assert_int_equal(alloc_live(), live);
  }
  still_close(&still);
}

#define spawn_test(f) cmocka_unit_test_setup_teardown(f, open_test, close_test)

/* What libuv opens once and keeps, that for signals as well. */
static int open_all(void **state) {
  uv_signal_t signal;
  fixture_open(state);
  fixture_t *f = *state;
  assert_int_equal(uv_signal_init(&f->loop, &signal), 0);
  uv_close((uv_handle_t *)&signal, NULL);
  run(&f->loop);
  return fixture_close(state);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      spawn_test(the_exit_status_is_told),
      spawn_test(a_signal_of_somebodys_is_told),
      spawn_test(the_contexts_end_terminates_the_child),
      spawn_test(a_deadline_sends_the_signal_of_choice),
      spawn_test(a_child_that_ends_well_then_was_ended_too),
      spawn_test(one_that_does_not_is_killed_after_the_grace),
      spawn_test(without_grace_it_is_killed_at_once),
      spawn_test(with_endless_grace_it_is_waited_for),
      spawn_test(one_that_cannot_be_signalled_is_waited_for),
      spawn_test(under_an_ended_context_nothing_is_started),
      spawn_test(a_context_of_another_tree_ends_it),
      spawn_test(many_end_at_once),
      spawn_test(its_output_is_read),
      spawn_test(sigchld_may_be_received_as_well),
      spawn_test(somebody_else_may_close_its_handle),
      spawn_test(a_program_that_is_not_there_is_told_at_once),
      spawn_test(a_failed_start_leaves_nothing),
      spawn_test(each_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, open_all, NULL);
}
