/* Threads, played: coroutines of the one thread that there is. Which of those
 * that can go on does is chance's, and so is how long one falls behind; time
 * passes when none can. All but thread_hold does nothing in runs that have one
 * thread. */
#ifndef WORLD_THREADS_H
#define WORLD_THREADS_H

#include <stdbool.h>
#include <stdint.h>

enum { MAX_THREADS = 5 };

/* `several`: whether there may be more than the first. `seed` is that of their
 * order, apart from all other chance. */
void threads_begin(uint64_t seed, bool several);
bool threads_are_several(void);
void threads_end(void);

/* Its number; 0 is the first, which runs main. */
int thread_self(void);
int threads_made(void);
int threads_alive(void); /* without the first */
bool thread_has_ended(int thread);
/* Gives its number, or -EAGAIN. */
int thread_new(void *(*run)(void *arg), void *arg);

/* What a thread waits for. */
typedef enum wait_kind {
  WAIT_BEHIND, /* to be its turn again */
  WAIT_LOCKED, /* for another thread */
  WAIT_IDLE,   /* in epoll_wait */
} wait_kind_t;

/* Until `can`, which may be NULL, or that time. Others go on, and may before it
 * does in any case. */
void thread_await(wait_kind_t kind, bool (*can)(void *who), void *who,
                  uint64_t until);

/* This thread is busy for so long; others go on. */
void thread_hold(uint64_t duration);

/* Here another thread may come first. */
void thread_pause(void);

/* Leaves all others where they are, and has the first call this. */
void threads_leave(void (*then)(void)) __attribute__((noreturn));

#endif
