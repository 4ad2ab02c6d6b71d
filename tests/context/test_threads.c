/* Any thread may derive, ask, cancel, ref, unref, register and stop: the
 * interleavings of Go's tests and then some. ThreadSanitizer is the judge;
 * what is asserted here is what must hold however the threads meet. */
#include "fixture.h"
#include "team.h"
#include "tree.h"

#include <dusk/signal.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 200 };

static const dusk_cause_t cause = {UV_EIO, "why"};

/* -- Cancelling ----------------------------------------------------------- */

enum { NODES = 101 };

typedef struct {
  dusk_context_t *nodes[NODES];
  int order[NODES];
} tree_t;

static void cancel_nodes(void *arg, int number) {
  tree_t *tree = arg;
  for (int i = number; i < NODES; i += THREADS) {
    dusk_context_t *node = tree->nodes[tree->order[i]];
    dusk_context_cancel(node, NULL);
    /* CTX-016: also for the one that lost the race. */
    for (int child = tree->order[i] * 4 + 1;
         child <= tree->order[i] * 4 + 4 && child < NODES; child++)
      assert_int_equal(dusk_context_err(tree->nodes[child]), UV_ECANCELED);
  }
}

static void unref_nodes(void *arg, int number) {
  tree_t *tree = arg;
  for (int i = number; i < NODES; i += THREADS)
    dusk_context_unref(tree->nodes[tree->order[i]]);
}

static void grow(tree_t *tree, dusk_context_t *root) {
  for (int i = 0; i < NODES; i++) {
    dusk_context_t *parent = i == 0 ? root : tree->nodes[(i - 1) / 4];
    tree->nodes[i] =
        i % 3 == 1 ? with_timeout(parent, 60000, NULL) : with_cancel(parent);
    int place = rand() % (i + 1);
    tree->order[i] = tree->order[place];
    tree->order[place] = i;
  }
}

static void ctx_036_simultaneous_cancels_of_a_tree(void **state) {
  fixture_t *f = *state;
  for (int round = 0; round < ROUNDS; round++) {
    tree_t tree;
    grow(&tree, f->root);
    together(THREADS, cancel_nodes, &tree); /* CTX-015 */
    for (int i = 0; i < NODES; i++)
      assert_ended(tree.nodes[i], UV_ECANCELED, &dusk_canceled);
    together(THREADS, unref_nodes, &tree);
  }
}

/* DUSK-011 */
static void simultaneous_releases_of_a_live_tree(void **state) {
  fixture_t *f = *state;
  for (int round = 0; round < ROUNDS; round++) {
    tree_t tree;
    grow(&tree, f->root);
    together(THREADS, unref_nodes, &tree);
    assert_int_equal(entries(f->root), 0);
  }
}

static void cancel_or_unref_nodes(void *arg, int number) {
  tree_t *tree = arg;
  if (number == 0) dusk_context_cancel(tree->nodes[0], NULL);
  for (int i = number; i < NODES; i += THREADS)
    if (tree->order[i] != 0) dusk_context_unref(tree->nodes[tree->order[i]]);
}

/* DUSK-011 */
static void releases_against_a_cancel(void **state) {
  fixture_t *f = *state;
  for (int round = 0; round < ROUNDS; round++) {
    tree_t tree;
    grow(&tree, f->root);
    together(THREADS, cancel_or_unref_nodes, &tree);
    dusk_context_unref(tree.nodes[0]);
    assert_int_equal(entries(f->root), 0);
  }
}

typedef struct {
  dusk_context_t *parent;
  dusk_context_t *child;
} pair_t;

static void derive_or_cancel(void *arg, int number) {
  pair_t *pair = arg;
  if (number == 0)
    pair->child = with_cancel(pair->parent);
  else
    dusk_context_cancel(pair->parent, &cause);
}

static void ctx_030_a_child_made_during_the_cancel_ends(void **state) {
  fixture_t *f = *state;
  for (int round = 0; round < ROUNDS; round++) {
    pair_t pair = {with_cancel(f->root), NULL};
    together(2, derive_or_cancel, &pair);
    assert_ended(pair.child, UV_ECANCELED, &cause);
    dusk_context_unref(pair.child);
    dusk_context_unref(pair.parent);
  }
}

static void cancel_when_the_parent_has_ended(void *arg, int number) {
  pair_t *pair = arg;
  if (number == 0) {
    dusk_context_cancel(pair->parent, NULL);
    return;
  }
  while (dusk_context_err(pair->parent) == 0)
    continue;
  dusk_context_cancel(pair->child, NULL);
}

/* CTX-151 */
static void ctx_035_interlocked_cancels(void **state) {
  fixture_t *f = *state;
  for (int round = 0; round < ROUNDS; round++) {
    pair_t pair = {with_cancel(f->root), NULL};
    pair.child = with_cancel(pair.parent);
    together(2, cancel_when_the_parent_has_ended, &pair);
    dusk_context_unref(pair.child);
    dusk_context_unref(pair.parent);
  }
}

static void make_and_cancel(void *arg, int number) {
  dusk_context_t *parent = arg;
  for (int i = 0; i < 5000; i++) {
    dusk_context_t *ctx = (i + number) % 2 == 0
                              ? with_cancel(parent)
                              : with_timeout(parent, 1000 + i % 7, NULL);
    if (i % 3 != 0) dusk_context_cancel(ctx, NULL);
    dusk_context_unref(ctx);
  }
}

static void ctx_150_many_threads_below_one_parent(void **state) {
  fixture_t *f = *state;
  dusk_context_t *parent = with_timeout(f->root, 60000, NULL);
  together(THREADS, make_and_cancel, parent);
  assert_live(parent);
  assert_int_equal(entries(parent), 0);
  end(parent);
}

/* -- Asking --------------------------------------------------------------- */

static const dusk_key_t key = {"key"};

typedef struct {
  dusk_context_t *ctx;
  dusk_context_t *layer; /* of values, on top of it */
  uint64_t deadline_ns;
} asked_t;

/* What the cancel does not change. */
static void ask_the_rest(const asked_t *asked) {
  assert_true(dusk_context_deadline(asked->layer) == asked->deadline_ns);
  assert_ptr_equal(dusk_context_value(asked->layer, &key), &cause);
}

static void cancel_or_poll_cause(void *arg, int number) {
  const asked_t *asked = arg;
  if (number == 0) {
    dusk_context_cancel(asked->ctx, &cause);
    return;
  }
  const dusk_cause_t *seen;
  while ((seen = dusk_context_cause(asked->layer)) == NULL)
    ask_the_rest(asked);
  assert_ptr_equal(seen, &cause);
  assert_int_equal(dusk_context_err(asked->layer), UV_ECANCELED);
  ask_the_rest(asked);
}

static void ctx_083_a_polled_cause_is_none_or_the_last(void **state) {
  fixture_t *f = *state;
  for (int round = 0; round < ROUNDS; round++) {
    dusk_context_t *top = with_timeout(f->root, 60000, NULL);
    asked_t asked = {.ctx = with_cancel(top)};
    asked.layer = with_value(asked.ctx, &key, (void *)&cause);
    asked.deadline_ns = dusk_context_deadline(top);
    together(THREADS, cancel_or_poll_cause, &asked); /* CTX-149 */
    dusk_context_unref(asked.layer);
    dusk_context_unref(asked.ctx);
    dusk_context_unref(top);
  }
}

static void poll_err(void *arg, int number) {
  (void)number;
  while (dusk_context_err(arg) == 0)
    continue;
  assert_ended(arg, UV_ETIMEDOUT, &cause);
}

static void asking_against_the_timer(void **state) {
  fixture_t *f = *state;
  for (int round = 0; round < 20; round++) {
    dusk_context_t *top = with_timeout(f->root, 2, &cause);
    dusk_context_t *ctx = with_cancel(top);
    call_t call;
    call_after(ctx, &call, f->root);
    team_t team;
    team_start(&team, THREADS, poll_err, ctx);
    run(&f->loop);
    team_join(&team);
    assert_int_equal(call.calls, 1);
    dusk_context_unref(ctx);
    dusk_context_unref(top);
  }
}

typedef struct {
  dusk_context_t *top;
  dusk_context_t *below;
} forward_t;

static void bring_forward_or_ask(void *arg, int number) {
  forward_t *forward = arg;
  uint64_t last = DUSK_OFF;
  for (uint64_t i = 0; i < 1000; i++) {
    if (number == 0)
      dusk_context_bring_forward(forward->top,
                                 dusk_context_deadline(forward->top) - MS);
    if (number == 1) end(with_timeout(forward->below, 20000, NULL));
    uint64_t deadline_ns = dusk_context_deadline(forward->below);
    assert_true(deadline_ns <= last);
    assert_int_equal(dusk_context_err(forward->below), 0);
    last = deadline_ns;
  }
}

static void bringing_forward_against_asking(void **state) {
  fixture_t *f = *state;
  forward_t forward = {.top = with_timeout(f->root, 3600000, NULL)};
  forward.below = with_timeout(forward.top, 3600000, NULL);
  together(THREADS, bring_forward_or_ask, &forward);
  assert_true(dusk_context_deadline(forward.below) ==
              dusk_context_deadline(forward.top));
  dusk_context_unref(forward.below);
  end(forward.top);
}

/* The texts of two, the second of which may have yielded to the first. */
static void assert_tells_both(const char *text) {
  static const char start[] = "context.Background.WithDeadline(";
  assert_memory_equal(text, start, sizeof(start) - 1);
  const char *below = strstr(text, "s]).With");
  assert_non_null(below);
  below += strlen("s]).With");
  if (strcmp(below, "Cancel") == 0) return;
  assert_memory_equal(below, "Deadline(", strlen("Deadline("));
  assert_string_equal(strstr(below, "s])"), "s])");
}

/* What is told need not be of one moment with what is done next to it, but must
 * be something that there was. */
static void show_or_change(void *arg, int number) {
  forward_t *forward = arg;
  for (int i = 0; i < 1000; i++) {
    char text[256];
    dusk_context_entry_t tree[4];
    if (number == 0) /* the one below yields to it, and gets ahead again */
      dusk_context_bring_forward(i % 2 == 0 ? forward->top : forward->below,
                                 dusk_context_deadline(forward->below) - MS);
    if (number == 1) end(with_timeout(forward->below, 20000, NULL));
    if (number < 2) continue;
    size_t len = dusk_context_text(forward->below, text, sizeof(text));
    assert_int_equal(strlen(text), len);
    assert_tells_both(text);
    size_t count = dusk_context_tree(forward->top, tree, 4);
    assert_in_range(count, 2, 3);
    assert_ptr_equal(tree[1].ctx, forward->below);
  }
}

static void showing_against_changing(void **state) {
  fixture_t *f = *state;
  forward_t forward = {.top = with_timeout(f->root, 3600000, NULL)};
  forward.below = with_timeout(forward.top, 3000000, NULL);
  together(THREADS, show_or_change, &forward);
  dusk_context_unref(forward.below);
  end(forward.top);
}

/* -- Waiting -------------------------------------------------------------- */

typedef struct {
  dusk_waiter_t waiter;
  dusk_context_t *ctx;
  dusk_context_t *root;
  uv_thread_t loops; /* the thread that the callback must run on */
  int delay;         /* of the stop */
  int called;
  bool stopped;
} shot_t;

static void on_shot(dusk_waiter_t *waiter) {
  shot_t *shot = dusk__container_of(waiter, shot_t, waiter);
  uv_thread_t self = uv_thread_self();
  assert_true(uv_thread_equal(&self, &shot->loops));
  assert_int_not_equal(dusk_context_err(shot->ctx), 0);
  shot->called++;
}

static void cancel_shot(void *arg, int number) {
  shot_t *shot = arg;
  (void)number;
  dusk_context_cancel(shot->ctx, NULL);
}

/* CTX-022: whoever sees the end finds the waiters due. */
static void a_visible_end_means_that_waiters_are_due(void **state) {
  fixture_t *f = *state;
  for (int round = 0; round < ROUNDS; round++) {
    shot_t shot = {.ctx = with_cancel(f->root), .loops = uv_thread_self()};
    dusk_context_after(shot.ctx, &shot.waiter, f->root, on_shot);
    team_t team;
    team_start(&team, 1, cancel_shot, &shot);
    while (dusk_context_err(shot.ctx) == 0)
      continue;
    turn(&f->loop);
    assert_int_equal(shot.called, 1);
    team_join(&team);
    dusk_context_unref(shot.ctx);
  }
}

static void cancel_or_stop(void *arg, int number) {
  shot_t *shot = arg;
  if (number == 0) dusk_context_cancel(shot->ctx, NULL);
  if (number == 1) {
    for (int spin = shot->delay; spin > 0; spin--)
      dusk_context_err(shot->ctx);
    shot->stopped = dusk_waiter_stop(&shot->waiter);
  }
}

/* DUSK-017. The loop turns meanwhile, in this thread. */
static void stop_against_firing_on(fixture_t *f, dusk_context_t *tree) {
  int outcomes[2] = {0, 0};
  for (int round = 0; round < 10 * ROUNDS; round++) {
    shot_t shot = {.ctx = with_cancel(tree),
                   .loops = uv_thread_self(),
                   .delay = rand() % 50000};
    dusk_context_after(shot.ctx, &shot.waiter, f->root, on_shot);
    team_t team;
    team_start(&team, 2, cancel_or_stop, &shot);
    turn(&f->loop);
    team_join(&team);
    turn(&f->loop);
    assert_int_equal(shot.called, shot.stopped ? 0 : 1);
    outcomes[shot.called]++;
    dusk_context_unref(shot.ctx);
  }
  print_message("stopped %d, called %d\n", outcomes[0], outcomes[1]);
}

static void stop_against_firing(void **state) {
  fixture_t *f = *state;
  stop_against_firing_on(f, f->root);
}

static void stop_against_firing_from_another_tree(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other;
  assert_int_equal(dusk_context_attach(&f->loop, &other), 0);
  stop_against_firing_on(f, other);
  assert_int_equal(dusk_context_detach(other, NULL, NULL), 0);
  turn(&f->loop);
}

typedef struct {
  dusk_waiter_t waiter;
  atomic_bool is_running;
  atomic_bool has_stopped;
} slow_t;

/* Returns only when the other thread's stop has. */
static void on_slow(dusk_waiter_t *waiter) {
  slow_t *slow = dusk__container_of(waiter, slow_t, waiter);
  uint64_t until = uv_hrtime() + 10000 * MS;
  slow->is_running = true;
  while (!slow->has_stopped && uv_hrtime() < until)
    continue;
  assert_true(slow->has_stopped);
}

static void stop_slow(void *arg, int number) {
  slow_t *slow = arg;
  (void)number;
  while (!slow->is_running)
    continue;
  assert_false(dusk_waiter_stop(&slow->waiter));
  slow->has_stopped = true;
}

static void ctx_108_stop_does_not_wait_for_the_callback(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  slow_t slow = {.is_running = false};
  dusk_context_after(ctx, &slow.waiter, f->root, on_slow);
  dusk_context_cancel(ctx, NULL);
  team_t team;
  team_start(&team, 1, stop_slow, &slow);
  run(&f->loop);
  team_join(&team);
  assert_true(slow.has_stopped);
  dusk_context_unref(ctx);
}

enum { HOPS = 16 };

typedef struct {
  dusk_waiter_t waiter;
  dusk_context_t *roots[2];
  dusk_context_t *ctxs[HOPS]; /* by turns of the one tree and the other */
  int stop_at;
  atomic_int calls;
  atomic_bool is_stopped;
} hopper_t;

static void on_hop(dusk_waiter_t *waiter) {
  hopper_t *hopper = dusk__container_of(waiter, hopper_t, waiter);
  int calls = ++hopper->calls;
  dusk_context_after(hopper->ctxs[calls % HOPS], waiter,
                     hopper->roots[calls / 2 % 2], on_hop);
}

static void stop_or_chase(void *arg, int number) {
  hopper_t *hopper = arg;
  if (number == 0) {
    while (hopper->calls < hopper->stop_at)
      continue;
    while (!dusk_waiter_stop(&hopper->waiter))
      sched_yield();
    hopper->is_stopped = true;
  }
  while (!hopper->is_stopped) {
    dusk_context_t *ctx = hopper->ctxs[hopper->calls % HOPS];
    if (dusk_context_err(ctx) == 0)
      dusk_context_cancel(ctx, NULL);
    else
      sched_yield(); /* to the loop */
  }
}

/* DUSK-017. A waiter that its callback registers anew, now here, now there, on
 * contexts that another thread cancels. */
static void stop_against_registering_anew(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other;
  assert_int_equal(dusk_context_attach(&f->loop, &other), 0);
  for (int round = 0; round < ROUNDS; round++) {
    hopper_t hopper = {.roots = {f->root, other}, .stop_at = 1 + rand() % HOPS};
    for (int i = 0; i < HOPS; i++)
      hopper.ctxs[i] = with_cancel(hopper.roots[i % 2]);
    on_hop(&hopper.waiter);
    team_t team;
    team_start(&team, 2, stop_or_chase, &hopper);
    while (!hopper.is_stopped)
      turn(&f->loop);
    team_join(&team);
    int calls = hopper.calls;
    for (int i = 0; i < HOPS; i++)
      end(hopper.ctxs[i]);
    turn(&f->loop);
    assert_int_equal(hopper.calls, calls);
  }
  assert_int_equal(dusk_context_detach(other, NULL, NULL), 0);
  turn(&f->loop);
}

static void unref_shot(void *arg, int number) {
  shot_t *shot = arg;
  (void)number;
  dusk_context_unref(shot->ctx);
}

static void unref_against_firing(void **state) {
  fixture_t *f = *state;
  for (int round = 0; round < ROUNDS; round++) {
    dusk_context_t *parent = with_timeout(f->root, 1, NULL);
    shot_t shot = {.ctx = with_cancel(parent), .loops = uv_thread_self()};
    dusk_context_after(shot.ctx, &shot.waiter, f->root, on_shot);
    wait_until(dusk_context_deadline(parent) - 100000);
    team_t team;
    team_start(&team, 1, unref_shot, &shot);
    run(&f->loop);
    team_join(&team);
    assert_int_equal(shot.called, 1);
    dusk_context_unref(parent);
  }
}

static void register_from_afar(void *arg, int number) {
  shot_t *shots = arg;
  shot_t *shot = &shots[number];
  dusk_context_after(shot->ctx, &shot->waiter, shot->root, on_shot);
  if (number % 2 == 0) dusk_context_cancel(shot->ctx, NULL);
}

static bool all_called(shot_t *shots) {
  for (int i = 0; i < THREADS; i++)
    if (shots[i].called == 0) return false;
  return true;
}

/* DUSK-019. One half ends by a deadline that the loop's timer does not know
 * yet. */
static void another_thread_registers_and_this_loop_calls(void **state) {
  fixture_t *f = *state;
  shot_t shots[THREADS];
  for (int i = 0; i < THREADS; i++)
    shots[i] = (shot_t){.ctx = with_timeout(f->root, 5, NULL),
                        .root = f->root,
                        .loops = uv_thread_self()};
  team_t team;
  team_start(&team, THREADS, register_from_afar, shots);
  uint64_t until = uv_hrtime() + 10000 * MS;
  while (!all_called(shots) && uv_hrtime() < until)
    turn(&f->loop);
  team_join(&team);
  for (int i = 0; i < THREADS; i++) {
    assert_int_equal(shots[i].called, 1);
    dusk_context_unref(shots[i].ctx);
  }
}

static void derive_with_timeout(void *arg, int number) {
  shot_t *shot = arg;
  (void)number;
  shot->ctx = with_timeout(shot->root, 5, NULL);
  dusk_context_after(shot->ctx, &shot->waiter, shot->root, on_shot);
}

/* DUSK-019, DUSK-026. The loop sleeps, for an hour as far as it knows. */
static void another_threads_deadline_wakes_the_loop(void **state) {
  fixture_t *f = *state;
  dusk_context_t *far = with_timeout(f->root, 3600000, NULL);
  call_t never;
  call_after(far, &never, f->root);
  shot_t shot = {.root = f->root, .loops = uv_thread_self()};
  team_t team;
  team_start(&team, 1, derive_with_timeout, &shot);
  while (shot.called == 0)
    uv_run(&f->loop, UV_RUN_ONCE);
  team_join(&team);
  assert_int_equal(dusk_context_err(shot.ctx), UV_ETIMEDOUT);
  assert_true(dusk_waiter_stop(&never.waiter));
  dusk_context_unref(shot.ctx);
  end(far);
}

typedef struct {
  uv_loop_t loop;
  dusk_context_t *root;
  dusk_context_t *ctx;
  shot_t shot;
} moved_t;

static void run_moved(void *arg, int number) {
  moved_t *moved = arg;
  (void)number;
  moved->shot.loops = uv_thread_self();
  assert_int_equal(uv_run(&moved->loop, UV_RUN_DEFAULT), 0);
}

/* DUSK-026, DUSK-027. The one who attached goes on, while another thread runs
 * the loop. */
static void a_loop_may_be_made_here_and_run_there(void **state) {
  (void)state;
  for (int round = 0; round < ROUNDS; round++) {
    moved_t moved;
    assert_int_equal(uv_loop_init(&moved.loop), 0);
    assert_int_equal(dusk_context_attach(&moved.loop, &moved.root), 0);
    moved.ctx = with_timeout(moved.root, 60000, NULL);
    moved.shot = (shot_t){.ctx = moved.ctx};
    dusk_context_after(moved.ctx, &moved.shot.waiter, moved.root, on_shot);
    team_t team;
    team_start(&team, 1, run_moved, &moved);
    for (int spin = rand() % 10000; spin > 0; spin--)
      dusk_context_err(moved.ctx);
    for (uint64_t i = 0; i < 10; i++)
      end(with_timeout(moved.root, 50000 - 100 * i, NULL));
    dusk_context_cancel(moved.ctx, NULL);
    team_join(&team);
    assert_int_equal(moved.shot.called, 1);
    dusk_context_unref(moved.ctx);
    assert_int_equal(dusk_context_detach(moved.root, NULL, NULL), 0);
    run(&moved.loop);
    assert_int_equal(uv_loop_close(&moved.loop), 0);
  }
}

/* -- Several loops -------------------------------------------------------- */

typedef struct {
  uv_sem_t ready;
  uv_thread_t thread;
  uv_loop_t loop;
  dusk_context_t *root;
  dusk_context_t *foreign; /* of another loop's tree */
  shot_t shots[100];
} peer_t;

static void on_peer_shot(dusk_waiter_t *waiter) {
  on_shot(waiter);
}

static void peer_run(void *arg) {
  peer_t *peer = arg;
  assert_int_equal(uv_loop_init(&peer->loop), 0);
  assert_int_equal(dusk_context_attach(&peer->loop, &peer->root), 0);
  dusk_context_t *guard = with_timeout(peer->foreign, 60000, NULL);
  for (int i = 0; i < 100; i++) {
    shot_t *shot = &peer->shots[i];
    *shot = (shot_t){.ctx = guard, .loops = uv_thread_self()};
    dusk_context_after(i % 2 == 0 ? peer->foreign : guard, &shot->waiter,
                       peer->root, on_peer_shot);
  }
  uv_sem_post(&peer->ready);
  assert_int_equal(uv_run(&peer->loop, UV_RUN_DEFAULT), 0);
  dusk_context_unref(guard);
  assert_int_equal(dusk_context_detach(peer->root, NULL, NULL), 0);
  assert_int_equal(uv_run(&peer->loop, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&peer->loop), 0);
}

/* DUSK-028 */
static void one_cancel_reaches_the_waiters_of_all_loops(void **state) {
  fixture_t *f = *state;
  static peer_t peers[THREADS];
  dusk_context_t *ctx = with_timeout(f->root, 60000, NULL);
  for (int i = 0; i < THREADS; i++) {
    peers[i].foreign = ctx;
    uv_sem_init(&peers[i].ready, 0);
    uv_thread_create(&peers[i].thread, peer_run, &peers[i]);
  }
  for (int i = 0; i < THREADS; i++)
    uv_sem_wait(&peers[i].ready);
  dusk_context_cancel(ctx, NULL);
  for (int i = 0; i < THREADS; i++) {
    uv_thread_join(&peers[i].thread);
    uv_sem_destroy(&peers[i].ready);
    for (int j = 0; j < 100; j++)
      assert_int_equal(peers[i].shots[j].called, 1);
  }
  dusk_context_unref(ctx);
}

static void use_a_tree(void *arg, int number) {
  dusk_context_t *ctx = arg;
  for (int i = 0; i < 300; i++) {
    dusk_context_t *child = with_timeout(ctx, (uint64_t)(i % 3), NULL);
    dusk_context_err(child);
    if (i % 2 == 0) dusk_context_cancel(child, NULL);
    dusk_context_unref(child);
  }
  if (number == 0) dusk_context_cancel(ctx, &cause);
}

/* DUSK-029 */
static void detaching_against_deriving_and_cancelling(void **state) {
  (void)state;
  for (int round = 0; round < 50; round++) {
    uv_loop_t loop;
    dusk_context_t *root;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(dusk_context_attach(&loop, &root), 0);
    dusk_context_t *ctx = with_cancel(root);
    team_t team;
    team_start(&team, THREADS, use_a_tree, ctx);
    for (int spin = rand() % 100; spin > 0; spin--)
      turn(&loop);
    assert_int_equal(dusk_context_detach(root, NULL, NULL), 0);
    run(&loop);
    assert_int_equal(uv_loop_close(&loop), 0);
    team_join(&team);
    assert_ended(ctx, UV_ECANCELED, &cause);
    dusk_context_unref(ctx);
  }
}

static void unref_it(void *arg, int number) {
  (void)number;
  dusk_context_unref(arg);
}

/* Its handles must be closed on the loop's thread. */
static void a_signal_context_may_be_released_anywhere(void **state) {
  fixture_t *f = *state;
  static const int signum = SIGUSR1;
  dusk_context_t *ctx;
  assert_int_equal(dusk_context_with_signals(f->root, &signum, 1, &ctx), 0);
  dusk_context_t *child = with_cancel(ctx);
  dusk_context_unref(ctx);
  together(1, unref_it, child);
  turn(&f->loop);
  struct sigaction now;
  assert_int_equal(sigaction(signum, NULL, &now), 0);
  assert_true(now.sa_handler == SIG_DFL); /* DUSK-048 */
}

typedef struct {
  uv_loop_t loop;
  dusk_context_t *root;
  dusk_context_t *ctx;
} left_t;

static void run_and_leave(void *arg, int number) {
  left_t *left = arg;
  (void)number;
  assert_int_equal(uv_loop_init(&left->loop), 0);
  assert_int_equal(dusk_context_attach(&left->loop, &left->root), 0);
  assert_int_equal(
      dusk_context_with_signals(left->root, (int[]){SIGUSR1}, 1, &left->ctx),
      0);
  run(&left->loop);
}

/* The thread that ran the loop is gone, and left it to this one. */
static void a_loop_that_ran_elsewhere_ends_here(void **state) {
  (void)state;
  left_t left;
  together(1, run_and_leave, &left);
  dusk_context_unref(left.ctx);
  assert_int_equal(dusk_context_detach(left.root, NULL, NULL), 0);
  run(&left.loop);
  assert_int_equal(uv_loop_close(&left.loop), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      fixture_test(ctx_030_a_child_made_during_the_cancel_ends),
      fixture_test(ctx_035_interlocked_cancels),
      fixture_test(ctx_036_simultaneous_cancels_of_a_tree),
      fixture_test(simultaneous_releases_of_a_live_tree),
      fixture_test(releases_against_a_cancel),
      fixture_test(ctx_083_a_polled_cause_is_none_or_the_last),
      fixture_test(ctx_150_many_threads_below_one_parent),
      fixture_test(asking_against_the_timer),
      fixture_test(bringing_forward_against_asking),
      fixture_test(showing_against_changing),
      fixture_test(a_visible_end_means_that_waiters_are_due),
      fixture_test(stop_against_firing),
      fixture_test(stop_against_firing_from_another_tree),
      fixture_test(ctx_108_stop_does_not_wait_for_the_callback),
      fixture_test(stop_against_registering_anew),
      fixture_test(unref_against_firing),
      fixture_test(another_thread_registers_and_this_loop_calls),
      fixture_test(another_threads_deadline_wakes_the_loop),
      cmocka_unit_test(a_loop_may_be_made_here_and_run_there),
      fixture_test(one_cancel_reaches_the_waiters_of_all_loops),
      cmocka_unit_test(detaching_against_deriving_and_cancelling),
      fixture_test(a_signal_context_may_be_released_anywhere),
      cmocka_unit_test(a_loop_that_ran_elsewhere_ends_here),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
