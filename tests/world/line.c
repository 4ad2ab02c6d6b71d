/* line.c: the clients that tests/world/real runs over real sockets, as a
 * scenario: what they see over such a line must not differ in kind. They begin
 * shortly before the stop, since what they did long before it is not looked at;
 * and a loop without think time has a little over a line without delay, or it
 * would never let time pass. */
#include "clock.h"
#include "scenario.h"

#include <string.h>

typedef struct crew {
  int clients;
  client_plan_t plan;
} crew_t;

/* As in real_clients.py. */
static const crew_t crews[] = {
    {3, {.think = 2 * MS}},
    {3, {.think = 400 * MS}},
    {1, {.think = 100 * MS, .pool = 10, .busy = 3}},
    {2, {.think = 50 * MS, .depth = 8}},
    {3, {.think = 20 * MS, .once = true}},
    {3, {.think = 200 * MS, .work = WORK_BODY, .body_bytes = 1000}},
};

void scenario_over_line(scenario_t *scenario, uint64_t delay,
                        uint64_t loss_percent) {
  uint64_t latency = delay ? delay : 50 * US;
  uint64_t stop = 20 * latency + 1000 * MS;
  uint32_t ip = 0x0a000001;
  client_plan_t *plan = scenario->clients;
  memset(scenario, 0, sizeof(*scenario));
  scenario->name = "";
  scenario->quiet_ms = 1000;
  scenario->actions[0] = (action_t){ACT_SHUTDOWN, stop, 10000};
  for (size_t i = 0; i < sizeof(crews) / sizeof(*crews); i++)
    for (int n = 0; n < crews[i].clients; n++, plan++) {
      *plan = crews[i].plan;
      plan->ip = ip++;
      plan->start = stop - 12 * latency - between(0, 300 * MS);
      plan->latency = latency;
      plan->loss = loss_percent ? 100 / loss_percent : 0;
      plan->requests = 250;
      plan->a = 6; /* bytes of an answer */
    }
}
