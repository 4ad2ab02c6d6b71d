/* pool.c: see pool.h. */
#include "pool.h"
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>

void pool_size(void) {
  char text[8];
  snprintf(text, sizeof(text), "%d", POOL_SIZE);
  setenv("UV_THREADPOOL_SIZE", text, 1);
}

static void on_hold(uv_work_t *req) {
  pool_t *pool = req->data;
  uv_sem_post(&pool->held);
  uv_sem_wait(&pool->go);
}

static void on_let_go(uv_work_t *req, int status) {
  (void)req;
  assert_int_equal(status, 0);
}

void pool_hold(pool_t *pool) {
  assert_int_equal(uv_loop_init(&pool->loop), 0);
  assert_int_equal(uv_sem_init(&pool->held, 0), 0);
  assert_int_equal(uv_sem_init(&pool->go, 0), 0);
  for (int i = 0; i < POOL_SIZE; i++) {
    pool->reqs[i].data = pool;
    assert_int_equal(
        uv_queue_work(&pool->loop, &pool->reqs[i], on_hold, on_let_go), 0);
  }
  for (int i = 0; i < POOL_SIZE; i++)
    uv_sem_wait(&pool->held);
}

void pool_let_go(pool_t *pool) {
  for (int i = 0; i < POOL_SIZE; i++)
    uv_sem_post(&pool->go);
  run(&pool->loop);
  assert_int_equal(uv_loop_close(&pool->loop), 0);
  uv_sem_destroy(&pool->held);
  uv_sem_destroy(&pool->go);
}
