/* Socket addresses: as text, as a peer's, and read from HOST:PORT. */
#ifndef DUSK_HTTP_ADDRESS_H
#define DUSK_HTTP_ADDRESS_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { DUSK__ADDRESS_TEXT_BYTES = 80 };

/* A client's; a Unix socket's has a family only. */
typedef union dusk__address {
  struct sockaddr any;
  struct sockaddr_in in;
  struct sockaddr_in6 in6;
} dusk__address_t;

/* "127.0.0.1:80", "[::1]:80", with its zone "[fe80::1%eth0]:80", or "unix". */
void dusk__address_text(const struct sockaddr *addr, char *buf, size_t size);

/* Without the port: IPv6, IPv4 mapped, all 0 for a Unix socket's. */
void dusk__address_host(const dusk__address_t *address, uint8_t ret_host[16]);

/* Splits "HOST:PORT", "[V6]:PORT" and ":PORT". *ret_port lies in `text`. 0 or
 * UV_EINVAL. */
int dusk__address_split(const char *text, char *host, size_t size,
                        const char **ret_port);

#endif
