/* Who is there, and how they ended: a loop's connections by their phase, and
 * its counts, always kept. See census.c. */
#ifndef DUSK_HTTP_CENSUS_H
#define DUSK_HTTP_CENSUS_H

#include "list.h"
#include "worker.h"

#include <stdatomic.h>

/*   NEW ──first byte──▶ ACTIVE ──answered──▶ IDLE ──next byte──▶ ACTIVE ...
 *    │                    │ │                  │
 *    │                    │ └──hijacked──▶ HIJACKED
 *    └────────────────────┴───────────┬────────┘
 *                     LINGERING (half-closed, input is discarded)
 *                                     │
 *                                  CLOSED                                  */
typedef enum dusk__phase {
  DUSK__NEW,       /* accepted, has sent nothing */
  DUSK__ACTIVE,    /* from a request's first byte to its answer's end */
  DUSK__IDLE,      /* kept, between two requests */
  DUSK__LINGERING, /* half-closed by us, what still comes is discarded */
  DUSK__HIJACKED,  /* taken over by a handler */
  DUSK__CLOSED,
  DUSK__PHASES,
  DUSK__OPEN_PHASES = DUSK__HIJACKED, /* those before it */
} dusk__phase_t;

/* How a connection or a request ended, in the report's words. */
typedef enum dusk__ending {
  DUSK__ANSWERED,
  DUSK__ENDED_IDLE,
  DUSK__UNUSED,
  DUSK__REFUSED,
  DUSK__ENDED_HIJACKED,
  DUSK__CUT,
  DUSK__GONE, /* the client left in the middle of a request */
  DUSK__ENDINGS,
} dusk__ending_t;

/* A connection as it is counted; embedded in it. Written here only. */
typedef struct dusk__member {
  dusk__link_t link;
  uint64_t since_ms : 58; /* when its phase began, on the loop's clock; while
                           * ACTIVE, that of the phase before */
  uint64_t phase : 3;
  uint64_t ending : 3; /* once it is LINGERING or over */
} dusk__member_t;

/* One thread writes it, any may read. */
typedef _Atomic uint64_t dusk__counter_t;

static inline void dusk__count(dusk__counter_t *counter, uint64_t more) {
  uint64_t count = atomic_load_explicit(counter, memory_order_relaxed);
  atomic_store_explicit(counter, count + more, memory_order_release);
}

static inline uint64_t dusk__counted(const dusk__counter_t *counter) {
  return atomic_load_explicit(counter, memory_order_acquire);
}

/* What was counted up to a moment. */
typedef struct dusk__tally {
  uint64_t conns_accepted;
  uint64_t conns_ended[DUSK__ENDINGS];
  uint64_t conns_late;
  uint64_t conns_unconfirmed;
  uint64_t answers_unacknowledged;
  uint64_t requests_begun;
  uint64_t requests_ended[DUSK__ENDINGS];
  uint64_t held_begun; /* responses whose connections have gone, and */
  uint64_t held_ended; /* that their handlers have ended since */
} dusk__tally_t;

typedef struct dusk__census {
  dusk__worker_t *worker;
  dusk__task_t *watcher; /* due when somebody ended, */
  bool watches_moves;    /* or only moved; NULL: nobody asks */
  dusk__link_t members[DUSK__OPEN_PHASES]; /* ACTIVE: the oldest request first
                                            */
  size_t count[DUSK__OPEN_PHASES];
  size_t unawaited; /* LINGERING, but no drain waits for them */
  size_t requests;  /* running */

  dusk__counter_t conns_accepted; /* written by who accepts */
  dusk__counter_t conns_ended[DUSK__ENDINGS];
  dusk__counter_t conns_late;
  dusk__counter_t conns_unconfirmed;
  dusk__counter_t answers_unacknowledged;
  dusk__counter_t requests_begun;
  dusk__counter_t requests_ended[DUSK__ENDINGS];
  dusk__counter_t held_begun;
  dusk__counter_t held_ended;
} dusk__census_t;

void dusk__census_init(dusk__census_t *census, dusk__worker_t *worker);

/* Has `watcher`, if there is one, due last in the turn in which a connection
 * ends; or with `moves` also when one moves, or a request ends. */
void dusk__census_watch(dusk__census_t *census, dusk__task_t *watcher,
                        bool moves);

/* A connection was accepted for this loop, which need not know of it yet. The
 * thread that accepts. */
static inline void dusk__census_accept(dusk__census_t *census) {
  dusk__count(&census->conns_accepted, 1);
}

/* It is NEW. */
void dusk__census_enter(dusk__census_t *census, dusk__member_t *member,
                        uint64_t now_ms);

/* The only change of a phase. */
void dusk__census_move(dusk__census_t *census, dusk__member_t *member,
                       dusk__phase_t phase, uint64_t since_ms);

/* How it will have ended; before it begins to linger, or is over. */
void dusk__census_note_ending(dusk__member_t *member, dusk__ending_t ending);

/* A request has begun on an ACTIVE connection; has ended. */
void dusk__census_request_begun(dusk__census_t *census, dusk__member_t *member);
void dusk__census_request_ended(dusk__census_t *census, dusk__ending_t ending);

static inline bool dusk__census_is_over(const dusk__member_t *member) {
  return member->phase >= DUSK__OPEN_PHASES;
}

/* Whether it ended, or is about to, without a request of its own. */
static inline bool dusk__census_asked_nothing(const dusk__member_t *member) {
  return member->ending == DUSK__ENDED_IDLE || member->ending == DUSK__UNUSED;
}

/* Whether a drain waits for it. */
static inline bool dusk__census_is_awaited(const dusk__member_t *member) {
  return member->phase != DUSK__LINGERING ||
         !dusk__census_asked_nothing(member);
}

/* Those that have not ended, and of them those that a drain waits for. */
size_t dusk__census_open(const dusk__census_t *census);
size_t dusk__census_awaited(const dusk__census_t *census);

/* Calls `act` for each in that phase; it may move or end it. */
void dusk__census_each(dusk__census_t *census, dusk__phase_t phase,
                       void (*act)(dusk__member_t *member));

/* Of what was counted: the open ones, also those on their way. Any thread. */
uint64_t dusk__census_count_open(const dusk__census_t *census);

/* Adds what was counted. Any thread. */
void dusk__census_add(const dusk__census_t *census, dusk__tally_t *tally);

void dusk__tally_add(dusk__tally_t *tally, const dusk__tally_t *more);

/* Of a tally: those that are open, and running. */
uint64_t dusk__tally_open(const dusk__tally_t *tally);
uint64_t dusk__tally_running(const dusk__tally_t *tally);

#endif
