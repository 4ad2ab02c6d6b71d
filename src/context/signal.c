/* signal.c: receivers of signals: bounded queues on uv_signal_t.
 *
 * A receiver has a watch, with a handle, for each signal it wants. A signal
 * goes straight to the callback that waits for it when nothing is queued, and
 * else into the queue if there is room. The queue is under the lock of the
 * root's tree, since any thread may take from it; all else belongs to the
 * loop's thread. A stopped watch is closed and frees itself: one that was
 * started again could be called for what was caught before. A muted one, from
 * which reset or ignore has taken the signal, is stopped in the loop's next
 * turn, if not sooner.
 *
 * How a signal is taken from the process and given back: capture.c. */
#include <dusk/signal.h>
#include "capture.h"
#include "handles.h"
#include "loop.h"
#include "waiter.h"

#include <signal.h>
#include <stdlib.h>

typedef struct dusk__watch watch_t;

struct dusk__watch {
  dusk__capture_t capture; /* first: it begins with the handle */
  dusk_signals_t *signals; /* NULL once stopped */
  dusk__root_t *root;
  watch_t *next;
  bool in_callback;
};

struct dusk_signals {
  dusk__root_t *root;
  watch_t *watches;
  dusk_signals_cb cb; /* of a receive that waits */
  void *arg;
  dusk_waiter_t ready; /* due while something is queued for that */
  dusk_waiter_t muted; /* due while a muted watch is to be stopped */
  size_t capacity;
  size_t head; /* under the lock, with the next two */
  size_t count;
  unsigned char queue[]; /* a ring of capacity + 1 */
};

int dusk_signals_new(dusk_context_t *root, unsigned capacity,
                     dusk_signals_t **ret_signals) {
  if (root == NULL || ret_signals == NULL || dusk_context_loop(root) == NULL)
    return UV_EINVAL;
  dusk__loop_expect(dusk__node_of(root)->root);
  size_t size = sizeof(dusk_signals_t) + 1 + capacity;
  /* Where a size_t has no more bits than an unsigned. */
  dusk_signals_t *signals = size > capacity ? malloc(size) : NULL;
  if (signals == NULL) return UV_ENOMEM;
  *signals =
      (dusk_signals_t){.root = dusk__node_of(root)->root, .capacity = capacity};
  atomic_fetch_add(&signals->root->users, 1);
  *ret_signals = signals;
  return 0;
}

/* -- The queue ------------------------------------------------------------ */

/* One more place when a callback waits: it takes one at once. Who mutes a watch
 * takes the lock after it, and then nothing is queued any more. */
static void push(watch_t *watch) {
  dusk_signals_t *signals = watch->signals;
  dusk__root_lock(signals->root);
  if (!atomic_load(&watch->capture.is_muted) &&
      signals->count < signals->capacity + (signals->cb != NULL)) {
    size_t tail = (signals->head + signals->count++) % (signals->capacity + 1);
    signals->queue[tail] = (unsigned char)watch->capture.signum;
  }
  dusk__root_unlock(signals->root);
}

int dusk_signals_next(dusk_signals_t *signals) {
  int signum = 0;
  if (signals == NULL) return 0;
  dusk__root_lock(signals->root);
  if (signals->count > 0) {
    signum = signals->queue[signals->head];
    signals->head = (signals->head + 1) % (signals->capacity + 1);
    signals->count--;
  }
  dusk__root_unlock(signals->root);
  return signum;
}

static bool is_empty(dusk_signals_t *signals) {
  dusk__root_lock(signals->root);
  bool empty = signals->count == 0;
  dusk__root_unlock(signals->root);
  return empty;
}

/* -- Receiving ------------------------------------------------------------ */

static void hand_over(dusk_signals_t *signals, int signum) {
  dusk_signals_cb cb = signals->cb;
  signals->cb = NULL;
  cb(signals, signum, signals->arg);
}

static void on_ready(dusk_waiter_t *ready) {
  dusk_signals_t *signals = dusk__container_of(ready, dusk_signals_t, ready);
  if (signals->cb == NULL) return; /* called meanwhile with a newer one */
  int signum = dusk_signals_next(signals);
  /* 0: another thread has taken it; the callback waits on. */
  if (signum != 0) hand_over(signals, signum);
}

/* Has the callback called for what is queued, if it waits. */
static void post_ready(dusk_signals_t *signals) {
  if (signals->cb == NULL || is_empty(signals)) return;
  dusk_waiter_stop(&signals->ready);
  dusk__waiter_post(&signals->ready, signals->root, on_ready);
}

int dusk_signals_receive(dusk_signals_t *signals, dusk_signals_cb cb,
                         void *arg) {
  if (signals == NULL) return UV_EINVAL;
  dusk__loop_expect(signals->root);
  if (cb == NULL)
    dusk_waiter_stop(&signals->ready);
  else if (signals->cb != NULL)
    return UV_EBUSY;
  signals->cb = cb;
  signals->arg = arg;
  post_ready(signals);
  return 0;
}

static void on_signal(uv_signal_t *handle, int signum) {
  watch_t *watch = (watch_t *)handle;
  dusk_signals_t *signals = watch->signals;
  if (atomic_load(&watch->capture.is_muted)) return;
  watch->in_callback = true;
  if (signals->cb != NULL && is_empty(signals))
    hand_over(signals, signum);
  else
    push(watch);
  watch->in_callback = false;
}

/* -- Notify and stop ------------------------------------------------------ */

static void on_closed(uv_handle_t *handle) {
  watch_t *watch = (watch_t *)handle;
  dusk__handle_closed(watch->root);
  free(watch);
}

/* What the loop had not dispatched yet is queued. */
static void stop_watch(watch_t *watch) {
  unsigned caught = dusk__capture_stop(&watch->capture, watch->in_callback);
  for (; caught > 0; caught--)
    push(watch);
  uv_handle_t *handle = (uv_handle_t *)&watch->capture.handle;
  watch->signals = NULL;
  if (uv_is_closing(handle))
    dusk__handle_strayed(watch->root, handle);
  else
    uv_close(handle, on_closed);
}

/* Stops those in front of `end`. */
static void stop_watches(dusk_signals_t *signals, watch_t *end) {
  while (signals->watches != end) {
    watch_t *watch = signals->watches;
    signals->watches = watch->next;
    stop_watch(watch);
  }
}

static void stop_muted(dusk_signals_t *signals) {
  watch_t **link = &signals->watches;
  while (*link != NULL) {
    watch_t *watch = *link;
    if (atomic_load(&watch->capture.is_muted)) {
      *link = watch->next;
      stop_watch(watch);
    } else {
      link = &watch->next;
    }
  }
}

static void on_muted_due(dusk_waiter_t *muted) {
  stop_muted(dusk__container_of(muted, dusk_signals_t, muted));
}

static void on_muted(dusk__capture_t *capture) {
  dusk_signals_t *signals = ((watch_t *)capture)->signals;
  dusk_waiter_stop(&signals->muted);
  dusk__waiter_post(&signals->muted, signals->root, on_muted_due);
}

static bool wants(dusk_signals_t *signals, int signum) {
  watch_t *watch = signals->watches;
  while (watch != NULL && watch->capture.signum != signum)
    watch = watch->next;
  return watch != NULL;
}

static int add_watch(dusk_signals_t *signals, int signum) {
  dusk__root_t *root = signals->root;
  watch_t *watch = malloc(sizeof(*watch));
  if (watch == NULL) return UV_ENOMEM;
  uv_signal_t *handle = &watch->capture.handle;
  int err = uv_signal_init(root->timer.loop, handle);
  if (err != 0) {
    free(watch);
    return err;
  }
  uv_unref((uv_handle_t *)handle);
  dusk__handle_opened(root);
  watch->capture.on_muted = on_muted;
  watch->signals = signals;
  watch->root = root;
  watch->in_callback = false;
  err = dusk__capture_start(&watch->capture, on_signal, signum);
  if (err != 0) {
    uv_close((uv_handle_t *)handle, on_closed);
    return err;
  }
  watch->next = signals->watches;
  signals->watches = watch;
  return 0;
}

/* By these a program learns of its own faults, and of its profiler's time. */
static bool is_in_all(int signum) {
  return !dusk__capture_is_fault(signum) && signum != SIGPROF;
}

/* The i-th number of a list, or of all if `count` is 0; 0: not to be had. */
static int listed(const int *signums, size_t count, size_t i) {
  int signum = count > 0 ? signums[i] : (int)i;
  if (!dusk__capture_possible(signum)) return 0;
  return count > 0 || is_in_all(signum) ? signum : 0;
}

static size_t length(size_t count) {
  return count > 0 ? count : 65;
}

int dusk_signals_notify(dusk_signals_t *signals, const int *signums,
                        size_t count) {
  if (signals == NULL || (signums == NULL && count > 0)) return UV_EINVAL;
  dusk__loop_expect(signals->root);
  stop_muted(signals);
  watch_t *before = signals->watches;
  for (size_t i = 0; i < length(count); i++) {
    int signum = listed(signums, count, i);
    if (signum == 0 || wants(signals, signum)) continue;
    int err = add_watch(signals, signum);
    if (err != 0 && err != UV_EINVAL) {
      stop_watches(signals, before);
      post_ready(signals);
      return err;
    }
  }
  return 0;
}

void dusk_signals_stop(dusk_signals_t *signals) {
  if (signals == NULL) return;
  dusk__loop_expect(signals->root);
  stop_watches(signals, NULL);
  post_ready(signals);
}

void dusk_signals_free(dusk_signals_t *signals) {
  if (signals == NULL) return;
  dusk__loop_expect(signals->root);
  stop_watches(signals, NULL);
  dusk_waiter_stop(&signals->ready);
  dusk_waiter_stop(&signals->muted);
  atomic_fetch_sub(&signals->root->users, 1);
  free(signals);
}

/* -- The whole process ---------------------------------------------------- */

int dusk_signals_reset(const int *signums, size_t count) {
  if (signums == NULL && count > 0) return UV_EINVAL;
  for (size_t i = 0; i < length(count); i++) {
    /* All that anybody has, whether it is in "all" or not. */
    int signum = count > 0 ? signums[i] : (int)i;
    if (dusk__capture_possible(signum)) dusk__capture_mute(signum, false);
  }
  return 0;
}

int dusk_signals_ignore(const int *signums, size_t count) {
  if (signums == NULL && count > 0) return UV_EINVAL;
  for (size_t i = 0; i < length(count); i++) {
    int signum = listed(signums, count, i);
    if (signum != 0) dusk__capture_mute(signum, true);
  }
  return 0;
}

bool dusk_signal_ignored(int signum) {
  return dusk__capture_possible(signum) && dusk__capture_ignored(signum);
}
