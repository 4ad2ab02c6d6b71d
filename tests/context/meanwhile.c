/* meanwhile.c: see meanwhile.h. */
#include "meanwhile.h"
#include "fixture.h"
#include "tree.h"

int __real_uv_mutex_trylock(uv_mutex_t *mutex);
int __wrap_uv_mutex_trylock(uv_mutex_t *mutex);

static _Thread_local struct {
  uv_mutex_t *lock;
  void (*fn)(void *arg);
  void *arg;
} next;

int __wrap_uv_mutex_trylock(uv_mutex_t *mutex) {
  if (mutex == next.lock) {
    next.lock = NULL;
    next.fn(next.arg);
  }
  return __real_uv_mutex_trylock(mutex);
}

void meanwhile(dusk_context_t *root, void (*fn)(void *arg), void *arg) {
  next.lock = &dusk__node_of(root)->root->lock;
  next.fn = fn;
  next.arg = arg;
}

bool happens(atomic_int *flag) {
  uint64_t until = uv_hrtime() + 50 * MS;
  while (!*flag && uv_hrtime() < until)
    uv_sleep(1);
  return *flag;
}
