/* flags.c: one table of flags, which the command line, the environment and
 * --help all go by. The command line beats the environment, and that the
 * default; each flag's text is read once, by the same function, whichever it
 * came from. */
#include "flags.h"

#include "units.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reads `text` into a field of the flags; returns NULL, or what is wrong with
 * it: the end of the sentence `--flag: "text" ...`. */
typedef const char *(*take_fn)(const char *text, void *field);

static const char *take_duration(const char *text, void *field) {
  return duskd__duration_parse(text, field)
             ? "is not a duration such as 10s, 250ms or 1m30s"
             : NULL;
}

/* Zero is none on the command line, and the default in a configuration. */
static void zero_is_off(uint64_t *value) {
  if (*value == 0) *value = DUSK_OFF;
}

static const char *take_timeout(const char *text, void *field) {
  const char *wrong = take_duration(text, field);
  if (wrong == NULL) zero_is_off(field);
  return wrong;
}

static const char *take_size(const char *text, void *field) {
  if (duskd__size_parse(text, field) != 0)
    return "is not a size such as 4096, 64K or 1M";
  zero_is_off(field);
  return NULL;
}

static const char *take_count(const char *text, void *field) {
  if (duskd__count_parse(text, field) != 0) return "is not a whole number";
  zero_is_off(field);
  return NULL;
}

static const char *take_threads(const char *text, void *field) {
  uint64_t *threads = field;
  if (duskd__count_parse(text, threads) != 0 || *threads > DUSKD_THREADS_MAX)
    return "is not a number of threads, from 0 to 1024";
  if (*threads == 0) *threads = DUSK_THREAD_A_CORE;
  return NULL;
}

static const char *take_text(const char *text, void *field) {
  *(const char **)field = text;
  return NULL;
}

static const char *take_format(const char *text, void *field) {
  duskd_format_t *format = field;
  if (strcmp(text, "text") == 0)
    *format = DUSKD_TEXT;
  else if (strcmp(text, "json") == 0)
    *format = DUSKD_JSON;
  else
    return "is neither text nor json";
  return NULL;
}

static const char *take_level(const char *text, void *field) {
  duskd_level_t *level = field;
  if (strcmp(text, "error") == 0)
    *level = DUSKD_ERROR;
  else if (strcmp(text, "warn") == 0)
    *level = DUSKD_WARN;
  else if (strcmp(text, "info") == 0)
    *level = DUSKD_INFO;
  else
    return "is none of error, warn, info";
  return NULL;
}

/* Adds addresses, separated by commas. Whether one can be read as an address
 * is the server's to say. */
static const char *take_addresses(const char *text, void *field) {
  duskd_flags_t *flags = field;
  for (;;) {
    size_t len = strcspn(text, ",");
    if (flags->n_addresses == DUSKD_ADDRESSES_MAX)
      return "is one address too many: 16 are the most";
    if (len >= DUSKD_ADDRESS_SIZE) return "is too long for an address";
    char *address = flags->addresses[flags->n_addresses++];
    memcpy(address, text, len);
    address[len] = '\0';
    if (text[len] == '\0') return NULL;
    text += len + 1;
  }
}

typedef struct flag {
  const char *name;
  const char *value; /* what --help calls its value */
  const char *fallback;
  take_fn take;
  size_t field;
  const char *help;
} flag_t;

#define FIELD(name) offsetof(duskd_flags_t, name)

static const flag_t table[] = {
    {"listen", "ADDR", ":8080", take_addresses, 0,
     "address to serve; may be repeated"},
    {"threads", "N", "1", take_threads, FIELD(server.threads),
     "that serve, a loop each; 0: one a core"},
    {"drain-timeout", "D", "10s", take_timeout, FIELD(drain_timeout_ms),
     "for the drain; what is left then is cut"},
    {"lame-duck", "D", "0", take_duration, FIELD(lame_duck_ms),
     "before the drain: serve on, unready"},
    {"quiet-window", "D", "1s", take_timeout, FIELD(server.quiet_window_ms),
     "in the drain: for an idle client's next request"},
    {"cancel-grace", "D", "250ms", take_timeout, FIELD(server.cancel_grace_ms),
     "before the cut: requests are told to end"},
    {"idle-timeout", "D", "60s", take_timeout, FIELD(server.idle_timeout_ms),
     "for a kept connection's next request"},
    {"header-timeout", "D", "10s", take_timeout,
     FIELD(server.header_timeout_ms), "for a request's header"},
    {"body-timeout", "D", "30s", take_timeout, FIELD(server.body_timeout_ms),
     "for the next piece of a request's body"},
    {"write-timeout", "D", "30s", take_timeout, FIELD(server.write_timeout_ms),
     "for a client that takes nothing of its answer"},
    {"request-timeout", "D", "0", take_timeout,
     FIELD(server.request_timeout_ms), "for a whole request"},
    {"max-header-bytes", "N", "64K", take_size, FIELD(server.max_header_bytes),
     "of a request line and header"},
    {"max-body-bytes", "N", "1M", take_size, FIELD(server.max_body_bytes),
     "of a request's body"},
    {"max-connections", "N", "0", take_count, FIELD(server.max_connections),
     "at a time; further clients wait"},
    {"access-log", "FILE", "", take_text, FIELD(access_log),
     "a line a request; - is standard output"},
    {"log-format", "FORMAT", "text", take_format, FIELD(log_format),
     "of messages and access log: text or json"},
    {"log-level", "LEVEL", "info", take_level, FIELD(log_level),
     "messages shown: error, warn or info"},
};

#define N_FLAGS (sizeof table / sizeof table[0])

void duskd__usage_error(const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  duskd__log(DUSKD_ERROR, "%s (see duskd --help)", text);
}

static void print_help_line(const char *name, const char *value,
                            const char *fallback, const char *help) {
  char left[64];
  snprintf(left, sizeof left, "--%s %s", name, value);
  printf("  %-21s %-6s %s\n", left, fallback, help);
}

static void print_help(void) {
  printf("Usage: duskd [FLAG]...\n"
         "Serves HTTP/1.1 until SIGINT, SIGTERM or SIGQUIT comes, then\n"
         "finishes what has begun and leaves; a second one cuts at once.\n\n");
  for (const flag_t *flag = table; flag < table + N_FLAGS; flag++)
    print_help_line(flag->name, flag->value, flag->fallback, flag->help);
  print_help_line("help", "", "", "this text");
  print_help_line("version", "", "", "versions of duskd, libuv and llhttp");
  printf("\n"
         "The second column is the default. ADDR is HOST:PORT, :PORT,\n"
         "[V6]:PORT, unix:PATH, fd:N (in the end its queue is left to its\n"
         "other owner) or fd:N:seal (there is none); port 0 takes a free one.\n"
         "D is a duration such as 1.5s, 250ms or 1m30s; N a number, of bytes "
         "also\n"
         "64K or 1M; 0 of either is no time and no limit, where nothing else\n"
         "is said.\n\n"
         "Flags may come from the environment too: --drain-timeout as\n"
         "DUSK_DRAIN_TIMEOUT; several addresses in DUSK_LISTEN are separated\n"
         "by commas. The command line wins.\n\n"
         "Routes: GET /?delay=D, POST or PUT /echo,\n"
         "GET /stream?count=N&interval=D, GET /healthz, and GET /readyz,\n"
         "which is 503 from the signal on.\n\n"
         "HUP reopens the access log; USR1, while lame, goes back to serving.\n"
         "A signal that is ignored when duskd starts stays ignored.\n\n"
         "Exit status: 0 all was answered, 1 could not start, 2 wrong usage,\n"
         "3 something was cut or cancelled, by the drain timeout or for\n"
         "standing still, 4 a second signal cut it short.\n");
}

static void print_version(void) {
  printf("duskd %s\nlibuv %s\nllhttp %s\n", dusk_version(), uv_version_string(),
         dusk_llhttp_version());
}

/* DUSK_DRAIN_TIMEOUT for drain-timeout. */
static void environment_name(const flag_t *flag, char *buf, size_t size) {
  snprintf(buf, size, "DUSK_%s", flag->name);
  for (char *c = buf; *c != '\0'; c++)
    *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
}

static bool take(duskd_flags_t *flags, const flag_t *flag, const char *source,
                 const char *text) {
  const char *wrong = flag->take(text, (char *)flags + flag->field);
  if (wrong != NULL) duskd__usage_error("%s: \"%s\" %s", source, text, wrong);
  return wrong == NULL;
}

/* Fills what the command line left open from the environment, where an empty
 * variable is none, or from the defaults. */
static bool take_rest(duskd_flags_t *flags, const bool *taken) {
  for (size_t i = 0; i < N_FLAGS; i++) {
    char name[64];
    environment_name(&table[i], name, sizeof name);
    const char *text = getenv(name);
    if (text == NULL || *text == '\0') text = table[i].fallback;
    if (!taken[i] && !take(flags, &table[i], name, text)) return false;
  }
  return true;
}

/* The table's row for "--name" or "--name=value"; NULL if it has none. */
static const flag_t *find(const char *argument) {
  if (strncmp(argument, "--", 2) != 0) return NULL;
  const char *name = argument + 2;
  size_t len = strcspn(name, "=");
  for (const flag_t *flag = table; flag < table + N_FLAGS; flag++) {
    if (strlen(flag->name) == len && memcmp(flag->name, name, len) == 0)
      return flag;
  }
  return NULL;
}

/* Takes the flag at argv[*i] and moves *i to the last of its arguments. */
static bool take_argument(duskd_flags_t *flags, bool *taken, char **argv,
                          int *i) {
  const char *argument = argv[*i];
  const flag_t *flag = find(argument);
  if (flag == NULL) {
    duskd__usage_error(*argument == '-' ? "unknown flag %s"
                                        : "unexpected argument \"%s\"",
                       argument);
    return false;
  }
  char source[64];
  snprintf(source, sizeof source, "--%s", flag->name);
  const char *value = strchr(argument, '=');
  value = value != NULL ? value + 1 : argv[++*i];
  if (value == NULL) {
    duskd__usage_error("%s needs a value", source);
    return false;
  }
  taken[flag - table] = true;
  return take(flags, flag, source, value);
}

bool duskd__flags_read(int argc, char **argv, duskd_flags_t *ret_flags,
                       int *ret_status) {
  static const struct {
    const char *name;
    void (*print)(void);
  } answers[] = {{"--help", print_help}, {"--version", print_version}};

  duskd_flags_t flags = {0};
  bool taken[N_FLAGS] = {false};
  *ret_status = DUSKD_USAGE;
  for (int i = 1; i < argc; i++) {
    for (size_t a = 0; a < 2; a++) {
      if (strcmp(argv[i], answers[a].name) == 0) {
        answers[a].print();
        *ret_status = fflush(stdout) == 0 ? 0 : DUSKD_FAILED;
        return false;
      }
    }
    if (!take_argument(&flags, taken, argv, &i)) return false;
  }
  if (!take_rest(&flags, taken)) return false;
  *ret_flags = flags;
  return true;
}
