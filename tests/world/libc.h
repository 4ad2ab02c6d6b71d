/* Whose functions the C library's are. See libc.c. */
#ifndef WORLD_LIBC_H
#define WORLD_LIBC_H

#include <stdbool.h>

/* While on, new descriptors and clocks are the played kernel's. */
void libc_play(bool on);

/* Whether libuv has called this program's functions since libc_play. */
bool libc_is_ours(int backend_fd);

#endif
