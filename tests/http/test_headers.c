/* The fields that a handler gives its response, and what becomes of those that
 * are the server's business, too. */
#include "house.h"

#include <stdio.h>
#include <string.h>

#define GET_CLOSE "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
#define GET_OLD "GET / HTTP/1.0\r\n\r\n"
#define GET_OLD_KEEP "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"

/* A request whose response the test has. */
static dusk_response_t *hold_one(loopback_t *lb, const char *request) {
  end_all(lb); /* the one before */
  hold(lb, DEFAULTS, request);
  return lb->held.res;
}

/* The answer, which ends in "body". */
static const char *hear_body(loopback_t *lb) {
  return hear(lb, lb->clients[0], "body");
}

static const char *end_and_hear(loopback_t *lb) {
  assert_int_equal(dusk_response_end(lb->held.res, "body", 4), 0);
  return hear_body(lb);
}

static void set_add_remove_and_get(void **state) {
  loopback_t *lb = *state;
  dusk_response_t *res = hold_one(lb, GET);
  assert_null(dusk_response_get_header(res, "X-A"));
  assert_int_equal(dusk_response_add_header(res, "X-A", "1"), 0);
  assert_int_equal(dusk_response_add_header(res, "X-B", "keep"), 0);
  assert_int_equal(dusk_response_add_header(res, "x-a", "2"), 0);
  assert_int_equal(dusk_response_add_header(res, "X-C", ""), 0);
  assert_string_equal(dusk_response_get_header(res, "x-A"), "1");
  assert_string_equal(dusk_response_get_header(res, "X-C"), "");
  assert_int_equal(dusk_response_set_header(res, "X-A", "3"), 0);
  assert_string_equal(dusk_response_get_header(res, "X-A"), "3");
  assert_int_equal(dusk_response_remove_header(res, "x-c"), 0);
  assert_null(dusk_response_get_header(res, "X-C"));
  assert_int_equal(dusk_response_remove_header(res, "X-C"), 0);
  assert_int_equal(dusk_response_remove_header(res, "X C"), UV_EINVAL);
  assert_int_equal(dusk_response_remove_header(res, NULL), UV_EINVAL);
  assert_string_equal(dusk_response_get_header(res, "X-B"), "keep");
  const char *answer = end_and_hear(lb);
  assert_has(answer, "\r\nX-B: keep\r\nX-A: 3\r\n");
  assert_int_equal(count_of(answer, "X-"), 2);
}

static void values_given_out_are_written_whole(void **state) {
  loopback_t *lb = *state;
  dusk_response_t *res = hold_one(lb, GET);
  dusk_response_set_header(res, "A", "one");
  dusk_response_set_header(res, "B", "two");
  const char *one = dusk_response_get_header(res, "a");
  const char *two = dusk_response_get_header(res, "b");
  assert_string_equal(one, "one");
  assert_string_equal(two, "two");
  const char *answer = end_and_hear(lb);
  assert_has(answer, "\r\nA: one\r\nB: two\r\n");
}

static void text_leaves_the_handlers_type(void **state) {
  loopback_t *lb = *state;
  dusk_response_t *res = hold_one(lb, GET);
  dusk_response_set_header(res, "content-type", "text/html");
  assert_int_equal(dusk_response_text(res, 201, "body"), 0);
  const char *answer = hear_body(lb);
  assert_has(answer, "content-type: text/html\r\n");
  assert_lacks(answer, "Content-Type");
  hold_one(lb, GET);
  assert_int_equal(dusk_response_text(lb->held.res, 200, "body"), 0);
  answer = hear_body(lb);
  assert_int_equal(
      count_of(answer, "Content-Type: text/plain; charset=utf-8\r\n"), 1);
}

static void a_length_is_declared_and_taken_back(void **state) {
  loopback_t *lb = *state;
  dusk_response_t *res = hold_one(lb, GET);
  assert_null(dusk_response_get_header(res, "Content-Length"));
  dusk_response_set_header(res, "Content-Length", "007");
  assert_string_equal(dusk_response_get_header(res, "content-length"), "7");
  dusk_response_add_header(res, "Content-Length", "9");
  assert_string_equal(dusk_response_get_header(res, "content-length"), "9");
  assert_int_equal(dusk_response_remove_header(res, "Content-Length"), 0);
  assert_null(dusk_response_get_header(res, "Content-Length"));
  dusk_response_set_header(res, "Content-Length", "4");
  dusk_response_write(res, "bo", 2); /* the header */
  assert_string_equal(dusk_response_get_header(res, "Content-Length"), "4");
  assert_int_equal(dusk_response_remove_header(res, "Content-Length"),
                   DUSK_EHEADERSENT);
  assert_int_equal(dusk_response_end(res, "dy", 2), 0);
  assert_int_equal(count_of(hear_body(lb), "Content-Length: 4\r\n"), 1);
}

/* SRV-237 */
static void there_is_one_date(void **state) {
  loopback_t *lb = *state;
  dusk_response_t *res = hold_one(lb, GET);
  assert_null(dusk_response_get_header(res, "Date"));
  dusk_response_add_header(res, "Date", "then");
  dusk_response_add_header(res, "Date", "now");
  assert_string_equal(dusk_response_get_header(res, "Date"), "now");
  const char *answer = end_and_hear(lb);
  assert_has(answer, "Date: now\r\n");
  assert_int_equal(count_of(answer, "Date: "), 1);
  res = hold_one(lb, GET);
  dusk_response_set_header(res, "Date", "now");
  dusk_response_remove_header(res, "Date");
  answer = end_and_hear(lb);
  assert_has(answer, " GMT\r\n"); /* the server's is back */
  assert_int_equal(count_of(answer, "Date: "), 1);
}

/* SRV-249, SRV-250, SRV-251 */
static void srv_248_the_encoding_is_the_servers(void **state) {
  loopback_t *lb = *state;
  static const char *const encodings[] = {"chunked", "gzip", "identity"};
  dusk_response_t *res = hold_one(lb, GET);
  assert_int_equal(dusk_response_set_header(res, "Content-Length", "4"), 0);
  for (size_t i = 0; i < sizeof(encodings) / sizeof(*encodings); i++) {
    assert_int_equal(
        dusk_response_set_header(res, "Transfer-Encoding", encodings[i]),
        UV_EINVAL);
    assert_int_equal(
        dusk_response_add_header(res, "transfer-encoding", encodings[i]),
        UV_EINVAL);
  }
  assert_null(dusk_response_get_header(res, "Transfer-Encoding"));
  assert_int_equal(dusk_response_remove_header(res, "Transfer-Encoding"), 0);
  const char *answer = end_and_hear(lb);
  assert_has(answer, "\r\nContent-Length: 4\r\n"); /* as before */
  assert_lacks(answer, "ransfer-");
}

/* RFC 9110, 7.6.1; SRV-090 */
static void connection_is_said_once(void **state) {
  loopback_t *lb = *state;
  static const struct {
    const char *request;
    const char *first; /* the handler's, and another one */
    const char *second;
    const char *said; /* NULL: nothing */
  } cases[] = {
      {GET, "keep-alive", NULL, "keep-alive"},
      {GET, "upgrade", NULL, "upgrade"},
      {GET, "close", NULL, "close"},
      {GET, "Close,Keep-Alive", NULL, "close"},
      {GET, "upgrade,close", "x-hop", "upgrade, x-hop, close"},
      {GET, "upgrade", "keep-alive", "upgrade, keep-alive"},
      {GET, ",", NULL, NULL},
      {GET, "", NULL, NULL},
      {GET_CLOSE, "keep-alive", NULL, "close"},
      {GET_CLOSE, "keep-alive, Upgrade", NULL, "Upgrade, close"},
      {GET_OLD_KEEP, NULL, NULL, "keep-alive"},
      {GET_OLD_KEEP, "keep-alive", NULL, "keep-alive"},
      {GET_OLD_KEEP, "close", NULL, "close"},
      {GET_OLD, "keep-alive", NULL, "close"},
      {GET_OLD, NULL, NULL, NULL},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    dusk_response_t *res = hold_one(lb, cases[i].request);
    if (cases[i].first)
      dusk_response_add_header(res, "Connection", cases[i].first);
    if (cases[i].second)
      dusk_response_add_header(res, "connection", cases[i].second);
    dusk_response_add_header(res, "X-Last", "1");
    const char *answer = end_and_hear(lb);
    char line[80];
    snprintf(line, sizeof(line), "\r\nConnection: %s\r\n",
             cases[i].said ? cases[i].said : "");
    assert_int_equal(count_of(answer, line), cases[i].said != NULL);
    assert_int_equal(count_of(answer, "onnection"), cases[i].said != NULL);
    assert_has(answer, "\r\nX-Last: 1\r\n");
  }
}

static void close_can_be_taken_back(void **state) {
  loopback_t *lb = *state;
  dusk_response_t *res = hold_one(lb, GET);
  dusk_response_set_header(res, "Connection", "close");
  assert_string_equal(dusk_response_get_header(res, "connection"), "close");
  dusk_response_remove_header(res, "Connection");
  assert_null(dusk_response_get_header(res, "connection"));
  assert_lacks(end_and_hear(lb), "onnection");
}

static void many_options_fit(void **state) {
  loopback_t *lb = *state;
  dusk_response_t *res = hold_one(lb, GET_CLOSE);
  static char options[32000];
  memset(options, ',', sizeof(options) - 1);
  for (size_t i = 0; i < sizeof(options) - 1; i += 2)
    options[i] = 'a';
  assert_int_equal(dusk_response_set_header(res, "Connection", options), 0);
  assert_int_equal(dusk_response_end(res, "body", 4), 0);
  const char *answer = hear(lb, lb->clients[0], NULL);
  assert_int_equal(count_of(answer, "a, "), 16000);
  assert_has(answer, "a, close\r\n\r\nbody");
}

/* A drain begins between the handler's words and the header. */
static void the_drains_close_stands_alone(void **state) {
  loopback_t *lb = *state;
  dusk_response_t *res = hold_one(lb, GET);
  dusk_response_set_header(res, "Connection", "keep-alive");
  dusk_server_lame_duck(lb->server, true);
  const char *answer = end_and_hear(lb);
  assert_has(answer, "\r\nConnection: close\r\n");
  assert_lacks(answer, "keep-alive");
}

static void srv_091_keep_alive_is_not_said_at_the_end(void **state) {
  loopback_t *lb = *state;
  hold_one(lb, GET_OLD_KEEP);
  dusk_server_lame_duck(lb->server, true);
  assert_lacks(end_and_hear(lb), "onnection");
}

/* The memory that its value lies in may move when another is added. */
static void a_field_may_be_copied_to_another(void **state) {
  loopback_t *lb = *state;
  char value[201];
  memset(value, 'v', 200);
  value[200] = '\0';
  dusk_response_t *res = hold_one(lb, GET);
  assert_int_equal(dusk_response_set_header(res, "X-A", value), 0);
  assert_int_equal(dusk_response_set_header(
                       res, "X-B", dusk_response_get_header(res, "X-A")),
                   0);
  const char *answer = end_and_hear(lb);
  assert_has(answer, "X-B: ");
  assert_int_equal(count_of(answer, value), 2);
}

static void no_body(dusk_request_t *req, ssize_t nread, const char *data,
                    void *arg) {
  (void)req;
  (void)nread;
  (void)data;
  (void)arg;
}

/* What is missing of a body that the answer gives up is too much to wait for:
 * SRV-204. */
static void an_answer_before_a_large_body_says_close(void **state) {
  loopback_t *lb = *state;
  hold_one(lb, "POST / HTTP/1.0\r\nConnection: keep-alive\r\n"
               "Content-Length: 900000\r\n\r\n");
  assert_int_equal(dusk_request_body(lb->held.req, no_body, NULL), 0);
  const char *answer = end_and_hear(lb);
  assert_lacks(answer, "keep-alive");
}

static void ignore_body(dusk_request_t *req, int status, const char *data,
                        size_t len, void *arg) {
  (void)req;
  (void)data;
  (void)len;
  *(int *)arg = status;
}

static void a_body_that_is_refused_is_not_asked_for(void **state) {
  loopback_t *lb = *state;
  int status = 0;
  dusk_response_t *res =
      hold_one(lb, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n"
                   "Expect: 100-continue\r\n\r\n");
  assert_int_equal(dusk_request_collect(lb->held.req, 4, ignore_body, &status),
                   0);
  AWAIT(lb, status);
  assert_int_equal(status, DUSK_EBODYTOOLARGE);
  dusk_response_end(res, "body", 4);
  const char *answer = hear(lb, lb->clients[0], "\r\n\r\n413 ");
  assert_lacks(answer, "100 Continue");
}

static void on_late_body(dusk_request_t *req, ssize_t nread, const char *data,
                         void *arg) {
  size_t *got = arg;
  (void)req;
  (void)data;
  *got += nread > 0 ? (size_t)nread : 100;
  assert_true(nread > 0 || nread == UV_EOF);
}

/* Who sends it without waiting has it read. */
static void srv_223_behind_the_header_no_body_is_asked_for(void **state) {
  loopback_t *lb = *state;
  size_t got = 0;
  dusk_response_t *res =
      hold_one(lb, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n"
                   "Expect: 100-continue\r\n\r\n");
  assert_int_equal(dusk_response_write(res, NULL, 0), 0);
  assert_int_equal(dusk_request_body(lb->held.req, on_late_body, &got), 0);
  assert_has(hear(lb, lb->clients[0], "\r\n\r\n"), "Connection: close\r\n");
  assert_lacks(lb->heard, "100 Continue");
  say(lb->clients[0], "late");
  AWAIT(lb, got == 104);
  assert_int_equal(dusk_response_end(res, "body", 4), 0);
  assert_string_equal(hear(lb, lb->clients[0], NULL), "4\r\nbody\r\n0\r\n\r\n");
}

static void on_no_body(dusk_request_t *req, ssize_t nread, const char *data,
                       void *arg) {
  (void)req;
  (void)data;
  *(ssize_t *)arg = nread;
}

static void srv_223_and_not_waited_for_without_end(void **state) {
  loopback_t *lb = *state;
  ssize_t ended = 0;
  hold(lb, (dusk_server_config_t){.body_timeout_ms = 30},
       "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n"
       "Expect: 100-continue\r\n\r\n");
  assert_int_equal(dusk_response_write(lb->held.res, NULL, 0), 0);
  assert_int_equal(dusk_request_body(lb->held.req, on_no_body, &ended), 0);
  AWAIT(lb, ended);
  assert_int_equal(ended, UV_ETIMEDOUT);
  assert_int_equal(dusk_response_end(lb->held.res, "body", 4), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(a_field_may_be_copied_to_another),
      house_test(an_answer_before_a_large_body_says_close),
      house_test(a_body_that_is_refused_is_not_asked_for),
      house_test(srv_223_behind_the_header_no_body_is_asked_for),
      house_test(srv_223_and_not_waited_for_without_end),
      house_test(set_add_remove_and_get),
      house_test(values_given_out_are_written_whole),
      house_test(text_leaves_the_handlers_type),
      house_test(a_length_is_declared_and_taken_back),
      house_test(there_is_one_date),
      house_test(srv_248_the_encoding_is_the_servers),
      house_test(connection_is_said_once),
      house_test(close_can_be_taken_back),
      house_test(many_options_fit),
      house_test(the_drains_close_stands_alone),
      house_test(srv_091_keep_alive_is_not_said_at_the_end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
