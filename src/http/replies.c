/* Whole responses in one call, of what a handler could do by the calls of
 * response.h as well. */
#include "chars.h"
#include "path.h"
#include "reply.h"
#include "request.h"
#include "status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { FORMATTED_BYTES = 1024 };

#define PUT_LITERAL(to, text) dusk__h1_put(to, text, sizeof(text) - 1)

static const dusk__h1_type_t text_type = {DUSK__TEXT_TYPE,
                                          sizeof(DUSK__TEXT_TYPE) - 1};
static const dusk__h1_type_t no_type = {NULL, 0};

/* Sets what precedes the body: 0, or what is wrong and told at the end. */
static int begin(dusk__exchange_t *ex, int status, dusk__h1_type_t type) {
  bool is_status = status >= 200 && status <= 999;
  assert(is_status && "a status that is none");
  if (ex->res.header_sent) return DUSK_EHEADERSENT;
  ex->res.status = is_status ? status : 500;
  ex->res.type = type;
  return is_status ? 0 : UV_EINVAL;
}

static int reply(dusk_response_t *handle, int status, dusk__h1_type_t type,
                 const char *body, size_t len) {
  dusk__exchange_t *ex = dusk__ex_of_response(handle);
  if (ex == NULL) return UV_ECANCELED;
  int err = ex->res.ended ? 0 : begin(ex, status, type);
  int ended = dusk_response_end(handle, body, len);
  return ended < 0 ? ended : err;
}

static int give_up(dusk_response_t *res, int err) {
  dusk_response_abort(res);
  return err;
}

static int reply_text(dusk_response_t *res, int status, dusk__h1_type_t type,
                      const char *text) {
  if (text == NULL) return give_up(res, UV_EINVAL);
  return reply(res, status, type, text, strlen(text));
}

int dusk_response_text(dusk_response_t *res, int status, const char *text) {
  return reply_text(res, status, text_type, text);
}

int dusk_response_json(dusk_response_t *res, int status, const char *text) {
  return reply_text(res, status, DUSK__H1_TYPE("application/json"), text);
}

DUSK_PRINTF(3, 0)
static int format_large(dusk_response_t *res, int status, const char *format,
                        va_list args, size_t len) {
  dusk__exchange_t *ex = dusk__ex_of_response(res);
  char *text = ex ? dusk__arena_alloc(&ex->arena, len + 1) : NULL;
  if (text == NULL) return give_up(res, ex ? UV_ENOMEM : UV_ECANCELED);
  vsnprintf(text, len + 1, format, args);
  return reply(res, status, text_type, text, len);
}

int dusk_response_printf(dusk_response_t *res, int status, const char *format,
                         ...) {
  char text[FORMATTED_BYTES];
  va_list args;
  va_start(args, format);
  int len = vsnprintf(text, sizeof(text), format, args);
  va_end(args);
  if (len < 0) return give_up(res, UV_EINVAL);
  if ((size_t)len < sizeof(text))
    return reply(res, status, text_type, text, (size_t)len);
  va_start(args, format);
  int err = format_large(res, status, format, args, (size_t)len);
  va_end(args);
  return err;
}

/* -- Errors ---------------------------------------------------------------- */

/* The text with a line end, or that of the status; NULL when memory ran out. */
static const char *error_text(dusk__exchange_t *ex, int status,
                              const char *text) {
  size_t len = text ? strlen(text) : 0;
  char *line = dusk__arena_alloc(&ex->arena, len + DUSK__H1_MAX_STATUS_TEXT);
  if (line == NULL) return NULL;
  char *to = text ? dusk__h1_put(line, text, len)
                  : dusk__h1_put_status_text(line, status) - 1;
  memcpy(to, "\n", 2);
  return line;
}

int dusk_response_error(dusk_response_t *res, int status, const char *text) {
  dusk__exchange_t *ex = dusk__ex_of_response(res);
  if (ex == NULL) return UV_ECANCELED;
  if (ex->res.ended || ex->res.header_sent)
    return reply(res, status, no_type, "", 0);
  const char *line = error_text(ex, status, text);
  if (line == NULL) return give_up(res, UV_ENOMEM);
  dusk_response_remove_header(res, "Content-Type");
  dusk_response_remove_header(res, "Content-Length");
  int err = dusk_response_set_header(res, "X-Content-Type-Options", "nosniff");
  if (err < 0) return give_up(res, err);
  dusk_error_reply_t shaped = {
      .status = status, .type = DUSK__TEXT_TYPE, line, strlen(line)};
  dusk__reply_shape(ex, &shaped);
  dusk__h1_type_t type = {shaped.type, strlen(shaped.type)};
  return reply(res, status, type, shaped.body, shaped.len);
}

int dusk_response_not_found(dusk_response_t *res) {
  return dusk_response_error(res, 404, "404 page not found");
}

/* -- Redirects ------------------------------------------------------------- */

static bool has_scheme(const char *location) {
  if (((*location | 32) < 'a') || ((*location | 32) > 'z')) return false;
  location += strspn(location, "abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");
  return *location == ':';
}

/* What RFC 9110, 10.2.2 doesn't allow as it is, and what is done with it: a
 * backslash is a slash to browsers, and control bytes are nothing. */
static char *put_escaped(char *to, const char *text, size_t len) {
  static const char digits[] = "0123456789ABCDEF";
  for (size_t i = 0; i < len; i++) {
    unsigned char c = (unsigned char)text[i];
    if (c > ' ' && c < 127 && c != '\\') {
      *to++ = (char)c;
      continue;
    }
    *to++ = '%';
    *to++ = digits[c >> 4];
    *to++ = digits[c & 15];
  }
  return to;
}

/* The path that a path, relative to the request's, leads to; to memory of four
 * times both. */
static char *put_resolved(char *to, dusk__exchange_t *ex, const char *path,
                          size_t len) {
  size_t base_len;
  const char *base = dusk__request_path_span(ex, &base_len);
  while (base_len > 0 && base[base_len - 1] != '/')
    base_len--;
  if (base_len == 0) base = "/", base_len = 1; /* of "*" */
  if (*path == '/') base_len = 0;
  size_t whole_len = base_len + len;
  char *whole = to + 3 * whole_len + 3; /* escaping triples */
  memcpy(to, base, base_len);
  memcpy(to + base_len, path, len);
  return put_escaped(to, whole, dusk__path_clean(to, whole_len, whole));
}

/* NULL when memory ran out. */
static const char *location_of(dusk__exchange_t *ex, const char *location) {
  size_t base_len;
  dusk__request_path_span(ex, &base_len);
  size_t len = strlen(location);
  size_t path_len = strcspn(location, "?#");
  char *text = dusk__arena_alloc(&ex->arena, 4 * (base_len + len + 2));
  if (text == NULL) return NULL;
  char *to = text;
  if (has_scheme(location))
    path_len = 0;
  else
    to = put_resolved(to, ex, location, path_len);
  *put_escaped(to, location + path_len, len - path_len) = '\0';
  return text;
}

/* <a href="LOCATION">Found</a>., as Go has it. */
static int put_link(dusk_response_t *res, int status, const char *location) {
  dusk__exchange_t *ex = dusk__ex_of_response(res);
  const char *known = dusk__status_phrase(status);
  const char *phrase = known ? known : "there";
  size_t size = 6 * strlen(location) + 128;
  char *link = dusk__arena_alloc(&ex->arena, size);
  if (link == NULL) return give_up(res, UV_ENOMEM);
  char *to = PUT_LITERAL(link, "<a href=\"");
  for (; *location; location++) {
    const char *entity = *location == '&'    ? "&amp;"
                         : *location == '<'  ? "&lt;"
                         : *location == '>'  ? "&gt;"
                         : *location == '"'  ? "&#34;"
                         : *location == '\'' ? "&#39;"
                                             : NULL;
    if (entity)
      to = dusk__h1_put(to, entity, strlen(entity));
    else
      *to++ = *location;
  }
  to = PUT_LITERAL(to, "\">");
  to = dusk__h1_put(to, phrase, strlen(phrase));
  to = PUT_LITERAL(to, "</a>.\n");
  return reply(res, status, DUSK__H1_TYPE("text/html; charset=utf-8"), link,
               (size_t)(to - link));
}

int dusk_response_redirect(dusk_response_t *res, int status,
                           const char *location) {
  dusk__exchange_t *ex = dusk__ex_of_response(res);
  if (ex == NULL) return UV_ECANCELED;
  if (ex->res.ended || ex->res.header_sent)
    return reply(res, status, no_type, "", 0);
  if (location == NULL) return give_up(res, UV_EINVAL);
  location = location_of(ex, location);
  if (location == NULL) return give_up(res, UV_ENOMEM);
  int err = dusk_response_set_header(res, "Location", location);
  if (err < 0) return give_up(res, err);
  bool has_link = (ex->h1.is_head || ex->h1.parser.method == HTTP_GET) &&
                  !dusk__reply_has_type(ex);
  if (has_link) return put_link(res, status, location);
  return reply(res, status, no_type, NULL, 0);
}
