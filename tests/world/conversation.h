/* What was asked on a connection, and what was answered: as the server wrote
 * it, and as the client saw it. */
#ifndef WORLD_CONVERSATION_H
#define WORLD_CONVERSATION_H

#include "kernel.h"
#include "scenario.h"

typedef struct request {
  int id;
  link_t *link;
  work_t work;
  uint64_t start; /* offset of its first byte in the stream */
  uint64_t end;   /* UINT64_MAX: not all was sent */
  uint64_t sent_at;
  uint64_t handled_at; /* a handler got it; 0: not yet */
  bool ended;          /* ... and ended it */
  bool begun;          /* its answer's header is composed */
  bool composed;       /* ... when its loop may not have known of the stop */
  bool written;        /* its answer, wholly, to the kernel */
  bool answered;       /* the client has it all */
  int status;
  bool says_close; /* the answer that was written */
} request_t;

/* Reads answers off a stream. */
typedef struct answers {
  int headers; /* complete, so many */
  int count;   /* answers complete */
  int step;
  char line[96];
  size_t len;
  int status;
  bool close;
  bool chunked;
  bool raw; /* no HTTP any more */
  uint64_t left;
  uint64_t number; /* that the body begins with */
  bool in_number;
} answers_t;

enum { REQUESTS_A_LINK = 256 };

typedef struct watch {
  request_t *requests[REQUESTS_A_LINK];
  int asked;
  answers_t written;
  answers_t seen;
  uint64_t batch;         /* of the drain: what had come at its look */
  uint64_t taken_at;      /* by its thread */
  uint64_t last_answer;   /* written wholly at; or the accept */
  uint64_t rested_at;     /* the same, with nothing more to answer then */
  bool idle_half_close;   /* it was half-closed with nothing to answer */
  bool close_was_written; /* an answer that says so */
  bool late;              /* a byte was read after an idle half-close */
  bool stalled;           /* its peer had stood still when it was ended */
  bool pipelined;
  bool half_open_reset; /* its listener closed before its handshake's end */
} watch_t;

/* A further request; NULL when a connection has had too many. */
request_t *request_new(link_t *link, work_t work);
request_t *request_by_id(int id); /* NULL: none */
void requests_begin(void);
watch_t *watch_of(link_t *link); /* made at the first call */

/* How many of the requests the server has read a byte of. */
int requests_read(link_t *link);

/* Tells of each header that is complete, and each answer. */
typedef void (*answer_cb)(link_t *link, answers_t *answers, bool complete);
void answers_feed(answers_t *answers, link_t *link, const char *bytes,
                  size_t len, answer_cb cb);

#endif
