/* A worker's loop without a server, for what needs no more. */
#ifndef DUSK_TESTS_LONE_WORKER_H
#define DUSK_TESTS_LONE_WORKER_H

#include "worker.h"

#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include <dusk/context.h>

typedef struct lone {
  uv_loop_t loop;
  dusk_server_config_t config;
  dusk__worker_t worker;
  dusk_context_t *root;
  uv_timer_t give_up; /* keeps the loop going, but not for long */
} lone_t;

static inline void lone_unused(dusk__worker_t *worker) {
  dusk_context_unref(worker->root);
}

static inline void lone_expired(dusk__timeout_t *timeout, dusk__wait_t wait) {
  fail_msg("%p waited in vain for %d", (void *)timeout, (int)wait);
}

static inline void lone_give_up(uv_timer_t *timer) {
  (void)timer;
  fail_msg("nothing came within ten seconds");
}

static inline void lone_open(lone_t *lone) {
  memset(lone, 0, sizeof(*lone));
  assert_int_equal(uv_loop_init(&lone->loop), 0);
  assert_int_equal(dusk_context_attach(&lone->loop, &lone->root), 0);
  lone->config.max_connections = DUSK_OFF;
  lone->worker.config = &lone->config;
  dusk__worker_init(&lone->worker, lone->root, lone_expired, lone_unused);
  assert_int_equal(uv_timer_init(&lone->loop, &lone->give_up), 0);
  assert_int_equal(uv_timer_start(&lone->give_up, lone_give_up, 10000, 0), 0);
}

/* What is due now. */
static inline void lone_turn(lone_t *lone) {
  uv_run(&lone->loop, UV_RUN_NOWAIT);
}

/* Until *count has reached `least`. */
static inline void lone_run_until(lone_t *lone, const int *count, int least) {
  while (*count < least)
    uv_run(&lone->loop, UV_RUN_ONCE);
}

/* Asserts that nothing of it is left on the loop. */
static inline void lone_close(lone_t *lone) {
  uv_close((uv_handle_t *)&lone->give_up, NULL);
  assert_true(dusk__worker_close(&lone->worker));
  uv_run(&lone->loop, UV_RUN_DEFAULT);
  assert_int_equal(lone->worker.refs, 0);
  assert_int_equal(dusk_context_detach(lone->root, NULL, NULL), 0);
  uv_run(&lone->loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&lone->loop), 0);
}

#endif
