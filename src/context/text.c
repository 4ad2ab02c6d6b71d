/* text.c: contexts for people: the text of one, as Go prints it, and the list
 * of what hangs on one.
 *
 * A text is the parent's with something before it or after it. What comes
 * before is put down from the front on and what comes after from the back on,
 * on one way from the context to its root, after a first one that told where
 * the back is: no recursion, no memory. No lock is held meanwhile, so a
 * deadline may have changed between the two; then they don't meet, and it is
 * done anew.
 */
#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* -- Text ----------------------------------------------------------------- */

void dusk__text_add(dusk__text_t *text, const char *piece) {
  size_t len = strlen(piece);
  if (text->at < text->room) {
    size_t rest = text->room - text->at;
    memcpy(text->buf + text->at, piece, len < rest ? len : rest);
  }
  text->at += len;
}

static void add_pointer(dusk__text_t *text, const void *pointer) {
  char piece[sizeof("0x") + 2 * sizeof(pointer)];
  snprintf(piece, sizeof(piece), "0x%" PRIxPTR, (uintptr_t)pointer);
  dusk__text_add(text, piece);
}

static void add_layer(dusk__text_t *text, const dusk__layer_t *layer) {
  dusk__text_add(text, ".WithValue(");
  if (layer->key->name != NULL)
    dusk__text_add(text, layer->key->name);
  else
    add_pointer(text, layer->key);
  dusk__text_add(text, ", ");
  if (layer->value != NULL)
    add_pointer(text, layer->value);
  else
    dusk__text_add(text, "<nil>");
  dusk__text_add(text, ")");
}

/* What can change about a context that has a text. */
typedef struct {
  uint64_t now;
  uint64_t deadline_ns;
  bool is_own; /* and not the parent's */
} moment_t;

static moment_t look_at(dusk_context_t *ctx, uint64_t now) {
  moment_t moment = {now, DUSK_OFF, false};
  if (ctx->kind != DUSK__TIMED) return moment;
  dusk__root_t *root = dusk__node_of(ctx)->root;
  dusk__root_lock(root);
  moment.deadline_ns = dusk_context_deadline(ctx);
  moment.is_own = ctx->told_deadline;
  dusk__root_unlock(root);
  return moment;
}

/* One that has its deadline from above is no more than a with_cancel. */
static void add_timed(dusk__text_t *text, const moment_t *moment) {
  uint64_t deadline_ns = moment->deadline_ns;
  char piece[96];
  if (deadline_ns == DUSK_OFF) {
    dusk__text_add(text, ".WithDeadline(none)");
    return;
  }
  if (!moment->is_own) {
    dusk__text_add(text, ".WithCancel");
    return;
  }
  bool has_passed = deadline_ns < moment->now;
  uint64_t left_ns =
      has_passed ? moment->now - deadline_ns : deadline_ns - moment->now;
  snprintf(piece, sizeof(piece),
           ".WithDeadline(%" PRIu64 ".%09us [%s%" PRIu64 ".%03us])",
           deadline_ns / 1000000000, (unsigned)(deadline_ns % 1000000000),
           has_passed ? "-" : "", left_ns / 1000000000,
           (unsigned)(left_ns % 1000000000 / 1000000));
  dusk__text_add(text, piece);
}

static const char *before_parents(const dusk_context_t *ctx) {
  if (ctx->kind != DUSK__HOOKED) return "";
  return ((const dusk__hooked_t *)ctx)->hooks->before;
}

static void add_after_parents(dusk__text_t *text, dusk_context_t *ctx,
                              const moment_t *moment) {
  switch (ctx->kind) {
  case DUSK__ROOT:
    dusk__text_add(text, "context.Background");
    break;
  case DUSK__CANCEL:
    dusk__text_add(text, ".WithCancel");
    break;
  case DUSK__TIMED:
    add_timed(text, moment);
    break;
  case DUSK__HOOKED: {
    dusk__hooked_t *hooked = (dusk__hooked_t *)ctx;
    hooked->hooks->add_after(hooked, text);
    break;
  }
  case DUSK__WITHOUT:
    dusk__text_add(text, ".WithoutCancel");
    break;
  case DUSK__BRIDGE:
    dusk__text_add(text, ".WithRoot");
    break;
  case DUSK__VALUE:
    add_layer(text, (dusk__layer_t *)ctx);
    break;
  }
}

static size_t len_after_parents(dusk_context_t *ctx, const moment_t *moment) {
  dusk__text_t none = {NULL, 0, 0};
  add_after_parents(&none, ctx, moment);
  return none.at;
}

static size_t len_of(dusk_context_t *ctx, uint64_t now) {
  size_t len = 0;
  for (; ctx != NULL; ctx = ctx->parent) {
    moment_t moment = look_at(ctx, now);
    len += strlen(before_parents(ctx)) + len_after_parents(ctx, &moment);
  }
  return len;
}

/* False if it has another length by now. */
static bool put_down(dusk_context_t *ctx, uint64_t now, size_t len, char *buf,
                     size_t room) {
  dusk__text_t front = {buf, room, 0};
  size_t back = len;
  for (; ctx != NULL; ctx = ctx->parent) {
    moment_t moment = look_at(ctx, now);
    size_t after = len_after_parents(ctx, &moment);
    if (after > back) return false;
    back -= after;
    dusk__text_add(&front, before_parents(ctx));
    dusk__text_t piece = {buf, room, back};
    if (back < room) add_after_parents(&piece, ctx, &moment);
  }
  return back == front.at;
}

size_t dusk_context_text(dusk_context_t *ctx, char *buf, size_t size) {
  uint64_t now = uv_hrtime();
  size_t len = len_of(ctx, now);
  if (size == 0) return len;
  while (!put_down(ctx, now, len, buf, size - 1))
    len = len_of(ctx, now);
  buf[len < size ? len : size - 1] = '\0';
  return len;
}

/* -- List ----------------------------------------------------------------- */

static const char *kind_of(const dusk__node_t *node) {
  switch (node->base.kind) {
  case DUSK__ROOT:
    return "Background";
  case DUSK__TIMED:
    return "WithDeadline";
  case DUSK__HOOKED:
    return ((const dusk__hooked_t *)node)->hooks->kind;
  case DUSK__WITHOUT:
    return "WithoutCancel";
  case DUSK__BRIDGE:
  case DUSK__INLET:
    return "WithRoot";
  default:
    return "WithCancel";
  }
}

/* The context that a node in a list of children is, or stands for. */
static const dusk_context_t *context_of(const dusk__node_t *node) {
  if (node->base.kind != DUSK__INLET) return &node->base;
  return &dusk__bridge_of(node)->timed.node.base;
}

static unsigned count_waiters(const dusk__node_t *node) {
  const dusk_waiter_t *waiter = node->waiters;
  unsigned count = 0;
  if (waiter == NULL) return 0;
  do {
    count++;
    waiter = waiter->next;
  } while (waiter != node->waiters);
  return count;
}

static dusk_context_entry_t entry_of(const dusk__node_t *node, unsigned depth,
                                     uint64_t now) {
  return (dusk_context_entry_t){
      .ctx = context_of(node),
      .kind = kind_of(node),
      .depth = depth,
      .waiters = count_waiters(node),
      .deadline_ns = dusk_context_deadline(&node->base),
      .age_ns = dusk__node_age(node, now),
  };
}

/* The depth of the node after `node` in a walk, `node` being at `depth`. */
static unsigned depth_of(const dusk__node_t *next, const dusk__node_t *node,
                         unsigned depth) {
  if (next->base.above == node) return depth + 1;
  for (; node->base.above != next->base.above; node = node->base.above)
    depth--;
  return depth;
}

size_t dusk_context_tree(dusk_context_t *ctx, dusk_context_entry_t *entries,
                         size_t capacity) {
  dusk__node_t *top = dusk__node_of(ctx);
  dusk__node_t *node = top;
  unsigned depth = 0;
  size_t count = 0;
  dusk__root_lock(top->root);
  uint64_t now = uv_hrtime();
  while (node != NULL) {
    if (count < capacity) entries[count] = entry_of(node, depth, now);
    count++;
    dusk__node_t *next = dusk__node_next(top, node, true);
    if (next != NULL) depth = depth_of(next, node, depth);
    node = next;
  }
  dusk__root_unlock(top->root);
  return count;
}
