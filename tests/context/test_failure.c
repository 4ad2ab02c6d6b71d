/* Every allocation fails once: the caller is told, nothing leaks, nothing is
 * half done. Needs tests/support/alloc.h, and --wrap for uv_async_init and
 * uv_cond_init. */
#include "fixture.h"
#include "alloc.h"

#include <dusk/signal.h>
#include <signal.h>

static const dusk_key_t key = {"key"};
static const int signums[] = {SIGUSR1, SIGUSR2, SIGWINCH};

int __real_uv_async_init(uv_loop_t *loop, uv_async_t *async, uv_async_cb cb);
int __wrap_uv_async_init(uv_loop_t *loop, uv_async_t *async, uv_async_cb cb);
static int async_err;

int __wrap_uv_async_init(uv_loop_t *loop, uv_async_t *async, uv_async_cb cb) {
  return async_err != 0 ? async_err : __real_uv_async_init(loop, async, cb);
}

int __real_uv_cond_init(uv_cond_t *cond);
int __wrap_uv_cond_init(uv_cond_t *cond);
static int cond_err;

int __wrap_uv_cond_init(uv_cond_t *cond) {
  return cond_err != 0 ? cond_err : __real_uv_cond_init(cond);
}

typedef int (*call_fn)(dusk_context_t *parent, dusk_context_t **ret_ctx);

static int call_with_cancel(dusk_context_t *parent, dusk_context_t **ret_ctx) {
  return dusk_context_with_cancel(parent, ret_ctx);
}

static int call_with_timeout(dusk_context_t *parent, dusk_context_t **ret_ctx) {
  return dusk_context_with_timeout(parent, 60000, NULL, ret_ctx);
}

static int call_with_past(dusk_context_t *parent, dusk_context_t **ret_ctx) {
  return dusk_context_with_deadline(parent, 1, NULL, ret_ctx);
}

static int call_with_value(dusk_context_t *parent, dusk_context_t **ret_ctx) {
  return dusk_context_with_value(parent, &key, NULL, ret_ctx);
}

static int call_without_cancel(dusk_context_t *parent,
                               dusk_context_t **ret_ctx) {
  return dusk_context_without_cancel(parent, ret_ctx);
}

static dusk_context_t *other_root;

static int call_with_root(dusk_context_t *parent, dusk_context_t **ret_ctx) {
  return dusk_context_with_root(parent, other_root, ret_ctx);
}

static int call_with_signals(dusk_context_t *parent, dusk_context_t **ret_ctx) {
  return dusk_context_with_signals(parent, signums, 3, ret_ctx);
}

static int call_with_all_signals(dusk_context_t *parent,
                                 dusk_context_t **ret_ctx) {
  return dusk_context_with_signals(parent, NULL, 0, ret_ctx);
}

static bool is_default(int signum) {
  struct sigaction now;
  assert_int_equal(sigaction(signum, NULL, &now), 0);
  return now.sa_handler == SIG_DFL;
}

/* How many allocations the call makes. */
static size_t fail_each(fixture_t *f, dusk_context_t *parent, call_fn call) {
  for (size_t n = 1;; n++) {
    size_t live = alloc_live();
    size_t before = entries(parent);
    dusk_context_t *ctx = f->root;
    alloc_fail_at(n);
    int err = call(parent, &ctx);
    bool failed = alloc_has_failed();
    alloc_fail_at(0);
    if (failed) {
      assert_int_equal(err, UV_ENOMEM);
      assert_ptr_equal(ctx, f->root); /* DUSK-040 */
      assert_int_equal(entries(parent), before);
    } else {
      assert_int_equal(err, 0);
      end(ctx);
    }
    turn(&f->loop); /* handles are closed there */
    assert_int_equal(alloc_live(), live);
    assert_int_equal(entries(parent), before);
    assert_true(is_default(SIGUSR1) && is_default(SIGWINCH));
    if (!failed) return n - 1;
  }
}

/* DUSK-038 */
static void deriving_tells_enomem(void **state) {
  fixture_t *f = *state;
  dusk_context_t *parent = with_cancel(f->root);
  assert_int_equal(fail_each(f, parent, call_with_cancel), 1);
  assert_int_equal(fail_each(f, parent, call_with_timeout), 1);
  assert_int_equal(fail_each(f, parent, call_with_past), 1);
  assert_int_equal(fail_each(f, parent, call_with_value), 1);
  assert_int_equal(fail_each(f, parent, call_without_cancel), 1);
  assert_live(parent);
  end(parent);
}

/* DUSK-038 */
static void crossing_tells_enomem(void **state) {
  fixture_t *f = *state;
  dusk_context_t *parent = with_cancel(f->root);
  assert_int_equal(dusk_context_attach(&f->loop, &other_root), 0);
  assert_int_equal(fail_each(f, parent, call_with_root), 1);
  assert_int_equal(entries(other_root), 0);
  assert_int_equal(dusk_context_detach(other_root, NULL, NULL), 0);
  end(parent);
}

/* DUSK-038 */
static void waiting_tells_why_it_failed(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 60000, NULL);
  cond_err = UV_ENOMEM;
  assert_int_equal(dusk_context_wait(ctx, DUSK_OFF), UV_ENOMEM);
  cond_err = 0;
  assert_int_equal(entries(ctx), 0);
  end(ctx);
}

/* DUSK-038 */
static void with_signals_tells_enomem(void **state) {
  fixture_t *f = *state;
  assert_int_equal(fail_each(f, f->root, call_with_signals), 2 + 3);
  assert_true(fail_each(f, f->root, call_with_all_signals) > 2 + 50);
}

/* DUSK-038 */
static void attach_tells_why_it_failed(void **state) {
  fixture_t *f = *state;
  size_t live = alloc_live();
  dusk_context_t *second = f->root;
  alloc_fail_at(1);
  assert_int_equal(dusk_context_attach(&f->loop, &second), UV_ENOMEM);
  assert_true(alloc_has_failed());
  alloc_fail_at(0);
  assert_ptr_equal(second, f->root);
  assert_int_equal(alloc_live(), live);

  async_err = UV_EMFILE;
  assert_int_equal(dusk_context_attach(&f->loop, &second), UV_EMFILE);
  async_err = 0;
  assert_ptr_equal(second, f->root);
  assert_int_equal(alloc_live(), live);
}

/* DUSK-042: what was notified before stays, what failed is not there. */
static void notify_adds_all_or_nothing(void **state) {
  fixture_t *f = *state;
  size_t live = alloc_live();
  dusk_signals_t *signals;
  assert_int_equal(dusk_signals_new(f->root, 1, &signals), 0);
  assert_int_equal(dusk_signals_notify(signals, signums, 1), 0);
  for (size_t n = 1; n <= 2; n++) {
    alloc_fail_at(n);
    assert_int_equal(dusk_signals_notify(signals, signums, 3), UV_ENOMEM);
    alloc_fail_at(0);
    assert_false(is_default(SIGUSR1));
    assert_true(is_default(SIGUSR2) && is_default(SIGWINCH));
  }
  assert_int_equal(dusk_signals_notify(signals, signums, 3), 0);
  assert_false(is_default(SIGUSR2));
  dusk_signals_free(signals);
  turn(&f->loop);
  assert_int_equal(alloc_live(), live);
}

/* DUSK-039 */
static void reset_and_ignore_allocate_nothing(void **state) {
  fixture_t *f = *state;
  dusk_signals_t *signals;
  assert_int_equal(dusk_signals_new(f->root, 1, &signals), 0);
  assert_int_equal(dusk_signals_notify(signals, signums, 3), 0);
  size_t before = alloc_count();
  assert_int_equal(dusk_signals_reset(signums, 1), 0);
  assert_int_equal(dusk_signals_ignore(&signums[2], 1), 0);
  assert_true(dusk_signal_ignored(SIGWINCH));
  assert_int_equal(dusk_signals_reset(NULL, 0), 0);
  assert_int_equal(alloc_count(), before);
  assert_true(is_default(SIGUSR1) && is_default(SIGUSR2));

  /* And libuv still has the old ones. */
  alloc_fail_at(2);
  assert_int_equal(dusk_signals_notify(signals, signums, 3), UV_ENOMEM);
  alloc_fail_at(0);
  assert_true(is_default(SIGUSR1) && is_default(SIGUSR2));
  assert_true(dusk_signal_ignored(SIGWINCH));
  dusk_signals_free(signals);
  signal(SIGWINCH, SIG_DFL);
  turn(&f->loop);
}

/* DUSK-039. The rest can't fail, because it allocates nothing. */
static void waiting_and_ending_allocate_nothing(void **state) {
  fixture_t *f = *state;
  assert_int_equal(dusk_context_attach(&f->loop, &other_root), 0);
  dusk_context_t *parent = with_timeout(f->root, 60000, NULL);
  dusk_context_t *child = with_timeout(parent, 30000, NULL);
  dusk_context_t *bridge = with_root(parent, other_root);
  dusk_context_t *released = with_root(parent, other_root);
  call_t calls[3];
  char text[256];
  dusk_context_entry_t tree[5];
  size_t before = alloc_count();
  call_after(child, &calls[0], f->root);
  call_after(parent, &calls[1], f->root);
  dusk_waiter_stop(&calls[1].waiter);
  call_after(parent, &calls[1], f->root);
  call_after(bridge, &calls[2], f->root);
  dusk_context_bring_forward(parent, dusk_context_deadline(parent) - 1);
  assert_int_equal(dusk_context_wait(bridge, 1), 0);
  dusk_context_unref(released);
  dusk_context_text(child, text, sizeof(text));
  assert_int_equal(dusk_context_tree(f->root, tree, 5), 4);
  dusk_context_cancel(parent, NULL);
  assert_int_equal(dusk_context_wait(bridge, DUSK_OFF), UV_ECANCELED);
  uv_run(&f->loop, UV_RUN_DEFAULT);
  dusk_context_err(child);
  dusk_context_unref(bridge);
  dusk_context_unref(child);
  dusk_context_unref(parent);
  assert_int_equal(dusk_context_detach(other_root, NULL, NULL), 0);
  turn(&f->loop);
  assert_int_equal(alloc_count(), before);
  assert_int_equal(calls[0].calls + calls[1].calls + calls[2].calls, 3);
}

static void ctx_164_nothing_stays_allocated(void **state) {
  fixture_t *f = *state;
  dusk_context_t *parent = with_cancel(f->root);
  size_t live = alloc_live();
  for (int i = 0; i < 100000; i++) {
    dusk_context_t *ctx = with_cancel(parent);
    if (i % 2 == 0) dusk_context_cancel(ctx, NULL);
    dusk_context_unref(ctx);
  }
  assert_int_equal(alloc_live(), live);
  end(parent);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      fixture_test(deriving_tells_enomem),
      fixture_test(crossing_tells_enomem),
      fixture_test(waiting_tells_why_it_failed),
      fixture_test(with_signals_tells_enomem),
      fixture_test(attach_tells_why_it_failed),
      fixture_test(notify_adds_all_or_nothing),
      fixture_test(reset_and_ignore_allocate_nothing),
      fixture_test(waiting_and_ending_allocate_nothing),
      fixture_test(ctx_164_nothing_stays_allocated),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
