/* Each kind of wait is a list in deadline order, so that the nearest deadline
 * is at a head. The one timer is armed to the nearest and never moved later: a
 * wait that was renewed or ended meanwhile costs one early look, not a timer
 * call a request. */
#include "timeouts.h"

#define FOR_EVER_MS (UINT64_C(1) << 59) /* 18 million years */

static dusk__timeout_t *owner(dusk__link_t *link) {
  return DUSK__OWNER(link, dusk__timeout_t, link);
}

static void on_timer(uv_timer_t *timer);

static void arm(dusk__timeouts_t *timeouts, uint64_t deadline_ms) {
  if (deadline_ms >= timeouts->armed_ms) return;
  uint64_t now = uv_now(timeouts->timer.loop);
  uint64_t delay = deadline_ms > now ? deadline_ms - now : 0;
  /* Fails only on a closing handle or without a callback. */
  if (uv_timer_start(&timeouts->timer, on_timer, delay, 0) == 0)
    timeouts->armed_ms = deadline_ms;
}

static void on_timer(uv_timer_t *timer) {
  dusk__timeouts_t *timeouts = DUSK__OWNER(timer, dusk__timeouts_t, timer);
  uint64_t now = uv_now(timer->loop);
  timeouts->armed_ms = UINT64_MAX;
  for (int wait = 0; wait < DUSK__WAITS; wait++) {
    dusk__link_t *waits = &timeouts->waits[wait];
    while (!dusk__list_empty(waits) && owner(waits->next)->deadline_ms <= now) {
      dusk__timeout_t *timeout = owner(waits->next);
      dusk__timeout_clear(timeout);
      timeouts->expired(timeout, (dusk__wait_t)wait);
    }
  }
  for (int wait = 0; wait < DUSK__WAITS; wait++) {
    dusk__link_t *waits = &timeouts->waits[wait];
    if (!dusk__list_empty(waits))
      arm(timeouts, owner(waits->next)->deadline_ms);
  }
}

void dusk__timeouts_init(dusk__timeouts_t *timeouts, uv_loop_t *loop,
                         dusk__expired_cb expired) {
  for (int wait = 0; wait < DUSK__WAITS; wait++)
    dusk__list_init(&timeouts->waits[wait]);
  timeouts->armed_ms = UINT64_MAX;
  timeouts->expired = expired;
  uv_timer_init(loop, &timeouts->timer); /* always 0 */
  /* What it watches over keeps the loop alive. */
  uv_unref((uv_handle_t *)&timeouts->timer);
}

void dusk__timeout_init(dusk__timeout_t *timeout) {
  dusk__list_init(&timeout->link);
  timeout->wait = DUSK__WAIT_NOTHING;
}

void dusk__timeout_clear(dusk__timeout_t *timeout) {
  if (timeout->wait == DUSK__WAIT_NOTHING) return;
  dusk__list_remove(&timeout->link);
  timeout->wait = DUSK__WAIT_NOTHING;
}

void dusk__timeout_set(dusk__timeouts_t *timeouts, dusk__timeout_t *timeout,
                       dusk__wait_t wait, uint64_t deadline_ms) {
  assert(wait < DUSK__WAITS);
  dusk__timeout_clear(timeout);
  if (deadline_ms >= FOR_EVER_MS) return;
  timeout->wait = wait;
  timeout->deadline_ms = deadline_ms;
  /* From the end: but in a drain deadlines come in order. */
  dusk__link_t *at = timeouts->waits[wait].prev;
  while (at != &timeouts->waits[wait] && owner(at)->deadline_ms > deadline_ms)
    at = at->prev;
  dusk__list_insert_after(at, &timeout->link);
  arm(timeouts, deadline_ms);
}

uint64_t dusk__after_ms(uint64_t now_ms, uint64_t timeout_ms) {
  return timeout_ms > UINT64_MAX - now_ms ? UINT64_MAX : now_ms + timeout_ms;
}
