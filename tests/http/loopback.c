#include "loopback.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { GIVE_UP_MS = 10000, LOOK_MS = 5 };

static void on_served(dusk_server_t *server, int err, void *arg) {
  (void)server;
  ((loopback_t *)arg)->served_err = err;
}

void loopback_make(loopback_t *lb, const dusk_server_config_t *config) {
  memset(lb, 0, sizeof(*lb));
  lb->shutdown_status = lb->served_err = 1;
  assert_int_equal(uv_loop_init(&lb->loop), 0);
  assert_int_equal(dusk_context_attach(&lb->loop, &lb->root), 0);
  assert_int_equal(dusk_server_new(lb->root, config, &lb->server), 0);
  lb->is_open = true;
}

void loopback_open(loopback_t *lb, const dusk_server_config_t *config) {
  loopback_make(lb, config);
  assert_int_equal(dusk_server_serve(lb->server, "127.0.0.1:0", on_served, lb),
                   0);
  assert_int_equal(
      dusk_server_address(lb->server, 0, lb->address, sizeof(lb->address)), 0);
}

static void on_shutdown(dusk_server_t *server, int status, void *arg) {
  (void)server;
  ((loopback_t *)arg)->shutdown_status = status;
}

void loopback_shutdown(loopback_t *lb, uint64_t bound_ms) {
  dusk_context_t *bound;
  assert_int_equal(dusk_context_with_timeout(lb->root, bound_ms, NULL, &bound),
                   0);
  assert_int_equal(dusk_server_shutdown(lb->server, bound, on_shutdown, lb), 0);
  dusk_context_unref(bound);
  uv_timer_t watch;
  loopback_watch(lb, &watch);
  while (lb->shutdown_status == 1)
    uv_run(&lb->loop, UV_RUN_ONCE);
  loopback_unwatch(lb, &watch);
}

void loopback_finish(loopback_t *lb) {
  dusk_server_unref(lb->server);
  uv_run(&lb->loop, UV_RUN_DEFAULT);
  assert_int_equal(dusk_context_detach(lb->root, NULL, NULL), 0);
  uv_run(&lb->loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&lb->loop), 0);
  lb->is_open = false;
}

void loopback_close(loopback_t *lb, uint64_t bound_ms) {
  loopback_shutdown(lb, bound_ms);
  loopback_finish(lb);
}

dusk_report_t loopback_report(const loopback_t *lb) {
  dusk_report_t report;
  dusk_server_report(lb->server, &report);
  return report;
}

void loopback_assert_adds_up(const dusk_report_t *r) {
  assert_int_equal(r->conns_open + r->conns_accepted,
                   r->conns_answered + r->conns_idle + r->conns_unused +
                       r->conns_refused + r->conns_hijacked + r->conns_cut +
                       r->conns_gone);
  assert_int_equal(r->requests_running + r->requests_begun,
                   r->requests_answered + r->requests_refused +
                       r->requests_cut + r->requests_gone);
  assert_true(r->conns_late + r->conns_unconfirmed <=
              r->conns_idle + r->conns_unused);
  assert_int_equal(r->conns_now, 0);
  assert_int_equal(r->requests_now, 0);
}

int loopback_connect_blocking(loopback_t *lb) {
  struct sockaddr_in addr = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  addr.sin_port = htons((uint16_t)atoi(strrchr(lb->address, ':') + 1));
  int client = socket(AF_INET, SOCK_STREAM, 0);
  assert_true(client >= 0);
  assert_int_equal(connect(client, (struct sockaddr *)&addr, sizeof(addr)), 0);
  return client;
}

int loopback_connect(loopback_t *lb) {
  int client = loopback_connect_blocking(lb);
  assert_int_equal(fcntl(client, F_SETFL, O_NONBLOCK), 0);
  return client;
}

void loopback_send(int client, const char *text) {
  ssize_t len = (ssize_t)strlen(text);
  assert_int_equal(send(client, text, (size_t)len, MSG_NOSIGNAL), len);
}

static void on_watch(uv_timer_t *timer) {
  if (uv_now(timer->loop) >= (uintptr_t)timer->data)
    fail_msg("nothing came within ten seconds");
}

void loopback_watch(loopback_t *lb, uv_timer_t *timer) {
  assert_int_equal(uv_timer_init(&lb->loop, timer), 0);
  timer->data = (void *)(uintptr_t)(uv_now(&lb->loop) + GIVE_UP_MS);
  assert_int_equal(uv_timer_start(timer, on_watch, LOOK_MS, LOOK_MS), 0);
}

void loopback_unwatch(loopback_t *lb, uv_timer_t *timer) {
  uv_close((uv_handle_t *)timer, NULL);
  uv_run(&lb->loop, UV_RUN_NOWAIT);
}

size_t loopback_receive(loopback_t *lb, int client, char *buf, size_t size,
                        const char *until) {
  uv_timer_t timer;
  loopback_watch(lb, &timer);
  size_t len = 0;
  for (;;) {
    ssize_t got = recv(client, buf + len, size - 1 - len, 0);
    if (got > 0) len += (size_t)got;
    buf[len] = '\0';
    bool ended = got == 0 || (got < 0 && errno != EAGAIN);
    if (ended || len == size - 1 || (until && strstr(buf, until))) break;
    uv_run(&lb->loop, UV_RUN_NOWAIT);
  }
  loopback_unwatch(lb, &timer);
  return len;
}

static void on_over(uv_timer_t *timer) {
  *(int *)timer->data = 1;
}

void loopback_run_for(loopback_t *lb, uint64_t ms) {
  int over = 0;
  uv_timer_t timer = {.data = &over};
  uv_timer_t watch;
  loopback_watch(lb, &watch);
  assert_int_equal(uv_timer_init(&lb->loop, &timer), 0);
  assert_int_equal(uv_timer_start(&timer, on_over, ms, 0), 0);
  while (!over)
    uv_run(&lb->loop, UV_RUN_ONCE);
  uv_close((uv_handle_t *)&timer, NULL);
  loopback_unwatch(lb, &watch);
}

void loopback_run_until(loopback_t *lb, const int *flag) {
  uv_timer_t timer;
  loopback_watch(lb, &timer);
  while (!*flag)
    uv_run(&lb->loop, UV_RUN_ONCE);
  loopback_unwatch(lb, &timer);
}

void loopback_keep(dusk_response_t *res, dusk_request_t *req, void *arg) {
  held_t *held = arg;
  held->res = res;
  held->req = req;
  held->called++;
}

int loopback_hold(loopback_t *lb, held_t *held, dusk_server_config_t config,
                  const char *request) {
  memset(held, 0, sizeof(*held));
  config.handler = loopback_keep;
  config.handler_arg = held;
  loopback_open(lb, &config);
  int client = loopback_connect(lb);
  loopback_send(client, request);
  loopback_run_until(lb, &held->called);
  return client;
}
