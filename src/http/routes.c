/* A tree a host, whose nodes are the segments of patterns. At each node the way
 * down is first that of the segment's text, then {name}, then {name...}: the
 * first route that is met is the most specific one, since of two that match a
 * path one is so in all of its segments, or they had been in conflict. A dead
 * end is left by the way back: a node knows its parent, and how long its
 * segment is the path tells. So there is no stack, whatever a client sends; and
 * no node is met twice, so the way is never longer than the tree has nodes
 * within reach, which is few unless patterns differ by a later segment only
 * ("/a/{x}/1", "/{x}/a/2").
 *
 * The children of all nodes are in one table, by parent and text: a step costs
 * the same however many there are. */
#include "routes.h"

#include "chars.h"

#include <assert.h>
#include <llhttp.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 32 };

/* -- Texts ----------------------------------------------------------------- */

/* FNV-1a, which a child goes on with where its parent has stopped. */
static uint64_t hash_more(uint64_t hash, int c) {
  return (hash ^ (unsigned char)c) * UINT64_C(0x100000001b3);
}

static uint64_t hash_of(const dusk__node_t *parent) {
  return hash_more(parent ? parent->hash : UINT64_C(0xcbf29ce484222325), '/');
}

/* How the text of a request is written. */
typedef enum spelling {
  PLAIN,
  ESCAPED, /* with %XX */
  FOLDED,  /* in any case */
} spelling_t;

static int next_char(const char **at, spelling_t spelling) {
  int c = (unsigned char)*(*at)++;
  if (spelling == ESCAPED && c == '%') {
    c = dusk__unescape(*at - 1);
    *at += 2;
  }
  return spelling == FOLDED && c >= 'A' && c <= 'Z' ? c | 32 : c;
}

static uint64_t hash_text(const dusk__node_t *parent, const char *text,
                          size_t len, spelling_t spelling) {
  uint64_t hash = hash_of(parent);
  const char *end = text + len;
  if (spelling == PLAIN) { /* most are, and this is most of a look-up */
    while (text < end)
      hash = hash_more(hash, *text++);
    return hash;
  }
  while (text < end)
    hash = hash_more(hash, next_char(&text, spelling));
  return hash;
}

static bool is_text(const dusk__node_t *node, const char *text, size_t len,
                    spelling_t spelling) {
  const char *end = text + len;
  if (spelling == PLAIN)
    return node->len == len && memcmp(node->text, text, len) == 0;
  size_t i = 0;
  while (text < end && i < node->len)
    if (next_char(&text, spelling) != (unsigned char)node->text[i++])
      return false;
  return text == end && i == node->len;
}

/* -- The table ------------------------------------------------------------- */

static dusk__node_t **bucket_of(const dusk__routes_t *routes, uint64_t hash) {
  return &routes->table[(hash ^ hash >> 32) & (routes->capacity - 1)];
}

static dusk__node_t *find_child(const dusk__routes_t *routes,
                                const dusk__node_t *parent, const char *text,
                                size_t len, spelling_t spelling) {
  if (routes->capacity == 0) return NULL;
  uint64_t hash = hash_text(parent, text, len, spelling);
  dusk__node_t *node = *bucket_of(routes, hash);
  while (node && (node->hash != hash || node->parent != parent ||
                  !is_text(node, text, len, spelling)))
    node = node->next;
  return node;
}

static int grow_table(dusk__routes_t *routes) {
  dusk__routes_t larger = *routes;
  larger.capacity = routes->capacity ? routes->capacity * 2 : FIRST_CAPACITY;
  larger.table = calloc(larger.capacity, sizeof(dusk__node_t *));
  if (larger.table == NULL) return UV_ENOMEM;
  for (size_t i = 0; i < routes->capacity; i++) {
    dusk__node_t *node = routes->table[i];
    while (node) {
      dusk__node_t *next = node->next;
      dusk__node_t **bucket = bucket_of(&larger, node->hash);
      node->next = *bucket;
      *bucket = node;
      node = next;
    }
  }
  free(routes->table);
  *routes = larger;
  return 0;
}

/* -- Adding ---------------------------------------------------------------- */

static dusk__node_t *new_node(dusk__node_t *parent, const char *text,
                              size_t len) {
  dusk__node_t *node = calloc(1, sizeof(*node) + len);
  if (node == NULL) return NULL;
  node->parent = parent;
  node->hash = hash_text(parent, text, len, PLAIN);
  node->len = len;
  memcpy(node->text, text, len);
  return node;
}

/* The child for that text, perhaps a new one; NULL when memory ran out. */
static dusk__node_t *make_child(dusk__routes_t *routes, dusk__node_t *parent,
                                const char *text, size_t len) {
  dusk__node_t *node = find_child(routes, parent, text, len, PLAIN);
  if (node) return node;
  if (routes->count == routes->capacity && grow_table(routes) < 0) return NULL;
  node = new_node(parent, text, len);
  if (node == NULL) return NULL;
  dusk__node_t **bucket = bucket_of(routes, node->hash);
  node->next = *bucket;
  *bucket = node;
  routes->count++;
  return node;
}

/* By its pointer, one that has no text. */
static dusk__node_t *make_other(dusk__node_t **node, dusk__node_t *parent) {
  if (*node == NULL) *node = new_node(parent, "", 0);
  return *node;
}

/* Where the pattern's routes are kept; NULL when memory ran out. What nodes it
 * has made till then stay: they lead nowhere. */
static dusk__route_t **make_place(dusk__routes_t *routes,
                                  const dusk__pattern_t *pattern) {
  dusk__node_t *node =
      pattern->host_len > 0
          ? make_child(routes, NULL, pattern->host, pattern->host_len)
          : make_other(&routes->any_host, NULL);
  for (size_t i = 0; node && i < pattern->count; i++) {
    const dusk__segment_t *segment = &pattern->segments[i];
    switch (segment->kind) {
    case DUSK__SEGMENT_TEXT:
      node = make_child(routes, node, segment->text, segment->len);
      break;
    case DUSK__SEGMENT_ONE:
      node = make_other(&node->wild, node);
      break;
    case DUSK__SEGMENT_REST:
      return &node->rest;
    case DUSK__SEGMENT_END:
      return &node->slash;
    }
  }
  return node ? &node->here : NULL;
}

int dusk__routes_add(dusk__routes_t *routes, dusk__route_t *route) {
  dusk__route_t **place = make_place(routes, route->pattern);
  if (place == NULL) return UV_ENOMEM;
  const dusk__segment_t *last = dusk__pattern_last(route->pattern);
  route->wants_text = last->kind == DUSK__SEGMENT_REST && last->len > 0;
  route->method = route->pattern->method;
  /* HEAD before GET, which answers it, too, and any method last. */
  while (*place && (*place)->method > route->method)
    place = &(*place)->next;
  route->next = *place;
  *place = route;
  route->older = routes->newest;
  routes->newest = route;
  if (route->pattern->host_len > 0) routes->has_hosts = true;
  return 0;
}

const dusk__route_t *dusk__routes_conflict(const dusk__routes_t *routes,
                                           const dusk__pattern_t *pattern,
                                           const char **ret_why) {
  const dusk__route_t *found = NULL;
  for (dusk__route_t *route = routes->newest; route; route = route->older) {
    const char *why = dusk__pattern_conflict(pattern, route->pattern);
    if (why == NULL) continue;
    found = route;
    *ret_why = why;
  }
  return found;
}

/* One without a text has no other owner than its parent. */
static void free_wild(dusk__node_t *node) {
  while (node) {
    dusk__node_t *wild = node->wild;
    free(node);
    node = wild;
  }
}

void dusk__routes_free(dusk__routes_t *routes) {
  for (size_t i = 0; i < routes->capacity; i++)
    while (routes->table[i]) {
      dusk__node_t *node = routes->table[i];
      routes->table[i] = node->next;
      free_wild(node);
    }
  free(routes->table);
  free_wild(routes->any_host);
  while (routes->newest) {
    dusk__route_t *route = routes->newest;
    routes->newest = route->older;
    free(route->pattern);
    free(route);
  }
}

/* -- Finding --------------------------------------------------------------- */

/* What a wildcard can't give as a text. */
static bool has_nul(const dusk__lookup_t *lookup, const char *text,
                    const char *end) {
  if (!lookup->has_escape) return false;
  while ((text = memchr(text, '%', (size_t)(end - text))) != NULL) {
    if (text[1] == '0' && text[2] == '0') return true;
    text += 3;
  }
  return false;
}

/* Of routes that differ by their method; `rest` is what a {name...} gets. */
static const dusk__route_t *choose(const dusk__route_t *route,
                                   dusk__lookup_t *lookup, const char *rest,
                                   const char *end) {
  lookup->is_exact = rest == end;
  for (; route; route = route->next) {
    if (route->wants_text && has_nul(lookup, rest, end)) continue;
    if (route->method == lookup->method || route->method == DUSK__ANY_METHOD ||
        (route->method == HTTP_GET && lookup->method == HTTP_HEAD))
      return route;
    lookup->allowed |= UINT64_C(1) << route->method;
  }
  return NULL;
}

typedef struct walk {
  const dusk__routes_t *routes;
  const dusk__node_t *root;
  dusk__lookup_t *lookup;
  const dusk__node_t *node;
  const char *at; /* in the path, behind the node's segment */
  const char *end;
} walk_t;

static bool may_be_wild(const walk_t *walk, const char *text, const char *end) {
  return walk->node->wild && !has_nul(walk->lookup, text, end);
}

/* On to the child for the next segment; false when there is none. */
static bool go_down(walk_t *walk) {
  const char *path_end = walk->end;
  if (path_end - walk->at < 2) return false;
  const char *text = walk->at + 1;
  const char *end = text;
  while (end < path_end && *end != '/')
    end++;
  const dusk__node_t *child =
      find_child(walk->routes, walk->node, text, (size_t)(end - text),
                 walk->lookup->has_escape ? ESCAPED : PLAIN);
  if (child == NULL && may_be_wild(walk, text, end)) child = walk->node->wild;
  if (child == NULL) return false;
  walk->node = child;
  walk->at = end;
  return true;
}

/* The route for the path where there is no way down. */
static const dusk__route_t *choose_here(const walk_t *walk) {
  const dusk__node_t *node = walk->node;
  const char *end = walk->end;
  if (walk->at + 1 < end)
    return choose(node->rest, walk->lookup, walk->at + 1, end);
  if (walk->at == end && !walk->lookup->adds_slash)
    return choose(node->here, walk->lookup, end, end);
  const dusk__route_t *route = NULL;
  if (node->slash) route = choose(node->slash, walk->lookup, end, end);
  return route ? route : choose(node->rest, walk->lookup, end, end);
}

/* Back to where there is another way down, and there a step; false when there
 * is none, or a route has been found on the way. */
static bool go_back(walk_t *walk, const dusk__route_t **ret_route) {
  while (walk->node != walk->root) {
    const char *text = walk->at;
    while (text[-1] != '/')
      text--;
    bool was_wild = walk->node == walk->node->parent->wild;
    walk->node = walk->node->parent;
    if (!was_wild && may_be_wild(walk, text, walk->at)) {
      walk->node = walk->node->wild;
      return true;
    }
    *ret_route = choose(walk->node->rest, walk->lookup, text, walk->end);
    if (*ret_route) return false;
    walk->at = text - 1;
  }
  return false;
}

static const dusk__route_t *find_below(const dusk__routes_t *routes,
                                       const dusk__node_t *root,
                                       dusk__lookup_t *lookup) {
  const dusk__route_t *route;
  walk_t walk = {.routes = routes,
                 .root = root,
                 .lookup = lookup,
                 .node = root,
                 .at = lookup->path,
                 .end = lookup->path + lookup->len};
  assert(*lookup->path == '/');
  do {
    while (go_down(&walk))
      continue;
    route = choose_here(&walk);
  } while (route == NULL && go_back(&walk, &route));
  return route;
}

const dusk__route_t *dusk__routes_find(const dusk__routes_t *routes,
                                       dusk__lookup_t *lookup) {
  const dusk__route_t *route = NULL;
  if (routes->has_hosts && lookup->host_len > 0) {
    const dusk__node_t *host =
        find_child(routes, NULL, lookup->host, lookup->host_len, FOLDED);
    if (host) route = find_below(routes, host, lookup);
  }
  if (route == NULL && routes->any_host)
    route = find_below(routes, routes->any_host, lookup);
  return route;
}
