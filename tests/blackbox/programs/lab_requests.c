/* Routes that show what a handler reads. See lab.h. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lab.h"

typedef struct text {
  char data[32768];
  size_t len;
} text_t;

__attribute__((format(printf, 2, 3))) static void add(text_t *text,
                                                      const char *format, ...) {
  va_list args;
  va_start(args, format);
  size_t room = sizeof text->data - text->len;
  int len = vsnprintf(text->data + text->len, room, format, args);
  va_end(args);
  if (len > 0 && (size_t)len < room) text->len += (size_t)len;
}

/* The request, a property a line. */
static void show(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  text_t *text = allocate(sizeof *text);
  add(text, "method %s\n", dusk_request_method(req));
  add(text, "target %s\n", dusk_request_target(req));
  add(text, "path %s\n", dusk_request_path(req));
  add(text, "query %s\n", dusk_request_query(req));
  add(text, "host %s\n", dusk_request_host(req));
  add(text, "minor %d\n", dusk_request_version_minor(req));
  add(text, "peer %s\n", dusk_request_peer(req));
  uint64_t length = dusk_request_content_length(req);
  if (length == DUSK_OFF) {
    add(text, "length unknown\n");
  } else {
    add(text, "length %llu\n", (unsigned long long)length);
  }
  char value[256];
  int err = dusk_request_query_value(req, "x", value, sizeof value);
  add(text, "x %s\n", err < 0 ? dusk_strerror(err) : value);
  err = dusk_percent_decode(dusk_request_path(req), value, sizeof value);
  add(text, "decoded %s\n", err < 0 ? dusk_strerror(err) : value);
  const char *test = dusk_request_header(req, "x-test");
  add(text, "x-test %s\n", test ? test : "none");
  const char *name, *field;
  for (size_t i = 0; dusk_request_header_at(req, i, &name, &field); i++)
    add(text, "field %s=%s\n", name, field);
  dusk_response_text(res, 200, text->data);
  free(text);
}

static void on_collected(dusk_request_t *req, int status, const char *data,
                         size_t len, void *arg) {
  dusk_response_t *res = arg;
  if (status == 0) {
    dusk_response_end(res, data, len);
    return;
  }
  say("collect: %s", dusk_strerror(status));
  if (status != DUSK_EBODYTOOLARGE && status != DUSK_EBADBODY &&
      status != UV_ETIMEDOUT)
    dusk_response_abort(res);
  else if (query_number(req, "own", 0))
    dusk_response_text(res, 200, dusk_strerror(status));
}

/* The whole body back; ?max=N, ?own=1 answers errors itself. */
static void collect(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  size_t max = (size_t)query_number(req, "max", 1 << 20);
  must(dusk_request_collect(req, max, on_collected, res), "collect");
}

static void on_trailer_body(dusk_request_t *req, ssize_t nread,
                            const char *data, void *arg) {
  (void)data;
  dusk_response_t *res = arg;
  if (nread > 0) return;
  if (nread != UV_EOF) {
    say("body: %s", dusk_strerror((int)nread));
    if (nread == UV_ECONNRESET || nread == UV_ECANCELED)
      dusk_response_abort(res);
    return;
  }
  const char *value = dusk_request_trailer(req, "x-check");
  dusk_response_text(res, 200, value ? value : "none");
}

/* The value of the trailer X-Check. */
static void trailer(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  must(dusk_request_body(req, on_trailer_body, res), "body");
}

/* Answers without a look at the body; ?status=N. */
static void ignore(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  dusk_response_text(res, (int)query_number(req, "status", 200), "ignored\n");
}

typedef struct pausing {
  dusk_request_t *req;
  dusk_response_t *res;
  uint64_t bytes;
  uint64_t pause_ms;
  bool has_paused;
  bool is_paused;
} pausing_t;

static void go_on(void *arg) {
  pausing_t *pausing = arg;
  pausing->is_paused = false;
  say("resumed after %llu bytes", (unsigned long long)pausing->bytes);
  dusk_request_resume(pausing->req);
}

static void on_pausing_body(dusk_request_t *req, ssize_t nread,
                            const char *data, void *arg) {
  (void)data;
  pausing_t *pausing = arg;
  if (pausing->is_paused) say("a piece came in the pause");
  if (nread > 0) {
    pausing->bytes += (uint64_t)nread;
    if (pausing->has_paused) return;
    pausing->has_paused = pausing->is_paused = true;
    dusk_request_pause(req);
    later(&loop, pausing->pause_ms, go_on, pausing);
    return;
  }
  char text[64];
  snprintf(text, sizeof text, "%llu", (unsigned long long)pausing->bytes);
  dusk_response_text(pausing->res, 200, text);
  free(pausing);
}

/* The number of bytes of the body, with a pause of ?ms=N after the first. */
static void pause_body(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  pausing_t *pausing = allocate(sizeof *pausing);
  pausing->req = req;
  pausing->res = res;
  pausing->pause_ms = query_number(req, "ms", 100);
  must(dusk_request_body(req, on_pausing_body, pausing), "body");
}

const route_t request_routes[] = {
    {"/show", show},       {"/show/", show},       {"/collect", collect},
    {"/trailer", trailer}, {"/ignore", ignore},    {"/pause", pause_body},
    {"GET /only", ignore}, {"POST /only", ignore}, {NULL, NULL},
};
