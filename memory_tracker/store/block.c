#include "store/block.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "store/block_bits.h"

enum {
    LEVEL = 3,
    WHOLE_BITS = 4,
    WHOLE = 1 << WHOLE_BITS, /* smaller numbers are tokens of their own */
    SHOWN_BITS = 2,          /* after its first, those of a larger number that its token shows */
    SHOWN = 1 << SHOWN_BITS,
    TOKENS = WHOLE + (64 - WHOLE_BITS) * SHOWN,
    ORDERS = 3, /* differences of differences, at most */
    ORDER_BITS = 8,
    LENGTH_BITS = 8, /* of the divisor's length */
};

static enum mt_err no_memory(struct mt_error *error)
{
    return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
}

static enum mt_err corrupt(struct mt_error *error, const char *what)
{
    return mt_error_set(error, MT_ERR_CORRUPT, "%s", what);
}

struct mt_block_summary mt_block_summarize(const struct mt_block_column *column, size_t first,
                                           size_t end)
{
    struct mt_block_summary summary = {.min = INT64_MAX, .max = INT64_MIN};
    mt_u128 sum = 0;

    for (size_t i = first; i < end; i++) {
        int64_t value = column->values[i];

        if (column->present != NULL && column->present[i] == 0)
            continue;
        summary.count++;
        sum += (uint64_t)value;
        if (value < summary.min)
            summary.min = value;
        if (value > summary.max)
            summary.max = value;
    }
    if (summary.count == 0)
        return (struct mt_block_summary){0};
    summary.above = sum - (mt_u128)(uint64_t)summary.min * (uint64_t)summary.count;
    return summary;
}

static uint64_t zigzag(uint64_t difference)
{
    return difference << 1 ^ (0 - (difference >> 63));
}

static uint64_t unzigzag(uint64_t number)
{
    return number >> 1 ^ (0 - (number & 1));
}

static unsigned token_of(uint64_t number)
{
    unsigned more;

    if (number < WHOLE)
        return (unsigned)number;
    more = mt_bit_length(number) - 1;
    return WHOLE + (more - WHOLE_BITS) * SHOWN + (unsigned)(number >> (more - SHOWN_BITS)) % SHOWN;
}

_Static_assert(TOKENS == 256, "every byte is a token");

/* how many bits follow a token */
static unsigned rest_of(unsigned token)
{
    return token < WHOLE ? 0 : (token - WHOLE) / SHOWN + WHOLE_BITS - SHOWN_BITS;
}

/* what it takes to tell a number from those before it */
struct predictor {
    unsigned order;
    uint64_t last[ORDERS]; /* the number before, the difference before, ... */
};

static uint64_t predict(const struct predictor *predictor)
{
    uint64_t expected = 0;

    for (unsigned i = 0; i < predictor->order; i++)
        expected += predictor->last[i];
    return expected;
}

static void learn(struct predictor *predictor, uint64_t number)
{
    for (unsigned i = 0; i < predictor->order; i++) {
        uint64_t before = predictor->last[i];

        predictor->last[i] = number;
        number -= before;
    }
}

/* bits for the numbers in that order, in 1/256, as an entropy coder would need them */
static uint64_t cost_of(const uint64_t *numbers, size_t count, unsigned order)
{
    struct predictor predictor = {.order = order};
    uint32_t seen[TOKENS] = {0};
    uint64_t cost = 0;

    for (size_t i = 0; i < count; i++) {
        unsigned token = token_of(zigzag(numbers[i] - predict(&predictor)));

        learn(&predictor, numbers[i]);
        seen[token]++;
        cost += (uint64_t)rest_of(token) * 256;
    }
    for (unsigned i = 0; i < TOKENS; i++) {
        /* log2(count / seen), between powers of two by a line */
        uint64_t ratio = seen[i] == 0 ? 256 : (uint64_t)count * 256 / seen[i];
        unsigned whole = mt_bit_length(ratio) - 1;

        cost += seen[i] * ((uint64_t)(whole - 8) * 256 + ((ratio << 8 >> whole) & 0xFF));
    }
    return cost;
}

static unsigned best_order(const uint64_t *numbers, size_t count)
{
    unsigned best = 1;
    uint64_t least = UINT64_MAX;

    for (unsigned order = 0; order < ORDERS; order++) {
        uint64_t cost = cost_of(numbers, count, order);

        if (cost < least) {
            least = cost;
            best = order;
        }
    }
    return best;
}

/* the present values above min, divided by what divides them all */
static size_t gather(const struct mt_block_column *column, int64_t min, uint64_t *numbers,
                     uint64_t *divisor)
{
    uint64_t common = 0;
    size_t count = 0;

    for (size_t i = 0; i < column->records; i++) {
        if (column->present != NULL && column->present[i] == 0)
            continue;
        numbers[count] = (uint64_t)column->values[i] - (uint64_t)min;
        if (common != 1)
            common = mt_gcd(common, numbers[count]);
        count++;
    }
    *divisor = common == 0 ? 1 : common;
    for (size_t i = 0; i < count && *divisor != 1; i++)
        numbers[i] /= *divisor;
    return count;
}

/* head: presence, order, divisor and tokens; rest: the bits that are left */
static void write_parts(const struct mt_block_column *column, bool is_complete, int64_t min,
                        uint64_t *numbers, struct mt_buf *head, struct mt_buf *rest)
{
    struct mt_bit_writer writer = {.out = head};
    struct predictor predictor = {0};
    uint64_t divisor;
    size_t count = gather(column, min, numbers, &divisor);

    for (size_t i = 0; i < column->records && !is_complete; i++)
        mt_bits_put(&writer, column->present[i], 1);
    mt_bits_finish(&writer);
    predictor.order = best_order(numbers, count);
    mt_bits_put(&writer, predictor.order, ORDER_BITS);
    mt_bits_put(&writer, mt_bit_length(divisor), LENGTH_BITS);
    mt_bits_put(&writer, divisor, mt_bit_length(divisor));
    mt_bits_finish(&writer);
    writer = (struct mt_bit_writer){.out = rest};
    for (size_t i = 0; i < count; i++) {
        uint64_t number = zigzag(numbers[i] - predict(&predictor));
        unsigned token = token_of(number);

        learn(&predictor, numbers[i]);
        mt_buf_append_char(head, (char)token);
        mt_bits_put(&writer, number, rest_of(token));
    }
    mt_bits_finish(&writer);
}

/* in two blocks of one frame, so that what cannot be compressed does not dilute what can */
static enum mt_err compress(struct mt_block_codec *codec, const struct mt_buf *head,
                            const struct mt_buf *rest, struct mt_buf *out, struct mt_error *error)
{
    size_t size = head->length + rest->length;
    size_t most = ZSTD_compressBound(size) + 64;
    ZSTD_inBuffer parts[2] = {{head->data, head->length, 0}, {rest->data, rest->length, 0}};
    ZSTD_outBuffer output = {0};
    size_t left = 1;

    if (codec->compressor == NULL)
        codec->compressor = ZSTD_createCCtx();
    if (codec->compressor == NULL || !mt_buf_reserve(out, most))
        return no_memory(error);
    /* also after a column that failed in its middle */
    (void)ZSTD_CCtx_reset(codec->compressor, ZSTD_reset_session_and_parameters);
    (void)ZSTD_CCtx_setParameter(codec->compressor, ZSTD_c_compressionLevel, LEVEL);
    (void)ZSTD_CCtx_setParameter(codec->compressor, ZSTD_c_checksumFlag, 1);
    (void)ZSTD_CCtx_setPledgedSrcSize(codec->compressor, size);
    output = (ZSTD_outBuffer){out->data + out->length, most, 0};
    for (int i = 0; i < 2 && (i == 0 || left == 0); i++)
        left = ZSTD_compressStream2(codec->compressor, &output, &parts[i],
                                    i == 0 ? ZSTD_e_flush : ZSTD_e_end);
    if (left != 0)
        return no_memory(error);
    out->length += output.pos;
    return MT_OK;
}

void mt_block_codec_fini(struct mt_block_codec *codec)
{
    /* most who record never had one, and need not have the library's code in memory */
    if (codec->compressor != NULL)
        (void)ZSTD_freeCCtx(codec->compressor);
    if (codec->decompressor != NULL)
        (void)ZSTD_freeDCtx(codec->decompressor);
    *codec = (struct mt_block_codec){0};
}

enum mt_err mt_block_encode(struct mt_block_codec *codec, const struct mt_block_column *column,
                            const struct mt_block_summary *summary, struct mt_buf *out,
                            struct mt_error *error)
{
    bool is_complete = summary->count == (int64_t)column->records;
    struct mt_buf head = {0};
    struct mt_buf rest = {0};
    uint64_t *numbers;
    enum mt_err err;

    if (is_complete && summary->min == summary->max)
        return MT_OK;
    numbers = calloc(column->records, sizeof *numbers);
    if (numbers == NULL)
        return no_memory(error);
    write_parts(column, is_complete, summary->min, numbers, &head, &rest);
    err = head.failed || rest.failed ? no_memory(error) : compress(codec, &head, &rest, out, error);
    free(numbers);
    mt_buf_fini(&head);
    mt_buf_fini(&rest);
    return err;
}

/* the most that write_parts makes of so many records */
static size_t most_content(size_t records)
{
    return (records + 7) / 8 + 2 + 8 + records + records * 8;
}

size_t mt_block_bytes_most(size_t records)
{
    return ZSTD_compressBound(most_content(records));
}

static enum mt_err decompress(struct mt_block_codec *codec, const void *bytes, size_t size,
                              size_t records, uint8_t **content, size_t *content_size,
                              struct mt_error *error)
{
    unsigned long long stated = ZSTD_getFrameContentSize(bytes, size);
    uint8_t *made;
    size_t got;

    if (stated == ZSTD_CONTENTSIZE_ERROR || stated == ZSTD_CONTENTSIZE_UNKNOWN || stated == 0 ||
        stated > most_content(records))
        return corrupt(error, "is no compressed column");
    if (codec->decompressor == NULL)
        codec->decompressor = ZSTD_createDCtx();
    if (codec->decompressor == NULL)
        return no_memory(error);
    made = malloc((size_t)stated);
    if (made == NULL)
        return no_memory(error);
    got = ZSTD_decompressDCtx(codec->decompressor, made, (size_t)stated, bytes, size);
    if (ZSTD_isError(got) != 0 || got != stated) {
        free(made);
        return mt_error_set(error, MT_ERR_CORRUPT, "cannot be decompressed: %s",
                            ZSTD_getErrorName(got));
    }
    *content = made;
    *content_size = got;
    return MT_OK;
}

static enum mt_err read_presence(struct mt_bit_reader *reader, int64_t count,
                                 struct mt_block_column *column, struct mt_error *error)
{
    int64_t found = 0;
    uint8_t *present = malloc(column->records);

    if (present == NULL)
        return no_memory(error);
    for (size_t i = 0; i < column->records; i++) {
        present[i] = (uint8_t)mt_bits_get(reader, 1);
        found += present[i];
    }
    if (!mt_bits_align(reader) || found != count) {
        free(present);
        return corrupt(error, "says otherwise which records have it");
    }
    column->present = present;
    return MT_OK;
}

static enum mt_err read_numbers(struct mt_bit_reader *reader,
                                const struct mt_block_summary *summary,
                                struct mt_block_column *column, struct mt_error *error)
{
    struct predictor predictor = {.order = (unsigned)mt_bits_get(reader, ORDER_BITS)};
    unsigned length = (unsigned)mt_bits_get(reader, LENGTH_BITS);
    uint64_t divisor = length > 63 ? 0 : mt_bits_get(reader, length);
    const uint8_t *tokens;
    uint64_t most;
    bool is_least_there = false;
    bool is_most_there = false;

    if (!mt_bits_align(reader) || predictor.order >= ORDERS || divisor == 0 ||
        reader->size - reader->bit / 8 < (size_t)summary->count)
        return corrupt(error, "has an impossible beginning");
    most = ((uint64_t)summary->max - (uint64_t)summary->min) / divisor;
    tokens = reader->bytes + reader->bit / 8;
    reader->bit += (size_t)summary->count * 8;
    for (size_t i = 0; i < column->records; i++) {
        uint64_t number;
        unsigned token;

        column->values[i] = 0;
        if (column->present != NULL && column->present[i] == 0)
            continue;
        token = *tokens++;
        number = token;
        if (token >= WHOLE) {
            unsigned rest = rest_of(token);

            number =
                (uint64_t)(SHOWN | (token - WHOLE) % SHOWN) << rest | mt_bits_get(reader, rest);
        }
        number = unzigzag(number) + predict(&predictor);
        if (number > most)
            return corrupt(error, "has a number beyond its bounds");
        learn(&predictor, number);
        is_least_there = is_least_there || number == 0;
        is_most_there = is_most_there || number == most;
        column->values[i] = (int64_t)((uint64_t)summary->min + number * divisor);
    }
    if (!mt_bits_end(reader))
        return corrupt(error, "has another length than its numbers");
    if (!is_least_there || !is_most_there ||
        most * divisor != (uint64_t)summary->max - (uint64_t)summary->min)
        return corrupt(error, "has other bounds than its numbers");
    return MT_OK;
}

enum mt_err mt_block_decode(struct mt_block_codec *codec, const void *bytes, size_t size,
                            const struct mt_block_summary *summary, struct mt_block_column *column,
                            struct mt_error *error)
{
    struct mt_bit_reader reader = {0};
    uint8_t *content = NULL;
    size_t content_size = 0;
    enum mt_err err;

    column->present = NULL;
    if (summary->count <= 0 || (uint64_t)summary->count > column->records || summary->min < 0 ||
        summary->min > summary->max || column->records > MT_BLOCK_RECORDS_MAX)
        return corrupt(error, "has impossible bounds");
    if (size == 0) {
        if (summary->min != summary->max || (uint64_t)summary->count != column->records)
            return corrupt(error, "lacks its numbers");
        for (size_t i = 0; i < column->records; i++)
            column->values[i] = summary->min;
        return MT_OK;
    }
    err = decompress(codec, bytes, size, column->records, &content, &content_size, error);
    if (err != MT_OK)
        return err;
    reader = (struct mt_bit_reader){.bytes = content, .size = content_size};
    if ((uint64_t)summary->count != column->records)
        err = read_presence(&reader, summary->count, column, error);
    if (err == MT_OK)
        err = read_numbers(&reader, summary, column, error);
    if (err != MT_OK) {
        free(column->present);
        column->present = NULL;
    }
    free(content);
    return err;
}
