/* What becomes of a connection, from accept to close; its phases: census.h.
 * dusk__conn_go_on is the only place where its requests take their steps, until
 * something must be waited for; then all that was written meanwhile goes out
 * with one write, and settle decides what is waited for. What would end the
 * connection while a step runs is its doom, and comes when that has returned.
 */
#include "connection.h"

#include "body.h"
#include "chars.h"
#include "h1_parse.h"
#include "reply.h"

#include <stdlib.h>

static dusk__conn_t *conn_of_stream(dusk__stream_t *stream) {
  return DUSK__OWNER(stream, dusk__conn_t, wire.stream);
}

static bool has_ended(const dusk__conn_t *conn) {
  return dusk__census_is_over(&conn->member);
}

static dusk__worker_t *worker_of(const dusk__conn_t *conn) {
  return dusk__stream_worker(&conn->wire.stream);
}

static dusk__phase_t phase_of(const dusk__conn_t *conn) {
  return (dusk__phase_t)conn->member.phase;
}

static dusk__ending_t ending_of(const dusk__conn_t *conn) {
  return (dusk__ending_t)conn->member.ending;
}

static bool is_draining(const dusk__conn_t *conn) {
  return worker_of(conn)->policy->is_draining;
}

static void set_timeout(dusk__conn_t *conn, dusk__wait_t wait,
                        uint64_t deadline_ms) {
  dusk__timeout_set(&worker_of(conn)->timeouts, &conn->timeout, wait,
                    deadline_ms);
}

/* An answer went out to its peer. */
static void note_answer(dusk__conn_t *conn) {
  const dusk__policy_t *policy = worker_of(conn)->policy;
  uint64_t now_ms = conn->member.since_ms;
  switch (dusk__policy_stop(policy)) {
  case DUSK__NO_STOP:
    break;
  case DUSK__LAME_DUCK:
    atomic_store_explicit(&policy->plan->lame_answered_ms, now_ms,
                          memory_order_relaxed);
    break;
  case DUSK__DRAIN:
    if (dusk__policy_renews(policy, now_ms))
      dusk__peer_note_answer(conn->watched.peer, now_ms);
  }
}

static void tell_state(dusk__conn_t *conn, dusk__phase_t phase) {
  static const dusk_conn_state_t states[DUSK__PHASES] = {
      [DUSK__NEW] = DUSK_CONN_NEW,       [DUSK__ACTIVE] = DUSK_CONN_ACTIVE,
      [DUSK__IDLE] = DUSK_CONN_IDLE,     [DUSK__HIJACKED] = DUSK_CONN_HIJACKED,
      [DUSK__CLOSED] = DUSK_CONN_CLOSED,
  };
  if (phase != DUSK__LINGERING) dusk__wire_tell(&conn->wire, states[phase]);
}

static void set_phase(dusk__conn_t *conn, dusk__phase_t phase) {
  dusk__worker_t *worker = worker_of(conn);
  bool was_active = phase_of(conn) == DUSK__ACTIVE;
  /* What a handler took is not the client's. An ACTIVE one remembers its last
   * answer. */
  uint64_t now_ms =
      phase == DUSK__ACTIVE ? conn->member.since_ms : dusk__fresh_ms(worker);
  dusk__census_move(worker->census, &conn->member, phase, now_ms);
  if (worker->config->on_conn_state) tell_state(conn, phase);
  if (!was_active) return;
  conn->watched.is_looked_at = false;
  if (phase == DUSK__IDLE || ending_of(conn) == DUSK__ANSWERED ||
      ending_of(conn) == DUSK__REFUSED)
    note_answer(conn);
}

static void on_closed(dusk__stream_t *stream) {
  dusk__conn_t *conn = conn_of_stream(stream);
  dusk__worker_t *worker = worker_of(conn);
  free(conn);
  dusk__worker_release(worker);
}

/* -- The end --------------------------------------------------------------- */

static const dusk_cause_t *cause_of(const dusk__conn_t *conn) {
  const dusk__plan_t *plan = worker_of(conn)->policy->plan;
  const dusk_cause_t *drains = atomic_load(&plan->cut_cause);
  if (conn->ex && conn->ex->cause) return conn->ex->cause;
  switch (ending_of(conn)) {
  case DUSK__GONE:
    return &dusk_client_gone;
  case DUSK__CUT:
    return drains ? drains : &dusk_connection_cut;
  default:
    return &dusk_response_ended;
  }
}

/* Parts with the running request, if there is one. User code may be called, so
 * it comes last, when the connection is in its new phase. */
static void detach(dusk__conn_t *conn) {
  dusk__exchange_t *ex = conn->ex;
  dusk__ending_t ending = ending_of(conn);
  if (ex == NULL) return;
  const dusk_cause_t *cause = cause_of(conn);
  conn->ex = NULL;
  dusk__ex_count_end(ex, ending);
  dusk__ex_orphan(ex, cause,
                  ending == DUSK__GONE ? UV_ECONNRESET : UV_ECANCELED);
}

/* What was written to a Unix socket has arrived. */
static bool is_unacknowledged(const dusk__conn_t *conn) {
  bool was_answered =
      ending_of(conn) == DUSK__ANSWERED || ending_of(conn) == DUSK__REFUSED;
  const dusk__peer_t *peer = conn->watched.peer;
  if (!was_answered || peer == NULL || dusk__peer_is_local(peer)) return false;
  size_t fin = phase_of(conn) == DUSK__LINGERING; /* counts as a byte */
  return dusk__stream_unacknowledged(&conn->wire.stream) > fin;
}

/* The socket is about to be closed, in a drain. */
static void count_doubts(const dusk__conn_t *conn) {
  dusk__census_t *census = worker_of(conn)->census;
  if (!is_draining(conn)) return;
  bool asked_nothing = dusk__census_asked_nothing(&conn->member);
  if (asked_nothing && conn->is_late)
    dusk__count(&census->conns_late, 1);
  else if (asked_nothing && !conn->wire.stream.has_ended)
    dusk__count(&census->conns_unconfirmed, 1);
  if (is_unacknowledged(conn)) dusk__count(&census->answers_unacknowledged, 1);
}

/* For good; its `ending` is known. */
static void end(dusk__conn_t *conn, dusk__phase_t phase,
                void (*close)(dusk__stream_t *stream)) {
  assert(!has_ended(conn) && !conn->is_running);
  if (phase == DUSK__CLOSED) count_doubts(conn);
  if (conn->ex) dusk__ex_note_peer(conn->ex); /* while it can be told */
  dusk__timeout_clear(&conn->timeout);
  set_phase(conn, phase);
  dusk__contexts_end(&conn->wire, cause_of(conn));
  close(&conn->wire.stream);
  detach(conn);
}

static void note_ending(dusk__conn_t *conn, dusk__ending_t ending) {
  if (phase_of(conn) != DUSK__LINGERING) /* it has its own */
    dusk__census_note_ending(&conn->member, ending);
}

/* Answers that have been given go out, unless a part of one that has not is
 * gathered behind them. */
static void flush_answers(dusk__conn_t *conn) {
  const dusk__exchange_t *ex = conn->ex;
  bool is_whole = ex->res.ended && !ex->res.aborted;
  if (is_whole || !ex->res.header_sent) dusk__stream_flush(&conn->wire.stream);
}

/* While its steps are on the stack nothing can be written any more, and it ends
 * when they have returned. */
static void close_conn(dusk__conn_t *conn, dusk__ending_t ending) {
  if (has_ended(conn) || conn->doom) return;
  note_ending(conn, ending);
  if (conn->is_running) {
    conn->doom = DUSK__TO_CLOSE;
    if (conn->ex) flush_answers(conn);
    dusk__stream_fail(&conn->wire.stream, UV_ECANCELED);
  } else {
    end(conn, DUSK__CLOSED, dusk__stream_close);
  }
}

/* Until a client has closed its side, too; in a drain, which waits for it, only
 * while it may still be sending. */
static void linger_on(dusk__conn_t *conn) {
  uint64_t deadline_ms =
      dusk__fresh_ms(worker_of(conn)) +
      dusk__policy_linger_ms(worker_of(conn)->policy, &conn->watched);
  uint64_t last_ms = conn->member.since_ms + DUSK__LINGER_MS;
  set_timeout(conn, DUSK__WAIT_LINGER,
              deadline_ms < last_ms ? deadline_ms : last_ms);
}

/* Half-closes, and reads on until the client has closed its side: unread input
 * would turn a close into a reset, which may overtake what was written. */
static void linger(dusk__conn_t *conn, dusk__ending_t ending) {
  dusk__stream_t *stream = &conn->wire.stream;
  if (stream->has_ended || dusk__stream_half_close(stream) < 0) {
    close_conn(conn, ending);
    return;
  }
  note_ending(conn, ending);
  if (conn->ex) dusk__ex_note_peer(conn->ex);
  set_phase(conn, DUSK__LINGERING);
  if (dusk__census_is_awaited(&conn->member))
    linger_on(conn);
  else
    set_timeout(conn, DUSK__WAIT_QUIET,
                dusk__after_ms(conn->member.since_ms,
                               dusk__policy_quiet_ms(worker_of(conn)->policy)));
  dusk__stream_read(stream, true);
  detach(conn);
}

/* After its last answer, so that the client can read that. */
static void close_readably(dusk__conn_t *conn) {
  dusk__exchange_t *ex = conn->ex;
  dusk__stream_t *stream = &conn->wire.stream;
  dusk__ending_t ending = dusk__steps_ending(ex);
  assert(phase_of(conn) == DUSK__ACTIVE && stream->queued == 0);
  bool more = ending != DUSK__ANSWERED || conn->pipelines || !ex->h1.complete ||
              dusk__h1_unparsed(&ex->h1) > 0;
  /* Who said close himself sends nothing more: no need to look. */
  if (!more && ex->h1.keep_alive) more = dusk__stream_unread(stream) > 0;
  if (more)
    linger(conn, ending);
  else
    close_conn(conn, ending);
}

static uint64_t window_end(const dusk__conn_t *conn) {
  return dusk__policy_window_end(worker_of(conn)->policy, &conn->watched,
                                 conn->member.since_ms);
}

/* A NEW or IDLE one, if nothing has come in from it meanwhile; else it is
 * looked at again in a moment. */
static void close_idle(dusk__conn_t *conn) {
  bool is_new = phase_of(conn) == DUSK__NEW;
  uint64_t now_ms = dusk__now_ms(worker_of(conn));
  assert(is_new || phase_of(conn) == DUSK__IDLE);
  if (dusk__stream_pending(&conn->wire.stream))
    set_timeout(conn, DUSK__WAIT_QUIET, now_ms + 1);
  else if (is_draining(conn) &&
           !dusk__policy_knows_peers(worker_of(conn)->policy, now_ms))
    set_timeout(conn, DUSK__WAIT_QUIET, now_ms + 1);
  else if (is_draining(conn) && window_end(conn) > now_ms)
    set_timeout(conn, DUSK__WAIT_QUIET, window_end(conn)); /* was renewed */
  else
    linger(conn, is_new ? DUSK__UNUSED : DUSK__ENDED_IDLE);
}

void dusk__conn_hijack(dusk__conn_t *conn) {
  note_ending(conn, DUSK__ENDED_HIJACKED);
  dusk__ex_note_peer(conn->ex);
  dusk__ex_count_end(conn->ex, DUSK__ENDED_HIJACKED);
  dusk__stream_fail(&conn->wire.stream, UV_ECANCELED);
  conn->doom = DUSK__TO_HIJACK;
  dusk__conn_go_on(conn, DUSK__NO_CALLS);
}

/* -- Waiting --------------------------------------------------------------- */

static uint64_t soon(const dusk__conn_t *conn, uint64_t timeout_ms) {
  return dusk__after_ms(
      dusk__fresh_ms(worker_of(conn)),
      dusk__policy_patience_ms(worker_of(conn)->policy, timeout_ms));
}

/* Sets a time-out that is renewed only when the peer has moved a byte. */
static void wait_for(dusk__conn_t *conn, dusk__wait_t wait,
                     uint64_t timeout_ms) {
  bool renew = conn->wire.stream.has_moved && wait != DUSK__WAIT_HEADER;
  uint64_t deadline_ms = soon(conn, timeout_ms);
  conn->wire.stream.has_moved = false;
  if (conn->timeout.wait == wait && !renew &&
      conn->timeout.deadline_ms <= deadline_ms)
    return;
  if (wait == DUSK__WAIT_WRITE) dusk__stream_note_progress(&conn->wire.stream);
  set_timeout(conn, wait, deadline_ms);
}

/* Has just become NEW or IDLE: no request, no buffers. */
static void wait_for_request(dusk__conn_t *conn) {
  const dusk_server_config_t *config = worker_of(conn)->config;
  if (is_draining(conn)) {
    set_timeout(conn, DUSK__WAIT_QUIET, window_end(conn));
    return;
  }
  bool is_new = phase_of(conn) == DUSK__NEW;
  set_timeout(
      conn, is_new ? DUSK__WAIT_HEADER : DUSK__WAIT_IDLE,
      dusk__after_ms(conn->member.since_ms, is_new ? config->header_timeout_ms
                                                   : config->idle_timeout_ms));
}

static void go_idle(dusk__conn_t *conn) {
  assert(conn->wire.stream.queued == 0 && !conn->ex->begun);
  dusk__ex_give(conn->ex);
  conn->ex = NULL;
  conn->pipelines = false;
  if (conn->wire.stream.has_ended) {
    close_conn(conn, DUSK__ANSWERED);
    return;
  }
  set_phase(conn, DUSK__IDLE);
  wait_for_request(conn);
  dusk__stream_read(&conn->wire.stream, true);
}

/* Whether its time is still to pass, and its context, which has ended for
 * another reason, doesn't tell any more. */
static bool is_to_be_timed(const dusk__exchange_t *ex) {
  uint64_t deadline_ns = ex->req.deadline_ns;
  return deadline_ns && deadline_ns != DUSK_OFF && !ex->req.timed &&
         !ex->res.ended;
}

/* What is waited for, now that nothing can go on. */
static void settle(dusk__conn_t *conn) {
  dusk__exchange_t *ex = conn->ex;
  if (phase_of(conn) != DUSK__ACTIVE) return;
  bool in_header = ex->stage == DUSK__STAGE_HEADER;
  if (conn->wire.stream.queued > 0) {
    wait_for(conn, DUSK__WAIT_WRITE, dusk__ex_write_timeout_ms(ex));
  } else if (in_header && !ex->begun) {
    go_idle(conn);
    return;
  } else if (in_header) {
    wait_for(conn, DUSK__WAIT_HEADER,
             worker_of(conn)->config->header_timeout_ms);
  } else if (dusk__body_wants_bytes(ex)) {
    wait_for(conn, DUSK__WAIT_BODY, dusk__ex_body_timeout_ms(ex));
  } else if (is_to_be_timed(ex)) {
    set_timeout(conn, DUSK__WAIT_ANSWER,
                ex->req.deadline_ns / DUSK__NS_PER_MS + 1);
  } else {
    dusk__timeout_clear(&conn->timeout);
  }
  /* Read on as long as there is room, also to see the client leave. */
  dusk__stream_read(&conn->wire.stream, !conn->wire.stream.has_ended &&
                                            dusk__h1_make_room(&ex->h1));
}

/* Nothing more can be written: the client has gone, or memory has. */
static void close_failed(dusk__conn_t *conn) {
  bool is_ours = dusk__stream_err(&conn->wire.stream) == UV_ENOMEM;
  close_conn(conn, is_ours ? DUSK__CUT : DUSK__GONE);
}

static void begin_request(dusk__conn_t *conn) {
  dusk__ex_begin(conn->ex);
  conn->wire.requests++;
  dusk__timeout_clear(&conn->timeout); /* each header has its own time */
  if (phase_of(conn) != DUSK__ACTIVE) set_phase(conn, DUSK__ACTIVE);
  dusk__census_request_begun(worker_of(conn)->census, &conn->member);
}

/* Steps until there is something to wait for, or the end. */
static dusk__step_t take_steps(dusk__conn_t *conn, dusk__calls_t calls) {
  while (conn->ex && !conn->doom) {
    dusk__step_t step = dusk__steps_next(conn->ex, calls);
    if (step > DUSK__STEP_NEXT) return step;
    if (step == DUSK__STEP_BEGIN) {
      begin_request(conn);
    } else if (step == DUSK__STEP_NEXT) {
      if (dusk__h1_unparsed(&conn->ex->h1) == 0) break;
      conn->pipelines = true;
    }
  }
  return DUSK__STEP_WAIT;
}

/* What follows from the last step, and from what was written. */
static void act(dusk__conn_t *conn, dusk__step_t step) {
  switch (conn->doom) {
  case DUSK__TO_CLOSE:
    end(conn, DUSK__CLOSED, dusk__stream_close);
    return;
  case DUSK__TO_HIJACK:
    end(conn, DUSK__HIJACKED, dusk__stream_close);
    return;
  }
  if (dusk__stream_err(&conn->wire.stream)) {
    close_failed(conn);
    return;
  }
  switch (step) {
  case DUSK__STEP_PART:
    close_readably(conn);
    return;
  case DUSK__STEP_RESET:
    note_ending(conn, dusk__steps_ending(conn->ex));
    end(conn, DUSK__CLOSED, dusk__stream_close_reset);
    return;
  case DUSK__STEP_CUT:
    close_conn(conn, DUSK__CUT);
    return;
  default:
    settle(conn);
  }
}

void dusk__conn_go_on(dusk__conn_t *conn, dusk__calls_t calls) {
  if (conn->is_running || has_ended(conn)) return;
  assert(dusk__worker_on_thread(worker_of(conn)));
  conn->is_running = true;
  /* Once a turn, so that a handler that writes whenever it may doesn't keep the
   * loop to itself. */
  if (conn->ex && calls == DUSK__CALLS) dusk__steps_tell_drained(conn->ex);
  dusk__step_t step = take_steps(conn, calls);
  /* What is doomed, or to be reset, drops what it has gathered. */
  if (!conn->doom && step != DUSK__STEP_RESET)
    dusk__stream_flush(&conn->wire.stream);
  conn->is_running = false;
  act(conn, step);
}

void dusk__conn_wait_anew(dusk__conn_t *conn) {
  dusk__timeout_clear(&conn->timeout);
  dusk__conn_go_on(conn, DUSK__NO_CALLS);
}

void dusk__conn_go_on_with(dusk__exchange_t *ex) {
  dusk__conn_go_on(dusk__conn_of_ex(ex), DUSK__CALLS);
}

/* -- Events ---------------------------------------------------------------- */

static uv_buf_t on_room(dusk__stream_t *stream) {
  dusk__conn_t *conn = conn_of_stream(stream);
  dusk__pool_t *pool = worker_of(conn)->pool;
  dusk__exchange_t *ex = conn->ex;
  if (ex == NULL) {
    if (pool->next == NULL) pool->next = dusk__ex_take(worker_of(conn));
    ex = pool->next;
  }
  size_t len = 0;
  char *room = ex ? dusk__h1_room(&ex->h1, &len) : NULL;
  return uv_buf_init(room, (unsigned)len);
}

static void on_discard(dusk__conn_t *conn, const char *bytes, size_t len) {
  if (dusk__census_is_awaited(&conn->member)) {
    linger_on(conn);
    return;
  }
  for (size_t i = 0; i < len && !conn->is_late; i++)
    conn->is_late = !dusk__is_line_end(bytes[i]);
}

static void on_read(dusk__stream_t *stream, const char *bytes, size_t len) {
  dusk__conn_t *conn = conn_of_stream(stream);
  if (phase_of(conn) == DUSK__LINGERING) {
    on_discard(conn, bytes, len);
    return;
  }
  if (conn->ex == NULL) {
    conn->ex = worker_of(conn)->pool->next;
    worker_of(conn)->pool->next = NULL;
    conn->ex->wire = &conn->wire;
  }
  dusk__h1_received(&conn->ex->h1, len);
  conn->watched.received += (uint32_t)len;
  dusk__conn_go_on(conn, DUSK__CALLS);
  /* Nothing but empty lines: still no request. */
  if (conn->ex && !conn->ex->begun && phase_of(conn) != DUSK__ACTIVE &&
      !has_ended(conn)) {
    dusk__ex_give(conn->ex);
    conn->ex = NULL;
  }
}

/* End of stream: the client has closed, or only its sending side. */
static void on_end(dusk__conn_t *conn) {
  dusk__stream_read(&conn->wire.stream, false);
  if (phase_of(conn) != DUSK__ACTIVE) {
    close_conn(conn,
               phase_of(conn) == DUSK__NEW ? DUSK__UNUSED : DUSK__ENDED_IDLE);
    return;
  }
  /* As in Go: it is told as gone, and still answered if the handler does. */
  dusk__contexts_client_gone(&conn->wire);
  dusk__conn_go_on(conn, DUSK__CALLS);
}

static void on_ended(dusk__stream_t *stream, int err) {
  static const dusk__ending_t endings[DUSK__OPEN_PHASES] = {
      [DUSK__NEW] = DUSK__UNUSED,
      [DUSK__ACTIVE] = DUSK__GONE,
      [DUSK__IDLE] = DUSK__ENDED_IDLE,
  };
  dusk__conn_t *conn = conn_of_stream(stream);
  if (err == UV_EOF)
    on_end(conn);
  else if (err == UV_ENOBUFS)
    close_conn(conn, DUSK__CUT);
  else
    close_conn(conn, endings[phase_of(conn)]);
}

/* The start of a body goes out before it is known how long it will be. */
static void on_held(dusk__stream_t *stream) {
  dusk__reply_frame_by_chunks(conn_of_stream(stream)->ex);
}

static void on_flushed(dusk__stream_t *stream, int err) {
  dusk__conn_t *conn = conn_of_stream(stream);
  if (err < 0)
    close_failed(conn);
  else
    dusk__conn_go_on(conn, DUSK__CALLS);
}

const dusk__stream_events_t dusk__conn_events = {.room = on_room,
                                                 .read = on_read,
                                                 .ended = on_ended,
                                                 .held = on_held,
                                                 .flushed = on_flushed,
                                                 .closed = on_closed};

/* A lost segment of an answer takes its time to be sent again, and what a
 * client that was closed still sends would be answered by a reset before that.
 */
static void lingered(dusk__conn_t *conn) {
  uint64_t last_ms = conn->member.since_ms + DUSK__LINGER_MS;
  if (last_ms > dusk__fresh_ms(worker_of(conn)) && is_unacknowledged(conn))
    linger_on(conn);
  else
    close_conn(conn, ending_of(conn));
}

static void write_timed_out(dusk__conn_t *conn) {
  conn->wire.stream.has_moved = !dusk__stream_is_stuck(&conn->wire.stream);
  if (conn->wire.stream.has_moved) {
    settle(conn);
  } else {
    dusk__ex_timed_out(conn->ex);
    close_conn(conn, DUSK__CUT);
  }
}

void dusk__conn_expired(dusk__timeout_t *timeout, dusk__wait_t wait) {
  dusk__conn_t *conn = DUSK__OWNER(timeout, dusk__conn_t, timeout);
  dusk__worker_note_thread(worker_of(conn));
  if (phase_of(conn) == DUSK__LINGERING) {
    lingered(conn);
  } else if (phase_of(conn) != DUSK__ACTIVE) {
    close_idle(conn);
  } else if (wait == DUSK__WAIT_WRITE) {
    write_timed_out(conn);
  } else if (wait == DUSK__WAIT_ANSWER) {
    conn->ex->is_overdue = true;
    dusk__conn_go_on(conn, DUSK__CALLS);
  } else if (conn->wire.stream.is_reading &&
             dusk__stream_unread(&conn->wire.stream) > 0) {
    /* What has come is read in this turn of the loop, and then it is late. */
    set_timeout(conn, wait, dusk__now_ms(worker_of(conn)) + 1);
  } else if (wait == DUSK__WAIT_HEADER) {
    conn->ex->is_overdue = true;
    dusk__conn_go_on(conn, DUSK__CALLS);
  } else {
    dusk__body_fail(conn->ex, UV_ETIMEDOUT);
    dusk__conn_go_on(conn, DUSK__CALLS);
  }
}

/* -- In a stop ------------------------------------------------------------- */

void dusk__conn_know_peer(dusk__conn_t *conn) {
  dusk__plan_t *plan = worker_of(conn)->policy->plan;
  uint64_t round_trip_ms = dusk__stream_round_trip_ms(&conn->wire.stream);
  conn->watched.round_trip_ms =
      (uint16_t)(round_trip_ms < UINT16_MAX ? round_trip_ms : UINT16_MAX);
  conn->watched.peer = dusk__peers_of(&plan->peers, &conn->wire.address);
  /* Answers in a lame duck said close: whose they were isn't known any more. */
  uint64_t answered_ms = atomic_load(&plan->lame_answered_ms);
  bool was_answered = conn->wire.requests > (phase_of(conn) == DUSK__ACTIVE);
  if (was_answered && conn->member.since_ms > answered_ms)
    answered_ms = conn->member.since_ms;
  dusk__peer_note_answer(conn->watched.peer, answered_ms);
}

void dusk__conn_close_idle(dusk__conn_t *conn) {
  close_idle(conn);
}

void dusk__conn_look(dusk__conn_t *conn) {
  dusk__batch_look(&conn->watched, dusk__stream_unread(&conn->wire.stream));
}

void dusk__conn_retime(dusk__conn_t *conn) {
  if (conn->is_running) return; /* it will settle when it has run */
  uint64_t limit = soon(conn, DUSK_OFF);
  dusk__wait_t wait = (dusk__wait_t)conn->timeout.wait;
  if (phase_of(conn) == DUSK__LINGERING) {
    if (dusk__census_is_awaited(&conn->member)) linger_on(conn);
    return;
  }
  if (phase_of(conn) != DUSK__ACTIVE)
    wait_for_request(conn);
  else if (wait == DUSK__WAIT_NOTHING)
    settle(conn); /* a time-out that was off */
  else if (wait != DUSK__WAIT_ANSWER && conn->timeout.deadline_ms > limit)
    set_timeout(conn, wait, limit); /* its peer's; not its handler's */
}

/* Its handler may end it when it is told: that goes out. */
static void tell_cut(dusk__conn_t *conn) {
  if (conn->ex == NULL) return;
  bool was_running = conn->is_running;
  conn->is_running = true;
  dusk__ex_tell_cut(conn->ex);
  conn->is_running = was_running;
  dusk__conn_go_on(conn, DUSK__NO_CALLS);
}

void dusk__conn_cut(dusk__conn_t *conn) {
  static const dusk__ending_t endings[DUSK__PHASES] = {
      [DUSK__NEW] = DUSK__UNUSED,
      [DUSK__ACTIVE] = DUSK__CUT,
      [DUSK__IDLE] = DUSK__ENDED_IDLE,
  };
  tell_cut(conn);
  bool is_waiting = phase_of(conn) == DUSK__NEW || phase_of(conn) == DUSK__IDLE;
  if (is_waiting && dusk__stream_pending(&conn->wire.stream))
    close_conn(conn, DUSK__CUT); /* its request is not even read */
  else
    close_conn(conn, endings[phase_of(conn)]);
}

bool dusk__conn_is_last_of(dusk__conn_t *conn, dusk__stop_t stop) {
  const dusk__h1_t *h1 = &conn->ex->h1;
  /* A lame duck may be taken back: each response looks anew. */
  if (!conn->watched.is_looked_at || stop == DUSK__LAME_DUCK)
    dusk__conn_look(conn);
  if (stop == DUSK__LAME_DUCK) conn->watched.is_looked_at = false;
  dusk__unparsed_t unparsed = {.bytes = h1->buffer + h1->parsed,
                               .len = dusk__h1_unparsed(h1),
                               .own = dusk__h1_own_bytes(h1)};
  switch (dusk__batch_goes_on(&conn->watched, &unparsed)) {
  case DUSK__FURTHER:
    return false;
  case DUSK__FURTHER_IF_PENDING:
    return !dusk__stream_pending(&conn->wire.stream);
  default:
    return true;
  }
}

/* -- The beginning --------------------------------------------------------- */

void dusk__conn_init(dusk__conn_t *conn, int fd,
                     const dusk__address_t *address) {
  conn->wire.stream.fd = fd;
  conn->wire.address = *address;
  dusk__list_init(&conn->member.link);
  dusk__timeout_init(&conn->timeout);
}

void dusk__conn_begin(dusk__conn_t *conn, dusk__worker_t *worker) {
  dusk__worker_ref(worker);
  dusk__census_enter(worker->census, &conn->member, dusk__now_ms(worker));
  bool is_open = dusk__stream_open(&conn->wire.stream, worker) == 0;
  if (is_open && worker->config->on_conn_context)
    is_open = dusk__wire_begin(&conn->wire) == 0;
  if (worker->config->on_conn_state) tell_state(conn, DUSK__NEW);
  if (!is_open) {
    close_conn(conn, DUSK__CUT);
    return;
  }
  if (is_draining(conn)) dusk__conn_know_peer(conn);
  wait_for_request(conn);
  dusk__stream_read(&conn->wire.stream, true);
}
