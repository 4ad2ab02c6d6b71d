/* sleep.c: a wait that ends early when its context does.
 *
 * A sleep is a child context whose deadline is the sleep's end, and a waiter on
 * it, in the tree of the loop that calls back. The child's cause tells which of
 * the two ended it.
 *
 *   awake --sleep--> asleep --callback--> awake, and called
 *                      |
 *                      +--stop--> stopping --> awake
 *
 * Who takes the sleep out of `asleep`, the callback or a stop in whichever
 * thread, releases the child; a stop needs it until the waiter is stopped, or
 * until a callback that came second has left (`left`). */
#include <dusk/calls.h>
#include "bridge.h"

#include <sched.h>

enum { AWAKE, ASLEEP, STOPPING, LEFT };

static const dusk_cause_t slept = {UV_ETIMEDOUT, "slept"};

static int state_of(dusk_sleep_t *sleep) {
  return __atomic_load_n(&sleep->state, __ATOMIC_ACQUIRE);
}

static void set_state(dusk_sleep_t *sleep, int state) {
  __atomic_store_n(&sleep->state, state, __ATOMIC_RELEASE);
}

static bool claim(dusk_sleep_t *sleep, int state) {
  int expected = ASLEEP;
  return __atomic_compare_exchange_n(&sleep->state, &expected, state, false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static void on_end(dusk_waiter_t *waiter) {
  dusk_sleep_t *sleep = dusk__container_of(waiter, dusk_sleep_t, waiter);
  if (!claim(sleep, AWAKE)) {
    set_state(sleep, LEFT);
    return;
  }
  dusk_context_t *ctx = sleep->ctx;
  bool whole = dusk_context_cause(ctx) == &slept;
  sleep->cb(sleep, whole ? 0 : dusk_context_err(ctx));
  dusk_context_unref(ctx);
}

int dusk_context_sleep(dusk_context_t *ctx, dusk_sleep_t *sleep,
                       dusk_context_t *root, uint64_t duration_ms,
                       dusk_sleep_cb cb) {
  if (ctx == NULL || sleep == NULL || root == NULL || cb == NULL ||
      dusk_context_loop(root) == NULL)
    return UV_EINVAL;
  dusk_context_t *held, *child;
  int err = dusk__bridge_hold(ctx, dusk__node_of(root)->root, &held);
  if (err != 0) return err;
  err = dusk_context_with_timeout(held, duration_ms, &slept, &child);
  dusk_context_unref(held);
  if (err != 0) return err;
  sleep->ctx = child;
  sleep->cb = cb;
  set_state(sleep, ASLEEP);
  /* The loop may have called and released it before `after` has returned. */
  dusk_context_ref(child);
  dusk_context_after(child, &sleep->waiter, root, on_end);
  dusk_context_unref(child);
  return 0;
}

bool dusk_sleep_stop(dusk_sleep_t *sleep) {
  if (!claim(sleep, STOPPING)) return false;
  /* On the loop's own thread the first try succeeds. */
  while (!dusk_waiter_stop(&sleep->waiter) && state_of(sleep) != LEFT)
    sched_yield();
  dusk_context_t *ctx = sleep->ctx;
  set_state(sleep, AWAKE);
  dusk_context_unref(ctx);
  return true;
}
