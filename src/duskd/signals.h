/* signals.h: the signals that duskd obeys, on its loop; and an end by means
 * that need no running loop. */
#ifndef DUSKD_SIGNALS_H
#define DUSKD_SIGNALS_H

#include <dusk/context.h>

#include <stdbool.h>

/* On the loop. INT, TERM or QUIT has come if duskd__signals_stops says so,
 * whichever number this is. */
typedef void (*duskd_signal_cb)(int signum, void *arg);

/* Catches INT, TERM and QUIT, the stops, and HUP, USR1 and USR2: unblocks them
 * where the parent had them blocked, and leaves alone which it had ignored.
 * From the first stop on the process ends after `alarm_s` seconds, 0: never, if
 * it hasn't before. Once a process. Returns 0 or a negative error. */
int duskd__signals_catch(dusk_context_t *root, unsigned alarm_s,
                         duskd_signal_cb cb, void *arg);

/* How many stops have come, and the first one's name, "SIGTERM". */
int duskd__signals_stops(void);
const char *duskd__signals_first(void);

/* Takes the first stop back, and its alarm; false if it was not the only one.
 */
bool duskd__signals_forget(void);

/* Blocks them all on this thread: they are for the one that catches them. */
void duskd__signals_leave(void);

/* Blocks them all and catches none any more; the alarm stays set. */
void duskd__signals_end(void);

#endif
