/* A response's header, and the server's own replies. See reply.c. */
#ifndef DUSK_HTTP_REPLY_H
#define DUSK_HTTP_REPLY_H

#include "exchange.h"

/* Writes the header: framing is decided, and with it, whether the connection
 * must close after it (res.close, which the caller may have set). `length` is
 * the body's, DUSK_OFF if not known: then the caller may have set FRAMED_LATER,
 * if there is body to follow. 0, or UV_ECANCELED if the stream has
 * failed. */
int dusk__reply_head(dusk__exchange_t *ex, uint64_t length);

#define DUSK__TEXT_TYPE "text/plain; charset=utf-8"

/* Writes a response that precedes the final one, with the fields so far. */
int dusk__reply_interim(dusk__exchange_t *ex, int status);

/* A body that is FRAMED_LATER: by its length, if all of it is gathered at the
 * response's end; else by chunks, from now on. */
enum { DUSK__GATHERED_BODY_BYTES = 2048 };
void dusk__reply_frame_by_length(dusk__exchange_t *ex);
void dusk__reply_frame_by_chunks(dusk__exchange_t *ex);

/* Whether the handler has set Content-Type itself. */
bool dusk__reply_has_type(const dusk__exchange_t *ex);

/* Tells those who asked for it that the header is about to go out. */
void dusk__reply_run_hooks(dusk__exchange_t *ex);
static inline void dusk__reply_tell(dusk__exchange_t *ex) {
  if (ex->seldom.header_hooks) dusk__reply_run_hooks(ex);
}

/* Has on_error_reply shape an error reply. */
void dusk__reply_shape(dusk__exchange_t *ex, dusk_error_reply_t *reply);

/* The server's own reply to a request that it can't or won't hand over, or that
 * the handler did not answer in time. The connection closes after it. Nothing
 * is sent when the handler has begun to answer. */
void dusk__reply_refuse(dusk__exchange_t *ex, int status);

#endif
