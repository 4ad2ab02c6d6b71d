/* stop.c: ends the service. The states, and who moves between them:
 *
 *   none ──signal──▶ lame duck ──timer──▶ drain ──last answer, or cut──▶ done
 *     └───────────── no lame duck ──────────▲
 *   A second signal cuts, in any state.
 *
 * Signals come to the loop by a receiver of the context module. Before libuv's
 * own signal handler stands one of ours, so that the process can be ended when
 * its loop no longer turns:
 *   - it counts the signals; one that comes less than 100 ms after another is
 *     the same (a terminal and a wrapper both deliver a Ctrl+C);
 *   - it arms an alarm at the first, to a moment by which the loop should have
 *     left, and at the second, to a nearer one. SIGALRM's handler exits;
 *   - it exits itself at the third;
 *   - and it hands the signal on to libuv's.
 * So whoever waits for the process is never kept beyond its bound. Without a
 * bound (--drain-timeout 0) a second signal sets one.
 *
 * All else runs on the loop, and closes every handle it has made. */
#include "stop.h"

#include "units.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SAME_SIGNAL_MS 100
#define STUCK_AFTER_MS 2000 /* for what a loop that turns does at the end */
#define PROGRESS_MS 1000
#define TOLD_CUTS 10

/* -- In signal handlers ---------------------------------------------------- */

static struct {
  atomic_int count;
  atomic_int first;            /* which signal it was */
  atomic_uint last_ms;         /* wraps, as its differences may */
  unsigned alarm_s;            /* from the first signal; 0: never */
  void (*forward)(int signum); /* libuv's handler */
} signals;

static unsigned now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (unsigned)now.tv_sec * 1000 + (unsigned)now.tv_nsec / 1000000;
}

static void on_signal(int signum) {
  int saved_errno = errno;
  unsigned now = now_ms();
  int count = atomic_load(&signals.count);
  if (count == 0 || now - atomic_load(&signals.last_ms) >= SAME_SIGNAL_MS) {
    atomic_store(&signals.last_ms, now);
    atomic_store(&signals.count, ++count);
    if (count == 1) {
      atomic_store(&signals.first, signum);
      alarm(signals.alarm_s);
    } else if (count == 2) {
      alarm(STUCK_AFTER_MS / 1000);
    } else {
      duskd__log_from_signal("a third signal: gone at once");
      _exit(DUSKD_CUT_SHORT);
    }
  }
  signals.forward(signum);
  errno = saved_errno;
}

static void on_alarm(int signum) {
  (void)signum;
  duskd__log_from_signal("stuck, and should have ended: gone at once");
  _exit(atomic_load(&signals.count) > 1 ? DUSKD_CUT_SHORT : DUSKD_BOUND_PASSED);
}

/* Neither of SIGINT and SIGTERM interrupts the other's handler. Fails for bad
 * numbers only. */
static void set_handler(int signum, void (*handler)(int)) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  sigaddset(&action.sa_mask, SIGINT);
  sigaddset(&action.sa_mask, SIGTERM);
  sigaction(signum, &action, NULL);
}

static void block_signals(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigprocmask(SIG_BLOCK, &set, NULL);
}

/* When a first signal's alarm is due: after all that the flags allow. */
static unsigned alarm_seconds(const duskd_flags_t *flags) {
  if (flags->drain_timeout_ms == DUSK_OFF) return 0;
  uint64_t ms = flags->lame_duck_ms + flags->drain_timeout_ms + STUCK_AFTER_MS;
  uint64_t seconds = (ms + 999) / 1000;
  return seconds < INT32_MAX ? (unsigned)seconds : INT32_MAX;
}

/* -- Progress -------------------------------------------------------------- */

/* Appends to a line, and drops what doesn't fit. */
static void append(char *line, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void append(char *line, size_t size, const char *format, ...) {
  size_t len = strlen(line);
  va_list args;
  va_start(args, format);
  vsnprintf(line + len, size - len, format, args);
  va_end(args);
}

static void tell_progress(uv_timer_t *timer) {
  const duskd_stop_t *stop = timer->data;
  bool is_lame_duck = stop->state == DUSKD_STOP_LAME_DUCK;
  char text[512] = "", json[2048], duration[DUSKD_DURATION_SIZE];
  dusk_report_t report;
  dusk_server_report(stop->server, &report);
  append(text, sizeof text,
         "%s; requests running: %" PRIu64 ", connections open: %" PRIu64,
         is_lame_duck ? "lame duck" : "draining", report.requests_now,
         report.conns_now);
  if (report.oldest[0] != '\0')
    append(text, sizeof text, "; oldest: \"%s\", for %s", report.oldest,
           duskd__duration_text(report.oldest_ms, duration));
  if (is_lame_duck)
    append(
        text, sizeof text, "; drains in %s",
        duskd__duration_text(uv_timer_get_due_in(&stop->lame_duck), duration));
  else if (report.left_ms != DUSK_OFF)
    append(text, sizeof text, "; cuts in %s",
           duskd__duration_text(report.left_ms, duration));
  dusk_report_json(&report, json, sizeof json);
  duskd__log_object(DUSKD_INFO, text, "progress", json);
}

void duskd__stop_tell_cut(dusk_request_t *req, uint64_t age_ms, void *arg) {
  int *told = arg;
  char duration[DUSKD_DURATION_SIZE];
  if (*told == TOLD_CUTS) duskd__log(DUSKD_WARN, "cut: and more");
  if (++*told > TOLD_CUTS) return;
  duskd__log(DUSKD_WARN, "cut: \"%s %s\" after %s", dusk_request_method(req),
             dusk_request_target(req), duskd__duration_text(age_ms, duration));
}

static void tell_result(const duskd_stop_t *stop) {
  char text[2048], json[2048];
  dusk_report_t report;
  dusk_server_report(stop->server, &report);
  dusk_report_text(&report, text, sizeof text);
  dusk_report_json(&report, json, sizeof json);
  duskd__log_object(stop->status == DUSKD_DRAINED ? DUSKD_INFO : DUSKD_WARN,
                    text, "ended", json);
}

/* -- On the loop ----------------------------------------------------------- */

void duskd__stop_close(duskd_stop_t *stop, int status) {
  stop->state = DUSKD_STOP_DONE;
  stop->status = status;
  /* What comes now is too late to change anything; the alarm stays set. */
  block_signals();
  dusk_signals_free(stop->signals);
  uv_close((uv_handle_t *)&stop->lame_duck, NULL);
  uv_close((uv_handle_t *)&stop->progress, NULL);
  dusk_context_unref(stop->bound);
  dusk_server_unref(stop->server);
  duskd__routes_end(stop->routes);
}

static void on_drained(dusk_server_t *server, int status, void *arg) {
  (void)server;
  duskd_stop_t *stop = arg;
  if (stop->status == DUSKD_DRAINED && stop->is_cut)
    stop->status = DUSKD_CUT_SHORT;
  else if (stop->status == DUSKD_DRAINED &&
           (status == UV_ETIMEDOUT || status == UV_ECANCELED))
    stop->status = DUSKD_BOUND_PASSED;
  tell_result(stop);
  duskd__stop_close(stop, stop->status);
}

static void drain(duskd_stop_t *stop) {
  stop->state = DUSKD_STOP_DRAIN;
  uv_timer_stop(&stop->lame_duck);
  if (stop->drain_timeout_ms != DUSK_OFF)
    dusk_context_bring_forward(stop->bound,
                               uv_hrtime() + stop->drain_timeout_ms * 1000000);
  int err = dusk_server_shutdown(stop->server, stop->bound, on_drained, stop);
  if (err != 0) {
    duskd__log(DUSKD_ERROR, "cannot drain, so everything is cut: %s",
               dusk_strerror(err));
    dusk_server_close(stop->server);
    duskd__stop_close(stop, DUSKD_BOUND_PASSED);
  }
}

static void on_lame_duck_over(uv_timer_t *timer) {
  drain(timer->data);
}

static const char *bound_text(const duskd_stop_t *stop,
                              char buf[DUSKD_DURATION_SIZE]) {
  return stop->drain_timeout_ms == DUSK_OFF
             ? "no limit"
             : duskd__duration_text(stop->drain_timeout_ms, buf);
}

static void begin(duskd_stop_t *stop) {
  const char *name =
      atomic_load(&signals.first) == SIGINT ? "SIGINT" : "SIGTERM";
  char lame_duck[DUSKD_DURATION_SIZE], bound[DUSKD_DURATION_SIZE];
  stop->routes->is_ready = false;
  uv_timer_start(&stop->progress, tell_progress, PROGRESS_MS, PROGRESS_MS);
  if (stop->lame_duck_ms > 0) {
    duskd__log(DUSKD_INFO,
               "%s: not ready any more; serving on for %s, then draining "
               "(limit: %s); another signal cuts at once",
               name, duskd__duration_text(stop->lame_duck_ms, lame_duck),
               bound_text(stop, bound));
    stop->state = DUSKD_STOP_LAME_DUCK;
    dusk_server_lame_duck(stop->server, true);
    uv_timer_start(&stop->lame_duck, on_lame_duck_over, stop->lame_duck_ms, 0);
  } else {
    duskd__log(DUSKD_INFO,
               "%s: draining (limit: %s); another signal cuts at once", name,
               bound_text(stop, bound));
    drain(stop);
  }
}

static void cut(duskd_stop_t *stop) {
  duskd__log(DUSKD_WARN, "a second signal: cutting what is left");
  stop->is_cut = true;
  stop->routes->is_ready = false;
  if (stop->state != DUSKD_STOP_DRAIN) drain(stop);
  if (stop->state == DUSKD_STOP_DRAIN) dusk_server_close(stop->server);
}

static void on_received(dusk_signals_t *receiver, int signum, void *arg) {
  (void)signum;
  duskd_stop_t *stop = arg;
  int count = atomic_load(&signals.count);
  /* Fails only while another callback waits. */
  dusk_signals_receive(receiver, on_received, stop);
  if (count >= 2 && !stop->is_cut)
    cut(stop);
  else if (count == 1 && stop->state == DUSKD_STOP_NONE)
    begin(stop);
}

static int catch_signals(duskd_stop_t *stop, dusk_context_t *root) {
  struct sigaction former;
  int err = dusk_signals_new(root, 2, &stop->signals);
  if (err == 0)
    err = dusk_signals_notify(stop->signals, (int[]){SIGINT, SIGTERM}, 2);
  if (err == 0) err = dusk_signals_receive(stop->signals, on_received, stop);
  if (err != 0) return err;
  set_handler(SIGALRM, on_alarm);
  sigaction(SIGINT, NULL, &former);
  signals.forward = former.sa_handler;
  set_handler(SIGINT, on_signal);
  set_handler(SIGTERM, on_signal);
  return 0;
}

void duskd__stop_failed(duskd_stop_t *stop) {
  if (stop->state == DUSKD_STOP_DONE) return;
  stop->status = DUSKD_FAILED;
  stop->routes->is_ready = false;
  if (stop->state != DUSKD_STOP_DRAIN) drain(stop);
}

int duskd__stop_init(duskd_stop_t *stop, dusk_context_t *root,
                     const duskd_flags_t *flags, duskd_routes_t *routes,
                     dusk_server_t *server) {
  uv_loop_t *loop = dusk_context_loop(root);
  *stop = (duskd_stop_t){
      .server = server,
      .routes = routes,
      .lame_duck_ms = flags->lame_duck_ms,
      .drain_timeout_ms = flags->drain_timeout_ms,
  };
  int err = dusk_context_with_deadline(root, DUSK_OFF, NULL, &stop->bound);
  if (err != 0) return err;
  uv_timer_init(loop, &stop->lame_duck);
  uv_timer_init(loop, &stop->progress);
  stop->lame_duck.data = stop->progress.data = stop;
  signals.alarm_s = alarm_seconds(flags);
  return catch_signals(stop, root);
}
