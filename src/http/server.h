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

/* One loop, with all that each storey keeps for it. */
typedef struct dusk__lane {
  dusk__worker_t worker;
  dusk__gather_t gather;
  dusk__census_t census;
  dusk__policy_t policy;
  dusk__pool_t pool;
  dusk__drain_t drain;
} dusk__lane_t;

struct dusk_server {
  dusk_server_config_t config; /* defaults filled in */
  size_t refs;                 /* the caller's, and each lane's */
  bool owned;                  /* the caller's is one of them */

  dusk__acceptor_t acceptor; /* the rest belongs to the first lane's loop */
  dusk__seal_t seal;
  dusk__conn_t *next_conn; /* for the next accepted socket */
  dusk__task_t task;       /* callbacks, last in the loop's turn */
  dusk__link_t hooks;

  /* The stop: shutdown.c. */
  dusk_server_phase_t phase;
  dusk__plan_t plan;
  uv_timer_t cut_timer;   /* to the hard cancel, and from it to the cut */
  dusk__link_t shutdowns; /* the calls that wait */
  dusk__shutdown_t first; /* of them: a drain needs no memory to begin */
  dusk__link_t due_hooks; /* when the listeners have closed */
  dusk__tally_t before;   /* what was counted when the drain began */
  bool is_cancelled;      /* the hard cancel has come */
  int cut_status;         /* of a queue that was cut */
  uint64_t lame_duck_ns;
  uint64_t sealed_ns; /* 0: not yet */
  uint64_t ended_ns;

  dusk__lane_t lane;
};

static inline dusk__worker_t *dusk__server_worker(dusk_server_t *server) {
  return &server->lane.worker;
}

/* Whether this is the thread of the server's own loop. For assertions. */
static inline bool dusk__server_on_thread(const dusk_server_t *server) {
  return dusk__worker_on_thread(&server->lane.worker);
}

/* Adds up what the lanes counted. */
void dusk__server_tally(const dusk_server_t *server, dusk__tally_t *ret_tally);

/* All is over, and nobody owns it: closes what it still has open. */
void dusk__server_close_handles(dusk_server_t *server);
void dusk__server_release(dusk_server_t *server);

void dusk__server_free_hooks(dusk__link_t *hooks);

/* -- shutdown.c ------------------------------------------------------------ */

void dusk__shutdown_init(dusk_server_t *server);
/* The server's part of the loop's turn. */
void dusk__shutdown_on_turn(dusk__task_t *task);

#endif
