/* What goes out of what a handler sets and writes, and when: SRV-230 to 276. */
#include "house.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define HEAD "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"
#define GET_CLOSE "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

static void let_reset(int client) {
  struct linger reset = {.l_onoff = 1};
  setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
}

/* -- Status and fields ----------------------------------------------------- */

static void srv_230_a_response_is_200(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
  assert_has(hear(lb, client, "\r\n\r\n"), "HTTP/1.1 200 OK\r\n");
  hold_next(lb, client, GET);
  assert_int_equal(dusk_response_write(lb->held.res, "a", 1), 0);
  assert_has(hear(lb, client, "a"), "HTTP/1.1 200 OK\r\n");
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
}

static void srv_233_the_last_status_before_the_header_counts(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  dusk_response_t *res = lb->held.res;
  assert_int_equal(dusk_response_status(res, 500), 0);
  assert_int_equal(dusk_response_status(res, 1000), UV_EINVAL); /* SRV-232 */
  assert_int_equal(dusk_response_status(res, 99), UV_EINVAL);
  assert_int_equal(dusk_response_status(res, 101), UV_EINVAL); /* SRV-271 */
  assert_int_equal(dusk_response_status(res, 201), 0);
  assert_int_equal(dusk_response_write(res, "a", 1), 0);
  assert_int_equal(dusk_response_status(res, 500), DUSK_EHEADERSENT);
  assert_int_equal(dusk_response_end(res, NULL, 0), 0);
  assert_has(hear(lb, client, "0\r\n\r\n"), "HTTP/1.1 201 Created\r\n");
  assert_int_equal(count_of(lb->heard, "HTTP/1.1"), 1);
}

static void srv_234_fields_are_open_until_the_header(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  dusk_response_t *res = lb->held.res;
  assert_int_equal(dusk_response_status(res, 201), 0);
  assert_int_equal(dusk_response_set_header(res, "X", "early"), 0);
  assert_int_equal(dusk_response_write(res, NULL, 0), 0);
  assert_int_equal(dusk_response_set_header(res, "X", "late"),
                   DUSK_EHEADERSENT);
  assert_int_equal(dusk_response_add_header(res, "Y", "late"),
                   DUSK_EHEADERSENT);
  assert_int_equal(dusk_response_remove_header(res, "X"), DUSK_EHEADERSENT);
  assert_int_equal(dusk_response_end(res, NULL, 0), 0);
  assert_has(hear(lb, client, "0\r\n\r\n"), "\r\nX: early\r\n");
  assert_lacks(lb->heard, "late");
}

static void srv_235_fields_keep_the_handlers_order(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET_CLOSE);
  dusk_response_t *res = lb->held.res;
  assert_int_equal(dusk_response_add_header(res, "Zeta", "1"), 0);
  assert_int_equal(dusk_response_add_header(res, "Alpha", "2"), 0);
  assert_int_equal(dusk_response_text(res, 200, "a"), 0);
  assert_has(hear(lb, client, NULL),
             " GMT\r\nZeta: 1\r\nAlpha: 2\r\n"
             "Content-Type: text/plain; charset=utf-8\r\n"
             "Content-Length: 1\r\nConnection: close\r\n\r\na");
  assert_has(lb->heard, "HTTP/1.1 200 OK\r\nDate: ");
}

static void srv_266_the_handlers_type_stands_also_empty(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  dusk_response_t *res = lb->held.res;
  assert_int_equal(dusk_response_set_header(res, "Content-Type", ""), 0);
  assert_int_equal(dusk_response_text(res, 200, "<html>"), 0);
  assert_has(hear(lb, client, "<html>"), "\r\nContent-Type: \r\n");
  assert_int_equal(count_of(lb->heard, "Content-Type"), 1);
}

static void srv_267_no_type_is_made_up(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  assert_int_equal(dusk_response_end(lb->held.res, "<html>", 6), 0);
  assert_lacks(hear(lb, client, "<html>"), "Content-Type");
  hold_next(lb, client, GET);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
  assert_lacks(hear(lb, client, "\r\n\r\n"), "Content-Type"); /* SRV-268 */
}

/* -- When it goes out ------------------------------------------------------ */

static void srv_252_what_is_written_needs_no_flush(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  dusk_response_t *res = lb->held.res;
  assert_int_equal(dusk_response_write(res, NULL, 0), 0);
  assert_has(hear(lb, client, "\r\n\r\n"), "HTTP/1.1 200 OK\r\n");
  assert_int_equal(dusk_response_write(res, "event\n", 6), 0);
  assert_string_equal(hear(lb, client, "event\n\r\n"), "6\r\nevent\n\r\n");
  assert_int_equal(dusk_response_end(res, NULL, 0), 0);
}

static void srv_247_a_write_is_a_chunk(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  dusk_response_t *res = lb->held.res;
  assert_int_equal(dusk_response_write(res, NULL, 0), 0);
  hear(lb, client, "\r\n\r\n");
  for (const char *at = "abc"; *at; at++)
    assert_int_equal(dusk_response_write(res, at, 1), 0);
  assert_int_equal(dusk_response_write(res, NULL, 0), 0); /* none */
  assert_int_equal(dusk_response_end(res, NULL, 0), 0);
  assert_string_equal(hear(lb, client, "0\r\n\r\n"),
                      "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n");
}

typedef struct inside {
  int client;
  bool was_silent; /* while the handler ran */
  int called;
} inside_t;

static void write_twice(dusk_response_t *res, dusk_request_t *req, void *arg) {
  inside_t *inside = arg;
  (void)req;
  assert_int_equal(dusk_response_write(res, "one", 3), 0);
  assert_int_equal(dusk_response_end(res, "two", 3), 0);
  char byte;
  inside->was_silent = recv(inside->client, &byte, 1, MSG_PEEK) < 0;
  inside->called = 1;
}

/* In one piece. */
static void srv_255_it_goes_out_when_the_handler_returns(void **state) {
  loopback_t *lb = *state;
  inside_t inside = {0};
  serve(lb,
        (dusk_server_config_t){.handler = write_twice, .handler_arg = &inside});
  inside.client = connect_client(lb);
  say(inside.client, GET);
  AWAIT(lb, inside.called);
  assert_true(inside.was_silent);
  char text[1024];
  ssize_t len = recv(inside.client, text, sizeof(text) - 1, 0);
  assert_true(len > 0);
  text[len] = '\0';
  assert_has(text, "Content-Length:          6\r\n\r\nonetwo");
}

/* Writes pieces of these sizes, and ends with the last one. */
static void write_sizes(dusk_response_t *res, dusk_request_t *req, void *arg) {
  char body[4096];
  (void)req;
  const size_t *sizes = arg;
  memset(body, 'x', sizeof(body));
  for (; sizes[1]; sizes++)
    assert_true(dusk_response_write(res, body, *sizes) >= 0);
  assert_int_equal(dusk_response_end(res, body, *sizes), 0);
}

static const char *answer_in(loopback_t *lb, const size_t *sizes,
                             const char *request) {
  serve(lb, (dusk_server_config_t){.handler = write_sizes,
                                   .handler_arg = (void *)sizes});
  int client = connect_client(lb);
  say(client, request);
  hear(lb, client, "\r\n\r\n");
  turn(lb, 3);
  end_all(lb);
  return lb->heard;
}

/* SRV-257: HEAD tells what GET would. */
static void srv_239_what_fits_until_the_end_has_a_length(void **state) {
  static const struct {
    size_t sizes[5];
    const char *length;
  } cases[] = {{{1, 2047}, "Content-Length:       2048\r\n"},
               {{2047, 1}, "Content-Length:       2048\r\n"},
               {{700, 700, 648}, "Content-Length:       2048\r\n"},
               {{1, 1}, "Content-Length:          2\r\n"},
               {{1, 2048}, NULL},
               {{2048, 1}, NULL},
               {{2049, 1}, NULL},
               {{1000, 1000, 1000, 1000}, NULL}};
  loopback_t *lb = *state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    answer_in(lb, cases[i].sizes, GET);
    const char *length =
        cases[i].length ? cases[i].length : "Transfer-Encoding: chunked\r\n";
    assert_has(lb->heard, length);
    answer_in(lb, cases[i].sizes, HEAD);
    if (cases[i].length)
      assert_has(lb->heard, length);
    else
      assert_lacks(lb->heard, "Content-Length");
    assert_lacks(lb->heard, "Transfer-Encoding: chunked\r\nC");
  }
}

/* Each answer of a batch has its own; so has the one before a large one. */
static void lengths_of_a_batch_are_their_own(void **state) {
  static const size_t sizes[] = {3, 4, 0};
  loopback_t *lb = *state;
  serve(lb, (dusk_server_config_t){.handler = write_sizes,
                                   .handler_arg = (void *)sizes});
  int client = connect_client(lb);
  say(client,
      GET GET HEAD "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  hear(lb, client, NULL);
  assert_int_equal(count_of(lb->heard, "Content-Length:          7\r\n"), 4);
}

/* Takes all to the last chunk, of which lb->heard keeps the last `len` bytes.
 */
static void take_to_last(loopback_t *lb, int client, size_t len) {
  static const char last[] = "0\r\n\r\n";
  size_t kept = 0;
  uv_timer_t watch;
  loopback_watch(lb, &watch);
  while (kept < len || strcmp(lb->heard + kept - strlen(last), last) != 0) {
    uv_run(&lb->loop, UV_RUN_NOWAIT);
    ssize_t got = recv(client, lb->heard + kept, LOOPBACK_HEARD - 1 - kept, 0);
    if (got > 0) kept += (size_t)got;
    if (kept > len) {
      memmove(lb->heard, lb->heard + kept - len, len);
      kept = len;
    }
    lb->heard[kept] = '\0';
  }
  loopback_unwatch(lb, &watch);
}

/* Bytes that are changed behind the call, while the client takes nothing, go
 * out changed. */
static void srv_276_by_reference_nothing_is_copied(void **state) {
  loopback_t *lb = *state;
  static char filling[1 << 16];
  char text[] = "before";
  int released = 0;
  int client = hold(lb, DEFAULTS, GET);
  dusk_response_t *res = lb->held.res;
  while (dusk_response_write(res, filling, sizeof(filling)) == 0)
    continue;
  assert_int_equal(
      dusk_response_end_ref(res, text, 6, count_release, &released), 0);
  memcpy(text, "behind", 6);
  take_to_last(lb, client, 16);
  assert_int_equal(released, 1);
  assert_string_equal(lb->heard, "6\r\nbehind\r\n0\r\n\r\n");
}

/* -- Framing --------------------------------------------------------------- */

static void srv_258_head_tells_a_length_that_is_known(void **state) {
  loopback_t *lb = *state;
  static char body[100000];
  int client = hold(lb, DEFAULTS, HEAD);
  assert_int_equal(dusk_response_end(lb->held.res, body, sizeof(body)), 0);
  assert_has(hear(lb, client, "\r\n\r\n"), "Content-Length: 100000\r\n");
  hold_next(lb, client, HEAD);
  for (int i = 0; i < 4; i++)
    assert_int_equal(dusk_response_write(lb->held.res, body, 1000), 0);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
  hear(lb, client, "\r\n\r\n");
  assert_lacks(lb->heard, "Content-Length");
  assert_lacks(lb->heard, "Transfer-Encoding");
  hold_next(lb, client, HEAD); /* the connection was kept */
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
  assert_lacks(hear(lb, client, "\r\n\r\n"), "Content-Length"); /* SRV-259 */
}

/* And lacks nothing without its body. */
static void srv_260_head_has_the_declared_length(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, HEAD);
  assert_int_equal(
      dusk_response_set_header(lb->held.res, "Content-Length", "12345"), 0);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
  assert_has(hear(lb, client, "\r\n\r\n"), "\r\nContent-Length: 12345\r\n");
  hold_next(lb, client, GET);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
}

static void srv_262_no_content_has_no_length(void **state) {
  loopback_t *lb = *state;
  static const int statuses[] = {204, 304}; /* SRV-263 */
  int client = hold(lb, DEFAULTS, GET);
  for (int i = 0; i < 2; i++) {
    dusk_response_t *res = lb->held.res;
    assert_int_equal(dusk_response_set_header(res, "Content-Length", "5"), 0);
    assert_int_equal(dusk_response_set_header(res, "Content-Type", "a/b"), 0);
    assert_int_equal(dusk_response_status(res, statuses[i]), 0);
    assert_int_equal(dusk_response_write(res, "a", 1), DUSK_ENOBODY);
    assert_int_equal(dusk_response_end(res, NULL, 0), 0);
    hear(lb, client, "\r\n\r\n");
    assert_lacks(lb->heard, "Content-Length");
    assert_lacks(lb->heard, "Transfer-Encoding");
    assert_int_equal(count_of(lb->heard, "Content-Type: a/b\r\n"),
                     statuses[i] == 204);
    hold_next(lb, client, GET); /* and no body that it would read */
  }
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
}

/* -- The client goes ------------------------------------------------------- */

/* With a body on its way that it takes nothing of. */
static void srv_275_a_reset_ends_a_write_that_waits(void **state) {
  loopback_t *lb = *state;
  static char body[16 << 20];
  int released = 0;
  int client = hold(lb, DEFAULTS, GET);
  dusk_context_t *ctx = held_context(lb);
  assert_int_equal(dusk_response_write_ref(lb->held.res, body, sizeof(body),
                                           count_release, &released),
                   1);
  let_reset(client);
  leave(lb, client);
  AWAIT(lb, released);
  assert_ptr_equal(dusk_context_cause(ctx), &dusk_client_gone);
  /* SRV-253 */
  assert_int_equal(dusk_response_write(lb->held.res, "a", 1), UV_ECANCELED);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), UV_ECANCELED);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(srv_230_a_response_is_200),
      house_test(srv_233_the_last_status_before_the_header_counts),
      house_test(srv_234_fields_are_open_until_the_header),
      house_test(srv_235_fields_keep_the_handlers_order),
      house_test(srv_266_the_handlers_type_stands_also_empty),
      house_test(srv_267_no_type_is_made_up),
      house_test(srv_252_what_is_written_needs_no_flush),
      house_test(srv_247_a_write_is_a_chunk),
      house_test(srv_255_it_goes_out_when_the_handler_returns),
      house_test(srv_239_what_fits_until_the_end_has_a_length),
      house_test(lengths_of_a_batch_are_their_own),
      house_test(srv_276_by_reference_nothing_is_copied),
      house_test(srv_258_head_tells_a_length_that_is_known),
      house_test(srv_260_head_has_the_declared_length),
      house_test(srv_262_no_content_has_no_length),
      house_test(srv_275_a_reset_ends_a_write_that_waits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
