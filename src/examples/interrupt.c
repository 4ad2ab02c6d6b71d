/* interrupt.c: waits for Ctrl+C, says so, and exits with status 1. */
#include "go.h"
#include <dusk/signal.h>
#include <signal.h>

static void on_interrupt(dusk_signals_t *c, int signum, void *arg) {
  (void)c, (void)signum, (void)arg;
  log_fatal("program interrupted", 0);
}

int main(void) {
  uv_loop_t *loop = uv_default_loop();
  dusk_context_t *background;
  dusk_signals_t *c;
  uv_async_t main_waits; /* signals alone keep no loop going, as in libuv */
  must(dusk_context_attach(loop, &background));
  must(dusk_signals_new(background, 0, &c));
  must(dusk_signals_notify(c, (int[]){SIGINT}, 1));
  must(dusk_signals_receive(c, on_interrupt, NULL));
  must(uv_async_init(loop, &main_waits, NULL));
  return uv_run(loop, UV_RUN_DEFAULT);
}
