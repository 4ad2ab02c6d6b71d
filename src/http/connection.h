/* A connection: what becomes of it from accept to close. See connection.c. */
#ifndef DUSK_HTTP_CONNECTION_H
#define DUSK_HTTP_CONNECTION_H

#include "address.h"
#include "census.h"
#include "policy.h"
#include "stream.h"

typedef struct dusk__conn dusk__conn_t;
typedef struct dusk__exchange dusk__exchange_t;

/* An idle connection is this and no more: keep it small. */
struct dusk__conn {
  dusk__stream_t stream;
  dusk__exchange_t *ex; /* while ACTIVE */
  dusk_context_t *ctx;  /* parent of its requests'; made when asked for */
  dusk__member_t member;
  dusk__timeout_t timeout;
  dusk__watched_t watched; /* since a drain began */
  dusk__address_t address; /* the client's: a reset one can't be asked */
  dusk__batch_t batch;
  uint32_t requests;  /* begun */
  bool running : 1;   /* its requests are being advanced, up the stack */
  bool pipelines : 1; /* a request came before the last one was answered */
  bool late : 1;      /* sent something after our half-close */
};

static inline dusk__conn_t *dusk__conn_of(dusk__member_t *member) {
  return DUSK__OWNER(member, dusk__conn_t, member);
}

/* An accepted, non-blocking socket of a client, in blank memory: any thread. */
void dusk__conn_init(dusk__conn_t *conn, int fd,
                     const dusk__address_t *address);
/* Begins to serve it. The memory is its own from then on. On failure `fd` is
 * closed. */
void dusk__conn_begin(dusk__conn_t *conn, dusk__worker_t *worker);

/* Goes on with whatever can go on: parses, dispatches, finishes, writes. To be
 * called when something changed that wasn't read from the socket. A request
 * that begins because of it is left to the loop's next turn. */
void dusk__conn_advance(dusk__conn_t *conn);
/* The same from a callback of the loop: new requests are dispatched, too. */
void dusk__conn_run(dusk__conn_t *conn);

/* Ends it now. The request that is running is told, and released when its
 * handler ends it. */
void dusk__conn_close(dusk__conn_t *conn, dusk__ending_t ending);

/* Closes by a reset, so that a body without a length doesn't look whole, and
 * nothing of it lingers in the kernel. */
void dusk__conn_reset(dusk__conn_t *conn, dusk__ending_t ending);

/* Ends it after its last answer, so that the client can read that. */
void dusk__conn_part(dusk__conn_t *conn, dusk__ending_t ending);

/* A request's first byte has come. */
void dusk__conn_become_active(dusk__conn_t *conn);

/* Ends a NEW or IDLE one, if nothing has come in from it meanwhile; else it is
 * looked at again in a moment. */
void dusk__conn_retire(dusk__conn_t *conn);

/* A drain has begun, or the connection came since: asks who its peer is. */
void dusk__conn_know_peer(dusk__conn_t *conn);
/* What has come by now is the batch that will be answered. */
void dusk__conn_look(dusk__conn_t *conn);
/* Sets its time-outs anew. */
void dusk__conn_hurry(dusk__conn_t *conn);
/* Cuts it: the drain's end. */
void dusk__conn_cut(dusk__conn_t *conn);

/* Whether a response whose header is written now must be the connection's
 * last, because the server stops. */
bool dusk__conn_is_last(dusk__conn_t *conn);

/* Gives its socket up to *ret_fd (a duplicate). */
int dusk__conn_hijack(dusk__conn_t *conn, uv_os_sock_t *ret_fd);

/* The deadline of what it waited for has passed: the worker's function. */
void dusk__conn_expired(dusk__timeout_t *timeout, dusk__wait_t wait);

/* What streams tell. */
extern const dusk__stream_events_t dusk__conn_events;

/* Its context, made now if need be; NULL when memory ran out. */
dusk_context_t *dusk__conn_context(dusk__conn_t *conn);

#endif
