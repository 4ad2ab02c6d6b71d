/* An intrusive, circular, doubly linked list: a link is embedded in its owner,
 * the head is a link of its own. */
#ifndef DUSK_HTTP_LIST_H
#define DUSK_HTTP_LIST_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

#define DUSK__OWNER(link, type, member)                                        \
  ((type *)((char *)(link)-offsetof(type, member)))

typedef struct dusk__link {
  struct dusk__link *prev;
  struct dusk__link *next;
} dusk__link_t;

/* An empty head, or a link that is in no list. */
static inline void dusk__list_init(dusk__link_t *link) {
  link->prev = link->next = link;
}

static inline bool dusk__list_empty(const dusk__link_t *head) {
  return head->next == head;
}

/* Whether a link is in a list; one that is all zeros is not, either. */
static inline bool dusk__list_linked(const dusk__link_t *link) {
  return link->next != link && link->next;
}

static inline void dusk__list_insert_after(dusk__link_t *at,
                                           dusk__link_t *link) {
  assert(at->next->prev == at && !dusk__list_linked(link));
  link->prev = at;
  link->next = at->next;
  at->next->prev = link;
  at->next = link;
}

static inline void dusk__list_append(dusk__link_t *head, dusk__link_t *link) {
  dusk__list_insert_after(head->prev, link);
}

static inline void dusk__list_remove(dusk__link_t *link) {
  assert(dusk__list_linked(link));
  assert(link->prev->next == link && link->next->prev == link);
  link->prev->next = link->next;
  link->next->prev = link->prev;
  dusk__list_init(link);
}

/* Moves all of `from` to the empty `to`, for walks that callbacks change. */
static inline void dusk__list_move(dusk__link_t *to, dusk__link_t *from) {
  dusk__list_init(to);
  if (dusk__list_empty(from)) return;
  *to = *from;
  to->next->prev = to;
  to->prev->next = to;
  dusk__list_init(from);
}

#endif
