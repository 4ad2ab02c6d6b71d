/* client.h: what the bench's clients share: the clock, the server's address,
 * and where an answer ends. They speak to 127.0.0.1 and to nobody else, and
 * know answers with a Content-Length only. */
#ifndef DUSK_BENCH_CLIENT_H
#define DUSK_BENCH_CLIENT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct answer {
  size_t bytes;    /* header and body */
  int status;      /* of the status line */
  bool says_close; /* Connection: close */
} answer_t;

/* Reads the answer at the head of `text`. 1: it is whole and told in
 * *ret_answer; 0: more bytes are needed; -1: this is no answer. */
int answer_read(const char *text, size_t n, answer_t *ret_answer);

/* The monotonic clock, the one of Python's time.monotonic_ns. */
uint64_t now_ns(void);

struct sockaddr_in loopback(int port);

/* A number of the command line from 1 to `max`; anything else ends the
 * program. */
int number_arg(const char *text, const char *name, int max);

/* Says what went wrong, with errno's text when it isn't 0, and ends the program
 * with status 1: a figure that can't be taken is no figure. */
_Noreturn void die(const char *what, int err);

#endif
