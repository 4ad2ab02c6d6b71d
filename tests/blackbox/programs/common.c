/* See common.h. */
#include "common.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void say(const char *format, ...) {
  char line[4096];
  va_list args;
  va_start(args, format);
  int len = vsnprintf(line, sizeof line - 1, format, args);
  va_end(args);
  if (len < 0) return;
  if ((size_t)len > sizeof line - 2) len = sizeof line - 2;
  line[len] = '\n';
  if (write(STDERR_FILENO, line, (size_t)len + 1) < 0) _exit(1);
}

void must(int err, const char *what) {
  if (err >= 0) return;
  say("%s: %s", what, dusk_strerror(err));
  exit(1);
}

void *allocate(size_t size) {
  void *memory = calloc(1, size);
  if (memory == NULL) must(UV_ENOMEM, "allocate");
  return memory;
}

const char *result_text(int err) {
  return err == 0 ? "ok" : dusk_strerror(err);
}

const char *setting(char **argv, const char *key, int index) {
  size_t len = strlen(key);
  for (char **arg = argv + 1; *arg != NULL; arg++)
    if (strncmp(*arg, key, len) == 0 && (*arg)[len] == '=' && index-- == 0)
      return *arg + len + 1;
  return NULL;
}

uint64_t setting_number(char **argv, const char *key, uint64_t fallback) {
  const char *value = setting(argv, key, 0);
  if (value == NULL) return fallback;
  return strcmp(value, "off") == 0 ? DUSK_OFF : strtoull(value, NULL, 10);
}

void serve_settings(dusk_server_t *server, char **argv, dusk_serve_cb cb) {
  const char *address;
  for (int i = 0; (address = setting(argv, "listen", i)) != NULL; i++) {
    int err = dusk_server_serve(server, address, cb, NULL);
    if (err != 0) {
      if (cb != NULL) cb(server, err, NULL);
      continue;
    }
    char text[256];
    must(dusk_server_address(server, (size_t)i, text, sizeof text), "address");
    say("listening on %s", text);
  }
}

typedef struct wait {
  uv_timer_t timer;
  void (*cb)(void *arg);
  void *arg;
} wait_t;

static void on_wait_closed(uv_handle_t *handle) {
  free(handle->data);
}

static void on_wait_over(uv_timer_t *timer) {
  wait_t *wait = timer->data;
  wait->cb(wait->arg);
  uv_close((uv_handle_t *)timer, on_wait_closed);
}

void later(uv_loop_t *loop, uint64_t ms, void (*cb)(void *arg), void *arg) {
  wait_t *wait = allocate(sizeof *wait);
  wait->cb = cb;
  wait->arg = arg;
  must(uv_timer_init(loop, &wait->timer), "timer");
  wait->timer.data = wait;
  must(uv_timer_start(&wait->timer, on_wait_over, ms, 0), "timer");
}

static void say_hello(void *res) {
  dusk_response_text(res, 200, "hello\n");
}

void answer_later(uv_loop_t *loop, dusk_response_t *res, uint64_t ms) {
  later(loop, ms, say_hello, res);
}

int finish(dusk_context_t *root, uv_loop_t *loop) {
  must(dusk_context_detach(root, NULL, NULL), "detach");
  uv_run(loop, UV_RUN_DEFAULT);
  int err = uv_loop_close(loop);
  say("%s", err == 0 ? "done" : "loop is busy");
  return err == 0 ? 0 : 1;
}
