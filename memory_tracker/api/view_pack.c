#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define ZLIB_CONST /* input is not changed */
#include <zlib.h>

#include "api/counted.h"
#include "api/view.h"
#include "api/view_parts.h"

enum {
    RAW_WINDOW = -15, /* the largest window, without a wrapper */
    MEMORY_LEVEL = 8,
    /* Of what is compressed for good, and of what the next publication may undo. Measured with a
     * usual machine's records: 7 takes 17 ms a MiB, 6 leaves a fourteenth more, 8 takes twice as
     * long for a hundredth less. */
    LEVEL_KEPT = 7,
    LEVEL_QUICK = 1,
    /* for numbers in ever the same frame, long matches are worth more than short ones */
    STRATEGY = Z_FILTERED,
    FLUSH_MOST = 16, /* bytes that a flush adds to deflateBound, with some to spare */
};

/* A block that is not compressed: its kind (1: the last one), its length, that inverted, a byte. */
#define STORED(last, byte) last, 1, 0, 0xFE, 0xFF, byte

/* The header of a member without a name or a time, of no particular system. */
static const unsigned char head[] = {0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF, STORED(0, '[')};
static const unsigned char tail[] = {STORED(1, ']')};
static const unsigned char comma[] = {STORED(0, ',')};

/* Behind the last block: the checksum and the length of the text. */
struct trailer {
    unsigned char tail[sizeof tail];
    unsigned char sums[2 * sizeof(uint32_t)];
};

/* What the slices of an answer lie in, beside the view's packs. */
struct owned {
    struct mt_pack
        *packs[2]; /* of the first and of the last part: those that the view did not keep */
    size_t pack_count;
    struct mt_gauge *memory;
    size_t size; /* bytes allocated */
    struct trailer trailer;
    struct mt_slice slices[];
};

static void free_pack(struct mt_gauge *memory, struct mt_pack *pack)
{
    if (pack != NULL)
        mt_counted_free(memory, pack, pack->size);
}

/* A stream that is at its beginning. NULL: no memory. */
static z_stream *begin(struct mt_packer *packer, int level)
{
    z_stream *stream = packer->state;

    if (stream != NULL)
        return deflateReset(stream) == Z_OK && deflateParams(stream, level, STRATEGY) == Z_OK
                   ? stream
                   : NULL;
    stream = calloc(1, sizeof *stream);
    if (stream == NULL)
        return NULL;
    if (deflateInit2(stream, level, Z_DEFLATED, RAW_WINDOW, MEMORY_LEVEL, STRATEGY) != Z_OK) {
        free(stream);
        return NULL;
    }
    packer->state = stream;
    return stream;
}

void mt_packer_fini(struct mt_packer *packer)
{
    if (packer->state != NULL)
        (void)deflateEnd(packer->state);
    free(packer->state);
    packer->state = NULL;
}

/* The pack in memory of its own size, or where there is none in the larger one. */
static struct mt_pack *settle(struct mt_gauge *memory, struct mt_pack *large)
{
    size_t size = sizeof *large + large->length + sizeof comma;
    struct mt_pack *pack = mt_counted_alloc(memory, size);

    if (pack == NULL)
        return large;
    memcpy(pack, large, size);
    pack->size = size;
    free_pack(memory, large);
    return pack;
}

/* Compresses the entries [first, last) of a segment. NULL: no memory. */
static struct mt_pack *make_pack(const struct mt_segment *segment, size_t first, size_t last,
                                 struct mt_packer *packer, int level, struct mt_gauge *memory)
{
    const unsigned char *text = (const unsigned char *)segment->text + segment->offsets[first];
    /* without the comma behind the last entry */
    uInt length = segment->offsets[last] - segment->offsets[first] - 1;
    z_stream *stream = begin(packer, level);
    size_t room, size;
    struct mt_pack *pack;

    if (stream == NULL)
        return NULL;
    room = deflateBound(stream, length) + FLUSH_MOST;
    size = sizeof *pack + room + sizeof comma;
    pack = mt_counted_alloc(memory, size);
    if (pack == NULL)
        return NULL;
    stream->next_in = text;
    stream->avail_in = length;
    stream->next_out = pack->data;
    stream->avail_out = (uInt)room;
    (void)deflate(stream, Z_SYNC_FLUSH);
    *pack = (struct mt_pack){
        .segment = segment,
        .first = first,
        .end = last,
        .size = size,
        .length = room - stream->avail_out,
        .crc = {(uint32_t)crc32(0, text, length), (uint32_t)crc32(0, text, length + 1)},
        .op = {(uint32_t)crc32_combine_gen(length), (uint32_t)crc32_combine_gen(length + 1)}};
    memcpy(pack->data + pack->length, comma, sizeof comma);
    return settle(memory, pack);
}

static bool is_of(const struct mt_pack *pack, const struct mt_segment *segment, size_t first,
                  size_t end)
{
    return pack->segment == segment && pack->first == first && pack->end == end;
}

/* The pack of some entries of a part that is kept already. NULL: none is. */
static struct mt_pack *find_pack(const struct mt_view *view, size_t part, size_t first, size_t end)
{
    const struct mt_part *it = &view->parts[part];

    if (it->is_complete && end - first == it->count)
        return mt_slot_get(&it->segment->packed);
    for (size_t i = 0; i < MT_VIEW_PACKS; i++) {
        struct mt_pack *pack = mt_slot_get(&view->packs[i]);

        if (pack == NULL || is_of(pack, it->segment, first, end))
            return pack;
    }
    return NULL;
}

/* Puts a pack where the next page will find it. Returns the one that is there, pack freed then if
 * it is another; or pack, and *is_kept is false, where there is no room. */
static struct mt_pack *keep_pack(struct mt_view *view, size_t part, struct mt_pack *pack,
                                 bool *is_kept)
{
    const struct mt_part *it = &view->parts[part];
    struct mt_pack *kept = NULL;

    if (it->is_complete && pack->end - pack->first == it->count)
        kept = mt_slot_fill(&it->segment->packed, pack);
    for (size_t i = 0; kept == NULL && i < MT_VIEW_PACKS; i++) {
        struct mt_pack *there = mt_slot_fill(&view->packs[i], pack);

        if (is_of(there, pack->segment, pack->first, pack->end))
            kept = there;
    }
    *is_kept = kept != NULL;
    if (kept == NULL || kept == pack)
        return pack;
    free_pack(view->memory, pack);
    return kept;
}

static const struct mt_pack *get_pack(const struct mt_page *page, size_t part,
                                      struct mt_packer *packer, struct owned *owned)
{
    struct mt_view *view = page->view;
    const struct mt_part *it = &view->parts[part];
    struct mt_pack *pack;
    size_t first, end;
    bool is_kept;

    mt_page_part(page, part, &first, &end);
    pack = find_pack(view, part, first, end);
    if (pack != NULL)
        return pack;
    pack = make_pack(it->segment, first, end, packer,
                     it->is_complete && end - first == it->count ? LEVEL_KEPT : LEVEL_QUICK,
                     view->memory);
    if (pack == NULL)
        return NULL;
    pack = keep_pack(view, part, pack, &is_kept);
    if (!is_kept)
        owned->packs[owned->pack_count++] = pack;
    return pack;
}

static size_t part_count(const struct mt_page *page)
{
    return page->first < page->end ? page->last_part - page->first_part + 1 : 0;
}

size_t mt_page_to_pack(const struct mt_page *page)
{
    size_t bytes = 0;

    for (size_t i = page->first_part; i < page->first_part + part_count(page); i++) {
        const struct mt_segment *segment = page->view->parts[i].segment;
        size_t first, end;

        mt_page_part(page, i, &first, &end);
        if (find_pack(page->view, i, first, end) == NULL)
            bytes += segment->offsets[end] - segment->offsets[first];
    }
    return bytes;
}

static struct mt_slice slice_of(const void *bytes, size_t length)
{
    return (struct mt_slice){bytes, length};
}

static void put_u32(unsigned char *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof value);
}

/* Fills the slices between the first and the last. *crc goes on with their text. */
static bool pack_parts(const struct mt_page *page, struct mt_packer *packer, struct owned *owned,
                       size_t *length, uint32_t *crc)
{
    size_t count = part_count(page);

    for (size_t i = 0; i < count; i++) {
        const struct mt_pack *pack = get_pack(page, page->first_part + i, packer, owned);
        bool has_comma = i + 1 < count;

        if (pack == NULL)
            return false;
        owned->slices[1 + i] = slice_of(pack->data, pack->length + (has_comma ? sizeof comma : 0));
        *length += owned->slices[1 + i].length;
        *crc = (uint32_t)crc32_combine_op(*crc, pack->crc[has_comma], pack->op[has_comma]);
    }
    return true;
}

static void free_owned(struct owned *owned)
{
    for (size_t i = 0; i < owned->pack_count; i++)
        free_pack(owned->memory, owned->packs[i]);
    mt_counted_free(owned->memory, owned, owned->size);
}

enum mt_err mt_page_pack(const struct mt_page *page, struct mt_packer *packer,
                         struct mt_packed *packed, struct mt_error *error)
{
    struct mt_gauge *memory = page->view->memory;
    size_t count = part_count(page) + 2;
    size_t size = sizeof(struct owned) + count * sizeof(struct mt_slice);
    struct owned *owned = mt_counted_alloc(memory, size);
    size_t length = sizeof head + sizeof(struct trailer);
    uint32_t crc = (uint32_t)crc32(0, (const unsigned char *)"[", 1);

    if (owned != NULL) {
        *owned = (struct owned){.memory = memory, .size = size};
        if (!pack_parts(page, packer, owned, &length, &crc)) {
            free_owned(owned);
            owned = NULL;
        }
    }
    if (owned == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "no memory to compress an answer of %zu bytes",
                            page->length);
    crc = (uint32_t)crc32(crc, (const unsigned char *)"]", 1);
    memcpy(owned->trailer.tail, tail, sizeof tail);
    put_u32(owned->trailer.sums, crc);
    put_u32(owned->trailer.sums + sizeof crc, (uint32_t)page->length);
    owned->slices[0] = slice_of(head, sizeof head);
    owned->slices[count - 1] = slice_of(&owned->trailer, sizeof owned->trailer);
    *packed = (struct mt_packed){
        .slices = owned->slices, .count = count, .length = length, .owned = owned};
    return MT_OK;
}

void mt_packed_fini(struct mt_packed *packed)
{
    if (packed->owned != NULL)
        free_owned(packed->owned);
    *packed = (struct mt_packed){0};
}
