/* A response becomes bytes: the header is composed in place in the output's
 * gathering buffer, a body goes behind it, small ones copied, large ones by
 * reference. Framing and `Connection` are decided when the header is. */
#include "response.h"

#include "body.h"
#include "chars.h"
#include "output.h"
#include "server.h"
#include "status.h"

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
  bool is_old = ex->req.version_minor == 0 && ex->stage == DUSK__STAGE_HANDLING;
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
  dusk_response_t *res = &ex->res;
  if (forbids_body(res->status) || ex->req.is_head) {
    res->framing = DUSK__FRAMED_EMPTY;
  } else if (length != DUSK_OFF) {
    res->framing = DUSK__FRAMED_BY_LENGTH;
  } else if (ex->req.version_minor == 0) {
    res->framing = DUSK__FRAMED_BY_CLOSE;
    res->close = true;
  } else {
    res->framing = DUSK__FRAMED_BY_CHUNKS;
  }
}

static char *put_framing(char *to, const dusk__exchange_t *ex,
                         uint64_t length) {
  const dusk_response_t *res = &ex->res;
  if (length != DUSK_OFF && !forbids_body(res->status)) {
    to = PUT_LITERAL(to, "Content-Length: ");
    to = put_number(to, length);
    to = PUT_LITERAL(to, "\r\n");
  }
  if (res->framing == DUSK__FRAMED_BY_CHUNKS)
    to = PUT_LITERAL(to, "Transfer-Encoding: chunked\r\n");
  if (res->close) {
    if (ex->req.version_minor == 1 || res->refused)
      to = PUT_LITERAL(to, "Connection: close\r\n");
  } else if (ex->req.version_minor == 0) {
    to = PUT_LITERAL(to, "Connection: keep-alive\r\n");
  }
  return PUT_LITERAL(to, "\r\n");
}

/* Composes the header; `length` is the body's, DUSK_OFF if not known. */
static int put_header(dusk__exchange_t *ex, uint64_t length) {
  dusk_response_t *res = &ex->res;
  if (res->status == 0) res->status = dusk__body_status(ex->req.failure);
  if (res->status == 0) res->status = 200;
  if (res->declared_length != DUSK_OFF) length = res->declared_length;
  decide_framing(ex, length);
  res->declared_length = length;
  if (!res->close)
    res->close = !ex->req.keep_alive || dusk__body_leaves_too_much(ex) ||
                 ex->conn->requests >= ex->server->config.max_requests ||
                 dusk__drain_is_last(ex->conn);

  char *begin =
      dusk__output_reserve(ex->conn, res->fields_len + HEADER_SLACK_BYTES);
  if (begin == NULL) return UV_ECANCELED;
  char *to = put_status_line(begin, ex, res->status);
  if (!res->has_date) {
    size_t date_len;
    const char *date = dusk__server_date(ex->server, &date_len);
    to = put(to, date, date_len);
  }
  if (res->fields_len > 0) to = put(to, res->fields, res->fields_len);
  to = put_framing(to, ex, length);
  dusk__output_commit(ex->conn, (size_t)(to - begin));
  res->header_sent = true;
  return 0;
}

/* One piece of body, framed. */
static int put_body(dusk__exchange_t *ex, const void *data, size_t len,
                    dusk_release_cb *release, void *arg) {
  dusk_response_t *res = &ex->res;
  bool chunked = res->framing == DUSK__FRAMED_BY_CHUNKS;
  if (chunked) {
    char size[20];
    int digits = snprintf(size, sizeof(size), "%zx\r\n", len);
    int err = dusk__output_bytes(ex->conn, size, (size_t)digits);
    if (err < 0) return err;
  }
  int err;
  if (*release) {
    err = dusk__output_ref(ex->conn, data, len, *release, arg);
    *release = NULL;
    if (ex->conn == NULL) return UV_ECANCELED;
  } else {
    err = dusk__output_bytes(ex->conn, data, len);
  }
  if (err < 0) return err;
  res->body_bytes += len;
  return chunked ? dusk__output_bytes(ex->conn, "\r\n", 2) : 0;
}

/* Header, if need be, and body; `last` when the response ends with it. */
static int respond(dusk_response_t *res, const void *data, size_t len,
                   bool last, dusk_release_cb *release, void *arg) {
  dusk__exchange_t *ex = dusk__ex_of_response(res);
  if (res->hijacked) return DUSK_EHIJACKED;
  if (ex->conn == NULL || res->ended) return UV_ECANCELED;
  if (!res->header_sent) {
    /* What a HEAD response's length would be is only known by its body. */
    uint64_t length = last && (len > 0 || !ex->req.is_head) ? len : DUSK_OFF;
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

static int write_piece(dusk_response_t *res, const void *data, size_t len,
                       dusk_release_cb release, void *arg) {
  dusk__exchange_t *ex = dusk__ex_of_response(res);
  int err = respond(res, data, len, false, &release, arg);
  if (release) release(arg);
  if (err < 0 || ex->conn == NULL) return err < 0 ? err : UV_ECANCELED;
  dusk__conn_t *conn = ex->conn;
  dusk__conn_advance(conn);
  if (ex->conn == NULL) return UV_ECANCELED;
  return conn->queued_writes > 0;
}

/* Lets go: what happens next is the connection's business, if there is one. */
static void let_go(dusk__exchange_t *ex) {
  ex->res.ended = true;
  ex->res.drained_cb = NULL;
  dusk__body_drop(ex);
  dusk__ex_end_contexts(ex, &dusk_response_ended);
  if (ex->conn)
    dusk__conn_advance(ex->conn);
  else
    dusk__ex_release(ex);
}

static int finish_framing(dusk__exchange_t *ex) {
  dusk_response_t *res = &ex->res;
  if (res->framing == DUSK__FRAMED_BY_CHUNKS)
    return dusk__output_bytes(ex->conn, "0\r\n\r\n", 5);
  if (res->framing == DUSK__FRAMED_BY_LENGTH &&
      res->body_bytes < res->declared_length) {
    res->close = true;
    res->aborted = true;
    return DUSK_ELENGTH;
  }
  return 0;
}

static int end(dusk_response_t *res, const void *data, size_t len,
               dusk_release_cb release, void *arg) {
  dusk__exchange_t *ex = dusk__ex_of_response(res);
  if (res->ended) {
    if (release) release(arg);
    return res->hijacked ? DUSK_EHIJACKED : UV_ECANCELED;
  }
  int err = respond(res, data, len, true, &release, arg);
  if (release) release(arg);
  bool whole = err == 0 || err == DUSK_ENOBODY;
  if (whole && ex->conn) {
    int framed = finish_framing(ex);
    if (framed < 0) err = framed;
  } else if (!whole) {
    res->aborted = true;
    res->close = true;
  }
  if (err < 0 && res->err == 0) res->err = err;
  let_go(ex);
  return err;
}

int dusk_response_write(dusk_response_t *res, const void *data, size_t len) {
  return write_piece(res, data, len, NULL, NULL);
}

int dusk_response_write_ref(dusk_response_t *res, const void *data, size_t len,
                            dusk_release_cb release, void *arg) {
  return release ? write_piece(res, data, len, release, arg) : UV_EINVAL;
}

int dusk_response_end(dusk_response_t *res, const void *data, size_t len) {
  return end(res, data, len, NULL, NULL);
}

int dusk_response_end_ref(dusk_response_t *res, const void *data, size_t len,
                          dusk_release_cb release, void *arg) {
  return release ? end(res, data, len, release, arg) : UV_EINVAL;
}

int dusk_response_status(dusk_response_t *res, int status) {
  if (status < 200 || status > 999) return UV_EINVAL;
  if (res->header_sent) return UV_EALREADY;
  res->status = status;
  return 0;
}

static bool is_name(const char *name, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (!dusk__is_token_char(name[i])) return false;
  return len > 0;
}

static bool is_value(const char *value, size_t len) {
  for (size_t i = 0; i < len; i++) {
    unsigned char c = (unsigned char)value[i];
    if ((c < ' ' && c != '\t') || c == 127) return false;
  }
  return true;
}

static int declare_length(dusk_response_t *res, const char *value) {
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

static int append_field(dusk_response_t *res, const char *name, size_t name_len,
                        const char *value, size_t value_len) {
  size_t need = res->fields_len + name_len + value_len + 4;
  if (need > MAX_FIELDS_BYTES) return UV_ENOBUFS;
  if (need > res->fields_capacity) {
    size_t capacity = need < 256 ? 256 : 2 * need;
    char *larger = realloc(res->fields, capacity);
    if (larger == NULL) return UV_ENOMEM;
    res->fields = larger;
    res->fields_capacity = capacity;
  }
  char *to = res->fields + res->fields_len;
  to = put(to, name, name_len);
  to = PUT_LITERAL(to, ": ");
  to = put(to, value, value_len);
  PUT_LITERAL(to, "\r\n");
  res->fields_len = need;
  return 0;
}

static int append_text_type(dusk_response_t *res) {
  static const char name[] = "Content-Type";
  static const char type[] = "text/plain; charset=utf-8";
  return append_field(res, name, sizeof(name) - 1, type, sizeof(type) - 1);
}

int dusk_response_text(dusk_response_t *res, int status, const char *text) {
  int err = dusk_response_status(res, status);
  if (err == 0) err = append_text_type(res);
  int ended = dusk_response_end(res, text, strlen(text));
  return err < 0 ? err : ended;
}

int dusk_response_header(dusk_response_t *res, const char *name,
                         const char *value) {
  if (name == NULL || value == NULL) return UV_EINVAL;
  size_t name_len = strlen(name);
  size_t value_len = strlen(value);
  if (!is_name(name, name_len) || !is_value(value, value_len)) return UV_EINVAL;
  if (res->header_sent) return UV_EALREADY;
  switch (name_len) { /* the few that are the server's business, too */
  case 4:
    if (strcasecmp(name, "date") == 0) res->has_date = true;
    break;
  case 10:
    if (strcasecmp(name, "connection") == 0 &&
        dusk__has_token(value, "close")) {
      res->close = true;
      if (strcasecmp(value, "close") == 0) return 0; /* said by the server */
    }
    break;
  case 14:
    if (strcasecmp(name, "content-length") == 0)
      return declare_length(res, value);
    break;
  case 17:
    if (strcasecmp(name, "transfer-encoding") == 0) return UV_EINVAL;
    break;
  default:
    break;
  }
  return append_field(res, name, name_len, value, value_len);
}

int dusk_response_on_drained(dusk_response_t *res, dusk_drained_cb cb,
                             void *arg) {
  dusk__exchange_t *ex = dusk__ex_of_response(res);
  if (cb == NULL) return UV_EINVAL;
  if (ex->conn == NULL || res->ended) return UV_ECANCELED;
  if (res->drained_cb) return UV_EBUSY;
  res->drained_cb = cb;
  res->drained_arg = arg;
  dusk__server_defer(ex->server, ex);
  return 0;
}

void dusk_response_abort(dusk_response_t *res) {
  dusk__exchange_t *ex = dusk__ex_of_response(res);
  if (res->ended) return;
  res->close = true;
  res->aborted = true;
  if (res->err == 0) res->err = UV_ECANCELED;
  let_go(ex);
}

/* What the client has sent beyond this request's header and body. */
static int copy_early(const dusk__exchange_t *ex, char **ret_early,
                      size_t *ret_len) {
  size_t len = ex->filled - ex->parsed;
  char *early = malloc(len + 1);
  if (early == NULL) return UV_ENOMEM;
  memcpy(early, ex->buffer + ex->parsed, len);
  *ret_early = early;
  *ret_len = len;
  return 0;
}

int dusk_response_hijack(dusk_response_t *res, uv_os_sock_t *ret_fd,
                         char **ret_early, size_t *ret_early_len) {
  dusk__exchange_t *ex = dusk__ex_of_response(res);
  if (ret_fd == NULL || ret_early == NULL || ret_early_len == NULL)
    return UV_EINVAL;
  if (res->hijacked) return DUSK_EHIJACKED;
  if (ex->conn == NULL || res->ended) return UV_ECANCELED;
  if (ex->parsing) return UV_EBUSY; /* what is early is not known yet */
  int err = dusk__output_flush(ex->conn);
  if (err < 0) return err;
  if (ex->conn->queued_writes > 0) return UV_EBUSY;
  char *early;
  size_t early_len;
  err = copy_early(ex, &early, &early_len);
  if (err < 0) return err;
  uv_os_sock_t fd;
  res->hijacked = res->ended = true;
  err = dusk__conn_hijack(ex->conn, &fd); /* releases both */
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
  dusk_response_t *res = &ex->res;
  if (ex->conn == NULL || res->header_sent) return;
  res->status = status;
  res->fields_len = 0;
  res->has_date = false;
  res->declared_length = DUSK_OFF;
  res->close = true;
  res->refused = true;
  char body[80];
  int len = snprintf(body, sizeof(body), "%d %s\n", status,
                     dusk__status_phrase(status));
  int err = append_text_type(res);
  if (err == 0) err = put_header(ex, (uint64_t)len);
  if (err == 0 && !ex->req.is_head) {
    dusk__output_bytes(ex->conn, body, (size_t)len);
    res->body_bytes = (uint64_t)len;
  }
  /* Without memory for a reply the connection just closes. */
}
