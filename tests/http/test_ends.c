/* How requests end, and who is told: on_request_end with the cause,
 * on_request_cut and the report with what a handler never ended. */
#include "house.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define GET_X "GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
#define POST "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n"

typedef struct ends {
  int count;
  dusk_request_end_t last;
  char target[32];
  char peer[64];
  int version_minor;
  int cuts;
  dusk_response_t *end_in_cut;
} ends_t;

static ends_t ends;

static void on_request_end(dusk_request_t *req, const dusk_request_end_t *end,
                           void *arg) {
  (void)arg;
  ends.count++;
  ends.last = *end;
  ends.version_minor = dusk_request_version_minor(req);
  snprintf(ends.target, sizeof(ends.target), "%s", dusk_request_target(req));
  snprintf(ends.peer, sizeof(ends.peer), "%s", dusk_request_peer(req));
}

static void on_request_cut(dusk_request_t *req, uint64_t age_ms, void *arg) {
  (void)age_ms;
  (void)arg;
  ends.cuts++;
  assert_string_equal(dusk_request_target(req), "/x");
  if (ends.end_in_cut) dusk_response_end(ends.end_in_cut, NULL, 0);
}

static dusk_server_config_t watched(void) {
  memset(&ends, 0, sizeof(ends));
  return (dusk_server_config_t){.on_request_end = on_request_end,
                                .on_request_cut = on_request_cut};
}

static void was(int status, int err, const dusk_cause_t *cause) {
  assert_int_equal(ends.count, 1);
  assert_int_equal(ends.last.status, status);
  assert_int_equal(ends.last.err, err);
  assert_ptr_equal(ends.last.cause, cause);
  assert_int_equal(strncmp(ends.peer, "127.0.0.1:", 10), 0);
}

static void will_reset(int client) {
  struct linger reset = {.l_onoff = 1};
  setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
}

/* -- Causes ---------------------------------------------------------------- */

static void an_answered_one_has_ended(void **state) {
  loopback_t *lb = *state;
  hold(lb, watched(), GET_X);
  dusk_response_end(lb->held.res, "hello", 5);
  was(200, 0, &dusk_response_ended);
}

static void one_that_falls_short_says_so(void **state) {
  loopback_t *lb = *state;
  hold(lb, watched(), GET_X);
  dusk_response_set_header(lb->held.res, "Content-Length", "9");
  assert_int_equal(dusk_response_end(lb->held.res, "hello", 5), DUSK_ESHORT);
  AWAIT(lb, ends.count != 0);
  was(200, DUSK_ESHORT, &dusk_response_ended);
  assert_string_equal(dusk_strerror(DUSK_ESHORT),
                      "http: wrote less than the declared Content-Length");
}

static void a_client_that_leaves_is_gone(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, watched(), GET_X);
  will_reset(client);
  dusk_context_t *ctx = held_context(lb);
  leave(lb, client);
  AWAIT(lb, dusk_context_err(ctx) != 0);
  assert_ptr_equal(dusk_context_cause(ctx), &dusk_client_gone);
  assert_int_equal(ends.count, 0); /* the handler still has it */
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), UV_ECANCELED);
  was(0, UV_ECONNRESET, &dusk_client_gone);
}

static void a_server_that_closes_says_so(void **state) {
  loopback_t *lb = *state;
  hold(lb, watched(), GET_X);
  dusk_server_close(lb->server);
  dusk_response_end(lb->held.res, NULL, 0);
  was(0, UV_ECANCELED, &dusk_server_closed);
  assert_int_equal(ends.cuts, 1);
}

static void the_drains_bound_says_so(void **state) {
  loopback_t *lb = *state;
  hold(lb, watched(), GET_X);
  stop(lb, 50);
  dusk_response_end(lb->held.res, NULL, 0);
  was(0, UV_ECANCELED, &dusk_drain_cancelled);
  assert_int_equal(ends.cuts, 1);
}

static void srv_123_a_client_that_takes_nothing_times_out(void **state) {
  loopback_t *lb = *state;
  enum { LEN = 16 << 20 };
  dusk_server_config_t config = watched();
  config.write_timeout_ms = 50;
  hold(lb, config, GET_X);
  char *body = calloc(1, LEN);
  dusk_response_end_ref(lb->held.res, body, LEN, NULL, NULL);
  AWAIT(lb, ends.count != 0);
  was(200, UV_ETIMEDOUT, &dusk_timed_out);
  free(body);
}

static void srv_123_127_who_waits_to_write_is_called(void **state) {
  loopback_t *lb = *state;
  static char piece[1 << 16];
  dusk_server_config_t config = watched();
  config.write_timeout_ms = 50;
  int client = hold(lb, config, GET_X);
  dusk_response_t *res = lb->held.res;
  while (dusk_response_write(res, piece, sizeof(piece)) == 0)
    continue;
  int drained = 0;
  assert_int_equal(dusk_response_on_drained(res, count_drained, &drained), 0);
  AWAIT(lb, drained);
  assert_int_equal(dusk_response_write(res, piece, 1), UV_ECANCELED);
  assert_int_equal(dusk_response_end(res, NULL, 0), UV_ECANCELED);
  was(200, UV_ETIMEDOUT, &dusk_timed_out);
  end_of_stream(lb, client); /* comes, with no last chunk before it */
  assert_int_equal(loopback_report(lb).conns_now, 0);
}

static void a_reply_to_a_slow_header_is_a_time_out(void **state) {
  loopback_t *lb = *state;
  dusk_server_config_t config = watched();
  config.header_timeout_ms = 50;
  serve(lb, config);
  say(connect_client(lb), "GET /x HTTP/1.1\r\nHo");
  AWAIT(lb, ends.count != 0);
  was(408, 0, &dusk_timed_out);
  assert_int_equal(ends.version_minor, -1);
}

static void who_is_refused_has_a_peer_and_no_version(void **state) {
  loopback_t *lb = *state;
  static const struct {
    const char *request;
    int status;
    int version_minor;
  } cases[] = {
      {"?\r\n\r\n", 400, -1},
      {"GET /x HTTP/2.0\r\nHost: h\r\n\r\n", 505, -1},
      {"GET /x HTTP/1.1\r\n\r\n", 400, 1},
      {"GET /x HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400, 0},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    serve(lb, watched());
    say(connect_client(lb), cases[i].request);
    AWAIT(lb, ends.count != 0);
    was(cases[i].status, 0, &dusk_response_ended);
    assert_int_equal(ends.version_minor, cases[i].version_minor);
    end_all(lb);
  }
}

/* -- Abort and reset ------------------------------------------------------- */

static void on_abort(dusk_request_t *req, int status, const char *data,
                     size_t len, void *arg) {
  (void)req;
  (void)data;
  (void)len;
  if (status < 0) dusk_response_abort(arg);
}

static void abort_of_a_failed_body_sends_the_reply(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, watched(), POST);
  assert_int_equal(
      dusk_request_collect(lb->held.req, 4, on_abort, lb->held.res), 0);
  assert_has(hear(lb, client, NULL), "HTTP/1.1 413 ");
  assert_has(lb->heard, "\r\n\r\n413 ");
  was(413, 0, &dusk_response_ended);
}

static void abort_of_a_slow_body_sends_408(void **state) {
  loopback_t *lb = *state;
  dusk_server_config_t config = watched();
  config.body_timeout_ms = 50;
  int client = hold(lb, config, POST);
  assert_int_equal(
      dusk_request_collect(lb->held.req, 9, on_abort, lb->held.res), 0);
  assert_has(hear(lb, client, NULL), "HTTP/1.1 408 ");
  was(408, 0, &dusk_timed_out);
}

static void a_handlers_own_abort_sends_nothing(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, watched(), GET_X);
  dusk_response_abort(lb->held.res);
  assert_string_equal(hear(lb, client, NULL), "");
  was(0, UV_ECANCELED, &dusk_connection_cut);
}

/* What it has queued goes with it. */
static void reset_cuts_a_stalled_client_at_once(void **state) {
  loopback_t *lb = *state;
  enum { LEN = 16 << 20 };
  int client = hold(lb, watched(), GET_X);
  char *body = calloc(1, LEN);
  int released = 0;
  assert_int_equal(dusk_response_write_ref(lb->held.res, body, LEN,
                                           count_release, &released),
                   1);
  dusk_context_t *ctx = held_context(lb);
  dusk_response_reset(lb->held.res);
  assert_ptr_equal(dusk_context_cause(ctx), &dusk_connection_cut);
  was(200, UV_ECANCELED, &dusk_connection_cut);
  uv_run(&lb->loop, UV_RUN_NOWAIT);
  assert_int_equal(released, 1);
  assert_int_equal(end_of_stream(lb, client), ECONNRESET);
  dusk_report_t report = loopback_report(lb);
  assert_int_equal(report.requests_cut, 1);
  assert_int_equal(report.conns_cut, 1);
  free(body);
}

static void on_reset(dusk_request_t *req, ssize_t nread, const char *data,
                     void *arg) {
  (void)data;
  assert_true(nread > 0);
  dusk_response_reset(arg);
  assert_string_equal(dusk_request_target(req), "/x"); /* till it returns */
  assert_int_equal(dusk_response_end(arg, NULL, 0), UV_ECANCELED);
}

static void reset_inside_a_body_callback(void **state) {
  loopback_t *lb = *state;
  hold(lb, watched(), POST "123");
  assert_int_equal(dusk_request_body(lb->held.req, on_reset, lb->held.res), 0);
  AWAIT(lb, ends.count != 0);
  was(0, UV_ECANCELED, &dusk_connection_cut);
}

static void on_drained(dusk_response_t *res, void *arg) {
  assert_int_equal(dusk_response_end(res, "end", 3), 0);
  /* What it was given outlives the end until it returns. */
  assert_string_equal(dusk_request_target(arg), "/x");
  assert_int_equal(dusk_response_end(res, "end", 3), UV_ECANCELED);
  assert_int_equal(ends.count, 0);
}

static void the_end_may_come_in_on_drained(void **state) {
  loopback_t *lb = *state;
  hold(lb, watched(), GET_X GET_X);
  assert_int_equal(
      dusk_response_on_drained(lb->held.res, on_drained, lb->held.req), 0);
  lb->held.called = 0;
  AWAIT(lb, lb->held.called); /* the next request */
  was(200, 0, &dusk_response_ended);
  dusk_response_end(lb->held.res, NULL, 0);
}

static void constants_need_no_release(void **state) {
  loopback_t *lb = *state;
  static const char text[] = "static";
  int client = hold(lb, watched(), GET_X);
  assert_int_equal(dusk_response_write_ref(lb->held.res, text, 3, NULL, NULL),
                   0);
  assert_int_equal(dusk_response_end_ref(lb->held.res, text + 3, 3, NULL, NULL),
                   0);
  assert_has(hear(lb, client, "0\r\n\r\n"),
             "3\r\nsta\r\n3\r\ntic\r\n0\r\n\r\n");
}

/* -- Handlers that never end ----------------------------------------------- */

static uint64_t unended(loopback_t *lb) {
  return loopback_report(lb).requests_unended;
}

/* A request that was answered in its handler's stead. */
static void hold_timed_out(loopback_t *lb) {
  dusk_server_config_t config = watched();
  config.request_timeout_ms = 20;
  int client = hold(lb, config, GET_X);
  assert_has(hear(lb, client, NULL), "HTTP/1.1 503 ");
  leave(lb, client);
}

static void who_never_ends_is_told_at_the_drains_end(void **state) {
  loopback_t *lb = *state;
  hold_timed_out(lb);
  was(503, 0, &dusk_timed_out); /* its log line doesn't wait for it */
  assert_int_equal(unended(lb), 1);
  assert_int_equal(loopback_report(lb).requests_now, 0);
  assert_int_equal(ends.cuts, 0);
  dusk_report_t report = stop(lb, 5000);
  assert_int_equal(report.status, 0);
  assert_int_equal(ends.cuts, 1);
  assert_int_equal(unended(lb), 1);
  char text[1024];
  dusk_report_text(&report, text, sizeof(text));
  assert_has(text, "1 never ended by their handlers (GET /x, ");
  assert_string_equal(dusk_request_target(lb->held.req), "/x");
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), UV_ECANCELED);
  assert_int_equal(unended(lb), 0);
  assert_int_equal(ends.count, 1);
}

static void assert_names(const dusk_report_t *report, const char *running,
                         const char *unended) {
  assert_string_equal(report->oldest, running);
  assert_string_equal(report->unended, unended);
}

/* One is forgotten by its handler, and its client doesn't wait for it. */
static void forget(loopback_t *lb, const char *request) {
  uint64_t before = unended(lb);
  int client = connect_client(lb);
  hold_next(lb, client, request);
  will_reset(client);
  leave(lb, client);
  AWAIT(lb, unended(lb) > before);
}

/* What a drain waits for, by its age; also for a client that has closed, as it
 * may only have half-closed. */
static void what_holds_a_drain_is_named_while_it_does(void **state) {
  loopback_t *lb = *state;
  for (int has_left = 0; has_left < 2; has_left++) {
    int client = hold(lb, DEFAULTS, GET_X);
    dusk_context_t *bound = cancellable(lb);
    if (has_left) leave(lb, client);
    begin_stop(lb, bound);
    loopback_run_for(lb, 20);
    dusk_report_t report = loopback_report(lb);
    assert_names(&report, "GET /x", "");
    assert_in_range(report.oldest_ms, 20, 10000);
    assert_int_equal(report.unended_ms, 0);
    dusk_context_cancel(bound, NULL);
    report = end_stop(lb);
    assert_int_equal(report.requests_cut, 1);
    assert_names(&report, "GET /x", "GET /x");
    dusk_response_abort(lb->held.res);
    report = loopback_report(lb);
    assert_names(&report, "GET /x", "");
    end_all(lb);
  }
}

/* What no drain waits for: whoever is still there at its end is told, the
 * oldest by its name, whoever else has left before. */
static void the_oldest_that_was_never_ended_is_named(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET_X);
  dusk_response_t *first = lb->held.res;
  loopback_run_for(lb, 20);
  forget(lb, "POST /y HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n");
  dusk_response_t *second = lb->held.res;
  dusk_report_t report = loopback_report(lb);
  assert_names(&report, "GET /x", "POST /y");
  will_reset(client);
  leave(lb, client);
  AWAIT(lb, unended(lb) == 2);
  report = stop(lb, 5000);
  assert_names(&report, "", "GET /x");
  assert_int_equal(report.status, 0);
  assert_in_range(report.unended_ms, 20, 10000);

  char text[2048];
  dusk_report_text(&report, text, sizeof(text));
  assert_has(text, ": 2 never ended by their handlers (GET /x, ");
  dusk_report_json(&report, text, sizeof(text));
  assert_has(text, "\"requests_unended\":2,");
  assert_has(text, ",\"unended_ms\":");
  assert_has(text, ",\"oldest\":\"\",\"unended\":\"GET /x\"}");

  dusk_response_abort(first);
  report = loopback_report(lb);
  assert_names(&report, "", "POST /y");
  dusk_response_abort(second);
  report = loopback_report(lb);
  assert_names(&report, "", "");
  assert_int_equal(report.unended_ms, 0);
}

static void who_ends_late_is_not_told_of(void **state) {
  loopback_t *lb = *state;
  hold_timed_out(lb);
  assert_int_equal(unended(lb), 1);
  dusk_response_abort(lb->held.res);
  assert_int_equal(unended(lb), 0);
  end_all(lb);
  assert_int_equal(ends.cuts, 0);
  assert_int_equal(ends.count, 1);
}

static void who_is_told_may_end_it_there(void **state) {
  loopback_t *lb = *state;
  hold_timed_out(lb);
  ends.end_in_cut = lb->held.res;
  stop(lb, 5000);
  assert_int_equal(ends.cuts, 1);
  assert_int_equal(unended(lb), 0);
}

/* What is ended there before it is cut goes out. */
static void the_last_word_before_the_cut_is_heard(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, watched(), GET_X);
  ends.end_in_cut = lb->held.res;
  dusk_server_close(lb->server);
  assert_has(hear(lb, client, NULL), "HTTP/1.1 200 OK\r\n");
  was(200, 0, &dusk_response_ended);
  assert_int_equal(ends.cuts, 1);
}

/* Who is told of one may end another, which then is at its next request. */
static void no_request_begins_behind_the_cut(void **state) {
  loopback_t *lb = *state;
  hold(lb, watched(), GET_X);
  dusk_response_t *first = lb->held.res;
  int client = connect_client(lb);
  hold_next(lb, client, GET_X GET_X);
  ends.end_in_cut = lb->held.res;
  dusk_report_t report = stop(lb, 20);
  assert_int_equal(ends.cuts, 1);
  assert_int_equal(report.requests_answered, 1);
  assert_int_equal(report.requests_cut, 2);
  assert_int_equal(count_of(hear(lb, client, NULL), "200 OK"), 1);
  dusk_response_end(first, NULL, 0);
}

/* -- Within the handler's own call ----------------------------------------- */

typedef enum act { CLOSE_AND_END, CLOSE_AND_ABORT, RESET, END_LARGE } act_t;

typedef struct inside {
  loopback_t *lb;
  act_t act;
  int called;
} inside_t;

static void act_inside(dusk_response_t *res, dusk_request_t *req, void *arg) {
  static char large[1 << 23];
  inside_t *in = arg;
  (void)req;
  in->called = 1;
  switch (in->act) {
  case CLOSE_AND_END:
    dusk_server_close(in->lb->server);
    assert_int_equal(dusk_response_end(res, "x", 1), UV_ECANCELED);
    break;
  case CLOSE_AND_ABORT:
    dusk_server_close(in->lb->server);
    dusk_response_abort(res);
    break;
  case RESET:
    assert_int_equal(dusk_response_write(res, "secret", 6), 0);
    dusk_response_reset(res);
    break;
  case END_LARGE: /* to a client that has reset */
    dusk_response_end(res, large, sizeof(large));
  }
}

static int begin_inside(loopback_t *lb, inside_t *in, act_t act) {
  dusk_server_config_t config = watched();
  *in = (inside_t){.lb = lb, .act = act};
  config.handler = act_inside;
  config.handler_arg = in;
  serve(lb, config);
  return connect_client(lb);
}

static void who_closes_the_server_is_told_so(void **state) {
  loopback_t *lb = *state;
  static const act_t acts[] = {CLOSE_AND_END, CLOSE_AND_ABORT};
  for (int i = 0; i < 2; i++) {
    inside_t in;
    say(begin_inside(lb, &in, acts[i]), GET_X);
    AWAIT(lb, ends.count != 0);
    was(0, UV_ECANCELED, &dusk_server_closed);
    dusk_report_t report = stop(lb, 5000);
    assert_int_equal(report.status, UV_ECANCELED);
    assert_int_equal(report.requests_cut, 1);
    end_all(lb);
  }
}

static void a_reset_sends_nothing(void **state) {
  loopback_t *lb = *state;
  inside_t in;
  int client = begin_inside(lb, &in, RESET);
  say(client, GET_X);
  AWAIT(lb, ends.count != 0);
  was(200, UV_ECANCELED, &dusk_connection_cut);
  char byte;
  assert_int_equal(recv(client, &byte, 1, 0), -1);
  assert_int_equal(errno, ECONNRESET);
  assert_int_equal(loopback_report(lb).status, 0); /* it serves on */
}

/* With the request, so that the handler is the first to find out. */
static void a_client_that_has_reset_is_gone(void **state) {
  loopback_t *lb = *state;
  inside_t in;
  int client = begin_inside(lb, &in, END_LARGE);
  will_reset(client);
  say(client, GET_X);
  AWAIT(lb, in.called);
  leave(lb, client);
  AWAIT(lb, ends.count != 0);
  assert_int_equal(ends.last.err, UV_ECONNRESET);
  assert_ptr_equal(ends.last.cause, &dusk_client_gone);
}

/* It doesn't read, and half-closed before: nobody else would find out. */
static void a_write_that_fails_later_closes(void **state) {
  loopback_t *lb = *state;
  static char piece[300000];
  int client = hold(lb, watched(), GET_X);
  will_reset(client);
  dusk_context_t *ctx = held_context(lb);
  shutdown(client, SHUT_WR);
  AWAIT(lb, dusk_context_err(ctx) != 0);
  leave(lb, client);
  while (dusk_response_write(lb->held.res, piece, sizeof(piece)) >= 0)
    turn(lb, 1);
  dusk_report_t report = loopback_report(lb);
  assert_int_equal(report.conns_now, 0);
  assert_int_equal(report.requests_now, 0);
  dusk_response_abort(lb->held.res);
  was(200, UV_ECONNRESET, &dusk_client_gone);
}

/* -- What is nobody's error ------------------------------------------------ */

static void count_error(dusk_server_t *server, int err, const char *text,
                        void *count) {
  (void)server;
  (void)err;
  (void)text;
  ++*(int *)count;
}

/* What clients do and how they end is for on_request_end, if for anybody. */
static void srv_321_clients_and_ends_are_no_errors(void **state) {
  loopback_t *lb = *state;
  int errors = 0;
  dusk_server_config_t config = watched();
  config.header_timeout_ms = 30;
  config.on_error = count_error;
  config.on_error_arg = &errors;
  int client = hold(lb, config, GET_X);
  errors = 0; /* of serving: that a seal may be slow */
  will_reset(client);
  leave(lb, client);
  dusk_response_abort(lb->held.res);
  client = connect_client(lb);
  say(client, "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
  assert_has(hear(lb, client, NULL), "HTTP/1.1 400 ");
  client = connect_client(lb);
  say(client, "GET /x HTTP/1.1\r\nHo");
  assert_has(hear(lb, client, NULL), "HTTP/1.1 408 ");
  hold_next(lb, connect_client(lb), GET_X);
  begin_stop(lb, cancellable(lb));
  dusk_server_close(lb->server); /* which cuts that one */
  end_stop(lb);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), UV_ECANCELED);
  assert_int_equal(ends.count, 4);
  assert_int_equal(errors, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(an_answered_one_has_ended),
      house_test(one_that_falls_short_says_so),
      house_test(a_client_that_leaves_is_gone),
      house_test(a_server_that_closes_says_so),
      house_test(the_drains_bound_says_so),
      house_test(srv_123_a_client_that_takes_nothing_times_out),
      house_test(srv_123_127_who_waits_to_write_is_called),
      house_test(a_reply_to_a_slow_header_is_a_time_out),
      house_test(who_is_refused_has_a_peer_and_no_version),
      house_test(abort_of_a_failed_body_sends_the_reply),
      house_test(abort_of_a_slow_body_sends_408),
      house_test(a_handlers_own_abort_sends_nothing),
      house_test(reset_cuts_a_stalled_client_at_once),
      house_test(reset_inside_a_body_callback),
      house_test(the_end_may_come_in_on_drained),
      house_test(constants_need_no_release),
      house_test(who_never_ends_is_told_at_the_drains_end),
      house_test(what_holds_a_drain_is_named_while_it_does),
      house_test(the_oldest_that_was_never_ended_is_named),
      house_test(who_ends_late_is_not_told_of),
      house_test(who_is_told_may_end_it_there),
      house_test(the_last_word_before_the_cut_is_heard),
      house_test(no_request_begins_behind_the_cut),
      house_test(who_closes_the_server_is_told_so),
      house_test(a_reset_sends_nothing),
      house_test(a_client_that_has_reset_is_gone),
      house_test(a_write_that_fails_later_closes),
      house_test(srv_321_clients_and_ends_are_no_errors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
