/* One thing at a time is under way on a thread of the pool, and then the sink
 * is that thread's; in between it is the loop's. What opens, writes, closes and
 * names the file is one call of work each, so that a small file takes one. */
#include "sink.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef enum work {
  WRITE,
  FINISH,
  DISCARD,
} work_t;

struct dusk__sink {
  uv_work_t req;
  uv_loop_t *loop;
  dusk__sink_cb cb; /* NULL: it was given up */
  void *owner;
  work_t work;
  bool is_busy;
  int fd; /* -1: not open */
  int status;
  size_t len; /* of `bytes` */
  char *path;
  char *temporary; /* its name until it is whole */
  char bytes[2 * DUSK__SINK_BYTES];
};

/* -- On a thread of the pool ----------------------------------------------- */

/* libuv has no name for a quota that is used up. */
static int last_error(void) {
  return errno == EDQUOT ? UV_ENOSPC : uv_translate_sys_error(errno);
}

/* The name is free, as far as chance goes. */
static int open_file(dusk__sink_t *sink) {
  unsigned char random[8];
  if (sink->fd >= 0) return 0;
  int err = uv_random(NULL, NULL, random, sizeof(random), 0, NULL);
  if (err < 0) return err;
  char *at = sink->temporary + strlen(sink->temporary) - 2 * sizeof(random);
  for (size_t i = 0; i < sizeof(random); i++, at += 2)
    snprintf(at, 3, "%02x", random[i]);
  sink->fd =
      open(sink->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  return sink->fd >= 0 ? 0 : last_error();
}

static int write_all(dusk__sink_t *sink) {
  for (size_t at = 0; at < sink->len;) {
    ssize_t written = write(sink->fd, sink->bytes + at, sink->len - at);
    if (written < 0 && errno != EINTR) return last_error();
    if (written == 0) return UV_EIO;
    if (written > 0) at += (size_t)written;
  }
  sink->len = 0;
  return 0;
}

/* A file beyond RLIMIT_FSIZE is an error, and not the process's end: the signal
 * is this thread's, and taken back. */
static int write_unsignalled(dusk__sink_t *sink) {
  sigset_t limit, before, pending;
  int signum;
  sigemptyset(&limit);
  sigaddset(&limit, SIGXFSZ);
  pthread_sigmask(SIG_BLOCK, &limit, &before);
  int err = write_all(sink);
  if (err == UV_EFBIG && !sigismember(&before, SIGXFSZ) &&
      sigpending(&pending) == 0 && sigismember(&pending, SIGXFSZ))
    sigwait(&limit, &signum);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return err;
}

static int write_file(dusk__sink_t *sink) {
  int err = open_file(sink);
  return err == 0 && sink->len > 0 ? write_unsignalled(sink) : err;
}

/* Some file systems tell only here that they could not write. */
static int close_file(dusk__sink_t *sink) {
  int fd = sink->fd;
  sink->fd = -1;
  return close(fd) == 0 || errno == EINTR ? 0 : last_error();
}

static int discard(dusk__sink_t *sink) {
  if (sink->fd >= 0) {
    close_file(sink);
    unlink(sink->temporary);
  }
  return 0;
}

static int finish_file(dusk__sink_t *sink) {
  int err = write_file(sink);
  if (err == 0) err = close_file(sink);
  if (err == 0 && rename(sink->temporary, sink->path) == 0) return 0;
  if (err == 0) err = last_error();
  if (sink->fd >= 0) close_file(sink);
  unlink(sink->temporary);
  return err;
}

static void on_work(uv_work_t *req) {
  dusk__sink_t *sink = req->data;
  switch (sink->work) {
  case WRITE:
    sink->status = write_file(sink);
    break;
  case FINISH:
    sink->status = finish_file(sink);
    break;
  case DISCARD:
    sink->status = discard(sink);
    break;
  }
}

/* -- On the loop's --------------------------------------------------------- */

static void on_worked(uv_work_t *req, int status);

static void begin(dusk__sink_t *sink, work_t work) {
  assert(!sink->is_busy);
  sink->work = work;
  sink->is_busy = true;
  sink->req.data = sink;
  int err = uv_queue_work(sink->loop, &sink->req, on_work, on_worked);
  assert(err == 0); /* it wants a callback, and has one */
  (void)err;
}

static void on_worked(uv_work_t *req, int status) {
  dusk__sink_t *sink = req->data;
  dusk__sink_cb cb = sink->cb;
  void *owner = sink->owner;
  (void)status; /* nobody cancels it */
  sink->is_busy = false;
  status = sink->status;
  if (sink->work != WRITE)
    free(sink);
  else if (cb == NULL)
    begin(sink, DISCARD);
  if (cb) cb(owner, status);
}

int dusk__sink_new(uv_loop_t *loop, const char *path, dusk__sink_cb cb,
                   void *owner, dusk__sink_t **ret_sink) {
  static const char name[] = ".dusk-0123456789abcdef";
  const char *slash = strrchr(path, '/');
  size_t path_size = strlen(path) + 1;
  size_t folder_len = slash ? (size_t)(slash - path) + 1 : 0;
  dusk__sink_t *sink =
      malloc(sizeof(*sink) + path_size + folder_len + sizeof(name));
  if (sink == NULL) return UV_ENOMEM;
  sink->loop = loop;
  sink->cb = cb;
  sink->owner = owner;
  sink->is_busy = false;
  sink->fd = -1;
  sink->status = 0;
  sink->len = 0;
  sink->path = (char *)(sink + 1);
  sink->temporary = sink->path + path_size;
  memcpy(sink->path, path, path_size);
  memcpy(sink->temporary, path, folder_len);
  memcpy(sink->temporary + folder_len, name, sizeof(name));
  *ret_sink = sink;
  return 0;
}

bool dusk__sink_put(dusk__sink_t *sink, const void *data, size_t len) {
  assert(!sink->is_busy && sink->cb && sink->status == 0);
  assert(len <= DUSK__SINK_BYTES && sink->len < DUSK__SINK_BYTES);
  memcpy(sink->bytes + sink->len, data, len);
  sink->len += len;
  if (sink->len < DUSK__SINK_BYTES) return false;
  begin(sink, WRITE);
  return true;
}

void dusk__sink_finish(dusk__sink_t *sink) {
  assert(sink->cb && sink->status == 0);
  begin(sink, FINISH);
}

void dusk__sink_abort(dusk__sink_t *sink) {
  sink->cb = NULL;
  if (sink->is_busy) return;
  if (sink->fd >= 0)
    begin(sink, DISCARD);
  else
    free(sink);
}
