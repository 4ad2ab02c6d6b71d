/* One exchange's life, step by step. See steps.c. */
#ifndef DUSK_HTTP_STEPS_H
#define DUSK_HTTP_STEPS_H

#include "contexts.h"

/* What the connection is to do after a step. */
typedef enum dusk__step {
  DUSK__STEP_ON,    /* take the next one */
  DUSK__STEP_BEGIN, /* a request's first byte has come; then on */
  DUSK__STEP_NEXT,  /* it was answered, and its next message follows; then on */
  DUSK__STEP_WAIT,  /* until something happens */
  DUSK__STEP_PART,  /* end after this answer, so that the client can read it */
  DUSK__STEP_RESET, /* end by a reset */
  DUSK__STEP_CUT,   /* end: its answer can't be completed */
} dusk__step_t;

/* Whether handlers and their callbacks may be called: not inside a call of the
 * user's that is none of theirs. */
typedef enum dusk__calls {
  DUSK__NO_CALLS, /* what is due is left to the loop's next turn */
  DUSK__CALLS,
} dusk__calls_t;

dusk__step_t dusk__steps_next(dusk__exchange_t *ex, dusk__calls_t calls);

/* Tells the handler, once, that all it wrote has gone to the kernel. */
void dusk__steps_tell_drained(dusk__exchange_t *ex);

/* The whole request's time-out, from now on: see dusk__contexts_set_timeout. */
int dusk__steps_set_timeout(dusk__exchange_t *ex, uint64_t timeout_ms);

/* How a connection ends that parts or is reset. */
dusk__ending_t dusk__steps_ending(const dusk__exchange_t *ex);

#endif
