/*
 * The check of a store's URI and what is made of one that passes. Any bytes as a URI; and, since
 * nobody can be trusted to percent-encode a password, any bytes around a password in one.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/setting.h"
#include "store/uri.h"
#include "store/uri_check.h"

#define SECRET "hUnter2hUnter2"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void want(bool holds, const char *what)
{
    if (holds)
        return;
    (void)fprintf(stderr, "%s\n", what);
    abort();
}

static char *destination_of(const char *uri)
{
    char *name = mt_store_destination(uri);

    want(name != NULL, "no destination");
    return name;
}

/* What may be said of a place may be given as one, and means the same. */
static void check_destination(const char *uri)
{
    char *name = destination_of(uri);
    char *again = destination_of(name);
    struct mt_error error = {0};

    want(strcmp(name, again) == 0, "a destination has another one");
    want(strchr(name, '@') == NULL, "a destination with a user");
    want(mt_uri_check(name, false, MT_ERR_CONFIG, &error) == MT_OK, "a destination that is no URI");
    free(again);
    free(name);
}

static void check_parts(const char *uri)
{
    static const char *const options[] = {"collection", "maxData", "tlsCAFile", "w"};
    char *text = NULL;
    char *again = NULL;

    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        want(mt_store_uri_option(uri, options[i], &text, NULL) == MT_OK, "an option is unreadable");
        free(text);
    }
    want(mt_store_uri_database(uri, &text, NULL) == MT_OK, "the database is unreadable");
    free(text);
    want(mt_store_uri_token(uri, &text, NULL) == MT_OK, "the token is unreadable");
    free(text);
    want(mt_store_uri_without_ours(uri, &text, NULL) == MT_OK, "nothing for the driver");
    want(mt_uri_check(text, true, MT_ERR_CONFIG, NULL) == MT_OK, "nonsense for the driver");
    want(mt_store_uri_without_ours(text, &again, NULL) == MT_OK && strcmp(text, again) == 0,
         "something of ours is left");
    free(again);
    free(text);
}

static void check(const char *uri)
{
    for (int insecure = 0; insecure < 2; insecure++) {
        struct mt_error error = {0};
        enum mt_err result = mt_uri_check(uri, insecure != 0, MT_ERR_USAGE, &error);

        want(result == error.code, "the error is not the result");
        want(result == MT_OK || (result == MT_ERR_USAGE && error.text[0] != '\0'), "no reason");
        if (result != MT_OK)
            continue;
        check_destination(uri);
        check_parts(uri);
    }
    free(destination_of(uri));
}

static void look_for_secret(const char *text, const char *what)
{
    want(strstr(text, SECRET) == NULL, what);
}

/* A URI with a secret in it, which shows in nothing whether the URI is right or wrong. */
static void hide(const char *before, const char *within, const char *after)
{
    struct mt_error error = {0};
    char shown[8192];
    char *uri = NULL;
    char *name;

    if (asprintf(&uri, "%s%s" SECRET "%s%s", before, within, within, after) < 0)
        return;
    (void)mt_uri_check(uri, false, MT_ERR_CONFIG, &error);
    look_for_secret(error.text, "a secret in an error");
    mt_setting_mask(MT_SETTING_STORE, uri, shown, sizeof shown);
    look_for_secret(shown, "a secret where it should be masked");
    name = destination_of(uri);
    /* `&collection=` within the password of an option is a collection to everybody */
    if (strchr(before, '?') == NULL || strchr(within, '&') == NULL)
        look_for_secret(name, "a secret in a destination");
    free(name);
    free(uri);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    if (text == NULL)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    if (strncmp(text, "sqlite:", 7) != 0)
        check(text);
    hide("mongodb://u:", text, "@h/db?w=1");
    hide("mongodb://", text, ":p@h");
    hide("https://", text, "@h/prefix");
    hide("mongodb://h/db?tlsCertificateKeyFilePassword=", text, "&w=1");
    hide("mongodb://u:p@h/?authMechanismProperties=X:", text, "");
    free(text);
    return 0;
}
