/* world: a world in which every stop of a server can be replayed.
 *
 * dusk and libuv run here as they are. What they call of the C library is
 * defined by this program, so that the kernel, the clock, the net and the
 * clients can be played. A number, the seed, makes up a run: clients, handlers,
 * what fails, and the moment of the stop. What the clients saw is held against
 * what dusk promises and what its report says.
 *
 * In reading order:
 *   scenario.c      what a run is made of; line.c: the one that is also run
 *                   over real sockets
 *   program.c       the server's main, and the stop; handlers.c: its handlers
 *   clients.c       who asks, and how oddly; conversation.c: what was asked and
 *                   answered on a connection
 *   checks.c        what must hold
 *   libc.c          the C library's functions, from which all else is reached:
 *   descriptors.c, epoll.c, handshake.c, tcp.c, diag.c, faults.c   the kernel
 *   clock.c         time, what is due, chance; story.c: what is told
 *   threads.c       the threads, in an order that the seed makes up; pthread.c:
 *                   how the program comes to them
 *   seeds.txt       what once failed; mutants: whether a broken drain is found
 */
#include "alloc.h"
#include "checks.h"
#include "clock.h"
#include "conversation.h"
#include "clients.h"
#include "libc.h"
#include "program.h"
#include "story.h"
#include "tcp.h"
#include "threads.h"
#include "watch.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const char help[] =
    "world --seed N [-v]             one run, and the hash of its story\n"
    "                                of a server with one thread; --threads N\n"
    "                                with several, here as below\n"
    "world --scenario NAME [-v]      a handwritten one; without NAME: a list\n"
    "world --runs N [--from SEED] [--jobs N]   many; prints those that fail.\n"
    "                                A part of them has several threads\n"
    "world --list FILE               all that a list names: a line a run, a "
    "seed\n"
    "                                (threads N behind it) or a scenario's "
    "name;\n"
    "                                # begins a comment\n"
    "world --replay N [--from SEED]  each run twice: the same hash?\n"
    "world --line MS --loss PERCENT --stops N [--from SEED]   for "
    "tests/world/real\n"
    "\n"
    "-v tells a run as a story, a line an event: milliseconds since it began,\n"
    "who it happens to (server, listener, conn: a connection, request, "
    "client,\n"
    "a call that is made to fail), its number, and what happens.\n"
    "Exit status: 0, or 1 when a check failed.\n";

enum { MAX_JOBS = 64 };

static jmp_buf stuck;
static int given_threads; /* 0: none were given */

static void leave(void) {
  longjmp(stuck, 1);
}

void run_is_stuck(const char *why) {
  fault(why, "server", 0, 0, 0);
  threads_leave(leave);
}

/* How many threads a run has, one of many. */
static int threads_of(uint64_t seed) {
  static const int shares[] = {1, 1, 1, 1, 2, 2, 3, 4};
  if (given_threads) return given_threads;
  return shares[chance_next(&seed) % (sizeof(shares) / sizeof(*shares))];
}

/* True when every check held. A scenario may name `threads` itself. */
static bool run(uint64_t seed, const scenario_t *given, int threads,
                bool aloud) {
  static scenario_t scenario; /* static for longjmp */
  clock_begin();
  chance_begin(seed);
  story_begin(aloud);
  faults_begin();
  tcp_begin();
  descriptors_begin();
  epoll_begin();
  requests_begin();
  if (given) {
    scenario = *given;
  } else {
    scenario_draw(&scenario);
    chance_begin(~seed); /* what more is drawn some day changes no run */
  }
  if (scenario.threads == 0) scenario.threads = threads ? threads : 1;
  threads_begin(seed, scenario.threads > 1);
  pthread_begin();
  tcp_be_short(scenario.short_io);
  checks_begin(&scenario);
  clients_begin(&scenario);
  alloc_fail_at(0);
  size_t allocations = alloc_live();
  if (setjmp(stuck)) {
    threads_end();
    libc_play(false);
    return false;
  }
  program_run(&scenario);
  threads_end();
  pass_until(now() + 20000 * MS); /* what is on its way arrives */
  checks_at_end(alloc_live() - allocations);
  return story_fault() == NULL;
}

static bool run_and_tell(uint64_t seed, const scenario_t *scenario, int threads,
                         bool aloud) {
  bool good = run(seed, scenario, threads, aloud);
  tally_t tally = checks_tally();
  if (scenario)
    printf("\"%s\", ", scenario->name);
  else
    printf("seed %llu, ", (unsigned long long)seed);
  printf("hash %016llx: %llu requests, %llu answered, %llu conns lost one, "
         "%llu late, %llu unconfirmed, %llu handshakes reset, %llu cut\n",
         (unsigned long long)story_hash(), (unsigned long long)tally.requests,
         (unsigned long long)tally.answered, (unsigned long long)tally.lost,
         (unsigned long long)tally.late, (unsigned long long)tally.unconfirmed,
         (unsigned long long)tally.handshakes, (unsigned long long)tally.cut);
  if (!good) printf("  FAILED %s\n", story_fault());
  return good;
}

/* The seeds from `from` on in steps of `step`. */
static uint64_t run_many(uint64_t from, uint64_t count, uint64_t step,
                         uint64_t *now_at) {
  uint64_t failed = 0;
  for (uint64_t seed = from; seed < from + count; seed += step) {
    int threads = threads_of(seed);
    *now_at = seed;
    if (run(seed, NULL, threads, false)) continue;
    failed++;
    printf("seed %llu threads %d failed %s\n", (unsigned long long)seed,
           threads, story_fault());
    fflush(stdout);
  }
  return failed;
}

static bool run_jobs(uint64_t from, uint64_t count, uint64_t jobs) {
  pid_t pids[MAX_JOBS];
  uint64_t *seeds =
      mmap(NULL, sizeof(*seeds) * MAX_JOBS, PROT_READ | PROT_WRITE,
           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  bool good = seeds != MAP_FAILED && jobs <= MAX_JOBS;
  for (uint64_t job = 0; good && job < jobs; job++) {
    pids[job] = fork();
    if (pids[job] == 0)
      exit(run_many(from + job, count - job, jobs, &seeds[job]) > 0);
  }
  for (uint64_t job = 0; job < jobs && seeds != MAP_FAILED; job++) {
    int status = 1;
    waitpid(pids[job], &status, 0);
    good = good && status == 0;
    if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
      printf("seed %llu threads %d failed: the program ended with status "
             "%#x\n",
             (unsigned long long)seeds[job], threads_of(seeds[job]),
             (unsigned)status);
  }
  return good;
}

static bool replay(uint64_t from, uint64_t count) {
  bool good = true;
  for (uint64_t seed = from; seed < from + count; seed++) {
    int threads = threads_of(seed);
    run(seed, NULL, threads, false);
    uint64_t hash = story_hash();
    run(seed, NULL, threads, false);
    if (hash == story_hash()) continue;
    printf("seed %llu threads %d has two stories\n", (unsigned long long)seed,
           threads);
    good = false;
  }
  return good;
}

/* Prints what became of the clients in all these stops. */
static bool run_over_line(uint64_t delay_ms, uint64_t loss_percent,
                          uint64_t from, uint64_t count) {
  static scenario_t scenario;
  tally_t sum = {0};
  bool good = true;
  for (uint64_t seed = from; seed < from + count; seed++) {
    chance_begin(seed);
    scenario_over_line(&scenario, delay_ms * MS, loss_percent);
    if (!run(seed, &scenario, given_threads, false)) {
      fprintf(stderr, "seed %llu failed %s\n", (unsigned long long)seed,
              story_fault());
      good = false;
    }
    tally_t tally = checks_tally();
    sum.answered += tally.answered;
    sum.lost += tally.lost;
    sum.late += tally.late;
    sum.unconfirmed += tally.unconfirmed;
    sum.handshakes += tally.handshakes;
    sum.cut += tally.cut;
  }
  printf("answered=%llu lost=%llu late=%llu unconfirmed=%llu resets=%llu "
         "cut=%llu\n",
         (unsigned long long)sum.answered, (unsigned long long)sum.lost,
         (unsigned long long)sum.late, (unsigned long long)sum.unconfirmed,
         (unsigned long long)sum.handshakes, (unsigned long long)sum.cut);
  return good;
}

static const char THREADS[] = " threads ";

static bool run_line(char *line, bool aloud) {
  line[strcspn(line, "#\n")] = '\0';
  size_t len = strlen(line);
  while (len > 0 && line[len - 1] == ' ')
    line[--len] = '\0';
  if (len == 0) return true;
  const scenario_t *scenario = scenario_named(line);
  char *end;
  uint64_t seed = strtoull(line, &end, 10);
  int threads = given_threads;
  if (strncmp(end, THREADS, strlen(THREADS)) == 0)
    threads = (int)strtol(end + strlen(THREADS), &end, 10);
  if (scenario == NULL && *end) {
    printf("no scenario \"%s\"\n", line);
    return false;
  }
  bool good = true;
  if (scenario == NULL) {
    good = run(seed, NULL, threads, false);
    if (!good) run_and_tell(seed, NULL, threads, aloud);
    return good;
  }
  for (seed = 0; seed < 8; seed++) /* in several orders of events */
    good = run(seed, scenario, threads, false) && good;
  if (!good || aloud) run_and_tell(0, scenario, threads, aloud);
  return good;
}

static bool run_list(const char *path) {
  FILE *file = fopen(path, "r");
  if (file == NULL) {
    perror(path);
    return false;
  }
  char line[256];
  bool good = true;
  while (fgets(line, sizeof(line), file))
    good = run_line(line, false) && good;
  fclose(file);
  return good;
}

static bool list_scenarios(void) {
  for (int i = 0; scenario_at(i); i++)
    puts(scenario_at(i)->name);
  return true;
}

static uint64_t number_after(int argc, char **argv, const char *name,
                             uint64_t otherwise) {
  for (int i = 1; i + 1 < argc; i++)
    if (strcmp(argv[i], name) == 0) return strtoull(argv[i + 1], NULL, 10);
  return otherwise;
}

int main(int argc, char **argv) {
  setenv("UV_USE_IO_URING", "0", 1);
  bool aloud = argc > 1 && strcmp(argv[argc - 1], "-v") == 0;
  const char *what = argc > 1 ? argv[1] : "--help";
  uint64_t count = number_after(argc, argv, what, 0);
  uint64_t from = number_after(argc, argv, "--from", 1);
  uint64_t jobs = number_after(argc, argv, "--jobs", 1);
  bool good = false;
  program_prepare();
  given_threads = (int)number_after(argc, argv, "--threads", 0);
  if (given_threads > MAX_THREADS) return EXIT_FAILURE;
  if (strcmp(what, "--seed") == 0)
    good = run_and_tell(count, NULL, given_threads, aloud);
  else if (strcmp(what, "--scenario") == 0 && argc > 2 && argv[2][0] != '-')
    good = run_line(argv[2], aloud);
  else if (strcmp(what, "--scenario") == 0)
    good = list_scenarios();
  else if (strcmp(what, "--runs") == 0)
    good = run_jobs(from, count, jobs);
  else if (strcmp(what, "--list") == 0 && argc > 2)
    good = run_list(argv[2]);
  else if (strcmp(what, "--line") == 0)
    good = run_over_line(count, number_after(argc, argv, "--loss", 0), from,
                         number_after(argc, argv, "--stops", 1));
  else if (strcmp(what, "--replay") == 0)
    good = replay(from, count);
  else
    fputs(help, stdout);
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
