/* Who has a mux, for the rest of the library. */
#ifndef DUSK_HTTP_MUX_H
#define DUSK_HTTP_MUX_H

#include <dusk/mux.h>

/* A handler is kept by a server, or by another mux: if it is a mux, that may
 * not be freed until it is let go. Any thread. */
void dusk__mux_hold(dusk_handler_cb handler, void *arg);
void dusk__mux_let_go(dusk_handler_cb handler, void *arg);

#endif
