/* A response becomes bytes: the header is composed in place in the output's
 * gathering buffer, a body goes behind it, small ones copied, large ones by
 * reference. Framing and `Connection` are decided when the header is. */
#include "response.h"

#include "body.h"
#include "chars.h"
#include "connection.h"
#include "h1_parse.h"
#include "status.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
  MAX_FIELDS_BYTES = 32768,
  HEADER_SLACK_BYTES = 256, /* status line, date, and the server's fields */
};

static char *put(char *to, const char *text, size_t len) {
  memcpy(to, text, len);
  return to + len;
}

#define PUT_LITERAL(to, text) put(to, text, sizeof(text) - 1)

static char *put_number(char *to, uint64_t number) {
  char digits[20];
  size_t i = sizeof(digits);
  do {
    digits[--i] = (char)('0' + number % 10);
    number /= 10;
  } while (number > 0);
  return put(to, digits + i, sizeof(digits) - i);
}

static char *put_status_line(char *to, const dusk__exchange_t *ex, int status) {
  bool is_old = ex->h1.version_minor == 0 && ex->stage == DUSK__STAGE_HANDLING;
  if (status == 200 && !is_old) return PUT_LITERAL(to, "HTTP/1.1 200 OK\r\n");
  if (is_old)
    to = PUT_LITERAL(to, "HTTP/1.0 ");
  else
    to = PUT_LITERAL(to, "HTTP/1.1 ");
  to = put_number(to, (uint64_t)status);
  *to++ = ' ';
  const char *phrase = dusk__status_phrase(status);
  if (phrase) {
    to = put(to, phrase, strlen(phrase));
  } else {
    to = PUT_LITERAL(to, "status code ");
    to = put_number(to, (uint64_t)status);
  }
  return PUT_LITERAL(to, "\r\n");
}

/* Whether the framing needs no body, or none is allowed: RFC 9110, 6.4.1. */
static bool forbids_body(int status) {
  return status == 204 || status == 304;
}

/* RFC 9112, 6: how the client will find the end. */
static void decide_framing(dusk__exchange_t *ex, uint64_t length) {
  dusk__response_t *res = &ex->res;
  if (forbids_body(res->status) || ex->h1.is_head) {
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

/* -- Fields ---------------------------------------------------------------- */

/* One of res->fields: "Name: value\r\n". */
typedef struct line {
  char *at;
  size_t len;
  size_t name_len;
} line_t;

/* The one at `at`, an offset; false at their end. */
static bool line_at(const dusk__response_t *res, size_t at, line_t *ret_line) {
  if (at == res->fields_len) return false;
  char *line = res->fields + at;
  size_t left = res->fields_len - at;
  ret_line->at = line;
  ret_line->len = (size_t)((char *)memchr(line, '\n', left) - line) + 1;
  ret_line->name_len = (size_t)((char *)memchr(line, ':', left) - line);
  return true;
}

static bool is_named(const line_t *line, const char *name, size_t name_len) {
  return line->name_len == name_len &&
         strncasecmp(line->at, name, name_len) == 0;
}

/* The value's end in the line: a CR, or a NUL for who has asked. */
static char *value_end(const line_t *line) {
  return line->at + line->len - 2;
}

/* The first of that name. */
static bool find(const dusk__response_t *res, const char *name, size_t name_len,
                 line_t *ret_line) {
  size_t at = 0;
  for (; line_at(res, at, ret_line); at += ret_line->len)
    if (is_named(ret_line, name, name_len)) return true;
  return false;
}

/* Removes those of that name that begin before `end`, an offset. */
static void remove_before(dusk__response_t *res, const char *name,
                          size_t name_len, size_t end) {
  line_t line;
  size_t at = 0;
  while (at < end && line_at(res, at, &line)) {
    if (!is_named(&line, name, name_len)) {
      at += line.len;
      continue;
    }
    res->fields_len -= line.len;
    end -= line.len;
    memmove(line.at, line.at + line.len, res->fields_len - at);
  }
}

/* Values that were given out end like all others again. */
static void unterminate(dusk__response_t *res) {
  line_t line;
  size_t at = 0;
  for (; line_at(res, at, &line); at += line.len)
    *value_end(&line) = '\r';
  res->terminated = false;
}

/* -- Connection ------------------------------------------------------------ */

static const char connection_name[] = "Connection";
enum { CONNECTION_LEN = sizeof(connection_name) - 1 };

/* RFC 9110, 7.6.1: a list of tokens, in any case. Calls `each` for each of the
 * handler's. */
static void for_each_option(const dusk__response_t *res,
                            void (*each)(const char *option, size_t len,
                                         void *arg),
                            void *arg) {
  line_t line;
  for (size_t at = 0; line_at(res, at, &line); at += line.len) {
    if (!is_named(&line, connection_name, CONNECTION_LEN)) continue;
    const char *end = value_end(&line);
    const char *from = line.at + CONNECTION_LEN + 2;
    while (from < end) {
      const char *to = from;
      while (to < end && *to != ',' && *to != ' ' && *to != '\t')
        to++;
      if (to > from) each(from, (size_t)(to - from), arg);
      from = to + 1;
    }
  }
}

static bool is_option(const char *option, size_t len, const char *name) {
  return len == strlen(name) && strncasecmp(option, name, len) == 0;
}

static void note_close(const char *option, size_t len, void *arg) {
  if (is_option(option, len, "close")) *(bool *)arg = true;
}

static void note_keep_alive(const char *option, size_t len, void *arg) {
  if (is_option(option, len, "keep-alive")) *(bool *)arg = true;
}

static void put_other(const char *option, size_t len, void *arg) {
  char **to = arg;
  if (is_option(option, len, "close") || is_option(option, len, "keep-alive"))
    return;
  *to = put(*to, option, len);
  *to = PUT_LITERAL(*to, ", ");
}

static bool handler_says(const dusk__response_t *res,
                         void (*note)(const char *option, size_t len,
                                      void *arg)) {
  bool says = false;
  for_each_option(res, note, &says);
  return says;
}

/* The one field, of what the handler wants said and what will be. */
static char *put_options(char *to, const dusk__exchange_t *ex) {
  const dusk__response_t *res = &ex->res;
  bool keeps = ex->h1.version_minor == 0 || handler_says(res, note_keep_alive);
  char *begin = to;
  char *options = to = PUT_LITERAL(to, "Connection: ");
  for_each_option(res, put_other, &to);
  if (res->close)
    to = PUT_LITERAL(to, "close, ");
  else if (keeps)
    to = PUT_LITERAL(to, "keep-alive, ");
  return to == options ? begin : PUT_LITERAL(to - 2, "\r\n");
}

static char *put_connection(char *to, const dusk__exchange_t *ex) {
  const dusk__response_t *res = &ex->res;
  if (res->has_connection) return put_options(to, ex);
  if (res->close) { /* HTTP/1.0 closes without a word */
    if (ex->h1.version_minor == 1 || res->refused)
      to = PUT_LITERAL(to, "Connection: close\r\n");
  } else if (ex->h1.version_minor == 0) {
    to = PUT_LITERAL(to, "Connection: keep-alive\r\n");
  }
  return to;
}

/* -- Header ---------------------------------------------------------------- */

/* The handler's, but for Connection. */
static char *put_fields(char *to, dusk__response_t *res) {
  line_t line;
  if (res->terminated) unterminate(res);
  for (size_t at = 0; line_at(res, at, &line); at += line.len)
    if (!is_named(&line, connection_name, CONNECTION_LEN))
      to = put(to, line.at, line.len);
  return to;
}

static char *put_framing(char *to, const dusk__exchange_t *ex,
                         uint64_t length) {
  const dusk__response_t *res = &ex->res;
  if (length != DUSK_OFF && !forbids_body(res->status)) {
    to = PUT_LITERAL(to, "Content-Length: ");
    to = put_number(to, length);
    to = PUT_LITERAL(to, "\r\n");
  }
  if (res->framing == DUSK__FRAMED_BY_CHUNKS)
    to = PUT_LITERAL(to, "Transfer-Encoding: chunked\r\n");
  return to;
}

/* Whether the connection ends with this response. */
static bool is_last(dusk__exchange_t *ex) {
  return !ex->h1.keep_alive || dusk__body_leaves_too_much(ex) ||
         ex->wire->requests >= ex->worker->config->max_requests ||
         (ex->res.has_connection && handler_says(&ex->res, note_close)) ||
         dusk__conn_is_last(dusk__conn_of_ex(ex));
}

/* Composes the header; `length` is the body's, DUSK_OFF if not known. */
static int put_header(dusk__exchange_t *ex, uint64_t length) {
  assert(ex->wire && !ex->res.header_sent);
  dusk__response_t *res = &ex->res;
  if (res->status == 0) res->status = dusk__body_status(ex->req.failure);
  if (res->status == 0) res->status = 200;
  if (res->declared_length != DUSK_OFF) length = res->declared_length;
  decide_framing(ex, length);
  res->declared_length = length;
  if (!res->close) res->close = is_last(ex);

  /* Options of Connection are put ", " between for "," at most. */
  size_t fields_len = res->fields_len + res->fields_len / 2;
  char *begin =
      dusk__stream_reserve(&ex->wire->stream, fields_len + HEADER_SLACK_BYTES);
  if (begin == NULL) return UV_ECANCELED;
  char *to = put_status_line(begin, ex, res->status);
  if (!res->has_date) {
    size_t date_len;
    const char *date = dusk__worker_date(ex->worker, &date_len);
    to = put(to, date, date_len);
  }
  if (res->has_connection || res->terminated)
    to = put_fields(to, res);
  else if (res->fields_len > 0)
    to = put(to, res->fields, res->fields_len);
  to = put_framing(to, ex, length);
  to = put_connection(to, ex);
  to = PUT_LITERAL(to, "\r\n");
  assert((size_t)(to - begin) <= fields_len + HEADER_SLACK_BYTES);
  dusk__stream_commit(&ex->wire->stream, (size_t)(to - begin));
  res->header_sent = true;
  return 0;
}

/* One piece of body, framed. */
static int put_body(dusk__exchange_t *ex, const void *data, size_t len,
                    dusk_release_cb *release, void *arg) {
  enum { COPIED_BYTES = DUSK__GATHER_BYTES / 4 };
  dusk__response_t *res = &ex->res;
  dusk__stream_t *stream = &ex->wire->stream;
  bool chunked = res->framing == DUSK__FRAMED_BY_CHUNKS;
  if (chunked) {
    char size[20];
    int digits = snprintf(size, sizeof(size), "%zx\r\n", len);
    dusk__stream_write(stream, size, (size_t)digits);
  }
  const char *tail = chunked ? "\r\n" : "";
  if (*release || len > COPIED_BYTES) {
    dusk__stream_write_ref(stream, data, len, tail, *release, arg);
    *release = NULL;
  } else {
    dusk__stream_write(stream, data, len);
    dusk__stream_write(stream, tail, strlen(tail));
  }
  res->body_bytes += len;
  return dusk__stream_err(stream) == UV_ENOMEM ? UV_ENOMEM
         : dusk__stream_err(stream)            ? UV_ECANCELED
                                               : 0;
}

/* Header, if need be, and body; `last` when the response ends with it. */
static int respond(dusk__exchange_t *ex, const void *data, size_t len,
                   bool last, dusk_release_cb *release, void *arg) {
  dusk__response_t *res = &ex->res;
  if (res->hijacked) return DUSK_EHIJACKED;
  if (ex->wire == NULL || res->ended || res->refused ||
      dusk__stream_err(&ex->wire->stream))
    return UV_ECANCELED;
  if (!res->header_sent) {
    /* What a HEAD response's length would be is only known by its body. */
    uint64_t length = last && (len > 0 || !ex->h1.is_head) ? len : DUSK_OFF;
    int err = put_header(ex, length);
    if (err < 0) return err;
  }
  if (len == 0) return 0;
  if (forbids_body(res->status)) return DUSK_ENOBODY;
  if (res->declared_length != DUSK_OFF &&
      len > res->declared_length - res->body_bytes)
    return DUSK_ELENGTH;
  if (res->framing == DUSK__FRAMED_EMPTY) {
    res->body_bytes += len;
    return 0;
  }
  return put_body(ex, data, len, release, arg);
}

static int write_piece(dusk_response_t *handle, const void *data, size_t len,
                       dusk_release_cb release, void *arg) {
  dusk__exchange_t *ex = dusk__ex_of_response(handle);
  int err = ex ? respond(ex, data, len, false, &release, arg) : UV_ECANCELED;
  if (release) release(arg);
  if (err < 0 || ex->wire == NULL) return err < 0 ? err : UV_ECANCELED;
  dusk__stream_t *stream = &ex->wire->stream;
  dusk__conn_go_on(dusk__conn_of_ex(ex), DUSK__NO_CALLS);
  return dusk__stream_err(stream) ? UV_ECANCELED : stream->queued > 0;
}

/* Lets go: what happens next is the connection's business, if there is one. */
static void let_go(dusk__exchange_t *ex) {
  assert(ex->stage == DUSK__STAGE_HANDLING && !ex->res.ended);
  ex->res.ended = true;
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
  if (res->framing == DUSK__FRAMED_BY_CHUNKS)
    return dusk__stream_write(&ex->wire->stream, "0\r\n\r\n", 5);
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
  if (whole && ex->wire) {
    int framed = finish_framing(ex);
    if (framed < 0) err = framed;
  } else if (!whole && !res->refused) {
    res->aborted = true;
    res->close = true;
  }
  if (err < 0 && res->err == 0 && !res->refused) res->err = err;
  /* That the connection is cut after it is not why. */
  if (res->aborted && ex->wire) ex->cause = &dusk_response_ended;
  let_go(ex);
  return err;
}

/* For data that nobody waits to have back. */
static void keep_for_ever(void *arg) {
  (void)arg;
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

/* -- What a handler sets --------------------------------------------------- */

static int set_status(dusk__response_t *res, int status) {
  if (status < 200 || status > 999) return UV_EINVAL;
  if (res->header_sent) return DUSK_EHEADERSENT;
  res->status = status;
  return 0;
}

int dusk_response_status(dusk_response_t *handle, int status) {
  dusk__exchange_t *ex = dusk__ex_of_response(handle);
  return ex ? set_status(&ex->res, status) : UV_ECANCELED;
}

static bool is_name(const char *name, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (!dusk__is_token_char(name[i])) return false;
  return len > 0;
}

static bool is_value(const char *value, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (!dusk__is_text_char(value[i])) return false;
  return true;
}

static int declare_length(dusk__response_t *res, const char *value) {
  uint64_t length = 0;
  if (*value == '\0') return UV_EINVAL;
  for (; *value; value++) {
    unsigned digit = (unsigned)(*value - '0');
    if (digit > 9 || length > ((uint64_t)INT64_MAX - digit) / 10)
      return UV_EINVAL;
    length = length * 10 + digit;
  }
  res->declared_length = length;
  return 0;
}

/* Makes room for one more line, which the caller fills. */
static int append_line(dusk__response_t *res, size_t len, char **ret_line) {
  size_t need = res->fields_len + len;
  if (need > MAX_FIELDS_BYTES) return UV_ENOBUFS;
  if (need > res->fields_capacity) {
    size_t capacity = need < 256 ? 256 : 2 * need;
    char *larger = realloc(res->fields, capacity);
    if (larger == NULL) return UV_ENOMEM;
    res->fields = larger;
    res->fields_capacity = capacity;
  }
  *ret_line = res->fields + res->fields_len;
  res->fields_len = need;
  return 0;
}

static int append_field(dusk__response_t *res, const char *name,
                        size_t name_len, const char *value, size_t value_len) {
  char *to;
  /* It may be one of our own, which move when there is no room. */
  uintptr_t own = (uintptr_t)value - (uintptr_t)res->fields;
  bool is_own = res->fields && own < res->fields_len;
  int err = append_line(res, name_len + value_len + 4, &to);
  if (err < 0) return err;
  if (is_own) value = res->fields + own;
  to = put(to, name, name_len);
  to = PUT_LITERAL(to, ": ");
  to = put(to, value, value_len);
  PUT_LITERAL(to, "\r\n");
  return 0;
}

static int append_text_type(dusk__response_t *res) {
  static const char line[] = "Content-Type: text/plain; charset=utf-8\r\n";
  char *to;
  int err = append_line(res, sizeof(line) - 1, &to);
  if (err == 0) put(to, line, sizeof(line) - 1);
  return err;
}

int dusk_response_text(dusk_response_t *handle, int status, const char *text) {
  dusk__exchange_t *ex = dusk__ex_of_response(handle);
  if (ex == NULL) return UV_ECANCELED;
  line_t line;
  int err = set_status(&ex->res, status);
  bool has_type = ex->res.fields_len > 0 &&
                  find(&ex->res, "Content-Type", strlen("Content-Type"), &line);
  if (err == 0 && !has_type) err = append_text_type(&ex->res);
  int ended = end(handle, text, strlen(text), NULL, NULL);
  return ended < 0 ? ended : err;
}

/* The few that are the server's business, too. */
typedef enum owned {
  NOT_OWNED,
  OWNED_DATE,
  OWNED_LENGTH,
  OWNED_ENCODING,
  OWNED_CONNECTION,
} owned_t;

static owned_t owner_of(const char *name, size_t len) {
  switch (len) {
  case 4:
    return strcasecmp(name, "date") == 0 ? OWNED_DATE : NOT_OWNED;
  case CONNECTION_LEN:
    return strcasecmp(name, connection_name) == 0 ? OWNED_CONNECTION
                                                  : NOT_OWNED;
  case 14:
    return strcasecmp(name, "content-length") == 0 ? OWNED_LENGTH : NOT_OWNED;
  case 17:
    return strcasecmp(name, "transfer-encoding") == 0 ? OWNED_ENCODING
                                                      : NOT_OWNED;
  default:
    return NOT_OWNED;
  }
}

/* Adds one, in the place of those of its name if it `replaces` them. */
static int add(dusk_response_t *handle, const char *name, const char *value,
               bool replaces) {
  dusk__exchange_t *ex = dusk__ex_of_response(handle);
  if (ex == NULL) return UV_ECANCELED;
  if (name == NULL || value == NULL) return UV_EINVAL;
  dusk__response_t *res = &ex->res;
  size_t len = strlen(name);
  size_t value_len = strlen(value);
  if (!is_name(name, len) || !is_value(value, value_len)) return UV_EINVAL;
  if (res->header_sent) return DUSK_EHEADERSENT;
  owned_t owned = owner_of(name, len);
  if (owned == OWNED_ENCODING) return UV_EINVAL;
  if (owned == OWNED_LENGTH) return declare_length(res, value);
  size_t before = res->fields_len;
  int err = append_field(res, name, len, value, value_len);
  if (err < 0) return err;
  if (owned == OWNED_CONNECTION) res->has_connection = true;
  if (owned == OWNED_DATE) res->has_date = true;
  if (replaces || owned == OWNED_DATE) remove_before(res, name, len, before);
  return 0;
}

int dusk_response_set_header(dusk_response_t *handle, const char *name,
                             const char *value) {
  return add(handle, name, value, true);
}

int dusk_response_add_header(dusk_response_t *handle, const char *name,
                             const char *value) {
  return add(handle, name, value, false);
}

int dusk_response_remove_header(dusk_response_t *handle, const char *name) {
  dusk__exchange_t *ex = dusk__ex_of_response(handle);
  if (ex == NULL) return UV_ECANCELED;
  if (name == NULL) return UV_EINVAL;
  dusk__response_t *res = &ex->res;
  size_t len = strlen(name);
  if (!is_name(name, len)) return UV_EINVAL;
  if (res->header_sent) return DUSK_EHEADERSENT;
  owned_t owned = owner_of(name, len);
  if (owned == OWNED_LENGTH) res->declared_length = DUSK_OFF;
  if (owned == OWNED_CONNECTION) res->has_connection = false;
  if (owned == OWNED_DATE) res->has_date = false;
  remove_before(res, name, len, res->fields_len);
  return 0;
}

const char *dusk_response_get_header(dusk_response_t *handle,
                                     const char *name) {
  dusk__exchange_t *ex = dusk__ex_of_response(handle);
  if (ex == NULL || name == NULL) return NULL;
  dusk__response_t *res = &ex->res;
  size_t len = strlen(name);
  if (owner_of(name, len) == OWNED_LENGTH) {
    if (res->declared_length == DUSK_OFF) return NULL;
    *put_number(ex->length_text, res->declared_length) = '\0';
    return ex->length_text;
  }
  line_t line;
  if (!find(res, name, len, &line)) return NULL;
  *value_end(&line) = '\0';
  res->terminated = true;
  return line.at + len + 2;
}

/* -- The rest of a response's life ----------------------------------------- */

int dusk_response_on_drained(dusk_response_t *handle, dusk_drained_cb cb,
                             void *arg) {
  dusk__exchange_t *ex = dusk__ex_of_response(handle);
  if (cb == NULL) return UV_EINVAL;
  if (ex == NULL || ex->wire == NULL || ex->res.ended) return UV_ECANCELED;
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
  ex->cause = why_given_up(ex);
  ex->res.close = true;
  ex->res.aborted = true;
  if (ex->res.err == 0) ex->res.err = UV_ECANCELED;
}

void dusk_response_abort(dusk_response_t *handle) {
  dusk__exchange_t *ex = dusk__ex_of_response(handle);
  if (ex == NULL || ex->res.ended) return;
  int status = dusk__body_status(ex->req.failure);
  if (status && ex->wire && !ex->res.header_sent)
    dusk__response_refuse(ex, status); /* it was the server that failed it */
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
  int err = dusk__stream_flush(&ex->wire->stream);
  if (err < 0) return err;
  if (ex->wire->stream.queued > 0) return UV_EBUSY;
  char *early;
  size_t early_len;
  err = copy_early(ex, &early, &early_len);
  if (err < 0) return err;
  uv_os_sock_t fd;
  res->hijacked = res->ended = true;
  err = dusk__conn_hijack(dusk__conn_of_ex(ex), &fd); /* releases both */
  if (err < 0) {
    res->hijacked = res->ended = false;
    free(early);
    return err;
  }
  *ret_fd = fd;
  *ret_early = early;
  *ret_early_len = early_len;
  return 0;
}

void dusk__response_refuse(dusk__exchange_t *ex, int status) {
  dusk__response_t *res = &ex->res;
  if (ex->wire == NULL || res->header_sent) return;
  if (status == 408) dusk__ex_timed_out(ex);
  res->status = status;
  res->fields_len = 0;
  res->has_date = res->has_connection = false;
  res->declared_length = DUSK_OFF;
  res->close = true;
  res->refused = true;
  char body[80];
  int len = snprintf(body, sizeof(body), "%d %s\n", status,
                     dusk__status_phrase(status));
  int err = append_text_type(res);
  if (err == 0) err = put_header(ex, (uint64_t)len);
  if (err == 0 && !ex->h1.is_head) {
    dusk__stream_write(&ex->wire->stream, body, (size_t)len);
    res->body_bytes = (uint64_t)len;
  }
  /* Without memory for a reply the connection just closes. */
}
