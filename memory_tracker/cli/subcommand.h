/*
 * What the subcommands of memory-tracker share: their table row, the way from argv to exit status,
 * and the checks of options that several of them have.
 */
#ifndef MT_CLI_SUBCOMMAND_H
#define MT_CLI_SUBCOMMAND_H

#include "base/command.h"
#include "store/store.h"

/* One subcommand; static and immutable. */
struct mt_subcommand {
    const char *name; /* "logs" */
    struct mt_command command;
    /* Does the work and writes the answer to standard output. USAGE is answered with a hint. */
    enum mt_err (*run)(const struct mt_config *config, const struct mt_arguments *arguments,
                       struct mt_error *error);
};

extern const struct mt_subcommand mt_logs_subcommand;
extern const struct mt_subcommand mt_hosts_subcommand;
extern const struct mt_subcommand mt_import_subcommand;
extern const struct mt_subcommand mt_export_subcommand;
extern const struct mt_subcommand mt_verify_subcommand;
extern const struct mt_subcommand mt_compact_subcommand;
extern const struct mt_subcommand mt_prune_subcommand;
extern const struct mt_subcommand mt_spool_subcommand;
extern const struct mt_subcommand mt_config_subcommand;

/*
 * mt_subcommand_main: parses argv (argv[0] is the subcommand's name), runs, and reports. Returns
 * the exit status. A reader of standard output that went away is no failure.
 */
int mt_subcommand_main(const struct mt_subcommand *subcommand, int argc, char *const *argv,
                       char *const *environment);

/*
 * mt_subcommand_end: the exit status for a result; logs *error if it is a failure worth a line.
 */
int mt_subcommand_end(const struct mt_command *command, enum mt_err result,
                      const struct mt_error *error);

/*
 * mt_open_reader: the configured store for reading; waits for a lock up to five seconds.
 * mt_open_reader_of: one whose URI mt_store_uri gave.
 */
enum mt_err mt_open_reader(const struct mt_config *config, struct mt_store **store,
                           struct mt_error *error);
enum mt_err mt_open_reader_of(const char *uri, struct mt_store **store, struct mt_error *error);

/*
 * mt_take_count: *value of an option that is a whole number of at least `least`; untouched if text
 * is NULL (not given). USAGE names option and value; `or_else` completes the remedy (" or all").
 */
enum mt_err mt_take_count(const char *option, const char *text, int64_t least, const char *or_else,
                          int64_t *value, struct mt_error *error);

/* mt_take_instant: the same for an instant, see base/utc.h. */
enum mt_err mt_take_instant(const char *option, const char *text, int64_t *unix_s,
                            struct mt_error *error);

/* mt_plural: what follows a noun that was counted: "s", or "" after one; static. */
const char *mt_plural(int64_t count);

/* mt_check_host: USAGE unless text is NULL or a proper host name. */
enum mt_err mt_check_host(const char *text, struct mt_error *error);

#endif
