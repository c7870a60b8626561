/*
 * The table of settings (setting.def) and the check of a single value. What a setting's value is
 * taken from (option, environment, file, default) is config.h's business.
 */
#ifndef MT_BASE_SETTING_H
#define MT_BASE_SETTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* The prefix of a setting in the environment and in the file, and of those that keep their name. */
#define MT_SETTING_PREFIX       "MEMORY_TRACKER_"
#define MT_SETTING_DOCDB_PREFIX "DOCDB_"

enum mt_setting {
#define MT_SETTING(name, ...) MT_SETTING_##name,
#include "base/setting.def"
#undef MT_SETTING
    MT_SETTING_COUNT
};

enum mt_setting_type {
    MT_TYPE_STORE,     /* a store's URI */
    MT_TYPE_LISTEN,    /* listening addresses, divided by commas */
    MT_TYPE_HOST,      /* a host's name: 1 to 255 bytes of UTF-8, no control characters, no space */
    MT_TYPE_PATH,      /* not empty */
    MT_TYPE_TOKEN,     /* visible ASCII characters, at least one */
    MT_TYPE_SERVERS,   /* host names or addresses, with or without a port, divided by commas */
    MT_TYPE_NAME,      /* of a database or a collection: not empty, no control characters */
    MT_TYPE_OPTIONS,   /* the end of a mongodb URI; may be empty */
    MT_TYPE_TEXT,      /* anything, also nothing */
    MT_TYPE_COUNT,     /* an integer */
    MT_TYPE_SECONDS,   /* an integer, an `s` may follow */
    MT_TYPE_BYTES,     /* an integer with B, KiB, MiB, GiB or TiB; B may be missing: PLAIN_BYTES */
    MT_TYPE_CHOICE,    /* one of the placeholder's words */
    MT_TYPE_RETENTION, /* see mt_retention_parse; may be empty */
};

enum mt_program {
    MT_PROGRAM_SAMPLER = 1 << 0,
    MT_PROGRAM_API = 1 << 1,
    MT_PROGRAM_TRACKER = 1 << 2,
    MT_PROGRAM_COURIER = 1 << 3, /* takes all that the sampler takes, which executes it */
    MT_PROGRAM_SPOOL = 1 << 4,   /* memory-tracker spool */
    MT_ALL_PROGRAMS = MT_PROGRAM_SAMPLER | MT_PROGRAM_API | MT_PROGRAM_TRACKER | MT_PROGRAM_COURIER,
};

enum mt_setting_flag {
    MT_SETTING_SECRET = 1 << 0,   /* may hold a password: has a _FILE form, is masked when shown */
    MT_SETTING_OWN_NAME = 1 << 1, /* its name has no MT_SETTING_PREFIX */
    MT_SETTING_PLAIN_BYTES = 1 << 2, /* a size may be a plain number of bytes */
};

/* One row of the table; static and immutable. */
struct mt_setting_info {
    const char *name;   /* "MEMORY_TRACKER_STORE", "DOCDB_HOST" */
    const char *option; /* "store", "docdb-host" */
    enum mt_setting_type type;
    const char *fallback; /* the default; NULL: found out at run time, or none */
    int64_t least, most;  /* bounds of a number */
    unsigned programs;    /* enum mt_program, or-ed: where it is an option */
    unsigned flags;       /* enum mt_setting_flag, or-ed */
    const char *placeholder;
    const char *help;
};

/* mt_setting_info: the row of a setting. Any thread. */
const struct mt_setting_info *mt_setting_info(enum mt_setting setting);

/*
 * mt_setting_check: the value obeys its setting's type. On false *error (code `code`) names the
 * setting as `spelling`, the value (masked if secret) and what would be right. *number gets the
 * value of counts, seconds (s) and bytes (B), the index of the choice, or what mt_retention_parse
 * gives; it may be NULL.
 */
bool mt_setting_check(enum mt_setting setting, const char *spelling, const char *value,
                      enum mt_err code, int64_t *number, struct mt_error *error);

/*
 * mt_retention_parse: how much history is kept: a time, digits and one of s, m, h, d, w, y (365
 * days), from 1d to 1000y, as seconds; or a size, digits and a unit of MT_TYPE_BYTES, from 1MiB to
 * 1024TiB, as bytes below 0; or nothing at all, for all of it, as 0. False, *kept untouched, for
 * anything else.
 */
bool mt_retention_parse(const char *text, int64_t *kept);

/*
 * mt_setting_mask: value as it may be shown. A secret one is `***`, but: STORE keeps its scheme,
 * and what stands between the last `@` and a `?` (all of a `sqlite:` path; nothing where an `@`
 * follows a `?`); DOCDB_OPTIONS keeps what stands before a `?`. DOCDB_HOST is treated as STORE is.
 * Nothing remains nothing. Writes a NUL-terminated, possibly cut string; value and out do not
 * overlap.
 */
void mt_setting_mask(enum mt_setting setting, const char *value, char *out, size_t size);

/* A listening address, as LISTEN gives it. */
struct mt_address {
    bool is_unix;
    char host[256]; /* numeric v4 or v6 address without brackets, or the unix socket's path */
    uint16_t port;  /* TCP only; 0 = any free port */
};

/*
 * mt_address_parse: one listening address, `ADDR:PORT`, `[V6]:PORT` or `unix:PATH` (absolute or
 * relative, at most 107 bytes, no
 * control characters), the whole of text. False, *address untouched, for anything else.
 */
bool mt_address_parse(const char *text, size_t length, struct mt_address *address);

#endif
