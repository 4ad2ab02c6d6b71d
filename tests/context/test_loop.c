/* The life of loops: stopped and run again, run nowhere, forked. */
#include "fixture.h"

#include <signal.h>
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

int main(void) {
  const struct CMUnitTest tests[] = {
      fixture_test(contexts_live_on_while_the_loop_stands_still),
      fixture_test(a_forked_child_goes_on),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
