/* error.c: the texts of the error codes. */
#include <dusk/error.h>
#include <uv.h>

#define CASE_UV(name, text)                                                    \
  case UV_##name:                                                              \
    return text;
#define CASE_DUSK(name, code, text)                                            \
  case code:                                                                   \
    return text;

/* libuv's own texts are taken from its header: uv_strerror allocates for a
 * code that it does not know. */
static const char *uv_text(int err) {
  switch (err) {
    UV_ERRNO_MAP(CASE_UV)
  default:
    return "unknown error";
  }
}

const char *dusk_strerror(int err) {
  switch (err) {
  case 0:
    return "success";
  case UV_ECANCELED:
    return "context canceled";
  case UV_ETIMEDOUT:
    return "context deadline exceeded";
    DUSK_ERRORS(CASE_DUSK)
  default:
    return uv_text(err);
  }
}
