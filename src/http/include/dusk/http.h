/* dusk/http.h: an HTTP/1.1 server on libuv that knows how to end.
 *
 * It has the shape of Go's net/http: a handler or a mux, a server with
 * timeouts and limits, and a shutdown bounded by a context.
 *
 * Threads: all functions belong to the thread of the server's loop, and all
 * callbacks run there; with assertions on, the wrong thread stops the program.
 * Whoever takes the loop over from a thread that ran it uses the server only
 * once it has closed. The library never logs, exits, or touches signals, with
 * one exception: the first server made sets SIGPIPE to ignored if it finds its
 * default disposition, since libuv writes without MSG_NOSIGNAL and a client
 * that hangs up must cost a UV_EPIPE, not the process.
 *
 * Strict C: see dusk/context.h.
 *
 * Errors: see dusk/error.h. On failure outputs (ret_...) are untouched.
 * Strings given to the library are borrowed until the call returns, unless a
 * function says otherwise; strings it gives live as long as their object.
 *
 * Requests and responses are handles: pointers to be given back, never to be
 * looked into or compared but for equality. Each names one message. One that is
 * used after its end (see dusk_handler_cb) does nothing and reaches nobody
 * else: functions give UV_ECANCELED, or NULL, "", 0 or false; but with
 * assertions on the program stops there, and under AddressSanitizer that tells
 * who had ended it. This holds as long as the server is there, and for the next
 * million messages of the same memory (x86-64, AArch64); where pointers have no
 * bits to spare (32 bits), for the next few, and what was used longest ago is
 * used anew first. For this some 700 bytes stay with the server for each
 * request that ever ran at the same time. */
#ifndef DUSK_HTTP_H
#define DUSK_HTTP_H

#include <dusk/context.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dusk_server dusk_server_t;
typedef struct dusk_request dusk_request_t;
typedef struct dusk_response dusk_response_t;

/* -- Handlers -------------------------------------------------------------- */

/* Answers a request; called when its header is complete, one request of a
 * connection at a time. It ends its response before it returns or later, from
 * any callback on the loop; it must end it, also when the client has gone:
 * request and response stay valid until it does, and no longer, except that
 * within the handler's own call, and in every callback that is given one of
 * them, they outlive the end of the response. When the connection was cut, or
 * the server has answered in the handler's stead (after request_timeout, or a
 * body that failed), writes give UV_ECANCELED and end only releases.
 * Go: http.Handler. */
typedef void (*dusk_handler_cb)(dusk_response_t *res, dusk_request_t *req,
                                void *arg);

/* -- Server ---------------------------------------------------------------- */

/* How a finished request went, for access logs. */
typedef struct dusk_request_end {
  int status;           /* 0: no response header was sent */
  uint64_t body_bytes;  /* of the response, as written; where the connection was
                         * cut not all of it need have gone out */
  uint64_t duration_ms; /* from the request's first byte, on the loop's clock */
  int err;              /* 0, or why the response is not whole */
  const dusk_cause_t *cause; /* why the request ended; never NULL */
} dusk_request_end_t;

typedef void (*dusk_request_end_cb)(dusk_request_t *req,
                                    const dusk_request_end_t *end, void *arg);

/* `age_ms`: since the request's first byte. */
typedef void (*dusk_request_cut_cb)(dusk_request_t *req, uint64_t age_ms,
                                    void *arg);

/* `err` in words is dusk_strerror's; `text`, a sentence without an end, says
 * what it means. */
typedef void (*dusk_error_cb)(dusk_server_t *server, int err, const char *text,
                              void *arg);

/* Zero is the default told here, DUSK_OFF is none. */
typedef struct dusk_server_config {
  /* Answers every request; a dusk_mux_t's is dusk_mux_serve, with the mux as
   * its argument. Required. */
  dusk_handler_cb handler;
  void *handler_arg;

  /* Parent of all requests' contexts, held until the server has gone; NULL: the
   * root given to dusk_server_new. Cancelling it ends requests, not the server.
   * Go: Server.BaseContext. */
  dusk_context_t *base;

  uint64_t idle_timeout_ms;    /* 60 s: a kept connection without a request */
  uint64_t header_timeout_ms;  /* 10 s: a request's whole header; 408 */
  uint64_t body_timeout_ms;    /* 30 s: between two reads of a body; 408 */
  uint64_t write_timeout_ms;   /* 30 s: a client that takes no byte; cut */
  uint64_t request_timeout_ms; /* none: a request's context; 503 */

  uint64_t max_header_bytes; /* 64 KiB: request line and header; 414, 431 */
  uint64_t max_header_count; /* 500: header fields; 431 */
  uint64_t max_body_bytes;   /* 1 MiB: a request's body; 413 */
  uint64_t max_connections;  /* none: beyond it clients wait in the backlog */
  uint64_t max_requests; /* none: of a connection; the last answer closes it */

  uint64_t quiet_window_ms; /* 1 s: in a drain an idle connection is closed
                             * this and its round trip after the last answer
                             * to its client's address; DUSK_OFF: at once, as
                             * Go does */
  uint64_t cancel_grace_ms; /* 250 ms: before the drain's bound contexts of
                             * running requests are cancelled; at most half
                             * of the bound */

  /* Called once a request, also for one that was refused before a handler got
   * it (whose method and target are "" if its request line can't be told, its
   * version -1). The request may still be read, its peer is known. When:
   *   answered      when the handler has ended the response, all of it has been
   *                 handed to the kernel, or to the one write of a pipelined
   *                 batch, and the request's body has been read or given up;
   *                 err 0, cause dusk_response_ended
   *   refused       when the server's own reply has been handed over likewise,
   *                 also when a handler still holds the request; err 0, cause
   *                 dusk_timed_out (408, and 503 after request_timeout), else
   *                 dusk_response_ended
   *   too short     as answered; DUSK_ESHORT, dusk_response_ended
   *   aborted       as answered; UV_ECANCELED, dusk_connection_cut, or what
   *                 made the handler do so if it is known: dusk_client_gone,
   *                 dusk_timed_out
   *   reset         inside dusk_response_reset, or when the callback that calls
   *                 it returns; UV_ECANCELED, dusk_connection_cut
   *   hijacked      likewise; 0, dusk_response_ended
   *   client gone   when the handler ends what has no connection any more;
   *                 UV_ECONNRESET, dusk_client_gone
   *   timed out     likewise, for want of a moving client (write_timeout) or
   *                 after request_timeout in the middle of an answer;
   *                 UV_ETIMEDOUT, dusk_timed_out
   *   cut           likewise, by the drain, by close, or for want of memory;
   *                 UV_ECANCELED, dusk_drain_cancelled, dusk_server_closed,
   *                 dusk_connection_cut
   * A handler that never ends its response is told by on_request_cut, and in
   * the report. */
  dusk_request_end_cb on_request_end;
  void *on_request_end_arg;

  /* Called once for each request that a handler still has when the drain's
   * bound or dusk_server_close is about to cut it; and when the drain ends,
   * before shutdown's callback, for each one whose connection has gone, or that
   * the server has answered itself, and that its handler has not ended. It may
   * end it here. */
  dusk_request_cut_cb on_request_cut;
  void *on_request_cut_arg;

  /* Told what nobody else can be: that connections can't be accepted for now
   * (at first, and once a second while it lasts) or not before the end, and,
   * inside dusk_server_serve, that a seal may be slow. */
  dusk_error_cb on_error;
  void *on_error_arg;
} dusk_server_config_t;

/* A server on the loop of `root`, which must outlive it; `config` is copied.
 * Owned by the caller until dusk_server_unref. Errors: UV_EINVAL, UV_ENOMEM,
 * UV_ENOTSUP where the allocator's pointers carry tags (memory tagging on
 * AArch64), what uv_timer_init and the like give. */
DUSK_EXTERN int dusk_server_new(dusk_context_t *root,
                                const dusk_server_config_t *config,
                                dusk_server_t **ret_server);

/* Gives the caller's reference up; uv_loop_close fails before. A server that
 * has not been shut down is closed by it. The memory goes when the last handle,
 * connection and unended response have gone. NULL is a no-op. */
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
                                  dusk_serve_cb cb, void *arg);

/* Writes the address of the `index`-th listener, in the order of the calls, as
 * "127.0.0.1:8080", "[::]:8080" or "unix:PATH", NUL-terminated.
 * Errors: UV_ENOENT when there is none, UV_ENOBUFS when it doesn't fit. */
DUSK_EXTERN int dusk_server_address(const dusk_server_t *server, size_t index,
                                    char *buf, size_t size);

/* Lame duck: while it is on, responses say `Connection: close` and nothing
 * else changes, so that it can be taken back. No effect once shutdown began. */
DUSK_EXTERN void dusk_server_lame_duck(dusk_server_t *server, bool on);

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

/* What a drain did. In the end it adds up:
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
  uint64_t window_ms;    /* in which nothing but quiet windows held it */
  uint64_t seal_ms;      /* from the drain's start to the listeners' end */
  uint64_t drain_ms;     /* from the drain's start to its end, or until now */
  uint64_t left_ms;      /* to the bound; DUSK_OFF: none */

  char oldest[128];   /* request line of the oldest running request, or "" */
  uint64_t oldest_ms; /* its age */
} dusk_report_t;

/* Fills *ret_report with the drain so far. */
DUSK_EXTERN void dusk_server_report(const dusk_server_t *server,
                                    dusk_report_t *ret_report);

/* Writes a report as one line for people, or as one JSON object; without line
 * end, NUL-terminated, cut to `size`. Return the length of the whole text. */
DUSK_EXTERN size_t dusk_report_text(const dusk_report_t *report, char *buf,
                                    size_t size);
DUSK_EXTERN size_t dusk_report_json(const dusk_report_t *report, char *buf,
                                    size_t size);

/* `status`: 0 when everything was answered; UV_ETIMEDOUT or UV_ECANCELED when
 * the bound's end, or dusk_server_close, cancelled or cut something;
 * UV_ECONNABORTED when one was cut before that, for standing still or by its
 * handler; else the error that emptying or closing a listener met. The server
 * may be unreferenced here. */
typedef void (*dusk_shutdown_cb)(dusk_server_t *server, int status, void *arg);

/* Shuts the server down without losing a request: seals the listeners and
 * closes them, closes idle connections, lets running requests finish, and calls
 * `cb` in the loop's turn in which the last connection went. The end of
 * `bound`, which the server holds a reference of, bounds all of it:
 * cancel_grace before its deadline the contexts of the requests that are left
 * are cancelled, with dusk_drain_cancelled, and at the deadline they are cut. A
 * bound that is cancelled does both at once, with the grace in between.
 *
 * May be called before serving, and again: later calls wait too, and their
 * bounds can only bring the end nearer. `cb` runs once for each call, never
 * inside it, serve's callbacks and on_shutdown's hooks before it.
 * Errors: UV_EINVAL (a NULL bound is no "no bound"); UV_ENOMEM, but not for
 * the first call: what it needs was made with the server.
 * Go: Server.Shutdown. */
DUSK_EXTERN int dusk_server_shutdown(dusk_server_t *server,
                                     dusk_context_t *bound, dusk_shutdown_cb cb,
                                     void *arg);

/* Cuts everything at once: listeners, and connections whatever they do; their
 * requests' contexts are cancelled with dusk_server_closed. Waiting shutdowns
 * are called back, with 0 if nothing was cut and UV_ECANCELED else. May be
 * called twice, and on a server that never served. Runs no hooks.
 * Go: Server.Close. */
DUSK_EXTERN void dusk_server_close(dusk_server_t *server);

/* The causes that request contexts of a drained or closed server end with. */
DUSK_EXTERN extern const dusk_cause_t dusk_drain_cancelled;
DUSK_EXTERN extern const dusk_cause_t dusk_server_closed;
/* ... when the connection was cut for another reason: its handler's wish, or
 * want of memory; when a time-out of the server's has passed; when the client
 * went away; and when the response has ended. */
DUSK_EXTERN extern const dusk_cause_t dusk_connection_cut;
DUSK_EXTERN extern const dusk_cause_t dusk_timed_out;
DUSK_EXTERN extern const dusk_cause_t dusk_client_gone;
DUSK_EXTERN extern const dusk_cause_t dusk_response_ended;

/* Registers a hook that is called once in a shutdown, when the listeners have
 * been sealed and closed, and not waited for; hooks run in the order of
 * registration. One that is registered later is not called.
 * Errors: UV_EINVAL, UV_ENOMEM. Go: Server.RegisterOnShutdown. */
DUSK_EXTERN int dusk_server_on_shutdown(dusk_server_t *server,
                                        void (*cb)(dusk_server_t *server,
                                                   void *arg),
                                        void *arg);

/* The context that is cancelled when a drain begins; it is no error: requests
 * stay live. Streams, long polls and hijacked connections watch it and end by
 * themselves. Borrowed from the server. */
DUSK_EXTERN dusk_context_t *dusk_server_draining(dusk_server_t *server);

/* -- Request --------------------------------------------------------------- */

/* The method, "GET"; the target as sent, "/a%20b?x=1"; its path, still encoded,
 * "/a%20b"; its query without '?', "x=1", or "" (also for "?"). A target in
 * absolute form has its path here; NULL when memory ran out. The minor version:
 * 1 for HTTP/1.1, -1 for a refused request whose version isn't known or none of
 * ours. The host: from an absolute target, else the Host field, else
 * "". */
DUSK_EXTERN const char *dusk_request_method(const dusk_request_t *req);
DUSK_EXTERN const char *dusk_request_target(const dusk_request_t *req);
DUSK_EXTERN const char *dusk_request_path(dusk_request_t *req);
DUSK_EXTERN const char *dusk_request_query(dusk_request_t *req);
DUSK_EXTERN const char *dusk_request_host(dusk_request_t *req);
DUSK_EXTERN int dusk_request_version_minor(const dusk_request_t *req);

/* The first field of that name, any case, without white space around it; NULL
 * if there is none. */
DUSK_EXTERN const char *dusk_request_header(const dusk_request_t *req,
                                            const char *name);
/* The fields in the order received, name and value; false past the last. For
 * repeated fields compare names with strcasecmp. */
DUSK_EXTERN bool dusk_request_header_at(const dusk_request_t *req, size_t index,
                                        const char **ret_name,
                                        const char **ret_value);
/* The same for the trailer of a chunked body, there once the body is complete.
 */
DUSK_EXTERN const char *dusk_request_trailer(const dusk_request_t *req,
                                             const char *name);

/* Copies the value of the query's first parameter that is `name` once its '+'
 * and %XX are decoded to `buf`, decoded, NUL-terminated. Returns its length,
 * UV_ENOENT when there is none, UV_EINVAL for a bad escape or a NUL byte,
 * UV_ENOBUFS when it doesn't fit. */
DUSK_EXTERN int dusk_request_query_value(dusk_request_t *req, const char *name,
                                         char *buf, size_t size);

/* Decodes %XX of a NUL-terminated `text`, as above. */
DUSK_EXTERN int dusk_percent_decode(const char *text, char *buf, size_t size);

/* The peer's address, "127.0.0.1:40312", "[::1]:40312" or, with its zone,
 * "[fe80::1%eth0]:40312"; "unix" for a Unix socket. Asked from the kernel the
 * first time. */
DUSK_EXTERN const char *dusk_request_peer(dusk_request_t *req);

/* The request's context: made when first asked for, borrowed, ended at the
 * latest when the response has ended. It ends before that when the client goes
 * away (dusk_client_gone), also by half-closing; when request_timeout passes;
 * with the server's base; and by the drain's hard cancel. Since a drain began,
 * its deadline is at most the drain's. NULL when memory ran out.
 * Go: Request.Context. */
DUSK_EXTERN dusk_context_t *dusk_request_context(dusk_request_t *req);

/* Is dusk_server_draining of the request's server. */
DUSK_EXTERN dusk_context_t *dusk_request_draining(dusk_request_t *req);

/* Something of the handler's own, kept with the request; NULL at first. */
DUSK_EXTERN void dusk_request_set_data(dusk_request_t *req, void *data);
DUSK_EXTERN void *dusk_request_data(const dusk_request_t *req);

/* -- Request body ---------------------------------------------------------- */

/* Gets the body piece by piece: nread > 0 are bytes, borrowed for the call;
 * then comes exactly one UV_EOF, when the body and its trailer are complete, or
 * one other error and nothing more: DUSK_EBODYTOOLARGE, DUSK_EBADBODY,
 * UV_ETIMEDOUT, UV_ECONNRESET (the client left), UV_ECANCELED (we cut it).
 * After the first three the handler may still answer: its status is then 413,
 * 400 or 408 by default; if it has not ended the response when the callback
 * returns, nor sent its header, the server sends that reply itself. The handler
 * must end the response all the same, to release it. */
typedef void (*dusk_body_cb)(dusk_request_t *req, ssize_t nread,
                             const char *data, void *arg);

/* Starts delivering the body to `cb`, from the next turn of the loop on, or
 * within the handler's call's turn after it has returned; never inside this
 * call. A client that waits for it is sent 100 Continue. A body that nobody
 * asks for is read and dropped when the response ends, if less than 256 KiB
 * are missing; else the connection closes after the response.
 * Errors: UV_EINVAL, DUSK_EBODYTAKEN the second time, UV_ECANCELED when the
 * connection was cut or the response has ended. */
DUSK_EXTERN int dusk_request_body(dusk_request_t *req, dusk_body_cb cb,
                                  void *arg);

/* Stops delivering, so that the client is slowed down by TCP, and goes on. Of
 * the body that has been read already no more than one piece may follow a
 * pause called outside the callback, and none one called inside. */
DUSK_EXTERN void dusk_request_pause(dusk_request_t *req);
DUSK_EXTERN void dusk_request_resume(dusk_request_t *req);

/* The whole body at once: `cb` runs once, with status 0 and the NUL-terminated
 * body, borrowed until the response ends, or with an error of dusk_body_cb or
 * UV_ENOMEM. More than `max_bytes` is DUSK_EBODYTOOLARGE. Errors as above. */
typedef void (*dusk_collect_cb)(dusk_request_t *req, int status,
                                const char *data, size_t len, void *arg);
DUSK_EXTERN int dusk_request_collect(dusk_request_t *req, size_t max_bytes,
                                     dusk_collect_cb cb, void *arg);

/* The declared length; DUSK_OFF for a chunked body; 0 when there is none. */
DUSK_EXTERN uint64_t dusk_request_content_length(const dusk_request_t *req);

/* -- Response -------------------------------------------------------------- */

/* Sets the status, 200 to 999; 200 by default. Errors: UV_EINVAL,
 * DUSK_EHEADERSENT. */
DUSK_EXTERN int dusk_response_status(dusk_response_t *res, int status);

/* Header fields, as they will be written; name and value are copied, names are
 * compared in any case.
 *   set     puts the field in the place of all of its name
 *   add     puts it behind them
 *   remove  takes all of its name away; 0, too, if there is none
 *   get     the first value of that name, borrowed until a field is changed or
 *           the header is written; NULL if there is none
 * Some are the server's business, too:
 *   Content-Length     set and add declare the length of a streamed body, and
 *                      remove takes that back. get: what was declared, and once
 *                      the header has been written what that says
 *   Date               set and add put their own in the server's place, and
 *                      remove puts the server's back. get: their own, or NULL
 *   Connection         the handler's options, `close` among them, go into one
 *                      field with the server's; keep-alive is not said when the
 *                      connection closes. remove and get: the handler's
 *   Transfer-Encoding  UV_EINVAL from set and add; remove does nothing, get is
 *                      NULL
 * Errors: UV_EINVAL for a name that is no token, a value with control bytes or
 * a length that is no number; DUSK_EHEADERSENT; UV_ENOBUFS beyond 32 KiB of
 * fields; UV_ENOMEM. Go: ResponseWriter.Header. */
DUSK_EXTERN int dusk_response_set_header(dusk_response_t *res, const char *name,
                                         const char *value);
DUSK_EXTERN int dusk_response_add_header(dusk_response_t *res, const char *name,
                                         const char *value);
DUSK_EXTERN int dusk_response_remove_header(dusk_response_t *res,
                                            const char *name);
DUSK_EXTERN const char *dusk_response_get_header(dusk_response_t *res,
                                                 const char *name);

/* Writes the header if it has not been written, and `len` bytes of body, and
 * ends the response: length known, so no chunks unless the body was begun by
 * dusk_response_write. `data` is copied or sent before the call returns. With
 * less than was declared the connection closes, so that the client can tell.
 * Releases request and response, see dusk_handler_cb; also on error:
 * UV_ECANCELED when the connection was cut, DUSK_ENOBODY, DUSK_ELENGTH for more
 * than was declared, DUSK_ESHORT for less, UV_ENOMEM, DUSK_EHIJACKED. On any of
 * them the response is not whole and the connection closes, except
 * DUSK_ENOBODY: it goes out without the body. */
DUSK_EXTERN int dusk_response_end(dusk_response_t *res, const void *data,
                                  size_t len);

/* Sets the status, and Content-Type to "text/plain; charset=utf-8" if the
 * handler has set none, and ends with `text`. */
DUSK_EXTERN int dusk_response_text(dusk_response_t *res, int status,
                                   const char *text);

/* Streams a piece of body: the header first, if it has not been written, with
 * Transfer-Encoding: chunked unless a length was declared; on HTTP/1.0 the end
 * of such a body is the connection's. `len` 0 writes just the header. Returns
 * 0; 1 when taken but the client is behind: better wait for on_drained; or
 * UV_ECANCELED, DUSK_ENOBODY, DUSK_ELENGTH (nothing of it is sent),
 * DUSK_EHIJACKED, UV_ENOMEM. `data` is copied or sent before it returns. */
DUSK_EXTERN int dusk_response_write(dusk_response_t *res, const void *data,
                                    size_t len);

/* The same as write and end, for a large body by reference: `data` is kept, not
 * copied, until `release` is called with `arg`, once, also on error, and
 * possibly inside the call: it must not use this server. NULL for data that
 * never goes, such as a constant. */
typedef void (*dusk_release_cb)(void *arg);
DUSK_EXTERN int dusk_response_write_ref(dusk_response_t *res, const void *data,
                                        size_t len, dusk_release_cb release,
                                        void *arg);
DUSK_EXTERN int dusk_response_end_ref(dusk_response_t *res, const void *data,
                                      size_t len, dusk_release_cb release,
                                      void *arg);

/* Calls `cb` once, when all that was written has gone to the kernel, or when
 * the connection was cut; never inside this call, and not after the response's
 * end. Errors: UV_EINVAL, UV_EBUSY while one waits, UV_ECANCELED. */
typedef void (*dusk_drained_cb)(dusk_response_t *res, void *arg);
DUSK_EXTERN int dusk_response_on_drained(dusk_response_t *res,
                                         dusk_drained_cb cb, void *arg);

/* Gives the response up: what was written goes out, the connection closes, and
 * a body that was begun is never made to look whole. If the server has failed
 * the request's body, and no header has been written, the reply that fits goes
 * out: 400, 408, 413 or 503. Releases like end.
 * Go: panic(http.ErrAbortHandler). */
DUSK_EXTERN void dusk_response_abort(dusk_response_t *res);

/* Cuts the connection now, by a reset: what was written and not yet sent is
 * dropped, also what a client that has stalled leaves queued. Counted as cut.
 * Releases like end. Go: Conn.SetLinger(0) and Close. */
DUSK_EXTERN void dusk_response_reset(dusk_response_t *res);

/* Takes the connection over: *ret_fd is the caller's, non-blocking, and so is
 * *ret_early (free it), `*ret_early_len` bytes that the client sent already.
 * The server forgets the connection, and releases request and response as end
 * does; their context is cancelled with dusk_response_ended. Errors:
 * DUSK_EHIJACKED, UV_ECANCELED, UV_EBUSY while written bytes wait, UV_ENOMEM,
 * what dup gives; the response is then as before. Go: http.Hijacker. */
DUSK_EXTERN int dusk_response_hijack(dusk_response_t *res, uv_os_sock_t *ret_fd,
                                     char **ret_early, size_t *ret_early_len);

/* -- Mux ------------------------------------------------------------------- */

typedef struct dusk_mux dusk_mux_t;

DUSK_EXTERN int dusk_mux_new(dusk_mux_t **ret_mux);
DUSK_EXTERN void dusk_mux_free(dusk_mux_t *mux);

/* Registers `handler` for a pattern, "[METHOD ]PATH": a path that ends in '/'
 * matches all below it, another one itself only. '%XX' of patterns and requests
 * is decoded for matching, but '%2F' is no '/'. The longest path wins, then one
 * with a method. GET matches HEAD too. Errors: UV_EINVAL for a NULL handler and
 * a pattern that can't be read or would never match: a method that llhttp
 * doesn't know (it knows none in lower case, and refuses them with 501), a
 * query, white space, a broken escape or one of NUL; and for braces, which are
 * kept for wildcards ('%7B' is one as such). UV_EEXIST, UV_ENOMEM. */
DUSK_EXTERN int dusk_mux_handle(dusk_mux_t *mux, const char *pattern,
                                dusk_handler_cb handler, void *arg);

/* The handler to give to the server, with the mux as its argument (NULL is an
 * error of dusk_server_new). Answers 404, or 405 with Allow when only the
 * method doesn't match. */
DUSK_EXTERN void dusk_mux_serve(dusk_response_t *res, dusk_request_t *req,
                                void *mux);

/* -- Versions -------------------------------------------------------------- */

/* "0.1.0"; and the llhttp it was built with, "8.1.0 (strict)". libuv's is
 * uv_version_string(). */
DUSK_EXTERN const char *dusk_version(void);
DUSK_EXTERN const char *dusk_llhttp_version(void);

#ifdef __cplusplus
}
#endif

#endif
