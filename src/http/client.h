/* A test's client: one connection, by a socket or to a server in this process
 * without one. See client.c. */
#ifndef DUSK_HTTP_CLIENT_H
#define DUSK_HTTP_CLIENT_H

#include "answer.h"
#include "stream.h"

struct dusk_test_client {
  dusk__link_t link; /* its owner's, until it has closed */
  dusk_test_t *test;

  dusk__bytes_t input;
  size_t parsed;          /* of it */
  dusk__answer_t *answer; /* that is heard; the test's */
  bool asked_head;        /* by what was sent last */

  int err; /* 0; how the connection has ended */
  bool is_connected;
  bool has_left;
  union {
    uv_handle_t any;
    uv_tcp_t tcp;
    uv_idle_t pump; /* feeds the mate */
  } handle;
  uv_connect_t connect;

  dusk__mate_t mate;
  dusk__stream_t *stream; /* the mate's; NULL: it has closed, or isn't ours */
  dusk__bytes_t output;
  size_t fed; /* of it */
  bool has_fed_end;
};

/* In blank memory, which is the client's own from then on, once pair has
 * returned 0: it frees itself when it has left. call: to a port of 127.0.0.1;
 * is_connected or err will tell. */
void dusk__client_call(dusk_test_client_t *client, uv_loop_t *loop,
                       const char *address);
int dusk__client_pair(dusk_test_client_t *client, dusk_server_t *server);

/* Sends a copy. */
int dusk__client_send(dusk_test_client_t *client, const void *bytes,
                      size_t len);

/* Reads on into `input`, or not, until `err` tells the end. */
void dusk__client_read(dusk_test_client_t *client, bool on);

void dusk__client_leave(dusk_test_client_t *client);

#endif
