/* Cookies as they come, and as they are set. Which of a field's are taken is in
 * test_pairs.c. */
#include "house.h"

#include "alloc.h"

#include <stdio.h>
#include <string.h>

static void let_go(loopback_t *lb) {
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
}

/* -- Those that came ------------------------------------------------------- */

static dusk_request_t *hold_fields(loopback_t *lb, const char *fields) {
  static char text[1 << 16];
  snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: h\r\n%s\r\n", fields);
  end_all(lb); /* the one before */
  hold(lb, DEFAULTS, text);
  return lb->held.req;
}

static void cookies_of_all_fields_come_in_order(void **state) {
  loopback_t *lb = *state;
  dusk_request_t *req =
      hold_fields(lb, "Cookie: a=1; sid=\"x y\"\r\n"
                      "Set-Cookie: no=1\r\nCookie2: no=2\r\n"
                      "cookie: b=2; a=3; bad name=4; c=%20; d\r\n"
                      "COOKIE:\r\n");
  static const char *const wanted[][2] = {
      {"a", "1"}, {"sid", "x y"}, {"b", "2"},
      {"a", "3"}, {"c", "%20"},   {"d", ""},
  };
  const dusk_values_t *cookies = dusk_request_cookies(req);
  const char *name, *value;
  for (size_t i = 0; i < 6; i++) {
    assert_true(dusk_values_at(cookies, i, &name, &value));
    assert_string_equal(name, wanted[i][0]);
    assert_string_equal(value, wanted[i][1]);
  }
  assert_false(dusk_values_at(cookies, 6, &name, &value));
  assert_int_equal(dusk_values_err(cookies), 0);
  assert_string_equal(dusk_request_cookie(req, "a"), "1");
  assert_null(dusk_request_cookie(req, "no"));
  assert_null(dusk_request_cookie(req, "A"));
  assert_null(dusk_request_cookie(req, NULL));
  size_t at = 0;
  assert_string_equal(dusk_values_next(cookies, "a", &at), "1");
  assert_string_equal(dusk_values_next(cookies, "a", &at), "3");
  /* The field itself is as it was. */
  assert_string_equal(dusk_request_header(req, "Cookie"), "a=1; sid=\"x y\"");
  let_go(lb);
}

static void no_field_has_no_cookies(void **state) {
  loopback_t *lb = *state;
  const char *name, *value;
  dusk_request_t *req = hold_fields(lb, "");
  assert_non_null(dusk_request_cookies(req));
  assert_false(dusk_values_at(dusk_request_cookies(req), 0, &name, &value));
  assert_null(dusk_request_cookie(req, "a"));
  let_go(lb);
}

static void each_request_has_its_own(void **state) {
  loopback_t *lb = *state;
  int client =
      hold(lb, DEFAULTS, "GET / HTTP/1.1\r\nHost: h\r\nCookie: a=1\r\n\r\n");
  const dusk_values_t *cookies = dusk_request_cookies(lb->held.req);
  assert_ptr_equal(dusk_request_cookies(lb->held.req), cookies);
  assert_string_equal(dusk_request_cookie(lb->held.req, "a"), "1");
  let_go(lb);
  hold_next(lb, client, GET);
  assert_null(dusk_request_cookie(lb->held.req, "a"));
  let_go(lb);
}

/* Go: httpcookiemaxnum. */
static void beyond_three_thousand_there_are_none(void **state) {
  loopback_t *lb = *state;
  enum { MANY = 3000 };
  static char fields[4 * MANY + 64] = "Cookie: ";
  char *at = fields + 8;
  for (size_t i = 0; i < MANY; i++, at += 4)
    memcpy(at, "a=1;", 4);
  memcpy(at - 1, "\r\n", 3);
  dusk_request_t *req = hold_fields(lb, fields);
  const char *name, *value;
  assert_true(
      dusk_values_at(dusk_request_cookies(req), MANY - 1, &name, &value));
  let_go(lb);
  memcpy(at + 1, "Cookie: b=2\r\n", 14);
  req = hold_fields(lb, fields);
  assert_int_equal(dusk_values_err(dusk_request_cookies(req)), UV_E2BIG);
  assert_null(dusk_request_cookie(req, "b"));
  let_go(lb);
}

static void want_of_memory_is_told(void **state) {
  loopback_t *lb = *state;
  static char fields[4000] = "Cookie: long=";
  memset(fields + 13, 'x', sizeof(fields) - 16);
  memcpy(fields + sizeof(fields) - 3, "\r\n", 3);
  dusk_request_t *req = hold_fields(lb, fields);
  alloc_fail_at(1);
  assert_null(dusk_request_cookies(req));
  alloc_fail_at(1);
  assert_null(dusk_request_cookie(req, "long"));
  assert_int_equal(strlen(dusk_request_cookie(req, "long")), 4000 - 16);
  let_go(lb);
}

/* -- Those that are set ---------------------------------------------------- */

typedef struct set {
  dusk_cookie_t cookie;
  const char *field; /* NULL: it is refused */
} set_t;

#define INSTANT 1257894000 /* Go: time.Date(2009, 11, 10, 23, 0, 0, 0, UTC) */
#define LETTERS63                                                              \
  "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk"

static const char tilde[] = "~\x7f";

/* Go: TestWriteSetCookies, TestCookieValid; RFC 6265bis, 4.1.3, 5.7. */
static const set_t sets[] = {
    {{.name = "n", .value = "v"}, "n=v"},
    {{.name = "n"}, "n="},
    {{.name = "n", .value = ""}, "n="},
    {{.name = "n", .value = "a=b&c==%20"}, "n=a=b&c==%20"},
    {{.name = "n", .value = "a b"}, "n=\"a b\""},
    {{.name = "n", .value = "a,b"}, "n=\"a,b\""},
    {{.name = "n", .value = " "}, "n=\" \""},
    {{.name = "n", .value = "v", .max_age_s = 3600}, "n=v; Max-Age=3600"},
    {{.name = "n", .value = "v", .max_age_s = INT64_MAX},
     "n=v; Max-Age=9223372036854775807"},
    {{.name = "n", .max_age_s = -1}, "n=; Max-Age=0"},
    {{.name = "n", .max_age_s = INT64_MIN}, "n=; Max-Age=0"},
    {{.name = "n", .value = "v", .expires_s = INSTANT},
     "n=v; Expires=Tue, 10 Nov 2009 23:00:00 GMT"},
    {{.name = "n", .value = "v", .expires_s = 1},
     "n=v; Expires=Thu, 01 Jan 1970 00:00:01 GMT"},
    {{.name = "n", .value = "v", .expires_s = -11644473600},
     "n=v; Expires=Mon, 01 Jan 1601 00:00:00 GMT"},
    {{.name = "n", .value = "v", .expires_s = 253402300799},
     "n=v; Expires=Fri, 31 Dec 9999 23:59:59 GMT"},
    {{.name = "n", .value = "v", .path = "/a b,c"}, "n=v; Path=/a b,c"},
    {{.name = "n", .value = "v", .path = ""}, "n=v"},
    {{.name = "n", .value = "v", .domain = "example.org"},
     "n=v; Domain=example.org"},
    {{.name = "n", .value = "v", .domain = ".example.org"},
     "n=v; Domain=example.org"},
    {{.name = "n", .value = "v", .domain = ""}, "n=v"},
    {{.name = "n", .value = "v", .domain = "127.0.0.1"},
     "n=v; Domain=127.0.0.1"},
    {{.name = "n", .value = "v", .domain = "xn--a.b-c.1x"},
     "n=v; Domain=xn--a.b-c.1x"},
    {{.name = "n", .value = "v", .domain = LETTERS63 ".org"},
     "n=v; Domain=" LETTERS63 ".org"},
    {{.name = "n", .value = "v", .http_only = true}, "n=v; HttpOnly"},
    {{.name = "n", .value = "v", .secure = true}, "n=v; Secure"},
    {{.name = "n", .value = "v", .same_site = DUSK_SAME_SITE_LAX},
     "n=v; SameSite=Lax"},
    {{.name = "n", .value = "v", .same_site = DUSK_SAME_SITE_STRICT},
     "n=v; SameSite=Strict"},
    {{.name = "n",
      .value = "v",
      .same_site = DUSK_SAME_SITE_NONE,
      .secure = true},
     "n=v; Secure; SameSite=None"},
    {{.name = "n", .value = "v", .secure = true, .partitioned = true},
     "n=v; Secure; Partitioned"},
    {{.name = "__Secure-n", .value = "v", .secure = true},
     "__Secure-n=v; Secure"},
    {{.name = "__Host-n", .value = "v", .secure = true, .path = "/"},
     "__Host-n=v; Path=/; Secure"},
    {{.name = "n",
      .value = "v",
      .path = "/p",
      .domain = "a.b",
      .expires_s = INSTANT,
      .max_age_s = 1,
      .secure = true,
      .http_only = true,
      .partitioned = true,
      .same_site = DUSK_SAME_SITE_STRICT},
     "n=v; Path=/p; Domain=a.b; Expires=Tue, 10 Nov 2009 23:00:00 GMT; "
     "Max-Age=1; HttpOnly; Secure; SameSite=Strict; Partitioned"},

    {{.value = "v"}, NULL},
    {{.name = "", .value = "v"}, NULL},
    {{.name = "a b", .value = "v"}, NULL},
    {{.name = "a=b", .value = "v"}, NULL},
    {{.name = "a;b", .value = "v"}, NULL},
    {{.name = "a\r\nX: y", .value = "v"}, NULL},
    {{.name = "\xc3\xa9", .value = "v"}, NULL},
    {{.name = "n", .value = "a\"b"}, NULL},
    {{.name = "n", .value = "\"v\""}, NULL},
    {{.name = "n", .value = "a;b"}, NULL},
    {{.name = "n", .value = "a; HttpOnly"}, NULL},
    {{.name = "n", .value = "a\\b"}, NULL},
    {{.name = "n", .value = "a\tb"}, NULL},
    {{.name = "n", .value = "a\r\nX: y"}, NULL},
    {{.name = "n", .value = tilde}, NULL},
    {{.name = "n", .value = "\xc3\xa9"}, NULL},
    {{.name = "n", .path = "/a;b"}, NULL},
    {{.name = "n", .path = "/a\nb"}, NULL},
    {{.name = "n", .path = "/\xc3\xa9"}, NULL},
    {{.name = "n", .path = tilde}, NULL},
    {{.name = "n", .domain = "."}, NULL},
    {{.name = "n", .domain = "..a"}, NULL},
    {{.name = "n", .domain = "a..b"}, NULL},
    {{.name = "n", .domain = "-a.b"}, NULL},
    {{.name = "n", .domain = "a-.b"}, NULL},
    {{.name = "n", .domain = "a.b-"}, NULL},
    {{.name = "n", .domain = "a_b.c"}, NULL},
    {{.name = "n", .domain = "a b"}, NULL},
    {{.name = "n", .domain = "a.b:80"}, NULL},
    {{.name = "n", .domain = "a.b; Secure"}, NULL},
    {{.name = "n", .domain = "1.2.3"}, NULL},
    {{.name = "n", .domain = "1.2.3.256"}, NULL},
    {{.name = "n", .domain = ".1.2.3.4"}, NULL},
    {{.name = "n", .domain = "::1"}, NULL},
    {{.name = "n", .domain = "[::1]"}, NULL},
    {{.name = "n",
      .domain = "b\xc3\xbc"
                "cher.de"},
     NULL},
    {{.name = "n", .domain = LETTERS63 "l.org"}, NULL},
    {{.name = "n",
      .domain = LETTERS63 "." LETTERS63 "." LETTERS63 "." LETTERS63 ".a"},
     NULL},
    {{.name = "n", .expires_s = -11644473601}, NULL},
    {{.name = "n", .expires_s = 253402300800}, NULL},
    {{.name = "n", .expires_s = INT64_MAX}, NULL}, /* milliseconds, say */
    {{.name = "n", .expires_s = INT64_MIN}, NULL},
    {{.name = "n", .same_site = (dusk_same_site_t)4}, NULL},
    {{.name = "n", .same_site = (dusk_same_site_t)-1}, NULL},
    {{.name = "n", .same_site = DUSK_SAME_SITE_NONE}, NULL},
    {{.name = "n", .partitioned = true}, NULL},
    {{.name = "__Secure-n"}, NULL},
    {{.name = "__secure-n"}, NULL},
    {{.name = "__Host-n", .path = "/"}, NULL},
    {{.name = "__Host-n", .secure = true}, NULL},
    {{.name = "__Host-n", .secure = true, .path = "/a"}, NULL},
    {{.name = "__HOST-n", .secure = true, .path = "/a"}, NULL},
    {{.name = "__Host-n", .secure = true, .path = "/", .domain = "a.b"}, NULL},
};

static void cookies_are_set_or_refused(void **state) {
  loopback_t *lb = *state;
  hold(lb, DEFAULTS, GET);
  for (size_t i = 0; i < sizeof(sets) / sizeof(*sets); i++) {
    const char *wanted = sets[i].field;
    assert_int_equal(dusk_response_remove_header(lb->held.res, "Set-Cookie"),
                     0);
    int err = dusk_response_set_cookie(lb->held.res, &sets[i].cookie);
    const char *field = dusk_response_get_header(lb->held.res, "Set-Cookie");
    if (err != (wanted ? 0 : UV_EINVAL) || !field != !wanted ||
        (wanted && strcmp(field, wanted) != 0))
      fail_msg("%zu: %d %s", i, err, field);
  }
  assert_int_equal(dusk_response_set_cookie(lb->held.res, NULL), UV_EINVAL);
  let_go(lb);
}

static void each_cookie_has_its_field(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  dusk_response_t *res = lb->held.res;
  char value[] = "1";
  assert_int_equal(dusk_response_set_cookie(
                       res, &(dusk_cookie_t){.name = "a", .value = value}),
                   0);
  value[0] = '2'; /* it was copied */
  assert_int_equal(dusk_response_set_cookie(
                       res, &(dusk_cookie_t){.name = "b", .value = value}),
                   0);
  assert_int_equal(dusk_response_set_cookie(
                       res, &(dusk_cookie_t){.name = "a", .value = "3"}),
                   0);
  assert_int_equal(dusk_response_set_cookie(
                       res, &(dusk_cookie_t){.name = "c", .value = ";"}),
                   UV_EINVAL);
  assert_int_equal(dusk_response_end(res, "body", 4), 0);
  const char *answer = hear(lb, client, "body");
  assert_has(answer, "\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
                     "Set-Cookie: a=3\r\n");
  assert_int_equal(count_of(answer, "Set-Cookie"), 3);
}

/* Which drops it without a word, as it drops a cookie of more. */
static void a_cookie_is_no_larger_than_browsers_keep(void **state) {
  loopback_t *lb = *state;
  static char value[4096 + 1], path[1024 + 2] = "/";
  hold(lb, DEFAULTS, GET);
  dusk_response_t *res = lb->held.res;
  dusk_cookie_t cookie = {.name = "n",
                          .value = value,
                          .path = path,
                          .domain = LETTERS63 "." LETTERS63 "." LETTERS63
                                              "." LETTERS63,
                          .expires_s = INSTANT,
                          .max_age_s = INT64_MAX,
                          .secure = true,
                          .http_only = true,
                          .partitioned = true,
                          .same_site = DUSK_SAME_SITE_STRICT};
  memset(value, ',', 4095);
  memset(path + 1, 'p', 1023);
  assert_int_equal(dusk_response_set_cookie(res, &cookie), 0);
  assert_int_equal(strlen(dusk_response_get_header(res, "Set-Cookie")), 5510);
  value[4095] = 'v';
  assert_int_equal(dusk_response_set_cookie(res, &cookie), UV_ENOBUFS);
  value[4095] = '\0';
  path[1024] = 'p';
  assert_int_equal(dusk_response_set_cookie(res, &cookie), UV_ENOBUFS);
  let_go(lb);
}

static void what_the_response_refuses_is_told(void **state) {
  loopback_t *lb = *state;
  static char value[4000];
  dusk_cookie_t cookie = {.name = "n", .value = value};
  memset(value, 'v', sizeof(value) - 1);
  hold(lb, DEFAULTS, GET);
  dusk_response_t *res = lb->held.res;
  alloc_fail_at(1);
  assert_int_equal(dusk_response_set_cookie(res, &cookie), UV_ENOMEM);
  assert_null(dusk_response_get_header(res, "Set-Cookie"));
  for (int i = 0; i < 8; i++)
    assert_int_equal(dusk_response_set_cookie(res, &cookie), 0);
  assert_int_equal(dusk_response_set_cookie(res, &cookie), UV_ENOBUFS);
  assert_int_equal(dusk_response_write(res, NULL, 0), 0);
  cookie.value = "v";
  assert_int_equal(dusk_response_set_cookie(res, &cookie), DUSK_EHEADERSENT);
  let_go(lb);
}

/* A struct of an older header, without its last fields, and of a newer one. */
static void structs_of_other_sizes_are_taken(void **state) {
  loopback_t *lb = *state;
  struct {
    dusk_cookie_t cookie;
    uint64_t more;
  } newer = {.cookie = {.name = "n", .value = "v"}};
  hold(lb, DEFAULTS, GET);
  dusk_response_t *res = lb->held.res;
  assert_int_equal(
      dusk_response_set_cookie_sized(res, &newer.cookie, sizeof(newer)), 0);
  newer.more = 1;
  assert_int_equal(
      dusk_response_set_cookie_sized(res, &newer.cookie, sizeof(newer)),
      UV_EINVAL);
  assert_int_equal(dusk_response_remove_header(lb->held.res, "Set-Cookie"), 0);
  newer.cookie.max_age_s = 5;
  assert_int_equal(dusk_response_set_cookie_sized(
                       res, &newer.cookie, offsetof(dusk_cookie_t, max_age_s)),
                   0);
  assert_string_equal(dusk_response_get_header(res, "Set-Cookie"), "n=v");
  let_go(lb);
}

/* What one sets comes back as it was. */
static void what_was_set_is_read(void **state) {
  loopback_t *lb = *state;
  static const char value[] =
      " !#$%&'()*+,-./0123456789:<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`"
      "abcdefghijklmnopqrstuvwxyz{|}~ ";
  hold(lb, DEFAULTS, GET);
  assert_int_equal(
      dusk_response_set_cookie(lb->held.res,
                               &(dusk_cookie_t){.name = "n", .value = value}),
      0);
  char fields[256];
  snprintf(fields, sizeof(fields), "Cookie: %s\r\n",
           dusk_response_get_header(lb->held.res, "Set-Cookie"));
  let_go(lb);
  assert_string_equal(dusk_request_cookie(hold_fields(lb, fields), "n"), value);
  let_go(lb);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(cookies_of_all_fields_come_in_order),
      house_test(no_field_has_no_cookies),
      house_test(each_request_has_its_own),
      house_test(beyond_three_thousand_there_are_none),
      house_test(want_of_memory_is_told),
      house_test(cookies_are_set_or_refused),
      house_test(each_cookie_has_its_field),
      house_test(a_cookie_is_no_larger_than_browsers_keep),
      house_test(what_the_response_refuses_is_told),
      house_test(structs_of_other_sizes_are_taken),
      house_test(what_was_set_is_read),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
