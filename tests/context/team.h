/* team.h: threads that start together, for the interleavings of a few calls. */
#ifndef TEAM_H
#define TEAM_H

#include <uv.h>

enum { THREADS = 4 };

typedef struct {
  void (*work)(void *arg, int number);
  void *arg;
  int number;
  uv_barrier_t *start;
  uv_thread_t thread;
} worker_t;

typedef struct {
  worker_t workers[THREADS];
  uv_barrier_t start;
  int count;
} team_t;

/* `count` threads call fn(arg, 0 ...), and this one goes on. */
void team_start(team_t *team, int count, void (*fn)(void *, int), void *arg);
void team_join(team_t *team);

/* Both. */
void together(int count, void (*fn)(void *, int), void *arg);

#endif
