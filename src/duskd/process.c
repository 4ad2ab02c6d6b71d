/* process.c: see process.h. */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

int duskd__process_fill_descriptors(void) {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
    if (fcntl(fd, F_GETFD) >= 0) continue;
    /* The lowest free one is taken, which is this one. */
    if (open("/dev/null", O_RDWR) < 0) return uv_translate_sys_error(errno);
  }
  return 0;
}

void duskd__process_prepare(void) {
  signal(SIGPIPE, SIG_IGN);
#ifdef SIGXFSZ
  signal(SIGXFSZ, SIG_IGN);
#endif
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit)) return;
  limit.rlim_cur = limit.rlim_max;
  /* Refused where "unlimited" isn't meant (macOS): it stays as it was. */
  if (setrlimit(RLIMIT_NOFILE, &limit)) return;
}

bool duskd__process_has_descriptors(size_t count) {
  int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return count == 0;
  bool has = count <= 1 || duskd__process_has_descriptors(count - 1);
  close(fd);
  return has;
}
