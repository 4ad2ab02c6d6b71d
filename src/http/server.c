/* The server as its owner sees it: made, configured, asked, released. What it
 * does lies elsewhere: listener.c, connection.c, drain.c. */
#include "server.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const dusk_cause_t dusk_drain_cancelled = {UV_ECANCELED,
                                           "the server's drain is ending"};
const dusk_cause_t dusk_server_closed = {UV_ECANCELED, "the server was closed"};
const dusk_cause_t dusk_connection_cut = {UV_ECANCELED,
                                          "the connection was cut"};
const dusk_cause_t dusk_timed_out = {UV_ETIMEDOUT, "a time-out has passed"};
const dusk_cause_t dusk_client_gone = {UV_ECANCELED, "the client went away"};
const dusk_cause_t dusk_response_ended = {UV_ECANCELED,
                                          "the response has ended"};

const char *dusk_version(void) {
  return DUSK_VERSION;
}

const char *dusk_llhttp_version(void) {
  return DUSK_LLHTTP_VERSION;
}

/* -- Threads --------------------------------------------------------------- */

/* Who ran the loop may have left it to another thread once all is over. */
bool dusk__server_on_thread(const dusk_server_t *server) {
  uv_thread_t self = uv_thread_self();
  return server->drain.phase == DUSK_CLOSED ||
         uv_thread_equal(&self, &server->thread);
}

/* -- The loop's turn ------------------------------------------------------- */

#ifndef NDEBUG
static void on_prepare(uv_prepare_t *prepare) {
  dusk__server_note_thread(prepare->data);
}
#endif

static void on_no_block(uv_idle_t *idle) {
  (void)idle;
}

static void on_turn(uv_check_t *check) {
  dusk_server_t *server = DUSK__OWNER(check, dusk_server_t, turn);
  dusk__server_note_thread(server);
  uv_check_stop(&server->turn);
  uv_idle_stop(&server->no_block);
  dusk__server_ref(server); /* a callback may give the last one back */
  dusk__link_t now;
  dusk__list_move(&now, &server->turn_exchanges);
  while (!dusk__list_empty(&now)) {
    dusk__exchange_t *ex = DUSK__OWNER(now.next, dusk__exchange_t, turn_link);
    dusk__list_remove(&ex->turn_link);
    dusk__ex_on_turn(ex);
  }
  dusk__drain_on_turn(server);
  dusk__server_release(server);
}

void dusk__server_at_turn(dusk_server_t *server) {
  if (server->handles_closing) return;
  /* Neither fails on an open handle with a callback. */
  uv_check_start(&server->turn, on_turn);
  uv_idle_start(&server->no_block, on_no_block);
}

void dusk__server_defer(dusk_server_t *server, dusk__exchange_t *ex) {
  if (dusk__list_linked(&ex->turn_link)) dusk__list_remove(&ex->turn_link);
  dusk__list_append(&server->turn_exchanges, &ex->turn_link);
  dusk__server_at_turn(server);
}

size_t dusk__server_connections(const dusk_server_t *server) {
  size_t count = 0;
  for (int phase = 0; phase < DUSK__HIJACKED; phase++)
    count += server->conn_count[phase];
  return count;
}

void dusk__server_tell_error(dusk_server_t *server, int err, const char *text) {
  if (server->config.on_error)
    server->config.on_error(server, err, text, server->config.on_error_arg);
}

/* -- Date ------------------------------------------------------------------ */

const char *dusk__server_date(dusk_server_t *server, size_t *ret_len) {
  uint64_t now_ms = dusk__now_ms(server);
  if (now_ms >= server->date_until_ms) {
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    /* strftime would ask the locale: RFC 9110, 5.6.7 */
    int len = snprintf(server->date, sizeof(server->date),
                       "Date: %.3s, %02d %.3s %04d %02d:%02d:%02d GMT\r\n",
                       days + 3 * utc.tm_wday, utc.tm_mday,
                       months + 3 * utc.tm_mon, (utc.tm_year + 1900) % 10000,
                       utc.tm_hour, utc.tm_min, utc.tm_sec);
    server->date_len = (size_t)len;
    server->date_until_ms = now_ms + 1000 - (uint64_t)(now.tv_nsec / 1000000);
  }
  *ret_len = server->date_len;
  return server->date;
}

/* -- Memory ---------------------------------------------------------------- */

void dusk__server_free_hooks(dusk__link_t *hooks) {
  while (!dusk__list_empty(hooks)) {
    dusk__link_t *link = hooks->next;
    dusk__list_remove(link);
    free(DUSK__OWNER(link, dusk__hook_t, link));
  }
}

static void free_server(dusk_server_t *server) {
  dusk__server_free_hooks(&server->hooks);
  dusk__listeners_free(server);
  dusk__drain_done(server);
  dusk__seal_done(server);
  free(server->next_conn);
  assert(dusk__list_empty(&server->held));
  assert(dusk__list_empty(&server->turn_exchanges));
  dusk__ex_free_all(server);
  dusk__output_done(&server->output);
  dusk_context_unref(server->ctx);
  dusk_context_unref(server->draining);
  dusk_context_unref(server->gone);
  dusk_context_unref(server->config.base);
  dusk_context_unref(server->root);
  free(server);
}

void dusk__server_ref(dusk_server_t *server) {
  server->refs++;
}

void dusk__server_release(dusk_server_t *server) {
  assert(server->refs > 0);
  if (--server->refs == 0) free_server(server);
}

static void on_handle_closed(uv_handle_t *handle) {
  dusk__server_release(handle->data);
}

void dusk__server_close_handles(dusk_server_t *server) {
  if (server->handles_closing) return;
  if (!dusk__list_empty(&server->turn_exchanges)) {
    dusk__server_at_turn(server); /* somebody is still to be told */
    return;
  }
  server->handles_closing = true;
  uv_handle_t *handles[] = {
      (uv_handle_t *)&server->timeouts.timer,
      (uv_handle_t *)&server->turn,
      (uv_handle_t *)&server->watch,
      (uv_handle_t *)&server->no_block,
      (uv_handle_t *)&server->seal.timer,
      (uv_handle_t *)&server->drain.cut_timer,
  };
  for (size_t i = 0; i < sizeof(handles) / sizeof(*handles); i++) {
    handles[i]->data = server;
    uv_close(handles[i], on_handle_closed);
  }
}

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

/* See the head of http.h. */
static void ignore_sigpipe(void) {
  struct sigaction action;
  if (sigaction(SIGPIPE, NULL, &action) == 0 &&
      !(action.sa_flags & SA_SIGINFO) && action.sa_handler == SIG_DFL) {
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
  }
}

static int make_contexts(dusk_server_t *server) {
  dusk_context_t *base =
      server->config.base ? server->config.base : server->root;
  /* A deadline is there to be brought forward by the drain. */
  int err = dusk_context_with_deadline(base, DUSK_OFF, &dusk_drain_cancelled,
                                       &server->ctx);
  if (err == 0) err = dusk_context_with_cancel(server->root, &server->draining);
  if (err == 0) err = dusk_context_with_cancel(server->root, &server->gone);
  if (err == 0) dusk_context_cancel(server->gone, &dusk_client_gone);
  return err;
}

/* Neither of these calls can fail; each leaves an open handle. */
static void init_handles(dusk_server_t *server) {
  dusk__timeouts_init(server);
  dusk__drain_init(server);
  dusk__seal_init(server);
  uv_check_init(server->loop, &server->turn);
  uv_idle_init(server->loop, &server->no_block);
  uv_prepare_init(server->loop, &server->watch);
  server->watch.data = server;
#ifndef NDEBUG
  uv_prepare_start(&server->watch, on_prepare);
#endif
  uv_unref((uv_handle_t *)&server->watch);
  server->refs += 6;
}

int dusk_server_new(dusk_context_t *root, const dusk_server_config_t *config,
                    dusk_server_t **ret_server) {
  if (root == NULL || config == NULL || config->handler == NULL ||
      ret_server == NULL || dusk_context_loop(root) == NULL ||
      (config->handler == dusk_mux_serve && config->handler_arg == NULL))
    return UV_EINVAL;
  dusk_server_t *server = calloc(1, sizeof(*server));
  if (server == NULL) return UV_ENOMEM;
  if ((uintptr_t)server & DUSK__GENERATION_BITS) { /* an allocator's tags */
    free(server);
    return UV_ENOTSUP;
  }
  server->loop = dusk_context_loop(root);
  server->root = dusk_context_ref(root);
  server->config = *config;
  if (config->base) dusk_context_ref(config->base);
  set_defaults(&server->config);
  server->refs = 1;
  server->owned = true;
  server->thread = uv_thread_self();
  dusk__list_init(&server->spares);
  dusk__list_init(&server->bare);
  dusk__list_init(&server->held);
  dusk__list_init(&server->listeners);
  dusk__list_init(&server->hooks);
  dusk__list_init(&server->turn_exchanges);
  for (int phase = 0; phase < DUSK__PHASES; phase++)
    dusk__list_init(&server->conns[phase]);
  int err = make_contexts(server);
  if (err == 0) err = dusk__output_init(&server->output);
  if (err < 0) {
    dusk__server_release(server);
    return err;
  }
  init_handles(server);
  ignore_sigpipe();
  *ret_server = server;
  return 0;
}

void dusk_server_unref(dusk_server_t *server) {
  if (server == NULL) return;
  assert(dusk__server_on_thread(server));
  assert(server->owned);
  server->owned = false;
  if (server->drain.phase == DUSK_CLOSED)
    dusk__server_close_handles(server);
  else
    dusk_server_close(server);
  dusk__server_release(server);
}

/* -- Using ----------------------------------------------------------------- */

int dusk_server_serve(dusk_server_t *server, const char *address,
                      dusk_serve_cb cb, void *arg) {
  if (server == NULL || address == NULL) return UV_EINVAL;
  assert(dusk__server_on_thread(server));
  if (server->drain.phase >= DUSK_DRAINING) return DUSK_ESERVERCLOSED;
  return dusk__listener_open(server, address, cb, arg);
}

int dusk_server_address(const dusk_server_t *server, size_t index, char *buf,
                        size_t size) {
  if (server == NULL || buf == NULL) return UV_EINVAL;
  assert(dusk__server_on_thread(server));
  const dusk__link_t *link = server->listeners.next;
  while (link != &server->listeners && index-- > 0)
    link = link->next;
  if (link == &server->listeners) return UV_ENOENT;
  const char *address =
      DUSK__OWNER(link, const dusk__listener_t, link)->address;
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
  return server->draining;
}
