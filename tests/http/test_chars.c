/* The classes of characters, byte by byte, against the grammars' words. */
#include "chars.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define ALNUM "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

static void assert_class(bool (*is_in)(char), const char *set, size_t len) {
  for (int c = 0; c < 256; c++) {
    bool is_listed = memchr(set, c, len) != NULL;
    if (is_in((char)c) != is_listed) fail_msg("character %d", c);
  }
}

static void test_tokens_are_of_rfc_9110s_characters(void **state) {
  static const char set[] = ALNUM "!#$%&'*+-.^_`|~";
  (void)state;
  assert_class(dusk__is_token_char, set, sizeof(set) - 1);
}

static void test_hosts_are_of_rfc_3986s_characters(void **state) {
  static const char set[] = ALNUM "-._~!$&'()*+,;=";
  (void)state;
  assert_class(dusk__is_host_char, set, sizeof(set) - 1);
}

static void test_values_have_no_control_characters_but_tabs(void **state) {
  (void)state;
  for (int c = 0; c < 256; c++) {
    bool is_control = (c < ' ' && c != '\t') || c == 127;
    if (dusk__is_text_char((char)c) == is_control) fail_msg("character %d", c);
  }
}

static void test_options_end_at_commas_blanks_and_the_list(void **state) {
  static const char set[] = ", \t";
  (void)state;
  assert_class(dusk__ends_option, set, sizeof(set)); /* with its NUL */
}

static void test_paths_are_of_all_that_means_nothing(void **state) {
  (void)state;
  for (int c = 0; c < 256; c++) {
    bool has_meaning = memchr("%?#", c, sizeof("%?#")) != NULL;
    if (dusk__is_path_char((char)c) == has_meaning) fail_msg("character %d", c);
  }
}

static void test_names_are_alike_in_any_case(void **state) {
  (void)state;
  assert_true(dusk__is_name("hOsT", "host", 4));
  assert_true(dusk__is_name("TRANSFER-encoding", "transfer-encoding", 17));
  assert_false(dusk__is_name("hose", "host", 4));
  assert_false(dusk__is_name("\xe8ost", "host", 4));
  assert_false(dusk__is_name("transfer_encoding", "transfer-encoding", 17));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_tokens_are_of_rfc_9110s_characters),
      cmocka_unit_test(test_hosts_are_of_rfc_3986s_characters),
      cmocka_unit_test(test_values_have_no_control_characters_but_tabs),
      cmocka_unit_test(test_options_end_at_commas_blanks_and_the_list),
      cmocka_unit_test(test_paths_are_of_all_that_means_nothing),
      cmocka_unit_test(test_names_are_alike_in_any_case),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
