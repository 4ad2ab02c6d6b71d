/* Accepting, with nothing above it but what it is given at init. Needs the
 * linker's --wrap for accept4 and close. */
#include "acceptor.h"

#include "lone_worker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { MOST = 256, BATCH = 128 };

/* -- What the kernel gives ------------------------------------------------- */

static int accept_errno;       /* 0: as the kernel likes */
static int accepts_before;     /* so many before it */
static int accept_errors_left; /* so many of it; negative: all */

int __real_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);

int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags) {
  if (accept_errno == 0 || accept_errors_left == 0 || accepts_before-- > 0)
    return __real_accept4(fd, addr, len, flags);
  if (accept_errors_left > 0) accept_errors_left--;
  errno = accept_errno;
  return -1;
}

static void fail_accept(int err, int times) {
  accept_errno = err;
  accepts_before = 0;
  accept_errors_left = times;
}

static int close_errno; /* of a listening socket; 0: as the kernel likes */

int __real_close(int fd);
int __wrap_close(int fd);

int __wrap_close(int fd) {
  int listens = 0;
  socklen_t len = sizeof(listens);
  getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len);
  int result = __real_close(fd);
  if (!listens || close_errno == 0) return result;
  errno = close_errno;
  return -1;
}

/* -- What is above --------------------------------------------------------- */

static lone_t lone;
static dusk__acceptor_t acceptor;
static dusk__source_t *source;
static int fds[MOST]; /* of who was passed */
static dusk__address_t last_address;
static int prepare_err; /* what prepare gives */
static int prepares, passes, batches, fulls, changes;
static int passed_at_batch; /* when the last batch ended */
static int errors_told, last_told;
static size_t open_beside; /* connections besides who was passed */

static int prepare(dusk__acceptor_t *of) {
  assert_ptr_equal(of, &acceptor);
  prepares++;
  return prepare_err;
}

static void pass(dusk__acceptor_t *of, int fd, const dusk__address_t *address) {
  assert_ptr_equal(of, &acceptor);
  assert_true(passes < prepares && passes < MOST);
  assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
  assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
  last_address = *address;
  fds[passes++] = fd;
}

static void passed(dusk__acceptor_t *of) {
  assert_ptr_equal(of, &acceptor);
  assert_true(passes > passed_at_batch); /* somebody was */
  passed_at_batch = passes;
  batches++;
}

static size_t open_now(dusk__acceptor_t *of) {
  assert_ptr_equal(of, &acceptor);
  return open_beside + (size_t)passes;
}

static void full(dusk__acceptor_t *of) {
  assert_ptr_equal(of, &acceptor);
  fulls++;
}

static void changed(dusk__acceptor_t *of) {
  assert_ptr_equal(of, &acceptor);
  changes++;
}

static const dusk__accepted_t above = {prepare,  pass, passed,
                                       open_now, full, changed};

static void on_error(dusk_server_t *server, int err, const char *text,
                     void *arg) {
  (void)server;
  (void)arg;
  assert_non_null(text);
  assert_false(uv_is_active((uv_handle_t *)&source->poll)); /* meanwhile */
  assert_true(uv_is_active((uv_handle_t *)&source->retry));
  errors_told++;
  last_told = err;
}

/* -- From open to close ---------------------------------------------------- */

static int set_up(void **state) {
  (void)state;
  lone_open(&lone);
  lone.config.on_error = on_error;
  memset(&acceptor, 0, sizeof(acceptor));
  dusk__acceptor_init(&acceptor, &lone.worker, &above);
  prepare_err = 0;
  prepares = passes = batches = fulls = changes = passed_at_batch = 0;
  errors_told = last_told = 0;
  open_beside = 0;
  fail_accept(0, 0);
  source = NULL;
  assert_int_equal(
      dusk__acceptor_open(&acceptor, "127.0.0.1:0", NULL, NULL, &source), 0);
  lone_turn(&lone);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  for (int i = 0; i < passes; i++)
    close(fds[i]);
  dusk__source_t *each = NULL;
  while ((each = dusk__acceptor_next(&acceptor, each)) != NULL)
    dusk__source_close(each);
  lone_turn(&lone);
  assert_int_equal(acceptor.listening, 0);
  assert_int_equal(acceptor.close_err, 0);
  dusk__acceptor_done(&acceptor);
  lone_close(&lone);
  return 0;
}

/* A client, in the queue when this returns. */
static int connect_to(const dusk__source_t *to) {
  struct sockaddr_storage addr;
  socklen_t len = sizeof(addr);
  assert_int_equal(getsockname(to->listener.fd, (struct sockaddr *)&addr, &len),
                   0);
  int client = socket(addr.ss_family, SOCK_STREAM, 0);
  assert_true(client >= 0);
  assert_int_equal(connect(client, (struct sockaddr *)&addr, len), 0);
  return client;
}

static void connect_all(int clients[], int count) {
  for (int i = 0; i < count; i++)
    clients[i] = connect_to(source);
}

/* Asserts that nobody closed on them. */
static void close_all(const int clients[], int count) {
  for (int i = 0; i < count; i++) {
    char byte;
    assert_int_equal(recv(clients[i], &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
    close(clients[i]);
  }
}

/* -- Passing on ------------------------------------------------------------ */

static void who_comes_together_is_one_batch(void **state) {
  (void)state;
  int clients[3];
  connect_all(clients, 3);
  assert_false(dusk__source_is_empty(source));
  lone_run_until(&lone, &batches, 1);
  assert_int_equal(passes, 3);
  assert_int_equal(batches, 1);
  assert_true(dusk__source_is_empty(source));
  assert_int_equal(last_address.any.sa_family, AF_INET);
  assert_int_equal(ntohl(last_address.in.sin_addr.s_addr), INADDR_LOOPBACK);
  lone_turn(&lone);
  assert_int_equal(batches, 1); /* none without somebody */
  close_all(clients, 3);
}

static void a_batch_has_a_limit(void **state) {
  (void)state;
  enum { CLIENTS = BATCH + 2 };
  int clients[CLIENTS];
  connect_all(clients, CLIENTS);
  lone_run_until(&lone, &batches, 1);
  assert_int_equal(passes, BATCH);
  lone_run_until(&lone, &batches, 2);
  assert_int_equal(passes, CLIENTS);
  assert_int_equal(batches, 2);
  close_all(clients, CLIENTS);
}

static void each_source_is_accepted_from(void **state) {
  (void)state;
  char path[64];
  dusk__source_t *other;
  snprintf(path, sizeof(path), "unix:/tmp/dusk-acceptor-%d", (int)getpid());
  assert_int_equal(dusk__acceptor_open(&acceptor, path, NULL, NULL, &other), 0);
  assert_int_equal(acceptor.listening, 2);
  assert_ptr_equal(dusk__acceptor_next(&acceptor, NULL), source);
  assert_ptr_equal(dusk__acceptor_next(&acceptor, source), other);
  assert_null(dusk__acceptor_next(&acceptor, other));
  int clients[2] = {connect_to(other), -1};
  lone_run_until(&lone, &passes, 1);
  assert_int_equal(last_address.any.sa_family, AF_UNIX);
  clients[1] = connect_to(source);
  lone_run_until(&lone, &passes, 2);
  assert_int_equal(last_address.any.sa_family, AF_INET);
  close_all(clients, 2);
}

static void an_open_that_fails_leaves_nothing(void **state) {
  (void)state;
  dusk__source_t *other = NULL;
  assert_int_equal(
      dusk__acceptor_open(&acceptor, "127.0.0.1", NULL, NULL, &other),
      UV_EINVAL);
  assert_int_equal(dusk__acceptor_open(&acceptor, source->listener.address,
                                       NULL, NULL, &other),
                   UV_EADDRINUSE);
  assert_null(other);
  assert_int_equal(acceptor.listening, 1);
  assert_null(dusk__acceptor_next(&acceptor, source));
  assert_int_equal(changes, 0);
}

/* What the seal does. */
static void a_source_can_be_accepted_from_by_hand(void **state) {
  (void)state;
  int clients[3];
  size_t accepted = 9;
  connect_all(clients, 3);
  assert_int_equal(dusk__source_accept(source, 2, &accepted), 0);
  assert_int_equal(accepted, 2);
  assert_int_equal(batches, 1);
  assert_int_equal(dusk__source_accept(source, 2, &accepted), 0);
  assert_int_equal(accepted, 1);
  assert_int_equal(dusk__source_accept(source, 2, &accepted), 0);
  assert_int_equal(accepted, 0);
  assert_int_equal(batches, 2);
  close_all(clients, 3);
}

/* -- Without memory, room or descriptors ----------------------------------- */

static void without_memory_clients_stay_in_the_queue(void **state) {
  (void)state;
  int clients[2];
  prepare_err = UV_ENOMEM;
  connect_all(clients, 2);
  lone_run_until(&lone, &errors_told, 1);
  assert_int_equal(last_told, UV_ENOMEM);
  assert_int_equal(passes + batches, 0);
  assert_false(dusk__source_is_empty(source));
  lone_run_until(&lone, &prepares, 3); /* with back-off */
  assert_int_equal(errors_told, 1);
  prepare_err = 0;
  lone_run_until(&lone, &batches, 1);
  assert_int_equal(passes, 2);
  close_all(clients, 2);
}

static void srv_017_without_descriptors_it_backs_off(void **state) {
  (void)state;
  int clients[2];
  fail_accept(EMFILE, -1);
  connect_all(clients, 2);
  lone_run_until(&lone, &errors_told, 1);
  assert_int_equal(last_told, UV_EMFILE);
  assert_int_equal(prepares, 1);
  assert_int_equal(source->retry_ms, 10); /* the next one */
  lone_run_until(&lone, &prepares, 2);
  assert_int_equal(source->retry_ms, 20);
  assert_int_equal(errors_told, 1);
  fail_accept(0, 0);
  lone_run_until(&lone, &batches, 1);
  assert_int_equal(passes, 2);
  assert_int_equal(source->retry_ms, 0); /* the next time it is short again */
  assert_true(dusk__source_is_open(source));
  assert_int_equal(changes, 0);
  close_all(clients, 2);
}

static void srv_018_a_shortage_is_waited_out(void **state) {
  (void)state;
  static const int errors[] = {EMFILE, ENFILE, ENOMEM, ENOBUFS, EPERM};
  enum { ERRORS = sizeof(errors) / sizeof(*errors) };
  for (int i = 0; i < ERRORS; i++) {
    int client;
    fail_accept(errors[i], i == ERRORS - 1 ? 16 : 1);
    connect_all(&client, 1);
    lone_run_until(&lone, &passes, i + 1);
    assert_int_equal(errors_told, i + 1);
    assert_int_equal(last_told, -errors[i]);
    close_all(&client, 1);
  }
  assert_int_equal(changes, 0);
}

/* Here the waits of 5 to 640 ms are over. */
static void srv_019_a_long_wait_is_told_once_a_second(void **state) {
  (void)state;
  int client;
  fail_accept(EMFILE, -1);
  connect_all(&client, 1);
  lone_run_until(&lone, &errors_told, 1);
  source->retry_ms = 1000;
  lone_run_until(&lone, &errors_told, 2);
  assert_in_range(uv_timer_get_due_in(&source->retry), 900, 1000);
  assert_int_equal(source->retry_ms, 1000); /* SRV-017: no longer */
  close_all(&client, 1);
}

/* Who came before it runs out is passed all the same. */
static void a_batch_may_end_with_an_error(void **state) {
  (void)state;
  int clients[2];
  size_t accepted = 0;
  connect_all(clients, 2);
  fail_accept(EMFILE, 1);
  accepts_before = 1;
  assert_int_equal(dusk__source_accept(source, 9, &accepted), UV_EMFILE);
  assert_int_equal(accepted, 1);
  assert_int_equal(passes, 1);
  assert_int_equal(batches, 1);
  lone_run_until(&lone, &passes, 2);
  assert_int_equal(errors_told, 0); /* who asked was told */
  close_all(clients, 2);
}

static void srv_018_one_clients_error_is_passed_over(void **state) {
  (void)state;
  static const int errors[] = {EINTR,     ECONNABORTED, ECONNRESET,
                               ETIMEDOUT, EPROTO,       EHOSTUNREACH};
  for (int i = 0; i < 6; i++) {
    int client;
    int prepared = prepares;
    fail_accept(errors[i], 15);
    connect_all(&client, 1);
    lone_run_until(&lone, &batches, i + 1);
    assert_int_equal(passes, i + 1);
    assert_int_equal(prepares - prepared, 15 + 1 + 1); /* the queue's end */
    close_all(&client, 1);
  }
  assert_int_equal(errors_told, 0);
}

static void without_room_it_pauses(void **state) {
  (void)state;
  int clients[3];
  lone.config.max_connections = 12;
  open_beside = 10;
  connect_all(clients, 3);
  lone_run_until(&lone, &fulls, 1);
  assert_int_equal(passes, 2);
  assert_true(acceptor.paused);
  assert_false(uv_is_active((uv_handle_t *)&source->poll));
  open_beside = 9;
  lone_turn(&lone);
  assert_int_equal(passes, 2); /* until it is told */
  dusk__acceptor_resume(&acceptor);
  assert_false(acceptor.paused);
  lone_run_until(&lone, &passes, 3);
  assert_int_equal(fulls, 1);
  assert_int_equal(errors_told, 0);
  close_all(clients, 3);
}

static void a_resume_does_not_open_what_has_closed(void **state) {
  (void)state;
  int client;
  lone.config.max_connections = 1;
  open_beside = 1;
  connect_all(&client, 1);
  lone_run_until(&lone, &fulls, 1);
  dusk__source_close(source);
  dusk__acceptor_resume(&acceptor);
  dusk__acceptor_resume(&acceptor); /* does nothing */
  lone_turn(&lone);
  assert_int_equal(passes, 0);
  close(client);
}

static void a_seal_always_has_room(void **state) {
  (void)state;
  int clients[2];
  lone.config.max_connections = 1;
  open_beside = 1;
  acceptor.is_sealing = true;
  connect_all(clients, 2);
  lone_run_until(&lone, &batches, 1);
  assert_int_equal(passes, 2);
  assert_int_equal(fulls, 0);
  close_all(clients, 2);
}

/* -- Ends ------------------------------------------------------------------ */

static void srv_018_an_error_of_the_socket_is_final(void **state) {
  (void)state;
  static const int errors[] = {EINVAL, EBADF, ENOTSOCK, EOPNOTSUPP};
  for (int i = 0; i < 4; i++) {
    int client;
    fail_accept(errors[i], -1);
    connect_all(&client, 1);
    lone_run_until(&lone, &changes, i + 1);
    assert_int_equal(source->err, -errors[i]);
    assert_false(dusk__source_is_open(source));
    assert_int_equal(acceptor.listening, 0);
    close(client);
    assert_int_equal(
        dusk__acceptor_open(&acceptor, "127.0.0.1:0", NULL, NULL, &source), 0);
  }
  assert_int_equal(errors_told, 0); /* who serves is told */
}

static void srv_020_but_not_while_it_is_sealed(void **state) {
  (void)state;
  int client;
  acceptor.is_sealing = true;
  fail_accept(EINVAL, -1);
  connect_all(&client, 1);
  lone_run_until(&lone, &prepares, 1);
  lone_turn(&lone);
  assert_int_equal(prepares, 1);
  assert_true(dusk__source_is_open(source));
  assert_int_equal(changes, 0);
  assert_false(uv_is_active((uv_handle_t *)&source->poll));
  close(client);
}

static void a_source_closes_once(void **state) {
  (void)state;
  dusk__source_close(source);
  dusk__source_close(source);
  assert_int_equal(changes, 1);
  assert_int_equal(acceptor.listening, 0);
  assert_ptr_equal(dusk__acceptor_next(&acceptor, NULL), source);
}

static void srv_046_the_first_error_of_a_close_stays(void **state) {
  (void)state;
  dusk__source_t *other;
  assert_int_equal(
      dusk__acceptor_open(&acceptor, "127.0.0.1:0", NULL, NULL, &other), 0);
  close_errno = EIO;
  dusk__source_close(other);
  close_errno = EDQUOT;
  dusk__source_close(source);
  close_errno = 0;
  assert_int_equal(acceptor.close_err, UV_EIO);
  acceptor.close_err = 0; /* as the others leave it */
}

static void count_told(dusk_server_t *server, int err, void *arg) {
  (void)server;
  assert_int_equal(err, UV_ECANCELED);
  ++*(int *)arg;
}

static void who_serves_is_told_once(void **state) {
  (void)state;
  int told = 0;
  dusk__source_t *other;
  assert_int_equal(
      dusk__acceptor_open(&acceptor, "127.0.0.1:0", count_told, &told, &other),
      0);
  dusk__source_tell(other, UV_ECANCELED);
  dusk__source_tell(other, UV_EOF);
  dusk__source_tell(source, UV_ECANCELED); /* nobody */
  assert_int_equal(told, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(who_comes_together_is_one_batch),
      TEST(a_batch_has_a_limit),
      TEST(each_source_is_accepted_from),
      TEST(an_open_that_fails_leaves_nothing),
      TEST(a_source_can_be_accepted_from_by_hand),
      TEST(without_memory_clients_stay_in_the_queue),
      TEST(srv_017_without_descriptors_it_backs_off),
      TEST(srv_018_a_shortage_is_waited_out),
      TEST(srv_019_a_long_wait_is_told_once_a_second),
      TEST(a_batch_may_end_with_an_error),
      TEST(srv_018_one_clients_error_is_passed_over),
      TEST(without_room_it_pauses),
      TEST(a_resume_does_not_open_what_has_closed),
      TEST(a_seal_always_has_room),
      TEST(srv_018_an_error_of_the_socket_is_final),
      TEST(srv_020_but_not_while_it_is_sealed),
      TEST(a_source_closes_once),
      TEST(srv_046_the_first_error_of_a_close_stays),
      TEST(who_serves_is_told_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
