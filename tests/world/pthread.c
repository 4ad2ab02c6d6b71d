/* pthread.c: the C library's functions for threads, where a run has several.
 * See libc.c. Locks are only noted here: one that a run leaves locked is free
 * for the next one. */
#include "clock.h"
#include "kernel.h"
#include "libc.h"
#include "threads.h"
#include "watch.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <string.h>
#include <uv.h>

enum { LOCKS = 64 };

typedef struct lock {
  const void *mutex;
  int thread;
} lock_t;

static lock_t locks[LOCKS]; /* those that are locked */
static int locked;

void pthread_begin(void) {
  locked = 0;
}

/* -- Threads --------------------------------------------------------------- */

/* Numbers stand for themselves; the first has the real one. */
int pthread_create(pthread_t *ret_thread, const pthread_attr_t *attr,
                   void *(*run)(void *), void *arg) {
  REAL(pthread_create);
  if (!threads_are_several()) return real(ret_thread, attr, run, arg);
  int number = thread_new(run, arg);
  if (number < 0) return -number;
  *ret_thread = (pthread_t)number;
  thread_pause();
  return 0;
}

static bool has_ended(void *who) {
  return thread_has_ended((int)(uintptr_t)who);
}

int pthread_join(pthread_t thread, void **ret_value) {
  REAL(pthread_join);
  if (!threads_are_several()) return real(thread, ret_value);
  thread_await(WAIT_LOCKED, has_ended, (void *)(uintptr_t)thread, NEVER);
  if (ret_value) *ret_value = NULL;
  return 0;
}

pthread_t pthread_self(void) {
  REAL(pthread_self);
  return thread_self() == 0 ? real() : (pthread_t)thread_self();
}

/* Who spins waits for another thread to go on. */
int sched_yield(void) {
  REAL(sched_yield);
  if (!threads_are_several()) return real();
  thread_await(WAIT_LOCKED, NULL, NULL, now() + US);
  return 0;
}

/* libuv's; here too another may come first, for who is woken waits while this
 * goes on. */
int uv_async_send(uv_async_t *async) {
  REAL(uv_async_send);
  int result = real(async);
  thread_pause();
  return result;
}

/* -- Locks ----------------------------------------------------------------- */

static lock_t *lock_of(const void *mutex) {
  for (int i = 0; i < locked; i++)
    if (locks[i].mutex == mutex) return &locks[i];
  return NULL;
}

static bool is_free(void *mutex) {
  return lock_of(mutex) == NULL;
}

static void take(const void *mutex) {
  if (locked == LOCKS) run_is_stuck("so many locks are locked");
  locks[locked++] = (lock_t){mutex, thread_self()};
}

int pthread_mutex_lock(pthread_mutex_t *mutex) {
  REAL(pthread_mutex_lock);
  if (!threads_are_several()) return real(mutex);
  thread_pause();
  const lock_t *lock = lock_of(mutex);
  if (lock && lock->thread == thread_self())
    run_is_stuck("a thread waits for a lock that it has");
  while (!is_free(mutex))
    thread_await(WAIT_LOCKED, is_free, mutex, NEVER);
  take(mutex);
  return 0;
}

int pthread_mutex_trylock(pthread_mutex_t *mutex) {
  REAL(pthread_mutex_trylock);
  if (!threads_are_several()) return real(mutex);
  if (!is_free(mutex)) return EBUSY;
  take(mutex);
  return 0;
}

int pthread_mutex_unlock(pthread_mutex_t *mutex) {
  REAL(pthread_mutex_unlock);
  if (!threads_are_several()) return real(mutex);
  lock_t *lock = lock_of(mutex);
  if (lock == NULL || lock->thread != thread_self())
    run_is_stuck("a thread unlocks what it has not locked");
  *lock = locks[--locked];
  thread_pause();
  return 0;
}

/* -- Semaphores ------------------------------------------------------------ */

static bool is_up(void *who) {
  int value = 0;
  return sem_getvalue(who, &value) == 0 && value > 0;
}

int sem_wait(sem_t *sem) {
  REAL(sem_wait);
  while (threads_are_several() && !is_up(sem))
    thread_await(WAIT_LOCKED, is_up, sem, NEVER);
  return real(sem);
}

int sem_post(sem_t *sem) {
  REAL(sem_post);
  thread_pause();
  int result = real(sem);
  thread_pause();
  return result;
}
