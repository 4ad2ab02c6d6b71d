/* dusk/signal.h: Go's package os/signal on uv_signal_t.
 *
 * A receiver is a bounded queue of signal numbers. Any number of receivers may
 * want the same signal, and each gets a copy. Delivery never blocks: what a
 * full queue can't take is dropped, what is queued stays.
 *
 * The library touches no signal that it was not asked for, and leaves masks as
 * they are. When the last receiver that wants a signal is gone, the disposition
 * found before the first one is back, unless the program has set another one
 * meanwhile or somebody else's uv_signal_t still wants it. Several arrivals of
 * one signal before the loop turns may merge into one, as they do in the
 * kernel. A SIGSEGV, SIGBUS, SIGFPE or SIGILL that is the program's own fault
 * is never received: it takes the effect it had before. If a handler found
 * there survives that, it keeps the signal until the next notify.
 *
 * The limits, which are libuv's:
 * - A signal is given back as SIG_DFL, and only then is a former SIG_IGN or
 *   handler back; in that instant a signal that some other thread does not
 *   block takes its default effect. So it is after an ignore, when the loops
 *   of the receivers that had the signal turn.
 * - A loop has room for some thousand arrivals (4096 on Linux, one for each
 *   receiver) until it turns. What comes then is dropped, whichever signal it
 *   is and whoever wants it.
 * - A thread that was about to enter the handler while a notify put it in
 *   place is given 5 ms for that; what it has is lost if it takes longer, and
 *   the last receiver is stopped.
 * - What somebody saves while a signal is captured, and restores later, stands
 *   for what was found first; if that was a uv_signal_t's and has ended since,
 *   the signal is caught for nobody. What is found when a notify takes a signal
 *   back from the program, such as system(3)'s SIG_IGN, counts as the former
 *   one from then on.
 * A handler that the program puts over the library's must not call it.
 *
 * Threads: if not said otherwise, a function belongs to the loop's thread;
 * debug builds assert it. */
#ifndef DUSK_SIGNAL_H
#define DUSK_SIGNAL_H

#include <dusk/context.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dusk_signals dusk_signals_t;

/* A receiver on the loop of `root`, with room for `capacity` signals, that
 * wants nothing yet; owned by the caller until dusk_signals_free. Capacity 0
 * hands a signal over only to a callback that waits for it. 1 suffices for one
 * kind of signal. A signal takes a byte. Errors: UV_EINVAL, UV_ENOMEM.
 * Go: make(chan os.Signal, n) */
DUSK_EXTERN int
dusk_signals_new(dusk_context_t *root, unsigned capacity,
                 dusk_signals_t **ret_signals) DUSK_CHECK_RESULT;

/* Adds `count` signal numbers to what the receiver wants; in force on return.
 * `count` 0 is every signal that can be caught, but those by which a program's
 * own fault shows (SIGSEGV, SIGBUS, SIGFPE, SIGILL) and SIGPROF. Numbers that
 * can't be caught (SIGKILL, SIGSTOP, out of range, kept by the system) are
 * passed over. A signal that was ignored no longer is, and what else the
 * program has set while others have the signal gives way until the last stop.
 * On failure nothing was added. Errors: UV_EINVAL, UV_ENOMEM, what
 * uv_signal_start gives, UV_EBUSY if somebody has put another disposition over
 * his own uv_signal_t. Go: signal.Notify */
DUSK_EXTERN int dusk_signals_notify(dusk_signals_t *signals, const int *signums,
                                    size_t count) DUSK_CHECK_RESULT;

typedef void (*dusk_signals_cb)(dusk_signals_t *signals, int signum, void *arg);

/* Waits for one signal: calls `cb` once, on the loop, never inside this call,
 * with the oldest queued signal or else the next to come. Call it again, also
 * from the callback, for the one after; NULL gives up. The callback may free
 * the receiver. Errors: UV_EINVAL, UV_EBUSY while another one waits.
 * Go: <-c */
DUSK_EXTERN int dusk_signals_receive(dusk_signals_t *signals,
                                     dusk_signals_cb cb, void *arg);

/* The oldest queued signal, taken off the queue; 0 if there is none, or
 * no receiver. Any thread. Go: select { case s := <-c: default: } */
DUSK_EXTERN int dusk_signals_next(dusk_signals_t *signals);

/* Undoes all notifies of this receiver: from the return on nothing is queued;
 * what is queued stays readable, and a signal that was caught but not yet
 * dispatched is queued first, or takes its default effect, but is not lost. If
 * the last receiver's notify was less than 5 ms ago, this blocks the thread for
 * the rest of them, to be sure of that; so do free, dusk_context_stop_signals
 * and a signal context's last unref. A second stop does nothing, nor does NULL.
 * Go: signal.Stop */
DUSK_EXTERN void dusk_signals_stop(dusk_signals_t *signals);

/* Stops and releases the receiver; no callback comes after it. What it has
 * queued goes with it, as with a channel that is dropped, and what was caught
 * and not yet dispatched too: who needs that calls dusk_signals_stop, and
 * dusk_signals_next until it gives 0, before. NULL is a no-op. */
DUSK_EXTERN void dusk_signals_free(dusk_signals_t *signals);

/* Takes `count` signals, 0: all, from every receiver on every loop of the
 * process, and gives them back as a stop does; a receiver may be notified anew.
 * On return none reaches a receiver any more, but a callback that another
 * thread has begun to call runs on. One that is on its way is dropped; this
 * does not wait for it, as a stop would. Where a uv_signal_t of somebody else's
 * has the signal too, it takes its former effect, mostly the process's death,
 * in the place of reaching that one, until the loops of those receivers have
 * turned once. A signal that was ignored stays so. Numbers that can't be caught
 * are passed over. Any thread. Errors: UV_EINVAL. Go: signal.Reset */
DUSK_EXTERN int dusk_signals_reset(const int *signums, size_t count);

/* The same, but then the process ignores them, until a notify: they are neither
 * received, nor by somebody else's uv_signal_t, nor deadly, and what a program
 * starts by fork and exec inherits that (uv_spawn sets all to the default).
 * `count` 0: all that a notify would take, SIGCHLD among them, without which
 * uv_spawn's children are not seen to exit. Any thread. Errors: UV_EINVAL.
 * Go: signal.Ignore */
DUSK_EXTERN int dusk_signals_ignore(const int *signums, size_t count);

/* Whether the process ignores the signal now, whoever made it so; false for a
 * number out of range. Any thread. Go: signal.Ignored */
DUSK_EXTERN bool dusk_signal_ignored(int signum);

/* The text of a signal, as Go prints it: "interrupt", "terminated", ...;
 * "signal N" for one without a name. Static but for the latter, which lives
 * in a thread-local buffer until the next call. Any thread. */
DUSK_EXTERN const char *dusk_signal_text(int signum);

/* A context that is cancelled when one of the signals arrives, with a cause
 * whose text is the signal's and " signal received" ("interrupt signal
 * received") and whose code is UV_ECANCELED. It is static, one for each signal:
 * other contexts can be cancelled with it, and dusk_cause_signal tells which
 * signal it was. The signals stay captured, also
 * after the first and after the parent's end, until dusk_context_stop_signals
 * or the context's last unref, unless they are reset or ignored: then none
 * comes any more. `count` 0: all, as above. The loop is that of the parent's
 * root; loop thread only. Errors: as dusk_signals_notify.
 * Go: signal.NotifyContext */
DUSK_EXTERN int
dusk_context_with_signals(dusk_context_t *parent, const int *signums,
                          size_t count,
                          dusk_context_t **ret_ctx) DUSK_CHECK_RESULT;

/* The number of the signal that `cause` tells of, for one that a signal context
 * has ended with, and all that ended with it; 0 for any other, and for NULL.
 * Any thread. Go: errors.Is, or a look at the text */
DUSK_EXTERN int dusk_cause_signal(const dusk_cause_t *cause);

/* Ends the context (no-op if it has ended) and gives the signals back: a second
 * Ctrl+C then kills. One that was caught before, and not yet dispatched, is the
 * context's cause. Loop thread only. May be called again. Errors: UV_EINVAL for
 * a context not made by with_signals. Go: NotifyContext's stop */
DUSK_EXTERN int dusk_context_stop_signals(dusk_context_t *ctx);

#ifdef __cplusplus
}
#endif

#endif
