/* What a handler can ask of a request and do with a response. */
#include "house.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* -- Request --------------------------------------------------------------- */

static void parts_of_a_request(void **state) {
  loopback_t *lb = *state;
  hold(lb, DEFAULTS,
       "GET /a%20b/c?x=1%2B1&y=a+b&z&bad=%zz HTTP/1.1\r\n"
       "Host: example.org:80\r\nA: one\r\n"
       "B:  spaced \t\r\na: two\r\nEmpty:\r\n\r\n");
  dusk_request_t *req = lb->held.req;
  assert_string_equal(dusk_request_method(req), "GET");
  assert_string_equal(dusk_request_target(req),
                      "/a%20b/c?x=1%2B1&y=a+b&z&bad=%zz");
  assert_string_equal(dusk_request_path(req), "/a%20b/c");
  assert_string_equal(dusk_request_query(req), "x=1%2B1&y=a+b&z&bad=%zz");
  assert_string_equal(dusk_request_host(req), "example.org:80");
  assert_int_equal(dusk_request_version_minor(req), 1);
  assert_int_equal(dusk_request_content_length(req), 0);
  assert_string_equal(dusk_request_header(req, "a"), "one");
  assert_string_equal(dusk_request_header(req, "b"), "spaced"); /* SRV-166 */
  assert_string_equal(dusk_request_header(req, "EMPTY"), "");
  assert_null(dusk_request_header(req, "none"));
  const char *name, *value;
  assert_true(dusk_request_header_at(req, 3, &name, &value)); /* SRV-168 */
  assert_string_equal(name, "a");
  assert_string_equal(value, "two");
  assert_false(dusk_request_header_at(req, 5, &name, &value));
  char buf[16];
  assert_int_equal(dusk_request_query_value(req, "x", buf, sizeof(buf)), 3);
  assert_string_equal(buf, "1+1");
  assert_int_equal(dusk_request_query_value(req, "y", buf, sizeof(buf)), 3);
  assert_string_equal(buf, "a b");
  assert_int_equal(dusk_request_query_value(req, "z", buf, sizeof(buf)), 0);
  assert_int_equal(dusk_request_query_value(req, "bad", buf, sizeof(buf)),
                   UV_EINVAL);
  assert_int_equal(dusk_request_query_value(req, "w", buf, sizeof(buf)),
                   UV_ENOENT);
  assert_int_equal(dusk_request_query_value(req, "x", buf, 3), UV_ENOBUFS);
  assert_int_equal(strncmp(dusk_request_peer(req), "127.0.0.1:", 10), 0);
  static const dusk_key_t key = {"key"};
  assert_int_equal(dusk_request_set_value(req, &key, buf, NULL), 0);
  assert_ptr_equal(dusk_request_value(req, &key), buf);
  dusk_response_end(lb->held.res, NULL, 0);
}

static void srv_157_absolute_target(void **state) {
  loopback_t *lb = *state;
  hold(lb, DEFAULTS, "GET http://o.org:1?q=1 HTTP/1.1\r\nHost: h\r\n\r\n");
  assert_string_equal(dusk_request_path(lb->held.req), "/");
  assert_string_equal(dusk_request_query(lb->held.req), "q=1");
  assert_string_equal(dusk_request_host(lb->held.req), "o.org:1");
  dusk_response_end(lb->held.res, NULL, 0);
}

static void percent_decoding(void **state) {
  (void)state;
  char buf[8];
  assert_int_equal(dusk_percent_decode("a%2Fb+", buf, sizeof(buf)), 4);
  assert_string_equal(buf, "a/b+");
  assert_int_equal(dusk_percent_decode("%4", buf, sizeof(buf)), UV_EINVAL);
  assert_int_equal(dusk_percent_decode("%", buf, sizeof(buf)), UV_EINVAL);
  assert_int_equal(dusk_percent_decode("%00", buf, sizeof(buf)), UV_EINVAL);
  assert_int_equal(dusk_percent_decode("12345678", buf, sizeof(buf)),
                   UV_ENOBUFS);
  assert_int_equal(dusk_percent_decode("", buf, 0), UV_ENOBUFS);
}

/* -- Body ------------------------------------------------------------------ */

typedef struct got {
  char bytes[65536];
  size_t len;
  int end; /* 0: not yet */
  dusk_response_t *res;
  bool pause; /* after each piece */
} got_t;

static void on_body(dusk_request_t *req, ssize_t nread, const char *data,
                    void *arg) {
  got_t *got = arg;
  if (nread < 0) {
    got->end = (int)nread;
    return;
  }
  memcpy(got->bytes + got->len, data, (size_t)nread);
  got->len += (size_t)nread;
  if (got->pause) dusk_request_pause(req);
}

static void srv_189_trailers(void **state) {
  loopback_t *lb = *state;
  static got_t got;
  memset(&got, 0, sizeof(got));
  int client = hold(lb, DEFAULTS, CHUNKED);
  assert_int_equal(dusk_request_content_length(lb->held.req), DUSK_OFF);
  assert_int_equal(dusk_request_body(lb->held.req, on_body, &got), 0);
  assert_int_equal(dusk_request_body(lb->held.req, on_body, &got),
                   DUSK_EBODYTAKEN);
  /* In pieces, so that names and values are cut. */
  static const char *const pieces[] = {"3\r\nab", "c\r\n0\r\nSu", "m: 1",
                                       "23\r\n",  "Void:\r",      "\n\r\n"};
  for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++) {
    assert_null(dusk_request_trailer(lb->held.req, "Sum"));
    say(client, pieces[i]);
    uv_run(&lb->loop, UV_RUN_ONCE);
  }
  AWAIT(lb, got.end);
  assert_int_equal(got.end, UV_EOF);
  assert_memory_equal(got.bytes, "abc", got.len);
  assert_int_equal(got.len, 3);
  assert_string_equal(dusk_request_trailer(lb->held.req, "sum"), "123");
  assert_string_equal(dusk_request_trailer(lb->held.req, "void"), "");
  assert_null(dusk_request_header(lb->held.req, "sum"));
  dusk_response_end(lb->held.res, NULL, 0);
}

static void a_folded_trailer_is_refused(void **state) {
  loopback_t *lb = *state;
  static got_t got;
  memset(&got, 0, sizeof(got));
  int client = hold(lb, DEFAULTS, CHUNKED);
  assert_int_equal(dusk_request_body(lb->held.req, on_body, &got), 0);
  say(client, "0\r\nA: b\r\n c\r\n\r\n");
  AWAIT(lb, got.end);
  assert_int_equal(got.end, DUSK_EBADBODY);
  dusk_response_end(lb->held.res, NULL, 0);
}

static void pause_inside_the_callback_holds_at_once(void **state) {
  loopback_t *lb = *state;
  static got_t got;
  memset(&got, 0, sizeof(got));
  got.pause = true;
  hold(lb, DEFAULTS, CHUNKED "1\r\na\r\n1\r\nb\r\n0\r\n\r\n");
  assert_int_equal(dusk_request_body(lb->held.req, on_body, &got), 0);
  for (size_t len = 1; len <= 2; len++) {
    turn(lb, 5);
    assert_int_equal(got.len, len);
    assert_int_equal(got.end, 0);
    dusk_request_resume(lb->held.req);
  }
  AWAIT(lb, got.end);
  assert_int_equal(got.end, UV_EOF);
  dusk_response_end(lb->held.res, NULL, 0);
}

typedef struct collected {
  int status;
  int called;
  char text[64];
} collected_t;

static void on_collected(dusk_request_t *req, int status, const char *data,
                         size_t len, void *arg) {
  (void)req;
  collected_t *collected = arg;
  collected->status = status;
  collected->called++;
  assert_int_equal(strlen(data), len);
  strcpy(collected->text, data);
}

static void collects_up_to_a_limit(void **state) {
  loopback_t *lb = *state;
  collected_t collected = {0};
  int client = hold(lb, DEFAULTS, CHUNKED "3\r\nabc\r\n2\r\nde\r\n");
  assert_int_equal(
      dusk_request_collect(lb->held.req, 5, on_collected, &collected), 0);
  assert_int_equal(collected.called, 0);
  say(client, "0\r\n\r\n");
  AWAIT(lb, collected.called);
  assert_int_equal(collected.status, 0);
  assert_string_equal(collected.text, "abcde");
  dusk_response_end(lb->held.res, NULL, 0);
}

static void srv_198_more_than_the_limit_is_413(void **state) {
  loopback_t *lb = *state;
  static const char *const requests[] = {
      CHUNKED "3\r\nabc\r\n3\r\ndef\r\n",
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabcdef"};
  for (size_t i = 0; i < 2; i++) {
    collected_t collected = {0};
    int client = hold(lb, DEFAULTS, requests[i]);
    assert_int_equal(
        dusk_request_collect(lb->held.req, 5, on_collected, &collected), 0);
    AWAIT(lb, collected.called);
    assert_int_equal(collected.status, DUSK_EBODYTOOLARGE);
    assert_has(hear(lb, client, NULL), "HTTP/1.1 413 ");
    assert_has(lb->heard, "Connection: close\r\n");
    assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), UV_ECANCELED);
    end_all(lb);
  }
}

static void the_handler_may_answer_a_failure_itself(void **state) {
  loopback_t *lb = *state;
  static got_t got;
  memset(&got, 0, sizeof(got));
  int client = hold(lb, DEFAULTS, CHUNKED);
  dusk_response_status(lb->held.res, 422);
  dusk_response_write(lb->held.res, NULL, 0); /* the header */
  assert_int_equal(dusk_request_body(lb->held.req, on_body, &got), 0);
  say(client, "zz\r\n");
  AWAIT(lb, got.end);
  assert_int_equal(got.end, DUSK_EBADBODY);
  assert_int_equal(dusk_response_end(lb->held.res, "no", 2), 0);
  assert_has(hear(lb, client, NULL), "HTTP/1.1 422 ");
  assert_has(lb->heard, "\r\n\r\n2\r\nno\r\n0\r\n\r\n");
}

/* -- Response -------------------------------------------------------------- */

/* SRV-236, SRV-245 */
static void bad_arguments_are_errors(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  dusk_response_t *res = lb->held.res;
  static const char *const bad[][2] = {
      {"", "v"},
      {"a b", "v"},
      {"a:", "v"},
      {"a", "x\r\nb: c"},
      {"a", "\x7f"},
      {"Content-Length", "-1"},
      {"Content-Length", ""},
      {"Content-Length", "99999999999999999999"},
      {"Transfer-Encoding", "chunked"}};
  for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
    assert_int_equal(dusk_response_add_header(res, bad[i][0], bad[i][1]),
                     UV_EINVAL);
  assert_int_equal(dusk_response_add_header(res, NULL, "v"), UV_EINVAL);
  assert_int_equal(dusk_response_status(res, 199), UV_EINVAL); /* SRV-232 */
  assert_int_equal(dusk_response_status(res, 1000), UV_EINVAL);
  assert_int_equal(dusk_response_status(res, 299), 0);
  assert_int_equal(dusk_response_add_header(res, "X", "caf\xc3\xa9"), 0);
  assert_int_equal(dusk_response_write(res, "a", 1), 0);
  assert_int_equal(dusk_response_add_header(res, "Y", "z"), DUSK_EHEADERSENT);
  assert_int_equal(dusk_response_status(res, 200), DUSK_EHEADERSENT);
  assert_int_equal(dusk_response_end(res, NULL, 0), 0);
  hear(lb, client, "0\r\n\r\n");
  /* SRV-231 */
  assert_has(lb->heard, "HTTP/1.1 299 status code 299\r\n");
  assert_lacks(lb->heard, "Content-Length");
}

static void a_header_that_is_too_long_is_an_error(void **state) {
  loopback_t *lb = *state;
  hold(lb, DEFAULTS, GET);
  char *value = malloc(40000);
  memset(value, 'v', 39999);
  value[39999] = '\0';
  assert_int_equal(dusk_response_add_header(lb->held.res, "A", value),
                   UV_ENOBUFS);
  free(value);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
}

static void srv_243_more_than_declared(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  assert_int_equal(
      dusk_response_add_header(lb->held.res, "Content-Length", "3"), 0);
  assert_int_equal(dusk_response_write(lb->held.res, "ab", 2), 0);
  assert_int_equal(dusk_response_write(lb->held.res, "cd", 2), DUSK_ELENGTH);
  assert_int_equal(dusk_response_end(lb->held.res, "c", 1), 0);
  assert_has(hear(lb, client, "\r\n\r\nabc"), "Content-Length: 3\r\n");
}

static void srv_244_less_than_declared_closes(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  assert_int_equal(
      dusk_response_add_header(lb->held.res, "Content-Length", "3"), 0);
  assert_int_equal(dusk_response_end(lb->held.res, "ab", 2), DUSK_ESHORT);
  assert_has(hear(lb, client, NULL), "\r\n\r\nab");
}

static void srv_261_no_body_with_204(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  assert_int_equal(dusk_response_status(lb->held.res, 204), 0);
  assert_int_equal(dusk_response_end(lb->held.res, "x", 1), DUSK_ENOBODY);
  hear(lb, client, "\r\n\r\n");
  assert_lacks(lb->heard, "Content-Length");
  hold_next(lb, client, GET); /* the connection was kept: SRV-093 */
  dusk_response_end(lb->held.res, NULL, 0);
}

/* What a client got of a body that had no length and was given up. */
static void srv_318_aborted_never_looks_complete(void **state) {
  loopback_t *lb = *state;
  static const char *const requests[] = {GET, "GET / HTTP/1.0\r\n\r\n"};
  for (size_t i = 0; i < 2; i++) {
    int client = hold(lb, DEFAULTS, requests[i]);
    assert_int_equal(dusk_response_write(lb->held.res, "part", 4), 0);
    hear(lb, client, "part");
    dusk_response_abort(lb->held.res);
    /* No last chunk; no end of the stream where that would be one. */
    assert_int_equal(end_of_stream(lb, client), i == 0 ? 0 : ECONNRESET);
    end_all(lb);
  }
}

static void large_bodies_go_by_reference(void **state) {
  loopback_t *lb = *state;
  enum { LEN = 8 << 20 };
  int client = hold(lb, DEFAULTS, GET);
  char *body = malloc(LEN);
  char *buf = malloc(LEN + 1024);
  memset(body, 'b', LEN);
  int released = 0;
  assert_int_equal(
      dusk_response_end_ref(lb->held.res, body, LEN, count_release, &released),
      0);
  assert_int_equal(released, 0); /* more than a socket takes at once */
  size_t len = 0;
  char *header_end = NULL;
  while (!header_end || len < (size_t)(header_end + 4 - buf) + LEN) {
    uv_run(&lb->loop, UV_RUN_NOWAIT);
    ssize_t got = recv(client, buf + len, LEN + 1023 - len, 0);
    if (got > 0) len += (size_t)got;
    buf[len] = '\0';
    if (!header_end) header_end = strstr(buf, "\r\n\r\n");
  }
  assert_memory_equal(header_end + 4, body, LEN);
  AWAIT(lb, released);
  assert_int_equal(released, 1);
  free(buf);
  free(body);
}

static void references_are_released_on_errors_too(void **state) {
  loopback_t *lb = *state;
  hold(lb, DEFAULTS, GET);
  dusk_server_close(lb->server);
  int released = 0;
  assert_int_equal(
      dusk_response_write_ref(lb->held.res, "x", 1, count_release, &released),
      UV_ECANCELED);
  assert_int_equal(released, 1);
  assert_int_equal(
      dusk_response_end_ref(lb->held.res, "x", 1, count_release, &released),
      UV_ECANCELED);
  assert_int_equal(released, 2);
}

static void back_pressure_is_told(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  static char piece[1 << 16];
  int behind;
  do {
    behind = dusk_response_write(lb->held.res, piece, sizeof(piece));
    assert_in_range(behind, 0, 1);
  } while (!behind);
  int drained = 0;
  assert_int_equal(
      dusk_response_on_drained(lb->held.res, count_drained, &drained), 0);
  assert_int_equal(
      dusk_response_on_drained(lb->held.res, count_drained, &drained),
      UV_EBUSY);
  turn(lb, 10);
  assert_int_equal(drained, 0);
  while (!drained)
    take_some(lb, client);
  assert_int_equal(drained, 1);
  /* With nothing on its way it is called at once, but not inside. */
  assert_int_equal(
      dusk_response_on_drained(lb->held.res, count_drained, &drained), 0);
  assert_int_equal(drained, 1);
  uv_run(&lb->loop, UV_RUN_NOWAIT);
  assert_int_equal(drained, 2);
  dusk_response_end(lb->held.res, NULL, 0);
}

/* By its holder, long after the handler has returned: SRV-291, SRV-292. */
static void srv_279_hijack(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS,
                    "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\n"
                    "Connection: upgrade\r\n\r\nearly");
  uv_os_sock_t fd;
  char *early;
  size_t early_len;
  dusk_context_t *ctx = held_context(lb);
  assert_int_equal(dusk_response_hijack(lb->held.res, &fd, &early, &early_len),
                   0);
  assert_ptr_equal(dusk_context_cause(ctx), &dusk_response_ended); /* SRV-290 */
  assert_memory_equal(early, "early", early_len);                  /* SRV-282 */
  assert_int_equal(early_len, 5);
  free(early);
  /* SRV-280: no longer known to shutdown, and usable after it. */
  assert_int_equal(stop(lb, 5000).conns_open, 0);
  assert_int_equal(send(fd, "raw", 3, 0), 3);
  assert_string_equal(hear(lb, client, "raw"), "raw");
  close(fd);
}

/* -- Context --------------------------------------------------------------- */

static void srv_301_context_ends_with_the_response(void **state) {
  loopback_t *lb = *state;
  hold(lb, DEFAULTS, GET);
  dusk_context_t *ctx = held_context(lb);
  assert_int_equal(dusk_context_err(ctx), 0); /* SRV-300 */
  dusk_response_end(lb->held.res, NULL, 0);
  assert_ptr_equal(dusk_context_cause(ctx), &dusk_response_ended);
}

static void srv_302_context_ends_when_the_client_goes(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  dusk_context_t *ctx = dusk_request_context(lb->held.req);
  leave(lb, client);
  AWAIT(lb, dusk_context_err(ctx) != 0);
  assert_ptr_equal(dusk_context_cause(ctx), &dusk_client_gone);
  dusk_response_end(lb->held.res, NULL, 0);
}

static void srv_303_half_closed_is_still_answered(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  dusk_context_t *ctx = dusk_request_context(lb->held.req);
  shutdown(client, SHUT_WR);
  AWAIT(lb, dusk_context_err(ctx) != 0);
  assert_int_equal(dusk_response_text(lb->held.res, 200, "still"), 0);
  assert_has(hear(lb, client, NULL), "\r\n\r\nstill");
}

static void srv_307_base_ends_requests_not_the_server(void **state) {
  loopback_t *lb = *state;
  dusk_server_config_t config = {.handler = loopback_keep,
                                 .handler_arg = &lb->held};
  serve(lb, config);
  /* A second server on the same loop, with a base of its own. */
  dusk_server_t *plain = lb->server;
  config.base = cancellable(lb);
  assert_int_equal(dusk_server_new(lb->root, &config, &lb->server), 0);
  assert_int_equal(dusk_server_serve(lb->server, "127.0.0.1:0", NULL, NULL), 0);
  assert_int_equal(
      dusk_server_address(lb->server, 0, lb->address, sizeof(lb->address)), 0);
  dusk_server_unref(plain);
  int client = connect_client(lb);
  hold_next(lb, client, GET);
  dusk_context_t *ctx = dusk_request_context(lb->held.req);
  dusk_context_cancel(config.base, NULL);
  assert_int_equal(dusk_context_err(ctx), UV_ECANCELED);
  assert_int_equal(dusk_response_end(lb->held.res, "x", 1), 0);
  hear(lb, client, "\r\n\r\nx");
}

static void request_timeout_is_503(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, (dusk_server_config_t){.request_timeout_ms = 50}, GET);
  dusk_context_t *ctx = dusk_request_context(lb->held.req);
  assert_true(dusk_context_deadline(ctx) != DUSK_OFF);
  assert_has(hear(lb, client, NULL), "HTTP/1.1 503 ");
  assert_int_equal(dusk_context_err(ctx), UV_ETIMEDOUT);
  assert_int_equal(dusk_response_end(lb->held.res, "x", 1), UV_ECANCELED);
}

/* -- Ends ------------------------------------------------------------------ */

typedef struct ends {
  int count;
  dusk_request_end_t last;
  char target[32];
} ends_t;

static void on_request_end(dusk_request_t *req, const dusk_request_end_t *end,
                           void *arg) {
  ends_t *ends = arg;
  ends->count++;
  ends->last = *end;
  strcpy(ends->target, dusk_request_target(req));
}

static void ends_are_told_once(void **state) {
  loopback_t *lb = *state;
  ends_t ends = {0};
  int client = hold(lb,
                    (dusk_server_config_t){.on_request_end = on_request_end,
                                           .on_request_end_arg = &ends},
                    "GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
  assert_int_equal(ends.count, 0);
  dusk_response_status(lb->held.res, 201);
  dusk_response_end(lb->held.res, "four", 4);
  assert_int_equal(ends.count, 1);
  assert_int_equal(ends.last.status, 201);
  assert_int_equal(ends.last.body_bytes, 4);
  assert_int_equal(ends.last.err, 0);
  assert_string_equal(ends.target, "/x");
  /* And one that is cut. */
  hold_next(lb, client, GET);
  dusk_server_close(lb->server);
  assert_int_equal(ends.count, 1);
  dusk_response_end(lb->held.res, NULL, 0);
  assert_int_equal(ends.count, 2);
  assert_int_equal(ends.last.status, 0);
  assert_int_equal(ends.last.err, UV_ECANCELED);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(parts_of_a_request),
      house_test(srv_157_absolute_target),
      house_test(percent_decoding),
      house_test(srv_189_trailers),
      house_test(a_folded_trailer_is_refused),
      house_test(pause_inside_the_callback_holds_at_once),
      house_test(collects_up_to_a_limit),
      house_test(srv_198_more_than_the_limit_is_413),
      house_test(the_handler_may_answer_a_failure_itself),
      house_test(bad_arguments_are_errors),
      house_test(a_header_that_is_too_long_is_an_error),
      house_test(srv_243_more_than_declared),
      house_test(srv_244_less_than_declared_closes),
      house_test(srv_261_no_body_with_204),
      house_test(srv_318_aborted_never_looks_complete),
      house_test(large_bodies_go_by_reference),
      house_test(references_are_released_on_errors_too),
      house_test(back_pressure_is_told),
      house_test(srv_279_hijack),
      house_test(srv_301_context_ends_with_the_response),
      house_test(srv_302_context_ends_when_the_client_goes),
      house_test(srv_303_half_closed_is_still_answered),
      house_test(srv_307_base_ends_requests_not_the_server),
      house_test(request_timeout_is_503),
      house_test(ends_are_told_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
