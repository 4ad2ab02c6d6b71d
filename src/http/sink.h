/* A file that bytes go to, by the threads of libuv's pool: the loop never waits
 * for a disk. It has its name only once it is whole: until then it is a hidden
 * one beside it, which goes when it is given up. Knows no request. See sink.c.
 *
 * All functions and the callback are for the loop's thread. */
#ifndef DUSK_HTTP_SINK_H
#define DUSK_HTTP_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

enum { DUSK__SINK_BYTES = 32768 }; /* to be given at once, at most */

typedef struct dusk__sink dusk__sink_t;
typedef void (*dusk__sink_cb)(void *owner, int status);

/* `path` is copied; nothing is opened yet. `cb` is told how what was begun has
 * ended. UV_ENOMEM. */
int dusk__sink_new(uv_loop_t *loop, const char *path, dusk__sink_cb cb,
                   void *owner, dusk__sink_t **ret_sink);

/* Keeps a copy. True when that is enough, and is being written: `cb` comes, and
 * until then the sink takes nothing. After an error it can only be given up. */
bool dusk__sink_put(dusk__sink_t *sink, const void *data, size_t len);

/* That was all: writes the rest and gives the file its name, in the place of
 * one that has it. Then `cb` comes, and the sink is gone; if it failed, so is
 * the file. */
void dusk__sink_finish(dusk__sink_t *sink);

/* Gives the file up: `cb` comes no more. A file that is being finished may get
 * its name all the same. */
void dusk__sink_abort(dusk__sink_t *sink);

#endif
