/* log.h: messages to standard error, from any thread. What can't be written at
 * once, as nobody reads or the disk is full, is dropped. */
#ifndef DUSKD_LOG_H
#define DUSKD_LOG_H

#include <stddef.h>
#include <stdint.h>

typedef enum { DUSKD_TEXT, DUSKD_JSON } duskd_format_t;
typedef enum { DUSKD_ERROR, DUSKD_WARN, DUSKD_INFO } duskd_level_t;

/* Before it is called messages are text and all are shown. */
void duskd__log_setup(duskd_format_t format, duskd_level_t level);

/* One line: "duskd: MESSAGE", or {"time":...,"level":...,"msg":MESSAGE}. */
void duskd__log(duskd_level_t level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The same with figures: text tells `text`; JSON tells `msg` and then the
 * members of `object`, one JSON object. */
void duskd__log_object(duskd_level_t level, const char *text, const char *msg,
                       const char *object);

/* For what may come often: an error message once a second, which tells how many
 * were held back since the last; at once when its text is another. `text` is
 * static; zeros begin. Not for two threads at a time. */
typedef struct duskd_seldom {
  const char *text;
  uint64_t next_ns;
  unsigned held;
} duskd_seldom_t;
void duskd__log_seldom(duskd_seldom_t *seldom, const char *text,
                       const char *why);

/* An error message from a signal handler: async-signal-safe, not filtered,
 * without a time. `text` has nothing that JSON would want escaped. */
void duskd__log_from_signal(const char *text);

/* Writes `text` to `buf` as the inside of a JSON string, or for an access log
 * in text, where a byte that is not printable becomes \xHH. Cut to `size`, at
 * a whole character; NUL-terminated. Returns the length written. */
size_t duskd__log_escape(duskd_format_t format, const char *text, char *buf,
                         size_t size);

/* Writes the time now, "2006-01-02T15:04:05.123Z". */
#define DUSKD_TIME_SIZE 32
const char *duskd__log_time(char buf[DUSKD_TIME_SIZE]);

#endif
