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

#endif
