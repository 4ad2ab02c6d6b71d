/* One HTTP/1 message and the input that it is read from. h1_parse fills it and
 * strict checks it; neither knows of more. Offsets are from the message's
 * start: the buffer may move while the header is incomplete. */
#ifndef DUSK_HTTP_H1_H
#define DUSK_HTTP_H1_H

#include <llhttp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A header field. */
typedef struct dusk__field {
  uint32_t name;
  uint32_t name_len;
  uint32_t value;
  uint32_t value_len;
} dusk__field_t;

/* How far a chunk extension's name or value has come, which may do so in any
 * pieces. Complete is one that ends as a token, or quoted. */
typedef enum dusk__extension {
  DUSK__EXTENSION_EMPTY,
  DUSK__EXTENSION_TOKEN,
  DUSK__EXTENSION_IN_QUOTES,
  DUSK__EXTENSION_ESCAPE, /* behind a backslash in quotes */
  DUSK__EXTENSION_QUOTED,
  DUSK__EXTENSION_BAD,
} dusk__extension_t;

typedef struct dusk__h1_limits {
  uint64_t header_bytes;
  uint64_t header_count;
  uint64_t body_bytes;
} dusk__h1_limits_t;

typedef struct dusk__h1 {
  /* What is kept from one message to the next. */
  char *buffer;
  size_t capacity;
  size_t start;   /* of the message */
  size_t parsed;  /* up to here */
  size_t filled;  /* up to here */
  size_t body_at; /* the header's end: what lies behind may be overwritten */
  dusk__field_t *fields;
  size_t field_capacity;
  dusk__h1_limits_t limits;
  llhttp_t parser;

  /* The message; from here on it is blank before its first byte. */
  uint32_t target;
  uint32_t target_len;
  uint32_t path; /* still encoded */
  uint32_t path_len;
  uint32_t field_count;
  uint32_t trailer_first;      /* index into `fields` */
  int host_field;              /* index, or -1 */
  int version_minor;           /* -1: not told yet */
  int defect;                  /* a status for a header, else an error, 0 */
  dusk__extension_t extension; /* of the chunk that is being read */
  uint64_t content_length;     /* DUSK_OFF: chunked */
  uint64_t max_body_bytes;     /* once it has a header; may be set anew */
  uint64_t body_received;
  uint64_t body_consumed; /* with its framing, if chunked */
  const char *piece;      /* of body, that was parsed last */
  size_t piece_len;
  size_t piece_left;   /* of its end, which comes again */
  bool has_header : 1; /* it is complete */
  bool has_line : 1;   /* method and target may be told */
  bool has_escape : 1; /* in its path */
  bool expects_continue : 1;
  bool keep_alive : 1; /* what the client wants */
  bool is_head : 1;
  bool in_trailer : 1;
  bool complete : 1; /* read to its end */
} dusk__h1_t;

static inline const char *dusk__h1_at(const dusk__h1_t *h1, uint32_t offset) {
  return h1->buffer + h1->start + offset;
}

static inline const char *dusk__h1_method(const dusk__h1_t *h1) {
  return h1->has_line ? dusk__h1_at(h1, 0) : "";
}

static inline const char *dusk__h1_target(const dusk__h1_t *h1) {
  return h1->has_line ? dusk__h1_at(h1, h1->target) : "";
}

#endif
