/* A folder of a test's own, for what a server saves. */
#ifndef DUSK_TESTS_FOLDER_H
#define DUSK_TESTS_FOLDER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct folder {
  char path[64];
  char text[1 << 16]; /* of the file that was read last */
} folder_t;

static inline void folder_make(folder_t *folder) {
  snprintf(folder->path, sizeof(folder->path), "/tmp/dusk-test-XXXXXX");
  assert_non_null(mkdtemp(folder->path));
}

/* A static text: good until the next call. */
static inline const char *folder_at(const folder_t *folder, const char *name) {
  static char path[384];
  snprintf(path, sizeof(path), "%s/%s", folder->path, name);
  return path;
}

/* How many files are in it; those that are not whole yet are hidden. */
static inline size_t folder_count(const folder_t *folder, bool hidden) {
  size_t count = 0;
  DIR *dir = opendir(folder->path);
  assert_non_null(dir);
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
      count += (entry->d_name[0] == '.') == hidden;
  closedir(dir);
  return count;
}

/* NULL: there is no such file. */
static inline const char *folder_read(folder_t *folder, const char *name) {
  int fd = open(folder_at(folder, name), O_RDONLY);
  if (fd < 0) return NULL;
  ssize_t len = read(fd, folder->text, sizeof(folder->text) - 1);
  close(fd);
  assert_true(len >= 0);
  folder->text[len] = '\0';
  return folder->text;
}

static inline void folder_write(folder_t *folder, const char *name,
                                const char *text) {
  int fd = open(folder_at(folder, name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, text, strlen(text)), strlen(text));
  close(fd);
}

/* With what is in it. */
static inline void folder_remove(folder_t *folder) {
  DIR *dir = opendir(folder->path);
  assert_non_null(dir);
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
    if (entry->d_type != DT_DIR) unlink(folder_at(folder, entry->d_name));
  closedir(dir);
  assert_int_equal(rmdir(folder->path), 0);
}

#endif
