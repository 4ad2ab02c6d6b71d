/* What must hold of every run. See checks.c. */
#ifndef WORLD_CHECKS_H
#define WORLD_CHECKS_H

#include "conversation.h"

/* What became of the clients. */
typedef struct tally {
  uint64_t requests;
  uint64_t answered;
  uint64_t
      lost; /* connections on which a request was, in its window's shadow */
  uint64_t late;
  uint64_t unconfirmed;
  uint64_t handshakes;    /* reset half-way */
  uint64_t queue_left;    /* in the queues of inherited listeners */
  uint64_t cut;           /* requests that the bound or a second signal cut */
  uint64_t cut_unread;    /* ... of them, whose first byte had come */
  uint64_t not_processed; /* behind an answer that said close */
} tally_t;

void checks_begin(const scenario_t *scenario);
void checks_at_stop(void);
/* The drain was ordered: it has begun here, and other loops hear of it next. */
void checks_at_order(void);
/* A handler gets a request, with the data of that thread. */
void checks_at_handler(const request_t *request, int thread);
/* ... and begins its answer. */
void checks_at_answer(request_t *request);
void checks_at_callback(void);
/* The server's loop has nothing to do any more, and threads go on. */
void checks_at_leaving(void);
/* The context of a request ends, and its handler hears of it. */
void checks_at_cancel(const request_t *request);
/* When all has come to rest. */
void checks_at_end(size_t allocations_left);
tally_t checks_tally(void);

#endif
