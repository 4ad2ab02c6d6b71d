/* group.c: Go's errgroup for calls that end by a callback.
 *
 *   queued --a slot--> running --done--> the caller's again
 *
 * One waiter starts what has a slot, and calls back at the end, in a turn of
 * its own; so nothing is called inside the caller's call. */
#include <dusk/group.h>
#include "loop.h"
#include "waiter.h"

#include <assert.h>
#include <stdlib.h>

struct dusk_group {
  dusk_waiter_t turn;
  bool has_turn; /* it is to come */
  dusk_context_t *ctx;
  dusk__root_t *root;
  dusk_call_t *first; /* of those queued */
  dusk_call_t *last;
  size_t queued;
  size_t running;
  size_t limit;
  int err; /* the first */
  dusk_group_cb cb;
  void *arg;
};

static void on_turn(dusk_waiter_t *waiter);

static void ask_turn(dusk_group_t *group) {
  if (group->has_turn) return;
  group->has_turn = true;
  dusk__waiter_post(&group->turn, group->root, on_turn);
}

static void start_first(dusk_group_t *group) {
  dusk_call_t *call = group->first;
  group->first = call->next;
  group->queued--;
  group->running++;
  call->cb(call, group->ctx);
}

/* As many as wait now; what is added meanwhile waits for the next turn. */
static void start_some(dusk_group_t *group) {
  for (size_t left = group->queued; left > 0; left--) {
    if (group->running >= group->limit) return;
    start_first(group);
  }
}

static void finish(dusk_group_t *group) {
  dusk_context_t *ctx = group->ctx;
  dusk_group_cb cb = group->cb;
  void *arg = group->arg;
  int err = group->err;
  dusk_context_cancel(ctx, NULL);
  atomic_fetch_sub(&group->root->users, 1);
  free(group);
  cb(err, arg);
  dusk_context_unref(ctx);
}

static void on_turn(dusk_waiter_t *waiter) {
  dusk_group_t *group = dusk__container_of(waiter, dusk_group_t, turn);
  group->has_turn = false;
  start_some(group);
  if (group->has_turn) return;
  if (group->cb != NULL && group->queued == 0 && group->running == 0)
    finish(group);
}

int dusk_group_new(dusk_context_t *parent, dusk_context_t *root, size_t limit,
                   dusk_group_t **ret_group) {
  if (parent == NULL || root == NULL || ret_group == NULL ||
      dusk_context_loop(root) == NULL)
    return UV_EINVAL;
  dusk_group_t *group = calloc(1, sizeof(*group));
  if (group == NULL) return UV_ENOMEM;
  int err = dusk_context_with_root(parent, root, &group->ctx);
  if (err != 0) {
    free(group);
    return err;
  }
  group->root = dusk__node_of(root)->root;
  group->limit = limit != 0 ? limit : SIZE_MAX;
  atomic_fetch_add(&group->root->users, 1);
  *ret_group = group;
  return 0;
}

dusk_context_t *dusk_group_context(const dusk_group_t *group) {
  return group->ctx;
}

int dusk_group_go(dusk_group_t *group, dusk_call_t *call, dusk_call_cb cb) {
  if (group == NULL || call == NULL || cb == NULL) return UV_EINVAL;
  dusk__loop_expect(group->root);
  call->group = group;
  call->cb = cb;
  call->next = NULL;
  if (group->queued++ == 0)
    group->first = call;
  else
    group->last->next = call;
  group->last = call;
  if (group->running < group->limit) ask_turn(group);
  return 0;
}

int dusk_group_try_go(dusk_group_t *group, dusk_call_t *call, dusk_call_cb cb) {
  if (group == NULL) return UV_EINVAL;
  if (group->queued + group->running >= group->limit) return UV_EAGAIN;
  return dusk_group_go(group, call, cb);
}

void dusk_call_done(dusk_call_t *call, int err) {
  dusk_group_t *group = call->group;
  assert(group != NULL && group->running > 0 &&
         "a call was done twice, or before its start");
  dusk__loop_expect(group->root);
  call->group = NULL;
  group->running--;
  if (err != 0 && group->err == 0) {
    group->err = err;
    dusk_context_cancel(group->ctx, NULL);
  }
  ask_turn(group);
}

int dusk_group_wait(dusk_group_t *group, dusk_group_cb cb, void *arg) {
  if (group == NULL || cb == NULL) return UV_EINVAL;
  if (group->cb != NULL) return UV_EALREADY;
  dusk__loop_expect(group->root);
  group->cb = cb;
  group->arg = arg;
  ask_turn(group);
  return 0;
}
