/* What of a text of pairs can be decoded lies at the front of the list, in its
 * order; of the others, those whose name can be decoded lie at the back, so
 * that who asks for them is told. */
#include "values.h"

#include <assert.h>
#include <string.h>
#include <uv.h>

/* As Go's urlmaxqueryparams. */
enum { MAX_DECODED = 10000 };

typedef struct value {
  const char *name;
  const char *text; /* NULL: broken */
} value_t;

struct dusk_values {
  int err;
  size_t room;
  size_t count;
  size_t broken;
  char *text; /* what is left of the room for it */
  size_t text_size;
  value_t values[];
};

dusk_values_t *dusk__values_new(dusk__arena_t *arena, size_t count, size_t max,
                                size_t len) {
  bool is_too_many = count > max;
  size_t room = is_too_many ? 0 : count;
  /* Each name and value has a NUL in place of a separator, the last one has
   * its own, and a value that there is no '=' for needs none. */
  size_t text_size = is_too_many ? 0 : len + 1;
  dusk_values_t *values;
  size_t head = sizeof(*values) + room * sizeof(values->values[0]);
  values = dusk__arena_alloc(arena, head + text_size);
  if (values == NULL) return NULL;
  *values = (dusk_values_t){.err = is_too_many ? UV_E2BIG : 0,
                            .room = room,
                            .text = (char *)values + head,
                            .text_size = text_size};
  return values;
}

static void take_text(dusk_values_t *values, size_t size) {
  assert(size <= values->text_size);
  values->text += size;
  values->text_size -= size;
}

static const char *copy(dusk_values_t *values, dusk__piece_t piece) {
  if (piece.len == 0) return "";
  char *to = values->text;
  take_text(values, piece.len + 1);
  memcpy(to, piece.at, piece.len);
  to[piece.len] = '\0';
  return to;
}

void dusk__values_put(dusk_values_t *values, const dusk__pair_t *pair) {
  assert(values->count < values->room);
  values->values[values->count++] =
      (value_t){copy(values, pair->name), copy(values, pair->value)};
}

/* NULL if it is broken, which the list then tells. */
static const char *decode(dusk_values_t *values, dusk__piece_t piece) {
  if (piece.len == 0) return "";
  char *to = values->text;
  int len = dusk__decode(piece, DUSK__ENCODED_FORM, to, values->text_size);
  if (len < 0) {
    values->err = UV_EINVAL;
    return NULL;
  }
  take_text(values, (size_t)len + 1);
  return to;
}

dusk_values_t *dusk__values_decode(dusk__arena_t *arena, dusk__piece_t text) {
  dusk_values_t *values = dusk__values_new(arena, dusk__pairs_bound(text, '&'),
                                           MAX_DECODED, text.len);
  if (values == NULL || values->err < 0) return values;
  dusk__pair_t pair;
  while (dusk__pairs_next(&text, &pair)) {
    value_t value = {.name = decode(values, pair.name)};
    if (value.name == NULL) continue;
    value.text = decode(values, pair.value);
    assert(values->count + values->broken < values->room);
    if (value.text)
      values->values[values->count++] = value;
    else
      values->values[values->room - ++values->broken] = value;
  }
  return values;
}

/* -- What is asked of one -------------------------------------------------- */

int dusk_values_err(const dusk_values_t *values) {
  return values ? values->err : UV_EINVAL;
}

bool dusk_values_at(const dusk_values_t *values, size_t index,
                    const char **ret_name, const char **ret_value) {
  if (values == NULL || index >= values->count) return false;
  *ret_name = values->values[index].name;
  *ret_value = values->values[index].text;
  return true;
}

const char *dusk_values_next(const dusk_values_t *values, const char *name,
                             size_t *at) {
  if (values == NULL || name == NULL || at == NULL) return NULL;
  while (*at < values->count) {
    const value_t *value = &values->values[(*at)++];
    if (strcmp(value->name, name) == 0) return value->text;
  }
  return NULL;
}

const char *dusk_values_get(const dusk_values_t *values, const char *name) {
  size_t at = 0;
  return dusk_values_next(values, name, &at);
}

static bool is_broken(const dusk_values_t *values, const char *name) {
  for (size_t i = 1; i <= values->broken; i++)
    if (strcmp(values->values[values->room - i].name, name) == 0) return true;
  return false;
}

/* 1 and the text; 0: there is none; or why that can't be told. */
static int find(const dusk_values_t *values, const char *name,
                const char **ret_text) {
  if (values == NULL || name == NULL) return UV_EINVAL;
  const char *text = dusk_values_get(values, name);
  if (text) *ret_text = text;
  if (text) return 1;
  if (values->err == UV_E2BIG) return UV_E2BIG;
  return is_broken(values, name) ? UV_EINVAL : 0;
}

/* -- Their types ----------------------------------------------------------- */

static int parse_digits(const char *text, uint64_t *ret_number) {
  uint64_t number = 0;
  bool fits = true;
  if (*text == '\0') return UV_EINVAL;
  for (; *text; text++) {
    unsigned digit = (unsigned)(*text - '0');
    if (digit > 9) return UV_EINVAL;
    fits = fits && number <= (UINT64_MAX - digit) / 10;
    if (fits) number = number * 10 + digit;
  }
  *ret_number = number;
  return fits ? 0 : UV_ERANGE;
}

static int parse_int(const char *text, int64_t *ret_number) {
  bool is_negative = *text == '-';
  uint64_t size;
  int err = parse_digits(text + (is_negative || *text == '+'), &size);
  if (err < 0) return err;
  if (size > (uint64_t)INT64_MAX + is_negative) return UV_ERANGE;
  /* Its least has no positive twin. */
  *ret_number =
      is_negative && size > 0 ? -(int64_t)(size - 1) - 1 : (int64_t)size;
  return 0;
}

int dusk_values_int(const dusk_values_t *values, const char *name, int64_t min,
                    int64_t max, int64_t *value) {
  const char *text;
  int64_t number;
  if (value == NULL) return UV_EINVAL;
  int found = find(values, name, &text);
  if (found <= 0) return found;
  int err = parse_int(text, &number);
  if (err < 0) return err;
  if (number < min || number > max) return UV_ERANGE;
  *value = number;
  return 1;
}

int dusk_values_uint(const dusk_values_t *values, const char *name,
                     uint64_t min, uint64_t max, uint64_t *value) {
  const char *text;
  uint64_t number;
  if (value == NULL) return UV_EINVAL;
  int found = find(values, name, &text);
  if (found <= 0) return found;
  int err = parse_digits(text, &number);
  if (err < 0) return err;
  if (number < min || number > max) return UV_ERANGE;
  *value = number;
  return 1;
}

static bool is_one_of(const char *text, const char *const *texts) {
  while (*texts && strcmp(*texts, text) != 0)
    texts++;
  return *texts != NULL;
}

int dusk_values_bool(const dusk_values_t *values, const char *name,
                     bool *value) {
  static const char *const yes[] = {"1",    "t",    "T", "true",
                                    "TRUE", "True", NULL};
  static const char *const no[] = {"0",     "f",     "F", "false",
                                   "FALSE", "False", NULL};
  const char *text;
  if (value == NULL) return UV_EINVAL;
  int found = find(values, name, &text);
  if (found <= 0) return found;
  bool is_yes = is_one_of(text, yes);
  if (!is_yes && !is_one_of(text, no)) return UV_EINVAL;
  *value = is_yes;
  return 1;
}
