/* chat.c [ADDRESS]: a chat by server-sent events. Who reads too slowly is cut
 * off, comes back by itself, and is sent what it has missed. */
#include "chat_page.h"
#include "serve.h"
#include <dusk/calls.h>

enum { KEPT = 100, MAX_FORM = 2048, MAX_BEHIND = 32, BEAT_MS = 15000 };

typedef struct stream {
  dusk_waiter_t gone;
  dusk_response_t *res;
  int behind; /* so many events were sent while earlier ones were stuck */
  struct stream *next;
} stream_t;

static stream_t *streams;
static dusk_sleep_t beat; /* while there are streams */
static uint64_t said;
static char kept[KEPT][MAX_FORM + 32]; /* event n at n % KEPT */

static void leave(dusk_waiter_t *gone) {
  stream_t *stream = (stream_t *)gone, **at = &streams;
  while (*at != stream)
    at = &(*at)->next;
  *at = stream->next;
  if (streams == NULL) dusk_sleep_stop(&beat);
  dusk_waiter_stop(gone);
  if (stream->behind > MAX_BEHIND)
    dusk_response_reset(stream->res); /* with all that is stuck */
  else
    dusk_response_end(stream->res, NULL, 0);
}

static void send_all(const char *event) {
  for (stream_t *stream = streams, *next; stream != NULL; stream = next) {
    next = stream->next;
    int wrote = dusk_response_write(stream->res, event, strlen(event));
    stream->behind = wrote == 0 ? 0 : stream->behind + 1;
    if (stream->behind > MAX_BEHIND) leave(&stream->gone);
  }
}

/* A comment now and then keeps proxies from taking a stream for dead. A drain
 * ends the sleep, and that ends the streams. */
static void on_beat(dusk_sleep_t *sleep, int err) {
  if (err == 0) send_all(":\n\n");
  while (err != 0 && streams != NULL)
    leave(&streams->gone);
  if (streams == NULL) return;
  dusk_request_t *req = dusk_response_request(streams->res);
  must(dusk_context_sleep(dusk_request_draining(req), sleep,
                          dusk_request_root(req), BEAT_MS, on_beat));
}

static void join(dusk_response_t *res, dusk_request_t *req, void *arg) {
  const char *last_id = dusk_request_header(req, "Last-Event-ID");
  uint64_t seen = last_id != NULL ? strtoull(last_id, NULL, 10) : 0;
  stream_t *stream = dusk_request_alloc(req, sizeof *stream);
  int err = dusk_request_set_timeout(req, DUSK_OFF);
  dusk_context_t *ctx = dusk_request_context(req);
  if (stream == NULL || ctx == NULL || err != 0) {
    dusk_response_error(res, 503, arg);
    return;
  }
  if (seen > said) seen = 0; /* in a chat that is over */
  if (said - seen > KEPT) seen = said - KEPT;
  dusk_response_set_header(res, "Content-Type", "text/event-stream");
  dusk_response_set_header(res, "Cache-Control", "no-store");
  dusk_response_write(res, "retry: 1000\n\n", 13);
  while (seen++ < said)
    dusk_response_write(res, kept[seen % KEPT], strlen(kept[seen % KEPT]));
  *stream = (stream_t){.res = res, .next = streams};
  streams = stream;
  dusk_context_after(ctx, &stream->gone, dusk_request_root(req), leave);
  if (stream->next == NULL) on_beat(&beat, 0);
  if (strcmp(dusk_request_method(req), "HEAD") == 0) leave(&stream->gone);
}

static void on_form(dusk_request_t *req, int status, const dusk_values_t *form,
                    void *arg) {
  dusk_response_t *res = dusk_request_response(req);
  const char *text = dusk_values_get(form, "text");
  if (form == NULL) {
    dusk_response_abort(res); /* with the server's 400, 408 or 413 */
  } else if (status != 0 || !is_line(text)) {
    dusk_response_error(res, 400, "text is one line");
  } else {
    char *event = kept[++said % KEPT];
    snprintf(event, sizeof *kept, "id: %" PRIu64 "\ndata: %s\n\n", said, text);
    send_all(event);
    dusk_response_text(res, 204, "");
  }
  (void)arg;
}

static void say(dusk_response_t *res, dusk_request_t *req, void *arg) {
  int err = dusk_request_form(req, MAX_FORM, on_form, arg);
  if (err != 0)
    dusk_response_error(res, err == DUSK_ECONTENTTYPE ? 415 : 503, NULL);
}

static void page(dusk_response_t *res, dusk_request_t *req, void *arg) {
  (void)req, (void)arg;
  dusk_response_set_header(res, "Content-Type", "text/html; charset=utf-8");
  dusk_response_text(res, 200, chat_page);
}

int main(int argc, char **argv) {
  dusk_mux_t *mux;
  dusk_cross_origin_t own = {.next = {say, NULL}}; /* pages, and no others' */
  must(dusk_mux_new(&mux));
  must(dusk_mux_handle(mux, "GET /{$}", page, NULL));
  must(dusk_mux_handle(mux, "GET /events", join, NULL));
  must(dusk_mux_handle(mux, "POST /messages", dusk_cross_origin_serve, &own));
  dusk_server_config_t config = {.handler = dusk_mux_serve,
                                 .handler_arg = mux,
                                 .request_timeout_ms = 10000};
  serve(&config, argc > 1 ? argv[1] : ":8080");
  dusk_mux_free(mux);
}
