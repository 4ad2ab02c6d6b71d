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

#include "arena.h"
#include "census.h"
#include "h1.h"
#include "h1_compose.h"
#include "wire.h"

#include <dusk/values.h>

#include <assert.h>
#include <stdalign.h>
#include <stddef.h>

typedef struct dusk__exchange dusk__exchange_t;

typedef enum dusk__body {
  DUSK__BODY_UNASKED,
  DUSK__BODY_FLOWING,
  DUSK__BODY_PAUSED,
  DUSK__BODY_DROPPED, /* read and thrown away */
  DUSK__BODY_ENDED,   /* there is none, or its end or failure was told */
} dusk__body_t;

/* What was put at a request, and is released with it; in its arena. */
typedef struct dusk__value {
  struct dusk__value *next;
  const dusk_key_t *key;
  void *value;
  dusk_release_cb release;
} dusk__value_t;

/* Who is told when a response's header goes out, or has ended; in its arena. */
typedef struct dusk__header_hook {
  struct dusk__header_hook *next;
  dusk_header_cb cb;
  void *arg;
} dusk__header_hook_t;

typedef struct dusk__end_hook {
  struct dusk__end_hook *next;
  dusk_request_end_cb cb;
  void *arg;
} dusk__end_hook_t;

typedef struct dusk__request {
  /* What is set when it is used, and what the exchange's end releases. */
  dusk_context_t *ctx;
  dusk_context_t *given_ctx; /* by a handler, for those below it */
  dusk_waiter_t timeout;     /* of request_timeout_ms */
  char *collected;           /* by dusk_request_collect, on top of body_cb */
  size_t collected_len;
  size_t collected_capacity;
  size_t collect_max;
  dusk_collect_cb collect_cb;
  void *collect_arg;
  const char *matched; /* the path, by `pattern`; NULL: it was redirected */
  size_t matched_len;

  /* From here on it is blank before each message. */
  dusk__body_t body_state;
  int failure; /* why the body did not become complete */
  uint64_t body_dropped;
  dusk_body_cb body_cb;
  void *body_arg;
  uint64_t deadline_ns;                /* of `timeout`; 0: not set */
  const struct dusk__pattern *pattern; /* of the innermost mux: see mux.c */
  uint64_t begun_ms;
  bool body_held : 1;     /* its taker is behind, whatever body_state is */
  bool continued : 1;     /* the client waits for no 100 (any more) */
  bool timed : 1;         /* `timeout` is registered */
  bool has_shown_ctx : 1; /* somebody has asked for `ctx` */
} dusk__request_t;

typedef struct dusk__response {
  dusk__h1_fields_t fields;

  /* From here on it is blank before each message. */
  uint64_t declared_length; /* DUSK_OFF: not declared */
  uint64_t body_bytes;
  dusk_drained_cb drained_cb;
  void *drained_arg;
  dusk__h1_type_t type; /* Content-Type, if that isn't among `fields` */
  dusk__framing_t framing;
  uint32_t slot_at; /* FRAMED_LATER: where the gathered bytes say so */
  uint32_t body_at; /* and where its body begins there */
  int status;       /* 0: not set */
  int err;          /* why it is not whole */
  int cut_err; /* what its callbacks are told when the connection has gone */
  bool has_date : 1;
  bool has_connection : 1; /* the handler's own, among `fields` */
  bool close : 1;          /* the connection ends with this response */
  bool header_sent : 1;    /* composed, at least */
  bool ended : 1;          /* by the handler: may be released */
  bool aborted : 1;
  bool refused : 1; /* the reply was the server's own */
  bool shaped : 1;  /* on_error_reply has been asked */
  bool hijacked : 1;
  bool is_reset : 1; /* the handler wants it cut, by a reset */
} dusk__response_t;

/* What few messages have; in their arena. */
typedef struct dusk__seldom {
  const char *path; /* these three as texts; NULL until asked for */
  const char *host;
  const char *peer;
  const dusk_values_t *query_values; /* these two are NULL, too */
  const dusk_values_t *cookies;
  struct dusk__path_value *path_values;
  dusk__value_t *values;
  dusk__header_hook_t *header_hooks; /* the last one registered first */
  dusk__end_hook_t *end_hooks;       /* likewise */
  void (*body_left)(void *body_arg); /* the message goes, whether body_cb has
                                      * been told its end or not; or NULL */
  uint64_t body_timeout_ms;          /* its own two; 0: the server's */
  uint64_t write_timeout_ms;
} dusk__seldom_t;

typedef enum dusk__stage {
  DUSK__STAGE_HEADER, /* not dispatched */
  DUSK__STAGE_HANDLING,
} dusk__stage_t;

struct dusk__exchange {
  uintptr_t handle; /* of the message that it is now */
  dusk__worker_t *worker;
  dusk__wire_t *wire;     /* NULL: cut off, held by the handler only */
  dusk__task_t task;      /* what goes on next turn; its link is also the pool's
                           */
  dusk__link_t held_link; /* in the pool's list of those that only a handler
                           * still holds */
  dusk__stage_t stage;
  const dusk_cause_t *cause; /* of its end, if that was not its response's */
  unsigned callbacks;        /* of its user that are on the stack */
  bool is_hooked : 1;        /* one of them is told of its header */
  bool begun : 1;            /* counted as a request */
  bool end_told : 1;         /* on_request_end has run */
  bool cut_told : 1;         /* on_request_cut has run */
  bool finished : 1;
  bool is_overdue : 1; /* a time-out has passed, and is to be acted upon */

  dusk__h1_t h1;
  dusk__arena_t arena;  /* of the message that it is now */
  char length_text[21]; /* of res.declared_length, for who asks */
  bool has_seldom;      /* not all of it is 0 */
  dusk__seldom_t seldom;
  dusk__request_t req;
  dusk__response_t res;
};

/* To be written; it can be read as it is. */
static inline dusk__seldom_t *dusk__ex_seldom(dusk__exchange_t *ex) {
  ex->has_seldom = true;
  return &ex->seldom;
}

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
  assert((!ex->res.ended || ex->callbacks > 0) &&
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

/* Whether it has a connection that can be written to. */
static inline bool dusk__ex_is_connected(const dusk__exchange_t *ex) {
  return ex->wire && dusk__stream_err(&ex->wire->stream) == 0;
}

/* How long it waits for its client. */
static inline uint64_t dusk__ex_body_timeout_ms(const dusk__exchange_t *ex) {
  uint64_t own_ms = ex->seldom.body_timeout_ms;
  return own_ms ? own_ms : ex->worker->config->body_timeout_ms;
}

static inline uint64_t dusk__ex_write_timeout_ms(const dusk__exchange_t *ex) {
  uint64_t own_ms = ex->seldom.write_timeout_ms;
  return own_ms ? own_ms : ex->worker->config->write_timeout_ms;
}

/* What a worker's exchanges share, and those to be used again. */
typedef struct dusk__pool {
  dusk__h1_dated_t dated;
  dusk__link_t spares; /* with their buffers */
  size_t spare_count;
  dusk__link_t bare;      /* and without */
  dusk__link_t held;      /* not in it: without a connection, and not ended by
                           * their handlers */
  dusk__exchange_t *next; /* what is read into for a connection that has no
                           * exchange */
  void (*go_on)(dusk__exchange_t *ex); /* one with a wire: it can */
} dusk__pool_t;

void dusk__pool_init(dusk__pool_t *pool, void (*go_on)(dusk__exchange_t *ex));
void dusk__pool_done(dusk__pool_t *pool);

/* A blank one, from the pool or new; NULL when memory ran out. */
dusk__exchange_t *dusk__ex_take(dusk__worker_t *worker);
/* A blank one, whose request never began, back to the pool. */
void dusk__ex_give(dusk__exchange_t *ex);

/* Ready for the next message on the same input. */
void dusk__ex_next_message(dusk__exchange_t *ex);

/* Cut off from its connection: contexts end with `cause`, callbacks are told
 * `err` next turn, and it is released when its handler lets it go. */
void dusk__ex_orphan(dusk__exchange_t *ex, const dusk_cause_t *cause, int err);
void dusk__ex_release(dusk__exchange_t *ex);

/* Around each call of user code that gets its handles: they stay good, and it
 * is not released, before that has returned. leave releases it if its time has
 * come meanwhile, which it can't while it has a wire. */
static inline void dusk__ex_enter(dusk__exchange_t *ex) {
  ex->callbacks++;
}

static inline void dusk__ex_leave(dusk__exchange_t *ex) {
  assert(ex->callbacks > 0);
  ex->callbacks--;
  if (ex->wire == NULL && ex->res.ended) dusk__ex_release(ex);
}

/* Goes on in the loop's turn; now, in a callback of the loop. */
void dusk__ex_defer(dusk__exchange_t *ex);
static inline void dusk__ex_go_on(dusk__exchange_t *ex) {
  ex->worker->pool->go_on(ex);
}

/* Its request's first byte has come. */
void dusk__ex_begin(dusk__exchange_t *ex);

/* A NUL-terminated copy in its arena; NULL when memory ran out. */
const char *dusk__ex_copy(dusk__exchange_t *ex, const char *text, size_t len);

/* The peer's address as text, "" when that is not known any more; note: now, if
 * on_request_end, which may come later than the connection's end, can want it.
 */
const char *dusk__ex_peer(dusk__exchange_t *ex);
void dusk__ex_note_peer(dusk__exchange_t *ex);

/* Its request has ended, in the report's words. */
void dusk__ex_count_end(dusk__exchange_t *ex, dusk__ending_t ending);

void dusk__ex_end_contexts(dusk__exchange_t *ex, const dusk_cause_t *cause);

/* Its response has ended: no handler has it, or has let go of it. */
void dusk__ex_note_ended(dusk__exchange_t *ex);

/* Its time-out, the server's own, is why it ends. */
void dusk__ex_timed_out(dusk__exchange_t *ex);

/* The handler has let go: hooks of its end and on_request_end are told, which
 * may end anything, and what was put at the request is released. Does nothing
 * the second time. */
void dusk__ex_finish(dusk__exchange_t *ex);

/* Tells on_request_cut of a request that its handler has not ended; one whose
 * hook is called, by who ends or fails it, is told of when it is held, if at
 * all. Does nothing the second time. */
void dusk__ex_tell_cut(dusk__exchange_t *ex);

/* Tells on_request_cut of those that only their handlers still hold. */
void dusk__ex_tell_held(dusk__worker_t *worker);

#endif
