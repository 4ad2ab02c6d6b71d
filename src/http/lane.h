/* One loop that serves. See lane.c. */
#ifndef DUSK_HTTP_LANE_H
#define DUSK_HTTP_LANE_H

#include "connection.h"
#include "drain.h"

/* What the server says to all of its lanes, and they to it. */
typedef struct dusk__orders {
  dusk_server_t *server;
  dusk_context_t *ctx; /* parent of the lanes' and so of all requests' */
  dusk_context_t *draining;
  dusk_context_t *cancelling; /* the hard cancel, as an order */
  dusk_context_t *cutting;
  atomic_int cancel_status; /* of what is cancelled, and cut */
  atomic_int cut_status;
  uv_async_t wake; /* a lane has something to tell; with several only */
} dusk__orders_t;

/* A context of the server's on a lane's loop, whose end is an order. */
typedef struct dusk__order {
  dusk_context_t *ctx;
  dusk_waiter_t waiter;
} dusk__order_t;

/* One loop, with all that each storey keeps for it. The first is the
 * embedder's; the others run on threads of their own, and have what follows
 * `drain`. */
typedef struct dusk__lane {
  dusk__worker_t worker;
  dusk__orders_t *orders;
  size_t index;
  dusk_context_t *root; /* the loop's; a thread's is its own */
  dusk__gather_t gather;
  dusk__census_t census;
  dusk__policy_t policy;
  dusk__pool_t pool;
  dusk__drain_t drain;

  uv_loop_t loop;
  uv_thread_t thread;
  uv_sem_t started;
  int start_err;
  uv_async_t wake;    /* look into the inbox */
  uv_prepare_t retry; /* to end, while the users' still name the root */
  uv_idle_t spin;     /* for so many turns without waiting */
  int spins;
  dusk__task_t task;
  dusk__order_t drain_order;
  dusk__order_t cancel_order;
  dusk__order_t cut_order;
  bool is_watching; /* who ends, also before a drain */
  bool is_quitting;
  bool is_lost;          /* its loop could not be closed */
  atomic_bool has_heard; /* that it must end */
  atomic_bool is_over;   /* its drain is: nothing is left */
  atomic_bool has_ended; /* its thread is about to return */

  /* The server's: */
  bool is_made;   /* with a thread, that was not joined */
  bool is_passed; /* something, in this batch */
  bool is_left;   /* behind, past the bound: it is stuck */
  bool is_silent; /* it ends before the server has begun */

  uv_mutex_t lock;    /* of what follows, and of what the drain shows */
  dusk__link_t inbox; /* connections that were passed, by their member's link */
  bool is_sealed;     /* no more are */
  bool is_to_quit;
  bool is_watched;
  bool is_to_close_idle;
  uint64_t *fds; /* the set of its connections' descriptors */
  size_t fds_words;
} dusk__lane_t;

/* Furnishes it; nothing is made yet. */
void dusk__lane_init(dusk__lane_t *lane, size_t index, bool is_alone,
                     const dusk_server_config_t *config, dusk__plan_t *plan,
                     dusk__orders_t *orders);

/* What a loop, whose root it has, needs memory for; and gives that back. */
int dusk__lane_equip(dusk__lane_t *lane);
void dusk__lane_empty(dusk__lane_t *lane);

/* on_worker_start and on_worker_stop. */
int dusk__lane_tell_start(dusk__lane_t *lane);
void dusk__lane_tell_stop(dusk__lane_t *lane);

/* Any thread: how many connections are open there, or on their way. */
static inline uint64_t dusk__lane_open(const dusk__lane_t *lane) {
  return dusk__census_count_open(&lane->census);
}

/* Closes what is idle there. */
void dusk__lane_close_idle(dusk__lane_t *lane);

/* -- Those with a thread; the server's calls ------------------------------- */

/* Makes its loop and thread, and waits for on_worker_start. On failure it is to
 * be sent to its end and joined if it is_made, and else there is nothing. */
int dusk__lane_start(dusk__lane_t *lane);

/* A connection for it; then is_passed is set, and the wake-up is due. */
void dusk__lane_pass(dusk__lane_t *lane, dusk__conn_t *conn);
/* No more comes. */
void dusk__lane_seal(dusk__lane_t *lane);
/* It is to tell when one of its connections ends, from now on. */
void dusk__lane_watch(dusk__lane_t *lane);

/* It is to close what is idle there. */
void dusk__lane_order_close_idle(dusk__lane_t *lane);

/* Cuts the connections of a loop that doesn't turn: the descriptors stay that
 * loop's to close. */
void dusk__lane_shut(dusk__lane_t *lane);

void dusk__lane_send_to_end(dusk__lane_t *lane);
/* Waits for its thread. */
void dusk__lane_join(dusk__lane_t *lane);

#endif
