/* A server in this process and on this thread, on a Unix socket in a folder of
 * its own: for fuzz targets. No time passes in it: it has no time-outs. */
#ifndef DUSK_TESTS_FUZZ_SERVED_H
#define DUSK_TESTS_FUZZ_SERVED_H

#include "fuzz.h"

#include <dusk/http.h>

typedef struct served {
  uv_loop_t loop;
  dusk_context_t *root;
  dusk_server_t *server;
  dusk_context_t *bound; /* of its drain: never ends */
  size_t blocks;         /* allocated before it was opened */
  int shutdown_status;   /* 1: not called back yet */
  bool is_draining;
} served_t;

/* The folder, which goes at the program's exit. */
const char *served_folder(void);

/* Nothing but the socket is in it. */
void served_check_folder(void);

/* `config` needs a handler; its time-outs are set to none. */
void served_open(served_t *served, dusk_server_config_t config);

/* A connected, non-blocking client. */
int served_connect(void);

/* Begins a drain, which waits for what is running; a second one does nothing.
 */
void served_drain(served_t *served);

/* Ends it, when no client is left; the report must add up, the loop close, and
 * no allocation be left. */
void served_close(served_t *served);

#endif
