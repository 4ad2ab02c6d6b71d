/* program.c: what a main does, from loop to loop's end; and the stop. Whatever
 * the scenario does to the server comes to it as a signal would: through an
 * uv_async_t, in a turn of its loop. */
#include "program.h"

#include "alloc.h"
#include "checks.h"
#include "clock.h"
#include "libc.h"
#include "story.h"
#include "threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const scenario_t *scene;
static outcome_t outcome;
static uv_loop_t loop;
static uv_async_t wake_up;
static dusk_context_t *root;
static dusk_server_t *server;
static unsigned pending;

const outcome_t *program_outcome(void) {
  return &outcome;
}

/* -- The stop -------------------------------------------------------------- */

static void on_drained(dusk_server_t *drained, int status, void *arg) {
  (void)arg;
  outcome.callbacks++;
  story("server", 0, "shutdown's callback, status %llu", (uint64_t)-status, 0);
  if (outcome.callbacks < outcome.calls) return;
  outcome.called_back_at = now();
  outcome.status = status;
  dusk_server_report(drained, &outcome.report);
  checks_at_callback();
  handlers_give_up();
  dusk_server_unref(drained);
  dusk_context_detach(root, NULL, NULL);
  uv_close((uv_handle_t *)&wake_up, NULL);
}

static void note_stop(void) {
  if (outcome.stopped_at) return;
  outcome.stopped_at = now();
  if (scene->spare_fds)
    descriptors_limit(descriptors_open() + scene->spare_fds - 1);
  checks_at_stop();
}

static void stop(const action_t *action) {
  dusk_context_t *bound;
  uint64_t bound_at = now() + action->bound_ms * MS;
  while (dusk_context_with_timeout(root, action->bound_ms, NULL, &bound))
    alloc_fail_at(0);
  uint64_t bound_before = outcome.bound_at;
  if (outcome.calls == 0 || bound_at < outcome.bound_at)
    outcome.bound_at = bound_at;
  note_stop();
  outcome.calls++;
  if (dusk_server_shutdown(server, bound, on_drained, NULL)) {
    outcome.calls--; /* no memory for a second one */
    outcome.bound_at = bound_before;
  }
  checks_at_order();
  dusk_context_unref(bound);
}

static void act(const action_t *action) {
  static const char *const texts[] = {"lame duck", "lame duck is undone",
                                      "the stop: shutdown, bound %llu ms",
                                      "the second signal: close"};
  if (outcome.called_back_at) return;
  story("server", 0, texts[action->act], action->bound_ms, 0);
  switch (action->act) {
  case ACT_LAME_DUCK:
  case ACT_UNDO:
    dusk_server_lame_duck(server, action->act == ACT_LAME_DUCK);
    break;
  case ACT_SHUTDOWN:
    stop(action);
    break;
  case ACT_CLOSE:
    if (outcome.calls == 0) return;
    if (outcome.closed_at == 0) outcome.closed_at = now();
    dusk_server_close(server);
    break;
  }
}

static void on_wake_up(uv_async_t *async) {
  (void)async;
  unsigned now_pending = pending;
  pending = 0;
  for (unsigned i = 0; i < MAX_ACTIONS; i++)
    if (now_pending & 1u << i) act(&scene->actions[i]);
}

static void on_action_due(void *who, uint64_t arg) {
  (void)who;
  if (outcome.called_back_at) return;
  pending |= 1u << arg;
  uv_async_send(&wake_up);
}

static void on_failing_due(void *who, uint64_t arg) {
  const failing_t *failing = who;
  (void)arg;
  if (failing->call == CALL_MALLOC)
    alloc_fail_at(failing->nth);
  else
    fail_calls(failing->call, failing->nth, failing->times, failing->err);
}

static void schedule(void) {
  pending = 0;
  for (unsigned i = 0; i < MAX_ACTIONS; i++)
    if (scene->actions[i].due)
      at(EPOCH + scene->actions[i].due, on_action_due, NULL, i);
  for (int i = 0; i < MAX_FAILING; i++)
    if (scene->failing[i].err)
      at(EPOCH + scene->failing[i].due, on_failing_due,
         (void *)&scene->failing[i], 0);
}

/* -- From loop to loop's end ----------------------------------------------- */

static int numbers[MAX_THREADS];

static int on_worker_start(dusk_server_t *started, dusk_context_t *its_root,
                           size_t index, void **data, void *arg) {
  (void)started;
  (void)its_root;
  (void)arg;
  numbers[index] = thread_self();
  *data = &numbers[index];
  return 0;
}

int program_thread_of(const dusk_request_t *req) {
  return *(const int *)dusk_request_worker_data(req);
}

static void on_worker_stop(dusk_server_t *stopped, dusk_context_t *its_root,
                           size_t index, void *data, void *arg) {
  (void)stopped;
  (void)its_root;
  (void)arg;
  if (index != (size_t)thread_self() || data != &numbers[index])
    fault("stops as another one", "thread", (int)index, 0, 0);
  outcome.stops++;
  handlers_give_up();
}

/* In this process's own folder: the file is a real one. */
static const char *socket_path(void) {
  static char path[64];
  snprintf(path, sizeof(path), "/tmp/dusk-world-%ld", (long)getpid());
  return path;
}

static int serve_inherited(void) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(8090)};
  char text[24];
  if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) ||
      listen(fd, 64))
    return UV_EINVAL;
  ((listener_t *)object_of(fd, FD_LISTENER))->left = !scene->alone;
  snprintf(text, sizeof(text), scene->alone ? "fd:%d:seal" : "fd:%d", fd);
  return dusk_server_serve(server, text, NULL, NULL);
}

static int serve(void) {
  const char *any = scene->ipv6 ? ":8080" : "0.0.0.0:8080";
  int err = dusk_server_serve(server, scene->stranger ? "127.0.0.1:8080" : any,
                              NULL, NULL);
  if (err == 0 && scene->on_unix) {
    char address[80];
    snprintf(address, sizeof(address), "unix:%s", socket_path());
    err = dusk_server_serve(server, address, NULL, NULL);
  }
  if (err == 0 && scene->inherited) err = serve_inherited();
  if (err == 0 && scene->backlog)
    for (listener_t *l = listeners(); l; l = l->next)
      l->backlog = scene->backlog;
  return err;
}

static int begin(void) {
  int err = uv_loop_init(&loop);
  if (err == 0) err = uv_async_init(&loop, &wake_up, on_wake_up);
  if (err == 0) err = dusk_context_attach(&loop, &root);
  if (err < 0) return err;
  if (!libc_is_ours(uv_backend_fd(&loop))) {
    fprintf(stderr, "world: libuv does not call this program's functions: is "
                    "their visibility hidden?\n");
    exit(EXIT_FAILURE);
  }
  uv_unref((uv_handle_t *)&wake_up);
  dusk_server_config_t config = {.handler = handlers_serve,
                                 .quiet_window_ms = scene->quiet_ms,
                                 .cancel_grace_ms = scene->grace_ms,
                                 .threads = (uint64_t)scene->threads,
                                 .on_worker_start = on_worker_start,
                                 .on_worker_stop = on_worker_stop};
  handlers_begin();
  err = dusk_server_new(root, &config, &server);
  return err ? err : serve();
}

static bool have_ended(void *who) {
  (void)who;
  return threads_alive() == 0;
}

static void on_turn(uv_idle_t *idle) {
  uv_close((uv_handle_t *)idle, NULL);
}

/* The server has left them behind, and so has the loop; but for that they end
 * as ever, and it hears of it if it turns. */
static void wait_for_threads(void) {
  static uv_idle_t idle;
  checks_at_leaving();
  thread_await(WAIT_LOCKED, have_ended, NULL, NEVER);
  for (int turns = 0; turns < 3; turns++) {
    uv_idle_init(&loop, &idle);
    uv_idle_start(&idle, on_turn);
    uv_run(&loop, UV_RUN_DEFAULT);
  }
}

/* What libuv makes once a process is the real kernel's. */
void program_prepare(void) {
  if (uv_loop_init(&loop) == 0) uv_loop_close(&loop);
}

void program_run(const scenario_t *scenario) {
  scene = scenario;
  memset(&outcome, 0, sizeof(outcome));
  libc_play(true);
  int err = begin();
  if (err < 0) {
    fprintf(stderr, "world: can't begin: %s\n", dusk_strerror(err));
    abort();
  }
  schedule();
  uv_run(&loop, UV_RUN_DEFAULT);
  if (threads_alive() > 0) wait_for_threads();
  outcome.was_ours = libc_is_ours(uv_backend_fd(&loop));
  outcome.loop_err = uv_loop_close(&loop);
  libc_play(false);
}
