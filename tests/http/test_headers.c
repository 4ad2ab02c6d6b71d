/* The fields that a handler gives its response, and what becomes of those that
 * are the server's business, too. */
#include "loopback.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define GET_CLOSE "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
#define GET_OLD "GET / HTTP/1.0\r\n\r\n"
#define GET_OLD_KEEP "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"

typedef struct dialogue {
  loopback_t lb;
  held_t held;
  int client;
  char answer[2048];
} dialogue_t;

/* A request whose response the test has. */
static dusk_response_t *ask(dialogue_t *dialogue, const char *request) {
  dialogue->client = loopback_hold(&dialogue->lb, &dialogue->held,
                                   (dusk_server_config_t){0}, request);
  return dialogue->held.res;
}

/* Receives the answer, which ends in "body", and ends all. */
static const char *hear(dialogue_t *dialogue) {
  loopback_receive(&dialogue->lb, dialogue->client, dialogue->answer,
                   sizeof(dialogue->answer), "body");
  close(dialogue->client);
  loopback_close(&dialogue->lb, 5000);
  return dialogue->answer;
}

static const char *end_and_hear(dialogue_t *dialogue) {
  assert_int_equal(dusk_response_end(dialogue->held.res, "body", 4), 0);
  return hear(dialogue);
}

static int count_of(const char *text, const char *part) {
  int count = 0;
  for (; (text = strstr(text, part)) != NULL; text++)
    count++;
  return count;
}

static void set_add_remove_and_get(void **state) {
  (void)state;
  dialogue_t dialogue;
  dusk_response_t *res = ask(&dialogue, GET);
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
  const char *answer = end_and_hear(&dialogue);
  assert_non_null(strstr(answer, "\r\nX-B: keep\r\nX-A: 3\r\n"));
  assert_int_equal(count_of(answer, "X-"), 2);
}

static void values_given_out_are_written_whole(void **state) {
  (void)state;
  dialogue_t dialogue;
  dusk_response_t *res = ask(&dialogue, GET);
  dusk_response_set_header(res, "A", "one");
  dusk_response_set_header(res, "B", "two");
  const char *one = dusk_response_get_header(res, "a");
  const char *two = dusk_response_get_header(res, "b");
  assert_string_equal(one, "one");
  assert_string_equal(two, "two");
  const char *answer = end_and_hear(&dialogue);
  assert_non_null(strstr(answer, "\r\nA: one\r\nB: two\r\n"));
}

static void text_leaves_the_handlers_type(void **state) {
  (void)state;
  dialogue_t dialogue;
  dusk_response_t *res = ask(&dialogue, GET);
  dusk_response_set_header(res, "content-type", "text/html");
  assert_int_equal(dusk_response_text(res, 201, "body"), 0);
  const char *answer = hear(&dialogue);
  assert_non_null(strstr(answer, "content-type: text/html\r\n"));
  assert_null(strstr(answer, "Content-Type"));
  ask(&dialogue, GET);
  assert_int_equal(dusk_response_text(dialogue.held.res, 200, "body"), 0);
  answer = hear(&dialogue);
  assert_int_equal(
      count_of(answer, "Content-Type: text/plain; charset=utf-8\r\n"), 1);
}

static void a_length_is_declared_and_taken_back(void **state) {
  (void)state;
  dialogue_t dialogue;
  dusk_response_t *res = ask(&dialogue, GET);
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
  assert_int_equal(count_of(hear(&dialogue), "Content-Length: 4\r\n"), 1);
}

static void there_is_one_date(void **state) {
  (void)state;
  dialogue_t dialogue;
  dusk_response_t *res = ask(&dialogue, GET);
  assert_null(dusk_response_get_header(res, "Date"));
  dusk_response_add_header(res, "Date", "then");
  dusk_response_add_header(res, "Date", "now");
  assert_string_equal(dusk_response_get_header(res, "Date"), "now");
  const char *answer = end_and_hear(&dialogue);
  assert_non_null(strstr(answer, "Date: now\r\n"));
  assert_int_equal(count_of(answer, "Date: "), 1);
  res = ask(&dialogue, GET);
  dusk_response_set_header(res, "Date", "now");
  dusk_response_remove_header(res, "Date");
  answer = end_and_hear(&dialogue);
  assert_non_null(strstr(answer, " GMT\r\n")); /* the server's is back */
  assert_int_equal(count_of(answer, "Date: "), 1);
}

static void the_encoding_is_the_servers(void **state) {
  (void)state;
  dialogue_t dialogue;
  dusk_response_t *res = ask(&dialogue, GET);
  assert_int_equal(
      dusk_response_set_header(res, "Transfer-Encoding", "chunked"), UV_EINVAL);
  assert_null(dusk_response_get_header(res, "Transfer-Encoding"));
  assert_int_equal(dusk_response_remove_header(res, "Transfer-Encoding"), 0);
  end_and_hear(&dialogue);
}

/* RFC 9110, 7.6.1 */
static void connection_is_said_once(void **state) {
  (void)state;
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
    dialogue_t dialogue;
    dusk_response_t *res = ask(&dialogue, cases[i].request);
    if (cases[i].first)
      dusk_response_add_header(res, "Connection", cases[i].first);
    if (cases[i].second)
      dusk_response_add_header(res, "connection", cases[i].second);
    dusk_response_add_header(res, "X-Last", "1");
    const char *answer = end_and_hear(&dialogue);
    char line[80];
    snprintf(line, sizeof(line), "\r\nConnection: %s\r\n",
             cases[i].said ? cases[i].said : "");
    assert_int_equal(count_of(answer, line), cases[i].said != NULL);
    assert_int_equal(count_of(answer, "onnection"), cases[i].said != NULL);
    assert_non_null(strstr(answer, "\r\nX-Last: 1\r\n"));
  }
}

static void close_can_be_taken_back(void **state) {
  (void)state;
  dialogue_t dialogue;
  dusk_response_t *res = ask(&dialogue, GET);
  dusk_response_set_header(res, "Connection", "close");
  assert_string_equal(dusk_response_get_header(res, "connection"), "close");
  dusk_response_remove_header(res, "Connection");
  assert_null(dusk_response_get_header(res, "connection"));
  assert_null(strstr(end_and_hear(&dialogue), "onnection"));
}

static void many_options_fit(void **state) {
  (void)state;
  dialogue_t dialogue;
  dusk_response_t *res = ask(&dialogue, GET_CLOSE);
  static char options[32000];
  memset(options, ',', sizeof(options) - 1);
  for (size_t i = 0; i < sizeof(options) - 1; i += 2)
    options[i] = 'a';
  assert_int_equal(dusk_response_set_header(res, "Connection", options), 0);
  assert_int_equal(dusk_response_end(res, "body", 4), 0);
  static char answer[65536];
  loopback_receive(&dialogue.lb, dialogue.client, answer, sizeof(answer), NULL);
  assert_int_equal(count_of(answer, "a, "), 16000);
  assert_non_null(strstr(answer, "a, close\r\n\r\nbody"));
  close(dialogue.client);
  loopback_close(&dialogue.lb, 5000);
}

/* A drain begins between the handler's words and the header. */
static void the_drains_close_stands_alone(void **state) {
  (void)state;
  dialogue_t dialogue;
  dusk_response_t *res = ask(&dialogue, GET);
  dusk_response_set_header(res, "Connection", "keep-alive");
  dusk_server_lame_duck(dialogue.lb.server, true);
  const char *answer = end_and_hear(&dialogue);
  assert_non_null(strstr(answer, "\r\nConnection: close\r\n"));
  assert_null(strstr(answer, "keep-alive"));
}

/* The memory that its value lies in may move when another is added. */
static void a_field_may_be_copied_to_another(void **state) {
  (void)state;
  dialogue_t dialogue;
  char value[201];
  memset(value, 'v', 200);
  value[200] = '\0';
  dusk_response_t *res = ask(&dialogue, GET);
  assert_int_equal(dusk_response_set_header(res, "X-A", value), 0);
  assert_int_equal(dusk_response_set_header(
                       res, "X-B", dusk_response_get_header(res, "X-A")),
                   0);
  const char *answer = end_and_hear(&dialogue);
  assert_non_null(strstr(answer, "X-B: "));
  assert_int_equal(count_of(answer, value), 2);
}

static void no_body(dusk_request_t *req, ssize_t nread, const char *data,
                    void *arg) {
  (void)req;
  (void)nread;
  (void)data;
  (void)arg;
}

/* What is missing of a body that the answer gives up is too much to wait for.
 */
static void an_answer_before_a_large_body_says_close(void **state) {
  (void)state;
  dialogue_t dialogue;
  ask(&dialogue, "POST / HTTP/1.0\r\nConnection: keep-alive\r\n"
                 "Content-Length: 900000\r\n\r\n");
  assert_int_equal(dusk_request_body(dialogue.held.req, no_body, NULL), 0);
  const char *answer = end_and_hear(&dialogue);
  assert_null(strstr(answer, "keep-alive"));
}

static void ignore_body(dusk_request_t *req, int status, const char *data,
                        size_t len, void *arg) {
  (void)req;
  (void)data;
  (void)len;
  *(int *)arg = status;
}

static void a_body_that_is_refused_is_not_asked_for(void **state) {
  (void)state;
  dialogue_t dialogue;
  int status = 0;
  dusk_response_t *res =
      ask(&dialogue, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n"
                     "Expect: 100-continue\r\n\r\n");
  assert_int_equal(
      dusk_request_collect(dialogue.held.req, 4, ignore_body, &status), 0);
  loopback_run_until(&dialogue.lb, &status);
  assert_int_equal(status, DUSK_EBODYTOOLARGE);
  dusk_response_end(res, "body", 4);
  assert_null(strstr(hear(&dialogue), "100 Continue"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_field_may_be_copied_to_another),
      cmocka_unit_test(an_answer_before_a_large_body_says_close),
      cmocka_unit_test(a_body_that_is_refused_is_not_asked_for),
      cmocka_unit_test(set_add_remove_and_get),
      cmocka_unit_test(values_given_out_are_written_whole),
      cmocka_unit_test(text_leaves_the_handlers_type),
      cmocka_unit_test(a_length_is_declared_and_taken_back),
      cmocka_unit_test(there_is_one_date),
      cmocka_unit_test(the_encoding_is_the_servers),
      cmocka_unit_test(connection_is_said_once),
      cmocka_unit_test(close_can_be_taken_back),
      cmocka_unit_test(many_options_fit),
      cmocka_unit_test(the_drains_close_stands_alone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
