#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/command.h"
#include "base/log.h"
#include "sampler/health.h"
#include "sampler/sampler.h"

enum { OPTION_PRINT, OPTION_HEALTH_CHECK };

static const struct mt_option options[] = {
    [OPTION_PRINT] = {"print", NULL, "show the record as a line of JSON; store nothing"},
    [OPTION_HEALTH_CHECK] = {"health-check", NULL,
                             "say how old the last record is, by HEALTH_FILE; exit status 1 if "
                             "it is too old"},
    {0},
};

static const struct mt_command command = {
    .name = "memory-sampler",
    .operands = "",
    .summary = "Writes down what this machine's memory looks like now: one record, then it ends.",
    .examples = "  memory-sampler --print\n"
                "  memory-sampler --store sqlite:./memory.db --spool ./spool.db\n"
                "  memory-sampler --health-file /run/memory-tracker/healthy --health-check\n"
                "  * * * * * memory-sampler        (a line of a crontab)\n",
    .notes =
        "A store that is locked, read-only or broken does not lose the record: it waits in the\n"
        "outbox, and a later run delivers it. A record for a server's store (mongodb, http) goes\n"
        "into the outbox first; memory-courier, which lies beside this program, delivers it.\n\n"
        "Exit status: 0 stored, or in the outbox (with a warning); 1 failed; 2 usage;\n"
        "3 store unavailable and outbox, too; 4 bad configuration.\n",
    .program = MT_PROGRAM_SAMPLER,
    .options = options,
    .without_secrets = 1U << OPTION_HEALTH_CHECK,
};

static enum mt_err check_health(const struct mt_config *config, struct mt_error *error)
{
    enum mt_err result = mt_sampler_check_health(config, error);

    return result == MT_OK ? mt_command_finish_output(error) : result;
}

static enum mt_err sample(const struct mt_config *config, bool print, int64_t start_ms,
                          char *const *argv, struct mt_error *error)
{
    struct mt_record record;
    enum mt_err result = mt_sampler_take(config, &record, error);

    if (result != MT_OK)
        return result;
    if (!print)
        return mt_sampler_keep(config, &record, start_ms, argv, error);
    result = mt_sampler_print(&record, error);
    return result == MT_OK ? mt_command_finish_output(error) : result;
}

static enum mt_err run(const struct mt_config *config, const struct mt_arguments *arguments,
                       int64_t start_ms, char *const *argv, struct mt_error *error)
{
    bool print = arguments->option[OPTION_PRINT] != NULL;
    enum mt_err result;

    if (print && arguments->option[OPTION_HEALTH_CHECK] != NULL)
        return mt_error_set(error, MT_ERR_USAGE, "--print and --health-check exclude each other");
    /* what it finds is for the one who asks, not for the log */
    if (arguments->option[OPTION_HEALTH_CHECK] != NULL)
        return check_health(config, error);
    result = mt_config_start_log(config, command.name, error);
    return result == MT_OK ? sample(config, print, start_ms, argv, error) : result;
}

int main(int argc, char **argv)
{
    int64_t start_ms = mt_clock_monotonic_ms();
    struct mt_config *config = NULL;
    struct mt_arguments arguments;
    struct mt_error error = {0};
    enum mt_err result;
    int status = EXIT_SUCCESS;

    /* a closed pipe or a file size limit is an error to tell, not a reason to die in mid-write */
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN);
    (void)umask(027);
    (void)mt_log_open(command.name, MT_LOG_INFO, MT_LOG_TEXT, "-", NULL);

    result = mt_command_parse(&command, argc, argv, environ, &config, &arguments, &error);
    if (result == MT_OK && !arguments.answered)
        result = run(config, &arguments, start_ms, argv, &error);
    if (result != MT_OK)
        status = mt_command_fail(&command, &error);
    mt_config_free(config);
    mt_log_close();
    return status;
}
