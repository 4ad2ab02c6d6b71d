/* Write to a stream under a context. */
#include "fixture.h"
#include "alloc.h"
#include "streams.h"
#include "tree.h"

#include <dusk/calls.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int __real_uv_write(uv_write_t *req, uv_stream_t *stream, const uv_buf_t *bufs,
                    unsigned count, uv_write_cb cb);
int __wrap_uv_write(uv_write_t *req, uv_stream_t *stream, const uv_buf_t *bufs,
                    unsigned count, uv_write_cb cb);
static int write_err;
static int writes;

int __wrap_uv_write(uv_write_t *req, uv_stream_t *stream, const uv_buf_t *bufs,
                    unsigned count, uv_write_cb cb) {
  writes++;
  return write_err != 0 ? write_err
                        : __real_uv_write(req, stream, bufs, count, cb);
}

enum { MUCH = 16 << 20 }; /* more than any socket takes */

typedef struct {
  dusk_write_t write;
  int calls;
  int err;
} writer_t;

static void on_written(dusk_write_t *write, int err) {
  writer_t *writer = dusk__container_of(write, writer_t, write);
  writer->calls++;
  writer->err = err;
}

static void begin(dusk_context_t *ctx, writer_t *writer, line_t *line,
                  const char *text) {
  uv_buf_t buf = uv_buf_init((char *)text, (unsigned)strlen(text));
  writer->calls = 0;
  writer->err = 1;
  assert_int_equal(dusk_context_write(ctx, &writer->write, line->root,
                                      &line->stream, &buf, 1, on_written),
                   0);
  assert_int_equal(writer->calls, 0);
}

static void assert_told(const writer_t *writer, int err) {
  assert_int_equal(writer->calls, 1);
  assert_int_equal(writer->err, err);
}

/* DUSK-079, DUSK-065, DUSK-070 */
static void all_is_written(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  char one[] = "one ", two[] = "two";
  uv_buf_t bufs[] = {{one, 4}, {NULL, 0}, {two, 3}};
  writer_t writer = {.write.data = &writer};
  line_t line;
  line_open(&line, f);
  line.stream.data = &line;
  assert_int_equal(dusk_context_write(ctx, &writer.write, f->root, &line.stream,
                                      bufs, 3, on_written),
                   0);
  memset(bufs, 0, sizeof(bufs)); /* borrowed for the call */
  assert_int_equal(writer.calls, 0);
  assert_int_equal(dusk_context_detach(f->root, NULL, NULL), UV_EBUSY);
  run(&f->loop); /* it keeps the loop going */
  assert_told(&writer, 0);
  assert_ptr_equal(writer.write.data, &writer);
  assert_ptr_equal(line.stream.data, &line);
  assert_int_equal(entries(ctx), 0);
  line_hear(&line, "one two");
  end(ctx);
  line_close(&line);
}

/* What a peer takes that reads all there is. */
static size_t take_all(line_t *line) {
  static char room[1 << 16];
  size_t all = 0;
  ssize_t count;
  while ((count = recv(line->peer, room, sizeof(room), MSG_DONTWAIT)) > 0)
    all += (size_t)count;
  return all;
}

/* DUSK-079 */
static void a_long_one_waits_for_the_peer_and_others_for_it(void **state) {
  fixture_t *f = *state;
  char *much = calloc(1, MUCH);
  uv_buf_t buf = uv_buf_init(much, MUCH);
  writer_t first = {.calls = 0}, second;
  line_t line;
  size_t taken = 0;
  line_open(&line, f);
  assert_int_equal(dusk_context_write(f->root, &first.write, f->root,
                                      &line.stream, &buf, 1, on_written),
                   0);
  begin(f->root, &second, &line, "second");
  turn(&f->loop);
  assert_int_equal(first.calls, 0);
  while (second.calls == 0) {
    taken += take_all(&line);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_true(first.calls >= second.calls);
  }
  assert_int_equal(taken + take_all(&line), MUCH + 6);
  assert_told(&first, 0);
  assert_told(&second, 0);
  free(much);
  line_close(&line);
}

/* A message that goes with its callback. */
typedef struct {
  dusk_write_t write;
  line_t *line;
  int *err;
  char bytes[MUCH];
} message_t;

static void on_message(dusk_write_t *write, int err) {
  message_t *message = dusk__container_of(write, message_t, write);
  *message->err = err;
  uv_close((uv_handle_t *)&message->line->stream, NULL);
  free(message);
}

static void send_message(dusk_context_t *ctx, line_t *line, int *err) {
  message_t *message = calloc(1, sizeof(*message));
  assert_non_null(message);
  uv_buf_t buf = uv_buf_init(message->bytes, MUCH);
  message->line = line;
  message->err = err;
  *err = 0;
  assert_int_equal(dusk_context_write(ctx, &message->write, line->root,
                                      &line->stream, &buf, 1, on_message),
                   0);
}

/* DUSK-080 */
static void a_cancel_ends_it_and_gives_the_buffer_back(void **state) {
  fixture_t *f = *state;
  size_t live = alloc_live();
  dusk_context_t *ctx = with_cancel(f->root);
  line_t line;
  int err;
  line_open(&line, f);
  send_message(ctx, &line, &err);
  turn(&f->loop);
  assert_int_equal(err, 0);
  assert_true(take_all(&line) > 0); /* a part was written */
  end(ctx);                         /* it is held */
  assert_int_equal(err, 0);
  run(&f->loop);
  assert_int_equal(err, UV_ECANCELED);
  line_close(&line);
  assert_int_equal(alloc_live(), live);
}

/* DUSK-080 */
static void a_deadline_ends_it(void **state) {
  fixture_t *f = *state;
  size_t live = alloc_live();
  dusk_context_t *ctx = with_timeout(f->root, 2, NULL);
  line_t line;
  int err;
  line_open_tcp(&line, f);
  send_message(ctx, &line, &err);
  run(&f->loop);
  assert_int_equal(err, UV_ETIMEDOUT);
  dusk_context_unref(ctx);
  line_close(&line);
  assert_int_equal(alloc_live(), live);
}

/* DUSK-066 */
static void a_context_of_another_tree_ends_it(void **state) {
  fixture_t *f = *state, still;
  still_open(&still);
  dusk_context_t *ctx = with_timeout(still.root, 5, NULL);
  line_t line;
  int err;
  line_open(&line, f);
  send_message(ctx, &line, &err);
  run_until(&f->loop, &err);
  assert_int_equal(err, UV_ETIMEDOUT);
  dusk_context_unref(ctx);
  line_close(&line);
  still_close(&still);
}

/* Who closes later keeps the buffer until then; the callback came once. */
static void an_ended_one_may_go_on_unseen(void **state) {
  fixture_t *f = *state;
  size_t live = alloc_live();
  dusk_context_t *ctx = with_cancel(f->root);
  char *much = calloc(1, MUCH);
  uv_buf_t buf = uv_buf_init(much, MUCH);
  writer_t writer = {.calls = 0};
  line_t line;
  line_open(&line, f);
  assert_int_equal(dusk_context_write(ctx, &writer.write, f->root, &line.stream,
                                      &buf, 1, on_written),
                   0);
  end(ctx);
  run_until(&f->loop, &writer.calls);
  assert_told(&writer, UV_ECANCELED);
  memset(&writer.write, 0xff, sizeof(writer.write));
  for (size_t taken = 0; taken < MUCH; taken += take_all(&line))
    uv_run(&f->loop, UV_RUN_NOWAIT);
  run(&f->loop);
  assert_told(&writer, UV_ECANCELED);
  free(much);
  line_close(&line);
  assert_int_equal(alloc_live(), live);
}

static void what_was_written_was_not_ended(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  writer_t writer;
  line_t line;
  line_open(&line, f);
  begin(ctx, &writer, &line, "all of it"); /* by now */
  end(ctx);
  run(&f->loop);
  assert_told(&writer, 0);
  line_hear(&line, "all of it");
  line_close(&line);
}

/* DUSK-064 */
static void under_an_ended_context_nothing_is_written(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  writer_t writer;
  line_t line;
  dusk_context_cancel(ctx, NULL);
  line_open(&line, f);
  writes = 0;
  begin(ctx, &writer, &line, "no");
  run(&f->loop);
  assert_told(&writer, UV_ECANCELED);
  assert_int_equal(writes, 0);
  begin(f->root, &writer, &line, "yes");
  run(&f->loop);
  assert_told(&writer, 0);
  line_hear(&line, "yes");
  dusk_context_unref(ctx);
  line_close(&line);
}

/* DUSK-079 */
static void a_peer_that_has_gone_is_told(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  writer_t writer;
  line_t line;
  line_open(&line, f);
  close(line.peer);
  line.peer = -1;
  begin(ctx, &writer, &line, "anybody?");
  run(&f->loop);
  assert_told(&writer, UV_EPIPE);
  assert_int_equal(entries(ctx), 0);
  end(ctx);
  line_close(&line);
}

static void a_close_ends_it(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  char *much = calloc(1, MUCH);
  uv_buf_t buf = uv_buf_init(much, MUCH);
  writer_t writer = {.calls = 0};
  line_t line;
  line_open(&line, f);
  assert_int_equal(dusk_context_write(ctx, &writer.write, f->root, &line.stream,
                                      &buf, 1, on_written),
                   0);
  turn(&f->loop);
  line_close(&line);
  assert_told(&writer, UV_ECANCELED);
  assert_int_equal(entries(ctx), 0);
  end(ctx);
  free(much);
}

typedef struct {
  dusk_write_t write;
  line_t *line;
  dusk_context_t *root;
  int left;
} repeater_t;

static void repeat(repeater_t *repeater);

/* The last callback detaches. */
static void on_repeated(dusk_write_t *write, int err) {
  repeater_t *repeater = dusk__container_of(write, repeater_t, write);
  assert_int_equal(err, 0);
  if (--repeater->left > 0)
    repeat(repeater);
  else
    assert_int_equal(dusk_context_detach(repeater->root, NULL, NULL), 0);
}

static void repeat(repeater_t *repeater) {
  char byte[] = "x";
  uv_buf_t buf = uv_buf_init(byte, 1);
  assert_int_equal(dusk_context_write(repeater->root, &repeater->write,
                                      repeater->root, &repeater->line->stream,
                                      &buf, 1, on_repeated),
                   0);
}

/* DUSK-065 */
static void the_callback_may_write_again_or_detach(void **state) {
  fixture_t *f = *state;
  line_t line;
  repeater_t repeater = {.line = &line, .left = 3};
  assert_int_equal(dusk_context_attach(&f->loop, &repeater.root), 0);
  line_open(&line, f);
  repeat(&repeater);
  run(&f->loop);
  assert_int_equal(repeater.left, 0);
  line_hear(&line, "xxx");
  line_close(&line);
}

/* -- Failure -------------------------------------------------------------- */

static void a_failed_start_leaves_nothing(void **state) {
  fixture_t *f = *state, still;
  dusk_context_t *ctx = with_cancel(f->root), *root = f->root;
  writer_t writer = {.calls = 0};
  dusk_write_t *write = &writer.write;
  char text[] = "x";
  uv_buf_t buf = uv_buf_init(text, 1);
  dusk_write_cb cb = on_written;
  line_t line;
  uv_stream_t *stream = &line.stream;
  line_open(&line, f);
  still_open(&still);
  size_t live = alloc_live();
  assert_int_equal(dusk_context_write(NULL, write, root, stream, &buf, 1, cb),
                   UV_EINVAL);
  assert_int_equal(dusk_context_write(ctx, NULL, root, stream, &buf, 1, cb),
                   UV_EINVAL);
  assert_int_equal(dusk_context_write(ctx, write, NULL, stream, &buf, 1, cb),
                   UV_EINVAL);
  assert_int_equal(dusk_context_write(ctx, write, root, NULL, &buf, 1, cb),
                   UV_EINVAL);
  assert_int_equal(dusk_context_write(ctx, write, root, stream, NULL, 1, cb),
                   UV_EINVAL);
  assert_int_equal(dusk_context_write(ctx, write, root, stream, &buf, 0, cb),
                   UV_EINVAL);
  assert_int_equal(dusk_context_write(ctx, write, root, stream, &buf, 1, NULL),
                   UV_EINVAL);
  assert_int_equal(
      dusk_context_write(ctx, write, still.root, stream, &buf, 1, cb),
      UV_EINVAL);
  write_err = UV_EBADF;
  assert_int_equal(dusk_context_write(ctx, write, root, stream, &buf, 1, cb),
                   UV_EBADF);
  write_err = 0;
  run(&f->loop);
  assert_int_equal(writer.calls, 0);
  assert_int_equal(ctx->refs, 1);
  assert_int_equal(alloc_live(), live);
  still_close(&still);
  line_close(&line);
  end(ctx);
}

/* DUSK-038. One, and one more under a context of another tree. */
static void each_allocation_may_fail(void **state) {
  fixture_t *f = *state, still;
  writer_t writer = {.calls = 0};
  char text[] = "x";
  uv_buf_t buf = uv_buf_init(text, 1);
  line_t line;
  still_open(&still);
  line_open(&line, f);
  dusk_context_t *trees[] = {f->root, still.root};
  size_t live = alloc_live();
  for (size_t count = 1; count <= 2; count++) {
    for (size_t n = 1; n <= count; n++) {
      alloc_fail_at(n);
      assert_int_equal(dusk_context_write(trees[count - 1], &writer.write,
                                          f->root, &line.stream, &buf, 1,
                                          on_written),
                       UV_ENOMEM);
      assert_int_equal(alloc_live(), live);
    }
    alloc_fail_at(0);
    run(&f->loop);
    assert_int_equal(writer.calls, 0);
    begin(trees[count - 1], &writer, &line, "x");
    assert_int_equal(alloc_live(), live + count);
    run(&f->loop);
    assert_told(&writer, 0);
    assert_int_equal(alloc_live(), live);
    writer.calls = 0;
  }
  line_close(&line);
  still_close(&still);
}

#define write_test(f)                                                          \
  cmocka_unit_test_setup_teardown(f, lines_open, lines_close)

int main(void) {
  const struct CMUnitTest tests[] = {
      write_test(all_is_written),
      write_test(a_long_one_waits_for_the_peer_and_others_for_it),
      write_test(a_cancel_ends_it_and_gives_the_buffer_back),
      write_test(a_deadline_ends_it),
      write_test(a_context_of_another_tree_ends_it),
      write_test(an_ended_one_may_go_on_unseen),
      write_test(what_was_written_was_not_ended),
      write_test(under_an_ended_context_nothing_is_written),
      write_test(a_peer_that_has_gone_is_told),
      write_test(a_close_ends_it),
      write_test(the_callback_may_write_again_or_detach),
      write_test(a_failed_start_leaves_nothing),
      write_test(each_allocation_may_fail),
  };
  signal(SIGPIPE, SIG_IGN);
  return cmocka_run_group_tests(tests, lines_open_once, NULL);
}
