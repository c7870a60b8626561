/*
 * Query strings, split and decoded as Python's parse_qsl(keep_blank_values=True) does with bytes
 * that stand for Latin-1 characters: only `&` separates, `+` is a space, a `%` without two hex
 * digits stays as it is. Total functions on any bytes; any thread.
 */
#ifndef MT_API_QUERY_H
#define MT_API_QUERY_H

#include "base/buf.h"
#include "base/text.h"

/* Borrowed parts of a query string, still encoded. */
struct mt_query_pair {
    struct mt_slice name;
    struct mt_slice value; /* what follows the first `=`; empty if there is none */
};

/*
 * mt_query_next: takes the next non-empty pair off the front of *rest. False, and *pair untouched,
 * when there is none left.
 */
bool mt_query_next(struct mt_slice *rest, struct mt_query_pair *pair);

/*
 * mt_query_decode: appends the text of an encoded name or value to out as UTF-8. Each run of ASCII
 * with its %XX is decoded as UTF-8 by itself, ill-formed parts becoming U+FFFD; a byte of 0x80 and
 * above is the Latin-1 character. At most
 * twice as long as the input.
 */
void mt_query_decode(struct mt_buf *out, struct mt_slice encoded);

/* mt_query_is_plain: encoded is ASCII and decodes to itself. */
bool mt_query_is_plain(struct mt_slice encoded);

/* mt_query_equal: encoded decodes to exactly these characters: ASCII, no NUL, `%` or `+`. */
bool mt_query_equal(struct mt_slice encoded, const char *text);

/*
 * mt_percent_next: takes one byte off the front of *rest, decoding a whole %XX. -1 at the end. (`+`
 * is itself: paths have no other meaning for it.)
 */
int mt_percent_next(struct mt_slice *rest);

#endif
