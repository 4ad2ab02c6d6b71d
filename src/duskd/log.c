/* log.c: messages to standard error, a write(2) a line, so that lines of
 * several processes on one pipe stay whole, and none that would block: a line
 * is no longer than PIPE_BUF. Text lines carry no time, as who collects them
 * (journald, a container runtime) adds one; JSON lines do. What can't be
 * written is dropped: there is nobody left to tell. */
#include "log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#define MESSAGE_SIZE 1024
#define LINE_SIZE 4096 /* at most PIPE_BUF, on Linux */
#define SELDOM_NS UINT64_C(1000000000)

static duskd_format_t format = DUSKD_TEXT;
static duskd_level_t shown = DUSKD_INFO;

static const char *const level_names[] = {"error", "warn", "info"};

void duskd__log_setup(duskd_format_t format_asked, duskd_level_t level) {
  format = format_asked;
  shown = level;
}

/* Only what doesn't block: a full pipe that nobody reads must hold up neither
 * the loop nor a handler that is to exit. */
static ssize_t write_soon(const char *data, size_t len) {
  struct pollfd writable = {.fd = STDERR_FILENO, .events = POLLOUT};
  return poll(&writable, 1, 0) == 1 ? write(STDERR_FILENO, data, len) : -1;
}

/* A full disk may take the beginning of a line. For any thread, and for signal
 * handlers, which can't wait for a lock. */
static void write_line(const char *line, size_t len) {
  static atomic_bool is_torn;
  if (atomic_exchange(&is_torn, false) && write_soon("\n", 1) != 1) {
    atomic_store(&is_torn, true);
    return;
  }
  ssize_t written = write_soon(line, len);
  if (written > 0 && (size_t)written < len) atomic_store(&is_torn, true);
}

/* Ends a line that snprintf wrote to `line`, or wanted to, and writes it. */
static void finish_line(char *line, int len) {
  if (len < 0) return;
  if (len > LINE_SIZE - 2) len = LINE_SIZE - 2;
  line[len++] = '\n';
  write_line(line, (size_t)len);
}

const char *duskd__log_time(char buf[DUSKD_TIME_SIZE]) {
  struct timespec now;
  struct tm parts;
  clock_gettime(CLOCK_REALTIME, &now);
  gmtime_r(&now.tv_sec, &parts);
  size_t len = strftime(buf, DUSKD_TIME_SIZE, "%Y-%m-%dT%H:%M:%S", &parts);
  snprintf(buf + len, DUSKD_TIME_SIZE - len, ".%03uZ",
           (unsigned)(now.tv_nsec / 1000000) % 1000);
  return buf;
}

static void log_json(duskd_level_t level, const char *msg, const char *object) {
  char line[LINE_SIZE], time[DUSKD_TIME_SIZE], escaped[2 * MESSAGE_SIZE];
  duskd__log_escape(DUSKD_JSON, msg, escaped, sizeof escaped);
  /* "{...}" goes on where the line's own members end */
  int len = snprintf(line, sizeof line,
                     "{\"time\":\"%s\",\"level\":\"%s\",\"msg\":\"%s\"%s%s",
                     duskd__log_time(time), level_names[level], escaped,
                     object ? "," : "", object ? object + 1 : "}");
  finish_line(line, len);
}

void duskd__log(duskd_level_t level, const char *message, ...) {
  if (level > shown) return;
  char text[MESSAGE_SIZE];
  va_list args;
  va_start(args, message);
  vsnprintf(text, sizeof text, message, args);
  va_end(args);
  duskd__log_object(level, text, text, NULL);
}

void duskd__log_object(duskd_level_t level, const char *text, const char *msg,
                       const char *object) {
  if (level > shown) return;
  if (format == DUSKD_JSON) {
    log_json(level, msg, object);
  } else {
    char line[LINE_SIZE];
    finish_line(line, snprintf(line, sizeof line, "duskd: %s", text));
  }
}

void duskd__log_seldom(duskd_seldom_t *seldom, const char *text,
                       const char *why) {
  uint64_t now_ns = uv_hrtime();
  if (seldom->text == text && now_ns < seldom->next_ns) {
    seldom->held++;
    return;
  }
  char more[48] = "";
  if (seldom->held > 0)
    snprintf(more, sizeof more, " (and %u times since the last)", seldom->held);
  duskd__log(DUSKD_ERROR, "%s: %s%s", text, why, more);
  *seldom = (duskd_seldom_t){.text = text, .next_ns = now_ns + SELDOM_NS};
}

void duskd__log_from_signal(const char *text) {
  static const char *const ends[][2] = {
      {"duskd: ", "\n"},
      {"{\"level\":\"error\",\"msg\":\"", "\"}\n"},
  };
  char line[256];
  const char *parts[] = {ends[format][0], text, ends[format][1]};
  size_t len = 0;
  for (size_t i = 0; i < 3; i++) {
    size_t part = strlen(parts[i]);
    if (part > sizeof line - len) return;
    memcpy(line + len, parts[i], part);
    len += part;
  }
  write_line(line, len);
}

size_t duskd__log_escape(duskd_format_t asked, const char *text, char *buf,
                         size_t size) {
  size_t len = 0;
  for (; *text != '\0'; text++) {
    unsigned char c = (unsigned char)*text;
    char escape[8] = {(char)c};
    if (c == '"' || c == '\\')
      snprintf(escape, sizeof escape, "\\%c", c);
    else if (c < ' ' || c > '~')
      snprintf(escape, sizeof escape,
               asked == DUSKD_JSON ? "\\u%04x" : "\\x%02X", c);
    size_t part = strlen(escape);
    if (len + part >= size) break;
    memcpy(buf + len, escape, part);
    len += part;
  }
  buf[len] = '\0';
  return len;
}
