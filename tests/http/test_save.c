/* Bodies that go to files: whole, or not there at all, and never on the loop.
 */
#include "house.h"

#include "alloc.h"
#include "folder.h"

#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define PUT(length)                                                            \
  "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: " length "\r\n\r\n"

/* -- A disk with its troubles ---------------------------------------------- */

/* What the sink's threads meet. */
static struct {
  atomic_int write_errno;
  atomic_int close_errno;
  atomic_int rename_errno;
  atomic_int random_err;
  atomic_int short_writes; /* bytes a write; 0: all */
  atomic_bool is_slow;     /* each write waits for `go` */
  atomic_int waiting;
  sem_t go;
} disk;

ssize_t __real_write(int fd, const void *data, size_t len);
ssize_t __wrap_write(int fd, const void *data, size_t len);
int __real_close(int fd);
int __wrap_close(int fd);
int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __real_uv_random(uv_loop_t *loop, uv_random_t *req, void *buf, size_t len,
                     unsigned flags, uv_random_cb cb);
int __wrap_uv_random(uv_loop_t *loop, uv_random_t *req, void *buf, size_t len,
                     unsigned flags, uv_random_cb cb);

static bool is_file(int fd) {
  struct stat status;
  return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

ssize_t __wrap_write(int fd, const void *data, size_t len) {
  if (!is_file(fd)) return __real_write(fd, data, len);
  if (disk.is_slow) {
    disk.waiting++;
    while (sem_wait(&disk.go) < 0)
      continue;
  }
  static atomic_int calls;
  if (disk.short_writes && calls++ % 3 == 0) {
    errno = EINTR;
    return -1;
  }
  if (disk.write_errno) {
    errno = disk.write_errno;
    return errno == -1 ? 0 : -1; /* nothing at all is written */
  }
  if (disk.short_writes && len > (size_t)disk.short_writes)
    len = (size_t)disk.short_writes;
  return __real_write(fd, data, len);
}

int __wrap_close(int fd) {
  bool fails = disk.close_errno && is_file(fd);
  int result = __real_close(fd);
  if (!fails) return result;
  errno = disk.close_errno;
  return -1;
}

int __wrap_rename(const char *from, const char *to) {
  if (disk.rename_errno == 0) return __real_rename(from, to);
  errno = disk.rename_errno;
  return -1;
}

int __wrap_uv_random(uv_loop_t *loop, uv_random_t *req, void *buf, size_t len,
                     unsigned flags, uv_random_cb cb) {
  if (disk.random_err) return disk.random_err;
  return __real_uv_random(loop, req, buf, len, flags, cb);
}

static void slow_down(void) {
  assert_int_equal(sem_init(&disk.go, 0, 0), 0);
  disk.waiting = 0;
  disk.is_slow = true;
}

static void go_on(void) {
  disk.is_slow = false;
  for (int i = 0; i < 16; i++)
    sem_post(&disk.go);
}

/* -- A service that saves -------------------------------------------------- */

typedef struct saver {
  folder_t folder;
  char path[128];
  uint64_t max_bytes;
  dusk_response_t *res;
  dusk_request_t *req;
  int begun;
  atomic_int called; /* perhaps on another loop's thread */
  int status;
  uint64_t len;
  bool keeps; /* doesn't answer: the test does */

  int parts;    /* of a form, that have ended */
  bool refuses; /* such a one */
  bool ends;    /* and with it the response */
} saver_t;

static void on_saved(dusk_request_t *req, int status, uint64_t len, void *arg) {
  saver_t *saver = arg;
  assert_ptr_equal(req, saver->req);
  saver->status = status;
  saver->len = len;
  saver->called++;
  if (saver->keeps) return;
  if (status == 0)
    dusk_response_text(saver->res, 201, "saved\n");
  else if (status < -10000 || status == UV_ECONNRESET || status == UV_ETIMEDOUT)
    dusk_response_abort(saver->res);
  else
    dusk_response_text(saver->res, 507, dusk_strerror(status));
  assert_string_equal(dusk_request_path(req), "/"); /* still good */
}

static void save(dusk_response_t *res, dusk_request_t *req, void *arg) {
  saver_t *saver = arg;
  saver->res = res;
  saver->req = req;
  saver->begun++;
  saver->called = 0;
  saver->status = 1;
  int err =
      dusk_request_save(req, saver->path, saver->max_bytes, on_saved, saver);
  assert_int_equal(saver->called, 0);
  if (err < 0) dusk_response_text(res, 503, dusk_strerror(err));
}

static dusk_server_config_t config_of(saver_t *saver) {
  return (dusk_server_config_t){
      .handler = save, .handler_arg = saver, .max_body_bytes = 1 << 24};
}

typedef struct both {
  loopback_t *lb;
  saver_t saver;
} both_t;

static int set_up(void **state) {
  static both_t both;
  assert_int_equal(house_set_up((void **)&both.lb), 0);
  memset(&both.saver, 0, sizeof(both.saver));
  folder_make(&both.saver.folder);
  snprintf(both.saver.path, sizeof(both.saver.path), "%s/file",
           both.saver.folder.path);
  both.saver.max_bytes = DUSK_OFF;
  *state = &both;
  return 0;
}

static int tear_down(void **state) {
  both_t *both = *state;
  disk.write_errno = disk.close_errno = disk.rename_errno = 0;
  disk.short_writes = disk.random_err = 0;
  if (disk.is_slow) go_on();
  assert_int_equal(house_tear_down((void **)&both->lb), 0);
  assert_int_equal(folder_count(&both->saver.folder, true), 0);
  folder_remove(&both->saver.folder);
  return 0;
}

#define save_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

#define SETTING                                                                \
  both_t *both = *state;                                                       \
  loopback_t *lb = both->lb;                                                   \
  saver_t *saver = &both->saver

static const char *saved(saver_t *saver) {
  return folder_read(&saver->folder, "file");
}

/* A body of so many bytes, as a whole request. */
static char *request_with(const char *field, size_t len) {
  enum { HEAD_BYTES = 200 };
  char *text = malloc(len + HEAD_BYTES);
  int head = snprintf(text, HEAD_BYTES,
                      "PUT / HTTP/1.1\r\nHost: h\r\n%s\r\n"
                      "Content-Length: %zu\r\n\r\n",
                      field, len);
  for (size_t i = 0; i < len; i++)
    text[(size_t)head + i] = (char)('a' + i % 23);
  text[(size_t)head + len] = '\0';
  return text;
}

static char *request_of(size_t len) {
  return request_with("Accept: */*", len);
}

/* By a reset. */
static void leave_abruptly(loopback_t *lb, int client) {
  struct linger now = {.l_onoff = 1};
  setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  leave(lb, client);
}

/* -- Whole files ----------------------------------------------------------- */

static void a_body_becomes_a_file(void **state) {
  SETTING;
  serve(lb, config_of(saver));
  int client = connect_client(lb);
  say(client, PUT("5") "hello");
  assert_has(hear(lb, client, "saved\n"), " 201 ");
  assert_string_equal(saved(saver), "hello");
  assert_int_equal(saver->len, 5);
  /* The next one on the same connection takes its place. */
  say(client, CHUNKED "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
  assert_has(hear(lb, client, "saved\n"), " 201 ");
  assert_string_equal(saved(saver), "abcde");
  say(client, GET); /* an empty one */
  assert_has(hear(lb, client, "saved\n"), " 201 ");
  assert_string_equal(saved(saver), "");
  assert_int_equal(folder_count(&saver->folder, false), 1);
  assert_int_equal(saver->begun, 3);
}

static void a_body_comes_in_any_pieces(void **state) {
  SETTING;
  serve(lb, config_of(saver));
  int client = connect_client(lb);
  for (const char *at = PUT("5") "hello"; *at; at++) {
    char byte[2] = {*at};
    say(client, byte);
    turn(lb, 2);
  }
  hear(lb, client, "saved\n");
  assert_string_equal(saved(saver), "hello");
}

static void expect_large(saver_t *saver, size_t len) {
  FILE *file = fopen(saver->path, "rb");
  assert_non_null(file);
  for (size_t i = 0; i < len; i++)
    assert_int_equal(fgetc(file), 'a' + i % 23);
  assert_int_equal(fgetc(file), EOF);
  fclose(file);
}

static void a_large_body_is_whole(void **state) {
  SETTING;
  serve(lb, config_of(saver));
  size_t sizes[] = {32767, 32768, 32769, 65536, 100000, 3000000};
  int client = connect_client(lb);
  for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
    char *request = request_of(sizes[i]);
    disk.short_writes = i % 2 ? 1000 : 0; /* and interrupted ones */
    say_all(lb, client, request);
    hear(lb, client, "saved\n");
    assert_int_equal(saver->len, sizes[i]);
    expect_large(saver, sizes[i]);
    free(request);
  }
}

static void a_link_is_replaced_and_not_followed(void **state) {
  SETTING;
  folder_write(&saver->folder, "other", "kept");
  assert_int_equal(symlink("other", saver->path), 0);
  serve(lb, config_of(saver));
  int client = connect_client(lb);
  say(client, PUT("1") "x");
  hear(lb, client, "saved\n");
  assert_string_equal(saved(saver), "x");
  assert_string_equal(folder_read(&saver->folder, "other"), "kept");
}

static void a_file_has_the_rights_that_the_umask_leaves(void **state) {
  SETTING;
  mode_t before = umask(027);
  serve(lb, config_of(saver));
  int client = connect_client(lb);
  say(client, PUT("1") "x");
  hear(lb, client, "saved\n");
  struct stat status;
  assert_int_equal(stat(saver->path, &status), 0);
  assert_int_equal(status.st_mode & 0777, 0640);
  umask(before);
}

static void a_path_may_be_relative(void **state) {
  SETTING;
  char before[512];
  assert_non_null(getcwd(before, sizeof(before)));
  assert_int_equal(chdir(saver->folder.path), 0);
  snprintf(saver->path, sizeof(saver->path), "file");
  serve(lb, config_of(saver));
  int client = connect_client(lb);
  say(client, PUT("1") "x");
  hear(lb, client, "saved\n");
  assert_string_equal(saved(saver), "x");
  assert_int_equal(chdir(before), 0);
}

/* An idle client, which has a loop. */
static void ask_nothing(loopback_t *lb) {
  connect_client(lb);
  turn(lb, 2);
}

static void two_loops_save_as_one_does(void **state) {
  SETTING;
  dusk_server_config_t config = config_of(saver);
  config.threads = 2;
  serve(lb, config);
  ask_nothing(lb); /* it has the first one */
  int client = connect_client(lb);
  char *request = request_of(200000);
  say_all(lb, client, request);
  hear(lb, client, "saved\n");
  expect_large(saver, 200000);
  free(request);
}

/* -- Back-pressure --------------------------------------------------------- */

static void plain(dusk_response_t *res, dusk_request_t *req, void *arg) {
  if (strcmp(dusk_request_method(req), "PUT") == 0)
    save(res, req, arg);
  else
    dusk_response_text(res, 200, "hello\n");
}

/* The disk stands still: the client is slowed down, and nobody else is. */
static void a_slow_disk_stops_its_client_alone(void **state) {
  SETTING;
  enum { LEN = 12000000 };
  dusk_server_config_t config = config_of(saver);
  config.handler = plain;
  config.body_timeout_ms = 1; /* the client's time, not the disk's */
  serve(lb, config);
  int client = connect_client(lb);
  int other = connect_client(lb);
  char *request = request_of(LEN);
  size_t len = strlen(request), sent = 0;
  slow_down();
  for (int stuck = 0; stuck < 3;) {
    ssize_t n = send(client, request + sent, len - sent, MSG_NOSIGNAL);
    if (n > 0) sent += (size_t)n;
    assert_true(sent < len);
    stuck = n < 0 && disk.waiting > 0 ? stuck + 1 : 0;
    ask(lb, other, GET); /* and the loop turns */
  }
  assert_int_equal(disk.waiting, 1);
  assert_int_equal(folder_count(&saver->folder, true), 1);
  assert_int_equal(folder_count(&saver->folder, false), 0);
  go_on();
  say_all(lb, client, request + sent);
  hear(lb, client, "saved\n");
  expect_large(saver, LEN);
  free(request);
}

static void a_paused_one_is_not_taken(void **state) {
  SETTING;
  serve(lb, config_of(saver));
  int client = connect_client(lb);
  say(client, PUT("6") "abc");
  AWAIT(lb, saver->begun);
  dusk_request_pause(saver->req);
  say(client, "def");
  turn(lb, 5);
  assert_int_equal(saver->called, 0);
  dusk_request_resume(saver->req);
  hear(lb, client, "saved\n");
  assert_string_equal(saved(saver), "abcdef");
}

/* A pause of the handler's stays one when the disk has caught up. */
static void a_pause_outlasts_a_write(void **state) {
  SETTING;
  serve(lb, config_of(saver));
  char *request = request_of(40000);
  slow_down();
  int client = connect_client(lb);
  say_all(lb, client, request);
  AWAIT(lb, disk.waiting == 1);
  dusk_request_pause(saver->req);
  go_on();
  turn(lb, 20);
  loopback_run_for(lb, 20);
  assert_int_equal(saver->called, 0);
  dusk_request_resume(saver->req);
  hear(lb, client, "saved\n");
  expect_large(saver, 40000);
  free(request);
}

/* -- Limits ---------------------------------------------------------------- */

static void too_much_is_413_before_a_byte_is_read(void **state) {
  SETTING;
  saver->max_bytes = 5;
  serve(lb, config_of(saver));
  int client = connect_client(lb);
  say(client, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n"
              "Expect: 100-continue\r\n\r\n");
  const char *heard = hear(lb, client, NULL);
  assert_has(heard, " 413 ");
  assert_lacks(heard, " 100 ");
  assert_int_equal(saver->status, DUSK_EBODYTOOLARGE);
  assert_null(saved(saver));
}

static void too_much_in_chunks_is_413(void **state) {
  SETTING;
  saver->max_bytes = 5;
  serve(lb, config_of(saver));
  int client = connect_client(lb);
  say(client, CHUNKED "5\r\nhello\r\n0\r\n\r\n");
  assert_has(hear(lb, client, "saved\n"), " 201 ");
  say(client, CHUNKED "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n");
  assert_has(hear(lb, client, NULL), " 413 ");
  assert_int_equal(saver->called, 1);
  assert_int_equal(saver->status, DUSK_EBODYTOOLARGE);
  assert_string_equal(saved(saver), "hello"); /* the first one's */
}

/* -- Disks that fail ------------------------------------------------------- */

static void expect_failure(loopback_t *lb, saver_t *saver, size_t len,
                           int status) {
  char *request = request_of(len);
  serve(lb, config_of(saver));
  int client = connect_client(lb);
  say_all(lb, client, request);
  assert_has(hear(lb, client, dusk_strerror(status)), " 507 ");
  assert_int_equal(saver->called, 1);
  assert_int_equal(saver->status, status);
  free(request);
  end_all(lb);
  assert_int_equal(folder_count(&saver->folder, true), 0);
}

static void a_full_disk_is_told_and_leaves_nothing(void **state) {
  SETTING;
  folder_write(&saver->folder, "file", "before");
  for (size_t len = 5; len < 200000; len += 99995) {
    disk.write_errno = ENOSPC;
    expect_failure(lb, saver, len, UV_ENOSPC);
    disk.write_errno = EIO;
    expect_failure(lb, saver, len, UV_EIO);
    disk.write_errno = -1;
    expect_failure(lb, saver, len, UV_EIO);
    disk.write_errno = 0;
    disk.close_errno = EDQUOT;
    expect_failure(lb, saver, len, UV_ENOSPC);
    disk.close_errno = 0;
    disk.rename_errno = EACCES;
    expect_failure(lb, saver, len, UV_EACCES);
    disk.rename_errno = 0;
    disk.random_err = UV_EIO;
    expect_failure(lb, saver, len, UV_EIO);
    disk.random_err = 0;
  }
  disk.write_errno = disk.rename_errno = disk.random_err = 0;
  assert_string_equal(saved(saver), "before");
}

static void an_interrupted_close_has_closed(void **state) {
  SETTING;
  disk.close_errno = EINTR;
  serve(lb, config_of(saver));
  int client = connect_client(lb);
  say(client, PUT("1") "x");
  hear(lb, client, "saved\n");
  disk.close_errno = 0;
  assert_string_equal(saved(saver), "x");
}

/* SIGXFSZ would end the test. */
static void a_size_limit_is_an_error(void **state) {
  SETTING;
  struct rlimit before, limit;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  limit = before;
  limit.rlim_cur = 50000;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
  expect_failure(lb, saver, 200000, UV_EFBIG);
  expect_failure(lb, saver, 50001, UV_EFBIG);
  sigset_t pending;
  assert_int_equal(sigpending(&pending), 0);
  assert_false(sigismember(&pending, SIGXFSZ));
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
  assert_null(saved(saver));
}

static void a_path_that_cannot_be_is_told(void **state) {
  SETTING;
  snprintf(saver->path, sizeof(saver->path), "%s", saver->folder.path);
  expect_failure(lb, saver, 5, UV_EISDIR);
  snprintf(saver->path, sizeof(saver->path), "%s/no/file", saver->folder.path);
  expect_failure(lb, saver, 5, UV_ENOENT);
  expect_failure(lb, saver, 100000, UV_ENOENT);
  snprintf(saver->path, sizeof(saver->path), "/dev/null/file");
  expect_failure(lb, saver, 5, UV_ENOTDIR);
}

/* -- Clients, servers and handlers that end it ----------------------------- */

/* One in the middle of its body, with a part of it on the disk. */
static int hold_half(loopback_t *lb, saver_t *saver,
                     dusk_server_config_t config) {
  serve(lb, config);
  int client = connect_client(lb);
  char *request = request_of(100000);
  request[strlen(request) - 10000] = '\0';
  say_all(lb, client, request);
  AWAIT(lb, folder_count(&saver->folder, true) == 1);
  free(request);
  return client;
}

static void await_end(loopback_t *lb, saver_t *saver, int status) {
  AWAIT(lb, saver->called);
  assert_int_equal(saver->status, status);
  AWAIT(lb, folder_count(&saver->folder, true) == 0);
  assert_null(saved(saver));
}

static void a_client_that_leaves_leaves_nothing(void **state) {
  SETTING;
  int client = hold_half(lb, saver, config_of(saver));
  leave(lb, client);
  await_end(lb, saver, UV_ECONNRESET);
}

static void a_client_that_is_reset_leaves_nothing(void **state) {
  SETTING;
  int client = hold_half(lb, saver, config_of(saver));
  leave_abruptly(lb, client);
  await_end(lb, saver, UV_ECONNRESET);
}

static void who_half_closes_behind_the_body_is_served(void **state) {
  SETTING;
  serve(lb, config_of(saver));
  char *request = request_of(100000);
  int client = connect_client(lb);
  slow_down();
  say_all(lb, client, request);
  shutdown(client, SHUT_WR);
  AWAIT(lb, disk.waiting == 1);
  turn(lb, 5);
  go_on();
  assert_has(hear(lb, client, "saved\n"), " 201 ");
  expect_large(saver, 100000);
  free(request);
}

static void who_half_closes_within_the_body_is_not(void **state) {
  SETTING;
  int client = hold_half(lb, saver, config_of(saver));
  shutdown(client, SHUT_WR);
  await_end(lb, saver, UV_ECONNRESET);
}

/* What is under way is waited for, and the end told behind it. */
static void who_half_closes_within_a_write_is_told_behind_it(void **state) {
  SETTING;
  slow_down();
  serve(lb, config_of(saver));
  char *request = request_of(100000);
  request[strlen(request) - 60000] = '\0';
  int client = connect_client(lb);
  say_all(lb, client, request);
  shutdown(client, SHUT_WR);
  AWAIT(lb, disk.waiting == 1);
  turn(lb, 5);
  assert_int_equal(saver->called, 0);
  go_on();
  await_end(lb, saver, UV_ECONNRESET);
  free(request);
}

static void a_client_that_stands_still_is_408(void **state) {
  SETTING;
  dusk_server_config_t config = config_of(saver);
  config.body_timeout_ms = 50;
  int client = hold_half(lb, saver, config);
  assert_has(hear(lb, client, NULL), " 408 ");
  await_end(lb, saver, UV_ETIMEDOUT);
}

static void a_request_that_times_out_leaves_nothing(void **state) {
  SETTING;
  dusk_server_config_t config = config_of(saver);
  config.request_timeout_ms = 50;
  int client = hold_half(lb, saver, config);
  assert_has(hear(lb, client, NULL), " 503 ");
  AWAIT(lb, saver->called);
  await_end(lb, saver, saver->status);
  assert_true(saver->status < 0);
}

static void the_context_ends_it(void **state) {
  SETTING;
  dusk_server_config_t config = config_of(saver);
  int client = hold_half(lb, saver, config);
  dusk_context_cancel(dusk_request_context(saver->req), NULL);
  assert_has(hear(lb, client, "canceled"), " 507 ");
  await_end(lb, saver, UV_ECANCELED);
}

/* Also the one that a middleware has put in its place. */
static void save_below(dusk_response_t *res, dusk_request_t *req, void *arg) {
  dusk_context_t *ctx;
  assert_int_equal(dusk_context_with_cancel(dusk_request_context(req), &ctx),
                   0);
  assert_int_equal(dusk_request_set_context(req, ctx), 0);
  dusk_context_unref(ctx);
  save(res, req, arg);
}

static void a_context_that_was_given_ends_it(void **state) {
  SETTING;
  dusk_server_config_t config = config_of(saver);
  config.handler = save_below;
  int client = hold_half(lb, saver, config);
  dusk_context_t *ctx = dusk_request_context(saver->req);
  /* Replaced, it is still the one that the file is under. */
  assert_int_equal(dusk_request_set_context(saver->req, lb->root), 0);
  assert_int_equal(saver->called, 0);
  dusk_context_cancel(ctx, NULL);
  assert_has(hear(lb, client, "canceled"), " 507 ");
  await_end(lb, saver, UV_ECANCELED);
}

/* Also one that has ended before there was anything to save. */
static void save_canceled(dusk_response_t *res, dusk_request_t *req,
                          void *arg) {
  dusk_context_cancel(dusk_request_context(req), NULL);
  save(res, req, arg);
}

static void an_ended_context_saves_nothing(void **state) {
  SETTING;
  dusk_server_config_t config = config_of(saver);
  config.handler = save_canceled;
  serve(lb, config);
  int client = connect_client(lb);
  say(client, GET);
  assert_has(hear(lb, client, "canceled"), " 507 ");
  await_end(lb, saver, UV_ECANCELED);
  client = connect_client(lb);
  say(client, PUT("5") "abc");
  assert_has(hear(lb, client, "canceled"), " 507 ");
  await_end(lb, saver, UV_ECANCELED);
}

static void a_drain_waits_for_it(void **state) {
  SETTING;
  int client = hold_half(lb, saver, config_of(saver));
  begin_stop(lb, bound_of(lb, 5000));
  turn(lb, 5);
  char rest[10001];
  memset(rest, 'x', sizeof(rest));
  rest[10000] = '\0';
  say_all(lb, client, rest);
  assert_has(hear(lb, client, "saved\n"), " 201 ");
  assert_int_equal(end_stop(lb).requests_cut, 0);
  assert_non_null(saved(saver));
}

static void a_drains_cut_leaves_nothing(void **state) {
  SETTING;
  hold_half(lb, saver, config_of(saver));
  dusk_report_t report = stop(lb, 50);
  assert_int_equal(report.status, UV_ETIMEDOUT);
  await_end(lb, saver, saver->status);
  assert_true(saver->status < 0);
}

/* On the last of several loops: an idle client has the other one. */
static void a_close_during_a_write_leaves_nothing(void **state) {
  SETTING;
  char *request = request_of(100000);
  for (uint64_t threads = 1; threads <= 2; threads++) {
    dusk_server_config_t config = config_of(saver);
    config.threads = threads;
    serve(lb, config);
    if (threads > 1) ask_nothing(lb);
    int client = connect_client(lb);
    slow_down();
    say_all(lb, client, request);
    AWAIT(lb, disk.waiting == 1);
    dusk_server_close(lb->server);
    AWAIT(lb, saver->called);
    assert_int_equal(saver->status, UV_ECANCELED);
    assert_int_equal(folder_count(&saver->folder, true), 1);
    go_on();
    end_all(lb); /* a loop's thread ends behind what is under way on it */
    assert_int_equal(folder_count(&saver->folder, true), 0);
    assert_null(saved(saver));
  }
  free(request);
}

static void a_handler_that_ends_gives_the_file_up(void **state) {
  SETTING;
  int client = hold_half(lb, saver, config_of(saver));
  dusk_response_text(saver->res, 200, "enough\n");
  char rest[10001];
  memset(rest, 'x', sizeof(rest));
  rest[10000] = '\0';
  say_all(lb, client, rest);
  hear(lb, client, "enough\n");
  AWAIT(lb, folder_count(&saver->folder, true) == 0);
  assert_int_equal(saver->called, 0);
  assert_null(saved(saver));
  /* The connection goes on. */
  say(client, PUT("1") "x");
  hear(lb, client, "saved\n");
}

/* What is under way is the last request's, when the next one has begun. */
static void a_late_write_reaches_nobody_else(void **state) {
  SETTING;
  serve(lb, config_of(saver));
  char *request = request_of(100000);
  int client = connect_client(lb);
  slow_down();
  say_all(lb, client, request);
  AWAIT(lb, disk.waiting == 1);
  dusk_response_text(saver->res, 200, "enough\n");
  hear(lb, client, "enough\n");
  saver->keeps = true;
  say(client, PUT("2") "x");
  AWAIT(lb, saver->begun == 2);
  go_on();
  AWAIT(lb, folder_count(&saver->folder, true) == 0);
  assert_int_equal(saver->called, 0);
  saver->keeps = false;
  say(client, "y");
  hear(lb, client, "saved\n");
  assert_string_equal(saved(saver), "xy");
  free(request);
}

static void whoever_ends_while_it_is_finished_is_not_called(void **state) {
  SETTING;
  serve(lb, config_of(saver));
  int client = connect_client(lb);
  slow_down();
  say(client, PUT("1") "x");
  AWAIT(lb, disk.waiting == 1);
  dusk_response_text(saver->res, 200, "enough\n");
  hear(lb, client, "enough\n");
  go_on();
  AWAIT(lb, saved(saver) != NULL); /* it was whole already */
  turn(lb, 5);
  assert_int_equal(saver->called, 0);
}

/* The response is on its way still: the request is there, and over. */
static void nor_is_who_has_ended_at_length(void **state) {
  SETTING;
  enum { LEN = 16 << 20 };
  char *answer = calloc(1, LEN);
  serve(lb, config_of(saver));
  int client = connect_client(lb);
  slow_down();
  say(client, PUT("1") "x");
  AWAIT(lb, disk.waiting == 1);
  assert_int_equal(dusk_response_end(saver->res, answer, LEN), 0);
  go_on();
  AWAIT(lb, saved(saver) != NULL);
  turn(lb, 5);
  assert_int_equal(saver->called, 0);
  free(answer);
}

static void a_context_that_ends_while_it_is_finished_is_late(void **state) {
  SETTING;
  serve(lb, config_of(saver));
  int client = connect_client(lb);
  slow_down();
  say(client, PUT("1") "x");
  AWAIT(lb, disk.waiting == 1);
  dusk_context_cancel(dusk_request_context(saver->req), NULL);
  turn(lb, 5);
  go_on();
  assert_has(hear(lb, client, "saved\n"), " 201 ");
  assert_string_equal(saved(saver), "x");
}

static void who_leaves_while_it_is_finished_is_saved(void **state) {
  SETTING;
  serve(lb, config_of(saver));
  int client = connect_client(lb);
  slow_down();
  say(client, PUT("1") "x");
  AWAIT(lb, disk.waiting == 1);
  leave_abruptly(lb, client);
  turn(lb, 5);
  assert_int_equal(saver->called, 0);
  go_on();
  AWAIT(lb, saver->called);
  assert_int_equal(saver->status, 0);
  assert_string_equal(saved(saver), "x");
}

/* -- Parts of a form ------------------------------------------------------- */

static int on_part(dusk_request_t *req, const dusk_part_t *part, void *arg) {
  saver_t *saver = arg;
  (void)part;
  return dusk_request_save_part(req, saver->path, DUSK_OFF);
}

static int on_part_end(dusk_request_t *req, const dusk_part_t *part,
                       void *arg) {
  saver_t *saver = arg;
  (void)req;
  assert_int_equal(saver->called, 0);
  saver->len = part->len;
  saver->parts++;
  if (saver->ends) dusk_response_text(saver->res, 200, "enough\n");
  return saver->refuses ? UV_EPERM : 0;
}

static void on_form(dusk_request_t *req, int status, void *arg) {
  saver_t *saver = arg;
  (void)req;
  saver->status = status;
  saver->called++;
  dusk_response_abort(saver->res);
}

static void take_form(dusk_response_t *res, dusk_request_t *req, void *arg) {
  saver_t *saver = arg;
  dusk_multipart_config_t config = {.on_part = on_part,
                                    .on_part_end = on_part_end,
                                    .on_end = on_form,
                                    .arg = saver};
  saver->res = res;
  saver->req = req;
  assert_int_equal(dusk_request_multipart(req, &config), 0);
}

/* Its client goes while the only part's file is being finished. */
static void leave_form(loopback_t *lb, saver_t *saver) {
  dusk_server_config_t config = config_of(saver);
  config.handler = take_form;
  serve(lb, config);
  int client = connect_client(lb);
  slow_down();
  say(client, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n"
              "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
              "--b\r\nContent-Disposition: form-data; name=f\r\n\r\nx\r\n"
              "--b\r\n");
  AWAIT(lb, disk.waiting == 1);
  leave_abruptly(lb, client);
  turn(lb, 5);
  assert_int_equal(saver->called, 0);
  go_on();
}

static void expect_part(loopback_t *lb, saver_t *saver) {
  AWAIT(lb, saver->parts == 1);
  assert_int_equal(saver->len, 1);
  assert_string_equal(saved(saver), "x");
}

/* Or there would be a file that nobody knows of. */
static void a_parts_file_is_told_before_its_clients_leaving(void **state) {
  SETTING;
  leave_form(lb, saver);
  expect_part(lb, saver);
  assert_int_equal(saver->called, 1);
  assert_int_equal(saver->status, UV_ECONNRESET);
}

static void nor_does_a_refusal_hide_that_its_client_left(void **state) {
  SETTING;
  saver->refuses = true;
  leave_form(lb, saver);
  expect_part(lb, saver);
  assert_int_equal(saver->called, 1);
  assert_int_equal(saver->status, UV_ECONNRESET);
}

static void who_ends_behind_a_left_file_is_not_called(void **state) {
  SETTING;
  saver->ends = true;
  leave_form(lb, saver);
  expect_part(lb, saver);
  assert_int_equal(saver->called, 0);
}

static void a_left_file_that_fails_is_no_part(void **state) {
  SETTING;
  disk.rename_errno = EROFS;
  leave_form(lb, saver);
  AWAIT(lb, saver->called);
  assert_int_equal(saver->status, UV_ECONNRESET);
  assert_int_equal(saver->parts, 0);
  assert_int_equal(folder_count(&saver->folder, false), 0);
}

/* -- Misuse, and memory ---------------------------------------------------- */

static void misuse_is_told(void **state) {
  SETTING;
  int client = hold(lb, DEFAULTS, PUT("1"));
  dusk_request_t *req = lb->held.req;
  assert_int_equal(dusk_request_save(req, NULL, 1, on_saved, saver), UV_EINVAL);
  assert_int_equal(dusk_request_save(req, "", 1, on_saved, saver), UV_EINVAL);
  assert_int_equal(dusk_request_save(req, saver->path, 1, NULL, saver),
                   UV_EINVAL);
  saver->req = req;
  saver->res = lb->held.res;
  assert_int_equal(dusk_request_save(req, saver->path, 1, on_saved, saver), 0);
  assert_int_equal(dusk_request_save(req, saver->path, 1, on_saved, saver),
                   DUSK_EBODYTAKEN);
  say(client, "x");
  hear(lb, client, "saved\n");
  hold_next(lb, client, PUT("1"));
  leave_abruptly(lb, client);
  AWAIT(lb, loopback_report(lb).conns_now == 0);
  assert_int_equal(
      dusk_request_save(lb->held.req, saver->path, 1, on_saved, saver),
      UV_ECANCELED);
  dusk_response_end(lb->held.res, NULL, 0);
}

/* It is answered, or cut; and what is told is what has happened. */
static void each_allocation_may_fail(void **state) {
  SETTING;
  char *request = request_with("Connection: close", 100000);
  bool has_failed = true;
  for (size_t n = 1; has_failed; n++) {
    serve(lb, config_of(saver));
    int client = connect_client(lb);
    turn(lb, 3);
    alloc_fail_at(n);
    say_all(lb, client, request);
    const char *heard = hear(lb, client, NULL);
    has_failed = alloc_has_failed();
    alloc_fail_at(0);
    bool was_saved = strstr(heard, " 201 ") != NULL;
    if (!was_saved && *heard) assert_has(heard, " 503 ");
    assert_true(was_saved || has_failed);
    end_all(lb);
    assert_int_equal(folder_count(&saver->folder, true), 0);
    assert_true(was_saved == (saved(saver) != NULL));
    unlink(saver->path);
  }
  free(request);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      save_test(a_body_becomes_a_file),
      save_test(a_body_comes_in_any_pieces),
      save_test(a_large_body_is_whole),
      save_test(a_link_is_replaced_and_not_followed),
      save_test(a_file_has_the_rights_that_the_umask_leaves),
      save_test(a_path_may_be_relative),
      save_test(two_loops_save_as_one_does),
      save_test(a_slow_disk_stops_its_client_alone),
      save_test(a_paused_one_is_not_taken),
      save_test(a_pause_outlasts_a_write),
      save_test(too_much_is_413_before_a_byte_is_read),
      save_test(too_much_in_chunks_is_413),
      save_test(a_full_disk_is_told_and_leaves_nothing),
      save_test(an_interrupted_close_has_closed),
      save_test(a_size_limit_is_an_error),
      save_test(a_path_that_cannot_be_is_told),
      save_test(a_client_that_leaves_leaves_nothing),
      save_test(a_client_that_is_reset_leaves_nothing),
      save_test(who_half_closes_behind_the_body_is_served),
      save_test(who_half_closes_within_the_body_is_not),
      save_test(who_half_closes_within_a_write_is_told_behind_it),
      save_test(a_client_that_stands_still_is_408),
      save_test(a_request_that_times_out_leaves_nothing),
      save_test(the_context_ends_it),
      save_test(a_context_that_was_given_ends_it),
      save_test(an_ended_context_saves_nothing),
      save_test(a_drain_waits_for_it),
      save_test(a_drains_cut_leaves_nothing),
      save_test(a_close_during_a_write_leaves_nothing),
      save_test(a_handler_that_ends_gives_the_file_up),
      save_test(a_late_write_reaches_nobody_else),
      save_test(whoever_ends_while_it_is_finished_is_not_called),
      save_test(nor_is_who_has_ended_at_length),
      save_test(a_context_that_ends_while_it_is_finished_is_late),
      save_test(who_leaves_while_it_is_finished_is_saved),
      save_test(a_parts_file_is_told_before_its_clients_leaving),
      save_test(nor_does_a_refusal_hide_that_its_client_left),
      save_test(who_ends_behind_a_left_file_is_not_called),
      save_test(a_left_file_that_fails_is_no_part),
      save_test(misuse_is_told),
      save_test(each_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
