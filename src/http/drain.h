/* One worker's drain. See drain.c. */
#ifndef DUSK_HTTP_DRAIN_H
#define DUSK_HTTP_DRAIN_H

#include "census.h"
#include "policy.h"

/* What the report tells of it beside the census. */
typedef struct dusk__drained {
  int status;              /* 0: everything was answered */
  uint64_t answered_ns;    /* the last time that no request was running */
  uint64_t windows_ns;     /* since when only windows hold it; 0: others do */
  uint64_t windows_sum_ns; /* what they held it before */
  uint64_t requests_cancelled;
  char oldest[128];         /* request line of the oldest one that runs, or
                             * else of what was cancelled or cut; "" */
  uint64_t oldest_begun_ms; /* on the loop's clock */
  uint64_t oldest_ended_ms; /* 0: it runs */
  char unended[128];        /* the same of the oldest one that only its handler
                             * still holds */
  uint64_t unended_begun_ms;
} dusk__drained_t;

typedef struct dusk__drain {
  dusk__worker_t *worker;
  bool more_may_come; /* from the acceptor */
  bool is_cancelled;  /* the hard cancel has come */
  bool is_over;
  bool is_cutting; /* what ends as cut from then on is counted, */
  int cut_status;  /* and this is the status then */
  uint64_t cuts_before;
  uint64_t unacknowledged_before;
  uint64_t requests_ended; /* as of the last check */
  dusk__drained_t so_far;

  uv_mutex_t *lock;      /* NULL: there is one worker */
  dusk__drained_t shown; /* under it: as of the last check */
} dusk__drain_t;

/* `lock` is kept. */
void dusk__drain_init(dusk__drain_t *drain, dusk__worker_t *worker,
                      uv_mutex_t *lock);

/* Begins: the worker's connections get a last look and a window. Those that
 * the acceptor still has come later, until dusk__drain_sealed. Does nothing the
 * second time. */
void dusk__drain_begin(dusk__drain_t *drain);
void dusk__drain_sealed(dusk__drain_t *drain);

/* The hard cancel: notes whom it meets; their context itself is the server's.
 * Does nothing the second time. */
void dusk__drain_cancel(dusk__drain_t *drain, int status);

/* Cuts all that is left. */
void dusk__drain_cut(dusk__drain_t *drain, int status);

/* Notes what has changed, and shows it. True once: when it is over, and nothing
 * is left. */
bool dusk__drain_check(dusk__drain_t *drain);

/* As it is now, on the worker's thread; as it was at the last check, on any,
 * where there are several workers. */
void dusk__drain_now(const dusk__drain_t *drain, dusk__drained_t *ret_now);
void dusk__drain_shown(const dusk__drain_t *drain, dusk__drained_t *ret_shown);

#endif
