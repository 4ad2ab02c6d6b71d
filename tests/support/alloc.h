/* alloc.h: sees the allocations of dusk and of the test itself, and makes them
 * fail. Needs the linker's --wrap for malloc, calloc, realloc and free; what
 * shared libraries allocate is not seen. Any thread. */
#ifndef ALLOC_H
#define ALLOC_H

#include <stdbool.h>
#include <stddef.h>

/* Blocks that are allocated now. */
size_t alloc_live(void);

/* Allocations since the program began, failed ones included. */
size_t alloc_count(void);

/* Makes the n-th allocation from now on fail, and no other: 1 is the next one,
 * 0 none. */
void alloc_fail_at(size_t n);

/* Whether the one that alloc_fail_at chose has been asked for. */
bool alloc_has_failed(void);

#endif
