/* A loop's time-outs: their order, what renews and clears them, and the one
 * timer they share. Deadlines are in the past, or a few ms away where the timer
 * itself is what is tested. */
#include "timeouts.h"

#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 16 };

typedef struct waiting {
  dusk__timeout_t timeout;
  dusk__timeout_t *clears; /* when it expires */
  uint64_t again_ms;       /* its deadline then; 0: none */
  bool is_freed;           /* then */
} waiting_t;

static uv_loop_t loop;
static dusk__timeouts_t timeouts;
static waiting_t *expired[MOST];
static dusk__wait_t expired_wait[MOST];
static int expired_count;

static void on_expired(dusk__timeout_t *timeout, dusk__wait_t wait) {
  waiting_t *waiting = DUSK__OWNER(timeout, waiting_t, timeout);
  assert_int_equal(timeout->wait, DUSK__WAIT_NOTHING);
  assert_true(expired_count < MOST);
  expired[expired_count] = waiting;
  expired_wait[expired_count++] = wait;
  if (waiting->clears) dusk__timeout_clear(waiting->clears);
  if (waiting->again_ms)
    dusk__timeout_set(&timeouts, timeout, wait, waiting->again_ms);
  waiting->again_ms = 0;
  if (waiting->is_freed) free(waiting);
}

static int set_up(void **state) {
  (void)state;
  expired_count = 0;
  assert_int_equal(uv_loop_init(&loop), 0);
  dusk__timeouts_init(&timeouts, &loop, on_expired);
  assert_false(uv_has_ref((uv_handle_t *)&timeouts.timer));
  uv_ref((uv_handle_t *)&timeouts.timer); /* nothing else keeps the loop */
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  uv_close((uv_handle_t *)&timeouts.timer, NULL);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&loop), 0);
  return 0;
}

static void init(waiting_t *waiting, size_t count) {
  memset(waiting, 0, count * sizeof(*waiting));
  for (size_t i = 0; i < count; i++)
    dusk__timeout_init(&waiting[i].timeout);
}

/* On the loop's clock, relative to now. */
static void set(waiting_t *waiting, dusk__wait_t wait, int ms) {
  dusk__timeout_set(&timeouts, &waiting->timeout, wait,
                    uv_now(&loop) + (uint64_t)(int64_t)ms);
}

/* Until nothing is waited for. */
static void run(void) {
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_false(uv_is_active((uv_handle_t *)&timeouts.timer));
  assert_true(timeouts.armed_ms == UINT64_MAX);
}

static void deadlines_come_in_order(void **state) {
  static const int ms[] = {-10, -30, -20, -30, -40};
  static const int order[] = {4, 1, 3, 2, 0}; /* equal ones as they were set */
  (void)state;
  waiting_t waiting[5];
  init(waiting, 5);
  for (int i = 0; i < 5; i++)
    set(&waiting[i], DUSK__WAIT_IDLE, ms[i]);
  run();
  assert_int_equal(expired_count, 5);
  for (int i = 0; i < 5; i++)
    assert_ptr_equal(expired[i], &waiting[order[i]]);
}

static void a_deadline_is_not_early(void **state) {
  (void)state;
  waiting_t waiting[2];
  init(waiting, 2);
  set(&waiting[0], DUSK__WAIT_IDLE, 6);
  set(&waiting[1], DUSK__WAIT_HEADER, 3);
  uint64_t second_ms = waiting[1].timeout.deadline_ms;
  uint64_t first_ms = waiting[0].timeout.deadline_ms;
  while (expired_count == 0)
    uv_run(&loop, UV_RUN_ONCE);
  assert_ptr_equal(expired[0], &waiting[1]);
  assert_true(uv_now(&loop) >= second_ms);
  run();
  assert_int_equal(expired_count, 2);
  assert_true(uv_now(&loop) >= first_ms);
}

static void who_waits_is_told_for_what(void **state) {
  (void)state;
  waiting_t waiting[DUSK__WAITS];
  init(waiting, DUSK__WAITS);
  for (int wait = 0; wait < DUSK__WAITS; wait++)
    set(&waiting[wait], (dusk__wait_t)wait, -1);
  run();
  assert_int_equal(expired_count, DUSK__WAITS);
  for (int i = 0; i < DUSK__WAITS; i++)
    assert_ptr_equal(expired[i], &waiting[expired_wait[i]]);
}

static void one_waits_for_one_thing(void **state) {
  (void)state;
  waiting_t waiting;
  init(&waiting, 1);
  set(&waiting, DUSK__WAIT_HEADER, -1);
  set(&waiting, DUSK__WAIT_BODY, -1);
  assert_true(dusk__list_empty(&timeouts.waits[DUSK__WAIT_HEADER]));
  run();
  assert_int_equal(expired_count, 1);
  assert_int_equal(expired_wait[0], DUSK__WAIT_BODY);
}

static void a_renewal_leaves_the_timer_for_an_early_look(void **state) {
  (void)state;
  waiting_t waiting;
  init(&waiting, 1);
  set(&waiting, DUSK__WAIT_IDLE, 0);
  uint64_t first_ms = timeouts.armed_ms;
  set(&waiting, DUSK__WAIT_IDLE, 100000);
  assert_int_equal(timeouts.armed_ms, first_ms); /* no call of the timer */
  uv_run(&loop, UV_RUN_NOWAIT);
  assert_int_equal(expired_count, 0);
  assert_int_equal(timeouts.armed_ms, waiting.timeout.deadline_ms);
  set(&waiting, DUSK__WAIT_IDLE, -1); /* nearer: it is moved */
  run();
  assert_int_equal(expired_count, 1);
}

static void what_was_cleared_does_not_come(void **state) {
  (void)state;
  waiting_t waiting[2];
  init(waiting, 2);
  set(&waiting[0], DUSK__WAIT_IDLE, -1);
  set(&waiting[1], DUSK__WAIT_IDLE, -1);
  dusk__timeout_clear(&waiting[0].timeout);
  dusk__timeout_clear(&waiting[0].timeout); /* does nothing */
  run();
  assert_int_equal(expired_count, 1);
  assert_ptr_equal(expired[0], &waiting[1]);
}

/* Of its own kind, and of a later one. */
static void a_callback_clears_another(void **state) {
  (void)state;
  for (int wait = DUSK__WAIT_HEADER; wait < DUSK__WAITS; wait++) {
    waiting_t waiting[2];
    init(waiting, 2);
    expired_count = 0;
    set(&waiting[0], DUSK__WAIT_HEADER, -2);
    set(&waiting[1], (dusk__wait_t)wait, -1);
    waiting[0].clears = &waiting[1].timeout;
    run();
    assert_int_equal(expired_count, 1);
    assert_ptr_equal(expired[0], &waiting[0]);
  }
}

static void a_callback_sets_its_own_anew(void **state) {
  (void)state;
  waiting_t waiting;
  init(&waiting, 1);
  set(&waiting, DUSK__WAIT_IDLE, -1);
  waiting.again_ms = uv_now(&loop) + 2;
  run();
  assert_int_equal(expired_count, 2);
}

static void a_callback_frees_its_own(void **state) {
  (void)state;
  waiting_t *gone = calloc(1, sizeof(*gone));
  waiting_t waiting;
  assert_non_null(gone);
  init(gone, 1);
  init(&waiting, 1);
  gone->is_freed = true;
  set(gone, DUSK__WAIT_IDLE, -2);
  set(&waiting, DUSK__WAIT_IDLE, -1);
  run();
  assert_int_equal(expired_count, 2);
}

static void for_ever_waits_for_nothing(void **state) {
  static const uint64_t for_ever_ms[] = {UINT64_MAX, UINT64_C(1) << 59};
  (void)state;
  waiting_t waiting;
  init(&waiting, 1);
  for (int i = 0; i < 2; i++) {
    set(&waiting, DUSK__WAIT_IDLE, -1); /* which is no longer waited for */
    dusk__timeout_set(&timeouts, &waiting.timeout, DUSK__WAIT_IDLE,
                      for_ever_ms[i]);
    assert_int_equal(waiting.timeout.wait, DUSK__WAIT_NOTHING);
  }
  run();
  assert_int_equal(expired_count, 0);
  uint64_t last_ms = (UINT64_C(1) << 59) - 1;
  dusk__timeout_set(&timeouts, &waiting.timeout, DUSK__WAIT_IDLE, last_ms);
  assert_int_equal(waiting.timeout.deadline_ms, last_ms);
  dusk__timeout_clear(&waiting.timeout);
}

static void count_handle(uv_handle_t *handle, void *count) {
  (void)handle;
  ++*(int *)count;
}

static void all_share_one_timer(void **state) {
  (void)state;
  enum { MANY = 1000 };
  waiting_t *waiting = calloc(MANY, sizeof(*waiting));
  int handles = 0;
  assert_non_null(waiting);
  init(waiting, MANY);
  for (int i = 0; i < MANY; i++)
    set(&waiting[i], (dusk__wait_t)(i % DUSK__WAITS), 100000 - i);
  uv_walk(&loop, count_handle, &handles);
  assert_int_equal(handles, 1);
  assert_int_equal(timeouts.armed_ms, waiting[MANY - 1].timeout.deadline_ms);
  for (int i = 0; i < MANY; i++)
    dusk__timeout_clear(&waiting[i].timeout);
  free(waiting);
}

static void a_sum_does_not_wrap(void **state) {
  (void)state;
  assert_int_equal(dusk__after_ms(5, 7), 12);
  assert_true(dusk__after_ms(5, UINT64_MAX) == UINT64_MAX);
  assert_true(dusk__after_ms(5, UINT64_MAX - 5) == UINT64_MAX);
  assert_true(dusk__after_ms(5, UINT64_MAX - 6) == UINT64_MAX - 1);
  assert_true(dusk__after_ms(UINT64_MAX, 1) == UINT64_MAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(deadlines_come_in_order),
      TEST(a_deadline_is_not_early),
      TEST(who_waits_is_told_for_what),
      TEST(one_waits_for_one_thing),
      TEST(a_renewal_leaves_the_timer_for_an_early_look),
      TEST(what_was_cleared_does_not_come),
      TEST(a_callback_clears_another),
      TEST(a_callback_sets_its_own_anew),
      TEST(a_callback_frees_its_own),
      TEST(for_ever_waits_for_nothing),
      TEST(all_share_one_timer),
      TEST(a_sum_does_not_wrap),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
