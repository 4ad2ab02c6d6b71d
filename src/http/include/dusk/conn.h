/* dusk/conn.h: a connection, as hooks and handlers may look at it. What holds
 * for all of these headers is in dusk/http.h. */
#ifndef DUSK_CONN_H
#define DUSK_CONN_H

#include <dusk/request.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Good from its first state to its last one, on its loop. */
typedef struct dusk_conn dusk_conn_t;

/* The request's; NULL when the connection has gone, or the request is over. */
DUSK_EXTERN dusk_conn_t *dusk_request_conn(const dusk_request_t *req);

/* Its two addresses, as dusk_request_peer tells one, NUL-terminated. Return the
 * length; UV_EINVAL, UV_ENOBUFS where it doesn't fit (80 bytes are enough),
 * local also what getsockname gives.
 * Go: Conn.RemoteAddr, http.LocalAddrContextKey. */
DUSK_EXTERN int dusk_conn_peer(const dusk_conn_t *conn, char *buf, size_t size);
DUSK_EXTERN int dusk_conn_local(const dusk_conn_t *conn, char *buf,
                                size_t size);

/* Its context, the parent of its requests': ends with dusk_client_gone, or with
 * the connection. Borrowed; made when first asked for. NULL when memory ran
 * out. */
DUSK_EXTERN dusk_context_t *dusk_conn_context(dusk_conn_t *conn);

/* What becomes of it, told by on_conn_state:
 *   new       it was accepted
 *   active    the first byte of a request has come; line ends are none
 *   idle      its answer is out, and the connection is kept
 *   hijacked, closed   nothing more is told of it
 * A half-closed connection that lingers is told as closed when it is.
 * Go: http.ConnState. */
typedef enum dusk_conn_state {
  DUSK_CONN_NEW,
  DUSK_CONN_ACTIVE,
  DUSK_CONN_IDLE,
  DUSK_CONN_HIJACKED,
  DUSK_CONN_CLOSED,
} dusk_conn_state_t;

/* "new", "active", "idle", "hijacked" or "closed". Any thread. */
DUSK_EXTERN const char *dusk_conn_state_text(dusk_conn_state_t state);

#ifdef __cplusplus
}
#endif

#endif
