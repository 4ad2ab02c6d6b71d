/* main.c: the life of duskd, from top to bottom: flags, loop, server,
 * listening, serving until stop.c has ended it, and everything given back.
 *
 * What fails before anything listens ends the process on the spot; from then
 * on everything ends by way of the loop. */
#include "access.h"
#include "flags.h"
#include "process.h"
#include "routes.h"
#include "signals.h"
#include "stop.h"
#include "worker.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* Of descriptors, beside listeners and log: the loop and its signals have 6,
 * the seal 2, a connection 1. */
#define DESCRIPTORS_NEEDED 9

typedef struct duskd {
  duskd_flags_t flags;
  uv_loop_t loop;
  dusk_context_t *root;
  duskd_routes_t routes;
  duskd_stop_t stop;
  atomic_int cuts_told;
  duskd_seldom_t errors;
} duskd_t;

static void must(int err, const char *verb, const char *what) {
  if (err == 0) return;
  duskd__log(DUSKD_ERROR, "cannot %s %s: %s", verb, what, dusk_strerror(err));
  exit(DUSKD_FAILED);
}

/* Else libuv would abort without a word. */
static void need_descriptors(const duskd_flags_t *flags) {
  size_t count =
      DESCRIPTORS_NEEDED + flags->n_addresses + (*flags->access_log != '\0');
  if (duskd__process_has_descriptors(count)) return;
  duskd__log(DUSKD_ERROR,
             "cannot open the %zu descriptors that are needed at least: raise "
             "their limit (ulimit -n)",
             count);
  exit(DUSKD_FAILED);
}

static void open_access_log(duskd_t *duskd) {
  duskd_flags_t *flags = &duskd->flags;
  if (*flags->access_log == '\0') return;
  int err = duskd__access_open(flags->access_log, flags->log_format);
  if (err == UV_ENXIO) {
    duskd__log(DUSKD_ERROR, "cannot open the access log %s: nobody reads it",
               flags->access_log);
    exit(DUSKD_FAILED);
  }
  must(err, "open the access log", flags->access_log);
  flags->server.handler = duskd__access_serve;
  flags->server.on_request_end = duskd__access_line;
}

static void on_error(dusk_server_t *server, int err, const char *text,
                     void *arg) {
  (void)server;
  duskd_t *duskd = arg;
  duskd__log_seldom(&duskd->errors, text, dusk_strerror(err));
}

static void on_signal(int signum, void *arg) {
  duskd_t *duskd = arg;
  if (signum == SIGHUP)
    duskd__access_reopen();
  else if (signum == SIGUSR1 && duskd__stop_undo(&duskd->stop))
    duskd__log(DUSKD_INFO, "SIGUSR1: not stopping, but serving again");
  else if (signum == SIGUSR1)
    duskd__log(DUSKD_INFO, "SIGUSR1: ignored, as nothing can be taken back");
  else if (signum == SIGUSR2)
    duskd__log(DUSKD_INFO, "SIGUSR2: ignored");
  duskd__stop_signalled(&duskd->stop);
}

static void set_up(duskd_t *duskd) {
  duskd_flags_t *flags = &duskd->flags;
  dusk_server_t *server;
  need_descriptors(flags);
  must(uv_loop_init(&duskd->loop), "make", "an event loop");
  must(dusk_context_attach(&duskd->loop, &duskd->root), "use", "the loop");
  must(duskd__routes_init(&duskd->routes), "set up", "routes");
  flags->server.handler = dusk_mux_serve;
  flags->server.handler_arg = duskd->routes.mux;
  flags->server.on_worker_start = duskd__worker_start;
  flags->server.on_worker_stop = duskd__worker_stop;
  flags->server.on_request_cut = duskd__stop_tell_cut;
  flags->server.on_request_cut_arg = &duskd->cuts_told;
  flags->server.on_error = on_error;
  flags->server.on_error_arg = duskd;
  open_access_log(duskd);
  must(dusk_server_new(duskd->root, &flags->server, &server), "make",
       "a server");
  must(duskd__stop_init(&duskd->stop, duskd->root, flags, &duskd->routes,
                        server),
       "set up", "the stop");
  must(duskd__signals_catch(duskd->root, duskd__stop_alarm_s(flags), on_signal,
                            duskd),
       "catch", "signals");
}

static void on_served(dusk_server_t *server, int err, void *arg) {
  (void)server;
  duskd_t *duskd = arg;
  if (err == DUSK_ESERVERCLOSED) return;
  duskd__log(DUSKD_ERROR, "cannot accept connections any more: %s",
             dusk_strerror(err));
  duskd__stop_failed(&duskd->stop);
}

/* Says why listening failed and returns the exit status for it. */
static int tell_listen_error(const char *address, int err) {
  const char *hint = "";
  if (err == UV_EINVAL) {
    duskd__usage_error("\"%s\" is nothing to listen on; use :8080, "
                       "127.0.0.1:8080, [::1]:8080, unix:PATH or fd:N",
                       address);
    return DUSKD_USAGE;
  }
  if (err == UV_EADDRINUSE)
    hint = "; another process listens there";
  else if (err == UV_EACCES)
    hint = "; ports below 1024 may need root";
  duskd__log(DUSKD_ERROR, "cannot listen on %s: %s%s", address,
             dusk_strerror(err), hint);
  return DUSKD_FAILED;
}

static int listen_on_all(duskd_t *duskd) {
  const duskd_flags_t *flags = &duskd->flags;
  for (size_t i = 0; i < flags->n_addresses; i++) {
    int err = dusk_server_serve(duskd->stop.server, flags->addresses[i],
                                on_served, duskd);
    if (err != 0) return tell_listen_error(flags->addresses[i], err);
  }
  for (size_t i = 0; i < flags->n_addresses; i++) {
    char address[DUSKD_ADDRESS_SIZE];
    if (dusk_server_address(duskd->stop.server, i, address, sizeof address) ==
        0)
      duskd__log(DUSKD_INFO, "listening on %s", address);
  }
  return 0;
}

static void clean_up(duskd_t *duskd) {
  duskd__routes_done(&duskd->routes);
  duskd__access_close();
  dusk_context_detach(duskd->root, NULL, NULL);
  uv_run(&duskd->loop, UV_RUN_DEFAULT);
  /* It can't be closed while another loop stands still, and then nor can its
   * thread be waited for. */
  if (uv_loop_close(&duskd->loop) != 0) _exit(duskd->stop.status);
}

int main(int argc, char **argv) {
  static duskd_t duskd;
  int status;
  must(duskd__process_fill_descriptors(), "open", "/dev/null");
  if (!duskd__flags_read(argc, argv, &duskd.flags, &status)) return status;
  duskd__process_prepare();
  duskd__log_setup(duskd.flags.log_format, duskd.flags.log_level);
  set_up(&duskd);
  status = listen_on_all(&duskd);
  if (status != 0) duskd__stop_close(&duskd.stop, status);
  uv_run(&duskd.loop, UV_RUN_DEFAULT);
  clean_up(&duskd);
  return duskd.stop.status;
}
