/* RFC 9112's rules that no version of llhttp enforces, or not every one. Most
 * of them follow from one: a header is a request line and one line a field,
 * with nothing in it that isn't accounted for. Folded lines, empty names, other
 * protocols' request lines and bare LFs fall through it. */
#include "strict.h"

#include "chars.h"
#include "server.h"

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

static bool is_host(const char *host) {
  while (dusk__is_host_char(*host))
    host++;
  return *host == '\0';
}

/* The forms of RFC 9112, 3.2. */
static bool is_target(uint8_t method, const char *target) {
  if (strchr(target, '#')) return false;
  if (*target == '/') return method != HTTP_CONNECT;
  if (method == HTTP_CONNECT) return *target && is_host(target);
  if (strcmp(target, "*") == 0) return method == HTTP_OPTIONS;
  const char *authority = strstr(target, "://");
  if (authority == NULL || !dusk__is_host_char(authority[3])) return false;
  authority += 3;
  while (dusk__is_host_char(*authority))
    authority++;
  return *authority == '\0' || strchr("/?", *authority);
}

int dusk__strict_fields(dusk__exchange_t *ex, size_t at, size_t first) {
  char *base = ex->buffer + ex->start;
  size_t len = ex->filled - ex->start;
  dusk_request_t *req = &ex->req;
  for (size_t i = first; i < req->field_count; i++) {
    dusk__field_t *field = &req->fields[i];
    size_t name_end = field->name + field->name_len;
    if (field->name != at || field->name_len == 0) return 400;
    size_t value = name_end;
    if (value >= len || base[value++] != ':') return 400;
    while (value < len && (base[value] == ' ' || base[value] == '\t'))
      value++;
    if (field->value_len == 0) field->value = (uint32_t)value;
    if (field->value != value) return 400;
    size_t end = value + field->value_len;
    while (end < len && (base[end] == ' ' || base[end] == '\t'))
      end++;
    if (end + 1 >= len || base[end] != '\r' || base[end + 1] != '\n')
      return 400;
    at = end + 2;
    while (end > value && (base[end - 1] == ' ' || base[end - 1] == '\t'))
      end--;
    field->value_len = (uint32_t)(end - value);
    base[name_end] = base[end] = '\0';
  }
  return at + 1 < len && base[at] == '\r' && base[at + 1] == '\n' ? 0 : 400;
}

/* The request line; terminates method and target. */
static int check_request_line(dusk__exchange_t *ex, size_t *ret_end) {
  char *line = ex->buffer + ex->start;
  size_t len = ex->filled - ex->start;
  dusk_request_t *req = &ex->req;
  /* That a method is a known one llhttp has seen to. */
  size_t method = req->target - 1;
  size_t target_end = req->target + req->target_len;
  if (req->target < 2 || line[method] != ' ' || line[method - 1] == ' ')
    return 400;
  if (target_end + 11 > len || line[target_end] != ' ' ||
      memcmp(line + target_end + 9, "\r\n", 2) ||
      !is_version(line + target_end + 1, 8))
    return 400;
  if (memcmp(line + target_end + 6, "1.1", 3) == 0)
    req->version_minor = 1;
  else if (memcmp(line + target_end + 6, "1.0", 3) != 0)
    return 505;
  line[method] = line[target_end] = '\0';
  req->has_line = true;
  req->is_head = ex->parser.method == HTTP_HEAD;
  *ret_end = target_end + 11;
  return is_target(ex->parser.method, line + req->target) ? 0 : 400;
}

typedef struct seen {
  int hosts;
  int encodings;
  const char *encoding;
} seen_t;

/* Only the few fields that matter here, told apart by their length first. */
static void look_at(dusk__exchange_t *ex, int index, seen_t *seen) {
  const dusk__field_t *field = &ex->req.fields[index];
  const char *name = ex->buffer + ex->start + field->name;
  const char *value = ex->buffer + ex->start + field->value;
  if (field->name_len == 4 && strcasecmp(name, "host") == 0) {
    seen->hosts++;
    ex->req.host_field = index;
  } else if (field->name_len == 6 && strcasecmp(name, "expect") == 0) {
    ex->req.expects_continue = strcasecmp(value, "100-continue") == 0;
    ex->req.expects_else = !ex->req.expects_continue && *value;
  } else if (field->name_len == 17 &&
             strcasecmp(name, "transfer-encoding") == 0) {
    seen->encodings++;
    seen->encoding = value;
  }
}

int dusk__strict_request(dusk__exchange_t *ex) {
  dusk_request_t *req = &ex->req;
  size_t fields_at;
  int refusal = check_request_line(ex, &fields_at);
  if (refusal == 0) refusal = dusk__strict_fields(ex, fields_at, 0);
  if (refusal) return refusal;
  seen_t seen = {0};
  for (size_t i = 0; i < req->field_count; i++)
    look_at(ex, (int)i, &seen);

  const char *base = ex->buffer + ex->start;
  if (seen.hosts > 1) return 400; /* RFC 9112, 3.2 */
  if (seen.hosts == 0 && req->version_minor == 1 &&
      ex->parser.method != HTTP_CONNECT)
    return 400;
  if (seen.hosts == 1 && !is_host(base + req->fields[req->host_field].value))
    return 400;
  if (seen.encodings > 0) { /* RFC 9112, 6.1 and 6.3 */
    if (req->version_minor == 0) return 400;
    if (seen.encodings > 1 || strcasecmp(seen.encoding, "chunked") != 0)
      return 501;
  }
  if (req->version_minor == 0)
    req->expects_continue = req->expects_else = false;
  return req->expects_else ? 417 : 0;
}
