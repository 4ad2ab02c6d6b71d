/* dusk_context_wait: a thread that waits without a loop. Needs --wrap for
 * uv_cond_timedwait. */
#include "fixture.h"
#include "team.h"

#include <stdatomic.h>

static const dusk_cause_t cause = {UV_EIO, "why"};

int __real_uv_cond_timedwait(uv_cond_t *cond, uv_mutex_t *lock, uint64_t ns);
int __wrap_uv_cond_timedwait(uv_cond_t *cond, uv_mutex_t *lock, uint64_t ns);
static uv_sem_t waits; /* one more thread holds the lock and is about to wait */

/* libuv adds the time to the clock, and doesn't look whether that fits. */
int __wrap_uv_cond_timedwait(uv_cond_t *cond, uv_mutex_t *lock, uint64_t ns) {
  assert_true(ns <= UINT64_MAX - uv_hrtime() - 60000 * MS);
  uv_sem_post(&waits);
  return __real_uv_cond_timedwait(cond, lock, ns);
}

static void an_ended_context_is_told_at_once(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  dusk_context_cancel(ctx, NULL);
  assert_int_equal(dusk_context_wait(ctx, DUSK_OFF), UV_ECANCELED);
  dusk_context_unref(ctx);
  ctx = with_timeout(f->root, 0, NULL);
  assert_int_equal(dusk_context_wait(ctx, DUSK_OFF), UV_ETIMEDOUT);
  dusk_context_unref(ctx);
  assert_int_equal(dusk_context_wait(NULL, 0), UV_EINVAL);
}

/* DUSK-052 */
static void a_live_one_is_waited_for_as_long_as_said(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  uint64_t begin = uv_hrtime();
  assert_int_equal(dusk_context_wait(ctx, 0), 0);
  assert_int_equal(dusk_context_wait(ctx, 20), 0);
  assert_true(uv_hrtime() - begin >= 20 * MS);
  assert_int_equal(dusk_context_wait(f->root, 1), 0);
  assert_int_equal(entries(ctx), 0);
  end(ctx);
}

/* DUSK-051 */
static void the_deadline_needs_no_loop(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 20, &cause);
  dusk_context_t *below = with_cancel(ctx);
  uint64_t deadline = dusk_context_deadline(ctx);
  assert_int_equal(dusk_context_wait(below, DUSK_OFF), UV_ETIMEDOUT);
  assert_true(uv_hrtime() >= deadline);
  assert_ended(below, UV_ETIMEDOUT, &cause);
  dusk_context_unref(below);
  dusk_context_unref(ctx);
}

/* -- Woken by another thread ---------------------------------------------- */

typedef struct {
  dusk_context_t *ctx;
  uint64_t timeout_ms;
  atomic_int told[THREADS];
} wait_t;

static void wait_for(void *arg, int number) {
  wait_t *wait = arg;
  wait->told[number] = dusk_context_wait(wait->ctx, wait->timeout_ms);
}

/* Returns when all of them wait, but for the lock that they give up then. */
static void start_waiting(team_t *team, wait_t *wait) {
  uv_sem_destroy(&waits);
  assert_int_equal(uv_sem_init(&waits, 0), 0);
  team_start(team, THREADS, wait_for, wait);
  for (int i = 0; i < THREADS; i++)
    uv_sem_wait(&waits);
}

static void expect_told(team_t *team, wait_t *wait, int err) {
  team_join(team);
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(wait->told[i], err);
  assert_int_equal(entries(wait->ctx), 0);
}

/* DUSK-051 */
static void a_cancel_wakes_all(void **state) {
  fixture_t *f = *state;
  dusk_context_t *parent = with_cancel(f->root);
  wait_t wait = {.ctx = with_cancel(parent), .timeout_ms = DUSK_OFF};
  team_t team;
  start_waiting(&team, &wait);
  dusk_context_cancel(parent, NULL);
  expect_told(&team, &wait, UV_ECANCELED);
  dusk_context_unref(wait.ctx);
  dusk_context_unref(parent);
}

static void the_furthest_deadline_is_waited_for(void **state) {
  fixture_t *f = *state;
  wait_t wait = {.ctx = with_deadline(f->root, UINT64_MAX - 1, NULL),
                 .timeout_ms = DUSK_OFF};
  team_t team;
  start_waiting(&team, &wait);
  dusk_context_cancel(wait.ctx, NULL);
  expect_told(&team, &wait, UV_ECANCELED);
  dusk_context_unref(wait.ctx);
}

static void a_deadline_brought_forward_wakes_in_time(void **state) {
  fixture_t *f = *state;
  uint64_t far[] = {DUSK_OFF, 3600000};
  for (int i = 0; i < 2; i++) {
    dusk_context_t *parent = with_timeout(f->root, far[i], NULL);
    wait_t wait = {.ctx = with_cancel(parent), .timeout_ms = 7200000};
    team_t team;
    start_waiting(&team, &wait);
    assert_int_equal(dusk_context_bring_forward(parent, uv_hrtime() + 10 * MS),
                     0);
    expect_told(&team, &wait, UV_ETIMEDOUT);
    dusk_context_unref(wait.ctx);
    dusk_context_unref(parent);
  }
}

static void cancel_or_wait(void *arg, int number) {
  wait_t *wait = arg;
  if (number == 0)
    dusk_context_cancel(wait->ctx, NULL);
  else
    wait_for(arg, number);
}

static void waiting_against_cancelling(void **state) {
  fixture_t *f = *state;
  for (int round = 0; round < 500; round++) {
    wait_t wait = {.ctx = with_cancel(f->root), .timeout_ms = DUSK_OFF};
    together(THREADS, cancel_or_wait, &wait);
    for (int i = 1; i < THREADS; i++)
      assert_int_equal(wait.told[i], UV_ECANCELED);
    dusk_context_unref(wait.ctx);
  }
}

int main(void) {
  if (uv_sem_init(&waits, 0) != 0) return 1;
  const struct CMUnitTest tests[] = {
      fixture_test(an_ended_context_is_told_at_once),
      fixture_test(a_live_one_is_waited_for_as_long_as_said),
      fixture_test(the_deadline_needs_no_loop),
      fixture_test(a_cancel_wakes_all),
      fixture_test(the_furthest_deadline_is_waited_for),
      fixture_test(a_deadline_brought_forward_wakes_in_time),
      fixture_test(waiting_against_cancelling),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
