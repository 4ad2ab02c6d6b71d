/* pool.h: libuv's thread pool in the test's hands. */
#ifndef POOL_H
#define POOL_H

#include <uv.h>

enum { POOL_SIZE = 2 };

/* Gives the pool POOL_SIZE threads. First of all in main. */
void pool_size(void);

/* What keeps every thread of the pool busy. */
typedef struct {
  uv_loop_t loop;
  uv_sem_t held;
  uv_sem_t go;
  uv_work_t reqs[POOL_SIZE];
} pool_t;

/* Returns when all are busy: what is queued now, stays queued. */
void pool_hold(pool_t *pool);
/* Returns when they are free again. */
void pool_let_go(pool_t *pool);

#endif
