#include "api/counted.h"

#include <stdlib.h>

#include "api/threads.h"

void *mt_counted_alloc(struct mt_gauge *memory, size_t size)
{
    void *block = malloc(size);

    if (block != NULL && memory != NULL)
        mt_gauge_add(memory, (int64_t)size);
    return block;
}

void mt_counted_free(struct mt_gauge *memory, void *block, size_t size)
{
    if (block != NULL && memory != NULL)
        mt_gauge_add(memory, -(int64_t)size);
    free(block);
}
