/* The drain. See drain.c. */
#ifndef DUSK_HTTP_DRAIN_H
#define DUSK_HTTP_DRAIN_H

#include "connection.h"
#include "peers.h"

/* One call of shutdown. */
typedef struct dusk__shutdown {
  dusk__link_t link;
  dusk_server_t *server;
  dusk_context_t *bound;
  dusk_waiter_t waiter;
  dusk_shutdown_cb cb;
  void *arg;
} dusk__shutdown_t;

typedef struct dusk__drain {
  dusk_server_phase_t phase;
  uv_timer_t cut_timer;   /* to the hard cancel, and from it to the cut */
  dusk__link_t shutdowns; /* the calls that wait */
  dusk__shutdown_t first; /* of them: a drain needs no memory to begin */
  uint64_t deadline_ns;   /* the nearest bound's; DUSK_OFF: none */
  uint64_t started_ns;
  uint64_t lame_duck_ns;
  uint64_t sealed_ns;      /* 0: not yet */
  uint64_t answered_ns;    /* the last time that no request was running */
  uint64_t windows_ns;     /* since when only windows hold it; 0: others do */
  uint64_t windows_sum_ns; /* what they held it before */
  uint64_t ended_ns;
  int status;
  dusk__link_t hooks; /* due when the listeners have closed */
  bool cancelled : 1; /* the hard cancel has come */
  char oldest[128];   /* of what was cancelled or cut */
  uint64_t oldest_ms;
  int close_err;                 /* of a listener */
  const dusk_cause_t *cut_cause; /* of what the bound or close cuts */

  dusk__peers_t peers;
  uint64_t renew_until_ms;   /* other connections' answers renew a window */
  uint64_t lame_answered_ms; /* the last answer in a lame duck */

  /* Since the drain began; before that, they count from the start. */
  uint64_t conns_open;
  uint64_t conns_accepted;
  uint64_t conns_ended[DUSK__ENDINGS];
  uint64_t conns_late;
  uint64_t conns_unconfirmed;
  uint64_t answers_unacknowledged;
  uint64_t requests_running_then;
  uint64_t requests_begun;
  uint64_t requests_ended[DUSK__ENDINGS];
  uint64_t requests_cancelled;
  uint64_t requests_now;
  size_t unawaited; /* LINGERING, but not waited for */
} dusk__drain_t;

void dusk__drain_init(dusk_server_t *server);
void dusk__drain_done(dusk_server_t *server);

/* Whether a response whose header is written now must be the connection's
 * last. */
bool dusk__drain_is_last(dusk__conn_t *conn);

/* Whether a drain waits for it: not for one that was half-closed without a
 * request of its own, and not for one that is over. */
static inline bool dusk__drain_waits_for(const dusk__conn_t *conn) {
  if (conn->phase != DUSK__LINGERING) return true;
  return conn->ending != DUSK__UNANSWERED_IDLE && conn->ending != DUSK__UNUSED;
}

/* The connection is there when the drain begins, or was accepted since. */
void dusk__drain_knows(dusk__conn_t *conn);

/* Until when, on the loop's clock, a connection that is idle or new may still
 * send a request; and the part of that which is the same for all, in ms. */
uint64_t dusk__drain_window_end(const dusk__conn_t *conn);
uint64_t dusk__drain_quiet_ms(const dusk_server_t *server);

/* A time-out, shortened in a drain to what a peer that moves nothing gets. */
uint64_t dusk__drain_patience_ms(const dusk_server_t *server,
                                 uint64_t timeout_ms);

/* A running request has ended, in the report's words. */
void dusk__drain_request_ended(dusk_server_t *server, dusk__ending_t ending);

/* The connection has left `from`, and the server doesn't just serve: notes when
 * its peer got an answer. */
void dusk__drain_conn_moved(dusk__conn_t *conn, dusk__phase_t from);
/* Whether it had an answer whose last byte its client, as far as is known, has
 * not acknowledged. */
bool dusk__drain_is_unacknowledged(const dusk__conn_t *conn);
/* The connection's socket is about to be closed: how it ends is counted. */
void dusk__drain_conn_closes(dusk__conn_t *conn);

/* A connection changed its phase, or a listener closed: is all over? */
void dusk__drain_check(dusk_server_t *server);

/* The part of the loop's turn that is the drain's: callbacks. */
void dusk__drain_on_turn(dusk_server_t *server);

#endif
