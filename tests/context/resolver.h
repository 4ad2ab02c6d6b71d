/* resolver.h: a getaddrinfo that stands before the C library's, also for
 * libuv's pool, and answers for these names; all others are passed on.
 *
 *   two.test   127.0.0.2, 127.0.0.1
 *   six.test   ::1, 127.0.0.1
 *   three.test 127.0.0.1 to 127.0.0.3
 *   none.test  EAI_NONAME
 *   slow.test  127.0.0.1, but only when it is let go
 *
 * Its results are allocated as the test allocates. */
#ifndef RESOLVER_H
#define RESOLVER_H

void resolver_open(void);
void resolver_close(void);

/* How often it was asked, for whatever name, since it was opened. */
int resolver_calls(void);

/* Returns when a thread is busy with slow.test. */
void resolver_wait_slow(void);
/* Lets one slow.test go, whether it has begun or not. */
void resolver_let_go(void);

#endif
