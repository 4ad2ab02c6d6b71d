/* lookup.c [-t MS] NAME...: looks all names up at once, until a common deadline
 * (2 s) has passed or Ctrl+C comes. Status 1 if a name has no address. */
#include <dusk/calls.h>
#include <dusk/signal.h>
#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uv_loop_t *loop;
static int left, failed;

static void on_address(int err, struct addrinfo *res, void *name) {
  char address[64] = "";
  if (err == 0) err = uv_ip_name(res->ai_addr, address, sizeof address);
  printf("%s: %s\n", (char *)name, err == 0 ? address : dusk_strerror(err));
  uv_freeaddrinfo(res);
  failed |= err != 0;
  if (--left == 0) uv_stop(loop);
}

static int usage(void) {
  fprintf(stderr, "usage: lookup [-t MS] NAME...\n");
  return 2;
}

static void must(int err) {
  if (err == 0) return;
  fprintf(stderr, "lookup: %s\n", dusk_strerror(err));
  exit(2);
}

int main(int argc, char **argv) {
  int first = 1;
  uint64_t timeout_ms = 2000;
  if (argc > 2 && strcmp(argv[1], "-t") == 0) {
    char *end;
    timeout_ms = strtoull(argv[2], &end, 10);
    if (!isdigit((unsigned char)argv[2][0]) || *end != '\0') return usage();
    first = 3;
  }
  if (first >= argc) return usage();
  dusk_context_t *root, *interrupted, *ctx;
  loop = uv_default_loop();
  must(dusk_context_attach(loop, &root));
  must(dusk_context_with_signals(root, (int[]){SIGINT}, 1, &interrupted));
  must(dusk_context_with_timeout(interrupted, timeout_ms, NULL, &ctx));
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  left = argc - first;
  for (int i = first; i < argc; i++) {
    int err = dusk_context_getaddrinfo(ctx, root, argv[i], NULL, &hints,
                                       on_address, argv[i]);
    if (err != 0) on_address(err, NULL, argv[i]); /* such as no name at all */
  }
  uv_run(loop, UV_RUN_DEFAULT); /* until the last one is told */

  dusk_context_unref(ctx);
  dusk_context_unref(interrupted);
  /* A look-up that was given up may still hang in the resolver: exit() would
   * wait for the thread. */
  fflush(stdout);
  if (dusk_context_detach(root, NULL, NULL) == UV_EBUSY) _exit(failed);
  uv_run(loop, UV_RUN_DEFAULT);
  must(uv_loop_close(loop));
  return failed;
}
