/* For kernels without a known means: nothing can be refused or told, so that
 * the drain accepts blindly for a while. */
#include "sys.h"

#include <uv.h>

int dusk__sys_refuse_handshakes(int fd) {
  (void)fd;
  return UV_ENOTSUP;
}

int dusk__sys_open_diag(void) {
  return UV_ENOTSUP;
}

int dusk__sys_half_open(int diag, int fd) {
  (void)diag;
  (void)fd;
  return UV_ENOTSUP;
}

int dusk__sys_half_open_slowly(int fd) {
  (void)fd;
  return UV_ENOTSUP;
}

int dusk__sys_queued(int fd) {
  (void)fd;
  return UV_ENOTSUP;
}

size_t dusk__sys_unacknowledged(int fd) {
  (void)fd;
  return 0;
}

uint64_t dusk__sys_round_trip_ms(int fd) {
  (void)fd;
  return 0;
}
