#include "store/tend.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/utc.h"

enum { DAY_S = 86400, HOUR_S = 3600, AIM_MS = 500, TRIES = 3 };

enum mt_err mt_tend_open(const char *uri, const struct mt_store_options *options,
                         struct mt_store **store, struct mt_error *error)
{
    struct mt_store_options writing = *options;
    struct mt_store_options reading = *options;
    struct mt_store *reader = NULL;
    enum mt_err result;

    writing.read_only = false;
    reading.read_only = true;
    result = mt_store_open(uri, &reading, &reader, error);
    mt_store_close(reader);
    return result == MT_OK ? mt_store_open(uri, &writing, store, error) : result;
}

static int64_t day_of(int64_t second)
{
    return second - second % DAY_S;
}

static bool must_stop(const struct mt_pruning *pruning)
{
    if (pruning->cancelled != NULL && pruning->cancelled(pruning->cancel_context))
        return true;
    return pruning->deadline_ms != 0 && mt_clock_monotonic_ms() >= pruning->deadline_ms;
}

/* the second before which all days are to go by their time */
static int64_t bound_of(const struct mt_pruning *pruning)
{
    int64_t bound = pruning->before;
    int64_t over = pruning->kept > 0 ? pruning->now_s - pruning->kept : 0;

    if (over > bound)
        bound = over;
    if (bound > pruning->now_s)
        bound = pruning->now_s;
    return bound > 0 ? day_of(bound) : 0;
}

struct oldest {
    int64_t timestamp;
    bool found;
};

/* is there a record in [from, to)? */
static enum mt_err take_any(void *context, const struct mt_record *record, struct mt_error *error)
{
    (void)record;
    *(bool *)context = true;
    return mt_error_set(error, MT_ERR_CANCELLED, "enough");
}

/*
 * A clock that goes wrong by years makes all of the history too old at once. It has gone right for
 * a day at least where the time that is to be kept has a record of a day ago or earlier.
 */
static enum mt_err check_clock(struct mt_store *store, const struct mt_pruning *pruning,
                               bool *is_proven, struct mt_error *error)
{
    const struct mt_query query = {
        .from = bound_of(pruning), .to = pruning->now_s - DAY_S + 1, .order = MT_OLDEST_FIRST};
    struct mt_error enough = {0};
    enum mt_err result = MT_OK;

    *is_proven = false;
    if (query.from < query.to)
        result = mt_store_scan(store, &query, take_any, is_proven, &enough);
    /* a day that cannot be read is one */
    if (result == MT_ERR_CORRUPT)
        *is_proven = true;
    if (*is_proven)
        return MT_OK;
    if (result != MT_OK && error != NULL)
        *error = enough;
    return result;
}

static enum mt_err take_oldest(void *context, const struct mt_record *record,
                               struct mt_error *error)
{
    *(struct oldest *)context = (struct oldest){record->timestamp, true};
    return mt_error_set(error, MT_ERR_CANCELLED, "enough");
}

struct progress {
    int64_t day; /* the oldest one, the last time */
    int tries;   /* how often it was not removed */
};

static enum mt_err take_first(void *context, const struct mt_host *host, struct mt_error *error)
{
    struct oldest *oldest = context;

    (void)error;
    if (host->records > 0 && (!oldest->found || host->first < oldest->timestamp))
        *oldest = (struct oldest){host->first, true};
    return MT_OK;
}

/* The oldest record before that second, if there is one. A day that is too damaged to be read can
 * be removed all the same: then what is known of the hosts tells. */
static enum mt_err find_oldest(struct mt_store *store, int64_t before, struct oldest *oldest,
                               struct mt_error *error)
{
    const struct mt_query query = {.to = before, .order = MT_OLDEST_FIRST};
    struct mt_error enough = {0};
    enum mt_err result = MT_OK;

    *oldest = (struct oldest){0};
    if (before > 0)
        result = mt_store_scan(store, &query, take_oldest, oldest, &enough);
    if (result == MT_ERR_CORRUPT) {
        (void)mt_store_hosts(store, before, take_first, oldest, NULL);
        oldest->found = oldest->found && oldest->timestamp < before;
    }
    if (oldest->found)
        return MT_OK;
    if (result != MT_OK && error != NULL)
        *error = enough;
    return result;
}

/* Others may remove the same at the same time, but what is found again and again is not removed. */
static enum mt_err check_progress(struct progress *progress, int64_t pruned, int64_t oldest,
                                  struct mt_error *error)
{
    char day[MT_UTC_SIZE];

    if (pruned > 0 || day_of(oldest) != progress->day)
        progress->tries = 0;
    progress->day = day_of(oldest);
    if (pruned > 0 || ++progress->tries < TRIES)
        return MT_OK;
    mt_utc_format(progress->day, day);
    return mt_error_set(error, MT_ERR_FAILED,
                        "the store has records of %.10s, but removes none of them", day);
}

static enum mt_err remove_before(struct mt_store *store, struct mt_pruning *pruning, int64_t oldest,
                                 int64_t end, struct progress *progress, struct mt_error *error)
{
    int64_t pruned = 0;
    enum mt_err result = mt_store_prune(store, end, &pruned, error);

    if (pruned > 0) {
        if (pruning->records == 0)
            pruning->first = day_of(oldest);
        pruning->records += pruned;
        pruning->end = end;
    }
    return result == MT_OK ? check_progress(progress, pruned, oldest, error) : result;
}

/* In strides of some days that take about AIM_MS: each makes whoever follows the store begin anew,
 * and only between two of them can the work be stopped. */
static enum mt_err prune_by_time(struct mt_store *store, struct mt_pruning *pruning, bool *stopped,
                                 struct mt_error *error)
{
    int64_t bound = bound_of(pruning);
    int64_t days = 1;
    struct progress progress = {0};
    struct oldest oldest;
    enum mt_err result;

    for (;;) {
        int64_t begun_ms = mt_clock_monotonic_ms();
        int64_t end;

        result = find_oldest(store, bound, &oldest, error);
        if (result != MT_OK || !oldest.found)
            return result;
        *stopped = must_stop(pruning);
        if (*stopped)
            return MT_OK;
        end = day_of(oldest.timestamp) + days * DAY_S;
        result = remove_before(store, pruning, oldest.timestamp, end < bound ? end : bound,
                               &progress, error);
        if (result != MT_OK)
            return result;
        if (mt_clock_monotonic_ms() - begun_ms < AIM_MS / 2)
            days *= 2;
        else if (mt_clock_monotonic_ms() - begun_ms > AIM_MS && days > 1)
            days /= 2;
    }
}

/*
 * The oldest day is looked for before the size is: where two do this at once, the second one then
 * finds it gone, or the size small enough, and does not remove one more for the same reason.
 */
static enum mt_err prune_by_size(struct mt_store *store, struct mt_pruning *pruning, bool *stopped,
                                 struct mt_error *error)
{
    int64_t today = day_of(pruning->now_s);
    struct progress progress = {0};
    struct oldest oldest = {0};
    enum mt_err result = mt_store_size(store, &pruning->size, error);

    if (result == MT_OK)
        pruning->size_before = pruning->size;
    while (result == MT_OK && pruning->size > -pruning->kept) {
        result = find_oldest(store, today, &oldest, error);
        if (result == MT_OK && oldest.found)
            result = mt_store_size(store, &pruning->size, error);
        if (result != MT_OK || !oldest.found || pruning->size <= -pruning->kept)
            break;
        *stopped = must_stop(pruning);
        if (*stopped)
            break;
        result = remove_before(store, pruning, oldest.timestamp, day_of(oldest.timestamp) + DAY_S,
                               &progress, error);
        if (result == MT_OK)
            result = mt_store_size(store, &pruning->size, error);
    }
    return result;
}

static void begin(struct mt_pruning *pruning)
{
    pruning->records = pruning->first = pruning->end = 0;
    pruning->size = pruning->size_before = -1;
    pruning->is_done = false;
}

enum mt_err mt_prune_days(struct mt_store *store, struct mt_pruning *pruning,
                          struct mt_error *error)
{
    bool stopped = false;
    enum mt_err result;

    begin(pruning);
    result = prune_by_time(store, pruning, &stopped, error);
    if (result == MT_OK && !stopped && pruning->kept < 0)
        result = prune_by_size(store, pruning, &stopped, error);
    pruning->is_done = result == MT_OK && !stopped;
    return result;
}

/* Records counted by days, from the oldest on. */
struct census {
    struct mt_pruning *pruning;
    int64_t bound;    /* days before it go in any case */
    int64_t too_many; /* records that have to go for the size, about */
    bool is_stopped;
};

static enum mt_err count_record(void *context, const struct mt_record *record,
                                struct mt_error *error)
{
    struct census *census = context;
    struct mt_pruning *pruning = census->pruning;

    if (record->timestamp >= pruning->end) {
        census->is_stopped =
            record->timestamp >= census->bound && pruning->records >= census->too_many;
        if (census->is_stopped)
            return mt_error_set(error, MT_ERR_CANCELLED, "enough");
        if (pruning->records == 0)
            pruning->first = day_of(record->timestamp);
        pruning->end = day_of(record->timestamp) + DAY_S;
    }
    pruning->records++;
    return MT_OK;
}

static enum mt_err add_records(void *context, const struct mt_host *host, struct mt_error *error)
{
    (void)error;
    *(int64_t *)context += host->records;
    return MT_OK;
}

enum mt_err mt_prune_foretell(struct mt_store *store, struct mt_pruning *pruning,
                              struct mt_error *error)
{
    struct census census = {.pruning = pruning, .bound = bound_of(pruning)};
    struct mt_query query = {.to = census.bound,
                             .order = MT_OLDEST_FIRST,
                             .cancelled = pruning->cancelled,
                             .cancel_context = pruning->cancel_context};
    int64_t records = 0;
    enum mt_err result = MT_OK;

    begin(pruning);
    if (pruning->kept < 0) {
        query.to = day_of(pruning->now_s);
        result = mt_store_size(store, &pruning->size_before, error);
        if (result == MT_OK)
            result = mt_store_hosts(store, pruning->now_s, add_records, &records, error);
    }
    if (result != MT_OK)
        return result;
    if (pruning->kept < 0 && pruning->size_before > -pruning->kept)
        census.too_many =
            (int64_t)((double)records * (double)(pruning->size_before + pruning->kept) /
                      (double)pruning->size_before) +
            1;
    if (query.to > 0)
        result = mt_store_scan(store, &query, count_record, &census, error);
    if (census.is_stopped)
        result = MT_OK;
    if (pruning->kept < 0 && records > 0)
        pruning->size = (int64_t)((double)pruning->size_before *
                                  (double)(records - pruning->records) / (double)records);
    pruning->is_done = result == MT_OK;
    return result;
}

enum mt_err mt_tend(struct mt_store *store, struct mt_tending *tending, struct mt_error *error)
{
    struct mt_pruning *pruning = &tending->pruning;
    struct mt_compaction *compaction = &tending->compaction;
    struct mt_error failure = {0};
    bool stopped = false;
    bool is_proven = true;
    enum mt_err result = MT_OK;

    begin(pruning);
    *compaction = (struct mt_compaction){.now_s = pruning->now_s,
                                         .deadline_ms = pruning->deadline_ms,
                                         .cancelled = pruning->cancelled,
                                         .cancel_context = pruning->cancel_context};
    if (pruning->kept > 0)
        result = check_clock(store, pruning, &is_proven, error);
    if (result == MT_OK && is_proven)
        result = prune_by_time(store, pruning, &stopped, error);
    if (result != MT_OK || stopped)
        return result;
    result = mt_store_compact(store, compaction, &failure);
    if (result != MT_OK && error != NULL)
        *error = failure;
    /* what cannot be sealed, for a damaged day, a full disk or somebody who goes on writing into
     * one, must not stand in the way of what gives room */
    pruning->is_done = pruning->kept >= 0;
    if (pruning->kept < 0 &&
        (result == MT_OK ? compaction->is_done || !must_stop(pruning)
                         : result == MT_ERR_CORRUPT || result == MT_ERR_FULL)) {
        enum mt_err pruned =
            prune_by_size(store, pruning, &stopped, result == MT_OK ? error : NULL);

        pruning->is_done = pruned == MT_OK && !stopped;
        result = result == MT_OK ? pruned : result;
    }
    return result;
}

void mt_tend_describe_days(const struct mt_pruning *pruning, struct mt_buf *out)
{
    char first[MT_UTC_SIZE];
    char last[MT_UTC_SIZE];

    mt_utc_format(pruning->first, first);
    mt_utc_format(pruning->end - DAY_S, last);
    mt_buf_append(out, first, 10);
    if (pruning->end - pruning->first > DAY_S)
        mt_buf_printf(out, " to %.10s", last);
}

void mt_tend_describe(const struct mt_tending *tending, struct mt_buf *out)
{
    const struct mt_compaction *compaction = &tending->compaction;
    const struct mt_pruning *pruning = &tending->pruning;

    if (compaction->days > 0)
        mt_buf_printf(out, "%" PRId64 " day%s sealed (%" PRId64 " record%s)", compaction->days,
                      compaction->days == 1 ? "" : "s of hosts", compaction->records,
                      compaction->records == 1 ? "" : "s");
    if (pruning->records > 0) {
        mt_buf_printf(out, "%s%" PRId64 " record%s of ", compaction->days > 0 ? ", " : "",
                      pruning->records, pruning->records == 1 ? "" : "s");
        mt_tend_describe_days(pruning, out);
        mt_buf_append_string(out, " removed by RETENTION");
    }
}

bool mt_tend_is_hour(const char *host, int64_t now_s, int64_t interval_s)
{
    uint32_t hash = 2166136261U; /* FNV-1a */
    int64_t own;

    for (const char *c = host; *c != '\0'; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619U;
    own = now_s + hash % HOUR_S;
    return own / HOUR_S != (own - interval_s) / HOUR_S;
}
