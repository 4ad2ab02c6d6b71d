/* A program that knows contexts and nothing of HTTP: a child ends with its
 * parent's deadline, and a signal ends a context. */
#include <dusk/signal.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static uv_timer_t guard; /* a signal alone keeps no loop going */

static void must(int err) {
  if (err == 0) return;
  fprintf(stderr, "%s\n", dusk_strerror(err));
  exit(1);
}

static void on_end(dusk_waiter_t *waiter) {
  fprintf(stderr, "%s\n", dusk_context_cause(waiter->ctx)->text);
}

static void on_signal(dusk_waiter_t *waiter) {
  on_end(waiter);
  uv_close((uv_handle_t *)&guard, NULL);
}

static void on_guard(uv_timer_t *timer) {
  uv_close((uv_handle_t *)timer, NULL);
}

int main(void) {
  uv_loop_t loop;
  dusk_context_t *root, *parent, *child, *signals;
  dusk_waiter_t waiter;
  must(uv_loop_init(&loop));
  must(dusk_context_attach(&loop, &root));

  must(dusk_context_with_timeout(root, 50, NULL, &parent));
  must(dusk_context_with_cancel(parent, &child));
  dusk_context_after(child, &waiter, root, on_end);
  uv_run(&loop, UV_RUN_DEFAULT);
  dusk_context_unref(child);
  dusk_context_unref(parent);

  must(uv_timer_init(&loop, &guard));
  must(uv_timer_start(&guard, on_guard, 20000, 0));
  must(dusk_context_with_signals(root, (int[]){SIGUSR1}, 1, &signals));
  dusk_context_after(signals, &waiter, root, on_signal);
  raise(SIGUSR1);
  uv_run(&loop, UV_RUN_DEFAULT);
  dusk_context_unref(signals);

  must(dusk_context_detach(root, NULL, NULL));
  uv_run(&loop, UV_RUN_DEFAULT);
  return uv_loop_close(&loop) == 0 ? 0 : 1;
}
