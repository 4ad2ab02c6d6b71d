/* signal_text.c: signals in words, as Go prints them, and as causes. */
#include "signal_text.h"
#include <dusk/signal.h>

#include <signal.h>
#include <stdio.h>

/* clang-format off */
#ifdef SIGSTKFLT
#define WITH_SIGSTKFLT(X) X(SIGSTKFLT, "stack fault")
#else
#define WITH_SIGSTKFLT(X)
#endif
#ifdef SIGPWR
#define WITH_SIGPWR(X) X(SIGPWR, "power failure")
#else
#define WITH_SIGPWR(X)
#endif
#ifdef SIGEMT
#define WITH_SIGEMT(X) X(SIGEMT, "EMT trap")
#else
#define WITH_SIGEMT(X)
#endif
#ifdef SIGINFO
#define WITH_SIGINFO(X) X(SIGINFO, "information request")
#else
#define WITH_SIGINFO(X)
#endif

/* One without a name is a number; a table holds what can be caught. */
#define NUMBERED(X, n) X(n, "signal " #n)

#define SIGNALS(X) \
  X(SIGHUP, "hangup") \
  X(SIGINT, "interrupt") \
  X(SIGQUIT, "quit") \
  X(SIGILL, "illegal instruction") \
  X(SIGTRAP, "trace/breakpoint trap") \
  X(SIGABRT, "aborted") \
  X(SIGBUS, "bus error") \
  X(SIGFPE, "floating point exception") \
  X(SIGKILL, "killed") \
  X(SIGUSR1, "user defined signal 1") \
  X(SIGSEGV, "segmentation fault") \
  X(SIGUSR2, "user defined signal 2") \
  X(SIGPIPE, "broken pipe") \
  X(SIGALRM, "alarm clock") \
  X(SIGTERM, "terminated") \
  X(SIGCHLD, "child exited") \
  X(SIGCONT, "continued") \
  X(SIGSTOP, "stopped (signal)") \
  X(SIGTSTP, "stopped") \
  X(SIGTTIN, "stopped (tty input)") \
  X(SIGTTOU, "stopped (tty output)") \
  X(SIGURG, "urgent I/O condition") \
  X(SIGXCPU, "CPU time limit exceeded") \
  X(SIGXFSZ, "file size limit exceeded") \
  X(SIGVTALRM, "virtual timer expired") \
  X(SIGPROF, "profiling timer expired") \
  X(SIGWINCH, "window changed") \
  X(SIGIO, "I/O possible") \
  X(SIGSYS, "bad system call") \
  WITH_SIGSTKFLT(X) WITH_SIGPWR(X) WITH_SIGEMT(X) WITH_SIGINFO(X) \
  NUMBERED(X, 32) NUMBERED(X, 33) NUMBERED(X, 34) \
  NUMBERED(X, 35) NUMBERED(X, 36) NUMBERED(X, 37) \
  NUMBERED(X, 38) NUMBERED(X, 39) NUMBERED(X, 40) \
  NUMBERED(X, 41) NUMBERED(X, 42) NUMBERED(X, 43) \
  NUMBERED(X, 44) NUMBERED(X, 45) NUMBERED(X, 46) \
  NUMBERED(X, 47) NUMBERED(X, 48) NUMBERED(X, 49) \
  NUMBERED(X, 50) NUMBERED(X, 51) NUMBERED(X, 52) \
  NUMBERED(X, 53) NUMBERED(X, 54) NUMBERED(X, 55) \
  NUMBERED(X, 56) NUMBERED(X, 57) NUMBERED(X, 58) \
  NUMBERED(X, 59) NUMBERED(X, 60) NUMBERED(X, 61) \
  NUMBERED(X, 62) NUMBERED(X, 63) NUMBERED(X, 64)
/* clang-format on */

#define TEXT(signum, text) [signum] = text,
static const char *const texts[] = {SIGNALS(TEXT)};

#define CAUSE(signum, text) [signum] = {UV_ECANCELED, text " signal received"},
static const dusk_cause_t causes[] = {SIGNALS(CAUSE)};

static const int count = sizeof(texts) / sizeof(texts[0]);

static bool is_known(int signum) {
  return signum > 0 && signum < count && texts[signum] != NULL;
}

const char *dusk_signal_text(int signum) {
  static _Thread_local char numbered[sizeof("signal -2147483648")];
  if (is_known(signum)) return texts[signum];
  snprintf(numbered, sizeof(numbered), "signal %d", signum);
  return numbered;
}

const dusk_cause_t *dusk__signal_cause(int signum) {
  return is_known(signum) ? &causes[signum] : &dusk_canceled;
}

int dusk_cause_signal(const dusk_cause_t *cause) {
  for (int signum = 1; signum < count; signum++)
    if (cause == &causes[signum]) return signum;
  return 0;
}
