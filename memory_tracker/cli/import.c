#include <inttypes.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/source.h"
#include "cli/subcommand.h"
#include "record/csv.h"
#include "store/uri.h"

enum { HOST };

static const struct mt_option options[] = {
    [HOST] = {"host", "NAME",
              "the host of records whose input names none (default: the setting HOST)"},
    {0},
};

enum {
    SHOWN_MOST = 5, /* bad lines and conflicts that are told one by one */
    /* A batch holds the store's lock; while it takes longer than it may, the next one is smaller.
     */
    BATCH_LEAST = 100,
    BATCH_MOST = 500,
    BATCH_MOST_MS = 40,
    WRITE_WAIT_MS = 30000,
};

struct import {
    const char *default_host;
    struct mt_source *source;
    struct mt_store *store;
    struct mt_csv_layout layout;
    struct mt_progress progress;
    int64_t total; /* records of the input, after the first reading */
    int64_t bad;   /* lines of the input that are none */
    int64_t stored, repeats, conflicts;
    void *hosts; /* tsearch tree of owned names */
    size_t host_count;
    bool is_remote;    /* no lock of the store is in samplers' way, but each call takes its time */
    size_t batch_size; /* records the next append takes */
    size_t count;      /* records that wait for it */
    struct mt_record batch[BATCH_MOST];
    struct mt_outcome outcomes[BATCH_MOST];
    int64_t number[BATCH_MOST]; /* where in the input each stood */
};

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

static enum mt_err note_host(struct import *import, const char *host, struct mt_error *error)
{
    char *name;

    if (tfind(host, &import->hosts, compare_names) != NULL)
        return MT_OK;
    name = strdup(host);
    if (name == NULL || tsearch(name, &import->hosts, compare_names) == NULL) {
        free(name);
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    }
    import->host_count++;
    return MT_OK;
}

static enum mt_err read_header(struct import *import, struct mt_error *error)
{
    struct mt_slice line = {0};
    enum mt_err result;

    mt_source_rewind(import->source);
    result = mt_source_next(import->source, &line, error);
    if (result == MT_OK && line.data == NULL)
        result = mt_error_set(error, MT_ERR_BAD_DATA, "nothing but empty lines");
    if (result == MT_OK)
        result = mt_csv_read_header(line, &import->layout, error);
    if (result == MT_ERR_BAD_DATA)
        mt_error_prefix(error, "%s",
                        mt_source_place(import->source, mt_source_number(import->source)));
    return result;
}

/* The next record; *found false at the end. BAD_DATA has the place before its text. */
static enum mt_err next_record(struct import *import, struct mt_record *record, bool *found,
                               struct mt_error *error)
{
    struct mt_slice line = {0};
    enum mt_err result = mt_source_next(import->source, &line, error);

    *found = result == MT_OK && line.data != NULL;
    if (*found)
        result = mt_csv_read_record(&import->layout, line, import->default_host, record, error);
    if (result == MT_ERR_BAD_DATA)
        mt_error_prefix(error, "%s",
                        mt_source_place(import->source, mt_source_number(import->source)));
    return result;
}

/* The first reading: judges every line and stores nothing. */
static enum mt_err check(struct import *import, struct mt_error *error)
{
    enum mt_err result = read_header(import, error);
    struct mt_record record;
    bool found = true;

    mt_progress_begin(&import->progress, "checking");
    while (result == MT_OK && found) {
        result = next_record(import, &record, &found, error);
        if (result == MT_OK && found) {
            import->total++;
            result = note_host(import, record.host, error);
        } else if (result == MT_ERR_BAD_DATA) {
            if (import->bad++ < SHOWN_MOST) {
                mt_progress_wipe(&import->progress);
                mt_log_error(error);
            }
            found = true;
            result = MT_OK;
        }
        if (mt_interrupt_seen(NULL))
            result = mt_error_set(error, MT_ERR_CANCELLED, "interrupted; nothing was imported");
        mt_progress_step(&import->progress, mt_source_read(import->source),
                         mt_source_size(import->source), import->total);
    }
    mt_progress_wipe(&import->progress);
    if (result != MT_OK || import->bad == 0)
        return result;
    if (import->bad > SHOWN_MOST)
        return mt_error_set(error, MT_ERR_BAD_DATA,
                            "%s: %" PRId64 " bad lines, the first %d are shown; nothing was "
                            "imported",
                            mt_source_name(import->source), import->bad, SHOWN_MOST);
    return mt_error_set(error, MT_ERR_BAD_DATA, "%s: %" PRId64 " bad line%s; nothing was imported",
                        mt_source_name(import->source), import->bad, mt_plural(import->bad));
}

static void note_outcomes(struct import *import)
{
    for (size_t i = 0; i < import->count; i++) {
        const struct mt_outcome *outcome = &import->outcomes[i];

        switch (outcome->verdict) {
        case MT_VERDICT_NEW:
        case MT_VERDICT_MOVED:
            import->stored++;
            break;
        case MT_VERDICT_REPEAT:
            import->repeats++;
            break;
        case MT_VERDICT_CONFLICT:
        case MT_VERDICT_REJECTED:
            if (import->conflicts++ < SHOWN_MOST) {
                mt_progress_wipe(&import->progress);
                mt_log(MT_LOG_WARNING, "%s: left out: %s",
                       mt_source_place(import->source, import->number[i]), outcome->text);
            }
            break;
        }
    }
}

static void pause_ms(int64_t milliseconds)
{
    struct timespec time = {.tv_sec = milliseconds / 1000,
                            .tv_nsec = (milliseconds % 1000) * 1000000};

    /* a signal may end it early: the loop looks at it next */
    (void)nanosleep(&time, NULL);
}

/* Stores what waits, then stands back half as long as that took: samplers get their turn. */
static enum mt_err append(struct import *import, struct mt_error *error)
{
    int64_t begun_ms = mt_clock_monotonic_ms();
    int64_t took_ms;
    enum mt_err result = mt_store_append(import->store, import->batch, import->count,
                                         MT_CONFLICT_REPORT, import->outcomes, error);

    if (result != MT_OK)
        return result;
    took_ms = mt_clock_monotonic_ms() - begun_ms;
    note_outcomes(import);
    import->count = 0;
    if (import->is_remote)
        return MT_OK;
    if (took_ms > BATCH_MOST_MS && import->batch_size > BATCH_LEAST)
        import->batch_size /= 2;
    else if (took_ms < BATCH_MOST_MS / 2)
        import->batch_size *= 2;
    if (import->batch_size > BATCH_MOST)
        import->batch_size = BATCH_MOST;
    if (import->batch_size < BATCH_LEAST)
        import->batch_size = BATCH_LEAST;
    pause_ms((took_ms < BATCH_MOST_MS ? took_ms : BATCH_MOST_MS) / 2);
    return MT_OK;
}

/* The second reading: appends in batches. */
static enum mt_err store_all(struct import *import, struct mt_error *error)
{
    enum mt_err result = read_header(import, error);
    int64_t done = 0;
    bool found = true;

    mt_progress_begin(&import->progress, "importing");
    import->batch_size = import->is_remote ? BATCH_MOST : BATCH_LEAST;
    while (result == MT_OK && found) {
        result = next_record(import, &import->batch[import->count], &found, error);
        if (result == MT_OK && found) {
            import->number[import->count++] = mt_source_number(import->source);
            done++;
        }
        if (result == MT_OK && import->count > 0 && (!found || import->count >= import->batch_size))
            result = append(import, error);
        if (result == MT_OK && found && mt_interrupt_seen(NULL))
            result = mt_error_set(error, MT_ERR_CANCELLED, "interrupted");
        mt_progress_step(&import->progress, done, import->total, done);
    }
    mt_progress_wipe(&import->progress);
    return result;
}

static enum mt_err put_summary(const struct import *import, struct mt_error *error)
{
    struct mt_output out;
    enum mt_err result = mt_output_open(&out, NULL, error);

    mt_buf_printf(&out.text,
                  "imported %" PRId64 " record%s (%" PRId64 " repeat%s, %" PRId64
                  " conflict%s) for %zu host%s\n",
                  import->stored, mt_plural(import->stored), import->repeats,
                  mt_plural(import->repeats), import->conflicts, mt_plural(import->conflicts),
                  import->host_count, mt_plural((int64_t)import->host_count));
    if (result == MT_OK)
        result = mt_output_commit(&out, error);
    mt_output_close(&out);
    return result;
}

static enum mt_err run_both(struct import *import, const char *path, const char *uri,
                            struct mt_error *error)
{
    struct mt_store_options writing = {.busy_wait_ms = WRITE_WAIT_MS, .timeout_ms = WRITE_WAIT_MS};
    enum mt_err result = mt_source_open(path, &import->source, error);

    import->is_remote = mt_store_is_remote(uri);
    if (result == MT_OK)
        result = check(import, error);
    if (result == MT_OK)
        result = mt_store_open(uri, &writing, &import->store, error);
    if (result != MT_OK)
        return result;
    result = store_all(import, error);
    if (result != MT_OK) {
        if (result == MT_ERR_BAD_DATA)
            mt_error_prefix(error, "the input changed while it was read");
        mt_error_prefix(
            error, "after %" PRId64 " of %" PRId64 " records (the same import again completes it)",
            import->stored + import->repeats + import->conflicts, import->total);
        return result;
    }
    result = put_summary(import, error);
    if (result == MT_OK && import->conflicts > 0)
        result = mt_error_set(error, MT_ERR_BAD_DATA,
                              "%s: %" PRId64 " record%s left out, since another is stored for the "
                              "same host and second",
                              mt_source_name(import->source), import->conflicts,
                              mt_plural(import->conflicts));
    return result;
}

static enum mt_err run(const struct mt_config *config, const struct mt_arguments *arguments,
                       struct mt_error *error)
{
    struct import *import;
    char *uri = NULL;
    enum mt_err result = mt_check_host(arguments->option[HOST], error);

    if (result != MT_OK)
        return result;
    import = calloc(1, sizeof *import);
    if (import == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    import->default_host = arguments->option[HOST] != NULL
                               ? arguments->option[HOST]
                               : mt_config_string(config, MT_SETTING_HOST);
    mt_interrupt_catch();
    result = mt_store_uri(config, &uri, error);
    if (result == MT_OK)
        result = run_both(import, arguments->operand[0], uri, error);
    mt_store_close(import->store);
    mt_source_close(import->source);
    tdestroy(import->hosts, free);
    free(import);
    free(uri);
    return result;
}

const struct mt_subcommand mt_import_subcommand = {
    .name = "import",
    .command =
        {
            .name = "memory-tracker import",
            .operands = "FILE",
            .summary = "Stores the records of a file, or of standard input if FILE is -.",
            .examples = "  memory-tracker import history.csv\n"
                        "  zcat history.csv.gz | memory-tracker import -\n"
                        "  memory-tracker import --host web-1 old-memory-tracker.db\n",
            .notes = "FILE is CSV as export writes it (sizes in KiB), CSV with the columns\n"
                     "timestamp,total,free,used (Unix seconds and MiB; also host), or an SQLite\n"
                     "file with a table memory_log(timestamp,total,free,used).\n"
                     "The whole input is checked first; if a line is bad, nothing is imported.\n"
                     "A record that is stored already is a repeat and changes nothing, so an\n"
                     "import may be repeated; one that differs from the stored record of its host\n"
                     "and second is a conflict, left out and reported, and the exit status is 1.\n",
            .program = MT_PROGRAM_TRACKER,
            .options = options,
            .least_operands = 1,
            .most_operands = 1,
        },
    .run = run,
};
