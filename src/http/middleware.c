/* Handlers that wrap a handler. */
#include "request.h"

#include <dusk/middleware.h>
#include <dusk/reply.h>

#include <string.h>
#include <strings.h>

void dusk_max_bytes_serve(dusk_response_t *res, dusk_request_t *req,
                          void *arg) {
  const dusk_max_bytes_t *max_bytes = arg;
  dusk_request_set_max_body(req, max_bytes->max_bytes); /* or it is gone */
  dusk_handler_serve(&max_bytes->next, res, req);
}

void dusk_timeout_serve(dusk_response_t *res, dusk_request_t *req, void *arg) {
  const dusk_timeout_t *timeout = arg;
  if (dusk_request_set_timeout(req, timeout->timeout_ms) == UV_ENOMEM)
    dusk_response_error(res, 503, NULL);
  else
    dusk_handler_serve(&timeout->next, res, req);
}

/* -- Prefixes -------------------------------------------------------------- */

/* What is behind the prefix; NULL when it isn't there. */
static const char *without(const char *path, const char *prefix) {
  assert(prefix != NULL && "there is no prefix to strip");
  size_t len = strlen(prefix);
  while (len > 0 && prefix[len - 1] == '/')
    len--;
  if (strncmp(path, prefix, len) != 0) return NULL;
  if (path[len] == '\0') return "/";
  return path[len] == '/' ? path + len : NULL;
}

void dusk_strip_prefix_serve(dusk_response_t *res, dusk_request_t *req,
                             void *arg) {
  const dusk_strip_prefix_t *strip = arg;
  const char *path = dusk_request_path(req);
  const char *rest = path ? without(path, strip->prefix) : NULL;
  if (path == NULL) {
    dusk_response_error(res, 503, NULL);
  } else if (rest == NULL) {
    dusk_response_not_found(res);
  } else {
    dusk__request_set_path(req, rest);
    dusk_handler_serve(&strip->next, res, req);
  }
}

/* -- Origins --------------------------------------------------------------- */

static bool is_one_of(const char *text, const char *const *texts) {
  for (; texts && *texts; texts++)
    if (strcasecmp(text, *texts) == 0) return true;
  return false;
}

static bool is_safe(const char *method) {
  static const char *const safe[] = {"GET", "HEAD", "OPTIONS", NULL};
  return is_one_of(method, safe);
}

static bool is_own(const char *origin, dusk_request_t *req) {
  const char *host = strstr(origin, "://");
  const char *own = dusk_request_host(req);
  return host && own && *own && strcasecmp(host + 3, own) == 0;
}

static bool may_pass(dusk_request_t *req, const char *const *trusted) {
  const char *site = dusk_request_header(req, "Sec-Fetch-Site");
  const char *origin = dusk_request_header(req, "Origin");
  if (is_safe(dusk_request_method(req))) return true;
  if (origin && is_one_of(origin, trusted)) return true;
  if (site && *site)
    return strcmp(site, "same-origin") == 0 || strcmp(site, "none") == 0;
  return origin == NULL || *origin == '\0' || is_own(origin, req);
}

void dusk_cross_origin_serve(dusk_response_t *res, dusk_request_t *req,
                             void *arg) {
  const dusk_cross_origin_t *cross_origin = arg;
  if (may_pass(req, cross_origin->trusted))
    dusk_handler_serve(&cross_origin->next, res, req);
  else if (cross_origin->refuse.cb)
    dusk_handler_serve(&cross_origin->refuse, res, req);
  else
    dusk_response_error(res, 403, "cross-origin request refused");
}
