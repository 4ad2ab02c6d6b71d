/* A response's header goes out, composed in place in the stream's gathering
 * buffer; and the server's own replies. */
#include "reply.h"

#include "body.h"

#include <time.h>

/* RFC 9112, 6: how the client will find the end. */
static void decide_framing(dusk__exchange_t *ex, uint64_t length) {
  dusk__response_t *res = &ex->res;
  if (dusk__h1_forbids_body(res->status) || ex->h1.is_head) {
    res->framing = DUSK__FRAMED_EMPTY;
  } else if (length != DUSK_OFF) {
    res->framing = DUSK__FRAMED_BY_LENGTH;
  } else if (ex->h1.version_minor == 0) {
    res->framing = DUSK__FRAMED_BY_CLOSE;
    res->close = true;
  } else {
    res->framing = DUSK__FRAMED_BY_CHUNKS;
  }
}

/* Made anew once a second. */
static const dusk__h1_dated_t *dated_of(const dusk__worker_t *worker) {
  dusk__h1_dated_t *dated = &worker->pool->dated;
  uint64_t now_ms = dusk__now_ms(worker);
  if (now_ms < dated->until_ms) return dated;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  dusk__h1_compose_dated(dated, &now);
  dated->until_ms = now_ms + 1000 - (uint64_t)(now.tv_nsec / 1000000);
  return dated;
}

int dusk__reply_head(dusk__exchange_t *ex, uint64_t length) {
  assert(ex->wire && !ex->res.header_sent);
  dusk__response_t *res = &ex->res;
  if (res->status == 0) res->status = dusk__body_status(ex->req.failure);
  if (res->status == 0) res->status = 200;
  if (res->declared_length != DUSK_OFF) length = res->declared_length;
  decide_framing(ex, length);
  res->declared_length = length;
  bool is_old = ex->h1.version_minor == 0 && ex->stage == DUSK__STAGE_HANDLING;
  dusk__h1_head_t head = {.status = res->status,
                          .framing = res->framing,
                          .length = length,
                          .fields = &res->fields,
                          .dated = res->has_date ? NULL : dated_of(ex->worker),
                          .is_old = is_old,
                          .is_text = res->is_text,
                          .has_connection = res->has_connection,
                          .close = res->close,
                          .says_close = res->refused};
  size_t bound = dusk__h1_head_bound(&head);
  char *to = dusk__stream_reserve(&ex->wire->stream, bound);
  if (to == NULL) return UV_ECANCELED;
  size_t len = (size_t)(dusk__h1_put_head(to, &head) - to);
  assert(len <= bound);
  dusk__stream_commit(&ex->wire->stream, len);
  res->header_sent = true;
  return 0;
}

void dusk__reply_refuse(dusk__exchange_t *ex, int status) {
  dusk__response_t *res = &ex->res;
  if (!dusk__ex_is_connected(ex) || res->header_sent) return;
  if (status == 408) dusk__ex_timed_out(ex);
  res->status = status;
  res->fields.len = 0;
  res->fields.terminated = false;
  res->is_text = true;
  res->has_date = res->has_connection = false;
  res->declared_length = DUSK_OFF;
  res->close = true;
  res->refused = true;
  char body[DUSK__H1_MAX_STATUS_TEXT];
  size_t len = (size_t)(dusk__h1_put_status_text(body, status) - body);
  int err = dusk__reply_head(ex, len);
  if (err == 0 && !ex->h1.is_head) {
    dusk__stream_write(&ex->wire->stream, body, len);
    res->body_bytes = len;
  }
  /* Without memory for a reply the connection just closes. */
}
