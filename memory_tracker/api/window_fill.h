/*
 * Filling a window from a store: with the newest records first, and further back step by step, so
 * that whoever does it can do something else in between.
 */
#ifndef MT_API_WINDOW_FILL_H
#define MT_API_WINDOW_FILL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/window.h"
#include "store/store.h"

/* Most records of a step. */
enum { MT_FILL_STEP = 8 * 1024 };

/* Where a window is filled from; used by one thread. */
struct mt_filler {
    struct mt_store *store;
    struct mt_batch *batch; /* empty; empty again after each call that went well */
    bool (*cancelled)(void *context);
    void *cancel_context;
};

/*
 * mt_window_fill: fills an empty window with the newest records, at most `records`, and those of
 * the future. Errors are the store's, or NO_MEMORY; the window is of no use then.
 */
enum mt_err mt_window_fill(struct mt_window *window, const struct mt_filler *filler, size_t records,
                           int64_t now_s, struct mt_error *error);

/*
 * mt_window_fill_back: one step further back, to at most `records` that show altogether. After an
 * error the window is as it was.
 */
enum mt_err mt_window_fill_back(struct mt_window *window, const struct mt_filler *filler,
                                size_t records, int64_t now_s, struct mt_error *error);

#endif
