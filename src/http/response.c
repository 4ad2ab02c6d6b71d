/* A response as its handler has it: what is written, and its end. A body goes
 * behind the header in the stream's gathering buffer, small ones copied, large
 * ones by reference. */
#include "body.h"
#include "connection.h"
#include "reply.h"
#include "h1_parse.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Whether the connection ends with this response. */
static bool is_last(dusk__exchange_t *ex) {
  return !ex->h1.keep_alive || dusk__body_leaves_too_much(ex) ||
         ex->wire->requests >= ex->worker->config->max_requests ||
         (ex->res.has_connection &&
          dusk__h1_has_option(&ex->res.fields, "close")) ||
         dusk__conn_is_last(dusk__conn_of_ex(ex));
}

/* `length`: the body's, if the response ends with it. */
static int put_header(dusk__exchange_t *ex, uint64_t length) {
  dusk__reply_tell(ex);
  if (!dusk__ex_is_connected(ex) || ex->res.header_sent || ex->res.ended)
    return UV_ECANCELED;
  ex->res.close = ex->res.close || is_last(ex);
  return dusk__reply_head(ex, length);
}

/* What its caller is told of the stream's failure. */
static int failure_of(const dusk__stream_t *stream) {
  int err = dusk__stream_err(stream);
  return err == 0 || err == UV_ENOMEM ? err : UV_ECANCELED;
}

/* Whether it may wait for the response's end, to tell a length. */
static bool is_small(const dusk__response_t *res, size_t len,
                     dusk_release_cb release) {
  return release == NULL && len <= DUSK__GATHERED_BODY_BYTES &&
         res->body_bytes <= DUSK__GATHERED_BODY_BYTES - len;
}

/* One piece of body, framed. */
static int put_body(dusk__exchange_t *ex, const void *data, size_t len,
                    dusk_release_cb *release, void *arg) {
  dusk__response_t *res = &ex->res;
  dusk__stream_t *stream = &ex->wire->stream;
  if (res->framing == DUSK__FRAMED_LATER && is_small(res, len, *release)) {
    res->body_bytes += len;
    return ex->h1.is_head ? 0 : dusk__stream_write(stream, data, len);
  }
  if (res->framing == DUSK__FRAMED_LATER) dusk__reply_frame_by_chunks(ex);
  if (res->framing == DUSK__FRAMED_EMPTY) {
    res->body_bytes += len;
    return 0;
  }
  bool chunked = res->framing == DUSK__FRAMED_BY_CHUNKS;
  if (chunked) {
    char head[DUSK__H1_MAX_CHUNK_HEAD];
    size_t head_len = (size_t)(dusk__h1_put_chunk_head(head, len) - head);
    dusk__stream_write(stream, head, head_len);
  }
  const char *tail = chunked ? DUSK__H1_CHUNK_TAIL : "";
  if (*release || len > DUSK__COPIED_BYTES) {
    dusk__stream_write_ref(stream, data, len, tail, *release, arg);
    *release = NULL;
  } else {
    dusk__stream_write(stream, data, len);
    if (chunked) dusk__stream_write(stream, tail, strlen(tail));
  }
  res->body_bytes += len;
  return failure_of(stream);
}

/* Header, if need be, and body; `last` when the response ends with it. */
static int respond(dusk__exchange_t *ex, const void *data, size_t len,
                   bool last, dusk_release_cb *release, void *arg) {
  dusk__response_t *res = &ex->res;
  if (res->hijacked) return DUSK_EHIJACKED;
  if (!dusk__ex_is_connected(ex) || res->ended || res->refused)
    return UV_ECANCELED;
  if (!res->header_sent) {
    /* What a HEAD response's length would be is only known by its body. */
    uint64_t length = last && (len > 0 || !ex->h1.is_head) ? len : DUSK_OFF;
    if (!last && len > 0 && is_small(res, len, *release))
      res->framing = DUSK__FRAMED_LATER;
    int err = put_header(ex, length);
    if (err < 0) return err;
  }
  if (len == 0) return 0;
  if (dusk__h1_forbids_body(res->status)) return DUSK_ENOBODY;
  if (res->declared_length != DUSK_OFF &&
      len > res->declared_length - res->body_bytes)
    return DUSK_ELENGTH;
  return put_body(ex, data, len, release, arg);
}

static int write_piece(dusk_response_t *handle, const void *data, size_t len,
                       dusk_release_cb release, void *arg) {
  dusk__exchange_t *ex = dusk__ex_of_response(handle);
  int err = ex ? respond(ex, data, len, false, &release, arg) : UV_ECANCELED;
  if (release) release(arg);
  if (ex == NULL || ex->wire == NULL) return err;
  /* Also after an error: the stream's is acted upon. */
  dusk__stream_t *stream = &ex->wire->stream;
  dusk__conn_go_on(dusk__conn_of_ex(ex), DUSK__NO_CALLS);
  if (err < 0) return err;
  return dusk__stream_err(stream) ? UV_ECANCELED : stream->queued > 0;
}

/* Lets go: what happens next is the connection's business, if there is one. */
static void let_go(dusk__exchange_t *ex) {
  assert(ex->stage == DUSK__STAGE_HANDLING);
  dusk__ex_note_ended(ex);
  ex->res.drained_cb = NULL;
  dusk__body_drop(ex);
  dusk__ex_end_contexts(ex, ex->cause ? ex->cause : &dusk_response_ended);
  if (ex->wire)
    dusk__conn_go_on(dusk__conn_of_ex(ex), DUSK__NO_CALLS);
  else
    dusk__ex_release(ex);
}

static int finish_framing(dusk__exchange_t *ex) {
  dusk__response_t *res = &ex->res;
  if (res->framing == DUSK__FRAMED_LATER) dusk__reply_frame_by_length(ex);
  if (res->framing == DUSK__FRAMED_BY_CHUNKS) {
    dusk__stream_write(&ex->wire->stream, DUSK__H1_LAST_CHUNK,
                       sizeof(DUSK__H1_LAST_CHUNK) - 1);
    return failure_of(&ex->wire->stream);
  }
  if (res->framing == DUSK__FRAMED_BY_LENGTH &&
      res->body_bytes < res->declared_length) {
    res->close = true;
    res->aborted = true;
    return DUSK_ESHORT;
  }
  return 0;
}

static int end(dusk_response_t *handle, const void *data, size_t len,
               dusk_release_cb release, void *arg) {
  dusk__exchange_t *ex = dusk__ex_of_response(handle);
  if (ex == NULL || ex->res.ended) {
    if (release) release(arg);
    return ex && ex->res.hijacked ? DUSK_EHIJACKED : UV_ECANCELED;
  }
  dusk__response_t *res = &ex->res;
  dusk__body_drop(ex); /* known when the header is composed */
  int err = respond(ex, data, len, true, &release, arg);
  if (release) release(arg);
  bool whole = err == 0 || err == DUSK_ENOBODY;
  if (whole) {
    int framed = finish_framing(ex);
    if (framed < 0) err = framed;
  } else if (!res->refused) {
    res->aborted = true;
    res->close = true;
  }
  /* Else the connection's end tells why. */
  bool is_ours = dusk__ex_is_connected(ex);
  if (is_ours && err < 0 && res->err == 0 && !res->refused) res->err = err;
  if (is_ours && res->aborted) ex->cause = &dusk_response_ended;
  let_go(ex);
  return err;
}

/* For data that nobody waits to have back. */
static void keep_for_ever(void *arg) {
  (void)arg;
}

int dusk_response_inform(dusk_response_t *handle, int status) {
  dusk__exchange_t *ex = dusk__ex_of_response(handle);
  if (status < 100 || status > 199 || status == 101) return UV_EINVAL;
  if (ex == NULL) return UV_ECANCELED;
  if (ex->res.hijacked) return DUSK_EHIJACKED;
  if (ex->res.header_sent) return DUSK_EHEADERSENT;
  if (!dusk__ex_is_connected(ex) || ex->res.ended) return UV_ECANCELED;
  if (ex->h1.version_minor == 0) return 0; /* RFC 9110, 15.2 */
  if (status == 100) ex->req.continued = true;
  int err = dusk__reply_interim(ex, status);
  dusk__conn_go_on(dusk__conn_of_ex(ex), DUSK__NO_CALLS);
  return dusk__ex_is_connected(ex) ? err : UV_ECANCELED;
}

int dusk_response_write(dusk_response_t *handle, const void *data, size_t len) {
  return write_piece(handle, data, len, NULL, NULL);
}

int dusk_response_write_ref(dusk_response_t *handle, const void *data,
                            size_t len, dusk_release_cb release, void *arg) {
  return write_piece(handle, data, len, release ? release : keep_for_ever, arg);
}

int dusk_response_end(dusk_response_t *handle, const void *data, size_t len) {
  return end(handle, data, len, NULL, NULL);
}

int dusk_response_end_ref(dusk_response_t *handle, const void *data, size_t len,
                          dusk_release_cb release, void *arg) {
  return end(handle, data, len, release ? release : keep_for_ever, arg);
}

/* -- The rest of a response's life ----------------------------------------- */

int dusk_response_on_drained(dusk_response_t *handle, dusk_drained_cb cb,
                             void *arg) {
  dusk__exchange_t *ex = dusk__ex_of_response(handle);
  if (cb == NULL) return UV_EINVAL;
  if (ex == NULL || !dusk__ex_is_connected(ex) || ex->res.ended)
    return UV_ECANCELED;
  if (ex->res.drained_cb) return UV_EBUSY;
  ex->res.drained_cb = cb;
  ex->res.drained_arg = arg;
  dusk__ex_defer(ex);
  return 0;
}

/* Why an answer that its handler gives up will not be whole. */
static const dusk_cause_t *why_given_up(const dusk__exchange_t *ex) {
  if (ex->cause) return ex->cause;
  if (ex->req.failure == UV_ETIMEDOUT) return &dusk_timed_out;
  if (ex->wire && ex->wire->stream.has_ended) return &dusk_client_gone;
  return &dusk_connection_cut;
}

static void give_up(dusk__exchange_t *ex) {
  ex->res.close = true;
  ex->res.aborted = true;
  if (ex->wire && !dusk__ex_is_connected(ex)) return; /* that end tells why */
  ex->cause = why_given_up(ex);
  if (ex->res.err == 0) ex->res.err = UV_ECANCELED;
}

int dusk_response_set_write_timeout(dusk_response_t *handle,
                                    uint64_t timeout_ms) {
  dusk__exchange_t *ex = dusk__ex_of_response(handle);
  if (ex == NULL || ex->wire == NULL) return UV_ECANCELED;
  dusk__ex_seldom(ex)->write_timeout_ms = timeout_ms;
  dusk__conn_wait_anew(dusk__conn_of_ex(ex));
  return 0;
}

int dusk_response_on_end(dusk_response_t *handle, dusk_request_end_cb cb,
                         void *arg) {
  dusk__exchange_t *ex = dusk__ex_of_response(handle);
  if (cb == NULL) return UV_EINVAL;
  if (ex == NULL || ex->end_told || ex->finished) return UV_ECANCELED;
  dusk__end_hook_t *hook = dusk__arena_alloc(&ex->arena, sizeof(*hook));
  if (hook == NULL) return UV_ENOMEM;
  *hook = (dusk__end_hook_t){ex->seldom.end_hooks, cb, arg};
  dusk__ex_seldom(ex)->end_hooks = hook;
  return 0;
}

void dusk_response_abort(dusk_response_t *handle) {
  dusk__exchange_t *ex = dusk__ex_of_response(handle);
  if (ex == NULL || ex->res.ended) return;
  int status = dusk__body_status(ex->req.failure);
  if (status && dusk__ex_is_connected(ex) && !ex->res.header_sent)
    dusk__reply_refuse(ex, status); /* it was the server that failed it */
  else if (!ex->res.refused)
    give_up(ex);
  let_go(ex);
}

void dusk_response_reset(dusk_response_t *handle) {
  dusk__exchange_t *ex = dusk__ex_of_response(handle);
  if (ex == NULL || ex->res.ended) return;
  give_up(ex);
  ex->cause = &dusk_connection_cut;
  ex->res.is_reset = true;
  let_go(ex);
}

/* What the client has sent beyond this request's header and body. */
static int copy_early(const dusk__exchange_t *ex, char **ret_early,
                      size_t *ret_len) {
  size_t len = dusk__h1_unparsed(&ex->h1);
  char *early = malloc(len + 1);
  if (early == NULL) return UV_ENOMEM;
  memcpy(early, ex->h1.buffer + ex->h1.parsed, len);
  *ret_early = early;
  *ret_len = len;
  return 0;
}

int dusk_response_hijack(dusk_response_t *handle, uv_os_sock_t *ret_fd,
                         char **ret_early, size_t *ret_early_len) {
  dusk__exchange_t *ex = dusk__ex_of_response(handle);
  if (ret_fd == NULL || ret_early == NULL || ret_early_len == NULL)
    return UV_EINVAL;
  if (ex == NULL) return UV_ECANCELED;
  dusk__response_t *res = &ex->res;
  if (res->hijacked) return DUSK_EHIJACKED;
  if (ex->wire == NULL || res->ended || res->refused) return UV_ECANCELED;
  dusk__stream_t *stream = &ex->wire->stream;
  if (dusk__stream_flush(stream) < 0) {
    int failure = failure_of(stream);
    dusk__conn_go_on(dusk__conn_of_ex(ex), DUSK__NO_CALLS);
    return failure;
  }
  if (stream->queued > 0) return UV_EBUSY;
  char *early;
  size_t early_len;
  int err = copy_early(ex, &early, &early_len);
  if (err < 0) return err;
  err = dusk__stream_dup(stream, ret_fd);
  if (err < 0) {
    free(early);
    return err;
  }
  res->hijacked = true;
  dusk__ex_note_ended(ex);
  dusk__conn_hijack(dusk__conn_of_ex(ex)); /* releases both */
  *ret_early = early;
  *ret_early_len = early_len;
  return 0;
}
