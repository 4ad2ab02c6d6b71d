/* signal_context.c: a context that signals cancel.
 *
 * It is a node with a receiver of capacity 1, of which only the first signal
 * counts; what comes later stays captured until the stop. The signals' numbers
 * are kept for its text. */
#include <dusk/signal.h>
#include "node.h"
#include "signal_text.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
  dusk__hooked_t hooked;
  dusk_signals_t *signals;
  size_t count;
  int signums[];
} signal_context_t;

static void on_signal(dusk_signals_t *signals, int signum, void *arg) {
  (void)signals;
  dusk_context_cancel(arg, dusk__signal_cause(signum));
}

static void release(dusk__hooked_t *hooked) {
  signal_context_t *self = (signal_context_t *)hooked;
  dusk_signals_free(self->signals);
  free(self);
}

static void add_after(dusk__hooked_t *hooked, dusk__text_t *text) {
  signal_context_t *self = (signal_context_t *)hooked;
  for (size_t i = 0; i < self->count; i++) {
    dusk__text_add(text, i == 0 ? ", [" : " ");
    dusk__text_add(text, dusk_signal_text(self->signums[i]));
  }
  dusk__text_add(text, self->count > 0 ? "])" : ")");
}

static const dusk__hooks_t hooks = {
    .kind = "NotifyContext",
    .before = "signal.NotifyContext(",
    .add_after = add_after,
    .release = release,
};

int dusk_context_with_signals(dusk_context_t *parent, const int *signums,
                              size_t count, dusk_context_t **ret_ctx) {
  if (parent == NULL || ret_ctx == NULL) return UV_EINVAL;
  if (count > (SIZE_MAX - sizeof(signal_context_t)) / sizeof(int))
    return UV_ENOMEM;
  signal_context_t *self = calloc(1, sizeof(*self) + count * sizeof(int));
  if (self == NULL) return UV_ENOMEM;
  int err = dusk_signals_new(parent, 1, &self->signals);
  if (err == 0) err = dusk_signals_notify(self->signals, signums, count);
  if (err == 0)
    err =
        dusk_signals_receive(self->signals, on_signal, &self->hooked.node.base);
  if (err != 0) {
    release(&self->hooked);
    return err;
  }
  self->count = count;
  if (count > 0) memcpy(self->signums, signums, count * sizeof(int));
  self->hooked.hooks = &hooks;
  dusk__node_init(&self->hooked.node, DUSK__HOOKED, parent);
  *ret_ctx = &self->hooked.node.base;
  return 0;
}

int dusk_context_stop_signals(dusk_context_t *ctx) {
  if (ctx == NULL || ctx->kind != DUSK__HOOKED ||
      ((dusk__hooked_t *)ctx)->hooks != &hooks)
    return UV_EINVAL;
  signal_context_t *self = (signal_context_t *)ctx;
  dusk_signals_stop(self->signals);
  dusk_signals_receive(self->signals, NULL, NULL);
  /* One that was caught before the stop has come before it. */
  int signum = dusk_signals_next(self->signals);
  dusk_context_cancel(ctx, signum != 0 ? dusk__signal_cause(signum) : NULL);
  return 0;
}
