/* What a signal does to the process: what was there before the first notify,
 * after the last stop, and in between; masks, faults, pipes, forks. */
#include "fixture.h"
#include "child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const int usr1 = SIGUSR1, usr2 = SIGUSR2;

static void dies(child_env_t *env, void *arg) {
  int signum = *(int *)arg;
  dusk_signals_t *signals = receiver(env, 1, &signum, 1);
  dusk_signals_free(signals);
  tell("stopped");
  serve(env);
}

static void lives(child_env_t *env, void *arg) {
  (void)arg;
  tell("stopped");
  serve(env);
}

/* SIG-044: before the first notify as well. SIG-090: the parent sees a death by
 * signal, of which a shell makes 128 and its number. */
static void sig_043_then_signals_kill_again(void **state) {
  (void)state;
  static int deadly[] = {SIGHUP, SIGINT, SIGTERM, SIGUSR1};
  for (int i = 0; i < 8; i++) {
    child_t child = child_start(i < 4 ? dies : lives, &deadly[i % 4]);
    child_expect(&child, "stopped");
    child_signal(&child, deadly[i % 4]);
    child_expect_death(&child, deadly[i % 4]); /* SIG-049: SIGUSR1 */
  }
}

CHILD_TEST(sig_049_or_have_no_effect_again) {
  static const int winch = SIGWINCH;
  (void)arg;
  dusk_signals_t *signals = receiver(env, 1, &winch, 1);
  dusk_signals_stop(signals);
  must(disposition(SIGWINCH) == SIG_DFL);
  send_self(SIGWINCH);
  serve_turn(env);
  must(dusk_signals_next(signals) == 0);
  dusk_signals_free(signals);
}

static volatile sig_atomic_t handled;

static void handler(int signum) {
  handled = signum;
}

/* SIG-088: with its flags and mask; no other takes its place. */
CHILD_TEST(a_handler_found_before_comes_back) {
  (void)arg;
  struct sigaction mine = {.sa_handler = handler, .sa_flags = SA_NODEFER};
  struct sigaction now;
  sigaddset(&mine.sa_mask, SIGUSR2);
  must(sigaction(SIGUSR1, &mine, NULL) == 0);
  dusk_signals_t *signals = receiver(env, 1, &usr1, 1);
  send_self(SIGUSR1);
  serve_turn(env);
  must(dusk_signals_next(signals) == SIGUSR1 && handled == 0);
  dusk_signals_free(signals);
  must(sigaction(SIGUSR1, NULL, &now) == 0);
  must(now.sa_handler == handler && (now.sa_flags & SA_NODEFER) != 0);
  must(sigismember(&now.sa_mask, SIGUSR2) == 1);
  send_self(SIGUSR1);
  must(handled == SIGUSR1);
}

CHILD_TEST(no_mask_is_changed) {
  (void)arg;
  sigset_t before, after;
  must(sigprocmask(SIG_SETMASK, NULL, &before) == 0);
  dusk_signals_t *signals = receiver(env, 1, NULL, 0);
  dusk_signals_free(signals);
  must(sigprocmask(SIG_SETMASK, NULL, &after) == 0);
  for (int signum = 1; signum < 65; signum++)
    must(sigismember(&before, signum) == sigismember(&after, signum));
}

/* DUSK-032 */
CHILD_TEST(a_forked_child_can_use_its_signals) {
  (void)arg;
  dusk_signals_t *before = receiver(env, 1, &usr1, 1);
  pid_t pid = fork();
  must(pid >= 0);
  if (pid == 0) {
    must(uv_loop_fork(&env->loop) == 0);
    dusk_signals_t *signals = receiver(env, 1, &usr2, 1);
    send_self(SIGUSR2);
    serve_turn(env);
    must(dusk_signals_next(signals) == SIGUSR2);
    dusk_signals_free(signals);
    dusk_signals_free(before);
    must(disposition(SIGUSR1) == SIG_DFL);
    return; /* and closes its loop */
  }
  child_t child = {pid, dup(0)};
  must(child_wait(&child, 10000) == 0);
  dusk_signals_free(before);
}

/* A part of the program that puts back, too late, what it had found. */
CHILD_TEST(the_librarys_own_handler_is_nobodys_former_one) {
  (void)arg;
  struct sigaction found;
  dusk_signals_t *signals = receiver(env, 1, &usr1, 1);
  must(sigaction(SIGUSR1, NULL, &found) == 0);
  signal(SIGUSR1, handler);
  dusk_signals_stop(signals);
  must(disposition(SIGUSR1) == handler);
  must(sigaction(SIGUSR1, &found, NULL) == 0);
  must(dusk_signals_notify(signals, &usr1, 1) == 0);
  dusk_signals_free(signals);
  must(disposition(SIGUSR1) == SIG_DFL);
}

/* Takes the signal and gives it back, while somebody saves the disposition and
 * restores it too late. */
static void restores(child_env_t *env, void *arg) {
  int how = *(int *)arg;
  struct sigaction found;
  dusk_signals_t *signals = receiver(env, 1, &usr1, 1);
  must(sigaction(SIGUSR1, NULL, &found) == 0);
  if (how == 0)
    dusk_signals_stop(signals);
  else
    must(dusk_signals_reset(&usr1, 1) == 0);
  if (how != 2) serve_turn(env);
  must(sigaction(SIGUSR1, &found, NULL) == 0);
  send_self(SIGUSR1);
  dusk_signals_free(signals);
}

/* Loops for ever if the library's handler still is. */
static void sig_088_a_handler_brought_back_is_none(void **state) {
  (void)state;
  static int hows[] = {0, 1, 2}; /* 2: before the loop turns */
  for (int i = 0; i < 3; i++) {
    child_t child = child_start(restores, &hows[i]);
    int status = child_wait(&child, 10000);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGUSR1);
  }
}

CHILD_TEST(sig_088_it_stands_for_what_was_found_first) {
  (void)arg;
  static int how = 0;
  signal(SIGUSR1, SIG_IGN);
  restores(env, &how);
  must(disposition(SIGUSR1) == SIG_IGN);
  signal(SIGUSR1, handler);
  restores(env, &how);
  must(handled == SIGUSR1 && disposition(SIGUSR1) == handler);
}

static void run_command(void *arg) {
  must(system(arg) == 0);
}

/* It saves what it finds for SIGINT, and restores that when it has ended. */
static void stops_during_a_command(child_env_t *env, void *arg) {
  static const int sigint = SIGINT;
  char command[40];
  int fds[2];
  uv_thread_t thread;
  (void)arg;
  must(pipe(fds) == 0);
  snprintf(command, sizeof(command), "read line </dev/fd/%d", fds[0]);
  dusk_signals_t *signals = receiver(env, 1, &sigint, 1);
  must(uv_thread_create(&thread, run_command, command) == 0);
  while (disposition(SIGINT) != SIG_IGN)
    sched_yield();
  dusk_signals_free(signals);
  must(write(fds[1], "\n", 1) == 1);
  uv_thread_join(&thread);
  tell("ready");
  serve(env);
}

static void sig_043_also_if_a_command_was_running(void **state) {
  (void)state;
  if (UNDER_TSAN) skip(); /* it does not see what the C library sets */
  child_t child = child_start(stops_during_a_command, NULL);
  child_expect(&child, "ready");
  child_signal(&child, SIGINT);
  child_expect_death(&child, SIGINT);
}

/* Found ignored is left ignored, whichever it is. */
CHILD_TEST(sig_094_no_signal_is_taken_over) {
  static const int signums[] = {SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGPIPE};
  (void)arg;
  for (int i = 0; i < 5; i++)
    signal(signums[i], SIG_IGN);
  dusk_signals_t *signals = receiver(env, 1, signums, 2);
  must(disposition(SIGTERM) == SIG_IGN);
  must(dusk_signals_notify(signals, signums, 5) == 0);
  dusk_signals_stop(signals);
  for (int i = 0; i < 5; i++)
    must(disposition(signums[i]) == SIG_IGN);
  dusk_signals_free(signals);
}

/* SIG-046: so there is nothing to block again. */
CHILD_TEST(sig_014_what_is_blocked_stays_blocked) {
  (void)arg;
  sigset_t set, now;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  must(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
  dusk_signals_t *signals = receiver(env, 1, &usr1, 1);
  send_self(SIGUSR1);
  serve_turn(env);
  must(dusk_signals_next(signals) == 0);
  must(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
  serve_turn(env);
  must(dusk_signals_next(signals) == SIGUSR1);
  must(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
  dusk_signals_free(signals);
  must(pthread_sigmask(SIG_SETMASK, NULL, &now) == 0);
  must(sigismember(&now, SIGUSR1) == 1);
}

/* -- A program's own faults ----------------------------------------------- */

/* Only some processors stop at a division by zero. */
#if defined(__x86_64__) || defined(__i386__)
enum { KINDS_OF_FAULTS = 3 };
#else
enum { KINDS_OF_FAULTS = 2 };
#endif

__attribute__((no_sanitize("undefined"))) static void be_at_fault(int signum) {
  static volatile int none;
  volatile char *nothing =
      mmap(NULL, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (signum == SIGFPE) none = signum / none;
  FILE *empty = tmpfile();
  if (signum == SIGBUS)
    nothing = mmap(NULL, 1, PROT_WRITE, MAP_SHARED, fileno(empty), 0);
  *nothing = 1;
}

static void faults(child_env_t *env, void *arg) {
  int signum = *(int *)arg;
  dusk_signals_t *signals = receiver(env, 1, &signum, 1);
  tell("ready");
  while (dusk_signals_next(signals) == 0)
    serve_turn(env);
  tell("got it");
  be_at_fault(signum);
  tell("survived");
}

static void exit_well(int signum) {
  (void)signum;
  _exit(0);
}

static void faults_with_a_handler(child_env_t *env, void *arg) {
  signal(*(int *)arg, exit_well);
  faults(env, arg);
}

static void on_host(uv_signal_t *handle, int signum) {
  (void)handle;
  (void)signum;
}

static void faults_beside_a_host(child_env_t *env, void *arg) {
  uv_signal_t host;
  must(uv_signal_init(&env->loop, &host) == 0);
  must(uv_signal_start(&host, on_host, *(int *)arg) == 0);
  faults(env, arg);
}

static void sig_089_own_faults_are_not_received(void **state) {
  (void)state;
  static const child_fn kinds[] = {faults, faults_beside_a_host,
                                   faults_with_a_handler};
  static int signums[] = {SIGSEGV, SIGBUS, SIGFPE};
  for (int i = 0; i < 3 * KINDS_OF_FAULTS; i++) {
    int *signum = &signums[i / 3];
    child_t child = child_start(kinds[i % 3], signum);
    child_expect(&child, "ready");
    child_signal(&child, *signum);
    child_expect(&child, "got it");
    child_expect_death(&child, i % 3 < 2 ? *signum : 0);
  }
}

/* -- Broken pipes --------------------------------------------------------- */

static int broken_pipe(void) {
  int fds[2];
  must(pipe(fds) == 0);
  close(fds[0]);
  return fds[1];
}

static void writes_to_a_broken_pipe(child_env_t *env, void *arg) {
  (void)env;
  int fd = broken_pipe();
  if (*(int *)arg != 0) fd = dup2(fd, *(int *)arg);
  ssize_t ignored = write(fd, "x", 1);
  (void)ignored;
}

/* Unasked, nothing is changed; on no descriptor. */
static void sig_091_a_broken_pipe_kills(void **state) {
  (void)state;
  static int fds[] = {0, STDOUT_FILENO, STDERR_FILENO};
  for (int i = 0; i < 3; i++) {
    child_t child = child_start(writes_to_a_broken_pipe, &fds[i]);
    child_expect_death(&child, SIGPIPE);
  }
}

/* SIG-092: that is to be asked for. */
CHILD_TEST(sig_093_with_a_receiver_the_write_fails) {
  static const int sigpipe = SIGPIPE;
  (void)arg;
  int fd = broken_pipe();
  dusk_signals_t *signals = receiver(env, 1, &sigpipe, 1);
  must(dup2(fd, STDOUT_FILENO) == STDOUT_FILENO);
  must(write(STDOUT_FILENO, "x", 1) == -1 && errno == EPIPE);
  serve_turn(env);
  must(dusk_signals_next(signals) == SIGPIPE);
  must(dusk_signals_ignore(&sigpipe, 1) == 0); /* SIG-092 */
  static const int others[] = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO, 100};
  for (int i = 0; i < 4; i++) {
    must(dup2(fd, others[i]) == others[i]);
    must(write(others[i], "x", 1) == -1 && errno == EPIPE);
  }
  serve_turn(env);
  must(dusk_signals_next(signals) == 0);
  dusk_signals_free(signals);
}

/* -- At a terminal -------------------------------------------------------- */

static void reads_its_terminal(child_env_t *env, int terminal) {
  static const int cont = SIGCONT;
  char line[20] = "";
  dusk_signals_t *signals = receiver(env, 1, &cont, 1);
  while (tcgetpgrp(terminal) != getpid())
    uv_sleep(1); /* nothing tells of it but the terminal, when asked */
  tell("reads");
  must(read(terminal, line, sizeof(line)) == 6); /* no EINTR */
  tell("%.5s", line);
  serve_turn(env);
  must(dusk_signals_next(signals) == SIGCONT);
  _exit(0);
}

/* As a shell with one job. */
static void has_a_job(child_env_t *env, void *arg) {
  must(setsid() != -1);
  int terminal = open(arg, O_RDWR);
  must(terminal != -1);
  pid_t job = fork();
  must(job != -1);
  setpgid(job, job);
  if (job == 0) reads_its_terminal(env, terminal);
  must(tcsetpgrp(terminal, job) == 0);
  int status;
  must(waitpid(job, &status, WUNTRACED) == job);
  must(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTSTP);
  must(kill(job, SIGCONT) == 0);
  tell("continued");
  must(waitpid(job, &status, 0) == job && status == 0);
}

static void sig_095_reading_goes_on_after_ctrl_z(void **state) {
  (void)state;
  int keyboard = posix_openpt(O_RDWR | O_NOCTTY);
  assert_int_not_equal(keyboard, -1);
  assert_int_equal(grantpt(keyboard), 0);
  assert_int_equal(unlockpt(keyboard), 0);
  child_t child = child_start(has_a_job, ptsname(keyboard));
  child_expect(&child, "reads");
  assert_int_equal(write(keyboard, "\x1a", 1), 1);
  child_expect(&child, "continued");
  assert_int_equal(write(keyboard, "hello\n", 6), 6);
  child_expect(&child, "hello");
  child_expect_death(&child, 0);
  close(keyboard);
}

/* -- Forks, and threads --------------------------------------------------- */

static void notifies_and_stops(void *arg) {
  static const int winch = SIGWINCH;
  atomic_bool *done = arg;
  child_env_t env;
  must(uv_loop_init(&env.loop) == 0);
  must(dusk_context_attach(&env.loop, &env.root) == 0);
  while (!*done) {
    dusk_signals_free(receiver(&env, 1, &winch, 1));
    serve_turn(&env);
  }
  must(dusk_context_detach(env.root, NULL, NULL) == 0);
  uv_run(&env.loop, UV_RUN_DEFAULT);
  must(uv_loop_close(&env.loop) == 0);
}

/* Whatever a thread that is not in the child was about to do. */
CHILD_TEST(a_child_forked_during_a_stop_can_be_signalled) {
  (void)env;
  (void)arg;
  atomic_bool done = false;
  uv_thread_t thread;
  /* TSan's pthread_once does not outlive a fork in the midst of it. */
  must(!dusk_signal_ignored(SIGWINCH));
  must(uv_thread_create(&thread, notifies_and_stops, &done) == 0);
  for (int i = 0; i < 50; i++) {
    pid_t pid = fork();
    must(pid >= 0);
    if (pid == 0) {
      raise(SIGWINCH);
      must(!dusk_signal_ignored(SIGWINCH));
      _exit(0);
    }
    child_t child = {pid, dup(0)};
    must(child_wait(&child, 10000) == 0);
  }
  done = true;
  uv_thread_join(&thread);
}

/* How many threads the process has. */
static int threads(void) {
  int count = 0;
  DIR *tasks = opendir("/proc/self/task");
  if (tasks == NULL) return 0; /* not Linux */
  while (readdir(tasks) != NULL)
    count++;
  closedir(tasks);
  return count;
}

CHILD_TEST(sig_016_no_thread_is_started) {
  (void)arg;
  int before = threads();
  dusk_signals_t *signals = receiver(env, 1, NULL, 0);
  must(threads() == before);
  dusk_signals_free(signals);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sig_043_then_signals_kill_again),
      cmocka_unit_test(sig_049_or_have_no_effect_again),
      cmocka_unit_test(a_handler_found_before_comes_back),
      cmocka_unit_test(the_librarys_own_handler_is_nobodys_former_one),
      cmocka_unit_test(sig_088_a_handler_brought_back_is_none),
      cmocka_unit_test(sig_088_it_stands_for_what_was_found_first),
      cmocka_unit_test(sig_043_also_if_a_command_was_running),
      cmocka_unit_test(sig_094_no_signal_is_taken_over),
      cmocka_unit_test(no_mask_is_changed),
      cmocka_unit_test(sig_014_what_is_blocked_stays_blocked),
      cmocka_unit_test(sig_089_own_faults_are_not_received),
      cmocka_unit_test(sig_091_a_broken_pipe_kills),
      cmocka_unit_test(sig_093_with_a_receiver_the_write_fails),
      cmocka_unit_test(sig_095_reading_goes_on_after_ctrl_z),
      cmocka_unit_test(a_forked_child_can_use_its_signals),
      cmocka_unit_test(a_child_forked_during_a_stop_can_be_signalled),
      cmocka_unit_test(sig_016_no_thread_is_started),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
