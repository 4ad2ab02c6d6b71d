/* client.c: see client.h. */
#include "client.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* The value of a header line with this name, or NULL. */
static const char *field_value(const char *line, const char *name) {
  size_t n = strlen(name);

  if (strncasecmp(line, name, n) != 0 || line[n] != ':') return NULL;
  line += n + 1;
  while (*line == ' ' || *line == '\t')
    line++;
  return line;
}

int answer_read(const char *text, size_t n, answer_t *ret_answer) {
  const char *end = memmem(text, n, "\r\n\r\n", 4);
  answer_t answer = {.bytes = 0};
  long body = -1;

  if (n >= 7 && memcmp(text, "HTTP/1.", 7) != 0) return -1;
  if (!end) return 0;
  if (end - text < 12) return -1;
  answer.status = (int)strtol(text + 9, NULL, 10);
  for (const char *line = text; line < end;) {
    const char *value;
    if ((value = field_value(line, "Content-Length")))
      body = strtol(value, NULL, 10);
    else if ((value = field_value(line, "Connection")))
      answer.says_close = strncasecmp(value, "close", 5) == 0;
    line = (const char *)memmem(line, (size_t)(end + 2 - line), "\r\n", 2) + 2;
  }
  if (body < 0) return -1;
  answer.bytes = (size_t)(end + 4 - text) + (size_t)body;
  if (answer.bytes > n) return 0;
  *ret_answer = answer;
  return 1;
}

uint64_t now_ns(void) {
  struct timespec now;

  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct sockaddr_in loopback(int port) {
  return (struct sockaddr_in){
      .sin_family = AF_INET,
      .sin_port = htons((uint16_t)port),
      .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
  };
}

int number_arg(const char *text, const char *name, int max) {
  char *end;
  long value = strtol(text, &end, 10);

  if (isdigit((unsigned char)*text) && !*end && value >= 1 && value <= max)
    return (int)value;
  fprintf(stderr, "%s must be a number from 1 to %d\n", name, max);
  exit(2);
}

_Noreturn void die(const char *what, int err) {
  if (err)
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what,
            strerror(err));
  else
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
  exit(1);
}
