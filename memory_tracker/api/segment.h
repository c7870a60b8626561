/*
 * Segments, what a window and its views are made of: runs of rendered records that many may refer
 * to. For window*.c and view*.c only.
 *
 * A segment's writer is the thread of its window. It only adds at the end; what is before the end
 * that a view knows never changes, so readers of views need no lock.
 */
#ifndef MT_API_SEGMENT_H
#define MT_API_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/entries_hash.h"
#include "api/threads.h"
#include "base/text.h"

/* What becomes of a segment while records are woven into a window. */
enum mt_segment_fate { MT_SEGMENT_STAYS, MT_SEGMENT_IS_NEW, MT_SEGMENT_LEAVES };

struct mt_segment {
    struct mt_gauge references;
    struct mt_slot packed; /* struct mt_pack of all of its entries, once is_closed */
    struct mt_gauge *memory;
    size_t size; /* bytes allocated */
    /* the writer's */
    size_t count;
    size_t capacity;
    size_t text_capacity;
    bool is_closed; /* count does not change any more */
    enum mt_segment_fate fate;
    /* everybody's, up to the count that a view knows */
    int64_t *timestamps;
    uint64_t *hashes;  /* [i]: of the first i entries; one more than there are records */
    uint32_t *offsets; /* [i]: where entry i begins in text; one more than there are records */
    uint32_t *hosts;   /* numbers of the window's hosts */
    char *text;        /* the entries, each with a comma behind it */
};

/* mt_segment_new: an empty one with one reference, the caller's. NULL: no memory. */
struct mt_segment *mt_segment_new(size_t capacity, size_t text_capacity, struct mt_gauge *memory);

void mt_segment_ref(struct mt_segment *segment);
void mt_segment_unref(struct mt_segment *segment); /* any thread */

/* mt_segment_add: one more at the end; there must be room for text and a comma. */
void mt_segment_add(struct mt_segment *segment, int64_t timestamp, uint32_t host,
                    struct mt_slice text);

/* mt_segment_copy: adds count records of another, which there must be room for. */
void mt_segment_copy(struct mt_segment *segment, const struct mt_segment *from, size_t first,
                     size_t count);

/* mt_segment_room: how many of count records of another fit, from the first on. */
size_t mt_segment_room(const struct mt_segment *segment, const struct mt_segment *from,
                       size_t first, size_t count);

/* mt_segment_hash: of its first count entries. */
static inline struct mt_entries_hash mt_segment_hash(const struct mt_segment *segment, size_t count)
{
    return (struct mt_entries_hash){segment->hashes[count], count};
}

/* Entries compressed: raw deflate that ends at a byte and refers to nothing before its beginning.
 * Never changes. */
struct mt_pack {
    const struct mt_segment *segment; /* which entries: [first, end) of this segment */
    size_t first;
    size_t end;
    size_t size;          /* bytes allocated */
    size_t length;        /* bytes of data without the comma */
    uint32_t crc[2];      /* of the text; [1]: with a comma behind it */
    uint32_t op[2];       /* what appends such a text's crc to another (crc32_combine_op) */
    unsigned char data[]; /* the entries, then a comma as a block of its own */
};

#endif
