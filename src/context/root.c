/* root.c: a tree's attachment to its loop.
 *
 *   attached --detach--> closing --last handle closed--> detached
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
 * A root is freed when it is detached and nothing refers to it any more, its
 * last descendant included. */
#include "tree.h"

#include <assert.h>
#include <stdlib.h>

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

/* -- The lock ------------------------------------------------------------- */

static void pause_cpu(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/* What it is held for mostly takes less time than to sleep and be woken; so
 * looks again a few times, ever less often, lest two get in each other's way.
 */
void dusk__root_lock_busy(dusk__root_t *root) {
  for (int pauses = 32; pauses < 1024; pauses *= 2) {
    for (int i = 0; i < pauses; i++)
      pause_cpu();
    if (uv_mutex_trylock(&root->lock) == 0) return;
  }
  uv_mutex_lock(&root->lock);
}

/* -- Keeping uv_run going ------------------------------------------------- */

static void sync_keep(dusk__root_t *root) {
  if (atomic_load(&root->keep) > 0)
    uv_ref((uv_handle_t *)&root->async);
  else
    uv_unref((uv_handle_t *)&root->async);
}

void dusk__root_keep(dusk__root_t *root, int change) {
  unsigned before = atomic_fetch_add(&root->keep, (unsigned)change);
  if (before != 0 && before + (unsigned)change != 0) return;
  int phase = atomic_load_explicit(&root->phase, memory_order_acquire);
  bool is_here = is_last_here(root);
  if (is_here && phase != FRESH) sync_keep(root);
  if (!is_here || phase != TURNING) dusk__root_wake(root);
}

void dusk__root_expect_loop(dusk__root_t *root) {
  if (is_last_here(root)) return;
  int phase = atomic_load(&root->phase);
  /* Else it is the wrong thread. */
  assert(phase != TURNING || uv_is_closing((uv_handle_t *)&root->check));
  note_thread(root);
  if (phase == BETWEEN) sync_keep(root);
}

/* A turn that begins now either sees `woken` or is seen here. */
void dusk__root_wake(dusk__root_t *root) {
  if (atomic_load(&root->woken)) return;
  atomic_store(&root->woken, true);
  if (atomic_load(&root->phase) == TURNING) uv_async_send(&root->async);
}

/* -- The timer ------------------------------------------------------------ */

static void on_timer(uv_timer_t *timer);

static uint64_t nearest(dusk__root_t *root) {
  return root->heap != NULL ? atomic_load_explicit(&root->heap->node.deadline,
                                                   memory_order_relaxed)
                            : DUSK_OFF;
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
  dusk__root_wake(root);
}

/* A timer that is set too early is left so: it costs one look when it fires,
 * where following each deadline that comes and goes would cost a restart. */
void dusk__root_arm(dusk__root_t *root) {
  uint64_t deadline_ns = nearest(root);
  if (deadline_ns >= root->armed_ns || atomic_load(&root->loop) == NULL) return;
  if (is_turning_here(root))
    start_timer(root, deadline_ns);
  else
    arm_later(root, deadline_ns);
}

/* -- A turn --------------------------------------------------------------- */

void dusk__root_release(dusk__root_t *root, dusk__hooked_t *hooked) {
  if (is_last_here(root)) {
    hooked->hooks->release(hooked);
    return;
  }
  dusk__root_lock(root);
  hooked->next = root->released;
  root->released = hooked;
  dusk__root_wake(root);
  dusk__root_unlock(root);
}

static void release_all(dusk__root_t *root) {
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
  dusk__root_arm(root);
  bool is_all = root->due == NULL && root->released == NULL;
  dusk__root_unlock(root);
  sync_keep(root);
  return !is_all;
}

static void look_round(dusk__root_t *root) {
  (void)take_word(root);
  release_all(root);
  dusk__waiters_run(root);
}

static void on_prepare(uv_prepare_t *prepare) {
  dusk__root_t *root = prepare->data;
  note_thread(root);
  atomic_store(&root->phase, TURNING);
  if (atomic_load(&root->woken) && take_word(root)) dusk__root_wake(root);
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
  dusk_waiter_t *away = NULL;
  uint64_t now = uv_hrtime();
  note_thread(root);
  int phase = atomic_exchange(&root->phase, TURNING);
  dusk__root_lock(root);
  root->armed_ns = DUSK_OFF;
  while (nearest(root) <= now)
    dusk__timed_end(root->heap, &away);
  dusk__settle(root, away);
  look_round(root);
  if (phase != TURNING)
    atomic_store_explicit(&root->phase, BETWEEN, memory_order_release);
}

/* -- Attaching and detaching ---------------------------------------------- */

static void init_node(dusk__root_t *root) {
  dusk__node_t *node = &root->node;
  atomic_init(&node->base.refs, 1);
  node->base.kind = DUSK__ROOT;
  node->root = root;
  atomic_init(&node->deadline, DUSK_OFF);
  dusk__node_born(node);
}

static void own_handle(dusk__root_t *root, uv_handle_t *handle) {
  handle->data = root;
  dusk__root_handle_opened(root);
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

int dusk_context_attach(uv_loop_t *loop, dusk_context_t **ret_root) {
  if (loop == NULL || ret_root == NULL) return UV_EINVAL;
  dusk__root_t *root = calloc(1, sizeof(*root));
  if (root == NULL) return UV_ENOMEM;
  init_node(root);
  atomic_init(&root->thread, uv_thread_self());
  atomic_init(&root->loop, loop);
  atomic_init(&root->phase, FRESH);
  atomic_init(&root->woken, true);
  root->armed_ns = DUSK_OFF;
  int err = uv_mutex_init(&root->lock);
  if (err != 0) goto free_root;
  err = uv_async_init(loop, &root->async, on_async);
  if (err != 0) goto destroy_lock;
  open_handles(root, loop);
  *ret_root = &root->node.base;
  return 0;

destroy_lock:
  uv_mutex_destroy(&root->lock);
free_root:
  free(root);
  return err;
}

void dusk__root_handle_opened(dusk__root_t *root) {
  root->handles++;
}

void dusk__root_handle_closed(dusk__root_t *root) {
  if (--root->handles > 0) return;
  dusk_detach_cb cb = root->detach_cb;
  void *arg = root->detach_arg;
  dusk_context_unref(&root->node.base);
  if (cb != NULL) cb(arg);
}

static void on_closed(uv_handle_t *handle) {
  dusk__root_handle_closed(handle->data);
}

static void close_handle(dusk__root_t *root, uv_handle_t *handle) {
  if (uv_is_closing(handle))
    dusk__stray_found(root, NULL);
  else
    uv_close(handle, on_closed);
}

int dusk_context_detach(dusk_context_t *ctx, dusk_detach_cb cb, void *arg) {
  if (ctx == NULL || ctx->kind != DUSK__ROOT) return UV_EINVAL;
  dusk__root_t *root = (dusk__root_t *)ctx;
  uv_loop_t *loop = NULL;
  int err = 0;
  dusk__root_expect_loop(root);
  /* What another thread has released may be all that still names it. */
  release_all(root);
  dusk__root_lock(root);
  if (atomic_load(&root->loop) == NULL)
    err = UV_EALREADY;
  else if (atomic_load(&root->users) > 0)
    err = UV_EBUSY;
  else
    loop = atomic_exchange(&root->loop, NULL);
  dusk__root_unlock(root);
  if (err != 0) return err;
  root->detach_cb = cb;
  root->detach_arg = arg;
  close_handle(root, (uv_handle_t *)&root->async);
  close_handle(root, (uv_handle_t *)&root->timer);
  close_handle(root, (uv_handle_t *)&root->prepare);
  close_handle(root, (uv_handle_t *)&root->check);
  dusk__strays_see_off(root, loop);
  return 0;
}

void dusk__root_free(dusk__root_t *root) {
  assert(atomic_load(&root->loop) == NULL); /* unref in the place of detach */
  uv_mutex_destroy(&root->lock);
  free(root);
}
