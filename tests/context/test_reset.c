/* Reset, Ignore and Ignored: what acts on all receivers of the process. */
#include "fixture.h"
#include "child.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static const int usr1 = SIGUSR1, winch = SIGWINCH, term = SIGTERM, hup = SIGHUP;

static char *program;

static void reset(int signum) {
  must(dusk_signals_reset(&signum, 1) == 0);
}

static void ignore(int signum) {
  must(dusk_signals_ignore(&signum, 1) == 0);
}

/* The next signal, if it is sent. */
static int sent(child_env_t *env, dusk_signals_t *signals, int signum) {
  send_self(signum);
  serve_turn(env);
  return dusk_signals_next(signals);
}

static volatile sig_atomic_t handled;

static void handler(int signum) {
  handled = signum;
}

/* -- Reset ---------------------------------------------------------------- */

CHILD_TEST(sig_050_reset_takes_from_every_receiver) {
  static const int two[] = {SIGWINCH, SIGUSR1};
  (void)arg;
  dusk_signals_t *first = receiver(env, 4, two, 2);
  dusk_signals_t *second = receiver(env, 4, two, 1);
  reset(SIGWINCH);
  must(disposition(SIGWINCH) == SIG_DFL);
  must(sent(env, first, SIGWINCH) == 0); /* SIG-054 */
  must(dusk_signals_next(second) == 0);
  must(sent(env, first, SIGUSR1) == SIGUSR1); /* SIG-052 */
  dusk_signals_stop(second);                  /* SIG-053 */
  must(disposition(SIGUSR1) != SIG_DFL);
  must(dusk_signals_notify(second, two, 1) == 0);
  must(sent(env, second, SIGWINCH) == SIGWINCH);
  must(dusk_signals_next(first) == 0);
  dusk_signals_free(first);
  must(sent(env, second, SIGWINCH) == SIGWINCH);
  dusk_signals_free(second);
  must(disposition(SIGWINCH) == SIG_DFL && disposition(SIGUSR1) == SIG_DFL);
}

static void resets(child_env_t *env, void *arg) {
  (void)arg;
  tell_received(receiver(env, 1, &term, 1), "got");
  reset(SIGTERM);
  tell("reset");
  serve(env);
}

static void sig_050_then_it_kills_again(void **state) {
  (void)state;
  child_t child = child_start(resets, NULL);
  child_expect(&child, "reset");
  child_signal(&child, SIGTERM);
  child_expect_death(&child, SIGTERM);
}

/* Before the loop turns, and after. */
CHILD_TEST(sig_050_the_former_disposition_is_back) {
  (void)arg;
  signal(SIGUSR1, handler);
  signal(SIGHUP, SIG_IGN);
  dusk_signals_t *one = receiver(env, 1, &usr1, 1);
  dusk_signals_t *other = receiver(env, 1, &hup, 1);
  reset(SIGUSR1);
  reset(SIGHUP);
  for (int i = 0; i < 3; i++) {
    handled = 0;
    send_self(SIGUSR1);
    must(handled == SIGUSR1);
    must(disposition(SIGHUP) == SIG_IGN);
    if (i == 0) serve_turn(env);
    if (i == 1) dusk_signals_free(one);
  }
  dusk_signals_free(other);
  must(disposition(SIGHUP) == SIG_IGN);
}

CHILD_TEST(sig_051_no_list_means_all) {
  static const int two[] = {SIGUSR1, SIGPROF};
  (void)arg;
  dusk_signals_t *some = receiver(env, 1, two, 2);
  dusk_signals_t *all = receiver(env, 1, NULL, 0);
  must(dusk_signals_reset(NULL, 0) == 0);
  for (int signum = 1; signum < 32; signum++)
    must(disposition(signum) == SIG_DFL);
  must(sent(env, all, SIGWINCH) == 0);
  dusk_signals_free(some);
  dusk_signals_free(all);
  for (int signum = 1; signum < 32; signum++)
    must(disposition(signum) == SIG_DFL);
}

CHILD_TEST(what_is_set_after_a_reset_stays) {
  (void)arg;
  for (int turns = 0; turns < 2; turns++) {
    dusk_signals_t *signals = receiver(env, 1, &usr1, 1);
    reset(SIGUSR1);
    signal(SIGUSR1, handler);
    if (turns) serve_turn(env);
    dusk_signals_free(signals);
    must(disposition(SIGUSR1) == handler);
    signal(SIGUSR1, SIG_DFL);
    serve_turn(env);
  }
}

CHILD_TEST(what_is_set_before_a_reset_stays) {
  (void)arg;
  dusk_signals_t *signals = receiver(env, 1, &usr1, 1);
  signal(SIGUSR1, handler);
  reset(SIGUSR1);
  must(disposition(SIGUSR1) == handler);
  dusk_signals_free(signals);
  must(disposition(SIGUSR1) == handler);
}

CHILD_TEST(sig_055_reset_does_not_undo_ignore) {
  (void)arg;
  dusk_signals_t *signals = receiver(env, 1, &usr1, 1);
  ignore(SIGUSR1);
  reset(SIGUSR1);
  must(disposition(SIGUSR1) == SIG_IGN);
  serve_turn(env);
  dusk_signals_free(signals);
  must(dusk_signals_reset(NULL, 0) == 0);
  must(disposition(SIGUSR1) == SIG_IGN);
}

CHILD_TEST(sig_056_what_is_under_way_is_dropped) {
  (void)arg;
  for (int i = 0; i < 2; i++) {
    dusk_signals_t *signals = receiver(env, 4, &winch, 1);
    must(sent(env, signals, SIGWINCH) == SIGWINCH);
    send_self(SIGWINCH); /* caught; the loop has not turned */
    if (i == 0)
      reset(SIGWINCH);
    else
      ignore(SIGWINCH);
    must(dusk_signals_notify(signals, &winch, 1) == 0);
    serve_turn(env);
    must(dusk_signals_next(signals) == 0);
    must(sent(env, signals, SIGWINCH) == SIGWINCH);
    dusk_signals_free(signals);
  }
}

CHILD_TEST(what_is_queued_stays_readable) {
  (void)arg;
  dusk_signals_t *signals = receiver(env, 4, &usr1, 1);
  send_self(SIGUSR1);
  serve_turn(env);
  reset(SIGUSR1);
  serve_turn(env);
  must(dusk_signals_next(signals) == SIGUSR1);
  dusk_signals_free(signals);
}

static void on_reset(dusk_signals_t *signals, int signum, void *arg) {
  ++*(int *)arg;
  reset(signum);
  must(dusk_signals_notify(signals, &signum, 1) == 0);
  must(dusk_signals_receive(signals, on_reset, arg) == 0);
}

CHILD_TEST(a_callback_may_reset_its_own_signal) {
  int calls = 0;
  (void)arg;
  dusk_signals_t *signals = receiver(env, 1, &usr1, 1);
  must(dusk_signals_receive(signals, on_reset, &calls) == 0);
  for (int i = 1; i <= 3; i++) {
    send_self(SIGUSR1);
    serve_turn(env);
    must(calls == i);
  }
  dusk_signals_free(signals);
  must(disposition(SIGUSR1) == SIG_DFL);
}

static void on_reset_other(dusk_signals_t *signals, int signum, void *arg) {
  (void)signals;
  must(signum == SIGUSR2);
  must(dusk_signals_reset(arg, 1) == 0);
}

/* It comes in the same turn, straight after. */
CHILD_TEST(a_callback_may_reset_what_is_dispatched_next) {
  static const int usr2 = SIGUSR2;
  int reset_it = SIGUSR1;
  (void)arg;
  dusk_signals_t *signals = receiver(env, 1, &usr1, 1);
  dusk_signals_t *other = receiver(env, 1, &usr2, 1);
  must(dusk_signals_receive(other, on_reset_other, &reset_it) == 0);
  send_self(SIGUSR2);
  send_self(SIGUSR1);
  serve_turn(env);
  must(disposition(SIGUSR1) == SIG_DFL);
  must(dusk_signals_next(signals) == 0); /* SIG-056 */
  dusk_signals_free(signals);
  dusk_signals_free(other);
}

static void count_signal(uv_handle_t *handle, void *arg) {
  *(int *)arg += handle->type == UV_SIGNAL;
}

static uv_sem_t idle; /* the loop is about to wait */

static void on_idle(uv_prepare_t *prepare) {
  (void)prepare;
  uv_sem_post(&idle);
}

static void reset_in_thread(void *arg) {
  (void)arg;
  uv_sem_wait(&idle);
  reset(SIGUSR1);
}

CHILD_TEST(a_loop_lets_go_of_what_another_thread_resets) {
  (void)arg;
  dusk_signals_t *signals = receiver(env, 1, &usr1, 1);
  serve_turn(env);
  uv_prepare_t prepare; /* keeps the loop waiting until it is woken */
  must(uv_sem_init(&idle, 0) == 0);
  uv_prepare_init(&env->loop, &prepare);
  uv_prepare_start(&prepare, on_idle);
  uv_thread_t thread;
  must(uv_thread_create(&thread, reset_in_thread, NULL) == 0);
  for (int handles = 1; handles > 0;) {
    uv_run(&env->loop, UV_RUN_ONCE);
    handles = 0;
    uv_walk(&env->loop, count_signal, &handles);
  }
  uv_thread_join(&thread);
  uv_close((uv_handle_t *)&prepare, NULL);
  serve_turn(env);
  must(disposition(SIGUSR1) == SIG_DFL);
  dusk_signals_free(signals);
}

/* Somebody else's capture is made and ended around the turn that stops the
 * muted one. */
CHILD_TEST(a_newer_capture_is_not_disturbed) {
  (void)arg;
  for (int order = 0; order < 4; order++) {
    dusk_signals_t *older = receiver(env, 1, &usr1, 1);
    dusk_signals_t *newer;
    must(dusk_signals_new(env->root, 1, &newer) == 0);
    reset(SIGUSR1);
    must(dusk_signals_notify(newer, &usr1, 1) == 0);
    if (order & 1) {
      dusk_signals_stop(newer);
      must(disposition(SIGUSR1) == SIG_DFL);
      must(dusk_signals_notify(newer, &usr1, 1) == 0);
    }
    if (order & 2) dusk_signals_stop(older);
    must(sent(env, newer, SIGUSR1) == SIGUSR1);
    must(sent(env, newer, SIGUSR1) == SIGUSR1);
    must(dusk_signals_next(older) == 0);
    dusk_signals_free(newer);
    must(disposition(SIGUSR1) == SIG_DFL);
    dusk_signals_free(older);
    serve_turn(env);
  }
}

/* -- Ignore and Ignored --------------------------------------------------- */

CHILD_TEST(sig_057_neither_delivered_nor_deadly) {
  static const int two[] = {SIGTERM, SIGUSR1};
  (void)arg;
  dusk_signals_t *signals = receiver(env, 4, two, 2);
  ignore(SIGTERM);
  ignore(SIGHUP); /* nobody's */
  for (int i = 0; i < 3; i++) {
    send_self(SIGHUP);
    must(sent(env, signals, SIGTERM) == 0);
    if (i == 1) dusk_signals_stop(signals);
  }
  dusk_signals_free(signals);
  send_self(SIGTERM);
}

CHILD_TEST(sig_058_no_list_means_all_that_can_be) {
  static const int left_out[] = {SIGSEGV, SIGBUS,  SIGFPE, SIGILL,
                                 SIGPROF, SIGKILL, SIGSTOP};
  (void)arg;
  dusk_signals_t *signals = receiver(env, 4, &usr1, 1);
  must(dusk_signals_ignore(NULL, 0) == 0);
  for (size_t i = 0; i < sizeof(left_out) / sizeof(left_out[0]); i++)
    must(disposition(left_out[i]) == SIG_DFL);
  must(disposition(SIGTERM) == SIG_IGN && disposition(SIGUSR1) == SIG_IGN);
  must(disposition(SIGRTMIN) == SIG_IGN && disposition(SIGRTMAX) == SIG_IGN);
  must(sent(env, signals, SIGUSR1) == 0);
  dusk_signals_free(signals);
}

/* While libuv still has the muted handle, and when it has not. SIG-065: then
 * dusk tells the true state. */
CHILD_TEST(sig_059_notify_delivers_again) {
  (void)arg;
  for (int i = 0; i < 4; i++) {
    dusk_signals_t *signals = receiver(env, 1, &hup, 1);
    ignore(SIGHUP);
    must(dusk_signal_ignored(SIGHUP)); /* SIG-062 */
    if (i & 1) serve_turn(env);
    if (i & 2) dusk_signals_stop(signals);
    must(dusk_signals_notify(signals, &hup, 1) == 0);
    must(!dusk_signal_ignored(SIGHUP)); /* SIG-061 */
    must(sent(env, signals, SIGHUP) == SIGHUP);
    must(sent(env, signals, SIGHUP) == SIGHUP);
    dusk_signals_free(signals);
    must(dusk_signal_ignored(SIGHUP)); /* SIG-065 */
    send_self(SIGHUP);
    signal(SIGHUP, SIG_DFL);
  }
}

static void becomes(const char *what) {
  execl(program, program, what, (char *)NULL);
  _exit(98);
}

static void ignores_and_becomes(child_env_t *env, void *arg) {
  (void)env;
  ignore(SIGHUP);
  becomes(arg);
}

static void is_nohuped(child_env_t *env, void *arg) {
  (void)env;
  signal(SIGHUP, SIG_IGN);
  becomes(arg);
}

static void just_becomes(child_env_t *env, void *arg) {
  (void)env;
  becomes(arg);
}

/* SIG-063: as nohup does it. */
static void sig_060_programs_started_by_exec_inherit_it(void **state) {
  (void)state;
  static char ignored[] = "--ignored", not_ignored[] = "--not-ignored";
  child_t child = child_start(ignores_and_becomes, ignored);
  child_expect_death(&child, 0);
  child = child_start(is_nohuped, ignored);
  child_expect_death(&child, 0);
  child = child_start(just_becomes, not_ignored);
  child_expect_death(&child, 0);
}

CHILD_TEST(sig_062_ignored_tells_the_systems_state) {
  (void)arg;
  must(!dusk_signal_ignored(SIGWINCH));
  ignore(SIGWINCH);
  must(dusk_signal_ignored(SIGWINCH));
  dusk_signals_t *signals = receiver(env, 1, &winch, 1);
  must(!dusk_signal_ignored(SIGWINCH)); /* SIG-061 */
  dusk_signals_free(signals);
  must(dusk_signal_ignored(SIGWINCH));
  signal(SIGWINCH, SIG_DFL);
  must(!dusk_signal_ignored(SIGWINCH));
}

static void sig_064_out_of_range_is_not_ignored(void **state) {
  (void)state;
  static const int odd[] = {INT32_MIN, -1,      0,       65, 1000,
                            INT32_MAX, SIGKILL, SIGSTOP, 32 /* libc's */};
  for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
    assert_false(dusk_signal_ignored(odd[i]));
  assert_int_equal(dusk_signals_ignore(odd, 9), 0);
  assert_int_equal(dusk_signals_reset(odd, 9), 0);
  for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
    assert_false(dusk_signal_ignored(odd[i]));
  assert_int_equal(dusk_signals_ignore(NULL, 1), UV_EINVAL);
  assert_int_equal(dusk_signals_reset(NULL, 1), UV_EINVAL);
}

/* -- with_signals --------------------------------------------------------- */

CHILD_TEST(a_context_whose_signals_are_reset_lives_on) {
  (void)arg;
  for (int i = 0; i < 2; i++) {
    dusk_context_t *ctx;
    must(dusk_context_with_signals(env->root, &winch, 1, &ctx) == 0);
    send_self(SIGWINCH); /* on its way */
    if (i == 0)
      reset(SIGWINCH);
    else
      ignore(SIGWINCH);
    send_self(SIGWINCH);
    serve_turn(env);
    must(dusk_context_err(ctx) == 0);
    must(dusk_context_stop_signals(ctx) == 0);
    must(dusk_context_cause(ctx) == &dusk_canceled);
    dusk_context_unref(ctx);
  }
  must(disposition(SIGWINCH) == SIG_IGN);
}

/* -- Beside a uv_signal_t of the host ------------------------------------- */

static int hosts;

static void on_host(uv_signal_t *handle, int signum) {
  (void)handle;
  (void)signum;
  hosts++;
}

static void host_start(child_env_t *env, uv_signal_t *host) {
  hosts = 0;
  must(uv_signal_init(&env->loop, host) == 0);
  uv_unref((uv_handle_t *)host);
  must(uv_signal_start(host, on_host, SIGUSR1) == 0);
}

static void host_expect(child_env_t *env, uv_signal_t *host) {
  hosts = 0;
  send_self(SIGUSR1);
  serve_turn(env);
  must(hosts == 1);
  uv_close((uv_handle_t *)host, NULL);
  serve_turn(env);
  must(disposition(SIGUSR1) == SIG_DFL);
}

/* DUSK-047. It comes before the receiver, after it, or between reset and turn;
 * and may be gone before the turn. */
CHILD_TEST(reset_leaves_the_hosts_own_handle) {
  (void)arg;
  for (int order = 0; order < 6; order++) {
    uv_signal_t host;
    if (order % 3 == 0) host_start(env, &host);
    dusk_signals_t *signals = receiver(env, 1, &usr1, 1);
    if (order % 3 == 1) host_start(env, &host);
    reset(SIGUSR1);
    if (order % 3 == 2) host_start(env, &host);
    if (order < 3) {
      serve_turn(env);
      must(dusk_signals_next(signals) == 0);
      host_expect(env, &host);
    } else {
      uv_close((uv_handle_t *)&host, NULL);
      serve_turn(env);
    }
    must(disposition(SIGUSR1) == SIG_DFL);
    dusk_signals_free(signals);
    serve_turn(env);
  }
}

/* DUSK-047. Also if dusk sees libuv's handler for the first time when it
 * replaces it. */
CHILD_TEST(ignore_beats_the_hosts_own_handle_until_a_notify) {
  (void)arg;
  for (int i = 0; i < 2; i++) {
    uv_signal_t host;
    host_start(env, &host);
    ignore(SIGUSR1);
    send_self(SIGUSR1);
    serve_turn(env);
    must(hosts == 0 && disposition(SIGUSR1) == SIG_IGN);
    dusk_signals_t *signals = receiver(env, 1, &usr1, 1);
    must(sent(env, signals, SIGUSR1) == SIGUSR1 && hosts == 1);
    ignore(SIGUSR1);
    serve_turn(env);
    must(disposition(SIGUSR1) == SIG_IGN);
    dusk_signals_free(signals);
    uv_close((uv_handle_t *)&host, NULL);
    signal(SIGUSR1, SIG_DFL);
    serve_turn(env);
  }
}

CHILD_TEST(a_handle_that_is_overridden_is_told) {
  (void)arg;
  uv_signal_t host;
  dusk_signals_t *signals;
  host_start(env, &host);
  signal(SIGUSR1, SIG_IGN);
  must(dusk_signals_new(env->root, 1, &signals) == 0);
  must(dusk_signals_notify(signals, &usr1, 1) == UV_EBUSY);
  must(disposition(SIGUSR1) == SIG_IGN);
  dusk_signals_free(signals);
  uv_close((uv_handle_t *)&host, NULL);
  serve_turn(env);
}

int __real_uv_loop_init(uv_loop_t *loop);
int __wrap_uv_loop_init(uv_loop_t *loop);
static int loop_err;

int __wrap_uv_loop_init(uv_loop_t *loop) {
  return loop_err != 0 ? loop_err : __real_uv_loop_init(loop);
}

/* It has to be looked for, since the host's handle was there first. */
CHILD_TEST(why_libuvs_handler_is_not_found_is_told) {
  (void)arg;
  uv_signal_t host;
  dusk_signals_t *signals;
  host_start(env, &host);
  must(dusk_signals_new(env->root, 1, &signals) == 0);
  loop_err = UV_EMFILE;
  must(dusk_signals_notify(signals, &usr1, 1) == UV_EMFILE);
  loop_err = 0;
  must(dusk_signals_notify(signals, &usr1, 1) == 0);
  must(sent(env, signals, SIGUSR1) == SIGUSR1);
  must(hosts == 1);
  dusk_signals_free(signals);
  host_expect(env, &host);
}

/* Nor is a handler taken for libuv's because it was found first. */
CHILD_TEST(a_handle_under_a_handler_is_told) {
  (void)arg;
  uv_signal_t host;
  dusk_signals_t *signals;
  host_start(env, &host);
  signal(SIGUSR1, handler);
  must(dusk_signals_new(env->root, 1, &signals) == 0);
  must(dusk_signals_notify(signals, &usr1, 1) == UV_EBUSY);
  send_self(SIGUSR1);
  must(handled == SIGUSR1);
  dusk_signals_free(signals);
  uv_close((uv_handle_t *)&host, NULL);
  serve_turn(env);
}

/* Nor because an ignore has replaced it. */
CHILD_TEST(an_ignored_handler_is_nobody_elses) {
  (void)arg;
  uv_signal_t host;
  signal(SIGUSR1, handler);
  must(dusk_signals_ignore(NULL, 0) == 0);
  must(disposition(SIGURG) == SIG_IGN && disposition(SIGWINCH) == SIG_IGN);
  host_start(env, &host);
  dusk_signals_t *signals = receiver(env, 1, &usr1, 1);
  must(sent(env, signals, SIGUSR1) == SIGUSR1);
  must(hosts == 1 && handled == 0);
  dusk_signals_free(signals);
  host_expect(env, &host);
}

/* Whatever other receivers it has. */
CHILD_TEST(sig_013_a_notify_makes_it_deliverable_again) {
  (void)arg;
  dusk_signals_t *first = receiver(env, 1, &usr1, 1);
  signal(SIGUSR1, SIG_IGN);
  dusk_signals_t *second = receiver(env, 1, &usr1, 1);
  must(!dusk_signal_ignored(SIGUSR1));
  must(sent(env, second, SIGUSR1) == SIGUSR1);
  must(dusk_signals_next(first) == SIGUSR1);
  dusk_signals_free(first);
  dusk_signals_free(second);
  must(disposition(SIGUSR1) == SIG_IGN); /* found by the second */
}

/* -- Several threads ------------------------------------------------------ */

/* The linker leads dusk's calls here: --wrap=uv_mutex_trylock. */
int __real_uv_mutex_trylock(uv_mutex_t *mutex);
int __wrap_uv_mutex_trylock(uv_mutex_t *mutex);
static atomic_bool is_watched; /* the next lock is taken after a reset */

static void reset_usr1(void *arg) {
  (void)arg;
  reset(SIGUSR1);
}

int __wrap_uv_mutex_trylock(uv_mutex_t *mutex) {
  if (atomic_exchange(&is_watched, false)) {
    uv_thread_t thread;
    must(uv_thread_create(&thread, reset_usr1, NULL) == 0);
    uv_thread_join(&thread);
  }
  return __real_uv_mutex_trylock(mutex);
}

/* It is being dispatched when another thread's reset returns. */
CHILD_TEST(sig_054_none_is_queued_after_the_reset) {
  (void)arg;
  dusk_signals_t *signals = receiver(env, 1, &usr1, 1);
  must(sent(env, signals, SIGUSR1) == SIGUSR1);
  send_self(SIGUSR1);
  is_watched = true;
  serve_turn(env);
  must(!is_watched && disposition(SIGUSR1) == SIG_DFL);
  must(dusk_signals_next(signals) == 0);
  dusk_signals_free(signals);
}

static const int harmless[] = {SIGWINCH, SIGURG, SIGCHLD};

typedef struct {
  atomic_bool done;
  int got;
} storm_t;

static void storm_of_receivers(void *arg) {
  storm_t *storm = arg;
  child_env_t env;
  must(uv_loop_init(&env.loop) == 0);
  must(dusk_context_attach(&env.loop, &env.root) == 0);
  uint64_t until = uv_hrtime() + 10000 * MS;
  for (int i = 0; i < 30 || (storm->got == 0 && uv_hrtime() < until); i++) {
    dusk_signals_t *first = receiver(&env, 1, harmless, 3);
    dusk_signals_t *second = receiver(&env, 1, &harmless[i % 3], 1);
    for (int turns = 0; turns < 5; turns++) {
      serve_turn(&env);
      storm->got += dusk_signals_next(first) != 0;
      must(dusk_signals_notify(second, harmless, 2) == 0);
    }
    if (i % 2 == 0) dusk_signals_stop(second);
    dusk_signals_free(first);
    dusk_signals_free(second);
  }
  must(dusk_context_detach(env.root, NULL, NULL) == 0);
  uv_run(&env.loop, UV_RUN_DEFAULT);
  must(uv_loop_close(&env.loop) == 0);
}

static void storm_of_signals(void *arg) {
  storm_t *storm = arg;
  for (int i = 0; !storm->done; i++)
    send_self(harmless[i % 3]);
}

static void storm_of_resets(void *arg) {
  storm_t *storm = arg;
  for (int i = 0; !storm->done; i++) {
    if (i % 5 == 0)
      must(dusk_signals_ignore(&harmless[i % 3], 1) == 0);
    else
      must(dusk_signals_reset(&harmless[i % 3], 1 + (i % 3 == 0)) == 0);
    dusk_signal_ignored(SIGWINCH);
    uv_sleep(3); /* a pace: without it hardly a signal would get through */
  }
}

/* SIG-056 as well: nobody waits for anybody. */
CHILD_TEST(sig_048_all_at_once_with_signals_pouring_in) {
  enum { LOOPS = 3 };
  (void)arg;
  storm_t storms[LOOPS] = {{.done = false}}, others = {.done = false};
  uv_thread_t threads[LOOPS], sender, resetter;
  for (int i = 0; i < LOOPS; i++)
    must(uv_thread_create(&threads[i], storm_of_receivers, &storms[i]) == 0);
  must(uv_thread_create(&sender, storm_of_signals, &others) == 0);
  must(uv_thread_create(&resetter, storm_of_resets, &others) == 0);
  for (int i = 0; i < LOOPS; i++) {
    uv_thread_join(&threads[i]);
    must(storms[i].got > 0);
  }
  others.done = true;
  uv_thread_join(&sender);
  uv_thread_join(&resetter);
  for (int i = 0; i < 3; i++) {
    bool ignored = dusk_signal_ignored(harmless[i]);
    must(ignored || disposition(harmless[i]) == SIG_DFL);
    dusk_signals_t *signals = receiver(env, 1, &harmless[i], 1);
    must(sent(env, signals, harmless[i]) == harmless[i]);
    dusk_signals_free(signals);
    must(dusk_signal_ignored(harmless[i]) == ignored);
  }
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sig_050_reset_takes_from_every_receiver),
      cmocka_unit_test(sig_050_then_it_kills_again),
      cmocka_unit_test(sig_050_the_former_disposition_is_back),
      cmocka_unit_test(sig_051_no_list_means_all),
      cmocka_unit_test(what_is_set_after_a_reset_stays),
      cmocka_unit_test(what_is_set_before_a_reset_stays),
      cmocka_unit_test(sig_055_reset_does_not_undo_ignore),
      cmocka_unit_test(sig_056_what_is_under_way_is_dropped),
      cmocka_unit_test(what_is_queued_stays_readable),
      cmocka_unit_test(a_callback_may_reset_its_own_signal),
      cmocka_unit_test(a_callback_may_reset_what_is_dispatched_next),
      cmocka_unit_test(a_loop_lets_go_of_what_another_thread_resets),
      cmocka_unit_test(a_newer_capture_is_not_disturbed),
      cmocka_unit_test(sig_057_neither_delivered_nor_deadly),
      cmocka_unit_test(sig_058_no_list_means_all_that_can_be),
      cmocka_unit_test(sig_059_notify_delivers_again),
      cmocka_unit_test(sig_060_programs_started_by_exec_inherit_it),
      cmocka_unit_test(sig_062_ignored_tells_the_systems_state),
      cmocka_unit_test(sig_064_out_of_range_is_not_ignored),
      cmocka_unit_test(a_context_whose_signals_are_reset_lives_on),
      cmocka_unit_test(reset_leaves_the_hosts_own_handle),
      cmocka_unit_test(ignore_beats_the_hosts_own_handle_until_a_notify),
      cmocka_unit_test(a_handle_that_is_overridden_is_told),
      cmocka_unit_test(why_libuvs_handler_is_not_found_is_told),
      cmocka_unit_test(a_handle_under_a_handler_is_told),
      cmocka_unit_test(an_ignored_handler_is_nobody_elses),
      cmocka_unit_test(sig_013_a_notify_makes_it_deliverable_again),
      cmocka_unit_test(sig_054_none_is_queued_after_the_reset),
      cmocka_unit_test(sig_048_all_at_once_with_signals_pouring_in),
  };
  program = argv[0];
  if (argc == 2) /* what a child has become */
    return dusk_signal_ignored(SIGHUP) == (strcmp(argv[1], "--ignored") == 0)
               ? 0
               : 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
