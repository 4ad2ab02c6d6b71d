/* The client's side of HTTP/1: what came is taken apart by llhttp, and copied,
 * for it is looked at when the bytes have gone. */
#include "answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* -- Bytes ----------------------------------------------------------------- */

enum { FIRST_BYTES = 256 };

char *dusk__bytes_reserve(dusk__bytes_t *bytes, size_t len) {
  size_t needed = bytes->len + len + 1;
  if (needed > bytes->capacity) {
    size_t capacity = bytes->capacity ? 2 * bytes->capacity : FIRST_BYTES;
    if (capacity < needed) capacity = needed;
    char *larger = realloc(bytes->bytes, capacity);
    if (larger == NULL) return NULL;
    bytes->bytes = larger;
    bytes->capacity = capacity;
  }
  return bytes->bytes + bytes->len;
}

int dusk__bytes_add(dusk__bytes_t *bytes, const void *data, size_t len) {
  char *room = dusk__bytes_reserve(bytes, len);
  if (room == NULL) return UV_ENOMEM;
  if (len > 0) memcpy(room, data, len);
  room[len] = '\0';
  bytes->len += len;
  return 0;
}

void dusk__bytes_free(dusk__bytes_t *bytes) {
  free(bytes->bytes);
}

#define NO_MEMORY "no memory for the response"

/* -- llhttp's callbacks ---------------------------------------------------- */

static dusk__answer_t *answer_of(llhttp_t *parser) {
  return DUSK__OWNER(parser, dusk__answer_t, parser);
}

static int keep(dusk__answer_t *answer, dusk__bytes_t *bytes, const char *data,
                size_t len) {
  int err = dusk__bytes_add(bytes, data, len);
  if (err < 0) dusk__answer_fail(answer, err, NO_MEMORY);
  return err < 0 ? -1 : 0;
}

/* A part of a name or a value, and the end of one. Those behind the header are
 * a trailer's. */
static int on_field(llhttp_t *parser, const char *at, size_t len) {
  dusk__answer_t *answer = answer_of(parser);
  return answer->has_header ? 0 : keep(answer, &answer->fields, at, len);
}

static int on_field_end(llhttp_t *parser) {
  return on_field(parser, "", 1);
}

static bool is_interim(const llhttp_t *parser) {
  return parser->status_code < 200 && parser->status_code != 101;
}

static int on_headers_complete(llhttp_t *parser) {
  dusk__answer_t *answer = answer_of(parser);
  if (is_interim(parser)) {
    answer->shown.interim = parser->status_code;
    answer->fields.len = 0; /* the final one has them again */
    return 0;
  }
  answer->has_header = true;
  answer->shown.status = parser->status_code;
  answer->shown.version_minor = parser->http_minor;
  return answer->is_bodyless ? 1 : 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t len) {
  dusk__answer_t *answer = answer_of(parser);
  int err = keep(answer, &answer->body, at, len);
  if (err < 0) return err;
  answer->shown.body = answer->body.bytes;
  answer->shown.len = answer->body.len;
  return 0;
}

static int on_message_complete(llhttp_t *parser) {
  dusk__answer_t *answer = answer_of(parser);
  if (!answer->has_header) return 0; /* an interim one */
  answer->shown.closes = !llhttp_should_keep_alive(parser);
  answer->is_whole = true;
  return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_header_field = on_field,
    .on_header_field_complete = on_field_end,
    .on_header_value = on_field,
    .on_header_value_complete = on_field_end,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* -- Reading --------------------------------------------------------------- */

const dusk__answer_t dusk__answer_no_memory = {
    .shown = {.err = UV_ENOMEM, .error = NO_MEMORY, .body = ""}};

dusk__answer_t *dusk__answer_new(void) {
  dusk__answer_t *answer = calloc(1, sizeof(*answer));
  if (answer == NULL) return NULL;
  dusk__list_init(&answer->link);
  llhttp_init(&answer->parser, HTTP_RESPONSE, &settings);
  answer->shown.error = answer->error;
  answer->shown.body = "";
  return answer;
}

void dusk__answer_free(dusk__answer_t *answer) {
  dusk__bytes_free(&answer->fields);
  dusk__bytes_free(&answer->body);
  free(answer);
}

void dusk__answer_tell(dusk__answer_t *answer, int err, const char *text) {
  answer->shown.err = err;
  answer->error[0] = '\0';
  dusk__answer_add(answer, text);
}

void dusk__answer_add(dusk__answer_t *answer, const char *text) {
  size_t len = strlen(answer->error);
  snprintf(answer->error + len, sizeof(answer->error) - len, "%s", text);
}

void dusk__answer_fail(dusk__answer_t *answer, int err, const char *text) {
  answer->is_broken = true;
  dusk__answer_tell(answer, err, text);
}

size_t dusk__answer_read(dusk__answer_t *answer, const char *bytes,
                         size_t len) {
  llhttp_t *parser = &answer->parser;
  llhttp_errno_t err = llhttp_execute(parser, bytes, len);
  if (err == HPE_OK) return len;
  if (!answer->is_whole && !answer->is_broken) {
    dusk__answer_fail(answer, UV_EPROTO, "no HTTP response: ");
    dusk__answer_add(answer, llhttp_get_error_reason(parser));
  }
  return (size_t)(llhttp_get_error_pos(parser) - bytes);
}

void dusk__answer_end(dusk__answer_t *answer) {
  llhttp_finish(&answer->parser); /* what it tells is told by is_whole */
}

bool dusk__answer_has(dusk__answer_t *answer, const char *text) {
  size_t len = strlen(text);
  const char *found = memmem(answer->shown.body + answer->heard,
                             answer->shown.len - answer->heard, text, len);
  if (found == NULL) return false;
  answer->heard = (size_t)(found - answer->shown.body) + len;
  return true;
}

/* -- Asking ---------------------------------------------------------------- */

bool dusk_test_header_at(const dusk_test_response_t *response, size_t index,
                         const char **ret_name, const char **ret_value) {
  if (response == NULL || ret_name == NULL || ret_value == NULL) return false;
  const dusk__bytes_t *fields =
      &DUSK__OWNER(response, const dusk__answer_t, shown)->fields;
  size_t at = 0;
  while (at < fields->len) {
    const char *name = fields->bytes + at;
    const char *value = name + strlen(name) + 1;
    if (index-- == 0) {
      *ret_name = name;
      *ret_value = value;
      return true;
    }
    at = (size_t)(value + strlen(value) + 1 - fields->bytes);
  }
  return false;
}

const char *dusk_test_header(const dusk_test_response_t *response,
                             const char *name) {
  const char *found, *value;
  if (name == NULL) return NULL;
  for (size_t i = 0; dusk_test_header_at(response, i, &found, &value); i++)
    if (strcasecmp(found, name) == 0) return value;
  return NULL;
}
