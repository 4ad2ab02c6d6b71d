/* Connections: what is told of them, what they can be asked, and that none is
 * kept on demand: SRV-068 to 082, 094 to 097, 294 to 299. */
#include "house.h"

#include "alloc.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LAST "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
#define SAYS_CLOSE "Connection: close\r\n"

static void reset_on_leaving(int client) {
  struct linger reset = {.l_onoff = 1};
  setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
}

/* -- What is told ---------------------------------------------------------- */

/* Of the one connection of a test. */
typedef struct told {
  char states[128];
  dusk_conn_t *conn;
  bool is_over;
} told_t;

static told_t told;

static void on_state(dusk_conn_t *conn, dusk_conn_state_t state, void *arg) {
  told_t *to = arg;
  assert_false(to->is_over); /* SRV-081 */
  if (state == DUSK_CONN_NEW) to->conn = conn;
  assert_non_null(conn);
  assert_ptr_equal(conn, to->conn);
  strcat(strcat(to->states, " "), dusk_conn_state_text(state));
  to->is_over = state == DUSK_CONN_HIJACKED || state == DUSK_CONN_CLOSED;
}

static dusk_server_config_t watched(void) {
  told = (told_t){.is_over = false};
  return (dusk_server_config_t){.on_conn_state = on_state,
                                .on_conn_state_arg = &told};
}

/* This comes, and nothing before the loop has turned some more. */
#define assert_told(lb, wanted)                                                \
  do {                                                                         \
    AWAIT(lb, strlen(told.states) >= strlen(wanted));                          \
    turn(lb, 5);                                                               \
    assert_string_equal(told.states, wanted);                                  \
  } while (0)

static void srv_068_the_states_have_texts(void **state) {
  (void)state;
  static const char *const texts[] = {"new", "active", "idle", "hijacked",
                                      "closed"};
  for (int s = DUSK_CONN_NEW; s <= DUSK_CONN_CLOSED; s++)
    assert_string_equal(dusk_conn_state_text((dusk_conn_state_t)s), texts[s]);
  assert_string_equal(dusk_conn_state_text((dusk_conn_state_t)5), "unknown");
  assert_string_equal(dusk_conn_state_text((dusk_conn_state_t)-1), "unknown");
}

static void srv_070_new_is_told_before_it_is_served(void **state) {
  loopback_t *lb = *state;
  serve(lb, watched());
  int client = connect_client(lb);
  assert_told(lb, " new");
  leave(lb, client);
  assert_told(lb, " new closed"); /* SRV-077 */
}

/* Other than in Go, which waits for the whole header: a drain counts a request
 * from there on. */
static void srv_071_active_begins_with_the_first_byte(void **state) {
  loopback_t *lb = *state;
  serve(lb, watched());
  int client = connect_client(lb);
  say(client, "\r\n\r\n\n");
  assert_told(lb, " new");
  say(client, "G");
  assert_told(lb, " new active");
  say(client, "ET / HTTP/1.1\r\nHost: h\r\n\r\n");
  hear(lb, client, "hello\n");
  assert_told(lb, " new active idle");
  say(client, "\r\n");
  assert_told(lb, " new active idle");
}

static void srv_072_idle_begins_when_the_answer_is_out(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, watched(), GET);
  assert_told(lb, " new active");
  assert_int_equal(dusk_response_write(lb->held.res, "a", 1), 0);
  hear(lb, client, "a");
  assert_told(lb, " new active");
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
  assert_told(lb, " new active idle");
}

/* A body of the request's that nobody wants is read first. */
static void idle_waits_for_the_requests_end(void **state) {
  loopback_t *lb = *state;
  int client =
      hold(lb, watched(),
           "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab");
  assert_int_equal(dusk_response_end(lb->held.res, "x", 1), 0);
  hear(lb, client, "x");
  assert_told(lb, " new active");
  say(client, "cd");
  assert_told(lb, " new active idle");
}

/* What its client has not taken is not out. */
static void idle_waits_for_a_client_that_is_behind(void **state) {
  enum { BYTES = 8 << 20 };
  loopback_t *lb = *state;
  char *large = calloc(1, BYTES);
  int client = hold(lb, watched(), GET);
  assert_int_equal(dusk_response_end(lb->held.res, large, BYTES), 0);
  free(large);
  assert_told(lb, " new active");
  take(lb, client, BYTES);
  take_some(lb, client);
  assert_told(lb, " new active idle");
}

static void a_pipelined_batch_is_active_once(void **state) {
  loopback_t *lb = *state;
  serve(lb, watched());
  int client = connect_client(lb);
  say(client, GET GET GET);
  AWAIT(lb, strstr(told.states, "idle"));
  assert_told(lb, " new active idle");
  hear(lb, client, "hello\n");
}

static void close_second(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  if (++*(int *)arg == 2)
    assert_int_equal(dusk_response_set_header(res, "Connection", "close"), 0);
  dusk_response_text(res, 200, "hello\n");
}

static void srv_074_the_second_answer_closes(void **state) {
  loopback_t *lb = *state;
  int requests = 0;
  dusk_server_config_t config = watched();
  config.handler = close_second;
  config.handler_arg = &requests;
  serve(lb, config);
  int client = connect_client(lb);
  ask(lb, client, GET);
  assert_told(lb, " new active idle");
  say(client, GET);
  assert_has(hear(lb, client, NULL), SAYS_CLOSE);
  leave(lb, client);
  assert_told(lb, " new active idle active closed");
}

static void srv_075_the_second_request_closes(void **state) {
  loopback_t *lb = *state;
  serve(lb, watched());
  int client = connect_client(lb);
  ask(lb, client, GET);
  assert_told(lb, " new active idle");
  say(client, LAST);
  hear(lb, client, NULL);
  assert_told(lb, " new active idle active closed");
}

static void srv_073_the_last_answer_leads_to_closed(void **state) {
  loopback_t *lb = *state;
  serve(lb, watched());
  int client = connect_client(lb);
  say(client, LAST);
  hear(lb, client, NULL);
  assert_told(lb, " new active closed");
}

static void srv_076_a_hijacked_one_is_told_no_more(void **state) {
  loopback_t *lb = *state;
  uv_os_sock_t fd;
  char *early;
  size_t len;
  int client = hold(lb, watched(), GET);
  assert_int_equal(dusk_response_hijack(lb->held.res, &fd, &early, &len), 0);
  assert_told(lb, " new active hijacked");
  leave(lb, client);
  free(early);
  close(fd);
  assert_int_equal(stop(lb, 5000).status, 0);
  assert_told(lb, " new active hijacked");
}

static void srv_078_a_malformed_request_is_active(void **state) {
  static const char *const bad[] = {
      "nonsense\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", /* without Host */
      "GET / HTTP/9.9\r\nHost: h\r\n\r\n", "\x16\x03\x01\x02 a TLS hello\r\n"};
  loopback_t *lb = *state;
  for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
    serve(lb, watched());
    int client = connect_client(lb);
    say(client, bad[i]);
    hear(lb, client, NULL);
    leave(lb, client);
    assert_told(lb, " new active closed");
    end_all(lb);
  }
}

static void srv_079_one_request_then_the_client_leaves(void **state) {
  loopback_t *lb = *state;
  for (int resets = 0; resets < 2; resets++) {
    serve(lb, watched());
    int client = connect_client(lb);
    ask(lb, client, GET);
    assert_told(lb, " new active idle");
    if (resets) reset_on_leaving(client);
    leave(lb, client);
    assert_told(lb, " new active idle closed");
    end_all(lb);
  }
}

/* While its client may be reading still, it is not closed. */
static void one_that_lingers_is_told_when_it_is_closed(void **state) {
  loopback_t *lb = *state;
  serve(lb, watched());
  int client = connect_client(lb);
  say(client, "nonsense\r\n\r\n");
  hear(lb, client, NULL);
  assert_told(lb, " new active");
  leave(lb, client);
  assert_told(lb, " new active closed");
}

static void srv_080_a_header_before_a_stop_keeps_it_idle(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, watched(), GET);
  dusk_response_t *res = lb->held.res;
  assert_int_equal(dusk_response_write(res, NULL, 0), 0);
  hear(lb, client, "\r\n\r\n");
  begin_stop(lb, bound_of(lb, 5000));
  turn(lb, 3);
  assert_int_equal(dusk_response_end(res, "late", 4), 0);
  assert_told(lb, " new active idle");
  leave(lb, client);
  end_stop(lb);
  assert_told(lb, " new active idle closed");
}

static void a_header_in_a_stop_leads_to_closed(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, watched(), GET);
  begin_stop(lb, bound_of(lb, 5000));
  turn(lb, 3);
  assert_int_equal(dusk_response_end(lb->held.res, "late", 4), 0);
  assert_has(hear(lb, client, NULL), SAYS_CLOSE);
  leave(lb, client);
  end_stop(lb);
  assert_told(lb, " new active closed");
}

static void time_outs_close(void **state) {
  loopback_t *lb = *state;
  dusk_server_config_t config = watched();
  config.idle_timeout_ms = config.header_timeout_ms = 20;
  serve(lb, config);
  int client = connect_client(lb);
  ask(lb, client, GET);
  assert_string_equal(hear(lb, client, NULL), "");
  leave(lb, client);
  assert_told(lb, " new active idle closed");
  told = (told_t){.is_over = false};
  client = connect_client(lb); /* says nothing */
  assert_string_equal(hear(lb, client, NULL), "");
  leave(lb, client);
  assert_told(lb, " new closed");
}

static void a_cut_closes_before_its_handler_ends(void **state) {
  loopback_t *lb = *state;
  hold(lb, watched(), GET);
  dusk_server_close(lb->server);
  assert_told(lb, " new active closed");
  assert_null(dusk_request_conn(lb->held.req));
  dusk_response_abort(lb->held.res);
  assert_told(lb, " new active closed");
}

static void a_client_that_resets_in_its_request_closes(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, watched(), GET);
  reset_on_leaving(client);
  leave(lb, client);
  assert_told(lb, " new active closed");
  assert_null(dusk_request_conn(lb->held.req));
  dusk_response_abort(lb->held.res);
}

int __real_uv_tcp_open(uv_tcp_t *handle, uv_os_sock_t sock);
int __wrap_uv_tcp_open(uv_tcp_t *handle, uv_os_sock_t sock);
static bool fails_to_open;

int __wrap_uv_tcp_open(uv_tcp_t *handle, uv_os_sock_t sock) {
  return fails_to_open ? UV_EMFILE : __real_uv_tcp_open(handle, sock);
}

static void ask_address(dusk_conn_t *conn, dusk_conn_state_t state, void *arg) {
  char text[80];
  on_state(conn, state, arg);
  assert_true(dusk_conn_peer(conn, text, sizeof(text)) > 0);
  assert_int_equal(dusk_conn_local(conn, text, sizeof(text)), UV_EBADF);
  assert_non_null(dusk_conn_context(conn));
}

static void one_that_can_not_be_opened_is_told_as_well(void **state) {
  loopback_t *lb = *state;
  dusk_server_config_t config = watched();
  config.on_conn_state = ask_address;
  serve(lb, config);
  fails_to_open = true;
  int client = connect_client(lb);
  assert_told(lb, " new closed");
  fails_to_open = false;
  end_of_stream(lb, client);
}

/* -- What it can be asked -------------------------------------------------- */

static void srv_299_it_tells_its_addresses(void **state) {
  loopback_t *lb = *state;
  char text[80];
  hold(lb, watched(), GET);
  dusk_conn_t *conn = dusk_request_conn(lb->held.req);
  assert_ptr_equal(conn, told.conn);
  int len = dusk_conn_peer(conn, text, sizeof(text));
  assert_int_equal(len, strlen(text));
  assert_string_equal(text, dusk_request_peer(lb->held.req));
  assert_int_equal(dusk_conn_peer(conn, text, (size_t)len + 1), len);
  strcpy(text, "before");
  assert_int_equal(dusk_conn_peer(conn, text, (size_t)len), UV_ENOBUFS);
  assert_int_equal(dusk_conn_peer(conn, text, 0), UV_ENOBUFS);
  assert_string_equal(text, "before");
  len = dusk_conn_local(conn, text, sizeof(text));
  assert_int_equal(len, strlen(text));
  assert_string_equal(text, lb->address);
  assert_int_equal(dusk_conn_local(conn, text, (size_t)len), UV_ENOBUFS);
  dusk_response_end(lb->held.res, NULL, 0);
}

static void nothing_is_asked_of_nothing(void **state) {
  loopback_t *lb = *state;
  char text[80];
  hold(lb, DEFAULTS, GET);
  dusk_conn_t *conn = dusk_request_conn(lb->held.req);
  assert_int_equal(dusk_conn_peer(NULL, text, sizeof(text)), UV_EINVAL);
  assert_int_equal(dusk_conn_peer(conn, NULL, sizeof(text)), UV_EINVAL);
  assert_int_equal(dusk_conn_local(NULL, text, sizeof(text)), UV_EINVAL);
  assert_int_equal(dusk_conn_local(conn, NULL, sizeof(text)), UV_EINVAL);
  assert_null(dusk_conn_context(NULL));
  dusk_response_end(lb->held.res, NULL, 0);
}

static void a_unix_sockets_addresses_are_unix(void **state) {
  loopback_t *lb = *state;
  char path[] = "/tmp/dusk-conn-XXXXXX";
  char address[64], text[80];
  assert_non_null(mkdtemp(path));
  snprintf(address, sizeof(address), "unix:%s/s", path);
  dusk_server_config_t config = watched();
  config.handler = loopback_keep;
  config.handler_arg = &lb->held;
  serve(lb, config);
  assert_int_equal(dusk_server_serve(lb->server, address, NULL, NULL), 0);
  struct sockaddr_storage at = {.ss_family = AF_UNIX};
  strcpy((char *)&at + sizeof(sa_family_t), address + 5);
  int client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
  assert_int_equal(
      connect(client, (struct sockaddr *)&at,
              (socklen_t)(sizeof(sa_family_t) + strlen(address + 5) + 1)),
      0);
  hold_next(lb, welcome(lb, client), GET);
  dusk_conn_t *conn = dusk_request_conn(lb->held.req);
  assert_int_equal(dusk_conn_peer(conn, text, sizeof(text)), 4);
  assert_string_equal(text, "unix");
  assert_int_equal(dusk_conn_local(conn, text, sizeof(text)), 4);
  assert_string_equal(text, "unix");
  dusk_response_end(lb->held.res, NULL, 0);
  end_all(lb);
  rmdir(path);
}

/* -- Its context ----------------------------------------------------------- */

static const dusk_key_t number_key = {"number"};

/* Numbers them: the number is where its value points to. */
static char numbers[8];

static dusk_context_t *give_number(dusk_conn_t *conn, dusk_context_t *base,
                                   void *arg) {
  dusk_context_t *ctx;
  char text[80];
  int *next = arg;
  assert_true(dusk_conn_peer(conn, text, sizeof(text)) > 0);
  int err = dusk_context_with_value(base, &number_key, &numbers[*next], &ctx);
  ++*next;
  return err < 0 ? NULL : ctx;
}

static dusk_server_config_t numbered(int *next) {
  dusk_server_config_t config = watched();
  config.on_conn_context = give_number;
  config.on_conn_context_arg = next;
  *next = 0;
  return config;
}

static void *number_of(dusk_context_t *ctx) {
  assert_non_null(ctx);
  return dusk_context_value(ctx, &number_key);
}

static void srv_296_each_has_a_context_of_its_own(void **state) {
  loopback_t *lb = *state;
  int next;
  dusk_server_config_t config = numbered(&next);
  config.on_conn_state = NULL;
  int first = hold(lb, config, GET);
  dusk_conn_t *conn = dusk_request_conn(lb->held.req);
  dusk_context_t *ctx = dusk_conn_context(conn);
  assert_ptr_equal(number_of(dusk_request_context(lb->held.req)), &numbers[0]);
  assert_ptr_equal(number_of(ctx), &numbers[0]);
  dusk_response_t *held = lb->held.res;
  hold_next(lb, connect_client(lb), GET);
  assert_ptr_equal(number_of(dusk_request_context(lb->held.req)), &numbers[1]);
  dusk_response_end(lb->held.res, NULL, 0);
  dusk_response_end(held, NULL, 0);
  hear(lb, first, "\r\n\r\n");
  hold_next(lb, first, GET); /* the same connection: the same context */
  assert_ptr_equal(dusk_request_conn(lb->held.req), conn);
  assert_ptr_equal(dusk_conn_context(conn), ctx);
  assert_int_equal(dusk_context_err(ctx), 0);
  assert_ptr_equal(number_of(dusk_request_context(lb->held.req)), &numbers[0]);
  dusk_response_end(lb->held.res, NULL, 0);
  assert_int_equal(next, 2);
}

/* SRV-296: Go asks ConnContext first, and so a state's hook finds what it gave.
 */
static void on_numbered_state(dusk_conn_t *conn, dusk_conn_state_t state,
                              void *arg) {
  on_state(conn, state, arg);
  assert_ptr_equal(number_of(dusk_conn_context(conn)), &numbers[0]);
}

static void a_context_is_there_in_all_states(void **state) {
  loopback_t *lb = *state;
  int next;
  dusk_server_config_t config = numbered(&next);
  config.on_conn_state = on_numbered_state;
  serve(lb, config);
  int client = connect_client(lb);
  ask(lb, client, GET);
  leave(lb, client);
  assert_told(lb, " new active idle closed");
}

typedef struct starved {
  size_t fail_at;
  bool has_failed;
} starved_t;

static dusk_context_t *give_starved(dusk_conn_t *conn, dusk_context_t *base,
                                    void *arg) {
  dusk_context_t *ctx;
  starved_t *starved = arg;
  (void)conn;
  alloc_fail_at(starved->fail_at);
  int err = dusk_context_with_value(base, &number_key, arg, &ctx);
  return err < 0 ? NULL : ctx;
}

static void srv_297_without_a_context_it_is_closed(void **state) {
  loopback_t *lb = *state;
  starved_t starved = {0};
  for (starved.fail_at = 1; starved.fail_at <= 2; starved.fail_at++) {
    dusk_server_config_t config = watched();
    config.on_conn_context = give_starved;
    config.on_conn_context_arg = &starved;
    serve(lb, config);
    int client = connect_client(lb);
    assert_told(lb, " new closed");
    assert_true(alloc_has_failed());
    alloc_fail_at(0);
    end_of_stream(lb, client);
    end_all(lb);
  }
}

static dusk_context_t *give_base(dusk_conn_t *conn, dusk_context_t *base,
                                 void *arg) {
  (void)conn;
  (void)arg;
  return dusk_context_ref(base);
}

/* SRV-294: also one of another loop's. */
static void base_may_be_given_as_it_is(void **state) {
  loopback_t *lb = *state;
  uv_loop_t loop;
  dusk_context_t *root, *valued, *base;
  assert_int_equal(uv_loop_init(&loop), 0);
  assert_int_equal(dusk_context_attach(&loop, &root), 0);
  assert_int_equal(dusk_context_with_value(root, &number_key, numbers, &valued),
                   0);
  assert_int_equal(dusk_context_with_cancel(valued, &base), 0);
  hold(lb, (dusk_server_config_t){.base = base, .on_conn_context = give_base},
       GET);
  dusk_context_t *ctx = dusk_conn_context(dusk_request_conn(lb->held.req));
  assert_ptr_equal(number_of(ctx), numbers);
  dusk_context_cancel(base, NULL);
  assert_int_equal(dusk_context_err(ctx), UV_ECANCELED);
  assert_int_equal(dusk_context_err(held_context(lb)), UV_ECANCELED);
  dusk_response_end(lb->held.res, NULL, 0);
  end_all(lb);
  dusk_context_unref(base);
  dusk_context_unref(valued);
  assert_int_equal(dusk_context_detach(root, NULL, NULL), 0);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&loop), 0);
}

static dusk_context_t *conn_context(loopback_t *lb) {
  dusk_context_t *ctx = dusk_conn_context(dusk_request_conn(lb->held.req));
  assert_non_null(ctx);
  lb->contexts[lb->context_count++] = dusk_context_ref(ctx);
  return ctx;
}

static void its_context_ends_with_it(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, watched(), GET);
  dusk_context_t *ctx = conn_context(lb);
  dusk_response_end(lb->held.res, NULL, 0);
  assert_told(lb, " new active idle");
  assert_int_equal(dusk_context_err(ctx), 0);
  leave(lb, client);
  assert_told(lb, " new active idle closed");
  assert_ptr_equal(dusk_context_cause(ctx), &dusk_response_ended);
}

/* Also one that nobody had asked for by then. */
static void its_context_ends_when_the_client_leaves(void **state) {
  loopback_t *lb = *state;
  for (int is_late = 0; is_late < 2; is_late++) {
    int client = hold(lb, watched(), GET);
    dusk_context_t *ctx = is_late ? NULL : conn_context(lb);
    shutdown(client, SHUT_WR);
    turn(lb, 5);
    if (is_late) ctx = conn_context(lb);
    assert_ptr_equal(dusk_context_cause(ctx), &dusk_client_gone);
    dusk_response_end(lb->held.res, "half", 4);
    assert_has(hear(lb, client, NULL), "half");
    assert_told(lb, " new active closed");
    end_all(lb);
  }
}

static void a_hijack_ends_its_context(void **state) {
  loopback_t *lb = *state;
  uv_os_sock_t fd;
  char *early;
  size_t len;
  hold(lb, watched(), GET);
  dusk_context_t *ctx = conn_context(lb);
  assert_int_equal(dusk_response_hijack(lb->held.res, &fd, &early, &len), 0);
  assert_ptr_equal(dusk_context_cause(ctx), &dusk_response_ended);
  free(early);
  close(fd);
}

/* -- None is kept ---------------------------------------------------------- */

enum { MOST = 4, CROWD = 16 };

static const size_t counts[] = {1, 2, 4}; /* of loops */

/* What was told on any loop: how often each state. */
static atomic_int times[DUSK_CONN_CLOSED + 1];

static void count_state(dusk_conn_t *conn, dusk_conn_state_t state, void *arg) {
  (void)conn;
  (void)arg;
  atomic_fetch_add(&times[state], 1);
}

static int told_times(dusk_conn_state_t state) {
  return atomic_load(&times[state]);
}

static dusk_server_config_t counted(size_t threads) {
  memset(times, 0, sizeof(times));
  return (dusk_server_config_t){.threads = threads,
                                .on_conn_state = count_state};
}

/* Each has been answered, and is idle. */
static void crowd(loopback_t *lb, int clients[CROWD]) {
  for (int c = 0; c < CROWD; c++)
    ask(lb, clients[c] = connect_client(lb), GET);
  AWAIT(lb, told_times(DUSK_CONN_IDLE) == CROWD);
}

static void srv_094_every_answer_closes(void **state) {
  loopback_t *lb = *state;
  for (int i = 0; i < 3; i++) {
    serve(lb, counted(counts[i]));
    dusk_server_set_keep_alives(lb->server, false);
    for (int c = 0; c < CROWD; c++) {
      int client = connect_client(lb);
      say(client, GET);
      assert_has(hear(lb, client, NULL), SAYS_CLOSE);
      leave(lb, client);
    }
    AWAIT(lb, told_times(DUSK_CONN_CLOSED) == CROWD);
    assert_int_equal(told_times(DUSK_CONN_IDLE), 0);
    end_all(lb);
  }
}

/* SRV-069: on the loop of each. */
static void srv_095_what_is_idle_is_closed_on_all_loops(void **state) {
  loopback_t *lb = *state;
  for (int i = 0; i < 3; i++) {
    int clients[CROWD];
    serve(lb, counted(counts[i]));
    crowd(lb, clients);
    dusk_server_set_keep_alives(lb->server, false);
    for (int c = 0; c < CROWD; c++) {
      assert_string_equal(hear(lb, clients[c], NULL), "");
      leave(lb, clients[c]);
    }
    AWAIT(lb, told_times(DUSK_CONN_CLOSED) == CROWD);
    assert_int_equal(loopback_report(lb).conns_now, 0);
    end_all(lb);
    assert_int_equal(told_times(DUSK_CONN_NEW), CROWD);
  }
}

static void srv_096_they_can_be_turned_on_again(void **state) {
  loopback_t *lb = *state;
  for (int i = 0; i < 3; i++) {
    int clients[CROWD];
    serve(lb, counted(counts[i]));
    dusk_server_set_keep_alives(lb->server, false);
    dusk_server_set_keep_alives(lb->server, true);
    crowd(lb, clients);
    for (int c = 0; c < CROWD; c++)
      assert_lacks(ask(lb, clients[c], GET), SAYS_CLOSE);
    end_all(lb);
  }
}

static void they_may_be_turned_off_and_on_at_any_time(void **state) {
  enum { ROUNDS = 50 };
  loopback_t *lb = *state;
  serve(lb, counted(MOST));
  for (int r = 0; r < ROUNDS; r++) {
    int clients[MOST];
    for (int c = 0; c < MOST; c++)
      say(clients[c] = connect_client(lb), GET);
    dusk_server_set_keep_alives(lb->server, false);
    turn(lb, 1);
    dusk_server_set_keep_alives(lb->server, true);
    for (int c = 0; c < MOST; c++) {
      assert_has(hear(lb, clients[c], "hello\n"), "200 OK");
      leave(lb, clients[c]);
    }
    lb->client_count = 0;
  }
  AWAIT(lb, told_times(DUSK_CONN_CLOSED) == ROUNDS * MOST);
}

/* The lame duck's word stands as well. */
static void a_lame_duck_says_close_as_well(void **state) {
  loopback_t *lb = *state;
  serve(lb, DEFAULTS);
  dusk_server_lame_duck(lb->server, true);
  dusk_server_set_keep_alives(lb->server, false);
  dusk_server_lame_duck(lb->server, false);
  assert_has(ask(lb, connect_client(lb), GET), SAYS_CLOSE);
  dusk_server_lame_duck(lb->server, true);
  dusk_server_set_keep_alives(lb->server, true);
  assert_has(ask(lb, connect_client(lb), GET), SAYS_CLOSE);
  assert_int_equal(loopback_report(lb).phase, DUSK_LAME_DUCK);
  dusk_server_lame_duck(lb->server, false);
  assert_lacks(ask(lb, connect_client(lb), GET), SAYS_CLOSE);
}

static void one_that_is_new_is_answered(void **state) {
  loopback_t *lb = *state;
  serve(lb, watched());
  int client = connect_client(lb);
  assert_told(lb, " new");
  dusk_server_set_keep_alives(lb->server, false);
  assert_told(lb, " new");
  say(client, GET);
  assert_has(hear(lb, client, NULL), SAYS_CLOSE);
}

/* Its bytes are there, and not read yet. */
static void a_request_that_has_come_is_answered(void **state) {
  loopback_t *lb = *state;
  serve(lb, watched());
  int client = connect_client(lb);
  ask(lb, client, GET);
  assert_told(lb, " new active idle");
  say(client, GET);
  dusk_server_set_keep_alives(lb->server, false);
  assert_has(hear(lb, client, NULL), SAYS_CLOSE);
}

static void a_batch_that_has_come_is_answered(void **state) {
  loopback_t *lb = *state;
  serve(lb, watched());
  dusk_server_set_keep_alives(lb->server, false);
  int client = connect_client(lb);
  say(client, GET GET GET);
  hear(lb, client, NULL);
  assert_int_equal(count_of(lb->heard, "hello\n"), 3);
  assert_int_equal(count_of(lb->heard, SAYS_CLOSE), 1);
}

/* It did not say so, and may ask once more. */
static void an_answer_that_has_begun_keeps_it(void **state) {
  loopback_t *lb = *state;
  int client = hold(lb, watched(), GET);
  assert_int_equal(dusk_response_write(lb->held.res, NULL, 0), 0);
  dusk_server_set_keep_alives(lb->server, false);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
  assert_lacks(hear(lb, client, "0\r\n\r\n"), SAYS_CLOSE);
  assert_told(lb, " new active idle");
  hold_next(lb, client, GET);
  assert_int_equal(dusk_response_end(lb->held.res, NULL, 0), 0);
  assert_has(hear(lb, client, NULL), SAYS_CLOSE);
}

static void turn_off(dusk_response_t *res, dusk_request_t *req, void *arg) {
  loopback_t *lb = arg;
  (void)req;
  dusk_server_set_keep_alives(lb->server, false);
  dusk_response_text(res, 200, "hello\n");
}

static void a_handler_may_turn_them_off(void **state) {
  loopback_t *lb = *state;
  serve(lb, (dusk_server_config_t){.handler = turn_off, .handler_arg = lb});
  int client = connect_client(lb);
  say(client, GET);
  assert_has(hear(lb, client, NULL), SAYS_CLOSE);
}

/* A drain gives what is idle its window; and then there are no loops. */
static void in_a_stop_they_are_left_alone(void **state) {
  loopback_t *lb = *state;
  dusk_server_config_t config = watched();
  config.threads = 2;
  serve(lb, config);
  int client = connect_client(lb); /* on the first one */
  ask(lb, client, GET);
  begin_stop(lb, bound_of(lb, 5000));
  turn(lb, 3);
  dusk_server_set_keep_alives(lb->server, false);
  turn(lb, 3);
  assert_string_equal(told.states, " new active idle");
  assert_has(ask(lb, client, GET), SAYS_CLOSE);
  leave(lb, client);
  end_stop(lb);
  dusk_server_set_keep_alives(lb->server, false);
}

static void srv_097_a_hijackers_answer_is_its_own(void **state) {
  static const char upgrade[] =
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n";
  loopback_t *lb = *state;
  uv_os_sock_t fd;
  char *early;
  size_t len;
  int client = hold(lb, DEFAULTS, GET);
  dusk_server_set_keep_alives(lb->server, false);
  assert_int_equal(dusk_response_hijack(lb->held.res, &fd, &early, &len), 0);
  assert_int_equal(send(fd, upgrade, strlen(upgrade), 0), strlen(upgrade));
  assert_string_equal(hear(lb, client, "\r\n\r\n"), upgrade);
  free(early);
  close(fd);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(srv_068_the_states_have_texts),
      house_test(srv_070_new_is_told_before_it_is_served),
      house_test(srv_071_active_begins_with_the_first_byte),
      house_test(srv_072_idle_begins_when_the_answer_is_out),
      house_test(idle_waits_for_the_requests_end),
      house_test(idle_waits_for_a_client_that_is_behind),
      house_test(a_pipelined_batch_is_active_once),
      house_test(srv_074_the_second_answer_closes),
      house_test(srv_075_the_second_request_closes),
      house_test(srv_073_the_last_answer_leads_to_closed),
      house_test(srv_076_a_hijacked_one_is_told_no_more),
      house_test(srv_078_a_malformed_request_is_active),
      house_test(srv_079_one_request_then_the_client_leaves),
      house_test(one_that_lingers_is_told_when_it_is_closed),
      house_test(srv_080_a_header_before_a_stop_keeps_it_idle),
      house_test(a_header_in_a_stop_leads_to_closed),
      house_test(time_outs_close),
      house_test(a_cut_closes_before_its_handler_ends),
      house_test(a_client_that_resets_in_its_request_closes),
      house_test(one_that_can_not_be_opened_is_told_as_well),
      house_test(srv_299_it_tells_its_addresses),
      house_test(nothing_is_asked_of_nothing),
      house_test(a_unix_sockets_addresses_are_unix),
      house_test(srv_296_each_has_a_context_of_its_own),
      house_test(a_context_is_there_in_all_states),
      house_test(srv_297_without_a_context_it_is_closed),
      house_test(base_may_be_given_as_it_is),
      house_test(its_context_ends_with_it),
      house_test(its_context_ends_when_the_client_leaves),
      house_test(a_hijack_ends_its_context),
      house_test(srv_094_every_answer_closes),
      house_test(srv_095_what_is_idle_is_closed_on_all_loops),
      house_test(srv_096_they_can_be_turned_on_again),
      house_test(they_may_be_turned_off_and_on_at_any_time),
      house_test(a_lame_duck_says_close_as_well),
      house_test(one_that_is_new_is_answered),
      house_test(a_request_that_has_come_is_answered),
      house_test(a_batch_that_has_come_is_answered),
      house_test(an_answer_that_has_begun_keeps_it),
      house_test(a_handler_may_turn_them_off),
      house_test(in_a_stop_they_are_left_alone),
      house_test(srv_097_a_hijackers_answer_is_its_own),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
