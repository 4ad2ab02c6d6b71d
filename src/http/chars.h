/* What texts of RFC 9110 and 3986 are made of. Character classes are sets of
 * bits; nothing above ASCII is in one of them. */
#ifndef DUSK_HTTP_CHARS_H
#define DUSK_HTTP_CHARS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

static inline bool dusk__is_in(const uint32_t set[8], char c) {
  unsigned char u = (unsigned char)c;
  return set[u >> 5] >> (u & 31) & 1;
}

/* RFC 9110, 5.6.2, tchar: letters, digits, and !#$%&'*+-.^_`|~ */
static inline bool dusk__is_token_char(char c) {
  static const uint32_t set[8] = {0x00000000, 0x03ff6cfa, 0xc7fffffe,
                                  0x57ffffff};
  return dusk__is_in(set, c);
}

/* RFC 3986, unreserved and sub-delims: letters, digits, and -._~!$&'()*+,;= */
static inline bool dusk__is_host_char(char c) {
  static const uint32_t set[8] = {0x00000000, 0x2bff7fd2, 0x87fffffe,
                                  0x47fffffe};
  return dusk__is_in(set, c);
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

/* Whether a list of tokens has this one, in any case: RFC 9110, 5.6.1. (strspn
 * and strcspn would make a table a call.) */
static inline bool dusk__has_token(const char *list, const char *token) {
  size_t token_len = strlen(token);
  while (*list) {
    const char *begin = list;
    while (*list && *list != ',' && *list != ' ' && *list != '\t')
      list++;
    if ((size_t)(list - begin) == token_len &&
        strncasecmp(begin, token, token_len) == 0)
      return true;
    if (*list) list++;
  }
  return false;
}

#endif
