/* The limits that a request has of its own, in the place of the server's. */
#include "house.h"

#include "alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POST_9 "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n"
#define LAST "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

enum { LARGE = 16 << 20 }; /* more than any socket's buffers take */

/* -- The largest body ------------------------------------------------------ */

typedef struct reading {
  uint64_t max_bytes;
  uint64_t received;
  ssize_t end; /* how the body ended; 1: not yet */
  int status;  /* that the handler answers by, 0: the default's */
  int called;
} reading_t;

static void on_body(dusk_request_t *req, ssize_t nread, const char *data,
                    void *arg) {
  reading_t *reading = arg;
  (void)data;
  assert_int_equal(reading->end, 1); /* SRV-200: nothing comes behind it */
  if (nread > 0) {
    reading->received += (uint64_t)nread;
    return;
  }
  dusk_response_t *res = dusk_request_response(req);
  reading->end = nread;
  assert_int_equal(dusk_request_body(req, on_body, arg), DUSK_EBODYTAKEN);
  if (reading->status) dusk_response_status(res, reading->status);
  dusk_response_end(res, "done\n", 5);
}

/* A middleware that limits, and what it wraps. */
static void limit_body(dusk_response_t *res, dusk_request_t *req, void *arg) {
  reading_t *reading = arg;
  (void)res;
  reading->called++;
  if (reading->max_bytes != DUSK_OFF - 1)
    assert_int_equal(dusk_request_set_max_body(req, reading->max_bytes), 0);
  assert_int_equal(dusk_request_body(req, on_body, reading), 0);
  assert_int_equal(dusk_request_set_max_body(req, 1), DUSK_EBODYTAKEN);
}

static dusk_server_config_t limited(reading_t *reading) {
  return (dusk_server_config_t){
      .handler = limit_body, .handler_arg = reading, .max_body_bytes = 500};
}

/* A body of `len` bytes, at once or in chunks of a hundred. */
static char *body_of(size_t len, bool is_chunked) {
  char *text = malloc(2 * len + 256);
  char *at = text;
  at += sprintf(at, "POST / HTTP/1.1\r\nHost: h\r\n");
  if (!is_chunked) {
    at += sprintf(at, "Content-Length: %zu\r\n\r\n", len);
    memset(at, 'b', len);
    at[len] = '\0';
    return text;
  }
  at += sprintf(at, "Transfer-Encoding: chunked\r\n\r\n");
  for (size_t sent = 0; sent < len; sent += 100)
    at += sprintf(at, "64\r\n%0100d\r\n", 0);
  sprintf(at, "0\r\n\r\n");
  return text;
}

/* Go: TestMaxBytesHandler; SRV-198, SRV-199. The server's limit lies between
 * them, so that each is set above and below it. */
static void srv_203_each_body_meets_its_requests_limit(void **state) {
  loopback_t *lb = *state;
  static const size_t sizes[] = {100, 1000, 1000000};
  for (int i = 0; i < 3 * 3 * 2; i++) {
    size_t size = sizes[i % 3];
    size_t limit = sizes[i / 3 % 3];
    bool is_chunked = i >= 9;
    reading_t reading = {.max_bytes = limit, .end = 1};
    serve(lb, limited(&reading));
    int client = connect_client(lb);
    char *request = body_of(size, is_chunked);
    say_all(lb, client, request);
    free(request);
    hear(lb, client, "done\n");
    if (size <= limit) {
      assert_int_equal(reading.end, UV_EOF);
      assert_int_equal(reading.received, size);
      assert_has(lb->heard, "HTTP/1.1 200 ");
      assert_lacks(lb->heard, "Connection: close");
    } else {
      assert_int_equal(reading.end, DUSK_EBODYTOOLARGE);
      assert_true(reading.received <= (is_chunked ? limit : 0));
      assert_has(lb->heard, "HTTP/1.1 413 ");
      assert_has(lb->heard, "Connection: close\r\n"); /* SRV-201 */
    }
    end_all(lb);
  }
}

/* Exactly, and one more. */
static void srv_199_a_body_may_be_as_large_as_its_limit(void **state) {
  loopback_t *lb = *state;
  static const struct {
    const char *request;
    ssize_t end;
  } cases[] = {
      {POST_9 "123456789", UV_EOF},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n",
       DUSK_EBODYTOOLARGE},
      {CHUNKED "4\r\n1234\r\n5\r\n56789\r\n0\r\n\r\n", UV_EOF},
      {CHUNKED "9\r\n123456789\r\n1\r\n0\r\n0\r\n\r\n", DUSK_EBODYTOOLARGE},
      {CHUNKED "a\r\n1234567890\r\n0\r\n\r\n", DUSK_EBODYTOOLARGE},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    reading_t reading = {.max_bytes = 9, .end = 1};
    serve(lb, limited(&reading));
    int client = connect_client(lb);
    say(client, cases[i].request);
    hear(lb, client, "done\n");
    assert_int_equal(reading.end, cases[i].end);
    assert_true(reading.received <= 9);
    end_all(lb);
  }
}

/* SRV-202, but for the default: it is the handler's business. */
static void the_status_of_a_large_body_is_the_handlers(void **state) {
  loopback_t *lb = *state;
  reading_t reading = {.max_bytes = 8, .end = 1, .status = 200};
  serve(lb, limited(&reading));
  int client = connect_client(lb);
  say(client, POST_9);
  assert_has(hear(lb, client, NULL), "HTTP/1.1 200 ");
  assert_has(lb->heard, "Connection: close\r\n");
  assert_int_equal(reading.end, DUSK_EBODYTOOLARGE);
}

static void none_at_all_is_none(void **state) {
  loopback_t *lb = *state;
  static const struct {
    const char *request;
    ssize_t end;
  } cases[] = {
      {GET, UV_EOF},
      {CHUNKED "0\r\n\r\n", UV_EOF},
      {POST_9, DUSK_EBODYTOOLARGE},
      {CHUNKED "1\r\nx\r\n0\r\n\r\n", DUSK_EBODYTOOLARGE},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    reading_t reading = {.max_bytes = 0, .end = 1};
    serve(lb, limited(&reading));
    int client = connect_client(lb);
    say(client, cases[i].request);
    hear(lb, client, "done\n");
    assert_int_equal(reading.end, cases[i].end);
    assert_int_equal(reading.received, 0);
    end_all(lb);
  }
}

/* Before 100 Continue is sent, which would invite it. */
static void who_waits_is_told_by_the_requests_limit(void **state) {
  loopback_t *lb = *state;
  static const char request[] =
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 900\r\n"
      "Expect: 100-continue\r\n\r\n";
  reading_t reading = {.max_bytes = 899, .end = 1};
  serve(lb, limited(&reading));
  int client = connect_client(lb);
  say(client, request);
  assert_has(hear(lb, client, NULL), "HTTP/1.1 413 ");
  assert_lacks(lb->heard, "HTTP/1.1 100 ");

  reading = (reading_t){.max_bytes = 900, .end = 1};
  client = connect_client(lb);
  say(client, request);
  hear(lb, client, "HTTP/1.1 100 Continue\r\n\r\n");
  char body[901];
  sprintf(body, "%0900d", 0);
  say(client, body);
  assert_has(hear(lb, client, "done\n"), "HTTP/1.1 200 ");
  assert_int_equal(reading.received, 900);
}

/* What one sets is no business of the next one's. */
static void the_next_request_has_the_servers_limit(void **state) {
  loopback_t *lb = *state;
  reading_t reading = {.max_bytes = 1000, .end = 1};
  char *request = body_of(900, false);
  serve(lb, limited(&reading));
  int client = connect_client(lb);
  say(client, request);
  assert_has(hear(lb, client, "done\n"), "HTTP/1.1 200 ");
  reading = (reading_t){.max_bytes = DUSK_OFF - 1, .end = 1}; /* not set */
  say(client, request);
  assert_has(hear(lb, client, "done\n"), "HTTP/1.1 413 ");
  free(request);
}

static void on_collected(dusk_request_t *req, int status, const char *data,
                         size_t len, void *arg) {
  (void)data;
  (void)len;
  *(int *)arg = status;
  dusk_response_end(dusk_request_response(req), "done\n", 5);
}

/* The nearer one counts. */
static void collecting_has_both_limits(void **state) {
  loopback_t *lb = *state;
  static const struct {
    uint64_t max_body;
    size_t max_bytes;
    int status;
  } cases[] = {
      {9, 9, 0},
      {9, 100, 0},
      {100, 9, 0},
      {8, 100, DUSK_EBODYTOOLARGE},
      {100, 8, DUSK_EBODYTOOLARGE},
      {DUSK_OFF, SIZE_MAX, 0},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    int status = 1;
    int client = hold(lb, (dusk_server_config_t){.max_body_bytes = 5},
                      POST_9 "123456789");
    assert_int_equal(dusk_request_set_max_body(lb->held.req, cases[i].max_body),
                     0);
    assert_int_equal(dusk_request_collect(lb->held.req, cases[i].max_bytes,
                                          on_collected, &status),
                     0);
    hear(lb, client, "done\n");
    assert_int_equal(status, cases[i].status);
    end_all(lb);
  }
}

/* It need not be asked for to be too much to be read. */
static void a_body_that_nobody_wants_has_the_limit(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, POST_9);
  assert_int_equal(dusk_request_set_max_body(lb->held.req, 8), 0);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
  assert_has(hear(lb, client, NULL), "Connection: close\r\n");
  end_all(lb);
  client = hold(lb, (dusk_server_config_t){.max_body_bytes = 8}, POST_9);
  assert_int_equal(dusk_request_set_max_body(lb->held.req, 9), 0);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
  assert_lacks(hear(lb, client, "\r\n\r\n"), "Connection: close");
  hold_next(lb, client, "123456789" GET);
  dusk_response_end(lb->held.res, NULL, 0);
}

/* -- The body's time ------------------------------------------------------- */

/* A server that gives up another client after `ms`, which is what is waited
 * for: the first one has had as much time as that. */
static void outlive(loopback_t *lb, const char *request, const char *reply) {
  held_t held = lb->held;
  int other = connect_client(lb);
  say(other, request);
  assert_has(hear(lb, other, NULL), reply);
  if (lb->held.res != held.res) dusk_response_end(lb->held.res, NULL, 0);
  lb->held = held;
}

static void a_bodys_time_may_be_shortened_while_it_is_waited_for(void **state) {
  loopback_t *lb = *state;
  reading_t reading = {.end = 1};
  int client = hold(lb, DEFAULTS, POST_9 "123");
  assert_int_equal(dusk_request_body(lb->held.req, on_body, &reading), 0);
  AWAIT(lb, reading.received == 3);
  assert_int_equal(dusk_request_set_body_timeout(lb->held.req, 1), 0);
  assert_has(hear(lb, client, NULL), "HTTP/1.1 408 ");
  assert_int_equal(reading.end, UV_ETIMEDOUT);
}

/* SRV-131, SRV-132: by a time that is as good as over. */
static void srv_132_a_millisecond_is_a_time_out(void **state) {
  loopback_t *lb = *state;
  reading_t reading = {.end = 1, .status = 299};
  int client = hold(lb, DEFAULTS, POST_9);
  assert_int_equal(dusk_request_set_body_timeout(lb->held.req, 1), 0);
  assert_int_equal(dusk_request_body(lb->held.req, on_body, &reading), 0);
  assert_has(hear(lb, client, NULL), "HTTP/1.1 299 ");
  assert_int_equal(reading.end, UV_ETIMEDOUT);
}

static void on_late_body(dusk_request_t *req, ssize_t nread, const char *data,
                         void *arg) {
  reading_t *reading = arg;
  (void)data;
  assert_int_equal(reading->end, 1);
  if (nread > 0) return;
  reading->end = nread;
  assert_int_equal(dusk_request_set_body_timeout(req, DUSK_OFF), 0);
  /* So that it is not answered in its stead. */
  assert_int_equal(dusk_response_write(dusk_request_response(req), NULL, 0), 0);
}

static void srv_131_what_has_failed_is_not_revived(void **state) {
  loopback_t *lb = *state;
  reading_t reading = {.end = 1};
  int client = hold(lb, DEFAULTS, POST_9);
  assert_int_equal(dusk_request_set_body_timeout(lb->held.req, 1), 0);
  assert_int_equal(dusk_request_body(lb->held.req, on_late_body, &reading), 0);
  hear(lb, client, "\r\n\r\n");
  assert_int_equal(reading.end, UV_ETIMEDOUT);
  say(client, "123456789" GET);
  turn(lb, 3);
  dusk_response_end(lb->held.res, NULL, 0);
  hear(lb, client, NULL);
  assert_int_equal(reading.end, UV_ETIMEDOUT);
}

static void read_or_wait(dusk_response_t *res, dusk_request_t *req, void *arg) {
  reading_t *reading = arg;
  (void)res;
  if (reading->called++ == 0)
    assert_int_equal(dusk_request_set_body_timeout(req, DUSK_OFF), 0);
  assert_int_equal(dusk_request_body(req, on_body, reading), 0);
}

static void a_bodys_time_may_be_as_long_as_it_takes(void **state) {
  loopback_t *lb = *state;
  reading_t reading = {.end = 1};
  serve(lb, (dusk_server_config_t){.handler = read_or_wait,
                                   .handler_arg = &reading,
                                   .body_timeout_ms = 30});
  int client = connect_client(lb);
  say(client, POST_9 "1234");
  AWAIT(lb, reading.received == 4);
  outlive(lb, POST_9, "HTTP/1.1 408 ");
  assert_int_equal(reading.end, UV_ETIMEDOUT); /* the other's */
  reading.end = 1;
  say(client, "56789");
  assert_has(hear(lb, client, "done\n"), "HTTP/1.1 200 ");
  assert_int_equal(reading.end, UV_EOF);
  /* The next one has the server's again. */
  reading.end = 1;
  say(client, POST_9);
  assert_has(hear(lb, client, NULL), "HTTP/1.1 408 ");
}

/* -- The request's time ---------------------------------------------------- */

static dusk_server_config_t timed(uint64_t ms) {
  return (dusk_server_config_t){.request_timeout_ms = ms};
}

static void a_stream_outlives_the_servers_time(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, timed(30), GET);
  dusk_request_t *req = lb->held.req;
  dusk_response_t *res = lb->held.res;
  assert_int_equal(dusk_request_set_timeout(req, DUSK_OFF), 0);
  assert_int_equal(dusk_response_write(res, "first\n", 6), 0);
  dusk_context_t *ctx = dusk_request_context(req);
  assert_true(dusk_context_deadline(ctx) == DUSK_OFF);
  outlive(lb, GET, "HTTP/1.1 503 ");
  outlive(lb, GET, "HTTP/1.1 503 ");
  assert_int_equal(dusk_context_err(ctx), 0);
  assert_int_equal(dusk_response_end(res, "last\n", 5), 0);
  assert_has(hear(lb, client, "last\n"), "first\n");
}

/* Those that were held for the other clients are let go, too. */
static void end_held(loopback_t *lb) {
  dusk_response_end(lb->held.res, NULL, 0);
}

static void a_nearer_time_ends_it(void **state) {
  loopback_t *lb = *state;
  static const uint64_t servers[] = {0, 60000};
  for (size_t i = 0; i < 2; i++) {
    for (int is_seen = 0; is_seen < 2; is_seen++) {
      int client = hold(lb, timed(servers[i]), GET);
      if (is_seen) held_context(lb);
      assert_int_equal(dusk_request_set_timeout(lb->held.req, 10), 0);
      dusk_context_t *ctx = held_context(lb);
      assert_true(dusk_context_deadline(ctx) != DUSK_OFF);
      assert_has(hear(lb, client, NULL), "HTTP/1.1 503 ");
      assert_ptr_equal(dusk_context_cause(ctx), &dusk_timed_out);
      assert_int_equal(dusk_response_end(lb->held.res, "x", 1), UV_ECANCELED);
      end_all(lb);
    }
  }
}

static void in_the_middle_of_an_answer_it_is_cut(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  assert_int_equal(dusk_response_write(lb->held.res, "first\n", 6), 0);
  assert_int_equal(dusk_request_set_timeout(lb->held.req, 10), 0);
  assert_lacks(hear(lb, client, NULL), "\r\n0\r\n");
  assert_int_equal(dusk_response_write(lb->held.res, "x", 1), UV_ECANCELED);
  end_held(lb);
}

/* As often as one likes, as long as nobody relies on it. */
static void a_time_that_nobody_has_seen_may_change(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, timed(30), GET);
  dusk_request_t *req = lb->held.req;
  static const uint64_t times[] = {
      1, 60000, DUSK_OFF, 5, DUSK_OFF, DUSK_OFF - 1, 1, UINT64_MAX / 2, 20000};
  for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++)
    assert_int_equal(dusk_request_set_timeout(req, times[i]), 0);
  outlive(lb, GET, "HTTP/1.1 503 ");
  dusk_context_t *ctx = dusk_request_context(req);
  assert_int_equal(dusk_context_err(ctx), 0);
  assert_true(dusk_context_left_ms(ctx) > 10000);
  assert_true(dusk_context_left_ms(ctx) <= 20000);
  dusk_response_text(lb->held.res, 200, "done\n");
  hear(lb, client, "done\n");
}

static void nothing_is_the_servers_time_again(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, timed(20), GET);
  assert_int_equal(dusk_request_set_timeout(lb->held.req, DUSK_OFF), 0);
  assert_int_equal(dusk_request_set_timeout(lb->held.req, 0), 0);
  assert_has(hear(lb, client, NULL), "HTTP/1.1 503 ");
  end_held(lb);
}

/* A route's own takes the place of one around it, unless that was seen. */
static void the_innermost_time_counts(void **state) {
  loopback_t *lb = *state;
  dusk_timeout_t route = {{loopback_keep, &lb->held}, 60000};
  dusk_timeout_t around = {{dusk_timeout_serve, &route}, 20};
  dusk_server_config_t config = timed(0);
  config.handler = dusk_timeout_serve;
  config.handler_arg = &around;
  serve(lb, config);
  hold_next(lb, connect_client(lb), GET);
  assert_true(dusk_context_left_ms(held_context(lb)) > 20000);
  end_held(lb);
}

/* A context's deadline only comes nearer. */
static void a_time_that_was_seen_is_not_put_off(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, timed(60000), GET);
  dusk_request_t *req = lb->held.req;
  dusk_context_t *ctx = dusk_request_context(req);
  uint64_t deadline_ns = dusk_context_deadline(ctx);
  assert_int_equal(dusk_request_set_timeout(req, 70000), UV_EBUSY);
  assert_int_equal(dusk_request_set_timeout(req, DUSK_OFF), UV_EBUSY);
  assert_int_equal(dusk_request_set_timeout(req, 0), UV_EBUSY);
  assert_true(dusk_context_deadline(ctx) == deadline_ns);
  assert_int_equal(dusk_request_set_timeout(req, 30000), 0);
  assert_int_equal(dusk_request_set_timeout(req, 50000), UV_EBUSY);
  assert_ptr_equal(dusk_request_context(req), ctx);
  assert_true(dusk_context_deadline(ctx) < deadline_ns);
  assert_int_equal(dusk_request_set_timeout(req, 10), 0);
  assert_has(hear(lb, client, NULL), "HTTP/1.1 503 ");
  assert_int_equal(dusk_request_set_timeout(req, 1000), UV_ECANCELED);
  end_held(lb);
}

/* A drain's bound, or a deadline of the server's base, is not the request's. */
static void a_nearer_bound_above_is_no_time_of_its_own(void **state) {
  loopback_t *lb = *state;
  hold(lb, DEFAULTS, GET);
  dusk_request_t *req = lb->held.req;
  dusk_context_t *ctx = dusk_request_context(req);
  begin_stop(lb, bound_of(lb, 5000));
  assert_true(dusk_context_deadline(ctx) != DUSK_OFF);
  assert_int_equal(dusk_request_set_timeout(req, DUSK_OFF), 0);
  assert_int_equal(dusk_request_set_timeout(req, 60000), 0);
  assert_int_equal(dusk_request_set_timeout(req, 40000), 0);
  assert_int_equal(dusk_request_set_timeout(req, 50000), UV_EBUSY);
  assert_true(dusk_context_left_ms(ctx) <= 5000);
  assert_int_equal(dusk_context_err(ctx), 0);
  dusk_response_end(lb->held.res, NULL, 0);
  end_stop(lb);
}

static void want_of_memory_leaves_the_time_as_it_was(void **state) {
  loopback_t *lb = *state;
  static const uint64_t servers[] = {0, 20};
  for (size_t i = 0; i < 2; i++) {
    int client = hold(lb, timed(servers[i]), GET);
    dusk_request_t *req = lb->held.req;
    alloc_fail_at(1);
    assert_int_equal(dusk_request_set_timeout(req, 60000), UV_ENOMEM);
    assert_true(alloc_has_failed());
    if (servers[i])
      assert_has(hear(lb, client, NULL), "HTTP/1.1 503 ");
    else
      assert_true(dusk_context_deadline(dusk_request_context(req)) == DUSK_OFF);
    end_held(lb);
    end_all(lb);
  }
}

/* Each way to set one is told that there is nobody to wait for. */
static void who_has_gone_has_no_limits(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, POST_9);
  dusk_request_t *req = lb->held.req;
  dusk_context_t *ctx = held_context(lb);
  leave(lb, client);
  AWAIT(lb, dusk_context_err(ctx) != 0);
  dusk_server_close(lb->server);
  assert_int_equal(dusk_request_set_max_body(req, 1), UV_ECANCELED);
  assert_int_equal(dusk_request_set_body_timeout(req, 1), UV_ECANCELED);
  assert_int_equal(dusk_request_set_timeout(req, 1), UV_ECANCELED);
  assert_int_equal(dusk_response_set_write_timeout(lb->held.res, 1),
                   UV_ECANCELED);
  end_held(lb);
}

/* A context that has ended does not tell when the time has passed. */
static void who_has_half_closed_is_answered_in_time(void **state) {
  loopback_t *lb = *state;
  for (int is_set_behind = 0; is_set_behind < 2; is_set_behind++) {
    int client = hold(lb, timed(is_set_behind ? 60000 : 30), GET);
    dusk_context_t *ctx = held_context(lb);
    shutdown(client, SHUT_WR);
    AWAIT(lb, dusk_context_err(ctx) != 0);
    if (is_set_behind)
      assert_int_equal(dusk_request_set_timeout(lb->held.req, 20), 0);
    assert_has(hear(lb, client, NULL), "HTTP/1.1 503 ");
    assert_ptr_equal(dusk_context_cause(ctx), &dusk_client_gone);
    end_held(lb);
    end_all(lb);
  }
}

static void who_has_half_closed_is_cut_in_time(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, timed(30), GET);
  assert_int_equal(dusk_response_write(lb->held.res, "first\n", 6), 0);
  shutdown(client, SHUT_WR);
  assert_lacks(hear(lb, client, NULL), "\r\n0\r\n");
  assert_int_equal(dusk_response_write(lb->held.res, "x", 1), UV_ECANCELED);
  end_held(lb);
}

static void an_end_above_leaves_the_time(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, timed(30), GET);
  dusk_conn_t *conn = dusk_request_conn(lb->held.req);
  dusk_context_cancel(dusk_conn_context(conn), NULL);
  assert_has(hear(lb, client, NULL), "HTTP/1.1 503 ");
  end_held(lb);
}

/* It is its handler's, not its client's: the patience of a drain ends nothing
 * of it, and what ends in time is answered. */
static void a_half_closed_ones_time_outlasts_a_drains_patience(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, timed(60000), GET);
  dusk_context_t *ctx = held_context(lb);
  shutdown(client, SHUT_WR);
  AWAIT(lb, dusk_context_err(ctx) != 0);
  turn(lb, 2);
  begin_stop(lb, bound_of(lb, 60000));
  loopback_run_for(lb, 2200); /* the patience is 2 s */
  dusk_response_text(lb->held.res, 200, "done\n");
  assert_has(hear(lb, client, NULL), "done\n");
  assert_int_equal(end_stop(lb).status, 0);
}

/* -- The time of a write --------------------------------------------------- */

typedef struct streamed {
  int count;
  dusk_request_end_t end;
} streamed_t;

static void on_end(dusk_request_t *req, const dusk_request_end_t *end,
                   void *arg) {
  streamed_t *streamed = arg;
  (void)req;
  streamed->count++;
  streamed->end = *end;
}

/* Of much to a client that takes nothing. */
static int stall(loopback_t *lb, dusk_server_config_t config,
                 const char *body) {
  int client = hold(lb, config, LAST);
  assert_int_equal(
      dusk_response_write_ref(lb->held.res, body, LARGE, NULL, NULL), 1);
  return client;
}

/* SRV-132 */
static void a_write_may_be_given_up_while_it_stalls(void **state) {
  loopback_t *lb = *state;
  char *body = calloc(1, LARGE);
  streamed_t streamed = {0};
  stall(lb, DEFAULTS, body);
  assert_int_equal(dusk_response_on_end(lb->held.res, on_end, &streamed), 0);
  turn(lb, 3);
  dusk_context_t *ctx = held_context(lb);
  assert_int_equal(dusk_response_set_write_timeout(lb->held.res, 1), 0);
  AWAIT(lb, dusk_context_err(ctx) != 0);
  assert_ptr_equal(dusk_context_cause(ctx), &dusk_timed_out);
  /* SRV-131 */
  assert_int_equal(dusk_response_set_write_timeout(lb->held.res, DUSK_OFF),
                   UV_ECANCELED);
  assert_int_equal(dusk_response_write(lb->held.res, "x", 1), UV_ECANCELED);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), UV_ECANCELED);
  assert_int_equal(streamed.count, 1);
  assert_int_equal(streamed.end.err, UV_ETIMEDOUT);
  free(body);
}

static void a_write_may_take_its_time(void **state) {
  loopback_t *lb = *state;
  char *body = calloc(1, LARGE);
  dusk_server_config_t config = {.write_timeout_ms = 50};
  int client = stall(lb, config, body);
  dusk_response_t *patient = lb->held.res;
  assert_int_equal(dusk_response_set_write_timeout(patient, DUSK_OFF), 0);
  /* Another one has the server's, and is given up. */
  hold_next(lb, connect_client(lb), GET);
  dusk_context_t *ctx = held_context(lb);
  dusk_response_write_ref(lb->held.res, body, LARGE, NULL, NULL);
  AWAIT(lb, dusk_context_err(ctx) != 0);
  assert_ptr_equal(dusk_context_cause(ctx), &dusk_timed_out);
  end_held(lb);
  assert_int_equal(dusk_response_end(patient, "x", 1), 0);
  assert_true(take(lb, client, SIZE_MAX) > LARGE);
  free(body);
}

/* In a drain nobody may take for ever. */
static void a_drain_waits_for_no_stalled_write(void **state) {
  loopback_t *lb = *state;
  char *body = calloc(1, LARGE);
  stall(lb, DEFAULTS, body);
  assert_int_equal(dusk_response_set_write_timeout(lb->held.res, DUSK_OFF), 0);
  dusk_context_t *ctx = held_context(lb);
  begin_stop(lb, bound_of(lb, 60000));
  AWAIT(lb, dusk_context_err(ctx) != 0);
  assert_ptr_equal(dusk_context_cause(ctx), &dusk_timed_out);
  end_held(lb);
  end_stop(lb);
  free(body);
}

/* -- From within ----------------------------------------------------------- */

static void limit_and_answer(dusk_response_t *res, dusk_request_t *req,
                             void *arg) {
  (void)arg;
  assert_int_equal(dusk_request_set_max_body(req, 10), 0);
  assert_int_equal(dusk_request_set_body_timeout(req, 10000), 0);
  assert_int_equal(dusk_request_set_timeout(req, 10000), 0);
  assert_int_equal(dusk_response_set_write_timeout(res, 10000), 0);
  assert_int_equal(dusk_response_text(res, 200, "done\n"), 0);
  /* It is over. */
  assert_int_equal(dusk_request_set_max_body(req, 10), UV_ECANCELED);
  assert_int_equal(dusk_request_set_timeout(req, 10), UV_ECANCELED);
}

static void a_handler_sets_all_of_them_in_its_call(void **state) {
  loopback_t *lb = *state;
  serve(lb, (dusk_server_config_t){.handler = limit_and_answer});
  int client = connect_client(lb);
  for (int i = 0; i < 3; i++) {
    say(client, GET);
    assert_has(hear(lb, client, "done\n"), "HTTP/1.1 200 ");
  }
  say(client, GET GET LAST);
  hear(lb, client, NULL);
  assert_int_equal(count_of(lb->heard, "done\n"), 3);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(srv_203_each_body_meets_its_requests_limit),
      house_test(srv_199_a_body_may_be_as_large_as_its_limit),
      house_test(the_status_of_a_large_body_is_the_handlers),
      house_test(none_at_all_is_none),
      house_test(who_waits_is_told_by_the_requests_limit),
      house_test(the_next_request_has_the_servers_limit),
      house_test(collecting_has_both_limits),
      house_test(a_body_that_nobody_wants_has_the_limit),
      house_test(a_bodys_time_may_be_shortened_while_it_is_waited_for),
      house_test(srv_132_a_millisecond_is_a_time_out),
      house_test(srv_131_what_has_failed_is_not_revived),
      house_test(a_bodys_time_may_be_as_long_as_it_takes),
      house_test(a_stream_outlives_the_servers_time),
      house_test(a_nearer_time_ends_it),
      house_test(in_the_middle_of_an_answer_it_is_cut),
      house_test(a_time_that_nobody_has_seen_may_change),
      house_test(nothing_is_the_servers_time_again),
      house_test(the_innermost_time_counts),
      house_test(a_time_that_was_seen_is_not_put_off),
      house_test(a_nearer_bound_above_is_no_time_of_its_own),
      house_test(want_of_memory_leaves_the_time_as_it_was),
      house_test(who_has_gone_has_no_limits),
      house_test(who_has_half_closed_is_answered_in_time),
      house_test(who_has_half_closed_is_cut_in_time),
      house_test(an_end_above_leaves_the_time),
      house_test(a_half_closed_ones_time_outlasts_a_drains_patience),
      house_test(a_write_may_be_given_up_while_it_stalls),
      house_test(a_write_may_take_its_time),
      house_test(a_drain_waits_for_no_stalled_write),
      house_test(a_handler_sets_all_of_them_in_its_call),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
