/* The way of a byte out: gathered in the server's one buffer while the
 * connection it is for is being advanced; then one write for all that came
 * together; what the kernel doesn't take is copied (or kept by reference) and
 * queued in libuv, in order. */
#include "output.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE_BYTES = 1 << 30 };

/* Bytes that the kernel did not take. */
typedef struct queued {
  uv_write_t write;
  dusk__conn_t *conn;
  dusk_release_cb release;
  void *arg;
  char copy[];
} queued_t;

int dusk__output_init(dusk__gather_t *output) {
  output->bytes = malloc(DUSK__OUTPUT_BYTES);
  return output->bytes ? 0 : UV_ENOMEM;
}

void dusk__output_done(dusk__gather_t *output) {
  free(output->bytes);
}

/* As much of it as goes to libuv at once: its lengths are `unsigned`, and what
 * it has sent is an int. */
static uv_buf_t piece(const char *data, size_t len) {
  return (uv_buf_t){.base = (char *)data,
                    .len = len < PIECE_BYTES ? len : PIECE_BYTES};
}

static void on_written(uv_write_t *write, int err) {
  queued_t *queued = DUSK__OWNER(write, queued_t, write);
  dusk__conn_t *conn = queued->conn;
  assert(conn->queued_writes > 0);
  conn->queued_writes--;
  if (queued->release) queued->release(queued->arg);
  free(queued);
  dusk__conn_flushed(conn, err);
}

static int queue_piece(dusk__conn_t *conn, uv_buf_t buf, bool by_reference,
                       dusk_release_cb release, void *arg) {
  queued_t *queued = malloc(sizeof(*queued) + (by_reference ? 0 : buf.len));
  if (queued == NULL) return UV_ENOMEM;
  queued->conn = conn;
  queued->release = release;
  queued->arg = arg;
  if (!by_reference) buf.base = memcpy(queued->copy, buf.base, buf.len);
  int err =
      uv_write(&queued->write, (uv_stream_t *)&conn->tcp, &buf, 1, on_written);
  if (err < 0) {
    free(queued);
    return err;
  }
  conn->queued_writes++;
  conn->written += (uint32_t)buf.len;
  return 0;
}

/* Queues what is left of a write: a copy, or with `release` by reference. After
 * an error the connection must be closed: some of it may be queued. */
static int queue(dusk__conn_t *conn, const char *data, size_t len,
                 dusk_release_cb release, void *arg) {
  assert(len > 0);
  int err = 0;
  while (err == 0 && len > 0) {
    uv_buf_t buf = piece(data, len);
    data += buf.len;
    len -= buf.len;
    err =
        queue_piece(conn, buf, release != NULL, len == 0 ? release : NULL, arg);
  }
  return err;
}

/* How many of the bytes the kernel took at once, or an error. */
static ssize_t try_write(dusk__conn_t *conn, const uv_buf_t bufs[],
                         unsigned count) {
  if (conn->queued_writes > 0) return 0;
  int sent = uv_try_write((uv_stream_t *)&conn->tcp, bufs, count);
  if (sent > 0) conn->written += (uint32_t)sent;
  return sent == UV_EAGAIN ? 0 : sent;
}

static int failed(dusk__conn_t *conn, int err) {
  dusk__conn_close(conn, err == UV_ENOMEM ? DUSK__CUT : DUSK__GONE);
  return err == UV_ENOMEM ? UV_ENOMEM : UV_ECANCELED;
}

int dusk__output_flush(dusk__conn_t *conn) {
  dusk__gather_t *output = conn->worker->gather;
  if (output->conn != conn || output->len == 0) return 0;
  uv_buf_t buf = {.base = output->bytes, .len = output->len};
  output->len = 0;
  ssize_t sent = try_write(conn, &buf, 1);
  if (sent < 0) return failed(conn, (int)sent);
  if ((size_t)sent == buf.len) return 0;
  int err = queue(conn, buf.base + sent, buf.len - (size_t)sent, NULL, NULL);
  return err < 0 ? failed(conn, err) : 0;
}

char *dusk__output_reserve(dusk__conn_t *conn, size_t len) {
  dusk__gather_t *output = conn->worker->gather;
  assert(len <= DUSK__OUTPUT_BYTES && (output->conn || output->len == 0));
  /* A flush that fails may call user code, which may gather for another one. */
  while (output->conn != conn && output->len > 0)
    dusk__output_flush(output->conn);
  if (conn->member.phase == DUSK__CLOSED) return NULL;
  output->conn = conn;
  if (DUSK__OUTPUT_BYTES - output->len < len && dusk__output_flush(conn) < 0)
    return NULL;
  return output->bytes + output->len;
}

void dusk__output_commit(dusk__conn_t *conn, size_t len) {
  assert(conn->worker->gather->conn == conn);
  assert(len <= DUSK__OUTPUT_BYTES - conn->worker->gather->len);
  conn->worker->gather->len += len;
}

int dusk__output_bytes(dusk__conn_t *conn, const void *data, size_t len) {
  if (len <= DUSK__OUTPUT_BYTES / 4) {
    char *to = dusk__output_reserve(conn, len);
    if (to == NULL) return UV_ECANCELED;
    if (len > 0) memcpy(to, data, len);
    dusk__output_commit(conn, len);
    return 0;
  }
  return dusk__output_ref(conn, data, len, NULL, NULL);
}

/* What was gathered and `data`, with one write. */
static int write_both(dusk__conn_t *conn, const char *data, size_t len,
                      dusk_release_cb *release, void *arg) {
  dusk__gather_t *output = conn->worker->gather;
  uv_buf_t bufs[2] = {{.base = output->bytes, .len = output->len},
                      piece(data, len)};
  output->len = 0;
  ssize_t sent = try_write(conn, bufs, 2);
  if (sent < 0) return (int)sent;
  size_t taken = (size_t)sent;
  if (taken < bufs[0].len) {
    int err =
        queue(conn, bufs[0].base + taken, bufs[0].len - taken, NULL, NULL);
    if (err < 0) return err;
    taken = bufs[0].len;
  }
  taken -= bufs[0].len;
  if (taken == len) return 0;
  int err = queue(conn, data + taken, len - taken, *release, arg);
  if (err == 0) *release = NULL; /* now the queue's to call */
  return err;
}

int dusk__output_ref(dusk__conn_t *conn, const void *data, size_t len,
                     dusk_release_cb release, void *arg) {
  int err = UV_ECANCELED;
  if (dusk__output_reserve(conn, 0) != NULL) {
    err = write_both(conn, data, len, &release, arg);
    if (err < 0) err = failed(conn, err);
  }
  if (release) release(arg);
  return err;
}

void dusk__output_drop(dusk__conn_t *conn) {
  dusk__gather_t *output = conn->worker->gather;
  if (output->conn != conn) return;
  output->conn = NULL;
  output->len = 0;
}
