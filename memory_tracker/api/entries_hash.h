/*
 * A hash of the entries of a page of GET /memory-logs, made from their bytes only: the same in
 * every process and wherever the page came from. It can be had of a run of entries from the hashes
 * of the runs before its end and before its beginning, so that a page's costs next to nothing.
 *
 * A polynomial over the entries, each of which is a polynomial over its bytes, seven at a time,
 * modulo 2^61 - 1.
 */
#ifndef MT_API_ENTRIES_HASH_H
#define MT_API_ENTRIES_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

/* The hash of a run of entries, in order; zero-initialised it is that of none. */
struct mt_entries_hash {
    uint64_t value;
    uint64_t count;
};

/* mt_entries_hash_add: one more entry at the end; its bytes from `{` to `}`. */
void mt_entries_hash_add(struct mt_entries_hash *hash, struct mt_slice entry);

/* mt_entries_hash_join: hash goes on with the run that next is the hash of. */
void mt_entries_hash_join(struct mt_entries_hash *hash, struct mt_entries_hash next);

/* mt_entries_hash_between: the hash of the run that is in `end` behind what is in `begin`. */
struct mt_entries_hash mt_entries_hash_between(struct mt_entries_hash begin,
                                               struct mt_entries_hash end);

/* mt_entries_hash_body: the hash of the entries of a whole body, `[{...},{...}]`. */
struct mt_entries_hash mt_entries_hash_body(struct mt_slice body);

#endif
