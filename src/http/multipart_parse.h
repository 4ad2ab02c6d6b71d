/* The bytes of a multipart/form-data body to its parts, RFC 7578 and RFC 2046.
 * Knows no request and calls nobody: what there is to be told is the verdict.
 * Takes the body in whatever pieces. See multipart_parse.c. */
#ifndef DUSK_HTTP_MULTIPART_PARSE_H
#define DUSK_HTTP_MULTIPART_PARSE_H

#include <stdbool.h>
#include <stddef.h>

enum { DUSK__BOUNDARY_BYTES = 70 }; /* at most: RFC 2046, 5.1.1 */

typedef enum dusk__multipart_verdict {
  DUSK__MULTIPART_MORE,     /* all that was given is parsed */
  DUSK__MULTIPART_ROOM,     /* a part's header wants more of it */
  DUSK__MULTIPART_PART,     /* one begins; see `name` and what follows it */
  DUSK__MULTIPART_DATA,     /* `data` of it, which the next call invalidates */
  DUSK__MULTIPART_PART_END, /* it has ended */
  DUSK__MULTIPART_DEFECT,   /* there is nothing more to be had */
} dusk__multipart_verdict_t;

typedef enum dusk__multipart_state {
  DUSK__MULTIPART_PREAMBLE,
  DUSK__MULTIPART_LINE,     /* behind a delimiter, which blanks may follow */
  DUSK__MULTIPART_LINE_END, /* behind its CR */
  DUSK__MULTIPART_HEADER,
  DUSK__MULTIPART_BODY,
  DUSK__MULTIPART_EPILOGUE,
  DUSK__MULTIPART_BROKEN,
} dusk__multipart_state_t;

typedef struct dusk__multipart {
  dusk__multipart_state_t state;
  char delimiter[DUSK__BOUNDARY_BYTES + 7]; /* CR LF "--" boundary "--" */
  size_t delimiter_len;                     /* without the last two */
  size_t matched;    /* bytes of it that were the last to come */
  size_t implied;    /* and how many of these didn't: they belong to what was
                      * before it */
  bool has_preamble; /* something came before the first one */

  /* The part's header: read, then as `fields`, and behind them, in the other
   * half, what was decoded. */
  char *room;
  size_t capacity;
  size_t header_len;

  /* Of the part that began last, until the next header. */
  const char *fields;   /* name, NUL, value, NUL, ..., NUL */
  const char *name;     /* decoded */
  const char *filename; /* decoded, and as it was sent; NULL: there is none */

  const char *data;
  size_t data_len;
} dusk__multipart_t;

/* For a body of that Content-Type, which may be NULL. DUSK_ECONTENTTYPE,
 * DUSK_ENOBOUNDARY. */
int dusk__multipart_init(dusk__multipart_t *parser, const char *content_type);

/* A larger room, which begins with what is in the one before; it is kept.
 * A header may have half as many bytes. */
void dusk__multipart_give_room(dusk__multipart_t *parser, char *room,
                               size_t capacity);

/* Parses from *at up to the next thing to be told, and puts *at there. With
 * nothing left to parse there is nothing to be told. */
dusk__multipart_verdict_t dusk__multipart_parse(dusk__multipart_t *parser,
                                                const char **at,
                                                const char *end);

/* Whether the last part has ended: a body may end now. */
static inline bool dusk__multipart_is_whole(const dusk__multipart_t *parser) {
  return parser->state == DUSK__MULTIPART_EPILOGUE;
}

/* The first value of that name among `fields`, in any case, or NULL. */
const char *dusk__multipart_field(const char *fields, const char *name);

#endif
