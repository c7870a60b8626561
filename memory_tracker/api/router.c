#include "api/handler.h"
#include "api/query.h"

enum { READ = 1 << MT_METHOD_GET | 1 << MT_METHOD_HEAD };

/* A slash may follow each path. */
static const struct {
    const char *path;
    unsigned methods;
    const char *allow;
    mt_handler *handle;
} routes[] = {
    {"/memory-logs", READ, "GET, HEAD", mt_handle_logs},
    {"/healthz", READ, "GET, HEAD", mt_handle_healthz},
    {"/readyz", READ, "GET, HEAD", mt_handle_readyz},
};

/* %XX is decoded once; dots and repeated slashes mean nothing special. */
static bool is_path(struct mt_slice encoded, const char *path)
{
    int last;

    for (; *path != '\0'; path++) {
        if (mt_percent_next(&encoded) != (unsigned char)*path)
            return false;
    }
    last = mt_percent_next(&encoded);
    return last == -1 || (last == '/' && encoded.length == 0);
}

void mt_api_answer(const struct mt_request *request, const struct mt_api_state *state,
                   struct mt_answer *answer)
{
    *answer = (struct mt_answer){.kind = MT_ANSWER_BYTES};
    mt_response_init(&answer->response);
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (!is_path(request->path, routes[i].path))
            continue;
        if ((routes[i].methods & 1U << request->method) == 0) {
            mt_response_json(&answer->response, 405, "{\"detail\":\"Method Not Allowed.\"}");
            answer->response.allow = routes[i].allow;
        } else {
            routes[i].handle(request, state, answer);
        }
        return;
    }
    mt_response_json(&answer->response, 404, "{\"detail\":\"Not Found.\"}");
}
