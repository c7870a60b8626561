#include "api/segment.h"

#include <string.h>

#include "api/counted.h"

struct mt_segment *mt_segment_new(size_t capacity, size_t text_capacity, struct mt_gauge *memory)
{
    struct mt_segment *segment;
    size_t size =
        sizeof *segment + capacity * (sizeof *segment->timestamps + sizeof *segment->hosts) +
        (capacity + 1) * (sizeof *segment->hashes + sizeof *segment->offsets) + text_capacity;

    segment = mt_counted_alloc(memory, size);
    if (segment == NULL)
        return NULL;
    *segment = (struct mt_segment){.memory = memory,
                                   .size = size,
                                   .capacity = capacity,
                                   .text_capacity = text_capacity,
                                   .fate = MT_SEGMENT_IS_NEW};
    mt_gauge_set(&segment->references, 1);
    segment->timestamps = (int64_t *)(segment + 1);
    segment->hashes = (uint64_t *)(segment->timestamps + capacity);
    segment->offsets = (uint32_t *)(segment->hashes + capacity + 1);
    segment->hosts = segment->offsets + capacity + 1;
    segment->text = (char *)(segment->hosts + capacity);
    segment->hashes[0] = 0;
    segment->offsets[0] = 0;
    return segment;
}

void mt_segment_ref(struct mt_segment *segment)
{
    mt_gauge_add(&segment->references, 1);
}

void mt_segment_unref(struct mt_segment *segment)
{
    struct mt_pack *packed;

    if (!mt_gauge_drop(&segment->references))
        return;
    packed = mt_slot_get(&segment->packed);
    if (packed != NULL)
        mt_counted_free(segment->memory, packed, packed->size);
    mt_counted_free(segment->memory, segment, segment->size);
}

void mt_segment_add(struct mt_segment *segment, int64_t timestamp, uint32_t host,
                    struct mt_slice text)
{
    size_t at = segment->count++;
    uint32_t offset = segment->offsets[at];
    struct mt_entries_hash hash = mt_segment_hash(segment, at);

    mt_entries_hash_add(&hash, text);
    segment->timestamps[at] = timestamp;
    segment->hosts[at] = host;
    segment->hashes[at + 1] = hash.value;
    memcpy(segment->text + offset, text.data, text.length);
    segment->text[offset + text.length] = ',';
    segment->offsets[at + 1] = offset + (uint32_t)text.length + 1;
}

static void copy_hashes(struct mt_segment *segment, const struct mt_segment *from, size_t first,
                        size_t count)
{
    size_t at = segment->count;

    if (at == 0 && first == 0) {
        memcpy(segment->hashes, from->hashes, (count + 1) * sizeof *segment->hashes);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        struct mt_entries_hash hash = mt_segment_hash(segment, at + i);

        mt_entries_hash_join(&hash, mt_entries_hash_between(mt_segment_hash(from, first + i),
                                                            mt_segment_hash(from, first + i + 1)));
        segment->hashes[at + i + 1] = hash.value;
    }
}

void mt_segment_copy(struct mt_segment *segment, const struct mt_segment *from, size_t first,
                     size_t count)
{
    size_t at = segment->count;
    uint32_t begin = from->offsets[first];
    uint32_t offset = segment->offsets[at];

    copy_hashes(segment, from, first, count);
    memcpy(segment->timestamps + at, from->timestamps + first, count * sizeof *segment->timestamps);
    memcpy(segment->hosts + at, from->hosts + first, count * sizeof *segment->hosts);
    memcpy(segment->text + offset, from->text + begin, from->offsets[first + count] - begin);
    for (size_t i = 1; i <= count; i++)
        segment->offsets[at + i] = from->offsets[first + i] - begin + offset;
    segment->count += count;
}

size_t mt_segment_room(const struct mt_segment *segment, const struct mt_segment *from,
                       size_t first, size_t count)
{
    size_t text = segment->text_capacity - segment->offsets[segment->count];
    size_t fit = segment->capacity - segment->count;

    if (fit > count)
        fit = count;
    while (fit > 0 && from->offsets[first + fit] - from->offsets[first] > text)
        fit--;
    return fit;
}
