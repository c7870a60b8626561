/*
 * The listing records that a scan comes by: which blocks there are, as of the last look, and the
 * piece of each that is wanted, as numbers in memory. Private to sqlite_scan*.c and sqlite_skip.c.
 */
#ifndef MT_STORE_SQLITE_LISTING_H
#define MT_STORE_SQLITE_LISTING_H

#include <string.h>

#include "store/sqlite_block.h"

struct mt_sqlite_scan;

/* Numbers of a piece, each base plus `width` bytes; width 0: all are base. */
struct mt_sqlite_numbers {
    bool is_there;   /* false: no record has one */
    uint8_t width;   /* 0, 1, 2, 4, 8 */
    bool is_sparse;  /* some records lack one */
    uint16_t stride; /* bytes from one number to the next, and from one of present */
    uint16_t present_stride;
    uint16_t value_at; /* where in a packed record */
    uint16_t present_at;
    const uint8_t *present; /* if is_sparse: 1 or 0 for each record */
    const char *values;
    int64_t base;
};

enum mt_sqlite_depth {
    MT_SQLITE_TIMES, /* timestamps only */
    MT_SQLITE_WHOLE, /* all that the query asks for */
};

struct mt_sqlite_boot {
    int64_t id;
    uint8_t uuid[MT_BOOT_ID_SIZE];
};

/* A piece of a block: its records of a span that had arrived at the snapshot, by timestamp. */
struct mt_sqlite_part {
    enum mt_sqlite_depth depth;
    int64_t from, to; /* the span */
    size_t records;
    struct mt_sqlite_numbers timestamps;
    struct mt_sqlite_numbers boot_ids; /* row ids, in boots */
    struct mt_sqlite_numbers *fields;  /* those of the query, one after the other */
    struct mt_sqlite_boot *boots;      /* those that its records name */
    size_t boot_count;
    bool is_named;                     /* host and the boots' uuids are known */
    struct mt_sqlite_block_data *data; /* where the numbers lie: the block itself */
    char *packed;                      /* or this: one record after the other */
    size_t packed_size;
    char host[MT_HOST_MAX + 1];
};

struct mt_sqlite_listed {
    struct mt_sqlite_block block;
    struct mt_sqlite_part *part;       /* NULL: not read yet */
    struct mt_sqlite_block_data *data; /* fetched, not decoded yet */
    bool is_gone;                      /* pruned since the look */
    bool is_wanted;                    /* has a record that is handed out */
};

/* Zero-initialise; freed by mt_sqlite_listing_fini. */
struct mt_sqlite_listing {
    struct mt_sqlite_listed *blocks; /* by day, from the end that is read first, and host */
    size_t count;
    size_t capacity;
    int64_t from, to; /* the seconds that it knows: from <= second < to */
    bool is_known;
    bool is_tight;   /* there is more than fits into memory, so that it is packed */
    bool is_one_day; /* however much it has */
    bool newest_first;
    int64_t data_version; /* of the database when it was looked at, and the handle's own changes */
    int64_t own_changes;
    bool was_replaced;    /* a block that was looked at has gone while parts were made */
    int64_t record_bytes; /* what a record took in memory in the last pieces; 0: not known yet */
};

/*
 * mt_sqlite_listing_look: under the lock, finds the blocks of [*from, *to), beginning with the end
 * that is read first. Where there is much, *from or *to closes in on what fits into memory.
 */
enum mt_err mt_sqlite_listing_look(struct mt_sqlite_scan *scan, bool newest_first, int64_t *from,
                                   int64_t *to, struct mt_error *error);

/* mt_sqlite_listing_look_at_day: the same for a whole day, however much it has. */
enum mt_err mt_sqlite_listing_look_at_day(struct mt_sqlite_scan *scan, int64_t day,
                                          struct mt_error *error);

/* mt_sqlite_listing_day: under the lock, the first (newest_first: last) of these days that has a
 * matching block. */
enum mt_err mt_sqlite_listing_day(struct mt_sqlite_scan *scan, bool newest_first, int64_t first_day,
                                  int64_t last_day, int64_t *day, bool *found,
                                  struct mt_error *error);

/* mt_sqlite_listing_has: a block that may have records in [from, to). */
bool mt_sqlite_listing_has(const struct mt_sqlite_listed *listing, int64_t from, int64_t to);

/* mt_sqlite_listing_is_clean: all of its records had arrived at the snapshot. */
bool mt_sqlite_listing_is_clean(const struct mt_sqlite_scan *scan,
                                const struct mt_sqlite_block *block);

/*
 * mt_sqlite_parts: reads the blocks that have records in [from, to), or those of them that are
 * wanted, so that each has a part of that depth which spans [cut_from, cut_to), or is gone. Lets
 * the lock go if there is anything to read. What a block was merged into takes its place.
 */
enum mt_err mt_sqlite_parts(struct mt_sqlite_scan *scan, enum mt_sqlite_depth depth,
                            bool wanted_only, int64_t from, int64_t to, int64_t cut_from,
                            int64_t cut_to, struct mt_error *error);

/* mt_sqlite_parts_name: looks up the names of the parts' hosts and boots. Lets the lock go if there
 * is anything to look up. */
enum mt_err mt_sqlite_parts_name(struct mt_sqlite_scan *scan, struct mt_error *error);

/* mt_sqlite_part_at: index of the first record with timestamp >= second. */
size_t mt_sqlite_part_at(const struct mt_sqlite_part *part, int64_t second);

void mt_sqlite_part_free(struct mt_sqlite_part *part);

/* mt_sqlite_listing_fini: frees what was read. */
void mt_sqlite_listing_fini(struct mt_sqlite_listing *listing);

/* mt_sqlite_has_number: the record has one of these. */
static inline bool mt_sqlite_has_number(const struct mt_sqlite_numbers *numbers, size_t index)
{
    return numbers->is_there &&
           (!numbers->is_sparse || numbers->present[index * numbers->present_stride] != 0);
}

/* mt_sqlite_number: the one that a record has. */
static inline int64_t mt_sqlite_number(const struct mt_sqlite_numbers *numbers, size_t index)
{
    const char *at;
    uint16_t two;
    uint32_t four;
    int64_t eight;

    if (numbers->width == 0)
        return numbers->base;
    at = numbers->values + index * numbers->stride;
    switch (numbers->width) {
    case sizeof(uint8_t):
        return numbers->base + *(const uint8_t *)at;
    case sizeof two:
        memcpy(&two, at, sizeof two);
        return numbers->base + two;
    case sizeof four:
        memcpy(&four, at, sizeof four);
        return numbers->base + four;
    default:
        memcpy(&eight, at, sizeof eight);
        return numbers->base + eight;
    }
}

#endif
