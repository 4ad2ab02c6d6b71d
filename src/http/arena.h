/* Memory of one message, which goes with it all at once. */
#ifndef DUSK_HTTP_ARENA_H
#define DUSK_HTTP_ARENA_H

#include <stddef.h>

/* Blank when all 0. */
typedef struct dusk__arena {
  struct dusk__block *newest;
} dusk__arena_t;

/* As malloc: aligned for anything, NULL when memory ran out. */
void *dusk__arena_alloc(dusk__arena_t *arena, size_t size);

/* Makes `old`, of `old_size` bytes or NULL, larger; in place where it is the
 * last one. On failure it stays as it is. */
void *dusk__arena_grow(dusk__arena_t *arena, void *old, size_t old_size,
                       size_t size);

/* Frees all that was allocated; what a usual message needs is kept for the
 * next one. */
void dusk__arena_reset_blocks(dusk__arena_t *arena);
static inline void dusk__arena_reset(dusk__arena_t *arena) {
  if (arena->newest) dusk__arena_reset_blocks(arena);
}
void dusk__arena_free(dusk__arena_t *arena);

#endif
