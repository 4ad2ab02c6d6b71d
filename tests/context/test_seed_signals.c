/* The seed's rows on Notify and Stop, shown in child processes. */
#include "fixture.h"
#include "child.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void tells_three(child_env_t *env, void *arg) {
  static const int signums[] = {SIGHUP, SIGINT, SIGTERM};
  (void)arg;
  tell_received(receiver(env, 1, signums, 3), "got");
  tell("ready");
  serve(env);
}

static void seed_025_the_signal_number_arrives(void **state) {
  (void)state;
  child_t child = child_start(tells_three, NULL);
  child_expect(&child, "ready");
  child_signal(&child, 1);
  child_expect(&child, "got 1");
  child_signal(&child, 2);
  child_expect(&child, "got 2");
  child_signal(&child, 15);
  child_expect(&child, "got 15");
  child_signal(&child, SIGKILL);
  child_expect_death(&child, SIGKILL);
}

static void wants_all(child_env_t *env, void *arg) {
  (void)arg;
  tell_received(receiver(env, 10, NULL, 0), "got");
  tell("ready");
  serve(env);
}

/* SIG-005: they are included that nobody thinks of. */
static void seed_026_no_list_means_all(void **state) {
  (void)state;
  static const int signums[] = {SIGHUP,  SIGUSR1, SIGWINCH, SIGTERM, SIGCHLD,
                                SIGPIPE, SIGURG,  SIGTSTP,  SIGCONT};
  child_t child = child_start(wants_all, NULL);
  child_expect(&child, "ready");
  for (size_t i = 0; i < sizeof(signums) / sizeof(signums[0]); i++) {
    char line[20];
    child_signal(&child, signums[i]);
    snprintf(line, sizeof(line), "got %d", signums[i]);
    child_expect(&child, line);
  }
  int status;
  child_signal(&child, SIGSTOP); /* SIG-012 */
  assert_int_equal(waitpid(child.pid, &status, WUNTRACED), child.pid);
  assert_true(WIFSTOPPED(status));
  child_signal(&child, SIGCONT);
  child_expect(&child, "got 18");
  child_signal(&child, SIGKILL);
  child_expect_death(&child, SIGKILL);
}

static void wants_interrupt(child_env_t *env, void *arg) {
  static const int signum = SIGINT;
  (void)arg;
  tell_received(receiver(env, 1, &signum, 1), "got");
  tell("ready");
  serve(env);
}

static void seed_027_others_keep_their_disposition(void **state) {
  (void)state;
  child_t child = child_start(wants_interrupt, NULL);
  child_expect(&child, "ready");
  child_signal(&child, SIGINT);
  child_expect(&child, "got 2");
  child_signal(&child, SIGTERM);
  child_expect_death(&child, SIGTERM);
}

/* Of the second receiver, what it got is told; the first is not read. */
static void one_is_not_read(child_env_t *env, void *arg) {
  static const int signums[] = {SIGUSR1, SIGTERM};
  (void)arg;
  dusk_signals_t *full = receiver(env, 2, signums, 1);
  dusk_signals_t *large = receiver(env, 16, signums, 2);
  tell("ready");
  for (int count = 0; count < 10;) {
    serve_turn(env);
    int signum = dusk_signals_next(large);
    if (signum == 0) continue;
    must(signum == SIGUSR1);
    tell("%d", ++count);
  }
  int held = 0;
  while (dusk_signals_next(full) == SIGUSR1)
    held++;
  tell("held %d", held);
  dusk_signals_free(full);
  dusk_signals_free(large);
}

static void seed_028_sending_never_blocks(void **state) {
  (void)state;
  child_t child = child_start(one_is_not_read, NULL);
  child_expect(&child, "ready");
  for (int i = 1; i <= 10; i++) {
    char line[20];
    child_signal(&child, SIGUSR1);
    snprintf(line, sizeof(line), "%d", i);
    child_expect(&child, line);
  }
  child_expect(&child, "held 2");
  child_expect_death(&child, 0);
}

static void reads_1000(child_env_t *env, void *arg) {
  static const int signum = SIGUSR1;
  (void)arg;
  dusk_signals_t *signals = receiver(env, 1, &signum, 1);
  for (int i = 0; i < 1000; i++) {
    kill(getpid(), SIGUSR1); /* SIG-027 */
    serve_turn(env);
    must(dusk_signals_next(signals) == SIGUSR1);
    must(dusk_signals_next(signals) == 0);
  }
  dusk_signals_free(signals);
}

static void seed_029_capacity_1_suffices_for_one_kind(void **state) {
  (void)state;
  child_t child = child_start(reads_1000, NULL);
  child_expect_death(&child, 0);
}

static void notifies_twice(child_env_t *env, void *arg) {
  static const int signums[] = {SIGUSR1, SIGUSR2};
  (void)arg;
  dusk_signals_t *signals = receiver(env, 2, &signums[0], 1);
  must(dusk_signals_notify(signals, &signums[1], 1) == 0);
  must(dusk_signals_notify(signals, &signums[1], 1) == 0); /* SIG-007 */
  tell_received(signals, "got");
  tell("ready");
  serve(env);
}

/* SIG-006. */
static void seed_030_each_notify_extends_the_set(void **state) {
  (void)state;
  child_t child = child_start(notifies_twice, NULL);
  child_expect(&child, "ready");
  child_signal(&child, SIGUSR1);
  child_expect(&child, "got 10");
  child_signal(&child, SIGUSR2);
  child_expect(&child, "got 12");
  child_signal(&child, SIGUSR1);
  child_expect(&child, "got 10");
  child_signal(&child, SIGTERM);
  child_expect_death(&child, SIGTERM);
}

static void stops(child_env_t *env, void *arg) {
  static const int signum = SIGTERM;
  (void)arg;
  dusk_signals_t *signals = receiver(env, 1, &signum, 1);
  kill(getpid(), SIGTERM);
  serve_turn(env);
  must(dusk_signals_next(signals) == SIGTERM);
  dusk_signals_stop(signals);
  tell("stopped");
  serve(env);
}

static void seed_031_after_stop_the_default_is_back(void **state) {
  (void)state;
  child_t child = child_start(stops, NULL);
  child_expect(&child, "stopped");
  child_signal(&child, SIGTERM);
  child_expect_death(&child, SIGTERM);
}

/* -- Stop against a signal ------------------------------------------------ */

typedef struct {
  int delay;
  int senders_delay; /* of a thread in the child; -1: the parent sends */
  uv_barrier_t start;
  atomic_bool go;
} race_t;

static void spin(int count) {
  for (volatile int left = count; left > 0;)
    left--;
}

/* Sends it, and takes it itself if the loop's thread has it blocked. */
static void send_from_a_thread(void *arg) {
  race_t *race = arg;
  uv_barrier_wait(&race->start);
  race->go = true;
  spin(race->senders_delay);
  kill(getpid(), SIGINT);
  for (;;)
    pause();
}

/* Either gets the signal, or stays until it dies of it. */
static void stops_any_time(child_env_t *env, void *arg) {
  static const int signum = SIGINT;
  race_t *race = arg;
  uv_thread_t sender;
  race->go = race->senders_delay < 0;
  must(uv_barrier_init(&race->start, 2) == 0);
  if (!race->go) must(uv_thread_create(&sender, send_from_a_thread, race) == 0);
  dusk_signals_t *signals = receiver(env, 1, &signum, 1);
  uv_sleep(6); /* a stop that follows at once takes its time */
  tell("ready");
  if (!race->go) uv_barrier_wait(&race->start);
  while (!race->go) /* the other one runs now */
    continue;
  spin(race->delay);
  dusk_signals_stop(signals);
  while (dusk_signals_next(signals) == 0)
    pause();
  _exit(0);
}

#if defined(__SANITIZE_ADDRESS__) || UNDER_TSAN
#define UNDER_SANITIZER 1
#else
#define UNDER_SANITIZER 0
#endif

/* A lost one shows as a child that hangs. */
static void race_stop(race_t *race, int tries, int range) {
  int received = 0, died = 0;
  for (int i = 0; i < tries; i++) {
    race->delay = rand() % range;
    if (race->senders_delay >= 0) race->senders_delay = rand() % range;
    child_t child = child_start(stops_any_time, race);
    child_expect(&child, "ready");
    if (race->senders_delay < 0) child_signal(&child, SIGINT);
    int status = child_wait(&child, 10000);
    if (status == -1) fail_msg("the signal was lost in try %d", i);
    if (WIFSIGNALED(status)) {
      assert_int_equal(WTERMSIG(status), SIGINT);
      died++;
    } else {
      assert_int_equal(WEXITSTATUS(status), 0);
      received++;
    }
  }
  print_message("received %d, died %d\n", received, died);
  if (UNDER_SANITIZER) return; /* it moves the window */
  assert_true(received > 0 && died > 0);
}

/* SIG-037. */
static void seed_031_a_signal_against_stop_is_never_lost(void **state) {
  (void)state;
  race_t race = {.senders_delay = -1};
  race_stop(&race, 200, 400000);
}

/* SIG-036: the stop waits for the other thread's handler. */
static void seed_031_nor_when_another_thread_catches_it(void **state) {
  (void)state;
  if (UNDER_TSAN) skip(); /* it holds signals back, and then loses them */
  race_t race = {.senders_delay = 0};
  race_stop(&race, 500, 20000);
}

/* -- Several receivers ---------------------------------------------------- */

static void three_receivers(child_env_t *env, void *arg) {
  static const int signum = SIGUSR1;
  (void)arg;
  dusk_signals_t *three[3];
  for (int i = 0; i < 3; i++)
    three[i] = receiver(env, 5, &signum, 1);
  tell("ready");
  for (int count = 0; count < 5; count++) {
    int got = 0;
    while (got == 0) {
      serve_turn(env);
      got = dusk_signals_next(three[2]);
    }
    tell("%d", count);
  }
  for (int i = 0; i < 3; i++) {
    for (int count = 0; i < 2 && count < 5; count++)
      must(dusk_signals_next(three[i]) == SIGUSR1);
    must(dusk_signals_next(three[i]) == 0);
    dusk_signals_free(three[i]);
  }
}

/* SIG-008, SIG-009: of the order nothing is said. */
static void seed_032_each_receiver_gets_its_copy(void **state) {
  (void)state;
  child_t child = child_start(three_receivers, NULL);
  child_expect(&child, "ready");
  for (int i = 0; i < 5; i++) {
    char line[20];
    child_signal(&child, SIGUSR1);
    snprintf(line, sizeof(line), "%d", i);
    child_expect(&child, line);
  }
  child_expect_death(&child, 0);
}

static void waits_without_capacity(child_env_t *env, void *arg) {
  (void)arg;
  static const int signum = SIGINT;
  dusk_signals_t *signals = receiver(env, 0, &signum, 1);
  kill(getpid(), SIGINT);
  serve_turn(env); /* nobody waits: it is dropped */
  tell_received(signals, "got");
  serve_turn(env);
  tell("ready");
  serve(env);
}

/* SIG-021. */
static void seed_033_without_capacity_somebody_must_wait(void **state) {
  (void)state;
  child_t child = child_start(waits_without_capacity, NULL);
  child_expect(&child, "ready");
  child_signal(&child, SIGINT);
  child_expect(&child, "got 2");
  child_signal(&child, SIGTERM);
  child_expect_death(&child, SIGTERM);
}

/* The terminal, opened by a session that has none, becomes its own. */
static void at_a_terminal(child_env_t *env, void *arg) {
  must(setsid() != -1);
  must(open(arg, O_RDWR) != -1);
  wants_interrupt(env, NULL);
}

static void seed_035_ctrl_c_and_kill_are_the_same(void **state) {
  (void)state;
  int keyboard = posix_openpt(O_RDWR | O_NOCTTY);
  assert_int_not_equal(keyboard, -1);
  assert_int_equal(grantpt(keyboard), 0);
  assert_int_equal(unlockpt(keyboard), 0);
  child_t child = child_start(at_a_terminal, ptsname(keyboard));
  child_expect(&child, "ready");
  assert_int_equal(write(keyboard, "\x03", 1), 1);
  child_expect(&child, "got 2");
  child_signal(&child, SIGINT);
  child_expect(&child, "got 2");
  child_signal(&child, SIGTERM);
  child_expect_death(&child, SIGTERM);
  close(keyboard);
}

static void on_end(dusk_waiter_t *waiter) {
  (void)waiter;
  tell("ended");
}

static void stops_after_the_first(child_env_t *env, void *arg) {
  static const int signum = SIGINT;
  (void)arg;
  dusk_context_t *ctx;
  dusk_waiter_t waiter;
  must(dusk_context_with_signals(env->root, &signum, 1, &ctx) == 0);
  dusk_context_after(ctx, &waiter, env->root, on_end);
  tell("ready");
  while (dusk_context_err(ctx) == 0)
    serve_turn(env);
  serve_turn(env);
  must(dusk_context_stop_signals(ctx) == 0);
  tell("stopped");
  /* No loop turns any more: the second Ctrl+C needs none. */
  for (;;)
    sched_yield();
}

static void seed_053_after_stop_a_second_signal_kills(void **state) {
  (void)state;
  child_t child = child_start(stops_after_the_first, NULL);
  child_expect(&child, "ready");
  child_signal(&child, SIGINT);
  child_expect(&child, "ended");
  child_expect(&child, "stopped");
  child_signal(&child, SIGINT);
  child_expect_death(&child, SIGINT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(seed_025_the_signal_number_arrives),
      cmocka_unit_test(seed_026_no_list_means_all),
      cmocka_unit_test(seed_027_others_keep_their_disposition),
      cmocka_unit_test(seed_028_sending_never_blocks),
      cmocka_unit_test(seed_029_capacity_1_suffices_for_one_kind),
      cmocka_unit_test(seed_030_each_notify_extends_the_set),
      cmocka_unit_test(seed_031_after_stop_the_default_is_back),
      cmocka_unit_test(seed_031_a_signal_against_stop_is_never_lost),
      cmocka_unit_test(seed_031_nor_when_another_thread_catches_it),
      cmocka_unit_test(seed_032_each_receiver_gets_its_copy),
      cmocka_unit_test(seed_033_without_capacity_somebody_must_wait),
      cmocka_unit_test(seed_035_ctrl_c_and_kill_are_the_same),
      cmocka_unit_test(seed_053_after_stop_a_second_signal_kills),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
