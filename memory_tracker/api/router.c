#include <stddef.h>
#include <string.h>

#include "api/handler.h"
#include "api/query.h"

enum {
    ANY = MT_SCOPE_HOST | MT_SCOPE_APPEND | MT_SCOPE_READ | MT_SCOPE_ADMIN,
    APPEND = MT_SCOPE_HOST | MT_SCOPE_APPEND | MT_SCOPE_ADMIN,
    READ = MT_SCOPE_READ | MT_SCOPE_ADMIN,
};

/* A slash may follow each path. Where a method needs a scope, there is no such method without
 * tokens, and no such path if that leaves none. */
static const struct route {
    const char *path;
    mt_handler *get;
    unsigned get_scopes; /* 0: for everybody */
    mt_handler *post;
    unsigned post_scopes;
} routes[] = {
    {"/memory-logs", mt_handle_logs, 0, mt_handle_push, APPEND},
    {"/healthz", mt_handle_healthz, 0, NULL, 0},
    {"/readyz", mt_handle_readyz, 0, NULL, 0},
    {"/store/records", mt_handle_store_records, READ, NULL, 0},
    {"/store/changes", mt_handle_store_changes, READ, NULL, 0},
    {"/store/token", mt_handle_store_token, READ, NULL, 0},
    {"/store/hosts", mt_handle_store_hosts, READ, NULL, 0},
    {"/store/prune", NULL, 0, mt_handle_store_prune, MT_SCOPE_ADMIN},
    {"/store/size", mt_handle_store_size, READ, NULL, 0},
    {"/store/verify", mt_handle_store_verify, READ, NULL, 0},
    {"/store/ping", mt_handle_store_ping, ANY, NULL, 0},
};

/* %XX is decoded once; dots and repeated slashes mean nothing special. */
static bool is_path(struct mt_slice encoded, const char *path)
{
    int last;

    /* as nearly everybody writes it */
    if (mt_slice_equal(encoded, path))
        return true;
    for (; *path != '\0'; path++) {
        if (mt_percent_next(&encoded) != (unsigned char)*path)
            return false;
    }
    last = mt_percent_next(&encoded);
    return last == -1 || (last == '/' && encoded.length == 0);
}

static bool exists(mt_handler *handler, unsigned scopes, const struct mt_api_state *state)
{
    return handler != NULL && (scopes == 0 || state->tokens != NULL);
}

static const char *allow(bool get, bool post)
{
    if (get)
        return post ? "GET, HEAD, POST" : "GET, HEAD";
    return "POST";
}

/* True if the request's token, if one is needed, is good for it. Otherwise that is the answer. */
static bool admit(const struct mt_request *request, const struct mt_api_state *state,
                  unsigned scopes, struct mt_answer *answer)
{
    const struct mt_grant *grant;

    if (scopes == 0)
        return true;
    grant = mt_tokens_find(state->tokens, request->authorization);
    if (grant == NULL) {
        mt_response_json(&answer->response, 401, "{\"detail\":\"Unauthorized.\"}");
        answer->response.authenticate = "Bearer";
        return false;
    }
    answer->job.remote.grant = *grant;
    if ((scopes & grant->scope) != 0)
        return true;
    mt_response_json(&answer->response, 403, "{\"detail\":\"This token may not do that.\"}");
    return false;
}

static void answer_route(const struct route *route, const struct mt_request *request,
                         const struct mt_api_state *state, struct mt_answer *answer)
{
    bool get = exists(route->get, route->get_scopes, state);
    bool post = exists(route->post, route->post_scopes, state);
    bool is_get = request->method == MT_METHOD_GET || request->method == MT_METHOD_HEAD;

    if (get && is_get) {
        if (admit(request, state, route->get_scopes, answer))
            route->get(request, state, answer);
    } else if (post && request->method == MT_METHOD_POST) {
        if (admit(request, state, route->post_scopes, answer))
            route->post(request, state, answer);
    } else if (get || post) {
        mt_response_json(&answer->response, 405, "{\"detail\":\"Method Not Allowed.\"}");
        answer->response.allow = allow(get, post);
    } else {
        mt_response_json(&answer->response, 404, "{\"detail\":\"Not Found.\"}");
    }
}

void mt_api_answer(const struct mt_request *request, const struct mt_api_state *state,
                   struct mt_answer *answer)
{
    /* but for what is large and set only where it is read */
    memset(answer, 0, offsetof(struct mt_answer, job.remote.grant));
    answer->job.remote.grant.name[0] = '\0';
    answer->kind = MT_ANSWER_BYTES;
    mt_response_init(&answer->response);
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (is_path(request->path, routes[i].path)) {
            answer_route(&routes[i], request, state, answer);
            return;
        }
    }
    mt_response_json(&answer->response, 404, "{\"detail\":\"Not Found.\"}");
}
