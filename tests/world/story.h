/* What happens in a run, told a line an event, and its hash. */
#ifndef WORLD_STORY_H
#define WORLD_STORY_H

#include <stdbool.h>
#include <stdint.h>

void story_begin(bool aloud);

/* `what` is a format for two unsigned long long. `who` is "client", "conn",
 * "request" and so on, `id` its number; 0: there is one only. */
void story(const char *who, int id, const char *what, uint64_t a, uint64_t b);

uint64_t story_hash(void);

/* The first fault of the run; the later ones are only told. */
void fault(const char *check, const char *who, int id, uint64_t a, uint64_t b);
/* NULL: none. */
const char *story_fault(void);

#endif
