/* Read from a stream under a context. */
#include "fixture.h"
#include "alloc.h"
#include "streams.h"
#include "tree.h"

#include <dusk/calls.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

int __real_uv_poll_init(uv_loop_t *loop, uv_poll_t *poll, int fd);
int __wrap_uv_poll_init(uv_loop_t *loop, uv_poll_t *poll, int fd);
int __real_uv_poll_start(uv_poll_t *poll, int events, uv_poll_cb cb);
int __wrap_uv_poll_start(uv_poll_t *poll, int events, uv_poll_cb cb);
static int init_err;
static int inits;
static uv_poll_cb poll_cb;

int __wrap_uv_poll_init(uv_loop_t *loop, uv_poll_t *poll, int fd) {
  inits++;
  return init_err != 0 ? init_err : __real_uv_poll_init(loop, poll, fd);
}

int __wrap_uv_poll_start(uv_poll_t *poll, int events, uv_poll_cb cb) {
  poll_cb = cb;
  return __real_uv_poll_start(poll, events, cb);
}

typedef struct {
  dusk_read_t read;
  char buf[8];
  int calls;
  ssize_t count;
} reader_t;

static void on_read(dusk_read_t *read, ssize_t count) {
  reader_t *reader = dusk__container_of(read, reader_t, read);
  reader->calls++;
  reader->count = count;
}

static void begin(dusk_context_t *ctx, reader_t *reader, line_t *line) {
  reader->calls = 0;
  reader->count = 0;
  assert_int_equal(dusk_context_read(ctx, &reader->read, line->root,
                                     &line->stream, reader->buf,
                                     sizeof(reader->buf), on_read),
                   0);
  assert_int_equal(reader->calls, 0);
}

static void assert_read(const reader_t *reader, const char *text) {
  assert_int_equal(reader->calls, 1);
  assert_int_equal(reader->count, strlen(text));
  assert_memory_equal(reader->buf, text, strlen(text));
}

static void assert_failed(const reader_t *reader, int err) {
  assert_int_equal(reader->calls, 1);
  assert_int_equal(reader->count, err);
}

static void read_whole(dusk_context_t *ctx, line_t *line, const char *text) {
  reader_t reader;
  begin(ctx, &reader, line);
  run(line->stream.loop);
  assert_read(&reader, text);
}

/* DUSK-077, DUSK-065, DUSK-070 */
static void what_has_come_is_given(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  line_t line;
  reader_t reader;
  line_open(&line, f);
  line_say(&line, "hello");
  line.stream.data = &line;
  reader.read.data = &reader;
  begin(ctx, &reader, &line);
  assert_int_equal(dusk_context_detach(f->root, NULL, NULL), UV_EBUSY);
  run(&f->loop);
  assert_read(&reader, "hello");
  assert_ptr_equal(reader.read.data, &reader);
  assert_ptr_equal(line.stream.data, &line);
  assert_int_equal(entries(ctx), 0);
  end(ctx);
  line_close(&line);
}

/* DUSK-077 */
static void it_waits_until_something_comes(void **state) {
  fixture_t *f = *state;
  line_t line;
  reader_t reader;
  line_open_tcp(&line, f);
  begin(f->root, &reader, &line);
  turn(&f->loop);
  assert_int_equal(reader.calls, 0);
  assert_true(uv_loop_alive(&f->loop)); /* it keeps the loop going */
  line_say(&line, "later");
  run(&f->loop);
  assert_read(&reader, "later");
  line_close(&line);
}

static void the_rest_is_the_next_reads(void **state) {
  fixture_t *f = *state;
  line_t line;
  line_open(&line, f);
  line_say(&line, "123456789");
  read_whole(f->root, &line, "12345678");
  read_whole(f->root, &line, "9");
  line_close(&line);
}

/* DUSK-077 */
static void the_end_is_told_each_time(void **state) {
  fixture_t *f = *state;
  line_t line;
  reader_t reader;
  line_open(&line, f);
  line_say(&line, "bye");
  assert_int_equal(shutdown(line.peer, SHUT_WR), 0);
  read_whole(f->root, &line, "bye");
  for (int i = 0; i < 2; i++) {
    begin(f->root, &reader, &line);
    run(&f->loop);
    assert_failed(&reader, UV_EOF);
  }
  line_close(&line);
}

/* DUSK-077 */
static void a_reset_is_told(void **state) {
  fixture_t *f = *state;
  line_t line;
  reader_t reader;
  line_open_tcp(&line, f);
  begin(f->root, &reader, &line);
  line_reset(&line);
  run(&f->loop);
  assert_failed(&reader, UV_ECONNRESET);
  line_close(&line);
}

/* DUSK-078 */
static void a_cancel_ends_it_and_loses_nothing(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  line_t line;
  reader_t reader;
  line_open(&line, f);
  begin(ctx, &reader, &line);
  turn(&f->loop);
  end(ctx); /* it is held */
  assert_int_equal(reader.calls, 0);
  run(&f->loop);
  assert_failed(&reader, UV_ECANCELED);
  line_say(&line, "more");
  read_whole(f->root, &line, "more");
  line_close(&line);
}

/* DUSK-078 */
static void a_deadline_ends_it(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 2, NULL);
  line_t line;
  reader_t reader;
  line_open(&line, f);
  begin(ctx, &reader, &line);
  run(&f->loop);
  assert_failed(&reader, UV_ETIMEDOUT);
  dusk_context_unref(ctx);
  line_close(&line);
}

/* DUSK-078. Whoever comes first, all bytes are read once. */
static void bytes_that_race_with_the_end_are_kept(void **state) {
  fixture_t *f = *state;
  for (int i = 0; i < 20; i++) {
    dusk_context_t *ctx = with_cancel(f->root);
    line_t line;
    reader_t reader;
    line_open(&line, f);
    begin(ctx, &reader, &line);
    if (i % 2 == 0) turn(&f->loop);
    line_say(&line, "bytes");
    end(ctx);
    run(&f->loop);
    if (reader.count < 0) {
      assert_failed(&reader, UV_ECANCELED);
      read_whole(f->root, &line, "bytes");
    } else {
      assert_read(&reader, "bytes");
    }
    line_close(&line);
  }
}

/* DUSK-064 */
static void under_an_ended_context_nothing_is_read(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  line_t line;
  reader_t reader;
  line_open(&line, f);
  line_say(&line, "kept");
  dusk_context_cancel(ctx, NULL);
  inits = 0;
  begin(ctx, &reader, &line);
  run(&f->loop);
  assert_failed(&reader, UV_ECANCELED);
  assert_int_equal(inits, 0);
  read_whole(f->root, &line, "kept");
  dusk_context_unref(ctx);
  line_close(&line);
}

/* DUSK-066 */
static void a_context_of_another_tree_ends_it(void **state) {
  fixture_t *f = *state, still;
  still_open(&still);
  dusk_context_t *ctx = with_timeout(still.root, 5, NULL);
  line_t line;
  reader_t reader;
  line_open(&line, f);
  begin(ctx, &reader, &line);
  run_until(&f->loop, &reader.calls);
  assert_failed(&reader, UV_ETIMEDOUT);
  dusk_context_unref(ctx);
  line_close(&line);
  still_close(&still);
}

typedef struct {
  dusk_read_t read;
  line_t *line;
  char got[9];
  size_t len;
} pump_t;

/* A byte a read, until the end, which frees it. */
static void on_pumped(dusk_read_t *read, ssize_t count) {
  pump_t *pump = dusk__container_of(read, pump_t, read);
  if (count == UV_EOF) {
    assert_string_equal(pump->got, "a stream");
    free(pump);
    return;
  }
  assert_int_equal(count, 1);
  pump->len++;
  assert_int_equal(dusk_context_read(pump->line->root, read, pump->line->root,
                                     &pump->line->stream, pump->got + pump->len,
                                     1, on_pumped),
                   0);
}

static void the_callback_may_read_again_or_free(void **state) {
  fixture_t *f = *state;
  size_t live = alloc_live();
  line_t line;
  pump_t *pump = calloc(1, sizeof(*pump));
  assert_non_null(pump);
  pump->line = &line;
  line_open(&line, f);
  line_say(&line, "a stream");
  assert_int_equal(shutdown(line.peer, SHUT_WR), 0);
  assert_int_equal(dusk_context_read(f->root, &pump->read, f->root,
                                     &line.stream, pump->got, 1, on_pumped),
                   0);
  run(&f->loop);
  assert_int_equal(alloc_live(), live);
  line_close(&line);
}

static void on_streamed(uv_stream_t *stream, ssize_t count,
                        const uv_buf_t *buf) {
  assert_int_equal(count, 4);
  assert_memory_equal(buf->base, "last", 4);
  uv_close((uv_handle_t *)stream, NULL);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf) {
  static char room[16];
  (void)handle;
  (void)size;
  *buf = uv_buf_init(room, sizeof(room));
}

/* DUSK-078. libuv's own reading may follow. */
static void the_stream_stays_libuvs(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  line_t line;
  reader_t reader;
  line_open(&line, f);
  line_say(&line, "first");
  read_whole(f->root, &line, "first");
  begin(ctx, &reader, &line);
  end(ctx);
  run(&f->loop);
  assert_failed(&reader, UV_ECANCELED);
  assert_int_equal(uv_read_start(&line.stream, on_alloc, on_streamed), 0);
  line_say(&line, "last");
  run(&f->loop);
  line_close(&line);
}

static void on_last_read(dusk_read_t *read, ssize_t count) {
  assert_int_equal(count, UV_ECANCELED);
  assert_int_equal(dusk_context_detach(read->data, NULL, NULL), 0);
}

/* DUSK-065 */
static void the_last_callback_may_detach(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other;
  reader_t reader;
  line_t line;
  assert_int_equal(dusk_context_attach(&f->loop, &other), 0);
  dusk_context_t *ctx = with_cancel(other);
  line_open(&line, f);
  reader.read.data = other;
  assert_int_equal(dusk_context_read(ctx, &reader.read, other, &line.stream,
                                     reader.buf, 1, on_last_read),
                   0);
  end(ctx);
  run(&f->loop);
  line_close(&line);
}

static void on_closed(uv_handle_t *handle) {
  memset(handle, 0xff, sizeof(uv_pipe_t));
}

/* It is a mistake, but the callback comes, and nothing is touched. */
static void a_stream_closed_before_does_no_harm(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  line_t line;
  reader_t reader;
  line_open(&line, f);
  begin(ctx, &reader, &line);
  uv_close((uv_handle_t *)&line.stream, on_closed);
  turn(&f->loop);
  assert_int_equal(reader.calls, 0);
  end(ctx);
  run(&f->loop);
  assert_failed(&reader, UV_ECANCELED);
  close(line.peer);
}

/* Two at once are a mistake as well; one gets the bytes, the other waits on. */
static void one_that_finds_nothing_waits_on(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  line_t line;
  reader_t first, second;
  line_open(&line, f);
  line_say(&line, "once");
  begin(ctx, &first, &line);
  begin(ctx, &second, &line);
  turn(&f->loop);
  assert_int_equal(first.calls + second.calls, 1);
  end(ctx);
  run(&f->loop);
  assert_int_equal(first.calls + second.calls, 2);
  assert_int_equal(first.count + second.count, 4 + UV_ECANCELED);
  line_close(&line);
}

static void an_error_of_the_polls_own_is_told(void **state) {
  fixture_t *f = *state;
  line_t line;
  reader_t reader;
  line_open(&line, f);
  begin(f->root, &reader, &line);
  poll_cb(&reader.read.poll, UV_EBADF, 0);
  run(&f->loop);
  assert_failed(&reader, UV_EBADF);
  line_close(&line);
}

static void close_polls(uv_handle_t *handle, void *arg) {
  (void)arg;
  if (handle->type == UV_POLL) uv_close(handle, NULL);
}

/* It is not called back, but leaves nothing. */
static void somebody_else_may_close_its_handle(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  line_t line;
  reader_t reader;
  line_open(&line, f);
  begin(ctx, &reader, &line);
  turn(&f->loop);
  uv_walk(&f->loop, close_polls, NULL);
  end(ctx);
  run(&f->loop);
  assert_int_equal(reader.calls, 0);
  line_close(&line);
}

/* DUSK-077 */
static void a_terminal_is_read_by_lines(void **state) {
  fixture_t *f = *state;
  uv_tty_t tty;
  reader_t reader = {.calls = 0};
  int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  assert_true(master >= 0);
  assert_int_equal(grantpt(master), 0);
  assert_int_equal(unlockpt(master), 0);
  int slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
  assert_true(slave >= 0);
  assert_int_equal(uv_tty_init(&f->loop, &tty, slave, 0), 0);
  assert_int_equal(dusk_context_read(f->root, &reader.read, f->root,
                                     (uv_stream_t *)&tty, reader.buf,
                                     sizeof(reader.buf), on_read),
                   0);
  assert_int_equal(write(master, "yes", 3), 3);
  turn(&f->loop);
  assert_int_equal(reader.calls, 0);
  assert_int_equal(write(master, "\n", 1), 1);
  run(&f->loop);
  assert_read(&reader, "yes\n");
  uv_close((uv_handle_t *)&tty, NULL);
  run(&f->loop);
  close(master);
  if (fcntl(slave, F_GETFD) >= 0) close(slave); /* libuv may have it anew */
}

/* -- Failure -------------------------------------------------------------- */

static int try_read(dusk_context_t *ctx, dusk_read_t *read,
                    dusk_context_t *root, uv_stream_t *stream, void *base,
                    size_t size, dusk_read_cb cb) {
  return dusk_context_read(ctx, read, root, stream, base, size, cb);
}

static void a_failed_start_leaves_nothing(void **state) {
  fixture_t *f = *state, still;
  dusk_context_t *ctx = with_cancel(f->root), *root = f->root;
  reader_t reader = {.calls = 0};
  dusk_read_t *read = &reader.read;
  line_t line;
  uv_pipe_t pipe;
  uv_stream_t *stream = &line.stream;
  char buf[1];
  line_open(&line, f);
  still_open(&still);
  assert_int_equal(try_read(NULL, read, root, stream, buf, 1, on_read),
                   UV_EINVAL);
  assert_int_equal(try_read(ctx, NULL, root, stream, buf, 1, on_read),
                   UV_EINVAL);
  assert_int_equal(try_read(ctx, read, NULL, stream, buf, 1, on_read),
                   UV_EINVAL);
  assert_int_equal(try_read(ctx, read, root, NULL, buf, 1, on_read), UV_EINVAL);
  assert_int_equal(try_read(ctx, read, root, stream, NULL, 1, on_read),
                   UV_EINVAL);
  assert_int_equal(try_read(ctx, read, root, stream, buf, 0, on_read),
                   UV_EINVAL);
  assert_int_equal(try_read(ctx, read, root, stream, buf, 1, NULL), UV_EINVAL);
  /* A stream of another loop; a pipe that carries handles; one that isn't
   * connected. */
  assert_int_equal(try_read(ctx, read, still.root, stream, buf, 1, on_read),
                   UV_EINVAL);
  for (int ipc = 0; ipc < 2; ipc++) {
    assert_int_equal(uv_pipe_init(&f->loop, &pipe, ipc), 0);
    assert_int_equal(
        try_read(ctx, read, root, (uv_stream_t *)&pipe, buf, 1, on_read),
        ipc != 0 ? UV_ENOTSUP : UV_EBADF);
    uv_close((uv_handle_t *)&pipe, NULL);
    run(&f->loop);
  }
  assert_int_equal(reader.calls, 0);
  assert_int_equal(ctx->refs, 1);
  still_close(&still);
  line_close(&line);
  end(ctx);
}

static void what_cannot_be_polled_is_refused(void **state) {
  fixture_t *f = *state;
  reader_t reader = {.calls = 0};
  uv_pipe_t pipe;
  char name[] = "/tmp/dusk-read-XXXXXX";
  int fd = mkstemp(name);
  assert_true(fd >= 0);
  unlink(name);
  assert_int_equal(uv_pipe_init(&f->loop, &pipe, 0), 0);
  assert_int_equal(uv_pipe_open(&pipe, fd), 0);
  int before = open_fds();
  assert_int_equal(try_read(f->root, &reader.read, f->root,
                            (uv_stream_t *)&pipe, reader.buf, 1, on_read),
                   UV_EPERM);
  assert_int_equal(open_fds(), before);
  uv_close((uv_handle_t *)&pipe, NULL);
  run(&f->loop);
  assert_int_equal(reader.calls, 0);
}

static void no_descriptor_for_the_duplicate(void **state) {
  fixture_t *f = *state;
  reader_t reader = {.calls = 0};
  line_t line;
  struct rlimit limit, tight;
  line_open(&line, f);
  int lowest = dup(0);
  close(lowest);
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
  tight = limit;
  tight.rlim_cur = (rlim_t)lowest;
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
  int err = try_read(f->root, &reader.read, f->root, &line.stream, reader.buf,
                     1, on_read);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
  assert_int_equal(err, UV_EMFILE);
  init_err = UV_ENOMEM;
  int before = open_fds();
  assert_int_equal(try_read(f->root, &reader.read, f->root, &line.stream,
                            reader.buf, 1, on_read),
                   UV_ENOMEM);
  init_err = 0;
  assert_int_equal(open_fds(), before);
  line_close(&line);
  assert_int_equal(reader.calls, 0);
}

/* DUSK-038. None, but under a context of another tree. */
static void each_allocation_may_fail(void **state) {
  fixture_t *f = *state, still;
  reader_t reader = {.calls = 0};
  line_t line;
  still_open(&still);
  line_open(&line, f);
  size_t live = alloc_live(), count = alloc_count();
  begin(f->root, &reader, &line);
  assert_int_equal(alloc_count(), count);
  line_say(&line, "x");
  run(&f->loop);
  assert_read(&reader, "x");
  reader.calls = 0;
  alloc_fail_at(1);
  assert_int_equal(try_read(still.root, &reader.read, f->root, &line.stream,
                            reader.buf, 1, on_read),
                   UV_ENOMEM);
  alloc_fail_at(0);
  run(&f->loop);
  assert_int_equal(reader.calls, 0);
  assert_int_equal(alloc_live(), live);
  line_close(&line);
  still_close(&still);
}

#define read_test(f) cmocka_unit_test_setup_teardown(f, lines_open, lines_close)

int main(void) {
  const struct CMUnitTest tests[] = {
      read_test(what_has_come_is_given),
      read_test(it_waits_until_something_comes),
      read_test(the_rest_is_the_next_reads),
      read_test(the_end_is_told_each_time),
      read_test(a_reset_is_told),
      read_test(a_cancel_ends_it_and_loses_nothing),
      read_test(a_deadline_ends_it),
      read_test(bytes_that_race_with_the_end_are_kept),
      read_test(under_an_ended_context_nothing_is_read),
      read_test(a_context_of_another_tree_ends_it),
      read_test(the_callback_may_read_again_or_free),
      read_test(the_stream_stays_libuvs),
      read_test(the_last_callback_may_detach),
      read_test(a_stream_closed_before_does_no_harm),
      read_test(one_that_finds_nothing_waits_on),
      read_test(an_error_of_the_polls_own_is_told),
      read_test(somebody_else_may_close_its_handle),
      read_test(a_terminal_is_read_by_lines),
      read_test(a_failed_start_leaves_nothing),
      read_test(what_cannot_be_polled_is_refused),
      read_test(no_descriptor_for_the_duplicate),
      read_test(each_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, lines_open_once, NULL);
}
