/* Bytes for an HTTP/1 message, in whatever pieces, and what comes of them: as a
 * connection does it, without one. */
#ifndef DUSK_TESTS_H1_FEED_H
#define DUSK_TESTS_H1_FEED_H

#include "h1_parse.h"

#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FEED_BODY_BYTES = 1 << 20 };

typedef struct feed {
  dusk__h1_t h1;
  char *body;
  size_t body_len;
  int defect;
  bool has_begun;
  bool in_handler; /* the header was told, and room made for a body */
} feed_t;

static const dusk__h1_limits_t feed_limits = {
    .header_bytes = 4096, .header_count = 20, .body_bytes = 300000};

static inline void feed_init(feed_t *feed, const dusk__h1_limits_t *limits) {
  memset(feed, 0, sizeof(*feed));
  dusk__h1_init(&feed->h1, limits);
  assert_true(dusk__h1_make_buffers(&feed->h1));
  dusk__h1_start(&feed->h1);
  feed->body = malloc(FEED_BODY_BYTES);
}

static inline void feed_done(feed_t *feed) {
  dusk__h1_free_buffers(&feed->h1);
  free(feed->body);
}

/* All that can be told of what has come; stops at the message's end. */
static inline void feed_run(feed_t *feed) {
  dusk__h1_t *h1 = &feed->h1;
  if (!feed->has_begun) feed->has_begun = dusk__h1_begin(h1);
  while (feed->has_begun && !h1->complete && !feed->defect &&
         dusk__h1_may_parse(h1)) {
    switch (dusk__h1_parse(h1)) {
    case DUSK__H1_MORE:
      break;
    case DUSK__H1_HEADER:
      assert_false(feed->in_handler);
      feed->in_handler = true;
      assert_true(dusk__h1_make_body_room(h1));
      break;
    case DUSK__H1_PIECE:
      assert_true(feed->in_handler && h1->piece_len > 0);
      assert_true(feed->body_len + h1->piece_len <= FEED_BODY_BYTES);
      memcpy(feed->body + feed->body_len, h1->piece, h1->piece_len);
      feed->body_len += h1->piece_len;
      break;
    case DUSK__H1_COMPLETE:
      assert_true(h1->complete);
      break;
    case DUSK__H1_DEFECT:
      feed->defect = h1->defect;
      assert_int_not_equal(feed->defect, 0);
    }
  }
}

/* As much of it as there is room for: how much that was. */
static inline size_t feed_some(feed_t *feed, const char *bytes, size_t len) {
  size_t room = 0;
  if (dusk__h1_make_room(&feed->h1)) {
    char *to = dusk__h1_room(&feed->h1, &room);
    if (room > len) room = len;
    memcpy(to, bytes, room);
    dusk__h1_received(&feed->h1, room);
  }
  feed_run(feed);
  return room;
}

/* On to the next message, which may have come already. */
static inline void feed_next(feed_t *feed) {
  dusk__h1_next_message(&feed->h1);
  feed->has_begun = feed->in_handler = false;
  feed_run(feed);
}

/* In pieces of `piece` bytes, the first one of `first`. */
static inline void feed_pieces(feed_t *feed, const char *bytes, size_t len,
                               size_t first, size_t piece) {
  size_t at = 0;
  while (at < len && !feed->defect) {
    size_t n = at == 0 ? first : piece;
    if (n > len - at) n = len - at;
    size_t taken = feed_some(feed, bytes + at, n);
    if (taken == 0) break; /* it waits behind the message's end */
    at += taken;
  }
}

static inline void feed_all(feed_t *feed, const char *bytes) {
  size_t len = strlen(bytes);
  feed_pieces(feed, bytes, len, len, len);
}

#endif
