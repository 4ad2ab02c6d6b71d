/* A request's body, as its handler asks for it: piece by piece, or whole; and
 * the limits of this one request. */
#include "body.h"
#include "connection.h"
#include "h1_parse.h"

#include <string.h>

static void send_continue(dusk__exchange_t *ex) {
  if (!ex->h1.expects_continue || ex->req.continued || ex->h1.complete ||
      ex->req.failure)
    return;
  ex->req.continued = true;
  if (ex->res.header_sent || ex->h1.body_received > 0) return;
  /* A failure is the stream's, and is found there. */
  dusk__stream_write(&ex->wire->stream, DUSK__H1_CONTINUE,
                     sizeof(DUSK__H1_CONTINUE) - 1);
  dusk__stream_flush(&ex->wire->stream);
}

/* Starts delivering; the callback is told if the connection goes on the way. */
static int ask(dusk__exchange_t *ex, dusk_body_cb cb, void *arg) {
  dusk__request_t *req = &ex->req;
  if (req->body_cb) return DUSK_EBODYTAKEN;
  if (!dusk__ex_is_connected(ex) || ex->res.ended) return UV_ECANCELED;
  assert(ex->stage == DUSK__STAGE_HANDLING);
  /* Refused before a byte of it is read, and before 100 Continue. */
  if (dusk__h1_is_too_large(&ex->h1)) dusk__body_fail(ex, DUSK_EBODYTOOLARGE);
  req->body_cb = cb;
  req->body_arg = arg;
  req->body_state =
      DUSK__BODY_FLOWING; /* also to tell the end of an empty one */
  send_continue(ex);
  if (!dusk__conn_of_ex(ex)->is_running) dusk__ex_defer(ex);
  return 0; /* if a write has failed, the callback is told next turn */
}

int dusk_request_body(dusk_request_t *handle, dusk_body_cb cb, void *arg) {
  if (cb == NULL) return UV_EINVAL;
  dusk__exchange_t *ex = dusk__ex_of_request(handle);
  return ex ? ask(ex, cb, arg) : UV_ECANCELED;
}

int dusk_request_set_max_body(dusk_request_t *handle, uint64_t max_bytes) {
  dusk__exchange_t *ex = dusk__ex_of_request(handle);
  if (ex == NULL || ex->wire == NULL || ex->res.ended) return UV_ECANCELED;
  if (ex->req.body_cb) return DUSK_EBODYTAKEN;
  ex->h1.max_body_bytes = max_bytes;
  return 0;
}

int dusk_request_set_body_timeout(dusk_request_t *handle, uint64_t timeout_ms) {
  dusk__exchange_t *ex = dusk__ex_of_request(handle);
  if (ex == NULL || ex->wire == NULL) return UV_ECANCELED;
  dusk__ex_seldom(ex)->body_timeout_ms = timeout_ms;
  dusk__conn_wait_anew(dusk__conn_of_ex(ex));
  return 0;
}

int dusk_request_set_timeout(dusk_request_t *handle, uint64_t timeout_ms) {
  dusk__exchange_t *ex = dusk__ex_of_request(handle);
  if (ex == NULL || ex->wire == NULL || ex->res.ended) return UV_ECANCELED;
  if (timeout_ms == 0) timeout_ms = ex->worker->config->request_timeout_ms;
  return dusk__steps_set_timeout(ex, timeout_ms);
}

void dusk_request_pause(dusk_request_t *handle) {
  dusk__exchange_t *ex = dusk__ex_of_request(handle);
  if (ex && ex->req.body_state == DUSK__BODY_FLOWING)
    ex->req.body_state = DUSK__BODY_PAUSED;
}

void dusk_request_resume(dusk_request_t *handle) {
  dusk__exchange_t *ex = dusk__ex_of_request(handle);
  if (ex == NULL || ex->req.body_state != DUSK__BODY_PAUSED) return;
  ex->req.body_state = DUSK__BODY_FLOWING;
  if (ex->wire && !dusk__conn_of_ex(ex)->is_running) dusk__ex_defer(ex);
}

static void finish_collecting(dusk__exchange_t *ex, int status) {
  dusk__request_t *req = &ex->req;
  dusk_collect_cb cb = req->collect_cb;
  bool has_text = status == 0 && req->collected;
  req->collect_cb = NULL;
  if (has_text) req->collected[req->collected_len] = '\0';
  if (cb)
    cb(dusk__ex_request(ex), status, has_text ? req->collected : "",
       has_text ? req->collected_len : 0, req->collect_arg);
}

/* Room for `more` bytes and a NUL. */
static int grow_collected(dusk__exchange_t *ex, size_t more) {
  dusk__request_t *req = &ex->req;
  size_t need = req->collected_len + more + 1;
  if (need <= req->collected_capacity) return 0;
  size_t capacity = req->collected_capacity * 2;
  if (req->collected_capacity == 0 && ex->h1.content_length != DUSK_OFF)
    capacity = ex->h1.content_length + 1; /* at most max_bytes, see below */
  if (capacity < need) capacity = need;
  char *larger = dusk__arena_grow(&ex->arena, req->collected,
                                  req->collected_capacity, capacity);
  if (larger == NULL) return UV_ENOMEM;
  req->collected = larger;
  req->collected_capacity = capacity;
  return 0;
}

static int collect(dusk__exchange_t *ex, const char *data, size_t len) {
  dusk__request_t *req = &ex->req;
  if (len > req->collect_max - req->collected_len) return DUSK_EBODYTOOLARGE;
  int err = grow_collected(ex, len);
  if (err < 0) return err;
  memcpy(req->collected + req->collected_len, data, len);
  req->collected_len += len;
  return 0;
}

static void on_collect(dusk_request_t *handle, ssize_t nread, const char *data,
                       void *arg) {
  dusk__exchange_t *ex = arg;
  (void)handle;
  if (nread < 0) {
    finish_collecting(ex, nread == UV_EOF ? 0 : (int)nread);
    return;
  }
  int err = collect(ex, data, (size_t)nread);
  if (err < 0) dusk__body_fail(ex, err);
}

int dusk_request_collect(dusk_request_t *handle, size_t max_bytes,
                         dusk_collect_cb cb, void *arg) {
  if (cb == NULL) return UV_EINVAL;
  dusk__exchange_t *ex = dusk__ex_of_request(handle);
  if (ex == NULL) return UV_ECANCELED;
  dusk__request_t *req = &ex->req;
  if (req->body_cb) return DUSK_EBODYTAKEN;
  if (max_bytes < ex->h1.max_body_bytes) ex->h1.max_body_bytes = max_bytes;
  int err = ask(ex, on_collect, ex);
  if (err < 0) return err;
  req->collect_cb = cb;
  req->collect_arg = arg;
  req->collect_max = max_bytes;
  req->collected_len = req->collected_capacity = 0;
  return 0;
}
