/* A response's header goes out, composed in place in the stream's gathering
 * buffer; and the server's own replies. */
#include "reply.h"

#include "body.h"
#include "chars.h"

#include <string.h>
#include <time.h>

/* RFC 9112, 6: how the client will find the end. */
static void decide_framing(dusk__exchange_t *ex, uint64_t length) {
  dusk__response_t *res = &ex->res;
  bool is_later = res->framing == DUSK__FRAMED_LATER && length == DUSK_OFF &&
                  ex->h1.version_minor > 0;
  if (dusk__h1_forbids_body(res->status)) {
    res->framing = DUSK__FRAMED_EMPTY;
  } else if (is_later) {
    res->framing = DUSK__FRAMED_LATER;
  } else if (ex->h1.is_head) {
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

/* What it is if nobody sets it. */
static void settle_status(dusk__exchange_t *ex) {
  dusk__response_t *res = &ex->res;
  if (res->status == 0) res->status = dusk__body_status(ex->req.failure);
  if (res->status == 0) res->status = 200;
}

int dusk__reply_head(dusk__exchange_t *ex, uint64_t length) {
  assert(ex->wire && !ex->res.header_sent);
  dusk__response_t *res = &ex->res;
  settle_status(ex);
  if (res->type.text && dusk__reply_has_type(ex))
    res->type = (dusk__h1_type_t){NULL, 0};
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
                          .type = res->type,
                          .has_connection = res->has_connection,
                          .close = res->close,
                          .says_close = res->refused};
  size_t bound = dusk__h1_head_bound(&head);
  if (res->framing == DUSK__FRAMED_LATER)
    bound +=
        DUSK__GATHERED_BODY_BYTES + DUSK__H1_MAX_CHUNK_HEAD; /* behind it */
  char *to = dusk__stream_reserve(&ex->wire->stream, bound);
  if (to == NULL) return UV_ECANCELED;
  size_t len = (size_t)(dusk__h1_put_head(to, &head) - to);
  assert(len <= bound);
  dusk__stream_commit(&ex->wire->stream, len);
  res->header_sent = true;
  if (res->framing == DUSK__FRAMED_LATER) {
    const dusk__gather_t *gather = dusk__stream_hold(&ex->wire->stream);
    res->slot_at = (uint32_t)(head.slot - gather->bytes);
    res->body_at = (uint32_t)gather->len;
  }
  return 0;
}

int dusk__reply_interim(dusk__exchange_t *ex, int status) {
  dusk__h1_head_t head = {.status = status, .fields = &ex->res.fields};
  char *to =
      dusk__stream_reserve(&ex->wire->stream, dusk__h1_head_bound(&head));
  if (to == NULL) return UV_ECANCELED;
  size_t len = (size_t)(dusk__h1_put_interim(to, &head) - to);
  dusk__stream_commit(&ex->wire->stream, len);
  return 0;
}

/* Puts `text` in the place of `len` bytes at `at`. */
static void replace(dusk__gather_t *gather, size_t at, size_t len,
                    const char *text, size_t text_len) {
  char *to = gather->bytes + at;
  assert(gather->len - len + text_len <= DUSK__GATHER_BYTES);
  memmove(to + text_len, to + len, gather->len - at - len);
  memcpy(to, text, text_len);
  gather->len = gather->len - len + text_len;
}

void dusk__reply_frame_by_length(dusk__exchange_t *ex) {
  dusk__response_t *res = &ex->res;
  assert(res->framing == DUSK__FRAMED_LATER);
  dusk__gather_t *gather = dusk__stream_let_go(&ex->wire->stream);
  dusk__h1_put_length_line(gather->bytes + res->slot_at, res->body_bytes);
  res->declared_length = res->body_bytes;
  res->framing = ex->h1.is_head ? DUSK__FRAMED_EMPTY : DUSK__FRAMED_BY_LENGTH;
}

void dusk__reply_frame_by_chunks(dusk__exchange_t *ex) {
  dusk__response_t *res = &ex->res;
  assert(res->framing == DUSK__FRAMED_LATER);
  dusk__gather_t *gather = dusk__stream_let_go(&ex->wire->stream);
  if (ex->h1.is_head) { /* there, neither is said */
    replace(gather, res->slot_at, DUSK__H1_SLOT_BYTES, "", 0);
    res->framing = DUSK__FRAMED_EMPTY;
    return;
  }
  char head[DUSK__H1_MAX_CHUNK_HEAD];
  size_t len = (size_t)(dusk__h1_put_chunk_head(head, res->body_bytes) - head);
  replace(gather, res->body_at, 0, head, len);
  replace(gather, gather->len, 0, DUSK__H1_CHUNK_TAIL,
          sizeof(DUSK__H1_CHUNK_TAIL) - 1);
  res->framing = DUSK__FRAMED_BY_CHUNKS;
}

bool dusk__reply_has_type(const dusk__exchange_t *ex) {
  static const char type[] = "Content-Type";
  const dusk__h1_fields_t *fields = &ex->res.fields;
  return fields->len > 0 && dusk__h1_fields_has(fields, type, sizeof(type) - 1);
}

/* Around a hook that may change what is about to be written: it goes on with
 * the response behind it, so nobody may end that meanwhile. */
static void enter_hook(dusk__exchange_t *ex) {
  ex->callbacks++;
  ex->is_hooked = true;
}

static void leave_hook(dusk__exchange_t *ex) {
  ex->callbacks--;
  ex->is_hooked = false;
}

void dusk__reply_run_hooks(dusk__exchange_t *ex) {
  dusk__response_t *res = &ex->res;
  bool was_ended = res->ended;
  (void)was_ended;
  settle_status(ex);
  enter_hook(ex);
  while (ex->seldom.header_hooks) {
    dusk__header_hook_t hook = *ex->seldom.header_hooks;
    ex->seldom.header_hooks = hook.next;
    hook.cb(dusk__ex_response(ex), hook.arg);
    assert(!res->header_sent && res->ended == was_ended &&
           "a hook of the header has written or ended");
  }
  leave_hook(ex);
}

static bool is_type(const char *type) {
  enum { MAX_BYTES = 256 };
  size_t len = type ? strnlen(type, MAX_BYTES) : 0;
  for (size_t i = 0; i < len; i++)
    if (!dusk__is_text_char(type[i])) return false;
  return len > 0 && len < MAX_BYTES;
}

void dusk__reply_shape(dusk__exchange_t *ex, dusk_error_reply_t *reply) {
  const dusk_server_config_t *config = ex->worker->config;
  dusk__response_t *res = &ex->res;
  int status = reply->status;
  bool was_ended = res->ended;
  (void)was_ended;
  if (config->on_error_reply == NULL || res->shaped) return;
  res->shaped = true; /* what it calls may be an error reply, too */
  res->status = status;
  enter_hook(ex);
  config->on_error_reply(dusk__ex_response(ex), reply,
                         config->on_error_reply_arg);
  leave_hook(ex);
  assert(!res->header_sent && res->ended == was_ended &&
         "on_error_reply has written or ended");
  res->status = status;
  res->declared_length = DUSK_OFF;
  if (!is_type(reply->type)) reply->type = DUSK__TEXT_TYPE;
  if (reply->body == NULL) reply->len = 0;
}

/* As if the handler had set nothing. */
static void reset(dusk__exchange_t *ex, int status) {
  dusk__response_t *res = &ex->res;
  res->status = status;
  res->fields.len = 0;
  res->fields.terminated = false;
  res->has_date = res->has_connection = false;
  res->declared_length = DUSK_OFF;
}

void dusk__reply_refuse(dusk__exchange_t *ex, int status) {
  dusk__response_t *res = &ex->res;
  if (!dusk__ex_is_connected(ex) || res->header_sent) return;
  if (status == 408) dusk__ex_timed_out(ex);
  reset(ex, status);
  char text[DUSK__H1_MAX_STATUS_TEXT];
  size_t len = (size_t)(dusk__h1_put_status_text(text, status) - text);
  text[len] = '\0';
  dusk_error_reply_t reply = {status, DUSK__TEXT_TYPE, text, len};
  dusk__reply_shape(ex, &reply);
  res->type = (dusk__h1_type_t){reply.type, strlen(reply.type)};
  if (dusk__ex_is_connected(ex)) dusk__reply_tell(ex);
  if (!dusk__ex_is_connected(ex) || res->header_sent) return;
  res->declared_length = DUSK_OFF;
  res->close = true;
  res->refused = true;
  int err = dusk__reply_head(ex, reply.len);
  if (err == 0 && res->framing == DUSK__FRAMED_BY_LENGTH) {
    dusk__stream_write(&ex->wire->stream, reply.body, reply.len);
    res->body_bytes = reply.len;
  }
  /* Without memory for a reply the connection just closes. */
}
