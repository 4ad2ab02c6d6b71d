/* access.h: the access log, a line a request that has ended, on any loop. */
#ifndef DUSKD_ACCESS_H
#define DUSKD_ACCESS_H

#include <dusk/http.h>

#include "log.h"

/* Opens `path`, which is kept, for appending, "-" for standard output. Before
 * any loop begins. */
int duskd__access_open(const char *path, duskd_format_t format);

/* On a loop's thread: what is told there is written at the latest when the loop
 * goes to wait; once it has ended, which takes it one more turn, at once. Both
 * are no-ops when the log is not open. */
int duskd__access_begin(uv_loop_t *loop);
void duskd__access_end(void);

/* The server's handler, in place of dusk_mux_serve, which it calls; and its
 * on_request_end. */
void duskd__access_serve(dusk_response_t *res, dusk_request_t *req, void *mux);
void duskd__access_line(dusk_request_t *req, const dusk_request_end_t *end,
                        void *arg);

/* Opens the path anew, for when the file has been renamed: what has ended by
 * now on this thread's loop is in the old one, unless that takes no more. On
 * failure, which is told, the old one goes on. Without a log, or on standard
 * output, that is told. */
void duskd__access_reopen(void);

/* Closes it; what is told later is dropped. No-op when it is not open. */
void duskd__access_close(void);

#endif
