/* Cookies: a request's, from all its Cookie fields, and a Set-Cookie field,
 * after RFC 6265 and its successor's draft. */
#include "chars.h"
#include "exchange.h"
#include "sized.h"
#include "values.h"

#include <dusk/cookie.h>

/* -- Those that came ------------------------------------------------------- */

/* As Go's httpcookiemaxnum. */
enum { MAX_COOKIES = 3000 };

/* The next Cookie field from *index on. */
static bool next_field(const dusk_request_t *req, size_t *index,
                       dusk__piece_t *ret_field) {
  const char *name;
  const char *value;
  while (dusk_request_header_at(req, (*index)++, &name, &value)) {
    if (strcasecmp(name, "Cookie") != 0) continue;
    *ret_field = (dusk__piece_t){value, strlen(value)};
    return true;
  }
  return false;
}

static const dusk_values_t *read_cookies(dusk__exchange_t *ex,
                                         const dusk_request_t *req) {
  dusk__piece_t field;
  size_t count = 0;
  size_t len = 0;
  for (size_t i = 0; next_field(req, &i, &field); len += field.len + 1)
    count += dusk__pairs_bound(field, ';');
  dusk_values_t *values = dusk__values_new(&ex->arena, count, MAX_COOKIES, len);
  if (values == NULL || dusk_values_err(values) < 0) return values;
  dusk__pair_t pair;
  for (size_t i = 0; next_field(req, &i, &field);)
    while (dusk__cookies_next(&field, &pair))
      dusk__values_put(values, &pair);
  return values;
}

const dusk_values_t *dusk_request_cookies(dusk_request_t *req) {
  dusk__exchange_t *ex = dusk__ex_of_request(req);
  if (ex == NULL) return NULL;
  if (ex->seldom.cookies == NULL)
    dusk__ex_seldom(ex)->cookies = read_cookies(ex, req);
  return ex->seldom.cookies;
}

const char *dusk_request_cookie(dusk_request_t *req, const char *name) {
  return dusk_values_get(dusk_request_cookies(req), name);
}

/* -- Those that are set ---------------------------------------------------- */

enum {
  /* Beyond these browsers drop the cookie, or the attribute. */
  MAX_PAIR_BYTES = 4096,
  MAX_PATH_BYTES = 1024,
  MAX_DOMAIN_BYTES = 255, /* a name's in the DNS */
  MAX_LABEL_BYTES = 63,
  /* The names of all attributes, and what isn't as long as its owner likes. */
  SLACK_BYTES = 256,
  MAX_FIELD_BYTES =
      MAX_PAIR_BYTES + MAX_PATH_BYTES + MAX_DOMAIN_BYTES + SLACK_BYTES,
};

/* The years 1601 to 9999, of which an expiry may be. */
static const int64_t first_expiry_s = -11644473600;
static const int64_t last_expiry_s = 253402300799;

static bool is_name(const char *name) {
  const char *at = name;
  while (dusk__is_token_char(*at))
    at++;
  return at > name && *at == '\0';
}

static bool is_value(const char *value) {
  while (dusk__is_cookie_char(*value))
    value++;
  return *value == '\0';
}

static bool is_path(const char *path) {
  while (*path >= ' ' && *path < 127 && *path != ';')
    path++;
  return *path == '\0';
}

static bool is_letter(char c) {
  return (c | 32) >= 'a' && (c | 32) <= 'z';
}

/* Of labels that neither begin nor end with '-'; one that has no letter is no
 * name but an address, or a bad one. */
static bool is_host_name(const char *host) {
  bool has_letter = false;
  char last = '.';
  size_t label = 0;
  for (; *host; last = *host++) {
    bool is_dot = *host == '.';
    bool is_alnum = is_letter(*host) || (*host >= '0' && *host <= '9');
    if (!is_dot && !is_alnum && *host != '-') return false;
    if (last == '.' && !is_alnum) return false;
    if (last == '-' && is_dot) return false;
    has_letter = has_letter || is_letter(*host);
    label = is_dot ? 0 : label + 1;
    if (label > MAX_LABEL_BYTES) return false;
  }
  return has_letter && last != '-';
}

/* Which may have a dot before it, that means nothing any more. */
static bool is_domain(const char *domain) {
  unsigned char address[4];
  if (strlen(domain) > MAX_DOMAIN_BYTES) return false;
  return is_host_name(domain + (*domain == '.')) ||
         uv_inet_pton(AF_INET, domain, address) == 0;
}

static bool begins_with(const char *name, const char *prefix) {
  return strncasecmp(name, prefix, strlen(prefix)) == 0;
}

static bool needs_secure(const dusk_cookie_t *cookie) {
  return cookie->partitioned || cookie->same_site == DUSK_SAME_SITE_NONE ||
         begins_with(cookie->name, "__Secure-") ||
         begins_with(cookie->name, "__Host-");
}

static const char *domain_of(const dusk_cookie_t *cookie) {
  const char *domain = cookie->domain ? cookie->domain : "";
  return *domain == '.' ? domain + 1 : domain;
}

static bool is_fit_for_host(const dusk_cookie_t *cookie) {
  return strcmp(cookie->path, "/") == 0 && *domain_of(cookie) == '\0';
}

/* Of one whose value and path aren't NULL. */
static int check(const dusk_cookie_t *cookie) {
  if (cookie->name == NULL || !is_name(cookie->name) ||
      !is_value(cookie->value) || !is_path(cookie->path))
    return UV_EINVAL;
  if (cookie->domain && *cookie->domain && !is_domain(cookie->domain))
    return UV_EINVAL;
  if (cookie->expires_s < first_expiry_s || cookie->expires_s > last_expiry_s ||
      (time_t)cookie->expires_s != cookie->expires_s)
    return UV_EINVAL;
  if ((unsigned)cookie->same_site > DUSK_SAME_SITE_NONE) return UV_EINVAL;
  if (needs_secure(cookie) && !cookie->secure) return UV_EINVAL;
  if (begins_with(cookie->name, "__Host-") && !is_fit_for_host(cookie))
    return UV_EINVAL;
  if (strlen(cookie->name) + strlen(cookie->value) > MAX_PAIR_BYTES ||
      strlen(cookie->path) > MAX_PATH_BYTES)
    return UV_ENOBUFS;
  return 0;
}

static char *put_text(char *to, const char *text) {
  return dusk__h1_put(to, text, strlen(text));
}

static char *put_value(char *to, const char *value) {
  const char *quote = strpbrk(value, " ,") ? "\"" : "";
  return put_text(put_text(put_text(to, quote), value), quote);
}

static char *put_attribute(char *to, const char *attribute, const char *value) {
  return *value ? put_text(put_text(to, attribute), value) : to;
}

static char *put_times(char *to, const dusk_cookie_t *cookie) {
  if (cookie->expires_s != 0)
    to = dusk__h1_put_date(put_text(to, "; Expires="),
                           (time_t)cookie->expires_s);
  if (cookie->max_age_s != 0) {
    uint64_t age = cookie->max_age_s > 0 ? (uint64_t)cookie->max_age_s : 0;
    to = dusk__h1_put_number(put_text(to, "; Max-Age="), age);
  }
  return to;
}

static char *put_cookie(char *to, const dusk_cookie_t *cookie) {
  static const char *const same_site[] = {"", "Lax", "Strict", "None"};
  to = put_text(put_text(to, cookie->name), "=");
  to = put_value(to, cookie->value);
  to = put_attribute(to, "; Path=", cookie->path);
  to = put_attribute(to, "; Domain=", domain_of(cookie));
  to = put_times(to, cookie);
  if (cookie->http_only) to = put_text(to, "; HttpOnly");
  if (cookie->secure) to = put_text(to, "; Secure");
  to = put_attribute(to, "; SameSite=", same_site[cookie->same_site]);
  if (cookie->partitioned) to = put_text(to, "; Partitioned");
  return to;
}

int dusk_response_set_cookie_sized(dusk_response_t *res,
                                   const dusk_cookie_t *cookie,
                                   size_t cookie_size) {
  dusk_cookie_t known;
  if (cookie == NULL) return UV_EINVAL;
  int err = dusk__sized_take(&known, sizeof(known), cookie, cookie_size);
  if (err < 0) return err;
  if (known.value == NULL) known.value = "";
  if (known.path == NULL) known.path = "";
  err = check(&known);
  if (err < 0) return err;
  char field[MAX_FIELD_BYTES];
  char *end = put_cookie(field, &known);
  assert(end < field + sizeof(field));
  *end = '\0';
  return dusk_response_add_header(res, "Set-Cookie", field);
}
