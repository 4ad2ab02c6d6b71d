/* What is made of a request's parts: query parameters and addresses. */
#include "house.h"
#include "request.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

/* -- Query ----------------------------------------------------------------- */

typedef struct parameter {
  const char *query;
  const char *name;
  int result; /* the length, or an error */
  const char *value;
} parameter_t;

static const parameter_t parameters[] = {
    {"a=1&b=2", "b", 1, "2"},
    {"a&b", "a", 0, ""},
    {"a=1&a=2", "a", 1, "1"},
    {"a=x+y%21", "a", 4, "x y!"},
    {"user%5Bname%5D=x", "user[name]", 1, "x"},
    {"user[name]=x", "user[name]", 1, "x"},
    {"a+b=1", "a b", 1, "1"},
    {"a%20b=1", "a b", 1, "1"},
    {"a%2bb=1", "a+b", 1, "1"},
    {"a+b=1", "a+b", UV_ENOENT, ""},
    {"%61=1", "a", 1, "1"},
    {"%61=1", "%61", UV_ENOENT, ""},
    {"a%3Db=1", "a=b", 1, "1"},
    {"a%26b=1", "a&b", 1, "1"},
    {"%C3%A9=1", "\xc3\xa9", 1, "1"},
    {"ab=1", "a", UV_ENOENT, ""},
    {"a=1", "ab", UV_ENOENT, ""},
    {"A=1", "a", UV_ENOENT, ""},
    {"a%zz=1&a=2", "a", 1, "2"},
    {"%&a%=1&a%2=1", "a", UV_ENOENT, ""},
    {"a%=1", "a%", UV_ENOENT, ""},
    {"a%00=1", "a", UV_ENOENT, ""},
    {"a=%zz", "a", UV_EINVAL, ""},
    {"a=1%00", "a", UV_EINVAL, ""},
    {"a=%2&b=41", "a", UV_EINVAL, ""},
    {"a=0123456", "a", 7, "0123456"},
    {"a=01234567", "a", UV_ENOBUFS, ""},
};

static void answer_parameter(dusk_response_t *res, dusk_request_t *req,
                             void *arg) {
  const parameter_t *wanted = arg;
  char value[8] = "";
  int result =
      dusk_request_query_value(req, wanted->name, value, sizeof(value));
  if (result != wanted->result ||
      (result >= 0 && strcmp(value, wanted->value) != 0))
    fail_msg("%s, %s: %d \"%s\"", wanted->query, wanted->name, result, value);
  dusk_response_end(res, NULL, 0);
}

static void query_names_are_compared_decoded(void **state) {
  loopback_t *lb = *state;
  for (size_t i = 0; i < sizeof(parameters) / sizeof(*parameters); i++) {
    serve(lb, (dusk_server_config_t){.handler = answer_parameter,
                                     .handler_arg = (void *)&parameters[i]});
    char text[256];
    snprintf(text, sizeof(text), "GET /?%s HTTP/1.1\r\nHost: h\r\n\r\n",
             parameters[i].query);
    int client = connect_client(lb);
    say(client, text);
    assert_has(hear(lb, client, "\r\n\r\n"), "200 OK");
    end_all(lb);
  }
}

/* -- Length ---------------------------------------------------------------- */

static void keep_length(dusk_response_t *res, dusk_request_t *req, void *arg) {
  *(uint64_t *)arg = dusk_request_content_length(req);
  dusk_response_end(res, NULL, 0);
}

/* DUSK_OFF, which a chunked body has, can't be declared. */
static void srv_175_without_a_limit_a_length_has_63_bits(void **state) {
  loopback_t *lb = *state;
  uint64_t length = 0;
  serve(lb, (dusk_server_config_t){.handler = keep_length,
                                   .handler_arg = &length,
                                   .max_body_bytes = DUSK_OFF});
  static const struct {
    const char *text;
    const char *status;
    uint64_t length;
  } cases[] = {
      {"18446744073709551615", " 400 ", 0},
      {"18446744073709551614", " 400 ", 0},
      {"9223372036854775808", " 400 ", 0},
      {"9223372036854775807", " 200 ", INT64_MAX}, /* SRV-176 */
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    char text[512];
    snprintf(text, sizeof(text),
             "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %s\r\n\r\n",
             cases[i].text);
    int client = connect_client(lb);
    say(client, text);
    assert_has(hear(lb, client, "\r\n\r\n"), cases[i].status);
    assert_true(length == cases[i].length);
    leave(lb, client);
  }
}

/* -- Target ---------------------------------------------------------------- */

static void srv_170_a_handler_gets_the_asterisk(void **state) {
  loopback_t *lb = *state;
  hold(lb, DEFAULTS, "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
  assert_string_equal(dusk_request_target(lb->held.req), "*");
  assert_string_equal(dusk_request_path(lb->held.req), "*");
  dusk_response_end(lb->held.res, NULL, 0);
}

/* -- Addresses ------------------------------------------------------------- */

static void expect_v6(const char *ip, unsigned zone, const char *wanted) {
  struct sockaddr_in6 addr;
  char text[80];
  assert_int_equal(uv_ip6_addr(ip, 65535, &addr), 0);
  addr.sin6_scope_id = zone;
  dusk__address_text((struct sockaddr *)&addr, text, sizeof(text));
  assert_string_equal(text, wanted);
}

static void srv_015_addresses_have_one_text(void **state) {
  (void)state;
  expect_v6("::1", 0, "[::1]:65535");
  expect_v6("::", 0, "[::]:65535");
  expect_v6("::ffff:1.2.3.4", 0, "1.2.3.4:65535");
  expect_v6("fe80::1", 0, "[fe80::1]:65535");
  expect_v6("fe80:1111:1111:1111:1111:1111:1111:1111", 0x7fffffff,
            "[fe80:1111:1111:1111:1111:1111:1111:1111%2147483647]:65535");
  char name[UV_IF_NAMESIZE];
  size_t len = sizeof(name);
  if (uv_if_indextoname(1, name, &len) < 0) skip();
  char wanted[80];
  snprintf(wanted, sizeof(wanted), "[fe80::1%%%s]:65535", name);
  expect_v6("fe80::1", 1, wanted);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(query_names_are_compared_decoded),
      house_test(srv_175_without_a_limit_a_length_has_63_bits),
      house_test(srv_170_a_handler_gets_the_asterisk),
      house_test(srv_015_addresses_have_one_text),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
