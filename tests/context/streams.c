/* streams.c: see streams.h. */
#include "streams.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void line_open(line_t *line, fixture_t *f) {
  int fds[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  assert_int_equal(uv_pipe_init(&f->loop, &line->pipe, 0), 0);
  assert_int_equal(uv_pipe_open(&line->pipe, fds[0]), 0);
  line->root = f->root;
  line->peer = fds[1];
}

void line_open_tcp(line_t *line, fixture_t *f) {
  struct sockaddr_in addr;
  socklen_t len = sizeof(addr);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &addr), 0);
  assert_int_equal(bind(listener, (struct sockaddr *)&addr, len), 0);
  assert_int_equal(listen(listener, 1), 0);
  assert_int_equal(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
  assert_int_equal(connect(fd, (struct sockaddr *)&addr, len), 0);
  line->peer = accept(listener, NULL, NULL);
  assert_true(line->peer >= 0);
  close(listener);
  assert_int_equal(uv_tcp_init(&f->loop, &line->tcp), 0);
  assert_int_equal(uv_tcp_open(&line->tcp, fd), 0);
  line->root = f->root;
}

void line_close(line_t *line) {
  uv_loop_t *loop = line->stream.loop;
  if (!uv_is_closing((uv_handle_t *)&line->stream))
    uv_close((uv_handle_t *)&line->stream, NULL);
  run(loop);
  if (line->peer >= 0) close(line->peer);
}

void line_say(line_t *line, const char *text) {
  ssize_t len = (ssize_t)strlen(text);
  assert_int_equal(send(line->peer, text, (size_t)len, MSG_NOSIGNAL), len);
}

void line_hear(line_t *line, const char *text) {
  char got[64];
  size_t len = strlen(text);
  assert_true(len <= sizeof(got));
  assert_int_equal(recv(line->peer, got, len, MSG_WAITALL), len);
  assert_memory_equal(got, text, len);
}

void line_reset(line_t *line) {
  struct linger at_once = {.l_onoff = 1, .l_linger = 0};
  assert_int_equal(
      setsockopt(line->peer, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)),
      0);
  close(line->peer);
  line->peer = -1;
}

/* -- Descriptors ---------------------------------------------------------- */

static int fds_before;

int open_fds(void) {
  int count = 0;
  for (int fd = 0; fd < 256; fd++)
    count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

int lines_open(void **state) {
  fds_before = open_fds();
  return fixture_open(state);
}

int lines_close(void **state) {
  fixture_close(state);
  assert_int_equal(open_fds(), fds_before);
  return 0;
}

int lines_open_once(void **state) {
  fixture_open(state);
  return fixture_close(state);
}
