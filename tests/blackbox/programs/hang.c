/* Stands before the C library's getaddrinfo() in the program that it is linked
 * to: a look-up of hang.test says "hangs" and never returns; others go on. */
#include <dlfcn.h>
#include <netdb.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

typedef int (*getaddrinfo_fn)(const char *, const char *,
                              const struct addrinfo *, struct addrinfo **);

/* libuv is to find it. */
__attribute__((visibility("default"))) int
getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
            struct addrinfo **res) {
  if (node == NULL || strcmp(node, "hang.test") != 0)
    return ((getaddrinfo_fn)dlsym(RTLD_NEXT, "getaddrinfo"))(node, service,
                                                             hints, res);
  if (write(STDERR_FILENO, "hangs\n", 6) != 6) return EAI_SYSTEM;
  for (;;)
    pause();
}
