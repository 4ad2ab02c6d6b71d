/* HTTP/1's bytes out: a response's header and framing into room that the caller
 * has made. Knows nobody and calls nobody. See h1_compose.c. */
#ifndef DUSK_HTTP_H1_COMPOSE_H
#define DUSK_HTTP_H1_COMPOSE_H

#include "h1_fields.h"

#include <stdint.h>
#include <string.h>
#include <time.h>

/* How the client finds a body's end: RFC 9112, 6. */
typedef enum dusk__framing {
  DUSK__FRAMED_UNDECIDED,
  DUSK__FRAMED_BY_LENGTH,
  DUSK__FRAMED_BY_CHUNKS,
  DUSK__FRAMED_BY_CLOSE,
  DUSK__FRAMED_LATER, /* as chunks, until it is known better */
  DUSK__FRAMED_EMPTY, /* HEAD, 204, 304: no body goes out */
} dusk__framing_t;

#define DUSK__H1_OK_LINE "HTTP/1.1 200 OK\r\n"

enum {
  DUSK__H1_OK_BYTES = sizeof(DUSK__H1_OK_LINE) - 1,
  DUSK__H1_DATE_TEXT = sizeof("Sun, 06 Nov 1994 08:49:37 GMT") - 1,
  DUSK__H1_DATE_BYTES = sizeof("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n") - 1,
  DUSK__H1_MAX_CHUNK_HEAD = 2 * sizeof(size_t) + 2,
  DUSK__H1_MAX_STATUS_TEXT = 64,
};

#define DUSK__H1_CHUNK_TAIL "\r\n"
#define DUSK__H1_LAST_CHUNK "0\r\n\r\n"
#define DUSK__H1_CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"

/* What is the same for a second: the usual status line, and Date. */
typedef struct dusk__h1_dated {
  char text[80];
  uint64_t until_ms; /* on the owner's clock; 0: never composed */
} dusk__h1_dated_t;

/* For the second that `now` is in. */
void dusk__h1_compose_dated(dusk__h1_dated_t *dated,
                            const struct timespec *now);

/* A media type; none: `text` is NULL. */
typedef struct dusk__h1_type {
  const char *text;
  size_t len;
} dusk__h1_type_t;

#define DUSK__H1_TYPE(literal) ((dusk__h1_type_t){literal, sizeof(literal) - 1})

typedef struct dusk__h1_head {
  int status;
  dusk__framing_t framing;
  uint64_t length;               /* the body's; DUSK_OFF: not to be told */
  dusk__h1_fields_t *fields;     /* the handler's */
  const dusk__h1_dated_t *dated; /* NULL: Date is among `fields` */
  dusk__h1_type_t type;          /* Content-Type, if not among `fields` */
  bool is_old;                   /* HTTP/1.0 */
  bool has_connection;           /* among `fields` */
  bool close;                    /* the connection ends with it */
  bool says_close;               /* also where HTTP/1.0 would do so unsaid */
  char *slot;                    /* written: the line of what is FRAMED_LATER */
} dusk__h1_head_t;

/* A bound on its length. */
size_t dusk__h1_head_bound(const dusk__h1_head_t *head);
/* Each put_ gives what is behind the text that it has written. */
char *dusk__h1_put_head(char *to, dusk__h1_head_t *head);

/* A response that precedes the final one, 1xx; the same bound. */
char *dusk__h1_put_interim(char *to, dusk__h1_head_t *head);

/* The line that says chunked, and one that is as long and says how long a body
 * is, for one of less than 10^10 bytes. */
#define DUSK__H1_CHUNKED_LINE "Transfer-Encoding: chunked\r\n"
enum { DUSK__H1_SLOT_BYTES = sizeof(DUSK__H1_CHUNKED_LINE) - 1 };
void dusk__h1_put_length_line(char *slot, uint64_t length);

/* Whether no body is allowed: RFC 9110, 6.4.1. */
static inline bool dusk__h1_forbids_body(int status) {
  return status == 204 || status == 304;
}

/* Whether Connection among the fields has that option. */
bool dusk__h1_has_option(const dusk__h1_fields_t *fields, const char *option);

/* A chunk's size line; its data and DUSK__H1_CHUNK_TAIL follow. */
char *dusk__h1_put_chunk_head(char *to, size_t len);

/* The text of the server's own replies, "404 Not Found\n". */
char *dusk__h1_put_status_text(char *to, int status);

char *dusk__h1_put_number(char *to, uint64_t number);

/* "Sun, 06 Nov 1994 08:49:37 GMT". */
char *dusk__h1_put_date(char *to, time_t at);

static inline char *dusk__h1_put(char *to, const char *text, size_t len) {
  memcpy(to, text, len);
  return to + len;
}

#endif
