/* Runs a fuzz target where there is no libFuzzer: each file of a corpus, and
 * mutants of them, which a seed replays.
 *
 *     fuzz_NAME [-n MUTANTS] [-s SEED] FILE-OR-FOLDER...
 *
 * The inputs are run in a child. When it dies, however that may be, the one
 * that it had is written to a file, with which it can be run again. */
#include "fuzz.h"

#include <dirent.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_FILES = 16384, MAX_BYTES = 8192, MAX_CHANGES = 8, HANG_S = 60 };

typedef struct input {
  size_t size;
  uint8_t bytes[MAX_BYTES];
} input_t;

static input_t *files[MAX_FILES];
static size_t file_count;
static input_t *current; /* shared with the child */
static uint64_t seed = 1;

/* -- The corpus ------------------------------------------------------------ */

static void read_file(const char *path) {
  FILE *file = fopen(path, "rb");
  input_t *input = calloc(1, sizeof(*input));
  HOLDS(file && input && file_count < MAX_FILES);
  input->size = fread(input->bytes, 1, MAX_BYTES, file);
  fclose(file);
  files[file_count++] = input;
}

static int compare_names(const struct dirent **a, const struct dirent **b) {
  return strcmp((*a)->d_name, (*b)->d_name); /* the same in every locale */
}

static void read_path(const char *path) {
  struct stat status;
  struct dirent **entries;
  HOLDS(stat(path, &status) == 0);
  if (!S_ISDIR(status.st_mode)) {
    read_file(path);
    return;
  }
  int count = scandir(path, &entries, NULL, compare_names);
  HOLDS(count >= 0);
  for (int i = 0; i < count; i++) {
    char name[1024];
    int len = snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
    HOLDS(len > 0 && (size_t)len < sizeof(name));
    if (entries[i]->d_name[0] != '.') read_file(name);
    free(entries[i]);
  }
  free(entries);
}

/* -- Mutants --------------------------------------------------------------- */

/* splitmix64. */
static uint64_t next_random(void) {
  uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

static size_t below(size_t bound) {
  return (size_t)(next_random() % bound);
}

static const input_t *any_file(void) {
  return files[below(file_count)];
}

/* Puts bytes in the place of `removed` ones, as far as there is room. */
static void put(input_t *input, size_t at, size_t removed, const uint8_t *bytes,
                size_t len) {
  size_t behind = input->size - at - removed;
  if (at + len + behind > MAX_BYTES) return;
  memmove(input->bytes + at + len, input->bytes + at + removed, behind);
  memmove(input->bytes + at, bytes, len);
  input->size = at + len + behind;
}

/* A stretch of any input. */
static size_t cut(const input_t *input, size_t *ret_at) {
  if (input->size == 0) return 0;
  *ret_at = below(input->size);
  size_t most = input->size - *ret_at;
  return 1 + below(most < 64 || below(4) == 0 ? most : 64);
}

static void change(input_t *input) {
  static const char marks[] = "\r\n\0\t %&;:,=/.\"-+{}[]0123456789aAzZ\xff";
  size_t at = 0;
  size_t len = cut(input, &at);
  uint8_t byte = (uint8_t)marks[below(sizeof(marks) - 1)];
  if (below(4) == 0) byte = (uint8_t)below(256);
  input_t other = *any_file();
  size_t from = 0;
  size_t other_len = cut(&other, &from);
  switch (below(7)) {
  case 0:
    if (len > 0) input->bytes[at] ^= (uint8_t)(1U << below(8));
    break;
  case 1:
    put(input, at, len > 0, &byte, 1);
    break;
  case 2:
    put(input, at, 0, &byte, 1);
    break;
  case 3:
    put(input, at, len, &byte, 0);
    break;
  case 4: /* the same once more */
    memcpy(other.bytes, input->bytes + at, len);
    put(input, at, 0, other.bytes, len);
    break;
  case 5:
    put(input, at, 0, other.bytes + from, other_len);
    break;
  case 6:
    put(input, at, len, other.bytes + from, other_len);
    break;
  }
}

/* -- Running --------------------------------------------------------------- */

static void run(const input_t *input) {
  if (input != current) *current = *input;
  char *copy = fuzz_copy(current->bytes, current->size);
  alarm(HANG_S); /* which ends the child */
  LLVMFuzzerTestOneInput((const uint8_t *)copy, current->size);
  free(copy);
}

static void run_all(unsigned long mutants) {
  for (size_t i = 0; i < file_count; i++)
    run(files[i]);
  for (unsigned long i = 0; i < mutants; i++) {
    *current = *any_file();
    for (size_t changes = 1 + below(MAX_CHANGES); changes > 0; changes--)
      change(current);
    run(current);
  }
}

static void tell_failure(const char *program, int status) {
  const char *slash = strrchr(program, '/');
  char name[256];
  snprintf(name, sizeof(name), "%s.failed", slash ? slash + 1 : program);
  FILE *file = fopen(name, "wb");
  HOLDS(file != NULL);
  HOLDS(fwrite(current->bytes, 1, current->size, file) == current->size);
  fclose(file);
  fprintf(stderr, "%s: status %#x; its input is in %s of this folder\n",
          program, (unsigned)status, name);
}

int main(int argc, char **argv) {
  unsigned long mutants = 0;
  int option;
  while ((option = getopt(argc, argv, "n:s:")) != -1) {
    if (option == 'n') mutants = strtoul(optarg, NULL, 10);
    if (option == 's') seed = strtoull(optarg, NULL, 10);
    if (option == '?') return 2;
  }
  for (int i = optind; i < argc; i++)
    read_path(argv[i]);
  HOLDS(file_count > 0);
  current = mmap(NULL, sizeof(*current), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  HOLDS(current != MAP_FAILED);
  pid_t child = fork();
  HOLDS(child >= 0);
  if (child == 0) {
    run_all(mutants);
    for (size_t i = 0; i < file_count; i++)
      free(files[i]);
    return 0;
  }
  int status;
  HOLDS(waitpid(child, &status, 0) == child);
  if (status == 0)
    printf("%zu files, %lu mutants\n", file_count, mutants);
  else
    tell_failure(argv[0], status);
  return status != 0;
}
