/* dusk/form.h: forms as browsers post them without files,
 * application/x-www-form-urlencoded. What holds for all of these headers is in
 * dusk/http.h. */
#ifndef DUSK_FORM_H
#define DUSK_FORM_H

#include <dusk/request.h>
#include <dusk/values.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Status 0 and the form's values; UV_EINVAL and those that could be decoded, or
 * UV_E2BIG and none, see dusk_values_err; or an error of dusk_body_cb, or
 * UV_ENOMEM, and NULL. The query's values are not among them: they are apart.
 * The handler answers: 400 and 413 fit the first two. Go: Request.PostForm. */
typedef void (*dusk_form_cb)(dusk_request_t *req, int status,
                             const dusk_values_t *form, void *arg);

/* Collects the body, of `max_bytes` at most, and reads it as a form: `cb` runs
 * once, never inside this call. While it does, the body is there twice.
 * Any method may have a form; a request without body and Content-Type has an
 * empty one. Errors: DUSK_ECONTENTTYPE for another Content-Type: the body has
 * not been asked for then, and may be otherwise; 415 is the reply that fits.
 * UV_EINVAL, UV_ENOMEM, and those of dusk_request_collect.
 * Go: Request.ParseForm, which takes a body of another type for an empty form.
 */
DUSK_EXTERN int dusk_request_form(dusk_request_t *req, size_t max_bytes,
                                  dusk_form_cb cb, void *arg) DUSK_CHECK_RESULT;

#ifdef __cplusplus
}
#endif

#endif
