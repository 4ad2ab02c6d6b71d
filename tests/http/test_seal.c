/* The listeners' end when the kernel gives less than usual. Needs the linker's
 * --wrap for accept4. */
#include "house.h"
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
  serve(lb, (dusk_server_config_t){.on_error = on_error});
  turn(lb, 1); /* what libuv opens late is open */
}

static dusk_report_t stop_without_bound(loopback_t *lb) {
  begin_stop(lb, lb->root);
  return end_stop(lb);
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

/* And told, once: SRV-319, SRV-320. */
static void errors_that_repeat_are_waited_out(void **state) {
  loopback_t *lb = *state;
  static const int errors[] = {EPERM, ECONNABORTED, EPROTO, EMFILE};
  for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
    open_plain(lb);
    accept_errno = errors[i];
    int client = connect_client(lb);
    say(client, GET);
    loopback_run_for(lb, 100);
    assert_in_range(accepts, 1, 100); /* 16 at once, and a few times */
    assert_int_equal(errors_told, 1);
    accept_errno = 0;
    hear(lb, client, "hello\n");
    end_all(lb);
  }
}

static void the_last_descriptor_is_no_error(void **state) {
  loopback_t *lb = *state;
  open_plain(lb);
  accepts_left = 1;
  ask(lb, connect_client(lb), GET);
  assert_int_equal(errors_told, 0);
  connect_client(lb); /* who waits now */
  AWAIT(lb, errors_told != 0);
  accepts_left = -1;
  accept_errno = 0;
}

static void srv_020_who_can_never_be_accepted_is_told(void **state) {
  loopback_t *lb = *state;
  open_plain(lb);
  accept_errno = EPERM;
  connect_client(lb);
  dusk_report_t report = stop_without_bound(lb);
  assert_int_equal(report.status, UV_EPERM);
  assert_int_equal(lb->served_err, DUSK_ESERVERCLOSED);
  assert_int_equal(report.queue_left, 1);
  assert_true(errors_told > 0);
}

static void who_is_reset_in_a_queue_is_in_the_status(void **state) {
  loopback_t *lb = *state;
  char text[1024];
  open_plain(lb);
  accept_errno = EMFILE;
  connect_client(lb);
  dusk_report_t report = stop(lb, 300);
  assert_int_equal(report.status, UV_ETIMEDOUT);
  assert_int_equal(report.queue_left, 1);
  dusk_report_text(&report, text, sizeof(text));
  assert_ptr_equal(strstr(text, "cut after"), text);
}

static dusk__listener_t *listener_of(loopback_t *lb) {
  return &dusk__acceptor_next(&lb->server->acceptor, NULL)->listener;
}

static void a_passing_shortage_holds_nobody_in_the_queue(void **state) {
  loopback_t *lb = *state;
  open_plain(lb);
  drop_acks(listener_of(lb)->fd);
  connect_client(lb); /* for longer than the bound */
  allow_acks(listener_of(lb)->fd);
  int client = connect_client(lb);
  say(client, GET);
  accept_errno = EMFILE;
  begin_stop(lb, lb->root);
  loopback_run_for(lb, 30);
  accept_errno = 0;
  uint64_t began = uv_hrtime();
  hear(lb, client, "hello\n");
  assert_true(uv_hrtime() - began < 1000 * 1000000ull); /* not at the seal */
  end_stop(lb);
}

static void srv_022_a_stop_does_not_wait_for_the_next_try(void **state) {
  loopback_t *lb = *state;
  open_plain(lb);
  accept_errno = EMFILE;
  int client = connect_client(lb);
  say(client, GET);
  dusk__source_t *source = dusk__acceptor_next(&lb->server->acceptor, NULL);
  AWAIT(lb, source->retry_ms >= 640); /* 320 ms are waited for */
  uint64_t due_ms = uv_hrtime() / 1000000 + uv_timer_get_due_in(&source->retry);
  accept_errno = 0;
  begin_stop(lb, lb->root);
  hear(lb, client, "hello\n");
  assert_true(uv_hrtime() / 1000000 < due_ms);
  end_stop(lb);
}

static void a_cut_tells_of_handshakes_half_way(void **state) {
  loopback_t *lb = *state;
  open_plain(lb);
  drop_acks(listener_of(lb)->fd);
  connect_client(lb);
  dusk_server_close(lb->server);
  assert_int_equal(loopback_report(lb).handshakes_left, 1);
}

/* A TCP listener's, and a Unix socket's beside it. */
static void an_empty_queue_needs_no_descriptor(void **state) {
  loopback_t *lb = *state;
  for (int unix_too = 0; unix_too < 2; unix_too++) {
    char path[64];
    open_plain(lb);
    snprintf(path, sizeof(path), "unix:/tmp/dusk-seal-%d", (int)getpid());
    if (unix_too)
      assert_int_equal(dusk_server_serve(lb->server, path, NULL, NULL), 0);
    turn(lb, 1);
    struct rlimit before = use_up_descriptors();
    dusk_report_t report = stop_without_bound(lb);
    assert_int_equal(report.status, 0);
    assert_true(report.drain_ms < 1000);
    setrlimit(RLIMIT_NOFILE, &before);
    end_all(lb);
  }
}

static void the_queue_is_served_with_one_descriptor(void **state) {
  loopback_t *lb = *state;
  open_plain(lb);
  enum { CLIENTS = 3 };
  int clients[CLIENTS];
  for (int i = 0; i < CLIENTS; i++) {
    clients[i] = connect_client(lb);
    say(clients[i], GET);
  }
  struct rlimit before = use_up_descriptors();
  dusk_report_t report = stop_without_bound(lb);
  assert_int_equal(report.status, 0);
  assert_int_equal(report.queue_sealed, CLIENTS);
  assert_int_equal(report.requests_answered, CLIENTS);
  for (int i = 0; i < CLIENTS; i++)
    assert_has(hear(lb, clients[i], NULL), "hello\n");
  setrlimit(RLIMIT_NOFILE, &before);
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
  say(client, GET);
  *ret_client = welcome(lb, client);
  return kept;
}

static void what_was_handed_over_is_left_to_its_owner(void **state) {
  loopback_t *lb = *state;
  open_plain(lb);
  int client;
  int kept = hand_over(lb, "", &client);
  dusk_report_t report = stop_without_bound(lb);
  assert_int_equal(report.queue_left, 1);
  assert_int_equal(report.queue_sealed, 0);
  assert_int_equal(report.status, 0);
  int peer = accept(kept, NULL, NULL);
  assert_true(peer >= 0);
  close(peer);
  close(kept);
}

static void what_was_handed_over_is_sealed_when_asked(void **state) {
  loopback_t *lb = *state;
  open_plain(lb);
  int client;
  close(hand_over(lb, ":seal", &client));
  dusk_report_t report = stop_without_bound(lb);
  assert_int_equal(report.queue_left, 0);
  assert_int_equal(report.queue_sealed, 1);
  assert_has(hear(lb, client, NULL), "hello\n");
}

static void only_seal_may_be_asked_for(void **state) {
  loopback_t *lb = *state;
  open_plain(lb);
  assert_int_equal(dusk_server_serve(lb->server, "fd:0:leave", NULL, NULL),
                   UV_EINVAL);
  assert_int_equal(dusk_server_serve(lb->server, "fd:0x", NULL, NULL),
                   UV_EINVAL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(errors_that_repeat_are_waited_out),
      house_test(the_last_descriptor_is_no_error),
      house_test(srv_020_who_can_never_be_accepted_is_told),
      house_test(who_is_reset_in_a_queue_is_in_the_status),
      house_test(a_passing_shortage_holds_nobody_in_the_queue),
      house_test(srv_022_a_stop_does_not_wait_for_the_next_try),
      house_test(a_cut_tells_of_handshakes_half_way),
      house_test(an_empty_queue_needs_no_descriptor),
      house_test(the_queue_is_served_with_one_descriptor),
      house_test(what_was_handed_over_is_left_to_its_owner),
      house_test(what_was_handed_over_is_sealed_when_asked),
      house_test(only_seal_may_be_asked_for),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
