/* worker.h: what duskd has on each loop that serves. */
#ifndef DUSKD_WORKER_H
#define DUSKD_WORKER_H

#include <dusk/http.h>

/* dusk_server_config_t's on_worker_start and on_worker_stop, which want no
 * argument; the access log is open before. */
int duskd__worker_start(dusk_server_t *server, dusk_context_t *root,
                        size_t index, void **data, void *arg);
void duskd__worker_stop(dusk_server_t *server, dusk_context_t *root,
                        size_t index, void *data, void *arg);

/* For handlers: the parent of all waiting on the request's loop, borrowed. It
 * ends when the server needs no more answers from there: responses of cut
 * connections are released in the loop's next turn. */
dusk_context_t *duskd__life(const dusk_request_t *req);

#endif
