/*
 * The values of If-None-Match and Accept-Encoding, the same bytes as each: elements that say
 * nothing change nothing, one that says it all is found behind whatever is well-formed, and nothing
 * is found that is not there.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/conditional.h"
#include "base/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* before + value + after, until the next call */
static struct mt_slice between(struct mt_buf *text, const char *before, struct mt_slice value,
                               const char *after)
{
    mt_buf_clear(text);
    mt_buf_append_string(text, before);
    mt_buf_append(text, value.data, value.length);
    mt_buf_append_string(text, after);
    require(!text->failed);
    return (struct mt_slice){text->data, text->length};
}

static bool contains(struct mt_slice text, const char *part)
{
    return memmem(text.data, text.length, part, strlen(part)) != NULL;
}

static void check_tags(struct mt_slice value, struct mt_buf *text)
{
    static const char tag[] = "\"1f-2\"";
    static const char other[] = "\"no such tag is in the corpus\"";
    bool has = mt_none_match_has(value, tag);

    require(!has || contains(value, tag) || contains(value, "*"));
    require(mt_none_match_has(between(text, " \t", value, "\t "), tag) == has);
    /* it is a list, and not `*`, if something behind it is found */
    if (mt_none_match_has(between(text, ",", value, ",\"z\""), "\"z\"")) {
        require(mt_none_match_has(between(text, "W/\"1f-2\" ,", value, " , "), tag));
        require(mt_none_match_has(between(text, "\"x\",,", value, ", W/\"y\""), tag) == has);
    } else if (has) {
        require(mt_none_match_has(value, other));
    }
}

static void check_codings(struct mt_slice value, struct mt_buf *text)
{
    enum mt_coding coding = mt_coding_choose(value);

    if (coding == MT_CODING_NONE)
        require(contains(value, "0"));
    require(mt_coding_choose(between(text, " ,", value, ", ,")) == coding);
    require(mt_coding_choose(between(text, "br;q=1.0,", value, ",zstd ; q=0.5")) == coding);
    require(mt_coding_choose(between(text, "", value, ", gzip;q=, no thing")) == coding);
    require(mt_coding_choose(between(text, "gzip,identity;q=0,", value, "")) == MT_CODING_GZIP);
    require(mt_coding_choose(between(text, "gzip;q=0,identity;q=0,", value, "")) == MT_CODING_NONE);
    require(mt_coding_choose(between(text, "gzip;q=0,identity;q=1,", value, "")) ==
            MT_CODING_IDENTITY);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct mt_slice value = {(const char *)data, size};
    struct mt_buf text;

    mt_buf_init(&text, 0);
    check_tags(value, &text);
    check_codings(value, &text);
    mt_buf_fini(&text);
    return 0;
}
