/* llhttp's side of an exchange: bytes to a request's parts. See parser.c. */
#ifndef DUSK_HTTP_PARSER_H
#define DUSK_HTTP_PARSER_H

#include "exchange.h"

/* For the first message of an exchange. */
void dusk__parser_start(dusk__exchange_t *ex);

/* Parses what was read, up to the end of a header (stage READY) or of the
 * message (req.complete), whichever is next. A defect is told in ex->refusal
 * before the header is complete, and in req.failure after. */
void dusk__parser_run(dusk__exchange_t *ex);

#endif
