/*
 * A server's URI in its parts, as they stand in it (percent-encoded). For uri*.c. Total functions:
 * any bytes are fine, nothing is checked here but what is needed to tell the parts from each other.
 */
#ifndef MT_STORE_URI_PART_H
#define MT_STORE_URI_PART_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/text.h"

/* SCHEME://[USER@]HOSTS[PATH][?OPTIONS]; the slices live as long as the text. */
struct mt_uri_parts {
    struct mt_slice scheme;
    bool has_user, has_options; /* even if empty */
    struct mt_slice user;       /* up to the last @ before the path: user and password, or token */
    struct mt_slice hosts;
    struct mt_slice path; /* begins with its slash, or is empty */
    struct mt_slice options;
};

/* mt_uri_split: false, *parts untouched, where there is no `://`. */
bool mt_uri_split(const char *uri, struct mt_uri_parts *parts);

/* mt_uri_next_option: cuts the next NAME=VALUE off *rest, which begins as parts.options; an option
 * without `=` has the value data NULL. False at the end. */
bool mt_uri_next_option(struct mt_slice *rest, struct mt_slice *name, struct mt_slice *value);

/* mt_uri_equal: the slice is this name, whatever the case of the letters. */
bool mt_uri_equal(struct mt_slice text, const char *name);

/* mt_uri_is: the parts' scheme is this one (`mongodb` is not `mongodb+srv`). */
bool mt_uri_is(const struct mt_uri_parts *parts, const char *scheme);

/* mt_uri_decode: appends the text with its percent-codes decoded. False for a % without two
 * hexadecimal digits, for %00, and where memory ran out (out->failed tells). */
bool mt_uri_decode(struct mt_slice text, struct mt_buf *out);

/* mt_uri_encode: appends the text with all but letters, digits and -._~ percent-encoded. */
void mt_uri_encode(struct mt_slice text, struct mt_buf *out);

#endif
