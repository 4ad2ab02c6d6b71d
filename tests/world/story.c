/* story.c: see story.h. The hash is FNV-1a over all that a line is made of, so
 * that it costs no formatting when nobody listens. */
#include "story.h"

#include "clock.h"
#include "threads.h"

#include <stdio.h>

static bool is_aloud;
static uint64_t hash;
static char first_fault[400];

void story_begin(bool aloud) {
  is_aloud = aloud;
  hash = UINT64_C(0xcbf29ce484222325);
  first_fault[0] = '\0';
}

static void mix(uint64_t word) {
  hash = (hash ^ word) * UINT64_C(0x100000001b3);
  hash ^= hash >> 29;
}

static void mix_text(const char *text) {
  for (; *text; text++)
    hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void format(char *buf, size_t size, const char *what, uint64_t a,
                   uint64_t b) {
  snprintf(buf, size, what, (unsigned long long)a, (unsigned long long)b);
}
#pragma GCC diagnostic pop

static void say(const char *who, int id, const char *what, uint64_t a,
                uint64_t b) {
  char text[256];
  char number[16] = "";
  format(text, sizeof(text), what, a, b);
  if (id > 0) snprintf(number, sizeof(number), "%d", id);
  printf("%12.3f  ", (double)(now() - EPOCH) / (double)MS);
  if (threads_are_several() && is_passing())
    printf("   ");
  else if (threads_are_several())
    printf("t%d ", thread_self());
  printf("%-8s %-4s %s\n", who, number, text);
}

void story(const char *who, int id, const char *what, uint64_t a, uint64_t b) {
  mix(now());
  mix_text(who);
  mix((uint64_t)id);
  mix_text(what);
  mix(a);
  mix(b);
  if (is_aloud) say(who, id, what, a, b);
}

uint64_t story_hash(void) {
  return hash;
}

void fault(const char *check, const char *who, int id, uint64_t a, uint64_t b) {
  if (is_aloud) printf("%12s  %-8s\n", "", "FAULT:");
  story(who, id, check, a, b);
  if (first_fault[0]) return;
  char text[256];
  format(text, sizeof(text), check, a, b);
  snprintf(first_fault, sizeof(first_fault), "at %.3f ms, %s %d: %s",
           (double)(now() - EPOCH) / (double)MS, who, id, text);
}

const char *story_fault(void) {
  return first_fault[0] ? first_fault : NULL;
}
