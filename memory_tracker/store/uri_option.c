#include "store/uri_option.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum option_type { BOOL, INTEGER, TEXT, PATH, WORD, WORDS, TAGS, SERVICE, CONCERN, COLLECTION };

struct row {
    const char *name;
    unsigned schemes;
    enum option_type type;
    int64_t least, most;
    unsigned flags;
    const char *words;
};

enum {
    MONGODB = MT_URI_MONGODB,
    HTTPS = MT_URI_HTTPS,
    OURS = MT_URI_OURS,
    SECRET = MT_URI_SECRET,
    INSECURE = MT_URI_INSECURE,
    TLS = MT_URI_TLS,
    SRV = MT_URI_SRV,
    REPEATED = MT_URI_REPEATED,
};

static const struct row rows[MT_URI_OPTION_COUNT] = {
#define MT_URI_OPTION(name, schemes, type, least, most, flags, words)                              \
    [MT_URI_##name] = {#name, schemes, type, least, most, flags, words},
#define MT_URI_REFUSED(name, why)
#include "store/uri_option.def"
#undef MT_URI_OPTION
#undef MT_URI_REFUSED
};

static const struct {
    const char *name;
    const char *why;
} refused[] = {
#define MT_URI_OPTION(name, ...)
#define MT_URI_REFUSED(name, why) {#name, why},
#include "store/uri_option.def"
#undef MT_URI_OPTION
#undef MT_URI_REFUSED
};

enum { REFUSED_COUNT = sizeof refused / sizeof refused[0] };
enum { RIGHT_BYTES = 256 };

const char *mt_uri_option_name(enum mt_uri_option option)
{
    return rows[option].name;
}

unsigned mt_uri_option_flags(enum mt_uri_option option)
{
    return rows[option].flags;
}

bool mt_uri_option_is(const struct mt_uri_options *options, enum mt_uri_option option,
                      const char *value)
{
    return options->value[option] != NULL && strcmp(options->value[option], value) == 0;
}

const char *mt_uri_collection_check(const char *name)
{
    size_t length = strlen(name);
    bool good = length > 0 && name[0] != '.' && name[length - 1] != '.' &&
                strchr(name, '$') == NULL && strstr(name, "..") == NULL &&
                strncmp(name, "system.", 7) != 0 && mt_utf8_is_valid(name, length);

    for (size_t i = 0; i < length && good; i++)
        good = (unsigned char)name[i] > 0x20 && name[i] != 0x7F;
    return good ? NULL
                : "the name of a collection: no spaces, no $, not system. at its beginning, no "
                  "empty part between dots";
}

static bool is_word(const char *words, struct mt_slice word)
{
    while (*words != '\0') {
        size_t length = strcspn(words, "|");
        if (length == word.length && memcmp(words, word.data, length) == 0)
            return true;
        words += length + (words[length] == '|');
    }
    return false;
}

static bool are_words(const char *words, const char *value)
{
    for (;; value++) {
        size_t length = strcspn(value, ",");
        if (!is_word(words, (struct mt_slice){value, length}))
            return false;
        value += length;
        if (*value == '\0')
            return true;
    }
}

/* How many members confirm a write: a number, majority, or a name that the replica set defines. */
static const char *check_concern(const char *value)
{
    static const char *const majority[] = {"majority"};
    int64_t members;

    if (mt_parse_i64(mt_slice_of(value), &members)) {
        if (members == 0)
            return "1 or more, or majority: with 0 the server would not acknowledge that a record "
                   "is stored";
        return members > 0 && members <= 50 ? NULL : "a number from 1 to 50, or majority";
    }
    if (value[0] == '\0' ||
        (strcmp(value, majority[0]) != 0 && mt_text_nearest(value, majority, 1) != NULL))
        return "majority, a number from 1 to 50, or a name that the replica set defines";
    return NULL;
}

/* dc:ny,rack:1; nothing at all means any member */
static bool are_tags(const char *value)
{
    while (*value != '\0') {
        size_t length = strcspn(value, ",");
        const char *colon = memchr(value, ':', length);

        if (colon == NULL || colon == value || (size_t)(colon - value) + 1 == length)
            return false;
        value += length;
        if (*value == ',' && *++value == '\0')
            return false;
    }
    return true;
}

/* The name of a service in DNS, without its underscore, as RFC 6335 has it. */
static bool is_service(const char *value, size_t most)
{
    size_t length = strlen(value);
    size_t letters = 0;

    for (size_t i = 0; i < length; i++) {
        char c = (char)(value[i] | 0x20);
        if (c >= 'a' && c <= 'z')
            letters++;
        else if ((value[i] < '0' || value[i] > '9') && value[i] != '-')
            return false;
    }
    return letters > 0 && length <= most && value[0] != '-' && value[length - 1] != '-' &&
           strstr(value, "--") == NULL;
}

/* NULL if the value is right, else what would be, in `right` or static. */
static const char *check_value(const struct row *row, const char *value, char right[RIGHT_BYTES])
{
    size_t length = strlen(value);
    int64_t number;

    switch (row->type) {
    case BOOL:
        return strcmp(value, "true") == 0 || strcmp(value, "false") == 0 ? NULL : "true or false";
    case INTEGER:
        (void)snprintf(right, RIGHT_BYTES, "a whole number from %lld to %lld",
                       (long long)row->least, (long long)row->most);
        return mt_parse_i64_range(mt_slice_of(value), row->least, row->most, &number) ? NULL
                                                                                      : right;
    case TEXT:
    case PATH:
        (void)snprintf(right, RIGHT_BYTES, "%s of %lld to %lld bytes of UTF-8",
                       row->type == PATH ? "the path of a file" : "a text", (long long)row->least,
                       (long long)row->most);
        return length >= (size_t)row->least && length <= (size_t)row->most &&
                       mt_utf8_is_valid(value, length)
                   ? NULL
                   : right;
    case WORD:
        return is_word(row->words, mt_slice_of(value)) ? NULL : row->words;
    case WORDS:
        (void)snprintf(right, RIGHT_BYTES, "%s, several divided by commas", row->words);
        return are_words(row->words, value) ? NULL : right;
    case TAGS:
        return are_tags(value) ? NULL : "NAME:VALUE, several divided by commas, or nothing";
    case SERVICE:
        return is_service(value, (size_t)row->most)
                   ? NULL
                   : "letters, digits and single hyphens between them, such as mongodb";
    case CONCERN:
        return check_concern(value);
    case COLLECTION:
        return mt_uri_collection_check(value);
    }
    return NULL;
}

static enum mt_err unknown_option(struct mt_slice name, enum mt_uri_scheme scheme, enum mt_err code,
                                  struct mt_error *error)
{
    const char *names[MT_URI_OPTION_COUNT];
    const char *nearest;
    size_t count = 0;
    char copy[64];

    for (size_t i = 0; i < REFUSED_COUNT && scheme == MT_URI_MONGODB; i++)
        if (mt_uri_equal(name, refused[i].name))
            return mt_error_set(error, code, "option %s: %s", refused[i].name, refused[i].why);
    for (enum mt_uri_option i = 0; i < MT_URI_OPTION_COUNT; i++) {
        if (mt_uri_equal(name, rows[i].name))
            return mt_error_set(error, code, "option %s: only a %s URI has it", rows[i].name,
                                (rows[i].schemes & MT_URI_HTTPS) != 0 ? "mongodb:// or https://"
                                                                      : "mongodb://");
        if ((rows[i].schemes & scheme) != 0)
            names[count++] = rows[i].name;
    }
    (void)snprintf(copy, sizeof copy, "%.*s", (int)(name.length < 60 ? name.length : 60),
                   name.data);
    nearest = mt_text_nearest(copy, names, count);
    if (nearest == NULL)
        return mt_error_set(error, code, "unknown option '%s'; memory-tracker.conf(5) has the list",
                            copy);
    return mt_error_set(error, code, "unknown option '%s'; did you mean %s?", copy, nearest);
}

static bool find_row(struct mt_slice name, enum mt_uri_scheme scheme, enum mt_uri_option *option)
{
    for (enum mt_uri_option i = 0; i < MT_URI_OPTION_COUNT; i++) {
        if ((rows[i].schemes & scheme) != 0 && mt_uri_equal(name, rows[i].name)) {
            *option = i;
            return true;
        }
    }
    return false;
}

/* The value, decoded, where it belongs; what the first of a repeated option was stays. */
static enum mt_err keep_value(struct mt_uri_options *options, enum mt_uri_option option,
                              const char *value, struct mt_error *error)
{
    if (options->value[option] != NULL)
        return MT_OK;
    options->value[option] = strdup(value);
    return options->value[option] != NULL ? MT_OK
                                          : mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
}

static enum mt_err take_value(struct mt_uri_options *options, enum mt_uri_option option,
                              const char *value, bool secret, bool allow_insecure, enum mt_err code,
                              struct mt_error *error)
{
    const struct row *row = &rows[option];
    char buffer[RIGHT_BYTES];
    const char *right = check_value(row, value, buffer);

    if (options->value[option] != NULL && (row->flags & REPEATED) == 0)
        return mt_error_set(error, code, "option %s is given twice; keep one", row->name);
    if (right != NULL)
        return mt_error_set(error, code, "option %s: bad value '%.100s': give %s", row->name,
                            secret || !mt_utf8_is_valid(value, strlen(value)) ? "***" : value,
                            right);
    if ((row->flags & INSECURE) != 0 && strcmp(value, "true") == 0 && !allow_insecure)
        return mt_error_set(error, code,
                            "option %s: it would let strangers read and answer in the server's "
                            "place; leave it out and give tlsCAFile, or set "
                            "MEMORY_TRACKER_ALLOW_INSECURE_TLS=yes",
                            row->name);
    return keep_value(options, option, value, error);
}

enum mt_err mt_uri_options_read(struct mt_slice text, enum mt_uri_scheme scheme,
                                bool allow_insecure, enum mt_err code,
                                struct mt_uri_options *options, struct mt_error *error)
{
    const char *secret = NULL; /* the last option so far that may hold an & nobody encoded */
    struct mt_slice name;
    struct mt_slice value;
    struct mt_buf decoded;
    enum mt_err result = MT_OK;

    mt_buf_init(&decoded, 0);
    while (result == MT_OK && mt_uri_next_option(&text, &name, &value)) {
        enum mt_uri_option option = MT_URI_OPTION_COUNT;
        bool known = find_row(name, scheme, &option);

        if (name.length == 0 && value.data == NULL)
            continue;
        mt_buf_clear(&decoded);
        if (!known && secret != NULL)
            result = mt_error_set(error, code,
                                  "what follows %s is no option; an & in its value is written %%26",
                                  secret);
        else if (value.data == NULL)
            result = mt_error_set(error, code,
                                  "an option without a value; options are NAME=VALUE, divided by "
                                  "&, and an & in a value is written %%26");
        else if (!known)
            result = unknown_option(name, scheme, code, error);
        else if (!mt_uri_decode(value, &decoded) && !decoded.failed)
            result =
                mt_error_set(error, code, "option %s: a %% is written %%25", rows[option].name);
        else if (mt_buf_string(&decoded) == NULL)
            result = mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
        else {
            if ((rows[option].flags & SECRET) != 0)
                secret = rows[option].name;
            result = take_value(options, option, decoded.data, secret != NULL, allow_insecure, code,
                                error);
        }
    }
    mt_buf_fini(&decoded);
    return result;
}

void mt_uri_options_free(struct mt_uri_options *options)
{
    for (size_t i = 0; i < MT_URI_OPTION_COUNT; i++)
        free(options->value[i]);
    *options = (struct mt_uri_options){0};
}
