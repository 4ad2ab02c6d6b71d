/* dusk/test.h: most of it twice, by sockets and without any. */
#include "house.h"

#include "alloc.h"

#include <dusk/calls.h>
#include <dusk/test.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static dusk_test_t *test;
static bool by_sockets;
static held_t held;

static int set_up_sockets(void **state) {
  by_sockets = true;
  test = NULL;
  memset(&held, 0, sizeof(held));
  return house_set_up(state);
}

static int set_up_none(void **state) {
  int err = set_up_sockets(state);
  by_sockets = false;
  return err;
}

static int open_with(dusk_context_t *root, dusk_server_config_t config) {
  return by_sockets ? dusk_test_serve(root, &config, &test)
                    : dusk_test_record(root, &config, &test);
}

static void open_test(dusk_handler_cb handler, void *arg) {
  dusk_server_config_t config = {.handler = handler, .handler_arg = arg};
  assert_int_equal(open_with(NULL, config), 0);
}

/* Nothing was left. */
static void close_test(void) {
  char text[512];
  if (dusk_test_close(test, text, sizeof(text))) fail_msg("%s", text);
  assert_string_equal(text, "");
}

static dusk_test_client_t *connect_one(void) {
  dusk_test_client_t *client;
  assert_int_equal(dusk_test_connect(test, &client), 0);
  return client;
}

static void assert_error(const dusk_test_response_t *res, int err,
                         const char *text) {
  assert_int_equal(res->err, err);
  assert_has(res->error, text);
}

/* -- Handlers -------------------------------------------------------------- */

static void hello(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  (void)arg;
  dusk_response_text(res, 200, "hello\n");
}

/* Tells what was asked, fields and all. */
static void on_collected(dusk_request_t *req, int status, const char *data,
                         size_t len, void *arg) {
  (void)arg;
  char text[4096];
  int at = snprintf(text, sizeof(text), "%s %s\n", dusk_request_method(req),
                    dusk_request_target(req));
  const char *name, *value;
  for (size_t i = 0; dusk_request_header_at(req, i, &name, &value); i++)
    at +=
        snprintf(text + at, sizeof(text) - (size_t)at, "%s=%s\n", name, value);
  if (status < 0) {
    dusk_response_abort(dusk_request_response(req));
    return;
  }
  snprintf(text + at, sizeof(text) - (size_t)at, "[%.*s]", (int)len, data);
  dusk_response_text(dusk_request_response(req), 200, text);
}

static void tell_request(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)res;
  assert_int_equal(dusk_request_collect(req, 1000, on_collected, arg), 0);
}

static void keep(dusk_response_t *res, dusk_request_t *req, void *arg) {
  loopback_keep(res, req, arg);
}

static bool is_kept(void *arg) {
  return ((held_t *)arg)->called > 0;
}

/* -- One request ----------------------------------------------------------- */

static void a_response_is_taken_apart(void **state) {
  (void)state;
  open_test(hello, NULL);
  const dusk_test_response_t *res = dusk_test_get(test, "/");
  assert_int_equal(res->err, 0);
  assert_string_equal(res->error, "");
  assert_int_equal(res->status, 200);
  assert_int_equal(res->version_minor, 1);
  assert_false(res->closes);
  assert_int_equal(res->interim, 0);
  assert_string_equal(res->body, "hello\n");
  assert_int_equal(res->len, 6);
  assert_string_equal(dusk_test_header(res, "content-LENGTH"), "6");
  assert_null(dusk_test_header(res, "Content"));
  close_test();
}

static void responses_stay_until_the_end(void **state) {
  (void)state;
  open_test(tell_request, NULL);
  const dusk_test_response_t *first = dusk_test_get(test, "/1");
  const dusk_test_response_t *second = dusk_test_get(test, "/2");
  assert_has(first->body, "GET /1\n");
  assert_has(second->body, "GET /2\n");
  close_test();
}

static void a_request_says_what_it_must(void **state) {
  (void)state;
  char expected[160];
  open_test(tell_request, NULL);
  const dusk_test_response_t *res =
      dusk_test_do(test, &(dusk_test_request_t){0});
  snprintf(expected, sizeof(expected), "GET /\nHost=%s\n[]",
           by_sockets ? dusk_test_address(test) : "example.com");
  assert_string_equal(res->body, expected);
  close_test();
}

static void a_request_says_what_is_wanted(void **state) {
  (void)state;
  open_test(tell_request, NULL);
  const dusk_test_response_t *res = dusk_test_do(
      test, &(dusk_test_request_t){.method = "PUT",
                                   .target = "/a?b=c",
                                   .headers = {"host: h", "X-A: 1", "x-a:2"},
                                   .body = "text"});
  assert_string_equal(
      res->body, "PUT /a?b=c\nhost=h\nX-A=1\nx-a=2\nContent-Length=4\n[text]");
  close_test();
}

static void a_body_has_a_length(void **state) {
  (void)state;
  open_test(tell_request, NULL);
  const dusk_test_response_t *none =
      dusk_test_do(test, &(dusk_test_request_t){.method = "POST"});
  assert_has(none->body, "Content-Length=0\n[]");
  const dusk_test_response_t *part = dusk_test_do(
      test, &(dusk_test_request_t){.method = "POST", .body = "abc", .len = 2});
  assert_has(part->body, "Content-Length=2\n[ab]");
  const dusk_test_response_t *deleted =
      dusk_test_do(test, &(dusk_test_request_t){.method = "DELETE"});
  assert_lacks(deleted->body, "Content-Length");
  close_test();
}

static void a_body_may_be_framed_by_hand(void **state) {
  (void)state;
  open_test(tell_request, NULL);
  const dusk_test_response_t *res = dusk_test_do(
      test, &(dusk_test_request_t){.method = "POST",
                                   .headers = {"Transfer-Encoding: chunked"},
                                   .body = "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"});
  assert_int_equal(res->status, 200);
  assert_has(res->body, "[abc]");
  assert_lacks(res->body, "Content-Length");
  close_test();
}

static void all_fields_are_sent(void **state) {
  (void)state;
  dusk_test_request_t request = {0};
  open_test(tell_request, NULL);
  for (size_t i = 0; i < DUSK_TEST_HEADERS; i++)
    request.headers[i] = i < DUSK_TEST_HEADERS - 1 ? "X-A: 1" : "X-Last: 2";
  const dusk_test_response_t *res = dusk_test_do(test, &request);
  assert_int_equal(count_of(res->body, "X-A=1\n"), DUSK_TEST_HEADERS - 1);
  assert_has(res->body, "X-Last=2\n");
  close_test();
}

static void set_cookies(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  (void)arg;
  assert_int_equal(dusk_response_add_header(res, "Set-Cookie", "a=1"), 0);
  assert_int_equal(dusk_response_add_header(res, "X-Empty", ""), 0);
  assert_int_equal(dusk_response_add_header(res, "Set-Cookie", "b=2"), 0);
  assert_int_equal(dusk_response_end(res, NULL, 0), 0);
}

static void repeated_fields_are_told_in_order(void **state) {
  (void)state;
  char told[128] = "";
  const char *name, *value;
  open_test(set_cookies, NULL);
  const dusk_test_response_t *res = dusk_test_get(test, "/");
  assert_string_equal(dusk_test_header(res, "set-cookie"), "a=1");
  assert_string_equal(dusk_test_header(res, "X-Empty"), "");
  for (size_t i = 0; dusk_test_header_at(res, i, &name, &value); i++)
    if (strcmp(name, "Set-Cookie") == 0) strncat(told, value, 10);
  assert_string_equal(told, "a=1b=2");
  assert_false(dusk_test_header_at(res, 99, &name, &value));
  close_test();
}

static void write_pieces(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  (void)arg;
  static char large[5000];
  memset(large, 'x', sizeof(large));
  dusk_response_write(res, large, sizeof(large));
  dusk_response_write(res, "\0y", 2);
  dusk_response_end(res, "end", 3);
}

static void chunks_are_joined(void **state) {
  (void)state;
  open_test(write_pieces, NULL);
  const dusk_test_response_t *res = dusk_test_get(test, "/");
  assert_string_equal(dusk_test_header(res, "Transfer-Encoding"), "chunked");
  assert_int_equal(res->len, 5005);
  assert_memory_equal(res->body + 4999, "x\0yend", 7);
  close_test();
}

static void head_has_no_body(void **state) {
  (void)state;
  open_test(hello, NULL);
  dusk_test_client_t *client = connect_one();
  assert_int_equal(
      dusk_test_request(client, &(dusk_test_request_t){.method = "HEAD"}), 0);
  const dusk_test_response_t *res = dusk_test_hear(client);
  assert_int_equal(res->err, 0);
  assert_string_equal(dusk_test_header(res, "Content-Length"), "6");
  assert_int_equal(res->len, 0);
  assert_int_equal(dusk_test_request(client, &(dusk_test_request_t){0}), 0);
  assert_string_equal(dusk_test_hear(client)->body, "hello\n");
  assert_string_equal(
      dusk_test_raw(test, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", 0)->body, "");
  close_test();
}

static void answer_no_content(dusk_response_t *res, dusk_request_t *req,
                              void *arg) {
  (void)req;
  (void)arg;
  dusk_response_status(res, 204);
  dusk_response_end(res, NULL, 0);
}

static void a_status_may_mean_that_there_is_no_body(void **state) {
  (void)state;
  open_test(answer_no_content, NULL);
  const dusk_test_response_t *res = dusk_test_get(test, "/");
  assert_int_equal(res->err, 0);
  assert_int_equal(res->status, 204);
  assert_int_equal(res->len, 0);
  close_test();
}

static void give_hints(dusk_response_t *res, dusk_request_t *req, void *arg) {
  dusk_response_set_header(res, "Link", "</style.css>");
  assert_int_equal(dusk_response_inform(res, 103), 0);
  assert_int_equal(dusk_response_inform(res, 102), 0);
  hello(res, req, arg);
}

static void interim_responses_are_told_of(void **state) {
  (void)state;
  open_test(give_hints, NULL);
  const dusk_test_response_t *res = dusk_test_get(test, "/");
  assert_int_equal(res->status, 200);
  assert_int_equal(res->interim, 102);
  assert_string_equal(res->body, "hello\n");
  const char *name, *value;
  size_t links = 0;
  for (size_t i = 0; dusk_test_header_at(res, i, &name, &value); i++)
    links += strcmp(name, "Link") == 0;
  assert_int_equal(links, 1);
  close_test();
}

static void a_body_is_sent_without_being_asked_for(void **state) {
  (void)state;
  open_test(tell_request, NULL);
  const dusk_test_response_t *res = dusk_test_do(
      test, &(dusk_test_request_t){.method = "POST",
                                   .headers = {"Expect: 100-continue"},
                                   .body = "abc"});
  assert_int_equal(res->err, 0);
  assert_int_equal(res->status, 200);
  assert_has(res->body, "[abc]");
  close_test();
}

static void a_close_is_told(void **state) {
  (void)state;
  open_test(hello, NULL);
  assert_true(
      dusk_test_do(test,
                   &(dusk_test_request_t){.headers = {"Connection: close"}})
          ->closes);
  const dusk_test_response_t *old =
      dusk_test_raw(test, "GET / HTTP/1.0\r\n\r\n", 0);
  assert_int_equal(old->err, 0);
  assert_true(old->closes);
  assert_string_equal(old->body, "hello\n");
  close_test();
}

static void begin_without_length(dusk_response_t *res, dusk_request_t *req,
                                 void *arg) {
  (void)req;
  held_t *at = arg;
  at->res = res;
  at->called++;
  dusk_response_write(res, "first ", 6);
}

/* On HTTP/1.0 a streamed body's end is the connection's. */
static void a_body_may_end_with_its_connection(void **state) {
  (void)state;
  open_test(begin_without_length, &held);
  dusk_test_client_t *client = connect_one();
  assert_int_equal(dusk_test_send(client, "GET / HTTP/1.0\r\n\r\n", 0), 0);
  const dusk_test_response_t *res = dusk_test_hear_until(client, "first");
  assert_int_equal(res->err, 0);
  assert_null(dusk_test_header(res, "Transfer-Encoding"));
  dusk_response_end(held.res, "last", 4);
  assert_ptr_equal(dusk_test_hear(client), res);
  assert_int_equal(res->err, 0);
  assert_string_equal(res->body, "first last");
  close_test();
}

static void what_is_malformed_is_refused_as_ever(void **state) {
  (void)state;
  open_test(hello, NULL);
  assert_int_equal(dusk_test_raw(test, "GARBAGE\r\n\r\n", 0)->status, 400);
  assert_int_equal(
      dusk_test_raw(test, "GET / HTTP/1.1\r\nHost: h\r\nA\0: b\r\n\r\n", 33)
          ->status,
      400);
  close_test();
}

static void a_body_beyond_the_limit_is_refused(void **state) {
  (void)state;
  char *large = calloc(1, 300000);
  dusk_server_config_t config = {.handler = tell_request, .max_body_bytes = 10};
  assert_int_equal(open_with(NULL, config), 0);
  memset(large, 'x', 299999);
  const dusk_test_response_t *res = dusk_test_do(
      test, &(dusk_test_request_t){.method = "POST", .body = large});
  assert_int_equal(res->status, 413);
  assert_true(res->closes);
  free(large);
  close_test();
}

static void count_body(dusk_request_t *req, ssize_t nread, const char *data,
                       void *arg) {
  size_t *count = arg;
  (void)data;
  if (nread > 0) *count += (size_t)nread;
  if (nread == UV_EOF)
    dusk_response_printf(dusk_request_response(req), 200, "%zu", *count);
}

static void count_all(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)res;
  assert_int_equal(dusk_request_body(req, count_body, arg), 0);
}

static void a_large_body_arrives(void **state) {
  (void)state;
  enum { LARGE = 5 << 20 };
  size_t count = 0;
  char *large = malloc(LARGE);
  dusk_server_config_t config = {
      .handler = count_all, .handler_arg = &count, .max_body_bytes = DUSK_OFF};
  assert_int_equal(open_with(NULL, config), 0);
  memset(large, 'x', LARGE);
  const dusk_test_response_t *res = dusk_test_do(
      test,
      &(dusk_test_request_t){.method = "POST", .body = large, .len = LARGE});
  assert_string_equal(res->body, "5242880");
  free(large);
  close_test();
}

static void answer_large(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  int *released = arg;
  static char large[8 << 20];
  memset(large, 'x', sizeof(large));
  dusk_response_end_ref(res, large, sizeof(large), count_release, released);
}

static void a_large_response_arrives(void **state) {
  (void)state;
  int released = 0;
  open_test(answer_large, &released);
  const dusk_test_response_t *res = dusk_test_get(test, "/");
  assert_int_equal(res->err, 0);
  assert_int_equal(res->len, 8 << 20);
  assert_int_equal(released, 1);
  close_test();
}

/* -- Handlers that take their time ----------------------------------------- */

typedef struct slow {
  dusk_work_t work;
  dusk_response_t *res;
} slow_t;

static void work_elsewhere(dusk_work_t *work, dusk_context_t *ctx) {
  (void)work;
  (void)ctx;
}

static void on_worked(dusk_work_t *work, int err) {
  slow_t *slow = (slow_t *)work;
  assert_int_equal(err, 0);
  dusk_response_text(slow->res, 200, "worked");
}

static void answer_by_pool(dusk_response_t *res, dusk_request_t *req,
                           void *arg) {
  slow_t *slow = dusk_request_alloc(req, sizeof(*slow));
  (void)arg;
  memset(slow, 0, sizeof(*slow));
  slow->res = res;
  assert_int_equal(dusk_context_work(dusk_request_context(req), &slow->work,
                                     dusk_request_root(req), work_elsewhere,
                                     on_worked),
                   0);
}

static void a_handler_may_answer_from_the_pool(void **state) {
  (void)state;
  open_test(answer_by_pool, NULL);
  assert_string_equal(dusk_test_get(test, "/")->body, "worked");
  close_test();
}

static void what_never_comes_is_told(void **state) {
  (void)state;
  open_test(keep, &held);
  dusk_test_set_timeout(test, 20);
  const dusk_test_response_t *res = dusk_test_get(test, "/");
  assert_error(res, UV_ETIMEDOUT, "nothing more came within 20 ms");
  assert_int_equal(res->status, 0);
  assert_string_equal(res->body, "");
  dusk_test_set_timeout(test, 10000);
  dusk_response_end(held.res, NULL, 0);
  close_test();
}

static void what_came_too_late_is_still_heard(void **state) {
  (void)state;
  open_test(keep, &held);
  dusk_test_client_t *client = connect_one();
  assert_int_equal(dusk_test_request(client, &(dusk_test_request_t){0}), 0);
  dusk_test_set_timeout(test, 20);
  const dusk_test_response_t *res = dusk_test_hear(client);
  assert_int_equal(res->err, UV_ETIMEDOUT);
  dusk_test_set_timeout(test, 10000);
  dusk_response_text(held.res, 200, "late");
  assert_ptr_equal(dusk_test_hear(client), res);
  assert_int_equal(res->err, 0);
  assert_string_equal(res->error, "");
  assert_string_equal(res->body, "late");
  close_test();
}

static void the_servers_time_outs_pass(void **state) {
  (void)state;
  dusk_server_config_t config = {
      .handler = keep, .handler_arg = &held, .request_timeout_ms = 20};
  assert_int_equal(open_with(NULL, config), 0);
  assert_int_equal(dusk_test_get(test, "/")->status, 503);
  dusk_response_end(held.res, NULL, 0);
  close_test();
}

static void the_header_times_out(void **state) {
  (void)state;
  dusk_server_config_t config = {.handler = hello, .header_timeout_ms = 20};
  assert_int_equal(open_with(NULL, config), 0);
  assert_int_equal(dusk_test_raw(test, "GET / HT", 0)->status, 408);
  close_test();
}

static void on_drained(dusk_response_t *res, void *arg) {
  int *left = arg;
  if (--*left == 0) {
    dusk_response_end(res, ".", 1);
    return;
  }
  dusk_response_write(res, "more ", 5);
  assert_int_equal(dusk_response_on_drained(res, on_drained, arg), 0);
}

static void write_as_it_drains(dusk_response_t *res, dusk_request_t *req,
                               void *arg) {
  (void)req;
  dusk_response_write(res, "first ", 6);
  assert_int_equal(dusk_response_on_drained(res, on_drained, arg), 0);
}

static void what_is_written_drains(void **state) {
  (void)state;
  int left = 3;
  open_test(write_as_it_drains, &left);
  assert_string_equal(dusk_test_get(test, "/")->body, "first more more .");
  close_test();
}

static size_t written;
static void write_until_behind(dusk_response_t *res, dusk_request_t *req,
                               void *arg) {
  static char piece[65536];
  loopback_keep(res, req, arg);
  memset(piece, 'x', sizeof(piece));
  int behind;
  written = 0;
  do {
    behind = dusk_response_write(res, piece, sizeof(piece));
    written += sizeof(piece);
  } while (behind == 0);
  assert_int_equal(behind, 1);
}

static void who_does_not_hear_falls_behind(void **state) {
  (void)state;
  open_test(write_until_behind, &held);
  dusk_test_client_t *client = connect_one();
  assert_int_equal(dusk_test_request(client, &(dusk_test_request_t){0}), 0);
  assert_int_equal(dusk_test_await(test, is_kept, &held), 0);
  dusk_response_end(held.res, NULL, 0);
  const dusk_test_response_t *res = dusk_test_hear(client);
  assert_int_equal(res->err, 0);
  assert_int_equal(res->len, written);
  close_test();
}

/* -- What is cut ----------------------------------------------------------- */

static void abort_it(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  (void)arg;
  dusk_response_write(res, "some", 4);
  dusk_response_abort(res);
}

static void what_is_not_whole_is_told_and_shown(void **state) {
  (void)state;
  open_test(abort_it, NULL);
  const dusk_test_response_t *res = dusk_test_get(test, "/");
  assert_error(res, UV_EOF, "the connection ended in the response");
  assert_int_equal(res->status, 200);
  assert_string_equal(res->body, "some");
  close_test();
}

static void reset_it(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  (void)arg;
  dusk_response_reset(res);
}

static void a_reset_is_told(void **state) {
  (void)state;
  open_test(reset_it, NULL);
  assert_error(dusk_test_get(test, "/"), UV_ECONNRESET,
               "the connection ended before a response");
  close_test();
}

static void hijack_it(dusk_response_t *res, dusk_request_t *req, void *arg) {
  uv_os_sock_t fd;
  char *early;
  size_t len;
  (void)req;
  int err = dusk_response_hijack(res, &fd, &early, &len);
  if (err < 0) {
    dusk_response_printf(res, 501, "%s", uv_err_name(err));
    return;
  }
  assert_int_equal(write(fd, arg, strlen(arg)), strlen(arg));
  close(fd);
  free(early);
}

static void what_is_no_http_is_told(void **state) {
  (void)state;
  char banner[] = "SSH-2.0-dropbear\r\n";
  open_test(hijack_it, banner);
  assert_error(dusk_test_get(test, "/"), UV_EPROTO, "no HTTP response: ");
  close_test();
}

static void behind_a_switch_of_protocols_nothing_is_parsed(void **state) {
  (void)state;
  char text[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n"
                "Connection: Upgrade\r\n\r\n\x01raw";
  open_test(hijack_it, text);
  const dusk_test_response_t *res = dusk_test_get(test, "/");
  assert_int_equal(res->err, 0);
  assert_int_equal(res->status, 101);
  assert_string_equal(dusk_test_header(res, "Upgrade"), "x");
  assert_int_equal(res->len, 0);
  close_test();
}

static void without_a_socket_there_is_none_to_hijack(void **state) {
  (void)state;
  open_test(hijack_it, NULL);
  assert_string_equal(dusk_test_get(test, "/")->body, "EBADF");
  close_test();
}

static void tell_addresses(dusk_response_t *res, dusk_request_t *req,
                           void *arg) {
  char local[80];
  (void)arg;
  int err = dusk_conn_local(dusk_request_conn(req), local, sizeof(local));
  dusk_response_printf(res, 200, "%s %s", dusk_request_peer(req),
                       err < 0 ? uv_err_name(err) : local);
}

static void without_a_socket_the_client_is_nobody(void **state) {
  (void)state;
  open_test(tell_addresses, NULL);
  assert_string_equal(dusk_test_address(test), "");
  assert_string_equal(dusk_test_get(test, "/")->body, "192.0.2.1:1234 EBADF");
  close_test();
}

/* The loop itself has some, which it opens for itself. */
static int count_sockets(void) {
  int count = 0;
  for (int fd = 0; fd < 256; fd++) {
    int type;
    socklen_t len = sizeof(type);
    count += getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0;
  }
  return count;
}

static void count_in_handler(dusk_response_t *res, dusk_request_t *req,
                             void *arg) {
  *(int *)arg = count_sockets();
  hello(res, req, NULL);
}

static void a_recorder_opens_no_socket(void **state) {
  (void)state;
  int within = -1;
  int before = count_sockets();
  open_test(count_in_handler, &within);
  assert_string_equal(dusk_test_get(test, "/")->body, "hello\n");
  assert_int_equal(within, before);
  close_test();
}

/* -- A client -------------------------------------------------------------- */

static void a_connection_is_kept(void **state) {
  (void)state;
  open_test(tell_request, NULL);
  dusk_test_client_t *client = connect_one();
  for (int i = 0; i < 3; i++) {
    dusk_test_request_t request = {.method = "POST", .body = i == 1 ? "b" : ""};
    assert_int_equal(dusk_test_request(client, &request), 0);
    const dusk_test_response_t *res = dusk_test_hear(client);
    assert_int_equal(res->status, 200);
    assert_has(res->body, i == 1 ? "[b]" : "[]");
  }
  dusk_test_leave(client);
  close_test();
}

static void pipelined_responses_are_heard_one_by_one(void **state) {
  (void)state;
  open_test(tell_request, NULL);
  dusk_test_client_t *client = connect_one();
  assert_int_equal(
      dusk_test_send(client,
                     "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"
                     "GET /2 HTTP/1.1\r\nHost: h\r\n\r\nGET /3 HTTP/1.1\r\n",
                     0),
      0);
  assert_has(dusk_test_hear(client)->body, "GET /1\n");
  assert_has(dusk_test_hear(client)->body, "GET /2\n");
  assert_int_equal(dusk_test_send(client, "Host: h\r\n\r\n", 0), 0);
  assert_has(dusk_test_hear(client)->body, "GET /3\n");
  close_test();
}

/* Also when the last piece comes in the middle of a character of the frame. */
static void bytes_may_come_one_by_one(void **state) {
  (void)state;
  static const char text[] = "POST /p HTTP/1.1\r\nHost: h\r\n"
                             "Content-Length: 3\r\n\r\nabc";
  open_test(tell_request, NULL);
  dusk_test_client_t *client = connect_one();
  for (size_t i = 0; i < sizeof(text) - 1; i++) {
    assert_int_equal(dusk_test_send(client, text + i, 1), 0);
    uv_run(dusk_context_loop(dusk_test_root(test)), UV_RUN_NOWAIT);
  }
  assert_has(dusk_test_hear(client)->body, "[abc]");
  close_test();
}

static void a_stream_is_heard_event_by_event(void **state) {
  (void)state;
  open_test(keep, &held);
  dusk_test_client_t *client = connect_one();
  assert_int_equal(dusk_test_request(client, &(dusk_test_request_t){0}), 0);
  assert_int_equal(dusk_test_await(test, is_kept, &held), 0);
  dusk_response_set_header(held.res, "Content-Type", "text/event-stream");
  assert_int_equal(dusk_response_write(held.res, "data: tick\n\n", 12), 0);
  const dusk_test_response_t *res = dusk_test_hear_until(client, "tick\n\n");
  assert_int_equal(res->err, 0);
  assert_string_equal(dusk_test_header(res, "Content-Type"),
                      "text/event-stream");
  dusk_test_set_timeout(test, 20);
  assert_int_equal(dusk_test_hear_until(client, "tick\n\n")->err,
                   UV_ETIMEDOUT); /* the first one counts once */
  dusk_test_set_timeout(test, 10000);
  assert_int_equal(dusk_response_write(held.res, "data: tick\n\n", 12), 0);
  assert_ptr_equal(dusk_test_hear_until(client, "tick\n\n"), res);
  assert_int_equal(res->err, 0);
  assert_string_equal(res->body, "data: tick\n\ndata: tick\n\n");
  dusk_response_end(held.res, "bye", 3);
  assert_ptr_equal(dusk_test_hear(client), res);
  assert_int_equal(res->err, 0);
  assert_has(res->body, "tick\n\nbye");
  close_test();
}

static void a_text_that_never_comes_is_told(void **state) {
  (void)state;
  open_test(hello, NULL);
  dusk_test_client_t *client = connect_one();
  assert_int_equal(dusk_test_request(client, &(dusk_test_request_t){0}), 0);
  const dusk_test_response_t *res = dusk_test_hear_until(client, "bye");
  assert_error(res, UV_ENOENT, "the response ended without bye");
  assert_string_equal(res->body, "hello\n");
  assert_int_equal(dusk_test_request(client, &(dusk_test_request_t){0}), 0);
  assert_int_equal(dusk_test_hear_until(client, "ell")->err, 0);
  close_test();
}

typedef struct end {
  dusk_response_t *res;
  int called;
  int err;
} end_t;

static void on_end(dusk_request_t *req, const dusk_request_end_t *end,
                   void *arg) {
  end_t *seen = arg;
  (void)req;
  seen->called++;
  seen->err = end->err;
}

static void on_gone(dusk_waiter_t *waiter);

static struct {
  dusk_waiter_t waiter;
  dusk_response_t *res;
} gone;

static void on_gone(dusk_waiter_t *waiter) {
  (void)waiter;
  dusk_response_end(gone.res, "bye", 3);
}

/* A stream that ends when its client has gone. */
static void stream_until_gone(dusk_response_t *res, dusk_request_t *req,
                              void *arg) {
  assert_int_equal(dusk_response_on_end(res, on_end, arg), 0);
  memset(&gone, 0, sizeof(gone));
  gone.res = res;
  dusk_context_after(dusk_request_context(req), &gone.waiter,
                     dusk_request_root(req), on_gone);
  dusk_response_write(res, "begun", 5);
}

static bool has_end(void *arg) {
  return ((end_t *)arg)->called > 0;
}

static void a_client_that_leaves_is_seen_to_be_gone(void **state) {
  (void)state;
  end_t end = {0};
  open_test(stream_until_gone, &end);
  dusk_test_client_t *client = connect_one();
  assert_int_equal(dusk_test_request(client, &(dusk_test_request_t){0}), 0);
  assert_int_equal(dusk_test_hear_until(client, "begun")->err, 0);
  dusk_test_leave(client);
  assert_int_equal(dusk_test_await(test, has_end, &end), 0);
  assert_int_equal(end.called, 1);
  close_test();
}

static void
a_request_that_was_sent_goes_though_its_client_leaves(void **state) {
  (void)state;
  end_t end = {0};
  open_test(stream_until_gone, &end);
  dusk_test_client_t *client = connect_one();
  assert_int_equal(dusk_test_request(client, &(dusk_test_request_t){0}), 0);
  dusk_test_leave(client);
  assert_int_equal(dusk_test_await(test, has_end, &end), 0);
  close_test();
}

/* A body that is not read stops the client, with a socket or without. */
static void pause_it(dusk_response_t *res, dusk_request_t *req, void *arg) {
  loopback_keep(res, req, arg);
  static size_t count;
  count = 0;
  assert_int_equal(dusk_request_body(req, count_body, &count), 0);
  dusk_request_pause(req);
}

static void a_paused_body_comes_when_it_is_resumed(void **state) {
  (void)state;
  enum { LARGE = 400000 };
  static char large[LARGE];
  open_test(pause_it, &held);
  dusk_test_client_t *client = connect_one();
  dusk_test_request_t request = {.method = "POST", .body = large, .len = LARGE};
  memset(large, 'x', LARGE);
  assert_int_equal(dusk_test_request(client, &request), 0);
  assert_int_equal(dusk_test_await(test, is_kept, &held), 0);
  dusk_test_set_timeout(test, 20);
  assert_int_equal(dusk_test_hear(client)->err, UV_ETIMEDOUT);
  dusk_test_set_timeout(test, 10000);
  dusk_request_resume(held.req);
  assert_string_equal(dusk_test_hear(client)->body, "400000");
  close_test();
}

static void who_has_gone_is_sent_nothing(void **state) {
  (void)state;
  open_test(hello, NULL);
  dusk_test_client_t *client = connect_one();
  assert_int_equal(
      dusk_test_request(
          client, &(dusk_test_request_t){.headers = {"Connection: close"}}),
      0);
  assert_int_equal(dusk_test_hear(client)->status, 200);
  const dusk_test_response_t *res = dusk_test_hear(client);
  assert_error(res, UV_EOF, "the connection ended before a response");
  if (!by_sockets) assert_int_equal(dusk_test_send(client, "x", 1), UV_EPIPE);
  close_test();
}

/* -- The server ------------------------------------------------------------ */

static void a_server_that_was_shut_down_is_not_reached(void **state) {
  (void)state;
  open_test(hello, NULL);
  dusk_server_close(dusk_test_server(test));
  uv_run(dusk_context_loop(dusk_test_root(test)), UV_RUN_NOWAIT);
  assert_error(dusk_test_get(test, "/"), UV_ECONNREFUSED, "connecting failed");
  close_test();
}

static void a_shutdown_is_tested_like_all_else(void **state) {
  (void)state;
  dusk_context_t *bound;
  open_test(keep, &held);
  dusk_test_client_t *client = connect_one();
  assert_int_equal(dusk_test_request(client, &(dusk_test_request_t){0}), 0);
  assert_int_equal(dusk_test_await(test, is_kept, &held), 0);
  assert_int_equal(
      dusk_context_with_timeout(dusk_test_root(test), 5000, NULL, &bound), 0);
  assert_int_equal(
      dusk_server_shutdown(dusk_test_server(test), bound, NULL, NULL), 0);
  dusk_context_unref(bound);
  dusk_response_text(held.res, 200, "last");
  const dusk_test_response_t *res = dusk_test_hear(client);
  assert_string_equal(res->body, "last");
  assert_true(res->closes);
  close_test();
}

static dusk_conn_state_t states[8];
static size_t state_count;
static void note_state(dusk_conn_t *conn, dusk_conn_state_t state, void *arg) {
  (void)conn, (void)arg;
  assert_true(state_count < sizeof(states) / sizeof(*states));
  states[state_count++] = state;
}

static void hooks_are_called_as_ever(void **state) {
  (void)state;
  static const dusk_conn_state_t expected[] = {
      DUSK_CONN_NEW, DUSK_CONN_ACTIVE, DUSK_CONN_IDLE, DUSK_CONN_CLOSED};
  end_t end = {0};
  dusk_server_config_t config = {.handler = hello,
                                 .on_conn_state = note_state,
                                 .on_request_end = on_end,
                                 .on_request_end_arg = &end};
  state_count = 0;
  assert_int_equal(open_with(NULL, config), 0);
  assert_int_equal(dusk_test_get(test, "/")->status, 200);
  close_test();
  assert_int_equal(end.called, 1);
  assert_int_equal(end.err, 0);
  assert_int_equal(state_count, 4);
  assert_memory_equal(states, expected, sizeof(expected));
}

static dusk_context_t *give_no_context(dusk_conn_t *conn, dusk_context_t *base,
                                       void *arg) {
  (void)conn, (void)base, (void)arg;
  return NULL;
}

static void who_is_not_let_in_is_told(void **state) {
  (void)state;
  dusk_server_config_t config = {.handler = hello,
                                 .on_conn_context = give_no_context};
  assert_int_equal(open_with(NULL, config), 0);
  assert_true(dusk_test_get(test, "/")->err < 0);
  close_test();
}

static int started;
static int on_start(dusk_server_t *server, dusk_context_t *root, size_t index,
                    void **data, void *arg) {
  (void)server, (void)root, (void)index, (void)data;
  started++;
  return arg ? *(int *)arg : 0;
}

static void an_open_that_fails_leaves_nothing(void **state) {
  (void)state;
  int err = UV_EACCES;
  dusk_server_config_t config = {
      .handler = hello, .on_worker_start = on_start, .on_worker_arg = &err};
  assert_int_equal(open_with(NULL, config), UV_EACCES);
  assert_int_equal(open_with(NULL, (dusk_server_config_t){0}), UV_EINVAL);
  assert_null(test);
}

static void several_loops_serve(void **state) {
  (void)state;
  dusk_server_config_t config = {.handler = hello, .threads = 3};
  assert_int_equal(open_with(NULL, config), 0);
  for (int i = 0; i < 5; i++)
    assert_string_equal(dusk_test_get(test, "/")->body, "hello\n");
  close_test();
}

static void tell_root(dusk_response_t *res, dusk_request_t *req, void *arg) {
  assert_ptr_equal(dusk_request_loop(req), arg);
  hello(res, req, NULL);
}

static void a_loop_may_be_given(void **state) {
  (void)state;
  uv_loop_t loop;
  dusk_context_t *root;
  assert_int_equal(uv_loop_init(&loop), 0);
  assert_int_equal(dusk_context_attach(&loop, &root), 0);
  dusk_server_config_t config = {.handler = tell_root, .handler_arg = &loop};
  assert_int_equal(open_with(root, config), 0);
  assert_ptr_equal(dusk_test_root(test), root);
  assert_int_equal(dusk_test_get(test, "/")->status, 200);
  close_test();
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(dusk_context_detach(root, NULL, NULL), 0);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&loop), 0);
}

/* -- What is left ---------------------------------------------------------- */

/* It has ended: the server's requests do so at once, not the test. */
static void a_loop_may_be_named_by_any_context(void **state) {
  (void)state;
  uv_loop_t loop;
  dusk_context_t *root, *ended;
  assert_int_equal(uv_loop_init(&loop), 0);
  assert_int_equal(dusk_context_attach(&loop, &root), 0);
  assert_int_equal(dusk_context_with_cancel(root, &ended), 0);
  dusk_server_config_t config = {.handler = hello};
  assert_int_equal(open_with(ended, config), 0);
  assert_int_equal(dusk_test_get(test, "/")->status, 200);
  dusk_context_cancel(ended, NULL);
  close_test();
  dusk_context_unref(ended);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(dusk_context_detach(root, NULL, NULL), 0);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&loop), 0);
}

static void a_response_that_is_never_ended_is_told(void **state) {
  (void)state;
  char text[128], tiny[4];
  uv_loop_t loop;
  dusk_context_t *root;
  assert_int_equal(uv_loop_init(&loop), 0);
  assert_int_equal(dusk_context_attach(&loop, &root), 0);
  dusk_server_config_t config = {.handler = keep, .handler_arg = &held};
  for (int i = 0; i < 2; i++) {
    held.called = 0;
    assert_int_equal(open_with(root, config), 0);
    dusk_test_set_timeout(test, 20);
    assert_int_equal(dusk_test_get(test, "/leak")->err, UV_ETIMEDOUT);
    if (i == 0) {
      assert_int_equal(dusk_test_close(test, text, sizeof(text)), UV_EBUSY);
      assert_string_equal(text,
                          "responses never ended: 1; the oldest: GET /leak");
    } else {
      assert_int_equal(dusk_test_close(test, tiny, sizeof(tiny)), UV_EBUSY);
      assert_string_equal(tiny, "res");
    }
    dusk_response_end(held.res, NULL, 0);
  }
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(dusk_context_detach(root, NULL, NULL), 0);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&loop), 0);
}

static uv_timer_t forgotten;
static void on_forgotten(uv_timer_t *timer) {
  (void)timer;
}

static void forget_a_timer(dusk_response_t *res, dusk_request_t *req,
                           void *arg) {
  uv_timer_init(dusk_request_loop(req), &forgotten);
  uv_timer_start(&forgotten, on_forgotten, 3600000, 0);
  hello(res, req, arg);
}

/* The loop stays, so that what is left may still be closed; and the test's
 * memory, a leak that it has told. */
static void a_handle_that_is_left_is_told(void **state) {
  (void)state;
  char text[128];
  open_test(forget_a_timer, NULL);
  dusk_test_set_timeout(test, 20);
  assert_int_equal(dusk_test_get(test, "/")->status, 200);
  assert_int_equal(dusk_test_close(test, text, sizeof(text)), UV_EBUSY);
  assert_string_equal(text, "left on the loop: a libuv timer");
  uv_loop_t *loop = forgotten.loop;
  uv_close((uv_handle_t *)&forgotten, NULL);
  assert_int_equal(dusk_context_detach(dusk_test_root(test), NULL, NULL), 0);
  uv_run(loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(loop), 0);
  free(test); /* as a program can't */
}

/* -- Misuse ---------------------------------------------------------------- */

static void nothing_is_asked_of_null(void **state) {
  (void)state;
  dusk_test_client_t *client;
  const char *name, *value;
  open_test(hello, NULL);
  assert_error(dusk_test_do(NULL, NULL), UV_EINVAL, "NULL");
  assert_error(dusk_test_do(test, NULL), UV_EINVAL, "NULL");
  assert_error(dusk_test_raw(test, NULL, 0), UV_EINVAL, "NULL");
  assert_error(dusk_test_hear(NULL), UV_EINVAL, "NULL");
  assert_error(dusk_test_hear_until(NULL, "x"), UV_EINVAL, "NULL");
  assert_int_equal(dusk_test_connect(NULL, &client), UV_EINVAL);
  assert_int_equal(dusk_test_connect(test, NULL), UV_EINVAL);
  assert_int_equal(dusk_test_send(NULL, "x", 1), UV_EINVAL);
  assert_int_equal(dusk_test_await(test, NULL, NULL), UV_EINVAL);
  client = connect_one();
  assert_error(dusk_test_hear_until(client, NULL), UV_EINVAL, "NULL");
  assert_int_equal(dusk_test_request(client, NULL), UV_EINVAL);
  assert_int_equal(dusk_test_request(client, &(dusk_test_request_t){.len = 3}),
                   UV_EINVAL);
  assert_null(dusk_test_header(NULL, "A"));
  assert_false(dusk_test_header_at(NULL, 0, &name, &value));
  dusk_test_leave(NULL);
  assert_int_equal(dusk_test_close(NULL, NULL, 0), 0);
  assert_null(dusk_test_server(NULL));
  assert_null(dusk_test_root(NULL));
  assert_string_equal(dusk_test_address(NULL), "");
  close_test();
  dusk_server_config_t config = {.handler = hello};
  assert_int_equal(dusk_test_serve(NULL, &config, NULL), UV_EINVAL);
  assert_int_equal(dusk_test_record(NULL, NULL, &test), UV_EINVAL);
}

static bool never(void *arg) {
  (void)arg;
  return false;
}

static void ask_itself(dusk_response_t *res, dusk_request_t *req, void *arg) {
  dusk_test_client_t *client = arg, *other;
  char text[80];
  (void)req;
  assert_int_equal(dusk_test_await(test, never, NULL), UV_EBUSY);
  assert_int_equal(dusk_test_connect(test, &other), UV_EBUSY);
  assert_error(dusk_test_get(test, "/"), UV_EBUSY, "connecting failed");
  if (client) assert_error(dusk_test_hear(client), UV_EBUSY, "callback");
  assert_int_equal(dusk_test_close(test, text, sizeof(text)), UV_EBUSY);
  assert_has(text, "in a callback");
  hello(res, req, NULL);
}

static void nothing_waits_in_a_callback(void **state) {
  (void)state;
  open_test(ask_itself, NULL);
  assert_string_equal(dusk_test_get(test, "/")->body, "hello\n");
  close_test();
}

static bool is_seven(void *arg) {
  return ++*(int *)arg == 7;
}

static void what_is_awaited_is_asked_each_turn(void **state) {
  (void)state;
  int turns = 0;
  open_test(hello, NULL);
  dusk_test_set_timeout(test, 20);
  assert_int_equal(dusk_test_await(test, never, NULL), UV_ETIMEDOUT);
  turns = 6;
  assert_int_equal(dusk_test_await(test, is_seven, &turns), 0);
  close_test();
}

/* -- Memory ---------------------------------------------------------------- */

/* Each allocation fails once, from open to close: all is told, nothing leaks,
 * nobody waits. */
static void without_memory_it_is_told(void **state) {
  (void)state;
  bool has_failed = true;
  size_t failed = 0;
  for (size_t n = 1; has_failed; n++) {
    dusk_server_config_t config = {.handler = write_pieces};
    test = NULL;
    alloc_fail_at(n);
    int err = open_with(NULL, config);
    if (err == 0) {
      dusk_test_set_timeout(test, 5000);
      const dusk_test_response_t *res = dusk_test_get(test, "/");
      failed += res->err < 0;
      assert_int_not_equal(res->err, UV_ETIMEDOUT);
      if (res->err == 0 && res->status == 200)
        assert_int_equal(res->len, 5005);
      else if (res->err < 0)
        assert_true(strlen(res->error) > 0);
      dusk_test_close(test, NULL, 0);
    } else {
      assert_null(test);
    }
    has_failed = alloc_has_failed();
    alloc_fail_at(0);
  }
  assert_true(failed > 5);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up_none, house_tear_down)
#define SOCKET_TEST(f)                                                         \
  cmocka_unit_test_setup_teardown(f, set_up_sockets, house_tear_down)
#define BOTH(f) TEST(f), SOCKET_TEST(f)

int main(void) {
  const struct CMUnitTest tests[] = {
      BOTH(a_response_is_taken_apart),
      BOTH(responses_stay_until_the_end),
      BOTH(a_request_says_what_it_must),
      BOTH(a_request_says_what_is_wanted),
      BOTH(a_body_has_a_length),
      BOTH(a_body_may_be_framed_by_hand),
      BOTH(all_fields_are_sent),
      BOTH(repeated_fields_are_told_in_order),
      BOTH(chunks_are_joined),
      BOTH(head_has_no_body),
      BOTH(a_status_may_mean_that_there_is_no_body),
      BOTH(interim_responses_are_told_of),
      BOTH(a_body_is_sent_without_being_asked_for),
      BOTH(a_close_is_told),
      BOTH(a_body_may_end_with_its_connection),
      BOTH(what_is_malformed_is_refused_as_ever),
      BOTH(a_body_beyond_the_limit_is_refused),
      BOTH(a_large_body_arrives),
      BOTH(a_large_response_arrives),
      BOTH(a_handler_may_answer_from_the_pool),
      BOTH(what_never_comes_is_told),
      BOTH(what_came_too_late_is_still_heard),
      BOTH(the_servers_time_outs_pass),
      BOTH(the_header_times_out),
      BOTH(what_is_written_drains),
      SOCKET_TEST(who_does_not_hear_falls_behind),
      BOTH(what_is_not_whole_is_told_and_shown),
      BOTH(a_reset_is_told),
      SOCKET_TEST(what_is_no_http_is_told),
      SOCKET_TEST(behind_a_switch_of_protocols_nothing_is_parsed),
      TEST(without_a_socket_there_is_none_to_hijack),
      TEST(without_a_socket_the_client_is_nobody),
      TEST(a_recorder_opens_no_socket),
      BOTH(a_connection_is_kept),
      BOTH(pipelined_responses_are_heard_one_by_one),
      BOTH(bytes_may_come_one_by_one),
      BOTH(a_stream_is_heard_event_by_event),
      BOTH(a_text_that_never_comes_is_told),
      BOTH(a_client_that_leaves_is_seen_to_be_gone),
      BOTH(a_request_that_was_sent_goes_though_its_client_leaves),
      BOTH(a_paused_body_comes_when_it_is_resumed),
      BOTH(who_has_gone_is_sent_nothing),
      BOTH(a_server_that_was_shut_down_is_not_reached),
      BOTH(a_shutdown_is_tested_like_all_else),
      BOTH(hooks_are_called_as_ever),
      BOTH(who_is_not_let_in_is_told),
      BOTH(an_open_that_fails_leaves_nothing),
      BOTH(several_loops_serve),
      BOTH(a_loop_may_be_given),
      BOTH(a_loop_may_be_named_by_any_context),
      BOTH(a_response_that_is_never_ended_is_told),
      BOTH(a_handle_that_is_left_is_told),
      BOTH(nothing_is_asked_of_null),
      BOTH(nothing_waits_in_a_callback),
      BOTH(what_is_awaited_is_asked_each_turn),
      BOTH(without_memory_it_is_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
