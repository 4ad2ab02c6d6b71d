/* context.c: what do the context module's operations cost?
 *
 * One operation a process, so that bench/context can let C and Go take turns;
 * bench/context_go is the same in Go: same names, same arguments, same output.
 *
 * Usage: bench_context OPERATION SETTING MS, or "version"
 *   SETTING alone   one thread
 *           apart   two threads, each with a loop and a tree of its own
 *           shared  two threads below one parent
 *           bytes   how much memory one takes; MS is not used
 * Runs the operation for about MS milliseconds a thread and prints nanoseconds
 * an operation, of the clock and of the thread's CPU time; with MS 0 runs it
 * BATCH times within `measured`, for callgrind to count. "bytes" prints bytes
 * of heap, with what the allocator adds, and bytes of the caller's own.
 *
 * Linked without optimising across files, so that calls stay calls, as in a
 * program that imports the library. */
#include <dusk/context.h>

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
  BATCH = 10000,
  BATCH_NS = 1000000, /* a batch lasts this long at least, between two clocks */
  CHILDREN = 10000,
  MADE = 100000, /* to weigh one */
  TIMEOUT_MS = 60000,
  MALLOC_BYTES = 88,
};

/* What an operation works on. */
typedef struct {
  uv_loop_t loop;
  dusk_context_t *root;
  dusk_context_t *ctx;
  dusk_context_t **many;
  unsigned oldest;
} world_t;

typedef struct {
  const char *name;
  void (*setup)(world_t *world, unsigned size);
  unsigned size;
  void (*run)(world_t *world, unsigned times);
  /* Or NULL: what is not counted, round a run with CHILDREN. */
  void (*before)(world_t *world);
  void (*after)(world_t *world);
  size_t (*make)(world_t *world, unsigned number); /* or NULL */
} op_t;

static dusk_key_t keys[2]; /* [0] is the one that is asked for */
static volatile uintptr_t sink;

static void check(int err) {
  if (err == 0) return;
  fprintf(stderr, "bench_context: %s\n", uv_strerror(err));
  exit(1);
}

static void *checked(void *memory) {
  if (memory == NULL) check(UV_ENOMEM);
  return memory;
}

/* -- Worlds --------------------------------------------------------------- */

static dusk_context_t *cancel_below(dusk_context_t *parent) {
  dusk_context_t *ctx = NULL;
  check(dusk_context_with_cancel(parent, &ctx));
  return ctx;
}

static dusk_context_t *timeout_below(dusk_context_t *parent, uint64_t ms) {
  dusk_context_t *ctx = NULL;
  check(dusk_context_with_timeout(parent, ms, NULL, &ctx));
  return ctx;
}

static dusk_context_t *value_below(dusk_context_t *parent,
                                   const dusk_key_t *key) {
  dusk_context_t *ctx = NULL;
  check(dusk_context_with_value(parent, key, keys, &ctx));
  return ctx;
}

static void drop(dusk_context_t *ctx) {
  dusk_context_cancel(ctx, NULL);
  dusk_context_unref(ctx);
}

/* The loop turns once, so that the root knows whose it is. */
static void open_world(world_t *world) {
  check(uv_loop_init(&world->loop));
  check(dusk_context_attach(&world->loop, &world->root));
  uv_run(&world->loop, UV_RUN_NOWAIT);
  world->ctx = world->root;
}

static void parents(world_t *world, unsigned depth) {
  for (unsigned i = 0; i < depth; i++)
    world->ctx = cancel_below(world->ctx);
}

static void ended(world_t *world, unsigned depth) {
  parents(world, depth);
  dusk_context_cancel(world->ctx, NULL);
}

static void timed(world_t *world, unsigned depth) {
  for (unsigned i = 0; i < depth; i++)
    world->ctx = timeout_below(world->ctx, TIMEOUT_MS);
}

static void layers(world_t *world, unsigned depth) {
  for (unsigned i = 0; i < depth; i++)
    world->ctx = value_below(world->ctx, &keys[i != 0]);
}

/* Deadlines in no order, half of them before those that are yet to come. */
static void live(world_t *world, unsigned count) {
  world->many = checked(malloc(count * sizeof(world->many[0])));
  for (unsigned i = 0; i < count; i++) {
    uint64_t mixed = i * UINT64_C(7919) % TIMEOUT_MS;
    world->many[i] = timeout_below(world->ctx, TIMEOUT_MS / 2 + mixed);
  }
}

/* -- Operations ----------------------------------------------------------- */

static void run_hrtime(world_t *world, unsigned times) {
  uint64_t sum = 0;
  (void)world;
  for (unsigned i = 0; i < times; i++)
    sum += uv_hrtime();
  sink = (uintptr_t)sum;
}

static void run_malloc(world_t *world, unsigned times) {
  (void)world;
  for (unsigned i = 0; i < times; i++) {
    char *volatile memory = checked(malloc(MALLOC_BYTES));
    free(memory);
  }
}

static void run_cancel(world_t *world, unsigned times) {
  for (unsigned i = 0; i < times; i++)
    drop(cancel_below(world->ctx));
}

static void run_timeout(world_t *world, unsigned times) {
  for (unsigned i = 0; i < times; i++)
    drop(timeout_below(world->ctx, TIMEOUT_MS));
}

static void run_replace(world_t *world, unsigned times) {
  for (unsigned i = 0; i < times; i++) {
    dusk_context_t **oldest = &world->many[world->oldest++ % MADE];
    drop(*oldest);
    *oldest = timeout_below(world->ctx, TIMEOUT_MS);
  }
}

static void run_err(world_t *world, unsigned times) {
  uintptr_t sum = 0;
  for (unsigned i = 0; i < times; i++)
    sum += (uintptr_t)dusk_context_err(world->ctx);
  sink = sum;
}

static void run_value(world_t *world, unsigned times) {
  uintptr_t sum = 0;
  for (unsigned i = 0; i < times; i++)
    sum += (uintptr_t)dusk_context_value(world->ctx, &keys[0]);
  sink = sum;
}

static void run_layer(world_t *world, unsigned times) {
  for (unsigned i = 0; i < times; i++)
    dusk_context_unref(value_below(world->ctx, &keys[0]));
}

static void never(dusk_waiter_t *waiter) {
  (void)waiter;
  abort();
}

static void run_waiter(world_t *world, unsigned times) {
  for (unsigned i = 0; i < times; i++) {
    dusk_waiter_t waiter;
    dusk_context_after(world->ctx, &waiter, world->root, never);
    if (!dusk_waiter_stop(&waiter)) abort();
  }
}

static void make_children(world_t *world) {
  if (world->many == NULL)
    world->many = checked(malloc(CHILDREN * sizeof(world->many[0])));
  world->ctx = cancel_below(world->root);
  for (unsigned i = 0; i < CHILDREN; i++)
    world->many[i] = cancel_below(world->ctx);
}

static void run_children(world_t *world, unsigned times) {
  (void)times;
  dusk_context_cancel(world->ctx, NULL);
}

static void release_children(world_t *world) {
  for (unsigned i = 0; i < CHILDREN; i++)
    dusk_context_unref(world->many[i]);
  dusk_context_unref(world->ctx);
}

/* -- One of a kind, to be weighed: gives the bytes that are the caller's --- */

static size_t make_cancel(world_t *world, unsigned number) {
  (void)number;
  (void)cancel_below(world->ctx);
  return 0;
}

static size_t make_timeout(world_t *world, unsigned number) {
  (void)number;
  (void)timeout_below(world->ctx, TIMEOUT_MS);
  return 0;
}

static size_t make_layer(world_t *world, unsigned number) {
  (void)number;
  (void)value_below(world->ctx, &keys[0]);
  return 0;
}

static size_t make_waiter(world_t *world, unsigned number) {
  static dusk_waiter_t waiters[MADE];
  dusk_context_after(world->ctx, &waiters[number], world->root, never);
  return sizeof(waiters[number]);
}

#define OP(title, ready, count, act, ...)                                      \
  { .name = title, .setup = ready, .size = count, .run = act, __VA_ARGS__ }

/* The number: how many contexts the set-up makes. */
static const op_t ops[] = {
    OP("hrtime", parents, 0, run_hrtime, ),
    OP("malloc", parents, 0, run_malloc, ),
    OP("cancel", parents, 0, run_cancel, .make = make_cancel),
    OP("cancel-child", parents, 1, run_cancel, ),
    OP("timeout", parents, 0, run_timeout, .make = make_timeout),
    OP("timeout-child", parents, 1, run_timeout, ),
    OP("timeout-chain", parents, 10, run_timeout, ),
    OP("timeout-live", live, MADE, run_timeout, ),
    OP("timeout-replace", live, MADE, run_replace, ),
    OP("err-live", parents, 1, run_err, ),
    OP("err-deadline", timed, 1, run_err, ),
    OP("err-ended", ended, 1, run_err, ),
    OP("value-1", layers, 1, run_value, ),
    OP("value-10", layers, 10, run_value, ),
    OP("value-100", layers, 100, run_value, ),
    OP("layer", parents, 1, run_layer, .make = make_layer),
    OP("waiter", parents, 1, run_waiter, .make = make_waiter),
    OP("children", parents, 0, run_children, .before = make_children,
       .after = release_children),
};

/* -- Measuring ------------------------------------------------------------ */

typedef struct {
  uint64_t wall_ns;
  uint64_t cpu_ns;
  uint64_t times;
} spent_t;

static uint64_t cpu_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* A function of its own: callgrind counts within it. */
__attribute__((noinline)) static void measured(const op_t *op, world_t *world,
                                               unsigned times, spent_t *spent) {
  uint64_t wall_from = uv_hrtime(), cpu_from = cpu_ns();
  op->run(world, times);
  spent->cpu_ns += cpu_ns() - cpu_from;
  spent->wall_ns += uv_hrtime() - wall_from;
  spent->times += times;
}

static void run_batch(const op_t *op, world_t *world, unsigned times,
                      spent_t *spent) {
  if (op->before != NULL) op->before(world);
  measured(op, world, times, spent);
  if (op->after != NULL) op->after(world);
}

/* Warms up, and finds how often to run in one batch. The first run may pay for
 * all that was set up: it is no measure. */
static unsigned find_batch(const op_t *op, world_t *world, unsigned ms) {
  if (op->before != NULL) return CHILDREN;
  op->run(world, BATCH);
  if (ms == 0) return BATCH;
  unsigned times = 1;
  /* Thrice, lest another program's turn be taken for ours. */
  for (int enough = 0; enough < 3;) {
    uint64_t from = uv_hrtime();
    op->run(world, times);
    if (uv_hrtime() - from >= BATCH_NS)
      enough++;
    else
      times *= 2;
  }
  return times;
}

typedef struct {
  const op_t *op;
  world_t *world; /* NULL: makes one of its own */
  unsigned ms;
  uv_barrier_t *together; /* NULL for one thread alone */
  double wall_ns;         /* an operation */
  double cpu_ns;
} worker_t;

static void work(void *arg) {
  worker_t *worker = arg;
  const op_t *op = worker->op;
  world_t own = {0};
  world_t *world = worker->world;
  spent_t spent = {0};
  if (world == NULL) {
    world = &own;
    open_world(world);
    op->setup(world, op->size);
  }
  unsigned batch = find_batch(op, world, worker->ms);
  if (worker->together != NULL) uv_barrier_wait(worker->together);
  do
    run_batch(op, world, batch, &spent);
  while (spent.wall_ns < worker->ms * UINT64_C(1000000));
  worker->wall_ns = (double)spent.wall_ns / (double)spent.times;
  worker->cpu_ns = (double)spent.cpu_ns / (double)spent.times;
  /* What the other one may still use ends with the process. */
  if (worker->together != NULL) uv_barrier_wait(worker->together);
}

static void print_one(const op_t *op, unsigned ms, world_t *world) {
  worker_t worker = {.op = op, .world = world, .ms = ms};
  work(&worker);
  printf("%.3f %.3f\n", worker.wall_ns, worker.cpu_ns);
}

/* This thread is one of the two, and the loop's if there is one loop. */
static void print_two(const op_t *op, unsigned ms, world_t *world) {
  uv_barrier_t together;
  uv_thread_t thread;
  worker_t here = {.op = op, .world = world, .ms = ms, .together = &together};
  worker_t there = here;
  check(uv_barrier_init(&together, 2));
  check(uv_thread_create(&thread, work, &there));
  work(&here);
  check(uv_thread_join(&thread));
  printf("%.3f %.3f\n", (here.wall_ns + there.wall_ns) / 2,
         (here.cpu_ns + there.cpu_ns) / 2);
}

static void print_bytes(const op_t *op, world_t *world) {
  size_t callers = 0, before = mallinfo2().uordblks;
  for (unsigned i = 0; i < MADE; i++)
    callers += op->make(world, i);
  printf("%.3f %.3f\n", (double)(mallinfo2().uordblks - before) / MADE,
         (double)callers / MADE);
}

static const op_t *find_op(const char *name) {
  for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
    if (strcmp(ops[i].name, name) == 0) return &ops[i];
  }
  return NULL;
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "version") == 0) {
    printf("libuv %s\n", uv_version_string());
    return 0;
  }
  const op_t *op = argc == 4 ? find_op(argv[1]) : NULL;
  if (op == NULL) {
    fputs("usage: bench_context OPERATION SETTING MS\n", stderr);
    return 2;
  }
  unsigned ms = (unsigned)strtoul(argv[3], NULL, 10);
  static world_t world;
  if (strcmp(argv[2], "apart") == 0) {
    print_two(op, ms, NULL);
    return 0;
  }
  open_world(&world);
  op->setup(&world, op->size);
  if (strcmp(argv[2], "shared") == 0)
    print_two(op, ms, &world);
  else if (strcmp(argv[2], "bytes") == 0 && op->make != NULL)
    print_bytes(op, &world);
  else
    print_one(op, ms, &world);
  return 0;
}
