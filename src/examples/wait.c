/* wait.c: has nothing to do but to wait for SIGINT or SIGTERM, tells which one
 * came, and ends. Without the reference uv_run would return at once: a signal
 * that may come keeps no loop going by itself. */
#include <dusk/signal.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static void on_signal(dusk_waiter_t *waiter) {
  dusk_context_t *ctx = waiter->data;
  printf("%s\n", dusk_context_cause(ctx)->text);
}

static void must(int err) {
  if (err == 0) return;
  fprintf(stderr, "wait: %s\n", dusk_strerror(err));
  exit(1);
}

int main(void) {
  uv_loop_t *loop = uv_default_loop();
  dusk_context_t *root, *ctx;
  must(dusk_context_attach(loop, &root));
  must(dusk_context_with_signals(root, (int[]){SIGINT, SIGTERM}, 2, &ctx));
  dusk_waiter_t waiter = {.data = ctx};
  dusk_context_after(ctx, &waiter, root, on_signal);
  dusk_waiter_ref(&waiter);
  puts("waiting");
  fflush(stdout);
  uv_run(loop, UV_RUN_DEFAULT); /* until on_signal has been called */

  dusk_context_unref(ctx);
  must(dusk_context_detach(root, NULL, NULL));
  uv_run(loop, UV_RUN_DEFAULT);
  must(uv_loop_close(loop));
  return 0;
}
