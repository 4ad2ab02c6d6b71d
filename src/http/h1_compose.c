/* A header's lines in the order in which they go out: status, Date, the
 * handler's own, framing, Connection. */
#include "h1_compose.h"

#include "status.h"

#include <dusk/context.h>

#include <assert.h>
#include <stdio.h>

/* Status line, Date, framing, type and Connection at most. */
enum { SLACK_BYTES = 320 };

#define PUT_LITERAL(to, text) dusk__h1_put(to, text, sizeof(text) - 1)

char *dusk__h1_put_number(char *to, uint64_t number) {
  char digits[20];
  size_t i = sizeof(digits);
  do {
    digits[--i] = (char)('0' + number % 10);
    number /= 10;
  } while (number > 0);
  return dusk__h1_put(to, digits + i, sizeof(digits) - i);
}

/* -- The first lines ------------------------------------------------------- */

char *dusk__h1_put_date(char *to, time_t at) {
  static const char days[] = "SunMonTueWedThuFriSat";
  static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
  struct tm utc;
  gmtime_r(&at, &utc);
  /* strftime would ask the locale: RFC 9110, 5.6.7 */
  char text[80]; /* the compiler doesn't know how small the numbers are */
  snprintf(text, sizeof(text), "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
           days + 3 * utc.tm_wday, utc.tm_mday, months + 3 * utc.tm_mon,
           (utc.tm_year + 1900) % 10000, utc.tm_hour, utc.tm_min, utc.tm_sec);
  return dusk__h1_put(to, text, DUSK__H1_DATE_TEXT);
}

void dusk__h1_compose_dated(dusk__h1_dated_t *dated,
                            const struct timespec *now) {
  char *to = PUT_LITERAL(dated->text, DUSK__H1_OK_LINE "Date: ");
  to = dusk__h1_put_date(to, now->tv_sec);
  memcpy(to, "\r\n", sizeof("\r\n"));
}

static char *put_phrase(char *to, int status) {
  const char *phrase = dusk__status_phrase(status);
  if (phrase) return dusk__h1_put(to, phrase, strlen(phrase));
  to = PUT_LITERAL(to, "status code ");
  return dusk__h1_put_number(to, (uint64_t)status);
}

static char *put_first_lines(char *to, const dusk__h1_head_t *head) {
  const dusk__h1_dated_t *dated = head->dated;
  if (head->status == 200 && !head->is_old && dated)
    return dusk__h1_put(to, dated->text,
                        DUSK__H1_OK_BYTES + DUSK__H1_DATE_BYTES);
  to = head->is_old ? PUT_LITERAL(to, "HTTP/1.0 ")
                    : PUT_LITERAL(to, "HTTP/1.1 ");
  to = dusk__h1_put_number(to, (uint64_t)head->status);
  *to++ = ' ';
  to = put_phrase(to, head->status);
  to = PUT_LITERAL(to, "\r\n");
  if (dated == NULL) return to;
  return dusk__h1_put(to, dated->text + DUSK__H1_OK_BYTES, DUSK__H1_DATE_BYTES);
}

/* -- Connection ------------------------------------------------------------ */

static const char connection_name[] = "Connection";
enum { CONNECTION_LEN = sizeof(connection_name) - 1 };

static bool is_connection(const dusk__h1_line_t *line) {
  return dusk__h1_line_is(line, connection_name, CONNECTION_LEN);
}

/* RFC 9110, 7.6.1: a list of tokens, in any case. The one at *at or behind it,
 * before `end`; false when there is none. */
static bool next_option(const char **at, const char *end,
                        const char **ret_option, size_t *ret_len) {
  const char *from = *at;
  while (from < end && (*from == ',' || *from == ' ' || *from == '\t'))
    from++;
  const char *to = from;
  while (to < end && *to != ',' && *to != ' ' && *to != '\t')
    to++;
  *ret_option = from;
  *ret_len = (size_t)(to - from);
  *at = to;
  return to > from;
}

static bool is_option(const char *option, size_t len, const char *name) {
  return len == strlen(name) && strncasecmp(option, name, len) == 0;
}

bool dusk__h1_has_option(const dusk__h1_fields_t *fields, const char *name) {
  dusk__h1_line_t line;
  const char *option;
  size_t len;
  for (size_t at = 0; dusk__h1_line_at(fields, at, &line); at += line.len) {
    if (!is_connection(&line)) continue;
    const char *from = line.at + CONNECTION_LEN + 2;
    while (next_option(&from, dusk__h1_value_end(&line), &option, &len))
      if (is_option(option, len, name)) return true;
  }
  return false;
}

/* Those of the handler's that are not for us to say, each with ", ". */
static char *put_others(char *to, const dusk__h1_line_t *line) {
  const char *option;
  size_t len;
  const char *from = line->at + CONNECTION_LEN + 2;
  while (next_option(&from, dusk__h1_value_end(line), &option, &len)) {
    if (is_option(option, len, "close") || is_option(option, len, "keep-alive"))
      continue;
    to = dusk__h1_put(to, option, len);
    to = PUT_LITERAL(to, ", ");
  }
  return to;
}

/* The one field, of what the handler wants said and what will be. */
static char *put_options(char *to, const dusk__h1_head_t *head) {
  const dusk__h1_fields_t *fields = head->fields;
  bool keeps = head->is_old || dusk__h1_has_option(fields, "keep-alive");
  char *begin = to;
  char *options = to = PUT_LITERAL(to, "Connection: ");
  dusk__h1_line_t line;
  for (size_t at = 0; dusk__h1_line_at(fields, at, &line); at += line.len)
    if (is_connection(&line)) to = put_others(to, &line);
  if (head->close)
    to = PUT_LITERAL(to, "close, ");
  else if (keeps)
    to = PUT_LITERAL(to, "keep-alive, ");
  return to == options ? begin : PUT_LITERAL(to - 2, "\r\n");
}

static char *put_connection(char *to, const dusk__h1_head_t *head) {
  if (head->has_connection) return put_options(to, head);
  if (head->close) { /* HTTP/1.0 closes without a word */
    if (!head->is_old || head->says_close)
      to = PUT_LITERAL(to, "Connection: close\r\n");
  } else if (head->is_old) {
    to = PUT_LITERAL(to, "Connection: keep-alive\r\n");
  }
  return to;
}

/* -- The header ------------------------------------------------------------ */

/* RFC 9110, 15.4.5: a 304 says nothing of a body that the client has. */
static bool has_no_type(const dusk__h1_head_t *head) {
  return head->status == 304;
}

static bool is_type(const dusk__h1_line_t *line) {
  static const char name[] = "Content-Type";
  return dusk__h1_line_is(line, name, sizeof(name) - 1);
}

/* The handler's, but for Connection, and for what is not to be said. */
static char *put_fields(char *to, const dusk__h1_head_t *head) {
  dusk__h1_fields_t *fields = head->fields;
  bool no_type = has_no_type(head);
  if (fields->terminated) dusk__h1_fields_unterminate(fields);
  if (!head->has_connection && !no_type)
    return dusk__h1_put(to, fields->text, fields->len);
  dusk__h1_line_t line;
  for (size_t at = 0; dusk__h1_line_at(fields, at, &line); at += line.len)
    if (!is_connection(&line) && !(no_type && is_type(&line)))
      to = dusk__h1_put(to, line.at, line.len);
  return to;
}

void dusk__h1_put_length_line(char *slot, uint64_t length) {
  char digits[20];
  size_t len = (size_t)(dusk__h1_put_number(digits, length) - digits);
  char *end = slot + DUSK__H1_SLOT_BYTES - 2;
  char *to = PUT_LITERAL(slot, "Content-Length:");
  assert(to + len < end);
  memset(to, ' ', (size_t)(end - to) - len);
  memcpy(end - len, digits, len);
}

static char *put_framing(char *to, dusk__h1_head_t *head) {
  if (head->length != DUSK_OFF && !dusk__h1_forbids_body(head->status)) {
    to = PUT_LITERAL(to, "Content-Length: ");
    to = dusk__h1_put_number(to, head->length);
    to = PUT_LITERAL(to, "\r\n");
  }
  head->slot = to;
  if (head->framing == DUSK__FRAMED_BY_CHUNKS ||
      head->framing == DUSK__FRAMED_LATER)
    to = PUT_LITERAL(to, DUSK__H1_CHUNKED_LINE);
  return to;
}

static char *put_type(char *to, dusk__h1_type_t type) {
  to = PUT_LITERAL(to, "Content-Type: ");
  to = dusk__h1_put(to, type.text, type.len);
  return PUT_LITERAL(to, "\r\n");
}

size_t dusk__h1_head_bound(const dusk__h1_head_t *head) {
  /* Options of Connection are put ", " between for "," at most. */
  return head->fields->len + head->fields->len / 2 + head->type.len +
         SLACK_BYTES;
}

char *dusk__h1_put_head(char *to, dusk__h1_head_t *head) {
  assert(head->status >= 200 && head->framing != DUSK__FRAMED_UNDECIDED);
  to = put_first_lines(to, head);
  if (head->fields->len > 0) to = put_fields(to, head);
  if (head->type.text && !has_no_type(head)) to = put_type(to, head->type);
  to = put_framing(to, head);
  to = put_connection(to, head);
  return PUT_LITERAL(to, "\r\n");
}

char *dusk__h1_put_interim(char *to, dusk__h1_head_t *head) {
  to = put_first_lines(to, head);
  head->has_connection = true; /* it is the final one's */
  if (head->fields->len > 0) to = put_fields(to, head);
  return PUT_LITERAL(to, "\r\n");
}

/* -- Bodies ---------------------------------------------------------------- */

char *dusk__h1_put_chunk_head(char *to, size_t len) {
  static const char digits[] = "0123456789abcdef";
  unsigned shift = 0;
  while (shift < 8 * sizeof(len) - 4 && len >> (shift + 4) > 0)
    shift += 4;
  *to++ = digits[len >> shift & 15];
  while (shift > 0)
    *to++ = digits[len >> (shift -= 4) & 15];
  return PUT_LITERAL(to, "\r\n");
}

char *dusk__h1_put_status_text(char *to, int status) {
  to = dusk__h1_put_number(to, (uint64_t)status);
  *to++ = ' ';
  to = put_phrase(to, status);
  *to++ = '\n';
  return to;
}
