/* The listeners' end when the kernel gives less than usual. Needs the linker's
 * --wrap for accept4. */
#include "loopback.h"
#include "lanes.h"

#include "drop_acks.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"

static int accept_errno; /* 0: as the kernel likes */
static int accepts_left; /* after so many EMFILE; negative: never */
static int accepts;
static int errors_told;

int __real_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);

int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags) {
  accepts++;
  if (accepts_left == 0) accept_errno = EMFILE;
  if (accepts_left > 0) accepts_left--;
  if (accept_errno == 0) return __real_accept4(fd, addr, len, flags);
  errno = accept_errno;
  return -1;
}

static void answer(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  (void)arg;
  dusk_response_end(res, "hello\n", 6);
}

static void on_error(dusk_server_t *server, int err, const char *text,
                     void *arg) {
  (void)server;
  (void)arg;
  assert_true(err < 0);
  assert_non_null(text);
  errors_told++;
}

static void open_plain(loopback_t *lb) {
  accept_errno = accepts = errors_told = 0;
  accepts_left = -1;
  loopback_open(
      lb, &(dusk_server_config_t){.handler = answer, .on_error = on_error});
  uv_run(&lb->loop, UV_RUN_NOWAIT); /* what libuv opens late is open */
}

static void on_shutdown(dusk_server_t *server, int status, void *arg) {
  (void)server;
  ((loopback_t *)arg)->shutdown_status = status;
}

static dusk_report_t stop_within(loopback_t *lb, dusk_context_t *bound) {
  assert_int_equal(dusk_server_shutdown(lb->server, bound, on_shutdown, lb), 0);
  while (lb->shutdown_status == 1)
    uv_run(&lb->loop, UV_RUN_ONCE);
  dusk_report_t report = loopback_report(lb);
  loopback_assert_adds_up(&report);
  return report;
}

/* Without a bound. */
static dusk_report_t stop(loopback_t *lb) {
  return stop_within(lb, lb->root);
}

static dusk_report_t stop_within_ms(loopback_t *lb, uint64_t ms) {
  dusk_context_t *bound;
  assert_int_equal(dusk_context_with_timeout(lb->root, ms, NULL, &bound), 0);
  dusk_report_t report = stop_within(lb, bound);
  dusk_context_unref(bound);
  return report;
}

/* Lets no descriptor be opened any more; gives the limit of before. */
static struct rlimit use_up_descriptors(void) {
  struct rlimit before;
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
  struct rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
  int lowest = open("/dev/null", O_RDONLY);
  close(lowest);
  none.rlim_cur = (rlim_t)lowest;
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
  return before;
}

static void errors_that_repeat_are_waited_out(void **state) {
  (void)state;
  static const int errors[] = {EPERM, ECONNABORTED, EPROTO, EMFILE};
  for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
    loopback_t lb;
    char buf[512];
    open_plain(&lb);
    accept_errno = errors[i];
    int client = loopback_connect(&lb);
    loopback_send(client, GET);
    loopback_run_for(&lb, 100);
    assert_in_range(accepts, 1, 100); /* 16 at once, and a few times */
    assert_int_equal(errors_told, 1);
    accept_errno = 0;
    loopback_receive(&lb, client, buf, sizeof(buf), "hello\n");
    assert_non_null(strstr(buf, "hello\n"));
    close(client);
    loopback_close(&lb, 5000);
  }
}

static void the_last_descriptor_is_no_error(void **state) {
  (void)state;
  loopback_t lb;
  char buf[512];
  open_plain(&lb);
  accepts_left = 1;
  int client = loopback_connect(&lb);
  loopback_send(client, GET);
  loopback_receive(&lb, client, buf, sizeof(buf), "hello\n");
  assert_int_equal(errors_told, 0);
  int other = loopback_connect(&lb); /* who waits now */
  while (errors_told == 0)
    uv_run(&lb.loop, UV_RUN_ONCE);
  accepts_left = -1;
  accept_errno = 0;
  close(client);
  close(other);
  loopback_close(&lb, 5000);
}

static void who_can_never_be_accepted_does_not_hold_the_stop(void **state) {
  (void)state;
  loopback_t lb;
  open_plain(&lb);
  accept_errno = EPERM;
  int client = loopback_connect(&lb);
  dusk_report_t report = stop(&lb);
  assert_int_equal(report.status, UV_EPERM);
  assert_int_equal(report.queue_left, 1);
  assert_true(errors_told > 0);
  close(client);
  loopback_finish(&lb);
}

static void who_is_reset_in_a_queue_is_in_the_status(void **state) {
  (void)state;
  loopback_t lb;
  char text[1024];
  open_plain(&lb);
  accept_errno = EMFILE;
  int client = loopback_connect(&lb);
  dusk_report_t report = stop_within_ms(&lb, 300);
  assert_int_equal(report.status, UV_ETIMEDOUT);
  assert_int_equal(report.queue_left, 1);
  dusk_report_text(&report, text, sizeof(text));
  assert_ptr_equal(strstr(text, "cut after"), text);
  close(client);
  loopback_finish(&lb);
}

static dusk__listener_t *listener_of(loopback_t *lb) {
  return &dusk__acceptor_next(&lb->server->acceptor, NULL)->listener;
}

static void a_passing_shortage_holds_nobody_in_the_queue(void **state) {
  (void)state;
  loopback_t lb;
  open_plain(&lb);
  drop_acks(listener_of(&lb)->fd);
  int stuck = loopback_connect(&lb); /* for longer than the bound */
  allow_acks(listener_of(&lb)->fd);
  int client = loopback_connect(&lb);
  loopback_send(client, GET);
  accept_errno = EMFILE;
  assert_int_equal(dusk_server_shutdown(lb.server, lb.root, on_shutdown, &lb),
                   0);
  loopback_run_for(&lb, 30);
  accept_errno = 0;
  char buf[512];
  uint64_t began = uv_hrtime();
  loopback_receive(&lb, client, buf, sizeof(buf), "hello\n");
  assert_non_null(strstr(buf, "hello\n"));
  assert_true(uv_hrtime() - began < 1000 * 1000000ull); /* not at the seal */
  close(stuck);
  close(client);
  while (lb.shutdown_status == 1)
    uv_run(&lb.loop, UV_RUN_ONCE);
  loopback_finish(&lb);
}

static void a_cut_tells_of_handshakes_half_way(void **state) {
  (void)state;
  loopback_t lb;
  open_plain(&lb);
  drop_acks(listener_of(&lb)->fd);
  int client = loopback_connect(&lb);
  dusk_server_close(lb.server);
  dusk_report_t report = loopback_report(&lb);
  assert_int_equal(report.handshakes_left, 1);
  close(client);
  loopback_finish(&lb);
}

/* A TCP listener's, and a Unix socket's beside it. */
static void an_empty_queue_needs_no_descriptor(void **state) {
  (void)state;
  for (int unix_too = 0; unix_too < 2; unix_too++) {
    loopback_t lb;
    char path[64];
    open_plain(&lb);
    snprintf(path, sizeof(path), "unix:/tmp/dusk-seal-%d", (int)getpid());
    if (unix_too)
      assert_int_equal(dusk_server_serve(lb.server, path, NULL, NULL), 0);
    uv_run(&lb.loop, UV_RUN_NOWAIT);
    struct rlimit before = use_up_descriptors();
    dusk_report_t report = stop(&lb);
    assert_int_equal(report.status, 0);
    assert_true(report.drain_ms < 1000);
    setrlimit(RLIMIT_NOFILE, &before);
    loopback_finish(&lb);
  }
}

static void the_queue_is_served_with_one_descriptor(void **state) {
  (void)state;
  loopback_t lb;
  char buf[512];
  open_plain(&lb);
  enum { CLIENTS = 3 };
  int clients[CLIENTS];
  for (int i = 0; i < CLIENTS; i++) {
    clients[i] = loopback_connect(&lb);
    loopback_send(clients[i], GET);
  }
  struct rlimit before = use_up_descriptors();
  dusk_report_t report = stop(&lb);
  assert_int_equal(report.status, 0);
  assert_int_equal(report.queue_sealed, CLIENTS);
  assert_int_equal(report.requests_answered, CLIENTS);
  for (int i = 0; i < CLIENTS; i++) {
    loopback_receive(&lb, clients[i], buf, sizeof(buf), NULL);
    assert_non_null(strstr(buf, "hello\n"));
    close(clients[i]);
  }
  setrlimit(RLIMIT_NOFILE, &before);
  loopback_finish(&lb);
}

/* A listening socket with one client in its queue, as a second listener. */
static int hand_over(loopback_t *lb, const char *suffix, int *ret_client) {
  struct sockaddr_in addr = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof(addr);
  char text[32];
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  int client = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
  assert_int_equal(listen(fd, 8), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
  int kept = dup(fd); /* the other owner's */
  snprintf(text, sizeof(text), "fd:%d%s", fd, suffix);
  assert_int_equal(dusk_server_serve(lb->server, text, NULL, NULL), 0);
  assert_int_equal(connect(client, (struct sockaddr *)&addr, len), 0);
  assert_int_equal(fcntl(client, F_SETFL, O_NONBLOCK), 0);
  loopback_send(client, GET);
  *ret_client = client;
  return kept;
}

static void what_was_handed_over_is_left_to_its_owner(void **state) {
  (void)state;
  loopback_t lb;
  open_plain(&lb);
  int client;
  int kept = hand_over(&lb, "", &client);
  dusk_report_t report = stop(&lb);
  assert_int_equal(report.queue_left, 1);
  assert_int_equal(report.queue_sealed, 0);
  assert_int_equal(report.status, 0);
  int peer = accept(kept, NULL, NULL);
  assert_true(peer >= 0);
  close(peer);
  close(kept);
  close(client);
  loopback_finish(&lb);
}

static void what_was_handed_over_is_sealed_when_asked(void **state) {
  (void)state;
  loopback_t lb;
  char buf[512];
  open_plain(&lb);
  int client;
  close(hand_over(&lb, ":seal", &client));
  dusk_report_t report = stop(&lb);
  assert_int_equal(report.queue_left, 0);
  assert_int_equal(report.queue_sealed, 1);
  loopback_receive(&lb, client, buf, sizeof(buf), NULL);
  assert_non_null(strstr(buf, "hello\n"));
  close(client);
  loopback_finish(&lb);
}

static void only_seal_may_be_asked_for(void **state) {
  (void)state;
  loopback_t lb;
  open_plain(&lb);
  assert_int_equal(dusk_server_serve(lb.server, "fd:0:leave", NULL, NULL),
                   UV_EINVAL);
  assert_int_equal(dusk_server_serve(lb.server, "fd:0x", NULL, NULL),
                   UV_EINVAL);
  loopback_close(&lb, 5000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(errors_that_repeat_are_waited_out),
      cmocka_unit_test(the_last_descriptor_is_no_error),
      cmocka_unit_test(who_can_never_be_accepted_does_not_hold_the_stop),
      cmocka_unit_test(who_is_reset_in_a_queue_is_in_the_status),
      cmocka_unit_test(a_passing_shortage_holds_nobody_in_the_queue),
      cmocka_unit_test(a_cut_tells_of_handshakes_half_way),
      cmocka_unit_test(an_empty_queue_needs_no_descriptor),
      cmocka_unit_test(the_queue_is_served_with_one_descriptor),
      cmocka_unit_test(what_was_handed_over_is_left_to_its_owner),
      cmocka_unit_test(what_was_handed_over_is_sealed_when_asked),
      cmocka_unit_test(only_seal_may_be_asked_for),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
