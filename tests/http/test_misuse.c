/* What a program must not do, in a library with assertions: it stops at the
 * call, and says what it was. */
#include "house.h"

#include "dies.h"

#include <stdlib.h>
#include <unistd.h>

static void hold_one(loopback_t *lb, held_t *held, const char *request) {
  loopback_hold(lb, held, (dusk_server_config_t){0}, request);
}

static void ends_twice(void) {
  loopback_t lb;
  held_t held;
  hold_one(&lb, &held, GET);
  dusk_response_end(held.res, NULL, 0);
  dusk_response_end(held.res, NULL, 0);
}

static void reads_after_the_end(void) {
  loopback_t lb;
  held_t held;
  hold_one(&lb, &held, GET);
  dusk_response_end(held.res, NULL, 0);
  dusk_request_path(held.req);
}

/* The same connection's next request has its memory. */
static void ends_the_next_one(void) {
  loopback_t lb;
  held_t held;
  hold_one(&lb, &held, GET GET);
  dusk_response_t *stale = held.res;
  held.called = 0;
  dusk_response_end(held.res, NULL, 0);
  loopback_run_until(&lb, &held.called);
  dusk_response_end(stale, NULL, 0);
}

/* Not all of it is out, so it is still there; but it was ended. */
static void ends_twice_before_all_is_sent(void) {
  enum { LEN = 16 << 20 };
  loopback_t lb;
  held_t held;
  hold_one(&lb, &held, GET);
  dusk_response_end_ref(held.res, calloc(1, LEN), LEN, NULL, NULL);
  dusk_response_end(held.res, NULL, 0);
}

static void end_it(void *arg) {
  dusk_response_end(arg, NULL, 0);
}

static void answers_from_another_thread(void) {
  loopback_t lb;
  held_t held;
  hold_one(&lb, &held, GET);
  uv_thread_t thread;
  uv_thread_create(&thread, end_it, held.res);
  uv_thread_join(&thread);
}

static void close_it(void *arg) {
  dusk_server_close(arg);
}

static void closes_from_another_thread(void) {
  loopback_t lb;
  held_t held;
  hold_one(&lb, &held, GET);
  uv_thread_t thread;
  uv_thread_create(&thread, close_it, lb.server);
  uv_thread_join(&thread);
}

/* Each of a request and of its server belongs to the loop's thread. */
static void path_it(void *arg) {
  dusk_request_path(arg);
}

static void value_it(void *arg) {
  static const dusk_key_t key;
  if (dusk_request_set_value(arg, &key, NULL, NULL)) abort();
}

static void ask_for_its_context(void *arg) {
  dusk_request_context(arg);
}

static void write_it(void *arg) {
  dusk_response_write(arg, "x", 1);
}

static void name_its_peer(void *arg) {
  char text[80];
  dusk_conn_peer(arg, text, sizeof(text));
}

static void ask_for_its_conns_context(void *arg) {
  dusk_conn_context(arg);
}

static void serve_it(void *arg) {
  if (dusk_server_serve(arg, ":0", NULL, NULL)) abort();
}

static void report_it(void *arg) {
  dusk_report_t report;
  dusk_server_report(arg, &report);
}

static void shut_it_down(void *arg) {
  dusk_server_t *server = ((loopback_t *)arg)->server;
  if (dusk_server_shutdown(server, ((loopback_t *)arg)->root, NULL, NULL))
    abort();
}

static void lame_it(void *arg) {
  dusk_server_lame_duck(arg, true);
}

static void stop_its_keep_alives(void *arg) {
  dusk_server_set_keep_alives(arg, false);
}

static void release_it(void *arg) {
  dusk_server_unref(arg);
}

static const struct misplaced {
  void (*call)(void *arg);
  enum { OF_RESPONSE, OF_CONN, OF_SERVER, OF_ALL } of;
} misplaced[] = {
    {path_it, OF_RESPONSE},
    {value_it, OF_RESPONSE},
    {ask_for_its_context, OF_RESPONSE},
    {write_it, OF_RESPONSE},
    {name_its_peer, OF_CONN},
    {ask_for_its_conns_context, OF_CONN},
    {serve_it, OF_SERVER},
    {report_it, OF_SERVER},
    {shut_it_down, OF_ALL},
    {lame_it, OF_SERVER},
    {stop_its_keep_alives, OF_SERVER},
    {release_it, OF_SERVER},
};

static const struct misplaced *next_misplaced;

static void calls_from_another_thread(void) {
  loopback_t lb;
  held_t held;
  hold_one(&lb, &held, GET);
  void *const args[] = {held.res, dusk_request_conn(held.req), lb.server, &lb};
  uv_thread_t thread;
  uv_thread_create(&thread, next_misplaced->call, args[next_misplaced->of]);
  uv_thread_join(&thread);
}

static void on_header(dusk_response_t *res, void *arg) {
  (void)arg;
  dusk_response_end(res, "x", 1);
}

static void on_header_write(dusk_response_t *res, void *arg) {
  (void)arg;
  dusk_response_write(res, "x", 1);
}

static void ends_in_a_hook_of_the_header(void) {
  loopback_t lb;
  held_t held;
  hold_one(&lb, &held, GET);
  if (dusk_response_on_header(held.res, on_header, NULL) < 0) _exit(1);
  dusk_response_end(held.res, NULL, 0);
}

static void writes_in_a_hook_of_the_header(void) {
  loopback_t lb;
  held_t held;
  hold_one(&lb, &held, GET);
  if (dusk_response_on_header(held.res, on_header_write, NULL) < 0) _exit(1);
  dusk_response_end(held.res, NULL, 0);
}

static void on_error_reply(dusk_response_t *res, dusk_error_reply_t *reply,
                           void *arg) {
  (void)arg;
  dusk_response_json(res, reply->status, "{}");
}

static void answers_in_on_error_reply(void) {
  loopback_t lb;
  held_t held;
  loopback_hold(&lb, &held,
                (dusk_server_config_t){.on_error_reply = on_error_reply}, GET);
  dusk_response_error(held.res, 500, NULL);
}

static void replies_by_no_status(void) {
  loopback_t lb;
  held_t held;
  hold_one(&lb, &held, GET);
  dusk_response_text(held.res, 99, "x");
}

static void bad_replies_are_told(void **state) {
  (void)state;
  dies(ends_in_a_hook_of_the_header, "a hook of the header has");
  dies(writes_in_a_hook_of_the_header, "a hook of the header has");
  dies(answers_in_on_error_reply, "on_error_reply has written");
  dies(replies_by_no_status, "a status that is none");
}

static void stale_handles_are_told(void **state) {
  (void)state;
  static const char says[] = "a request or response was used after its end";
  dies(ends_twice, says);
  dies(reads_after_the_end, says);
  dies(ends_the_next_one, says);
  dies(ends_twice_before_all_is_sent, says);
}

static void other_threads_are_told(void **state) {
  (void)state;
  dies(answers_from_another_thread, "not on the loop's thread");
  dies(closes_from_another_thread, "dusk__server_on_thread");
  for (size_t i = 0; i < sizeof(misplaced) / sizeof(*misplaced); i++) {
    next_misplaced = &misplaced[i];
    dies(calls_from_another_thread, next_misplaced->of < OF_SERVER
                                        ? "not on the loop's thread"
                                        : "dusk__server_on_thread");
  }
}

/* A request that a handler still has keeps the memory. */
static void releases_a_server_twice(void) {
  loopback_t lb;
  held_t held;
  hold_one(&lb, &held, GET);
  dusk_server_unref(lb.server);
  dusk_server_unref(lb.server);
}

static void releases_a_server_that_has_gone(void) {
  loopback_t lb;
  loopback_open(&lb, &(dusk_server_config_t){.handler = loopback_keep});
  dusk_server_unref(lb.server);
  uv_run(&lb.loop, UV_RUN_DEFAULT);
  dusk_server_unref(lb.server);
}

static void servers_released_twice_are_told(void **state) {
  (void)state;
  dies(releases_a_server_twice, "a server was released twice");
  if (UNDER_ASAN) dies(releases_a_server_that_has_gone, "AddressSanitizer");
}

/* -- Handlers around handlers ---------------------------------------------- */

static dusk_max_bytes_t no_bytes;
static dusk_timeout_t no_timeout;
static dusk_strip_prefix_t no_prefix, no_next = {.prefix = "/"};
static dusk_cross_origin_t no_origin;

static const dusk_handler_t without_next[] = {
    {dusk_max_bytes_serve, &no_bytes},
    {dusk_timeout_serve, &no_timeout},
    {dusk_strip_prefix_serve, &no_next},
    {dusk_cross_origin_serve, &no_origin}};

static const dusk_handler_t *next_wrapper;

static void wraps_nothing(void) {
  loopback_t lb;
  held_t held;
  hold_one(&lb, &held, GET);
  dusk_handler_serve(next_wrapper, held.res, held.req);
}

static void strips_nothing(void) {
  loopback_t lb;
  held_t held;
  no_prefix.next.cb = loopback_keep;
  hold_one(&lb, &held, GET);
  dusk_strip_prefix_serve(held.res, held.req, &no_prefix);
}

/* Both wait for something, and answer. */
static void goes_on_twice(void) {
  loopback_t lb;
  held_t held, first;
  dusk_handler_t next = {loopback_keep, &first};
  hold_one(&lb, &held, GET);
  dusk_handler_serve(&next, held.res, held.req);
  next.arg = &held;
  dusk_handler_serve(&next, held.res, held.req);
  dusk_response_end(first.res, NULL, 0);
  dusk_response_end(held.res, NULL, 0);
}

static void middleware_without_its_parts_is_told(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof(without_next) / sizeof(*without_next); i++) {
    next_wrapper = &without_next[i];
    dies(wraps_nothing, "a handler that wraps one has none");
  }
  dies(strips_nothing, "there is no prefix to strip");
  dies(goes_on_twice, "a request or response was used after its end");
}

static void frees_a_servers_mux(void) {
  loopback_t lb;
  dusk_mux_t *mux;
  if (dusk_mux_new(&mux) < 0) return;
  loopback_open(&lb, &(dusk_server_config_t){.handler = dusk_mux_serve,
                                             .handler_arg = mux});
  dusk_mux_free(mux);
}

static void frees_a_muxs_mux(void) {
  dusk_mux_t *outer, *inner;
  if (dusk_mux_new(&outer) < 0 || dusk_mux_new(&inner) < 0 ||
      dusk_mux_handle(outer, "/a/", dusk_mux_serve, inner) < 0)
    return;
  dusk_mux_free(inner);
}

static void muxes_in_use_are_told(void **state) {
  (void)state;
  static const char says[] = "a mux was freed that a server or another mux has";
  dies(frees_a_servers_mux, says);
  dies(frees_a_muxs_mux, says);
}

static void end_twice(dusk_response_t *res, dusk_request_t *req, void *arg) {
  assert_int_equal(dusk_response_end(res, "x", 1), 0);
  assert_int_equal(dusk_response_end(res, "x", 1), UV_ECANCELED);
  assert_string_equal(dusk_request_path(req), "/");
  ++*(int *)arg;
}

/* Within the handler's own call both outlive the end. */
static void the_handlers_own_call_may_look_back(void **state) {
  (void)state;
  int called = 0;
  loopback_t lb;
  dusk_server_config_t config = {.handler = end_twice, .handler_arg = &called};
  loopback_open(&lb, &config);
  int client = loopback_connect(&lb);
  loopback_send(client, GET);
  loopback_run_until(&lb, &called);
  close(client);
  loopback_close(&lb, 5000);
}

static int thread_called;

static void run_loop(void *arg) {
  loopback_t *lb = arg;
  loopback_run_until(lb, &thread_called);
  loopback_shutdown(lb, 5000);
}

/* Made here, run there, and given up here when all is over. */
static void a_loop_may_change_its_thread(void **state) {
  (void)state;
  loopback_t lb;
  dusk_server_config_t config = {.handler = end_twice,
                                 .handler_arg = &thread_called};
  loopback_open(&lb, &config);
  int client = loopback_connect(&lb);
  loopback_send(client, GET);
  uv_thread_t thread;
  assert_int_equal(uv_thread_create(&thread, run_loop, &lb), 0);
  uv_thread_join(&thread);
  close(client);
  loopback_finish(&lb);
}

static void on_time_to_stop(uv_timer_t *timer) {
  loopback_t *lb = timer->data;
  dusk_server_close(lb->server);
  uv_close((uv_handle_t *)timer, NULL);
}

/* The timer is due behind a turn of this thread's, however late that comes. */
static void run_to_the_end(void *arg) {
  uv_timer_t *timer = arg;
  uv_run(timer->loop, UV_RUN_NOWAIT);
  assert_int_equal(uv_timer_start(timer, on_time_to_stop, 1, 0), 0);
  uv_run(timer->loop, UV_RUN_DEFAULT);
}

/* What the new thread calls first need not be for a client. */
static void a_thread_that_took_the_loop_over_may_stop(void **state) {
  (void)state;
  loopback_t lb;
  uv_timer_t timer = {.data = &lb};
  loopback_open(&lb, &(dusk_server_config_t){.handler = end_twice});
  uv_run(&lb.loop, UV_RUN_NOWAIT);
  assert_int_equal(uv_timer_init(&lb.loop, &timer), 0);
  uv_thread_t thread;
  assert_int_equal(uv_thread_create(&thread, run_to_the_end, &timer), 0);
  uv_thread_join(&thread);
  loopback_finish(&lb);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(stale_handles_are_told),
      house_test(bad_replies_are_told),
      house_test(other_threads_are_told),
      house_test(servers_released_twice_are_told),
      house_test(middleware_without_its_parts_is_told),
      house_test(muxes_in_use_are_told),
      house_test(the_handlers_own_call_may_look_back),
      house_test(a_loop_may_change_its_thread),
      house_test(a_thread_that_took_the_loop_over_may_stop),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
