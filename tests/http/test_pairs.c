/* How texts of pairs are cut and decoded: each case is also tried at the very
 * end of its memory, where a byte too many is found out. */
#include "pairs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <uv.h>

typedef bool (*next_t)(dusk__piece_t *rest, dusk__pair_t *ret_pair);

typedef struct one {
  const char *text;
  const char *wanted; /* each pair as <name=value> */
} one_t;

static dusk__piece_t piece_of(const char *text) {
  return (dusk__piece_t){text, strlen(text)};
}

/* Without a NUL behind it. */
static dusk__piece_t bare_copy(const char *text) {
  size_t len = strlen(text);
  char *bare = malloc(len > 0 ? len : 1);
  assert_non_null(bare);
  memcpy(bare, text, len);
  return (dusk__piece_t){bare, len};
}

static void expect_pairs(next_t next, const one_t *one) {
  dusk__piece_t text = bare_copy(one->text);
  dusk__piece_t rest = text;
  dusk__pair_t pair;
  char found[256] = "";
  while (next(&rest, &pair)) {
    size_t len = strlen(found);
    snprintf(found + len, sizeof(found) - len, "<%.*s=%.*s>",
             (int)pair.name.len, pair.name.at, (int)pair.value.len,
             pair.value.at);
  }
  if (strcmp(found, one->wanted) != 0) fail_msg("%s: %s", one->text, found);
  free((char *)text.at);
}

static void texts_are_cut_at_ampersands(void **state) {
  static const one_t cases[] = {
      {"", ""},
      {"a=1", "<a=1>"},
      {"a=1&b=2", "<a=1><b=2>"},
      {"a", "<a=>"},
      {"a=", "<a=>"},
      {"=b", "<=b>"},
      {"=", "<=>"},
      {"&", ""},
      {"&&&", ""},
      {"&a=1&&b=2&", "<a=1><b=2>"},
      {"a=b=c", "<a=b=c>"},
      {"a==", "<a==>"},
      {"?a=1", "<?a=1>"},
      {"a=1;b=2", "<a=1;b=2>"}, /* no separator, see decode */
      {"a%26b%3D=%26%3D", "<a%26b%3D=%26%3D>"},
      {"a[]=1&a[]=2", "<a[]=1><a[]=2>"},
      {" a = 1 ", "< a = 1 >"},
  };
  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
    expect_pairs(dusk__pairs_next, &cases[i]);
}

/* Go: TestReadCookies, and what browsers and others have sent. */
static void cookies_are_taken_as_go_takes_them(void **state) {
  static const one_t cases[] = {
      {"", ""},
      {"a=1", "<a=1>"},
      {"a=1; b=2", "<a=1><b=2>"},
      {"a=1;b=2;", "<a=1><b=2>"},
      {"; ;;  a=1 ;\t b=2\t", "<a=1><b=2>"},
      {"a=1, b=2", "<a=1, b=2>"}, /* no separator */
      {"a=1 2,3", "<a=1 2,3>"},
      {"a=", "<a=>"},
      {"a", "<a=>"},
      {"=a", ""},
      {"=", ""},
      {"a=b=c==", "<a=b=c==>"},
      {"a = 1", "<a= 1>"},
      {"a=\"1\"", "<a=1>"},
      {"a=\"1 2\"; b=\"\"", "<a=1 2><b=>"},
      {"a=\"", ""},
      {"a=\"1", ""},
      {"a=1\"2", ""},
      {"a=\"1;2\"; b=3", "<b=3>"}, /* it ends in quotes; '2"' is no token */
      {"a=\"\"1\"\"", ""},
      {"a=1\\2; b=3", "<b=3>"},
      {"a=\xc3\xa9; b=3", "<b=3>"},
      {"a=\x7f; b=\x01; c=1\t2; d=3", "<d=3>"},
      {"a b=1; c=3", "<c=3>"},
      {"a[0]=1; c=3", "<c=3>"},
      {"a@b=1; {c}=1; d=3", "<d=3>"},
      {"$Version=1; a=1; $Path=/", "<$Version=1><a=1><$Path=/>"},
      {"__Host-id=1; ID=2; id=3", "<__Host-id=1><ID=2><id=3>"},
      {"a=%20+", "<a=%20+>"}, /* not decoded */
      {"a=1\r\n; b=2", "<b=2>"},
  };
  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
    expect_pairs(dusk__cookies_next, &cases[i]);
}

static void their_number_is_bounded_by_the_separators(void **state) {
  (void)state;
  assert_int_equal(dusk__pairs_bound((dusk__piece_t){NULL, 0}, '&'), 1);
  assert_int_equal(dusk__pairs_bound(piece_of("a&b;c&"), '&'), 3);
  assert_int_equal(dusk__pairs_bound(piece_of("a&b;c&"), ';'), 2);
}

/* -- Decoding -------------------------------------------------------------- */

typedef struct coded {
  const char *text;
  int in_form; /* the length, or an error */
  int in_path;
  const char *form;
  const char *path;
} coded_t;

static void expect_decoded(const coded_t *coded, dusk__encoding_t encoding) {
  bool is_form = encoding == DUSK__ENCODED_FORM;
  int wanted = is_form ? coded->in_form : coded->in_path;
  const char *text = is_form ? coded->form : coded->path;
  dusk__piece_t piece = bare_copy(coded->text);
  char *buf = malloc(piece.len + 1); /* always enough */
  assert_non_null(buf);
  int len = dusk__decode(piece, encoding, buf, piece.len + 1);
  if (len != wanted || (len >= 0 && strcmp(buf, text) != 0))
    fail_msg("\"%s\": %d", coded->text, len);
  /* One byte less than it needs. */
  if (len >= 0)
    assert_int_equal(dusk__decode(piece, encoding, buf, (size_t)len),
                     UV_ENOBUFS);
  free(buf);
  free((char *)piece.at);
}

static void pieces_are_decoded(void **state) {
  static const coded_t cases[] = {
      {"", 0, 0, "", ""},
      {"abc", 3, 3, "abc", "abc"},
      {"a+b", 3, 3, "a b", "a+b"},
      {"a%2Bb", 3, 3, "a+b", "a+b"},
      {"a%2bb", 3, 3, "a+b", "a+b"},
      {"%41%5a", 2, 2, "AZ", "AZ"},
      {"%25%32%35", 3, 3, "%25", "%25"}, /* once */
      {"%C3%A9\xc3\xa9", 4, 4, "\xc3\xa9\xc3\xa9", "\xc3\xa9\xc3\xa9"},
      {"%FF", 1, 1, "\xff", "\xff"}, /* no UTF-8: no matter */
      {"\r\n\t", 3, 3, "\r\n\t", "\r\n\t"},
      {"a;b", UV_EINVAL, 3, "", "a;b"},
      {"a%3Bb", 3, 3, "a;b", "a;b"},
      {"%00", UV_EINVAL, UV_EINVAL, "", ""},
      {"a%00b", UV_EINVAL, UV_EINVAL, "", ""},
      {"%", UV_EINVAL, UV_EINVAL, "", ""},
      {"50%", UV_EINVAL, UV_EINVAL, "", ""},
      {"%4", UV_EINVAL, UV_EINVAL, "", ""},
      {"%zz", UV_EINVAL, UV_EINVAL, "", ""},
      {"%4g", UV_EINVAL, UV_EINVAL, "", ""},
      {"%-1", UV_EINVAL, UV_EINVAL, "", ""},
      {"%u00e9", UV_EINVAL, UV_EINVAL, "", ""},
  };
  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    expect_decoded(&cases[i], DUSK__ENCODED_FORM);
    expect_decoded(&cases[i], DUSK__ENCODED_PATH);
  }
}

static void a_raw_nul_is_broken(void **state) {
  char buf[8];
  (void)state;
  assert_int_equal(dusk__decode((dusk__piece_t){"a\0b", 3}, DUSK__ENCODED_FORM,
                                buf, sizeof(buf)),
                   UV_EINVAL);
}

static void escapes_are_cut_off_by_their_pieces_end(void **state) {
  char buf[8];
  (void)state;
  assert_int_equal(
      dusk__decode((dusk__piece_t){"%41", 2}, DUSK__ENCODED_FORM, buf, 8),
      UV_EINVAL);
}

static void no_room_is_told(void **state) {
  char buf[1] = "x";
  (void)state;
  assert_int_equal(dusk__decode(piece_of(""), DUSK__ENCODED_FORM, buf, 0),
                   UV_ENOBUFS);
  assert_int_equal(buf[0], 'x');
}

static bool is(const char *text, const char *name) {
  dusk__piece_t copy = bare_copy(text);
  dusk__piece_t rest = copy;
  dusk__pair_t pair;
  bool is_it = dusk__pairs_next(&rest, &pair) && dusk__pair_is(&pair, name);
  free((char *)copy.at);
  return is_it;
}

static void names_are_compared_decoded(void **state) {
  (void)state;
  assert_true(is("a=1", "a"));
  assert_true(is("a", "a"));
  assert_true(is("=1", ""));
  assert_true(is("%61+%2b=1", "a +"));
  assert_false(is("a=1", "A"));
  assert_false(is("a=1", "ab"));
  assert_false(is("ab=1", "a"));
  assert_false(is("a=1", ""));
  assert_false(is("=1", "a"));
  assert_false(is("a%", "a%"));
  assert_false(is("a%6", "a%6"));
  assert_false(is("a;b=1", "a;b"));
  assert_false(is("a%00=1", "a"));
}

/* -- All there is ---------------------------------------------------------- */

/* Whatever the bytes: the pieces lie in their order in the text, and decoded
 * are no longer than before. */
static void walk(const char *data, size_t len, next_t next) {
  dusk__piece_t rest = {data, len};
  dusk__pair_t pair;
  const char *at = data;
  while (next(&rest, &pair)) {
    char buf[8];
    assert_true(pair.name.at >= at);
    assert_true(pair.value.at >= pair.name.at + pair.name.len);
    at = pair.value.at + pair.value.len;
    assert_true(at <= data + len);
    assert_true(rest.at + rest.len == data + len);
    int decoded =
        dusk__decode(pair.value, DUSK__ENCODED_FORM, buf, sizeof(buf));
    assert_true(decoded <= (int)pair.value.len);
  }
}

static void all_texts_of_five_meaningful_bytes_are_cut(void **state) {
  static const char bytes[] = {'a', '=', '&', ';', '%', '"', ' ', '\0', '4'};
  enum { BYTES = sizeof(bytes), LEN = 5 };
  (void)state;
  for (int all = 0; all < BYTES * BYTES * BYTES * BYTES * BYTES; all++) {
    char text[LEN];
    for (int i = 0, left = all; i < LEN; i++, left /= BYTES)
      text[i] = bytes[left % BYTES];
    walk(text, LEN, dusk__pairs_next);
    walk(text, LEN, dusk__cookies_next);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(texts_are_cut_at_ampersands),
      cmocka_unit_test(cookies_are_taken_as_go_takes_them),
      cmocka_unit_test(their_number_is_bounded_by_the_separators),
      cmocka_unit_test(pieces_are_decoded),
      cmocka_unit_test(a_raw_nul_is_broken),
      cmocka_unit_test(escapes_are_cut_off_by_their_pieces_end),
      cmocka_unit_test(no_room_is_told),
      cmocka_unit_test(names_are_compared_decoded),
      cmocka_unit_test(all_texts_of_five_meaningful_bytes_are_cut),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
