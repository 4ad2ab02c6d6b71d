/* meanwhile.h: has another thread come in between, at the moment where it
 * matters. Needs the linker's --wrap for uv_mutex_trylock. */
#ifndef MEANWHILE_H
#define MEANWHILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <dusk/context.h>

/* Calls fn(arg) once, when this thread next wants the lock of the root's tree,
 * before it has it. */
void meanwhile(dusk_context_t *root, void (*fn)(void *arg), void *arg);

/* Waits a moment for what must not happen; whether it did. */
bool happens(atomic_int *flag);

#endif
