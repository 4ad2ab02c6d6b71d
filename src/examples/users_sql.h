/* users_sql.h: the tables and statements of users.c, as Go programs embed
 * theirs from files of SQL. A row's column `json` is what others see of it. */
#ifndef EXAMPLES_USERS_SQL_H
#define EXAMPLES_USERS_SQL_H

static const char users_schema[] =
    "PRAGMA journal_mode = WAL;" /* who reads doesn't wait for who writes */
    "CREATE TABLE IF NOT EXISTS users ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  name TEXT NOT NULL,"
    "  email TEXT NOT NULL COLLATE NOCASE UNIQUE,"
    "  json TEXT AS (json_object('id', id, 'name', name, 'email', email)),"
    "  CONSTRAINT 'name is 1 to 100 characters'"
    "    CHECK (length(name) BETWEEN 1 AND 100),"
    "  CONSTRAINT 'email is up to 254 characters with an @'"
    "    CHECK (length(email) <= 254 AND email LIKE '%_@_%'));";

static char users_list[] = /* ?1: the page, ?2: how many there are on one */
    "SELECT json_object('page', ?1, 'total', (SELECT count(*) FROM users),"
    "  'users', json_group_array(json(json)))"
    "  FROM (SELECT json FROM users ORDER BY id LIMIT ?2 OFFSET (?1 - 1) * ?2)";
static char users_get[] = "SELECT json FROM users WHERE id = ?1";
static char users_create[] =
    "INSERT INTO users (name, email) VALUES (?2, ?3) RETURNING json";
static char users_change[] =
    "UPDATE users SET name = ?2, email = ?3 WHERE id = ?1 RETURNING json";
static char users_delete[] = "DELETE FROM users WHERE id = ?1 RETURNING json";
static char users_report[] = /* slow: looks for each name in each other one */
    "SELECT json_object('names', count(DISTINCT a.id), 'within', count(*))"
    "  FROM users AS a JOIN users AS b"
    "    ON a.id <> b.id AND instr(lower(b.name), lower(a.name)) > 0";

#endif
