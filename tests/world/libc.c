/* libc.c: the C library's functions that libuv and dusk call by the dynamic
 * linker, defined by this program. A played descriptor's calls go to the played
 * kernel; all others, and all of them outside of a run, to the C library.
 *
 * They must have default visibility, or libuv's calls do not come here: see
 * libc_is_ours. libuv closes by syscall(2), and none of these functions may
 * call another of them by its name. */
#include "libc.h"

#include "clock.h"
#include "kernel.h"
#include "story.h"
#include "tcp.h"
#include "threads.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static bool playing;
static uint64_t calls; /* of libuv's that cannot be anybody else's */

void libc_play(bool on) {
  playing = on;
  calls = 0;
}

bool libc_is_ours(int backend_fd) {
  return is_played(backend_fd) && calls > 0;
}

static int result(ssize_t value) {
  if (value >= 0) return (int)value;
  errno = (int)-value;
  return -1;
}

static ssize_t long_result(ssize_t value) {
  if (value >= 0) return value;
  errno = (int)-value;
  return -1;
}

/* True when the call is to fail; errno is set. */
static bool fails(call_t call) {
  int err = playing ? failure_of(call) : 0;
  if (err) errno = err;
  return err != 0;
}

/* The same on a connection, which is then told apart by the checks. Another
 * thread may come first; not behind a wake-up that has been written, where
 * libuv's uv__async_spin makes the other one wait. */
static bool link_fails(call_t call, int fd) {
  thread_pause();
  link_t *link = object_of(fd, FD_LINK);
  if (link == NULL || !fails(call)) return false;
  if (errno != EINTR) link->failed = true;
  return true;
}

/* -- Time ------------------------------------------------------------------ */

int clock_gettime(clockid_t id, struct timespec *ret_time) {
  REAL(clock_gettime);
  if (!playing) return real(id, ret_time);
  uint64_t time = now();
  if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)
    time += UINT64_C(1700000000) * 1000 * MS;
  ret_time->tv_sec = (time_t)(time / (1000 * MS));
  ret_time->tv_nsec = (long)(time % (1000 * MS));
  return 0;
}

/* A coarse clock that libuv finds too coarse. */
int clock_getres(clockid_t id, struct timespec *ret_time) {
  REAL(clock_getres);
  if (id != CLOCK_MONOTONIC_COARSE) return real(id, ret_time);
  *ret_time = (struct timespec){.tv_nsec = 4 * (long)MS};
  return 0;
}

/* -- epoll and its company ------------------------------------------------- */

int epoll_create1(int flags) {
  REAL(epoll_create1);
  if (!playing) return real(flags);
  calls++;
  return result(fd_new(FD_EPOLL, keep(sizeof(epoll_t))));
}

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event) {
  REAL(epoll_ctl);
  if (!is_played(epfd)) return real(epfd, op, fd, event);
  if (op == EPOLL_CTL_ADD && fails(CALL_EPOLL_CTL)) return -1;
  if (op == EPOLL_CTL_ADD) fd_use(fd);
  if (!is_played(fd)) abort(); /* the real kernel's, in our loop */
  return result(epoll_set(object_of(epfd, FD_EPOLL), op, fd, event));
}

int epoll_wait(int epfd, struct epoll_event *events, int most, int timeout_ms) {
  REAL(epoll_wait);
  if (!is_played(epfd)) return real(epfd, events, most, timeout_ms);
  calls++;
  if (fails(CALL_EPOLL_WAIT)) return -1;
  return epoll_get(object_of(epfd, FD_EPOLL), events, most, timeout_ms);
}

int epoll_pwait(int epfd, struct epoll_event *events, int most, int timeout_ms,
                const sigset_t *mask) {
  REAL(epoll_pwait);
  if (!is_played(epfd)) return real(epfd, events, most, timeout_ms, mask);
  return epoll_wait(epfd, events, most, timeout_ms);
}

int eventfd(unsigned count, int flags) {
  REAL(eventfd);
  if (!playing) return real(count, flags);
  uint64_t *object = keep(sizeof(*object));
  *object = count;
  return result(fd_new(FD_EVENT, object));
}

int pipe2(int fds[2], int flags) {
  REAL(pipe2);
  if (!playing) return real(fds, flags);
  int in = fd_new(FD_PIPE, NULL);
  int out = in < 0 ? in : fd_new(FD_PIPE, NULL);
  if (out < 0 && in >= 0) fd_close(in);
  if (out < 0) return result(out);
  fds[0] = in;
  fds[1] = out;
  return 0;
}

/* Nothing that is ready: no time passes. */
int poll(struct pollfd *fds, nfds_t count, int timeout_ms) {
  REAL(poll);
  if (count == 0 || !is_played(fds[0].fd)) return real(fds, count, timeout_ms);
  int ready = 0;
  for (nfds_t i = 0; i < count; i++) {
    uint32_t asked = (uint32_t)fds[i].events | EPOLLERR | EPOLLHUP;
    fds[i].revents = (short)(fd_events(fds[i].fd) & asked);
    ready += fds[i].revents != 0;
  }
  return ready;
}

/* -- Reading and writing --------------------------------------------------- */

ssize_t read(int fd, void *bytes, size_t size) {
  REAL(read);
  if (!is_played(fd)) return real(fd, bytes, size);
  if (link_fails(CALL_READ, fd)) return -1;
  return long_result(fd_read(fd, bytes, size));
}

static ssize_t read_pieces(int fd, const struct iovec *pieces, size_t count) {
  if (link_fails(CALL_READ, fd)) return -1;
  ssize_t all = 0;
  for (size_t i = 0; i < count; i++) {
    ssize_t len = fd_read(fd, pieces[i].iov_base, pieces[i].iov_len);
    if (len < 0) return all ? all : long_result(len);
    all += len;
    if ((size_t)len < pieces[i].iov_len) break;
  }
  return all;
}

ssize_t readv(int fd, const struct iovec *pieces, int count) {
  REAL(readv);
  if (!is_played(fd)) return real(fd, pieces, count);
  return read_pieces(fd, pieces, (size_t)count);
}

static ssize_t peek(link_t *link, char *bytes, size_t size) {
  const stream_t *up = &link->up;
  size_t len = up->arrived - up->read;
  tcp_look(link);
  if (len > size) len = size;
  if (len == 0) return long_result(up->fin_arrived ? 0 : -EAGAIN);
  memcpy(bytes, up->bytes + up->read, len);
  return (ssize_t)len;
}

ssize_t recv(int fd, void *bytes, size_t size, int flags) {
  REAL(recv);
  if (!is_played(fd)) return real(fd, bytes, size, flags);
  link_t *link = object_of(fd, FD_LINK);
  if (link && flags & MSG_PEEK) return peek(link, bytes, size);
  return read(fd, bytes, size);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
  REAL(recvmsg);
  if (!is_played(fd)) return real(fd, message, flags);
  message->msg_controllen = 0;
  message->msg_flags = 0;
  return read_pieces(fd, message->msg_iov, message->msg_iovlen);
}

static ssize_t write_pieces(int fd, const struct iovec *pieces, size_t count) {
  if (link_fails(CALL_WRITE, fd)) return -1;
  ssize_t all = 0;
  for (size_t i = 0; i < count; i++) {
    ssize_t len = fd_write(fd, pieces[i].iov_base, pieces[i].iov_len);
    if (len < 0) return all ? all : long_result(len);
    all += len;
    if ((size_t)len < pieces[i].iov_len) break;
  }
  return all;
}

ssize_t write(int fd, const void *bytes, size_t size) {
  REAL(write);
  if (!is_played(fd)) return real(fd, bytes, size);
  if (link_fails(CALL_WRITE, fd)) return -1;
  return long_result(fd_write(fd, bytes, size));
}

ssize_t writev(int fd, const struct iovec *pieces, int count) {
  REAL(writev);
  if (!is_played(fd)) return real(fd, pieces, count);
  return write_pieces(fd, pieces, (size_t)count);
}

ssize_t send(int fd, const void *bytes, size_t size, int flags) {
  REAL(send);
  if (!is_played(fd)) return real(fd, bytes, size, flags);
  return write(fd, bytes, size);
}

static ssize_t ask_diag(int fd, const void *bytes, size_t size) {
  const struct {
    struct nlmsghdr header;
    struct inet_diag_req_v2 request;
  } *message = bytes;
  bytes_t *answer = object_of(fd, FD_NETLINK);
  if (fails(CALL_NETLINK)) return -1;
  if (size < sizeof(*message)) return long_result(-EINVAL);
  answer->at = keep(16384);
  answer->read = 0;
  answer->len =
      diag_dump(message->request.sdiag_family,
                ntohs(message->request.id.idiag_sport), answer->at, 16384);
  thread_hold(between(20 * US, 3 * MS)); /* it takes its time */
  return (ssize_t)size;
}

ssize_t sendto(int fd, const void *bytes, size_t size, int flags,
               const struct sockaddr *to, socklen_t len) {
  REAL(sendto);
  if (!is_played(fd)) return real(fd, bytes, size, flags, to, len);
  if (object_of(fd, FD_NETLINK)) return ask_diag(fd, bytes, size);
  return write(fd, bytes, size);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  REAL(sendmsg);
  if (!is_played(fd)) return real(fd, message, flags);
  if (object_of(fd, FD_NETLINK))
    return ask_diag(fd, message->msg_iov->iov_base, message->msg_iov->iov_len);
  return write_pieces(fd, message->msg_iov, message->msg_iovlen);
}

ssize_t sendfile64(int to, int from, off64_t *offset, size_t size) {
  REAL(sendfile64);
  if (!is_played(to)) return real(to, from, offset, size);
  static char piece[65536];
  if (link_fails(CALL_WRITE, to)) return -1;
  if (size > sizeof(piece)) size = sizeof(piece);
  ssize_t len = offset ? pread(from, piece, size, *offset) : -1;
  if (len <= 0) return len;
  ssize_t sent = long_result(fd_write(to, piece, (size_t)len));
  if (sent > 0) *offset += sent;
  return sent;
}

/* -- Sockets --------------------------------------------------------------- */

int socket(int family, int type, int protocol) {
  REAL(socket);
  if (!playing) return real(family, type, protocol);
  if (family == AF_NETLINK) {
    if (fails(CALL_NETLINK)) return -1;
    return result(fd_new(FD_NETLINK, keep(sizeof(bytes_t))));
  }
  if (fails(CALL_SOCKET)) return -1;
  return result(fd_new(FD_LISTENER, listener_new((sa_family_t)family)));
}

/* A Unix socket's file is a real one. */
static int bind_unix(listener_t *listener, const struct sockaddr_un *addr) {
  if (mknod(addr->sun_path, S_IFSOCK | 0700, 0))
    return result(errno == EEXIST ? -EADDRINUSE : -errno);
  listener->is_unix = true;
  memcpy(listener->path, addr->sun_path, sizeof(listener->path));
  return 0;
}

int bind(int fd, const struct sockaddr *addr, socklen_t len) {
  REAL(bind);
  listener_t *listener = object_of(fd, FD_LISTENER);
  if (listener == NULL) return real(fd, addr, len);
  if (addr->sa_family == AF_UNIX)
    return bind_unix(listener, (const struct sockaddr_un *)addr);
  if (addr->sa_family == AF_INET) {
    const struct sockaddr_in *in = (const struct sockaddr_in *)addr;
    listener->ip = ntohl(in->sin_addr.s_addr);
    listener->port = ntohs(in->sin_port);
    return 0;
  }
  const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;
  bool any = IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
  memcpy(&listener->ip, &in6->sin6_addr.s6_addr[12], 4);
  listener->ip = any ? 0 : ntohl(listener->ip);
  listener->port = ntohs(in6->sin6_port);
  return 0;
}

int listen(int fd, int backlog) {
  REAL(listen);
  listener_t *listener = object_of(fd, FD_LISTENER);
  if (listener == NULL) return real(fd, backlog);
  return result(listener_listen(listener, (unsigned)backlog));
}

int connect(int fd, const struct sockaddr *addr, socklen_t len) {
  REAL(connect);
  if (!is_played(fd)) return real(fd, addr, len);
  return result(-ECONNREFUSED); /* a stale socket file is asked for */
}

static void fill_address(sa_family_t family, bool is_ipv4, uint32_t ip,
                         uint16_t port, struct sockaddr *addr, socklen_t *len);

int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags) {
  REAL(accept4);
  listener_t *listener = object_of(fd, FD_LISTENER);
  if (listener == NULL) return real(fd, addr, len, flags);
  thread_pause();
  /* The kernel takes a descriptor before it looks into the queue. */
  if (descriptors_full()) return result(-EMFILE);
  if (fails(CALL_ACCEPT)) return -1;
  link_t *link = listener_take(listener);
  if (link == NULL) return result(listener->shut ? -EINVAL : -EAGAIN);
  if (addr)
    fill_address(link->is_unix ? AF_UNIX : listener->family,
                 link->family == AF_INET, link->ip, link->port, addr, len);
  return result(fd_new(FD_LINK, link));
}

int accept(int fd, struct sockaddr *addr, socklen_t *len) {
  REAL(accept);
  if (!is_played(fd)) return real(fd, addr, len);
  return accept4(fd, addr, len, 0);
}

int shutdown(int fd, int how) {
  REAL(shutdown);
  if (!is_played(fd)) return real(fd, how);
  if (link_fails(CALL_SHUTDOWN, fd)) return -1;
  listener_t *listener = object_of(fd, FD_LISTENER);
  if (listener == NULL)
    return result(tcp_shutdown(object_of(fd, FD_LINK), how));
  listener_shut(listener);
  return 0;
}

static int close_played(int fd) {
  thread_pause();
  return result(fd_close(fd));
}

int close(int fd) {
  REAL(close);
  return is_played(fd) ? close_played(fd) : real(fd);
}

long syscall(long number, ...) {
  REAL(syscall);
  long args[6];
  va_list list;
  va_start(list, number);
  for (int i = 0; i < 6; i++)
    args[i] = va_arg(list, long);
  va_end(list);
  if (number == SYS_close && is_played((int)args[0]))
    return close_played((int)args[0]);
  return real(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}

/* -- Options and names ----------------------------------------------------- */

int setsockopt(int fd, int level, int name, const void *value, socklen_t len) {
  REAL(setsockopt);
  if (!is_played(fd)) return real(fd, level, name, value, len);
  listener_t *listener = object_of(fd, FD_LISTENER);
  link_t *link = object_of(fd, FD_LINK);
  if (link && level == SOL_SOCKET && name == SO_LINGER)
    link->linger_0 = ((const struct linger *)value)->l_onoff;
  if (listener && level == IPPROTO_IPV6 && name == IPV6_V6ONLY)
    listener->dual = *(const int *)value == 0;
  if (listener && level == SOL_SOCKET && name == SO_ATTACH_FILTER) {
    if (fails(CALL_FILTER)) return -1;
    story("listener", listener->id, "lets no SYN in from now on", 0, 0);
    listener->filter = true;
  }
  return 0;
}

static void fill_tcp_info(const link_t *link, void *value, socklen_t *len) {
  struct tcp_info info = {.tcpi_state = TCP_ESTABLISHED};
  info.tcpi_rtt = (uint32_t)(2 * link->latency / US);
  info.tcpi_rttvar = info.tcpi_rtt / 2;
  info.tcpi_unacked = (uint32_t)(link->down.written - link->down.acked);
  if (*len > sizeof(info)) *len = sizeof(info);
  memcpy(value, &info, *len);
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *len) {
  REAL(getsockopt);
  if (!is_played(fd)) return real(fd, level, name, value, len);
  listener_t *listener = object_of(fd, FD_LISTENER);
  link_t *link = object_of(fd, FD_LINK);
  if (level == IPPROTO_TCP && name == TCP_INFO && link) {
    if (link->is_unix) return result(-EOPNOTSUPP);
    fill_tcp_info(link, value, len);
    return 0;
  }
  if (level == IPPROTO_TCP && name == TCP_INFO && listener) {
    struct tcp_info info = {.tcpi_state = TCP_LISTEN,
                            .tcpi_unacked = (uint32_t)listener->queued,
                            .tcpi_sacked = listener->backlog};
    if (*len > sizeof(info)) *len = sizeof(info);
    memcpy(value, &info, *len);
    return 0;
  }
  if (level != SOL_SOCKET) return result(-ENOPROTOOPT);
  int number = 0;
  if (name == SO_ACCEPTCONN) number = listener && listener->listening;
  if (name == SO_TYPE) number = SOCK_STREAM;
  if (name == SO_DOMAIN) number = listener ? listener->family : link->family;
  memcpy(value, &number, sizeof(number));
  *len = sizeof(number);
  return 0;
}

/* IPv6 addresses are IPv4-mapped where the socket is dual, and end in the same
 * four bytes where it is not. */
static void fill_address(sa_family_t family, bool mapped, uint32_t ip,
                         uint16_t port, struct sockaddr *addr, socklen_t *len) {
  union {
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
  } all = {.in = {.sin_family = family}};
  size_t size = sizeof(sa_family_t);
  if (family == AF_INET) {
    all.in.sin_port = htons(port);
    all.in.sin_addr.s_addr = htonl(ip);
    size = sizeof(all.in);
  } else if (family == AF_INET6) {
    uint32_t bytes = htonl(ip);
    all.in6.sin6_port = htons(port);
    if (ip) memcpy(&all.in6.sin6_addr.s6_addr[12], &bytes, 4);
    if (ip) all.in6.sin6_addr.s6_addr[mapped ? 10 : 0] = mapped ? 0xff : 0xfd;
    if (ip && mapped) all.in6.sin6_addr.s6_addr[11] = 0xff;
    size = sizeof(all.in6);
  }
  if (*len > size) *len = (socklen_t)size;
  memcpy(addr, &all, *len);
}

int getsockname(int fd, struct sockaddr *addr, socklen_t *len) {
  REAL(getsockname);
  socklen_t given = *len;
  if (!is_played(fd)) return real(fd, addr, len);
  listener_t *listener = object_of(fd, FD_LISTENER);
  link_t *link = object_of(fd, FD_LINK);
  if (link) {
    listener = link->listener;
    fill_address(listener->family, link->family == AF_INET, link->server_ip,
                 link->server_port, addr, len);
    return 0;
  }
  if (listener == NULL) return result(-ENOTSOCK);
  fill_address(listener->family, false, listener->ip, listener->port, addr,
               len);
  if (!listener->is_unix) return 0;
  size_t room = given - offsetof(struct sockaddr_un, sun_path);
  struct sockaddr_un *un = (struct sockaddr_un *)addr;
  if (room > sizeof(listener->path)) room = sizeof(listener->path);
  memcpy(un->sun_path, listener->path, room);
  *len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + room);
  return 0;
}

int getpeername(int fd, struct sockaddr *addr, socklen_t *len) {
  REAL(getpeername);
  if (!is_played(fd)) return real(fd, addr, len);
  link_t *link = object_of(fd, FD_LINK);
  if (link == NULL || link->server_error) return result(-ENOTCONN);
  sa_family_t family = link->is_unix ? AF_UNIX : link->listener->family;
  fill_address(family, link->family == AF_INET, link->ip, link->port, addr,
               len);
  return 0;
}

int ioctl(int fd, unsigned long request, ...) {
  REAL(ioctl);
  va_list list;
  va_start(list, request);
  void *value = va_arg(list, void *);
  va_end(list);
  if (!is_played(fd)) return real(fd, request, value);
  link_t *link = object_of(fd, FD_LINK);
  if (request == FIONREAD && link) {
    if (link_fails(CALL_UNREAD, fd)) return -1;
    tcp_look(link);
    *(int *)value = (int)(link->up.arrived - link->up.read);
  } else if (request == SIOCOUTQ && link) {
    *(int *)value = (int)(link->down.written - link->down.acked);
  }
  return 0;
}

static int control(int fd, int command) {
  if (file_of(fd) == NULL) return result(-EBADF);
  if (command == F_DUPFD || command == F_DUPFD_CLOEXEC)
    return result(fd_dup(fd));
  return 0;
}

int fcntl(int fd, int command, ...) {
  REAL(fcntl);
  va_list list;
  va_start(list, command);
  void *arg = va_arg(list, void *);
  va_end(list);
  return is_played(fd) ? control(fd, command) : real(fd, command, arg);
}

int fcntl64(int fd, int command, ...) {
  REAL(fcntl64);
  va_list list;
  va_start(list, command);
  void *arg = va_arg(list, void *);
  va_end(list);
  return is_played(fd) ? control(fd, command) : real(fd, command, arg);
}

/* -- Files ----------------------------------------------------------------- */

static const char *tcp_table(const char *path) {
  static const char *const tables[] = {"/proc/self/net/tcp", "/proc/net/tcp",
                                       "/proc/self/net/tcp6", "/proc/net/tcp6"};
  for (size_t i = 0; playing && i < sizeof(tables) / sizeof(*tables); i++)
    if (strcmp(path, tables[i]) == 0) return tables[i];
  return NULL;
}

static int open_table(const char *path) {
  if (fails(CALL_PROC)) return -1;
  bytes_t *text = keep(sizeof(*text));
  text->at = keep(65536);
  text->len = diag_text(path[strlen(path) - 1] == '6', text->at, 65536);
  thread_hold(between(1 * MS, 45 * MS)); /* so does this, longer */
  return result(fd_new(FD_TEXT, text));
}

/* A descriptor like any other, which may be one too many. */
static bool is_null(const char *path) {
  return playing && strcmp(path, "/dev/null") == 0;
}

static int open_null(void) {
  return result(fd_new(FD_TEXT, keep(sizeof(bytes_t))));
}

int open(const char *path, int flags, ...) {
  REAL(open);
  va_list list;
  va_start(list, flags);
  mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0;
  va_end(list);
  if (is_null(path)) return open_null();
  return tcp_table(path) ? open_table(path) : real(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  REAL(open64);
  va_list list;
  va_start(list, flags);
  mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0;
  va_end(list);
  if (is_null(path)) return open_null();
  return tcp_table(path) ? open_table(path) : real(path, flags, mode);
}

/* Worlds run side by side, and each has socket files of its own. */
int flock(int fd, int operation) {
  REAL(flock);
  return playing ? 0 : real(fd, operation);
}

FILE *fopen(const char *path, const char *mode) {
  REAL(fopen);
  if (tcp_table(path) == NULL) return real(path, mode);
  int fd = open_table(path);
  if (fd < 0) return NULL;
  bytes_t *text = object_of(fd, FD_TEXT);
  FILE *file = fmemopen(text->at, text->len, "r");
  fd_close(fd);
  return file;
}
