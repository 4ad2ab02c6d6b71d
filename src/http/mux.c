/* The mux: registers routes, and gives a request to one of them, or answers it.
 * What a request keeps of that is the pattern and the path: values are cut out
 * of it when they are asked for. */
#include "mux.h"

#include "chars.h"
#include "h1_parse.h"
#include "path.h"
#include "request.h"
#include "routes.h"

#include <dusk/http.h>

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for the names of all methods. */
#define LISTED(number, name, text) ", " #text
enum { ALLOW_BYTES = sizeof(HTTP_METHOD_MAP(LISTED)), ERROR_BYTES = 1024 };

struct dusk_mux {
  dusk__routes_t routes;
  atomic_size_t holders;
  char error[ERROR_BYTES];
};

int dusk_mux_new(dusk_mux_t **ret_mux) {
  if (ret_mux == NULL) return UV_EINVAL;
  dusk_mux_t *mux = calloc(1, sizeof(*mux));
  if (mux == NULL) return UV_ENOMEM;
  atomic_init(&mux->holders, 0);
  *ret_mux = mux;
  return 0;
}

void dusk_mux_free(dusk_mux_t *mux) {
  if (mux == NULL) return;
  bool is_held = atomic_load(&mux->holders) > 0;
  assert(!is_held && "a mux was freed that a server or another mux has");
  if (is_held) return;
  const dusk__route_t *route = mux->routes.newest;
  for (; route; route = route->older)
    dusk__mux_let_go(route->handler, route->arg);
  dusk__routes_free(&mux->routes);
  free(mux);
}

void dusk__mux_hold(dusk_handler_cb handler, void *arg) {
  dusk_mux_t *mux = arg;
  if (handler == dusk_mux_serve) atomic_fetch_add(&mux->holders, 1);
}

void dusk__mux_let_go(dusk_handler_cb handler, void *arg) {
  dusk_mux_t *mux = arg;
  if (handler == dusk_mux_serve) atomic_fetch_sub(&mux->holders, 1);
}

/* -- Registering ----------------------------------------------------------- */

/* Whether requests can come from one mux to another one. */
static bool leads_to(const dusk_mux_t *from, const dusk_mux_t *to) {
  if (from == to) return true;
  const dusk__route_t *route = from->routes.newest;
  for (; route; route = route->older)
    if (route->handler == dusk_mux_serve && leads_to(route->arg, to))
      return true;
  return false;
}

static int refuse_handler(dusk_mux_t *mux, const char *pattern,
                          dusk_handler_cb handler, const void *arg) {
  const char *why = NULL;
  if (handler == NULL || (handler == dusk_mux_serve && arg == NULL))
    why = "there is no handler";
  else if (handler == dusk_mux_serve && leads_to(arg, mux))
    why = "a mux cannot be its own handler";
  if (why == NULL) return 0;
  snprintf(mux->error, sizeof(mux->error), "pattern \"%s\": %s", pattern, why);
  return UV_EINVAL;
}

static int parse(dusk_mux_t *mux, const char *text, dusk__pattern_t **ret) {
  dusk__fault_t fault;
  int err = dusk__pattern_parse(text, ret, &fault);
  if (err == UV_EINVAL)
    snprintf(mux->error, sizeof(mux->error), "pattern \"%s\", at \"%s\": %s",
             text, text + fault.at, fault.what);
  return err;
}

static int refuse_conflict(dusk_mux_t *mux, const dusk__pattern_t *pattern) {
  const char *why;
  const dusk__route_t *other =
      dusk__routes_conflict(&mux->routes, pattern, &why);
  if (other == NULL) return 0;
  snprintf(mux->error, sizeof(mux->error),
           "pattern \"%s\" is in conflict with \"%s\": %s", pattern->text,
           other->pattern->text, why);
  return UV_EEXIST;
}

static int add_route(dusk_mux_t *mux, dusk__pattern_t *pattern,
                     dusk_handler_cb handler, void *arg) {
  dusk__route_t *route = malloc(sizeof(*route));
  if (route == NULL) return UV_ENOMEM;
  *route = (dusk__route_t){.pattern = pattern, .handler = handler, .arg = arg};
  int err = dusk__routes_add(&mux->routes, route);
  if (err < 0) free(route);
  return err;
}

int dusk_mux_handle(dusk_mux_t *mux, const char *text, dusk_handler_cb handler,
                    void *arg) {
  if (mux == NULL || text == NULL) return UV_EINVAL;
  *mux->error = '\0';
  dusk__pattern_t *pattern;
  int err = refuse_handler(mux, text, handler, arg);
  if (err == 0) err = parse(mux, text, &pattern);
  if (err < 0) return err;
  err = refuse_conflict(mux, pattern);
  if (err == 0) err = add_route(mux, pattern, handler, arg);
  if (err == 0)
    dusk__mux_hold(handler, arg);
  else
    free(pattern);
  return err;
}

const char *dusk_mux_error(const dusk_mux_t *mux) {
  return mux ? mux->error : "";
}

/* -- Path values ----------------------------------------------------------- */

typedef struct dusk__path_value {
  struct dusk__path_value *next;
  int wildcard;     /* of the pattern, or -1: another one, */
  const char *name; /* of that name */
  const char *value;
} path_value_t;

/* Those of an outer mux's pattern go with it. */
static void drop_values(dusk__seldom_t *seldom) {
  path_value_t **at = &seldom->path_values;
  while (*at) {
    if ((*at)->wildcard >= 0)
      *at = (*at)->next;
    else
      at = &(*at)->next;
  }
}

/* This mux's verdict, in the place of an outer one's; `path` is NULL unless it
 * goes to the route's handler. */
static void note(dusk__exchange_t *ex, const dusk__route_t *route,
                 const char *path, size_t len) {
  dusk__request_t *req = &ex->req;
  if (ex->seldom.path_values) drop_values(&ex->seldom);
  req->pattern = route ? route->pattern : NULL;
  req->matched = path;
  req->matched_len = len;
}

static int wildcard_of(const dusk__request_t *req, const char *name) {
  if (req->pattern == NULL || req->matched == NULL) return -1;
  return dusk__pattern_wildcard(req->pattern, name);
}

static path_value_t *find_value(const dusk__exchange_t *ex, int wildcard,
                                const char *name) {
  path_value_t *value = ex->seldom.path_values;
  while (value && (value->wildcard != wildcard ||
                   (wildcard < 0 && strcmp(value->name, name) != 0)))
    value = value->next;
  return value;
}

static int add_value(dusk__exchange_t *ex, int wildcard, const char *name,
                     const char *text) {
  path_value_t *value = dusk__arena_alloc(&ex->arena, sizeof(*value));
  if (value == NULL) return UV_ENOMEM;
  value->wildcard = wildcard;
  value->name = wildcard < 0 ? dusk__ex_copy(ex, name, strlen(name)) : NULL;
  value->value = text;
  if (wildcard < 0 && value->name == NULL) return UV_ENOMEM;
  value->next = ex->seldom.path_values;
  dusk__ex_seldom(ex)->path_values = value;
  return 0;
}

/* Out of the path, decoded; NULL when memory ran out. */
static const char *cut_value(dusk__exchange_t *ex, int wildcard) {
  const dusk__request_t *req = &ex->req;
  size_t len;
  const char *at = dusk__pattern_cut(req->pattern, wildcard, req->matched,
                                     req->matched_len, &len);
  const char *end = at + len;
  char *value = dusk__arena_alloc(&ex->arena, len + 1);
  if (value == NULL) return NULL;
  char *to = value;
  while (at < end) {
    *to++ = *at == '%' ? (char)dusk__unescape(at) : *at;
    at += *at == '%' ? 3 : 1;
  }
  *to = '\0';
  return add_value(ex, wildcard, NULL, value) < 0 ? NULL : value;
}

const char *dusk_request_path_value(dusk_request_t *handle, const char *name) {
  dusk__exchange_t *ex = dusk__ex_of_request(handle);
  if (ex == NULL || name == NULL) return "";
  int wildcard = wildcard_of(&ex->req, name);
  const path_value_t *known = find_value(ex, wildcard, name);
  if (known) return known->value;
  return wildcard < 0 ? "" : cut_value(ex, wildcard);
}

int dusk_request_set_path_value(dusk_request_t *handle, const char *name,
                                const char *value) {
  if (name == NULL || value == NULL) return UV_EINVAL;
  dusk__exchange_t *ex = dusk__ex_of_request(handle);
  if (ex == NULL) return UV_ECANCELED;
  const char *text = dusk__ex_copy(ex, value, strlen(value));
  if (text == NULL) return UV_ENOMEM;
  int wildcard = wildcard_of(&ex->req, name);
  path_value_t *known = find_value(ex, wildcard, name);
  if (known == NULL) return add_value(ex, wildcard, name, text);
  known->value = text;
  return 0;
}

const char *dusk_request_pattern(const dusk_request_t *handle) {
  const dusk__exchange_t *ex = dusk__ex_of_request(handle);
  return ex && ex->req.pattern ? ex->req.pattern->text : "";
}

/* -- Redirecting ----------------------------------------------------------- */

static bool is_kept_in_path(char c) {
  return dusk__is_host_char(c) || strchr("/:@%", c);
}

static bool is_kept_in_query(char c) {
  return c > ' ' && c < 127;
}

/* Escapes what a browser might take for something else, such as a '\' for a
 * '/': "/\host" is another host to it. */
static char *put_escaped(char *to, const char *text, size_t len,
                         bool (*is_kept)(char c)) {
  static const char digits[] = "0123456789ABCDEF";
  for (size_t i = 0; i < len; i++) {
    unsigned char c = (unsigned char)text[i];
    if (c && is_kept(text[i])) {
      *to++ = text[i];
    } else {
      *to++ = '%';
      *to++ = digits[c >> 4];
      *to++ = digits[c & 15];
    }
  }
  return to;
}

/* The prefix that was stripped from the target's path. */
static const char *stripped_of(const dusk__exchange_t *ex, size_t *ret_len) {
  size_t whole_len, len;
  const char *whole = dusk__h1_path(&ex->h1, &whole_len);
  const char *path = dusk__request_path_span(ex, &len);
  bool is_rest =
      len <= whole_len && memcmp(whole + whole_len - len, path, len) == 0;
  *ret_len = is_rest ? whole_len - len : 0;
  return whole;
}

/* Where to: the path, with a slash if it lacks one, as the client knows it, and
 * the query; NULL when memory ran out. */
static const char *location_of(dusk__exchange_t *ex,
                               const dusk__lookup_t *lookup,
                               const char *query) {
  size_t query_len = strlen(query);
  size_t stripped_len;
  const char *stripped = stripped_of(ex, &stripped_len);
  char *location = dusk__arena_alloc(
      &ex->arena, 3 * (stripped_len + lookup->len + query_len) + 3);
  if (location == NULL) return NULL;
  char *to = put_escaped(location, stripped, stripped_len, is_kept_in_path);
  to = put_escaped(to, lookup->path, lookup->len, is_kept_in_path);
  if (lookup->adds_slash) *to++ = '/';
  if (query_len > 0) *to++ = '?';
  to = put_escaped(to, query, query_len, is_kept_in_query);
  *to = '\0';
  return location;
}

static void redirect(dusk__exchange_t *ex, const dusk__lookup_t *lookup) {
  dusk_response_t *res = dusk__ex_response(ex);
  const char *query = dusk_request_query(dusk__ex_request(ex));
  const char *location = location_of(ex, lookup, query);
  int err = UV_ENOMEM;
  if (location) err = dusk_response_set_header(res, "Location", location);
  if (err == UV_ENOBUFS)
    dusk_response_error(res, 414, NULL);
  else if (err < 0)
    dusk_response_error(res, 503, NULL);
  else
    dusk_response_text(res, 307, "Temporary Redirect\n");
}

/* -- Refusing -------------------------------------------------------------- */

static uint64_t bit(int method) {
  return UINT64_C(1) << method;
}

/* Of a set of methods the one whose name comes first. */
static int first_of(uint64_t set) {
  int first = -1;
  for (int i = 0; i < DUSK__MAX_METHODS; i++)
    if ((set & bit(i)) && (first < 0 || strcmp(dusk__method_name(i),
                                               dusk__method_name(first)) < 0))
      first = i;
  return first;
}

static void answer_405(dusk_response_t *res, uint64_t allowed) {
  char allow[ALLOW_BYTES];
  size_t len = 0;
  if (allowed & bit(HTTP_GET)) allowed |= bit(HTTP_HEAD);
  while (allowed) {
    int method = first_of(allowed);
    const char *name = dusk__method_name(method);
    size_t name_len = strlen(name);
    allowed &= ~bit(method);
    memcpy(allow + len, name, name_len);
    memcpy(allow + len + name_len, ", ", 3);
    len += name_len + 2;
  }
  allow[len - 2] = '\0';
  dusk_response_set_header(res, "Allow", allow);
  dusk_response_error(res, 405, "Method Not Allowed");
}

/* -- Serving --------------------------------------------------------------- */

static const dusk__route_t *find(const dusk_mux_t *mux,
                                 dusk__lookup_t *lookup) {
  const dusk__route_t *route = dusk__routes_find(&mux->routes, lookup);
  bool has_slash = lookup->path[lookup->len - 1] == '/';
  if (has_slash || (route && lookup->is_exact)) return route;
  lookup->adds_slash = true; /* as if it had one: SRV-345 */
  const dusk__route_t *subtree = dusk__routes_find(&mux->routes, lookup);
  if (subtree && lookup->is_exact) return subtree;
  lookup->adds_slash = false;
  return route;
}

/* Only where there are hosts to be told apart. */
static void look_for_host(const dusk_mux_t *mux, const dusk__exchange_t *ex,
                          dusk__lookup_t *lookup) {
  if (!mux->routes.has_hosts) return;
  lookup->host = dusk__request_host_span(ex, &lookup->host_len);
  if (lookup->method != HTTP_CONNECT)
    lookup->host_len = dusk__host_name_len(lookup->host, lookup->host_len);
}

/* Has the lookup's path cleaned, in a copy; false when memory ran out. */
static bool clean_path(dusk__exchange_t *ex, dusk__lookup_t *lookup) {
  char *copy = dusk__arena_alloc(&ex->arena, lookup->len + 1);
  if (copy == NULL) return false;
  lookup->len = dusk__path_clean(lookup->path, lookup->len, copy);
  lookup->path = copy;
  return true;
}

void dusk_mux_serve(dusk_response_t *res, dusk_request_t *req, void *arg) {
  const dusk_mux_t *mux = arg;
  dusk__exchange_t *ex = dusk__ex_of_request(req);
  if (ex == NULL) return;
  dusk__lookup_t lookup = {.method = ex->h1.parser.method,
                           .has_escape = ex->h1.has_escape};
  lookup.path = dusk__request_path_span(ex, &lookup.len);
  if (lookup.len == 1 && *lookup.path == '*') { /* OPTIONS: of the server */
    dusk_response_end(res, NULL, 0);
    return;
  }
  bool was_clean = dusk__path_is_clean(lookup.path, lookup.len);
  if (!was_clean && !clean_path(ex, &lookup)) {
    dusk_response_error(res, 503, NULL);
    return;
  }
  look_for_host(mux, ex, &lookup);
  const dusk__route_t *route = find(mux, &lookup);
  bool is_match = route && was_clean && !lookup.adds_slash;
  note(ex, route, is_match ? lookup.path : NULL, lookup.len);
  if (is_match)
    route->handler(res, req, route->arg);
  else if (!was_clean || lookup.adds_slash)
    redirect(ex, &lookup);
  else if (lookup.allowed)
    answer_405(res, lookup.allowed);
  else
    dusk_response_not_found(res);
}
