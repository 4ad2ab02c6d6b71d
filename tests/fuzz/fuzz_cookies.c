/* Cookies. An input has a line each for a cookie's name, value, path, domain,
 * its flags by letters (s, h, p, and L, S, N for SameSite), expiry and age;
 * what follows is a Cookie field. What is set is read as a browser does, and
 * what comes in the simplest way. */
#include "served.h"
#include "chars.h"
#include "pairs.h"

#include <sys/socket.h>
#include <time.h>

enum { LINES = 7, TURNS = 100 };

/* -- The response that they are set on ------------------------------------- */

static served_t served;
static dusk_response_t *held;

static void hold(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req, (void)arg;
  held = res;
}

/* One for all inputs: what is set is taken back. */
static dusk_response_t *response(void) {
  static const char request[] = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
  if (held) return held;
  served_open(&served, (dusk_server_config_t){.handler = hold});
  int client = served_connect();
  HOLDS(send(client, request, sizeof(request) - 1, MSG_NOSIGNAL) ==
        sizeof(request) - 1);
  for (int i = 0; held == NULL && i < TURNS; i++)
    uv_run(&served.loop, UV_RUN_NOWAIT);
  HOLDS(held != NULL);
  return held;
}

/* -- Those that come ------------------------------------------------------- */

static bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

static void trim(const char **at, size_t *len) {
  while (*len > 0 && is_blank(**at))
    ++*at, --*len;
  while (*len > 0 && is_blank((*at)[*len - 1]))
    --*len;
}

static bool is_token(const char *text, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (text[i] <= ' ' || text[i] >= 127 ||
        strchr("()<>@,;:\\\"/[]?={}", text[i]))
      return false;
  return len > 0;
}

static bool is_value(const char *text, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (text[i] < ' ' || text[i] >= 127 || strchr("\";\\", text[i]))
      return false;
  return true;
}

/* One part between semicolons; false when it is to be passed over. */
static bool read_part(const char *part, size_t len, dusk__pair_t *ret_pair) {
  trim(&part, &len);
  const char *equals = len > 0 ? memchr(part, '=', len) : NULL;
  size_t name_len = equals ? (size_t)(equals - part) : len;
  const char *value = equals ? equals + 1 : part + len;
  size_t value_len = (size_t)(part + len - value);
  const char *name = part;
  trim(&name, &name_len);
  if (value_len > 1 && *value == '"' && value[value_len - 1] == '"')
    value++, value_len -= 2;
  *ret_pair = (dusk__pair_t){{name, name_len}, {value, value_len}};
  return is_token(name, name_len) && is_value(value, value_len);
}

static bool is_same(dusk__piece_t a, dusk__piece_t b) {
  return a.len == b.len && (a.len == 0 || a.at == b.at);
}

static void check_field(const char *text, size_t size) {
  dusk__piece_t rest = {text, size};
  dusk__pair_t wanted, got;
  size_t count = 0;
  for (size_t at = 0; at < size;) {
    size_t len = 0;
    while (at + len < size && text[at + len] != ';')
      len++;
    if (read_part(text + at, len, &wanted)) {
      HOLDS(dusk__cookies_next(&rest, &got));
      HOLDS(is_same(got.name, wanted.name) && is_same(got.value, wanted.value));
      count++;
    }
    at += len + 1;
  }
  HOLDS(!dusk__cookies_next(&rest, &got) && rest.len == 0);
  HOLDS(count <= dusk__pairs_bound((dusk__piece_t){text, size}, ';'));
}

/* -- Those that are set ---------------------------------------------------- */

static bool has_flag(const char *flags, char flag) {
  return strchr(flags, flag) != NULL;
}

static void make_cookie(char *const lines[LINES], dusk_cookie_t *cookie) {
  const char *flags = lines[4];
  *cookie = (dusk_cookie_t){.name = lines[0],
                            .value = lines[1],
                            .path = lines[2],
                            .domain = lines[3],
                            .expires_s = strtoll(lines[5], NULL, 10),
                            .max_age_s = strtoll(lines[6], NULL, 10),
                            .secure = has_flag(flags, 's'),
                            .http_only = has_flag(flags, 'h'),
                            .partitioned = has_flag(flags, 'p')};
  if (has_flag(flags, 'L')) cookie->same_site = DUSK_SAME_SITE_LAX;
  if (has_flag(flags, 'S')) cookie->same_site = DUSK_SAME_SITE_STRICT;
  if (has_flag(flags, 'N')) cookie->same_site = DUSK_SAME_SITE_NONE;
}

/* What a browser makes of it: RFC 6265, 5.2. An attribute's value, which may be
 * "", or NULL; where it is there several times the last one counts. */
static char *attribute(const char *field, const char *name) {
  char *found = NULL;
  for (const char *at = strchr(field, ';'); at; at = strchr(at, ';')) {
    at += 1 + strspn(at + 1, " ");
    size_t len = strcspn(at, ";=");
    if (len != strlen(name) || strncasecmp(at, name, len) != 0) continue;
    free(found);
    at += len + (at[len] == '=');
    found = fuzz_text(at, strcspn(at, ";"));
  }
  return found;
}

static void check_attribute(const char *field, const char *name,
                            const char *wanted) {
  char *got = attribute(field, name);
  HOLDS((got != NULL) == (wanted != NULL));
  HOLDS(got == NULL || strcmp(got, wanted) == 0);
  free(got);
}

static const char *or_null(const char *text) {
  return *text ? text : NULL;
}

static void check_times(const char *field, const dusk_cookie_t *cookie) {
  char age[24];
  char *expires = attribute(field, "Expires");
  struct tm parts = {0};
  HOLDS((expires != NULL) == (cookie->expires_s != 0));
  if (expires) {
    const char *end = strptime(expires, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    HOLDS(end && *end == '\0' && timegm(&parts) == cookie->expires_s);
  }
  snprintf(age, sizeof(age), "%lld",
           (long long)(cookie->max_age_s > 0 ? cookie->max_age_s : 0));
  check_attribute(field, "Max-Age", cookie->max_age_s ? age : NULL);
  free(expires);
}

static void check_set(const char *field, const dusk_cookie_t *cookie) {
  static const char *const same_site[] = {NULL, "Lax", "Strict", "None"};
  dusk__pair_t pair;
  for (const char *c = field; *c; c++)
    HOLDS(*c >= ' ' && *c < 127);
  size_t pair_len = strcspn(field, ";");
  HOLDS(read_part(field, pair_len, &pair));
  HOLDS(pair.name.len == strlen(cookie->name) &&
        memcmp(pair.name.at, cookie->name, pair.name.len) == 0);
  HOLDS(pair.value.len == strlen(cookie->value) &&
        memcmp(pair.value.at, cookie->value, pair.value.len) == 0);
  check_field(field, pair_len); /* as it comes back */
  const char *domain = cookie->domain + (*cookie->domain == '.');
  check_attribute(field, "Path", or_null(cookie->path));
  check_attribute(field, "Domain", or_null(domain));
  check_attribute(field, "Secure", cookie->secure ? "" : NULL);
  check_attribute(field, "HttpOnly", cookie->http_only ? "" : NULL);
  check_attribute(field, "Partitioned", cookie->partitioned ? "" : NULL);
  check_attribute(field, "SameSite", same_site[cookie->same_site]);
  check_times(field, cookie);
}

/* Of the plainest ones: whether they must be taken. */
static bool is_plain(const dusk_cookie_t *cookie) {
  size_t len = strlen(cookie->name);
  return is_token(cookie->name, len) && *cookie->name != '_' &&
         is_value(cookie->value, strlen(cookie->value)) && len < 99 &&
         strlen(cookie->value) < 999 && *cookie->path == '\0' &&
         *cookie->domain == '\0' && cookie->expires_s == 0 &&
         cookie->same_site != DUSK_SAME_SITE_NONE && !cookie->partitioned;
}

static void check_cookie(char *const lines[LINES]) {
  dusk_cookie_t cookie;
  make_cookie(lines, &cookie);
  dusk_response_t *res = response();
  HOLDS(dusk_response_get_header(res, "Set-Cookie") == NULL);
  int err = dusk_response_set_cookie(res, &cookie);
  const char *field = dusk_response_get_header(res, "Set-Cookie");
  HOLDS(err == 0 || err == UV_EINVAL || err == UV_ENOBUFS);
  HOLDS((field != NULL) == (err == 0));
  HOLDS(err == 0 || !is_plain(&cookie));
  if (err == 0) check_set(field, &cookie);
  HOLDS(dusk_response_remove_header(res, "Set-Cookie") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *text = fuzz_text(data, size);
  char *rest = text;
  char *lines[LINES];
  static char empty[] = "";
  for (int i = 0; i < LINES; i++) {
    lines[i] = fuzz_line(&rest);
    if (lines[i] == NULL) lines[i] = empty;
  }
  check_cookie(lines);
  size_t field_at = rest ? (size_t)(rest - text) : 0;
  char *field = fuzz_copy(data + field_at, size - field_at);
  check_field(field, size - field_at);
  free(field);
  free(text);
  return 0;
}
