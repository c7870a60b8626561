/*
 * The body of a push, in both forms (the first byte says which) and unpacked if it is gzip. Every
 * text has an outcome, and the records among them stand in their order.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/gzip.h"
#include "api/push_body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct mt_slice text, bool lines)
{
    struct mt_push push = {0};
    struct mt_error error = {0};
    int status = 0;

    mt_push_read(text, lines, "", &push, &status, &error);
    if (status != 200 && (status != 422 || error.text[0] == '\0') && status != 413)
        abort();
    if (push.record_count > push.count || push.count > MT_PUSH_RECORDS_MOST)
        abort();
    for (size_t i = 0; i < push.record_count; i++)
        if (push.places[i] >= push.count || (i > 0 && push.places[i] <= push.places[i - 1]) ||
            mt_record_check_values(&push.records[i], NULL) != MT_OK)
            abort();
    mt_push_fini(&push);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mt_slice text;
    struct mt_buf unpacked;

    if (size == 0)
        return 0;
    text = (struct mt_slice){(const char *)data + 1, size - 1};
    check(text, data[0] % 2 == 0);
    mt_buf_init(&unpacked, 0);
    if (mt_gunzip(text, 1 << 20, &unpacked) == MT_GUNZIP_OK)
        check((struct mt_slice){unpacked.data, unpacked.length}, data[0] % 2 == 0);
    if (unpacked.length > (1 << 20) + 1)
        abort();
    mt_buf_fini(&unpacked);
    return 0;
}
