/* Routes that show how requests and the server end. See lab.h. */
#include <stdio.h>
#include <stdlib.h>

#include "lab.h"

/* Answers after ?ms=N, and tells whether its context lived till then. */
typedef struct delayed {
  dusk_request_t *req;
  dusk_response_t *res;
} delayed_t;

static void end_delay(void *arg) {
  delayed_t *delayed = arg;
  int err = dusk_context_err(dusk_request_context(delayed->req));
  say("delay context: %s", result_text(err));
  err = dusk_response_text(delayed->res, 200, "hello\n");
  say("delay end: %s", result_text(err));
  free(delayed);
}

static void delay(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  delayed_t *delayed = allocate(sizeof *delayed);
  delayed->req = req;
  delayed->res = res;
  dusk_request_context(req);
  say("delay begins");
  later(&loop, query_number(req, "ms", 0), end_delay, delayed);
}

typedef struct watch {
  dusk_waiter_t waiter;
  dusk_context_t *ctx;
  dusk_response_t *res;
  bool answers_at_once;
} watch_t;

static void on_watched_end(dusk_waiter_t *waiter) {
  watch_t *watch = (watch_t *)waiter;
  const dusk_cause_t *cause = dusk_context_cause(watch->ctx);
  say("watch: %s", cause == &dusk_client_gone       ? "client gone"
                   : cause == &dusk_response_ended  ? "response ended"
                   : cause == &dusk_drain_cancelled ? "drain cancelled"
                   : cause == &dusk_server_closed   ? "server closed"
                   : cause == &dusk_timed_out       ? "timed out"
                                                    : cause->text);
  if (!watch->answers_at_once) {
    int err = dusk_response_text(watch->res, 200, "watched\n");
    say("watch end: %s", result_text(err));
  }
  dusk_context_unref(watch->ctx);
  free(watch);
}

static void begin_watch(dusk_response_t *res, dusk_request_t *req,
                        bool answers_at_once) {
  watch_t *watch = allocate(sizeof *watch);
  watch->ctx = dusk_context_ref(dusk_request_context(req));
  watch->res = res;
  watch->answers_at_once = answers_at_once;
  dusk_context_after(watch->ctx, &watch->waiter, root, on_watched_end);
  say("watch begins");
  if (answers_at_once) dusk_response_text(res, 200, "watched\n");
}

/* Answers when its context ends. */
static void watch(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  begin_watch(res, req, false);
}

/* Answers at once, and tells how its context ends. */
static void watch_answered(dusk_response_t *res, dusk_request_t *req,
                           void *arg) {
  (void)arg;
  begin_watch(res, req, true);
}

/* ?on=1 or 0. */
static void lame(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  dusk_server_lame_duck(server, query_number(req, "on", 1) != 0);
  dusk_response_text(res, 200, "hello\n");
}

static void on_own_shutdown(dusk_server_t *of, int status, void *arg) {
  (void)of;
  (void)arg;
  say("shutdown from handler: %s", result_text(status));
  uv_stop(&loop);
}

/* Shuts its own server down, and answers after ?ms=N. */
static void shut_down(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  dusk_context_t *bound;
  must(dusk_context_with_timeout(root, 10000, NULL, &bound), "bound");
  must(dusk_server_shutdown(server, bound, on_own_shutdown, NULL), "shutdown");
  dusk_context_unref(bound);
  answer_later(&loop, res, query_number(req, "ms", 0));
}

/* Closes its own server, and tells what becomes of its request. The program
 * ends when nothing keeps its loop alive any more. */
static void stop(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  dusk_context_t *ctx = dusk_request_context(req);
  dusk_server_close(server);
  say("stop context: %s", dusk_context_cause(ctx) == &dusk_server_closed
                              ? "server closed"
                              : result_text(dusk_context_err(ctx)));
  say("stop write: %s", result_text(dusk_response_write(res, "x", 1)));
  say("stop end: %s", result_text(dusk_response_end(res, "x", 1)));
}

const route_t life_routes[] = {
    {"/delay", delay},
    {"/watch", watch},
    {"/watch-answered", watch_answered},
    {"/lame", lame},
    {"/shutdown", shut_down},
    {"/stop", stop},
    {NULL, NULL},
};
