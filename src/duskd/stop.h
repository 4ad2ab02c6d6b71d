/* stop.h: from the first signal to the exit status. */
#ifndef DUSKD_STOP_H
#define DUSKD_STOP_H

#include "flags.h"
#include "routes.h"

typedef enum {
  DUSKD_STOP_NONE,
  DUSKD_STOP_LAME_DUCK,
  DUSKD_STOP_DRAIN,
  DUSKD_STOP_DONE,
} duskd_stop_state_t;

typedef struct duskd_stop {
  duskd_stop_state_t state;
  int status; /* exit status, once it is done */
  bool is_cut;
  dusk_server_t *server;
  duskd_routes_t *routes;
  dusk_context_t *bound; /* of the drain; its deadline comes with it */
  uint64_t lame_duck_ms;
  uint64_t drain_timeout_ms;
  uv_timer_t lame_duck;
  uv_timer_t progress;
} duskd_stop_t;

/* `server` is taken, `routes` kept until it is done. */
int duskd__stop_init(duskd_stop_t *stop, dusk_context_t *root,
                     const duskd_flags_t *flags, duskd_routes_t *routes,
                     dusk_server_t *server);

/* dusk_server_config_t's on_request_cut: tells of the first few. `arg` is an
 * atomic_int that counts them. */
void duskd__stop_tell_cut(dusk_request_t *req, uint64_t age_ms, void *arg);

/* When a first stop's alarm is due, in seconds: after all that the flags allow;
 * 0: never. */
unsigned duskd__stop_alarm_s(const duskd_flags_t *flags);

/* A signal has come: does what the stops among them ask for, if any. */
void duskd__stop_signalled(duskd_stop_t *stop);

/* Goes back to serving; false when it isn't lame, or was already cut. */
bool duskd__stop_undo(duskd_stop_t *stop);

/* Drains at once, as if a signal had come, for a reason that was told; the exit
 * status will be DUSKD_FAILED. */
void duskd__stop_failed(duskd_stop_t *stop);

/* Gives up without a drain, before anything was served; `status` is the exit
 * status. */
void duskd__stop_close(duskd_stop_t *stop, int status);

#endif
