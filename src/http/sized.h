/* Structs of callers that were compiled with an older header, and whose structs
 * are shorter, or with a newer one. Fields are only appended. */
#ifndef DUSK_HTTP_SIZED_H
#define DUSK_HTTP_SIZED_H

#include <stddef.h>

/* Copies a struct to one of another length: what is there in both, and zeros
 * behind it. */
void dusk__sized_copy(void *to, size_t to_size, const void *from,
                      size_t from_size);

/* The same; but UV_EINVAL, and nothing is copied, where it asks for what isn't
 * known here: something behind `to_size` isn't zero. */
int dusk__sized_take(void *to, size_t to_size, const void *from,
                     size_t from_size);

#endif
