/* dies.c: see dies.h. */
#include "dies.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

void dies(void (*misuse)(void), const char *says) {
  int out[2];
  assert_int_equal(pipe(out), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    signal(SIGABRT, SIG_DFL); /* cmocka's would go on with its tests */
    dup2(out[1], STDERR_FILENO);
    misuse();
    _exit(0);
  }
  close(out[1]);
  static char text[65536];
  size_t len = 0;
  ssize_t got;
  while ((got = read(out[0], text + len, sizeof(text) - 1 - len)) > 0)
    len += (size_t)got;
  text[len] = '\0';
  close(out[0]);
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
  if (UNDER_ASAN && strstr(text, "heap-use-after-free")) return;
  if (!strstr(text, says)) fail_msg("said: %s", text);
}
