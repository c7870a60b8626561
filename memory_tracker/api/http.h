/*
 * HTTP as the handlers see it: plain structs, no sockets, no library. The server turns its
 * library's types into these and back; handlers are functions of (request, store) -> response.
 */
#ifndef MT_API_HTTP_H
#define MT_API_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "api/conditional.h"
#include "api/parameter.h"
#include "api/tokens.h"
#include "api/view.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/text.h"
#include "store/store.h"

enum mt_method { MT_METHOD_GET, MT_METHOD_HEAD, MT_METHOD_POST, MT_METHOD_OTHER };

/* Borrowed from the connection; valid while mt_api_answer runs, not in a job. */
struct mt_request {
    enum mt_method method;
    struct mt_slice path;  /* as sent, up to the first `?`, still percent-encoded */
    struct mt_slice query; /* as sent, after the first `?`; length 0 if there is none */
    /* values of headers; length 0 where there is none, or where one that is no list was sent twice
     */
    struct mt_slice authorization;
    struct mt_slice content_type;
    struct mt_slice content_encoding;
    struct mt_slice accept_encoding;
    struct mt_slice if_none_match;
    struct mt_slice body; /* whole, as sent but for its chunks; length 0 if there is none */
};

/*
 * mt_request_set_target: cuts path and query out of a request line's target, up to its fragment. Of
 * the absolute form (http://host/path) only what follows the host counts.
 */
void mt_request_set_target(struct mt_request *request, struct mt_slice target);

/* The Content-Type of all bodies. */
extern const char mt_json_type[sizeof "application/json"];

/*
 * Owned by whoever fills it; mt_response_fini frees the body. HEAD is the server's business: bodies
 * are always there. A body whose buffer failed is not to be sent: mt_response_settle.
 */
struct mt_response {
    int status;
    struct mt_buf body;       /* length 0 where has_page */
    bool has_page;            /* the body is page, or where is_gzip packed, of a view */
    struct mt_page page;      /* of view, or, of an answer that is a PAGE, of the state's */
    struct mt_packed packed;  /* owned */
    struct mt_view *view;     /* referred to; may be NULL */
    const char *content_type; /* static */
    bool is_gzip;             /* the body is compressed; its Content-Encoding says so */
    const char *allow;        /* static value of an Allow header, or NULL */
    const char *authenticate; /* static value of a WWW-Authenticate header, or NULL */
    int retry_after_s;        /* value of a Retry-After header; 0: none */
    int64_t age_s;            /* value of an Age header; -1: none */
    bool is_validated;        /* ETag is tag, to be asked for again each time; 304 has it too */
    char tag[MT_TAG_SIZE];
};

void mt_response_init(struct mt_response *response);
void mt_response_fini(struct mt_response *response);

/* mt_response_length: bytes of the body. */
size_t mt_response_length(const struct mt_response *response);

/* mt_response_own: a body that is a page of a view is copied into `body`, and the view not needed
 * any more. */
void mt_response_own(struct mt_response *response);

/*
 * mt_response_json: status, application/json and a body of these bytes, replacing what was there,
 * headers too.
 */
void mt_response_json(struct mt_response *response, int status, const char *body);

/* mt_response_refuse: as mt_response_json, {"detail":...} with a text of any bytes. */
void mt_response_refuse(struct mt_response *response, int status, const char *text);

/* How long a client is asked to stay away when the store cannot answer. */
enum { MT_RETRY_AFTER_S = 5 };

/*
 * mt_response_fail: the answer to a failure after error.def: 500 {"detail":"Internal server
 * error."} or 503 {"detail":"Service unavailable."} with Retry-After, replacing what was there. The
 * reason goes to the log, not out.
 */
void mt_response_fail(struct mt_response *response, enum mt_err code);

/*
 * mt_response_settle: a response whose body could not be rendered for want of memory becomes that
 * failure; the last step of every handler. Returns NO_MEMORY then, MT_OK otherwise.
 */
enum mt_err mt_response_settle(struct mt_response *response);

/* mt_status_reason: "OK", "Not Found" ...; a static string for every status this program sends. */
const char *mt_status_reason(int status);

/* The checked parameters of GET /memory-logs, and what its headers say. */
struct mt_logs_query {
    int64_t limit; /* 1 .. 99999 */
    int64_t skip;  /* >= 0; INT64_MAX stands for anything larger */
    bool may_gzip;
    struct mt_buf none_match; /* the value of If-None-Match; owned */
};

/* What a request of another program of ours comes to: pushed records, the store protocol. */
struct mt_remote {
    struct mt_buf query; /* as sent; owned */
    struct mt_buf body;  /* as sent; owned */
    bool body_is_gzip;
    bool body_is_lines;    /* x-ndjson; else JSON */
    bool may_gzip;         /* the answer may be compressed */
    struct mt_grant grant; /* of its token; name is "" where it needed none */
    struct mt_parameters parameters;
};

/* Work for a worker thread: a value that owns all it needs; freed by mt_job_fini. */
struct mt_job {
    /*
     * Fills *response, which is initialised. store is NULL if it could not be opened; then
     * *open_error says why. *error, zeroed by the caller, says why the answer is a failure; its
     * code stays MT_OK otherwise. The caller logs it, once a second at most while it stays the
     * same.
     */
    void (*run)(const struct mt_job *job, struct mt_store *store, const struct mt_error *open_error,
                struct mt_response *response, struct mt_error *error);
    /*
     * Fills *response from recent history, with a reference to view if it needs one. False,
     * *response untouched, if that does not hold all of the answer. NULL: only the store can tell.
     */
    bool (*from_view)(const struct mt_job *job, struct mt_view *view, struct mt_packer *packer,
                      struct mt_response *response);
    struct mt_view *view; /* referred to: has the answer, the store is not needed; or NULL */
    struct mt_logs_query logs;
    bool writes;   /* wants a store that may be written */
    bool is_large; /* may take long: quick jobs need not wait behind it */
    int64_t now_s; /* the clock when the request came */
    /* 0 and NULL as mt_api_answer leaves them; whoever runs the job may set them */
    int64_t deadline_ms; /* monotonic; see mt_query */
    bool (*cancelled)(void *context);
    void *cancel_context;
    struct mt_remote remote; /* last: see mt_api_answer */
};

/* mt_job_fini: frees what the job owns; accepts a zeroed one, and one that is freed already. */
void mt_job_fini(struct mt_job *job);

enum mt_answer_kind {
    MT_ANSWER_BYTES, /* response is ready */
    MT_ANSWER_PAGE,  /* response is ready; its body lives as long as a reference to state->view */
    MT_ANSWER_JOB,   /* job is to be run by a worker, which makes the response */
};

struct mt_answer {
    enum mt_answer_kind kind;
    int64_t reach; /* how many records it is about, from the newest one back; 0: of none */
    struct mt_response response; /* initialised by the callee in either case */
    struct mt_job job;
};

/* What handlers may know of the process. */
struct mt_api_state {
    bool draining;                  /* SIGTERM came: /readyz says 503 */
    int64_t now_s;                  /* the wall clock, Unix s */
    const struct mt_tokens *tokens; /* NULL: nobody may push or read the store over HTTP */
    struct mt_view *view;           /* all there is as of now; NULL: only the store knows */
    struct mt_packer *packer;       /* the thread's; NULL where there is no view */
};

/*
 * mt_api_answer: routes and validates; never blocks, never touches the store: what needs it comes
 * back as a job. Any thread. The caller frees answer->response and answer->job.
 */
void mt_api_answer(const struct mt_request *request, const struct mt_api_state *state,
                   struct mt_answer *answer);

#endif
