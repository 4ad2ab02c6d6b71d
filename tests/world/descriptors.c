/* descriptors.c: the table of descriptors, and what read, write and close do
 * with each kind. */
#include "clock.h"
#include "kernel.h"
#include "story.h"
#include "threads.h"
#include "watch.h"

#include <errno.h>
#include <string.h>

static file_t *files[FDS];
static int open_count;
static int open_most;

void descriptors_begin(void) {
  memset(files, 0, sizeof(files));
  open_count = 0;
  open_most = FDS;
}

void descriptors_limit(int most) {
  open_most = most;
}

int descriptors_open(void) {
  return open_count;
}

bool descriptors_full(void) {
  return open_count >= open_most;
}

bool is_played(int fd) {
  return fd >= FIRST_FD && fd < FIRST_FD + FDS;
}

file_t *file_of(int fd) {
  return is_played(fd) ? files[fd - FIRST_FD] : NULL;
}

void *object_of(int fd, kind_t kind) {
  file_t *file = file_of(fd);
  return file && file->kind == kind ? file->object : NULL;
}

/* The lowest that is free, as POSIX has it. */
static int put(file_t *file) {
  if (open_count >= open_most) return -EMFILE;
  for (int i = 0; i < FDS; i++) {
    if (files[i]) continue;
    files[i] = file;
    file->refs++;
    open_count++;
    return FIRST_FD + i;
  }
  return -EMFILE;
}

int fd_new(kind_t kind, void *object) {
  if (open_count >= open_most) return -EMFILE;
  file_t *file = keep(sizeof(*file));
  file->kind = kind;
  file->object = object;
  return put(file);
}

int fd_dup(int fd) {
  file_t *file = file_of(fd);
  if (file == NULL) return -EBADF;
  int copy = put(file);
  /* Only a hijack does this. */
  if (copy >= 0 && file->kind == FD_LINK) {
    ((link_t *)file->object)->hijacked = true;
    watch_hijacked(file->object);
  }
  return copy;
}

int fd_of_link(const link_t *link) {
  for (int i = 0; i < FDS; i++)
    if (files[i] && files[i]->object == link) return FIRST_FD + i;
  return -1;
}

int fd_close(int fd) {
  file_t *file = file_of(fd);
  if (file == NULL) return -EBADF;
  fd_use(fd);
  files[fd - FIRST_FD] = NULL;
  open_count--;
  if (--file->refs > 0) return 0;
  epoll_forget(fd);
  if (file->kind == FD_LINK) tcp_close(file->object);
  if (file->kind == FD_LISTENER) listener_close(file->object);
  return 0;
}

static ssize_t event_read(uint64_t *count, char *bytes, size_t size) {
  if (size < sizeof(*count)) return -EINVAL;
  if (*count == 0) return -EAGAIN;
  memcpy(bytes, count, sizeof(*count));
  *count = 0;
  return sizeof(*count);
}

static ssize_t bytes_read(bytes_t *text, char *bytes, size_t size) {
  size_t len = text->len - text->read;
  if (len > size) len = size;
  if (len) memcpy(bytes, text->at + text->read, len);
  text->read += len;
  return (ssize_t)len;
}

void fd_use(int fd) {
  link_t *link = object_of(fd, FD_LINK);
  if (link == NULL || link->user == thread_self() + 1) return;
  if (link->user) {
    fault("used by thread %llu, and now by thread %llu", "conn", link->id,
          (uint64_t)link->user - 1, (uint64_t)thread_self());
    return;
  }
  link->user = thread_self() + 1;
  watch_used(link);
}

ssize_t fd_read(int fd, char *bytes, size_t size) {
  file_t *file = file_of(fd);
  if (file == NULL) return -EBADF;
  fd_use(fd);
  switch (file->kind) {
  case FD_LINK:
    return tcp_read(file->object, bytes, size);
  case FD_EVENT:
    return event_read(file->object, bytes, size);
  case FD_TEXT:
  case FD_NETLINK:
    return bytes_read(file->object, bytes, size);
  case FD_PIPE: /* nothing is ever written to it: no signal comes */
    return -EAGAIN;
  default:
    return -EINVAL;
  }
}

ssize_t fd_write(int fd, const char *bytes, size_t size) {
  file_t *file = file_of(fd);
  if (file == NULL) return -EBADF;
  fd_use(fd);
  if (file->kind == FD_LINK) return tcp_write(file->object, bytes, size);
  if (file->kind != FD_EVENT || size != sizeof(uint64_t)) return -EINVAL;
  uint64_t more;
  memcpy(&more, bytes, sizeof(more));
  *(uint64_t *)file->object += more;
  return (ssize_t)size;
}

uint32_t fd_events(int fd) {
  file_t *file = file_of(fd);
  if (file == NULL) return 0;
  listener_t *listener = file->object;
  switch (file->kind) {
  case FD_LINK:
    return tcp_events(file->object);
  case FD_LISTENER:
    return (listener->queue ? EPOLLIN : 0u) | (listener->shut ? EPOLLHUP : 0u);
  case FD_EVENT:
    return *(uint64_t *)file->object ? EPOLLIN : 0u;
  default:
    return 0;
  }
}
