/* Exchanges: their pool, and their end.
 *
 * A handle that a user kept may be read at any time, so an exchange is never
 * freed before its server, only what hangs on it: of a burst some 700 bytes
 * stay for each request that ran at its height. Under AddressSanitizer it is
 * freed at once, so that it can tell who used it, and who had ended it. */
#include "exchange.h"

#include "h1_parse.h"

#include <stdlib.h>
#include <string.h>

#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
enum { IS_POOLED = false };
#else
enum { IS_POOLED = true };
#endif

enum { SPARE_EXCHANGES = 128 }; /* kept with their buffers; more lose them */

/* A pointer with the next generation: the carry runs over the address. */
static void retire_handle(dusk__exchange_t *ex) {
  uintptr_t next = (ex->handle | ~DUSK__GENERATION_BITS) + 1;
  ex->handle = (uintptr_t)ex | (next & DUSK__GENERATION_BITS);
}

/* All but what is kept for reuse, in pieces that cost a few stores each. */
static void clear(dusk__exchange_t *ex) {
  enum {
    KEPT_REQUEST = offsetof(dusk__request_t, body_state),
    KEPT_RESPONSE = offsetof(dusk__response_t, declared_length),
  };
  memset((char *)&ex->req + KEPT_REQUEST, 0, sizeof(ex->req) - KEPT_REQUEST);
  memset((char *)&ex->res + KEPT_RESPONSE, 0, sizeof(ex->res) - KEPT_RESPONSE);
  ex->req.body_state = DUSK__BODY_ENDED;
  ex->res.fields = (dusk__h1_fields_t){.arena = &ex->arena};
  dusk__arena_reset(&ex->arena);
  if (ex->has_seldom) memset(&ex->seldom, 0, sizeof(ex->seldom));
  ex->has_seldom = false;
  ex->res.declared_length = DUSK_OFF;
  ex->stage = DUSK__STAGE_HEADER;
  ex->cause = NULL;
  ex->begun = ex->finished = ex->end_told = ex->cut_told = false;
  ex->is_overdue = false;
}

#ifndef NDEBUG
/* As clear leaves it: those in the pool are. */
static bool is_blank(const dusk__exchange_t *ex) {
  return ex->stage == DUSK__STAGE_HEADER && ex->h1.defect == 0 && !ex->begun &&
         !ex->finished && ex->h1.field_count == 0 && ex->req.ctx == NULL &&
         ex->req.given_ctx == NULL && !ex->has_seldom &&
         ex->h1.version_minor == -1 && ex->res.status == 0 &&
         ex->res.fields.len == 0 && !ex->res.ended;
}
#endif

/* What hangs on it. */
static void free_buffers(dusk__exchange_t *ex) {
  dusk__h1_free_buffers(&ex->h1);
  dusk__arena_free(&ex->arena);
}

static void free_one(dusk__exchange_t *ex) {
  free_buffers(ex);
  free(ex);
}

static void on_turn(dusk__task_t *task);

static dusk__exchange_t *new_exchange(dusk__worker_t *worker) {
  dusk__exchange_t *ex = calloc(1, sizeof(*ex));
  if (ex == NULL) return NULL;
  ex->worker = worker;
  ex->task.run = on_turn;
  ex->handle = (uintptr_t)ex;
  assert((ex->handle & DUSK__GENERATION_BITS) == 0);
  dusk__list_init(&ex->task.link);
  dusk__list_init(&ex->held_link);
  const dusk_server_config_t *config = worker->config;
  dusk__h1_init(&ex->h1, &(dusk__h1_limits_t){
                             .header_bytes = config->max_header_bytes,
                             .header_count = config->max_header_count,
                             .body_bytes = config->max_body_bytes,
                         });
  clear(ex);
  return ex;
}

/* From one of the pool's lists. */
static dusk__exchange_t *take_first(dusk__link_t *spares) {
  if (dusk__list_empty(spares)) return NULL;
  dusk__exchange_t *ex = DUSK__OWNER(spares->next, dusk__exchange_t, task.link);
  dusk__list_remove(&ex->task.link);
  return ex;
}

/* The one that was used last is the one in the processor's cache; but with few
 * generations a handle lives longest if the oldest comes first. */
static void put_back(dusk__link_t *spares, dusk__exchange_t *ex) {
  dusk__link_t *at = DUSK__HIGH_BITS != 0 ? spares : spares->prev;
  dusk__list_insert_after(at, &ex->task.link);
}

dusk__exchange_t *dusk__ex_take(dusk__worker_t *worker) {
  dusk__pool_t *pool = worker->pool;
  dusk__exchange_t *ex = take_first(&pool->spares);
  if (ex) {
    assert(pool->spare_count > 0);
    pool->spare_count--;
  } else {
    ex = take_first(&pool->bare);
    if (ex == NULL) ex = new_exchange(worker);
    if (ex == NULL) return NULL;
    if (!dusk__h1_make_buffers(&ex->h1)) {
      put_back(&pool->bare, ex);
      return NULL;
    }
  }
  assert(is_blank(ex));
  ex->wire = NULL;
  dusk__h1_start(&ex->h1);
  return ex;
}

void dusk__ex_give(dusk__exchange_t *ex) {
  dusk__pool_t *pool = ex->worker->pool;
  assert(ex->callbacks == 0 && is_blank(ex));
  if (dusk__list_linked(&ex->task.link)) dusk__list_remove(&ex->task.link);
  if (!IS_POOLED) {
    free_one(ex);
    return;
  }
  if (pool->spare_count < SPARE_EXCHANGES && dusk__h1_trim_buffers(&ex->h1)) {
    put_back(&pool->spares, ex);
    pool->spare_count++;
  } else {
    free_buffers(ex);
    put_back(&pool->bare, ex);
  }
}

static void free_list(dusk__link_t *spares) {
  dusk__exchange_t *ex;
  while ((ex = take_first(spares)) != NULL)
    free_one(ex);
}

void dusk__pool_init(dusk__pool_t *pool, void (*go_on)(dusk__exchange_t *ex)) {
  pool->go_on = go_on;
  dusk__list_init(&pool->spares);
  dusk__list_init(&pool->bare);
  dusk__list_init(&pool->held);
}

void dusk__pool_done(dusk__pool_t *pool) {
  assert(dusk__list_empty(&pool->held));
  if (pool->next) dusk__ex_give(pool->next);
  free_list(&pool->spares);
  free_list(&pool->bare);
}

void dusk__ex_next_message(dusk__exchange_t *ex) {
  assert(ex->res.ended && ex->finished && ex->callbacks == 0);
  dusk__h1_next_message(&ex->h1);
  clear(ex);
}

void dusk__ex_end_contexts(dusk__exchange_t *ex, const dusk_cause_t *cause) {
  dusk__request_t *req = &ex->req;
  if (req->ctx) dusk_context_cancel(req->ctx, cause);
  if (req->timed && dusk_waiter_stop(&req->timeout)) req->timed = false;
}

void dusk__ex_begin(dusk__exchange_t *ex) {
  assert(ex->wire && !ex->begun);
  ex->begun = true;
  ex->req.begun_ms = dusk__now_ms(ex->worker);
}

void dusk__ex_count_end(dusk__exchange_t *ex, dusk__ending_t ending) {
  if (!ex->begun) return;
  ex->begun = false;
  dusk__census_request_ended(ex->worker->census, ending);
}

void dusk__ex_note_ended(dusk__exchange_t *ex) {
  assert(!ex->res.ended);
  ex->res.ended = true;
}

void dusk__ex_timed_out(dusk__exchange_t *ex) {
  ex->cause = &dusk_timed_out;
}

const char *dusk__ex_copy(dusk__exchange_t *ex, const char *text, size_t len) {
  char *copy = dusk__arena_alloc(&ex->arena, len + 1);
  if (copy == NULL) return NULL;
  memcpy(copy, text, len);
  copy[len] = '\0';
  return copy;
}

const char *dusk__ex_peer(dusk__exchange_t *ex) {
  if (ex->seldom.peer) return ex->seldom.peer;
  if (ex->wire == NULL) return "";
  char text[DUSK__ADDRESS_TEXT_BYTES];
  dusk__address_text(&ex->wire->address.any, text, sizeof(text));
  dusk__ex_seldom(ex)->peer = dusk__ex_copy(ex, text, strlen(text));
  return ex->seldom.peer ? ex->seldom.peer : "";
}

static bool has_audience(const dusk__exchange_t *ex) {
  return ex->worker->config->on_request_end || ex->seldom.end_hooks;
}

void dusk__ex_note_peer(dusk__exchange_t *ex) {
  if (ex->begun && has_audience(ex)) dusk__ex_peer(ex);
}

/* Once, and also for what was refused before a handler had it. */
static void tell_end(dusk__exchange_t *ex) {
  dusk__response_t *res = &ex->res;
  const dusk_server_config_t *config = ex->worker->config;
  bool was_request = ex->stage == DUSK__STAGE_HANDLING || res->refused;
  if (ex->end_told || !was_request) return;
  ex->end_told = true;
  dusk_request_end_t end = {
      .status = res->header_sent ? res->status : 0,
      .body_bytes = res->framing == DUSK__FRAMED_EMPTY ? 0 : res->body_bytes,
      .duration_ms = dusk__fresh_ms(ex->worker) - ex->req.begun_ms,
      .err = res->err,
      .cause = ex->cause ? ex->cause : &dusk_response_ended,
  };
  while (ex->seldom.end_hooks) {
    dusk__end_hook_t hook = *ex->seldom.end_hooks;
    ex->seldom.end_hooks = hook.next;
    hook.cb(dusk__ex_request(ex), &end, hook.arg);
  }
  if (config->on_request_end)
    config->on_request_end(dusk__ex_request(ex), &end,
                           config->on_request_end_arg);
}

static void release_values(dusk__seldom_t *seldom) {
  while (seldom->values) {
    dusk__value_t value = *seldom->values;
    seldom->values = value.next;
    if (value.release) value.release(value.value);
  }
}

void dusk__ex_finish(dusk__exchange_t *ex) {
  dusk__request_t *req = &ex->req;
  if (ex->finished) return;
  ex->finished = true; /* what is called below may cut the connection */
  if (ex->seldom.body_left) ex->seldom.body_left(req->body_arg);
  dusk__ex_end_contexts(ex, ex->cause ? ex->cause : &dusk_response_ended);
  ex->callbacks++;
  if (has_audience(ex)) tell_end(ex);
  ex->callbacks--;
  if (ex->seldom.values) release_values(&ex->seldom);
  dusk_context_unref(req->given_ctx);
  dusk_context_unref(req->ctx);
  req->ctx = req->given_ctx = NULL;
  req->collected = NULL;
  retire_handle(ex);
}

/* -- Without a connection -------------------------------------------------- */

/* Whatever waits for the connection is told that it has gone. */
static void tell_gone(dusk__exchange_t *ex) {
  dusk__request_t *req = &ex->req;
  dusk__response_t *res = &ex->res;
  dusk__ex_enter(ex); /* the callbacks may end it */
  if (req->body_cb && req->body_state != DUSK__BODY_ENDED && !res->ended) {
    req->body_state = DUSK__BODY_ENDED;
    req->body_cb(dusk__ex_request(ex), res->cut_err, NULL, req->body_arg);
  }
  dusk_drained_cb drained = res->drained_cb;
  res->drained_cb = NULL;
  if (drained && !res->ended) drained(dusk__ex_response(ex), res->drained_arg);
  dusk__ex_leave(ex);
}

/* Its handler has it alone from now on. */
static void hold(dusk__exchange_t *ex) {
  dusk__list_append(&ex->worker->pool->held, &ex->held_link);
  dusk__count(&ex->worker->census->held_begun, 1);
  /* Not now: one of its callbacks may be on the stack. */
  dusk__ex_defer(ex);
  if (!ex->res.refused || !has_audience(ex)) return;
  dusk__ex_enter(ex);
  tell_end(ex); /* the reply was the server's, and is out */
  dusk__ex_leave(ex);
}

void dusk__ex_orphan(dusk__exchange_t *ex, const dusk_cause_t *cause, int err) {
  dusk__response_t *res = &ex->res;
  assert(ex->wire);
  ex->wire = NULL;
  if (ex->cause == NULL) ex->cause = cause;
  bool whole = res->refused || res->hijacked ||
               (res->ended && cause == &dusk_response_ended);
  if (res->err == 0 && !whole)
    res->err = ex->cause == &dusk_timed_out ? UV_ETIMEDOUT : err;
  res->cut_err = err;
  dusk__worker_ref(ex->worker);
  dusk__ex_end_contexts(ex, ex->cause);
  if (ex->stage != DUSK__STAGE_HANDLING && !res->ended) dusk__ex_note_ended(ex);
  if (res->ended)
    dusk__ex_release(ex);
  else
    hold(ex);
}

void dusk__ex_release(dusk__exchange_t *ex) {
  assert(ex->wire == NULL && ex->res.ended);
  if (ex->callbacks > 0) return; /* again when they return */
  dusk__worker_t *worker = ex->worker;
  dusk__ex_finish(ex);
  if (dusk__list_linked(&ex->held_link)) {
    dusk__list_remove(&ex->held_link);
    dusk__count(&worker->census->held_ended, 1);
  }
  assert(!ex->begun);
  dusk__h1_clear(&ex->h1);
  clear(ex);
  dusk__ex_give(ex);
  dusk__worker_release(worker);
}

static void on_turn(dusk__task_t *task) {
  dusk__exchange_t *ex = DUSK__OWNER(task, dusk__exchange_t, task);
  if (ex->wire)
    dusk__ex_go_on(ex);
  else
    tell_gone(ex);
}

void dusk__ex_defer(dusk__exchange_t *ex) {
  dusk__worker_at_turn(ex->worker, &ex->task);
}

void dusk__ex_tell_cut(dusk__exchange_t *ex) {
  const dusk_server_config_t *config = ex->worker->config;
  if (config->on_request_cut == NULL || ex->cut_told || ex->res.ended ||
      ex->is_hooked || ex->stage != DUSK__STAGE_HANDLING)
    return;
  ex->cut_told = true;
  dusk__ex_enter(ex);
  config->on_request_cut(dusk__ex_request(ex),
                         dusk__now_ms(ex->worker) - ex->req.begun_ms,
                         config->on_request_cut_arg);
  dusk__ex_leave(ex);
}

void dusk__ex_tell_held(dusk__worker_t *worker) {
  dusk__link_t held; /* a callback may end any of them */
  dusk__list_move(&held, &worker->pool->held);
  while (!dusk__list_empty(&held)) {
    dusk__exchange_t *ex = DUSK__OWNER(held.next, dusk__exchange_t, held_link);
    dusk__list_remove(&ex->held_link);
    dusk__list_append(&worker->pool->held, &ex->held_link);
    dusk__ex_tell_cut(ex);
  }
}
