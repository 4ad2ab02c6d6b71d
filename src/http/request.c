/* What a handler can ask of a request's header. All of it lies in the
 * exchange's input buffer, where the strict checks have put NULs behind method,
 * target, names and values. */
#include "request.h"

#include "contexts.h"
#include "h1_parse.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

const char *dusk_request_method(const dusk_request_t *handle) {
  const dusk__exchange_t *ex = dusk__ex_of_request(handle);
  return ex ? dusk__h1_method(&ex->h1) : "";
}

const char *dusk_request_target(const dusk_request_t *handle) {
  const dusk__exchange_t *ex = dusk__ex_of_request(handle);
  return ex ? dusk__h1_target(&ex->h1) : "";
}

const char *dusk__request_path_span(const dusk__exchange_t *ex,
                                    size_t *ret_len) {
  if (ex->seldom.path == NULL) return dusk__h1_path(&ex->h1, ret_len);
  *ret_len = strlen(ex->seldom.path);
  return ex->seldom.path;
}

void dusk__request_set_path(dusk_request_t *handle, const char *path) {
  dusk__exchange_t *ex = dusk__ex_of_request(handle);
  if (ex) dusk__ex_seldom(ex)->path = path;
}

const char *dusk_request_path(dusk_request_t *handle) {
  dusk__exchange_t *ex = dusk__ex_of_request(handle);
  if (ex == NULL) return "";
  size_t len;
  const char *path = dusk__request_path_span(ex, &len);
  if (path[len] == '\0') return path;
  dusk__ex_seldom(ex)->path = dusk__ex_copy(ex, path, len);
  return ex->seldom.path;
}

const char *dusk_request_query(dusk_request_t *handle) {
  const dusk__exchange_t *ex = dusk__ex_of_request(handle);
  if (ex == NULL || !ex->h1.has_line) return "";
  const char *behind = dusk__h1_at(&ex->h1, ex->h1.path + ex->h1.path_len);
  return *behind == '?' ? behind + 1 : "";
}

const char *dusk__request_host_span(const dusk__exchange_t *ex,
                                    size_t *ret_len) {
  const dusk__h1_t *h1 = &ex->h1;
  const char *target = dusk__h1_target(h1);
  const char *path = dusk__h1_at(h1, h1->path);
  const char *authority = strstr(target, "://");
  if (h1->parser.method == HTTP_CONNECT && h1->has_line) {
    *ret_len = h1->target_len;
    return target;
  }
  if (authority && authority < path) {
    *ret_len = (size_t)(path - authority) - 3;
    return authority + 3;
  }
  *ret_len = 0;
  if (h1->host_field < 0) return "";
  *ret_len = h1->fields[h1->host_field].value_len;
  return dusk__h1_at(h1, h1->fields[h1->host_field].value);
}

const char *dusk_request_host(dusk_request_t *handle) {
  dusk__exchange_t *ex = dusk__ex_of_request(handle);
  if (ex == NULL) return "";
  size_t len;
  const char *host = dusk__request_host_span(ex, &len);
  if (host[len] == '\0') return host;
  if (ex->seldom.host == NULL)
    dusk__ex_seldom(ex)->host = dusk__ex_copy(ex, host, len);
  return ex->seldom.host;
}

int dusk_request_version_minor(const dusk_request_t *handle) {
  const dusk__exchange_t *ex = dusk__ex_of_request(handle);
  return ex ? ex->h1.version_minor : -1;
}

static const char *find(const dusk__h1_t *h1, size_t from, size_t to,
                        const char *name) {
  size_t len = strlen(name);
  for (size_t i = from; i < to; i++) {
    const dusk__field_t *field = &h1->fields[i];
    if (field->name_len == len &&
        strcasecmp(dusk__h1_at(h1, field->name), name) == 0)
      return dusk__h1_at(h1, field->value);
  }
  return NULL;
}

const char *dusk_request_header(const dusk_request_t *handle,
                                const char *name) {
  const dusk__exchange_t *ex = dusk__ex_of_request(handle);
  if (ex == NULL || name == NULL) return NULL;
  return find(&ex->h1, 0, ex->h1.trailer_first, name);
}

bool dusk_request_header_at(const dusk_request_t *handle, size_t index,
                            const char **ret_name, const char **ret_value) {
  const dusk__exchange_t *ex = dusk__ex_of_request(handle);
  if (ex == NULL || index >= ex->h1.trailer_first) return false;
  const dusk__field_t *field = &ex->h1.fields[index];
  *ret_name = dusk__h1_at(&ex->h1, field->name);
  *ret_value = dusk__h1_at(&ex->h1, field->value);
  return true;
}

const char *dusk_request_trailer(const dusk_request_t *handle,
                                 const char *name) {
  const dusk__exchange_t *ex = dusk__ex_of_request(handle);
  if (ex == NULL || name == NULL) return NULL;
  const dusk__h1_t *h1 = &ex->h1;
  if (!h1->complete || ex->req.failure) return NULL;
  return find(h1, h1->trailer_first, h1->field_count, name);
}

const char *dusk_request_peer(dusk_request_t *handle) {
  dusk__exchange_t *ex = dusk__ex_of_request(handle);
  return ex ? dusk__ex_peer(ex) : "";
}

dusk_context_t *dusk_request_context(dusk_request_t *handle) {
  dusk__exchange_t *ex = dusk__ex_of_request(handle);
  if (ex == NULL) return NULL;
  return ex->req.given_ctx ? ex->req.given_ctx : dusk__contexts_of_request(ex);
}

int dusk_request_set_context(dusk_request_t *handle, dusk_context_t *ctx) {
  dusk__exchange_t *ex = dusk__ex_of_request(handle);
  if (ctx == NULL) return UV_EINVAL;
  if (ex == NULL || ex->finished) return UV_ECANCELED;
  dusk_context_ref(ctx); /* it may be the one that it replaces */
  dusk_context_unref(ex->req.given_ctx);
  ex->req.given_ctx = ctx;
  return 0;
}

dusk_context_t *dusk_request_draining(dusk_request_t *handle) {
  const dusk__exchange_t *ex = dusk__ex_of_request(handle);
  return ex ? ex->worker->draining : NULL;
}

dusk_context_t *dusk_request_root(const dusk_request_t *handle) {
  const dusk__exchange_t *ex = dusk__ex_of_request(handle);
  return ex ? ex->worker->root : NULL;
}

uv_loop_t *dusk_request_loop(const dusk_request_t *handle) {
  const dusk__exchange_t *ex = dusk__ex_of_request(handle);
  return ex ? ex->worker->loop : NULL;
}

void *dusk_request_worker_data(const dusk_request_t *handle) {
  const dusk__exchange_t *ex = dusk__ex_of_request(handle);
  return ex ? ex->worker->data : NULL;
}

void *dusk_request_alloc(dusk_request_t *handle, size_t size) {
  dusk__exchange_t *ex = dusk__ex_of_request(handle);
  return ex ? dusk__arena_alloc(&ex->arena, size) : NULL;
}

static dusk__value_t *find_value(const dusk__exchange_t *ex,
                                 const dusk_key_t *key) {
  dusk__value_t *value = ex->seldom.values;
  while (value && value->key != key)
    value = value->next;
  return value;
}

static int add_value(dusk__exchange_t *ex, const dusk__value_t *value) {
  dusk__value_t *added = dusk__arena_alloc(&ex->arena, sizeof(*added));
  if (added == NULL) return UV_ENOMEM;
  *added = *value;
  added->next = ex->seldom.values;
  dusk__ex_seldom(ex)->values = added;
  return 0;
}

int dusk_request_set_value(dusk_request_t *handle, const dusk_key_t *key,
                           void *value, dusk_release_cb release) {
  dusk__exchange_t *ex = dusk__ex_of_request(handle);
  if (key == NULL) return UV_EINVAL;
  if (ex == NULL || ex->finished) return UV_ECANCELED;
  dusk__value_t *found = find_value(ex, key);
  if (found == NULL)
    return add_value(ex, &(dusk__value_t){NULL, key, value, release});
  dusk__value_t old = *found;
  found->value = value;
  found->release = release;
  if (old.release) old.release(old.value);
  return 0;
}

void *dusk_request_value(const dusk_request_t *handle, const dusk_key_t *key) {
  const dusk__exchange_t *ex = dusk__ex_of_request(handle);
  const dusk__value_t *value = ex ? find_value(ex, key) : NULL;
  return value ? value->value : NULL;
}

dusk_response_t *dusk_request_response(const dusk_request_t *handle) {
  const dusk__exchange_t *ex = dusk__ex_of_request(handle);
  return ex ? dusk__ex_response(ex) : NULL;
}

dusk_request_t *dusk_response_request(const dusk_response_t *handle) {
  const dusk__exchange_t *ex = dusk__ex_of_response(handle);
  return ex ? dusk__ex_request(ex) : NULL;
}

uint64_t dusk_request_content_length(const dusk_request_t *handle) {
  const dusk__exchange_t *ex = dusk__ex_of_request(handle);
  return ex ? ex->h1.content_length : 0;
}
