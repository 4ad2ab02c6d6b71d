/* What handlers that wrap handlers have: values and a context of theirs with
 * the request, and hooks for when its header goes out and when it is over;
 * however it ends. */
#include "house.h"

#include "alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET_X "GET /x HTTP/1.1\r\nHost: h\r\nX-Id: 7\r\n\r\n"
#define LAST_X "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
#define NO_HOST "GET /x HTTP/1.1\r\n\r\n"
#define HTTP_2 "GET /x HTTP/2.0\r\nHost: h\r\n\r\n"

/* -- What happened, in its order ------------------------------------------- */

static char events[512];
static dusk_request_end_t last_end;

static void note(const char *event) {
  assert_true(strlen(events) + strlen(event) < sizeof(events));
  strcat(events, event);
}

static void happened(const char *wanted) {
  assert_string_equal(events, wanted);
  events[0] = '\0';
}

static void note_release(void *event) {
  note(event);
}

static void note_header(dusk_response_t *res, void *event) {
  assert_ptr_equal(dusk_request_response(dusk_response_request(res)), res);
  note(event);
}

static const dusk_key_t key_a = {"a"};
static const dusk_key_t key_b = {"a"};

static int on_end(dusk_response_t *res, const char *event);

static void note_end(dusk_request_t *req, const dusk_request_end_t *end,
                     void *event) {
  note(event);
  last_end = *end;
  /* What was put at it is still there, and it may be read. */
  assert_string_equal(dusk_request_value(req, &key_a), "(a)");
  assert_string_equal(dusk_request_target(req), "/x");
  assert_int_equal(strncmp(dusk_request_peer(req), "127.0.0.1:", 10), 0);
  assert_non_null(dusk_request_alloc(req, 10));
  assert_non_null(dusk_request_context(req));
  assert_int_not_equal(dusk_context_err(dusk_request_context(req)), 0);
  dusk_response_t *res = dusk_request_response(req);
  assert_non_null(res);
  /* And it is over. */
  assert_true(dusk_response_write(res, "x", 1) < 0);
  assert_int_equal(on_end(res, "?"), UV_ECANCELED);
}

static int on_end(dusk_response_t *res, const char *event) {
  return dusk_response_on_end(res, note_end, (void *)event);
}

static int on_header(dusk_response_t *res, const char *event) {
  return dusk_response_on_header(res, note_header, (void *)event);
}

static int put(dusk_request_t *req, const dusk_key_t *key, const char *event,
               dusk_release_cb release) {
  return dusk_request_set_value(req, key, (void *)event, release);
}

static void hook_all(dusk_request_t *req) {
  dusk_response_t *res = dusk_request_response(req);
  assert_int_equal(put(req, &key_a, "(a)", note_release), 0);
  assert_int_equal(put(req, &key_b, "(b)", note_release), 0);
  assert_int_equal(on_header(res, "h"), 0);
  assert_int_equal(on_header(res, "H"), 0);
  assert_int_equal(on_end(res, "e"), 0);
  assert_int_equal(on_end(res, "E"), 0);
}

static dusk_server_config_t noted(void) {
  memset(&last_end, 0, sizeof(last_end));
  events[0] = '\0';
  return (dusk_server_config_t){.on_request_end = note_end,
                                .on_request_end_arg = (void *)"s"};
}

/* A client whose request is held, and has all of them. */
static int hold_hooked(loopback_t *lb, dusk_server_config_t config) {
  int client = hold(lb, config, GET_X);
  hook_all(lb->held.req);
  return client;
}

static void ended_with(int status, int err, const dusk_cause_t *cause) {
  assert_int_equal(last_end.status, status);
  assert_int_equal(last_end.err, err);
  assert_ptr_equal(last_end.cause, cause);
}

static void lose(loopback_t *lb, int client) {
  struct linger reset = {.l_onoff = 1};
  setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  dusk_context_t *ctx = held_context(lb);
  leave(lb, client);
  AWAIT(lb, dusk_context_err(ctx) != 0);
}

/* -- However it ends ------------------------------------------------------- */

#define TOLD "Ees"
#define RELEASED "(b)(a)"

static void an_answered_one(void **state) {
  loopback_t *lb = *state;
  int client = hold_hooked(lb, noted());
  assert_int_equal(dusk_response_end(lb->held.res, "hello", 5), 0);
  happened("Hh" TOLD RELEASED);
  ended_with(200, 0, &dusk_response_ended);
  assert_int_equal(last_end.body_bytes, 5);
  assert_has(hear(lb, client, "hello"), "200 OK");
  /* The next one has none of them. */
  hold_next(lb, client, GET_X);
  assert_null(dusk_request_value(lb->held.req, &key_a));
  assert_int_equal(put(lb->held.req, &key_a, "(a)", note_release), 0);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
  happened("s(a)");
}

static void a_streamed_one(void **state) {
  loopback_t *lb = *state;
  int client = hold_hooked(lb, noted());
  assert_int_equal(dusk_response_write(lb->held.res, NULL, 0), 0);
  happened("Hh");
  assert_int_equal(on_header(lb->held.res, "late"), DUSK_EHEADERSENT);
  hear(lb, client, "\r\n\r\n");
  assert_int_equal(dusk_response_end(lb->held.res, "x", 1), 0);
  happened(TOLD RELEASED);
}

static void one_that_is_too_short(void **state) {
  loopback_t *lb = *state;
  int client = hold_hooked(lb, noted());
  dusk_response_set_header(lb->held.res, "Content-Length", "9");
  assert_int_equal(dusk_response_end(lb->held.res, "x", 1), DUSK_ESHORT);
  hear(lb, client, NULL);
  happened("Hh" TOLD RELEASED);
  ended_with(200, DUSK_ESHORT, &dusk_response_ended);
}

static void an_aborted_one(void **state) {
  loopback_t *lb = *state;
  int client = hold_hooked(lb, noted());
  dusk_response_abort(lb->held.res);
  assert_string_equal(hear(lb, client, NULL), "");
  happened(TOLD RELEASED);
  ended_with(0, UV_ECANCELED, &dusk_connection_cut);
}

static void a_reset_one(void **state) {
  loopback_t *lb = *state;
  hold_hooked(lb, noted());
  dusk_response_reset(lb->held.res);
  happened(TOLD RELEASED);
  ended_with(0, UV_ECANCELED, &dusk_connection_cut);
}

static void a_hijacked_one(void **state) {
  loopback_t *lb = *state;
  hold_hooked(lb, noted());
  uv_os_sock_t fd;
  char *early;
  size_t len;
  assert_int_equal(dusk_response_hijack(lb->held.res, &fd, &early, &len), 0);
  happened(TOLD RELEASED);
  ended_with(0, 0, &dusk_response_ended);
  free(early);
  close(fd);
}

static void one_whose_client_has_gone(void **state) {
  loopback_t *lb = *state;
  lose(lb, hold_hooked(lb, noted()));
  happened("");
  /* It is still its handler's. */
  assert_string_equal(dusk_request_value(lb->held.req, &key_a), "(a)");
  assert_int_equal(on_end(lb->held.res, "late"), 0);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), UV_ECANCELED);
  happened("late" TOLD RELEASED);
  ended_with(0, UV_ECONNRESET, &dusk_client_gone);
}

static void one_that_close_cuts(void **state) {
  loopback_t *lb = *state;
  hold_hooked(lb, noted());
  dusk_server_close(lb->server);
  turn(lb, 2);
  happened("");
  dusk_response_abort(lb->held.res);
  happened(TOLD RELEASED);
  ended_with(0, UV_ECANCELED, &dusk_server_closed);
}

static void one_that_the_drains_bound_cuts(void **state) {
  loopback_t *lb = *state;
  hold_hooked(lb, noted());
  stop(lb, 20);
  happened("");
  dusk_response_end(lb->held.res, NULL, 0);
  happened(TOLD RELEASED);
  ended_with(0, UV_ECANCELED, &dusk_drain_cancelled);
}

static void one_whose_client_takes_nothing(void **state) {
  loopback_t *lb = *state;
  enum { LEN = 16 << 20 };
  dusk_server_config_t config = noted();
  config.write_timeout_ms = 50;
  hold_hooked(lb, config);
  char *body = calloc(1, LEN);
  assert_int_equal(dusk_response_end_ref(lb->held.res, body, LEN, free, body),
                   0);
  AWAIT(lb, strstr(events, RELEASED));
  happened("Hh" TOLD RELEASED);
  ended_with(200, UV_ETIMEDOUT, &dusk_timed_out);
}

/* It is told when the server has answered; what its handler has put there is
 * the handler's until it lets go. */
static void one_that_is_answered_in_its_handlers_stead(void **state) {
  loopback_t *lb = *state;
  dusk_server_config_t config = noted();
  config.request_timeout_ms = 20;
  int client = hold_hooked(lb, config);
  assert_has(hear(lb, client, NULL), "HTTP/1.1 503 ");
  happened("Hh" TOLD);
  ended_with(503, 0, &dusk_timed_out);
  assert_string_equal(dusk_request_value(lb->held.req, &key_a), "(a)");
  assert_int_equal(put(lb->held.req, &key_b, "(c)", note_release), 0);
  happened("(b)");
  assert_int_equal(on_end(lb->held.res, "late"), UV_ECANCELED);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), UV_ECANCELED);
  happened("(c)(a)");
}

/* In the middle of its answer, so that there is no other one. */
static void one_that_is_cut_after_its_time(void **state) {
  loopback_t *lb = *state;
  dusk_server_config_t config = noted();
  config.request_timeout_ms = 50;
  int client = hold_hooked(lb, config);
  assert_int_equal(dusk_response_write(lb->held.res, "x", 1), 0);
  end_of_stream(lb, client);
  happened("Hh");
  dusk_response_end(lb->held.res, NULL, 0);
  happened(TOLD RELEASED);
  ended_with(200, UV_ETIMEDOUT, &dusk_timed_out);
}

static void on_failed_body(dusk_request_t *req, ssize_t nread, const char *data,
                           void *arg) {
  (void)data;
  (void)arg;
  if (nread < 0) dusk_response_abort(dusk_request_response(req));
}

/* By the server's own reply, to what its handler was told of. */
static void one_whose_body_fails(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, noted(),
                    "POST /x HTTP/1.1\r\nHost: h\r\n"
                    "Transfer-Encoding: chunked\r\n\r\n?\r\n");
  hook_all(lb->held.req);
  assert_int_equal(dusk_request_body(lb->held.req, on_failed_body, NULL), 0);
  assert_has(hear(lb, client, NULL), "HTTP/1.1 400 ");
  happened("Hh" TOLD RELEASED);
  ended_with(400, 0, &dusk_response_ended);
}

static void nothing_needs_hooks(void **state) {
  loopback_t *lb = *state;
  events[0] = '\0';
  int client = hold(lb, DEFAULTS, LAST_X);
  assert_int_equal(put(lb->held.req, &key_a, "(a)", note_release), 0);
  dusk_response_end(lb->held.res, NULL, 0);
  hear(lb, client, NULL);
  happened("(a)");
}

/* -- Before a handler ------------------------------------------------------ */

static void count_end(dusk_request_t *req, const dusk_request_end_t *end,
                      void *count) {
  (void)req;
  assert_true(end->status >= 400);
  ++*(int *)count;
}

typedef struct refused {
  int shaped;
  int headers;
  int ends;
  int released;
} refused_t;

static void count_header(dusk_response_t *res, void *count) {
  assert_int_equal(dusk_response_set_header(res, "X-Hook", "yes"), 0);
  ++*(int *)count;
}

/* All that a request may be asked has an answer, whatever came. */
static void ask_all(dusk_request_t *req) {
  const char *name;
  const char *value;
  char text[32];
  assert_non_null(dusk_request_method(req));
  assert_non_null(dusk_request_target(req));
  assert_non_null(dusk_request_path(req));
  assert_non_null(dusk_request_query(req));
  assert_non_null(dusk_request_host(req));
  dusk_request_header(req, "Host");
  dusk_request_trailer(req, "Host");
  for (size_t i = 0; dusk_request_header_at(req, i, &name, &value); i++)
    assert_true(strlen(name) + strlen(value) > 0);
  assert_true(dusk_request_query_value(req, "a", text, sizeof(text)) <= 0);
  assert_true(dusk_request_version_minor(req) >= -1);
  dusk_request_content_length(req);
  assert_int_equal(strncmp(dusk_request_peer(req), "127.0.0.1:", 10), 0);
  assert_non_null(dusk_request_context(req));
  assert_non_null(dusk_request_draining(req));
  assert_non_null(dusk_request_root(req));
  assert_non_null(dusk_request_loop(req));
  assert_null(dusk_request_worker_data(req));
}

static void hook_refused(dusk_response_t *res, dusk_error_reply_t *reply,
                         void *arg) {
  refused_t *refused = arg;
  dusk_request_t *req = dusk_response_request(res);
  refused->shaped++;
  ask_all(req);
  assert_int_equal(dusk_response_get_status(res), reply->status);
  assert_int_equal(
      dusk_request_set_value(req, &key_a, &refused->released, count_release),
      0);
  assert_int_equal(dusk_response_on_end(res, count_end, &refused->ends), 0);
  assert_int_equal(
      dusk_response_on_header(res, count_header, &refused->headers), 0);
  assert_int_equal(dusk_request_set_context(req, dusk_request_context(req)), 0);
  /* What is for handlers is not for it. */
  assert_int_equal(dusk_request_body(req, on_failed_body, NULL), UV_ECANCELED);
  assert_int_equal(dusk_request_set_max_body(req, 1), UV_ECANCELED);
  assert_int_equal(dusk_request_set_timeout(req, 1), UV_ECANCELED);
  uv_os_sock_t fd;
  char *early;
  size_t len;
  assert_int_equal(dusk_response_hijack(res, &fd, &early, &len), UV_ECANCELED);
}

static void a_refused_one_may_be_hooked_where_it_is_shaped(void **state) {
  loopback_t *lb = *state;
  static const char *const requests[] = {
      NO_HOST,
      HTTP_2,
      "?\r\n\r\n",
      "\r\n?",
      "GET /x?a=1&b HTTP/1.1\r\nHost: h\r\nBad Field\r\n\r\n",
      "GET /x?a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
      "GET http://a.example/x HTTP/1.1\r\nHost\r\n\r\n",
      "GET http://a.example HTTP/1.1\r\n\r\n",
      "GET x HTTP/1.1\r\nHost: h\r\n\r\n",
      "GET /x HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n",
      "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: x\r\n\r\n",
      "GET /x HTTP/1.1\r\nHost: h\r\nExpect: x\r\n\r\n",
      "OPTIONS * HTTP/1.1\r\nHost: \xff\r\n\r\n",
      "CONNECT a.example:1 HTTP/1.1\r\nHost: a/b\r\n\r\n",
      "CONNECT a.example HTTP/1.1\r\nHost: a\r\n\r\n",
      "WHAT /x HTTP/1.1\r\nHost: h\r\n\r\n",
      "GET /x HTTP/1.1\r\nHost: h\r\n folded: x\r\n\r\n",
      "GET /x HTTP/1.1\r\nHost: h\r\nX: \x01\r\n\r\n",
  };
  for (size_t i = 0; i < sizeof(requests) / sizeof(*requests); i++) {
    refused_t refused = {0};
    serve(lb, (dusk_server_config_t){.on_error_reply = hook_refused,
                                     .on_error_reply_arg = &refused});
    int client = connect_client(lb);
    say(client, requests[i]);
    assert_has(hear(lb, client, NULL), "X-Hook: yes\r\n");
    end_all(lb);
    assert_int_equal(refused.shaped, 1);
    assert_int_equal(refused.headers, 1);
    assert_int_equal(refused.ends, 1);
    assert_int_equal(refused.released, 1);
  }
}

/* -- Values ---------------------------------------------------------------- */

static void values_are_told_apart_by_their_keys(void **state) {
  loopback_t *lb = *state;
  events[0] = '\0';
  hold(lb, DEFAULTS, GET_X);
  dusk_request_t *req = lb->held.req;
  assert_null(dusk_request_value(req, &key_a));
  assert_null(dusk_request_value(req, NULL));
  assert_int_equal(put(req, NULL, "x", note_release), UV_EINVAL);
  assert_int_equal(put(req, &key_a, "1", note_release), 0);
  assert_null(dusk_request_value(req, &key_b)); /* of the same name */
  assert_int_equal(put(req, &key_b, "2", NULL), 0);
  assert_string_equal(dusk_request_value(req, &key_a), "1");
  assert_string_equal(dusk_request_value(req, &key_b), "2");
  happened("");
  assert_int_equal(put(req, &key_a, "3", note_release), 0);
  happened("1");
  assert_int_equal(put(req, &key_b, "4", note_release), 0);
  happened(""); /* it needed none */
  assert_int_equal(put(req, &key_a, NULL, NULL), 0);
  happened("3");
  assert_null(dusk_request_value(req, &key_a));
  assert_int_equal(put(req, &key_a, "5", NULL), 0);
  dusk_response_end(lb->held.res, NULL, 0);
  happened("4");
}

static void note_null(void *value) {
  note(value ? "?" : "null");
}

/* One that is NULL was given to be released, too. */
static void a_null_value_is_released(void **state) {
  loopback_t *lb = *state;
  events[0] = '\0';
  hold(lb, DEFAULTS, GET_X);
  assert_int_equal(
      dusk_request_set_value(lb->held.req, &key_a, NULL, note_null), 0);
  dusk_response_end(lb->held.res, NULL, 0);
  happened("null");
}

static void many_values_keep_their_places(void **state) {
  loopback_t *lb = *state;
  enum { COUNT = 200 };
  static dusk_key_t keys[COUNT];
  int released[COUNT] = {0};
  hold(lb, DEFAULTS, GET_X);
  for (int i = 0; i < COUNT; i++)
    assert_int_equal(dusk_request_set_value(lb->held.req, &keys[i],
                                            &released[i], count_release),
                     0);
  for (int i = 0; i < COUNT; i++)
    assert_ptr_equal(dusk_request_value(lb->held.req, &keys[i]), &released[i]);
  dusk_response_end(lb->held.res, NULL, 0);
  for (int i = 0; i < COUNT; i++)
    assert_int_equal(released[i], 1);
}

/* What ends the server there finds nothing left to cut. */
static void close_there(void *lb) {
  dusk_server_close(((loopback_t *)lb)->server);
}

static void a_release_may_close_the_server(void **state) {
  loopback_t *lb = *state;
  static const char *const requests[] = {GET_X, LAST_X, GET_X GET_X};
  for (size_t i = 0; i < sizeof(requests) / sizeof(*requests); i++) {
    hold(lb, DEFAULTS, requests[i]);
    assert_int_equal(
        dusk_request_set_value(lb->held.req, &key_a, lb, close_there), 0);
    dusk_response_end(lb->held.res, NULL, 0);
    turn(lb, 3);
    assert_int_equal(loopback_report(lb).phase, DUSK_CLOSED);
    assert_int_equal(loopback_report(lb).conns_now, 0);
    end_all(lb);
  }
}

/* -- The way between them -------------------------------------------------- */

static void on_body(dusk_request_t *req, ssize_t nread, const char *data,
                    void *arg) {
  (void)data;
  if (nread >= 0) return;
  assert_int_equal(nread, UV_EOF);
  dusk_response_t *res = dusk_request_response(req);
  assert_ptr_equal(dusk_response_request(res), req);
  dusk_response_text(res, 200, arg);
}

static void a_bodys_callback_finds_the_response(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS,
                    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx");
  assert_int_equal(dusk_request_body(lb->held.req, on_body, (void *)"mine\n"),
                   0);
  assert_has(hear(lb, client, "mine\n"), "200 OK");
}

/* -- Contexts -------------------------------------------------------------- */

static void a_context_may_be_given(void **state) {
  loopback_t *lb = *state;
  hold(lb, DEFAULTS, GET_X);
  dusk_request_t *req = lb->held.req;
  dusk_context_t *own = dusk_request_context(req);
  dusk_context_t *with_value;
  dusk_context_t *with_cancel;
  assert_int_equal(dusk_request_set_context(req, NULL), UV_EINVAL);
  assert_int_equal(
      dusk_context_with_value(own, &key_a, (void *)"user", &with_value), 0);
  assert_int_equal(dusk_request_set_context(req, with_value), 0);
  assert_ptr_equal(dusk_request_context(req), with_value);
  assert_int_equal(dusk_context_with_cancel(with_value, &with_cancel), 0);
  dusk_context_unref(with_value); /* the request has it, and its child */
  assert_int_equal(dusk_request_set_context(req, with_cancel), 0);
  assert_int_equal(dusk_request_set_context(req, with_cancel), 0);
  assert_ptr_equal(dusk_request_context(req), with_cancel);
  assert_string_equal(dusk_context_value(with_cancel, &key_a), "user");
  assert_int_equal(dusk_context_err(with_cancel), 0);
  dusk_response_end(lb->held.res, NULL, 0);
  /* As its child it has ended with the request's own. */
  assert_ptr_equal(dusk_context_cause(with_cancel), &dusk_response_ended);
  dusk_context_unref(with_cancel);
}

/* A middleware's time is not the server's: it answers itself. */
static void a_nearer_deadline_is_the_middlewares(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET_X);
  dusk_request_t *req = lb->held.req;
  dusk_context_t *nearer;
  assert_int_equal(
      dusk_context_with_timeout(dusk_request_context(req), 10, NULL, &nearer),
      0);
  assert_int_equal(dusk_request_set_context(req, nearer), 0);
  AWAIT(lb, dusk_context_err(dusk_request_context(req)) == UV_ETIMEDOUT);
  dusk_context_unref(nearer);
  turn(lb, 3);
  assert_int_equal(dusk_response_text(lb->held.res, 200, "late\n"), 0);
  assert_has(hear(lb, client, "late\n"), "200 OK");
}

/* One that hangs on nothing goes on. */
static void a_foreign_context_stays_its_owners(void **state) {
  loopback_t *lb = *state;
  hold(lb, DEFAULTS, GET_X);
  dusk_context_t *foreign = cancellable(lb);
  assert_int_equal(dusk_request_set_context(lb->held.req, foreign), 0);
  assert_ptr_equal(dusk_request_context(lb->held.req), foreign);
  dusk_response_end(lb->held.res, NULL, 0);
  assert_int_equal(dusk_context_err(foreign), 0);
}

/* The request's own still ends by what happens to its client. */
static void a_given_context_ends_with_the_client(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET_X);
  dusk_context_t *child;
  assert_int_equal(
      dusk_context_with_cancel(dusk_request_context(lb->held.req), &child), 0);
  assert_int_equal(dusk_request_set_context(lb->held.req, child), 0);
  dusk_context_unref(child);
  lose(lb, client);
  assert_ptr_equal(dusk_context_cause(dusk_request_context(lb->held.req)),
                   &dusk_client_gone);
  /* One that is given then is kept as well. */
  assert_int_equal(dusk_request_set_context(lb->held.req, lb->root), 0);
  assert_ptr_equal(dusk_request_context(lb->held.req), lb->root);
  dusk_response_end(lb->held.res, NULL, 0);
}

/* -- When the header goes out ---------------------------------------------- */

static int seen_status;
static char seen_type[64];

static void see_header(dusk_response_t *res, void *arg) {
  (void)arg;
  const char *type = dusk_response_get_header(res, "Content-Type");
  seen_status = dusk_response_get_status(res);
  snprintf(seen_type, sizeof(seen_type), "%s", type ? type : "");
}

static void change_header(dusk_response_t *res, void *arg) {
  (void)arg;
  assert_int_equal(dusk_response_status(res, 418), 0);
  assert_int_equal(dusk_response_set_header(res, "X-Set", "twice"), 0);
  assert_int_equal(dusk_response_set_header(res, "X-Set", "once"), 0);
  assert_int_equal(dusk_response_set_header(res, "Connection", "close"), 0);
  assert_int_equal(dusk_response_remove_header(res, "X-Mine"), 0);
}

static void set_type(dusk_response_t *res, void *arg) {
  assert_int_equal(dusk_response_set_header(res, "Content-Type", arg), 0);
}

static void remove_type(dusk_response_t *res, void *arg) {
  (void)arg;
  assert_int_equal(dusk_response_remove_header(res, "Content-Type"), 0);
}

/* The ways in which a header goes out. */
static int by_end(dusk_response_t *res) {
  return dusk_response_end(res, "x\n", 2);
}

static int by_write(dusk_response_t *res) {
  dusk_response_write(res, "x\n", 2);
  return dusk_response_end(res, NULL, 0);
}

static int by_text(dusk_response_t *res) {
  return dusk_response_text(res, 200, "x\n");
}

static int by_error(dusk_response_t *res) {
  return dusk_response_error(res, 200, "x");
}

static int by_redirect(dusk_response_t *res) {
  return dusk_response_redirect(res, 200, "/");
}

static int (*const ways[])(dusk_response_t *res) = {by_end, by_write, by_text,
                                                    by_error, by_redirect};

enum { WAYS = sizeof(ways) / sizeof(*ways) };

static void hooks_of_the_header_see_and_change_it(void **state) {
  loopback_t *lb = *state;
  for (size_t i = 0; i < WAYS; i++) {
    int client = hold(lb, DEFAULTS, GET_X);
    dusk_response_t *res = lb->held.res;
    dusk_response_set_header(res, "X-Mine", "yes");
    assert_int_equal(dusk_response_on_header(res, NULL, NULL), UV_EINVAL);
    assert_int_equal(dusk_response_on_header(res, change_header, NULL), 0);
    assert_int_equal(dusk_response_on_header(res, see_header, NULL), 0);
    assert_int_equal(ways[i](res), 0);
    assert_int_equal(seen_status, 200); /* also where nobody set it */
    hear(lb, client, NULL);
    assert_int_equal(count_of(lb->heard, "HTTP/1.1 "), 1);
    assert_has(lb->heard, "HTTP/1.1 418 ");
    assert_int_equal(count_of(lb->heard, "X-Set: "), 1);
    assert_has(lb->heard, "X-Set: once\r\n");
    assert_has(lb->heard, "Connection: close\r\n");
    assert_lacks(lb->heard, "X-Mine");
    end_all(lb);
  }
}

static void hooks_of_the_header_have_the_last_word_on_the_type(void **state) {
  loopback_t *lb = *state;
  for (size_t i = 0; i < WAYS; i++) {
    bool has_type = ways[i] != by_end && ways[i] != by_write;
    int client = hold(lb, DEFAULTS, LAST_X);
    dusk_response_t *res = lb->held.res;
    assert_int_equal(dusk_response_on_header(res, set_type, (void *)"text/a"),
                     0);
    assert_int_equal(dusk_response_on_header(res, see_header, NULL), 0);
    assert_int_equal(ways[i](res), 0);
    assert_int_equal(strlen(seen_type) > 0, has_type);
    assert_int_equal(count_of(hear(lb, client, NULL), "\r\nContent-Type: "), 1);
    assert_has(lb->heard, "Content-Type: text/a\r\n");
    end_all(lb);

    client = hold(lb, DEFAULTS, LAST_X);
    assert_int_equal(dusk_response_on_header(lb->held.res, remove_type, NULL),
                     0);
    assert_int_equal(ways[i](lb->held.res), 0);
    assert_lacks(hear(lb, client, NULL), "\r\nContent-Type");
    end_all(lb);
  }
}

static void make_bodiless(dusk_response_t *res, void *arg) {
  (void)arg;
  assert_int_equal(dusk_response_status(res, 304), 0);
}

static void make_short(dusk_response_t *res, void *arg) {
  (void)arg;
  assert_int_equal(dusk_response_set_header(res, "Content-Length", "1"), 0);
}

/* Where the server's own reply is what goes out, it still is one message. */
static void hooks_spoil_no_reply_of_the_servers(void **state) {
  loopback_t *lb = *state;
  static const dusk_header_cb hooks[] = {make_bodiless, make_short, set_type};
  for (size_t i = 0; i < sizeof(hooks) / sizeof(*hooks); i++) {
    dusk_server_config_t config = {.request_timeout_ms = 20};
    int client = hold(lb, config, GET_X);
    assert_int_equal(
        dusk_response_on_header(lb->held.res, hooks[i], (void *)"a/b"), 0);
    hear(lb, client, NULL);
    const char *body = strstr(lb->heard, "\r\n\r\n");
    assert_non_null(body);
    if (hooks[i] == make_bodiless) {
      assert_has(lb->heard, "HTTP/1.1 304 ");
      assert_string_equal(body + 4, "");
    } else {
      assert_has(lb->heard, "HTTP/1.1 503 ");
      assert_has(lb->heard, "Content-Length: 24\r\n");
      assert_string_equal(body + 4, "503 Service Unavailable\n");
      assert_int_equal(count_of(lb->heard, "Content-Type: "), 1);
    }
    dusk_response_end(lb->held.res, NULL, 0);
    end_all(lb);
  }
}

/* A handler's own answer is its own business. */
static void a_hook_that_makes_an_answer_bodiless_is_told(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET_X);
  assert_int_equal(dusk_response_on_header(lb->held.res, make_bodiless, NULL),
                   0);
  assert_int_equal(dusk_response_end(lb->held.res, "x", 1), DUSK_ENOBODY);
  assert_has(hear(lb, client, "\r\n\r\n"), "HTTP/1.1 304 ");
  hold_next(lb, client, LAST_X);
  assert_int_equal(dusk_response_on_header(lb->held.res, make_short, NULL), 0);
  assert_int_equal(dusk_response_end(lb->held.res, "xy", 2), DUSK_ELENGTH);
  hear(lb, client, NULL);
}

/* It isn't a header that ends there. */
static void a_hundred_is_no_header(void **state) {
  loopback_t *lb = *state;
  events[0] = '\0';
  int client = hold(lb, DEFAULTS,
                    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n"
                    "Expect: 100-continue\r\n\r\n");
  assert_int_equal(on_header(lb->held.res, "h"), 0);
  assert_int_equal(dusk_request_body(lb->held.req, on_body, (void *)"done\n"),
                   0);
  hear(lb, client, "100 Continue\r\n\r\n");
  happened("");
  say(client, "x");
  hear(lb, client, "done\n");
  happened("h");
}

static void add_hook(dusk_response_t *res, void *arg) {
  note("(");
  assert_int_equal(on_header(res, arg), 0);
}

/* One that is registered there is further inside, and so the next. */
static void a_hook_may_register_another(void **state) {
  loopback_t *lb = *state;
  events[0] = '\0';
  hold(lb, DEFAULTS, GET_X);
  assert_int_equal(on_header(lb->held.res, "h"), 0);
  assert_int_equal(dusk_response_on_header(lb->held.res, add_hook, (void *)"i"),
                   0);
  dusk_response_end(lb->held.res, NULL, 0);
  happened("(ih");
}

static void close_in_header(dusk_response_t *res, void *lb) {
  (void)res;
  dusk_server_close(((loopback_t *)lb)->server);
}

/* Nothing of the answer goes out, and what is told is told. */
static void a_hook_may_close_the_server(void **state) {
  loopback_t *lb = *state;
  for (size_t i = 0; i < WAYS; i++) {
    hold_hooked(lb, noted());
    assert_int_equal(dusk_response_on_header(lb->held.res, close_in_header, lb),
                     0);
    assert_int_equal(ways[i](lb->held.res), UV_ECANCELED);
    happened("Hh" TOLD RELEASED);
    ended_with(0, UV_ECANCELED, &dusk_server_closed);
    end_all(lb);
  }
}

static void end_at_cut(dusk_request_t *req, uint64_t age_ms, void *arg) {
  (void)age_ms;
  (void)arg;
  note("c");
  dusk_response_end(dusk_request_response(req), "cut", 3);
}

static void close_in_error(dusk_response_t *res, dusk_error_reply_t *reply,
                           void *lb) {
  (void)reply;
  close_in_header(res, lb);
}

static dusk_server_config_t ended_at_cut(loopback_t *lb, bool in_error) {
  dusk_server_config_t config = noted();
  config.on_request_cut = end_at_cut;
  config.on_error_reply = in_error ? close_in_error : NULL;
  config.on_error_reply_arg = lb;
  return config;
}

static void close_in(loopback_t *lb, bool in_error) {
  if (in_error) return;
  assert_int_equal(dusk_response_on_header(lb->held.res, close_in_header, lb),
                   0);
}

/* Who is answering is not told to end it inside that; it hears at once. */
static void a_close_in_a_hook_ends_nothing_twice(void **state) {
  loopback_t *lb = *state;
  for (size_t i = 0; i < 2 * WAYS; i++) {
    bool in_error = i >= WAYS;
    if (in_error && ways[i % WAYS] != by_error) continue;
    hold_hooked(lb, ended_at_cut(lb, in_error));
    close_in(lb, in_error);
    assert_int_equal(ways[i % WAYS](lb->held.res), UV_ECANCELED);
    happened(in_error ? TOLD RELEASED : "Hh" TOLD RELEASED);
    ended_with(0, UV_ECANCELED, &dusk_server_closed);
    end_all(lb);
  }
}

/* Whose handler does nothing is told when the stop ends. */
static void a_close_in_the_servers_own_reply_tells_the_handler(void **state) {
  loopback_t *lb = *state;
  for (int in_error = 0; in_error < 2; in_error++) {
    dusk_server_config_t config = ended_at_cut(lb, in_error);
    config.request_timeout_ms = 20;
    int client = hold_hooked(lb, config);
    close_in(lb, in_error);
    assert_string_equal(hear(lb, client, NULL), "");
    end_all(lb);
    happened(in_error ? "c" TOLD RELEASED : "Hhc" TOLD RELEASED);
    ended_with(0, UV_ETIMEDOUT, &dusk_timed_out);
  }
}

/* -- When it is over ------------------------------------------------------- */

static void null_hooks_are_none(void **state) {
  loopback_t *lb = *state;
  hold(lb, DEFAULTS, GET_X);
  assert_int_equal(dusk_response_on_end(lb->held.res, NULL, NULL), UV_EINVAL);
  dusk_response_end(lb->held.res, NULL, 0);
}

static void close_in_end(dusk_request_t *req, const dusk_request_end_t *end,
                         void *lb) {
  (void)req;
  (void)end;
  dusk_server_close(((loopback_t *)lb)->server);
}

static void the_end_may_close_the_server(void **state) {
  loopback_t *lb = *state;
  static const char *const requests[] = {GET_X, LAST_X, GET_X GET_X};
  for (size_t i = 0; i < sizeof(requests) / sizeof(*requests); i++) {
    int client = hold(lb, DEFAULTS, requests[i]);
    assert_int_equal(dusk_response_on_end(lb->held.res, close_in_end, lb), 0);
    dusk_response_end(lb->held.res, "hello", 5);
    assert_has(hear(lb, client, NULL), "hello");
    assert_int_equal(loopback_report(lb).phase, DUSK_CLOSED);
    end_all(lb);
  }
}

typedef struct closer {
  loopback_t *lb;
  int left;       /* requests that are answered before it closes */
  bool ends_late; /* it closes first */
} closer_t;

static void answer_and_close(dusk_response_t *res, dusk_request_t *req,
                             void *arg) {
  closer_t *closer = arg;
  (void)req;
  bool closes = closer->left-- == 0;
  if (closes && closer->ends_late) dusk_server_close(closer->lb->server);
  dusk_response_text(res, 200, closes ? "last\n" : "some\n");
  if (closes && !closer->ends_late) dusk_server_close(closer->lb->server);
}

/* Of a batch, too, whose one write was to come. */
static void what_was_answered_before_a_close_is_heard(void **state) {
  loopback_t *lb = *state;
  for (int left = 0; left < 3; left++) {
    for (int ends_late = 0; ends_late < 2; ends_late++) {
      closer_t closer = {lb, left, ends_late};
      serve(lb, (dusk_server_config_t){.handler = answer_and_close,
                                       .handler_arg = &closer});
      int client = connect_client(lb);
      say(client, GET_X GET_X GET_X);
      hear(lb, client, NULL);
      assert_int_equal(count_of(lb->heard, "some\n"), left);
      assert_int_equal(count_of(lb->heard, "last\n"), !ends_late);
      assert_int_equal(count_of(lb->heard, "200 OK"), left + !ends_late);
      end_all(lb);
    }
  }
}

static void end_in_end(dusk_request_t *req, const dusk_request_end_t *end,
                       void *arg) {
  (void)end;
  (void)arg;
  note("e");
  dusk_response_end(dusk_request_response(req), NULL, 0);
}

/* Of one that was answered in its handler's stead: the hook lets go of it for
 * the handler, which knows. */
static void the_end_may_let_go(void **state) {
  loopback_t *lb = *state;
  events[0] = '\0';
  int client =
      hold(lb, (dusk_server_config_t){.request_timeout_ms = 20}, GET_X);
  assert_int_equal(dusk_response_on_end(lb->held.res, end_in_end, NULL), 0);
  assert_int_equal(put(lb->held.req, &key_a, "(a)", note_release), 0);
  assert_has(hear(lb, client, NULL), "HTTP/1.1 503 ");
  happened("e(a)");
}

/* -- Batches --------------------------------------------------------------- */

typedef struct batch {
  int handled;
  int ended;
  int released;
  int headers;
} batch_t;

typedef struct numbered {
  batch_t *batch;
  int number;
} numbered_t;

static void on_numbered_header(dusk_response_t *res, void *arg) {
  numbered_t *numbered = arg;
  char text[16];
  snprintf(text, sizeof(text), "%d", numbered->number);
  assert_int_equal(numbered->number, numbered->batch->headers++);
  assert_int_equal(dusk_response_set_header(res, "X-Number", text), 0);
}

static void on_numbered_end(dusk_request_t *req, const dusk_request_end_t *end,
                            void *arg) {
  numbered_t *numbered = arg;
  assert_int_equal(end->err, 0);
  assert_ptr_equal(dusk_request_value(req, &key_a), numbered);
  assert_int_equal(numbered->number, numbered->batch->ended++);
}

static void release_numbered(void *arg) {
  numbered_t *numbered = arg;
  assert_int_equal(numbered->number, numbered->batch->released++);
}

static void answer_numbered(dusk_response_t *res, dusk_request_t *req,
                            void *arg) {
  numbered_t *numbered = dusk_request_alloc(req, sizeof(*numbered));
  assert_non_null(numbered);
  *numbered = (numbered_t){arg, ((batch_t *)arg)->handled++};
  assert_null(dusk_request_value(req, &key_a));
  assert_int_equal(
      dusk_request_set_value(req, &key_a, numbered, release_numbered), 0);
  assert_int_equal(dusk_response_on_header(res, on_numbered_header, numbered),
                   0);
  assert_int_equal(dusk_response_on_end(res, on_numbered_end, numbered), 0);
  if (numbered->number % 2)
    assert_int_equal(dusk_response_text(res, 200, "odd\n"), 0);
  else
    assert_int_equal(dusk_response_end(res, "even\n", 5), 0);
}

static void each_of_a_batch_has_its_own(void **state) {
  loopback_t *lb = *state;
  batch_t batch = {0};
  serve(lb, (dusk_server_config_t){.handler = answer_numbered,
                                   .handler_arg = &batch});
  int client = connect_client(lb);
  say(client, GET_X GET_X GET_X GET_X LAST_X);
  hear(lb, client, NULL);
  const char *at = lb->heard;
  for (int i = 0; i < 5; i++) {
    char line[32];
    snprintf(line, sizeof(line), "X-Number: %d\r\n", i);
    at = strstr(at, line);
    assert_non_null(at);
  }
  assert_int_equal(count_of(lb->heard, "X-Number"), 5);
  assert_int_equal(batch.headers, 5);
  assert_int_equal(batch.ended, 5);
  assert_int_equal(batch.released, 5);
}

/* -- Handlers that wrap handlers ------------------------------------------- */

typedef struct layer {
  dusk_handler_t next;
  const char *name;
  bool refuses;
} layer_t;

static void wrap(dusk_response_t *res, dusk_request_t *req, void *arg) {
  layer_t *layer = arg;
  note(layer->name);
  if (layer->refuses) {
    dusk_response_error(res, 401, NULL);
    return;
  }
  assert_int_equal(on_header(res, layer->name), 0);
  dusk_handler_serve(&layer->next, res, req);
}

static void answer_inside(dusk_response_t *res, dusk_request_t *req,
                          void *arg) {
  (void)req;
  note(arg);
  dusk_response_text(res, 200, "inside\n");
}

static void handlers_wrap_handlers(void **state) {
  loopback_t *lb = *state;
  layer_t inner = {{answer_inside, (void *)"x"}, "b", false};
  layer_t outer = {{wrap, &inner}, "a", false};
  events[0] = '\0';
  serve(lb, (dusk_server_config_t){.handler = wrap, .handler_arg = &outer});
  int client = connect_client(lb);
  say(client, GET_X);
  hear(lb, client, "inside\n");
  happened("abxba"); /* in, and out again */
  inner.refuses = true;
  say(client, GET_X);
  hear(lb, client, "401 Unauthorized\n");
  happened("aba");
}

/* -- Want of memory -------------------------------------------------------- */

static void what_is_not_kept_is_not_released(void **state) {
  loopback_t *lb = *state;
  events[0] = '\0';
  hold(lb, DEFAULTS, GET_X);
  dusk_request_t *req = lb->held.req;
  dusk_response_t *res = lb->held.res;
  alloc_fail_at(1);
  assert_int_equal(put(req, &key_a, "1", note_release), UV_ENOMEM);
  alloc_fail_at(1);
  assert_int_equal(on_header(res, "h"), UV_ENOMEM);
  alloc_fail_at(1);
  assert_int_equal(on_end(res, "e"), UV_ENOMEM);
  assert_true(alloc_has_failed());
  assert_null(dusk_request_value(req, &key_a));
  alloc_fail_at(0);
  dusk_response_end(res, NULL, 0);
  happened("");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(an_answered_one),
      house_test(a_streamed_one),
      house_test(one_that_is_too_short),
      house_test(an_aborted_one),
      house_test(a_reset_one),
      house_test(a_hijacked_one),
      house_test(one_whose_client_has_gone),
      house_test(one_that_close_cuts),
      house_test(one_that_the_drains_bound_cuts),
      house_test(one_whose_client_takes_nothing),
      house_test(one_that_is_answered_in_its_handlers_stead),
      house_test(one_that_is_cut_after_its_time),
      house_test(one_whose_body_fails),
      house_test(nothing_needs_hooks),
      house_test(a_refused_one_may_be_hooked_where_it_is_shaped),
      house_test(values_are_told_apart_by_their_keys),
      house_test(a_null_value_is_released),
      house_test(many_values_keep_their_places),
      house_test(a_release_may_close_the_server),
      house_test(a_bodys_callback_finds_the_response),
      house_test(a_context_may_be_given),
      house_test(a_nearer_deadline_is_the_middlewares),
      house_test(a_foreign_context_stays_its_owners),
      house_test(a_given_context_ends_with_the_client),
      house_test(hooks_of_the_header_see_and_change_it),
      house_test(hooks_of_the_header_have_the_last_word_on_the_type),
      house_test(hooks_spoil_no_reply_of_the_servers),
      house_test(a_hook_that_makes_an_answer_bodiless_is_told),
      house_test(a_hundred_is_no_header),
      house_test(a_hook_may_register_another),
      house_test(a_hook_may_close_the_server),
      house_test(a_close_in_a_hook_ends_nothing_twice),
      house_test(a_close_in_the_servers_own_reply_tells_the_handler),
      house_test(null_hooks_are_none),
      house_test(the_end_may_close_the_server),
      house_test(what_was_answered_before_a_close_is_heard),
      house_test(the_end_may_let_go),
      house_test(each_of_a_batch_has_its_own),
      house_test(handlers_wrap_handlers),
      house_test(what_is_not_kept_is_not_released),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
