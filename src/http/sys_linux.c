/* Linux: a classic socket filter, sock_diag and TCP_INFO. */
#include "sys.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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

static int ask_half_open(int netlink, int family, in_port_t port) {
  struct {
    struct nlmsghdr header;
    struct inet_diag_req_v2 request;
  } message = {
      .header = {.nlmsg_len = sizeof(message),
                 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
      .request = {.sdiag_family = (uint8_t)family,
                  .sdiag_protocol = IPPROTO_TCP,
                  .idiag_states = 1u << TCP_SYN_RECV,
                  .id.idiag_sport = port},
  };
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  if (sendto(netlink, &message, sizeof(message), 0, (struct sockaddr *)&kernel,
             sizeof(kernel)) < 0)
    return uv_translate_sys_error(errno);
  return 0;
}

/* Reads one dump to its end. */
static int count_half_open(int netlink) {
  union {
    struct nlmsghdr header; /* aligns the bytes */
    char bytes[16384];
  } answer;
  int count = 0;
  for (;;) {
    ssize_t len = recv(netlink, &answer, sizeof(answer), 0);
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
      count++;
    }
  }
}

int dusk__sys_half_open(int fd) {
  struct sockaddr_storage addr;
  socklen_t len = sizeof(addr);
  if (getsockname(fd, (struct sockaddr *)&addr, &len))
    return uv_translate_sys_error(errno);
  /* The port has the same place in both families. A handshake has its
   * listener's family, also that of an IPv4 client with a dual-stack socket. */
  in_port_t port = ((struct sockaddr_in *)&addr)->sin_port;
  int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  if (netlink < 0) return uv_translate_sys_error(errno);
  int found = ask_half_open(netlink, addr.ss_family, port);
  if (found == 0) found = count_half_open(netlink);
  close(netlink);
  return found;
}

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
