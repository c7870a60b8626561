#include "store/uri.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "store/uri_check.h"
#include "store/uri_docdb.h"
#include "store/uri_part.h"

static const char sqlite_scheme[] = "sqlite:";
static const char default_database[] = "memory_tracker";
static const char default_collection[] = "memory_log";

static bool is_sqlite(const char *uri)
{
    return strncmp(uri, sqlite_scheme, sizeof sqlite_scheme - 1) == 0;
}

bool mt_store_is_remote(const char *uri)
{
    return !is_sqlite(uri);
}

/* Hands the buffer's text over, or says that there was no memory for it. */
static enum mt_err take_text(struct mt_buf *text, char **out, struct mt_error *error)
{
    if (mt_buf_string(text) == NULL) {
        mt_buf_fini(text);
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    }
    *out = text->data;
    return MT_OK;
}

/* STORE as it is given, or the URI of the DOCDB_ settings. */
static enum mt_err choose(const struct mt_config *config, struct mt_buf *uri, const char **source,
                          struct mt_error *error)
{
    bool has_store = mt_config_origin(config, MT_SETTING_STORE) != MT_ORIGIN_DEFAULT;
    bool has_docdb = mt_config_origin(config, MT_SETTING_DOCDB_HOST) != MT_ORIGIN_DEFAULT;

    if (has_docdb && !has_store) {
        *source = "the store of the DOCDB_ settings";
        return mt_uri_from_docdb(config, uri, error);
    }
    *source = mt_config_source(config, MT_SETTING_STORE);
    mt_buf_append_string(uri, mt_config_string(config, MT_SETTING_STORE));
    return MT_OK;
}

/* Puts STORE_TOKEN, if there is one, where an http URI has its token. */
static enum mt_err add_token(const struct mt_config *config, struct mt_buf *uri,
                             struct mt_error *error)
{
    const char *token = mt_config_string(config, MT_SETTING_STORE_TOKEN);
    const char *text = mt_buf_string(uri);
    struct mt_uri_parts parts;
    struct mt_buf with;

    if (token[0] == '\0' || text == NULL || !mt_uri_split(text, &parts) ||
        (!mt_uri_is(&parts, "http") && !mt_uri_is(&parts, "https")))
        return MT_OK;
    if (parts.has_user)
        return mt_error_set(error, MT_ERR_CONFIG,
                            "both STORE_TOKEN (%s) and STORE (%s) hold a token; keep one",
                            mt_config_source(config, MT_SETTING_STORE_TOKEN),
                            mt_config_source(config, MT_SETTING_STORE));
    mt_buf_init(&with, 0);
    mt_buf_append(&with, text, (size_t)(parts.hosts.data - text));
    mt_uri_encode(mt_slice_of(token), &with);
    mt_buf_append_char(&with, '@');
    mt_buf_append_string(&with, parts.hosts.data);
    mt_buf_fini(uri);
    *uri = with;
    return MT_OK;
}

static void tell_useless(const struct mt_config *config)
{
    bool has_store = mt_config_origin(config, MT_SETTING_STORE) != MT_ORIGIN_DEFAULT;
    bool has_docdb = mt_config_origin(config, MT_SETTING_DOCDB_HOST) != MT_ORIGIN_DEFAULT;
    enum mt_setting given = mt_docdb_given(config);

    if (has_docdb && has_store)
        mt_log(MT_LOG_WARNING, "both STORE (%s) and DOCDB_HOST (%s) are given: STORE wins",
               mt_config_source(config, MT_SETTING_STORE),
               mt_config_source(config, MT_SETTING_DOCDB_HOST));
    else if (!has_docdb && given != MT_SETTING_COUNT)
        mt_log(MT_LOG_WARNING, "%s has no effect, since DOCDB_HOST is not given",
               mt_config_source(config, given));
}

enum mt_err mt_store_uri(const struct mt_config *config, char **uri, struct mt_error *error)
{
    tell_useless(config);
    return mt_store_uri_untold(config, uri, error);
}

enum mt_err mt_store_uri_untold(const struct mt_config *config, char **uri, struct mt_error *error)
{
    bool from_option = mt_config_origin(config, MT_SETTING_STORE) == MT_ORIGIN_OPTION ||
                       (mt_config_origin(config, MT_SETTING_STORE) == MT_ORIGIN_DEFAULT &&
                        mt_config_origin(config, MT_SETTING_DOCDB_HOST) == MT_ORIGIN_OPTION);
    struct mt_buf text;
    const char *source = "";
    enum mt_err result;

    mt_buf_init(&text, 0);
    result = choose(config, &text, &source, error);
    if (result == MT_OK)
        result = add_token(config, &text, error);
    if (result == MT_OK && mt_buf_string(&text) == NULL)
        result = mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    if (result == MT_OK && mt_store_is_remote(text.data)) {
        result =
            mt_uri_check(text.data, mt_config_number(config, MT_SETTING_ALLOW_INSECURE_TLS) != 0,
                         from_option ? MT_ERR_USAGE : MT_ERR_CONFIG, error);
        if (result != MT_OK)
            mt_error_prefix(error, "%s", source);
    }
    if (result == MT_OK)
        return take_text(&text, uri, error);
    mt_buf_fini(&text);
    return result;
}

static enum mt_err take_decoded(struct mt_slice encoded, const char *what, char **out,
                                struct mt_error *error)
{
    struct mt_buf text;

    mt_buf_init(&text, 0);
    if (!mt_uri_decode(encoded, &text) && !text.failed) {
        mt_buf_fini(&text);
        return mt_error_set(error, MT_ERR_CONFIG,
                            "%s: a %% stands before two hexadecimal digits other than 00; write a "
                            "%% itself as %%25",
                            what);
    }
    return take_text(&text, out, error);
}

enum mt_err mt_store_uri_option(const char *uri, const char *name, char **value,
                                struct mt_error *error)
{
    struct mt_uri_parts parts;
    struct mt_slice found_name;
    struct mt_slice found;

    *value = NULL;
    if (is_sqlite(uri) || !mt_uri_split(uri, &parts))
        return MT_OK;
    while (mt_uri_next_option(&parts.options, &found_name, &found))
        if (mt_uri_equal(found_name, name))
            return take_decoded(found, name, value, error);
    return MT_OK;
}

static bool is_ours(struct mt_slice name)
{
    return mt_uri_equal(name, "collection") || mt_uri_equal(name, "maxData");
}

static void append_slice(struct mt_buf *out, struct mt_slice text)
{
    if (text.length > 0)
        mt_buf_append(out, text.data, text.length);
}

enum mt_err mt_store_uri_without_ours(const char *uri, char **out, struct mt_error *error)
{
    struct mt_uri_parts parts;
    struct mt_slice rest;
    struct mt_slice name;
    struct mt_slice value;
    struct mt_buf text;
    char divider = '?';

    mt_buf_init(&text, 0);
    if (is_sqlite(uri) || !mt_uri_split(uri, &parts)) {
        mt_buf_append_string(&text, uri);
        return take_text(&text, out, error);
    }
    mt_buf_append(&text, uri, (size_t)(parts.hosts.data + parts.hosts.length - uri));
    append_slice(&text, parts.path);
    if (parts.path.length == 0)
        mt_buf_append_char(&text, '/');
    rest = parts.options;
    while (mt_uri_next_option(&rest, &name, &value)) {
        if (is_ours(name) || name.length == 0)
            continue;
        mt_buf_append_char(&text, divider);
        divider = '&';
        append_slice(&text, name);
        if (value.data != NULL)
            mt_buf_append_char(&text, '=');
        append_slice(&text, value);
    }
    return take_text(&text, out, error);
}

enum mt_err mt_store_uri_database(const char *uri, char **database, struct mt_error *error)
{
    struct mt_uri_parts parts;
    struct mt_slice path = {0};

    if (!is_sqlite(uri) && mt_uri_split(uri, &parts))
        path = parts.path;
    if (path.length < 2)
        return take_decoded(mt_slice_of(default_database), "database", database, error);
    return take_decoded((struct mt_slice){path.data + 1, path.length - 1}, "database", database,
                        error);
}

enum mt_err mt_store_uri_token(const char *uri, char **token, struct mt_error *error)
{
    struct mt_uri_parts parts;

    *token = NULL;
    if (is_sqlite(uri) || !mt_uri_split(uri, &parts) || parts.user.length == 0)
        return MT_OK;
    return take_decoded(parts.user, "token", token, error);
}

static char *sqlite_destination(const char *uri)
{
    const char *path = uri + sizeof sqlite_scheme - 1;
    char *directory;
    char *name = NULL;

    if (path[0] == '/')
        return strdup(uri);
    while (strncmp(path, "./", 2) == 0)
        path += 2;
    directory = getcwd(NULL, 0);
    if (directory != NULL && asprintf(&name, "%s%s/%s", sqlite_scheme, directory, path) < 0)
        name = NULL;
    free(directory);
    return name;
}

/* One host, in lower case if it is a name that DNS resolves (a socket's path begins with %2F). */
static void append_host(struct mt_buf *out, struct mt_slice host, const char *usual_port)
{
    size_t port = strlen(usual_port);

    if (host.length > port && memcmp(host.data + host.length - port, usual_port, port) == 0)
        host.length -= port;
    for (size_t i = 0; i < host.length; i++) {
        unsigned char c = (unsigned char)host.data[i];
        bool capital = c >= 'A' && c <= 'Z' && memchr(host.data, '%', host.length) == NULL;

        mt_buf_append_char(out, (char)(capital ? c | 0x20 : c));
    }
}

static void append_hosts(struct mt_buf *out, struct mt_slice hosts, const char *usual_port)
{
    while (hosts.length > 0) {
        const char *comma = memchr(hosts.data, ',', hosts.length);
        size_t length = comma != NULL ? (size_t)(comma - hosts.data) : hosts.length;

        append_host(out, (struct mt_slice){hosts.data, length}, usual_port);
        if (comma != NULL)
            mt_buf_append_char(out, ',');
        hosts.data += length + (comma != NULL);
        hosts.length -= length + (comma != NULL);
    }
}

static void append_mongodb_place(struct mt_buf *out, const char *uri)
{
    char *database = NULL;
    char *collection = NULL;

    if (mt_store_uri_database(uri, &database, NULL) != MT_OK ||
        mt_store_uri_option(uri, "collection", &collection, NULL) != MT_OK) {
        out->failed = true;
    } else {
        mt_buf_append_char(out, '/');
        mt_uri_encode(mt_slice_of(database), out);
        if (collection != NULL && strcmp(collection, default_collection) != 0) {
            mt_buf_append_string(out, "?collection=");
            mt_uri_encode(mt_slice_of(collection), out);
        }
    }
    free(database);
    free(collection);
}

static char *remote_destination(const char *uri, const struct mt_uri_parts *parts)
{
    bool is_http = mt_uri_is(parts, "http");
    bool is_https = mt_uri_is(parts, "https");
    struct mt_slice path = parts->path;
    struct mt_buf out;

    mt_buf_init(&out, 0);
    append_slice(&out, parts->scheme);
    mt_buf_append_string(&out, "://");
    append_hosts(&out, parts->hosts, is_http ? ":80" : is_https ? ":443" : ":27017");
    if (is_http || is_https) {
        while (path.length > 0 && path.data[path.length - 1] == '/')
            path.length--;
        append_slice(&out, path);
    } else {
        append_mongodb_place(&out, uri);
    }
    if (mt_buf_string(&out) == NULL)
        mt_buf_fini(&out);
    return out.data;
}

/* A URI that did not pass the check, whose parts may not be what they seem. */
static char *masked_destination(const char *uri)
{
    char masked[1024];

    mt_setting_mask(MT_SETTING_STORE, uri, masked, sizeof masked);
    return strdup(masked);
}

char *mt_store_destination(const char *uri)
{
    struct mt_uri_parts parts;
    struct mt_buf decoded;
    bool good;

    if (is_sqlite(uri))
        return sqlite_destination(uri);
    if (!mt_uri_split(uri, &parts) || memchr(parts.path.data, '@', strlen(parts.path.data)) != NULL)
        return masked_destination(uri);
    mt_buf_init(&decoded, 0);
    good = mt_uri_decode(mt_slice_of(uri), &decoded) || decoded.failed;
    mt_buf_fini(&decoded);
    return good ? remote_destination(uri, &parts) : masked_destination(uri);
}
