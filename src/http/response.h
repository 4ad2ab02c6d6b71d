/* A response on its way to the connection. See response.c. */
#ifndef DUSK_HTTP_RESPONSE_H
#define DUSK_HTTP_RESPONSE_H

#include "exchange.h"

/* The server's own reply to a request that it can't or won't hand over, or that
 * the handler did not answer in time. The connection closes after it. Nothing
 * is sent when the handler has begun to answer. */
void dusk__response_refuse(dusk__exchange_t *ex, int status);

#endif
