/* Each kind of wait is a list in deadline order, so that the nearest deadline
 * is at a head. The one timer is armed to the nearest and never moved later: a
 * wait that was renewed or ended meanwhile costs one early look, not a timer
 * call a request. */
#include "timeouts.h"

#include "server.h"

#include <assert.h>

static void rearm(dusk_server_t *server);

static dusk__conn_t *first(dusk__link_t *waits) {
  return DUSK__OWNER(waits->next, dusk__conn_t, wait_link);
}

static void on_timer(uv_timer_t *timer) {
  dusk_server_t *server = timer->data;
  dusk__server_note_thread(server);
  uint64_t now = dusk__now_ms(server);
  server->timeouts.armed_ms = UINT64_MAX;
  for (int wait = 0; wait < DUSK__WAITS; wait++) {
    dusk__link_t *waits = &server->timeouts.waits[wait];
    while (!dusk__list_empty(waits) && first(waits)->deadline_ms <= now) {
      dusk__conn_t *conn = first(waits);
      dusk__timeout_clear(conn);
      dusk__conn_expired(conn, (dusk__wait_t)wait);
    }
  }
  rearm(server);
}

static void arm(dusk_server_t *server, uint64_t deadline_ms) {
  dusk__timeouts_t *timeouts = &server->timeouts;
  if (deadline_ms >= timeouts->armed_ms || server->handles_closing) return;
  uint64_t now = dusk__now_ms(server);
  uint64_t delay = deadline_ms > now ? deadline_ms - now : 0;
  /* Fails only on a closing handle or without a callback. */
  if (uv_timer_start(&timeouts->timer, on_timer, delay, 0) == 0)
    timeouts->armed_ms = deadline_ms;
}

static void rearm(dusk_server_t *server) {
  for (int wait = 0; wait < DUSK__WAITS; wait++) {
    dusk__link_t *waits = &server->timeouts.waits[wait];
    if (!dusk__list_empty(waits)) arm(server, first(waits)->deadline_ms);
  }
}

void dusk__timeouts_init(dusk_server_t *server) {
  dusk__timeouts_t *timeouts = &server->timeouts;
  for (int wait = 0; wait < DUSK__WAITS; wait++)
    dusk__list_init(&timeouts->waits[wait]);
  timeouts->armed_ms = UINT64_MAX;
  timeouts->timer.data = server;
  uv_timer_init(server->loop, &timeouts->timer); /* always 0 */
  /* The connections it watches over keep the loop alive. */
  uv_unref((uv_handle_t *)&timeouts->timer);
}

void dusk__timeout_clear(dusk__conn_t *conn) {
  if (conn->wait == DUSK__WAIT_NOTHING) return;
  dusk__list_remove(&conn->wait_link);
  conn->wait = DUSK__WAIT_NOTHING;
}

void dusk__timeout_set(dusk__conn_t *conn, dusk__wait_t wait,
                       uint64_t deadline_ms) {
  assert(conn->phase != DUSK__CLOSED && wait < DUSK__WAITS);
  dusk__timeout_clear(conn);
  if (deadline_ms == DUSK_OFF) return;
  conn->wait = wait;
  conn->deadline_ms = deadline_ms;
  /* From the end: but in a drain deadlines come in order. */
  dusk__link_t *waits = &conn->server->timeouts.waits[wait];
  dusk__link_t *at = waits->prev;
  while (at != waits &&
         DUSK__OWNER(at, dusk__conn_t, wait_link)->deadline_ms > deadline_ms)
    at = at->prev;
  dusk__list_insert_after(at, &conn->wait_link);
  arm(conn->server, deadline_ms);
}

uint64_t dusk__after_ms(uint64_t now_ms, uint64_t timeout_ms) {
  return timeout_ms > DUSK_OFF - now_ms ? DUSK_OFF : now_ms + timeout_ms;
}
