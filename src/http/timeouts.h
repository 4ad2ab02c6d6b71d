/* All time-outs of a loop, on one uv_timer_t. */
#ifndef DUSK_HTTP_TIMEOUTS_H
#define DUSK_HTTP_TIMEOUTS_H

#include "list.h"

#include <stdint.h>
#include <uv.h>

#define DUSK__NS_PER_MS UINT64_C(1000000)

/* What is waited for; each kind is a list in deadline order. */
typedef enum dusk__wait {
  DUSK__WAIT_HEADER,
  DUSK__WAIT_BODY,
  DUSK__WAIT_WRITE,
  DUSK__WAIT_ANSWER, /* of a request's own time, where nobody else does */
  DUSK__WAIT_IDLE,
  DUSK__WAIT_LINGER,
  DUSK__WAIT_QUIET, /* the drain's window for one more request */
  DUSK__WAITS,
  DUSK__WAIT_NOTHING = DUSK__WAITS,
} dusk__wait_t;

/* Embedded in who waits, for one thing at a time. */
typedef struct dusk__timeout {
  dusk__link_t link;
  uint64_t deadline_ms : 60; /* on the loop's clock */
  uint64_t wait : 4;         /* a dusk__wait_t */
} dusk__timeout_t;

/* The deadline of `wait` has passed: the time-out is cleared, and may be set
 * anew, or its owner go. */
typedef void (*dusk__expired_cb)(dusk__timeout_t *timeout, dusk__wait_t wait);

typedef struct dusk__timeouts {
  uv_timer_t timer;
  dusk__link_t waits[DUSK__WAITS]; /* each in deadline order */
  uint64_t armed_ms;               /* when the timer is due; UINT64_MAX */
  dusk__expired_cb expired;
} dusk__timeouts_t;

/* Opens the timer; it doesn't keep the loop alive. */
void dusk__timeouts_init(dusk__timeouts_t *timeouts, uv_loop_t *loop,
                         dusk__expired_cb expired);

void dusk__timeout_init(dusk__timeout_t *timeout);

/* It now waits for `wait`, and for nothing else, until the loop's clock reads
 * `deadline_ms`; UINT64_MAX is for ever, and so is what is as good as that. */
void dusk__timeout_set(dusk__timeouts_t *timeouts, dusk__timeout_t *timeout,
                       dusk__wait_t wait, uint64_t deadline_ms);
void dusk__timeout_clear(dusk__timeout_t *timeout);

/* now + timeout; UINT64_MAX stays what it is. */
uint64_t dusk__after_ms(uint64_t now_ms, uint64_t timeout_ms);

#endif
