/* A body on its way to a file. While the sink writes, the body is held: the
 * connection's buffer fills, reading stops, and TCP slows the client down.
 *
 * Whatever ends it, but for the file's own end, fails the body, and so is told
 * as any failure of a body is. A client that only closes its side has sent all
 * that it wants to: its going is the body's to tell, if something is missing.
 */
#include "save.h"

#include "body.h"
#include "connection.h"
#include "h1_parse.h"

/* -- A file ---------------------------------------------------------------- */

/* The context's err, if it is for that that a file is given up. */
static int reason_of(dusk_context_t *ctx) {
  int err = dusk_context_err(ctx);
  return dusk_context_cause(ctx) == &dusk_client_gone ? 0 : err;
}

static void on_context_end(dusk_waiter_t *waiter) {
  dusk__save_t *save = DUSK__OWNER(waiter, dusk__save_t, waiter);
  dusk__exchange_t *ex = save->ex;
  int reason = reason_of(save->ctx);
  if (reason == 0 || save->is_finishing || ex->res.ended) return;
  dusk__save_abort(save);
  dusk__body_refuse(ex, reason);
  dusk__body_go_on(ex);
}

/* As a step that calls its user is: what ends the connection meanwhile does so
 * when that has returned. */
static void tell_finished(dusk__save_t *save, int status) {
  dusk__exchange_t *ex = save->ex;
  dusk__conn_t *conn = ex->wire ? dusk__conn_of_ex(ex) : NULL;
  if (conn) {
    assert(!conn->is_running);
    conn->is_running = true;
  }
  dusk__ex_enter(ex);
  save->finished(save, status);
  dusk__ex_leave(ex);
  if (conn) {
    conn->is_running = false;
    dusk__conn_go_on(conn, DUSK__CALLS);
  }
}

static void on_sink(void *owner, int status) {
  dusk__save_t *save = owner;
  dusk__exchange_t *ex = save->ex;
  if (save->is_finishing) {
    save->sink = NULL;
    dusk__save_abort(save);
    if (!ex->res.ended) tell_finished(save, status);
    return;
  }
  if (status < 0) {
    dusk__save_abort(save);
    dusk__body_refuse(ex, status);
  }
  dusk__body_go_on(ex);
}

int dusk__save_begin(dusk__save_t *save, dusk__exchange_t *ex, const char *path,
                     uint64_t max_bytes,
                     void (*finished)(dusk__save_t *save, int status)) {
  assert(save->sink == NULL);
  dusk_context_t *ctx = dusk_request_context(dusk__ex_request(ex));
  if (ctx == NULL) return UV_ENOMEM;
  int err = dusk__sink_new(ex->worker->loop, path, on_sink, save, &save->sink);
  if (err < 0) return err;
  save->ex = ex;
  save->ctx = dusk_context_ref(ctx);
  save->len = 0;
  save->max_bytes = max_bytes;
  save->is_finishing = false;
  save->finished = finished;
  int reason = reason_of(ctx);
  if (reason < 0) dusk__body_refuse(ex, reason);
  dusk_context_after(ctx, &save->waiter, ex->worker->root, on_context_end);
  return 0;
}

void dusk__save_put(dusk__save_t *save, const char *data, size_t len) {
  if (len > save->max_bytes - save->len) {
    dusk__body_fail(save->ex, DUSK_EBODYTOOLARGE);
    return;
  }
  save->len += len;
  if (dusk__sink_put(save->sink, data, len)) dusk__body_hold(save->ex);
}

void dusk__save_finish(dusk__save_t *save) {
  save->is_finishing = true;
  dusk__sink_finish(save->sink);
}

void dusk__save_abort(dusk__save_t *save) {
  dusk_waiter_stop(&save->waiter);
  dusk_context_unref(save->ctx);
  save->ctx = NULL;
  if (save->sink) dusk__sink_abort(save->sink);
  save->sink = NULL;
}

/* -- A whole body ---------------------------------------------------------- */

typedef struct whole {
  dusk__save_t save;
  dusk_save_cb cb;
  void *arg;
} whole_t;

static void on_left(void *arg) {
  whole_t *whole = arg;
  dusk__save_abort(&whole->save);
}

static void on_finished(dusk__save_t *save, int status) {
  whole_t *whole = DUSK__OWNER(save, whole_t, save);
  whole->cb(dusk__ex_request(save->ex), status, save->len, whole->arg);
}

static void on_body(dusk_request_t *handle, ssize_t nread, const char *data,
                    void *arg) {
  whole_t *whole = arg;
  dusk__exchange_t *ex = whole->save.ex;
  if (nread == UV_EOF) {
    dusk__save_finish(&whole->save);
  } else if (nread < 0) {
    dusk__save_abort(&whole->save);
    whole->cb(handle, (int)nread, whole->save.len, whole->arg);
  } else {
    size_t len = (size_t)nread;
    if (len > DUSK__SINK_BYTES) len = DUSK__SINK_BYTES;
    dusk__save_put(&whole->save, data, len);
    if (ex->req.failure == 0) dusk__h1_leave(&ex->h1, (size_t)nread - len);
  }
}

int dusk_request_save(dusk_request_t *handle, const char *path,
                      uint64_t max_bytes, dusk_save_cb cb, void *arg) {
  if (path == NULL || *path == '\0' || cb == NULL) return UV_EINVAL;
  dusk__exchange_t *ex = dusk__ex_of_request(handle);
  if (ex == NULL || !dusk__ex_is_connected(ex) || ex->res.ended)
    return UV_ECANCELED;
  if (ex->req.body_cb) return DUSK_EBODYTAKEN;
  whole_t *whole = dusk__arena_alloc(&ex->arena, sizeof(*whole));
  if (whole == NULL) return UV_ENOMEM;
  *whole = (whole_t){.cb = cb, .arg = arg};
  int err = dusk__save_begin(&whole->save, ex, path, max_bytes, on_finished);
  if (err < 0) return err;
  /* Refused before a byte of it is read, and before 100 Continue. */
  uint64_t length = ex->h1.content_length;
  if (length != DUSK_OFF && length > max_bytes)
    dusk__body_fail(ex, DUSK_EBODYTOOLARGE);
  err = dusk_request_body(handle, on_body, whole);
  if (err < 0)
    dusk__save_abort(&whole->save);
  else
    dusk__ex_seldom(ex)->body_left = on_left;
  return err;
}
