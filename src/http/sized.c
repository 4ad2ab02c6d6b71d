#include "sized.h"

#include <string.h>
#include <uv.h>

void dusk__sized_copy(void *to, size_t to_size, const void *from,
                      size_t from_size) {
  size_t common = to_size < from_size ? to_size : from_size;
  memcpy(to, from, common);
  memset((char *)to + common, 0, to_size - common);
}

int dusk__sized_take(void *to, size_t to_size, const void *from,
                     size_t from_size) {
  const char *bytes = from;
  for (size_t i = to_size; i < from_size; i++)
    if (bytes[i] != 0) return UV_EINVAL;
  dusk__sized_copy(to, to_size, from, from_size);
  return 0;
}
