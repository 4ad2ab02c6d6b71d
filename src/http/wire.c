/* A connection as its users see it: what they can ask of it, and what they are
 * told. */
#include "contexts.h"

#include <dusk/conn.h>

#include <assert.h>
#include <string.h>

static const dusk__wire_t *wire_of(const dusk_conn_t *conn) {
  const dusk__wire_t *wire = (const dusk__wire_t *)conn;
  assert(dusk__worker_on_thread(dusk__stream_worker(&wire->stream)) &&
         "not on the loop's thread");
  return wire;
}

static dusk_conn_t *conn_of(dusk__wire_t *wire) {
  return (dusk_conn_t *)wire;
}

dusk_conn_t *dusk_request_conn(const dusk_request_t *handle) {
  const dusk__exchange_t *ex = dusk__ex_of_request(handle);
  return ex && ex->wire ? conn_of(ex->wire) : NULL;
}

static int put_address(const struct sockaddr *address, char *buf, size_t size) {
  char text[DUSK__ADDRESS_TEXT_BYTES];
  dusk__address_text(address, text, sizeof(text));
  size_t len = strlen(text);
  if (len >= size) return UV_ENOBUFS;
  memcpy(buf, text, len + 1);
  return (int)len;
}

int dusk_conn_peer(const dusk_conn_t *conn, char *buf, size_t size) {
  if (conn == NULL || buf == NULL) return UV_EINVAL;
  return put_address(&wire_of(conn)->address.any, buf, size);
}

int dusk_conn_local(const dusk_conn_t *conn, char *buf, size_t size) {
  if (conn == NULL || buf == NULL) return UV_EINVAL;
  dusk__address_t address;
  int err = dusk__stream_local(&wire_of(conn)->stream, &address);
  return err < 0 ? err : put_address(&address.any, buf, size);
}

dusk_context_t *dusk_conn_context(dusk_conn_t *conn) {
  return conn ? dusk__contexts_of_wire((dusk__wire_t *)wire_of(conn)) : NULL;
}

const char *dusk_conn_state_text(dusk_conn_state_t state) {
  static const char *const texts[] = {"new", "active", "idle", "hijacked",
                                      "closed"};
  bool is_known = (size_t)state < sizeof(texts) / sizeof(*texts);
  return is_known ? texts[state] : "unknown";
}

void dusk__wire_tell(dusk__wire_t *wire, dusk_conn_state_t state) {
  const dusk_server_config_t *config =
      dusk__stream_worker(&wire->stream)->config;
  config->on_conn_state(conn_of(wire), state, config->on_conn_state_arg);
}

int dusk__wire_begin(dusk__wire_t *wire) {
  dusk__worker_t *worker = dusk__stream_worker(&wire->stream);
  const dusk_server_config_t *config = worker->config;
  dusk_context_t *given = config->on_conn_context(conn_of(wire), worker->ctx,
                                                  config->on_conn_context_arg);
  if (given == NULL) return UV_ENOMEM;
  int err = dusk__contexts_give(wire, given);
  dusk_context_unref(given);
  return err;
}
