/* stop.c: ends the service. The states, and who moves between them:
 *
 *   none ──stop──▶ lame duck ──timer──▶ drain ──last answer, or cut──▶ done
 *     ▲ └─────────── no lame duck ────────▲
 *     └──undo───────────┘
 *   A second stop cuts, in any state.
 *
 * A stop is a signal (signals.c) or a failure. All runs on the loop, and every
 * handle that is made is closed. */
#include "stop.h"

#include "signals.h"
#include "units.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define STUCK_AFTER_MS 2000 /* for what a loop that turns does at the end */
#define PROGRESS_MS 1000
#define TOLD_CUTS 10

unsigned duskd__stop_alarm_s(const duskd_flags_t *flags) {
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
  char text[512] = "", json[4096], duration[DUSKD_DURATION_SIZE];
  dusk_report_t report;
  dusk_server_report(stop->server, &report);
  if (report.left_ms == 0) return; /* it is being cut */
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
  char duration[DUSKD_DURATION_SIZE];
  int told = atomic_fetch_add((atomic_int *)arg, 1);
  if (told == TOLD_CUTS) duskd__log(DUSKD_WARN, "cut: and more");
  if (told >= TOLD_CUTS) return;
  duskd__log(DUSKD_WARN, "cut: \"%s %s\" after %s", dusk_request_method(req),
             dusk_request_target(req), duskd__duration_text(age_ms, duration));
}

static void tell_result(const duskd_stop_t *stop) {
  char text[2048], json[4096];
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
  /* What comes now is too late to change anything. */
  duskd__signals_end();
  uv_close((uv_handle_t *)&stop->lame_duck, NULL);
  uv_close((uv_handle_t *)&stop->progress, NULL);
  dusk_context_unref(stop->bound);
  dusk_server_unref(stop->server);
}

/* Whether a shutdown's status tells of answers that were not given. */
static bool is_loss(int status) {
  return status == UV_ETIMEDOUT || status == UV_ECANCELED ||
         status == UV_ECONNABORTED;
}

static void on_drained(dusk_server_t *server, int status, void *arg) {
  (void)server;
  duskd_stop_t *stop = arg;
  if (stop->status == DUSKD_DRAINED && stop->is_cut)
    stop->status = DUSKD_CUT_SHORT;
  else if (stop->status == DUSKD_DRAINED && is_loss(status))
    stop->status = DUSKD_CUT_SOME;
  tell_result(stop);
  duskd__stop_close(stop, stop->status);
}

static void drain(duskd_stop_t *stop) {
  stop->state = DUSKD_STOP_DRAIN;
  uv_timer_stop(&stop->lame_duck);
  uv_timer_start(&stop->progress, tell_progress, PROGRESS_MS, PROGRESS_MS);
  if (stop->drain_timeout_ms != DUSK_OFF)
    dusk_context_bring_forward(stop->bound,
                               uv_hrtime() + stop->drain_timeout_ms * 1000000);
  int err = dusk_server_shutdown(stop->server, stop->bound, on_drained, stop);
  if (err != 0) {
    duskd__log(DUSKD_ERROR, "cannot drain, so everything is cut: %s",
               dusk_strerror(err));
    dusk_server_close(stop->server);
    duskd__stop_close(stop, DUSKD_CUT_SOME);
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

/* The lame duck's timer comes first where both are due: its end is no time to
 * tell of progress. */
static void begin_lame_duck(duskd_stop_t *stop, const char *bound) {
  char lame_duck[DUSKD_DURATION_SIZE];
  duskd__log(DUSKD_INFO,
             "%s: not ready any more; serving on for %s, then draining "
             "(limit: %s); another signal cuts at once",
             duskd__signals_first(),
             duskd__duration_text(stop->lame_duck_ms, lame_duck), bound);
  stop->state = DUSKD_STOP_LAME_DUCK;
  dusk_server_lame_duck(stop->server, true);
  uv_timer_start(&stop->lame_duck, on_lame_duck_over, stop->lame_duck_ms, 0);
  uv_timer_start(&stop->progress, tell_progress, PROGRESS_MS, PROGRESS_MS);
}

static void begin(duskd_stop_t *stop) {
  char buf[DUSKD_DURATION_SIZE];
  const char *bound = bound_text(stop, buf);
  stop->routes->is_ready = false;
  if (stop->lame_duck_ms > 0) {
    begin_lame_duck(stop, bound);
    return;
  }
  duskd__log(DUSKD_INFO,
             "%s: draining (limit: %s); another signal cuts at once",
             duskd__signals_first(), bound);
  drain(stop);
}

static void cut(duskd_stop_t *stop) {
  duskd__log(DUSKD_WARN, "a second signal: cutting what is left");
  stop->is_cut = true;
  stop->routes->is_ready = false;
  if (stop->state != DUSKD_STOP_DRAIN) drain(stop);
  if (stop->state != DUSKD_STOP_DRAIN) return;
  uv_timer_stop(&stop->progress);
  dusk_server_close(stop->server);
}

void duskd__stop_signalled(duskd_stop_t *stop) {
  int stops = duskd__signals_stops();
  if (stops >= 2 && !stop->is_cut)
    cut(stop);
  else if (stops == 1 && stop->state == DUSKD_STOP_NONE)
    begin(stop);
}

bool duskd__stop_undo(duskd_stop_t *stop) {
  if (stop->state != DUSKD_STOP_LAME_DUCK || !duskd__signals_forget())
    return false;
  uv_timer_stop(&stop->lame_duck);
  uv_timer_stop(&stop->progress);
  dusk_server_lame_duck(stop->server, false);
  stop->routes->is_ready = true;
  stop->state = DUSKD_STOP_NONE;
  return true;
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
  return 0;
}
