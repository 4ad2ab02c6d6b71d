/* Waiters: AfterFunc for a loop. Needs --wrap for dusk__waiters_send, and
 * meanwhile.h. */
#include "fixture.h"
#include "meanwhile.h"
#include "team.h"
#include "tree.h"

#include <stdlib.h>
#include <string.h>

static void ctx_100_called_once_after_the_cancel(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  call_t call;
  call_after(ctx, &call, f->root);
  turn(&f->loop);
  assert_int_equal(call.calls, 0);
  dusk_context_cancel(ctx, NULL);
  assert_int_equal(call.calls, 0); /* CTX-103: never inside the cancel */
  run(&f->loop);
  assert_int_equal(call.calls, 1);
  dusk_context_cancel(ctx, NULL);
  turn(&f->loop);
  assert_int_equal(call.calls, 1);              /* CTX-104 */
  assert_false(dusk_waiter_stop(&call.waiter)); /* CTX-107 */
  dusk_context_unref(ctx);
}

static void ctx_101_called_when_the_deadline_passes(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 2, NULL);
  call_t call;
  call_after(ctx, &call, f->root);
  run(&f->loop);
  assert_int_equal(call.calls, 1);
  assert_int_equal(dusk_context_err(ctx), UV_ETIMEDOUT);
  dusk_context_unref(ctx);
}

static void ctx_102_on_an_ended_context_called_in_the_next_turn(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  dusk_context_cancel(ctx, NULL);
  call_t call;
  call_after(ctx, &call, f->root);
  assert_int_equal(call.calls, 0);
  run(&f->loop);
  assert_int_equal(call.calls, 1); /* CTX-021 */
  dusk_context_unref(ctx);
}

static void ctx_105_a_stopped_waiter_is_never_called(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  call_t call;
  call_after(ctx, &call, f->root);
  assert_int_equal(entries(ctx), 1); /* CTX-110 */
  assert_true(dusk_waiter_stop(&call.waiter));
  assert_int_equal(entries(ctx), 0);
  assert_false(dusk_waiter_stop(&call.waiter)); /* CTX-106 */
  memset(&call.waiter, 0xff, sizeof(call.waiter));
  dusk_context_cancel(ctx, NULL);
  turn(&f->loop);
  assert_int_equal(call.calls, 0);
  dusk_context_unref(ctx);
}

/* CTX-107, where Go's stop says false: the context has ended, the callback has
 * not begun. */
static void a_due_waiter_can_be_stopped(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  call_t first, second, third;
  call_after(ctx, &first, f->root);
  call_after(ctx, &second, f->root);
  call_after(ctx, &third, f->root);
  dusk_context_cancel(ctx, NULL);
  assert_true(dusk_waiter_stop(&first.waiter));
  assert_true(dusk_waiter_stop(&third.waiter));
  assert_int_not_equal(uv_loop_alive(&f->loop), 0);
  run(&f->loop);
  assert_int_equal(first.calls, 0);
  assert_int_equal(second.calls, 1);
  assert_int_equal(third.calls, 0);
  dusk_context_unref(ctx);
}

/* DUSK-018 */
static void a_zeroed_waiter_is_not_registered(void **state) {
  (void)state;
  dusk_waiter_t waiter = {0};
  assert_false(dusk_waiter_stop(&waiter));
}

typedef struct {
  dusk_waiter_t waiter;
  int number;
  char *log;
} logger_t;

static void on_log(dusk_waiter_t *waiter) {
  logger_t *logger = dusk__container_of(waiter, logger_t, waiter);
  logger->log[strlen(logger->log)] = (char)('0' + logger->number);
}

static void ctx_109_each_is_called_in_its_order(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  char log[8] = "";
  logger_t loggers[6];
  for (int i = 0; i < 6; i++) {
    loggers[i] = (logger_t){.number = i, .log = log};
    if (i == 5) dusk_context_cancel(ctx, NULL);
    dusk_context_after(ctx, &loggers[i].waiter, f->root, on_log);
  }
  assert_true(dusk_waiter_stop(&loggers[2].waiter));
  run(&f->loop);
  assert_string_equal(log, "01345");
  dusk_context_unref(ctx);
}

/* DUSK-012. Each root has an order of its own. */
static void each_root_calls_its_waiters_in_order(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other;
  assert_int_equal(dusk_context_attach(&f->loop, &other), 0);
  dusk_context_t *ctx = with_cancel(f->root);
  char here[8] = "", there[8] = "";
  logger_t loggers[6];
  for (int i = 0; i < 6; i++) {
    bool is_here = i % 2 == 0;
    loggers[i] = (logger_t){.number = i, .log = is_here ? here : there};
    dusk_context_after(ctx, &loggers[i].waiter, is_here ? f->root : other,
                       on_log);
  }
  dusk_context_cancel(ctx, NULL);
  run(&f->loop);
  assert_string_equal(here, "024");
  assert_string_equal(there, "135");
  dusk_context_unref(ctx);
  assert_int_equal(dusk_context_detach(other, NULL, NULL), 0);
}

static void ctx_111_on_a_root_it_is_never_called(void **state) {
  fixture_t *f = *state;
  static const dusk_key_t key;
  dusk_context_t *layer = with_value(f->root, &key, NULL);
  call_t on_root, on_layer;
  call_after(f->root, &on_root, f->root);
  call_after(layer, &on_layer, f->root);
  turn(&f->loop);
  assert_true(dusk_waiter_stop(&on_root.waiter)); /* CTX-002 */
  assert_true(dusk_waiter_stop(&on_layer.waiter));
  dusk_context_unref(layer);
}

typedef struct {
  dusk_waiter_t waiter;
  dusk_context_t *ctx;
  int err;
  const dusk_cause_t *cause;
} reader_t;

static void on_read(dusk_waiter_t *waiter) {
  reader_t *reader = dusk__container_of(waiter, reader_t, waiter);
  reader->err = dusk_context_err(reader->ctx);
  reader->cause = dusk_context_cause(reader->ctx);
}

/* Also when nobody else has a reference any more: DUSK-010. */
static void ctx_112_the_callback_finds_the_end(void **state) {
  static const dusk_cause_t cause = {UV_EIO, "why"};
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  reader_t reader = {.ctx = ctx};
  dusk_context_after(ctx, &reader.waiter, f->root, on_read);
  dusk_context_cancel(ctx, &cause);
  dusk_context_unref(ctx);
  run(&f->loop);
  assert_int_equal(reader.err, UV_ECANCELED); /* CTX-023 */
  assert_ptr_equal(reader.cause, &cause);
}

/* DUSK-008 */
static void the_last_release_calls_the_waiters(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  reader_t reader = {.ctx = ctx};
  dusk_context_after(ctx, &reader.waiter, f->root, on_read);
  dusk_context_unref(ctx);
  run(&f->loop);
  assert_int_equal(reader.err, UV_ECANCELED);
  assert_ptr_equal(reader.cause, &dusk_canceled);
}

static void a_due_waiter_stopped_lets_its_context_go(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  call_t call;
  call_after(ctx, &call, f->root);
  dusk_context_unref(ctx); /* ends it; now the waiter alone holds it */
  assert_true(dusk_waiter_stop(&call.waiter));
}

/* -- References ----------------------------------------------------------- */

/* DUSK-068 */
static void a_reference_keeps_the_loop_until_the_call(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  call_t call;
  call_after(ctx, &call, f->root);
  assert_false(dusk_waiter_has_ref(&call.waiter));
  assert_int_equal(uv_loop_alive(&f->loop), 0);
  dusk_waiter_ref(&call.waiter);
  dusk_waiter_ref(&call.waiter);
  assert_true(dusk_waiter_has_ref(&call.waiter));
  assert_int_not_equal(uv_run(&f->loop, UV_RUN_NOWAIT), 0);
  dusk_waiter_unref(&call.waiter);
  dusk_waiter_unref(&call.waiter);
  assert_false(dusk_waiter_has_ref(&call.waiter));
  run(&f->loop);
  assert_int_equal(call.calls, 0);

  dusk_waiter_ref(&call.waiter);
  dusk_context_cancel(ctx, NULL);
  run(&f->loop);
  assert_int_equal(call.calls, 1);
  assert_false(dusk_waiter_has_ref(&call.waiter));
  assert_int_equal(uv_loop_alive(&f->loop), 0);
  dusk_context_unref(ctx);
}

/* DUSK-068 */
static void a_stop_takes_the_reference_back(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 3600000, NULL);
  call_t waiting, due;
  call_after(ctx, &waiting, f->root);
  dusk_waiter_ref(&waiting.waiter);
  assert_true(dusk_waiter_stop(&waiting.waiter));
  assert_int_equal(uv_loop_alive(&f->loop), 0);
  call_after(ctx, &waiting, f->root); /* begins without */
  assert_false(dusk_waiter_has_ref(&waiting.waiter));
  dusk_waiter_ref(&waiting.waiter);
  dusk_waiter_unref(&waiting.waiter);
  assert_int_not_equal(uv_loop_alive(&f->loop), 0); /* by the deadline */
  assert_true(dusk_waiter_stop(&waiting.waiter));

  dusk_context_cancel(ctx, NULL);
  call_after(ctx, &due, f->root); /* of one that has ended */
  dusk_waiter_ref(&due.waiter);
  assert_true(dusk_waiter_stop(&due.waiter));
  run(&f->loop);
  assert_int_equal(due.calls, 0);
  assert_int_equal(uv_loop_alive(&f->loop), 0);
  dusk_context_unref(ctx);
}

/* DUSK-068 */
static void one_that_is_not_registered_has_no_reference(void **state) {
  fixture_t *f = *state;
  dusk_waiter_t waiter = {0};
  dusk_waiter_ref(&waiter);
  assert_false(dusk_waiter_has_ref(&waiter));
  dusk_waiter_unref(&waiter);
  assert_int_equal(uv_loop_alive(&f->loop), 0);
}

/* DUSK-068. Of two loops the one that is named goes on. */
static void a_reference_is_to_the_named_loop(void **state) {
  fixture_t *f = *state;
  fixture_t still;
  still_open(&still);
  run(&still.loop);
  dusk_context_t *ctx = with_cancel(still.root);
  call_t call;
  call_after(ctx, &call, f->root);
  dusk_waiter_ref(&call.waiter);
  assert_int_equal(uv_loop_alive(&still.loop), 0);
  assert_int_not_equal(uv_loop_alive(&f->loop), 0);
  dusk_context_cancel(ctx, NULL);
  run(&f->loop);
  assert_int_equal(call.calls, 1);
  dusk_context_unref(ctx);
  still_close(&still);
}

/* DUSK-070 */
static void data_is_the_callers(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  call_t call = {.waiter.data = &call};
  dusk_context_after(ctx, &call.waiter, f->root, on_call);
  assert_ptr_equal(call.waiter.data, &call);
  dusk_context_cancel(ctx, NULL);
  run(&f->loop);
  assert_ptr_equal(call.waiter.data, &call);
  dusk_context_unref(ctx);
}

/* -- What a callback may do ----------------------------------------------- */

typedef struct {
  dusk_waiter_t waiter;
  dusk_context_t *ctx;
  dusk_context_t *root;
  dusk_waiter_t *other;
  int calls;
} actor_t;

static void on_free(dusk_waiter_t *waiter) {
  actor_t *actor = dusk__container_of(waiter, actor_t, waiter);
  dusk_context_unref(actor->ctx);
  free(actor);
}

/* DUSK-014 */
static void a_callback_may_free_its_owner(void **state) {
  fixture_t *f = *state;
  actor_t *actor = malloc(sizeof(*actor));
  assert_non_null(actor);
  actor->ctx = with_cancel(f->root);
  dusk_context_after(actor->ctx, &actor->waiter, f->root, on_free);
  dusk_context_cancel(actor->ctx, NULL);
  run(&f->loop);
}

static void on_again(dusk_waiter_t *waiter) {
  actor_t *actor = dusk__container_of(waiter, actor_t, waiter);
  if (++actor->calls < 100)
    dusk_context_after(actor->ctx, waiter, actor->root, on_again);
}

/* DUSK-015: each time in a turn of its own; others are not kept waiting. */
static void a_callback_may_register_anew(void **state) {
  fixture_t *f = *state;
  actor_t actor = {.ctx = with_cancel(f->root), .root = f->root};
  dusk_context_cancel(actor.ctx, NULL);
  dusk_context_after(actor.ctx, &actor.waiter, f->root, on_again);
  uv_run(&f->loop, UV_RUN_ONCE);
  assert_int_equal(actor.calls, 1);
  run(&f->loop);
  assert_int_equal(actor.calls, 100);
  dusk_context_unref(actor.ctx);
}

static void on_stop_other(dusk_waiter_t *waiter) {
  actor_t *actor = dusk__container_of(waiter, actor_t, waiter);
  assert_false(dusk_waiter_stop(waiter)); /* itself: it has begun */
  assert_true(dusk_waiter_stop(actor->other));
  actor->calls++;
}

/* DUSK-014 */
static void a_callback_may_stop_others(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  actor_t actor = {0};
  call_t due, waiting;
  dusk_context_after(ctx, &actor.waiter, f->root, on_stop_other);
  call_after(ctx, &due, f->root);
  actor.other = &due.waiter;
  dusk_context_cancel(ctx, NULL);
  run(&f->loop);
  assert_int_equal(actor.calls, 1);
  assert_int_equal(due.calls, 0);

  dusk_context_t *live = with_cancel(f->root);
  call_after(live, &waiting, f->root);
  actor.other = &waiting.waiter;
  dusk_context_after(ctx, &actor.waiter, f->root, on_stop_other);
  run(&f->loop);
  assert_int_equal(actor.calls, 2);
  end(live);
  dusk_context_unref(ctx);
}

static void on_cancel_other(dusk_waiter_t *waiter) {
  actor_t *actor = dusk__container_of(waiter, actor_t, waiter);
  actor->calls++;
  dusk_context_t *derived = with_timeout(actor->ctx, 1000, NULL);
  dusk_context_cancel(actor->ctx, NULL);
  assert_ended(derived, UV_ECANCELED, &dusk_canceled);
  dusk_context_unref(derived);
}

/* CTX-152, DUSK-016 */
static void a_callback_may_derive_and_cancel(void **state) {
  fixture_t *f = *state;
  dusk_context_t *first = with_cancel(f->root);
  dusk_context_t *second = with_cancel(f->root);
  actor_t actor = {.ctx = second};
  call_t call;
  dusk_context_after(first, &actor.waiter, f->root, on_cancel_other);
  call_after(second, &call, f->root);
  dusk_context_cancel(first, NULL);
  run(&f->loop);
  assert_int_equal(actor.calls, 1);
  assert_int_equal(call.calls, 1);
  dusk_context_unref(first);
  dusk_context_unref(second);
}

static void on_detach(dusk_waiter_t *waiter) {
  actor_t *actor = dusk__container_of(waiter, actor_t, waiter);
  assert_int_equal(dusk_context_detach(actor->root, NULL, NULL), 0);
  actor->calls++;
}

/* DUSK-016 */
static void a_callback_may_detach_its_root(void **state) {
  fixture_t *f = *state;
  actor_t actor = {0};
  assert_int_equal(dusk_context_attach(&f->loop, &actor.root), 0);
  dusk_context_t *ctx = with_timeout(actor.root, 1, NULL);
  dusk_context_after(ctx, &actor.waiter, actor.root, on_detach);
  dusk_context_unref(dusk_context_ref(ctx));
  run(&f->loop);
  assert_int_equal(actor.calls, 1);
  dusk_context_unref(ctx);
}

/* -- Contexts of another tree --------------------------------------------- */

/* DUSK-013 */
static void a_waiter_may_name_another_root(void **state) {
  fixture_t *f = *state;
  uv_loop_t loop;
  dusk_context_t *other;
  assert_int_equal(uv_loop_init(&loop), 0);
  assert_int_equal(dusk_context_attach(&loop, &other), 0);
  dusk_context_t *ctx = with_cancel(f->root);
  call_t here, there, stopped, late, never;
  call_after(ctx, &here, f->root);
  call_after(ctx, &there, other);
  call_after(ctx, &stopped, other);
  call_after(ctx, &never, other);
  assert_true(dusk_waiter_stop(&never.waiter));
  assert_int_equal(dusk_context_detach(other, NULL, NULL), UV_EBUSY);

  dusk_context_cancel(ctx, NULL);
  call_after(ctx, &late, other);
  dusk_context_unref(ctx);
  assert_true(dusk_waiter_stop(&stopped.waiter));
  run(&f->loop);
  assert_int_equal(here.calls, 1);
  assert_int_equal(there.calls, 0);
  run(&loop);
  assert_int_equal(there.calls, 1);
  assert_int_equal(late.calls, 1);
  assert_int_equal(stopped.calls, 0);
  assert_int_equal(dusk_context_detach(other, NULL, NULL), 0);
  run(&loop);
  assert_int_equal(uv_loop_close(&loop), 0);
}

/* DUSK-025. Of two loops in one thread the deadline's runs until then, and the
 * waiter's until it has called. */
static void another_trees_deadline_keeps_both_loops(void **state) {
  fixture_t *f = *state;
  uv_loop_t loop;
  dusk_context_t *other;
  assert_int_equal(uv_loop_init(&loop), 0);
  assert_int_equal(dusk_context_attach(&loop, &other), 0);
  dusk_context_t *ctx = with_timeout(f->root, 20, NULL);
  call_t call;
  call_after(ctx, &call, other);
  run(&f->loop);
  assert_true(uv_hrtime() >= dusk_context_deadline(ctx));
  assert_int_equal(call.calls, 0);
  assert_int_not_equal(uv_loop_alive(&loop), 0);
  run(&loop);
  assert_int_equal(call.calls, 1);
  assert_int_equal(uv_loop_alive(&loop), 0);
  dusk_context_unref(ctx);
  assert_int_equal(dusk_context_detach(other, NULL, NULL), 0);
  run(&loop);
  assert_int_equal(uv_loop_close(&loop), 0);
}

/* DUSK-023. A waiter here, on a context that lives there: there nobody may go.
 */
static void a_waiter_from_elsewhere_keeps_the_trees_loop(void **state) {
  fixture_t *f = *state;
  dusk_context_t *there = NULL;
  assert_int_equal(dusk_context_attach(&f->loop, &there), 0);
  dusk_context_t *ctx = with_timeout(there, 20, NULL);
  call_t call = {0};
  call_after(ctx, &call, f->root);
  assert_int_equal(dusk_context_detach(there, NULL, NULL), UV_EBUSY);
  run(&f->loop);
  assert_int_equal(call.calls, 1);
  assert_int_equal(dusk_context_detach(there, NULL, NULL), 0);
  dusk_context_unref(ctx);
}

/* DUSK-025. Nobody would call it, so it doesn't keep uv_run going. */
static void a_waiter_on_a_detached_tree_keeps_nothing_going(void **state) {
  fixture_t *f = *state;
  dusk_context_t *there = NULL;
  assert_int_equal(dusk_context_attach(&f->loop, &there), 0);
  dusk_context_t *ctx = with_timeout(there, 20, NULL);
  assert_int_equal(dusk_context_detach(there, NULL, NULL), 0);
  call_t call = {0};
  call_after(ctx, &call, f->root);
  run(&f->loop);
  assert_int_equal(call.calls, 0);
  wait_until(dusk_context_deadline(ctx));
  assert_int_equal(dusk_context_err(ctx), UV_ETIMEDOUT);
  run(&f->loop);
  assert_int_equal(call.calls, 1);

  /* One that comes when the deadline has passed finds the end itself. */
  dusk_context_t *late = with_timeout(ctx->parent, 1, NULL);
  wait_until(dusk_context_deadline(late));
  call_after(late, &call, f->root);
  run(&f->loop);
  assert_int_equal(call.calls, 1);
  dusk_context_unref(late);
  dusk_context_unref(ctx);
}

/* -- Threads that come in between ----------------------------------------- */

static struct {
  dusk_context_t *ctx; /* whose hand-over is held */
  atomic_int is_held;
  atomic_int was_seen; /* somebody has learned of the end */
  bool was_early;      /* although the waiters were not due yet */
} held;

void __real_dusk__waiters_send(dusk_waiter_t *away);
void __wrap_dusk__waiters_send(dusk_waiter_t *away);

void __wrap_dusk__waiters_send(dusk_waiter_t *away) {
  if (away != NULL && held.ctx == away->ctx) {
    held.is_held = 1;
    held.was_early = happens(&held.was_seen);
  }
  __real_dusk__waiters_send(away);
}

static void cancel_or_look(void *arg, int number) {
  (void)arg;
  if (number == 0) {
    dusk_context_cancel(held.ctx, NULL);
    return;
  }
  while (!held.is_held)
    continue;
  if (number == 1) dusk_context_wait(held.ctx, DUSK_OFF);
  if (number == 2) dusk_context_cancel(held.ctx, NULL);
  while (number == 3 && dusk_context_err(held.ctx) == 0)
    continue;
  held.was_seen = 1;
}

/* CTX-022, and DUSK-017 for the moment in which a waiter is in no lock's hands.
 */
static void a_visible_end_means_due_in_another_tree(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other;
  assert_int_equal(dusk_context_attach(&f->loop, &other), 0);
  held.ctx = with_cancel(other);
  call_t called, stopped;
  call_after(held.ctx, &called, f->root);
  call_after(held.ctx, &stopped, f->root);
  team_t team;
  team_start(&team, THREADS, cancel_or_look, NULL);
  while (!held.is_held)
    continue;
  bool has_stopped = dusk_waiter_stop(&stopped.waiter);
  team_join(&team);
  assert_false(held.was_early);
  assert_true(has_stopped);
  run(&f->loop);
  assert_int_equal(called.calls, 1);
  assert_int_equal(stopped.calls, 0);
  dusk_context_unref(held.ctx);
  held.ctx = NULL;
  assert_int_equal(dusk_context_detach(other, NULL, NULL), 0);
}

/* A waiter that is called, and registered anew elsewhere, when a stop has
 * looked where it is and not yet taken the lock. */
typedef struct {
  dusk_waiter_t waiter;
  uv_loop_t *loop;
  dusk_context_t *ctx;
  dusk_context_t *next;
  dusk_context_t *next_root;
  int calls;
} mover_t;

static void on_move(dusk_waiter_t *waiter) {
  mover_t *mover = dusk__container_of(waiter, mover_t, waiter);
  if (mover->calls++ == 0)
    dusk_context_after(mover->next, waiter, mover->next_root, on_move);
}

static void move(void *arg) {
  mover_t *mover = arg;
  dusk_context_cancel(mover->ctx, NULL);
  run(mover->loop);
  assert_int_equal(mover->calls, 1);
}

/* DUSK-017 */
static void a_waiting_one_is_stopped_where_it_went(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other;
  assert_int_equal(dusk_context_attach(&f->loop, &other), 0);
  mover_t mover = {.loop = &f->loop,
                   .ctx = with_cancel(f->root),
                   .next = with_cancel(other),
                   .next_root = f->root};
  dusk_context_after(mover.ctx, &mover.waiter, f->root, on_move);
  meanwhile(f->root, move, &mover);
  assert_true(dusk_waiter_stop(&mover.waiter));
  dusk_context_cancel(mover.next, NULL);
  run(&f->loop);
  assert_int_equal(mover.calls, 1);
  dusk_context_unref(mover.ctx);
  dusk_context_unref(mover.next);
  assert_int_equal(dusk_context_detach(other, NULL, NULL), 0);
}

/* DUSK-017 */
static void a_due_one_is_stopped_where_it_went(void **state) {
  fixture_t *f = *state;
  uv_loop_t loop;
  dusk_context_t *other;
  assert_int_equal(uv_loop_init(&loop), 0);
  assert_int_equal(dusk_context_attach(&loop, &other), 0);
  dusk_context_t *ctx = with_cancel(f->root);
  mover_t mover = {
      .loop = &f->loop, .ctx = ctx, .next = ctx, .next_root = other};
  dusk_context_cancel(ctx, NULL);
  dusk_context_after(ctx, &mover.waiter, f->root, on_move);
  meanwhile(f->root, move, &mover);
  assert_true(dusk_waiter_stop(&mover.waiter));
  run(&loop);
  assert_int_equal(mover.calls, 1);
  dusk_context_unref(ctx);
  assert_int_equal(dusk_context_detach(other, NULL, NULL), 0);
  run(&loop);
  assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      fixture_test(ctx_100_called_once_after_the_cancel),
      fixture_test(ctx_101_called_when_the_deadline_passes),
      fixture_test(ctx_102_on_an_ended_context_called_in_the_next_turn),
      fixture_test(ctx_105_a_stopped_waiter_is_never_called),
      fixture_test(a_due_waiter_can_be_stopped),
      cmocka_unit_test(a_zeroed_waiter_is_not_registered),
      fixture_test(ctx_109_each_is_called_in_its_order),
      fixture_test(each_root_calls_its_waiters_in_order),
      fixture_test(ctx_111_on_a_root_it_is_never_called),
      fixture_test(ctx_112_the_callback_finds_the_end),
      fixture_test(the_last_release_calls_the_waiters),
      fixture_test(a_waiter_from_elsewhere_keeps_the_trees_loop),
      fixture_test(a_waiter_on_a_detached_tree_keeps_nothing_going),
      fixture_test(a_due_waiter_stopped_lets_its_context_go),
      fixture_test(a_reference_keeps_the_loop_until_the_call),
      fixture_test(a_stop_takes_the_reference_back),
      fixture_test(one_that_is_not_registered_has_no_reference),
      fixture_test(a_reference_is_to_the_named_loop),
      fixture_test(data_is_the_callers),
      fixture_test(a_callback_may_free_its_owner),
      fixture_test(a_callback_may_register_anew),
      fixture_test(a_callback_may_stop_others),
      fixture_test(a_callback_may_derive_and_cancel),
      fixture_test(a_callback_may_detach_its_root),
      fixture_test(a_waiter_may_name_another_root),
      fixture_test(another_trees_deadline_keeps_both_loops),
      fixture_test(a_visible_end_means_due_in_another_tree),
      fixture_test(a_waiting_one_is_stopped_where_it_went),
      fixture_test(a_due_one_is_stopped_where_it_went),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
