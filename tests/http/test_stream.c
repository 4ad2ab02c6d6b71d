/* One peer's bytes, over TCP and a Unix socket, without a server: what is
 * gathered and what is queued, whose references are released when, and what a
 * failure leaves. */
#include "stream.h"

#include "alloc.h"
#include "lone_worker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_BYTES = 4096, LARGE_BYTES = 1 << 20 };

/* -- What streams tell ----------------------------------------------------- */

/* One end is the stream, the other the test's. */
typedef struct end {
  dusk__stream_t stream;
  int peer;
  char input[256];
  int input_len;
  int reads; /* how often it was told */
  int ended;
  int ended_err;
  int flushed;
  int flushed_err;
  int closed;
  bool has_no_room;
} end_t;

static lone_t lone;
static dusk__gather_t gather;
static char large[LARGE_BYTES];
static int opened;  /* descriptors that streams were given, */
static int closing; /* and of which the worker was told the end */

static end_t *end_of(dusk__stream_t *stream) {
  return DUSK__OWNER(stream, end_t, stream);
}

static uv_buf_t room(dusk__stream_t *stream) {
  end_t *end = end_of(stream);
  size_t left = sizeof(end->input) - (size_t)end->input_len;
  if (end->has_no_room) return (uv_buf_t){.base = NULL};
  return (uv_buf_t){.base = end->input + end->input_len, .len = left};
}

static void on_read(dusk__stream_t *stream, const char *bytes, size_t len) {
  end_t *end = end_of(stream);
  assert_ptr_equal(bytes, end->input + end->input_len);
  end->input_len += (int)len;
  end->reads++;
}

static void on_ended(dusk__stream_t *stream, int err) {
  end_of(stream)->ended++;
  end_of(stream)->ended_err = err;
}

/* What is held gets a '.' behind it. */
static void on_held(dusk__stream_t *stream) {
  dusk__gather_t *held = dusk__stream_let_go(stream);
  held->bytes[held->len++] = '.';
}

static void on_flushed(dusk__stream_t *stream, int err) {
  end_of(stream)->flushed++;
  end_of(stream)->flushed_err = err;
}

static void on_closed(dusk__stream_t *stream) {
  end_of(stream)->closed++;
}

static const dusk__stream_events_t events = {room,    on_read,    on_ended,
                                             on_held, on_flushed, on_closed};

static void on_descriptor_closing(dusk__worker_t *worker, int fd) {
  assert_ptr_equal(worker, &lone.worker);
  assert_true(fcntl(fd, F_GETFD) >= 0); /* still ours */
  closing++;
}

/* -- From open to close ---------------------------------------------------- */

static int set_up(void **state) {
  (void)state;
  lone_open(&lone);
  assert_int_equal(dusk__gather_init(&gather, &events), 0);
  gather.stream = NULL;
  gather.len = 0;
  lone.worker.gather = &gather;
  lone.worker.closing = on_descriptor_closing;
  opened = closing = 0;
  for (int i = 0; i < LARGE_BYTES; i++)
    large[i] = (char)(i * 31 + i / 251);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  assert_int_equal(opened, closing);
  dusk__gather_done(&gather);
  lone_close(&lone);
  return 0;
}

static void tcp_pair(int fds[2]) {
  struct sockaddr_in addr = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof(addr);
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  fds[1] = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(bind(listener, (struct sockaddr *)&addr, len), 0);
  assert_int_equal(listen(listener, 1), 0);
  assert_int_equal(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
  assert_int_equal(connect(fds[1], (struct sockaddr *)&addr, len), 0);
  fds[0] = accept(listener, NULL, NULL);
  close(listener);
}

/* With a small send buffer, so that a large write is not taken at once. */
static void open_end(end_t *end, bool is_tcp) {
  int fds[2];
  int bytes = BUFFER_BYTES;
  memset(end, 0, sizeof(*end));
  if (is_tcp)
    tcp_pair(fds);
  else
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(fcntl(fds[i], F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(
        setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
  }
  end->stream.fd = fds[0];
  end->peer = fds[1];
  assert_int_equal(dusk__stream_open(&end->stream, &lone.worker), 0);
  opened++;
}

static void wait_closed(end_t *end) {
  lone_run_until(&lone, &end->closed, 1);
  assert_int_equal(end->closed, 1);
  if (end->peer >= 0) close(end->peer);
}

static void close_end(end_t *end) {
  dusk__stream_close(&end->stream);
  wait_closed(end);
}

/* -- The peer's side ------------------------------------------------------- */

/* Has the loop go on until the peer has got `len` bytes, which are these. */
static void expect_at_peer(end_t *end, const char *bytes, size_t len) {
  static char got[LARGE_BYTES];
  size_t have = 0;
  while (have < len) {
    ssize_t more = recv(end->peer, got, len - have, MSG_DONTWAIT);
    if (more < 0) {
      assert_int_equal(errno, EAGAIN);
      lone_turn(&lone);
      continue;
    }
    assert_true(more > 0);
    assert_memory_equal(got, bytes + have, (size_t)more);
    have += (size_t)more;
  }
}

static void expect_nothing_at_peer(end_t *end) {
  char byte;
  assert_int_equal(recv(end->peer, &byte, 1, MSG_DONTWAIT), -1);
  assert_int_equal(errno, EAGAIN);
}

static void expect_end_at_peer(end_t *end) {
  char byte;
  ssize_t got;
  while ((got = recv(end->peer, &byte, 1, MSG_DONTWAIT)) < 0) {
    assert_int_equal(errno, EAGAIN);
    lone_turn(&lone);
  }
  assert_int_equal(got, 0);
}

static void peer_sends(end_t *end, const char *text) {
  ssize_t len = (ssize_t)strlen(text);
  assert_int_equal(send(end->peer, text, (size_t)len, MSG_NOSIGNAL), len);
}

/* Waits for that many bytes to have come; they stay unread. */
static void expect_unread(end_t *end, size_t len) {
  while (dusk__stream_unread(&end->stream) < len)
    lone_turn(&lone);
  assert_int_equal(dusk__stream_unread(&end->stream), len);
}

static void peer_resets(end_t *end) {
  struct linger now = {.l_onoff = 1};
  setsockopt(end->peer, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  close(end->peer);
  end->peer = -1;
}

/* -- In -------------------------------------------------------------------- */

static void bytes_are_read_where_there_is_room(void **state) {
  (void)state;
  for (int tcp = 0; tcp < 2; tcp++) {
    end_t end;
    open_end(&end, tcp);
    dusk__stream_read(&end.stream, true);
    dusk__stream_read(&end.stream, true); /* does nothing */
    assert_false(end.stream.has_moved);
    peer_sends(&end, "hello");
    lone_run_until(&lone, &end.input_len, 5);
    assert_memory_equal(end.input, "hello", 5);
    assert_true(end.stream.has_moved);
    close(end.peer);
    end.peer = -1;
    lone_run_until(&lone, &end.ended, 1);
    assert_int_equal(end.ended_err, UV_EOF);
    assert_true(end.stream.has_ended);
    assert_int_equal(end.closed, 0);
    close_end(&end);
    assert_int_equal(end.ended, 1);
  }
}

static void what_is_not_read_stays_in_the_socket(void **state) {
  (void)state;
  for (int tcp = 0; tcp < 2; tcp++) {
    end_t end;
    open_end(&end, tcp);
    assert_int_equal(dusk__stream_unread(&end.stream), 0);
    dusk__stream_read(&end.stream, true);
    dusk__stream_read(&end.stream, false);
    peer_sends(&end, "hello");
    expect_unread(&end, 5);
    assert_int_equal(end.reads, 0);
    dusk__stream_read(&end.stream, true);
    lone_run_until(&lone, &end.input_len, 5);
    assert_int_equal(dusk__stream_unread(&end.stream), 0);
    close_end(&end);
  }
}

/* It is no end of the stream. */
static void without_room_the_bytes_are_not_lost(void **state) {
  (void)state;
  end_t end;
  open_end(&end, true);
  end.has_no_room = true;
  dusk__stream_read(&end.stream, true);
  peer_sends(&end, "hello");
  lone_run_until(&lone, &end.ended, 1);
  assert_int_equal(end.ended_err, UV_ENOBUFS);
  assert_false(end.stream.has_ended);
  assert_int_equal(dusk__stream_unread(&end.stream), 5);
  close_end(&end);
}

static void a_reset_is_an_end(void **state) {
  (void)state;
  end_t end;
  open_end(&end, true);
  dusk__stream_read(&end.stream, true);
  peer_resets(&end);
  lone_run_until(&lone, &end.ended, 1);
  assert_int_equal(end.ended_err, UV_ECONNRESET);
  assert_true(end.stream.has_ended);
  assert_int_equal(dusk__stream_err(&end.stream), 0); /* of writing */
  close_end(&end);
}

/* RFC 9112, 2.2 */
static void line_ends_are_not_pending(void **state) {
  (void)state;
  for (int tcp = 0; tcp < 2; tcp++) {
    end_t end;
    open_end(&end, tcp);
    assert_false(dusk__stream_pending(&end.stream));
    peer_sends(&end, "\r\n\n\r\n");
    expect_unread(&end, 5);
    assert_false(dusk__stream_pending(&end.stream));
    peer_sends(&end, "G");
    expect_unread(&end, 6);
    assert_true(dusk__stream_pending(&end.stream));
    close_end(&end);
  }
}

/* What can't be seen behind them may be a request. */
static void many_line_ends_may_hide_a_request(void **state) {
  (void)state;
  end_t end;
  char ends[66];
  memset(ends, '\n', sizeof(ends));
  ends[64] = '\0';
  open_end(&end, true);
  peer_sends(&end, ends);
  expect_unread(&end, 64);
  assert_false(dusk__stream_pending(&end.stream));
  peer_sends(&end, "\n");
  expect_unread(&end, 65);
  assert_true(dusk__stream_pending(&end.stream));
  close_end(&end);
}

static void a_peer_that_left_has_nothing_pending(void **state) {
  (void)state;
  for (int tcp = 0; tcp < 2; tcp++) {
    end_t end;
    open_end(&end, tcp);
    close(end.peer);
    end.peer = -1;
    dusk__stream_read(&end.stream, true);
    lone_run_until(&lone, &end.ended, 1);
    assert_false(dusk__stream_pending(&end.stream));
    close_end(&end);
  }
}

/* -- Gathered -------------------------------------------------------------- */

static void what_is_gathered_goes_with_the_flush(void **state) {
  (void)state;
  for (int tcp = 0; tcp < 2; tcp++) {
    end_t end;
    open_end(&end, tcp);
    assert_int_equal(dusk__stream_write(&end.stream, "hello", 5), 0);
    char *to = dusk__stream_reserve(&end.stream, 100);
    to[0] = ',';
    to[1] = ' ';
    dusk__stream_commit(&end.stream, 2);
    assert_int_equal(dusk__stream_write(&end.stream, "you", 3), 0);
    assert_int_equal(dusk__stream_write(&end.stream, NULL, 0), 0);
    expect_nothing_at_peer(&end);
    assert_int_equal(dusk__stream_flush(&end.stream), 0);
    assert_int_equal(gather.len, 0);
    assert_int_equal(end.stream.queued, 0);
    assert_int_equal(end.stream.written, 10);
    expect_at_peer(&end, "hello, you", 10);
    assert_int_equal(dusk__stream_flush(&end.stream), 0); /* of nothing */
    expect_nothing_at_peer(&end);
    close_end(&end);
    assert_int_equal(end.flushed, 0); /* nothing was queued */
  }
}

static void a_full_buffer_is_flushed_for_more(void **state) {
  (void)state;
  end_t end;
  open_end(&end, false);
  for (size_t at = 0; at < LARGE_BYTES; at += 8192)
    assert_int_equal(dusk__stream_write(&end.stream, large + at, 8192), 0);
  assert_int_equal(gather.len, DUSK__GATHER_BYTES); /* the last of it */
  assert_int_equal(dusk__stream_flush(&end.stream), 0);
  expect_at_peer(&end, large, LARGE_BYTES);
  lone_run_until(&lone, &end.flushed, 1);
  close_end(&end);
}

static void another_streams_bytes_are_flushed_first(void **state) {
  (void)state;
  end_t one, other;
  open_end(&one, true);
  open_end(&other, false);
  assert_int_equal(dusk__stream_write(&one.stream, "one", 3), 0);
  assert_int_equal(dusk__stream_write(&other.stream, "other", 5), 0);
  expect_at_peer(&one, "one", 3);
  expect_nothing_at_peer(&other);
  assert_int_equal(dusk__stream_flush(&one.stream), 0); /* not its bytes */
  expect_nothing_at_peer(&other);
  assert_int_equal(dusk__stream_write(&one.stream, "more", 4), 0);
  expect_at_peer(&other, "other", 5);
  assert_int_equal(dusk__stream_flush(&one.stream), 0);
  expect_at_peer(&one, "more", 4);
  close_end(&one);
  close_end(&other);
}

static void a_failed_streams_bytes_reach_no_other(void **state) {
  (void)state;
  end_t one, other;
  open_end(&one, true);
  open_end(&other, true);
  assert_int_equal(dusk__stream_write(&one.stream, "one", 3), 0);
  dusk__stream_fail(&one.stream, UV_EPIPE);
  assert_int_equal(dusk__stream_write(&other.stream, "other", 5), 0);
  assert_int_equal(dusk__stream_flush(&other.stream), 0);
  expect_at_peer(&other, "other", 5);
  expect_nothing_at_peer(&one);
  close_end(&one);
  close_end(&other);
}

static void what_was_gathered_is_forgotten_by_a_close(void **state) {
  (void)state;
  end_t one, other;
  open_end(&one, true);
  open_end(&other, true);
  assert_int_equal(dusk__stream_write(&one.stream, "one", 3), 0);
  dusk__stream_close(&one.stream);
  assert_null(gather.stream);
  assert_int_equal(dusk__stream_write(&other.stream, "other", 5), 0);
  assert_int_equal(dusk__stream_flush(&other.stream), 0);
  expect_at_peer(&other, "other", 5);
  expect_end_at_peer(&one);
  wait_closed(&one);
  close_end(&other);
}

/* -- Queued ---------------------------------------------------------------- */

static void what_the_kernel_does_not_take_follows_in_order(void **state) {
  (void)state;
  for (int tcp = 0; tcp < 2; tcp++) {
    end_t end;
    open_end(&end, tcp);
    enum { PIECE = LARGE_BYTES / 4 };
    for (size_t at = 0; at < LARGE_BYTES; at += PIECE) {
      assert_int_equal(dusk__stream_write(&end.stream, large + at, 100), 0);
      assert_int_equal(
          dusk__stream_write(&end.stream, large + at + 100, PIECE - 100), 0);
    }
    assert_true(end.stream.queued > 0);
    assert_int_equal(end.stream.written, LARGE_BYTES);
    assert_int_equal(end.flushed, 0);
    end.stream.has_moved = false;
    expect_at_peer(&end, large, LARGE_BYTES);
    lone_run_until(&lone, &end.flushed, 1);
    assert_int_equal(end.stream.queued, 0);
    assert_int_equal(end.flushed, 1);
    assert_int_equal(end.flushed_err, 0);
    assert_true(end.stream.has_moved);
    close_end(&end);
  }
}

/* They were copied: the caller's are its own again. */
static void queued_bytes_are_a_copy(void **state) {
  (void)state;
  end_t end;
  open_end(&end, false);
  char *mine = malloc(LARGE_BYTES);
  assert_non_null(mine);
  memcpy(mine, large, LARGE_BYTES);
  assert_int_equal(dusk__stream_write(&end.stream, mine, LARGE_BYTES), 0);
  memset(mine, 'x', LARGE_BYTES);
  free(mine);
  expect_at_peer(&end, large, LARGE_BYTES);
  lone_run_until(&lone, &end.flushed, 1);
  close_end(&end);
}

/* A Unix socket's, whose kernel takes nothing on the quiet. */
static void who_takes_nothing_is_stuck(void **state) {
  (void)state;
  end_t end;
  open_end(&end, false);
  assert_int_equal(dusk__stream_write(&end.stream, large, LARGE_BYTES), 0);
  lone_turn(&lone);
  dusk__stream_note_progress(&end.stream);
  lone_turn(&lone);
  assert_true(dusk__stream_is_stuck(&end.stream));
  expect_at_peer(&end, large, LARGE_BYTES / 2);
  lone_turn(&lone);
  assert_false(dusk__stream_is_stuck(&end.stream));
  close_end(&end);
}

/* Libuv has none of it any more, but the peer has not got it. */
static void who_takes_from_the_kernel_is_not_stuck(void **state) {
  (void)state;
  end_t end;
  open_end(&end, true);
  assert_int_equal(dusk__stream_write(&end.stream, large, LARGE_BYTES), 0);
  dusk__stream_note_progress(&end.stream);
  expect_at_peer(&end, large, LARGE_BYTES);
  assert_false(dusk__stream_is_stuck(&end.stream));
  lone_run_until(&lone, &end.flushed, 1);
  while (dusk__stream_unacknowledged(&end.stream) > 0)
    lone_turn(&lone);
  dusk__stream_note_progress(&end.stream);
  assert_true(dusk__stream_is_stuck(&end.stream));
  close_end(&end);
}

/* -- References ------------------------------------------------------------ */

static int released;

static void release(void *arg) {
  assert_ptr_equal(arg, &released);
  released++;
}

static int write_ref(end_t *end, size_t len, const char *tail) {
  released = 0;
  return dusk__stream_write_ref(&end->stream, large, len, tail, release,
                                &released);
}

/* More than the kernel takes: one write is queued. */
static void fill(end_t *end) {
  assert_int_equal(dusk__stream_write(&end->stream, large, LARGE_BYTES), 0);
  assert_int_equal(end->stream.queued, 1);
}

static void a_reference_taken_at_once_is_released_at_once(void **state) {
  (void)state;
  for (int tcp = 0; tcp < 2; tcp++) {
    end_t end;
    open_end(&end, tcp);
    assert_int_equal(dusk__stream_write(&end.stream, "gathered ", 9), 0);
    assert_int_equal(write_ref(&end, 100, " tail"), 0);
    assert_int_equal(released, 1);
    assert_int_equal(end.stream.queued, 0);
    expect_at_peer(&end, "gathered ", 9);
    expect_at_peer(&end, large, 100);
    expect_at_peer(&end, " tail", 5);
    close_end(&end);
    assert_int_equal(released, 1);
  }
}

static void a_reference_to_nothing_is_released_at_once(void **state) {
  (void)state;
  end_t end;
  open_end(&end, true);
  assert_int_equal(write_ref(&end, 0, ""), 0);
  assert_int_equal(released, 1);
  expect_nothing_at_peer(&end);
  fill(&end);
  assert_int_equal(write_ref(&end, 0, "tail"), 0); /* that is a copy */
  assert_int_equal(released, 1);
  expect_at_peer(&end, large, LARGE_BYTES);
  expect_at_peer(&end, "tail", 4);
  close_end(&end);
  assert_int_equal(released, 1);
}

static void a_queued_reference_is_released_once_it_has_gone(void **state) {
  (void)state;
  for (int tcp = 0; tcp < 2; tcp++) {
    end_t end;
    open_end(&end, tcp);
    assert_int_equal(dusk__stream_write(&end.stream, "gathered ", 9), 0);
    assert_int_equal(write_ref(&end, LARGE_BYTES, " tail"), 0);
    assert_int_equal(end.stream.queued, 2); /* its rest, and the tail */
    lone_turn(&lone);
    assert_int_equal(released, 0);
    expect_at_peer(&end, "gathered ", 9);
    expect_at_peer(&end, large, LARGE_BYTES);
    expect_at_peer(&end, " tail", 5);
    lone_run_until(&lone, &end.flushed, 1);
    assert_int_equal(released, 1);
    close_end(&end);
    assert_int_equal(released, 1);
    assert_int_equal(end.flushed, 1);
  }
}

static void a_reference_behind_a_queue_is_not_copied(void **state) {
  (void)state;
  end_t end;
  open_end(&end, false);
  fill(&end);
  size_t live = alloc_live();
  assert_int_equal(write_ref(&end, 100, ""), 0); /* small as it is */
  assert_int_equal(alloc_live(), live + 1);
  assert_int_equal(released, 0);
  expect_at_peer(&end, large, LARGE_BYTES);
  expect_at_peer(&end, large, 100);
  lone_run_until(&lone, &released, 1);
  close_end(&end);
  assert_int_equal(released, 1);
}

static void a_failed_stream_releases_at_once(void **state) {
  (void)state;
  end_t end;
  open_end(&end, true);
  dusk__stream_fail(&end.stream, UV_EPIPE);
  assert_int_equal(write_ref(&end, 100, "tail"), UV_EPIPE);
  assert_int_equal(released, 1);
  expect_nothing_at_peer(&end);
  close_end(&end);
  assert_int_equal(released, 1);
}

static void a_write_that_fails_releases_at_once(void **state) {
  (void)state;
  end_t end;
  open_end(&end, true);
  peer_resets(&end);
  assert_int_equal(write_ref(&end, 100, "tail"), UV_ECONNRESET);
  assert_int_equal(released, 1);
  close_end(&end);
  assert_int_equal(released, 1);
}

/* Of the gathered bytes, of the reference, and of the tail behind it. */
static void without_memory_it_is_released_once(void **state) {
  (void)state;
  for (size_t n = 1; n <= 3; n++) {
    end_t end;
    open_end(&end, false);
    fill(&end);
    assert_int_equal(dusk__stream_write(&end.stream, "gathered ", 9), 0);
    alloc_fail_at(n);
    assert_int_equal(write_ref(&end, 100, "tail"), UV_ENOMEM);
    assert_true(alloc_has_failed());
    alloc_fail_at(0);
    assert_int_equal(released, n < 3); /* else it is queued */
    assert_int_equal(dusk__stream_err(&end.stream), UV_ENOMEM);
    assert_int_equal(end.stream.queued, n);
    expect_at_peer(&end, large, LARGE_BYTES); /* what was queued still goes */
    lone_run_until(&lone, &end.flushed, 1);
    assert_int_equal(released, 1);
    close_end(&end);
    assert_int_equal(released, 1);
  }
}

static void a_close_releases_what_is_queued(void **state) {
  (void)state;
  for (int reset = 0; reset < 2; reset++) {
    end_t end;
    open_end(&end, true);
    assert_int_equal(write_ref(&end, LARGE_BYTES, " tail"), 0);
    assert_int_equal(released, 0);
    if (reset)
      dusk__stream_close_reset(&end.stream);
    else
      dusk__stream_close(&end.stream);
    assert_int_equal(released, 0); /* not inside the call */
    wait_closed(&end);
    assert_int_equal(released, 1);
    assert_int_equal(end.flushed, 0); /* nobody is told any more */
  }
}

static void a_reset_releases_what_is_queued(void **state) {
  (void)state;
  end_t end;
  open_end(&end, true);
  assert_int_equal(write_ref(&end, LARGE_BYTES, ""), 0);
  peer_resets(&end);
  lone_run_until(&lone, &end.flushed, 1);
  assert_int_equal(released, 1);
  assert_true(end.flushed_err < 0);
  assert_int_equal(dusk__stream_err(&end.stream), end.flushed_err);
  close_end(&end);
  assert_int_equal(released, 1);
}

/* -- Failures -------------------------------------------------------------- */

static void the_first_error_stays_and_closes_nothing(void **state) {
  (void)state;
  end_t end;
  open_end(&end, true);
  peer_resets(&end);
  assert_int_equal(dusk__stream_write(&end.stream, "hello", 5), 0);
  assert_int_equal(dusk__stream_flush(&end.stream), UV_ECONNRESET);
  dusk__stream_fail(&end.stream, UV_ENOMEM); /* too late */
  assert_int_equal(dusk__stream_err(&end.stream), UV_ECONNRESET);
  assert_null(dusk__stream_reserve(&end.stream, 1));
  assert_int_equal(dusk__stream_write(&end.stream, "x", 1), UV_ECONNRESET);
  assert_int_equal(dusk__stream_write(&end.stream, large, LARGE_BYTES),
                   UV_ECONNRESET);
  assert_int_equal(dusk__stream_flush(&end.stream), UV_ECONNRESET);
  lone_turn(&lone);
  assert_int_equal(end.closed, 0);
  assert_int_equal(end.flushed, 0);
  assert_int_equal(closing, 0);
  close_end(&end);
}

static void a_flush_without_memory_is_told(void **state) {
  (void)state;
  end_t end;
  open_end(&end, false);
  fill(&end);
  assert_int_equal(dusk__stream_write(&end.stream, "hello", 5), 0);
  alloc_fail_at(1);
  assert_int_equal(dusk__stream_flush(&end.stream), UV_ENOMEM);
  alloc_fail_at(0);
  assert_int_equal(dusk__stream_flush(&end.stream), UV_ENOMEM);
  close_end(&end);
}

/* -- The ends of a stream -------------------------------------------------- */

static void a_half_closed_stream_still_reads(void **state) {
  (void)state;
  for (int tcp = 0; tcp < 2; tcp++) {
    end_t end;
    open_end(&end, tcp);
    assert_int_equal(dusk__stream_write(&end.stream, "bye", 3), 0);
    assert_int_equal(dusk__stream_flush(&end.stream), 0);
    assert_int_equal(dusk__stream_half_close(&end.stream), 0);
    expect_at_peer(&end, "bye", 3);
    expect_end_at_peer(&end);
    peer_sends(&end, "late");
    dusk__stream_read(&end.stream, true);
    lone_run_until(&lone, &end.input_len, 4);
    assert_int_equal(end.ended, 0);
    close(end.peer);
    end.peer = -1;
    lone_run_until(&lone, &end.ended, 1);
    assert_int_equal(end.ended_err, UV_EOF);
    close_end(&end);
  }
}

static void nobody_can_be_told_after_a_reset(void **state) {
  (void)state;
  end_t end;
  open_end(&end, true);
  peer_resets(&end);
  assert_int_equal(dusk__stream_half_close(&end.stream), UV_ENOTCONN);
  close_end(&end);
}

static void a_close_can_be_a_reset(void **state) {
  (void)state;
  end_t end;
  char byte;
  open_end(&end, true);
  dusk__stream_close_reset(&end.stream);
  lone_run_until(&lone, &end.closed, 1);
  assert_int_equal(recv(end.peer, &byte, 1, 0), -1);
  assert_int_equal(errno, ECONNRESET);
  wait_closed(&end);
}

/* A Unix socket has no reset. */
static void or_else_it_is_a_close(void **state) {
  (void)state;
  end_t end;
  open_end(&end, false);
  dusk__stream_close_reset(&end.stream);
  expect_end_at_peer(&end);
  wait_closed(&end);
}

static void a_duplicate_outlives_the_stream(void **state) {
  (void)state;
  end_t end;
  int fd = -1;
  open_end(&end, true);
  assert_int_equal(dusk__stream_dup(&end.stream, &fd), 0);
  assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
  dusk__stream_close(&end.stream);
  lone_run_until(&lone, &end.closed, 1);
  assert_int_equal(send(fd, "hello", 5, 0), 5);
  expect_at_peer(&end, "hello", 5);
  close(fd);
  wait_closed(&end);
}

/* What libuv does not take is closed, and the stream is closed as any. */
static void an_open_that_fails_closes_the_descriptor(void **state) {
  (void)state;
  end_t end = {.peer = -1};
  int fd = open("/dev/null", O_PATH);
  assert_true(fd >= 0);
  end.stream.fd = fd;
  assert_int_equal(dusk__stream_open(&end.stream, &lone.worker), UV_EBADF);
  opened++; /* its end is told, once */
  assert_int_equal(closing, 1);
  assert_int_equal(end.stream.fd, -1);
  assert_int_equal(fcntl(fd, F_GETFD), -1);
  close_end(&end);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* -- A mate ---------------------------------------------------------------- */

typedef struct pair {
  end_t end;
  dusk__mate_t mate;
  char taken[64];
  size_t taken_len;
  int take_err;
  int wanted;
  int left;
  int left_err;
} pair_t;

static pair_t pair;

static int take(dusk__mate_t *mate, const uv_buf_t bufs[], unsigned count) {
  assert_ptr_equal(mate, &pair.mate);
  size_t before = pair.taken_len;
  if (pair.take_err) return pair.take_err;
  for (unsigned i = 0; i < count; i++) {
    assert_true(bufs[i].len <= sizeof(pair.taken) - pair.taken_len);
    memcpy(pair.taken + pair.taken_len, bufs[i].base, bufs[i].len);
    pair.taken_len += bufs[i].len;
  }
  return (int)(pair.taken_len - before);
}

static void on_wanted(dusk__mate_t *mate) {
  assert_ptr_equal(mate, &pair.mate);
  pair.wanted++;
}

static void on_left(dusk__mate_t *mate, int err) {
  assert_ptr_equal(mate, &pair.mate);
  pair.left++;
  pair.left_err = err;
}

static dusk__stream_t *open_pair(void) {
  dusk__stream_t *stream = &pair.end.stream;
  memset(&pair, 0, sizeof(pair));
  pair.mate =
      (dusk__mate_t){.take = take, .wanted = on_wanted, .left = on_left};
  pair.end.peer = -1;
  stream->fd = -1;
  stream->mate = &pair.mate;
  assert_int_equal(dusk__stream_open(stream, &lone.worker), 0);
  return stream;
}

static void a_mate_takes_what_is_written_in_order(void **state) {
  (void)state;
  dusk__stream_t *stream = open_pair();
  assert_int_equal(dusk__stream_write(stream, "ab", 2), 0);
  assert_int_equal(pair.taken_len, 0);
  assert_int_equal(dusk__stream_flush(stream), 0);
  assert_int_equal(dusk__stream_write(stream, "cd", 2), 0);
  assert_int_equal(dusk__stream_write_ref(stream, "ef", 2, "gh", NULL, NULL),
                   0);
  assert_int_equal(pair.taken_len, 8);
  assert_memory_equal(pair.taken, "abcdefgh", 8);
  close_end(&pair.end);
  assert_int_equal(pair.left, 1);
  assert_int_equal(pair.left_err, UV_EOF);
}

static void a_mate_that_takes_nothing_is_a_failure(void **state) {
  (void)state;
  dusk__stream_t *stream = open_pair();
  pair.take_err = UV_EPIPE;
  assert_int_equal(dusk__stream_write(stream, "ab", 2), 0);
  assert_int_equal(dusk__stream_flush(stream), UV_EPIPE);
  assert_int_equal(dusk__stream_err(stream), UV_EPIPE);
  dusk__stream_close_reset(stream);
  assert_int_equal(pair.left_err, UV_ECONNRESET);
  wait_closed(&pair.end);
}

static void a_mate_is_read_only_when_it_is_wanted(void **state) {
  (void)state;
  dusk__stream_t *stream = open_pair();
  assert_int_equal(dusk__stream_feed(stream, "ab", 2), 0);
  assert_false(dusk__stream_feed_end(stream));
  dusk__stream_read(stream, true);
  dusk__stream_read(stream, true);
  assert_int_equal(pair.wanted, 1);
  assert_int_equal(dusk__stream_feed(stream, "ab", 2), 2);
  assert_int_equal(dusk__stream_feed(stream, large, LARGE_BYTES), 254);
  assert_memory_equal(pair.end.input, "ab", 2);
  assert_int_equal(pair.end.reads, 2);
  dusk__stream_read(stream, false);
  assert_int_equal(dusk__stream_feed(stream, "c", 1), 0);
  dusk__stream_read(stream, true);
  assert_int_equal(pair.wanted, 2);
  assert_true(dusk__stream_feed_end(stream));
  assert_int_equal(pair.end.ended, 1);
  assert_int_equal(pair.end.ended_err, UV_EOF);
  assert_true(stream->has_ended);
  close_end(&pair.end);
}

static void a_mate_is_told_that_there_is_no_room(void **state) {
  (void)state;
  dusk__stream_t *stream = open_pair();
  pair.end.has_no_room = true;
  dusk__stream_read(stream, true);
  assert_int_equal(dusk__stream_feed(stream, "ab", 2), 0);
  assert_int_equal(pair.end.ended_err, UV_ENOBUFS);
  assert_false(stream->has_ended);
  close_end(&pair.end);
}

/* What is asked of a socket has the answers of none. */
static void a_mate_is_no_socket(void **state) {
  (void)state;
  dusk__address_t address;
  int fd;
  dusk__stream_t *stream = open_pair();
  assert_int_equal(dusk__stream_unread(stream), 0);
  assert_false(dusk__stream_pending(stream));
  assert_int_equal(dusk__stream_unacknowledged(stream), 0);
  assert_int_equal(dusk__stream_round_trip_ms(stream), 0);
  assert_int_equal(dusk__stream_local(stream, &address), UV_EBADF);
  assert_int_equal(dusk__stream_dup(stream, &fd), UV_EBADF);
  assert_int_equal(dusk__stream_half_close(stream), UV_EBADF);
  close_end(&pair.end);
}

int main(void) {
  signal(SIGPIPE, SIG_IGN); /* a server does it */
  const struct CMUnitTest tests[] = {
      TEST(bytes_are_read_where_there_is_room),
      TEST(what_is_not_read_stays_in_the_socket),
      TEST(without_room_the_bytes_are_not_lost),
      TEST(a_reset_is_an_end),
      TEST(line_ends_are_not_pending),
      TEST(many_line_ends_may_hide_a_request),
      TEST(a_peer_that_left_has_nothing_pending),
      TEST(what_is_gathered_goes_with_the_flush),
      TEST(a_full_buffer_is_flushed_for_more),
      TEST(another_streams_bytes_are_flushed_first),
      TEST(a_failed_streams_bytes_reach_no_other),
      TEST(what_was_gathered_is_forgotten_by_a_close),
      TEST(what_the_kernel_does_not_take_follows_in_order),
      TEST(queued_bytes_are_a_copy),
      TEST(who_takes_nothing_is_stuck),
      TEST(who_takes_from_the_kernel_is_not_stuck),
      TEST(a_reference_taken_at_once_is_released_at_once),
      TEST(a_reference_to_nothing_is_released_at_once),
      TEST(a_queued_reference_is_released_once_it_has_gone),
      TEST(a_reference_behind_a_queue_is_not_copied),
      TEST(a_failed_stream_releases_at_once),
      TEST(a_write_that_fails_releases_at_once),
      TEST(without_memory_it_is_released_once),
      TEST(a_close_releases_what_is_queued),
      TEST(a_reset_releases_what_is_queued),
      TEST(the_first_error_stays_and_closes_nothing),
      TEST(a_flush_without_memory_is_told),
      TEST(a_half_closed_stream_still_reads),
      TEST(nobody_can_be_told_after_a_reset),
      TEST(a_close_can_be_a_reset),
      TEST(or_else_it_is_a_close),
      TEST(a_duplicate_outlives_the_stream),
      TEST(an_open_that_fails_closes_the_descriptor),
      TEST(a_mate_takes_what_is_written_in_order),
      TEST(a_mate_that_takes_nothing_is_a_failure),
      TEST(a_mate_is_read_only_when_it_is_wanted),
      TEST(a_mate_is_told_that_there_is_no_room),
      TEST(a_mate_is_no_socket),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
