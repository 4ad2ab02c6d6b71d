/* Addresses: what is split off a text, and what is written and read again. */
#include "fuzz.h"
#include "address.h"
#include "pattern.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <uv.h>

enum { HOST_BYTES = 64 };

/* With a host of each length: the parts are the text, or nothing is told. */
static void check_split(const char *text) {
  for (size_t size = 1; size <= HOST_BYTES; size += 7) {
    char *host = fuzz_copy("?", 1);
    host = realloc(host, size);
    HOLDS(host != NULL);
    const char *port = text;
    int err = dusk__address_split(text, host, size, &port);
    HOLDS(err == 0 || (err == UV_EINVAL && port == text));
    if (err == 0) {
      char whole[HOST_BYTES + 16];
      bool has_brackets = *text == '[';
      HOLDS(strlen(host) < size);
      HOLDS(has_brackets || strchr(host, ':') == NULL);
      HOLDS(port > text && strlen(port) <= 5 && atol(port) <= 65535);
      snprintf(whole, sizeof(whole), has_brackets ? "[%s]:%s" : "%s:%s", host,
               port);
      HOLDS(strcmp(whole, text) == 0);
    }
    free(host);
  }
}

/* What comes before the port, as the last colon behind the brackets tells. */
static void check_host_name(const char *host, size_t len) {
  size_t name_len = dusk__host_name_len(host, len);
  HOLDS(name_len <= len);
  HOLDS(name_len == len || host[name_len] == ':');
  if (memchr(host, ']', len) == NULL)
    HOLDS(len == 0 || memchr(host, ':', name_len) == NULL);
}

/* Its text is read again by who serves an address, to the same one. */
static void check_text(const dusk__address_t *address) {
  char text[DUSK__ADDRESS_TEXT_BYTES];
  char host[DUSK__ADDRESS_TEXT_BYTES];
  const char *port;
  dusk__address_t again;
  uint8_t bytes[2][16];
  dusk__address_text(&address->any, text, sizeof(text));
  HOLDS(memchr(text, '\0', sizeof(text)) != NULL);
  HOLDS(strlen(text) < sizeof(text) - 1); /* it wasn't cut */
  if (address->any.sa_family == AF_UNIX) {
    HOLDS(strcmp(text, "unix") == 0);
    return;
  }
  HOLDS(dusk__address_split(text, host, sizeof(host), &port) == 0);
  char *zone = strchr(host, '%');
  if (zone) *zone = '\0';
  HOLDS((zone != NULL) == (*text == '[' && address->in6.sin6_scope_id != 0));
  int err = strchr(host, ':') ? uv_ip6_addr(host, atoi(port), &again.in6)
                              : uv_ip4_addr(host, atoi(port), &again.in);
  HOLDS(err == 0);
  dusk__address_host(address, bytes[0]);
  dusk__address_host(&again, bytes[1]);
  HOLDS(memcmp(bytes[0], bytes[1], 16) == 0);
  HOLDS(again.in.sin_port == address->in.sin_port);
}

/* 'address' of the bytes that there are, and 0. */
static void make_address(const uint8_t *data, size_t size, sa_family_t family,
                         dusk__address_t *ret_address) {
  dusk__address_t address;
  memset(&address, 0, sizeof(address));
  memcpy(&address, data, size < sizeof(address) ? size : sizeof(address));
  address.any.sa_family = family;
  *ret_address = address;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const sa_family_t families[] = {AF_INET, AF_INET6, AF_UNIX};
  dusk__address_t address;
  char *text = fuzz_text(data, size);
  char *bytes = fuzz_copy(data, size);
  check_split(text);
  check_host_name(bytes, size);
  for (size_t i = 0; i < sizeof(families) / sizeof(*families); i++) {
    make_address(data, size, families[i], &address);
    check_text(&address);
  }
  free(bytes);
  free(text);
  return 0;
}
