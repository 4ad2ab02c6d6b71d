/* faults.c: calls that are made to fail. */
#include "kernel.h"
#include "story.h"

#include <string.h>

const char *const call_names[CALLS] = {
    "accept4",    "socket", "netlink", "open",     "filter",   "epoll_ctl",
    "epoll_wait", "read",   "write",   "shutdown", "FIONREAD", "malloc",
};

typedef struct plan {
  uint64_t first; /* 0: none */
  uint64_t last;
  uint64_t count;
  int err;
  bool failed;
} plan_t;

static plan_t plans[CALLS];

void faults_begin(void) {
  memset(plans, 0, sizeof(plans));
}

void fail_calls(call_t call, uint64_t nth, uint64_t times, int err) {
  plan_t *plan = &plans[call];
  plan->first = plan->count + nth;
  plan->last =
      times > UINT64_MAX - plan->first ? UINT64_MAX : plan->first + times - 1;
  plan->err = err;
}

int failure_of(call_t call) {
  plan_t *plan = &plans[call];
  plan->count++;
  if (plan->first == 0 || plan->count < plan->first || plan->count > plan->last)
    return 0;
  plan->failed = true;
  story(call_names[call], 0, "fails with error %llu", (uint64_t)plan->err, 0);
  return plan->err;
}

bool has_failed(call_t call) {
  return plans[call].failed;
}
