/* The world's time: a virtual clock and what is due on it; and the world's
 * chance. Both begin anew with each run, so that a run is its seed's. */
#ifndef WORLD_CLOCK_H
#define WORLD_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)
#define NEVER UINT64_MAX

/* What uv_hrtime reads when a run begins. */
#define EPOCH (1000000 * MS)

typedef void (*event_cb)(void *who, uint64_t arg);

void clock_begin(void);
uint64_t now(void);
/* Calls `cb` when the clock reads `due`; in the order of the calls where that
 * is the same. */
void at(uint64_t due, event_cb cb, void *who, uint64_t arg);
/* When the next one is due; NEVER. */
uint64_t next_due(void);
/* Moves the clock, and calls what is due by then. */
void pass_until(uint64_t then);
/* Whether it is calling. */
bool is_passing(void);

/* Memory of the run: given back all at once, by the next clock_begin. Zeroed,
 * and unseen by the count of allocations. */
void *keep(size_t size);

/* -- Chance ---------------------------------------------------------------- */

void chance_begin(uint64_t seed);
/* Below `n`; from `low` to `high`; true once in `n` times. */
uint64_t below(uint64_t n);
uint64_t between(uint64_t low, uint64_t high);
bool one_in(uint64_t n);
/* Any number, of another chance than that: of this state's. */
uint64_t chance_next(uint64_t *state);

#endif
