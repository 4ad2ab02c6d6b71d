/* The played kernel: descriptors (descriptors.c), epoll (epoll.c), TCP and Unix
 * sockets (tcp.c), what it tells of half-open handshakes (diag.c), and which
 * calls fail (faults.c). libc.c is how programs come to it.
 *
 * Calls return 0 or more, or a negated errno. */
#ifndef WORLD_KERNEL_H
#define WORLD_KERNEL_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>

enum {
  FIRST_FD = 512, /* below are the real kernel's */
  FDS = 1024,
};

/* -- Calls that fail ------------------------------------------------------- */

typedef enum call {
  CALL_ACCEPT,
  CALL_SOCKET,
  CALL_NETLINK, /* socket(AF_NETLINK) */
  CALL_PROC,    /* open of /proc/net/tcp */
  CALL_FILTER,
  CALL_EPOLL_CTL,
  CALL_EPOLL_WAIT,
  CALL_READ,
  CALL_WRITE,
  CALL_SHUTDOWN,
  CALL_UNREAD, /* FIONREAD */
  CALL_MALLOC,
  CALLS,
} call_t;

extern const char *const call_names[CALLS];

/* From the n-th call from now on (1 is the next) the next `times` fail. */
void fail_calls(call_t call, uint64_t nth, uint64_t times, int err);
/* 0, or the error that this call is to fail with. */
int failure_of(call_t call);
bool has_failed(call_t call);
void faults_begin(void);

/* -- Streams and connections ----------------------------------------------- */

/* One direction of a connection. All its bytes are kept; what has become of
 * them is how far each of these offsets has come. */
typedef struct stream {
  char *bytes;
  size_t room;
  uint64_t written; /* by the sending program */
  uint64_t sent;    /* put on the wire */
  uint64_t arrived; /* in the receiver's queue, in order */
  uint64_t read;    /* by the receiving program */
  uint64_t acked;   /* arrived, as the sender knows */
  uint64_t credit;  /* read, as the sender knows */
  uint64_t told;    /* read, as the receiver has told */
  uint64_t free_at; /* when the next segment can arrive: in order */
  uint64_t send_room;
  uint64_t window;
  bool fin_written;
  bool fin_sent;
  bool fin_arrived;
} stream_t;

typedef enum link_state {
  LINK_CONNECTING, /* the client's SYN is on its way */
  LINK_HALF_OPEN,  /* SYN_RECV */
  LINK_QUEUED,     /* accepted by the kernel, not by the program */
  LINK_ACCEPTED,
  LINK_CLOSED, /* by the server, or refused */
} link_state_t;

typedef struct listener listener_t;
typedef struct link link_t;

/* What a client is told of a connection. */
typedef struct client_calls {
  void (*connected)(link_t *link);
  void (*readable)(link_t *link); /* bytes or the end of the stream */
  void (*ended)(link_t *link);    /* refused, or reset */
} client_calls_t;

struct link {
  int id;
  bool is_unix;
  sa_family_t family; /* of the client's address */
  uint32_t ip;        /* of the client; host order */
  uint32_t server_ip;
  uint16_t port; /* of the client */
  uint16_t server_port;
  uint64_t latency; /* one way, ns */
  uint64_t loss;    /* one segment in so many; 0: none */
  link_state_t state;
  listener_t *listener;
  link_t *next_queued;
  stream_t up;
  stream_t down;
  int tries;

  const client_calls_t *calls;
  void *client;
  bool client_connected;
  bool client_closed; /* sends and reads nothing more */
  bool client_silent; /* gone from the net: not even resets */
  bool client_reset;  /* was reset or refused */

  bool server_error;     /* a reset has come */
  bool server_told;      /* ... and the program was told */
  bool linger_0;         /* closing resets */
  uint64_t down_ends_at; /* a reset went out: what arrives later is lost */

  /* For the checks: times are 0 where it has not been. */
  uint64_t accepted_at;
  uint64_t half_closed_at; /* by the server; or closed */
  uint64_t closed_at;
  uint64_t moved_at; /* the peer sent or took a byte */
  uint64_t up_at_half_close;
  bool fin_at_close; /* the client's end of stream had come by then */
  bool failed;       /* one of its calls was made to fail */
  bool hijacked;
  uint64_t looked_at;  /* by the server, for input: what had arrived then */
  uint64_t looked_for; /* ... and in which of its turns */
  int user;            /* the thread that uses it, and 1; 0: none yet */
  struct watch *watch; /* of checks */
};

struct listener {
  int id;
  bool is_unix;
  bool is_foreign; /* another process's, on the same port */
  sa_family_t family;
  bool dual;
  uint32_t ip; /* 0: any */
  uint16_t port;
  char path[108];
  unsigned backlog;
  bool listening;
  bool closed;
  bool shut;
  bool filter;
  link_t *queue; /* first come, first accepted */
  size_t queued;
  bool left; /* the queue stays: another process has the socket, too */
  listener_t *next;
};

void tcp_begin(void);
listener_t *listeners(void); /* all that ever were */
link_t *link_at(int index);  /* all that ever were; NULL past the last */
uint64_t server_links_open(void);

/* The client's side. */
link_t *link_new(const client_calls_t *calls, void *client);
void link_connect(link_t *link);
void link_send(link_t *link, const char *bytes, size_t len);
size_t link_take(link_t *link, char *bytes, size_t size);
void link_finish(link_t *link); /* half-closes */
void link_close(link_t *link);
void link_abort(link_t *link); /* resets */
void link_vanish(link_t *link);

/* The server's side. */
listener_t *listener_new(sa_family_t family);
int listener_listen(listener_t *listener, unsigned backlog);
link_t *listener_take(listener_t *listener);
void listener_shut(listener_t *listener);
void listener_close(listener_t *listener);
size_t half_open(const listener_t *listener);
ssize_t tcp_read(link_t *link, char *bytes, size_t size);
ssize_t tcp_write(link_t *link, const char *bytes, size_t size);
int tcp_shutdown(link_t *link, int how);
void tcp_close(link_t *link);
/* It looks, and finds no more than this. */
void tcp_look(link_t *link);
uint32_t tcp_events(const link_t *link);

/* -- Descriptors ----------------------------------------------------------- */

typedef enum kind {
  FD_FREE,
  FD_LISTENER,
  FD_LINK,
  FD_EPOLL,
  FD_EVENT,
  FD_PIPE,
  FD_NETLINK,
  FD_TEXT,
} kind_t;

/* What a descriptor names; several may name one. */
typedef struct file {
  kind_t kind;
  int refs;
  void *object;
} file_t;

typedef struct bytes {
  char *at;
  size_t len;
  size_t read;
} bytes_t;

void descriptors_begin(void);
void descriptors_limit(int most); /* EMFILE beyond */
int descriptors_open(void);
bool descriptors_full(void);
bool is_played(int fd);
file_t *file_of(int fd); /* NULL: not open */
void *object_of(int fd, kind_t kind);
int fd_new(kind_t kind, void *object);
int fd_dup(int fd);
int fd_close(int fd);
/* A program's calls. */
/* A connection is the first thread's that does more than to accept it. */
void fd_use(int fd);
int fd_of_link(const link_t *link); /* -1 */
ssize_t fd_read(int fd, char *bytes, size_t size);
ssize_t fd_write(int fd, const char *bytes, size_t size);
uint32_t fd_events(int fd);

/* -- epoll ----------------------------------------------------------------- */

typedef struct epoll {
  uint32_t events[FDS];
  uint64_t data[FDS];
  int most; /* one past the last that was added */
} epoll_t;

void epoll_begin(void);
int epoll_set(epoll_t *epoll, int op, int fd, const struct epoll_event *event);
void epoll_forget(int fd);
int epoll_get(epoll_t *epoll, struct epoll_event *events, int most,
              int timeout_ms);
/* How many turns this thread's loop has ended. */
uint64_t epoll_turns(int thread);
bool epoll_is_in_turn(int thread); /* not in epoll_wait */
/* When its turn began. */
uint64_t epoll_turn_began(int thread);
/* The longest that a turn has taken, or takes: of one, and of any. */
uint64_t epoll_held_by(int thread);
uint64_t epoll_held(void);
/* All threads wait, for nothing that comes before `then`. */
void epoll_time_passes(uint64_t then);

/* -- Telling of handshakes ------------------------------------------------- */

size_t diag_dump(sa_family_t family, uint16_t port, char *bytes, size_t size);
size_t diag_text(bool ipv6, char *text, size_t size);

#endif
