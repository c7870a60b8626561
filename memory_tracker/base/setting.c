#include "base/setting.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* clang-format off */
#define NAME_AT(flags) (((flags) & MT_SETTING_OWN_NAME) != 0 ? sizeof MT_SETTING_PREFIX - 1 : 0)

static const struct mt_setting_info settings[MT_SETTING_COUNT] = {
#define MT_SETTING(name, option, type, fallback, least, most, programs, flags, placeholder, help)  \
    [MT_SETTING_##name] = {&MT_SETTING_PREFIX #name[NAME_AT(flags)], option, type, fallback,       \
                           least, most, programs, flags, placeholder, help},
#include "base/setting.def"
#undef MT_SETTING
};
/* clang-format on */

const struct mt_setting_info *mt_setting_info(enum mt_setting setting)
{
    return &settings[setting];
}

static void mask_store(const char *value, char *out, size_t size)
{
    const char *scheme = strstr(value, "://");
    /* the last @: a password may hold an @, a / or a ? that nobody percent-encoded */
    const char *at = strrchr(value, '@');
    const char *rest = at != NULL ? at : value;
    size_t shown = strcspn(rest, "?");
    const char *question = strchr(value, '?');

    if (strncmp(value, "sqlite:", 7) == 0) {
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

void mt_setting_mask(enum mt_setting setting, const char *value, char *out, size_t size)
{
    const char *question = strchr(value, '?');

    /* servers hold no secret, but a whole URI may be given by mistake */
    if (settings[setting].type == MT_TYPE_STORE || settings[setting].type == MT_TYPE_SERVERS)
        mask_store(value, out, size);
    else if ((settings[setting].flags & MT_SETTING_SECRET) == 0 || value[0] == '\0')
        (void)snprintf(out, size, "%s", value);
    else if (settings[setting].type == MT_TYPE_OPTIONS && value[0] == '/' && question != NULL)
        (void)snprintf(out, size, "%.*s?***", (int)(question - value), value);
    else
        (void)snprintf(out, size, "***");
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

static const char *check_token(const char *value)
{
    bool visible = value[0] != '\0';

    for (const char *c = value; visible && *c != '\0'; c++)
        visible = (unsigned char)*c > 0x20 && (unsigned char)*c < 0x7F;
    return visible ? NULL : "a token of visible ASCII characters, as memory-api has it";
}

static const char *check_servers(const char *value)
{
    bool clean = check_token(value) == NULL && strpbrk(value, "/@?#%&=\\\"") == NULL;

    return clean ? NULL
                 : "HOST or HOST:PORT, several divided by commas, without scheme and options";
}

static const char *check_name(const char *value)
{
    bool clean = value[0] != '\0' && mt_utf8_is_valid(value, strlen(value));

    for (const char *c = value; clean && *c != '\0'; c++)
        clean = (unsigned char)*c > 0x20 && *c != 0x7F;
    return clean ? NULL : "a name without spaces and control characters";
}

static const char *check_options(const char *value)
{
    /* check_token takes no empty text, which is fine here */
    return check_token(value[0] == '\0' ? "x" : value) == NULL
               ? NULL
               : "NAME=VALUE&NAME=VALUE... or /DATABASE?NAME=VALUE..., with anything but visible "
                 "ASCII percent-encoded";
}

static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
enum { UNIT_COUNT = sizeof units / sizeof units[0] };

/* in the largest unit that leaves a whole number, or plain */
static void print_bytes(int64_t bytes, bool plain, char text[static 32])
{
    size_t unit = 0;

    while (!plain && unit + 1 < UNIT_COUNT && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    (void)snprintf(text, 32, "%lld%s", (long long)bytes, plain ? "" : units[unit]);
}

static bool parse_bytes(const char *value, bool plain, int64_t *bytes)
{
    size_t digits = strspn(value, "0123456789");
    int64_t count;

    if (!mt_parse_i64((struct mt_slice){value, digits}, &count))
        return false;
    if (plain && value[digits] == '\0') {
        *bytes = count;
        return true;
    }
    for (size_t i = 0; i < UNIT_COUNT; i++)
        if (strcmp(value + digits, units[i]) == 0)
            return !__builtin_mul_overflow(count, (int64_t)1 << (10 * i), bytes);
    return false;
}

enum { DAY_S = 86400, RETENTION_DAYS_MOST = 365000 };

bool mt_retention_parse(const char *text, int64_t *kept)
{
    static const struct {
        char letter;
        int64_t seconds;
    } spans[] = {{'s', 1},
                 {'m', 60},
                 {'h', 3600},
                 {'d', DAY_S},
                 {'w', INT64_C(7) * DAY_S},
                 {'y', INT64_C(365) * DAY_S}};
    size_t digits = strspn(text, "0123456789");
    int64_t amount;

    if (text[0] == '\0') {
        *kept = 0;
        return true;
    }
    if (parse_bytes(text, false, &amount)) {
        if (amount < INT64_C(1) << 20 || amount > INT64_C(1) << 50)
            return false;
        *kept = -amount;
        return true;
    }
    if (!mt_parse_i64((struct mt_slice){text, digits}, &amount) || strlen(text) != digits + 1)
        return false;
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++)
        if (text[digits] == spans[i].letter &&
            !__builtin_mul_overflow(amount, spans[i].seconds, &amount) && amount >= DAY_S &&
            amount <= (int64_t)RETENTION_DAYS_MOST * DAY_S) {
            *kept = amount;
            return true;
        }
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
    char least[32];
    char most[32];
    bool plain = (info->flags & MT_SETTING_PLAIN_BYTES) != 0;
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
    case MT_TYPE_TOKEN:
        right = check_token(value);
        break;
    case MT_TYPE_SERVERS:
        right = check_servers(value);
        break;
    case MT_TYPE_NAME:
        right = check_name(value);
        break;
    case MT_TYPE_OPTIONS:
        right = check_options(value);
        break;
    case MT_TYPE_TEXT:
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
        print_bytes(info->least, plain, least);
        print_bytes(info->most, plain, most);
        (void)snprintf(range, sizeof range,
                       "a size %s its unit (B, KiB, MiB, GiB, TiB) from %s to %s",
                       plain ? "with or without" : "with", least, most);
        if (!parse_bytes(value, plain, &parsed) || parsed < info->least || parsed > info->most)
            right = range;
        break;
    case MT_TYPE_CHOICE:
        if (!parse_choice(info->placeholder, value, &parsed))
            right = info->placeholder;
        break;
    case MT_TYPE_RETENTION:
        if (!mt_retention_parse(value, &parsed))
            right =
                "a time from 1d to 1000y (s, m, h, d, w or y, as in 90d) or a size from 1MiB to "
                "1024TiB (B, KiB, MiB, GiB or TiB, as in 2GiB), or nothing to keep everything";
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
