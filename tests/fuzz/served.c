#include "served.h"

#include "alloc.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PATH_BYTES = 100 }; /* what a Unix socket's address has room for */

static char folder[PATH_BYTES];

/* -- The folder ------------------------------------------------------------ */

static void remove_folder(void) {
  char path[PATH_BYTES + 8];
  snprintf(path, sizeof(path), "%s/socket", folder);
  unlink(path);
  rmdir(folder);
}

const char *served_folder(void) {
  if (*folder) return folder;
  const char *tmp = getenv("TMPDIR");
  int len = snprintf(folder, sizeof(folder), "%s/dusk-fuzz-XXXXXX",
                     tmp && *tmp ? tmp : "/tmp");
  HOLDS(len < (int)sizeof(folder) - 8 && mkdtemp(folder));
  HOLDS(atexit(remove_folder) == 0);
  return folder;
}

void served_check_folder(void) {
  DIR *entries = opendir(folder);
  const struct dirent *entry;
  HOLDS(entries != NULL);
  while ((entry = readdir(entries)) != NULL)
    HOLDS(strcmp(entry->d_name, "socket") == 0 ||
          strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0);
  closedir(entries);
}

/* -- The server ------------------------------------------------------------ */

/* What libuv opens for the whole process is open from now on. */
static void warm_up(void) {
  static bool is_warm;
  uv_loop_t loop;
  if (is_warm) return;
  HOLDS(uv_loop_init(&loop) == 0 && uv_loop_close(&loop) == 0);
  is_warm = true;
}

void served_open(served_t *served, dusk_server_config_t config) {
  char address[PATH_BYTES + 16];
  warm_up();
  config.idle_timeout_ms = config.header_timeout_ms = DUSK_OFF;
  config.body_timeout_ms = config.write_timeout_ms = DUSK_OFF;
  config.quiet_window_ms = DUSK_OFF;
  snprintf(address, sizeof(address), "unix:%s/socket", served_folder());
  memset(served, 0, sizeof(*served));
  served->shutdown_status = 1;
  served->blocks = alloc_live();
  HOLDS(uv_loop_init(&served->loop) == 0);
  HOLDS(dusk_context_attach(&served->loop, &served->root) == 0);
  HOLDS(dusk_context_with_cancel(served->root, &served->bound) == 0);
  HOLDS(dusk_server_new(served->root, &config, &served->server) == 0);
  HOLDS(dusk_server_serve(served->server, address, NULL, NULL) == 0);
}

int served_connect(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", folder);
  int client = socket(AF_UNIX, SOCK_STREAM, 0);
  HOLDS(client >= 0 && fcntl(client, F_SETFL, O_NONBLOCK) == 0);
  HOLDS(connect(client, (struct sockaddr *)&address, sizeof(address)) == 0);
  return client;
}

/* -- Its end --------------------------------------------------------------- */

static void on_shutdown(dusk_server_t *server, int status, void *arg) {
  served_t *served = arg;
  HOLDS(server == served->server && served->shutdown_status == 1);
  served->shutdown_status = status;
}

void served_drain(served_t *served) {
  if (served->is_draining) return;
  served->is_draining = true;
  /* Which needs no memory. */
  HOLDS(dusk_server_shutdown(served->server, served->bound, on_shutdown,
                             served) == 0);
}

static void check_report(const dusk_server_t *server) {
  dusk_report_t r;
  dusk_server_report(server, &r);
  HOLDS(r.phase == DUSK_CLOSED);
  HOLDS(r.conns_open + r.conns_accepted ==
        r.conns_answered + r.conns_idle + r.conns_unused + r.conns_refused +
            r.conns_hijacked + r.conns_cut + r.conns_gone);
  HOLDS(r.requests_running + r.requests_begun ==
        r.requests_answered + r.requests_refused + r.requests_cut +
            r.requests_gone);
  HOLDS(r.conns_late + r.conns_unconfirmed <= r.conns_idle + r.conns_unused);
  HOLDS(r.conns_now == 0 && r.requests_now == 0 && r.requests_unended == 0);
}

void served_close(served_t *served) {
  served_drain(served);
  while (served->shutdown_status == 1)
    uv_run(&served->loop, UV_RUN_ONCE);
  check_report(served->server);
  dusk_server_unref(served->server);
  dusk_context_unref(served->bound);
  uv_run(&served->loop, UV_RUN_DEFAULT);
  HOLDS(dusk_context_detach(served->root, NULL, NULL) == 0);
  uv_run(&served->loop, UV_RUN_DEFAULT);
  HOLDS(uv_loop_close(&served->loop) == 0);
  HOLDS(alloc_live() == served->blocks);
}
