#include "pairs.h"

#include "chars.h"

#include <limits.h>
#include <uv.h>

/* Takes what is before the first separator off `rest`, and the separator. */
static dusk__piece_t cut(dusk__piece_t *rest, char separator) {
  dusk__piece_t piece = *rest;
  const char *end =
      rest->len > 0 ? memchr(rest->at, separator, rest->len) : NULL;
  if (end) piece.len = (size_t)(end - rest->at);
  size_t taken = piece.len + (end != NULL);
  rest->at += taken;
  rest->len -= taken;
  return piece;
}

/* The whole is its name where there is no '='. */
static dusk__pair_t split(dusk__piece_t part) {
  dusk__pair_t pair;
  pair.name = cut(&part, '=');
  pair.value = part;
  return pair;
}

bool dusk__pairs_next(dusk__piece_t *rest, dusk__pair_t *ret_pair) {
  while (rest->len > 0) {
    dusk__piece_t part = cut(rest, '&');
    if (part.len == 0) continue;
    *ret_pair = split(part);
    return true;
  }
  return false;
}

size_t dusk__pairs_bound(dusk__piece_t text, char separator) {
  size_t bound = 1;
  for (size_t i = 0; i < text.len; i++)
    bound += text.at[i] == separator;
  return bound;
}

/* -- Cookies --------------------------------------------------------------- */

static dusk__piece_t trimmed(dusk__piece_t piece) {
  while (piece.len > 0 && dusk__is_blank(piece.at[0])) {
    piece.at++;
    piece.len--;
  }
  while (piece.len > 0 && dusk__is_blank(piece.at[piece.len - 1]))
    piece.len--;
  return piece;
}

static dusk__piece_t unquoted(dusk__piece_t piece) {
  if (piece.len < 2 || piece.at[0] != '"' || piece.at[piece.len - 1] != '"')
    return piece;
  return (dusk__piece_t){piece.at + 1, piece.len - 2};
}

static bool is_token(dusk__piece_t piece) {
  for (size_t i = 0; i < piece.len; i++)
    if (!dusk__is_token_char(piece.at[i])) return false;
  return piece.len > 0;
}

static bool is_cookie_value(dusk__piece_t piece) {
  for (size_t i = 0; i < piece.len; i++)
    if (!dusk__is_cookie_char(piece.at[i])) return false;
  return true;
}

bool dusk__cookies_next(dusk__piece_t *rest, dusk__pair_t *ret_pair) {
  while (rest->len > 0) {
    dusk__pair_t pair = split(trimmed(cut(rest, ';')));
    pair.name = trimmed(pair.name);
    pair.value = unquoted(pair.value);
    if (!is_token(pair.name) || !is_cookie_value(pair.value)) continue;
    *ret_pair = pair;
    return true;
  }
  return false;
}

/* -- Decoding -------------------------------------------------------------- */

/* The next character of a piece that has one, decoded; -1 if it is broken. */
static int next_char(dusk__piece_t *rest, dusk__encoding_t encoding) {
  const char *at = rest->at;
  size_t len = *at == '%' ? 3 : 1;
  if (len > rest->len) return -1;
  rest->at += len;
  rest->len -= len;
  int c = *at == '%' ? dusk__unescape(at) : (unsigned char)*at;
  if (encoding == DUSK__ENCODED_FORM && *at == '+') return ' ';
  if (encoding == DUSK__ENCODED_FORM && *at == ';') return -1;
  return c > 0 ? c : -1;
}

int dusk__decode(dusk__piece_t piece, dusk__encoding_t encoding, char *buf,
                 size_t size) {
  size_t out = 0;
  while (piece.len > 0) {
    int c = next_char(&piece, encoding);
    if (c < 0) return UV_EINVAL;
    if (out + 1 >= size || out == INT_MAX) return UV_ENOBUFS;
    buf[out++] = (char)c;
  }
  if (size == 0) return UV_ENOBUFS;
  buf[out] = '\0';
  return (int)out;
}

bool dusk__pair_is(const dusk__pair_t *pair, const char *name) {
  dusk__piece_t rest = pair->name;
  while (rest.len > 0 && *name)
    if (next_char(&rest, DUSK__ENCODED_FORM) != (unsigned char)*name++)
      return false;
  return rest.len == 0 && *name == '\0';
}
