/* dusk/test.h: for programs that test their handlers, with any test framework:
 * requests made and responses taken apart, over a socket or without any. Not
 * part of dusk/http.h, and nothing of it is linked where it isn't used. What is
 * said in dusk/http.h holds here, too.
 *
 *     #include <assert.h>
 *     #include <dusk/test.h>
 *     #include <stdio.h>
 *     #include <string.h>
 *
 *     static void greet(dusk_response_t *res, dusk_request_t *req, void *arg) {
 *       const char *name = dusk_request_header(req, "X-Name");
 *       if (name == NULL) name = arg;
 *       dusk_response_printf(res, 200, "hello, %s\n", name);
 *     }
 *     int main(void) {
 *       char left[256];
 *       dusk_test_t *test; // without sockets; with: dusk_test_serve
 *       dusk_server_config_t config = {.handler = greet, .handler_arg = "you"};
 *       if (dusk_test_record(NULL, &config, &test) < 0) return 1;
 *       dusk_test_request_t ada = {.headers = {"X-Name: Ada"}};
 *       const dusk_test_response_t *plain = dusk_test_get(test, "/");
 *       const dusk_test_response_t *named = dusk_test_do(test, &ada);
 *       if (plain->err < 0) puts(plain->error);
 *       assert(strcmp(plain->body, "hello, you\n") == 0);
 *       assert(strcmp(named->body, "hello, Ada\n") == 0);
 *       int err = dusk_test_close(test, left, sizeof(left)); // a leak, say
 *       if (err < 0) puts(left);
 *       return err < 0;
 *     }
 *
 * A test is a server with a loop and clients, all on one thread: a call that
 * waits turns the loop, so that handlers, timers and the thread pool go on,
 * until what it waits for has come, or the test's time-out. It asserts nothing,
 * and prints nothing: what goes wrong is told by an error and a text.
 *
 * All of it is for one thread, and nothing that waits (the functions below say
 * so) may be called by a callback of the loop: UV_EBUSY.
 *
 * Go: net/http/httptest. */
#ifndef DUSK_TEST_H
#define DUSK_TEST_H

#include <dusk/server.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A server, its loop, its clients, and what they were answered. */
typedef struct dusk_test dusk_test_t;

/* -- From open to close ---------------------------------------------------- */

/* A test, its server made from `config` as by dusk_server_new. `root` names the
 * loop that it shall be on, which nobody else runs meanwhile; NULL: one of its
 * own.
 *   serve   the server listens on a free port of 127.0.0.1, and clients come
 *           by sockets
 *   record  there is no socket: clients hand their bytes over, and take all
 *           that a handler writes, at once. Else all is the same: the limits,
 *           time-outs, hooks and contexts. Their address is 192.0.2.1:1234 (Go:
 *           httptest.NewRequest), ours can't be told (UV_EBADF), nor can the
 *           connection be hijacked (UV_EBADF). With several threads it stays on
 *           the first loop
 * Errors: those of dusk_server_new; serve: those of dusk_server_serve.
 * Go: httptest.NewServer, httptest.NewRecorder. */
DUSK_EXTERN int dusk_test_serve_sized(dusk_context_t *root,
                                      const dusk_server_config_t *config,
                                      size_t config_size,
                                      dusk_test_t **ret_test) DUSK_CHECK_RESULT;
DUSK_EXTERN int
dusk_test_record_sized(dusk_context_t *root, const dusk_server_config_t *config,
                       size_t config_size,
                       dusk_test_t **ret_test) DUSK_CHECK_RESULT;
static inline DUSK_CHECK_RESULT int
dusk_test_serve(dusk_context_t *root, const dusk_server_config_t *config,
                dusk_test_t **ret_test) {
  return dusk_test_serve_sized(root, config, sizeof(*config), ret_test);
}
static inline DUSK_CHECK_RESULT int
dusk_test_record(dusk_context_t *root, const dusk_server_config_t *config,
                 dusk_test_t **ret_test) {
  return dusk_test_record_sized(root, config, sizeof(*config), ret_test);
}

/* Its clients leave, the server is shut down, and all is closed and freed, the
 * responses with it; waits. 0 when nothing was left; else the first thing of
 * these, told in `buf` (or NULL), as much as fits, NUL-terminated; "" for 0:
 *   what the drain gives  something was cut, but not by its handler: see
 *               dusk_server_shutdown
 *   UV_EBUSY    responses that handlers have never ended; or, on a loop of its
 *               own, what handlers have left there, which then stays, and the
 *               loop with it
 * Called inside a callback of the loop, UV_EBUSY, and nothing is closed. On
 * a loop that was given the server's handles close in its next turns. NULL is a
 * no-op. */
DUSK_EXTERN int dusk_test_close(dusk_test_t *test, char *buf, size_t size);

/* How long a call may wait, 10 s at first, and what bounds the drain; DUSK_OFF
 * is for ever. */
DUSK_EXTERN void dusk_test_set_timeout(dusk_test_t *test, uint64_t timeout_ms);

/* The server, to have it shut down, say: it belongs to the test. The root of
 * its loop, to make what a handler needs, or to turn it. The address that it
 * listens on, "127.0.0.1:40123"; "" without sockets. */
DUSK_EXTERN dusk_server_t *dusk_test_server(dusk_test_t *test);
DUSK_EXTERN dusk_context_t *dusk_test_root(dusk_test_t *test);
DUSK_EXTERN const char *dusk_test_address(const dusk_test_t *test);

/* Turns the loop until `is_there` gives true, which is asked before each turn:
 * for what a handler does when its response has ended, or its client has left.
 * Waits. 0, UV_ETIMEDOUT, UV_EINVAL, UV_EBUSY. */
DUSK_EXTERN int dusk_test_await(dusk_test_t *test, bool (*is_there)(void *arg),
                                void *arg) DUSK_CHECK_RESULT;

/* -- Requests and responses ------------------------------------------------ */

enum { DUSK_TEST_HEADERS = 16 };

/* Zero is the default told here. */
typedef struct dusk_test_request {
  const char *method; /* "GET" */
  const char *target; /* "/" */
  /* "Name: value" each, sent as they are, up to the first NULL. Host is the
   * server's address, or "example.com" without sockets, unless one is here;
   * with a Transfer-Encoding or Content-Length the body is sent as it is. */
  const char *headers[DUSK_TEST_HEADERS];
  const void *body; /* none; POST, PUT and PATCH say Content-Length: 0 then */
  size_t len;       /* strlen(body) */
} dusk_test_request_t;

/* May grow, at its end. */
typedef struct dusk_test_response {
  int err;           /* 0; or why it is not whole, or not what was asked for:
                      *   UV_ETIMEDOUT  nothing more came
                      *   UV_EOF, UV_ECONNRESET  the connection ended before it
                      *   UV_EPROTO     it is no HTTP
                      *   UV_ENOENT     the text that was waited for isn't in it
                      *   UV_EINVAL, UV_EBUSY, UV_ENOMEM, what connecting or
                      *   sending gave  nothing was asked, or heard */
  const char *error; /* in words; "" */
  int status;        /* 0 before the header has come, as the next three */
  int version_minor;
  bool closes; /* it says that it is its connection's last */
  int interim; /* the status of the last 1xx before it; 0: there was none */
  const char *body; /* what has come by now, chunks joined, NUL-terminated */
  size_t len;
} dusk_test_response_t;

/* Asks on a connection of its own, and gives the response: never NULL, so that
 * a test may look at it at once, and good until the test is closed. What has
 * come of one that isn't whole is in it. dusk_test_raw sends bytes as they are
 * (len 0: a text), and gives the first response to them. Wait. */
DUSK_EXTERN const dusk_test_response_t *
dusk_test_do(dusk_test_t *test, const dusk_test_request_t *request);
DUSK_EXTERN const dusk_test_response_t *dusk_test_get(dusk_test_t *test,
                                                      const char *target);
DUSK_EXTERN const dusk_test_response_t *
dusk_test_raw(dusk_test_t *test, const void *bytes, size_t len);

/* The first field of that name, any case, without white space around it; NULL
 * if there is none. at: the fields in the order received, false past the last.
 * Trailers are not among them. */
DUSK_EXTERN const char *dusk_test_header(const dusk_test_response_t *response,
                                         const char *name);
DUSK_EXTERN bool dusk_test_header_at(const dusk_test_response_t *response,
                                     size_t index, const char **ret_name,
                                     const char **ret_value);

/* -- A client -------------------------------------------------------------- */
/* A connection for several requests, for bytes in pieces, for streams. Reads
 * only while it hears: else a client with a socket is one that takes nothing
 * once the kernel's buffers are full. */

/* Good until it leaves, or the test is closed. */
typedef struct dusk_test_client dusk_test_client_t;

/* Waits. UV_EINVAL, UV_ENOMEM, UV_EBUSY, UV_ETIMEDOUT, what connecting gives;
 * UV_ECONNREFUSED also without sockets, once the server drains. */
DUSK_EXTERN int
dusk_test_connect(dusk_test_t *test,
                  dusk_test_client_t **ret_client) DUSK_CHECK_RESULT;

/* Sends a request, or bytes (len 0: a text), and doesn't wait. UV_EINVAL,
 * UV_ENOMEM, and what libuv gives for a connection that has gone. */
DUSK_EXTERN int
dusk_test_request(dusk_test_client_t *client,
                  const dusk_test_request_t *request) DUSK_CHECK_RESULT;
DUSK_EXTERN int dusk_test_send(dusk_test_client_t *client, const void *bytes,
                               size_t len) DUSK_CHECK_RESULT;

/* The next response to what was sent, once it is whole. until: once `text` is
 * in its body, behind what was waited for before; so a stream is heard event by
 * event, always in the same response, until hear gives the end of it, or until
 * has found it whole and without the text. One that wasn't whole in time goes
 * on, too. A response to HEAD is known by the last thing that was sent. Never
 * NULL, as above. Wait. */
DUSK_EXTERN const dusk_test_response_t *
dusk_test_hear(dusk_test_client_t *client);
DUSK_EXTERN const dusk_test_response_t *
dusk_test_hear_until(dusk_test_client_t *client, const char *text);

/* Closes its connection. What it has sent still goes, but for what its socket
 * had no room for. NULL is a no-op. */
DUSK_EXTERN void dusk_test_leave(dusk_test_client_t *client);

#ifdef __cplusplus
}
#endif

#endif
