/* Bodies beyond what an `unsigned` counts: all of it goes out, and the next
 * answer lies right behind. The body is memory that nobody has written to, and
 * the client throws it away unread. */
#include "house.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define LEN (((uint64_t)4 << 30) + ((uint64_t)64 << 20))
#define TWO                                                                    \
  "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n"

typedef struct call {
  const char *body;
  int (*respond)(dusk_response_t *res, const char *body);
  int released;
} call_t;

static call_t *call;

static void on_released(void *arg) {
  ++*(int *)arg;
}

static int by_write(dusk_response_t *res, const char *body) {
  int err = dusk_response_write(res, body, LEN);
  return err < 0 ? err : dusk_response_end(res, NULL, 0);
}

static int by_end(dusk_response_t *res, const char *body) {
  return dusk_response_end(res, body, LEN);
}

static int by_write_ref(dusk_response_t *res, const char *body) {
  int err =
      dusk_response_write_ref(res, body, LEN, on_released, &call->released);
  return err < 0 ? err : dusk_response_end(res, NULL, 0);
}

static int by_end_ref(dusk_response_t *res, const char *body) {
  return dusk_response_end_ref(res, body, LEN, on_released, &call->released);
}

static void answer(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  if (strcmp(dusk_request_path(req), "/2") == 0) {
    dusk_response_end(res, "next", 4);
    return;
  }
  char text[24];
  snprintf(text, sizeof(text), "%llu", (unsigned long long)LEN);
  dusk_response_set_header(res, "Content-Length", text);
  assert_int_equal(call->respond(res, call->body), 0);
}

typedef struct client {
  int fd;
  uint64_t body;
  char next[512];
  uv_async_t done;
  int is_done;
} client_t;

/* The header, byte by byte, so that nothing of the body is taken with it. */
static bool skip_header(int fd) {
  static const char end[] = "\r\n\r\n";
  size_t found = 0;
  char c;
  while (found < 4 && recv(fd, &c, 1, MSG_WAITALL) == 1)
    found = c == end[found] ? found + 1 : c == '\r';
  return found == 4;
}

/* Reads in a thread of its own: the server's loop has no time for it. */
static void read_all(void *arg) {
  client_t *client = arg;
  uint64_t left = skip_header(client->fd) ? LEN : 0;
  while (left > 0) {
    size_t most = left < (1 << 20) ? (size_t)left : 1 << 20;
    ssize_t got = recv(client->fd, NULL, most, MSG_TRUNC);
    if (got <= 0) break;
    left -= (uint64_t)got;
    client->body += (uint64_t)got;
  }
  size_t len = 0;
  while (!strstr(client->next, "next")) {
    ssize_t got =
        recv(client->fd, client->next + len, sizeof(client->next) - 1 - len, 0);
    if (got <= 0) break;
    len += (size_t)got;
  }
  uv_async_send(&client->done);
}

static void on_done(uv_async_t *async) {
  ((client_t *)async->data)->is_done = 1;
  uv_close((uv_handle_t *)async, NULL);
}

static void goes_out_whole(int (*respond)(dusk_response_t *, const char *),
                           int released) {
  call_t this_call = {.respond = respond};
  call = &this_call;
  void *body = mmap(NULL, LEN, PROT_READ,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  assert_ptr_not_equal(body, MAP_FAILED);
  call->body = body;
  dusk_server_config_t config = {.handler = answer};
  loopback_t lb;
  loopback_open(&lb, &config);
  client_t client = {.fd = loopback_connect_blocking(&lb)};
  assert_int_equal(uv_async_init(&lb.loop, &client.done, on_done), 0);
  client.done.data = &client;
  loopback_send(client.fd, TWO);
  uv_thread_t thread;
  assert_int_equal(uv_thread_create(&thread, read_all, &client), 0);
  while (!client.is_done)
    uv_run(&lb.loop, UV_RUN_ONCE);
  uv_thread_join(&thread);
  assert_int_equal(client.body, LEN);
  assert_int_equal(strncmp(client.next, "HTTP/1.1 200 OK\r\n", 17), 0);
  assert_non_null(strstr(client.next, "\r\n\r\nnext"));
  assert_int_equal(call->released, released);
  close(client.fd);
  loopback_close(&lb, 5000);
  munmap(body, LEN);
}

static void by_reference(void **state) {
  (void)state;
  goes_out_whole(by_end_ref, 1);
  goes_out_whole(by_write_ref, 1);
}

/* The library has to keep a copy of what the client hasn't taken yet. */
static void by_copy(void **state) {
  (void)state;
  uint64_t room =
      (uint64_t)sysconf(_SC_AVPHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
  if (room < 2 * LEN) skip();
  goes_out_whole(by_end, 0);
  goes_out_whole(by_write, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(by_reference),
      house_test(by_copy),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
