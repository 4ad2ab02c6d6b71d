/* workers.c: to which of a server's loops do connections go? It answers GET /,
 * counts each on the loop that it came to, and tells the counts at /workers, in
 * the order of the loops: of clients that ask once a connection these are the
 * connections.
 *
 * Usage: bench_workers PORT THREADS. It serves 127.0.0.1 until it is killed. */
#include <dusk/http.h>
#include <dusk/mux.h>

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_THREADS = 64, COUNT_BYTES = 24, CACHE_LINE_BYTES = 64 };

typedef struct worker {
  _Alignas(CACHE_LINE_BYTES) atomic_uint_fast64_t requests; /* its loop's */
} worker_t;

static worker_t workers[MAX_THREADS];
static size_t threads;

static int on_start(dusk_server_t *server, dusk_context_t *root, size_t index,
                    void **data, void *arg) {
  (void)server, (void)root, (void)arg;
  *data = &workers[index];
  return 0;
}

static void hello(dusk_response_t *res, dusk_request_t *req, void *arg) {
  worker_t *worker = dusk_request_worker_data(req);

  (void)arg;
  atomic_fetch_add_explicit(&worker->requests, 1, memory_order_relaxed);
  dusk_response_text(res, 200, "hello\n");
}

static void tell(dusk_response_t *res, dusk_request_t *req, void *arg) {
  char text[MAX_THREADS * COUNT_BYTES];
  size_t n = 0;

  (void)req, (void)arg;
  for (size_t i = 0; i < threads; i++) {
    uint64_t requests =
        atomic_load_explicit(&workers[i].requests, memory_order_relaxed);
    n += (size_t)snprintf(text + n, sizeof text - n, "%s%" PRIu64,
                          i > 0 ? " " : "", requests);
  }
  dusk_response_text(res, 200, text);
}

static int serve(uv_loop_t *loop, const char *address) {
  dusk_context_t *root;
  dusk_mux_t *mux;
  dusk_server_t *server;
  int err = dusk_context_attach(loop, &root);

  if (!err) err = dusk_mux_new(&mux);
  if (!err) err = dusk_mux_handle(mux, "GET /", hello, NULL);
  if (!err) err = dusk_mux_handle(mux, "GET /workers", tell, NULL);
  if (err) return err;
  dusk_server_config_t config = {.handler = dusk_mux_serve,
                                 .handler_arg = mux,
                                 .threads = threads,
                                 .on_worker_start = on_start};
  err = dusk_server_new(root, &config, &server);
  if (!err) err = dusk_server_serve(server, address, NULL, NULL);
  if (!err) err = uv_run(loop, UV_RUN_DEFAULT);
  return err;
}

int main(int argc, char **argv) {
  char address[32];

  threads = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
  if (threads < 1 || threads > MAX_THREADS) {
    fprintf(stderr, "usage: %s PORT THREADS, of which at most %d\n", argv[0],
            MAX_THREADS);
    return 2;
  }
  snprintf(address, sizeof address, "127.0.0.1:%s", argv[1]);
  int err = serve(uv_default_loop(), address);
  fprintf(stderr, "%s: %s\n", argv[0], dusk_strerror(err));
  return 1;
}
