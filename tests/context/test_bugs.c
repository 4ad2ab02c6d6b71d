/* What a program must not do, in a library without assertions: what can be told
 * harms nobody. */
#include "fixture.h"

static void one_that_is_registered_stays_so(void **state) {
  fixture_t *f = *state;
  dusk_context_t *first = with_cancel(f->root);
  dusk_context_t *second = with_timeout(f->root, 0, NULL);
  call_t call, other;
  call_after(first, &call, f->root);
  call_after(first, &other, f->root);
  dusk_context_after(first, &call.waiter, f->root, call.waiter.cb);
  dusk_context_after(second, &call.waiter, f->root, call.waiter.cb);
  run(&f->loop);
  assert_int_equal(call.calls, 0);
  dusk_context_cancel(first, NULL);
  dusk_context_after(second, &call.waiter, f->root, call.waiter.cb);
  run(&f->loop);
  assert_int_equal(call.calls, 1);
  assert_int_equal(other.calls, 1);
  dusk_context_unref(first);
  dusk_context_unref(second);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      fixture_test(one_that_is_registered_stays_so),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
