/* diag.c: half-open handshakes, as sock_diag and /proc/net/tcp tell them. */
#include "kernel.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* A handshake has its listener's family. */
static bool is_half_open(const link_t *link, sa_family_t family) {
  return link->state == LINK_HALF_OPEN && link->listener->family == family;
}

static void put_address(uint32_t words[4], sa_family_t family, uint32_t ip) {
  memset(words, 0, 4 * sizeof(*words));
  words[family == AF_INET ? 0 : 3] = htonl(ip);
  if (family == AF_INET6) words[2] = htonl(0xffff);
}

static size_t put_message(char *bytes, size_t size, int type, const void *data,
                          size_t len) {
  struct nlmsghdr header = {.nlmsg_len = (uint32_t)NLMSG_LENGTH(len),
                            .nlmsg_type = (uint16_t)type,
                            .nlmsg_flags = NLM_F_MULTI};
  size_t whole = NLMSG_SPACE(len);
  if (whole > size) return 0;
  memset(bytes, 0, whole);
  memcpy(bytes, &header, sizeof(header));
  memcpy(bytes + NLMSG_HDRLEN, data, len);
  return whole;
}

size_t diag_dump(sa_family_t family, uint16_t port, char *bytes, size_t size) {
  size_t len = 0;
  link_t *link;
  for (int i = 0; (link = link_at(i)) != NULL; i++) {
    if (!is_half_open(link, family)) continue;
    if (port && port != link->server_port) continue;
    struct inet_diag_msg message = {.idiag_family = (uint8_t)family,
                                    .idiag_state = TCP_SYN_RECV};
    message.id.idiag_sport = htons(link->server_port);
    message.id.idiag_dport = htons(link->port);
    put_address(message.id.idiag_src, family, link->server_ip);
    put_address(message.id.idiag_dst, family, link->ip);
    len += put_message(bytes + len, size - len, SOCK_DIAG_BY_FAMILY, &message,
                       sizeof(message));
  }
  int zero = 0;
  len += put_message(bytes + len, size - len, NLMSG_DONE, &zero, sizeof(zero));
  return len;
}

static size_t put_end(char *text, size_t size, bool ipv6, uint32_t ip,
                      uint16_t port) {
  uint32_t words[4];
  put_address(words, ipv6 ? AF_INET6 : AF_INET, ip);
  int len = ipv6 ? snprintf(text, size, "%08X%08X%08X%08X:%04X", words[0],
                            words[1], words[2], words[3], port)
                 : snprintf(text, size, "%08X:%04X", words[0], port);
  return (size_t)len;
}

size_t diag_text(bool ipv6, char *text, size_t size) {
  size_t len = (size_t)snprintf(
      text, size,
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when "
      "retrnsmt   uid  timeout inode\n");
  link_t *link;
  for (int i = 0; (link = link_at(i)) != NULL && size - len > 256; i++) {
    if (!is_half_open(link, ipv6 ? AF_INET6 : AF_INET)) continue;
    len += (size_t)snprintf(text + len, size - len, "%4d: ", i);
    len += put_end(text + len, size - len, ipv6, link->server_ip,
                   link->server_port);
    text[len++] = ' ';
    len += put_end(text + len, size - len, ipv6, link->ip, link->port);
    len += (size_t)snprintf(text + len, size - len,
                            " 03 00000000:00000000 01:00000000 00000000     0"
                            "        0 0 1 0000000000000000\n");
  }
  return len;
}
