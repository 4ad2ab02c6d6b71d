/* capture.h: a signal number is taken from the process, and given back. */
#ifndef DUSK_CAPTURE_H
#define DUSK_CAPTURE_H

#include <stdbool.h>
#include <uv.h>

/* Whether a program may be able to catch that; if the system then has it for
 * itself, dusk__capture_start tells UV_EINVAL. */
bool dusk__capture_possible(int signum);

/* Starts an initialised handle. Its loop's thread. */
int dusk__capture_start(uv_signal_t *handle, uv_signal_cb cb, int signum);

/* Stops it, and gives the signal back if no other handle of ours has it.
 * Returns how many arrivals were caught for this handle that its callback has
 * not been called for and, now, won't be. `in_callback`: it is being called.
 * The handle can only be closed after that. Its loop's thread. */
unsigned dusk__capture_stop(uv_signal_t *handle, bool in_callback);

#endif
