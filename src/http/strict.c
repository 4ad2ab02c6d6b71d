/* RFC 9112's rules that no version of llhttp enforces, or not every one. Most
 * of them follow from one: a header is a request line and one line a field,
 * with nothing in it that isn't accounted for. Folded lines, empty names, other
 * protocols' request lines and bare LFs fall through it. */
#include "strict.h"

#include "chars.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

static size_t token_len(const char *text, size_t len) {
  size_t i = 0;
  while (i < len && dusk__is_token_char(text[i]))
    i++;
  return i;
}

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

int dusk__strict_bad_method(const char *line, size_t len) {
  size_t method = token_len(line, len);
  /* Well-formed, but not known: RFC 9110, 9.1. The line may not have been read
   * to the method's end; a token up to there is refused alike. */
  return method > 0 && (method == len || line[method] == ' ') ? 501 : 400;
}

bool dusk__strict_is_http(const char *line, size_t len) {
  const char *end = line + len;
  const char *target = memchr(line, ' ', len);
  if (target++ == NULL) return false;
  const char *version = memchr(target, ' ', (size_t)(end - target));
  return version && end - version > 5 && memcmp(version, " HTTP/", 6) == 0;
}

/* A version as it should be, "HTTP/d.d" and the line's end. */
static bool is_version(const char *text, size_t len) {
  return len >= 8 && memcmp(text, "HTTP/", 5) == 0 && is_digit(text[5]) &&
         text[6] == '.' && is_digit(text[7]) && (len == 8 || text[8] == '\r');
}

int dusk__strict_bad_version(const char *line, size_t len) {
  const char *end = memchr(line, '\r', len);
  if (end == NULL) end = line + len;
  const char *version = end;
  while (version > line && version[-1] != ' ')
    version--;
  if (!is_version(version, (size_t)(end - version))) return 400;
  /* A good version is refused for what follows it, a bare CR. */
  bool is_known = version[5] == '1' && (version[7] == '0' || version[7] == '1');
  return is_known ? 400 : 505;
}

/* -- Hosts and targets: RFC 3986, 3.2, and RFC 9112, 3.2 ------------------- */

/* Each skip_ function gives what is behind the longest good text, or NULL for
 * one that has begun and is broken. */

static const char *skip_name(const char *at) {
  for (;;) {
    while (dusk__is_host_char(*at))
      at++;
    if (*at != '%') return at;
    if (dusk__unescape(at) < 0) return NULL;
    at += 3;
  }
}

/* An IPv6 address and its zone (RFC 6874); for later ones see below. */
static bool is_ipv6(const char *text, const char *end) {
  char address[INET6_ADDRSTRLEN];
  unsigned char bytes[16];
  size_t len = strcspn(text, "]%");
  if (len >= sizeof(address)) return false;
  memcpy(address, text, len);
  address[len] = '\0';
  if (inet_pton(AF_INET6, address, bytes) != 1) return false;
  text += len;
  if (text == end) return true;
  return dusk__unescape(text) == '%' && text + 3 < end &&
         skip_name(text + 3) == end;
}

/* "v" version "." address */
static bool is_ip_future(const char *text, const char *end) {
  const char *version = ++text;
  while (dusk__hex(*text) >= 0)
    text++;
  if (text == version || *text++ != '.' || text == end) return false;
  while (dusk__is_host_char(*text) || *text == ':')
    text++;
  return text == end;
}

static const char *skip_host(const char *at) {
  if (*at != '[') return skip_name(at);
  const char *end = strchr(++at, ']');
  if (end == NULL) return NULL;
  bool is_future = (*at | 32) == 'v';
  return (is_future ? is_ip_future(at, end) : is_ipv6(at, end)) ? end + 1
                                                                : NULL;
}

/* A host and perhaps a port, which may be empty; a host may be so only without
 * a port: RFC 9110, 4.2.1. */
static const char *skip_authority(const char *host) {
  const char *at = skip_host(host);
  if (at == NULL || *at != ':') return at;
  if (at == host) return NULL;
  do
    at++;
  while (is_digit(*at));
  return at;
}

static bool is_authority(const char *text) {
  const char *end = skip_authority(text);
  return end && *end == '\0';
}

/* Of CONNECT: with a port, RFC 9110, 9.3.6. */
static bool is_tunnel(const char *text) {
  const char *port = skip_host(text);
  return port && is_digit(*port ? port[1] : '\0') && is_authority(text);
}

/* Notes the path, which ends before a query, and whether it has escapes. Nobody
 * has to look behind the '?': a query's meaning is its reader's. False for a
 * broken escape, or a fragment. */
static bool note_path(dusk__h1_t *h1, const char *path) {
  bool is_good = true;
  const char *at = path;
  for (;; at++) {
    while (dusk__is_path_char(*at))
      at++;
    if (*at != '%') break;
    h1->has_escape = true;
    is_good = is_good && dusk__unescape(at) >= 0;
  }
  h1->path = (uint32_t)(path - dusk__h1_at(h1, 0));
  h1->path_len = (uint32_t)(at - path);
  return is_good && (*at == '\0' || strchr(at, '#') == NULL);
}

/* RFC 9112, 3.2.2. */
static bool is_absolute(dusk__h1_t *h1, const char *target) {
  const char *authority = strstr(target, "://");
  if (authority == NULL) return false;
  authority += 3;
  const char *path = authority + strcspn(authority, "/?#");
  return note_path(h1, path) && path != authority &&
         skip_authority(authority) == path;
}

static bool is_target(dusk__h1_t *h1) {
  const char *target = dusk__h1_at(h1, h1->target);
  bool is_options = h1->parser.method == HTTP_OPTIONS;
  if (h1->parser.method == HTTP_CONNECT)
    return note_path(h1, target + h1->target_len) && is_tunnel(target);
  if (*target == '/') return note_path(h1, target);
  if (strcmp(target, "*") == 0) return note_path(h1, target) && is_options;
  return is_absolute(h1, target);
}

/* -- Fields ---------------------------------------------------------------- */

int dusk__strict_fields(dusk__h1_t *h1, size_t at, size_t first) {
  char *base = h1->buffer + h1->start;
  size_t len = h1->filled - h1->start;
  for (size_t i = first; i < h1->field_count; i++) {
    dusk__field_t *field = &h1->fields[i];
    size_t name_end = field->name + field->name_len;
    if (field->name != at || field->name_len == 0) return 400;
    size_t value = name_end;
    if (value >= len || base[value++] != ':') return 400;
    while (value < len && dusk__is_blank(base[value]))
      value++;
    if (field->value_len == 0) field->value = (uint32_t)value;
    if (field->value != value) return 400;
    size_t end = value + field->value_len;
    while (end < len && dusk__is_blank(base[end]))
      end++;
    if (end + 1 >= len || base[end] != '\r' || base[end + 1] != '\n')
      return 400;
    at = end + 2;
    while (end > value && dusk__is_blank(base[end - 1]))
      end--;
    field->value_len = (uint32_t)(end - value);
    base[name_end] = base[end] = '\0';
  }
  return at + 1 < len && base[at] == '\r' && base[at + 1] == '\n' ? 0 : 400;
}

/* The request line; terminates method and target. */
static int check_request_line(dusk__h1_t *h1, size_t *ret_end) {
  char *line = h1->buffer + h1->start;
  size_t len = h1->filled - h1->start;
  /* That a method is a known one llhttp has seen to. */
  size_t method = h1->target - 1;
  size_t target_end = h1->target + h1->target_len;
  if (h1->target < 2 || line[method] != ' ' || line[method - 1] == ' ')
    return 400;
  if (target_end + 11 > len || line[target_end] != ' ' ||
      memcmp(line + target_end + 9, "\r\n", 2) ||
      !is_version(line + target_end + 1, 8))
    return 400;
  if (memcmp(line + target_end + 6, "1.1", 3) == 0)
    h1->version_minor = 1;
  else if (memcmp(line + target_end + 6, "1.0", 3) == 0)
    h1->version_minor = 0;
  else
    return 505;
  line[method] = line[target_end] = '\0';
  h1->has_line = true;
  h1->is_head = h1->parser.method == HTTP_HEAD;
  *ret_end = target_end + 11;
  return is_target(h1) ? 0 : 400;
}

typedef struct seen {
  int hosts;
  int encodings;
  const char *encoding;
  bool close;
  bool expectation; /* of another kind */
} seen_t;

/* Only the few fields that matter here, told apart by their length first. */
static void look_at(dusk__h1_t *h1, int index, seen_t *seen) {
  const dusk__field_t *field = &h1->fields[index];
  const char *name = dusk__h1_at(h1, field->name);
  const char *value = dusk__h1_at(h1, field->value);
  switch (field->name_len) {
  case 4:
    if (!dusk__is_name(name, "host", 4)) return;
    seen->hosts++;
    h1->host_field = index;
    return;
  case 6:
    if (!dusk__is_name(name, "expect", 6)) return;
    h1->expects_continue = strcasecmp(value, "100-continue") == 0;
    seen->expectation = !h1->expects_continue && *value;
    return;
  case 10:
    if (dusk__is_name(name, "connection", 10) &&
        dusk__has_token(value, "close"))
      seen->close = true;
    return;
  case 17:
    if (!dusk__is_name(name, "transfer-encoding", 17)) return;
    seen->encodings++;
    seen->encoding = value;
  }
}

/* Nobody who merges a trailer with the header is to find another body there: as
 * in Go, and RFC 9110, 6.5.1. */
static bool announces_framing(const dusk__h1_t *h1) {
  for (size_t i = 0; i < h1->field_count; i++) {
    const dusk__field_t *field = &h1->fields[i];
    if (field->name_len != 7 ||
        !dusk__is_name(dusk__h1_at(h1, field->name), "trailer", 7))
      continue;
    const char *names = dusk__h1_at(h1, field->value);
    if (dusk__has_token(names, "content-length") ||
        dusk__has_token(names, "transfer-encoding") ||
        dusk__has_token(names, "trailer"))
      return true;
  }
  return false;
}

int dusk__strict_request(dusk__h1_t *h1) {
  size_t fields_at;
  int refusal = check_request_line(h1, &fields_at);
  if (refusal == 0) refusal = dusk__strict_fields(h1, fields_at, 0);
  if (refusal) return refusal;
  seen_t seen = {0};
  for (size_t i = 0; i < h1->field_count; i++)
    look_at(h1, (int)i, &seen);

  if (seen.hosts > 1) return 400; /* RFC 9112, 3.2 */
  if (seen.hosts == 0 && h1->version_minor == 1 &&
      h1->parser.method != HTTP_CONNECT)
    return 400;
  if (seen.hosts == 1 &&
      !is_authority(dusk__h1_at(h1, h1->fields[h1->host_field].value)))
    return 400;
  if (seen.encodings > 0) { /* RFC 9112, 6.1 and 6.3 */
    if (h1->version_minor == 0) return 400;
    if (seen.encodings > 1 || strcasecmp(seen.encoding, "chunked") != 0)
      return 501;
    if (announces_framing(h1)) return 400;
  }
  /* llhttp misses one before a tab, and in HTTP/1.0 beside keep-alive. */
  h1->keep_alive = !seen.close && llhttp_should_keep_alive(&h1->parser);
  if (h1->version_minor == 0) h1->expects_continue = seen.expectation = false;
  return seen.expectation ? 417 : 0;
}

/* -- Chunk extensions: RFC 9112, 7.1.1 ------------------------------------- */

static dusk__extension_t extend(dusk__extension_t so_far, char c) {
  bool is_text = c == '\t' || ((unsigned char)c >= ' ' && c != 127);
  switch (so_far) {
  case DUSK__EXTENSION_EMPTY:
    if (c == '"') return DUSK__EXTENSION_IN_QUOTES;
    /* fall through */
  case DUSK__EXTENSION_TOKEN:
    return dusk__is_token_char(c) ? DUSK__EXTENSION_TOKEN : DUSK__EXTENSION_BAD;
  case DUSK__EXTENSION_IN_QUOTES:
    if (c == '"') return DUSK__EXTENSION_QUOTED;
    if (c == '\\') return DUSK__EXTENSION_ESCAPE;
    /* fall through */
  case DUSK__EXTENSION_ESCAPE:
    return is_text ? DUSK__EXTENSION_IN_QUOTES : DUSK__EXTENSION_BAD;
  default:
    return DUSK__EXTENSION_BAD;
  }
}

dusk__extension_t dusk__strict_extension(dusk__extension_t so_far,
                                         const char *text, size_t len) {
  for (size_t i = 0; i < len; i++)
    so_far = extend(so_far, text[i]);
  return so_far;
}
