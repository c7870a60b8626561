/* gzip (RFC 1952) in both directions. Any thread. */
#ifndef MT_API_GZIP_H
#define MT_API_GZIP_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/text.h"

/* A body that is shorter hardly gets shorter still, and fits one packet: it is sent as it is. */
enum { MT_GZIP_LEAST_BYTES = 1024 };

enum mt_gunzip {
    MT_GUNZIP_OK,
    MT_GUNZIP_BROKEN,    /* not gzip, damaged, or cut off */
    MT_GUNZIP_TOO_LARGE, /* more than `most` */
    MT_GUNZIP_NO_MEMORY,
};

/*
 * mt_gunzip: appends what packed holds (one member or several) to out, at most `most` bytes; stops
 * as soon as there are more. Whatever was appended until then stays in out.
 */
enum mt_gunzip mt_gunzip(struct mt_slice packed, size_t most, struct mt_buf *out);

struct mt_gzip; /* from mt_gzip_new, freed by mt_gzip_free */

/* mt_gzip_new: what is written goes compressed to out, which must live as long. NULL: no memory. */
struct mt_gzip *mt_gzip_new(struct mt_buf *out);

/* mt_gzip_write, mt_gzip_end: failure is out's sticky flag. After the end nothing is written. */
void mt_gzip_write(struct mt_gzip *gzip, struct mt_slice bytes);
void mt_gzip_end(struct mt_gzip *gzip);
void mt_gzip_free(struct mt_gzip *gzip); /* accepts NULL */

#endif
