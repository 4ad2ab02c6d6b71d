/* Who is there and how they ended: phases, counts, and who is told of them. */
#include "census.h"

#include "lone_worker.h"

static lone_t lone;
static dusk__census_t census;

/* Of it: how often it was run. */
typedef struct watcher {
  dusk__task_t task;
  int runs;
} watcher_t;

static watcher_t watcher;

static void run_watcher(dusk__task_t *task) {
  ((watcher_t *)task)->runs++;
}

static int set_up(void **state) {
  (void)state;
  lone_open(&lone);
  memset(&census, 0, sizeof(census));
  dusk__census_init(&census, &lone.worker);
  watcher = (watcher_t){.task = {.run = run_watcher}};
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  lone_close(&lone);
  return 0;
}

static void enter(dusk__member_t *member) {
  memset(member, 0, sizeof(*member));
  dusk__census_accept(&census);
  dusk__census_enter(&census, member, 1);
}

static void move(dusk__member_t *member, dusk__phase_t phase) {
  dusk__census_move(&census, member, phase, 2);
}

static void end(dusk__member_t *member, dusk__ending_t ending) {
  dusk__census_note_ending(member, ending);
  move(member, DUSK__CLOSED);
}

static dusk__tally_t tally(void) {
  dusk__tally_t tally = {0};
  dusk__census_add(&census, &tally);
  return tally;
}

/* -- Phases ---------------------------------------------------------------- */

static void a_connection_is_in_one_phase_at_a_time(void **state) {
  static const dusk__phase_t phases[] = {DUSK__ACTIVE, DUSK__IDLE, DUSK__ACTIVE,
                                         DUSK__IDLE, DUSK__LINGERING};
  (void)state;
  dusk__member_t member;
  enter(&member);
  assert_int_equal(census.count[DUSK__NEW], 1);
  assert_int_equal(member.since_ms, 1);
  for (size_t i = 0; i < sizeof(phases) / sizeof(*phases); i++) {
    dusk__phase_t before = member.phase;
    dusk__census_move(&census, &member, phases[i], 10 + i);
    assert_int_equal(member.phase, phases[i]);
    assert_int_equal(member.since_ms, 10 + i);
    assert_int_equal(census.count[before], 0);
    assert_true(dusk__list_empty(&census.members[before]));
    assert_int_equal(census.count[phases[i]], 1);
    assert_ptr_equal(census.members[phases[i]].next, &member.link);
    assert_int_equal(dusk__census_open(&census), 1);
  }
  assert_false(dusk__census_is_over(&member));
  move(&member, DUSK__CLOSED);
  assert_true(dusk__census_is_over(&member));
  assert_int_equal(dusk__census_open(&census), 0);
  assert_false(dusk__list_linked(&member.link));
}

/* It may live on; here it is over. */
static void who_was_hijacked_is_over(void **state) {
  (void)state;
  dusk__member_t member;
  enter(&member);
  move(&member, DUSK__ACTIVE);
  dusk__census_note_ending(&member, DUSK__ENDED_HIJACKED);
  move(&member, DUSK__HIJACKED);
  assert_true(dusk__census_is_over(&member));
  assert_int_equal(dusk__census_open(&census), 0);
  assert_int_equal(tally().conns_ended[DUSK__ENDED_HIJACKED], 1);
}

static void only_who_lingers_unanswered_is_not_awaited(void **state) {
  (void)state;
  for (int ending = 0; ending < DUSK__ENDINGS; ending++) {
    bool asked_nothing = ending == DUSK__ENDED_IDLE || ending == DUSK__UNUSED;
    dusk__member_t member;
    enter(&member);
    move(&member, DUSK__ACTIVE);
    dusk__census_note_ending(&member, ending);
    assert_int_equal(dusk__census_asked_nothing(&member), asked_nothing);
    assert_int_equal(dusk__census_awaited(&census), 1);
    move(&member, DUSK__LINGERING);
    assert_int_equal(dusk__census_is_awaited(&member), !asked_nothing);
    assert_int_equal(dusk__census_awaited(&census), !asked_nothing);
    assert_int_equal(dusk__census_open(&census), 1);
    move(&member, DUSK__CLOSED);
    assert_int_equal(dusk__census_awaited(&census), 0);
    assert_int_equal(tally().conns_ended[ending], 1);
  }
}

/* -- Walks ----------------------------------------------------------------- */

static int acted;
static dusk__member_t *neighbour; /* goes meanwhile */

static void keep(dusk__member_t *member) {
  (void)member;
  acted++;
}

static void make_idle(dusk__member_t *member) {
  acted++;
  move(member, DUSK__IDLE);
}

static void end_with_neighbour(dusk__member_t *member) {
  acted++;
  end(member, DUSK__CUT);
  if (neighbour) end(neighbour, DUSK__CUT);
  neighbour = NULL;
}

static void a_walk_meets_each_once(void **state) {
  (void)state;
  dusk__member_t members[3];
  for (int i = 0; i < 3; i++) {
    enter(&members[i]);
    move(&members[i], DUSK__ACTIVE);
  }
  acted = 0;
  dusk__census_each(&census, DUSK__ACTIVE, keep);
  assert_int_equal(acted, 3);
  assert_ptr_equal(census.members[DUSK__ACTIVE].next, &members[0].link);
  dusk__census_each(&census, DUSK__ACTIVE, make_idle);
  assert_int_equal(acted, 6);
  assert_int_equal(census.count[DUSK__IDLE], 3);
  dusk__census_each(&census, DUSK__ACTIVE, keep);
  assert_int_equal(acted, 6);
  neighbour = &members[1];
  dusk__census_each(&census, DUSK__IDLE, end_with_neighbour);
  assert_int_equal(acted, 8);
  assert_int_equal(dusk__census_open(&census), 0);
}

/* -- Requests -------------------------------------------------------------- */

static void the_oldest_request_is_the_first(void **state) {
  (void)state;
  dusk__member_t first, second;
  enter(&first);
  enter(&second);
  move(&first, DUSK__ACTIVE);
  dusk__census_request_begun(&census, &first);
  move(&second, DUSK__ACTIVE);
  dusk__census_request_begun(&census, &second);
  assert_ptr_equal(census.members[DUSK__ACTIVE].next, &first.link);
  dusk__census_request_ended(&census, DUSK__ANSWERED);
  dusk__census_request_begun(&census, &first); /* its next one */
  assert_ptr_equal(census.members[DUSK__ACTIVE].next, &second.link);
  assert_ptr_equal(census.members[DUSK__ACTIVE].prev, &first.link);
  assert_int_equal(census.requests, 2);
  dusk__census_request_ended(&census, DUSK__CUT);
  dusk__census_request_ended(&census, DUSK__GONE);
  assert_int_equal(census.requests, 0);
  end(&first, DUSK__CUT);
  end(&second, DUSK__GONE);
}

/* -- Watchers -------------------------------------------------------------- */

static void assert_told(int runs) {
  lone_turn(&lone);
  assert_int_equal(watcher.runs, runs);
}

static void who_watches_ends_is_told_of_them_only(void **state) {
  (void)state;
  dusk__member_t member;
  dusk__census_watch(&census, &watcher.task, false);
  enter(&member);
  move(&member, DUSK__ACTIVE);
  dusk__census_request_begun(&census, &member);
  dusk__census_request_ended(&census, DUSK__ANSWERED);
  assert_told(0);
  end(&member, DUSK__ANSWERED);
  assert_int_equal(watcher.runs, 0); /* not inside the call */
  assert_told(1);
}

static void who_watches_moves_is_told_once_a_turn(void **state) {
  (void)state;
  dusk__member_t member;
  dusk__census_watch(&census, &watcher.task, true);
  enter(&member);
  assert_told(0);
  move(&member, DUSK__ACTIVE);
  dusk__census_request_begun(&census, &member);
  assert_told(1);
  dusk__census_request_ended(&census, DUSK__ANSWERED);
  assert_told(2);
  move(&member, DUSK__IDLE);
  move(&member, DUSK__ACTIVE);
  end(&member, DUSK__CUT);
  assert_told(3);
  assert_told(3);
}

static void nobody_watches_any_more(void **state) {
  (void)state;
  dusk__member_t member;
  dusk__census_watch(&census, &watcher.task, true);
  dusk__census_watch(&census, NULL, false);
  enter(&member);
  end(&member, DUSK__UNUSED);
  assert_told(0);
}

/* -- Tallies --------------------------------------------------------------- */

/* One behind an acceptor's back is open from its accept on. */
static void a_tally_knows_who_is_open_and_running(void **state) {
  (void)state;
  dusk__member_t members[2];
  enter(&members[0]);
  enter(&members[1]);
  dusk__census_accept(&census);
  move(&members[0], DUSK__ACTIVE);
  dusk__census_request_begun(&census, &members[0]);
  dusk__tally_t now = tally();
  assert_int_equal(dusk__tally_open(&now), 3);
  assert_int_equal(dusk__tally_running(&now), 1);
  dusk__census_request_ended(&census, DUSK__REFUSED);
  end(&members[0], DUSK__REFUSED);
  end(&members[1], DUSK__UNUSED);
  now = tally();
  assert_int_equal(dusk__tally_open(&now), 1);
  assert_int_equal(dusk__tally_running(&now), 0);
  assert_int_equal(now.requests_ended[DUSK__REFUSED], 1);
  assert_int_equal(now.conns_ended[DUSK__UNUSED], 1);
}

/* A census' counts, each its own. */
static dusk__tally_t count_all(void) {
  dusk__count(&census.conns_accepted, 1000);
  dusk__count(&census.requests_begun, 2000);
  dusk__count(&census.conns_late, 3);
  dusk__count(&census.conns_unconfirmed, 4);
  dusk__count(&census.answers_unacknowledged, 5);
  dusk__count(&census.held_begun, 6);
  dusk__count(&census.held_ended, 2);
  for (int i = 0; i < DUSK__ENDINGS; i++) {
    dusk__count(&census.conns_ended[i], 10 + (uint64_t)i);
    dusk__count(&census.requests_ended[i], 20 + (uint64_t)i);
  }
  return tally();
}

/* A tally has nothing but counts. */
static void tallies_are_added_field_by_field(void **state) {
  (void)state;
  dusk__tally_t once = count_all();
  assert_int_equal(once.conns_accepted, 1000);
  assert_int_equal(once.requests_begun, 2000);
  assert_int_equal(once.conns_late, 3);
  assert_int_equal(once.conns_unconfirmed, 4);
  assert_int_equal(once.answers_unacknowledged, 5);
  dusk__tally_t added = once, by_census = once;
  dusk__tally_add(&added, &once);
  dusk__census_add(&census, &by_census);
  const uint64_t *one = (const uint64_t *)&once;
  const uint64_t *two = (const uint64_t *)&added;
  for (size_t i = 0; i < sizeof(once) / sizeof(*one); i++) {
    assert_true(one[i] > 0);
    assert_int_equal(two[i], 2 * one[i]);
  }
  assert_memory_equal(&by_census, &added, sizeof(added));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_connection_is_in_one_phase_at_a_time),
      TEST(who_was_hijacked_is_over),
      TEST(only_who_lingers_unanswered_is_not_awaited),
      TEST(a_walk_meets_each_once),
      TEST(the_oldest_request_is_the_first),
      TEST(who_watches_ends_is_told_of_them_only),
      TEST(who_watches_moves_is_told_once_a_turn),
      TEST(nobody_watches_any_more),
      TEST(a_tally_knows_who_is_open_and_running),
      TEST(tallies_are_added_field_by_field),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
