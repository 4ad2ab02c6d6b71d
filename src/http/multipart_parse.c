/* A multipart body is text between delimiters, each of which begins with the CR
 * LF before it: CR, which is in no boundary, so that a delimiter which turns
 * out to be none can only begin anew behind it. What was matched of one is not
 * kept but known: it is told from the delimiter itself if it was data.
 *
 * As in Go a line that only begins like a delimiter is data: behind one come
 * blanks, or the "--" of the last one. Stricter than Go: lines end in CR LF,
 * and each part is a form's, with a name. */
#include "multipart_parse.h"

#include "chars.h"

#include <dusk/error.h>

#include <assert.h>

static const char *skip_blanks(const char *at) {
  while (dusk__is_blank(*at))
    at++;
  return at;
}

/* -- Values with parameters ------------------------------------------------ */

/* Where a value goes, with a NUL behind it. */
typedef struct output {
  char *at;
  char *end;
} output_t;

typedef struct parameter {
  const char *name;
  size_t name_len;
  char *value;
} parameter_t;

static bool put(output_t *to, char c) {
  if (to->at == to->end) return false;
  *to->at++ = c;
  return true;
}

/* Go's isTSpecial. Browsers don't escape a backslash, nor did the ones that
 * sent whole paths: before another character it is one. */
static bool is_escapable(char c) {
  return c != '\0' && strchr("()<>@,;:\\\"/[]?=", c) != NULL;
}

static bool take_quoted(const char **at, output_t *to) {
  const char *c = *at + 1;
  for (; *c != '"'; c++) {
    if (*c == '\0') return false;
    bool is_last = c[1] == '"' && c[2] == '\0'; /* that one must end it */
    if (*c == '\\' && is_escapable(c[1]) && !is_last) c++;
    if (!put(to, *c)) return false;
  }
  *at = c + 1;
  return true;
}

/* Unquoted: more than a token, since some boundaries are. */
static bool take_plain(const char **at, output_t *to) {
  const char *begin = *at;
  for (; **at && **at != ';' && !dusk__is_blank(**at); (*at)++)
    if (**at == '"' || !put(to, **at)) return false;
  return *at > begin;
}

/* RFC 9110, 5.6.6: 1 for a parameter, 0 at the end, -1 when it is broken. Its
 * value goes to `to`, which is as it was before. */
static int next_parameter(const char **at, output_t to, parameter_t *ret) {
  do {
    *at = skip_blanks(*at);
    if (**at == '\0') return 0;
    if (*(*at)++ != ';') return -1;
    *at = skip_blanks(*at);
  } while (**at == ';' || **at == '\0');
  ret->name = *at;
  while (dusk__is_token_char(**at))
    (*at)++;
  ret->name_len = (size_t)(*at - ret->name);
  *at = skip_blanks(*at);
  if (ret->name_len == 0 || *(*at)++ != '=') return -1;
  *at = skip_blanks(*at);
  ret->value = to.at;
  bool is_whole = **at == '"' ? take_quoted(at, &to) : take_plain(at, &to);
  return is_whole && put(&to, '\0') ? 1 : -1;
}

static bool is_named(const parameter_t *parameter, const char *name) {
  return parameter->name_len == strlen(name) &&
         strncasecmp(parameter->name, name, parameter->name_len) == 0;
}

/* Whether a value begins with that word; *at is then behind it. */
static bool take_word(const char **at, const char *word) {
  size_t len = strlen(word);
  const char *behind = *at + len;
  if (strncasecmp(*at, word, len) != 0 ||
      (*behind != '\0' && *behind != ';' && !dusk__is_blank(*behind)))
    return false;
  *at = behind;
  return true;
}

/* -- The boundary ---------------------------------------------------------- */

static bool is_boundary(const char *text) {
  size_t len = strlen(text);
  if (len == 0 || len > DUSK__BOUNDARY_BYTES || text[len - 1] == ' ')
    return false;
  for (; *text; text++)
    if (*text < ' ' || *text > '~') return false;
  return true;
}

/* To `buf`, of DUSK__BOUNDARY_BYTES and a NUL. */
static int find_boundary(const char *parameters, char *buf) {
  char value[256];
  parameter_t parameter;
  int found;
  *buf = '\0';
  while ((found = next_parameter(&parameters,
                                 (output_t){value, value + sizeof(value)},
                                 &parameter)) > 0) {
    if (!is_named(&parameter, "boundary")) continue;
    if (*buf || !is_boundary(value)) return DUSK_ENOBOUNDARY;
    memcpy(buf, value, strlen(value) + 1);
  }
  return found == 0 && *buf ? 0 : DUSK_ENOBOUNDARY;
}

int dusk__multipart_init(dusk__multipart_t *parser, const char *content_type) {
  char boundary[DUSK__BOUNDARY_BYTES + 1];
  if (content_type == NULL || !take_word(&content_type, "multipart/form-data"))
    return DUSK_ECONTENTTYPE;
  int err = find_boundary(content_type, boundary);
  if (err < 0) return err;
  size_t len = strlen(boundary);
  memset(parser, 0, sizeof(*parser));
  memcpy(parser->delimiter, "\r\n--", 4);
  memcpy(parser->delimiter + 4, boundary, len);
  memcpy(parser->delimiter + 4 + len, "--", 2);
  parser->delimiter_len = 4 + len;
  parser->matched = parser->implied = 2; /* it may be at the beginning */
  return 0;
}

/* -- A part's header ------------------------------------------------------- */

void dusk__multipart_give_room(dusk__multipart_t *parser, char *room,
                               size_t capacity) {
  assert(capacity > parser->capacity);
  parser->room = room;
  parser->capacity = capacity;
}

const char *dusk__multipart_field(const char *fields, const char *name) {
  while (*fields) {
    const char *value = fields + strlen(fields) + 1;
    if (strcasecmp(fields, name) == 0) return value;
    fields = value + strlen(value) + 1;
  }
  return NULL;
}

/* What WHATWG's HTML has browsers write for a quote and for line ends, and
 * nothing else: '%' is no escape. */
static void decode_form_escapes(char *text) {
  char *to = text;
  while (*text) {
    char c = *text;
    if (strncmp(text, "%22", 3) == 0) c = '"';
    if (strncmp(text, "%0D", 3) == 0) c = '\r';
    if (strncmp(text, "%0A", 3) == 0) c = '\n';
    text += c == *text ? 1 : 3;
    *to++ = c;
  }
  *to = '\0';
}

/* RFC 8187: charset, language, text. *ret_text is NULL if its charset isn't
 * UTF-8, and it is as if it weren't there. False when it is broken. */
static bool decode_extended(char *value, char **ret_text) {
  char *language = strchr(value, '\'');
  char *text = language ? strchr(language + 1, '\'') : NULL;
  if (text == NULL) return false;
  *ret_text = NULL;
  if (language - value != 5 || strncasecmp(value, "utf-8", 5) != 0) return true;
  char *to = *ret_text = ++text;
  while (*text) {
    int c = *text == '%' ? dusk__unescape(text) : (unsigned char)*text;
    if (c <= 0) return false;
    text += *text == '%' ? 3 : 1;
    *to++ = (char)c;
  }
  *to = '\0';
  return true;
}

/* Clients that send both send them for servers that know only the one. */
static bool parse_disposition(dusk__multipart_t *parser, const char *at) {
  output_t to = {parser->room + parser->header_len,
                 parser->room + parser->capacity};
  char *extended = NULL;
  bool has_extended = false;
  parameter_t parameter;
  int found;
  if (!take_word(&at, "form-data")) return false;
  while ((found = next_parameter(&at, to, &parameter)) > 0) {
    char *value = parameter.value;
    size_t len = strlen(value);
    if (is_named(&parameter, "name")) {
      if (parser->name) return false;
      decode_form_escapes(value);
      parser->name = value;
    } else if (is_named(&parameter, "filename")) {
      if (parser->filename) return false;
      decode_form_escapes(value);
      parser->filename = value;
    } else if (is_named(&parameter, "filename*")) {
      if (has_extended || !decode_extended(value, &extended)) return false;
      has_extended = true;
    } else {
      continue;
    }
    to.at += len + 1;
  }
  if (extended) parser->filename = extended;
  return found == 0 && parser->name != NULL;
}

/* RFC 5322, 2.2.3: a line that begins with a blank goes on with the last. */
static void unfold(char *at, const char *end) {
  for (; at + 2 < end; at++)
    if (at[0] == '\r' && dusk__is_blank(at[2])) at[0] = at[1] = ' ';
}

static bool is_field_name(const char *name, const char *end) {
  if (name == end) return false;
  for (; name < end; name++)
    if (!dusk__is_token_char(*name)) return false;
  return true;
}

static char *put_text(char *to, const char *from, const char *end) {
  memmove(to, from, (size_t)(end - from));
  to += end - from;
  *to = '\0';
  return to + 1;
}

/* Makes `fields` of the lines, in their place; an empty line ends them. */
static bool split_fields(dusk__multipart_t *parser) {
  char *to = parser->room;
  const char *from = to;
  const char *end = to + parser->header_len - 2;
  unfold(to, end);
  while (from < end) {
    const char *line_end = memchr(from, '\r', (size_t)(end - from));
    assert(line_end); /* each line has one */
    const char *colon = memchr(from, ':', (size_t)(line_end - from));
    if (colon == NULL || !is_field_name(from, colon)) return false;
    to = put_text(to, from, colon);
    from = colon + 1;
    colon = line_end;
    while (from < colon && dusk__is_blank(*from))
      from++;
    while (colon > from && dusk__is_blank(colon[-1]))
      colon--;
    to = put_text(to, from, colon);
    from = line_end + 2;
  }
  *to = '\0';
  parser->fields = parser->room;
  return true;
}

static bool parse_fields(dusk__multipart_t *parser) {
  static const char name[] = "Content-Disposition";
  parser->name = parser->filename = NULL;
  if (!split_fields(parser)) return false;
  const char *value = dusk__multipart_field(parser->fields, name);
  if (value == NULL) return false;
  const char *others = value + strlen(value) + 1;
  return dusk__multipart_field(others, name) == NULL &&
         parse_disposition(parser, value);
}

/* -- The steps ------------------------------------------------------------- */

static dusk__multipart_verdict_t fail(dusk__multipart_t *parser) {
  parser->state = DUSK__MULTIPART_BROKEN;
  return DUSK__MULTIPART_DEFECT;
}

static dusk__multipart_verdict_t begin_part(dusk__multipart_t *parser) {
  if (!parse_fields(parser)) return fail(parser);
  parser->state = DUSK__MULTIPART_BODY;
  parser->matched = parser->implied = 2; /* it may have no body */
  return DUSK__MULTIPART_PART;
}

static dusk__multipart_verdict_t step_header(dusk__multipart_t *parser,
                                             const char **at, const char *end) {
  while (*at < end) {
    size_t len = parser->header_len;
    if (parser->capacity < 2 * (len + 1)) return DUSK__MULTIPART_ROOM;
    char *header = parser->room;
    char c = **at;
    bool ends_line = len > 0 && header[len - 1] == '\r';
    if (ends_line ? c != '\n' : c != '\r' && !dusk__is_text_char(c))
      return fail(parser);
    (*at)++;
    header[len] = c;
    parser->header_len = ++len;
    if (ends_line && (len == 2 || header[len - 3] == '\n'))
      return begin_part(parser);
  }
  return DUSK__MULTIPART_MORE;
}

static dusk__multipart_verdict_t step_line(dusk__multipart_t *parser,
                                           const char **at) {
  char c = *(*at)++;
  if (parser->state == DUSK__MULTIPART_LINE) {
    if (c == '\r') parser->state = DUSK__MULTIPART_LINE_END;
    return c == '\r' || dusk__is_blank(c) ? DUSK__MULTIPART_MORE : fail(parser);
  }
  if (c != '\n') return fail(parser);
  parser->state = DUSK__MULTIPART_HEADER;
  parser->header_len = 0;
  return DUSK__MULTIPART_MORE;
}

/* A delimiter was one. A form without parts has nothing before it: there were
 * some, with delimiters that are none. */
static dusk__multipart_verdict_t end_part(dusk__multipart_t *parser,
                                          dusk__multipart_state_t next) {
  bool was_part = parser->state == DUSK__MULTIPART_BODY;
  if (!was_part && parser->has_preamble && next == DUSK__MULTIPART_EPILOGUE)
    return fail(parser);
  parser->state = next;
  parser->matched = parser->implied = 0;
  return was_part ? DUSK__MULTIPART_PART_END : DUSK__MULTIPART_MORE;
}

/* What is no delimiter is data. */
static dusk__multipart_verdict_t give(dusk__multipart_t *parser,
                                      const char *data, size_t len) {
  if (len == 0) return DUSK__MULTIPART_MORE;
  parser->data = data;
  parser->data_len = len;
  if (parser->state == DUSK__MULTIPART_BODY) return DUSK__MULTIPART_DATA;
  parser->has_preamble = true;
  return DUSK__MULTIPART_MORE;
}

/* It was none, whatever came of it. */
static dusk__multipart_verdict_t end_match(dusk__multipart_t *parser) {
  size_t implied = parser->implied;
  size_t len = parser->matched - implied;
  parser->matched = parser->implied = 0;
  return give(parser, parser->delimiter + implied, len);
}

/* Goes on with a delimiter that has begun. */
static dusk__multipart_verdict_t step_match(dusk__multipart_t *parser,
                                            const char **at, const char *end) {
  size_t last_len = parser->delimiter_len + 2;
  while (*at < end && parser->matched < last_len &&
         **at == parser->delimiter[parser->matched]) {
    parser->matched++;
    (*at)++;
  }
  if (parser->matched == last_len)
    return end_part(parser, DUSK__MULTIPART_EPILOGUE);
  if (*at == end) return DUSK__MULTIPART_MORE;
  bool is_line = **at == '\r' || dusk__is_blank(**at);
  if (parser->matched == parser->delimiter_len && is_line)
    return end_part(parser, DUSK__MULTIPART_LINE);
  return end_match(parser);
}

/* Where one begins, whole or as far as there are bytes; else `end`. */
static const char *find_delimiter(const dusk__multipart_t *parser,
                                  const char *at, const char *end,
                                  size_t *ret_len) {
  for (; at < end; at++) {
    at = memchr(at, '\r', (size_t)(end - at));
    if (at == NULL) break;
    size_t len = (size_t)(end - at);
    if (len > parser->delimiter_len) len = parser->delimiter_len;
    *ret_len = len;
    if (memcmp(at, parser->delimiter, len) == 0) return at;
  }
  *ret_len = 0;
  return end;
}

static dusk__multipart_verdict_t step_body(dusk__multipart_t *parser,
                                           const char **at, const char *end) {
  const char *from = *at;
  if (parser->matched > 0) return step_match(parser, at, end);
  const char *to = find_delimiter(parser, from, end, &parser->matched);
  *at = to + parser->matched;
  return give(parser, from, (size_t)(to - from));
}

static dusk__multipart_verdict_t step(dusk__multipart_t *parser,
                                      const char **at, const char *end) {
  switch (parser->state) {
  case DUSK__MULTIPART_PREAMBLE:
  case DUSK__MULTIPART_BODY:
    return step_body(parser, at, end);
  case DUSK__MULTIPART_LINE:
  case DUSK__MULTIPART_LINE_END:
    return step_line(parser, at);
  case DUSK__MULTIPART_HEADER:
    return step_header(parser, at, end);
  case DUSK__MULTIPART_EPILOGUE:
    *at = end;
    return DUSK__MULTIPART_MORE;
  default:
    return DUSK__MULTIPART_DEFECT;
  }
}

dusk__multipart_verdict_t dusk__multipart_parse(dusk__multipart_t *parser,
                                                const char **at,
                                                const char *end) {
  dusk__multipart_verdict_t verdict = DUSK__MULTIPART_MORE;
  while (*at < end && verdict == DUSK__MULTIPART_MORE)
    verdict = step(parser, at, end);
  return verdict;
}
