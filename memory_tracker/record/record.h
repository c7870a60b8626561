/*
 * One record: what one host's memory looked like at one second. Facts only; `used` and its kin are
 * formulas (derive.h). A value type without pointers: copy it freely.
 */
#ifndef MT_RECORD_RECORD_H
#define MT_RECORD_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum mt_field {
#define MT_FIELD(symbol, ...) MT_FIELD_##symbol,
#include "record/field.def"
#undef MT_FIELD
    MT_FIELD_COUNT
};

enum mt_field_kind { MT_KIND_STATE, MT_KIND_GAUGE, MT_KIND_COUNTER };

enum mt_field_source {
    MT_SOURCE_MEMINFO,
    MT_SOURCE_VMSTAT,
    MT_SOURCE_VMSTAT_SUM,
    MT_SOURCE_PSI,
    MT_SOURCE_ARC,
    MT_SOURCE_UPTIME,
    MT_SOURCE_SETTING,
};

/* One row of field.def; static and immutable. */
struct mt_field_info {
    const char *name; /* as in JSON, CSV and the database: "mem_total" */
    enum mt_field_kind kind;
    const char *unit;
    enum mt_field_source source;
    const char *key; /* where the source has it, "" if the source says it all */
    const char *help;
};

enum {
    MT_HOST_MAX = 255,    /* bytes of a host's name */
    MT_BOOT_ID_SIZE = 16, /* a UUID */
};

/* 9999-12-31T23:59:59Z: no clock is right beyond it, and sums of such numbers cannot overflow. */
#define MT_TIMESTAMP_MAX INT64_C(253402300799)

/* The largest value of a field: exact as a double in every reader of JSON, and no sum of all fields
 * overflows. 8 EiB of memory, 285 years of pressure. */
#define MT_VALUE_MAX (INT64_C(1) << 53)

/* How far a record may be ahead of the reader's clock and still count as now, in seconds. */
#define MT_FUTURE_SLACK_S 300

struct mt_record {
    char host[MT_HOST_MAX + 1];       /* UTF-8, not empty, no spaces or control characters */
    int64_t timestamp;                /* Unix s, 0 .. MT_TIMESTAMP_MAX */
    bool has_boot_id;                 /* imports may lack it */
    uint8_t boot_id[MT_BOOT_ID_SIZE]; /* the UUID's bytes in the order they are written */
    uint64_t present;                 /* bit i: value[i] is known; else it is absent and 0 here */
    int64_t value[MT_FIELD_COUNT];    /* 0 .. MT_VALUE_MAX; the unit is the field's */
};

/* The bit of a field in `present` and in a query's choice of fields. */
#define MT_FIELD_BIT(field) (UINT64_C(1) << (field))
#define MT_FIELD_ALL        (MT_FIELD_BIT(MT_FIELD_COUNT) - 1)

/* The names of all fields, each followed by a space: builds with the same text have the same
 * struct mt_record. */
extern const char mt_field_names[];

/* mt_field_info: the row of a field. Any thread. */
const struct mt_field_info *mt_field_info(enum mt_field field);

/* mt_field_find: the field of that name (length bytes, no NUL needed). False if there is none. */
bool mt_field_find(const char *name, size_t length, enum mt_field *field);

/* mt_record_set: value is known from now on. */
void mt_record_set(struct mt_record *record, enum mt_field field, int64_t value);

/* mt_record_unset: the value is not known any more. */
void mt_record_unset(struct mt_record *record, enum mt_field field);

/* mt_record_get: true and the value if it is known; *value untouched if not. */
bool mt_record_get(const struct mt_record *record, enum mt_field field, int64_t *value);

/*
 * mt_record_check_values: a proper host, and a timestamp and values within bounds; which fields are
 * known does not matter. BAD_DATA names field and value.
 */
enum mt_err mt_record_check_values(const struct mt_record *record, struct mt_error *error);

/*
 * mt_record_check: everything a store may rely on: mt_record_check_values, mem_total > 0, and
 * mem_available or mem_free known. BAD_DATA names field and value.
 */
enum mt_err mt_record_check(const struct mt_record *record, struct mt_error *error);

/*
 * mt_record_is_repeat: both, with equal host and timestamp, tell of the same sample: the same
 * boot_id and uptime_s, or, where either record lacks one of these, the same content. (design: Key)
 */
bool mt_record_is_repeat(const struct mt_record *a, const struct mt_record *b);

/* The text form of a boot id: 8-4-4-4-12 lower-case hex digits, and a NUL. */
enum { MT_BOOT_ID_TEXT_SIZE = 37 };
void mt_boot_id_format(const uint8_t boot_id[MT_BOOT_ID_SIZE], char text[MT_BOOT_ID_TEXT_SIZE]);

/* mt_boot_id_parse: the whole of text, with dashes, either case. False, boot_id untouched, if not.
 */
bool mt_boot_id_parse(const char *text, size_t length, uint8_t boot_id[MT_BOOT_ID_SIZE]);

#endif
