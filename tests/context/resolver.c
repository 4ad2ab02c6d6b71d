/* resolver.c: see resolver.h. */
#include "resolver.h"
#include "fixture.h"

#include <dlfcn.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static const struct {
  const char *name;
  const char *addresses[3];
} names[] = {
    {"two.test", {"127.0.0.2", "127.0.0.1"}},
    {"six.test", {"::1", "127.0.0.1"}},
    {"three.test", {"127.0.0.1", "127.0.0.2", "127.0.0.3"}},
    {"none.test", {NULL}},
    {"slow.test", {"127.0.0.1"}},
};

static char ours[] = "ours"; /* marks the results */

typedef struct {
  struct addrinfo info;
  struct sockaddr_storage addr;
} result_t;

static uv_sem_t slow, go;
static atomic_int calls;

void resolver_open(void) {
  calls = 0;
  assert_int_equal(uv_sem_init(&slow, 0), 0);
  assert_int_equal(uv_sem_init(&go, 0), 0);
}

void resolver_close(void) {
  uv_sem_destroy(&slow);
  uv_sem_destroy(&go);
}

int resolver_calls(void) {
  return calls;
}

void resolver_wait_slow(void) {
  uv_sem_wait(&slow);
}

void resolver_let_go(void) {
  uv_sem_post(&go);
}

static struct addrinfo *result(const char *address, int port) {
  result_t *res = calloc(1, sizeof(*res));
  if (res == NULL) return NULL;
  res->info.ai_canonname = ours;
  res->info.ai_addr = (struct sockaddr *)&res->addr;
  res->info.ai_socktype = SOCK_STREAM;
  if (uv_ip4_addr(address, port, (struct sockaddr_in *)&res->addr) != 0)
    assert_int_equal(
        uv_ip6_addr(address, port, (struct sockaddr_in6 *)&res->addr), 0);
  res->info.ai_family = res->info.ai_addr->sa_family;
  return &res->info;
}

typedef int (*getaddrinfo_fn)(const char *, const char *,
                              const struct addrinfo *, struct addrinfo **);
typedef void (*freeaddrinfo_fn)(struct addrinfo *);

__attribute__((visibility("default"))) int
getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
            struct addrinfo **ret_res) {
  size_t i = 0;
  atomic_fetch_add(&calls, 1);
  while (i < sizeof(names) / sizeof(names[0]) &&
         (node == NULL || strcmp(node, names[i].name) != 0))
    i++;
  if (i == sizeof(names) / sizeof(names[0])) {
    getaddrinfo_fn next = (getaddrinfo_fn)dlsym(RTLD_NEXT, "getaddrinfo");
    return next(node, service, hints, ret_res);
  }
  if (strcmp(node, "slow.test") == 0) {
    uv_sem_post(&slow);
    uv_sem_wait(&go);
  }
  int port = service != NULL ? (int)strtol(service, NULL, 10) : 0;
  struct addrinfo *first = NULL;
  struct addrinfo **last = &first;
  for (int n = 0; n < 3 && names[i].addresses[n] != NULL; n++) {
    *last = result(names[i].addresses[n], port);
    if (*last == NULL) {
      freeaddrinfo(first);
      return EAI_MEMORY;
    }
    last = &(*last)->ai_next;
  }
  *ret_res = first;
  return first != NULL ? 0 : EAI_NONAME;
}

__attribute__((visibility("default"))) void freeaddrinfo(struct addrinfo *res) {
  if (res != NULL && res->ai_canonname != ours) {
    ((freeaddrinfo_fn)dlsym(RTLD_NEXT, "freeaddrinfo"))(res);
    return;
  }
  while (res != NULL) {
    struct addrinfo *next = res->ai_next;
    free(res);
    res = next;
  }
}
