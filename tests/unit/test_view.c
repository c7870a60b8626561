#include "unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "api/threads.h"
#include "api/view.h"
#include "api/window.h"
#include "random_record.h"
#include "record/json.h"

enum { NOW_S = 1647033600, HOSTS = 9, ENTRY_MAX = 128 };

/* The history as simply as can be: a sorted array. */
struct row {
    struct mt_record record;
    char entry[ENTRY_MAX];
};

enum { MODEL_MOST = 4000 };

struct model {
    struct row *rows[MODEL_MOST];
    size_t count;
};

static int compare(const struct mt_record *a, const struct mt_record *b)
{
    if (a->timestamp != b->timestamp)
        return a->timestamp < b->timestamp ? -1 : 1;
    return strcmp(a->host, b->host);
}

/* The first row that is not before record. */
static size_t model_find(const struct model *model, const struct mt_record *record)
{
    size_t at = model->count;

    while (at > 0 && compare(&model->rows[at - 1]->record, record) >= 0)
        at--;
    return at;
}

static bool model_has(const struct model *model, const struct mt_record *record)
{
    size_t at = model_find(model, record);

    return at < model->count && compare(&model->rows[at]->record, record) == 0;
}

static void model_add(struct model *model, const struct mt_record *record)
{
    size_t at = model_find(model, record);
    struct row *row = malloc(sizeof *row);
    struct mt_buf entry;

    assert_non_null(row);
    assert_true(model->count < MODEL_MOST);
    mt_buf_init(&entry, 0);
    mt_json_log_entry(&entry, record);
    assert_true(entry.length < ENTRY_MAX);
    row->record = *record;
    memcpy(row->entry, mt_buf_string(&entry), entry.length + 1);
    mt_buf_fini(&entry);
    memmove(model->rows + at + 1, model->rows + at, (model->count - at) * sizeof(struct row *));
    model->rows[at] = row;
    model->count++;
}

static void model_prune(struct model *model, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(model->rows[i]);
    model->count -= count;
    memmove(model->rows, model->rows + count, model->count * sizeof(struct row *));
}

static int64_t model_shown(const struct model *model, int64_t now_s)
{
    int64_t shown = 0;

    while (shown < (int64_t)model->count &&
           model->rows[shown]->record.timestamp <= now_s + MT_FUTURE_SLACK_S)
        shown++;
    return shown;
}

static void model_render(const struct model *model, int64_t limit, int64_t skip, int64_t now_s,
                         struct mt_buf *out)
{
    int64_t end = model_shown(model, now_s) - skip;

    mt_buf_append_char(out, '[');
    for (int64_t i = end > limit ? end - limit : 0; i < end; i++) {
        if (out->length > 1)
            mt_buf_append_char(out, ',');
        mt_buf_append_string(out, model->rows[i]->entry);
    }
    mt_buf_append_char(out, ']');
}

static void join(const struct mt_slice *slices, size_t count, struct mt_buf *out)
{
    mt_buf_init(out, 0);
    for (size_t i = 0; i < count; i++)
        mt_buf_append(out, slices[i].data, slices[i].length);
    assert_false(out->failed);
}

static void join_slices(const struct mt_page *page, struct mt_buf *out)
{
    struct mt_slice *slices = calloc(page->slices, sizeof *slices);

    assert_non_null(slices);
    mt_page_slices(page, slices);
    join(slices, page->slices, out);
    free(slices);
}

/* packed is one member of gzip and not a byte more, and holds body. */
static void assert_unpacks(const struct mt_buf *packed, const struct mt_buf *body)
{
    z_stream stream = {.next_in = (unsigned char *)packed->data,
                       .avail_in = (unsigned)packed->length};
    char *out = malloc(body->length + 1);

    assert_non_null(out);
    stream.next_out = (unsigned char *)out;
    stream.avail_out = (unsigned)body->length + 1;
    assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    assert_int_equal(stream.avail_in, 0);
    assert_int_equal(stream.total_out, body->length);
    assert_memory_equal(out, body->data, body->length);
    (void)inflateEnd(&stream);
    free(out);
}

static void assert_packs(const struct mt_page *page, struct mt_packer *packer,
                         const struct mt_buf *body)
{
    struct mt_packed packed = {0};
    struct mt_buf bytes;

    assert_int_equal(mt_page_pack(page, packer, &packed, NULL), MT_OK);
    join(packed.slices, packed.count, &bytes);
    assert_int_equal(bytes.length, packed.length);
    assert_unpacks(&bytes, body);
    mt_buf_fini(&bytes);
    mt_packed_fini(&packed);
}

/* A page in every form it has is this body. */
static void assert_is(const struct mt_page *page, struct mt_packer *packer,
                      const struct mt_buf *body)
{
    struct mt_entries_hash hash;
    struct mt_buf bytes;

    join_slices(page, &bytes);
    assert_int_equal(bytes.length, body->length);
    assert_memory_equal(bytes.data, body->data, body->length);
    assert_int_equal(page->length, body->length);
    mt_buf_clear(&bytes);
    mt_page_render(page, &bytes);
    assert_int_equal(bytes.length, body->length);
    assert_memory_equal(bytes.data, body->data, body->length);
    mt_buf_fini(&bytes);
    hash = mt_entries_hash_body((struct mt_slice){body->data, body->length});
    assert_int_equal(page->hash.count, page->end - page->first);
    assert_int_equal(hash.count, page->hash.count);
    assert_int_equal(hash.value, page->hash.value);
    if (packer != NULL)
        assert_packs(page, packer, body);
}

/* An old view, and a page of it as it was then. */
struct memory {
    struct mt_view *view;
    struct mt_page page;
    struct mt_buf body;
};

static void remember(struct memory *memory, struct mt_view *view, const struct mt_page *page)
{
    mt_view_unref(memory->view);
    mt_buf_fini(&memory->body);
    memory->view = mt_view_ref(view);
    memory->page = *page;
    mt_page_render(page, &memory->body);
}

static void forget(struct memory *memory)
{
    mt_view_unref(memory->view);
    mt_buf_fini(&memory->body);
    *memory = (struct memory){0};
}

enum { MEMORIES = 5 };

/* A window beside the model. */
struct pair {
    struct model model;
    struct mt_gauge bytes;
    struct mt_window_options options;
    struct mt_window *window;
    struct mt_packer packer;
    struct memory memories[MEMORIES];
    uint64_t seed;
    int64_t now_s;
    bool was_outrun;
    bool is_short; /* it grew, and was not given all that it has room for now */
};

static void add(struct mt_batch *batch, const struct mt_record *record)
{
    assert_int_equal(mt_batch_add(batch, record, NULL), MT_OK);
}

static void merge(struct pair *pair, struct mt_batch *batch)
{
    assert_int_equal(mt_window_merge(pair->window, batch, pair->now_s, NULL), MT_OK);
    assert_int_equal(batch->count, 0);
}

/* As its owner does where the window has become wrong: from all there is, newest first in pieces.
 */
static void fill_anew(struct pair *pair)
{
    struct mt_batch batch = {0};
    size_t piece = 1 + random_below(&pair->seed, 50);

    mt_window_free(pair->window);
    pair->window = mt_window_new(&pair->options);
    pair->is_short = false;
    assert_non_null(pair->window);
    for (size_t i = pair->model.count; i-- > 0;) {
        add(&batch, &pair->model.rows[i]->record);
        if (batch.count == piece)
            merge(pair, &batch);
    }
    merge(pair, &batch);
    mt_batch_fini(&batch);
}

static struct mt_record random_news(struct pair *pair)
{
    static const char *const hosts[HOSTS] = {"a", "aa", "B", "\xC3\xA4", "z", "y", "x", "w1", "w2"};
    struct mt_record record = random_record(&pair->seed);
    uint64_t kind = random_below(&pair->seed, 20);
    int64_t back = (int64_t)random_below(&pair->seed, 10);

    if (kind < 3)
        back = (int64_t)random_below(&pair->seed, kind == 0 ? 6000 : 60);
    if (kind == 3)
        back = -(int64_t)random_below(&pair->seed, 1000);
    (void)snprintf(record.host, sizeof record.host, "%s", hosts[random_below(&pair->seed, HOSTS)]);
    record.timestamp = pair->now_s - back;
    return record;
}

static void take_news(struct pair *pair)
{
    struct mt_batch batch = {0};
    size_t news = random_below(&pair->seed, random_below(&pair->seed, 10) == 0 ? 60 : 4);

    for (size_t i = 0; i < news; i++) {
        struct mt_record record = random_news(pair);
        bool is_known = model_has(&pair->model, &record);

        if (!is_known)
            model_add(&pair->model, &record);
        /* a repetition changes nothing, whatever it says */
        if (!is_known || random_below(&pair->seed, 2) == 0)
            add(&batch, &pair->model.rows[model_find(&pair->model, &record)]->record);
    }
    merge(pair, &batch);
    mt_batch_fini(&batch);
}

/* Shrinks the window, or lets it grow and fills in some of what is before it. */
static void change_size(struct pair *pair, size_t most)
{
    size_t records = 1 + random_below(&pair->seed, most);
    size_t held = mt_window_records(pair->window);
    size_t older;
    struct mt_batch batch = {0};

    pair->options.records = records;
    pair->is_short = true;
    mt_window_resize(pair->window, records, pair->now_s);
    if (records <= held || mt_window_is_whole(pair->window) || held > pair->model.count)
        return;
    older = random_below(&pair->seed, pair->model.count - held + 1);
    for (size_t i = pair->model.count - held - older; i < pair->model.count; i++)
        add(&batch, &pair->model.rows[i]->record);
    assert_int_equal(mt_window_extend(pair->window, &batch, pair->now_s, NULL), MT_OK);
    mt_batch_fini(&batch);
}

static void ask(struct pair *pair, struct mt_view *view, int64_t limit, int64_t skip)
{
    int64_t known = model_shown(&pair->model, pair->now_s);
    int64_t future = (int64_t)pair->model.count - known;
    struct mt_page page;
    struct mt_buf body;
    bool found = mt_view_page(view, limit, skip, pair->now_s, &page);

    /* what it must know it knows; when it claims to know, it is right */
    if (known > (int64_t)pair->options.records)
        known = (int64_t)pair->options.records;
    if (pair->is_short)
        known = (int64_t)mt_view_records(view) - future;
    if (limit + skip <= known)
        assert_true(found);
    if (!found)
        return;
    mt_buf_init(&body, 0);
    model_render(&pair->model, limit, skip, pair->now_s, &body);
    assert_is(&page, random_below(&pair->seed, 4) == 0 ? &pair->packer : NULL, &body);
    mt_buf_fini(&body);
    if (random_below(&pair->seed, 8) == 0)
        remember(&pair->memories[random_below(&pair->seed, MEMORIES)], view, &page);
}

static void recall(struct pair *pair)
{
    struct memory *memory = &pair->memories[random_below(&pair->seed, MEMORIES)];

    if (memory->view != NULL)
        assert_is(&memory->page, random_below(&pair->seed, 4) == 0 ? &pair->packer : NULL,
                  &memory->body);
    if (random_below(&pair->seed, 16) == 0)
        forget(memory);
}

static void step(struct pair *pair, size_t most)
{
    struct mt_view *view;

    pair->now_s += (int64_t)random_below(&pair->seed, 8);
    if (pair->model.count > MODEL_MOST - 100 || random_below(&pair->seed, 200) == 0) {
        model_prune(&pair->model, pair->model.count / 2);
        fill_anew(pair);
    }
    if (random_below(&pair->seed, 50) == 0)
        change_size(pair, most);
    take_news(pair);
    if (mt_window_is_outrun(pair->window, pair->now_s)) {
        pair->was_outrun = true;
        fill_anew(pair);
    }
    view = mt_window_publish(pair->window);
    assert_non_null(view);
    for (int i = 0; i < 3; i++)
        ask(pair, view, 1 + (int64_t)random_below(&pair->seed, most + 5),
            (int64_t)random_below(&pair->seed, i == 0 ? 2 : most + 5));
    ask(pair, view, 99999, 0);
    mt_view_unref(view);
    recall(pair);
}

static void run_beside_the_model(uint64_t seed, size_t segment, size_t records, size_t future,
                                 int steps)
{
    struct pair *pair = calloc(1, sizeof *pair);
    struct mt_view *view;

    assert_non_null(pair);
    pair->seed = seed;
    pair->now_s = NOW_S;
    pair->options = (struct mt_window_options){
        .records = records, .future = future, .segment = segment, .memory = &pair->bytes};
    pair->window = mt_window_new(&pair->options);
    for (int i = 0; i < steps; i++)
        step(pair, 2 * records);
    assert_true(future > 100 || pair->was_outrun);
    view = mt_window_publish(pair->window);
    mt_window_free(pair->window);
    assert_true(mt_gauge_get(&pair->bytes) > 0);
    mt_view_unref(view);
    for (size_t i = 0; i < MEMORIES; i++)
        forget(&pair->memories[i]);
    assert_int_equal(mt_gauge_get(&pair->bytes), 0);
    model_prune(&pair->model, pair->model.count);
    mt_packer_fini(&pair->packer);
    free(pair);
}

static void test_it_answers_as_a_simple_model_does(void **state)
{
    const char *given = getenv("MT_TEST_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : 20220311;

    (void)state;
    print_message("MT_TEST_SEED=%" PRIu64 "\n", seed);
    run_beside_the_model(seed, 1, 5, 3, 500);
    run_beside_the_model(seed + 1, 4, 40, 7, 500);
    run_beside_the_model(seed + 2, 16, 200, 8, 500);
    run_beside_the_model(seed + 3, 100, 1500, 1000, 300);
}

/* A record of a host, at NOW_S + seconds. */
static struct mt_record make(const char *host, int64_t seconds)
{
    struct mt_record record = {.timestamp = NOW_S + seconds};

    (void)snprintf(record.host, sizeof record.host, "%s", host);
    mt_record_set(&record, MT_FIELD_MEM_TOTAL, 16384 * 1024);
    mt_record_set(&record, MT_FIELD_MEM_AVAILABLE, 4096 * 1024 + seconds * 1024 % 4096);
    return record;
}

static void put(struct mt_window *window, const char *host, int64_t first, size_t count)
{
    struct mt_batch batch = {0};

    for (size_t i = 0; i < count; i++) {
        struct mt_record record = make(host, first + (int64_t)i);

        add(&batch, &record);
    }
    assert_int_equal(mt_window_merge(window, &batch, NOW_S, NULL), MT_OK);
    mt_batch_fini(&batch);
}

enum { SEGMENT = 8, SLICES = 32 };

/* All of a window, as slices. */
struct whole {
    struct mt_view *view;
    struct mt_page page;
    struct mt_slice slices[SLICES];
};

static struct whole publish(struct mt_window *window)
{
    struct whole whole = {.view = mt_window_publish(window)};

    assert_non_null(whole.view);
    assert_true(mt_view_page(whole.view, 99999, 0, NOW_S, &whole.page));
    assert_true(whole.page.slices <= SLICES);
    mt_page_slices(&whole.page, whole.slices);
    return whole;
}

/* How many slices of one are at the same place in the other. */
static size_t count_shared(const struct whole *one, const struct whole *other)
{
    size_t shared = 0;

    for (size_t i = 1; i + 1 < one->page.slices; i++)
        for (size_t j = 1; j + 1 < other->page.slices; j++)
            shared += one->slices[i].data == other->slices[j].data;
    return shared;
}

static void test_only_what_a_record_falls_into_is_copied(void **state)
{
    struct mt_window_options options = {.records = 1000, .segment = SEGMENT};
    struct mt_window *window = mt_window_new(&options);
    struct whole before, after;

    (void)state;
    put(window, "m", -1000, 10 * SEGMENT + 3);
    before = publish(window);
    assert_int_equal(before.page.slices, 2 + 11);
    /* behind all others: nothing is copied, up to the end of the segment and beyond */
    for (size_t i = 1; i <= SEGMENT; i++) {
        put(window, "m", -500 + (int64_t)i, 1);
        after = publish(window);
        assert_int_equal(count_shared(&before, &after), 11);
        assert_int_equal(after.page.slices, 2 + 11 + (i > SEGMENT - 3));
        mt_view_unref(after.view);
    }
    /* among others: one segment is, and becomes two where it was full */
    put(window, "z", -1000 + 4 * SEGMENT, 1);
    after = publish(window);
    assert_int_equal(count_shared(&before, &after), 10);
    assert_int_equal(after.page.slices, 2 + 13);
    mt_view_unref(after.view);
    put(window, "zz", -1000 + 4 * SEGMENT, 1);
    after = publish(window);
    assert_int_equal(count_shared(&before, &after), 10);
    assert_int_equal(after.page.slices, 2 + 13);
    mt_view_unref(after.view);
    mt_view_unref(before.view);
    mt_window_free(window);
}

/* Every host says its own at about the same time, in any order: segments neither grow beyond their
 * size nor become many small ones. */
static void test_many_hosts_leave_segments_well_filled(void **state)
{
    enum { MANY = 200, MINUTES = 20 };
    struct mt_window_options options = {.records = MANY * MINUTES, .segment = 64};
    struct mt_window *window = mt_window_new(&options);
    uint64_t seed = 7;
    char host[16];
    struct mt_view *view;
    struct mt_page page;

    (void)state;
    for (int64_t minute = 0; minute < MINUTES; minute++)
        for (uint64_t i = 0; i < MANY; i++) {
            (void)snprintf(host, sizeof host, "%" PRIu64, i * 77 % MANY);
            put(window, host, minute * 60 + (int64_t)random_below(&seed, 70) - 6000, 1);
        }
    view = mt_window_publish(window);
    assert_true(mt_view_page(view, 99999, 0, NOW_S, &page));
    assert_in_range(page.end, MANY * (MINUTES - 1), MANY * MINUTES);
    assert_in_range(page.slices - 2, page.end / 64, page.end / 32 + 1);
    mt_view_unref(view);
    mt_window_free(window);
}

static void pack_all(struct whole *whole, struct mt_packer *packer)
{
    struct mt_packed packed = {0};

    assert_int_equal(mt_page_pack(&whole->page, packer, &packed, NULL), MT_OK);
    mt_packed_fini(&packed);
}

static void test_what_is_compressed_is_kept(void **state)
{
    struct mt_window_options options = {.records = 1000, .segment = SEGMENT};
    struct mt_window *window = mt_window_new(&options);
    struct mt_packer packer = {0};
    struct mt_page page;
    struct whole one, two;

    (void)state;
    put(window, "m", -1000, 10 * SEGMENT + 3);
    one = publish(window);
    assert_in_range(mt_page_to_pack(&one.page), one.page.length - 2, one.page.length - 1);
    pack_all(&one, &packer);
    assert_int_equal(mt_page_to_pack(&one.page), 0);
    put(window, "m", -500, 1);
    two = publish(window);
    /* the segment that is not full has to be done again */
    assert_in_range(mt_page_to_pack(&two.page), 4 * 50, 4 * 70);
    pack_all(&two, &packer);
    assert_int_equal(mt_page_to_pack(&two.page), 0);
    /* parts of segments, more than are kept: each is answered all the same */
    for (int64_t skip = 0; skip < 2 * SEGMENT; skip++) {
        struct mt_buf body;

        assert_true(mt_view_page(two.view, 3 * SEGMENT, skip, NOW_S, &page));
        mt_buf_init(&body, 0);
        mt_page_render(&page, &body);
        assert_packs(&page, &packer, &body);
        mt_buf_fini(&body);
    }
    mt_packer_fini(&packer);
    mt_view_unref(one.view);
    mt_view_unref(two.view);
    mt_window_free(window);
}

/* What the threads of a test share: the view that is published now. */
enum { READERS = 3, ROUNDS = 400, WINDOW = 600 };

struct stage {
    struct mt_guard *guard;
    struct mt_view *view; /* guarded by guard */
    struct mt_gauge bytes;
    struct mt_gauge is_over;
    struct mt_gauge answers;
};

static void show(struct stage *stage, struct mt_view *view)
{
    struct mt_view *old;

    mt_guard_write(stage->guard);
    old = stage->view;
    stage->view = view;
    mt_guard_leave(stage->guard);
    mt_view_unref(old);
}

/* Records in order and late, a window that grows and shrinks: as an owner does. */
static void write_rounds(struct stage *stage)
{
    struct mt_window_options options = {.records = WINDOW, .segment = 32, .memory = &stage->bytes};
    struct mt_window *window = mt_window_new(&options);
    uint64_t seed = 42;

    for (int64_t i = 0; i < ROUNDS; i++) {
        put(window, "m", 10 * i - 10000, 5);
        put(window, "late", 10 * i - 10000 - (int64_t)random_below(&seed, 2000), 1);
        if (i % 16 == 0)
            mt_window_resize(window, 1 + random_below(&seed, WINDOW), NOW_S);
        show(stage, mt_window_publish(window));
        /* at least one answer of each: readers are not to find nothing but the end */
        while (mt_gauge_get(&stage->answers) < i)
            ;
    }
    mt_gauge_set(&stage->is_over, 1);
    mt_window_free(window);
}

static bool read_one(struct stage *stage, uint64_t *seed, struct mt_packer *packer)
{
    struct mt_view *view;
    struct mt_page page;
    bool found;

    mt_guard_read(stage->guard);
    view = stage->view != NULL ? mt_view_ref(stage->view) : NULL;
    mt_guard_leave(stage->guard);
    if (view == NULL)
        return false;
    found = mt_view_page(view, 1 + (int64_t)random_below(seed, 200),
                         (int64_t)random_below(seed, 100), NOW_S, &page);
    if (found) {
        struct mt_buf body;

        mt_buf_init(&body, 0);
        mt_page_render(&page, &body);
        assert_is(&page, packer, &body);
        mt_buf_fini(&body);
    }
    mt_view_unref(view);
    return found;
}

static void play(struct mt_threads *threads, size_t index, void *context)
{
    struct stage *stage = context;
    struct mt_packer packer = {0};
    uint64_t seed = 1000 + index;

    mt_threads_meet(threads);
    if (index == 0)
        write_rounds(stage);
    while (index != 0 && mt_gauge_get(&stage->is_over) == 0)
        if (read_one(stage, &seed, &packer))
            mt_gauge_add(&stage->answers, 1);
    mt_packer_fini(&packer);
}

static void test_views_are_read_while_the_window_goes_on(void **state)
{
    struct stage stage = {.guard = mt_guard_new()};

    (void)state;
    assert_non_null(stage.guard);
    assert_int_equal(mt_threads_run(1 + READERS, play, &stage, NULL), MT_OK);
    assert_true(mt_gauge_get(&stage.bytes) > 0);
    mt_view_unref(stage.view);
    assert_int_equal(mt_gauge_get(&stage.bytes), 0);
    mt_guard_free(stage.guard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_answers_as_a_simple_model_does),
        cmocka_unit_test(test_only_what_a_record_falls_into_is_copied),
        cmocka_unit_test(test_many_hosts_leave_segments_well_filled),
        cmocka_unit_test(test_what_is_compressed_is_kept),
        cmocka_unit_test(test_views_are_read_while_the_window_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
