/* signals.c: signals come to the loop by a receiver of the context module.
 * Before libuv's own handler of INT, TERM and QUIT stands one of ours, so that
 * the process can be ended when its loop no longer turns:
 *   - it counts the stops; one that comes less than 100 ms after another is the
 *     same (a terminal and a wrapper both deliver a Ctrl+C);
 *   - it arms an alarm at the first, to a moment by which the loop should have
 *     left, and at the second, to a nearer one. SIGALRM's handler exits. Until
 *     then SIGALRM is not ours: a parent may have set an alarm, and exec keeps
 *     it;
 *   - it exits itself at the third;
 *   - and it hands the signal on to libuv's.
 * So whoever waits for the process is never kept beyond its bound. Without a
 * bound (--drain-timeout 0) a second stop sets one. */
#include "signals.h"

#include "flags.h"
#include "log.h"

#include <dusk/signal.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#define SAME_SIGNAL_MS 100
#define CUT_SECONDS 2 /* for a loop that turns to cut what is left */

static const struct {
  int signum;
  const char *name;
  bool stops;
} table[] = {
    {SIGINT, "SIGINT", true},    {SIGTERM, "SIGTERM", true},
    {SIGQUIT, "SIGQUIT", true},  {SIGHUP, "SIGHUP", false},
    {SIGUSR1, "SIGUSR1", false}, {SIGUSR2, "SIGUSR2", false},
};

#define N_SIGNALS (sizeof table / sizeof table[0])

static struct {
  atomic_int stops;
  atomic_int first;         /* which stop it was */
  atomic_uint last_ms;      /* wraps, as its differences may */
  unsigned alarm_s;         /* from the first stop; 0: never */
  struct sigaction behind;  /* whose handler ours stands before */
  dusk_signals_t *receiver; /* from here on the loop's */
  duskd_signal_cb cb;
  void *arg;
} signals;

static sigset_t signal_set(void) {
  sigset_t set;
  sigemptyset(&set);
  for (size_t i = 0; i < N_SIGNALS; i++)
    sigaddset(&set, table[i].signum);
  return set;
}

static void mask(int how) {
  sigset_t set = signal_set();
  pthread_sigmask(how, &set, NULL);
}

/* None of them interrupts another's handler. Fails for bad numbers only. */
static void set_handler(int signum, void (*handler)(int)) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
  action.sa_mask = signal_set();
  sigaction(signum, &action, NULL);
}

/* -- In signal handlers ---------------------------------------------------- */

static unsigned now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (unsigned)now.tv_sec * 1000 + (unsigned)now.tv_nsec / 1000000;
}

static void on_alarm(int signum) {
  (void)signum;
  duskd__log_from_signal("stuck, and should have ended: gone at once");
  _exit(atomic_load(&signals.stops) > 1 ? DUSKD_CUT_SHORT : DUSKD_CUT_SOME);
}

static void arm(unsigned seconds) {
  set_handler(SIGALRM, on_alarm);
  alarm(seconds);
}

static void forward(int signum, siginfo_t *info, void *context) {
  if (signals.behind.sa_flags & SA_SIGINFO)
    signals.behind.sa_sigaction(signum, info, context);
  else
    signals.behind.sa_handler(signum);
}

static void on_stop(int signum, siginfo_t *info, void *context) {
  int saved_errno = errno;
  unsigned now = now_ms();
  int stops = atomic_load(&signals.stops);
  if (stops == 0 || now - atomic_load(&signals.last_ms) >= SAME_SIGNAL_MS) {
    atomic_store(&signals.last_ms, now);
    atomic_store(&signals.stops, ++stops);
    if (stops == 1) {
      atomic_store(&signals.first, signum);
      arm(signals.alarm_s);
    } else if (stops == 2) {
      arm(CUT_SECONDS);
    } else {
      duskd__log_from_signal("a third signal: gone at once");
      _exit(DUSKD_CUT_SHORT);
    }
  }
  forward(signum, info, context);
  errno = saved_errno;
}

/* -- On the loop ----------------------------------------------------------- */

static void on_received(dusk_signals_t *receiver, int signum, void *arg) {
  (void)arg;
  /* Fails only while another callback waits. */
  dusk_signals_receive(receiver, on_received, NULL);
  signals.cb(signum, signals.arg);
}

/* Puts ours before the context module's, which is the same for all stops. */
static void stand_before(int signum) {
  struct sigaction action = {.sa_sigaction = on_stop,
                             .sa_flags = SA_RESTART | SA_SIGINFO};
  action.sa_mask = signal_set();
  sigaction(signum, NULL, &signals.behind); /* before ours may want it */
  sigaction(signum, &action, NULL);
}

static int catch_wanted(dusk_context_t *root) {
  int wanted[N_SIGNALS];
  size_t count = 0;
  for (size_t i = 0; i < N_SIGNALS; i++)
    if (!dusk_signal_ignored(table[i].signum))
      wanted[count++] = table[i].signum;
  int err = dusk_signals_new(root, N_SIGNALS, &signals.receiver);
  if (err != 0 || count == 0) return err; /* none would be all there are */
  err = dusk_signals_notify(signals.receiver, wanted, count);
  if (err == 0) err = dusk_signals_receive(signals.receiver, on_received, NULL);
  if (err != 0) return err;
  for (size_t i = 0; i < N_SIGNALS; i++)
    if (table[i].stops && !dusk_signal_ignored(table[i].signum))
      stand_before(table[i].signum);
  return 0;
}

/* Here, as the mask that a handler leaves is not kept. */
static void unblock_alarm(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGALRM);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

int duskd__signals_catch(dusk_context_t *root, unsigned alarm_s,
                         duskd_signal_cb cb, void *arg) {
  signals.alarm_s = alarm_s;
  signals.cb = cb;
  signals.arg = arg;
  mask(SIG_BLOCK); /* one that comes while they are set up comes after it */
  int err = catch_wanted(root);
  mask(SIG_UNBLOCK);
  unblock_alarm();
  return err;
}

int duskd__signals_stops(void) {
  return atomic_load(&signals.stops);
}

const char *duskd__signals_first(void) {
  int first = atomic_load(&signals.first);
  for (size_t i = 0; i < N_SIGNALS; i++)
    if (table[i].signum == first) return table[i].name;
  return "no signal";
}

bool duskd__signals_forget(void) {
  mask(SIG_BLOCK);
  bool is_only = atomic_load(&signals.stops) == 1;
  if (is_only) {
    alarm(0);
    atomic_store(&signals.stops, 0);
  }
  mask(SIG_UNBLOCK);
  return is_only;
}

void duskd__signals_leave(void) {
  mask(SIG_BLOCK);
}

void duskd__signals_end(void) {
  mask(SIG_BLOCK);
  dusk_signals_free(signals.receiver);
  signals.receiver = NULL;
}
