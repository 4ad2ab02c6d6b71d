/* Tests of handlers, as their writers see them: a server, its loop, and clients
 * for whom the loop is turned until what they wait for has come. */
#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { WAIT_MS = 10000 };

struct dusk_test {
  uv_loop_t loop; /* its own, or nothing */
  bool owns_loop;
  dusk_context_t *root;
  dusk_server_t *server;
  char address[64];
  uint64_t timeout_ms;
  uv_timer_t timer; /* of the call that waits */
  bool is_late;
  bool is_waiting;
  bool has_closed; /* the timer */
  dusk__link_t clients;
  dusk__link_t answers;
};

static uv_loop_t *loop_of(const dusk_test_t *test) {
  return dusk_context_loop(test->root);
}

/* -- Waiting --------------------------------------------------------------- */

static void on_late(uv_timer_t *timer) {
  DUSK__OWNER(timer, dusk_test_t, timer)->is_late = true;
}

static void start_timer(dusk_test_t *test) {
  test->is_late = false;
  uv_update_time(loop_of(test));
  uv_timer_start(&test->timer, on_late, test->timeout_ms, 0);
}

int dusk_test_await(dusk_test_t *test, bool (*is_there)(void *arg), void *arg) {
  if (test == NULL || is_there == NULL) return UV_EINVAL;
  if (test->is_waiting) return UV_EBUSY;
  bool has_come = is_there(arg);
  test->is_waiting = true;
  start_timer(test);
  while (!has_come && !test->is_late) {
    uv_run(loop_of(test), UV_RUN_ONCE);
    has_come = is_there(arg);
  }
  uv_timer_stop(&test->timer);
  test->is_waiting = false;
  return has_come ? 0 : UV_ETIMEDOUT;
}

void dusk_test_set_timeout(dusk_test_t *test, uint64_t timeout_ms) {
  if (test) test->timeout_ms = timeout_ms;
}

/* -- Opening --------------------------------------------------------------- */

static int open_loop(dusk_test_t *test) {
  int err = uv_loop_init(&test->loop);
  if (err < 0) return err;
  err = dusk_context_attach(&test->loop, &test->root);
  if (err < 0) uv_loop_close(&test->loop);
  test->owns_loop = err == 0;
  return err;
}

static int listen_somewhere(dusk_test_t *test) {
  int err = dusk_server_serve(test->server, "127.0.0.1:0", NULL, NULL);
  return err < 0 ? err
                 : dusk_server_address(test->server, 0, test->address,
                                       sizeof(test->address));
}

/* After a failure, when there is nothing of anybody else's on it. */
static void drop(dusk_test_t *test) {
  dusk_server_unref(test->server);
  if (test->owns_loop) {
    uv_run(&test->loop, UV_RUN_DEFAULT);
    dusk_context_detach(test->root, NULL, NULL);
    uv_run(&test->loop, UV_RUN_DEFAULT);
    uv_loop_close(&test->loop);
  }
  free(test);
}

static int open_test(dusk_context_t *root, const dusk_server_config_t *config,
                     size_t config_size, bool by_sockets,
                     dusk_test_t **ret_test) {
  if (ret_test == NULL) return UV_EINVAL;
  dusk_test_t *test = calloc(1, sizeof(*test));
  if (test == NULL) return UV_ENOMEM;
  test->timeout_ms = WAIT_MS;
  if (root) test->root = dusk_context_root(root); /* it may end, this can't */
  dusk__list_init(&test->clients);
  dusk__list_init(&test->answers);
  int err = root ? 0 : open_loop(test);
  if (err == 0)
    err = dusk_server_new_sized(root ? root : test->root, config, config_size,
                                &test->server);
  if (err == 0 && by_sockets) err = listen_somewhere(test);
  if (err < 0) {
    drop(test);
    return err;
  }
  uv_timer_init(loop_of(test), &test->timer); /* always 0 */
  *ret_test = test;
  return 0;
}

int dusk_test_serve_sized(dusk_context_t *root,
                          const dusk_server_config_t *config,
                          size_t config_size, dusk_test_t **ret_test) {
  return open_test(root, config, config_size, true, ret_test);
}

int dusk_test_record_sized(dusk_context_t *root,
                           const dusk_server_config_t *config,
                           size_t config_size, dusk_test_t **ret_test) {
  return open_test(root, config, config_size, false, ret_test);
}

dusk_server_t *dusk_test_server(dusk_test_t *test) {
  return test ? test->server : NULL;
}

dusk_context_t *dusk_test_root(dusk_test_t *test) {
  return test ? test->root : NULL;
}

const char *dusk_test_address(const dusk_test_t *test) {
  return test ? test->address : "";
}

/* -- Clients --------------------------------------------------------------- */

static bool has_connected(void *arg) {
  const dusk_test_client_t *client = arg;
  return client->is_connected || client->err < 0;
}

static int call(dusk_test_t *test, dusk_test_client_t *client) {
  dusk__client_call(client, loop_of(test), test->address);
  int err = dusk_test_await(test, has_connected, client);
  if (err == 0) err = client->err;
  if (err < 0) dusk__client_leave(client);
  return err;
}

int dusk_test_connect(dusk_test_t *test, dusk_test_client_t **ret_client) {
  if (test == NULL || ret_client == NULL) return UV_EINVAL;
  if (test->is_waiting) return UV_EBUSY;
  dusk_test_client_t *client = calloc(1, sizeof(*client));
  if (client == NULL) return UV_ENOMEM;
  client->test = test;
  dusk__list_init(&client->link);
  dusk__list_append(&test->clients, &client->link);
  int err;
  if (test->address[0]) {
    err = call(test, client);
  } else {
    err = dusk__client_pair(client, test->server);
    if (err < 0) {
      dusk__list_remove(&client->link);
      free(client);
    }
  }
  if (err == 0) *ret_client = client;
  return err;
}

void dusk_test_leave(dusk_test_client_t *client) {
  if (client) dusk__client_leave(client);
}

/* -- Asking ---------------------------------------------------------------- */

/* Whether one of the request's fields has that name. */
static bool has_field(const dusk_test_request_t *request, const char *name) {
  size_t len = strlen(name);
  for (size_t i = 0; i < DUSK_TEST_HEADERS && request->headers[i]; i++) {
    const char *field = request->headers[i];
    if (strncasecmp(field, name, len) == 0 && field[len] == ':') return true;
  }
  return false;
}

/* Nothing once it has failed. */
static void put(dusk__bytes_t *text, int *err, const char *part) {
  if (*err == 0) *err = dusk__bytes_add(text, part, strlen(part));
}

static void put_field(dusk__bytes_t *text, int *err, const char *name,
                      const char *value) {
  put(text, err, name);
  put(text, err, ": ");
  put(text, err, value);
  put(text, err, "\r\n");
}

static void put_length(dusk__bytes_t *text, int *err,
                       const dusk_test_request_t *request, const char *method,
                       size_t len) {
  char digits[24];
  bool has_body = request->body || strcmp(method, "POST") == 0 ||
                  strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0;
  if (!has_body || has_field(request, "Content-Length") ||
      has_field(request, "Transfer-Encoding"))
    return;
  snprintf(digits, sizeof(digits), "%zu", len);
  put_field(text, err, "Content-Length", digits);
}

static int put_request(dusk__bytes_t *text, const dusk_test_t *test,
                       const dusk_test_request_t *request) {
  const char *method = request->method ? request->method : "GET";
  size_t len = request->len;
  int err = 0;
  if (request->body && len == 0) len = strlen(request->body);
  put(text, &err, method);
  put(text, &err, " ");
  put(text, &err, request->target ? request->target : "/");
  put(text, &err, " HTTP/1.1\r\n");
  if (!has_field(request, "Host"))
    put_field(text, &err, "Host",
              test->address[0] ? test->address : "example.com");
  for (size_t i = 0; i < DUSK_TEST_HEADERS && request->headers[i]; i++) {
    put(text, &err, request->headers[i]);
    put(text, &err, "\r\n");
  }
  put_length(text, &err, request, method, len);
  put(text, &err, "\r\n");
  if (err == 0 && request->body)
    err = dusk__bytes_add(text, request->body, len);
  return err;
}

int dusk_test_send(dusk_test_client_t *client, const void *bytes, size_t len) {
  static const char head[] = "HEAD ";
  if (client == NULL || bytes == NULL) return UV_EINVAL;
  if (len == 0) len = strlen(bytes);
  client->asked_head =
      len >= strlen(head) && memcmp(bytes, head, strlen(head)) == 0;
  return dusk__client_send(client, bytes, len);
}

int dusk_test_request(dusk_test_client_t *client,
                      const dusk_test_request_t *request) {
  if (client == NULL || request == NULL ||
      (request->len > 0 && request->body == NULL))
    return UV_EINVAL;
  dusk__bytes_t text = {0};
  int err = put_request(&text, client->test, request);
  if (err == 0) err = dusk_test_send(client, text.bytes, text.len);
  dusk__bytes_free(&text);
  return err;
}

/* -- Hearing --------------------------------------------------------------- */

static dusk__answer_t *new_answer(dusk_test_t *test) {
  dusk__answer_t *answer = dusk__answer_new();
  if (answer) dusk__list_append(&test->answers, &answer->link);
  return answer;
}

/* There is no answer: `err` takes its place. */
static const dusk_test_response_t *failed(dusk_test_t *test, int err,
                                          const char *text) {
  dusk__answer_t *answer = new_answer(test);
  if (answer == NULL) return &dusk__answer_no_memory.shown;
  dusk__answer_fail(answer, err, text);
  dusk__answer_add(answer, ": ");
  dusk__answer_add(answer, dusk_strerror(err));
  return &answer->shown;
}

typedef struct hearing {
  dusk_test_client_t *client;
  const char *text; /* or NULL: the whole answer */
  bool has_text;
} hearing_t;

static void hear_end(dusk_test_client_t *client) {
  dusk__answer_t *answer = client->answer;
  dusk__answer_end(answer);
  if (answer->is_whole) return;
  dusk__answer_fail(answer, client->err,
                    answer->has_header
                        ? "the connection ended in the response: "
                        : "the connection ended before a response: ");
  dusk__answer_add(answer, dusk_strerror(client->err));
}

static bool is_over(const dusk__answer_t *answer) {
  return answer->is_whole || answer->is_broken;
}

/* Reads what has come. */
static bool has_heard(void *arg) {
  hearing_t *hearing = arg;
  dusk_test_client_t *client = hearing->client;
  dusk__answer_t *answer = client->answer;
  dusk__bytes_t *input = &client->input;
  while (!is_over(answer) && client->parsed < input->len)
    client->parsed += dusk__answer_read(answer, input->bytes + client->parsed,
                                        input->len - client->parsed);
  if (client->parsed == input->len) client->parsed = input->len = 0;
  if (!is_over(answer) && client->err < 0) hear_end(client);
  if (hearing->text)
    hearing->has_text = dusk__answer_has(answer, hearing->text);
  return hearing->has_text || is_over(answer);
}

static void tell_late(dusk__answer_t *answer, uint64_t timeout_ms) {
  char text[80];
  snprintf(text, sizeof(text), "nothing more came within %llu ms",
           (unsigned long long)timeout_ms);
  dusk__answer_tell(answer, UV_ETIMEDOUT, text);
}

static const dusk_test_response_t *hear(hearing_t *hearing) {
  dusk_test_client_t *client = hearing->client;
  dusk_test_t *test = client->test;
  if (test->is_waiting) return failed(test, UV_EBUSY, "asked in a callback");
  if (client->answer == NULL) client->answer = new_answer(test);
  dusk__answer_t *answer = client->answer;
  if (answer == NULL) return &dusk__answer_no_memory.shown;
  if (!answer->has_header) answer->is_bodyless = client->asked_head;
  dusk__answer_tell(answer, 0, "");
  dusk__client_read(client, true);
  int err = dusk_test_await(test, has_heard, hearing);
  dusk__client_read(client, false);
  if (err < 0) {
    tell_late(answer, test->timeout_ms);
  } else if (hearing->text && !hearing->has_text && answer->is_whole) {
    dusk__answer_tell(answer, UV_ENOENT, "the response ended without ");
    dusk__answer_add(answer, hearing->text);
  }
  if (is_over(answer) && !hearing->has_text) client->answer = NULL;
  return &answer->shown;
}

static const dusk__answer_t nobody = {
    .shown = {.err = UV_EINVAL, .error = "an argument is NULL", .body = ""}};

const dusk_test_response_t *dusk_test_hear(dusk_test_client_t *client) {
  if (client == NULL) return &nobody.shown;
  return hear(&(hearing_t){.client = client});
}

const dusk_test_response_t *dusk_test_hear_until(dusk_test_client_t *client,
                                                 const char *text) {
  if (client == NULL || text == NULL) return &nobody.shown;
  return hear(&(hearing_t){.client = client, .text = text});
}

/* -- Both at once ---------------------------------------------------------- */

/* Hears what was sent with `err`, and leaves. */
static const dusk_test_response_t *hear_once(dusk_test_client_t *client,
                                             int err) {
  const dusk_test_response_t *response =
      err < 0 ? failed(client->test, err, "sending failed")
              : dusk_test_hear(client);
  dusk__client_leave(client);
  return response;
}

const dusk_test_response_t *dusk_test_do(dusk_test_t *test,
                                         const dusk_test_request_t *request) {
  if (test == NULL || request == NULL) return &nobody.shown;
  dusk_test_client_t *client;
  int err = dusk_test_connect(test, &client);
  if (err < 0) return failed(test, err, "connecting failed");
  return hear_once(client, dusk_test_request(client, request));
}

const dusk_test_response_t *dusk_test_get(dusk_test_t *test,
                                          const char *target) {
  return dusk_test_do(test, &(dusk_test_request_t){.target = target});
}

const dusk_test_response_t *dusk_test_raw(dusk_test_t *test, const void *bytes,
                                          size_t len) {
  if (test == NULL || bytes == NULL) return &nobody.shown;
  dusk_test_client_t *client;
  int err = dusk_test_connect(test, &client);
  if (err < 0) return failed(test, err, "connecting failed");
  return hear_once(client, dusk_test_send(client, bytes, len));
}

/* -- Closing --------------------------------------------------------------- */

/* What is left, in words: of several things the first. */
typedef struct left {
  int err;
  char *buf;
  size_t size;
} left_t;

static void tell(left_t *left, int err, const char *text) {
  if (left->err == 0 && left->buf) snprintf(left->buf, left->size, "%s", text);
  if (left->err == 0) left->err = err;
}

static void tell_report(left_t *left, const dusk_report_t *report) {
  char text[512];
  if (report->requests_unended > 0) {
    snprintf(text, sizeof(text), "responses never ended: %llu; the oldest: %s",
             (unsigned long long)report->requests_unended, report->oldest);
    tell(left, UV_EBUSY, text);
  } else if (report->status < 0 && report->status != UV_ECONNABORTED) {
    dusk_report_text(report, text, sizeof(text));
    tell(left, report->status, text);
  }
}

static void leave_all(dusk_test_t *test) {
  dusk__link_t *head = &test->clients;
  for (dusk__link_t *link = head->next; link != head; link = link->next)
    dusk__client_leave(DUSK__OWNER(link, dusk_test_client_t, link));
}

static dusk_report_t report_of(const dusk_test_t *test) {
  dusk_report_t report;
  dusk_server_report(test->server, &report);
  return report;
}

/* Without memory for a bound it is cut. */
static void drain(dusk_test_t *test, left_t *left) {
  dusk_context_t *bound;
  int err =
      dusk_context_with_timeout(test->root, test->timeout_ms, NULL, &bound);
  if (err == 0) {
    err = dusk_server_shutdown(test->server, bound, NULL, NULL);
    dusk_context_unref(bound);
  }
  if (err < 0) dusk_server_close(test->server);
  while (report_of(test).phase != DUSK_CLOSED)
    uv_run(loop_of(test), UV_RUN_ONCE);
  dusk_report_t report = report_of(test);
  tell_report(left, &report);
  dusk_server_unref(test->server);
}

/* What still keeps the loop, and isn't about to go. */
static void name_handle(uv_handle_t *handle, void *arg) {
  if (uv_has_ref(handle) && uv_is_active(handle) && !uv_is_closing(handle))
    *(const char **)arg = uv_handle_type_name(handle->type);
}

/* Turns the loop of its own until nothing keeps it; false: something does. */
static bool empty_loop(dusk_test_t *test, left_t *left) {
  start_timer(test);
  uv_unref((uv_handle_t *)&test->timer);
  while (uv_loop_alive(&test->loop) && !test->is_late)
    uv_run(&test->loop, UV_RUN_ONCE);
  uv_timer_stop(&test->timer);
  if (!uv_loop_alive(&test->loop)) return true;
  char text[80];
  const char *type = "request";
  uv_walk(&test->loop, name_handle, &type);
  snprintf(text, sizeof(text), "left on the loop: a libuv %s", type);
  tell(left, UV_EBUSY, text);
  return false;
}

static void on_timer_closed(uv_handle_t *handle) {
  DUSK__OWNER(handle, dusk_test_t, timer)->has_closed = true;
}

/* What is the test's on the loop goes. */
static void close_handles(dusk_test_t *test) {
  uv_close((uv_handle_t *)&test->timer, on_timer_closed);
  while (!test->has_closed || !dusk__list_empty(&test->clients))
    uv_run(loop_of(test), UV_RUN_NOWAIT);
}

/* False: it stays, for something is left on it. */
static bool close_loop(dusk_test_t *test, left_t *left) {
  int err = dusk_context_detach(test->root, NULL, NULL);
  while (err == 0 && uv_run(&test->loop, UV_RUN_NOWAIT))
    continue;
  if (err == 0) err = uv_loop_close(&test->loop);
  if (err < 0) tell(left, err, "left on the loop: a waiter, call or handle");
  return err == 0;
}

static void free_answers(dusk_test_t *test) {
  while (!dusk__list_empty(&test->answers)) {
    dusk__link_t *link = test->answers.next;
    dusk__list_remove(link);
    dusk__answer_free(DUSK__OWNER(link, dusk__answer_t, link));
  }
}

int dusk_test_close(dusk_test_t *test, char *buf, size_t size) {
  left_t left = {.buf = size > 0 ? buf : NULL, .size = size};
  if (left.buf) left.buf[0] = '\0';
  if (test == NULL) return 0;
  if (test->is_waiting) {
    tell(&left, UV_EBUSY, "closed in a callback of its loop");
    return left.err;
  }
  leave_all(test);
  drain(test, &left);
  /* By who may end a response yet, or on the loop. */
  bool stays = test->owns_loop && left.err == UV_EBUSY;
  bool is_empty = !test->owns_loop || empty_loop(test, &left);
  close_handles(test);
  free_answers(test);
  if (test->owns_loop && !(is_empty && close_loop(test, &left))) stays = true;
  if (!stays) free(test);
  return left.err;
}
