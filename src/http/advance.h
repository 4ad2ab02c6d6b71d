/* What a connection's running request does next. See advance.c. */
#ifndef DUSK_HTTP_ADVANCE_H
#define DUSK_HTTP_ADVANCE_H

#include "exchange.h"

/* One step; false when nothing more can be done now. Without `may_begin` no new
 * request is parsed, and no callback of a handler is called. */
bool dusk__advance(dusk__conn_t *conn, bool may_begin);

/* Answers the running request with an error of the server's own, after which
 * the connection closes. To be followed by dusk__conn_run. */
void dusk__advance_refuse(dusk__conn_t *conn, int status);

#endif
