/* Contexts that signals cancel: NotifyContext. */
#include "fixture.h"
#include "child.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const int signums[] = {SIGINT, SIGTERM};

static dusk_context_t *with_signals(dusk_context_t *parent) {
  dusk_context_t *ctx = NULL;
  must(dusk_context_with_signals(parent, signums, 2, &ctx) == 0);
  return ctx;
}

static bool is_cause(dusk_context_t *ctx, const char *text) {
  const dusk_cause_t *cause = dusk_context_cause(ctx);
  return dusk_context_err(ctx) == UV_ECANCELED && cause != NULL &&
         strcmp(cause->text, text) == 0 && cause->code == UV_ECANCELED;
}

static void stop(dusk_context_t *ctx) {
  must(dusk_context_stop_signals(ctx) == 0);
  dusk_context_unref(ctx);
}

static bool is_default(int signum) {
  return disposition(signum) == SIG_DFL;
}

/* SIG-069 */
CHILD_TEST(sig_066_a_signal_ends_the_context) {
  (void)arg;
  dusk_context_t *ctx = with_signals(env->root);
  dusk_context_t *child = NULL;
  must(dusk_context_with_cancel(ctx, &child) == 0);
  call_t call;
  call_after(child, &call, env->root);
  must(dusk_context_err(ctx) == 0 && dusk_context_cause(ctx) == NULL);
  send_self(SIGINT);
  serve_turn(env);
  must(call.calls == 1);
  must(is_cause(ctx, "interrupt signal received")); /* SIG-067, SIG-069 */
  must(dusk_context_cause(child) == dusk_context_cause(ctx));
  stop(ctx);
  must(is_cause(child, "interrupt signal received")); /* held by the child */
  dusk_context_unref(child);
}

CHILD_TEST(sig_068_the_cause_names_the_signal) {
  (void)arg;
  static const struct {
    int signum;
    const char *text;
  } rows[] = {
      {SIGTERM, "terminated signal received"},
      {SIGUSR1, "user defined signal 1 signal received"},
      {SIGVTALRM, "virtual timer expired signal received"},
      {SIGPROF, "profiling timer expired signal received"}, /* SIG-015 */
  };
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    dusk_context_t *ctx;
    must(dusk_context_with_signals(env->root, &rows[i].signum, 1, &ctx) == 0);
    send_self(rows[i].signum);
    serve_turn(env);
    must(is_cause(ctx, rows[i].text));
    stop(ctx);
  }
}

/* DUSK-067 */
CHILD_TEST(a_cause_outlives_its_context_and_tells_the_signal) {
  (void)arg;
  dusk_context_t *ctx = with_signals(env->root);
  dusk_context_t *other = NULL;
  must(dusk_context_with_cancel(env->root, &other) == 0);
  send_self(SIGTERM);
  serve_turn(env);
  dusk_context_cancel(other, dusk_context_cause(ctx)); /* as in Go */
  stop(ctx);
  must(is_cause(other, "terminated signal received"));
  must(dusk_cause_signal(dusk_context_cause(other)) == SIGTERM);
  dusk_context_unref(other);
}

/* DUSK-067: one each, of every signal that can be had. */
CHILD_TEST(every_signal_has_a_cause_of_its_own) {
  (void)arg;
  for (int signum = 1; signum <= SIGRTMAX; signum++) {
    if (signum == SIGKILL || signum == SIGSTOP) continue;
    if (signum > 31 && signum < SIGRTMIN) continue; /* the C library's */
    dusk_context_t *ctx;
    must(dusk_context_with_signals(env->root, &signum, 1, &ctx) == 0);
    send_self(signum);
    serve_turn(env);
    char text[64];
    snprintf(text, sizeof(text), "%s signal received",
             dusk_signal_text(signum));
    must(is_cause(ctx, text));
    must(dusk_cause_signal(dusk_context_cause(ctx)) == signum);
    stop(ctx);
  }
}

/* DUSK-067 */
static void other_causes_are_no_signals(void **state) {
  static const dusk_cause_t cause = {UV_ECANCELED, "interrupt signal received"};
  (void)state;
  assert_int_equal(dusk_cause_signal(NULL), 0);
  assert_int_equal(dusk_cause_signal(&cause), 0);
  assert_int_equal(dusk_cause_signal(&dusk_canceled), 0);
  assert_int_equal(dusk_cause_signal(&dusk_deadline_exceeded), 0);
}

static void on_raise(uv_timer_t *timer) {
  (void)timer;
  send_self(SIGTERM);
}

/* DUSK-068: as a program that has nothing but signals to wait for. */
CHILD_TEST(a_referenced_waiter_has_uv_run_wait_for_a_signal) {
  (void)arg;
  dusk_context_t *ctx = with_signals(env->root);
  call_t call;
  call_after(ctx, &call, env->root);
  uv_timer_t timer;
  uv_run(&env->loop, UV_RUN_DEFAULT); /* at once */
  uv_timer_init(&env->loop, &timer);
  uv_timer_start(&timer, on_raise, 5, 0);
  uv_unref((uv_handle_t *)&timer);
  dusk_waiter_ref(&call.waiter);
  must(uv_run(&env->loop, UV_RUN_DEFAULT) == 0);
  must(call.calls == 1);
  must(dusk_cause_signal(dusk_context_cause(ctx)) == SIGTERM);
  uv_close((uv_handle_t *)&timer, NULL);
  serve_turn(env);
  stop(ctx);
}

static void close_any(uv_handle_t *handle, void *arg) {
  (void)arg;
  if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

static void on_former(int signum) {
  (void)signum;
}

/* DUSK-069 */
CHILD_TEST(signals_are_given_back_after_a_walk_closed_all) {
  (void)arg;
  for (int round = 0; round < 4; round++) {
    bool is_caught = round % 2 == 1, is_first = round / 2 == 1;
    signal(SIGTERM, on_former);
    dusk_context_t *ctx = with_signals(env->root);
    dusk_signals_t *signals = receiver(env, 1, (int[]){SIGTERM}, 1);
    if (is_caught) send_self(SIGTERM);
    uv_walk(&env->loop, close_any, NULL);
    if (is_first) serve_turn(env);
    dusk_signals_free(signals);
    stop(ctx);
    must(is_default(SIGINT));
    must(disposition(SIGTERM) == on_former);
    must(dusk_context_detach(env->root, NULL, NULL) == 0);
    uv_run(&env->loop, UV_RUN_DEFAULT);
    must(uv_loop_close(&env->loop) == 0);
    must(uv_loop_init(&env->loop) == 0);
    must(dusk_context_attach(&env->loop, &env->root) == 0);
  }
}

/* SIG-080: of which only the first is looked at. */
CHILD_TEST(sig_070_after_the_first_they_stay_captured) {
  (void)arg;
  dusk_context_t *ctx = with_signals(env->root);
  for (int i = 0; i < 10; i++) {
    send_self(i == 0 ? SIGTERM : SIGINT);
    serve_turn(env);
    must(is_cause(ctx, "terminated signal received"));
  }
  stop(ctx);
}

CHILD_TEST(sig_071_stop_ends_it_and_gives_the_signals_back) {
  (void)arg;
  dusk_context_t *ctx = with_signals(env->root);
  must(!is_default(SIGINT) && !is_default(SIGTERM));
  must(dusk_context_stop_signals(ctx) == 0);
  must(dusk_context_cause(ctx) == &dusk_canceled); /* SIG-074 */
  must(is_default(SIGINT) && is_default(SIGTERM)); /* SIG-072 */
  must(dusk_context_stop_signals(ctx) == 0);
  dusk_context_unref(ctx);
}

typedef struct {
  dusk_context_t *ctx;
  uv_barrier_t *start;
} canceller_t;

static void cancel_together(void *arg) {
  canceller_t *canceller = arg;
  uv_barrier_wait(canceller->start);
  dusk_context_cancel(canceller->ctx, NULL);
}

CHILD_TEST(sig_075_other_threads_may_cancel_meanwhile) {
  enum { THREADS = 4 };
  (void)arg;
  for (int i = 0; i < 20; i++) {
    uv_thread_t threads[THREADS];
    uv_barrier_t start;
    must(uv_barrier_init(&start, THREADS + 1) == 0);
    canceller_t canceller = {with_signals(env->root), &start};
    for (int k = 0; k < THREADS; k++)
      must(uv_thread_create(&threads[k], cancel_together, &canceller) == 0);
    uv_barrier_wait(&start);
    must(dusk_context_stop_signals(canceller.ctx) == 0);
    must(dusk_context_stop_signals(canceller.ctx) == 0);
    must(dusk_context_cause(canceller.ctx) == &dusk_canceled);
    must(is_default(SIGINT) && is_default(SIGTERM));
    for (int k = 0; k < THREADS; k++)
      uv_thread_join(&threads[k]);
    uv_barrier_destroy(&start);
    dusk_context_unref(canceller.ctx);
  }
}

CHILD_TEST(sig_073_stop_keeps_the_signals_cause) {
  (void)arg;
  dusk_context_t *ctx = with_signals(env->root);
  send_self(SIGINT);
  serve_turn(env);
  must(dusk_context_stop_signals(ctx) == 0);
  must(is_cause(ctx, "interrupt signal received"));
  must(is_default(SIGINT));
  dusk_context_unref(ctx);
}

CHILD_TEST(sig_037_one_caught_before_the_stop_is_the_cause) {
  (void)arg;
  dusk_context_t *ctx = with_signals(env->root);
  send_self(SIGTERM); /* the loop does not turn */
  must(dusk_context_stop_signals(ctx) == 0);
  must(is_cause(ctx, "terminated signal received"));
  dusk_context_unref(ctx);
}

CHILD_TEST(sig_076_the_parents_end_is_its_end) {
  static const dusk_cause_t cause = {UV_EIO, "why"};
  (void)arg;
  dusk_context_t *parent, *timed;
  must(dusk_context_with_cancel(env->root, &parent) == 0);
  must(dusk_context_with_deadline(env->root, 1, &cause, &timed) == 0);
  dusk_context_t *ctx = with_signals(parent);
  dusk_context_cancel(parent, &cause);
  must(dusk_context_err(ctx) == UV_ECANCELED);
  must(dusk_context_cause(ctx) == &cause);
  must(!is_default(SIGINT)); /* SIG-078 */
  send_self(SIGINT);
  serve_turn(env);
  must(dusk_context_cause(ctx) == &cause);
  stop(ctx);
  dusk_context_unref(parent);

  ctx = with_signals(timed); /* SIG-077 */
  must(dusk_context_err(ctx) == UV_ETIMEDOUT);
  must(dusk_context_cause(ctx) == &cause);
  must(!is_default(SIGINT));
  stop(ctx);
  must(is_default(SIGINT));
  dusk_context_unref(timed);
}

CHILD_TEST(sig_079_no_list_means_any_signal) {
  (void)arg;
  dusk_context_t *ctx;
  must(dusk_context_with_signals(env->root, NULL, 0, &ctx) == 0);
  send_self(SIGWINCH);
  serve_turn(env);
  must(is_cause(ctx, "window changed signal received"));
  stop(ctx);
}

CHILD_TEST(sig_081_value_and_deadline_are_the_parents) {
  static const dusk_key_t key;
  int value;
  (void)arg;
  dusk_context_t *timed, *layer;
  must(dusk_context_with_timeout(env->root, 60000, NULL, &timed) == 0);
  must(dusk_context_with_value(timed, &key, &value, &layer) == 0);
  dusk_context_t *ctx = with_signals(layer);
  must(dusk_context_value(ctx, &key) == &value);
  must(dusk_context_deadline(ctx) == dusk_context_deadline(timed));
  stop(ctx);
  dusk_context_unref(layer);
  dusk_context_unref(timed);
}

static bool has_text(dusk_context_t *ctx, const char *text) {
  char buf[256];
  size_t len = dusk_context_text(ctx, buf, sizeof(buf));
  return len == strlen(text) && strcmp(buf, text) == 0;
}

/* The list of signals is the caller's again. */
static dusk_context_t *with_list(dusk_context_t *parent, int first, int second,
                                 int third) {
  dusk_context_t *ctx;
  int list[] = {first, second, third};
  size_t count = second == 0 ? 1 : third == 0 ? 2 : 3;
  must(dusk_context_with_signals(parent, list, count, &ctx) == 0);
  memset(list, 0xff, sizeof(list));
  return ctx;
}

CHILD_TEST(sig_082_the_text_lists_the_signals) {
  (void)arg;
  dusk_context_t *parent;
  must(dusk_context_with_cancel(env->root, &parent) == 0);
  dusk_context_t *one = with_list(parent, SIGHUP, 0, 0);
  must(has_text(one, "signal.NotifyContext(context.Background.WithCancel, "
                     "[hangup])"));
  dusk_context_t *three = with_list(parent, SIGHUP, SIGINT, SIGTERM);
  must(has_text(three, /* SIG-083 */
                "signal.NotifyContext(context.Background.WithCancel, "
                "[hangup interrupt terminated])"));
  dusk_context_t *root = with_list(env->root, SIGINT, 0, 0);
  must(has_text(root, /* SIG-084 */
                "signal.NotifyContext(context.Background, [interrupt])"));
  dusk_context_t *all;
  must(dusk_context_with_signals(root, NULL, 0, &all) == 0);
  must(has_text(all, /* SIG-085 */
                "signal.NotifyContext(signal.NotifyContext("
                "context.Background, [interrupt]))"));
  dusk_context_t *below = with_list(all, SIGTERM, SIGINT, 0);
  stop(one);
  stop(three);
  stop(root);
  stop(all);
  must(has_text(below, "signal.NotifyContext(signal.NotifyContext("
                       "signal.NotifyContext(context.Background, "
                       "[interrupt])), [terminated interrupt])"));
  dusk_context_entry_t entry;
  must(dusk_context_tree(below, &entry, 1) == 1);
  must(strcmp(entry.kind, "NotifyContext") == 0);
  stop(below);
  dusk_context_unref(parent);
}

CHILD_TEST(sig_086_an_ignored_signal_counts) {
  (void)arg;
  signal(SIGINT, SIG_IGN);
  dusk_context_t *ctx = with_signals(env->root);
  send_self(SIGINT);
  serve_turn(env);
  must(is_cause(ctx, "interrupt signal received"));
  stop(ctx);
  send_self(SIGINT); /* ignored again */
}

/* DUSK-048 */
CHILD_TEST(the_last_release_gives_the_signals_back) {
  (void)arg;
  dusk_context_t *ctx = with_signals(env->root);
  must(dusk_context_detach(env->root, NULL, NULL) == UV_EBUSY);
  dusk_context_unref(ctx);
  must(is_default(SIGINT) && is_default(SIGTERM));
}

/* DUSK-048 */
CHILD_TEST(a_plain_cancel_leaves_them_captured) {
  (void)arg;
  dusk_context_t *ctx = with_signals(env->root);
  dusk_context_cancel(ctx, NULL);
  send_self(SIGINT);
  serve_turn(env);
  must(dusk_context_cause(ctx) == &dusk_canceled);
  stop(ctx);
}

static void misuse_is_an_error(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = (dusk_context_t *)&ctx;
  assert_int_equal(dusk_context_with_signals(NULL, signums, 1, &ctx),
                   UV_EINVAL);
  assert_int_equal(dusk_context_with_signals(f->root, signums, 1, NULL),
                   UV_EINVAL);
  assert_int_equal(dusk_context_with_signals(f->root, NULL, 1, &ctx),
                   UV_EINVAL);
  assert_ptr_equal(ctx, &ctx);
  assert_int_equal(dusk_context_stop_signals(NULL), UV_EINVAL);
  assert_int_equal(dusk_context_stop_signals(f->root), UV_EINVAL);
  ctx = with_cancel(f->root);
  assert_int_equal(dusk_context_stop_signals(ctx), UV_EINVAL);
  end(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sig_037_one_caught_before_the_stop_is_the_cause),
      cmocka_unit_test(sig_066_a_signal_ends_the_context),
      cmocka_unit_test(sig_068_the_cause_names_the_signal),
      cmocka_unit_test(sig_070_after_the_first_they_stay_captured),
      cmocka_unit_test(sig_071_stop_ends_it_and_gives_the_signals_back),
      cmocka_unit_test(sig_075_other_threads_may_cancel_meanwhile),
      cmocka_unit_test(sig_073_stop_keeps_the_signals_cause),
      cmocka_unit_test(sig_076_the_parents_end_is_its_end),
      cmocka_unit_test(sig_079_no_list_means_any_signal),
      cmocka_unit_test(sig_081_value_and_deadline_are_the_parents),
      cmocka_unit_test(sig_082_the_text_lists_the_signals),
      cmocka_unit_test(sig_086_an_ignored_signal_counts),
      cmocka_unit_test(the_last_release_gives_the_signals_back),
      cmocka_unit_test(a_plain_cancel_leaves_them_captured),
      cmocka_unit_test(a_cause_outlives_its_context_and_tells_the_signal),
      cmocka_unit_test(every_signal_has_a_cause_of_its_own),
      cmocka_unit_test(other_causes_are_no_signals),
      cmocka_unit_test(a_referenced_waiter_has_uv_run_wait_for_a_signal),
      cmocka_unit_test(signals_are_given_back_after_a_walk_closed_all),
      fixture_test(misuse_is_an_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
