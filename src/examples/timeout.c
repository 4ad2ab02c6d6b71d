/* timeout.c MS COMMAND [ARG...]: runs a command for MS milliseconds at most, as
 * timeout(1) does. When they are over, or at SIGTERM, it is sent SIGTERM, and a
 * second later SIGKILL. The status is the command's; 124 if its time was up,
 * 127 if it could not be started, 128 and the signal if one ended it. */
#include <dusk/calls.h>
#include <dusk/signal.h>
#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static int status;

static void on_ended(dusk_spawn_t *spawn, int err, int64_t exit_status,
                     int term_signal) {
  (void)spawn;
  if (err == UV_ETIMEDOUT)
    status = 124;
  else
    status = term_signal != 0 ? 128 + term_signal : (int)exit_status;
}

static void must(int err) {
  if (err == 0) return;
  fprintf(stderr, "timeout: %s\n", dusk_strerror(err));
  exit(125);
}

int main(int argc, char **argv) {
  if (argc < 3 || !isdigit((unsigned char)argv[1][0])) {
    fprintf(stderr, "usage: timeout MS COMMAND [ARG...]\n");
    return 125;
  }
  uv_loop_t *loop = uv_default_loop();
  dusk_context_t *root, *ended, *ctx;
  dusk_spawn_t spawn;
  uv_stdio_container_t ours[3];
  for (int fd = 0; fd < 3; fd++)
    ours[fd] =
        (uv_stdio_container_t){.flags = UV_INHERIT_FD, .data = {.fd = fd}};
  uv_process_options_t options = {
      .file = argv[2], .args = argv + 2, .stdio = ours, .stdio_count = 3};
  must(dusk_context_attach(loop, &root));
  must(dusk_context_with_signals(root, (int[]){SIGTERM}, 1, &ended));
  must(dusk_context_with_timeout(ended, strtoull(argv[1], NULL, 10), NULL,
                                 &ctx));
  int err =
      dusk_context_spawn(ctx, &spawn, root, &options, SIGTERM, 1000, on_ended);
  if (err != 0) {
    fprintf(stderr, "timeout: %s: %s\n", argv[2], dusk_strerror(err));
    status = 127;
  }
  uv_run(loop, UV_RUN_DEFAULT); /* until the command has ended */

  dusk_context_unref(ctx);
  dusk_context_unref(ended);
  must(dusk_context_detach(root, NULL, NULL));
  uv_run(loop, UV_RUN_DEFAULT);
  must(uv_loop_close(loop));
  return status;
}
