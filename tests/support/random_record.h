/* Random records and other random things for property tests; the seed is printed by the caller. */
#ifndef MT_TESTS_RANDOM_RECORD_H
#define MT_TESTS_RANDOM_RECORD_H

#include <string.h>

#include "record/record.h"

/* xorshift64*: the same numbers everywhere for a seed */
static inline uint64_t random_u64(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

/* below `limit`, which is more than 0 */
static inline uint64_t random_below(uint64_t *state, uint64_t limit)
{
    return random_u64(state) % limit;
}

/* small and large numbers alike, 0 and the largest now and then */
static inline int64_t random_value(uint64_t *state)
{
    switch (random_below(state, 8)) {
    case 0:
        return 0;
    case 1:
        return MT_VALUE_MAX;
    default:
        return (int64_t)(random_u64(state) >> (11 + random_below(state, 52)));
    }
}

static inline void random_host(uint64_t *state, char host[MT_HOST_MAX + 1])
{
    static const char *const letters[] = {"a",
                                          "Z",
                                          "9",
                                          "-",
                                          ".",
                                          ",",
                                          "\"",
                                          "'",
                                          ";",
                                          "\\",
                                          "\xC3\xA4",
                                          "\xE2\x82\xAC",
                                          "\xF0\x9F\x98\x80",
                                          "/"};
    size_t most = random_below(state, 20) == 0 ? MT_HOST_MAX : 1 + random_below(state, 20);
    size_t used = 0;

    while (used == 0 || (used + 4 <= most && random_below(state, 12) != 0)) {
        const char *letter = letters[random_below(state, sizeof letters / sizeof *letters)];

        memcpy(host + used, letter, strlen(letter));
        used += strlen(letter);
    }
    host[used] = '\0';
}

/* A record that mt_record_check accepts. */
static inline struct mt_record random_record(uint64_t *state)
{
    struct mt_record record = {0};

    random_host(state, record.host);
    record.timestamp = (int64_t)random_below(state, (uint64_t)MT_TIMESTAMP_MAX + 1);
    record.has_boot_id = random_below(state, 4) != 0;
    for (size_t i = 0; record.has_boot_id && i < sizeof record.boot_id; i++)
        record.boot_id[i] = (uint8_t)random_u64(state);
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        if (random_below(state, 4) != 0)
            mt_record_set(&record, i, random_value(state));
    mt_record_set(&record, MT_FIELD_MEM_TOTAL, 1 + random_value(state) / 2);
    if ((record.present & MT_FIELD_BIT(MT_FIELD_MEM_FREE)) == 0)
        mt_record_set(&record, MT_FIELD_MEM_AVAILABLE, random_value(state));
    return record;
}

/* Field by field: padding has no say. */
static inline bool records_are_equal(const struct mt_record *a, const struct mt_record *b)
{
    return strcmp(a->host, b->host) == 0 && a->timestamp == b->timestamp &&
           a->has_boot_id == b->has_boot_id &&
           (!a->has_boot_id || memcmp(a->boot_id, b->boot_id, sizeof a->boot_id) == 0) &&
           a->present == b->present && memcmp(a->value, b->value, sizeof a->value) == 0;
}

#endif
