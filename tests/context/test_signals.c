/* Receivers of signals: registration, delivery, stop. */
#include "fixture.h"
#include "child.h"

#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

static const int usr1 = SIGUSR1, usr2 = SIGUSR2, hup = SIGHUP;

/* -- Registration --------------------------------------------------------- */

CHILD_TEST(sig_002_in_force_on_return) {
  (void)arg;
  dusk_signals_t *signals = receiver(env, 1, &usr1, 1);
  send_self(SIGUSR1);
  serve_turn(env);
  must(dusk_signals_next(signals) == SIGUSR1); /* SIG-001 */
  dusk_signals_free(signals);
}

CHILD_TEST(sig_003_only_what_was_asked_for) {
  (void)arg;
  dusk_signals_t *first = receiver(env, 4, &usr1, 1);
  dusk_signals_t *second = receiver(env, 4, &usr2, 1);
  send_self(SIGUSR1);
  send_self(SIGUSR2);
  serve_turn(env);
  must(dusk_signals_next(first) == SIGUSR1);
  must(dusk_signals_next(first) == 0);
  must(dusk_signals_next(second) == SIGUSR2);
  must(dusk_signals_next(second) == 0);
  dusk_signals_free(first);
  dusk_signals_free(second);
}

CHILD_TEST(all_leaves_out_faults_and_the_profiler) {
  static const int left_out[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGPROF};
  (void)arg;
  dusk_signals_t *signals = receiver(env, 1, NULL, 0);
  for (size_t i = 0; i < sizeof(left_out) / sizeof(left_out[0]); i++)
    must(disposition(left_out[i]) == SIG_DFL);
  must(disposition(SIGTERM) != SIG_DFL);
  must(disposition(SIGRTMAX) != SIG_DFL); /* SIG-004 */
  dusk_signals_free(signals);
  for (int signum = 1; signum < 32; signum++)
    must(disposition(signum) == SIG_DFL);
}

CHILD_TEST(sig_007_twice_is_once) {
  (void)arg;
  dusk_signals_t *signals = receiver(env, 4, &usr1, 1);
  must(dusk_signals_notify(signals, &usr1, 1) == 0);
  send_self(SIGUSR1);
  serve_turn(env);
  must(dusk_signals_next(signals) == SIGUSR1);
  must(dusk_signals_next(signals) == 0);
  dusk_signals_free(signals);
}

/* SIG-012 too. */
CHILD_TEST(sig_011_what_cannot_be_caught_is_passed_over) {
  static const int odd[] = {-1, 0, 65, 1000, SIGKILL, SIGSTOP, SIGUSR1};
  (void)arg;
  dusk_signals_t *signals = receiver(env, 1, odd, 7);
  must(disposition(SIGKILL) == SIG_DFL && disposition(SIGSTOP) == SIG_DFL);
  send_self(SIGUSR1);
  serve_turn(env);
  must(dusk_signals_next(signals) == SIGUSR1);
  dusk_signals_free(signals);
}

CHILD_TEST(sig_013_an_ignored_signal_is_delivered) {
  (void)arg;
  signal(SIGHUP, SIG_IGN);
  dusk_signals_t *signals = receiver(env, 1, &hup, 1);
  send_self(SIGHUP);
  serve_turn(env);
  must(dusk_signals_next(signals) == SIGHUP);
  dusk_signals_stop(signals);
  must(disposition(SIGHUP) == SIG_IGN); /* SIG-045 */
  send_self(SIGHUP);
  serve_turn(env);
  must(dusk_signals_next(signals) == 0);
  dusk_signals_free(signals);
}

static void misuse_is_an_error(void **state) {
  fixture_t *f = *state;
  dusk_signals_t *signals = (dusk_signals_t *)&signals;
  assert_int_equal(dusk_signals_new(NULL, 1, &signals), UV_EINVAL);
  assert_int_equal(dusk_signals_new(f->root, 1, NULL), UV_EINVAL);
  assert_ptr_equal(signals, &signals);
  assert_int_equal(dusk_signals_notify(NULL, &usr1, 1),
                   UV_EINVAL); /* SIG-010 */
  assert_int_equal(dusk_signals_receive(NULL, NULL, NULL), UV_EINVAL);
  dusk_signals_stop(NULL);
  assert_int_equal(dusk_signals_next(NULL), 0);
  dusk_signals_free(NULL);
  assert_int_equal(dusk_signals_new(f->root, 1, &signals), 0);
  assert_int_equal(dusk_signals_notify(signals, NULL, 1), UV_EINVAL);
  assert_int_equal(dusk_context_detach(f->root, NULL, NULL), UV_EBUSY);
  dusk_signals_free(signals);
}

/* A byte each, which no size_t counts down to a few; whether there is as much
 * memory is the machine's affair. */
static void the_largest_capacity_is_taken_or_refused(void **state) {
  fixture_t *f = *state;
  dusk_signals_t *signals = NULL;
  int err = dusk_signals_new(f->root, UINT32_MAX, &signals);
  assert_int_equal(err, signals != NULL ? 0 : UV_ENOMEM);
  dusk_signals_free(signals);
}

/* The linker leads dusk's calls here: --wrap=uv_signal_init and such. */
int __real_uv_signal_init(uv_loop_t *loop, uv_signal_t *handle);
int __wrap_uv_signal_init(uv_loop_t *loop, uv_signal_t *handle);
int __real_uv_signal_start(uv_signal_t *handle, uv_signal_cb cb, int signum);
int __wrap_uv_signal_start(uv_signal_t *handle, uv_signal_cb cb, int signum);
int __real_nanosleep(const struct timespec *time, struct timespec *ret_left);
int __wrap_nanosleep(const struct timespec *time, struct timespec *ret_left);
static atomic_int calls_to_go; /* the last of them fails; 0: none */
static int sent_meanwhile;     /* by the start that fails */
static atomic_int sleeps;

int __wrap_uv_signal_init(uv_loop_t *loop, uv_signal_t *handle) {
  return --calls_to_go == 0 ? UV_EMFILE : __real_uv_signal_init(loop, handle);
}

int __wrap_uv_signal_start(uv_signal_t *handle, uv_signal_cb cb, int signum) {
  if (--calls_to_go != 0) return __real_uv_signal_start(handle, cb, signum);
  if (sent_meanwhile != 0) send_self(sent_meanwhile);
  return UV_EMFILE;
}

/* What needs the lock that a stop takes. */
int __wrap_nanosleep(const struct timespec *time, struct timespec *ret_left) {
  sleeps++;
  must(!dusk_signal_ignored(SIGUSR1));
  return __real_nanosleep(time, ret_left);
}

CHILD_TEST(a_stop_that_waits_delays_nobody_else) {
  (void)arg;
  dusk_signals_t *signals = receiver(env, 1, &usr1, 1);
  dusk_signals_free(signals);
  must(sleeps > 0);
}

/* DUSK-042 */
CHILD_TEST(a_failed_notify_adds_nothing) {
  static const int two[] = {SIGUSR1, SIGUSR2};
  (void)arg;
  dusk_signals_t *signals;
  dusk_context_t *ctx = NULL;
  must(dusk_signals_new(env->root, 1, &signals) == 0);
  for (int i = 1; i <= 4; i++) {
    calls_to_go = i;
    must(dusk_signals_notify(signals, two, 2) == UV_EMFILE);
    calls_to_go = i;
    must(dusk_context_with_signals(env->root, two, 2, &ctx) == UV_EMFILE);
    must(ctx == NULL);
    must(disposition(SIGUSR1) == SIG_DFL && disposition(SIGUSR2) == SIG_DFL);
  }
  must(dusk_signals_notify(signals, two, 2) == 0);
  must(disposition(SIGUSR1) != SIG_DFL && disposition(SIGUSR2) != SIG_DFL);

  /* While libuv still has handles that are muted. */
  for (int i = 1; i <= 4; i++) {
    dusk_signals_t *muted = receiver(env, 1, two, 2);
    must(dusk_signals_reset(two, 2) == 0);
    calls_to_go = i;
    must(dusk_signals_notify(signals, two, 2) == UV_EMFILE);
    must(disposition(SIGUSR1) == SIG_DFL && disposition(SIGUSR2) == SIG_DFL);
    dusk_signals_free(muted);
    must(disposition(SIGUSR1) == SIG_DFL && disposition(SIGUSR2) == SIG_DFL);
  }
  dusk_signals_free(signals);
}

/* -- Delivery ------------------------------------------------------------- */

/* SIG-017, SIG-018. */
CHILD_TEST(sig_019_a_full_queue_keeps_what_it_has) {
  static const int two[] = {SIGUSR1, SIGUSR2};
  (void)arg;
  dusk_signals_t *small = receiver(env, 1, two, 2);
  dusk_signals_t *large = receiver(env, 4, two, 2);
  send_self(SIGUSR1);
  serve_turn(env);
  send_self(SIGUSR2);
  serve_turn(env);
  must(dusk_signals_next(small) == SIGUSR1);
  must(dusk_signals_next(small) == 0);
  must(dusk_signals_next(large) == SIGUSR1); /* SIG-022 */
  must(dusk_signals_next(large) == SIGUSR2);
  dusk_signals_free(small);
  dusk_signals_free(large);
}

CHILD_TEST(the_queue_is_a_ring) {
  static const int two[] = {SIGUSR1, SIGUSR2};
  (void)arg;
  dusk_signals_t *signals = receiver(env, 3, two, 2);
  send_self(SIGUSR1);
  serve_turn(env);
  for (int i = 0; i < 20; i++) {
    send_self(i % 2 == 0 ? SIGUSR2 : SIGUSR1);
    serve_turn(env);
    must(dusk_signals_next(signals) == (i % 2 == 0 ? SIGUSR1 : SIGUSR2));
  }
  dusk_signals_free(signals);
}

/* SIG-020, SIG-025: what arrives is the number. */
CHILD_TEST(sig_023_quick_arrivals_give_one_or_more) {
  (void)arg;
  dusk_signals_t *signals = receiver(env, 100, &usr1, 1);
  for (int i = 0; i < 10; i++)
    send_self(SIGUSR1);
  serve_turn(env);
  int got = 0;
  while (dusk_signals_next(signals) == SIGUSR1)
    got++;
  must(got >= 1 && got <= 10);
  dusk_signals_free(signals);
}

CHILD_TEST(sig_028_sigcont_can_be_received) {
  static const int cont = SIGCONT;
  (void)arg;
  dusk_signals_t *signals = receiver(env, 1, &cont, 1);
  send_self(SIGCONT);
  serve_turn(env);
  must(dusk_signals_next(signals) == SIGCONT);
  dusk_signals_free(signals);
}

/* More than there is room for until the loop turns: what does not fit is gone,
 * and of what comes later nothing. */
CHILD_TEST(sig_020_too_many_at_once_cost_no_later_ones) {
  (void)arg;
  dusk_signals_t *many = receiver(env, 1, &usr1, 1);
  dusk_signals_t *other = receiver(env, 1, &usr2, 1);
  for (int i = 0; i < 5000; i++)
    send_self(SIGUSR1);
  serve_turn(env);
  must(dusk_signals_next(many) == SIGUSR1);
  must(dusk_signals_next(many) == 0 && dusk_signals_next(other) == 0);
  send_self(SIGUSR2);
  serve_turn(env);
  must(dusk_signals_next(other) == SIGUSR2);
  dusk_signals_free(many);
  dusk_signals_free(other);
}

static void wait_for_the_end(void *arg) {
  uv_sem_wait(arg);
}

CHILD_TEST(sig_033_another_thread_may_take_it) {
  (void)arg;
  uv_sem_t end;
  uv_thread_t thread;
  sigset_t set;
  must(uv_sem_init(&end, 0) == 0);
  must(uv_thread_create(&thread, wait_for_the_end, &end) == 0);
  dusk_signals_t *signals = receiver(env, 1, &usr1, 1);
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1); /* so it isn't this one */
  must(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
  must(pthread_kill(thread, SIGUSR1) == 0);
  while (dusk_signals_next(signals) != SIGUSR1)
    serve_turn(env);
  dusk_signals_free(signals);
  uv_sem_post(&end);
  uv_thread_join(&thread);
}

static void flood(void *arg) {
  atomic_bool *done = arg;
  while (!*done)
    kill(getpid(), SIGUSR1);
}

static void flood_harmlessly(void *arg) {
  atomic_bool *done = arg;
  while (!*done)
    kill(getpid(), SIGWINCH);
}

/* Each stop is the last one, and comes so soon that it must wait. */
CHILD_TEST(sig_029_a_flood_holds_up_no_stop) {
  static const int winch = SIGWINCH;
  (void)arg;
  atomic_bool done = false;
  uv_thread_t thread;
  must(uv_thread_create(&thread, flood_harmlessly, &done) == 0);
  for (int i = 0; i < 20; i++)
    dusk_signals_free(receiver(env, 1, &winch, 1));
  must(sleeps > 0);
  done = true;
  uv_thread_join(&thread);
}

CHILD_TEST(sig_029_a_flood_is_no_harm) {
  (void)arg;
  atomic_bool done = false;
  uv_thread_t thread;
  dusk_signals_t *keeper = receiver(env, 1, &usr1, 1);
  must(uv_thread_create(&thread, flood, &done) == 0);
  uint64_t until = uv_hrtime() + 100 * MS;
  int got = 0;
  /* On a busy machine the flood may be late. */
  while (uv_hrtime() < until || got == 0) {
    dusk_signals_t *signals = receiver(env, 1, &usr1, 1);
    serve_turn(env);
    got += dusk_signals_next(signals) != 0;
    dusk_signals_stop(signals); /* SIG-034, SIG-035 */
    while (dusk_signals_next(signals) != 0)
      continue;
    serve_turn(env);
    must(dusk_signals_next(signals) == 0);
    dusk_signals_free(signals);
  }
  done = true;
  uv_thread_join(&thread);
  serve_turn(env);
  dusk_signals_free(keeper);
}

/* The clock is read in a tight loop, and no loop turns. */
CHILD_TEST(sig_030_nor_while_the_clock_is_read) {
  (void)arg;
  atomic_bool done = false;
  uv_thread_t thread;
  dusk_signals_t *signals = receiver(env, 1, &usr1, 1);
  must(uv_thread_create(&thread, flood, &done) == 0);
  uint64_t until = uv_hrtime() + 100 * MS;
  while (uv_hrtime() < until)
    continue;
  done = true;
  uv_thread_join(&thread);
  serve_turn(env);
  must(dusk_signals_next(signals) == SIGUSR1);
  dusk_signals_free(signals);
}

static void tells_usr1(child_env_t *env, void *arg) {
  (void)arg;
  tell_received(receiver(env, 1, &usr1, 1), "got");
  tell("ready");
  serve(env);
}

/* Paused by the system: there is no tracer to do it. */
static void sig_031_a_paused_process_gets_them_later(void **state) {
  (void)state;
  child_t child = child_start(tells_usr1, NULL);
  child_expect(&child, "ready");
  for (int i = 0; i < 20; i++) {
    child_signal(&child, SIGSTOP);
    child_signal(&child, SIGUSR1);
    child_signal(&child, SIGCONT);
    child_expect(&child, "got 10");
  }
  child_signal(&child, SIGKILL);
  child_expect_death(&child, SIGKILL);
}

/* They become pending in another order. */
CHILD_TEST(sig_024_pending_ones_come_in_ascending_order) {
  static const int order[] = {SIGTERM, SIGUSR2, SIGHUP, SIGWINCH, SIGUSR1};
  static const int sorted[] = {SIGHUP, SIGUSR1, SIGUSR2, SIGTERM, SIGWINCH};
  (void)arg;
  sigset_t all, before;
  dusk_signals_t *signals = receiver(env, 5, order, 5);
  sigfillset(&all);
  must(pthread_sigmask(SIG_BLOCK, &all, &before) == 0);
  for (int i = 0; i < 5; i++)
    send_self(order[i]);
  must(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
  serve_turn(env);
  for (int i = 0; i < 5; i++)
    must(dusk_signals_next(signals) == sorted[i]);
  dusk_signals_free(signals);
}

/* -- Receiving by callback ------------------------------------------------ */

typedef struct {
  int signums[8];
  int count;
  bool again;
} log_t;

static void on_log(dusk_signals_t *signals, int signum, void *arg) {
  log_t *log = arg;
  log->signums[log->count++] = signum;
  if (log->again) must(dusk_signals_receive(signals, on_log, log) == 0);
}

/* DUSK-043 */
CHILD_TEST(a_callback_gets_queued_ones_first_and_once) {
  static const int two[] = {SIGUSR1, SIGUSR2};
  (void)arg;
  log_t log = {.again = false};
  dusk_signals_t *signals = receiver(env, 4, two, 2);
  send_self(SIGUSR1);
  serve_turn(env);
  send_self(SIGUSR2);
  serve_turn(env);
  must(dusk_signals_receive(signals, on_log, &log) == 0);
  must(dusk_signals_receive(signals, on_log, &log) == UV_EBUSY);
  must(log.count == 0); /* never inside the call */
  must(uv_run(&env->loop, UV_RUN_DEFAULT) == 0);
  must(log.count == 1 && log.signums[0] == SIGUSR1);
  log.again = true;
  must(dusk_signals_receive(signals, on_log, &log) == 0);
  must(uv_run(&env->loop, UV_RUN_DEFAULT) == 0);
  must(log.count == 2 && log.signums[1] == SIGUSR2);
  send_self(SIGUSR1);
  serve_turn(env);
  must(log.count == 3 && log.signums[2] == SIGUSR1);
  must(dusk_signals_receive(signals, NULL, NULL) == 0);
  send_self(SIGUSR2);
  serve_turn(env);
  must(log.count == 3);
  must(dusk_signals_next(signals) == SIGUSR2);
  dusk_signals_free(signals);
}

CHILD_TEST(what_another_took_is_not_received) {
  (void)arg;
  log_t log = {.again = false};
  dusk_signals_t *signals = receiver(env, 4, &usr1, 1);
  send_self(SIGUSR1);
  serve_turn(env);
  must(dusk_signals_receive(signals, on_log, &log) == 0);
  must(dusk_signals_next(signals) == SIGUSR1);
  serve_turn(env);
  must(log.count == 0);
  send_self(SIGUSR1);
  serve_turn(env);
  must(log.count == 1);
  dusk_signals_free(signals);
}

typedef struct {
  dusk_signals_t *other;
  log_t *log;
} rival_t;

/* Has the other one's callback told of what is queued, and takes that away. */
static void on_rival(dusk_signals_t *signals, int signum, void *arg) {
  rival_t *rival = arg;
  (void)signals;
  must(signum == SIGUSR2);
  must(dusk_signals_receive(rival->other, on_log, rival->log) == 0);
  must(dusk_signals_next(rival->other) == SIGUSR1);
}

/* The next one comes straight away, and before what was to tell of the first:
 * the callback is called for it, and no more. */
CHILD_TEST(a_callback_that_was_called_is_not_called_again) {
  (void)arg;
  log_t log = {.again = false};
  dusk_signals_t *signals = receiver(env, 4, &usr1, 1);
  dusk_signals_t *rivals = receiver(env, 1, &usr2, 1);
  rival_t rival = {signals, &log};
  send_self(SIGUSR1);
  serve_turn(env);
  must(dusk_signals_receive(rivals, on_rival, &rival) == 0);
  send_self(SIGUSR2);
  send_self(SIGUSR1);
  serve_turn(env);
  must(log.count == 1 && log.signums[0] == SIGUSR1);
  must(dusk_signals_next(signals) == 0);
  dusk_signals_free(rivals);
  dusk_signals_free(signals);
}

static void on_free(dusk_signals_t *signals, int signum, void *arg) {
  log_t *log = arg;
  log->signums[log->count++] = signum;
  dusk_signals_free(signals);
}

/* DUSK-044 */
CHILD_TEST(a_callback_may_free_the_receiver) {
  (void)arg;
  log_t log = {.again = false};
  dusk_signals_t *signals = receiver(env, 4, &usr1, 1);
  must(dusk_signals_receive(signals, on_free, &log) == 0);
  send_self(SIGUSR1);
  serve_turn(env);
  must(log.count == 1);

  signals = receiver(env, 4, &usr1, 1);
  send_self(SIGUSR1);
  serve_turn(env);
  must(dusk_signals_receive(signals, on_free, &log) == 0);
  serve_turn(env);
  must(log.count == 2);
}

/* DUSK-025 */
CHILD_TEST(signals_do_not_keep_the_loop) {
  (void)arg;
  log_t log = {.again = false};
  dusk_signals_t *signals = receiver(env, 4, &usr1, 1);
  must(dusk_signals_receive(signals, on_log, &log) == 0);
  must(uv_run(&env->loop, UV_RUN_DEFAULT) == 0);
  must(uv_loop_alive(&env->loop) == 0);
  dusk_signals_free(signals);
}

/* -- Stop ----------------------------------------------------------------- */

CHILD_TEST(sig_037_what_was_caught_is_queued_by_stop) {
  static const int two[] = {SIGUSR1, SIGUSR2};
  (void)arg;
  dusk_signals_t *signals = receiver(env, 4, two, 2);
  send_self(SIGUSR1);
  send_self(SIGUSR2); /* the loop has not turned */
  dusk_signals_stop(signals);
  int got = dusk_signals_next(signals) + dusk_signals_next(signals);
  must(got == SIGUSR1 + SIGUSR2);
  serve_turn(env);
  must(dusk_signals_next(signals) == 0);
  dusk_signals_free(signals);
}

/* As a dropped channel's: it neither arrives nor kills later. */
CHILD_TEST(what_was_caught_goes_with_the_receiver) {
  (void)arg;
  log_t log = {.again = false};
  dusk_signals_t *signals = receiver(env, 4, &usr1, 1);
  must(dusk_signals_receive(signals, on_log, &log) == 0);
  send_self(SIGUSR1);
  dusk_signals_free(signals);
  serve_turn(env);
  must(log.count == 0);
  must(disposition(SIGUSR1) == SIG_DFL);
}

CHILD_TEST(sig_037_a_callback_that_waits_gets_it_after_the_stop) {
  (void)arg;
  for (unsigned capacity = 0; capacity < 2; capacity++) {
    log_t log = {.again = false};
    dusk_signals_t *signals = receiver(env, capacity, &usr1, 1);
    must(dusk_signals_receive(signals, on_log, &log) == 0);
    send_self(SIGUSR1);
    dusk_signals_stop(signals);
    must(log.count == 0);
    must(uv_run(&env->loop, UV_RUN_DEFAULT) == 0);
    must(log.count == 1 && log.signums[0] == SIGUSR1);
    dusk_signals_free(signals);
  }
}

static void on_stop(dusk_signals_t *signals, int signum, void *arg) {
  on_log(signals, signum, arg);
  dusk_signals_stop(signals);
  must(dusk_signals_next(signals) == 0);
}

CHILD_TEST(a_stop_inside_the_callback_counts_it_once) {
  (void)arg;
  log_t log = {.again = false};
  dusk_signals_t *signals = receiver(env, 4, &usr1, 1);
  must(dusk_signals_receive(signals, on_stop, &log) == 0);
  send_self(SIGUSR1);
  serve_turn(env);
  must(log.count == 1);
  must(disposition(SIGUSR1) == SIG_DFL);
  dusk_signals_free(signals);
}

/* SIG-038, SIG-047: all at once; and it may be used anew. */
CHILD_TEST(sig_039_a_second_stop_does_nothing) {
  static const int two[] = {SIGUSR1, SIGUSR2};
  (void)arg;
  dusk_signals_t *signals;
  must(dusk_signals_new(env->root, 1, &signals) == 0);
  dusk_signals_stop(signals);
  must(dusk_signals_notify(signals, two, 2) == 0);
  dusk_signals_stop(signals);
  must(disposition(SIGUSR1) == SIG_DFL && disposition(SIGUSR2) == SIG_DFL);
  dusk_signals_stop(signals);
  must(dusk_signals_notify(signals, two, 1) == 0);
  send_self(SIGUSR1);
  serve_turn(env);
  must(dusk_signals_next(signals) == SIGUSR1);
  dusk_signals_free(signals);
}

/* SIG-041. */
CHILD_TEST(sig_040_the_last_stop_restores) {
  (void)arg;
  dusk_signals_t *first = receiver(env, 4, &usr1, 1);
  dusk_signals_t *second = receiver(env, 4, &usr1, 1);
  dusk_signals_stop(first);
  must(disposition(SIGUSR1) != SIG_DFL);
  send_self(SIGUSR1);
  serve_turn(env);
  must(dusk_signals_next(first) == 0);
  must(dusk_signals_next(second) == SIGUSR1);
  dusk_signals_stop(second);
  must(disposition(SIGUSR1) == SIG_DFL);
  dusk_signals_free(first);
  dusk_signals_free(second);
}

CHILD_TEST(sig_042_what_is_queued_stays_readable) {
  (void)arg;
  dusk_signals_t *signals = receiver(env, 4, &usr1, 1);
  send_self(SIGUSR1);
  serve_turn(env);
  dusk_signals_stop(signals);
  must(dusk_signals_next(signals) == SIGUSR1);
  dusk_signals_free(signals);
}

/* -- Beside a uv_signal_t of the host ------------------------------------- */

static int hosts;

static void on_host(uv_signal_t *handle, int signum) {
  (void)handle;
  (void)signum;
  hosts++;
}

static void host_start(child_env_t *env, uv_signal_t *handle) {
  must(uv_signal_init(&env->loop, handle) == 0);
  uv_unref((uv_handle_t *)handle);
  must(uv_signal_start(handle, on_host, SIGUSR1) == 0);
}

/* DUSK-046. Whoever came first, whoever goes first. */
CHILD_TEST(the_hosts_own_handles_live_beside) {
  (void)arg;
  uv_signal_t host;
  for (int order = 0; order < 4; order++) {
    dusk_signals_t *signals;
    hosts = 0;
    if (order % 2 == 0) {
      host_start(env, &host);
      signals = receiver(env, 4, &usr1, 1);
    } else {
      signals = receiver(env, 4, &usr1, 1);
      host_start(env, &host);
    }
    send_self(SIGUSR1);
    serve_turn(env);
    must(hosts == 1 && dusk_signals_next(signals) == SIGUSR1);
    if (order < 2) {
      dusk_signals_free(signals);
      send_self(SIGUSR1);
      serve_turn(env);
      must(hosts == 2);
      uv_close((uv_handle_t *)&host, NULL);
    } else {
      uv_close((uv_handle_t *)&host, NULL);
      send_self(SIGUSR1);
      serve_turn(env);
      must(hosts == 1 && dusk_signals_next(signals) == SIGUSR1);
      dusk_signals_free(signals);
    }
    must(disposition(SIGUSR1) == SIG_DFL);
    serve_turn(env);
  }
}

/* A waiting callback still learns of a signal that came while a notify failed,
 * and of those that come after it. */
CHILD_TEST(a_failed_notify_tells_what_it_has_caught) {
  static const int two[] = {SIGUSR1, SIGUSR2};
  (void)arg;
  log_t log = {.again = true};
  dusk_signals_t *signals = receiver(env, 4, &hup, 1);
  must(dusk_signals_receive(signals, on_log, &log) == 0);
  calls_to_go = 4;
  sent_meanwhile = SIGUSR1;
  must(dusk_signals_notify(signals, two, 2) == UV_EMFILE);
  must(log.count == 0);
  serve_turn(env);
  must(log.count == 1 && log.signums[0] == SIGUSR1);
  send_self(SIGHUP);
  serve_turn(env);
  must(log.count == 2 && log.signums[1] == SIGHUP);
  dusk_signals_free(signals);
}

/* -- Several threads, and processes --------------------------------------- */

static void notify_and_stop(void *arg) {
  int signum = *(const int *)arg;
  child_env_t env;
  must(uv_loop_init(&env.loop) == 0);
  must(dusk_context_attach(&env.loop, &env.root) == 0);
  for (int i = 0; i < 5; i++) {
    dusk_signals_t *signals = receiver(&env, 2, &signum, 1);
    send_self(signum);
    while (dusk_signals_next(signals) == 0)
      serve_turn(&env);
    dusk_signals_free(signals);
  }
  must(dusk_context_detach(env.root, NULL, NULL) == 0);
  uv_run(&env.loop, UV_RUN_DEFAULT);
  must(uv_loop_close(&env.loop) == 0);
}

CHILD_TEST(sig_048_loops_do_not_disturb_each_other) {
  static const int signums[] = {SIGWINCH, SIGHUP, SIGUSR1};
  (void)env;
  (void)arg;
  uv_thread_t threads[3];
  for (int i = 0; i < 3; i++)
    must(uv_thread_create(&threads[i], notify_and_stop, (void *)&signums[i]) ==
         0);
  for (int i = 0; i < 3; i++)
    uv_thread_join(&threads[i]);
  for (int i = 0; i < 3; i++)
    must(disposition(signums[i]) == SIG_DFL);
}

static void reads(void *arg) {
  while (dusk_signals_next(arg) == 0)
    continue;
}

/* DUSK-045 */
CHILD_TEST(any_thread_may_take_from_the_queue) {
  (void)arg;
  uv_thread_t thread;
  dusk_signals_t *signals = receiver(env, 1, &usr1, 1);
  must(uv_thread_create(&thread, reads, signals) == 0);
  send_self(SIGUSR1);
  serve_turn(env);
  uv_thread_join(&thread);
  must(dusk_signals_next(signals) == 0);
  dusk_signals_free(signals);
}

static void sig_026_signals_have_gos_texts(void **state) {
  (void)state;
  static const struct {
    int signum;
    const char *text;
  } rows[] = {
      {SIGHUP, "hangup"},
      {SIGINT, "interrupt"}, /* SIG-097 */
      {SIGQUIT, "quit"},
      {SIGABRT, "aborted"},
      {SIGKILL, "killed"},
      {SIGUSR1, "user defined signal 1"},
      {SIGUSR2, "user defined signal 2"},
      {SIGPIPE, "broken pipe"},
      {SIGALRM, "alarm clock"},
      {SIGTERM, "terminated"},
      {SIGCHLD, "child exited"},
      {SIGCONT, "continued"},
      {SIGTSTP, "stopped"},
      {SIGWINCH, "window changed"},
      {0, "signal 0"},
      {-1, "signal -1"},
      {64, "signal 64"},
      {INT32_MIN, "signal -2147483648"},
  };
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
    assert_string_equal(dusk_signal_text(rows[i].signum), rows[i].text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sig_002_in_force_on_return),
      cmocka_unit_test(sig_003_only_what_was_asked_for),
      cmocka_unit_test(all_leaves_out_faults_and_the_profiler),
      cmocka_unit_test(sig_007_twice_is_once),
      cmocka_unit_test(sig_011_what_cannot_be_caught_is_passed_over),
      cmocka_unit_test(sig_013_an_ignored_signal_is_delivered),
      fixture_test(misuse_is_an_error),
      fixture_test(the_largest_capacity_is_taken_or_refused),
      cmocka_unit_test(a_failed_notify_adds_nothing),
      cmocka_unit_test(a_stop_that_waits_delays_nobody_else),
      cmocka_unit_test(sig_019_a_full_queue_keeps_what_it_has),
      cmocka_unit_test(the_queue_is_a_ring),
      cmocka_unit_test(sig_023_quick_arrivals_give_one_or_more),
      cmocka_unit_test(sig_026_signals_have_gos_texts),
      cmocka_unit_test(sig_028_sigcont_can_be_received),
      cmocka_unit_test(sig_020_too_many_at_once_cost_no_later_ones),
      cmocka_unit_test(sig_033_another_thread_may_take_it),
      cmocka_unit_test(sig_029_a_flood_is_no_harm),
      cmocka_unit_test(sig_029_a_flood_holds_up_no_stop),
      cmocka_unit_test(sig_030_nor_while_the_clock_is_read),
      cmocka_unit_test(sig_031_a_paused_process_gets_them_later),
      cmocka_unit_test(sig_024_pending_ones_come_in_ascending_order),
      cmocka_unit_test(a_callback_gets_queued_ones_first_and_once),
      cmocka_unit_test(what_another_took_is_not_received),
      cmocka_unit_test(a_callback_that_was_called_is_not_called_again),
      cmocka_unit_test(a_callback_may_free_the_receiver),
      cmocka_unit_test(signals_do_not_keep_the_loop),
      cmocka_unit_test(sig_037_what_was_caught_is_queued_by_stop),
      cmocka_unit_test(what_was_caught_goes_with_the_receiver),
      cmocka_unit_test(sig_037_a_callback_that_waits_gets_it_after_the_stop),
      cmocka_unit_test(a_stop_inside_the_callback_counts_it_once),
      cmocka_unit_test(sig_039_a_second_stop_does_nothing),
      cmocka_unit_test(sig_040_the_last_stop_restores),
      cmocka_unit_test(sig_042_what_is_queued_stays_readable),
      cmocka_unit_test(the_hosts_own_handles_live_beside),
      cmocka_unit_test(a_failed_notify_tells_what_it_has_caught),
      cmocka_unit_test(sig_048_loops_do_not_disturb_each_other),
      cmocka_unit_test(any_thread_may_take_from_the_queue),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
