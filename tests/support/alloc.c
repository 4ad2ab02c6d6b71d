/* alloc.c: see alloc.h. */
#include "alloc.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <stdlib.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
void __wrap_free(void *block);

static atomic_size_t live;
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t max);

static atomic_size_t count;
static atomic_size_t chosen; /* the count at which to fail; 0: none */

size_t alloc_live(void) {
  return live;
}

size_t alloc_count(void) {
  return count;
}

void alloc_fail_at(size_t n) {
  chosen = n > 0 ? count + n : 0;
}

bool alloc_has_failed(void) {
  return chosen != 0 && count >= chosen;
}

static bool fails(void) {
  return atomic_fetch_add(&count, 1) + 1 == chosen;
}

static void *counted(void *block) {
  if (block != NULL) live++;
  return block;
}

void *__wrap_malloc(size_t size) {
  return fails() ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t n, size_t size) {
  return fails() ? NULL : counted(__real_calloc(n, size));
}

void *__wrap_realloc(void *block, size_t size) {
  if (fails()) return NULL;
  void *moved = __real_realloc(block, size);
  return block == NULL ? counted(moved) : moved;
}

void __wrap_free(void *block) {
  if (block != NULL) live--;
  __real_free(block);
}

/* The C library's own would not come to the functions above. */
char *__wrap_strndup(const char *text, size_t max) {
  size_t len = strnlen(text, max);
  char *copy = __wrap_malloc(len + 1);
  if (copy == NULL) return NULL;
  copy[len] = '\0';
  return memcpy(copy, text, len);
}

char *__wrap_strdup(const char *text) {
  return __wrap_strndup(text, SIZE_MAX);
}
