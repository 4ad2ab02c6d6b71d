/* streams.h: streams of libuv's, and what is at their other end. */
#ifndef STREAMS_H
#define STREAMS_H

#include "fixture.h"

/* A stream on the fixture's loop, and its peer as a descriptor. */
typedef struct {
  union {
    uv_stream_t stream;
    uv_pipe_t pipe;
    uv_tcp_t tcp;
  };
  dusk_context_t *root;
  int peer;
} line_t;

/* By a Unix socket; by TCP. */
void line_open(line_t *line, fixture_t *f);
void line_open_tcp(line_t *line, fixture_t *f);
/* Closes both ends, and runs the loop. */
void line_close(line_t *line);

/* The peer writes; reads exactly this; or resets its TCP connection. */
void line_say(line_t *line, const char *text);
void line_hear(line_t *line, const char *text);
void line_reset(line_t *line);

int open_fds(void);

/* The fixture, and a look at the descriptors: each is closed. The first one is
 * for what libuv opens once and keeps. */
int lines_open(void **state);
int lines_close(void **state);
int lines_open_once(void **state);

#endif
