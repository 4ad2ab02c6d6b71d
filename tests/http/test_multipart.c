/* Forms that upload, as their handlers see them. */
#include "house.h"

#include "alloc.h"
#include "folder.h"

#include <sys/socket.h>

#define HEAD(length)                                                           \
  "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; "          \
  "boundary=b\r\n" length "\r\n"
#define CHUNKS HEAD("Transfer-Encoding: chunked\r\n")
#define FIELD(name, value)                                                     \
  "--b\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value     \
  "\r\n"
#define FILE_PART(name, filename, value)                                       \
  "--b\r\nContent-Disposition: form-data; name=\"" name                        \
  "\"; filename=\"" filename "\"\r\nContent-Type: text/csv\r\n\r\n" value      \
  "\r\n"
#define LAST "--b--\r\n"

enum { TOLD_BYTES = 1 << 16 };

/* A handler, and what it was told: {name|filename|type}data; and the end. */
typedef struct form {
  dusk_multipart_config_t config;
  dusk_response_t *res;
  dusk_request_t *req;
  char told[TOLD_BYTES];
  size_t told_len;
  int begun;
  int ended;
  int status;
  uint64_t part_len; /* of the last part, at its end */

  char pauses_at;       /* '{', 'd' or ';': each such callback pauses */
  bool is_paused;       /* and until then none may come */
  char fails_at;        /* likewise; what it returns is UV_EPERM */
  char ends_at;         /* or it ends the response */
  const char *saves_to; /* a folder for files; NULL: they are data */
  uint64_t max_saved;
} form_t;

static void put(form_t *form, const char *text, size_t len) {
  assert_true(form->told_len + len < TOLD_BYTES);
  memcpy(form->told + form->told_len, text, len);
  form->told_len += len;
  form->told[form->told_len] = '\0';
}

static void put_text(form_t *form, const char *text) {
  if (text == NULL) text = "-";
  put(form, text, strlen(text));
}

static int react(form_t *form, char place) {
  assert_false(form->is_paused);
  assert_int_equal(form->ended, 0);
  if (form->pauses_at == place) {
    dusk_request_pause(form->req);
    form->is_paused = true;
  }
  if (form->ends_at == place) dusk_response_text(form->res, 200, "enough\n");
  return form->fails_at == place ? UV_EPERM : 0;
}

static int on_part(dusk_request_t *req, const dusk_part_t *part, void *arg) {
  form_t *form = arg;
  assert_ptr_equal(req, form->req);
  assert_int_equal(part->len, 0);
  put_text(form, "{");
  put_text(form, part->name);
  put_text(form, "|");
  put_text(form, part->filename);
  put_text(form, "|");
  put_text(form, part->content_type);
  put_text(form, "}");
  if (form->saves_to && part->filename) {
    char path[384];
    snprintf(path, sizeof(path), "%s/%s", form->saves_to, part->filename);
    int err = dusk_request_save_part(req, path, form->max_saved);
    if (err < 0) return err;
    assert_int_equal(dusk_request_save_part(req, path, 1), UV_EINVAL);
  }
  return react(form, '{');
}

static int on_data(dusk_request_t *req, const dusk_part_t *part,
                   const char *data, size_t len, void *arg) {
  form_t *form = arg;
  assert_true(len > 0 && part->len >= len);
  assert_ptr_equal(req, form->req);
  put(form, data, len);
  return react(form, 'd');
}

static int on_part_end(dusk_request_t *req, const dusk_part_t *part,
                       void *arg) {
  form_t *form = arg;
  assert_ptr_equal(req, form->req);
  form->part_len = part->len;
  put_text(form, ";");
  assert_int_equal(dusk_request_save_part(req, "x", 1), UV_EINVAL);
  return react(form, ';');
}

static void on_end(dusk_request_t *req, int status, void *arg) {
  form_t *form = arg;
  assert_ptr_equal(req, form->req);
  assert_int_equal(form->ended++, 0);
  assert_false(form->is_paused);
  form->status = status;
  if (status == 0)
    dusk_response_text(form->res, 200, "taken\n");
  else if (status == UV_EPERM)
    dusk_response_text(form->res, 403, "refused\n");
  else
    dusk_response_abort(form->res);
}

static void handle(dusk_response_t *res, dusk_request_t *req, void *arg) {
  form_t *form = arg;
  form->res = res;
  form->req = req;
  form->told_len = 0;
  form->told[0] = '\0';
  form->ended = 0;
  form->status = 1;
  form->begun++;
  form->config.on_part = on_part;
  form->config.on_data = on_data;
  form->config.on_part_end = on_part_end;
  form->config.on_end = on_end;
  form->config.arg = form;
  int err = dusk_request_multipart(req, &form->config);
  if (err == DUSK_ECONTENTTYPE)
    dusk_response_text(res, 415, "no form\n");
  else if (err == DUSK_ENOBOUNDARY)
    dusk_response_text(res, 400, "no boundary\n");
  else if (err < 0)
    dusk_response_text(res, 503, "");
}

static void open_server(loopback_t *lb, form_t *form) {
  serve(lb, (dusk_server_config_t){.handler = handle,
                                   .handler_arg = form,
                                   .max_body_bytes = 1 << 24});
}

static form_t *blank_form(void) {
  static form_t form;
  memset(&form, 0, sizeof(form));
  return &form;
}

/* Resumes whenever it pauses, until `done`. */
static void go_through(loopback_t *lb, form_t *form, const int *done) {
  uv_timer_t watch;
  loopback_watch(lb, &watch);
  while (!*done) {
    if (form->is_paused) {
      uv_run(&lb->loop, UV_RUN_NOWAIT); /* nothing comes meanwhile */
      form->is_paused = false;
      dusk_request_resume(form->req);
    }
    uv_run(&lb->loop, UV_RUN_NOWAIT);
  }
  loopback_unwatch(lb, &watch);
}

/* A request of that body, chunked or not. */
static char *request_of(const char *type, const char *body, bool is_chunked) {
  size_t size = strlen(body) + 512;
  char *text = malloc(size);
  int len = snprintf(
      text, size, "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\n", type);
  if (is_chunked)
    snprintf(text + len, size - (size_t)len,
             "Transfer-Encoding: chunked\r\n\r\n%zx\r\n%s\r\n0\r\n\r\n",
             strlen(body), body);
  else
    snprintf(text + len, size - (size_t)len, "Content-Length: %zu\r\n\r\n%s",
             strlen(body), body);
  return text;
}

#define TYPE "multipart/form-data; boundary=b"

/* -- What clients send ----------------------------------------------------- */

static void expect_form(loopback_t *lb, const char *type, const char *body,
                        const char *wanted) {
  form_t *form = blank_form();
  open_server(lb, form);
  int client = connect_client(lb);
  for (int is_chunked = 0; is_chunked < 2; is_chunked++) {
    char *request = request_of(type, body, is_chunked);
    say_all(lb, client, request);
    assert_has(hear(lb, client, "taken\n"), " 200 ");
    assert_string_equal(form->told, wanted);
    free(request);
  }
  end_all(lb);
}

static void forms_of_real_clients_are_taken(void **state) {
  loopback_t *lb = *state;
  /* curl 7.88: -F a=1 -F 'f=@x.csv' -F 'g=@q"\.txt;type=text/x' */
  expect_form(
      lb,
      "multipart/form-data; boundary=------------------------d74496d66958873e",
      "--------------------------d74496d66958873e\r\n"
      "Content-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n"
      "--------------------------d74496d66958873e\r\n"
      "Content-Disposition: form-data; name=\"f\"; filename=\"x.csv\"\r\n"
      "Content-Type: text/csv\r\n\r\n1,2\n\r\n"
      "--------------------------d74496d66958873e\r\n"
      "Content-Disposition: form-data; name=\"g\"; filename=\"q%22.txt\"\r\n"
      "Content-Type: text/x\r\n\r\n\r\n"
      "--------------------------d74496d66958873e--\r\n",
      "{a|-|text/plain}1;{f|x.csv|text/csv}1,2\n;{g|q\".txt|text/x};");
  /* Chromium */
  expect_form(
      lb, "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
      "------WebKitFormBoundary7MA4YWxkTrZu0gW\r\n"
      "Content-Disposition: form-data; name=\"text\"\r\n\r\n"
      "two\r\nlines\r\n"
      "------WebKitFormBoundary7MA4YWxkTrZu0gW\r\n"
      "Content-Disposition: form-data; name=\"file\"; filename=\"\"\r\n"
      "Content-Type: application/octet-stream\r\n\r\n\r\n"
      "------WebKitFormBoundary7MA4YWxkTrZu0gW--\r\n",
      "{text|-|text/plain}two\r\nlines;{file||application/octet-stream};");
  /* Firefox */
  expect_form(lb,
              "multipart/form-data; "
              "boundary=---------------------------735323031399963166993862150",
              "-----------------------------735323031399963166993862150\r\n"
              "Content-Disposition: form-data; name=\"f\"; "
              "filename=\"\xc3\xa9t\xc3\xa9.txt\"\r\n"
              "Content-Type: text/plain\r\n\r\nx\r\n"
              "-----------------------------735323031399963166993862150--\r\n",
              "{f|\xc3\xa9t\xc3\xa9.txt|text/plain}x;");
  /* Firefox, fetch with FormData, of 2024 and later; and an empty one */
  expect_form(lb,
              "multipart/form-data; "
              "boundary=----geckoformboundary8c79e61efa53dc5d441481912ad86439",
              "------geckoformboundary8c79e61efa53dc5d441481912ad86439--\r\n",
              "");
  /* Python: requests.post(url, files={'f': open('x.csv')}, data={'a': 1}) */
  expect_form(
      lb, "multipart/form-data; boundary=c0c46a5929c2ce4c935c9cff85bf11d4",
      "--c0c46a5929c2ce4c935c9cff85bf11d4\r\n"
      "Content-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n"
      "--c0c46a5929c2ce4c935c9cff85bf11d4\r\n"
      "Content-Disposition: form-data; name=\"f\"; filename=\"x.csv\"\r\n"
      "\r\n1,2\n\r\n"
      "--c0c46a5929c2ce4c935c9cff85bf11d4--\r\n",
      "{a|-|text/plain}1;{f|x.csv|text/plain}1,2\n;");
  /* .NET's MultipartFormDataContent */
  expect_form(lb,
              "multipart/form-data; "
              "boundary=\"6a1c0d0e-6f4e-4c2f-9a5a-0a5b5d3a8f1e\"",
              "--6a1c0d0e-6f4e-4c2f-9a5a-0a5b5d3a8f1e\r\n"
              "Content-Type: text/plain; charset=utf-8\r\n"
              "Content-Disposition: form-data; name=a\r\n\r\n1\r\n"
              "--6a1c0d0e-6f4e-4c2f-9a5a-0a5b5d3a8f1e\r\n"
              "Content-Disposition: form-data; name=f; filename=x.bin; "
              "filename*=utf-8''x.bin\r\n\r\nx\r\n"
              "--6a1c0d0e-6f4e-4c2f-9a5a-0a5b5d3a8f1e--\r\n",
              "{a|-|text/plain; charset=utf-8}1;{f|x.bin|text/plain}x;");
  /* Go's multipart.Writer */
  expect_form(lb,
              "multipart/form-data; boundary=b1e2d3c4b5a69788796a5b4c3d2e1f00"
              "b1e2d3c4b5a69788796a5b4c3d2e",
              "--b1e2d3c4b5a69788796a5b4c3d2e1f00b1e2d3c4b5a69788796a5b4c3d2e"
              "\r\nContent-Disposition: form-data; name=\"f\"; "
              "filename=\"a\\\"b\"\r\n"
              "Content-Type: application/octet-stream\r\n\r\nx\r\n"
              "--b1e2d3c4b5a69788796a5b4c3d2e1f00b1e2d3c4b5a69788796a5b4c3d2e--"
              "\r\n",
              "{f|a\"b|application/octet-stream}x;");
}

static void names_of_files_have_no_folders(void **state) {
  loopback_t *lb = *state;
  expect_form(lb, TYPE,
              FILE_PART("f", "a/b", "") FILE_PART("f", "../../etc/passwd", "")
                  FILE_PART("f", "C:\\\\dir\\\\x.txt", "")
                      FILE_PART("f", "..", "") FILE_PART("f", "a/..", "")
                          FILE_PART("f", ".", "") FILE_PART("f", "a/", "")
                              FILE_PART("f", "/", "")
                                  FILE_PART("f", ".profile", "") LAST,
              "{f|b|text/csv};{f|passwd|text/csv};{f|x.txt|text/csv};"
              "{f||text/csv};{f||text/csv};{f||text/csv};{f||text/csv};"
              "{f||text/csv};{f|.profile|text/csv};");
}

static int ask_part(dusk_request_t *req, const dusk_part_t *part, void *arg) {
  (void)req;
  assert_string_equal(part->raw_filename, "../x\r\n");
  assert_string_equal(part->filename, "x\r\n");
  assert_string_equal(dusk_part_header(part, "x-id"), "7");
  assert_null(dusk_part_header(part, "x-other"));
  assert_null(dusk_part_header(part, NULL));
  assert_null(dusk_part_header(NULL, "x-id"));
  ++*(int *)arg;
  return 0;
}

static void end_at_once(dusk_request_t *req, int status, void *arg) {
  (void)arg;
  assert_int_equal(status, 0);
  dusk_response_text(dusk_request_response(req), 200, "taken\n");
}

static void ask_all(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)res;
  dusk_multipart_config_t config = {
      .on_part = ask_part, .on_end = end_at_once, .arg = arg};
  assert_int_equal(dusk_request_multipart(req, &config), 0);
  memset(&config, 0xff, sizeof(config)); /* it was copied */
}

static void a_part_tells_its_header(void **state) {
  loopback_t *lb = *state;
  int calls = 0;
  serve(lb, (dusk_server_config_t){.handler = ask_all, .handler_arg = &calls});
  int client = connect_client(lb);
  char *request = request_of(TYPE,
                             "--b\r\nX-ID: 7\r\nContent-Disposition: "
                             "form-data; name=f; filename=\"../x%0D%0A\"\r\n"
                             "\r\ndata\r\n--b--",
                             false);
  say(client, request);
  hear(lb, client, "taken\n");
  assert_int_equal(calls, 1);
  free(request);
}

/* -- Pieces and pauses ----------------------------------------------------- */

static const char some_form[] =
    FIELD("a", "1") FILE_PART("f", "x", "\r\n--\r\nlong\r\n--bb") FIELD("e", "")
        FIELD("g", "22") LAST "epilogue";
static const char some_told[] = "{a|-|text/plain}1;{f|x|text/csv}\r\n--\r\nlong"
                                "\r\n--bb;{e|-|text/plain};{g|-|text/plain}22;";

static void say_slowly(loopback_t *lb, int client, form_t *form,
                       const char *text) {
  for (; *text; text++) {
    char byte[2] = {*text};
    say(client, byte);
    turn(lb, 1);
    if (form->is_paused) {
      turn(lb, 1);
      form->is_paused = false;
      dusk_request_resume(form->req);
    }
  }
}

static void a_form_comes_in_any_pieces(void **state) {
  loopback_t *lb = *state;
  form_t *form = blank_form();
  open_server(lb, form);
  int client = connect_client(lb);
  for (int is_chunked = 0; is_chunked < 2; is_chunked++) {
    char *request = request_of(TYPE, some_form, is_chunked);
    say_slowly(lb, client, form, request);
    hear(lb, client, "taken\n");
    assert_string_equal(form->told, some_told);
    free(request);
  }
}

/* Each callback of a kind pauses; in one piece, and byte by byte. */
static void a_pause_holds_what_has_come(void **state) {
  loopback_t *lb = *state;
  for (const char *place = "{d;"; *place; place++) {
    for (int way = 0; way < 4; way++) {
      form_t *form = blank_form();
      form->pauses_at = *place;
      open_server(lb, form);
      int client = connect_client(lb);
      char *request = request_of(TYPE, some_form, way & 1);
      if (way & 2)
        say_slowly(lb, client, form, request);
      else
        say(client, request);
      AWAIT(lb, form->begun);
      go_through(lb, form, &form->ended);
      assert_string_equal(form->told, some_told);
      assert_has(hear(lb, client, "taken\n"), " 200 ");
      /* and the connection goes on */
      form->pauses_at = '\0';
      say(client, request);
      hear(lb, client, "taken\n");
      assert_string_equal(form->told, some_told);
      assert_int_equal(form->begun, 2);
      free(request);
      end_all(lb);
    }
  }
}

/* What is left of a piece moves when room is made for more of the body. */
static void a_pause_outlasts_what_follows(void **state) {
  loopback_t *lb = *state;
  form_t *form = blank_form();
  form->pauses_at = '{';
  open_server(lb, form);
  enum { PARTS = 4000 };
  char *body = malloc(PARTS * 100), *wanted = malloc(PARTS * 100);
  size_t len = 0, wanted_len = 0;
  for (int i = 0; i < 900; i++) {
    len += (size_t)sprintf(body + len, FIELD("%d", "value %d"), i, i);
    wanted_len += (size_t)sprintf(wanted + wanted_len,
                                  "{%d|-|text/plain}value %d;", i, i);
  }
  sprintf(body + len, LAST);
  char *request = request_of(TYPE, body, true);
  int client = connect_client(lb);
  say(client, request);
  AWAIT(lb, form->begun);
  go_through(lb, form, &form->ended);
  hear(lb, client, "taken\n");
  assert_string_equal(form->told, wanted);
  free(request);
  free(body);
  free(wanted);
}

static void a_paused_client_may_leave(void **state) {
  loopback_t *lb = *state;
  form_t *form = blank_form();
  form->pauses_at = 'd';
  open_server(lb, form);
  int client = connect_client(lb);
  char *request = request_of(TYPE, some_form, false);
  say(client, request);
  AWAIT(lb, form->is_paused);
  struct linger now = {.l_onoff = 1};
  setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  leave(lb, client);
  form->is_paused = false; /* the end comes all the same */
  AWAIT(lb, form->ended);
  assert_true(form->status == UV_ECONNRESET || form->status == UV_ECANCELED);
  free(request);
}

/* Who has sent it all and closed his side is still told and answered. */
static void a_paused_client_may_half_close(void **state) {
  loopback_t *lb = *state;
  form_t *form = blank_form();
  form->pauses_at = 'd';
  open_server(lb, form);
  int client = connect_client(lb);
  char *request = request_of(TYPE, some_form, false);
  say(client, request);
  shutdown(client, SHUT_WR);
  AWAIT(lb, form->is_paused);
  turn(lb, 5);
  go_through(lb, form, &form->ended);
  assert_string_equal(form->told, some_told);
  hear(lb, client, "taken\n");
  free(request);
}

/* -- Refused --------------------------------------------------------------- */

/* The reply to a body, of which `told` is told before. */
static void expect_end(loopback_t *lb, form_t *form, const char *body,
                       int status, const char *reply) {
  for (int is_chunked = 0; is_chunked < 2; is_chunked++) {
    open_server(lb, form);
    int client = connect_client(lb);
    char *request = request_of(TYPE, body, is_chunked);
    say_all(lb, client, request);
    shutdown(client, SHUT_WR); /* so that the end comes soon */
    assert_has(hear(lb, client, NULL), reply);
    assert_int_equal(form->ended, 1);
    if (form->status != status) fail_msg("%s: %d", body, form->status);
    free(request);
    end_all(lb);
  }
}

static void what_is_no_form_is_400(void **state) {
  loopback_t *lb = *state;
  static const char *const bodies[] = {
      "",
      "x",
      "--b",
      "--b\r\n",
      FIELD("a", "1"),
      FIELD("a", "1") "--b",
      FIELD("a", "1") "--b-\r\n",
      FIELD("a", "1") "--b\r\n--b--",
      "--b\r\n\r\nno header\r\n" LAST,
      "--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n" LAST,
      "--b\nContent-Disposition: form-data; name=a\n\nx\n--b--\n",
      "--c\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--c--\r\n",
      FIELD("a", "1") "--b\r\nContent-Disposition: form-data; name=\"\r\n\r\n"
                      "x\r\n" LAST,
  };
  for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++)
    expect_end(lb, blank_form(), bodies[i], DUSK_EBADBODY, " 400 ");
}

static void limits_are_413(void **state) {
  loopback_t *lb = *state;
  form_t *form = blank_form();
  form->config.max_parts = 2;
  expect_end(lb, form, FIELD("a", "1") FIELD("b", "2") LAST, 0, " 200 ");
  expect_end(lb, form, FIELD("a", "1") FIELD("b", "2") FIELD("c", "3") LAST,
             DUSK_EBODYTOOLARGE, " 413 ");
  form = blank_form();
  form->config.max_part_bytes = 4;
  expect_end(lb, form, FIELD("a", "1234") FIELD("b", "\r\n--") LAST, 0,
             " 200 ");
  expect_end(lb, form, FIELD("a", "1234") FIELD("b", "12345") LAST,
             DUSK_EBODYTOOLARGE, " 413 ");
  form = blank_form();
  form->config.max_bytes = sizeof(some_form) - 1;
  expect_end(lb, form, some_form, 0, " 200 ");
  form->config.max_bytes--;
  expect_end(lb, form, some_form, DUSK_EBODYTOOLARGE, " 413 ");
}

static void a_limit_counts_each_byte_once(void **state) {
  loopback_t *lb = *state;
  form_t *form = blank_form();
  form->config.max_bytes = sizeof(some_form) - 1;
  form->pauses_at = 'd';
  open_server(lb, form);
  int client = connect_client(lb);
  char *request = request_of(TYPE, some_form, true);
  say(client, request);
  AWAIT(lb, form->begun);
  go_through(lb, form, &form->ended);
  assert_int_equal(form->status, 0);
  free(request);
}

/* With an empty line behind it, and in any capacity. */
static void headers_have_a_limit_of_their_own(void **state) {
  loopback_t *lb = *state;
  enum { FRAME = sizeof("X: \r\n\r\n") - 1 };
  static const char disposition[] =
      "Content-Disposition: form-data; name=a\r\n";
  size_t limits[] = {100, 512, 513, 8192, 0, 20000, DUSK_OFF};
  for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
    form_t *form = blank_form();
    form->config.max_part_header_bytes = limits[i];
    size_t max = limits[i] ? limits[i] : 8192;
    if (max > 50000) max = 50000;
    char *body = malloc(max + 200);
    for (size_t over = 0; over < 2; over++) {
      size_t fill = max - (sizeof(disposition) - 1) - FRAME + over;
      sprintf(body, "--b\r\n%sX: %0*d\r\n\r\n1\r\n" LAST, disposition,
              (int)fill, 0);
      bool is_refused = over && limits[i] != DUSK_OFF;
      expect_end(lb, form, body, is_refused ? DUSK_EBODYTOOLARGE : 0,
                 is_refused ? " 413 " : " 200 ");
    }
    free(body);
  }
}

static void too_much_is_refused_before_100_continue(void **state) {
  loopback_t *lb = *state;
  form_t *form = blank_form();
  form->config.max_bytes = 10;
  open_server(lb, form);
  int client = connect_client(lb);
  say(client, HEAD("Content-Length: 11\r\nExpect: 100-continue\r\n"));
  const char *heard = hear(lb, client, NULL);
  assert_has(heard, " 413 ");
  assert_lacks(heard, " 100 ");
}

static void what_is_not_multipart_is_told_at_once(void **state) {
  loopback_t *lb = *state;
  form_t *form = blank_form();
  open_server(lb, form);
  int client = connect_client(lb);
  say(client, GET);
  assert_has(hear(lb, client, "no form\n"), " 415 ");
  char *request = request_of("application/x-www-form-urlencoded", "a=1", false);
  say(client, request);
  assert_has(hear(lb, client, "no form\n"), " 415 ");
  free(request);
  request = request_of("multipart/form-data", "", false);
  say(client, request);
  assert_has(hear(lb, client, "no boundary\n"), " 400 ");
  free(request);
}

static void a_callback_may_refuse(void **state) {
  loopback_t *lb = *state;
  static const char *const told[] = {"{a|-|text/plain}", "{a|-|text/plain}1",
                                     "{a|-|text/plain}1;"};
  for (int i = 0; i < 3; i++) {
    form_t *form = blank_form();
    form->fails_at = "{d;"[i];
    expect_end(lb, form, some_form, UV_EPERM, " 403 ");
    assert_string_equal(form->told, told[i]);
  }
}

static void a_callback_may_end_the_response(void **state) {
  loopback_t *lb = *state;
  for (const char *place = "{d;"; *place; place++) {
    form_t *form = blank_form();
    form->ends_at = *place;
    open_server(lb, form);
    int client = connect_client(lb);
    for (int is_chunked = 0; is_chunked < 2; is_chunked++) {
      char *request = request_of(TYPE, some_form, is_chunked);
      say(client, request);
      hear(lb, client, "enough\n");
      assert_int_equal(count_of(form->told, "{"), 1);
      assert_int_equal(form->ended, 0);
      free(request);
    }
    assert_int_equal(form->begun, 2); /* on one connection */
    end_all(lb);
  }
}

/* -- Files ----------------------------------------------------------------- */

static void parts_become_files(void **state) {
  loopback_t *lb = *state;
  folder_t folder;
  folder_make(&folder);
  for (int is_slow = 0; is_slow < 2; is_slow++) {
    form_t *form = blank_form();
    form->saves_to = folder.path;
    form->max_saved = 14;
    open_server(lb, form);
    int client = connect_client(lb);
    char *request =
        request_of(TYPE,
                   FIELD("a", "1") FILE_PART("f", "x", "\r\n--bb")
                       FILE_PART("f", "../y", "14 bytes of it")
                           FILE_PART("f", "z", "") FIELD("b", "2") LAST,
                   false);
    if (is_slow)
      say_slowly(lb, client, form, request);
    else
      say(client, request);
    hear(lb, client, "taken\n");
    assert_string_equal(form->told, "{a|-|text/plain}1;{f|x|text/csv};"
                                    "{f|y|text/csv};{f|z|text/csv};"
                                    "{b|-|text/plain}2;");
    assert_string_equal(folder_read(&folder, "x"), "\r\n--bb");
    assert_string_equal(folder_read(&folder, "y"), "14 bytes of it");
    assert_string_equal(folder_read(&folder, "z"), "");
    assert_int_equal(folder_count(&folder, false), 3);
    assert_int_equal(folder_count(&folder, true), 0);
    free(request);
    end_all(lb);
  }
  folder_remove(&folder);
}

/* A line end in it begins a delimiter each time. */
static void a_large_part_becomes_a_file(void **state) {
  loopback_t *lb = *state;
  folder_t folder;
  folder_make(&folder);
  enum { LEN = 2000000 };
  char *body = malloc(LEN + 1000);
  for (int way = 0; way < 4; way++) {
    form_t *form = blank_form();
    form->saves_to = folder.path;
    form->max_saved = LEN;
    form->pauses_at = way & 2 ? '{' : '\0'; /* the user's pause, too */
    open_server(lb, form);
    size_t head = (size_t)sprintf(
        body, "--b\r\nContent-Disposition: form-data; name=f; filename=x\r\n"
              "\r\n");
    for (size_t i = 0; i < LEN; i++)
      body[head + i] = "abc\r\n--bx\r"[i % 10];
    sprintf(body + head + LEN, "\r\n" FIELD("e", "end") LAST);
    char *request = request_of(TYPE, body, way & 1);
    int client = connect_client(lb);
    for (const char *at = request; *at;) {
      ssize_t n = send(client, at, strlen(at), MSG_NOSIGNAL);
      if (n > 0) at += n;
      turn(lb, 1);
      if (form->is_paused) {
        form->is_paused = false;
        dusk_request_resume(form->req);
      }
    }
    go_through(lb, form, &form->ended);
    assert_int_equal(form->status, 0);
    assert_string_equal(form->told, "{f|x|text/plain};{e|-|text/plain}end;");
    FILE *file = fopen(folder_at(&folder, "x"), "rb");
    for (size_t i = 0; i < LEN; i++)
      assert_int_equal(fgetc(file), "abc\r\n--bx\r"[i % 10]);
    assert_int_equal(fgetc(file), EOF);
    fclose(file);
    free(request);
    end_all(lb);
  }
  free(body);
  folder_remove(&folder);
}

static void a_file_that_fails_fails_the_form(void **state) {
  loopback_t *lb = *state;
  folder_t folder;
  folder_make(&folder);
  form_t *form = blank_form();
  form->saves_to = folder.path;
  form->max_saved = 3;
  expect_end(lb, form,
             FILE_PART("f", "ok", "123") FILE_PART("f", "x", "1234") LAST,
             DUSK_EBODYTOOLARGE, " 413 ");
  assert_string_equal(form->told, "{f|ok|text/csv};{f|x|text/csv}");
  assert_int_equal(folder_count(&folder, false), 1);
  assert_int_equal(folder_count(&folder, true), 0);
  form = blank_form();
  form->saves_to = "/dev/null";
  form->max_saved = DUSK_OFF;
  open_server(lb, form);
  int client = connect_client(lb);
  char *request =
      request_of(TYPE, FILE_PART("f", "x", "1") FIELD("a", "") LAST, false);
  say(client, request);
  AWAIT(lb, form->ended);
  assert_int_equal(form->status, UV_ENOTDIR);
  assert_string_equal(form->told, "{f|x|text/csv}");
  free(request);
  end_all(lb);
  folder_remove(&folder);
}

static void await_nothing(loopback_t *lb, form_t *form, folder_t *folder,
                          int status) {
  AWAIT(lb, form->ended);
  assert_int_equal(form->status, status);
  AWAIT(lb, folder_count(folder, true) == 0);
  assert_int_equal(folder_count(folder, false), 0);
  end_all(lb);
  folder_remove(folder);
}

static char *long_value(void) {
  static char text[60001];
  memset(text, 'x', 60000);
  return text;
}

/* A part has begun to come, and is on the disk in part. */
static int hold_file(loopback_t *lb, form_t *form, folder_t *folder) {
  folder_make(folder);
  form->saves_to = folder->path;
  form->max_saved = DUSK_OFF;
  open_server(lb, form);
  int client = connect_client(lb);
  say(client, HEAD("Content-Length: 100000\r\n"));
  say(client, "--b\r\nContent-Disposition: form-data; name=f; filename=x\r\n"
              "\r\n");
  say_all(lb, client, long_value());
  AWAIT(lb, folder_count(folder, true) == 1);
  return client;
}

static void who_leaves_within_a_file_leaves_nothing(void **state) {
  loopback_t *lb = *state;
  folder_t folder;
  form_t *form = blank_form();
  int client = hold_file(lb, form, &folder);
  leave(lb, client);
  await_nothing(lb, form, &folder, UV_ECONNRESET);
}

static void a_canceled_context_leaves_nothing(void **state) {
  loopback_t *lb = *state;
  folder_t folder;
  form_t *form = blank_form();
  hold_file(lb, form, &folder);
  dusk_context_cancel(dusk_request_context(form->req), NULL);
  await_nothing(lb, form, &folder, UV_ECANCELED);
}

static void a_drain_that_cuts_leaves_nothing(void **state) {
  loopback_t *lb = *state;
  folder_t folder;
  form_t *form = blank_form();
  hold_file(lb, form, &folder);
  assert_int_equal(stop(lb, 50).status, UV_ETIMEDOUT);
  await_nothing(lb, form, &folder, UV_ECANCELED);
}

static void a_handler_that_ends_leaves_nothing(void **state) {
  loopback_t *lb = *state;
  folder_t folder;
  form_t *form = blank_form();
  int client = hold_file(lb, form, &folder);
  dusk_response_text(form->res, 200, "enough\n");
  hear(lb, client, "enough\n");
  say_all(lb, client, long_value());
  AWAIT(lb, folder_count(&folder, true) == 0);
  assert_int_equal(form->ended, 0);
  assert_int_equal(folder_count(&folder, false), 0);
  end_all(lb);
  folder_remove(&folder);
}

static void on_part_end_may_end_behind_a_file(void **state) {
  loopback_t *lb = *state;
  folder_t folder;
  folder_make(&folder);
  form_t *form = blank_form();
  form->saves_to = folder.path;
  form->max_saved = DUSK_OFF;
  form->ends_at = ';';
  open_server(lb, form);
  int client = connect_client(lb);
  char *request =
      request_of(TYPE, FILE_PART("f", "x", "1") FIELD("a", "2") LAST, false);
  for (int i = 1; i <= 2; i++) {
    say(client, request);
    hear(lb, client, "enough\n");
    assert_int_equal(form->begun, i);
    assert_int_equal(form->ended, 0);
    assert_string_equal(form->told, "{f|x|text/csv};");
    assert_string_equal(folder_read(&folder, "x"), "1");
  }
  form->ends_at = '\0';
  form->fails_at = ';';
  say(client, request);
  assert_has(hear(lb, client, "refused\n"), " 403 ");
  free(request);
  end_all(lb);
  folder_remove(&folder);
}

/* -- Misuse, and memory ---------------------------------------------------- */

static void misuse_is_told(void **state) {
  loopback_t *lb = *state;
  hold(lb, DEFAULTS, CHUNKS);
  form_t *form = blank_form();
  dusk_request_t *req = lb->held.req;
  struct {
    dusk_multipart_config_t config;
    uint64_t unknown;
  } newer = {.config = {.on_end = on_end}, .unknown = 1};
  assert_int_equal(dusk_request_multipart(req, NULL), UV_EINVAL);
  assert_int_equal(dusk_request_multipart(req, &form->config), UV_EINVAL);
  assert_int_equal(
      dusk_request_multipart_sized(req, &newer.config, sizeof(newer)),
      UV_EINVAL);
  assert_int_equal(dusk_request_save_part(req, "x", 1), UV_EINVAL);
  assert_int_equal(dusk_request_save_part(req, NULL, 1), UV_EINVAL);
  assert_int_equal(dusk_request_save_part(req, "", 1), UV_EINVAL);
  newer.unknown = 0;
  assert_int_equal(
      dusk_request_multipart_sized(req, &newer.config, sizeof(newer)), 0);
  assert_int_equal(dusk_request_multipart(req, &newer.config), DUSK_EBODYTAKEN);
  dusk_response_end(lb->held.res, NULL, 0);
}

static void each_allocation_may_fail(void **state) {
  loopback_t *lb = *state;
  folder_t folder;
  folder_make(&folder);
  char *body = malloc(200000);
  sprintf(body,
          "--b\r\nX: %03000d\r\nContent-Disposition: form-data; name=f; "
          "filename=x\r\n\r\n%s\r\n" LAST,
          0, long_value());
  char *request = request_of(TYPE "\r\nConnection: close", body, false);
  bool has_failed = true;
  for (size_t n = 1; has_failed; n++) {
    form_t *form = blank_form();
    form->saves_to = folder.path;
    form->max_saved = DUSK_OFF;
    open_server(lb, form);
    int client = connect_client(lb);
    turn(lb, 3);
    alloc_fail_at(n);
    say_all(lb, client, request);
    const char *heard = hear(lb, client, NULL);
    has_failed = alloc_has_failed();
    alloc_fail_at(0);
    bool was_taken = strstr(heard, " 200 ") != NULL;
    if (!was_taken && *heard) assert_has(heard, " 503 ");
    assert_true(was_taken || has_failed);
    end_all(lb);
    assert_int_equal(folder_count(&folder, true), 0);
    assert_true(was_taken == (folder_read(&folder, "x") != NULL));
    unlink(folder_at(&folder, "x"));
  }
  free(request);
  free(body);
  folder_remove(&folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      house_test(forms_of_real_clients_are_taken),
      house_test(names_of_files_have_no_folders),
      house_test(a_part_tells_its_header),
      house_test(a_form_comes_in_any_pieces),
      house_test(a_pause_holds_what_has_come),
      house_test(a_pause_outlasts_what_follows),
      house_test(a_paused_client_may_leave),
      house_test(a_paused_client_may_half_close),
      house_test(what_is_no_form_is_400),
      house_test(limits_are_413),
      house_test(a_limit_counts_each_byte_once),
      house_test(headers_have_a_limit_of_their_own),
      house_test(too_much_is_refused_before_100_continue),
      house_test(what_is_not_multipart_is_told_at_once),
      house_test(a_callback_may_refuse),
      house_test(a_callback_may_end_the_response),
      house_test(parts_become_files),
      house_test(a_large_part_becomes_a_file),
      house_test(a_file_that_fails_fails_the_form),
      house_test(who_leaves_within_a_file_leaves_nothing),
      house_test(a_canceled_context_leaves_nothing),
      house_test(a_drain_that_cuts_leaves_nothing),
      house_test(a_handler_that_ends_leaves_nothing),
      house_test(on_part_end_may_end_behind_a_file),
      house_test(misuse_is_told),
      house_test(each_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
