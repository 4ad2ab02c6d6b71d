/* handlers.c: what is done for a request, by its path. See scenario.h. */
#include "checks.h"
#include "clock.h"
#include "conversation.h"
#include "program.h"
#include "story.h"
#include "threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct task {
  struct task *next;
  request_t *request;
  dusk_response_t *res; /* NULL: ended */
  dusk_request_t *req;
  work_t work;
  uint64_t a;
  uint64_t b;
  uv_timer_t timer;
  dusk_waiter_t waiter;
  bool waits;
  uint64_t written;
  uv_os_sock_t taken; /* hijacked */
} task_t;

static task_t *tasks[MAX_THREADS];

void handlers_begin(void) {
  memset(tasks, 0, sizeof(tasks));
}

static void note_begun(task_t *task) {
  if (task->request->begun) return;
  task->request->begun = true;
  checks_at_answer(task->request);
}

static void end(task_t *task, uint64_t bytes) {
  static char bodies[MAX_THREADS][1 << 18];
  char *body = bodies[thread_self()];
  dusk_response_t *res = task->res;
  if (res == NULL) return;
  task->res = NULL;
  note_begun(task);
  task->request->ended = true;
  if (task->waits) dusk_waiter_stop(&task->waiter);
  uv_close((uv_handle_t *)&task->timer, NULL);
  int head = snprintf(body, sizeof(*bodies), "%d ", task->request->id);
  if (bytes > sizeof(*bodies)) bytes = sizeof(*bodies);
  if (bytes < (uint64_t)head) bytes = (uint64_t)head;
  memset(body + head, '.', bytes - (uint64_t)head);
  story("request", task->request->id, "is ended by its handler", 0, 0);
  dusk_response_end(res, body, bytes);
}

static void after(task_t *task, uint64_t delay_ms, uv_timer_cb cb) {
  uv_update_time(
      task->timer.loop); /* as whoever cares does after a long callback */
  uv_timer_start(&task->timer, cb, delay_ms, 0);
}

static void on_end_due(uv_timer_t *timer) {
  end(timer->data, 10);
}

static void on_context_end(dusk_waiter_t *waiter) {
  task_t *task = (task_t *)((char *)waiter - offsetof(task_t, waiter));
  task->waits = false;
  checks_at_cancel(task->request);
  if (task->work == WORK_LATE)
    after(task, task->a, on_end_due);
  else
    end(task, 10);
}

static void wait_for_context(task_t *task, dusk_context_t *ctx) {
  if (ctx == NULL) {
    end(task, 10);
    return;
  }
  task->waits = true;
  dusk_context_after(ctx, &task->waiter, dusk_request_root(task->req),
                     on_context_end);
}

static void on_piece_due(uv_timer_t *timer) {
  task_t *task = timer->data;
  bool over =
      task->a % 2 && dusk_context_err(dusk_request_draining(task->req)) != 0;
  note_begun(task);
  char piece[32];
  int len = snprintf(piece, sizeof(piece), "%d piece", task->request->id);
  if (task->written++ < task->a && !over &&
      dusk_response_write(task->res, piece, (size_t)len) >= 0) {
    uv_timer_start(timer, on_piece_due, task->b, 0);
    return;
  }
  end(task, 0);
}

static void on_body(dusk_request_t *req, ssize_t nread, const char *data,
                    void *arg) {
  (void)req;
  (void)data;
  if (nread < 0) end(arg, 10);
}

static void on_taken_end(uv_timer_t *timer) {
  task_t *task = timer->data;
  uv_close((uv_handle_t *)timer, NULL);
  close(task->taken);
  task->taken = -1;
}

static void hijack(task_t *task) {
  static const char hello[] = "HTTP/1.1 101 Switching Protocols\r\n\r\nraw";
  char *early;
  size_t early_len;
  if (dusk_response_hijack(task->res, &task->taken, &early, &early_len)) {
    end(task, 10);
    return;
  }
  free(early);
  task->res = NULL;
  task->request->ended = true;
  ssize_t sent = write(task->taken, hello, sizeof(hello) - 1);
  (void)sent; /* the client may have gone */
  uv_timer_start(&task->timer, on_taken_end, task->a, 0);
}

static void block(task_t *task) {
  story("request", task->request->id, "holds the loop for %llu ms", task->a, 0);
  thread_hold(task->a * MS);
  end(task, 10);
}

static void begin(task_t *task) {
  switch (task->work) {
  case WORK_LATER:
    after(task, task->a, on_end_due);
    break;
  case WORK_STREAM:
    on_piece_due(&task->timer);
    break;
  case WORK_BLOCK:
    block(task);
    break;
  case WORK_NEVER:
    if (task->a % 2 == 0)
      wait_for_context(task, dusk_request_context(task->req));
    break;
  case WORK_LATE:
    wait_for_context(task, dusk_request_context(task->req));
    break;
  case WORK_BODY:
    if (dusk_request_body(task->req, on_body, task)) end(task, 10);
    break;
  case WORK_HIJACK:
    hijack(task);
    break;
  default:
    end(task, task->a);
  }
}

void handlers_serve(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  char name[16];
  int id = 0;
  unsigned long long a = 0;
  unsigned long long b = 0;
  const char *path = dusk_request_path(req);
  if (path == NULL ||
      sscanf(path, "/%15[a-z]/%d/%llu/%llu", name, &id, &a, &b) != 4) {
    dusk_response_text(res, 500, "no path\n");
    return;
  }
  task_t *task = keep(sizeof(*task));
  task_t **list = &tasks[thread_self()];
  *task = (task_t){.next = *list, .res = res, .req = req, .a = a, .b = b};
  task->taken = -1;
  *list = task;
  task->request = request_by_id(id);
  task->request->handled_at = now();
  checks_at_handler(task->request, program_thread_of(req));
  while (strcmp(name, work_names[task->work]))
    task->work++;
  uv_timer_init(dusk_request_loop(req), &task->timer);
  task->timer.data = task;
  story("request", id, "comes to its handler", 0, 0);
  begin(task);
}

void handlers_give_up(void) {
  for (task_t *task = tasks[thread_self()]; task; task = task->next) {
    end(task, 10);
    if (task->taken >= 0) on_taken_end(&task->timer);
  }
}
