/* descriptor.h: the descriptor below a handle of libuv's. */
#ifndef DUSK_DESCRIPTOR_H
#define DUSK_DESCRIPTOR_H

#include <uv.h>

/* A duplicate, closed on exec, the caller's to close; never where libuv would
 * take it for a standard stream. Errors: what uv_fileno and fcntl give. */
int dusk__descriptor_dup(const uv_handle_t *handle, int *ret_fd);

#endif
