/* A server: what there is once, and its lanes as one. See lanes.c. */
#ifndef DUSK_HTTP_LANES_H
#define DUSK_HTTP_LANES_H

#include "lane.h"
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

/* For a loop's next turn. */
enum { DUSK__STUCK_MS = 100 };

struct dusk_server {
  dusk_server_config_t config;           /* defaults filled in */
  size_t refs;                           /* the caller's, and each lane's */
  void (*unused)(dusk_server_t *server); /* there are none */
  bool owned;                            /* the caller's is one of them */

  dusk__orders_t orders;

  dusk__acceptor_t acceptor; /* the rest belongs to the first lane's loop */
  dusk__seal_t seal;
  dusk__conn_t *next_conn; /* for the next accepted socket */
  dusk__task_t task;       /* callbacks, last in the loop's turn */
  bool is_watching;        /* who ends on any lane is told */
  bool keeps_none;         /* keep-alives are off */
  dusk__link_t hooks;

  /* The stop: shutdown.c. */
  dusk_server_phase_t phase;
  dusk__plan_t plan;
  uv_mutex_t peers_lock;  /* with several lanes only */
  uv_timer_t cut_timer;   /* to the hard cancel, from it to the cut, and from
                           * that to what is stuck */
  dusk__link_t shutdowns; /* the calls that wait */
  dusk__shutdown_t first; /* of them: a drain needs no memory to begin */
  dusk__link_t due_hooks; /* when the listeners have closed */
  dusk__tally_t before;   /* what was counted when the drain began */
  bool is_cancelled;      /* the hard cancel has come */
  int left_status;        /* of a queue that was cut */
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

/* Closes what is idle now. */
void dusk__lanes_close_idle(dusk_server_t *server);

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
