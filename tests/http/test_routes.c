/* The tree against the texts of patterns: of any set of routes without a
 * conflict it finds the most specific one that matches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "every_pattern.h"
#include "routes.h"

#include "alloc.h"

#include <llhttp.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static dusk__route_t *new_route(dusk__pattern_t *pattern) {
  dusk__route_t *route = calloc(1, sizeof(*route));
  route->pattern = pattern;
  return route;
}

/* False, and nothing added, when it is in conflict. */
static bool add(dusk__routes_t *routes, const char *text) {
  const char *why;
  dusk__pattern_t *pattern = parse_pattern(text);
  if (dusk__routes_conflict(routes, pattern, &why)) {
    free(pattern);
    return false;
  }
  assert_int_equal(dusk__routes_add(routes, new_route(pattern)), 0);
  return true;
}

static dusk__lookup_t lookup_of(int method, const char *host,
                                const char *path) {
  return (dusk__lookup_t){.method = method,
                          .host = host,
                          .host_len = strlen(host),
                          .path = path,
                          .len = strlen(path),
                          .has_escape = strchr(path, '%') != NULL};
}

static const char *found(const dusk__routes_t *routes, dusk__lookup_t lookup) {
  const dusk__route_t *route = dusk__routes_find(routes, &lookup);
  return route ? route->pattern->text : "";
}

static void finds(const dusk__routes_t *routes, int method, const char *host,
                  const char *path, const char *text) {
  assert_string_equal(found(routes, lookup_of(method, host, path)), text);
}

static void srv_337_the_most_specific_one_wins(void **state) {
  (void)state;
  dusk__routes_t routes = {0};
  static const char *const texts[] = {"/item/",
                                      "POST /item/{user}",
                                      "GET /item/{user}",
                                      "/item/{user}",
                                      "/item/{user}/{id}",
                                      "/item/{user}/new",
                                      "/item/{$}",
                                      "POST alt.com/item/{user}",
                                      "GET /headwins",
                                      "HEAD /headwins",
                                      "/path/{p...}",
                                      "/g/h/i",
                                      "/g/{x}/j"};
  for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
    assert_true(add(&routes, texts[i]));
  finds(&routes, HTTP_GET, "", "/item/jba", "GET /item/{user}");
  finds(&routes, HTTP_POST, "", "/item/jba", "POST /item/{user}");
  finds(&routes, HTTP_HEAD, "", "/item/jba", "GET /item/{user}");
  finds(&routes, HTTP_PUT, "", "/item/jba", "/item/{user}");
  finds(&routes, HTTP_POST, "", "/item/jba/17", "/item/{user}/{id}");
  finds(&routes, HTTP_GET, "", "/item/jba/new", "/item/{user}/new");
  finds(&routes, HTTP_GET, "", "/item/", "/item/{$}");
  finds(&routes, HTTP_GET, "", "/item/jba/17/line2", "/item/");
  finds(&routes, HTTP_POST, "alt.com", "/item/jba", "POST alt.com/item/{user}");
  finds(&routes, HTTP_POST, "ALT.com", "/item/jba", "POST alt.com/item/{user}");
  finds(&routes, HTTP_GET, "alt.com", "/item/jba", "GET /item/{user}");
  finds(&routes, HTTP_GET, "", "/item", "");
  finds(&routes, HTTP_GET, "", "/headwins", "GET /headwins");
  finds(&routes, HTTP_HEAD, "", "/headwins", "HEAD /headwins"); /* SRV-333 */
  finds(&routes, HTTP_GET, "", "/path/to/file", "/path/{p...}");
  finds(&routes, HTTP_GET, "", "/path/", "/path/{p...}");
  finds(&routes, HTTP_GET, "", "/g/h/i", "/g/h/i");
  finds(&routes, HTTP_GET, "", "/g/h/j", "/g/{x}/j");
  finds(&routes, HTTP_GET, "", "/g/h/k", "");
  dusk__routes_free(&routes);
}

/* Whether a route that is exact is one whose rest is nothing: SRV-355. */
static void srv_355_exact_is_without_a_rest(void **state) {
  (void)state;
  static const struct {
    const char *pattern;
    const char *path;
    bool adds_slash;
    bool is_exact;
  } cases[] = {{"/", "/", false, true},
               {"/", "/a", false, false},
               {"/a", "/a", false, true},
               {"/a/", "/a/", false, true},
               {"/a/", "/a", true, true},
               {"/a/{$}", "/a/", false, true},
               {"/a/{$}", "/a", true, true},
               {"/a/", "/a/b", false, false},
               {"/a/", "/a/b/", false, false},
               {"/a/", "/a/b", true, false},
               {"/a/{x}", "/a/b", false, true},
               {"/a/{x...}", "/a/", false, true},
               {"/a/{x...}", "/a/b", false, false},
               {"/a/{x}/", "/a/b/", false, true},
               {"/a/{x}/{y...}", "/a/b/c/d", false, false},
               {"/a/{x}/{$}", "/a/b/", false, true}};
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    dusk__routes_t routes = {0};
    add(&routes, cases[i].pattern);
    dusk__lookup_t lookup = lookup_of(HTTP_GET, "", cases[i].path);
    lookup.adds_slash = cases[i].adds_slash;
    assert_non_null(dusk__routes_find(&routes, &lookup));
    assert_int_equal(lookup.is_exact, cases[i].is_exact);
    dusk__routes_free(&routes);
  }
}

/* -- Any set of routes ----------------------------------------------------- */

enum { SET = 40, SETS = 300 };

static const char *const methods[] = {"", "GET ", "HEAD ", "POST "};
static const int requested[] = {HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT};

typedef struct one {
  char text[64];
  size_t path; /* of every pattern's */
  int method;  /* of methods */
  bool has_host;
} one_t;

static unsigned seed;

static unsigned random_below(unsigned limit) {
  seed = seed * 1103515245 + 12345;
  return (seed >> 16) % limit;
}

static bool method_matches(int method, int asked) {
  return method == 0 || (method == 1 && asked <= 1) || method - 1 == asked;
}

static bool is_within(const every_t *every, const one_t *a, const one_t *b) {
  static const bool within[4][4] = {/* the first's methods in the second's */
                                    {true, false, false, false},
                                    {true, true, false, false},
                                    {true, true, true, false},
                                    {true, false, false, true}};
  if (!within[a->method][b->method]) return false;
  for (size_t k = 0; k < every->paths; k++)
    if (every->match[a->path][k] && !every->match[b->path][k]) return false;
  return true;
}

/* Of those that match the one that is within all others; "" if none does. */
static const char *wanted(const every_t *every, const one_t *set, size_t count,
                          bool has_host, int asked, size_t path) {
  for (int host = has_host; host >= 0; host--) {
    const one_t *best = NULL;
    for (size_t i = 0; i < count; i++) {
      if (set[i].has_host != host || !every->match[set[i].path][path] ||
          !method_matches(set[i].method, asked))
        continue;
      if (best == NULL || is_within(every, &set[i], best)) best = &set[i];
      assert_true(best == &set[i] || is_within(every, best, &set[i]));
    }
    if (best) return best->text;
  }
  return "";
}

/* The methods that routes for the path have, as a set. */
static uint64_t wanted_methods(const every_t *every, const one_t *set,
                               size_t count, bool has_host, size_t path) {
  static const int numbers[] = {0, HTTP_GET, HTTP_HEAD, HTTP_POST};
  uint64_t allowed = 0;
  for (size_t i = 0; i < count; i++)
    if (set[i].has_host <= has_host && every->match[set[i].path][path])
      allowed |= UINT64_C(1) << numbers[set[i].method];
  return allowed;
}

static size_t make_set(const every_t *every, one_t *set,
                       dusk__routes_t *routes) {
  size_t count = 0;
  for (int i = 0; i < SET; i++) {
    one_t *one = &set[count];
    one->path = random_below((unsigned)every->patterns);
    one->method = (int)random_below(4);
    one->has_host = random_below(4) == 0;
    snprintf(one->text, sizeof(one->text), "%s%s%s", methods[one->method],
             one->has_host ? "h" : "", every->pattern[one->path]->text);
    count += add(routes, one->text);
  }
  return count;
}

static void compare_all(const every_t *every, const one_t *set, size_t count,
                        const dusk__routes_t *routes) {
  for (size_t path = 0; path < every->paths; path++)
    for (int asked = 0; asked < 4; asked++)
      for (int host = 0; host <= 1; host++) {
        dusk__lookup_t lookup =
            lookup_of(requested[asked], host ? "H" : "i", every->path[path]);
        const dusk__route_t *route = dusk__routes_find(routes, &lookup);
        const char *text = wanted(every, set, count, host, asked, path);
        assert_string_equal(route ? route->pattern->text : "", text);
        if (route == NULL)
          assert_int_equal(lookup.allowed,
                           wanted_methods(every, set, count, host, path));
      }
}

static void every_set_is_searched_right(void **state) {
  (void)state;
  every_t every;
  one_t set[SET];
  make_every(&every);
  for (seed = 0; seed < SETS;) {
    unsigned number = seed;
    dusk__routes_t routes = {0};
    size_t count = make_set(&every, set, &routes);
    assert_true(count > 5);
    compare_all(&every, set, count, &routes);
    dusk__routes_free(&routes);
    seed = number + 1;
  }
  free_every(&every);
}

/* -- What costs much ------------------------------------------------------- */

/* All ways to mix text and {name} in ten segments, which only the last part of
 * the path tells apart: each has to be tried. */
static void mixed_patterns_are_told_apart_by_their_end(void **state) {
  (void)state;
  enum { DEPTH = 10 };
  dusk__routes_t routes = {0};
  char text[128];
  for (unsigned i = 0; i < 1U << DEPTH; i++) {
    size_t len = 0;
    for (unsigned j = 0; j < DEPTH; j++)
      len += (size_t)snprintf(text + len, sizeof(text) - len,
                              i >> j & 1 ? "/{w%u}" : "/a", j);
    snprintf(text + len, sizeof(text) - len, "/%u", i);
    assert_true(add(&routes, text));
  }
  finds(&routes, HTTP_GET, "", "/a/a/a/a/a/a/a/a/a/a/1023", text);
  finds(&routes, HTTP_GET, "", "/b/a/a/a/a/a/a/a/a/a/1023", text);
  finds(&routes, HTTP_GET, "", "/a/a/a/a/a/a/a/a/a/a/x", "");
  finds(&routes, HTTP_GET, "", "/a/a/a/a/a/a/a/a/a/a/", "");
  dusk__routes_free(&routes);
}

/* A path of 30,000 segments, of which each could be a way back. */
static void deep_paths_need_no_stack(void **state) {
  (void)state;
  enum { LEN = 60000 };
  dusk__routes_t routes = {0};
  char *path = malloc(LEN + 1);
  char *text = malloc(LEN + 2);
  for (size_t i = 0; i < LEN; i += 2)
    memcpy(path + i, "/a", 2);
  path[LEN] = '\0';
  assert_true(add(&routes, "/{x}/a/{rest...}"));
  assert_true(add(&routes, "/{x}/a/b"));
  finds(&routes, HTTP_GET, "", path, "/{x}/a/{rest...}");
  /* A pattern as deep, which differs at its end. */
  memcpy(text, path, LEN);
  memcpy(text + LEN, "b", 2);
  assert_true(add(&routes, text));
  finds(&routes, HTTP_GET, "", path, "/{x}/a/{rest...}");
  finds(&routes, HTTP_GET, "", text, text);
  dusk__routes_free(&routes);
  free(path);
  free(text);
}

static void nothing_of_many_routes_is_lost(void **state) {
  (void)state;
  enum { ROUTES = 3000 };
  dusk__routes_t routes = {0};
  char text[64];
  for (int i = 0; i < ROUTES; i++) {
    snprintf(text, sizeof(text), "GET /r%d/{id}", i);
    assert_true(add(&routes, text));
  }
  size_t before = alloc_count();
  for (int i = 0; i < ROUTES; i++) {
    char path[64];
    snprintf(text, sizeof(text), "GET /r%d/{id}", i);
    snprintf(path, sizeof(path), "/r%d/7", i);
    finds(&routes, HTTP_GET, "", path, text);
  }
  assert_int_equal(alloc_count(), before); /* none for a request */
  dusk__routes_free(&routes);
}

static void a_route_that_cannot_be_added_leaves_nothing(void **state) {
  (void)state;
  size_t live = alloc_live();
  size_t n = 0;
  int err;
  do {
    dusk__routes_t routes = {0};
    assert_true(add(&routes, "/a/b"));
    dusk__route_t *route = new_route(parse_pattern("h/a/{x}/c/{y}/{z...}"));
    alloc_fail_at(++n);
    err = dusk__routes_add(&routes, route);
    alloc_fail_at(0);
    finds(&routes, HTTP_GET, "", "/a/b", "/a/b");
    finds(&routes, HTTP_GET, "h", "/a/b", "/a/b");
    finds(&routes, HTTP_GET, "h", "/a/1/c/2/3",
          err == 0 ? "h/a/{x}/c/{y}/{z...}" : "");
    if (err < 0) {
      assert_int_equal(err, UV_ENOMEM);
      free(route->pattern);
      free(route);
    }
    dusk__routes_free(&routes);
    assert_int_equal(alloc_live(), live);
  } while (err < 0);
  assert_true(n > 5);
}

/* Of the table, which many routes need. */
static void a_table_that_cannot_grow_refuses_routes(void **state) {
  (void)state;
  size_t refused = 0;
  dusk__routes_t routes = {0};
  for (int i = 0; i < 100; i++) {
    char text[16];
    snprintf(text, sizeof(text), "/%d", i);
    dusk__route_t *route = new_route(parse_pattern(text));
    alloc_fail_at(1); /* the new node's, or before it the table's */
    assert_int_equal(dusk__routes_add(&routes, route), UV_ENOMEM);
    alloc_fail_at(2);
    refused += dusk__routes_add(&routes, route) < 0;
    alloc_fail_at(0);
    if (routes.newest != route)
      assert_int_equal(dusk__routes_add(&routes, route), 0);
    finds(&routes, HTTP_GET, "", text, text);
  }
  assert_true(refused >= 3);
  for (int i = 0; i < 100; i++) {
    char text[16];
    snprintf(text, sizeof(text), "/%d", i);
    finds(&routes, HTTP_GET, "", text, text);
  }
  dusk__routes_free(&routes);
}

static void srv_349_escapes_are_decoded_a_segment(void **state) {
  (void)state;
  dusk__routes_t routes = {0};
  assert_true(add(&routes, "/a%2Fb/"));
  assert_true(add(&routes, "/{one}"));
  assert_true(add(&routes, "/{one}/{rest...}"));
  assert_true(add(&routes, "/any/"));
  finds(&routes, HTTP_GET, "", "/a%2fb/", "/a%2Fb/");
  finds(&routes, HTTP_GET, "", "/%61%2Fb/c", "/a%2Fb/");
  finds(&routes, HTTP_GET, "", "/a%2Fb", "/{one}");
  finds(&routes, HTTP_GET, "", "/a%2Fb%2F", "/{one}");
  finds(&routes, HTTP_GET, "", "/%41", "/{one}");
  finds(&routes, HTTP_GET, "", "/a%00", ""); /* no text can hold it */
  finds(&routes, HTTP_GET, "", "/%00/x", "");
  finds(&routes, HTTP_GET, "", "/x/%20%00", "");
  finds(&routes, HTTP_GET, "", "/any/%00", "/any/");
  finds(&routes, HTTP_GET, "", "/%2500", "/{one}");
  finds(&routes, HTTP_GET, "", "/%00", "");
  dusk__routes_free(&routes);
}

/* The texts "", "" and "/" are as one to the hash. */
static void nodes_of_one_hash_are_told_apart(void **state) {
  (void)state;
  dusk__routes_t routes = {0};
  assert_true(add(&routes, "/{x}/{y}/t"));
  assert_true(add(&routes, "/%2F/u"));
  finds(&routes, HTTP_GET, "", "/a/b/t", "/{x}/{y}/t");
  finds(&routes, HTTP_GET, "", "/%2F/u", "/%2F/u");
  finds(&routes, HTTP_GET, "", "/%2F/t", "");
  assert_true(add(&routes, "/%2F/t"));
  finds(&routes, HTTP_GET, "", "/%2F/t", "/%2F/t");
  dusk__routes_free(&routes);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(srv_337_the_most_specific_one_wins),
      cmocka_unit_test(srv_355_exact_is_without_a_rest),
      cmocka_unit_test(every_set_is_searched_right),
      cmocka_unit_test(mixed_patterns_are_told_apart_by_their_end),
      cmocka_unit_test(deep_paths_need_no_stack),
      cmocka_unit_test(nothing_of_many_routes_is_lost),
      cmocka_unit_test(a_route_that_cannot_be_added_leaves_nothing),
      cmocka_unit_test(a_table_that_cannot_grow_refuses_routes),
      cmocka_unit_test(srv_349_escapes_are_decoded_a_segment),
      cmocka_unit_test(nodes_of_one_hash_are_told_apart),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
