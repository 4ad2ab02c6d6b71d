/* The server: its lanes, one a loop, and what there is once. */
#ifndef DUSK_HTTP_SERVER_H
#define DUSK_HTTP_SERVER_H

#include "connection.h"
#include "drain.h"
#include "exchange.h"
#include "seal.h"

typedef struct dusk__hook {
  dusk__link_t link;
  void (*cb)(dusk_server_t *server, void *arg);
  void *arg;
} dusk__hook_t;

/* One call of shutdown. */
typedef struct dusk__shutdown {
  dusk__link_t link;
  dusk_server_t *server;
  dusk_context_t *bound;
  dusk_waiter_t waiter;
  dusk_shutdown_cb cb;
  void *arg;
} dusk__shutdown_t;

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
  uint64_t *fds; /* the set of its connections' descriptors */
  size_t fds_words;
} dusk__lane_t;

/* For a loop's next turn. */
enum { DUSK__STUCK_MS = 100 };

struct dusk_server {
  dusk_server_config_t config;           /* defaults filled in */
  size_t refs;                           /* the caller's, and each lane's */
  void (*unused)(dusk_server_t *server); /* there are none */
  bool owned;                            /* the caller's is one of them */

  dusk_context_t *ctx; /* parent of the lanes' and so of all requests' */
  dusk_context_t *draining;
  dusk_context_t *cancelling; /* the hard cancel, as an order */
  dusk_context_t *cutting;

  dusk__acceptor_t acceptor; /* the rest belongs to the first lane's loop */
  dusk__seal_t seal;
  dusk__conn_t *next_conn; /* for the next accepted socket */
  dusk__task_t task;       /* callbacks, last in the loop's turn */
  uv_async_t wake;         /* a lane has something to tell; with several only */
  bool is_watching;        /* who ends on any lane is told */
  dusk__link_t hooks;

  /* The stop: shutdown.c. */
  dusk_server_phase_t phase;
  dusk__plan_t plan;
  uv_mutex_t peers_lock;    /* with several lanes only */
  uv_timer_t cut_timer;     /* to the hard cancel, from it to the cut, and from
                             * that to what is stuck */
  dusk__link_t shutdowns;   /* the calls that wait */
  dusk__shutdown_t first;   /* of them: a drain needs no memory to begin */
  dusk__link_t due_hooks;   /* when the listeners have closed */
  dusk__tally_t before;     /* what was counted when the drain began */
  bool is_cancelled;        /* the hard cancel has come */
  int left_status;          /* of a queue that was cut */
  atomic_int cancel_status; /* of what is cancelled, and cut */
  atomic_int cut_status;
  uint64_t lame_duck_ns;
  uint64_t sealed_ns; /* 0: not yet */
  uint64_t ended_ns;

  size_t lane_count;
  dusk__lane_t lanes[];
};

static inline dusk__worker_t *dusk__server_worker(dusk_server_t *server) {
  return &server->lanes[0].worker;
}

/* Whether this is the thread of the server's own loop. For assertions. */
static inline bool dusk__server_on_thread(const dusk_server_t *server) {
  return dusk__worker_on_thread(&server->lanes[0].worker);
}

/* Has the server's task run, last in its loop's turn. */
static inline void dusk__server_at_turn(dusk_server_t *server) {
  dusk__worker_at_turn_last(dusk__server_worker(server), &server->task);
}

static inline void dusk__server_release(dusk_server_t *server) {
  assert(server->refs > 0);
  if (--server->refs == 0) server->unused(server);
}

/* -- shutdown.c ------------------------------------------------------------ */

void dusk__shutdown_init(dusk_server_t *server);
void dusk__shutdown_done(dusk_server_t *server);
/* The server's part of the loop's turn. */
void dusk__shutdown_on_turn(dusk__task_t *task);

/* -- lanes.c --------------------------------------------------------------- */

/* Makes all lanes, and starts the threads. On failure nothing is left. */
int dusk__lanes_start(dusk_server_t *server, dusk_context_t *root);

/* What the acceptor passes goes to the lane with the fewest; `_passed` tells
 * those that got some. */
void dusk__lanes_pass(dusk_server_t *server, dusk__conn_t *conn);
void dusk__lanes_passed(dusk_server_t *server);
/* No more comes. */
void dusk__lanes_seal(dusk_server_t *server);

/* Whoever ends is to have the server's task run from now on; and as long as
 * there is no listener, the server's loop goes on for those on other loops. */
void dusk__lanes_watch(dusk_server_t *server);

/* Begin to drain, note the hard cancel, have the other loops cut, cut here. */
void dusk__lanes_drain(dusk_server_t *server);
void dusk__lanes_cancel(dusk_server_t *server, int status);
void dusk__lanes_order_cut(dusk_server_t *server, int status);
void dusk__lanes_cut(dusk_server_t *server, int status);

/* Checks the first lane's drain. Whether the drains of all are over, but for
 * those that were left behind. */
bool dusk__lanes_are_over(dusk_server_t *server);
/* Leaves behind those that are not over. */
void dusk__lanes_leave(dusk_server_t *server);

/* Ends the threads, and the server's part of its own loop, with its other
 * handles; then each lane releases the server. Does nothing the second time. */
void dusk__lanes_quit(dusk_server_t *server);

/* Adds up what the lanes counted, and what their drains tell. Those that were
 * left behind have cut what they had. */
void dusk__lanes_tally(const dusk_server_t *server, dusk__tally_t *ret_tally);
void dusk__lanes_drained(const dusk_server_t *server,
                         dusk__drained_t *ret_drained);

#endif
