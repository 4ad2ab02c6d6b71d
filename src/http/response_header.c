/* What a handler sets of a response before it is written: the status, the
 * fields, and who is told when they go out. */
#include "chars.h"
#include "exchange.h"
#include "h1_compose.h"

#include <string.h>

int dusk_response_status(dusk_response_t *handle, int status) {
  dusk__exchange_t *ex = dusk__ex_of_response(handle);
  if (ex == NULL) return UV_ECANCELED;
  if (status < 200 || status > 999) return UV_EINVAL;
  if (ex->res.header_sent) return DUSK_EHEADERSENT;
  ex->res.status = status;
  return 0;
}

int dusk_response_get_status(const dusk_response_t *handle) {
  const dusk__exchange_t *ex = dusk__ex_of_response(handle);
  return ex ? ex->res.status : 0;
}

int dusk_response_on_header(dusk_response_t *handle, dusk_header_cb cb,
                            void *arg) {
  dusk__exchange_t *ex = dusk__ex_of_response(handle);
  if (cb == NULL) return UV_EINVAL;
  if (ex == NULL) return UV_ECANCELED;
  if (ex->res.header_sent) return DUSK_EHEADERSENT;
  dusk__header_hook_t *hook = dusk__arena_alloc(&ex->arena, sizeof(*hook));
  if (hook == NULL) return UV_ENOMEM;
  *hook = (dusk__header_hook_t){ex->seldom.header_hooks, cb, arg};
  dusk__ex_seldom(ex)->header_hooks = hook;
  return 0;
}

static bool is_name(const char *name, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (!dusk__is_token_char(name[i])) return false;
  return len > 0;
}

static bool is_value(const char *value, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (!dusk__is_text_char(value[i])) return false;
  return true;
}

static int declare_length(dusk__response_t *res, const char *value) {
  uint64_t length = 0;
  if (*value == '\0') return UV_EINVAL;
  for (; *value; value++) {
    unsigned digit = (unsigned)(*value - '0');
    if (digit > 9 || length > ((uint64_t)INT64_MAX - digit) / 10)
      return UV_EINVAL;
    length = length * 10 + digit;
  }
  res->declared_length = length;
  return 0;
}

/* The few that are the server's business, too. */
typedef enum owned {
  NOT_OWNED,
  OWNED_DATE,
  OWNED_LENGTH,
  OWNED_ENCODING,
  OWNED_CONNECTION,
  OWNED_TYPE,
} owned_t;

static owned_t owner_of(const char *name, size_t len) {
  switch (len) {
  case 4:
    return dusk__is_name(name, "date", 4) ? OWNED_DATE : NOT_OWNED;
  case 10:
    return dusk__is_name(name, "connection", 10) ? OWNED_CONNECTION : NOT_OWNED;
  case 12:
    return dusk__is_name(name, "content-type", 12) ? OWNED_TYPE : NOT_OWNED;
  case 14:
    return dusk__is_name(name, "content-length", 14) ? OWNED_LENGTH : NOT_OWNED;
  case 17:
    return dusk__is_name(name, "transfer-encoding", 17) ? OWNED_ENCODING
                                                        : NOT_OWNED;
  default:
    return NOT_OWNED;
  }
}

/* Adds one, in the place of those of its name if it `replaces` them. */
static int add(dusk_response_t *handle, const char *name, const char *value,
               bool replaces) {
  dusk__exchange_t *ex = dusk__ex_of_response(handle);
  if (ex == NULL) return UV_ECANCELED;
  if (name == NULL || value == NULL) return UV_EINVAL;
  dusk__response_t *res = &ex->res;
  size_t len = strlen(name);
  size_t value_len = strlen(value);
  if (!is_name(name, len) || !is_value(value, value_len)) return UV_EINVAL;
  if (res->header_sent) return DUSK_EHEADERSENT;
  owned_t owned = owner_of(name, len);
  if (owned == OWNED_ENCODING) return UV_EINVAL;
  if (owned == OWNED_LENGTH) return declare_length(res, value);
  size_t before = res->fields.len;
  int err = dusk__h1_fields_add(&res->fields, name, len, value, value_len);
  if (err < 0) return err;
  if (owned == OWNED_CONNECTION) res->has_connection = true;
  if (owned == OWNED_DATE) res->has_date = true;
  if (replaces || owned == OWNED_DATE)
    dusk__h1_fields_remove(&res->fields, name, len, before);
  return 0;
}

int dusk_response_set_header(dusk_response_t *handle, const char *name,
                             const char *value) {
  return add(handle, name, value, true);
}

int dusk_response_add_header(dusk_response_t *handle, const char *name,
                             const char *value) {
  return add(handle, name, value, false);
}

int dusk_response_remove_header(dusk_response_t *handle, const char *name) {
  dusk__exchange_t *ex = dusk__ex_of_response(handle);
  if (ex == NULL) return UV_ECANCELED;
  if (name == NULL) return UV_EINVAL;
  dusk__response_t *res = &ex->res;
  size_t len = strlen(name);
  if (!is_name(name, len)) return UV_EINVAL;
  if (res->header_sent) return DUSK_EHEADERSENT;
  owned_t owned = owner_of(name, len);
  if (owned == OWNED_LENGTH) res->declared_length = DUSK_OFF;
  if (owned == OWNED_CONNECTION) res->has_connection = false;
  if (owned == OWNED_DATE) res->has_date = false;
  if (owned == OWNED_TYPE) res->type = (dusk__h1_type_t){NULL, 0};
  dusk__h1_fields_remove(&res->fields, name, len, res->fields.len);
  return 0;
}

const char *dusk_response_get_header(dusk_response_t *handle,
                                     const char *name) {
  dusk__exchange_t *ex = dusk__ex_of_response(handle);
  if (ex == NULL || name == NULL) return NULL;
  dusk__response_t *res = &ex->res;
  size_t len = strlen(name);
  owned_t owned = owner_of(name, len);
  if (owned == OWNED_LENGTH) {
    if (res->declared_length == DUSK_OFF) return NULL;
    *dusk__h1_put_number(ex->length_text, res->declared_length) = '\0';
    return ex->length_text;
  }
  const char *value = dusk__h1_fields_get(&res->fields, name, len);
  return value || owned != OWNED_TYPE ? value : res->type.text;
}
