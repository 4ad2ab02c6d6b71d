/* dusk/cookie.h: cookies of a request, and those that a response sets. What
 * holds for all of these headers is in dusk/http.h. */
#ifndef DUSK_COOKIE_H
#define DUSK_COOKIE_H

#include <dusk/response.h>
#include <dusk/values.h>

#ifdef __cplusplus
extern "C" {
#endif

/* -- Those that came ------------------------------------------------------- */

/* All of them, from all Cookie fields, in the order received, read when first
 * asked for. They are taken as Go does: one pair of quotes around a value is
 * taken away, nothing is decoded, and a pair whose name is no token, or whose
 * value has a byte that none may have (controls, '"', '\\', non-ASCII), is
 * passed over. NULL when memory ran out, or for a request that is over.
 * Go: Request.Cookies. */
DUSK_EXTERN const dusk_values_t *dusk_request_cookies(dusk_request_t *req);

/* The first of that name; the browser puts the one with the longest path
 * there. NULL if there is none, and as above. Go: Request.Cookie. */
DUSK_EXTERN const char *dusk_request_cookie(dusk_request_t *req,
                                            const char *name);

/* -- Those that are set ---------------------------------------------------- */

/* On requests from other sites, the cookie is sent as the browser sees fit
 * (DEFAULT: nothing is said); when the user follows a link (LAX); never
 * (STRICT); always (NONE). */
typedef enum dusk_same_site {
  DUSK_SAME_SITE_DEFAULT,
  DUSK_SAME_SITE_LAX,
  DUSK_SAME_SITE_STRICT,
  DUSK_SAME_SITE_NONE,
} dusk_same_site_t;

/* What is zero is not said: {.name = "n", .value = "v"} goes with the browser's
 * session, to this host only. One that is deleted has the name, path and domain
 * that it was set with, and a negative max_age_s. Go: http.Cookie. */
typedef struct dusk_cookie {
  const char *name;
  const char *value;  /* NULL is ""; put between quotes if it has a blank or a
                       * comma */
  const char *path;   /* "/": of the whole host */
  const char *domain; /* "example.org": also of the hosts below */
  int64_t expires_s;  /* an instant, seconds since 1970-01-01 in UTC */
  int64_t max_age_s;  /* goes before expires_s; negative: at once */
  bool secure;        /* by https only */
  bool http_only;     /* not for scripts */
  bool partitioned;   /* apart for each site that this one is embedded in */
  dusk_same_site_t same_site;
} dusk_cookie_t;

/* Adds a Set-Cookie field; the struct and its texts are copied. Cookies that
 * are there already stay, also one of that name. Errors, and then nothing is
 * added: UV_EINVAL for what browsers would drop without a word or Go's
 * Cookie.Valid refuses: a name that is no token, a value with controls, '"',
 * ';', '\\' or non-ASCII, a path with controls, ';' or non-ASCII, a domain that
 * is neither a host's name nor an IPv4 address, an instant out of the years
 * 1601 to 9999; partitioned, SameSite=None or a name in __Secure- (in any case)
 * without secure; a name in __Host- without secure and the path "/", or with a
 * domain. UV_ENOBUFS for more than 4,096 bytes of name and value, or 1,024 of
 * path; and those of dusk_response_add_header. The struct's size makes it fit
 * the library, as with all that end in _sized. Go: http.SetCookie. */
DUSK_EXTERN int
dusk_response_set_cookie_sized(dusk_response_t *res,
                               const dusk_cookie_t *cookie,
                               size_t cookie_size) DUSK_CHECK_RESULT;
DUSK_CHECK_RESULT static inline int
dusk_response_set_cookie(dusk_response_t *res, const dusk_cookie_t *cookie) {
  return dusk_response_set_cookie_sized(res, cookie, sizeof(*cookie));
}

#ifdef __cplusplus
}
#endif

#endif
