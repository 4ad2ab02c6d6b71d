/* capture.c: takes signals from the process and gives them back, so that none
 * is lost on the way: uv_signal_t does the rest.
 *
 *   live --stop--> stopped
 *     \--mute--> muted --stop--> stopped
 *
 * What libuv leaves open:
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
 * - A handle can be stopped on its loop's thread alone. Who takes a signal
 *   away from everywhere mutes the captures and sets the disposition past
 *   libuv, which goes on to believe that its handler is in place until they
 *   are stopped. Whether somebody else's uv_signal_t has the signal too, only
 *   the last stop tells.
 *
 * Dispositions belong to the process, and a handler gets no argument: hence
 * the one table with a lock in this library. */
#include "capture.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

enum { SIGNALS = 65, SETTLE_NS = 5000000 };

typedef struct {
  dusk__capture_t *live; /* under the lock, as the next four */
  unsigned muted;        /* that libuv still has */
  struct sigaction former;
  struct sigaction libuv;
  uint64_t gated_ns;            /* when the gate was put up */
  void (*_Atomic handler)(int); /* libuv's */
  atomic_bool open;
  atomic_int inside; /* threads between the gate and the handler's end */
} entry_t;

static entry_t table[SIGNALS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

bool dusk__capture_possible(int signum) {
  return signum > 0 && signum < SIGNALS && signum != SIGKILL &&
         signum != SIGSTOP;
}

bool dusk__capture_is_fault(int signum) {
  return signum == SIGSEGV || signum == SIGBUS || signum == SIGFPE ||
         signum == SIGILL;
}

/* -- The gate ------------------------------------------------------------- */

static bool is_function(const struct sigaction *action) {
  return action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN;
}

static bool is_libuv(const entry_t *entry, const struct sigaction *action) {
  return is_function(action) && action->sa_handler == entry->libuv.sa_handler;
}

static bool is_own_fault(int signum, const siginfo_t *info) {
  return dusk__capture_is_fault(signum) && info->si_code > 0 &&
         info->si_code != SI_USER && info->si_code != SI_QUEUE;
}

static void gate(int signum, siginfo_t *info, void *context) {
  (void)context;
  int saved_errno = errno;
  entry_t *entry = &table[signum];
  if (is_own_fault(signum, info)) {
    /* It comes again at once, for whom it would have come to. */
    struct sigaction found = entry->former;
    if (is_libuv(entry, &found)) found.sa_handler = SIG_DFL;
    sigaction(signum, &found, NULL);
    return;
  }
  atomic_fetch_add(&entry->inside, 1);
  bool open = atomic_load(&entry->open);
  void (*handler)(int) = atomic_load(&entry->handler);
  if (open) handler(signum);
  atomic_fetch_sub(&entry->inside, 1);
  if (!open) raise(signum);
  errno = saved_errno;
}

static bool is_gate(const struct sigaction *action) {
  return (action->sa_flags & SA_SIGINFO) != 0 && action->sa_sigaction == gate;
}

static void put_gate(int signum, struct sigaction *ret_before) {
  struct sigaction gated = table[signum].libuv;
  gated.sa_flags |= SA_SIGINFO;
  gated.sa_sigaction = gate;
  sigaction(signum, &gated, ret_before);
}

static void close_gate(entry_t *entry) {
  atomic_store(&entry->open, false);
  while (atomic_load(&entry->inside) > 0)
    sched_yield();
}

/* -- Forks ---------------------------------------------------------------- */

/* Nobody is in the middle of something when a process forks; but those inside
 * a gate are not in the child. */

static void before_fork(void) {
  pthread_mutex_lock(&lock);
}

static void after_fork_in_parent(void) {
  pthread_mutex_unlock(&lock);
}

static void after_fork_in_child(void) {
  for (int signum = 1; signum < SIGNALS; signum++)
    atomic_store(&table[signum].inside, 0);
  pthread_mutex_unlock(&lock);
}

static void watch_forks(void) {
  pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

static void take_lock(void) {
  pthread_once(&once, watch_forks);
  pthread_mutex_lock(&lock);
}

/* -- Start ---------------------------------------------------------------- */

/* libuv has its first handle of ours that isn't muted: puts the gate before
 * its handler. That one is what was put in place just now; if nothing was, it
 * is there, or known, for a handle that is muted or not ours. */
static int take(int signum, const struct sigaction *before) {
  entry_t *entry = &table[signum];
  struct sigaction now;
  sigaction(signum, NULL, &now);
  if (now.sa_handler != before->sa_handler || !is_function(&entry->libuv))
    entry->libuv = now;
  if (!is_function(&entry->libuv)) return UV_EBUSY;
  entry->former = *before;
  if (is_gate(before)) entry->former.sa_handler = SIG_DFL;
  atomic_store(&entry->handler, entry->libuv.sa_handler);
  atomic_store(&entry->open, true);
  put_gate(signum, NULL);
  entry->gated_ns = uv_hrtime();
  return 0;
}

static void link_live(entry_t *entry, dusk__capture_t *capture) {
  capture->prev = NULL;
  capture->next = entry->live;
  if (capture->next != NULL) capture->next->prev = capture;
  entry->live = capture;
}

static void unlink_live(entry_t *entry, dusk__capture_t *capture) {
  if (capture->next != NULL) capture->next->prev = capture->prev;
  if (capture->prev != NULL)
    capture->prev->next = capture->next;
  else
    entry->live = capture->next;
}

int dusk__capture_start(dusk__capture_t *capture, uv_signal_cb cb, int signum) {
  entry_t *entry = &table[signum];
  struct sigaction before = {.sa_handler = SIG_DFL};
  capture->signum = signum;
  atomic_init(&capture->is_muted, false);
  take_lock();
  sigaction(signum, NULL, &before);
  int err = uv_signal_start(&capture->handle, cb, signum);
  if (err == 0 && entry->live == NULL) {
    err = take(signum, &before);
    if (err != 0) uv_signal_stop(&capture->handle);
  }
  if (err == 0) link_live(entry, capture);
  pthread_mutex_unlock(&lock);
  return err;
}

/* -- Stop ----------------------------------------------------------------- */

/* Stops the last live handle, or a muted one while none is live, and sets the
 * disposition that was found before the first, or before this stop. The signal
 * is blocked on this thread meanwhile, or else it would be raised here again
 * and again. */
static void stop_last(uv_signal_t *handle, int signum, bool is_muted) {
  entry_t *entry = &table[signum];
  struct sigaction found, now, wanted = entry->former;
  sigset_t set, before;
  sigemptyset(&set);
  sigaddset(&set, signum);
  pthread_sigmask(SIG_BLOCK, &set, &before);

  close_gate(entry);
  if (is_muted)
    put_gate(signum, &found);
  else
    sigaction(signum, NULL, &found);
  if (!is_gate(&found)) wanted = found; /* the program's, meanwhile */
  uv_signal_stop(handle);
  sigaction(signum, NULL, &now);
  if (is_gate(&now)) { /* libuv still has others */
    if (entry->muted == 0 && wanted.sa_handler == entry->former.sa_handler)
      wanted = entry->libuv;
    sigaction(signum, &wanted, NULL);
  } else if (now.sa_handler == SIG_DFL && !is_libuv(entry, &wanted)) {
    sigaction(signum, &wanted, NULL);
  }

  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Others need not wait with us for who may have slipped past the gate. */
static void take_lock_for_stop(dusk__capture_t *capture) {
  entry_t *entry = &table[capture->signum];
  for (;;) {
    take_lock();
    bool is_last = entry->live == capture && capture->next == NULL;
    if (!is_last || uv_hrtime() - entry->gated_ns >= SETTLE_NS) return;
    pthread_mutex_unlock(&lock);
    uv_sleep(1);
  }
}

unsigned dusk__capture_stop(dusk__capture_t *capture, bool in_callback) {
  entry_t *entry = &table[capture->signum];
  uv_signal_t *handle = &capture->handle;
  take_lock_for_stop(capture);
  bool is_muted = atomic_load(&capture->is_muted);
  if (is_muted)
    entry->muted--;
  else
    unlink_live(entry, capture);
  if (entry->live == NULL)
    stop_last(handle, capture->signum, is_muted);
  else
    uv_signal_stop(handle);
  pthread_mutex_unlock(&lock);
  if (is_muted) return 0;
  return handle->caught_signals - handle->dispatched_signals - in_callback;
}

/* -- Taking away, from all ------------------------------------------------ */

static void mute_live(entry_t *entry) {
  while (entry->live != NULL) {
    dusk__capture_t *capture = entry->live;
    unlink_live(entry, capture);
    entry->muted++;
    atomic_store(&capture->is_muted, true);
    capture->on_muted(capture);
  }
}

/* Here libuv's handler may show for the last time. */
static void set_ignored(int signum) {
  static const struct sigaction ignored = {.sa_handler = SIG_IGN};
  entry_t *entry = &table[signum];
  struct sigaction before;
  if (sigaction(signum, &ignored, &before) != 0) return; /* the system's own */
  if (!is_function(&entry->libuv)) entry->libuv = before;
  entry->former.sa_handler = SIG_DFL; /* not what the last stop will find */
}

void dusk__capture_mute(int signum, bool ignore) {
  entry_t *entry = &table[signum];
  struct sigaction now = {.sa_handler = SIG_DFL};
  take_lock();
  mute_live(entry);
  sigaction(signum, NULL, &now);
  if (ignore)
    set_ignored(signum);
  else if (is_gate(&now))
    sigaction(signum, &entry->former, NULL);
  pthread_mutex_unlock(&lock);
}

bool dusk__capture_ignored(int signum) {
  struct sigaction now = {.sa_handler = SIG_DFL};
  take_lock();
  sigaction(signum, NULL, &now);
  pthread_mutex_unlock(&lock);
  return now.sa_handler == SIG_IGN;
}
