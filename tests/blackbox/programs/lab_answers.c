/* Routes that show what a handler can write. See lab.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lab.h"

static void hello(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  (void)arg;
  dusk_response_text(res, 200, "hello\n");
}

/* ?code=N with a body, allowed or not. */
static void status(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  int err = dusk_response_status(res, (int)query_number(req, "code", 200));
  say("status: %s", result_text(err));
  err = dusk_response_end(res, "hello\n", 6);
  say("end: %s", result_text(err));
}

/* ?code=N without a body. */
static void empty(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  dusk_response_status(res, (int)query_number(req, "code", 200));
  dusk_response_end(res, NULL, 0);
}

/* Declares ?length=N and writes ?write=M bytes. */
static void declare(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  char length[32];
  must(dusk_request_query_value(req, "length", length, sizeof length),
       "length");
  dusk_response_add_header(res, "Content-Length", length);
  uint64_t left = query_number(req, "write", 0);
  while (left-- > 0)
    dusk_response_write(res, "x", 1);
  dusk_response_end(res, NULL, 0);
}

/* Declares 5 bytes, tries to write more than that, then the right number. */
static void over(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  (void)arg;
  dusk_response_add_header(res, "Content-Length", "5");
  dusk_response_write(res, "abc", 3);
  say("over: %s", result_text(dusk_response_write(res, "too much", 8)));
  dusk_response_end(res, "de", 2);
}

/* The handler asks for the connection's end. */
static void close_after(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  (void)arg;
  dusk_response_add_header(res, "Connection", "close");
  dusk_response_text(res, 200, "hello\n");
}

/* ?count=N pieces of unknown length. */
static void chunks(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  uint64_t count = query_number(req, "count", 3);
  char piece[32];
  for (uint64_t i = 0; i < count; i++) {
    int len =
        snprintf(piece, sizeof piece, "part %llu\n", (unsigned long long)i);
    dusk_response_write(res, piece, (size_t)len);
  }
  dusk_response_end(res, NULL, 0);
}

/* Fields that a handler sets, and one whose value can't be sent. */
static void fields(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req;
  (void)arg;
  dusk_response_add_header(res, "X-One", "1");
  dusk_response_add_header(res, "Set-Cookie", "a=1");
  dusk_response_add_header(res, "Set-Cookie", "b=2");
  dusk_response_add_header(res, "Date", "Thu, 01 Jan 1970 00:00:00 GMT");
  say("split: %s",
      result_text(dusk_response_add_header(res, "X-Two", "a\r\nX-Evil: 1")));
  say("name: %s", result_text(dusk_response_add_header(res, "X Two", "a")));
  dusk_response_write(res, "a", 1);
  say("late field: %s",
      result_text(dusk_response_add_header(res, "X-Late", "1")));
  say("late status: %s", result_text(dusk_response_status(res, 500)));
  dusk_response_end(res, "b", 1);
}

static void release(void *data) {
  free(data);
  say("released");
}

/* ?bytes=N by reference. */
static void big(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  size_t size = (size_t)query_number(req, "bytes", 1 << 20);
  char *data = allocate(size);
  for (size_t i = 0; i < size; i++)
    data[i] = (char)('a' + i % 26);
  dusk_response_end_ref(res, data, size, release, data);
}

/* Gives up, after ?after=N bytes of body. */
static void give_up(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)arg;
  uint64_t left = query_number(req, "after", 0);
  while (left-- > 0)
    dusk_response_write(res, "x", 1);
  dusk_response_abort(res);
}

const route_t answer_routes[] = {
    {"/hello", hello},     {"/status", status}, {"/empty", empty},
    {"/declare", declare}, {"/over", over},     {"/close", close_after},
    {"/chunks", chunks},   {"/fields", fields}, {"/big", big},
    {"/abort", give_up},   {NULL, NULL},
};
