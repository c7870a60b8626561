#include "api/gzip.h"

#include <stdlib.h>

#define ZLIB_CONST /* input is not changed */
#include <zlib.h>

enum {
    STEP_BYTES = 64 * 1024,
    GZIP_WINDOW = 15 + 16, /* the largest window, in a gzip wrapper */
    MEMORY_LEVEL = 8,
};

/* One step of inflating into out. */
static int inflate_step(z_stream *stream, size_t most, size_t begun, struct mt_buf *out)
{
    size_t room = most - (out->length - begun);
    int result;

    /* one byte more than may be, so that the end of a text that just fits is found */
    room = room < STEP_BYTES ? room + 1 : STEP_BYTES;
    if (!mt_buf_reserve(out, room))
        return Z_MEM_ERROR;
    stream->next_out = (unsigned char *)out->data + out->length;
    stream->avail_out = (unsigned)room;
    result = inflate(stream, Z_NO_FLUSH);
    out->length += room - stream->avail_out;
    /* another member may follow */
    if (result == Z_STREAM_END && stream->avail_in > 0)
        result = inflateReset(stream);
    return result;
}

enum mt_gunzip mt_gunzip(struct mt_slice packed, size_t most, struct mt_buf *out)
{
    z_stream stream = {.next_in = (const unsigned char *)packed.data,
                       .avail_in = (unsigned)packed.length};
    enum mt_gunzip verdict = MT_GUNZIP_OK;
    size_t begun = out->length;
    int result = Z_OK;

    if (packed.length > UINT32_MAX)
        return MT_GUNZIP_TOO_LARGE;
    if (inflateInit2(&stream, GZIP_WINDOW) != Z_OK)
        return MT_GUNZIP_NO_MEMORY;
    while (result == Z_OK && out->length - begun <= most)
        result = inflate_step(&stream, most, begun, out);
    (void)inflateEnd(&stream);
    if (out->length - begun > most)
        verdict = MT_GUNZIP_TOO_LARGE;
    else if (result == Z_MEM_ERROR)
        verdict = MT_GUNZIP_NO_MEMORY;
    else if (result != Z_STREAM_END)
        verdict = MT_GUNZIP_BROKEN;
    return verdict;
}

struct mt_gzip {
    z_stream stream;
    struct mt_buf *out;
};

struct mt_gzip *mt_gzip_new(struct mt_buf *out)
{
    struct mt_gzip *gzip = calloc(1, sizeof *gzip);

    if (gzip == NULL)
        return NULL;
    gzip->out = out;
    if (deflateInit2(&gzip->stream, Z_BEST_SPEED, Z_DEFLATED, GZIP_WINDOW, MEMORY_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        free(gzip);
        return NULL;
    }
    return gzip;
}

static void deflate_all(struct mt_gzip *gzip, struct mt_slice bytes, int flush)
{
    z_stream *stream = &gzip->stream;
    struct mt_buf *out = gzip->out;

    stream->next_in = (const unsigned char *)bytes.data;
    stream->avail_in = (unsigned)bytes.length;
    do {
        if (!mt_buf_reserve(out, STEP_BYTES))
            return;
        stream->next_out = (unsigned char *)out->data + out->length;
        stream->avail_out = STEP_BYTES;
        (void)deflate(stream, flush);
        out->length += STEP_BYTES - stream->avail_out;
    } while (stream->avail_out == 0);
}

void mt_gzip_write(struct mt_gzip *gzip, struct mt_slice bytes)
{
    if (bytes.length > 0)
        deflate_all(gzip, bytes, Z_NO_FLUSH);
}

void mt_gzip_end(struct mt_gzip *gzip)
{
    deflate_all(gzip, (struct mt_slice){NULL, 0}, Z_FINISH);
}

void mt_gzip_free(struct mt_gzip *gzip)
{
    if (gzip != NULL)
        (void)deflateEnd(&gzip->stream);
    free(gzip);
}
