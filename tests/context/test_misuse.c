/* What a program must not do, in a library with assertions: it stops at the
 * call, and says what it was. What only AddressSanitizer can see is tried under
 * that. */
#include "fixture.h"
#include "dies.h"

#include <dusk/calls.h>
#include <dusk/group.h>
#include <dusk/signal.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FREED "AddressSanitizer" /* nothing else can tell */

static uv_loop_t loop;
static dusk_context_t *root;
static dusk_waiter_t waiter;

static void open_root(void) {
  if (uv_loop_init(&loop) || dusk_context_attach(&loop, &root)) _exit(0);
}

static void on_waiter(dusk_waiter_t *due) {
  (void)due;
}

/* -- Registered twice ------------------------------------------------------ */

static void waits_twice_for_one(void) {
  open_root();
  dusk_context_t *ctx = with_cancel(root);
  dusk_context_after(ctx, &waiter, root, on_waiter);
  dusk_context_after(ctx, &waiter, root, on_waiter);
}

static void waits_for_two(void) {
  open_root();
  dusk_context_after(with_cancel(root), &waiter, root, on_waiter);
  dusk_context_after(with_cancel(root), &waiter, root, on_waiter);
}

/* It is due, and not yet called. */
static void waits_twice_for_what_has_ended(void) {
  open_root();
  dusk_context_t *ctx = with_timeout(root, 0, NULL);
  dusk_context_after(ctx, &waiter, root, on_waiter);
  dusk_context_after(ctx, &waiter, root, on_waiter);
}

static void waits_for_what_is_left(dusk_waiter_t *due) {
  (void)due;
  dusk_context_after(with_cancel(root), &waiter, root, on_waiter);
}

/* Another one that is due in the same turn. */
static void waits_in_the_turn_of_its_call(void) {
  static dusk_waiter_t first;
  open_root();
  dusk_context_t *ctx = with_timeout(root, 0, NULL);
  dusk_context_after(ctx, &first, root, waits_for_what_is_left);
  dusk_context_after(ctx, &waiter, root, on_waiter);
  uv_run(&loop, UV_RUN_DEFAULT);
}

static void on_slept(dusk_sleep_t *sleep, int err) {
  (void)sleep;
  (void)err;
}

static void sleeps_twice(void) {
  static dusk_sleep_t sleep;
  open_root();
  for (int i = 0; i < 2; i++)
    if (dusk_context_sleep(root, &sleep, root, 60000, on_slept)) _exit(0);
}

static void who_is_registered_twice_is_told(void **state) {
  (void)state;
  static const char says[] = "a waiter was registered that is registered";
  dies(waits_twice_for_one, says);
  dies(waits_for_two, says);
  dies(waits_twice_for_what_has_ended, says);
  dies(waits_in_the_turn_of_its_call, says);
  dies(sleeps_twice, says);
}

/* Whatever was in its memory before, and in its callback. */
static void what_was_never_zeroed_is_not_registered(void **state) {
  fixture_t *f = *state;
  for (int byte = 0; byte < 256; byte++) {
    call_t call;
    memset(&call, byte, sizeof(call));
    call.calls = 0;
    dusk_context_t *ctx = with_timeout(f->root, 0, NULL);
    dusk_context_after(ctx, &call.waiter, f->root, on_call);
    run(&f->loop);
    assert_int_equal(call.calls, 1);
    dusk_context_after(ctx, &call.waiter, f->root, on_call);
    assert_true(dusk_waiter_stop(&call.waiter));
    dusk_context_unref(ctx);
  }
}

/* -- Released too often ---------------------------------------------------- */

static void releases_twice(void) {
  open_root();
  dusk_context_t *ctx = with_cancel(root);
  dusk_context_unref(ctx);
  dusk_context_unref(ctx);
}

static void releases_a_value_twice(void) {
  static const dusk_key_t key;
  open_root();
  dusk_context_t *ctx = with_value(root, &key, NULL);
  dusk_context_unref(ctx);
  dusk_context_unref(ctx);
}

static void releases_what_a_child_holds(void) {
  open_root();
  dusk_context_t *ctx = with_cancel(root);
  with_timeout(ctx, 60000, NULL);
  dusk_context_unref(ctx);
  dusk_context_unref(ctx);
}

static void releases_a_root(void) {
  open_root();
  dusk_context_unref(root);
}

static void frees_signals_twice(void) {
  dusk_signals_t *signals;
  open_root();
  if (dusk_signals_new(root, 1, &signals)) _exit(0);
  dusk_signals_free(signals);
  dusk_signals_free(signals);
}

static void closes_done_twice(void) {
  dusk_done_t *done;
  open_root();
  if (dusk_done_open(with_cancel(root), &done)) _exit(0);
  dusk_done_close(done);
  dusk_done_close(done);
}

static void who_releases_too_often_is_told(void **state) {
  (void)state;
  dies(releases_twice, "a context was released too often");
  dies(releases_a_value_twice, "a context was released too often");
  dies(releases_what_a_child_holds,
       "a context was released that a child of it holds");
  dies(releases_a_root, "a root was released in the place of being detached");
  if (!UNDER_ASAN) return;
  dies(frees_signals_twice, FREED);
  dies(closes_done_twice, FREED);
}

/* -- The wrong thread ------------------------------------------------------ */

/* Called in a turn of the loop: who isn't its thread then is another one. */
static void (*wrong)(void *arg);
static void *wrong_arg;

static void call_elsewhere(dusk_waiter_t *due) {
  (void)due;
  uv_thread_t thread;
  uv_thread_create(&thread, wrong, wrong_arg);
  uv_thread_join(&thread);
}

static void call_in_a_turn(void (*call)(void *arg), void *arg) {
  static dusk_waiter_t turn;
  wrong = call;
  wrong_arg = arg;
  dusk_context_after(with_timeout(root, 0, NULL), &turn, root, call_elsewhere);
  uv_run(&loop, UV_RUN_DEFAULT);
}

static void detach_it(void *arg) {
  if (dusk_context_detach(arg, NULL, NULL)) abort();
}

static void detaches_elsewhere(void) {
  open_root();
  call_in_a_turn(detach_it, root);
}

static void reference_it(void *arg) {
  dusk_waiter_ref(arg);
}

static void references_elsewhere(void) {
  open_root();
  dusk_context_after(with_cancel(root), &waiter, root, on_waiter);
  call_in_a_turn(reference_it, &waiter);
}

static void stop_by_it(void *arg) {
  dusk_signals_stop(arg);
}

static void stops_signals_elsewhere(void) {
  dusk_signals_t *signals;
  open_root();
  if (dusk_signals_new(root, 1, &signals)) _exit(0);
  call_in_a_turn(stop_by_it, signals);
}

static void on_started(dusk_call_t *call, dusk_context_t *ctx) {
  (void)call;
  (void)ctx;
}

static void go_in_it(void *arg) {
  static dusk_call_t call;
  dusk_group_go(arg, &call, on_started);
}

static void goes_elsewhere(void) {
  dusk_group_t *group;
  open_root();
  if (dusk_group_new(root, root, 0, &group)) _exit(0);
  call_in_a_turn(go_in_it, group);
}

static void other_threads_are_told(void **state) {
  (void)state;
  static const char says[] = "not on the loop's thread";
  dies(detaches_elsewhere, says);
  dies(references_elsewhere, says);
  dies(stops_signals_elsewhere, says);
  dies(goes_elsewhere, says);
}

/* -- Groups ---------------------------------------------------------------- */

static void on_all_done(int err, void *arg) {
  (void)err;
  (void)arg;
}

static void on_done_twice(dusk_call_t *call, dusk_context_t *ctx) {
  (void)ctx;
  dusk_call_done(call, 0);
  dusk_call_done(call, 0);
}

static void is_done_twice(void) {
  static dusk_call_t call;
  dusk_group_t *group;
  open_root();
  if (dusk_group_new(root, root, 0, &group)) _exit(0);
  dusk_group_go(group, &call, on_done_twice);
  uv_run(&loop, UV_RUN_DEFAULT);
}

static void is_done_before_its_start(void) {
  static dusk_call_t call;
  dusk_group_t *group;
  open_root();
  if (dusk_group_new(root, root, 0, &group)) _exit(0);
  dusk_group_go(group, &call, on_started);
  dusk_call_done(&call, 0);
}

static void goes_after_the_end(void) {
  static dusk_call_t call;
  dusk_group_t *group;
  open_root();
  if (dusk_group_new(root, root, 0, &group) ||
      dusk_group_wait(group, on_all_done, NULL))
    _exit(0);
  uv_run(&loop, UV_RUN_DEFAULT);
  dusk_group_go(group, &call, on_started);
}

static void misused_groups_are_told(void **state) {
  (void)state;
  dies(is_done_twice, "a call was done twice, or before its start");
  dies(is_done_before_its_start, "a call was done twice, or before its start");
  if (UNDER_ASAN) dies(goes_after_the_end, FREED);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(who_is_registered_twice_is_told),
      fixture_test(what_was_never_zeroed_is_not_registered),
      cmocka_unit_test(who_releases_too_often_is_told),
      cmocka_unit_test(other_threads_are_told),
      cmocka_unit_test(misused_groups_are_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
