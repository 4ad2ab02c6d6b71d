/* What a stop means for one connection, as questions that change nothing. See
 * policy.c. */
#ifndef DUSK_HTTP_POLICY_H
#define DUSK_HTTP_POLICY_H

#include "peers.h"
#include "worker.h"

#include <stdatomic.h>

/* The stop as all of a server's workers read it. Its server writes it, but for
 * the answers, which are anybody's. */
typedef struct dusk__plan {
  atomic_bool says_close;       /* in a lame duck, or when none is to be kept */
  uint64_t started_ns;          /* set before any worker drains */
  _Atomic uint64_t deadline_ns; /* the nearest bound's; DUSK_OFF: none */
  _Atomic uint64_t lame_answered_ms;       /* the last answer in a lame duck */
  _Atomic(const dusk_cause_t *) cut_cause; /* of what the bound or close cuts */
  dusk__peers_t peers;                     /* made when the drain begins */
  atomic_int untold; /* loops that have not yet told whom they answered */
} dusk__plan_t;

typedef struct dusk__policy {
  dusk__plan_t *plan;
  const dusk_server_config_t *config;
  bool is_draining; /* this worker is; its drain sets it */
} dusk__policy_t;

/* Input that was read and not yet parsed. */
typedef struct dusk__unparsed {
  const char *bytes;
  size_t len;
  uint64_t own; /* the first of them, and of what follows, that belong to the
                 * request which is being answered */
} dusk__unparsed_t;

/* What is known of a connection, for a stop. What of its input will be answered
 * then, the batch, is all that has come when it is looked at: in bytes since
 * its accept, modulo 2^32. */
typedef struct dusk__watched {
  dusk__peer_t *peer; /* since a drain began, and so is */
  uint16_t round_trip_ms;
  bool is_looked_at; /* batch_end is set */
  uint32_t received; /* read from the socket */
  uint32_t batch_end;
} dusk__watched_t;

typedef enum dusk__stop {
  DUSK__NO_STOP,
  DUSK__LAME_DUCK,
  DUSK__DRAIN,
} dusk__stop_t;

static inline dusk__stop_t dusk__policy_stop(const dusk__policy_t *policy) {
  if (policy->is_draining) return DUSK__DRAIN;
  return atomic_load_explicit(&policy->plan->says_close, memory_order_relaxed)
             ? DUSK__LAME_DUCK
             : DUSK__NO_STOP;
}

/* A time-out, shortened in a drain to what a peer that moves nothing gets. */
uint64_t dusk__policy_patience_ms(const dusk__policy_t *policy,
                                  uint64_t timeout_ms);

/* The part of a window that is the same for all; 0: none. */
uint64_t dusk__policy_quiet_ms(const dusk__policy_t *policy);

/* Until when, in a drain, a connection that is idle or new since `since_ms` may
 * still send a request. On the loop's clock. */
uint64_t dusk__policy_window_end(const dusk__policy_t *policy,
                                 const dusk__watched_t *watched,
                                 uint64_t since_ms);

/* Whether all loops have told whom they answered before the stop; one that
 * doesn't turn is waited for as long as a window. Before that none is over. */
bool dusk__policy_knows_peers(const dusk__policy_t *policy, uint64_t now_ms);

/* Whether an answer at `now_ms` renews the windows of its peer's others. */
bool dusk__policy_renews(const dusk__policy_t *policy, uint64_t now_ms);

enum { DUSK__LINGER_MS = 2000 }; /* in all, whatever still comes */

/* How long a half-closed connection that was answered is read on, since its
 * last byte. */
uint64_t dusk__policy_linger_ms(const dusk__policy_t *policy,
                                const dusk__watched_t *watched);

/* What has come by now, `unread` in the socket included, is the batch. */
void dusk__batch_look(dusk__watched_t *watched, size_t unread);

typedef enum dusk__further {
  DUSK__NONE_FURTHER,
  DUSK__FURTHER,
  DUSK__FURTHER_IF_PENDING, /* if it is more than line ends that the socket has
                             */
} dusk__further_t;

/* Whether a further request is in the batch. Line ends are none: RFC 9112, 2.2.
 */
dusk__further_t dusk__batch_goes_on(const dusk__watched_t *watched,
                                    const dusk__unparsed_t *unparsed);

#endif
