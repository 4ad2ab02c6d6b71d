/* A listening socket is our own, under a uv_poll_t, and never given to
 * uv_listen: at EMFILE that one accepts and closes what is queued, and a
 * connection parked in it would die with it. Here running out of descriptors
 * pauses the poll, with back-off, and closes nothing. */
#include "listener.h"

#include "request.h"
#include "server.h"
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
  ACCEPTS_A_TURN = 128,
  BACKLOG = 4096,
  PASSING_ERRORS = 16, /* one after another are none */
  FIRST_RETRY_MS = 5,  /* doubled up to the last, as in Go */
  LAST_RETRY_MS = 1000,
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
static int set_tcp_options(int fd) {
  int err = set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (err == 0) err = set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
#ifdef TCP_KEEPIDLE
  if (err == 0) err = set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 15);
  if (err == 0) err = set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 15);
  if (err == 0) err = set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 9);
#endif
  return err;
}

/* -- Accepting ------------------------------------------------------------- */

static void on_readable(uv_poll_t *handle, int status, int events);

static void start_polling(dusk__listener_t *listener) {
  if (listener->fd < 0) return;
  int err = uv_poll_start(&listener->poll, UV_READABLE, on_readable);
  if (err < 0) listener->err = err; /* told by the caller's next turn */
  if (err < 0) dusk__server_at_turn(listener->server);
}

static void on_retry(uv_timer_t *timer) {
  start_polling(timer->data);
}

/* An error that is told at first, and then once in the longest delay. */
static void retry_later(dusk__listener_t *listener, int err) {
  uint64_t delay = listener->retry_ms ? listener->retry_ms : FIRST_RETRY_MS;
  bool is_news = listener->retry_ms == 0 || delay == LAST_RETRY_MS;
  listener->retry_ms = delay * 2 < LAST_RETRY_MS ? delay * 2 : LAST_RETRY_MS;
  uv_poll_stop(&listener->poll);
  uv_timer_start(&listener->retry, on_retry, delay, 0);
  if (is_news)
    dusk__server_tell_error(listener->server, err,
                            "connections can't be accepted for now, and wait");
}

/* Without accept4 the flags are set one by one. */
static int accept_one(int fd, dusk__address_t *ret_address) {
  socklen_t len = sizeof(*ret_address);
  memset(ret_address, 0, sizeof(*ret_address));
#ifdef SOCK_CLOEXEC
  return accept4(fd, &ret_address->any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
  int peer = accept(fd, &ret_address->any, &len);
  if (peer >= 0) {
    fcntl(peer, F_SETFD, FD_CLOEXEC);
    fcntl(peer, F_SETFL, O_NONBLOCK);
  }
  return peer;
#endif
}

/* What accept(2) tells of one connection only: the next one may do. */
static bool is_passing(int err) {
  switch (err) {
  case EINTR:
  case ECONNABORTED:
  case ECONNRESET:
  case ETIMEDOUT:
  case EPROTO:
  case EPERM:
  case ENETDOWN:
  case ENETUNREACH:
  case EHOSTDOWN:
  case EHOSTUNREACH:
    return true;
  default:
    return false;
  }
}

/* The socket is not what it was. */
static bool is_final(int err) {
  return err == UV_EBADF || err == UV_EINVAL || err == UV_ENOTSOCK ||
         err == UV_ENOTSUP;
}

int dusk__listener_accept(dusk__listener_t *listener, size_t limit,
                          size_t *ret_accepted) {
  dusk_server_t *server = listener->server;
  int passing = 0;
  uv_update_time(server->loop); /* when they come */
  *ret_accepted = 0;
  while (*ret_accepted < limit) {
    if (dusk__conn_prepare(server) < 0) return UV_ENOMEM;
    dusk__address_t address;
    int fd = accept_one(listener->fd, &address);
    if (fd >= 0) {
      passing = 0;
      listener->retry_ms = 0;
      ++*ret_accepted;
      /* It is served without them, too. */
      if (listener->queued_before > 0) {
        listener->queued_before--;
        set_tcp_options(fd);
      }
      /* On failure that one is closed, and the next one may do. */
      dusk__conn_accept(server, fd, &address);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      listener->queued_before = 0;
      return 0;
    } else if (!is_passing(errno) || ++passing == PASSING_ERRORS) {
      return uv_translate_sys_error(errno);
    }
  }
  return 0;
}

bool dusk__listener_is_empty(const dusk__listener_t *listener) {
  struct pollfd queue = {.fd = listener->fd, .events = POLLIN};
  int ready = poll(&queue, 1, 0);
  return ready == 0 || (ready > 0 && !(queue.revents & POLLIN));
}

static void on_readable(uv_poll_t *handle, int status, int events) {
  (void)events;
  dusk__listener_t *listener = handle->data;
  dusk_server_t *server = listener->server;
  size_t limit = ACCEPTS_A_TURN;
  if (server->config.max_connections != DUSK_OFF &&
      server->drain.phase < DUSK_DRAINING) {
    if (dusk__server_connections(server) >= server->config.max_connections) {
      dusk__listeners_pause(server);
      return;
    }
    limit = 1; /* so that the limit is met exactly */
  }
  size_t accepted = 0;
  int err = status;
  if (err == 0) err = dusk__listener_accept(listener, limit, &accepted);
  if (err == 0) return;
  /* The last descriptor may have gone to the last one who waited. */
  if (accepted > 0 && dusk__listener_is_empty(listener)) return;
  if (!is_final(err) && status == 0) {
    retry_later(listener, err);
  } else if (server->drain.phase == DUSK_DRAINING) {
    uv_poll_stop(handle); /* the seal ends it */
  } else {
    listener->err = err;
    dusk__listener_close(listener);
    dusk__server_at_turn(server);
  }
}

void dusk__listeners_pause(dusk_server_t *server) {
  server->paused = true;
  for (dusk__link_t *link = server->listeners.next; link != &server->listeners;
       link = link->next) {
    dusk__listener_t *listener = DUSK__OWNER(link, dusk__listener_t, link);
    if (listener->fd >= 0) uv_poll_stop(&listener->poll);
  }
}

void dusk__listeners_resume(dusk_server_t *server) {
  if (!server->paused) return;
  server->paused = false;
  for (dusk__link_t *link = server->listeners.next; link != &server->listeners;
       link = link->next)
    start_polling(DUSK__OWNER(link, dusk__listener_t, link));
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
  if (err == 0) err = set_tcp_options(fd);
  if (err == 0) err = listen_at(fd, info->ai_addr, info->ai_addrlen);
  if (err < 0)
    close(fd);
  else
    *ret_fd = fd;
  return err;
}

/* Splits "HOST:PORT", "[V6]:PORT" and ":PORT". */
static int split(const char *address, char *host, size_t size,
                 const char **ret_port) {
  const char *colon = strrchr(address, ':');
  if (colon == NULL) return UV_EINVAL;
  const char *from = address;
  const char *to = colon;
  if (*from == '[') {
    from++;
    if (to == from || *--to != ']') return UV_EINVAL;
  } else if (memchr(from, ':', (size_t)(to - from))) {
    return UV_EINVAL;
  }
  size_t len = (size_t)(to - from);
  if (len >= size) return UV_EINVAL;
  memcpy(host, from, len);
  host[len] = '\0';
  const char *port = colon + 1;
  size_t digits = strspn(port, "0123456789");
  if (digits == 0 || digits > 5 || port[digits] ||
      strtoul(port, NULL, 10) > UINT16_MAX)
    return UV_EINVAL;
  *ret_port = port;
  return 0;
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
  int err = split(address, host, sizeof(host), &port);
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
  int err = is_tcp ? set_tcp_options((int)fd) : family < 0 ? family : 0;
  if (err < 0) return err;
  listener->fd = (int)fd;
  int queued = is_tcp ? dusk__sys_queued((int)fd) : 0;
  listener->queued_before = queued < 0 ? INT32_MAX : queued;
  listener->kind = DUSK__HANDED_OVER;
  if (*end) listener->kind = is_tcp ? DUSK__TCP : DUSK__UNIX;
  return 0;
}

static int open_socket(dusk__listener_t *listener, const char *address) {
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

static int start(dusk__listener_t *listener) {
  dusk_server_t *server = listener->server;
  int err = uv_poll_init(server->loop, &listener->poll, listener->fd);
  if (err < 0) return err;
  listener->poll.data = listener;
  listener->retry.data = listener;
  uv_timer_init(server->loop, &listener->retry); /* always 0 */
  dusk__list_append(&server->listeners, &listener->link);
  server->listening++;
  dusk__server_ref(server);
  dusk__server_ref(server);
  start_polling(listener);
  return 0;
}

int dusk__listener_open(dusk_server_t *server, const char *address,
                        dusk_serve_cb cb, void *arg) {
  dusk__listener_t *listener = calloc(1, sizeof(*listener));
  if (listener == NULL) return UV_ENOMEM;
  listener->server = server;
  listener->cb = cb;
  listener->arg = arg;
  listener->fd = -1;
  int err = open_socket(listener, address);
  if (err == 0) {
    note_address(listener);
    err = start(listener);
    if (err < 0) close(listener->fd);
  }
  if (err < 0)
    free(listener);
  else
    dusk__seal_prepare(listener);
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

static void on_closed(uv_handle_t *handle) {
  dusk__listener_t *listener = handle->data;
  dusk__server_release(listener->server); /* frees the listener with it */
}

void dusk__listener_close(dusk__listener_t *listener) {
  if (listener->fd < 0) return;
  uv_close((uv_handle_t *)&listener->poll, on_closed);
  uv_close((uv_handle_t *)&listener->retry, on_closed);
  if (listener->kind == DUSK__UNIX) remove_file(listener);
  if (close(listener->fd) && errno != EINTR)
    listener->server->drain.close_err = uv_translate_sys_error(errno);
  listener->fd = -1;
  listener->server->listening--;
  dusk__drain_check(listener->server);
}

void dusk__listener_tell(dusk__listener_t *listener, int err) {
  dusk_serve_cb cb = listener->cb;
  listener->cb = NULL;
  if (cb) cb(listener->server, err, listener->arg);
}

void dusk__listeners_free(dusk_server_t *server) {
  while (!dusk__list_empty(&server->listeners)) {
    dusk__link_t *link = server->listeners.next;
    dusk__list_remove(link);
    free(DUSK__OWNER(link, dusk__listener_t, link));
  }
}
