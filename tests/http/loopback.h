/* A server and its clients on one loop and one thread, for unit tests: clients
 * are plain non-blocking sockets, and the loop runs until what is waited for
 * has come. */
#ifndef DUSK_TESTS_LOOPBACK_H
#define DUSK_TESTS_LOOPBACK_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dusk/http.h>

/* What a handler got that leaves its response to the test. */
typedef struct held {
  dusk_response_t *res;
  dusk_request_t *req;
  int called;
  int body_end;
} held_t;

enum { LOOPBACK_CLIENTS = 64, LOOPBACK_CONTEXTS = 4, LOOPBACK_HEARD = 65536 };

typedef struct loopback {
  uv_loop_t loop;
  dusk_context_t *root;
  dusk_server_t *server;
  char address[64];
  int shutdown_status; /* 1: not called back yet */
  int served_err;      /* 1: not called back yet */
  bool is_open;

  /* Of those who use house.h. */
  held_t held;
  int clients[LOOPBACK_CLIENTS]; /* -1: it has left */
  size_t client_count;
  dusk_context_t *contexts[LOOPBACK_CONTEXTS]; /* to give up at the end */
  size_t context_count;
  char heard[LOOPBACK_HEARD];
} loopback_t;

/* Opens a server with `config` (a handler at least) on a free port; made: it
 * doesn't serve yet. */
void loopback_make(loopback_t *lb, const dusk_server_config_t *config);
void loopback_open(loopback_t *lb, const dusk_server_config_t *config);

/* Shuts it down within `bound_ms`, waits for it, and asserts that the loop can
 * be closed. */
void loopback_close(loopback_t *lb, uint64_t bound_ms);
/* The same in two steps. */
void loopback_shutdown(loopback_t *lb, uint64_t bound_ms);
void loopback_finish(loopback_t *lb);

/* The server's report, and that what it counts adds up once all is over. */
dusk_report_t loopback_report(const loopback_t *lb);
void loopback_assert_adds_up(const dusk_report_t *report);

/* A connected client. */
int loopback_connect(loopback_t *lb);
int loopback_connect_blocking(loopback_t *lb);
void loopback_send(int client, const char *text);

/* Runs the loop until `client` has received `len` bytes, or `until` is in them
 * (or NULL), or its stream has ended; returns the count and terminates `buf`
 * with NUL. Fails the test after ten seconds. */
size_t loopback_receive(loopback_t *lb, int client, char *buf, size_t size,
                        const char *until);

/* The handler that leaves its response to the test; `arg` is the held_t. */
void loopback_keep(dusk_response_t *res, dusk_request_t *req, void *arg);

/* Opens a server with that handler, and gives a client whose `request` it
 * has got. */
int loopback_hold(loopback_t *lb, held_t *held, dusk_server_config_t config,
                  const char *request);

/* Runs the loop for so long: where the time itself is what is tested. */
void loopback_run_for(loopback_t *lb, uint64_t ms);

/* Runs the loop until *flag is not 0. */
void loopback_run_until(loopback_t *lb, const int *flag);

/* A timer that fails the test after ten seconds, until unwatch. It wakes the
 * loop up now and then, to look at the client's side, for what another thread
 * does, and for what a timer did before uv_run began to wait. */
void loopback_watch(loopback_t *lb, uv_timer_t *timer);
void loopback_unwatch(loopback_t *lb, uv_timer_t *timer);

#endif
