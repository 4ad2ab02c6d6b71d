/* Linux: a classic socket filter, sock_diag or /proc, and TCP_INFO. */
#include "sys.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

int dusk__sys_refuse_handshakes(int fd) {
  /* A TCP socket's filter sees the segment from its header on; byte 13 holds
   * the flags: SYN 0x02, ACK 0x10. */
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x12),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x02, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
  };
  struct sock_fprog program = {.len = sizeof(code) / sizeof(*code),
                               .filter = code};
  if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)))
    return uv_translate_sys_error(errno);
  return 0;
}

/* -- Half-open handshakes -------------------------------------------------- */

/* Where a listener's handshakes come to. */
typedef struct local {
  int family;
  in_port_t port; /* in network order */
  uint32_t addr[4];
  bool any; /* every local address */
} local_t;

static int find_local(int fd, local_t *ret_local) {
  struct sockaddr_storage addr;
  socklen_t len = sizeof(addr);
  if (getsockname(fd, (struct sockaddr *)&addr, &len))
    return uv_translate_sys_error(errno);
  local_t local = {.family = addr.ss_family};
  if (addr.ss_family == AF_INET) {
    const struct sockaddr_in *in = (const void *)&addr;
    local.port = in->sin_port;
    local.addr[0] = in->sin_addr.s_addr;
    local.any = in->sin_addr.s_addr == htonl(INADDR_ANY);
  } else if (addr.ss_family == AF_INET6) {
    const struct sockaddr_in6 *in6 = (const void *)&addr;
    local.port = in6->sin6_port;
    memcpy(local.addr, &in6->sin6_addr, sizeof(local.addr));
    /* A handshake has its listener's family, also that of an IPv4 client, whose
     * address the kernel then doesn't tell. */
    local.any = IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr) ||
                IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);
  } else {
    return UV_EINVAL;
  }
  *ret_local = local;
  return 0;
}

static bool is_ours(const local_t *local, const void *addr) {
  size_t len = local->family == AF_INET ? 4 : 16;
  return local->any || memcmp(local->addr, addr, len) == 0;
}

int dusk__sys_open_diag(void) {
  int diag = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  return diag < 0 ? uv_translate_sys_error(errno) : diag;
}

static int ask_half_open(int diag, const local_t *local) {
  struct {
    struct nlmsghdr header;
    struct inet_diag_req_v2 request;
  } message = {
      .header = {.nlmsg_len = sizeof(message),
                 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
      .request = {.sdiag_family = (uint8_t)local->family,
                  .sdiag_protocol = IPPROTO_TCP,
                  .idiag_states = 1u << TCP_SYN_RECV,
                  .id.idiag_sport = local->port},
  };
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  ssize_t sent;
  do {
    sent = sendto(diag, &message, sizeof(message), 0,
                  (struct sockaddr *)&kernel, sizeof(kernel));
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? uv_translate_sys_error(errno) : 0;
}

/* Reads one dump to its end. */
static int count_half_open(int diag, const local_t *local) {
  union {
    struct nlmsghdr header; /* aligns the bytes */
    char bytes[16384];
  } answer;
  int count = 0;
  for (;;) {
    ssize_t len = recv(diag, &answer, sizeof(answer), 0);
    if (len < 0 && errno == EINTR) continue;
    if (len <= 0) return len < 0 ? uv_translate_sys_error(errno) : UV_EOF;
    size_t left = (size_t)len;
    for (struct nlmsghdr *h = &answer.header; NLMSG_OK(h, left);
         h = NLMSG_NEXT(h, left)) {
      if (h->nlmsg_type == NLMSG_DONE) return count;
      if (h->nlmsg_type == NLMSG_ERROR) {
        const struct nlmsgerr *failure = NLMSG_DATA(h);
        return failure->error < 0 ? failure->error : UV_EIO;
      }
      const struct inet_diag_msg *found = NLMSG_DATA(h);
      count += is_ours(local, found->id.idiag_src);
    }
  }
}

int dusk__sys_half_open(int diag, int fd) {
  local_t local;
  int found = find_local(fd, &local);
  if (found == 0) found = ask_half_open(diag, &local);
  if (found == 0) found = count_half_open(diag, &local);
  return found;
}

/* One line of /proc/self/net/tcp: "sl: ADDR:PORT REMOTE:PORT STATE ...", the
 * addresses as 32-bit words in the machine's order. */
static bool is_half_open_line(const char *line, const local_t *local) {
  char addr[33];
  unsigned port, state;
  if (sscanf(line, " %*u: %32[0-9A-Fa-f]:%4x %*s %2x", addr, &port, &state) !=
          3 ||
      state != TCP_SYN_RECV || port != ntohs(local->port))
    return false;
  if (local->any) return true;
  char ours[33];
  if (local->family == AF_INET)
    snprintf(ours, sizeof(ours), "%08X", local->addr[0]);
  else
    snprintf(ours, sizeof(ours), "%08X%08X%08X%08X", local->addr[0],
             local->addr[1], local->addr[2], local->addr[3]);
  return strcmp(ours, addr) == 0;
}

int dusk__sys_half_open_slowly(int fd) {
  local_t local;
  int found = find_local(fd, &local);
  if (found < 0) return found;
  bool is_ipv4 = local.family == AF_INET;
  FILE *list =
      fopen(is_ipv4 ? "/proc/self/net/tcp" : "/proc/self/net/tcp6", "re");
  if (list == NULL) return uv_translate_sys_error(errno);
  char line[512];
  while (fgets(line, sizeof(line), list))
    found += is_half_open_line(line, &local);
  if (ferror(list)) found = UV_EIO;
  fclose(list);
  return found;
}

int dusk__sys_queued(int fd) {
  struct tcp_info info;
  socklen_t len = sizeof(info);
  memset(&info, 0, sizeof(info));
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len))
    return uv_translate_sys_error(errno);
  return (int)info.tcpi_unacked; /* a listener's: the length of its queue */
}

/* -- Connections ----------------------------------------------------------- */

uint64_t dusk__sys_round_trip_ms(int fd) {
  struct tcp_info info;
  socklen_t len = sizeof(info);
  memset(&info, 0, sizeof(info));
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len)) return 0;
  return (info.tcpi_rtt + 999) / 1000;
}

size_t dusk__sys_unacknowledged(int fd) {
  int bytes = 0;
  if (ioctl(fd, SIOCOUTQ, &bytes) || bytes < 0) return 0;
  return (size_t)bytes;
}
