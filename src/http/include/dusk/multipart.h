/* dusk/multipart.h: what a form uploads: a multipart/form-data body as a stream
 * of parts. What holds for all of these headers is in dusk/http.h.
 *
 * RFC 7578, strictly: lines end in CR LF, each part has a Content-Disposition
 * form-data with a name, and the body its last boundary. What browsers, curl
 * and the usual libraries write is understood: quotes and line ends as %22, %0D
 * and %0A, backslashes before what needs none, filename* (RFC 8187, UTF-8). A
 * part that is itself a multipart is data. */
#ifndef DUSK_MULTIPART_H
#define DUSK_MULTIPART_H

#include <dusk/request.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A part; borrowed, with its texts, until on_part_end has returned. The texts
 * are the client's: they may hold any byte but NUL, in names line ends, too.
 * Go: multipart.Part. */
typedef struct dusk_part {
  const char *name;
  const char *filename; /* without folders, "" if nothing is left of it or it
                         * would be "." or ".."; NULL for a field */
  const char *raw_filename; /* as the client has sent it, a path perhaps */
  const char *content_type; /* "text/plain" if the part doesn't tell */
  uint64_t len;             /* of its data up to now */
  const char *fields;       /* the library's */
} dusk_part_t;

/* The first field of that name in the part's header, any case; NULL if there is
 * none. Go: Part.Header.Get. */
DUSK_EXTERN const char *dusk_part_header(const dusk_part_t *part,
                                         const char *name);

/* On the way 0 goes on, and a negative error gives the body up: on_end is told
 * it next. */
typedef int (*dusk_part_cb)(dusk_request_t *req, const dusk_part_t *part,
                            void *arg);
typedef int (*dusk_part_data_cb)(dusk_request_t *req, const dusk_part_t *part,
                                 const char *data, size_t len, void *arg);
typedef void (*dusk_multipart_cb)(dusk_request_t *req, int status, void *arg);

/* Zero is the default told here, DUSK_OFF is none. May grow, at its end, as
 * dusk_server_config_t may. */
typedef struct dusk_multipart_config {
  /* In the order of the body: on_part, on_data as often as there is some, and
   * on_part_end for each part; then on_end, once, whatever happens, with 0 or
   * the error, and nothing more. Each may be NULL but on_end. */
  dusk_part_cb on_part;
  dusk_part_data_cb on_data; /* `data` is borrowed for the call */
  dusk_part_cb on_part_end;
  dusk_multipart_cb on_end;
  void *arg;

  uint64_t max_bytes;             /* none but the request's: of the body */
  uint64_t max_parts;             /* 1,000 */
  uint64_t max_part_bytes;        /* none: of each part's data */
  uint64_t max_part_header_bytes; /* 8 KiB: of each part's header */
} dusk_multipart_config_t;

DUSK_EXTERN int
dusk_request_multipart_sized(dusk_request_t *req,
                             const dusk_multipart_config_t *config,
                             size_t config_size) DUSK_CHECK_RESULT;

/* Starts delivering the body's parts, when and as dusk_request_body would its
 * bytes; `config` is copied. Memory is needed for one part's header, however
 * many parts there are and however large. on_end is told
 *   what dusk_body_cb is told      and the server then replies as there
 *   DUSK_EBADBODY                  it is no multipart/form-data; 400
 *   DUSK_EBODYTOOLARGE             beyond a limit above; 413. Beyond max_bytes
 *                                  with a declared length before a byte is read
 *   UV_ENOMEM                      503
 *   what a callback has returned
 * dusk_request_pause and dusk_request_resume may be called in each callback but
 * on_end, and elsewhere: after a pause inside one none comes before the request
 * is resumed, also of what has been read already. A response that is ended in
 * or between them ends them all, without on_end.
 * Errors: UV_EINVAL; DUSK_ECONTENTTYPE and DUSK_ENOBOUNDARY, which tell what
 * the request's Content-Type is (Go: http.ErrNotMultipart, ErrMissingBoundary;
 * the answer is usually 415 or 400); UV_ENOMEM; those of dusk_request_body.
 * Go: Request.MultipartReader. */
static inline DUSK_CHECK_RESULT int
dusk_request_multipart(dusk_request_t *req,
                       const dusk_multipart_config_t *config) {
  return dusk_request_multipart_sized(req, config, sizeof(*config));
}

/* Inside on_part: the part's data go to the file `path`, as with
 * dusk_request_save, and not to on_data. When on_part_end is called the file is
 * there; if it can't be, on_end is told why, and it isn't. More than
 * `max_bytes` (DUSK_OFF: no limit) is DUSK_EBODYTOOLARGE. Files of parts that
 * have ended before a failure are the handler's to remove. Errors: UV_EINVAL
 * (also outside on_part, or for a second file), UV_ENOMEM, UV_ECANCELED. */
DUSK_EXTERN int dusk_request_save_part(dusk_request_t *req, const char *path,
                                       uint64_t max_bytes) DUSK_CHECK_RESULT;

#ifdef __cplusplus
}
#endif

#endif
