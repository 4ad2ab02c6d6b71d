/* The server: one loop's listeners, connections, pools, timers and context. */
#ifndef DUSK_HTTP_SERVER_H
#define DUSK_HTTP_SERVER_H

#include "connection.h"
#include "exchange.h"
#include "drain.h"
#include "listener.h"
#include "output.h"
#include "seal.h"
#include "timeouts.h"

typedef struct dusk__hook {
  dusk__link_t link;
  void (*cb)(dusk_server_t *server, void *arg);
  void *arg;
} dusk__hook_t;

struct dusk_server {
  uv_loop_t *loop;
  uv_thread_t thread;          /* that ran it when it last called us */
  dusk_server_config_t config; /* defaults filled in */
  dusk_context_t *root;        /* names the loop; the embedder's */
  dusk_context_t *ctx;         /* parent of the connections'; the hard cancel */
  dusk_context_t *draining;
  dusk_context_t *gone; /* has ended: for requests that were cut before they
                         * had a context */

  dusk__link_t listeners;
  size_t listening; /* of them not yet closed */
  bool paused;      /* max_connections is reached */
  dusk__link_t conns[DUSK__PHASES];
  size_t conn_count[DUSK__PHASES];
  dusk__timeouts_t timeouts;
  dusk__output_t output;
  dusk__link_t spares; /* exchanges to be used again, with their buffers */
  size_t spare_count;
  dusk__link_t bare; /* and without */
  dusk__link_t held; /* without a connection, and not ended by their handlers */
  dusk__conn_t *next_conn;      /* for the next accepted socket */
  dusk__exchange_t *next_input; /* what libuv reads into for a connection that
                                 * has no exchange */

  /* What goes on at the end of the loop's turn: see dusk__server_at_turn. */
  uv_check_t turn;
  uv_prepare_t watch; /* notes the thread; with assertions only */
  uv_idle_t no_block; /* while started, the loop doesn't wait for I/O */
  dusk__link_t turn_exchanges;

  dusk__drain_t drain;
  dusk__seal_t seal;
  dusk__link_t hooks;

  /* Memory: the caller's reference, open handles, live connections, exchanges
   * held by handlers. */
  size_t refs;
  bool owned; /* the caller's is one of them */
  bool handles_closing;

  char date[40]; /* "Date: ...\r\n" */
  size_t date_len;
  uint64_t date_until_ms; /* on the loop's clock */
};

/* The loop's clock, which is as old as its turn. */
static inline uint64_t dusk__now_ms(const dusk_server_t *server) {
  return uv_now(server->loop);
}

/* Set anew: for time-outs, windows and durations after user code has run. */
static inline uint64_t dusk__fresh_ms(const dusk_server_t *server) {
  uv_update_time(server->loop);
  return uv_now(server->loop);
}

/* Those that have not ended. */
size_t dusk__server_connections(const dusk_server_t *server);

/* Calls on_error, if there is one. */
void dusk__server_tell_error(dusk_server_t *server, int err, const char *text);

/* The loop has called: the thread that runs it is this one. */
static inline void dusk__server_note_thread(dusk_server_t *server) {
#ifndef NDEBUG
  server->thread = uv_thread_self();
#else
  (void)server;
#endif
}

/* Has dusk__server_on_turn run before the loop waits again. */
void dusk__server_at_turn(dusk_server_t *server);
void dusk__server_defer(dusk_server_t *server, dusk__exchange_t *ex);

void dusk__server_free_hooks(dusk__link_t *hooks);

/* The `Date` line, made anew once a second. */
const char *dusk__server_date(dusk_server_t *server, size_t *ret_len);

void dusk__server_ref(dusk_server_t *server);
void dusk__server_release(dusk_server_t *server);
/* All is over: closes the server's own handles. */
void dusk__server_close_handles(dusk_server_t *server);

#endif
