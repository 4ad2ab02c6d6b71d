/* A connection: what becomes of it from accept to close. See connection.c. */
#ifndef DUSK_HTTP_CONNECTION_H
#define DUSK_HTTP_CONNECTION_H

#include "policy.h"
#include "steps.h"

typedef enum dusk__doom {
  DUSK__NOT_DOOMED,
  DUSK__TO_CLOSE,
  DUSK__TO_HIJACK,
} dusk__doom_t;

/* An idle connection is this and no more: keep it small. */
typedef struct dusk__conn {
  dusk__wire_t wire;
  dusk__exchange_t *ex; /* while ACTIVE */
  dusk__member_t member;
  dusk__timeout_t timeout;
  dusk__watched_t watched; /* since a drain began */
  unsigned doom : 2;       /* what is due when its steps have returned */
  bool is_running : 1;     /* its steps are on the stack */
  bool pipelines : 1;      /* a request came before the last one was answered */
  bool is_late : 1;        /* sent something after our half-close */
} dusk__conn_t;

static inline dusk__conn_t *dusk__conn_of(dusk__member_t *member) {
  return DUSK__OWNER(member, dusk__conn_t, member);
}

/* Of an exchange that is not cut off. */
static inline dusk__conn_t *dusk__conn_of_ex(const dusk__exchange_t *ex) {
  assert(ex->wire);
  return DUSK__OWNER(ex->wire, dusk__conn_t, wire);
}

/* An accepted, non-blocking socket of a client, in blank memory: any thread. */
void dusk__conn_init(dusk__conn_t *conn, int fd,
                     const dusk__address_t *address);
/* Begins to serve it. The memory is its own from then on. On failure the socket
 * is closed. */
void dusk__conn_begin(dusk__conn_t *conn, dusk__worker_t *worker);

/* Goes on with whatever can go on: parses, dispatches, finishes, writes. Does
 * nothing while it does so already, up the stack. */
void dusk__conn_go_on(dusk__conn_t *conn, dusk__calls_t calls);
/* The same in a callback of the loop, for an exchange: the pool's function. */
void dusk__conn_go_on_with(dusk__exchange_t *ex);

/* A time-out of its request's has been set: waits by that one from now on. */
void dusk__conn_wait_anew(dusk__conn_t *conn);

/* Lets go of its socket, of which somebody has a duplicate. */
void dusk__conn_hijack(dusk__conn_t *conn);

/* What streams and time-outs tell. */
extern const dusk__stream_events_t dusk__conn_events;
void dusk__conn_expired(dusk__timeout_t *timeout, dusk__wait_t wait);

/* -- In a stop ------------------------------------------------------------- */

/* A drain has begun, or the connection came since: asks who its peer is. */
void dusk__conn_know_peer(dusk__conn_t *conn);
/* Closes one that is IDLE, as its time-out does. */
void dusk__conn_close_idle(dusk__conn_t *conn);
/* What has come by now is the batch that will be answered. */
void dusk__conn_look(dusk__conn_t *conn);
/* Sets its time-outs anew. */
void dusk__conn_retime(dusk__conn_t *conn);
/* Cuts it: the drain's end. */
void dusk__conn_cut(dusk__conn_t *conn);

/* Whether a response whose header is written now must be the connection's
 * last, because the server stops. */
bool dusk__conn_is_last_of(dusk__conn_t *conn, dusk__stop_t stop);
static inline bool dusk__conn_is_last(dusk__conn_t *conn) {
  dusk__stop_t stop =
      dusk__policy_stop(dusk__stream_worker(&conn->wire.stream)->policy);
  return stop != DUSK__NO_STOP && dusk__conn_is_last_of(conn, stop);
}

#endif
