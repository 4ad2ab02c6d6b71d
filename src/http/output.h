/* Bytes out. While a connection's requests are advanced, its output is gathered
 * and goes out with one write; otherwise at once. See output.c. */
#ifndef DUSK_HTTP_OUTPUT_H
#define DUSK_HTTP_OUTPUT_H

#include "connection.h"

enum { DUSK__OUTPUT_BYTES = 65536 };

/* One buffer a worker: only one connection gathers at a time. */
typedef struct dusk__gather {
  char *bytes;
  size_t len;
  dusk__conn_t *conn; /* whose bytes they are */
} dusk__gather_t;

int dusk__output_init(dusk__gather_t *gather);
void dusk__output_done(dusk__gather_t *gather);

/* Room for at most DUSK__OUTPUT_BYTES contiguous bytes of this connection, to
 * be followed by dusk__output_commit. NULL when the connection failed on the
 * way. */
char *dusk__output_reserve(dusk__conn_t *conn, size_t len);
void dusk__output_commit(dusk__conn_t *conn, size_t len);

/* Copies or writes. */
int dusk__output_bytes(dusk__conn_t *conn, const void *data, size_t len);
/* Writes what was gathered and then `data` without copying it. `release` runs
 * once, whatever happens. */
int dusk__output_ref(dusk__conn_t *conn, const void *data, size_t len,
                     dusk_release_cb release, void *arg);

/* Hands what was gathered to the kernel, or to libuv for later. On failure the
 * connection has been closed. */
int dusk__output_flush(dusk__conn_t *conn);
/* Forgets what was gathered for a connection that ends. */
void dusk__output_drop(dusk__conn_t *conn);

#endif
