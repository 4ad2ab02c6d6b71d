/* Texts of pairs: application/x-www-form-urlencoded, "a=1&b=2", of which
 * queries and forms are made, and a Cookie field, "a=1; b=2". Cut into pieces
 * that are borrowed from the text, which needs no NUL behind it. Knows nobody,
 * allocates nothing. */
#ifndef DUSK_HTTP_PAIRS_H
#define DUSK_HTTP_PAIRS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct dusk__piece {
  const char *at;
  size_t len;
} dusk__piece_t;

typedef struct dusk__pair {
  dusk__piece_t name;
  dusk__piece_t value;
} dusk__pair_t;

/* Each takes the next pair off `rest`; false when there is none. */

/* As it stands: what it means is told by dusk__pair_is and decode. */
bool dusk__pairs_next(dusk__piece_t *rest, dusk__pair_t *ret_pair);

/* Its name a token, its value without quotes around it; those that browsers
 * can't have been given are passed over: RFC 6265, 4.1.1. */
bool dusk__cookies_next(dusk__piece_t *rest, dusk__pair_t *ret_pair);

/* How many there may be: the separators, and one. */
size_t dusk__pairs_bound(dusk__piece_t text, char separator);

/* What a piece's '+' means, and whether there may be a ';' in it. */
typedef enum dusk__encoding {
  DUSK__ENCODED_PATH,
  DUSK__ENCODED_FORM,
} dusk__encoding_t;

/* Writes the decoded piece and a NUL; returns its length, UV_EINVAL for a bad
 * escape, a NUL byte or, in a form, a semicolon, UV_ENOBUFS when it doesn't
 * fit. `size` more than the piece's length is always enough. */
int dusk__decode(dusk__piece_t piece, dusk__encoding_t encoding, char *buf,
                 size_t size);

/* Whether the pair's name is this one once it is decoded; a broken one is
 * none. */
bool dusk__pair_is(const dusk__pair_t *pair, const char *name);

/* Whether a cookie's value may have it: as in Go, blanks and commas, too. */
static inline bool dusk__is_cookie_char(char c) {
  return c >= ' ' && c < 127 && c != '"' && c != ';' && c != '\\';
}

#endif
