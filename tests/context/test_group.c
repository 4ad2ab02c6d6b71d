/* Groups of calls. */
#include "fixture.h"
#include "alloc.h"
#include "tree.h"

#include <dusk/calls.h>
#include <dusk/group.h>
#include <stdlib.h>
#include <string.h>

enum { LONG_MS = 60000, MANY = 8 };

typedef struct {
  int calls;
  int err;
} result_t;

static void on_all_done(int err, void *arg) {
  result_t *result = arg;
  result->calls++;
  result->err = err;
}

static void wait_for(dusk_group_t *group, result_t *result) {
  *result = (result_t){.err = 1};
  assert_int_equal(dusk_group_wait(group, on_all_done, result), 0);
  assert_int_equal(result->calls, 0);
}

static void assert_result(const result_t *result, int err) {
  assert_int_equal(result->calls, 1);
  assert_int_equal(result->err, err);
}

static dusk_group_t *group_of(dusk_context_t *parent, dusk_context_t *root,
                              size_t limit) {
  dusk_group_t *group = NULL;
  assert_int_equal(dusk_group_new(parent, root, limit, &group), 0);
  return group;
}

/* A call that sleeps, and is done with what the sleep gives, or with `err`. */
typedef struct {
  dusk_call_t call;
  dusk_sleep_t sleep;
  dusk_context_t *root;
  uint64_t ms;
  int err;
  int starts;
  int at; /* its place among those that have been started */
  int slept;
} nap_t;

static int running, most_running, started;

static void on_slept(dusk_sleep_t *sleep, int err) {
  nap_t *nap = dusk__container_of(sleep, nap_t, sleep);
  nap->slept = err;
  running--;
  dusk_call_done(&nap->call, err != 0 ? err : nap->err);
}

static void on_start(dusk_call_t *call, dusk_context_t *ctx) {
  nap_t *nap = dusk__container_of(call, nap_t, call);
  nap->starts++;
  nap->at = started++;
  if (++running > most_running) most_running = running;
  assert_int_equal(
      dusk_context_sleep(ctx, &nap->sleep, nap->root, nap->ms, on_slept), 0);
}

static void nap_init(nap_t *nap, dusk_context_t *root, uint64_t ms, int err) {
  *nap = (nap_t){.root = root, .ms = ms, .err = err, .slept = 1};
}

static void go(dusk_group_t *group, nap_t *nap, dusk_context_t *root,
               uint64_t ms, int err) {
  nap_init(nap, root, ms, err);
  assert_int_equal(dusk_group_go(group, &nap->call, on_start), 0);
  assert_int_equal(nap->starts, 0);
}

static int open_test(void **state) {
  running = most_running = started = 0;
  return fixture_open(state);
}

/* DUSK-085, DUSK-087 */
static void all_go_well(void **state) {
  fixture_t *f = *state;
  size_t live = alloc_live();
  dusk_group_t *group = group_of(f->root, f->root, 0);
  nap_t naps[MANY];
  result_t result;
  dusk_context_t *ctx = dusk_context_ref(dusk_group_context(group));
  for (int i = 0; i < MANY; i++)
    go(group, &naps[i], f->root, (uint64_t)i % 3, 0);
  naps[0].call.data = f;
  wait_for(group, &result);
  assert_live(ctx);
  run(&f->loop);
  assert_result(&result, 0);
  for (int i = 0; i < MANY; i++) {
    assert_int_equal(naps[i].starts, 1);
    assert_int_equal(naps[i].slept, 0);
  }
  assert_int_equal(most_running, MANY);
  assert_ptr_equal(naps[0].call.data, f); /* DUSK-070 */
  assert_ended(ctx, UV_ECANCELED, &dusk_canceled);
  dusk_context_unref(ctx);
  assert_int_equal(alloc_live(), live);
}

/* DUSK-087 */
static void none_is_done_in_the_next_turn(void **state) {
  fixture_t *f = *state;
  result_t result;
  wait_for(group_of(f->root, f->root, 0), &result);
  run(&f->loop); /* it keeps the loop going */
  assert_result(&result, 0);
}

/* DUSK-085 */
static void the_first_failure_ends_the_rest(void **state) {
  fixture_t *f = *state;
  dusk_group_t *group = group_of(f->root, f->root, 0);
  nap_t naps[3], second;
  result_t result;
  go(group, &naps[0], f->root, LONG_MS, 0);
  go(group, &naps[1], f->root, 1, UV_EIO);
  go(group, &naps[2], f->root, LONG_MS, UV_EPIPE);
  go(group, &second, f->root, 0, 0);
  wait_for(group, &result);
  run(&f->loop);
  assert_result(&result, UV_EIO);
  assert_int_equal(naps[0].slept, UV_ECANCELED);
  assert_int_equal(naps[1].slept, 0);
  assert_int_equal(naps[2].slept, UV_ECANCELED);
  assert_int_equal(second.slept, 0);
}

/* DUSK-085 */
static void the_parents_end_ends_all(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 5, NULL);
  dusk_group_t *group = group_of(ctx, f->root, 2);
  nap_t naps[MANY];
  result_t result;
  for (int i = 0; i < MANY; i++)
    go(group, &naps[i], f->root, LONG_MS, 0);
  wait_for(group, &result);
  dusk_context_unref(ctx); /* it is held */
  run(&f->loop);
  assert_result(&result, UV_ETIMEDOUT);
  for (int i = 0; i < MANY; i++)
    assert_int_equal(naps[i].slept, UV_ETIMEDOUT);
}

/* DUSK-066 */
static void the_parent_may_be_of_another_tree(void **state) {
  fixture_t *f = *state, still;
  still_open(&still);
  dusk_context_t *ctx = with_timeout(still.root, 5, NULL);
  dusk_group_t *group = group_of(ctx, f->root, 0);
  nap_t nap;
  result_t result;
  go(group, &nap, f->root, LONG_MS, 0);
  wait_for(group, &result);
  run_until(&f->loop, &result.calls);
  assert_result(&result, UV_ETIMEDOUT);
  dusk_context_unref(ctx);
  still_close(&still);
}

/* DUSK-086 */
static void as_many_as_the_limit_run_in_order(void **state) {
  fixture_t *f = *state;
  for (size_t limit = 1; limit <= 3; limit++) {
    dusk_group_t *group = group_of(f->root, f->root, limit);
    nap_t naps[MANY];
    result_t result;
    running = most_running = started = 0;
    for (int i = 0; i < MANY; i++)
      go(group, &naps[i], f->root, (uint64_t)i % 2, 0);
    wait_for(group, &result);
    run(&f->loop);
    assert_result(&result, 0);
    assert_int_equal(most_running, limit);
    for (int i = 0; i < MANY; i++)
      assert_int_equal(naps[i].at, i);
  }
}

/* DUSK-086 */
static void a_try_does_not_wait(void **state) {
  fixture_t *f = *state;
  dusk_group_t *group = group_of(f->root, f->root, 2);
  nap_t naps[4];
  result_t result;
  for (int i = 0; i < 4; i++)
    nap_init(&naps[i], f->root, 1, 0);
  for (int i = 0; i < 3; i++) /* not yet started, but they will */
    assert_int_equal(dusk_group_try_go(group, &naps[i].call, on_start),
                     i < 2 ? 0 : UV_EAGAIN);
  run_until(&f->loop, &naps[1].starts);
  assert_int_equal(dusk_group_try_go(group, &naps[2].call, on_start),
                   UV_EAGAIN);
  run(&f->loop);
  assert_int_equal(naps[2].starts, 0);
  assert_int_equal(dusk_group_try_go(group, &naps[2].call, on_start), 0);
  wait_for(group, &result);
  run(&f->loop);
  assert_result(&result, 0);
  assert_int_equal(naps[2].starts, 1);
}

/* DUSK-087 */
static void what_waits_for_a_slot_is_started_after_a_failure(void **state) {
  fixture_t *f = *state;
  dusk_group_t *group = group_of(f->root, f->root, 1);
  nap_t failing, waiting[2];
  result_t result;
  go(group, &failing, f->root, 0, UV_EIO);
  go(group, &waiting[0], f->root, LONG_MS, 0);
  go(group, &waiting[1], f->root, LONG_MS, 0);
  wait_for(group, &result);
  run(&f->loop);
  assert_result(&result, UV_EIO);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(waiting[i].starts, 1);
    assert_int_equal(waiting[i].slept, UV_ECANCELED);
  }
}

/* A call that is done as it starts. */
typedef struct {
  dusk_call_t call;
  int *count;
} quick_t;

static void on_quick(dusk_call_t *call, dusk_context_t *ctx) {
  quick_t *quick = dusk__container_of(call, quick_t, call);
  (void)ctx;
  assert_int_equal(running++, 0); /* one is not started inside another */
  ++*quick->count;
  dusk_call_done(call, 0);
  free(quick); /* the caller's again */
  running--;
}

static void go_quick(dusk_group_t *group, int *count) {
  quick_t *quick = calloc(1, sizeof(*quick));
  assert_non_null(quick);
  quick->count = count;
  assert_int_equal(dusk_group_go(group, &quick->call, on_quick), 0);
}

static void a_call_may_be_done_as_it_starts(void **state) {
  fixture_t *f = *state;
  for (size_t limit = 0; limit <= 1; limit++) {
    dusk_group_t *group = group_of(f->root, f->root, limit);
    int count = 0;
    result_t result;
    for (int i = 0; i < 10000; i++)
      go_quick(group, &count);
    wait_for(group, &result);
    run(&f->loop);
    assert_result(&result, 0);
    assert_int_equal(count, 10000);
  }
}

/* A call that adds others, as a crawler does. */
typedef struct {
  dusk_call_t call;
  dusk_group_t *group;
  int depth;
  int *count;
} branch_t;

static void on_branch(dusk_call_t *call, dusk_context_t *ctx) {
  branch_t *branch = dusk__container_of(call, branch_t, call);
  (void)ctx;
  ++*branch->count;
  for (int i = 0; i < 2 && branch->depth > 0; i++) {
    branch_t *twig = malloc(sizeof(*twig));
    assert_non_null(twig);
    *twig = *branch;
    twig->depth--;
    assert_int_equal(dusk_group_go(twig->group, &twig->call, on_branch), 0);
  }
  dusk_call_done(call, 0);
  free(branch);
}

static void calls_may_be_added_while_it_is_waited_for(void **state) {
  fixture_t *f = *state;
  dusk_group_t *group = group_of(f->root, f->root, 3);
  branch_t *trunk = malloc(sizeof(*trunk));
  int count = 0;
  result_t result;
  wait_for(group, &result); /* before there is one */
  *trunk = (branch_t){.group = group, .depth = 5, .count = &count};
  assert_int_equal(dusk_group_go(group, &trunk->call, on_branch), 0);
  run(&f->loop);
  assert_result(&result, 0);
  assert_int_equal(count, 63);
}

static const dusk_cause_t full = {UV_ENOSPC, "the disk is full"};
static const dusk_cause_t *seen;

static void on_cause(dusk_call_t *call, dusk_context_t *ctx) {
  seen = dusk_context_cause(ctx);
  if (seen == NULL) dusk_context_cancel(ctx, &full);
  dusk_call_done(call, full.code);
}

static void a_call_may_tell_the_others_a_cause(void **state) {
  fixture_t *f = *state;
  dusk_group_t *group = group_of(f->root, f->root, 1);
  dusk_call_t calls[2];
  result_t result;
  for (int i = 0; i < 2; i++)
    assert_int_equal(dusk_group_go(group, &calls[i], on_cause), 0);
  wait_for(group, &result);
  run(&f->loop);
  assert_result(&result, UV_ENOSPC);
  assert_ptr_equal(seen, &full);
}

static void cancelling_it_is_no_failure(void **state) {
  fixture_t *f = *state;
  dusk_group_t *group = group_of(f->root, f->root, 0);
  result_t result;
  dusk_context_cancel(dusk_group_context(group), NULL);
  wait_for(group, &result);
  run(&f->loop);
  assert_result(&result, 0);
}

/* DUSK-065 */
static void its_root_stays_attached(void **state) {
  fixture_t *f = *state;
  dusk_group_t *group = group_of(f->root, f->root, 0);
  result_t result;
  assert_int_equal(uv_loop_alive(&f->loop),
                   0); /* which doesn't keep it going */
  assert_int_equal(dusk_context_detach(f->root, NULL, NULL), UV_EBUSY);
  wait_for(group, &result);
  run(&f->loop);
  assert_result(&result, 0);
}

typedef struct {
  fixture_t *f;
  result_t inner;
  nap_t nap;
} outer_t;

static void on_outer_done(int err, void *arg) {
  outer_t *outer = arg;
  assert_int_equal(err, 0);
  dusk_group_t *group = group_of(outer->f->root, outer->f->root, 0);
  go(group, &outer->nap, outer->f->root, 0, 0);
  wait_for(group, &outer->inner);
}

static void the_callback_may_begin_anew(void **state) {
  outer_t outer = {.f = *state};
  dusk_group_t *group = group_of(outer.f->root, outer.f->root, 0);
  assert_int_equal(dusk_group_wait(group, on_outer_done, &outer), 0);
  run(&outer.f->loop);
  assert_result(&outer.inner, 0);
}

static void on_last_done(int err, void *arg) {
  assert_int_equal(err, 0);
  assert_int_equal(dusk_context_detach(arg, NULL, NULL), 0);
}

/* DUSK-065 */
static void the_callback_may_detach(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other;
  nap_t nap;
  assert_int_equal(dusk_context_attach(&f->loop, &other), 0);
  dusk_group_t *group = group_of(other, other, 0);
  go(group, &nap, other, 1, 0);
  assert_int_equal(dusk_group_wait(group, on_last_done, other), 0);
  run(&f->loop);
  assert_int_equal(nap.slept, 0);
}

/* -- Failure -------------------------------------------------------------- */

static void a_failure_changes_nothing(void **state) {
  fixture_t *f = *state;
  dusk_group_t *group = (dusk_group_t *)f;
  dusk_call_t call;
  result_t result;
  size_t live = alloc_live();
  assert_int_equal(dusk_group_new(NULL, f->root, 0, &group), UV_EINVAL);
  assert_int_equal(dusk_group_new(f->root, NULL, 0, &group), UV_EINVAL);
  assert_int_equal(dusk_group_new(f->root, f->root, 0, NULL), UV_EINVAL);
  for (size_t n = 1; n <= 2; n++) { /* itself, its context; DUSK-038 */
    alloc_fail_at(n);
    assert_int_equal(dusk_group_new(f->root, f->root, 0, &group), UV_ENOMEM);
    assert_int_equal(alloc_live(), live);
  }
  alloc_fail_at(0);
  assert_ptr_equal(group, f);
  group = group_of(f->root, f->root, 0);
  assert_int_equal(dusk_group_go(NULL, &call, on_cause), UV_EINVAL);
  assert_int_equal(dusk_group_go(group, NULL, on_cause), UV_EINVAL);
  assert_int_equal(dusk_group_go(group, &call, NULL), UV_EINVAL);
  assert_int_equal(dusk_group_try_go(NULL, &call, on_cause), UV_EINVAL);
  assert_int_equal(dusk_group_try_go(group, NULL, on_cause), UV_EINVAL);
  assert_int_equal(dusk_group_wait(NULL, on_all_done, NULL), UV_EINVAL);
  assert_int_equal(dusk_group_wait(group, NULL, NULL), UV_EINVAL);
  wait_for(group, &result);
  assert_int_equal(dusk_group_wait(group, on_all_done, NULL), UV_EALREADY);
  run(&f->loop);
  assert_result(&result, 0);
}

#define group_test(f)                                                          \
  cmocka_unit_test_setup_teardown(f, open_test, fixture_close)

int main(void) {
  const struct CMUnitTest tests[] = {
      group_test(all_go_well),
      group_test(none_is_done_in_the_next_turn),
      group_test(the_first_failure_ends_the_rest),
      group_test(the_parents_end_ends_all),
      group_test(the_parent_may_be_of_another_tree),
      group_test(as_many_as_the_limit_run_in_order),
      group_test(a_try_does_not_wait),
      group_test(what_waits_for_a_slot_is_started_after_a_failure),
      group_test(a_call_may_be_done_as_it_starts),
      group_test(calls_may_be_added_while_it_is_waited_for),
      group_test(a_call_may_tell_the_others_a_cause),
      group_test(cancelling_it_is_no_failure),
      group_test(its_root_stays_attached),
      group_test(the_callback_may_begin_anew),
      group_test(the_callback_may_detach),
      group_test(a_failure_changes_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
