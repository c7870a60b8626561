/* UTF-8: what was made valid is valid, and valid text passes unchanged. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data;
    bool valid = mt_utf8_is_valid(bytes, size);
    struct mt_buf text;
    struct mt_buf json;

    mt_buf_init(&text, 0);
    mt_buf_init(&json, 0);
    mt_utf8_append_valid(&text, bytes, size);
    if (text.failed || !mt_utf8_is_valid(text.data, text.length))
        abort();
    if (valid != (text.length == size && (size == 0 || memcmp(text.data, bytes, size) == 0)))
        abort();
    mt_buf_append_json_string(&json, text.data, text.length);
    if (json.failed || json.length < text.length + 2 || !mt_utf8_is_valid(json.data, json.length))
        abort();
    for (size_t i = 0; i < json.length; i++)
        if ((unsigned char)json.data[i] < 0x20)
            abort();
    mt_buf_fini(&text);
    mt_buf_fini(&json);
    return 0;
}
