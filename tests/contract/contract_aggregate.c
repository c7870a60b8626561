/* Buckets of a store against those of a model that is as simple as can be, and of a scan. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "contract.h"
#include "store/aggregate.h"

#define HOUR_S INT64_C(3600)
#define DAY_S  INT64_C(86400)

enum { DAYS = 4, BATCH = 500 };

/* midnight, and an hour on the last of the days, so that it is not to be sealed yet */
#define BEGIN_S INT64_C(1646956800)
#define NOW_S   (BEGIN_S + (DAYS - 1) * DAY_S + 5 * HOUR_S)

static const char *const hosts[] = {"b", "a", "z\u00e9"};
enum { HOSTS = sizeof hosts / sizeof hosts[0] };

/* Buckets in the order they were handed out; an mt_emit_bucket's context. */
struct buckets {
    struct mt_bucket *buckets;
    size_t count;
    size_t capacity;
    size_t most; /* then it stops with CANCELLED; 0: never */
};

static int64_t below(uint64_t *random, int64_t bound)
{
    return (int64_t)(contract_random(random) % (uint64_t)bound);
}

static enum mt_err collect(void *context, const struct mt_bucket *bucket, struct mt_error *error)
{
    struct buckets *list = context;

    if (list->most > 0 && list->count == list->most)
        return mt_error_set(error, MT_ERR_CANCELLED, "that is enough");
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 64 : list->capacity * 2;
        list->buckets = realloc(list->buckets, list->capacity * sizeof *list->buckets);
        assert_non_null(list->buckets);
    }
    list->buckets[list->count++] = *bucket;
    return MT_OK;
}

static bool matches(const struct mt_aggregation *wanted, const struct mt_record *record)
{
    if (wanted->host != NULL && strcmp(wanted->host, record->host) != 0)
        return false;
    if (record->timestamp < wanted->from)
        return false;
    if (wanted->to != 0)
        return record->timestamp < wanted->to;
    return wanted->host != NULL || record->timestamp <= wanted->now_s + MT_FUTURE_SLACK_S;
}

/* as store.h and derive.h have it in words, and on purpose not by the code of either */
static bool measure(const struct mt_record *record, int wanted, int64_t *value)
{
    int64_t total = record->value[MT_FIELD_MEM_TOTAL];
    bool is_used = wanted == MT_MEASURE_USED;

    *value = is_used ? 0 : record->value[wanted];
    if (!is_used)
        return (record->present >> wanted & 1) != 0;
    if ((record->present >> MT_FIELD_MEM_AVAILABLE & 1) != 0 &&
        record->value[MT_FIELD_MEM_AVAILABLE] <= total)
        *value = total - record->value[MT_FIELD_MEM_AVAILABLE];
    else if ((record->present >> MT_FIELD_MEM_FREE & 1) != 0 &&
             record->value[MT_FIELD_MEM_FREE] <= total)
        *value = total - record->value[MT_FIELD_MEM_FREE];
    return true;
}

static int compare_times(const void *a, const void *b)
{
    const struct mt_record *left = a;
    const struct mt_record *right = b;

    return left->timestamp < right->timestamp ? -1 : left->timestamp > right->timestamp;
}

/* of records in order of time */
static void model_aggregate(const struct contract_list *model, const struct mt_aggregation *wanted,
                            struct buckets *result)
{
    mt_i128 sum = 0;

    for (size_t i = 0; i < model->count; i++) {
        int64_t start_s = model->records[i].timestamp / wanted->step_s * wanted->step_s;
        struct mt_bucket *last;
        int64_t value;

        if (!matches(wanted, &model->records[i]) ||
            !measure(&model->records[i], wanted->measure, &value))
            continue;
        if (result->count == 0 || result->buckets[result->count - 1].start_s != start_s) {
            (void)collect(result, &(struct mt_bucket){start_s, 0, value, value, 0}, NULL);
            sum = 0;
        }
        last = &result->buckets[result->count - 1];
        sum += value;
        last->count++;
        last->min = value < last->min ? value : last->min;
        last->max = value > last->max ? value : last->max;
        last->sum = (double)sum;
    }
}

static void check_same(const struct mt_aggregation *wanted, const struct buckets *got,
                       const struct buckets *expected, const char *what)
{
    size_t at = 0;

    while (at < got->count && at < expected->count) {
        const struct mt_bucket *a = &got->buckets[at];
        const struct mt_bucket *b = &expected->buckets[at];

        /* to the last bit: sums are exact until they are handed out */
        if (a->start_s != b->start_s || a->count != b->count || a->min != b->min ||
            a->max != b->max || a->sum < b->sum || a->sum > b->sum)
            break;
        at++;
    }
    if (at < got->count || at < expected->count)
        fail_msg("%s: host %s measure %d from %" PRId64 " to %" PRId64 " step %" PRId64
                 ": %zu buckets, expected %zu; the first that differs is number %zu: at %" PRId64,
                 what, wanted->host == NULL ? "(all)" : wanted->host, wanted->measure, wanted->from,
                 wanted->to, wanted->step_s, got->count, expected->count, at,
                 at < got->count ? got->buckets[at].start_s : -1);
}

static void aggregate_all_ways(struct mt_store *store, const struct contract_list *model,
                               const struct mt_aggregation *wanted)
{
    struct buckets got = {0};
    struct buckets scanned = {0};
    struct buckets expected = {0};
    struct mt_error error = {0};

    assert_ok(mt_store_aggregate(store, wanted, collect, &got, &error));
    assert_ok(mt_aggregate_by_scan(store, wanted, collect, &scanned, &error));
    model_aggregate(model, wanted, &expected);
    check_same(wanted, &got, &expected, "aggregate");
    check_same(wanted, &scanned, &expected, "by scan");
    free(got.buckets);
    free(scanned.buckets);
    free(expected.buckets);
}

/* What an hour of a host is like; most are such that what is kept of the hour says it all. */
enum mood {
    CALM = 0,
    TOTAL_CHANGES = 5,
    ABOVE_TOTAL,
    WITHOUT_AVAILABLE,
    NOW_AND_THEN_WITHOUT,
    LARGE,
    MOODS,
};

static void set_available(struct mt_record *record, enum mood mood, int64_t total, uint64_t *random)
{
    int64_t available = below(random, total + 1);
    bool is_odd = below(random, 4) == 0;

    if (mood == ABOVE_TOTAL && is_odd)
        available = total + below(random, 3);
    if (mood == WITHOUT_AVAILABLE || (mood == NOW_AND_THEN_WITHOUT && is_odd)) {
        mt_record_unset(record, MT_FIELD_MEM_AVAILABLE);
        mt_record_set(record, MT_FIELD_MEM_FREE, below(random, total + 10));
        return;
    }
    mt_record_set(record, MT_FIELD_MEM_AVAILABLE, available);
    if (below(random, 2) == 0)
        mt_record_set(record, MT_FIELD_MEM_FREE, available / 2);
}

static struct mt_record random_record(const char *host, int64_t timestamp, enum mood mood,
                                      uint64_t *random)
{
    struct mt_record record = contract_record(host, timestamp, timestamp % 100000);
    int64_t total = mood == LARGE ? MT_VALUE_MAX : 1000000;

    if (mood == TOTAL_CHANGES)
        total += below(random, 2);
    mt_record_unset(&record, MT_FIELD_MEM_FREE);
    mt_record_set(&record, MT_FIELD_MEM_TOTAL, total);
    set_available(&record, mood, total, random);
    mt_record_set(&record, MT_FIELD_INTERVAL_S, 60);
    if (below(random, 3) != 0)
        mt_record_set(&record, MT_FIELD_CACHED, below(random, 3));
    mt_record_set(&record, MT_FIELD_PSWPIN, mood == LARGE ? MT_VALUE_MAX : timestamp - BEGIN_S);
    return record;
}

/* a host's days, with gaps from minutes to days */
static void make_records(struct contract_list *all, const char *host, int seldom, uint64_t *random)
{
    int64_t second = BEGIN_S + below(random, 2 * DAY_S);
    enum mood mood = CALM;
    int64_t hour = 0;

    while (second < NOW_S + 1000) {
        struct mt_record record;

        if (second / HOUR_S != hour)
            mood = (enum mood)below(random, MOODS);
        hour = second / HOUR_S;
        record = random_record(host, second, mood, random);
        contract_list_add(all, &record);
        second += below(random, 60) == 0 ? below(random, DAY_S) : 1 + below(random, seldom);
    }
}

static void append_all(struct mt_store *store, const struct mt_record *records, size_t count)
{
    static struct mt_outcome outcomes[BATCH];
    struct mt_error error = {0};

    for (size_t at = 0; at < count; at += BATCH) {
        size_t part = count - at < BATCH ? count - at : BATCH;

        assert_ok(mt_store_append(store, records + at, part, MT_CONFLICT_REPORT, outcomes, &error));
        for (size_t i = 0; i < part; i++)
            assert_int_equal(outcomes[i].verdict, MT_VERDICT_NEW);
    }
}

/* borders of hours and of days, seconds around records, or none at all */
static int64_t random_border(const struct contract_list *model, uint64_t *random)
{
    int64_t second = BEGIN_S + below(random, DAYS * DAY_S);

    switch (below(random, 5)) {
    case 0:
        return 0;
    case 1:
        return second - second % HOUR_S;
    case 2:
        return second - second % DAY_S;
    case 3:
        return model->records[below(random, (int64_t)model->count)].timestamp - 1 +
               below(random, 3);
    default:
        return second;
    }
}

static int64_t random_step(uint64_t *random)
{
    static const int64_t usual[] = {HOUR_S, HOUR_S,    HOUR_S, DAY_S,     2 * HOUR_S, 5 * HOUR_S,
                                    60,     7 * DAY_S, 5400,   DAY_S - 1, 1,          INT64_MAX};
    enum { COUNT = sizeof usual / sizeof usual[0] };
    int64_t which = below(random, COUNT + 2);

    if (which < COUNT)
        return usual[which];
    return 1 + below(random, which == COUNT ? 3 * HOUR_S : 3 * DAY_S);
}

static void ask(struct mt_store *store, struct contract_list *model, int questions,
                uint64_t *random)
{
    static const int measures[] = {MT_MEASURE_USED,        MT_MEASURE_USED,   MT_MEASURE_USED,
                                   MT_FIELD_MEM_AVAILABLE, MT_FIELD_MEM_FREE, MT_FIELD_MEM_TOTAL,
                                   MT_FIELD_CACHED,        MT_FIELD_PSWPIN,   MT_FIELD_INTERVAL_S,
                                   MT_FIELD_ZFS_ARC_SIZE};
    enum { MEASURES = sizeof measures / sizeof measures[0] };

    if (model->count == 0)
        return;
    qsort(model->records, model->count, sizeof model->records[0], compare_times);
    for (int i = 0; i < questions; i++) {
        int64_t who = below(random, INT64_C(2) * HOSTS);
        struct mt_aggregation wanted = {
            .host = who < HOSTS ? hosts[who] : NULL,
            .measure = measures[below(random, MEASURES)],
            .from = random_border(model, random),
            .to = random_border(model, random),
            .now_s = NOW_S,
            .step_s = random_step(random),
        };

        if (below(random, 40) == 0)
            wanted.host = "unknown";
        aggregate_all_ways(store, model, &wanted);
    }
}

/* what was sealed, what came late to a sealed day, and what is not sealed yet, in all mixtures */
void contract_aggregate_is_what_a_scan_gives(void **state)
{
    struct contract *contract = *state;
    struct mt_compaction compaction = {.now_s = NOW_S};
    uint64_t random = contract_seed() + 2;
    struct contract_list all = {0};
    struct contract_list model = {0};
    struct mt_error error = {0};
    const int questions = contract->kind->small ? 4 : 60 * contract_rounds();
    size_t shares[] = {0, 60, 70, 100}; /* percent that have come, then a compaction */

    for (size_t i = 0; i < HOSTS; i++)
        make_records(&all, hosts[i], contract->kind->small ? 1500 : 240, &random);
    for (size_t i = all.count; i > 1; i--) {
        size_t other = (size_t)below(&random, (int64_t)i);
        struct mt_record record = all.records[other];

        all.records[other] = all.records[i - 1];
        all.records[i - 1] = record;
    }
    for (size_t i = 1; i < sizeof shares / sizeof shares[0]; i++) {
        size_t from = all.count * shares[i - 1] / 100;
        size_t to = all.count * shares[i] / 100;

        append_all(contract->store, all.records + from, to - from);
        for (size_t j = from; j < to; j++)
            contract_list_add(&model, &all.records[j]);
        ask(contract->store, &model, questions, &random);
        assert_ok(mt_store_compact(contract->store, &compaction, &error));
        assert_true(compaction.is_done);
        ask(contract->store, &model, questions, &random);
    }
    contract_list_free(&all);
    contract_list_free(&model);
}

/* the ends of time, and days that lie far apart */
void contract_aggregate_of_a_sparse_history(void **state)
{
    static const int64_t seconds[] = {
        0, 1, 86399, 86400, 3 * DAY_S + 3599, 1000 * DAY_S, NOW_S, MT_TIMESTAMP_MAX};
    static const int64_t steps[] = {1, HOUR_S, DAY_S, 7 * DAY_S + 1, INT64_MAX};
    struct contract *contract = *state;
    struct mt_compaction compaction = {.now_s = NOW_S};
    struct mt_aggregation wanted = {.measure = MT_MEASURE_USED, .now_s = NOW_S, .step_s = 1};
    struct contract_list model = {0};
    struct mt_error error = {0};

    aggregate_all_ways(contract->store, &model, &wanted);
    for (size_t i = 0; i < sizeof seconds / sizeof seconds[0]; i++) {
        struct mt_record record = contract_record("h", seconds[i], 7);

        mt_record_set(&record, MT_FIELD_MEM_TOTAL, 1000);
        mt_record_set(&record, MT_FIELD_MEM_AVAILABLE, 10 * (int64_t)i);
        contract_list_add(&model, &record);
    }
    append_all(contract->store, model.records, model.count);
    assert_ok(mt_store_compact(contract->store, &compaction, &error));
    for (size_t i = 0; i < 2 * sizeof steps / sizeof steps[0]; i++) {
        wanted.step_s = steps[i / 2];
        wanted.to = i % 2 == 0 ? 0 : INT64_MAX;
        aggregate_all_ways(contract->store, &model, &wanted);
        wanted.host = wanted.host == NULL ? "h" : NULL;
    }
    contract_list_free(&model);
}

static bool always(void *context)
{
    (void)context;
    return true;
}

void contract_aggregate_stops_when_told(void **state)
{
    struct contract *contract = *state;
    struct mt_compaction compaction = {.now_s = NOW_S};
    struct mt_aggregation wanted = {
        .measure = MT_FIELD_MEM_TOTAL, .now_s = NOW_S, .step_s = HOUR_S};
    struct mt_error error = {0};

    for (int64_t i = 0; i < 30; i++) {
        struct mt_record record = contract_record("h", BEGIN_S + i * 1800, i);

        append_all(contract->store, &record, 1);
    }
    for (int is_sealed = 0; is_sealed < 2; is_sealed++) {
        struct buckets few = {.most = 3};
        struct buckets none = {0};
        struct mt_aggregation late = wanted;
        struct mt_aggregation cancelled = wanted;

        assert_int_equal(mt_store_aggregate(contract->store, &wanted, collect, &few, &error),
                         MT_ERR_CANCELLED);
        assert_string_equal(error.text, "that is enough");
        assert_int_equal(few.count, 3);
        late.deadline_ms = 1;
        assert_int_equal(mt_store_aggregate(contract->store, &late, collect, &none, &error),
                         MT_ERR_DEADLINE);
        cancelled.cancelled = always;
        assert_int_equal(mt_store_aggregate(contract->store, &cancelled, collect, &none, &error),
                         MT_ERR_CANCELLED);
        assert_int_equal(none.count, 0);
        free(few.buckets);
        free(none.buckets);
        assert_ok(mt_store_compact(contract->store, &compaction, &error));
    }
}
