#include "api/window.h"

#include <stdlib.h>
#include <string.h>

#include "api/counted.h"
#include "api/segment.h"
#include "api/view_parts.h"
#include "api/window_hosts.h"
#include "record/json.h"

struct mt_window_row {
    int64_t timestamp;
    int64_t total_mib;
    int64_t free_mib;
    uint32_t host; /* of a batch: where in names its name begins; of news: the window's number */
};

/* Where a record stands in a window: before the one of that index, which may be one too many. */
struct place {
    size_t segment;
    size_t index;
};

struct mt_window {
    struct mt_window_options options;
    struct mt_segment **segments; /* in order; none is empty */
    size_t segment_count;
    size_t count;          /* records of all segments */
    bool is_whole;         /* holds the history from its first record on */
    int64_t known_until_s; /* from this second on, records of the future were left out */
    struct mt_window_hosts hosts;
};

enum {
    FIRST_CAPACITY = 64,
    /* what an entry and its comma take: 63 bytes for years to come, some more where a machine has
     * hundreds of GiB; and at most, since no number in it is longer than the second */
    ENTRY_TYPICAL = 68,
    ENTRY_MOST = 128,
};

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
    struct mt_window *window = mt_counted_alloc(options->memory, sizeof *window);

    if (window == NULL)
        return NULL;
    *window = (struct mt_window){.options = *options,
                                 .is_whole = true,
                                 .known_until_s = INT64_MAX,
                                 .hosts = {.memory = options->memory}};
    if (window->options.segment == 0)
        window->options.segment = MT_WINDOW_SEGMENT;
    return window;
}

void mt_window_free(struct mt_window *window)
{
    if (window == NULL)
        return;
    for (size_t i = 0; i < window->segment_count; i++)
        mt_segment_unref(window->segments[i]);
    free(window->segments);
    mt_window_hosts_fini(&window->hosts);
    mt_counted_free(window->options.memory, window, sizeof *window);
}

static int compare(const struct mt_window *window, const struct mt_segment *segment, size_t index,
                   int64_t timestamp, const char *name)
{
    if (segment->timestamps[index] != timestamp)
        return segment->timestamps[index] < timestamp ? -1 : 1;
    return strcmp(mt_window_hosts_name(&window->hosts, segment->hosts[index]), name);
}

/* The last segment that does not begin behind (timestamp, name); the first one if all do. */
static size_t find_segment(const struct mt_window *window, int64_t timestamp, const char *name)
{
    size_t low = 0;
    size_t high = window->segment_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (compare(window, window->segments[middle], 0, timestamp, name) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? low - 1 : 0;
}

/* The place of (timestamp, name) in the segment that it falls into. */
static struct place find(const struct mt_window *window, int64_t timestamp, const char *name)
{
    struct place place = {.segment = find_segment(window, timestamp, name)};
    const struct mt_segment *segment;
    size_t high;

    if (window->segment_count == 0)
        return place;
    segment = window->segments[place.segment];
    high = segment->count;
    while (place.index < high) {
        size_t middle = place.index + (high - place.index) / 2;

        if (compare(window, segment, middle, timestamp, name) < 0)
            place.index = middle + 1;
        else
            high = middle;
    }
    return place;
}

/* How many records stand before a place. */
static size_t count_before(const struct mt_window *window, struct place place)
{
    size_t count = place.index;

    for (size_t i = 0; i < place.segment; i++)
        count += window->segments[i]->count;
    return count;
}

/* No second is beyond the sum: no host's name is empty. */
size_t mt_window_shown(const struct mt_window *window, int64_t now_s)
{
    const struct mt_segment *last;

    if (window->segment_count == 0)
        return 0;
    last = window->segments[window->segment_count - 1];
    if (last->timestamps[last->count - 1] <= now_s + MT_FUTURE_SLACK_S)
        return window->count;
    return count_before(window, find(window, now_s + MT_FUTURE_SLACK_S + 1, ""));
}

/* The second of the record of that index, which there is. */
static int64_t timestamp_at(const struct mt_window *window, size_t index)
{
    size_t i = 0;

    while (index >= window->segments[i]->count)
        index -= window->segments[i++]->count;
    return window->segments[i]->timestamps[index];
}

static void drop_segments(struct mt_window *window, size_t first, size_t count)
{
    if (count == 0)
        return;
    for (size_t i = first; i < first + count; i++) {
        struct mt_segment *segment = window->segments[i];

        for (size_t j = 0; j < segment->count; j++)
            mt_window_hosts_leave(&window->hosts, segment->hosts[j]);
        window->count -= segment->count;
        mt_segment_unref(segment);
    }
    window->segment_count -= count;
    memmove(window->segments + first, window->segments + first + count,
            (window->segment_count - first) * sizeof(struct mt_segment *));
}

/* Leaves out what the future has too many of. Those of them that share a segment with others stay,
 * and never show: before their time comes, the window is outrun. */
static void trim_future(struct mt_window *window, size_t shown)
{
    int64_t until;
    size_t kept;

    if (window->count - shown <= window->options.future)
        return;
    until = timestamp_at(window, shown + window->options.future);
    if (until < window->known_until_s)
        window->known_until_s = until;
    kept = window->segment_count;
    while (kept > 0 && window->segments[kept - 1]->timestamps[0] >= window->known_until_s)
        kept--;
    drop_segments(window, kept, window->segment_count - kept);
}

static void trim(struct mt_window *window, int64_t now_s)
{
    size_t shown = mt_window_shown(window, now_s);
    size_t left = 0;

    trim_future(window, shown);
    while (left < window->segment_count &&
           shown >= window->segments[left]->count + window->options.records)
        shown -= window->segments[left++]->count;
    if (left > 0)
        window->is_whole = false;
    drop_segments(window, 0, left);
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

/* Records on their way from a batch into the window, and what becomes of its segments. */
struct news {
    struct mt_window *window;
    bool extends; /* takes records before the first one, too */
    struct mt_window_row *rows;
    struct place *places;
    size_t count;
    struct mt_segment *rendered; /* the rows, as one segment */
    struct mt_segment **segments;
    size_t segment_count;
    size_t segment_capacity;
    size_t last_count; /* of the window's last segment, before any was added there */
};

static bool is_news(const struct news *news, struct place place, int64_t timestamp,
                    const char *name)
{
    const struct mt_window *window = news->window;
    const struct mt_segment *segment;

    if (timestamp >= window->known_until_s)
        return false;
    if (place.segment == 0 && place.index == 0 && !window->is_whole && !news->extends)
        return false;
    if (window->segment_count == 0)
        return true;
    segment = window->segments[place.segment];
    return place.index == segment->count ||
           compare(window, segment, place.index, timestamp, name) != 0;
}

/* Leaves in rows what is new, sorted, each with the window's number of its host, and its place. */
static bool choose(struct news *news, struct mt_batch *batch)
{
    const char *names = batch->names.data;
    const char *last = NULL;

    qsort_r(batch->rows, batch->count, sizeof *batch->rows, compare_in_batch, batch->names.data);
    news->places = calloc(batch->count, sizeof *news->places);
    if (news->places == NULL)
        return false;
    for (size_t i = 0; i < batch->count; i++) {
        struct mt_window_row row = batch->rows[i];
        const char *name = names + row.host;
        struct place place;

        if (last != NULL && news->rows[news->count - 1].timestamp == row.timestamp &&
            strcmp(last, name) == 0)
            continue;
        place = find(news->window, row.timestamp, name);
        if (!is_news(news, place, row.timestamp, name))
            continue;
        if (!mt_window_hosts_take(&news->window->hosts, name, &row.host))
            return false;
        last = name;
        news->places[news->count] = place;
        news->rows[news->count++] = row;
    }
    return true;
}

static bool render(struct news *news)
{
    struct mt_buf entry;
    bool done;

    news->rendered = mt_segment_new(news->count, news->count * ENTRY_MOST, NULL);
    if (news->rendered == NULL)
        return false;
    mt_buf_init(&entry, ENTRY_MOST);
    for (size_t i = 0; i < news->count && !entry.failed; i++) {
        const struct mt_window_row *row = &news->rows[i];
        struct mt_summary summary = {row->total_mib, row->free_mib, row->total_mib - row->free_mib};

        mt_buf_clear(&entry);
        mt_json_summary(&entry, row->timestamp, &summary);
        if (!entry.failed)
            mt_segment_add(news->rendered, row->timestamp, row->host,
                           (struct mt_slice){entry.data, entry.length});
    }
    done = !entry.failed;
    mt_buf_fini(&entry);
    return done;
}

static bool push(struct news *news, struct mt_segment *segment)
{
    struct mt_segment **segments = grown(news->segments, &news->segment_capacity,
                                         news->segment_count + 1, sizeof(struct mt_segment *));

    if (segments == NULL)
        return false;
    news->segments = segments;
    segments[news->segment_count++] = segment;
    return true;
}

/* What is left to be woven: of an old segment, which may be NULL, and of the news up to end that
 * fall into it. */
struct weft {
    const struct mt_segment *old;
    size_t at;
    size_t next;
    size_t end;
};

/* The next run of at most `most` records that all come from the same segment. */
static size_t next_run(const struct news *news, const struct weft *weft, size_t most, bool *is_new)
{
    size_t run;

    if (weft->old == NULL) {
        *is_new = true;
        run = weft->end - weft->next;
    } else if (weft->next < weft->end && news->places[weft->next].index == weft->at) {
        *is_new = true;
        for (run = 1;
             weft->next + run < weft->end && news->places[weft->next + run].index == weft->at;)
            run++;
    } else {
        *is_new = false;
        run =
            (weft->next < weft->end ? news->places[weft->next].index : weft->old->count) - weft->at;
    }
    return run < most ? run : most;
}

/* Takes count records, to a segment or, where that is NULL, nowhere. Returns the bytes of text. */
static size_t weave(const struct news *news, struct weft *weft, size_t count,
                    struct mt_segment *segment)
{
    size_t bytes = 0;

    while (count > 0) {
        bool is_new;
        size_t run = next_run(news, weft, count, &is_new);
        const struct mt_segment *from = is_new ? news->rendered : weft->old;
        size_t *at = is_new ? &weft->next : &weft->at;

        bytes += from->offsets[*at + run] - from->offsets[*at];
        if (segment != NULL)
            mt_segment_copy(segment, from, *at, run);
        *at += run;
        count -= run;
    }
    return bytes;
}

/* A segment of the next count records; the last one of a window gets room for more. */
static bool weave_segment(struct news *news, struct weft *weft, size_t count, bool is_last)
{
    size_t most = news->window->options.segment;
    struct weft ahead = *weft;
    size_t bytes = weave(news, &ahead, count, NULL);
    size_t typical = most * ENTRY_TYPICAL;
    struct mt_segment *segment =
        mt_segment_new(is_last ? most : count, is_last && bytes < typical ? typical : bytes,
                       news->window->options.memory);

    if (segment == NULL)
        return false;
    (void)weave(news, weft, count, segment);
    if (push(news, segment))
        return true;
    mt_segment_unref(segment);
    return false;
}

/* The records of weft as segments of about the same size; without an old one full ones come first,
 * as they do where records come one by one. */
static bool weave_segments(struct news *news, struct weft *weft, bool is_last)
{
    size_t most = news->window->options.segment;
    size_t records = weft->end - weft->next + (weft->old != NULL ? weft->old->count : 0);
    size_t segments = (records + most - 1) / most;

    for (size_t i = 0; i < segments; i++) {
        size_t share = records / (segments - i);

        if (weft->old == NULL)
            share = records < most ? records : most;
        records -= share;
        if (!weave_segment(news, weft, share, is_last && i + 1 == segments))
            return false;
    }
    return true;
}

/* All of weft comes behind the last segment. */
static bool append(struct news *news, struct weft *weft, struct mt_segment *last)
{
    size_t room = 0;

    if (last != NULL) {
        if (!last->is_closed)
            room = mt_segment_room(last, news->rendered, weft->next, weft->end - weft->next);
        mt_segment_copy(last, news->rendered, weft->next, room);
        weft->next += room;
        if (!push(news, last))
            return false;
    }
    weft->old = NULL;
    return weave_segments(news, weft, true);
}

/* What becomes of the segment of that index, if it is one. */
static bool weave_into(struct news *news, size_t index, struct weft *weft)
{
    struct mt_window *window = news->window;
    bool is_last = index + 1 >= window->segment_count;
    struct mt_segment *old = index < window->segment_count ? window->segments[index] : NULL;

    while (weft->end < news->count && news->places[weft->end].segment == index)
        weft->end++;
    if (weft->next == weft->end)
        return old == NULL || push(news, old);
    if (is_last && (old == NULL || news->places[weft->next].index == old->count))
        return append(news, weft, old);
    old->fate = MT_SEGMENT_LEAVES;
    weft->old = old;
    weft->at = 0;
    return weave_segments(news, weft, is_last);
}

static bool weave_all(struct news *news)
{
    struct weft weft = {0};

    for (size_t i = 0; i == 0 || i < news->window->segment_count; i++)
        if (!weave_into(news, i, &weft))
            return false;
    return true;
}

/* The window gets the new segments. */
static void commit(struct news *news)
{
    struct mt_window *window = news->window;

    for (size_t i = 0; i < window->segment_count; i++)
        if (window->segments[i]->fate == MT_SEGMENT_LEAVES)
            mt_segment_unref(window->segments[i]);
    free(window->segments);
    window->segments = news->segments;
    window->segment_count = news->segment_count;
    window->count += news->count;
    for (size_t i = 0; i < window->segment_count; i++) {
        struct mt_segment *segment = window->segments[i];

        /* what stays is not written to: readers have it in their caches */
        if (segment->fate != MT_SEGMENT_STAYS)
            segment->fate = MT_SEGMENT_STAYS;
        if (i + 1 < window->segment_count && !segment->is_closed)
            segment->is_closed = true;
    }
}

/* The window is as it was. */
static void give_up(struct news *news)
{
    struct mt_window *window = news->window;

    for (size_t i = 0; i < news->segment_count; i++)
        if (news->segments[i]->fate == MT_SEGMENT_IS_NEW)
            mt_segment_unref(news->segments[i]);
    free(news->segments);
    for (size_t i = 0; i < window->segment_count; i++)
        window->segments[i]->fate = MT_SEGMENT_STAYS;
    if (window->segment_count > 0)
        window->segments[window->segment_count - 1]->count = news->last_count;
    for (size_t i = 0; i < news->count; i++)
        mt_window_hosts_leave(&window->hosts, news->rows[i].host);
}

static enum mt_err take(struct mt_window *window, struct mt_batch *batch, bool extends,
                        int64_t now_s, struct mt_error *error)
{
    struct news news = {.window = window, .extends = extends, .rows = batch->rows};
    bool done = true;

    if (window->segment_count > 0)
        news.last_count = window->segments[window->segment_count - 1]->count;
    /* what was added has a name */
    if (batch->count > 0 && batch->names.data != NULL)
        done = choose(&news, batch) && (news.count == 0 || (render(&news) && weave_all(&news)));
    if (done && news.count > 0)
        commit(&news);
    if (done)
        trim(window, now_s);
    else
        give_up(&news);
    free(news.places);
    if (news.rendered != NULL)
        mt_segment_unref(news.rendered);
    batch_clear(batch);
    if (!done)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "no memory for recent records: %zu so far",
                            window->count);
    return MT_OK;
}

enum mt_err mt_window_merge(struct mt_window *window, struct mt_batch *batch, int64_t now_s,
                            struct mt_error *error)
{
    return take(window, batch, false, now_s, error);
}

enum mt_err mt_window_extend(struct mt_window *window, struct mt_batch *batch, int64_t now_s,
                             struct mt_error *error)
{
    return take(window, batch, true, now_s, error);
}

void mt_window_end_history(struct mt_window *window)
{
    window->is_whole = false;
}

void mt_window_begin_history(struct mt_window *window)
{
    window->is_whole = true;
}

void mt_window_resize(struct mt_window *window, size_t records, int64_t now_s)
{
    window->options.records = records;
    trim(window, now_s);
}

size_t mt_window_records(const struct mt_window *window)
{
    return window->count;
}

bool mt_window_oldest(const struct mt_window *window, int64_t *timestamp)
{
    if (window->segment_count == 0)
        return false;
    *timestamp = window->segments[0]->timestamps[0];
    return true;
}

bool mt_window_is_whole(const struct mt_window *window)
{
    return window->is_whole;
}

bool mt_window_is_outrun(const struct mt_window *window, int64_t now_s)
{
    return now_s + MT_FUTURE_SLACK_S >= window->known_until_s;
}

struct mt_view *mt_window_publish(struct mt_window *window)
{
    return mt_view_new(window->segments, window->segment_count, window->is_whole,
                       window->known_until_s, window->options.memory);
}
