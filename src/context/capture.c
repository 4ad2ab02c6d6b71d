/* capture.c: takes signals from the process and gives them back, so that none
 * is lost on the way: uv_signal_t does the rest.
 *
 * Three things libuv leaves open:
 * - It gives a signal back as SIG_DFL. What was found before the first capture
 *   comes back here, but only where SIG_DFL is found: else somebody else's
 *   uv_signal_t still has the signal.
 * - What its handler caught for a handle, and its loop had not yet dispatched
 *   when the handle was stopped, is dropped. The handle's two counters tell
 *   how much that is; they stand still once it is stopped.
 * - A handler that has begun on another thread when the handle is stopped
 *   finds no handle, and the signal is gone. So a gate stands before libuv's
 *   handler while a signal is captured. Who comes through the open gate is
 *   waited for before the handle is stopped; who finds it closed raises the
 *   signal anew, until the disposition is what it shall be. Only while libuv's
 *   handler is put in place, and the gate before it, can a thread slip past;
 *   so a stop within 5 ms of that waits for the rest of them.
 *
 * Dispositions belong to the process, and a handler gets no argument: hence
 * the one table with a lock in this library. */
#include "capture.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

enum { SIGNALS = 65, SETTLE_NS = 5000000 };

typedef struct {
  unsigned users; /* handles of ours; under the lock, as the next three */
  struct sigaction former;
  struct sigaction libuv;
  uint64_t gated_ns;            /* when the gate was put up */
  void (*_Atomic handler)(int); /* libuv's */
  atomic_bool open;
  atomic_int inside; /* threads between the gate and the handler's end */
} capture_t;

static capture_t captures[SIGNALS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void gate(int signum) {
  int saved_errno = errno;
  capture_t *capture = &captures[signum];
  atomic_fetch_add(&capture->inside, 1);
  bool open = atomic_load(&capture->open);
  void (*handler)(int) = atomic_load(&capture->handler);
  if (open) handler(signum);
  atomic_fetch_sub(&capture->inside, 1);
  if (!open) raise(signum);
  errno = saved_errno;
}

/* Other threads, that may have held the lock or been inside, are not in a
 * forked child. */
static void after_fork(void) {
  pthread_mutex_init(&lock, NULL);
  for (int signum = 1; signum < SIGNALS; signum++)
    atomic_store(&captures[signum].inside, 0);
}

static void watch_forks(void) {
  pthread_atfork(NULL, NULL, after_fork);
}

bool dusk__capture_possible(int signum) {
  return signum > 0 && signum < SIGNALS && signum != SIGKILL &&
         signum != SIGSTOP;
}

/* libuv's handler is in place: puts the gate before it. */
static void put_gate(int signum) {
  capture_t *capture = &captures[signum];
  sigaction(signum, NULL, &capture->libuv);
  /* Then it was there before us, for a handle that is not ours, and what was
   * before that is not for us to restore. */
  if (capture->former.sa_handler == capture->libuv.sa_handler)
    capture->former.sa_handler = SIG_DFL;
  atomic_store(&capture->handler, capture->libuv.sa_handler);
  atomic_store(&capture->open, true);
  struct sigaction gated = capture->libuv;
  gated.sa_handler = gate;
  sigaction(signum, &gated, NULL);
  capture->gated_ns = uv_hrtime();
}

int dusk__capture_start(uv_signal_t *handle, uv_signal_cb cb, int signum) {
  capture_t *capture = &captures[signum];
  pthread_once(&once, watch_forks);
  pthread_mutex_lock(&lock);
  if (capture->users == 0) sigaction(signum, NULL, &capture->former);
  int err = uv_signal_start(handle, cb, signum);
  if (err == 0 && capture->users++ == 0) put_gate(signum);
  pthread_mutex_unlock(&lock);
  return err;
}

/* Gives the signal back. It is blocked on this thread meanwhile, or else it
 * would be raised here again and again. */
static void give_back(uv_signal_t *handle, int signum) {
  capture_t *capture = &captures[signum];
  while (uv_hrtime() - capture->gated_ns < SETTLE_NS)
    uv_sleep(1);

  sigset_t set, before;
  sigemptyset(&set);
  sigaddset(&set, signum);
  pthread_sigmask(SIG_BLOCK, &set, &before);

  atomic_store(&capture->open, false);
  while (atomic_load(&capture->inside) > 0)
    sched_yield();
  uv_signal_stop(handle);

  struct sigaction now;
  sigaction(signum, NULL, &now);
  if (now.sa_handler == gate)
    sigaction(signum, &capture->libuv, NULL);
  else if (now.sa_handler == SIG_DFL && capture->former.sa_handler != SIG_DFL)
    sigaction(signum, &capture->former, NULL);

  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

unsigned dusk__capture_stop(uv_signal_t *handle, bool in_callback) {
  int signum = handle->signum;
  pthread_mutex_lock(&lock);
  if (--captures[signum].users == 0)
    give_back(handle, signum);
  else
    uv_signal_stop(handle);
  pthread_mutex_unlock(&lock);
  return handle->caught_signals - handle->dispatched_signals - in_callback;
}
