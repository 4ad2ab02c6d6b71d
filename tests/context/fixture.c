/* fixture.c: see fixture.h. */
#include "fixture.h"
#include "tree.h"

#include <stdlib.h>

int fixture_open(void **state) {
  fixture_t *f = malloc(sizeof(*f));
  assert_non_null(f);
  assert_int_equal(uv_loop_init(&f->loop), 0);
  assert_int_equal(dusk_context_attach(&f->loop, &f->root), 0);
  run(&f->loop); /* the root's first turn */
  *state = f;
  return 0;
}

static void on_detached(void *arg) {
  *(int *)arg = 1;
}

int fixture_close(void **state) {
  fixture_t *f = *state;
  int detached = 0;
  dusk_context_t *root = f->root;
  assert_int_equal(root->refs, 1);
  assert_int_equal(entries(root), 0);
  assert_int_equal(dusk_context_detach(root, on_detached, &detached), 0);
  run(&f->loop);
  assert_true(detached);
  assert_int_equal(uv_loop_close(&f->loop), 0); /* DUSK-022 */
  free(f);
  return 0;
}

static void on_idle(uv_idle_t *idle) {
  (void)idle;
}

void still_open(fixture_t *still) {
  assert_int_equal(uv_loop_init(&still->loop), 0);
  assert_int_equal(dusk_context_attach(&still->loop, &still->root), 0);
}

void still_close(fixture_t *still) {
  assert_int_equal(entries(still->root), 0);
  assert_int_equal(dusk_context_detach(still->root, NULL, NULL), 0);
  run(&still->loop);
  assert_int_equal(uv_loop_close(&still->loop), 0);
}

/* An idle handle keeps the loop alive and from blocking. */
static void turn_while(uv_loop_t *loop, const int *flag, int turns,
                       uint64_t until) {
  uv_idle_t idle;
  uv_idle_init(loop, &idle);
  uv_idle_start(&idle, on_idle);
  while ((flag == NULL || *flag == 0) && turns-- != 0 && uv_hrtime() < until)
    uv_run(loop, UV_RUN_NOWAIT);
  uv_close((uv_handle_t *)&idle, NULL);
  uv_run(loop, UV_RUN_NOWAIT);
}

void run_until(uv_loop_t *loop, const int *flag) {
  turn_while(loop, flag, -1, uv_hrtime() + 10000 * MS);
  assert_int_not_equal(*flag, 0);
}

void turn(uv_loop_t *loop) {
  turn_while(loop, NULL, 3, UINT64_MAX);
}

void run(uv_loop_t *loop) {
  assert_int_equal(uv_run(loop, UV_RUN_DEFAULT), 0);
}

void wait_until(uint64_t ns) {
  while (uv_hrtime() < ns)
    continue;
}

dusk_context_t *with_cancel(dusk_context_t *parent) {
  dusk_context_t *ctx = NULL;
  assert_int_equal(dusk_context_with_cancel(parent, &ctx), 0);
  return ctx;
}

dusk_context_t *without_cancel(dusk_context_t *parent) {
  dusk_context_t *ctx = NULL;
  assert_int_equal(dusk_context_without_cancel(parent, &ctx), 0);
  return ctx;
}

dusk_context_t *with_timeout(dusk_context_t *parent, uint64_t ms,
                             const dusk_cause_t *cause) {
  dusk_context_t *ctx = NULL;
  assert_int_equal(dusk_context_with_timeout(parent, ms, cause, &ctx), 0);
  return ctx;
}

dusk_context_t *with_deadline(dusk_context_t *parent, uint64_t ns,
                              const dusk_cause_t *cause) {
  dusk_context_t *ctx = NULL;
  assert_int_equal(dusk_context_with_deadline(parent, ns, cause, &ctx), 0);
  return ctx;
}

dusk_context_t *with_value(dusk_context_t *parent, const dusk_key_t *key,
                           void *value) {
  dusk_context_t *ctx = NULL;
  assert_int_equal(dusk_context_with_value(parent, key, value, &ctx), 0);
  return ctx;
}

dusk_context_t *with_root(dusk_context_t *parent, dusk_context_t *root) {
  dusk_context_t *ctx = NULL;
  assert_int_equal(dusk_context_with_root(parent, root, &ctx), 0);
  return ctx;
}

void cancel_any(dusk_context_t *ctx, const dusk_cause_t *cause) {
  if (ctx->kind != DUSK__VALUE) dusk_context_cancel(ctx, cause);
}

void end(dusk_context_t *ctx) {
  cancel_any(ctx, NULL);
  dusk_context_unref(ctx);
}

void assert_live(dusk_context_t *ctx) {
  assert_int_equal(dusk_context_err(ctx), 0);
  assert_null(dusk_context_cause(ctx));
}

void assert_ended(dusk_context_t *ctx, int err, const dusk_cause_t *cause) {
  assert_int_equal(dusk_context_err(ctx), err);
  assert_ptr_equal(dusk_context_cause(ctx), cause);
}

size_t entries(const dusk_context_t *ctx) {
  const dusk__node_t *node = dusk__node_of(ctx);
  size_t count = 0;
  const dusk__node_t *child = node->children;
  if (child != NULL) {
    do {
      count++;
      child = child->next;
    } while (child != node->children);
  }
  const dusk_waiter_t *waiter = node->waiters;
  if (waiter != NULL) {
    do {
      count++;
      waiter = waiter->next;
    } while (waiter != node->waiters);
  }
  return count;
}

void on_call(dusk_waiter_t *waiter) {
  call_t *call = dusk__container_of(waiter, call_t, waiter);
  call->calls++;
}

void call_after(dusk_context_t *ctx, call_t *call, dusk_context_t *root) {
  *call = (call_t){.calls = 0};
  dusk_context_after(ctx, &call->waiter, root, on_call);
}
