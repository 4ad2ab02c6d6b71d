/* The seed's sample C with switches, one for each consequence that it names.
 *
 *   listen=ADDRESS  where to serve; may be given again
 *   delay=MS        the handler's time (0)
 *   parts=N         instead: 1 MiB in N parts over that time
 *   wait=MS         before it listens (0)
 *   bound=MS        of the shutdown; 0 is none (3000)
 *   cancel=MS       the bound is cancelled that long after the signal
 *   close=MS        the server is closed that long after the signal
 *   calls=N         of shutdown, at the signal (1)
 *   leave=1         exits as soon as serving ends, as one must not
 *   stay=1          goes on after shutdown until SIGUSR1
 *
 * It says what comes: "listening on", "signal", "serve: RESULT", "shutdown:
 * RESULT", "done". */
#include <signal.h>
#include <stdlib.h>

#include "common.h"

#define PART_TOTAL (1024 * 1024)

static char **settings;
static uv_loop_t loop;
static dusk_context_t *root;
static dusk_context_t *signals;
static dusk_context_t *usr1;
static dusk_context_t *bound;
static dusk_server_t *server;
static dusk_waiter_t on_signal_waiter;
static dusk_waiter_t on_usr1_waiter;
static uint64_t calls_left;
static bool has_listened;
static bool is_shut_down;
static uv_async_t keep; /* keeps the loop going while nothing listens */

typedef struct parts {
  dusk_response_t *res;
  uint64_t left;
  size_t size;
  uint64_t pause_ms;
  char *data;
} parts_t;

static void send_part(void *arg) {
  parts_t *parts = arg;
  int err = dusk_response_write(parts->res, parts->data, parts->size);
  if (err >= 0 && --parts->left > 0) {
    later(&loop, parts->pause_ms, send_part, parts);
    return;
  }
  dusk_response_end(parts->res, NULL, 0);
  free(parts->data);
  free(parts);
}

static void begin_parts(dusk_response_t *res, uint64_t count, uint64_t ms) {
  parts_t *parts = allocate(sizeof *parts);
  parts->res = res;
  parts->left = count;
  parts->size = PART_TOTAL / count;
  parts->pause_ms = ms / count;
  parts->data = allocate(parts->size);
  for (size_t i = 0; i < parts->size; i++)
    parts->data[i] = (char)('a' + i % 26);
  send_part(parts);
}

static void on_request(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  (void)arg;
  uint64_t ms = setting_number(settings, "delay", 0);
  uint64_t parts = setting_number(settings, "parts", 0);
  if (parts > 0) {
    begin_parts(res, parts, ms);
  } else if (ms > 0) {
    answer_later(&loop, res, ms);
  } else {
    dusk_response_text(res, 200, "hello\n");
  }
}

static void end_program(void) {
  dusk_waiter_stop(&on_signal_waiter);
  dusk_waiter_stop(&on_usr1_waiter);
  if (setting_number(settings, "stay", 0)) uv_close((uv_handle_t *)&keep, NULL);
  dusk_server_unref(server);
  dusk_context_unref(bound);
  dusk_context_unref(signals);
  dusk_context_unref(usr1);
  exit(finish(root, &loop));
}

static void end_if_done(void) {
  if (is_shut_down && has_listened && !setting_number(settings, "stay", 0))
    uv_stop(&loop);
}

static void on_serve_end(dusk_server_t *of, int err, void *arg) {
  (void)of;
  (void)arg;
  say("serve: %s", result_text(err));
  if (setting_number(settings, "leave", 0)) _Exit(0);
}

static void on_shutdown(dusk_server_t *of, int status, void *arg) {
  (void)of;
  (void)arg;
  say("shutdown: %s", result_text(status));
  is_shut_down = --calls_left == 0;
  end_if_done();
}

static void cancel_bound(void *arg) {
  (void)arg;
  dusk_context_cancel(bound, NULL);
}

static void close_server(void *arg) {
  (void)arg;
  dusk_server_close(server);
}

static void on_signal(dusk_waiter_t *waiter) {
  (void)waiter;
  say("signal");
  uint64_t ms = setting_number(settings, "bound", 3000);
  must(dusk_context_with_timeout(root, ms == 0 ? DUSK_OFF : ms, NULL, &bound),
       "bound");
  calls_left = setting_number(settings, "calls", 1);
  for (uint64_t i = calls_left; i > 0; i--)
    must(
        dusk_server_shutdown(server, ms == 0 ? root : bound, on_shutdown, NULL),
        "shutdown");
  if (setting(settings, "cancel", 0) != NULL)
    later(&loop, setting_number(settings, "cancel", 0), cancel_bound, NULL);
  if (setting(settings, "close", 0) != NULL)
    later(&loop, setting_number(settings, "close", 0), close_server, NULL);
}

static void on_usr1(dusk_waiter_t *waiter) {
  (void)waiter;
  uv_stop(&loop);
}

static void begin_serving(void *arg) {
  (void)arg;
  serve_settings(server, settings, on_serve_end);
  has_listened = true;
  end_if_done();
}

int main(int argc, char **argv) {
  (void)argc;
  settings = argv;
  must(uv_loop_init(&loop), "loop");
  must(dusk_context_attach(&loop, &root), "attach");
  dusk_server_config_t config = {.handler = on_request};
  must(dusk_server_new(root, &config, &server), "server");
  must(dusk_context_with_signals(root, (int[]){SIGINT}, 1, &signals),
       "signals");
  must(dusk_context_with_signals(root, (int[]){SIGUSR1}, 1, &usr1), "signals");
  dusk_context_after(signals, &on_signal_waiter, root, on_signal);
  dusk_context_after(usr1, &on_usr1_waiter, root, on_usr1);
  uint64_t wait_ms = setting_number(argv, "wait", 0);
  if (wait_ms == 0) {
    begin_serving(NULL);
  } else {
    later(&loop, wait_ms, begin_serving, NULL);
    say("waiting");
  }
  if (setting_number(argv, "stay", 0))
    must(uv_async_init(&loop, &keep, NULL), "async");
  uv_run(&loop, UV_RUN_DEFAULT);
  end_program();
}
