/* HTTP/1's bytes to a message's parts. Calls nobody: what there is to be told
 * is the verdict. See h1_parse.c. */
#ifndef DUSK_HTTP_H1_PARSE_H
#define DUSK_HTTP_H1_PARSE_H

#include "h1.h"

typedef enum dusk__h1_verdict {
  DUSK__H1_MORE,     /* all that was received is parsed */
  DUSK__H1_HEADER,   /* the header is complete, and perhaps the message */
  DUSK__H1_PIECE,    /* `piece` of a body, which the next call invalidates */
  DUSK__H1_COMPLETE, /* the body has come to its end */
  DUSK__H1_DEFECT,   /* see `defect`; there is nothing more to be had */
} dusk__h1_verdict_t;

/* Of zeroed memory: a message without memory. */
void dusk__h1_init(dusk__h1_t *h1, const dusk__h1_limits_t *limits);
/* The buffers, for as much as a usual request needs; false when memory ran
 * out. */
bool dusk__h1_make_buffers(dusk__h1_t *h1);
void dusk__h1_free_buffers(dusk__h1_t *h1);
/* Back to what a usual request needs; false when that failed. */
bool dusk__h1_trim_buffers(dusk__h1_t *h1);

/* Empty input, of a connection that begins. */
void dusk__h1_start(dusk__h1_t *h1);
/* The message is blank again. */
void dusk__h1_clear(dusk__h1_t *h1);
/* The same, for the next one on this input. */
void dusk__h1_next_message(dusk__h1_t *h1);

/* Whether the first byte of a message has come, to be asked before it has:
 * empty lines before one are skipped (RFC 9112, 2.2). */
bool dusk__h1_begin(dusk__h1_t *h1);

/* Parses what was received up to the next thing to be told. */
dusk__h1_verdict_t dusk__h1_parse(dusk__h1_t *h1);

/* The last `len` bytes of the piece were not taken: they are the next one,
 * and stay where they are. */
void dusk__h1_leave(dusk__h1_t *h1, size_t len);

/* Whether there may be more to be told without a further byte: behind a piece
 * of body its end is. */
static inline bool dusk__h1_may_parse(const dusk__h1_t *h1) {
  return h1->parsed < h1->filled || h1->piece_len > 0;
}

/* -- Input ----------------------------------------------------------------- */

/* Makes room behind `filled`, by moving or growing; false when there is none to
 * be had now, or at all. */
bool dusk__h1_make_room(dusk__h1_t *h1);
/* Sees to room for the body, as long as nobody has pointers into the header;
 * false when memory ran out. */
bool dusk__h1_make_body_room(dusk__h1_t *h1);

/* Where the next bytes go. */
static inline char *dusk__h1_room(const dusk__h1_t *h1, size_t *ret_len) {
  *ret_len = h1->capacity - h1->filled;
  return h1->buffer + h1->filled;
}

/* They have come. */
static inline void dusk__h1_received(dusk__h1_t *h1, size_t len) {
  h1->filled += len;
}

/* How much was received and not parsed. */
static inline size_t dusk__h1_unparsed(const dusk__h1_t *h1) {
  return h1->filled - h1->parsed;
}

/* Whether its body will be larger than it may be. A chunked one isn't known to
 * be before it is. */
static inline bool dusk__h1_is_too_large(const dusk__h1_t *h1) {
  return h1->content_length != UINT64_MAX &&
         h1->content_length > h1->max_body_bytes;
}

/* How many of the bytes that are not parsed, come or not, are this message's.
 * Where a chunked body ends isn't known: what comes after a last chunk may be a
 * further request, and is taken for one. */
uint64_t dusk__h1_own_bytes(const dusk__h1_t *h1);

/* -- Parts ----------------------------------------------------------------- */

/* The still encoded path, not NUL-terminated. */
static inline const char *dusk__h1_path(const dusk__h1_t *h1, size_t *ret_len) {
  if (h1->path_len == 0) {
    *ret_len = 1;
    return "/"; /* RFC 9110, 4.2.3 */
  }
  *ret_len = h1->path_len;
  return dusk__h1_at(h1, h1->path);
}

#endif
