/* clock.c: see clock.h. What is due lies in a binary heap, by time and then by
 * the order of the calls. */
#include "clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { EVENTS = 1 << 17 };
static const size_t MEMORY = (size_t)1 << 30; /* address space, not memory */

typedef struct event {
  uint64_t due;
  uint64_t order;
  event_cb cb;
  void *who;
  uint64_t arg;
} event_t;

static event_t heap[EVENTS];
static size_t count;
static uint64_t order;
static uint64_t time_ns;
static char *memory;
static size_t used;
static uint64_t state;
static bool passing;

static void give_up(const char *what) {
  fprintf(stderr, "world: a run needs more %s than there are\n", what);
  abort();
}

void clock_begin(void) {
  time_ns = EPOCH;
  count = 0;
  order = 0;
  passing = false;
  if (memory == NULL) {
    memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) give_up("bytes");
  }
  memset(memory, 0, used);
  used = 0;
}

uint64_t now(void) {
  return time_ns;
}

static bool before(const event_t *a, const event_t *b) {
  return a->due != b->due ? a->due < b->due : a->order < b->order;
}

void at(uint64_t due, event_cb cb, void *who, uint64_t arg) {
  if (count == EVENTS) give_up("events");
  event_t event = {due < time_ns ? time_ns : due, order++, cb, who, arg};
  size_t i = count++;
  for (; i > 0 && before(&event, &heap[(i - 1) / 2]); i = (i - 1) / 2)
    heap[i] = heap[(i - 1) / 2];
  heap[i] = event;
}

uint64_t next_due(void) {
  return count ? heap[0].due : NEVER;
}

static event_t take_first(void) {
  event_t first = heap[0];
  event_t last = heap[--count];
  size_t i = 0;
  for (;;) {
    size_t child = 2 * i + 1;
    if (child >= count) break;
    if (child + 1 < count && before(&heap[child + 1], &heap[child])) child++;
    if (!before(&heap[child], &last)) break;
    heap[i] = heap[child];
    i = child;
  }
  heap[i] = last;
  return first;
}

void pass_until(uint64_t then) {
  while (count > 0 && heap[0].due <= then) {
    event_t event = take_first();
    if (event.due > time_ns) time_ns = event.due;
    passing = true;
    event.cb(event.who, event.arg);
    passing = false;
  }
  if (then > time_ns) time_ns = then;
}

bool is_passing(void) {
  return passing;
}

void *keep(size_t size) {
  size = (size + 15) & ~(size_t)15;
  if (size > MEMORY - used) give_up("bytes");
  void *block = memory + used;
  used += size;
  return block;
}

void chance_begin(uint64_t seed) {
  state = seed;
}

/* Sebastiano Vigna's splitmix64. */
uint64_t chance_next(uint64_t *state_of) {
  uint64_t z = *state_of += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

static uint64_t draw(void) {
  return chance_next(&state);
}

uint64_t below(uint64_t n) {
  return n ? draw() % n : 0;
}

uint64_t between(uint64_t low, uint64_t high) {
  return low + below(high - low + 1);
}

bool one_in(uint64_t n) {
  return below(n) == 0;
}
