/* The words in which the tests of a server are written: it and its clients live
 * in one loopback_t, and where a thing is waited for, whatever takes ten
 * seconds fails the test.
 *
 * A house_test finds an empty house, in *state. What it leaves open is ended
 * for it, and what that leaves behind makes it fail: the report must add up,
 * the loop close, and no descriptor and no allocation be left. Needs
 * tests/support/alloc.h. */
#ifndef DUSK_TESTS_HOUSE_H
#define DUSK_TESTS_HOUSE_H

#include "loopback.h"

#define DEFAULTS ((dusk_server_config_t){0})
#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define CHUNKED                                                                \
  "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"

int house_set_up(void **state);
int house_tear_down(void **state);

#define house_test(f)                                                          \
  cmocka_unit_test_setup_teardown(f, house_set_up, house_tear_down)

/* -- The server ------------------------------------------------------------ */

/* Opens one; where `config` names no handler, "hello\n" is the answer. */
void serve(loopback_t *lb, dusk_server_config_t config);

/* Opens one whose handler leaves its response to the test, in lb->held, and
 * gives a client whose `request` it has got. */
int hold(loopback_t *lb, dusk_server_config_t config, const char *request);
/* The next one that it gets, once `client` has said `request`. */
void hold_next(loopback_t *lb, int client, const char *request);

/* The clients leave, a server that still serves is stopped, and all is closed.
 * The test may open another one. */
void end_all(loopback_t *lb);

/* -- Clients --------------------------------------------------------------- */

/* One that leaves when all is ended, if it doesn't before. From another address
 * it is another peer. */
int connect_client(loopback_t *lb);
int connect_from(loopback_t *lb, const char *address);
/* One that the test has connected itself, now such a client. */
int welcome(loopback_t *lb, int client);
void leave(loopback_t *lb, int client);

/* All at once; and as the server reads it. */
void say(int client, const char *text);
void say_all(loopback_t *lb, int client, const char *text);

/* What comes until `until`, which must come, or to the stream's end (NULL).
 * Stands until the next call. */
const char *hear(loopback_t *lb, int client, const char *until);
/* Says `request`, and hears the answer of `serve`. */
const char *ask(loopback_t *lb, int client, const char *request);
/* Takes what has come, and turns the loop once. */
void take_some(loopback_t *lb, int client);
/* Takes `len` bytes, or what comes until the end, and tells how many. */
size_t take(loopback_t *lb, int client, size_t len);
/* Takes all to the end, and tells which: 0, or what recv failed with. */
int end_of_stream(loopback_t *lb, int client);

/* Whether the stream's end has come already, and nothing before it. */
bool has_ended(int client);

size_t count_of(const char *text, const char *part);
void assert_has(const char *text, const char *part);
void assert_lacks(const char *text, const char *part);

/* -- The stop -------------------------------------------------------------- */

/* Within `bound_ms`, to its end; the report adds up. */
dusk_report_t stop(loopback_t *lb, uint64_t bound_ms);
/* The same in two steps, of which the first has any bound. */
void begin_stop(loopback_t *lb, dusk_context_t *bound);
dusk_report_t end_stop(loopback_t *lb);

/* A call whose outcome is in *ret_status, which is 1 before. */
void call_shutdown(loopback_t *lb, dusk_context_t *bound, int *ret_status);

/* Contexts that are given up when all is ended: one to cancel, one with a
 * deadline, and that of the request which is held. */
dusk_context_t *cancellable(loopback_t *lb);
dusk_context_t *bound_of(loopback_t *lb, uint64_t ms);
dusk_context_t *held_context(loopback_t *lb);

/* -- The loop -------------------------------------------------------------- */

/* Runs it until `condition`, which may be another thread's to bring about. */
#define AWAIT(lb, condition)                                                   \
  do {                                                                         \
    uv_timer_t watch_;                                                         \
    loopback_watch(lb, &watch_);                                               \
    while (!(condition))                                                       \
      uv_run(&(lb)->loop, UV_RUN_ONCE);                                        \
    loopback_unwatch(lb, &watch_);                                             \
  } while (0)

/* Turns it a few times, without waiting. */
void turn(loopback_t *lb, int times);

/* -- Callbacks ------------------------------------------------------------- */

/* Count their calls, in an int that is their argument. */
void count_release(void *count);
void count_drained(dusk_response_t *res, void *count);

#endif
