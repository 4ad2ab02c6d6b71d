/* What the checks see of the kernel: called by tcp.c, when it has happened. */
#ifndef WORLD_WATCH_H
#define WORLD_WATCH_H

#include "kernel.h"

void watch_accepted(link_t *link);
/* By one of the threads, from now on. */
void watch_used(link_t *link);
/* The server's program has read; before that up.read was `from`. */
void watch_read(link_t *link, uint64_t from);
void watch_written(link_t *link, const char *bytes, size_t len);
/* It half-closes, or closes without having half-closed. */
void watch_half_closing(link_t *link);
void watch_closed(link_t *link);
void watch_hijacked(link_t *link);
/* A thread, not the first, begins a turn. */
void watch_turn(int thread);
void watch_listener_closing(listener_t *listener);
/* The loop, or all of them, are about to wait until `then`. */
void watch_waiting(uint64_t then);

/* The run can't go on: tells why, and does not return. */
void run_is_stuck(const char *why) __attribute__((noreturn));

#endif
