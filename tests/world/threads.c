/* threads.c: see threads.h. */
#include "threads.h"

#include "clock.h"
#include "kernel.h"
#include "watch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#define WORLD_ASAN
#elif defined(__SANITIZE_THREAD__)
#define WORLD_TSAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WORLD_ASAN
#elif __has_feature(thread_sanitizer)
#define WORLD_TSAN
#endif
#endif
#ifdef WORLD_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef WORLD_TSAN
#include <sanitizer/tsan_interface.h>
#endif

static const size_t STACK = (size_t)1 << 19;

typedef struct thread {
  ucontext_t context;
  const void *stack;
  size_t stack_size;
  void *fake_stack; /* AddressSanitizer's */
  void *fiber;      /* ThreadSanitizer's */
  void *(*run)(void *arg);
  void *arg;
  bool has_ended;
  wait_kind_t waits;
  bool (*can)(void *who);
  void *who;
  uint64_t until;
} thread_t;

static thread_t threads[MAX_THREADS];
static void *stacks[MAX_THREADS]; /* kept from run to run */
static int made;
static int self;
static int before; /* who ran before this one */
static bool several;
static uint64_t order; /* state of the chance */
static int slow;       /* falls behind often; none: MAX_THREADS */
static void (*leave)(void);

/* -- Chance of its own ----------------------------------------------------- */

static uint64_t pick(uint64_t n) {
  return chance_next(&order) % n;
}

void threads_begin(uint64_t seed, bool are_several) {
  several = are_several;
  order = seed ^ UINT64_C(0x7ead5eed7ead5eed);
  made = 1;
  self = before = 0;
  leave = NULL;
  memset(&threads[0], 0, sizeof(threads[0]));
  slow = several ? (int)pick(2 * MAX_THREADS) : MAX_THREADS;
}

void threads_end(void) {
  several = false;
}

bool threads_are_several(void) {
  return several;
}

int thread_self(void) {
  return self;
}

int threads_made(void) {
  return made;
}

bool thread_has_ended(int thread) {
  return threads[thread].has_ended;
}

int threads_alive(void) {
  int alive = 0;
  for (int i = 1; i < made; i++)
    alive += !threads[i].has_ended;
  return alive;
}

/* -- From one to another --------------------------------------------------- */

/* What the sanitizers have to know of a switch, before and behind it. */
static void tell_before(thread_t *from, const thread_t *to) {
#ifdef WORLD_ASAN
  __sanitizer_start_switch_fiber(from->has_ended ? NULL : &from->fake_stack,
                                 to->stack, to->stack_size);
#endif
#ifdef WORLD_TSAN
  if (threads[0].fiber == NULL) threads[0].fiber = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(to->fiber, 0);
#endif
  (void)from;
  (void)to;
}

static void tell_behind(void) {
#ifdef WORLD_ASAN
  const void *stack;
  size_t size;
  __sanitizer_finish_switch_fiber(threads[self].fake_stack, &stack, &size);
  if (before != 0) return;
  threads[0].stack = stack;
  threads[0].stack_size = size;
#endif
}

static void go_to(int next) {
  if (next == self) return;
  int err = errno;
  thread_t *from = &threads[self];
  before = self;
  self = next;
  tell_before(from, &threads[next]);
  if (swapcontext(&from->context, &threads[next].context)) abort();
  tell_behind();
  errno = err;
  if (leave && self == 0) leave();
}

void threads_leave(void (*then)(void)) {
  leave = then;
  if (self == 0) then();
  go_to(0);
  abort(); /* nobody comes back */
}

static bool can_go_on(const thread_t *thread) {
  if (thread->has_ended) return false;
  return now() >= thread->until || (thread->can && thread->can(thread->who));
}

/* None can go on. */
static void let_time_pass(void) {
  uint64_t then = next_due();
  bool is_idle = true;
  for (int i = 0; i < made; i++) {
    const thread_t *thread = &threads[i];
    if (thread->has_ended) continue;
    is_idle = is_idle && thread->waits == WAIT_IDLE;
    if (thread->until < then) then = thread->until;
  }
  epoll_time_passes(then);
  if (is_idle) watch_waiting(then);
  pass_until(then);
}

static int choose(void) {
  for (;;) {
    int able[MAX_THREADS];
    uint64_t count = 0;
    for (int i = 0; i < made; i++)
      if (can_go_on(&threads[i])) able[count++] = i;
    if (count > 0) return able[pick(count)];
    let_time_pass();
  }
}

void thread_await(wait_kind_t kind, bool (*can)(void *who), void *who,
                  uint64_t until) {
  thread_t *thread = &threads[self];
  thread->waits = kind;
  thread->can = can;
  thread->who = who;
  thread->until = until;
  go_to(choose());
  thread->waits = WAIT_BEHIND;
  thread->can = NULL;
}

void thread_hold(uint64_t duration) {
  if (several)
    thread_await(WAIT_BEHIND, NULL, NULL, now() + duration);
  else
    pass_until(now() + duration);
}

/* How far it falls behind, mostly by nothing. */
static uint64_t delay(void) {
  if (pick(self == slow ? 4 : 16)) return 0;
  return pick(16) ? pick(100 * US) : pick(3 * MS);
}

void thread_pause(void) {
  if (!several || is_passing() || pick(self == slow ? 2 : 6)) return;
  thread_await(WAIT_BEHIND, NULL, NULL, now() + delay());
}

/* -- From beginning to end ------------------------------------------------- */

static void begin(void) {
  thread_t *thread = &threads[self];
  tell_behind();
  thread->run(thread->arg);
  thread->has_ended = true;
  go_to(choose());
}

static void *stack_of(int thread) {
  if (stacks[thread] == NULL)
    stacks[thread] = mmap(NULL, STACK, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stacks[thread] == MAP_FAILED) abort();
#ifdef WORLD_ASAN
  __asan_unpoison_memory_region(stacks[thread], STACK); /* one left a run */
#endif
  return stacks[thread];
}

int thread_new(void *(*run)(void *arg), void *arg) {
  if (made == MAX_THREADS) return -EAGAIN;
  thread_t *thread = &threads[made];
  void *fiber = thread->fiber;
  memset(thread, 0, sizeof(*thread));
  thread->fiber = fiber;
#ifdef WORLD_TSAN
  if (fiber == NULL) thread->fiber = __tsan_create_fiber(0);
#endif
  thread->run = run;
  thread->arg = arg;
  thread->stack = stack_of(made);
  thread->stack_size = STACK;
  if (getcontext(&thread->context)) abort();
  thread->context.uc_stack.ss_sp = stacks[made];
  thread->context.uc_stack.ss_size = STACK;
  makecontext(&thread->context, begin, 0);
  return made++;
}
