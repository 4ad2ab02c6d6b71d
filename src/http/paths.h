/* Paths of targets, still encoded. See paths.c. */
#ifndef DUSK_HTTP_PATHS_H
#define DUSK_HTTP_PATHS_H

#include <stddef.h>

/* Cleans an absolute path, in its place, of empty segments, "." and "..", of
 * which none leads above the root; a final slash stays. Gives its new length.
 * Go: path.Clean, as ServeMux uses it. */
size_t dusk__path_clean(char *path, size_t len);

#endif
