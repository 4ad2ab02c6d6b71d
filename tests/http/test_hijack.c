/* Connections that a handler takes over: SRV-279 to 292. */
#include "house.h"

#include "alloc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define UPGRADE                                                                \
  "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"

typedef struct taken {
  uv_os_sock_t fd;
  char *early;
  size_t len;
} taken_t;

static taken_t take_over(dusk_response_t *res) {
  taken_t taken = {.fd = -1};
  assert_int_equal(
      dusk_response_hijack(res, &taken.fd, &taken.early, &taken.len), 0);
  return taken;
}

static void give_back(taken_t *taken) {
  free(taken->early);
  assert_int_equal(close(taken->fd), 0);
}

/* Both ways, and nothing else comes to the client before. */
static void assert_raw(loopback_t *lb, const taken_t *taken, int client) {
  char buf[4];
  assert_int_equal(send(taken->fd, "raw", 3, 0), 3);
  assert_string_equal(hear(lb, client, "raw"), "raw");
  say(client, "back");
  AWAIT(lb, recv(taken->fd, buf, 4, MSG_PEEK) == 4);
  assert_int_equal(recv(taken->fd, buf, 4, 0), 4);
  assert_memory_equal(buf, "back", 4);
}

static void srv_281_its_time_outs_have_ended(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb,
                    (dusk_server_config_t){.idle_timeout_ms = 30,
                                           .header_timeout_ms = 30,
                                           .body_timeout_ms = 30,
                                           .write_timeout_ms = 30,
                                           .request_timeout_ms = 30},
                    UPGRADE);
  taken_t taken = take_over(lb->held.res);
  /* Those of one that came later pass. */
  int later = connect_client(lb);
  hold_next(lb, later, GET);
  dusk_response_end(lb->held.res, NULL, 0);
  assert_int_equal(end_of_stream(lb, later), 0);
  assert_raw(lb, &taken, client);
  give_back(&taken);
}

/* Unread bytes of the body, and what is behind it. */
static void srv_282_a_body_comes_with_it(void **state) {
  loopback_t *lb = *state;
  hold(lb, DEFAULTS,
       "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello, more");
  taken_t taken = take_over(lb->held.res);
  assert_int_equal(taken.len, 11);
  assert_memory_equal(taken.early, "hello, more", 11);
  give_back(&taken);
}

typedef struct inside {
  taken_t taken;
  int called;
} inside_t;

static void on_body(dusk_request_t *req, ssize_t nread, const char *data,
                    void *arg) {
  (void)req;
  (void)data;
  assert_true(nread > 0);
  *(size_t *)arg += (size_t)nread;
}

static void take_and_go_on(dusk_response_t *res, dusk_request_t *req,
                           void *arg) {
  inside_t *inside = arg;
  taken_t none = {0};
  inside->taken = take_over(res);
  assert_int_equal(dusk_response_hijack(res, &none.fd, &none.early, &none.len),
                   DUSK_EHIJACKED);
  assert_null(none.early);
  assert_int_equal(dusk_response_write(res, "a", 1), DUSK_EHIJACKED);
  assert_int_equal(dusk_response_write(res, "", 0), DUSK_EHIJACKED);
  dusk_response_status(res, 500); /* SRV-285 */
  assert_int_equal(dusk_response_text(res, 500, "late"), DUSK_EHIJACKED);
  assert_int_equal(dusk_response_end(res, "late", 4), DUSK_EHIJACKED);
  assert_int_equal(dusk_request_body(req, on_body, NULL), UV_ECANCELED);
  assert_string_equal(dusk_request_method(req), "GET"); /* till it returns */
  inside->called = 1;
}

static void srv_284_the_response_reaches_nobody(void **state) {
  loopback_t *lb = *state;
  inside_t inside = {0};
  serve(lb, (dusk_server_config_t){.handler = take_and_go_on,
                                   .handler_arg = &inside});
  int client = connect_client(lb);
  say(client, UPGRADE);
  AWAIT(lb, inside.called);
  turn(lb, 2);
  assert_raw(lb, &inside.taken, client);
  give_back(&inside.taken);
  /* SRV-283 */
  assert_string_equal(dusk_strerror(DUSK_EHIJACKED),
                      "http: connection has been hijacked");
}

static void take_and_abort(dusk_response_t *res, dusk_request_t *req,
                           void *arg) {
  inside_t *inside = arg;
  (void)req;
  inside->taken = take_over(res);
  dusk_response_abort(res);
  dusk_response_reset(res);
  inside->called = 1;
}

static void srv_316_giving_up_leaves_it_to_its_taker(void **state) {
  loopback_t *lb = *state;
  inside_t inside = {0};
  serve(lb, (dusk_server_config_t){.handler = take_and_abort,
                                   .handler_arg = &inside});
  int client = connect_client(lb);
  say(client, UPGRADE);
  AWAIT(lb, inside.called);
  turn(lb, 2);
  assert_raw(lb, &inside.taken, client);
  give_back(&inside.taken);
}

static void srv_286_a_response_goes_on_by_hand(void **state) {
  loopback_t *lb = *state;
  static const char rest[] = "6\r\nby han\r\n1\r\nd\r\n0\r\n\r\n";
  int client = hold(lb, DEFAULTS, GET);
  assert_int_equal(dusk_response_write(lb->held.res, NULL, 0), 0);
  taken_t taken = take_over(lb->held.res);
  assert_int_equal(send(taken.fd, rest, sizeof(rest) - 1, 0), sizeof(rest) - 1);
  assert_has(hear(lb, client, "0\r\n\r\n"),
             "Transfer-Encoding: chunked\r\n\r\n6\r\nby han\r\n");
  give_back(&taken);
}

static void write_and_take(dusk_response_t *res, dusk_request_t *req,
                           void *arg) {
  inside_t *inside = arg;
  (void)req;
  assert_int_equal(dusk_response_set_header(res, "Content-Length", "9"), 0);
  assert_int_equal(dusk_response_write(res, "written", 7), 0);
  inside->taken = take_over(res);
  inside->called = 1;
}

static void srv_287_what_was_written_goes_out_before(void **state) {
  loopback_t *lb = *state;
  inside_t inside = {0};
  serve(lb, (dusk_server_config_t){.handler = write_and_take,
                                   .handler_arg = &inside});
  int client = connect_client(lb);
  say(client, UPGRADE);
  AWAIT(lb, inside.called);
  assert_has(hear(lb, client, "written"), "Content-Length: 9\r\n");
  assert_raw(lb, &inside.taken, client);
  give_back(&inside.taken);
  end_all(lb);
  /* A status alone is not written. */
  client = hold(lb, DEFAULTS, UPGRADE);
  assert_int_equal(dusk_response_status(lb->held.res, 500), 0);
  taken_t taken = take_over(lb->held.res);
  assert_raw(lb, &taken, client);
  give_back(&taken);
}

static void srv_288_a_kept_connection_can_be_taken(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  assert_int_equal(dusk_response_end(lb->held.res, "one", 3), 0);
  hear(lb, client, "one");
  hold_next(lb, client, UPGRADE);
  taken_t taken = take_over(lb->held.res);
  assert_raw(lb, &taken, client);
  give_back(&taken);
}

/* What comes after that is its taker's, who reads it there. */
static void srv_289_no_body_is_delivered_any_more(void **state) {
  loopback_t *lb = *state;
  size_t got = 0;
  int client =
      hold(lb, DEFAULTS,
           "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc");
  assert_int_equal(dusk_request_body(lb->held.req, on_body, &got), 0);
  AWAIT(lb, got == 3);
  taken_t taken = take_over(lb->held.res);
  assert_int_equal(taken.len, 0);
  assert_raw(lb, &taken, client);
  assert_int_equal(got, 3);
  give_back(&taken);
}

/* -- What goes wrong ------------------------------------------------------- */

static void it_waits_for_what_was_written(void **state) {
  loopback_t *lb = *state;
  static char piece[1 << 16];
  taken_t taken = {.fd = -1};
  int client = hold(lb, DEFAULTS, GET);
  dusk_response_t *res = lb->held.res;
  while (dusk_response_write(res, piece, sizeof(piece)) == 0)
    continue;
  assert_int_equal(
      dusk_response_hijack(res, &taken.fd, &taken.early, &taken.len), UV_EBUSY);
  assert_int_equal(taken.fd, -1);
  int drained = 0;
  assert_int_equal(dusk_response_on_drained(res, count_drained, &drained), 0);
  while (!drained)
    take_some(lb, client);
  taken = take_over(res);
  give_back(&taken);
  assert_int_equal(end_of_stream(lb, client), 0);
}

static void who_fails_to_take_it_may_answer(void **state) {
  loopback_t *lb = *state;
  taken_t taken = {.fd = -1};
  struct rlimit before;
  int client = hold(lb, DEFAULTS, UPGRADE);
  dusk_response_t *res = lb->held.res;
  assert_int_equal(dusk_response_hijack(res, NULL, &taken.early, &taken.len),
                   UV_EINVAL);
  assert_int_equal(dusk_response_hijack(res, &taken.fd, NULL, &taken.len),
                   UV_EINVAL);
  assert_int_equal(dusk_response_hijack(res, &taken.fd, &taken.early, NULL),
                   UV_EINVAL);
  alloc_fail_at(1);
  assert_int_equal(
      dusk_response_hijack(res, &taken.fd, &taken.early, &taken.len),
      UV_ENOMEM);
  alloc_fail_at(0);
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
  struct rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
  assert_true(dusk_response_hijack(res, &taken.fd, &taken.early, &taken.len) <
              0);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
  assert_int_equal(taken.fd, -1);
  assert_null(taken.early);
  assert_int_equal(dusk_response_text(res, 503, "later\n"), 0);
  assert_has(hear(lb, client, "later\n"), "HTTP/1.1 503 ");
  hold_next(lb, client, UPGRADE); /* and it is kept */
  taken = take_over(lb->held.res);
  assert_raw(lb, &taken, client);
  give_back(&taken);
}

static void one_whose_client_has_gone_is_not_there(void **state) {
  loopback_t *lb = *state;
  taken_t taken = {.fd = -1};
  int client = hold(lb, DEFAULTS, UPGRADE);
  dusk_context_t *ctx = held_context(lb);
  struct linger reset = {.l_onoff = 1};
  setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  leave(lb, client);
  AWAIT(lb, dusk_context_err(ctx) != 0);
  assert_int_equal(
      dusk_response_hijack(lb->held.res, &taken.fd, &taken.early, &taken.len),
      UV_ECANCELED);
  dusk_response_abort(lb->held.res);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(srv_281_its_time_outs_have_ended),
      house_test(srv_282_a_body_comes_with_it),
      house_test(srv_284_the_response_reaches_nobody),
      house_test(srv_316_giving_up_leaves_it_to_its_taker),
      house_test(srv_286_a_response_goes_on_by_hand),
      house_test(srv_287_what_was_written_goes_out_before),
      house_test(srv_288_a_kept_connection_can_be_taken),
      house_test(srv_289_no_body_is_delivered_any_more),
      house_test(it_waits_for_what_was_written),
      house_test(who_fails_to_take_it_may_answer),
      house_test(one_whose_client_has_gone_is_not_there),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
