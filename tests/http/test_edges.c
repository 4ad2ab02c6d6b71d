/* Rare orders of events: user code that ends things where one doesn't expect
 * it, and input that comes where it shouldn't. */
#include "loopback.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define CHUNKED                                                                \
  "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"

static void answer(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  (void)arg;
  dusk_response_end(res, "hello\n", 6);
}

/* -- Limits count what they say -------------------------------------------- */

static size_t count_of(const char *text, const char *part) {
  size_t count = 0;
  while ((text = strstr(text, part))) {
    count++;
    text++;
  }
  return count;
}

static void on_drop(dusk_request_t *req, ssize_t nread, const char *data,
                    void *arg) {
  (void)req;
  (void)data;
  if (nread == UV_EOF) dusk_response_end(arg, "hello\n", 6);
}

static void drop(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  assert_int_equal(dusk_request_body(req, on_drop, res), 0);
}

static void header_limit_counts_neither_body_nor_followers(void **state) {
  (void)state;
  dusk_server_config_t config = {.handler = drop, .max_header_bytes = 256};
  loopback_t lb;
  loopback_open(&lb, &config);
  static char text[8192];
  char *at = text;
  at += sprintf(at,
                "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000\r\n\r\n"
                "%03000d",
                0);
  for (int i = 0; i < 60; i++)
    at += sprintf(at, GET);
  sprintf(at, "GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  int client = loopback_connect(&lb);
  loopback_send(client, text);
  static char buf[16384];
  loopback_receive(&lb, client, buf, sizeof(buf), NULL);
  assert_int_equal(count_of(buf, "HTTP/1.1 200 OK"), 62);
  close(client);
  loopback_close(&lb, 5000);
}

/* A client that pipelines on and on, and reads late, loses nothing, and what it
 * sends waits in its own socket. */
static void a_late_reader_gets_every_answer(void **state) {
  (void)state;
  dusk_server_config_t config = {.handler = answer};
  loopback_t lb;
  loopback_open(&lb, &config);
  int client = loopback_connect(&lb);
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
    uv_run(&lb.loop, UV_RUN_NOWAIT);
  }
  size_t answers = 0;
  static char buf[65536];
  while (answers < sent / len) {
    ssize_t n = recv(client, buf, sizeof(buf), 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) break;
    for (ssize_t i = 0; i < n; i++)
      answers += buf[i] == 'H'; /* of HTTP, and of nothing else in it */
    uv_run(&lb.loop, UV_RUN_NOWAIT);
  }
  assert_int_equal(answers, sent / len);
  close(client);
  loopback_close(&lb, 5000);
}

static void max_requests_closes_with_the_last(void **state) {
  (void)state;
  dusk_server_config_t config = {.handler = answer, .max_requests = 2};
  loopback_t lb;
  loopback_open(&lb, &config);
  int client = loopback_connect(&lb);
  loopback_send(client, GET GET GET);
  char buf[1024];
  loopback_receive(&lb, client, buf, sizeof(buf), NULL);
  assert_int_equal(count_of(buf, "200 OK"), 2);
  assert_int_equal(count_of(buf, "Connection: close"), 1);
  close(client);
  loopback_close(&lb, 5000);
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
  (void)state;
  static const char *const requests[] = {
      GET, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
      "BAD\r\n\r\n"};
  for (size_t i = 0; i < 3; i++) {
    loopback_t lb;
    ender_t ender = {.lb = &lb};
    dusk_server_config_t config = {.handler = answer,
                                   .on_request_end = close_in_end,
                                   .on_request_end_arg = &ender};
    loopback_open(&lb, &config);
    int client = loopback_connect(&lb);
    loopback_send(client, requests[i]);
    loopback_run_until(&lb, &ender.calls);
    loopback_finish(&lb);
    assert_int_equal(ender.calls, 1);
    close(client);
  }
}

static void count_body_end(dusk_request_t *req, ssize_t nread, const char *data,
                           void *arg) {
  (void)req;
  (void)data;
  if (nread < 0) *(int *)arg = (int)nread;
}

#define DEFAULTS ((dusk_server_config_t){0})

static void close_in_hook(dusk_server_t *server, void *arg) {
  (void)arg;
  dusk_server_close(server);
}

static void unref_when_done(dusk_server_t *server, int status, void *arg) {
  *(int *)arg = status;
  dusk_server_unref(server);
}

static void who_is_cut_by_a_hook_is_told(void **state) {
  (void)state;
  loopback_t lb;
  held_t held;
  int client = loopback_hold(&lb, &held, DEFAULTS, CHUNKED);
  assert_int_equal(dusk_request_body(held.req, count_body_end, &held.body_end),
                   0);
  assert_int_equal(dusk_server_on_shutdown(lb.server, close_in_hook, NULL), 0);
  dusk_context_t *bound;
  assert_int_equal(dusk_context_with_timeout(lb.root, 60000, NULL, &bound), 0);
  int status = 1;
  assert_int_equal(
      dusk_server_shutdown(lb.server, bound, unref_when_done, &status), 0);
  dusk_context_unref(bound);
  loopback_run_until(&lb, &held.body_end);
  assert_int_equal(held.body_end, UV_ECANCELED);
  assert_int_equal(status, UV_ECANCELED);
  dusk_response_end(held.res, NULL, 0);
  lb.server = NULL;
  close(client);
  loopback_finish(&lb);
}

static void a_finished_drain_keeps_no_loop_alive(void **state) {
  (void)state;
  loopback_t lb;
  dusk_server_config_t config = {.handler = answer};
  loopback_open(&lb, &config);
  loopback_shutdown(&lb, 3600000);
  assert_int_equal(uv_run(&lb.loop, UV_RUN_DEFAULT), 0); /* comes back */
  loopback_finish(&lb);
}

/* -- Callbacks never inside a call ------------------------------------------
 */

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
  (void)state;
  loopback_t lb;
  held_t held;
  inside_t inside = {0};
  int client =
      loopback_hold(&lb, &held, DEFAULTS, CHUNKED "1\r\na\r\n1\r\nb\r\n");
  assert_int_equal(dusk_request_body(held.req, on_piece, &inside), 0);
  inside.writing = true;
  assert_int_equal(dusk_response_write(held.res, "x", 1), 0);
  inside.writing = false;
  loopback_run_until(&lb, &inside.pieces);
  dusk_response_end(held.res, NULL, 0);
  close(client);
  loopback_close(&lb, 5000);
}

static void on_drained(dusk_response_t *res, void *arg) {
  (void)res;
  ++*(int *)arg;
}

static void no_drained_after_the_end(void **state) {
  (void)state;
  loopback_t lb;
  held_t held;
  int client = loopback_hold(&lb, &held, DEFAULTS, GET);
  static char piece[1 << 16];
  while (dusk_response_write(held.res, piece, sizeof(piece)) == 0)
    ;
  int drained = 0;
  assert_int_equal(dusk_response_on_drained(held.res, on_drained, &drained), 0);
  assert_int_equal(dusk_response_end(held.res, NULL, 0), 0);
  dusk_report_t report;
  do {
    while (recv(client, piece, sizeof(piece), 0) > 0)
      ;
    uv_run(&lb.loop, UV_RUN_NOWAIT);
    dusk_server_report(lb.server, &report);
  } while (report.requests_now > 0);
  assert_int_equal(drained, 0);
  close(client);
  loopback_close(&lb, 5000);
}

/* -- Input ------------------------------------------------------------------
 */

/* What a body ends with. */
static int end_of(const char *body) {
  loopback_t lb;
  held_t held;
  int client = loopback_hold(&lb, &held, DEFAULTS, CHUNKED);
  assert_int_equal(dusk_request_body(held.req, count_body_end, &held.body_end),
                   0);
  size_t len = strlen(body);
  for (size_t sent = 0; sent < len && !held.body_end;) {
    ssize_t n = send(client, body + sent, len - sent, MSG_NOSIGNAL);
    if (n > 0) sent += (size_t)n;
    uv_run(&lb.loop, UV_RUN_NOWAIT);
  }
  loopback_run_until(&lb, &held.body_end);
  dusk_response_end(held.res, NULL, 0);
  close(client);
  loopback_close(&lb, 5000);
  return held.body_end;
}

static void srv_183_a_body_ends_in_cr_lf(void **state) {
  (void)state;
  assert_int_equal(end_of("0\r\n\r\n"), UV_EOF);
  assert_int_equal(end_of("0\r\n\n"), DUSK_EBADBODY);
  assert_int_equal(end_of("1\r\na\r\n0\r\n\n"), DUSK_EBADBODY);
}

static void a_trailer_beyond_the_buffer_is_refused(void **state) {
  (void)state;
  char *body = malloc(40000);
  strcpy(body, "0\r\nA: ");
  memset(body + 6, 'a', 30000);
  strcpy(body + 30006, "\r\n\r\n");
  assert_int_equal(end_of(body), DUSK_EBADBODY);
  free(body);
}

static void a_trailer_says_nothing_of_the_connection(void **state) {
  (void)state;
  dusk_server_config_t config = {.handler = drop};
  loopback_t lb;
  loopback_open(&lb, &config);
  int client = loopback_connect(&lb);
  loopback_send(client, CHUNKED "0\r\nConnection: close\r\n\r\n" GET
                                "GET / HTTP/1.1\r\nHost: h\r\n"
                                "Connection: close\r\n\r\n");
  char buf[1024];
  loopback_receive(&lb, client, buf, sizeof(buf), NULL);
  assert_int_equal(count_of(buf, "200 OK"), 3);
  close(client);
  loopback_close(&lb, 5000);
}

/* -- Time-outs ---------------------------------------------------------------
 */

static void free_body(void *arg) {
  free(arg);
}

static void request_timeout_spares_an_ended_response(void **state) {
  (void)state;
  enum { LEN = 8 << 20 };
  loopback_t lb;
  held_t held;
  int client = loopback_hold(
      &lb, &held, (dusk_server_config_t){.request_timeout_ms = 300}, GET);
  dusk_context_t *ctx = dusk_context_ref(dusk_request_context(held.req));
  char *body = calloc(1, LEN);
  dusk_response_end_ref(held.res, body, LEN, free_body, body);
  assert_ptr_equal(dusk_context_cause(ctx), &dusk_response_ended);
  while (uv_hrtime() < dusk_context_deadline(ctx) + 20000000)
    uv_run(&lb.loop, UV_RUN_NOWAIT);
  size_t len = 0;
  static char buf[1 << 16];
  while (len < LEN) {
    ssize_t n = recv(client, buf, sizeof(buf), 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) break;
    if (n > 0) len += (size_t)n;
    uv_run(&lb.loop, UV_RUN_NOWAIT);
  }
  assert_true(len >= LEN);
  dusk_context_unref(ctx);
  close(client);
  loopback_close(&lb, 5000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(header_limit_counts_neither_body_nor_followers),
      cmocka_unit_test(a_late_reader_gets_every_answer),
      cmocka_unit_test(max_requests_closes_with_the_last),
      cmocka_unit_test(the_server_may_be_closed_when_a_request_ends),
      cmocka_unit_test(who_is_cut_by_a_hook_is_told),
      cmocka_unit_test(a_finished_drain_keeps_no_loop_alive),
      cmocka_unit_test(no_body_inside_a_write),
      cmocka_unit_test(no_drained_after_the_end),
      cmocka_unit_test(srv_183_a_body_ends_in_cr_lf),
      cmocka_unit_test(a_trailer_beyond_the_buffer_is_refused),
      cmocka_unit_test(a_trailer_says_nothing_of_the_connection),
      cmocka_unit_test(request_timeout_spares_an_ended_response),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
