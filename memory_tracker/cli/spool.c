#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/utc.h"
#include "cli/duration.h"
#include "cli/flush.h"
#include "cli/output.h"
#include "cli/subcommand.h"
#include "cli/table.h"
#include "store/spool.h"
#include "store/spool_lock.h"

enum { JSON, FROM, RETRY, DISCARD };

static const struct mt_option options[] = {
    [JSON] = {"json", NULL, "write JSON; times in Unix seconds, ages in seconds"},
    [FROM] = {"from", "DESTINATION", "flush: send what waits for DESTINATION to the store, too"},
    [RETRY] = {"retry", NULL, "rejected: let all that was set aside wait again"},
    [DISCARD] = {"discard", NULL, "rejected: remove all that was set aside for good"},
    {0},
};

enum { WAIT_MS = 5000 };

static const struct mt_column place_columns[] = {
    {"DESTINATION", false}, {"WAITING", true}, {"OLDEST", false},
    {"NEWEST", false},      {"AGE", true},     {"SET ASIDE", true},
};

static const struct mt_column reject_columns[] = {
    {"TIME", false},
    {"HOST", false},
    {"DESTINATION", false},
    {"REASON", false},
};

struct answer {
    struct mt_output *out;
    struct mt_table table;
    int64_t now_s;
    int64_t count;
    bool as_json;
};

/* a damaged outbox may hold any number */
static void format_instant(int64_t unix_s, char text[static MT_UTC_SIZE])
{
    if (unix_s >= 0 && unix_s <= MT_TIMESTAMP_MAX)
        mt_utc_format(unix_s, text);
    else
        memcpy(text, "?", sizeof "?");
}

static void put_string(struct mt_buf *text, const char *name, const char *value)
{
    mt_buf_printf(text, "\"%s\":", name);
    mt_buf_append_json_string(text, value, strlen(value));
}

static enum mt_err emit_place(void *context, const struct mt_spool_place *place,
                              struct mt_error *error)
{
    struct answer *answer = context;
    struct mt_buf *text = &answer->out->text;
    int64_t age_s = answer->now_s - place->oldest;
    char instant[MT_UTC_SIZE];
    char age[MT_DURATION_SIZE];

    if (answer->as_json) {
        mt_buf_append_string(text, answer->count++ == 0 ? "\n{" : ",\n{");
        put_string(text, "destination", place->destination);
        mt_buf_printf(text, ",\"waiting\":%" PRId64 ",\"set_aside\":%" PRId64, place->waiting,
                      place->set_aside);
        if (place->waiting > 0)
            mt_buf_printf(text,
                          ",\"oldest\":%" PRId64 ",\"newest\":%" PRId64 ",\"age_s\":%" PRId64 "}",
                          place->oldest, place->newest, age_s);
        else
            mt_buf_append_string(text, ",\"oldest\":null,\"newest\":null,\"age_s\":null}");
        return mt_output_drain(answer->out, error);
    }
    mt_table_cell(&answer->table, place->destination);
    mt_table_number(&answer->table, place->waiting);
    if (place->waiting > 0) {
        format_instant(place->oldest, instant);
        mt_table_cell(&answer->table, instant);
        format_instant(place->newest, instant);
        mt_table_cell(&answer->table, instant);
        mt_duration_format(age_s > 0 ? age_s : 0, age);
        mt_table_cell(&answer->table, age);
    } else {
        for (int i = 0; i < 3; i++)
            mt_table_cell(&answer->table, "-");
    }
    mt_table_number(&answer->table, place->set_aside);
    answer->count++;
    return mt_table_drain(&answer->table, error);
}

static enum mt_err emit_reject(void *context, const struct mt_spool_reject *reject,
                               struct mt_error *error)
{
    struct answer *answer = context;
    struct mt_buf *text = &answer->out->text;
    char instant[MT_UTC_SIZE];

    if (answer->as_json) {
        mt_buf_printf(text, "%s{\"id\":%" PRId64 ",", answer->count++ == 0 ? "[\n" : ",\n",
                      reject->id);
        put_string(text, "host", reject->host);
        mt_buf_printf(text, ",\"timestamp\":%" PRId64 ",", reject->timestamp);
        put_string(text, "destination", reject->destination);
        mt_buf_append_char(text, ',');
        put_string(text, "reason", reject->reason);
        mt_buf_append_char(text, '}');
        return mt_output_drain(answer->out, error);
    }
    format_instant(reject->timestamp, instant);
    mt_table_cell(&answer->table, instant);
    mt_table_cell(&answer->table, reject->host);
    mt_table_cell(&answer->table, reject->destination);
    mt_table_cell(&answer->table, reject->reason);
    answer->count++;
    return mt_table_drain(&answer->table, error);
}

static enum mt_err list_places(const struct mt_config *config, struct mt_spool *spool,
                               struct answer *answer, struct mt_error *error)
{
    const char *path = mt_config_string(config, MT_SETTING_SPOOL);
    int64_t limit = mt_config_number(config, MT_SETTING_SPOOL_LIMIT);
    struct mt_buf *text = &answer->out->text;
    struct mt_spool_status status = {0};
    bool is_locked = mt_spool_is_locked(path);
    enum mt_err result = MT_OK;

    if (spool != NULL)
        result = mt_spool_status(spool, NULL, &status, error);
    if (result != MT_OK)
        return result;
    if (answer->as_json) {
        mt_buf_append_char(text, '{');
        put_string(text, "outbox", path);
        mt_buf_printf(text,
                      ",\"waiting\":%" PRId64 ",\"limit\":%" PRId64 ",\"set_aside\":%" PRId64
                      ",\"dropped\":%" PRId64 ",\"courier\":%s,\"destinations\":[",
                      status.waiting, limit, status.rejected, status.dropped,
                      is_locked ? "true" : "false");
    }
    mt_table_init(&answer->table, place_columns, sizeof place_columns / sizeof place_columns[0],
                  answer->out);
    if (spool != NULL)
        result = mt_spool_places(spool, emit_place, answer, error);
    if (answer->as_json) {
        mt_buf_append_string(text, "]}\n");
    } else {
        if (answer->count > 0)
            mt_table_finish(&answer->table);
        if (spool == NULL)
            mt_buf_printf(text, "nothing waits: there is no outbox %s\n", path);
        else
            mt_buf_printf(text,
                          "outbox %s: %" PRId64 " waiting of at most %" PRId64 ", %" PRId64
                          " set aside, %" PRId64 " dropped; %s\n",
                          path, status.waiting, limit, status.rejected, status.dropped,
                          is_locked ? "a courier is at work" : "no courier is at work");
    }
    return result;
}

static enum mt_err list_rejects(struct mt_spool *spool, struct answer *answer,
                                struct mt_error *error)
{
    enum mt_err result = MT_OK;

    mt_table_init(&answer->table, reject_columns, sizeof reject_columns / sizeof reject_columns[0],
                  answer->out);
    if (spool != NULL)
        result = mt_spool_rejects(spool, emit_reject, answer, error);
    if (answer->as_json)
        mt_buf_append_string(&answer->out->text, answer->count == 0 ? "[]\n" : "\n]\n");
    else if (answer->count > 0)
        mt_table_finish(&answer->table);
    else
        mt_buf_append_string(&answer->out->text, "nothing is set aside\n");
    return result;
}

/* --retry and --discard */
static enum mt_err tend_rejects(const struct mt_config *config, bool retry, struct mt_buf *text,
                                struct mt_error *error)
{
    const char *path = mt_config_string(config, MT_SETTING_SPOOL);
    struct mt_spool *spool = NULL;
    int64_t count = 0;
    enum mt_err result = MT_OK;

    if (!mt_spool_is_missing(path))
        result = mt_spool_open(path, WAIT_MS, &spool, error);
    if (result == MT_OK && spool != NULL)
        result =
            retry ? mt_spool_retry(spool, &count, error) : mt_spool_discard(spool, &count, error);
    if (result == MT_OK)
        mt_buf_printf(text, retry ? "%" PRId64 " waiting again\n" : "%" PRId64 " discarded\n",
                      count);
    mt_spool_close(spool);
    return result;
}

static enum mt_err look(const struct mt_config *config, bool rejected, bool as_json,
                        struct mt_output *out, struct mt_error *error)
{
    const char *path = mt_config_string(config, MT_SETTING_SPOOL);
    struct answer answer = {.out = out, .now_s = mt_clock_wall_s(), .as_json = as_json};
    struct mt_spool *spool = NULL;
    enum mt_err result = MT_OK;

    if (!mt_spool_is_missing(path))
        result = mt_spool_open_reader(path, WAIT_MS, &spool, error);
    if (result == MT_OK)
        result = rejected ? list_rejects(spool, &answer, error)
                          : list_places(config, spool, &answer, error);
    mt_spool_close(spool);
    return result;
}

enum action { LIST, FLUSH, REJECTED };

static enum mt_err take_action(const struct mt_arguments *arguments, enum action *action,
                               struct mt_error *error)
{
    static const struct {
        const char *name;
        bool takes[DISCARD + 1];
    } actions[] = {
        [LIST] = {NULL, {[JSON] = true}},
        [FLUSH] = {"flush", {[FROM] = true}},
        [REJECTED] = {"rejected", {[JSON] = true, [RETRY] = true, [DISCARD] = true}},
    };
    const char *name = arguments->operand_count > 0 ? arguments->operand[0] : NULL;
    enum action found = LIST;

    if (name != NULL) {
        for (found = FLUSH; strcmp(name, actions[found].name) != 0; found++)
            if (found == REJECTED)
                return mt_error_set(error, MT_ERR_USAGE,
                                    "unknown action '%s'; give flush, rejected or nothing", name);
    }
    for (size_t i = 0; i <= DISCARD; i++)
        if (arguments->option[i] != NULL && !actions[found].takes[i])
            return mt_error_set(error, MT_ERR_USAGE, "--%s does not go with spool%s%s",
                                options[i].name, name == NULL ? "" : " ", name == NULL ? "" : name);
    if (arguments->option[RETRY] != NULL && arguments->option[DISCARD] != NULL)
        return mt_error_set(error, MT_ERR_USAGE,
                            "--retry and --discard exclude each other; keep one");
    *action = found;
    return MT_OK;
}

static enum mt_err run(const struct mt_config *config, const struct mt_arguments *arguments,
                       struct mt_error *error)
{
    bool as_json = arguments->option[JSON] != NULL;
    bool tends = arguments->option[RETRY] != NULL || arguments->option[DISCARD] != NULL;
    enum action action = LIST;
    struct mt_output out;
    struct mt_error late = {0};
    enum mt_err written;
    enum mt_err result = mt_output_open(&out, NULL, error);

    if (result == MT_OK)
        result = take_action(arguments, &action, error);
    if (result != MT_OK)
        goto out;
    if (action == FLUSH)
        result = mt_flush(config, arguments->option[FROM], &out.text, error);
    else if (tends)
        result = tend_rejects(config, arguments->option[RETRY] != NULL, &out.text, error);
    else
        result = look(config, action == REJECTED, as_json, &out, error);
    /* what a flush that failed has delivered is told as well */
    if (result == MT_OK || action == FLUSH) {
        written = mt_output_commit(&out, &late);
        if (result == MT_OK && written != MT_OK) {
            result = written;
            *error = late;
        }
    }
out:
    mt_output_close(&out);
    return result;
}

const struct mt_subcommand mt_spool_subcommand = {
    .name = "spool",
    .command =
        {
            .name = "memory-tracker spool",
            .operands = "[flush|rejected]",
            .summary = "Shows what waits in the outbox; delivers it now; tends what was set aside.",
            .examples = "  memory-tracker spool\n"
                        "  memory-tracker spool flush\n"
                        "  memory-tracker spool flush --from sqlite:/srv/former.db\n"
                        "  memory-tracker spool rejected --retry\n",
            .notes =
                "Without an operand it lists what waits, by destination. flush delivers what "
                "waits\n"
                "for the store in use, and with --from what waits for another one, too; it exits "
                "0\n"
                "only if nothing waits any more, and 3 if the store is away or a courier is at\n"
                "work. rejected lists the records that a store refused for good, and why.\n",
            .program = MT_PROGRAM_TRACKER | MT_PROGRAM_SPOOL,
            .options = options,
            .most_operands = 1,
        },
    .run = run,
};
