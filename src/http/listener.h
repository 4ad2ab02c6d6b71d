/* A listening socket: how it was opened, and its file. See listener.c. */
#ifndef DUSK_HTTP_LISTENER_H
#define DUSK_HTTP_LISTENER_H

#include "address.h"

#include <sys/types.h>

typedef enum dusk__listener_kind {
  DUSK__TCP,
  DUSK__UNIX,
  DUSK__HANDED_OVER, /* not ours to seal: its backlog is the next process's */
} dusk__listener_kind_t;

typedef struct dusk__listener {
  int fd; /* -1: closed */
  dusk__listener_kind_t kind;
  int queued_before; /* connections may wait that haven't its options */
  dev_t device;      /* of a Unix socket's file, to remove no other */
  ino_t inode;
  char address[136]; /* the longest is a Unix socket's */
} dusk__listener_t;

/* Binds and listens, or takes over, as dusk_server_serve tells. */
int dusk__listener_open(dusk__listener_t *listener, const char *address);

/* Closes it, and removes its file. What close(2) told. */
int dusk__listener_close(dusk__listener_t *listener);

/* What Linux hands on from a listening socket to the accepted ones; for those
 * that were in its queue before. */
int dusk__listener_set_options(int fd);

#endif
