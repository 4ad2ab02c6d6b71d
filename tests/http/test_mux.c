/* Patterns and which of them a request goes to: SRV-324 to 326, 332 to 335,
 * 349. */
#include "house.h"

#include <llhttp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void answer_name(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  const char *name = arg;
  dusk_response_end(res, name, strlen(name));
}

typedef struct fixture {
  loopback_t lb;
  dusk_mux_t *mux;
} fixture_t;

static void add(fixture_t *f, const char *pattern) {
  assert_int_equal(
      dusk_mux_handle(f->mux, pattern, answer_name, (void *)pattern), 0);
}

static void open_mux(fixture_t *f) {
  assert_int_equal(dusk_mux_new(&f->mux), 0);
  dusk_server_config_t config = {.handler = dusk_mux_serve,
                                 .handler_arg = f->mux};
  loopback_open(&f->lb, &config);
}

static void close_mux(fixture_t *f) {
  loopback_close(&f->lb, 5000);
  dusk_mux_free(f->mux);
}

/* The whole answer to a request line, on a connection of its own. */
static void expect(fixture_t *f, const char *line, const char *part) {
  char request[256];
  char answer[1024];
  snprintf(request, sizeof(request),
           "%s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", line);
  int client = loopback_connect(&f->lb);
  loopback_send(client, request);
  loopback_receive(&f->lb, client, answer, sizeof(answer), NULL);
  if (!strstr(answer, part))
    fail_msg("%s: no \"%s\" in %s", line, part, answer);
  close(client);
}

static void srv_324_exact_and_subtree(void **state) {
  (void)state;
  fixture_t f;
  open_mux(&f);
  add(&f, "/");
  add(&f, "/a");
  add(&f, "/tree/");
  add(&f, "/tree/leaf");
  expect(&f, "GET /", "\r\n\r\n/");
  expect(&f, "GET /a", "\r\n\r\n/a");
  expect(&f, "GET /a/", "\r\n\r\n/"); /* SRV-326: itself only */
  expect(&f, "GET /A", "\r\n\r\n/");
  expect(&f, "GET /tree/", "\r\n\r\n/tree/");
  expect(&f, "GET /tree/x/y?q", "\r\n\r\n/tree/");
  expect(&f, "GET /tree/leaf?q=1", "\r\n\r\n/tree/leaf");
  expect(&f, "GET http://h/a", "\r\n\r\n/a");
  expect(&f, "GET http://h", "\r\n\r\n/");
  expect(&f, "GET /%61", "\r\n\r\n/a");
  expect(&f, "GET /tree%2Fleaf", "\r\n\r\n/"); /* SRV-349: one segment */
  close_mux(&f);
}

static void srv_332_methods(void **state) {
  (void)state;
  fixture_t f;
  open_mux(&f);
  add(&f, "GET /get");
  add(&f, "POST /both");
  add(&f, "GET /both");
  add(&f, "/both/any");
  expect(&f, "GET /get", "\r\n\r\nGET /get");
  expect(&f, "HEAD /get", "200 OK");
  expect(&f, "POST /both", "\r\n\r\nPOST /both");
  expect(&f, "PATCH /both/any", "\r\n\r\n/both/any");
  expect(&f, "PUT /both", "405 Method Not Allowed");
  expect(&f, "PUT /both", "\r\nAllow: GET, HEAD, POST\r\n"); /* SRV-334 */
  expect(&f, "GET /none", "404 Not Found");
  expect(&f, "GET /none", "404 page not found\n"); /* SRV-335 */
  expect(&f, "OPTIONS *", "200 OK");
  close_mux(&f);
}

static void srv_334_allow_has_each_method_once(void **state) {
  (void)state;
  fixture_t f;
  open_mux(&f);
  add(&f, "GET /");
  add(&f, "GET /tree/");
  add(&f, "POST /tree/");
  add(&f, "HEAD /tree/leaf");
  add(&f, "M-SEARCH /tree/leaf");
  add(&f, "DELETE /tree/leaf");
  expect(&f, "PUT /tree/leaf",
         "\r\nAllow: DELETE, GET, HEAD, M-SEARCH, POST\r\n");
  expect(&f, "PUT /x", "\r\nAllow: GET, HEAD\r\n");
  close_mux(&f);
}

static void allow_has_room_for_every_method(void **state) {
  (void)state;
  fixture_t f;
  open_mux(&f);
#define ADD(number, name, text)                                                \
  if (number != HTTP_GET) add(&f, #text " /");
  HTTP_METHOD_MAP(ADD)
  expect(&f, "GET /", "\r\nAllow: ACL, BIND, ");
  expect(&f, "GET /", ", UNLOCK, UNSUBSCRIBE\r\n");
  close_mux(&f);
}

static void srv_349_patterns_are_decoded(void **state) {
  (void)state;
  fixture_t f;
  open_mux(&f);
  add(&f, "/");
  add(&f, "/%62");
  add(&f, "/a%20b");
  add(&f, "/a%2Fb/");
  add(&f, "/a/b");
  add(&f, "/end%2f");
  add(&f, "/%7Bid%7D%3f");
  add(&f, "/\xc3\xa9");
  expect(&f, "GET /b", "\r\n\r\n/%62");
  expect(&f, "GET /%62", "\r\n\r\n/%62");
  expect(&f, "GET /a%20b", "\r\n\r\n/a%20b");
  expect(&f, "GET /a%2fb/", "\r\n\r\n/a%2Fb/");
  expect(&f, "GET /%61%2Fb/c", "\r\n\r\n/a%2Fb/");
  expect(&f, "GET /a/b", "\r\n\r\n/a/b");
  expect(&f, "GET /a/b/", "\r\n\r\n/");
  expect(&f, "GET /a%00b/", "\r\n\r\n/"); /* not the same as %2F */
  expect(&f, "GET /end%2F", "\r\n\r\n/end%2f");
  expect(&f, "GET /end%2Fx", "\r\n\r\n/"); /* no subtree */
  expect(&f, "GET /end/", "\r\n\r\n/");
  expect(&f, "GET /%7bid%7d%3F?x", "\r\n\r\n/%7Bid%7D%3f");
  expect(&f, "GET /%C3%A9", "\r\n\r\n/\xc3\xa9");
  assert_int_equal(dusk_mux_handle(f.mux, "/b", answer_name, NULL), UV_EEXIST);
  close_mux(&f);
}

static void srv_333_head_of_its_own_wins(void **state) {
  (void)state;
  fixture_t f;
  open_mux(&f);
  add(&f, "GET /");
  add(&f, "HEAD /");
  expect(&f, "HEAD /", "Content-Length: 6"); /* of the text "HEAD /" */
  expect(&f, "GET /", "\r\n\r\nGET /");
  close_mux(&f);
}

static void expect_error(fixture_t *f, const char *pattern, int err,
                         const char *part) {
  assert_int_equal(dusk_mux_handle(f->mux, pattern, answer_name, NULL), err);
  const char *text = dusk_mux_error(f->mux);
  if (!strstr(text, part)) fail_msg("%s: no \"%s\" in %s", pattern, part, text);
}

static void srv_342_bad_patterns_are_told(void **state) {
  (void)state;
  fixture_t f;
  open_mux(&f);
  static const char *const bad[][2] = {
      {"", "begins with '/'"},
      {"x", "begins with '/'"},
      {"GET", "begins with '/'"},
      {"GET ", "begins with '/'"},
      {" ", "method"},
      {" /", "at \" /\": no method that a request can have"},
      {"GET x", "begins with '/'"},
      {"get /x", "at \"get /x\": no method"},
      {"GETS /x", "method"},
      {"GE /x", "method"},
      {"GET,POST /q", "method"},
      {"A=B /", "method"},
      {"DESCRIBE /", "method"},
      {"{a}/b", "at \"{a}/b\": a host has no wildcard"},
      {"h.example:80/", "without its port"},
      {"[::1]:80/", "without its port"},
      {"GET h_\xc3\xa9/", "no host has"},
      {"http://h/", "without its port"},
      {"//", "\"//\""},
      {"/a//b", "at \"/b\": paths are matched without"},
      {"/./a", "at \"./a\""},
      {"GET /a/..", "at \"..\""},
      {"/a?b=1", "at \"?b=1\": a path has this character only as %XX"},
      {"/a#b", "%XX"},
      {"GET /a\tb", "%XX"},
      {"/a\x7f", "%XX"},
      {"/a%", "no good %XX"},
      {"/a%2", "no good %XX"},
      {"/%zz", "no good %XX"},
      {"/nul%00end", "at \"%00end\": this is no good %XX"},
      {"/a}", "a whole segment"},
      {"/{w}x", "at \"{w}x\": a wildcard is a whole segment"},
      {"/x{w}", "a whole segment"},
      {"/{wx", "a whole segment"},
      {"/{", "a whole segment"},
      {"/}{", "a whole segment"},
      {"/{a}{b}", "a whole segment"},
      {"/{}", "has a name"},
      {"/{...}", "has a name"},
      {"/{a$}", "at \"$}\": a wildcard's name is of"},
      {"/{$...}", "name is of"},
      {"/{a b}", "name is of"},
      {"/{a.b}", "name is of"},
      {"/{{a}", "name is of"},
      {"/{1a}", "begins with no digit"},
      {"/{$}/", "at \"{$}/\": {$} is the end"},
      {"/{$}/x", "{$} is the end"},
      {"/{a...}/", "{...} is the end"},
      {"/a/{x}/b/{x...}", "at \"x...}\": two wildcards have this name"},
  };
  for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
    expect_error(&f, bad[i][0], UV_EINVAL, bad[i][1]);
  expect(&f, "GET /", "404 page not found\n"); /* nothing of it is left */
  assert_int_equal(dusk_mux_handle(f.mux, "/ok", answer_name, NULL), 0);
  assert_string_equal(dusk_mux_error(f.mux), "");
  close_mux(&f);
}

static void srv_343_no_handler_is_an_error(void **state) {
  (void)state;
  fixture_t f;
  open_mux(&f);
  assert_int_equal(dusk_mux_handle(f.mux, "/", NULL, NULL), UV_EINVAL);
  assert_string_equal(dusk_mux_error(f.mux),
                      "pattern \"/\": there is no handler");
  assert_int_equal(dusk_mux_handle(f.mux, "/", dusk_mux_serve, NULL),
                   UV_EINVAL);
  assert_int_equal(dusk_mux_handle(NULL, "/", answer_name, NULL), UV_EINVAL);
  assert_int_equal(dusk_mux_handle(f.mux, NULL, answer_name, NULL), UV_EINVAL);
  assert_int_equal(dusk_mux_new(NULL), UV_EINVAL);
  assert_string_equal(dusk_mux_error(NULL), "");
  dusk_mux_free(NULL);
  close_mux(&f);
}

static void a_server_needs_its_mux(void **state) {
  (void)state;
  uv_loop_t loop;
  dusk_context_t *root;
  dusk_server_t *server;
  dusk_server_config_t config = {.handler = dusk_mux_serve};
  assert_int_equal(uv_loop_init(&loop), 0);
  assert_int_equal(dusk_context_attach(&loop, &root), 0);
  assert_int_equal(dusk_server_new(root, &config, &server), UV_EINVAL);
  assert_int_equal(dusk_context_detach(root, NULL, NULL), 0);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&loop), 0);
}

static void srv_352_empty_mux_answers_404(void **state) {
  (void)state;
  fixture_t f;
  open_mux(&f);
  expect(&f, "GET /", "404 page not found\n");
  close_mux(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(srv_324_exact_and_subtree),
      house_test(srv_332_methods),
      house_test(srv_334_allow_has_each_method_once),
      house_test(allow_has_room_for_every_method),
      house_test(srv_349_patterns_are_decoded),
      house_test(srv_333_head_of_its_own_wins),
      house_test(a_server_needs_its_mux),
      house_test(srv_342_bad_patterns_are_told),
      house_test(srv_343_no_handler_is_an_error),
      house_test(srv_352_empty_mux_answers_404),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
