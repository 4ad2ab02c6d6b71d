/* Forms' bytes. The input is a Content-Type, a line end, and a body: what is
 * told of it is the same in whatever pieces it comes. And as parts (pieces of
 * the input) of a form that is written as browsers do, all of it comes back. */
#include "fuzz.h"
#include "multipart_parse.h"

#include <dusk/error.h>

enum { MAX_BYTES = 8192, MAX_HEADER = 2048, PARTS = 3 };

/* What is told, as text: the parts' names between controls, then their data. */
typedef struct feed {
  dusk__multipart_t parser;
  char told[8 * MAX_BYTES];
  size_t len;
  char *room;
  size_t capacity;
  bool is_broken;
  bool is_in_part;
} feed_t;

static void put(feed_t *feed, const char *text, size_t len) {
  HOLDS(feed->len + len <= sizeof(feed->told));
  memcpy(feed->told + feed->len, text, len);
  feed->len += len;
}

static void put_text(feed_t *feed, char mark, const char *text) {
  put(feed, &mark, 1);
  if (text) put(feed, text, strlen(text) + 1);
}

/* Of its exact size, so that a sanitizer sees a byte too far. */
static void give_room(feed_t *feed) {
  size_t capacity = feed->capacity * 2 + 16;
  if (feed->parser.header_len > MAX_HEADER) {
    feed->is_broken = true;
    return;
  }
  char *room = malloc(capacity);
  HOLDS(room != NULL);
  memcpy(room, feed->room ? feed->room : "", feed->capacity);
  free(feed->room);
  feed->room = room;
  feed->capacity = capacity;
  dusk__multipart_give_room(&feed->parser, room, capacity);
}

/* Its fields can be gone through, and have what it is told by. */
static void begin_part(feed_t *feed) {
  const dusk__multipart_t *parser = &feed->parser;
  HOLDS(!feed->is_in_part && parser->name != NULL);
  HOLDS(dusk__multipart_field(parser->fields, "CONTENT-disposition") != NULL);
  for (const char *at = parser->fields; *at;) {
    const char *value = at + strlen(at) + 1;
    HOLDS(strpbrk(at, "\r\n: ") == NULL && strpbrk(value, "\r\n") == NULL);
    HOLDS(value < feed->room + feed->capacity);
    put_text(feed, 'f', at);
    put_text(feed, ':', value);
    at = value + strlen(value) + 1;
  }
  put_text(feed, '{', parser->name);
  put_text(feed, '|', parser->filename);
  feed->is_in_part = true;
}

static void tell(feed_t *feed, dusk__multipart_verdict_t verdict) {
  dusk__multipart_t *parser = &feed->parser;
  switch (verdict) {
  case DUSK__MULTIPART_ROOM:
    give_room(feed);
    break;
  case DUSK__MULTIPART_PART:
    begin_part(feed);
    break;
  case DUSK__MULTIPART_DATA:
    HOLDS(feed->is_in_part && parser->data_len > 0);
    put(feed, parser->data, parser->data_len);
    break;
  case DUSK__MULTIPART_PART_END:
    HOLDS(feed->is_in_part);
    feed->is_in_part = false;
    put_text(feed, '}', NULL);
    break;
  case DUSK__MULTIPART_DEFECT:
    feed->is_broken = true;
    break;
  case DUSK__MULTIPART_MORE:
    break;
  }
}

static void feed_piece(feed_t *feed, const char *text, size_t len) {
  char *copy = fuzz_copy(text, len);
  const char *at = copy;
  while (at < copy + len && !feed->is_broken) {
    const char *before = at;
    dusk__multipart_verdict_t verdict =
        dusk__multipart_parse(&feed->parser, &at, copy + len);
    HOLDS(at >= before && at <= copy + len);
    HOLDS(verdict != DUSK__MULTIPART_MORE || at == copy + len);
    tell(feed, verdict);
  }
  free(copy);
}

/* In pieces of `size` bytes, or, with 0, of all sizes in turn. */
static void feed_all(feed_t *feed, const char *type, const char *body,
                     size_t len, size_t size) {
  feed->len = feed->capacity = 0;
  feed->room = NULL;
  feed->is_broken = feed->is_in_part = false;
  HOLDS(dusk__multipart_init(&feed->parser, type) == 0);
  size_t piece = size ? size : 1;
  for (size_t at = 0; at < len && !feed->is_broken; at += piece) {
    if (size == 0 && at > 0) piece = piece % 23 + 1;
    feed_piece(feed, body + at, len - at < piece ? len - at : piece);
  }
  bool is_whole = dusk__multipart_is_whole(&feed->parser) && !feed->is_broken;
  HOLDS(!is_whole || !feed->is_in_part);
  put_text(feed, is_whole ? '.' : '!', NULL);
  free(feed->room);
}

static void check_pieces(const char *type, const char *body, size_t len) {
  static const size_t sizes[] = {1, 2, 3, 7, 64, 0};
  static feed_t whole;
  static feed_t other;
  dusk__multipart_t parser;
  int err = dusk__multipart_init(&parser, type);
  HOLDS(err == 0 || err == DUSK_ECONTENTTYPE || err == DUSK_ENOBOUNDARY);
  if (err < 0) return;
  feed_all(&whole, type, body, len, len ? len : 1);
  for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
    feed_all(&other, type, body, len, sizes[i]);
    HOLDS(other.len == whole.len);
    HOLDS(memcmp(other.told, whole.told, whole.len) == 0);
  }
}

/* -- Written as WHATWG's HTML has it --------------------------------------- */

#define BOUNDARY "----dusk"
#define FORM_TYPE "multipart/form-data; boundary=" BOUNDARY

typedef struct text {
  char bytes[8 * MAX_BYTES];
  size_t len;
} text_t;

static void add(text_t *text, const char *bytes, size_t len) {
  memcpy(text->bytes + text->len, bytes, len);
  text->len += len;
}

static void add_text(text_t *text, const char *more) {
  add(text, more, strlen(more));
}

/* As a name, which has no other controls; what is then read is in *ret_name. */
static void add_name(text_t *text, const char *bytes, size_t len,
                     text_t *ret_name) {
  for (size_t i = 0; i < len; i++) {
    char c = bytes[i];
    if (((unsigned char)c < ' ' && c != '\r' && c != '\n') || c == 127) c = '_';
    if (c == '%' || c == '\\') c = '_'; /* they'd be read as escapes */
    add(ret_name, &c, 1);
    if (c == '"')
      add_text(text, "%22");
    else if (c == '\r')
      add_text(text, "%0D");
    else if (c == '\n')
      add_text(text, "%0A");
    else
      add(text, &c, 1);
  }
  add(ret_name, "", 1);
}

static void add_part(text_t *form, text_t *told, const char *bytes,
                     size_t len) {
  size_t name_len = len < 40 ? len / 2 : 20;
  text_t *name = calloc(1, sizeof(*name));
  HOLDS(name != NULL);
  add_text(form, "--" BOUNDARY "\r\nContent-Disposition: form-data; name=\"");
  add_name(form, bytes, name_len, name);
  add_text(form, "\"; filename=\"");
  add_name(form, bytes, name_len, name);
  add_text(form, "\"\r\n\r\n");
  add(form, bytes, len);
  add_text(form, "\r\n");
  add(told, "{", 1);
  add(told, name->bytes, name->len / 2);
  add(told, "|", 1);
  add(told, name->bytes, name->len / 2);
  add(told, bytes, len);
  add(told, "}", 1);
  free(name);
}

static bool has_delimiter(const char *bytes, size_t len) {
  return memmem(bytes, len, "\r\n--" BOUNDARY, strlen("\r\n--" BOUNDARY)) ||
         (len >= strlen("--" BOUNDARY) &&
          memcmp(bytes, "--" BOUNDARY, strlen("--" BOUNDARY)) == 0);
}

/* What was told but for the fields, which the form's writer hasn't chosen. */
static void drop_fields(feed_t *feed) {
  static const char field[] = "fContent-Disposition";
  text_t *rest = calloc(1, sizeof(*rest));
  HOLDS(rest != NULL);
  for (size_t at = 0; at < feed->len;) {
    size_t left = feed->len - at;
    if (left > sizeof(field) &&
        memcmp(feed->told + at, field, sizeof(field)) == 0)
      at += sizeof(field) + strlen(feed->told + at + sizeof(field)) + 1;
    else
      add(rest, feed->told + at++, 1);
  }
  memcpy(feed->told, rest->bytes, rest->len);
  feed->len = rest->len;
  free(rest);
}

static void check_written(const char *bytes, size_t len) {
  static text_t form;
  static text_t told;
  static feed_t feed;
  form.len = told.len = 0;
  if (memmem(bytes, len, "fContent", 8)) return;
  for (size_t i = 0; i < PARTS; i++) {
    const char *part = bytes + i * len / PARTS;
    size_t part_len = (size_t)(bytes + (i + 1) * len / PARTS - part);
    if (has_delimiter(part, part_len)) return;
    add_part(&form, &told, part, part_len);
  }
  add_text(&form, "--" BOUNDARY "--\r\n");
  add_text(&told, ".");
  feed_all(&feed, FORM_TYPE, form.bytes, form.len, 13);
  drop_fields(&feed);
  HOLDS(feed.len == told.len);
  HOLDS(memcmp(feed.told, told.bytes, told.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size > MAX_BYTES) return 0;
  char *bytes = fuzz_copy(data, size);
  const char *end = size > 0 ? memchr(bytes, '\n', size) : NULL;
  size_t line = end ? (size_t)(end - bytes) : size;
  char *type = fuzz_text(bytes, line);
  size_t body_at = end ? line + 1 : size;
  check_pieces(type, bytes + body_at, size - body_at);
  check_written(bytes + body_at, size - body_at);
  free(type);
  free(bytes);
  return 0;
}
