/* access.c: the access log. Lines are gathered while the loop handles what has
 * come, and written before it waits for more: one write(2) for many requests
 * under load, and none is held back when it is quiet. When the log is off
 * nothing of this is called.
 *
 * Text is the Common Log Format, with the duration and, for a response that is
 * not whole, the reason after it.
 *
 * A log that can't be written loses lines, whole ones, says so, and never stops
 * the service. What a full disk or a size limit took only the beginning of
 * stays in the buffer, and is finished before anything else is written. One
 * that blocks (a pipe that nobody reads) does stop the service, as a reader who
 * is slow should lose nothing. */
#include "access.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_SIZE (64 * 1024)
#define LINE_SIZE 4096
#define TARGET_SIZE 2048 /* a longer one, escaped, is cut */

static struct {
  uv_prepare_t before_wait;
  const char *path;
  int fd;
  duskd_format_t format;
  bool is_open;
  bool is_torn;    /* the log ends, and the buffer begins, within a line */
  bool has_failed; /* since it last took all */
  duskd_seldom_t told;
  uint64_t lost;
  size_t len;
  char buffer[BUFFER_SIZE];
} access_log;

/* -- Writing --------------------------------------------------------------- */

/* write(2), but it blocks whoever else made the descriptor non-blocking. */
static ssize_t write_some(const char *data, size_t len) {
  for (;;) {
    ssize_t n = write(access_log.fd, data, len);
    if (n == 0) errno = EIO; /* else there would be no end */
    if (n >= 0 || (errno != EINTR && errno != EAGAIN)) return n;
    struct pollfd writable = {.fd = access_log.fd, .events = POLLOUT};
    if (errno == EAGAIN) poll(&writable, 1, -1);
  }
}

/* Takes what was written off the buffer. */
static void take_off(size_t done) {
  if (done == 0) return;
  access_log.is_torn = access_log.buffer[done - 1] != '\n';
  access_log.len -= done;
  memmove(access_log.buffer, access_log.buffer + done, access_log.len);
}

/* The length of the rest of a line that was begun. */
static size_t torn_length(void) {
  if (!access_log.is_torn) return 0;
  const char *end = memchr(access_log.buffer, '\n', access_log.len);
  assert(end != NULL);
  return (size_t)(end - access_log.buffer) + 1;
}

static void tell_failure(int err) {
  if (!access_log.has_failed)
    duskd__log_seldom(&access_log.told, "the access log loses lines",
                      dusk_strerror(uv_translate_sys_error(err)));
  access_log.has_failed = true;
}

/* Drops the lines that can't be written, but not the rest of one. */
static void drop_lines(void) {
  size_t keep = torn_length();
  for (size_t i = keep; i < access_log.len; i++)
    access_log.lost += access_log.buffer[i] == '\n';
  access_log.len = keep;
}

/* Gives up what is left, the rest of a line that was begun. */
static void lose_rest(void) {
  access_log.is_torn = false;
  drop_lines();
}

static void flush(void) {
  size_t done = 0;
  ssize_t n = 1;
  while (done < access_log.len && n > 0) {
    n = write_some(access_log.buffer + done, access_log.len - done);
    if (n > 0) done += (size_t)n;
  }
  if (n > 0)
    access_log.has_failed = false;
  else
    tell_failure(errno);
  take_off(done);
  drop_lines();
}

static void on_before_wait(uv_prepare_t *handle) {
  (void)handle;
  if (access_log.len > 0) flush();
}

/* -- Opening and closing --------------------------------------------------- */

static bool is_standard_output(const char *path) {
  return strcmp(path, "-") == 0;
}

/* A FIFO that nobody reads is an error, and not waited for. */
static int open_log(const char *path) {
  if (is_standard_output(path)) return STDOUT_FILENO;
  return open(path,
              O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
              0644);
}

/* Whether the last line of a file has no end, as whoever wrote it was killed or
 * met a full disk. */
static bool ends_within_a_line(int fd, off_t size) {
  char path[32], last = '\n';
  snprintf(path, sizeof path, "/dev/fd/%d", fd); /* may be read only so */
  int reader = size > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (reader < 0) return false;
  bool is_read = pread(reader, &last, 1, size - 1) == 1;
  close(reader);
  return is_read && last != '\n';
}

/* Writes what comes, and what the buffer has, there. */
static void use(int fd) {
  struct stat file;
  access_log.fd = fd;
  access_log.has_failed = false;
  if (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode) ||
      !ends_within_a_line(fd, file.st_size))
    return;
  access_log.buffer[access_log.len++] = '\n';
  access_log.is_torn = true;
}

int duskd__access_open(uv_loop_t *loop, const char *path,
                       duskd_format_t format) {
  int fd = open_log(path);
  if (fd < 0) return -errno;
  access_log.path = path;
  access_log.format = format;
  access_log.is_open = true;
  use(fd);
  uv_prepare_init(loop, &access_log.before_wait);
  uv_prepare_start(&access_log.before_wait, on_before_wait);
  uv_unref((uv_handle_t *)&access_log.before_wait);
  return 0;
}

void duskd__access_reopen(void) {
  if (!access_log.is_open || is_standard_output(access_log.path)) {
    duskd__log(DUSKD_INFO, "SIGHUP: no access log to reopen");
    return;
  }
  flush();
  int fd = open_log(access_log.path);
  if (fd < 0) {
    duskd__log(DUSKD_ERROR, "SIGHUP: cannot reopen the access log %s: %s",
               access_log.path, dusk_strerror(uv_translate_sys_error(errno)));
    return;
  }
  lose_rest();
  close(access_log.fd);
  use(fd);
  duskd__log(DUSKD_INFO, "SIGHUP: reopened the access log %s", access_log.path);
}

void duskd__access_close(void) {
  if (!access_log.is_open) return;
  access_log.is_open = false;
  flush();
  lose_rest();
  if (access_log.lost > 0)
    duskd__log(DUSKD_WARN, "the access log lost %" PRIu64 " lines",
               access_log.lost);
  uv_close((uv_handle_t *)&access_log.before_wait, NULL);
  if (access_log.fd != STDOUT_FILENO) close(access_log.fd);
}

/* -- Lines ----------------------------------------------------------------- */

/* "22/Nov/2025:16:33:01 +0000", made once a second. */
static const char *common_time(void) {
  static time_t made_for;
  static char text[32];
  time_t now = time(NULL);
  if (now != made_for) {
    struct tm parts;
    gmtime_r(&now, &parts);
    strftime(text, sizeof text, "%d/%b/%Y:%H:%M:%S +0000", &parts);
    made_for = now;
  }
  return text;
}

/* The length of "127.0.0.1" in "127.0.0.1:40312". */
static int host_length(const char *peer) {
  const char *port = strrchr(peer, ':');
  return (int)(port != NULL ? (size_t)(port - peer) : strlen(peer));
}

/* "" for one that is not known. */
static const char *version_text(const dusk_request_t *req) {
  int minor = dusk_request_version_minor(req);
  return minor == 1 ? "HTTP/1.1" : minor == 0 ? "HTTP/1.0" : "";
}

/* Why a response is not whole, or NULL. */
static const char *why_text(const dusk_request_end_t *end) {
  if (end->err == 0) return NULL;
  return end->cause == &dusk_response_ended ? dusk_strerror(end->err)
                                            : end->cause->text;
}

static int write_text(char *line, const char *peer, dusk_request_t *req,
                      const char *target, const dusk_request_end_t *end) {
  const char *why = why_text(end);
  return snprintf(
      line, LINE_SIZE,
      "%.*s - - [%s] \"%s %s %s\" %d %" PRIu64 " %" PRIu64 "ms%s%s%s\n",
      host_length(peer), peer, common_time(), dusk_request_method(req), target,
      version_text(req), end->status, end->body_bytes, end->duration_ms,
      why ? " \"" : "", why ? why : "", why ? "\"" : "");
}

static int write_json(char *line, const char *peer, dusk_request_t *req,
                      const char *target, const dusk_request_end_t *end) {
  char time[DUSKD_TIME_SIZE];
  const char *why = why_text(end);
  return snprintf(
      line, LINE_SIZE,
      "{\"time\":\"%s\",\"peer\":\"%s\",\"method\":\"%s\","
      "\"target\":\"%s\",\"version\":\"%s\",\"status\":%d,"
      "\"body_bytes\":%" PRIu64 ",\"duration_ms\":%" PRIu64 "%s%s%s}\n",
      duskd__log_time(time), peer, dusk_request_method(req), target,
      version_text(req), end->status, end->body_bytes, end->duration_ms,
      why ? ",\"error\":\"" : "", why ? why : "", why ? "\"" : "");
}

/* Once a connection was cut the kernel can't tell its peer any more. */
void duskd__access_serve(dusk_response_t *res, dusk_request_t *req, void *mux) {
  dusk_request_peer(req);
  dusk_mux_serve(res, req, mux);
}

void duskd__access_line(dusk_request_t *req, const dusk_request_end_t *end,
                        void *arg) {
  (void)arg;
  char target[TARGET_SIZE];
  duskd__log_escape(access_log.format, dusk_request_target(req), target,
                    sizeof target);
  const char *peer = dusk_request_peer(req);
  if (access_log.len + LINE_SIZE > BUFFER_SIZE) flush();
  char *line = access_log.buffer + access_log.len;
  int len = access_log.format == DUSKD_JSON
                ? write_json(line, peer, req, target, end)
                : write_text(line, peer, req, target, end);
  if (len > 0 && len < LINE_SIZE) access_log.len += (size_t)len;
}
