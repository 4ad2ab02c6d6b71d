/* Sleep under a context. */
#include "fixture.h"
#include "alloc.h"
#include "tree.h"

#include <dusk/calls.h>
#include <stdlib.h>
#include <string.h>

enum { LONG_MS = 60000 };

uint64_t __real_uv_hrtime(void);
uint64_t __wrap_uv_hrtime(void);
static uint64_t frozen;

uint64_t __wrap_uv_hrtime(void) {
  return frozen != 0 ? frozen : __real_uv_hrtime();
}

typedef struct {
  dusk_sleep_t sleep;
  int calls;
  int err;
} sleeper_t;

static void on_awake(dusk_sleep_t *sleep, int err) {
  sleeper_t *sleeper = dusk__container_of(sleep, sleeper_t, sleep);
  sleeper->calls++;
  sleeper->err = err;
}

static void fall_asleep(dusk_context_t *ctx, sleeper_t *sleeper,
                        dusk_context_t *root, uint64_t ms) {
  *sleeper = (sleeper_t){.err = 1};
  assert_int_equal(dusk_context_sleep(ctx, &sleeper->sleep, root, ms, on_awake),
                   0);
  assert_int_equal(sleeper->calls, 0);
}

static void assert_woken(const sleeper_t *sleeper, int err) {
  assert_int_equal(sleeper->calls, 1);
  assert_int_equal(sleeper->err, err);
}

/* DUSK-053 */
static void sleeps_in_full(void **state) {
  fixture_t *f = *state;
  sleeper_t sleeper;
  uint64_t before = uv_hrtime();
  fall_asleep(f->root, &sleeper, f->root, 20);
  run(&f->loop); /* it keeps the loop going */
  assert_true(uv_hrtime() - before >= 20 * MS);
  assert_woken(&sleeper, 0);
  assert_false(dusk_sleep_stop(&sleeper.sleep));
}

/* DUSK-070 */
static void data_is_the_callers(void **state) {
  fixture_t *f = *state;
  sleeper_t sleeper = {.sleep.data = &sleeper};
  assert_int_equal(
      dusk_context_sleep(f->root, &sleeper.sleep, f->root, 1, on_awake), 0);
  run(&f->loop);
  assert_int_equal(sleeper.calls, 1);
  assert_ptr_equal(sleeper.sleep.data, &sleeper);
}

static void of_no_time_ends_in_the_next_turn(void **state) {
  fixture_t *f = *state;
  sleeper_t sleeper;
  fall_asleep(f->root, &sleeper, f->root, 0);
  run(&f->loop);
  assert_woken(&sleeper, 0);
}

/* DUSK-054 */
static void ends_with_its_context(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  sleeper_t sleeper;
  fall_asleep(ctx, &sleeper, f->root, LONG_MS);
  turn(&f->loop);
  assert_int_equal(sleeper.calls, 0);
  end(ctx); /* it is held */
  assert_int_equal(sleeper.calls, 0);
  run(&f->loop);
  assert_woken(&sleeper, UV_ECANCELED);
}

/* DUSK-054 */
static void an_earlier_deadline_ends_it(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 2, NULL);
  sleeper_t sleeper;
  fall_asleep(ctx, &sleeper, f->root, LONG_MS);
  run(&f->loop);
  assert_woken(&sleeper, UV_ETIMEDOUT);
  dusk_context_unref(ctx);
}

static void under_an_equal_deadline_it_is_whole(void **state) {
  fixture_t *f = *state;
  frozen = uv_hrtime();
  dusk_context_t *ctx = with_deadline(f->root, frozen + 3 * MS, NULL);
  sleeper_t sleeper;
  fall_asleep(ctx, &sleeper, f->root, 3);
  frozen = 0;
  run(&f->loop);
  assert_woken(&sleeper, 0);
  dusk_context_unref(ctx);
}

/* DUSK-064 */
static void under_an_ended_context_it_does_not_begin(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  dusk_context_cancel(ctx, NULL);
  sleeper_t sleeper, none;
  fall_asleep(ctx, &sleeper, f->root, LONG_MS);
  fall_asleep(ctx, &none, f->root, 0);
  run(&f->loop);
  assert_woken(&sleeper, UV_ECANCELED);
  assert_woken(&none, UV_ECANCELED);
  dusk_context_unref(ctx);
}

/* DUSK-054 */
static void without_an_end_it_waits_for_the_context(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  sleeper_t sleeper;
  fall_asleep(ctx, &sleeper, f->root, DUSK_OFF);
  assert_int_equal(uv_loop_alive(&f->loop), 0);
  turn(&f->loop);
  assert_int_equal(sleeper.calls, 0);
  end(ctx);
  run(&f->loop);
  assert_woken(&sleeper, UV_ECANCELED);
}

/* DUSK-065 */
static void its_root_stays_attached(void **state) {
  fixture_t *f = *state;
  sleeper_t sleeper;
  fall_asleep(f->root, &sleeper, f->root, LONG_MS);
  assert_int_equal(dusk_context_detach(f->root, NULL, NULL), UV_EBUSY);
  assert_true(dusk_sleep_stop(&sleeper.sleep));
}

/* DUSK-055 */
static void stopped_it_is_never_called(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  sleeper_t waiting, due;
  fall_asleep(ctx, &waiting, f->root, LONG_MS);
  fall_asleep(ctx, &due, f->root, 0);
  assert_true(dusk_sleep_stop(&waiting.sleep));
  assert_false(dusk_sleep_stop(&waiting.sleep));
  assert_true(dusk_sleep_stop(&due.sleep));
  memset(&waiting.sleep, 0xff, sizeof(waiting.sleep));
  assert_int_equal(entries(ctx), 0);
  run(&f->loop);
  assert_int_equal(waiting.calls, 0);
  assert_int_equal(due.calls, 0);
  dusk_context_unref(ctx);
}

static void a_zeroed_one_does_not_sleep(void **state) {
  (void)state;
  dusk_sleep_t sleep = {0};
  assert_false(dusk_sleep_stop(&sleep));
}

typedef struct {
  dusk_sleep_t sleep;
  dusk_context_t *root;
  int rounds;
} repeater_t;

/* A ticker, whose last tick frees it. */
static void on_repeat(dusk_sleep_t *sleep, int err) {
  repeater_t *repeater = dusk__container_of(sleep, repeater_t, sleep);
  assert_int_equal(err, 0);
  assert_false(dusk_sleep_stop(sleep));
  if (--repeater->rounds == 0)
    free(repeater);
  else
    assert_int_equal(
        dusk_context_sleep(repeater->root, sleep, repeater->root, 1, on_repeat),
        0);
}

static void the_callback_may_sleep_again_or_free(void **state) {
  fixture_t *f = *state;
  size_t live = alloc_live();
  repeater_t *repeater = calloc(1, sizeof(*repeater));
  assert_non_null(repeater);
  repeater->root = f->root;
  repeater->rounds = 3;
  assert_int_equal(
      dusk_context_sleep(f->root, &repeater->sleep, f->root, 1, on_repeat), 0);
  run(&f->loop);
  assert_int_equal(alloc_live(), live);
}

/* -- Other threads and trees ---------------------------------------------- */

typedef struct {
  fixture_t *f;
  sleeper_t sleeper;
  uint64_t ms;
} elsewhere_t;

static void start_elsewhere(void *arg) {
  elsewhere_t *elsewhere = arg;
  dusk_context_t *root = elsewhere->f->root;
  assert_int_equal(dusk_context_sleep(root, &elsewhere->sleeper.sleep, root,
                                      elsewhere->ms, on_awake),
                   0);
}

static void another_thread_may_start_it(void **state) {
  for (unsigned i = 0; i < 100; i++) {
    elsewhere_t elsewhere = {.f = *state, .ms = i % 2};
    uv_thread_t thread;
    assert_int_equal(uv_thread_create(&thread, start_elsewhere, &elsewhere), 0);
    run_until(&elsewhere.f->loop, &elsewhere.sleeper.calls);
    uv_thread_join(&thread);
    assert_woken(&elsewhere.sleeper, 0);
  }
}

typedef struct {
  sleeper_t *sleeper;
  uv_barrier_t start;
  uint64_t delay_ns;
  int stopped;
} stopper_t;

static void stop_elsewhere(void *arg) {
  stopper_t *stopper = arg;
  uv_barrier_wait(&stopper->start);
  wait_until(uv_hrtime() + stopper->delay_ns);
  stopper->stopped = dusk_sleep_stop(&stopper->sleeper->sleep);
}

/* Either it was stopped or it was called; whatever the threads do, nothing is
 * touched that is gone. */
static void stopping_races_with_waking_on(fixture_t *f, dusk_context_t *tree) {
  for (unsigned i = 0; i < 300; i++) {
    dusk_context_t *ctx = with_cancel(tree);
    sleeper_t sleeper;
    stopper_t stopper = {.sleeper = &sleeper, .delay_ns = i % 50 * 1000};
    uv_thread_t thread;
    assert_int_equal(uv_barrier_init(&stopper.start, 2), 0);
    fall_asleep(ctx, &sleeper, f->root, i % 2 != 0 ? 0 : LONG_MS);
    assert_int_equal(uv_thread_create(&thread, stop_elsewhere, &stopper), 0);
    uv_barrier_wait(&stopper.start);
    wait_until(uv_hrtime() + i * 7 % 50 * 1000);
    dusk_context_cancel(ctx, NULL);
    run(&f->loop);
    uv_thread_join(&thread);
    assert_int_equal(stopper.stopped + sleeper.calls, 1);
    dusk_context_unref(ctx);
    uv_barrier_destroy(&stopper.start);
  }
}

static void stopping_races_with_waking(void **state) {
  fixture_t *f = *state;
  stopping_races_with_waking_on(f, f->root);
}

static void stopping_races_with_waking_in_another_tree(void **state) {
  fixture_t still;
  still_open(&still);
  stopping_races_with_waking_on(*state, still.root);
  still_close(&still);
}

static void the_context_may_be_of_another_tree(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other;
  assert_int_equal(dusk_context_attach(&f->loop, &other), 0);
  dusk_context_t *ctx = with_cancel(other);
  sleeper_t whole, cut;
  fall_asleep(ctx, &whole, f->root, 1);
  run(&f->loop);
  assert_woken(&whole, 0);
  fall_asleep(ctx, &cut, f->root, LONG_MS);
  end(ctx);
  run(&f->loop);
  assert_woken(&cut, UV_ECANCELED);
  assert_int_equal(dusk_context_detach(other, NULL, NULL), 0);
}

/* DUSK-066 */
static void that_trees_loop_need_not_turn(void **state) {
  fixture_t *f = *state, still;
  still_open(&still);
  dusk_context_t *timed = with_timeout(still.root, 20, NULL);
  dusk_context_t *brought = with_timeout(still.root, LONG_MS, NULL);
  sleeper_t whole, cut, endless;
  fall_asleep(still.root, &whole, f->root, 2);
  fall_asleep(timed, &cut, f->root, LONG_MS);
  fall_asleep(brought, &endless, f->root, DUSK_OFF);
  run_until(&f->loop, &whole.calls);
  run_until(&f->loop, &cut.calls);
  assert_int_equal(endless.calls, 0);
  assert_int_equal(dusk_context_bring_forward(brought, uv_hrtime() + MS), 0);
  run_until(&f->loop, &endless.calls);
  assert_woken(&whole, 0);
  assert_woken(&cut, UV_ETIMEDOUT);
  assert_woken(&endless, UV_ETIMEDOUT);
  dusk_context_unref(timed);
  dusk_context_unref(brought);
  still_close(&still);
}

/* DUSK-066 */
static void that_root_may_be_detached(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other;
  assert_int_equal(dusk_context_attach(&f->loop, &other), 0);
  dusk_context_t *ctx = with_cancel(other);
  dusk_context_t *timed = with_timeout(other, 20, NULL);
  sleeper_t before, after, cut;
  fall_asleep(ctx, &before, f->root, 2);
  assert_int_equal(dusk_context_detach(other, NULL, NULL), 0);
  fall_asleep(ctx, &after, f->root, 2);
  fall_asleep(timed, &cut, f->root, LONG_MS);
  run_until(&f->loop, &before.calls);
  run_until(&f->loop, &after.calls);
  run_until(&f->loop, &cut.calls);
  assert_woken(&before, 0);
  assert_woken(&after, 0);
  assert_woken(&cut, UV_ETIMEDOUT);
  dusk_context_unref(ctx);
  dusk_context_unref(timed);
}

static void under_an_equal_deadline_there_it_is_whole(void **state) {
  fixture_t *f = *state, still;
  still_open(&still);
  frozen = uv_hrtime();
  dusk_context_t *ctx = with_deadline(still.root, frozen + 3 * MS, NULL);
  sleeper_t sleeper;
  fall_asleep(ctx, &sleeper, f->root, 3);
  frozen = 0;
  run_until(&f->loop, &sleeper.calls);
  assert_woken(&sleeper, 0);
  dusk_context_unref(ctx);
  still_close(&still);
}

/* -- Failure -------------------------------------------------------------- */

static void a_failed_start_leaves_nothing(void **state) {
  fixture_t *f = *state;
  size_t live = alloc_live();
  sleeper_t sleeper = {.calls = 0};
  dusk_sleep_t *sleep = &sleeper.sleep;
  alloc_fail_at(1);
  assert_int_equal(dusk_context_sleep(f->root, sleep, f->root, 1, on_awake),
                   UV_ENOMEM);
  assert_true(alloc_has_failed());
  alloc_fail_at(0);
  assert_int_equal(dusk_context_sleep(NULL, sleep, f->root, 1, on_awake),
                   UV_EINVAL);
  assert_int_equal(dusk_context_sleep(f->root, NULL, f->root, 1, on_awake),
                   UV_EINVAL);
  assert_int_equal(dusk_context_sleep(f->root, sleep, NULL, 1, on_awake),
                   UV_EINVAL);
  assert_int_equal(dusk_context_sleep(f->root, sleep, f->root, 1, NULL),
                   UV_EINVAL);
  run(&f->loop);
  assert_int_equal(sleeper.calls, 0);
  assert_false(dusk_sleep_stop(sleep));
  assert_int_equal(alloc_live(), live);
}

/* DUSK-038. One allocation, and one more for a context of another tree. */
static void each_allocation_may_fail(void **state) {
  fixture_t *f = *state, still;
  still_open(&still);
  dusk_context_t *trees[] = {f->root, still.root};
  for (size_t count = 1; count <= 2; count++) {
    sleeper_t sleeper = {.calls = 0};
    dusk_context_t *ctx = trees[count - 1];
    size_t live = alloc_live();
    for (size_t n = 1; n <= count; n++) {
      alloc_fail_at(n);
      assert_int_equal(
          dusk_context_sleep(ctx, &sleeper.sleep, f->root, 1, on_awake),
          UV_ENOMEM);
      assert_int_equal(alloc_live(), live);
      assert_int_equal(entries(ctx), 0);
    }
    alloc_fail_at(0);
    fall_asleep(ctx, &sleeper, f->root, LONG_MS);
    assert_int_equal(alloc_live(), live + count);
    assert_true(dusk_sleep_stop(&sleeper.sleep));
    assert_int_equal(alloc_live(), live);
  }
  still_close(&still);
}

static void a_detached_root_is_refused(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other;
  sleeper_t sleeper = {.calls = 0};
  assert_int_equal(dusk_context_attach(&f->loop, &other), 0);
  dusk_context_t *ctx = with_cancel(other);
  assert_int_equal(dusk_context_detach(other, NULL, NULL), 0);
  assert_int_equal(dusk_context_sleep(ctx, &sleeper.sleep, ctx, 1, on_awake),
                   UV_EINVAL);
  run(&f->loop);
  dusk_context_unref(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      fixture_test(sleeps_in_full),
      fixture_test(data_is_the_callers),
      fixture_test(of_no_time_ends_in_the_next_turn),
      fixture_test(ends_with_its_context),
      fixture_test(an_earlier_deadline_ends_it),
      fixture_test(under_an_equal_deadline_it_is_whole),
      fixture_test(under_an_ended_context_it_does_not_begin),
      fixture_test(without_an_end_it_waits_for_the_context),
      fixture_test(its_root_stays_attached),
      fixture_test(stopped_it_is_never_called),
      cmocka_unit_test(a_zeroed_one_does_not_sleep),
      fixture_test(the_callback_may_sleep_again_or_free),
      fixture_test(another_thread_may_start_it),
      fixture_test(stopping_races_with_waking),
      fixture_test(stopping_races_with_waking_in_another_tree),
      fixture_test(the_context_may_be_of_another_tree),
      fixture_test(that_trees_loop_need_not_turn),
      fixture_test(that_root_may_be_detached),
      fixture_test(under_an_equal_deadline_there_it_is_whole),
      fixture_test(a_failed_start_leaves_nothing),
      fixture_test(each_allocation_may_fail),
      fixture_test(a_detached_root_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
