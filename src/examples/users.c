/* users.c [ADDRESS [DATABASE [TIMEOUT_MS]]]: users as JSON, kept by SQLite. Who
 * writes sends the token that is USERS_TOKEN in the environment. */
#include "serve.h"
#include "sql.h"
#include "users_sql.h"

static sql_db_t db, report_db;

static void on_row(int rc, const char *text, void *res) {
  const char *method = dusk_request_method(dusk_response_request(res));
  if (rc == SQLITE_ROW)
    dusk_response_json(res, strcmp(method, "POST") == 0 ? 201 : 200, text);
  else if (rc == SQLITE_DONE)
    dusk_response_not_found(res);
  else if ((rc & 0xff) == SQLITE_CONSTRAINT)
    dusk_response_error(res, rc == SQLITE_CONSTRAINT_UNIQUE ? 409 : 400, text);
  else
    dusk_response_error(res, 503, text); /* locked, full, interrupted */
}

static void query(dusk_response_t *res, sql_db_t *on, char *sql, json_t *args) {
  dusk_context_t *ctx = dusk_request_context(dusk_response_request(res));
  int err = sql_query(on, ctx, sql, args, on_row, res);
  if (err != 0) dusk_response_error(res, err == UV_EINVAL ? 400 : 503, NULL);
}

static void by_id(dusk_response_t *res, dusk_request_t *req, void *sql) {
  query(res, &db, sql, json_pack("[s]", dusk_request_path_value(req, "id")));
}

static void list(dusk_response_t *res, dusk_request_t *req, void *sql) {
  int64_t page = 1, size = 20;
  if (dusk_request_query_int(req, "page", 1, 1000000, &page) < 0 ||
      dusk_request_query_int(req, "per_page", 1, 100, &size) < 0)
    dusk_response_error(res, 400, "page is 1 to 1000000, per_page 1 to 100");
  else
    query(res, &db, sql, json_pack("[i,i]", (int)page, (int)size));
}

static void report(dusk_response_t *res, dusk_request_t *req, void *sql) {
  (void)req;
  query(res, &report_db, sql, json_array());
}

static void on_body(dusk_request_t *req, int status, const char *data,
                    size_t len, void *sql) {
  dusk_response_t *res = dusk_request_response(req);
  const char *id = dusk_request_path_value(req, "id"), *name, *email;
  json_error_t wrong;
  json_t *user = json_loadb(data, len, JSON_REJECT_DUPLICATES, &wrong);
  if (status != 0)
    dusk_response_abort(res); /* with the server's 400, 408 or 413 */
  else if (user == NULL || json_unpack_ex(user, &wrong, 0, "{s:s,s:s!}", "name",
                                          &name, "email", &email) != 0)
    dusk_response_error(res, 400, wrong.text);
  else
    query(res, &db, sql, json_pack("[s,s,s]", id, name, email));
  json_decref(user);
}

static void save(dusk_response_t *res, dusk_request_t *req, void *sql) {
  const char *type = dusk_request_header(req, "Content-Type");
  if (!is_media_type(type, "application/json"))
    dusk_response_error(res, 415, "a user is application/json");
  else if (dusk_request_collect(req, 4096, on_body, sql) != 0)
    dusk_response_error(res, 503, NULL);
}

static void shape_error(dusk_response_t *res, dusk_error_reply_t *reply,
                        void *arg) {
  (void)arg;
  char *body = dusk_request_alloc(dusk_response_request(res), 1024);
  json_t *json = json_pack("{s:i,s:s%}", "status", reply->status, "error",
                           reply->body, strcspn(reply->body, "\n"));
  size_t len = body ? json_dumpb(json, body, 1024, 0) : 0;
  if (len > 0 && len <= 1024)
    *reply = (dusk_error_reply_t){0, "application/json", body, len};
  json_decref(json);
}

static void log_end(dusk_request_t *req, const dusk_request_end_t *end,
                    void *id) {
  fprintf(stderr, "%s %s \"%s %s\" %d %d ms, %s\n", dusk_request_peer(req),
          (char *)id, dusk_request_method(req), dusk_request_target(req),
          end->status, (int)end->duration_ms, end->cause->text);
}

static void put_headers(dusk_response_t *res, void *id) {
  dusk_response_set_header(res, "X-Request-Id", id);
  dusk_response_set_header(res, "Access-Control-Allow-Origin", "*");
}

static void identify(dusk_response_t *res, dusk_request_t *req, void *next) {
  const char *given = dusk_request_header(req, "X-Request-Id");
  char *id = dusk_request_alloc(req, WORD_BYTES);
  if (id != NULL && !copy_word(id, given)) rand_text(id);
  if (id != NULL && dusk_response_on_header(res, put_headers, id) == 0 &&
      dusk_response_on_end(res, log_end, id) == 0)
    dusk_handler_serve(next, res, req);
  else
    dusk_response_error(res, 503, NULL);
}

static void cors(dusk_response_t *res, dusk_request_t *req, void *next) {
  if (strcmp(dusk_request_method(req), "OPTIONS") != 0) {
    dusk_handler_serve(next, res, req);
    return;
  }
  dusk_response_set_header(res, "Access-Control-Allow-Methods", "PUT, DELETE");
  dusk_response_set_header(res, "Access-Control-Allow-Headers",
                           "Authorization, Content-Type, X-Request-Id");
  dusk_response_text(res, 204, "");
}

static void authorise(dusk_response_t *res, dusk_request_t *req, void *next) {
  const char *given = dusk_request_header(req, "Authorization");
  const char *token = getenv("USERS_TOKEN");
  if (given != NULL && token != NULL && strncasecmp(given, "Bearer ", 7) == 0 &&
      is_same(given + 7, token)) {
    dusk_handler_serve(next, res, req);
    return;
  }
  dusk_response_set_header(res, "WWW-Authenticate", "Bearer");
  dusk_response_error(res, 401, NULL);
}

int main(int argc, char **argv) {
  dusk_mux_t *mux;
  dusk_handler_t create = {save, users_create}, change = {save, users_change};
  dusk_handler_t delete = {by_id, users_delete};
  must(dusk_mux_new(&mux));
  must(dusk_mux_handle(mux, "GET /users", list, users_list));
  must(dusk_mux_handle(mux, "GET /users/{id}", by_id, users_get));
  must(dusk_mux_handle(mux, "GET /report", report, users_report));
  must(dusk_mux_handle(mux, "POST /users", authorise, &create));
  must(dusk_mux_handle(mux, "PUT /users/{id}", authorise, &change));
  must(dusk_mux_handle(mux, "DELETE /users/{id}", authorise, &delete));
  dusk_handler_t routes = {dusk_mux_serve, mux}, shared = {cors, &routes};
  dusk_server_config_t config = {
      .handler = identify,
      .handler_arg = &shared,
      .on_error_reply = shape_error,
      .request_timeout_ms = argc > 3 ? strtoull(argv[3], NULL, 10) : 10000};
  sql_must_open(&db, argc > 2 ? argv[2] : "users.db", users_schema, 0);
  sql_must_open(&report_db, db.path, users_schema, 2); /* of the pool's four */
  serve(&config, argc > 1 ? argv[1] : ":8080");
  dusk_mux_free(mux);
  sql_close(&report_db);
  sql_close(&db);
}
