/* signal_text.h: signals as causes. */
#ifndef DUSK_SIGNAL_TEXT_H
#define DUSK_SIGNAL_TEXT_H

#include <dusk/context.h>

/* The cause of what this signal cancels. */
const dusk_cause_t *dusk__signal_cause(int signum);

#endif
