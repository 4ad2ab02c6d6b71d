/* What only some kernels can tell or do, for the drain. Chosen by CMake:
 * sys_linux.c or sys_portable.c. Counts are 0 or more, or a negative error. */
#ifndef DUSK_HTTP_SYS_H
#define DUSK_HTTP_SYS_H

#include <stddef.h>
#include <stdint.h>

/* Lets the listening TCP socket `fd` drop every fresh SYN: handshakes under
 * way go on, new ones don't begin. 0 or a negative error; UV_ENOTSUP where
 * there is no means. */
int dusk__sys_refuse_handshakes(int fd);

/* Opens what half_open asks: a descriptor that the caller closes, or a negative
 * error where it is refused. */
int dusk__sys_open_diag(void);

/* How many handshakes with the listening TCP socket `fd`, its address and its
 * port, are half-way. Takes milliseconds. After an error `diag` is of no more
 * use. */
int dusk__sys_half_open(int diag, int fd);
/* The same by other means, ten times slower: a list of all of the system's
 * connections is read. Needs a free descriptor. */
int dusk__sys_half_open_slowly(int fd);

/* How many connections wait in the queue of the listening TCP socket `fd`. */
int dusk__sys_queued(int fd);

/* The round-trip time of a TCP connection in ms, rounded up; 0 if unknown. */
uint64_t dusk__sys_round_trip_ms(int fd);

/* How many bytes of what was written to a connected socket its peer has not
 * acknowledged; 0 if unknown. */
size_t dusk__sys_unacknowledged(int fd);

#endif
