/* All time-outs of a server's connections, on one uv_timer_t. */
#ifndef DUSK_HTTP_TIMEOUTS_H
#define DUSK_HTTP_TIMEOUTS_H

#include "connection.h"

#define DUSK__NS_PER_MS UINT64_C(1000000)

typedef struct dusk__timeouts {
  uv_timer_t timer;
  dusk__link_t waits[DUSK__WAITS]; /* each in deadline order */
  uint64_t armed_ms;               /* when the timer is due; UINT64_MAX */
} dusk__timeouts_t;

void dusk__timeouts_init(dusk_server_t *server);

/* The connection now waits for `wait`, and for nothing else, until the loop's
 * clock reads `deadline_ms`; DUSK_OFF is for ever. */
void dusk__timeout_set(dusk__conn_t *conn, dusk__wait_t wait,
                       uint64_t deadline_ms);
void dusk__timeout_clear(dusk__conn_t *conn);

/* now + timeout; DUSK_OFF stays what it is. */
uint64_t dusk__after_ms(uint64_t now_ms, uint64_t timeout_ms);

#endif
