/* A short body that is written in pieces has a length, if all of it is still
 * gathered at its end (SRV-239): and what may come between. */
#include "house.h"

#include "alloc.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"
#define HEAD_LAST "HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
#define LAST "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
#define HELD "GET /held HTTP/1.1\r\nHost: h\r\n\r\n"
#define LENGTH_4 "Content-Length:          4\r\n"
#define CHUNKED_FIELD "Transfer-Encoding: chunked\r\n"

/* -- The server ------------------------------------------------------------ */

typedef void (*act_t)(loopback_t *lb, dusk_response_t *res);

static act_t act;
static int acted;

/* What /held asks is another connection's, for the test; else it acts, in the
 * handler's call. */
static void handle(dusk_response_t *res, dusk_request_t *req, void *arg) {
  loopback_t *lb = arg;
  if (strcmp(dusk_request_path(req), "/held") == 0) {
    loopback_keep(res, req, &lb->held);
  } else {
    act(lb, res);
    acted = 1;
  }
}

static void serve_acts(loopback_t *lb, dusk_server_config_t config, act_t by) {
  act = by;
  acted = 0;
  config.handler = handle;
  config.handler_arg = lb;
  serve(lb, config);
}

/* A client whose `request` has been acted upon. */
static int provoke(loopback_t *lb, act_t by, const char *request) {
  serve_acts(lb, DEFAULTS, by);
  int client = connect_client(lb);
  say(client, request);
  loopback_run_until(lb, &acted);
  return client;
}

/* The same, with another connection, whose response is held. */
static int provoke_beside(loopback_t *lb, act_t by, const char *request,
                          int *ret_other) {
  serve_acts(lb, DEFAULTS, by);
  hold_next(lb, *ret_other = connect_client(lb), HELD);
  int client = connect_client(lb);
  say(client, request);
  loopback_run_until(lb, &acted);
  return client;
}

static void put(dusk_response_t *res, const char *text) {
  assert_in_range(dusk_response_write(res, text, strlen(text)), 0, 1);
}

static void finish(dusk_response_t *res, const char *text) {
  assert_int_equal(dusk_response_end(res, text, strlen(text)), 0);
}

static void leave_by_a_reset(loopback_t *lb, int client) {
  struct linger reset = {.l_onoff = 1};
  setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  leave(lb, client);
}

/* -- Another connection ---------------------------------------------------- */

static void write_beside(loopback_t *lb, dusk_response_t *res) {
  put(res, "ab");
  put(lb->held.res, "other");
  put(res, "c");
  finish(res, "d");
}

/* There is one buffer: it goes out for who has it. */
static void a_write_to_another_makes_chunks(void **state) {
  loopback_t *lb = *state;
  int other;
  int client = provoke_beside(lb, write_beside, GET, &other);
  assert_has(hear(lb, client, "0\r\n\r\n"), CHUNKED_FIELD);
  assert_has(lb->heard, "\r\n\r\n2\r\nab\r\n1\r\nc\r\n1\r\nd\r\n0\r\n\r\n");
  assert_has(hear(lb, other, "5\r\nother\r\n"), CHUNKED_FIELD);
  finish(lb->held.res, "");
  hear(lb, other, "0\r\n\r\n");
}

static void end_beside(loopback_t *lb, dusk_response_t *res) {
  put(res, "ab");
  finish(lb->held.res, "other");
  finish(res, "cd");
}

static void the_end_of_another_makes_chunks(void **state) {
  loopback_t *lb = *state;
  int other;
  int client = provoke_beside(lb, end_beside, GET, &other);
  assert_has(hear(lb, client, "0\r\n\r\n"),
             "\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n");
  assert_has(hear(lb, other, "other"), "\r\nContent-Length: 5\r\n");
}

/* HEAD's has none of the two then. */
static void the_end_of_another_leaves_head_bare(void **state) {
  loopback_t *lb = *state;
  int other;
  int client = provoke_beside(lb, end_beside, HEAD_LAST, &other);
  hear(lb, client, NULL);
  assert_has(lb->heard, " GMT\r\nConnection: close\r\n\r\n");
  assert_string_equal(strstr(lb->heard, "\r\n\r\n"), "\r\n\r\n");
}

static void abort_beside(loopback_t *lb, dusk_response_t *res) {
  put(res, "ab");
  dusk_response_abort(lb->held.res);
  finish(res, "cd");
}

static void reset_beside(loopback_t *lb, dusk_response_t *res) {
  put(res, "ab");
  dusk_response_reset(lb->held.res);
  finish(res, "cd");
}

/* It has nothing to send. */
static void what_becomes_of_another_is_its_own(void **state) {
  static const act_t acts[] = {abort_beside, reset_beside};
  loopback_t *lb = *state;
  for (int i = 0; i < 2; i++) {
    int other;
    int client = provoke_beside(lb, acts[i], GET, &other);
    assert_has(hear(lb, client, "abcd"), LENGTH_4);
    end_of_stream(lb, other);
    end_all(lb);
  }
}

static void write_in_turns(loopback_t *lb, dusk_response_t *res) {
  for (int i = 0; i < 3; i++) {
    put(res, "a");
    put(lb->held.res, "b");
  }
  finish(res, "");
  finish(lb->held.res, "");
}

static void two_may_be_written_in_turns(void **state) {
  loopback_t *lb = *state;
  int other;
  int client = provoke_beside(lb, write_in_turns, GET, &other);
  assert_has(hear(lb, client, "0\r\n\r\n"),
             "\r\n\r\n1\r\na\r\n1\r\na\r\n1\r\na\r\n0\r\n\r\n");
  assert_has(hear(lb, other, "0\r\n\r\n"),
             "\r\n\r\n1\r\nb\r\n1\r\nb\r\n1\r\nb\r\n0\r\n\r\n");
}

static void fail_beside(loopback_t *lb, dusk_response_t *res) {
  put(res, "ab");
  put(lb->held.res, "other"); /* what is gathered meets the reset */
  assert_int_equal(dusk_response_write(res, "c", 1), UV_ECANCELED);
  assert_int_equal(dusk_response_end(res, "d", 1), UV_ECANCELED);
}

static int gone_by_now = -1;

static void leave_and_fail_beside(loopback_t *lb, dusk_response_t *res) {
  leave_by_a_reset(lb, gone_by_now);
  fail_beside(lb, res);
}

static void what_fails_on_the_way_is_told(void **state) {
  loopback_t *lb = *state;
  serve_acts(lb, DEFAULTS, leave_and_fail_beside);
  int other = connect_client(lb);
  hold_next(lb, other, HELD);
  say(gone_by_now = connect_client(lb), GET);
  loopback_run_until(lb, &acted);
  assert_has(hear(lb, other, "5\r\nother\r\n"), CHUNKED_FIELD);
  finish(lb->held.res, "");
}

/* -- Its handler ----------------------------------------------------------- */

static void hijack_behind(loopback_t *lb, dusk_response_t *res) {
  uv_os_sock_t fd;
  char *early;
  size_t len;
  (void)lb;
  put(res, "ab");
  assert_int_equal(dusk_response_hijack(res, &fd, &early, &len), 0);
  assert_int_equal(send(fd, "raw", 3, 0), 3);
  free(early);
  close(fd);
}

/* SRV-287 */
static void a_hijack_comes_behind_a_chunk(void **state) {
  loopback_t *lb = *state;
  int client = provoke(lb, hijack_behind, GET);
  assert_has(hear(lb, client, NULL), CHUNKED_FIELD);
  assert_has(lb->heard, "\r\n\r\n2\r\nab\r\nraw");
}

static void abort_behind(loopback_t *lb, dusk_response_t *res) {
  (void)lb;
  put(res, "ab");
  put(res, "cd");
  dusk_response_abort(res);
}

/* It does not look whole. */
static void an_abort_leaves_a_chunk_and_no_end(void **state) {
  loopback_t *lb = *state;
  int client = provoke(lb, abort_behind, GET);
  assert_has(hear(lb, client, NULL), CHUNKED_FIELD);
  assert_string_equal(strstr(lb->heard, "\r\n\r\n"), "\r\n\r\n4\r\nabcd\r\n");
}

static void reset_behind(loopback_t *lb, dusk_response_t *res) {
  (void)lb;
  put(res, "ab");
  dusk_response_reset(res);
}

static void a_reset_drops_it(void **state) {
  loopback_t *lb = *state;
  int client = provoke(lb, reset_behind, GET);
  char byte;
  AWAIT(lb, loopback_report(lb).conns_now == 0);
  assert_int_equal(recv(client, &byte, 1, 0), -1);
}

static void close_behind(loopback_t *lb, dusk_response_t *res) {
  put(res, "ab");
  dusk_server_close(lb->server);
  assert_int_equal(dusk_response_write(res, "c", 1), UV_ECANCELED);
  assert_int_equal(dusk_response_end(res, "d", 1), UV_ECANCELED);
}

static void closing_the_server_drops_it(void **state) {
  loopback_t *lb = *state;
  int client = provoke(lb, close_behind, GET);
  end_of_stream(lb, client);
  assert_int_equal(loopback_report(lb).requests_cut, 1);
}

static void end_in_cut(dusk_request_t *req, uint64_t age_ms, void *arg) {
  loopback_t *lb = arg;
  (void)age_ms;
  if (req == lb->held.req) finish(lb->held.res, "bye");
}

/* A younger one is ended while the older one's is gathered, and dropped. */
static void what_is_dropped_is_no_others(void **state) {
  loopback_t *lb = *state;
  serve_acts(lb,
             (dusk_server_config_t){.on_request_cut = end_in_cut,
                                    .on_request_cut_arg = lb},
             close_behind);
  int client = connect_client(lb);
  say(client, "GET / HTTP/1.1\r\n");
  turn(lb, 3);
  int other = connect_client(lb);
  hold_next(lb, other, HELD);
  say(client, "Host: h\r\n\r\n");
  loopback_run_until(lb, &acted);
  assert_has(hear(lb, other, NULL), "\r\n\r\nbye");
  assert_string_equal(hear(lb, client, NULL), "");
}

static void set_timeouts_between(loopback_t *lb, dusk_response_t *res) {
  dusk_request_t *req = dusk_response_request(res);
  (void)lb;
  put(res, "ab");
  assert_int_equal(dusk_response_set_write_timeout(res, 1000), 0);
  assert_int_equal(dusk_request_set_body_timeout(req, 1000), 0);
  assert_int_equal(dusk_request_set_timeout(req, 1000), 0);
  assert_non_null(dusk_request_context(req));
  assert_null(dusk_response_get_header(res, "Content-Length"));
  finish(res, "cd");
  assert_string_equal(dusk_response_get_header(res, "Content-Length"), "4");
}

static void what_sends_nothing_keeps_the_length(void **state) {
  loopback_t *lb = *state;
  int client = provoke(lb, set_timeouts_between, GET);
  assert_has(hear(lb, client, "abcd"), LENGTH_4);
}

static void write_one(loopback_t *lb, dusk_response_t *res) {
  put(res, "ab");
  loopback_keep(res, dusk_response_request(res), &lb->held);
}

/* It goes out when the handler returns. */
static void what_ends_later_is_chunked(void **state) {
  loopback_t *lb = *state;
  int client = provoke(lb, write_one, GET);
  assert_has(hear(lb, client, "2\r\nab\r\n"), CHUNKED_FIELD);
  finish(lb->held.res, "cd");
  assert_string_equal(hear(lb, client, "0\r\n\r\n"), "2\r\ncd\r\n0\r\n\r\n");
}

static void what_ends_later_leaves_head_bare(void **state) {
  loopback_t *lb = *state;
  int client = provoke(lb, write_one, HEAD);
  hear(lb, client, "\r\n\r\n");
  assert_lacks(lb->heard, "Transfer-Encoding");
  assert_lacks(lb->heard, "Content-Length");
  finish(lb->held.res, "cd");
  say(client, HELD);
  loopback_run_until(lb, &lb->held.called);
  finish(lb->held.res, "next");
  assert_int_equal(strncmp(hear(lb, client, "next"), "HTTP/1.1 200", 12), 0);
}

static void time_out_behind(loopback_t *lb, dusk_response_t *res) {
  write_one(lb, res);
  assert_int_equal(dusk_request_set_timeout(lb->held.req, 20), 0);
}

static void a_time_out_leaves_a_chunk_and_no_end(void **state) {
  loopback_t *lb = *state;
  int client = provoke(lb, time_out_behind, GET);
  hear(lb, client, NULL);
  assert_string_equal(strstr(lb->heard, "\r\n\r\n"), "\r\n\r\n2\r\nab\r\n");
  assert_int_equal(dusk_response_end(lb->held.res, "cd", 2), UV_ECANCELED);
}

static void on_drained(dusk_response_t *res, void *arg) {
  (void)arg;
  put(res, "cd");
  finish(res, "ef");
}

static void wait_behind(loopback_t *lb, dusk_response_t *res) {
  (void)lb;
  put(res, "ab");
  assert_int_equal(dusk_response_on_drained(res, on_drained, NULL), 0);
}

static void on_drained_sees_it_gone(void **state) {
  loopback_t *lb = *state;
  int client = provoke(lb, wait_behind, GET);
  assert_has(hear(lb, client, "0\r\n\r\n"),
             "\r\n\r\n2\r\nab\r\n2\r\ncd\r\n2\r\nef\r\n0\r\n\r\n");
}

static void on_body(dusk_request_t *req, ssize_t nread, const char *data,
                    void *arg) {
  dusk_response_t *res = dusk_request_response(req);
  (void)arg;
  if (nread > 0)
    assert_in_range(dusk_response_write(res, data, (size_t)nread), 0, 1);
  else
    finish(res, "");
}

static void ask_behind(loopback_t *lb, dusk_response_t *res) {
  (void)lb;
  put(res, "ab");
  assert_int_equal(dusk_request_body(dusk_response_request(res), on_body, NULL),
                   0);
}

/* A body that has come with its header is read in the same go. */
static void an_echo_may_follow_it(void **state) {
  static const char post[] =
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n";
  loopback_t *lb = *state;
  int client = provoke(lb, ask_behind, post);
  assert_has(hear(lb, client, "2\r\nab\r\n"), CHUNKED_FIELD);
  say(client, "cd");
  assert_string_equal(hear(lb, client, "0\r\n\r\n"), "2\r\ncd\r\n0\r\n\r\n");
  char whole[128];
  say(client, strcat(strcpy(whole, post), "cd"));
  assert_has(hear(lb, client, "abcd"), LENGTH_4);
}

/* -- By reference ---------------------------------------------------------- */

static int released;

static void write_refs(loopback_t *lb, dusk_response_t *res) {
  (void)lb;
  put(res, "ab");
  assert_int_equal(
      dusk_response_write_ref(res, "cd", 2, count_release, &released), 0);
  assert_int_equal(dusk_response_write_ref(res, "e", 1, NULL, NULL), 0);
  put(res, "f");
  assert_int_equal(dusk_response_end_ref(res, "g", 1, count_release, &released),
                   0);
}

static void end_by_ref(loopback_t *lb, dusk_response_t *res) {
  (void)lb;
  put(res, "ab");
  assert_int_equal(
      dusk_response_end_ref(res, "cd", 2, count_release, &released), 0);
}

static void what_is_lent_goes_at_once(void **state) {
  loopback_t *lb = *state;
  released = 0;
  int client = provoke(lb, write_refs, GET);
  assert_has(hear(lb, client, "0\r\n\r\n"), CHUNKED_FIELD);
  assert_has(lb->heard, "\r\n\r\n2\r\nab\r\n2\r\ncd\r\n1\r\ne\r\n1\r\nf\r\n"
                        "1\r\ng\r\n0\r\n\r\n");
  assert_int_equal(released, 2);
  end_all(lb);
  client = provoke(lb, end_by_ref, GET);
  assert_has(hear(lb, client, "0\r\n\r\n"),
             "\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n");
  assert_int_equal(released, 3);
}

static void end_with_much(loopback_t *lb, dusk_response_t *res) {
  enum { MUCH = 20000 };
  static char much[MUCH + 1];
  (void)lb;
  memset(much, 'x', MUCH);
  put(res, "ab");
  finish(res, much);
}

static void what_is_too_large_goes_at_once(void **state) {
  loopback_t *lb = *state;
  int client = provoke(lb, end_with_much, GET);
  assert_has(hear(lb, client, "0\r\n\r\n"), "\r\n\r\n2\r\nab\r\n4e20\r\nxxx");
  assert_has(lb->heard, "xxx\r\n0\r\n\r\n");
}

/* -- Other framings -------------------------------------------------------- */

static void write_two(loopback_t *lb, dusk_response_t *res) {
  (void)lb;
  put(res, "ab");
  finish(res, "cd");
}

/* It has no chunks to fall back to, once the header says that there is a
 * length.
 */
static void http_1_0_has_the_connections_end(void **state) {
  loopback_t *lb = *state;
  int client = provoke(lb, write_two,
                       "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  assert_has(hear(lb, client, NULL), "\r\n\r\nabcd");
  assert_lacks(lb->heard, "Content-Length");
  assert_lacks(lb->heard, "Transfer-Encoding");
  assert_lacks(lb->heard, "keep-alive");
}

static int bodiless;

static void write_bodiless(loopback_t *lb, dusk_response_t *res) {
  (void)lb;
  assert_int_equal(dusk_response_status(res, bodiless), 0);
  assert_int_equal(dusk_response_write(res, "ab", 2), DUSK_ENOBODY);
  assert_int_equal(dusk_response_write(res, "cd", 2), DUSK_ENOBODY);
  finish(res, "");
}

static void what_has_no_body_has_none(void **state) {
  loopback_t *lb = *state;
  for (int i = 0; i < 2; i++) {
    bodiless = i ? 304 : 204;
    int client = provoke(lb, write_bodiless, GET LAST);
    hear(lb, client, NULL);
    assert_lacks(lb->heard, "Content-Length");
    assert_lacks(lb->heard, "Transfer-Encoding");
    assert_lacks(lb->heard, "ab");
    assert_int_equal(count_of(lb->heard, "HTTP/1.1 "), 2);
    end_all(lb);
  }
}

static int declare_length(dusk_response_t *res, const char *length) {
  return dusk_response_set_header(res, "Content-Length", length);
}

static void declare_all(loopback_t *lb, dusk_response_t *res) {
  assert_int_equal(declare_length(res, "4"), 0);
  write_two(lb, res);
}

static void declare_less(loopback_t *lb, dusk_response_t *res) {
  (void)lb;
  assert_int_equal(declare_length(res, "3"), 0);
  put(res, "ab");
  assert_int_equal(dusk_response_write(res, "cd", 2), DUSK_ELENGTH);
  finish(res, "c");
}

static void declare_more(loopback_t *lb, dusk_response_t *res) {
  (void)lb;
  assert_int_equal(declare_length(res, "5"), 0);
  put(res, "ab");
  assert_int_equal(dusk_response_end(res, "cd", 2), DUSK_ESHORT);
}

static void a_length_that_is_declared_is_said(void **state) {
  static const struct {
    act_t act;
    const char *length, *body;
  } cases[] = {{declare_all, "\r\nContent-Length: 4\r\n", "abcd"},
               {declare_less, "\r\nContent-Length: 3\r\n", "abc"},
               {declare_more, "\r\nContent-Length: 5\r\n", "abcd"}};
  loopback_t *lb = *state;
  for (int i = 0; i < 3; i++) {
    int client = provoke(lb, cases[i].act, LAST);
    assert_has(hear(lb, client, NULL), cases[i].length);
    assert_string_equal(strstr(lb->heard, "\r\n\r\n") + 4, cases[i].body);
    end_all(lb);
  }
}

/* -- Hooks of the header --------------------------------------------------- */

static void declare_in_hook(dusk_response_t *res, void *arg) {
  (void)arg;
  assert_int_equal(declare_length(res, "4"), 0);
}

static void forbid_in_hook(dusk_response_t *res, void *arg) {
  (void)arg;
  assert_int_equal(dusk_response_status(res, 204), 0);
}

static void write_beside_in_hook(dusk_response_t *res, void *arg) {
  (void)res;
  put(((loopback_t *)arg)->held.res, "other");
}

static void hook(loopback_t *lb, dusk_response_t *res, dusk_header_cb cb) {
  assert_int_equal(dusk_response_on_header(res, cb, lb), 0);
}

static void hook_length(loopback_t *lb, dusk_response_t *res) {
  hook(lb, res, declare_in_hook);
  write_two(lb, res);
}

static void hook_status(loopback_t *lb, dusk_response_t *res) {
  hook(lb, res, forbid_in_hook);
  assert_int_equal(dusk_response_write(res, "ab", 2), DUSK_ENOBODY);
  finish(res, "");
}

static void hook_another(loopback_t *lb, dusk_response_t *res) {
  hook(lb, res, write_beside_in_hook);
  write_two(lb, res);
}

static void a_hook_may_still_decide(void **state) {
  loopback_t *lb = *state;
  int other;
  int client = provoke(lb, hook_length, GET);
  assert_has(hear(lb, client, "abcd"), "\r\nContent-Length: 4\r\n");
  end_all(lb);
  client = provoke(lb, hook_status, LAST);
  assert_has(hear(lb, client, NULL), "HTTP/1.1 204 ");
  assert_lacks(lb->heard, "Transfer-Encoding");
  end_all(lb);
  client = provoke_beside(lb, hook_another, GET, &other);
  assert_has(hear(lb, client, "abcd"), LENGTH_4);
  hear(lb, other, "5\r\nother\r\n");
  finish(lb->held.res, "");
}

/* -- The gathering buffer -------------------------------------------------- */

enum { ROOM = 1 << 20 };

static char heard[ROOM];

/* Asserts that there are `len` of them, of one kind, and gives what is behind
 * them. */
static const char *assert_bytes(const char *at, char byte, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (at[i] != byte) fail_msg("'%c' for '%c' at %zu", at[i], byte, i);
  return at + len;
}

/* The length that the answer at *at tells, which is its body's then. */
static size_t length_of(const char **at) {
  assert_int_equal(strncmp(*at, "HTTP/1.1 200 OK\r\n", 17), 0);
  const char *length = strstr(*at, "\r\nContent-Length:");
  *at = strstr(*at, "\r\n\r\n") + 4;
  assert_true(length && length < *at);
  return strtoul(length + 17, NULL, 10);
}

static size_t answered;

static char byte_of(size_t number) {
  return (char)('a' + number % 26);
}

static char *bytes_of(size_t number) {
  static char bytes[1 << 14];
  return memset(bytes, byte_of(number), sizeof(bytes));
}

/* Body number n has n bytes, in pieces. */
static void write_next(loopback_t *lb, dusk_response_t *res) {
  enum { PIECE = 100 };
  (void)lb;
  size_t len = answered++;
  const char *bytes = bytes_of(len);
  for (size_t left = len; left > 0;) {
    size_t piece = left < PIECE ? left : PIECE;
    assert_int_equal(dusk_response_write(res, bytes, piece), 0);
    left -= piece;
  }
  finish(res, "");
}

/* An answer that doesn't fit any more is the first of the next write. */
static void batches_overflow_it_between_answers(void **state) {
  enum { BATCH = 100, MOST = 2000 };
  loopback_t *lb = *state;
  char requests[BATCH * sizeof(GET) + sizeof(LAST)] = "";
  for (int i = 0; i + 1 < BATCH; i++)
    strcat(requests, GET);
  strcat(requests, LAST);
  serve_acts(lb, DEFAULTS, write_next);
  answered = 0;
  while (answered < MOST) {
    const char *at = heard;
    size_t first = answered;
    int client = connect_client(lb);
    say(client, requests);
    loopback_receive(lb, client, heard, ROOM, NULL);
    leave(lb, client);
    for (size_t n = first; n < first + BATCH; n++) {
      assert_int_equal(length_of(&at), n);
      at = assert_bytes(at, byte_of(n), n);
    }
    assert_string_equal(at, "");
  }
}

static size_t filler;

/* Nearly fills it, and has the last one made a chunk in what is left. */
static void fill(loopback_t *lb, dusk_response_t *res) {
  enum { LARGE = 16000, GATHERED = 2048 };
  size_t number = answered++;
  const char *bytes = bytes_of(number);
  if (number < 3) {
    assert_int_equal(dusk_response_end(res, bytes, LARGE), 0);
  } else if (number == 3) {
    assert_int_equal(dusk_response_end(res, bytes, filler), 0);
  } else {
    assert_int_equal(dusk_response_write(res, bytes, GATHERED), 0);
    put(lb->held.res, "other");
    finish(res, "");
  }
}

static void a_chunk_fits_wherever_it_is_made(void **state) {
  loopback_t *lb = *state;
  serve_acts(lb, DEFAULTS, fill);
  int other = connect_client(lb);
  hold_next(lb, other, HELD);
  for (filler = 13000; filler < 16384; filler += 40) {
    const char *at = heard;
    answered = 0;
    int client = connect_client(lb);
    say(client, GET GET GET GET LAST);
    loopback_receive(lb, client, heard, ROOM, NULL);
    leave(lb, client);
    lb->client_count = 1;
    for (size_t n = 0; n < 4; n++) {
      size_t len = length_of(&at);
      assert_int_equal(len, n < 3 ? 16000 : filler);
      at = assert_bytes(at, byte_of(n), len);
    }
    assert_has(at, CHUNKED_FIELD);
    at = strstr(at, "\r\n\r\n800\r\n") + 9;
    assert_string_equal(assert_bytes(at, byte_of(4), 2048), "\r\n0\r\n\r\n");
  }
  take_some(lb, other);
  finish(lb->held.res, "");
}

/* -- A client that is behind ----------------------------------------------- */

static size_t informed; /* bytes that precede the answer */

/* Until much waits for the client. */
static void inform(dusk_response_t *res) {
  enum { VALUE = 30000, TIMES = 300 };
  char *value = memset(malloc(VALUE + 1), 'v', VALUE);
  value[VALUE] = '\0';
  assert_int_equal(dusk_response_set_header(res, "V", value), 0);
  free(value);
  for (int i = 0; i < TIMES; i++)
    assert_int_equal(dusk_response_inform(res, 103), 0);
  assert_int_equal(dusk_response_remove_header(res, "V"), 0);
  informed = TIMES * (sizeof("HTTP/1.1 103 Early Hints\r\nV: \r\n\r\n") - 1 +
                      (size_t)VALUE);
}

static void write_to_one_behind(loopback_t *lb, dusk_response_t *res) {
  (void)lb;
  inform(res);
  assert_int_equal(dusk_response_write(res, "ab", 2), 1);
  finish(res, "cd");
}

static void one_that_is_behind_is_told_a_length(void **state) {
  loopback_t *lb = *state;
  int client = provoke(lb, write_to_one_behind, LAST);
  assert_int_equal(take(lb, client, informed), informed);
  assert_has(hear(lb, client, NULL), LENGTH_4);
  assert_has(lb->heard, "\r\n\r\nabcd");
}

static void starve_one_behind(loopback_t *lb, dusk_response_t *res) {
  inform(res);
  assert_int_equal(dusk_response_write(res, "ab", 2), 1);
  alloc_fail_at(1);
  fail_beside(lb, res);
  assert_true(alloc_has_failed());
  alloc_fail_at(0);
}

static void without_memory_for_one_behind_it_is_cut(void **state) {
  loopback_t *lb = *state;
  int other;
  int client = provoke_beside(lb, starve_one_behind, GET, &other);
  end_of_stream(lb, client);
  assert_has(hear(lb, other, "5\r\nother\r\n"), CHUNKED_FIELD);
  finish(lb->held.res, "");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(a_write_to_another_makes_chunks),
      house_test(the_end_of_another_makes_chunks),
      house_test(the_end_of_another_leaves_head_bare),
      house_test(what_becomes_of_another_is_its_own),
      house_test(two_may_be_written_in_turns),
      house_test(what_fails_on_the_way_is_told),
      house_test(a_hijack_comes_behind_a_chunk),
      house_test(an_abort_leaves_a_chunk_and_no_end),
      house_test(a_reset_drops_it),
      house_test(closing_the_server_drops_it),
      house_test(what_is_dropped_is_no_others),
      house_test(what_sends_nothing_keeps_the_length),
      house_test(what_ends_later_is_chunked),
      house_test(what_ends_later_leaves_head_bare),
      house_test(a_time_out_leaves_a_chunk_and_no_end),
      house_test(on_drained_sees_it_gone),
      house_test(an_echo_may_follow_it),
      house_test(what_is_lent_goes_at_once),
      house_test(what_is_too_large_goes_at_once),
      house_test(http_1_0_has_the_connections_end),
      house_test(what_has_no_body_has_none),
      house_test(a_length_that_is_declared_is_said),
      house_test(a_hook_may_still_decide),
      house_test(batches_overflow_it_between_answers),
      house_test(a_chunk_fits_wherever_it_is_made),
      house_test(one_that_is_behind_is_told_a_length),
      house_test(without_memory_for_one_behind_it_is_cut),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
