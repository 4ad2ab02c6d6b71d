/* What a server has sent, read as a strict client does: any defect is a
 * failure. */
#ifndef DUSK_TESTS_FUZZ_REPLIES_H
#define DUSK_TESTS_FUZZ_REPLIES_H

#include "fuzz.h"

/* Of the requests that were answered, in their order. */
typedef struct asked {
  int status;
  bool is_head;
  bool is_whole; /* false: its answer may be cut, and nothing follows it */
} asked_t;

/* Reads all of the `len` bytes, which answer `count` requests, and writes what
 * doesn't depend on how the input came to `told`, of `size` bytes; its length.
 * `is_cut`: the connection may have been cut before all had come. */
size_t replies_read(const char *bytes, size_t len, const asked_t *asked,
                    size_t count, bool is_cut, char *told, size_t size);

#endif
