/* conversation.c: see conversation.h. */
#include "conversation.h"

#include "clock.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { REQUESTS = 16384 };
enum { IN_HEADER, IN_BODY, IN_CHUNK_SIZE, IN_CHUNK, IN_TRAILER };

static request_t *requests[REQUESTS];
static int request_count;

void requests_begin(void) {
  request_count = 0;
}

watch_t *watch_of(link_t *link) {
  if (link->watch == NULL) link->watch = keep(sizeof(*link->watch));
  return link->watch;
}

request_t *request_new(link_t *link, work_t work) {
  watch_t *watch = watch_of(link);
  if (request_count == REQUESTS || watch->asked == REQUESTS_A_LINK) return NULL;
  request_t *request = keep(sizeof(*request));
  requests[request_count++] = request;
  request->id = request_count;
  request->link = link;
  request->work = work;
  request->start = link->up.written;
  request->end = UINT64_MAX;
  request->sent_at = now();
  watch->requests[watch->asked++] = request;
  return request;
}

request_t *request_by_id(int id) {
  return id > 0 && id <= request_count ? requests[id - 1] : NULL;
}

int requests_read(link_t *link) {
  const watch_t *watch = watch_of(link);
  int read = 0;
  while (read < watch->asked && watch->requests[read]->start < link->up.read)
    read++;
  return read;
}

/* -- Reading answers ------------------------------------------------------- */

static bool starts(const char *line, const char *name) {
  return strncasecmp(line, name, strlen(name)) == 0;
}

static void begin_answer(answers_t *answers) {
  answers->step = IN_HEADER;
  answers->status = 0;
  answers->left = 0;
  answers->number = 0;
  answers->in_number = true;
  answers->close = answers->chunked = false;
}

static void finish_answer(answers_t *answers, link_t *link, answer_cb cb) {
  answers->count++;
  cb(link, answers, true);
  begin_answer(answers);
}

static void end_header(answers_t *answers, link_t *link, answer_cb cb) {
  answers->headers++;
  answers->raw = answers->status == 101;
  answers->step = answers->chunked ? IN_CHUNK_SIZE : IN_BODY;
  cb(link, answers, false);
  if (!answers->chunked && answers->left == 0) finish_answer(answers, link, cb);
}

static void header_line(answers_t *answers) {
  const char *line = answers->line;
  if (answers->status == 0)
    answers->status = (int)strtol(line + strlen("HTTP/1.1 "), NULL, 10);
  if (starts(line, "content-length:"))
    answers->left = strtoull(line + strlen("content-length:"), NULL, 10);
  if (starts(line, "transfer-encoding:")) answers->chunked = true;
  if (starts(line, "connection: close")) answers->close = true;
}

static void on_line(answers_t *answers, link_t *link, answer_cb cb) {
  bool empty = answers->line[0] == '\0';
  if (answers->step == IN_HEADER && !empty) {
    header_line(answers);
  } else if (answers->step == IN_HEADER) {
    end_header(answers, link, cb);
  } else if (answers->step == IN_CHUNK_SIZE && !empty) {
    answers->left = strtoull(answers->line, NULL, 16);
    answers->step = answers->left ? IN_CHUNK : IN_TRAILER;
  } else if (answers->step == IN_TRAILER && empty) {
    finish_answer(answers, link, cb);
  }
}

static void line_byte(answers_t *answers, char byte, link_t *link,
                      answer_cb cb) {
  if (byte != '\n') {
    if (byte != '\r' && answers->len < sizeof(answers->line) - 1)
      answers->line[answers->len++] = byte;
    return;
  }
  answers->line[answers->len] = '\0';
  answers->len = 0;
  on_line(answers, link, cb);
}

/* A body begins with its request's number. */
static void read_number(answers_t *answers, const char *bytes, size_t len) {
  for (size_t i = 0; i < len && answers->in_number; i++) {
    if (bytes[i] < '0' || bytes[i] > '9')
      answers->in_number = false;
    else
      answers->number = answers->number * 10 + (uint64_t)(bytes[i] - '0');
  }
}

static size_t body_bytes(answers_t *answers, const char *bytes, size_t len,
                         link_t *link, answer_cb cb) {
  size_t taken = len < answers->left ? len : answers->left;
  read_number(answers, bytes, taken);
  answers->left -= taken;
  if (answers->left > 0) return taken;
  if (answers->step == IN_CHUNK)
    answers->step = IN_CHUNK_SIZE;
  else
    finish_answer(answers, link, cb);
  return taken;
}

void answers_feed(answers_t *answers, link_t *link, const char *bytes,
                  size_t len, answer_cb cb) {
  if (answers->count == 0 && answers->headers == 0 && answers->len == 0 &&
      answers->step == IN_HEADER && answers->status == 0)
    begin_answer(answers);
  while (len > 0 && !answers->raw) {
    size_t taken = 1;
    if (answers->step == IN_BODY || answers->step == IN_CHUNK)
      taken = body_bytes(answers, bytes, len, link, cb);
    else
      line_byte(answers, *bytes, link, cb);
    bytes += taken;
    len -= taken;
  }
}
