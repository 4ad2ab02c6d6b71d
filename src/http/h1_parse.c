/* llhttp's callbacks note where a message's parts lie in the input; nothing is
 * copied. llhttp is paused wherever there is something to be told: at the end
 * of a header with a body to come, behind each piece of a chunked body, and at
 * the end of a message. So nobody is called below it, and who does not call
 * again holds the body back: the buffer fills, and reading stops. Of a body of
 * known length llhttp sees nothing: there is nothing to parse in it. */
#include "h1_parse.h"

#include "chars.h"
#include "list.h"
#include "strict.h"

#include <dusk/context.h>
#include <dusk/error.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum {
  FIRST_BYTES = 16384, /* of input */
  FIRST_FIELDS = 32,
  BODY_BYTES = 65536, /* behind a header, for a body that needs as much */
  BODY_ROOM = 4096,   /* and at least */
  MAX_FRAMING_BYTES = 16384, /* of chunks, beyond what is allowed a byte */
  FRAMING_BYTES_A_BYTE = 18, /* as in Go: 16 a chunk, and twice the data */
};

/* -- llhttp's callbacks ---------------------------------------------------- */

static dusk__h1_t *message(llhttp_t *parser) {
  return DUSK__OWNER(parser, dusk__h1_t, parser);
}

static uint32_t offset(const dusk__h1_t *h1, const char *at) {
  return (uint32_t)(at - (h1->buffer + h1->start));
}

/* Begins a part, or extends one that comes in pieces. False when a piece does
 * not follow the last one. */
static bool note(uint32_t *start, uint32_t *len, uint32_t at, size_t more) {
  if (*len == 0) *start = at;
  if (*start + *len != at) return false;
  *len += (uint32_t)more;
  return true;
}

/* `status` is for a header, `err` for what follows it. */
static int fail(dusk__h1_t *h1, int status, int err) {
  h1->defect = h1->has_header ? err : status;
  return -1;
}

static int on_url(llhttp_t *parser, const char *at, size_t len) {
  dusk__h1_t *h1 = message(parser);
  if (note(&h1->target, &h1->target_len, offset(h1, at), len)) return 0;
  return fail(h1, 400, 0);
}

static bool grow_fields(dusk__h1_t *h1) {
  size_t capacity = h1->field_capacity * 2;
  dusk__field_t *fields = realloc(h1->fields, capacity * sizeof(*fields));
  if (fields == NULL) return false;
  h1->fields = fields;
  h1->field_capacity = capacity;
  return true;
}

static int on_header_field(llhttp_t *parser, const char *at, size_t len) {
  dusk__h1_t *h1 = message(parser);
  uint32_t here = offset(h1, at);
  if (h1->field_count > 0) {
    dusk__field_t *last = &h1->fields[h1->field_count - 1];
    if (last->value_len == 0 && last->name + last->name_len == here) {
      last->name_len += (uint32_t)len;
      return 0;
    }
  }
  if (h1->field_count >= h1->limits.header_count)
    return fail(h1, 431, DUSK_EBADBODY);
  if (h1->field_count == h1->field_capacity && !grow_fields(h1))
    return fail(h1, 503, UV_ENOMEM);
  h1->fields[h1->field_count++] =
      (dusk__field_t){.name = here, .name_len = (uint32_t)len};
  return 0;
}

static int on_header_value(llhttp_t *parser, const char *at, size_t len) {
  dusk__h1_t *h1 = message(parser);
  if (h1->field_count == 0) return fail(h1, 400, DUSK_EBADBODY);
  dusk__field_t *field = &h1->fields[h1->field_count - 1];
  if (note(&field->value, &field->value_len, offset(h1, at), len)) return 0;
  return fail(h1, 400, DUSK_EBADBODY); /* folded: RFC 9112, 5.2 */
}

static int on_headers_complete(llhttp_t *parser) {
  dusk__h1_t *h1 = message(parser);
  int refusal = dusk__strict_request(h1);
  if (refusal) return fail(h1, refusal, 0);
  /* No protocol is switched to here; a handler that wants to hijacks. */
  parser->upgrade = 0;
  h1->trailer_first = h1->field_count;
  bool chunked = (parser->flags & F_CHUNKED) != 0;
  h1->content_length = chunked ? DUSK_OFF : parser->content_length;
  if (!chunked && h1->content_length > INT64_MAX) /* DUSK_OFF is one */
    return fail(h1, 400, 0);
  h1->max_body_bytes = h1->limits.body_bytes;
  h1->has_header = true;
  return h1->content_length == 0 ? 0 /* complete at once */ : HPE_PAUSED;
}

static int on_extension(llhttp_t *parser, const char *at, size_t len) {
  dusk__h1_t *h1 = message(parser);
  h1->extension = dusk__strict_extension(h1->extension, at, len);
  return h1->extension == DUSK__EXTENSION_BAD ? fail(h1, 400, DUSK_EBADBODY)
                                              : 0;
}

static int on_extension_name_complete(llhttp_t *parser) {
  dusk__h1_t *h1 = message(parser);
  dusk__extension_t name = h1->extension;
  h1->extension = DUSK__EXTENSION_EMPTY;
  return name == DUSK__EXTENSION_TOKEN ? 0 : fail(h1, 400, DUSK_EBADBODY);
}

static int on_extension_value_complete(llhttp_t *parser) {
  if (message(parser)->extension != DUSK__EXTENSION_QUOTED)
    return on_extension_name_complete(parser);
  message(parser)->extension = DUSK__EXTENSION_EMPTY;
  return 0;
}

static int on_chunk_header(llhttp_t *parser) {
  if (parser->content_length == 0) message(parser)->in_trailer = true;
  return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t len) {
  dusk__h1_t *h1 = message(parser);
  h1->body_received += len;
  if (h1->body_received > h1->max_body_bytes)
    return fail(h1, 0, DUSK_EBODYTOOLARGE);
  h1->piece = at;
  h1->piece_len = len;
  return HPE_PAUSED;
}

static int on_message_complete(llhttp_t *parser) {
  message(parser)->complete = true;
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
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* -- One step -------------------------------------------------------------- */

/* What llhttp itself found wrong, as a status. */
static int refusal_of(const dusk__h1_t *h1, llhttp_errno_t err) {
  const char *line = dusk__h1_at(h1, 0);
  size_t len = h1->filled - h1->start;
  switch (err) {
  case HPE_INVALID_METHOD:
    return dusk__strict_bad_method(line, len);
  case HPE_INVALID_VERSION:
  case HPE_PAUSED_H2_UPGRADE:
    return dusk__strict_bad_version(line, len);
  case HPE_INVALID_TRANSFER_ENCODING: /* also one beside a Content-Length */
    return h1->parser.flags & F_CONTENT_LENGTH ? 400 : 501;
  case HPE_INVALID_CONSTANT: /* also RTSP's methods in HTTP */
    return dusk__strict_is_http(line, len) ? 501 : 400;
  default:
    return 400;
  }
}

/* Its size against the limit: 0, 414 or 431. */
static int header_too_large(const dusk__h1_t *h1) {
  uint64_t limit = h1->limits.header_bytes;
  if (h1->parsed - h1->start <= limit) return 0;
  bool has_line = memchr(dusk__h1_at(h1, 0), '\n', (size_t)limit) != NULL;
  return has_line ? 431 : 414;
}

/* Endless chunk extensions would be a body that never gets larger. */
static bool has_too_much_framing(const dusk__h1_t *h1) {
  uint64_t framing = h1->body_consumed - h1->body_received;
  return framing > MAX_FRAMING_BYTES + FRAMING_BYTES_A_BYTE * h1->body_received;
}

/* Its fields one a line, and an empty line, which ends in CR LF. */
static bool trailer_is_strict(dusk__h1_t *h1) {
  if (h1->field_count > h1->trailer_first)
    return dusk__strict_fields(h1, h1->fields[h1->trailer_first].name,
                               h1->trailer_first) == 0;
  const char *end = h1->buffer + h1->parsed;
  return h1->parsed >= 2 && end[-2] == '\r' && end[-1] == '\n';
}

static llhttp_errno_t execute(dusk__h1_t *h1) {
  const char *from = h1->buffer + h1->parsed;
  h1->piece_len = 0;
  llhttp_errno_t err = llhttp_execute(&h1->parser, from, dusk__h1_unparsed(h1));
  const char *to = err == HPE_OK ? NULL : llhttp_get_error_pos(&h1->parser);
  size_t parsed = to ? (size_t)(to - h1->buffer) : h1->filled;
  assert(parsed >= h1->parsed && parsed <= h1->filled);
  h1->parsed = parsed;
  if (err == HPE_PAUSED) llhttp_resume(&h1->parser);
  return err == HPE_PAUSED ? HPE_OK : err;
}

static dusk__h1_verdict_t parse_header(dusk__h1_t *h1) {
  llhttp_errno_t err = execute(h1);
  if (err != HPE_OK && h1->defect == 0) h1->defect = refusal_of(h1, err);
  if (h1->defect == 0) h1->defect = header_too_large(h1);
  if (h1->defect) {
    h1->has_header = false;
    return DUSK__H1_DEFECT;
  }
  h1->body_at = h1->parsed;
  return h1->has_header ? DUSK__H1_HEADER : DUSK__H1_MORE;
}

static dusk__h1_verdict_t parse_counted(dusk__h1_t *h1) {
  uint64_t left = h1->content_length - h1->body_received;
  size_t len = dusk__h1_unparsed(h1);
  if (left < len) len = (size_t)left;
  h1->piece = h1->buffer + h1->parsed;
  h1->piece_len = len;
  h1->parsed += len;
  h1->body_received += len;
  h1->complete = left == 0;
  if (h1->complete) return DUSK__H1_COMPLETE;
  return len > 0 ? DUSK__H1_PIECE : DUSK__H1_MORE;
}

static dusk__h1_verdict_t parse_chunked(dusk__h1_t *h1) {
  size_t before = h1->parsed;
  llhttp_errno_t err = execute(h1);
  h1->body_consumed += h1->parsed - before;
  bool is_bad = err != HPE_OK || has_too_much_framing(h1) ||
                (h1->complete && h1->in_trailer && !trailer_is_strict(h1));
  if (is_bad && h1->defect == 0) h1->defect = DUSK_EBADBODY;
  if (h1->defect) {
    h1->complete = false;
    return DUSK__H1_DEFECT;
  }
  if (h1->complete) return DUSK__H1_COMPLETE;
  return h1->piece_len > 0 ? DUSK__H1_PIECE : DUSK__H1_MORE;
}

void dusk__h1_leave(dusk__h1_t *h1, size_t len) {
  assert(len <= h1->piece_len && h1->piece_left == 0 && !h1->complete);
  h1->piece_left = len;
}

static dusk__h1_verdict_t parse_left(dusk__h1_t *h1) {
  h1->piece += h1->piece_len - h1->piece_left;
  h1->piece_len = h1->piece_left;
  h1->piece_left = 0;
  return DUSK__H1_PIECE;
}

dusk__h1_verdict_t dusk__h1_parse(dusk__h1_t *h1) {
  assert(h1->defect == 0 && !h1->complete);
  if (h1->piece_left > 0) return parse_left(h1);
  if (!h1->has_header) return parse_header(h1);
  return h1->content_length == DUSK_OFF ? parse_chunked(h1) : parse_counted(h1);
}

/* -- From message to message ----------------------------------------------- */

void dusk__h1_init(dusk__h1_t *h1, const dusk__h1_limits_t *limits) {
  h1->limits = *limits;
  dusk__h1_clear(h1);
}

void dusk__h1_start(dusk__h1_t *h1) {
  h1->start = h1->parsed = h1->filled = h1->body_at = 0;
  llhttp_init(&h1->parser, HTTP_REQUEST, &settings);
}

void dusk__h1_clear(dusk__h1_t *h1) {
  enum { KEPT_BYTES = offsetof(dusk__h1_t, target) };
  memset((char *)h1 + KEPT_BYTES, 0, sizeof(*h1) - KEPT_BYTES);
  h1->host_field = -1;
  h1->version_minor = -1;
}

void dusk__h1_next_message(dusk__h1_t *h1) {
  assert(h1->complete);
  /* llhttp hasn't seen the end of a body of known length, and takes a trailer's
   * fields for the connection's. */
  if (h1->content_length != 0)
    llhttp_init(&h1->parser, HTTP_REQUEST, &settings);
  dusk__h1_clear(h1);
  h1->start = h1->parsed;
}

bool dusk__h1_begin(dusk__h1_t *h1) {
  while (h1->start < h1->filled && dusk__is_line_end(h1->buffer[h1->start]))
    h1->start++;
  h1->parsed = h1->start;
  return h1->start < h1->filled;
}

/* -- Input ----------------------------------------------------------------- */

bool dusk__h1_make_buffers(dusk__h1_t *h1) {
  h1->buffer = malloc(FIRST_BYTES);
  h1->fields = malloc(FIRST_FIELDS * sizeof(*h1->fields));
  h1->capacity = FIRST_BYTES;
  h1->field_capacity = FIRST_FIELDS;
  if (h1->buffer && h1->fields) return true;
  dusk__h1_free_buffers(h1);
  return false;
}

void dusk__h1_free_buffers(dusk__h1_t *h1) {
  free(h1->buffer);
  free(h1->fields);
  h1->buffer = NULL;
  h1->fields = NULL;
  h1->capacity = h1->field_capacity = 0;
}

static bool resize(dusk__h1_t *h1, size_t capacity) {
  char *buffer = realloc(h1->buffer, capacity);
  if (buffer == NULL) return false;
  h1->buffer = buffer;
  h1->capacity = capacity;
  return true;
}

bool dusk__h1_trim_buffers(dusk__h1_t *h1) {
  return h1->capacity <= FIRST_BYTES || resize(h1, FIRST_BYTES);
}

/* Where what must stay whole begins: the rest of a piece, or what of a trailer
 * was parsed. */
static size_t kept_from(const dusk__h1_t *h1) {
  if (h1->piece_left > 0)
    return (size_t)(h1->piece - h1->buffer) + h1->piece_len - h1->piece_left;
  if (h1->field_count > h1->trailer_first)
    return h1->start + h1->fields[h1->trailer_first].name;
  return h1->parsed - h1->in_trailer; /* its end is looked at again */
}

/* While a handler has pointers into the header, only the room behind it may be
 * used anew. */
static bool move_body(dusk__h1_t *h1) {
  assert(h1->body_at <= h1->parsed && h1->parsed <= h1->filled);
  size_t keep = kept_from(h1);
  if (!h1->complete && keep > h1->body_at &&
      (keep == h1->filled || h1->filled == h1->capacity)) {
    size_t shift = keep - h1->body_at;
    memmove(h1->buffer + h1->body_at, h1->buffer + keep, h1->filled - keep);
    h1->parsed -= shift;
    h1->filled -= shift;
    if (h1->piece_left > 0) h1->piece -= shift;
    for (size_t i = h1->trailer_first; i < h1->field_count; i++) {
      h1->fields[i].name -= (uint32_t)shift;
      h1->fields[i].value -= (uint32_t)shift;
    }
  }
  return h1->filled < h1->capacity;
}

bool dusk__h1_make_room(dusk__h1_t *h1) {
  assert(h1->start <= h1->parsed && h1->filled <= h1->capacity);
  if (h1->has_header) return move_body(h1);
  if (h1->start > 0 && h1->filled == h1->capacity) {
    memmove(h1->buffer, h1->buffer + h1->start, h1->filled - h1->start);
    h1->parsed -= h1->start;
    h1->filled -= h1->start;
    h1->start = 0;
  }
  if (h1->filled < h1->capacity) return true;
  /* It grows only for a header that is not complete, never for what waits
   * behind the answer of the last request. */
  return h1->parsed == h1->filled && resize(h1, h1->capacity * 2);
}

bool dusk__h1_make_body_room(dusk__h1_t *h1) {
  size_t room = h1->capacity - h1->body_at;
  assert(h1->has_header && h1->parsed == h1->body_at);
  if (h1->complete || h1->content_length <= room || room >= BODY_BYTES)
    return true;
  return resize(h1, h1->body_at + BODY_BYTES) || room >= BODY_ROOM;
}

/* -- What is left ---------------------------------------------------------- */

uint64_t dusk__h1_own_bytes(const dusk__h1_t *h1) {
  static const char last_chunk[] = "\r\n0\r\n\r\n";
  if (h1->complete) return 0;
  if (h1->content_length == DUSK_OFF) return sizeof(last_chunk) - 1;
  return h1->content_length - h1->body_received;
}
