/* dusk/query.h: the values of a request's query, "?page=2&tag=a&tag=b". What
 * holds for all of these headers is in dusk/http.h. */
#ifndef DUSK_QUERY_H
#define DUSK_QUERY_H

#include <dusk/request.h>
#include <dusk/values.h>

#ifdef __cplusplus
extern "C" {
#endif

/* All of them, read when first asked for: '+' is a blank, "a" and "a=" have the
 * value "", and what stands between two '&' without anything is none. The list
 * is empty for a request without a query; NULL when memory ran out, or for a
 * request that is over. What is not in it, dusk_values_err tells.
 * Go: URL.Query. */
DUSK_EXTERN const dusk_values_t *dusk_request_query_values(dusk_request_t *req);

/* dusk_values_get, int, uint and bool of that list, with their results, and
 * UV_ENOMEM, or UV_ECANCELED for a request that is over. */
DUSK_EXTERN const char *dusk_request_query_get(dusk_request_t *req,
                                               const char *name);
DUSK_EXTERN int dusk_request_query_int(dusk_request_t *req, const char *name,
                                       int64_t min, int64_t max,
                                       int64_t *value) DUSK_CHECK_RESULT;
DUSK_EXTERN int dusk_request_query_uint(dusk_request_t *req, const char *name,
                                        uint64_t min, uint64_t max,
                                        uint64_t *value) DUSK_CHECK_RESULT;
DUSK_EXTERN int dusk_request_query_bool(dusk_request_t *req, const char *name,
                                        bool *value) DUSK_CHECK_RESULT;

/* The first value of that name in a buffer of the caller's, NUL-terminated;
 * needs no memory. Returns its length, UV_ENOENT when there is none, UV_EINVAL
 * when there is none that can be decoded, UV_ENOBUFS when it doesn't fit. */
DUSK_EXTERN int dusk_request_query_value(dusk_request_t *req, const char *name,
                                         char *buf,
                                         size_t size) DUSK_CHECK_RESULT;

/* Decodes %XX of a NUL-terminated `text`, such as a path, to `buf`; '+' is one.
 * Returns the length, UV_EINVAL for a bad escape or a NUL byte, UV_ENOBUFS when
 * it doesn't fit. Any thread. Go: url.PathUnescape. */
DUSK_EXTERN int dusk_percent_decode(const char *text, char *buf,
                                    size_t size) DUSK_CHECK_RESULT;

#ifdef __cplusplus
}
#endif

#endif
