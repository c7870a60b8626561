#include "api/entries_hash.h"

#include <endian.h>
#include <stdbool.h>
#include <string.h>

__extension__ typedef unsigned __int128 u128;

#define MODULUS ((UINT64_C(1) << 61) - 1)

/* Any numbers below the modulus do that no entry can make use of. */
#define ENTRY_BASE UINT64_C(0xeb885c76fc27736)
#define BYTES_BASE UINT64_C(0xd502c7e5f390b0c)

enum { WORD_BYTES = 7 };

static uint64_t reduce(uint64_t value)
{
    return value >= MODULUS ? value - MODULUS : value;
}

/* a * b + c of numbers below the modulus, of which c may be the modulus itself. */
static uint64_t multiply_add(uint64_t a, uint64_t b, uint64_t c)
{
    u128 product = (u128)a * b + c;

    return reduce((uint64_t)(product & MODULUS) + (uint64_t)(product >> 61));
}

/* ENTRY_BASE to the power of exponent */
static uint64_t power(uint64_t exponent)
{
    uint64_t result = 1;
    uint64_t square = ENTRY_BASE;

    for (;;) {
        if (exponent & 1)
            result = multiply_add(result, square, 0);
        exponent >>= 1;
        if (exponent == 0)
            return result;
        square = multiply_add(square, square, 0);
    }
}

static uint64_t load_word(const char *bytes, size_t count)
{
    uint64_t word = 0;

    memcpy(&word, bytes, count);
    return le64toh(word);
}

static uint64_t hash_bytes(struct mt_slice bytes)
{
    uint64_t hash = bytes.length;

    while (bytes.length > WORD_BYTES) {
        hash = multiply_add(hash, BYTES_BASE, load_word(bytes.data, WORD_BYTES));
        bytes.data += WORD_BYTES;
        bytes.length -= WORD_BYTES;
    }
    return multiply_add(hash, BYTES_BASE, load_word(bytes.data, bytes.length));
}

void mt_entries_hash_add(struct mt_entries_hash *hash, struct mt_slice entry)
{
    hash->value = multiply_add(hash->value, ENTRY_BASE, hash_bytes(entry));
    hash->count++;
}

void mt_entries_hash_join(struct mt_entries_hash *hash, struct mt_entries_hash next)
{
    hash->value = multiply_add(hash->value, power(next.count), next.value);
    hash->count += next.count;
}

struct mt_entries_hash mt_entries_hash_between(struct mt_entries_hash begin,
                                               struct mt_entries_hash end)
{
    uint64_t count = end.count - begin.count;
    uint64_t before = multiply_add(begin.value, power(count), 0);

    return (struct mt_entries_hash){reduce(end.value + MODULUS - before), count};
}

struct mt_entries_hash mt_entries_hash_body(struct mt_slice body)
{
    struct mt_entries_hash hash = {0};
    const char *end = body.data + body.length;
    const char *at = body.data;

    /* entries hold numbers only: no brace but their own */
    while (at < end && (at = memchr(at, '{', (size_t)(end - at))) != NULL) {
        const char *last = memchr(at, '}', (size_t)(end - at));

        if (last == NULL)
            break;
        mt_entries_hash_add(&hash, (struct mt_slice){at, (size_t)(last + 1 - at)});
        at = last + 1;
    }
    return hash;
}
