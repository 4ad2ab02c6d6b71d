/* A drain's report as text. The order of the fields is one table for people's
 * line and machines' object. */
#include "sized.h"

#include <dusk/http.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct text {
  char *buf;
  size_t size;
  size_t len; /* of the whole text, also of what doesn't fit */
} text_t;

static void append(text_t *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void append(text_t *text, const char *format, ...) {
  va_list args;
  va_start(args, format);
  size_t room = text->len < text->size ? text->size - text->len : 0;
  int len = vsnprintf(room ? text->buf + text->len : NULL, room, format, args);
  va_end(args);
  if (len > 0) text->len += (size_t)len;
}

typedef struct field {
  size_t offset;
  const char *key;
  const char *words; /* NULL: for machines only */
} field_t;

#define FIELD(name, words)                                                     \
  { offsetof(dusk_report_t, name), #name, words }

static const field_t conns[] = {
    FIELD(conns_open, "open"),
    FIELD(conns_accepted, "accepted since"),
    FIELD(conns_answered, "answered"),
    FIELD(conns_idle, "idle"),
    FIELD(conns_unused, "unused"),
    FIELD(conns_refused, "refused or timed out"),
    FIELD(conns_hijacked, "hijacked"),
    FIELD(conns_cut, "cut"),
    FIELD(conns_gone, "left by the client"),
    FIELD(conns_late, "too late"),
    FIELD(conns_unconfirmed, "unconfirmed"),
};

static const field_t requests[] = {
    FIELD(requests_running, "running"),
    FIELD(requests_begun, "begun since"),
    FIELD(requests_answered, "answered"),
    FIELD(requests_refused, "refused"),
    FIELD(requests_cut, "cut"),
    FIELD(requests_gone, "left by the client"),
    FIELD(requests_cancelled, "cancelled"),
    FIELD(requests_unended, "never ended by their handlers"),
};

static const field_t queues[] = {
    FIELD(queue_sealed, "queued"),
    FIELD(queue_left, "left in the queue"),
    FIELD(handshakes_left, "handshakes given up"),
};

/* For machines only. */
static const field_t others[] = {
    FIELD(answers_unacknowledged, NULL),
    FIELD(conns_now, NULL),
    FIELD(requests_now, NULL),
    FIELD(lame_duck_ms, NULL),
    FIELD(answered_ms, NULL),
    FIELD(window_ms, NULL),
    FIELD(seal_ms, NULL),
    FIELD(drain_ms, NULL),
    FIELD(oldest_ms, NULL),
    FIELD(unended_ms, NULL),
};

static const char *const seals[] = {"exact", "slow", "held", "blind"};

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static uint64_t value(const dusk_report_t *report, const field_t *field) {
  uint64_t number;
  memcpy(&number, (const char *)report + field->offset, sizeof(number));
  return number;
}

/* The first two always, then what isn't 0: "3 open, 1 accepted since: 4 idle"
 */
static void append_counts(text_t *text, const dusk_report_t *report,
                          const field_t fields[], size_t count) {
  const char *between = "";
  for (size_t i = 0; i < count; i++) {
    uint64_t number = value(report, &fields[i]);
    if (i >= 2 && number == 0) continue;
    append(text, "%s%llu %s", between, (unsigned long long)number,
           fields[i].words);
    between = i == 1 ? ": " : ", ";
  }
}

/* By its end, and not only one by one before that. */
static bool was_cut(const dusk_report_t *report) {
  bool is_late = report->status == UV_ETIMEDOUT;
  return (is_late || report->status == UV_ECANCELED) &&
         (report->conns_cut || report->requests_cancelled == 0);
}

/* What a person should know of a drain that did not go by itself. */
static const char *reason(const dusk_report_t *report) {
  switch (report->status) {
  case 0:
    return "";
  case UV_ETIMEDOUT:
    return was_cut(report) ? " (the bound had passed)"
                           : " (near the bound, requests were told to end)";
  case UV_ECANCELED:
    return was_cut(report) ? " (as asked)" : " (requests were told to end)";
  case UV_ECONNABORTED:
    return " (who stood still was cut, or was by its handler)";
  default:
    return " (a listener could not be emptied and closed)";
  }
}

static size_t write_text(const dusk_report_t *report, char *buf, size_t size) {
  text_t text = {.buf = buf, .size = size};
  append(&text, "%s %llu ms%s", was_cut(report) ? "cut after" : "drained in",
         (unsigned long long)report->drain_ms, reason(report));
  append(&text, "; connections: ");
  append_counts(&text, report, conns, COUNT(conns));
  append(&text, "; requests: ");
  append_counts(&text, report, requests, COUNT(requests));
  if (report->unended[0]) /* the last one of these */
    append(&text, " (%s, %llu ms)", report->unended,
           (unsigned long long)report->unended_ms);
  append(&text, "; listeners sealed in %llu ms",
         (unsigned long long)report->seal_ms);
  if (report->seal != DUSK_SEAL_EXACT)
    append(&text, " (%s)", seals[report->seal]);
  for (size_t i = 0; i < COUNT(queues); i++)
    if (value(report, &queues[i]) > 0)
      append(&text, ", %llu %s", (unsigned long long)value(report, &queues[i]),
             queues[i].words);
  if (report->window_ms > 0)
    append(&text, "; idle windows held it for %llu ms",
           (unsigned long long)report->window_ms);
  if (report->oldest[0])
    append(&text, "; oldest: %s, %llu ms", report->oldest,
           (unsigned long long)report->oldest_ms);
  return text.len;
}

/* RFC 8259, 7 */
static void append_json_string(text_t *text, const char *string) {
  append(text, "\"");
  for (; *string; string++) {
    unsigned char c = (unsigned char)*string;
    if (c == '"' || c == '\\')
      append(text, "\\%c", c);
    else if (c < ' ' || c > 126) /* of an unknown encoding: as Latin-1 */
      append(text, "\\u%04x", c);
    else
      append(text, "%c", c);
  }
  append(text, "\"");
}

static void append_json_counts(text_t *text, const dusk_report_t *report,
                               const field_t fields[], size_t count) {
  for (size_t i = 0; i < count; i++)
    append(text, ",\"%s\":%llu", fields[i].key,
           (unsigned long long)value(report, &fields[i]));
}

static size_t write_json(const dusk_report_t *report, char *buf, size_t size) {
  static const char *const phases[] = {"serving", "lame duck", "draining",
                                       "closed"};
  text_t text = {.buf = buf, .size = size};
  append(&text, "{\"phase\":\"%s\",\"status\":%d", phases[report->phase],
         report->status);
  append_json_counts(&text, report, conns, COUNT(conns));
  append_json_counts(&text, report, requests, COUNT(requests));
  append_json_counts(&text, report, queues, COUNT(queues));
  append_json_counts(&text, report, others, COUNT(others));
  if (report->left_ms != DUSK_OFF)
    append(&text, ",\"left_ms\":%llu", (unsigned long long)report->left_ms);
  append(&text, ",\"seal\":\"%s\",\"oldest\":", seals[report->seal]);
  append_json_string(&text, report->oldest);
  append(&text, ",\"unended\":");
  append_json_string(&text, report->unended);
  append(&text, "}");
  return text.len;
}

size_t dusk_report_text_sized(const dusk_report_t *report, size_t report_size,
                              char *buf, size_t size) {
  dusk_report_t known;
  dusk__sized_copy(&known, sizeof(known), report, report_size);
  return write_text(&known, buf, size);
}

size_t dusk_report_json_sized(const dusk_report_t *report, size_t report_size,
                              char *buf, size_t size) {
  dusk_report_t known;
  dusk__sized_copy(&known, sizeof(known), report, report_size);
  return write_json(&known, buf, size);
}
