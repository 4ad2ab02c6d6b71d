/* Status codes and their phrases. */
#ifndef DUSK_HTTP_STATUS_H
#define DUSK_HTTP_STATUS_H

/* The standard phrase, or NULL. */
const char *dusk__status_phrase(int status);

#endif
