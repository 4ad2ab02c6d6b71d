/* What a handler is told of its request's query. What is in a list of values,
 * and what they are as numbers, is in test_pairs.c and test_values.c. */
#include "house.h"

#include "alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static dusk_request_t *hold_query(loopback_t *lb, const char *query) {
  static char text[1 << 16];
  snprintf(text, sizeof(text), "GET /p?%s HTTP/1.1\r\nHost: h\r\n\r\n", query);
  end_all(lb); /* the one before */
  hold(lb, DEFAULTS, text);
  return lb->held.req;
}

static void let_go(loopback_t *lb) {
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
}

/* -- To a buffer ----------------------------------------------------------- */

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
    {"a=%zz&b=1", "a", UV_EINVAL, ""},
    {"a=%zz&a=2", "a", 1, "2"},
    {"a=1%00", "a", UV_EINVAL, ""},
    {"a=%2&b=41", "a", UV_EINVAL, ""},
    {"a=1;b=2", "a", UV_EINVAL, ""},
    {"a=1;b=2", "b", UV_ENOENT, ""},
    {"a=0123456", "a", 7, "0123456"},
    {"a=01234567", "a", UV_ENOBUFS, ""},
    {"a=01234567&a=1", "a", UV_ENOBUFS, ""},
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

static void a_buffer_and_a_name_are_needed(void **state) {
  loopback_t *lb = *state;
  char buf[8];
  dusk_request_t *req = hold_query(lb, "a=1");
  assert_int_equal(dusk_request_query_value(req, NULL, buf, 8), UV_EINVAL);
  assert_int_equal(dusk_request_query_value(req, "a", NULL, 8), UV_EINVAL);
  assert_int_equal(dusk_request_query_value(req, "a", buf, 0), UV_ENOBUFS);
  assert_int_equal(dusk_percent_decode(NULL, buf, 8), UV_EINVAL);
  assert_int_equal(dusk_percent_decode("a", NULL, 8), UV_EINVAL);
  assert_int_equal(dusk_percent_decode("a;b", buf, 8), 3);
  let_go(lb);
}

/* -- As a list ------------------------------------------------------------- */

static void values_are_told_typed_repeated_and_in_order(void **state) {
  loopback_t *lb = *state;
  dusk_request_t *req =
      hold_query(lb, "page=2&tag=a&shift=-3&tag=b+c&all=true&q=%C3%A9");
  uint64_t page = 1;
  int64_t shift = 0;
  bool all = false;
  assert_int_equal(dusk_request_query_uint(req, "page", 1, 1000, &page), 1);
  assert_int_equal(dusk_request_query_int(req, "shift", -9, 9, &shift), 1);
  assert_int_equal(dusk_request_query_bool(req, "all", &all), 1);
  assert_int_equal(page, 2);
  assert_int_equal(shift, -3);
  assert_true(all);
  assert_string_equal(dusk_request_query_get(req, "q"), "\xc3\xa9");
  assert_null(dusk_request_query_get(req, "r"));
  assert_null(dusk_request_query_get(req, NULL));

  const dusk_values_t *values = dusk_request_query_values(req);
  size_t at = 0;
  assert_string_equal(dusk_values_next(values, "tag", &at), "a");
  assert_string_equal(dusk_values_next(values, "tag", &at), "b c");
  assert_null(dusk_values_next(values, "tag", &at));
  const char *name, *value;
  assert_true(dusk_values_at(values, 2, &name, &value));
  assert_string_equal(name, "shift");
  assert_string_equal(value, "-3");
  /* The query itself is as it was. */
  assert_string_equal(dusk_request_query(req),
                      "page=2&tag=a&shift=-3&tag=b+c&all=true&q=%C3%A9");
  let_go(lb);
}

static void what_is_wrong_is_told(void **state) {
  loopback_t *lb = *state;
  dusk_request_t *req = hold_query(lb, "page=x&size=&n=1001&b=50%&c=1;d=2");
  uint64_t n = 1;
  int64_t i = 1;
  bool b = true;
  assert_int_equal(dusk_request_query_uint(req, "page", 1, 9, &n), UV_EINVAL);
  assert_int_equal(dusk_request_query_uint(req, "size", 1, 9, &n), UV_EINVAL);
  assert_int_equal(dusk_request_query_uint(req, "n", 1, 1000, &n), UV_ERANGE);
  assert_int_equal(dusk_request_query_int(req, "b", 1, 9, &i), UV_EINVAL);
  assert_int_equal(dusk_request_query_bool(req, "c", &b), UV_EINVAL);
  assert_int_equal(dusk_request_query_bool(req, "d", &b), 0);
  assert_int_equal(dusk_request_query_uint(req, "none", 1, 9, &n), 0);
  assert_int_equal(dusk_request_query_uint(req, "n", 1, 9, NULL), UV_EINVAL);
  assert_int_equal(dusk_request_query_int(req, NULL, 1, 9, &i), UV_EINVAL);
  assert_true(n == 1 && i == 1 && b);
  assert_int_equal(dusk_values_err(dusk_request_query_values(req)), UV_EINVAL);
  let_go(lb);
}

static void no_query_has_no_values(void **state) {
  loopback_t *lb = *state;
  const char *name, *value;
  hold(lb, DEFAULTS, GET);
  const dusk_values_t *values = dusk_request_query_values(lb->held.req);
  assert_non_null(values);
  assert_int_equal(dusk_values_err(values), 0);
  assert_false(dusk_values_at(values, 0, &name, &value));
  let_go(lb);
}

static void each_request_has_its_own(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, "GET /?a=1 HTTP/1.1\r\nHost: h\r\n\r\n");
  const dusk_values_t *values = dusk_request_query_values(lb->held.req);
  assert_ptr_equal(dusk_request_query_values(lb->held.req), values);
  assert_string_equal(dusk_request_query_get(lb->held.req, "a"), "1");
  let_go(lb);
  hold_next(lb, client, "GET /?b=2 HTTP/1.1\r\nHost: h\r\n\r\n");
  assert_null(dusk_request_query_get(lb->held.req, "a"));
  assert_string_equal(dusk_request_query_get(lb->held.req, "b"), "2");
  let_go(lb);
}

/* What a header of 64 KiB can hold, and what none of Go's may. */
static void many_pairs_are_read_and_too_many_are_told(void **state) {
  loopback_t *lb = *state;
  enum { MANY = 10000 };
  static char query[2 * MANY + 3];
  for (size_t i = 0; i < MANY; i++)
    memcpy(query + 2 * i, "a&", 2);
  query[2 * MANY - 1] = '\0';
  dusk_request_t *req = hold_query(lb, query);
  size_t at = 0;
  size_t count = 0;
  while (dusk_values_next(dusk_request_query_values(req), "a", &at))
    count++;
  assert_int_equal(count, MANY);
  let_go(lb);
  strncat(query, "&b", 3);
  req = hold_query(lb, query);
  bool b;
  assert_int_equal(dusk_values_err(dusk_request_query_values(req)), UV_E2BIG);
  assert_null(dusk_request_query_get(req, "a"));
  assert_int_equal(dusk_request_query_bool(req, "b", &b), UV_E2BIG);
  char buf[8];
  assert_int_equal(dusk_request_query_value(req, "b", buf, sizeof(buf)), 0);
  let_go(lb);
}

static void a_long_value_comes_whole(void **state) {
  loopback_t *lb = *state;
  enum { LEN = 60000 };
  static char query[LEN + 3] = "a=";
  memset(query + 2, 'x', LEN);
  dusk_request_t *req = hold_query(lb, query);
  assert_string_equal(dusk_request_query_get(req, "a"), query + 2);
  let_go(lb);
}

static void want_of_memory_is_told(void **state) {
  loopback_t *lb = *state;
  static char query[4000] = "n=1&long=";
  memset(query + 9, 'x', sizeof(query) - 10);
  dusk_request_t *req = hold_query(lb, query);
  uint64_t n = 7;
  int64_t i = 7;
  bool b = false;
  alloc_fail_at(1);
  assert_int_equal(dusk_request_query_uint(req, "n", 0, 9, &n), UV_ENOMEM);
  alloc_fail_at(1);
  assert_int_equal(dusk_request_query_int(req, "n", 0, 9, &i), UV_ENOMEM);
  alloc_fail_at(1);
  assert_int_equal(dusk_request_query_bool(req, "n", &b), UV_ENOMEM);
  alloc_fail_at(1);
  assert_null(dusk_request_query_get(req, "n"));
  alloc_fail_at(1);
  assert_null(dusk_request_query_values(req));
  assert_true(n == 7 && i == 7 && !b);
  /* It is there when there is memory again. */
  assert_int_equal(dusk_request_query_uint(req, "n", 0, 9, &n), 1);
  assert_int_equal(n, 1);
  let_go(lb);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(query_names_are_compared_decoded),
      house_test(a_buffer_and_a_name_are_needed),
      house_test(values_are_told_typed_repeated_and_in_order),
      house_test(what_is_wrong_is_told),
      house_test(no_query_has_no_values),
      house_test(each_request_has_its_own),
      house_test(many_pairs_are_read_and_too_many_are_told),
      house_test(a_long_value_comes_whole),
      house_test(want_of_memory_is_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
