/* sql.h: what Go programs have from database/sql and a driver, as far as
 * users.c needs it: SQLite's statements under a context, each with a row as its
 * result. They run on libuv's thread pool, since any of them may have to wait,
 * for the disk or for somebody's lock; and when its context ends, one that runs
 * is interrupted, and one that waits for a thread never begins. */
#ifndef EXAMPLES_SQL_H
#define EXAMPLES_SQL_H

#include "go.h"
#include <dusk/calls.h>
#include <jansson.h>
#include <sqlite3.h>

enum {
  SQL_KEPT = 4, /* as many as the pool has threads */
  SQL_LOCK_MS = 1000,
  SQL_LOCK_STEP_MS = 10,
  SQL_STEPS = 1000, /* of SQLite's machine, some 10 µs */
};

/* Connections, of which each statement has one to itself. Go: sql.DB */
typedef struct sql_db {
  const char *path;
  uv_mutex_t lock;
  sqlite3 *idle[SQL_KEPT];
  int idle_count;
  int running; /* and waiting; on the loop's thread */
  int limit;
} sql_db_t;

/* `rc` is SQLITE_ROW, and `text` the first column of the first row; SQLITE_DONE
 * when there is none; SQLITE_INTERRUPT when the context has ended; or else what
 * SQLite says: an extended code, and what it means. `text` is borrowed. */
typedef void (*sql_row_cb)(int rc, const char *text, void *arg);

typedef struct sql_query {
  dusk_work_t work;
  dusk_context_t *ctx;
  sql_db_t *db;
  const char *sql;
  json_t *args;
  sql_row_cb cb;
  void *arg;
  int rc;
  char *text;
} sql_query_t;

static inline int sql_take(sql_db_t *db, sqlite3 **ret_conn) {
  uv_mutex_lock(&db->lock);
  *ret_conn = db->idle_count > 0 ? db->idle[--db->idle_count] : NULL;
  uv_mutex_unlock(&db->lock);
  if (*ret_conn != NULL) return SQLITE_OK;
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  return sqlite3_open_v2(db->path, ret_conn, flags | SQLITE_OPEN_EXRESCODE,
                         NULL);
}

static inline void sql_give(sql_db_t *db, sqlite3 *conn, bool is_good) {
  uv_mutex_lock(&db->lock);
  bool is_kept = is_good && db->idle_count < SQL_KEPT;
  if (is_kept) db->idle[db->idle_count++] = conn;
  uv_mutex_unlock(&db->lock);
  if (!is_kept) sqlite3_close(conn);
}

/* Opens the file at `path`, which is borrowed, and runs `schema`, on this
 * thread; exits if it can't. More than `limit` statements at the same time are
 * refused; 0 is none. Go: sql.Open, DB.Exec, and a semaphore */
static inline void sql_must_open(sql_db_t *db, const char *path,
                                 const char *schema, int limit) {
  sqlite3 *conn;
  *db = (sql_db_t){.path = path, .limit = limit};
  must(uv_mutex_init(&db->lock));
  int rc = sql_take(db, &conn);
  if (rc == SQLITE_OK) rc = sqlite3_busy_timeout(conn, SQL_LOCK_MS);
  if (rc == SQLITE_OK) rc = sqlite3_exec(conn, schema, NULL, NULL, NULL);
  if (rc != SQLITE_OK) log_fatal(sqlite3_errmsg(conn), 0);
  sql_give(db, conn, true);
}

/* When all statements have called back. Go: DB.Close */
static inline void sql_close(sql_db_t *db) {
  while (db->idle_count > 0)
    sqlite3_close(db->idle[--db->idle_count]);
  uv_mutex_destroy(&db->lock);
}

static inline int sql_has_ended(void *ctx) {
  return dusk_context_err(ctx) != 0;
}

static inline int sql_wait_for_lock(void *ctx, int tries) {
  return tries < SQL_LOCK_MS / SQL_LOCK_STEP_MS &&
         dusk_context_wait(ctx, SQL_LOCK_STEP_MS) == 0;
}

static inline int sql_prepare(sqlite3 *conn, const sql_query_t *q,
                              sqlite3_stmt **ret_stmt) {
  sqlite3_progress_handler(conn, SQL_STEPS, sql_has_ended, q->ctx);
  sqlite3_busy_handler(conn, sql_wait_for_lock, q->ctx);
  int rc = sqlite3_prepare_v2(conn, q->sql, -1, ret_stmt, NULL);
  for (int i = 0; rc == SQLITE_OK && i < (int)json_array_size(q->args); i++) {
    const json_t *arg = json_array_get(q->args, (size_t)i);
    const char *text = json_string_value(arg);
    rc = text ? sqlite3_bind_text(*ret_stmt, i + 1, text, -1, SQLITE_STATIC)
              : sqlite3_bind_int64(*ret_stmt, i + 1, json_integer_value(arg));
  }
  return rc;
}

/* What is written has been so when the statement has come to its end. */
static inline int sql_step(sqlite3_stmt *stmt, char **ret_text) {
  int rc = sqlite3_step(stmt);
  if (rc != SQLITE_ROW) return rc;
  const char *text = (const char *)sqlite3_column_text(stmt, 0);
  *ret_text = text ? strdup(text) : NULL;
  while (*ret_text != NULL && rc == SQLITE_ROW)
    rc = sqlite3_step(stmt);
  if (*ret_text == NULL) return SQLITE_NOMEM;
  return rc == SQLITE_DONE ? SQLITE_ROW : rc;
}

/* On a thread of the pool. */
static inline void sql_run(dusk_work_t *work, dusk_context_t *ctx) {
  sql_query_t *q = (sql_query_t *)work;
  sqlite3 *conn;
  sqlite3_stmt *stmt = NULL;
  (void)ctx; /* which q has, too */
  int opened = q->rc = sql_take(q->db, &conn);
  if (q->rc == SQLITE_OK) q->rc = sql_prepare(conn, q, &stmt);
  if (q->rc == SQLITE_OK) q->rc = sql_step(stmt, &q->text);
  if (q->rc != SQLITE_ROW && q->rc != SQLITE_DONE) {
    free(q->text);
    q->text = strdup(sqlite3_errmsg(conn));
  }
  sqlite3_finalize(stmt);
  sql_give(q->db, conn, opened == SQLITE_OK);
}

/* What is nobody's fault but the database's goes to the log, too. */
static inline void sql_on_run(dusk_work_t *work, int err) {
  sql_query_t *q = (sql_query_t *)work;
  bool is_done = q->rc == SQLITE_ROW || q->rc == SQLITE_DONE;
  const char *text = q->text != NULL ? q->text : sqlite3_errstr(q->rc);
  if (err != 0 || (!is_done && dusk_context_err(q->ctx) != 0)) {
    q->rc = SQLITE_INTERRUPT;
    text = dusk_context_cause(q->ctx)->text;
  } else if (!is_done && (q->rc & 0xff) != SQLITE_CONSTRAINT) {
    log_print(text, 0);
  }
  q->db->running--;
  q->cb(q->rc, text, q->arg);
  free(q->text);
  json_decref(q->args);
  free(q);
}

/* Runs a statement with `args`, an array of texts and integers that is taken
 * from the caller, whatever is returned; NULL stands for what json_pack could
 * not make. `sql` is borrowed until `cb`, which comes once, on the loop of the
 * context. Errors: UV_EINVAL for no args, UV_EAGAIN beyond the limit,
 * UV_ENOMEM, also for no context. Go: DB.QueryRowContext and Row.Scan */
static inline int sql_query(sql_db_t *db, dusk_context_t *ctx, const char *sql,
                            json_t *args, sql_row_cb cb, void *arg) {
  sql_query_t *q = malloc(sizeof *q);
  int err = q == NULL || ctx == NULL ? UV_ENOMEM : 0;
  if (args == NULL) err = UV_EINVAL;
  if (db->limit > 0 && db->running >= db->limit) err = UV_EAGAIN;
  if (err == 0) {
    *q = (sql_query_t){.ctx = ctx, .db = db, .sql = sql, .args = args};
    q->cb = cb;
    q->arg = arg;
    err = dusk_context_work(ctx, &q->work, dusk_context_root(ctx), sql_run,
                            sql_on_run);
  }
  if (err == 0) {
    db->running++;
  } else {
    json_decref(args);
    free(q);
  }
  return err;
}

#endif
