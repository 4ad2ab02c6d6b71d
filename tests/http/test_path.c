/* Paths made clean, as Go's TestCleanPath has it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 32 }; /* bytes of a path that is spelt */

static void expect(const char *path, const char *cleaned) {
  size_t len = strlen(path);
  char *exact = malloc(len + 1); /* nothing behind it may be read */
  char *buf = malloc(len + 1);
  memcpy(exact, path, len);
  size_t got = dusk__path_clean(exact, len, buf);
  assert_true(got <= len + 1);
  if (got != strlen(cleaned) || memcmp(buf, cleaned, got) != 0)
    fail_msg("%s: %.*s, not %s", path, (int)got, buf, cleaned);
  bool is_same = strcmp(path, cleaned) == 0;
  if (dusk__path_is_clean(exact, len) != is_same)
    fail_msg("%s is %sclean", path, is_same ? "" : "not ");
  assert_true(dusk__path_is_clean(cleaned, strlen(cleaned)));
  free(exact);
  free(buf);
}

static void paths_are_cleaned(void **state) {
  (void)state;
  static const char *const same[] = {
      "/",      "/a",      "/a/",   "/a/b",   "/abc/def/",    "/.a",
      "/..a",   "/a.",     "/a..",  "/...",   "/a/.../b",     "/.well-known/x",
      "/%2e/a", "/%2F%2F", "/a/.b", "/a/..b", "/a/b./c../d/", "/\\/a"};
  for (size_t i = 0; i < sizeof(same) / sizeof(*same); i++)
    expect(same[i], same[i]);
  expect("", "/");
  expect("a", "/a");
  expect("a/b/", "/a/b/");
  expect("..", "/");
  expect("//", "/");
  expect("/.", "/");
  expect("/./", "/");
  expect("/..", "/");
  expect("/../", "/");
  expect("/../../a", "/a");
  expect("//foo.txt", "/foo.txt");
  expect("/../foo.txt", "/foo.txt");
  expect("/a//b", "/a/b");
  expect("/a/b//", "/a/b/");
  expect("/a/./b", "/a/b");
  expect("/a/b/.", "/a/b");
  expect("/a/b/./", "/a/b/");
  expect("/a/b/..", "/a");
  expect("/a/b/../", "/a/");
  expect("/a/../b", "/b");
  expect("/a/..", "/");
  expect("/a/../..", "/");
  expect("/a/b/../../../c", "/c");
  expect("/abc/.././././/def", "/def");
  expect("/x/..//host", "/host");
}

/* The path that is meant by `path`, by its definition: each segment goes on a
 * stack or takes one off. */
static void mean(const char *path, char *to) {
  const char *kept[MOST];
  size_t lens[MOST];
  size_t count = 0;
  for (const char *at = path; *at;) {
    size_t len = strcspn(++at, "/");
    bool is_up = len == 2 && at[0] == '.' && at[1] == '.';
    bool is_nothing = len == 0 || (len == 1 && *at == '.');
    if (is_up && count > 0) count--;
    if (!is_up && !is_nothing) {
      kept[count] = at;
      lens[count++] = len;
    }
    at += len;
  }
  bool is_open = path[strlen(path) - 1] == '/';
  for (size_t i = 0; i < count; i++)
    to += sprintf(to, "/%.*s", (int)lens[i], kept[i]);
  strcpy(to, count == 0 || is_open ? "/" : "");
}

/* All of `len` bytes of the alphabet, as the digits of `number`. */
static void spell(uint32_t number, size_t len, char *to) {
  static const char alphabet[] = "/.a";
  *to++ = '/';
  for (size_t i = 0; i < len; i++) {
    *to++ = alphabet[number % 3];
    number /= 3;
  }
  *to = '\0';
}

static void all_short_ones_mean_the_same(void **state) {
  (void)state;
  enum { LEN = 9 };
  uint32_t count = 1;
  for (size_t len = 0; len <= LEN; len++, count *= 3) {
    for (uint32_t number = 0; number < count; number++) {
      char path[MOST];
      char cleaned[MOST];
      spell(number, len, path);
      mean(path, cleaned);
      expect(path, cleaned);
      expect(cleaned, cleaned);
    }
  }
}

/* Steps back must not cost more, the longer the path has become. */
static void long_ones_are_cleaned(void **state) {
  (void)state;
  enum { LEN = 1 << 22 };
  char *path = malloc(LEN);
  char *buf = malloc(LEN + 1);
  memset(path, '/', LEN);
  assert_int_equal(dusk__path_clean(path, LEN, buf), 1);
  for (size_t i = 0; i + 6 <= LEN; i += 6)
    memcpy(path + i, "/ab/..", 6);
  memset(path + LEN - LEN % 6, '/', LEN % 6);
  assert_int_equal(dusk__path_clean(path, LEN, buf), 1);
  free(path);
  free(buf);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(paths_are_cleaned),
      cmocka_unit_test(all_short_ones_mean_the_same),
      cmocka_unit_test(long_ones_are_cleaned),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
