#include "api/window.h"

#include <stdlib.h>
#include <string.h>

#include "record/json.h"

struct mt_window_row {
    int64_t timestamp;
    int64_t total_mib;
    int64_t free_mib;
    uint32_t host; /* of a window: index into hosts; of a batch: where in names its name begins */
};

struct host {
    char *name; /* NULL: this index is free */
    size_t rows;
};

struct mt_window {
    struct mt_window_row *rows; /* in order */
    size_t count;
    size_t capacity;
    size_t records_most;
    size_t future_most;
    bool is_whole;         /* holds the history from its first record on */
    int64_t known_until_s; /* from this second on, records of the future were left out */
    struct host *hosts;
    size_t host_capacity;
    size_t perhaps_free; /* indices of hosts before it are used */
    uint32_t *by_name;   /* the used indices of hosts, in the order of names' bytes */
    size_t host_count;
};

enum { FIRST_CAPACITY = 64 };

/* The array with room for `needed` elements, which are some. NULL: no memory, and it is as it was.
 */
static void *grown(void *array, size_t *capacity, size_t needed, size_t size)
{
    size_t most = *capacity == 0 ? FIRST_CAPACITY : *capacity;
    void *larger;

    if (needed <= *capacity)
        return array;
    while (most < needed)
        most *= 2;
    larger = reallocarray(array, most, size);
    if (larger != NULL)
        *capacity = most;
    return larger;
}

enum mt_err mt_batch_add(struct mt_batch *batch, const struct mt_record *record,
                         struct mt_error *error)
{
    struct mt_summary summary = mt_summarize(record);
    size_t name = batch->names.length;
    size_t size = strlen(record->host) + 1;
    struct mt_window_row *rows =
        grown(batch->rows, &batch->capacity, batch->count + 1, sizeof *rows);

    if (rows != NULL)
        batch->rows = rows;
    if (rows == NULL || name > UINT32_MAX || !mt_buf_reserve(&batch->names, size)) {
        batch->names.failed = false;
        return mt_error_set(error, MT_ERR_NO_MEMORY, "no memory for recent records: %zu so far",
                            batch->count);
    }
    mt_buf_append(&batch->names, record->host, size);
    rows[batch->count++] = (struct mt_window_row){.timestamp = record->timestamp,
                                                  .total_mib = summary.total_mib,
                                                  .free_mib = summary.free_mib,
                                                  .host = (uint32_t)name};
    return MT_OK;
}

static void batch_clear(struct mt_batch *batch)
{
    batch->count = 0;
    mt_buf_clear(&batch->names);
}

void mt_batch_fini(struct mt_batch *batch)
{
    free(batch->rows);
    mt_buf_fini(&batch->names);
    *batch = (struct mt_batch){0};
}

struct mt_window *mt_window_new(const struct mt_window_options *options)
{
    struct mt_window *window = calloc(1, sizeof *window);

    if (window != NULL)
        *window = (struct mt_window){.records_most = options->records,
                                     .future_most = options->future,
                                     .is_whole = true,
                                     .known_until_s = INT64_MAX};
    return window;
}

void mt_window_free(struct mt_window *window)
{
    if (window == NULL)
        return;
    for (size_t i = 0; i < window->host_count; i++)
        free(window->hosts[window->by_name[i]].name);
    free(window->by_name);
    free(window->hosts);
    free(window->rows);
    free(window);
}

/* Where name stands in by_name, or would stand. */
static size_t find_host(const struct mt_window *window, const char *name, bool *found)
{
    size_t low = 0;
    size_t high = window->host_count;

    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(window->hosts[window->by_name[middle]].name, name);

        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Room for one more host. */
static bool grow_hosts(struct mt_window *window)
{
    size_t needed = window->host_count + 1;
    size_t before = window->host_capacity;
    size_t unused = before;
    uint32_t *by_name = grown(window->by_name, &unused, needed, sizeof *by_name);
    struct host *hosts;

    if (by_name == NULL)
        return false;
    window->by_name = by_name;
    hosts = grown(window->hosts, &window->host_capacity, needed, sizeof *hosts);
    if (hosts == NULL)
        return false;
    window->hosts = hosts;
    memset(hosts + before, 0, (window->host_capacity - before) * sizeof *hosts);
    return true;
}

static bool make_host(struct mt_window *window, const char *name, size_t place, uint32_t *host)
{
    size_t id = window->perhaps_free;
    char *copy;

    if (!grow_hosts(window))
        return false;
    copy = strdup(name);
    if (copy == NULL)
        return false;
    while (window->hosts[id].name != NULL)
        id++;
    window->perhaps_free = id + 1;
    window->hosts[id] = (struct host){.name = copy};
    memmove(window->by_name + place + 1, window->by_name + place,
            (window->host_count - place) * sizeof *window->by_name);
    window->by_name[place] = (uint32_t)id;
    window->host_count++;
    *host = (uint32_t)id;
    return true;
}

/* One more row names this host. */
static bool take_host(struct mt_window *window, const char *name, uint32_t *host)
{
    bool found;
    size_t place = find_host(window, name, &found);

    if (found)
        *host = window->by_name[place];
    else if (!make_host(window, name, place, host))
        return false;
    window->hosts[*host].rows++;
    return true;
}

static void leave_host(struct mt_window *window, uint32_t id)
{
    struct host *host = &window->hosts[id];
    bool found;
    size_t place;

    if (--host->rows > 0)
        return;
    place = find_host(window, host->name, &found);
    window->host_count--;
    memmove(window->by_name + place, window->by_name + place + 1,
            (window->host_count - place) * sizeof *window->by_name);
    free(host->name);
    host->name = NULL;
    if (id < window->perhaps_free)
        window->perhaps_free = id;
}

static int compare(const struct mt_window *window, const struct mt_window_row *row,
                   int64_t timestamp, const char *name)
{
    if (row->timestamp != timestamp)
        return row->timestamp < timestamp ? -1 : 1;
    return strcmp(window->hosts[row->host].name, name);
}

/* The first row that is not before (timestamp, name). */
static size_t find_row(const struct mt_window *window, int64_t timestamp, const char *name)
{
    size_t low = 0;
    size_t high = window->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (compare(window, &window->rows[middle], timestamp, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* How many rows show at now_s. No second is beyond the sum: no host's name is empty. */
static size_t visible(const struct mt_window *window, int64_t now_s)
{
    return find_row(window, now_s + MT_FUTURE_SLACK_S + 1, "");
}

static void drop_rows(struct mt_window *window, size_t first, size_t count)
{
    for (size_t i = first; i < first + count; i++)
        leave_host(window, window->rows[i].host);
    window->count -= count;
    memmove(window->rows + first, window->rows + first + count,
            (window->count - first) * sizeof *window->rows);
}

static void trim(struct mt_window *window, int64_t now_s)
{
    size_t shown = visible(window, now_s);

    if (window->count - shown > window->future_most) {
        window->known_until_s = window->rows[shown + window->future_most].timestamp;
        size_t first = find_row(window, window->known_until_s, "");

        drop_rows(window, first, window->count - first);
    }
    if (shown > window->records_most) {
        drop_rows(window, 0, shown - window->records_most);
        window->is_whole = false;
    }
}

static int compare_in_batch(const void *a, const void *b, void *context)
{
    const struct mt_window_row *one = a;
    const struct mt_window_row *two = b;
    const char *names = context;

    if (one->timestamp != two->timestamp)
        return one->timestamp < two->timestamp ? -1 : 1;
    return strcmp(names + one->host, names + two->host);
}

static bool is_news(const struct mt_window *window, int64_t timestamp, const char *name)
{
    size_t place = find_row(window, timestamp, name);

    if (timestamp >= window->known_until_s || (place == 0 && !window->is_whole))
        return false;
    return place == window->count || compare(window, &window->rows[place], timestamp, name) != 0;
}

/* Leaves in batch what is new, sorted, each with the window's number of its host. */
static bool choose_news(struct mt_window *window, struct mt_batch *batch)
{
    const char *names = batch->names.data;
    const char *last = NULL;
    size_t chosen = 0;

    qsort_r(batch->rows, batch->count, sizeof *batch->rows, compare_in_batch, batch->names.data);
    for (size_t i = 0; i < batch->count; i++) {
        struct mt_window_row row = batch->rows[i];
        const char *name = names + row.host;

        if ((last != NULL && batch->rows[chosen - 1].timestamp == row.timestamp &&
             strcmp(last, name) == 0) ||
            !is_news(window, row.timestamp, name))
            continue;
        if (!take_host(window, name, &row.host)) {
            batch->count = chosen;
            return false;
        }
        last = name;
        batch->rows[chosen++] = row;
    }
    batch->count = chosen;
    return true;
}

/* From the end, so that each row moves once and those before the first new one not at all. */
static void merge_news(struct mt_window *window, const struct mt_batch *batch)
{
    size_t old = window->count;
    size_t more = batch->count;
    size_t at = old + more;

    while (more > 0) {
        const struct mt_window_row *row = &batch->rows[more - 1];

        if (old > 0 && compare(window, &window->rows[old - 1], row->timestamp,
                               window->hosts[row->host].name) > 0) {
            window->rows[--at] = window->rows[--old];
        } else {
            window->rows[--at] = *row;
            more--;
        }
    }
    window->count += batch->count;
}

/* Puts what choose_news left between the rows. */
static bool take_news(struct mt_window *window, const struct mt_batch *batch)
{
    struct mt_window_row *rows;

    if (batch->count == 0)
        return true;
    rows = grown(window->rows, &window->capacity, window->count + batch->count, sizeof *rows);
    if (rows == NULL)
        return false;
    window->rows = rows;
    merge_news(window, batch);
    return true;
}

enum mt_err mt_window_merge(struct mt_window *window, struct mt_batch *batch, int64_t now_s,
                            struct mt_error *error)
{
    /* without names nothing was ever added */
    bool done =
        batch->names.data == NULL || (choose_news(window, batch) && take_news(window, batch));

    if (done)
        trim(window, now_s);
    for (size_t i = 0; !done && i < batch->count; i++)
        leave_host(window, batch->rows[i].host);
    batch_clear(batch);
    if (!done)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "no memory for recent records: %zu so far",
                            window->count);
    return MT_OK;
}

void mt_window_end_history(struct mt_window *window)
{
    window->is_whole = false;
}

bool mt_window_is_outrun(const struct mt_window *window, int64_t now_s)
{
    return now_s + MT_FUTURE_SLACK_S >= window->known_until_s;
}

bool mt_window_find(const struct mt_window *window, int64_t limit, int64_t skip, int64_t now_s,
                    struct mt_window_page *page)
{
    size_t shown = visible(window, now_s);
    size_t rest = skip < (int64_t)shown ? shown - (size_t)skip : 0;
    bool is_short = limit > (int64_t)rest;

    if (mt_window_is_outrun(window, now_s) || (is_short && !window->is_whole))
        return false;
    page->count = is_short ? rest : (size_t)limit;
    page->first = rest - page->count;
    return true;
}

void mt_window_render(const struct mt_window *window, const struct mt_window_page *page,
                      struct mt_buf *out)
{
    for (size_t i = page->first; i < page->first + page->count; i++) {
        const struct mt_window_row *row = &window->rows[i];
        struct mt_summary summary = {row->total_mib, row->free_mib, row->total_mib - row->free_mib};

        if (i > page->first)
            mt_buf_append_char(out, ',');
        mt_json_summary(out, row->timestamp, &summary);
    }
}
