/* The bytes of forms to their parts, in whatever pieces. */
#include "multipart_parse.h"

#include <dusk/error.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TYPE "multipart/form-data; boundary=b"
#define NAMED(name) "Content-Disposition: form-data; name=\"" name "\"\r\n\r\n"

enum { LOG_BYTES = 1 << 16, MAX_HEADER = 2048 };

/* What is told, as text: {name|filename|type}data{...}, and '.' or '!' */
typedef struct feed {
  dusk__multipart_t parser;
  char log[LOG_BYTES];
  size_t len;
  char *room;
  size_t capacity;
  bool is_broken;
} feed_t;

static void put(feed_t *feed, const char *text, size_t len) {
  assert_true(feed->len + len < LOG_BYTES);
  memcpy(feed->log + feed->len, text, len);
  feed->len += len;
}

static void put_text(feed_t *feed, const char *text) {
  if (text == NULL) text = "-";
  put(feed, text, strlen(text));
}

static void give_room(feed_t *feed) {
  size_t capacity = feed->capacity + 16; /* so that each size comes */
  if (feed->parser.header_len > MAX_HEADER) {
    feed->is_broken = true;
    return;
  }
  char *room = malloc(capacity); /* of its exact size, for ASan */
  memcpy(room, feed->room ? feed->room : "", feed->capacity);
  free(feed->room);
  feed->room = room;
  feed->capacity = capacity;
  dusk__multipart_give_room(&feed->parser, room, capacity);
}

static void tell(feed_t *feed, dusk__multipart_verdict_t verdict) {
  dusk__multipart_t *parser = &feed->parser;
  switch (verdict) {
  case DUSK__MULTIPART_ROOM:
    give_room(feed);
    break;
  case DUSK__MULTIPART_PART:
    put_text(feed, "{");
    put_text(feed, parser->name);
    put_text(feed, "|");
    put_text(feed, parser->filename);
    put_text(feed, "|");
    put_text(feed, dusk__multipart_field(parser->fields, "content-type"));
    put_text(feed, "}");
    break;
  case DUSK__MULTIPART_DATA:
    assert_true(parser->data_len > 0);
    put(feed, parser->data, parser->data_len);
    break;
  case DUSK__MULTIPART_PART_END:
    put_text(feed, ";");
    break;
  case DUSK__MULTIPART_DEFECT:
    feed->is_broken = true;
    break;
  case DUSK__MULTIPART_MORE:
    break;
  }
}

static void feed_begin(feed_t *feed, const char *type) {
  memset(feed, 0, sizeof(*feed));
  assert_int_equal(dusk__multipart_init(&feed->parser, type), 0);
}

/* A piece, in memory of its own. */
static void feed_piece(feed_t *feed, const char *text, size_t len) {
  char *copy = malloc(len + 1);
  memcpy(copy, text, len);
  const char *at = copy;
  while (at < copy + len && !feed->is_broken) {
    const char *before = at;
    dusk__multipart_verdict_t verdict =
        dusk__multipart_parse(&feed->parser, &at, copy + len);
    assert_true(at >= before && at <= copy + len);
    tell(feed, verdict);
  }
  free(copy);
}

static const char *feed_end(feed_t *feed) {
  bool whole = dusk__multipart_is_whole(&feed->parser) && !feed->is_broken;
  put_text(feed, whole ? "." : "!");
  feed->log[feed->len] = '\0';
  free(feed->room);
  return feed->log;
}

/* In pieces of `size` bytes. */
static const char *parse_in(feed_t *feed, const char *type, const char *text,
                            size_t len, size_t size) {
  feed_begin(feed, type);
  for (size_t at = 0; at < len; at += size)
    feed_piece(feed, text + at, len - at < size ? len - at : size);
  return feed_end(feed);
}

static void expect_bytes(const char *type, const char *text, size_t len,
                         const char *wanted) {
  static feed_t feed;
  size_t sizes[] = {len + 1, 1, 2, 3, 5, 7, 64};
  for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
    const char *told = parse_in(&feed, type, text, len, sizes[i]);
    if (strcmp(told, wanted) != 0)
      fail_msg("in pieces of %zu: \"%s\", not \"%s\"", sizes[i], told, wanted);
  }
  for (size_t at = 0; at <= len; at++) {
    feed_begin(&feed, type);
    feed_piece(&feed, text, at);
    feed_piece(&feed, text + at, len - at);
    const char *told = feed_end(&feed);
    if (strcmp(told, wanted) != 0)
      fail_msg("split at %zu: \"%s\", not \"%s\"", at, told, wanted);
  }
}

static void expect(const char *type, const char *text, const char *wanted) {
  expect_bytes(type, text, strlen(text), wanted);
}

/* -- Boundaries ------------------------------------------------------------ */

static void a_boundary_is_read_from_the_type(void **state) {
  (void)state;
#define CHARS70                                                                \
  "0123456789abcdefghijklmnopqrstuvwxyz'()+_,-./:=?ABCDEFGHIJKLMNOPQRSTUV"
  static const struct {
    const char *type;
    int err;
    const char *boundary;
  } cases[] = {
      {TYPE, 0, "b"},
      {"Multipart/Form-Data;BOUNDARY=b", 0, "b"},
      {"multipart/form-data ; charset=UTF-8 ; boundary = b ;", 0, "b"},
      {"multipart/form-data; boundary=\"a b\\\"c\"", 0, "a b\"c"},
      {"multipart/form-data; boundary=\"" CHARS70 "\"", 0, CHARS70},
      {"multipart/form-data; boundary=----=_Part_1_2.3", 0, "----=_Part_1_2.3"},
      {"multipart/form-data; boundary=%22", 0, "%22"},
      {"multipart/form-data; boundary=\"" CHARS70 "x\"", DUSK_ENOBOUNDARY, ""},
      {"multipart/form-data", DUSK_ENOBOUNDARY, ""},
      {"multipart/form-data; boundary", DUSK_ENOBOUNDARY, ""},
      {"multipart/form-data; boundary=", DUSK_ENOBOUNDARY, ""},
      {"multipart/form-data; boundary=\"\"", DUSK_ENOBOUNDARY, ""},
      {"multipart/form-data; boundary=\"b", DUSK_ENOBOUNDARY, ""},
      {"multipart/form-data; boundary=\"b \"", DUSK_ENOBOUNDARY, ""},
      {"multipart/form-data; boundary=\"b\tb\"", DUSK_ENOBOUNDARY, ""},
      {"multipart/form-data; boundary=b\xc3\xa9", DUSK_ENOBOUNDARY, ""},
      {"multipart/form-data; boundary=b c", DUSK_ENOBOUNDARY, ""},
      {"multipart/form-data; boundary=b; boundary=b", DUSK_ENOBOUNDARY, ""},
      {"multipart/form-data; =b", DUSK_ENOBOUNDARY, ""},
      {"multipart/form-data; ;boundary=b", 0, "b"},
      {"multipart/form-datax; boundary=b", DUSK_ECONTENTTYPE, ""},
      {"multipart/mixed; boundary=b", DUSK_ECONTENTTYPE, ""},
      {"application/x-www-form-urlencoded", DUSK_ECONTENTTYPE, ""},
      {"", DUSK_ECONTENTTYPE, ""},
      {NULL, DUSK_ECONTENTTYPE, ""},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    dusk__multipart_t parser;
    int err = dusk__multipart_init(&parser, cases[i].type);
    if (err != cases[i].err) fail_msg("%s: %d", cases[i].type, err);
    if (err < 0) continue;
    char wanted[128];
    snprintf(wanted, sizeof(wanted), "\r\n--%s--", cases[i].boundary);
    assert_string_equal(parser.delimiter, wanted);
    assert_int_equal(parser.delimiter_len, strlen(wanted) - 2);
  }
}

static void a_parameter_longer_than_any_boundary_is_none(void **state) {
  (void)state;
  char type[1024];
  dusk__multipart_t parser;
  snprintf(type, sizeof(type), "%s; x=%0500d", TYPE, 0);
  assert_int_equal(dusk__multipart_init(&parser, type), DUSK_ENOBOUNDARY);
}

/* -- Structure ------------------------------------------------------------- */

static void parts_are_between_delimiters(void **state) {
  (void)state;
  static const struct {
    const char *text;
    const char *wanted;
  } cases[] = {
      {"--b\r\n" NAMED("a") "1\r\n--b--\r\n", "{a|-|-}1;."},
      {"--b\r\n" NAMED("a") "1\r\n--b--", "{a|-|-}1;."},
      {"--b\r\n" NAMED("a") "1\r\n--b\r\n" NAMED("b") "2\r\n--b--\r\n",
       "{a|-|-}1;{b|-|-}2;."},
      /* none at all, as FormData without an entry */
      {"--b--\r\n", "."},
      {"--b--", "."},
      {"\r\n--b--\r\n", "."},
      /* empty ones, with a line end of their own and without */
      {"--b\r\n" NAMED("a") "\r\n--b--\r\n", "{a|-|-};."},
      {"--b\r\n" NAMED("a") "--b--\r\n", "{a|-|-};."},
      {"--b\r\n" NAMED("a") "--b\r\n" NAMED("c") "--b--\r\n",
       "{a|-|-};{c|-|-};."},
      /* preamble and epilogue */
      {"hello\r\n--b\r\n" NAMED("a") "1\r\n--b--\r\nbye\r\n--b\r\n",
       "{a|-|-}1;."},
      {"--bx\r\n--b\r\n" NAMED("a") "1\r\n--b--bye", "{a|-|-}1;."},
      /* transport padding */
      {"--b \t \r\n" NAMED("a") "1\r\n--b  \r\n" NAMED("c") "2\r\n--b-- \r\n",
       "{a|-|-}1;{c|-|-}2;."},
      /* what only looks like a delimiter */
      {"--b\r\n" NAMED("a") "\r\n--\r\n-\r\r\n--c\r\n--b\r\n" NAMED(
           "c") "\r\n--bb\r\n--b-\r\n--b-x\r\n\r\n--b--",
       "{a|-|-}\r\n--\r\n-\r\r\n--c;{c|-|-}\r\n--bb\r\n--b-\r\n--b-x\r\n;."},
      {"--b\r\n" NAMED("a") "--bb\r\n--b--", "{a|-|-}--bb;."},
      {"--b\r\n" NAMED("a") "-\r\n--b--", "{a|-|-}-;."},
      {"--b\r\n" NAMED("a") "x--b\r\n--b--", "{a|-|-}x--b;."},
      {"--b\r\n" NAMED("a") "x\n--b--\n\r\n--b--", "{a|-|-}x\n--b--\n;."},
      {"--b\r\n" NAMED("a") "\r\r\n--b--", "{a|-|-}\r;."},
      /* a multipart in it is data */
      {"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n" NAMED(
           "a") "--c\r\n\r\n1\r\n--c--\r\n--b--",
       "{a|-|multipart/mixed; boundary=c}--c\r\n\r\n1\r\n--c--;."},
      /* without an end */
      {"", "!"},
      {"x", "!"},
      {"--b", "!"},
      {"--b-", "!"},
      {"--b\r\n", "!"},
      {"--b\r\n" NAMED("a"), "{a|-|-}!"},
      {"--b\r\n" NAMED("a") "1", "{a|-|-}1!"},
      {"--b\r\n" NAMED("a") "1\r\n--b", "{a|-|-}1!"},
      {"--b\r\n" NAMED("a") "1\r\n--b\r\n", "{a|-|-}1;!"},
      {"--b\r\n" NAMED("a") "1\n--b--\r\n", "{a|-|-}1\n--b--!"},
      {"--c\r\n" NAMED("a") "1\r\n--c--\r\n", "!"},
      /* lines that don't end in CR LF */
      {"--b\n" NAMED("a") "1\r\n--b--", "!"},
      {"--b\r" NAMED("a") "1\r\n--b--", "!"},
      {"--b\n--b--\r\n", "!"},
      {"x\r\n--b--", "!"},
      {"--b \n" NAMED("a") "1\r\n--b--", "!"},
      {"--b x\r\n" NAMED("a") "1\r\n--b--", "!"},
      {"--b\r\n" NAMED("a") "1\r\n--b\rx", "{a|-|-}1;!"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
    expect(TYPE, cases[i].text, cases[i].wanted);
}

static void data_may_be_any_bytes(void **state) {
  (void)state;
  static const char text[] = "--b\r\n" NAMED("a") "\0\r\n--\0b\xff\r\n--b--";
  static feed_t feed;
  static const char wanted[] = "{a|-|-}\0\r\n--\0b\xff;.";
  for (size_t size = 1; size < sizeof(text); size++) {
    parse_in(&feed, TYPE, text, sizeof(text) - 1, size);
    assert_int_equal(feed.len, sizeof(wanted) - 1);
    assert_memory_equal(feed.log, wanted, feed.len);
  }
}

/* -- Headers --------------------------------------------------------------- */

/* Of a part whose header is this, without the empty line. */
static void expect_header(const char *header, const char *wanted) {
  char text[4096];
  char told[4096];
  snprintf(text, sizeof(text), "--b\r\n%s\r\n1\r\n--b--", header);
  bool is_bad = *wanted == '!';
  snprintf(told, sizeof(told), is_bad ? "!" : "{%s}1;.", wanted);
  expect(TYPE, text, told);
}

#define FORM_DATA "Content-Disposition: form-data; "

static void a_header_is_strict(void **state) {
  (void)state;
  static const char *const cases[][2] = {
      {FORM_DATA "name=\"a\"\r\n", "a|-|-"},
      {FORM_DATA "name=a\r\n", "a|-|-"},
      {"content-disposition:FORM-DATA;NAME=a\r\n", "a|-|-"},
      {FORM_DATA "name=\"\"\r\n", "|-|-"},
      {FORM_DATA "name=\"a\";\r\n", "a|-|-"},
      {FORM_DATA "name = \"a\" ; x=y\r\n", "a|-|-"},
      {"content-type: \t text/plain \t\r\n" FORM_DATA "name=a\r\n",
       "a|-|text/plain"},
      {FORM_DATA "name=a\r\nContent-Type:\r\n", "a|-|"},
      {FORM_DATA "name=a\r\nContent-Type: x\r\nContent-Type: y\r\n", "a|-|x"},
      /* folded, as RFC 5322 has it */
      {"Content-Disposition: form-data;\r\n\tname=\"a\";\r\n filename=f\r\n",
       "a|f|-"},
      {"", "!"},
      {"Content-Type: text/plain\r\n", "!"},
      {"Content-Disposition: form-data\r\n", "!"},
      {"Content-Disposition: attachment; name=a\r\n", "!"},
      {"Content-Disposition: form-datax; name=a\r\n", "!"},
      {"Content-Disposition: form-data name=a\r\n", "!"},
      {FORM_DATA "filename=a\r\n", "!"},
      {FORM_DATA "name\r\n", "!"},
      {FORM_DATA "name=\r\n", "!"},
      {FORM_DATA "name=\"a\r\n", "!"},
      {FORM_DATA "name=a\"b\r\n", "!"},
      {FORM_DATA "name=\"a\"b\r\n", "!"},
      {FORM_DATA "name=a b\r\n", "!"},
      {FORM_DATA "name=a; name=a\r\n", "!"},
      {FORM_DATA "name=a; filename=a; filename=b\r\n", "!"},
      {FORM_DATA "name=a\r\n" FORM_DATA "name=b\r\n", "!"},
      {FORM_DATA "name=a\n", "!"},
      {FORM_DATA "name=a\r", "!"},
      {FORM_DATA "name=\"a\001\"\r\n", "!"},
      {FORM_DATA "name=a\r\nno colon\r\n", "!"},
      {FORM_DATA "name=a\r\n: x\r\n", "!"},
      {FORM_DATA "name=a\r\nX : x\r\n", "!"},
      {" folded\r\n" FORM_DATA "name=a\r\n", "!"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
    expect_header(cases[i][0], cases[i][1]);
}

static void names_are_as_clients_write_them(void **state) {
  (void)state;
  static const char *const cases[][2] = {
      /* Chromium and Firefox, of today */
      {FORM_DATA "name=\"f\"; filename=\"a b.txt\"\r\n"
                 "Content-Type: text/plain\r\n",
       "f|a b.txt|text/plain"},
      {FORM_DATA "name=\"f\"; filename=\"\"\r\n"
                 "Content-Type: application/octet-stream\r\n",
       "f||application/octet-stream"},
      {FORM_DATA "name=\"%22\"; filename=\"a%22%0D%0A;b\"\r\n",
       "\"|a\"\r\n;b|-"},
      {FORM_DATA "name=\"f\"; filename=\"100%25 %2522 %0d %\"\r\n",
       "f|100%25 %2522 %0d %|-"},
      {FORM_DATA "name=\"f\"; filename=\"\xc3\xa9\xf0\x9f\x98\x80\"\r\n",
       "f|\xc3\xa9\xf0\x9f\x98\x80|-"},
      {FORM_DATA "name=\"f\"; filename=\"a\\b.txt\"\r\n", "f|a\\b.txt|-"},
      {FORM_DATA "name=\"f\"; filename=\"end\\\"\r\n", "f|end\\|-"},
      /* curl up to 7.80, old Firefox, urllib3 1.26 */
      {FORM_DATA "name=\"f\"; filename=\"a\\\"b\\\\c\"\r\n", "f|a\"b\\c|-"},
      {FORM_DATA "name=\"f\"; filename=\"a\\\\\"\r\n", "f|a\\|-"},
      /* Internet Explorer */
      {FORM_DATA "name=\"f\"; filename=\"C:\\dev\\go\\foo.txt\"\r\n",
       "f|C:\\dev\\go\\foo.txt|-"},
      /* requests with an old urllib3 */
      {FORM_DATA "name=\"f\"; filename*=utf-8''na%C3%AFve%22.txt\r\n",
       "f|na\xc3\xafve\".txt|-"},
      /* .NET */
      {FORM_DATA "name=f; filename=\"=?utf-8?B?w6k=?=\"; "
                 "filename*=utf-8''%C3%A9\r\n",
       "f|\xc3\xa9|-"},
      {FORM_DATA "name=f; filename*=UTF-8'de'%C3%A9; filename=e\r\n",
       "f|\xc3\xa9|-"},
      {FORM_DATA "name=f; filename=e; filename*=ISO-8859-1''%E9\r\n", "f|e|-"},
      {FORM_DATA "name=f; filename*=ISO-8859-1''%E9\r\n", "f|-|-"},
      {FORM_DATA "name=f; filename*=utf-8''%00\r\n", "!"},
      {FORM_DATA "name=f; filename*=utf-8''%4\r\n", "!"},
      {FORM_DATA "name=f; filename*=utf-8'%41\r\n", "!"},
      {FORM_DATA "name=f; filename*=x\r\n", "!"},
      {FORM_DATA "name=f; filename*=u''x; filename*=utf-8''x\r\n", "!"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
    expect_header(cases[i][0], cases[i][1]);
}

static void fields_are_found_in_any_case(void **state) {
  (void)state;
  static feed_t feed;
  static const char text[] = "--b\r\nX-A: 1\r\nx-b:2\r\nX-A: 3\r\n" NAMED("a");
  feed_begin(&feed, TYPE);
  feed_piece(&feed, text, sizeof(text) - 1);
  const char *fields = feed.parser.fields;
  assert_string_equal(dusk__multipart_field(fields, "x-a"), "1");
  assert_string_equal(dusk__multipart_field(fields, "X-B"), "2");
  assert_string_equal(dusk__multipart_field(fields, "Content-Disposition"),
                      "form-data; name=\"a\"");
  assert_null(dusk__multipart_field(fields, "1"));
  assert_null(dusk__multipart_field(fields, "X"));
  assert_null(dusk__multipart_field(fields, ""));
  feed_end(&feed);
}

/* -- Whatever comes -------------------------------------------------------- */

static uint64_t next_random(uint64_t *seed) {
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  *seed ^= *seed << 17;
  return *seed;
}

/* Pieces of it are put together at random, some bytes changed: in one piece and
 * in many the same is told. */
static void pieces_do_not_matter(void **state) {
  (void)state;
  static const char *const words[] = {
      "--b",       "\r\n",    "--b\r\n",    "\r\n--b\r\n",
      "\r\n--b--", "\r",      "\n",         "-",
      NAMED("a"),  FORM_DATA, "name=\"a\"", "\r\n\r\n",
      "x",         " ",       "\t",         "\"",
      "\\",        ";",       "%22",        "filename*=utf-8''%41",
      "\r\n--",    "\r\n--b", ":",          "=",
  };
  enum { WORDS = sizeof(words) / sizeof(*words) };
  static feed_t whole, parts;
  uint64_t seed = 0x9e3779b97f4a7c15;
  size_t ends = 0;
  for (int run = 0; run < 20000; run++) {
    char text[1024] = "";
    size_t len = 0;
    for (uint64_t n = next_random(&seed) % 24; n > 0 && len < 900; n--) {
      const char *word = words[next_random(&seed) % WORDS];
      memcpy(text + len, word, strlen(word));
      len += strlen(word);
    }
    if (len > 0 && next_random(&seed) % 4 == 0)
      text[next_random(&seed) % len] = (char)next_random(&seed);
    parse_in(&whole, TYPE, text, len, len + 1);
    feed_begin(&parts, TYPE);
    for (size_t at = 0; at < len;) {
      size_t n = 1 + next_random(&seed) % 6;
      if (n > len - at) n = len - at;
      feed_piece(&parts, text + at, n);
      at += n;
    }
    feed_end(&parts);
    assert_int_equal(whole.len, parts.len);
    assert_memory_equal(whole.log, parts.log, whole.len);
    ends += whole.log[whole.len - 1] == '.';
  }
  assert_true(ends > 100); /* it is not all noise */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_boundary_is_read_from_the_type),
      cmocka_unit_test(a_parameter_longer_than_any_boundary_is_none),
      cmocka_unit_test(parts_are_between_delimiters),
      cmocka_unit_test(data_may_be_any_bytes),
      cmocka_unit_test(a_header_is_strict),
      cmocka_unit_test(names_are_as_clients_write_them),
      cmocka_unit_test(fields_are_found_in_any_case),
      cmocka_unit_test(pieces_do_not_matter),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
