/* A response's header and framing as text, without a server. */
#include "h1_compose.h"

#include <dusk/context.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define DATE "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
#define LENGTH "Content-Length: 3\r\n"

/* RFC 9110, 5.6.7's own example. */
static const struct timespec example = {.tv_sec = 784111777};

static dusk__h1_dated_t dated;

/* An answer of three bytes to HTTP/1.1. */
static dusk__h1_head_t usual(dusk__h1_fields_t *fields) {
  dusk__h1_compose_dated(&dated, &example);
  return (dusk__h1_head_t){.status = 200,
                           .framing = DUSK__FRAMED_BY_LENGTH,
                           .length = 3,
                           .fields = fields,
                           .dated = &dated};
}

static void assert_composed(dusk__h1_head_t *head, const char *wanted) {
  size_t bound = dusk__h1_head_bound(head);
  char *text = malloc(bound + 1);
  char *end = dusk__h1_put_head(text, head);
  assert_true((size_t)(end - text) <= bound);
  *end = '\0';
  assert_string_equal(text, wanted);
  free(text);
}

static void add(dusk__h1_fields_t *fields, const char *name,
                const char *value) {
  assert_int_equal(
      dusk__h1_fields_add(fields, name, strlen(name), value, strlen(value)), 0);
}

static void a_usual_answer(void **state) {
  dusk__arena_t arena = {0};
  dusk__h1_fields_t none = {.arena = &arena};
  (void)state;
  dusk__h1_head_t head = usual(&none);
  assert_composed(&head, "HTTP/1.1 200 OK\r\n" DATE LENGTH "\r\n");
  head.type = DUSK__H1_TYPE("text/plain; charset=utf-8");
  assert_composed(&head,
                  "HTTP/1.1 200 OK\r\n" DATE
                  "Content-Type: text/plain; charset=utf-8\r\n" LENGTH "\r\n");
  head.length = UINT64_MAX - 1;
  head.status = 204; /* allows no length: RFC 9110, 8.6 */
  head.framing = DUSK__FRAMED_EMPTY;
  head.type = (dusk__h1_type_t){NULL, 0};
  assert_composed(&head, "HTTP/1.1 204 No Content\r\n" DATE "\r\n");
  head.status = 200; /* HEAD: what GET would tell */
  assert_composed(&head, "HTTP/1.1 200 OK\r\n" DATE
                         "Content-Length: 18446744073709551614\r\n\r\n");
}

static void each_framing(void **state) {
  dusk__arena_t arena = {0};
  dusk__h1_fields_t none = {.arena = &arena};
  (void)state;
  dusk__h1_head_t head = usual(&none);
  head.framing = DUSK__FRAMED_BY_CHUNKS;
  head.length = DUSK_OFF;
  assert_composed(&head, "HTTP/1.1 200 OK\r\n" DATE
                         "Transfer-Encoding: chunked\r\n\r\n");
  head.framing = DUSK__FRAMED_EMPTY;
  assert_composed(&head, "HTTP/1.1 200 OK\r\n" DATE "\r\n");
  head.status = 304;
  assert_composed(&head, "HTTP/1.1 304 Not Modified\r\n" DATE "\r\n");
  head.status = 200;
  head.framing = DUSK__FRAMED_BY_CLOSE;
  head.is_old = head.close = true;
  assert_composed(&head, "HTTP/1.0 200 OK\r\n" DATE "\r\n");
}

static void srv_231_status_lines(void **state) {
  dusk__arena_t arena = {0};
  dusk__h1_fields_t none = {.arena = &arena};
  (void)state;
  dusk__h1_head_t head = usual(&none);
  head.status = 404;
  assert_composed(&head, "HTTP/1.1 404 Not Found\r\n" DATE LENGTH "\r\n");
  head.status = 299;
  assert_composed(&head, "HTTP/1.1 299 status code 299\r\n" DATE LENGTH "\r\n");
  head.is_old = true;
  assert_composed(&head, "HTTP/1.0 299 status code 299\r\n" DATE LENGTH
                         "Connection: keep-alive\r\n\r\n");
  head.is_old = false;
  head.status = 200;
  head.dated = NULL; /* the handler's own */
  add(&none, "Date", "d");
  assert_composed(&head, "HTTP/1.1 200 OK\r\nDate: d\r\n" LENGTH "\r\n");
  dusk__arena_free(&arena);
}

/* Of what the client has it says nothing, whoever has set it. */
static void srv_263_not_modified_has_no_type(void **state) {
  dusk__arena_t arena = {0};
  dusk__h1_fields_t fields = {.arena = &arena};
  (void)state;
  dusk__h1_head_t head = usual(&fields);
  head.status = 304;
  head.framing = DUSK__FRAMED_EMPTY;
  head.type = DUSK__H1_TYPE("text/plain; charset=utf-8");
  static const char wanted[] = "HTTP/1.1 304 Not Modified\r\n" DATE;
  char text[200];
  snprintf(text, sizeof(text), "%s\r\n", wanted);
  assert_composed(&head, text);
  add(&fields, "ETag", "\"1\"");
  add(&fields, "content-type", "text/html");
  add(&fields, "Connection", "x-hop");
  add(&fields, "Content-Type", "text/css");
  add(&fields, "X", "1");
  head.type = (dusk__h1_type_t){NULL, 0};
  for (int has_connection = 0; has_connection < 2; has_connection++) {
    head.has_connection = has_connection == 1;
    snprintf(text, sizeof(text), "%sETag: \"1\"\r\nX: 1\r\n%s\r\n", wanted,
             has_connection ? "Connection: x-hop\r\n" : "");
    assert_composed(&head, text);
  }
  head.status = 204; /* SRV-262: which may have one */
  snprintf(text, sizeof(text),
           "HTTP/1.1 204 No Content\r\n" DATE
           "ETag: \"1\"\r\ncontent-type: text/html\r\n"
           "Content-Type: text/css\r\nX: 1\r\nConnection: x-hop\r\n\r\n");
  assert_composed(&head, text);
  dusk__arena_free(&arena);
}

static void connection_says_what_will_be(void **state) {
  dusk__arena_t arena = {0};
  dusk__h1_fields_t none = {.arena = &arena};
  (void)state;
  dusk__h1_head_t head = usual(&none);
  head.close = true;
  assert_composed(&head, "HTTP/1.1 200 OK\r\n" DATE LENGTH
                         "Connection: close\r\n\r\n");
  head.is_old = true; /* without a word */
  assert_composed(&head, "HTTP/1.0 200 OK\r\n" DATE LENGTH "\r\n");
  head.says_close = true;
  assert_composed(&head, "HTTP/1.0 200 OK\r\n" DATE LENGTH
                         "Connection: close\r\n\r\n");
  head.close = head.says_close = false;
  assert_composed(&head, "HTTP/1.0 200 OK\r\n" DATE LENGTH
                         "Connection: keep-alive\r\n\r\n");
}

static void the_handlers_options_are_in_the_one_field(void **state) {
  dusk__arena_t arena = {0};
  dusk__h1_fields_t fields = {.arena = &arena};
  (void)state;
  add(&fields, "Connection", " Upgrade ,close,\tKeep-Alive");
  add(&fields, "A", "b");
  add(&fields, "CONNECTION", "x");
  dusk__h1_head_t head = usual(&fields);
  head.has_connection = true;
  assert_composed(&head, "HTTP/1.1 200 OK\r\n" DATE "A: b\r\n" LENGTH
                         "Connection: Upgrade, x, keep-alive\r\n\r\n");
  head.close = true;
  assert_composed(&head, "HTTP/1.1 200 OK\r\n" DATE "A: b\r\n" LENGTH
                         "Connection: Upgrade, x, close\r\n\r\n");
  assert_true(dusk__h1_has_option(&fields, "close"));
  assert_true(dusk__h1_has_option(&fields, "upgrade"));
  assert_false(dusk__h1_has_option(&fields, "clos"));
  dusk__h1_fields_remove(&fields, "connection", 10, fields.len);
  assert_false(dusk__h1_has_option(&fields, "close"));
  add(&fields, "Connection", "keep-alive ,, ");
  head.close = false;
  assert_composed(&head, "HTTP/1.1 200 OK\r\n" DATE "A: b\r\n" LENGTH
                         "Connection: keep-alive\r\n\r\n");
  dusk__h1_fields_remove(&fields, "connection", 10, fields.len);
  add(&fields, "Connection", "close"); /* it was, and isn't any more */
  assert_composed(&head, "HTTP/1.1 200 OK\r\n" DATE "A: b\r\n" LENGTH "\r\n");
  dusk__arena_free(&arena);
}

/* As many options as fit, which grow most. */
static void options_stay_within_the_bound(void **state) {
  static char value[30000];
  dusk__arena_t arena = {0};
  dusk__h1_fields_t fields = {.arena = &arena};
  (void)state;
  for (size_t i = 0; i + 1 < sizeof(value); i++)
    value[i] = i % 2 ? ',' : 'a';
  add(&fields, "Connection", value);
  dusk__h1_head_t head = usual(&fields);
  head.has_connection = head.close = true;
  head.type = DUSK__H1_TYPE("text/plain; charset=utf-8");
  head.status = 511;
  head.framing = DUSK__FRAMED_BY_CHUNKS;
  head.length = UINT64_MAX - 1;
  size_t bound = dusk__h1_head_bound(&head);
  char *text = malloc(bound);
  assert_true((size_t)(dusk__h1_put_head(text, &head) - text) <= bound);
  free(text);
  dusk__arena_free(&arena);
}

static void values_that_were_given_out_are_whole_again(void **state) {
  dusk__arena_t arena = {0};
  dusk__h1_fields_t fields = {.arena = &arena};
  (void)state;
  add(&fields, "A", "b");
  add(&fields, "C", "d");
  assert_string_equal(dusk__h1_fields_get(&fields, "a", 1), "b");
  dusk__h1_head_t head = usual(&fields);
  assert_composed(&head,
                  "HTTP/1.1 200 OK\r\n" DATE "A: b\r\nC: d\r\n" LENGTH "\r\n");
  dusk__arena_free(&arena);
}

static void chunk_heads_are_hexadecimal(void **state) {
  static const struct {
    size_t len;
    const char *head;
  } chunks[] = {{1, "1\r\n"},
                {15, "f\r\n"},
                {16, "10\r\n"},
                {255, "ff\r\n"},
                {256, "100\r\n"},
                {65536, "10000\r\n"},
                {SIZE_MAX, "ffffffffffffffff\r\n"}};
  (void)state;
  for (size_t i = 0; i < sizeof(chunks) / sizeof(*chunks); i++) {
    char text[DUSK__H1_MAX_CHUNK_HEAD + 1];
    *dusk__h1_put_chunk_head(text, chunks[i].len) = '\0';
    size_t digits = strlen(text) - 2;
    if (chunks[i].len == SIZE_MAX)
      assert_int_equal(digits, 2 * sizeof(size_t));
    else
      assert_string_equal(text, chunks[i].head);
  }
}

static void the_servers_own_replies(void **state) {
  (void)state;
  for (int status = 200; status <= 999; status++) {
    char text[DUSK__H1_MAX_STATUS_TEXT];
    char *end = dusk__h1_put_status_text(text, status);
    assert_true(end - text <= DUSK__H1_MAX_STATUS_TEXT && end[-1] == '\n');
  }
  char text[DUSK__H1_MAX_STATUS_TEXT + 1];
  *dusk__h1_put_status_text(text, 431) = '\0';
  assert_string_equal(text, "431 Request Header Fields Too Large\n");
}

static void dates_have_one_length(void **state) {
  (void)state;
  for (time_t at = 0; at < 4000000000; at += 86400 * 13 + 3607) {
    dusk__h1_compose_dated(&dated, &(struct timespec){.tv_sec = at});
    assert_int_equal(strlen(dated.text),
                     DUSK__H1_OK_BYTES + DUSK__H1_DATE_BYTES);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_usual_answer),
      cmocka_unit_test(each_framing),
      cmocka_unit_test(srv_231_status_lines),
      cmocka_unit_test(srv_263_not_modified_has_no_type),
      cmocka_unit_test(connection_says_what_will_be),
      cmocka_unit_test(the_handlers_options_are_in_the_one_field),
      cmocka_unit_test(options_stay_within_the_bound),
      cmocka_unit_test(values_that_were_given_out_are_whole_again),
      cmocka_unit_test(chunk_heads_are_hexadecimal),
      cmocka_unit_test(the_servers_own_replies),
      cmocka_unit_test(dates_have_one_length),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
