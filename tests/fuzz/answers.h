/* Handlers of all kinds on one mux, so that an input chooses by its paths what
 * becomes of its requests; and each looks at its request. */
#ifndef DUSK_TESTS_FUZZ_ANSWERS_H
#define DUSK_TESTS_FUZZ_ANSWERS_H

#include "fuzz.h"

#include <dusk/http.h>

enum { ANSWERS_LARGE = 20000, ANSWERS_MAX_BODY = 1000 };

typedef struct answers {
  dusk_mux_t *mux;
  size_t steps;     /* calls of handlers and of their callbacks */
  size_t running;   /* requests whose handlers haven't ended them */
  bool is_saving;   /* something may be written to a file */
  bool is_unsteady; /* one was cut by its handler: what came is up to chance */
  struct call *waiting; /* for the next turn */
} answers_t;

void answers_make(answers_t *answers);
void answers_free(answers_t *answers);

/* Those that wait for the next turn go on. */
void answers_go_on(answers_t *answers);

#endif
