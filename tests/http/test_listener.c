/* What an address stands for, and whose socket files are replaced and removed.
 */
#include "house.h"
#include "lanes.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* Tells the peer's address. */
static void answer_peer(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  dusk_response_text(res, 200, dusk_request_peer(req));
}

static void serve_plain(loopback_t *lb) {
  serve(lb, (dusk_server_config_t){.handler = answer_peer});
}

/* At this address, too. */
static void serve_at(loopback_t *lb, const char *address) {
  serve_plain(lb);
  assert_int_equal(dusk_server_serve(lb->server, address, NULL, NULL), 0);
}

/* Of the listener that is opened after loopback's own. */
static void expect_address(loopback_t *lb, const char *text) {
  char address[136];
  assert_int_equal(dusk_server_address(lb->server, 1, address, sizeof(address)),
                   0);
  assert_string_equal(address, text);
}

static int port_of(loopback_t *lb) {
  char address[136];
  assert_int_equal(dusk_server_address(lb->server, 1, address, sizeof(address)),
                   0);
  return atoi(strrchr(address, ':') + 1);
}

/* The answer to a request at this address; the empty text when it refuses. */
static const char *ask_at(loopback_t *lb, const struct sockaddr *addr,
                          socklen_t len) {
  int client = welcome(lb, socket(addr->sa_family, SOCK_STREAM, 0));
  const char *answer = "";
  if (connect(client, addr, len) == 0) {
    assert_int_equal(fcntl(client, F_SETFL, O_NONBLOCK), 0);
    say(client, GET);
    answer = hear(lb, client, "\r\n\r\n");
  } else {
    assert_int_equal(errno, ECONNREFUSED);
  }
  leave(lb, client);
  return answer;
}

/* -- TCP ------------------------------------------------------------------- */

static const char *ask_v4(loopback_t *lb) {
  struct sockaddr_in addr;
  assert_int_equal(uv_ip4_addr("127.0.0.1", port_of(lb), &addr), 0);
  return ask_at(lb, (struct sockaddr *)&addr, sizeof(addr));
}

static const char *ask_v6(loopback_t *lb, const char *ip) {
  struct sockaddr_in6 addr;
  assert_int_equal(uv_ip6_addr(ip, port_of(lb), &addr), 0);
  return ask_at(lb, (struct sockaddr *)&addr, sizeof(addr));
}

typedef struct meaning {
  const char *address; /* with port 0 */
  const char *told;    /* up to the port */
  bool v4;
  bool v6;
} meaning_t;

static void srv_010_one_text_has_one_meaning(void **state) {
  loopback_t *lb = *state;
  static const meaning_t meanings[] = {
      {":0", "[::]:", true, true},
      {"[::]:0", "[::]:", true, true},
      {"[0:0::0]:0", "[::]:", true, true},
      {"[::1]:0", "[::1]:", false, true},
      {"0.0.0.0:0", "0.0.0.0:", true, false},
      {"127.0.0.1:0", "127.0.0.1:", true, false},
      {"[::ffff:127.0.0.1]:0", "127.0.0.1:", true, false},
  };
  for (size_t i = 0; i < sizeof(meanings) / sizeof(*meanings); i++) {
    const meaning_t *meaning = &meanings[i];
    serve_at(lb, meaning->address);
    char told[136];
    snprintf(told, sizeof(told), "%s%d", meaning->told, port_of(lb));
    expect_address(lb, told);
    assert_int_equal(strstr(ask_v4(lb), "\r\n\r\n127.0.0.1:") != NULL,
                     meaning->v4);
    assert_int_equal(strstr(ask_v6(lb, "::1"), "\r\n\r\n[::1]:") != NULL,
                     meaning->v6);
    end_all(lb);
  }
}

static void srv_009_an_address_has_its_port(void **state) {
  loopback_t *lb = *state;
  static const char *const bad[] = {"", "127.0.0.1", "[::1]", "localhost", ":"};
  serve_plain(lb);
  for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
    assert_int_equal(dusk_server_serve(lb->server, bad[i], NULL, NULL),
                     UV_EINVAL);
}

static int option(int fd, int level, int name) {
  int value = 0;
  socklen_t len = sizeof(value);
  assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
  return value;
}

static void keep_fd(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  char *early;
  size_t early_len;
  uv_os_sock_t *fd = arg;
  assert_int_equal(dusk_response_hijack(res, fd, &early, &early_len), 0);
  free(early);
}

static void expect_options(int fd) {
  assert_int_equal(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
  assert_int_equal(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
#ifdef TCP_KEEPIDLE
  assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 15);
  assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 15);
  assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPCNT), 9);
#endif
}

static int connect_v4(int port) {
  struct sockaddr_in addr;
  assert_int_equal(uv_ip4_addr("127.0.0.1", port, &addr), 0);
  int client = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(connect(client, (struct sockaddr *)&addr, sizeof(addr)), 0);
  say(client, GET);
  return client;
}

/* Also those that waited before, as the one does for whose sake a service
 * manager starts us. */
static void srv_011_handed_over_sockets_are_as_others(void **state) {
  loopback_t *lb = *state;
  struct sockaddr_in addr;
  socklen_t len = sizeof(addr);
  assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &addr), 0);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
  assert_int_equal(listen(fd, 10), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
  uv_os_sock_t peer = -1;
  serve(lb, (dusk_server_config_t){.handler = keep_fd, .handler_arg = &peer});
  for (int i = 0; i < 2; i++) {
    welcome(lb, connect_v4(ntohs(addr.sin_port)));
    char text[32];
    snprintf(text, sizeof(text), "fd:%d", fd);
    if (i == 0)
      assert_int_equal(dusk_server_serve(lb->server, text, NULL, NULL), 0);
    peer = -1;
    AWAIT(lb, peer >= 0);
    expect_options(peer);
    close(peer);
  }
}

static void srv_011_listeners_can_be_opened_again(void **state) {
  loopback_t *lb = *state;
  uv_os_sock_t peer = -1;
  serve(lb, (dusk_server_config_t){.handler = keep_fd, .handler_arg = &peer});
  dusk__source_t *source = dusk__acceptor_next(&lb->server->acceptor, NULL);
  assert_int_equal(option(source->listener.fd, SOL_SOCKET, SO_REUSEADDR), 1);
  say(connect_client(lb), GET);
  AWAIT(lb, peer >= 0);
  expect_options(peer);
  close(peer);
}

static void not_served(dusk_server_t *server, int err, void *arg) {
  (void)server;
  (void)arg;
  fail_msg("told %d of what was never served", err);
}

static void srv_006_an_ended_server_takes_no_descriptor(void **state) {
  loopback_t *lb = *state;
  serve_plain(lb);
  stop(lb, 5000);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(listen(fd, 10), 0);
  char text[32];
  snprintf(text, sizeof(text), "fd:%d", fd);
  assert_int_equal(dusk_server_serve(lb->server, text, not_served, NULL),
                   DUSK_ESERVERCLOSED);
  turn(lb, 3);
  assert_int_equal(option(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
  close(fd);
}

/* -- Zones ----------------------------------------------------------------- */

#ifdef __linux__

/* Until the kernel has taken the address in; false when it won't. */
static bool wait_for_address(int fd, const char *ip) {
  struct sockaddr_in6 addr;
  assert_int_equal(uv_ip6_addr(ip, 0, &addr), 0);
  for (int tries = 0; tries < 5000; tries++) {
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0) return true;
    if (errno != EADDRNOTAVAIL) return false;
    poll(NULL, 0, 1);
  }
  return false;
}

/* A network of our own from now on, with fe80::1 on its loopback interface;
 * false where we may not have one. */
static bool enter_network(void) {
  struct ifreq up = {.ifr_name = "lo", .ifr_flags = IFF_UP};
  struct {
    struct in6_addr addr;
    uint32_t prefix_len;
    int index;
  } assigned = {.prefix_len = 64};
  if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET))
    return false;
  int fd = socket(AF_INET6, SOCK_DGRAM, 0);
  if (fd < 0) return false;
  bool is_up = ioctl(fd, SIOCSIFFLAGS, &up) == 0;
  assigned.index = (int)if_nametoindex("lo");
  uv_inet_pton(AF_INET6, "fe80::1", &assigned.addr);
  is_up = is_up && ioctl(fd, SIOCSIFADDR, &assigned) == 0 &&
          wait_for_address(fd, "fe80::1%lo");
  close(fd);
  return is_up;
}

static void srv_015_link_local_addresses_keep_their_zone(void **state) {
  loopback_t *lb = *state;
  if (!enter_network()) skip();
  serve_at(lb, "[fe80::1%lo]:0");
  char told[64];
  snprintf(told, sizeof(told), "[fe80::1%%lo]:%d", port_of(lb));
  expect_address(lb, told);
  assert_has(ask_v6(lb, "fe80::1%lo"), "\r\n\r\n[fe80::1%lo]:");
  end_all(lb);
  /* What is told can be given back. */
  serve_at(lb, told);
  expect_address(lb, told);
}

#endif

/* -- Unix ------------------------------------------------------------------ */

static char folder[] = "/tmp/dusk-listener-XXXXXX";
static char path[64];    /* of the socket file */
static char address[80]; /* "unix:PATH" */

static int make_folder(void **state) {
  (void)state;
  if (mkdtemp(folder) == NULL) return -1;
  snprintf(path, sizeof(path), "%s/socket", folder);
  snprintf(address, sizeof(address), "unix:%s", path);
  return 0;
}

static int remove_folder(void **state) {
  (void)state;
  return rmdir(folder);
}

static struct sockaddr_un unix_address(const char *name) {
  struct sockaddr_un addr = {.sun_family = AF_UNIX};
  snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", name);
  return addr;
}

/* A socket file; `listening` or left over. */
static int make_socket(const char *name, bool listening) {
  struct sockaddr_un addr = unix_address(name);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
  if (listening) assert_int_equal(listen(fd, 10), 0);
  if (listening) return fd;
  close(fd);
  return -1;
}

static int connect_to(const char *name) {
  struct sockaddr_un addr = unix_address(name);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  int err = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) ? errno : 0;
  close(fd);
  return err;
}

/* That serving at `path` fails and leaves what is there as it is. */
static void expect_in_use(loopback_t *lb) {
  struct stat before;
  struct stat after;
  assert_int_equal(lstat(path, &before), 0);
  serve_plain(lb);
  assert_int_equal(dusk_server_serve(lb->server, address, NULL, NULL),
                   UV_EADDRINUSE);
  end_all(lb);
  assert_int_equal(lstat(path, &after), 0);
  assert_true(before.st_ino == after.st_ino);
  assert_true(before.st_mode == after.st_mode);
}

static void only_socket_files_are_replaced(void **state) {
  loopback_t *lb = *state;
  int fd = open(path, O_CREAT | O_WRONLY, 0600);
  assert_int_equal(write(fd, "text", 4), 4);
  close(fd);
  expect_in_use(lb);
  unlink(path);

  assert_int_equal(mkfifo(path, 0600), 0);
  expect_in_use(lb);
  unlink(path);

  assert_int_equal(mkdir(path, 0700), 0);
  expect_in_use(lb);
  rmdir(path);
}

static void what_a_link_names_is_left(void **state) {
  loopback_t *lb = *state;
  char target[80];
  snprintf(target, sizeof(target), "%s/target", folder);
  assert_int_equal(symlink("target", path), 0);
  expect_in_use(lb); /* it leads nowhere */
  make_socket(target, false);
  expect_in_use(lb);
  struct stat file;
  assert_int_equal(lstat(target, &file), 0);
  unlink(target);
  unlink(path);
}

static void a_live_socket_is_left_and_a_stale_one_replaced(void **state) {
  loopback_t *lb = *state;
  int fd = make_socket(path, true);
  expect_in_use(lb);
  assert_int_equal(connect_to(path), 0);
  close(fd); /* from now on stale */
  serve_at(lb, address);
  expect_address(lb, address);
  struct sockaddr_un addr = unix_address(path);
  assert_has(ask_at(lb, (struct sockaddr *)&addr, sizeof(addr)), "200 OK");
  end_all(lb);
  assert_int_equal(access(path, F_OK), -1); /* removed */
}

static void a_name_without_folder_is_one_in_this_folder(void **state) {
  loopback_t *lb = *state;
  char before[4096];
  assert_non_null(getcwd(before, sizeof(before)));
  assert_int_equal(chdir(folder), 0);
  make_socket("socket", false);
  serve_at(lb, "unix:socket");
  assert_int_equal(connect_to(path), 0);
  end_all(lb);
  assert_int_equal(access(path, F_OK), -1);
  assert_int_equal(chdir(before), 0);
}

static void closing_removes_only_its_own_file(void **state) {
  loopback_t *lb = *state;
  for (int is_link = 0; is_link < 2; is_link++) {
    char moved[80];
    snprintf(moved, sizeof(moved), "%s/moved", folder);
    serve_at(lb, address);
    assert_int_equal(rename(path, moved), 0);
    int fd = -1;
    if (is_link)
      assert_int_equal(symlink("moved", path), 0);
    else
      fd = make_socket(path, true);
    end_all(lb);
    struct stat file;
    assert_int_equal(lstat(path, &file), 0);
    assert_int_equal(lstat(moved, &file), 0);
    if (!is_link) close(fd);
    unlink(path);
    unlink(moved);
  }
}

static void a_handed_over_unix_socket_works(void **state) {
  loopback_t *lb = *state;
  char text[32];
  snprintf(text, sizeof(text), "fd:%d", make_socket(path, true));
  serve_at(lb, text);
  expect_address(lb, address);
  struct sockaddr_un addr = unix_address(path);
  assert_has(ask_at(lb, (struct sockaddr *)&addr, sizeof(addr)), "200 OK");
  end_all(lb);
  assert_int_equal(unlink(path), 0); /* not ours: it has stayed */
}

/* -- Starting at once ------------------------------------------------------ */

enum { STARTERS = 8, ROUNDS = 60 };

/* Serves when `go` ends, tells by `result` what came of it, and stays until
 * `over` ends. */
static void start(int go, int result, int over) {
  static loopback_t lb;
  char byte;
  serve_plain(&lb);
  while (read(go, &byte, 1) > 0)
    continue;
  int err = dusk_server_serve(lb.server, address, NULL, NULL);
  if (write(result, &err, sizeof(err)) != sizeof(err)) _exit(1);
  while (read(over, &byte, 1) > 0)
    continue;
  _exit(0);
}

static void race(void) {
  int go[2];
  int result[2];
  int over[2];
  pid_t starters[STARTERS];
  assert_int_equal(pipe(go) | pipe(result) | pipe(over), 0);
  for (int i = 0; i < STARTERS; i++) {
    starters[i] = fork();
    assert_true(starters[i] >= 0);
    if (starters[i] > 0) continue;
    close(go[1]);
    close(over[1]);
    start(go[0], result[1], over[0]);
  }
  close(go[1]);
  int served = 0;
  for (int i = 0; i < STARTERS; i++) {
    int err;
    assert_int_equal(read(result[0], &err, sizeof(err)), sizeof(err));
    if (err == 0)
      served++;
    else
      assert_int_equal(err, UV_EADDRINUSE);
  }
  assert_int_equal(served, 1);
  assert_int_equal(connect_to(path), 0); /* and it is the one that is found */
  close(over[1]);
  for (int i = 0; i < STARTERS; i++) {
    int status;
    assert_int_equal(waitpid(starters[i], &status, 0), starters[i]);
    assert_int_equal(status, 0);
  }
  close(go[0]);
  close(over[0]);
  close(result[0]);
  close(result[1]);
}

/* Each round but the first finds what the one before left. */
static void of_many_that_start_at_once_one_serves(void **state) {
  (void)state;
  for (int i = 0; i < ROUNDS; i++)
    race();
  unlink(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(srv_010_one_text_has_one_meaning),
      house_test(srv_009_an_address_has_its_port),
      house_test(srv_011_handed_over_sockets_are_as_others),
      house_test(srv_011_listeners_can_be_opened_again),
      house_test(srv_006_an_ended_server_takes_no_descriptor),
      house_test(only_socket_files_are_replaced),
      house_test(what_a_link_names_is_left),
      house_test(a_live_socket_is_left_and_a_stale_one_replaced),
      house_test(a_name_without_folder_is_one_in_this_folder),
      house_test(closing_removes_only_its_own_file),
      house_test(a_handed_over_unix_socket_works),
      house_test(of_many_that_start_at_once_one_serves),
#ifdef __linux__
      /* The last one: it leaves this network. */
      house_test(srv_015_link_local_addresses_keep_their_zone),
#endif
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
