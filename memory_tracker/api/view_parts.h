/* What a view is made of. For window.c and view*.c only. */
#ifndef MT_API_VIEW_PARTS_H
#define MT_API_VIEW_PARTS_H

#include "api/segment.h"
#include "api/view.h"

/* The records of a segment that a view shows, and all that stands before them in the view. */
struct mt_part {
    struct mt_segment *segment;
    size_t count;
    bool is_complete; /* they are all of the segment, for ever */
    size_t records_before;
    size_t bytes_before; /* of text, commas included */
    struct mt_entries_hash hash_before;
};

/* Packs of parts of segments that a view keeps: those that were asked for first. */
enum { MT_VIEW_PACKS = 8 };

struct mt_view {
    struct mt_gauge references;
    struct mt_slot packs[MT_VIEW_PACKS]; /* struct mt_pack, no two of the same entries */
    struct mt_gauge *memory;
    size_t records;
    size_t count; /* parts */
    bool is_whole;
    int64_t known_until_s;
    struct mt_part parts[];
};

/* mt_view_new: of segments that their writer holds, and calls it. NULL: no memory. */
struct mt_view *mt_view_new(struct mt_segment *const *segments, size_t count, bool is_whole,
                            int64_t known_until_s, struct mt_gauge *memory);

/* mt_page_part: which records of a part belong to a page; some do. */
void mt_page_part(const struct mt_page *page, size_t part, size_t *first, size_t *end);

#endif
