/* Paths without segments that lead elsewhere: "", "." and "..". */
#ifndef DUSK_HTTP_PATH_H
#define DUSK_HTTP_PATH_H

#include <stdbool.h>
#include <stddef.h>

/* Whether it begins with '/' and has none of them. A last '/' is no segment. */
bool dusk__path_is_clean(const char *path, size_t len);

/* Writes it without them, as Go's path.Clean does, but with its last '/'.
 * Returns the length, which is at most one more. An escaped "." or "/" is
 * neither of the two. */
size_t dusk__path_clean(const char *path, size_t len, char *buf);

#endif
