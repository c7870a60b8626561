#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/version.h"
#include "store/http/http.h"
#include "store/uri.h"
#include "store/wire.h"

enum { BATCH_RECORDS = 1000 };

/* Each name is an option of the URI that means a file. */
static const struct {
    const char *name;
    CURLoption option;
    CURLoption key_option; /* the same file holds the key; 0: no key */
} file_options[] = {
    {"tlsCAFile", CURLOPT_CAINFO, (CURLoption)0},
    {"tlsCertificateKeyFile", CURLOPT_SSLCERT, CURLOPT_SSLKEY},
};

static enum mt_err fail_setup(const struct http_store *store, struct mt_error *error)
{
    return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: libcurl cannot be set up", store->name);
}

/* every call counts; whoever is the first initialises, also if others call at the same moment */
static enum mt_err start_library(struct mt_error *error)
{
    if ((curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_THREADSAFE) == 0)
        return mt_error_set(error, MT_ERR_CONFIG,
                            "libcurl %s cannot start safely beside threads; use one of 7.84 or "
                            "later that is built with atomics",
                            curl_version_info(CURLVERSION_NOW)->version);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "libcurl cannot be initialised");
    return MT_OK;
}

/* the name is the base of every URL, so it has to be one itself, and without a secret */
static enum mt_err check_base(const struct http_store *store, struct mt_error *error)
{
    CURLU *url = curl_url();
    bool is_base;
    char *part = NULL;

    if (url == NULL)
        return fail_setup(store, error);
    is_base = curl_url_set(url, CURLUPART_URL, store->name, 0) == CURLUE_OK &&
              curl_url_get(url, CURLUPART_USER, &part, 0) == CURLUE_NO_USER &&
              curl_url_get(url, CURLUPART_QUERY, &part, 0) == CURLUE_NO_QUERY &&
              curl_url_get(url, CURLUPART_FRAGMENT, &part, 0) == CURLUE_NO_FRAGMENT;
    curl_free(part);
    curl_url_cleanup(url);
    if (!is_base)
        return mt_error_set(error, MT_ERR_CONFIG,
                            "store %s: no URI of the form http[s]://[TOKEN@]HOST[:PORT][/PREFIX]",
                            store->name);
    return MT_OK;
}

static bool add_header(struct curl_slist **list, const char *text)
{
    struct curl_slist *longer = curl_slist_append(*list, text);

    if (longer != NULL)
        *list = longer;
    return longer != NULL;
}

static enum mt_err add_token(struct http_store *store, const char *uri, struct mt_error *error)
{
    struct mt_buf header;
    char *token = NULL;
    bool added;
    enum mt_err err = mt_store_uri_token(uri, &token, error);

    if (err != MT_OK || token == NULL)
        return err;
    for (const char *c = token; *c != '\0'; c++)
        if (*c <= ' ' || *c > '~') {
            err = mt_error_set(error, MT_ERR_CONFIG,
                               "store %s: the token has a space, a line end or another character "
                               "that no token has",
                               store->name);
            goto out;
        }
    mt_buf_init(&header, 0);
    mt_buf_append_string(&header, "Authorization: Bearer ");
    mt_buf_append_string(&header, token);
    added = mt_buf_string(&header) != NULL && add_header(&store->headers, header.data) &&
            add_header(&store->body_headers, header.data);
    if (header.data != NULL)
        explicit_bzero(header.data, header.length);
    mt_buf_fini(&header);
    if (!added)
        err = fail_setup(store, error);
out:
    explicit_bzero(token, strlen(token));
    free(token);
    return err;
}

static enum mt_err set_files(struct http_store *store, const char *uri, struct mt_error *error)
{
    for (size_t i = 0; i < sizeof file_options / sizeof file_options[0]; i++) {
        char *path = NULL;
        enum mt_err err = mt_store_uri_option(uri, file_options[i].name, &path, error);

        if (err != MT_OK)
            return err;
        if (path == NULL)
            continue;
        if (access(path, R_OK) != 0)
            err = mt_error_set(error, MT_ERR_CONFIG,
                               "store %s: %s=%s: no such file, or it may not be read", store->name,
                               file_options[i].name, path);
        else if (curl_easy_setopt(store->curl, file_options[i].option, path) != CURLE_OK ||
                 (file_options[i].key_option != 0 &&
                  curl_easy_setopt(store->curl, file_options[i].key_option, path) != CURLE_OK))
            err = fail_setup(store, error);
        free(path);
        if (err != MT_OK)
            return err;
    }
    return MT_OK;
}

static enum mt_err set_verification(struct http_store *store, const char *uri,
                                    struct mt_error *error)
{
    char *value = NULL;
    long verify = 1;
    enum mt_err err = mt_store_uri_option(uri, "tlsAllowInvalidCertificates", &value, error);

    if (err != MT_OK)
        return err;
    if (value != NULL && strcmp(value, "true") == 0)
        verify = 0;
    free(value);
    if (curl_easy_setopt(store->curl, CURLOPT_SSL_VERIFYPEER, verify) != CURLE_OK ||
        curl_easy_setopt(store->curl, CURLOPT_SSL_VERIFYHOST, 2 * verify) != CURLE_OK)
        return fail_setup(store, error);
    return MT_OK;
}

static enum mt_err set_common(struct http_store *store, struct mt_error *error)
{
    const struct {
        CURLoption option;
        long value;
    } numbers[] = {
        {CURLOPT_NOSIGNAL, 1},
        {CURLOPT_FOLLOWLOCATION, 0},
        {CURLOPT_NETRC, CURL_NETRC_IGNORED},
        {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
        {CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2},
        {CURLOPT_TCP_KEEPALIVE, 1},
        {CURLOPT_TCP_KEEPIDLE, 15},
        {CURLOPT_TCP_KEEPINTVL, 15},
        {CURLOPT_MAXCONNECTS, 1},
    };
    const struct {
        CURLoption option;
        const char *value;
    } texts[] = {
        {CURLOPT_PROTOCOLS_STR, "http,https"},
        {CURLOPT_PROXY, ""},
        {CURLOPT_ACCEPT_ENCODING, "gzip"},
        {CURLOPT_USERAGENT, "memory-tracker/" MT_VERSION},
    };

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (curl_easy_setopt(store->curl, numbers[i].option, numbers[i].value) != CURLE_OK)
            return fail_setup(store, error);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (curl_easy_setopt(store->curl, texts[i].option, texts[i].value) != CURLE_OK)
            return fail_setup(store, error);
    /* a body is never held back for a "100 Continue": most servers send none */
    if (!add_header(&store->headers, "Content-Type:") ||
        !add_header(&store->body_headers, "Expect:") ||
        !add_header(&store->body_headers, "Content-Type: application/x-ndjson") ||
        !add_header(&store->body_headers, "Content-Encoding: gzip"))
        return fail_setup(store, error);
    return MT_OK;
}

static enum mt_err connect_store(struct http_store *store, const char *uri, struct mt_error *error)
{
    enum mt_err err = check_base(store, error);

    if (err != MT_OK)
        return err;
    store->curl = curl_easy_init();
    if (store->curl == NULL)
        return fail_setup(store, error);
    err = set_common(store, error);
    if (err == MT_OK)
        err = add_token(store, uri, error);
    if (err == MT_OK)
        err = set_files(store, uri, error);
    if (err == MT_OK)
        err = set_verification(store, uri, error);
    return err;
}

static enum mt_err ping(struct http_store *store, const char *what, struct mt_error *error)
{
    struct http_request request = {.what = what, .target = "/store/ping"};
    struct mt_buf body;
    enum mt_err err;

    mt_buf_init(&body, 0);
    err = http_ask(store, &request, &body, NULL, error);
    if (err == MT_OK &&
        mt_wire_read_ping((struct mt_slice){body.data, body.length}, error) != MT_OK)
        err = http_fail_foreign(store, &request, error);
    mt_buf_fini(&body);
    return err;
}

enum mt_err http_ping(struct mt_store *base, struct mt_error *error)
{
    return ping((struct http_store *)base, "ping", error);
}

enum mt_err http_open(const char *uri, const struct mt_store_options *options,
                      struct mt_store **store, struct mt_error *error)
{
    struct http_store *made;
    enum mt_err err = start_library(error);

    if (err != MT_OK)
        return err;
    made = calloc(1, sizeof *made);
    if (made == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    made->name = mt_store_destination(uri);
    if (made->name == NULL) {
        free(made);
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    }
    made->read_only = options->read_only;
    made->busy_wait_ms = options->busy_wait_ms;
    made->timeout_ms = options->timeout_ms > 0 ? options->timeout_ms : MT_STORE_TIMEOUT_MS;
    if (made->timeout_ms > MT_STORE_TIMEOUT_MOST_MS)
        made->timeout_ms = MT_STORE_TIMEOUT_MOST_MS;
    made->batch_records = BATCH_RECORDS;
    err = connect_store(made, uri, error);
    /* a writer asks for nothing that a token which may only append may not */
    if (err == MT_OK)
        err = made->read_only ? ping(made, "open", error) : http_make(made, error);
    if (err != MT_OK) {
        http_close(&made->base);
        return err;
    }
    made->base.ops = &http_ops;
    *store = &made->base;
    return MT_OK;
}

void http_close(struct mt_store *base)
{
    struct http_store *store = (struct http_store *)base;

    curl_easy_cleanup(store->curl);
    curl_slist_free_all(store->headers);
    curl_slist_free_all(store->body_headers);
    free(store->name);
    free(store);
}
