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
 * - Somebody may save the disposition and restore it later, as system(3) does,
 *   and so bring back a gate whose time is over. It then puts in its own place
 *   what was found before the first capture, or libuv's handler if that was
 *   left to somebody else.
 * - A handle can be stopped on its loop's thread alone. Who takes a signal
 *   away from everywhere mutes the captures and sets the disposition past
 *   libuv, which goes on to believe that its handler is in place until they
 *   are stopped. Whether somebody else's uv_signal_t has the signal too, only
 *   the last stop tells.
 * - Its handler, one for all signals, has no name. It is known from where a
 *   start put it; no other handler that is found is taken for it.
 *
 * Dispositions belong to the process, and a handler gets no argument: hence
 * the one table with a lock in this library. */
#include "capture.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

enum { SIGNALS = 65, SETTLE_NS = 5000000 };

/* A gate; while one is closed, somebody has the lock. */
enum { GONE, OPEN, CLOSED };

typedef struct {
  dusk__capture_t *live; /* under the lock, as the next four */
  unsigned muted;        /* that libuv still has */
  bool is_silenced;      /* libuv's handler gave way to an ignore */
  struct sigaction former;
  uint64_t gated_ns; /* when the gate was put up */
  /* What the gate stands for once it is gone; changes while it is closed. */
  struct sigaction behind;
  atomic_int gate;
  atomic_int inside; /* threads between the gate and the handler's end */
} entry_t;

static entry_t table[SIGNALS];
static struct sigaction libuv; /* its handler; known before a gate is put up */
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

static bool is_libuv(const struct sigaction *action) {
  return is_function(action) && action->sa_handler == libuv.sa_handler;
}

static bool is_own_fault(int signum, const siginfo_t *info) {
  return dusk__capture_is_fault(signum) && info->si_code > 0 &&
         info->si_code != SI_USER && info->si_code != SI_QUEUE;
}

static void gate(int signum, siginfo_t *info, void *context);

static bool is_gate(const struct sigaction *action) {
  return (action->sa_flags & SA_SIGINFO) != 0 && action->sa_sigaction == gate;
}

/* Somebody has brought the gate back. */
static void step_aside(int signum) {
  struct sigaction now;
  sigaction(signum, NULL, &now);
  if (is_gate(&now)) sigaction(signum, &table[signum].behind, NULL);
}

static void gate(int signum, siginfo_t *info, void *context) {
  (void)context;
  int saved_errno = errno;
  entry_t *entry = &table[signum];
  atomic_fetch_add(&entry->inside, 1);
  if (is_own_fault(signum, info)) {
    /* It comes again at once, for whom it would have come to. */
    struct sigaction found = entry->behind;
    if (is_libuv(&found)) found.sa_handler = SIG_DFL;
    sigaction(signum, &found, NULL);
    atomic_fetch_sub(&entry->inside, 1);
    return;
  }
  int state = atomic_load(&entry->gate);
  if (state == OPEN)
    libuv.sa_handler(signum);
  else if (state == GONE)
    step_aside(signum);
  atomic_fetch_sub(&entry->inside, 1);
  if (state != OPEN) raise(signum);
  errno = saved_errno;
}

static void put_gate(int signum, struct sigaction *ret_before) {
  struct sigaction gated = libuv;
  gated.sa_flags |= SA_SIGINFO;
  gated.sa_sigaction = gate;
  sigaction(signum, &gated, ret_before);
}

/* Waits for those inside. The signal must be blocked on this thread until the
 * gate is not closed any more, or else it could be raised here for ever. */
static void close_gate(entry_t *entry) {
  atomic_store(&entry->gate, CLOSED);
  while (atomic_load(&entry->inside) > 0)
    sched_yield();
}

static void block(int signum, sigset_t *ret_before) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signum);
  pthread_sigmask(SIG_BLOCK, &set, ret_before);
}

static void unblock(const sigset_t *before) {
  pthread_sigmask(SIG_SETMASK, before, NULL);
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

/* -- libuv's handler ------------------------------------------------------ */

static void on_nothing(uv_signal_t *handle, int signum) {
  (void)handle;
  (void)signum;
}

/* On a loop of its own, with a signal that has no effect by default. */
static int learn_by(int signum) {
  struct sigaction before, now;
  uv_loop_t loop;
  uv_signal_t handle;
  sigaction(signum, NULL, &before);
  if (is_function(&before)) return 0;
  int err = uv_loop_init(&loop);
  if (err != 0) return err;
  err = uv_signal_init(&loop, &handle);
  if (err == 0) {
    err = uv_signal_start(&handle, on_nothing, signum);
    if (err == 0) {
      sigaction(signum, NULL, &now);
      if (is_function(&now)) libuv = now;
      uv_signal_stop(&handle);
      sigaction(signum, NULL, &now);
      if (now.sa_handler == SIG_DFL) sigaction(signum, &before, NULL);
    }
    uv_close((uv_handle_t *)&handle, NULL);
  }
  uv_run(&loop, UV_RUN_DEFAULT);
  (void)uv_loop_close(&loop);
  return err;
}

/* Where all of them are somebody's, it stays unknown, and is nobody's. */
static int learn(void) {
  static const int harmless[] = {SIGURG, SIGWINCH, SIGCONT};
  int err = 0;
  for (int i = 0; i < 3 && err == 0 && !is_function(&libuv); i++)
    err = learn_by(harmless[i]);
  return err;
}

/* -- Start ---------------------------------------------------------------- */

/* After a start: UV_EBUSY unless libuv's handler is in place, or was until dusk
 * put something over it. */
static int expect_libuv(int signum, const struct sigaction *before) {
  const entry_t *entry = &table[signum];
  struct sigaction now;
  sigaction(signum, NULL, &now);
  if (!is_function(&libuv) && is_function(&now) &&
      now.sa_handler != before->sa_handler)
    libuv = now;
  int err = learn();
  if (err != 0) return err;
  bool has = is_libuv(&now) || is_gate(&now) || entry->live != NULL ||
             entry->muted > 0 ||
             (entry->is_silenced && now.sa_handler == SIG_IGN);
  return has ? 0 : UV_EBUSY;
}

/* Puts the gate before libuv's handler. */
static int take(dusk__capture_t *capture, uv_signal_cb cb) {
  int signum = capture->signum;
  entry_t *entry = &table[signum];
  struct sigaction before = {.sa_handler = SIG_DFL};
  close_gate(entry);
  sigaction(signum, NULL, &before);
  int err = uv_signal_start(&capture->handle, cb, signum);
  if (err == 0) {
    err = expect_libuv(signum, &before);
    if (err != 0) uv_signal_stop(&capture->handle);
  }
  if (err != 0) {
    atomic_store(&entry->gate, entry->live != NULL ? OPEN : GONE);
    return err;
  }
  if (!is_gate(&before)) entry->behind = before;
  entry->former = entry->behind;
  entry->is_silenced = false;
  atomic_store(&entry->gate, OPEN);
  put_gate(signum, NULL);
  entry->gated_ns = uv_hrtime();
  return 0;
}

static bool is_gated(int signum) {
  struct sigaction now = {.sa_handler = SIG_DFL};
  sigaction(signum, NULL, &now);
  return is_gate(&now);
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
  sigset_t before;
  int err;
  capture->signum = signum;
  atomic_init(&capture->is_muted, false);
  take_lock();
  if (entry->live != NULL && is_gated(signum)) {
    err = uv_signal_start(&capture->handle, cb, signum);
  } else {
    block(signum, &before);
    err = take(capture, cb);
    unblock(&before);
  }
  if (err == 0) link_live(entry, capture);
  pthread_mutex_unlock(&lock);
  return err;
}

/* -- Stop ----------------------------------------------------------------- */

/* libuv has stopped a handle that is being closed. */
static void stop_handle(uv_signal_t *handle) {
  if (!uv_is_closing((uv_handle_t *)handle)) uv_signal_stop(handle);
}

/* Stops the last live handle, or a muted one while none is live, and sets the
 * disposition that was found before the first, or before this stop. */
static void stop_last(uv_signal_t *handle, int signum, bool is_muted) {
  entry_t *entry = &table[signum];
  struct sigaction found, now, wanted = entry->former;
  sigset_t before;
  block(signum, &before);
  close_gate(entry);
  if (is_muted)
    put_gate(signum, &found);
  else
    sigaction(signum, NULL, &found);
  bool is_closed = uv_is_closing((uv_handle_t *)handle);
  if (!is_gate(&found) && !(is_closed && found.sa_handler == SIG_DFL))
    wanted = found; /* the program's, meanwhile */
  stop_handle(handle);
  sigaction(signum, NULL, &now);
  if (is_gate(&now)) { /* libuv still has others */
    if (entry->muted == 0 && !entry->is_silenced) entry->behind = libuv;
    if (wanted.sa_handler == entry->former.sa_handler) wanted = entry->behind;
    sigaction(signum, &wanted, NULL);
  } else if (now.sa_handler == SIG_DFL && !is_libuv(&wanted)) {
    sigaction(signum, &wanted, NULL);
  }
  atomic_store(&entry->gate, GONE);
  unblock(&before);
}

/* Others need not wait with us for who may have slipped past the gate. A signal
 * ends the sleep: one that went on with the rest, as uv_sleep does, would never
 * end while they pour in. */
static void take_lock_for_stop(dusk__capture_t *capture) {
  static const struct timespec millisecond = {.tv_nsec = 1000000};
  entry_t *entry = &table[capture->signum];
  for (;;) {
    take_lock();
    bool is_last = entry->live == capture && capture->next == NULL;
    if (!is_last || uv_hrtime() - entry->gated_ns >= SETTLE_NS) return;
    pthread_mutex_unlock(&lock);
    nanosleep(&millisecond, NULL);
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
    stop_handle(handle);
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

static void set_ignored(int signum) {
  static const struct sigaction ignored = {.sa_handler = SIG_IGN};
  entry_t *entry = &table[signum];
  struct sigaction before;
  if (sigaction(signum, &ignored, &before) != 0) return; /* the system's own */
  /* On failure it counts as somebody's. */
  if (is_function(&before)) (void)learn();
  if (is_gate(&before) || is_libuv(&before)) entry->is_silenced = true;
}

void dusk__capture_mute(int signum, bool ignore) {
  entry_t *entry = &table[signum];
  struct sigaction now = {.sa_handler = SIG_DFL};
  take_lock();
  bool had = entry->live != NULL;
  mute_live(entry);
  sigaction(signum, NULL, &now);
  if (ignore)
    set_ignored(signum);
  else if (is_gate(&now))
    sigaction(signum, &entry->behind, NULL);
  /* An ignored one is dropped there; one given back must not be. */
  if (had && !ignore) atomic_store(&entry->gate, GONE);
  pthread_mutex_unlock(&lock);
}

bool dusk__capture_ignored(int signum) {
  struct sigaction now = {.sa_handler = SIG_DFL};
  take_lock();
  sigaction(signum, NULL, &now);
  pthread_mutex_unlock(&lock);
  return now.sa_handler == SIG_IGN;
}
