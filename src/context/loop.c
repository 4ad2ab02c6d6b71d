/* loop.c: a tree's part of its loop: the turns, the timer, the wake-ups.
 *
 * One uv_async_t wakes the loop for what other threads, or this one outside
 * of a callback, have made due; one uv_timer_t serves all deadlines of the
 * tree. A uv_prepare_t and a uv_check_t tell when the loop turns, and on which
 * thread: a loop may be made here, run there, and by a third one after that.
 *
 *   fresh --first turn--> turning <--prepare-- between
 *                            \-------check------^
 *
 * Handles are touched while the loop turns, by the thread that turns it, alone.
 * Who comes in between leaves word (`woken`), and the next turn begins with it:
 * the timer is set at once, callbacks come with the async. Who comes meanwhile
 * from elsewhere sends. One thing can't wait for a turn: an
 * async that is not referenced lets uv_run return without one. While `keep`
 * counts a waiter it is, and before the first turn; in between, the thread that
 * turned the loop last sees to that.
 *
 * What a turn finds due is told to those above by the functions that they gave
 * when the loop was opened (`calls`). */
#include "loop.h"
#include "handles.h"

#include <assert.h>

/* -- Whose loop it is ----------------------------------------------------- */

enum { FRESH, BETWEEN, TURNING };

static bool is_last_here(dusk__root_t *root) {
  uv_thread_t self = uv_thread_self();
  uv_thread_t last = atomic_load_explicit(&root->thread, memory_order_relaxed);
  return uv_thread_equal(&self, &last) != 0;
}

static bool is_turning_here(dusk__root_t *root) {
  return atomic_load_explicit(&root->phase, memory_order_acquire) == TURNING &&
         is_last_here(root);
}

static void note_thread(dusk__root_t *root) {
  atomic_store_explicit(&root->thread, uv_thread_self(), memory_order_relaxed);
}

/* -- Keeping uv_run going ------------------------------------------------- */

static void sync_keep(dusk__root_t *root) {
  if (atomic_load(&root->keep) > 0)
    uv_ref((uv_handle_t *)&root->async);
  else
    uv_unref((uv_handle_t *)&root->async);
}

void dusk__loop_keep(dusk__root_t *root, int change) {
  unsigned before = atomic_fetch_add(&root->keep, (unsigned)change);
  if (before != 0 && before + (unsigned)change != 0) return;
  int phase = atomic_load_explicit(&root->phase, memory_order_acquire);
  bool is_here = is_last_here(root);
  if (is_here && phase != FRESH) sync_keep(root);
  if (!is_here || phase != TURNING) dusk__loop_wake(root);
}

void dusk__loop_expect(dusk__root_t *root) {
  if (is_last_here(root)) return;
  int phase = atomic_load(&root->phase);
  /* Else it is the wrong thread. */
  assert((phase != TURNING || uv_is_closing((uv_handle_t *)&root->check)) &&
         "not on the loop's thread");
  note_thread(root);
  if (phase == BETWEEN) sync_keep(root);
}

/* A turn that begins now either sees `woken` or is seen here. */
void dusk__loop_wake(dusk__root_t *root) {
  if (atomic_load(&root->woken)) return;
  atomic_store(&root->woken, true);
  if (atomic_load(&root->phase) == TURNING) uv_async_send(&root->async);
}

/* -- The timer ------------------------------------------------------------ */

static void on_timer(uv_timer_t *timer);

static uint64_t nearest(dusk__root_t *root) {
  return root->heap != NULL ? dusk__deadline_of(&root->heap->node) : DUSK_OFF;
}

/* The timer counts whole milliseconds of a clock that is read once a turn. It
 * is set to the one that the deadline lies in, and so comes less than one
 * early or late; on_timer then looks at the real clock. */
static void start_timer(dusk__root_t *root, uint64_t deadline_ns) {
  uint64_t now_ms = uv_now(root->timer.loop);
  uint64_t at_ms = deadline_ns / 1000000;
  uint64_t timeout_ms = 0;
  if (at_ms > now_ms)
    timeout_ms = at_ms - now_ms;
  else if (deadline_ns > uv_hrtime())
    timeout_ms = 1;
  uv_timer_start(&root->timer, on_timer, timeout_ms, 0);
  root->armed_ns = deadline_ns;
}

/* By the loop: now if it turns elsewhere, or else in its next turn. */
static void arm_later(dusk__root_t *root, uint64_t deadline_ns) {
  root->armed_ns = deadline_ns;
  root->is_armed_later = true;
  dusk__loop_wake(root);
}

/* A timer that is set too early is left so: it costs one look when it fires,
 * where following each deadline that comes and goes would cost a restart. */
void dusk__loop_arm(dusk__root_t *root) {
  uint64_t deadline_ns = nearest(root);
  if (deadline_ns >= root->armed_ns || atomic_load(&root->loop) == NULL) return;
  if (is_turning_here(root))
    start_timer(root, deadline_ns);
  else
    arm_later(root, deadline_ns);
}

/* -- A turn --------------------------------------------------------------- */

void dusk__loop_release(dusk__root_t *root, dusk__hooked_t *hooked) {
  if (is_last_here(root)) {
    hooked->hooks->release(hooked);
    return;
  }
  dusk__root_lock(root);
  hooked->next = root->released;
  root->released = hooked;
  dusk__loop_wake(root);
  dusk__root_unlock(root);
}

void dusk__loop_release_all(dusk__root_t *root) {
  dusk__root_lock(root);
  dusk__hooked_t *released = root->released;
  root->released = NULL;
  dusk__root_unlock(root);
  while (released != NULL) {
    dusk__hooked_t *hooked = released;
    released = hooked->next;
    hooked->hooks->release(hooked);
  }
}

/* Does to the handles what has been left to be done; true if that isn't all. */
static bool take_word(dusk__root_t *root) {
  atomic_store(&root->woken, false);
  dusk__root_lock(root);
  if (root->is_armed_later) root->armed_ns = DUSK_OFF;
  root->is_armed_later = false;
  dusk__loop_arm(root);
  bool is_all = root->due == NULL && root->released == NULL;
  dusk__root_unlock(root);
  sync_keep(root);
  return !is_all;
}

static void look_round(dusk__root_t *root) {
  (void)take_word(root);
  dusk__loop_release_all(root);
  root->calls->call_due(root);
}

static void on_prepare(uv_prepare_t *prepare) {
  dusk__root_t *root = prepare->data;
  note_thread(root);
  atomic_store(&root->phase, TURNING);
  if (atomic_load(&root->woken) && take_word(root)) dusk__loop_wake(root);
}

static void on_check(uv_check_t *check) {
  dusk__root_t *root = check->data;
  atomic_store_explicit(&root->phase, BETWEEN, memory_order_release);
}

static void on_async(uv_async_t *async) {
  look_round(async->data);
}

/* Timers have their time before prepare or after check, as libuv's version
 * has it. */
static void on_timer(uv_timer_t *timer) {
  dusk__root_t *root = timer->data;
  uint64_t now = uv_hrtime();
  note_thread(root);
  int phase = atomic_exchange(&root->phase, TURNING);
  dusk__root_lock(root);
  root->armed_ns = DUSK_OFF;
  root->calls->end_passed(root, now);
  look_round(root);
  if (phase != TURNING)
    atomic_store_explicit(&root->phase, BETWEEN, memory_order_release);
}

/* -- Opening and closing -------------------------------------------------- */

static void own_handle(dusk__root_t *root, uv_handle_t *handle) {
  handle->data = root;
  dusk__handle_opened(root);
}

/* Its async is on the loop. None of this can fail. The timer is the first
 * turn's for sure: an async sent now would be lost in the child of a fork. */
static void open_handles(dusk__root_t *root, uv_loop_t *loop) {
  (void)uv_timer_init(loop, &root->timer);
  (void)uv_prepare_init(loop, &root->prepare);
  (void)uv_check_init(loop, &root->check);
  (void)uv_timer_start(&root->timer, on_timer, 0, 0);
  (void)uv_prepare_start(&root->prepare, on_prepare);
  (void)uv_check_start(&root->check, on_check);
  uv_unref((uv_handle_t *)&root->timer);
  uv_unref((uv_handle_t *)&root->prepare);
  uv_unref((uv_handle_t *)&root->check);
  own_handle(root, (uv_handle_t *)&root->async);
  own_handle(root, (uv_handle_t *)&root->timer);
  own_handle(root, (uv_handle_t *)&root->prepare);
  own_handle(root, (uv_handle_t *)&root->check);
}

int dusk__loop_open(dusk__root_t *root, uv_loop_t *loop,
                    const dusk__calls_t *calls) {
  atomic_init(&root->thread, uv_thread_self());
  atomic_init(&root->phase, FRESH);
  atomic_init(&root->woken, true);
  root->armed_ns = DUSK_OFF;
  root->calls = calls;
  int err = uv_async_init(loop, &root->async, on_async);
  if (err != 0) return err;
  atomic_init(&root->loop, loop);
  open_handles(root, loop);
  return 0;
}

static void on_closed(uv_handle_t *handle) {
  dusk__handle_closed(handle->data);
}

static void close_handle(dusk__root_t *root, uv_handle_t *handle) {
  if (uv_is_closing(handle))
    dusk__handle_strayed(root, NULL);
  else
    uv_close(handle, on_closed);
}

void dusk__loop_close(dusk__root_t *root) {
  uv_loop_t *loop = root->async.loop;
  close_handle(root, (uv_handle_t *)&root->async);
  close_handle(root, (uv_handle_t *)&root->timer);
  close_handle(root, (uv_handle_t *)&root->prepare);
  close_handle(root, (uv_handle_t *)&root->check);
  dusk__handles_see_off(root, loop);
}
