/* dusk/error.h: the error codes of all parts of dusk, in one table.
 *
 * A function that can fail returns 0 or a negative code: one of libuv's
 * (UV_ENOMEM, UV_EINVAL, ...) or one of the DUSK_E codes below, which lie
 * outside libuv's range. A call that fails never calls back. */
#ifndef DUSK_ERROR_H
#define DUSK_ERROR_H

#if defined(__GNUC__)
#define DUSK_EXTERN __attribute__((visibility("default")))
/* Where a failure that nobody looks at loses something: an output that is not
 * set, a callback that never comes. */
#define DUSK_CHECK_RESULT __attribute__((warn_unused_result))
#else
#define DUSK_EXTERN
#define DUSK_CHECK_RESULT
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* clang-format off */
#define DUSK_ERRORS(X)                                                        \
  X(ESERVERCLOSED, -10001, "http: Server closed")                             \
  X(EBODYTOOLARGE, -10002, "http: request body too large")                    \
  X(EBADBODY,      -10003, "http: malformed request body")                    \
  X(ELENGTH,       -10004, "http: wrote more than the declared Content-Length") \
  X(ENOBODY,       -10005, "http: request method or response status code does not allow body") \
  X(EHIJACKED,     -10006, "http: connection has been hijacked")              \
  X(ESHORT,        -10007, "http: wrote less than the declared Content-Length") \
  X(EHEADERSENT,   -10008, "http: response header has already been written")  \
  X(EBODYTAKEN,    -10009, "http: request body has already been asked for")   \
  X(ECONTENTTYPE,  -10010, "http: request Content-Type isn't the one asked for") \
  X(ENOBOUNDARY,   -10011, "http: no multipart boundary param in Content-Type")
/* clang-format on */

#define DUSK_X(name, code, text) DUSK_##name = code,
enum { DUSK_ERRORS(DUSK_X) };
#undef DUSK_X

/* The text of an error code, a static string; never NULL. DUSK_E codes and the
 * two ends of a context have Go's texts (UV_ECANCELED "context canceled",
 * UV_ETIMEDOUT "context deadline exceeded"), all others uv_strerror's. Any
 * thread. */
DUSK_EXTERN const char *dusk_strerror(int err);

#ifdef __cplusplus
}
#endif

#endif
