/* Stands before the C library's close() in the program that it is linked to,
 * and tells of each close of a listening socket, "listener closed", and of each
 * close of a descriptor that isn't open, "closed twice".
 * With CLOSE_FAILS set the closes of listeners fail with EIO, done or not. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common.h"

int close(int fd) {
  int listens = 0;
  socklen_t size = sizeof listens;
  int known = getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size);
  if (known != 0 && errno == EBADF && fd >= 0) say("closed twice");
  if (known != 0 || !listens) return (int)syscall(SYS_close, fd);
  say("listener closed");
  int result = (int)syscall(SYS_close, fd);
  if (getenv("CLOSE_FAILS") == NULL) return result;
  errno = EIO;
  return -1;
}
