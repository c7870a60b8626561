/*
 * The command line of a program or subcommand, as a table: parsing, --help and --version come from
 * it. Long options only as `--name VALUE` or `--name=VALUE`; `--` ends them; options and operands
 * mix. Every command also has --help, --version and --config FILE, and an option for each of its
 * settings (and NAME-file for a secret one). No option may be given twice.
 */
#ifndef MT_BASE_COMMAND_H
#define MT_BASE_COMMAND_H

#include "base/config.h"

/* An option that is no setting. */
struct mt_option {
    const char *name;        /* without the dashes */
    const char *placeholder; /* what follows it; NULL: a switch */
    const char *help;
};

enum { MT_OPTIONS_MAX = 16, MT_OPERANDS_MAX = 8 };

struct mt_command {
    const char *name;     /* "memory-tracker logs" */
    const char *operands; /* for the usage line, e.g. "FILE"; "" for none */
    const char *summary;  /* one sentence */
    const char *examples; /* runnable lines, each ended by a newline */
    const char *notes;    /* further paragraphs after the options, or NULL */
    enum mt_program program;
    const struct mt_option *options; /* ended by a row whose name is NULL; may be NULL */
    /* a bit for each row of them whose work needs no secret: _FILE forms that come after it, and
     * those of the environment and the file, are not read, as its user may not be able to */
    unsigned without_secrets;
    size_t least_operands, most_operands;
};

/* What was typed; strings are borrowed from argv. */
struct mt_arguments {
    const char
        *option[MT_OPTIONS_MAX]; /* by row of the command's options; NULL: not given; "": switch */
    const char *operand[MT_OPERANDS_MAX];
    size_t operand_count;
    const char
        *config_path; /* the configuration file that counts; the default one may be missing */
    bool answered;    /* --help or --version was answered on standard output: exit 0 */
};

/*
 * mt_command_parse: the first call of main. Takes the places of closed standard streams, logs as
 * the command's program until mt_config_start_log, and reads argv[1..], the environment and the
 * configuration file into a new config (*config, freed by the caller with mt_config_free also on
 * failure) and arguments. USAGE for an unknown option (with the nearest known one), a missing or
 * surplus value or operand; CONFIG as config.h says.
 */
enum mt_err mt_command_parse(const struct mt_command *command, int argc, char *const *argv,
                             char *const *environment, struct mt_config **config,
                             struct mt_arguments *arguments, struct mt_error *error);

/* What main has for its program; all borrowed. */
struct mt_run {
    const struct mt_config *config;
    const struct mt_arguments *arguments;
    char *const *argv;
    int64_t start_ms; /* when main began, monotonic */
};

typedef enum mt_err mt_run_body(const struct mt_run *run, struct mt_error *error);

/*
 * mt_command_main: main, from mt_command_parse to the exit status; body does the work in between,
 * and first of all mt_config_start_log, unless what it has to say is not for the log. Other threads
 * have ended when it returns.
 */
int mt_command_main(const struct mt_command *command, int argc, char *const *argv,
                    mt_run_body *body);

/*
 * mt_command_work_unattended: for a program of one thread that cron runs, at the begin of main. A
 * closed pipe or a file size limit is an error to tell, not a reason to die in mid-write; files are
 * not for everybody; and a log that nobody reads holds it up for a second at most.
 */
void mt_command_work_unattended(void);

/* mt_command_print_help: the help text on standard output. */
void mt_command_print_help(const struct mt_command *command);

/*
 * mt_command_fail: logs *error, as an error at least since it ends the program, and, for a usage
 * error, where help is to be found. Returns the exit status of its code.
 */
int mt_command_fail(const struct mt_command *command, const struct mt_error *error);

/*
 * mt_command_finish_output: flushes standard output and tells whether all of it was written: IO
 * with the reason if not (a full disk, a closed pipe).
 */
enum mt_err mt_command_finish_output(struct mt_error *error);

#endif
