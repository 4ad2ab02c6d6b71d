/* Work on libuv's pool under a context. */
#include "fixture.h"
#include "alloc.h"
#include "pool.h"
#include "tree.h"

#include <dusk/calls.h>
#include <stdlib.h>

int __real_uv_queue_work(uv_loop_t *loop, uv_work_t *req, uv_work_cb cb,
                         uv_after_work_cb after_cb);
int __wrap_uv_queue_work(uv_loop_t *loop, uv_work_t *req, uv_work_cb cb,
                         uv_after_work_cb after_cb);
static int queue_err;
static int queued;

int __wrap_uv_queue_work(uv_loop_t *loop, uv_work_t *req, uv_work_cb cb,
                         uv_after_work_cb after_cb) {
  queued++;
  return queue_err != 0 ? queue_err
                        : __real_uv_queue_work(loop, req, cb, after_cb);
}

typedef struct {
  dusk_work_t work;
  dusk_context_t *ctx; /* it is expected to be called with */
  int runs;
  int calls;
  int err;
  int seen;
  uv_sem_t begun;
  uv_sem_t go;
} job_t;

static job_t *job_of(dusk_work_t *work) {
  return dusk__container_of(work, job_t, work);
}

static void on_run(dusk_work_t *work, dusk_context_t *ctx) {
  assert_ptr_equal(ctx, job_of(work)->ctx);
  job_of(work)->runs++;
}

static void on_after(dusk_work_t *work, int err) {
  job_of(work)->calls++;
  job_of(work)->err = err;
}

static void begin_with(dusk_context_t *ctx, job_t *job, dusk_context_t *root,
                       dusk_work_cb cb) {
  job->ctx = ctx;
  job->runs = job->calls = 0;
  job->err = 1;
  assert_int_equal(dusk_context_work(ctx, &job->work, root, cb, on_after), 0);
  assert_int_equal(job->calls, 0);
}

static void begin(dusk_context_t *ctx, job_t *job, dusk_context_t *root) {
  begin_with(ctx, job, root, on_run);
}

static void assert_ran(const job_t *job) {
  assert_int_equal(job->runs, 1);
  assert_int_equal(job->calls, 1);
  assert_int_equal(job->err, 0);
}

static void assert_never_ran(const job_t *job, int err) {
  assert_int_equal(job->runs, 0);
  assert_int_equal(job->calls, 1);
  assert_int_equal(job->err, err);
}

/* DUSK-056, DUSK-065 */
static void work_runs_on_the_pool(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  job_t job;
  job.work.data = &job;
  begin(ctx, &job, f->root);
  assert_int_equal(dusk_context_detach(f->root, NULL, NULL), UV_EBUSY);
  run(&f->loop);
  assert_ran(&job);
  assert_ptr_equal(job.work.data, &job); /* DUSK-070 */
  assert_int_equal(entries(ctx), 0);
  end(ctx);
}

/* DUSK-057 */
static void queued_work_is_removed_when_its_context_ends(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  job_t job, other;
  pool_t pool;
  pool_hold(&pool);
  begin(ctx, &job, f->root);
  begin(f->root, &other, f->root);
  end(ctx); /* it is held */
  assert_int_equal(job.calls, 0);
  run_until(&f->loop, &job.calls); /* the pool is still busy */
  assert_never_ran(&job, UV_ECANCELED);
  assert_int_equal(other.calls, 0);
  pool_let_go(&pool);
  run(&f->loop);
  assert_never_ran(&job, UV_ECANCELED);
  assert_ran(&other);
}

/* DUSK-057 */
static void queued_work_is_removed_at_the_deadline(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 2, NULL);
  job_t job;
  pool_t pool;
  pool_hold(&pool);
  begin(ctx, &job, f->root);
  run(&f->loop);
  assert_never_ran(&job, UV_ETIMEDOUT);
  pool_let_go(&pool);
  dusk_context_unref(ctx);
}

/* DUSK-057. The pool gets at it before the loop does. */
static void work_does_not_begin_under_an_ended_context(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  job_t job;
  pool_t pool;
  pool_hold(&pool);
  begin(ctx, &job, f->root);
  dusk_context_cancel(ctx, NULL);
  pool_let_go(&pool);
  pool_hold(&pool); /* queued after it */
  pool_let_go(&pool);
  run(&f->loop);
  assert_never_ran(&job, UV_ECANCELED);
  dusk_context_unref(ctx);
}

static void on_run_until_end(dusk_work_t *work, dusk_context_t *ctx) {
  job_t *job = job_of(work);
  uint64_t until = uv_hrtime() + 10000 * MS;
  uv_sem_post(&job->begun);
  while ((job->seen = dusk_context_err(ctx)) == 0 && uv_hrtime() < until)
    continue;
  uv_sem_wait(&job->go);
  job->runs++;
}

static void begin_until_end(dusk_context_t *ctx, job_t *job,
                            dusk_context_t *root) {
  assert_int_equal(uv_sem_init(&job->begun, 0), 0);
  assert_int_equal(uv_sem_init(&job->go, 0), 0);
  begin_with(ctx, job, root, on_run_until_end);
  uv_sem_wait(&job->begun);
}

static void assert_saw(fixture_t *f, job_t *job, int err) {
  uv_sem_post(&job->go);
  run(&f->loop);
  assert_ran(job);
  assert_int_equal(job->seen, err);
  uv_sem_destroy(&job->begun);
  uv_sem_destroy(&job->go);
}

/* DUSK-058 */
static void running_work_sees_the_end(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  job_t job;
  begin_until_end(ctx, &job, f->root);
  end(ctx);
  turn(&f->loop); /* which can do nothing about it */
  assert_int_equal(job.calls, 0);
  assert_int_equal(dusk_context_detach(f->root, NULL, NULL), UV_EBUSY);
  assert_saw(f, &job, UV_ECANCELED);
}

/* DUSK-058 */
static void running_work_sees_the_deadline(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 60000, NULL);
  job_t job;
  begin_until_end(ctx, &job, f->root);
  assert_int_equal(dusk_context_bring_forward(ctx, uv_hrtime() + MS), 0);
  assert_saw(f, &job, UV_ETIMEDOUT);
  dusk_context_unref(ctx);
}

/* DUSK-064 */
static void under_an_ended_context_nothing_is_queued(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  job_t job;
  int before = queued;
  dusk_context_cancel(ctx, NULL);
  begin(ctx, &job, f->root);
  dusk_context_unref(ctx);
  assert_int_equal(dusk_context_detach(f->root, NULL, NULL), UV_EBUSY);
  run(&f->loop);
  assert_never_ran(&job, UV_ECANCELED);
  assert_int_equal(queued, before);
}

typedef struct {
  dusk_work_t work;
  dusk_context_t *ctx;
  dusk_context_t *root;
  int rounds;
  int *calls;
} owner_t;

static void on_nothing(dusk_work_t *work, dusk_context_t *ctx) {
  (void)work;
  (void)ctx;
}

static void on_again(dusk_work_t *work, int err) {
  owner_t *owner = dusk__container_of(work, owner_t, work);
  ++*owner->calls;
  if (err != 0) {
    dusk_context_unref(owner->ctx);
    free(owner);
    return;
  }
  if (--owner->rounds == 0) dusk_context_cancel(owner->ctx, NULL);
  assert_int_equal(
      dusk_context_work(owner->ctx, work, owner->root, on_nothing, on_again),
      0);
}

static void after_it_the_struct_is_the_callers(void **state) {
  fixture_t *f = *state;
  size_t live = alloc_live();
  owner_t *owner = calloc(1, sizeof(*owner));
  assert_non_null(owner);
  int calls = 0;
  *owner = (owner_t){.ctx = with_cancel(f->root), .root = f->root};
  owner->rounds = 3;
  owner->calls = &calls;
  on_again(&owner->work, 0);
  run(&f->loop);
  assert_int_equal(calls, 4); /* this one, two that ran, one that didn't */
  assert_int_equal(alloc_live(), live);
}

static void on_after_detach(dusk_work_t *work, int err) {
  job_t *job = job_of(work);
  on_after(work, err);
  assert_int_equal(dusk_context_detach(job->ctx, NULL, NULL), 0);
}

static void in_its_callback_the_root_can_be_detached(void **state) {
  fixture_t *f = *state;
  job_t job = {.runs = 0};
  assert_int_equal(dusk_context_attach(&f->loop, &job.ctx), 0);
  assert_int_equal(
      dusk_context_work(job.ctx, &job.work, job.ctx, on_run, on_after_detach),
      0);
  run(&f->loop);
  assert_ran(&job);
}

static void the_context_may_be_of_another_tree(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other;
  assert_int_equal(dusk_context_attach(&f->loop, &other), 0);
  dusk_context_t *ctx = with_cancel(other);
  job_t ran, cut;
  pool_t pool;
  begin(ctx, &ran, f->root);
  run(&f->loop);
  assert_ran(&ran);
  pool_hold(&pool);
  begin(ctx, &cut, f->root);
  end(ctx);
  run_until(&f->loop, &cut.calls);
  pool_let_go(&pool);
  assert_never_ran(&cut, UV_ECANCELED);
  assert_int_equal(dusk_context_detach(other, NULL, NULL), 0);
}

/* DUSK-066. That tree's loop doesn't turn, or is gone. */
static void a_deadline_of_another_tree_is_served_here(void **state) {
  fixture_t *f = *state, still;
  dusk_context_t *gone;
  still_open(&still);
  assert_int_equal(dusk_context_attach(&f->loop, &gone), 0);
  dusk_context_t *ctxs[] = {with_timeout(still.root, 5, NULL),
                            with_timeout(gone, 5, NULL)};
  assert_int_equal(dusk_context_detach(gone, NULL, NULL), 0);
  size_t live = alloc_live();
  job_t jobs[2];
  pool_t pool;
  pool_hold(&pool);
  for (int i = 0; i < 2; i++)
    begin(ctxs[i], &jobs[i], f->root);
  for (int i = 0; i < 2; i++) {
    run_until(&f->loop, &jobs[i].calls);
    assert_never_ran(&jobs[i], UV_ETIMEDOUT);
  }
  pool_let_go(&pool);
  assert_int_equal(alloc_live(), live);
  for (int i = 0; i < 2; i++)
    dusk_context_unref(ctxs[i]);
  still_close(&still);
}

/* -- Against another thread ----------------------------------------------- */

enum { JOBS = 400 };

static void cancel_half(void *arg) {
  job_t *jobs = arg;
  unsigned seed = 7;
  for (int i = 0; i < JOBS; i++) {
    seed = seed * 1103515245 + 12345;
    if (seed >> 16 & 1) dusk_context_cancel(jobs[i].ctx, NULL);
  }
}

static void each_ends_once_whoever_cancels(void **state) {
  static job_t jobs[JOBS];
  fixture_t *f = *state;
  uv_thread_t thread;
  for (int i = 0; i < JOBS; i++)
    begin(with_cancel(f->root), &jobs[i], f->root);
  assert_int_equal(uv_thread_create(&thread, cancel_half, jobs), 0);
  run(&f->loop);
  uv_thread_join(&thread);
  int ran = 0;
  for (int i = 0; i < JOBS; i++) {
    if (jobs[i].err == 0)
      assert_ran(&jobs[i]);
    else
      assert_never_ran(&jobs[i], UV_ECANCELED);
    ran += jobs[i].runs;
    dusk_context_unref(jobs[i].ctx);
  }
  assert_true(ran >= JOBS / 4); /* the other half wasn't cancelled */
}

/* -- Failure -------------------------------------------------------------- */

static void a_failed_start_leaves_nothing(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  job_t job = {.calls = 0};
  dusk_work_t *work = &job.work;
  queue_err = UV_EAGAIN;
  assert_int_equal(dusk_context_work(ctx, work, f->root, on_run, on_after),
                   UV_EAGAIN);
  queue_err = 0;
  assert_int_equal(dusk_context_work(NULL, work, f->root, on_run, on_after),
                   UV_EINVAL);
  assert_int_equal(dusk_context_work(ctx, NULL, f->root, on_run, on_after),
                   UV_EINVAL);
  assert_int_equal(dusk_context_work(ctx, work, NULL, on_run, on_after),
                   UV_EINVAL);
  assert_int_equal(dusk_context_work(ctx, work, f->root, NULL, on_after),
                   UV_EINVAL);
  assert_int_equal(dusk_context_work(ctx, work, f->root, on_run, NULL),
                   UV_EINVAL);
  assert_int_equal(entries(ctx), 0);
  assert_int_equal(ctx->refs, 1);
  run(&f->loop);
  assert_int_equal(job.calls, 0);
  end(ctx);
}

/* DUSK-038 */
static void a_failed_start_in_another_tree_leaves_nothing(void **state) {
  fixture_t *f = *state, still;
  still_open(&still);
  size_t live = alloc_live();
  job_t job = {.calls = 0};
  alloc_fail_at(1);
  assert_int_equal(
      dusk_context_work(still.root, &job.work, f->root, on_run, on_after),
      UV_ENOMEM);
  assert_true(alloc_has_failed());
  alloc_fail_at(0);
  queue_err = UV_EAGAIN;
  assert_int_equal(
      dusk_context_work(still.root, &job.work, f->root, on_run, on_after),
      UV_EAGAIN);
  queue_err = 0;
  run(&f->loop);
  assert_int_equal(job.calls, 0);
  assert_int_equal(alloc_live(), live);
  still_close(&still);
}

/* DUSK-039 */
static void it_allocates_nothing(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  size_t before = alloc_count();
  job_t job;
  begin(ctx, &job, f->root);
  run(&f->loop);
  dusk_context_cancel(ctx, NULL);
  begin(ctx, &job, f->root);
  run(&f->loop);
  assert_int_equal(alloc_count(), before);
  dusk_context_unref(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      fixture_test(work_runs_on_the_pool),
      fixture_test(queued_work_is_removed_when_its_context_ends),
      fixture_test(queued_work_is_removed_at_the_deadline),
      fixture_test(work_does_not_begin_under_an_ended_context),
      fixture_test(running_work_sees_the_end),
      fixture_test(running_work_sees_the_deadline),
      fixture_test(under_an_ended_context_nothing_is_queued),
      fixture_test(after_it_the_struct_is_the_callers),
      fixture_test(in_its_callback_the_root_can_be_detached),
      fixture_test(the_context_may_be_of_another_tree),
      fixture_test(a_deadline_of_another_tree_is_served_here),
      fixture_test(each_ends_once_whoever_cancels),
      fixture_test(a_failed_start_leaves_nothing),
      fixture_test(a_failed_start_in_another_tree_leaves_nothing),
      fixture_test(it_allocates_nothing),
  };
  pool_size();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
