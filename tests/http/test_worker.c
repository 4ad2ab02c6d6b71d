/* A loop of the server, as its users meet it: begun, asked for by handlers,
 * ended. */
#include "house.h"

#include <unistd.h>

typedef struct lives {
  int started;
  int stopped;
  int refusal; /* what start returns */
  dusk_context_t *root;
  int data;
  void *stopped_with;
} lives_t;

static int on_start(dusk_server_t *server, dusk_context_t *root, size_t index,
                    void **data, void *arg) {
  lives_t *lives = arg;
  assert_non_null(server);
  assert_int_equal(index, 0);
  assert_null(*data);
  lives->started++;
  lives->root = root;
  *data = &lives->data;
  return lives->refusal;
}

static void on_stop(dusk_server_t *server, dusk_context_t *root, size_t index,
                    void *data, void *arg) {
  lives_t *lives = arg;
  assert_non_null(server);
  assert_int_equal(index, 0);
  assert_ptr_equal(root, lives->root);
  lives->stopped++;
  lives->stopped_with = data;
}

static dusk_server_config_t configured(lives_t *lives) {
  return (dusk_server_config_t){.on_worker_start = on_start,
                                .on_worker_stop = on_stop,
                                .on_worker_arg = lives};
}

static void a_request_tells_the_loop_that_it_is_on(void **state) {
  (void)state;
  loopback_t lb;
  held_t held;
  lives_t lives = {0};
  int client = loopback_hold(&lb, &held, configured(&lives),
                             "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  assert_int_equal(lives.started, 1);
  assert_ptr_equal(lives.root, lb.root);
  assert_ptr_equal(dusk_request_root(held.req), lb.root);
  assert_ptr_equal(dusk_request_loop(held.req), &lb.loop);
  assert_ptr_equal(dusk_request_worker_data(held.req), &lives.data);
  dusk_response_text(held.res, 200, "hello\n");
  loopback_shutdown(&lb, 5000);
  assert_int_equal(lives.stopped, 0); /* the server is still ours */
  loopback_finish(&lb);
  assert_int_equal(lives.stopped, 1);
  assert_ptr_equal(lives.stopped_with, &lives.data);
  close(client);
}

static void without_a_start_there_is_no_data(void **state) {
  (void)state;
  loopback_t lb;
  held_t held;
  int client = loopback_hold(&lb, &held, (dusk_server_config_t){0},
                             "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  assert_null(dusk_request_worker_data(held.req));
  dusk_response_text(held.res, 200, "hello\n");
  loopback_close(&lb, 5000);
  close(client);
}

/* Its handler still has the response when all else is over. */
static void the_data_has_gone_once_it_was_stopped(void **state) {
  (void)state;
  loopback_t lb;
  held_t held;
  lives_t lives = {0};
  int client = loopback_hold(&lb, &held, configured(&lives),
                             "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  dusk_server_unref(lb.server); /* closes it, too */
  while (lives.stopped == 0)
    uv_run(&lb.loop, UV_RUN_ONCE);
  assert_null(dusk_request_worker_data(held.req));
  assert_ptr_equal(dusk_request_root(held.req), lb.root);
  assert_int_equal(dusk_response_end(held.res, NULL, 0), UV_ECANCELED);
  assert_int_equal(lives.stopped, 1);
  uv_run(&lb.loop, UV_RUN_DEFAULT);
  assert_int_equal(dusk_context_detach(lb.root, NULL, NULL), 0);
  uv_run(&lb.loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&lb.loop), 0);
  close(client);
}

static int make(dusk_server_config_t config) {
  uv_loop_t loop;
  dusk_context_t *root;
  dusk_server_t *server = NULL;
  config.handler = loopback_keep;
  assert_int_equal(uv_loop_init(&loop), 0);
  assert_int_equal(dusk_context_attach(&loop, &root), 0);
  int err = dusk_server_new(root, &config, &server);
  assert_int_equal(err == 0, server != NULL);
  dusk_server_unref(server);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(dusk_context_detach(root, NULL, NULL), 0);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&loop), 0);
  return err;
}

static void a_start_that_fails_fails_the_server(void **state) {
  (void)state;
  lives_t lives = {.refusal = UV_ENOSPC};
  assert_int_equal(make(configured(&lives)), UV_ENOSPC);
  assert_int_equal(lives.started, 1);
  assert_int_equal(lives.stopped, 0);
}

static void a_server_that_never_served_has_stopped_its_loop(void **state) {
  (void)state;
  lives_t lives = {0};
  assert_int_equal(make(configured(&lives)), 0);
  assert_int_equal(lives.stopped, 1);
}

static void threads_have_a_limit(void **state) {
  (void)state;
  assert_int_equal(make((dusk_server_config_t){.threads = 1}), 0);
  assert_int_equal(make((dusk_server_config_t){.threads = 1025}), UV_EINVAL);
  assert_int_equal(make((dusk_server_config_t){.threads = DUSK_OFF}),
                   UV_EINVAL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(a_request_tells_the_loop_that_it_is_on),
      house_test(without_a_start_there_is_no_data),
      house_test(the_data_has_gone_once_it_was_stopped),
      house_test(a_start_that_fails_fails_the_server),
      house_test(a_server_that_never_served_has_stopped_its_loop),
      house_test(threads_have_a_limit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
