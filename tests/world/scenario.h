/* What a run is made of: the server, the clients, what fails, and the stop. */
#ifndef WORLD_SCENARIO_H
#define WORLD_SCENARIO_H

#include "kernel.h"

/* What a handler does; in requests' paths as /NAME/ID/A/B. */
typedef enum work {
  WORK_NOW,    /* answers A bytes at once */
  WORK_LATER,  /* after A ms */
  WORK_STREAM, /* A pieces, one each B ms; ends when the drain begins if A is
                * odd */
  WORK_BLOCK,  /* holds the loop for A ms, then answers */
  WORK_NEVER,  /* until its context ends; and not even then if A is odd */
  WORK_LATE,   /* A ms after its context has ended */
  WORK_BODY,   /* reads the body, and answers */
  WORK_HIJACK, /* takes the connection over, for A ms */
  WORKS,
} work_t;

extern const char *const work_names[WORKS];

typedef enum oddity {
  PLAIN,
  SILENT,       /* connects, and sends nothing */
  HALF_HEADER,  /* half of its first request; the rest after `gap`, if set */
  NEVER_READS,  /* what it asked for */
  READS_SLOWLY, /* a piece each `gap` */
  VANISHES,     /* `gap` after its first request: no byte comes any more */
  ABORTS,       /* the same by a reset */
  HALF_CLOSES,  /* behind its first request */
  BLANK_LINES,  /* an empty line behind each request */
  ODDITIES,
} oddity_t;

extern const char *const oddity_names[ODDITIES];

typedef struct client_plan {
  oddity_t oddity;
  uint64_t gap;
  uint32_t ip;
  bool ipv6;
  bool on_unix;
  bool to_inherited;
  uint64_t start;
  uint64_t latency; /* one way */
  uint64_t loss;    /* one segment in so many; 0: none */
  uint64_t think_least;
  uint64_t think; /* at most */
  int requests;
  int pool;  /* connections; 0: one */
  int busy;  /* of them at a time; 0: one */
  int depth; /* requests in a batch; 0: one */
  bool split;
  bool once;          /* a connection a request */
  bool streams_first; /* its first request alone, a stream till the drain */
  work_t work;
  uint64_t a;
  uint64_t b;
  uint64_t body_bytes; /* of uploads, in pieces, one each `gap` */
  bool chunked;
  uint64_t window; /* what it has room for; 0: 64 KiB */
} client_plan_t;

typedef enum act {
  ACT_LAME_DUCK,
  ACT_UNDO,
  ACT_SHUTDOWN,
  ACT_CLOSE,
} act_t;

typedef struct action {
  act_t act;
  uint64_t due;
  uint64_t bound_ms;
} action_t;

typedef struct failing {
  call_t call;
  uint64_t due;
  uint64_t nth;
  uint64_t times;
  int err; /* 0: none */
} failing_t;

enum { MAX_CLIENTS = 16, MAX_ACTIONS = 5, MAX_FAILING = 3 };

typedef struct scenario {
  const char *name;  /* what is right */
  int threads;       /* 0: one */
  uint64_t quiet_ms; /* DUSK_OFF: none */
  uint64_t grace_ms;
  bool ipv6; /* listens on [::]:8080 for both, else on 0.0.0.0:8080 */
  bool on_unix;
  bool inherited; /* a third listener, on port 8090 */
  bool alone;     /* ... that no other process has: to be sealed */
  bool stranger;  /* listens on 127.0.0.1 only, and on 127.0.0.2 another process
                   * does, with a handshake that never ends */
  uint64_t short_io;
  uint64_t send_room; /* of the server's sockets; 0: 64 KiB */
  unsigned backlog;   /* 0: what is asked for */
  int spare_fds;      /* at the first stop; DUSK has so many; 0: enough */
  client_plan_t clients[MAX_CLIENTS];
  action_t actions[MAX_ACTIONS]; /* times 0 ends them */
  failing_t failing[MAX_FAILING];
} scenario_t;

/* Made up from chance. */
void scenario_draw(scenario_t *scenario);
/* tests/world/real's clients, over a line that delays so long each way. */
void scenario_over_line(scenario_t *scenario, uint64_t delay,
                        uint64_t loss_percent);
/* Handwritten ones. NULL: none of that name or number. */
const scenario_t *scenario_named(const char *name);
const scenario_t *scenario_at(int index);

#endif
