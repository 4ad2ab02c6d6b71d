/* Exchanges: their pool, their input buffer, and their end. */
#include "exchange.h"

#include "server.h"

#include <stdlib.h>
#include <string.h>

enum {
  SPARE_EXCHANGES = 128, /* kept for reuse; more are freed */
  FIRST_FIELDS = 32,
};

/* All fields but the memory that is kept for reuse. */
static void clear(dusk__exchange_t *ex) {
  dusk__field_t *fields = ex->req.fields;
  size_t field_capacity = ex->req.field_capacity;
  char *header = ex->res.fields;
  size_t header_capacity = ex->res.fields_capacity;
  char *text = ex->req.text;
  size_t text_capacity = ex->req.text_capacity;
  memset(&ex->req, 0, sizeof(ex->req));
  ex->req.text = text;
  ex->req.text_capacity = text_capacity;
  ex->req.fields = fields;
  ex->req.field_capacity = field_capacity;
  ex->req.host_field = -1;
  ex->req.body = DUSK__BODY_ENDED;
  memset(&ex->res, 0, sizeof(ex->res));
  ex->res.fields = header;
  ex->res.fields_capacity = header_capacity;
  ex->res.declared_length = DUSK_OFF;
  ex->stage = DUSK__STAGE_HEADER;
  ex->refusal = 0;
  ex->begun = ex->in_handler = ex->finished = false;
}

static dusk__exchange_t *new_exchange(dusk_server_t *server) {
  dusk__exchange_t *ex = calloc(1, sizeof(*ex));
  if (ex == NULL) return NULL;
  ex->server = server;
  dusk__list_init(&ex->turn_link);
  ex->capacity = DUSK__BUFFER_BYTES;
  ex->buffer = malloc(ex->capacity);
  ex->req.field_capacity = FIRST_FIELDS;
  ex->req.fields = malloc(FIRST_FIELDS * sizeof(*ex->req.fields));
  if (ex->buffer == NULL || ex->req.fields == NULL) {
    dusk__ex_free(ex);
    return NULL;
  }
  return ex;
}

dusk__exchange_t *dusk__ex_take(dusk_server_t *server) {
  dusk__exchange_t *ex = server->spares;
  if (ex) {
    server->spares = ex->next_spare;
    server->spare_count--;
  } else {
    ex = new_exchange(server);
    if (ex == NULL) return NULL;
  }
  clear(ex);
  ex->conn = NULL;
  ex->start = ex->parsed = ex->filled = ex->body_at = 0;
  return ex;
}

void dusk__ex_give(dusk__exchange_t *ex) {
  dusk_server_t *server = ex->server;
  /* One that has grown is freed: large headers are rare. */
  if (server->spare_count == SPARE_EXCHANGES ||
      ex->capacity > DUSK__BUFFER_BYTES) {
    dusk__ex_free(ex);
    return;
  }
  dusk__list_remove(&ex->turn_link);
  ex->next_spare = server->spares;
  server->spares = ex;
  server->spare_count++;
}

void dusk__ex_free(dusk__exchange_t *ex) {
  if (ex == NULL) return;
  dusk__list_remove(&ex->turn_link);
  free(ex->buffer);
  free(ex->req.fields);
  free(ex->req.text);
  free(ex->res.fields);
  free(ex);
}

void dusk__ex_next_message(dusk__exchange_t *ex) {
  clear(ex);
  ex->start = ex->parsed;
}

/* While a handler has pointers into the header, only the room behind it may be
 * used anew, and what of a trailer was parsed must stay whole. */
static bool make_body_room(dusk__exchange_t *ex) {
  dusk_request_t *req = &ex->req;
  size_t keep = ex->parsed;
  if (req->field_count > req->trailer_first)
    keep = ex->start + req->fields[req->trailer_first].name;
  else if (req->in_trailer)
    keep--; /* its end is looked at again */
  if (!req->complete && keep > ex->body_at &&
      (keep == ex->filled || ex->filled == ex->capacity)) {
    size_t shift = keep - ex->body_at;
    memmove(ex->buffer + ex->body_at, ex->buffer + keep, ex->filled - keep);
    ex->parsed -= shift;
    ex->filled -= shift;
    for (size_t i = req->trailer_first; i < req->field_count; i++) {
      req->fields[i].name -= (uint32_t)shift;
      req->fields[i].value -= (uint32_t)shift;
    }
  }
  return ex->filled < ex->capacity;
}

bool dusk__ex_make_room(dusk__exchange_t *ex) {
  if (ex->stage == DUSK__STAGE_HANDLING) return make_body_room(ex);
  if (ex->start > 0 && ex->filled == ex->capacity) {
    memmove(ex->buffer, ex->buffer + ex->start, ex->filled - ex->start);
    ex->parsed -= ex->start;
    ex->filled -= ex->start;
    ex->start = 0;
  }
  if (ex->filled < ex->capacity) return true;
  /* It grows only for a header that is not complete, never for what waits
   * behind the answer of the last request. */
  return ex->parsed == ex->filled && dusk__ex_grow(ex, ex->capacity * 2);
}

bool dusk__ex_grow(dusk__exchange_t *ex, size_t capacity) {
  char *larger = realloc(ex->buffer, capacity);
  if (larger == NULL) return false;
  ex->buffer = larger;
  ex->capacity = capacity;
  return true;
}

int dusk__ex_header_too_large(const dusk__exchange_t *ex) {
  uint64_t limit = ex->server->config.max_header_bytes;
  bool is_complete = ex->stage != DUSK__STAGE_HEADER;
  size_t len = (is_complete ? ex->parsed : ex->filled) - ex->start;
  if (len <= limit) return 0;
  bool has_request_line =
      memchr(ex->buffer + ex->start, '\n', (size_t)limit) != NULL;
  return has_request_line ? 431 : 414;
}

void dusk__ex_end_contexts(dusk__exchange_t *ex, const dusk_cause_t *cause) {
  dusk_request_t *req = &ex->req;
  if (req->ctx) dusk_context_cancel(req->ctx, cause);
  if (req->timed && dusk_waiter_stop(&req->timeout)) req->timed = false;
}

void dusk__ex_count_end(dusk__exchange_t *ex, dusk__ending_t ending) {
  if (!ex->begun) return;
  ex->begun = false;
  dusk__drain_request_ended(ex->server, ending);
}

void dusk__ex_finish(dusk__exchange_t *ex) {
  dusk_request_t *req = &ex->req;
  dusk_response_t *res = &ex->res;
  const dusk_server_config_t *config = &ex->server->config;
  if (ex->finished) return;
  ex->finished = true; /* what is called below may cut the connection */
  dusk__ex_end_contexts(ex, &dusk_response_ended);
  if (config->on_request_end &&
      (ex->stage == DUSK__STAGE_HANDLING || res->refused)) {
    dusk_request_end_t end = {
        .status = res->header_sent ? res->status : 0,
        .body_bytes = res->framing == DUSK__FRAMED_EMPTY ? 0 : res->body_bytes,
        .duration_ms = dusk__fresh_ms(ex->server) - req->begun_ms,
        .err = res->err,
    };
    config->on_request_end(req, &end, config->on_request_end_arg);
  }
  dusk_context_unref(req->ctx);
  free(req->collected);
  free(req->peer);
  req->ctx = NULL;
  req->collected = req->peer = NULL;
}

/* Whatever waits for the connection is told that it has gone. */
static void tell_cut(dusk__exchange_t *ex) {
  dusk_request_t *req = &ex->req;
  dusk_response_t *res = &ex->res;
  ex->in_handler = true; /* the callbacks may end it: released after them */
  if (req->body_cb && req->body != DUSK__BODY_ENDED && !res->ended) {
    req->body = DUSK__BODY_ENDED;
    req->body_cb(req, res->cut_err, NULL, req->body_arg);
  }
  dusk_drained_cb drained = res->drained_cb;
  res->drained_cb = NULL;
  if (drained && !res->ended) drained(res, res->drained_arg);
  ex->in_handler = false;
}

void dusk__ex_orphan(dusk__exchange_t *ex, const dusk_cause_t *cause, int err) {
  ex->conn = NULL;
  bool whole = ex->res.refused || ex->res.hijacked ||
               (ex->res.ended && cause == &dusk_response_ended);
  if (ex->res.err == 0 && !whole) ex->res.err = err;
  ex->res.cut_err = err;
  dusk__server_ref(ex->server);
  dusk__ex_end_contexts(ex, cause);
  if (ex->stage != DUSK__STAGE_HANDLING) ex->res.ended = true;
  if (ex->res.ended)
    dusk__ex_release(ex);
  else /* not now: one of its callbacks may be on the stack */
    dusk__server_defer(ex->server, ex);
}

void dusk__ex_release(dusk__exchange_t *ex) {
  if (ex->in_handler || ex->parsing) return; /* again when they return */
  dusk_server_t *server = ex->server;
  dusk__ex_finish(ex);
  dusk__ex_give(ex);
  dusk__server_release(server);
}

void dusk__ex_on_turn(dusk__exchange_t *ex) {
  if (ex->conn) {
    dusk__conn_run(ex->conn);
    return;
  }
  tell_cut(ex);
  if (ex->res.ended) dusk__ex_release(ex);
}
