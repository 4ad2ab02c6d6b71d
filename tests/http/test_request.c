/* What is made of a request's parts: lengths and addresses. */
#include "house.h"
#include "request.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

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
      house_test(srv_175_without_a_limit_a_length_has_63_bits),
      house_test(srv_170_a_handler_gets_the_asterisk),
      house_test(srv_015_addresses_have_one_text),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
