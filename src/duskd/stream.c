/* stream.c: GET /stream?count=N&interval=D sends N lines, one each D, and shows
 * what a long response does in a drain: it ends by itself when the drain
 * begins, and whole.
 *
 * It waits either for its next line's time or, when the client is behind, for
 * the connection to take the last one. Whatever ends it early makes that line
 * the last; a client that is behind is waited for even then, by on_caught_up,
 * which a cut calls too. */
#include "routes.h"

#include "units.h"
#include "worker.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_DEFAULT 10
#define COUNT_MAX 1000000
#define INTERVAL_DEFAULT_MS 1000
#define INTERVAL_MAX_MS (60 * 60 * 1000)

typedef struct stream {
  dusk_response_t *res;
  dusk_context_t *request; /* borrowed until the response ends */
  dusk_context_t *life;    /* borrowed, as the root */
  dusk_context_t *root;
  uint64_t sent;
  uint64_t count;
  uint64_t interval_ns;
  uint64_t due_ns;
  bool is_behind;
  void (*finish)(struct stream *stream); /* after the last line */
  dusk_context_t *pause; /* times out when the next line is due */
  dusk_waiter_t due;
  dusk_waiter_t gone;
  dusk_waiter_t draining;
} stream_t;

static void stream_free(stream_t *stream) {
  dusk_waiter_stop(&stream->due);
  dusk_waiter_stop(&stream->gone);
  dusk_waiter_stop(&stream->draining);
  dusk_context_unref(stream->pause);
  free(stream);
}

static void stream_end(stream_t *stream) {
  dusk_response_t *res = stream->res;
  stream_free(stream);
  dusk_response_end(res, NULL, 0);
}

static void stream_abort(stream_t *stream) {
  dusk_response_t *res = stream->res;
  stream_free(stream);
  dusk_response_abort(res);
}

static void on_due(dusk_waiter_t *waiter);

static void stream_wait(stream_t *stream) {
  dusk_context_unref(stream->pause);
  stream->pause = NULL;
  stream->due_ns += stream->interval_ns;
  if (dusk_context_with_deadline(stream->life, stream->due_ns, NULL,
                                 &stream->pause) != 0) {
    stream_abort(stream);
    return;
  }
  dusk_context_after(stream->pause, &stream->due, stream->root, on_due);
}

static void stream_go_on(stream_t *stream) {
  if (stream->sent == stream->count)
    stream->finish(stream);
  else
    stream_wait(stream);
}

static void on_caught_up(dusk_response_t *res, void *arg) {
  (void)res;
  stream_t *stream = arg;
  stream->is_behind = false;
  stream_go_on(stream);
}

static void stream_send(stream_t *stream) {
  char line[64];
  int len = snprintf(line, sizeof line, "%" PRIu64 " of %" PRIu64 "\n",
                     ++stream->sent, stream->count);
  int err = dusk_response_write(stream->res, line, (size_t)len);
  if (err == 1) {
    err = dusk_response_on_drained(stream->res, on_caught_up, stream);
    stream->is_behind = err == 0;
  }
  if (err < 0)
    stream_abort(stream);
  else if (!stream->is_behind)
    stream_go_on(stream);
}

static void on_due(dusk_waiter_t *waiter) {
  stream_send(DUSKD_OWNER(waiter, stream_t, due));
}

/* No more lines; `finish` tells whether what was sent is to look whole. */
static void stream_stop(stream_t *stream, void (*finish)(stream_t *stream)) {
  if (stream->sent == stream->count)
    return; /* it is ending already, and only behind */
  stream->count = stream->sent;
  stream->finish = finish;
  if (!stream->is_behind) finish(stream);
}

/* A client that has only shut its sending side down is not gone. Once it is,
 * a line tells, as writing nothing does. */
static void on_gone(dusk_waiter_t *waiter) {
  stream_t *stream = DUSKD_OWNER(waiter, stream_t, gone);
  if (dusk_context_cause(stream->request) == &dusk_client_gone &&
      dusk_response_write(stream->res, NULL, 0) >= 0)
    return;
  stream_stop(stream, stream_abort);
}

static void on_draining(dusk_waiter_t *waiter) {
  stream_stop(DUSKD_OWNER(waiter, stream_t, draining), stream_end);
}

static void stream_start(dusk_response_t *res, dusk_request_t *req,
                         uint64_t count, uint64_t interval_ms) {
  dusk_context_t *request = dusk_request_context(req);
  stream_t *stream = request != NULL ? calloc(1, sizeof *stream) : NULL;
  if (stream == NULL) {
    dusk_response_text(res, 503, "out of memory\n");
    return;
  }
  stream->res = res;
  stream->request = request;
  stream->life = duskd__life(req);
  stream->root = dusk_request_root(req);
  stream->count = count;
  stream->finish = stream_end;
  stream->interval_ns = interval_ms * 1000000;
  stream->due_ns = uv_hrtime();
  dusk_context_after(request, &stream->gone, stream->root, on_gone);
  dusk_context_after(dusk_request_draining(req), &stream->draining,
                     stream->root, on_draining);
  stream_send(stream);
}

void duskd__stream(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  uint64_t count = COUNT_DEFAULT, interval_ms = INTERVAL_DEFAULT_MS;
  if (!duskd__query_number(req, "count", duskd__count_parse, COUNT_MAX,
                           &count) ||
      count == 0) {
    dusk_response_text(res, 400,
                       "count must be a whole number from 1 to 1000000\n");
    return;
  }
  if (!duskd__query_number(req, "interval", duskd__duration_parse,
                           INTERVAL_MAX_MS, &interval_ms)) {
    dusk_response_text(res, 400,
                       "interval must be a duration, such as 1s or 250ms, of "
                       "at most 1h\n");
    return;
  }
  if (dusk_response_set_header(res, "Content-Type",
                               "text/plain; charset=utf-8"))
    dusk_response_abort(res);
  else if (strcmp(dusk_request_method(req), "HEAD") == 0)
    dusk_response_end(res, NULL, 0);
  else
    stream_start(res, req, count, interval_ms);
}
