/* Forms as they are posted. How their text is read is in test_pairs.c and
 * test_values.c. */
#include "house.h"

#include "alloc.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define FORM "application/x-www-form-urlencoded"

typedef struct got {
  int called;
  int status;
  const dusk_values_t *form;
  dusk_request_t *req;
} got_t;

static void on_form(dusk_request_t *req, int status, const dusk_values_t *form,
                    void *arg) {
  got_t *got = arg;
  got->called++;
  got->status = status;
  got->form = form;
  got->req = req;
}

static void let_go(loopback_t *lb) {
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
}

/* Holds a request with those fields, "Content-Type: ..\r\n", and that much of a
 * body. */
static int hold_post(loopback_t *lb, const char *fields, const char *body) {
  static char text[1 << 16];
  snprintf(text, sizeof(text),
           "POST /p?a=query HTTP/1.1\r\nHost: h\r\n%s"
           "Content-Length: %zu\r\n\r\n%s",
           fields, strlen(body), body);
  end_all(lb); /* the one before */
  return hold(lb, DEFAULTS, text);
}

static got_t read_form(loopback_t *lb, size_t max_bytes) {
  got_t got = {0};
  assert_int_equal(dusk_request_form(lb->held.req, max_bytes, on_form, &got),
                   0);
  assert_int_equal(got.called, 0); /* never inside the call */
  AWAIT(lb, got.called);
  assert_int_equal(got.called, 1);
  assert_ptr_equal(got.req, lb->held.req);
  return got;
}

static void a_forms_values_are_told(void **state) {
  loopback_t *lb = *state;
  hold_post(lb, "Content-Type: " FORM "\r\n",
            "name=Ad%C3%A9la+B&age=42&tag=a&tag=b&agree=true&empty=");
  got_t got = read_form(lb, 1000);
  uint64_t age = 0;
  bool agree = false;
  size_t at = 0;
  assert_int_equal(got.status, 0);
  assert_string_equal(dusk_values_get(got.form, "name"), "Ad\xc3\xa9la B");
  assert_int_equal(dusk_values_uint(got.form, "age", 0, 150, &age), 1);
  assert_int_equal(dusk_values_bool(got.form, "agree", &agree), 1);
  assert_int_equal(age, 42);
  assert_true(agree);
  assert_string_equal(dusk_values_next(got.form, "tag", &at), "a");
  assert_string_equal(dusk_values_next(got.form, "tag", &at), "b");
  assert_string_equal(dusk_values_get(got.form, "empty"), "");
  let_go(lb);
}

/* Go: PostForm. */
static void body_and_query_are_apart(void **state) {
  loopback_t *lb = *state;
  hold_post(lb, "Content-Type: " FORM "\r\n", "b=body");
  got_t got = read_form(lb, 1000);
  assert_null(dusk_values_get(got.form, "a"));
  assert_string_equal(dusk_values_get(got.form, "b"), "body");
  assert_string_equal(dusk_request_query_get(lb->held.req, "a"), "query");
  assert_null(dusk_request_query_get(lb->held.req, "b"));
  let_go(lb);
}

static void types_are_told_apart(void **state) {
  loopback_t *lb = *state;
  static const struct {
    const char *type;
    int err;
  } cases[] = {
      {"Content-Type: " FORM "\r\n", 0},
      {"Content-Type: Application/X-WWW-Form-URLEncoded\r\n", 0},
      {"Content-Type: " FORM "; charset=UTF-8\r\n", 0},
      {"Content-Type: " FORM ";charset=utf-8\r\n", 0},
      {"Content-Type: " FORM " ; charset=utf-8\r\n", 0},
      {"Content-Type: " FORM "\r\nContent-Type: text/plain\r\n", 0},
      {"", DUSK_ECONTENTTYPE},
      {"Content-Type:\r\n", DUSK_ECONTENTTYPE},
      {"Content-Type: " FORM "2\r\n", DUSK_ECONTENTTYPE},
      {"Content-Type: application/x-www-form\r\n", DUSK_ECONTENTTYPE},
      {"Content-Type: application/json\r\n", DUSK_ECONTENTTYPE},
      {"Content-Type: multipart/form-data; boundary=" FORM "\r\n",
       DUSK_ECONTENTTYPE},
      {"Content-Type: text/plain; " FORM "\r\n", DUSK_ECONTENTTYPE},
      {"Content-Type: " FORM ", text/plain\r\n", DUSK_ECONTENTTYPE},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    got_t got = {0};
    hold_post(lb, cases[i].type, "a=1");
    int err = dusk_request_form(lb->held.req, 1000, on_form, &got);
    if (err != cases[i].err) fail_msg("%s: %d", cases[i].type, err);
    if (err == 0) AWAIT(lb, got.called);
    turn(lb, 3);
    assert_int_equal(got.called, err == 0);
    let_go(lb);
  }
}

/* One that is asked for in vain is still there for who wants it otherwise. */
static void on_collected(dusk_request_t *req, int status, const char *data,
                         size_t len, void *arg) {
  (void)req;
  assert_int_equal(status, 0);
  assert_int_equal(len, 3);
  assert_string_equal(data, "{ }");
  *(int *)arg = 1;
}

static void a_body_of_another_type_stays(void **state) {
  loopback_t *lb = *state;
  int collected = 0;
  hold_post(lb, "Content-Type: application/json\r\n", "{ }");
  assert_int_equal(dusk_request_form(lb->held.req, 1000, on_form, NULL),
                   DUSK_ECONTENTTYPE);
  assert_int_equal(
      dusk_request_collect(lb->held.req, 1000, on_collected, &collected), 0);
  AWAIT(lb, collected);
  let_go(lb);
}

static void no_body_is_an_empty_form(void **state) {
  loopback_t *lb = *state;
  const char *name, *value;
  hold(lb, DEFAULTS, GET);
  got_t got = read_form(lb, 0);
  assert_int_equal(got.status, 0);
  assert_non_null(got.form);
  assert_false(dusk_values_at(got.form, 0, &name, &value));
  let_go(lb);
  hold_post(lb, "Content-Type: " FORM "\r\n", "");
  got = read_form(lb, 0);
  assert_int_equal(got.status, 0);
  assert_false(dusk_values_at(got.form, 0, &name, &value));
  let_go(lb);
}

/* curl -d discount=50%, say. */
static void what_is_broken_is_told_with_the_rest(void **state) {
  loopback_t *lb = *state;
  hold_post(lb, "Content-Type: " FORM "\r\n", "discount=50%&b=2");
  got_t got = read_form(lb, 1000);
  bool b;
  assert_int_equal(got.status, UV_EINVAL);
  assert_string_equal(dusk_values_get(got.form, "b"), "2");
  assert_int_equal(dusk_values_bool(got.form, "discount", &b), UV_EINVAL);
  let_go(lb);
  hold_post(lb, "Content-Type: " FORM "\r\n", "a=1;b=2"); /* SRV-361 */
  assert_int_equal(read_form(lb, 1000).status, UV_EINVAL);
  let_go(lb);
}

static void more_pairs_than_there_may_be_are_told(void **state) {
  loopback_t *lb = *state;
  static char body[10001 + 1];
  memset(body, '&', 10000);
  body[10000] = 'a';
  hold_post(lb, "Content-Type: " FORM "\r\n", body);
  got_t got = read_form(lb, 100000);
  assert_int_equal(got.status, UV_E2BIG);
  assert_null(dusk_values_get(got.form, "a"));
  let_go(lb);
}

/* In pieces that cut names, escapes and a NUL. */
static void a_chunked_form_is_read_whole(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS,
                    "PATCH / HTTP/1.1\r\nHost: h\r\nContent-Type: " FORM
                    "\r\nTransfer-Encoding: chunked\r\n\r\n");
  got_t got = {0};
  assert_int_equal(dusk_request_form(lb->held.req, 1000, on_form, &got), 0);
  static const char *const pieces[] = {"2\r\nna\r\n", "5\r\nme=%4\r\n",
                                       "4\r\n1&b=\r\n", "1\r\n2\r\n",
                                       "0\r\n\r\n"};
  for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++) {
    assert_int_equal(got.called, 0);
    say(client, pieces[i]);
    uv_run(&lb->loop, UV_RUN_ONCE);
  }
  AWAIT(lb, got.called);
  assert_int_equal(got.status, 0);
  assert_string_equal(dusk_values_get(got.form, "name"), "A");
  assert_string_equal(dusk_values_get(got.form, "b"), "2");
  let_go(lb);
}

static void a_nul_in_a_form_is_broken(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS,
                    "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: " FORM
                    "\r\nContent-Length: 8\r\n\r\na=1");
  assert_int_equal(send(client, "\0&b=2", 5, MSG_NOSIGNAL), 5);
  got_t got = read_form(lb, 1000);
  assert_int_equal(got.status, UV_EINVAL);
  assert_null(dusk_values_get(got.form, "a"));
  assert_string_equal(dusk_values_get(got.form, "b"), "2");
  let_go(lb);
}

static void one_that_is_too_large_is_told(void **state) {
  loopback_t *lb = *state;
  int client = hold_post(lb, "Content-Type: " FORM "\r\n", "a=12345");
  got_t got = read_form(lb, 7);
  assert_int_equal(got.status, 0);
  let_go(lb);
  client = hold_post(lb, "Content-Type: " FORM "\r\n", "a=123456");
  got = read_form(lb, 7);
  assert_int_equal(got.status, DUSK_EBODYTOOLARGE);
  assert_null(got.form);
  /* The reply is the server's, if the handler has none. */
  assert_has(hear(lb, client, "\r\n\r\n"), " 413 ");
  dusk_response_end(lb->held.res, NULL, 0);
}

static void a_client_that_leaves_is_told(void **state) {
  loopback_t *lb = *state;
  got_t got = {0};
  int client = hold(lb, DEFAULTS,
                    "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: " FORM
                    "\r\nContent-Length: 9\r\n\r\na=1");
  assert_int_equal(dusk_request_form(lb->held.req, 9, on_form, &got), 0);
  leave(lb, client);
  AWAIT(lb, got.called);
  assert_int_equal(got.status, UV_ECONNRESET);
  assert_null(got.form);
  dusk_response_end(lb->held.res, NULL, 0);
}

static void who_waits_for_it_is_told_to_go_on(void **state) {
  loopback_t *lb = *state;
  got_t got = {0};
  int client = hold(lb, DEFAULTS,
                    "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: " FORM
                    "\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
  assert_int_equal(dusk_request_form(lb->held.req, 9, on_form, &got), 0);
  hear(lb, client, "100 Continue\r\n\r\n");
  say(client, "a=1");
  AWAIT(lb, got.called);
  assert_string_equal(dusk_values_get(got.form, "a"), "1");
  let_go(lb);
}

static void calls_that_fail_never_call_back(void **state) {
  loopback_t *lb = *state;
  got_t got = {0};
  hold_post(lb, "Content-Type: " FORM "\r\n", "a=1");
  assert_int_equal(dusk_request_form(lb->held.req, 9, NULL, &got), UV_EINVAL);
  /* All of the request's small memory, so that the next piece is asked for. */
  alloc_fail_at(1);
  while (dusk_request_alloc(lb->held.req, 16) != NULL)
    continue;
  alloc_fail_at(1);
  assert_int_equal(dusk_request_form(lb->held.req, 9, on_form, &got),
                   UV_ENOMEM);
  assert_int_equal(dusk_request_form(lb->held.req, 9, on_form, &got), 0);
  assert_int_equal(dusk_request_form(lb->held.req, 9, on_form, &got),
                   DUSK_EBODYTAKEN);
  AWAIT(lb, got.called);
  turn(lb, 3);
  assert_int_equal(got.called, 1);
  assert_int_equal(got.status, 0);
  let_go(lb);
}

/* The body has its memory, the list of values has none. */
static void want_of_memory_is_told(void **state) {
  loopback_t *lb = *state;
  static char body[3000];
  memset(body, '&', sizeof(body) - 1);
  body[0] = 'a';
  size_t n = 0;
  bool has_failed;
  do {
    got_t got = {0};
    hold_post(lb, "Content-Type: " FORM "\r\n", body);
    alloc_fail_at(++n);
    int err = dusk_request_form(lb->held.req, 9999, on_form, &got);
    if (err == 0) AWAIT(lb, got.called);
    has_failed = alloc_has_failed();
    alloc_fail_at(0);
    if (err == 0) err = got.status;
    assert_int_equal(err, has_failed ? UV_ENOMEM : 0);
    assert_int_equal(got.form == NULL, has_failed);
    dusk_response_end(lb->held.res, NULL, 0);
  } while (has_failed);
  assert_true(n > 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(a_forms_values_are_told),
      house_test(body_and_query_are_apart),
      house_test(types_are_told_apart),
      house_test(a_body_of_another_type_stays),
      house_test(no_body_is_an_empty_form),
      house_test(what_is_broken_is_told_with_the_rest),
      house_test(more_pairs_than_there_may_be_are_told),
      house_test(a_chunked_form_is_read_whole),
      house_test(a_nul_in_a_form_is_broken),
      house_test(one_that_is_too_large_is_told),
      house_test(a_client_that_leaves_is_told),
      house_test(who_waits_for_it_is_told_to_go_on),
      house_test(calls_that_fail_never_call_back),
      house_test(want_of_memory_is_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
