#include <string.h>

#include "base/clock.h"
#include "store/http/http.h"
#include "store/wire.h"

/* What of libcurl's errors an operator has to put right; all others pass. */
static const struct {
    CURLcode result;
    enum mt_err code;
    const char *remedy;
} transfers[] = {
    {CURLE_PEER_FAILED_VERIFICATION, MT_ERR_PERMISSION,
     "the server's certificate is not trusted; name its authority's file with tlsCAFile"},
    {CURLE_SSL_CACERT_BADFILE, MT_ERR_CONFIG, "tlsCAFile holds no usable certificate"},
    {CURLE_SSL_CERTPROBLEM, MT_ERR_CONFIG,
     "tlsCertificateKeyFile holds no usable certificate with its key"},
    {CURLE_SSL_CONNECT_ERROR, MT_ERR_UNAVAILABLE,
     "no TLS came about; a server that speaks none wants http://"},
    {CURLE_URL_MALFORMAT, MT_ERR_CONFIG, "the URI is wrong"},
    {CURLE_OUT_OF_MEMORY, MT_ERR_NO_MEMORY, "out of memory"},
};

/* What a status means where memory-api itself gives no code; others are UNAVAILABLE. */
static const struct {
    long from, to;
    enum mt_err code;
    const char *meaning;
} statuses[] = {
    {300, 399, MT_ERR_UNAVAILABLE,
     "a redirect, which is not followed; a login page or proxy stands between, or the URI is not "
     "that of a memory-api"},
    {401, 401, MT_ERR_PERMISSION,
     "the token is missing or not known there; set STORE_TOKEN_FILE to the file of a token that "
     "its TOKENS file lists"},
    {403, 403, MT_ERR_PERMISSION,
     "the token may not do this; its scope in the TOKENS file says "
     "what it may"},
    {413, 413, MT_ERR_UNAVAILABLE,
     "the body is too large for the server or a proxy before it; raise its limit"},
    {429, 429, MT_ERR_OVERLOADED, "too many requests for the server or a proxy before it"},
};

static enum mt_err fail_transfer(const struct http_store *store, const struct http_request *request,
                                 const struct http_answer *answer, struct mt_error *error)
{
    char words[CURL_ERROR_SIZE];
    enum mt_err err = http_check_wish(store, request, error);

    if (err != MT_OK)
        return err;
    mt_wire_clean(words, sizeof words,
                  mt_slice_of(answer->failure[0] != '\0' ? answer->failure
                                                         : curl_easy_strerror(answer->result)));
    if (answer->overflowed)
        return mt_error_set(error, MT_ERR_UNAVAILABLE,
                            "store %s: %s: the answer does not end; no memory-api answers so",
                            store->name, request->what);
    for (size_t i = 0; i < sizeof transfers / sizeof transfers[0]; i++)
        if (transfers[i].result == answer->result)
            return mt_error_set(error, transfers[i].code, "store %s: %s: %s (%s)", store->name,
                                request->what, transfers[i].remedy, words);
    return mt_error_set(error, MT_ERR_UNAVAILABLE, "store %s: %s: %s", store->name, request->what,
                        words);
}

/* A code that a store may give its caller; the server's own troubles are only its own. */
static enum mt_err code_of(enum mt_err code)
{
    switch (code) {
    case MT_ERR_BUSY:
    case MT_ERR_FULL:
    case MT_ERR_READ_ONLY:
    case MT_ERR_MISSING:
    case MT_ERR_PERMISSION:
    case MT_ERR_NOT_DATABASE:
    case MT_ERR_NEWER_SCHEMA:
    case MT_ERR_CORRUPT:
    case MT_ERR_REJECTED:
    case MT_ERR_OVERLOADED:
        return code;
    default:
        return MT_ERR_UNAVAILABLE;
    }
}

static bool has_path(const struct http_store *store)
{
    const char *host = strstr(store->name, "://");

    return host != NULL && strchr(host + strlen("://"), '/') != NULL;
}

/* memory-api's own words for "no such path": it runs, but without tokens */
static bool is_without_tokens(const struct http_request *request, long status,
                              const struct mt_error *said)
{
    return request->is_post && status == 405
               ? strstr(said->text, "Method Not Allowed") != NULL
               : status == 404 && strstr(said->text, "Not Found") != NULL;
}

enum mt_err http_fail(const struct http_store *store, const struct http_request *request,
                      const struct http_answer *answer, struct mt_error *error)
{
    struct mt_error said = {0};
    const char *divider = "";

    if (answer->result != CURLE_OK)
        return fail_transfer(store, request, answer, error);
    if (mt_wire_read_error(answer->body, &said)) {
        divider = ": ";
        if (said.code != MT_OK)
            return mt_error_set(error, code_of(said.code), "store %s: %s: %s", store->name,
                                request->what, said.text);
        if (is_without_tokens(request, answer->status, &said))
            return mt_error_set(error, MT_ERR_PERMISSION,
                                "store %s: %s: this memory-api is no store for others (%ld): no "
                                "TOKENS are configured there%s",
                                store->name, request->what, answer->status,
                                has_path(store) ? ", or the URI's path is not its own" : "");
    }
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        if (statuses[i].from <= answer->status && answer->status <= statuses[i].to)
            return mt_error_set(error, statuses[i].code, "store %s: %s: %s (%ld%s%s)", store->name,
                                request->what, statuses[i].meaning, answer->status, divider,
                                said.text);
    if (divider[0] != '\0')
        return mt_error_set(error, MT_ERR_UNAVAILABLE, "store %s: %s: the server answers %ld: %s",
                            store->name, request->what, answer->status, said.text);
    return mt_error_set(error, MT_ERR_UNAVAILABLE,
                        "store %s: %s: the server answers %ld, and not as a memory-api does (%s)",
                        store->name, request->what, answer->status,
                        answer->content_type[0] != '\0' ? answer->content_type : "no Content-Type");
}

enum mt_err http_fail_foreign(const struct http_store *store, const struct http_request *request,
                              struct mt_error *error)
{
    char problem[256] = "";

    if (error != NULL)
        mt_wire_clean(problem, sizeof problem, mt_slice_of(error->text));
    return mt_error_set(error, MT_ERR_UNAVAILABLE,
                        "store %s: %s: the answer is not a memory-api's: %s; a login page or proxy "
                        "stands between, or versions do not match",
                        store->name, request->what, problem);
}

enum mt_err http_fail_read_only(const struct http_store *store, const char *what,
                                struct mt_error *error)
{
    return mt_error_set(error, MT_ERR_READ_ONLY, "store %s: %s: it was opened for reading only",
                        store->name, what);
}
