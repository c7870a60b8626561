/*
 * What a host's records tell about its history when read from the oldest to the newest: gaps,
 * clocks that stepped, boots that interleave, counters that fall. Owned by one thread.
 */
#ifndef MT_CLI_AUDIT_H
#define MT_CLI_AUDIT_H

#include "record/record.h"

/* How often something was found, and the timestamp of the first time. */
struct mt_finding {
    int64_t count;
    int64_t first;
};

struct mt_audit {
    int64_t records;
    int64_t first, last; /* timestamps */
    int64_t future;      /* later than now_s + MT_FUTURE_SLACK_S */
    int64_t boots;       /* changes of boot_id, the first one included */

    /* warnings: the history is sound, but something happened */
    struct mt_finding gaps;
    int64_t missing;         /* records that the gaps lack, by their intervals */
    int64_t missing_s;       /* the time that makes */
    int64_t longest_s;       /* the longest gap, from record to record */
    int64_t longest_from;    /* the timestamp it begins at */
    struct mt_finding close; /* records less than half an interval after the one before */
    struct mt_finding steps; /* uptime that falls within a boot: the wall clock was set back */

    /* problems: this is not the history of one machine */
    struct mt_finding order;       /* a timestamp not above the one before */
    struct mt_finding interleaved; /* a boot_id that comes back after another one */
    struct mt_finding falling;     /* a counter that falls within a boot while uptime grows */
    enum mt_field falling_field;   /* the first such counter */

    /* private */
    struct mt_record before;
    bool has_before;
    uint8_t last_boot[MT_BOOT_ID_SIZE]; /* of the last record that had one, if boots > 0 */
    int64_t now_s;
    void *boots_seen; /* tsearch tree of owned boot ids */
};

/* mt_audit_init: nothing read yet. End with mt_audit_fini. */
void mt_audit_init(struct mt_audit *audit, int64_t now_s);
void mt_audit_fini(struct mt_audit *audit);

/* mt_audit_take: the next record of the host. False: no memory. */
bool mt_audit_take(struct mt_audit *audit, const struct mt_record *record);

/* mt_audit_problems, mt_audit_warnings: kinds of findings that are there. */
int mt_audit_problems(const struct mt_audit *audit);
int mt_audit_warnings(const struct mt_audit *audit);

#endif
