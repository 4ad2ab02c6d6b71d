/* What RFC 9112 forbids and llhttp may let through, on one message and without
 * a server. */
#include "h1_feed.h"

#include "strict.h"

#include <stdio.h>

/* The status that a request is refused with; 0 when it isn't. */
static int refusal(const char *bytes) {
  feed_t feed;
  feed_init(&feed, &feed_limits);
  feed_all(&feed, bytes);
  int status = feed.defect;
  if (status == 0) assert_true(feed.h1.has_header);
  feed_done(&feed);
  return status;
}

static int line_refusal(const char *line) {
  char bytes[500];
  snprintf(bytes, sizeof(bytes), "%s\r\nHost: h\r\n\r\n", line);
  return refusal(bytes);
}

static int field_refusal(const char *field) {
  char bytes[500];
  snprintf(bytes, sizeof(bytes), "POST / HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n",
           field);
  return refusal(bytes);
}

static int host_refusal(const char *host) {
  char bytes[500];
  snprintf(bytes, sizeof(bytes), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host);
  return refusal(bytes);
}

static void srv_144_a_request_line_is_three_words(void **state) {
  (void)state;
  assert_int_equal(line_refusal("GET / HTTP/1.1"), 0);
  assert_int_equal(line_refusal("GET / HTTP/1.0"), 0);
  assert_int_equal(line_refusal("GET  / HTTP/1.1"), 400);
  assert_int_equal(line_refusal("GET /  HTTP/1.1"), 400);
  assert_int_equal(line_refusal("GET / HTTP/1.1 "), 400);
  assert_int_equal(line_refusal("GET /a b HTTP/1.1"), 400);
}

static void srv_147_versions(void **state) {
  (void)state;
  assert_int_equal(line_refusal("GET / HTTP/1.2"), 505);
  assert_int_equal(line_refusal("GET / HTTP/3.0"), 505);
  assert_int_equal(line_refusal("GET / HTTP/1.10"), 400);
  assert_int_equal(line_refusal("GET / http/1.1"), 400);
  assert_int_equal(line_refusal("GET / HTTP/11"), 400);
}

static void methods_that_nobody_knows_are_not_implemented(void **state) {
  (void)state;
  assert_int_equal(line_refusal("FOO / HTTP/1.1"), 501);
  assert_int_equal(line_refusal("get / HTTP/1.1"), 501);
  assert_int_equal(line_refusal("G(T / HTTP/1.1"), 400);
  assert_true(dusk__strict_is_http("PLAY rtsp://h HTTP/1.1", 22));
  assert_false(dusk__strict_is_http("PLAY rtsp://h RTSP/1.0", 22));
  assert_false(dusk__strict_is_http("PLAY", 4));
}

static void srv_151_only_connect_needs_no_host(void **state) {
  (void)state;
  assert_int_equal(refusal("CONNECT h:80 HTTP/1.1\r\n\r\n"), 0);
  assert_int_equal(refusal("OPTIONS * HTTP/1.1\r\n\r\n"), 400);
}

static void targets_have_their_forms(void **state) {
  (void)state;
  assert_int_equal(line_refusal("OPTIONS * HTTP/1.1"), 0);
  assert_int_equal(line_refusal("GET * HTTP/1.1"), 400);
  assert_int_equal(line_refusal("CONNECT h:80 HTTP/1.1"), 0);
  assert_int_equal(line_refusal("CONNECT h HTTP/1.1"), 400);
  assert_int_equal(line_refusal("CONNECT h: HTTP/1.1"), 400);
  assert_int_equal(line_refusal("GET http://h HTTP/1.1"), 0);
  assert_int_equal(line_refusal("GET http://h:80/a?b HTTP/1.1"), 0);
  assert_int_equal(line_refusal("GET http:///a HTTP/1.1"), 400);
  assert_int_equal(line_refusal("GET http://u@h/a HTTP/1.1"), 400);
  assert_int_equal(line_refusal("GET /a#b HTTP/1.1"), 400);
  assert_int_equal(line_refusal("GET /a?b#c HTTP/1.1"), 400);
  assert_int_equal(line_refusal("GET http://h#b HTTP/1.1"), 400);
  assert_int_equal(line_refusal("GET /a%2 HTTP/1.1"), 400);
  assert_int_equal(line_refusal("GET /%zz HTTP/1.1"), 400);
  assert_int_equal(line_refusal("GET /a%2f?%zz HTTP/1.1"), 0);
  assert_int_equal(line_refusal("GET http://h/%z HTTP/1.1"), 400);
}

/* Of a target, and whether the path has an escape. */
static void assert_path(const char *line, const char *path, bool has_escape) {
  char bytes[500];
  feed_t feed;
  snprintf(bytes, sizeof(bytes), "%s HTTP/1.1\r\nHost: h\r\n\r\n", line);
  feed_init(&feed, &feed_limits);
  feed_all(&feed, bytes);
  assert_int_equal(feed.defect, 0);
  size_t len;
  const char *at = dusk__h1_path(&feed.h1, &len);
  assert_int_equal(len, strlen(path));
  assert_memory_equal(at, path, len);
  assert_int_equal(feed.h1.has_escape, has_escape);
  feed_done(&feed);
}

static void the_paths_end_is_noted(void **state) {
  (void)state;
  assert_path("GET /", "/", false);
  assert_path("GET /?", "/", false);
  assert_path("GET /a/b", "/a/b", false);
  assert_path("GET /a%2Fb?c=d%20?e", "/a%2Fb", true);
  assert_path("GET /a?%20", "/a", false);
  assert_path("GET /a?b://c/d", "/a", false);
  assert_path("GET http://h", "/", false);
  assert_path("GET http://h?a", "/", false);
  assert_path("GET http://h:8/a%20b?c", "/a%20b", true);
  assert_path("CONNECT h:80", "/", false);
  assert_path("OPTIONS *", "*", false);
}

static void hosts_are_hosts(void **state) {
  static const char *const good[] = {
      "",      "h",        "h:",       "h:80", "1.2.3.4:5",       "[::1]",
      "a%20b", "[v1.a:b]", "[::1]:80", "a,b",  "[fe80::1%25eth0]"};
  static const char *const bad[] = {
      ":80",    "h:8x",   "a b", "a/b",   "u@h",    "[::1",
      "[]",     "[:::1]", "a%2", "[v.a]", "[::1]x", "[fe80::1%eth0]",
      "h:80:80"};
  (void)state;
  for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
    if (host_refusal(good[i])) fail_msg("%s", good[i]);
  for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
    if (host_refusal(bad[i]) != 400) fail_msg("%s", bad[i]);
  assert_int_equal(refusal("GET / HTTP/1.0\r\n\r\n"), 0);
  assert_int_equal(refusal("GET / HTTP/1.1\r\n\r\n"), 400);
  assert_int_equal(field_refusal("Host: h"), 400); /* a second one */
}

static void fields_stand_one_a_line(void **state) {
  (void)state;
  assert_int_equal(field_refusal("A: b"), 0);
  assert_int_equal(field_refusal("A:"), 0);
  assert_int_equal(field_refusal("A : b"), 400);
  assert_int_equal(field_refusal(" A: b"), 400);
  assert_int_equal(field_refusal("A: b\r\n c"), 400);
  assert_int_equal(field_refusal(": b"), 400);
  assert_int_equal(field_refusal("A: b\nC: d"), 400);
  assert_int_equal(field_refusal("A"), 400);
}

static void one_coding_and_one_length(void **state) {
  (void)state;
  assert_int_equal(field_refusal("Transfer-Encoding: chunked"), 0);
  assert_int_equal(field_refusal("Transfer-Encoding: CHUNKED"), 0);
  assert_int_equal(field_refusal("Transfer-Encoding: gzip, chunked"), 501);
  assert_int_equal(field_refusal("Transfer-Encoding: chunked\r\n"
                                 "Content-Length: 3"),
                   400);
  assert_int_equal(refusal("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n"
                           "\r\n"),
                   400);
}

static void srv_190_trailers_that_are_no_trailers(void **state) {
  (void)state;
  assert_int_equal(field_refusal("Transfer-Encoding: chunked\r\n"
                                 "Trailer: A, Content-Lengths, X-Trailer"),
                   0);
  assert_int_equal(field_refusal("Transfer-Encoding: chunked\r\n"
                                 "Trailer: A,\tTRAILER"),
                   400);
  assert_int_equal(field_refusal("Trailer: Content-Length\r\n"
                                 "Transfer-Encoding: chunked"),
                   400);
  assert_int_equal(field_refusal("Transfer-Encoding: chunked\r\nTrailer:"), 0);
  assert_int_equal(field_refusal("Trailer: Transfer-Encoding"), 0);
}

/* Whether the connection is to be kept. */
static bool keeps(const char *bytes) {
  feed_t feed;
  feed_init(&feed, &feed_limits);
  feed_all(&feed, bytes);
  assert_int_equal(feed.defect, 0);
  bool keep_alive = feed.h1.keep_alive;
  feed_done(&feed);
  return keep_alive;
}

static void options_of_connection_count_in_any_list(void **state) {
  (void)state;
  assert_true(keeps("GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
  assert_false(keeps("GET / HTTP/1.1\r\nHost: h\r\nConnection: Close\r\n\r\n"));
  assert_false(keeps("GET / HTTP/1.1\r\nHost: h\r\nConnection: a,\tclose\r\n"
                     "\r\n"));
  assert_false(keeps("GET / HTTP/1.0\r\n\r\n"));
  assert_true(keeps("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
  assert_false(keeps("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n"
                     "\r\n"));
}

static void expectations(void **state) {
  (void)state;
  feed_t feed;
  feed_init(&feed, &feed_limits);
  feed_all(&feed, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\n"
                  "Content-Length: 3\r\n\r\n");
  assert_true(feed.h1.expects_continue);
  feed_done(&feed);
  assert_int_equal(field_refusal("Expect: 200-ok"), 417);
  feed_init(&feed, &feed_limits); /* who speaks 1.0 can't mean it */
  feed_all(&feed, "POST / HTTP/1.0\r\nExpect: more\r\n\r\n");
  assert_int_equal(feed.defect, 0);
  assert_false(feed.h1.expects_continue);
  feed_done(&feed);
}

static dusk__extension_t extension(const char *text) {
  return dusk__strict_extension(DUSK__EXTENSION_EMPTY, text, strlen(text));
}

static void chunk_extensions_are_tokens_or_quoted(void **state) {
  (void)state;
  assert_int_equal(extension(""), DUSK__EXTENSION_EMPTY);
  assert_int_equal(extension("abc"), DUSK__EXTENSION_TOKEN);
  assert_int_equal(extension("a c"), DUSK__EXTENSION_BAD);
  assert_int_equal(extension("\"a c"), DUSK__EXTENSION_IN_QUOTES);
  assert_int_equal(extension("\"a \\"), DUSK__EXTENSION_ESCAPE);
  assert_int_equal(extension("\"a \\\"\""), DUSK__EXTENSION_QUOTED);
  assert_int_equal(extension("\"a\"b"), DUSK__EXTENSION_BAD);
  assert_int_equal(extension("\"a\rb\""), DUSK__EXTENSION_BAD);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(srv_144_a_request_line_is_three_words),
      cmocka_unit_test(srv_147_versions),
      cmocka_unit_test(methods_that_nobody_knows_are_not_implemented),
      cmocka_unit_test(srv_151_only_connect_needs_no_host),
      cmocka_unit_test(targets_have_their_forms),
      cmocka_unit_test(the_paths_end_is_noted),
      cmocka_unit_test(hosts_are_hosts),
      cmocka_unit_test(fields_stand_one_a_line),
      cmocka_unit_test(one_coding_and_one_length),
      cmocka_unit_test(srv_190_trailers_that_are_no_trailers),
      cmocka_unit_test(options_of_connection_count_in_any_list),
      cmocka_unit_test(expectations),
      cmocka_unit_test(chunk_extensions_are_tokens_or_quoted),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
