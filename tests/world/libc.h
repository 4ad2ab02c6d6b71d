/* Whose functions the C library's are. See libc.c. */
#ifndef WORLD_LIBC_H
#define WORLD_LIBC_H

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>

/* The C library's own; found once each. */
#define REAL(name)                                                             \
  static __typeof__(&name) real;                                               \
  if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, #name)

/* While on, new descriptors and clocks are the played kernel's. */
void libc_play(bool on);

/* Whether libuv has called this program's functions since libc_play. */
bool libc_is_ours(int backend_fd);

void pthread_begin(void);

#endif
