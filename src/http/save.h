/* A file that a request's body, or a part of it, goes to under the request's
 * context. See save.c. */
#ifndef DUSK_HTTP_SAVE_H
#define DUSK_HTTP_SAVE_H

#include "exchange.h"
#include "sink.h"

typedef struct dusk__save {
  dusk__exchange_t *ex;
  dusk__sink_t *sink;   /* NULL: there is none, or none any more */
  dusk_context_t *ctx;  /* held: the request's, when it was begun */
  dusk_waiter_t waiter; /* for its end */
  uint64_t len;         /* of what was taken */
  uint64_t max_bytes;
  bool is_finishing;
  void (*finished)(struct dusk__save *save, int status);
} dusk__save_t;

/* Blank when all 0. `finished` is told how the file has ended, once it was
 * finished; what fails before fails the body. UV_ENOMEM. */
int dusk__save_begin(dusk__save_t *save, dusk__exchange_t *ex, const char *path,
                     uint64_t max_bytes,
                     void (*finished)(dusk__save_t *save, int status));

static inline bool dusk__save_is_open(const dusk__save_t *save) {
  return save->sink != NULL;
}

/* Whether `finished` is still to be told how it has ended. */
static inline bool dusk__save_is_finishing(const dusk__save_t *save) {
  return save->sink != NULL && save->is_finishing;
}

/* Takes at most DUSK__SINK_BYTES, and holds the body when it is behind. */
void dusk__save_put(dusk__save_t *save, const char *data, size_t len);

/* That was all of it. */
void dusk__save_finish(dusk__save_t *save);

/* Gives it up, if it is open. To be called before the message goes. */
void dusk__save_abort(dusk__save_t *save);

#endif
