/* Patterns: read, and compared with each other. What they match is told anew
 * here, from their texts, for all short patterns and paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "every_pattern.h"

#include <llhttp.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* A pattern's parts in one text: "GET|host|text:a one:x rest: end:". */
static void expect(const char *text, const char *parts) {
  static const char *const kinds[] = {"text", "one", "rest", "end"};
  dusk__pattern_t *pattern = parse_pattern(text);
  char got[256];
  int len =
      snprintf(got, sizeof(got), "%s|%.*s|",
               pattern->method < 0 ? "" : dusk__method_name(pattern->method),
               (int)pattern->host_len, pattern->host);
  for (size_t i = 0; i < pattern->count; i++) {
    const dusk__segment_t *segment = &pattern->segments[i];
    len += snprintf(got + len, sizeof(got) - (size_t)len, "%s%s:%.*s",
                    i > 0 ? " " : "", kinds[segment->kind], (int)segment->len,
                    segment->len > 0 ? segment->text : "");
  }
  assert_string_equal(got, parts);
  assert_string_equal(pattern->text, text);
  free(pattern);
}

static void srv_322_patterns_are_read(void **state) {
  (void)state;
  expect("/", "||rest:");
  expect("/a", "||text:a");
  expect("/a/", "||text:a rest:");
  expect("/path/to/something", "||text:path text:to text:something");
  expect("/{w1}/lit/{w2}", "||one:w1 text:lit one:w2");
  expect("/{w1}/lit/{w2}/", "||one:w1 text:lit one:w2 rest:");
  expect("example.com/", "|example.com|rest:");
  expect("Example.COM/A", "|example.com|text:A");
  expect("[::1]/{$}", "|[::1]|end:");
  expect("CONNECT h:443/", "CONNECT|h:443|rest:");
  expect("GET /", "GET||rest:");
  expect("M-SEARCH \t /", "M-SEARCH||rest:");
  expect("POST example.com/foo/{w}", "POST|example.com|text:foo one:w");
  expect("/{$}", "||end:");
  expect("DELETE example.com/a/{foo12}/{$}",
         "DELETE|example.com|text:a one:foo12 end:");
  expect("/{a}/foo/{rest...}", "||one:a text:foo rest:rest");
  expect("/{_}/{\xc3\xa9}", "||one:_ one:\xc3\xa9");
  expect("/a%2Fb/%62%7B", "||text:a/b text:b{");
  expect("/.a/...", "||text:.a text:...");
}

static void pairs(const char *a, const char *b, const char *why) {
  dusk__pattern_t *one = parse_pattern(a);
  dusk__pattern_t *other = parse_pattern(b);
  const char *there = dusk__pattern_conflict(one, other);
  const char *back = dusk__pattern_conflict(other, one);
  if (!!there != !!back || !!there != !!why || (why && !strstr(there, why)))
    fail_msg("%s, %s: %s", a, b, there);
  free(one);
  free(other);
}

static void srv_340_conflicts_are_found(void **state) {
  (void)state;
  pairs("/a", "/a", "the same requests");
  pairs("/{x}", "/{y}", "the same requests");
  pairs("/{x...}", "/", "the same requests");
  pairs("h/%61", "H/a", "the same requests");
  pairs("GET /", "/foo", "for fewer methods");
  pairs("GET /", "HEAD /foo", NULL);
  pairs("HEAD /", "GET /foo", "for fewer methods");
  pairs("/a/{x}", "/{x}/b", "each matches");
  pairs("GET /a/{x}", "/{x}/b", "each matches");
  pairs("/{x}/{y}/", "/{x}/a", NULL);
  pairs("/a/{x...}", "/{x}/b/{$}", "each matches");
}

static void srv_341_these_are_none(void **state) {
  (void)state;
  pairs("/", "GET /", NULL);
  pairs("/{x}", "/a", NULL);
  pairs("h/a", "/a", NULL);
  pairs("h/{x}/b", "/a/{x}", NULL);
  pairs("h/a", "i/a", NULL);
  pairs("GET /a", "POST /a", NULL);
  pairs("GET /a/{x}", "POST /{x}/b", NULL);
  pairs("/a", "/a/", NULL);
  pairs("/{x}", "/{$}", NULL);
}

/* Of all pairs: as the sets of the paths that they match. */
static void paths_compare_as_what_they_match(void **state) {
  (void)state;
  every_t every;
  make_every(&every);
  size_t seen[4] = {0};
  for (size_t i = 0; i < every.patterns; i++)
    for (size_t j = 0; j < every.patterns; j++) {
      bool first_only = false, second_only = false, both = false;
      for (size_t k = 0; k < every.paths; k++) {
        first_only = first_only || (every.match[i][k] && !every.match[j][k]);
        second_only = second_only || (!every.match[i][k] && every.match[j][k]);
        both = both || (every.match[i][k] && every.match[j][k]);
      }
      unsigned got =
          dusk__pattern_compare_paths(every.pattern[i], every.pattern[j]);
      unsigned wanted = (first_only ? DUSK__MATCHES_MORE : 0) |
                        (second_only ? DUSK__MATCHES_LESS : 0);
      if (got & DUSK__DISJOINT ? both : !both || got != wanted)
        fail_msg("%s, %s: %u", every.pattern[i]->text, every.pattern[j]->text,
                 got);
      if (both) seen[wanted]++;
    }
  assert_true(seen[0] && seen[DUSK__MATCHES_MORE] && seen[DUSK__MATCHES_LESS] &&
              seen[DUSK__OVERLAPS]);
  free_every(&every);
}

static void cuts(const char *text, const char *path, const char *name,
                 const char *value) {
  dusk__pattern_t *pattern = parse_pattern(text);
  int wildcard = dusk__pattern_wildcard(pattern, name);
  assert_int_equal(wildcard < 0, value == NULL);
  if (value) {
    size_t len;
    const char *cut =
        dusk__pattern_cut(pattern, wildcard, path, strlen(path), &len);
    assert_int_equal(len, strlen(value));
    assert_memory_equal(cut, value, len);
  }
  free(pattern);
}

static void srv_330_values_are_cut(void **state) {
  (void)state;
  cuts("/{a}", "/x", "a", "x");
  cuts("/{a}/", "/x/y", "a", "x");
  cuts("/u/{id}/p/{page}", "/u/7/p/8", "id", "7");
  cuts("/u/{id}/p/{page}", "/u/7/p/8", "page", "8");
  cuts("/u/{id}/{rest...}", "/u/7/p%2F/8/", "rest", "p%2F/8/");
  cuts("/u/{rest...}", "/u/", "rest", "");
  cuts("/{rest...}", "/", "rest", "");
  cuts("/{a}", "/x", "b", NULL);
  cuts("/{a}", "/x", "", NULL);
  cuts("/a/", "/a/x", "", NULL);
  cuts("/a/{$}", "/a/", "$", NULL);
  cuts("/a", "/a", "a", NULL);
}

static void srv_339_hosts_have_ports(void **state) {
  (void)state;
  static const struct {
    const char *host;
    size_t len;
  } hosts[] = {{"", 0},      {"h", 1},        {"h:80", 1},     {"h:", 1},
               {"[::1]", 5}, {"[::1]:80", 5}, {"1.2.3.4:5", 7}};
  for (size_t i = 0; i < sizeof(hosts) / sizeof(*hosts); i++)
    assert_int_equal(dusk__host_name_len(hosts[i].host, strlen(hosts[i].host)),
                     hosts[i].len);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(srv_322_patterns_are_read),
      cmocka_unit_test(srv_340_conflicts_are_found),
      cmocka_unit_test(srv_341_these_are_none),
      cmocka_unit_test(paths_compare_as_what_they_match),
      cmocka_unit_test(srv_330_values_are_cut),
      cmocka_unit_test(srv_339_hosts_have_ports),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
