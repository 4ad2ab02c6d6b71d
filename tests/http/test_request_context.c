/* What ends the context of a request, and what does not: SRV-293 to 317. */
#include "house.h"

#include <string.h>
#include <sys/socket.h>

#define POST "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n"

/* What the context of the held request hangs on, which only tells which. */
static const dusk_context_t *parent_of_held(loopback_t *lb) {
  enum { MOST = 32 };
  dusk_context_entry_t entries[MOST];
  dusk_context_t *ctx = dusk_request_context(lb->held.req);
  size_t count = dusk_context_tree(lb->root, entries, MOST);
  size_t at = 0;
  assert_in_range(count, 3, MOST);
  while (entries[at].ctx != ctx)
    assert_true(++at < count);
  unsigned depth = entries[at].depth;
  assert_true(depth > 1);
  while (entries[at].depth >= depth) /* parents come first */
    at--;
  return entries[at].ctx;
}

/* And that on the server's base, which is the root here: see SRV-307. */
static void srv_293_a_request_hangs_on_its_connection(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  const dusk_context_t *first = parent_of_held(lb);
  assert_ptr_not_equal(first, lb->root);
  assert_int_equal(dusk_response_end(lb->held.res, "one", 3), 0);
  hear(lb, client, "one");
  hold_next(lb, client, GET);
  assert_ptr_equal(parent_of_held(lb), first);
  dusk_response_t *held = lb->held.res;
  hold_next(lb, connect_client(lb), GET); /* while that one is there */
  assert_ptr_not_equal(parent_of_held(lb), first);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
  assert_int_equal(dusk_response_end(held, NULL, 0), 0);
}

static void srv_306_all_below_ends_with_the_connection(void **state) {
  loopback_t *lb = *state;
  dusk_context_t *below;
  int client = hold(lb, DEFAULTS, GET);
  assert_int_equal(
      dusk_context_with_cancel(dusk_request_context(lb->held.req), &below), 0);
  leave(lb, client);
  AWAIT(lb, dusk_context_err(below) != 0);
  assert_ptr_equal(dusk_context_cause(below), &dusk_client_gone);
  dusk_context_unref(below);
  dusk_response_abort(lb->held.res);
}

/* As far as there is room for what it has sent. */
static void srv_304_an_unread_body_hides_no_end(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, POST "1234");
  dusk_context_t *ctx = held_context(lb);
  turn(lb, 2);
  assert_int_equal(dusk_context_err(ctx), 0);
  leave(lb, client);
  AWAIT(lb, dusk_context_err(ctx) != 0);
  assert_ptr_equal(dusk_context_cause(ctx), &dusk_client_gone);
  dusk_response_abort(lb->held.res);
}

/* Found out by the write itself: the loop does not turn. */
static void srv_305_a_write_that_fails_ends_it(void **state) {
  loopback_t *lb = *state;
  struct linger reset = {.l_onoff = 1};
  int client = hold(lb, DEFAULTS, GET);
  dusk_context_t *ctx = held_context(lb);
  setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  leave(lb, client);
  assert_int_equal(dusk_context_err(ctx), 0);
  while (dusk_response_write(lb->held.res, "a", 1) >= 0)
    continue;
  assert_ptr_equal(dusk_context_cause(ctx), &dusk_client_gone);
  dusk_response_abort(lb->held.res);
}

static void srv_308_a_stop_spares_it_until_the_grace(void **state) {
  loopback_t *lb = *state;
  hold(lb, DEFAULTS, GET);
  dusk_context_t *ctx = held_context(lb);
  assert_int_equal(dusk_context_deadline(ctx), DUSK_OFF);
  dusk_context_t *far = bound_of(lb, 60000);
  begin_stop(lb, far);
  turn(lb, 5);
  assert_int_equal(dusk_context_err(ctx), 0);
  assert_true(dusk_context_deadline(ctx) <= dusk_context_deadline(far));
  /* And one that is at its end. */
  int status;
  dusk_context_t *near = cancellable(lb);
  call_shutdown(lb, near, &status);
  dusk_context_cancel(near, NULL);
  AWAIT(lb, dusk_context_err(ctx) != 0);
  assert_ptr_equal(dusk_context_cause(ctx), &dusk_drain_cancelled);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
  end_stop(lb);
  AWAIT(lb, status != 1);
}

static void srv_309_each_request_has_its_own(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  dusk_context_t *first = held_context(lb);
  assert_int_equal(dusk_response_end(lb->held.res, "one", 3), 0);
  hear(lb, client, "one");
  AWAIT(lb, loopback_report(lb).requests_now == 0); /* it is idle */
  hold_next(lb, client, GET);
  dusk_context_t *second = held_context(lb);
  assert_ptr_not_equal(first, second);
  assert_ptr_equal(dusk_context_cause(first), &dusk_response_ended);
  assert_int_equal(dusk_context_err(second), 0);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
}

static void srv_317_giving_up_ends_it(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, DEFAULTS, GET);
  dusk_context_t *ctx = held_context(lb);
  dusk_response_abort(lb->held.res); /* SRV-314 */
  assert_ptr_equal(dusk_context_cause(ctx), &dusk_connection_cut);
  assert_string_equal(hear(lb, client, NULL), ""); /* SRV-313 */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(srv_293_a_request_hangs_on_its_connection),
      house_test(srv_304_an_unread_body_hides_no_end),
      house_test(srv_305_a_write_that_fails_ends_it),
      house_test(srv_306_all_below_ends_with_the_connection),
      house_test(srv_308_a_stop_spares_it_until_the_grace),
      house_test(srv_309_each_request_has_its_own),
      house_test(srv_317_giving_up_ends_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
