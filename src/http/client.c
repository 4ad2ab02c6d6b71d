/* The bytes of a client, in and out. What has no socket is the mate of a
 * connection's stream: it takes at once, and is fed in the loop's next turn, as
 * a socket would be read.
 *
 *   send ──output──▶ on_pump ──▶ stream, as long as it reads; wanted: again
 *   input ◀──take── stream;      left: it has closed
 */
#include "client.h"

#include "lanes.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

enum { READ_BYTES = 65536 };

static dusk_test_client_t *client_of(void *handle) {
  return DUSK__OWNER(handle, dusk_test_client_t, handle);
}

static void on_closed(uv_handle_t *handle) {
  dusk_test_client_t *client = client_of(handle);
  dusk__list_remove(&client->link);
  dusk__bytes_free(&client->input);
  dusk__bytes_free(&client->output);
  free(client);
}

/* -- By a socket ----------------------------------------------------------- */

static void on_connected(uv_connect_t *connect, int err) {
  dusk_test_client_t *client =
      DUSK__OWNER(connect, dusk_test_client_t, connect);
  client->err = err;
  client->is_connected = err == 0;
}

void dusk__client_call(dusk_test_client_t *client, uv_loop_t *loop,
                       const char *address) {
  struct sockaddr_in addr;
  const char *port = strrchr(address, ':') + 1;
  uv_ip4_addr("127.0.0.1", (int)strtol(port, NULL, 10), &addr);
  uv_tcp_init(loop, &client->handle.tcp); /* 0: makes no socket yet */
  client->err = uv_tcp_connect(&client->connect, &client->handle.tcp,
                               (const struct sockaddr *)&addr, on_connected);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  (void)suggested;
  char *room = dusk__bytes_reserve(&client_of(handle)->input, READ_BYTES);
  *buf = uv_buf_init(room, room ? READ_BYTES : 0);
}

static void on_read(uv_stream_t *handle, ssize_t nread, const uv_buf_t *buf) {
  (void)buf;
  dusk_test_client_t *client = client_of(handle);
  if (nread >= 0) {
    client->input.len += (size_t)nread;
  } else {
    client->err = nread == UV_ENOBUFS ? UV_ENOMEM : (int)nread;
    uv_read_stop(handle);
  }
}

typedef struct sent {
  uv_write_t write;
  char bytes[];
} sent_t;

/* Whether the connection has gone is seen by reading, behind what it gave. */
static void on_sent(uv_write_t *write, int err) {
  (void)err;
  free(DUSK__OWNER(write, sent_t, write));
}

static int send_by_socket(dusk_test_client_t *client, const void *bytes,
                          size_t len) {
  sent_t *sent = malloc(sizeof(*sent) + len);
  if (sent == NULL) return UV_ENOMEM;
  memcpy(sent->bytes, bytes, len);
  uv_buf_t buf = {.base = sent->bytes, .len = len};
  int err = uv_write(&sent->write, (uv_stream_t *)&client->handle.tcp, &buf, 1,
                     on_sent);
  if (err < 0) free(sent);
  return err;
}

/* -- By a mate ------------------------------------------------------------- */

static dusk_test_client_t *client_of_mate(dusk__mate_t *mate) {
  return DUSK__OWNER(mate, dusk_test_client_t, mate);
}

static void on_pump(uv_idle_t *pump) {
  dusk_test_client_t *client = client_of(pump);
  dusk__bytes_t *output = &client->output;
  size_t taken = 1;
  uv_idle_stop(pump); /* until there is more, or more is wanted */
  while (client->stream && client->fed < output->len && taken > 0) {
    taken = dusk__stream_feed(client->stream, output->bytes + client->fed,
                              output->len - client->fed);
    client->fed += taken;
  }
  bool is_empty = client->fed == output->len;
  if (is_empty) client->fed = output->len = 0;
  if (client->stream && is_empty && client->has_left && !client->has_fed_end)
    client->has_fed_end = dusk__stream_feed_end(client->stream);
}

static void start_pump(dusk_test_client_t *client) {
  uv_idle_start(&client->handle.pump, on_pump);
}

static void on_wanted(dusk__mate_t *mate) {
  start_pump(client_of_mate(mate));
}

static int on_take(dusk__mate_t *mate, const uv_buf_t bufs[], unsigned count) {
  dusk_test_client_t *client = client_of_mate(mate);
  size_t before = client->input.len;
  int err = client->has_left ? UV_EPIPE : 0;
  for (unsigned i = 0; i < count && err == 0; i++)
    err = dusk__bytes_add(&client->input, bufs[i].base, bufs[i].len);
  return err < 0 ? err : (int)(client->input.len - before);
}

static void on_left(dusk__mate_t *mate, int err) {
  dusk_test_client_t *client = client_of_mate(mate);
  client->stream = NULL;
  client->err = err;
  if (client->has_left) uv_close(&client->handle.any, on_closed);
}

/* As Go's httptest.NewRequest has it: of a network that is nobody's. */
static dusk__address_t nobodys_address(void) {
  dusk__address_t address = {.in.sin_family = AF_INET};
  address.in.sin_port = htons(1234);
  address.in.sin_addr.s_addr = htonl(0xc0000201); /* 192.0.2.1 */
  return address;
}

int dusk__client_pair(dusk_test_client_t *client, dusk_server_t *server) {
  dusk__worker_t *worker = dusk__server_worker(server);
  if (server->phase >= DUSK_DRAINING) return UV_ECONNREFUSED;
  dusk__conn_t *conn = calloc(1, sizeof(*conn));
  if (conn == NULL) return UV_ENOMEM;
  dusk__address_t address = nobodys_address();
  dusk__conn_init(conn, -1, &address);
  uv_idle_init(worker->loop, &client->handle.pump); /* always 0 */
  client->mate =
      (dusk__mate_t){.take = on_take, .wanted = on_wanted, .left = on_left};
  client->stream = &conn->wire.stream;
  client->stream->mate = &client->mate;
  client->is_connected = true;
  uv_update_time(worker->loop);
  dusk__census_accept(worker->census);
  dusk__conn_begin(conn, worker);
  return 0;
}

static int send_by_mate(dusk_test_client_t *client, const void *bytes,
                        size_t len) {
  if (client->stream == NULL) return UV_EPIPE;
  int err = dusk__bytes_add(&client->output, bytes, len);
  if (err == 0) start_pump(client);
  return err;
}

/* -- By either ------------------------------------------------------------- */

static bool has_socket(const dusk_test_client_t *client) {
  return client->handle.any.type == UV_TCP;
}

int dusk__client_send(dusk_test_client_t *client, const void *bytes,
                      size_t len) {
  return has_socket(client) ? send_by_socket(client, bytes, len)
                            : send_by_mate(client, bytes, len);
}

void dusk__client_read(dusk_test_client_t *client, bool on) {
  if (!has_socket(client) || client->err < 0) return;
  uv_stream_t *handle = (uv_stream_t *)&client->handle.tcp;
  if (on)
    uv_read_start(handle, on_alloc, on_read);
  else
    uv_read_stop(handle);
}

void dusk__client_leave(dusk_test_client_t *client) {
  if (client->has_left) return;
  client->has_left = true;
  if (client->stream)
    start_pump(client);
  else
    uv_close(&client->handle.any, on_closed);
}
