#include "replies.h"

#include "chars.h"

#include <strings.h>

typedef struct reading {
  const char *at;
  const char *end;
  bool is_cut; /* the end may come anywhere */
  char *told;
  size_t len;
  size_t size;
} reading_t;

/* What is told of one reply's header. */
typedef struct head {
  int status;
  uint64_t length; /* UINT64_MAX: not said */
  bool is_chunked;
  bool is_old; /* HTTP/1.0 */
  bool closes;
  bool keeps;
  int dates;
} head_t;

static void tell(reading_t *reading, const char *text, size_t len) {
  if (len > reading->size - reading->len) len = reading->size - reading->len;
  memcpy(reading->told + reading->len, text, len);
  reading->len += len;
}

/* The next line without its CR LF; NULL where the bytes end before it does,
 * which they may only if they were cut. */
static const char *take_line(reading_t *reading, size_t *ret_len) {
  const char *line = reading->at;
  size_t left = (size_t)(reading->end - line);
  const char *end = memmem(line, left, "\r\n", 2);
  HOLDS(end || reading->is_cut);
  if (end == NULL) return NULL;
  *ret_len = (size_t)(end - line);
  HOLDS(memchr(line, '\r', *ret_len) == NULL);
  HOLDS(memchr(line, '\n', *ret_len) == NULL);
  HOLDS(memchr(line, '\0', *ret_len) == NULL);
  reading->at = end + 2;
  return line;
}

/* Up to `len` bytes of a body; false if they end before. */
static bool take_body(reading_t *reading, uint64_t len) {
  uint64_t left = (uint64_t)(reading->end - reading->at);
  HOLDS(len <= left || reading->is_cut);
  uint64_t taken = len < left ? len : left;
  tell(reading, reading->at, (size_t)taken);
  reading->at += taken;
  return len <= left;
}

static uint64_t number_of(const char *text, size_t len, int base) {
  char digits[24];
  char *end;
  HOLDS(len > 0 && len < sizeof(digits));
  memcpy(digits, text, len);
  digits[len] = '\0';
  HOLDS(dusk__hex(*digits) >= 0);
  uint64_t number = strtoull(digits, &end, base);
  HOLDS(*end == '\0');
  return number;
}

static bool is_field(const char *line, size_t name_len, const char *name) {
  return strlen(name) == name_len && strncasecmp(line, name, name_len) == 0;
}

/* A list's, between commas and blanks. */
static bool has_option(const char *list, size_t len, const char *option) {
  bool has_it = false;
  char *text = fuzz_text(list, len);
  char *rest = NULL;
  for (char *at = strtok_r(text, ", \t", &rest); at;
       at = strtok_r(NULL, ", \t", &rest))
    has_it |= strcasecmp(at, option) == 0;
  free(text);
  return has_it;
}

static void read_field(reading_t *reading, const char *line, size_t len,
                       head_t *head) {
  const char *colon = memchr(line, ':', len);
  HOLDS(colon != NULL && colon > line && colon + 1 < line + len);
  HOLDS(colon[1] == ' ');
  size_t name_len = (size_t)(colon - line);
  const char *value = colon + 2;
  while (*value == ' ') /* more of them are allowed, too */
    value++;
  size_t value_len = (size_t)(line + len - value);
  for (size_t i = 0; i < name_len; i++)
    HOLDS(dusk__is_token_char(line[i]));
  for (size_t i = 0; i < value_len; i++)
    HOLDS(dusk__is_text_char(value[i]));
  if (is_field(line, name_len, "Content-Length")) {
    HOLDS(head->length == UINT64_MAX);
    head->length = number_of(value, value_len, 10);
  } else if (is_field(line, name_len, "Transfer-Encoding")) {
    HOLDS(!head->is_chunked && value_len == 7);
    HOLDS(memcmp(value, "chunked", 7) == 0);
    head->is_chunked = true;
  } else if (is_field(line, name_len, "Date")) {
    head->dates++;
  } else {
    if (is_field(line, name_len, "Location"))
      for (size_t i = 0; i < value_len; i++)
        HOLDS(value[i] > ' ' && value[i] < 127);
    if (is_field(line, name_len, "Connection")) {
      head->closes |= has_option(value, value_len, "close");
      head->keeps |= has_option(value, value_len, "keep-alive");
    }
    tell(reading, line, len);
    tell(reading, "\n", 1);
  }
}

static bool read_head(reading_t *reading, head_t *head) {
  size_t len;
  size_t before = reading->len;
  const char *line = take_line(reading, &len);
  *head = (head_t){.length = UINT64_MAX};
  if (line == NULL) return false;
  HOLDS(len > 13 && memcmp(line, "HTTP/1.", 7) == 0);
  HOLDS((line[7] == '0' || line[7] == '1') && line[8] == ' ' &&
        line[12] == ' ');
  head->is_old = line[7] == '0';
  head->status = (int)number_of(line + 9, 3, 10);
  tell(reading, line, len);
  tell(reading, "\n", 1);
  for (;;) {
    line = take_line(reading, &len);
    if (line == NULL) return false;
    if (len == 0) break;
    read_field(reading, line, len, head);
  }
  HOLDS(head->length == UINT64_MAX || !head->is_chunked);
  HOLDS(!head->is_old || !head->is_chunked);
  HOLDS(!head->keeps || !head->closes);
  head->closes |= head->is_old && !head->keeps;
  if (head->status >= 200) return true;
  /* Whether a client was asked to go on depends on how its body came. */
  HOLDS(head->length == UINT64_MAX && !head->is_chunked && !head->closes);
  if (head->status == 100) reading->len = before;
  return true;
}

static bool read_chunks(reading_t *reading) {
  for (;;) {
    size_t len;
    const char *line = take_line(reading, &len);
    if (line == NULL) return false;
    uint64_t size = number_of(line, len, 16);
    if (!take_body(reading, size)) return false;
    line = take_line(reading, &len);
    if (line == NULL) return false;
    HOLDS(len == 0);
    if (size == 0) return true;
  }
}

static bool read_body(reading_t *reading, const head_t *head, bool is_head) {
  if (is_head || head->status == 204 || head->status == 304) return true;
  if (head->is_chunked) return read_chunks(reading);
  if (head->length != UINT64_MAX) return take_body(reading, head->length);
  HOLDS(head->closes);
  return take_body(reading, (uint64_t)(reading->end - reading->at));
}

/* A header is refused where its first defect is found, which may be before all
 * of it has come: of several it depends on that which one is told. */
static bool is_refusal(const head_t *head) {
  static const int statuses[] = {400, 414, 417, 431, 501, 505};
  for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++)
    if (head->closes && head->status == statuses[i]) return true;
  return false;
}

/* With the interim ones before it; false if nothing can follow. */
static bool read_reply(reading_t *reading, const asked_t *asked) {
  head_t head;
  size_t before = reading->len;
  do {
    if (!read_head(reading, &head)) return false;
  } while (head.status < 200);
  HOLDS(head.status == asked->status && head.dates == 1);
  if (!read_body(reading, &head, asked->is_head)) return false;
  if (is_refusal(&head)) {
    reading->len = before;
    tell(reading, "refused", 7);
  }
  tell(reading, "\n.\n", 3);
  return !head.closes;
}

/* What precedes a reply that hasn't come; false if not all of it came. */
static bool read_interim(reading_t *reading) {
  head_t head;
  if (!read_head(reading, &head)) return false;
  HOLDS(head.status < 200);
  return true;
}

size_t replies_read(const char *bytes, size_t len, const asked_t *asked,
                    size_t count, bool is_cut, char *told, size_t size) {
  reading_t reading = {.at = bytes,
                       .end = bytes + len,
                       .is_cut = is_cut,
                       .told = told,
                       .size = size};
  bool goes_on = true;
  for (size_t i = 0; i < count; i++) {
    if (asked[i].status == 0) continue; /* it has got none */
    HOLDS(goes_on || reading.is_cut);
    if (!goes_on) break;
    if (!asked[i].is_whole) reading.is_cut = true;
    goes_on = read_reply(&reading, &asked[i]);
  }
  /* To the last one, which went away, something may have been sent, too. */
  while (goes_on && reading.at < reading.end)
    goes_on = read_interim(&reading);
  HOLDS(reading.at == reading.end || reading.is_cut);
  return reading.len;
}
