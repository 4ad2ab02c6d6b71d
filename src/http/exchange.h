/* An exchange: one request, its response, and the input they are made of. A
 * connection has one from a request's first byte to its answer's end; a handler
 * that goes on after its connection was cut keeps it alone. Pooled by the
 * server: in a steady state none is allocated. See exchange.c.
 *
 * What users have is no address but a handle, the same for request and
 * response: the exchange's address, and in the bits that an address leaves free
 * a generation that advances with every message. So a stale one is told from
 * the exchange that has long become a stranger's; its memory stays readable as
 * long as the server lives. Internal code has dusk__request_t and
 * dusk__response_t, the things themselves. */
#ifndef DUSK_HTTP_EXCHANGE_H
#define DUSK_HTTP_EXCHANGE_H

#include "connection.h"

#include <assert.h>
#include <llhttp.h>
#include <stdalign.h>
#include <stddef.h>

enum {
  DUSK__BUFFER_BYTES = 16384, /* of input, at first */
  DUSK__BODY_ROOM = 4096,     /* of it at least, behind a header */
};

/* A header field, by offsets from the message's start: the buffer may move
 * while the header is incomplete. */
typedef struct dusk__field {
  uint32_t name;
  uint32_t name_len;
  uint32_t value;
  uint32_t value_len;
} dusk__field_t;

typedef enum dusk__body {
  DUSK__BODY_UNASKED,
  DUSK__BODY_FLOWING,
  DUSK__BODY_PAUSED,
  DUSK__BODY_DROPPED, /* read and thrown away */
  DUSK__BODY_ENDED,   /* there is none, or its end or failure was told */
} dusk__body_t;

/* How far a chunk extension's name or value has come, which may do so in any
 * pieces. Complete is one that ends as a token, or quoted. */
typedef enum dusk__extension {
  DUSK__EXTENSION_EMPTY,
  DUSK__EXTENSION_TOKEN,
  DUSK__EXTENSION_IN_QUOTES,
  DUSK__EXTENSION_ESCAPE, /* behind a backslash in quotes */
  DUSK__EXTENSION_QUOTED,
  DUSK__EXTENSION_BAD,
} dusk__extension_t;

typedef struct dusk__request {
  uint32_t target; /* offsets, as in dusk__field_t */
  uint32_t target_len;
  dusk__field_t *fields;
  size_t field_count;
  size_t field_capacity;
  char *text; /* copies of parts of the target; kept for reuse */
  size_t text_capacity;
  int host_field; /* index, or -1 */

  dusk__body_t body;
  uint64_t body_received;
  uint64_t body_dropped;
  uint64_t body_consumed;      /* with its framing */
  uint64_t content_length;     /* DUSK_OFF: chunked */
  dusk__extension_t extension; /* of the chunk that is being read */
  dusk_body_cb body_cb;
  void *body_arg;
  dusk_collect_cb collect_cb; /* dusk_request_collect, on top of body_cb */
  void *collect_arg;
  char *collected;
  size_t collected_len;
  size_t collected_capacity;
  size_t collect_max;
  size_t trailer_first; /* index into `fields` */
  int failure;          /* why the body did not become complete */

  dusk_context_t *ctx;
  dusk_waiter_t timeout; /* of request_timeout_ms */
  void *data;
  char *peer; /* text; NULL until asked for */
  uint64_t begun_ms;

  bool expects_continue : 1;
  bool keep_alive : 1; /* what the client wants */
  bool is_head : 1;
  bool complete : 1; /* message read to its end */
  bool in_trailer : 1;
  bool expects_else : 1; /* 417 */
  bool timed : 1;        /* `timeout` is registered */
  bool has_line : 1;     /* method and target may be told */
  int version_minor;     /* -1: not told yet */
} dusk__request_t;

typedef enum dusk__framing {
  DUSK__FRAMED_UNDECIDED,
  DUSK__FRAMED_BY_LENGTH,
  DUSK__FRAMED_BY_CHUNKS,
  DUSK__FRAMED_BY_CLOSE,
  DUSK__FRAMED_EMPTY, /* HEAD, 204, 304: no body goes out */
} dusk__framing_t;

typedef struct dusk__response {
  int status;   /* 0: not set */
  char *fields; /* "Name: value\r\n" ... */
  size_t fields_len;
  size_t fields_capacity;
  uint64_t declared_length; /* DUSK_OFF: not declared */
  uint64_t body_bytes;
  dusk_drained_cb drained_cb;
  void *drained_arg;
  dusk__framing_t framing;
  int err;     /* why it is not whole */
  int cut_err; /* what its callbacks are told when the connection has gone */
  bool has_date : 1;
  bool has_connection : 1; /* the handler's own, among `fields` */
  bool terminated : 1;     /* a value was given out: it ends in NUL, not CR */
  bool close : 1;          /* the connection ends with this response */
  bool header_sent : 1;    /* composed, at least */
  bool ended : 1;          /* by the handler: may be released */
  bool aborted : 1;
  bool refused : 1; /* the reply was the server's own */
  bool hijacked : 1;
} dusk__response_t;

typedef enum dusk__stage {
  DUSK__STAGE_HEADER, /* no complete header yet */
  DUSK__STAGE_READY,  /* complete, not dispatched */
  DUSK__STAGE_HANDLING,
} dusk__stage_t;

struct dusk__exchange {
  uintptr_t handle; /* of the message that it is now */
  dusk__worker_t *worker;
  dusk__conn_t *conn;     /* NULL: cut off, held by the handler only */
  dusk__task_t task;      /* what goes on next turn; its link is also the pool's
                           */
  dusk__link_t held_link; /* in the pool's list of those that only a handler
                           * still holds */
  dusk__stage_t stage;
  int refusal;               /* status to refuse the request with, 0 */
  const dusk_cause_t *cause; /* of its end, if that was not its response's */
  unsigned callbacks;        /* of its user that are on the stack */
  bool begun : 1;            /* counted as a request */
  bool end_told : 1;         /* on_request_end has run */
  bool cut_told : 1;         /* on_request_cut has run */
  bool finished : 1;
  bool parsing : 1; /* llhttp is on the stack */

  char *buffer;
  size_t capacity;
  size_t start;  /* of the message */
  size_t parsed; /* up to here */
  size_t filled; /* up to here */
  size_t
      body_at; /* end of the header: body bytes may be overwritten from here */
  llhttp_t parser;
  char length_text[21]; /* of res.declared_length, for who asks */
  dusk__request_t req;
  dusk__response_t res;
};

/* The bits that no exchange's address uses: the low ones by its alignment, and
 * the high ones where user space has 48 bits and pointers carry no tags. */
#define DUSK__LOW_BITS ((uintptr_t)(alignof(max_align_t) - 1))
#if (defined(__x86_64__) && !defined(__ILP32__)) ||                            \
    (defined(__aarch64__) && !defined(__ILP32__) &&                            \
     !defined(__ARM_FEATURE_MEMORY_TAGGING) &&                                 \
     !defined(__SANITIZE_HWADDRESS__))
#define DUSK__HIGH_BITS ((uintptr_t)0xffff << 48)
#else
#define DUSK__HIGH_BITS ((uintptr_t)0)
#endif
#define DUSK__GENERATION_BITS (DUSK__HIGH_BITS | DUSK__LOW_BITS)

/* The exchange that a user's handle means, or NULL when it is stale. */
static inline dusk__exchange_t *dusk__ex_of(const void *handle) {
  dusk__exchange_t *ex =
      (dusk__exchange_t *)((uintptr_t)handle & ~DUSK__GENERATION_BITS);
  bool is_stale = ex->handle != (uintptr_t)handle;
  assert(!is_stale && "a request or response was used after its end");
  if (is_stale) return NULL;
  assert((!ex->res.ended || ex->callbacks > 0 || ex->parsing) &&
         "a request or response was used after its end");
  assert(dusk__worker_on_thread(ex->worker) && "not on the loop's thread");
  return ex;
}

static inline dusk__exchange_t *
dusk__ex_of_request(const dusk_request_t *handle) {
  return dusk__ex_of(handle);
}

static inline dusk__exchange_t *
dusk__ex_of_response(const dusk_response_t *handle) {
  return dusk__ex_of(handle);
}

static inline dusk_request_t *dusk__ex_request(const dusk__exchange_t *ex) {
  return (dusk_request_t *)ex->handle;
}

static inline dusk_response_t *dusk__ex_response(const dusk__exchange_t *ex) {
  return (dusk_response_t *)ex->handle;
}

static inline dusk__exchange_t *dusk__ex_owning(const dusk__request_t *req) {
  return DUSK__OWNER(req, dusk__exchange_t, req);
}

/* A worker's exchanges, to be used again. */
typedef struct dusk__pool {
  dusk__link_t spares; /* with their buffers */
  size_t spare_count;
  dusk__link_t bare;      /* and without */
  dusk__link_t held;      /* not in it: without a connection, and not ended by
                           * their handlers */
  dusk__exchange_t *next; /* what libuv reads into for a connection that has no
                           * exchange */
} dusk__pool_t;

void dusk__pool_init(dusk__pool_t *pool);
void dusk__pool_done(dusk__pool_t *pool);

/* A blank one, from the pool or new; NULL when memory ran out. */
dusk__exchange_t *dusk__ex_take(dusk__worker_t *worker);
/* A blank one, whose request never began, back to the pool. */
void dusk__ex_give(dusk__exchange_t *ex);

/* Ready for the next message on the same input. */
void dusk__ex_next_message(dusk__exchange_t *ex);

/* Makes room behind `filled`, by moving or growing; false when there is none to
 * be had now (or at all: see dusk__ex_header_too_large). */
bool dusk__ex_make_room(dusk__exchange_t *ex);

/* Gives the buffer a larger capacity. Not while a handler has pointers into it.
 */
bool dusk__ex_grow(dusk__exchange_t *ex, size_t capacity);

/* The incomplete header's size against the limit: 0, 414 or 431. */
int dusk__ex_header_too_large(const dusk__exchange_t *ex);

/* Cut off from its connection: contexts end with `cause`, callbacks are told
 * `err` next turn, and it is released when its handler lets it go. */
void dusk__ex_orphan(dusk__exchange_t *ex, const dusk_cause_t *cause, int err);
void dusk__ex_release(dusk__exchange_t *ex);

/* Around each call of user code that gets its handles: they stay good, and it
 * is not released, before that has returned. leave releases it if its time has
 * come meanwhile: false. */
static inline void dusk__ex_enter(dusk__exchange_t *ex) {
  ex->callbacks++;
}

static inline bool dusk__ex_leave(dusk__exchange_t *ex) {
  assert(ex->callbacks > 0);
  ex->callbacks--;
  if (ex->conn || !ex->res.ended) return true;
  dusk__ex_release(ex);
  return false;
}

/* Goes on in the loop's turn. */
void dusk__ex_defer(dusk__exchange_t *ex);

/* Its request has ended, in the report's words. */
void dusk__ex_count_end(dusk__exchange_t *ex, dusk__ending_t ending);

void dusk__ex_end_contexts(dusk__exchange_t *ex, const dusk_cause_t *cause);

/* Its time-out, the server's own, is why it ends. */
void dusk__ex_timed_out(dusk__exchange_t *ex);

/* The handler has let go: on_request_end is told, which may end anything. Does
 * nothing the second time. */
void dusk__ex_finish(dusk__exchange_t *ex);

/* Tells on_request_cut of a request that its handler has not ended. Does
 * nothing the second time. */
void dusk__ex_tell_cut(dusk__exchange_t *ex);

/* Of those that only their handlers still hold: how many, and to on_request_cut
 * which. */
size_t dusk__ex_count_held(const dusk__worker_t *worker);
void dusk__ex_tell_held(dusk__worker_t *worker);

#endif
