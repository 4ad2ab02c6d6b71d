/* The life of loops: stopped and run again, run nowhere, forked, walked over.
 */
#include "fixture.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <dusk/signal.h>

static uv_loop_t *stopped;

static void on_stop(dusk_waiter_t *waiter) {
  on_call(waiter);
  uv_stop(stopped);
}

/* DUSK-030 */
static void contexts_live_on_while_the_loop_stands_still(void **state) {
  fixture_t *f = *state;
  call_t first = {0}, second = {0};
  stopped = &f->loop;
  dusk_context_t *now = with_timeout(f->root, 1, NULL);
  dusk_context_t *later = with_timeout(f->root, 30, NULL);
  dusk_context_after(now, &first.waiter, f->root, on_stop);
  call_after(later, &second, f->root);
  assert_int_not_equal(uv_run(&f->loop, UV_RUN_DEFAULT), 0);
  assert_int_equal(first.calls, 1);
  assert_int_equal(second.calls, 0);
  assert_live(later);
  wait_until(dusk_context_deadline(later));
  assert_ended(later, UV_ETIMEDOUT, &dusk_deadline_exceeded);
  assert_int_equal(second.calls, 0); /* its loop doesn't turn */
  run(&f->loop);
  assert_int_equal(second.calls, 1);
  dusk_context_unref(later);
  dusk_context_unref(now);
}

/* What the child does with the loop and the contexts it was born with. */
static int go_on(fixture_t *f, dusk_context_t *ctx, dusk_context_t *signalled,
                 call_t *call, call_t *caught) {
  alarm(60); /* whatever becomes of the test */
  if (uv_loop_fork(&f->loop) != 0) return 1;
  if (uv_run(&f->loop, UV_RUN_DEFAULT) != 0 || call->calls != 1) return 2;
  if (dusk_context_err(ctx) != UV_ETIMEDOUT) return 3;
  raise(SIGUSR1);
  run_until(&f->loop, &caught->calls);
  if (dusk_context_cause(signalled)->code != UV_ECANCELED) return 4;
  dusk_context_stop_signals(signalled);
  dusk_context_unref(signalled);
  dusk_context_unref(ctx);
  fixture_close((void **)&f);
  return 0;
}

/* DUSK-032 */
static void a_forked_child_goes_on(void **state) {
  fixture_t *f = *state;
  call_t call = {0}, caught = {0};
  dusk_context_t *ctx = with_timeout(f->root, 10, NULL);
  dusk_context_t *signalled = NULL;
  assert_int_equal(
      dusk_context_with_signals(f->root, (int[]){SIGUSR1}, 1, &signalled), 0);
  call_after(ctx, &call, f->root);
  call_after(signalled, &caught, f->root);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) _exit(go_on(f, ctx, signalled, &call, &caught));
  run(&f->loop);
  assert_int_equal(call.calls, 1);
  int status = -1;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  assert_live(signalled); /* the child's signal was its own */
  assert_true(dusk_waiter_stop(&caught.waiter));
  dusk_context_unref(ctx);
  dusk_context_unref(signalled);
  turn(&f->loop);
}

/* DUSK-032. Nothing is on its way to the loop that the child would miss. */
static void a_child_forked_before_the_first_turn_goes_on(void **state) {
  (void)state;
  fixture_t *f = calloc(1, sizeof(*f));
  call_t call = {0}, caught = {0};
  dusk_context_t *signalled = NULL;
  assert_non_null(f);
  still_open(f);
  dusk_context_t *ctx = with_timeout(f->root, 10, NULL);
  assert_int_equal(
      dusk_context_with_signals(f->root, (int[]){SIGUSR1}, 1, &signalled), 0);
  call_after(ctx, &call, f->root);
  call_after(signalled, &caught, f->root);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) _exit(go_on(f, ctx, signalled, &call, &caught));
  int status = -1;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  assert_true(dusk_waiter_stop(&call.waiter));
  assert_true(dusk_waiter_stop(&caught.waiter));
  dusk_context_unref(ctx);
  dusk_context_unref(signalled);
  still_close(f);
  free(f);
}

/* -- Walked over ---------------------------------------------------------- */

static void close_any(uv_handle_t *handle, void *arg) {
  (void)arg;
  if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

/* DUSK-069. The end of the fixture is what is tested. */
static void a_walk_may_close_all_before_detach(void **state) {
  fixture_t *f = *state;
  call_t call;
  dusk_context_t *ctx = with_timeout(f->root, 60000, NULL);
  call_after(ctx, &call, f->root);
  dusk_waiter_ref(&call.waiter);
  uv_walk(&f->loop, close_any, NULL);
  run(&f->loop);
  assert_int_equal(dusk_context_detach(f->root, NULL, NULL), UV_EBUSY);
  dusk_context_cancel(ctx, NULL); /* nobody is called any more */
  assert_true(dusk_waiter_stop(&call.waiter));
  end(with_timeout(f->root, 1, NULL));
  dusk_context_unref(ctx);
}

/* DUSK-069 */
static void a_detach_may_follow_the_walk_at_once(void **state) {
  fixture_t *f = *state;
  uv_walk(&f->loop, close_any, NULL);
}

static void on_walk(dusk_waiter_t *waiter) {
  on_call(waiter);
  uv_walk(stopped, close_any, NULL);
}

/* DUSK-069 */
static void a_walk_may_come_in_a_callback(void **state) {
  fixture_t *f = *state;
  call_t call = {0};
  dusk_context_t *ctx = with_cancel(f->root);
  stopped = &f->loop;
  dusk_context_after(ctx, &call.waiter, f->root, on_walk);
  dusk_context_cancel(ctx, NULL);
  run(&f->loop);
  assert_int_equal(call.calls, 1);
  dusk_context_unref(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      fixture_test(contexts_live_on_while_the_loop_stands_still),
      fixture_test(a_forked_child_goes_on),
      cmocka_unit_test(a_child_forked_before_the_first_turn_goes_on),
      fixture_test(a_walk_may_close_all_before_detach),
      fixture_test(a_detach_may_follow_the_walk_at_once),
      fixture_test(a_walk_may_come_in_a_callback),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
