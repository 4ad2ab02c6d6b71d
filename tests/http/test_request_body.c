/* A request's body from the handler's side: its end, its time, and what becomes
 * of one that nobody reads to the end. */
#include "house.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POST(len)                                                              \
  "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " #len "\r\n\r\n"

typedef struct got {
  int calls;
  size_t len;
  int end; /* 0: not yet */
  int ends;
  dusk_response_t *answers; /* at a failure */
} got_t;

static void on_body(dusk_request_t *req, ssize_t nread, const char *data,
                    void *arg) {
  (void)req;
  (void)data;
  got_t *got = arg;
  got->calls++;
  if (nread > 0) {
    got->len += (size_t)nread;
    return;
  }
  got->end = (int)nread;
  got->ends++;
  if (got->answers)
    assert_int_equal(dusk_response_text(got->answers, 200, "late\n"), 0);
}

static void ask_for_body(loopback_t *lb, got_t *got) {
  assert_int_equal(dusk_request_body(lb->held.req, on_body, got), 0);
}

/* -- The end --------------------------------------------------------------- */

static void srv_193_the_end_is_told_once(void **state) {
  loopback_t *lb = *state;
  static const char *const requests[] = {
      POST(5) "hello", CHUNKED "5\r\nhello\r\n0\r\n\r\n", GET};
  for (size_t i = 0; i < 3; i++) {
    got_t got = {0};
    hold(lb, DEFAULTS, requests[i]);
    ask_for_body(lb, &got);
    AWAIT(lb, got.end);
    assert_int_equal(got.end, UV_EOF);
    assert_int_equal(got.len, i < 2 ? 5 : 0);
    assert_int_equal(dusk_request_body(lb->held.req, on_body, &got),
                     DUSK_EBODYTAKEN);
    turn(lb, 3);
    assert_int_equal(got.ends, 1);
    dusk_response_end(lb->held.res, NULL, 0);
    assert_int_equal(got.ends, 1);
    end_all(lb);
  }
}

static void end_and_ask(dusk_response_t *res, dusk_request_t *req, void *arg) {
  dusk_response_text(res, 200, "hello\n");
  assert_int_equal(dusk_request_body(req, on_body, arg), UV_ECANCELED);
}

static void srv_194_no_body_after_the_responses_end(void **state) {
  loopback_t *lb = *state;
  got_t got = {0};
  serve(lb,
        (dusk_server_config_t){.handler = end_and_ask, .handler_arg = &got});
  ask(lb, connect_client(lb), POST(5) "hello");
  turn(lb, 3);
  assert_int_equal(got.calls, 0);
}

static void srv_195_the_rest_of_a_body_is_dropped(void **state) {
  loopback_t *lb = *state;
  got_t got = {0};
  int client = hold(lb, DEFAULTS, POST(10) "01234");
  ask_for_body(lb, &got);
  AWAIT(lb, got.len);
  dusk_response_end(lb->held.res, "x", 1);
  assert_lacks(hear(lb, client, "\r\n\r\nx"), "Connection");
  hold_next(lb, client, "56789" GET);
  assert_int_equal(got.calls, 1); /* of the rest it heard nothing */
  dusk_response_end(lb->held.res, NULL, 0);
}

static void srv_213_a_handler_may_write_first(void **state) {
  loopback_t *lb = *state;
  got_t got = {0};
  int client = hold(lb, DEFAULTS, CHUNKED);
  assert_int_equal(dusk_response_write(lb->held.res, "first", 5), 0);
  hear(lb, client, "first");
  ask_for_body(lb, &got);
  say(client, "5\r\nhello\r\n0\r\n\r\n");
  AWAIT(lb, got.end);
  assert_int_equal(got.end, UV_EOF);
  assert_int_equal(got.len, 5);
  assert_int_equal(dusk_response_end(lb->held.res, "last", 4), 0);
  hear(lb, client, "last\r\n0\r\n\r\n");
}

/* -- Time ------------------------------------------------------------------ */

static void srv_117_a_body_too_late_can_be_answered(void **state) {
  loopback_t *lb = *state;
  got_t got = {0};
  int client =
      hold(lb, (dusk_server_config_t){.body_timeout_ms = 50}, POST(10) "01234");
  got.answers = lb->held.res;
  ask_for_body(lb, &got);
  assert_has(hear(lb, client, NULL), "HTTP/1.1 200 OK\r\n");
  assert_has(lb->heard, "Connection: close\r\n");
  assert_has(lb->heard, "\r\n\r\nlate\n");
  assert_int_equal(got.end, UV_ETIMEDOUT);
  assert_int_equal(got.ends, 1);
}

/* Nor one that nobody asks for. */
static void srv_118_a_body_that_was_read_has_no_time(void **state) {
  loopback_t *lb = *state;
  static const char *const requests[] = {POST(5) "hello", POST(5) "he"};
  for (size_t i = 0; i < 2; i++) {
    got_t got = {0};
    dusk_server_config_t config = {.body_timeout_ms = 20,
                                   .header_timeout_ms = 20};
    int client = hold(lb, config, requests[i]);
    dusk_context_t *ctx = held_context(lb);
    if (i == 0) {
      ask_for_body(lb, &got);
      AWAIT(lb, got.end);
    }
    loopback_run_for(lb, 100);
    assert_int_equal(dusk_context_err(ctx), 0);
    assert_int_equal(dusk_response_end(lb->held.res, "slow", 4), 0);
    hear(lb, client, "\r\n\r\nslow");
    end_all(lb);
  }
}

/* -- What nobody reads ----------------------------------------------------- */

/* Go: 262,143 kept, 262,144 closed. */
static void srv_204_205_206_what_is_missing_decides(void **state) {
  loopback_t *lb = *state;
  enum { KEPT = 262143 };
  static char rest[KEPT + 1];
  memset(rest, 'a', KEPT);
  int client = hold(lb, DEFAULTS, POST(262143));
  dusk_response_end(lb->held.res, "x", 1);
  assert_lacks(hear(lb, client, "\r\n\r\nx"), "Connection"); /* before it */
  say_all(lb, client, rest);
  hold_next(lb, client, GET);
  dusk_response_end(lb->held.res, NULL, 0);
  end_all(lb);

  client = hold(lb, DEFAULTS, POST(262144));
  dusk_response_end(lb->held.res, "x", 1);
  assert_has(hear(lb, client, NULL), "Connection: close\r\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(srv_193_the_end_is_told_once),
      house_test(srv_194_no_body_after_the_responses_end),
      house_test(srv_195_the_rest_of_a_body_is_dropped),
      house_test(srv_213_a_handler_may_write_first),
      house_test(srv_117_a_body_too_late_can_be_answered),
      house_test(srv_118_a_body_that_was_read_has_no_time),
      house_test(srv_204_205_206_what_is_missing_decides),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
