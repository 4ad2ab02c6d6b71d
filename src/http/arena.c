#include "arena.h"

#include <assert.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 1024 - 64, ALIGNMENT = alignof(max_align_t) };

typedef struct dusk__block {
  struct dusk__block *older;
  size_t size;
  size_t used;
  alignas(max_align_t) char bytes[];
} block_t;

static size_t aligned(size_t size) {
  return (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
}

static block_t *new_block(dusk__arena_t *arena, size_t least) {
  size_t size = least < BLOCK_BYTES ? BLOCK_BYTES : least;
  block_t *block = malloc(sizeof(*block) + size);
  if (block == NULL) return NULL;
  block->older = arena->newest;
  block->size = size;
  block->used = 0;
  arena->newest = block;
  return block;
}

void *dusk__arena_alloc(dusk__arena_t *arena, size_t size) {
  if (size > SIZE_MAX / 2) return NULL;
  size = aligned(size);
  block_t *block = arena->newest;
  if (block == NULL || block->size - block->used < size)
    block = new_block(arena, size);
  if (block == NULL) return NULL;
  void *bytes = block->bytes + block->used;
  block->used += size;
  return bytes;
}

/* It has its block for itself. */
static void *grow_block(dusk__arena_t *arena, size_t size) {
  block_t *block = realloc(arena->newest, sizeof(*block) + size);
  if (block == NULL) return NULL;
  block->size = block->used = size;
  arena->newest = block;
  return block->bytes;
}

void *dusk__arena_grow(dusk__arena_t *arena, void *old, size_t old_size,
                       size_t size) {
  block_t *block = arena->newest;
  assert(size >= old_size);
  if (old == NULL) return dusk__arena_alloc(arena, size);
  if (size > SIZE_MAX / 2) return NULL;
  old_size = aligned(old_size);
  size = aligned(size);
  bool is_last = (char *)old + old_size == block->bytes + block->used;
  if (is_last && size - old_size <= block->size - block->used) {
    block->used += size - old_size;
    return old;
  }
  if (is_last && old == block->bytes && block->older)
    return grow_block(arena, size);
  void *larger = dusk__arena_alloc(arena, size);
  if (larger) memcpy(larger, old, old_size);
  return larger;
}

/* The oldest block is a usual one, if the first allocation was small. */
void dusk__arena_reset_blocks(dusk__arena_t *arena) {
  block_t *block = arena->newest;
  while (block->older) {
    block_t *older = block->older;
    free(block);
    block = older;
  }
  block->used = 0;
  arena->newest = block;
  if (block->size > BLOCK_BYTES) dusk__arena_free(arena);
}

void dusk__arena_free(dusk__arena_t *arena) {
  while (arena->newest) {
    block_t *older = arena->newest->older;
    free(arena->newest);
    arena->newest = older;
  }
}
