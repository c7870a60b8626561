#include "contract.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

static const struct contract_kind *kind_under_test;

uint64_t contract_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 11;
}

uint64_t contract_seed(void)
{
    const char *text = getenv("MT_CONTRACT_SEED");
    uint64_t seed = text == NULL ? 1 : strtoull(text, NULL, 10);

    print_message("MT_CONTRACT_SEED=%llu\n", (unsigned long long)seed);
    /* never 0, and neighbours are far apart */
    return (seed + 1) * UINT64_C(0x9E3779B97F4A7C15) | 1;
}

int contract_rounds(void)
{
    const char *text = getenv("MT_CONTRACT_ROUNDS");

    return text == NULL ? 1 : (int)strtol(text, NULL, 10);
}

struct mt_store *contract_open(const struct contract *contract, bool read_only, int busy_wait_ms)
{
    struct mt_store_options options = {.read_only = read_only, .busy_wait_ms = busy_wait_ms};
    struct mt_store *store = NULL;
    struct mt_error error = {0};

    assert_ok(mt_store_open(contract->uri, &options, &store, &error));
    assert_non_null(store);
    return store;
}

bool contract_is_sanitized(void)
{
    const char *sanitizer = getenv("MT_SANITIZE");

    return sanitizer != NULL && *sanitizer != '\0';
}

int contract_setup(void **state)
{
    struct contract *contract = calloc(1, sizeof *contract);

    assert_non_null(contract);
    contract->kind = kind_under_test;
    contract->kind->make_place(contract->uri, sizeof contract->uri);
    contract->store = contract_open(contract, false, 20000);
    *state = contract;
    return 0;
}

int contract_teardown(void **state)
{
    struct contract *contract = *state;

    mt_store_close(contract->store);
    contract->kind->remove_place(contract->uri);
    free(contract);
    return 0;
}

struct mt_record contract_record(const char *host, int64_t timestamp, int64_t uptime_s)
{
    struct mt_record record = {
        .timestamp = timestamp, .has_boot_id = true, .boot_id = {0xB0, 0x07}};

    (void)snprintf(record.host, sizeof record.host, "%s", host);
    mt_record_set(&record, MT_FIELD_UPTIME_S, uptime_s);
    mt_record_set(&record, MT_FIELD_INTERVAL_S, 60);
    mt_record_set(&record, MT_FIELD_MEM_TOTAL, 16000000);
    mt_record_set(&record, MT_FIELD_MEM_FREE, 4000000 + timestamp % 1000);
    mt_record_set(&record, MT_FIELD_MEM_AVAILABLE, 8000000 + uptime_s % 1000);
    return record;
}

struct mt_outcome contract_append(struct mt_store *store, const struct mt_record *record,
                                  enum mt_on_conflict on_conflict)
{
    struct mt_outcome outcome;
    struct mt_error error = {0};

    assert_ok(mt_store_append(store, record, 1, on_conflict, &outcome, &error));
    return outcome;
}

void contract_list_free(struct contract_list *list)
{
    free(list->records);
    *list = (struct contract_list){0};
}

void contract_list_add(struct contract_list *list, const struct mt_record *record)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 64 : list->capacity * 2;
        list->records = realloc(list->records, list->capacity * sizeof *list->records);
        assert_non_null(list->records);
    }
    list->records[list->count++] = *record;
}

enum mt_err contract_collect(void *context, const struct mt_record *record, struct mt_error *error)
{
    (void)error;
    contract_list_add(context, record);
    return MT_OK;
}

void contract_scan(struct mt_store *store, const struct mt_query *query, struct contract_list *list)
{
    struct mt_error error = {0};

    list->count = 0;
    assert_ok(mt_store_scan(store, query, contract_collect, list, &error));
}

void contract_check_same(const struct mt_record *got, const struct mt_record *expected,
                         uint64_t fields)
{
    assert_string_equal(got->host, expected->host);
    assert_int_equal(got->timestamp, expected->timestamp);
    assert_int_equal(got->has_boot_id, expected->has_boot_id);
    assert_memory_equal(got->boot_id, expected->boot_id, MT_BOOT_ID_SIZE);
    assert_int_equal(got->present, expected->present & fields);
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        if ((got->present & MT_FIELD_BIT(i)) != 0)
            assert_int_equal(got->value[i], expected->value[i]);
}

struct mt_query contract_everything(void)
{
    return (struct mt_query){.to = INT64_MAX, .fields = MT_FIELD_ALL};
}

static void append_minutes(struct mt_store *store, const char *host, int64_t from, int minutes)
{
    static struct mt_record records[2000];
    static struct mt_outcome outcomes[2000];
    struct mt_error error = {0};

    assert_in_range(minutes, 1, 2000);
    for (int i = 0; i < minutes; i++)
        records[i] = contract_record(host, from + i * INT64_C(60), i * INT64_C(60));
    assert_ok(
        mt_store_append(store, records, (size_t)minutes, MT_CONFLICT_REPORT, outcomes, &error));
    for (int i = 0; i < minutes; i++)
        assert_int_equal(outcomes[i].verdict, MT_VERDICT_NEW);
}

static void what_was_stored_comes_back_whole(void **state)
{
    struct contract *contract = *state;
    struct mt_record record = contract_record("host", 1647033600, 100);
    struct mt_query query = contract_everything();
    struct contract_list list = {0};
    struct mt_store *reader;
    struct mt_outcome outcome;

    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        mt_record_set(&record, i, i == MT_FIELD_PSWPIN ? MT_VALUE_MAX : (int64_t)i + 1);
    outcome = contract_append(contract->store, &record, MT_CONFLICT_MOVE);
    assert_int_equal(outcome.verdict, MT_VERDICT_NEW);
    assert_int_equal(outcome.timestamp, 1647033600);
    assert_string_equal(outcome.text, "");
    reader = contract_open(contract, true, 0);
    contract_scan(reader, &query, &list);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.records[0].host, "host");
    assert_int_equal(list.records[0].timestamp, 1647033600);
    assert_true(list.records[0].has_boot_id);
    assert_memory_equal(list.records[0].boot_id, record.boot_id, MT_BOOT_ID_SIZE);
    assert_int_equal(list.records[0].present, MT_FIELD_ALL);
    assert_memory_equal(list.records[0].value, record.value, sizeof record.value);
    mt_store_close(reader);
    contract_list_free(&list);
}

static void absent_is_absent_and_zero_is_zero(void **state)
{
    struct contract *contract = *state;
    struct mt_record record = {.host = "h", .timestamp = 0};
    struct mt_query query = contract_everything();
    struct contract_list list = {0};

    mt_record_set(&record, MT_FIELD_MEM_TOTAL, 1);
    mt_record_set(&record, MT_FIELD_MEM_FREE, 0);
    (void)contract_append(contract->store, &record, MT_CONFLICT_REPORT);
    contract_scan(contract->store, &query, &list);
    assert_int_equal(list.count, 1);
    assert_false(list.records[0].has_boot_id);
    assert_int_equal(list.records[0].present, record.present);
    query.fields = 0;
    contract_scan(contract->store, &query, &list);
    assert_int_equal(list.count, 1);
    assert_int_equal(list.records[0].present, 0);
    contract_list_free(&list);
}

static void a_repeat_changes_nothing(void **state)
{
    struct contract *contract = *state;
    struct mt_record record = contract_record("h", 1000, 10);
    struct mt_query query = contract_everything();
    struct contract_list list = {0};
    struct mt_token before;
    struct mt_token after;
    struct mt_error error = {0};

    (void)contract_append(contract->store, &record, MT_CONFLICT_MOVE);
    assert_ok(mt_store_token(contract->store, &before, &error));
    /* the same boot and uptime: the same sample, whatever else it says */
    mt_record_set(&record, MT_FIELD_MEM_FREE, 1);
    for (int on_conflict = MT_CONFLICT_MOVE; on_conflict <= MT_CONFLICT_REPORT; on_conflict++) {
        struct mt_outcome outcome =
            contract_append(contract->store, &record, (enum mt_on_conflict)on_conflict);

        assert_int_equal(outcome.verdict, MT_VERDICT_REPEAT);
        assert_int_equal(outcome.timestamp, 1000);
    }
    assert_ok(mt_store_token(contract->store, &after, &error));
    assert_int_equal(before.generation, after.generation);
    assert_int_equal(before.sequence, after.sequence);
    contract_scan(contract->store, &query, &list);
    assert_int_equal(list.count, 1);
    assert_int_equal(list.records[0].value[MT_FIELD_MEM_FREE], 4000000);
    contract_list_free(&list);
}

static void a_sample_moves_on_and_its_repeat_finds_it(void **state)
{
    struct contract *contract = *state;
    struct mt_record records[3] = {contract_record("h", 1000, 10), contract_record("h", 1000, 20),
                                   contract_record("h", 1000, 30)};
    struct mt_outcome outcomes[3];
    struct mt_error error = {0};

    assert_ok(mt_store_append(contract->store, records, 3, MT_CONFLICT_MOVE, outcomes, &error));
    assert_int_equal(outcomes[0].verdict, MT_VERDICT_NEW);
    assert_int_equal(outcomes[1].verdict, MT_VERDICT_MOVED);
    assert_int_equal(outcomes[1].timestamp, 1001);
    assert_int_equal(outcomes[2].verdict, MT_VERDICT_MOVED);
    assert_int_equal(outcomes[2].timestamp, 1002);
    assert_ok(mt_store_append(contract->store, records, 3, MT_CONFLICT_MOVE, outcomes, &error));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(outcomes[i].verdict, MT_VERDICT_REPEAT);
        assert_int_equal(outcomes[i].timestamp, 1000 + i);
    }
    /* another host's seconds are its own */
    records[0] = contract_record("g", 1000, 40);
    assert_int_equal(contract_append(contract->store, &records[0], MT_CONFLICT_MOVE).verdict,
                     MT_VERDICT_NEW);
}

static void a_sample_with_no_second_left_is_reported(void **state)
{
    struct contract *contract = *state;
    struct mt_record record = contract_record("h", MT_TIMESTAMP_MAX, 10);
    struct mt_outcome outcome;

    (void)contract_append(contract->store, &record, MT_CONFLICT_MOVE);
    record = contract_record("h", MT_TIMESTAMP_MAX, 20);
    outcome = contract_append(contract->store, &record, MT_CONFLICT_MOVE);
    assert_int_equal(outcome.verdict, MT_VERDICT_CONFLICT);
    assert_string_not_equal(outcome.text, "");
}

static void an_import_that_conflicts_is_left_out(void **state)
{
    struct contract *contract = *state;
    struct mt_record record = contract_record("h", 1000, 10);
    struct mt_query query = contract_everything();
    struct contract_list list = {0};
    struct mt_outcome outcome;

    (void)contract_append(contract->store, &record, MT_CONFLICT_REPORT);
    record = contract_record("h", 1000, 20);
    outcome = contract_append(contract->store, &record, MT_CONFLICT_REPORT);
    assert_int_equal(outcome.verdict, MT_VERDICT_CONFLICT);
    assert_non_null(strstr(outcome.text, "1000"));
    assert_non_null(strstr(outcome.text, "b0070000-0000-0000-0000-000000000000"));
    contract_scan(contract->store, &query, &list);
    assert_int_equal(list.count, 1);
    assert_int_equal(list.records[0].value[MT_FIELD_UPTIME_S], 10);
    contract_list_free(&list);
}

static void what_is_no_record_is_rejected_alone(void **state)
{
    struct contract *contract = *state;
    struct mt_record records[4] = {contract_record("h", 1000, 10), contract_record("h", -1, 10),
                                   contract_record("a b", 1000, 10),
                                   contract_record("h", 2000, 20)};
    struct mt_query query = contract_everything();
    struct contract_list list = {0};
    struct mt_outcome outcomes[4];
    struct mt_error error = {0};

    assert_ok(mt_store_append(contract->store, records, 4, MT_CONFLICT_MOVE, outcomes, &error));
    assert_int_equal(outcomes[0].verdict, MT_VERDICT_NEW);
    assert_int_equal(outcomes[1].verdict, MT_VERDICT_REJECTED);
    assert_non_null(strstr(outcomes[1].text, "timestamp -1"));
    assert_int_equal(outcomes[2].verdict, MT_VERDICT_REJECTED);
    assert_non_null(strstr(outcomes[2].text, "host 'a b'"));
    assert_int_equal(outcomes[3].verdict, MT_VERDICT_NEW);
    contract_scan(contract->store, &query, &list);
    assert_int_equal(list.count, 2);
    contract_list_free(&list);
}

static void nothing_at_all_can_be_appended(void **state)
{
    struct contract *contract = *state;
    struct mt_error error = {0};

    assert_ok(mt_store_append(contract->store, NULL, 0, MT_CONFLICT_MOVE, NULL, &error));
}

static void check_seconds(const struct contract_list *list, size_t count, const int64_t *seconds)
{
    assert_int_equal(list->count, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(list->records[i].timestamp, seconds[i]);
}

static void skip_and_limit_count_from_the_newest(void **state)
{
    struct contract *contract = *state;
    struct mt_query query = {.now_s = 100000, .skip = 2, .limit = 3};
    struct contract_list list = {0};

    append_minutes(contract->store, "h", 60, 10);
    contract_scan(contract->store, &query, &list);
    check_seconds(&list, 3, (int64_t[]){360, 420, 480});
    query.order = MT_NEWEST_FIRST;
    contract_scan(contract->store, &query, &list);
    check_seconds(&list, 3, (int64_t[]){480, 420, 360});
    query.skip = 9;
    contract_scan(contract->store, &query, &list);
    check_seconds(&list, 1, (int64_t[]){60});
    query.skip = 10;
    contract_scan(contract->store, &query, &list);
    assert_int_equal(list.count, 0);
    query.skip = INT64_MAX;
    query.limit = INT64_MAX;
    contract_scan(contract->store, &query, &list);
    assert_int_equal(list.count, 0);
    contract_list_free(&list);
}

static void ties_are_in_the_order_of_the_names_bytes(void **state)
{
    struct contract *contract = *state;
    static const char *const arrival[] = {"c", "a", "\u00e9", "B", "aa"};
    static const char *const order[] = {"B", "a", "aa", "c", "\u00e9"};
    struct contract_list list = {0};

    for (int i = 0; i < 5; i++)
        append_minutes(contract->store, arrival[i], 600, 2);
    /* the cut falls at every place of a tie */
    for (int64_t skip = 0; skip < 10; skip++) {
        for (int64_t limit = 1; limit <= 10 - skip; limit++) {
            struct mt_query query = {.now_s = 1000, .skip = skip, .limit = limit};

            contract_scan(contract->store, &query, &list);
            assert_int_equal(list.count, limit);
            for (int64_t i = 0; i < limit; i++) {
                int64_t place = 10 - skip - limit + i;

                assert_string_equal(list.records[i].host, order[place % 5]);
                assert_int_equal(list.records[i].timestamp, place < 5 ? 600 : 660);
            }
        }
    }
    contract_list_free(&list);
}

static void the_future_is_left_out_unless_asked_for(void **state)
{
    struct contract *contract = *state;
    struct mt_query query = {.now_s = 1000};
    struct contract_list list = {0};
    const char *const host[] = {"h"};
    struct mt_record record = contract_record("h", 1000 + MT_FUTURE_SLACK_S, 1);

    (void)contract_append(contract->store, &record, MT_CONFLICT_REPORT);
    record = contract_record("h", 1001 + MT_FUTURE_SLACK_S, 2);
    (void)contract_append(contract->store, &record, MT_CONFLICT_REPORT);
    contract_scan(contract->store, &query, &list);
    check_seconds(&list, 1, (int64_t[]){1300});
    query.from = 5;
    contract_scan(contract->store, &query, &list);
    check_seconds(&list, 1, (int64_t[]){1300});
    query.to = 9999;
    contract_scan(contract->store, &query, &list);
    check_seconds(&list, 2, (int64_t[]){1300, 1301});
    query.to = 0;
    query.hosts = host;
    query.host_count = 1;
    contract_scan(contract->store, &query, &list);
    check_seconds(&list, 2, (int64_t[]){1300, 1301});
    contract_list_free(&list);
}

static void from_is_within_and_to_is_not(void **state)
{
    struct contract *contract = *state;
    struct mt_query query = {.now_s = 1000, .from = 120, .to = 240};
    struct contract_list list = {0};

    append_minutes(contract->store, "h", 60, 10);
    contract_scan(contract->store, &query, &list);
    check_seconds(&list, 2, (int64_t[]){120, 180});
    query.to = 120;
    contract_scan(contract->store, &query, &list);
    assert_int_equal(list.count, 0);
    contract_list_free(&list);
}

/* An mt_emit that stops after so many records. */
struct stopper {
    int left;
    int seen;
};

static enum mt_err stop_after(void *context, const struct mt_record *record, struct mt_error *error)
{
    struct stopper *stopper = context;

    (void)record;
    stopper->seen++;
    if (--stopper->left == 0)
        return mt_error_set(error, MT_ERR_OVERLOADED, "enough");
    return MT_OK;
}

static void whoever_takes_records_may_stop(void **state)
{
    struct contract *contract = *state;
    struct mt_query query = contract_everything();
    struct stopper stopper = {.left = 3};
    struct mt_token token = {0};
    struct contract_list list = {0};
    struct mt_error error = {0};
    bool reset;

    append_minutes(contract->store, "h", 60, 10);
    assert_int_equal(mt_store_scan(contract->store, &query, stop_after, &stopper, &error),
                     MT_ERR_OVERLOADED);
    assert_string_equal(error.text, "enough");
    assert_int_equal(stopper.seen, 3);
    stopper = (struct stopper){.left = 3};
    assert_int_equal(
        mt_store_changes(contract->store, &token, 100, stop_after, &stopper, &reset, &error),
        MT_ERR_OVERLOADED);
    /* the one that was refused comes again */
    assert_ok(
        mt_store_changes(contract->store, &token, 100, contract_collect, &list, &reset, &error));
    assert_int_equal(list.count, 8);
    assert_int_equal(list.records[0].timestamp, 180);
    contract_list_free(&list);
}

static bool say_yes(void *context)
{
    ++*(int *)context;
    return true;
}

static void a_scan_ends_at_its_deadline_and_when_cancelled(void **state)
{
    struct contract *contract = *state;
    struct mt_query query = contract_everything();
    struct mt_error error = {0};
    struct contract_list list = {0};
    int asked = 0;

    append_minutes(contract->store, "h", 60, 3);
    query.deadline_ms = mt_clock_monotonic_ms();
    assert_int_equal(mt_store_scan(contract->store, &query, contract_collect, &list, &error),
                     MT_ERR_DEADLINE);
    assert_string_not_equal(error.text, "");
    assert_int_equal(list.count, 0);
    query.deadline_ms = 0;
    query.cancelled = say_yes;
    query.cancel_context = &asked;
    assert_int_equal(mt_store_scan(contract->store, &query, contract_collect, &list, &error),
                     MT_ERR_CANCELLED);
    assert_true(asked > 0);
    assert_int_equal(list.count, 0);
    /* and none of it lingers */
    query = contract_everything();
    contract_scan(contract->store, &query, &list);
    assert_int_equal(list.count, 3);
    contract_list_free(&list);
}

/*
 * An mt_emit that now and then appends through a handle that does not wait: a lock would show at
 * once.
 */
struct meddler {
    struct mt_store *store;
    int64_t second; /* of the last record appended */
    int seen;
};

static enum mt_err append_meanwhile(void *context, const struct mt_record *record,
                                    struct mt_error *error)
{
    struct meddler *meddler = context;
    struct mt_record late = contract_record("late", meddler->second + 1, 1);
    struct mt_outcome outcome;

    /* of an instant after the call began, and so not in its answer */
    assert_string_not_equal(record->host, "late");
    if (meddler->seen++ % 50 != 0)
        return MT_OK;
    meddler->second++;
    return mt_store_append(meddler->store, &late, 1, MT_CONFLICT_REPORT, &outcome, error);
}

static enum mt_err append_meanwhile_host(void *context, const struct mt_host *host,
                                         struct mt_error *error)
{
    struct mt_record record = contract_record("h", host->last, 1);
    struct meddler *meddler = context;

    meddler->seen = 0;
    return append_meanwhile(context, &record, error);
}

static void a_reader_never_holds_off_an_append(void **state)
{
    struct contract *contract = *state;
    struct meddler meddler = {.store = contract_open(contract, false, 0), .second = 60};
    const char *const both[] = {"h", "late"};
    struct mt_token token = {0};
    struct mt_error error = {0};
    struct contract_list list = {0};
    struct mt_query everything = contract_everything();
    bool reset;

    append_minutes(contract->store, "h", 60, 1500);
    assert_ok(mt_store_changes(contract->store, &token, 1500, append_meanwhile, &meddler, &reset,
                               &error));
    assert_int_equal(meddler.seen, 1500);
    for (int i = 0; i < 6; i++) {
        /* all hosts, one, and two of them, from where no late record is yet */
        struct mt_query query = {.now_s = INT32_MAX,
                                 .from = meddler.second + 1,
                                 .order = i % 2 == 0 ? MT_OLDEST_FIRST : MT_NEWEST_FIRST,
                                 .hosts = i < 2 ? NULL : both,
                                 .host_count = i < 4 ? 1 : 2};
        int64_t late_before = meddler.second - 60;
        struct mt_store *reader = contract_open(contract, true, 0);

        meddler.seen = 0;
        assert_ok(mt_store_scan(reader, &query, append_meanwhile, &meddler, &error));
        assert_true(meddler.seen > 1000);
        assert_true(meddler.second - 60 > late_before + 20);
        mt_store_close(reader);
    }
    assert_ok(mt_store_hosts(contract->store, 0, append_meanwhile_host, &meddler, &error));
    contract_scan(contract->store, &everything, &list);
    assert_int_equal(list.count, 1500 + meddler.second - 60);
    mt_store_close(meddler.store);
    contract_list_free(&list);
}

static void changes_come_in_the_order_of_arrival(void **state)
{
    struct contract *contract = *state;
    struct contract_list list = {0};
    struct mt_token start = {0};
    struct mt_token token = {0};
    struct mt_token end;
    struct mt_error error = {0};
    struct mt_record record;
    bool reset = true;

    assert_ok(
        mt_store_changes(contract->store, &token, 10, contract_collect, &list, &reset, &error));
    assert_false(reset);
    assert_int_equal(list.count, 0);
    assert_ok(mt_store_token(contract->store, &start, &error));
    append_minutes(contract->store, "h", 6000, 3);
    append_minutes(contract->store, "g", 60, 2);
    assert_ok(
        mt_store_changes(contract->store, &token, 4, contract_collect, &list, &reset, &error));
    assert_false(reset);
    check_seconds(&list, 4, (int64_t[]){6000, 6060, 6120, 60});
    list.count = 0;
    assert_ok(
        mt_store_changes(contract->store, &token, 4, contract_collect, &list, &reset, &error));
    check_seconds(&list, 1, (int64_t[]){120});
    assert_int_equal(list.records[0].present, contract_record("g", 0, 0).present);
    assert_ok(mt_store_token(contract->store, &end, &error));
    assert_int_equal(token.generation, end.generation);
    assert_int_equal(token.sequence, end.sequence);
    /* also from the place before everything, and whatever the timestamp */
    list.count = 0;
    assert_ok(
        mt_store_changes(contract->store, &start, 100, contract_collect, &list, &reset, &error));
    assert_false(reset);
    assert_int_equal(list.count, 5);
    record = contract_record("h", MT_TIMESTAMP_MAX, 1);
    (void)contract_append(contract->store, &record, MT_CONFLICT_REPORT);
    list.count = 0;
    assert_ok(
        mt_store_changes(contract->store, &token, 100, contract_collect, &list, &reset, &error));
    check_seconds(&list, 1, (int64_t[]){MT_TIMESTAMP_MAX});
    contract_list_free(&list);
}

static void pruning_removes_what_is_older_and_resets_places(void **state)
{
    struct contract *contract = *state;
    struct mt_query query = contract_everything();
    struct contract_list list = {0};
    struct mt_token token;
    struct mt_token end;
    struct mt_token zero = {0};
    struct mt_error error = {0};
    int64_t pruned = -1;
    bool reset = false;

    append_minutes(contract->store, "h", 60, 10);
    append_minutes(contract->store, "g", 60, 3);
    assert_ok(mt_store_token(contract->store, &token, &error));
    /* nothing to prune: no place is lost */
    assert_ok(mt_store_prune(contract->store, 60, &pruned, &error));
    assert_int_equal(pruned, 0);
    assert_ok(
        mt_store_changes(contract->store, &token, 9, contract_collect, &list, &reset, &error));
    assert_false(reset);
    assert_ok(mt_store_prune(contract->store, 240, &pruned, &error));
    assert_int_equal(pruned, 6);
    contract_scan(contract->store, &query, &list);
    check_seconds(&list, 7, (int64_t[]){240, 300, 360, 420, 480, 540, 600});
    list.count = 0;
    assert_ok(
        mt_store_changes(contract->store, &token, 9, contract_collect, &list, &reset, &error));
    assert_true(reset);
    assert_int_equal(list.count, 0);
    assert_ok(mt_store_token(contract->store, &end, &error));
    assert_int_equal(token.generation, end.generation);
    assert_int_equal(token.sequence, end.sequence);
    assert_ok(
        mt_store_changes(contract->store, &zero, 99, contract_collect, &list, &reset, &error));
    assert_false(reset);
    assert_int_equal(list.count, 7);
    contract_list_free(&list);
}

/* An mt_emit_host that collects into an array of 4. */
struct host_list {
    struct mt_host hosts[4];
    size_t count;
};

static enum mt_err collect_host(void *context, const struct mt_host *host, struct mt_error *error)
{
    struct host_list *list = context;

    (void)error;
    assert_in_range(list->count, 0, 3);
    list->hosts[list->count++] = *host;
    return MT_OK;
}

static void hosts_are_those_with_records(void **state)
{
    struct contract *contract = *state;
    struct host_list list = {0};
    struct mt_record record = contract_record("b", 90000, 1);
    struct mt_error error = {0};
    int64_t pruned;

    assert_ok(mt_store_hosts(contract->store, 0, collect_host, &list, &error));
    assert_int_equal(list.count, 0);
    append_minutes(contract->store, "gone", 60, 2);
    (void)contract_append(contract->store, &record, MT_CONFLICT_REPORT);
    record = contract_record("b", 600000, 1);
    mt_record_set(&record, MT_FIELD_INTERVAL_S, 10);
    (void)contract_append(contract->store, &record, MT_CONFLICT_REPORT);
    append_minutes(contract->store, "a", 6000, 2);
    assert_ok(mt_store_prune(contract->store, 6000, &pruned, &error));
    assert_ok(
        mt_store_hosts(contract->store, 90000 - MT_FUTURE_SLACK_S, collect_host, &list, &error));
    assert_int_equal(list.count, 2);
    assert_string_equal(list.hosts[0].name, "a");
    assert_int_equal(list.hosts[0].records, 2);
    assert_int_equal(list.hosts[0].first, 6000);
    assert_int_equal(list.hosts[0].last, 6060);
    assert_int_equal(list.hosts[0].future, 0);
    assert_int_equal(list.hosts[0].interval_s, 60);
    assert_string_equal(list.hosts[1].name, "b");
    assert_int_equal(list.hosts[1].records, 2);
    assert_int_equal(list.hosts[1].future, 1);
    assert_int_equal(list.hosts[1].interval_s, 10);
}

static void a_reader_sees_what_was_acknowledged_and_writes_nothing(void **state)
{
    struct contract *contract = *state;
    struct mt_store *reader = contract_open(contract, true, 0);
    struct mt_query query = contract_everything();
    struct mt_record record = contract_record("h", 60, 1);
    struct contract_list list = {0};
    struct mt_outcome outcome;
    struct mt_error error = {0};
    int64_t pruned = -1;

    assert_ok(mt_store_ping(reader, &error));
    for (int i = 1; i <= 20; i++) {
        record = contract_record("h", i * INT64_C(60), i);
        (void)contract_append(contract->store, &record, MT_CONFLICT_REPORT);
        contract_scan(reader, &query, &list);
        assert_int_equal(list.count, i);
    }
    assert_int_equal(mt_store_append(reader, &record, 1, MT_CONFLICT_MOVE, &outcome, &error),
                     MT_ERR_READ_ONLY);
    assert_int_equal(mt_store_prune(reader, 600, &pruned, &error), MT_ERR_READ_ONLY);
    assert_int_equal(pruned, 0);
    contract_scan(contract->store, &query, &list);
    assert_int_equal(list.count, 20);
    mt_store_close(reader);
    contract_list_free(&list);
}

static void a_missing_store_is_made_by_writers_only(void **state)
{
    struct contract *contract = *state;
    struct mt_store_options options = {.read_only = true};
    struct mt_store *store = NULL;
    struct mt_error error = {0};
    char uri[512];

    contract->kind->make_place(uri, sizeof uri);
    assert_int_equal(mt_store_open(uri, &options, &store, &error), MT_ERR_MISSING);
    assert_null(store);
    assert_non_null(strstr(error.text, "memory-sampler"));
    options.read_only = false;
    assert_ok(mt_store_open(uri, &options, &store, &error));
    mt_store_close(store);
    store = NULL;
    options.read_only = true;
    assert_ok(mt_store_open(uri, &options, &store, &error));
    mt_store_close(store);
    contract->kind->remove_place(uri);
}

static void an_unknown_kind_is_named(void **state)
{
    struct mt_store_options options = {0};
    struct mt_store *store = NULL;
    struct mt_error error = {0};

    (void)state;
    assert_int_equal(mt_store_open("carrier-pigeon://loft", &options, &store, &error),
                     MT_ERR_CONFIG);
    assert_non_null(strstr(error.text, "carrier-pigeon://loft"));
    assert_int_equal(mt_store_open("sqlite:", &options, &store, &error), MT_ERR_CONFIG);
    assert_null(store);
    mt_store_close(NULL);
}

static void fail_on_finding(void *context, const char *text)
{
    (void)context;
    fail_msg("verify: %s", text);
}

static void a_sound_store_verifies_without_a_finding(void **state)
{
    struct contract *contract = *state;
    struct mt_store *reader = contract_open(contract, true, 0);
    struct mt_error error = {0};
    int64_t findings = -1;

    assert_ok(mt_store_verify(reader, true, fail_on_finding, NULL, &findings, &error));
    assert_int_equal(findings, 0);
    append_minutes(contract->store, "h", 60, 2000);
    append_minutes(contract->store, "g", 60, 20);
    assert_ok(mt_store_verify(reader, false, fail_on_finding, NULL, &findings, &error));
    assert_ok(mt_store_verify(reader, true, fail_on_finding, NULL, &findings, &error));
    assert_int_equal(findings, 0);
    mt_store_close(reader);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, contract_setup, contract_teardown)

int contract_run(const struct contract_kind *kind)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_stored_comes_back_whole),
        TEST(absent_is_absent_and_zero_is_zero),
        TEST(a_repeat_changes_nothing),
        TEST(a_sample_moves_on_and_its_repeat_finds_it),
        TEST(a_sample_with_no_second_left_is_reported),
        TEST(an_import_that_conflicts_is_left_out),
        TEST(what_is_no_record_is_rejected_alone),
        TEST(nothing_at_all_can_be_appended),
        TEST(skip_and_limit_count_from_the_newest),
        TEST(ties_are_in_the_order_of_the_names_bytes),
        TEST(the_future_is_left_out_unless_asked_for),
        TEST(from_is_within_and_to_is_not),
        TEST(whoever_takes_records_may_stop),
        TEST(a_scan_ends_at_its_deadline_and_when_cancelled),
        TEST(a_reader_never_holds_off_an_append),
        TEST(changes_come_in_the_order_of_arrival),
        TEST(pruning_removes_what_is_older_and_resets_places),
        TEST(hosts_are_those_with_records),
        TEST(a_reader_sees_what_was_acknowledged_and_writes_nothing),
        TEST(a_missing_store_is_made_by_writers_only),
        TEST(an_unknown_kind_is_named),
        TEST(a_sound_store_verifies_without_a_finding),
        TEST(contract_two_writers_and_readers),
        TEST(contract_first_openers_at_once),
        TEST(contract_size_follows_what_is_there),
        TEST(contract_retention_by_time),
        TEST(contract_retention_by_size),
        TEST(contract_model_small),
        TEST(contract_model_large),
        TEST(contract_aggregate_is_what_a_scan_gives),
        TEST(contract_aggregate_of_a_sparse_history),
        TEST(contract_aggregate_stops_when_told),
    };

    kind_under_test = kind;
    return cmocka_run_group_tests_name(kind->name, tests, NULL, NULL);
}
