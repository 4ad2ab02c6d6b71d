/* dusk/reply.h: whole responses in one call. What holds for all of these
 * headers is in dusk/http.h.
 *
 * Each sets the status (200 to 999; another one is a bug, which stops a program
 * with assertions and is answered by 500 without) and ends the response as
 * dusk_response_end does, and returns what that returns; or, when it has ended
 * it all the same, DUSK_EHEADERSENT, when the header was written before, or
 * UV_EINVAL for a bad status. */
#ifndef DUSK_REPLY_H
#define DUSK_REPLY_H

#include <dusk/response.h>

#if defined(__GNUC__)
#define DUSK_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define DUSK_PRINTF(text, first)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Ends with `text`, NUL-terminated, and with Content-Type as
 * "text/plain; charset=utf-8" or "application/json", unless the handler has set
 * another one. NULL, as what makes it gives for want of memory, aborts the
 * response: UV_EINVAL. */
DUSK_EXTERN int dusk_response_text(dusk_response_t *res, int status,
                                   const char *text);
DUSK_EXTERN int dusk_response_json(dusk_response_t *res, int status,
                                   const char *text);

/* As dusk_response_text, of a text that is formatted; to what end is told by
 * Content-Type, which the handler may set before. UV_ENOMEM and UV_EINVAL (by
 * vsnprintf) abort the response. Go: fmt.Fprintf. */
DUSK_EXTERN int dusk_response_printf(dusk_response_t *res, int status,
                                     const char *format, ...) DUSK_PRINTF(3, 4);

/* An error reply. `status` is set; the body is what an application wants to
 * say. `type` goes to Content-Type, unless that is set by then; one that can't
 * be, or of 256 bytes and more, is plain text. */
typedef struct dusk_error_reply {
  int status;
  const char *type; /* "text/plain; charset=utf-8" */
  const char *body; /* at first with a line end, and NUL-terminated */
  size_t len;
} dusk_error_reply_t;

/* Shapes an error reply, from the plain text that it would be else: `type` and
 * `body` may be replaced, by what is static or comes from dusk_request_alloc,
 * and header fields be set; nothing is to be written or ended. What it has set
 * as the status or a length is not looked at. A reply of the server's own, in a
 * handler's stead, has none of the fields that the handler has set, which were
 * another answer's; hooks of dusk_response_on_header are called for it. The
 * request may be one that was refused before a handler got it: see
 * on_request_end. */
typedef void (*dusk_error_reply_cb)(dusk_response_t *res,
                                    dusk_error_reply_t *reply, void *arg);

/* Ends with an error reply: `text` and a line end; NULL for the status and its
 * phrase; and X-Content-Type-Options: nosniff. Content-Type and Content-Length
 * were the answer's that it would have been, and are taken back; other fields
 * stay. Goes through the server's on_error_reply, as all that the server
 * answers itself. UV_ENOMEM, and UV_ENOBUFS of dusk_response_set_header, abort.
 * Go: http.Error. */
DUSK_EXTERN int dusk_response_error(dusk_response_t *res, int status,
                                    const char *text);

/* 404 with "404 page not found". Go: http.NotFound. */
DUSK_EXTERN int dusk_response_not_found(dusk_response_t *res);

/* Sends the client on to `location`, by 301, 302, 303, 307 or 308. What has a
 * scheme goes as it is; a path is cleaned of "//", "." and "..", and is
 * resolved against the request's unless it begins with '/'; so "//host" is a
 * path here, not another host. The query is left alone; control bytes, spaces,
 * backslashes, which browsers take for slashes, and bytes above 127 are
 * percent-encoded. The answer to GET has a link as its body, unless the handler
 * has set a Content-Type. UV_EINVAL for NULL, UV_ENOMEM, and UV_ENOBUFS of
 * dusk_response_set_header abort. Go: http.Redirect. */
DUSK_EXTERN int dusk_response_redirect(dusk_response_t *res, int status,
                                       const char *location);

#ifdef __cplusplus
}
#endif

#endif
