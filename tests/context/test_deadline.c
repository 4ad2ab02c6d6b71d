/* Deadlines, timeouts, and the one timer that serves them. */
#include "fixture.h"
#include "tree.h"

/* The linker leads dusk's calls here: --wrap=uv_timer_start. */
int __real_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout,
                          uint64_t repeat);
int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout,
                          uint64_t repeat);
static int timer_starts;

int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout,
                          uint64_t repeat) {
  timer_starts++;
  return __real_uv_timer_start(timer, cb, timeout, repeat);
}

static const dusk_cause_t mine = {UV_ETIMEDOUT, "mine"};
static const dusk_cause_t parents = {UV_ETIMEDOUT, "parent's"};
static const dusk_key_t key = {"key"};

typedef struct {
  dusk_waiter_t waiter;
  dusk_context_t *ctx;
  uint64_t at_ns;
  int err;
  int called;
} stamp_t;

static void on_stamp(dusk_waiter_t *waiter) {
  stamp_t *stamp = dusk__container_of(waiter, stamp_t, waiter);
  stamp->at_ns = uv_hrtime();
  stamp->err = dusk_context_err(stamp->ctx);
  stamp->called++;
}

static void stamp_after(dusk_context_t *ctx, stamp_t *stamp,
                        dusk_context_t *root) {
  *stamp = (stamp_t){.ctx = ctx};
  dusk_context_after(ctx, &stamp->waiter, root, on_stamp);
}

static bool in_heap(dusk_context_t *ctx) {
  return ctx->owns_deadline;
}

static void ctx_041_a_context_ends_at_its_deadline(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_deadline(f->root, uv_hrtime() + 5 * MS, NULL);
  stamp_t stamp;
  stamp_after(ctx, &stamp, f->root);
  run(&f->loop);
  assert_int_equal(stamp.called, 1);
  assert_int_equal(stamp.err, UV_ETIMEDOUT); /* CTX-044 */
  assert_ended(ctx, UV_ETIMEDOUT, &dusk_deadline_exceeded);
  assert_string_equal(dusk_strerror(stamp.err), /* CTX-043 */
                      "context deadline exceeded");
  assert_string_equal(dusk_context_cause(ctx)->text,
                      "context deadline exceeded");
  dusk_context_unref(ctx);
}

/* Deadlines that lie anywhere within a millisecond; the late ones are judged
 * by the best of them, since the machine may be busy. */
static void ctx_042_never_before_the_deadline(void **state) {
  fixture_t *f = *state;
  uint64_t best_ns = UINT64_MAX;
  for (uint64_t i = 0; i < 40; i++) {
    uint64_t deadline_ns = uv_hrtime() + 3 * MS + i * 25000;
    dusk_context_t *ctx = with_deadline(f->root, deadline_ns, NULL);
    stamp_t stamp;
    stamp_after(ctx, &stamp, f->root);
    run(&f->loop);
    assert_int_equal(stamp.called, 1);
    assert_true(stamp.at_ns >= deadline_ns);
    if (stamp.at_ns - deadline_ns < best_ns)
      best_ns = stamp.at_ns - deadline_ns;
    dusk_context_unref(ctx);
  }
  assert_true(best_ns < 1 * MS);
}

static void ctx_046_a_past_deadline_has_ended(void **state) {
  fixture_t *f = *state;
  uint64_t now = uv_hrtime();
  dusk_context_t *past = with_deadline(f->root, now - MS, NULL);
  dusk_context_t *present = with_deadline(f->root, now, &mine);
  /* There is no timeout below 0, which has passed: CTX-051. */
  dusk_context_t *zero = with_timeout(f->root, 0, NULL);
  assert_int_equal(past->kind, DUSK__TIMED);
  assert_ended(past, UV_ETIMEDOUT, &dusk_deadline_exceeded);
  assert_ended(present, UV_ETIMEDOUT, &mine);                /* CTX-047 */
  assert_ended(zero, UV_ETIMEDOUT, &dusk_deadline_exceeded); /* CTX-050 */
  assert_int_equal(entries(f->root), 0);                     /* CTX-049 */
  dusk_context_cancel(present, NULL);                        /* CTX-048 */
  assert_ended(present, UV_ETIMEDOUT, &mine);
  assert_int_equal(uv_loop_alive(&f->loop), 0);
  dusk_context_unref(past);
  dusk_context_unref(present);
  dusk_context_unref(zero);
}

static void ctx_052_a_timeout_counts_from_the_call(void **state) {
  fixture_t *f = *state;
  /* The loop's own clock stands still meanwhile. */
  uint64_t start = uv_hrtime();
  wait_until(start + 5 * MS);
  uint64_t before = uv_hrtime();
  dusk_context_t *ctx = with_timeout(f->root, 10, NULL);
  uint64_t after = uv_hrtime();
  assert_true(dusk_context_deadline(ctx) >= before + 10 * MS);
  assert_true(dusk_context_deadline(ctx) <= after + 10 * MS);
  stamp_t stamp;
  stamp_after(ctx, &stamp, f->root);
  run(&f->loop);
  assert_true(stamp.at_ns >= before + 10 * MS);
  dusk_context_unref(ctx);
}

static void ctx_053_huge_timeouts_do_not_overflow(void **state) {
  fixture_t *f = *state;
  static const uint64_t huge_ms[] = {3600000ULL * 1000, UINT64_MAX / 1000000,
                                     UINT64_MAX / 1000001, UINT64_MAX - 1};
  for (size_t i = 0; i < sizeof(huge_ms) / sizeof(huge_ms[0]); i++) {
    dusk_context_t *ctx = with_timeout(f->root, huge_ms[i], NULL);
    assert_live(ctx);
    assert_true(dusk_context_deadline(ctx) > uv_hrtime() + 3600000ULL * MS);
    end(ctx);
  }
  dusk_context_t *none = with_timeout(f->root, DUSK_OFF, NULL);
  assert_true(dusk_context_deadline(none) == DUSK_OFF);
  assert_false(in_heap(none));
  end(none);
}

static void ctx_054_a_cancel_before_the_deadline_stands(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 5, &mine);
  dusk_context_cancel(ctx, NULL);
  assert_ended(ctx, UV_ECANCELED, &dusk_canceled); /* CTX-079 too */
  assert_false(in_heap(ctx));                      /* CTX-055 */
  wait_until(dusk_context_deadline(ctx) + MS);
  turn(&f->loop);
  assert_ended(ctx, UV_ECANCELED, &dusk_canceled);
  dusk_context_unref(ctx);
}

static void ctx_056_deadlines_are_told(void **state) {
  fixture_t *f = *state;
  uint64_t at = uv_hrtime() + 3600000ULL * MS;
  dusk_context_t *ctx = with_deadline(f->root, at, NULL);
  dusk_context_t *child = with_cancel(ctx);
  dusk_context_t *layer = with_value(child, &key, NULL);
  dusk_context_t *none = with_cancel(f->root);
  for (int ended = 0; ended < 2; ended++) { /* CTX-057, CTX-058 */
    assert_true(dusk_context_deadline(ctx) == at);
    assert_true(dusk_context_deadline(child) == at);
    assert_true(dusk_context_deadline(layer) == at);
    assert_true(dusk_context_deadline(none) == DUSK_OFF);
    dusk_context_cancel(ctx, NULL);
    dusk_context_cancel(none, NULL);
  }
  dusk_context_t *late = with_cancel(ctx);
  assert_true(dusk_context_deadline(late) == at);
  dusk_context_unref(late);
  dusk_context_unref(none);
  dusk_context_unref(layer);
  dusk_context_unref(child);
  dusk_context_unref(ctx);
}

static void ctx_059_an_earlier_parent_counts(void **state) {
  fixture_t *f = *state;
  dusk_context_t *parent = with_timeout(f->root, 3, &parents);
  dusk_context_t *child = with_timeout(parent, 3600000, &mine);
  assert_true(dusk_context_deadline(child) == dusk_context_deadline(parent));
  assert_false(in_heap(child));
  stamp_t stamp;
  stamp_after(child, &stamp, f->root);
  run(&f->loop);
  assert_int_equal(stamp.called, 1);
  assert_ended(child, UV_ETIMEDOUT, &parents); /* CTX-060 */
  dusk_context_unref(child);
  dusk_context_unref(parent);
}

static void ctx_061_equal_deadlines_keep_their_causes(void **state) {
  fixture_t *f = *state;
  for (int asked = 0; asked < 3; asked++) {
    uint64_t at = uv_hrtime() + 2 * MS;
    dusk_context_t *parent = with_deadline(f->root, at, &parents);
    dusk_context_t *between = with_cancel(parent);
    dusk_context_t *child = with_deadline(between, at, &mine);
    dusk_context_t *below = with_cancel(child);
    assert_true(in_heap(child));
    stamp_t stamp;
    stamp_after(below, &stamp, f->root);
    if (asked > 0) {
      wait_until(at);
      dusk_context_err(asked == 1 ? child : parent);
    }
    run(&f->loop);
    assert_int_equal(stamp.called, 1);
    assert_ended(parent, UV_ETIMEDOUT, &parents);
    assert_ended(between, UV_ETIMEDOUT, &parents);
    assert_ended(child, UV_ETIMEDOUT, &mine);
    assert_ended(below, UV_ETIMEDOUT, &mine);
    dusk_context_unref(below);
    dusk_context_unref(child);
    dusk_context_unref(between);
    dusk_context_unref(parent);
  }
}

static void ctx_062_an_earlier_child_ends_alone(void **state) {
  fixture_t *f = *state;
  dusk_context_t *parent = with_timeout(f->root, 3600000, &parents);
  dusk_context_t *child = with_timeout(parent, 2, &mine);
  stamp_t stamp;
  stamp_after(child, &stamp, f->root);
  run(&f->loop);
  assert_ended(child, UV_ETIMEDOUT, &mine);
  assert_live(parent);
  assert_int_equal(entries(parent), 0);
  dusk_context_unref(child);
  end(parent);
}

static void ctx_063_a_parents_cancel_frees_the_childs_deadline(void **state) {
  fixture_t *f = *state;
  dusk_context_t *parent = with_cancel(f->root);
  dusk_context_t *child = with_timeout(parent, 3600000, &mine);
  assert_true(in_heap(child));
  dusk_context_cancel(parent, &parents);
  assert_ended(child, UV_ECANCELED, &parents);
  assert_false(in_heap(child));
  assert_null(((dusk__root_t *)f->root)->heap);
  dusk_context_unref(child);
  dusk_context_unref(parent);
}

static void ctx_031_a_child_takes_its_parents_reason(void **state) {
  fixture_t *f = *state;
  dusk_context_t *parent = with_timeout(f->root, 1, NULL);
  dusk_context_t *child = with_cancel(parent);
  stamp_t stamp;
  stamp_after(child, &stamp, f->root);
  run(&f->loop);
  assert_int_equal(stamp.err, UV_ETIMEDOUT);
  assert_ended(child, UV_ETIMEDOUT, &dusk_deadline_exceeded);
  dusk_context_unref(child);
  dusk_context_unref(parent);
}

/* DUSK-005 */
static void who_asks_finds_a_passed_deadline(void **state) {
  fixture_t *f = *state;
  dusk_context_t *top = with_timeout(f->root, 1, &mine);
  dusk_context_t *child = with_cancel(top);
  dusk_context_t *layer = with_value(child, &key, NULL);
  stamp_t stamp;
  stamp_after(top, &stamp, f->root);
  wait_until(dusk_context_deadline(top));
  /* The loop has not turned, and yet: */
  assert_int_equal(dusk_context_err(layer), UV_ETIMEDOUT);
  assert_ended(top, UV_ETIMEDOUT, &mine);
  assert_int_equal(stamp.called, 0);
  run(&f->loop);
  assert_int_equal(stamp.called, 1);
  dusk_context_unref(layer);
  dusk_context_unref(child);
  dusk_context_unref(top);
}

/* DUSK-006 */
static void deriving_finds_a_passed_deadline(void **state) {
  fixture_t *f = *state;
  dusk_context_t *top = with_timeout(f->root, 1, &parents);
  wait_until(dusk_context_deadline(top));
  dusk_context_t *child = with_timeout(top, 0, &mine);
  assert_ended(child, UV_ETIMEDOUT, &parents);
  dusk_context_unref(child);
  dusk_context_unref(top);
}

/* DUSK-006 */
static void a_cancel_finds_a_passed_deadline(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 1, &mine);
  dusk_context_t *child = with_cancel(ctx);
  wait_until(dusk_context_deadline(ctx));
  dusk_context_cancel(child, &parents);
  assert_ended(child, UV_ETIMEDOUT, &mine);
  dusk_context_unref(child);
  dusk_context_unref(ctx);
}

/* -- bring_forward -------------------------------------------------------- */

/* DUSK-001 */
static void brought_forward_it_ends_earlier(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 3600000, &mine);
  uint64_t at = uv_hrtime() + 3 * MS;
  stamp_t stamp;
  stamp_after(ctx, &stamp, f->root);
  assert_int_equal(dusk_context_bring_forward(ctx, at), 0);
  assert_true(dusk_context_deadline(ctx) == at);
  run(&f->loop);
  assert_int_equal(stamp.called, 1);
  assert_true(stamp.at_ns >= at);
  assert_ended(ctx, UV_ETIMEDOUT, &mine);
  dusk_context_unref(ctx);
}

/* DUSK-002 */
static void bringing_forward_only_brings_forward(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 1000000, NULL);
  uint64_t at = dusk_context_deadline(ctx);
  assert_int_equal(dusk_context_bring_forward(ctx, at + 1), 0);
  assert_int_equal(dusk_context_bring_forward(ctx, DUSK_OFF), 0);
  assert_true(dusk_context_deadline(ctx) == at);
  dusk_context_cancel(ctx, NULL);
  assert_int_equal(dusk_context_bring_forward(ctx, 1), 0);
  assert_true(dusk_context_deadline(ctx) == at);
  assert_ended(ctx, UV_ECANCELED, &dusk_canceled);
  dusk_context_unref(ctx);

  dusk_context_t *plain = with_cancel(f->root);
  dusk_context_t *layer = with_value(f->root, &key, NULL);
  assert_int_equal(dusk_context_bring_forward(plain, 1), UV_EINVAL);
  assert_int_equal(dusk_context_bring_forward(layer, 1), UV_EINVAL);
  assert_int_equal(dusk_context_bring_forward(f->root, 1), UV_EINVAL);
  assert_int_equal(dusk_context_bring_forward(NULL, 1), UV_EINVAL);
  dusk_context_unref(layer);
  end(plain);
}

/* DUSK-003 */
static void brought_into_the_past_it_ends_at_once(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_deadline(f->root, DUSK_OFF, &mine);
  dusk_context_t *child = with_cancel(ctx);
  assert_int_equal(dusk_context_bring_forward(ctx, uv_hrtime()), 0);
  assert_ended(ctx, UV_ETIMEDOUT, &mine);
  assert_ended(child, UV_ETIMEDOUT, &mine);
  assert_int_equal(entries(f->root), 0);
  dusk_context_unref(child);
  dusk_context_unref(ctx);
}

/* DUSK-004, in a tree in which some tell the new deadline and some an earlier
 * one. */
static void all_below_tell_what_was_brought_forward(void **state) {
  fixture_t *f = *state;
  uint64_t now = uv_hrtime();
  uint64_t early = now + 1000 * MS, new = now + 2000 * MS;
  uint64_t late = now + 3000 * MS;
  dusk_context_t *top = with_deadline(f->root, DUSK_OFF, &parents);
  dusk_context_t *plain = with_cancel(top);
  dusk_context_t *layer = with_value(plain, &key, NULL);
  dusk_context_t *later = with_deadline(layer, late, &mine);
  dusk_context_t *below_later = with_cancel(later);
  dusk_context_t *earlier = with_deadline(top, early, &mine);
  dusk_context_t *below_earlier = with_cancel(earlier);
  dusk_context_t *equal = with_deadline(top, new, &mine);
  assert_true(in_heap(later));

  assert_int_equal(dusk_context_bring_forward(top, new), 0);
  dusk_context_t *new_ones[] = {top, plain, layer, later, below_later, equal};
  for (size_t i = 0; i < sizeof(new_ones) / sizeof(new_ones[0]); i++)
    assert_true(dusk_context_deadline(new_ones[i]) == new);
  assert_true(dusk_context_deadline(earlier) == early);
  assert_true(dusk_context_deadline(below_earlier) == early);
  assert_true(in_heap(top) && in_heap(equal) && in_heap(earlier));
  assert_false(in_heap(later));

  assert_int_equal(dusk_context_bring_forward(top, now), 0);
  assert_ended(later, UV_ETIMEDOUT, &parents);
  assert_ended(below_earlier, UV_ETIMEDOUT, &parents);
  assert_ended(equal, UV_ETIMEDOUT, &parents);
  for (size_t i = 0; i < sizeof(new_ones) / sizeof(new_ones[0]); i++)
    dusk_context_unref(new_ones[i]);
  dusk_context_unref(below_earlier);
  dusk_context_unref(earlier);
}

/* DUSK-071 */
static void what_is_left_is_told_in_milliseconds(void **state) {
  fixture_t *f = *state;
  dusk_context_t *timed = with_timeout(f->root, 60000, NULL);
  dusk_context_t *soon = with_deadline(f->root, uv_hrtime() + 20 * MS, NULL);
  dusk_context_t *past = with_timeout(f->root, 0, NULL);
  dusk_context_t *below = with_cancel(timed);
  assert_true(dusk_context_left_ms(f->root) == DUSK_OFF);
  assert_in_range(dusk_context_left_ms(timed), 59000, 60000);
  assert_in_range(dusk_context_left_ms(below), 59000, 60000);
  assert_int_equal(dusk_context_left_ms(past), 0);
  uint64_t left_ms;
  while ((left_ms = dusk_context_left_ms(soon)) != 0)
    assert_in_range(left_ms, 1, 20);
  assert_true(uv_hrtime() >= dusk_context_deadline(soon));
  assert_ended(soon, UV_ETIMEDOUT, &dusk_deadline_exceeded);
  dusk_context_cancel(below, NULL);
  assert_int_equal(dusk_context_left_ms(below), 0);
  dusk_context_unref(below);
  dusk_context_unref(past);
  dusk_context_unref(soon);
  end(timed);
}

/* -- What deadlines do to the loop ---------------------------------------- */

/* DUSK-025 */
static void only_a_waiter_with_a_deadline_keeps_the_loop(void **state) {
  fixture_t *f = *state;
  dusk_context_t *timed = with_timeout(f->root, 3600000, NULL);
  dusk_context_t *plain = with_cancel(f->root);
  dusk_context_t *open = with_deadline(f->root, DUSK_OFF, NULL);
  dusk_context_t *below = with_cancel(open);
  assert_int_equal(uv_loop_alive(&f->loop), 0);
  call_t on_plain, on_timed, on_below;
  call_after(plain, &on_plain, f->root);
  call_after(below, &on_below, f->root);
  assert_int_equal(uv_loop_alive(&f->loop), 0);
  call_after(timed, &on_timed, f->root);
  assert_int_not_equal(uv_loop_alive(&f->loop), 0);
  assert_true(dusk_waiter_stop(&on_timed.waiter));
  assert_int_equal(uv_loop_alive(&f->loop), 0);

  dusk_context_bring_forward(open, uv_hrtime() + MS);
  assert_int_not_equal(uv_loop_alive(&f->loop), 0);
  run(&f->loop);
  assert_int_equal(on_below.calls, 1);
  assert_int_equal(uv_loop_alive(&f->loop), 0);
  assert_true(dusk_waiter_stop(&on_plain.waiter));
  dusk_context_unref(below);
  dusk_context_unref(open);
  end(plain);
  end(timed);
}

/* DUSK-007 */
static void the_nearest_deadline_may_come_and_go(void **state) {
  fixture_t *f = *state;
  dusk_context_t *far = with_timeout(f->root, 3600000, NULL);
  timer_starts = 0;
  for (int i = 0; i < 1000000; i++)
    end(with_timeout(f->root, 60000, NULL));
  turn(&f->loop);
  assert_in_range(timer_starts, 1, 2);
  end(far);
}

static void deadlines_end_in_their_order(void **state) {
  fixture_t *f = *state;
  enum { N = 500 };
  static dusk_context_t *ctx[N];
  static stamp_t stamps[N];
  uint64_t start = uv_hrtime() + 100 * MS; /* when all are made */
  for (uint64_t i = 0; i < N; i++) {
    uint64_t place = i * 211 % N; /* 211 is prime: each place once */
    ctx[place] = with_deadline(f->root, start + place * 20000, NULL);
    stamp_after(ctx[place], &stamps[place], f->root);
  }
  for (int i = 0; i < N; i += 3)
    dusk_context_cancel(ctx[i], NULL);
  run(&f->loop);
  uint64_t last = 0;
  for (int i = 0; i < N; i++) {
    assert_int_equal(stamps[i].called, 1);
    if (i % 3 != 0) {
      assert_true(stamps[i].at_ns >= dusk_context_deadline(ctx[i]));
      assert_true(stamps[i].at_ns >= last);
      last = stamps[i].at_ns;
      assert_int_equal(stamps[i].err, UV_ETIMEDOUT);
    }
    dusk_context_unref(ctx[i]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      fixture_test(ctx_031_a_child_takes_its_parents_reason),
      fixture_test(ctx_041_a_context_ends_at_its_deadline),
      fixture_test(ctx_042_never_before_the_deadline),
      fixture_test(ctx_046_a_past_deadline_has_ended),
      fixture_test(ctx_052_a_timeout_counts_from_the_call),
      fixture_test(ctx_053_huge_timeouts_do_not_overflow),
      fixture_test(ctx_054_a_cancel_before_the_deadline_stands),
      fixture_test(ctx_056_deadlines_are_told),
      fixture_test(ctx_059_an_earlier_parent_counts),
      fixture_test(ctx_061_equal_deadlines_keep_their_causes),
      fixture_test(ctx_062_an_earlier_child_ends_alone),
      fixture_test(ctx_063_a_parents_cancel_frees_the_childs_deadline),
      fixture_test(who_asks_finds_a_passed_deadline),
      fixture_test(deriving_finds_a_passed_deadline),
      fixture_test(a_cancel_finds_a_passed_deadline),
      fixture_test(brought_forward_it_ends_earlier),
      fixture_test(bringing_forward_only_brings_forward),
      fixture_test(brought_into_the_past_it_ends_at_once),
      fixture_test(all_below_tell_what_was_brought_forward),
      fixture_test(what_is_left_is_told_in_milliseconds),
      fixture_test(only_a_waiter_with_a_deadline_keeps_the_loop),
      fixture_test(the_nearest_deadline_may_come_and_go),
      fixture_test(deadlines_end_in_their_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
