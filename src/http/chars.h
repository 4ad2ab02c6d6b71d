/* Character classes of RFC 9110 and 3986, as sets of bits; nothing above ASCII
 * is in one of them. */
#ifndef DUSK_HTTP_CHARS_H
#define DUSK_HTTP_CHARS_H

#include <stdbool.h>
#include <stdint.h>

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

/* RFC 3986's characters of host and port, not of a user: letters, digits, and
 * -._~%!$&'()*+,;=:[] */
static inline bool dusk__is_host_char(char c) {
  static const uint32_t set[8] = {0x00000000, 0x2fff7ff2, 0xaffffffe,
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

#endif
