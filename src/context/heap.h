/* heap.h: the deadlines of a tree, nearest first. */
#ifndef DUSK_HEAP_H
#define DUSK_HEAP_H

#include "tree.h"

/* Both under the lock. */
void dusk__heap_insert(dusk__timed_t **heap, dusk__timed_t *timed);
void dusk__heap_remove(dusk__timed_t **heap, dusk__timed_t *timed);

#endif
