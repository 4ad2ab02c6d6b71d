/* Responses that precede the answer, 1xx: SRV-228, SRV-270. */
#include "house.h"

#include "alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define HEAD "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"
#define OLD "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
#define LAST "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
#define EXPECT                                                                 \
  "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n"                        \
  "Expect: 100-continue\r\n\r\n"
#define HINT "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"

static void set(dusk_response_t *res, const char *name, const char *value) {
  assert_int_equal(dusk_response_set_header(res, name, value), 0);
}

static void hint(dusk_response_t *res) {
  set(res, "Link", "</a.css>");
  assert_int_equal(dusk_response_inform(res, 103), 0);
}

/* -- What goes out --------------------------------------------------------- */

static void srv_270_it_goes_out_at_once_with_its_fields(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  dusk_response_t *res = lb->held.res;
  hint(res);
  assert_string_equal(hear(lb, client, "\r\n\r\n"), HINT);
  assert_int_equal(dusk_response_get_status(res), 0);
  set(res, "X", "later");
  assert_int_equal(dusk_response_status(res, 201), 0);
  assert_int_equal(dusk_response_end(res, "body", 4), 0);
  assert_has(hear(lb, client, "body"), "HTTP/1.1 201 Created\r\n");
  assert_has(lb->heard, "\r\nLink: </a.css>\r\nX: later\r\n");
}

/* How the answer is framed, and what becomes of the connection, is the
 * answer's. */
static void it_says_nothing_of_the_answers_framing(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  dusk_response_t *res = lb->held.res;
  set(res, "Connection", "close, x");
  set(res, "Content-Length", "4");
  hint(res);
  assert_string_equal(hear(lb, client, "\r\n\r\n"), HINT);
  assert_string_equal(dusk_response_get_header(res, "Content-Length"), "4");
  assert_int_equal(dusk_response_end(res, "body", 4), 0);
  assert_has(hear(lb, client, NULL), "\r\nContent-Length: 4\r\n");
  assert_has(lb->heard, "\r\nConnection: x, close\r\n");
  assert_has(lb->heard, "\r\nDate: ");
}

static void it_may_be_repeated(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  dusk_response_t *res = lb->held.res;
  assert_int_equal(dusk_response_inform(res, 102), 0);
  hint(res);
  set(res, "Link", "</b.css>");
  assert_int_equal(dusk_response_inform(res, 103), 0);
  assert_int_equal(dusk_response_remove_header(res, "Link"), 0);
  assert_int_equal(dusk_response_inform(res, 199), 0);
  assert_string_equal(hear(lb, client, "199\r\n\r\n"),
                      "HTTP/1.1 102 Processing\r\n\r\n" HINT
                      "HTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\n"
                      "HTTP/1.1 199 status code 199\r\n\r\n");
  assert_int_equal(dusk_response_end(res, NULL, 0), 0);
  assert_has(hear(lb, client, "\r\n\r\n"), "HTTP/1.1 200 OK\r\n");
}

/* A text that was asked for has its end among the fields for a while. */
static void a_field_that_was_asked_for_goes_out_whole(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  dusk_response_t *res = lb->held.res;
  set(res, "Link", "</a.css>");
  assert_string_equal(dusk_response_get_header(res, "link"), "</a.css>");
  assert_int_equal(dusk_response_inform(res, 103), 0);
  assert_string_equal(hear(lb, client, "\r\n\r\n"), HINT);
  assert_string_equal(dusk_response_get_header(res, "link"), "</a.css>");
  assert_int_equal(dusk_response_end(res, NULL, 0), 0);
  assert_has(hear(lb, client, "\r\n\r\n"), "\r\nLink: </a.css>\r\n");
}

static void the_most_fields_go_out_twice(void **state) {
  enum { VALUE = 16000 };
  loopback_t *lb = *state;
  char value[VALUE + 1];
  memset(value, 'v', VALUE);
  value[VALUE] = '\0';
  int client = hold(lb, DEFAULTS, LAST);
  dusk_response_t *res = lb->held.res;
  set(res, "A", value);
  for (int i = 0; i < VALUE; i++)
    value[i] = i % 2 ? ',' : 'o';
  set(res, "Connection", value);
  assert_int_equal(dusk_response_inform(res, 103), 0);
  assert_int_equal(dusk_response_end(res, NULL, 0), 0);
  size_t len = strlen(hear(lb, client, NULL));
  assert_in_range(len, 2 * VALUE + 3 * VALUE / 2, 4 * VALUE);
  assert_int_equal(count_of(lb->heard, "\r\nA: vvv"), 2);
  assert_int_equal(count_of(lb->heard, "\r\nConnection: o, o"), 1);
}

/* -- What can't go out ----------------------------------------------------- */

static void only_1xx_precede(void **state) {
  static const int bad[] = {-1, 0, 99, 101, 200, 204, 304, 1000};
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  dusk_response_t *res = lb->held.res;
  for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
    assert_int_equal(dusk_response_inform(res, bad[i]), UV_EINVAL);
  assert_int_equal(dusk_response_end(res, "body", 4), 0);
  assert_int_equal(count_of(hear(lb, client, "body"), "HTTP/1.1"), 1);
}

static void none_comes_behind_the_header(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  dusk_response_t *res = lb->held.res;
  assert_int_equal(dusk_response_write(res, "a", 1), 0);
  assert_int_equal(dusk_response_inform(res, 103), DUSK_EHEADERSENT);
  assert_int_equal(dusk_response_end(res, NULL, 0), 0);
  assert_int_equal(count_of(hear(lb, client, "0\r\n\r\n"), "HTTP/1.1"), 1);
}

/* RFC 9110, 15.2 */
static void a_client_of_http_1_0_is_sent_none(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, OLD);
  hint(lb->held.res);
  assert_int_equal(dusk_response_inform(lb->held.res, 100), 0);
  assert_int_equal(dusk_response_end(lb->held.res, "body", 4), 0);
  assert_has(hear(lb, client, "body"), "HTTP/1.0 200 OK\r\n");
  assert_has(lb->heard, "\r\nLink: </a.css>\r\n");
  assert_int_equal(count_of(lb->heard, "HTTP/"), 1);
  hold_next(lb, client, OLD); /* it was kept */
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
}

static void leave_by_a_reset(loopback_t *lb, int client) {
  struct linger reset = {.l_onoff = 1};
  setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  leave(lb, client);
}

static void who_has_gone_is_sent_none(void **state) {
  loopback_t *lb = *state;
  leave_by_a_reset(lb, hold(lb, DEFAULTS, GET));
  AWAIT(lb, dusk_request_conn(lb->held.req) == NULL);
  assert_int_equal(dusk_response_inform(lb->held.res, 103), UV_ECANCELED);
  dusk_response_abort(lb->held.res);
}

/* Before the loop has heard of it. */
static void the_write_that_fails_is_told(void **state) {
  loopback_t *lb = *state;
  leave_by_a_reset(lb, hold(lb, DEFAULTS, GET));
  assert_int_equal(dusk_response_inform(lb->held.res, 103), UV_ECANCELED);
  assert_int_equal(dusk_response_inform(lb->held.res, 103), UV_ECANCELED);
  dusk_response_abort(lb->held.res);
}

/* What its client is to be sent later must be kept. */
static void without_memory_the_connection_ends(void **state) {
  enum { VALUE = 30000, MOST = 1000 };
  loopback_t *lb = *state;
  char *value = malloc(VALUE + 1);
  memset(value, 'v', VALUE);
  value[VALUE] = '\0';
  int client = hold(lb, DEFAULTS, GET);
  set(lb->held.res, "V", value);
  free(value);
  int err = 0;
  for (int i = 0; i < MOST && err == 0; i++) {
    alloc_fail_at(1);
    err = dusk_response_inform(lb->held.res, 103);
  }
  assert_true(alloc_has_failed());
  alloc_fail_at(0);
  assert_int_equal(err, UV_ECANCELED);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), UV_ECANCELED);
  end_of_stream(lb, client);
}

static void when_the_server_has_answered_there_is_none(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, (dusk_server_config_t){.request_timeout_ms = 20}, GET);
  hint(lb->held.res);
  hear(lb, client, NULL);
  assert_has(lb->heard, HINT "HTTP/1.1 503 ");
  assert_int_equal(count_of(lb->heard, "Link"), 1); /* not the handler's */
  assert_int_equal(dusk_response_inform(lb->held.res, 103), DUSK_EHEADERSENT);
  dusk_response_abort(lb->held.res);
}

static void a_hijacker_sends_its_own(void **state) {
  loopback_t *lb = *state;
  uv_os_sock_t fd;
  char *early;
  size_t len;
  int client = hold(lb, DEFAULTS, GET);
  hint(lb->held.res);
  assert_int_equal(dusk_response_hijack(lb->held.res, &fd, &early, &len), 0);
  assert_int_equal(send(fd, "raw", 3, 0), 3);
  assert_string_equal(hear(lb, client, "raw"), HINT "raw");
  free(early);
  close(fd);
}

static void hijack_first(dusk_response_t *res, dusk_request_t *req, void *arg) {
  uv_os_sock_t fd;
  char *early;
  size_t len;
  (void)req;
  assert_int_equal(dusk_response_hijack(res, &fd, &early, &len), 0);
  *(int *)arg = dusk_response_inform(res, 103);
  free(early);
  close(fd);
}

static void what_was_hijacked_is_sent_none(void **state) {
  loopback_t *lb = *state;
  int err = 0;
  serve(lb,
        (dusk_server_config_t){.handler = hijack_first, .handler_arg = &err});
  int client = connect_client(lb);
  say(client, GET);
  assert_string_equal(hear(lb, client, NULL), "");
  assert_int_equal(err, DUSK_EHIJACKED);
}

/* -- Before whatever answer ------------------------------------------------ */

static void count_header(dusk_response_t *res, void *arg) {
  (void)res;
  ++*(int *)arg;
}

static void a_hook_of_the_header_is_for_the_answer(void **state) {
  loopback_t *lb = *state;
  int count = 0;
  hold(lb, DEFAULTS, GET);
  assert_int_equal(dusk_response_on_header(lb->held.res, count_header, &count),
                   0);
  hint(lb->held.res);
  assert_int_equal(count, 0);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
  assert_int_equal(count, 1);
}

static void it_precedes_a_stream(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  dusk_response_t *res = lb->held.res;
  hint(res);
  assert_string_equal(hear(lb, client, "\r\n\r\n"), HINT);
  assert_int_equal(dusk_response_write(res, "one", 3), 0);
  assert_int_equal(dusk_response_write(res, "two", 3), 0);
  assert_int_equal(dusk_response_end(res, NULL, 0), 0);
  assert_has(hear(lb, client, "0\r\n\r\n"),
             "\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n");
}

static void it_precedes_an_abort(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  hint(lb->held.res);
  dusk_response_abort(lb->held.res);
  assert_string_equal(hear(lb, client, NULL), HINT);
}

/* All of it in one call, with a body that is written in pieces. */
static void hint_and_answer(dusk_response_t *res, dusk_request_t *req,
                            void *arg) {
  (void)req;
  (void)arg;
  hint(res);
  assert_int_equal(dusk_response_write(res, "he", 2), 0);
  assert_int_equal(dusk_response_end(res, "llo\n", 4), 0);
}

static void each_of_a_batch_has_its_own(void **state) {
  loopback_t *lb = *state;
  serve(lb, (dusk_server_config_t){.handler = hint_and_answer});
  int client = connect_client(lb);
  say(client, GET HEAD GET LAST);
  const char *at = hear(lb, client, NULL);
  for (int i = 0; i < 4; i++) {
    const char *answer = HINT "HTTP/1.1 200 OK\r\n";
    assert_int_equal(strncmp(at, answer, strlen(answer)), 0);
    at = strstr(at + strlen(answer), "\r\nContent-Length:          6\r\n");
    assert_non_null(at);
    at = strstr(at, "\r\n\r\n") + 4;
    if (i == 1) continue; /* HEAD's */
    assert_int_equal(strncmp(at, "hello\n", 6), 0);
    at += 6;
  }
  assert_string_equal(at, "");
}

/* A client that takes none of it gets all of it in the end. */
static void very_many_may_come(void **state) {
  enum { VALUE = 30000, MOST = 300 };
  loopback_t *lb = *state;
  char *value = malloc(VALUE + 1);
  memset(value, 'v', VALUE);
  value[VALUE] = '\0';
  int client = hold(lb, DEFAULTS, LAST);
  dusk_response_t *res = lb->held.res;
  set(res, "V", value);
  free(value);
  for (int i = 0; i < MOST; i++)
    assert_int_equal(dusk_response_inform(res, 103), 0);
  assert_int_equal(dusk_response_remove_header(res, "V"), 0);
  assert_int_equal(dusk_response_end(res, "hello\n", 6), 0);
  const char line[] = "HTTP/1.1 103 Early Hints\r\nV: \r\n\r\n";
  size_t len = (size_t)MOST * (sizeof(line) - 1 + VALUE);
  assert_int_equal(take(lb, client, len), len);
  hear(lb, client, NULL);
  assert_int_equal(strncmp(lb->heard, "HTTP/1.1 200 OK\r\n", 17), 0);
  assert_has(lb->heard, "\r\n\r\nhello\n");
}

/* -- With Expect ----------------------------------------------------------- */

static void on_body(dusk_request_t *req, int status, const char *data,
                    size_t len, void *arg) {
  (void)arg;
  assert_int_equal(status, 0);
  assert_int_equal(dusk_response_end(dusk_request_response(req), data, len), 0);
}

static void ask_for_body(loopback_t *lb) {
  assert_int_equal(dusk_request_collect(lb->held.req, 100, on_body, NULL), 0);
}

static void srv_228_a_handlers_100_is_the_only_one(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, EXPECT);
  assert_int_equal(dusk_response_inform(lb->held.res, 100), 0);
  assert_string_equal(hear(lb, client, "\r\n\r\n"), CONTINUE);
  ask_for_body(lb);
  say(client, "body");
  assert_int_equal(count_of(hear(lb, client, "\r\n\r\nbody"), "HTTP/1.1"), 1);
  hold_next(lb, client, GET); /* it was kept */
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
}

static void another_one_is_no_100(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, EXPECT);
  hint(lb->held.res);
  ask_for_body(lb);
  assert_string_equal(hear(lb, client, CONTINUE), HINT CONTINUE);
  hint(lb->held.res);
  say(client, "body");
  assert_has(hear(lb, client, "\r\n\r\nbody"), HINT "HTTP/1.1 200 OK\r\n");
}

/* What was asked for comes, though nobody reads it. */
static void a_body_that_100_has_asked_for_is_waited_for(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, EXPECT);
  assert_int_equal(dusk_response_inform(lb->held.res, 100), 0);
  assert_int_equal(dusk_response_end(lb->held.res, "no", 2), 0);
  assert_lacks(hear(lb, client, "\r\n\r\nno"), "Connection: close");
  say(client, "body");
  hold_next(lb, client, GET);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
}

/* -- A client of this world ------------------------------------------------ */

extern char **environ;

static void curl_finds_the_answer(void **state) {
  loopback_t *lb = *state;
  int ends[2];
  pid_t pid;
  int status;
  char url[80] = "http://", name[] = "curl", flags[] = "-sSim5";
  serve(lb, (dusk_server_config_t){.handler = hint_and_answer});
  strcat(url, lb->address);
  char *args[] = {name, flags, url, url, NULL};
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  int err = posix_spawnp(&pid, name, &actions, NULL, args, environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  welcome(lb, ends[0]);
  if (err == ENOENT) skip(); /* deps/install test brings it */
  assert_int_equal(err, 0);
  hear(lb, ends[0], NULL);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
  assert_int_equal(count_of(lb->heard, HINT "HTTP/1.1 200 OK\r\n"), 2);
  assert_int_equal(count_of(lb->heard, "\r\n\r\nhello\n"), 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(srv_270_it_goes_out_at_once_with_its_fields),
      house_test(it_says_nothing_of_the_answers_framing),
      house_test(it_may_be_repeated),
      house_test(a_field_that_was_asked_for_goes_out_whole),
      house_test(the_most_fields_go_out_twice),
      house_test(only_1xx_precede),
      house_test(none_comes_behind_the_header),
      house_test(a_client_of_http_1_0_is_sent_none),
      house_test(who_has_gone_is_sent_none),
      house_test(the_write_that_fails_is_told),
      house_test(without_memory_the_connection_ends),
      house_test(when_the_server_has_answered_there_is_none),
      house_test(a_hijacker_sends_its_own),
      house_test(what_was_hijacked_is_sent_none),
      house_test(a_hook_of_the_header_is_for_the_answer),
      house_test(it_precedes_a_stream),
      house_test(it_precedes_an_abort),
      house_test(each_of_a_batch_has_its_own),
      house_test(very_many_may_come),
      house_test(srv_228_a_handlers_100_is_the_only_one),
      house_test(another_one_is_no_100),
      house_test(a_body_that_100_has_asked_for_is_waited_for),
      house_test(curl_finds_the_answer),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
