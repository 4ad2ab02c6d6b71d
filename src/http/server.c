/* The server as its owner sees it: made, configured, asked, released. What it
 * does lies elsewhere: in the storeys below. */
#include "shutdown.h"

#include "mux.h"
#include "sized.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS_MAX = 1024 };

const char *dusk_version(void) {
  return DUSK_VERSION;
}

const char *dusk_llhttp_version(void) {
  return DUSK_LLHTTP_VERSION;
}

/* -- Memory ---------------------------------------------------------------- */

static void drop_contexts(dusk_server_t *server) {
  dusk_context_unref(server->orders.ctx);
  dusk_context_unref(server->orders.draining);
  dusk_context_unref(server->orders.cancelling);
  dusk_context_unref(server->orders.cutting);
  dusk_context_unref(server->config.base);
}

/* The last reference has gone. */
static void free_server(dusk_server_t *server) {
  dusk__shutdown_done(server);
  dusk__acceptor_done(&server->acceptor);
  free(server->next_conn);
  drop_contexts(server);
  dusk__mux_let_go(server->config.handler, server->config.handler_arg);
  if (server->lane_count > 1) uv_mutex_destroy(&server->peers_lock);
  free(server);
}

/* -- What comes from below ------------------------------------------------- */

static dusk_server_t *server_of(dusk__acceptor_t *acceptor) {
  return DUSK__OWNER(acceptor, dusk_server_t, acceptor);
}

static int on_prepare(dusk__acceptor_t *acceptor) {
  dusk_server_t *server = server_of(acceptor);
  if (server->next_conn == NULL)
    server->next_conn = calloc(1, sizeof(*server->next_conn));
  return server->next_conn ? 0 : UV_ENOMEM;
}

static void on_pass(dusk__acceptor_t *acceptor, int fd,
                    const dusk__address_t *address) {
  dusk_server_t *server = server_of(acceptor);
  dusk__conn_t *conn = server->next_conn;
  server->next_conn = NULL;
  dusk__conn_init(conn, fd, address);
  dusk__lanes_pass(server, conn);
}

static void on_passed(dusk__acceptor_t *acceptor) {
  dusk__lanes_passed(server_of(acceptor));
}

static size_t count_open(dusk__acceptor_t *acceptor) {
  dusk__tally_t tally;
  dusk__lanes_tally(server_of(acceptor), &tally);
  return (size_t)dusk__tally_open(&tally);
}

static void on_full(dusk__acceptor_t *acceptor) {
  dusk__lanes_watch(server_of(acceptor));
}

static void on_changed(dusk__acceptor_t *acceptor) {
  dusk__server_at_turn(server_of(acceptor));
}

static const dusk__accepted_t accepted = {.prepare = on_prepare,
                                          .pass = on_pass,
                                          .passed = on_passed,
                                          .open = count_open,
                                          .full = on_full,
                                          .changed = on_changed};

/* -- Making ---------------------------------------------------------------- */

static void default_to(uint64_t *field, uint64_t value) {
  if (*field == 0) *field = value;
}

static void set_defaults(dusk_server_config_t *config) {
  default_to(&config->idle_timeout_ms, 60000);
  default_to(&config->header_timeout_ms, 10000);
  default_to(&config->body_timeout_ms, 30000);
  default_to(&config->write_timeout_ms, 30000);
  default_to(&config->request_timeout_ms, DUSK_OFF);
  default_to(&config->max_header_bytes, 65536);
  default_to(&config->max_header_count, 500);
  default_to(&config->max_body_bytes, 1048576);
  default_to(&config->max_connections, DUSK_OFF);
  default_to(&config->max_requests, DUSK_OFF);
  default_to(&config->quiet_window_ms, 1000);
  default_to(&config->cancel_grace_ms, 250);
}

static int set_threads(dusk_server_config_t *config) {
  default_to(&config->threads, 1);
  if (config->threads == DUSK_THREAD_A_CORE) {
    config->threads = uv_available_parallelism();
    if (config->threads > THREADS_MAX) config->threads = THREADS_MAX;
  }
  if (config->threads > THREADS_MAX) return UV_EINVAL;
  return 0;
}

/* See the head of http.h. */
static void ignore_sigpipe(void) {
  struct sigaction action;
  if (sigaction(SIGPIPE, NULL, &action) == 0 &&
      !(action.sa_flags & SA_SIGINFO) && action.sa_handler == SIG_DFL) {
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
  }
}

static int make_contexts(dusk_server_t *server, dusk_context_t *root) {
  dusk_context_t *base = server->config.base ? server->config.base : root;
  /* A deadline is there to be brought forward by the drain. */
  int err = dusk_context_with_deadline(base, DUSK_OFF, &dusk_drain_cancelled,
                                       &server->orders.ctx);
  root = dusk_context_root(root); /* another context of it may end */
  if (err == 0) err = dusk_context_with_cancel(root, &server->orders.draining);
  if (err == 0)
    err = dusk_context_with_cancel(root, &server->orders.cancelling);
  if (err == 0) err = dusk_context_with_cancel(root, &server->orders.cutting);
  return err;
}

/* With its lists, so that it can be released. */
static dusk_server_t *alloc_server(const dusk_server_config_t *config) {
  size_t lanes = (size_t)config->threads;
  dusk_server_t *server =
      calloc(1, sizeof(*server) + lanes * sizeof(*server->lanes));
  if (server == NULL) return NULL;
  if (lanes > 1 && uv_mutex_init(&server->peers_lock)) {
    free(server);
    return NULL;
  }
  server->config = *config;
  server->lane_count = lanes;
  server->orders.server = server;
  if (config->base) dusk_context_ref(config->base);
  dusk__mux_hold(config->handler, config->handler_arg);
  server->refs = 1;
  server->unused = free_server;
  server->owned = true;
  dusk__acceptor_init(&server->acceptor, dusk__server_worker(server),
                      &accepted);
  dusk__shutdown_init(server);
  return server;
}

static int make_server(dusk_context_t *root, dusk_server_config_t *config,
                       dusk_server_t **ret_server) {
  if (config->handler == NULL ||
      (config->handler == dusk_mux_serve && config->handler_arg == NULL))
    return UV_EINVAL;
  set_defaults(config);
  int err = set_threads(config);
  if (err < 0) return err;
  dusk_server_t *server = alloc_server(config);
  if (server == NULL) return UV_ENOMEM;
  bool has_tags = (uintptr_t)server & DUSK__GENERATION_BITS;
  if (has_tags) err = UV_ENOTSUP; /* the allocator's */
  if (err == 0) err = make_contexts(server, root);
  if (err == 0) err = dusk__lanes_start(server, root);
  if (err < 0) {
    dusk__server_release(server);
    return err;
  }
  dusk__seal_init(&server->seal, &server->acceptor);
  uv_timer_init(dusk_context_loop(root), &server->cut_timer); /* always 0 */
  server->cut_timer.data = server;
  ignore_sigpipe();
  *ret_server = server;
  return 0;
}

int dusk_server_new_sized(dusk_context_t *root,
                          const dusk_server_config_t *config,
                          size_t config_size, dusk_server_t **ret_server) {
  if (root == NULL || config == NULL || ret_server == NULL ||
      dusk_context_loop(root) == NULL)
    return UV_EINVAL;
  dusk_server_config_t known;
  int err = dusk__sized_take(&known, sizeof(known), config, config_size);
  return err == 0 ? make_server(root, &known, ret_server) : err;
}

void dusk_server_unref(dusk_server_t *server) {
  if (server == NULL) return;
  assert(dusk__server_on_thread(server));
  assert(server->owned && "a server was released twice");
  if (!server->owned) return;
  server->owned = false;
  if (server->phase != DUSK_CLOSED)
    dusk_server_close(server);
  else if (dusk__list_empty(&server->shutdowns)) /* else behind their calls */
    dusk__lanes_quit(server);
  dusk__server_release(server);
}

/* -- Using ----------------------------------------------------------------- */

int dusk_server_serve(dusk_server_t *server, const char *address,
                      dusk_serve_cb cb, void *arg) {
  if (server == NULL || address == NULL) return UV_EINVAL;
  assert(dusk__server_on_thread(server));
  if (server->phase >= DUSK_DRAINING) return DUSK_ESERVERCLOSED;
  dusk__source_t *source;
  int err = dusk__acceptor_open(&server->acceptor, address, cb, arg, &source);
  if (err == 0) dusk__seal_prepare(&server->seal, source);
  return err;
}

int dusk_server_address(const dusk_server_t *server, size_t index, char *buf,
                        size_t size) {
  if (server == NULL || buf == NULL) return UV_EINVAL;
  assert(dusk__server_on_thread(server));
  const dusk__source_t *source = dusk__acceptor_next(&server->acceptor, NULL);
  while (source && index-- > 0)
    source = dusk__acceptor_next(&server->acceptor, source);
  if (source == NULL) return UV_ENOENT;
  const char *address = source->listener.address;
  size_t len = strlen(address);
  if (len >= size) return UV_ENOBUFS;
  memcpy(buf, address, len + 1);
  return 0;
}

int dusk_server_on_shutdown(dusk_server_t *server,
                            void (*cb)(dusk_server_t *server, void *arg),
                            void *arg) {
  if (server == NULL || cb == NULL) return UV_EINVAL;
  assert(dusk__server_on_thread(server));
  dusk__hook_t *hook = malloc(sizeof(*hook));
  if (hook == NULL) return UV_ENOMEM;
  dusk__list_init(&hook->link);
  hook->cb = cb;
  hook->arg = arg;
  dusk__list_append(&server->hooks, &hook->link);
  return 0;
}

dusk_context_t *dusk_server_draining(dusk_server_t *server) {
  assert(dusk__server_on_thread(server));
  return server->orders.draining;
}
