/* Why contexts of a server end. */
#include <dusk/http.h>

const dusk_cause_t dusk_drain_cancelled = {UV_ECANCELED,
                                           "the server's drain is ending"};
const dusk_cause_t dusk_server_closed = {UV_ECANCELED, "the server was closed"};
const dusk_cause_t dusk_connection_cut = {UV_ECANCELED,
                                          "the connection was cut"};
const dusk_cause_t dusk_timed_out = {UV_ETIMEDOUT, "a time-out has passed"};
const dusk_cause_t dusk_client_gone = {UV_ECANCELED, "the client went away"};
const dusk_cause_t dusk_response_ended = {UV_ECANCELED,
                                          "the response has ended"};
