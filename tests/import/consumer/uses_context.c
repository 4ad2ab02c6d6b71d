/* uses_context.c: a stranger's program on the context module, as C and as C++.
 * A deadline passes, and a waiter is called on the loop. */
#include <dusk/context.h>
#include <dusk/signal.h>
#include <signal.h>
#include <stdio.h>

static dusk_context_t *bound;

static void on_end(dusk_waiter_t *waiter) {
  (void)waiter;
  /* Causes are compared by address, also across a shared library's border. */
  if (dusk_context_cause(bound) == &dusk_deadline_exceeded)
    printf("%s\n", dusk_strerror(dusk_context_err(bound)));
}

int main(void) {
  uv_loop_t loop;
  dusk_context_t *root;
  dusk_waiter_t waiter;
  if (uv_loop_init(&loop) != 0 || dusk_context_attach(&loop, &root) != 0)
    return 1;
  if (dusk_context_with_timeout(root, 10, NULL, &bound) != 0) return 1;
  dusk_context_after(bound, &waiter, root, on_end);
  uv_run(&loop, UV_RUN_DEFAULT);
  printf("%s\n", dusk_signal_text(SIGINT));
  dusk_context_unref(bound);
  if (dusk_context_detach(root, NULL, NULL) != 0) return 1;
  uv_run(&loop, UV_RUN_DEFAULT);
  return uv_loop_close(&loop) == 0 ? 0 : 1;
}
