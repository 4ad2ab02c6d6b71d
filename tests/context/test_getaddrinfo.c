/* Name look-up under a context. */
#include "fixture.h"
#include "alloc.h"
#include "pool.h"
#include "resolver.h"
#include "tree.h"

#include <dusk/calls.h>
#include <string.h>

int __real_uv_getaddrinfo(uv_loop_t *loop, uv_getaddrinfo_t *req,
                          uv_getaddrinfo_cb cb, const char *node,
                          const char *service, const struct addrinfo *hints);
int __wrap_uv_getaddrinfo(uv_loop_t *loop, uv_getaddrinfo_t *req,
                          uv_getaddrinfo_cb cb, const char *node,
                          const char *service, const struct addrinfo *hints);
static int start_err;

int __wrap_uv_getaddrinfo(uv_loop_t *loop, uv_getaddrinfo_t *req,
                          uv_getaddrinfo_cb cb, const char *node,
                          const char *service, const struct addrinfo *hints) {
  if (start_err != 0) return start_err;
  return __real_uv_getaddrinfo(loop, req, cb, node, service, hints);
}

typedef struct {
  int calls;
  int err;
  int count;
  char first[64];
  int port;
} answer_t;

static void on_answer(int err, struct addrinfo *res, void *arg) {
  answer_t *answer = arg;
  answer->calls++;
  answer->err = err;
  if (err != 0) {
    assert_null(res);
    return;
  }
  assert_int_equal(uv_ip_name(res->ai_addr, answer->first, 64), 0);
  answer->port = ntohs(((struct sockaddr_in *)res->ai_addr)->sin_port);
  for (const struct addrinfo *info = res; info != NULL; info = info->ai_next)
    answer->count++;
  uv_freeaddrinfo(res);
}

static void look_up(dusk_context_t *ctx, answer_t *answer, dusk_context_t *root,
                    const char *node) {
  const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                 .ai_family = AF_INET};
  *answer = (answer_t){.err = 1};
  assert_int_equal(dusk_context_getaddrinfo(ctx, root, node, "80", &hints,
                                            on_answer, answer),
                   0);
  assert_int_equal(answer->calls, 0);
}

static void assert_failed(const answer_t *answer, int err) {
  assert_int_equal(answer->calls, 1);
  assert_int_equal(answer->err, err);
}

static int open_test(void **state) {
  resolver_open();
  return fixture_open(state);
}

static int close_test(void **state) {
  resolver_close();
  return fixture_close(state);
}

/* DUSK-059, DUSK-065 */
static void names_have_addresses(void **state) {
  fixture_t *f = *state;
  const char *names[] = {"127.0.0.1", "localhost", "three.test"};
  for (int i = 0; i < 3; i++) {
    answer_t answer;
    look_up(f->root, &answer, f->root, names[i]);
    assert_int_equal(dusk_context_detach(f->root, NULL, NULL), UV_EBUSY);
    run(&f->loop);
    assert_failed(&answer, 0);
    assert_int_equal(answer.port, 80);
    if (i == 1) continue; /* what localhost has is the machine's affair */
    assert_string_equal(answer.first, "127.0.0.1");
    assert_int_equal(answer.count, i == 2 ? 3 : 1);
  }
}

/* DUSK-059 */
static void a_name_without_address_says_so(void **state) {
  fixture_t *f = *state;
  answer_t answer;
  look_up(f->root, &answer, f->root, "none.test");
  run(&f->loop);
  assert_failed(&answer, UV_EAI_NONAME);
}

/* DUSK-060 */
static void a_queued_one_ends_with_its_context(void **state) {
  fixture_t *f = *state;
  dusk_context_t *cancelled = with_cancel(f->root);
  dusk_context_t *timed = with_timeout(f->root, 2, NULL);
  size_t live = alloc_live();
  answer_t first, second;
  pool_t pool;
  pool_hold(&pool);
  look_up(cancelled, &first, f->root, "two.test");
  look_up(timed, &second, f->root, "two.test");
  dusk_context_cancel(cancelled, NULL);
  assert_int_equal(first.calls, 0);
  run(&f->loop); /* nothing of it is left in the pool */
  assert_failed(&first, UV_ECANCELED);
  assert_failed(&second, UV_ETIMEDOUT);
  pool_let_go(&pool);
  assert_int_equal(resolver_calls(), 0);
  assert_int_equal(alloc_live(), live);
  dusk_context_unref(cancelled);
  dusk_context_unref(timed);
}

/* DUSK-060. At once; what the pool still works on is not the caller's, and its
 * late result is freed. */
static void a_running_one_ends_with_its_context(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  size_t live = alloc_live();
  answer_t answer;
  look_up(ctx, &answer, f->root, "slow.test");
  resolver_wait_slow();
  dusk_context_cancel(ctx, NULL);
  assert_int_equal(answer.calls, 0);
  run_until(&f->loop, &answer.calls);
  assert_failed(&answer, UV_ECANCELED);
  assert_int_equal(dusk_context_detach(f->root, NULL, NULL), UV_EBUSY);
  assert_int_not_equal(uv_loop_alive(&f->loop), 0);
  assert_true(alloc_live() > live);
  resolver_let_go();
  run(&f->loop);
  assert_failed(&answer, UV_ECANCELED);
  assert_int_equal(alloc_live(), live);
  dusk_context_unref(ctx);
}

/* DUSK-060 */
static void a_running_one_ends_at_the_deadline(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_timeout(f->root, 60000, NULL);
  answer_t answer;
  look_up(ctx, &answer, f->root, "slow.test");
  resolver_wait_slow();
  assert_int_equal(dusk_context_bring_forward(ctx, uv_hrtime() + MS), 0);
  dusk_context_unref(ctx); /* it is held */
  run_until(&f->loop, &answer.calls);
  assert_failed(&answer, UV_ETIMEDOUT);
  resolver_let_go();
  run(&f->loop);
}

/* DUSK-066. The loops of those trees don't turn, or are gone. */
static void deadlines_of_other_trees_are_served_here(void **state) {
  fixture_t *f = *state, still;
  dusk_context_t *gone;
  size_t live = alloc_live();
  still_open(&still);
  assert_int_equal(dusk_context_attach(&f->loop, &gone), 0);
  dusk_context_t *ctxs[] = {with_timeout(still.root, 60000, NULL),
                            with_timeout(gone, 60000, NULL)};
  assert_int_equal(dusk_context_detach(gone, NULL, NULL), 0);
  for (int i = 0; i < 2; i++) {
    answer_t answer;
    look_up(ctxs[i], &answer, f->root, "slow.test");
    resolver_wait_slow();
    dusk_context_bring_forward(ctxs[i], uv_hrtime() + MS);
    dusk_context_unref(ctxs[i]); /* it is held */
    run_until(&f->loop, &answer.calls);
    assert_failed(&answer, UV_ETIMEDOUT);
    resolver_let_go();
    run(&f->loop);
  }
  still_close(&still);
  assert_int_equal(alloc_live(), live);
}

typedef struct {
  dusk_context_t *root;
  size_t entries; /* of the root, when it was called */
  size_t live;
  int err;
} holder_t;

static void on_held(int err, struct addrinfo *res, void *arg) {
  holder_t *holder = arg;
  uv_freeaddrinfo(res);
  holder->err = err;
  holder->entries = entries(holder->root);
  holder->live = alloc_live();
}

/* In its callback, too, when nobody else holds it: else it would have ended, or
 * its memory be gone. */
static void it_holds_the_context_to_the_end(void **state) {
  static const dusk_key_t key = {NULL};
  fixture_t *f = *state;
  holder_t holder = {.root = f->root, .err = 1};
  dusk_context_t *ctx = with_cancel(f->root);
  assert_int_equal(dusk_context_getaddrinfo(ctx, f->root, "two.test", NULL,
                                            NULL, on_held, &holder),
                   0);
  dusk_context_unref(ctx);
  run(&f->loop);
  assert_int_equal(holder.err, 0);
  assert_int_equal(holder.entries, 1);

  ctx = with_cancel(f->root);
  dusk_context_t *layer = with_value(ctx, &key, f);
  size_t live = alloc_live();
  end(ctx);
  assert_int_equal(dusk_context_getaddrinfo(layer, f->root, "two.test", NULL,
                                            NULL, on_held, &holder),
                   0);
  dusk_context_unref(layer);
  run(&f->loop);
  assert_int_equal(holder.err, UV_ECANCELED);
  assert_int_equal(holder.live, live);
}

/* DUSK-064 */
static void under_an_ended_context_nobody_is_asked(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root);
  size_t live = alloc_live();
  answer_t answer;
  dusk_context_cancel(ctx, NULL);
  look_up(ctx, &answer, f->root, "two.test");
  run(&f->loop);
  assert_failed(&answer, UV_ECANCELED);
  assert_int_equal(resolver_calls(), 0);
  assert_int_equal(alloc_live(), live);
  dusk_context_unref(ctx);
}

static void on_detach(int err, struct addrinfo *res, void *arg) {
  assert_int_equal(err, 0);
  uv_freeaddrinfo(res);
  assert_int_equal(dusk_context_detach(arg, NULL, NULL), 0);
}

static void in_its_callback_the_root_can_be_detached(void **state) {
  fixture_t *f = *state;
  dusk_context_t *other;
  assert_int_equal(dusk_context_attach(&f->loop, &other), 0);
  assert_int_equal(dusk_context_getaddrinfo(other, other, "two.test", NULL,
                                            NULL, on_detach, other),
                   0);
  run(&f->loop);
}

static void a_failed_start_leaves_nothing(void **state) {
  fixture_t *f = *state;
  dusk_context_t *ctx = with_cancel(f->root), *root = f->root;
  size_t live = alloc_live();
  answer_t answer = {.calls = 0};
  alloc_fail_at(1);
  assert_int_equal(dusk_context_getaddrinfo(ctx, root, "two.test", NULL, NULL,
                                            on_answer, &answer),
                   UV_ENOMEM);
  assert_true(alloc_has_failed());
  alloc_fail_at(0);
  start_err = UV_ENAMETOOLONG;
  assert_int_equal(dusk_context_getaddrinfo(ctx, root, "two.test", NULL, NULL,
                                            on_answer, &answer),
                   UV_ENAMETOOLONG);
  start_err = 0;
  assert_int_equal(
      dusk_context_getaddrinfo(NULL, root, "a", NULL, NULL, on_answer, NULL),
      UV_EINVAL);
  assert_int_equal(
      dusk_context_getaddrinfo(ctx, NULL, "a", NULL, NULL, on_answer, NULL),
      UV_EINVAL);
  assert_int_equal(
      dusk_context_getaddrinfo(ctx, root, NULL, NULL, NULL, on_answer, NULL),
      UV_EINVAL);
  assert_int_equal(
      dusk_context_getaddrinfo(ctx, root, "a", NULL, NULL, NULL, NULL),
      UV_EINVAL);
  run(&f->loop);
  assert_int_equal(answer.calls, 0);
  assert_int_equal(entries(ctx), 0);
  assert_int_equal(ctx->refs, 1);
  assert_int_equal(alloc_live(), live);
  end(ctx);
}

/* DUSK-038 */
static void a_failed_start_in_another_tree_leaves_nothing(void **state) {
  fixture_t *f = *state, still;
  still_open(&still);
  size_t live = alloc_live();
  answer_t answer = {.calls = 0};
  for (size_t n = 1; n <= 3; n++) {
    alloc_fail_at(n);
    start_err = n < 3 ? 0 : UV_ENAMETOOLONG;
    assert_int_equal(dusk_context_getaddrinfo(still.root, f->root, "two.test",
                                              NULL, NULL, on_answer, &answer),
                     n < 3 ? UV_ENOMEM : UV_ENAMETOOLONG);
    assert_int_equal(alloc_live(), live);
  }
  alloc_fail_at(0);
  start_err = 0;
  run(&f->loop);
  assert_int_equal(answer.calls, 0);
  still_close(&still);
}

#define look_up_test(f)                                                        \
  cmocka_unit_test_setup_teardown(f, open_test, close_test)

int main(void) {
  const struct CMUnitTest tests[] = {
      look_up_test(names_have_addresses),
      look_up_test(a_name_without_address_says_so),
      look_up_test(a_queued_one_ends_with_its_context),
      look_up_test(a_running_one_ends_with_its_context),
      look_up_test(a_running_one_ends_at_the_deadline),
      look_up_test(deadlines_of_other_trees_are_served_here),
      look_up_test(it_holds_the_context_to_the_end),
      look_up_test(under_an_ended_context_nobody_is_asked),
      look_up_test(in_its_callback_the_root_can_be_detached),
      look_up_test(a_failed_start_leaves_nothing),
      look_up_test(a_failed_start_in_another_tree_leaves_nothing),
  };
  pool_size();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
