/* A server's stop. See shutdown.c. */
#ifndef DUSK_HTTP_SHUTDOWN_H
#define DUSK_HTTP_SHUTDOWN_H

#include "lanes.h"

void dusk__shutdown_init(dusk_server_t *server);
void dusk__shutdown_done(dusk_server_t *server);

#endif
