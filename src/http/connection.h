/* A connection: what becomes of it from accept to close. See connection.c. */
#ifndef DUSK_HTTP_CONNECTION_H
#define DUSK_HTTP_CONNECTION_H

#include "list.h"

#include <dusk/http.h>
#include <netinet/in.h>
#include <sys/socket.h>

typedef struct dusk__conn dusk__conn_t;
typedef struct dusk__exchange dusk__exchange_t;

typedef enum dusk__phase {
  DUSK__NEW,       /* accepted, has sent nothing */
  DUSK__ACTIVE,    /* from a request's first byte to its answer's end */
  DUSK__IDLE,      /* kept, between two requests */
  DUSK__LINGERING, /* half-closed by us, what still comes is discarded */
  DUSK__HIJACKED,  /* taken over by a handler */
  DUSK__CLOSED,
  DUSK__PHASES,
} dusk__phase_t;

/* How a connection ended, in the report's words. */
typedef enum dusk__ending {
  DUSK__ANSWERED,
  DUSK__UNANSWERED_IDLE,
  DUSK__UNUSED,
  DUSK__REFUSED,
  DUSK__TAKEN, /* hijacked */
  DUSK__CUT,
  DUSK__GONE, /* the client left in the middle of a request */
  DUSK__ENDINGS,
} dusk__ending_t;

/* What a connection waits for; each kind is a list in deadline order. */
typedef enum dusk__wait {
  DUSK__WAIT_HEADER,
  DUSK__WAIT_BODY,
  DUSK__WAIT_WRITE,
  DUSK__WAIT_IDLE,
  DUSK__WAIT_LINGER,
  DUSK__WAIT_QUIET, /* the drain's window for one more request */
  DUSK__WAITS,
  DUSK__WAIT_NOTHING = DUSK__WAITS,
} dusk__wait_t;

typedef union dusk__address {
  struct sockaddr any;
  struct sockaddr_in in;
  struct sockaddr_in6 in6;
} dusk__address_t;

/* An idle connection is this and no more: keep it small. */
struct dusk__conn {
  uv_tcp_t tcp; /* also a Unix socket's: libuv looks at the type only in calls
                 * that aren't made here */
  dusk_server_t *server;
  dusk__exchange_t *ex; /* while ACTIVE */
  dusk_context_t *ctx;  /* parent of its requests'; made when asked for */
  struct dusk__peer *peer;
  dusk__address_t address; /* the client's: a reset one can't be asked */
  dusk__link_t phase_link;
  dusk__link_t wait_link;
  uint64_t since_ms;      /* start of the phase, on the loop's clock */
  uint64_t deadline_ms;   /* of `wait` */
  uint32_t queued_writes; /* in libuv, not yet taken by the kernel */
  uint32_t requests;      /* begun */
  uint32_t written;       /* all ever, modulo 2^32 */
  uint32_t progress;  /* of it taken when the write's time-out last looked */
  uint32_t received;  /* all ever, modulo 2^32 */
  uint32_t batch_end; /* of the drain's batch, in these terms */
  uint16_t round_trip_ms; /* since a drain began, as is its peer */
  unsigned phase : 3;
  unsigned ending : 3; /* while LINGERING */
  unsigned wait : 3;
  bool looked : 1;     /* the drain has set batch_end */
  bool running : 1;    /* its requests are being advanced, up the stack */
  bool reading : 1;    /* libuv reads */
  bool moved : 1;      /* the peer sent or took bytes since `wait` was set */
  bool peer_ended : 1; /* end of stream was read */
  bool pipelines : 1;  /* a request came before the last one was answered */
  bool late : 1;       /* sent something after our half-close */
};

/* Gets what the next accepted socket needs, so that memory is missed while it
 * still is in its queue. */
int dusk__conn_prepare(dusk_server_t *server);
/* Takes an accepted, non-blocking socket of a client; to be prepared. On
 * failure `fd` is closed. */
int dusk__conn_accept(dusk_server_t *server, int fd,
                      const dusk__address_t *address);

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

/* A drain has begun: sets its time-outs anew. */
void dusk__conn_hurry(dusk__conn_t *conn);

/* Gives its socket up to *ret_fd (a duplicate). */
int dusk__conn_hijack(dusk__conn_t *conn, uv_os_sock_t *ret_fd);

/* The deadline of what it waited for has passed. Called by timeouts.c. */
void dusk__conn_expired(dusk__conn_t *conn, dusk__wait_t wait);

/* Its output went out, or not. Called by output.c. */
void dusk__conn_flushed(dusk__conn_t *conn, int err);

/* Unread bytes in the socket, 0 also when that can't be told. */
size_t dusk__conn_unread(const dusk__conn_t *conn);
/* Whether they are of a request: line ends alone are none (RFC 9112, 2.2). */
bool dusk__conn_pending(const dusk__conn_t *conn);
int dusk__conn_fd(const dusk__conn_t *conn);

/* Its context, made now if need be; NULL when memory ran out. */
dusk_context_t *dusk__conn_context(dusk__conn_t *conn);

/* Whether this is the thread that runs the server's loop. For assertions. */
bool dusk__server_on_thread(const dusk_server_t *server);

#endif
