/* What a stop means for one connection: questions, asked without one. */
#include "policy.h"

#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { STARTED_MS = 100000, QUIET_MS = 1000 };

static dusk_server_config_t config;
static dusk__plan_t plan;
static dusk__policy_t policy;
static dusk__peer_t peer;
static dusk__watched_t watched;

/* A drain without a bound, since STARTED_MS. */
static int set_up(void **state) {
  (void)state;
  memset(&plan, 0, sizeof(plan));
  memset(&peer, 0, sizeof(peer));
  config = (dusk_server_config_t){.quiet_window_ms = QUIET_MS};
  plan.started_ns = STARTED_MS * DUSK__NS_PER_MS;
  plan.deadline_ns = DUSK_OFF;
  policy =
      (dusk__policy_t){.plan = &plan, .config = &config, .is_draining = true};
  watched = (dusk__watched_t){.peer = &peer};
  return 0;
}

static void set_bound_ms(uint64_t ms) {
  plan.deadline_ns = plan.started_ns + ms * DUSK__NS_PER_MS;
}

/* -- Stops and patience ---------------------------------------------------- */

static void a_drain_is_more_than_a_lame_duck(void **state) {
  (void)state;
  assert_int_equal(dusk__policy_stop(&policy), DUSK__DRAIN);
  plan.says_close = true;
  assert_int_equal(dusk__policy_stop(&policy), DUSK__DRAIN);
  policy.is_draining = false; /* this worker, yet */
  assert_int_equal(dusk__policy_stop(&policy), DUSK__LAME_DUCK);
  plan.says_close = false;
  assert_int_equal(dusk__policy_stop(&policy), DUSK__NO_STOP);
}

static void patience_is_short_in_a_drain_only(void **state) {
  static const uint64_t asked_ms[] = {0, 1, 2000, 2001, 30000, DUSK_OFF};
  static const uint64_t drain_ms[] = {0, 1, 2000, 2000, 2000, 2000};
  (void)state;
  for (size_t i = 0; i < sizeof(asked_ms) / sizeof(*asked_ms); i++) {
    policy.is_draining = true;
    assert_int_equal(dusk__policy_patience_ms(&policy, asked_ms[i]),
                     drain_ms[i]);
    policy.is_draining = false;
    assert_int_equal(dusk__policy_patience_ms(&policy, asked_ms[i]),
                     asked_ms[i]);
  }
}

static void srv_044_214_a_linger_is_short_in_a_drain(void **state) {
  (void)state;
  assert_int_equal(dusk__policy_linger_ms(&policy, &watched), 250);
  watched.round_trip_ms = 40;
  assert_int_equal(dusk__policy_linger_ms(&policy, &watched), 290);
  policy.is_draining = false;
  assert_int_equal(dusk__policy_linger_ms(&policy, &watched), 2000);
}

/* -- Windows --------------------------------------------------------------- */

static void the_quiet_window_can_be_none(void **state) {
  (void)state;
  assert_int_equal(dusk__policy_quiet_ms(&policy), QUIET_MS);
  config.quiet_window_ms = DUSK_OFF;
  assert_int_equal(dusk__policy_quiet_ms(&policy), 0);
}

static void a_window_goes_from_the_peers_last_answer(void **state) {
  (void)state;
  assert_int_equal(dusk__policy_window_end(&policy, &watched, 5000), 6000);
  peer.answered_ms = 4000; /* before it was idle */
  assert_int_equal(dusk__policy_window_end(&policy, &watched, 5000), 6000);
  peer.answered_ms = 5700; /* to another connection */
  assert_int_equal(dusk__policy_window_end(&policy, &watched, 5000), 6700);
}

static void a_window_is_longer_by_a_round_trip(void **state) {
  (void)state;
  watched.round_trip_ms = 65535;
  assert_int_equal(dusk__policy_window_end(&policy, &watched, 5000), 71535);
}

static void no_window_ends_where_it_begins(void **state) {
  (void)state;
  config.quiet_window_ms = DUSK_OFF;
  watched.round_trip_ms = 20;
  peer.answered_ms = 5700;
  assert_int_equal(dusk__policy_window_end(&policy, &watched, 5000), 5000);
}

static void a_window_without_end_does_not_wrap(void **state) {
  (void)state;
  config.quiet_window_ms = DUSK_OFF - 1;
  watched.round_trip_ms = 20;
  assert_true(dusk__policy_window_end(&policy, &watched, 5000) == DUSK_OFF);
}

static void assert_renews_until(uint64_t limit_ms) {
  uint64_t last_ms = STARTED_MS + limit_ms;
  assert_true(dusk__policy_renews(&policy, STARTED_MS));
  assert_true(dusk__policy_renews(&policy, last_ms));
  assert_false(dusk__policy_renews(&policy, last_ms + 1));
}

static void windows_are_renewed_for_three_of_them(void **state) {
  (void)state;
  assert_renews_until(3 * QUIET_MS);
  set_bound_ms(60000); /* its half is later */
  assert_renews_until(3 * QUIET_MS);
}

static void or_for_half_of_the_bound(void **state) {
  (void)state;
  set_bound_ms(4000);
  assert_renews_until(2000);
  set_bound_ms(0); /* passed when it was set, or nearly */
  assert_renews_until(0);
  plan.deadline_ns = plan.started_ns - DUSK__NS_PER_MS;
  assert_renews_until(0);
}

static void a_long_window_is_renewed_for_ever_but_for_the_bound(void **state) {
  (void)state;
  config.quiet_window_ms = DUSK_OFF - 1;
  assert_true(dusk__policy_renews(&policy, UINT64_MAX));
  set_bound_ms(4000);
  assert_renews_until(2000);
}

/* -- Batches --------------------------------------------------------------- */

static dusk__further_t goes_on(const char *bytes, uint64_t own) {
  dusk__unparsed_t unparsed = {bytes, strlen(bytes), own};
  return dusk__batch_goes_on(&watched, &unparsed);
}

/* As if `read` had just been read, and `unread` were in the socket. */
static void look(const char *read, size_t unread) {
  watched.received = 70 + (uint32_t)strlen(read);
  dusk__batch_look(&watched, unread);
}

static void a_look_takes_what_is_in_the_socket(void **state) {
  (void)state;
  watched.received = 70;
  dusk__batch_look(&watched, 30);
  assert_true(watched.is_looked_at);
  assert_int_equal(watched.batch_end, 100);
  watched.received = UINT32_MAX - 9;
  dusk__batch_look(&watched, 30);
  assert_int_equal(watched.batch_end, 20);
}

static void a_request_that_was_read_is_further(void **state) {
  (void)state;
  look("GET", 0);
  assert_int_equal(goes_on("GET", 0), DUSK__FURTHER);
  look("\r\nG", 0);
  assert_int_equal(goes_on("\r\nG", 0), DUSK__FURTHER);
}

static void nothing_is_none_further(void **state) {
  (void)state;
  look("", 0);
  assert_int_equal(goes_on("", 0), DUSK__NONE_FURTHER);
}

static void line_ends_are_none_further(void **state) {
  (void)state;
  look("\r\n\n\r\n", 0);
  assert_int_equal(goes_on("\r\n\n\r\n", 0), DUSK__NONE_FURTHER);
}

static void what_the_socket_has_is_to_be_looked_at(void **state) {
  (void)state;
  look("", 3);
  assert_int_equal(goes_on("", 0), DUSK__FURTHER_IF_PENDING);
  look("\r\n", 3);
  assert_int_equal(goes_on("\r\n", 0), DUSK__FURTHER_IF_PENDING);
  look("G", 3); /* no need to */
  assert_int_equal(goes_on("G", 0), DUSK__FURTHER);
}

static void a_requests_own_bytes_are_none_further(void **state) {
  (void)state;
  look("body", 0);
  assert_int_equal(goes_on("body", 4), DUSK__NONE_FURTHER);
  assert_int_equal(goes_on("body", 10), DUSK__NONE_FURTHER);
  assert_int_equal(goes_on("body", UINT64_MAX), DUSK__NONE_FURTHER);
  assert_int_equal(goes_on("body", 3), DUSK__FURTHER);
  look("body\r\n", 0);
  assert_int_equal(goes_on("body\r\n", 4), DUSK__NONE_FURTHER);
}

/* The rest of the body is in the socket, and more behind it or not: nobody can
 * look there. */
static void own_bytes_can_be_in_the_socket(void **state) {
  (void)state;
  look("bo", 2);
  assert_int_equal(goes_on("bo", 4), DUSK__NONE_FURTHER);
  look("bo", 3);
  assert_int_equal(goes_on("bo", 4), DUSK__FURTHER);
  look("bo", 3);
  assert_int_equal(goes_on("bo", 2), DUSK__FURTHER_IF_PENDING);
}

static void what_came_after_the_look_is_no_batch(void **state) {
  (void)state;
  look("", 0);
  watched.received += 3;
  assert_int_equal(goes_on("GET", 0), DUSK__NONE_FURTHER);
  look("", 1);
  watched.received += 3;
  assert_int_equal(goes_on("GET", 0), DUSK__FURTHER);
  assert_int_equal(goes_on("\nET", 0), DUSK__NONE_FURTHER);
}

static void a_batch_is_the_same_beyond_four_gib(void **state) {
  (void)state;
  watched.received = UINT32_MAX - 1;
  dusk__batch_look(&watched, 5);
  assert_int_equal(goes_on("", 0), DUSK__FURTHER_IF_PENDING);
  watched.received += 5;
  assert_int_equal(goes_on("GET /", 0), DUSK__FURTHER);
  assert_int_equal(goes_on("", 0), DUSK__NONE_FURTHER);
  watched.received += 5;
  assert_int_equal(goes_on("GET /", 0), DUSK__NONE_FURTHER);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

/* One that doesn't turn is waited for as long as a window. */
static void no_window_is_over_before_all_loops_have_told(void **state) {
  (void)state;
  plan.untold = 2;
  assert_false(dusk__policy_knows_peers(&policy, STARTED_MS));
  assert_false(dusk__policy_knows_peers(&policy, STARTED_MS + QUIET_MS));
  assert_true(dusk__policy_knows_peers(&policy, STARTED_MS + QUIET_MS + 1));
  plan.untold = 0;
  assert_true(dusk__policy_knows_peers(&policy, STARTED_MS));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_drain_is_more_than_a_lame_duck),
      TEST(patience_is_short_in_a_drain_only),
      TEST(srv_044_214_a_linger_is_short_in_a_drain),
      TEST(the_quiet_window_can_be_none),
      TEST(a_window_goes_from_the_peers_last_answer),
      TEST(a_window_is_longer_by_a_round_trip),
      TEST(no_window_ends_where_it_begins),
      TEST(a_window_without_end_does_not_wrap),
      TEST(windows_are_renewed_for_three_of_them),
      TEST(or_for_half_of_the_bound),
      TEST(a_long_window_is_renewed_for_ever_but_for_the_bound),
      TEST(a_look_takes_what_is_in_the_socket),
      TEST(a_request_that_was_read_is_further),
      TEST(nothing_is_none_further),
      TEST(line_ends_are_none_further),
      TEST(what_the_socket_has_is_to_be_looked_at),
      TEST(a_requests_own_bytes_are_none_further),
      TEST(own_bytes_can_be_in_the_socket),
      TEST(what_came_after_the_look_is_no_batch),
      TEST(a_batch_is_the_same_beyond_four_gib),
      TEST(no_window_is_over_before_all_loops_have_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
