#include "api/view.h"

#include "api/counted.h"
#include "api/view_parts.h"
#include "record/record.h"

static size_t view_size(size_t parts)
{
    return sizeof(struct mt_view) + parts * sizeof(struct mt_part);
}

struct mt_view *mt_view_new(struct mt_segment *const *segments, size_t count, bool is_whole,
                            int64_t known_until_s, struct mt_gauge *memory)
{
    struct mt_view *view = mt_counted_alloc(memory, view_size(count));
    struct mt_part next = {0};

    if (view == NULL)
        return NULL;
    *view = (struct mt_view){
        .memory = memory, .count = count, .is_whole = is_whole, .known_until_s = known_until_s};
    mt_gauge_set(&view->references, 1);
    for (size_t i = 0; i < count; i++) {
        struct mt_segment *segment = segments[i];

        mt_segment_ref(segment);
        next.segment = segment;
        next.count = segment->count;
        next.is_complete = segment->is_closed || segment->count == segment->capacity;
        view->parts[i] = next;
        next.records_before += segment->count;
        next.bytes_before += segment->offsets[segment->count];
        mt_entries_hash_join(&next.hash_before, mt_segment_hash(segment, segment->count));
    }
    view->records = next.records_before;
    return view;
}

struct mt_view *mt_view_ref(struct mt_view *view)
{
    mt_gauge_add(&view->references, 1);
    return view;
}

void mt_view_unref(struct mt_view *view)
{
    if (view == NULL || !mt_gauge_drop(&view->references))
        return;
    for (size_t i = 0; i < view->count; i++)
        mt_segment_unref(view->parts[i].segment);
    for (size_t i = 0; i < MT_VIEW_PACKS; i++) {
        struct mt_pack *pack = mt_slot_get(&view->packs[i]);

        if (pack != NULL)
            mt_counted_free(view->memory, pack, pack->size);
    }
    mt_counted_free(view->memory, view, view_size(view->count));
}

size_t mt_view_records(const struct mt_view *view)
{
    return view->records;
}

/* The part that has the record of that index, which there is. */
static size_t find_part(const struct mt_view *view, size_t index)
{
    size_t low = 0;
    size_t high = view->count - 1;

    /* most ask for the newest */
    if (index >= view->parts[high].records_before)
        return high;
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (index >= view->parts[middle].records_before + view->parts[middle].count)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* How many records of a part are not later than until. */
static size_t count_until(const struct mt_part *part, int64_t until)
{
    size_t low = 0;
    size_t high = part->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (part->segment->timestamps[middle] <= until)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int64_t last_second(const struct mt_part *part)
{
    return part->segment->timestamps[part->count - 1];
}

/* How many records show at now_s. */
static size_t visible(const struct mt_view *view, int64_t now_s)
{
    int64_t until = now_s + MT_FUTURE_SLACK_S;
    size_t low = 0;
    size_t high = view->count;

    if (view->count == 0 || last_second(&view->parts[view->count - 1]) <= until)
        return view->records;
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (last_second(&view->parts[middle]) <= until)
            low = middle + 1;
        else
            high = middle;
    }
    return view->parts[low].records_before + count_until(&view->parts[low], until);
}

static struct mt_entries_hash hash_until(const struct mt_part *part, size_t count)
{
    struct mt_entries_hash hash = part->hash_before;

    mt_entries_hash_join(&hash, mt_segment_hash(part->segment, count));
    return hash;
}

static void measure(struct mt_page *page)
{
    const struct mt_view *view = page->view;
    const struct mt_part *first, *last;
    size_t begin, end;

    page->length = 2;
    page->slices = 2;
    if (page->first == page->end)
        return;
    page->last_part = find_part(view, page->end - 1);
    page->first_part = page->first >= view->parts[page->last_part].records_before
                           ? page->last_part
                           : find_part(view, page->first);
    first = &view->parts[page->first_part];
    last = &view->parts[page->last_part];
    begin = page->first - first->records_before;
    end = page->end - last->records_before;
    page->length += last->bytes_before + last->segment->offsets[end] - first->bytes_before -
                    first->segment->offsets[begin] - 1;
    page->slices += page->last_part - page->first_part + 1;
    if (first == last)
        page->hash = mt_entries_hash_between(mt_segment_hash(first->segment, begin),
                                             mt_segment_hash(first->segment, end));
    else
        page->hash = mt_entries_hash_between(hash_until(first, begin), hash_until(last, end));
}

bool mt_view_page(struct mt_view *view, int64_t limit, int64_t skip, int64_t now_s,
                  struct mt_page *page)
{
    size_t shown, rest;
    bool is_short;

    if (now_s + MT_FUTURE_SLACK_S >= view->known_until_s)
        return false;
    shown = visible(view, now_s);
    rest = skip < (int64_t)shown ? shown - (size_t)skip : 0;
    is_short = limit > (int64_t)rest;
    if (is_short && !view->is_whole)
        return false;
    *page =
        (struct mt_page){.view = view, .first = is_short ? 0 : rest - (size_t)limit, .end = rest};
    measure(page);
    return true;
}

void mt_page_part(const struct mt_page *page, size_t part, size_t *first, size_t *end)
{
    const struct mt_part *it = &page->view->parts[part];

    *first = part == page->first_part ? page->first - it->records_before : 0;
    *end = part == page->last_part ? page->end - it->records_before : it->count;
}

void mt_page_slices(const struct mt_page *page, struct mt_slice *slices)
{
    size_t count = 0;

    slices[count++] = mt_slice_of("[");
    for (size_t i = page->first_part; page->first < page->end && i <= page->last_part; i++) {
        const struct mt_segment *segment = page->view->parts[i].segment;
        size_t first, end;

        mt_page_part(page, i, &first, &end);
        slices[count++] = (struct mt_slice){segment->text + segment->offsets[first],
                                            segment->offsets[end] - segment->offsets[first] -
                                                (i == page->last_part)};
    }
    slices[count] = mt_slice_of("]");
}

void mt_page_render(const struct mt_page *page, struct mt_buf *out)
{
    mt_buf_append_char(out, '[');
    for (size_t i = page->first_part; page->first < page->end && i <= page->last_part; i++) {
        const struct mt_segment *segment = page->view->parts[i].segment;
        size_t first, end;

        mt_page_part(page, i, &first, &end);
        mt_buf_append(out, segment->text + segment->offsets[first],
                      segment->offsets[end] - segment->offsets[first] - (i == page->last_part));
    }
    mt_buf_append_char(out, ']');
}
