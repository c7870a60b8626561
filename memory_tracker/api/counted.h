/* Memory whose bytes a gauge counts. Any thread. */
#ifndef MT_API_COUNTED_H
#define MT_API_COUNTED_H

#include <stddef.h>

struct mt_gauge;

/* mt_counted_alloc: memory that *memory (may be NULL) counts. NULL: no memory. */
void *mt_counted_alloc(struct mt_gauge *memory, size_t size);

/* mt_counted_free: block, which may be NULL, of this size, from mt_counted_alloc. */
void mt_counted_free(struct mt_gauge *memory, void *block, size_t size);

#endif
