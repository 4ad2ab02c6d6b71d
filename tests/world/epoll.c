/* epoll.c: which descriptors are ready, and the one place where time passes; in
 * runs of several threads that is where none can go on. The ready ones are told
 * in any order, and sometimes the program is woken so late that several things
 * have happened meanwhile. */
#include "clock.h"
#include "kernel.h"
#include "story.h"
#include "threads.h"
#include "watch.h"

#include <errno.h>
#include <string.h>

/* A thread with its loop, which has one epoll. */
typedef struct turner {
  epoll_t *epoll;
  uint64_t returned_at;
  uint64_t held;
  uint64_t turns;
  bool waits;
} turner_t;

static turner_t turners[MAX_THREADS];
static struct {
  uint64_t all;
  uint64_t still; /* without time passing */
} turns;          /* of all loops */

void epoll_begin(void) {
  memset(turners, 0, sizeof(turners));
  memset(&turns, 0, sizeof(turns));
  for (int i = 0; i < MAX_THREADS; i++)
    turners[i].returned_at = now();
}

uint64_t epoll_turn_began(int thread) {
  return turners[thread].returned_at;
}

uint64_t epoll_turns(int thread) {
  return turners[thread].turns;
}

bool epoll_is_in_turn(int thread) {
  return !turners[thread].waits && !thread_has_ended(thread);
}

uint64_t epoll_held_by(int thread) {
  const turner_t *turner = &turners[thread];
  bool waits = threads_are_several() && !epoll_is_in_turn(thread);
  uint64_t turn = waits ? 0 : now() - turner->returned_at;
  return turn > turner->held ? turn : turner->held;
}

uint64_t epoll_held(void) {
  uint64_t held = 0;
  for (int i = 0; i < threads_made(); i++)
    if (epoll_held_by(i) > held) held = epoll_held_by(i);
  return held;
}

int epoll_set(epoll_t *epoll, int op, int fd, const struct epoll_event *event) {
  if (file_of(fd) == NULL) return -EBADF;
  turners[thread_self()].epoll = epoll;
  uint32_t *events = &epoll->events[fd - FIRST_FD];
  if (op == EPOLL_CTL_ADD && *events) return -EEXIST;
  if (op != EPOLL_CTL_ADD && *events == 0) return -ENOENT;
  if (op == EPOLL_CTL_DEL) {
    *events = 0;
    return 0;
  }
  *events = event->events | EPOLLERR | EPOLLHUP;
  epoll->data[fd - FIRST_FD] = event->data.u64;
  if (fd - FIRST_FD >= epoll->most) epoll->most = fd - FIRST_FD + 1;
  return 0;
}

void epoll_forget(int fd) {
  for (int i = 0; i < MAX_THREADS; i++)
    if (turners[i].epoll) turners[i].epoll->events[fd - FIRST_FD] = 0;
}

static int collect(const epoll_t *epoll, struct epoll_event ready[FDS]) {
  int count = 0;
  for (int i = 0; i < epoll->most; i++) {
    if (epoll->events[i] == 0) continue;
    uint32_t events = fd_events(FIRST_FD + i) & epoll->events[i];
    if (events == 0) continue;
    ready[count].events = events;
    ready[count].data.u64 = epoll->data[i];
    count++;
  }
  return count;
}

static void shuffle(struct epoll_event *events, int count) {
  for (int i = count - 1; i > 0; i--) {
    int j = (int)below((uint64_t)i + 1);
    struct epoll_event other = events[i];
    events[i] = events[j];
    events[j] = other;
  }
}

/* How late the program runs after it was woken. */
static uint64_t wake_up_delay(void) {
  if (!one_in(8)) return 0;
  return one_in(4) ? between(0, 3 * MS) : between(0, 100 * US);
}

enum { STILL_TURNS = 600, ALL_TURNS = 200000 };
static const uint64_t LONGEST = 100000 * MS;

/* What no drain may do, and no run could end after. */
static void look_at_turns(uint64_t until) {
  uint64_t loops = (uint64_t)threads_made();
  if (turns.still > STILL_TURNS * loops)
    run_is_stuck("the loop turns, and no time passes");
  if (turns.all > ALL_TURNS * loops) run_is_stuck("the loop turns too often");
  if (now() > EPOCH + LONGEST) run_is_stuck("the drain does not end");
  if (until == NEVER && next_due() == NEVER)
    run_is_stuck("the loop waits for ever");
}

void epoll_time_passes(uint64_t then) {
  look_at_turns(then);
  turns.still = 0;
}

static bool is_ready(void *who) {
  const epoll_t *epoll = who;
  for (int i = 0; i < epoll->most; i++)
    if (fd_events(FIRST_FD + i) & epoll->events[i]) return true;
  return false;
}

/* The same, where others go on meanwhile. */
static int wait_with_others(epoll_t *epoll, struct epoll_event ready[FDS],
                            uint64_t until) {
  bool waits = !is_ready(epoll);
  thread_await(WAIT_IDLE, is_ready, epoll, until);
  uint64_t delay = waits ? wake_up_delay() : 0;
  if (delay) thread_hold(delay);
  return collect(epoll, ready);
}

/* Lets time pass until something is ready, or until `until`. */
static int wait(epoll_t *epoll, struct epoll_event ready[FDS], uint64_t until) {
  int count = collect(epoll, ready);
  while (count == 0 && now() < until) {
    uint64_t due = next_due();
    look_at_turns(until);
    watch_waiting(due < until ? due : until);
    pass_until(due < until ? due : until);
    turns.still = 0;
    count = collect(epoll, ready);
  }
  uint64_t delay = turns.still == 0 ? wake_up_delay() : 0;
  if (delay) {
    pass_until(now() + delay);
    count = collect(epoll, ready);
  }
  return count;
}

int epoll_get(epoll_t *epoll, struct epoll_event *events, int most,
              int timeout_ms) {
  static struct epoll_event ready[FDS];
  turner_t *turner = &turners[thread_self()];
  pass_until(now());
  turner->held = epoll_held_by(thread_self());
  turner->turns++;
  turner->waits = true;
  if (thread_self() > 0) watch_turn(thread_self());
  uint64_t until = timeout_ms < 0 ? NEVER : now() + (uint64_t)timeout_ms * MS;
  turns.all++;
  turns.still++;
  look_at_turns(0);
  int count = threads_are_several() ? wait_with_others(epoll, ready, until)
                                    : wait(epoll, ready, until);
  turner->returned_at = now();
  turner->waits = false;
  shuffle(ready, count);
  if (count > most) count = most;
  memcpy(events, ready, (size_t)count * sizeof(*events));
  return count;
}
