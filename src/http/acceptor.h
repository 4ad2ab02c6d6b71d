/* Accepting: listening sockets of our own under a uv_poll_t each. What comes is
 * given upwards by functions told at init. See acceptor.c. */
#ifndef DUSK_HTTP_ACCEPTOR_H
#define DUSK_HTTP_ACCEPTOR_H

#include "listener.h"
#include "worker.h"

typedef struct dusk__acceptor dusk__acceptor_t;

/* What accepting needs of those above. */
typedef struct dusk__accepted {
  /* Gets what the next accepted socket needs, so that memory is missed while it
   * still is in its queue. */
  int (*prepare)(dusk__acceptor_t *acceptor);
  /* Takes an accepted, non-blocking socket of a client. */
  void (*pass)(dusk__acceptor_t *acceptor, int fd,
               const dusk__address_t *address);
  /* A batch has ended: whoever was passed something is to be told. */
  void (*passed)(dusk__acceptor_t *acceptor);
  /* How many connections are open. */
  size_t (*open)(dusk__acceptor_t *acceptor);
  /* There is no room: it pauses until dusk__acceptor_resume. */
  void (*full)(dusk__acceptor_t *acceptor);
  /* A listener has closed, or failed for good (its err). */
  void (*changed)(dusk__acceptor_t *acceptor);
} dusk__accepted_t;

struct dusk__acceptor {
  dusk__worker_t *worker; /* whose loop polls */
  const dusk__accepted_t *above;
  dusk__link_t sources;
  size_t listening; /* of them not yet closed */
  bool paused;      /* there is no room */
  bool is_sealing;  /* there is always room, and no error is final */
  int close_err;    /* of the first listener whose close failed */
};

/* One address that is served. */
typedef struct dusk__source {
  dusk__link_t link;
  dusk__listener_t listener;
  dusk__acceptor_t *acceptor;
  uv_poll_t poll;
  uv_timer_t retry; /* after EMFILE and the like */
  uint64_t retry_ms;
  dusk_seal_t means; /* of its seal */
  dusk_serve_cb cb;
  void *arg;
  int err; /* by which accepting failed for good */
} dusk__source_t;

void dusk__acceptor_init(dusk__acceptor_t *acceptor, dusk__worker_t *worker,
                         const dusk__accepted_t *above);
/* Frees its sources, which have closed. */
void dusk__acceptor_done(dusk__acceptor_t *acceptor);

/* Opens, and begins to accept. *ret_source belongs to the acceptor. */
int dusk__acceptor_open(dusk__acceptor_t *acceptor, const char *address,
                        dusk_serve_cb cb, void *arg,
                        dusk__source_t **ret_source);

/* The next one behind `source`, or the first behind NULL; NULL at the end. */
dusk__source_t *dusk__acceptor_next(const dusk__acceptor_t *acceptor,
                                    const dusk__source_t *source);

/* Goes on if there was no room. */
void dusk__acceptor_resume(dusk__acceptor_t *acceptor);

/* Accepts up to `limit` connections, and counts them. 0 when that many were
 * accepted or the queue is empty, else the error because of which no more can
 * be accepted now. */
int dusk__source_accept(dusk__source_t *source, size_t limit,
                        size_t *ret_accepted);

/* Whether nobody is in its queue, which accept(2) doesn't tell when there is no
 * descriptor. Not for a Unix socket that was shut down: it is always ready. */
bool dusk__source_is_empty(const dusk__source_t *source);

static inline bool dusk__source_is_open(const dusk__source_t *source) {
  return source->listener.fd >= 0;
}

/* Closes the socket. Does nothing the second time. */
void dusk__source_close(dusk__source_t *source);

/* Tells the serve callback, once, why serving ended. */
void dusk__source_tell(dusk__source_t *source, int err);

#endif
