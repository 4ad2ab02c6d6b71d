/* checks.c: what must hold of every run, by what the kernel and the clients saw
 * and dusk was not asked for:
 *
 *   the promise   a request whose first byte had come when its connection was
 *                 half-closed is answered, a batch wholly, and the last byte
 *                 arrives; nobody who was let in is reset; idle connections get
 *                 their window; answers say close when nothing follows them
 *   the account   both sums, and their parts against what was seen
 *   the end       within the bound; in the turn of the last close; nothing is
 *                 waited for that is not there; the status says what was cut;
 *                 the loop closes; no descriptor and no allocation is left
 *   the threads   each connection is one thread's, the one with the fewest; who
 *                 is stuck past the bound keeps nobody waiting
 *
 * With several threads a moment is less sharp: what one loop knows another one
 * hears of a turn later, and a thread may fall behind in the middle of a turn.
 *
 * What may be lost is counted: what was sent before its client could know of
 * the half-close, and came behind it. */
#include "checks.h"

#include "clock.h"
#include "conversation.h"
#include "program.h"
#include "story.h"
#include "threads.h"
#include "watch.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static const uint64_t PATIENCE = 2000 * MS;
static const uint64_t HANDSHAKE = 1200 * MS;
static const uint64_t SLACK = 25 * MS; /* of waiting without a reason */
static const uint64_t STUCK = 100 * MS;
static const uint64_t WAKE_UP = 10 * MS; /* of other loops, all in all */
enum { PEERS = 64 };

/* An answer before a connection had nothing more to answer, of those that were
 * open at the stop or came since. */
typedef struct rest {
  uint64_t at;
  uint64_t noted; /* by its thread */
} rest_t;

typedef struct peer {
  uint32_t ip;
  sa_family_t family;
  uint64_t last_answer;
  /* The same, of what a drain can know, on each thread: the last one, and the
   * one before the turn in which that was. Where libuv's queue comes between,
   * dusk hears of it in the next turn. */
  rest_t last_rest[MAX_THREADS];
  rest_t rest_before[MAX_THREADS];
} peer_t;

static const scenario_t *scene;
static tally_t tally;
static peer_t peers[PEERS];
static int peer_count;
static uint64_t last_end;
static uint64_t open_then, accepted_since;
static uint64_t running_then, answered_since, refused_since;
static uint64_t handed; /* at the stop: answers handed on, not yet written */
static uint64_t needed; /* until when a listener was, at least */
static bool leaves;     /* a loop behind, at the callback */
static bool ordered;    /* the drain, of all threads */
static uint64_t turns_then[MAX_THREADS]; /* ... in that turn of theirs */
static uint64_t heard_at;                /* by the last of them so far */
static uint64_t untaken; /* accepted, and not yet any thread's */
static uint64_t moving;  /* at the stop: threads in the middle of something */

void checks_begin(const scenario_t *scenario) {
  scene = scenario;
  memset(&tally, 0, sizeof(tally));
  peer_count = 0;
  last_end = open_then = accepted_since = 0;
  running_then = answered_since = refused_since = needed = handed = 0;
  ordered = false;
  moving = untaken = 0;
  leaves = false;
}

tally_t checks_tally(void) {
  return tally;
}

/* -- What is excused ------------------------------------------------------- */

static bool is_stopped(void) {
  return program_outcome()->stopped_at != 0;
}

static int thread_of(const link_t *link) {
  return link->user ? link->user - 1 : 0;
}

/* An order comes with the next look of a loop, and is obeyed in that turn. */
static bool has_heard(int thread) {
  if (thread == 0) return is_stopped();
  return ordered && epoll_turns(thread) >= turns_then[thread] + 2;
}

/* Until then there may be a loop that hasn't begun to drain. */
static uint64_t all_heard_at(void) {
  for (int i = 0; i < threads_made(); i++)
    if (!has_heard(i)) return now();
  return heard_at;
}

void checks_at_order(void) {
  if (ordered) return;
  ordered = true;
  heard_at = program_outcome()->stopped_at;
  for (int i = 0; i < threads_made(); i++)
    turns_then[i] = epoll_turns(i);
}

void checks_at_answer(request_t *request) {
  request->composed = !has_heard(thread_self());
}

static bool is_draining(void) {
  return is_stopped() && program_outcome()->called_back_at == 0;
}

/* The bound or a second signal cuts what is there from then on. A handler that
 * holds the loop lets both come late, never early. */
static uint64_t cut_at(void) {
  const outcome_t *outcome = program_outcome();
  uint64_t cut = outcome->stopped_at ? outcome->bound_at : NEVER;
  return outcome->closed_at && outcome->closed_at < cut ? outcome->closed_at
                                                        : cut;
}

static bool is_cut(uint64_t time) {
  return time + MS >= cut_at();
}

static uint64_t quiet(void) {
  return scene->quiet_ms == DUSK_OFF ? 0 : scene->quiet_ms * MS;
}

static bool memory_failed(void) {
  for (int i = 0; i < MAX_FAILING; i++)
    if (scene->failing[i].err && scene->failing[i].call == CALL_MALLOC)
      return true;
  return false;
}

/* Calls that fail for a reason of the kernel's: the connection is excused, the
 * sums are not. */
static bool any_failed(void) {
  for (int call = 0; call < CALLS; call++)
    if (has_failed((call_t)call)) return true;
  return memory_failed();
}

static const client_plan_t *plan_of(const link_t *link) {
  /* A client begins with its number. */
  return &scene->clients[*(const int *)link->client - 1];
}

static bool has_only_blanks(const link_t *link, uint64_t from, uint64_t to) {
  for (uint64_t i = from; i < to; i++)
    if (link->up.bytes[i] != '\r' && link->up.bytes[i] != '\n') return false;
  return true;
}

/* -- Peers and windows ----------------------------------------------------- */

static peer_t *peer_of(const link_t *link) {
  sa_family_t family = link->is_unix ? AF_UNIX : link->family;
  for (int i = 0; i < peer_count; i++)
    if (peers[i].family == family && (link->is_unix || peers[i].ip == link->ip))
      return &peers[i];
  if (peer_count == PEERS) abort();
  peers[peer_count] = (peer_t){.ip = link->ip, .family = family};
  return &peers[peer_count++];
}

static uint64_t round_trip(const link_t *link) {
  return link->is_unix ? 0 : 2 * link->latency;
}

/* Until when other connections' answers renew a window. */
static uint64_t renewed_until(void) {
  const outcome_t *outcome = program_outcome();
  uint64_t half = (outcome->bound_at - outcome->stopped_at) / 2;
  return outcome->stopped_at + (3 * quiet() < half ? 3 * quiet() : half);
}

/* Whether this thread knew of another one's when its turn began. */
static bool is_known(const rest_t *rest, int thread) {
  return thread == thread_self() ||
         rest->noted < epoll_turn_began(thread_self());
}

/* The last one that this thread can know of. */
static uint64_t known_rest(const peer_t *peer) {
  uint64_t known = 0;
  for (int i = 0; i < threads_made(); i++) {
    const rest_t *rest = &peer->last_rest[i];
    if (rest->at >= epoll_turn_began(i) || !is_known(rest, i))
      rest = &peer->rest_before[i];
    if (rest->at > known && is_known(rest, i)) known = rest->at;
  }
  return known;
}

/* At least until then an idle connection may still send. */
static uint64_t least_window(link_t *link) {
  uint64_t own = watch_of(link)->last_answer + quiet() + round_trip(link);
  uint64_t peers_end = known_rest(peer_of(link)) + quiet() + round_trip(link);
  if (peers_end > renewed_until()) peers_end = renewed_until();
  return quiet() == 0 ? 0 : own > peers_end ? own : peers_end;
}

/* At most until then it is waited for. */
static uint64_t most_window(link_t *link) {
  uint64_t last = watch_of(link)->last_answer;
  uint64_t of_peer = peer_of(link)->last_answer;
  /* A nearer bound takes nothing back that was renewed before it came. */
  bool is_first_bound = program_outcome()->calls == 1;
  if (is_first_bound && of_peer > renewed_until()) of_peer = renewed_until();
  if (of_peer > last) last = of_peer;
  /* Who was answered in a lame duck isn't there any more, and may come. */
  bool was_lame = scene->actions[0].act == ACT_LAME_DUCK;
  if (was_lame && all_heard_at() > last) last = all_heard_at();
  if (scene->threads > 1 && watch_of(link)->taken_at > last)
    last = watch_of(link)->taken_at;
  return quiet() == 0 ? 0 : last + quiet() + round_trip(link);
}

/* -- What happens ---------------------------------------------------------- */

void watch_accepted(link_t *link) {
  watch_of(link)->last_answer = now();
  peer_of(link);
  untaken++;
  if (!is_stopped()) return;
  accepted_since++;
  needed = now();
}

static bool is_idle(link_t *link) {
  return requests_read(link) <= watch_of(link)->written.count;
}

void watch_read(link_t *link, uint64_t from) {
  watch_t *watch = watch_of(link);
  if (link->half_closed_at) return;
  /* It was idle: what has come by now is the batch. */
  int read_before = 0;
  while (read_before < watch->asked &&
         watch->requests[read_before]->start < from)
    read_before++;
  if (is_stopped() && read_before <= watch->written.count)
    watch->batch = link->up.arrived;
}

static void note_rest(link_t *link) {
  int thread = thread_of(link);
  rest_t *last = &peer_of(link)->last_rest[thread];
  if (watch_of(link)->rested_at <= last->at) return;
  if (last->at < epoll_turn_began(thread))
    peer_of(link)->rest_before[thread] = *last;
  *last = (rest_t){watch_of(link)->rested_at, now()};
}

static void note_answer(link_t *link) {
  watch_t *watch = watch_of(link);
  watch->last_answer = peer_of(link)->last_answer = now();
  if (!is_idle(link)) return;
  watch->rested_at = now();
  if (has_heard(thread_of(link))) note_rest(link);
}

/* What was before the stop a loop tells others when its drain begins, of those
 * that are idle then. */
static void note_rests(int thread) {
  link_t *link;
  for (int i = 0; (link = link_at(i)) != NULL; i++)
    if (link->state == LINK_ACCEPTED && thread_of(link) == thread)
      note_rest(link);
}

void watch_turn(int thread) {
  if (!ordered || epoll_turns(thread) != turns_then[thread] + 2) return;
  heard_at = now();
  note_rests(thread);
}

static void on_written_header(link_t *link, const answers_t *answers,
                              request_t *request) {
  request->says_close = answers->close;
  if (answers->close) watch_of(link)->close_was_written = true;
  if (answers->close || answers->raw || request->composed || !is_draining() ||
      !has_heard(thread_of(link)))
    return;
  uint64_t end =
      request->end < link->up.arrived ? request->end : link->up.arrived;
  if (request->end == UINT64_MAX || link->up.fin_arrived) return;
  if (has_only_blanks(link, end, link->up.arrived))
    fault("its answer does not say close, and nothing follows it", "request",
          request->id, 0, 0);
}

static void on_written(link_t *link, answers_t *answers, bool complete) {
  watch_t *watch = watch_of(link);
  int index = complete ? answers->count - 1 : answers->headers - 1;
  if (index >= watch->asked) {
    fault("answer %llu on a connection that asked less", "conn", link->id,
          (uint64_t)index + 1, 0);
    return;
  }
  request_t *request = watch->requests[index];
  if (!complete) {
    on_written_header(link, answers, request);
    return;
  }
  request->written = true;
  request->status = answers->status;
  if (!answers->raw) note_answer(link);
  story("request", request->id, "has its answer, %llu, written wholly",
        (uint64_t)answers->status, 0);
  if (!is_stopped() || answers->raw) return;
  if (request->ended)
    answered_since++;
  else
    refused_since++;
}

void watch_written(link_t *link, const char *bytes, size_t len) {
  answers_feed(&watch_of(link)->written, link, bytes, len, on_written);
}

/* The client owes bytes of a request, or takes none of an answer. */
static bool owes(link_t *link) {
  const watch_t *watch = watch_of(link);
  int asked = watch->written.count;
  bool half =
      asked < watch->asked && watch->requests[asked]->end > link->up.arrived;
  return half || link->down.written > link->down.acked || link->client_silent;
}

static void look_at_window(link_t *link) {
  if (link->up.fin_arrived || link->server_error || is_cut(now()) ||
      memory_failed())
    return;
  uint64_t least = least_window(link);
  uint64_t slack = threads_are_several() ? WAKE_UP : MS; /* in its turn */
  if (now() + slack < least)
    fault("half-closed idle %llu us before its window's end, with %llu of the "
          "answers",
          "conn", link->id, (least - now()) / US,
          (uint64_t)watch_of(link)->written.count);
}

void watch_half_closing(link_t *link) {
  watch_t *watch = watch_of(link);
  story("conn", link->id, "half-closed by the server, %llu bytes had come",
        link->up.arrived, 0);
  uint64_t since = link->moved_at;
  if (since < program_outcome()->stopped_at)
    since = program_outcome()->stopped_at;
  watch->stalled = owes(link) && now() + 5 * MS >= since + PATIENCE;
  watch->idle_half_close =
      is_idle(link) && !watch->close_was_written && !link->hijacked;
  if (is_draining() && watch->idle_half_close && !link->failed)
    look_at_window(link);
}

void watch_closed(link_t *link) {
  watch_t *watch = watch_of(link);
  uint64_t from = link->up_at_half_close;
  if (watch->idle_half_close && !has_only_blanks(link, from, link->up.arrived))
    watch->late = true; /* also what nobody has read */
  if (!is_idle(link)) peer_of(link)->last_answer = now();
  last_end = now();
}

void watch_hijacked(link_t *link) {
  story("conn", link->id, "hijacked", 0, 0);
  peer_of(link)->last_answer = now();
  last_end = now();
}

static bool is_sealed_blindly(void) {
  return has_failed(CALL_FILTER);
}

void watch_listener_closing(listener_t *listener) {
  const outcome_t *outcome = program_outcome();
  last_end = now();
  if (listener->left) tally.queue_left += listener->queued;
  if (listener->left) return;
  /* Some may have come since the last look. */
  bool is_blurred = threads_are_several() && is_sealed_blindly();
  if (listener->queued && !is_cut(now()) && !is_blurred)
    fault("closed with %llu connections in its queue", "listener", listener->id,
          listener->queued, 0);
  link_t *link;
  for (int i = 0; (link = link_at(i)) != NULL; i++) {
    if (link->state != LINK_HALF_OPEN || link->listener != listener) continue;
    watch_of(link)->half_open_reset = true;
    tally.handshakes++;
    if (!is_cut(now()) && !is_sealed_blindly() &&
        now() < outcome->stopped_at + HANDSHAKE)
      fault("its handshake is half-way when listener %llu closes", "conn",
            link->id, (uint64_t)listener->id, 0);
  }
}

/* -- What is waited for ---------------------------------------------------- */

static uint64_t later(uint64_t a, uint64_t b) {
  return a > b ? a : b;
}

static uint64_t listener_reason(const listener_t *listener, uint64_t then) {
  uint64_t stopped = program_outcome()->stopped_at;
  if (listener->closed || listener->left || listener->is_foreign ||
      !listener->listening)
    return 0;
  if (half_open(listener) || listener->queued) needed = then;
  /* Without any telling, until no handshake can be left. */
  bool untold = has_failed(CALL_NETLINK);
  /* The descriptor in reserve may have gone for who was in the queue. */
  if (scene->spare_fds && accepted_since) stopped += HANDSHAKE;
  if (scene->spare_fds) return later(needed, stopped) + 200 * MS;
  return later(needed, stopped + (untold ? HANDSHAKE : 0));
}

static uint64_t link_reason(link_t *link, uint64_t then) {
  watch_t *watch = watch_of(link);
  if (link->state != LINK_ACCEPTED || link->hijacked) return 0;
  if (!is_idle(link) || link->up.read < link->up.arrived) return then;
  if (link->down.written > link->down.acked) return then;
  if (!link->half_closed_at) return most_window(link);
  return watch->idle_half_close ? 0 : link->half_closed_at + PATIENCE;
}

static uint64_t reason_until(uint64_t then) {
  uint64_t until = program_outcome()->stopped_at;
  for (const listener_t *l = listeners(); l; l = l->next)
    until = later(until, listener_reason(l, then));
  link_t *link;
  for (int i = 0; (link = link_at(i)) != NULL; i++)
    until = later(until, link_reason(link, then));
  return until;
}

void watch_waiting(uint64_t then) {
  if (threads_are_several() && untaken)
    fault("%llu connections were passed on, and all threads wait", "server", 0,
          untaken, 0);
  if (!is_draining() || then == NEVER || any_failed()) return;
  uint64_t until = reason_until(then);
  if (then > until + SLACK + epoll_held())
    fault("the drain waits on, %llu ms after the last reason to", "server", 0,
          (then - until) / MS, 0);
}

/* -- The stop and its end -------------------------------------------------- */

/* Ended by their handlers, and not (wholly) in the kernel: dusk counts an
 * answer when it goes to the one write of a batch, or to libuv's queue. */
static uint64_t answers_handed(link_t *link) {
  const watch_t *watch = watch_of(link);
  uint64_t count = 0;
  for (int i = watch->written.count; i < watch->asked; i++)
    count += watch->requests[i]->ended;
  return count;
}

/* Written in the turn of that moment: dusk hears of it in the next one, where
 * libuv's queue came between. */
static uint64_t answers_in_turn(link_t *link, uint64_t turn) {
  return watch_of(link)->written.count > 0 &&
         watch_of(link)->last_answer >= turn;
}

void checks_at_stop(void) {
  link_t *link;
  open_then = server_links_open();
  for (int i = 1; i < threads_made(); i++)
    moving += epoll_is_in_turn(i);
  for (int i = 0; (link = link_at(i)) != NULL; i++) {
    watch_t *watch = watch_of(link);
    if (link->state != LINK_ACCEPTED || link->hijacked) continue;
    if (thread_of(link) == 0) note_rest(link);
    uint64_t turn = epoll_turn_began(thread_of(link));
    handed += answers_handed(link) + answers_in_turn(link, turn);
    if (link->half_closed_at || is_idle(link)) continue;
    running_then++;
    /* A lame duck's answer that goes on has said close. */
    if (!watch->close_was_written) watch->batch = link->up.arrived;
  }
}

static void look_at_bound(const outcome_t *outcome) {
  /* Timers are due before a turn's events, and may be held up themselves. */
  uint64_t slack = 2 * epoll_held() + 10 * MS;
  if (threads_are_several())
    slack = 2 * epoll_held_by(0) + STUCK + WAKE_UP + 10 * MS;
  if (outcome->called_back_at > outcome->bound_at + slack)
    fault("the drain ends %llu ms after its bound", "server", 0,
          (outcome->called_back_at - outcome->bound_at) / MS, 0);
  if (outcome->closed_at &&
      outcome->called_back_at > outcome->closed_at + slack)
    fault("the drain ends %llu ms after the second signal", "server", 0,
          (outcome->called_back_at - outcome->closed_at) / MS, 0);
}

void checks_at_cancel(const request_t *request) {
  const outcome_t *outcome = program_outcome();
  uint64_t half = (outcome->bound_at - outcome->stopped_at) / 2;
  uint64_t grace = scene->grace_ms ? scene->grace_ms * MS : 250 * MS;
  if (!is_draining() || outcome->closed_at || outcome->calls > 1) return;
  uint64_t due = outcome->bound_at - (grace < half ? grace : half);
  /* One turn till the timer, and one till the callback. */
  if (now() > due + 2 * epoll_held() + 10 * MS && request->handled_at < due)
    fault("its context ends %llu ms too late before the bound", "request",
          request->id, (now() - due) / MS, 0);
}

/* Its loop hasn't turned as it should, for so long after the cut: it is left
 * behind. */
static bool is_left(int thread) {
  return thread > 0 && epoll_is_in_turn(thread) &&
         now() + WAKE_UP >= cut_at() + STUCK;
}

static bool is_any_left(void) {
  for (int i = 1; i < threads_made(); i++)
    if (is_left(i)) return true;
  return false;
}

/* Those of a loop that is left behind, and those on their way to it, have been
 * shut instead. */
static uint64_t links_awaited(void) {
  uint64_t awaited = 0;
  link_t *link;
  for (int i = 0; (link = link_at(i)) != NULL; i++) {
    if (link->state != LINK_ACCEPTED || link->hijacked) continue;
    bool is_on_left = link->user ? is_left(link->user - 1) : is_any_left();
    bool is_shut = link->half_closed_at || link->server_error || link->failed ||
                   memory_failed();
    awaited += !is_on_left || !is_shut;
  }
  return awaited;
}

void checks_at_leaving(void) {
  if (!leaves) fault("ends before its threads", "loop", 0, 0, 0);
}

/* How many connections are, or were at any time since. */
static uint64_t open_on(int thread, uint64_t since) {
  uint64_t count = 0;
  link_t *link;
  for (int i = 0; (link = link_at(i)) != NULL; i++) {
    bool is_open = link->state == LINK_ACCEPTED && !link->hijacked;
    bool was_open = link->hijacked || link->closed_at >= since;
    count += link->user == thread + 1 && (is_open || (since && was_open));
  }
  return count;
}

void watch_used(link_t *link) {
  untaken--;
  watch_of(link)->taken_at = now();
  if (!threads_are_several()) return;
  story("conn", link->id, "is thread %llu's", (uint64_t)thread_of(link), 0);
  uint64_t since = link->accepted_at - epoll_held() - WAKE_UP;
  uint64_t here = open_on(thread_of(link), 0);
  for (int i = 0; i < threads_made(); i++)
    if (here > open_on(i, since) + untaken + 1)
      fault("thread %llu gets it, with %llu connections, and not the one with "
            "the fewest",
            "conn", link->id, (uint64_t)thread_of(link), here);
}

void checks_at_handler(const request_t *request, int thread) {
  if (thread != thread_self())
    fault("has thread %llu's data on thread %llu", "request", request->id,
          (uint64_t)thread, (uint64_t)thread_self());
  if (program_outcome()->called_back_at && !leaves)
    fault("comes to its handler after the callback", "request", request->id, 0,
          0);
}

void checks_at_callback(void) {
  const outcome_t *outcome = program_outcome();
  if (links_awaited())
    fault("called back with %llu connections open", "server", 0,
          links_awaited(), 0);
  for (const listener_t *l = listeners(); l; l = l->next)
    if (l->listening && !l->closed && !l->left && !l->is_foreign)
      fault("called back with a listener open", "listener", l->id, 0, 0);
  /* From another loop a further turn, and how late it is woken. */
  uint64_t slack = 10 * US + epoll_held();
  if (threads_are_several()) slack += epoll_held() + WAKE_UP;
  if (later(last_end, outcome->stopped_at) + slack < now() && !is_any_left())
    fault("called back %llu us after the last close", "server", 0,
          (now() - last_end) / US, 0);
  look_at_bound(outcome);
  leaves = is_any_left();
}

/* -- The promise ----------------------------------------------------------- */

/* True for clients who did not wait for their answers themselves. */
static bool gave_up(const link_t *link) {
  switch (plan_of(link)->oddity) {
  case VANISHES:
  case ABORTS:
  case NEVER_READS:
    return true;
  default:
    return false;
  }
}

static bool was_cut(const link_t *link) {
  uint64_t ended = link->half_closed_at;
  return ended && is_cut(link->closed_at ? link->closed_at : ended);
}

/* A segment of the answer was lost, and what the client sent behind the last
 * request that was answered is itself answered by a reset, when the connection
 * was closed. Nothing behind that had come by then: with what has the server
 * must deal. */
static bool is_overtaken(link_t *link) {
  const watch_t *watch = watch_of(link);
  const request_t *last = watch->requests[watch->written.count - 1];
  bool closed_at_once =
      link->closed_at && link->closed_at == link->half_closed_at;
  return link->loss && closed_at_once && link->up_at_half_close <= last->end &&
         link->up.written > last->end;
}

static void look_at_lost(link_t *link, const request_t *request, bool *lost) {
  const watch_t *watch = watch_of(link);
  bool promised = request->start < link->up_at_half_close;
  bool in_batch = promised && request->start < watch->batch;
  bool behind = watch->close_was_written && !request->written && !in_batch;
  if (behind) {
    tally.not_processed++;
  } else if (request->written && is_overtaken(link)) {
    tally.not_processed++;
  } else if (request->written && !was_cut(link)) {
    fault("the last byte of its answer does not reach the client", "request",
          request->id, 0, 0);
  } else if (was_cut(link)) {
    tally.cut++;
    /* One that was written is in answers_unacknowledged. */
    tally.cut_unread += promised && !request->written;
  } else if (in_batch) {
    fault("lost: it had come with the drain's batch, on conn %llu", "request",
          request->id, (uint64_t)link->id, 0);
  } else if (promised) {
    fault("lost: it had come before the half-close of conn %llu", "request",
          request->id, (uint64_t)link->id, 0);
  } else {
    *lost = true;
  }
}

static void look_at_link(link_t *link) {
  watch_t *watch = watch_of(link);
  bool lost = false;
  for (int i = 0; i < watch->asked; i++) {
    const request_t *request = watch->requests[i];
    tally.requests++;
    if (request->answered) tally.answered++;
    bool excused = request->answered || gave_up(link) || link->failed ||
                   watch->stalled || watch->half_open_reset ||
                   request->end == UINT64_MAX || !link->accepted_at ||
                   memory_failed() || request->work == WORK_HIJACK;
    if (!excused) look_at_lost(link, request, &lost);
  }
  tally.lost += lost;
  tally.late += watch->late;
  bool in_drain =
      is_stopped() && link->closed_at >= program_outcome()->stopped_at;
  tally.unconfirmed +=
      in_drain && watch->idle_half_close && !watch->late && !link->fin_at_close;
}

static void look_at_losses(void) {
  link_t *link;
  for (int i = 0; (link = link_at(i)) != NULL; i++)
    look_at_link(link);
  if (any_failed()) return;
  if (tally.lost > tally.late + tally.unconfirmed)
    fault("%llu connections lost a request, and only %llu were late or "
          "unconfirmed",
          "server", 0, tally.lost, tally.late + tally.unconfirmed);
}

/* -- The account ----------------------------------------------------------- */

static void same(const char *what, uint64_t reported, uint64_t seen) {
  if (reported != seen) fault(what, "report", 0, reported, seen);
}

/* What was handed on may be on either side of a moment. */
static void about(const char *what, uint64_t reported, uint64_t seen,
                  uint64_t slack) {
  if (reported > seen + slack || seen > reported + slack)
    fault(what, "report", 0, reported, seen);
}

static void look_at_conns(const dusk_report_t *report) {
  about("connections open at the stop: %llu, seen %llu", report->conns_open,
        open_then, moving);
  same("connections accepted since: %llu, seen %llu", report->conns_accepted,
       accepted_since);
  same("connections: %llu in all, %llu by their ends",
       report->conns_open + report->conns_accepted,
       report->conns_answered + report->conns_idle + report->conns_unused +
           report->conns_refused + report->conns_hijacked + report->conns_cut +
           report->conns_gone);
}

static void look_at_requests(const dusk_report_t *report) {
  same("requests: %llu in all, %llu by their ends",
       report->requests_running + report->requests_begun,
       report->requests_answered + report->requests_refused +
           report->requests_cut + report->requests_gone);
  uint64_t turn = scene->threads > 1 ? WAKE_UP : 0; /* it takes so long */
  uint64_t left = 0;
  link_t *link;
  for (int i = 0; (link = link_at(i)) != NULL; i++)
    left +=
        answers_handed(link) +
        (was_cut(link) && answers_in_turn(link, link->half_closed_at - turn));
  about("requests running at the stop: %llu, seen %llu",
        report->requests_running, running_then, handed + moving);
  about("requests answered since: %llu, seen %llu",
        report->requests_answered - report->conns_hijacked, answered_since,
        handed + left + moving);
  same("requests refused since: %llu, seen %llu", report->requests_refused,
       refused_since);
}

/* In connections; where there are no cuts, and the bound did not pass. */
static void look_at_late(const dusk_report_t *report) {
  if (any_failed() || is_cut(program_outcome()->called_back_at)) return;
  if (tally.lost > report->conns_late + report->conns_unconfirmed)
    fault("%llu connections lost a request, %llu were late or unconfirmed",
          "report", 0, tally.lost,
          report->conns_late + report->conns_unconfirmed);
  /* Some may have come between its look and its close. */
  if (scene->threads == 1 || report->queue_left > tally.queue_left)
    same("connections left in a queue: %llu, seen %llu", report->queue_left,
         tally.queue_left);
  /* By the last look, if the kernel told: some may have come in since. */
  if ((report->seal == DUSK_SEAL_EXACT || report->seal == DUSK_SEAL_SLOW) &&
      report->handshakes_left < tally.handshakes)
    same("handshakes left half-way: %llu, seen %llu", report->handshakes_left,
         tally.handshakes);
  if (report->conns_late > tally.late)
    fault("%llu connections were late, %llu seen", "report", 0,
          report->conns_late, tally.late);
  if (report->conns_late + report->conns_unconfirmed <
      tally.late + tally.unconfirmed)
    fault("%llu connections were late or unconfirmed, %llu seen", "report", 0,
          report->conns_late + report->conns_unconfirmed,
          tally.late + tally.unconfirmed);
}

static void look_at_status(const outcome_t *outcome) {
  const dusk_report_t *report = &outcome->report;
  /* On another loop the stop may come between a connection's end and its
   * request's. */
  bool cut = report->conns_cut || (report->requests_cut && scene->threads == 1);
  if (cut && outcome->status == 0)
    fault("the status is 0, and %llu connections were cut", "report", 0,
          report->conns_cut, 0);
  if (tally.cut_unread && outcome->status == 0)
    fault("the status is 0, and %llu requests that had come were cut", "report",
          0, tally.cut_unread, 0);
  /* An answer that a cut overtakes may be lost: the client alone knows. */
  bool in_doubt = report->answers_unacknowledged > 0 || report->queue_left > 0;
  if (!cut && !tally.cut_unread && !report->requests_cancelled && !in_doubt &&
      outcome->status)
    fault("the status is %llu, and nothing was cut", "report", 0,
          (uint64_t)-outcome->status, 0);
}

/* -- The end --------------------------------------------------------------- */

static void look_at_rest(const outcome_t *outcome, size_t allocations_left) {
  if (!outcome->was_ours)
    fault("libuv does not call this program's functions", "world", 0, 0, 0);
  if (outcome->callbacks != outcome->calls)
    fault("%llu of shutdown's %llu callbacks came", "server", 0,
          (uint64_t)outcome->callbacks, (uint64_t)outcome->calls);
  if (outcome->stops != scene->threads)
    fault("%llu of %llu threads were told to stop", "server", 0,
          (uint64_t)outcome->stops, (uint64_t)scene->threads);
  if (outcome->loop_err) fault("the loop does not close", "server", 0, 0, 0);
  if (descriptors_open())
    fault("%llu descriptors are left", "server", 0,
          (uint64_t)descriptors_open(), 0);
  if (allocations_left)
    fault("%llu allocations are left", "server", 0, allocations_left, 0);
}

void checks_at_end(size_t allocations_left) {
  const outcome_t *outcome = program_outcome();
  look_at_losses();
  look_at_rest(outcome, allocations_left);
  if (outcome->called_back_at == 0 || memory_failed()) return;
  look_at_conns(&outcome->report);
  look_at_requests(&outcome->report);
  look_at_late(&outcome->report);
  look_at_status(outcome);
}
