/* dusk/values.h: values with names, as a query, a form and cookies have them.
 * What holds for all of these headers is in dusk/http.h. */
#ifndef DUSK_VALUES_H
#define DUSK_VALUES_H

#include <dusk/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A list of names and values, decoded, in the order received; a name may be
 * there several times. It and its texts are the request's memory: good as long
 * as the request is, see dusk_handler_cb. Any thread may ask it meanwhile.
 * Names are compared byte by byte. Where a list is wanted NULL has nothing in
 * it, so that what dusk_request_query_values gives, and others, may be asked at
 * once. Go: url.Values. */
typedef struct dusk_values dusk_values_t;

/* The first value of that name, "" for one without '='; NULL if there is none,
 * or none that can be decoded. Go: Values.Get. */
DUSK_EXTERN const char *dusk_values_get(const dusk_values_t *values,
                                        const char *name);

/* One after the other of that name's values: each call gives the next one from
 * *at on, which is 0 at first, and moves it; NULL behind the last.
 *     size_t at = 0;
 *     while ((tag = dusk_values_next(values, "tag", &at)) != NULL)
 */
DUSK_EXTERN const char *dusk_values_next(const dusk_values_t *values,
                                         const char *name, size_t *at);

/* The pairs in their order, whatever their names; false past the last. */
DUSK_EXTERN bool dusk_values_at(const dusk_values_t *values, size_t index,
                                const char **ret_name, const char **ret_value);

/* The first value of that name as a number from `min` to `max`, or as a bool.
 * Returns 1 when it is there; 0 when there is none, and *value is as before:
 * put the default in it. What is written wrongly is told, and *value then is as
 * before, too: UV_EINVAL for what is no decimal number (Go's strconv.ParseInt
 * and ParseUint: a sign for int only, no blanks; "" is none) or none of 1, t,
 * T, true, TRUE, True, 0, f, F, false, FALSE and False (strconv.ParseBool); for
 * values that can't be decoded if there are no others of the name; and for NULL
 * arguments. UV_ERANGE for a number out of bounds, UV_E2BIG as below.
 *     uint64_t page = 1;
 *     if (dusk_values_uint(values, "page", 1, 1000, &page) < 0)
 *       dusk_response_error(res, 400, "page is from 1 to 1000"); */
DUSK_EXTERN int dusk_values_int(const dusk_values_t *values, const char *name,
                                int64_t min, int64_t max,
                                int64_t *value) DUSK_CHECK_RESULT;
DUSK_EXTERN int dusk_values_uint(const dusk_values_t *values, const char *name,
                                 uint64_t min, uint64_t max,
                                 uint64_t *value) DUSK_CHECK_RESULT;
DUSK_EXTERN int dusk_values_bool(const dusk_values_t *values, const char *name,
                                 bool *value) DUSK_CHECK_RESULT;

/* 0; UV_EINVAL when something in the text was passed over, as Go does: a bad
 * escape, a NUL byte, which no C string can have, or a semicolon, which is no
 * separator; UV_E2BIG when there were more than 10,000 pairs (cookies: 3,000),
 * as Go has it: then there is none in the list. Go: url.ParseQuery's error. */
DUSK_EXTERN int dusk_values_err(const dusk_values_t *values);

#ifdef __cplusplus
}
#endif

#endif
