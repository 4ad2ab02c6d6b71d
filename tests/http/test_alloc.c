/* What the library allocates: nothing for a keep-alive request, and no failure
 * of an allocation does more harm than it must. */
#include "house.h"

#include "alloc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET_PATH "GET /path?query=1 HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n"
#define GET_PATH4 GET_PATH GET_PATH GET_PATH GET_PATH

static void answer(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  dusk_response_add_header(res, "X-Path", dusk_request_path(req));
  dusk_response_text(res, 200, "hello\n");
}

static size_t exchange(loopback_t *lb, int client, const char *requests,
                       size_t len) {
  char buf[4096];
  loopback_send(client, requests);
  assert_true(len < sizeof(buf));
  return loopback_receive(lb, client, buf, len ? len + 1 : sizeof(buf),
                          len ? NULL : "hello\n");
}

static void a_keep_alive_request_allocates_nothing(void **state) {
  (void)state;
#ifdef __SANITIZE_ADDRESS__
  skip(); /* exchanges are freed, so that their late users are told */
#endif
  dusk_server_config_t config = {.handler = answer};
  loopback_t lb;
  loopback_open(&lb, &config);
  int client = loopback_connect(&lb);
  size_t len = exchange(&lb, client, GET_PATH, 0);
  exchange(&lb, client, GET_PATH, len);
  size_t before = alloc_count();
  for (int i = 0; i < 100; i++)
    assert_int_equal(exchange(&lb, client, GET_PATH, len), len);
  for (int i = 0; i < 100; i++)
    assert_int_equal(exchange(&lb, client, GET_PATH4, 4 * len), 4 * len);
  assert_int_equal(alloc_count() - before, 0);
  close(client);
  loopback_close(&lb, 5000);
}

enum { THREADS = 3 };

/* A handler that uses all that may have to allocate. */
static void on_collected(dusk_request_t *req, int status, const char *data,
                         size_t len, void *arg) {
  dusk_response_t *res = arg;
  if (status < 0) {
    dusk_response_end(res, NULL, 0);
    return;
  }
  dusk_request_context(req);
  dusk_response_add_header(res, "X-Peer", dusk_request_peer(req));
  dusk_response_add_header(res, "X-Path", dusk_request_path(req));
  dusk_response_write(res, data, len);
  dusk_response_end(res, data, len);
}

static void collect(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  if (dusk_request_collect(req, 100000, on_collected, res) < 0)
    dusk_response_abort(res);
}

/* Many fields and a large body, so that all buffers grow. */
static char *large_request(void) {
  enum { FIELDS = 100, BODY = 60000, BYTES = 200000 };
  char *text = malloc(BYTES);
  char *at = text;
  at += sprintf(at,
                "POST /path?q HTTP/1.1\r\nHost: h\r\n"
                "Connection: close\r\nContent-Length: %d\r\n",
                BODY);
  for (int i = 0; i < FIELDS; i++)
    at += sprintf(at, "Field-%d: %0200d\r\n", i, i);
  at += sprintf(at, "\r\n");
  memset(at, 'b', BODY);
  at[BODY] = '\0';
  return text;
}

/* Sends as the server reads, and reads to the end; on the last of several
 * loops: idle clients have the others. */
static void talk(loopback_t *lb, const char *request, uint64_t threads) {
  size_t len = strlen(request);
  size_t sent = 0;
  int idle[THREADS];
  for (uint64_t i = 0; i + 1 < threads; i++)
    idle[i] = loopback_connect(lb);
  int client = loopback_connect(lb);
  char buf[4096];
  for (;;) {
    ssize_t n = send(client, request + sent, len - sent, MSG_NOSIGNAL);
    if (n > 0) sent += (size_t)n;
    uv_run(&lb->loop, UV_RUN_NOWAIT);
    n = recv(client, buf, sizeof(buf), MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN)) break;
  }
  close(client);
  for (uint64_t i = 0; i + 1 < threads; i++)
    close(idle[i]);
}

static void on_shutdown(dusk_server_t *server, int status, void *arg) {
  (void)server;
  (void)status;
  *(int *)arg = 1;
}

static void one_life(loopback_t *lb, const char *request, uint64_t threads) {
  dusk_server_config_t config = {
      .handler = collect, .request_timeout_ms = 60000, .threads = threads};
  if (dusk_server_new(lb->root, &config, &lb->server) < 0) return;
  int err = dusk_server_serve(lb->server, "127.0.0.1:0", NULL, NULL);
  if (err == 0) {
    assert_int_equal(
        dusk_server_address(lb->server, 0, lb->address, sizeof(lb->address)),
        0);
    talk(lb, request, threads);
  }
  dusk_context_t *bound;
  int done = 0;
  if (dusk_context_with_timeout(lb->root, 5000, NULL, &bound) == 0) {
    /* What the first one needs was made with the server. */
    assert_int_equal(
        dusk_server_shutdown(lb->server, bound, on_shutdown, &done), 0);
    loopback_run_until(lb, &done);
    dusk_context_unref(bound);
  }
  dusk_server_unref(lb->server);
  uv_run(&lb->loop, UV_RUN_DEFAULT);
}

static void every_allocation_may_fail_on(uint64_t threads) {
  char *request = large_request();
  loopback_t lb;
  memset(&lb, 0, sizeof(lb));
  assert_int_equal(uv_loop_init(&lb.loop), 0);
  assert_int_equal(dusk_context_attach(&lb.loop, &lb.root), 0);
  size_t live = alloc_live();
  size_t n = 0;
  do {
    alloc_fail_at(++n);
    one_life(&lb, request, threads);
    assert_int_equal(alloc_live(), live);
  } while (alloc_has_failed());
  assert_true(n > 15); /* it has met the ones that it was made for */
  alloc_fail_at(0);
  assert_int_equal(dusk_context_detach(lb.root, NULL, NULL), 0);
  uv_run(&lb.loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&lb.loop), 0);
  free(request);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  every_allocation_may_fail_on(1);
}

/* Also the threads', in whatever order they come. */
static void every_allocation_of_several_loops_may_fail(void **state) {
  (void)state;
  every_allocation_may_fail_on(THREADS);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(a_keep_alive_request_allocates_nothing),
      house_test(every_allocation_may_fail),
      house_test(every_allocation_of_several_loops_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
