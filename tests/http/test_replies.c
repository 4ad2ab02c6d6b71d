/* Whole responses in one call, and the error replies that an application may
 * shape. */
#include "house.h"

#include "alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <wchar.h>

#define CLOSE "Connection: close\r\n"
#define GET_LAST "GET / HTTP/1.1\r\nHost: h\r\n" CLOSE "\r\n"
#define HEAD_LAST "HEAD / HTTP/1.1\r\nHost: h\r\n" CLOSE "\r\n"
#define TEXT "Content-Type: text/plain; charset=utf-8\r\n"
#define HTML "Content-Type: text/html; charset=utf-8\r\n"
#define JSON "Content-Type: application/json\r\n"

/* -- One reply ------------------------------------------------------------- */

typedef int (*reply_t)(dusk_response_t *res);

typedef struct asked {
  reply_t reply;
  int result; /* of it; 1 before */
} asked_t;

static void reply_once(dusk_response_t *res, dusk_request_t *req, void *arg) {
  asked_t *asked = arg;
  assert_ptr_equal(dusk_request_response(req), res);
  asked->result = asked->reply(res);
}

/* What `request` hears from `reply`, to the stream's end. */
static const char *replied(loopback_t *lb, reply_t reply, const char *request,
                           int result) {
  asked_t asked = {.reply = reply, .result = 1};
  serve(lb,
        (dusk_server_config_t){.handler = reply_once, .handler_arg = &asked});
  int client = connect_client(lb);
  say(client, request);
  hear(lb, client, NULL);
  end_all(lb);
  if (asked.result != result) fail_msg("%d: %s", asked.result, lb->heard);
  return lb->heard;
}

static const char *body_of(const char *response) {
  const char *end = strstr(response, "\r\n\r\n");
  assert_non_null(end);
  return end + 4;
}

static void was(const char *response, const char *status, const char *type,
                const char *body) {
  assert_int_equal(strncmp(response, "HTTP/1.1 ", 9), 0);
  assert_int_equal(strncmp(response + 9, status, strlen(status)), 0);
  assert_int_equal(count_of(response, "Content-Type:"), type != NULL);
  if (type) assert_has(response, type);
  assert_string_equal(body_of(response), body);
}

static void has_length(const char *response, size_t len) {
  char line[64];
  snprintf(line, sizeof(line), "\r\nContent-Length: %zu\r\n", len);
  assert_has(response, line);
}

/* -- Text and JSON --------------------------------------------------------- */

static int text(dusk_response_t *res) {
  return dusk_response_text(res, 201, "hello\n");
}

static int json(dusk_response_t *res) {
  return dusk_response_json(res, 404, "{\"a\":1}");
}

static int typed_text(dusk_response_t *res) {
  dusk_response_set_header(res, "content-type", "text/csv");
  return dusk_response_text(res, 200, "a,b\n");
}

static int untyped_text(dusk_response_t *res) {
  dusk_response_set_header(res, "Content-Type", "text/csv");
  dusk_response_remove_header(res, "Content-Type");
  return dusk_response_text(res, 200, "");
}

static int declared_text(dusk_response_t *res) {
  dusk_response_set_header(res, "Content-Length", "9");
  return dusk_response_text(res, 200, "hello");
}

static int bodiless_text(dusk_response_t *res) {
  return dusk_response_text(res, 204, "");
}

static void text_and_json_have_their_types(void **state) {
  loopback_t *lb = *state;
  was(replied(lb, text, GET_LAST, 0), "201 Created\r\n", TEXT, "hello\n");
  has_length(lb->heard, 6);
  was(replied(lb, json, GET_LAST, 0), "404 Not Found\r\n", JSON, "{\"a\":1}");
  was(replied(lb, json, HEAD_LAST, 0), "404 ", JSON, "");
  has_length(lb->heard, 7);
}

static void a_type_that_was_set_stays(void **state) {
  loopback_t *lb = *state;
  was(replied(lb, typed_text, GET_LAST, 0), "200 ", NULL, "a,b\n");
  assert_has(lb->heard, "content-type: text/csv\r\n");
  was(replied(lb, untyped_text, GET_LAST, 0), "200 ", TEXT, "");
  has_length(lb->heard, 0);
}

static void they_end_as_end_does(void **state) {
  loopback_t *lb = *state;
  replied(lb, declared_text, GET_LAST, DUSK_ESHORT);
  was(replied(lb, bodiless_text, GET_LAST, 0), "204 No Content\r\n", TEXT, "");
  assert_lacks(lb->heard, "Content-Length");
}

static int text_behind_a_header(dusk_response_t *res) {
  dusk_response_status(res, 202);
  assert_int_equal(dusk_response_write(res, "so ", 3), 0);
  return dusk_response_text(res, 500, "far");
}

static int error_behind_a_header(dusk_response_t *res) {
  assert_int_equal(dusk_response_write(res, "so ", 3), 0);
  return dusk_response_error(res, 500, "far");
}

static int redirect_behind_a_header(dusk_response_t *res) {
  assert_int_equal(dusk_response_write(res, "so ", 3), 0);
  return dusk_response_redirect(res, 302, "/");
}

static void behind_a_header_they_only_end(void **state) {
  loopback_t *lb = *state;
  replied(lb, text_behind_a_header, GET_LAST, DUSK_EHEADERSENT);
  assert_has(lb->heard, "HTTP/1.1 202 ");
  assert_has(lb->heard, "far");
  assert_lacks(lb->heard, "500");
  replied(lb, error_behind_a_header, GET_LAST, DUSK_EHEADERSENT);
  assert_has(lb->heard, "HTTP/1.1 200 ");
  assert_has(lb->heard, "so ");
  assert_lacks(lb->heard, "far");
  replied(lb, redirect_behind_a_header, GET_LAST, DUSK_EHEADERSENT);
  assert_has(lb->heard, "so ");
  assert_lacks(lb->heard, "Location");
}

static int twice(dusk_response_t *res) {
  assert_int_equal(dusk_response_text(res, 200, "one"), 0);
  assert_int_equal(dusk_response_json(res, 200, "two"), UV_ECANCELED);
  assert_int_equal(dusk_response_printf(res, 200, "%d", 2), UV_ECANCELED);
  assert_int_equal(dusk_response_error(res, 500, "two"), UV_ECANCELED);
  assert_int_equal(dusk_response_not_found(res), UV_ECANCELED);
  return dusk_response_redirect(res, 302, "/two");
}

static void the_first_one_counts(void **state) {
  loopback_t *lb = *state;
  was(replied(lb, twice, GET_LAST, UV_ECANCELED), "200 ", TEXT, "one");
}

/* As a library's that ran out of memory. */
static int null_json(dusk_response_t *res) {
  return dusk_response_json(res, 200, NULL);
}

static int null_text(dusk_response_t *res) {
  return dusk_response_text(res, 200, NULL);
}

static int null_location(dusk_response_t *res) {
  return dusk_response_redirect(res, 302, NULL);
}

static void no_text_is_no_answer(void **state) {
  loopback_t *lb = *state;
  static const reply_t replies[] = {null_json, null_text, null_location};
  for (size_t i = 0; i < sizeof(replies) / sizeof(*replies); i++)
    assert_string_equal(replied(lb, replies[i], GET_LAST, UV_EINVAL), "");
}

static void a_client_that_has_gone_hears_nothing(void **state) {
  loopback_t *lb = *state;
  static const reply_t replies[] = {text, json, null_json};
  for (size_t i = 0; i < sizeof(replies) / sizeof(*replies); i++) {
    int client = hold(lb, DEFAULTS, GET);
    struct linger reset = {.l_onoff = 1};
    setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    dusk_context_t *ctx = held_context(lb);
    leave(lb, client);
    AWAIT(lb, dusk_context_err(ctx) != 0);
    assert_int_equal(replies[i](lb->held.res),
                     replies[i] == null_json ? UV_EINVAL : UV_ECANCELED);
    end_all(lb);
  }
}

/* -- printf ---------------------------------------------------------------- */

static int printf_len;

static int print_some(dusk_response_t *res) {
  return dusk_response_printf(res, 200, "%0*d.", printf_len - 1, 7);
}

static int print_page(dusk_response_t *res) {
  dusk_response_set_header(res, "Content-Type", "text/html");
  return dusk_response_printf(res, 200, "<p>%s, %d %%</p>", "\xc3\xa9", -1);
}

static int print_what_cant_be(dusk_response_t *res) {
  return dusk_response_printf(res, 200, "%lc", (wint_t)0x7fffffff);
}

static void printf_has_any_length(void **state) {
  loopback_t *lb = *state;
  static const int lens[] = {1, 2, 1022, 1023, 1024, 1025, 5000, 60000};
  for (size_t i = 0; i < sizeof(lens) / sizeof(*lens); i++) {
    printf_len = lens[i];
    assert_has(replied(lb, print_some, GET_LAST, 0), "HTTP/1.1 200 ");
    has_length(lb->heard, printf_len == 1 ? 2 : (size_t)printf_len);
    const char *body = body_of(lb->heard);
    size_t zeros = strspn(body, "0");
    assert_int_equal(zeros, printf_len < 3 ? 0 : printf_len - 2);
    assert_string_equal(body + zeros, "7.");
  }
  was(replied(lb, print_page, GET_LAST, 0), "200 ",
      "Content-Type: text/html\r\n", "<p>\xc3\xa9, -1 %</p>");
  was(replied(lb, print_page, HEAD_LAST, 0), "200 ",
      "Content-Type: text/html\r\n", "");
  has_length(lb->heard, 15);
}

static void what_cant_be_formatted_is_no_answer(void **state) {
  loopback_t *lb = *state;
  assert_string_equal(replied(lb, print_what_cant_be, GET_LAST, UV_EINVAL), "");
}

/* -- Errors ---------------------------------------------------------------- */

static int oops(dusk_response_t *res) {
  dusk_response_set_header(res, "Content-Length", "1");
  dusk_response_set_header(res, "Content-Type", "application/json");
  dusk_response_set_header(res, "X-Content-Type-Options", "scratch");
  dusk_response_set_header(res, "ETag", "\"x\"");
  return dusk_response_error(res, 432, "oops");
}

/* Go: TestError, TestErrorContentLength. */
static void srv_356_an_error_is_plain_text(void **state) {
  loopback_t *lb = *state;
  was(replied(lb, oops, GET_LAST, 0), "432 status code 432\r\n", TEXT,
      "oops\n");
  has_length(lb->heard, 5);
  assert_has(lb->heard, "X-Content-Type-Options: nosniff\r\n");
  assert_int_equal(count_of(lb->heard, "nosniff"), 1);
  assert_lacks(lb->heard, "scratch");
  assert_has(lb->heard, "ETag: \"x\"\r\n");
  was(replied(lb, oops, HEAD_LAST, 0), "432 ", TEXT, "");
  has_length(lb->heard, 5);
}

static int error_without_text(dusk_response_t *res) {
  return dusk_response_error(res, 503, NULL);
}

static int unknown_error_without_text(dusk_response_t *res) {
  return dusk_response_error(res, 599, NULL);
}

static int empty_error(dusk_response_t *res) {
  return dusk_response_error(res, 400, "");
}

static int not_found(dusk_response_t *res) {
  return dusk_response_not_found(res);
}

static void an_error_without_text_says_its_status(void **state) {
  loopback_t *lb = *state;
  was(replied(lb, error_without_text, GET_LAST, 0), "503 ", TEXT,
      "503 Service Unavailable\n");
  was(replied(lb, unknown_error_without_text, GET_LAST, 0), "599 ", TEXT,
      "599 status code 599\n");
  was(replied(lb, empty_error, GET_LAST, 0), "400 ", TEXT, "\n");
}

static void srv_357_not_found_says_so(void **state) {
  loopback_t *lb = *state;
  was(replied(lb, not_found, GET_LAST, 0), "404 Not Found\r\n", TEXT,
      "404 page not found\n");
  assert_has(lb->heard, "X-Content-Type-Options: nosniff\r\n");
}

/* A handler's own error costs nobody the connection. */
static void an_error_keeps_the_connection(void **state) {
  loopback_t *lb = *state;
  asked_t asked = {.reply = oops};
  serve(lb,
        (dusk_server_config_t){.handler = reply_once, .handler_arg = &asked});
  int client = connect_client(lb);
  for (int i = 0; i < 3; i++) {
    say(client, GET);
    was(hear(lb, client, "oops\n"), "432 ", TEXT, "oops\n");
  }
}

/* -- Redirects ------------------------------------------------------------- */

typedef struct location {
  const char *target; /* the request's */
  const char *location;
  const char *wanted;
} location_t;

static const char *redirect_to;
static int redirect_status;

static int redirect(dusk_response_t *res) {
  return dusk_response_redirect(res, redirect_status, redirect_to);
}

static void leads(loopback_t *lb, const char *method, const location_t *to) {
  char request[512];
  char line[1024];
  snprintf(request, sizeof(request),
           "%s %s HTTP/1.1\r\nHost: h\r\n" CLOSE "\r\n", method, to->target);
  redirect_to = to->location;
  snprintf(line, sizeof(line), "\r\nLocation: %s\r\n", to->wanted);
  if (!strstr(replied(lb, redirect, request, 0), line))
    fail_msg("%s from %s:%s%s", to->location, to->target, line, lb->heard);
  assert_int_equal(count_of(lb->heard, "Location"), 1);
  assert_int_equal(count_of(lb->heard, "\r\n\r\n"), 1);
}

/* Go: TestRedirect, TestRedirectBadPath; but for "//host". */
static void srv_358_redirects_lead_as_gos(void **state) {
  loopback_t *lb = *state;
  static const location_t cases[] = {
      {"/qux/", "http://foobar.com/baz", "http://foobar.com/baz"},
      {"/qux/", "https://foobar.com/baz", "https://foobar.com/baz"},
      {"/qux/", "test://foobar.com/baz", "test://foobar.com/baz"},
      {"/qux/", "/foobar.com/baz", "/foobar.com/baz"},
      {"/qux/", "foobar.com/baz", "/qux/foobar.com/baz"},
      {"/qux/", "../quux/foobar.com/baz", "/quux/foobar.com/baz"},
      {"/qux/", "///foobar.com/baz", "/foobar.com/baz"},
      {"/qux/", "/foo?next=http://bar.com/", "/foo?next=http://bar.com/"},
      {"/qux/", "http://localhost:8080/_ah/login?continue=http://localhost/",
       "http://localhost:8080/_ah/login?continue=http://localhost/"},
      {"/qux/", "/\xd1\x84\xd1\x83\xd0\xb1\xd0\xb0\xd1\x80",
       "/%D1%84%D1%83%D0%B1%D0%B0%D1%80"},
      {"/qux/", "http://foo.com/\xd1\x84", "http://foo.com/%D1%84"},
      /* Relative to where the request was. */
      {"/a/b", "c", "/a/c"},
      {"/a/b/", "c/", "/a/b/c/"},
      {"/a/b", "", "/a/"},
      {"/a/b", ".", "/a"},
      {"/a/b", "./", "/a/"},
      {"/a/b", "..", "/"},
      {"/a/b", "../../../c", "/c"},
      {"/a/b", "?x=1", "/a/?x=1"},
      {"/a/b", "#c", "/a/#c"},
      {"/a/b?c/d", "e", "/a/e"},
      {"/", "a/b/../c/", "/a/c/"},
      {"http://other/a/b?c", "d", "/a/d"},
      {"http://other", "d", "/d"},
      {"/a%2fb/c", "d", "/a%2fb/d"},
      /* The query and what is behind it are nobody's path. */
      {"/a/b", "/c/../d?e=/../f//g#/../h", "/d?e=/../f//g#/../h"},
      {"/a/b", "c#d?e/../f", "/a/c#d?e/../f"},
      {"/a/b", "/%2e%2e//c", "/%2e%2e/c"},
      {"/a/b", "mailto:a@b", "mailto:a@b"},
      {"/a/b", "a+b-c.1:x", "a+b-c.1:x"},
      {"/a/b", "1:x", "/a/1:x"},
      {"/a/b", ":x", "/a/:x"},
      {"/a/b", "c/d:x", "/a/c/d:x"},
  };
  redirect_status = 302;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    leads(lb, "GET", &cases[i]);
    leads(lb, "POST", &cases[i]);
  }
}

/* To a host or into a header that whoever wrote the path had in mind. */
static void redirects_lead_nowhere_else(void **state) {
  loopback_t *lb = *state;
  static const location_t cases[] = {
      {"/a/b", "//evil.example/c", "/evil.example/c"},
      {"/a/b", "////evil.example", "/evil.example"},
      {"/a/b", "/..//evil.example", "/evil.example"},
      {"/a/b", "..//..//evil.example", "/evil.example"},
      {"//evil.example/b", "c", "/evil.example/c"},
      {"//evil.example/..", "", "/evil.example/"},
      /* Browsers take it for a slash. */
      {"/a/b", "/\\evil.example", "/%5Cevil.example"},
      {"/a/b", "\\\\evil.example", "/a/%5C%5Cevil.example"},
      {"/a/b", "/c?d\\e", "/c?d%5Ce"},
      /* And leave these out. */
      {"/a/b", "/\t/evil.example", "/%09/evil.example"},
      {"/a/b", " //evil.example", "/a/%20/evil.example"},
      {"/a/b", "\n//evil.example", "/a/%0A/evil.example"},
      {"/a/b", "java\nscript:x", "/a/java%0Ascript:x"},
      {"/a/b", "/c\r\nSet-Cookie: x=y", "/c%0D%0ASet-Cookie:%20x=y"},
      {"/a/b", "http://h/\r\n\r\n<p>", "http://h/%0D%0A%0D%0A<p>"},
      {"/a/b", "/c?d=\r\nX: y", "/c?d=%0D%0AX:%20y"},
      {"/a/b", "/\x01\x7f\x80\xff", "/%01%7F%80%FF"},
      {"/a/b", "/%zz%", "/%zz%"},
  };
  redirect_status = 303;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
    leads(lb, "GET", &cases[i]);
}

/* Which has no path. */
static void redirects_of_the_whole_server_are_paths(void **state) {
  loopback_t *lb = *state;
  static const location_t cases[] = {
      {"*", "/a", "/a"},     {"*", "a", "/a"}, {"*", "ab/../c", "/c"},
      {"*", "/", "/"},       {"*", "", "/"},   {"*", "..", "/"},
      {"*", "?a", "/?a"},    {"*", "*", "/*"}, {"*", "\xff", "/%FF"},
      {"*", "//a/b", "/a/b"}};
  redirect_status = 307;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
    leads(lb, "OPTIONS", &cases[i]);
}

/* Go: TestRedirectContentTypeAndBody. */
static int typed_redirect(dusk_response_t *res) {
  dusk_response_set_header(res, "Content-Type", "application/test");
  return dusk_response_redirect(res, 302, "/foo");
}

static void srv_359_a_redirect_has_a_link(void **state) {
  loopback_t *lb = *state;
  static const char post[] =
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n" CLOSE "\r\n";
  redirect_to = "/foo?a=1&b='\"<>";
  redirect_status = 302;
  was(replied(lb, redirect, GET_LAST, 0), "302 Found\r\n", HTML,
      "<a href=\"/foo?a=1&amp;b=&#39;&#34;&lt;&gt;\">Found</a>.\n");
  size_t len = strlen(body_of(lb->heard));
  was(replied(lb, redirect, HEAD_LAST, 0), "302 Found\r\n", HTML, "");
  has_length(lb->heard, len);
  was(replied(lb, redirect, post, 0), "302 Found\r\n", NULL, "");
  has_length(lb->heard, 0);
  was(replied(lb, typed_redirect, GET_LAST, 0), "302 Found\r\n",
      "Content-Type: application/test\r\n", "");
  was(replied(lb, typed_redirect, HEAD_LAST, 0), "302 Found\r\n",
      "Content-Type: application/test\r\n", "");
  redirect_status = 399;
  was(replied(lb, redirect, GET_LAST, 0), "399 ", HTML,
      "<a href=\"/foo?a=1&amp;b=&#39;&#34;&lt;&gt;\">there</a>.\n");
}

/* Of each byte the longest that may become of it. */
static void long_redirects_fit_or_fail(void **state) {
  loopback_t *lb = *state;
  static char to[40001];
  static const char bytes[] = "/\"\xff";
  redirect_to = to;
  redirect_status = 301;
  for (size_t i = 0; i < sizeof(bytes) - 1; i++) {
    memset(to, bytes[i], 10000);
    to[0] = '/';
    to[10000] = '\0';
    assert_has(replied(lb, redirect, GET_LAST, 0), "</a>.\n");
  }
  memset(to, 'a', 40000);
  to[40000] = '\0';
  assert_string_equal(replied(lb, redirect, GET_LAST, UV_ENOBUFS), "");
}

/* -- Error replies that are shaped ----------------------------------------- */

typedef struct shape {
  int count;
  int status; /* as it was told */
  char method[8];
  bool (*spoil)(dusk_response_t *res, dusk_error_reply_t *reply);
} shape_t;

static shape_t shape;

static void shape_json(dusk_response_t *res, dusk_error_reply_t *reply,
                       void *arg) {
  dusk_request_t *req = dusk_response_request(res);
  assert_ptr_equal(arg, &shape);
  shape.count++;
  shape.status = reply->status;
  snprintf(shape.method, sizeof(shape.method), "%s", dusk_request_method(req));
  assert_string_equal(reply->type, "text/plain; charset=utf-8");
  assert_int_equal(strlen(reply->body), reply->len);
  assert_int_equal(reply->body[reply->len - 1], '\n');
  assert_int_equal(dusk_response_get_status(res), reply->status);
  if (shape.spoil && shape.spoil(res, reply)) return;
  char *body = dusk_request_alloc(req, 32);
  if (body == NULL) return;
  reply->len = (size_t)snprintf(body, 32, "{\"status\":%d}", shape.status);
  reply->body = body;
  reply->type = "application/problem+json";
  dusk_response_set_header(res, "X-Shaped", "yes");
}

static dusk_server_config_t shaped(void) {
  memset(&shape, 0, sizeof(shape));
  return (dusk_server_config_t){.on_error_reply = shape_json,
                                .on_error_reply_arg = &shape};
}

static void is_shaped(const char *response, int status, const char *method) {
  char line[64];
  char body[32];
  bool is_head = strcmp(method, "HEAD") == 0;
  snprintf(line, sizeof(line), "HTTP/1.1 %d ", status);
  assert_has(response, line);
  assert_int_equal(count_of(response, "HTTP/1.1 "), 1);
  snprintf(body, sizeof(body), "{\"status\":%d}", status);
  was(response, line + 9, "Content-Type: application/problem+json\r\n",
      is_head ? "" : body);
  has_length(response, strlen(body));
  assert_has(response, "X-Shaped: yes\r\n");
  assert_int_equal(shape.count, 1);
  assert_int_equal(shape.status, status);
  assert_string_equal(shape.method, method);
}

static void on_collect(dusk_request_t *req, int status, const char *data,
                       size_t len, void *arg) {
  (void)data;
  (void)arg;
  dusk_response_t *res = dusk_request_response(req);
  if (status < 0)
    dusk_response_abort(res);
  else
    dusk_response_end(res, data, len);
}

static void collect(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)res;
  (void)arg;
  assert_int_equal(dusk_request_collect(req, 4, on_collect, NULL), 0);
}

typedef struct refusal {
  const char *request;
  int status;
  const char *method; /* "": not known, and so HEAD has a body, as in Go */
} refusal_t;

#define LONG_20 "01234567890123456789"
#define LONG_100 LONG_20 LONG_20 LONG_20 LONG_20 LONG_20

/* Of a server whose headers may have 256 bytes. */
static const refusal_t refusals[] = {
    {"GET / HTTP/1.1\r\n\r\n", 400, "GET"},
    {"HEAD / HTTP/1.1\r\n\r\n", 400, "HEAD"},
    {"GET / HTTP/1.1\r\nHost: h\r\nBad Field\r\n\r\n", 400, ""},
    {"HEAD / HTTP/1.1\r\nHost: h\r\n: bad\r\n\r\n", 400, "HEAD"},
    {"?\r\n\r\n", 400, ""},
    {"GET / HTTP/1.1\r\nHo", 408, ""},
    {"HEAD / HTTP/1.1\r\nHost: h\r\nX", 408, ""},
    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n12345", 413,
     "POST"},
    {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
     "5\r\n12345\r\n0\r\n\r\n",
     413, "POST"},
    {"HEAD / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n", 413, "HEAD"},
    {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n?\r\n",
     400, "POST"},
    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n1", 408, "POST"},
    {"GET /" LONG_100 LONG_100 LONG_100, 414, ""},
    {"GET / HTTP/1.1\r\nHost: h\r\nX: " LONG_100 LONG_100 LONG_100, 431, ""},
    {"HEAD / HTTP/1.1\r\nHost: h\r\nX: " LONG_100 LONG_100 LONG_100, 431, ""},
    {"GET / HTTP/1.1\r\nHost: h\r\nExpect: it\r\n\r\n", 417, "GET"},
    {"HEAD / HTTP/1.1\r\nHost: h\r\nExpect: it\r\n\r\n", 417, "HEAD"},
    {"WHAT / HTTP/1.1\r\nHost: h\r\n\r\n", 501, ""},
    {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501,
     "POST"},
    {"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505, ""},
};

static void each_refusal_is_shaped(void **state) {
  loopback_t *lb = *state;
  for (size_t i = 0; i < sizeof(refusals) / sizeof(*refusals); i++) {
    const refusal_t *refusal = &refusals[i];
    dusk_server_config_t config = shaped();
    config.handler = collect;
    config.max_header_bytes = 256;
    config.header_timeout_ms = config.body_timeout_ms = 50;
    serve(lb, config);
    int client = connect_client(lb);
    say(client, refusal->request);
    is_shaped(hear(lb, client, NULL), refusal->status, refusal->method);
    assert_has(lb->heard, "Connection: close\r\n");
    end_all(lb);
  }
}

static void a_time_out_is_shaped(void **state) {
  loopback_t *lb = *state;
  static const refusal_t requests[] = {{GET, 503, "GET"},
                                       {HEAD_LAST, 503, "HEAD"}};
  for (size_t i = 0; i < 2; i++) {
    dusk_server_config_t config = shaped();
    config.request_timeout_ms = 20;
    int client = hold(lb, config, requests[i].request);
    /* What the handler has set meanwhile is not the server's. */
    dusk_response_status(lb->held.res, 201);
    dusk_response_set_header(lb->held.res, "X-Mine", "yes");
    dusk_response_set_header(lb->held.res, "Content-Type", "image/png");
    dusk_response_set_header(lb->held.res, "Content-Length", "3");
    is_shaped(hear(lb, client, NULL), 503, requests[i].method);
    assert_lacks(lb->heard, "X-Mine");
    assert_int_equal(dusk_response_text(lb->held.res, 200, "late"),
                     UV_ECANCELED);
    end_all(lb);
  }
}

static int error_404(dusk_response_t *res) {
  return dusk_response_not_found(res);
}

static void a_handlers_error_is_shaped(void **state) {
  loopback_t *lb = *state;
  static const struct {
    reply_t reply;
    const char *request;
    int status;
    const char *method;
  } cases[] = {
      {error_404, GET_LAST, 404, "GET"},
      {error_404, HEAD_LAST, 404, "HEAD"},
      {oops, GET_LAST, 432, "GET"},
      {error_without_text, GET_LAST, 503, "GET"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    asked_t asked = {.reply = cases[i].reply};
    dusk_server_config_t config = shaped();
    config.handler = reply_once;
    config.handler_arg = &asked;
    serve(lb, config);
    int client = connect_client(lb);
    say(client, cases[i].request);
    is_shaped(hear(lb, client, NULL), cases[i].status, cases[i].method);
    assert_int_equal(asked.result, 0);
    end_all(lb);
  }
}

/* It is those of an error: TestError and http.NotFound in Go. */
static void a_muxs_refusals_are_shaped(void **state) {
  loopback_t *lb = *state;
  static const refusal_t requests[] = {
      {"GET /none HTTP/1.1\r\nHost: h\r\n" CLOSE "\r\n", 404, "GET"},
      {"HEAD /none HTTP/1.1\r\nHost: h\r\n" CLOSE "\r\n", 404, "HEAD"},
      {"POST /some HTTP/1.1\r\nHost: h\r\n" CLOSE "\r\n", 405, "POST"},
  };
  for (size_t i = 0; i < sizeof(requests) / sizeof(*requests); i++) {
    dusk_mux_t *mux;
    assert_int_equal(dusk_mux_new(&mux), 0);
    assert_int_equal(dusk_mux_handle(mux, "GET /some", loopback_keep, NULL), 0);
    dusk_server_config_t config = shaped();
    config.handler = dusk_mux_serve;
    config.handler_arg = mux;
    serve(lb, config);
    int client = connect_client(lb);
    say(client, requests[i].request);
    is_shaped(hear(lb, client, NULL), requests[i].status, requests[i].method);
    assert_has(lb->heard, "X-Content-Type-Options: nosniff\r\n");
    if (requests[i].status == 405)
      assert_has(lb->heard, "Allow: GET, HEAD\r\n");
    end_all(lb);
    dusk_mux_free(mux);
  }
}

static void other_replies_are_not_shaped(void **state) {
  loopback_t *lb = *state;
  static const reply_t replies[] = {json, redirect, text};
  for (size_t i = 0; i < sizeof(replies) / sizeof(*replies); i++) {
    asked_t asked = {.reply = replies[i]};
    dusk_server_config_t config = shaped();
    config.handler = reply_once;
    config.handler_arg = &asked;
    redirect_to = "/";
    redirect_status = 302;
    serve(lb, config);
    int client = connect_client(lb);
    say(client, GET_LAST);
    assert_has(hear(lb, client, NULL), "HTTP/1.1 ");
    assert_int_equal(shape.count, 0);
    end_all(lb);
  }
}

/* -- What a hook may do wrong ---------------------------------------------- */

static const char *bad_type;

static bool spoil_type(dusk_response_t *res, dusk_error_reply_t *reply) {
  (void)res;
  reply->type = bad_type;
  return true;
}

static bool spoil_status(dusk_response_t *res, dusk_error_reply_t *reply) {
  assert_int_equal(dusk_response_status(res, 204), 0);
  reply->status = 304;
  return false;
}

static bool spoil_length(dusk_response_t *res, dusk_error_reply_t *reply) {
  (void)reply;
  dusk_response_set_header(res, "Content-Length", "2");
  return false;
}

static bool spoil_body(dusk_response_t *res, dusk_error_reply_t *reply) {
  (void)res;
  reply->body = NULL;
  return true;
}

static bool give_type_as_field(dusk_response_t *res,
                               dusk_error_reply_t *reply) {
  (void)reply;
  dusk_response_set_header(res, "Content-Type", "application/xml");
  return true;
}

static char large[100001];

static bool give_large_body(dusk_response_t *res, dusk_error_reply_t *reply) {
  (void)res;
  reply->body = large;
  reply->len = sizeof(large) - 1;
  return true;
}

/* Says so to a server whose hook does that, once as the server's own reply and
 * once as a handler's; gives what they have in common. */
static void spoilt(loopback_t *lb,
                   bool (*spoil)(dusk_response_t *, dusk_error_reply_t *),
                   void (*check)(const char *response, int status)) {
  static const struct {
    const char *request;
    int status;
  } cases[] = {{"GET / HTTP/1.1\r\n\r\n", 400}, {GET_LAST, 404}};
  for (size_t i = 0; i < 2; i++) {
    asked_t asked = {.reply = error_404};
    dusk_server_config_t config = shaped();
    config.handler = reply_once;
    config.handler_arg = &asked;
    shape.spoil = spoil;
    serve(lb, config);
    int client = connect_client(lb);
    say(client, cases[i].request);
    hear(lb, client, NULL);
    assert_int_equal(shape.count, 1);
    assert_int_equal(asked.result, 0);
    check(lb->heard, cases[i].status);
    end_all(lb);
  }
}

static void is_still_shaped(const char *response, int status) {
  is_shaped(response, status, "GET");
}

static void is_plain(const char *response, int status) {
  static const char *const texts[] = {"400 Bad Request\n",
                                      "404 page not found\n"};
  const char *body = texts[status == 404];
  was(response, status == 404 ? "404 " : "400 ", TEXT, body);
  has_length(response, strlen(body));
}

static void is_empty(const char *response, int status) {
  was(response, status == 404 ? "404 " : "400 ", TEXT, "");
  has_length(response, 0);
}

static void is_xml(const char *response, int status) {
  was(response, status == 404 ? "404 " : "400 ",
      "Content-Type: application/xml\r\n",
      status == 404 ? "404 page not found\n" : "400 Bad Request\n");
}

static void a_hook_spoils_no_reply(void **state) {
  loopback_t *lb = *state;
  static char long_type[300];
  static const char *const types[] = {NULL,  "",     "a\r\nSet-Cookie: x",
                                      "a\n", "\x7f", long_type};
  memset(long_type, 'a', sizeof(long_type) - 1);
  for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
    bad_type = types[i];
    spoilt(lb, spoil_type, is_plain);
  }
  spoilt(lb, spoil_status, is_still_shaped);
  spoilt(lb, spoil_length, is_still_shaped);
  spoilt(lb, spoil_body, is_empty);
  spoilt(lb, give_type_as_field, is_xml);
}

static void an_error_may_say_much(void **state) {
  loopback_t *lb = *state;
  static const struct {
    const char *request;
    size_t len;
  } cases[] = {{"GET / HTTP/1.1\r\n\r\n", sizeof(large) - 1},
               {GET_LAST, sizeof(large) - 1},
               {"HEAD / HTTP/1.1\r\n\r\n", 0},
               {HEAD_LAST, 0}};
  memset(large, 'x', sizeof(large) - 1);
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    asked_t asked = {.reply = error_404};
    dusk_server_config_t config = shaped();
    config.handler = reply_once;
    config.handler_arg = &asked;
    shape.spoil = give_large_body;
    serve(lb, config);
    int client = connect_client(lb);
    say(client, cases[i].request);
    size_t len = take(lb, client, SIZE_MAX);
    assert_true(len > cases[i].len && len < cases[i].len + 400);
    end_all(lb);
  }
}

/* What it writes is not sent when the reply is the server's. */
static bool answer_itself(dusk_response_t *res, dusk_error_reply_t *reply) {
  assert_int_equal(dusk_response_json(res, reply->status, "{}"), UV_ECANCELED);
  assert_int_equal(dusk_response_write(res, "x", 1), UV_ECANCELED);
  assert_int_equal(dusk_response_end(res, "x", 1), UV_ECANCELED);
  dusk_response_abort(res);
  dusk_response_reset(res);
  return false;
}

static void a_hook_that_answers_a_refused_one_is_told(void **state) {
  loopback_t *lb = *state;
  serve(lb, shaped());
  shape.spoil = answer_itself;
  int client = connect_client(lb);
  say(client, "GET / HTTP/1.1\r\n\r\n");
  is_shaped(hear(lb, client, NULL), 400, "GET");
}

/* -- Want of memory -------------------------------------------------------- */

static int large_printf(dusk_response_t *res) {
  return dusk_response_printf(res, 200, "%03000d", 1);
}

static int long_error(dusk_response_t *res) {
  static char say_much[3000];
  memset(say_much, 'e', sizeof(say_much) - 1);
  return dusk_response_error(res, 500, say_much);
}

/* Either the whole answer or none, and nothing is left behind. */
static void want_of_memory_is_no_half_answer(void **state) {
  loopback_t *lb = *state;
  static char to[3000];
  static const reply_t replies[] = {large_printf, long_error, redirect,
                                    not_found, text};
  memset(to, '<', sizeof(to) - 1);
  to[0] = '/';
  redirect_to = to;
  redirect_status = 308;
  for (size_t i = 0; i < sizeof(replies) / sizeof(*replies); i++) {
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
      dusk_server_config_t config = shaped();
      int client = hold(lb, config, GET_LAST);
      alloc_fail_at(n);
      int err = replies[i](lb->held.res);
      has_failed = alloc_has_failed();
      alloc_fail_at(0);
      hear(lb, client, NULL);
      if (err == 0)
        assert_has(lb->heard, "\r\n\r\n");
      else
        assert_string_equal(lb->heard, "");
      assert_true(err == 0 || (has_failed && err == UV_ENOMEM));
      end_all(lb);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(text_and_json_have_their_types),
      house_test(a_type_that_was_set_stays),
      house_test(they_end_as_end_does),
      house_test(behind_a_header_they_only_end),
      house_test(the_first_one_counts),
      house_test(no_text_is_no_answer),
      house_test(a_client_that_has_gone_hears_nothing),
      house_test(printf_has_any_length),
      house_test(what_cant_be_formatted_is_no_answer),
      house_test(srv_356_an_error_is_plain_text),
      house_test(an_error_without_text_says_its_status),
      house_test(srv_357_not_found_says_so),
      house_test(an_error_keeps_the_connection),
      house_test(srv_358_redirects_lead_as_gos),
      house_test(redirects_lead_nowhere_else),
      house_test(redirects_of_the_whole_server_are_paths),
      house_test(srv_359_a_redirect_has_a_link),
      house_test(long_redirects_fit_or_fail),
      house_test(each_refusal_is_shaped),
      house_test(a_time_out_is_shaped),
      house_test(a_handlers_error_is_shaped),
      house_test(a_muxs_refusals_are_shaped),
      house_test(other_replies_are_not_shaped),
      house_test(a_hook_spoils_no_reply),
      house_test(an_error_may_say_much),
      house_test(a_hook_that_answers_a_refused_one_is_told),
      house_test(want_of_memory_is_no_half_answer),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
