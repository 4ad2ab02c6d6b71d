/* A listening socket of our own under a uv_poll_t. See listener.c. */
#ifndef DUSK_HTTP_LISTENER_H
#define DUSK_HTTP_LISTENER_H

#include "list.h"

#include <dusk/http.h>
#include <sys/types.h>

typedef enum dusk__listener_kind {
  DUSK__TCP,
  DUSK__UNIX,
  DUSK__HANDED_OVER, /* not ours to seal: its backlog is the next process's */
} dusk__listener_kind_t;

typedef struct dusk__listener {
  dusk__link_t link;
  dusk_server_t *server;
  uv_poll_t poll;
  uv_timer_t retry; /* after EMFILE and the like */
  uint64_t retry_ms;
  int fd; /* -1: closed */
  dusk__listener_kind_t kind;
  dusk_seal_t means; /* of its seal */
  int queued_before; /* connections may wait that haven't its options */
  dev_t device;      /* of a Unix socket's file, to remove no other */
  ino_t inode;
  dusk_serve_cb cb;
  void *arg;
  int err;           /* by which accepting failed for good */
  char address[136]; /* the longest is a Unix socket's */
} dusk__listener_t;

/* Opens, and begins to accept. */
int dusk__listener_open(dusk_server_t *server, const char *address,
                        dusk_serve_cb cb, void *arg);

/* Accepts up to `limit` connections, and counts them. 0 when that many were
 * accepted or the queue is empty, else the error because of which no more can
 * be accepted now. */
int dusk__listener_accept(dusk__listener_t *listener, size_t limit,
                          size_t *ret_accepted);

/* Whether nobody is in its queue, which accept(2) doesn't tell when there is no
 * descriptor. Not for a Unix socket that was shut down: it is always ready. */
bool dusk__listener_is_empty(const dusk__listener_t *listener);

/* Stops and resumes accepting, for max_connections. */
void dusk__listeners_pause(dusk_server_t *server);
void dusk__listeners_resume(dusk_server_t *server);

/* Closes the socket. */
void dusk__listener_close(dusk__listener_t *listener);

/* Tells the serve callback, once, why serving ended. */
void dusk__listener_tell(dusk__listener_t *listener, int err);

/* Releases a closed and told listener's memory. */
void dusk__listeners_free(dusk_server_t *server);

#endif
