/* How a server with several loops begins when something can't be had: whatever
 * it is, dusk_server_new tells, and nothing is left. Needs the linker's --wrap
 * for what libuv may refuse. */
#include "house.h"

#include "alloc.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 4 };

/* -- What libuv refuses ---------------------------------------------------- */

static int calls;       /* of all that are wrapped */
static int mutexes;     /* of them */
static int fail_at;     /* this one; 0: none */
static bool has_failed; /* an allocation */

static bool is_refused(void) {
  return ++calls == fail_at;
}

int __real_uv_loop_init(uv_loop_t *loop);
int __wrap_uv_loop_init(uv_loop_t *loop);
int __wrap_uv_loop_init(uv_loop_t *loop) {
  return is_refused() ? UV_EMFILE : __real_uv_loop_init(loop);
}

int __real_uv_async_init(uv_loop_t *loop, uv_async_t *async, uv_async_cb cb);
int __wrap_uv_async_init(uv_loop_t *loop, uv_async_t *async, uv_async_cb cb);
int __wrap_uv_async_init(uv_loop_t *loop, uv_async_t *async, uv_async_cb cb) {
  return is_refused() ? UV_EMFILE : __real_uv_async_init(loop, async, cb);
}

int __real_uv_mutex_init(uv_mutex_t *mutex);
int __wrap_uv_mutex_init(uv_mutex_t *mutex);
int __wrap_uv_mutex_init(uv_mutex_t *mutex) {
  mutexes++;
  return is_refused() ? UV_ENOMEM : __real_uv_mutex_init(mutex);
}

int __real_uv_sem_init(uv_sem_t *sem, unsigned value);
int __wrap_uv_sem_init(uv_sem_t *sem, unsigned value);
int __wrap_uv_sem_init(uv_sem_t *sem, unsigned value) {
  return is_refused() ? UV_EMFILE : __real_uv_sem_init(sem, value);
}

static int threads_made;
static int thread_limit = -1; /* -1: none */

int __real_uv_thread_create(uv_thread_t *thread, uv_thread_cb run, void *arg);
int __wrap_uv_thread_create(uv_thread_t *thread, uv_thread_cb run, void *arg);
int __wrap_uv_thread_create(uv_thread_t *thread, uv_thread_cb run, void *arg) {
  if (is_refused()) return UV_EMFILE;
  if (threads_made == thread_limit) return UV_EAGAIN;
  threads_made++;
  return __real_uv_thread_create(thread, run, arg);
}

/* -- A server that begins -------------------------------------------------- */

typedef struct lives {
  atomic_int started;
  atomic_int stopped;
  int refuses; /* the start of this one; -1: none */
} lives_t;

static lives_t lives;

static int on_start(dusk_server_t *server, dusk_context_t *root, size_t index,
                    void **ret_data, void *arg) {
  assert_non_null(server);
  assert_non_null(root);
  assert_null(*ret_data);
  assert_ptr_equal(arg, &lives);
  *ret_data = root;
  if ((int)index == lives.refuses) return UV_EPERM;
  atomic_fetch_add(&lives.started, 1);
  return 0;
}

static void on_stop(dusk_server_t *server, dusk_context_t *root, size_t index,
                    void *data, void *arg) {
  (void)index;
  (void)arg;
  assert_non_null(server);
  assert_ptr_equal(data, root);
  atomic_fetch_add(&lives.stopped, 1);
}

static void forget(int refuses) {
  memset(&lives, 0, sizeof(lives));
  lives.refuses = refuses;
  calls = mutexes = fail_at = threads_made = 0;
  thread_limit = -1;
}

/* Whether it begins, without serving; then all has ended. The n-th call of
 * libuv fails (0: none), or allocation. */
static int begin(uint64_t threads, int nth_call, size_t nth_block) {
  dusk_server_config_t config = {.handler = loopback_keep,
                                 .threads = threads,
                                 .on_worker_start = on_start,
                                 .on_worker_stop = on_stop,
                                 .on_worker_arg = &lives};
  uv_loop_t loop;
  dusk_context_t *root;
  dusk_server_t *server = NULL;
  assert_int_equal(__real_uv_loop_init(&loop), 0);
  assert_int_equal(dusk_context_attach(&loop, &root), 0);
  size_t live = alloc_live();
  calls = mutexes = 0;
  fail_at = nth_call;
  alloc_fail_at(nth_block);
  int err = dusk_server_new(root, &config, &server);
  fail_at = 0;
  has_failed = alloc_has_failed();
  alloc_fail_at(0);
  assert_int_equal(err == 0, server != NULL);
  if (err < 0) { /* at once */
    assert_int_equal(alloc_live(), live);
    assert_int_equal(atomic_load(&lives.stopped), atomic_load(&lives.started));
  }
  dusk_server_unref(server);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(dusk_context_detach(root, NULL, NULL), 0);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&loop), 0);
  assert_int_equal(atomic_load(&lives.stopped), atomic_load(&lives.started));
  return err;
}

/* -- Tests ----------------------------------------------------------------- */

static void a_server_that_never_served_ends(void **state) {
  (void)state;
  forget(-1);
  assert_int_equal(begin(THREADS, 0, 0), 0);
  assert_int_equal(atomic_load(&lives.stopped), THREADS);
  assert_int_equal(threads_made, THREADS - 1);
}

/* No thread and no wake-up; and no lock is ever taken. */
static void one_loop_needs_nothing_of_it(void **state) {
  (void)state;
  forget(-1);
  assert_int_equal(begin(1, 0, 0), 0);
  assert_int_equal(atomic_load(&lives.stopped), 1);
  assert_int_equal(calls, mutexes);
}

static void as_many_as_there_are_processors(void **state) {
  (void)state;
  forget(-1);
  assert_int_equal(begin(DUSK_THREAD_A_CORE, 0, 0), 0);
  assert_in_range(atomic_load(&lives.stopped), 1, 1024);
  assert_int_equal(threads_made, atomic_load(&lives.stopped) - 1);
}

static void threads_have_a_limit(void **state) {
  (void)state;
  static const uint64_t too_many[] = {1025, UINT64_MAX - 2, DUSK_OFF};
  forget(-1);
  for (int i = 0; i < 3; i++)
    assert_int_equal(begin(too_many[i], 0, 0), UV_EINVAL);
  assert_int_equal(atomic_load(&lives.started), 0);
}

static void a_start_without_a_thread_leaves_nothing(void **state) {
  (void)state;
  for (int n = 0; n < THREADS - 1; n++) {
    forget(-1);
    thread_limit = n;
    assert_int_equal(begin(THREADS, 0, 0), UV_EAGAIN);
    assert_int_equal(atomic_load(&lives.started), n + 1);
  }
}

static void a_start_that_a_worker_refuses_leaves_nothing(void **state) {
  (void)state;
  for (int index = 0; index < THREADS; index++) {
    forget(index);
    assert_int_equal(begin(THREADS, 0, 0), UV_EPERM);
    assert_int_equal(atomic_load(&lives.started), index);
  }
}

/* Loops, wake-ups, locks, semaphores and threads. */
static void whatever_libuv_refuses_leaves_nothing(void **state) {
  (void)state;
  int n = 0;
  int err;
  do {
    forget(-1);
    err = begin(THREADS, ++n, 0);
    assert_true(err == 0 || err == UV_EMFILE || err == UV_ENOMEM);
  } while (err < 0);
  assert_true(n > 5 * (THREADS - 1)); /* it has met them all */
  assert_int_equal(calls, n - 1);
}

static void whatever_memory_is_missing_leaves_nothing(void **state) {
  (void)state;
  size_t n = 0;
  do {
    forget(-1);
    int err = begin(THREADS, 0, ++n);
    assert_int_equal(err, has_failed ? UV_ENOMEM : 0);
  } while (has_failed);
  assert_true(n > 2 * THREADS);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(a_server_that_never_served_ends),
      house_test(one_loop_needs_nothing_of_it),
      house_test(as_many_as_there_are_processors),
      house_test(threads_have_a_limit),
      house_test(a_start_without_a_thread_leaves_nothing),
      house_test(a_start_that_a_worker_refuses_leaves_nothing),
      house_test(whatever_libuv_refuses_leaves_nothing),
      house_test(whatever_memory_is_missing_leaves_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
