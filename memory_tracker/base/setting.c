#include "base/setting.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

static const struct mt_setting_info settings[MT_SETTING_COUNT] = {
#define MT_SETTING(name, option, type, fallback, least, most, programs, flags, placeholder, help)  \
    [MT_SETTING_##                                                                                 \
        name] = {#name, option, type, fallback, least, most, programs, flags, placeholder, help},
#include "base/setting.def"
#undef MT_SETTING
};

const struct mt_setting_info *mt_setting_info(enum mt_setting setting)
{
    return &settings[setting];
}

void mt_setting_mask(enum mt_setting setting, const char *value, char *out, size_t size)
{
    bool secret = (settings[setting].flags & MT_SETTING_SECRET) != 0;
    const char *scheme = strstr(value, "://");
    /* the last @: a password may hold an @, a / or a ? that nobody percent-encoded */
    const char *at = strrchr(value, '@');
    const char *rest = at != NULL ? at : value;
    size_t shown = strcspn(rest, "?");
    const char *question = strchr(value, '?');

    if (!secret || strncmp(value, "sqlite:", 7) == 0) {
        (void)snprintf(out, size, "%s", value);
        return;
    }
    if (at != NULL && question != NULL && question < at) {
        /* a password with a ? in it, or an option with an @ in it: there is no telling which */
        (void)snprintf(out, size, "%.*s***",
                       scheme != NULL && scheme < question ? (int)(scheme + 3 - value) : 0, value);
        return;
    }
    (void)snprintf(out, size, "%.*s%s%.*s%s",
                   at != NULL && scheme != NULL && scheme < at ? (int)(scheme + 3 - value) : 0,
                   value, at != NULL ? "***" : "", (int)shown, rest,
                   rest[shown] == '?' ? "?***" : "");
}

bool mt_address_parse(const char *text, size_t length, struct mt_address *address)
{
    struct mt_address parsed = {0};
    struct in6_addr binary;
    const char *colon;
    size_t host_length;
    int64_t port;

    if (length >= sizeof parsed.host || memchr(text, '\0', length) != NULL)
        return false;
    if (length > 5 && memcmp(text, "unix:", 5) == 0) {
        if (length - 5 > 107) /* sun_path less its NUL */
            return false;
        for (size_t i = 5; i < length; i++)
            if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F)
                return false;
        parsed.is_unix = true;
        memcpy(parsed.host, text + 5, length - 5);
        *address = parsed;
        return true;
    }
    colon = memrchr(text, ':', length);
    if (colon == NULL)
        return false;
    host_length = (size_t)(colon - text);
    if (!mt_parse_i64_range((struct mt_slice){colon + 1, length - host_length - 1}, 0, 65535,
                            &port))
        return false;
    if (host_length > 2 && text[0] == '[' && text[host_length - 1] == ']') {
        memcpy(parsed.host, text + 1, host_length - 2);
        if (inet_pton(AF_INET6, parsed.host, &binary) != 1)
            return false;
    } else {
        memcpy(parsed.host, text, host_length);
        if (inet_pton(AF_INET, parsed.host, &binary) != 1)
            return false;
    }
    parsed.port = (uint16_t)port;
    *address = parsed;
    return true;
}

static const char *const remote_schemes[] = {"mongodb://", "mongodb+srv://", "http://", "https://"};

/* each check returns NULL if the value is right, else what would be */
static const char *check_store(const char *value)
{
    if (strncmp(value, "sqlite:", 7) == 0 && value[7] != '\0' && strncmp(value + 7, "//", 2) != 0)
        return NULL;
    for (size_t i = 0; i < sizeof remote_schemes / sizeof remote_schemes[0]; i++) {
        size_t length = strlen(remote_schemes[i]);

        if (strncmp(value, remote_schemes[i], length) == 0 && value[length] != '\0')
            return NULL;
    }
    return "sqlite:PATH (for example sqlite:/var/lib/memory-tracker/memory.db), "
           "mongodb://HOST/DATABASE, mongodb+srv://HOST/DATABASE, http://HOST or https://HOST";
}

static const char *check_listen(const char *value)
{
    struct mt_address address;
    size_t length;

    for (;; value += length + 1) {
        length = strcspn(value, ",");
        if (!mt_address_parse(value, length, &address))
            return "ADDR:PORT or [V6]:PORT with a numeric address, or unix:PATH, several "
                   "divided by commas, for example 127.0.0.1:8000";
        if (value[length] == '\0')
            return NULL;
    }
}

static const char *check_host(const char *value)
{
    size_t length = strlen(value);
    bool clean = length > 0 && length < 256 && mt_utf8_is_valid(value, length);

    for (const char *c = value; clean && *c != '\0'; c++)
        clean = (unsigned char)*c > 0x20 && *c != 0x7F;
    return clean ? NULL : "a name of 1 to 255 bytes without spaces and control characters";
}

static bool parse_bytes(const char *value, int64_t *bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t digits = strspn(value, "0123456789");
    int64_t count;

    if (!mt_parse_i64((struct mt_slice){value, digits}, &count))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strcmp(value + digits, units[i]) == 0)
            return !__builtin_mul_overflow(count, (int64_t)1 << (10 * i), bytes);
    return false;
}

static bool parse_choice(const char *choices, const char *value, int64_t *index)
{
    size_t length = strlen(value);

    for (*index = 0; *choices != '\0'; (*index)++) {
        size_t word = strcspn(choices, "|");
        if (word == length && memcmp(choices, value, word) == 0)
            return true;
        choices += word + (choices[word] == '|');
    }
    return false;
}

bool mt_setting_check(enum mt_setting setting, const char *spelling, const char *value,
                      enum mt_err code, int64_t *number, struct mt_error *error)
{
    const struct mt_setting_info *info = &settings[setting];
    struct mt_slice text = mt_slice_of(value);
    const char *right = NULL;
    char shown[256];
    char range[128];
    int64_t parsed = 0;

    switch (info->type) {
    case MT_TYPE_STORE:
        right = check_store(value);
        break;
    case MT_TYPE_LISTEN:
        right = check_listen(value);
        break;
    case MT_TYPE_HOST:
        right = check_host(value);
        break;
    case MT_TYPE_PATH:
        right = value[0] != '\0' ? NULL : "a path";
        break;
    case MT_TYPE_SECONDS:
        if (text.length > 1 && text.data[text.length - 1] == 's')
            text.length--;
        /* fall through */
    case MT_TYPE_COUNT:
        (void)snprintf(range, sizeof range, "a whole number from %lld to %lld%s",
                       (long long)info->least, (long long)info->most,
                       info->type == MT_TYPE_SECONDS ? " (seconds)" : "");
        if (!mt_parse_i64_range(text, info->least, info->most, &parsed))
            right = range;
        break;
    case MT_TYPE_BYTES:
        (void)snprintf(range, sizeof range,
                       "a size with its unit (B, KiB, MiB, GiB, TiB) from %lldMiB to %lldGiB",
                       (long long)(info->least >> 20), (long long)(info->most >> 30));
        if (!parse_bytes(value, &parsed) || parsed < info->least || parsed > info->most)
            right = range;
        break;
    case MT_TYPE_CHOICE:
        if (!parse_choice(info->placeholder, value, &parsed))
            right = info->placeholder;
        break;
    }
    if (right != NULL) {
        mt_setting_mask(setting, value, shown, sizeof shown);
        (void)mt_error_set(error, code, "%s: bad value '%s': give %s", spelling, shown, right);
        return false;
    }
    if (number != NULL)
        *number = parsed;
    return true;
}
