#include "cli/subcommand.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/text.h"
#include "base/utc.h"
#include "store/uri.h"

enum { READ_WAIT_MS = 5000 };

int mt_subcommand_end(const struct mt_command *command, enum mt_err result,
                      const struct mt_error *error)
{
    if (result == MT_OK || (result == MT_ERR_IO && error->sys_errno == EPIPE))
        return 0;
    return mt_command_fail(command, error);
}

int mt_subcommand_main(const struct mt_subcommand *subcommand, int argc, char *const *argv,
                       char *const *environment)
{
    struct mt_config *config = NULL;
    struct mt_arguments arguments;
    struct mt_error error = {0};
    enum mt_err result;
    int status;

    result = mt_command_parse(&subcommand->command, argc, argv, environment, &config, &arguments,
                              &error);
    if (result == MT_OK && !arguments.answered) {
        result = mt_config_start_log(config, "memory-tracker", &error);
        if (result == MT_OK)
            result = subcommand->run(config, &arguments, &error);
    }
    status = mt_subcommand_end(&subcommand->command, result, &error);
    mt_config_free(config);
    return status;
}

enum mt_err mt_open_reader_of(const char *uri, struct mt_store **store, struct mt_error *error)
{
    struct mt_store_options options = {.read_only = true, .busy_wait_ms = READ_WAIT_MS};

    return mt_store_open(uri, &options, store, error);
}

enum mt_err mt_open_reader(const struct mt_config *config, struct mt_store **store,
                           struct mt_error *error)
{
    char *uri = NULL;
    enum mt_err result = mt_store_uri(config, &uri, error);

    if (result == MT_OK)
        result = mt_open_reader_of(uri, store, error);
    free(uri);
    return result;
}

enum mt_err mt_take_count(const char *option, const char *text, int64_t least, const char *or_else,
                          int64_t *value, struct mt_error *error)
{
    if (text == NULL || mt_parse_i64_range(mt_slice_of(text), least, INT64_MAX, value))
        return MT_OK;
    return mt_error_set(error, MT_ERR_USAGE,
                        "--%s: bad value '%s': give a whole number from %" PRId64 "%s", option,
                        text, least, or_else);
}

enum mt_err mt_take_instant(const char *option, const char *text, int64_t *unix_s,
                            struct mt_error *error)
{
    if (text == NULL || mt_utc_parse(mt_slice_of(text), unix_s))
        return MT_OK;
    return mt_error_set(error, MT_ERR_USAGE,
                        "--%s: bad value '%s': give Unix seconds or UTC as 2026-11-21 or "
                        "2026-11-21T09:00:00Z",
                        option, text);
}

const char *mt_plural(int64_t count)
{
    return count == 1 ? "" : "s";
}

enum mt_err mt_check_host(const char *text, struct mt_error *error)
{
    if (text == NULL ||
        mt_setting_check(MT_SETTING_HOST, "--host", text, MT_ERR_USAGE, NULL, error))
        return MT_OK;
    return MT_ERR_USAGE;
}
