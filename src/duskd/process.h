/* process.h: what a parent may have left a process: closed descriptors, low
 * limits, deadly signals. */
#ifndef DUSKD_PROCESS_H
#define DUSKD_PROCESS_H

#include <stdbool.h>
#include <stddef.h>

/* Opens /dev/null as those of the descriptors 0 to 2 that are closed: else a
 * socket would take such a place, and messages would go to a client. Before
 * anything else opens one. Returns 0 or a negative error. */
int duskd__process_fill_descriptors(void);

/* A write that can't be done is an error, not the end: SIGPIPE and SIGXFSZ are
 * ignored. The soft limit of descriptors becomes the hard one. */
void duskd__process_prepare(void);

/* Whether that many more descriptors can be opened now. */
bool duskd__process_has_descriptors(size_t count);

#endif
