/* echo.c: POST and PUT /echo stream the request's body back, piece by piece, no
 * faster than the client takes it. */
#include "routes.h"

#include <string.h>

/* The answer's status is set when it begins. */
static bool has_begun(const dusk_response_t *res) {
  return dusk_response_get_status(res) != 0;
}

static int copy_field(dusk_response_t *res, dusk_request_t *req,
                      const char *name) {
  const char *value = dusk_request_header(req, name);
  return value != NULL ? dusk_response_set_header(res, name, value) : 0;
}

/* Beside a chunked body there is no Content-Length. */
static int copy_header(dusk_response_t *res, dusk_request_t *req) {
  int err = copy_field(res, req, "Content-Type");
  return err == 0 ? copy_field(res, req, "Content-Length") : err;
}

/* Not before it is clear that there is a body: else the answer is another. */
static int echo_begin(dusk_request_t *req, dusk_response_t *res) {
  if (has_begun(res)) return 0;
  int err = dusk_response_status(res, 200);
  return err == 0 ? copy_header(res, req) : err;
}

static void on_caught_up(dusk_response_t *res, void *arg) {
  (void)res;
  dusk_request_resume(arg);
}

static void echo_piece(dusk_request_t *req, dusk_response_t *res,
                       const char *data, size_t len) {
  int err = echo_begin(req, res);
  if (err == 0) err = dusk_response_write(res, data, len);
  if (err == 1) {
    dusk_request_pause(req);
    err = dusk_response_on_drained(res, on_caught_up, req);
  }
  if (err < 0) dusk_response_abort(res);
}

static void echo_end(dusk_request_t *req, dusk_response_t *res) {
  if (echo_begin(req, res) == 0)
    dusk_response_end(res, NULL, 0);
  else
    dusk_response_abort(res);
}

/* The body didn't come whole. Where it is the client's fault, and nothing of
 * the answer is out, the answer says so, with the status that the server has
 * given it by then. */
static void echo_failed(dusk_response_t *res, int err) {
  const char *why = err == DUSK_EBODYTOOLARGE ? "the body is too large\n"
                    : err == DUSK_EBADBODY    ? "the body is malformed\n"
                    : err == UV_ETIMEDOUT     ? "the body came too slowly\n"
                                              : NULL;
  if (why == NULL || has_begun(res)) {
    dusk_response_abort(res);
    return;
  }
  dusk_response_set_header(res, "Content-Type", "text/plain; charset=utf-8");
  dusk_response_end(res, why, strlen(why));
}

static void on_body(dusk_request_t *req, ssize_t nread, const char *data,
                    void *arg) {
  dusk_response_t *res = arg;
  if (nread > 0)
    echo_piece(req, res, data, (size_t)nread);
  else if (nread == UV_EOF)
    echo_end(req, res);
  else
    echo_failed(res, (int)nread);
}

void duskd__echo(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  if (dusk_request_body(req, on_body, res) != 0) dusk_response_abort(res);
}
