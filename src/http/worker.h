/* A worker: one loop of a server, with its thread, turn, time-outs and
 * contexts; and, by name only, with what the storeys above keep for it. What it
 * has to tell goes upwards through functions that it was given. */
#ifndef DUSK_HTTP_WORKER_H
#define DUSK_HTTP_WORKER_H

#include "timeouts.h"

#include <dusk/http.h>

/* Something that is due in the loop's turn; embedded in its owner. */
typedef struct dusk__task {
  dusk__link_t link;
  void (*run)(struct dusk__task *task);
} dusk__task_t;

typedef struct dusk__worker {
  uv_loop_t *loop;
  uv_thread_t thread; /* that ran it when it last called us */
  bool is_closed;     /* nothing of the server goes on here any more */
  dusk_server_t *server;
  const dusk_server_config_t *config; /* the server's, defaults filled in */

  void *data;           /* the users': on_worker_start's */
  dusk_context_t *root; /* names the loop */
  dusk_context_t *ctx;  /* parent of the connections'; the hard cancel */
  dusk_context_t *draining;
  dusk_context_t *gone; /* has ended: for requests that were cut before they
                         * had a context */

  uv_check_t turn;
  uv_prepare_t watch; /* notes the thread; with assertions only */
  uv_idle_t no_block; /* while started, the loop doesn't wait for I/O */
  dusk__link_t tasks; /* due in this turn, in order */
  dusk__link_t last;  /* behind all of them */
  dusk__timeouts_t timeouts;

  struct dusk__gather *gather;
  struct dusk__census *census;
  struct dusk__policy *policy;
  struct dusk__pool *pool;

  /* That it is open, its handles, live connections, exchanges held by
   * handlers. */
  size_t refs;
  void (*unused)(struct dusk__worker *worker); /* refs is 0 */
  /* A connection's descriptor is about to be closed; or NULL. */
  void (*closing)(struct dusk__worker *worker, int fd);
  bool is_closing; /* its handles are */
} dusk__worker_t;

/* `root` names the loop, and is held until `unused` was called. */
void dusk__worker_init(dusk__worker_t *worker, dusk_context_t *root,
                       dusk__expired_cb expired,
                       void (*unused)(dusk__worker_t *worker));

/* Begins to close its handles; `unused` comes when they have closed, and all
 * else has gone. Does nothing the second time. False while a task is due, which
 * is to be run first: ask again behind it. */
bool dusk__worker_close(dusk__worker_t *worker);

static inline void dusk__worker_ref(dusk__worker_t *worker) {
  worker->refs++;
}
void dusk__worker_release(dusk__worker_t *worker);

/* Has the task run before the loop waits again: behind those that are due
 * already; `_last` behind all. */
void dusk__worker_at_turn(dusk__worker_t *worker, dusk__task_t *task);
void dusk__worker_at_turn_last(dusk__worker_t *worker, dusk__task_t *task);

/* The loop's clock, which is as old as its turn. */
static inline uint64_t dusk__now_ms(const dusk__worker_t *worker) {
  return uv_now(worker->loop);
}

/* Set anew: for time-outs, windows and durations after user code has run. */
static inline uint64_t dusk__fresh_ms(const dusk__worker_t *worker) {
  uv_update_time(worker->loop);
  return uv_now(worker->loop);
}

/* The loop has called: the thread that runs it is this one. */
static inline void dusk__worker_note_thread(dusk__worker_t *worker) {
#ifndef NDEBUG
  worker->thread = uv_thread_self();
#else
  (void)worker;
#endif
}

/* Whether this is the thread that runs the loop. For assertions. */
bool dusk__worker_on_thread(const dusk__worker_t *worker);

/* Calls on_error, if there is one. The server's own loop only. */
void dusk__worker_tell_error(dusk__worker_t *worker, int err, const char *text);

#endif
