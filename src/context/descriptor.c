/* descriptor.c: see descriptor.h. */
#include "descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int dusk__descriptor_dup(const uv_handle_t *handle, int *ret_fd) {
  uv_os_fd_t fd;
  int err = uv_fileno(handle, &fd);
  if (err != 0) return err;
  int duplicate = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (duplicate < 0) return uv_translate_sys_error(errno);
  *ret_fd = duplicate;
  return 0;
}
