/* scenario.c: see scenario.h. A seed's scenario changes when scenario_draw
 * does; what a seed once showed and must stay shown is written down here. */
#include "scenario.h"

#include "clock.h"

#include <dusk/context.h>
#include <errno.h>
#include <string.h>

const char *const work_names[WORKS] = {"now",   "later", "stream", "block",
                                       "never", "late",  "body",   "hijack"};
const char *const oddity_names[ODDITIES] = {
    "plain",    "silent", "half a header", "never reads", "reads slowly",
    "vanishes", "aborts", "half-closes",   "blank lines"};

static const scenario_t named[] = {
    {
        .name = "a batch in a window is answered whole, after a stream",
        .quiet_ms = 1000,
        .clients = {{.ip = 1,
                     .start = 1 * MS,
                     .latency = 5 * MS,
                     .requests = 4,
                     .depth = 3,
                     .streams_first = true,
                     .think_least = 20 * MS,
                     .think = 20 * MS}},
        .actions = {{ACT_SHUTDOWN, 200 * MS, 8000}},
    },
    {
        .name = "a window begins when the answer goes out, after a long turn",
        .quiet_ms = 100,
        .clients = {{.ip = 1,
                     .start = 10 * MS,
                     .latency = 40 * MS,
                     .requests = 1,
                     .work = WORK_BLOCK,
                     .a = 90},
                    {.ip = 2,
                     .start = 10 * MS,
                     .latency = 40 * MS,
                     .requests = 2,
                     .think_least = 60 * MS,
                     .think = 60 * MS},
                    {.ip = 3,
                     .start = 10 * MS,
                     .latency = 40 * MS,
                     .requests = 2,
                     .think_least = 60 * MS,
                     .think = 60 * MS}},
        .actions = {{ACT_SHUTDOWN, 222 * MS, 8000}},
    },
    {
        .name =
            "a running connection's last answer counts for its peer's others",
        .quiet_ms = 300,
        .clients =
            {{.ip = 1, .start = 10 * MS, .latency = 1 * MS, .requests = 1},
             {.ip = 1,
              .start = 300 * MS,
              .latency = 1 * MS,
              .requests = 2,
              .think_least = 100 * MS,
              .think = 100 * MS,
              .work = WORK_LATER,
              .a = 50}},
        .actions = {{ACT_SHUTDOWN, 470 * MS, 8000}},
    },
    {
        .name = "line ends behind a request do not keep its connection",
        .quiet_ms = 1000,
        .clients = {{.ip = 1,
                     .oddity = BLANK_LINES,
                     .start = 10 * MS,
                     .latency = 1 * MS,
                     .requests = 1,
                     .work = WORK_LATER,
                     .a = 50}},
        .actions = {{ACT_SHUTDOWN, 30 * MS, 8000}},
    },
    {
        .name = "handshakes are waited for where sock_diag is refused",
        .quiet_ms = 1000,
        .clients =
            {{.ip = 1, .start = 10 * MS, .latency = 100 * MS, .requests = 1}},
        .actions = {{ACT_SHUTDOWN, 150 * MS, 8000}},
        .failing = {{CALL_NETLINK, 1 * MS, 1, UINT64_MAX, EAFNOSUPPORT},
                    {CALL_PROC, 1 * MS, 1, UINT64_MAX, EACCES}},
    },
    {
        .name =
            "another process's handshake on the same port is not waited for",
        .quiet_ms = 1000,
        .stranger = true,
        .actions = {{ACT_SHUTDOWN, 30 * MS, 8000}},
    },
    {
        .name = "who is in the queue of a socket handed over to be sealed is "
                "served",
        .quiet_ms = 1000,
        .inherited = true,
        .alone = true,
        .clients = {{.ip = 1,
                     .start = 10 * MS,
                     .latency = 50 * US,
                     .requests = 1,
                     .work = WORK_BLOCK,
                     .a = 90},
                    {.ip = 2,
                     .to_inherited = true,
                     .start = 50 * MS,
                     .latency = 50 * US,
                     .requests = 1,
                     .pool = 8}},
        .actions = {{ACT_SHUTDOWN, 90 * MS, 8000}},
    },
    {
        .name = "a drain with nothing open ends without a free descriptor",
        .quiet_ms = 1000,
        .spare_fds = 1,
        .actions = {{ACT_SHUTDOWN, 30 * MS, 8000}},
    },
    {
        .name = "an accept that fails each time does not hold the loop",
        .quiet_ms = 1000,
        .clients =
            {{.ip = 1, .start = 10 * MS, .latency = 1 * MS, .requests = 1}},
        .actions = {{ACT_SHUTDOWN, 30 * MS, 1000}},
        .failing = {{CALL_ACCEPT, 1 * MS, 1, UINT64_MAX, EPERM}},
    },
    {
        .name = "a handler that holds its loop past the bound keeps nobody "
                "waiting",
        .threads = 2,
        .quiet_ms = 1000,
        .clients = {{.ip = 1,
                     .start = 10 * MS,
                     .latency = 1 * MS,
                     .requests = 1,
                     .pool = 3},
                    {.ip = 2, /* on the second loop, and so is one of 3 */
                     .start = 50 * MS,
                     .latency = 1 * MS,
                     .requests = 1,
                     .work = WORK_BLOCK,
                     .a = 3000},
                    {.ip = 3,
                     .start = 60 * MS,
                     .latency = 1 * MS,
                     .requests = 1,
                     .pool = 2}},
        .actions = {{ACT_SHUTDOWN, 100 * MS, 500}},
    },
    {
        .name = "a client that is cut for standing still is in the status",
        .quiet_ms = 100,
        .send_room = 4096,
        .clients = {{.ip = 1,
                     .oddity = NEVER_READS,
                     .start = 10 * MS,
                     .latency = 1 * MS,
                     .requests = 1,
                     .window = 4096,
                     .a = 100000}},
        .actions = {{ACT_SHUTDOWN, 30 * MS, 8000}},
    },
};

const scenario_t *scenario_at(int index) {
  bool is_one = index >= 0 && (size_t)index < sizeof(named) / sizeof(*named);
  return is_one ? &named[index] : NULL;
}

const scenario_t *scenario_named(const char *name) {
  for (int i = 0; scenario_at(i); i++)
    if (strcmp(named[i].name, name) == 0) return &named[i];
  return NULL;
}

/* -- By chance ------------------------------------------------------------- */

static uint64_t draw_latency(void) {
  static const uint64_t latencies[] = {20 * US, 50 * US, 500 * US, 5 * MS,
                                       20 * MS, 50 * MS, 100 * MS, 125 * MS};
  uint64_t latency = latencies[below(8)];
  return latency + below(latency / 4);
}

static void draw_work(client_plan_t *plan) {
  static const work_t works[] = {
      WORK_NOW,    WORK_NOW,   WORK_NOW,   WORK_NOW,  WORK_LATER, WORK_LATER,
      WORK_STREAM, WORK_BLOCK, WORK_NEVER, WORK_LATE, WORK_BODY,  WORK_HIJACK};
  plan->work = works[below(12)];
  plan->a = between(1, 150);
  plan->b = between(1, 60);
  if (plan->work == WORK_NOW)
    plan->a = one_in(4) ? between(1, 200000) : between(1, 500);
  if (plan->work == WORK_LATE) plan->a = between(0, 1000);
  if (plan->work != WORK_BODY) return;
  plan->body_bytes = between(1, 20000);
  plan->chunked = one_in(2);
  plan->gap = one_in(3) ? 0 : between(0, 100) * MS;
}

static void draw_oddity(client_plan_t *plan) {
  plan->oddity = (oddity_t)below(ODDITIES);
  plan->requests = plan->oddity == BLANK_LINES ? plan->requests : 1;
  plan->pool = plan->busy = plan->depth = 0;
  plan->split = false;
  plan->gap = between(1, 400) * MS;
  switch (plan->oddity) {
  case HALF_HEADER:
    if (one_in(2)) plan->gap = 0;
    break;
  case NEVER_READS:
  case READS_SLOWLY:
    plan->work = WORK_NOW;
    plan->a = between(1, 60000);
    plan->window = 4096;
    plan->gap = between(1, 80) * MS;
    break;
  default:
    break;
  }
}

static void draw_client(scenario_t *scenario, client_plan_t *plan,
                        uint64_t stop) {
  memset(plan, 0, sizeof(*plan));
  plan->ip = 0x0a000001 + (uint32_t)below(3);
  plan->on_unix = scenario->on_unix && one_in(3);
  plan->ipv6 = scenario->ipv6 && one_in(2);
  uint64_t early = one_in(3) ? 500 * MS : one_in(2) ? 50 * MS : 5 * MS;
  plan->start = stop > early ? between(stop - early, stop + 20 * MS)
                             : between(1 * MS, stop + 20 * MS);
  plan->latency = draw_latency();
  plan->loss = one_in(5) ? between(10, 100) : 0;
  plan->requests = (int)(one_in(3) ? between(1, 3) : between(2, 40));
  if (one_in(2)) plan->think = between(0, 300) * MS;
  plan->think_least = below(plan->think + 1);
  draw_work(plan);
  if (one_in(3)) {
    plan->pool = (int)between(2, 8);
    plan->busy = (int)between(1, (uint64_t)plan->pool);
  }
  if (one_in(3) && plan->work != WORK_BODY && plan->work != WORK_HIJACK)
    plan->depth = (int)between(2, 6);
  plan->split = plan->depth && one_in(2);
  plan->streams_first = one_in(6);
  if (one_in(4)) draw_oddity(plan);
}

static void draw_actions(scenario_t *scenario, uint64_t stop) {
  action_t *action = scenario->actions;
  uint64_t bound = one_in(8) ? between(1, 500) : between(3000, 10000);
  if (one_in(5)) {
    *action++ = (action_t){ACT_LAME_DUCK, between(1 * MS, stop), 0};
    if (one_in(3))
      *action++ = (action_t){ACT_UNDO, between(action[-1].due, stop), 0};
  }
  *action++ = (action_t){ACT_SHUTDOWN, stop, bound};
  if (one_in(10))
    *action++ =
        (action_t){ACT_SHUTDOWN, stop + below(1000 * MS), between(1, 3000)};
  if (one_in(8)) *action = (action_t){ACT_CLOSE, stop + below(1500 * MS), 0};
}

static void draw_failing(scenario_t *scenario, failing_t *failing,
                         uint64_t stop) {
  static const struct {
    call_t call;
    int err;
  } kinds[] = {
      {CALL_ACCEPT, EMFILE},    {CALL_ACCEPT, ECONNABORTED},
      {CALL_ACCEPT, EPROTO},    {CALL_ACCEPT, ENOBUFS},
      {CALL_ACCEPT, ENOMEM},    {CALL_ACCEPT, EPERM},
      {CALL_ACCEPT, EINTR},     {CALL_NETLINK, EAFNOSUPPORT},
      {CALL_NETLINK, EMFILE},   {CALL_FILTER, EPERM},
      {CALL_FILTER, ENOMEM},    {CALL_READ, EINTR},
      {CALL_READ, ENOBUFS},     {CALL_WRITE, EINTR},
      {CALL_WRITE, ENOBUFS},    {CALL_EPOLL_WAIT, EINTR},
      {CALL_SHUTDOWN, ENOBUFS}, {CALL_UNREAD, EINVAL},
  };
  size_t i = below(sizeof(kinds) / sizeof(*kinds));
  failing->call = kinds[i].call;
  failing->err = kinds[i].err;
  failing->due = one_in(2) ? stop : between(1 * MS, stop);
  failing->nth = between(1, 6);
  failing->times = one_in(3) ? between(1, 4) : 1;
  bool whole = kinds[i].call == CALL_NETLINK || kinds[i].call == CALL_FILTER;
  if (whole) failing->nth = 1;
  if (whole) failing->times = UINT64_MAX;
  if (kinds[i].call != CALL_NETLINK || one_in(2)) return;
  scenario->failing[1] =
      (failing_t){CALL_PROC, failing->due, 1, UINT64_MAX, EACCES};
}

void scenario_draw(scenario_t *scenario) {
  static const uint64_t windows[] = {50, 100, 300, 1000, 1000, DUSK_OFF};
  memset(scenario, 0, sizeof(*scenario));
  uint64_t stop = between(2 * MS, 600 * MS);
  scenario->name = "";
  scenario->quiet_ms = windows[below(6)];
  scenario->grace_ms = one_in(4) ? between(1, 1000) : 0;
  scenario->ipv6 = one_in(2);
  scenario->on_unix = one_in(3);
  scenario->inherited = one_in(6);
  scenario->short_io = one_in(3) ? between(2, 10) : 0;
  scenario->send_room = one_in(3) ? between(1024, 16384) : 0;
  scenario->backlog = one_in(6) ? (unsigned)between(1, 4) : 0;
  scenario->spare_fds = one_in(20) ? (int)between(1, 3) : 0;
  draw_actions(scenario, stop);
  size_t clients = one_in(4) ? 1 : between(1, 8);
  for (size_t i = 0; i < clients; i++)
    draw_client(scenario, &scenario->clients[i], stop);
  if (one_in(5)) draw_failing(scenario, &scenario->failing[0], stop);
  scenario->alone = one_in(2);
  scenario->stranger = !scenario->ipv6 && one_in(20);
  for (size_t i = 0; scenario->inherited && i < clients; i++)
    scenario->clients[i].to_inherited = one_in(2);
  if (one_in(25))
    scenario->failing[2] =
        (failing_t){CALL_MALLOC, one_in(2) ? stop : between(1 * MS, stop),
                    between(1, 12), 1, ENOMEM};
}
