/* What was answered last, for whoever asks the same. */
#ifndef MT_API_RECENT_H
#define MT_API_RECENT_H

#include "api/conditional.h"
#include "api/view.h"

/*
 * The page of a view that was answered last: whoever asks the same in the same second gets the
 * same. Zero-initialise; for one thread and one view.
 */
struct mt_recent {
    char query[48]; /* as sent */
    size_t length;
    int64_t now_s; /* 0: none yet */
    int64_t reach; /* as in struct mt_answer */
    struct mt_page page;
    char tag[MT_TAG_SIZE];
};

#endif
