#include "answers.h"

#include "chars.h"
#include "served.h"

#include <stdarg.h>
#include <unistd.h>

/* What a handler knows of its request; in the request's memory. */
typedef struct call {
  answers_t *answers;
  dusk_request_t *req;
  dusk_response_t *res;
  void (*go_on)(struct call *call); /* while it waits */
  struct call *next;
  dusk_waiter_t waiter;
  uint64_t hash;
  size_t len;
  size_t pieces;
  char path[128];
} call_t;

static answers_t *all;

/* -- Beginning and end ----------------------------------------------------- */

static bool is_visible(const char *text) {
  for (; *text; text++)
    if ((unsigned char)*text <= ' ' || *text == 127) return false;
  return true;
}

static bool is_of_tokens(const char *text) {
  size_t len = 0;
  while (text[len] && dusk__is_token_char(text[len]))
    len++;
  return len > 0 && text[len] == '\0';
}

/* As RFC 9112 has it, whatever a client has sent. */
static void check_request(dusk_request_t *req) {
  const char *name, *value;
  const char *path = dusk_request_path(req);
  int minor = dusk_request_version_minor(req);
  HOLDS(is_of_tokens(dusk_request_method(req)));
  HOLDS(is_visible(dusk_request_target(req)) && *dusk_request_target(req));
  HOLDS(path == NULL || (is_visible(path) && strpbrk(path, "?#") == NULL));
  HOLDS(is_visible(dusk_request_query(req)));
  HOLDS(is_visible(dusk_request_host(req)));
  HOLDS(minor == 0 || minor == 1);
  for (size_t i = 0; dusk_request_header_at(req, i, &name, &value); i++) {
    size_t len = strlen(value);
    HOLDS(is_of_tokens(name));
    HOLDS(len == 0 ||
          (!strchr(" \t", *value) && !strchr(" \t", value[len - 1])));
    for (; *value; value++)
      HOLDS(dusk__is_text_char(*value));
  }
}

/* Of what memory has run out for. */
static void give_up(dusk_response_t *res) {
  all->running--;
  dusk_response_abort(res);
}

static call_t *begin(dusk_response_t *res, dusk_request_t *req) {
  all->steps++;
  all->running++;
  check_request(req);
  HOLDS(dusk_request_response(req) == res && dusk_response_request(res) == req);
  call_t *call = dusk_request_alloc(req, sizeof(*call));
  if (call == NULL) {
    give_up(res);
    return NULL;
  }
  memset(call, 0, sizeof(*call));
  call->req = req;
  call->res = res;
  call->hash = UINT64_C(14695981039346656037);
  return call;
}

static void forget(call_t *call) {
  call_t **at = &all->waiting;
  while (*at && *at != call)
    at = &(*at)->next;
  if (*at) *at = call->next;
}

static dusk_response_t *ending(call_t *call) {
  all->steps++;
  all->running--;
  forget(call);
  dusk_waiter_stop(&call->waiter);
  return call->res;
}

/* What a call gives is not looked at: the connection may have gone. */
static void answer(call_t *call, int status, const char *text) {
  dusk_response_text(ending(call), status, text);
}

__attribute__((format(printf, 2, 3))) static void
answer_with(call_t *call, const char *format, ...) {
  static char text[1 << 16];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof(text), format, args);
  va_end(args);
  answer(call, 200, text);
}

/* A body has failed: the server's own reply goes out, if one can. */
static void fail(call_t *call) {
  dusk_response_abort(ending(call));
}

static void wait_turn(call_t *call, void (*go_on)(call_t *call)) {
  forget(call);
  call->go_on = go_on;
  call->next = all->waiting;
  all->waiting = call;
}

void answers_go_on(answers_t *answers) {
  call_t *waiting = answers->waiting;
  answers->waiting = NULL;
  while (waiting) { /* none of them ends another one */
    call_t *call = waiting;
    waiting = call->next;
    answers->steps++;
    call->go_on(call);
  }
}

/* -- Without a body -------------------------------------------------------- */

static void on_plain(dusk_response_t *res, dusk_request_t *req, void *arg) {
  call_t *call = begin(res, req);
  (void)arg;
  if (call) answer(call, 200, "hello\n");
}

static void on_status(dusk_response_t *res, dusk_request_t *req, void *arg) {
  static const int statuses[] = {200, 204, 304, 404, 500, 299, 999};
  call_t *call = begin(res, req);
  (void)arg;
  if (call == NULL) return;
  const char *which = dusk_request_path_value(req, "which");
  int status = which && *which ? statuses[(unsigned char)*which % 7] : 200;
  dusk_response_status(res, status);
  dusk_response_end(ending(call), "body\n", status == 204 ? 0 : 5);
}

/* Sets what the query says: no text may make more than one field of it. */
static void on_fields(dusk_response_t *res, dusk_request_t *req, void *arg) {
  call_t *call = begin(res, req);
  (void)arg;
  if (call == NULL) return;
  const char *value = dusk_request_query_get(req, "v");
  const char *name = dusk_request_query_get(req, "n");
  int err = dusk_response_set_header(res, name ? name : "X-V", value);
  if (value) dusk_response_add_header(res, "X-V", value);
  dusk_response_set_header(res, "X-Err", dusk_strerror(err));
  dusk_cookie_t cookie = {.name = name, .value = value};
  err = dusk_response_set_cookie(res, &cookie);
  dusk_response_set_header(res, "X-Cookie-Err", dusk_strerror(err));
  answer(call, 200, "set\n");
}

static void on_redirect(dusk_response_t *res, dusk_request_t *req, void *arg) {
  call_t *call = begin(res, req);
  (void)arg;
  if (call == NULL) return;
  const char *to = dusk_request_query_get(req, "to");
  int err = dusk_response_redirect(ending(call), 302, to ? to : "/");
  HOLDS(err != UV_EINVAL); /* whatever it is, it is made fit for a field */
}

static void put_values(dusk_response_t *res, const dusk_values_t *values) {
  const char *name, *value;
  for (size_t i = 0; dusk_values_at(values, i, &name, &value); i++) {
    dusk_response_write(res, name, strlen(name));
    dusk_response_write(res, "\n", 1);
    dusk_response_write(res, value, strlen(value));
  }
}

/* All that a request says, back: it is the same however its bytes have come. */
static void on_dump(dusk_response_t *res, dusk_request_t *req, void *arg) {
  call_t *call = begin(res, req);
  const char *name, *value;
  (void)arg;
  if (call == NULL) return;
  const char *texts[] = {dusk_request_method(req),
                         dusk_request_target(req),
                         dusk_request_path(req),
                         dusk_request_query(req),
                         dusk_request_host(req),
                         dusk_request_pattern(req),
                         dusk_request_path_value(req, "a"),
                         dusk_request_path_value(req, "rest")};
  for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
    if (texts[i]) dusk_response_write(res, texts[i], strlen(texts[i]));
  for (size_t i = 0; dusk_request_header_at(req, i, &name, &value); i++) {
    dusk_response_write(res, name, strlen(name));
    dusk_response_write(res, value, strlen(value));
  }
  put_values(res, dusk_request_query_values(req));
  put_values(res, dusk_request_cookies(req));
  dusk_response_end(ending(call), NULL, 0);
}

static void on_large(dusk_response_t *res, dusk_request_t *req, void *arg) {
  static const char large[ANSWERS_LARGE];
  call_t *call = begin(res, req);
  (void)arg;
  if (call == NULL) return;
  dusk_response_write_ref(res, large, sizeof(large) / 2, NULL, NULL);
  dusk_response_end_ref(ending(call), large, sizeof(large) / 2, NULL, NULL);
}

static void on_inform(dusk_response_t *res, dusk_request_t *req, void *arg) {
  call_t *call = begin(res, req);
  (void)arg;
  if (call == NULL) return;
  dusk_response_set_header(res, "Link", "</a.css>; rel=preload");
  dusk_response_inform(res, 103);
  dusk_response_inform(res, 100);
  answer(call, 200, "informed\n");
}

/* -- Ends that are none ---------------------------------------------------- */

static void on_abort(dusk_response_t *res, dusk_request_t *req, void *arg) {
  call_t *call = begin(res, req);
  (void)arg;
  if (call == NULL) return;
  dusk_response_write(res, "half", 4);
  dusk_response_abort(ending(call));
}

static void on_reset(dusk_response_t *res, dusk_request_t *req, void *arg) {
  call_t *call = begin(res, req);
  (void)arg;
  if (call == NULL) return;
  all->is_unsteady = true;
  dusk_response_reset(ending(call));
}

static void on_short(dusk_response_t *res, dusk_request_t *req, void *arg) {
  call_t *call = begin(res, req);
  (void)arg;
  if (call == NULL) return;
  dusk_response_set_header(res, "Content-Length", "10");
  dusk_response_write(res, "half", 4);
  dusk_response_end(ending(call), NULL, 0);
}

static void on_hijack(dusk_response_t *res, dusk_request_t *req, void *arg) {
  call_t *call = begin(res, req);
  uv_os_sock_t fd;
  char *early;
  size_t len;
  (void)arg;
  if (call == NULL) return;
  all->is_unsteady = true;
  int err = dusk_response_hijack(res, &fd, &early, &len);
  if (err < 0) {
    answer(call, 500, "not hijacked\n");
    return;
  }
  ending(call);
  close(fd);
  free(early);
}

/* -- Later ----------------------------------------------------------------- */

static void end_late(call_t *call) {
  answer(call, 200, "late\n");
}

static void on_late(dusk_response_t *res, dusk_request_t *req, void *arg) {
  call_t *call = begin(res, req);
  (void)arg;
  if (call) wait_turn(call, end_late);
}

static void on_context_end(dusk_waiter_t *waiter) {
  call_t *call = (call_t *)(void *)((char *)waiter - offsetof(call_t, waiter));
  answer(call, 200, "held to the end\n");
}

/* Until the client closes its side, or is cut. */
static void on_hold(dusk_response_t *res, dusk_request_t *req, void *arg) {
  call_t *call = begin(res, req);
  (void)arg;
  if (call == NULL) return;
  dusk_context_t *ctx = dusk_request_context(req);
  if (ctx)
    dusk_context_after(ctx, &call->waiter, dusk_request_root(req),
                       on_context_end);
  else
    answer(call, 503, "no memory\n");
}

/* -- Bodies ---------------------------------------------------------------- */

static void take(call_t *call, const char *data, size_t len) {
  all->steps++;
  call->pieces++;
  call->len += len;
  for (size_t i = 0; i < len; i++)
    call->hash = (call->hash ^ (unsigned char)data[i]) * 1099511628211U;
}

static void answer_taken(call_t *call, const char *name) {
  const char *trailer = dusk_request_trailer(call->req, "X-T");
  answer_with(call, "%s: %zu bytes, %llx, %s\n", name, call->len,
              (unsigned long long)call->hash, trailer ? trailer : "-");
}

static void on_collected(dusk_request_t *req, int status, const char *data,
                         size_t len, void *arg) {
  call_t *call = arg;
  (void)req;
  if (status < 0) {
    fail(call);
    return;
  }
  HOLDS(data[len] == '\0');
  take(call, data, len);
  answer_taken(call, "collected");
}

static void on_collect(dusk_response_t *res, dusk_request_t *req, void *arg) {
  call_t *call = begin(res, req);
  (void)arg;
  if (call == NULL) return;
  if (dusk_request_collect(req, ANSWERS_MAX_BODY / 2, on_collected, call) < 0)
    fail(call);
}

static void resume(call_t *call) {
  dusk_request_resume(call->req);
}

static void pause_now_and_then(call_t *call) {
  if (call->pieces % 2 == 0) return;
  dusk_request_pause(call->req);
  wait_turn(call, resume);
}

static void on_piece(dusk_request_t *req, ssize_t nread, const char *data,
                     void *arg) {
  call_t *call = arg;
  HOLDS(req == call->req && nread != 0);
  if (nread > 0) {
    take(call, data, (size_t)nread);
    pause_now_and_then(call);
  } else if (nread == UV_EOF) {
    answer_taken(call, "streamed");
  } else {
    fail(call);
  }
}

static void on_stream(dusk_response_t *res, dusk_request_t *req, void *arg) {
  call_t *call = begin(res, req);
  (void)arg;
  if (call && dusk_request_body(req, on_piece, call) < 0) fail(call);
}

static void on_echo_piece(dusk_request_t *req, ssize_t nread, const char *data,
                          void *arg) {
  call_t *call = arg;
  (void)req;
  if (nread > 0) {
    take(call, data, (size_t)nread);
    dusk_response_write(call->res, data, (size_t)nread);
  } else if (nread == UV_EOF) {
    dusk_response_end(ending(call), NULL, 0);
  } else {
    fail(call);
  }
}

static void on_echo(dusk_response_t *res, dusk_request_t *req, void *arg) {
  call_t *call = begin(res, req);
  (void)arg;
  if (call && dusk_request_body(req, on_echo_piece, call) < 0) fail(call);
}

static void on_form_values(dusk_request_t *req, int status,
                           const dusk_values_t *form, void *arg) {
  call_t *call = arg;
  (void)req;
  all->steps++;
  if (form == NULL) {
    fail(call);
    return;
  }
  HOLDS(status == dusk_values_err(form));
  put_values(call->res, form);
  dusk_response_end(ending(call), NULL, 0);
}

static void on_form(dusk_response_t *res, dusk_request_t *req, void *arg) {
  call_t *call = begin(res, req);
  (void)arg;
  if (call == NULL) return;
  int err = dusk_request_form(req, ANSWERS_MAX_BODY, on_form_values, call);
  if (err < 0)
    answer(call, err == DUSK_ECONTENTTYPE ? 415 : 500, dusk_strerror(err));
}

/* -- Parts and files ------------------------------------------------------- */

static int on_part(dusk_request_t *req, const dusk_part_t *part, void *arg) {
  call_t *call = arg;
  take(call, part->name, strlen(part->name));
  take(call, part->content_type, strlen(part->content_type));
  if (part->filename == NULL) return 0;
  HOLDS(strpbrk(part->filename, "/\\") == NULL);
  HOLDS(strcmp(part->filename, ".") != 0 && strcmp(part->filename, "..") != 0);
  take(call, part->filename, strlen(part->filename));
  if (strcmp(part->name, "save") != 0) return 0;
  all->is_saving = true;
  return dusk_request_save_part(req, call->path, ANSWERS_MAX_BODY / 4);
}

static int on_part_data(dusk_request_t *req, const dusk_part_t *part,
                        const char *data, size_t len, void *arg) {
  (void)req;
  HOLDS(len > 0 && part->len >= len);
  take(arg, data, len);
  if (((call_t *)arg)->pieces % 3 == 0) pause_now_and_then(arg);
  return 0;
}

/* What a file has is what was told of it; then it goes. */
static void check_file(const call_t *call, uint64_t len) {
  char bytes[ANSWERS_MAX_BODY + 1];
  FILE *file = fopen(call->path, "rb");
  HOLDS(file != NULL);
  HOLDS(fread(bytes, 1, sizeof(bytes), file) == len);
  fclose(file);
}

static int on_part_end(dusk_request_t *req, const dusk_part_t *part,
                       void *arg) {
  call_t *call = arg;
  (void)req;
  take(call, ";", 1);
  if (part->filename && strcmp(part->name, "save") == 0)
    check_file(call, part->len);
  return 0;
}

static void on_multipart_end(dusk_request_t *req, int status, void *arg) {
  call_t *call = arg;
  (void)req;
  unlink(call->path); /* those before a failure are there */
  if (status < 0)
    fail(call);
  else
    answer_taken(call, "parts");
}

static bool name_file(call_t *call) {
  int len =
      snprintf(call->path, sizeof(call->path), "%s/file", served_folder());
  return len > 0 && (size_t)len < sizeof(call->path);
}

static void on_multipart(dusk_response_t *res, dusk_request_t *req, void *arg) {
  call_t *call = begin(res, req);
  (void)arg;
  if (call == NULL) return;
  HOLDS(name_file(call));
  dusk_multipart_config_t config = {.on_part = on_part,
                                    .on_data = on_part_data,
                                    .on_part_end = on_part_end,
                                    .on_end = on_multipart_end,
                                    .arg = call,
                                    .max_parts = 5,
                                    .max_part_bytes = ANSWERS_MAX_BODY / 2,
                                    .max_part_header_bytes = 200};
  int err = dusk_request_multipart(req, &config);
  if (err < 0)
    answer(call, err == DUSK_ECONTENTTYPE ? 415 : 400, dusk_strerror(err));
}

static void on_saved(dusk_request_t *req, int status, uint64_t len, void *arg) {
  call_t *call = arg;
  (void)req;
  call->len = (size_t)len;
  if (status == 0) check_file(call, len);
  HOLDS((access(call->path, F_OK) == 0) == (status == 0));
  unlink(call->path);
  if (status < 0)
    fail(call);
  else
    answer_taken(call, "saved");
}

static void on_save(dusk_response_t *res, dusk_request_t *req, void *arg) {
  call_t *call = begin(res, req);
  (void)arg;
  if (call == NULL) return;
  HOLDS(name_file(call));
  all->is_saving = true;
  if (dusk_request_save(req, call->path, ANSWERS_MAX_BODY, on_saved, call) < 0)
    fail(call);
}

/* -- All of them ----------------------------------------------------------- */

static dusk_strip_prefix_t stripped = {.next = {on_dump, NULL},
                                       .prefix = "/api"};
static dusk_cross_origin_t guarded = {.next = {on_plain, NULL}};
static dusk_max_bytes_t small = {.next = {on_stream, NULL}, .max_bytes = 10};

static const struct {
  const char *pattern;
  dusk_handler_cb cb;
  void *arg;
} routes[] = {
    {"/{$}", on_plain, NULL},
    {"/status/{which}", on_status, NULL},
    {"GET /fields", on_fields, NULL},
    {"/redirect", on_redirect, NULL},
    {"/dump", on_dump, NULL},
    {"/dump/{a}/{rest...}", on_dump, NULL},
    {"example.org/", on_dump, NULL},
    {"/large", on_large, NULL},
    {"/inform", on_inform, NULL},
    {"/abort", on_abort, NULL},
    {"/reset", on_reset, NULL},
    {"/short", on_short, NULL},
    {"/hijack", on_hijack, NULL},
    {"/late", on_late, NULL},
    {"/hold", on_hold, NULL},
    {"/collect", on_collect, NULL},
    {"/stream", on_stream, NULL},
    {"POST /echo", on_echo, NULL},
    {"/form", on_form, NULL},
    {"/multipart", on_multipart, NULL},
    {"/save", on_save, NULL},
    {"/tree/", on_plain, NULL},
    {"/api/", dusk_strip_prefix_serve, &stripped},
    {"/guarded", dusk_cross_origin_serve, &guarded},
    {"/small", dusk_max_bytes_serve, &small},
};

void answers_make(answers_t *answers) {
  memset(answers, 0, sizeof(*answers));
  all = answers;
  HOLDS(dusk_mux_new(&answers->mux) == 0);
  for (size_t i = 0; i < sizeof(routes) / sizeof(*routes); i++)
    HOLDS(dusk_mux_handle(answers->mux, routes[i].pattern, routes[i].cb,
                          routes[i].arg) == 0);
}

void answers_free(answers_t *answers) {
  HOLDS(answers->running == 0 && answers->waiting == NULL);
  dusk_mux_free(answers->mux);
}
