/* fixture.h: a loop with a root for each test, and shorthands.
 *
 * Whatever a test leaves behind on the loop makes it fail: fixture_close
 * expects that the root can be detached, that no reference to it is left, and
 * that the loop closes. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dusk/context.h>

#define MS 1000000ULL /* in nanoseconds */

typedef struct {
  uv_loop_t loop;
  dusk_context_t *root;
} fixture_t;

int fixture_open(void **state);
int fixture_close(void **state);

#define fixture_test(f)                                                        \
  cmocka_unit_test_setup_teardown(f, fixture_open, fixture_close)

/* A second root, on a loop that nobody turns before it is closed. */
void still_open(fixture_t *still);
void still_close(fixture_t *still);

/* Turns the loop, whether it is alive or not, until *flag is not 0; fails
 * after ten seconds. */
void run_until(uv_loop_t *loop, const int *flag);
/* Runs the loop for as long as something keeps it going. */
void run(uv_loop_t *loop);
/* Turns the loop a few times without waiting, whether it is alive or not. */
void turn(uv_loop_t *loop);
/* Waits until uv_hrtime() says so, without the loop. */
void wait_until(uint64_t ns);

/* Each expects to succeed. */
dusk_context_t *with_cancel(dusk_context_t *parent);
dusk_context_t *without_cancel(dusk_context_t *parent);
dusk_context_t *with_timeout(dusk_context_t *parent, uint64_t ms,
                             const dusk_cause_t *cause);
dusk_context_t *with_deadline(dusk_context_t *parent, uint64_t ns,
                              const dusk_cause_t *cause);
dusk_context_t *with_value(dusk_context_t *parent, const dusk_key_t *key,
                           void *value);
dusk_context_t *with_root(dusk_context_t *parent, dusk_context_t *root);

/* A cancel of whatever can be cancelled: nothing for a value layer. */
void cancel_any(dusk_context_t *ctx, const dusk_cause_t *cause);

/* Go's `defer cancel()`. */
void end(dusk_context_t *ctx);

void assert_live(dusk_context_t *ctx);
void assert_ended(dusk_context_t *ctx, int err, const dusk_cause_t *cause);

/* Children and waiters that hang on a context. */
size_t entries(const dusk_context_t *ctx);

/* A waiter that counts its calls. */
typedef struct {
  dusk_waiter_t waiter;
  int calls;
} call_t;

void call_after(dusk_context_t *ctx, call_t *call, dusk_context_t *root);
void on_call(dusk_waiter_t *waiter);

#endif
