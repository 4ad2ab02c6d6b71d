/* The clients of a run. See clients.c. */
#ifndef WORLD_CLIENTS_H
#define WORLD_CLIENTS_H

#include "scenario.h"

void clients_begin(const scenario_t *scenario);

#endif
