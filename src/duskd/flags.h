/* flags.h: what the command line and the environment ask for. */
#ifndef DUSKD_FLAGS_H
#define DUSKD_FLAGS_H

#include <dusk/http.h>

#include "log.h"

#define DUSKD_THREADS_MAX 1024 /* the server's limit */
#define DUSKD_ADDRESSES_MAX 16
#define DUSKD_ADDRESS_SIZE 272 /* the longest host name and a port */

/* Exit statuses, as --help tells them. */
enum {
  DUSKD_DRAINED = 0,
  DUSKD_FAILED = 1,
  DUSKD_USAGE = 2,
  DUSKD_CUT_SOME = 3,
  DUSKD_CUT_SHORT = 4,
};

typedef struct duskd_flags {
  char addresses[DUSKD_ADDRESSES_MAX][DUSKD_ADDRESS_SIZE];
  size_t n_addresses;
  uint64_t drain_timeout_ms;   /* DUSK_OFF: none */
  uint64_t lame_duck_ms;       /* 0: none */
  dusk_server_config_t server; /* its times and limits; DUSK_OFF: none */
  const char *access_log;      /* "" is none, "-" standard output; borrowed */
  duskd_format_t log_format;
  duskd_level_t log_level;
} duskd_flags_t;

/* Fills *ret_flags and returns true; or has answered --help or --version, or
 * complained in one line on standard error, and leaves the exit status in
 * *ret_status. */
bool duskd__flags_read(int argc, char **argv, duskd_flags_t *ret_flags,
                       int *ret_status);

/* One line on standard error that says what is wrong and where help is. */
void duskd__usage_error(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

#endif
