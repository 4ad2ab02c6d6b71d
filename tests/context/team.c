/* team.c: see team.h. */
#include "team.h"
#include "fixture.h"

static void work(void *arg) {
  worker_t *worker = arg;
  uv_barrier_wait(worker->start);
  worker->work(worker->arg, worker->number);
}

void team_start(team_t *team, int count, void (*fn)(void *, int), void *arg) {
  team->count = count;
  assert_int_equal(uv_barrier_init(&team->start, (unsigned)count + 1), 0);
  for (int i = 0; i < count; i++) {
    worker_t *worker = &team->workers[i];
    *worker = (worker_t){fn, arg, i, &team->start, 0};
    assert_int_equal(uv_thread_create(&worker->thread, work, worker), 0);
  }
  uv_barrier_wait(&team->start);
}

void team_join(team_t *team) {
  for (int i = 0; i < team->count; i++)
    uv_thread_join(&team->workers[i].thread);
  uv_barrier_destroy(&team->start);
}

void together(int count, void (*fn)(void *, int), void *arg) {
  team_t team;
  team_start(&team, count, fn, arg);
  team_join(&team);
}
