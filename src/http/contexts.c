#include "contexts.h"

static dusk_context_t *of_wire(dusk__wire_t *wire) {
  if (wire->ctx == NULL &&
      dusk_context_with_cancel(dusk__stream_worker(&wire->stream)->ctx,
                               &wire->ctx) < 0)
    return NULL;
  return wire->ctx;
}

static int make(dusk__exchange_t *ex) {
  uint64_t timeout_ms = ex->worker->config->request_timeout_ms;
  dusk_context_t *parent = of_wire(ex->wire);
  if (parent == NULL) return UV_ENOMEM;
  if (timeout_ms == DUSK_OFF)
    return dusk_context_with_cancel(parent, &ex->req.ctx);
  return dusk_context_with_timeout(parent, timeout_ms, &dusk_timed_out,
                                   &ex->req.ctx);
}

dusk_context_t *dusk__contexts_of_request(dusk__exchange_t *ex) {
  dusk__request_t *req = &ex->req;
  if (req->ctx) return req->ctx;
  if (ex->wire == NULL) return ex->worker->gone;
  if (make(ex) < 0) return NULL;
  if (ex->wire->stream.has_ended)
    dusk_context_cancel(req->ctx, &dusk_client_gone);
  if (ex->res.ended) dusk_context_cancel(req->ctx, &dusk_response_ended);
  return req->ctx;
}

bool dusk__contexts_begin_timeout(dusk__exchange_t *ex, dusk_waiter_cb cb) {
  if (ex->worker->config->request_timeout_ms == DUSK_OFF) return true;
  dusk_context_t *ctx = dusk__contexts_of_request(ex);
  if (ctx == NULL) return false;
  dusk_context_after(ctx, &ex->req.timeout, ex->worker->root, cb);
  ex->req.timed = true;
  return true;
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
