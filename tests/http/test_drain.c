/* The drain's state machine and the library's calls around it. */
#include "loopback.h"
#include "lanes.h"

#include "drop_acks.h"

#include <string.h>
#include <unistd.h>

#define DEFAULTS ((dusk_server_config_t){0})
#define REQUEST "GET / HTTP/1.1\r\nHost: h\r\n\r\n"

static void answer(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  (void)arg;
  dusk_response_end(res, "hello\n", 6);
}

static int open_plain(loopback_t *lb) {
  dusk_server_config_t config = {.handler = answer};
  loopback_open(lb, &config);
  return loopback_connect(lb);
}

static void on_status(dusk_server_t *server, int status, void *arg) {
  (void)server;
  *(int *)arg = status;
}

static void run_until_told(loopback_t *lb, const int *status) {
  while (*status == 1)
    uv_run(&lb->loop, UV_RUN_ONCE);
}

static dusk_context_t *cancellable(loopback_t *lb) {
  dusk_context_t *ctx;
  assert_int_equal(dusk_context_with_cancel(lb->root, &ctx), 0);
  return ctx;
}

static void a_half_way_handshake_is_waited_for(void **state) {
  (void)state;
  loopback_t lb;
  int first = open_plain(&lb);
  char buf[512];
  loopback_send(first, REQUEST);
  loopback_receive(&lb, first, buf, sizeof(buf), "hello\n");
  close(first);
  dusk__source_t *source = dusk__acceptor_next(&lb.server->acceptor, NULL);
  drop_acks(source->listener.fd);
  int client = loopback_connect(&lb);
  loopback_send(client, REQUEST);
  loopback_shutdown(&lb, 10000);
  assert_int_equal(lb.shutdown_status, 0);
  loopback_receive(&lb, client, buf, sizeof(buf), NULL);
  assert_non_null(strstr(buf, "Connection: close\r\n"));
  assert_non_null(strstr(buf, "\r\n\r\nhello\n"));
  dusk_report_t report = loopback_report(&lb);
  assert_int_equal(report.conns_accepted, 1);
  assert_int_equal(report.seal, DUSK_SEAL_EXACT);
  loopback_assert_adds_up(&report);
  close(client);
  loopback_finish(&lb);
}

static void seed_009_result_0(void **state) {
  (void)state;
  loopback_t lb;
  int client = open_plain(&lb);
  loopback_shutdown(&lb, 5000);
  assert_int_equal(lb.shutdown_status, 0);
  assert_int_equal(lb.served_err, DUSK_ESERVERCLOSED); /* SRV-002 */
  char buf[16];
  assert_int_equal(loopback_receive(&lb, client, buf, sizeof(buf), NULL), 0);
  dusk_report_t report = loopback_report(&lb);
  assert_int_equal(report.conns_unused, 1);
  loopback_assert_adds_up(&report);
  close(client);
  loopback_finish(&lb);
}

static void seed_009_result_deadline(void **state) {
  (void)state;
  loopback_t lb;
  held_t held;
  int client = loopback_hold(&lb, &held, DEFAULTS,
                             "GET /slow?x=1 HTTP/1.1\r\nHost: h\r\n\r\n");
  dusk_context_t *ctx = dusk_request_context(held.req);
  assert_non_null(ctx);
  assert_int_equal(dusk_context_deadline(ctx), DUSK_OFF);
  loopback_shutdown(&lb, 300);
  assert_int_equal(lb.shutdown_status, UV_ETIMEDOUT);
  /* The grace before: the hard cancel, by its cause. */
  assert_ptr_equal(dusk_context_cause(ctx), &dusk_drain_cancelled);
  dusk_report_t report = loopback_report(&lb);
  assert_int_equal(report.requests_cut, 1);
  assert_int_equal(report.requests_cancelled, 1);
  assert_int_equal(report.conns_cut, 1);
  assert_string_equal(report.oldest, "GET /slow?x=1");
  loopback_assert_adds_up(&report);
  char buf[16];
  assert_int_equal(loopback_receive(&lb, client, buf, sizeof(buf), NULL), 0);
  /* The handler still has them: writes say so, and end releases. */
  assert_int_equal(dusk_response_write(held.res, "x", 1), UV_ECANCELED);
  assert_string_equal(dusk_request_path(held.req), "/slow");
  assert_int_equal(dusk_response_end(held.res, NULL, 0), UV_ECANCELED);
  close(client);
  loopback_finish(&lb);
}

static void seed_009_result_cancelled(void **state) {
  (void)state;
  loopback_t lb;
  held_t held;
  int client = loopback_hold(&lb, &held, DEFAULTS, REQUEST);
  dusk_context_t *bound = cancellable(&lb);
  int status = 1;
  assert_int_equal(dusk_server_shutdown(lb.server, bound, on_status, &status),
                   0);
  dusk_context_cancel(bound, NULL);
  run_until_told(&lb, &status);
  assert_int_equal(status, UV_ECANCELED);
  dusk_response_end(held.res, NULL, 0);
  dusk_context_unref(bound);
  close(client);
  loopback_finish(&lb);
}

/* What ends in the grace still gets its answer out, and is told apart. */
static void an_answer_in_the_grace_goes_out(void **state) {
  (void)state;
  loopback_t lb;
  held_t held;
  int client = loopback_hold(&lb, &held, DEFAULTS, REQUEST);
  dusk_context_t *bound = cancellable(&lb);
  int status = 1;
  assert_int_equal(dusk_server_shutdown(lb.server, bound, on_status, &status),
                   0);
  dusk_context_cancel(bound, NULL);
  while (dusk_context_err(dusk_request_context(held.req)) == 0)
    uv_run(&lb.loop, UV_RUN_ONCE);
  assert_int_equal(dusk_response_end(held.res, "late", 4), 0);
  run_until_told(&lb, &status);
  assert_int_equal(status, UV_ECANCELED);
  char buf[512];
  loopback_receive(&lb, client, buf, sizeof(buf), NULL);
  assert_non_null(strstr(buf, "\r\n\r\nlate"));
  dusk_report_t report = loopback_report(&lb);
  assert_int_equal(report.requests_answered, 1);
  assert_int_equal(report.requests_cancelled, 1);
  loopback_assert_adds_up(&report);
  dusk_context_unref(bound);
  close(client);
  loopback_finish(&lb);
}

/* Bounded by the grace that is left. */
static void a_bound_cancelled_in_the_grace_cuts(void **state) {
  (void)state;
  loopback_t lb;
  held_t held;
  int client = loopback_hold(&lb, &held, DEFAULTS, REQUEST);
  dusk_context_t *bound;
  int status = 1;
  assert_int_equal(dusk_context_with_timeout(lb.root, 600, NULL, &bound), 0);
  assert_int_equal(dusk_server_shutdown(lb.server, bound, on_status, &status),
                   0);
  while (dusk_context_err(dusk_request_context(held.req)) == 0)
    uv_run(&lb.loop, UV_RUN_ONCE);
  dusk_context_cancel(bound, NULL);
  run_until_told(&lb, &status);
  assert_true(status == UV_ETIMEDOUT || status == UV_ECANCELED);
  dusk_report_t report = loopback_report(&lb);
  assert_int_equal(report.conns_cut, 1);
  dusk_response_end(held.res, NULL, 0);
  dusk_context_unref(bound);
  close(client);
  loopback_finish(&lb);
}

static void srv_029_ended_bound_on_an_idle_server(void **state) {
  (void)state;
  loopback_t lb;
  int client = open_plain(&lb);
  char buf[512];
  loopback_send(client, REQUEST);
  loopback_receive(&lb, client, buf, sizeof(buf), "hello\n");
  dusk_context_t *bound = cancellable(&lb);
  dusk_context_cancel(bound, NULL);
  int status = 1;
  assert_int_equal(dusk_server_shutdown(lb.server, bound, on_status, &status),
                   0);
  assert_int_equal(status, 1); /* never inside the call */
  run_until_told(&lb, &status);
  assert_int_equal(status, 0);
  dusk_context_unref(bound);
  close(client);
  loopback_finish(&lb);
}

static void srv_048_and_050_shutdown_again(void **state) {
  (void)state;
  loopback_t lb;
  held_t held;
  int client = loopback_hold(&lb, &held, DEFAULTS, REQUEST);
  dusk_context_t *bound = cancellable(&lb);
  int status[3] = {1, 1, 1};
  for (int i = 0; i < 2; i++)
    assert_int_equal(
        dusk_server_shutdown(lb.server, bound, on_status, &status[i]), 0);
  dusk_response_end(held.res, NULL, 0);
  run_until_told(&lb, &status[0]);
  run_until_told(&lb, &status[1]);
  /* And when all is over. */
  assert_int_equal(
      dusk_server_shutdown(lb.server, bound, on_status, &status[2]), 0);
  run_until_told(&lb, &status[2]);
  for (int i = 0; i < 3; i++)
    assert_int_equal(status[i], 0);
  dusk_context_unref(bound);
  close(client);
  loopback_finish(&lb);
}

static void a_later_bound_brings_the_end_nearer(void **state) {
  (void)state;
  loopback_t lb;
  held_t held;
  int client = loopback_hold(&lb, &held, DEFAULTS, REQUEST);
  dusk_context_t *far = cancellable(&lb);
  int status = 1;
  assert_int_equal(dusk_server_shutdown(lb.server, far, on_status, &status), 0);
  loopback_shutdown(&lb, 100);
  assert_int_equal(lb.shutdown_status, UV_ETIMEDOUT);
  run_until_told(&lb, &status);
  assert_int_equal(status, UV_ETIMEDOUT);
  dusk_response_end(held.res, NULL, 0);
  dusk_context_unref(far);
  close(client);
  loopback_finish(&lb);
}

static void shutdown_needs_a_bound(void **state) {
  (void)state;
  loopback_t lb;
  int client = open_plain(&lb);
  assert_int_equal(dusk_server_shutdown(lb.server, NULL, NULL, NULL),
                   UV_EINVAL);
  assert_int_equal(loopback_report(&lb).phase, DUSK_SERVING);
  close(client);
  loopback_close(&lb, 5000);
}

static void srv_051_and_052_never_served(void **state) {
  (void)state;
  loopback_t lb = {.shutdown_status = 1};
  assert_int_equal(uv_loop_init(&lb.loop), 0);
  assert_int_equal(dusk_context_attach(&lb.loop, &lb.root), 0);
  dusk_server_config_t config = {.handler = answer};
  assert_int_equal(dusk_server_new(lb.root, &config, &lb.server), 0);
  loopback_shutdown(&lb, 5000);
  assert_int_equal(lb.shutdown_status, 0);
  assert_int_equal(dusk_server_serve(lb.server, "127.0.0.1:0", NULL, NULL),
                   DUSK_ESERVERCLOSED);
  loopback_finish(&lb);
}

static void srv_060_close_cuts_at_once(void **state) {
  (void)state;
  loopback_t lb;
  held_t held;
  int client = loopback_hold(&lb, &held, DEFAULTS, REQUEST);
  dusk_context_t *ctx = dusk_request_context(held.req);
  dusk_server_close(lb.server);
  assert_int_equal(dusk_context_err(ctx), UV_ECANCELED); /* SRV-062 */
  assert_ptr_equal(dusk_context_cause(ctx), &dusk_server_closed);
  assert_int_equal(dusk_response_end(held.res, "x", 1), UV_ECANCELED);
  char buf[16];
  assert_int_equal(loopback_receive(&lb, client, buf, sizeof(buf), NULL), 0);
  while (lb.served_err == 1)
    uv_run(&lb.loop, UV_RUN_ONCE);
  assert_int_equal(lb.served_err, DUSK_ESERVERCLOSED); /* SRV-063 */
  dusk_server_close(lb.server);                        /* SRV-064 */
  close(client);
  loopback_finish(&lb);
}

static void srv_067_close_ends_a_waiting_shutdown(void **state) {
  (void)state;
  loopback_t lb;
  held_t held;
  int client = loopback_hold(&lb, &held, DEFAULTS, REQUEST);
  dusk_context_t *bound = cancellable(&lb);
  int status = 1;
  assert_int_equal(dusk_server_shutdown(lb.server, bound, on_status, &status),
                   0);
  dusk_server_close(lb.server);
  run_until_told(&lb, &status);
  assert_int_equal(status, UV_ECANCELED); /* something was cut: we tell */
  dusk_response_end(held.res, NULL, 0);
  dusk_context_unref(bound);
  close(client);
  loopback_finish(&lb);
}

static void unref_closes(void **state) {
  (void)state;
  loopback_t lb;
  int client = open_plain(&lb);
  loopback_finish(&lb);
  close(client);
}

static void count_hook(dusk_server_t *server, void *arg) {
  (void)server;
  ++*(int *)arg;
}

static void srv_025_hooks_run_once(void **state) {
  (void)state;
  loopback_t lb;
  int client = open_plain(&lb);
  int calls = 0;
  assert_int_equal(dusk_server_on_shutdown(lb.server, count_hook, &calls), 0);
  assert_int_equal(dusk_server_on_shutdown(lb.server, NULL, NULL), UV_EINVAL);
  loopback_shutdown(&lb, 5000);
  assert_int_equal(calls, 1);
  /* SRV-057: too late */
  assert_int_equal(dusk_server_on_shutdown(lb.server, count_hook, &calls), 0);
  lb.shutdown_status = 1;
  loopback_shutdown(&lb, 5000);
  assert_int_equal(calls, 1);
  close(client);
  loopback_finish(&lb);
}

static void srv_058_close_runs_no_hooks(void **state) {
  (void)state;
  loopback_t lb;
  int client = open_plain(&lb);
  int calls = 0;
  assert_int_equal(dusk_server_on_shutdown(lb.server, count_hook, &calls), 0);
  dusk_server_close(lb.server);
  loopback_finish(&lb);
  assert_int_equal(calls, 0);
  close(client);
}

static void draining_context_tells_requests(void **state) {
  (void)state;
  loopback_t lb;
  held_t held;
  int client = loopback_hold(&lb, &held, DEFAULTS, REQUEST);
  dusk_context_t *draining = dusk_request_draining(held.req);
  dusk_context_t *ctx = dusk_request_context(held.req);
  assert_int_equal(dusk_context_err(draining), 0);
  dusk_context_t *bound;
  assert_int_equal(dusk_context_with_timeout(lb.root, 5000, NULL, &bound), 0);
  int status = 1;
  assert_int_equal(dusk_server_shutdown(lb.server, bound, on_status, &status),
                   0);
  assert_int_equal(dusk_context_err(draining), UV_ECANCELED);
  assert_int_equal(dusk_context_err(ctx), 0); /* no error */
  assert_true(dusk_context_deadline(ctx) <= dusk_context_deadline(bound));
  dusk_response_end(held.res, NULL, 0);
  run_until_told(&lb, &status);
  assert_int_equal(status, 0);
  dusk_context_unref(bound);
  close(client);
  loopback_finish(&lb);
}

static void lame_duck_can_be_undone(void **state) {
  (void)state;
  loopback_t lb;
  int client = open_plain(&lb);
  char buf[512];
  dusk_server_lame_duck(lb.server, true);
  assert_int_equal(loopback_report(&lb).phase, DUSK_LAME_DUCK);
  loopback_send(client, REQUEST);
  loopback_receive(&lb, client, buf, sizeof(buf), NULL); /* to its end */
  assert_non_null(strstr(buf, "Connection: close\r\n"));
  dusk_server_lame_duck(lb.server, false);
  int other = loopback_connect(&lb);
  loopback_send(other, REQUEST);
  loopback_receive(&lb, other, buf, sizeof(buf), "hello\n");
  assert_null(strstr(buf, "Connection: close\r\n"));
  close(client);
  close(other);
  loopback_close(&lb, 5000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_half_way_handshake_is_waited_for),
      cmocka_unit_test(seed_009_result_0),
      cmocka_unit_test(seed_009_result_deadline),
      cmocka_unit_test(seed_009_result_cancelled),
      cmocka_unit_test(an_answer_in_the_grace_goes_out),
      cmocka_unit_test(a_bound_cancelled_in_the_grace_cuts),
      cmocka_unit_test(srv_029_ended_bound_on_an_idle_server),
      cmocka_unit_test(srv_048_and_050_shutdown_again),
      cmocka_unit_test(a_later_bound_brings_the_end_nearer),
      cmocka_unit_test(shutdown_needs_a_bound),
      cmocka_unit_test(srv_051_and_052_never_served),
      cmocka_unit_test(srv_060_close_cuts_at_once),
      cmocka_unit_test(srv_067_close_ends_a_waiting_shutdown),
      cmocka_unit_test(unref_closes),
      cmocka_unit_test(srv_025_hooks_run_once),
      cmocka_unit_test(srv_058_close_runs_no_hooks),
      cmocka_unit_test(draining_context_tells_requests),
      cmocka_unit_test(lame_duck_can_be_undone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
