/* A mux in a server: which pattern a request goes to, what it is redirected to,
 * and what its handler is told. */
#include "house.h"

#include "alloc.h"

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

/* The whole answer to a request line and a host, on a connection of its own. */
static const char *answer_to(fixture_t *f, const char *line, const char *host) {
  static char request[131072];
  snprintf(request, sizeof(request),
           "%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", line, host);
  int client = connect_client(&f->lb);
  say_all(&f->lb, client, request);
  const char *answer = hear(&f->lb, client, NULL);
  leave(&f->lb, client);
  return answer;
}

static void expect_at(fixture_t *f, const char *line, const char *host,
                      const char *part) {
  const char *answer = answer_to(f, line, host);
  if (!strstr(answer, part))
    fail_msg("%s: no \"%s\" in %s", line, part, answer);
}

static void expect(fixture_t *f, const char *line, const char *part) {
  expect_at(f, line, "h", part);
}

/* A redirect, with 307 (SRV-346), and that it is the only one: SRV-348. */
static void redirects(fixture_t *f, const char *path, const char *location) {
  char text[256];
  snprintf(text, sizeof(text), "GET %s", path);
  expect(f, text, "HTTP/1.1 307 Temporary Redirect\r\n");
  char header[256];
  snprintf(header, sizeof(header), "\r\nLocation: %s\r\n", location);
  expect(f, text, header);
  snprintf(text, sizeof(text), "GET %s", location);
  if (strstr(answer_to(f, text, "h"), "HTTP/1.1 307"))
    fail_msg("%s is redirected once more", location);
}

/* SRV-325 */
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
  expect(&f, "GET http://h", "\r\n\r\n/"); /* SRV-354: not redirected */
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
  expect(&f, "GET *", "400 Bad Request"); /* SRV-171 */
  expect(&f, "GET *", "\r\nConnection: close\r\n");
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

static void srv_340_conflicts_name_both(void **state) {
  (void)state;
  fixture_t f;
  open_mux(&f);
  add(&f, "/a/{x}");
  add(&f, "GET /b/");
  add(&f, "/");
  add(&f, "GET h/");
  add(&f, "GET h/a/{x}"); /* SRV-341 */
  expect_error(&f, "/a/{y}", UV_EEXIST,
               "pattern \"/a/{y}\" is in conflict with \"/a/{x}\": they match "
               "the same requests");
  expect_error(&f, "/{x}/b", UV_EEXIST,
               "\"/{x}/b\" is in conflict with \"/a/{x}\": each matches paths");
  expect_error(&f, "h/foo", UV_EEXIST,
               "\"h/foo\" is in conflict with \"GET h/\": the one for fewer");
  expect_error(&f, "/b/{$}", UV_EEXIST, "\"GET /b/\"");
  expect(&f, "GET /x", "\r\n\r\nGET h/");
  expect_at(&f, "GET /x", "i", "\r\n\r\n/");
  close_mux(&f);
}

static void srv_338_hosts_go_first(void **state) {
  (void)state;
  fixture_t f;
  open_mux(&f);
  add(&f, "/");
  add(&f, "Some.Example/");
  add(&f, "POST some.example/post");
  add(&f, "/post");
  add(&f, "[::1]/");
  add(&f, "CONNECT some.example:443/");
  expect_at(&f, "GET /", "other", "\r\n\r\n/");
  expect_at(&f, "GET /", "some.example", "\r\n\r\nSome.Example/");
  expect_at(&f, "GET /x", "SOME.EXAMPLE", "\r\n\r\nSome.Example/");
  expect_at(&f, "GET /x", "some.example:8080", "\r\n\r\nSome.Example/");
  expect_at(&f, "GET /x", "some.example:", "\r\n\r\nSome.Example/");
  expect_at(&f, "GET /x", "some.example.", "\r\n\r\n/");
  expect_at(&f, "GET /x", "[::1]:80", "\r\n\r\n[::1]/");
  expect_at(&f, "GET http://some.example/x", "other", "\r\n\r\nSome.Example/");
  expect_at(&f, "GET http://some.example:1", "other", "\r\n\r\nSome.Example/");
  expect_at(&f, "GET /x", "", "\r\n\r\n/");
  /* SRV-351: that has its port; its path is always "/". */
  expect_at(&f, "CONNECT some.example:443", "other",
            "\r\n\r\nCONNECT some.example:443/");
  expect_at(&f, "CONNECT some.example:80", "some.example:443", "\r\n\r\n/");
  close_mux(&f);
}

static void srv_344_paths_are_cleaned(void **state) {
  (void)state;
  fixture_t f;
  open_mux(&f);
  add(&f, "/foo.txt");
  add(&f, "/a/b");
  add(&f, "/tree/");
  redirects(&f, "//foo.txt", "/foo.txt");
  redirects(&f, "/../foo.txt", "/foo.txt");
  redirects(&f, "/a//b", "/a/b");
  redirects(&f, "/a/./b", "/a/b");
  redirects(&f, "/a/x/../b?q=/../x&y", "/a/b?q=/../x&y"); /* SRV-347 */
  redirects(&f, "//", "/");
  redirects(&f, "/no/../where", "/where"); /* though nothing is there */
  redirects(&f, "//tree", "/tree/");
  redirects(&f, "http://h//a/b?x", "/a/b?x");
  redirects(&f, "//a%2Fb/%2e%2E/%c3%a9", "/a%2Fb/%2e%2E/%c3%a9"); /* SRV-350 */
  expect(&f, "POST /a//b", "307 Temporary Redirect");
  expect(&f, "GET /%2e%2e/foo.txt", "404 Not Found");
  close_mux(&f);
}

/* A path that a browser takes for another host's. */
static void redirects_stay_on_their_host(void **state) {
  (void)state;
  fixture_t f;
  open_mux(&f);
  redirects(&f, "/x/..//evil.example", "/evil.example");
  redirects(&f, "/x/../\\evil.example", "/%5Cevil.example");
  redirects(&f, "//\"<>^`{|}", "/%22%3C%3E%5E%60%7B%7C%7D");
  redirects(&f, "//:@!$&'()*+,;=-._~", "/:@!$&'()*+,;=-._~");
  close_mux(&f);
}

static void srv_345_subtrees_are_redirected_to(void **state) {
  (void)state;
  fixture_t f;
  open_mux(&f);
  add(&f, "/tree/");
  add(&f, "/both");
  add(&f, "/both/");
  add(&f, "GET /get/");
  add(&f, "/u/{id}/{$}");
  add(&f, "/v/{id}/{rest...}");
  add(&f, "some.example/site/");
  redirects(&f, "/tree", "/tree/");
  redirects(&f, "/tree?q=1&q=2", "/tree/?q=1&q=2");
  expect(&f, "GET /tree/", "\r\n\r\n/tree/");
  expect(&f, "GET /both", "\r\n\r\n/both");
  expect(&f, "GET /both/", "\r\n\r\n/both/");
  redirects(&f, "/u/a%2Fb", "/u/a%2Fb/"); /* SRV-350 */
  redirects(&f, "/v/7", "/v/7/");
  expect(&f, "GET /v", "404 page not found");
  expect(&f, "GET /u/", "404 page not found");
  expect(&f, "POST /get", "405 Method");
  expect(&f, "POST /get", "\r\nAllow: GET, HEAD\r\n");
  expect_at(&f, "GET /site", "some.example:80", "\r\nLocation: /site/\r\n");
  expect_at(&f, "GET /site", "other", "404 page not found");
  add(&f, "/");
  redirects(&f, "/tree", "/tree/"); /* also where "/" would match */
  expect(&f, "GET /trees", "\r\n\r\n/");
  add(&f, "/tree");
  expect(&f, "GET /tree", "\r\n\r\n/tree"); /* SRV-353: it was served before */
  close_mux(&f);
}

static void srv_336_the_root_is_no_subtree_of_a_wildcard(void **state) {
  (void)state;
  fixture_t f;
  open_mux(&f);
  add(&f, "GET /{x}/");
  expect(&f, "GET /", "404 page not found");
  expect(&f, "POST /", "404 page not found");
  expect(&f, "GET /a/", "\r\n\r\nGET /{x}/");
  close_mux(&f);
}

static void srv_327_wildcards(void **state) {
  (void)state;
  fixture_t f;
  open_mux(&f);
  add(&f, "/a/{x}");
  add(&f, "/b/{x...}"); /* SRV-328 */
  add(&f, "/c/{$}");    /* SRV-329 */
  add(&f, "/d/{x}/e");
  expect(&f, "GET /a/1", "\r\n\r\n/a/{x}");
  expect(&f, "GET /a/", "404 Not Found");
  expect(&f, "GET /a/1/", "404 Not Found");
  expect(&f, "GET /b/", "\r\n\r\n/b/{x...}");
  expect(&f, "GET /b/1/2/", "\r\n\r\n/b/{x...}");
  expect(&f, "GET /c/", "\r\n\r\n/c/{$}");
  expect(&f, "GET /c/x", "404 Not Found");
  expect(&f, "GET /d/1/e", "\r\n\r\n/d/{x}/e");
  expect(&f, "GET /d/%00/e", "404 Not Found");
  close_mux(&f);
}

static void a_redirect_that_is_too_long_is_refused(void **state) {
  (void)state;
  enum { LEN = 40000 };
  fixture_t f;
  static char line[LEN + 8] = "GET /";
  memset(line + 5, '/', LEN);
  open_mux(&f);
  expect(&f, line, "\r\nLocation: /\r\n"); /* 40,000 slashes */
  memset(line + 6, 'x', LEN - 1);
  expect(&f, line, "414 URI Too Long");
  close_mux(&f);
}

/* -- What a handler is told ------------------------------------------------ */

static const char *value_of(dusk_request_t *req, const char *name) {
  const char *value = dusk_request_path_value(req, name);
  assert_ptr_equal(value, dusk_request_path_value(req, name)); /* cut once */
  return value;
}

/* "pattern|id|rest|own". */
static void tell_values(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  char text[512];
  snprintf(text, sizeof(text), "%s|%s|%s|%s", dusk_request_pattern(req),
           value_of(req, "id"), value_of(req, "rest"), value_of(req, "own"));
  assert_string_equal(dusk_request_path_value(req, ""), "");
  assert_string_equal(dusk_request_path_value(req, NULL), "");
  dusk_response_text(res, 200, text);
}

static void add_teller(dusk_mux_t *mux, const char *pattern) {
  assert_int_equal(dusk_mux_handle(mux, pattern, tell_values, NULL), 0);
}

static void srv_330_values_are_told(void **state) {
  (void)state;
  fixture_t f;
  open_mux(&f);
  add_teller(f.mux, "GET /users/{id}");
  add_teller(f.mux, "GET /users/{id}/files/{rest...}");
  add_teller(f.mux, "/{$}");
  expect(&f, "GET /users/7?id=8", "\r\n\r\nGET /users/{id}|7||");
  expect(&f, "HEAD /users/7", "Content-Length: 19\r\n");
  expect(&f, "GET /users/a%2Fb%20%C3%A9+", "|a/b \xc3\xa9+||");
  expect(&f, "GET /users/%2e%2e", "|..||");
  expect(&f, "GET /users/7/files/", "{rest...}|7||");
  expect(&f, "GET /users/7/files/a/b%2fc/", "|7|a/b/c/|");
  expect(&f, "GET /", "\r\n\r\n/{$}|||"); /* SRV-331 */
  close_mux(&f);
}

static void set_values(dusk_response_t *res, dusk_request_t *req, void *arg) {
  assert_int_equal(dusk_request_set_path_value(req, NULL, "x"), UV_EINVAL);
  assert_int_equal(dusk_request_set_path_value(req, "x", NULL), UV_EINVAL);
  if (strcmp(dusk_request_path(req), "/7/late") == 0)
    assert_string_equal(value_of(req, "id"), "7");
  assert_int_equal(dusk_request_set_path_value(req, "own", "first"), 0);
  assert_int_equal(dusk_request_set_path_value(req, "own", "mine"), 0);
  assert_int_equal(dusk_request_set_path_value(req, "id", "another"), 0);
  tell_values(res, req, arg);
}

static void srv_330_values_can_be_set(void **state) {
  (void)state;
  fixture_t f;
  open_mux(&f);
  assert_int_equal(dusk_mux_handle(f.mux, "/{id}/{rest}", set_values, NULL), 0);
  expect(&f, "GET /7/8", "\r\n\r\n/{id}/{rest}|another|8|mine");
  expect(&f, "GET /7/late", "\r\n\r\n/{id}/{rest}|another|late|mine");
  close_mux(&f);
}

/* Without a mux a request has no pattern, and only what was set. */
static void srv_330_values_can_be_set_without_a_mux(void **state) {
  (void)state;
  loopback_t lb;
  serve(&lb, (dusk_server_config_t){.handler = set_values});
  int client = connect_client(&lb);
  say(client, GET);
  assert_has(hear(&lb, client, "mine"), "\r\n\r\n|another||mine");
  end_all(&lb);
}

static void descend(dusk_response_t *res, dusk_request_t *req, void *arg) {
  assert_string_equal(value_of(req, "id"), "x");
  assert_string_equal(value_of(req, "rest"), "7/x");
  assert_int_equal(dusk_request_set_path_value(req, "own", "set"), 0);
  assert_int_equal(dusk_request_set_path_value(req, "id", "outer"), 0);
  dusk_mux_serve(res, req, arg);
}

/* The inner one's pattern and values are all that counts, but for what was set
 * under another name. */
static void srv_330_muxes_lie_within_each_other(void **state) {
  (void)state;
  fixture_t f;
  open_mux(&f);
  dusk_mux_t *inner;
  assert_int_equal(dusk_mux_new(&inner), 0);
  add_teller(inner, "/{id}/7/{rest...}");
  add_teller(inner, "/x/7/{last}");
  assert_int_equal(dusk_mux_handle(f.mux, "/{id}/{rest...}", descend, inner),
                   0);
  assert_int_equal(dusk_mux_handle(f.mux, "/plain/", dusk_mux_serve, inner), 0);
  expect(&f, "GET /x/7/x", "\r\n\r\n/x/7/{last}|||set");
  expect(&f, "GET /plain/7/x", "\r\n\r\n/{id}/7/{rest...}|plain|x|");
  expect(&f, "GET /plain/8", "404 page not found");
  close_mux(&f);
  dusk_mux_free(inner);
}

static void a_mux_is_not_its_own_handler(void **state) {
  (void)state;
  fixture_t f;
  open_mux(&f);
  dusk_mux_t *inner;
  assert_int_equal(dusk_mux_new(&inner), 0);
  assert_int_equal(dusk_mux_handle(f.mux, "/a/", dusk_mux_serve, f.mux),
                   UV_EINVAL);
  assert_int_equal(dusk_mux_handle(f.mux, "/a/", dusk_mux_serve, inner), 0);
  assert_int_equal(dusk_mux_handle(inner, "/a/b", dusk_mux_serve, f.mux),
                   UV_EINVAL);
  assert_string_equal(dusk_mux_error(inner),
                      "pattern \"/a/b\": a mux cannot be its own handler");
  close_mux(&f); /* it has let go of the inner one */
  dusk_mux_free(inner);
}

static char told[256];

static void note_pattern(dusk_request_t *req, const dusk_request_end_t *end,
                         void *arg) {
  (void)end, (void)arg;
  snprintf(told, sizeof(told), "%s|%s", dusk_request_pattern(req),
           dusk_request_path_value(req, "id"));
}

/* For a log: also that of a redirect, and none of what was not matched. */
static void srv_331_the_pattern_is_there_at_the_end(void **state) {
  (void)state;
  fixture_t f;
  assert_int_equal(dusk_mux_new(&f.mux), 0);
  dusk_server_config_t config = {.handler = dusk_mux_serve,
                                 .handler_arg = f.mux,
                                 .on_request_end = note_pattern};
  loopback_open(&f.lb, &config);
  add(&f, "GET /a/{id}");
  add(&f, "/b/{id}/");
  static const char *const cases[][2] = {{"GET /a/7", "GET /a/{id}|7"},
                                         {"GET /b/7", "/b/{id}/|"},
                                         {"GET /x/../b/7", "/b/{id}/|"},
                                         {"GET /a//7", "GET /a/{id}|"},
                                         {"GET //", "|"},
                                         {"GET /", "|"},
                                         {"PUT /a/7", "|"},
                                         {"OPTIONS *", "|"}};
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    expect(&f, cases[i][0], "HTTP/1.1 ");
    assert_string_equal(told, cases[i][1]);
  }
  close_mux(&f);
}

static void ask_ten(loopback_t *lb, int client) {
  for (int i = 0; i < 10; i++) {
    say(client, "GET /users/7/files/a%20b HTTP/1.1\r\nHost: h\r\n\r\n");
    hear(lb, client, "|7|a b|");
  }
}

static void a_served_request_allocates_nothing(void **state) {
  (void)state;
#ifdef __SANITIZE_ADDRESS__
  skip(); /* exchanges are freed, so that their late users are told */
#endif
  fixture_t f;
  open_mux(&f);
  add_teller(f.mux, "h/users/{id}/files/{rest...}");
  int client = connect_client(&f.lb);
  ask_ten(&f.lb, client);
  size_t before = alloc_count();
  ask_ten(&f.lb, client);
  assert_int_equal(alloc_count(), before);
  leave(&f.lb, client);
  close_mux(&f);
}

/* What could not be registered leaves nothing. */
static void registering_survives_want_of_memory(void **state) {
  (void)state;
  size_t n = 0;
  int err;
  do {
    dusk_mux_t *mux;
    assert_int_equal(dusk_mux_new(&mux), 0);
    alloc_fail_at(++n);
    err = dusk_mux_handle(mux, "GET h/a/{x}/b", answer_name, NULL);
    alloc_fail_at(0);
    assert_int_equal(err, err < 0 ? UV_ENOMEM : 0);
    assert_string_equal(dusk_mux_error(mux), "");
    assert_int_equal(dusk_mux_handle(mux, "GET h/a/{x}/b", answer_name, NULL),
                     err < 0 ? 0 : UV_EEXIST);
    dusk_mux_free(mux);
  } while (err < 0);
  assert_true(n > 5);
  alloc_fail_at(1);
  dusk_mux_t *none = NULL;
  assert_int_equal(dusk_mux_new(&none), UV_ENOMEM);
  assert_null(none);
  alloc_fail_at(0);
}

/* Values that don't fit the arena's first block. */
static void want_values(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  char large[2048];
  memset(large, 'x', sizeof(large) - 1);
  large[sizeof(large) - 1] = '\0';
  for (size_t n = 1; n <= 2; n++) {
    alloc_fail_at(n);
    const char *value = dusk_request_path_value(req, "id");
    bool has_failed = alloc_has_failed();
    assert_true(has_failed || n > 1);
    alloc_fail_at(n);
    int err = dusk_request_set_path_value(req, large, "x");
    assert_int_equal(err, alloc_has_failed() ? UV_ENOMEM : 0);
    alloc_fail_at(0);
    assert_int_equal(value == NULL, has_failed);
  }
  assert_int_equal(dusk_request_set_path_value(req, large, "there"), 0);
  assert_string_equal(dusk_request_path_value(req, large), "there");
  dusk_response_text(res, 200, dusk_request_path_value(req, "id"));
}

static void values_survive_want_of_memory(void **state) {
  (void)state;
  fixture_t f;
  open_mux(&f);
  static char line[4000] = "GET /";
  memset(line + 5, 'x', 3000);
  assert_int_equal(dusk_mux_handle(f.mux, "/{id}", want_values, NULL), 0);
  expect(&f, line, line + 5);
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
      house_test(srv_340_conflicts_name_both),
      house_test(srv_338_hosts_go_first),
      house_test(srv_344_paths_are_cleaned),
      house_test(redirects_stay_on_their_host),
      house_test(srv_345_subtrees_are_redirected_to),
      house_test(srv_336_the_root_is_no_subtree_of_a_wildcard),
      house_test(srv_327_wildcards),
      house_test(a_redirect_that_is_too_long_is_refused),
      house_test(srv_330_values_are_told),
      house_test(srv_330_values_can_be_set),
      house_test(srv_330_values_can_be_set_without_a_mux),
      house_test(srv_330_muxes_lie_within_each_other),
      house_test(a_mux_is_not_its_own_handler),
      house_test(srv_331_the_pattern_is_there_at_the_end),
      house_test(a_served_request_allocates_nothing),
      house_test(registering_survives_want_of_memory),
      house_test(values_survive_want_of_memory),
      house_test(srv_352_empty_mux_answers_404),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
