#include "worker.h"

#include <assert.h>

/* -- Threads --------------------------------------------------------------- */

/* Who ran the loop may have left it to another thread once all is over. */
bool dusk__worker_on_thread(const dusk__worker_t *worker) {
  uv_thread_t self = uv_thread_self();
  return worker->is_closed || uv_thread_equal(&self, &worker->thread);
}

#ifndef NDEBUG
static void on_prepare(uv_prepare_t *prepare) {
  dusk__worker_note_thread(DUSK__OWNER(prepare, dusk__worker_t, watch));
}
#endif

/* -- The loop's turn ------------------------------------------------------- */

static void on_no_block(uv_idle_t *idle) {
  (void)idle;
}

static void run_all(dusk__link_t *tasks) {
  dusk__link_t now; /* what they put off is another turn's */
  dusk__list_move(&now, tasks);
  while (!dusk__list_empty(&now)) {
    dusk__task_t *task = DUSK__OWNER(now.next, dusk__task_t, link);
    dusk__list_remove(&task->link);
    task->run(task);
  }
}

static void on_turn(uv_check_t *check) {
  dusk__worker_t *worker = DUSK__OWNER(check, dusk__worker_t, turn);
  dusk__worker_note_thread(worker);
  uv_check_stop(&worker->turn);
  uv_idle_stop(&worker->no_block);
  dusk__worker_ref(worker); /* a task may give the last one back */
  run_all(&worker->tasks);
  run_all(&worker->last);
  dusk__worker_release(worker);
}

static void add_task(dusk__worker_t *worker, dusk__link_t *tasks,
                     dusk__task_t *task) {
  assert(dusk__worker_on_thread(worker));
  if (worker->is_closing) return;
  if (dusk__list_linked(&task->link)) dusk__list_remove(&task->link);
  dusk__list_append(tasks, &task->link);
  /* Neither fails on an open handle with a callback. */
  uv_check_start(&worker->turn, on_turn);
  uv_idle_start(&worker->no_block, on_no_block);
}

void dusk__worker_at_turn(dusk__worker_t *worker, dusk__task_t *task) {
  add_task(worker, &worker->tasks, task);
}

void dusk__worker_at_turn_last(dusk__worker_t *worker, dusk__task_t *task) {
  add_task(worker, &worker->last, task);
}

void dusk__worker_tell_error(dusk__worker_t *worker, int err,
                             const char *text) {
  const dusk_server_config_t *config = worker->config;
  if (config->on_error)
    config->on_error(worker->server, err, text, config->on_error_arg);
}

/* -- From init to close ---------------------------------------------------- */

void dusk__worker_init(dusk__worker_t *worker, dusk_context_t *root,
                       dusk__expired_cb expired,
                       void (*unused)(dusk__worker_t *worker)) {
  worker->loop = dusk_context_loop(root);
  worker->root = dusk_context_ref(root);
  worker->thread = uv_thread_self();
  worker->unused = unused;
  worker->refs = 1;
  dusk__list_init(&worker->tasks);
  dusk__list_init(&worker->last);
  dusk__timeouts_init(&worker->timeouts, worker->loop, expired);
  /* None of them can fail; each leaves an open handle. */
  uv_check_init(worker->loop, &worker->turn);
  uv_idle_init(worker->loop, &worker->no_block);
  uv_prepare_init(worker->loop, &worker->watch);
#ifndef NDEBUG
  uv_prepare_start(&worker->watch, on_prepare);
#endif
  uv_unref((uv_handle_t *)&worker->watch);
}

void dusk__worker_release(dusk__worker_t *worker) {
  assert(worker->refs > 0);
  if (--worker->refs == 0) worker->unused(worker);
}

static void on_handle_closed(uv_handle_t *handle) {
  dusk__worker_release(handle->data);
}

bool dusk__worker_close(dusk__worker_t *worker) {
  if (worker->is_closing) return true;
  if (!dusk__list_empty(&worker->tasks)) return false;
  worker->is_closing = true;
  uv_handle_t *handles[] = {
      (uv_handle_t *)&worker->timeouts.timer,
      (uv_handle_t *)&worker->turn,
      (uv_handle_t *)&worker->watch,
      (uv_handle_t *)&worker->no_block,
  };
  for (size_t i = 0; i < sizeof(handles) / sizeof(*handles); i++) {
    handles[i]->data = worker;
    dusk__worker_ref(worker);
    uv_close(handles[i], on_handle_closed);
  }
  dusk__worker_release(worker); /* it was open */
  return true;
}
