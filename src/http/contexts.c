#include "contexts.h"

int dusk__contexts_give(dusk__wire_t *wire, dusk_context_t *parent) {
  assert(wire->ctx == NULL);
  return dusk_context_with_cancel(parent, &wire->ctx);
}

dusk_context_t *dusk__contexts_of_wire(dusk__wire_t *wire) {
  dusk_context_t *parent = dusk__stream_worker(&wire->stream)->ctx;
  if (wire->ctx) return wire->ctx;
  if (dusk__contexts_give(wire, parent) < 0) return NULL;
  if (wire->stream.has_ended) dusk__contexts_client_gone(wire);
  return wire->ctx;
}

static dusk_context_t *make(dusk__exchange_t *ex, uint64_t deadline_ns) {
  dusk__request_t *req = &ex->req;
  dusk_context_t *parent = dusk__contexts_of_wire(ex->wire);
  if (parent == NULL) return NULL;
  /* One without a deadline may be given one later. */
  if (dusk_context_with_deadline(parent, deadline_ns, &dusk_timed_out,
                                 &req->ctx) < 0)
    return NULL;
  if (ex->res.ended) dusk_context_cancel(req->ctx, &dusk_response_ended);
  return req->ctx;
}

dusk_context_t *dusk__contexts_of_request(dusk__exchange_t *ex) {
  dusk__request_t *req = &ex->req;
  req->has_shown_ctx = true;
  if (req->ctx) return req->ctx;
  return ex->wire ? make(ex, DUSK_OFF) : ex->worker->gone;
}

static uint64_t deadline_of(uint64_t timeout_ms) {
  uint64_t now_ns = uv_hrtime();
  bool is_far = timeout_ms > (DUSK_OFF - now_ns) / DUSK__NS_PER_MS;
  return is_far ? DUSK_OFF : now_ns + timeout_ms * DUSK__NS_PER_MS;
}

/* A context's deadline only comes nearer. */
static int bring_forward(dusk__exchange_t *ex, uint64_t deadline_ns) {
  if (ex->req.ctx) return dusk_context_bring_forward(ex->req.ctx, deadline_ns);
  return make(ex, deadline_ns) ? 0 : UV_ENOMEM;
}

/* So one that nobody has seen is made anew for a later one. */
static int put_off(dusk__exchange_t *ex, uint64_t deadline_ns) {
  dusk__request_t *req = &ex->req;
  dusk_context_t *old = req->ctx;
  if (req->has_shown_ctx) return UV_EBUSY;
  req->ctx = NULL;
  if (deadline_ns != DUSK_OFF && make(ex, deadline_ns) == NULL) {
    req->ctx = old;
    return UV_ENOMEM;
  }
  if (req->timed && dusk_waiter_stop(&req->timeout)) req->timed = false;
  dusk_context_cancel(old, NULL);
  dusk_context_unref(old);
  return 0;
}

int dusk__contexts_set_timeout(dusk__exchange_t *ex, uint64_t timeout_ms,
                               dusk_waiter_cb cb) {
  dusk__request_t *req = &ex->req;
  uint64_t deadline_ns = deadline_of(timeout_ms);
  uint64_t own_ns = req->deadline_ns ? req->deadline_ns : DUSK_OFF;
  int err = 0;
  if (deadline_ns > own_ns)
    err = put_off(ex, deadline_ns);
  else if (deadline_ns != DUSK_OFF)
    err = bring_forward(ex, deadline_ns);
  if (err < 0) return err;
  req->deadline_ns = deadline_ns;
  if (deadline_ns == DUSK_OFF || req->timed) return 0;
  dusk_context_after(req->ctx, &req->timeout, ex->worker->root, cb);
  req->timed = true;
  return 0;
}

void dusk__contexts_client_gone(dusk__wire_t *wire) {
  if (wire->ctx) dusk_context_cancel(wire->ctx, &dusk_client_gone);
}

void dusk__contexts_end(dusk__wire_t *wire, const dusk_cause_t *cause) {
  dusk_context_t *ctx = wire->ctx;
  wire->ctx = NULL;
  dusk_context_cancel(ctx, cause);
  dusk_context_unref(ctx);
}
