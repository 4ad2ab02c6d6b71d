/* A server on several loops: two or four, of which one is the test's. */
#include "loopback.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define LAST "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

enum { MOST = 4 };

/* A loop's, as on_worker_start makes it. */
typedef struct place {
  size_t index;
  uv_thread_t thread;
  uv_loop_t *loop;
} place_t;

typedef struct team {
  loopback_t lb;
  place_t places[MOST];
  size_t threads;
  atomic_int started;
  atomic_int stopped;
  atomic_int running; /* handlers */
  atomic_int cuts;
  atomic_int cancelled;
  uv_sem_t release; /* of a handler that blocks */
  int refuses;      /* the start of this one */
} team_t;

static int on_start(dusk_server_t *server, dusk_context_t *root, size_t index,
                    void **ret_data, void *arg) {
  team_t *team = arg;
  assert_non_null(server);
  place_t *place = &team->places[index];
  *place = (place_t){.index = index,
                     .thread = uv_thread_self(),
                     .loop = dusk_context_loop(root)};
  if (team->refuses && team->refuses == (int)index) return UV_EPERM;
  atomic_fetch_add(&team->started, 1);
  *ret_data = place;
  return 0;
}

static void on_stop(dusk_server_t *server, dusk_context_t *root, size_t index,
                    void *data, void *arg) {
  team_t *team = arg;
  uv_thread_t self = uv_thread_self();
  assert_non_null(server);
  assert_ptr_equal(data, &team->places[index]);
  assert_ptr_equal(dusk_context_loop(root), team->places[index].loop);
  assert_true(uv_thread_equal(&self, &team->places[index].thread));
  atomic_fetch_add(&team->stopped, 1);
}

/* Says on which loop it runs. */
static void tell_place(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  const place_t *place = dusk_request_worker_data(req);
  uv_thread_t self = uv_thread_self();
  assert_true(uv_thread_equal(&self, &place->thread));
  assert_ptr_equal(dusk_request_loop(req), place->loop);
  assert_ptr_equal(dusk_context_loop(dusk_request_root(req)), place->loop);
  assert_ptr_equal(dusk_context_loop(dusk_request_context(req)), place->loop);
  char text[32];
  snprintf(text, sizeof(text), "loop %zu.\n", place->index);
  dusk_response_text(res, 200, text);
}

static void on_cut(dusk_request_t *req, uint64_t age_ms, void *arg) {
  (void)req;
  (void)age_ms;
  atomic_fetch_add(&((team_t *)arg)->cuts, 1);
}

static dusk_server_config_t config_of(team_t *team, dusk_handler_cb handler,
                                      size_t threads) {
  memset(team, 0, sizeof(*team));
  team->threads = threads;
  assert_int_equal(uv_sem_init(&team->release, 0), 0);
  return (dusk_server_config_t){.handler = handler,
                                .handler_arg = team,
                                .threads = threads,
                                .on_worker_start = on_start,
                                .on_worker_stop = on_stop,
                                .on_worker_arg = team,
                                .on_request_cut = on_cut,
                                .on_request_cut_arg = team};
}

static void open_team(team_t *team, dusk_handler_cb handler, size_t threads) {
  dusk_server_config_t config = config_of(team, handler, threads);
  loopback_open(&team->lb, &config);
  assert_int_equal(atomic_load(&team->started), threads);
}

static void close_team(team_t *team) {
  loopback_finish(&team->lb);
  assert_int_equal(atomic_load(&team->stopped), team->threads);
  uv_sem_destroy(&team->release);
}

/* The loop that answers `client`. */
static int ask(team_t *team, int client) {
  char buf[512];
  loopback_send(client, GET);
  loopback_receive(&team->lb, client, buf, sizeof(buf), ".\n");
  assert_non_null(strstr(buf, "200 OK"));
  return atoi(strstr(buf, "loop ") + 5);
}

/* Turns the server's own loop until so many handlers run. */
static void await_running(team_t *team, int count) {
  uint64_t give_up = uv_hrtime() + UINT64_C(10000000000);
  while (atomic_load(&team->running) < count) {
    assert_true(uv_hrtime() < give_up);
    uv_run(&team->lb.loop, UV_RUN_NOWAIT);
  }
}

/* -- Serving --------------------------------------------------------------- */

static void connections_are_spread_evenly(void **state) {
  (void)state;
  static const size_t counts[] = {2, 4};
  for (int i = 0; i < 2; i++) {
    team_t team;
    open_team(&team, tell_place, counts[i]);
    int clients[8], on_loop[MOST] = {0};
    for (int c = 0; c < 8; c++) {
      clients[c] = loopback_connect(&team.lb);
      on_loop[ask(&team, clients[c])]++;
    }
    for (size_t l = 0; l < counts[i]; l++)
      assert_int_equal(on_loop[l], 8 / counts[i]);
    for (int c = 0; c < 8; c++)
      close(clients[c]);
    loopback_shutdown(&team.lb, 5000);
    assert_int_equal(team.lb.shutdown_status, 0);
    dusk_report_t report = loopback_report(&team.lb);
    loopback_assert_adds_up(&report);
    close_team(&team);
  }
}

static void max_connections_is_the_servers(void **state) {
  (void)state;
  team_t team;
  dusk_server_config_t config = config_of(&team, tell_place, 2);
  config.max_connections = 3;
  loopback_open(&team.lb, &config);
  int clients[4];
  for (int c = 0; c < 4; c++)
    clients[c] = loopback_connect(&team.lb);
  for (int c = 0; c < 3; c++)
    ask(&team, clients[c]);
  loopback_send(clients[3], GET);
  loopback_run_for(&team.lb, 50);
  char buf[512];
  assert_int_equal(recv(clients[3], buf, sizeof(buf), MSG_DONTWAIT), -1);
  close(clients[1]); /* on the other loop than the first */
  loopback_receive(&team.lb, clients[3], buf, sizeof(buf), ".\n");
  assert_non_null(strstr(buf, "200 OK"));
  loopback_shutdown(&team.lb, 5000);
  close_team(&team);
  for (int c = 0; c < 4; c++)
    if (c != 1) close(clients[c]);
}

/* -- Stopping -------------------------------------------------------------- */

typedef struct late {
  uv_timer_t timer;
  dusk_response_t *res;
} late_t;

static void on_late_closed(uv_handle_t *handle) {
  free(handle->data);
}

static void on_late(uv_timer_t *timer) {
  late_t *late = timer->data;
  dusk_response_end(late->res, "late.\n", 6);
  uv_close((uv_handle_t *)timer, on_late_closed);
}

static void answer_late(dusk_response_t *res, dusk_request_t *req, void *arg) {
  team_t *team = arg;
  late_t *late = calloc(1, sizeof(*late));
  late->res = res;
  late->timer.data = late;
  uv_timer_init(dusk_request_loop(req), &late->timer);
  uv_timer_start(&late->timer, on_late, 100, 0);
  atomic_fetch_add(&team->running, 1);
}

static void a_drain_answers_on_all_loops(void **state) {
  (void)state;
  team_t team;
  open_team(&team, answer_late, 4);
  int clients[8];
  for (int c = 0; c < 8; c++) {
    clients[c] = loopback_connect(&team.lb);
    loopback_send(clients[c], GET);
  }
  await_running(&team, 8);
  loopback_shutdown(&team.lb, 5000);
  assert_int_equal(team.lb.shutdown_status, 0);
  dusk_report_t report = loopback_report(&team.lb);
  loopback_assert_adds_up(&report);
  assert_int_equal(report.conns_open, 8);
  assert_int_equal(report.requests_running, 8);
  assert_int_equal(report.requests_answered, 8);
  for (int c = 0; c < 8; c++) {
    char buf[512];
    loopback_receive(&team.lb, clients[c], buf, sizeof(buf), NULL);
    assert_non_null(strstr(buf, "Connection: close\r\n"));
    assert_non_null(strstr(buf, "\r\n\r\nlate.\n"));
    close(clients[c]);
  }
  close_team(&team);
}

static void note_cancel(dusk_waiter_t *waiter) {
  dusk_response_t *res = waiter->data;
  free(waiter);
  dusk_response_abort(res);
}

/* Waits for its context's end. */
static void wait_for_ever(dusk_response_t *res, dusk_request_t *req,
                          void *arg) {
  team_t *team = arg;
  dusk_waiter_t *waiter = calloc(1, sizeof(*waiter));
  waiter->data = res;
  dusk_context_after(dusk_request_context(req), waiter, dusk_request_root(req),
                     note_cancel);
  atomic_fetch_add(&team->running, 1);
}

static void run_on_all(team_t *team, int clients[], int count) {
  for (int c = 0; c < count; c++) {
    clients[c] = loopback_connect(&team->lb);
    loopback_send(clients[c], GET);
  }
  await_running(team, count);
}

static void the_bound_cancels_on_all_loops(void **state) {
  (void)state;
  team_t team;
  int clients[4];
  open_team(&team, wait_for_ever, 2);
  run_on_all(&team, clients, 4);
  loopback_shutdown(&team.lb, 100);
  assert_int_equal(team.lb.shutdown_status, UV_ETIMEDOUT);
  dusk_report_t report = loopback_report(&team.lb);
  loopback_assert_adds_up(&report);
  assert_int_equal(report.requests_cancelled, 4);
  assert_string_equal(report.oldest, "GET /");
  close_team(&team);
  for (int c = 0; c < 4; c++)
    close(clients[c]);
}

static void close_cuts_on_all_loops(void **state) {
  (void)state;
  team_t team;
  int clients[4];
  open_team(&team, wait_for_ever, 2);
  run_on_all(&team, clients, 4);
  dusk_server_close(team.lb.server);
  loopback_shutdown(&team.lb, 5000);
  assert_int_equal(team.lb.shutdown_status, UV_ECANCELED);
  dusk_report_t report = loopback_report(&team.lb);
  loopback_assert_adds_up(&report);
  assert_int_equal(report.conns_cut, 4);
  assert_int_equal(atomic_load(&team.cuts), 4);
  close_team(&team);
  for (int c = 0; c < 4; c++)
    close(clients[c]);
}

/* On the other loop, until it is let go. */
static void block(dusk_response_t *res, dusk_request_t *req, void *arg) {
  team_t *team = arg;
  const place_t *place = dusk_request_worker_data(req);
  atomic_fetch_add(&team->running, 1);
  if (place->index > 0) uv_sem_wait(&team->release);
  dusk_response_text(res, 200, "at last.\n");
}

static void a_stuck_loop_is_left_behind(void **state) {
  (void)state;
  team_t team;
  int clients[3];
  char buf[512];
  open_team(&team, block, 2);
  run_on_all(&team, clients, 2);
  clients[2] = loopback_connect(&team.lb); /* the others go on */
  loopback_send(clients[2], LAST);
  loopback_receive(&team.lb, clients[2], buf, sizeof(buf), NULL);
  uint64_t begun = uv_hrtime();
  loopback_shutdown(&team.lb, 200);
  assert_true(uv_hrtime() - begun < UINT64_C(5000000000));
  assert_int_equal(team.lb.shutdown_status, UV_ETIMEDOUT);
  dusk_report_t report = loopback_report(&team.lb);
  loopback_assert_adds_up(&report);
  assert_int_equal(report.conns_cut, 1);
  /* Its client is told, though the loop stands. */
  assert_int_equal(
      loopback_receive(&team.lb, clients[1], buf, sizeof(buf), NULL), 0);
  /* Once it turns again it ends like the others, if something else keeps the
   * server's loop going. */
  uv_sem_post(&team.release);
  dusk_server_unref(team.lb.server);
  while (dusk_context_detach(team.lb.root, NULL, NULL) == UV_EBUSY)
    loopback_run_for(&team.lb, 1);
  while (uv_loop_close(&team.lb.loop) == UV_EBUSY)
    loopback_run_for(&team.lb, 1);
  assert_int_equal(atomic_load(&team.stopped), 2);
  uv_sem_destroy(&team.release);
  for (int c = 0; c < 3; c++)
    close(clients[c]);
}

/* -- Contexts -------------------------------------------------------------- */

static void a_base_on_another_loop_ends_requests_on_all(void **state) {
  (void)state;
  team_t team;
  uv_loop_t loop;
  dusk_context_t *root, *base;
  int clients[4];
  assert_int_equal(uv_loop_init(&loop), 0);
  assert_int_equal(dusk_context_attach(&loop, &root), 0);
  assert_int_equal(dusk_context_with_cancel(root, &base), 0);
  dusk_server_config_t config = config_of(&team, wait_for_ever, 2);
  config.base = base;
  loopback_open(&team.lb, &config);
  run_on_all(&team, clients, 4);
  dusk_context_cancel(base, NULL);
  for (int c = 0; c < 4; c++) {
    char buf[64];
    assert_int_equal(
        loopback_receive(&team.lb, clients[c], buf, sizeof(buf), NULL), 0);
    close(clients[c]);
  }
  loopback_shutdown(&team.lb, 5000);
  close_team(&team);
  dusk_context_unref(base);
  assert_int_equal(dusk_context_detach(root, NULL, NULL), 0);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&loop), 0);
}

/* -- Failures at the start ------------------------------------------------- */

static int creations_left = -1; /* -1: all succeed */

int __real_uv_thread_create(uv_thread_t *thread, uv_thread_cb run, void *arg);
int __wrap_uv_thread_create(uv_thread_t *thread, uv_thread_cb run, void *arg);
int __wrap_uv_thread_create(uv_thread_t *thread, uv_thread_cb run, void *arg) {
  if (creations_left == 0) return UV_EAGAIN;
  if (creations_left > 0) creations_left--;
  return __real_uv_thread_create(thread, run, arg);
}

static int start_on(uv_loop_t *loop, dusk_context_t **root, team_t *team,
                    const dusk_server_config_t *config) {
  dusk_server_t *server;
  assert_int_equal(uv_loop_init(loop), 0);
  assert_int_equal(dusk_context_attach(loop, root), 0);
  int err = dusk_server_new(*root, config, &server);
  if (err == 0) dusk_server_unref(server);
  if (err < 0)
    assert_int_equal(atomic_load(&team->started), atomic_load(&team->stopped));
  return err;
}

static void assert_nothing_left(uv_loop_t *loop, dusk_context_t *root) {
  uv_run(loop, UV_RUN_DEFAULT);
  assert_int_equal(dusk_context_detach(root, NULL, NULL), 0);
  uv_run(loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(loop), 0);
}

static void a_start_without_a_thread_leaves_nothing(void **state) {
  (void)state;
  for (int n = 0; n < 3; n++) {
    team_t team;
    uv_loop_t loop;
    dusk_context_t *root;
    dusk_server_config_t config = config_of(&team, tell_place, 4);
    creations_left = n;
    assert_int_equal(start_on(&loop, &root, &team, &config), UV_EAGAIN);
    creations_left = -1;
    assert_int_equal(atomic_load(&team.started), n + 1);
    assert_nothing_left(&loop, root);
    uv_sem_destroy(&team.release);
  }
}

static void a_start_that_a_worker_refuses_leaves_nothing(void **state) {
  (void)state;
  team_t team;
  uv_loop_t loop;
  dusk_context_t *root;
  dusk_server_config_t config = config_of(&team, tell_place, 4);
  team.refuses = 2;
  assert_int_equal(start_on(&loop, &root, &team, &config), UV_EPERM);
  assert_int_equal(atomic_load(&team.started), 2);
  assert_nothing_left(&loop, root);
  uv_sem_destroy(&team.release);
}

static void threads_have_a_limit(void **state) {
  (void)state;
  team_t team;
  uv_loop_t loop;
  dusk_context_t *root;
  dusk_server_config_t config = config_of(&team, tell_place, 1025);
  assert_int_equal(start_on(&loop, &root, &team, &config), UV_EINVAL);
  assert_nothing_left(&loop, root);
  uv_sem_destroy(&team.release);
}

static void a_server_that_never_served_ends(void **state) {
  (void)state;
  team_t team;
  uv_loop_t loop;
  dusk_context_t *root;
  dusk_server_config_t config = config_of(&team, tell_place, 4);
  assert_int_equal(start_on(&loop, &root, &team, &config), 0);
  assert_nothing_left(&loop, root);
  assert_int_equal(atomic_load(&team.stopped), 4);
  uv_sem_destroy(&team.release);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(connections_are_spread_evenly),
      cmocka_unit_test(max_connections_is_the_servers),
      cmocka_unit_test(a_drain_answers_on_all_loops),
      cmocka_unit_test(the_bound_cancels_on_all_loops),
      cmocka_unit_test(close_cuts_on_all_loops),
      cmocka_unit_test(a_stuck_loop_is_left_behind),
      cmocka_unit_test(a_base_on_another_loop_ends_requests_on_all),
      cmocka_unit_test(a_start_without_a_thread_leaves_nothing),
      cmocka_unit_test(a_start_that_a_worker_refuses_leaves_nothing),
      cmocka_unit_test(threads_have_a_limit),
      cmocka_unit_test(a_server_that_never_served_ends),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
