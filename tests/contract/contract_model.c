/* Random calls on a store and on a model of it that is as simple as can be. */
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

enum {
    NOW_S = 1647033600,
    DAY_S = 86400,
    BATCH_MOST = 40,
};

/* arrival order differs from the order of bytes; UTF-8; names that begin alike */
static const char *const hosts[] = {"m",   "b",       "a",      "B",      "aa",
                                    "a.b", "z\u00e9", "host-1", "host-10"};
enum { HOSTS = sizeof hosts / sizeof hosts[0] };

static int64_t below(uint64_t *random, int64_t bound)
{
    return (int64_t)(contract_random(random) % (uint64_t)bound);
}

struct mt_record contract_random_record(uint64_t *random, int64_t timestamp)
{
    struct mt_record record = {.timestamp = timestamp};

    (void)snprintf(record.host, sizeof record.host, "%s", hosts[below(random, HOSTS)]);
    record.has_boot_id = below(random, 4) != 0;
    if (record.has_boot_id)
        record.boot_id[0] = (uint8_t)below(random, 2);
    if (below(random, 4) != 0)
        mt_record_set(&record, MT_FIELD_UPTIME_S, below(random, 3));
    for (enum mt_field i = MT_FIELD_INTERVAL_S; i < MT_FIELD_COUNT; i++)
        if (below(random, 8) == 0)
            mt_record_set(&record, i, below(random, 2) * MT_VALUE_MAX);
    mt_record_set(&record, MT_FIELD_MEM_TOTAL, 1 + below(random, 2));
    if (below(random, 2) == 0)
        mt_record_set(&record, MT_FIELD_MEM_FREE, 7);
    else
        mt_record_set(&record, MT_FIELD_MEM_AVAILABLE, 7);
    if (below(random, 50) == 0)
        mt_record_set(&record, MT_FIELD_BUFFERS, -1);
    return record;
}

/* crowded seconds around the borders of days, hours, and of what counts as the future */
static int64_t random_second(uint64_t *random)
{
    static const int64_t around[] = {0,
                                     3600,
                                     DAY_S,
                                     NOW_S - 3 * DAY_S,
                                     NOW_S - 7200,
                                     NOW_S,
                                     NOW_S + MT_FUTURE_SLACK_S,
                                     MT_TIMESTAMP_MAX - 5};
    int64_t second =
        around[below(random, sizeof around / sizeof around[0])] - 5 + below(random, 10);

    return second < 0 ? 0 : second;
}

static const struct mt_record *find(const struct contract_list *model, const char *host,
                                    int64_t timestamp)
{
    for (size_t i = 0; i < model->count; i++)
        if (model->records[i].timestamp == timestamp && strcmp(model->records[i].host, host) == 0)
            return &model->records[i];
    return NULL;
}

struct mt_outcome contract_model_append(struct contract_list *model, const struct mt_record *record,
                                        enum mt_on_conflict on_conflict)
{
    struct mt_outcome outcome = {.verdict = MT_VERDICT_NEW, .timestamp = record->timestamp};
    struct mt_record stored = *record;
    const struct mt_record *there;

    if (mt_record_check(record, NULL) != MT_OK) {
        outcome.verdict = MT_VERDICT_REJECTED;
        return outcome;
    }
    while ((there = find(model, record->host, stored.timestamp)) != NULL) {
        if (mt_record_is_repeat(record, there)) {
            outcome.verdict = MT_VERDICT_REPEAT;
            outcome.timestamp = stored.timestamp;
            return outcome;
        }
        if (on_conflict == MT_CONFLICT_REPORT || stored.timestamp == MT_TIMESTAMP_MAX) {
            outcome.verdict = MT_VERDICT_CONFLICT;
            return outcome;
        }
        outcome.verdict = MT_VERDICT_MOVED;
        stored.timestamp++;
    }
    outcome.timestamp = stored.timestamp;
    contract_list_add(model, &stored);
    return outcome;
}

static void append_both(struct mt_store *store, struct contract_list *model, uint64_t *random)
{
    struct mt_record records[BATCH_MOST];
    struct mt_outcome outcomes[BATCH_MOST];
    struct mt_error error = {0};
    size_t count = (size_t)below(random, BATCH_MOST);
    enum mt_on_conflict on_conflict = below(random, 2) == 0 ? MT_CONFLICT_MOVE : MT_CONFLICT_REPORT;

    for (size_t i = 0; i < count; i++) {
        records[i] = contract_random_record(random, random_second(random));
        /* one that stands there already, perhaps where it was moved to */
        if (model->count > 0 && below(random, 5) == 0)
            records[i] = model->records[below(random, (int64_t)model->count)];
    }
    assert_ok(mt_store_append(store, records, count, on_conflict, outcomes, &error));
    for (size_t i = 0; i < count; i++) {
        struct mt_outcome expected = contract_model_append(model, &records[i], on_conflict);
        bool has_reason =
            expected.verdict == MT_VERDICT_CONFLICT || expected.verdict == MT_VERDICT_REJECTED;

        assert_int_equal(outcomes[i].verdict, expected.verdict);
        assert_int_equal(outcomes[i].timestamp, expected.timestamp);
        assert_int_equal(outcomes[i].text[0] != '\0', has_reason);
    }
}

int contract_compare(const void *a, const void *b)
{
    const struct mt_record *left = a;
    const struct mt_record *right = b;

    if (left->timestamp != right->timestamp)
        return left->timestamp < right->timestamp ? -1 : 1;
    return strcmp(left->host, right->host);
}

static bool matches(const struct mt_query *query, const struct mt_record *record)
{
    bool is_asked_for = query->hosts == NULL;

    for (size_t i = 0; i < query->host_count; i++)
        is_asked_for = is_asked_for || strcmp(query->hosts[i], record->host) == 0;
    if (!is_asked_for || record->timestamp < query->from)
        return false;
    if (query->to != 0)
        return record->timestamp < query->to;
    return query->hosts != NULL || record->timestamp <= query->now_s + MT_FUTURE_SLACK_S;
}

static void model_scan(const struct contract_list *model, const struct mt_query *query,
                       struct contract_list *result)
{
    struct contract_list matching = {0};
    size_t to;
    size_t from;

    for (size_t i = 0; i < model->count; i++)
        if (matches(query, &model->records[i]))
            contract_list_add(&matching, &model->records[i]);
    if (matching.count > 0)
        qsort(matching.records, matching.count, sizeof matching.records[0], contract_compare);
    to = matching.count -
         (query->skip < (int64_t)matching.count ? (size_t)query->skip : matching.count);
    from = query->limit == 0 || query->limit > (int64_t)to ? 0 : to - (size_t)query->limit;
    result->count = 0;
    for (size_t i = from; i < to; i++) {
        size_t at = query->order == MT_OLDEST_FIRST ? i : to - 1 - (i - from);

        contract_list_add(result, &matching.records[at]);
    }
    contract_list_free(&matching);
}

static void scan_both(struct mt_store *store, const struct contract_list *model,
                      const struct mt_query *query)
{
    struct contract_list got = {0};
    struct contract_list expected = {0};

    contract_scan(store, query, &got);
    model_scan(model, query, &expected);
    if (got.count != expected.count)
        print_error("from %" PRId64 " to %" PRId64 " skip %" PRId64 " limit %" PRId64
                    " hosts %zu order %d\n",
                    query->from, query->to, query->skip, query->limit, query->host_count,
                    query->order);
    assert_int_equal(got.count, expected.count);
    for (size_t i = 0; i < got.count; i++)
        contract_check_same(&got.records[i], &expected.records[i], query->fields);
    contract_list_free(&got);
    contract_list_free(&expected);
}

/* near what there is, so that borders fall among records */
static int64_t random_border(const struct contract_list *model, uint64_t *random)
{
    if (model->count == 0 || below(random, 3) == 0)
        return 0;
    return model->records[below(random, (int64_t)model->count)].timestamp - 1 + below(random, 3);
}

static int64_t random_amount(const struct contract_list *model, uint64_t *random)
{
    switch (below(random, 6)) {
    case 0:
        return 0;
    case 1:
        return INT64_MAX - below(random, 2);
    case 2:
        return below(random, 5);
    default:
        return below(random, (int64_t)model->count + 3);
    }
}

static struct mt_query random_query(const struct contract_list *model, const char *wanted[HOSTS],
                                    uint64_t *random)
{
    struct mt_query query = {
        .from = random_border(model, random),
        .to = random_border(model, random),
        .now_s = NOW_S,
        .skip = random_amount(model, random),
        .limit = random_amount(model, random),
        .order = below(random, 2) == 0 ? MT_OLDEST_FIRST : MT_NEWEST_FIRST,
        .fields = below(random, 2) == 0 ? MT_FIELD_ALL : contract_random(random) & MT_FIELD_ALL,
    };

    if (query.from < 0)
        query.from = 0;
    if (query.to < 0)
        query.to = 0;
    if (below(random, 2) == 0)
        return query;
    query.hosts = wanted;
    query.host_count = (size_t)below(random, HOSTS);
    for (size_t i = 0; i < query.host_count; i++)
        wanted[i] = below(random, 10) == 0 ? "unknown" : hosts[below(random, HOSTS)];
    return query;
}

static void query_both(struct mt_store *store, const struct contract_list *model, int count,
                       uint64_t *random)
{
    for (int i = 0; i < count; i++) {
        const char *wanted[HOSTS];
        struct mt_query query = random_query(model, wanted, random);

        scan_both(store, model, &query);
    }
}

void contract_check_host(const struct mt_host *host, const struct contract_list *model,
                         int64_t now_s)
{
    struct mt_host expected = {.first = INT64_MAX};

    for (size_t i = 0; i < model->count; i++) {
        const struct mt_record *record = &model->records[i];

        if (strcmp(record->host, host->name) != 0)
            continue;
        expected.records++;
        expected.future += record->timestamp > now_s + MT_FUTURE_SLACK_S;
        if (record->timestamp < expected.first)
            expected.first = record->timestamp;
        if (record->timestamp >= expected.last) {
            expected.last = record->timestamp;
            expected.interval_s = record->value[MT_FIELD_INTERVAL_S];
        }
    }
    assert_true(host->records > 0);
    assert_int_equal(host->records, expected.records);
    assert_int_equal(host->first, expected.first);
    assert_int_equal(host->last, expected.last);
    assert_int_equal(host->future, expected.future);
    assert_int_equal(host->interval_s, expected.interval_s);
}

/* An mt_emit_host that checks one host after the other against the model. */
struct host_check {
    const struct contract_list *model;
    char last[MT_HOST_MAX + 1];
    size_t records;
};

static enum mt_err check_host(void *context, const struct mt_host *host, struct mt_error *error)
{
    struct host_check *check = context;

    (void)error;
    assert_true(strcmp(check->last, host->name) < 0);
    memcpy(check->last, host->name, sizeof check->last);
    contract_check_host(host, check->model, NOW_S);
    check->records += (size_t)host->records;
    return MT_OK;
}

static void hosts_both(struct mt_store *store, const struct contract_list *model)
{
    struct host_check check = {.model = model};
    struct mt_error error = {0};

    assert_ok(mt_store_hosts(store, NOW_S, check_host, &check, &error));
    assert_int_equal(check.records, model->count);
}

static void prune_both(struct mt_store *store, struct contract_list *model, uint64_t *random)
{
    int64_t before = random_border(model, random);
    struct mt_error error = {0};
    size_t kept = 0;
    int64_t pruned = -1;

    /* mostly little, or nothing would be left to test with */
    if (before > 10 && below(random, 4) != 0)
        before = 10;
    assert_ok(mt_store_prune(store, before, &pruned, &error));
    for (size_t i = 0; i < model->count; i++)
        if (model->records[i].timestamp >= before)
            model->records[kept++] = model->records[i];
    assert_int_equal(pruned, model->count - kept);
    model->count = kept;
}

/* What a reader that follows changes() has collected. */
struct follower {
    struct mt_token token;
    struct contract_list seen;
};

static void follow(struct mt_store *store, struct follower *follower, uint64_t *random)
{
    struct mt_error error = {0};
    bool reset = true;
    size_t before;

    do {
        before = follower->seen.count;
        assert_ok(mt_store_changes(store, &follower->token, 1 + (size_t)below(random, 30),
                                   contract_collect, &follower->seen, &reset, &error));
        if (reset) {
            struct mt_query query = contract_everything();

            assert_int_equal(follower->seen.count, before);
            contract_scan(store, &query, &follower->seen);
        }
    } while (follower->seen.count > before);
}

/* whatever happened, the follower has what a scan gives */
static void check_follower(const struct follower *follower, const struct contract_list *model)
{
    struct contract_list seen = {0};
    struct contract_list expected = {0};
    struct mt_query query = contract_everything();

    model_scan(&follower->seen, &query, &seen);
    model_scan(model, &query, &expected);
    assert_int_equal(seen.count, expected.count);
    for (size_t i = 0; i < seen.count; i++)
        contract_check_same(&seen.records[i], &expected.records[i], MT_FIELD_ALL);
    contract_list_free(&seen);
    contract_list_free(&expected);
}

static void no_finding(void *context, const char *text)
{
    (void)context;
    fail_msg("verify: %s", text);
}

void contract_model_small(void **state)
{
    uint64_t random = contract_seed();
    struct mt_error error = {0};

    for (int round = 0; round < contract_rounds(); round++) {
        struct contract *contract = *state;
        struct contract_list model = {0};
        struct follower follower = {0};
        int64_t findings = -1;

        for (int step = 0; step < (contract->kind->small ? 15 : 60); step++) {
            append_both(contract->store, &model, &random);
            if (below(&random, 8) == 0)
                prune_both(contract->store, &model, &random);
            query_both(contract->store, &model, 6, &random);
            hosts_both(contract->store, &model);
            if (below(&random, 3) == 0)
                follow(contract->store, &follower, &random);
        }
        follow(contract->store, &follower, &random);
        check_follower(&follower, &model);
        assert_ok(mt_store_verify(contract->store, true, no_finding, NULL, &findings, &error));
        assert_int_equal(findings, 0);
        contract_list_free(&model);
        contract_list_free(&follower.seen);
        contract_teardown(state);
        contract_setup(state);
    }
}

/* enough records for every way to skip: 40 days of 6 hosts, with gaps, bursts and ties */
void contract_model_large(void **state)
{
    struct contract *contract = *state;
    uint64_t random = contract_seed() + 1;
    struct contract_list model = {0};
    struct mt_error error = {0};
    const int share = contract->kind->small ? 10 : 1;
    int64_t second = NOW_S - INT64_C(40) * DAY_S / share;
    static struct mt_outcome outcomes[1000];

    while (second < NOW_S + 2000) {
        for (size_t i = 0; i < 6; i++) {
            struct mt_record record = contract_record(hosts[i], second, second);

            if (below(&random, 10) != 0)
                contract_list_add(&model, &record);
        }
        second += below(&random, 200) == 0 ? below(&random, 2 * DAY_S) : 1 + below(&random, 600);
    }
    assert_true(model.count > (size_t)(10000 / share));
    for (size_t at = 0; at < model.count; at += 1000) {
        size_t count = model.count - at < 1000 ? model.count - at : 1000;

        assert_ok(mt_store_append(contract->store, model.records + at, count, MT_CONFLICT_REPORT,
                                  outcomes, &error));
        for (size_t i = 0; i < count; i++)
            assert_int_equal(outcomes[i].verdict, MT_VERDICT_NEW);
    }
    query_both(contract->store, &model, 150 / share * contract_rounds(), &random);
    hosts_both(contract->store, &model);
    contract_list_free(&model);
}
