/* access.c: the access log. Lines are gathered while a loop handles what has
 * come, and written before it waits for more: one write(2) for many requests
 * under load, and none is held back when it is quiet. Each loop gathers its
 * own; to the file they go one after another, whole lines each time. When the
 * log is off nothing of this is called.
 *
 * Text is the Common Log Format, with the duration and, for a response that is
 * not whole, the reason after it.
 *
 * A log that can't be written loses lines, whole ones, says so, and never stops
 * the service. What a full disk or a size limit took only the beginning of is
 * kept, and is finished before anything else is written. One that blocks (a
 * pipe that nobody reads) does stop the service, as a reader who is slow should
 * lose nothing. */
#include "access.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_SIZE (64 * 1024)
#define LINE_SIZE 4096
#define TARGET_SIZE 2048 /* a longer one, escaped, is cut */

/* The file, which all loops write to. */
static struct {
  const char *path; /* set once, as the next */
  duskd_format_t format;
  pthread_mutex_t mutex; /* for what follows */
  bool is_open;
  int fd;
  bool has_failed; /* since it last took all */
  duskd_seldom_t told;
  uint64_t lost;
  size_t rest_len; /* of the line within which the log ends */
  char rest[LINE_SIZE];
} access_log = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* What a loop has gathered. */
typedef struct gathered {
  uv_prepare_t before_wait;
  size_t len;
  char buffer[BUFFER_SIZE];
} gathered_t;

/* Of this thread's loop; NULL before it begins and once it has ended: then
 * lines are written one by one. */
static _Thread_local gathered_t *gathered;

/* -- Writing, with the mutex ----------------------------------------------- */

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

static void tell_failure(int err) {
  if (!access_log.has_failed)
    duskd__log_seldom(&access_log.told, "the access log loses lines",
                      dusk_strerror(uv_translate_sys_error(err)));
  access_log.has_failed = true;
}

/* Writes as much as the log takes, and returns how much that is. */
static size_t write_out(const char *data, size_t len) {
  size_t done = 0;
  ssize_t n = 1;
  while (done < len && n > 0) {
    n = write_some(data + done, len - done);
    if (n > 0) done += (size_t)n;
  }
  if (n > 0)
    access_log.has_failed = false;
  else
    tell_failure(errno);
  return done;
}

/* Finishes the line that was begun; false if that can't be done now. */
static bool finish_line(void) {
  if (access_log.rest_len == 0) return true;
  size_t done = write_out(access_log.rest, access_log.rest_len);
  access_log.rest_len -= done;
  memmove(access_log.rest, access_log.rest + done, access_log.rest_len);
  return access_log.rest_len == 0;
}

static void count_lost(const char *lines, size_t len) {
  for (size_t i = 0; i < len; i++)
    access_log.lost += lines[i] == '\n';
}

/* Writes whole lines. What can't be written is lost, but for the rest of a line
 * that was begun. */
static void write_lines(const char *lines, size_t len) {
  size_t done = finish_line() ? write_out(lines, len) : 0;
  if (done > 0 && done < len && lines[done - 1] != '\n') {
    const char *end = memchr(lines + done, '\n', len - done);
    assert(end != NULL);
    access_log.rest_len = (size_t)(end + 1 - (lines + done));
    memcpy(access_log.rest, lines + done, access_log.rest_len);
    done += access_log.rest_len;
  }
  count_lost(lines + done, len - done);
}

/* Gives up the rest of a line that was begun. */
static void lose_rest(void) {
  count_lost(access_log.rest, access_log.rest_len);
  access_log.rest_len = 0;
}

/* -- On a loop ------------------------------------------------------------- */

static void pass_on(const char *lines, size_t len) {
  pthread_mutex_lock(&access_log.mutex);
  if (access_log.is_open) write_lines(lines, len);
  pthread_mutex_unlock(&access_log.mutex);
}

static void flush(void) {
  if (gathered == NULL || gathered->len == 0) return;
  pass_on(gathered->buffer, gathered->len);
  gathered->len = 0;
}

static void on_before_wait(uv_prepare_t *handle) {
  (void)handle;
  flush();
}

int duskd__access_begin(uv_loop_t *loop) {
  if (!access_log.is_open) return 0;
  gathered = calloc(1, sizeof *gathered);
  if (gathered == NULL) return UV_ENOMEM;
  uv_prepare_init(loop, &gathered->before_wait);
  uv_prepare_start(&gathered->before_wait, on_before_wait);
  uv_unref((uv_handle_t *)&gathered->before_wait);
  return 0;
}

static void on_closed(uv_handle_t *handle) {
  free(handle); /* its first member */
}

void duskd__access_end(void) {
  if (gathered == NULL) return;
  flush();
  uv_close((uv_handle_t *)&gathered->before_wait, on_closed);
  gathered = NULL;
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

/* Writes what comes there. */
static void use(int fd) {
  struct stat file;
  access_log.fd = fd;
  access_log.has_failed = false;
  if (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode) ||
      !ends_within_a_line(fd, file.st_size))
    return;
  access_log.rest[0] = '\n';
  access_log.rest_len = 1;
}

int duskd__access_open(const char *path, duskd_format_t format) {
  int fd = open_log(path);
  if (fd < 0) return -errno;
  access_log.path = path;
  access_log.format = format;
  access_log.is_open = true;
  use(fd);
  return 0;
}

static void change_to(int fd) {
  pthread_mutex_lock(&access_log.mutex);
  finish_line();
  lose_rest();
  close(access_log.fd);
  use(fd);
  pthread_mutex_unlock(&access_log.mutex);
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
  change_to(fd);
  duskd__log(DUSKD_INFO, "SIGHUP: reopened the access log %s", access_log.path);
}

void duskd__access_close(void) {
  pthread_mutex_lock(&access_log.mutex);
  if (access_log.is_open) {
    finish_line();
    lose_rest();
    if (access_log.lost > 0)
      duskd__log(DUSKD_WARN, "the access log lost %" PRIu64 " lines",
                 access_log.lost);
    if (access_log.fd != STDOUT_FILENO) close(access_log.fd);
  }
  access_log.is_open = false;
  pthread_mutex_unlock(&access_log.mutex);
}

/* -- Lines ----------------------------------------------------------------- */

/* "22/Nov/2025:16:33:01 +0000", made once a second. */
static const char *common_time(void) {
  static _Thread_local time_t made_for;
  static _Thread_local char text[32];
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
  char alone[LINE_SIZE], *line = alone;
  if (gathered != NULL) {
    if (gathered->len + LINE_SIZE > BUFFER_SIZE) flush();
    line = gathered->buffer + gathered->len;
  }
  int len = access_log.format == DUSKD_JSON
                ? write_json(line, peer, req, target, end)
                : write_text(line, peer, req, target, end);
  if (len <= 0 || len >= LINE_SIZE) return;
  if (gathered != NULL)
    gathered->len += (size_t)len;
  else
    pass_on(line, (size_t)len);
}
