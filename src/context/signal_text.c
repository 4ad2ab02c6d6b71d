/* signal_text.c: signals in words, as Go prints them. */
#include <dusk/signal.h>

#include <signal.h>
#include <stdio.h>

static const char *const texts[] = {
    [SIGHUP] = "hangup",
    [SIGINT] = "interrupt",
    [SIGQUIT] = "quit",
    [SIGILL] = "illegal instruction",
    [SIGTRAP] = "trace/breakpoint trap",
    [SIGABRT] = "aborted",
    [SIGBUS] = "bus error",
    [SIGFPE] = "floating point exception",
    [SIGKILL] = "killed",
    [SIGUSR1] = "user defined signal 1",
    [SIGSEGV] = "segmentation fault",
    [SIGUSR2] = "user defined signal 2",
    [SIGPIPE] = "broken pipe",
    [SIGALRM] = "alarm clock",
    [SIGTERM] = "terminated",
    [SIGCHLD] = "child exited",
    [SIGCONT] = "continued",
    [SIGSTOP] = "stopped (signal)",
    [SIGTSTP] = "stopped",
    [SIGTTIN] = "stopped (tty input)",
    [SIGTTOU] = "stopped (tty output)",
    [SIGURG] = "urgent I/O condition",
    [SIGXCPU] = "CPU time limit exceeded",
    [SIGXFSZ] = "file size limit exceeded",
    [SIGVTALRM] = "virtual timer expired",
    [SIGPROF] = "profiling timer expired",
    [SIGWINCH] = "window changed",
    [SIGIO] = "I/O possible",
    [SIGSYS] = "bad system call",
#ifdef SIGSTKFLT
    [SIGSTKFLT] = "stack fault",
#endif
#ifdef SIGPWR
    [SIGPWR] = "power failure",
#endif
};

const char *dusk_signal_text(int signum) {
  static _Thread_local char numbered[sizeof("signal -2147483648")];
  if (signum > 0 && signum < (int)(sizeof(texts) / sizeof(texts[0])) &&
      texts[signum] != NULL)
    return texts[signum];
  snprintf(numbered, sizeof(numbered), "signal %d", signum);
  return numbered;
}
