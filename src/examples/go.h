/* go.h: what the examples' Go originals have from Go's own packages: log's
 * lines on standard error, and time.Sleep; and one thing beyond them, telling
 * the address, for whoever starts an example on port 0. */
#ifndef EXAMPLES_GO_H
#define EXAMPLES_GO_H

#include <dusk/http.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* One line: date, time, `text` and, unless `err` is 0, the error's text. */
static inline void log_print(const char *text, int err) {
  char date[32] = "";
  time_t now = time(NULL);
  struct tm parts;
  if (localtime_r(&now, &parts) != NULL)
    strftime(date, sizeof date, "%Y/%m/%d %H:%M:%S", &parts);
  fprintf(stderr, "%s %s%s\n", date, text, err != 0 ? dusk_strerror(err) : "");
}

/* The same, and exits with status 1. */
static inline void log_fatal(const char *text, int err) {
  log_print(text, err);
  exit(1);
}

/* For what leaves nothing to go on with when it fails. */
static inline void must(int err) {
  if (err != 0) log_fatal("failed: ", err);
}

typedef struct go_sleep {
  uv_timer_t timer;
  void (*then)(void *arg);
  void *arg;
} go_sleep_t;

static inline void go_on_closed(uv_handle_t *timer) {
  free(timer->data);
}

static inline void go_on_slept(uv_timer_t *timer) {
  go_sleep_t *sleep = timer->data;
  sleep->then(sleep->arg);
  uv_close((uv_handle_t *)timer, go_on_closed);
}

/* time.Sleep: calls `then` after `ms`; everything else goes on meanwhile. */
static inline void sleep_then(uv_loop_t *loop, uint64_t ms,
                              void (*then)(void *arg), void *arg) {
  go_sleep_t *sleep = malloc(sizeof *sleep);
  must(sleep == NULL ? UV_ENOMEM : uv_timer_init(loop, &sleep->timer));
  sleep->then = then;
  sleep->arg = arg;
  sleep->timer.data = sleep;
  must(uv_timer_start(&sleep->timer, go_on_slept, ms, 0));
}

static inline void print_address(dusk_server_t *srv) {
  char address[128];
  must(dusk_server_address(srv, 0, address, sizeof address));
  fprintf(stderr, "listening on %s\n", address);
}

#endif
