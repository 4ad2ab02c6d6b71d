/* dies.h: runs in a child what a program must not do, and expects that the
 * library's assertion stops it, or AddressSanitizer. */
#ifndef DIES_H
#define DIES_H

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#define UNDER_ASAN __has_feature(address_sanitizer)
#else
#define UNDER_ASAN 0
#endif

/* The child ends by it, and has said `says`, or that it used what was freed. */
void dies(void (*misuse)(void), const char *says);

#endif
