#include "policy.h"

#include "chars.h"

enum {
  PATIENCE_MS = 2000,    /* with a peer that moves nothing */
  DRAIN_LINGER_MS = 250, /* in a drain, and a round trip, since the last byte */
};

uint64_t dusk__policy_patience_ms(const dusk__policy_t *policy,
                                  uint64_t timeout_ms) {
  bool is_short = policy->is_draining && timeout_ms > PATIENCE_MS;
  return is_short ? PATIENCE_MS : timeout_ms;
}

/* -- Windows --------------------------------------------------------------- */

uint64_t dusk__policy_quiet_ms(const dusk__policy_t *policy) {
  uint64_t quiet_ms = policy->config->quiet_window_ms;
  return quiet_ms == DUSK_OFF ? 0 : quiet_ms;
}

uint64_t dusk__policy_window_end(const dusk__policy_t *policy,
                                 const dusk__watched_t *watched,
                                 uint64_t since_ms) {
  uint64_t quiet_ms = dusk__policy_quiet_ms(policy);
  uint64_t from_ms = since_ms;
  if (quiet_ms == 0) return from_ms;
  uint64_t answered_ms = dusk__peer_answered_ms(watched->peer);
  if (answered_ms > from_ms) from_ms = answered_ms;
  return dusk__after_ms(dusk__after_ms(from_ms, quiet_ms),
                        watched->round_trip_ms);
}

bool dusk__policy_knows_peers(const dusk__policy_t *policy, uint64_t now_ms) {
  const dusk__plan_t *plan = policy->plan;
  return atomic_load(&plan->untold) <= 0 ||
         now_ms > dusk__after_ms(plan->started_ns / DUSK__NS_PER_MS,
                                 dusk__policy_quiet_ms(policy));
}

/* Three windows or half of the bound, whichever is earlier: a proxy that
 * trickles requests over a pool would hold the drain to its bound. */
bool dusk__policy_renews(const dusk__policy_t *policy, uint64_t now_ms) {
  const dusk__plan_t *plan = policy->plan;
  uint64_t quiet_ms = dusk__policy_quiet_ms(policy);
  uint64_t limit_ms = quiet_ms < DUSK_OFF / 3 ? 3 * quiet_ms : DUSK_OFF;
  uint64_t deadline_ns = atomic_load(&plan->deadline_ns);
  if (deadline_ns != DUSK_OFF) {
    uint64_t bound_ns =
        deadline_ns > plan->started_ns ? deadline_ns - plan->started_ns : 0;
    uint64_t half_ms = bound_ns / 2 / DUSK__NS_PER_MS;
    if (half_ms < limit_ms) limit_ms = half_ms;
  }
  return now_ms <= dusk__after_ms(plan->started_ns / DUSK__NS_PER_MS, limit_ms);
}

/* Until a client has closed its side, too; in a drain, which waits for it, only
 * while it may still be sending. */
uint64_t dusk__policy_linger_ms(const dusk__policy_t *policy,
                                const dusk__watched_t *watched) {
  return policy->is_draining ? DRAIN_LINGER_MS + watched->round_trip_ms
                             : DUSK__LINGER_MS;
}

/* -- Batches --------------------------------------------------------------- */

void dusk__batch_look(dusk__watched_t *watched, size_t unread) {
  watched->is_looked_at = true;
  watched->batch_end = watched->received + (uint32_t)unread;
}

static bool has_request(const char *bytes, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (!dusk__is_line_end(bytes[i])) return true;
  return false;
}

dusk__further_t dusk__batch_goes_on(const dusk__watched_t *watched,
                                    const dusk__unparsed_t *unparsed) {
  uint64_t own = unparsed->own;
  size_t read = unparsed->len;
  int32_t left =
      (int32_t)(watched->batch_end - watched->received) + (int32_t)read;
  if (left <= 0 || (uint64_t)left <= own) return DUSK__NONE_FURTHER;
  size_t to = (size_t)left < read ? (size_t)left : read;
  if (to > own && has_request(unparsed->bytes + own, to - own))
    return DUSK__FURTHER;
  if ((size_t)left <= read) return DUSK__NONE_FURTHER;
  return own > read ? DUSK__FURTHER : DUSK__FURTHER_IF_PENDING;
}
