/*
 * What a request says about representations (RFC 9110): which it has already, and which codings it
 * takes. Total functions of headers' values as sent; any thread.
 */
#ifndef MT_API_CONDITIONAL_H
#define MT_API_CONDITIONAL_H

#include <stdbool.h>

#include "api/entries_hash.h"
#include "base/text.h"

/* An entity tag with its quotes and what makes it weak, and a NUL. */
enum { MT_TAG_SIZE = 48 };

/*
 * mt_tag_format: the tag of a page with these entries. Its compressed form is another
 * representation, and has a tag of its own: a weak one, since its bytes depend on where the window
 * was cut.
 */
void mt_tag_format(struct mt_entries_hash hash, bool is_gzip, char tag[MT_TAG_SIZE]);

/*
 * mt_none_match_has: the value of If-None-Match names this tag, or is `*`: the answer is 304. Tags
 * are compared weakly. A value that is not well-formed, or empty, names nothing.
 */
bool mt_none_match_has(struct mt_slice if_none_match, const char *tag);

enum mt_coding {
    MT_CODING_IDENTITY,
    MT_CODING_GZIP,
    MT_CODING_NONE, /* neither is acceptable */
};

/*
 * mt_coding_choose: the coding that the value of Accept-Encoding likes best; gzip where it likes
 * both alike or says nothing of identity. Empty: no header, identity. What is not well-formed in a
 * list is passed over.
 */
enum mt_coding mt_coding_choose(struct mt_slice accept_encoding);

#endif
