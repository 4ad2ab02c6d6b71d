/* llhttp's callbacks note where a message's parts lie in the exchange's buffer;
 * nothing is copied. llhttp is paused at the end of a header with a body to
 * come, and at the end of a message: handlers never run below it, except those
 * that get body bytes. */
#include "parser.h"

#include "strict.h"

#include <assert.h>
#include <stdlib.h>

enum {
  MAX_DROPPED_BYTES = 262144,
  MAX_FRAMING_BYTES = 16384, /* of chunks, beyond what is allowed a byte */
  FRAMING_BYTES_A_BYTE = 18, /* as in Go: 16 a chunk, and twice the data */
};

static dusk__exchange_t *exchange(llhttp_t *parser) {
  return parser->data;
}

static uint32_t offset(const dusk__exchange_t *ex, const char *at) {
  return (uint32_t)(at - (ex->buffer + ex->start));
}

/* Begins a part, or extends one that comes in pieces. False when a piece does
 * not follow the last one. */
static bool note(uint32_t *start, uint32_t *len, uint32_t at, size_t more) {
  if (*len == 0) *start = at;
  if (*start + *len != at) return false;
  *len += (uint32_t)more;
  return true;
}

/* `refusal` is for a header, `failure` for what follows it. */
static int fail(dusk__exchange_t *ex, int refusal, int failure) {
  if (ex->stage == DUSK__STAGE_HEADER)
    ex->refusal = refusal;
  else
    ex->req.failure = failure;
  return -1;
}

static int on_url(llhttp_t *parser, const char *at, size_t len) {
  dusk__exchange_t *ex = exchange(parser);
  if (note(&ex->req.target, &ex->req.target_len, offset(ex, at), len)) return 0;
  return fail(ex, 400, 0);
}

static bool grow_fields(dusk__request_t *req) {
  size_t capacity = req->field_capacity * 2;
  dusk__field_t *fields = realloc(req->fields, capacity * sizeof(*fields));
  if (fields == NULL) return false;
  req->fields = fields;
  req->field_capacity = capacity;
  return true;
}

static int on_header_field(llhttp_t *parser, const char *at, size_t len) {
  dusk__exchange_t *ex = exchange(parser);
  dusk__request_t *req = &ex->req;
  uint32_t here = offset(ex, at);
  if (req->field_count > 0) {
    dusk__field_t *last = &req->fields[req->field_count - 1];
    if (last->value_len == 0 && last->name + last->name_len == here) {
      last->name_len += (uint32_t)len;
      return 0;
    }
  }
  if (req->field_count >= ex->worker->config->max_header_count)
    return fail(ex, 431, DUSK_EBADBODY);
  if (req->field_count == req->field_capacity && !grow_fields(req))
    return fail(ex, 503, UV_ENOMEM);
  req->fields[req->field_count++] =
      (dusk__field_t){.name = here, .name_len = (uint32_t)len};
  return 0;
}

static int on_header_value(llhttp_t *parser, const char *at, size_t len) {
  dusk__exchange_t *ex = exchange(parser);
  if (ex->req.field_count == 0) return fail(ex, 400, DUSK_EBADBODY);
  dusk__field_t *field = &ex->req.fields[ex->req.field_count - 1];
  if (note(&field->value, &field->value_len, offset(ex, at), len)) return 0;
  return fail(ex, 400, DUSK_EBADBODY); /* folded: RFC 9112, 5.2 */
}

static int on_headers_complete(llhttp_t *parser) {
  dusk__exchange_t *ex = exchange(parser);
  dusk__request_t *req = &ex->req;
  int refusal = dusk__strict_request(ex);
  if (refusal) return fail(ex, refusal, 0);
  /* No protocol is switched to here; a handler that wants to hijacks. */
  parser->upgrade = 0;
  req->trailer_first = req->field_count;
  bool chunked = (parser->flags & F_CHUNKED) != 0;
  req->content_length = chunked ? DUSK_OFF : parser->content_length;
  if (!chunked && req->content_length > INT64_MAX) /* DUSK_OFF is one */
    return fail(ex, 400, 0);
  if (!chunked && req->content_length > ex->worker->config->max_body_bytes)
    return fail(ex, 413, 0);
  ex->stage = DUSK__STAGE_READY;
  if (req->content_length == 0) return 0; /* complete at once */
  req->body = DUSK__BODY_UNASKED;
  return HPE_PAUSED;
}

static int on_extension(llhttp_t *parser, const char *at, size_t len) {
  dusk__exchange_t *ex = exchange(parser);
  ex->req.extension = dusk__strict_extension(ex->req.extension, at, len);
  return ex->req.extension == DUSK__EXTENSION_BAD ? fail(ex, 400, DUSK_EBADBODY)
                                                  : 0;
}

static int on_extension_name_complete(llhttp_t *parser) {
  dusk__exchange_t *ex = exchange(parser);
  dusk__extension_t name = ex->req.extension;
  ex->req.extension = DUSK__EXTENSION_EMPTY;
  return name == DUSK__EXTENSION_TOKEN ? 0 : fail(ex, 400, DUSK_EBADBODY);
}

static int on_extension_value_complete(llhttp_t *parser) {
  if (exchange(parser)->req.extension != DUSK__EXTENSION_QUOTED)
    return on_extension_name_complete(parser);
  exchange(parser)->req.extension = DUSK__EXTENSION_EMPTY;
  return 0;
}

static int on_chunk_header(llhttp_t *parser) {
  dusk__exchange_t *ex = exchange(parser);
  if (parser->content_length == 0) ex->req.in_trailer = true;
  return 0;
}

static int on_chunk_complete(llhttp_t *parser) {
  return exchange(parser)->req.body == DUSK__BODY_PAUSED ? HPE_PAUSED : 0;
}

/* Everything before `to` has been parsed. */
static void consume(dusk__exchange_t *ex, const char *to) {
  size_t parsed = (size_t)(to - ex->buffer);
  size_t consumed = parsed - ex->parsed;
  assert(parsed >= ex->parsed && parsed <= ex->filled);
  ex->parsed = parsed;
  if (ex->stage == DUSK__STAGE_HANDLING) ex->req.body_consumed += consumed;
}

static int on_body(llhttp_t *parser, const char *at, size_t len) {
  dusk__exchange_t *ex = exchange(parser);
  dusk__request_t *req = &ex->req;
  req->body_received += len;
  consume(ex, at + len);
  if (req->body_received > ex->worker->config->max_body_bytes)
    return fail(ex, 0, DUSK_EBODYTOOLARGE);
  if (req->body == DUSK__BODY_FLOWING || req->body == DUSK__BODY_PAUSED) {
    req->body_cb(dusk__ex_request(ex), (ssize_t)len, at, req->body_arg);
    if (req->failure) return -1;
  } else {
    req->body_dropped += len;
    if (req->body_dropped > MAX_DROPPED_BYTES)
      return fail(ex, 0, DUSK_EBODYTOOLARGE);
  }
  return 0;
}

static int on_message_complete(llhttp_t *parser) {
  exchange(parser)->req.complete = true;
  return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_chunk_extension_name = on_extension,
    .on_chunk_extension_name_complete = on_extension_name_complete,
    .on_chunk_extension_value = on_extension,
    .on_chunk_extension_value_complete = on_extension_value_complete,
    .on_chunk_header = on_chunk_header,
    .on_chunk_complete = on_chunk_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

void dusk__parser_start(dusk__exchange_t *ex) {
  llhttp_init(&ex->parser, HTTP_REQUEST, &settings);
  ex->parser.data = ex;
}

/* What llhttp itself found wrong, as a status. */
static int refusal_of(const dusk__exchange_t *ex, llhttp_errno_t err) {
  const char *line = ex->buffer + ex->start;
  size_t len = ex->filled - ex->start;
  switch (err) {
  case HPE_INVALID_METHOD:
    return dusk__strict_bad_method(line, len);
  case HPE_INVALID_VERSION:
  case HPE_PAUSED_H2_UPGRADE:
    return dusk__strict_bad_version(line, len);
  case HPE_INVALID_TRANSFER_ENCODING: /* also one beside a Content-Length */
    return ex->parser.flags & F_CONTENT_LENGTH ? 400 : 501;
  case HPE_INVALID_CONSTANT: /* also RTSP's methods in HTTP */
    return dusk__strict_is_http(line, len) ? 501 : 400;
  default:
    return 400;
  }
}

/* Endless chunk extensions would be a body that never gets larger. */
static void limit_framing(dusk__exchange_t *ex) {
  dusk__request_t *req = &ex->req;
  uint64_t framing = req->body_consumed - req->body_received;
  if (framing > MAX_FRAMING_BYTES + FRAMING_BYTES_A_BYTE * req->body_received &&
      req->failure == 0)
    req->failure = DUSK_EBADBODY;
}

/* Its fields one a line, and an empty line, which ends in CR LF. */
static bool trailer_is_strict(dusk__exchange_t *ex) {
  dusk__request_t *req = &ex->req;
  if (req->field_count > req->trailer_first)
    return dusk__strict_fields(ex, req->fields[req->trailer_first].name,
                               req->trailer_first) == 0;
  const char *end = ex->buffer + ex->parsed;
  return ex->parsed >= 2 && end[-2] == '\r' && end[-1] == '\n';
}

void dusk__parser_run(dusk__exchange_t *ex) {
  const char *from = ex->buffer + ex->parsed;
  assert(!ex->parsing && ex->refusal == 0 && ex->req.failure == 0);
  ex->parsing = true;
  llhttp_errno_t err =
      llhttp_execute(&ex->parser, from, ex->filled - ex->parsed);
  ex->parsing = false;
  const char *to = err == HPE_OK ? NULL : llhttp_get_error_pos(&ex->parser);
  consume(ex, to ? to : ex->buffer + ex->filled);
  if (ex->stage == DUSK__STAGE_HANDLING) limit_framing(ex);
  if (err == HPE_OK) return;
  if (err == HPE_PAUSED) {
    llhttp_resume(&ex->parser);
  } else if (ex->stage == DUSK__STAGE_HANDLING) {
    if (ex->req.failure == 0) ex->req.failure = DUSK_EBADBODY;
  } else if (ex->refusal == 0) {
    ex->refusal = refusal_of(ex, err);
    ex->stage = DUSK__STAGE_HEADER;
  }
  if (ex->req.complete && ex->req.in_trailer && !trailer_is_strict(ex))
    ex->req.failure = DUSK_EBADBODY;
}
