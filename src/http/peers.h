/* Who answers were sent to, in a drain. See peers.c. */
#ifndef DUSK_HTTP_PEERS_H
#define DUSK_HTTP_PEERS_H

#include "address.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

/* All connections of one address, whatever their ports. */
typedef struct dusk__peer {
  struct dusk__peer *next;
  uint8_t addr[16]; /* IPv6; IPv4 mapped; all 0: a Unix socket's */
  _Atomic uint64_t answered_ms;
} dusk__peer_t;

typedef struct dusk__peers {
  dusk__peer_t **buckets; /* NULL: there was no memory */
  size_t mask;
  dusk__peer_t others; /* those for whom there was no memory */
  uv_mutex_t *lock;    /* NULL: there is one loop only */
} dusk__peers_t;

/* Made for about `count` connections. `lock` is kept: while a peer is looked
 * for, other loops wait. */
void dusk__peers_init(dusk__peers_t *peers, size_t count, uv_mutex_t *lock);
void dusk__peers_done(dusk__peers_t *peers);

/* Whether it is a Unix socket's. */
bool dusk__peer_is_local(const dusk__peer_t *peer);

/* The peer at that address, added if need be; never NULL. Any
 * thread. */
dusk__peer_t *dusk__peers_of(dusk__peers_t *peers,
                             const dusk__address_t *address);

/* When it last got an answer; and that it got one. Any thread. */
static inline uint64_t dusk__peer_answered_ms(const dusk__peer_t *peer) {
  return atomic_load_explicit(&peer->answered_ms, memory_order_relaxed);
}
void dusk__peer_note_answer(dusk__peer_t *peer, uint64_t now_ms);

#endif
