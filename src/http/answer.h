/* A response as its client reads it. See answer.c. */
#ifndef DUSK_HTTP_ANSWER_H
#define DUSK_HTTP_ANSWER_H

#include "list.h"

#include <dusk/test.h>

#include <llhttp.h>

/* Bytes that grow; followed by NUL once there are any. */
typedef struct dusk__bytes {
  char *bytes;
  size_t len;
  size_t capacity;
} dusk__bytes_t;

/* Room for at least `len` more, and the NUL; NULL when memory ran out. */
char *dusk__bytes_reserve(dusk__bytes_t *bytes, size_t len);
int dusk__bytes_add(dusk__bytes_t *bytes, const void *data, size_t len);
void dusk__bytes_free(dusk__bytes_t *bytes);

typedef struct dusk__answer {
  dusk_test_response_t shown;
  dusk__link_t link; /* its owner's */
  llhttp_t parser;
  dusk__bytes_t fields; /* name NUL value NUL ... */
  dusk__bytes_t body;
  size_t heard;     /* of the body: what was waited for lies before it */
  bool is_bodyless; /* answers HEAD */
  bool has_header;
  bool is_whole;
  bool is_broken; /* and never gets whole */
  char error[160];
} dusk__answer_t;

/* The one of which only that is shown. */
extern const dusk__answer_t dusk__answer_no_memory;

dusk__answer_t *dusk__answer_new(void);
void dusk__answer_free(dusk__answer_t *answer);

/* Shows what went wrong, and why; err 0: nothing. Texts are cut where they are
 * too long. fail: and it can't go on. */
void dusk__answer_tell(dusk__answer_t *answer, int err, const char *text);
void dusk__answer_add(dusk__answer_t *answer, const char *text);
void dusk__answer_fail(dusk__answer_t *answer, int err, const char *text);

/* Reads on: how many of the bytes belong to it, fewer than all when it is whole
 * or can't be read, which is then shown. */
size_t dusk__answer_read(dusk__answer_t *answer, const char *bytes, size_t len);
/* Nothing more comes: whole, if it is one that ends so. */
void dusk__answer_end(dusk__answer_t *answer);

/* Whether `text` lies in the body, behind the last one that did. */
bool dusk__answer_has(dusk__answer_t *answer, const char *text);

#endif
