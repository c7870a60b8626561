#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/output.h"
#include "cli/subcommand.h"
#include "cli/table.h"
#include "store/uri.h"

enum { JSON };

static const struct mt_option options[] = {
    [JSON] = {"json", NULL, "write one JSON object"},
    {0},
};

static const struct mt_column columns[] = {{"SETTING", false}, {"VALUE", false}, {"FROM", false}};

enum { SHOWN_BYTES = 8192 };

static void append_json(struct mt_buf *out, const char *text)
{
    struct mt_buf valid;

    mt_buf_init(&valid, 0);
    mt_utf8_append_valid(&valid, text, strlen(text));
    mt_buf_append_json_string(out, valid.data, valid.length);
    out->failed = out->failed || valid.failed;
    mt_buf_fini(&valid);
}

/* store is where records go, NULL where that cannot be told */
static void put_json(struct mt_buf *out, const struct mt_config *config,
                     const struct mt_arguments *arguments, const char *store)
{
    char shown[SHOWN_BYTES];

    mt_buf_append_string(out, "{\"file\":");
    append_json(out, arguments->config_path);
    mt_buf_printf(out, ",\"file_was_read\":%s,\"store\":",
                  access(arguments->config_path, R_OK) == 0 ? "true" : "false");
    if (store != NULL)
        append_json(out, store);
    else
        mt_buf_append_string(out, "null");
    mt_buf_append_string(out, ",\"settings\":[");
    for (enum mt_setting i = 0; i < MT_SETTING_COUNT; i++) {
        mt_setting_mask(i, mt_config_string(config, i), shown, sizeof shown);
        mt_buf_printf(out, "%s\n{\"name\":\"%s\",\"value\":", i == 0 ? "" : ",",
                      mt_setting_info(i)->name);
        append_json(out, shown);
        mt_buf_append_string(out, ",\"from\":");
        append_json(out, mt_config_source(config, i));
        mt_buf_append_char(out, '}');
    }
    mt_buf_append_string(out, "\n]}\n");
}

static void put_table(struct mt_output *out, const struct mt_config *config,
                      const struct mt_arguments *arguments, const char *store)
{
    struct mt_table table;
    char shown[SHOWN_BYTES];

    mt_table_init(&table, columns, sizeof columns / sizeof columns[0], out);
    for (enum mt_setting i = 0; i < MT_SETTING_COUNT; i++) {
        mt_setting_mask(i, mt_config_string(config, i), shown, sizeof shown);
        mt_table_cell(&table, mt_setting_info(i)->name);
        mt_table_cell(&table, shown);
        mt_table_cell(&table, mt_config_source(config, i));
    }
    mt_table_finish(&table);
    mt_buf_append_char(&out->text, '\n');
    if (store != NULL)
        mt_buf_printf(&out->text, "Store: %s\n", store);
    mt_buf_printf(&out->text, "Configuration file: %s (%s)\n", arguments->config_path,
                  access(arguments->config_path, R_OK) == 0 ? "read" : "there is none");
}

static enum mt_err find_place(const struct mt_config *config, char **place, struct mt_error *error)
{
    char *uri = NULL;
    enum mt_err result = mt_store_uri(config, &uri, error);

    if (result == MT_OK) {
        *place = mt_store_destination(uri);
        if (*place == NULL)
            result = mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    }
    free(uri);
    return result;
}

static enum mt_err run(const struct mt_config *config, const struct mt_arguments *arguments,
                       struct mt_error *error)
{
    struct mt_output out;
    char *place = NULL;
    enum mt_err found = find_place(config, &place, error);
    struct mt_error unwritten = {0};
    enum mt_err result = mt_output_open(&out, NULL, &unwritten);

    if (result == MT_OK) {
        if (arguments->option[JSON] != NULL)
            put_json(&out.text, config, arguments, place);
        else
            put_table(&out, config, arguments, place);
        result = mt_output_commit(&out, &unwritten);
    }
    mt_output_close(&out);
    free(place);
    /* a store that cannot be is told of after what makes it so */
    if (found != MT_OK)
        return found;
    *error = unwritten;
    return result;
}

const struct mt_subcommand mt_config_subcommand = {
    .name = "config",
    .command =
        {
            .name = "memory-tracker config",
            .operands = "",
            .summary = "Shows every setting, its value and where the value comes from.",
            .examples = "  memory-tracker config\n"
                        "  MEMORY_TRACKER_LOG_LEVEL=debug memory-tracker config --json\n",
            .notes = "Passwords are shown as ***. Where the store's URI is wrong, that is told "
                     "after the table\n"
                     "and the exit status is 4. An option wins over the environment, that over\n"
                     "the configuration file, that over the default.\n",
            .program = MT_PROGRAM_TRACKER,
            .options = options,
        },
    .run = run,
};
