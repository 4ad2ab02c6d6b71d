/* The program that is stopped: dusk, with handlers of every kind. */
#ifndef WORLD_PROGRAM_H
#define WORLD_PROGRAM_H

#include "scenario.h"

#include <dusk/http.h>

typedef struct outcome {
  uint64_t stopped_at; /* the drain began; 0: never */
  uint64_t bound_at;   /* the nearest */
  uint64_t closed_at;  /* dusk_server_close; 0: never */
  uint64_t called_back_at;
  int callbacks;
  int calls; /* of shutdown that gave 0 */
  int status;
  dusk_report_t report;
  int stops;    /* of threads, that were told */
  int loop_err; /* of uv_loop_close */
  bool was_ours;
} outcome_t;

/* Once, before the first run. */
void program_prepare(void);
/* From loop to loop's end. */
void program_run(const scenario_t *scenario);
const outcome_t *program_outcome(void);
/* The thread on whose loop it is, as its data has it. */
int program_thread_of(const dusk_request_t *req);

void handlers_begin(void);
void handlers_serve(dusk_response_t *res, dusk_request_t *req, void *arg);
/* Ends what never ends, of this thread's loop. */
void handlers_give_up(void);

#endif
