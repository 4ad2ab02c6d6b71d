/* What the drain asks of the kernel. The portable twin is built with other
 * names, so that both are tested here. */
#include "sys.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "drop_acks.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include <stdbool.h>

int portable_refuse_handshakes(int fd);
int portable_open_diag(void);
int portable_half_open(int diag, int fd);
int portable_half_open_slowly(int fd);
int portable_queued(int fd);
uint64_t portable_round_trip_ms(int fd);
size_t portable_unacknowledged(int fd);

static int listening(int family, struct sockaddr_storage *addr,
                     socklen_t *len) {
  int fd = socket(family, SOCK_STREAM, 0);
  assert_true(fd >= 0);
  *addr = (struct sockaddr_storage){.ss_family = (sa_family_t)family};
  if (family == AF_INET) {
    ((struct sockaddr_in *)addr)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *len = sizeof(struct sockaddr_in);
  } else {
    ((struct sockaddr_in6 *)addr)->sin6_addr = in6addr_any;
    *len = sizeof(struct sockaddr_in6);
  }
  assert_int_equal(bind(fd, (struct sockaddr *)addr, *len), 0);
  assert_int_equal(listen(fd, 16), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)addr, len), 0);
  return fd;
}

static int connecting(const struct sockaddr_storage *addr, socklen_t len) {
  int fd = socket(addr->ss_family, SOCK_STREAM, 0);
  assert_true(fd >= 0);
  assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
  int err = connect(fd, (const struct sockaddr *)addr, len);
  assert_true(err == 0 || errno == EINPROGRESS);
  return fd;
}

/* Whether the connect has come to an end within 100 ms. */
static bool is_connected(int fd) {
  struct pollfd wait = {.fd = fd, .events = POLLOUT};
  return poll(&wait, 1, 100) == 1 && !(wait.revents & (POLLERR | POLLHUP));
}

/* By both means. */
static int half_open(int fd) {
  int diag = dusk__sys_open_diag();
  assert_true(diag >= 0);
  int count = dusk__sys_half_open(diag, fd);
  assert_int_equal(dusk__sys_half_open(diag, fd), count); /* again */
  close(diag);
  assert_int_equal(dusk__sys_half_open_slowly(fd), count);
  return count;
}

static void check_refusal(int family) {
  struct sockaddr_storage addr;
  socklen_t len;
  int server = listening(family, &addr, &len);
  int before = connecting(&addr, len);
  assert_true(is_connected(before));
  assert_int_equal(dusk__sys_refuse_handshakes(server), 0);
  int after = connecting(&addr, len);
  assert_false(is_connected(after));
  /* What was let in before is still there, and goes on. */
  int peer = accept(server, NULL, NULL);
  assert_true(peer >= 0);
  assert_int_equal(send(before, "x", 1, 0), 1);
  char byte;
  assert_int_equal(recv(peer, &byte, 1, 0), 1);
  assert_int_equal(half_open(server), 0);
  close(peer);
  close(after);
  close(before);
  close(server);
}

static void refuses_fresh_handshakes_only(void **state) {
  (void)state;
  check_refusal(AF_INET);
}

static void refuses_on_ipv6_sockets(void **state) {
  (void)state;
  check_refusal(AF_INET6);
}

static void check_half_open(int family, bool by_ipv4) {
  struct sockaddr_storage addr;
  socklen_t len;
  int server = listening(family, &addr, &len);
  assert_int_equal(half_open(server), 0);
  drop_acks(server);
  if (by_ipv4) {
    in_port_t port = ((struct sockaddr_in *)&addr)->sin_port;
    *(struct sockaddr_in *)&addr =
        (struct sockaddr_in){.sin_family = AF_INET,
                             .sin_port = port,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    len = sizeof(struct sockaddr_in);
  }
  int client = connecting(&addr, len);
  assert_true(is_connected(client)); /* as far as it knows */
  assert_int_equal(half_open(server), 1);
  close(client);
  close(server);
}

static void tells_half_open_handshakes(void **state) {
  (void)state;
  check_half_open(AF_INET, true);
  check_half_open(AF_INET6, false);
  check_half_open(AF_INET6, true);
}

/* A listener of somebody else's, at the same port of another address. */
static void tells_its_own_address_from_others(void **state) {
  (void)state;
  struct sockaddr_storage addr;
  socklen_t len;
  int server = listening(AF_INET, &addr, &len);
  struct sockaddr_in other = *(struct sockaddr_in *)&addr;
  other.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
  int stranger = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(bind(stranger, (struct sockaddr *)&other, sizeof(other)), 0);
  assert_int_equal(listen(stranger, 16), 0);
  drop_acks(stranger);
  memcpy(&addr, &other, sizeof(other));
  int client = connecting(&addr, len);
  assert_true(is_connected(client));
  assert_int_equal(half_open(stranger), 1);
  assert_int_equal(half_open(server), 0);
  close(client);
  close(stranger);
  close(server);
}

static void tells_the_length_of_a_queue(void **state) {
  (void)state;
  struct sockaddr_storage addr;
  socklen_t len;
  int server = listening(AF_INET, &addr, &len);
  assert_int_equal(dusk__sys_queued(server), 0);
  int client = connecting(&addr, len);
  assert_true(is_connected(client));
  assert_int_equal(dusk__sys_queued(server), 1);
  close(accept(server, NULL, NULL));
  assert_int_equal(dusk__sys_queued(server), 0);
  close(client);
  close(server);
}

static void tells_errors_and_the_unknown(void **state) {
  (void)state;
  assert_true(dusk__sys_refuse_handshakes(-1) < 0);
  assert_true(dusk__sys_half_open(-1, -1) < 0);
  assert_true(dusk__sys_half_open_slowly(-1) < 0);
  assert_true(dusk__sys_queued(-1) < 0);
  assert_int_equal(dusk__sys_round_trip_ms(-1), 0);
  assert_int_equal(dusk__sys_unacknowledged(-1), 0);
}

static void portable_twin_knows_no_means(void **state) {
  (void)state;
  assert_int_equal(portable_refuse_handshakes(0), UV_ENOTSUP);
  assert_int_equal(portable_open_diag(), UV_ENOTSUP);
  assert_int_equal(portable_half_open(0, 0), UV_ENOTSUP);
  assert_int_equal(portable_half_open_slowly(0), UV_ENOTSUP);
  assert_int_equal(portable_queued(0), UV_ENOTSUP);
  assert_int_equal(portable_round_trip_ms(0), 0);
  assert_int_equal(portable_unacknowledged(0), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(refuses_fresh_handshakes_only),
      cmocka_unit_test(refuses_on_ipv6_sockets),
      cmocka_unit_test(tells_half_open_handshakes),
      cmocka_unit_test(tells_its_own_address_from_others),
      cmocka_unit_test(tells_the_length_of_a_queue),
      cmocka_unit_test(tells_errors_and_the_unknown),
      cmocka_unit_test(portable_twin_knows_no_means),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
