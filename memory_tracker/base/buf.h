/*
 * A growing byte buffer with a sticky failure: after the first failed allocation (or the cap) every
 * further append does nothing, and one look at `failed` at the end tells. Owned by one thread.
 */
#ifndef MT_BASE_BUF_H
#define MT_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mt_buf {
    char *data;      /* NULL while nothing was appended; not NUL-terminated */
    size_t length;   /* bytes in use */
    size_t capacity; /* bytes allocated, at most one above limit */
    size_t limit;    /* most bytes it may hold; 0 = no cap */
    bool failed;     /* an append did not happen */
};

/* mt_buf_init: an empty buffer; limit 0 means no cap. Nothing is allocated yet. */
void mt_buf_init(struct mt_buf *buf, size_t limit);

/* mt_buf_fini: frees the memory; buf is empty again and may be used on. */
void mt_buf_fini(struct mt_buf *buf);

/* mt_buf_clear: length 0 and not failed; keeps the memory. */
void mt_buf_clear(struct mt_buf *buf);

/* mt_buf_reserve: room for `more` further bytes. False (and failed) if there is none to be had. */
bool mt_buf_reserve(struct mt_buf *buf, size_t more);

void mt_buf_append(struct mt_buf *buf, const void *bytes, size_t count);
void mt_buf_append_string(struct mt_buf *buf, const char *string);
void mt_buf_append_char(struct mt_buf *buf, char c);
void mt_buf_append_i64(struct mt_buf *buf, int64_t value);
void mt_buf_printf(struct mt_buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * mt_buf_append_json_string: a JSON string with its quotes, escaped as Python's json module does
 * with ensure_ascii off: `"` `\` and U+0000..U+001F escaped (\b \t \n \f \r, else \u00xx), all else
 * as it is. The bytes must be valid UTF-8 (see mt_utf8_append_valid).
 */
void mt_buf_append_json_string(struct mt_buf *buf, const char *bytes, size_t count);

/* mt_buf_string: the content as a NUL-terminated string, borrowed until the next append. NULL if
 * failed. */
const char *mt_buf_string(struct mt_buf *buf);

#endif
