/* access.c: the access log. Lines are gathered while the loop handles what has
 * come, and written before it waits for more: one write(2) for many requests
 * under load, and none is held back when it is quiet. When the log is off
 * nothing of this is called.
 *
 * Text is the Common Log Format, with the duration and, for a response that is
 * not whole, the reason after it. A log that can't be written loses lines, says
 * so once, and never stops the service; one that blocks (a pipe that nobody
 * reads) does stop it. */
#include "access.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_SIZE (64 * 1024)
#define LINE_SIZE 4096
#define TARGET_SIZE 2048 /* a longer one, escaped, is cut */

static struct {
  uv_prepare_t before_wait;
  int fd;
  duskd_format_t format;
  bool is_open;
  bool has_failed;
  size_t len;
  char buffer[BUFFER_SIZE];
} access_log;

static void flush(void) {
  size_t done = 0;
  while (done < access_log.len) {
    ssize_t n =
        write(access_log.fd, access_log.buffer + done, access_log.len - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      if (!access_log.has_failed)
        duskd__log(DUSKD_ERROR, "the access log loses lines: %s",
                   strerror(errno));
      access_log.has_failed = true;
      break;
    }
    done += (size_t)n;
  }
  access_log.len = 0;
}

static void on_before_wait(uv_prepare_t *handle) {
  (void)handle;
  if (access_log.len > 0) flush();
}

int duskd__access_open(uv_loop_t *loop, const char *path,
                       duskd_format_t format) {
  int fd = STDOUT_FILENO;
  if (strcmp(path, "-") != 0)
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return -errno;
  access_log.fd = fd;
  access_log.format = format;
  access_log.is_open = true;
  uv_prepare_init(loop, &access_log.before_wait);
  uv_prepare_start(&access_log.before_wait, on_before_wait);
  uv_unref((uv_handle_t *)&access_log.before_wait);
  return 0;
}

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

void duskd__access_close(void) {
  if (!access_log.is_open) return;
  access_log.is_open = false;
  flush();
  uv_close((uv_handle_t *)&access_log.before_wait, NULL);
  if (access_log.fd != STDOUT_FILENO) close(access_log.fd);
}
