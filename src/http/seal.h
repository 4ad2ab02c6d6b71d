/* Sealing: the listeners' end in a drain. See seal.c. */
#ifndef DUSK_HTTP_SEAL_H
#define DUSK_HTTP_SEAL_H

#include "acceptor.h"

typedef struct dusk__seal {
  dusk__acceptor_t *acceptor;
  uv_timer_t timer;
  int diag;    /* tells of handshakes half-way; -1: none */
  int reserve; /* a descriptor for a connection that waits when there are no
                * others; -1: none */
  dusk_seal_t means; /* the worst of the listeners' */
  uint64_t begun_ns;
  uint64_t stuck_ns;   /* since when nothing can be accepted; 0: it can */
  uint64_t sealed;     /* connections found in the queues at first */
  uint64_t left;       /* in the queues of listeners that were only closed */
  uint64_t handshakes; /* half-way, that were given up */
  int err;             /* because of which a queue was left */
} dusk__seal_t;

void dusk__seal_init(dusk__seal_t *seal, dusk__acceptor_t *acceptor);
/* Closes the timer, and gives its descriptors back. */
void dusk__seal_close(dusk__seal_t *seal);

/* A source was opened: gets what its seal will need, and tells on_error where
 * that is refused. */
void dusk__seal_prepare(dusk__seal_t *seal, const dusk__source_t *source);

/* Begins to seal all listeners; each is closed when it is empty. */
void dusk__seal_begin(dusk__seal_t *seal);

/* Closes what is not yet sealed. */
void dusk__seal_cut(dusk__seal_t *seal);

#endif
