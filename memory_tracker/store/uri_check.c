#include "store/uri_check.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "store/uri_option.h"
#include "store/uri_part.h"

enum {
    HOST_MOST_BYTES = 255,
    SOCKET_MOST_BYTES = 107, /* sun_path less its NUL */
    DATABASE_MOST_BYTES = 63,
    /* what MongoDB 3.6 takes for DATABASE.COLLECTION.$INDEX with our longest index name */
    NAMESPACE_MOST_BYTES = 110,
};

static const char letters_and_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

struct check {
    struct mt_uri_parts parts;
    struct mt_uri_options options;
    enum mt_uri_scheme scheme;
    bool is_srv;
    bool allow_insecure;
    bool is_local; /* all hosts are this machine */
    size_t host_count;
    enum mt_err code;
};

static bool consists_of(struct mt_slice text, const char *others)
{
    for (size_t i = 0; i < text.length; i++)
        if (strchr(letters_and_digits, text.data[i]) == NULL &&
            strchr(others, text.data[i]) == NULL)
            return false;
    return true;
}

/* What holds for a URI whatever its scheme; nothing of it is quoted, since any part may be a
 * password that nobody encoded. */
static enum mt_err check_characters(const struct check *check, const char *uri,
                                    struct mt_error *error)
{
    const struct mt_uri_parts *parts = &check->parts;

    for (const char *c = uri; *c != '\0'; c++) {
        if ((unsigned char)*c <= 0x20 || (unsigned char)*c >= 0x7F)
            return mt_error_set(error, check->code,
                                "a space, a control character or one outside ASCII; "
                                "percent-encode it");
        if (*c == '%' && (mt_hex_digit(c[1]) < 0 || mt_hex_digit(c[2]) < 0))
            return mt_error_set(error, check->code,
                                "a %% without two hexadecimal digits; a %% itself is written %%25");
        if (*c == '%' && c[1] == '0' && c[2] == '0')
            return mt_error_set(error, check->code, "%%00 cannot be part of anything");
        if (*c == '#')
            return mt_error_set(error, check->code, "a # is written %%23");
    }
    if (memchr(parts->path.data, '@', strlen(parts->path.data)) != NULL)
        return mt_error_set(error, check->code,
                            "an @ after the hosts; in a user, a password and an option write %%40, "
                            "and there / is %%2F, : %%3A, ? %%3F, %% %%25");
    return MT_OK;
}

static enum mt_err check_text(const struct check *check, struct mt_slice encoded, const char *what,
                              struct mt_error *error)
{
    struct mt_buf text;
    bool good;

    mt_buf_init(&text, 0);
    good = mt_uri_decode(encoded, &text) &&
           mt_utf8_is_valid(text.length > 0 ? text.data : "", text.length);
    mt_buf_fini(&text);
    return good ? MT_OK : mt_error_set(error, check->code, "%s is not UTF-8", what);
}

static enum mt_err check_user(const struct check *check, struct mt_error *error)
{
    static const char encode[] = "percent-encode it: @ is %40, : %3A, / %2F, ? %3F, % %25";
    struct mt_slice user = check->parts.user;
    struct mt_slice password = {0};
    const char *colon = user.length > 0 ? memchr(user.data, ':', user.length) : NULL;
    const char *mechanism = check->options.value[MT_URI_authMechanism];
    bool needs_password;
    enum mt_err result;

    if (!check->parts.has_user)
        return MT_OK;
    if (colon != NULL) {
        password = (struct mt_slice){colon + 1, user.length - (size_t)(colon - user.data) - 1};
        user.length = (size_t)(colon - user.data);
    }
    if (user.length == 0)
        return mt_error_set(error, check->code, "nothing stands before the %s",
                            colon != NULL ? ":" : "@");
    if (!consists_of(user, "-._~%!$&'()*+,;=") || !consists_of(password, "-._~%!$&'()*+,;="))
        return mt_error_set(error, check->code,
                            "a special character in the user or the password; %s", encode);
    if (check->scheme != MT_URI_MONGODB)
        return colon == NULL
                   ? MT_OK
                   : mt_error_set(error, check->code,
                                  "a token stands alone before the @, without a : (or %%3A in it)");
    needs_password = mechanism == NULL || strncmp(mechanism, "SCRAM-", 6) == 0 ||
                     strcmp(mechanism, "PLAIN") == 0 || strcmp(mechanism, "MONGODB-AWS") == 0;
    if (password.length == 0 && needs_password)
        return mt_error_set(error, check->code, "a user without a password");
    if (colon != NULL && mechanism != NULL && strcmp(mechanism, "MONGODB-X509") == 0)
        return mt_error_set(error, check->code,
                            "a password, but authMechanism=MONGODB-X509 takes none");
    result = check_text(check, user, "the user", error);
    return result == MT_OK ? check_text(check, password, "the password", error) : result;
}

static enum mt_err check_token(const struct check *check, struct mt_error *error)
{
    struct mt_buf token;
    bool good;

    if (check->scheme == MT_URI_MONGODB || !check->parts.has_user)
        return MT_OK;
    mt_buf_init(&token, 0);
    good = mt_uri_decode(check->parts.user, &token);
    for (size_t i = 0; good && i < token.length; i++)
        good = (unsigned char)token.data[i] > 0x20 && (unsigned char)token.data[i] < 0x7F;
    mt_buf_fini(&token);
    if (!good)
        return mt_error_set(error, check->code, "a token of other than visible ASCII characters");
    if (check->scheme == MT_URI_HTTP && !check->is_local && !check->allow_insecure)
        return mt_error_set(error, check->code,
                            "a token over http:// to another machine, where everybody on the way "
                            "can read it; use https://, or set "
                            "MEMORY_TRACKER_ALLOW_INSECURE_TLS=yes");
    return MT_OK;
}

static bool is_loopback_name(const char *host)
{
    size_t length = strlen(host);
    struct in_addr address;

    if (inet_pton(AF_INET, host, &address) == 1)
        return ntohl(address.s_addr) >> 24 == 127;
    return strcasecmp(host, "localhost") == 0 ||
           (length > 10 && strcasecmp(host + length - 10, ".localhost") == 0);
}

static enum mt_err check_port(const struct check *check, struct mt_slice port,
                              struct mt_error *error)
{
    int64_t number;

    /* without zeros before it: a destination has one spelling */
    if (port.length > 0 && port.data[0] != '0' && mt_parse_i64_range(port, 1, 65535, &number))
        return MT_OK;
    return mt_error_set(error, check->code,
                        "host %zu: what follows its : is no port from 1 to 65535",
                        check->host_count);
}

/* %2Ftmp%2Fmongodb.sock */
static enum mt_err check_socket(const struct check *check, struct mt_slice host,
                                struct mt_error *error)
{
    struct mt_buf path;
    bool good;

    mt_buf_init(&path, 0);
    good = mt_uri_decode(host, &path) && path.length > 6 && path.length <= SOCKET_MOST_BYTES &&
           path.data[0] == '/' && memcmp(path.data + path.length - 5, ".sock", 5) == 0 &&
           check->scheme == MT_URI_MONGODB && !check->is_srv;
    mt_buf_fini(&path);
    return good ? MT_OK
                : mt_error_set(error, check->code,
                               "host %zu: only the path of a mongodb:// server's socket is "
                               "percent-encoded, as in %%2Ftmp%%2Fmongodb.sock",
                               check->host_count);
}

static enum mt_err check_v6(struct check *check, struct mt_slice host, struct mt_error *error)
{
    const char *end = memchr(host.data, ']', host.length);
    size_t length = end != NULL ? (size_t)(end - host.data) - 1 : 0;
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;

    if (length == 0 || length >= sizeof text)
        return mt_error_set(error, check->code, "host %zu: a [ without an address and a ]",
                            check->host_count);
    memcpy(text, host.data + 1, length);
    text[length] = '\0';
    if (inet_pton(AF_INET6, text, &address) != 1 || check->is_srv)
        return mt_error_set(error, check->code, "host %zu: no IPv6 address stands in its brackets",
                            check->host_count);
    check->is_local = check->is_local && IN6_IS_ADDR_LOOPBACK(&address);
    host.data += length + 2;
    host.length -= length + 2;
    if (host.length == 0)
        return MT_OK;
    if (host.data[0] != ':')
        return mt_error_set(error, check->code, "host %zu: a : or nothing follows the ]",
                            check->host_count);
    return check_port(check, (struct mt_slice){host.data + 1, host.length - 1}, error);
}

static enum mt_err check_host(struct check *check, struct mt_slice host, struct mt_error *error)
{
    const char *colon = host.length > 0 ? memchr(host.data, ':', host.length) : NULL;
    size_t length = colon != NULL ? (size_t)(colon - host.data) : host.length;
    char name[HOST_MOST_BYTES + 1];

    check->host_count++;
    if (host.length > 0 && memchr(host.data, '%', host.length) != NULL)
        return check_socket(check, host, error);
    if (host.length > 0 && host.data[0] == '[')
        return check_v6(check, host, error);
    if (length == 0)
        return mt_error_set(error, check->code, "host %zu is missing%s", check->host_count,
                            colon != NULL ? " before its : (an IPv6 address stands in brackets)"
                                          : "");
    if (length > HOST_MOST_BYTES || !consists_of((struct mt_slice){host.data, length}, "-._"))
        return mt_error_set(error, check->code,
                            "host %zu: a name consists of letters, digits, - . and _; an IPv6 "
                            "address stands in brackets",
                            check->host_count);
    memcpy(name, host.data, length);
    name[length] = '\0';
    check->is_local = check->is_local && is_loopback_name(name);
    if (colon == NULL)
        return MT_OK;
    if (check->is_srv)
        return mt_error_set(error, check->code,
                            "mongodb+srv:// takes no port; DNS has it (or write mongodb://)");
    return check_port(check, (struct mt_slice){colon + 1, host.length - length - 1}, error);
}

static enum mt_err check_hosts(struct check *check, struct mt_error *error)
{
    struct mt_slice rest = check->parts.hosts;
    enum mt_err result = MT_OK;
    size_t dots = 0;

    check->is_local = true;
    for (bool more = true; more && result == MT_OK;) {
        const char *comma = rest.length > 0 ? memchr(rest.data, ',', rest.length) : NULL;
        size_t length = comma != NULL ? (size_t)(comma - rest.data) : rest.length;

        more = comma != NULL;
        result = check_host(check, (struct mt_slice){rest.data, length}, error);
        rest.data += length + more;
        rest.length -= length + more;
    }
    if (result != MT_OK)
        return result;
    if (check->host_count > 1 && (check->scheme != MT_URI_MONGODB || check->is_srv))
        return mt_error_set(error, check->code, "several hosts; only mongodb:// takes them");
    for (size_t i = 0; i < check->parts.hosts.length; i++)
        dots += check->parts.hosts.data[i] == '.';
    if (check->is_srv && dots < 2)
        return mt_error_set(error, check->code,
                            "mongodb+srv:// takes a name of three parts or more, such as "
                            "cluster.example.org");
    return MT_OK;
}

static enum mt_err check_database(const struct check *check, struct mt_error *error)
{
    struct mt_slice path = check->parts.path;
    const char *collection = check->options.value[MT_URI_collection];
    struct mt_buf name;
    const char *text;
    bool good = true;
    size_t length;

    if (path.length < 2)
        path = mt_slice_of("/memory_tracker");
    mt_buf_init(&name, 0);
    (void)mt_uri_decode((struct mt_slice){path.data + 1, path.length - 1}, &name);
    text = mt_buf_string(&name);
    if (text == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    length = name.length;
    for (size_t i = 0; i < length; i++)
        good = good && (unsigned char)text[i] > 0x20 && text[i] != 0x7F &&
               strchr("/\\. \"$*<>:|?", text[i]) == NULL;
    good = good && length <= DATABASE_MOST_BYTES && mt_utf8_is_valid(text, length);
    mt_buf_fini(&name);
    if (!good)
        return mt_error_set(error, check->code,
                            "what follows the hosts is no name of a database: at most %d bytes, "
                            "without spaces and / \\ . \" $ * < > : | ?",
                            DATABASE_MOST_BYTES);
    if (collection != NULL && length + 1 + strlen(collection) > NAMESPACE_MOST_BYTES)
        return mt_error_set(error, check->code,
                            "the names of the database and the collection have more than %d bytes "
                            "together",
                            NAMESPACE_MOST_BYTES - 1);
    return MT_OK;
}

static bool has(const struct check *check, enum mt_uri_option option)
{
    return check->options.value[option] != NULL;
}

static bool is_true(const struct check *check, enum mt_uri_option option)
{
    return mt_uri_option_is(&check->options, option, "true");
}

/* Options of which a URI has one at most: the driver refuses both, or takes any of them. */
static const enum mt_uri_option rivals[][2] = {
    {MT_URI_tls, MT_URI_ssl},
    {MT_URI_tlsCAFile, MT_URI_sslCertificateAuthorityFile},
    {MT_URI_tlsCertificateKeyFile, MT_URI_sslClientCertificateKeyFile},
    {MT_URI_tlsCertificateKeyFilePassword, MT_URI_sslClientCertificateKeyPassword},
    {MT_URI_tlsAllowInvalidCertificates, MT_URI_sslAllowInvalidCertificates},
    {MT_URI_tlsAllowInvalidHostnames, MT_URI_sslAllowInvalidHostnames},
    {MT_URI_tlsInsecure, MT_URI_tlsAllowInvalidCertificates},
    {MT_URI_tlsInsecure, MT_URI_tlsAllowInvalidHostnames},
    {MT_URI_tlsInsecure, MT_URI_sslAllowInvalidCertificates},
    {MT_URI_tlsInsecure, MT_URI_sslAllowInvalidHostnames},
    {MT_URI_tlsInsecure, MT_URI_tlsDisableCertificateRevocationCheck},
    {MT_URI_tlsInsecure, MT_URI_tlsDisableOCSPEndpointCheck},
    {MT_URI_tlsAllowInvalidCertificates, MT_URI_tlsDisableCertificateRevocationCheck},
    {MT_URI_tlsAllowInvalidCertificates, MT_URI_tlsDisableOCSPEndpointCheck},
    {MT_URI_sslAllowInvalidCertificates, MT_URI_tlsDisableCertificateRevocationCheck},
    {MT_URI_sslAllowInvalidCertificates, MT_URI_tlsDisableOCSPEndpointCheck},
    {MT_URI_tlsDisableCertificateRevocationCheck, MT_URI_tlsDisableOCSPEndpointCheck},
    {MT_URI_srvMaxHosts, MT_URI_replicaSet},
    {MT_URI_gssapiServiceName, MT_URI_authMechanismProperties},
};

static enum mt_err check_rivals(const struct check *check, struct mt_error *error)
{
    bool off = mt_uri_option_is(&check->options, MT_URI_tls, "false") ||
               mt_uri_option_is(&check->options, MT_URI_ssl, "false");

    for (size_t i = 0; i < sizeof rivals / sizeof rivals[0]; i++)
        if (has(check, rivals[i][0]) && has(check, rivals[i][1]))
            return mt_error_set(error, check->code, "options %s and %s exclude each other",
                                mt_uri_option_name(rivals[i][0]), mt_uri_option_name(rivals[i][1]));
    for (enum mt_uri_option i = 0; i < MT_URI_OPTION_COUNT; i++) {
        if (!has(check, i))
            continue;
        if (off && (mt_uri_option_flags(i) & MT_URI_TLS) != 0)
            return mt_error_set(error, check->code, "option %s, but TLS is switched off",
                                mt_uri_option_name(i));
        if (!check->is_srv && (mt_uri_option_flags(i) & MT_URI_SRV) != 0)
            return mt_error_set(error, check->code, "option %s: only mongodb+srv:// has it",
                                mt_uri_option_name(i));
    }
    return MT_OK;
}

static enum mt_err check_topology(const struct check *check, struct mt_error *error)
{
    bool many = check->host_count > 1 || check->is_srv;
    bool balanced = is_true(check, MT_URI_loadBalanced);
    bool direct = is_true(check, MT_URI_directConnection);

    if (direct && many)
        return mt_error_set(error, check->code,
                            "option directConnection: it takes one host and mongodb://");
    if (balanced && (check->host_count > 1 || direct || has(check, MT_URI_replicaSet) ||
                     (has(check, MT_URI_srvMaxHosts) &&
                      !mt_uri_option_is(&check->options, MT_URI_srvMaxHosts, "0"))))
        return mt_error_set(error, check->code,
                            "option loadBalanced: it takes one host, and neither replicaSet nor "
                            "directConnection nor srvMaxHosts");
    return MT_OK;
}

static enum mt_err check_reading(const struct check *check, struct mt_error *error)
{
    const char *staleness = check->options.value[MT_URI_maxStalenessSeconds];
    bool from_primary = !has(check, MT_URI_readPreference) ||
                        mt_uri_option_is(&check->options, MT_URI_readPreference, "primary");
    bool any_age = staleness == NULL || strcmp(staleness, "-1") == 0;

    if (!any_age && strtol(staleness, NULL, 10) < 90)
        return mt_error_set(error, check->code,
                            "option maxStalenessSeconds: bad value '%s': give 90 or more, or -1",
                            staleness);
    if (from_primary && (!any_age || has(check, MT_URI_readPreferenceTags)))
        return mt_error_set(error, check->code,
                            "option %s: it says which secondary to read from; give readPreference, "
                            "too",
                            any_age ? "readPreferenceTags" : "maxStalenessSeconds");
    return MT_OK;
}

static enum mt_err check_login(const struct check *check, struct mt_error *error)
{
    const char *mechanism = check->options.value[MT_URI_authMechanism];
    bool external;
    bool needs_user;

    if (mechanism == NULL) {
        if (has(check, MT_URI_authMechanismProperties))
            return mt_error_set(error, check->code,
                                "option authMechanismProperties: give authMechanism, too");
        return MT_OK;
    }
    external = strcmp(mechanism, "GSSAPI") == 0 || strcmp(mechanism, "MONGODB-X509") == 0 ||
               strcmp(mechanism, "MONGODB-AWS") == 0;
    needs_user = strcmp(mechanism, "MONGODB-X509") != 0 && strcmp(mechanism, "MONGODB-AWS") != 0;
    if (needs_user && !check->parts.has_user)
        return mt_error_set(error, check->code, "option authMechanism: %s takes a user", mechanism);
    if (external && has(check, MT_URI_authSource) &&
        !mt_uri_option_is(&check->options, MT_URI_authSource, "$external"))
        return mt_error_set(error, check->code,
                            "option authSource: with authMechanism=%s it is %%24external, or left "
                            "out",
                            mechanism);
    return MT_OK;
}

/* Of all mechanisms this one sends the password itself. */
static enum mt_err check_plain(const struct check *check, struct mt_error *error)
{
    bool encrypted = check->is_srv || is_true(check, MT_URI_tls) || is_true(check, MT_URI_ssl);

    if (mt_uri_option_is(&check->options, MT_URI_tls, "false") ||
        mt_uri_option_is(&check->options, MT_URI_ssl, "false"))
        encrypted = false;
    else
        for (enum mt_uri_option i = 0; i < MT_URI_OPTION_COUNT; i++)
            encrypted = encrypted || (has(check, i) && (mt_uri_option_flags(i) & MT_URI_TLS) != 0);
    if (encrypted || check->is_local || check->allow_insecure ||
        !mt_uri_option_is(&check->options, MT_URI_authMechanism, "PLAIN"))
        return MT_OK;
    return mt_error_set(error, check->code,
                        "authMechanism=PLAIN without TLS to another machine, where everybody on "
                        "the way can read the password; add tls=true, or set "
                        "MEMORY_TRACKER_ALLOW_INSECURE_TLS=yes");
}

static enum mt_err check_prefix(const struct check *check, struct mt_error *error)
{
    if (consists_of(check->parts.path, "/-._~%!$&'()*+,;=:"))
        return MT_OK;
    return mt_error_set(error, check->code,
                        "a special character in what follows the host; percent-encode it");
}

static enum mt_err check_all(struct check *check, const char *uri, struct mt_error *error)
{
    enum mt_err (*const of_mongodb[])(const struct check *, struct mt_error *) = {
        check_user,  check_database, check_rivals,  check_topology,
        check_login, check_plain,    check_reading,
    };
    enum mt_err (*const of_http[])(const struct check *,
                                   struct mt_error *) = {check_user, check_token, check_prefix};
    bool is_mongodb = check->scheme == MT_URI_MONGODB;
    size_t count =
        is_mongodb ? sizeof of_mongodb / sizeof of_mongodb[0] : sizeof of_http / sizeof of_http[0];
    enum mt_err result = check_characters(check, uri, error);

    if (result == MT_OK)
        result = check_hosts(check, error);
    if (result == MT_OK)
        result = mt_uri_options_read(check->parts.options, check->scheme, check->allow_insecure,
                                     check->code, &check->options, error);
    for (size_t i = 0; i < count && result == MT_OK; i++)
        result = is_mongodb ? of_mongodb[i](check, error) : of_http[i](check, error);
    return result;
}

enum mt_err mt_uri_check(const char *uri, bool allow_insecure, enum mt_err code,
                         struct mt_error *error)
{
    struct check check = {.allow_insecure = allow_insecure, .code = code};
    enum mt_err result;

    if (!mt_uri_split(uri, &check.parts))
        return mt_error_set(error, code, "a URI has a :// after its scheme");
    check.is_srv = mt_uri_is(&check.parts, "mongodb+srv");
    if (check.is_srv || mt_uri_is(&check.parts, "mongodb"))
        check.scheme = MT_URI_MONGODB;
    else if (mt_uri_is(&check.parts, "http"))
        check.scheme = MT_URI_HTTP;
    else if (mt_uri_is(&check.parts, "https"))
        check.scheme = MT_URI_HTTPS;
    else
        return mt_error_set(error, code,
                            "an unknown scheme; known are mongodb, mongodb+srv, http "
                            "and https");
    result = check_all(&check, uri, error);
    mt_uri_options_free(&check.options);
    return result;
}
