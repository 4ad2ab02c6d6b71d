/* Rare orders of events: user code that ends things where one doesn't expect
 * it, and input that comes where it shouldn't. */
#include "house.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* -- Limits count what they say -------------------------------------------- */

static void on_drop(dusk_request_t *req, ssize_t nread, const char *data,
                    void *arg) {
  (void)req;
  (void)data;
  if (nread == UV_EOF)
    dusk_response_end(arg, "hello\n", 6);
  else if (nread < 0)
    dusk_response_abort(arg);
}

static void drop(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  assert_int_equal(dusk_request_body(req, on_drop, res), 0);
}

static void header_limit_counts_neither_body_nor_followers(void **state) {
  loopback_t *lb = *state;
  serve(lb, (dusk_server_config_t){.handler = drop, .max_header_bytes = 256});
  static char text[8192];
  char *at = text;
  at += sprintf(at,
                "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000\r\n\r\n"
                "%03000d",
                0);
  for (int i = 0; i < 60; i++)
    at += sprintf(at, GET);
  sprintf(at, "GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  int client = connect_client(lb);
  say(client, text);
  assert_int_equal(count_of(hear(lb, client, NULL), "HTTP/1.1 200 OK"), 62);
}

/* What stands in dusk/server.h. */
static void srv_013_a_handler_is_all_a_server_needs(void **state) {
  loopback_t *lb = *state;
  static char field[80000];
  char head[200];
  static const struct {
    int field_len;
    unsigned long body_len;
    const char *status;
  } cases[] = {{65000, 0, " 200 OK"},
               {65536, 0, " 431 "},
               {1, 1 << 20, " 100 "},
               {1, (1 << 20) + 1, " 413 "}};
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    serve(lb, (dusk_server_config_t){.handler = drop});
    int client = connect_client(lb);
    snprintf(head, sizeof(head),
             "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
             "Content-Length: %lu\r\nA: ",
             cases[i].body_len);
    say(client, head);
    memset(field, 'a', (size_t)cases[i].field_len);
    strcpy(field + cases[i].field_len, "\r\n\r\n");
    say_all(lb, client, field);
    assert_has(hear(lb, client, "\r\n\r\n"), cases[i].status);
    end_all(lb);
  }
}

/* A client that pipelines on and on, and reads late, loses nothing, and what it
 * sends waits in its own socket. */
static void a_late_reader_gets_every_answer(void **state) {
  loopback_t *lb = *state;
  serve(lb, DEFAULTS);
  int client = connect_client(lb);
  size_t len = strlen(GET);
  size_t sent = 0;
  /* Until all buffers between here and there are full. */
  for (int stuck = 0; stuck < 100; stuck++) {
    ssize_t n;
    while ((n = send(client, &GET[sent % len], len - sent % len,
                     MSG_NOSIGNAL)) > 0) {
      sent += (size_t)n;
      stuck = 0;
    }
    uv_run(&lb->loop, UV_RUN_NOWAIT);
  }
  size_t answers = 0;
  while (answers < sent / len) {
    ssize_t n = recv(client, lb->heard, sizeof(lb->heard), 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) break;
    for (ssize_t i = 0; i < n; i++)
      answers += lb->heard[i] == 'H'; /* of HTTP, and of nothing else in it */
    uv_run(&lb->loop, UV_RUN_NOWAIT);
  }
  assert_int_equal(answers, sent / len);
}

static void max_requests_closes_with_the_last(void **state) {
  loopback_t *lb = *state;
  serve(lb, (dusk_server_config_t){.max_requests = 2});
  int client = connect_client(lb);
  say(client, GET GET GET);
  hear(lb, client, NULL);
  assert_int_equal(count_of(lb->heard, "200 OK"), 2);
  assert_int_equal(count_of(lb->heard, "Connection: close"), 1);
}

/* -- User code that ends things -------------------------------------------- */

typedef struct ender {
  loopback_t *lb;
  int calls;
} ender_t;

static void close_in_end(dusk_request_t *req, const dusk_request_end_t *end,
                         void *arg) {
  (void)end;
  ender_t *ender = arg;
  ender->calls++;
  assert_int_equal(dusk_context_err(dusk_request_context(req)), UV_ECANCELED);
  dusk_server_close(ender->lb->server);
}

static void the_server_may_be_closed_when_a_request_ends(void **state) {
  loopback_t *lb = *state;
  static const char *const requests[] = {
      GET, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
      "BAD\r\n\r\n"};
  for (size_t i = 0; i < 3; i++) {
    ender_t ender = {.lb = lb};
    serve(lb, (dusk_server_config_t){.on_request_end = close_in_end,
                                     .on_request_end_arg = &ender});
    say(connect_client(lb), requests[i]);
    AWAIT(lb, ender.calls);
    end_all(lb);
    assert_int_equal(ender.calls, 1);
  }
}

static void count_body_end(dusk_request_t *req, ssize_t nread, const char *data,
                           void *arg) {
  (void)req;
  (void)data;
  if (nread < 0) *(int *)arg = (int)nread;
}

static void close_in_hook(dusk_server_t *server, void *arg) {
  (void)arg;
  dusk_server_close(server);
}

static void unref_when_done(dusk_server_t *server, int status, void *arg) {
  *(int *)arg = status;
  dusk_server_unref(server);
}

static void who_is_cut_by_a_hook_is_told(void **state) {
  loopback_t *lb = *state;
  hold(lb, DEFAULTS, CHUNKED);
  assert_int_equal(
      dusk_request_body(lb->held.req, count_body_end, &lb->held.body_end), 0);
  assert_int_equal(dusk_server_on_shutdown(lb->server, close_in_hook, NULL), 0);
  int status = 1;
  assert_int_equal(dusk_server_shutdown(lb->server, bound_of(lb, 60000),
                                        unref_when_done, &status),
                   0);
  AWAIT(lb, lb->held.body_end);
  assert_int_equal(lb->held.body_end, UV_ECANCELED); /* SRV-062 */
  assert_int_equal(status, UV_ECANCELED);
  dusk_response_end(lb->held.res, NULL, 0);
  lb->server = NULL;
}

static void a_finished_drain_keeps_no_loop_alive(void **state) {
  loopback_t *lb = *state;
  serve(lb, DEFAULTS);
  stop(lb, 3600000);
  assert_int_equal(uv_run(&lb->loop, UV_RUN_DEFAULT), 0); /* comes back */
}

/* Although another request came before. */
static void srv_110_a_client_that_goes_is_noticed(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET GET);
  dusk_context_t *ctx = held_context(lb);
  turn(lb, 3);
  assert_int_equal(dusk_context_err(ctx), 0);
  leave(lb, client);
  AWAIT(lb, dusk_context_err(ctx) != 0);
  assert_ptr_equal(dusk_context_cause(ctx), &dusk_client_gone);
  dusk_response_end(lb->held.res, NULL, 0);
  AWAIT(lb, lb->held.called == 2); /* it may have half-closed only */
  dusk_response_end(lb->held.res, NULL, 0);
}

/* -- How connections close ------------------------------------------------- */

#define GET_CLOSE "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

static void srv_217_who_was_read_to_the_end_is_closed_at_once(void **state) {
  loopback_t *lb = *state;
  hold(lb, DEFAULTS, GET_CLOSE);
  dusk_response_end(lb->held.res, "x", 1);
  assert_int_equal(loopback_report(lb).conns_now, 0);
}

/* What comes after the answer resets nothing, until the client has closed. */
static void srv_214_216_who_may_still_send_is_read_on(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS,
                    "POST / HTTP/1.1\r\nHost: h\r\n"
                    "Content-Length: 900000\r\n\r\n");
  dusk_response_end(lb->held.res, "x", 1);
  static char some[20000];
  memset(some, 'a', sizeof(some) - 1);
  for (int i = 0; i < 10; i++) {
    say_all(lb, client, some);
    turn(lb, 2);
  }
  assert_has(hear(lb, client, NULL), "\r\n\r\nx");
  assert_int_equal(end_of_stream(lb, client), 0);
  assert_int_equal(loopback_report(lb).conns_now, 1);
  leave(lb, client);
  AWAIT(lb, loopback_report(lb).conns_now == 0);
}

/* -- Callbacks never inside a call ----------------------------------------- */

typedef struct inside {
  bool writing;
  int pieces;
} inside_t;

static void on_piece(dusk_request_t *req, ssize_t nread, const char *data,
                     void *arg) {
  (void)req;
  (void)data;
  inside_t *inside = arg;
  assert_false(inside->writing);
  if (nread > 0) inside->pieces++;
}

static void no_body_inside_a_write(void **state) {
  loopback_t *lb = *state;
  inside_t inside = {0};
  hold(lb, DEFAULTS, CHUNKED "1\r\na\r\n1\r\nb\r\n");
  assert_int_equal(dusk_request_body(lb->held.req, on_piece, &inside), 0);
  inside.writing = true;
  assert_int_equal(dusk_response_write(lb->held.res, "x", 1), 0);
  inside.writing = false;
  AWAIT(lb, inside.pieces);
  dusk_response_end(lb->held.res, NULL, 0);
}

static void no_drained_after_the_end(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  static char piece[1 << 16];
  while (dusk_response_write(lb->held.res, piece, sizeof(piece)) == 0)
    ;
  int drained = 0;
  assert_int_equal(
      dusk_response_on_drained(lb->held.res, count_drained, &drained), 0);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
  while (loopback_report(lb).requests_now > 0)
    take_some(lb, client);
  assert_int_equal(drained, 0);
}

/* -- Input ----------------------------------------------------------------- */

/* What a body ends with. */
static int end_of(loopback_t *lb, const char *body) {
  int client = hold(lb, DEFAULTS, CHUNKED);
  assert_int_equal(
      dusk_request_body(lb->held.req, count_body_end, &lb->held.body_end), 0);
  say_all(lb, client, body);
  AWAIT(lb, lb->held.body_end);
  dusk_response_end(lb->held.res, NULL, 0);
  end_all(lb);
  return lb->held.body_end;
}

static void srv_183_a_body_ends_in_cr_lf(void **state) {
  loopback_t *lb = *state;
  assert_int_equal(end_of(lb, "0\r\n\r\n"), UV_EOF);
  assert_int_equal(end_of(lb, "0\r\n\n"), DUSK_EBADBODY);
  assert_int_equal(end_of(lb, "1\r\na\r\n0\r\n\n"), DUSK_EBADBODY);
}

static void srv_192_a_trailer_beyond_the_buffer_is_refused(void **state) {
  loopback_t *lb = *state;
  static const struct {
    size_t len;
    int end;
  } cases[] = {{4096, UV_EOF}, {30000, DUSK_EBADBODY}};
  for (size_t i = 0; i < 2; i++) {
    char *body = malloc(40000);
    strcpy(body, "0\r\nA: ");
    memset(body + 6, 'a', cases[i].len);
    strcpy(body + 6 + cases[i].len, "\r\n\r\n");
    assert_int_equal(end_of(lb, body), cases[i].end);
    free(body);
  }
}

static void a_trailer_says_nothing_of_the_connection(void **state) {
  loopback_t *lb = *state;
  serve(lb, (dusk_server_config_t){.handler = drop});
  int client = connect_client(lb);
  say(client, CHUNKED "0\r\nConnection: close\r\n\r\n" GET
                      "GET / HTTP/1.1\r\nHost: h\r\n"
                      "Connection: close\r\n\r\n");
  assert_int_equal(count_of(hear(lb, client, NULL), "200 OK"), 3);
}

/* -- Time-outs ------------------------------------------------------------- */

static void free_body(void *arg) {
  free(arg);
}

static void request_timeout_spares_an_ended_response(void **state) {
  loopback_t *lb = *state;
  enum { LEN = 8 << 20 };
  int client = hold(lb, (dusk_server_config_t){.request_timeout_ms = 300}, GET);
  dusk_context_t *ctx = held_context(lb);
  char *body = calloc(1, LEN);
  dusk_response_end_ref(lb->held.res, body, LEN, free_body, body);
  assert_ptr_equal(dusk_context_cause(ctx), &dusk_response_ended);
  while (uv_hrtime() < dusk_context_deadline(ctx) + 20000000)
    uv_run(&lb->loop, UV_RUN_NOWAIT);
  assert_int_equal(take(lb, client, LEN), LEN);
}

static void count_timer(uv_handle_t *handle, void *count) {
  *(int *)count += handle->type == UV_TIMER && uv_is_active(handle);
}

static int timers(loopback_t *lb) {
  int count = 0;
  uv_walk(&lb->loop, count_timer, &count);
  return count;
}

/* All time-outs of a loop have one timer. */
static void srv_126_without_a_time_to_write_there_is_none(void **state) {
  loopback_t *lb = *state;
  static const uint64_t timeouts[] = {60000, DUSK_OFF};
  static char piece[1 << 16];
  for (size_t i = 0; i < 2; i++) {
    dusk_server_config_t config = {.write_timeout_ms = timeouts[i],
                                   .header_timeout_ms = DUSK_OFF,
                                   .idle_timeout_ms = DUSK_OFF};
    hold(lb, config, GET);
    assert_int_equal(timers(lb), 0);
    while (dusk_response_write(lb->held.res, piece, sizeof(piece)) == 0)
      continue;
    turn(lb, 3);
    assert_int_equal(timers(lb), timeouts[i] != DUSK_OFF);
    dusk_response_reset(lb->held.res);
    end_all(lb);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(header_limit_counts_neither_body_nor_followers),
      house_test(srv_013_a_handler_is_all_a_server_needs),
      house_test(a_late_reader_gets_every_answer),
      house_test(max_requests_closes_with_the_last),
      house_test(the_server_may_be_closed_when_a_request_ends),
      house_test(who_is_cut_by_a_hook_is_told),
      house_test(a_finished_drain_keeps_no_loop_alive),
      house_test(srv_110_a_client_that_goes_is_noticed),
      house_test(srv_217_who_was_read_to_the_end_is_closed_at_once),
      house_test(srv_214_216_who_may_still_send_is_read_on),
      house_test(no_body_inside_a_write),
      house_test(no_drained_after_the_end),
      house_test(srv_183_a_body_ends_in_cr_lf),
      house_test(srv_192_a_trailer_beyond_the_buffer_is_refused),
      house_test(a_trailer_says_nothing_of_the_connection),
      house_test(request_timeout_spares_an_ended_response),
      house_test(srv_126_without_a_time_to_write_there_is_none),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
