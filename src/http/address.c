#include "address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* A link-local address means nothing without its zone. */
static void zone_text(unsigned index, char *buf, size_t size) {
  char name[UV_IF_NAMESIZE];
  size_t len = sizeof(name);
  if (index == 0)
    buf[0] = '\0';
  else if (uv_if_indextoname(index, name, &len) == 0)
    snprintf(buf, size, "%%%s", name);
  else /* it has gone */
    snprintf(buf, size, "%%%u", index);
}

void dusk__address_text(const struct sockaddr *addr, char *buf, size_t size) {
  char host[INET6_ADDRSTRLEN];
  char zone[UV_IF_NAMESIZE + 1];
  if (addr->sa_family == AF_INET) {
    const struct sockaddr_in *in = (const void *)addr;
    uv_ip4_name(in, host, sizeof(host));
    snprintf(buf, size, "%s:%d", host, ntohs(in->sin_port));
  } else if (addr->sa_family == AF_INET6) {
    const struct sockaddr_in6 *in6 = (const void *)addr;
    int port = ntohs(in6->sin6_port);
    uv_ip6_name(in6, host, sizeof(host));
    zone_text(in6->sin6_scope_id, zone, sizeof(zone));
    /* An IPv4 client of a dual-stack socket is told as what it is. */
    if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
      snprintf(buf, size, "%s:%d", host + strlen("::ffff:"), port);
    else
      snprintf(buf, size, "[%s%s]:%d", host, zone, port);
  } else {
    snprintf(buf, size, "unix");
  }
}

void dusk__address_host(const dusk__address_t *address, uint8_t ret_host[16]) {
  static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
  memset(ret_host, 0, 16);
  if (address->any.sa_family == AF_INET6) {
    memcpy(ret_host, &address->in6.sin6_addr, 16);
  } else if (address->any.sa_family == AF_INET) {
    memcpy(ret_host, mapped, 12);
    memcpy(ret_host + 12, &address->in.sin_addr, 4);
  }
}

int dusk__address_split(const char *text, char *host, size_t size,
                        const char **ret_port) {
  const char *colon = strrchr(text, ':');
  if (colon == NULL) return UV_EINVAL;
  const char *from = text;
  const char *to = colon;
  if (*from == '[') {
    from++;
    if (to == from || *--to != ']') return UV_EINVAL;
  } else if (memchr(from, ':', (size_t)(to - from))) {
    return UV_EINVAL;
  }
  size_t len = (size_t)(to - from);
  if (len >= size) return UV_EINVAL;
  memcpy(host, from, len);
  host[len] = '\0';
  const char *port = colon + 1;
  size_t digits = strspn(port, "0123456789");
  if (digits == 0 || digits > 5 || port[digits] ||
      strtoul(port, NULL, 10) > UINT16_MAX)
    return UV_EINVAL;
  *ret_port = port;
  return 0;
}
