#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "api/gzip.h"
#include "random_record.h"

static struct mt_slice of(const struct mt_buf *buf)
{
    return (struct mt_slice){buf->data, buf->length};
}

/* Packs text in pieces of random length. */
static void pack(struct mt_slice text, uint64_t *seed, struct mt_buf *packed)
{
    struct mt_gzip *gzip = mt_gzip_new(packed);

    assert_non_null(gzip);
    while (text.length > 0) {
        size_t count = 1 + random_below(seed, text.length);

        mt_gzip_write(gzip, (struct mt_slice){text.data, count});
        text.data += count;
        text.length -= count;
    }
    mt_gzip_end(gzip);
    mt_gzip_free(gzip);
}

static void what_is_packed_is_unpacked(void **state)
{
    uint64_t seed = 20261121;

    (void)state;
    for (int i = 0; i < 60; i++) {
        size_t length = random_below(&seed, i % 2 == 0 ? 1000 : 400000);
        bool is_noise = random_below(&seed, 2) == 0;
        struct mt_buf text;
        struct mt_buf packed;
        struct mt_buf again;

        mt_buf_init(&text, 0);
        mt_buf_init(&packed, 0);
        mt_buf_init(&again, 0);
        for (size_t j = 0; j < length; j++)
            mt_buf_append_char(&text,
                               is_noise ? (char)random_u64(&seed) : (char)('a' + j / 50 % 5));
        mt_buf_append_char(&again, '>');
        pack(of(&text), &seed, &packed);
        /* just enough room, and not enough */
        assert_int_equal(mt_gunzip(of(&packed), length, &again), MT_GUNZIP_OK);
        assert_int_equal(again.length, length + 1);
        if (length > 0) {
            assert_memory_equal(again.data + 1, text.data, length);
            assert_int_equal(mt_gunzip(of(&packed), length - 1, &again), MT_GUNZIP_TOO_LARGE);
        }
        /* cut off anywhere, and with a second member behind it */
        mt_buf_clear(&again);
        assert_int_equal(
            mt_gunzip((struct mt_slice){packed.data, random_below(&seed, packed.length)}, length,
                      &again),
            MT_GUNZIP_BROKEN);
        mt_buf_clear(&again);
        pack(of(&text), &seed, &packed);
        assert_int_equal(mt_gunzip(of(&packed), 2 * length, &again), MT_GUNZIP_OK);
        assert_int_equal(again.length, 2 * length);
        mt_buf_fini(&text);
        mt_buf_fini(&packed);
        mt_buf_fini(&again);
    }
}

static void want_of_memory_is_told(void **state)
{
    static char text[300000];
    uint64_t seed = 5;
    struct mt_buf packed;
    struct mt_buf small;

    (void)state;
    mt_buf_init(&packed, 0);
    pack((struct mt_slice){text, sizeof text}, &seed, &packed);
    mt_buf_init(&small, 100000);
    assert_int_equal(mt_gunzip(of(&packed), sizeof text, &small), MT_GUNZIP_NO_MEMORY);
    mt_buf_fini(&small);
    mt_buf_init(&small, 10);
    pack((struct mt_slice){text, sizeof text}, &seed, &small);
    assert_true(small.failed);
    mt_buf_fini(&small);
    mt_buf_fini(&packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_packed_is_unpacked),
        cmocka_unit_test(want_of_memory_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
