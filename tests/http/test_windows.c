/* Who may still ask in a drain, and until when; and that time is what it is
 * when a handler has taken some. Here time itself is what is tested, so that a
 * process that stands still for 200 ms may fail; the simulated world, whose
 * clock is its own, has the rules in full. */
#include "loopback.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"

enum { HELD_MAX = 64, BLOCKED_MS = 450 };

static dusk_response_t *held[HELD_MAX];
static int held_count;

/* /held is left to the test, /block keeps the loop for a while. */
static void serve(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  const char *path = dusk_request_path(req);
  if (strcmp(path, "/held") == 0) {
    held[held_count++] = res;
    return;
  }
  if (strcmp(path, "/block") == 0) uv_sleep(BLOCKED_MS);
  dusk_response_end(res, "hello\n", 6);
}

static void open_with(loopback_t *lb, dusk_server_config_t config) {
  held_count = 0;
  config.handler = serve;
  loopback_open(lb, &config);
}

/* From another address, and so another peer. */
static int connect_from(loopback_t *lb, const char *address) {
  struct sockaddr_in from = {.sin_family = AF_INET};
  struct sockaddr_in to = {.sin_family = AF_INET,
                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  to.sin_port = htons((uint16_t)atoi(strrchr(lb->address, ':') + 1));
  assert_int_equal(inet_pton(AF_INET, address, &from.sin_addr), 1);
  int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  assert_int_equal(bind(client, (struct sockaddr *)&from, sizeof(from)), 0);
  assert_true(connect(client, (struct sockaddr *)&to, sizeof(to)) == 0 ||
              errno == EINPROGRESS);
  return client;
}

static void ask(loopback_t *lb, int client, const char *request) {
  char buf[512];
  loopback_send(client, request);
  loopback_receive(lb, client, buf, sizeof(buf), "hello\n");
  assert_non_null(strstr(buf, "hello\n"));
}

static int hold(loopback_t *lb) {
  int client = loopback_connect(lb);
  int before = held_count;
  loopback_send(client, GET("/held"));
  while (held_count == before)
    uv_run(&lb->loop, UV_RUN_ONCE);
  return client;
}

static void on_shutdown(dusk_server_t *server, int status, void *arg) {
  (void)server;
  ((loopback_t *)arg)->shutdown_status = status;
}

static void begin_stop(loopback_t *lb, uint64_t bound_ms) {
  dusk_context_t *bound;
  assert_int_equal(dusk_context_with_timeout(lb->root, bound_ms, NULL, &bound),
                   0);
  assert_int_equal(dusk_server_shutdown(lb->server, bound, on_shutdown, lb), 0);
  dusk_context_unref(bound);
}

static dusk_report_t end_stop(loopback_t *lb) {
  while (lb->shutdown_status == 1)
    uv_run(&lb->loop, UV_RUN_ONCE);
  dusk_report_t report = loopback_report(lb);
  loopback_assert_adds_up(&report);
  loopback_finish(lb);
  return report;
}

static bool has_ended(int client) {
  char byte;
  return recv(client, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static size_t count(const char *text, const char *part) {
  size_t found = 0;
  while ((text = strstr(text, part))) {
    found++;
    text += strlen(part);
  }
  return found;
}

static void a_batch_in_the_window_is_answered_whole(void **state) {
  (void)state;
  loopback_t lb;
  char buf[4096];
  open_with(&lb, (dusk_server_config_t){0});
  int client = hold(&lb);
  dusk_response_write(held[0], "stream\n", 7);
  loopback_receive(&lb, client, buf, sizeof(buf), "stream\n");
  begin_stop(&lb, 5000);
  dusk_response_end(held[0], NULL, 0);
  loopback_receive(&lb, client, buf, sizeof(buf), "0\r\n\r\n");
  loopback_send(client, GET("/1") GET("/2") GET("/3"));
  loopback_receive(&lb, client, buf, sizeof(buf), NULL);
  assert_int_equal(count(buf, "\r\n\r\nhello\n"), 3);
  assert_int_equal(count(buf, "Connection: close\r\n"), 1);
  close(client);
  dusk_report_t report = end_stop(&lb);
  assert_int_equal(report.requests_answered, 4);
  assert_int_equal(report.status, 0);
}

static void line_ends_are_no_further_request(void **state) {
  (void)state;
  loopback_t lb;
  char buf[512];
  open_with(&lb, (dusk_server_config_t){0});
  int client = loopback_connect(&lb);
  ask(&lb, client, GET("/"));
  begin_stop(&lb, 5000);
  loopback_send(client, GET("/") "\r\n");
  loopback_receive(&lb, client, buf, sizeof(buf), "hello\n");
  assert_non_null(strstr(buf, "Connection: close\r\n"));
  close(client);
  assert_int_equal(end_stop(&lb).conns_answered, 1);
}

static void line_ends_do_not_hold_an_idle_connection(void **state) {
  (void)state;
  loopback_t lb;
  open_with(&lb, (dusk_server_config_t){.quiet_window_ms = 50});
  int client = loopback_connect(&lb);
  ask(&lb, client, GET("/"));
  begin_stop(&lb, 5000);
  while (lb.shutdown_status == 1) {
    send(client, "\r\n", 2, MSG_NOSIGNAL); /* in each turn */
    uv_run(&lb.loop, UV_RUN_NOWAIT);
  }
  close(client);
  dusk_report_t report = end_stop(&lb);
  assert_int_equal(report.conns_idle, 1);
  assert_int_equal(report.conns_late, 0);
}

static void a_window_begins_with_the_answer(void **state) {
  (void)state;
  loopback_t lb;
  open_with(&lb, (dusk_server_config_t){.quiet_window_ms = 500});
  int client = loopback_connect(&lb);
  ask(&lb, client, GET("/block"));
  begin_stop(&lb, 5000);
  loopback_run_for(&lb, 250);
  ask(&lb, client, GET("/"));
  close(client);
  assert_int_equal(end_stop(&lb).requests_answered, 1);
}

static void an_idle_time_out_begins_with_the_answer(void **state) {
  (void)state;
  loopback_t lb;
  char buf[16];
  open_with(&lb, (dusk_server_config_t){.idle_timeout_ms = 600});
  int client = loopback_connect(&lb);
  ask(&lb, client, GET("/block"));
  uint64_t answered = uv_hrtime();
  assert_int_equal(loopback_receive(&lb, client, buf, sizeof(buf), NULL), 0);
  assert_true(uv_hrtime() - answered >= 598 * 1000000ull);
  close(client);
  loopback_close(&lb, 5000);
}

static void note_duration(dusk_request_t *req, const dusk_request_end_t *end,
                          void *arg) {
  (void)req;
  *(uint64_t *)arg = end->duration_ms;
}

static void a_duration_has_what_the_handler_took(void **state) {
  (void)state;
  loopback_t lb;
  uint64_t duration_ms = 0;
  open_with(&lb, (dusk_server_config_t){.on_request_end = note_duration,
                                        .on_request_end_arg = &duration_ms});
  int client = loopback_connect(&lb);
  ask(&lb, client, GET("/block"));
  assert_true(duration_ms >= BLOCKED_MS - 1);
  close(client);
  loopback_close(&lb, 5000);
}

static void an_answer_renews_its_peers_windows(void **state) {
  (void)state;
  loopback_t lb;
  open_with(&lb, (dusk_server_config_t){.quiet_window_ms = 500});
  int spare = loopback_connect(&lb);
  int stranger = connect_from(&lb, "127.0.0.2");
  ask(&lb, spare, GET("/"));
  ask(&lb, stranger, GET("/"));
  int busy = hold(&lb);
  begin_stop(&lb, 5000);
  loopback_run_for(&lb, 300);
  dusk_response_end(held[0], NULL, 0);
  loopback_run_for(&lb, 250); /* both have been idle for longer than a window */
  assert_true(has_ended(stranger));
  assert_false(has_ended(spare));
  ask(&lb, spare, GET("/"));
  close(spare);
  close(stranger);
  close(busy);
  dusk_report_t report = end_stop(&lb);
  assert_int_equal(report.requests_answered, 2);
  assert_int_equal(report.conns_idle, 1);
}

/* A proxy that trickles requests over a pool would hold a drain to its bound.
 * Unless we were off the processor for a whole window: then it ended rightly,
 * for want of an answer. */
static void a_trickle_renews_for_three_windows(void **state) {
  (void)state;
  enum { BUSY = 60, PACE_MS = 20, WINDOW_MS = 200 };
  const uint64_t window = WINDOW_MS * 1000000ull;
  loopback_t lb;
  int busy[BUSY];
  open_with(&lb, (dusk_server_config_t){.quiet_window_ms = WINDOW_MS});
  for (int i = 0; i < BUSY; i++)
    busy[i] = hold(&lb);
  int spare = loopback_connect(&lb);
  ask(&lb, spare, GET("/"));
  uint64_t began = uv_hrtime(), last = began, longest = 0;
  begin_stop(&lb, 10000);
  int answered = 0;
  while (!has_ended(spare)) {
    assert_true(answered < BUSY);
    dusk_response_end(held[answered++], NULL, 0);
    loopback_run_for(&lb, PACE_MS);
    uint64_t now = uv_hrtime();
    if (now - last > longest) longest = now - last;
    last = now;
  }
  assert_true(last - began >= 3 * window || longest >= window);
  while (answered < BUSY)
    dusk_response_end(held[answered++], NULL, 0);
  for (int i = 0; i < BUSY; i++)
    close(busy[i]);
  close(spare);
  assert_int_equal(end_stop(&lb).requests_answered, BUSY);
}

static void what_comes_after_the_half_close_is_late(void **state) {
  (void)state;
  loopback_t lb;
  char buf[16];
  open_with(&lb, (dusk_server_config_t){.quiet_window_ms = 500});
  int busy = hold(&lb);
  int late = connect_from(&lb, "127.0.0.2");
  int gone = connect_from(&lb, "127.0.0.3");
  int empty = connect_from(&lb, "127.0.0.4");
  int clients[] = {late, gone, empty};
  for (int i = 0; i < 3; i++)
    ask(&lb, clients[i], GET("/"));
  begin_stop(&lb, 5000);
  for (int i = 0; i < 3; i++)
    loopback_receive(&lb, clients[i], buf, sizeof(buf), NULL);
  loopback_send(late, GET("/"));
  loopback_send(late, GET("/")); /* counted in connections */
  loopback_send(empty, "\r\n");
  close(gone);
  loopback_run_for(&lb, 600); /* the other two's stream never ends */
  dusk_response_end(held[0], NULL, 0);
  close(busy);
  dusk_report_t report = end_stop(&lb);
  assert_int_equal(report.conns_late, 1);
  assert_int_equal(report.conns_unconfirmed, 1);
  assert_int_equal(report.conns_idle, 3);
  close(late);
  close(empty);
}

static void what_is_late_while_serving_is_not_the_drains(void **state) {
  (void)state;
  loopback_t lb;
  char buf[16];
  open_with(&lb, (dusk_server_config_t){.idle_timeout_ms = 50});
  int client = loopback_connect(&lb);
  ask(&lb, client, GET("/"));
  loopback_receive(&lb, client, buf, sizeof(buf), NULL);
  loopback_send(client, GET("/"));
  close(client);
  while (loopback_report(&lb).conns_now > 0)
    uv_run(&lb.loop, UV_RUN_ONCE);
  begin_stop(&lb, 5000);
  assert_int_equal(end_stop(&lb).conns_late, 0);
}

static void without_a_window_all_are_unconfirmed(void **state) {
  (void)state;
  loopback_t lb;
  open_with(&lb, (dusk_server_config_t){.quiet_window_ms = DUSK_OFF});
  int idle = loopback_connect(&lb);
  int fresh = loopback_connect(&lb);
  ask(&lb, idle, GET("/"));
  begin_stop(&lb, 5000);
  dusk_report_t report = end_stop(&lb);
  assert_int_equal(report.conns_idle + report.conns_unused, 2);
  assert_int_equal(report.conns_unconfirmed, 2);
  assert_int_equal(report.status, 0);
  close(idle);
  close(fresh);
}

static void windows_tell_how_long_they_held(void **state) {
  (void)state;
  loopback_t lb;
  open_with(&lb, (dusk_server_config_t){.quiet_window_ms = 500});
  int client = loopback_connect(&lb);
  ask(&lb, client, GET("/"));
  begin_stop(&lb, 5000);
  dusk_report_t report = end_stop(&lb);
  assert_in_range(report.window_ms, 200, report.drain_ms);
  close(client);
}

static void who_stands_still_is_cut_and_the_status_says_so(void **state) {
  (void)state;
  loopback_t lb;
  enum { BYTES = 32 << 20 };
  char *body = calloc(1, BYTES);
  open_with(&lb, (dusk_server_config_t){0});
  int client = hold(&lb);
  dusk_response_end(held[0], body, BYTES);
  begin_stop(&lb, 30000);
  dusk_report_t report = end_stop(&lb);
  assert_int_equal(report.conns_cut, 1);
  assert_int_equal(report.status, UV_ECONNABORTED);
  close(client);
  free(body);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_batch_in_the_window_is_answered_whole),
      cmocka_unit_test(line_ends_are_no_further_request),
      cmocka_unit_test(line_ends_do_not_hold_an_idle_connection),
      cmocka_unit_test(a_window_begins_with_the_answer),
      cmocka_unit_test(an_idle_time_out_begins_with_the_answer),
      cmocka_unit_test(a_duration_has_what_the_handler_took),
      cmocka_unit_test(an_answer_renews_its_peers_windows),
      cmocka_unit_test(a_trickle_renews_for_three_windows),
      cmocka_unit_test(what_comes_after_the_half_close_is_late),
      cmocka_unit_test(what_is_late_while_serving_is_not_the_drains),
      cmocka_unit_test(without_a_window_all_are_unconfirmed),
      cmocka_unit_test(windows_tell_how_long_they_held),
      cmocka_unit_test(who_stands_still_is_cut_and_the_status_says_so),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
