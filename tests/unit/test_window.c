#include "unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/window.h"
#include "random_record.h"
#include "record/json.h"

enum { NOW_S = 1647033600 };

static struct mt_record make(const char *host, int64_t timestamp, int64_t total_mib)
{
    struct mt_record record = {.timestamp = timestamp};

    (void)snprintf(record.host, sizeof record.host, "%s", host);
    mt_record_set(&record, MT_FIELD_MEM_TOTAL, total_mib * 1024);
    mt_record_set(&record, MT_FIELD_MEM_AVAILABLE, 1024);
    return record;
}

static struct mt_window *new_window(size_t records, size_t future)
{
    struct mt_window_options options = {.records = records, .future = future};

    return mt_window_new(&options);
}

static void put(struct mt_window *window, int64_t now_s, const struct mt_record *records,
                size_t count)
{
    struct mt_batch batch = {0};

    for (size_t i = 0; i < count; i++)
        assert_int_equal(mt_batch_add(&batch, &records[i], NULL), MT_OK);
    assert_int_equal(mt_window_merge(window, &batch, now_s, NULL), MT_OK);
    assert_int_equal(batch.count, 0);
    mt_batch_fini(&batch);
}

static void put_one(struct mt_window *window, int64_t now_s, const char *host, int64_t timestamp,
                    int64_t total_mib)
{
    struct mt_record record = make(host, timestamp, total_mib);

    put(window, now_s, &record, 1);
}

/* The totals of a page, oldest first: each record of these tests has its own. "?": not known. */
static const char *totals(const struct mt_window *window, int64_t limit, int64_t skip,
                          int64_t now_s)
{
    static char text[256];
    struct mt_window_page page;
    struct mt_buf body;
    size_t length = 0;
    const char *at;

    if (!mt_window_find(window, limit, skip, now_s, &page))
        return "?";
    mt_buf_init(&body, 0);
    mt_buf_append_char(&body, '[');
    mt_window_render(window, &page, &body);
    text[0] = '\0';
    for (at = mt_buf_string(&body); (at = strstr(at, "\"total\":")) != NULL; at++)
        length += (size_t)snprintf(text + length, sizeof text - length, "%s%ld",
                                   length > 0 ? " " : "", strtol(at + 8, NULL, 10));
    mt_buf_fini(&body);
    return text;
}

static void test_pages_are_those_of_the_history(void **state)
{
    struct mt_window *window = new_window(10, 10);

    (void)state;
    assert_string_equal(totals(window, 10, 0, NOW_S), "");
    put_one(window, NOW_S, "b", NOW_S - 60, 3);
    put_one(window, NOW_S, "a", NOW_S - 120, 1);
    put_one(window, NOW_S, "a", NOW_S - 60, 2);
    put_one(window, NOW_S, "a", NOW_S, 4);
    assert_string_equal(totals(window, 99999, 0, NOW_S), "1 2 3 4");
    assert_string_equal(totals(window, 2, 0, NOW_S), "3 4");
    assert_string_equal(totals(window, 2, 1, NOW_S), "2 3");
    assert_string_equal(totals(window, 2, 3, NOW_S), "1");
    assert_string_equal(totals(window, 2, 4, NOW_S), "");
    assert_string_equal(totals(window, 99999, INT64_MAX, NOW_S), "");
    mt_window_free(window);
}

static void test_an_entry_reads_as_from_the_store(void **state)
{
    struct mt_window *window = new_window(10, 10);
    struct mt_record record = make("a", NOW_S, 8192);
    struct mt_window_page page;
    struct mt_buf from_window, from_record;

    (void)state;
    mt_record_set(&record, MT_FIELD_MEM_AVAILABLE, INT64_C(4097) * 1024 + 1023);
    put(window, NOW_S, &record, 1);
    mt_buf_init(&from_window, 0);
    mt_buf_init(&from_record, 0);
    assert_true(mt_window_find(window, 1, 0, NOW_S, &page));
    mt_window_render(window, &page, &from_window);
    mt_json_log_entry(&from_record, &record);
    assert_string_equal(mt_buf_string(&from_window), mt_buf_string(&from_record));
    assert_string_equal(mt_buf_string(&from_window),
                        "{\"timestamp\":1647033600,\"total\":8192,\"free\":4097,\"used\":4095}");
    mt_buf_fini(&from_window);
    mt_buf_fini(&from_record);
    mt_window_free(window);
}

static void test_a_repeated_key_changes_nothing(void **state)
{
    struct mt_window *window = new_window(10, 10);
    struct mt_record twice[] = {make("a", NOW_S, 1), make("a", NOW_S, 2), make("a", NOW_S - 60, 3)};

    (void)state;
    put(window, NOW_S, twice, 3);
    assert_int_equal(strlen(totals(window, 10, 0, NOW_S)), 3);
    put_one(window, NOW_S, "a", NOW_S - 60, 4);
    assert_int_equal(strlen(totals(window, 10, 0, NOW_S)), 3);
    assert_null(strchr(totals(window, 10, 0, NOW_S), '4'));
    mt_window_free(window);
}

static void test_what_it_does_not_hold_is_not_found(void **state)
{
    struct mt_window *window = new_window(3, 10);

    (void)state;
    for (int64_t i = 1; i <= 4; i++)
        put_one(window, NOW_S, "a", NOW_S - 600 + i * 60, i);
    assert_string_equal(totals(window, 3, 0, NOW_S), "2 3 4");
    assert_string_equal(totals(window, 4, 0, NOW_S), "?");
    assert_string_equal(totals(window, 2, 2, NOW_S), "?");
    assert_string_equal(totals(window, 1, 3, NOW_S), "?");
    /* a late record within reach pushes the oldest out, one before all of it stays outside */
    put_one(window, NOW_S, "b", NOW_S - 600 + 180, 9);
    assert_string_equal(totals(window, 3, 0, NOW_S), "3 9 4");
    put_one(window, NOW_S, "b", NOW_S - 6000, 5);
    put_one(window, NOW_S, "b", NOW_S - 600 + 60, 6);
    assert_string_equal(totals(window, 3, 0, NOW_S), "3 9 4");
    assert_string_equal(totals(window, 4, 0, NOW_S), "?");
    mt_window_free(window);
}

static void test_a_fill_may_end_before_the_history_does(void **state)
{
    struct mt_window *window = new_window(3, 10);

    (void)state;
    put_one(window, NOW_S, "a", NOW_S, 1);
    mt_window_end_history(window);
    assert_string_equal(totals(window, 1, 0, NOW_S), "1");
    assert_string_equal(totals(window, 2, 0, NOW_S), "?");
    assert_string_equal(totals(window, 1, 1, NOW_S), "?");
    mt_window_free(window);
}

static void test_the_future_shows_when_it_has_come(void **state)
{
    struct mt_window *window = new_window(2, 2);
    int64_t later = NOW_S + MT_FUTURE_SLACK_S;

    (void)state;
    put_one(window, NOW_S, "a", NOW_S, 1);
    put_one(window, NOW_S, "a", later, 2);
    put_one(window, NOW_S, "a", later + 1, 3);
    assert_string_equal(totals(window, 2, 0, NOW_S), "1 2");
    assert_string_equal(totals(window, 2, 0, NOW_S + 1), "2 3");
    assert_string_equal(totals(window, 3, 0, NOW_S), "1 2");
    mt_window_free(window);
}

static void test_a_host_far_ahead_takes_nobodys_place(void **state)
{
    struct mt_window *window = new_window(2, 2);
    int64_t later = NOW_S + MT_FUTURE_SLACK_S + 1;

    (void)state;
    put_one(window, NOW_S, "a", NOW_S - 60, 1);
    put_one(window, NOW_S, "a", NOW_S, 2);
    for (int64_t i = 0; i < 5; i++)
        put_one(window, NOW_S, "z", later + 60 * i, 10 + i);
    assert_string_equal(totals(window, 2, 0, NOW_S), "1 2");
    assert_string_equal(totals(window, 2, 0, NOW_S + 1), "2 10");
    assert_string_equal(totals(window, 2, 0, NOW_S + 61), "10 11");
    assert_false(mt_window_is_outrun(window, NOW_S + 120));
    /* there was no room for 12: from its second on the window does not know */
    assert_true(mt_window_is_outrun(window, NOW_S + 121));
    assert_string_equal(totals(window, 1, 0, NOW_S + 121), "?");
    /* nor does it take what comes after it, which would hide the gap */
    put_one(window, NOW_S, "b", later + 200, 20);
    assert_string_equal(totals(window, 1, 0, NOW_S + 400), "?");
    mt_window_free(window);
}

static void test_hosts_come_and_go(void **state)
{
    struct mt_window *window = new_window(4, 4);
    char name[16];

    (void)state;
    for (int64_t i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof name, "%" PRId64, i * 7919 % 1000);
        put_one(window, NOW_S, name, NOW_S - 2000 + i, i);
    }
    assert_string_equal(totals(window, 4, 0, NOW_S), "996 997 998 999");
    mt_window_free(window);
}

/* The history as simply as can be: all of it, sorted anew for every question. */
enum { MODEL_MOST = 2000, HOSTS = 5, STEPS = 1000 };

struct model {
    struct mt_record records[MODEL_MOST];
    size_t count;
};

static int compare_records(const void *a, const void *b)
{
    const struct mt_record *one = a;
    const struct mt_record *two = b;

    if (one->timestamp != two->timestamp)
        return one->timestamp < two->timestamp ? -1 : 1;
    return strcmp(one->host, two->host);
}

static bool model_add(struct model *model, const struct mt_record *record)
{
    for (size_t i = 0; i < model->count; i++)
        if (compare_records(&model->records[i], record) == 0)
            return false;
    model->records[model->count++] = *record;
    return true;
}

static void model_render(struct model *model, int64_t limit, int64_t skip, int64_t now_s,
                         struct mt_buf *out)
{
    int64_t shown = 0;

    qsort(model->records, model->count, sizeof model->records[0], compare_records);
    while (shown < (int64_t)model->count &&
           model->records[shown].timestamp <= now_s + MT_FUTURE_SLACK_S)
        shown++;
    for (int64_t i = 0; i < shown; i++) {
        if (i < shown - skip - limit || i >= shown - skip)
            continue;
        if (out->length > 0)
            mt_buf_append_char(out, ',');
        mt_json_log_entry(out, &model->records[i]);
    }
}

/* How many records show: what the window must know of them follows from its size. */
static int64_t model_shown(const struct model *model, int64_t now_s)
{
    int64_t shown = 0;

    for (size_t i = 0; i < model->count; i++)
        shown += model->records[i].timestamp <= now_s + MT_FUTURE_SLACK_S;
    return shown;
}

static struct mt_record random_news(uint64_t *seed, int64_t now_s)
{
    static const char *const hosts[HOSTS] = {"a", "aa", "B", "\xC3\xA4", "z"};
    struct mt_record record = random_record(seed);
    int64_t back = (int64_t)random_below(seed, random_below(seed, 4) == 0 ? 3000 : 60);

    (void)snprintf(record.host, sizeof record.host, "%s", hosts[random_below(seed, HOSTS)]);
    record.timestamp = now_s - back;
    if (random_below(seed, 10) == 0)
        record.timestamp = now_s + (int64_t)random_below(seed, 1000);
    return record;
}

static void ask_both(struct mt_window *window, struct model *model, int64_t limit, int64_t skip,
                     int64_t now_s, int64_t known)
{
    struct mt_window_page page;
    struct mt_buf ours, theirs;
    bool found = mt_window_find(window, limit, skip, now_s, &page);

    /* what it must know it knows; when it claims to know, it is right */
    if (limit + skip <= known)
        assert_true(found);
    if (!found)
        return;
    mt_buf_init(&ours, 0);
    mt_buf_init(&theirs, 0);
    mt_window_render(window, &page, &ours);
    model_render(model, limit, skip, now_s, &theirs);
    mt_buf_append_char(&ours, '\n');
    mt_buf_append_char(&theirs, '\n');
    assert_string_equal(mt_buf_string(&ours), mt_buf_string(&theirs));
    mt_buf_fini(&ours);
    mt_buf_fini(&theirs);
}

static void run_beside_the_model(uint64_t seed, size_t records_most, size_t future_most)
{
    struct mt_window *window = new_window(records_most, future_most);
    struct model *model = calloc(1, sizeof *model);
    struct mt_batch batch = {0};
    int64_t now_s = NOW_S;
    size_t found_outrun = 0;

    assert_non_null(model);
    for (int step = 0; step < STEPS && model->count + 20 < MODEL_MOST; step++) {
        size_t news = random_below(&seed, 4);
        int64_t known;

        now_s += (int64_t)random_below(&seed, 8);
        for (size_t i = 0; i < news; i++) {
            struct mt_record record = random_news(&seed, now_s);

            if (model_add(model, &record) || random_below(&seed, 2) == 0)
                for (size_t j = 0; j < model->count; j++)
                    if (compare_records(&model->records[j], &record) == 0)
                        assert_int_equal(mt_batch_add(&batch, &model->records[j], NULL), MT_OK);
        }
        assert_int_equal(mt_window_merge(window, &batch, now_s, NULL), MT_OK);
        if (mt_window_is_outrun(window, now_s)) {
            /* filled anew, as its owner does */
            found_outrun++;
            mt_window_free(window);
            window = new_window(records_most, future_most);
            for (size_t i = 0; i < model->count; i++)
                assert_int_equal(mt_batch_add(&batch, &model->records[i], NULL), MT_OK);
            assert_int_equal(mt_window_merge(window, &batch, now_s, NULL), MT_OK);
        }
        known = model_shown(model, now_s);
        known = known < (int64_t)records_most ? known : (int64_t)records_most;
        for (int i = 0; i < 4; i++)
            ask_both(window, model, 1 + (int64_t)random_below(&seed, records_most + 5),
                     (int64_t)random_below(&seed, records_most + 5), now_s, known);
    }
    assert_true(future_most > 100 || found_outrun > 0);
    mt_batch_fini(&batch);
    mt_window_free(window);
    free(model);
}

static void test_it_answers_as_a_simple_model_does(void **state)
{
    const char *given = getenv("MT_TEST_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : 20220311;

    (void)state;
    print_message("MT_TEST_SEED=%" PRIu64 "\n", seed);
    run_beside_the_model(seed, 40, 7);
    run_beside_the_model(seed + 1, 1, 1);
    run_beside_the_model(seed + 2, 5000, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages_are_those_of_the_history),
        cmocka_unit_test(test_an_entry_reads_as_from_the_store),
        cmocka_unit_test(test_a_repeated_key_changes_nothing),
        cmocka_unit_test(test_what_it_does_not_hold_is_not_found),
        cmocka_unit_test(test_a_fill_may_end_before_the_history_does),
        cmocka_unit_test(test_the_future_shows_when_it_has_come),
        cmocka_unit_test(test_a_host_far_ahead_takes_nobodys_place),
        cmocka_unit_test(test_hosts_come_and_go),
        cmocka_unit_test(test_it_answers_as_a_simple_model_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
