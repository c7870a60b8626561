/*
 * Where an answer goes: standard output, or a file that appears whole or not at all. Text is
 * gathered in `text` and written in large pieces. Owned by one thread.
 */
#ifndef MT_CLI_OUTPUT_H
#define MT_CLI_OUTPUT_H

#include "base/buf.h"
#include "base/error.h"

struct mt_output {
    struct mt_buf text; /* append here, then mt_output_drain */
    int fd;
    char *path;       /* owned; where the file will stand; NULL: standard output or a device */
    char *temporary;  /* owned; the file as long as it is not complete */
    const char *name; /* for messages; borrowed */
};

/*
 * mt_output_open: path NULL is standard output. A regular file is written beside its final name and
 * takes it in mt_output_commit; devices and pipes are written as they are. *out is to be ended with
 * mt_output_close also on failure. An SQLite file is not replaced: IO. It looks into the file and
 * closes it, which drops this process's locks on it: call it before opening a store.
 */
enum mt_err mt_output_open(struct mt_output *out, const char *path, struct mt_error *error);

/* mt_output_drain: writes what was gathered, if that is much by now. IO: disk full, closed pipe. */
enum mt_err mt_output_drain(struct mt_output *out, struct mt_error *error);

/* mt_output_commit: writes the rest; a file is synced and takes its name. */
enum mt_err mt_output_commit(struct mt_output *out, struct mt_error *error);

/*
 * mt_output_commit_after: the same where something came of the work before, too: what it came to,
 * with its error, unless that is MT_OK; then what the commit comes to.
 */
enum mt_err mt_output_commit_after(struct mt_output *out, enum mt_err result,
                                   struct mt_error *error);

/* mt_output_close: frees everything; a file not committed is removed. */
void mt_output_close(struct mt_output *out);

#endif
