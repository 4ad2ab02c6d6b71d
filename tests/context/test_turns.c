/* Whose the loop is: it may go from thread to thread, and the one that turns it
 * now counts. ThreadSanitizer is the judge of what crosses. */
#include "fixture.h"
#include "child.h"
#include "pool.h"
#include "team.h"
#include "tree.h"

#include <dusk/calls.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { ROUNDS = 200 };

/* -- From here to there --------------------------------------------------- */

/* A loop that this thread has turned, and another one runs; until `keeper` is
 * called. */
typedef struct {
  uv_loop_t loop;
  dusk_context_t *root;
  dusk_context_t *ctx; /* its end is the run's */
  call_t keeper;
  uv_idle_t idle;
  atomic_int has_turned; /* there */
  uv_thread_t there;
} moved_t;

static void on_turn(uv_idle_t *idle) {
  moved_t *moved = idle->data;
  uv_close((uv_handle_t *)idle, NULL);
  moved->has_turned = 1;
}

static void open_moved(moved_t *moved) {
  *moved = (moved_t){.idle.data = moved};
  assert_int_equal(uv_loop_init(&moved->loop), 0);
  assert_int_equal(dusk_context_attach(&moved->loop, &moved->root), 0);
  turn(&moved->loop);
  moved->ctx = with_cancel(moved->root);
  call_after(moved->ctx, &moved->keeper, moved->root);
  dusk_waiter_ref(&moved->keeper.waiter);
}

static void run_there(void *arg, int number) {
  moved_t *moved = arg;
  (void)number;
  moved->there = uv_thread_self();
  uv_idle_init(&moved->loop, &moved->idle);
  uv_idle_start(&moved->idle, on_turn);
  assert_int_equal(uv_run(&moved->loop, UV_RUN_DEFAULT), 0);
}

static void close_moved(moved_t *moved) {
  assert_int_equal(moved->keeper.calls, 1);
  dusk_context_unref(moved->ctx);
  assert_int_equal(dusk_context_detach(moved->root, NULL, NULL), 0);
  run(&moved->loop);
  assert_int_equal(uv_loop_close(&moved->loop), 0);
}

typedef struct {
  dusk_waiter_t waiter;
  moved_t *moved;
  atomic_int called;
} told_t;

static void on_told(dusk_waiter_t *waiter) {
  told_t *told = dusk__container_of(waiter, told_t, waiter);
  uv_thread_t self = uv_thread_self();
  assert_true(uv_thread_equal(&self, &told->moved->there));
  told->called = 1;
}

/* That the other thread tells a deadline which this one sets. */
static void expect_told(moved_t *moved, uint64_t timeout_ms) {
  told_t told = {.moved = moved};
  dusk_context_t *ctx = with_timeout(moved->root, timeout_ms, NULL);
  dusk_context_after(ctx, &told.waiter, moved->root, on_told);
  uint64_t until = uv_hrtime() + 10000 * MS;
  while (!told.called && uv_hrtime() < until)
    continue;
  assert_int_equal(told.called, 1);
  dusk_context_unref(ctx);
}

/* DUSK-072. At whatever moment of the other's first turns. */
static void a_loop_that_turned_here_tells_deadlines_there(void **state) {
  (void)state;
  for (int round = 0; round < ROUNDS; round++) {
    moved_t moved;
    open_moved(&moved);
    team_t team;
    team_start(&team, 1, run_there, &moved);
    for (int spin = rand() % 20000; spin > 0; spin--)
      dusk_context_err(moved.ctx);
    expect_told(&moved, 1);
    expect_told(&moved, 0);
    dusk_context_cancel(moved.ctx, NULL);
    team_join(&team);
    close_moved(&moved);
  }
}

/* DUSK-072. What keeps the run going is registered from here. */
static void who_has_turned_it_may_keep_it_going_elsewhere(void **state) {
  (void)state;
  for (int round = 0; round < ROUNDS; round++) {
    moved_t moved;
    open_moved(&moved);
    dusk_waiter_unref(&moved.keeper.waiter);
    dusk_context_t *first = with_timeout(moved.root, 60000, NULL);
    call_t call;
    call_after(first, &call, moved.root);
    team_t team;
    team_start(&team, 1, run_there, &moved);
    while (!moved.has_turned)
      continue;
    dusk_context_t *timed = with_timeout(moved.root, 50000, NULL);
    told_t told = {.moved = &moved};
    dusk_context_after(timed, &told.waiter, moved.root, on_told);
    assert_true(dusk_waiter_stop(&call.waiter));
    dusk_context_cancel(moved.ctx, NULL);
    dusk_context_cancel(timed, NULL);
    team_join(&team);
    assert_int_equal(told.called, 1);
    dusk_context_unref(timed);
    end(first);
    close_moved(&moved);
  }
}

/* -- One after another ---------------------------------------------------- */

typedef struct {
  dusk_waiter_t waiter;
  dusk_sleep_t sleep;
  dusk_work_t work;
  dusk_context_t *ctx;
  int worked;
} leg_t;

static void on_awake(dusk_sleep_t *sleep, int err) {
  leg_t *leg = dusk__container_of(sleep, leg_t, sleep);
  assert_int_equal(err, 0);
  dusk_context_cancel(leg->ctx, NULL);
}

static void on_work(dusk_work_t *work, dusk_context_t *ctx) {
  (void)work;
  (void)ctx;
}

static void on_worked(dusk_work_t *work, int err) {
  leg_t *leg = dusk__container_of(work, leg_t, work);
  assert_int_equal(err, 0);
  leg->worked++;
}

static void on_leg_end(dusk_waiter_t *waiter) {
  waiter->data = NULL;
}

/* The reference tells whose the loop is now. */
static void run_a_leg(void *arg, int number) {
  moved_t *moved = arg;
  leg_t leg = {.ctx = with_cancel(moved->root)};
  (void)number;
  leg.waiter.data = &leg;
  dusk_context_after(leg.ctx, &leg.waiter, moved->root, on_leg_end);
  dusk_waiter_ref(&leg.waiter);
  assert_int_equal(dusk_context_work(moved->root, &leg.work, moved->root,
                                     on_work, on_worked),
                   0);
  assert_int_equal(
      dusk_context_sleep(moved->root, &leg.sleep, moved->root, 1, on_awake), 0);
  assert_int_equal(uv_run(&moved->loop, UV_RUN_DEFAULT), 0);
  assert_null(leg.waiter.data);
  assert_int_equal(leg.worked, 1);
  dusk_context_unref(leg.ctx);
}

/* DUSK-072 */
static void three_threads_run_a_loop_in_turn(void **state) {
  (void)state;
  for (int round = 0; round < 20; round++) {
    moved_t moved;
    open_moved(&moved);
    dusk_waiter_unref(&moved.keeper.waiter);
    for (int leg = 0; leg < 3; leg++) {
      together(1, run_a_leg, &moved);
      if (leg == 1) run_a_leg(&moved, 0); /* and this one in between */
    }
    dusk_context_cancel(moved.ctx, NULL);
    dusk_waiter_ref(&moved.keeper.waiter);
    run(&moved.loop);
    close_moved(&moved);
  }
}

/* -- Before the first turn ------------------------------------------------ */

typedef struct {
  moved_t moved;
  leg_t leg;
  uv_timer_t timer;
  uv_tcp_t tcp;
  int connected;
  int resolved;
} early_t;

static void on_resolved(int err, struct addrinfo *res, void *arg) {
  early_t *early = arg;
  assert_int_equal(err, 0);
  uv_freeaddrinfo(res);
  early->resolved++;
}

static void on_connect(uv_tcp_t *tcp, int err, void *arg) {
  early_t *early = arg;
  (void)tcp;
  assert_int_equal(err, UV_ECONNREFUSED);
  early->connected++;
}

/* All that belongs to the loop's thread. */
static void call_all(early_t *early) {
  dusk_context_t *root = early->moved.root, *ctx = NULL;
  dusk_signals_t *signals = NULL;
  assert_int_equal(dusk_signals_new(root, 1, &signals), 0);
  assert_int_equal(dusk_signals_notify(signals, (int[]){SIGWINCH}, 1), 0);
  assert_int_equal(dusk_signals_receive(signals, NULL, NULL), 0);
  dusk_signals_stop(signals);
  dusk_signals_free(signals);
  assert_int_equal(dusk_context_with_signals(root, (int[]){SIGWINCH}, 1, &ctx),
                   0);
  assert_int_equal(dusk_context_stop_signals(ctx), 0);
  dusk_context_unref(ctx);
  early->leg.ctx = root;
  assert_int_equal(
      dusk_context_work(root, &early->leg.work, root, on_work, on_worked), 0);
  assert_int_equal(dusk_context_getaddrinfo(root, root, "127.0.0.1", "80", NULL,
                                            on_resolved, early),
                   0);
  assert_int_equal(dusk_context_connect(root, root, &early->tcp, "127.0.0.1",
                                        "1", on_connect, early),
                   0);
}

static void on_early(uv_timer_t *timer) {
  call_all(timer->data);
  uv_close((uv_handle_t *)timer, NULL);
}

/* The loop's own thread, before the root can have noticed. */
static void call_early(void *arg, int number) {
  early_t *early = arg;
  if (number == 0) {
    call_all(early); /* before uv_run */
  } else {
    early->timer.data = early;
    uv_timer_init(&early->moved.loop, &early->timer);
    uv_timer_start(&early->timer, on_early, 0, 0);
  }
  assert_int_equal(uv_run(&early->moved.loop, UV_RUN_DEFAULT), 0);
  assert_int_equal(early->leg.worked, 1);
  assert_int_equal(early->connected, 1);
  assert_int_equal(early->resolved, 1);
}

static void call_in_a_callback(void *arg, int number) {
  (void)number;
  call_early(arg, 1);
}

/* DUSK-073 */
static void the_loops_thread_may_call_before_the_first_turn(void **state) {
  (void)state;
  for (int way = 0; way < 4; way++) {
    early_t early = {0};
    moved_t *moved = &early.moved;
    assert_int_equal(uv_loop_init(&moved->loop), 0);
    assert_int_equal(dusk_context_attach(&moved->loop, &moved->root), 0);
    if (way >= 2) turn(&moved->loop); /* here, and then there */
    together(1, way % 2 == 0 ? call_early : call_in_a_callback, &early);
    assert_int_equal(dusk_context_detach(moved->root, NULL, NULL), 0);
    run(&moved->loop);
    assert_int_equal(uv_loop_close(&moved->loop), 0);
  }
}

typedef struct {
  uv_prepare_t prepare;
  uv_loop_t *loop;
  dusk_context_t *root;
  dusk_context_t *ctx;
  call_t call;
} latecomer_t;

static void on_prepare(uv_prepare_t *prepare) {
  latecomer_t *late = (latecomer_t *)prepare;
  uv_close((uv_handle_t *)prepare, NULL);
  assert_int_equal(dusk_context_attach(late->loop, &late->root), 0);
  late->ctx = with_timeout(late->root, 1, NULL);
  call_after(late->ctx, &late->call, late->root);
}

/* Straight before the loop waits, when the root's own turn can't begin. */
static void a_root_may_be_attached_in_any_callback(void **state) {
  fixture_t *f = *state;
  latecomer_t late = {.loop = &f->loop};
  uv_prepare_init(&f->loop, &late.prepare);
  uv_prepare_start(&late.prepare, on_prepare);
  run(&f->loop);
  assert_int_equal(late.call.calls, 1);
  dusk_context_unref(late.ctx);
  assert_int_equal(dusk_context_detach(late.root, NULL, NULL), 0);
}

static void on_other(dusk_waiter_t *waiter) {
  latecomer_t *late = waiter->data;
  late->ctx = with_timeout(late->root, 1, NULL);
  call_after(late->ctx, &late->call, late->root);
}

/* DUSK-021. In a timer's callback the other root's turn has not begun, or is
 * over. */
static void one_roots_callback_may_use_another_on_the_loop(void **state) {
  fixture_t *f = *state;
  latecomer_t late = {.loop = &f->loop};
  assert_int_equal(dusk_context_attach(&f->loop, &late.root), 0);
  for (int round = 0; round < 10; round++) {
    dusk_waiter_t waiter = {.data = &late};
    dusk_context_t *ctx = with_timeout(f->root, 1, NULL);
    dusk_context_after(ctx, &waiter, f->root, on_other);
    run(&f->loop);
    assert_int_equal(late.call.calls, 1);
    dusk_context_unref(late.ctx);
    dusk_context_unref(ctx);
  }
  assert_int_equal(dusk_context_detach(late.root, NULL, NULL), 0);
}

/* -- The wrong thread ----------------------------------------------------- */

static void serve_on_it(void *arg) {
  moved_t *moved = arg;
  run_there(moved, 0);
}

static void on_told_for_ever(dusk_waiter_t *waiter) {
  static uv_sem_t never;
  on_told(waiter);
  uv_sem_init(&never, 0);
  uv_sem_wait(&never);
}

/* Starts a thread that turns the loop, and waits until it is in the middle of
 * that. */
static void serve_elsewhere(moved_t *moved) {
  static told_t told;
  uv_thread_t thread;
  open_moved(moved);
  must(uv_thread_create(&thread, serve_on_it, moved) == 0);
  while (!moved->has_turned)
    continue;
  dusk_context_t *ctx = with_cancel(moved->root);
  told.moved = moved;
  dusk_context_after(ctx, &told.waiter, moved->root, on_told_for_ever);
  dusk_context_cancel(ctx, NULL);
  while (!told.called)
    continue;
}

static void detach_from_elsewhere(child_env_t *env, void *arg) {
  moved_t moved;
  (void)env;
  (void)arg;
  serve_elsewhere(&moved);
  dusk_context_detach(moved.root, NULL, NULL);
}

static void work_from_elsewhere(child_env_t *env, void *arg) {
  moved_t moved;
  dusk_work_t work;
  (void)env;
  (void)arg;
  serve_elsewhere(&moved);
  must(dusk_context_work(moved.root, &work, moved.root, on_work, on_worked) ==
       0);
}

static void reference_from_elsewhere(child_env_t *env, void *arg) {
  moved_t moved;
  (void)env;
  (void)arg;
  serve_elsewhere(&moved);
  dusk_waiter_unref(&moved.keeper.waiter);
}

static void cancel_a_value(child_env_t *env, void *arg) {
  static const dusk_key_t key;
  (void)arg;
  dusk_context_cancel(with_value(env->root, &key, NULL), NULL);
}

static void assert_told(child_fn misuse) {
#ifdef NDEBUG
  (void)misuse;
  skip();
#else
  child_t child = child_start(misuse, NULL);
  child_expect_death(&child, SIGABRT);
#endif
}

/* DUSK-074 */
static void a_thread_that_does_not_turn_the_loop_is_told(void **state) {
  (void)state;
  assert_told(detach_from_elsewhere);
  assert_told(work_from_elsewhere);
  assert_told(reference_from_elsewhere);
}

/* DUSK-075 */
static void who_cancels_a_value_is_told(void **state) {
  (void)state;
  assert_told(cancel_a_value);
}

int main(void) {
  pool_size();
  const struct CMUnitTest tests[] = {
      /* While there is one thread, for the sanitizers' sake. */
      cmocka_unit_test(a_thread_that_does_not_turn_the_loop_is_told),
      cmocka_unit_test(who_cancels_a_value_is_told),
      cmocka_unit_test(a_loop_that_turned_here_tells_deadlines_there),
      cmocka_unit_test(who_has_turned_it_may_keep_it_going_elsewhere),
      cmocka_unit_test(three_threads_run_a_loop_in_turn),
      cmocka_unit_test(the_loops_thread_may_call_before_the_first_turn),
      fixture_test(a_root_may_be_attached_in_any_callback),
      fixture_test(one_roots_callback_may_use_another_on_the_loop),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
