/* A connection: all that a client may send, and when. An input is what it
 * sends, but for the bytes from 0xf7 on, which are what happens at that point
 * (an event_t). However it comes:
 *   - what is answered is well-formed, and as many replies as were told
 *   - every handler has its response ended, and is told so
 *   - the account adds up, and nothing is left, neither memory nor a file
 * and where nothing but the pieces differ, the replies don't. */
#include "answers.h"
#include "alloc.h"
#include "replies.h"
#include "served.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  MAX_SCRIPT = 4096,
  MAX_OUT = 1 << 23,
  MAX_TOLD = 1 << 16,
  MAX_ASKED = 1024,
  QUIET_TURNS = 2, /* in which nothing happens: then nothing will */
};

typedef enum event {
  EVENT_MISSING_MEMORY = 0xf7, /* the next byte tells when */
  EVENT_KEEP_ALIVES_OFF,
  EVENT_LAME_DUCK,
  EVENT_CUT,        /* by the server, all at once */
  EVENT_LEAVE,      /* the client closes its socket */
  EVENT_DRAIN,      /* a shutdown begins */
  EVENT_HALF_CLOSE, /* by the client, when what it has sent is served */
  EVENT_HALF_CLOSE_NOW,
  EVENT_TURN, /* what it has sent is served */
} event_t;

typedef struct run {
  served_t *served;
  answers_t *answers;
  int client; /* -1: it has left */
  bool has_ended;
  bool is_cut;    /* what was sent need not have come */
  bool is_steady; /* what comes depends on the bytes only */
  size_t out_len;
  asked_t asked[MAX_ASKED];
  size_t asked_count;
  dusk_conn_state_t state;
  size_t open; /* connections, by their states */
} run_t;

static run_t *running;
static char out[MAX_OUT];

/* -- What the server tells ------------------------------------------------- */

static void on_request_end(dusk_request_t *req, const dusk_request_end_t *end,
                           void *arg) {
  run_t *run = running;
  (void)arg;
  HOLDS(end->cause != NULL && run->asked_count < MAX_ASKED);
  run->asked[run->asked_count++] =
      (asked_t){.status = end->status,
                .is_head = strcmp(dusk_request_method(req), "HEAD") == 0,
                .is_whole = end->err == 0};
}

static void on_conn_state(dusk_conn_t *conn, dusk_conn_state_t state,
                          void *arg) {
  run_t *run = running;
  (void)conn, (void)arg;
  switch (state) {
  case DUSK_CONN_NEW:
    HOLDS(run->open++ == 0);
    break;
  case DUSK_CONN_ACTIVE:
    HOLDS(run->state == DUSK_CONN_NEW || run->state == DUSK_CONN_IDLE);
    break;
  case DUSK_CONN_IDLE:
  case DUSK_CONN_HIJACKED:
    HOLDS(run->state == DUSK_CONN_ACTIVE);
    break;
  case DUSK_CONN_CLOSED:
    break;
  }
  if (state == DUSK_CONN_HIJACKED || state == DUSK_CONN_CLOSED)
    HOLDS(run->open-- == 1);
  run->state = state;
}

static void on_error_reply(dusk_response_t *res, dusk_error_reply_t *reply,
                           void *arg) {
  static const char body[] = "{\"error\": true}";
  (void)arg;
  HOLDS(reply->status >= 400 && reply->status <= 599);
  dusk_response_set_header(res, "X-Error", "1");
  reply->type = "application/json";
  reply->body = body;
  reply->len = sizeof(body) - 1;
}

/* -- Time ------------------------------------------------------------------ */

static void receive(run_t *run) {
  while (run->client >= 0 && !run->has_ended) {
    ssize_t len = recv(run->client, out + run->out_len,
                       sizeof(out) - run->out_len, MSG_DONTWAIT);
    if (len < 0 && errno == EAGAIN) return;
    if (len > 0) run->out_len += (size_t)len;
    if (len <= 0) run->has_ended = true;
    HOLDS(run->out_len < sizeof(out));
  }
}

/* What files are waited for; also what waits for the client, which is read from
 * before that. */
static void wait_for_files(const run_t *run) {
  struct pollfd loop = {.fd = uv_backend_fd(&run->served->loop),
                        .events = POLLIN};
  if (run->answers->is_saving && run->served->loop.active_reqs.count > 0)
    poll(&loop, 1, 100);
}

/* Until nothing happens any more. */
static void settle(run_t *run) {
  int quiet = 0;
  while (quiet < QUIET_TURNS) {
    size_t steps = run->answers->steps;
    size_t out_len = run->out_len;
    bool had_ended = run->has_ended;
    wait_for_files(run);
    uv_run(&run->served->loop, UV_RUN_NOWAIT);
    receive(run);
    bool was_waiting = run->answers->waiting != NULL;
    answers_go_on(run->answers);
    bool is_writing =
        run->answers->is_saving && run->served->loop.active_reqs.count > 0;
    bool is_quiet = steps == run->answers->steps && out_len == run->out_len &&
                    had_ended == run->has_ended && !was_waiting && !is_writing;
    quiet = is_quiet ? quiet + 1 : 0;
  }
}

/* As far as the server takes it. */
static void say(run_t *run, const char *bytes, size_t len) {
  while (len > 0 && run->client >= 0) {
    ssize_t sent = send(run->client, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent <= 0 && errno != EAGAIN) return; /* it wants no more */
    if (sent <= 0) {
      size_t steps = run->answers->steps;
      settle(run);
      if (steps == run->answers->steps) return;
      continue;
    }
    bytes += sent;
    len -= (size_t)sent;
  }
}

/* -- Events ---------------------------------------------------------------- */

static void half_close(run_t *run) {
  if (run->client >= 0) shutdown(run->client, SHUT_WR);
  settle(run);
}

static void leave(run_t *run) {
  if (run->client >= 0) close(run->client);
  run->client = -1;
  run->is_cut = true;
}

static void happen(run_t *run, event_t event, unsigned char next) {
  if (event != EVENT_TURN) run->is_steady = false;
  switch (event) {
  case EVENT_MISSING_MEMORY:
    alloc_fail_at(next + 1U);
    run->is_cut = true;
    break;
  case EVENT_KEEP_ALIVES_OFF:
    dusk_server_set_keep_alives(run->served->server, false);
    break;
  case EVENT_LAME_DUCK:
    dusk_server_lame_duck(run->served->server, true);
    break;
  case EVENT_CUT:
    run->is_cut = true;
    dusk_server_close(run->served->server);
    break;
  case EVENT_LEAVE:
    leave(run);
    break;
  case EVENT_DRAIN:
    served_drain(run->served);
    break;
  case EVENT_HALF_CLOSE:
    settle(run);
    half_close(run);
    break;
  case EVENT_HALF_CLOSE_NOW:
    half_close(run);
    break;
  case EVENT_TURN:
    settle(run);
    break;
  }
}

static bool is_event(uint8_t byte) {
  return byte >= EVENT_MISSING_MEMORY;
}

/* -- A conversation -------------------------------------------------------- */

static void begin(run_t *run, served_t *served, answers_t *answers) {
  memset(run, 0, sizeof(*run));
  running = run;
  run->served = served;
  run->answers = answers;
  run->is_steady = true;
  run->client = served_connect();
  settle(run);
}

/* What is left is ended from the client's side. */
static void end(run_t *run) {
  alloc_fail_at(0);
  settle(run);
  half_close(run);
  HOLDS(run->client < 0 || run->has_ended);
  if (run->client >= 0) close(run->client);
  run->client = -1;
  settle(run);
  HOLDS(run->answers->running == 0);
  HOLDS(run->open == 0);
}

/* What was answered, in `told`. */
static size_t check(run_t *run, char *told) {
  if (run->answers->is_unsteady) run->is_steady = false;
  if (run->answers->is_unsteady) run->is_cut = true;
  if (run->answers->is_saving) served_check_folder();
  return replies_read(out, run->out_len, run->asked, run->asked_count,
                      run->is_cut, told, MAX_TOLD);
}

static void play(run_t *run, const uint8_t *script, size_t size) {
  size_t from = 0;
  for (size_t i = 0; i < size; i++) {
    if (!is_event(script[i])) continue;
    say(run, (const char *)script + from, i - from);
    unsigned char next = i + 1 < size ? script[i + 1] : 0;
    happen(run, (event_t)script[i], next);
    i += script[i] == EVENT_MISSING_MEMORY;
    from = i + 1;
  }
  if (from < size) say(run, (const char *)script + from, size - from);
}

/* Only what is sent, in pieces of up to `most` bytes. */
static void play_in_pieces(run_t *run, const char *bytes, size_t size,
                           size_t most) {
  size_t piece = most;
  for (size_t at = 0; at < size; at += piece) {
    piece = size > most ? (piece * 7 + at) % most + 1 : most;
    say(run, bytes + at, size - at < piece ? size - at : piece);
    settle(run);
  }
}

/* The same bytes without what happened between them. */
static size_t bytes_of(const uint8_t *script, size_t size, char *bytes) {
  size_t len = 0;
  for (size_t i = 0; i < size; i++)
    if (!is_event(script[i])) bytes[len++] = (char)script[i];
  return len;
}

static void check_same(const char *a, size_t a_len, const char *b,
                       size_t b_len) {
  if (a_len == b_len && memcmp(a, b, a_len) == 0) return;
  fprintf(stderr, "---- in one way:\n%.*s\n---- in another:\n%.*s\n----\n",
          (int)a_len, a, (int)b_len, b);
  HOLDS(!"the replies are the same however the bytes come");
}

static void check_pieces(served_t *served, answers_t *answers,
                         const uint8_t *script, size_t size, const char *told,
                         size_t told_len) {
  static run_t run;
  static char other[MAX_TOLD];
  static char bytes[MAX_SCRIPT];
  static const size_t sizes[] = {MAX_SCRIPT, 23};
  size_t len = bytes_of(script, size, bytes);
  for (size_t i = 0; i < 2; i++) {
    begin(&run, served, answers);
    play_in_pieces(&run, bytes, len, sizes[i]);
    end(&run);
    size_t other_len = check(&run, other);
    if (run.is_steady) check_same(told, told_len, other, other_len);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static run_t run;
  static char told[MAX_TOLD];
  served_t served;
  answers_t answers;
  if (size > MAX_SCRIPT) return 0;
  answers_make(&answers);
  served_open(&served, (dusk_server_config_t){
                           .handler = dusk_mux_serve,
                           .handler_arg = answers.mux,
                           .max_header_bytes = 2048,
                           .max_header_count = 40,
                           .max_body_bytes = ANSWERS_MAX_BODY,
                           .on_request_end = on_request_end,
                           .on_conn_state = on_conn_state,
                           .on_error_reply = on_error_reply,
                       });
  begin(&run, &served, &answers);
  play(&run, data, size);
  end(&run);
  size_t len = check(&run, told);
  if (run.is_steady) check_pieces(&served, &answers, data, size, told, len);
  served_close(&served);
  answers_free(&answers);
  return 0;
}
