/* pool.c [JOBS [MS]]: JOBS (100) jobs of MS (200) milliseconds each on libuv's
 * thread pool. Ctrl+C stops it: jobs that wait for a thread never begin, those
 * that run give up in the middle, and it tells what it left. */
#include <dusk/calls.h>
#include <dusk/signal.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
  dusk_work_t work;
  bool is_done;
} job_t;

static uint64_t ms = 200;
static int done, given_up, never_begun;

/* On a thread of the pool. What waits here could as well compute, and ask
 * dusk_context_err now and then. */
static void run_job(dusk_work_t *work, dusk_context_t *ctx) {
  job_t *job = (job_t *)work;
  job->is_done = dusk_context_wait(ctx, ms) == 0;
}

/* On the loop, once for every job. */
static void on_job(dusk_work_t *work, int err) {
  if (err != 0)
    never_begun++;
  else if (((job_t *)work)->is_done)
    done++;
  else
    given_up++;
}

static void must(int err) {
  if (err == 0) return;
  fprintf(stderr, "pool: %s\n", dusk_strerror(err));
  exit(1);
}

int main(int argc, char **argv) {
  size_t jobs = argc > 1 ? strtoul(argv[1], NULL, 10) : 100;
  ms = argc > 2 ? strtoull(argv[2], NULL, 10) : ms;
  job_t *all = calloc(jobs, sizeof *all);
  must(all == NULL && jobs > 0 ? UV_ENOMEM : 0);

  uv_loop_t *loop = uv_default_loop();
  dusk_context_t *root, *ctx;
  must(dusk_context_attach(loop, &root));
  must(dusk_context_with_signals(root, (int[]){SIGINT, SIGTERM}, 2, &ctx));
  for (size_t i = 0; i < jobs; i++)
    must(dusk_context_work(ctx, &all[i].work, root, run_job, on_job));
  printf("%zu jobs; Ctrl+C stops\n", jobs);
  fflush(stdout);
  uv_run(loop, UV_RUN_DEFAULT); /* until on_job has come for all */

  const dusk_cause_t *cause = dusk_context_cause(ctx);
  printf("%s: %d done, %d given up, %d never begun\n",
         cause != NULL ? cause->text : "finished", done, given_up, never_begun);
  dusk_context_unref(ctx);
  must(dusk_context_detach(root, NULL, NULL));
  uv_run(loop, UV_RUN_DEFAULT);
  free(all);
  return uv_loop_close(loop) != 0 || cause != NULL;
}
