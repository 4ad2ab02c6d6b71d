/* Who answers were sent to: one entry an address, whatever the port, and none
 * missed where memory is short. */
#include "peers.h"

#include "alloc.h"

#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { THREADS = 4, PEERS = 500 };

static dusk__address_t v4(uint32_t host, uint16_t port) {
  return (dusk__address_t){.in = {.sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(host)}};
}

static dusk__peer_t *peer_of(dusk__peers_t *peers, uint32_t host,
                             uint16_t port) {
  dusk__address_t address = v4(host, port);
  return dusk__peers_of(peers, &address);
}

static void connections_of_one_address_are_one_peer(void **state) {
  (void)state;
  dusk__peers_t peers;
  dusk__peers_init(&peers, 10, NULL);
  dusk__peer_t *peer = peer_of(&peers, INADDR_LOOPBACK, 1);
  assert_ptr_equal(peer_of(&peers, INADDR_LOOPBACK, 2), peer);
  assert_ptr_not_equal(peer_of(&peers, INADDR_LOOPBACK + 1, 1), peer);
  dusk__address_t mapped = {.in6 = {.sin6_family = AF_INET6}};
  mapped.in6.sin6_addr.s6_addr[10] = mapped.in6.sin6_addr.s6_addr[11] = 0xff;
  mapped.in6.sin6_addr.s6_addr[12] = 127;
  mapped.in6.sin6_addr.s6_addr[15] = 1;
  assert_ptr_equal(dusk__peers_of(&peers, &mapped), peer);
  assert_false(dusk__peer_is_local(peer));
  dusk__peers_done(&peers);
}

static void a_unix_sockets_clients_are_one_peer(void **state) {
  (void)state;
  dusk__peers_t peers;
  dusk__address_t local = {.any.sa_family = AF_UNIX};
  dusk__peers_init(&peers, 10, NULL);
  dusk__peer_t *peer = dusk__peers_of(&peers, &local);
  assert_ptr_equal(dusk__peers_of(&peers, &local), peer);
  assert_true(dusk__peer_is_local(peer));
  dusk__peers_done(&peers);
}

/* Made for none of them. */
static void more_than_expected_are_peers_of_their_own(void **state) {
  (void)state;
  dusk__peers_t peers;
  dusk__peer_t *found[PEERS];
  dusk__peers_init(&peers, 0, NULL);
  for (uint32_t i = 0; i < PEERS; i++) {
    found[i] = peer_of(&peers, i, 1);
    dusk__peer_note_answer(found[i], i + 1);
  }
  for (uint32_t i = 0; i < PEERS; i++) {
    assert_ptr_equal(peer_of(&peers, i, 2), found[i]);
    assert_int_equal(dusk__peer_answered_ms(found[i]), i + 1);
  }
  dusk__peers_done(&peers);
}

static void a_table_has_a_limit(void **state) {
  (void)state;
  dusk__peers_t peers;
  dusk__peers_init(&peers, SIZE_MAX, NULL);
  assert_int_equal(peers.mask, 65535);
  dusk__peers_done(&peers);
}

static void only_the_last_answer_counts(void **state) {
  (void)state;
  dusk__peers_t peers;
  dusk__peers_init(&peers, 1, NULL);
  dusk__peer_t *peer = peer_of(&peers, INADDR_LOOPBACK, 1);
  assert_int_equal(dusk__peer_answered_ms(peer), 0);
  dusk__peer_note_answer(peer, 20);
  dusk__peer_note_answer(peer, 10); /* another loop's clock is behind */
  assert_int_equal(dusk__peer_answered_ms(peer), 20);
  dusk__peer_note_answer(peer, 30);
  assert_int_equal(dusk__peer_answered_ms(peer), 30);
  dusk__peers_done(&peers);
}

static void without_memory_peers_share_an_entry(void **state) {
  (void)state;
  dusk__peers_t peers;
  dusk__peers_init(&peers, 1, NULL);
  dusk__peer_t *peer = peer_of(&peers, 1, 1);
  alloc_fail_at(1);
  assert_ptr_equal(peer_of(&peers, 1, 2), peer); /* needs none */
  assert_ptr_equal(peer_of(&peers, 2, 1), &peers.others);
  assert_true(alloc_has_failed());
  alloc_fail_at(0);
  dusk__peers_done(&peers);
}

static void without_a_table_all_share_an_entry(void **state) {
  (void)state;
  dusk__peers_t peers;
  alloc_fail_at(1);
  dusk__peers_init(&peers, 1, NULL);
  alloc_fail_at(0);
  assert_ptr_equal(peer_of(&peers, 1, 1), &peers.others);
  assert_ptr_equal(peer_of(&peers, 2, 1), &peers.others);
  dusk__peers_done(&peers);
}

static dusk__peers_t shared;

static void look_for_all(void *arg) {
  uint64_t self = *(int *)arg;
  for (uint32_t i = 0; i < PEERS; i++)
    dusk__peer_note_answer(peer_of(&shared, i, (uint16_t)self), self + 1);
}

/* Several loops look for the same ones; each is added once. */
static void loops_share_a_table(void **state) {
  (void)state;
  uv_mutex_t lock;
  uv_thread_t threads[THREADS];
  int selves[THREADS];
  assert_int_equal(uv_mutex_init(&lock), 0);
  size_t live = alloc_live();
  dusk__peers_init(&shared, PEERS, &lock);
  for (int i = 0; i < THREADS; i++) {
    selves[i] = i;
    assert_int_equal(uv_thread_create(&threads[i], look_for_all, &selves[i]),
                     0);
  }
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(uv_thread_join(&threads[i]), 0);
  assert_int_equal(alloc_live() - live, 1 + PEERS);
  for (uint32_t i = 0; i < PEERS; i++)
    assert_int_equal(dusk__peer_answered_ms(peer_of(&shared, i, 9)), THREADS);
  dusk__peers_done(&shared);
  assert_int_equal(alloc_live(), live);
  uv_mutex_destroy(&lock);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(connections_of_one_address_are_one_peer),
      cmocka_unit_test(a_unix_sockets_clients_are_one_peer),
      cmocka_unit_test(more_than_expected_are_peers_of_their_own),
      cmocka_unit_test(a_table_has_a_limit),
      cmocka_unit_test(only_the_last_answer_counts),
      cmocka_unit_test(without_memory_peers_share_an_entry),
      cmocka_unit_test(without_a_table_all_share_an_entry),
      cmocka_unit_test(loops_share_a_table),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
