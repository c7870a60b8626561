#include "base/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cpu.h"
#include "base/log.h"
#include "base/text.h"

enum { FILE_MOST_BYTES = 1 << 20 };

struct entry {
    char *value;  /* owned */
    char *source; /* owned; what mt_config_source gives */
    int64_t number;
    enum mt_origin origin;
};

struct mt_config {
    struct entry entries[MT_SETTING_COUNT];
    bool skips_secrets;
};

static int64_t usable_cpus(void)
{
    int64_t most = mt_setting_info(MT_SETTING_THREADS)->most;
    int64_t count = mt_cpu_count();

    return count > 0 && count < most ? count : most;
}

static bool fill_default(struct mt_config *config, enum mt_setting setting)
{
    const char *fallback = mt_setting_info(setting)->fallback;
    struct entry *entry = &config->entries[setting];
    char found[256] = "";

    if (setting == MT_SETTING_HOST) {
        if (gethostname(found, sizeof found - 1) != 0 ||
            !mt_setting_check(setting, "", found, MT_ERR_CONFIG, NULL, NULL))
            (void)snprintf(found, sizeof found, "localhost");
        fallback = found;
    } else if (setting == MT_SETTING_THREADS) {
        (void)snprintf(found, sizeof found, "%lld", (long long)usable_cpus());
        fallback = found;
    }
    entry->value = strdup(fallback != NULL ? fallback : "");
    entry->source = strdup("default");
    return entry->value != NULL && entry->source != NULL &&
           (fallback == NULL ||
            mt_setting_check(setting, "default", fallback, MT_ERR_CONFIG, &entry->number, NULL));
}

struct mt_config *mt_config_new(void)
{
    struct mt_config *config = calloc(1, sizeof *config);

    if (config == NULL)
        return NULL;
    for (enum mt_setting i = 0; i < MT_SETTING_COUNT; i++) {
        if (!fill_default(config, i)) {
            mt_config_free(config);
            return NULL;
        }
    }
    return config;
}

void mt_config_skip_secrets(struct mt_config *config)
{
    config->skips_secrets = true;
}

void mt_config_free(struct mt_config *config)
{
    if (config == NULL)
        return;
    for (enum mt_setting i = 0; i < MT_SETTING_COUNT; i++) {
        free(config->entries[i].value);
        free(config->entries[i].source);
    }
    free(config);
}

void mt_config_heed_cpu_quota(struct mt_config *config, int64_t cpus)
{
    struct entry *threads = &config->entries[MT_SETTING_THREADS];

    if (threads->origin != MT_ORIGIN_DEFAULT || cpus < 1 || cpus >= threads->number)
        return;
    /* it is no longer than the number that is there */
    (void)snprintf(threads->value, strlen(threads->value) + 1, "%lld", (long long)cpus);
    threads->number = cpus;
}

static enum mt_err cannot_open(const char *path, int failure, struct mt_error *error)
{
    struct stat file;

    if (failure == EACCES && stat(path, &file) == 0)
        return mt_error_set_errno(error, MT_ERR_CONFIG, failure,
                                  "cannot read %s; let this user (uid %u) read it, or run as its "
                                  "owner (uid %u)",
                                  path, (unsigned)geteuid(), (unsigned)file.st_uid);
    return mt_error_set_errno(error, MT_ERR_CONFIG, failure, "cannot read %s", path);
}

/* Reads a whole file of at most FILE_MOST_BYTES; *error is filled with code CONFIG. */
static enum mt_err read_file(const char *path, bool optional, struct mt_buf *content,
                             struct mt_error *error)
{
    enum mt_err result = MT_OK;
    ssize_t count = 1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        if (optional && errno == ENOENT)
            return MT_OK;
        return cannot_open(path, errno, error);
    }
    while (count > 0 && result == MT_OK) {
        char chunk[4096];
        count = read(fd, chunk, sizeof chunk);
        if (count < 0)
            result = mt_error_set_errno(error, MT_ERR_CONFIG, errno, "cannot read %s", path);
        else
            mt_buf_append(content, chunk, (size_t)count);
        if (content->failed)
            result = mt_error_set(error, MT_ERR_CONFIG, "%s is larger than %d bytes", path,
                                  FILE_MOST_BYTES);
    }
    (void)close(fd);
    return result;
}

/* The first line of a secret's file, without its newline and NUL-terminated. */
static enum mt_err read_secret(const char *path, const char *spelling, struct mt_buf *content,
                               struct mt_error *error)
{
    enum mt_err result = read_file(path, false, content, error);
    char *newline;

    if (result != MT_OK) {
        mt_error_prefix(error, "%s", spelling);
        return result;
    }
    newline = content->length > 0 ? memchr(content->data, '\n', content->length) : NULL;
    if (newline != NULL)
        content->length = (size_t)(newline - content->data);
    while (content->length > 0 && content->data[content->length - 1] == '\r')
        content->length--;
    if (content->length == 0 || memchr(content->data, '\0', content->length) != NULL)
        return mt_error_set(error, MT_ERR_CONFIG, "%s: the first line of %s holds no value",
                            spelling, path);
    if (mt_buf_string(content) == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    return MT_OK;
}

static enum mt_err set_value(struct entry *entry, enum mt_setting setting, const char *value,
                             enum mt_origin origin, const char *spelling, struct mt_error *error)
{
    enum mt_err bad = origin == MT_ORIGIN_OPTION ? MT_ERR_USAGE : MT_ERR_CONFIG;
    int64_t number;
    char *copy;
    char *source;

    if (!mt_setting_check(setting, spelling, value, bad, &number, error))
        return bad;
    if (origin < entry->origin)
        return MT_OK;
    copy = strdup(value);
    source = strdup(spelling);
    if (copy == NULL || source == NULL) {
        free(copy);
        free(source);
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    }
    free(entry->value);
    free(entry->source);
    *entry = (struct entry){copy, source, number, origin};
    return MT_OK;
}

enum mt_err mt_config_set(struct mt_config *config, enum mt_setting setting, const char *value,
                          bool from_file, enum mt_origin origin, const char *spelling,
                          struct mt_error *error)
{
    struct entry *entry = &config->entries[setting];
    struct mt_buf secret;
    enum mt_err result;

    if (!from_file)
        return set_value(entry, setting, value, origin, spelling, error);
    if (config->skips_secrets)
        return MT_OK;
    mt_buf_init(&secret, FILE_MOST_BYTES);
    result = read_secret(value, spelling, &secret, error);
    if (result != MT_OK)
        goto out;
    result = set_value(entry, setting, secret.data, origin, spelling, error);
    /* a password by mistake, for all one knows: only of a URI is it known which part to hide */
    if (result != MT_OK && setting == MT_SETTING_STORE && strstr(secret.data, "://") == NULL)
        (void)mt_error_set(
            error, result,
            "%s: what %s holds is no store, and may be a secret, so it is not shown: "
            "give sqlite:PATH, mongodb://HOST/DATABASE or https://HOST",
            spelling, value);
out:
    mt_buf_fini(&secret);
    return result;
}

/* The setting that `name` spells; *from_file for its _FILE form. */
static bool find_setting(struct mt_slice name, enum mt_setting *setting, bool *from_file)
{
    for (enum mt_setting i = 0; i < MT_SETTING_COUNT; i++) {
        const struct mt_setting_info *info = mt_setting_info(i);
        size_t length = strlen(info->name);
        bool secret = (info->flags & MT_SETTING_SECRET) != 0;

        if (name.length < length || memcmp(name.data, info->name, length) != 0)
            continue;
        *setting = i;
        *from_file = name.length > length;
        if (!*from_file ||
            (secret && name.length == length + 5 && memcmp(name.data + length, "_FILE", 5) == 0))
            return true;
    }
    return false;
}

/* The prefix of ours that a name has; NULL: it is somebody else's. */
static const char *prefix_of(struct mt_slice name)
{
    static const char *const prefixes[] = {MT_SETTING_PREFIX, MT_SETTING_DOCDB_PREFIX};

    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        size_t length = strlen(prefixes[i]);
        if (name.length >= length && memcmp(name.data, prefixes[i], length) == 0)
            return prefixes[i];
    }
    return NULL;
}

static enum mt_err unknown_name(struct mt_slice name, const char *prefix, const char *where,
                                struct mt_error *error)
{
    const char *names[MT_SETTING_COUNT];
    const char *nearest;
    size_t count = 0;
    size_t cut = strlen(prefix);
    struct mt_slice rest = {name.data + cut, name.length - cut};
    enum mt_setting setting;
    bool from_file;
    char copy[128];

    /* what they all begin with is no likeness */
    for (enum mt_setting i = 0; i < MT_SETTING_COUNT; i++)
        if (strncmp(mt_setting_info(i)->name, prefix, cut) == 0)
            names[count++] = mt_setting_info(i)->name + cut;
    (void)snprintf(copy, sizeof copy, "%.*s", (int)(name.length < 100 ? name.length : 100),
                   name.data);
    if (find_setting(rest, &setting, &from_file))
        return mt_error_set(error, MT_ERR_CONFIG, "%sunknown setting %s; did you mean %s?", where,
                            copy, copy + cut);
    nearest = mt_text_nearest(copy + cut, names, count);
    if (nearest == NULL)
        return mt_error_set(error, MT_ERR_CONFIG,
                            "%sunknown setting %s; memory-tracker config lists all", where, copy);
    return mt_error_set(error, MT_ERR_CONFIG, "%sunknown setting %s; did you mean %s%s?", where,
                        copy, prefix, nearest);
}

enum { PLAIN_FORM = 1, FILE_FORM };

/*
 * One NAME=value of the environment or the file. seen has the form of each setting already given
 * at this level, 0 if none.
 */
static enum mt_err take(struct mt_config *config, struct mt_slice name, const char *prefix,
                        const char *value, enum mt_origin origin, const char *where,
                        unsigned char *seen, struct mt_error *error)
{
    enum mt_setting setting;
    bool from_file;
    unsigned char form;
    char spelling[512];

    if (!find_setting(name, &setting, &from_file))
        return unknown_name(name, prefix, where, error);
    (void)snprintf(spelling, sizeof spelling, "%s%s%s", where, mt_setting_info(setting)->name,
                   from_file ? "_FILE" : "");
    form = from_file ? FILE_FORM : PLAIN_FORM;
    if (seen[setting] == form)
        return mt_error_set(error, MT_ERR_CONFIG, "%s is given twice; keep one", spelling);
    if (seen[setting] != 0)
        return mt_error_set(error, MT_ERR_CONFIG, "%s: %s%s is given, too; keep one", spelling,
                            mt_setting_info(setting)->name, from_file ? "" : "_FILE");
    seen[setting] = form;
    return mt_config_set(config, setting, value, from_file, origin, spelling, error);
}

enum mt_err mt_config_load_environment(struct mt_config *config, char *const *environment,
                                       struct mt_error *error)
{
    unsigned char seen[MT_SETTING_COUNT] = {0};
    enum mt_err result = MT_OK;

    for (; environment != NULL && *environment != NULL && result == MT_OK; environment++) {
        const char *equals = strchr(*environment, '=');
        struct mt_slice name;
        const char *prefix;

        if (equals == NULL)
            continue;
        name = (struct mt_slice){*environment, (size_t)(equals - *environment)};
        prefix = prefix_of(name);
        if (prefix != NULL)
            result = take(config, name, prefix, equals + 1, MT_ORIGIN_ENVIRONMENT, "", seen, error);
    }
    return result;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct mt_slice trim(struct mt_slice text)
{
    while (text.length > 0 && is_blank(text.data[0])) {
        text.data++;
        text.length--;
    }
    while (text.length > 0 && is_blank(text.data[text.length - 1]))
        text.length--;
    return text;
}

static enum mt_err take_line(struct mt_config *config, const char *path, int number,
                             struct mt_slice line, unsigned char *seen, struct mt_error *error)
{
    const char *prefix;
    enum mt_err result;
    const char *equals;
    struct mt_slice name;
    struct mt_slice value;
    char where[320];
    char *copy;

    line = trim(line);
    if (line.length == 0 || line.data[0] == '#')
        return MT_OK;
    (void)snprintf(where, sizeof where, "%s:%d: ", path, number);
    equals = memchr(line.data, '=', line.length);
    if (equals == NULL || memchr(line.data, '\0', line.length) != NULL)
        return mt_error_set(error, MT_ERR_CONFIG, "%snot a line of the form NAME=value", where);
    name = trim((struct mt_slice){line.data, (size_t)(equals - line.data)});
    value = trim((struct mt_slice){equals + 1, line.length - (size_t)(equals - line.data) - 1});
    prefix = prefix_of(name);
    if (prefix == NULL)
        return mt_error_set(error, MT_ERR_CONFIG,
                            "%sunknown setting %.*s; names begin with " MT_SETTING_PREFIX
                            " or " MT_SETTING_DOCDB_PREFIX,
                            where, (int)(name.length < 100 ? name.length : 100), name.data);
    if (value.length > 0 && (value.data[0] == '"' || value.data[0] == '\'')) {
        if (value.length == 1 || value.data[0] != value.data[value.length - 1])
            return mt_error_set(error, MT_ERR_CONFIG, "%sa quote at the start but not at the end",
                                where);
        value.data++;
        value.length -= 2;
    }
    copy = strndup(value.data, value.length);
    if (copy == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    result = take(config, name, prefix, copy, MT_ORIGIN_FILE, where, seen, error);
    free(copy);
    return result;
}

enum mt_err mt_config_load_text(struct mt_config *config, const char *path, const char *text,
                                size_t length, struct mt_error *error)
{
    unsigned char seen[MT_SETTING_COUNT] = {0};
    enum mt_err result = MT_OK;

    for (int number = 1; length > 0 && result == MT_OK; number++) {
        const char *newline = memchr(text, '\n', length);
        size_t line = newline != NULL ? (size_t)(newline - text) : length;

        result = take_line(config, path, number, (struct mt_slice){text, line}, seen, error);
        line += newline != NULL;
        text += line;
        length -= line;
    }
    return result;
}

enum mt_err mt_config_load_file(struct mt_config *config, const char *path, bool optional,
                                struct mt_error *error)
{
    struct mt_buf content;
    enum mt_err result;

    mt_buf_init(&content, FILE_MOST_BYTES);
    result = read_file(path, optional, &content, error);
    if (result == MT_OK)
        result = mt_config_load_text(config, path, content.data, content.length, error);
    mt_buf_fini(&content);
    return result;
}

const char *mt_config_string(const struct mt_config *config, enum mt_setting setting)
{
    return config->entries[setting].value;
}

int64_t mt_config_number(const struct mt_config *config, enum mt_setting setting)
{
    return config->entries[setting].number;
}

enum mt_origin mt_config_origin(const struct mt_config *config, enum mt_setting setting)
{
    return config->entries[setting].origin;
}

const char *mt_config_source(const struct mt_config *config, enum mt_setting setting)
{
    return config->entries[setting].source;
}

enum mt_err mt_config_start_log(const struct mt_config *config, const char *program,
                                struct mt_error *error)
{
    return mt_log_open(program, (enum mt_log_level)mt_config_number(config, MT_SETTING_LOG_LEVEL),
                       (enum mt_log_format)mt_config_number(config, MT_SETTING_LOG_FORMAT),
                       mt_config_string(config, MT_SETTING_LOG_FILE), error);
}
