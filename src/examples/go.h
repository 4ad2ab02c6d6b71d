/* go.h: what the examples' Go originals have from Go's own packages: log's
 * lines on standard error, time.Sleep, and two of crypto's; and one thing
 * beyond them, telling the address, for whoever starts an example on port 0. */
#ifndef EXAMPLES_GO_H
#define EXAMPLES_GO_H

#include <dusk/http.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* One line: date, time, `text` and, unless `err` is 0, the error's text. */
static inline void log_print(const char *text, int err) {
  char date[32] = "";
  time_t now = time(NULL);
  struct tm parts;
  if (localtime_r(&now, &parts) != NULL)
    strftime(date, sizeof date, "%Y/%m/%d %H:%M:%S", &parts);
  fprintf(stderr, "%s %s%s\n", date, text, err != 0 ? dusk_strerror(err) : "");
}

/* The same, and exits with status 1. */
static inline void log_fatal(const char *text, int err) {
  log_print(text, err);
  exit(1);
}

/* For what leaves nothing to go on with when it fails. */
static inline void must(int err) {
  if (err != 0) log_fatal("failed: ", err);
}

typedef struct go_sleep {
  uv_timer_t timer;
  void (*then)(void *arg);
  void *arg;
} go_sleep_t;

static inline void go_on_closed(uv_handle_t *timer) {
  free(timer->data);
}

static inline void go_on_slept(uv_timer_t *timer) {
  go_sleep_t *sleep = timer->data;
  sleep->then(sleep->arg);
  uv_close((uv_handle_t *)timer, go_on_closed);
}

/* time.Sleep: calls `then` after `ms`; everything else goes on meanwhile. */
static inline void sleep_then(uv_loop_t *loop, uint64_t ms,
                              void (*then)(void *arg), void *arg) {
  go_sleep_t *sleep = malloc(sizeof *sleep);
  must(sleep == NULL ? UV_ENOMEM : uv_timer_init(loop, &sleep->timer));
  sleep->then = then;
  sleep->arg = arg;
  sleep->timer.data = sleep;
  must(uv_timer_start(&sleep->timer, go_on_slept, ms, 0));
}

/* mime.ParseMediaType: whether that is what `given`, or NULL, is. */
static inline bool is_media_type(const char *given, const char *type) {
  size_t len = given != NULL ? strcspn(given, "; \t") : 0;
  return len == strlen(type) && strncasecmp(given, type, len) == 0;
}

/* strings.ContainsAny: whether `text`, or NULL, is a line with something on it.
 */
static inline bool is_line(const char *text) {
  return text != NULL && *text != '\0' && strpbrk(text, "\r\n") == NULL;
}

enum { WORD_BYTES = 65 };

/* regexp: copies what is ^[-.:\w]{1,64}$; false for what isn't, or is NULL. */
static inline bool copy_word(char word[WORD_BYTES], const char *given) {
  size_t len = given != NULL ? strspn(given, "0123456789-.:_"
                                             "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                             "abcdefghijklmnopqrstuvwxyz")
                             : 0;
  if (len == 0 || len >= WORD_BYTES || given[len] != '\0') return false;
  memcpy(word, given, len + 1);
  return true;
}

/* rand.Text, shorter: a text that nobody guesses. */
static inline void rand_text(char word[WORD_BYTES]) {
  uint64_t bits = uv_hrtime(); /* should there be no better ones */
  uv_random(NULL, NULL, &bits, sizeof bits, 0, NULL);
  snprintf(word, WORD_BYTES, "%016" PRIx64, bits);
}

/* subtle.ConstantTimeCompare: the time it takes tells nothing of `secret` but
 * its length. */
static inline bool is_same(const char *given, const char *secret) {
  size_t len = strlen(secret);
  if (strlen(given) != len) return false;
  unsigned differs = 0;
  for (size_t i = 0; i < len; i++)
    differs |= (unsigned)(given[i] ^ secret[i]);
  return differs == 0;
}

static inline void print_address(dusk_server_t *srv) {
  char address[128];
  must(dusk_server_address(srv, 0, address, sizeof address));
  fprintf(stderr, "listening on %s\n", address);
}

#endif
