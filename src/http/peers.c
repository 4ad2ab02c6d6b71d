/* A client with a pool of connections is driven by our own `Connection: close`
 * from each answered one onto the spare ones, which have been idle for long: so
 * whether more is to be expected is a property of a peer, not of a connection.
 *
 * A hash table by address, made when a drain begins. Where memory is short
 * peers share an entry, and get longer windows than they need. */
#include "peers.h"

#include <stdlib.h>
#include <string.h>

enum { MIN_BUCKETS = 16, MAX_BUCKETS = 65536 };

void dusk__peers_init(dusk__peers_t *peers, size_t count, uv_mutex_t *lock) {
  size_t buckets = MIN_BUCKETS;
  while (buckets < count && buckets < MAX_BUCKETS)
    buckets *= 2;
  memset(peers, 0, sizeof(*peers));
  peers->mask = buckets - 1;
  peers->lock = lock;
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

static dusk__peer_t *find_or_add(dusk__peers_t *peers, const uint8_t addr[16]) {
  dusk__peer_t **bucket = &peers->buckets[hash(addr) & peers->mask];
  for (dusk__peer_t *peer = *bucket; peer; peer = peer->next)
    if (memcmp(peer->addr, addr, 16) == 0) return peer;
  dusk__peer_t *peer = calloc(1, sizeof(*peer));
  if (peer == NULL) return &peers->others;
  memcpy(peer->addr, addr, 16);
  peer->next = *bucket;
  *bucket = peer;
  return peer;
}

dusk__peer_t *dusk__peers_of(dusk__peers_t *peers,
                             const dusk__address_t *address) {
  uint8_t addr[16];
  if (peers->buckets == NULL) return &peers->others;
  dusk__address_host(address, addr);
  if (peers->lock) uv_mutex_lock(peers->lock);
  dusk__peer_t *peer = find_or_add(peers, addr);
  if (peers->lock) uv_mutex_unlock(peers->lock);
  return peer;
}

void dusk__peer_note_answer(dusk__peer_t *peer, uint64_t now_ms) {
  uint64_t was_ms = dusk__peer_answered_ms(peer);
  while (was_ms < now_ms &&
         !atomic_compare_exchange_weak(&peer->answered_ms, &was_ms, now_ms))
    ;
}
