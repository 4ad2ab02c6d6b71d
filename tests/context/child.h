/* child.h: child processes for what real signals do to a process.
 *
 * The child runs a function on a loop with a root of its own and tells what it
 * sees as lines on a pipe; the parent reads them, so that nobody sleeps. Every
 * wait ends after ten seconds, by which the test fails. */
#ifndef CHILD_H
#define CHILD_H

#include <sys/types.h>
#include <dusk/signal.h>

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#define UNDER_TSAN __has_feature(thread_sanitizer)
#else
#define UNDER_TSAN 0
#endif

typedef struct {
  uv_loop_t loop;
  dusk_context_t *root;
} child_env_t;

typedef void (*child_fn)(child_env_t *env, void *arg);

typedef struct {
  pid_t pid;
  int out;
} child_t;

/* Starts a child with all dispositions at their default, nothing blocked. When
 * `fn` returns, it detaches, closes its loop, and exits with status 0. */
child_t child_start(child_fn fn, void *arg);

/* Expects this to be the child's next line. */
void child_expect(child_t *child, const char *line);
/* Sends a signal. */
void child_signal(child_t *child, int signum);
/* Expects the end of the child's output and its end by this signal; or, if it
 * is 0, with status 0. */
void child_expect_death(child_t *child, int signum);
/* Waits for the child's end: its wait status, or -1 if it hangs, and then it
 * is killed. */
int child_wait(child_t *child, uint64_t timeout_ms);

/* A test that runs its body in a child and expects it to return. */
#define CHILD_TEST(name)                                                       \
  static void name##_body(child_env_t *env, void *arg);                        \
  static void name(void **state) {                                             \
    (void)state;                                                               \
    child_t child = child_start(name##_body, NULL);                            \
    child_expect_death(&child, 0);                                             \
  }                                                                            \
  static void name##_body(child_env_t *env, void *arg)

/* -- In the child --------------------------------------------------------- */

/* Tells a line. */
void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Ends the child with status 99 if something is not so. */
#define must(condition) child_must(condition, __FILE__, __LINE__, #condition)
void child_must(bool condition, const char *file, int line, const char *what);
/* Runs the loop for ever, whatever lives on it. */
void serve(child_env_t *env);
/* Turns the loop until *flag is not 0; without waiting a few times. */
void serve_until(child_env_t *env, const int *flag);
void serve_turn(child_env_t *env);

/* Sends the child a signal; and what it does with one. */
void send_self(int signum);
void (*disposition(int signum))(int);

/* A receiver of these signals (0 of them: all), and one that tells what it
 * gets as "NAME SIGNUM". */
dusk_signals_t *receiver(child_env_t *env, unsigned capacity,
                         const int *signums, size_t count);
void tell_received(dusk_signals_t *signals, const char *name);

#endif
