/* Rows of tests/spec that the other files don't show in passing: what a call
 * costs and what it doesn't wait for, orders, and ends that race. Needs
 * tests/support/alloc.h. */
#include "fixture.h"
#include "alloc.h"
#include "tree.h"

#include <stdlib.h>

enum { ROUNDS = 200 };

static const dusk_key_t key = {"key"};
static const dusk_cause_t mine = {UV_ETIMEDOUT, "mine"};
static const dusk_cause_t why = {UV_EIO, "why"};

/* -- Cost ----------------------------------------------------------------- */

static void ctx_007_a_root_is_one_allocation(void **state) {
  fixture_t *f = *state;
  dusk_context_t *root;
  size_t before = alloc_count();
  assert_int_equal(dusk_context_attach(&f->loop, &root), 0);
  assert_int_equal(alloc_count(), before + 1);
  assert_int_equal(dusk_context_detach(root, NULL, NULL), 0);
  run(&f->loop);
  assert_int_equal(alloc_count(), before + 1);
}

static void ctx_159_a_value_is_one_allocation(void **state) {
  fixture_t *f = *state;
  size_t before = alloc_count();
  dusk_context_t *ctx = with_value(f->root, &key, &f->loop);
  assert_ptr_equal(dusk_context_value(ctx, &key), &f->loop);
  dusk_context_unref(ctx);
  assert_int_equal(alloc_count(), before + 1);
}

/* Waits until `ctx`, made since alloc_count() gave `before`, has ended. */
static void wait_and_count(fixture_t *f, dusk_context_t *ctx, size_t before) {
  call_t call;
  call_after(ctx, &call, f->root);
  if (dusk_context_deadline(ctx) > uv_hrtime() + 1000 * MS)
    dusk_context_cancel(ctx, NULL);
  run(&f->loop);
  assert_int_equal(call.calls, 1);
  dusk_context_unref(ctx);
  assert_int_equal(alloc_count(), before + 1);
}

static void ctx_160_a_context_is_one_allocation(void **state) {
  fixture_t *f = *state;
  size_t before = alloc_count();
  wait_and_count(f, with_cancel(f->root), before);
  before = alloc_count(); /* CTX-161 */
  wait_and_count(f, with_timeout(f->root, 60000, NULL), before);
  before = alloc_count(); /* CTX-162 */
  wait_and_count(f, with_timeout(f->root, 1, NULL), before);
}

/* This thread holds the lock: who takes it hangs. */
static void ctx_163_asking_takes_no_lock(void **state) {
  fixture_t *f = *state;
  dusk_context_t *timed = with_timeout(f->root, 3600000, NULL);
  dusk_context_t *live = with_value(timed, &key, &f->loop);
  dusk_context_t *ended = with_cancel(timed);
  dusk_context_cancel(ended, &why);
  dusk__root_t *root = (dusk__root_t *)f->root;

  dusk__root_lock(root);
  assert_live(f->root);
  assert_live(live);
  assert_true(dusk_context_deadline(live) == dusk_context_deadline(timed));
  assert_ptr_equal(dusk_context_value(live, &key), &f->loop);
  assert_ended(ended, UV_ECANCELED, &why);
  dusk__root_unlock(root);

  dusk_context_unref(ended);
  dusk_context_unref(live);
  end(timed);
}

static void count_handle(uv_handle_t *handle, void *arg) {
  (void)handle;
  ++*(int *)arg;
}

static void dusk_036_a_root_has_four_handles(void **state) {
  fixture_t *f = *state;
  enum { N = 1000 };
  static dusk_context_t *ctx[N];
  static call_t calls[N];
  for (uint64_t i = 0; i < N; i++) {
    ctx[i] = with_timeout(i == 0 ? f->root : ctx[i - 1], 3600000 - i, NULL);
    call_after(ctx[i], &calls[i], f->root);
  }
  turn(&f->loop);
  int handles = 0;
  uv_walk(&f->loop, count_handle, &handles);
  assert_int_equal(handles, 4);
  dusk_context_cancel(ctx[0], NULL);
  run(&f->loop);
  for (int i = 0; i < N; i++) {
    assert_int_equal(calls[i].calls, 1);
    dusk_context_unref(ctx[i]);
  }
}

/* -- Trees ---------------------------------------------------------------- */

static void ctx_040_a_child_is_an_entry_of_its_root(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  assert_int_equal(entries(f->root), 1);
  dusk_context_cancel(ctx, NULL);
  assert_int_equal(entries(f->root), 0);
  dusk_context_unref(ctx);
}

static void ctx_156_ended_children_leave_their_parent_alone(void **state) {
  fixture_t *f = *state;
  dusk_context_t *parent = with_cancel(f->root);
  dusk_context_t *children[] = {with_cancel(parent), with_cancel(parent),
                                with_timeout(parent, 3600000, NULL)};
  dusk_context_cancel(parent, &why);
  assert_int_equal(entries(parent), 0);
  assert_int_equal(entries(f->root), 0);
  dusk_context_t *next = with_cancel(f->root);
  for (int i = 0; i < 3; i++) {
    dusk_context_cancel(children[i], NULL);
    assert_ended(children[i], UV_ECANCELED, &why);
    dusk_context_unref(children[i]);
    assert_int_equal(entries(f->root), 1);
  }
  assert_ended(parent, UV_ECANCELED, &why);
  dusk_context_unref(parent);
  end(next);
}

typedef struct {
  dusk_waiter_t waiter;
  int *calls;
  int place; /* among all that were called */
} placed_t;

static void on_placed(dusk_waiter_t *waiter) {
  placed_t *placed = dusk__container_of(waiter, placed_t, waiter);
  placed->place = ++*placed->calls;
}

/* Registered from the bottom to the top, called from the top to the bottom. */
static void ctx_033_parents_end_before_children(void **state) {
  fixture_t *f = *state;
  enum { DEPTH = 10 };
  dusk_context_t *chain[DEPTH];
  placed_t placed[DEPTH];
  int calls = 0;
  for (int i = 0; i < DEPTH; i++)
    chain[i] = with_cancel(i == 0 ? f->root : chain[i - 1]);
  for (int i = DEPTH - 1; i >= 0; i--) {
    placed[i] = (placed_t){.calls = &calls};
    dusk_context_after(chain[i], &placed[i].waiter, f->root, on_placed);
  }
  dusk_context_cancel(chain[0], NULL);
  run(&f->loop);
  for (int i = 0; i < DEPTH; i++) {
    assert_int_equal(placed[i].place, i + 1);
    dusk_context_unref(chain[i]);
  }
}

/* -- Threads -------------------------------------------------------------- */

typedef struct {
  dusk_waiter_t waiter;
  uv_sem_t begun;
  uv_sem_t go_on;
} blocker_t;

static void on_block(dusk_waiter_t *waiter) {
  blocker_t *blocker = dusk__container_of(waiter, blocker_t, waiter);
  uv_sem_post(&blocker->begun);
  uv_sem_wait(&blocker->go_on);
}

static void run_loop(void *arg) {
  run(arg);
}

/* While it runs, another thread cancels what that loop must call for. */
static void ctx_014_nobody_waits_for_a_callback(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 60000, NULL);
  dusk_context_t *other = with_timeout(f->root, 60000, NULL);
  blocker_t blocker;
  call_t call;
  assert_int_equal(uv_sem_init(&blocker.begun, 0), 0);
  assert_int_equal(uv_sem_init(&blocker.go_on, 0), 0);
  dusk_context_after(ctx, &blocker.waiter, f->root, on_block);
  call_after(other, &call, f->root);
  uv_thread_t thread;
  assert_int_equal(uv_thread_create(&thread, run_loop, &f->loop), 0);
  dusk_context_cancel(ctx, NULL);
  uv_sem_wait(&blocker.begun);

  assert_false(dusk_waiter_stop(&blocker.waiter)); /* CTX-108 */
  dusk_context_cancel(other, NULL);
  assert_ended(other, UV_ECANCELED, &dusk_canceled);
  uv_sem_post(&blocker.go_on);
  uv_thread_join(&thread);
  assert_int_equal(call.calls, 1);

  uv_sem_destroy(&blocker.begun);
  uv_sem_destroy(&blocker.go_on);
  dusk_context_unref(ctx);
  dusk_context_unref(other);
}

typedef struct {
  dusk_context_t *ctx;
  uint64_t at_ns;
} end_t;

static void cancel_at(void *arg) {
  end_t *what = arg;
  wait_until(what->at_ns);
  dusk_context_cancel(what->ctx, &why);
}

static void ctx_064_no_deadline_stays_when_the_parent_ends(void **state) {
  fixture_t *f = *state;
  for (int round = 0; round < ROUNDS; round++) {
    end_t what = {with_cancel(f->root), uv_hrtime() + MS / 5};
    uv_thread_t thread;
    assert_int_equal(uv_thread_create(&thread, cancel_at, &what), 0);
    wait_until(what.at_ns);
    dusk_context_t *child = with_timeout(what.ctx, 3600000, &mine);
    uv_thread_join(&thread);
    assert_ended(child, UV_ECANCELED, &why);
    assert_null(((dusk__root_t *)f->root)->heap);
    dusk_context_unref(child);
    dusk_context_unref(what.ctx);
  }
}

static void ctx_065_the_first_of_cancel_and_deadline_counts(void **state) {
  fixture_t *f = *state;
  int cancelled = 0;
  for (int round = 0; round < ROUNDS; round++) {
    uint64_t at = uv_hrtime() + MS;
    end_t what = {with_deadline(f->root, at, &mine),
                  at - (uint64_t)(rand() % 50000)};
    call_t call;
    call_after(what.ctx, &call, f->root);
    uv_thread_t thread;
    assert_int_equal(uv_thread_create(&thread, cancel_at, &what), 0);
    int err;
    while ((err = dusk_context_err(what.ctx)) == 0)
      continue;
    const dusk_cause_t *cause = err == UV_ETIMEDOUT ? &mine : &why;
    assert_ended(what.ctx, err, cause);
    uv_thread_join(&thread);
    run(&f->loop);
    assert_int_equal(call.calls, 1);
    assert_ended(what.ctx, err, cause);
    if (err == UV_ECANCELED) cancelled++;
    dusk_context_unref(what.ctx);
  }
  print_message("cancelled %d of %d\n", cancelled, ROUNDS);
}

/* Each tree's contexts are waited for on the other's loop. */
static void ctx_151_cancels_across_two_trees(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other;
  assert_int_equal(dusk_context_attach(&f->loop, &other), 0);
  for (int round = 0; round < ROUNDS; round++) {
    dusk_context_t *here = with_cancel(f->root);
    dusk_context_t *there = with_cancel(other);
    call_t calls[2];
    call_after(here, &calls[0], other);
    call_after(there, &calls[1], f->root);
    end_t what = {here, uv_hrtime() + MS / 5};
    uv_thread_t thread;
    assert_int_equal(uv_thread_create(&thread, cancel_at, &what), 0);
    wait_until(what.at_ns);
    dusk_context_cancel(there, &why);
    uv_thread_join(&thread);
    run(&f->loop);
    assert_int_equal(calls[0].calls, 1);
    assert_int_equal(calls[1].calls, 1);
    dusk_context_unref(here);
    dusk_context_unref(there);
  }
  assert_int_equal(dusk_context_detach(other, NULL, NULL), 0);
  run(&f->loop);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      fixture_test(ctx_007_a_root_is_one_allocation),
      fixture_test(ctx_159_a_value_is_one_allocation),
      fixture_test(ctx_160_a_context_is_one_allocation),
      fixture_test(ctx_163_asking_takes_no_lock),
      fixture_test(dusk_036_a_root_has_four_handles),
      fixture_test(ctx_040_a_child_is_an_entry_of_its_root),
      fixture_test(ctx_156_ended_children_leave_their_parent_alone),
      fixture_test(ctx_033_parents_end_before_children),
      fixture_test(ctx_014_nobody_waits_for_a_callback),
      fixture_test(ctx_064_no_deadline_stays_when_the_parent_ends),
      fixture_test(ctx_065_the_first_of_cancel_and_deadline_counts),
      fixture_test(ctx_151_cancels_across_two_trees),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
