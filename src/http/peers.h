/* Who answers were sent to, in a drain. See peers.c. */
#ifndef DUSK_HTTP_PEERS_H
#define DUSK_HTTP_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All connections of one address, whatever their ports. */
typedef struct dusk__peer {
  struct dusk__peer *next;
  uint8_t addr[16]; /* IPv6; IPv4 mapped; all 0: a Unix socket's */
  uint64_t answered_ms;
} dusk__peer_t;

typedef struct dusk__peers {
  dusk__peer_t **buckets; /* NULL: there was no memory */
  size_t mask;
  dusk__peer_t others; /* those for whom there was no memory */
} dusk__peers_t;

/* Made for about `count` connections. */
void dusk__peers_init(dusk__peers_t *peers, size_t count);
void dusk__peers_done(dusk__peers_t *peers);

/* Whether it is a Unix socket's. */
bool dusk__peer_is_local(const dusk__peer_t *peer);

/* The peer of a connected socket, added if need be; never NULL. */
dusk__peer_t *dusk__peers_of(dusk__peers_t *peers, int fd);

#endif
