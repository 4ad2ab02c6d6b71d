/* The handlers that wrap a handler. */
#include "house.h"

#include "alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define POST_9                                                                 \
  "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n123456789"
#define MINUTE_MS 60000
#define NS_PER_MS 1000000ULL

/* One whose server begins with such a handler. */
static void serve_by(loopback_t *lb, dusk_handler_cb cb, void *arg) {
  serve(lb, (dusk_server_config_t){.handler = cb, .handler_arg = arg});
}

/* The same, and a client whose `request` has come down to the test. */
static int hold_below(loopback_t *lb, dusk_server_config_t config,
                      dusk_handler_cb cb, void *arg, const char *request) {
  config.handler = cb;
  config.handler_arg = arg;
  serve(lb, config);
  int client = connect_client(lb);
  hold_next(lb, client, request);
  return client;
}

static dusk_handler_t keeper(loopback_t *lb) {
  return (dusk_handler_t){loopback_keep, &lb->held};
}

/* -- The largest body ------------------------------------------------------ */

static void on_collected(dusk_request_t *req, int status, const char *data,
                         size_t len, void *arg) {
  (void)data;
  *(int *)arg = status;
  if (status < 0)
    dusk_response_abort(dusk_request_response(req));
  else
    dusk_response_printf(dusk_request_response(req), 200, "%zu bytes\n", len);
}

static void measure(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)res;
  assert_int_equal(dusk_request_collect(req, 1000, on_collected, arg), 0);
}

/* Go: TestMaxBytesHandler. Below the server's limit, and above. */
static void a_route_has_its_bodys_limit(void **state) {
  loopback_t *lb = *state;
  static const struct {
    uint64_t limits[2]; /* the server's, the route's */
    int status;
    const char *answer;
  } cases[] = {
      {{100, 8}, DUSK_EBODYTOOLARGE, "HTTP/1.1 413 "},
      {{100, 9}, 0, "\r\n\r\n9 bytes\n"},
      {{5, 9}, 0, "\r\n\r\n9 bytes\n"},
      {{5, DUSK_OFF}, 0, "\r\n\r\n9 bytes\n"},
      {{100, 0}, DUSK_EBODYTOOLARGE, "HTTP/1.1 413 "},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    int status = 1;
    dusk_max_bytes_t limit = {{measure, &status}, cases[i].limits[1]};
    serve(lb, (dusk_server_config_t){.handler = dusk_max_bytes_serve,
                                     .handler_arg = &limit,
                                     .max_body_bytes = cases[i].limits[0]});
    int client = connect_client(lb);
    say(client, POST_9);
    hear(lb, client, cases[i].answer);
    assert_int_equal(status, cases[i].status);
    end_all(lb);
  }
}

static void of_two_limits_the_inner_one_counts(void **state) {
  loopback_t *lb = *state;
  int status = 1;
  dusk_max_bytes_t inner = {{measure, &status}, 9};
  dusk_max_bytes_t outer = {{dusk_max_bytes_serve, &inner}, 8};
  serve_by(lb, dusk_max_bytes_serve, &outer);
  int client = connect_client(lb);
  say(client, POST_9);
  hear(lb, client, "9 bytes\n");
  inner.max_bytes = 7;
  outer.max_bytes = 100;
  say(client, POST_9);
  hear(lb, client, "HTTP/1.1 413 ");
}

/* Who asks first isn't told to send what is then refused. */
static void what_is_too_large_is_not_waited_for(void **state) {
  loopback_t *lb = *state;
  int status = 1;
  dusk_max_bytes_t limit = {{measure, &status}, 8};
  serve_by(lb, dusk_max_bytes_serve, &limit);
  int client = connect_client(lb);
  say(client, "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n"
              "Expect: 100-continue\r\n\r\n");
  assert_has(hear(lb, client, NULL), "HTTP/1.1 413 ");
  assert_lacks(lb->heard, "100 Continue");
}

/* Each chunk is small. */
static void chunks_are_added_up(void **state) {
  loopback_t *lb = *state;
  int status = 1;
  dusk_max_bytes_t limit = {{measure, &status}, 8};
  serve_by(lb, dusk_max_bytes_serve, &limit);
  int client = connect_client(lb);
  say(client, CHUNKED "4\r\nabcd\r\n4\r\nefgh\r\n0\r\n\r\n");
  hear(lb, client, "8 bytes\n");
  say(client, CHUNKED "4\r\nabcd\r\n4\r\nefgh\r\n1\r\ni\r\n0\r\n\r\n");
  hear(lb, client, "HTTP/1.1 413 ");
}

/* -- The time-out ---------------------------------------------------------- */

static void as_json(dusk_response_t *res, dusk_error_reply_t *reply,
                    void *arg) {
  (void)res, (void)arg;
  reply->type = "application/json";
  reply->body = "{\"late\":true}\n";
  reply->len = strlen(reply->body);
}

/* Go: TestTimeoutHandler */
static void srv_364_who_is_late_is_answered_for(void **state) {
  loopback_t *lb = *state;
  static const dusk_error_reply_cb replies[] = {NULL, as_json};
  static const char *const bodies[] = {"\r\n\r\n503 Service Unavailable\n",
                                       "\r\n\r\n{\"late\":true}\n"};
  for (int i = 0; i < 2; i++) {
    dusk_timeout_t timeout = {keeper(lb), 20};
    dusk_server_config_t config = {.on_error_reply = replies[i]};
    int client = hold_below(lb, config, dusk_timeout_serve, &timeout, GET);
    dusk_response_t *res = lb->held.res;
    assert_has(hear(lb, client, NULL), "HTTP/1.1 503 Service Unavailable\r\n");
    assert_has(lb->heard, bodies[i]);
    assert_ptr_equal(dusk_context_cause(dusk_request_context(lb->held.req)),
                     &dusk_timed_out);
    /* SRV-365 */
    assert_int_equal(dusk_response_write(res, "late", 4), UV_ECANCELED);
    assert_int_equal(dusk_response_text(res, 200, "late"), UV_ECANCELED);
    end_all(lb);
  }
}

static void write_part(dusk_response_t *res, dusk_request_t *req, void *arg) {
  loopback_keep(res, req, arg);
  assert_int_equal(dusk_response_write(res, "part", 4), 0); /* SRV-372 */
}

static void srv_363_who_has_begun_is_cut(void **state) {
  loopback_t *lb = *state;
  dusk_timeout_t timeout = {{write_part, &lb->held}, 20};
  int client = hold_below(lb, DEFAULTS, dusk_timeout_serve, &timeout, GET);
  assert_has(hear(lb, client, NULL), "HTTP/1.1 200 OK\r\n");
  assert_has(lb->heard, "4\r\npart\r\n");
  assert_lacks(lb->heard, "0\r\n\r\n");
  assert_lacks(lb->heard, "503");
  assert_int_equal(dusk_response_write(lb->held.res, "late", 4), UV_ECANCELED);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), UV_ECANCELED);
}

/* Go: TestTimeoutHandlerStartTimerWhenServing; SRV-366 */
static void srv_368_each_request_has_all_of_the_time(void **state) {
  loopback_t *lb = *state;
  dusk_timeout_t timeout = {keeper(lb), MINUTE_MS};
  uint64_t before = uv_hrtime();
  int client = hold_below(lb, DEFAULTS, dusk_timeout_serve, &timeout, GET);
  for (int i = 0; i < 2; i++) {
    dusk_context_t *ctx = dusk_request_context(lb->held.req);
    assert_in_range(dusk_context_deadline(ctx), before + MINUTE_MS * NS_PER_MS,
                    uv_hrtime() + MINUTE_MS * NS_PER_MS);
    assert_int_equal(dusk_response_end(lb->held.res, "x", 1), 0);
    hear(lb, client, "\r\n\r\nx");
    before = uv_hrtime();
    hold_next(lb, client, GET);
  }
  dusk_response_end(lb->held.res, NULL, 0);
}

/* Go: TestTimeoutHandlerContextCanceled */
static void srv_367_a_cancelled_one_is_still_the_handlers(void **state) {
  loopback_t *lb = *state;
  dusk_timeout_t timeout = {keeper(lb), MINUTE_MS};
  int client = hold_below(lb, DEFAULTS, dusk_timeout_serve, &timeout, GET);
  dusk_context_t *ctx = dusk_request_context(lb->held.req);
  shutdown(client, SHUT_WR);
  AWAIT(lb, dusk_context_err(ctx) == UV_ECANCELED);
  assert_ptr_equal(dusk_context_cause(ctx), &dusk_client_gone);
  assert_int_equal(dusk_response_text(lb->held.res, 200, "mine"), 0);
  assert_has(hear(lb, client, NULL), "HTTP/1.1 200 OK\r\n");
  assert_has(lb->heard, "\r\n\r\nmine");
}

static void end_it(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req, (void)arg;
  assert_int_equal(dusk_response_end(res, NULL, 0), 0);
}

/* Go: TestTimeoutHandlerEmptyResponse */
static void srv_369_nothing_in_particular_is_200(void **state) {
  loopback_t *lb = *state;
  dusk_timeout_t timeout = {{end_it, NULL}, MINUTE_MS};
  serve_by(lb, dusk_timeout_serve, &timeout);
  int client = connect_client(lb);
  say(client, GET);
  hear(lb, client, "\r\n\r\n");
  assert_has(lb->heard, "HTTP/1.1 200 OK\r\n");
  assert_has(lb->heard, "Content-Length: 0\r\n");
}

static void give_up(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req, (void)arg;
  dusk_response_abort(res);
}

/* Go: TestTimeoutHandlerPanicRecovery */
static void srv_370_who_gives_up_in_time_has_no_answer(void **state) {
  loopback_t *lb = *state;
  dusk_timeout_t timeout = {{give_up, NULL}, MINUTE_MS};
  serve_by(lb, dusk_timeout_serve, &timeout);
  int client = connect_client(lb);
  say(client, GET);
  assert_string_equal(hear(lb, client, NULL), "");
}

/* Go: TestTimeoutHandlerSuperfluousLogs */
static void srv_371_a_second_status_is_told(void **state) {
  loopback_t *lb = *state;
  dusk_timeout_t timeout = {keeper(lb), MINUTE_MS};
  int client = hold_below(lb, DEFAULTS, dusk_timeout_serve, &timeout, GET);
  dusk_response_t *res = lb->held.res;
  assert_int_equal(dusk_response_status(res, 404), 0);
  assert_int_equal(dusk_response_write(res, NULL, 0), 0);
  assert_int_equal(dusk_response_status(res, 500), DUSK_EHEADERSENT);
  assert_int_equal(dusk_response_end(res, NULL, 0), 0);
  hear(lb, client, "HTTP/1.1 404 ");
}

static void srv_372_the_connection_may_be_taken(void **state) {
  loopback_t *lb = *state;
  dusk_timeout_t timeout = {keeper(lb), MINUTE_MS};
  hold_below(lb, DEFAULTS, dusk_timeout_serve, &timeout, GET);
  uv_os_sock_t fd;
  char *early;
  size_t early_len;
  assert_int_equal(dusk_response_hijack(lb->held.res, &fd, &early, &early_len),
                   0);
  free(early);
  close(fd);
}

/* As long as nobody below an outer one has asked for the context. */
static void of_two_time_outs_the_inner_one_counts(void **state) {
  loopback_t *lb = *state;
  dusk_timeout_t inner = {keeper(lb), 2 * MINUTE_MS};
  dusk_timeout_t outer = {{dusk_timeout_serve, &inner}, MINUTE_MS};
  dusk_server_config_t config = {.request_timeout_ms = 1000};
  uint64_t before = uv_hrtime();
  hold_below(lb, config, dusk_timeout_serve, &outer, GET);
  assert_true(dusk_context_deadline(dusk_request_context(lb->held.req)) >=
              before + 2 * MINUTE_MS * NS_PER_MS);
  dusk_response_end(lb->held.res, NULL, 0);
}

static void ask_for_context(dusk_response_t *res, dusk_request_t *req,
                            void *arg) {
  assert_non_null(dusk_request_context(req));
  dusk_handler_serve(arg, res, req);
}

static void one_that_was_seen_only_comes_nearer(void **state) {
  loopback_t *lb = *state;
  static const uint64_t inners[] = {2 * MINUTE_MS, MINUTE_MS / 2};
  for (int i = 0; i < 2; i++) {
    dusk_timeout_t inner = {keeper(lb), inners[i]};
    dusk_handler_t next = {dusk_timeout_serve, &inner};
    dusk_timeout_t outer = {{ask_for_context, &next}, MINUTE_MS};
    hold_below(lb, DEFAULTS, dusk_timeout_serve, &outer, GET);
    uint64_t nearest_ms = i == 0 ? MINUTE_MS : MINUTE_MS / 2;
    assert_true(dusk_context_deadline(dusk_request_context(lb->held.req)) <=
                uv_hrtime() + nearest_ms * NS_PER_MS);
    dusk_response_end(lb->held.res, NULL, 0);
    end_all(lb);
  }
}

static void time_without_memory(dusk_response_t *res, dusk_request_t *req,
                                void *arg) {
  alloc_fail_at(1);
  dusk_timeout_serve(res, req, arg);
  assert_true(alloc_has_failed());
  alloc_fail_at(0);
}

/* Without one it could last for ever. */
static void a_time_out_that_cannot_be_set_is_503(void **state) {
  loopback_t *lb = *state;
  dusk_timeout_t timeout = {keeper(lb), MINUTE_MS};
  serve_by(lb, time_without_memory, &timeout);
  int client = connect_client(lb);
  say(client, GET);
  hear(lb, client, "HTTP/1.1 503 ");
  assert_int_equal(lb->held.called, 0);
}

/* A middleware above may have waited for something. */
static void a_client_that_has_gone_leaves_the_handler_to_end(void **state) {
  loopback_t *lb = *state;
  static const struct linger reset = {.l_onoff = 1};
  dusk_timeout_t timeout = {keeper(lb), MINUTE_MS};
  int client = hold(lb, DEFAULTS, GET);
  setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  leave(lb, client);
  AWAIT(lb, loopback_report(lb).requests_unended == 1);
  lb->held.called = 0;
  dusk_timeout_serve(lb->held.res, lb->held.req, &timeout);
  assert_int_equal(lb->held.called, 1);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), UV_ECANCELED);
}

/* -- Prefixes -------------------------------------------------------------- */

/* Says the path and the target that it sees. */
static void tell_path(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  dusk_response_printf(res, 200, "%s of %s.\n", dusk_request_path(req),
                       dusk_request_target(req));
}

static void get(int client, const char *target) {
  static char request[16384];
  snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: h\r\n\r\n",
           target);
  say(client, request);
}

/* On one connection, so that nothing of a request may be left to the next. */
static void get_is(loopback_t *lb, int client, const char *target,
                   const char *body) {
  char answer[256];
  snprintf(answer, sizeof(answer), "\r\n\r\n%s", body);
  get(client, target);
  hear(lb, client, answer);
}

#define NOT_FOUND "404 page not found\n"

/* Go: TestStripPrefix, TestStripPrefixNotModifyRequest */
static void srv_360_a_prefix_is_taken_off(void **state) {
  loopback_t *lb = *state;
  static const char *const prefixes[] = {"/api", "/api/", "/api//"};
  for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++) {
    dusk_strip_prefix_t strip = {{tell_path, NULL}, prefixes[i]};
    serve_by(lb, dusk_strip_prefix_serve, &strip);
    int client = connect_client(lb);
    get_is(lb, client, "/api/users", "/users of /api/users.\n");
    get_is(lb, client, "/api/users?a=/api/", "/users of /api/users?a=/api/.\n");
    get_is(lb, client, "/api", "/ of /api.\n");
    get_is(lb, client, "/api?x", "/ of /api?x.\n");
    get_is(lb, client, "/api/", "/ of /api/.\n");
    get_is(lb, client, "/api/a%2Fb", "/a%2Fb of /api/a%2Fb.\n");
    get_is(lb, client, "http://h/api/x?y", "/x of http://h/api/x?y.\n");
    get_is(lb, client, "/api/api/x", "/api/x of /api/api/x.\n");
    get_is(lb, client, "/apis", NOT_FOUND);
    get_is(lb, client, "/API/x", NOT_FOUND);
    get_is(lb, client, "/ap", NOT_FOUND);
    get_is(lb, client, "/", NOT_FOUND);
    get_is(lb, client, "http://h?x", NOT_FOUND);
    get_is(lb, client, "/api%2Fusers", NOT_FOUND); /* only in escaped form */
    get_is(lb, client, "/%61pi/users", NOT_FOUND);
    get_is(lb, client, "/x/api/y", NOT_FOUND);
    end_all(lb);
  }
}

static void no_prefix_takes_nothing_off(void **state) {
  loopback_t *lb = *state;
  static const char *const prefixes[] = {"", "/"};
  for (int i = 0; i < 2; i++) {
    dusk_strip_prefix_t strip = {{tell_path, NULL}, prefixes[i]};
    serve_by(lb, dusk_strip_prefix_serve, &strip);
    int client = connect_client(lb);
    get_is(lb, client, "/api/x", "/api/x of /api/x.\n");
    get_is(lb, client, "/", "/ of /.\n");
    end_all(lb);
  }
}

static void prefixes_are_taken_off_one_by_one(void **state) {
  loopback_t *lb = *state;
  dusk_strip_prefix_t inner = {{tell_path, NULL}, "/v1"};
  dusk_strip_prefix_t outer = {{dusk_strip_prefix_serve, &inner}, "/api"};
  serve_by(lb, dusk_strip_prefix_serve, &outer);
  int client = connect_client(lb);
  get_is(lb, client, "/api/v1/x", "/x of /api/v1/x.\n");
  get_is(lb, client, "/api/v1", "/ of /api/v1.\n");
  get_is(lb, client, "/api/v2/x", NOT_FOUND);
  get_is(lb, client, "/v1/api/x", NOT_FOUND);
}

static void star_has_no_prefix(void **state) {
  loopback_t *lb = *state;
  dusk_strip_prefix_t strip = {{tell_path, NULL}, "/"};
  serve_by(lb, dusk_strip_prefix_serve, &strip);
  int client = connect_client(lb);
  say(client, "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
  hear(lb, client, NOT_FOUND);
}

static void tell_value(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  dusk_response_printf(res, 200, "%s: %s.\n", dusk_request_pattern(req),
                       dusk_request_path_value(req, "id"));
}

static void hear_location(loopback_t *lb, int client, const char *target,
                          const char *location) {
  char field[256];
  snprintf(field, sizeof(field), "\r\nLocation: %s\r\n", location);
  get(client, target);
  assert_has(hear(lb, client, "Temporary Redirect\n"), field);
}

/* Where it redirects to is what its clients ask for next. */
static void srv_360_a_mux_below_sends_clients_to_where_they_are(void **state) {
  loopback_t *lb = *state;
  dusk_mux_t *outer, *inner;
  assert_int_equal(dusk_mux_new(&outer), 0);
  assert_int_equal(dusk_mux_new(&inner), 0);
  dusk_strip_prefix_t strip = {{dusk_mux_serve, inner}, "/api"};
  assert_int_equal(dusk_mux_handle(inner, "/users/{id}", tell_value, NULL), 0);
  assert_int_equal(dusk_mux_handle(inner, "/tree/", tell_value, NULL), 0);
  assert_int_equal(
      dusk_mux_handle(outer, "/api/", dusk_strip_prefix_serve, &strip), 0);
  serve_by(lb, dusk_mux_serve, outer);
  int client = connect_client(lb);
  get_is(lb, client, "/api/users/a%20b", "/users/{id}: a b.\n");
  get_is(lb, client, "/api/users/7?x=1", "/users/{id}: 7.\n");
  get_is(lb, client, "/api/", NOT_FOUND);
  get_is(lb, client, "/users/7", NOT_FOUND);
  hear_location(lb, client, "/api/tree", "/api/tree/");
  hear_location(lb, client, "/api/tree?x=1", "/api/tree/?x=1");
  hear_location(lb, client, "http://h/api/tree?x", "/api/tree/?x");
  get_is(lb, client, "/api/tree/", "/tree/: .\n");
  end_all(lb);

  /* And where no mux above has cleaned the path. */
  serve_by(lb, dusk_strip_prefix_serve, &strip);
  client = connect_client(lb);
  hear_location(lb, client, "/api//tree", "/api/tree/");
  hear_location(lb, client, "/api/x/../users/7", "/api/users/7");
  end_all(lb);
  dusk_mux_free(outer);
  dusk_mux_free(inner);
}

static void strip_without_memory(dusk_response_t *res, dusk_request_t *req,
                                 void *arg) {
  alloc_fail_at(1);
  dusk_strip_prefix_serve(res, req, arg);
  assert_true(alloc_has_failed());
  alloc_fail_at(0);
}

/* A path with a query behind it is copied. */
static void a_path_without_memory_is_503(void **state) {
  loopback_t *lb = *state;
  static char target[8192] = "/api/";
  memset(target + 5, 'a', sizeof(target) - 8);
  strcpy(target + sizeof(target) - 3, "?q");
  dusk_strip_prefix_t strip = {{tell_path, NULL}, "/api"};
  serve_by(lb, strip_without_memory, &strip);
  int client = connect_client(lb);
  get(client, target);
  hear(lb, client, "HTTP/1.1 503 ");
}

/* -- Origins --------------------------------------------------------------- */

#define REFUSED "cross-origin request refused\n"

static void answer_ok(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req, (void)arg;
  dusk_response_text(res, 200, "ok\n");
}

/* `fields`: each with its line end. */
static bool passes(loopback_t *lb, const char *method, const char *target,
                   const char *fields) {
  char request[1024];
  snprintf(request, sizeof(request),
           "%s %s HTTP/1.1\r\nConnection: close\r\n%s\r\n", method, target,
           fields);
  int client = connect_client(lb);
  say(client, request);
  hear(lb, client, NULL);
  leave(lb, client);
  bool is_ok = strstr(lb->heard, "HTTP/1.1 200 ") != NULL;
  if (!is_ok) assert_has(lb->heard, "HTTP/1.1 403 ");
  return is_ok;
}

#define HOST "Host: example.com\r\n"
#define SITE(site) "Sec-Fetch-Site: " site "\r\n"
#define ORIGIN(origin) "Origin: " origin "\r\n"

static void assert_each(loopback_t *lb, bool pass, const char *const *fields) {
  for (; *fields; fields++)
    if (passes(lb, "POST", "/", *fields) != pass)
      fail_msg("%s: %s", pass ? "refused" : "passed", *fields);
}

static void serve_protected(loopback_t *lb, dusk_cross_origin_t *protection) {
  protection->next.cb = answer_ok;
  serve_by(lb, dusk_cross_origin_serve, protection);
}

/* Go: TestCrossOriginProtectionSecFetchSite */
static void what_its_browser_calls_its_own_passes(void **state) {
  loopback_t *lb = *state;
  dusk_cross_origin_t protection = {0};
  static const char *const pass[] = {
      HOST SITE("same-origin"),
      HOST SITE("none"),
      HOST SITE("same-origin") ORIGIN("https://evil.example"), /* a proxy */
      NULL,
  };
  static const char *const refused[] = {
      HOST SITE("cross-site"),
      HOST SITE("same-site"),
      HOST SITE("cross-site") ORIGIN("https://example.com"),
      HOST SITE("same-site") ORIGIN("https://example.com"),
      HOST SITE("Same-Origin"), /* no browser's */
      HOST SITE("same-origin, cross-site"),
      HOST SITE("cross-site") SITE("same-origin"), /* the first counts */
      HOST SITE("x"),
      NULL,
  };
  serve_protected(lb, &protection);
  assert_each(lb, true, pass);
  assert_each(lb, false, refused);
}

/* Go: the same. Older browsers; and what is none. */
static void where_nothing_is_called_so_the_origin_counts(void **state) {
  loopback_t *lb = *state;
  dusk_cross_origin_t protection = {0};
  static const char *const pass[] = {
      HOST,
      HOST SITE(""),
      HOST ORIGIN(""),
      HOST ORIGIN("https://example.com"),
      HOST ORIGIN("http://example.com"), /* which of them can't be told */
      HOST SITE("") ORIGIN("https://example.com"),
      "Host: example.com:8080\r\n" ORIGIN("http://example.com:8080"),
      "Host: EXAMPLE.com\r\n" ORIGIN("https://example.com"),
      "Host: [::1]:80\r\n" ORIGIN("http://[::1]:80"),
      NULL,
  };
  static const char *const refused[] = {
      HOST ORIGIN("https://evil.example"),
      HOST SITE("") ORIGIN("https://evil.example"),
      HOST ORIGIN("null"),
      HOST ORIGIN("https://example.com:8080"),
      "Host: example.com:8080\r\n" ORIGIN("https://example.com"),
      HOST ORIGIN("https://example.com.evil.example"),
      HOST ORIGIN("https://evilexample.com"),
      HOST ORIGIN("https://sub.example.com"),
      HOST ORIGIN("https://evil.example/https://example.com"),
      HOST ORIGIN("https://example.com/"),
      HOST ORIGIN("https://example.com@evil.example"),
      HOST ORIGIN("https://evil.example@example.com"),
      HOST ORIGIN("example.com"),
      HOST ORIGIN("://"),
      HOST ORIGIN("https://"),
      HOST ORIGIN("https://example.com https://evil.example"),
      HOST ORIGIN("https://evil.example") ORIGIN("https://example.com"),
      "Host:\r\n" ORIGIN("https://"),
      NULL,
  };
  serve_protected(lb, &protection);
  assert_each(lb, true, pass);
  assert_each(lb, false, refused);
}

/* What the target says is the host, as it is for whoever asks. */
static void the_host_may_be_the_targets(void **state) {
  loopback_t *lb = *state;
  dusk_cross_origin_t protection = {0};
  serve_protected(lb, &protection);
  assert_true(passes(lb, "POST", "http://example.com/x",
                     HOST ORIGIN("https://example.com")));
  assert_false(passes(lb, "POST", "http://other.example/x",
                      HOST ORIGIN("https://example.com")));
}

/* Go: the same. By links and forms sites may always ask; what they may not is
 * change something. */
static void safe_methods_pass(void **state) {
  loopback_t *lb = *state;
  dusk_cross_origin_t protection = {0};
  static const char *const safe[] = {"GET", "HEAD", "OPTIONS"};
  static const char *const others[] = {"POST",   "PUT",   "PATCH",
                                       "DELETE", "TRACE", "PROPFIND"};
  static const char cross[] =
      HOST SITE("cross-site") ORIGIN("https://evil.example");
  serve_protected(lb, &protection);
  for (size_t i = 0; i < sizeof(safe) / sizeof(*safe); i++)
    assert_true(passes(lb, safe[i], "/", cross));
  for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
    assert_false(passes(lb, others[i], "/", cross));
}

/* Go: TestCrossOriginProtectionTrustedOriginBypass */
static void trusted_origins_pass(void **state) {
  loopback_t *lb = *state;
  static const char *const origins[] = {"https://trusted.example",
                                        "https://other.example:8443", NULL};
  dusk_cross_origin_t protection = {.trusted = origins};
  static const char *const pass[] = {
      HOST ORIGIN("https://trusted.example"),
      HOST SITE("cross-site") ORIGIN("https://trusted.example"),
      HOST SITE("same-site") ORIGIN("https://other.example:8443"),
      HOST SITE("same-origin"),
      HOST,
      NULL,
  };
  static const char *const refused[] = {
      HOST SITE("cross-site"),
      HOST SITE("cross-site") ORIGIN("https://evil.example"),
      HOST ORIGIN("http://trusted.example"), /* another scheme */
      HOST ORIGIN("https://trusted.example:443"),
      HOST ORIGIN("https://other.example"),
      HOST ORIGIN("https://trusted.example.evil.example"),
      HOST ORIGIN("https://sub.trusted.example"),
      HOST ORIGIN("null"),
      NULL,
  };
  serve_protected(lb, &protection);
  assert_each(lb, true, pass);
  assert_each(lb, false, refused);
}

static void refuse(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  dusk_response_json(res, 403, *(const char **)arg);
}

/* Go: TestCrossOriginProtectionSetDenyHandler */
static void a_refusal_can_be_the_programs(void **state) {
  loopback_t *lb = *state;
  dusk_cross_origin_t protection = {0};
  serve_protected(lb, &protection);
  assert_false(passes(lb, "POST", "/", HOST SITE("cross-site")));
  assert_has(lb->heard, "\r\n\r\n" REFUSED);
  const char *text = "{\"no\":1}";
  protection.refuse = (dusk_handler_t){refuse, &text};
  assert_false(passes(lb, "POST", "/", HOST SITE("cross-site")));
  assert_has(lb->heard, "\r\n\r\n{\"no\":1}");
  assert_true(passes(lb, "POST", "/", HOST));
}

/* -- Around each other ----------------------------------------------------- */

/* Each sees the request as those above have left it. */
static void all_wrap_each_other(void **state) {
  loopback_t *lb = *state;
  int status = 1;
  dusk_max_bytes_t limit = {{measure, &status}, 8};
  dusk_strip_prefix_t strip = {{dusk_max_bytes_serve, &limit}, "/api"};
  dusk_timeout_t timeout = {{dusk_strip_prefix_serve, &strip}, MINUTE_MS};
  dusk_cross_origin_t protection = {.next = {dusk_timeout_serve, &timeout}};
  serve_by(lb, dusk_cross_origin_serve, &protection);
  int client = connect_client(lb);
  say(client, "POST /api/x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
              "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
              "POST /api HTTP/1.1\r\nHost: h\r\nOrigin: null\r\n"
              "Content-Length: 3\r\n\r\nabc"
              "POST /api HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n"
              "123456789");
  hear(lb, client, NULL);
  static const char *const answers[] = {"3 bytes\n", NOT_FOUND, REFUSED,
                                        "413 "};
  const char *at = lb->heard;
  for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
    assert_has(at, answers[i]);
    at = strstr(at, answers[i]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(a_route_has_its_bodys_limit),
      house_test(of_two_limits_the_inner_one_counts),
      house_test(what_is_too_large_is_not_waited_for),
      house_test(chunks_are_added_up),
      house_test(srv_364_who_is_late_is_answered_for),
      house_test(srv_363_who_has_begun_is_cut),
      house_test(srv_368_each_request_has_all_of_the_time),
      house_test(srv_367_a_cancelled_one_is_still_the_handlers),
      house_test(srv_369_nothing_in_particular_is_200),
      house_test(srv_370_who_gives_up_in_time_has_no_answer),
      house_test(srv_371_a_second_status_is_told),
      house_test(srv_372_the_connection_may_be_taken),
      house_test(of_two_time_outs_the_inner_one_counts),
      house_test(one_that_was_seen_only_comes_nearer),
      house_test(a_time_out_that_cannot_be_set_is_503),
      house_test(a_client_that_has_gone_leaves_the_handler_to_end),
      house_test(srv_360_a_prefix_is_taken_off),
      house_test(no_prefix_takes_nothing_off),
      house_test(prefixes_are_taken_off_one_by_one),
      house_test(star_has_no_prefix),
      house_test(srv_360_a_mux_below_sends_clients_to_where_they_are),
      house_test(a_path_without_memory_is_503),
      house_test(what_its_browser_calls_its_own_passes),
      house_test(where_nothing_is_called_so_the_origin_counts),
      house_test(the_host_may_be_the_targets),
      house_test(safe_methods_pass),
      house_test(trusted_origins_pass),
      house_test(a_refusal_can_be_the_programs),
      house_test(all_wrap_each_other),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
