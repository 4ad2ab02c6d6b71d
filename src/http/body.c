/* The body's states: UNASKED until the handler asks, FLOWING or PAUSED as it
 * likes, ENDED once its end or failure was told; DROPPED when nobody wants it.
 * Back-pressure is not parsing: the buffer fills, reading stops, TCP slows the
 * client down. */
#include "body.h"

#include "output.h"
#include "server.h"

#include <stdlib.h>
#include <string.h>

/* As in Go: what is missing of an unread body at most, to keep a connection */
enum { MAX_LEFT_UNREAD_BYTES = 262144 };

bool dusk__body_wants_bytes(const dusk__exchange_t *ex) {
  return !ex->req.complete && ex->req.failure == 0 &&
         (ex->req.body == DUSK__BODY_FLOWING ||
          ex->req.body == DUSK__BODY_DROPPED);
}

bool dusk__body_tell_end(dusk__exchange_t *ex) {
  dusk_request_t *req = &ex->req;
  if (!req->complete && req->failure == 0) return false;
  if (req->body == DUSK__BODY_DROPPED) req->body = DUSK__BODY_ENDED;
  /* An unasked or paused body's failure waits until somebody asks. */
  if (req->body != DUSK__BODY_FLOWING) return false;
  req->body = DUSK__BODY_ENDED;
  req->body_cb(req, req->failure ? req->failure : UV_EOF, NULL, req->body_arg);
  return true;
}

void dusk__body_fail(dusk__exchange_t *ex, int err) {
  if (!ex->req.complete && ex->req.failure == 0) ex->req.failure = err;
}

void dusk__body_drop(dusk__exchange_t *ex) {
  if (ex->req.body != DUSK__BODY_ENDED) ex->req.body = DUSK__BODY_DROPPED;
}

bool dusk__body_leaves_too_much(const dusk__exchange_t *ex) {
  const dusk_request_t *req = &ex->req;
  if (req->failure) return true;
  if (req->body != DUSK__BODY_UNASKED && req->body != DUSK__BODY_DROPPED)
    return false;
  if (req->complete) return false;
  if (req->expects_continue) return true; /* it may not be coming at all */
  return req->content_length != DUSK_OFF &&
         req->content_length - req->body_received >= MAX_LEFT_UNREAD_BYTES;
}

int dusk__body_status(int failure) {
  switch (failure) {
  case DUSK_EBODYTOOLARGE:
    return 413;
  case DUSK_EBADBODY:
    return 400;
  case UV_ETIMEDOUT:
    return 408;
  case UV_ENOMEM:
    return 503;
  default:
    return 0;
  }
}

static void send_continue(dusk__exchange_t *ex) {
  static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";
  if (!ex->req.expects_continue || ex->req.complete) return;
  ex->req.expects_continue = false;
  if (ex->res.header_sent || ex->req.body_received > 0) return;
  /* A failure closes the connection, which is told where it matters. */
  if (dusk__output_bytes(ex->conn, line, sizeof(line) - 1) == 0)
    dusk__output_flush(ex->conn);
}

int dusk_request_body(dusk_request_t *req, dusk_body_cb cb, void *arg) {
  dusk__exchange_t *ex = dusk__ex_of_request(req);
  if (cb == NULL) return UV_EINVAL;
  if (req->body_cb) return UV_EALREADY;
  if (ex->conn == NULL || ex->res.ended) return UV_ECANCELED;
  req->body_cb = cb;
  req->body_arg = arg;
  req->body = DUSK__BODY_FLOWING; /* also to tell the end of an empty one */
  send_continue(ex);
  if (ex->conn && !ex->conn->running) dusk__server_defer(ex->server, ex);
  return 0; /* if the write has cut it, the callback is told next turn */
}

void dusk_request_pause(dusk_request_t *req) {
  if (req->body == DUSK__BODY_FLOWING) req->body = DUSK__BODY_PAUSED;
}

void dusk_request_resume(dusk_request_t *req) {
  dusk__exchange_t *ex = dusk__ex_of_request(req);
  if (req->body != DUSK__BODY_PAUSED) return;
  req->body = DUSK__BODY_FLOWING;
  if (ex->conn && !ex->conn->running) dusk__server_defer(ex->server, ex);
}

static void finish_collecting(dusk_request_t *req, int status) {
  dusk_collect_cb cb = req->collect_cb;
  req->collect_cb = NULL;
  if (status == 0 && req->collected) req->collected[req->collected_len] = '\0';
  if (cb)
    cb(req, status, status == 0 && req->collected ? req->collected : "",
       status == 0 ? req->collected_len : 0, req->collect_arg);
}

/* Room for `more` bytes and a NUL. */
static int grow_collected(dusk_request_t *req, size_t more) {
  size_t need = req->collected_len + more + 1;
  if (need <= req->collected_capacity) return 0;
  size_t capacity = req->collected_capacity * 2;
  if (req->collected_capacity == 0 && req->content_length != DUSK_OFF)
    capacity = req->content_length + 1; /* at most max_bytes, see below */
  if (capacity < need) capacity = need;
  char *larger = realloc(req->collected, capacity);
  if (larger == NULL) return UV_ENOMEM;
  req->collected = larger;
  req->collected_capacity = capacity;
  return 0;
}

static void on_collect(dusk_request_t *req, ssize_t nread, const char *data,
                       void *arg) {
  (void)arg;
  if (nread == UV_EOF) {
    finish_collecting(req, 0);
  } else if (nread < 0) {
    finish_collecting(req, (int)nread);
  } else {
    size_t len = (size_t)nread;
    int err =
        len > req->collect_max - req->collected_len ? DUSK_EBODYTOOLARGE : 0;
    if (err == 0) err = grow_collected(req, len);
    if (err == 0) {
      memcpy(req->collected + req->collected_len, data, len);
      req->collected_len += len;
    } else {
      dusk__body_fail(dusk__ex_of_request(req), err);
    }
  }
}

int dusk_request_collect(dusk_request_t *req, size_t max_bytes,
                         dusk_collect_cb cb, void *arg) {
  if (cb == NULL) return UV_EINVAL;
  if (req->body_cb) return UV_EALREADY;
  /* Refused before a byte of it is read, and before 100 Continue. */
  if (req->content_length != DUSK_OFF && req->content_length > max_bytes)
    dusk__body_fail(dusk__ex_of_request(req), DUSK_EBODYTOOLARGE);
  int err = dusk_request_body(req, on_collect, NULL);
  if (err < 0) return err;
  req->collect_cb = cb;
  req->collect_arg = arg;
  req->collect_max = max_bytes;
  return 0;
}
