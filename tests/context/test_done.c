/* A descriptor for threads that poll. */
#include "fixture.h"
#include "alloc.h"
#include "streams.h"
#include "tree.h"

#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONG_MS = 60000 };

static dusk_done_t *done_of(dusk_context_t *ctx) {
  dusk_done_t *done = NULL;
  assert_int_equal(dusk_done_open(ctx, &done), 0);
  return done;
}

static bool is_readable(dusk_done_t *done, int timeout_ms) {
  struct pollfd ready = {.fd = dusk_done_fd(done), .events = POLLIN};
  int count = poll(&ready, 1, timeout_ms);
  assert_true(count >= 0);
  return count == 1 && (ready.revents & POLLIN) != 0;
}

/* DUSK-088 */
static void a_cancel_makes_it_readable_for_ever(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  dusk_done_t *done = done_of(ctx);
  char byte;
  fd_set set;
  assert_false(is_readable(done, 0));
  dusk_context_cancel(ctx, NULL);
  for (int i = 0; i < 2; i++) {
    assert_true(is_readable(done, 0)); /* no loop has turned */
    assert_int_equal(read(dusk_done_fd(done), &byte, 1), 0);
  }
  FD_ZERO(&set);
  FD_SET(dusk_done_fd(done), &set);
  assert_int_equal(
      select(dusk_done_fd(done) + 1, &set, NULL, NULL, &(struct timeval){0}),
      1);
  dusk_context_unref(ctx);
  assert_true(is_readable(done, 0));
  dusk_done_close(done);
}

/* DUSK-088 */
static void of_an_ended_context_it_is_readable(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  dusk_context_cancel(ctx, NULL);
  dusk_done_t *done = done_of(ctx);
  assert_true(is_readable(done, 0));
  dusk_done_close(done);
  dusk_context_unref(ctx);
  ctx = with_timeout(f->root, 1, NULL); /* passed, and nobody has looked */
  wait_until(dusk_context_deadline(ctx));
  done = done_of(ctx);
  assert_true(is_readable(done, 0));
  dusk_done_close(done);
  dusk_context_unref(ctx);
}

static void an_ancestors_end_makes_it_readable(void **state) {
  fixture_t *f = *state;
  static const dusk_key_t key = {"key"};
  dusk_context_t *ctx = with_cancel(f->root);
  dusk_context_t *child = with_cancel(ctx);
  dusk_context_t *value = with_value(child, &key, f);
  dusk_done_t *done = done_of(value);
  dusk_context_unref(value); /* it is held */
  dusk_context_unref(child);
  assert_false(is_readable(done, 0));
  end(ctx);
  assert_true(is_readable(done, 0));
  dusk_done_close(done);
}

static void a_deadline_makes_it_readable(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 5, NULL);
  dusk_done_t *done = done_of(ctx);
  assert_int_equal(uv_loop_alive(&f->loop), 0);
  while (!is_readable(done, 0))
    turn(&f->loop);
  assert_ended(ctx, UV_ETIMEDOUT, &dusk_deadline_exceeded);
  dusk_done_close(done);
  dusk_context_unref(ctx);
}

/* Without a loop that turns. */
static void who_asks_makes_it_readable(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 5, NULL);
  dusk_done_t *done = done_of(ctx);
  while (dusk_context_err(ctx) == 0)
    (void)is_readable(done, (int)dusk_context_left_ms(ctx));
  assert_true(is_readable(done, 0));
  dusk_done_close(done);
  dusk_context_unref(ctx);
}

static void a_deadline_that_is_brought_forward_is_no_end(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_deadline(f->root, DUSK_OFF, NULL);
  dusk_done_t *done = done_of(ctx);
  uint64_t later = uv_hrtime() + LONG_MS * MS;
  assert_int_equal(dusk_context_bring_forward(ctx, later), 0);
  assert_int_equal(dusk_context_bring_forward(ctx, later - MS), 0);
  assert_false(is_readable(done, 0));
  assert_int_equal(dusk_context_bring_forward(ctx, 0), 0);
  assert_true(is_readable(done, 0));
  dusk_done_close(done);
  dusk_context_unref(ctx);
}

static void several_are_told(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  dusk_done_t *first = done_of(ctx), *second = done_of(ctx);
  call_t call;
  call_after(ctx, &call, f->root);
  dusk_done_t *third = done_of(ctx);
  dusk_done_close(second);
  assert_int_equal(entries(ctx), 3);
  dusk_context_cancel(ctx, NULL);
  assert_true(is_readable(first, 0));
  assert_true(is_readable(third, 0));
  run(&f->loop);
  assert_int_equal(call.calls, 1);
  dusk_done_close(first);
  dusk_done_close(third);
  dusk_context_unref(ctx);
}

static void closed_before_it_leaves_nothing(void **state) {
  fixture_t *f = *state;
  size_t live = alloc_live();
  dusk_context_t *ctx = with_cancel(f->root);
  dusk_done_close(done_of(ctx));
  assert_int_equal(entries(ctx), 0);
  assert_int_equal(ctx->refs, 1);
  end(ctx);
  assert_int_equal(alloc_live(), live);
  dusk_done_close(NULL);
}

static void it_holds_the_context(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  dusk_done_t *done = done_of(ctx);
  dusk_context_unref(ctx);
  assert_false(is_readable(done, 0));
  dusk_done_close(done); /* the last reference */
}

typedef struct {
  dusk_done_t *done;
  uv_sem_t polls;
  bool was_readable;
} poller_t;

static void poll_elsewhere(void *arg) {
  poller_t *poller = arg;
  uv_sem_post(&poller->polls);
  poller->was_readable = is_readable(poller->done, 10000);
  dusk_done_close(poller->done);
}

/* DUSK-088 */
static void a_thread_that_polls_is_woken(void **state) {
  fixture_t *f = *state;
  for (int i = 0; i < 50; i++) {
    dusk_context_t *ctx = with_cancel(f->root);
    poller_t poller = {.done = done_of(ctx)};
    uv_thread_t thread;
    assert_int_equal(uv_sem_init(&poller.polls, 0), 0);
    assert_int_equal(uv_thread_create(&thread, poll_elsewhere, &poller), 0);
    uv_sem_wait(&poller.polls);
    dusk_context_cancel(ctx, NULL);
    uv_thread_join(&thread);
    assert_true(poller.was_readable);
    uv_sem_destroy(&poller.polls);
    dusk_context_unref(ctx);
  }
}

static void close_elsewhere(void *arg) {
  dusk_done_close(arg);
}

static void closing_races_with_the_end(void **state) {
  fixture_t *f = *state;
  for (int i = 0; i < 50; i++) {
    dusk_context_t *ctx = with_cancel(f->root);
    uv_thread_t thread;
    assert_int_equal(uv_thread_create(&thread, close_elsewhere, done_of(ctx)),
                     0);
    end(ctx);
    uv_thread_join(&thread);
  }
}

/* A child that was forked holds duplicates of both descriptors. */
static void a_forks_child_keeps_nothing_from_being_told(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  dusk_done_t *done = done_of(ctx);
  pid_t pid = fork();
  if (pid == 0) {
    pause();
    _exit(0);
  }
  assert_true(pid > 0);
  dusk_context_cancel(ctx, NULL);
  bool was_readable = is_readable(done, 0);
  kill(pid, SIGKILL);
  assert_int_equal(waitpid(pid, NULL, 0), pid);
  assert_true(was_readable);
  dusk_done_close(done);
  dusk_context_unref(ctx);
}

static void the_root_may_be_detached(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other;
  assert_int_equal(dusk_context_attach(&f->loop, &other), 0);
  dusk_context_t *ctx = with_cancel(other);
  dusk_done_t *done = done_of(ctx);
  assert_int_equal(dusk_context_detach(other, NULL, NULL), 0);
  run(&f->loop);
  end(ctx);
  assert_true(is_readable(done, 0));
  dusk_done_close(done);
}

/* -- Failure -------------------------------------------------------------- */

static void a_failure_leaves_nothing(void **state) {
  fixture_t *f = *state;
  dusk_done_t *const none = (dusk_done_t *)f, *done = none;
  dusk_context_t *ctx = with_cancel(f->root);
  struct rlimit limit, tight;
  size_t live = alloc_live();
  assert_int_equal(dusk_done_open(NULL, &done), UV_EINVAL);
  assert_int_equal(dusk_done_open(ctx, NULL), UV_EINVAL);
  alloc_fail_at(1);
  assert_int_equal(dusk_done_open(ctx, &done), UV_ENOMEM);
  alloc_fail_at(0);
  int lowest = dup(0);
  close(lowest);
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
  tight = limit;
  tight.rlim_cur = (rlim_t)lowest + 1; /* for one of two */
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
  int err = dusk_done_open(ctx, &done);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
  assert_int_equal(err, UV_EMFILE);
  assert_ptr_equal(done, none);
  assert_int_equal(ctx->refs, 1);
  assert_int_equal(entries(ctx), 0);
  assert_int_equal(alloc_live(), live);
  end(ctx);
}

#define done_test(f) cmocka_unit_test_setup_teardown(f, lines_open, lines_close)

int main(void) {
  const struct CMUnitTest tests[] = {
      done_test(a_cancel_makes_it_readable_for_ever),
      done_test(of_an_ended_context_it_is_readable),
      done_test(an_ancestors_end_makes_it_readable),
      done_test(a_deadline_makes_it_readable),
      done_test(who_asks_makes_it_readable),
      done_test(a_deadline_that_is_brought_forward_is_no_end),
      done_test(several_are_told),
      done_test(closed_before_it_leaves_nothing),
      done_test(it_holds_the_context),
      done_test(a_thread_that_polls_is_woken),
      done_test(closing_races_with_the_end),
      done_test(a_forks_child_keeps_nothing_from_being_told),
      done_test(the_root_may_be_detached),
      done_test(a_failure_leaves_nothing),
  };
  return cmocka_run_group_tests(tests, lines_open_once, NULL);
}
