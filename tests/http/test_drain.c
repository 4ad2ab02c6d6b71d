/* The drain's state machine and the library's calls around it. */
#include "house.h"
#include "lanes.h"

#include "drop_acks.h"

#include <string.h>

static int serve_plain(loopback_t *lb) {
  serve(lb, DEFAULTS);
  return connect_client(lb);
}

static void a_half_way_handshake_is_waited_for(void **state) {
  loopback_t *lb = *state;
  int first = serve_plain(lb);
  ask(lb, first, GET);
  leave(lb, first);
  dusk__source_t *source = dusk__acceptor_next(&lb->server->acceptor, NULL);
  drop_acks(source->listener.fd);
  int client = connect_client(lb);
  say(client, GET);
  dusk_report_t report = stop(lb, 10000);
  assert_int_equal(report.status, 0);
  hear(lb, client, NULL);
  assert_has(lb->heard, "Connection: close\r\n");
  assert_has(lb->heard, "\r\n\r\nhello\n");
  assert_int_equal(report.conns_accepted, 1);
  assert_int_equal(report.seal, DUSK_SEAL_EXACT);
}

static void seed_009_result_0(void **state) {
  loopback_t *lb = *state;
  int client = serve_plain(lb);
  dusk_report_t report = stop(lb, 5000);
  assert_int_equal(report.status, 0);
  assert_int_equal(lb->served_err, DUSK_ESERVERCLOSED); /* SRV-002 */
  assert_string_equal(hear(lb, client, NULL), "");
  assert_int_equal(report.conns_unused, 1);
}

static void seed_009_result_deadline(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, "GET /slow?x=1 HTTP/1.1\r\nHost: h\r\n\r\n");
  dusk_context_t *ctx = dusk_request_context(lb->held.req);
  assert_non_null(ctx);
  assert_int_equal(dusk_context_deadline(ctx), DUSK_OFF);
  dusk_report_t report = stop(lb, 300);
  assert_int_equal(report.status, UV_ETIMEDOUT);
  /* The grace before: the hard cancel, by its cause. */
  assert_ptr_equal(dusk_context_cause(ctx), &dusk_drain_cancelled);
  assert_int_equal(report.requests_cut, 1); /* SRV-047 */
  assert_int_equal(report.requests_cancelled, 1);
  assert_int_equal(report.conns_cut, 1);
  assert_string_equal(report.oldest, "GET /slow?x=1");
  assert_string_equal(hear(lb, client, NULL), "");
  /* The handler still has them: writes say so, and end releases. */
  assert_int_equal(dusk_response_write(lb->held.res, "x", 1), UV_ECANCELED);
  assert_string_equal(dusk_request_path(lb->held.req), "/slow");
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), UV_ECANCELED);
}

static void seed_009_result_cancelled(void **state) {
  loopback_t *lb = *state;
  static const dusk_cause_t enough = {UV_EPERM, "enough"};
  hold(lb, DEFAULTS, GET);
  dusk_context_t *bound = cancellable(lb);
  begin_stop(lb, bound);
  dusk_context_cancel(bound, &enough);
  assert_int_equal(end_stop(lb).status, UV_ECANCELED); /* SRV-028: no cause */
  dusk_response_end(lb->held.res, NULL, 0);
}

/* What ends in the grace still gets its answer out, and is told apart. */
static void an_answer_in_the_grace_goes_out(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  dusk_context_t *bound = cancellable(lb);
  begin_stop(lb, bound);
  dusk_context_cancel(bound, NULL);
  AWAIT(lb, dusk_context_err(dusk_request_context(lb->held.req)) != 0);
  assert_int_equal(dusk_response_end(lb->held.res, "late", 4), 0);
  dusk_report_t report = end_stop(lb);
  assert_int_equal(report.status, UV_ECANCELED);
  assert_has(hear(lb, client, NULL), "\r\n\r\nlate");
  assert_int_equal(report.requests_answered, 1);
  assert_int_equal(report.requests_cancelled, 1);
}

/* Bounded by the grace that is left. */
static void a_bound_cancelled_in_the_grace_cuts(void **state) {
  loopback_t *lb = *state;
  hold(lb, DEFAULTS, GET);
  dusk_context_t *bound = bound_of(lb, 600);
  begin_stop(lb, bound);
  AWAIT(lb, dusk_context_err(dusk_request_context(lb->held.req)) != 0);
  dusk_context_cancel(bound, NULL);
  dusk_report_t report = end_stop(lb);
  assert_true(report.status == UV_ETIMEDOUT || report.status == UV_ECANCELED);
  assert_int_equal(report.conns_cut, 1);
  dusk_response_end(lb->held.res, NULL, 0);
}

static void srv_029_ended_bound_on_an_idle_server(void **state) {
  loopback_t *lb = *state;
  ask(lb, serve_plain(lb), GET);
  dusk_context_t *bound = cancellable(lb);
  dusk_context_cancel(bound, NULL);
  begin_stop(lb, bound);
  assert_int_equal(lb->shutdown_status, 1); /* never inside the call */
  assert_int_equal(end_stop(lb).status, 0);
}

static void srv_048_050_shutdown_again(void **state) {
  loopback_t *lb = *state;
  hold(lb, DEFAULTS, GET);
  dusk_context_t *bound = cancellable(lb);
  int status[3];
  call_shutdown(lb, bound, &status[0]);
  call_shutdown(lb, bound, &status[1]);
  dusk_response_end(lb->held.res, NULL, 0);
  AWAIT(lb, status[0] != 1 && status[1] != 1);
  /* And when all is over. */
  call_shutdown(lb, bound, &status[2]);
  AWAIT(lb, status[2] != 1);
  for (int i = 0; i < 3; i++)
    assert_int_equal(status[i], 0);
}

static void
a_shutdown_of_a_closed_server_is_told_though_it_is_unreferenced(void **state) {
  loopback_t *lb = *state;
  serve_plain(lb);
  stop(lb, 100);
  int status;
  call_shutdown(lb, cancellable(lb), &status);
  dusk_server_unref(lb->server);
  lb->server = NULL;
  AWAIT(lb, status != 1);
  assert_int_equal(status, 0);
}

static void a_later_bound_brings_the_end_nearer(void **state) {
  loopback_t *lb = *state;
  hold(lb, DEFAULTS, GET);
  int status;
  call_shutdown(lb, cancellable(lb), &status); /* the far one */
  assert_int_equal(stop(lb, 100).status, UV_ETIMEDOUT);
  AWAIT(lb, status != 1);
  assert_int_equal(status, UV_ETIMEDOUT);
  dusk_response_end(lb->held.res, NULL, 0);
}

static void srv_048_a_later_call_gets_the_same_status(void **state) {
  loopback_t *lb = *state;
  hold(lb, DEFAULTS, GET);
  assert_int_equal(stop(lb, 50).status, UV_ETIMEDOUT);
  assert_int_equal(stop(lb, 5000).status, UV_ETIMEDOUT);
  dusk_response_end(lb->held.res, NULL, 0);
}

static void srv_031_over_in_the_turn_of_the_last_end(void **state) {
  loopback_t *lb = *state;
  hold(lb, DEFAULTS, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  begin_stop(lb, cancellable(lb));
  AWAIT(lb, lb->server->sealed_ns != 0);
  turn(lb, 5);
  assert_int_equal(lb->shutdown_status, 1);
  dusk_response_end(lb->held.res, NULL, 0);
  turn(lb, 1);
  assert_int_equal(lb->shutdown_status, 0);
}

static void srv_044_who_lingers_is_waited_for(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  begin_stop(lb, cancellable(lb));
  AWAIT(lb, lb->server->sealed_ns != 0);
  say(client, GET); /* too late, and unread */
  dusk_response_end(lb->held.res, NULL, 0);
  hear(lb, client, NULL);
  assert_int_equal(lb->shutdown_status, 1);
  leave(lb, client);
  dusk_report_t report = end_stop(lb);
  assert_int_equal(report.status, 0);
  assert_int_equal(report.conns_answered, 1);
}

static void shutdown_needs_a_bound(void **state) {
  loopback_t *lb = *state;
  serve_plain(lb);
  assert_int_equal(dusk_server_shutdown(lb->server, NULL, NULL, NULL),
                   UV_EINVAL);
  assert_int_equal(loopback_report(lb).phase, DUSK_SERVING);
}

static void srv_051_052_never_served(void **state) {
  loopback_t *lb = *state;
  loopback_make(lb, &(dusk_server_config_t){.handler = loopback_keep});
  assert_int_equal(stop(lb, 5000).status, 0);
  assert_int_equal(dusk_server_serve(lb->server, "127.0.0.1:0", NULL, NULL),
                   DUSK_ESERVERCLOSED);
}

static void srv_060_close_cuts_at_once(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  dusk_context_t *ctx = dusk_request_context(lb->held.req);
  dusk_server_close(lb->server);
  assert_int_equal(dusk_context_err(ctx), UV_ECANCELED); /* SRV-062 */
  assert_ptr_equal(dusk_context_cause(ctx), &dusk_server_closed);
  assert_int_equal(dusk_response_end(lb->held.res, "x", 1), UV_ECANCELED);
  assert_string_equal(hear(lb, client, NULL), "");
  AWAIT(lb, lb->served_err != 1);
  assert_int_equal(lb->served_err, DUSK_ESERVERCLOSED); /* SRV-063 */
  dusk_server_close(lb->server);                        /* SRV-064 */
}

static void srv_067_close_ends_a_waiting_shutdown(void **state) {
  loopback_t *lb = *state;
  hold(lb, DEFAULTS, GET);
  begin_stop(lb, cancellable(lb));
  dusk_server_close(lb->server);
  /* Something was cut: we tell. */
  assert_int_equal(end_stop(lb).status, UV_ECANCELED);
  dusk_response_end(lb->held.res, NULL, 0);
}

static void unref_closes(void **state) {
  loopback_t *lb = *state;
  int client = serve_plain(lb);
  dusk_server_unref(lb->server);
  lb->server = NULL;
  assert_string_equal(hear(lb, client, NULL), "");
}

static void count_hook(dusk_server_t *server, void *arg) {
  (void)server;
  ++*(int *)arg;
}

static void srv_025_049_hooks_run_once(void **state) {
  loopback_t *lb = *state;
  int calls = 0;
  serve_plain(lb);
  assert_int_equal(dusk_server_on_shutdown(lb->server, count_hook, &calls), 0);
  assert_int_equal(dusk_server_on_shutdown(lb->server, NULL, NULL), UV_EINVAL);
  stop(lb, 5000);
  assert_int_equal(calls, 1);
  /* SRV-057: too late */
  assert_int_equal(dusk_server_on_shutdown(lb->server, count_hook, &calls), 0);
  stop(lb, 5000);
  assert_int_equal(calls, 1);
}

static void srv_058_close_runs_no_hooks(void **state) {
  loopback_t *lb = *state;
  int calls = 0;
  serve_plain(lb);
  assert_int_equal(dusk_server_on_shutdown(lb->server, count_hook, &calls), 0);
  dusk_server_close(lb->server);
  end_all(lb);
  assert_int_equal(calls, 0);
}

static void srv_045_draining_context_tells_requests(void **state) {
  loopback_t *lb = *state;
  hold(lb, DEFAULTS, GET);
  dusk_context_t *draining = dusk_request_draining(lb->held.req);
  dusk_context_t *ctx = dusk_request_context(lb->held.req);
  assert_int_equal(dusk_context_err(draining), 0);
  dusk_context_t *bound = bound_of(lb, 5000);
  begin_stop(lb, bound);
  assert_int_equal(dusk_context_err(draining), UV_ECANCELED);
  assert_int_equal(dusk_context_err(ctx), 0); /* no error */
  assert_true(dusk_context_deadline(ctx) <= dusk_context_deadline(bound));
  dusk_response_end(lb->held.res, NULL, 0);
  assert_int_equal(end_stop(lb).status, 0);
}

static void lame_duck_can_be_undone(void **state) {
  loopback_t *lb = *state;
  int client = serve_plain(lb);
  dusk_server_lame_duck(lb->server, true);
  assert_int_equal(loopback_report(lb).phase, DUSK_LAME_DUCK);
  say(client, GET);
  assert_has(hear(lb, client, NULL), "Connection: close\r\n");
  dusk_server_lame_duck(lb->server, false);
  assert_lacks(ask(lb, connect_client(lb), GET), "Connection: close\r\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(a_half_way_handshake_is_waited_for),
      house_test(seed_009_result_0),
      house_test(seed_009_result_deadline),
      house_test(seed_009_result_cancelled),
      house_test(an_answer_in_the_grace_goes_out),
      house_test(a_bound_cancelled_in_the_grace_cuts),
      house_test(srv_029_ended_bound_on_an_idle_server),
      house_test(srv_048_050_shutdown_again),
      house_test(srv_048_a_later_call_gets_the_same_status),
      house_test(srv_031_over_in_the_turn_of_the_last_end),
      house_test(srv_044_who_lingers_is_waited_for),
      house_test(
          a_shutdown_of_a_closed_server_is_told_though_it_is_unreferenced),
      house_test(a_later_bound_brings_the_end_nearer),
      house_test(shutdown_needs_a_bound),
      house_test(srv_051_052_never_served),
      house_test(srv_060_close_cuts_at_once),
      house_test(srv_067_close_ends_a_waiting_shutdown),
      house_test(unref_closes),
      house_test(srv_025_049_hooks_run_once),
      house_test(srv_058_close_runs_no_hooks),
      house_test(srv_045_draining_context_tells_requests),
      house_test(lame_duck_can_be_undone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
