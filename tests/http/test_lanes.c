/* A server on several loops: two or four, of which one is the test's. */
#include "house.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LAST "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

enum { MOST = 4, CROWD = 40 };

static const size_t counts[] = {2, 4}; /* of loops */

/* A loop's, as on_worker_start makes it. */
typedef struct place {
  size_t index;
  uv_thread_t thread;
  uv_loop_t *loop;
} place_t;

/* Of one server. */
typedef struct team {
  place_t places[MOST];
  size_t threads;
  atomic_int started;
  atomic_int stopped;
  atomic_int begun;   /* requests, */
  atomic_int running; /* those that have not ended, */
  atomic_int most;    /* at a time */
  atomic_int ended;
  atomic_int cuts;
  dusk_response_t *forgotten[MOST]; /* by a handler, until its loop stops, */
  bool remembers;                   /* or until on_request_cut */
  uv_sem_t release;                 /* of a handler that blocks */
} team_t;

static team_t team;

static int on_start(dusk_server_t *server, dusk_context_t *root, size_t index,
                    void **ret_data, void *arg) {
  assert_non_null(server);
  assert_ptr_equal(arg, &team);
  place_t *place = &team.places[index];
  *place = (place_t){.index = index,
                     .thread = uv_thread_self(),
                     .loop = dusk_context_loop(root)};
  atomic_fetch_add(&team.started, 1);
  *ret_data = place;
  return 0;
}

static void assert_is_here(const place_t *place) {
  uv_thread_t self = uv_thread_self();
  assert_true(uv_thread_equal(&self, &place->thread));
}

static void on_stop(dusk_server_t *server, dusk_context_t *root, size_t index,
                    void *data, void *arg) {
  (void)arg;
  assert_non_null(server);
  assert_ptr_equal(data, &team.places[index]);
  assert_ptr_equal(dusk_context_loop(root), team.places[index].loop);
  assert_is_here(data);
  if (team.forgotten[index]) dusk_response_abort(team.forgotten[index]);
  atomic_fetch_add(&team.stopped, 1);
}

static void on_end(dusk_request_t *req, const dusk_request_end_t *end,
                   void *arg) {
  (void)end;
  (void)arg;
  const place_t *place = dusk_request_worker_data(req);
  if (place) assert_is_here(place); /* else its loop stops */
  atomic_fetch_add(&team.ended, 1);
  atomic_fetch_sub(&team.running, 1);
}

static void on_cut(dusk_request_t *req, uint64_t age_ms, void *arg) {
  (void)age_ms;
  (void)arg;
  place_t *place = dusk_request_worker_data(req);
  assert_is_here(place);
  atomic_fetch_add(&team.cuts, 1);
  if (!team.remembers) return;
  dusk_response_abort(team.forgotten[place->index]);
  team.forgotten[place->index] = NULL;
}

static void serve_on(loopback_t *lb, size_t threads,
                     dusk_server_config_t config) {
  memset(&team, 0, sizeof(team));
  team.threads = threads;
  config.threads = threads;
  config.on_worker_start = on_start;
  config.on_worker_stop = on_stop;
  config.on_worker_arg = &team;
  config.on_request_end = on_end;
  config.on_request_cut = on_cut;
  serve(lb, config);
  assert_int_equal(atomic_load(&team.started), threads);
}

#define BY(h) ((dusk_server_config_t){.handler = (h)})

static void end_team(loopback_t *lb) {
  end_all(lb);
  assert_int_equal(atomic_load(&team.stopped), team.threads);
}

/* -- Handlers -------------------------------------------------------------- */

/* A request has begun, on a loop and thread that agree. */
static place_t *begin_here(dusk_request_t *req) {
  place_t *place = dusk_request_worker_data(req);
  assert_is_here(place);
  assert_ptr_equal(dusk_request_loop(req), place->loop);
  assert_ptr_equal(dusk_context_loop(dusk_request_root(req)), place->loop);
  assert_ptr_equal(dusk_context_loop(dusk_request_context(req)), place->loop);
  assert_ptr_equal(dusk_context_loop(dusk_request_draining(req)), place->loop);
  int running = atomic_fetch_add(&team.running, 1) + 1;
  int most = atomic_load(&team.most);
  while (running > most &&
         !atomic_compare_exchange_weak(&team.most, &most, running))
    continue;
  atomic_fetch_add(&team.begun, 1);
  return place;
}

/* Says on which loop it runs. */
static void tell_place(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  char text[32];
  snprintf(text, sizeof(text), "loop %zu.\n", begin_here(req)->index);
  dusk_response_text(res, 200, text);
}

typedef struct late {
  uv_timer_t timer;
  dusk_waiter_t draining;
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

static late_t *late_of(dusk_response_t *res, dusk_request_t *req) {
  late_t *late = calloc(1, sizeof(*late));
  late->res = res;
  late->timer.data = late;
  uv_timer_init(dusk_request_loop(req), &late->timer);
  return late;
}

static void on_draining(dusk_waiter_t *waiter) {
  late_t *late = waiter->data;
  uv_timer_start(&late->timer, on_late, 20, 0);
}

/* Some time after it has begun. */
static void answer_in_drain(dusk_response_t *res, dusk_request_t *req) {
  late_t *late = late_of(res, req);
  late->draining.data = late;
  dusk_context_after(dusk_request_draining(req), &late->draining,
                     dusk_request_root(req), on_draining);
}

static void answer_late(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  begin_here(req);
  answer_in_drain(res, req);
}

static void answer_soon(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  begin_here(req);
  uv_timer_start(&late_of(res, req)->timer, on_late, 2, 0);
}

static void on_cancelled(dusk_waiter_t *waiter) {
  dusk_response_t *res = waiter->data;
  free(waiter);
  dusk_response_abort(res);
}

/* Waits for its context's end. */
static void wait_for_ever(dusk_response_t *res, dusk_request_t *req,
                          void *arg) {
  (void)arg;
  dusk_waiter_t *waiter = calloc(1, sizeof(*waiter));
  waiter->data = res;
  dusk_context_after(dusk_request_context(req), waiter, dusk_request_root(req),
                     on_cancelled);
  begin_here(req);
}

static void forget(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  team.forgotten[begin_here(req)->index] = res;
}

/* The second loop's stands until it is let go, the others' answer in the drain;
 * /now doesn't wait for that. */
static void block_second(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  place_t *place = begin_here(req);
  if (strcmp(dusk_request_path(req), "/now") == 0) {
    dusk_response_text(res, 200, "now.\n");
  } else if (place->index == 1) {
    uv_sem_wait(&team.release);
    dusk_response_text(res, 200, "at last.\n");
  } else {
    answer_in_drain(res, req);
  }
}

/* -- Clients --------------------------------------------------------------- */

/* The loop that answers `client`. */
static int ask_place(loopback_t *lb, int client) {
  say(client, GET);
  const char *answer = hear(lb, client, ".\n");
  assert_has(answer, "200 OK");
  return atoi(strstr(answer, "loop ") + 5);
}

/* As many on each loop. */
static void run_on_all(loopback_t *lb, int clients[], int count) {
  for (int c = 0; c < count; c++) {
    clients[c] = connect_client(lb);
    say(clients[c], GET);
  }
  AWAIT(lb, atomic_load(&team.begun) == count);
}

/* -- Serving --------------------------------------------------------------- */

static void connections_are_spread_evenly(void **state) {
  loopback_t *lb = *state;
  for (int i = 0; i < 2; i++) {
    int on_loop[MOST] = {0};
    serve_on(lb, counts[i], BY(tell_place));
    for (int c = 0; c < CROWD; c++)
      on_loop[ask_place(lb, connect_client(lb))]++;
    for (size_t l = 0; l < counts[i]; l++)
      assert_int_equal(on_loop[l], CROWD / counts[i]);
    assert_int_equal(stop(lb, 5000).status, 0);
    end_team(lb);
  }
}

/* The acceptor counts what has ended, too. */
static void a_loop_that_was_left_gets_the_next_one(void **state) {
  loopback_t *lb = *state;
  int clients[4];
  serve_on(lb, 4, BY(tell_place));
  for (int c = 0; c < 4; c++) {
    clients[c] = connect_client(lb);
    assert_int_equal(ask_place(lb, clients[c]), c);
  }
  leave(lb, clients[2]);
  AWAIT(lb, loopback_report(lb).conns_now == 3);
  assert_int_equal(ask_place(lb, connect_client(lb)), 2);
  end_team(lb);
}

static void max_connections_is_the_servers(void **state) {
  loopback_t *lb = *state;
  int clients[4];
  serve_on(lb, 2,
           (dusk_server_config_t){.handler = tell_place, .max_connections = 3});
  for (int c = 0; c < 4; c++)
    clients[c] = connect_client(lb);
  for (int c = 0; c < 3; c++)
    ask_place(lb, clients[c]);
  say(clients[3], GET);
  loopback_run_for(lb, 50);
  char byte;
  assert_int_equal(recv(clients[3], &byte, 1, 0), -1);
  assert_int_equal(errno, EAGAIN);
  leave(lb, clients[1]); /* on the other loop than the first */
  assert_has(hear(lb, clients[3], ".\n"), "200 OK");
  end_team(lb);
}

/* Whichever loop has them, and however fast they come and go. */
static void max_connections_is_exact(void **state) {
  loopback_t *lb = *state;
  for (int i = 0; i < 2; i++) {
    int clients[CROWD];
    serve_on(
        lb, counts[i],
        (dusk_server_config_t){.handler = answer_soon, .max_connections = 3});
    for (int c = 0; c < CROWD; c++) {
      clients[c] = connect_client(lb);
      say(clients[c], LAST);
    }
    for (int c = 0; c < CROWD; c++) {
      assert_has(hear(lb, clients[c], NULL), "late.\n");
      leave(lb, clients[c]);
      assert_in_range(loopback_report(lb).conns_now, 0, 3);
    }
    assert_in_range(atomic_load(&team.most), 1, 3);
    end_team(lb);
  }
}

static void a_lame_duck_is_every_loops(void **state) {
  loopback_t *lb = *state;
  int clients[8];
  serve_on(lb, 4, BY(tell_place));
  for (int c = 0; c < 8; c++) {
    clients[c] = connect_client(lb);
    ask_place(lb, clients[c]);
  }
  dusk_server_lame_duck(lb->server, true);
  for (int c = 0; c < 4; c++) {
    say(clients[c], GET);
    assert_has(hear(lb, clients[c], NULL), "Connection: close\r\n");
  }
  dusk_server_lame_duck(lb->server, false);
  for (int c = 4; c < 8; c++) {
    ask_place(lb, clients[c]);
    assert_lacks(lb->heard, "Connection: close\r\n");
  }
  end_team(lb);
}

static void hijack_here(dusk_response_t *res, dusk_request_t *req, void *arg) {
  char *early;
  size_t early_len;
  uv_os_sock_t fd;
  atomic_int *fds = arg;
  place_t *place = begin_here(req);
  assert_int_equal(dusk_response_hijack(res, &fd, &early, &early_len), 0);
  free(early);
  atomic_store(&fds[place->index], fd);
}

static void a_hijacked_descriptor_is_anybodys(void **state) {
  loopback_t *lb = *state;
  atomic_int fds[2] = {-1, -1};
  int clients[2];
  serve_on(lb, 2,
           (dusk_server_config_t){.handler = hijack_here, .handler_arg = fds});
  run_on_all(lb, clients, 2);
  AWAIT(lb, loopback_report(lb).conns_now == 0);
  assert_int_equal(stop(lb, 5000).status, 0);
  for (int i = 0; i < 2; i++) {
    int fd = atomic_load(&fds[i]);
    assert_int_equal(send(fd, "raw", 3, 0), 3);
    assert_string_equal(hear(lb, clients[i], "raw"), "raw");
    close(fd);
  }
  end_team(lb);
}

/* -- Stopping -------------------------------------------------------------- */

typedef struct told {
  int calls;
  int status;
  uv_thread_t thread;
} told_t;

static void on_told(dusk_server_t *server, int status, void *arg) {
  told_t *told = arg;
  assert_non_null(server);
  told->calls++;
  told->status = status;
  told->thread = uv_thread_self();
}

static void count_hook(dusk_server_t *server, void *arg) {
  (void)server;
  assert_is_here(&team.places[0]);
  ++*(int *)arg;
}

static void a_drain_answers_on_all_loops(void **state) {
  loopback_t *lb = *state;
  for (int i = 0; i < 2; i++) {
    int clients[8], hooks = 0;
    told_t told = {0};
    serve_on(lb, counts[i], BY(answer_late));
    assert_int_equal(dusk_server_on_shutdown(lb->server, count_hook, &hooks),
                     0);
    run_on_all(lb, clients, 8);
    assert_int_equal(
        dusk_server_shutdown(lb->server, bound_of(lb, 5000), on_told, &told),
        0);
    assert_int_equal(told.calls, 0); /* never inside the call */
    AWAIT(lb, told.calls);
    assert_int_equal(told.status, 0);
    dusk_report_t report = stop(lb, 5000); /* and again */
    assert_int_equal(told.calls, 1);
    assert_int_equal(hooks, 1);
    uv_thread_t self = uv_thread_self();
    assert_true(uv_thread_equal(&self, &told.thread));
    assert_int_equal(report.conns_open, 8);
    assert_int_equal(report.requests_running, 8);
    assert_int_equal(report.requests_answered, 8);
    for (int c = 0; c < 8; c++) {
      hear(lb, clients[c], NULL);
      assert_has(lb->heard, "Connection: close\r\n");
      assert_has(lb->heard, "\r\n\r\nlate.\n");
    }
    end_team(lb);
  }
}

/* Before a loop of ours has turned: the seal accepts them, and passes them to
 * loops which drain by then. */
static void who_waits_in_the_queue_is_answered(void **state) {
  loopback_t *lb = *state;
  for (int i = 0; i < 2; i++) {
    int clients[CROWD];
    serve_on(lb, counts[i], BY(tell_place));
    for (int c = 0; c < CROWD; c++) {
      clients[c] = connect_client(lb);
      say(clients[c], GET);
    }
    dusk_report_t report = stop(lb, 5000);
    assert_int_equal(report.status, 0);
    assert_int_equal(report.requests_answered, CROWD);
    for (int c = 0; c < CROWD; c++)
      assert_has(hear(lb, clients[c], NULL), "loop ");
    end_team(lb);
  }
}

static void the_bound_cancels_on_all_loops(void **state) {
  loopback_t *lb = *state;
  int clients[4];
  serve_on(lb, 2, BY(wait_for_ever));
  run_on_all(lb, clients, 4);
  dusk_report_t report = stop(lb, 100);
  assert_int_equal(report.status, UV_ETIMEDOUT);
  assert_int_equal(report.requests_cancelled, 4);
  assert_string_equal(report.oldest, "GET /");
  end_team(lb);
}

/* One that has no client any more on each of two loops, the older one on the
 * second. */
static void forget_on_both(loopback_t *lb) {
  static const char *const requests[] = {
      "GET /new HTTP/1.1\r\nHost: h\r\n\r\n",
      "GET /old HTTP/1.1\r\nHost: h\r\n\r\n"};
  static const struct linger reset = {.l_onoff = 1};
  int clients[2];
  serve_on(lb, 2, BY(forget));
  for (int c = 0; c < 2; c++)
    clients[c] = connect_client(lb);
  for (int c = 1; c >= 0; c--) {
    say(clients[c], requests[c]);
    AWAIT(lb, atomic_load(&team.begun) == 2 - c);
    loopback_run_for(lb, 5); /* by which it is older */
  }
  for (int c = 0; c < 2; c++) {
    setsockopt(clients[c], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    leave(lb, clients[c]);
  }
  AWAIT(lb, loopback_report(lb).requests_unended == 2);
}

static void who_never_ends_is_told_of_all_loops(void **state) {
  loopback_t *lb = *state;
  forget_on_both(lb);
  dusk_report_t report = stop(lb, 5000);
  assert_int_equal(report.status, 0);
  assert_int_equal(report.requests_unended, 2);
  assert_string_equal(report.unended, "GET /old");
  assert_in_range(report.unended_ms, 5, 10000);
  end_team(lb);
}

static void who_ends_at_last_is_not_told(void **state) {
  loopback_t *lb = *state;
  forget_on_both(lb);
  team.remembers = true;
  dusk_report_t report = stop(lb, 5000);
  assert_int_equal(atomic_load(&team.cuts), 2);
  assert_int_equal(report.requests_unended, 0);
  assert_string_equal(report.unended, "");
  end_team(lb);
}

static void close_cuts_on_all_loops(void **state) {
  loopback_t *lb = *state;
  int clients[4];
  serve_on(lb, 2, BY(wait_for_ever));
  run_on_all(lb, clients, 4);
  dusk_server_close(lb->server);
  dusk_report_t report = stop(lb, 5000);
  assert_int_equal(report.status, UV_ECANCELED);
  assert_int_equal(report.conns_cut, 4);
  assert_int_equal(atomic_load(&team.cuts), 4);
  end_team(lb);
}

static void close_ends_a_waiting_shutdown(void **state) {
  loopback_t *lb = *state;
  int clients[8];
  serve_on(lb, 4, BY(wait_for_ever));
  run_on_all(lb, clients, 8);
  begin_stop(lb, cancellable(lb));
  turn(lb, 2);
  assert_int_equal(lb->shutdown_status, 1);
  dusk_server_close(lb->server);
  dusk_report_t report = end_stop(lb);
  assert_int_equal(report.status, UV_ECANCELED);
  assert_int_equal(report.conns_cut, 8);
  end_team(lb);
}

static void unref_closes_on_all_loops(void **state) {
  loopback_t *lb = *state;
  int clients[8];
  serve_on(lb, 4, BY(wait_for_ever));
  run_on_all(lb, clients, 8);
  dusk_server_unref(lb->server);
  lb->server = NULL;
  for (int c = 0; c < 8; c++)
    assert_string_equal(hear(lb, clients[c], NULL), "");
  end_team(lb);
  assert_int_equal(atomic_load(&team.ended), 8);
}

/* -- A loop that is stuck -------------------------------------------------- */

/* Once it turns again it ends like the others, if something else keeps the
 * server's loop going. */
static void let_go(loopback_t *lb) {
  uv_sem_post(&team.release);
  dusk_server_unref(lb->server);
  AWAIT(lb, dusk_context_detach(lb->root, NULL, NULL) != UV_EBUSY);
  while (uv_loop_close(&lb->loop) == UV_EBUSY)
    loopback_run_for(lb, 1);
  lb->is_open = false;
  end_team(lb);
  assert_int_equal(atomic_load(&team.ended), atomic_load(&team.begun));
  uv_sem_destroy(&team.release);
}

static void a_stuck_loop_is_left_behind(void **state) {
  loopback_t *lb = *state;
  for (int i = 0; i < 2; i++) {
    int clients[MOST];
    int count = (int)counts[i];
    serve_on(lb, counts[i], BY(block_second));
    assert_int_equal(uv_sem_init(&team.release, 0), 0);
    run_on_all(lb, clients, count);
    int next = connect_client(lb); /* the others go on */
    say(next, "GET /now HTTP/1.1\r\nHost: h\r\n\r\n");
    hear(lb, next, "now.\n");
    leave(lb, next);
    uint64_t begun = uv_hrtime();
    dusk_report_t report = stop(lb, 400);
    assert_in_range(uv_hrtime() - begun, UINT64_C(399000000),
                    UINT64_C(5000000000));
    assert_int_equal(report.status, UV_ETIMEDOUT);
    assert_int_equal(report.conns_cut, 1);
    assert_int_equal(report.requests_cut, 1);
    /* Its client is told, though the loop stands; the others' were answered. */
    for (int c = 0; c < count; c++) {
      hear(lb, clients[c], NULL);
      if (c == 1)
        assert_string_equal(lb->heard, "");
      else
        assert_has(lb->heard, "late.\n");
    }
    let_go(lb);
  }
}

/* -- Contexts -------------------------------------------------------------- */

static void cancel_it(void *ctx) {
  dusk_context_cancel(ctx, NULL);
}

static void a_base_on_another_loop_ends_requests_on_all(void **state) {
  loopback_t *lb = *state;
  uv_loop_t loop;
  dusk_context_t *root, *base;
  int clients[8];
  assert_int_equal(uv_loop_init(&loop), 0);
  assert_int_equal(dusk_context_attach(&loop, &root), 0);
  assert_int_equal(dusk_context_with_cancel(root, &base), 0);
  serve_on(lb, 4,
           (dusk_server_config_t){.handler = wait_for_ever, .base = base});
  run_on_all(lb, clients, 8);
  uv_thread_t thread; /* which has no loop at all */
  assert_int_equal(uv_thread_create(&thread, cancel_it, base), 0);
  for (int c = 0; c < 8; c++)
    assert_string_equal(hear(lb, clients[c], NULL), "");
  uv_thread_join(&thread);
  end_team(lb);
  dusk_context_unref(base);
  assert_int_equal(dusk_context_detach(root, NULL, NULL), 0);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(connections_are_spread_evenly),
      house_test(a_loop_that_was_left_gets_the_next_one),
      house_test(max_connections_is_the_servers),
      house_test(max_connections_is_exact),
      house_test(a_lame_duck_is_every_loops),
      house_test(a_hijacked_descriptor_is_anybodys),
      house_test(a_drain_answers_on_all_loops),
      house_test(who_waits_in_the_queue_is_answered),
      house_test(the_bound_cancels_on_all_loops),
      house_test(who_never_ends_is_told_of_all_loops),
      house_test(who_ends_at_last_is_not_told),
      house_test(close_cuts_on_all_loops),
      house_test(close_ends_a_waiting_shutdown),
      house_test(unref_closes_on_all_loops),
      house_test(a_stuck_loop_is_left_behind),
      house_test(a_base_on_another_loop_ends_requests_on_all),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
