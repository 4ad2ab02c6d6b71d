/* child.c: see child.h. */
#include "fixture.h"
#include "child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WAIT_MS = 10000 };

static int tell_fd;

static void live(child_fn fn, void *arg) {
  child_env_t env;
  must(uv_loop_init(&env.loop) == 0);
  must(dusk_context_attach(&env.loop, &env.root) == 0);
  fn(&env, arg);
  must(dusk_context_detach(env.root, NULL, NULL) == 0);
  uv_run(&env.loop, UV_RUN_DEFAULT);
  must(uv_loop_close(&env.loop) == 0);
  _exit(0);
}

child_t child_start(child_fn fn, void *arg) {
  int fds[2];
  assert_int_equal(pipe(fds), 0);
  pid_t pid = fork();
  assert_int_not_equal(pid, -1);
  if (pid != 0) {
    close(fds[1]);
    return (child_t){pid, fds[0]};
  }
  close(fds[0]);
  tell_fd = fds[1];
  for (int signum = 1; signum < 32; signum++)
    if (signum != SIGKILL && signum != SIGSTOP) signal(signum, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  alarm(60); /* whatever becomes of the test */
  live(fn, arg);
  abort();
}

/* The next line, without its end; "" at the end of the output. */
static void read_line(child_t *child, char *line, size_t size) {
  size_t len = 0;
  while (len + 1 < size) {
    struct pollfd ready = {.fd = child->out, .events = POLLIN};
    int n = poll(&ready, 1, WAIT_MS);
    if (n < 0 && errno == EINTR) continue;
    assert_int_equal(n, 1);
    ssize_t got = read(child->out, &line[len], 1);
    if (got <= 0 || line[len] == '\n') break;
    len++;
  }
  line[len] = '\0';
}

void child_expect(child_t *child, const char *expected) {
  char line[200];
  read_line(child, line, sizeof(line));
  assert_string_equal(line, expected);
}

void child_signal(child_t *child, int signum) {
  assert_int_equal(kill(child->pid, signum), 0);
}

int child_wait(child_t *child, uint64_t timeout_ms) {
  uint64_t until = uv_hrtime() + timeout_ms * MS;
  int status;
  pid_t pid;
  while ((pid = waitpid(child->pid, &status, WNOHANG)) == 0 &&
         uv_hrtime() < until)
    poll(NULL, 0, 1);
  if (pid == 0) {
    kill(child->pid, SIGKILL);
    waitpid(child->pid, &status, 0);
    status = -1;
  }
  close(child->out);
  return status;
}

void child_expect_death(child_t *child, int signum) {
  child_expect(child, "");
  int status = child_wait(child, WAIT_MS);
  assert_int_not_equal(status, -1);
  if (signum == 0) {
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
  } else {
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), signum);
  }
}

void tell(const char *format, ...) {
  char line[200];
  va_list args;
  va_start(args, format);
  int len = vsnprintf(line, sizeof(line) - 1, format, args);
  va_end(args);
  line[len++] = '\n';
  child_must(write(tell_fd, line, (size_t)len) == len, __FILE__, __LINE__,
             "write");
}

void child_must(bool condition, const char *file, int line, const char *what) {
  if (condition) return;
  fprintf(stderr, "%s:%d: child: not so: %s\n", file, line, what);
  _exit(99);
}

static void on_poll(uv_timer_t *timer) {
  (void)timer;
}

/* A timer keeps the loop alive; it blocks in between. */
void serve_until(child_env_t *env, const int *flag) {
  uv_timer_t timer;
  uv_timer_init(&env->loop, &timer);
  uv_timer_start(&timer, on_poll, 60000, 60000);
  while (*flag == 0)
    uv_run(&env->loop, UV_RUN_ONCE);
  uv_close((uv_handle_t *)&timer, NULL);
  uv_run(&env->loop, UV_RUN_NOWAIT);
}

void serve(child_env_t *env) {
  static const int never;
  serve_until(env, &never);
}

void serve_turn(child_env_t *env) {
  turn(&env->loop);
}

void send_self(int signum) {
  must(kill(getpid(), signum) == 0);
}

void (*disposition(int signum))(int) {
  struct sigaction now;
  must(sigaction(signum, NULL, &now) == 0);
  return now.sa_handler;
}

dusk_signals_t *receiver(child_env_t *env, unsigned capacity,
                         const int *signums, size_t count) {
  dusk_signals_t *signals;
  must(dusk_signals_new(env->root, capacity, &signals) == 0);
  must(dusk_signals_notify(signals, signums, count) == 0);
  return signals;
}

static void on_received(dusk_signals_t *signals, int signum, void *arg) {
  tell("%s %d", (const char *)arg, signum);
  must(dusk_signals_receive(signals, on_received, arg) == 0);
}

void tell_received(dusk_signals_t *signals, const char *name) {
  must(dusk_signals_receive(signals, on_received, (void *)name) == 0);
}
