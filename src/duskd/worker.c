/* worker.c: see worker.h. */
#include "worker.h"

#include "access.h"
#include "signals.h"

int duskd__worker_start(dusk_server_t *server, dusk_context_t *root,
                        size_t index, void **data, void *arg) {
  (void)server, (void)arg;
  dusk_context_t *life = NULL;
  if (index > 0) duskd__signals_leave();
  int err = dusk_context_with_cancel(root, &life);
  if (err == 0) err = duskd__access_begin(dusk_context_loop(root));
  if (err == 0)
    *data = life;
  else
    dusk_context_unref(life);
  return err;
}

void duskd__worker_stop(dusk_server_t *server, dusk_context_t *root,
                        size_t index, void *data, void *arg) {
  (void)server, (void)root, (void)index, (void)arg;
  dusk_context_cancel(data, NULL);
  dusk_context_unref(data);
  duskd__access_end();
}

dusk_context_t *duskd__life(const dusk_request_t *req) {
  return dusk_request_worker_data(req);
}
