/* What the test programs share: a loop with a root, lines on stderr that the
 * tests wait for, settings as KEY=VALUE, and a way to answer later. */
#ifndef DUSK_TESTS_COMMON_H
#define DUSK_TESTS_COMMON_H

#include <dusk/http.h>
#include <dusk/signal.h>

/* Writes one line to stderr, at once. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

/* Says why and exits with status 1 if `err` is negative. */
void must(int err, const char *what);

void *allocate(size_t size);

/* The text of a result: "ok", or that of the error. */
const char *result_text(int err);

/* The value of the argument KEY=VALUE, the `index`-th of that key, or NULL. */
const char *setting(char **argv, const char *key, int index);
/* The same as a number, `fallback` if there is none; "off" is DUSK_OFF. */
uint64_t setting_number(char **argv, const char *key, uint64_t fallback);

/* Serves each listen=ADDRESS and says where: "listening on ADDRESS". */
void serve_settings(dusk_server_t *server, char **argv, dusk_serve_cb cb);

/* Calls `cb` once, after `ms`, on `loop`. */
void later(uv_loop_t *loop, uint64_t ms, void (*cb)(void *arg), void *arg);

/* Answers `hello` after `ms`. */
void answer_later(uv_loop_t *loop, dusk_response_t *res, uint64_t ms);

/* Runs the loop to its end, closes it, and tells: "done", or why not. Returns
 * the exit status. */
int finish(dusk_context_t *root, uv_loop_t *loop);

#endif
