/* root.c: a tree's attachment to its loop.
 *
 *   attached --detach--> closing --last handle closed--> detached
 *
 * One uv_async_t wakes the loop for what other threads, or this one outside
 * of a callback, have made due; one uv_timer_t serves all deadlines of the
 * tree. Both are unreferenced; only while `keep` counts a waiter is the async
 * referenced, so that uv_run goes on. Handles are touched on the loop's thread
 * alone; other threads may only send. Which thread that is, the callbacks tell:
 * a loop may be made here and run there. So the loop is woken once when a root
 * is attached, and until it has turned everybody only sends.
 *
 * A root is freed when it is detached and nothing refers to it any more, its
 * last descendant included. */
#include "tree.h"

#include <assert.h>
#include <stdlib.h>

bool dusk__root_on_loop(dusk__root_t *root) {
  uv_thread_t self = uv_thread_self();
  uv_thread_t loops = atomic_load_explicit(&root->thread, memory_order_relaxed);
  return uv_thread_equal(&self, &loops) != 0;
}

static bool may_touch_handles(dusk__root_t *root) {
  return atomic_load_explicit(&root->has_turned, memory_order_acquire) &&
         dusk__root_on_loop(root);
}

/* In each callback, first of all. */
static void note_thread(dusk__root_t *root) {
  if (may_touch_handles(root)) return;
  atomic_store_explicit(&root->thread, uv_thread_self(), memory_order_relaxed);
  atomic_store_explicit(&root->has_turned, true, memory_order_release);
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
  if (may_touch_handles(root))
    sync_keep(root);
  else
    dusk__root_wake(root);
}

void dusk__root_wake(dusk__root_t *root) {
  uv_async_send(&root->async);
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

/* A timer that is set too early is left so: it costs one look when it fires,
 * where following each deadline that comes and goes would cost a restart. */
void dusk__root_arm(dusk__root_t *root) {
  uint64_t deadline_ns = nearest(root);
  if (deadline_ns >= root->armed_ns || atomic_load(&root->loop) == NULL) return;
  if (may_touch_handles(root))
    start_timer(root, deadline_ns);
  else
    dusk__root_wake(root);
}

static void on_timer(uv_timer_t *timer) {
  dusk__root_t *root = timer->data;
  note_thread(root);
  dusk_waiter_t *away = NULL;
  uint64_t now = uv_hrtime();
  dusk__root_lock(root);
  root->armed_ns = DUSK_OFF;
  while (nearest(root) <= now)
    dusk__timed_end(root->heap, &away);
  dusk__root_arm(root);
  dusk__settle(root, away);
  dusk__waiters_run(root);
}

/* -- Woken up ------------------------------------------------------------- */

void dusk__root_release(dusk__root_t *root, dusk__hooked_t *hooked) {
  if (dusk__root_on_loop(root)) {
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

static void on_async(uv_async_t *async) {
  dusk__root_t *root = async->data;
  note_thread(root);
  dusk__root_lock(root);
  dusk__root_arm(root);
  dusk__root_unlock(root);
  sync_keep(root);
  release_all(root);
  dusk__waiters_run(root);
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

static void open_handle(dusk__root_t *root, uv_handle_t *handle) {
  handle->data = root;
  dusk__root_handle_opened(root);
}

int dusk_context_attach(uv_loop_t *loop, dusk_context_t **ret_root) {
  if (loop == NULL || ret_root == NULL) return UV_EINVAL;
  dusk__root_t *root = calloc(1, sizeof(*root));
  if (root == NULL) return UV_ENOMEM;
  init_node(root);
  atomic_init(&root->thread, uv_thread_self());
  atomic_init(&root->loop, loop);
  root->armed_ns = DUSK_OFF;
  int err = uv_mutex_init(&root->lock);
  if (err != 0) goto free_root;
  err = uv_async_init(loop, &root->async, on_async);
  if (err != 0) goto destroy_lock;
  /* Only fills its struct in: it has no failure to tell. */
  (void)uv_timer_init(loop, &root->timer);
  open_handle(root, (uv_handle_t *)&root->async);
  open_handle(root, (uv_handle_t *)&root->timer);
  uv_unref((uv_handle_t *)&root->timer);
  dusk__root_wake(root);
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

int dusk_context_detach(dusk_context_t *ctx, dusk_detach_cb cb, void *arg) {
  if (ctx == NULL || ctx->kind != DUSK__ROOT) return UV_EINVAL;
  dusk__root_t *root = (dusk__root_t *)ctx;
  int err = 0;
  /* Who ran the loop may have left it to this thread. */
  note_thread(root);
  /* What another thread has released may be all that still names it. */
  release_all(root);
  dusk__root_lock(root);
  if (atomic_load(&root->loop) == NULL)
    err = UV_EALREADY;
  else if (atomic_load(&root->users) > 0)
    err = UV_EBUSY;
  else
    atomic_store(&root->loop, NULL);
  dusk__root_unlock(root);
  if (err != 0) return err;
  root->detach_cb = cb;
  root->detach_arg = arg;
  uv_close((uv_handle_t *)&root->async, on_closed);
  uv_close((uv_handle_t *)&root->timer, on_closed);
  return 0;
}

void dusk__root_free(dusk__root_t *root) {
  assert(atomic_load(&root->loop) == NULL); /* unref in the place of detach */
  uv_mutex_destroy(&root->lock);
  free(root);
}
