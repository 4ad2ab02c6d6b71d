/* HTTP/1's bytes to a message, without a connection: in every split, with each
 * limit, and what is left of the input. */
#include "h1_feed.h"

#include <dusk/context.h>
#include <dusk/error.h>
#include <stdio.h>

#define GET "GET /a%20b?c=d HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n"
#define POST "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"
#define CODED                                                                  \
  "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"

static const char *text_at(const dusk__h1_t *h1, uint32_t at) {
  return dusk__h1_at(h1, at);
}

/* What must come of a request, however it comes. */
typedef struct wanted {
  const char *bytes;
  const char *body;
  int defect;
  bool is_complete;
} wanted_t;

static void assert_feed(const wanted_t *wanted, size_t first, size_t piece) {
  feed_t feed;
  feed_init(&feed, &feed_limits);
  feed_pieces(&feed, wanted->bytes, strlen(wanted->bytes), first, piece);
  if (feed.defect != wanted->defect || feed.h1.complete != wanted->is_complete)
    fail_msg("%zu and %zu of '%s': defect %d", first, piece, wanted->bytes,
             feed.defect);
  if (wanted->body) {
    assert_int_equal(feed.body_len, strlen(wanted->body));
    assert_memory_equal(feed.body, wanted->body, feed.body_len);
    assert_int_equal(feed.h1.body_received, feed.body_len);
  }
  feed_done(&feed);
}

/* Byte by byte, and cut in two everywhere. */
static void assert_splits(const wanted_t *wanted) {
  size_t len = strlen(wanted->bytes);
  assert_feed(wanted, 1, 1);
  assert_feed(wanted, 2, 3);
  for (size_t first = 1; first <= len; first++)
    assert_feed(wanted, first, len);
}

static void messages_are_the_same_in_every_split(void **state) {
  static const wanted_t wanted[] = {
      {GET, "", 0, true},
      {"\r\n\n\r\n" GET, "", 0, true},
      {POST "0123456789", "0123456789", 0, true},
      {POST "012345678", "012345678", 0, false},
      {CODED "3\r\nabc\r\nA;m;n=v\r\n0123456789\r\n0\r\n\r\n", "abc0123456789",
       0, true},
      {CODED "1;n=\"v \";m\r\na\r\n0;n=v\r\n\r\n", "a", 0, true},
      {CODED "1\r\na\r\n0\r\nT: v\r\nU:\t w \r\n\r\n", "a", 0, true},
      {CODED "0\r\n\r\n", "", 0, true},
      {CODED "3\r\nabc\r\n0\r\n\r", "abc", 0, false},
  };
  (void)state;
  for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
    assert_splits(&wanted[i]);
}

static void defects_are_the_same_in_every_split(void **state) {
  static const wanted_t wanted[] = {
      {"GET /a HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n", NULL, 400, false},
      {"GET /a HTTP/1.1\r\n\r\n", NULL, 400, false},
      {"GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", NULL, 400, false},
      {"GET /a HTTP/2.7\r\nHost: a\r\n\r\n", NULL, 505, false},
      {"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", NULL,
       501, false},
      {"POST /a HTTP/1.1\r\nHost: a\r\nExpect: more\r\n\r\n", NULL, 417, false},
      {CODED "3;\r\nabc\r\n0\r\n\r\n", NULL, DUSK_EBADBODY, false},
      {CODED "x\r\nabc\r\n0\r\n\r\n", NULL, DUSK_EBADBODY, false},
      {CODED "3\r\nabcd\r\n0\r\n\r\n", NULL, DUSK_EBADBODY, false},
      {CODED "3\r\nabc\r\n0\r\nT: v\r\n folded\r\n\r\n", NULL, DUSK_EBADBODY,
       false},
  };
  (void)state;
  for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
    assert_splits(&wanted[i]);
}

static void a_header_is_told_with_its_parts(void **state) {
  (void)state;
  feed_t feed;
  feed_init(&feed, &feed_limits);
  memcpy(feed.h1.buffer, GET, sizeof(GET) - 1);
  dusk__h1_received(&feed.h1, sizeof(GET) - 1);
  assert_true(dusk__h1_begin(&feed.h1));
  assert_int_equal(dusk__h1_parse(&feed.h1), DUSK__H1_HEADER);
  const dusk__h1_t *h1 = &feed.h1;
  assert_true(h1->complete && h1->has_header && h1->has_line);
  assert_string_equal(text_at(h1, 0), "GET");
  assert_string_equal(text_at(h1, h1->target), "/a%20b?c=d");
  size_t len;
  assert_memory_equal(dusk__h1_path(h1, &len), "/a%20b", 6);
  assert_int_equal(len, 6);
  assert_true(h1->has_escape && h1->keep_alive && !h1->is_head);
  assert_int_equal(h1->version_minor, 1);
  assert_int_equal(h1->field_count, 2);
  assert_string_equal(text_at(h1, h1->fields[1].name), "X");
  assert_string_equal(text_at(h1, h1->fields[1].value), "y");
  assert_int_equal(dusk__h1_unparsed(h1), 0);
  assert_false(dusk__h1_may_parse(h1));
  feed_done(&feed);
}

static void pieces_are_given_out_one_by_one(void **state) {
  static const char bytes[] = CODED "2\r\nab\r\n1\r\nc\r\n0\r\n\r\nGET";
  (void)state;
  feed_t feed;
  dusk__h1_t *h1 = &feed.h1;
  feed_init(&feed, &feed_limits);
  memcpy(h1->buffer, bytes, sizeof(bytes) - 1);
  dusk__h1_received(h1, sizeof(bytes) - 1);
  assert_true(dusk__h1_begin(h1));
  assert_int_equal(dusk__h1_parse(h1), DUSK__H1_HEADER);
  assert_int_equal(h1->content_length, DUSK_OFF);
  assert_int_equal(dusk__h1_own_bytes(h1), 7); /* at most: a last chunk */
  assert_int_equal(dusk__h1_parse(h1), DUSK__H1_PIECE);
  assert_int_equal(h1->piece_len, 2);
  assert_memory_equal(h1->piece, "ab", 2);
  /* Who does not go on holds the rest back. */
  assert_memory_equal(h1->buffer + h1->parsed, "\r\n1\r\nc", 6);
  assert_int_equal(dusk__h1_parse(h1), DUSK__H1_PIECE);
  assert_memory_equal(h1->piece, "c", 1);
  assert_int_equal(dusk__h1_parse(h1), DUSK__H1_COMPLETE);
  assert_int_equal(dusk__h1_own_bytes(h1), 0);
  assert_int_equal(dusk__h1_unparsed(h1), 3);
  feed_done(&feed);
}

static void a_bodys_end_is_told_without_a_further_byte(void **state) {
  (void)state;
  feed_t feed;
  dusk__h1_t *h1 = &feed.h1;
  feed_init(&feed, &feed_limits);
  feed_all(&feed, POST "01234");
  assert_false(dusk__h1_may_parse(h1));
  assert_int_equal(dusk__h1_own_bytes(h1), 5);
  size_t len;
  memcpy(dusk__h1_room(h1, &len), "56789", 5);
  dusk__h1_received(h1, 5);
  assert_int_equal(dusk__h1_parse(h1), DUSK__H1_PIECE);
  assert_int_equal(dusk__h1_own_bytes(h1), 0);
  assert_int_equal(dusk__h1_unparsed(h1), 0);
  assert_true(dusk__h1_may_parse(h1));
  assert_int_equal(dusk__h1_parse(h1), DUSK__H1_COMPLETE);
  feed_done(&feed);
}

static void messages_follow_each_other_on_one_input(void **state) {
  static const char bytes[] =
      POST "0123456789\r\n" CODED "1\r\na\r\n0\r\nT: v\r\n\r\n" GET;
  (void)state;
  for (size_t piece = 1; piece < sizeof(bytes); piece++) {
    feed_t feed;
    feed_init(&feed, &feed_limits);
    int messages = 0;
    for (size_t at = 0; at < sizeof(bytes) - 1;) {
      size_t len = sizeof(bytes) - 1 - at;
      at += feed_some(&feed, bytes + at, len < piece ? len : piece);
      while (feed.h1.complete) {
        messages++;
        feed_next(&feed);
      }
      assert_int_equal(feed.defect, 0);
    }
    assert_int_equal(messages, 3);
    feed_done(&feed);
  }
}

static void trailers_are_fields_behind_the_headers(void **state) {
  (void)state;
  feed_t feed;
  feed_init(&feed, &feed_limits);
  feed_all(&feed, CODED "1\r\na\r\n0\r\nT:  v \r\nU: w\r\n\r\n");
  const dusk__h1_t *h1 = &feed.h1;
  assert_true(h1->complete && h1->in_trailer);
  assert_int_equal(h1->trailer_first, 2);
  assert_int_equal(h1->field_count, 4);
  assert_string_equal(text_at(h1, h1->fields[2].name), "T");
  assert_string_equal(text_at(h1, h1->fields[2].value), "v");
  assert_string_equal(text_at(h1, h1->fields[3].value), "w");
  feed_done(&feed);
}

/* -- Limits ---------------------------------------------------------------- */

static int defect_of(const dusk__h1_limits_t *limits, const char *bytes) {
  feed_t feed;
  feed_init(&feed, limits);
  feed_all(&feed, bytes);
  int defect = feed.defect;
  feed_done(&feed);
  return defect;
}

static void srv_133_headers_have_a_size_and_a_count(void **state) {
  dusk__h1_limits_t limits = feed_limits;
  (void)state;
  limits.header_bytes = sizeof(GET) - 1;
  assert_int_equal(defect_of(&limits, GET), 0);
  limits.header_bytes--;
  assert_int_equal(defect_of(&limits, GET), 431);
  limits.header_bytes = 10; /* the request line alone is more */
  assert_int_equal(defect_of(&limits, GET), 414);
  assert_int_equal(defect_of(&limits, "GET /abcdefgh"), 414);
  limits = feed_limits;
  limits.header_count = 2;
  assert_int_equal(defect_of(&limits, GET), 0);
  limits.header_count = 1;
  assert_int_equal(defect_of(&limits, GET), 431);
}

static void bodies_have_a_size(void **state) {
  dusk__h1_limits_t limits = feed_limits;
  (void)state;
  limits.body_bytes = 10;
  assert_int_equal(defect_of(&limits, POST "0123456789"), 0);
  limits.body_bytes = 9;
  assert_int_equal(defect_of(&limits, POST), 0); /* who reads it asks */
  limits.body_bytes = 3;
  assert_int_equal(defect_of(&limits, CODED "3\r\nabc\r\n0\r\n\r\n"), 0);
  assert_int_equal(defect_of(&limits, CODED "3\r\nabc\r\n1\r\nd\r\n"),
                   DUSK_EBODYTOOLARGE);
  limits.body_bytes = DUSK_OFF; /* still less than what means chunked */
  assert_int_equal(defect_of(&limits, "POST / HTTP/1.1\r\nHost: h\r\n"
                                      "Content-Length: 9223372036854775808"
                                      "\r\n\r\n"),
                   400);
}

static void srv_136_trailers_count_as_fields(void **state) {
  dusk__h1_limits_t limits = feed_limits;
  (void)state;
  limits.header_count = 3;
  assert_int_equal(defect_of(&limits, CODED "0\r\nT: v\r\n\r\n"), 0);
  assert_int_equal(defect_of(&limits, CODED "0\r\nT: v\r\nU: w\r\n\r\n"),
                   DUSK_EBADBODY);
}

static void srv_187_framing_is_no_body_without_an_end(void **state) {
  static const char chunk[] = "1;e=vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv\r\n"
                              "a\r\n";
  (void)state;
  feed_t feed;
  feed_init(&feed, &feed_limits);
  feed_all(&feed, CODED);
  for (int i = 0; i < 10000 && !feed.defect; i++)
    feed_all(&feed, chunk);
  assert_int_equal(feed.defect, DUSK_EBADBODY);
  assert_in_range(feed.h1.body_consumed, 16384, 60000);
  feed_done(&feed);
}

/* -- Input ----------------------------------------------------------------- */

static void bodies_flow_through_a_bounded_buffer(void **state) {
  enum { BYTES = 300000 };
  static char bytes[BYTES + 200];
  (void)state;
  size_t len = (size_t)sprintf(
      bytes, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", BYTES);
  for (size_t i = 0; i < BYTES; i++)
    bytes[len + i] = (char)('a' + i % 26);
  for (size_t piece = 999; piece < 200000; piece *= 3) {
    feed_t feed;
    feed_init(&feed, &feed_limits);
    size_t usual = feed.h1.capacity;
    feed_pieces(&feed, bytes, len + BYTES, piece, piece);
    assert_true(feed.h1.complete);
    assert_int_equal(feed.body_len, BYTES);
    assert_memory_equal(feed.body, bytes + len, BYTES);
    assert_int_equal(feed.h1.capacity, len + 65536);
    /* The header is where it was. */
    assert_string_equal(text_at(&feed.h1, feed.h1.fields[0].value), "h");
    assert_true(dusk__h1_trim_buffers(&feed.h1));
    assert_int_equal(feed.h1.capacity, usual);
    feed_done(&feed);
  }
}

static void small_bodies_get_no_larger_buffer(void **state) {
  (void)state;
  feed_t feed;
  feed_init(&feed, &feed_limits);
  size_t usual = feed.h1.capacity;
  feed_all(&feed, POST "0123456789");
  assert_int_equal(feed.h1.capacity, usual);
  feed_done(&feed);
}

static void what_is_not_taken_fills_the_buffer(void **state) {
  (void)state;
  feed_t feed;
  dusk__h1_t *h1 = &feed.h1;
  feed_init(&feed, &feed_limits);
  feed_all(&feed, POST "01234");
  size_t len;
  while (dusk__h1_make_room(h1)) {
    memset(dusk__h1_room(h1, &len), 'b', h1->capacity - h1->filled);
    dusk__h1_received(h1, len);
  }
  assert_int_equal(dusk__h1_unparsed(h1), h1->capacity - h1->body_at);
  assert_int_equal(dusk__h1_own_bytes(h1), 5);
  feed_done(&feed);
}

/* Takes at most `most` bytes of each piece, and lets as much come as there is
 * room for before each one. */
static void take_in_part(feed_t *feed, const char *bytes, size_t len,
                         size_t most) {
  dusk__h1_t *h1 = &feed->h1;
  for (size_t at = 0; !h1->complete && !feed->defect;) {
    size_t room = 0;
    if (at < len && dusk__h1_make_room(h1)) {
      char *to = dusk__h1_room(h1, &room);
      if (room > len - at) room = len - at;
      memcpy(to, bytes + at, room);
      dusk__h1_received(h1, room);
      at += room;
    }
    if (dusk__h1_parse(h1) == DUSK__H1_PIECE) {
      size_t taken = h1->piece_len < most ? h1->piece_len : most;
      memcpy(feed->body + feed->body_len, h1->piece, taken);
      feed->body_len += taken;
      dusk__h1_leave(h1, h1->piece_len - taken);
    }
    feed->defect = h1->defect;
  }
}

static void what_is_left_of_a_piece_comes_again(void **state) {
  enum { BYTES = 200000, CHUNK = 50000 };
  static char body[BYTES], bytes[BYTES + 200];
  (void)state;
  for (size_t i = 0; i < BYTES; i++)
    body[i] = (char)('a' + i % 26);
  for (int is_chunked = 0; is_chunked < 2; is_chunked++) {
    char head[200];
    snprintf(head, sizeof(head),
             "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", BYTES);
    size_t len = 0;
    for (size_t at = 0; at < BYTES; at += CHUNK) {
      if (is_chunked)
        len +=
            (size_t)sprintf(bytes + len, "%s%x\r\n", at ? "\r\n" : "", CHUNK);
      memcpy(bytes + len, body + at, CHUNK);
      len += CHUNK;
    }
    if (is_chunked) len += (size_t)sprintf(bytes + len, "\r\n0\r\n\r\n");
    for (size_t most = 997; most < 100000; most = most * 3 + 1) {
      feed_t feed;
      feed_init(&feed, &feed_limits);
      feed_all(&feed, is_chunked ? CODED : head);
      take_in_part(&feed, bytes, len, most);
      assert_true(feed.h1.complete);
      assert_int_equal(feed.body_len, BYTES);
      assert_memory_equal(feed.body, body, BYTES);
      feed_done(&feed);
    }
  }
}

static void long_headers_make_the_buffer_grow(void **state) {
  static char bytes[60000];
  dusk__h1_limits_t limits = feed_limits;
  (void)state;
  limits.header_bytes = sizeof(bytes);
  int len =
      sprintf(bytes, "GET / HTTP/1.1\r\nHost: h\r\nX: %050000d\r\n\r\n", 1);
  feed_t feed;
  feed_init(&feed, &limits);
  feed_pieces(&feed, bytes, (size_t)len, 1000, 1000);
  assert_true(feed.h1.complete);
  assert_int_equal(feed.h1.fields[1].value_len, 50000);
  assert_int_equal(strlen(text_at(&feed.h1, feed.h1.fields[1].value)), 50000);
  feed_done(&feed);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(messages_are_the_same_in_every_split),
      cmocka_unit_test(defects_are_the_same_in_every_split),
      cmocka_unit_test(a_header_is_told_with_its_parts),
      cmocka_unit_test(pieces_are_given_out_one_by_one),
      cmocka_unit_test(a_bodys_end_is_told_without_a_further_byte),
      cmocka_unit_test(messages_follow_each_other_on_one_input),
      cmocka_unit_test(trailers_are_fields_behind_the_headers),
      cmocka_unit_test(srv_133_headers_have_a_size_and_a_count),
      cmocka_unit_test(bodies_have_a_size),
      cmocka_unit_test(srv_136_trailers_count_as_fields),
      cmocka_unit_test(srv_187_framing_is_no_body_without_an_end),
      cmocka_unit_test(bodies_flow_through_a_bounded_buffer),
      cmocka_unit_test(small_bodies_get_no_larger_buffer),
      cmocka_unit_test(what_is_not_taken_fills_the_buffer),
      cmocka_unit_test(what_is_left_of_a_piece_comes_again),
      cmocka_unit_test(long_headers_make_the_buffer_grow),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
