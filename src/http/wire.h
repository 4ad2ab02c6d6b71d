/* A connection as its requests know it. */
#ifndef DUSK_HTTP_WIRE_H
#define DUSK_HTTP_WIRE_H

#include "address.h"
#include "stream.h"

typedef struct dusk__wire {
  dusk__stream_t stream;
  dusk_context_t *ctx;     /* parent of its requests'; made when asked for */
  dusk__address_t address; /* the client's: a reset one can't be asked */
  uint32_t requests;       /* begun */
} dusk__wire_t;

/* Tells on_conn_state, which there is. */
void dusk__wire_tell(dusk__wire_t *wire, dusk_conn_state_t state);

/* Asks on_conn_context, which there is, for the parent of its context. */
int dusk__wire_begin(dusk__wire_t *wire);

#endif
