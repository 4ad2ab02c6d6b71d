/* Socket addresses as text, as a peer's, and read from HOST:PORT. */
#include "address.h"

#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <uv.h>

static dusk__address_t address_of(const char *host, int port) {
  dusk__address_t address = {0};
  if (strchr(host, ':'))
    assert_int_equal(uv_ip6_addr(host, port, &address.in6), 0);
  else
    assert_int_equal(uv_ip4_addr(host, port, &address.in), 0);
  return address;
}

/* -- Text ------------------------------------------------------------------ */

static void expect_text(const dusk__address_t *address, const char *wanted) {
  char text[DUSK__ADDRESS_TEXT_BYTES];
  dusk__address_text(&address->any, text, sizeof(text));
  assert_string_equal(text, wanted);
}

static void an_address_is_told_as_it_is_written(void **state) {
  static const struct {
    const char *host;
    int port;
    const char *text;
  } rows[] = {
      {"127.0.0.1", 80, "127.0.0.1:80"},
      {"0.0.0.0", 65535, "0.0.0.0:65535"},
      {"::1", 80, "[::1]:80"},
      {"::", 0, "[::]:0"},
      {"2001:db8::1", 8080, "[2001:db8::1]:8080"},
      {"::ffff:192.0.2.1", 80, "192.0.2.1:80"}, /* of a dual-stack socket */
  };
  (void)state;
  for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
    dusk__address_t address = address_of(rows[i].host, rows[i].port);
    expect_text(&address, rows[i].text);
  }
}

static void a_link_local_address_has_its_zone(void **state) {
  (void)state;
  char name[UV_IF_NAMESIZE], wanted[DUSK__ADDRESS_TEXT_BYTES];
  size_t len = sizeof(name);
  dusk__address_t address = address_of("fe80::1", 80);
  address.in6.sin6_scope_id = 1;
  if (uv_if_indextoname(1, name, &len) == 0) {
    snprintf(wanted, sizeof(wanted), "[fe80::1%%%s]:80", name);
    expect_text(&address, wanted);
  }
  address.in6.sin6_scope_id = UINT32_MAX; /* of an interface that has gone */
  expect_text(&address, "[fe80::1%4294967295]:80");
}

static void a_unix_sockets_client_has_no_address(void **state) {
  (void)state;
  dusk__address_t address = {.any.sa_family = AF_UNIX};
  expect_text(&address, "unix");
}

static void a_text_is_cut_where_there_is_no_room(void **state) {
  (void)state;
  char text[8];
  dusk__address_t address = address_of("192.0.2.1", 80);
  dusk__address_text(&address.any, text, sizeof(text));
  assert_string_equal(text, "192.0.2");
}

/* -- Hosts ----------------------------------------------------------------- */

static bool is_same_host(const dusk__address_t *one,
                         const dusk__address_t *other) {
  uint8_t hosts[2][16];
  dusk__address_host(one, hosts[0]);
  dusk__address_host(other, hosts[1]);
  return memcmp(hosts[0], hosts[1], 16) == 0;
}

static void a_host_is_an_address_without_its_port(void **state) {
  (void)state;
  dusk__address_t v4 = address_of("192.0.2.1", 80);
  dusk__address_t v4_again = address_of("192.0.2.1", 81);
  dusk__address_t v4_other = address_of("192.0.2.2", 80);
  dusk__address_t mapped = address_of("::ffff:192.0.2.1", 82);
  dusk__address_t v6 = address_of("2001:db8::1", 80);
  dusk__address_t v6_again = address_of("2001:db8::1", 81);
  dusk__address_t local = {.any.sa_family = AF_UNIX};
  static const uint8_t none[16];
  uint8_t host[16];
  assert_true(is_same_host(&v4, &v4_again));
  assert_true(is_same_host(&v4, &mapped));
  assert_true(is_same_host(&v6, &v6_again));
  assert_false(is_same_host(&v4, &v4_other));
  assert_false(is_same_host(&v4, &v6));
  assert_false(is_same_host(&v4, &local));
  dusk__address_host(&local, host);
  assert_memory_equal(host, none, sizeof(none));
}

/* -- HOST:PORT ------------------------------------------------------------- */

static void a_host_and_a_port_are_split(void **state) {
  static const struct {
    const char *text, *host, *port;
  } rows[] = {
      {"127.0.0.1:80", "127.0.0.1", "80"},
      {"localhost:0", "localhost", "0"},
      {":8080", "", "8080"},
      {"[::1]:65535", "::1", "65535"},
      {"[fe80::1%lo]:1", "fe80::1%lo", "1"},
      {"[]:1", "", "1"},
      {"h:00080", "h", "00080"},
      {"fifteen-letters:1", "fifteen-letters", "1"},
  };
  (void)state;
  for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
    char host[16];
    const char *port;
    assert_int_equal(
        dusk__address_split(rows[i].text, host, sizeof(host), &port), 0);
    assert_string_equal(host, rows[i].host);
    assert_string_equal(port, rows[i].port);
    assert_true(port > rows[i].text &&
                port < rows[i].text + strlen(rows[i].text));
  }
}

static void what_is_neither_is_refused(void **state) {
  static const char *const texts[] = {
      "",         "host",     "host:",   "host:x",  "host:80x",
      "host:-1",  "host:+1",  "host: 1", "::1",     "::1:80",
      "[::1]",    "[::1:80",  "[:80",    "h:65536", "h:99999",
      "h:000080", "[::1]x:1", "h:1:2",   "[::1]:",  "sixteen--letters:1",
  };
  (void)state;
  for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
    char host[16];
    const char *port = NULL;
    if (dusk__address_split(texts[i], host, sizeof(host), &port) != UV_EINVAL)
      fail_msg("'%s' was taken", texts[i]);
    assert_null(port);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_address_is_told_as_it_is_written),
      cmocka_unit_test(a_link_local_address_has_its_zone),
      cmocka_unit_test(a_unix_sockets_client_has_no_address),
      cmocka_unit_test(a_text_is_cut_where_there_is_no_room),
      cmocka_unit_test(a_host_is_an_address_without_its_port),
      cmocka_unit_test(a_host_and_a_port_are_split),
      cmocka_unit_test(what_is_neither_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
