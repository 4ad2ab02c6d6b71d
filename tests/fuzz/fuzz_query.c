/* Queries and forms: pairs, their decoding and their types, against what is
 * read in the simplest way; and what is written of a list is that list. */
#include "fuzz.h"
#include "pairs.h"
#include "values.h"

#include <errno.h>
#include <uv.h>

enum { MAX_PAIRS = 4096 };

typedef struct plain {
  char *name; /* decoded; NULL: broken */
  char *value;
} plain_t;

typedef struct list {
  plain_t pairs[MAX_PAIRS];
  size_t count;
} list_t;

/* Decoded, or NULL; to be freed. */
static char *decode(const char *text, size_t len, bool is_form) {
  char *decoded = fuzz_copy("", 0);
  size_t out = 0;
  decoded = realloc(decoded, len + 1);
  for (size_t i = 0; i < len; i++) {
    int c = (unsigned char)text[i];
    if (c == '%') c = fuzz_escape(text + i, len - i);
    if (c <= 0 || (is_form && text[i] == ';')) {
      free(decoded);
      return NULL;
    }
    if (is_form && text[i] == '+') c = ' ';
    if (text[i] == '%') i += 2;
    decoded[out++] = (char)c;
  }
  decoded[out] = '\0';
  return decoded;
}

static void read_plainly(const char *text, size_t size, list_t *list) {
  list->count = 0;
  for (size_t at = 0; at < size;) {
    size_t len = 0;
    while (at + len < size && text[at + len] != '&')
      len++;
    size_t name_len = 0;
    while (name_len < len && text[at + name_len] != '=')
      name_len++;
    size_t value_at = name_len < len ? name_len + 1 : len;
    if (len > 0 && list->count < MAX_PAIRS)
      list->pairs[list->count++] =
          (plain_t){decode(text + at, name_len, true),
                    decode(text + at + value_at, len - value_at, true)};
    at += len + 1;
  }
}

static void free_list(list_t *list) {
  for (size_t i = 0; i < list->count; i++) {
    free(list->pairs[i].name);
    free(list->pairs[i].value);
  }
}

static bool is_whole(const plain_t *pair) {
  return pair->name && pair->value;
}

/* The first of that name; *ret_broken: another one can't be decoded. */
static const char *find(const list_t *list, const char *name,
                        bool *ret_broken) {
  const char *value = NULL;
  *ret_broken = false;
  for (size_t i = 0; i < list->count; i++) {
    const plain_t *pair = &list->pairs[i];
    if (pair->name == NULL || strcmp(pair->name, name) != 0) continue;
    if (pair->value == NULL) *ret_broken = true;
    if (value == NULL) value = pair->value;
  }
  return value;
}

/* -- A piece --------------------------------------------------------------- */

/* To a room of each size about the right one. */
static void check_decode(const char *text, size_t len, bool is_form) {
  char *wanted = decode(text, len, is_form);
  size_t need = wanted ? strlen(wanted) + 1 : len + 1;
  for (size_t size = need > 2 ? need - 2 : 0; size <= need + 1; size++) {
    char *buf = fuzz_copy("", 0);
    buf = realloc(buf, size ? size : 1);
    int got = dusk__decode((dusk__piece_t){text, len},
                           is_form ? DUSK__ENCODED_FORM : DUSK__ENCODED_PATH,
                           buf, size);
    if (wanted && size >= need)
      HOLDS(got == (int)need - 1 && memcmp(buf, wanted, need) == 0);
    else if (wanted)
      HOLDS(got == UV_ENOBUFS);
    else
      HOLDS(got == UV_EINVAL || (got == UV_ENOBUFS && size <= len));
    free(buf);
  }
  free(wanted);
}

/* -- Types ----------------------------------------------------------------- */

static bool is_number(const char *text, const char *signs) {
  if (*text && strchr(signs, *text)) text++;
  return *text && text[strspn(text, "0123456789")] == '\0';
}

static int int_error(const char *text) {
  if (!is_number(text, "+-")) return UV_EINVAL;
  errno = 0;
  strtoll(text, NULL, 10);
  return errno == ERANGE ? UV_ERANGE : 1;
}

static int uint_error(const char *text) {
  if (!is_number(text, "")) return UV_EINVAL;
  errno = 0;
  strtoull(text, NULL, 10);
  return errno == ERANGE ? UV_ERANGE : 1;
}

static int bool_error(const char *text) {
  static const char words[] = " 1 t T true TRUE True 0 f F false FALSE False ";
  char word[16];
  if (strlen(text) > 5 || *text == '\0' || strchr(text, ' ')) return UV_EINVAL;
  snprintf(word, sizeof(word), " %s ", text);
  return strstr(words, word) ? 1 : UV_EINVAL;
}

static void check_types(const dusk_values_t *values, const list_t *list,
                        const char *name) {
  int64_t number = 77;
  uint64_t size = 77;
  bool flag = true;
  bool has_broken;
  const char *text = find(list, name, &has_broken);
  int none = has_broken ? UV_EINVAL : 0;
  int err = dusk_values_int(values, name, INT64_MIN, INT64_MAX, &number);
  HOLDS(err == (text ? int_error(text) : none));
  HOLDS(number == (err == 1 ? strtoll(text, NULL, 10) : 77));
  err = dusk_values_uint(values, name, 0, UINT64_MAX, &size);
  HOLDS(err == (text ? uint_error(text) : none));
  HOLDS(size == (err == 1 ? strtoull(text, NULL, 10) : 77));
  err = dusk_values_bool(values, name, &flag);
  HOLDS(err == (text ? bool_error(text) : none));
  HOLDS(flag == (err == 1 ? strchr("1tT", *text) != NULL : true));
  err = dusk_values_int(values, name, -5, 5, &number);
  HOLDS(err != 1 || (number >= -5 && number <= 5));
}

/* -- A list ---------------------------------------------------------------- */

static void check_pairs(const char *text, size_t size, const list_t *list) {
  dusk__piece_t rest = {text, size};
  dusk__pair_t pair;
  size_t count = 0;
  for (; dusk__pairs_next(&rest, &pair); count++) {
    const char *name = list->pairs[count].name;
    HOLDS(count < list->count);
    HOLDS(name == NULL || dusk__pair_is(&pair, name));
    HOLDS(!dusk__pair_is(&pair, "?no such name?"));
  }
  HOLDS(count == list->count);
  HOLDS(count <= dusk__pairs_bound((dusk__piece_t){text, size}, '&'));
}

static void check_values(const dusk_values_t *values, const list_t *list) {
  const char *name, *value;
  size_t count = 0;
  for (size_t i = 0; i < list->count; i++) {
    bool has_broken;
    const plain_t *pair = &list->pairs[i];
    if (!is_whole(pair)) continue;
    HOLDS(dusk_values_at(values, count++, &name, &value));
    HOLDS(strcmp(name, pair->name) == 0 && strcmp(value, pair->value) == 0);
    const char *first = find(list, pair->name, &has_broken);
    HOLDS(strcmp(dusk_values_get(values, pair->name), first) == 0);
  }
  HOLDS(!dusk_values_at(values, count, &name, &value));
  HOLDS(dusk_values_err(values) == (count < list->count ? UV_EINVAL : 0));
  for (size_t i = 0; i < list->count && i < 32; i++)
    if (list->pairs[i].name) check_types(values, list, list->pairs[i].name);
}

static char *put_encoded(char *to, const char *text) {
  for (; *text; text++)
    if ((*text | 32) >= 'a' && (*text | 32) <= 'z')
      *to++ = *text;
    else if (*text == ' ')
      *to++ = '+';
    else
      to += snprintf(to, 4, "%%%02x", (unsigned char)*text);
  return to;
}

/* As text again, that is read to the same list: a pair without name and value
 * has at least its '='. */
static void check_written(const list_t *list, size_t size) {
  static list_t again;
  dusk__arena_t arena = {0};
  char *text = fuzz_copy("", 0);
  text = realloc(text, 3 * size + 2 * list->count + 2);
  char *to = text;
  for (size_t i = 0; i < list->count; i++) {
    if (!is_whole(&list->pairs[i])) continue;
    to = put_encoded(to, list->pairs[i].name);
    *to++ = '=';
    to = put_encoded(to, list->pairs[i].value);
    *to++ = '&';
  }
  again.count = 0;
  for (size_t i = 0; i < list->count; i++)
    if (is_whole(&list->pairs[i])) again.pairs[again.count++] = list->pairs[i];
  dusk_values_t *values =
      dusk__values_decode(&arena, (dusk__piece_t){text, (size_t)(to - text)});
  check_values(values, &again);
  dusk__arena_free(&arena);
  free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static list_t list;
  dusk__arena_t arena = {0};
  if (size > MAX_PAIRS) return 0;
  char *text = fuzz_copy(data, size);
  read_plainly(text, size, &list);
  check_decode(text, size, true);
  check_decode(text, size, false);
  check_pairs(text, size, &list);
  dusk_values_t *values =
      dusk__values_decode(&arena, (dusk__piece_t){text, size});
  check_values(values, &list);
  check_written(&list, size);
  dusk__arena_free(&arena);
  free_list(&list);
  free(text);
  return 0;
}
