/* dusk/server.h: a server: configured, serving, shut down. What holds for all
 * of these headers is in dusk/http.h. */
#ifndef DUSK_SERVER_H
#define DUSK_SERVER_H

#include <dusk/conn.h>
#include <dusk/reply.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dusk_server dusk_server_t;

/* -- Server ---------------------------------------------------------------- */

/* `age_ms`: since the request's first byte. */
typedef void (*dusk_request_cut_cb)(dusk_request_t *req, uint64_t age_ms,
                                    void *arg);

/* `err` in words is dusk_strerror's; `text`, a sentence without an end, says
 * what it means. */
typedef void (*dusk_error_cb)(dusk_server_t *server, int err, const char *text,
                              void *arg);

/* A loop of the server begins, or ends; both on its thread. `index` counts from
 * 0, which is the loop of dusk_server_new's root; `root` is the loop's root,
 * borrowed, for what is to wait there. `server` only tells which one it is: its
 * functions are for its own loop, once dusk_server_new has returned.
 *   start  before dusk_server_new returns and a handler runs there. *data, NULL
 *          at first, is what dusk_request_worker_data gives from then on. A
 *          negative error that it returns is dusk_server_new's
 *   stop   once for each start that returned 0, when nothing of the server goes
 *          on there any more, but that handlers may still hold responses whose
 *          connections have gone. On loop 0 inside dusk_server_unref or later;
 *          on another, whose thread ends next, all that start and the handlers
 *          opened is to be closed: the loop turns until that is done. All have
 *          come when the server's loop has nothing of it any more, but for one
 *          that a handler keeps from turning
 */
typedef int (*dusk_worker_start_cb)(dusk_server_t *server, dusk_context_t *root,
                                    size_t index, void **data, void *arg);
typedef void (*dusk_worker_stop_cb)(dusk_server_t *server, dusk_context_t *root,
                                    size_t index, void *data, void *arg);

/* For `threads`: as many as there are processors for this process. */
#define DUSK_THREAD_A_CORE (UINT64_MAX - 1)

typedef void (*dusk_conn_state_cb)(dusk_conn_t *conn, dusk_conn_state_t state,
                                   void *arg);
typedef dusk_context_t *(*dusk_conn_context_cb)(dusk_conn_t *conn,
                                                dusk_context_t *base,
                                                void *arg);

/* Zero is the default told here, DUSK_OFF is none. It may grow, at its end; a
 * program goes on with a library that knows fewer fields, or more, unless it
 * sets one of those that the library doesn't know. */
typedef struct dusk_server_config {
  /* Answers every request; a dusk_mux_t's is dusk_mux_serve, with the mux as
   * its argument, which may not be freed before the server has gone. Required.
   */
  dusk_handler_cb handler;
  void *handler_arg;

  /* Parent of all requests' contexts, held until the server has gone; NULL: the
   * root given to dusk_server_new. Cancelling it ends requests, not the server.
   * Go: Server.BaseContext. */
  dusk_context_t *base;

  /* 1: how many loops serve, each on a thread: the one of dusk_server_new's
   * root, and threads - 1 that the server makes, with a root each. A connection
   * goes to the one with the fewest. At most 1,024. */
  uint64_t threads;

  dusk_worker_start_cb on_worker_start;
  dusk_worker_stop_cb on_worker_stop;
  void *on_worker_arg;

  uint64_t idle_timeout_ms;    /* 60 s: a kept connection without a request */
  uint64_t header_timeout_ms;  /* 10 s: a request's whole header; 408 */
  uint64_t body_timeout_ms;    /* 30 s: between two reads of a body; 408 */
  uint64_t write_timeout_ms;   /* 30 s: a client that takes no byte; cut */
  uint64_t request_timeout_ms; /* none: a request's context; 503 */

  uint64_t max_header_bytes; /* 64 KiB: request line and header; 414, 431 */
  uint64_t max_header_count; /* 500: header fields; 431 */
  uint64_t max_body_bytes;   /* 1 MiB: a request's body; 413 */
  uint64_t max_connections;  /* none: on all loops; beyond it clients wait in
                              * the backlog */
  uint64_t max_requests; /* none: of a connection; the last answer closes it */

  uint64_t quiet_window_ms; /* 1 s: in a drain an idle connection is closed
                             * this and its round trip after the last answer
                             * to its client's address; DUSK_OFF: at once, as
                             * Go does */
  uint64_t cancel_grace_ms; /* 250 ms: before the drain's bound contexts of
                             * running requests are cancelled; at most half
                             * of the bound */

  /* Called once a request, when dusk_response_on_end's hooks have been, also
   * for one that was refused before a handler got it (whose method and target
   * are "" if its request line can't be told, its version -1). The request may
   * still be read, its peer is known. */
  dusk_request_end_cb on_request_end;
  void *on_request_end_arg;

  /* Called once for each request that a handler still has when the drain's
   * bound or dusk_server_close is about to cut it; and when the drain ends,
   * before shutdown's callback, for each one whose connection has gone, or that
   * the server has answered itself, or was about to when a hook closed it, and
   * that its handler has not ended: each loop's when its own drain ends. It may
   * end it here. */
  dusk_request_cut_cb on_request_cut;
  void *on_request_cut_arg;

  /* Told what nobody else can be: that connections can't be accepted for now
   * (at first, and once a second while it lasts) or not before the end, and,
   * inside dusk_server_serve, that a seal may be slow. */
  dusk_error_cb on_error;
  void *on_error_arg;

  /* Shapes each error reply: the server's own (400, 408, 413, 414, 417, 431,
   * 501, 503, 505), a mux's (404, 405) and dusk_response_error's. NULL: plain
   * text. */
  dusk_error_reply_cb on_error_reply;
  void *on_error_reply_arg;

  /* Told of each connection's states, on its loop; nothing but what takes a
   * dusk_conn_t, and what takes no part of this server, may be called there.
   * Go: Server.ConnState. */
  dusk_conn_state_cb on_conn_state;
  void *on_conn_state_arg;

  /* Called for each connection, on its loop, before it is told as new: gives
   * the parent of its context (which can't be asked for here), `base` or what
   * descends from it, with values say; with a reference that the server
   * releases. NULL, when memory ran out, closes the connection.
   * Go: Server.ConnContext. */
  dusk_conn_context_cb on_conn_context;
  void *on_conn_context_arg;
} dusk_server_config_t;

/* dusk_server_new with the size of the caller's struct, for what can't call an
 * inline function; so it is with all that end in _sized. */
DUSK_EXTERN int
dusk_server_new_sized(dusk_context_t *root, const dusk_server_config_t *config,
                      size_t config_size,
                      dusk_server_t **ret_server) DUSK_CHECK_RESULT;

/* A server on the loop of `root`, which must outlive it; `config` is copied.
 * Owned by the caller until dusk_server_unref. Errors: UV_EINVAL, also where
 * `config` sets what the library doesn't know; UV_ENOMEM; UV_ENOTSUP where the
 * allocator's pointers carry tags (memory tagging on AArch64); what
 * on_worker_start, uv_thread_create, uv_loop_init, uv_timer_init and the like
 * give. */
static inline DUSK_CHECK_RESULT int
dusk_server_new(dusk_context_t *root, const dusk_server_config_t *config,
                dusk_server_t **ret_server) {
  return dusk_server_new_sized(root, config, sizeof(*config), ret_server);
}

/* Gives the caller's reference up; uv_loop_close fails before. A server that
 * has not been shut down is closed by it. The memory goes when the last handle,
 * connection and unended response have gone. NULL is a no-op; twice is a bug,
 * and the second one does nothing where assertions are off, as long as the
 * memory is there. */
DUSK_EXTERN void dusk_server_unref(dusk_server_t *server);

/* Why serving ended: DUSK_ESERVERCLOSED as soon as shutdown or close has begun
 * (requests may still be running: wait for shutdown's callback before leaving)
 * or the error by which accepting failed for good. */
typedef void (*dusk_serve_cb)(dusk_server_t *server, int err, void *arg);

/* Listens on `address` and serves it. May be called for several addresses.
 *   HOST:PORT  :PORT  [V6]:PORT  PORT 0: one that is free; a link-local V6
 *              has its zone with it: fe80::1%eth0
 *   unix:PATH  a socket file; one that nobody listens on is replaced, nothing
 *              else is (UV_EADDRINUSE)
 *   fd:N       a listening socket that was handed over; taken. In a shutdown
 *              it is closed and what is in its queue left to its other owner,
 *              a service manager or the next process
 *   fd:N:seal  the same for a socket without another owner: who is in its
 *              queue would be reset, so it is sealed as our own are
 * An address without host accepts IPv4 and IPv6, and so does [::], under whose
 * name both are told (there is none for IPv6 alone); 0.0.0.0 is IPv4 only,
 * other than in Go. Where there is no IPv6, one without host is 0.0.0.0. Once
 * it has returned 0, clients can connect, and `cb` (or NULL) runs once when
 * serving has ended. Errors, at once and without callback: UV_EINVAL for an
 * address that can't be read, DUSK_ESERVERCLOSED after shutdown or close
 * (nothing is opened), what getaddrinfo (numeric or local names only), bind and
 * listen give. Go: Server.ListenAndServe. */
DUSK_EXTERN int dusk_server_serve(dusk_server_t *server, const char *address,
                                  dusk_serve_cb cb,
                                  void *arg) DUSK_CHECK_RESULT;

/* Writes the address of the `index`-th listener, in the order of the calls, as
 * "127.0.0.1:8080", "[::]:8080" or "unix:PATH", NUL-terminated.
 * Errors: UV_ENOENT when there is none, UV_ENOBUFS when it doesn't fit. */
DUSK_EXTERN int dusk_server_address(const dusk_server_t *server, size_t index,
                                    char *buf, size_t size) DUSK_CHECK_RESULT;

/* Lame duck: while it is on, responses of all loops say `Connection: close` and
 * nothing else changes, so that it can be taken back. No effect once shutdown
 * began. */
DUSK_EXTERN void dusk_server_lame_duck(dusk_server_t *server, bool on);

/* Off: responses of all loops say `Connection: close`, and what is idle now is
 * closed; one whose header had gone out by then keeps its connection for one
 * more. On again: connections are kept as before. No effect once shutdown
 * began. Go: Server.SetKeepAlivesEnabled. */
DUSK_EXTERN void dusk_server_set_keep_alives(dusk_server_t *server, bool on);

/* -- Shutdown -------------------------------------------------------------- */

typedef enum dusk_server_phase {
  DUSK_SERVING,
  DUSK_LAME_DUCK,
  DUSK_DRAINING, /* sealing the listeners and draining the connections */
  DUSK_CLOSED,
} dusk_server_phase_t;

/* How handshakes that were half-way were waited for when the listeners were
 * sealed. The kernel refuses new ones, and tells of those (by sock_diag, by
 * /proc), or not, so that none can be left after 1.2 s; or it doesn't refuse
 * any (some want CAP_NET_ADMIN for it), and for 20 ms what comes is accepted.
 */
typedef enum dusk_seal {
  DUSK_SEAL_EXACT,
  DUSK_SEAL_SLOW,
  DUSK_SEAL_HELD,
  DUSK_SEAL_BLIND,
} dusk_seal_t;

/* What a drain did; may grow, at its end. In the end it adds up:
 * conns_open + conns_accepted = the seven conns_ counts below them;
 * requests_running + requests_begun = the four requests_ counts below them. */
typedef struct dusk_report {
  dusk_server_phase_t phase;
  int status; /* as given to shutdown's callback */

  uint64_t conns_open;     /* when the drain began */
  uint64_t conns_accepted; /* since, out of the backlog */
  uint64_t conns_answered; /* closed after an answer */
  uint64_t conns_idle;     /* closed idle: no further request came */
  uint64_t conns_unused;   /* closed without having sent a byte */
  uint64_t conns_refused;  /* timed out, or refused by an error reply */
  uint64_t conns_hijacked;
  uint64_t conns_cut;
  uint64_t conns_gone; /* the client left in the middle of a request */

  /* Of conns_idle and conns_unused: those from which a request came after we
   * had half-closed, and is lost; and those whose client had not closed its
   * side when we went, so that one may have been on its way. With clients that
   * don't pipeline, and without cuts: late <= lost <= late + unconfirmed. */
  uint64_t conns_late;
  uint64_t conns_unconfirmed;
  /* Closed when the client had not yet acknowledged an answer's last byte: on
   * its way as a rule, but one that a cut closes may be lost. */
  uint64_t answers_unacknowledged;

  dusk_seal_t seal;
  uint64_t queue_sealed; /* in the accept queues when sealing began */
  uint64_t queue_left;   /* left in the queues of TCP listeners that were handed
                          * over; or reset, by a cut or for want of descriptors,
                          * and then the status isn't 0 */
  uint64_t handshakes_left; /* given up: half-way for more than 1.2 s, or at a
                             * cut */

  uint64_t
      requests_running;    /* when the drain began, from their first byte on */
  uint64_t requests_begun; /* since */
  uint64_t requests_answered;
  uint64_t requests_refused; /* answered by an error reply of the server's */
  uint64_t requests_cut;
  uint64_t requests_gone; /* their client left */

  uint64_t requests_cancelled; /* told by the hard cancel, however they ended */
  uint64_t requests_unended;   /* that are over (counted above, or before the
                                * drain), and whose handlers have not ended
                                * their responses up to now */

  uint64_t conns_now;    /* still there */
  uint64_t requests_now; /* still running */

  uint64_t lame_duck_ms; /* before the drain */
  uint64_t answered_ms;  /* from the drain's start to the last request's end */
  uint64_t window_ms;    /* in which nothing but quiet windows held it; of
                          * several loops the one that they held longest */
  uint64_t seal_ms;      /* from the drain's start to the listeners' end */
  uint64_t drain_ms;     /* from the drain's start to its end, or until now */
  uint64_t left_ms;      /* to the bound; DUSK_OFF: none */

  char oldest[128];   /* request line of the oldest running request, or "" */
  uint64_t oldest_ms; /* its age */

  char unended[128];   /* the same of the oldest of requests_unended; of other
                        * loops as they were when a connection last ended */
  uint64_t unended_ms; /* from its first byte until now */
} dusk_report_t;

/* Fills *ret_report with the drain so far, of all loops. */
DUSK_EXTERN void dusk_server_report_sized(const dusk_server_t *server,
                                          dusk_report_t *ret_report,
                                          size_t report_size);
static inline void dusk_server_report(const dusk_server_t *server,
                                      dusk_report_t *ret_report) {
  dusk_server_report_sized(server, ret_report, sizeof(*ret_report));
}

/* Writes a report as one line for people, or as one JSON object; without line
 * end, NUL-terminated, cut to `size`. Return the length of the whole text. Any
 * thread. */
DUSK_EXTERN size_t dusk_report_text_sized(const dusk_report_t *report,
                                          size_t report_size, char *buf,
                                          size_t size);
DUSK_EXTERN size_t dusk_report_json_sized(const dusk_report_t *report,
                                          size_t report_size, char *buf,
                                          size_t size);
static inline size_t dusk_report_text(const dusk_report_t *report, char *buf,
                                      size_t size) {
  return dusk_report_text_sized(report, sizeof(*report), buf, size);
}
static inline size_t dusk_report_json(const dusk_report_t *report, char *buf,
                                      size_t size) {
  return dusk_report_json_sized(report, sizeof(*report), buf, size);
}

/* `status`: 0 when everything was answered; UV_ETIMEDOUT or UV_ECANCELED when
 * the bound's end, or dusk_server_close, cancelled or cut something;
 * UV_ECONNABORTED when one was cut before that, for standing still or by its
 * handler; else the error that emptying or closing a listener met. The server
 * may be unreferenced here. */
typedef void (*dusk_shutdown_cb)(dusk_server_t *server, int status, void *arg);

/* Shuts the server down without losing a request: seals the listeners and
 * closes them, closes idle connections, lets running requests finish, and calls
 * `cb` in the loop's turn in which the last connection went; where that was on
 * another loop, in the server's next turn. The end of `bound`, which the server
 * holds a reference of, bounds all of it: cancel_grace before its deadline the
 * contexts of the requests that are left are cancelled, with
 * dusk_drain_cancelled, and at the deadline they are cut. A bound that is
 * cancelled does both at once, with the grace in between. A handler that keeps
 * another loop than the server's from turning keeps no `cb` waiting: 100 ms
 * after the cut its loop's connections are shut without it, and the report
 * counts them as cut. Should that loop turn again, it still tells
 * on_request_cut, on_request_end and on_worker_stop, so their `arg` must be
 * there; until then the server's own loop has an unreferenced handle of it:
 * uv_run doesn't wait, and uv_loop_close gives UV_EBUSY.
 *
 * May be called before serving, and again: later calls wait too, and their
 * bounds can only bring the end nearer. `cb` runs once for each call, never
 * inside it, serve's callbacks and on_shutdown's hooks before it.
 * Errors: UV_EINVAL (a NULL bound is no "no bound"); UV_ENOMEM, but not for
 * the first call: what it needs was made with the server.
 * Go: Server.Shutdown. */
DUSK_EXTERN int dusk_server_shutdown(dusk_server_t *server,
                                     dusk_context_t *bound, dusk_shutdown_cb cb,
                                     void *arg) DUSK_CHECK_RESULT;

/* Cuts everything at once: listeners, and connections whatever they do; their
 * requests' contexts are cancelled with dusk_server_closed. Waiting shutdowns
 * are called back, with 0 if nothing was cut and UV_ECANCELED else. May be
 * called twice, and on a server that never served. Runs no hooks.
 * Go: Server.Close. */
DUSK_EXTERN void dusk_server_close(dusk_server_t *server);

/* Registers a hook that is called once in a shutdown, when the listeners have
 * been sealed and closed, and not waited for; hooks run in the order of
 * registration. One that is registered later is not called.
 * Errors: UV_EINVAL, UV_ENOMEM. Go: Server.RegisterOnShutdown. */
DUSK_EXTERN int dusk_server_on_shutdown(dusk_server_t *server,
                                        void (*cb)(dusk_server_t *server,
                                                   void *arg),
                                        void *arg) DUSK_CHECK_RESULT;

/* The context that is cancelled when a drain begins; it is no error: requests
 * stay live. Streams, long polls and hijacked connections watch it and end by
 * themselves. Borrowed from the server. */
DUSK_EXTERN dusk_context_t *dusk_server_draining(dusk_server_t *server);

#ifdef __cplusplus
}
#endif

#endif
