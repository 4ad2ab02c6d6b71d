/* A list of values, as it is made. See values.c. */
#ifndef DUSK_HTTP_VALUES_H
#define DUSK_HTTP_VALUES_H

#include "arena.h"
#include "pairs.h"

#include <dusk/values.h>

/* An empty one with room for `count` pairs, whose text is `len` bytes long with
 * what is between them; if that is more than `max`, it stays empty and tells
 * UV_E2BIG. NULL when memory ran out. */
dusk_values_t *dusk__values_new(dusk__arena_t *arena, size_t count, size_t max,
                                size_t len);

/* Copies the pair, as it stands. */
void dusk__values_put(dusk_values_t *values, const dusk__pair_t *pair);

/* All the pairs of a query or form, decoded. NULL when memory ran out. */
dusk_values_t *dusk__values_decode(dusk__arena_t *arena, dusk__piece_t text);

#endif
