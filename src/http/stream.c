/* The way of a byte out: gathered in the worker's one buffer while the
 * connection it is for is being advanced; then one write for all that came
 * together; what the kernel doesn't take is copied (or kept by reference) and
 * queued in libuv, in order.
 *
 * A write that fails leaves its error, and so nothing ends in the middle of
 * what composes a response: who advances the connection looks for it. */
#include "stream.h"

#include "chars.h"
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  PIECE_BYTES = 1 << 30,
  PEEKED_BYTES = 64,
};

static dusk__stream_t *stream_of(void *handle) {
  return DUSK__OWNER(handle, dusk__stream_t, tcp);
}

static const dusk__stream_events_t *events_of(const dusk__stream_t *stream) {
  return dusk__stream_worker(stream)->gather->events;
}

/* -- In -------------------------------------------------------------------- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  (void)suggested;
  dusk__stream_t *stream = stream_of(handle);
  *buf = events_of(stream)->room(stream);
}

static void on_read(uv_stream_t *handle, ssize_t nread, const uv_buf_t *buf) {
  dusk__stream_t *stream = stream_of(handle);
  dusk__worker_note_thread(dusk__stream_worker(stream));
  if (nread > 0) {
    stream->has_moved = true;
    events_of(stream)->read(stream, buf->base, (size_t)nread);
  } else if (nread < 0) {
    if (nread != UV_ENOBUFS) stream->has_ended = true;
    events_of(stream)->ended(stream, (int)nread);
  }
}

void dusk__stream_read(dusk__stream_t *stream, bool on) {
  if (stream->is_reading == on) return;
  stream->is_reading = on;
  if (stream->mate) {
    if (on) stream->mate->wanted(stream->mate);
    return;
  }
  uv_stream_t *handle = (uv_stream_t *)&stream->tcp;
  /* Both fail only on a stream that is closing or was never opened. */
  if (on)
    uv_read_start(handle, on_alloc, on_read);
  else
    uv_read_stop(handle);
}

size_t dusk__stream_feed(dusk__stream_t *stream, const char *bytes,
                         size_t len) {
  if (!stream->is_reading) return 0;
  uv_buf_t buf = events_of(stream)->room(stream);
  if (len > buf.len) len = buf.len;
  if (len > 0) memcpy(buf.base, bytes, len);
  on_read((uv_stream_t *)&stream->tcp, len > 0 ? (ssize_t)len : UV_ENOBUFS,
          &buf);
  return len;
}

bool dusk__stream_feed_end(dusk__stream_t *stream) {
  if (!stream->is_reading) return false;
  on_read((uv_stream_t *)&stream->tcp, UV_EOF, NULL);
  return true;
}

size_t dusk__stream_unread(const dusk__stream_t *stream) {
  int unread = 0;
  if (ioctl(stream->fd, FIONREAD, &unread) || unread < 0) return 0;
  return (size_t)unread;
}

bool dusk__stream_pending(const dusk__stream_t *stream) {
  size_t unread = dusk__stream_unread(stream);
  if (unread == 0) return false;
  char peeked[PEEKED_BYTES];
  ssize_t len =
      recv(stream->fd, peeked, sizeof(peeked), MSG_PEEK | MSG_DONTWAIT);
  for (ssize_t i = 0; i < len; i++)
    if (!dusk__is_line_end(peeked[i])) return true;
  return len < 0 || (size_t)len < unread;
}

/* -- What the kernel did not take ------------------------------------------ */

typedef struct queued {
  uv_write_t write;
  dusk__stream_t *stream;
  dusk_release_cb release;
  void *arg;
  char copy[];
} queued_t;

/* A part of a write: by reference if it has a release, else to be copied. */
typedef struct part {
  const char *data;
  size_t len;
  dusk_release_cb *release; /* taken from here by the queue */
  void *arg;
} part_t;

static void on_written(uv_write_t *write, int err) {
  queued_t *queued = DUSK__OWNER(write, queued_t, write);
  dusk__stream_t *stream = queued->stream;
  assert(stream->queued > 0);
  stream->queued--;
  if (queued->release) queued->release(queued->arg);
  free(queued);
  if (uv_is_closing((uv_handle_t *)&stream->tcp)) return;
  dusk__worker_note_thread(dusk__stream_worker(stream));
  if (err == 0) stream->has_moved = true;
  if (err < 0) dusk__stream_fail(stream, err);
  if (err < 0 || stream->queued == 0) events_of(stream)->flushed(stream, err);
}

/* As much of it as goes to libuv at once: its lengths are `unsigned`, and what
 * it has sent is an int. */
static uv_buf_t piece(const char *data, size_t len) {
  return (uv_buf_t){.base = (char *)data,
                    .len = len < PIECE_BYTES ? len : PIECE_BYTES};
}

static int queue_piece(dusk__stream_t *stream, uv_buf_t buf, bool by_reference,
                       dusk_release_cb release, void *arg) {
  queued_t *queued = malloc(sizeof(*queued) + (by_reference ? 0 : buf.len));
  if (queued == NULL) return UV_ENOMEM;
  queued->stream = stream;
  queued->release = release;
  queued->arg = arg;
  if (!by_reference) buf.base = memcpy(queued->copy, buf.base, buf.len);
  int err = uv_write(&queued->write, (uv_stream_t *)&stream->tcp, &buf, 1,
                     on_written);
  if (err < 0) {
    free(queued);
    return err;
  }
  stream->queued++;
  stream->written += (uint32_t)buf.len;
  return 0;
}

static int queue(dusk__stream_t *stream, part_t part) {
  bool by_reference = part.release != NULL;
  while (part.len > 0) {
    uv_buf_t buf = piece(part.data, part.len);
    bool is_last = buf.len == part.len;
    dusk_release_cb release = by_reference && is_last ? *part.release : NULL;
    int err = queue_piece(stream, buf, by_reference, release, part.arg);
    if (err < 0) return err;
    if (release) *part.release = NULL;
    part.data += buf.len;
    part.len -= buf.len;
  }
  return 0;
}

/* -- Writing --------------------------------------------------------------- */

static int failed(dusk__stream_t *stream, int err) {
  dusk__stream_fail(stream, err);
  return err;
}

/* How many bytes the kernel, or a mate, took at once, or an error. */
static ssize_t send_now(dusk__stream_t *stream, const uv_buf_t bufs[],
                        unsigned count) {
  dusk__mate_t *mate = stream->mate;
  int sent = mate ? mate->take(mate, bufs, count)
                  : uv_try_write((uv_stream_t *)&stream->tcp, bufs, count);
  if (sent > 0) stream->written += (uint32_t)sent;
  return sent == UV_EAGAIN ? 0 : sent;
}

static ssize_t try_write(dusk__stream_t *stream, const part_t parts[],
                         unsigned count) {
  uv_buf_t bufs[3];
  unsigned used = 0;
  if (stream->queued > 0) return 0;
  for (unsigned i = 0; i < count; i++) {
    if (parts[i].len == 0) continue;
    bufs[used++] = piece(parts[i].data, parts[i].len);
    if (parts[i].len > PIECE_BYTES) break;
  }
  if (used == 0) return 0;
  return send_now(stream, bufs, used);
}

/* All parts in order, at once or later. */
static int write_parts(dusk__stream_t *stream, part_t parts[], unsigned count) {
  ssize_t sent = try_write(stream, parts, count);
  if (sent < 0) return failed(stream, (int)sent);
  size_t taken = (size_t)sent;
  for (unsigned i = 0; i < count; i++) {
    size_t skip = taken < parts[i].len ? taken : parts[i].len;
    taken -= skip;
    parts[i].data += skip;
    parts[i].len -= skip;
    int err = queue(stream, parts[i]);
    if (err < 0) return failed(stream, err);
  }
  return 0;
}

/* What was gathered, which is then gone from there. */
static part_t gathered(dusk__stream_t *stream) {
  dusk__gather_t *gather = dusk__stream_worker(stream)->gather;
  if (gather->is_held) events_of(stream)->held(stream);
  assert(!gather->is_held);
  part_t part = {.data = gather->bytes, .len = gather->len};
  gather->len = 0;
  return part;
}

/* The usual write: one buffer, which the kernel takes. */
int dusk__stream_flush(dusk__stream_t *stream) {
  dusk__gather_t *gather = dusk__stream_worker(stream)->gather;
  if (stream->err) return stream->err;
  if (gather->stream != stream || gather->len == 0) return 0;
  part_t part = gathered(stream);
  ssize_t taken = 0;
  if (stream->queued == 0) {
    uv_buf_t buf = {.base = (char *)part.data, .len = part.len};
    taken = send_now(stream, &buf, 1);
  }
  if (taken < 0) return failed(stream, (int)taken);
  if ((size_t)taken == part.len) return 0;
  part.data += taken;
  part.len -= (size_t)taken;
  int err = queue(stream, part);
  return err < 0 ? failed(stream, err) : 0;
}

char *dusk__stream_reserve_more(dusk__stream_t *stream, size_t len) {
  dusk__gather_t *gather = dusk__stream_worker(stream)->gather;
  assert(len <= DUSK__GATHER_BYTES && (gather->stream || gather->len == 0));
  assert(dusk__worker_on_thread(dusk__stream_worker(stream)));
  if (stream->err) return NULL;
  if (gather->stream != stream && gather->len > 0)
    dusk__stream_flush(gather->stream); /* it is being advanced up the stack */
  if (gather->stream != stream) {
    gather->len = 0; /* its stream has failed */
    gather->is_held = false;
  }
  gather->stream = stream;
  if (DUSK__GATHER_BYTES - gather->len < len && dusk__stream_flush(stream) < 0)
    return NULL;
  return gather->bytes + gather->len;
}

int dusk__stream_write(dusk__stream_t *stream, const void *data, size_t len) {
  if (len > DUSK__COPIED_BYTES)
    return dusk__stream_write_ref(stream, data, len, "", NULL, NULL);
  char *to = dusk__stream_reserve(stream, len);
  if (to == NULL) return stream->err;
  if (len > 0) memcpy(to, data, len);
  dusk__stream_commit(stream, len);
  return 0;
}

int dusk__stream_write_ref(dusk__stream_t *stream, const void *data, size_t len,
                           const char *tail, dusk_release_cb release,
                           void *arg) {
  int err = stream->err;
  if (dusk__stream_reserve(stream, 0) != NULL) {
    part_t parts[3] = {gathered(stream),
                       {.data = data,
                        .len = len,
                        .release = release ? &release : NULL,
                        .arg = arg},
                       {.data = tail, .len = strlen(tail)}};
    err = write_parts(stream, parts, 3);
  }
  if (release) release(arg);
  return err;
}

int dusk__stream_half_close(dusk__stream_t *stream) {
  if (shutdown(stream->fd, SHUT_WR)) return uv_translate_sys_error(errno);
  return 0;
}

int dusk__stream_local(const dusk__stream_t *stream,
                       dusk__address_t *ret_address) {
  socklen_t len = sizeof(*ret_address);
  if (getsockname(stream->fd, &ret_address->any, &len))
    return uv_translate_sys_error(errno);
  return 0;
}

/* -- What is known of the peer --------------------------------------------- */

size_t dusk__stream_unacknowledged(const dusk__stream_t *stream) {
  return dusk__sys_unacknowledged(stream->fd);
}

uint64_t dusk__stream_round_trip_ms(const dusk__stream_t *stream) {
  return dusk__sys_round_trip_ms(stream->fd);
}

static uint32_t taken_bytes(const dusk__stream_t *stream) {
  size_t waiting = uv_stream_get_write_queue_size((uv_stream_t *)&stream->tcp) +
                   dusk__stream_unacknowledged(stream);
  return stream->written - (uint32_t)waiting;
}

void dusk__stream_note_progress(dusk__stream_t *stream) {
  stream->progress = taken_bytes(stream);
}

bool dusk__stream_is_stuck(dusk__stream_t *stream) {
  return taken_bytes(stream) == stream->progress;
}

/* -- From open to close ---------------------------------------------------- */

int dusk__gather_init(dusk__gather_t *gather,
                      const dusk__stream_events_t *events) {
  gather->events = events;
  gather->bytes = malloc(DUSK__GATHER_BYTES);
  return gather->bytes ? 0 : UV_ENOMEM;
}

void dusk__gather_done(dusk__gather_t *gather) {
  free(gather->bytes);
}

int dusk__stream_open(dusk__stream_t *stream, dusk__worker_t *worker) {
  stream->tcp.data = worker;
  uv_tcp_init(worker->loop, &stream->tcp); /* 0: makes no socket yet */
  if (stream->mate) return 0;
  int err = uv_tcp_open(&stream->tcp, stream->fd);
  if (err < 0) {
    if (worker->closing) worker->closing(worker, stream->fd);
    close(stream->fd);
    stream->fd = -1;
  }
  return err;
}

static void on_closed(uv_handle_t *handle) {
  dusk__stream_t *stream = stream_of(handle);
  events_of(stream)->closed(stream);
}

/* Nothing gathered goes out any more, and the descriptor is about to be
 * somebody else's. */
static void leave(dusk__stream_t *stream, int err) {
  dusk__worker_t *worker = dusk__stream_worker(stream);
  dusk__gather_t *gather = worker->gather;
  if (gather->stream == stream) {
    gather->stream = NULL;
    gather->len = 0;
    gather->is_held = false;
  }
  if (worker->closing && stream->fd >= 0) worker->closing(worker, stream->fd);
  if (stream->mate) stream->mate->left(stream->mate, err);
}

void dusk__stream_close(dusk__stream_t *stream) {
  leave(stream, UV_EOF);
  uv_close((uv_handle_t *)&stream->tcp, on_closed);
}

void dusk__stream_close_reset(dusk__stream_t *stream) {
  leave(stream, UV_ECONNRESET);
  if (uv_tcp_close_reset(&stream->tcp, on_closed) < 0)
    uv_close((uv_handle_t *)&stream->tcp, on_closed);
}

int dusk__stream_dup(const dusk__stream_t *stream, int *ret_fd) {
  int fd = fcntl(stream->fd, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return uv_translate_sys_error(errno);
  *ret_fd = fd;
  return 0;
}
