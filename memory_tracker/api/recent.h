/* What was answered last, for whoever asks the same. Values; for one thread. */
#ifndef MT_API_RECENT_H
#define MT_API_RECENT_H

#include "api/conditional.h"
#include "api/gzip.h"
#include "api/view.h"
#include "base/text.h"

enum {
    MT_RECENT_TARGET_MOST = 64,                    /* bytes of a target that is remembered, */
    MT_RECENT_BODY_MOST = MT_GZIP_LEAST_BYTES - 1, /* and of a body: sent as it is to everybody */
};

/*
 * The small page of a view that was answered last: whoever asks the same in the same second gets
 * the same. Zero-initialise; belongs to one view.
 */
struct mt_recent {
    int64_t now_s; /* 0: none yet */
    size_t target_length;
    size_t length;                      /* bytes of the body */
    int64_t reach;                      /* as in struct mt_answer */
    char target[MT_RECENT_TARGET_MOST]; /* of the request, as sent */
    size_t tag_length;
    char tag[MT_TAG_SIZE];
    char body[MT_RECENT_BODY_MOST];
};

/* mt_recent_keep: what is too large to be remembered leaves it as it was. */
void mt_recent_keep(struct mt_recent *recent, struct mt_slice target, int64_t now_s, int64_t reach,
                    const char *tag, const struct mt_page *page);

/* mt_recent_has: it is the answer, to a GET without conditions, of a request with this target. */
bool mt_recent_has(const struct mt_recent *recent, struct mt_slice target, int64_t now_s);

#endif
