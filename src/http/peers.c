/* A client with a pool of connections is driven by our own `Connection: close`
 * from each answered one onto the spare ones, which have been idle for long: so
 * whether more is to be expected is a property of a peer, not of a connection.
 *
 * A hash table by address, made when a drain begins. Where memory is short
 * peers share an entry, and get longer windows than they need. */
#include "peers.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { MIN_BUCKETS = 16, MAX_BUCKETS = 65536 };

void dusk__peers_init(dusk__peers_t *peers, size_t count) {
  size_t buckets = MIN_BUCKETS;
  while (buckets < count && buckets < MAX_BUCKETS)
    buckets *= 2;
  memset(peers, 0, sizeof(*peers));
  peers->mask = buckets - 1;
  peers->buckets = calloc(buckets, sizeof(*peers->buckets));
}

void dusk__peers_done(dusk__peers_t *peers) {
  for (size_t i = 0; peers->buckets && i <= peers->mask; i++) {
    while (peers->buckets[i]) {
      dusk__peer_t *peer = peers->buckets[i];
      peers->buckets[i] = peer->next;
      free(peer);
    }
  }
  free(peers->buckets);
  peers->buckets = NULL;
}

/* All 0 for a Unix socket's clients, which are one peer, and for who has gone
 * already. */
static void read_addr(int fd, uint8_t addr[16]) {
  static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
  struct sockaddr_storage peer;
  socklen_t len = sizeof(peer);
  memset(addr, 0, 16);
  if (getpeername(fd, (struct sockaddr *)&peer, &len)) return;
  if (peer.ss_family == AF_INET6) {
    memcpy(addr, &((struct sockaddr_in6 *)&peer)->sin6_addr, 16);
  } else if (peer.ss_family == AF_INET) {
    memcpy(addr, mapped, 12);
    memcpy(addr + 12, &((struct sockaddr_in *)&peer)->sin_addr, 4);
  }
}

bool dusk__peer_is_local(const dusk__peer_t *peer) {
  static const uint8_t none[16];
  return memcmp(peer->addr, none, sizeof(none)) == 0;
}

/* FNV-1a */
static size_t hash(const uint8_t addr[16]) {
  uint32_t sum = 2166136261u;
  for (int i = 0; i < 16; i++)
    sum = (sum ^ addr[i]) * 16777619u;
  return sum ^ sum >> 16;
}

dusk__peer_t *dusk__peers_of(dusk__peers_t *peers, int fd) {
  uint8_t addr[16];
  if (peers->buckets == NULL) return &peers->others;
  read_addr(fd, addr);
  dusk__peer_t **bucket = &peers->buckets[hash(addr) & peers->mask];
  for (dusk__peer_t *peer = *bucket; peer; peer = peer->next)
    if (memcmp(peer->addr, addr, sizeof(addr)) == 0) return peer;
  dusk__peer_t *peer = calloc(1, sizeof(*peer));
  if (peer == NULL) return &peers->others;
  memcpy(peer->addr, addr, sizeof(addr));
  peer->next = *bucket;
  *bucket = peer;
  return peer;
}
