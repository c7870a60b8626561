/*
 * The table of options of a remote store's URI (uri_option.def) and the check of those in a URI.
 * For uri*.c.
 */
#ifndef MT_STORE_URI_OPTION_H
#define MT_STORE_URI_OPTION_H

#include "base/error.h"
#include "store/uri_part.h"

enum mt_uri_option {
#define MT_URI_OPTION(name, ...) MT_URI_##name,
#define MT_URI_REFUSED(name, why)
#include "store/uri_option.def"
#undef MT_URI_OPTION
#undef MT_URI_REFUSED
    MT_URI_OPTION_COUNT
};

enum mt_uri_scheme {
    MT_URI_MONGODB = 1 << 0, /* and mongodb+srv */
    MT_URI_HTTP = 1 << 1,
    MT_URI_HTTPS = 1 << 2,
};

enum mt_uri_option_flag {
    MT_URI_OURS = 1 << 0, /* the driver does not know it */
    MT_URI_SECRET = 1 << 1,
    MT_URI_INSECURE = 1 << 2, /* if true it switches off a check that keeps strangers out */
    MT_URI_TLS = 1 << 3,      /* has a meaning with TLS only */
    MT_URI_SRV = 1 << 4,      /* has a meaning with mongodb+srv only */
    MT_URI_REPEATED = 1 << 5, /* may be given several times */
};

/* The decoded values, NULL where not given; of a repeated one the first. Zero it before use. */
struct mt_uri_options {
    char *value[MT_URI_OPTION_COUNT];
};

/*
 * mt_uri_options_read: each option is known, given once, not empty-handed and of its type. *error
 * (code `code`, or NO_MEMORY) names the option, its value and what would be right, but nothing that
 * may be a secret or a part of one. options is freed by the caller also on failure.
 */
enum mt_err mt_uri_options_read(struct mt_slice text, enum mt_uri_scheme scheme,
                                bool allow_insecure, enum mt_err code,
                                struct mt_uri_options *options, struct mt_error *error);
void mt_uri_options_free(struct mt_uri_options *options);

/* mt_uri_option_name, mt_uri_option_flags: the table's columns. */
const char *mt_uri_option_name(enum mt_uri_option option);
unsigned mt_uri_option_flags(enum mt_uri_option option);

/* mt_uri_option_is: the option is given with this value. */
bool mt_uri_option_is(const struct mt_uri_options *options, enum mt_uri_option option,
                      const char *value);

/* mt_uri_collection_check: NULL if a collection may be called so, else what would be right. */
const char *mt_uri_collection_check(const char *name);

#endif
