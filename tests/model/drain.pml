/* The protocol of a stop between two lanes, for spin: tests/model/check runs it
 * over all interleavings. What is modelled, and where it stands in src/http:
 *
 *   here            there
 *   accept          acceptor.c  on_readable, dusk__source_accept
 *   PASS_ONE        lanes.c     dusk__lanes_pass
 *   passed          lanes.c     dusk__lanes_passed
 *   close_listener  seal.c      look, close_when_empty
 *   seal            shutdown.c  note_sealed; lanes.c dusk__lanes_seal
 *   begin           shutdown.c  begin; lanes.c dusk__lanes_drain
 *   cut_listener    shutdown.c  cut; seal.c dusk__seal_cut
 *   cut_ordered     lanes.c     dusk__lanes_order_cut; lane.c on_cut_order
 *   cut_all         drain.c     dusk__drain_cut
 *   leave           shutdown.c  on_stuck; lanes.c dusk__lanes_leave
 *   turn            shutdown.c  on_turn, finish, call_back;
 *                               lanes.c dusk__lanes_are_over, dusk__lanes_quit
 *   send_to_end     lane.c      dusk__lane_send_to_end
 *   join            lanes.c     on_told, join_ended
 *   take_rest       lane.c      on_wake, take
 *   note_draining   lane.c      begin_to_drain; drain.c dusk__drain_begin
 *   check_over      lane.c      on_lane_turn; drain.c dusk__drain_check
 *   quit            lane.c      quit, lane_main
 *   CONN_EVENTS     connection.c, policy.c: a request, its answer, a window
 *
 * Lane 0 is the server's own loop, with the acceptor; lane 1 is a thread. What
 * is done under a lock, or without looking at what is shared, is one step.
 * There is no clock: whatever waits for a time may come at any moment; in some
 * runs this goes for a lane's being late, too. The lane that gets a connection
 * is any.
 * Left out: several listeners, sealing by weaker means, max_connections, the
 * hard cancel, lingering and hijacked connections, failures to start. A stuck
 * lane 0 is left out, too: then nobody is there to call back.
 *
 * Each BREAK_... breaks it in one way, and must be found. */

#ifndef CONNS
#define CONNS 2 /* or 1, or 3 */
#endif
#ifndef REQUESTS
#define REQUESTS 1 /* a connection */
#endif
#ifndef CALLS
#define CALLS 1 /* of shutdown, or 2 */
#endif

#define AWAY 0
#define HALF 1 /* its handshake is half-way */
#define QUEUED 2
#define INBOX 3
#define TAKEN 4 /* out of the inbox, not yet begun */
#define NEW 5
#define ACTIVE 6
#define ENDLESS 7 /* active, and only a cut will end it */
#define IDLE 8
#define CLOSING 9 /* counted as ended, its descriptor is still open */
#define CLOSED 10

#define SERVING 0
#define DRAINING 1
#define OVER 2

/* The run: whether a stop comes at all; whether there is a bound, without which
 * all handlers answer; whether lane 1 may be late though no handler keeps it.
 */
bool stops, bounded, may_be_late;

/* Connections. */
byte st[CONNS];
bit at[CONNS];       /* the lane */
byte asked[CONNS];   /* requests */
bool leaves[CONNS];  /* the client may go, at any time */
bool in_fds[CONNS];  /* of lane 1 */
bool is_shut[CONNS]; /* by shutdown(2) */

/* The server's. */
byte phase;
bool listening = true;
bool is_sealing; /* fresh handshakes are refused */
bool is_sealed_0, is_cut, has_stuck_timer;
bool due_0, is_passed, is_left, is_quitting_0, is_freed;
bool is_made = true;
byte calls, waiting, called_back;

/* Each lane's, of its own. */
bool is_draining[2], more_may_come[2];
bool due_1, drain_1_is_over, is_blocked, is_stuck_for_good;

/* Shared. */
bool wake_0, wake_1;         /* uv_async_t: sent, and its callback is to run */
bool wake_0_gone, wake_1_gone; /* closed */
bool drain_ordered, cut_ordered; /* contexts that ended, not yet told */
bool is_sealed, is_to_quit;  /* under the lock, as are inbox and in_fds */
bool is_over, has_ended;
bool has_returned; /* from its thread's main function */

#define EACH(c) c : 0 .. CONNS - 1
#define IS_OPEN(c) (st[c] >= NEW && st[c] <= IDLE)
#define IS_AWAITED(l, c) (at[c] == l && IS_OPEN(c))

#if CONNS == 1
#define ANY(state) (st[0] == state)
#define ANY_AWAITED(l) IS_AWAITED(l, 0)
#define ALL_SETTLED SETTLED(0)
#elif CONNS == 2
#define ANY(state) (st[0] == state || st[1] == state)
#define ANY_AWAITED(l) (IS_AWAITED(l, 0) || IS_AWAITED(l, 1))
#define ALL_SETTLED (SETTLED(0) && SETTLED(1))
#else
#define ANY(state) (st[0] == state || st[1] == state || st[2] == state)
#define ANY_AWAITED(l) \
  (IS_AWAITED(l, 0) || IS_AWAITED(l, 1) || IS_AWAITED(l, 2))
#define ALL_SETTLED (SETTLED(0) && SETTLED(1) && SETTLED(2))
#endif

/* -- What holds ------------------------------------------------------------ */

/* Nothing after closed: but for a lane that was left behind. */
#define CHECK_TOUCH(l)         \
  assert(!is_freed);           \
  assert(phase != OVER || (l == 1 && is_left))

/* What is finally true of a connection: it has ended; or its lane is stuck, and
 * the client was told by shutdown(2). Without a stop it is served. */
#define SETTLED(c)                                                       \
  (st[c] == AWAY || st[c] == CLOSED ||                 \
   (is_left && is_shut[c] && at[c] == 1) || (!stops && IS_OPEN(c)))

#define ALL_TOLD (calls > 0 && called_back == calls)
#define ALL_RELEASED (is_freed || is_stuck_for_good)

/* It always ends: each call is called back, no connection is without an
 * outcome, and the server's memory is released unless a thread never returns to
 * its loop. No fairness is asked for: nothing repeats for ever. */
ltl ends { [] <> (ALL_SETTLED &&
                  (!stops || (ALL_TOLD && ALL_RELEASED))) }

/* -- Both lanes ------------------------------------------------------------ */

inline send_to_0() {
  atomic {
    assert(!wake_0_gone);
    wake_0 = true
  }
}

inline send_to_1() {
  atomic {
    assert(!wake_1_gone);
    wake_1 = true
  }
}

/* In a lane's own step. */
inline note_end(l) {
  if
  :: l == 0 -> due_0 = due_0 || is_draining[0]
  :: else -> due_1 = due_1 || is_draining[1]
  fi
}

/* What an ended connection was makes no difference. */
#define FORGET(c)    \
  st[c] = CLOSED;    \
  at[c] = 0;         \
  asked[c] = 0;      \
  leaves[c] = false; \
  is_shut[c] = false

/* dusk__conn_close, in two steps: the descriptor leaves the set before it can
 * become another's. */
#ifndef BREAK_CLOSED_BEFORE_UNLISTED
#define UNLIST(l, c)                  \
  if                                  \
  :: l == 0 -> FORGET(c)              \
  :: else ->                          \
     in_fds[c] = false;               \
     st[c] = CLOSING                  \
  fi;                                 \
  note_end(l)
#define CLOSE(c)                      \
  if                                  \
  :: atomic { st[c] == CLOSING -> FORGET(c) } \
  :: else                             \
  fi
#else
#define UNLIST(l, c)                  \
  FORGET(c);                          \
  note_end(l)
#define CLOSE(c) in_fds[c] = false
#endif

/* A request's handler answers, or never does, or keeps its loop. */
#define BEGIN_REQUEST(l, c)                                   \
  asked[c]++;                                                 \
  if                                                          \
  :: st[c] = ACTIVE                                           \
  :: bounded -> st[c] = ENDLESS                               \
  :: bounded && l == 1 -> st[c] = ACTIVE; is_blocked = true   \
  fi

#define RUNS(l, c) (at[c] == l && (l == 0 || !is_blocked))

/* A request comes; it is answered, and the connection kept; it is answered, and
 * the connection closed, or its window has been quiet, or the client goes. */
#define CONN_EVENTS(l, c)                                                  \
  :: atomic { RUNS(l, c) && (st[c] == NEW || st[c] == IDLE) &&             \
              asked[c] < REQUESTS ->                                       \
              CHECK_TOUCH(l); BEGIN_REQUEST(l, c) }                        \
  :: atomic { RUNS(l, c) && st[c] == ACTIVE ->                             \
              CHECK_TOUCH(l); st[c] = IDLE; note_end(l) }                  \
  :: atomic { RUNS(l, c) &&                                                \
              ((IS_OPEN(c) && st[c] != ENDLESS && is_draining[l]) ||       \
               (IS_OPEN(c) && leaves[c])) ->                               \
              CHECK_TOUCH(l); UNLIST(l, c) };                              \
     CLOSE(c)

#define CUT_ONE(l, c)                  \
  :: atomic { IS_AWAITED(l, c) ->      \
              CHECK_TOUCH(l);          \
              assert(is_cut);          \
              UNLIST(l, c) };          \
     CLOSE(c)

#if CONNS == 1
#define EACH_CONN(macro, l) macro(l, 0)
#elif CONNS == 2
#define EACH_CONN(macro, l) macro(l, 0) macro(l, 1)
#else
#define EACH_CONN(macro, l) macro(l, 0) macro(l, 1) macro(l, 2)
#endif

inline cut_all(l) {
  do
  EACH_CONN(CUT_ONE, l)
  :: else -> break
  od
}

/* -- Lane 1 ---------------------------------------------------------------- */

/* dusk__conn_begin */
#define OPEN_ONE(l, c)                \
  :: atomic { st[c] == TAKEN ->       \
              CHECK_TOUCH(l);         \
              LIST_WHEN_BEGUN(c);     \
              st[c] = NEW }

/* From when it is passed, or one that the lane has taken and not yet begun is
 * not found. */
#ifndef BREAK_LISTED_WHEN_BEGUN
#define LIST_WHEN_PASSED(c) in_fds[c] = true
#define LIST_WHEN_BEGUN(c)
#else
#define LIST_WHEN_PASSED(c)
#define LIST_WHEN_BEGUN(c) in_fds[c] = true
#endif

inline take_inbox() {
  for (EACH(i)) {
    if
    :: st[i] == INBOX -> st[i] = TAKEN
    :: else
    fi
  }
  i = 0
}

/* Behind the seal's word nothing comes. */
inline take_rest() {
#ifdef BREAK_TAKEN_IN_TWO
  was_sealed = is_sealed;
#endif
  do
  EACH_CONN(OPEN_ONE, 1)
  :: atomic { else ->
       if
       :: was_sealed ->
          was_sealed = false;
          more_may_come[1] = false;
          due_1 = true
       :: else
       fi;
       break }
  od
}

/* With the lock. */
#ifndef BREAK_TAKEN_IN_TWO
#define TAKE_LOCKED take_inbox(); was_sealed = is_sealed
#else
#define TAKE_LOCKED take_inbox()
#endif

inline note_draining() {
  atomic {
    is_draining[1] = true;
    due_1 = true
  }
}

inline quit() {
  if
  :: drain_1_is_over
  :: else ->
     atomic { TAKE_LOCKED };
     take_rest();
     note_draining();
     cut_all(1)
  fi;
  atomic {
    assert(!ANY_AWAITED(1));
    wake_1_gone = true
  };
  has_ended = true;
  send_to_0();
  has_returned = true
}

/* It is over: nothing is here, and nothing can come. */
#define IS_LANE_1_OVER                                          \
  (is_draining[1] && !drain_1_is_over && !more_may_come[1] &&   \
   !ANY_AWAITED(1))

inline check_over() {
  assert(!ANY(INBOX) && !ANY(TAKEN) && !listening);
  drain_1_is_over = true
}

proctype lane_1() {
  byte i;
  bool was_sealed;
end_poll:
  do
  /* Its handler returns, at any time, or never. */
  :: atomic { is_blocked -> is_blocked = false }
  :: atomic { is_blocked -> is_stuck_for_good = true };
end_stuck:
     false
  :: atomic { !is_blocked && wake_1 ->
#ifndef BREAK_WAKE_CLEARED_LATE
       wake_1 = false
#endif
     };
     atomic { TAKE_LOCKED };
     take_rest();
#ifdef BREAK_WAKE_CLEARED_LATE
     wake_1 = false;
#endif
     if
     :: is_to_quit -> break
     :: else
     fi
  :: atomic { !is_blocked && drain_ordered ->
       drain_ordered = false;
       TAKE_LOCKED };
     take_rest();
     note_draining()
  :: atomic { !is_blocked && cut_ordered ->
       cut_ordered = false;
       TAKE_LOCKED };
     take_rest();
     note_draining();
     cut_all(1)
  :: atomic { !is_blocked && due_1 ->
       due_1 = false;
       if
       :: IS_LANE_1_OVER -> check_over()
       :: else -> goto end_poll
       fi };
#ifndef BREAK_TOLD_BEFORE_OVER
     is_over = true;
     send_to_0()
#else
     send_to_0();
     is_over = true
#endif
  EACH_CONN(CONN_EVENTS, 1)
  od;
  quit()
}

/* -- Lane 0, with the server ----------------------------------------------- */

#define PASS_ONE(l, c)                          \
  :: atomic { st[c] == QUEUED ->                \
       assert(phase != OVER);                   \
       if                                       \
       :: assert(more_may_come[0]);             \
          at[c] = 0;                            \
          st[c] = NEW                           \
       :: assert(!is_sealed);                   \
          at[c] = 1;                            \
          st[c] = INBOX;                        \
          LIST_WHEN_PASSED(c);                  \
          is_passed = true                      \
       fi }

/* One wake-up for a batch. */
inline passed() {
  if
  :: atomic { is_passed ->
       is_passed = false;
#ifndef BREAK_NO_WAKE_FOR_PASSED
       send_to_1()
#endif
     }
  :: else
  fi
}

inline accept() {
  do
  EACH_CONN(PASS_ONE, 0)
  :: else -> break
  od;
  passed()
}

/* In the turn in which the last listener has closed. */
inline seal() {
  atomic {
    is_sealed_0 = true;
    more_may_come[0] = false;
    is_sealed = true
  };
#ifndef BREAK_NO_WAKE_FOR_SEALED
  send_to_1()
#endif
}

inline close_listener() {
  assert(!ANY(QUEUED) && !ANY(HALF));
  listening = false;
  due_0 = true
}

inline begin() {
  phase = DRAINING;
  is_draining[0] = true;
#ifndef BREAK_NO_DRAIN_ORDER
  drain_ordered = true;
#endif
  due_0 = true
}

/* What waits in the queue is reset with its listener. */
inline cut_listener() {
  listening = false;
  for (EACH(i)) {
    if
    :: st[i] == HALF || st[i] == QUEUED -> FORGET(i)
    :: else
    fi
  }
  i = 0
}

/* Under the lock: shutdown(2) on its descriptors, which are open, or else may
 * be another's. */
inline shut_fds() {
  for (EACH(i)) {
    if
    :: in_fds[i] ->
       assert(st[i] != CLOSED);
       is_shut[i] = true
#ifdef BREAK_LISTED_WHEN_BEGUN
    :: st[i] == INBOX -> is_shut[i] = true
#endif
    :: else
    fi
  }
  i = 0
}

inline leave() {
#ifndef BREAK_NOT_LEFT
  is_left = true;
#endif
#ifndef BREAK_NOT_SHUT
  shut_fds()
#endif
}

#ifndef BREAK_LANE_NOT_AWAITED
#define LANE_1_IS_OVER (is_left || is_over)
#else
#define LANE_1_IS_OVER true
#endif

inline finish() {
  assert(!listening && !ANY(QUEUED) && !ANY_AWAITED(0));
  assert(is_left || (!ANY(INBOX) && !ANY(TAKEN) && !ANY_AWAITED(1)));
  assert(!is_left || is_cut);
  phase = OVER;
  has_stuck_timer = false
}

inline call_back() {
  called_back = called_back + waiting;
  assert(called_back <= calls);
#ifndef BREAK_CALLED_BACK_TWICE
  waiting = 0
#endif
}

/* Under the lock, so that the lane knows of it only when all was sent. */
inline send_to_end() {
#ifndef BREAK_TO_QUIT_BEFORE_WAKE
  atomic {
    is_to_quit = true;
    send_to_1()
  }
#else
  is_to_quit = true;
  send_to_1()
#endif
}

inline turn() {
  if
  :: phase >= DRAINING && !listening && !is_sealed_0 -> seal()
  :: else
  fi;
  atomic {
    if
    :: phase == DRAINING && !more_may_come[0] && !ANY_AWAITED(0) &&
       LANE_1_IS_OVER -> finish()
    :: else
    fi;
    if
    :: phase == OVER && waiting > 0 -> call_back()
    :: else
    fi
  };
  /* The owner has given the server back in its callback. */
  if
  :: atomic { phase == OVER && called_back > 0 && !is_quitting_0 ->
       is_quitting_0 = true };
     send_to_end()
  :: else
  fi
}

inline join() {
#ifndef BREAK_NOT_JOINED
  has_returned;
#endif
  atomic {
    is_made = false;
    wake_0_gone = true;
    is_freed = true
  }
}

#ifndef BREAK_HANDSHAKES_NOT_AWAITED
#define NO_HANDSHAKES (!ANY(HALF))
#else
#define NO_HANDSHAKES true
#endif

proctype lane_0() {
  byte i;
end_poll:
  do
  :: listening && ANY(QUEUED) -> accept()
  /* Once no handshake is half-way: what is queued, and the listener closes. */
  :: is_sealing && listening && NO_HANDSHAKES ->
#ifndef BREAK_NO_LAST_ACCEPT
     accept();
#endif
     atomic { close_listener() }
  :: atomic { stops && calls < CALLS && !is_quitting_0 ->
       calls++;
       waiting++;
       due_0 = true;
       if
       :: phase == SERVING ->
          begin();
          is_sealing = true
       :: else -> goto end_poll
       fi };
#ifdef BREAK_SEALED_EARLY
     seal()
#endif
  /* The bound has ended, or a signal that doesn't wait has come, the second or
   * the first. */
  :: atomic { bounded && !is_cut && phase <= DRAINING ->
       if
       :: phase == SERVING -> begin()
       :: else
       fi;
       is_cut = true;
#ifndef BREAK_NO_CUT_ORDER
       cut_ordered = true
#endif
     };
#ifndef BREAK_LISTENER_NOT_CUT
     atomic { cut_listener() };
#endif
     cut_all(0);
     atomic {
       has_stuck_timer = true;
       due_0 = true
     }
  :: atomic { has_stuck_timer && (is_blocked || may_be_late) ->
       has_stuck_timer = false;
       due_0 = true;
       if
       :: is_over -> goto end_poll
       :: else
       fi };
     atomic { leave() }
  :: atomic { wake_0 ->
       wake_0 = false;
       due_0 = true };
     if
     :: is_made && has_ended -> join()
     :: else
     fi
  :: atomic { due_0 -> due_0 = false };
     turn()
  EACH_CONN(CONN_EVENTS, 0)
  od
}

/* -- The clients and the kernel -------------------------------------------- */

/* Only the first one may go. */
#define ARRIVAL(l, c)                                                   \
  :: atomic { st[c] == AWAY && listening && !is_sealing ->              \
              st[c] = HALF;                                             \
              if                                                        \
              :: c == 0 -> leaves[c] = true                             \
              :: true                                                   \
              fi }                                                      \
  :: atomic { st[c] == HALF && listening -> st[c] = QUEUED }

proctype kernel() {
end_poll:
  do
  EACH_CONN(ARRIVAL, 0)
  od
}

init {
  atomic {
    if
    :: true
    :: stops = true
    :: stops = true; bounded = true
    :: stops = true; bounded = true; may_be_late = true
    fi;
    more_may_come[0] = true;
    more_may_come[1] = true;
    run lane_0();
    run lane_1();
    run kernel()
  }
}
