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

/* [i]: ENTRY_BASE to the power of 2^i; a publication joins the hashes of hundreds of segments. */
static const uint64_t powers[] = {
    UINT64_C(0xeb885c76fc27736),  UINT64_C(0xd634620dff15006),  UINT64_C(0x1e3b7357735d6bcd),
    UINT64_C(0x5646afe98dd10f4),  UINT64_C(0xb8793c5b32681dc),  UINT64_C(0x11f4d7fde0d6a69a),
    UINT64_C(0xd37c6cdc6504a8a),  UINT64_C(0x1a46d83f8b86a44f), UINT64_C(0xa5d685f4440e23a),
    UINT64_C(0x1ba901903dbc12ee), UINT64_C(0x4c3022d26c355c6),  UINT64_C(0x103b370c60803bc8),
    UINT64_C(0x819c7192cc7167),   UINT64_C(0xaf8684bae89224),   UINT64_C(0xe86ef8f05e328b4),
    UINT64_C(0xcf284dab20bb7d0),  UINT64_C(0x17d4ec0628bad796), UINT64_C(0x2e932cbd4886768),
    UINT64_C(0x4be9ca7cbbef40f),  UINT64_C(0xdb52fa2335b43d8),  UINT64_C(0x1207e388491192d3),
    UINT64_C(0x1f9c1b0c59e6e7dd), UINT64_C(0x1cb22624da955dd4), UINT64_C(0x10bb11c71288b0c),
    UINT64_C(0xe3a9323b6291a38),  UINT64_C(0xcab9f284e07f9a4),  UINT64_C(0x87ce76ddb491bba),
    UINT64_C(0x691cdf419d84eab),  UINT64_C(0x17ff0fad6a1ecd2f), UINT64_C(0x1d4af0b0d37e1fbc),
    UINT64_C(0x325ccb3ec860868),  UINT64_C(0x19bc2a24c70cbd18), UINT64_C(0x45831a67493e42a),
    UINT64_C(0xfb15628e1462435),  UINT64_C(0x1b7762f55b84bbed), UINT64_C(0x1891fe7611aaeb8e),
    UINT64_C(0x1ff0ac119d4a8d2b), UINT64_C(0xcbe6e0d6ee99996),  UINT64_C(0x37f562844614d3e),
    UINT64_C(0x8777c40e4b4000b),  UINT64_C(0x2d3486a1eee6b4b),  UINT64_C(0x769a55e1fa068a7),
    UINT64_C(0x151f3a12ba19269),  UINT64_C(0x1d1d1c55734fdc91), UINT64_C(0xc8fe7347a7fb8a2),
    UINT64_C(0x179fce0b6549e523), UINT64_C(0x61c3f613a9926a7),  UINT64_C(0x31ee64c31bf99a),
    UINT64_C(0x139d47883a6a89d8), UINT64_C(0x5f282449f1b6683),  UINT64_C(0xc558467549bd566),
    UINT64_C(0xfea92d213a3083d),  UINT64_C(0xbcf544b605c3cec),  UINT64_C(0x144faa741799f837),
    UINT64_C(0x1a356072cb10ba3e), UINT64_C(0x12cafd714c2c5b42), UINT64_C(0x1964c6e9b294a94e),
    UINT64_C(0x1a2a9dedda3f2a14), UINT64_C(0x958dabeb32f13a),   UINT64_C(0x196573715e2b2fdb),
    UINT64_C(0xeb885c76fc27736),  UINT64_C(0xd634620dff15006),  UINT64_C(0x1e3b7357735d6bcd),
    UINT64_C(0x5646afe98dd10f4),
};

/* ENTRY_BASE to the power of exponent */
static uint64_t power(uint64_t exponent)
{
    uint64_t result = 1;

    for (size_t i = 0; exponent != 0; i++, exponent >>= 1)
        if (exponent & 1)
            result = multiply_add(result, powers[i], 0);
    return result;
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
