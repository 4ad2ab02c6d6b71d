/* A form as a request's body: collected, then read. */
#include "exchange.h"
#include "values.h"

#include <dusk/form.h>

typedef struct form {
  dusk_form_cb cb;
  void *arg;
} form_t;

/* Whether the body's type is a form's, whatever its parameters; where there is
 * no body, none is needed. */
static bool is_form(const dusk_request_t *req) {
  static const char wanted[] = "application/x-www-form-urlencoded";
  const char *type = dusk_request_header(req, "Content-Type");
  if (type == NULL) return dusk_request_content_length(req) == 0;
  return strcspn(type, "; \t") == sizeof(wanted) - 1 &&
         strncasecmp(type, wanted, sizeof(wanted) - 1) == 0;
}

static void on_collected(dusk_request_t *req, int status, const char *data,
                         size_t len, void *arg) {
  const form_t form = *(form_t *)arg;
  const dusk_values_t *values = NULL;
  if (status == 0) {
    dusk__exchange_t *ex = dusk__ex_of_request(req);
    values = dusk__values_decode(&ex->arena, (dusk__piece_t){data, len});
    status = values ? dusk_values_err(values) : UV_ENOMEM;
  }
  form.cb(req, status, values, form.arg);
}

int dusk_request_form(dusk_request_t *req, size_t max_bytes, dusk_form_cb cb,
                      void *arg) {
  if (cb == NULL) return UV_EINVAL;
  if (dusk__ex_of_request(req) == NULL) return UV_ECANCELED;
  if (!is_form(req)) return DUSK_ECONTENTTYPE;
  form_t *form = dusk_request_alloc(req, sizeof(*form));
  if (form == NULL) return UV_ENOMEM;
  *form = (form_t){cb, arg};
  return dusk_request_collect(req, max_bytes, on_collected, form);
}
