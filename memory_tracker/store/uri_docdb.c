#include "store/uri_docdb.h"

#include <string.h>

#include "store/uri_part.h"

static bool is_given(const struct mt_config *config, enum mt_setting setting)
{
    return mt_config_origin(config, setting) != MT_ORIGIN_DEFAULT &&
           mt_config_string(config, setting)[0] != '\0';
}

enum mt_setting mt_docdb_given(const struct mt_config *config)
{
    for (enum mt_setting i = MT_SETTING_DOCDB_HOST; i <= MT_SETTING_DOCDB_MAX_DATA; i++)
        if (is_given(config, i))
            return i;
    return MT_SETTING_COUNT;
}

static void append_host(struct mt_buf *uri, struct mt_slice host, const char *port)
{
    const char *first = host.length > 0 ? memchr(host.data, ':', host.length) : NULL;
    const char *last = host.length > 0 ? memrchr(host.data, ':', host.length) : NULL;
    bool has_brackets = host.length > 0 && host.data[0] == '[';
    bool is_bare_v6 = !has_brackets && first != last;
    bool has_port = has_brackets ? last != NULL && last[-1] == ']' : first != NULL && !is_bare_v6;

    mt_buf_printf(uri, is_bare_v6 ? "[%.*s]" : "%.*s", (int)host.length, host.data);
    if (!has_port)
        mt_buf_printf(uri, ":%s", port);
}

static void append_hosts(struct mt_buf *uri, const char *hosts, const char *port)
{
    for (;;) {
        size_t length = strcspn(hosts, ",");

        append_host(uri, (struct mt_slice){hosts, length}, port);
        if (hosts[length] == '\0')
            return;
        mt_buf_append_char(uri, ',');
        hosts += length + 1;
    }
}

static bool find_option(struct mt_slice options, const char *name, struct mt_slice *value)
{
    struct mt_slice found;

    while (mt_uri_next_option(&options, &found, value))
        if (mt_uri_equal(found, name))
            return true;
    return false;
}

/*
 * DOCDB_DATABASE_NAME, in the path, would also be where the driver looks for the user. Where the
 * options do not name that place, their own path does; else it is admin, as with a URI without
 * path.
 */
static void append_auth_source(struct mt_buf *uri, struct mt_slice path, struct mt_slice options)
{
    static const char *const external[] = {"MONGODB-X509", "MONGODB-AWS", "GSSAPI", "PLAIN"};
    struct mt_slice value;

    if (find_option(options, "authSource", &value))
        return;
    if (find_option(options, "authMechanism", &value))
        for (size_t i = 0; i < sizeof external / sizeof external[0]; i++)
            if (mt_slice_equal(value, external[i]))
                return;
    mt_buf_append_string(uri, "authSource=");
    if (path.length > 0)
        mt_buf_append(uri, path.data, path.length);
    else
        mt_buf_append_string(uri, "admin");
    mt_buf_append_char(uri, '&');
}

static void append_options(struct mt_buf *uri, const struct mt_config *config)
{
    const char *text = mt_config_string(config, MT_SETTING_DOCDB_OPTIONS);
    struct mt_slice path = {0};
    struct mt_slice options;
    struct mt_slice value;

    if (text[0] == '/') {
        path = (struct mt_slice){text + 1, strcspn(text + 1, "?")};
        text = path.data + path.length;
    }
    options = mt_slice_of(text[0] == '?' || text[0] == '&' ? text + 1 : text);
    mt_buf_append_char(uri, '?');
    if (is_given(config, MT_SETTING_DOCDB_USER))
        append_auth_source(uri, path, options);
    if (options.length > 0) {
        mt_buf_append(uri, options.data, options.length);
        mt_buf_append_char(uri, '&');
    }
    if (!find_option(options, "retryWrites", &value))
        mt_buf_append_string(uri, "retryWrites=false&");
    if (is_given(config, MT_SETTING_DOCDB_COLLECTION)) {
        mt_buf_append_string(uri, "collection=");
        mt_uri_encode(mt_slice_of(mt_config_string(config, MT_SETTING_DOCDB_COLLECTION)), uri);
        mt_buf_append_char(uri, '&');
    }
    if (is_given(config, MT_SETTING_DOCDB_MAX_DATA)) {
        mt_buf_append_string(uri, "maxData=");
        mt_buf_append_i64(uri, mt_config_number(config, MT_SETTING_DOCDB_MAX_DATA));
        mt_buf_append_char(uri, '&');
    }
    /* the last divider, or the ? where nothing followed */
    if (uri->length > 0)
        uri->length--;
}

enum mt_err mt_uri_from_docdb(const struct mt_config *config, struct mt_buf *uri,
                              struct mt_error *error)
{
    bool has_user = is_given(config, MT_SETTING_DOCDB_USER);
    bool has_secret = is_given(config, MT_SETTING_DOCDB_SECRET);

    if (has_secret && !has_user)
        return mt_error_set(error, MT_ERR_CONFIG,
                            "%s: a password without a user; set DOCDB_USER, too",
                            mt_config_source(config, MT_SETTING_DOCDB_SECRET));
    mt_buf_append_string(uri, "mongodb://");
    if (has_user) {
        mt_uri_encode(mt_slice_of(mt_config_string(config, MT_SETTING_DOCDB_USER)), uri);
        if (has_secret) {
            mt_buf_append_char(uri, ':');
            mt_uri_encode(mt_slice_of(mt_config_string(config, MT_SETTING_DOCDB_SECRET)), uri);
        }
        mt_buf_append_char(uri, '@');
    }
    append_hosts(uri, mt_config_string(config, MT_SETTING_DOCDB_HOST),
                 mt_config_string(config, MT_SETTING_DOCDB_PORT));
    mt_buf_append_char(uri, '/');
    mt_uri_encode(mt_slice_of(mt_config_string(config, MT_SETTING_DOCDB_DATABASE_NAME)), uri);
    append_options(uri, config);
    return MT_OK;
}
