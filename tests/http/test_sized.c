/* Callers that were compiled with another version of the headers: their structs
 * are shorter than the library's, or longer. */
#include "house.h"
#include "sized.h"

#include <stdlib.h>
#include <string.h>

enum { MORE = 16, FILL = 0x5a };

static void answer(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  (void)arg;
  dusk_response_text(res, 200, "hello\n");
}

/* A struct of `size` bytes with nothing behind it, as sanitizers see. */
static void *struct_of(size_t size, const void *from, size_t from_size) {
  char *copy = malloc(size);
  assert_non_null(copy);
  dusk__sized_copy(copy, size, from, from_size);
  return copy;
}

static int make(const void *config, size_t size) {
  loopback_t lb;
  dusk_server_t *untouched = (void *)&lb;
  lb.server = untouched;
  assert_int_equal(uv_loop_init(&lb.loop), 0);
  assert_int_equal(dusk_context_attach(&lb.loop, &lb.root), 0);
  int err = dusk_server_new_sized(lb.root, config, size, &lb.server);
  assert_int_equal(err != 0, lb.server == untouched);
  if (err == 0) dusk_server_unref(lb.server);
  uv_run(&lb.loop, UV_RUN_DEFAULT);
  assert_int_equal(dusk_context_detach(lb.root, NULL, NULL), 0);
  uv_run(&lb.loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&lb.loop), 0);
  return err;
}

static void an_older_callers_configuration_is_filled_up(void **state) {
  (void)state;
  const dusk_server_config_t config = {.handler = answer};
  size_t old = offsetof(dusk_server_config_t, on_request_end);
  void *shorter = struct_of(old, &config, sizeof(config));
  assert_int_equal(make(shorter, old), 0);
  free(shorter);
}

static void a_newer_callers_configuration_is_taken_if_it_is_known(void **s) {
  (void)s;
  const dusk_server_config_t config = {.handler = answer};
  size_t new = sizeof(config) + MORE;
  char *longer = struct_of(new, &config, sizeof(config));
  assert_int_equal(make(longer, new), 0);
  longer[new - 1] = 1;
  assert_int_equal(make(longer, new), UV_EINVAL);
  free(longer);
}

static void no_configuration_is_none(void **state) {
  (void)state;
  assert_int_equal(make(NULL, sizeof(dusk_server_config_t)), UV_EINVAL);
  assert_int_equal(make("", 0), UV_EINVAL); /* no handler: SRV-013 */
}

static void a_report_is_as_long_as_its_caller_knows_it(void **state) {
  (void)state;
  loopback_t lb;
  loopback_open(&lb, &(dusk_server_config_t){.handler = answer});
  loopback_shutdown(&lb, 1000);
  dusk_report_t report = loopback_report(&lb);

  size_t old = offsetof(dusk_report_t, conns_now);
  char *shorter = malloc(old);
  assert_non_null(shorter);
  dusk_server_report_sized(lb.server, (dusk_report_t *)shorter, old);
  assert_memory_equal(shorter, &report, old);
  free(shorter);

  struct {
    dusk_report_t known;
    char more[MORE];
  } longer;
  static const char zeros[MORE];
  memset(&longer, FILL, sizeof(longer));
  dusk_server_report_sized(lb.server, &longer.known, sizeof(longer));
  assert_int_equal(longer.known.phase, DUSK_CLOSED);
  assert_memory_equal(longer.more, zeros, MORE);
  loopback_finish(&lb);
}

/* Of an older caller's report, what it has is told, and the rest as 0. */
static void an_older_report_is_told(void **state) {
  (void)state;
  const dusk_report_t report = {.conns_open = 7, .conns_now = 9};
  size_t old = offsetof(dusk_report_t, conns_now);
  void *shorter = struct_of(old, &report, sizeof(report));
  char text[2048];
  size_t len = dusk_report_text_sized(shorter, old, text, sizeof(text));
  assert_int_equal(len, strlen(text));
  assert_non_null(strstr(text, "connections: 7 open"));
  len = dusk_report_json_sized(shorter, old, text, sizeof(text));
  assert_int_equal(len, strlen(text));
  assert_non_null(strstr(text, "\"conns_open\":7"));
  assert_non_null(strstr(text, "\"conns_now\":0"));
  free(shorter);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(an_older_callers_configuration_is_filled_up),
      house_test(a_newer_callers_configuration_is_taken_if_it_is_known),
      house_test(no_configuration_is_none),
      house_test(a_report_is_as_long_as_its_caller_knows_it),
      house_test(an_older_report_is_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
