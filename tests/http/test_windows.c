/* Who may still ask in a drain, and until when; and that time is what it is
 * when a handler has taken some. Here time itself is what is tested, so that a
 * process that stands still for 200 ms may fail; the simulated world, whose
 * clock is its own, has the rules in full. */
#include "house.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define GET_OF(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"

enum { HELD_MAX = 64, BLOCKED_MS = 450 };

static dusk_response_t *held[HELD_MAX];
static int held_count;

/* /held is left to the test, /block keeps the loop for a while. */
static void answer(dusk_response_t *res, dusk_request_t *req, void *arg) {
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
  config.handler = answer;
  serve(lb, config);
}

static int hold_one(loopback_t *lb) {
  int client = connect_client(lb);
  int before = held_count;
  say(client, GET_OF("/held"));
  AWAIT(lb, held_count > before);
  return client;
}

/* With a bound that nothing waits for. */
static void begin(loopback_t *lb) {
  begin_stop(lb, bound_of(lb, 5000));
}

static void a_batch_in_the_window_is_answered_whole(void **state) {
  loopback_t *lb = *state;
  open_with(lb, DEFAULTS);
  int client = hold_one(lb);
  dusk_response_write(held[0], "stream\n", 7);
  hear(lb, client, "stream\n");
  begin(lb);
  dusk_response_end(held[0], NULL, 0);
  hear(lb, client, "0\r\n\r\n");
  say(client, GET_OF("/1") GET_OF("/2") GET_OF("/3"));
  hear(lb, client, NULL);
  assert_int_equal(count_of(lb->heard, "\r\n\r\nhello\n"), 3);
  assert_int_equal(count_of(lb->heard, "Connection: close\r\n"), 1);
  leave(lb, client);
  dusk_report_t report = end_stop(lb);
  assert_int_equal(report.requests_answered, 4);
  assert_int_equal(report.status, 0);
}

static void line_ends_are_no_further_request(void **state) {
  loopback_t *lb = *state;
  open_with(lb, DEFAULTS);
  int client = connect_client(lb);
  ask(lb, client, GET);
  begin(lb);
  say(client, GET "\r\n");
  assert_has(hear(lb, client, "hello\n"), "Connection: close\r\n");
  leave(lb, client);
  assert_int_equal(end_stop(lb).conns_answered, 1);
}

static void line_ends_do_not_hold_an_idle_connection(void **state) {
  loopback_t *lb = *state;
  open_with(lb, (dusk_server_config_t){.quiet_window_ms = 50});
  int client = connect_client(lb);
  ask(lb, client, GET);
  begin(lb);
  while (lb->shutdown_status == 1) {
    send(client, "\r\n", 2, MSG_NOSIGNAL); /* in each turn */
    uv_run(&lb->loop, UV_RUN_NOWAIT);
  }
  leave(lb, client);
  dusk_report_t report = end_stop(lb);
  assert_int_equal(report.conns_idle, 1);
  assert_int_equal(report.conns_late, 0);
}

static void a_window_begins_with_the_answer(void **state) {
  loopback_t *lb = *state;
  open_with(lb, (dusk_server_config_t){.quiet_window_ms = 500});
  int client = connect_client(lb);
  ask(lb, client, GET_OF("/block"));
  begin(lb);
  loopback_run_for(lb, 250);
  ask(lb, client, GET);
  leave(lb, client);
  assert_int_equal(end_stop(lb).requests_answered, 1);
}

static void an_idle_time_out_begins_with_the_answer(void **state) {
  loopback_t *lb = *state;
  open_with(lb, (dusk_server_config_t){.idle_timeout_ms = 600});
  int client = connect_client(lb);
  ask(lb, client, GET_OF("/block"));
  uint64_t answered = uv_hrtime();
  assert_string_equal(hear(lb, client, NULL), "");
  assert_true(uv_hrtime() - answered >= 598 * 1000000ull);
}

static void note_duration(dusk_request_t *req, const dusk_request_end_t *end,
                          void *arg) {
  (void)req;
  *(uint64_t *)arg = end->duration_ms;
}

static void a_duration_has_what_the_handler_took(void **state) {
  loopback_t *lb = *state;
  uint64_t duration_ms = 0;
  open_with(lb, (dusk_server_config_t){.on_request_end = note_duration,
                                       .on_request_end_arg = &duration_ms});
  ask(lb, connect_client(lb), GET_OF("/block"));
  assert_true(duration_ms >= BLOCKED_MS - 1);
}

static void an_answer_renews_its_peers_windows(void **state) {
  loopback_t *lb = *state;
  open_with(lb, (dusk_server_config_t){.quiet_window_ms = 500});
  int spare = connect_client(lb);
  int stranger = connect_from(lb, "127.0.0.2");
  ask(lb, spare, GET);
  ask(lb, stranger, GET);
  int busy = hold_one(lb);
  begin(lb);
  loopback_run_for(lb, 300);
  dusk_response_end(held[0], NULL, 0);
  loopback_run_for(lb, 250); /* both have been idle for longer than a window */
  assert_true(has_ended(stranger));
  assert_false(has_ended(spare));
  ask(lb, spare, GET);
  leave(lb, spare);
  leave(lb, stranger);
  leave(lb, busy);
  dusk_report_t report = end_stop(lb);
  assert_int_equal(report.requests_answered, 2);
  assert_int_equal(report.conns_idle, 1);
}

/* A proxy that trickles requests over a pool would hold a drain to its bound.
 * Unless we were off the processor for a whole window: then it ended rightly,
 * for want of an answer. */
static void a_trickle_renews_for_three_windows(void **state) {
  loopback_t *lb = *state;
  enum { BUSY = 60, PACE_MS = 20, WINDOW_MS = 200 };
  const uint64_t window = WINDOW_MS * 1000000ull;
  int busy[BUSY];
  open_with(lb, (dusk_server_config_t){.quiet_window_ms = WINDOW_MS});
  for (int i = 0; i < BUSY; i++)
    busy[i] = hold_one(lb);
  int spare = connect_client(lb);
  ask(lb, spare, GET);
  uint64_t began = uv_hrtime(), last = began, longest = 0;
  begin_stop(lb, bound_of(lb, 10000));
  int answered = 0;
  while (!has_ended(spare)) {
    assert_true(answered < BUSY);
    dusk_response_end(held[answered++], NULL, 0);
    loopback_run_for(lb, PACE_MS);
    uint64_t now = uv_hrtime();
    if (now - last > longest) longest = now - last;
    last = now;
  }
  assert_true(last - began >= 3 * window || longest >= window);
  while (answered < BUSY)
    dusk_response_end(held[answered++], NULL, 0);
  for (int i = 0; i < BUSY; i++)
    leave(lb, busy[i]);
  leave(lb, spare);
  assert_int_equal(end_stop(lb).requests_answered, BUSY);
}

static void what_comes_after_the_half_close_is_late(void **state) {
  loopback_t *lb = *state;
  open_with(lb, (dusk_server_config_t){.quiet_window_ms = 500});
  int busy = hold_one(lb);
  int late = connect_from(lb, "127.0.0.2");
  int gone = connect_from(lb, "127.0.0.3");
  int empty = connect_from(lb, "127.0.0.4");
  int clients[] = {late, gone, empty};
  for (int i = 0; i < 3; i++)
    ask(lb, clients[i], GET);
  begin(lb);
  for (int i = 0; i < 3; i++)
    hear(lb, clients[i], NULL);
  say(late, GET);
  say(late, GET); /* counted in connections */
  say(empty, "\r\n");
  leave(lb, gone);
  loopback_run_for(lb, 600); /* the other two's stream never ends */
  dusk_response_end(held[0], NULL, 0);
  leave(lb, busy);
  dusk_report_t report = end_stop(lb);
  assert_int_equal(report.conns_late, 1);
  assert_int_equal(report.conns_unconfirmed, 1);
  assert_int_equal(report.conns_idle, 3);
}

static void what_is_late_while_serving_is_not_the_drains(void **state) {
  loopback_t *lb = *state;
  open_with(lb, (dusk_server_config_t){.idle_timeout_ms = 50});
  int client = connect_client(lb);
  ask(lb, client, GET);
  hear(lb, client, NULL);
  say(client, GET);
  leave(lb, client);
  AWAIT(lb, loopback_report(lb).conns_now == 0);
  assert_int_equal(stop(lb, 5000).conns_late, 0);
}

static void without_a_window_all_are_unconfirmed(void **state) {
  loopback_t *lb = *state;
  open_with(lb, (dusk_server_config_t){.quiet_window_ms = DUSK_OFF});
  connect_client(lb); /* which never asks */
  ask(lb, connect_client(lb), GET);
  dusk_report_t report = stop(lb, 5000);
  assert_int_equal(report.conns_idle + report.conns_unused, 2);
  assert_int_equal(report.conns_unconfirmed, 2);
  assert_int_equal(report.status, 0);
}

static void windows_tell_how_long_they_held(void **state) {
  loopback_t *lb = *state;
  open_with(lb, (dusk_server_config_t){.quiet_window_ms = 500});
  ask(lb, connect_client(lb), GET);
  dusk_report_t report = stop(lb, 5000);
  assert_in_range(report.window_ms, 200, report.drain_ms);
}

static void who_stands_still_is_cut_and_the_status_says_so(void **state) {
  loopback_t *lb = *state;
  enum { BYTES = 32 << 20 };
  char *body = calloc(1, BYTES);
  open_with(lb, DEFAULTS);
  hold_one(lb);
  dusk_response_end(held[0], body, BYTES);
  dusk_report_t report = stop(lb, 30000);
  assert_int_equal(report.conns_cut, 1);
  assert_int_equal(report.status, UV_ECONNABORTED);
  free(body);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(a_batch_in_the_window_is_answered_whole),
      house_test(line_ends_are_no_further_request),
      house_test(line_ends_do_not_hold_an_idle_connection),
      house_test(a_window_begins_with_the_answer),
      house_test(an_idle_time_out_begins_with_the_answer),
      house_test(a_duration_has_what_the_handler_took),
      house_test(an_answer_renews_its_peers_windows),
      house_test(a_trickle_renews_for_three_windows),
      house_test(what_comes_after_the_half_close_is_late),
      house_test(what_is_late_while_serving_is_not_the_drains),
      house_test(without_a_window_all_are_unconfirmed),
      house_test(windows_tell_how_long_they_held),
      house_test(who_stands_still_is_cut_and_the_status_says_so),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
