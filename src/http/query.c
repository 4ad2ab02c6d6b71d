/* The values of a request's query. */
#include "exchange.h"
#include "values.h"

#include <dusk/query.h>

static dusk__piece_t query_of(dusk_request_t *req) {
  const char *query = dusk_request_query(req);
  return (dusk__piece_t){query, strlen(query)};
}

int dusk_request_query_value(dusk_request_t *req, const char *name, char *buf,
                             size_t size) {
  if (name == NULL || buf == NULL) return UV_EINVAL;
  dusk__piece_t rest = query_of(req);
  dusk__pair_t pair;
  int len = UV_ENOENT;
  while (dusk__pairs_next(&rest, &pair)) {
    if (!dusk__pair_is(&pair, name)) continue;
    len = dusk__decode(pair.value, DUSK__ENCODED_FORM, buf, size);
    if (len != UV_EINVAL) break; /* as in Go: there may be a good one */
  }
  return len;
}

int dusk_percent_decode(const char *text, char *buf, size_t size) {
  if (text == NULL || buf == NULL) return UV_EINVAL;
  dusk__piece_t piece = {text, strlen(text)};
  return dusk__decode(piece, DUSK__ENCODED_PATH, buf, size);
}

const dusk_values_t *dusk_request_query_values(dusk_request_t *req) {
  dusk__exchange_t *ex = dusk__ex_of_request(req);
  if (ex == NULL) return NULL;
  if (ex->seldom.query_values == NULL)
    dusk__ex_seldom(ex)->query_values =
        dusk__values_decode(&ex->arena, query_of(req));
  return ex->seldom.query_values;
}

const char *dusk_request_query_get(dusk_request_t *req, const char *name) {
  return dusk_values_get(dusk_request_query_values(req), name);
}

/* What is told of numbers that can't be asked for. */
static int why_no_values(const dusk_request_t *req) {
  return dusk__ex_of_request(req) ? UV_ENOMEM : UV_ECANCELED;
}

int dusk_request_query_int(dusk_request_t *req, const char *name, int64_t min,
                           int64_t max, int64_t *value) {
  const dusk_values_t *values = dusk_request_query_values(req);
  return values ? dusk_values_int(values, name, min, max, value)
                : why_no_values(req);
}

int dusk_request_query_uint(dusk_request_t *req, const char *name, uint64_t min,
                            uint64_t max, uint64_t *value) {
  const dusk_values_t *values = dusk_request_query_values(req);
  return values ? dusk_values_uint(values, name, min, max, value)
                : why_no_values(req);
}

int dusk_request_query_bool(dusk_request_t *req, const char *name,
                            bool *value) {
  const dusk_values_t *values = dusk_request_query_values(req);
  return values ? dusk_values_bool(values, name, value) : why_no_values(req);
}
