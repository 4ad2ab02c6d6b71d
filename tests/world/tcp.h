/* What tcp.c and handshake.c share. */
#ifndef WORLD_TCP_H
#define WORLD_TCP_H

#include "kernel.h"

/* The way to the other side, and again after `first_retry` where it is lost,
 * which doubles. */
uint64_t wire_delay(const link_t *link, uint64_t first_retry);
/* The server's kernel sends a reset. */
void reset_client(link_t *link);
/* The third step has come: into the accept queue, if there is room. */
void handshake_complete(link_t *link);
/* One read or write in so many does less than it could; 0: none. */
void tcp_be_short(uint64_t one_in_so_many);

#endif
