/*
 * The HTTP store, shared between its files: a history behind another memory-api, by its
 * /memory-logs and /store/ endpoints. Loaded as a module; never logs. Contract in store.h, JSON in
 * store/wire.h.
 *
 * The token goes to the server in the Authorization header and nowhere else: redirects are not
 * followed, proxies of the environment and .netrc are not used.
 */
#ifndef MT_STORE_HTTP_HTTP_H
#define MT_STORE_HTTP_HTTP_H

#include <curl/curl.h>

#include "base/buf.h"
#include "base/text.h"
#include "store/ops.h"

struct http_store {
    struct mt_store base;
    CURL *curl;                 /* one connection, kept alive between the calls */
    char *name;                 /* mt_store_destination: base of the URLs, and for messages */
    struct curl_slist *headers; /* of a request without a body; the token is in both */
    struct curl_slist *body_headers;
    bool read_only;
    int busy_wait_ms;
    int timeout_ms;
    size_t batch_records; /* most of one request; less after the server found one too large */
};

/* How long the server may take: for a short answer, for a page of records as long as it flows, and
 * where it works through the whole store before it answers. */
enum http_patience { HTTP_SHORT, HTTP_PAGE, HTTP_LONG };

/* Zero-initialise, then set what is wanted. */
struct http_request {
    const char *what;   /* "append", for messages */
    const char *target; /* path and query, after the base */
    enum http_patience patience;
    bool is_post;
    struct mt_slice body;         /* of a POST that has one: gzipped lines of JSON */
    const struct mt_query *query; /* its deadline and cancel flag; may be NULL */
};

/*
 * request.c: asks, and asks again while the server is busy and busy_wait_ms are not over. MT_OK
 * only for an answer of status 200, whose body is then in *body (initialised by the caller, emptied
 * before). *too_large (may be NULL) tells of an error that a smaller request body may not have.
 */
enum mt_err http_ask(struct http_store *store, const struct http_request *request,
                     struct mt_buf *body, bool *too_large, struct mt_error *error);

/* request.c: DEADLINE or CANCELLED if the query's caller wants no more. */
enum mt_err http_check_wish(const struct http_store *store, const struct http_request *request,
                            struct mt_error *error);

/* What came back for one request. */
struct http_answer {
    CURLcode result;
    char failure[CURL_ERROR_SIZE]; /* libcurl's words */
    long status;
    char content_type[64]; /* printable; "" if none */
    int64_t retry_after_s;
    bool overflowed; /* the body was larger than any answer is */
    struct mt_slice body;
};

/* failure.c: the one error for an answer that is no 200. Fills *error and returns its code. */
enum mt_err http_fail(const struct http_store *store, const struct http_request *request,
                      const struct http_answer *answer, struct mt_error *error);

/* failure.c: an answer of status 200 that is not the protocol's: UNAVAILABLE, before whose text is
 * what stands in *error. */
enum mt_err http_fail_foreign(const struct http_store *store, const struct http_request *request,
                              struct mt_error *error);

/* failure.c: READ_ONLY, for a handle that is. */
enum mt_err http_fail_read_only(const struct http_store *store, const char *what,
                                struct mt_error *error);

/* append.c: an append of nothing, which makes the store. */
enum mt_err http_make(struct http_store *store, struct mt_error *error);

/* lines.c: cuts the next line off *text, without its newline. False at the end; *cut tells of a
 * last line that has none, of an answer that did not come whole. */
bool http_next_line(struct mt_slice *text, struct mt_slice *line, bool *cut);

/* The ops; contract in store.h. */
extern const struct mt_store_ops http_ops;
enum mt_err http_open(const char *uri, const struct mt_store_options *options,
                      struct mt_store **store, struct mt_error *error);
void http_close(struct mt_store *store);
enum mt_err http_append(struct mt_store *store, const struct mt_record *records, size_t count,
                        enum mt_on_conflict on_conflict, struct mt_outcome *outcomes,
                        struct mt_error *error);
enum mt_err http_scan(struct mt_store *store, const struct mt_query *query, mt_emit *emit,
                      void *context, struct mt_error *error);
enum mt_err http_token(struct mt_store *store, struct mt_token *token, struct mt_error *error);
enum mt_err http_changes(struct mt_store *store, struct mt_token *token, size_t limit,
                         mt_emit *emit, void *context, bool *reset, struct mt_error *error);
enum mt_err http_hosts(struct mt_store *store, int64_t now_s, mt_emit_host *emit, void *context,
                       struct mt_error *error);
enum mt_err http_prune(struct mt_store *store, int64_t before, int64_t *pruned,
                       struct mt_error *error);
enum mt_err http_size(struct mt_store *store, int64_t *bytes, struct mt_error *error);
enum mt_err http_ping(struct mt_store *store, struct mt_error *error);
enum mt_err http_verify(struct mt_store *store, bool deep, mt_report *report, void *context,
                        int64_t *findings, struct mt_error *error);

#endif
