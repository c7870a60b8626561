/* A window, its views and what they compress, where memory runs out: each allocation fails once. */
#include "unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/counted.h"
#include "api/threads.h"
#include "api/view.h"
#include "api/window.h"

enum { NOW_S = 1647033600 };

/* How many more allocations succeed, before one does not; below 0: all do. */
static int64_t left = -1;

void *__real_mt_counted_alloc(struct mt_gauge *memory, size_t size);
void *__wrap_mt_counted_alloc(struct mt_gauge *memory, size_t size);

void *__wrap_mt_counted_alloc(struct mt_gauge *memory, size_t size)
{
    return left-- == 0 ? NULL : __real_mt_counted_alloc(memory, size);
}

static void add(struct mt_batch *batch, const char *host, int64_t seconds)
{
    struct mt_record record = {.timestamp = NOW_S + seconds};

    (void)snprintf(record.host, sizeof record.host, "%s", host);
    mt_record_set(&record, MT_FIELD_MEM_TOTAL, 16384 * 1024);
    mt_record_set(&record, MT_FIELD_MEM_AVAILABLE, (10000 + seconds) * 1024);
    assert_int_equal(mt_batch_add(batch, &record, NULL), MT_OK);
}

/* Records at the end, among others, of the future, of hosts that are known and of new ones. */
static void add_news(struct mt_batch *batch)
{
    char host[16];

    for (int64_t i = 0; i < 40; i++) {
        (void)snprintf(host, sizeof host, "h%" PRId64, i % 5);
        add(batch, host, -i * 37 % 900);
        (void)snprintf(host, sizeof host, "new%" PRId64, i);
        add(batch, host, i * 2);
    }
    add(batch, "future", 1000);
}

static struct mt_window *make_window(struct mt_gauge *memory)
{
    struct mt_window_options options = {
        .records = 1000, .future = 10, .segment = 8, .memory = memory};
    struct mt_window *window = mt_window_new(&options);
    struct mt_batch batch = {0};

    assert_non_null(window);
    for (int64_t i = 0; i < 100; i++)
        add(&batch, "h0", -10 * i);
    assert_int_equal(mt_window_merge(window, &batch, NOW_S, NULL), MT_OK);
    mt_batch_fini(&batch);
    return window;
}

static struct mt_entries_hash hash_of(struct mt_window *window)
{
    struct mt_view *view = mt_window_publish(window);
    struct mt_page page;

    assert_non_null(view);
    assert_true(mt_view_page(view, 99999, 0, NOW_S + 10000, &page));
    mt_view_unref(view);
    return page.hash;
}

static void assert_same(struct mt_entries_hash a, struct mt_entries_hash b)
{
    assert_int_equal(a.count, b.count);
    assert_int_equal(a.value, b.value);
}

static void a_merge_happens_or_does_not(void **state)
{
    struct mt_gauge memory = {0};
    struct mt_window *window = make_window(&memory);
    struct mt_entries_hash before = hash_of(window);
    struct mt_batch batch = {0};
    enum mt_err code = MT_ERR_NO_MEMORY;
    int64_t failures = 0;

    (void)state;
    while (code != MT_OK) {
        struct mt_error error = {0};
        int64_t held = mt_gauge_get(&memory);

        add_news(&batch);
        left = failures;
        code = mt_window_merge(window, &batch, NOW_S, &error);
        left = -1;
        assert_int_equal(batch.count, 0);
        if (code == MT_OK)
            break;
        failures++;
        assert_int_equal(code, MT_ERR_NO_MEMORY);
        assert_true(strlen(error.text) > 0);
        assert_same(hash_of(window), before);
        /* room that names once had is kept */
        assert_true(mt_gauge_get(&memory) <= held + 8192);
    }
    assert_true(failures > 50);
    /* four of h0 it had before */
    assert_int_equal(hash_of(window).count, before.count + 40 + 40 + 1 - 4);
    mt_batch_fini(&batch);
    mt_window_free(window);
    assert_int_equal(mt_gauge_get(&memory), 0);
}

static void a_page_is_compressed_or_is_not(void **state)
{
    struct mt_gauge memory = {0};
    struct mt_window *window = make_window(&memory);
    struct mt_view *view = mt_window_publish(window);
    struct mt_packer packer = {0};
    struct mt_packed packed = {0};
    struct mt_page page;
    int64_t failures = 0;

    (void)state;
    assert_true(mt_view_page(view, 50, 3, NOW_S, &page));
    for (;;) {
        struct mt_error error = {0};
        enum mt_err code;

        left = failures;
        code = mt_page_pack(&page, &packer, &packed, &error);
        left = -1;
        if (code == MT_OK)
            break;
        failures++;
        assert_int_equal(code, MT_ERR_NO_MEMORY);
        assert_null(packed.owned);
    }
    assert_in_range(failures, 2, 20);
    mt_packed_fini(&packed);
    mt_packer_fini(&packer);
    mt_view_unref(view);
    mt_window_free(window);
    assert_int_equal(mt_gauge_get(&memory), 0);
}

static void there_is_a_window_or_a_view_or_there_is_not(void **state)
{
    struct mt_gauge memory = {0};
    struct mt_window_options options = {.records = 10, .memory = &memory};
    struct mt_window *window = make_window(&memory);

    (void)state;
    left = 0;
    assert_null(mt_window_new(&options));
    left = 0;
    assert_null(mt_window_publish(window));
    left = -1;
    mt_window_free(window);
    assert_int_equal(mt_gauge_get(&memory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_merge_happens_or_does_not),
        cmocka_unit_test(a_page_is_compressed_or_is_not),
        cmocka_unit_test(there_is_a_window_or_a_view_or_there_is_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
