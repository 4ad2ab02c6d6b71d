/* One pattern of a mux, "[METHOD ][HOST]/[PATH]", as in Go since 1.22: read,
 * compared with another one, and what its wildcards stand for in a path. Knows
 * neither mux nor request. */
#ifndef DUSK_HTTP_PATTERN_H
#define DUSK_HTTP_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

/* What stands between two slashes, or behind the last one. */
typedef enum dusk__segment_kind {
  DUSK__SEGMENT_TEXT, /* itself */
  DUSK__SEGMENT_ONE,  /* {name}: any one segment */
  DUSK__SEGMENT_REST, /* {name...}, or nothing behind a '/': all that follows */
  DUSK__SEGMENT_END,  /* {$}: the path ends in that '/' */
} dusk__segment_kind_t;

typedef struct dusk__segment {
  dusk__segment_kind_t kind;
  const char *text; /* decoded, or the wildcard's name, which may be empty */
  size_t len;
} dusk__segment_t;

enum { DUSK__ANY_METHOD = -1 };

typedef struct dusk__pattern {
  const char *text; /* as it was written */
  int method;       /* llhttp's number */
  const char *host; /* in lower case */
  size_t host_len;  /* 0: any */
  size_t count;
  dusk__segment_t segments[];
} dusk__pattern_t;

/* What is wrong with a pattern, and how many bytes into it. */
typedef struct dusk__fault {
  const char *what;
  size_t at;
} dusk__fault_t;

/* UV_EINVAL, and then the fault, or UV_ENOMEM. It is freed by free. */
int dusk__pattern_parse(const char *text, dusk__pattern_t **ret_pattern,
                        dusk__fault_t *ret_fault);

/* The requests of one against those of another one, as a set: without a bit
 * they are the same. */
enum {
  DUSK__MATCHES_MORE = 1, /* some that the other one doesn't */
  DUSK__MATCHES_LESS = 2, /* not all that the other one does */
  DUSK__OVERLAPS = 3,
  DUSK__DISJOINT = 4, /* none is in both, whatever the other bits say */
};
unsigned dusk__pattern_compare_paths(const dusk__pattern_t *a,
                                     const dusk__pattern_t *b);

/* Why neither is more specific than the other one, though a request can match
 * both; or NULL. */
const char *dusk__pattern_conflict(const dusk__pattern_t *a,
                                   const dusk__pattern_t *b);

static inline const dusk__segment_t *
dusk__pattern_last(const dusk__pattern_t *pattern) {
  return &pattern->segments[pattern->count - 1];
}

/* The wildcard of that name, as an index, or -1. */
int dusk__pattern_wildcard(const dusk__pattern_t *pattern, const char *name);

/* What that one stands for in a path that the pattern matches; still encoded.
 */
const char *dusk__pattern_cut(const dusk__pattern_t *pattern, int wildcard,
                              const char *path, size_t len, size_t *ret_len);

/* How much of a host comes before its port. */
size_t dusk__host_name_len(const char *host, size_t len);

/* -- Methods --------------------------------------------------------------- */

enum { DUSK__MAX_METHODS = 64 }; /* so that a set of them is 64 bits */

/* The name of llhttp's number, NULL for one that it doesn't use. */
const char *dusk__method_name(int method);

#endif
