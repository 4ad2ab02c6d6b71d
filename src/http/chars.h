/* What texts of RFC 9110 and 3986 are made of. One table tells of a character
 * which classes it is in: each is looked up for most bytes of a header. */
#ifndef DUSK_HTTP_CHARS_H
#define DUSK_HTTP_CHARS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

enum {
  DUSK__TOKEN = 1, /* RFC 9110, 5.6.2: letters, digits, !#$%&'*+-.^_`|~ */
  DUSK__HOST = 2,  /* RFC 3986, unreserved and sub-delims: letters, digits,
                    * -._~!$&'()*+,;= */
  DUSK__TEXT = 4,  /* RFC 9110, 5.5: what may be in a field's value */
  DUSK__ENDS_OPTION = 8, /* in a list of tokens: NUL, tab, space, comma */
  DUSK__PATH = 16,       /* all but NUL and what means something in a target
                          * behind its authority: % ? # */
};

extern const unsigned char dusk__classes[256];

static inline bool dusk__is_token_char(char c) {
  return dusk__classes[(unsigned char)c] & DUSK__TOKEN;
}

static inline bool dusk__is_host_char(char c) {
  return dusk__classes[(unsigned char)c] & DUSK__HOST;
}

static inline bool dusk__is_text_char(char c) {
  return dusk__classes[(unsigned char)c] & DUSK__TEXT;
}

static inline bool dusk__ends_option(char c) {
  return dusk__classes[(unsigned char)c] & DUSK__ENDS_OPTION;
}

static inline bool dusk__is_path_char(char c) {
  return dusk__classes[(unsigned char)c] & DUSK__PATH;
}

/* What may stand around values: RFC 9110, 5.6.3. */
static inline bool dusk__is_blank(char c) {
  return c == ' ' || c == '\t';
}

static inline bool dusk__is_line_end(char c) {
  return c == '\r' || c == '\n';
}

/* The value of a hexadecimal digit, or -1. */
static inline int dusk__hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = (char)(c | 32);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The character that the escape "%XX" stands for at the '%' of a NUL-terminated
 * text, or -1 if it is broken. */
static inline int dusk__unescape(const char *text) {
  int high = dusk__hex(text[1]);
  int low = high < 0 ? -1 : dusk__hex(text[2]);
  return low < 0 ? -1 : high * 16 + low;
}

/* Whether a token is the lower-case one of that length, of letters and '-', in
 * any case. */
static inline bool dusk__is_name(const char *name, const char *lower,
                                 size_t len) {
  for (size_t i = 0; i < len; i++)
    if ((name[i] | 32) != lower[i]) return false;
  return true;
}

/* Whether a list of tokens has this one, in any case: RFC 9110, 5.6.1. (strspn
 * and strcspn would make a table a call.) */
static inline bool dusk__has_token(const char *list, const char *token) {
  size_t token_len = strlen(token);
  while (*list) {
    const char *begin = list;
    while (!dusk__ends_option(*list))
      list++;
    if ((size_t)(list - begin) == token_len &&
        strncasecmp(begin, token, token_len) == 0)
      return true;
    if (*list) list++;
  }
  return false;
}

#endif
