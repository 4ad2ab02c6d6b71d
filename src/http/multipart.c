/* A body as parts: the parser's verdicts become callbacks. After each of these
 * the body may be paused, held or given up, and then what is left of the piece
 * stays with the message (dusk__h1_leave): nothing is kept here, and a verdict
 * never waits for a further one, so that none is due while there are no bytes.
 */
#include <dusk/multipart.h>

#include "body.h"
#include "h1_parse.h"
#include "multipart_parse.h"
#include "save.h"
#include "sized.h"

enum {
  ROOM_BYTES = 1024, /* for a usual part's header */
  MAX_PARTS = 1000,  /* as in Go */
  MAX_HEADER_BYTES = 8192,
};

typedef struct multipart {
  dusk__exchange_t *ex;
  dusk_multipart_config_t config;
  dusk__multipart_t parser;
  dusk__save_t save; /* of the part, if it goes to a file */
  dusk_part_t part;
  uint64_t bytes;
  uint64_t parts;
  bool is_beginning; /* on_part is being called */
  int late_failure;  /* on_end's, when the part's file is there; or 0 */
} multipart_t;

static const char *base_name(const char *path) {
  const char *base = path;
  for (; *path; path++)
    if (*path == '/' || *path == '\\') base = path + 1;
  bool is_dots = strcmp(base, ".") == 0 || strcmp(base, "..") == 0;
  return is_dots ? "" : base;
}

const char *dusk_part_header(const dusk_part_t *part, const char *name) {
  if (part == NULL || name == NULL) return NULL;
  return dusk__multipart_field(part->fields, name);
}

/* -- A part ---------------------------------------------------------------- */

static int call_part(multipart_t *mp, dusk_part_cb cb) {
  if (cb == NULL) return 0;
  return cb(dusk__ex_request(mp->ex), &mp->part, mp->config.arg);
}

static int begin_part(multipart_t *mp) {
  const dusk__multipart_t *parser = &mp->parser;
  if (++mp->parts > mp->config.max_parts) return DUSK_EBODYTOOLARGE;
  const char *type = dusk__multipart_field(parser->fields, "Content-Type");
  mp->part = (dusk_part_t){
      .name = parser->name,
      .filename = parser->filename ? base_name(parser->filename) : NULL,
      .raw_filename = parser->filename,
      .content_type = type ? type : "text/plain",
      .fields = parser->fields,
  };
  mp->is_beginning = true;
  int err = call_part(mp, mp->config.on_part);
  mp->is_beginning = false;
  return err;
}

static int give_data(multipart_t *mp) {
  const dusk__multipart_t *parser = &mp->parser;
  size_t len = parser->data_len;
  if (len > mp->config.max_part_bytes - mp->part.len) return DUSK_EBODYTOOLARGE;
  mp->part.len += len;
  if (dusk__save_is_open(&mp->save)) {
    dusk__save_put(&mp->save, parser->data, len);
    return 0;
  }
  if (mp->config.on_data == NULL) return 0;
  return mp->config.on_data(dusk__ex_request(mp->ex), &mp->part, parser->data,
                            len, mp->config.arg);
}

static int end_part(multipart_t *mp) {
  if (!dusk__save_is_open(&mp->save))
    return call_part(mp, mp->config.on_part_end);
  dusk__save_finish(&mp->save);
  dusk__body_hold(mp->ex); /* until the file is there */
  return 0;
}

static void tell_end(multipart_t *mp, int status) {
  mp->config.on_end(dusk__ex_request(mp->ex), status, mp->config.arg);
}

static void on_saved(dusk__save_t *save, int status) {
  multipart_t *mp = DUSK__OWNER(save, multipart_t, save);
  if (status == 0) status = call_part(mp, mp->config.on_part_end);
  if (mp->late_failure < 0) {
    if (!mp->ex->res.ended) tell_end(mp, mp->late_failure);
    return;
  }
  if (status < 0) dusk__body_refuse(mp->ex, status);
  dusk__body_go_on(mp->ex);
}

/* -- The body -------------------------------------------------------------- */

static int give_room(multipart_t *mp) {
  dusk__multipart_t *parser = &mp->parser;
  size_t capacity = parser->capacity ? 2 * parser->capacity : ROOM_BYTES;
  if (parser->header_len >= mp->config.max_part_header_bytes)
    return DUSK_EBODYTOOLARGE;
  if (capacity / 2 > mp->config.max_part_header_bytes)
    capacity = 2 * (size_t)mp->config.max_part_header_bytes;
  char *room = dusk__arena_grow(&mp->ex->arena, parser->room, parser->capacity,
                                capacity);
  if (room == NULL) return UV_ENOMEM;
  dusk__multipart_give_room(parser, room, capacity);
  return 0;
}

static int act(multipart_t *mp, dusk__multipart_verdict_t verdict) {
  switch (verdict) {
  case DUSK__MULTIPART_ROOM:
    return give_room(mp);
  case DUSK__MULTIPART_PART:
    return begin_part(mp);
  case DUSK__MULTIPART_DATA:
    return give_data(mp);
  case DUSK__MULTIPART_PART_END:
    return end_part(mp);
  case DUSK__MULTIPART_DEFECT:
    return DUSK_EBADBODY;
  default:
    return 0;
  }
}

/* In portions that a file takes at once. */
static void take(multipart_t *mp, const char *at, const char *end) {
  dusk__exchange_t *ex = mp->ex;
  while (at < end && dusk__body_flows(ex)) {
    size_t len = (size_t)(end - at);
    if (len > DUSK__SINK_BYTES) len = DUSK__SINK_BYTES;
    int err = act(mp, dusk__multipart_parse(&mp->parser, &at, at + len));
    if (err < 0) dusk__body_refuse(ex, err);
  }
  dusk__h1_leave(&ex->h1, (size_t)(end - at));
}

static void on_left(void *arg) {
  multipart_t *mp = arg;
  dusk__save_abort(&mp->save);
}

static void on_body(dusk_request_t *handle, ssize_t nread, const char *data,
                    void *arg) {
  multipart_t *mp = arg;
  (void)handle;
  int status = nread < 0 && nread != UV_EOF ? (int)nread : 0;
  if (nread > 0) {
    mp->bytes += (size_t)nread;
    if (mp->bytes > mp->config.max_bytes)
      dusk__body_refuse(mp->ex, DUSK_EBODYTOOLARGE);
    take(mp, data, data + nread);
    mp->bytes -= mp->ex->h1.piece_left;
    return;
  }
  if (status == 0 && !dusk__multipart_is_whole(&mp->parser)) {
    status = DUSK_EBADBODY;
    dusk__body_refuse(mp->ex, status);
  }
  /* The connection has gone, but not the file that is about to be there: its
   * part has ended before. */
  if (dusk__save_is_finishing(&mp->save)) {
    mp->late_failure = status;
    return;
  }
  dusk__save_abort(&mp->save);
  tell_end(mp, status);
}

/* -- Asking for it --------------------------------------------------------- */

static void default_to(uint64_t *field, uint64_t value) {
  if (*field == 0) *field = value;
}

static int take_config(dusk_multipart_config_t *to,
                       const dusk_multipart_config_t *config, size_t size) {
  int err = dusk__sized_take(to, sizeof(*to), config, size);
  if (err < 0) return err;
  default_to(&to->max_bytes, DUSK_OFF);
  default_to(&to->max_parts, MAX_PARTS);
  default_to(&to->max_part_bytes, DUSK_OFF);
  default_to(&to->max_part_header_bytes, MAX_HEADER_BYTES);
  return to->on_end ? 0 : UV_EINVAL;
}

int dusk_request_multipart_sized(dusk_request_t *handle,
                                 const dusk_multipart_config_t *config,
                                 size_t config_size) {
  if (config == NULL) return UV_EINVAL;
  dusk__exchange_t *ex = dusk__ex_of_request(handle);
  if (ex == NULL) return UV_ECANCELED;
  if (ex->req.body_cb) return DUSK_EBODYTAKEN;
  multipart_t *mp = dusk__arena_alloc(&ex->arena, sizeof(*mp));
  if (mp == NULL) return UV_ENOMEM;
  memset(mp, 0, sizeof(*mp));
  mp->ex = ex;
  int err = take_config(&mp->config, config, config_size);
  if (err == 0)
    err = dusk__multipart_init(&mp->parser,
                               dusk_request_header(handle, "Content-Type"));
  if (err < 0) return err;
  /* Refused before a byte of it is read, and before 100 Continue. */
  uint64_t length = ex->h1.content_length;
  if (length != DUSK_OFF && length > mp->config.max_bytes)
    dusk__body_fail(ex, DUSK_EBODYTOOLARGE);
  err = dusk_request_body(handle, on_body, mp);
  if (err == 0) dusk__ex_seldom(ex)->body_left = on_left;
  return err;
}

int dusk_request_save_part(dusk_request_t *handle, const char *path,
                           uint64_t max_bytes) {
  if (path == NULL || *path == '\0') return UV_EINVAL;
  dusk__exchange_t *ex = dusk__ex_of_request(handle);
  if (ex == NULL || ex->res.ended) return UV_ECANCELED;
  if (ex->req.body_cb != on_body) return UV_EINVAL;
  multipart_t *mp = ex->req.body_arg;
  if (!mp->is_beginning || dusk__save_is_open(&mp->save)) return UV_EINVAL;
  return dusk__save_begin(&mp->save, ex, path, max_bytes, on_saved);
}
