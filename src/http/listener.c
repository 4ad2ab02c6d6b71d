/* Opens listening sockets, and takes their files away again: TCP, Unix, or
 * handed over. Who accepts from them is acceptor.c. */
#include "listener.h"

#include "sys.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

enum {
  BACKLOG = 4096,
  LOCK_PATIENCE_MS = 1000, /* others hold it for microseconds */
};

/* -- Options ------------------------------------------------------------- */

static int set_option(int fd, int level, int name, int value) {
  if (setsockopt(fd, level, name, &value, sizeof(value)))
    return uv_translate_sys_error(errno);
  return 0;
}

/* On the listening socket: Linux hands them on to the accepted ones, so that
 * none is set a connection. The values are Go's. */
int dusk__listener_set_options(int fd) {
  int err = set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (err == 0) err = set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
#ifdef TCP_KEEPIDLE
  if (err == 0) err = set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 15);
  if (err == 0) err = set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 15);
  if (err == 0) err = set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 9);
#endif
  return err;
}

/* -- Opening --------------------------------------------------------------- */

static int new_socket(int family, int *ret_fd) {
  int fd = socket(family, SOCK_STREAM, 0);
  if (fd < 0) return uv_translate_sys_error(errno);
  if (fcntl(fd, F_SETFD, FD_CLOEXEC) || fcntl(fd, F_SETFL, O_NONBLOCK)) {
    int err = uv_translate_sys_error(errno);
    close(fd);
    return err;
  }
  *ret_fd = fd;
  return 0;
}

static int listen_at(int fd, const struct sockaddr *addr, socklen_t len) {
  if (bind(fd, addr, len) || listen(fd, BACKLOG))
    return uv_translate_sys_error(errno);
  return 0;
}

/* As in Go: [::] stands for all addresses, of both families. */
static bool takes_ipv4(const struct addrinfo *info) {
  const struct sockaddr_in6 *in6 = (const void *)info->ai_addr;
  return IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr) ||
         IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);
}

static int open_tcp_at(const struct addrinfo *info, int *ret_fd) {
  int fd;
  int err = new_socket(info->ai_family, &fd);
  if (err < 0) return err;
  if (info->ai_family == AF_INET6)
    err = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !takes_ipv4(info));
  if (err == 0) err = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (err == 0) err = dusk__listener_set_options(fd);
  if (err == 0) err = listen_at(fd, info->ai_addr, info->ai_addrlen);
  if (err < 0)
    close(fd);
  else
    *ret_fd = fd;
  return err;
}

static int resolve_error(int code) {
  switch (code) {
  case EAI_MEMORY:
    return UV_EAI_MEMORY;
  case EAI_SYSTEM:
    return uv_translate_sys_error(errno);
  default:
    return UV_EAI_NONAME;
  }
}

static int open_tcp(dusk__listener_t *listener, const char *address) {
  char host[256];
  const char *port;
  int err = dusk__address_split(address, host, sizeof(host), &port);
  if (err < 0) return err;
  bool any = host[0] == '\0';
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                           .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
  struct addrinfo *infos;
  int code = getaddrinfo(any ? "::" : host, port, &hints, &infos);
  if (code) return resolve_error(code);
  const struct addrinfo *info = infos;
  /* As Go does: of a name's addresses the first IPv4 one. */
  while (info->ai_family != AF_INET && info->ai_next)
    info = info->ai_next;
  err = open_tcp_at(info, &listener->fd);
  freeaddrinfo(infos);
  /* Where there is no IPv6. */
  if (!any || (err != UV_EAFNOSUPPORT && err != UV_EADDRNOTAVAIL)) return err;
  code = getaddrinfo("0.0.0.0", port, &hints, &infos);
  if (code) return resolve_error(code);
  err = open_tcp_at(infos, &listener->fd);
  freeaddrinfo(infos);
  return err;
}

/* Holds the folder of a socket file, so that of several processes which find
 * one left over a single one replaces it, and none takes for left over what
 * another has bound and does not listen on yet. The lock is the folder's own:
 * it leaves nothing behind, whatever becomes of us. -1 when there is none to be
 * had in time: others may hold it, too, and a folder may be one we can't read.
 */
static int lock_folder(const char *path, int patience_ms) {
  char folder[sizeof(((struct sockaddr_un *)0)->sun_path) + 2];
  const char *slash = strrchr(path, '/');
  snprintf(folder, sizeof(folder), "%.*s.", slash ? (int)(slash - path) + 1 : 0,
           path);
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return -1;
  int err;
  while ((err = flock(fd, LOCK_EX | LOCK_NB)) && errno == EWOULDBLOCK &&
         patience_ms-- > 0)
    poll(NULL, 0, 1);
  if (err == 0) return fd;
  close(fd);
  return -1;
}

static bool is_socket_file(const char *path, struct stat *file) {
  return lstat(path, file) == 0 && S_ISSOCK(file->st_mode);
}

/* A socket file that nobody listens on is left over from a process that did not
 * end well. Nothing else is ours to remove, nor what a link leads to. */
static void remove_stale(const struct sockaddr_un *addr) {
  struct stat file;
  int fd;
  if (!is_socket_file(addr->sun_path, &file) || new_socket(AF_UNIX, &fd) < 0)
    return;
  if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) &&
      errno == ECONNREFUSED)
    unlink(addr->sun_path);
  close(fd);
}

static int bind_unix(dusk__listener_t *listener,
                     const struct sockaddr_un *addr) {
  int fd;
  int err = new_socket(AF_UNIX, &fd);
  if (err < 0) return err;
  err = listen_at(fd, (const struct sockaddr *)addr, sizeof(*addr));
  struct stat file;
  if (err == 0 && lstat(addr->sun_path, &file))
    err = uv_translate_sys_error(errno);
  if (err < 0) {
    close(fd);
    return err;
  }
  listener->device = file.st_dev;
  listener->inode = file.st_ino;
  listener->fd = fd;
  listener->kind = DUSK__UNIX;
  return 0;
}

static int open_unix(dusk__listener_t *listener, const char *path) {
  struct sockaddr_un addr = {.sun_family = AF_UNIX};
  if (*path == '\0' || strlen(path) >= sizeof(addr.sun_path)) return UV_EINVAL;
  memcpy(addr.sun_path, path, strlen(path) + 1);
  int lock = lock_folder(path, LOCK_PATIENCE_MS);
  if (lock >= 0) remove_stale(&addr);
  int err = bind_unix(listener, &addr);
  if (lock >= 0) close(lock);
  return err;
}

static int family_of(int fd) {
  struct sockaddr_storage addr;
  socklen_t len = sizeof(addr);
  if (getsockname(fd, (struct sockaddr *)&addr, &len))
    return uv_translate_sys_error(errno);
  return addr.ss_family;
}

/* "N", which is left in the end, or "N:seal", which has no other owner. */
static int take_over(dusk__listener_t *listener, const char *number) {
  char *end;
  long fd = strtol(number, &end, 10);
  if (*number < '0' || *number > '9' || fd > INT32_MAX ||
      (*end && strcmp(end, ":seal") != 0))
    return UV_EINVAL;
  int listening = 0;
  socklen_t len = sizeof(listening);
  if (getsockopt((int)fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len))
    return uv_translate_sys_error(errno);
  if (!listening) return UV_EINVAL;
  if (fcntl((int)fd, F_SETFD, FD_CLOEXEC) ||
      fcntl((int)fd, F_SETFL, O_NONBLOCK))
    return uv_translate_sys_error(errno);
  int family = family_of((int)fd);
  bool is_tcp = family == AF_INET || family == AF_INET6;
  int err = is_tcp       ? dusk__listener_set_options((int)fd)
            : family < 0 ? family
                         : 0;
  if (err < 0) return err;
  listener->fd = (int)fd;
  int queued = is_tcp ? dusk__sys_queued((int)fd) : 0;
  listener->queued_before = queued < 0 ? INT32_MAX : queued;
  listener->kind = DUSK__HANDED_OVER;
  if (*end) listener->kind = is_tcp ? DUSK__TCP : DUSK__UNIX;
  return 0;
}

static int open_socket(dusk__listener_t *listener, const char *address) {
  listener->fd = -1;
  if (strncmp(address, "unix:", 5) == 0)
    return open_unix(listener, address + 5);
  if (strncmp(address, "fd:", 3) == 0) return take_over(listener, address + 3);
  return open_tcp(listener, address);
}

static void note_address(dusk__listener_t *listener) {
  struct sockaddr_storage addr;
  socklen_t len = sizeof(addr);
  memset(&addr, 0, sizeof(addr));
  if (getsockname(listener->fd, (struct sockaddr *)&addr, &len)) return;
  if (addr.ss_family == AF_UNIX) {
    snprintf(listener->address, sizeof(listener->address), "unix:%s",
             ((struct sockaddr_un *)&addr)->sun_path);
    return;
  }
  dusk__address_text((struct sockaddr *)&addr, listener->address,
                     sizeof(listener->address));
}

int dusk__listener_open(dusk__listener_t *listener, const char *address) {
  int err = open_socket(listener, address);
  if (err == 0) note_address(listener);
  return err;
}

/* -- Ending ---------------------------------------------------------------- */

/* Another process may have put its own in its place, or be about to: a file
 * that is left is replaced by the next one, so nobody is waited for. */
static void remove_file(const dusk__listener_t *listener) {
  const char *path = listener->address + strlen("unix:");
  struct stat file;
  int lock = lock_folder(path, 0);
  if (lock < 0) return;
  if (is_socket_file(path, &file) && file.st_dev == listener->device &&
      file.st_ino == listener->inode)
    unlink(path);
  close(lock);
}

int dusk__listener_close(dusk__listener_t *listener) {
  assert(listener->fd >= 0);
  if (listener->kind == DUSK__UNIX) remove_file(listener);
  int err =
      close(listener->fd) && errno != EINTR ? uv_translate_sys_error(errno) : 0;
  listener->fd = -1;
  return err;
}
