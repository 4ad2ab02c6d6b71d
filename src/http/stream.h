/* A stream: one peer's bytes, over TCP, a Unix socket, or from a mate in this
 * process. Whoever is above needs not know what carries it. A failure stays
 * with the stream, and closes nothing: see dusk__stream_err. See stream.c. */
#ifndef DUSK_HTTP_STREAM_H
#define DUSK_HTTP_STREAM_H

#include "address.h"
#include "worker.h"

enum {
  DUSK__GATHER_BYTES = 65536,
  DUSK__COPIED_BYTES = DUSK__GATHER_BYTES / 4, /* more is written at once */
};

/* The other end of a stream that has no socket. */
typedef struct dusk__mate {
  /* Takes all that is written, and tells how much that is; or an error. */
  int (*take)(struct dusk__mate *mate, const uv_buf_t bufs[], unsigned count);
  /* The stream reads from now on: feed it, but not inside this call. */
  void (*wanted)(struct dusk__mate *mate);
  /* It closes, by a reset (UV_ECONNRESET) or not (UV_EOF): the last of all. */
  void (*left)(struct dusk__mate *mate, int err);
} dusk__mate_t;

typedef struct dusk__stream {
  uv_tcp_t tcp; /* also a Unix socket's: libuv looks at the type only in calls
                 * that aren't made here. Its data is the worker */
  dusk__mate_t *mate; /* in a socket's place; or NULL */
  int fd;             /* else its descriptor; libuv's once it is open */
  uint32_t queued;    /* writes in libuv, not yet taken by the kernel */
  uint32_t written;   /* all ever, modulo 2^32 */
  uint32_t progress;  /* of it taken when dusk__stream_is_stuck last looked */
  int err;            /* the first failure of a write */
  bool is_reading : 1;
  bool has_moved : 1; /* the peer sent or took bytes since it was cleared */
  bool has_ended : 1; /* the peer's end of stream was read, or its reset */
} dusk__stream_t;

static inline dusk__worker_t *
dusk__stream_worker(const dusk__stream_t *stream) {
  return stream->tcp.data;
}

/* What streams tell upwards; nothing else calls up. */
typedef struct dusk__stream_events {
  /* Where bytes are to be read to; none: read is told UV_ENOBUFS. */
  uv_buf_t (*room)(dusk__stream_t *stream);
  /* `len` bytes were read there. */
  void (*read)(dusk__stream_t *stream, const char *bytes, size_t len);
  /* Nothing more comes: UV_EOF or an error. */
  void (*ended)(dusk__stream_t *stream, int err);
  /* What was gathered is held, and about to go. */
  void (*held)(dusk__stream_t *stream);
  /* All that was queued has gone, or `err` has come. */
  void (*flushed)(dusk__stream_t *stream, int err);
  /* The last of all, after close: the memory is the owner's. */
  void (*closed)(dusk__stream_t *stream);
} dusk__stream_events_t;

/* A worker's: one buffer in which one stream's output is gathered. */
typedef struct dusk__gather {
  const dusk__stream_events_t *events;
  char *bytes;
  size_t len;
  bool is_held; /* its end may still be changed, until the stream's event */
  dusk__stream_t *stream; /* whose bytes they are */
} dusk__gather_t;

int dusk__gather_init(dusk__gather_t *gather,
                      const dusk__stream_events_t *events);
void dusk__gather_done(dusk__gather_t *gather);

/* Takes `fd`, a connected, non-blocking socket, to a loop; its thread. On
 * failure that is closed, and the stream is to be closed all the same. One with
 * a mate can't fail. */
int dusk__stream_open(dusk__stream_t *stream, dusk__worker_t *worker);

/* Forgets what was gathered, and closes; by a reset where that can be had. */
void dusk__stream_close(dusk__stream_t *stream);
void dusk__stream_close_reset(dusk__stream_t *stream);
/* A duplicate of its descriptor, which is the caller's. */
int dusk__stream_dup(const dusk__stream_t *stream, int *ret_fd);

/* The address that its peer is connected to: 0, or what getsockname gives. */
int dusk__stream_local(const dusk__stream_t *stream,
                       dusk__address_t *ret_address);

/* -- In -------------------------------------------------------------------- */

void dusk__stream_read(dusk__stream_t *stream, bool on);

/* A mate's bytes, and their end: how many it has taken, and whether it has
 * taken that; 0 and false while it doesn't read. It may close meanwhile. */
size_t dusk__stream_feed(dusk__stream_t *stream, const char *bytes, size_t len);
bool dusk__stream_feed_end(dusk__stream_t *stream);

/* Bytes that have come and were not read; 0 also when that can't be told. */
size_t dusk__stream_unread(const dusk__stream_t *stream);
/* Whether they are of a request: line ends alone are none (RFC 9112, 2.2). */
bool dusk__stream_pending(const dusk__stream_t *stream);

/* -- Out ------------------------------------------------------------------- */

/* 0, or by what writing failed: UV_ENOMEM, or the peer can't be written to any
 * more. */
static inline int dusk__stream_err(const dusk__stream_t *stream) {
  return stream->err;
}

/* Nothing is to be written any more. */
static inline void dusk__stream_fail(dusk__stream_t *stream, int err) {
  if (stream->err == 0) stream->err = err;
}

/* Room for at most DUSK__GATHER_BYTES contiguous bytes, to be followed by
 * dusk__stream_commit. NULL when the stream has failed. */
char *dusk__stream_reserve_more(dusk__stream_t *stream, size_t len);
static inline char *dusk__stream_reserve(dusk__stream_t *stream, size_t len) {
  dusk__gather_t *gather = dusk__stream_worker(stream)->gather;
  bool is_ready = gather->stream == stream && stream->err == 0 &&
                  DUSK__GATHER_BYTES - gather->len >= len;
  return is_ready ? gather->bytes + gather->len
                  : dusk__stream_reserve_more(stream, len);
}
static inline void dusk__stream_commit(dusk__stream_t *stream, size_t len) {
  dusk__gather_t *gather = dusk__stream_worker(stream)->gather;
  assert(gather->stream == stream && len <= DUSK__GATHER_BYTES - gather->len);
  gather->len += len;
}

/* What was gathered may be changed in its place until it goes out, which the
 * stream's event tells; let_go: no more. */
static inline dusk__gather_t *dusk__stream_hold(dusk__stream_t *stream) {
  dusk__gather_t *gather = dusk__stream_worker(stream)->gather;
  assert(gather->stream == stream && !gather->is_held);
  gather->is_held = true;
  return gather;
}
static inline dusk__gather_t *dusk__stream_let_go(dusk__stream_t *stream) {
  dusk__gather_t *gather = dusk__stream_worker(stream)->gather;
  assert(gather->stream == stream && gather->is_held);
  gather->is_held = false;
  return gather;
}

/* Gathers a copy, or writes at once what is large. */
int dusk__stream_write(dusk__stream_t *stream, const void *data, size_t len);

/* What was gathered, `data` and `tail` with one write; `tail` is copied. What
 * the kernel doesn't take of `data` is kept by reference until `release`, which
 * is called once, whatever happens; without `release` it is copied. */
int dusk__stream_write_ref(dusk__stream_t *stream, const void *data, size_t len,
                           const char *tail, dusk_release_cb release,
                           void *arg);

/* Hands what was gathered to the kernel, or to libuv for later. */
int dusk__stream_flush(dusk__stream_t *stream);

/* Tells the peer that nothing more comes. */
int dusk__stream_half_close(dusk__stream_t *stream);

/* What the peer itself has taken is looked at: a large socket buffer hides for
 * long that it takes slowly. note: it is what it is; is_stuck: it still is. */
void dusk__stream_note_progress(dusk__stream_t *stream);
bool dusk__stream_is_stuck(dusk__stream_t *stream);
/* How many bytes of what was written the peer has not acknowledged; 0 if that
 * isn't known. */
size_t dusk__stream_unacknowledged(const dusk__stream_t *stream);
/* In ms, rounded up; 0 if unknown. */
uint64_t dusk__stream_round_trip_ms(const dusk__stream_t *stream);

#endif
