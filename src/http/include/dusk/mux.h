/* dusk/mux.h: a handler that chooses one by method, host and path. What holds
 * for all of these headers is in dusk/http.h. */
#ifndef DUSK_MUX_H
#define DUSK_MUX_H

#include <dusk/response.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Belongs to the loop of the server that has it: while that serves on one loop,
 * patterns may be registered on it. There is no lock: for a server with several
 * loops, or for several servers, they are all registered before the first one
 * serves. Go: http.ServeMux. */
typedef struct dusk_mux dusk_mux_t;

/* Errors: UV_EINVAL, UV_ENOMEM. */
DUSK_EXTERN int dusk_mux_new(dusk_mux_t **ret_mux) DUSK_CHECK_RESULT;

/* Frees it, and the patterns that dusk_request_pattern gives. What has it as
 * its handler must be gone before: a server, which is when its last reference
 * is given up and its loop has closed all of it; another mux, when that is
 * freed. With assertions on the program stops otherwise, without them the mux
 * is left as it is. */
DUSK_EXTERN void dusk_mux_free(dusk_mux_t *mux);

/* Registers `handler` for a pattern, "[METHOD ][HOST]/[PATH]" as in Go since
 * 1.22: blanks part the method from what follows. A method matches itself, and
 * GET matches HEAD, too. A host matches in any case, and with any port; with
 * that of the request only for CONNECT, and only there may it have one. A path
 * is matched segment by segment, with '%XX' decoded, so that '%2F' parts
 * nothing:
 *   text      itself, with regard to case
 *   {name}    any one segment
 *   {name...} at the end: the rest, slashes included, also none
 *   nothing   behind the last '/': the same, without a name
 *   {$}       at the end: the path ends with that '/'
 * Names are of letters, digits and '_', each once. A wildcard with a name
 * matches nothing that has a '%00', which no text can hold.
 *
 * The most specific pattern wins, whatever the order: one with a host before
 * those without; then one that matches only requests which the other one
 * matches, too. Where neither is it, and some requests match both, the later
 * one is refused: "GET /" after "/a", or "/a/{x}" after "/{x}/b".
 *
 * The time of a request does not depend on the number of patterns, as long as
 * these don't mix text and {name} in all ways ("/a/{x}/1", "/{x}/a/2"): at most
 * all of that kind are tried. It allocates nothing.
 *
 * Errors: UV_EINVAL for no handler, a mux that would be its own one, and a
 * pattern that can't be read or would never match: a method that llhttp doesn't
 * know (it knows none in lower case, and refuses them with 501), a path that
 * has segments "", "." or "..", a '?' or '#', white space, a broken escape or
 * "%00", braces but for a wildcard ('%7B' is one as such). UV_EEXIST for a
 * conflict. UV_ENOMEM. dusk_mux_error has the details. */
DUSK_EXTERN int dusk_mux_handle(dusk_mux_t *mux, const char *pattern,
                                dusk_handler_cb handler,
                                void *arg) DUSK_CHECK_RESULT;

/* Why the last dusk_mux_handle gave UV_EINVAL or UV_EEXIST, in words: what is
 * wrong with the pattern, and where, or which other one it is in conflict with,
 * and how. "" if it gave neither. Borrowed until the next call. */
DUSK_EXTERN const char *dusk_mux_error(const dusk_mux_t *mux);

/* The handler to give to a server or to another mux, with the mux as its
 * argument (NULL is an error of dusk_server_new). What it answers itself:
 *   200  OPTIONS *
 *   307  to the clean path, for one with "//", "." or ".." in it; and to the
 *        path with a '/' behind it, where only that matches exactly ("/tree"
 *        when "/tree/" is registered, and "/tree" is not). Query and escapes
 *        are kept. Where that is too long for a header: 414
 *   404  when no path matches
 *   405  when only the method doesn't, with the methods that do in Allow */
DUSK_EXTERN void dusk_mux_serve(dusk_response_t *res, dusk_request_t *req,
                                void *mux);

/* -- What was matched ------------------------------------------------------ */

/* What a wildcard of the pattern stands for, decoded: it may be anything that a
 * client sends, such as "..", or a text with '/' (which came as "%2F"). "" for
 * a name that the pattern hasn't and nobody has set. Of muxes within each other
 * the innermost one's pattern counts. Good for as long as the request; NULL
 * when memory ran out. Go: Request.PathValue. */
DUSK_EXTERN const char *dusk_request_path_value(dusk_request_t *req,
                                                const char *name);

/* Sets such a value, of the pattern's or one of its own; copied. For muxes of
 * other kinds, and for tests. Errors: UV_EINVAL, UV_ENOMEM, UV_ECANCELED for a
 * request that is over. Go: Request.SetPathValue. */
DUSK_EXTERN int dusk_request_set_path_value(dusk_request_t *req,
                                            const char *name,
                                            const char *value);

/* The pattern that the innermost mux has matched, as it was registered, also by
 * a redirect to it: for logs and metrics, in on_request_end, too. "" for none
 * (a 404 or 405, or no mux). Borrowed from the mux. Go: Request.Pattern. */
DUSK_EXTERN const char *dusk_request_pattern(const dusk_request_t *req);

#ifdef __cplusplus
}
#endif

#endif
