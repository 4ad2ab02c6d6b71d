/* hello.c: GET / answers "hello", with ?delay=D after that long, which is what
 * a drain is best tried with.
 *
 * A delayed answer waits for the first of two: its time, or the end of its
 * request's context. Two of its ends don't end the wait: the drain's hard
 * cancel, as a handler that is nearly done is better off using the grace; and a
 * client that has only shut its sending side down, and still reads. What is cut
 * after that is released when its time has come or its loop's life ends. */
#include "routes.h"

#include "units.h"
#include "worker.h"

#include <stdlib.h>

#define DELAY_MAX_MS (60 * 60 * 1000)

typedef struct hello {
  dusk_response_t *res;
  dusk_context_t *request; /* borrowed until the response ends */
  dusk_context_t *delay;   /* times out when it is time to answer */
  dusk_waiter_t over;
  dusk_waiter_t gone;
} hello_t;

static void hello_free(hello_t *hello) {
  dusk_waiter_stop(&hello->over);
  dusk_waiter_stop(&hello->gone);
  dusk_context_unref(hello->delay);
  free(hello);
}

static void on_over(dusk_waiter_t *waiter) {
  hello_t *hello = DUSKD_OWNER(waiter, hello_t, over);
  dusk_response_t *res = hello->res;
  bool is_time = dusk_context_err(hello->delay) == UV_ETIMEDOUT;
  hello_free(hello);
  if (is_time)
    dusk_response_text(res, 200, "hello\n");
  else
    dusk_response_abort(res);
}

static void ignore(dusk_response_t *res, void *arg) {
  (void)res, (void)arg;
}

/* Tells a connection that is gone from one that is half-closed. */
static bool is_cut(dusk_response_t *res) {
  return dusk_response_on_drained(res, ignore, NULL) == UV_ECANCELED;
}

static void on_gone(dusk_waiter_t *waiter) {
  hello_t *hello = DUSKD_OWNER(waiter, hello_t, gone);
  const dusk_cause_t *cause = dusk_context_cause(hello->request);
  if (cause == &dusk_drain_cancelled) return;
  if (cause == &dusk_client_gone && !is_cut(hello->res)) return;
  dusk_response_t *res = hello->res;
  hello_free(hello);
  dusk_response_abort(res); /* of no use; a timeout's 503 is the server's */
}

static void hello_later(dusk_response_t *res, dusk_request_t *req,
                        uint64_t delay_ms) {
  dusk_context_t *root = dusk_request_root(req);
  dusk_context_t *request = dusk_request_context(req);
  hello_t *hello = request != NULL ? calloc(1, sizeof *hello) : NULL;
  if (hello == NULL || dusk_context_with_timeout(duskd__life(req), delay_ms,
                                                 NULL, &hello->delay) != 0) {
    free(hello);
    dusk_response_text(res, 503, "out of memory\n");
    return;
  }
  hello->res = res;
  hello->request = request;
  dusk_context_after(hello->delay, &hello->over, root, on_over);
  dusk_context_after(request, &hello->gone, root, on_gone);
}

void duskd__hello(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  uint64_t delay_ms = 0;
  if (*dusk_request_query(req) != '\0' &&
      !duskd__query_number(req, "delay", duskd__duration_parse, DELAY_MAX_MS,
                           &delay_ms))
    dusk_response_text(res, 400,
                       "delay must be a duration, such as 2s or 250ms, of at "
                       "most 1h\n");
  else if (delay_ms > 0)
    hello_later(res, req, delay_ms);
  else
    dusk_response_text(res, 200, "hello\n");
}
