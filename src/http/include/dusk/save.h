/* dusk/save.h: a request's body to a file. What holds for all of these headers
 * is in dusk/http.h; a part of a form to a file is in dusk/multipart.h. */
#ifndef DUSK_SAVE_H
#define DUSK_SAVE_H

#include <dusk/request.h>

#ifdef __cplusplus
extern "C" {
#endif

/* `len` bytes were taken: of the file, if `status` is 0. */
typedef void (*dusk_save_cb)(dusk_request_t *req, int status, uint64_t len,
                             void *arg);

/* Saves the body as the file `path`, which is copied. Disks are waited for on
 * the threads of libuv's pool, never on the loop; meanwhile no more of the body
 * is taken, so that its client is slowed down by TCP. `cb` runs once, not
 * inside this call, with 0 when the file is there, or with an error:
 *   what dusk_body_cb is told    and the server then replies as there
 *   DUSK_EBODYTOOLARGE           more than `max_bytes` (DUSK_OFF: no limit but
 *                                the request's); 413. With a declared length
 *                                before a byte is read
 *   the context's err            what dusk_request_context gives now has ended;
 *                                but a client that only closes its side loses
 *                                nothing that it has sent
 *   the disk's                   UV_ENOSPC (also for a quota), UV_EFBIG,
 *                                UV_EACCES, UV_EISDIR, UV_ENOENT, ...: the
 *                                handler's to answer
 *
 * Nobody sees half of an upload: what comes goes to a hidden file in the same
 * folder, ".dusk-" and 16 hexadecimal digits, which gets its name when it is
 * whole, in the place of a file that has it (not of what a symbolic link of
 * that name leads to), and which is removed if something fails. A process that
 * is killed leaves it behind. New files have the rights that the umask leaves
 * of 0666. It is not fsynced. A file beyond RLIMIT_FSIZE is UV_EFBIG; the
 * library sees to it that SIGXFSZ ends nobody.
 *
 * A handler that ends its response before `cb` has come gives the file up, and
 * is not called; unless it was whole already, it is not there then. Both
 * dusk_request_pause and dusk_request_resume work as with dusk_request_body,
 * but that up to 64 KiB may wait to be written while the request is paused.
 * Errors: UV_EINVAL, UV_ENOMEM, and those of dusk_request_body.
 * Go: os.Create and io.Copy(file, r.Body), and os.Remove when it fails. */
DUSK_EXTERN int dusk_request_save(dusk_request_t *req, const char *path,
                                  uint64_t max_bytes, dusk_save_cb cb,
                                  void *arg) DUSK_CHECK_RESULT;

#ifdef __cplusplus
}
#endif

#endif
