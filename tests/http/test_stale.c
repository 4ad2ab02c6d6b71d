/* What a program must not do, in a library without assertions. Handles that a
 * handler kept beyond their message's end do nothing, and reach nobody; hooks
 * that answer themselves answer once. */
#include "house.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GET_A "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
#define LAST "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
#define GET_B                                                                  \
  "POST /b?q=1 HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\nX: y\r\n\r\n"

/* Under AddressSanitizer an exchange is freed at its end, and whoever uses a
 * stale handle is stopped by that: see test_misuse.c. */
#ifdef __SANITIZE_ADDRESS__
#define ADDRESS_SANITIZER 1
#else
#define ADDRESS_SANITIZER 0
#endif

/* The memory that a handle names, where that can be told. */
static bool same_memory(const void *a, const void *b) {
#if defined(__x86_64__) || defined(__aarch64__)
  uintptr_t mask = ((uintptr_t)1 << 48) - 16;
  return ((uintptr_t)a & mask) == ((uintptr_t)b & mask);
#else
  return true;
#endif
}

typedef struct two {
  loopback_t lb;
  held_t held; /* the second one's */
  held_t stale;
  int client;
} two_t;

/* A response that was ended, and a request that came after it and waits for its
 * answer, on the same connection or another one. */
static void open_two(two_t *two, bool same_connection) {
  int client =
      loopback_hold(&two->lb, &two->held, (dusk_server_config_t){0}, GET_A);
  two->stale = two->held;
  assert_int_equal(dusk_response_end(two->held.res, "for A", 5), 0);
  char buf[512];
  loopback_receive(&two->lb, client, buf, sizeof(buf), "for A");
  two->client = client;
  if (!same_connection) {
    close(client);
    two->client = loopback_connect(&two->lb);
  }
  two->held.called = 0;
  loopback_send(two->client, GET_B);
  loopback_run_until(&two->lb, &two->held.called);
  assert_true(same_memory(two->stale.res, two->held.res));
  assert_ptr_not_equal(two->stale.res, two->held.res);
  assert_ptr_not_equal(two->stale.req, two->held.req);
}

/* The second one gets its own answer and nothing else. */
static void close_two(two_t *two) {
  assert_int_equal(dusk_response_end(two->held.res, "for B", 5), 0);
  char buf[512];
  loopback_receive(&two->lb, two->client, buf, sizeof(buf), "for B");
  assert_int_equal(strncmp(buf, "HTTP/1.1 200 OK\r\nDate: ", 23), 0);
  assert_non_null(strstr(buf, " GMT\r\nContent-Length: 5"
                              "\r\n\r\nfor B"));
  close(two->client);
  loopback_close(&two->lb, 5000);
}

static void on_released(void *arg) {
  ++*(int *)arg;
}

static void on_drained(dusk_response_t *res, void *arg) {
  (void)res;
  (void)arg;
  fail();
}

static void on_header(dusk_response_t *res, void *arg) {
  (void)res;
  (void)arg;
  fail();
}

static void on_end(dusk_request_t *req, const dusk_request_end_t *end,
                   void *arg) {
  (void)req;
  (void)end;
  (void)arg;
  fail();
}

static void use_response(dusk_response_t *res) {
  int released = 0;
  uv_os_sock_t fd;
  char *early;
  size_t len;
  assert_int_equal(dusk_response_status(res, 500), UV_ECANCELED);
  assert_int_equal(dusk_response_set_header(res, "A", "b"), UV_ECANCELED);
  assert_int_equal(dusk_response_add_header(res, "A", "b"), UV_ECANCELED);
  assert_int_equal(dusk_response_remove_header(res, "A"), UV_ECANCELED);
  assert_null(dusk_response_get_header(res, "A"));
  assert_int_equal(dusk_response_write(res, "x", 1), UV_ECANCELED);
  assert_int_equal(dusk_response_write_ref(res, "x", 1, on_released, &released),
                   UV_ECANCELED);
  assert_int_equal(dusk_response_on_drained(res, on_drained, NULL),
                   UV_ECANCELED);
  assert_int_equal(dusk_response_hijack(res, &fd, &early, &len), UV_ECANCELED);
  dusk_response_abort(res);
  dusk_response_reset(res);
  assert_int_equal(dusk_response_set_cookie(res, &(dusk_cookie_t){.name = "n"}),
                   UV_ECANCELED);
  assert_null(dusk_response_request(res));
  assert_int_equal(dusk_response_get_status(res), 0);
  assert_int_equal(dusk_response_on_header(res, on_header, NULL), UV_ECANCELED);
  assert_int_equal(dusk_response_on_end(res, on_end, NULL), UV_ECANCELED);
  assert_int_equal(dusk_response_set_write_timeout(res, 1), UV_ECANCELED);
  assert_int_equal(dusk_response_text(res, 200, "x"), UV_ECANCELED);
  assert_int_equal(dusk_response_json(res, 200, "x"), UV_ECANCELED);
  assert_int_equal(dusk_response_printf(res, 200, "x"), UV_ECANCELED);
  assert_int_equal(dusk_response_printf(res, 200, "%02000d", 1), UV_ECANCELED);
  assert_int_equal(dusk_response_error(res, 500, "x"), UV_ECANCELED);
  assert_int_equal(dusk_response_not_found(res), UV_ECANCELED);
  assert_int_equal(dusk_response_redirect(res, 302, "/"), UV_ECANCELED);
  assert_int_equal(dusk_response_end_ref(res, "x", 1, on_released, &released),
                   UV_ECANCELED);
  assert_int_equal(dusk_response_end(res, "for A", 5), UV_ECANCELED);
  assert_int_equal(released, 2);
}

static void on_body(dusk_request_t *req, ssize_t nread, const char *data,
                    void *arg) {
  (void)req;
  (void)nread;
  (void)data;
  (void)arg;
  fail();
}

static void on_collected(dusk_request_t *req, int status, const char *data,
                         size_t len, void *arg) {
  (void)req;
  (void)status;
  (void)data;
  (void)len;
  (void)arg;
  fail();
}

static const dusk_key_t key = {"key"};

static void on_form(dusk_request_t *req, int status, const dusk_values_t *form,
                    void *arg) {
  (void)req;
  (void)status;
  (void)form;
  (void)arg;
  fail();
}

static void use_request(dusk_request_t *req) {
  const char *name, *value;
  char buf[16];
  int64_t as_int;
  uint64_t as_uint;
  bool as_bool;
  assert_string_equal(dusk_request_method(req), "");
  assert_string_equal(dusk_request_target(req), "");
  assert_string_equal(dusk_request_path(req), "");
  assert_string_equal(dusk_request_query(req), "");
  assert_string_equal(dusk_request_host(req), "");
  assert_string_equal(dusk_request_peer(req), "");
  assert_int_equal(dusk_request_version_minor(req), -1);
  assert_null(dusk_request_header(req, "X"));
  assert_null(dusk_request_trailer(req, "X"));
  assert_false(dusk_request_header_at(req, 0, &name, &value));
  assert_int_equal(dusk_request_query_value(req, "q", buf, sizeof(buf)),
                   UV_ENOENT);
  assert_null(dusk_request_query_values(req));
  assert_null(dusk_request_query_get(req, "q"));
  assert_int_equal(dusk_request_query_int(req, "q", 0, 9, &as_int),
                   UV_ECANCELED);
  assert_int_equal(dusk_request_query_uint(req, "q", 0, 9, &as_uint),
                   UV_ECANCELED);
  assert_int_equal(dusk_request_query_bool(req, "q", &as_bool), UV_ECANCELED);
  assert_null(dusk_request_cookies(req));
  assert_null(dusk_request_cookie(req, "c"));
  assert_null(dusk_request_context(req));
  assert_null(dusk_request_draining(req));
  assert_string_equal(dusk_request_pattern(req), "");
  assert_string_equal(dusk_request_path_value(req, "a"), "");
  assert_int_equal(dusk_request_set_path_value(req, "a", "b"), UV_ECANCELED);
  assert_null(dusk_request_response(req));
  assert_int_equal(dusk_request_set_max_body(req, 1), UV_ECANCELED);
  assert_int_equal(dusk_request_set_body_timeout(req, 1), UV_ECANCELED);
  assert_int_equal(dusk_request_set_timeout(req, 1), UV_ECANCELED);
  assert_int_equal(dusk_request_content_length(req), 0);
  assert_int_equal(dusk_request_body(req, on_body, NULL), UV_ECANCELED);
  assert_int_equal(dusk_request_collect(req, 9, on_collected, NULL),
                   UV_ECANCELED);
  assert_int_equal(dusk_request_form(req, 9, on_form, NULL), UV_ECANCELED);
  dusk_request_pause(req);
  dusk_request_resume(req);
  assert_int_equal(dusk_request_set_value(req, &key, buf, NULL), UV_ECANCELED);
  assert_null(dusk_request_value(req, &key));
}

/* SRV-278 */
static void a_late_answer_reaches_nobody(void **state) {
  (void)state;
  for (int same_connection = 0; same_connection < 2; same_connection++) {
    two_t two;
    open_two(&two, same_connection);
    use_response(two.stale.res);
    uv_run(&two.lb.loop, UV_RUN_NOWAIT);
    use_response(two.stale.res);
    close_two(&two);
  }
}

static void a_late_look_sees_nobody(void **state) {
  (void)state;
  for (int same_connection = 0; same_connection < 2; same_connection++) {
    two_t two;
    int mine;
    open_two(&two, same_connection);
    assert_int_equal(dusk_request_set_value(two.held.req, &key, &mine, NULL),
                     0);
    use_request(two.stale.req);
    assert_ptr_equal(dusk_request_value(two.held.req, &key), &mine);
    close_two(&two);
  }
}

/* Also when nobody has the memory now. */
static void a_stale_one_is_stale_at_once(void **state) {
  (void)state;
  loopback_t lb;
  held_t held;
  int client = loopback_hold(&lb, &held, (dusk_server_config_t){0}, GET_A);
  dusk_response_end(held.res, NULL, 0);
  use_response(held.res);
  use_request(held.req);
  close(client);
  loopback_close(&lb, 5000);
}

/* Many at a time: some lose their buffers when they go, none its memory. */
static void a_burst_leaves_stale_ones_readable(void **state) {
  (void)state;
  enum { MANY = 300 };
  loopback_t lb;
  held_t held = {0};
  static held_t all[MANY];
  static int clients[MANY];
  dusk_server_config_t config = {.handler = loopback_keep,
                                 .handler_arg = &held};
  loopback_open(&lb, &config);
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < MANY; i++) {
      clients[i] = loopback_connect(&lb);
      loopback_send(clients[i], GET_A);
      held.called = 0;
      loopback_run_until(&lb, &held.called);
      all[i] = held;
    }
    for (int i = 0; i < MANY; i++) {
      assert_int_equal(dusk_response_end(all[i].res, "x", 1), 0);
      close(clients[i]);
    }
    uv_run(&lb.loop, UV_RUN_NOWAIT);
    for (int i = 0; i < MANY; i++) {
      use_response(all[i].res);
      use_request(all[i].req);
    }
  }
  loopback_close(&lb, 5000);
}

static dusk_response_t *kept;
static int answered;

static void answer_and_look_back(dusk_response_t *res, dusk_request_t *req,
                                 void *arg) {
  (void)req;
  (void)arg;
  if (kept == NULL) kept = res;
  if (answered > 0) assert_ptr_not_equal(res, kept);
  dusk_response_end(res, "x", 1);
  answered++;
}

static void no_handle_comes_back_soon(void **state) {
  (void)state;
  enum { BATCH = 100, BATCHES = 700 };
  static char requests[BATCH * sizeof(GET_A)], answers[65536];
  for (int i = 0; i < BATCH; i++)
    memcpy(requests + i * strlen(GET_A), GET_A, sizeof(GET_A));
  loopback_t lb;
  dusk_server_config_t config = {.handler = answer_and_look_back};
  loopback_open(&lb, &config);
  int client = loopback_connect(&lb);
  for (int batch = 1; batch <= BATCHES; batch++) {
    loopback_send(client, requests);
    while (answered < batch * BATCH)
      uv_run(&lb.loop, UV_RUN_NOWAIT);
    loopback_receive(&lb, client, answers, sizeof(answers), "x");
  }
  assert_int_equal(dusk_response_end(kept, "x", 1), UV_ECANCELED);
  close(client);
  loopback_close(&lb, 5000);
}

static void a_mux_in_use_is_left_as_it_is(void **state) {
  (void)state;
  loopback_t lb;
  dusk_mux_t *outer, *inner;
  assert_int_equal(dusk_mux_new(&outer), 0);
  assert_int_equal(dusk_mux_new(&inner), 0);
  assert_int_equal(dusk_mux_handle(outer, "/", dusk_mux_serve, inner), 0);
  loopback_open(&lb, &(dusk_server_config_t){.handler = dusk_mux_serve,
                                             .handler_arg = outer});
  dusk_mux_free(inner);
  dusk_mux_free(outer);
  int client = connect_client(&lb);
  say(client, GET);
  hear(&lb, client, "404 page not found");
  leave(&lb, client);
  loopback_close(&lb, 5000);
  dusk_mux_free(outer);
  dusk_mux_free(inner);
}

/* Its memory is there as long as a handler has a request. */
static void a_server_is_released_once(void **state) {
  (void)state;
  loopback_t lb;
  held_t held;
  int client = loopback_hold(&lb, &held, (dusk_server_config_t){0}, GET_A);
  dusk_server_unref(lb.server);
  dusk_server_unref(lb.server);
  assert_int_equal(dusk_response_end(held.res, NULL, 0), UV_ECANCELED);
  lb.server = NULL;
  close(client);
  loopback_finish(&lb);
}

static void answer_x(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  (void)arg;
  assert_int_equal(dusk_response_end(res, "x", 1), 0);
}

static void end_twice(dusk_response_t *res, dusk_request_t *req, void *arg) {
  static const dusk_handler_t next = {answer_x, NULL};
  (void)arg;
  dusk_handler_serve(&next, res, req);
  assert_int_equal(dusk_response_end(res, "y", 1), UV_ECANCELED);
}

/* A middleware that forgets to return. */
static void who_goes_on_and_answers_is_not_heard(void **state) {
  loopback_t *lb = *state;
  serve(lb, (dusk_server_config_t){.handler = end_twice});
  int client = connect_client(lb);
  say(client, LAST);
  hear(lb, client, NULL);
  assert_int_equal(count_of(lb->heard, "HTTP/1.1 "), 1);
  assert_has(lb->heard, "\r\n\r\nx");
  assert_lacks(lb->heard, "y");
}

/* -- Hooks that do more than they may -------------------------------------- */

static void end_there(dusk_response_t *res, void *arg) {
  (void)arg;
  dusk_response_end(res, "hook\n", 5);
}

static void abort_there(dusk_response_t *res, void *arg) {
  (void)arg;
  dusk_response_abort(res);
}

static void reset_there(dusk_response_t *res, void *arg) {
  (void)arg;
  dusk_response_reset(res);
}

static void write_there(dusk_response_t *res, void *arg) {
  (void)arg;
  dusk_response_write(res, "hook\n", 5);
}

static const dusk_header_cb header_hooks[] = {end_there, abort_there,
                                              reset_there, write_there};

static int end_it(dusk_response_t *res) {
  return dusk_response_end(res, "mine\n", 5);
}

static int write_it(dusk_response_t *res) {
  return dusk_response_write(res, "mine\n", 5);
}

static int say_it(dusk_response_t *res) {
  return dusk_response_error(res, 500, "mine");
}

static void hear_one_answer_at_most(loopback_t *lb, int client) {
  hear(lb, client, NULL);
  assert_true(count_of(lb->heard, "HTTP/1.1 ") <= 1);
  assert_true(count_of(lb->heard, "hook\n") <= 1);
}

static void a_hook_of_the_header_answers_once(void **state) {
  loopback_t *lb = *state;
  static int (*const ways[])(dusk_response_t * res) = {end_it, write_it,
                                                       say_it};
  for (size_t way = 0; way < 3; way++) {
    for (size_t i = 0; i < sizeof(header_hooks) / sizeof(*header_hooks); i++) {
      int client = hold(lb, DEFAULTS, LAST);
      dusk_response_t *res = lb->held.res;
      assert_int_equal(dusk_response_on_header(res, header_hooks[i], NULL), 0);
      assert_int_equal(ways[way](res), UV_ECANCELED);
      if (ways[way] == write_it && header_hooks[i] == write_there)
        dusk_response_abort(res); /* it is still the handler's */
      hear_one_answer_at_most(lb, client);
      assert_lacks(lb->heard, "mine");
      end_all(lb);
    }
  }
}

static void shape_by(dusk_response_t *res, dusk_error_reply_t *reply,
                     void *arg) {
  (void)reply;
  ((dusk_header_cb)(uintptr_t)arg)(res, NULL);
}

static void answer_by_json(dusk_response_t *res, void *arg) {
  (void)arg;
  dusk_response_json(res, 400, "hook\n");
}

static void answer_by_error(dusk_response_t *res, void *arg) {
  (void)arg;
  dusk_response_error(res, 400, "hook");
}

static void a_hook_of_errors_answers_once(void **state) {
  loopback_t *lb = *state;
  static const dusk_header_cb hooks[] = {end_there,      abort_there,
                                         reset_there,    write_there,
                                         answer_by_json, answer_by_error};
  for (size_t i = 0; i < sizeof(hooks) / sizeof(*hooks); i++) {
    dusk_server_config_t config = {.on_error_reply = shape_by,
                                   .on_error_reply_arg =
                                       (void *)(uintptr_t)hooks[i],
                                   .request_timeout_ms = 20};
    int client = hold(lb, config, LAST);
    assert_true(say_it(lb->held.res) < 0);
    hear_one_answer_at_most(lb, client);
    end_all(lb);

    /* And in its handler's stead, who may still end what the hook began. */
    if (hooks[i] == write_there) continue;
    client = hold(lb, config, LAST);
    hear_one_answer_at_most(lb, client);
    end_all(lb);
  }
}

static void a_status_that_is_none_is_500(void **state) {
  loopback_t *lb = *state;
  static const int statuses[] = {-1, 0, 99, 100, 199, 1000};
  for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++) {
    int client = hold(lb, DEFAULTS, LAST);
    assert_int_equal(dusk_response_text(lb->held.res, statuses[i], "x"),
                     UV_EINVAL);
    assert_has(hear(lb, client, NULL), "HTTP/1.1 500 ");
    end_all(lb);
    client = hold(lb, DEFAULTS, LAST);
    assert_int_equal(dusk_response_error(lb->held.res, statuses[i], NULL),
                     UV_EINVAL);
    assert_has(hear(lb, client, NULL), "HTTP/1.1 500 ");
    end_all(lb);
  }
}

int main(void) {
  const struct CMUnitTest misused[] = {
      house_test(a_hook_of_the_header_answers_once),
      house_test(a_hook_of_errors_answers_once),
      house_test(a_status_that_is_none_is_500),
      house_test(who_goes_on_and_answers_is_not_heard),
      house_test(a_server_is_released_once),
  };
  const struct CMUnitTest tests[] = {
      house_test(a_late_answer_reaches_nobody),
      house_test(a_late_look_sees_nobody),
      house_test(a_stale_one_is_stale_at_once),
      house_test(a_burst_leaves_stale_ones_readable),
      house_test(no_handle_comes_back_soon),
      house_test(a_mux_in_use_is_left_as_it_is),
  };
  int failed = cmocka_run_group_tests(misused, NULL, NULL);
  if (ADDRESS_SANITIZER) return failed;
  return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
