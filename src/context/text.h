/* text.h: for those who add to the text of a context. */
#ifndef DUSK_TEXT_H
#define DUSK_TEXT_H

#include "tree.h"

/* Where a text is put down: at `at`, which goes on also past `room`. */
struct dusk__text {
  char *buf;
  size_t room;
  size_t at;
};

/* Adds a piece, as far as there is room. */
void dusk__text_add(dusk__text_t *text, const char *piece);

#endif
