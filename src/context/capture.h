/* capture.h: a signal number is taken from the process, and given back. */
#ifndef DUSK_CAPTURE_H
#define DUSK_CAPTURE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

typedef struct dusk__capture dusk__capture_t;

/* One of any number that have the same signal. The owner initialises the
 * handle and sets on_muted; it closes the handle after the stop. */
struct dusk__capture {
  uv_signal_t handle;
  /* Called by mute, on any thread: a stop is due. It must not come back to
   * this part, and the capture is there while it runs. */
  void (*on_muted)(dusk__capture_t *capture);
  atomic_bool is_muted; /* once set, the callback does nothing */
  int signum;
  dusk__capture_t *next; /* of those that have the signal and aren't muted */
  dusk__capture_t *prev;
};

/* Whether a program may be able to catch that; if the system then has it for
 * itself, dusk__capture_start tells UV_EINVAL. */
bool dusk__capture_possible(int signum);

/* Whether the system tells a program by it of the program's own fault. */
bool dusk__capture_is_fault(int signum);

/* Its loop's thread. */
int dusk__capture_start(dusk__capture_t *capture, uv_signal_cb cb, int signum);

/* Gives the signal back if no other capture has it. Returns how many arrivals
 * were caught for this one that its callback has not been called for and, now,
 * won't be; none if it was muted. `in_callback`: it is being called. The handle
 * can only be closed after that. Its loop's thread. */
unsigned dusk__capture_stop(dusk__capture_t *capture, bool in_callback);

/* Takes the signal from all captures, and gives it back or has it ignored at
 * once; what is under way is dropped. Any thread. */
void dusk__capture_mute(int signum, bool ignore);

/* Whether the process ignores it. Any thread. */
bool dusk__capture_ignored(int signum);

#endif
