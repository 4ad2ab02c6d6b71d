/* house.c: see house.h. */
#include "house.h"

#include "alloc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* -- The test -------------------------------------------------------------- */

enum { FDS = 1024 };

static size_t fds_before;
static size_t blocks_before;

static size_t count_fds(void) {
  size_t count = 0;
  for (int fd = 0; fd < FDS; fd++)
    count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

/* What libuv opens for the whole process is open from now on. */
static void warm_up(void) {
  uv_loop_t loop;
  assert_int_equal(uv_loop_init(&loop), 0);
  assert_int_equal(uv_loop_close(&loop), 0);
}

int house_set_up(void **state) {
  static loopback_t lb;
  warm_up();
  memset(&lb, 0, sizeof(lb));
  fds_before = count_fds();
  blocks_before = alloc_live();
  *state = &lb;
  return 0;
}

int house_tear_down(void **state) {
  loopback_t *lb = *state;
  end_all(lb);
  assert_int_equal(count_fds(), fds_before);
  assert_int_equal(alloc_live(), blocks_before);
  return 0;
}

/* -- The server ------------------------------------------------------------ */

static void answer(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  (void)arg;
  assert_int_equal(dusk_response_end(res, "hello\n", 6), 0);
}

void serve(loopback_t *lb, dusk_server_config_t config) {
  if (config.handler == NULL) config.handler = answer;
  loopback_open(lb, &config);
}

int hold(loopback_t *lb, dusk_server_config_t config, const char *request) {
  config.handler = loopback_keep;
  config.handler_arg = &lb->held;
  serve(lb, config);
  int client = connect_client(lb);
  hold_next(lb, client, request);
  return client;
}

void hold_next(loopback_t *lb, int client, const char *request) {
  lb->held.called = 0;
  say(client, request);
  loopback_run_until(lb, &lb->held.called);
}

void end_all(loopback_t *lb) {
  for (size_t i = 0; i < lb->client_count; i++)
    if (lb->clients[i] >= 0) close(lb->clients[i]);
  lb->client_count = 0;
  if (lb->is_open && lb->server && loopback_report(lb).phase <= DUSK_LAME_DUCK)
    assert_int_not_equal(stop(lb, 5000).status, UV_ETIMEDOUT);
  for (size_t i = 0; i < lb->context_count; i++)
    dusk_context_unref(lb->contexts[i]);
  lb->context_count = 0;
  if (lb->is_open) loopback_finish(lb);
}

/* -- Clients --------------------------------------------------------------- */

int welcome(loopback_t *lb, int client) {
  assert_true(lb->client_count < LOOPBACK_CLIENTS);
  lb->clients[lb->client_count++] = client;
  return client;
}

int connect_client(loopback_t *lb) {
  return welcome(lb, loopback_connect(lb));
}

int connect_from(loopback_t *lb, const char *address) {
  struct sockaddr_in from = {.sin_family = AF_INET};
  struct sockaddr_in to = {.sin_family = AF_INET,
                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  to.sin_port = htons((uint16_t)atoi(strrchr(lb->address, ':') + 1));
  assert_int_equal(inet_pton(AF_INET, address, &from.sin_addr), 1);
  int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  assert_int_equal(bind(client, (struct sockaddr *)&from, sizeof(from)), 0);
  assert_true(connect(client, (struct sockaddr *)&to, sizeof(to)) == 0 ||
              errno == EINPROGRESS);
  return welcome(lb, client);
}

void leave(loopback_t *lb, int client) {
  size_t i = 0;
  while (lb->clients[i] != client)
    assert_true(++i < lb->client_count);
  lb->clients[i] = -1;
  assert_int_equal(close(client), 0);
}

void say(int client, const char *text) {
  loopback_send(client, text);
}

void say_all(loopback_t *lb, int client, const char *text) {
  uv_timer_t watch;
  size_t len = strlen(text);
  loopback_watch(lb, &watch);
  while (len > 0) {
    ssize_t sent = send(client, text, len, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) break; /* it wants no more */
    if (sent > 0) text += sent, len -= (size_t)sent;
    uv_run(&lb->loop, UV_RUN_NOWAIT);
  }
  loopback_unwatch(lb, &watch);
}

const char *hear(loopback_t *lb, int client, const char *until) {
  loopback_receive(lb, client, lb->heard, sizeof(lb->heard), until);
  if (until != NULL) assert_has(lb->heard, until);
  return lb->heard;
}

const char *ask(loopback_t *lb, int client, const char *request) {
  say(client, request);
  return hear(lb, client, "hello\n");
}

static char taken_bytes[1 << 16];

void take_some(loopback_t *lb, int client) {
  while (recv(client, taken_bytes, sizeof(taken_bytes), 0) > 0)
    continue;
  uv_run(&lb->loop, UV_RUN_NOWAIT);
}

/* At most `len` bytes; *ret_end is what ended it, 1 if nothing did. */
static size_t take_to(loopback_t *lb, int client, size_t len, int *ret_end) {
  uv_timer_t watch;
  size_t taken = 0;
  *ret_end = 1;
  loopback_watch(lb, &watch);
  while (taken < len && *ret_end == 1) {
    size_t most = sizeof(taken_bytes);
    if (len - taken < most) most = len - taken;
    ssize_t got = recv(client, taken_bytes, most, 0);
    if (got > 0)
      taken += (size_t)got;
    else if (got == 0 || errno != EAGAIN)
      *ret_end = got == 0 ? 0 : errno;
    uv_run(&lb->loop, UV_RUN_NOWAIT);
  }
  loopback_unwatch(lb, &watch);
  return taken;
}

size_t take(loopback_t *lb, int client, size_t len) {
  int end;
  return take_to(lb, client, len, &end);
}

int end_of_stream(loopback_t *lb, int client) {
  int end;
  take_to(lb, client, SIZE_MAX, &end);
  return end;
}

bool has_ended(int client) {
  char byte;
  return recv(client, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

size_t count_of(const char *text, const char *part) {
  size_t count = 0;
  for (; (text = strstr(text, part)) != NULL; text++)
    count++;
  return count;
}

void assert_has(const char *text, const char *part) {
  if (!strstr(text, part)) fail_msg("no \"%s\" in \"%s\"", part, text);
}

void assert_lacks(const char *text, const char *part) {
  if (strstr(text, part)) fail_msg("\"%s\" in \"%s\"", part, text);
}

/* -- The stop -------------------------------------------------------------- */

static void on_shutdown(dusk_server_t *server, int status, void *arg) {
  (void)server;
  assert_int_equal(*(int *)arg, 1); /* once */
  *(int *)arg = status;
}

void call_shutdown(loopback_t *lb, dusk_context_t *bound, int *ret_status) {
  *ret_status = 1;
  assert_int_equal(
      dusk_server_shutdown(lb->server, bound, on_shutdown, ret_status), 0);
}

void begin_stop(loopback_t *lb, dusk_context_t *bound) {
  call_shutdown(lb, bound, &lb->shutdown_status);
}

dusk_report_t end_stop(loopback_t *lb) {
  AWAIT(lb, lb->shutdown_status != 1);
  dusk_report_t report = loopback_report(lb);
  loopback_assert_adds_up(&report);
  assert_int_equal(report.status, lb->shutdown_status);
  return report;
}

dusk_report_t stop(loopback_t *lb, uint64_t bound_ms) {
  begin_stop(lb, bound_of(lb, bound_ms));
  return end_stop(lb);
}

static dusk_context_t *keep(loopback_t *lb, dusk_context_t *ctx) {
  assert_true(lb->context_count < LOOPBACK_CONTEXTS);
  lb->contexts[lb->context_count++] = ctx;
  return ctx;
}

dusk_context_t *cancellable(loopback_t *lb) {
  dusk_context_t *ctx;
  assert_int_equal(dusk_context_with_cancel(lb->root, &ctx), 0);
  return keep(lb, ctx);
}

dusk_context_t *bound_of(loopback_t *lb, uint64_t ms) {
  dusk_context_t *ctx;
  assert_int_equal(dusk_context_with_timeout(lb->root, ms, NULL, &ctx), 0);
  return keep(lb, ctx);
}

dusk_context_t *held_context(loopback_t *lb) {
  dusk_context_t *ctx = dusk_request_context(lb->held.req);
  assert_non_null(ctx);
  return keep(lb, dusk_context_ref(ctx));
}

/* -- The loop -------------------------------------------------------------- */

void turn(loopback_t *lb, int times) {
  while (times-- > 0)
    uv_run(&lb->loop, UV_RUN_NOWAIT);
}

/* -- Callbacks ------------------------------------------------------------- */

void count_release(void *count) {
  ++*(int *)count;
}

void count_drained(dusk_response_t *res, void *count) {
  (void)res;
  ++*(int *)count;
}
